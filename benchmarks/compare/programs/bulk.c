/* Bulk transfer over TCP between two ends that cost as little as they can: what is sent is never looked at, and what
 * is received is thrown away by the kernel without a copy (MSG_TRUNC, tcp(7)).
 *
 *   bulk serve PORT ...                       answer on loopback, a process per connection
 *   bulk load PORT CONNECTIONS BYTES down|up  share BYTES out to CONNECTIONS; one line of JSON when all has arrived
 *
 * A connection begins with nine bytes: 'd' or 'u', and how many bytes follow, most significant first. Download: the
 * server sends them and closes. Upload: the client sends them, the server answers with how many it got and closes.
 * The client ends with 1 and a sentence when a count is not what was asked for.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PIECE (256 * 1024)
#define ORDER 9 /* bytes that a connection begins with */

static char piece[PIECE];

static void fail(const char *what)
{
    fprintf(stderr, "bulk: %s: %s\n", what, strerror(errno));
    exit(1);
}

static struct sockaddr_in loopback(const char *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static void put(char *to, uint64_t value)
{
    for (int shift = 56; shift >= 0; shift -= 8)
        *to++ = (char)(value >> shift);
}

static uint64_t get(const char *from)
{
    uint64_t value = 0;
    for (int index = 0; index < 8; index++)
        value = value << 8 | (unsigned char)from[index];
    return value;
}

static void send_all(int fd, const char *data, size_t size)
{
    while (size) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent < 0)
            fail("send");
        data += sent;
        size -= (size_t)sent;
    }
}

static void receive_all(int fd, char *data, size_t size)
{
    while (size) {
        ssize_t got = recv(fd, data, size, 0);
        if (got <= 0)
            fail(got ? "recv" : "an early end");
        data += got;
        size -= (size_t)got;
    }
}

static void give(int fd, uint64_t bytes)
{
    while (bytes) {
        size_t size = bytes < PIECE ? (size_t)bytes : PIECE;
        send_all(fd, piece, size);
        bytes -= size;
    }
}

/* At most `most` bytes, fewer when the other side ends. */
static uint64_t take(int fd, uint64_t most)
{
    uint64_t bytes = 0;
    while (bytes < most) {
        size_t size = most - bytes < 4 * PIECE ? (size_t)(most - bytes) : 4 * PIECE;
        ssize_t got = recv(fd, NULL, size, MSG_TRUNC);
        if (got < 0)
            fail("recv");
        if (!got)
            break;
        bytes += (uint64_t)got;
    }
    return bytes;
}

static void answer(int fd)
{
    char order[ORDER];
    ssize_t got = recv(fd, order, ORDER, MSG_WAITALL);
    if (got != ORDER)
        return; /* somebody only wanted to know whether we listen */
    if (order[0] == 'd') {
        give(fd, get(order + 1));
    } else {
        char count[8];
        put(count, take(fd, get(order + 1)));
        send_all(fd, count, sizeof count);
    }
}

static void serve(const char *port)
{
    int listener = socket(AF_INET, SOCK_STREAM, 0), yes = 1;
    struct sockaddr_in address = loopback(port);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 128))
        fail(port);
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0)
            continue;
        if (!fork()) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            close(listener);
            answer(fd);
            exit(0);
        }
        close(fd);
    }
}

static void load(const char *port, uint64_t bytes, int down)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in address = loopback(port);
    char order[ORDER] = {down ? 'd' : 'u'};
    uint64_t moved;
    if (connect(fd, (struct sockaddr *)&address, sizeof address))
        fail("connect");
    put(order + 1, bytes);
    send_all(fd, order, ORDER);
    if (down) {
        moved = take(fd, bytes + 1); /* one more, to see the end */
    } else {
        char count[8];
        give(fd, bytes);
        receive_all(fd, count, sizeof count);
        moved = get(count);
    }
    if (moved != bytes) {
        fprintf(stderr, "bulk: %" PRIu64 " of %" PRIu64 " bytes arrived\n", moved, bytes);
        exit(1);
    }
    exit(0);
}

int main(int count, char **words)
{
    struct timespec begun, ended;
    int bad = 0, status;
    if (count > 2 && !strcmp(words[1], "serve")) {
        signal(SIGCHLD, SIG_IGN);
        for (int index = 3; index < count; index++)
            if (!fork()) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                serve(words[index]);
            }
        serve(words[2]);
    }
    if (count != 6 || strcmp(words[1], "load")) {
        fprintf(stderr, "bulk serve PORT ... | bulk load PORT CONNECTIONS BYTES down|up\n");
        return 2;
    }
    uint64_t connections = strtoull(words[3], NULL, 10), bytes = strtoull(words[4], NULL, 10);
    clock_gettime(CLOCK_MONOTONIC, &begun);
    for (uint64_t index = 0; index < connections; index++)
        if (!fork()) {
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            load(words[2], bytes / connections, !strcmp(words[5], "down"));
        }
    while (wait(&status) > 0)
        bad |= status;
    clock_gettime(CLOCK_MONOTONIC, &ended);
    if (bad)
        return 1;
    printf("{\"bytes\":%" PRIu64 ",\"duration_us\":%" PRId64 "}\n", bytes / connections * connections,
           (int64_t)(ended.tv_sec - begun.tv_sec) * 1000000 + (ended.tv_nsec - begun.tv_nsec) / 1000);
    return 0;
}
