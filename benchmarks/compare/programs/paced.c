/* A client that sends when a request is due, whatever became of those before it, and the origin behind the proxies that
 * it asks: both cost as little as they can, so that the proxy is what is full.
 *
 *   paced serve PLACES MICROSECONDS PORT [STORMY_PORT]     answers on loopback
 *   paced load PORT RATE SKIP SECONDS CONNECTIONS PATIENCE KEEP TARGET ...      one line of JSON
 *   paced hog MICROSECONDS                                 take so many of every millisecond of its core from all others
 *
 * serve: a request holds one of PLACES for MICROSECONDS; those that find none wait in turn (PLACES 0: nothing waits, every
 * answer comes at once). The answer to /counts says how many there were, and how many at once at most. What STORMY_PORT
 * says to /health is told by a request for /weather/NAME at the other port: "fair" 200, "sick" 503, "mute" nothing at all,
 * "gone" nobody listens. Requests for anything else are answered in any weather, on connections that are there.
 *
 * load: RATE requests a second for SKIP + SECONDS, of which the first SKIP are not counted, each on a connection that is
 * free, else on one more, CONNECTIONS at most; else it waits in turn. KEEP 0: each opens a connection of its own. Times
 * are from when a request was due until its answer was complete: what the client waits because others are slow counts.
 * Who has no answer after PATIENCE (milliseconds) gives up and closes. "late": how long after their time requests were
 * sent that found a connection, which is the client's own slowness. Targets are asked in turn and told apart.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define BATCH 256
#define ROOM 4096      /* of a message: a head and a small body */
#define MOST_FDS 20000
#define MOST_TARGETS 4
#define LONGEST 4000000 /* of a histogram, microseconds */

static int poller;

static void fail(const char *what)
{
    fprintf(stderr, "paced: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t now_us(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000 + (uint64_t)time.tv_nsec / 1000;
}

static struct sockaddr_in loopback(int port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static void watch(int fd, uint32_t events)
{
    struct epoll_event wanted = {.events = events, .data.fd = fd};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &wanted))
        fail("epoll_ctl");
}

static void raise_limit(void)
{
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
}

/* How long to wait in epoll until `due`; no longer than a tenth of a second. */
static int wait_until(struct epoll_event *events, uint64_t due, uint64_t at)
{
    uint64_t left = due > at ? due - at : 0;
    if (left > 100000)
        left = 100000;
    struct timespec time = {.tv_sec = 0, .tv_nsec = (long)left * 1000};
    int ready = epoll_pwait2(poller, events, BATCH, &time, NULL);
    if (ready < 0 && errno != EINTR)
        fail("epoll_pwait2");
    return ready < 0 ? 0 : ready;
}

/* The end of the head in what has come, or NULL. */
static char *end_of_head(char *data, size_t size)
{
    char *end = memmem(data, size, "\r\n\r\n", 4);
    return end ? end + 4 : NULL;
}

/* ---- origin ---- */

struct served {
    char data[ROOM];
    size_t size;
    uint32_t life; /* tells a connection from the next one with its number */
    char open, stormy, ends;
};

struct turn {
    int fd;
    uint32_t life;
    uint64_t done; /* when its service ends */
};

static struct served *served;
static struct turn running[1 << 16], waiting[1 << 16]; /* rings: who came first is done first */
static uint32_t run_head, run_tail, wait_head, wait_tail, most, total;
static const char ANSWER[] = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 71\r\n\r\n"
                             "{\"id\":4711,\"name\":\"a thing of some kind\",\"price\":\"17.90\",\"in_stock\":12}";
static const char SICK[] = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n";

static int listen_at(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), yes = 1;
    struct sockaddr_in address = loopback(port);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    if (bind(fd, (struct sockaddr *)&address, sizeof address) || listen(fd, 4096))
        fail("listen");
    watch(fd, EPOLLIN);
    return fd;
}

static void leave(int fd)
{
    if (served[fd].open) {
        served[fd].open = 0;
        close(fd);
    }
}

static void say(int fd, const char *text, size_t size)
{
    if (send(fd, text, size, MSG_NOSIGNAL) != (ssize_t)size || served[fd].ends)
        leave(fd);
}

static void begin(struct turn turn, uint64_t at, uint64_t service)
{
    turn.done = at + service;
    running[run_tail++ & 0xffff] = turn;
}

static void end_services(uint64_t at, uint64_t service)
{
    while (run_head != run_tail && running[run_head & 0xffff].done <= at) {
        struct turn turn = running[run_head++ & 0xffff];
        if (served[turn.fd].open && served[turn.fd].life == turn.life)
            say(turn.fd, ANSWER, sizeof ANSWER - 1);
        if (wait_head != wait_tail)
            begin(waiting[wait_head++ & 0xffff], turn.done, service);
    }
}

static void serve(int count, char **words)
{
    uint32_t places = (uint32_t)atoi(words[0]), lives = 0;
    uint64_t service = (uint64_t)atoll(words[1]);
    int port = listen_at(atoi(words[2])), stormy_port = count > 3 ? atoi(words[3]) : 0;
    int stormy = stormy_port ? listen_at(stormy_port) : -1;
    const char *weather = "fair";
    struct epoll_event events[BATCH];
    served = calloc(MOST_FDS, sizeof *served);
    for (;;) {
        uint64_t at = now_us();
        int ready = wait_until(events, run_head != run_tail ? running[run_head & 0xffff].done : at + 100000, at);
        at = now_us();
        end_services(at, service);
        for (int index = 0; index < ready; index++) {
            int fd = events[index].data.fd;
            if (fd == port || fd == stormy) {
                int client, yes = 1;
                while ((client = accept4(fd, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
                    if (client >= MOST_FDS) {
                        close(client);
                        continue;
                    }
                    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
                    served[client].size = 0;
                    served[client].life = ++lives;
                    served[client].open = 1;
                    served[client].stormy = fd == stormy;
                    served[client].ends = 0;
                    watch(client, EPOLLIN);
                }
                continue;
            }
            struct served *it = &served[fd];
            if (!it->open)
                continue;
            ssize_t got = recv(fd, it->data + it->size, ROOM - it->size, 0);
            if (got <= 0) {
                if (got == 0 || errno != EAGAIN)
                    leave(fd);
                continue;
            }
            it->size += (size_t)got;
            char *end = end_of_head(it->data, it->size);
            if (!end) {
                if (it->size == ROOM)
                    leave(fd);
                continue;
            }
            size_t head = (size_t)(end - it->data);
            char *path = memchr(it->data, ' ', head) + 1;
            it->size = 0; /* no proxy sends the next request before the answer */
            if (memmem(it->data, head, "HTTP/1.0\r\n", 10) || memmem(it->data, head, ": close\r\n", 9))
                it->ends = 1;
            if (!strncmp(path, "/health ", 8)) {
                if (it->stormy && !strcmp(weather, "sick"))
                    say(fd, SICK, sizeof SICK - 1);
                else if (!it->stormy || strcmp(weather, "mute"))
                    say(fd, ANSWER, sizeof ANSWER - 1);
            } else if (!strncmp(path, "/weather/", 9)) {
                weather = path[9] == 'f' ? "fair" : path[9] == 's' ? "sick" : path[9] == 'm' ? "mute" : "gone";
                if (!strcmp(weather, "gone") && stormy >= 0) {
                    close(stormy);
                    stormy = -1;
                } else if (strcmp(weather, "gone") && stormy < 0 && stormy_port) {
                    stormy = listen_at(stormy_port);
                }
                say(fd, ANSWER, sizeof ANSWER - 1);
            } else if (!strncmp(path, "/counts ", 8)) {
                char body[100], text[300];
                int size = snprintf(body, sizeof body, "{\"most\":%u,\"total\":%u}", most, total);
                most = total = 0;
                size = snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", size, body);
                say(fd, text, (size_t)size);
            } else {
                struct turn turn = {fd, it->life, 0};
                total++;
                if (!places) {
                    say(fd, ANSWER, sizeof ANSWER - 1);
                    continue;
                }
                if (run_tail - run_head < places)
                    begin(turn, at, service);
                else
                    waiting[wait_tail++ & 0xffff] = turn;
                uint32_t there = run_tail - run_head + wait_tail - wait_head;
                if (there > most)
                    most = there;
            }
        }
    }
}

/* ---- client ---- */

enum { GOOD, REFUSED, OTHER, KINDS };

struct asking {
    char data[ROOM];
    size_t size;
    uint64_t due; /* 0: free */
    int target;
    char open, free, sent;
};

static struct asking *asking;
static int free_list[MOST_FDS], free_count, open_count;
static struct sockaddr_in proxy;
static uint32_t *histograms[MOST_TARGETS][KINDS], *late;
static uint64_t counts[MOST_TARGETS][KINDS], failed, gave_up, not_connected, offered, unsent, reopened;
static uint64_t counted_from, patience;
static char requests[MOST_TARGETS][ROOM];
static int is_kept;

/* In the order in which they are due, so that whoever loses patience first is found at once. */
static struct turn line[1 << 20];
static uint32_t line_head, line_tail;

static void count(int target, int kind, uint64_t due, uint64_t at)
{
    uint64_t took = at - due;
    if (due < counted_from)
        return;
    counts[target][kind]++;
    histograms[target][kind][took < LONGEST ? took : LONGEST]++;
}

static void drop(int fd)
{
    if (!asking[fd].open)
        return;
    asking[fd].open = asking[fd].free = 0;
    asking[fd].due = 0;
    open_count--;
    close(fd);
}

static int open_one(void)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), yes = 1;
    if (fd < 0 || fd >= MOST_FDS)
        fail("socket");
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (connect(fd, (struct sockaddr *)&proxy, sizeof proxy) && errno != EINPROGRESS) {
        close(fd);
        return -1;
    }
    asking[fd] = (struct asking){.open = 1};
    open_count++;
    watch(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET);
    return fd;
}

static void put_out(int fd)
{
    const char *text = requests[asking[fd].target];
    size_t size = strlen(text);
    ssize_t put = send(fd, text, size, MSG_NOSIGNAL);
    if (put == (ssize_t)size)
        asking[fd].sent = 1;
    else if (put >= 0 || (errno != EAGAIN && errno != ENOTCONN)) { /* else EPOLLOUT comes when it is connected */
        failed += asking[fd].due >= counted_from;
        drop(fd);
    }
}

/* Send the request that is due, if there is a connection for it. */
static int ask(uint64_t due, int target, int connections)
{
    int fd = -1;
    while (free_count && (fd < 0 || !asking[fd].free)) /* one that was closed may have been opened again since */
        fd = free_list[--free_count];
    if (fd < 0 || !asking[fd].free) {
        if (open_count >= connections)
            return 0;
        fd = open_one();
        if (fd < 0) {
            not_connected += due >= counted_from;
            return 1;
        }
    }
    asking[fd].due = due;
    asking[fd].target = target;
    asking[fd].free = asking[fd].sent = 0;
    asking[fd].size = 0;
    line[line_tail++ & 0xfffff] = (struct turn){fd, 0, due};
    put_out(fd);
    return 1;
}

static void hear(int fd)
{
    struct asking *it = &asking[fd];
    for (;;) {
        ssize_t got = recv(fd, it->data + it->size, ROOM - 1 - it->size, 0);
        if (got < 0 && errno == EAGAIN)
            return;
        if (got <= 0) {
            if (it->due)
                failed += it->due >= counted_from;
            drop(fd);
            return;
        }
        it->size += (size_t)got;
        it->data[it->size] = 0;
        char *body = end_of_head(it->data, it->size);
        if (!body)
            continue;
        char *field = strcasestr(it->data, "\r\ncontent-length:");
        size_t length = field && field < body ? (size_t)atol(field + 17) : 0;
        if (it->size < (size_t)(body - it->data) + length)
            continue;
        int status = it->size > 12 ? atoi(it->data + 9) : 0, target = it->target;
        char *close_field = strcasestr(it->data, "\r\nconnection: close");
        if (!it->due) { /* an answer that nobody asked for */
            failed++;
            drop(fd);
            return;
        }
        count(target, status == 200 ? GOOD : status == 503 || status == 429 ? REFUSED : OTHER, it->due, now_us());
        it->due = 0;
        it->size = 0;
        if (!is_kept || (close_field && close_field < body)) {
            reopened++;
            drop(fd);
        } else {
            it->free = 1;
            free_list[free_count++] = fd;
        }
        return;
    }
}

static void lose_patience(uint64_t at)
{
    while (line_head != line_tail) {
        struct turn *first = &line[line_head & 0xfffff];
        struct asking *it = &asking[first->fd];
        int is_answered = !it->open || it->due != first->done;
        if (!is_answered && at < first->done + patience)
            return;
        line_head++;
        if (!is_answered) {
            gave_up += first->done >= counted_from;
            drop(first->fd);
        }
    }
}

static uint64_t quantile(const uint32_t *histogram, uint64_t all, double share)
{
    uint64_t seen = 0;
    for (uint64_t took = 0; took <= LONGEST; took++)
        if ((seen += histogram[took]) && (double)seen >= share * (double)all)
            return took;
    return LONGEST;
}

static void load(int words_count, char **words)
{
    double rate = atof(words[1]), skip = atof(words[2]), seconds = atof(words[3]);
    int connections = atoi(words[4]), targets = words_count - 7;
    struct epoll_event events[BATCH];
    static const char *names[KINDS] = {"good", "refused", "other"};
    proxy = loopback(atoi(words[0]));
    patience = (uint64_t)(atof(words[5]) * 1000);
    is_kept = atoi(words[6]);
    asking = calloc(MOST_FDS, sizeof *asking);
    late = calloc(LONGEST + 1, sizeof *late);
    for (int target = 0; target < targets; target++) {
        snprintf(requests[target], ROOM,
                 "GET %s HTTP/1.1\r\nHost: shop.bench.test\r\nUser-Agent: Mozilla/5.0 (X11; Linux x86_64)\r\n"
                 "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n"
                 "Accept-Language: en-GB,en;q=0.7,de;q=0.3\r\nAccept-Encoding: gzip, deflate, br\r\n"
                 "Cookie: session=0f3a9c7b5d1e4862a7c3f9d2b8e6014c; theme=dark; consent=necessary\r\n\r\n",
                 words[7 + target]);
        for (int kind = 0; kind < KINDS; kind++)
            histograms[target][kind] = calloc(LONGEST + 1, sizeof(uint32_t));
    }
    uint64_t begun = now_us(), at = begun, sent = 0, all = (uint64_t)(rate * (skip + seconds));
    counted_from = begun + (uint64_t)(skip * 1e6);
    uint64_t late_all = 0, end = begun + (uint64_t)((skip + seconds) * 1e6);
    while (sent < all || (line_head != line_tail && at < end + patience)) {
        uint64_t due = sent < all ? begun + (uint64_t)((double)sent * 1e6 / rate) : UINT64_MAX;
        int is_full = 0;
        while (due <= at) {
            /* Who would have lost patience before there is a connection leaves the line. */
            if (at - due >= patience)
                unsent += due >= counted_from;
            else if (!ask(due, (int)(sent % (uint64_t)targets), connections)) {
                is_full = 1;
                break;
            } else if (due >= counted_from) {
                late[at - due < LONGEST ? at - due : LONGEST]++;
                late_all++;
            }
            offered += due >= counted_from;
            sent++;
            due = sent < all ? begun + (uint64_t)((double)sent * 1e6 / rate) : UINT64_MAX;
        }
        uint64_t next = is_full ? at + 1000 : due;
        if (line_head != line_tail) {
            uint64_t give_up = line[line_head & 0xfffff].done + patience;
            if (give_up < next)
                next = give_up;
        }
        int ready = wait_until(events, next, now_us());
        for (int index = 0; index < ready; index++) {
            int fd = events[index].data.fd;
            struct asking *it = &asking[fd];
            if (!it->open)
                continue;
            if (it->due && !it->sent && events[index].events & EPOLLOUT)
                put_out(fd);
            if (it->open && events[index].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
                hear(fd);
        }
        at = now_us();
        lose_patience(at);
    }
    printf("{\"offered\":%" PRIu64 ",\"failed\":%" PRIu64 ",\"gave_up\":%" PRIu64 ",\"not_connected\":%" PRIu64
           ",\"unsent\":%" PRIu64 ",\"reopened\":%" PRIu64 ",\"late_p99_us\":%" PRIu64 ",\"seconds\":%g,\"targets\":[",
           offered, failed, gave_up, not_connected, unsent, reopened, late_all ? quantile(late, late_all, 0.99) : 0,
           seconds);
    for (int target = 0; target < targets; target++) {
        printf("%s{", target ? "," : "");
        for (int kind = 0; kind < KINDS; kind++) {
            uint64_t of_kind = counts[target][kind];
            const uint32_t *histogram = histograms[target][kind];
            printf("%s\"%s\":{\"count\":%" PRIu64, kind ? "," : "", names[kind], of_kind);
            if (of_kind)
                printf(",\"p50_us\":%" PRIu64 ",\"p99_us\":%" PRIu64 ",\"p999_us\":%" PRIu64,
                       quantile(histogram, of_kind, 0.5), quantile(histogram, of_kind, 0.99),
                       quantile(histogram, of_kind, 0.999));
            printf("}");
        }
        printf("}");
    }
    printf("]}\n");
}

/* ---- a slower core ---- */

static void hog(uint64_t taken)
{
    struct sched_param first = {.sched_priority = 1};
    if (sched_setscheduler(0, SCHED_FIFO, &first))
        fail("sched_setscheduler");
    puts("hogging");
    fflush(stdout);
    for (uint64_t next = now_us();; next += 1000) {
        while (now_us() < next + taken)
            ;
        struct timespec until = {.tv_sec = (time_t)((next + 1000) / 1000000),
                                 .tv_nsec = (long)((next + 1000) % 1000000) * 1000};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
    }
}

int main(int count, char **words)
{
    raise_limit();
    if (count == 3 && !strcmp(words[1], "hog") && atoi(words[2]) > 0 && atoi(words[2]) < 950)
        hog((uint64_t)atoi(words[2]));
    signal(SIGPIPE, SIG_IGN);
    poller = epoll_create1(0);
    if (count >= 5 && count <= 6 && !strcmp(words[1], "serve"))
        serve(count - 2, words + 2);
    else if (count >= 10 && count - 9 <= MOST_TARGETS && !strcmp(words[1], "load") && atof(words[3]) > 0)
        load(count - 2, words + 2);
    else {
        fprintf(stderr, "paced serve PLACES MICROSECONDS PORT [STORMY_PORT]\n"
                        "paced load PORT RATE SKIP SECONDS CONNECTIONS PATIENCE KEEP TARGET ...\n"
                        "paced hog MICROSECONDS\n");
        return 2;
    }
    return 0;
}
