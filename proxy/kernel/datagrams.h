/* System calls for proxy/kernel/datagrams.pyx, with what Cython cannot say about their structures. */
#ifndef HIVEMESH_DATAGRAMS_H
#define HIVEMESH_DATAGRAMS_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include <unistd.h>
#include <string.h>
#include <errno.h>

/* Whoever sent a datagram, and the address of ours that it was sent to: what names a session. The bytes are the
   session's key, so whatever the kernel leaves undefined is not in here. */
struct hm_peer {
    unsigned char family, has_local; /* AF_INET or AF_INET6 */
    uint16_t port;                   /* network order */
    uint32_t scope;                  /* of a link-local IPv6 address */
    unsigned char addr[16], local[16];
};

union hm_name { struct sockaddr sa; struct sockaddr_in v4; struct sockaddr_in6 v6; };
union hm_control { struct cmsghdr align; char room[CMSG_SPACE(sizeof(struct in6_pktinfo))]; };

static inline int hm_is_wildcard(int fd, int *family) {
    union hm_name a; socklen_t n = sizeof a;
    memset(&a, 0, sizeof a);
    if (getsockname(fd, &a.sa, &n) < 0) return -1;
    *family = a.sa.sa_family;
    if (a.sa.sa_family == AF_INET) return a.v4.sin_addr.s_addr == htonl(INADDR_ANY);
    if (a.sa.sa_family == AF_INET6) return IN6_IS_ADDR_UNSPECIFIED(&a.v6.sin6_addr);
    errno = EAFNOSUPPORT;
    return -1;
}

/* Have every datagram say which of our addresses it was sent to. */
static inline int hm_want_local(int fd, int family) {
    int one = 1;
    if (family == AF_INET) return setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &one, sizeof one);
    return setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &one, sizeof one);
}

static inline void hm_slot(struct mmsghdr *m, struct iovec *v, void *name, char *data, size_t size, union hm_control *c) {
    v->iov_base = data; v->iov_len = size;
    m->msg_hdr.msg_iov = v; m->msg_hdr.msg_iovlen = 1;
    m->msg_hdr.msg_name = name; m->msg_hdr.msg_namelen = name ? sizeof(union hm_name) : 0;
    m->msg_hdr.msg_control = c; m->msg_hdr.msg_controllen = c ? sizeof *c : 0;
    m->msg_hdr.msg_flags = 0;
}

/* Who sent this. 0: an address that is none of IP. */
static inline int hm_peer_of(struct mmsghdr *m, struct hm_peer *p) {
    union hm_name *a = m->msg_hdr.msg_name;
    struct cmsghdr *c;
    memset(p, 0, sizeof *p);
    if (a->sa.sa_family == AF_INET) {
        p->port = a->v4.sin_port;
        memcpy(p->addr, &a->v4.sin_addr, 4);
    } else if (a->sa.sa_family == AF_INET6) {
        p->port = a->v6.sin6_port;
        p->scope = a->v6.sin6_scope_id;
        memcpy(p->addr, &a->v6.sin6_addr, 16);
    } else return 0;
    p->family = (unsigned char)a->sa.sa_family;
    for (c = m->msg_hdr.msg_controllen ? CMSG_FIRSTHDR(&m->msg_hdr) : 0; c; c = CMSG_NXTHDR(&m->msg_hdr, c)) {
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
            /* Of a broadcast this is the address of the interface, which can be answered from. */
            memcpy(p->local, &((struct in_pktinfo *)CMSG_DATA(c))->ipi_spec_dst, 4);
            p->has_local = 1;
        } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
            struct in6_addr *to = &((struct in6_pktinfo *)CMSG_DATA(c))->ipi6_addr;
            if (!IN6_IS_ADDR_MULTICAST(to)) { memcpy(p->local, to, 16); p->has_local = 1; }
        }
    }
    return 1;
}

/* Have this message go to a peer, from the address that the peer knows. */
static inline void hm_address(struct mmsghdr *m, const struct hm_peer *p, union hm_name *a, union hm_control *c) {
    struct cmsghdr *h;
    memset(a, 0, sizeof *a);
    a->sa.sa_family = p->family;
    if (p->family == AF_INET) {
        a->v4.sin_port = p->port; memcpy(&a->v4.sin_addr, p->addr, 4);
        m->msg_hdr.msg_namelen = sizeof a->v4;
    } else {
        a->v6.sin6_port = p->port; a->v6.sin6_scope_id = p->scope; memcpy(&a->v6.sin6_addr, p->addr, 16);
        m->msg_hdr.msg_namelen = sizeof a->v6;
    }
    m->msg_hdr.msg_name = a;
    m->msg_hdr.msg_control = 0; m->msg_hdr.msg_controllen = 0;
    if (!p->has_local) return;
    memset(c, 0, sizeof *c);
    m->msg_hdr.msg_control = c;
    if (p->family == AF_INET) {
        m->msg_hdr.msg_controllen = CMSG_SPACE(sizeof(struct in_pktinfo));
        h = CMSG_FIRSTHDR(&m->msg_hdr);
        h->cmsg_level = IPPROTO_IP; h->cmsg_type = IP_PKTINFO;
        h->cmsg_len = CMSG_LEN(sizeof(struct in_pktinfo));
        memcpy(&((struct in_pktinfo *)CMSG_DATA(h))->ipi_spec_dst, p->local, 4);
    } else {
        m->msg_hdr.msg_controllen = CMSG_SPACE(sizeof(struct in6_pktinfo));
        h = CMSG_FIRSTHDR(&m->msg_hdr);
        h->cmsg_level = IPPROTO_IPV6; h->cmsg_type = IPV6_PKTINFO;
        h->cmsg_len = CMSG_LEN(sizeof(struct in6_pktinfo));
        memcpy(&((struct in6_pktinfo *)CMSG_DATA(h))->ipi6_addr, p->local, 16);
        if (IN6_IS_ADDR_LINKLOCAL(&((struct in6_pktinfo *)CMSG_DATA(h))->ipi6_addr))
            ((struct in6_pktinfo *)CMSG_DATA(h))->ipi6_ifindex = p->scope;
    }
}

static inline int hm_peer_text(const struct hm_peer *p, char *text, int size) {
    static const unsigned char mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255};
    if (p->family == AF_INET) inet_ntop(AF_INET, p->addr, text, size);
    else if (!memcmp(p->addr, mapped, 12)) inet_ntop(AF_INET, p->addr + 12, text, size);
    else inet_ntop(AF_INET6, p->addr, text, size);
    return (int)strlen(text);
}

static inline int hm_peer_port(const struct hm_peer *p) { return ntohs(p->port); }

static inline void hm_unwatch(int epoll, int fd) {
    struct epoll_event none;
    epoll_ctl(epoll, EPOLL_CTL_DEL, fd, &none);
}

/* A socket whose peer is fixed: it receives from nobody else, and is told when the peer's machine refuses. */
static inline int hm_connect_datagrams(int family, const void *addr, socklen_t len, int *error) {
    int fd = socket(family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    *error = 0;
    if (fd < 0) { *error = errno; return -1; }
    if (connect(fd, (const struct sockaddr *)addr, len) < 0) { *error = errno; close(fd); return -1; }
    return fd;
}

#endif
