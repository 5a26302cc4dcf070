/* System calls for proxy/kernel/netio.pyx, with what Cython cannot say about their structures. */
#ifndef HIVEMESH_NETIO_H
#define HIVEMESH_NETIO_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <arpa/inet.h>
#include <fcntl.h>
#include <unistd.h>
#include <string.h>
#include <time.h>
#include <errno.h>

static int hm_epoll_ctl(int ep, int op, int fd, uint32_t events, uint64_t data) {
    struct epoll_event ev;
    ev.events = events;
    ev.data.u64 = data;
    return epoll_ctl(ep, op, fd, &ev);
}

static ssize_t hm_send2(int fd, const char *a, size_t an, const char *b, size_t bn) {
    struct iovec iov[2];
    struct msghdr msg;
    if (!bn) return send(fd, a, an, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (!an) return send(fd, b, bn, MSG_NOSIGNAL | MSG_DONTWAIT);
    iov[0].iov_base = (void *)a; iov[0].iov_len = an;
    iov[1].iov_base = (void *)b; iov[1].iov_len = bn;
    memset(&msg, 0, sizeof msg);
    msg.msg_iov = iov; msg.msg_iovlen = 2;
    return sendmsg(fd, &msg, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static int hm_connect(int family, const void *addr, socklen_t len, int *err) {
    int one = 1, fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) { *err = errno; return -1; }
    if (family != AF_UNIX) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    *err = connect(fd, (const struct sockaddr *)addr, len) == 0 ? 0 : errno;
    return fd;
}

static int hm_socket_error(int fd) {
    int e = 0; socklen_t n = sizeof e;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &n) ? errno : e;
}

union hm_address { struct sockaddr sa; struct sockaddr_in v4; struct sockaddr_in6 v6; struct sockaddr_un un; };

/* The text of an IP address (64 bytes have room for it), its length in *n, and its port; nothing for a unix socket. */
static void hm_text(const union hm_address *a, char *text, int *n, int *port) {
    *n = 0; *port = 0;
    if (a->sa.sa_family == AF_INET) {
        const unsigned char *b = (const unsigned char *)&a->v4.sin_addr;
        int i; char *p = text;
        for (i = 0; i < 4; i++) {
            unsigned v = b[i];
            if (i) *p++ = '.';
            if (v > 99) *p++ = '0' + v / 100;
            if (v > 9) *p++ = '0' + v / 10 % 10;
            *p++ = '0' + v % 10;
        }
        *n = (int)(p - text);
        *port = ntohs(a->v4.sin_port);
    } else if (a->sa.sa_family == AF_INET6) {
        /* An IPv4 client of a dual-stack socket is shown as IPv4. */
        if (IN6_IS_ADDR_V4MAPPED(&a->v6.sin6_addr)) inet_ntop(AF_INET, ((char *)&a->v6.sin6_addr) + 12, text, 64);
        else inet_ntop(AF_INET6, &a->v6.sin6_addr, text, 64);
        *n = (int)strlen(text);
        *port = ntohs(a->v6.sin6_port);
    }
}

/* Accepts one connection, and says from where. */
static int hm_accept(int fd, char *text, int *n, int *port) {
    union hm_address a;
    socklen_t len = sizeof a;
    int c = accept4(fd, &a.sa, &len, SOCK_NONBLOCK | SOCK_CLOEXEC);
    *n = 0; *port = 0;
    if (c >= 0) hm_text(&a, text, n, port);
    return c;
}

/* The address that a socket has on our side. */
static void hm_local(int fd, char *text, int *n, int *port) {
    union hm_address a;
    socklen_t len = sizeof a;
    a.sa.sa_family = AF_UNSPEC;
    if (getsockname(fd, &a.sa, &len) != 0) a.sa.sa_family = AF_UNSPEC;
    hm_text(&a, text, n, port);
}

static int64_t hm_micros(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

static int hm_v4(const char *s, int port, char *raw, uint32_t *n) {
    struct sockaddr_in a; memset(&a, 0, sizeof a);
    a.sin_family = AF_INET; a.sin_port = htons(port);
    if (inet_pton(AF_INET, s, &a.sin_addr) != 1) return 0;
    memcpy(raw, &a, sizeof a); *n = sizeof a; return AF_INET;
}
static int hm_v6(const char *s, int port, char *raw, uint32_t *n) {
    struct sockaddr_in6 a; memset(&a, 0, sizeof a);
    a.sin6_family = AF_INET6; a.sin6_port = htons(port);
    if (inet_pton(AF_INET6, s, &a.sin6_addr) != 1) return 0;
    memcpy(raw, &a, sizeof a); *n = sizeof a; return AF_INET6;
}
static int hm_unix(const char *s, size_t size, char *raw, uint32_t *n) {
    struct sockaddr_un a; memset(&a, 0, sizeof a);
    a.sun_family = AF_UNIX;
    if (size >= sizeof a.sun_path) return 0;
    memcpy(a.sun_path, s, size);
    memcpy(raw, &a, sizeof a); *n = sizeof a; return AF_UNIX;
}

#endif
