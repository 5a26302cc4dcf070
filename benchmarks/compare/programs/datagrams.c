/* An echo of datagrams and its load: a closed loop over many sockets.
 *
 *   datagrams echo PORT ...                     send back what comes, in batches
 *   datagrams load PORT SOCKETS SIZE SECONDS    one line of JSON
 *
 * Each socket of the load has one datagram on its way: its next one is sent when the echo of the last has come, so the
 * load goes as fast as what is between it and the echo lets it, and a queue never grows above SOCKETS. A datagram
 * carries the number of its socket and a count; an echo that is neither the one awaited nor late ends the load with 1.
 * One that has not come back within LATE is lost, and the socket goes on with the next.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 64
#define LARGEST 2048
#define MOST_SOCKETS 1024
#define LATE 1000000    /* microseconds; a busy machine can hold a proxy up for long */
#define LONGEST 100000  /* of the histogram, microseconds */
#define ROOM (1 << 20)  /* of a socket's receive buffer */

struct flow {
    int fd;
    uint64_t count; /* of the datagram that is on its way */
    uint64_t sent;  /* when, microseconds */
};

static uint32_t histogram[LONGEST + 1];

static void fail(const char *what)
{
    fprintf(stderr, "datagrams: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_nsec / 1000;
}

static int open_socket(const char *port, int bound)
{
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0), room = ROOM;
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &room, sizeof room);
    if ((bound ? bind : connect)(fd, (struct sockaddr *)&address, sizeof address))
        fail(port);
    return fd;
}

static void echo(char **ports, int count)
{
    static char data[BATCH][LARGEST];
    static struct sockaddr_in from[BATCH];
    static struct iovec parts[BATCH];
    static struct mmsghdr messages[BATCH];
    struct pollfd sockets[count];
    for (int index = 0; index < count; index++)
        sockets[index] = (struct pollfd){open_socket(ports[index], 1), POLLIN, 0};
    for (;;) {
        poll(sockets, (nfds_t)count, -1);
        for (int index = 0; index < count; index++) {
            if (!sockets[index].revents)
                continue;
            for (int slot = 0; slot < BATCH; slot++) {
                parts[slot] = (struct iovec){data[slot], LARGEST};
                messages[slot].msg_hdr = (struct msghdr){
                    .msg_name = &from[slot], .msg_namelen = sizeof from[slot], .msg_iov = &parts[slot], .msg_iovlen = 1};
            }
            int got = recvmmsg(sockets[index].fd, messages, BATCH, 0, NULL);
            for (int slot = 0; slot < got; slot++)
                parts[slot].iov_len = messages[slot].msg_len;
            if (got > 0)
                sendmmsg(sockets[index].fd, messages, (unsigned)got, 0);
        }
    }
}

static void send_next(struct flow *flow, uint64_t number, size_t size, uint64_t at)
{
    uint64_t data[LARGEST / 8] = {number, ++flow->count};
    flow->sent = at;
    /* A refusal (ECONNREFUSED) shows here too; the datagram then counts as lost. */
    if (send(flow->fd, data, size, 0) < 0 && errno != ECONNREFUSED)
        fail("send");
}

static void load(const char *port, int sockets, size_t size, double seconds)
{
    static struct flow flows[MOST_SOCKETS];
    struct epoll_event events[BATCH];
    uint64_t echoed = 0, lost = 0, data[LARGEST / 8], begun = now(), at = begun, look = begun + LATE;
    uint64_t end = begun + (uint64_t)(seconds * 1e6);
    int poller = epoll_create1(0);
    for (int index = 0; index < sockets; index++) {
        struct epoll_event wanted = {.events = EPOLLIN, .data.u32 = (uint32_t)index};
        flows[index].fd = open_socket(port, 0);
        epoll_ctl(poller, EPOLL_CTL_ADD, flows[index].fd, &wanted);
        send_next(&flows[index], (uint64_t)index, size, at);
    }
    while (at < end) {
        int ready = epoll_wait(poller, events, BATCH, 50);
        at = now();
        for (int index = 0; index < ready; index++) {
            uint64_t number = events[index].data.u32;
            struct flow *flow = &flows[number];
            ssize_t got = recv(flow->fd, data, sizeof data, 0);
            if (got < 0)
                continue;
            if ((size_t)got != size || data[0] != number || data[1] > flow->count) {
                fprintf(stderr, "datagrams: socket %" PRIu64 " got %zd bytes that it never sent\n", number, got);
                exit(1);
            }
            if (data[1] < flow->count)
                continue; /* late, already counted as lost */
            echoed++;
            histogram[at - flow->sent < LONGEST ? at - flow->sent : LONGEST]++;
            send_next(flow, number, size, at);
        }
        if (at < look)
            continue;
        look = at + LATE / 4;
        for (int index = 0; index < sockets; index++)
            if (at - flows[index].sent > LATE) {
                lost++;
                send_next(&flows[index], (uint64_t)index, size, at);
            }
    }
    uint64_t seen = 0, p50 = LONGEST, p99 = LONGEST;
    for (uint64_t took = 0; took <= LONGEST; took++) {
        seen += histogram[took];
        if (p50 == LONGEST && seen * 100 >= echoed * 50)
            p50 = took;
        if (p99 == LONGEST && seen * 100 >= echoed * 99)
            p99 = took;
    }
    printf("{\"echoed\":%" PRIu64 ",\"lost\":%" PRIu64 ",\"duration_us\":%" PRIu64 ",\"p50_us\":%" PRIu64
           ",\"p99_us\":%" PRIu64 "}\n",
           echoed, lost, at - begun, p50, p99);
}

int main(int count, char **words)
{
    if (count > 2 && !strcmp(words[1], "echo"))
        echo(words + 2, count - 2);
    int sockets = count == 6 ? atoi(words[3]) : 0;
    size_t size = count == 6 ? (size_t)atol(words[4]) : 0;
    if (count != 6 || strcmp(words[1], "load") || sockets < 1 || sockets > MOST_SOCKETS || size < 16 || size > LARGEST) {
        fprintf(stderr, "datagrams echo PORT ... | datagrams load PORT SOCKETS SIZE SECONDS\n");
        return 2;
    }
    load(words[2], sockets, size, atof(words[5]));
    return 0;
}
