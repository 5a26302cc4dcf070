/* Calls of the system that fail when they are told to: an object for LD_PRELOAD.
 *
 * Each process maps the file that HIVEMESH_FAULTS names (benchmarks/faults/control.py writes it). While it is armed, the
 * calls of one kind on one sort of descriptor in processes of one role are counted, all processes together, and those
 * from `first` on, `times` of them, fail with `error`, or move at most `most` bytes. Nothing else is changed, and nothing
 * at all while it is not armed. The first failure writes down who met it.
 *
 * A fault has to be one that a kernel could show. EAGAIN, and a read or a write that was cut short, are followed by a new
 * edge when there is something to come: so after these the descriptor's watch in epoll is set anew, which reports it
 * again if it is ready. EINTR of connect(2) leaves the connection under way, as connect(2) says. A datagram is never cut.
 *
 * What is called inside libc or by syscall(2) is not seen here; what of hivemesh, uvloop, Python and SQLite is, is tested.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <pthread.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { CONNECT, READ, WRITE, ACCEPT, SPLICE, MMAP, EPOLL, SOCKET, PIPE, OPEN, SYNC, MEMORY, SPAWN, WAIT };
enum { TCP = 1, UDP = 2, UNIX = 4, REGULAR = 8, OTHER = 16, NONE = 32 };
enum { SUPERVISOR = 1, AGENT = 2, WORKER = 4, CHILD = 8 };
enum { MAX_WATCHED = 32768 };

/* As benchmarks/faults/control.py has it. */
struct control {
    _Atomic uint32_t armed;
    uint32_t kind, roles, sorts;
    int32_t error;  /* 0: cut short */
    uint32_t most;  /* bytes that a call which is cut short moves */
    uint64_t first, times;
    _Atomic uint64_t seen, failed;
    /* The first failure. */
    int32_t pid, role, fd, sort;
    char call[32];
    char path[64];  /* set: only of files whose name has this in it */
};

static struct control *control;
static int role;
static struct { int epoll; uint32_t events; uint64_t data; } watched[MAX_WATCHED];

#define REAL(name) ({ \
    static __typeof__(&name) real_; \
    if (!real_) { real_ = (__typeof__(&name))dlsym(RTLD_NEXT, #name); } \
    real_; \
})

/* Whether memory is being asked for by a kernel of ours. */
static int is_ours(const void *caller) {
    Dl_info info;
    return dladdr(caller, &info) && info.dli_fname && strstr(info.dli_fname, "/proxy/kernel/") != NULL;
}

static int sort_of(int fd) {
    int domain = 0, type = 0;
    socklen_t size = sizeof domain;
    struct stat found;
    if (fd < 0) return NONE;
    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0) {
        size = sizeof type;
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size);
        if (domain == AF_UNIX) return UNIX;
        return type == SOCK_DGRAM ? UDP : TCP;
    }
    if (fstat(fd, &found) == 0 && S_ISREG(found.st_mode)) return REGULAR;
    return OTHER;
}

static int is_named(int fd, const char *part) {
    char link[64], name[4096];
    ssize_t size;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    size = readlink(link, name, sizeof name - 1);
    if (size < 0) return 0;
    name[size] = 0;
    return strstr(name, part) != NULL;
}

/* Whether this call is one that fails. `path`: of a file that is to be opened. */
static int fails(uint32_t kind, int fd, const char *call, const char *path) {
    struct control *now = control;
    int sort, kept = errno;
    uint64_t number;
    if (!now || !atomic_load_explicit(&now->armed, memory_order_acquire)) return 0;
    if (now->kind != kind || !(now->roles & role)) return 0;
    sort = sort_of(fd);
    errno = kept;
    if (!(now->sorts & sort)) return 0;
    if (now->path[0] && !(path ? strstr(path, now->path) != NULL : is_named(fd, now->path))) { errno = kept; return 0; }
    errno = kept;
    number = atomic_fetch_add(&now->seen, 1) + 1;
    if (number < now->first || number - now->first >= now->times) return 0;
    if (atomic_fetch_add(&now->failed, 1) == 0) {
        now->pid = getpid(); now->role = role; now->fd = fd; now->sort = sort;
        snprintf(now->call, sizeof now->call, "%s", call);
    }
    return 1;
}

/* What was held back is there after all: a new edge. */
static void again(int fd) {
    struct epoll_event event;
    int kept = errno;
    if (fd < 0 || fd >= MAX_WATCHED || !watched[fd].epoll) return;
    event.events = watched[fd].events;
    event.data.u64 = watched[fd].data;
    REAL(epoll_ctl)(watched[fd].epoll - 1, EPOLL_CTL_MOD, fd, &event);
    errno = kept;
}

/* 0: nothing is to happen. -1: fail, errno is set. 1: cut short. */
static int fault(uint32_t kind, int fd, const char *call) {
    if (!fails(kind, fd, call, NULL)) return 0;
    if (control->error == 0) return 1;
    if (control->error == EAGAIN) again(fd);
    errno = control->error;
    return -1;
}

static size_t less(size_t size) { return size > control->most ? control->most : size; }

/* ---------------------------------------------------------------- reading */

#define PLAIN(kind, name, result, fd, size, call_real, ...) \
    result name(__VA_ARGS__) { \
        result done; \
        int what = fault(kind, fd, #name); \
        if (what < 0) return -1; \
        if (what > 0 && sort_of(fd) != UDP) { size = less(size); done = call_real; again(fd); return done; } \
        return call_real; \
    }

PLAIN(READ, read, ssize_t, fd, size, REAL(read)(fd, into, size), int fd, void *into, size_t size)
PLAIN(READ, recv, ssize_t, fd, size, REAL(recv)(fd, into, size, flags), int fd, void *into, size_t size, int flags)
PLAIN(READ, recvfrom, ssize_t, fd, size, REAL(recvfrom)(fd, into, size, flags, a, n),
      int fd, void *into, size_t size, int flags, __SOCKADDR_ARG a, socklen_t *restrict n)
PLAIN(READ, pread, ssize_t, fd, size, REAL(pread)(fd, into, size, at), int fd, void *into, size_t size, off_t at)
PLAIN(READ, pread64, ssize_t, fd, size, REAL(pread64)(fd, into, size, at), int fd, void *into, size_t size, off64_t at)
PLAIN(WRITE, write, ssize_t, fd, size, REAL(write)(fd, from, size), int fd, const void *from, size_t size)
PLAIN(WRITE, send, ssize_t, fd, size, REAL(send)(fd, from, size, flags), int fd, const void *from, size_t size, int flags)
PLAIN(WRITE, sendto, ssize_t, fd, size, REAL(sendto)(fd, from, size, flags, a, n),
      int fd, const void *from, size_t size, int flags, __CONST_SOCKADDR_ARG a, socklen_t n)
PLAIN(WRITE, pwrite, ssize_t, fd, size, REAL(pwrite)(fd, from, size, at), int fd, const void *from, size_t size, off_t at)
PLAIN(WRITE, pwrite64, ssize_t, fd, size, REAL(pwrite64)(fd, from, size, at),
      int fd, const void *from, size_t size, off64_t at)

/* The first `most` bytes of many pieces: what of the first piece is among them, which is what a kernel may do too. */
static struct iovec first_of(const struct iovec *pieces, int count) {
    struct iovec first = {0, 0};
    for (int i = 0; i < count && !first.iov_len; i++) first = pieces[i];
    first.iov_len = less(first.iov_len);
    return first;
}

ssize_t readv(int fd, const struct iovec *pieces, int count) {
    int what = fault(READ, fd, "readv");
    if (what < 0) return -1;
    if (what > 0) {
        struct iovec first = first_of(pieces, count);
        ssize_t done = REAL(readv)(fd, &first, 1);
        again(fd);
        return done;
    }
    return REAL(readv)(fd, pieces, count);
}

ssize_t writev(int fd, const struct iovec *pieces, int count) {
    int what = fault(WRITE, fd, "writev");
    if (what < 0) return -1;
    if (what > 0) {
        struct iovec first = first_of(pieces, count);
        ssize_t done = REAL(writev)(fd, &first, 1);
        again(fd);
        return done;
    }
    return REAL(writev)(fd, pieces, count);
}

ssize_t recvmsg(int fd, struct msghdr *message, int flags) {
    int what = fault(READ, fd, "recvmsg");
    if (what < 0) return -1;
    if (what > 0 && sort_of(fd) != UDP && message->msg_iovlen) {
        struct iovec *pieces = message->msg_iov, first = first_of(pieces, (int)message->msg_iovlen);
        size_t count = message->msg_iovlen;
        ssize_t done;
        message->msg_iov = &first;
        message->msg_iovlen = 1;
        done = REAL(recvmsg)(fd, message, flags);
        message->msg_iov = pieces;
        message->msg_iovlen = count;
        again(fd);
        return done;
    }
    return REAL(recvmsg)(fd, message, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags) {
    int what = fault(WRITE, fd, "sendmsg");
    if (what < 0) return -1;
    if (what > 0 && sort_of(fd) != UDP && message->msg_iovlen) {
        struct iovec first = first_of(message->msg_iov, (int)message->msg_iovlen);
        struct msghdr cut = *message;
        ssize_t done;
        cut.msg_iov = &first;
        cut.msg_iovlen = 1;
        done = REAL(sendmsg)(fd, &cut, flags);
        again(fd);
        return done;
    }
    return REAL(sendmsg)(fd, message, flags);
}

int recvmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags, struct timespec *limit) {
    int what = fault(READ, fd, "recvmmsg");
    if (what < 0) return -1;
    if (what > 0) {
        int done = REAL(recvmmsg)(fd, messages, 1, flags, limit);
        again(fd);
        return done;
    }
    return REAL(recvmmsg)(fd, messages, count, flags, limit);
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags) {
    int what = fault(WRITE, fd, "sendmmsg");
    if (what < 0) return -1;
    return REAL(sendmmsg)(fd, messages, what > 0 ? 1 : count, flags);
}

ssize_t splice(int from, off64_t *from_at, int to, off64_t *to_at, size_t size, unsigned flags) {
    int socket_end = sort_of(from) == OTHER ? to : from;
    int what = fault(SPLICE, socket_end, "splice");
    ssize_t done;
    if (what < 0) return -1;
    if (what == 0) return REAL(splice)(from, from_at, to, to_at, size, flags);
    done = REAL(splice)(from, from_at, to, to_at, less(size), flags);
    again(socket_end);
    return done;
}

/* ---------------------------------------------------------------- descriptors */

#define FAILING(kind, name, result, fd, call_real, ...) \
    result name(__VA_ARGS__) { return fault(kind, fd, #name) ? -1 : call_real; }

FAILING(ACCEPT, accept, int, fd, REAL(accept)(fd, a, n), int fd, __SOCKADDR_ARG a, socklen_t *restrict n)
FAILING(ACCEPT, accept4, int, fd, REAL(accept4)(fd, a, n, flags), int fd, __SOCKADDR_ARG a, socklen_t *restrict n, int flags)
FAILING(SOCKET, socket, int, -1, REAL(socket)(domain, type, protocol), int domain, int type, int protocol)
FAILING(SOCKET, socketpair, int, -1, REAL(socketpair)(domain, type, protocol, ends),
        int domain, int type, int protocol, int ends[2])
FAILING(PIPE, pipe, int, -1, REAL(pipe)(ends), int ends[2])
FAILING(PIPE, pipe2, int, -1, REAL(pipe2)(ends, flags), int ends[2], int flags)
FAILING(SYNC, fsync, int, fd, REAL(fsync)(fd), int fd)
FAILING(SYNC, fdatasync, int, fd, REAL(fdatasync)(fd), int fd)
FAILING(WAIT, epoll_wait, int, -1, REAL(epoll_wait)(fd, events, most, limit),
        int fd, struct epoll_event *events, int most, int limit)
FAILING(WAIT, epoll_pwait, int, -1, REAL(epoll_pwait)(fd, events, most, limit, mask),
        int fd, struct epoll_event *events, int most, int limit, const sigset_t *mask)

int connect(int fd, __CONST_SOCKADDR_ARG address, socklen_t size) {
    int what = fault(CONNECT, fd, "connect");
    if (what == 0) return REAL(connect)(fd, address, size);
    if (errno == EINTR) { REAL(connect)(fd, address, size); errno = EINTR; }
    return -1;
}

int epoll_ctl(int epoll, int what, int fd, struct epoll_event *event) {
    if (what != EPOLL_CTL_DEL && fault(EPOLL, fd, what == EPOLL_CTL_ADD ? "epoll_ctl ADD" : "epoll_ctl MOD")) return -1;
    if (fd >= 0 && fd < MAX_WATCHED && control) {
        watched[fd].epoll = what == EPOLL_CTL_DEL ? 0 : epoll + 1;
        if (event) { watched[fd].events = event->events; watched[fd].data = event->data.u64; }
    }
    return REAL(epoll_ctl)(epoll, what, fd, event);
}

#define OPENING(name, path, call_real, ...) \
    int name(__VA_ARGS__, ...) { \
        va_list more; \
        mode_t mode; \
        va_start(more, flags); \
        mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0; \
        va_end(more); \
        if (fails(OPEN, -1, #name, path)) { errno = control->error; return -1; } \
        return call_real; \
    }

OPENING(open, path, REAL(open)(path, flags, mode), const char *path, int flags)
OPENING(open64, path, REAL(open64)(path, flags, mode), const char *path, int flags)
OPENING(openat, path, REAL(openat)(at, path, flags, mode), int at, const char *path, int flags)
OPENING(openat64, path, REAL(openat64)(at, path, flags, mode), int at, const char *path, int flags)

/* ---------------------------------------------------------------- memory and processes */

void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset) {
    if (fault(MMAP, -1, "mmap")) return MAP_FAILED;
    return (void *)syscall(SYS_mmap, at, size, protection, flags, fd, offset);
}

void *mmap64(void *at, size_t size, int protection, int flags, int fd, off64_t offset) {
    if (fault(MMAP, -1, "mmap64")) return MAP_FAILED;
    return (void *)syscall(SYS_mmap, at, size, protection, flags, fd, offset);
}

/* Only while armed for it: dlsym itself asks for memory before there is anything to ask. */
extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t);

#define WANTED (control && control->kind == MEMORY && atomic_load(&control->armed) && is_ours(__builtin_return_address(0)))

void *malloc(size_t size) {
    if (WANTED && fault(MEMORY, -1, "malloc")) return NULL;
    return __libc_malloc(size);
}

void *calloc(size_t count, size_t size) {
    if (WANTED && fault(MEMORY, -1, "calloc")) return NULL;
    return __libc_calloc(count, size);
}

void *realloc(void *old, size_t size) {
    if (WANTED && fault(MEMORY, -1, "realloc")) return NULL;
    return __libc_realloc(old, size);
}

int posix_spawn(pid_t *restrict pid, const char *restrict path, const posix_spawn_file_actions_t *restrict actions,
                const posix_spawnattr_t *restrict how, char *const argv[restrict], char *const env[restrict]) {
    if (fails(SPAWN, -1, "posix_spawn", NULL)) return control->error;
    return REAL(posix_spawn)(pid, path, actions, how, argv, env);
}

pid_t fork(void) { return fault(SPAWN, -1, "fork") ? -1 : REAL(fork)(); }

int pthread_create(pthread_t *restrict thread, const pthread_attr_t *restrict how, void *(*run)(void *), void *restrict with) {
    if (fails(SPAWN, -1, "pthread_create", NULL)) return control->error;
    return REAL(pthread_create)(thread, how, run, with);
}

/* ---------------------------------------------------------------- starting */

static int own_role(void) {
    char line[4096];
    int fd = (int)syscall(SYS_openat, AT_FDCWD, "/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t size = fd < 0 ? 0 : syscall(SYS_read, fd, line, sizeof line - 1);
    if (fd >= 0) close(fd);
    if (size <= 0) return 0;
    for (ssize_t i = 0; i < size; i++) if (!line[i]) line[i] = ' ';
    line[size] = 0;
    if (strstr(line, " proxy.control.agent")) return AGENT;
    if (strstr(line, " proxy.control.worker")) return WORKER;
    if (strstr(line, " -m proxy ")) return SUPERVISOR;
    return CHILD;
}

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("HIVEMESH_FAULTS");
    int fd;
    void *found;
    if (!path) return;
    fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    found = (void *)syscall(SYS_mmap, NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (found == MAP_FAILED) return;
    role = own_role();
    control = found;
}
