/*
 * A disk that can lose power: preloaded into a node by `cargo xtask faults`.
 *
 * Before every change of a file or name below one directory, what was there before is written to an undo journal in shared memory, which
 * outlives the process. An entry is dropped when its file (for bytes and lengths) or its directory (for names) is synced. Whoever plays the
 * remaining entries back, newest first, gets what a disk may hold after the power failed. The same shim fails, shortens and slows calls.
 *
 * It never decides anything: switches and counters stand in the head of the journal, set and read by xtask/src/faults/journal.rs, which
 * also knows this layout. It sees what passes through libc. Mappings for writing and the calls at the end of this file are counted, not
 * caught; a system call made without libc is neither: nothing here knows of it, so the node must make none (rustix: feature use-libc).
 *
 * Names are noted as a file system keeps them: a word in a directory that leads to a number (inode), so that a directory which moves or
 * goes takes along what was noted of it. Numbers must not be used again while the journal lives, which holds on tmpfs.
 *
 * Stricter than ext4: syncing a new file does not keep its name; only syncing its directory does (fsync(2), "Calling fsync() does not
 * necessarily ensure that the entry in the directory containing the file has also reached disk"). A rename or exchange is one act, kept by
 * syncing the directory of the new name. After a failed sync its bytes stay lost unless they are written again (Linux marks such pages clean).
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

/* The head of the journal. Same order in journal.rs. */
struct head {
    uint64_t magic;
    uint64_t active;       /* which arena holds the entries */
    uint64_t used[2];
    uint64_t arena_bytes;
    /* counters */
    uint64_t ops;          /* journaled acts, also the number of the newest entry */
    uint64_t writes, names, syncs;
    uint64_t overflow;     /* entries that found no room: the run proves nothing */
    uint64_t mapped;       /* mappings for writing below the directory */
    uint64_t unseen;       /* ways round the journal */
    uint64_t injected;     /* calls failed, shortened or slowed */
    /* switches */
    uint64_t kill_mask, kill_countdown, kill_mode;
    uint64_t write_errno, write_class, write_skip;
    uint64_t sync_errno, sync_class, sync_skip;
    uint64_t short_max, short_class;
    uint64_t delay_us, delay_class;
    uint64_t swallow_fdatasync, swallow_fsync; /* classes whose sync does nothing and says it did */
};
#define MAGIC 0x31544c55414c4e41ull /* "ANLAULT1" */
#define HEAD_BYTES 4096

/* Classes of files; directories are classes of their own. */
enum { LOG = 1, HISTORY = 2, SQLITE = 4, OTHER = 8, HISTORY_DIR = 16, OTHER_DIR = 32 };
/* Kinds of acts, for kill_mask. */
enum { A_WRITE = 1, A_NAME = 2, A_SYNC = 4 };
/* kill_mode */
enum { BEFORE = 0, MIDDLE = 1, AFTER = 2 };

enum { WRITE = 1, TRUNCATE = 2, CREATE = 10, UNLINK = 11, RENAME = 12, MKDIR = 13, RMDIR = 14, LINK = 15, EXCHANGE = 16 };
enum { DROPPED = 0, LIVE = 1, STUCK = 2 };

struct entry {
    uint32_t len, kind, state, pad;
    /* seq is also the name in the grave of the file that the act takes a name from. */
    uint64_t seq;
    uint64_t ino;   /* the file written; of a name: what the (first) name leads to before the act, 0 if the act makes it */
    uint64_t off;   /* of bytes: where; of a name: its directory */
    uint64_t n_old; /* bytes after this head */
    uint64_t old_size; /* of bytes: the file's length before; of two names: the second's directory */
    uint64_t n_new;    /* of bytes: how many are written; of a rename: what it replaces, or 0 */
    /* then old bytes, or two words each ended by a zero */
};

static struct head *H;
static char *arena[2];
static char root[PATH_MAX], grave[PATH_MAX - 32];
static size_t root_len;
static uint64_t n_dead, n_entries;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static int sys_open(const char *path, int flags) { return (int)syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0600); }

__attribute__((constructor)) static void begin(void) {
    const char *file = getenv("ANLAN_FAULTS_JOURNAL"), *dir = getenv("ANLAN_FAULTS_DIR"), *g = getenv("ANLAN_FAULTS_GRAVE");
    if (!file || !dir || !g) return;
    int fd = sys_open(file, O_RDWR);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) { perror("power: journal"); _exit(99); }
    char *map = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (map == MAP_FAILED || ((struct head *)map)->magic != MAGIC) { fprintf(stderr, "power: not a journal\n"); _exit(99); }
    struct head *h = (struct head *)map;
    arena[0] = map + HEAD_BYTES;
    arena[1] = arena[0] + h->arena_bytes;
    snprintf(root, sizeof root, "%s", dir);
    snprintf(grave, sizeof grave, "%s", g);
    root_len = strlen(root);
    for (uint64_t at = 0; at < h->used[h->active];) {
        struct entry *e = (struct entry *)(arena[h->active] + at);
        n_entries++;
        n_dead += e->state == DROPPED;
        at += e->len;
    }
    H = h;
}

/* ---- what a file is ---- */

static int below(const char *path) {
    return strncmp(path, root, root_len) == 0 && (path[root_len] == '/' || path[root_len] == 0);
}

static int class_of(const char *path, mode_t mode) {
    const char *base = strrchr(path, '/');
    base = base ? base + 1 : path;
    size_t n = strlen(base);
    int history = strncmp(path + root_len, "/node/history", 13) == 0;
    if (S_ISDIR(mode)) return history ? HISTORY_DIR : OTHER_DIR;
    /* SQLite's wal-index is rebuilt after a crash; the harness deletes it at the cut. */
    if (n > 4 && strcmp(base + n - 4, "-shm") == 0) return 0;
    if (history) return strncmp(base, "log-", 4) == 0 ? LOG : HISTORY;
    return strstr(base, ".sqlite") ? SQLITE : OTHER;
}

/* The class of an open file below the directory, 0 for everything else. */
static int look(int fd, struct stat *st, char *path) {
    if (!H || fstat(fd, st) != 0 || !(S_ISREG(st->st_mode) || S_ISDIR(st->st_mode))) return 0;
    char proc[64];
    snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(proc, path, PATH_MAX - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    if (!below(path)) return 0;
    static const char gone[] = " (deleted)";
    if ((size_t)n > sizeof gone && strcmp(path + n - (sizeof gone - 1), gone) == 0) path[n - (ssize_t)(sizeof gone - 1)] = 0;
    return class_of(path, st->st_mode);
}

/* An absolute name; 0 if it is not below the directory or not ours to keep. */
static int named(int dirfd, const char *name, char *path) {
    if (!H || !name) return 0;
    if (name[0] == '/') {
        snprintf(path, PATH_MAX, "%s", name);
    } else {
        char dir[PATH_MAX];
        ssize_t n;
        if (dirfd == AT_FDCWD) {
            if (!getcwd(dir, sizeof dir)) return 0;
        } else {
            char proc[64];
            snprintf(proc, sizeof proc, "/proc/self/fd/%d", dirfd);
            if ((n = readlink(proc, dir, sizeof dir - 1)) <= 0) return 0;
            dir[n] = 0;
        }
        if (snprintf(path, PATH_MAX, "%s/%s", dir, name) >= PATH_MAX) return 0;
    }
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') path[--n] = 0;
    return below(path) && path[root_len] == '/' && class_of(path, S_IFREG) != 0;
}

/* ---- the journal; all of it under the lock ---- */

static struct entry *next_entry(uint64_t *at) {
    uint64_t a = H->active;
    if (*at >= H->used[a]) return NULL;
    struct entry *e = (struct entry *)(arena[a] + *at);
    *at += e->len;
    return e;
}

static void drop(struct entry *e) {
    if (e->state == DROPPED) return;
    __atomic_store_n(&e->state, DROPPED, __ATOMIC_RELEASE);
    n_dead++;
}

/* Copies what lives to the other arena, then switches over: a kill in between leaves the old one in force. */
static void compact(void) {
    uint64_t from = H->active, to = 1 - from, used = 0, at = 0, live = 0;
    for (struct entry *e; (e = next_entry(&at));) {
        if (e->state == DROPPED) continue;
        memcpy(arena[to] + used, e, e->len);
        used += e->len;
        live++;
    }
    H->used[to] = used;
    __atomic_store_n(&H->active, to, __ATOMIC_RELEASE);
    n_entries = live;
    n_dead = 0;
}

static struct entry *note(uint32_t kind, uint64_t ino, uint64_t off, uint64_t n_new, uint64_t old_size, size_t payload) {
    uint64_t len = (sizeof(struct entry) + payload + 7) & ~7ull;
    if ((n_dead > 1000 && n_dead * 2 > n_entries) || H->used[H->active] + len > H->arena_bytes) compact();
    uint64_t a = H->active;
    H->ops++;
    if (H->used[a] + len > H->arena_bytes || len > UINT32_MAX) {
        H->overflow++;
        return NULL;
    }
    struct entry *e = (struct entry *)(arena[a] + H->used[a]);
    *e = (struct entry){.len = (uint32_t)len, .kind = kind, .state = LIVE, .seq = H->ops, .ino = ino, .off = off, .n_old = payload,
                        .old_size = old_size, .n_new = n_new};
    return e;
}

/* The entry counts from here on. */
static void keep(struct entry *e) {
    if (!e) return;
    __atomic_store_n(&H->used[H->active], H->used[H->active] + e->len, __ATOMIC_RELEASE);
    n_entries++;
}

/* A word in a directory, absolute path given: its directory's number, 0 if it is not there; `word` points into the path. */
static uint64_t place(const char *path, const char **word) {
    char dir[PATH_MAX];
    struct stat st;
    const char *slash = strrchr(path, '/');
    *word = slash + 1;
    snprintf(dir, sizeof dir, "%.*s", (int)(slash - path), path);
    return stat(dir, &st) == 0 ? st.st_ino : 0;
}

static struct entry *note_names(uint32_t kind, uint64_t ino, const char *a, const char *b, uint64_t replaced) {
    const char *first, *second = "";
    uint64_t first_dir = place(a, &first), second_dir = b ? place(b, &second) : 0;
    size_t la = strlen(first) + 1, lb = strlen(second) + 1;
    struct entry *e = note(kind, ino, first_dir, replaced, second_dir, la + lb);
    H->names++;
    if (!e) return NULL;
    char *p = (char *)(e + 1);
    memcpy(p, first, la);
    memcpy(p + la, second, lb);
    keep(e);
    return e;
}

/* Bytes [from, to) of an open file as they are. */
static void old_bytes(int fd, char *to, uint64_t from, size_t n) {
    char proc[64];
    snprintf(proc, sizeof proc, "/proc/self/fd/%d", fd);
    int in = sys_open(proc, O_RDONLY);
    size_t done = 0;
    while (in >= 0 && done < n) {
        ssize_t got = pread(in, to + done, n - done, (off_t)(from + done));
        if (got <= 0) break;
        done += (size_t)got;
    }
    if (in >= 0) close(in);
    if (done < n) memset(to + done, 0, n - done);
}

/* A page written again is dirty again: what a failed sync had given up will reach the disk after all. */
static void dirty_again(uint64_t ino, uint64_t from, uint64_t to) {
    uint64_t at = 0;
    for (struct entry *e; (e = next_entry(&at));)
        if (e->state == STUCK && e->ino == ino && e->off < to && from < e->off + (e->n_new ? e->n_new : 1)) e->state = LIVE;
}

static struct entry *note_write(int fd, const struct stat *st, uint64_t off, uint64_t n) {
    uint64_t size = (uint64_t)st->st_size, n_old = off >= size ? 0 : (size - off < n ? size - off : n);
    dirty_again(st->st_ino, off, off + n);
    struct entry *e = note(WRITE, st->st_ino, off, n, size, n_old);
    H->writes++;
    if (!e) return NULL;
    old_bytes(fd, (char *)(e + 1), off, n_old);
    keep(e);
    return e;
}

static struct entry *note_truncate(int fd, const struct stat *st, uint64_t length) {
    uint64_t size = (uint64_t)st->st_size, n_old = length < size ? size - length : 0;
    dirty_again(st->st_ino, length, UINT64_MAX);
    struct entry *e = note(TRUNCATE, st->st_ino, length, 0, size, n_old);
    H->writes++;
    if (!e) return NULL;
    old_bytes(fd, (char *)(e + 1), length, n_old);
    keep(e);
    return e;
}

static int due(uint64_t kind) {
    if (!(H->kill_mask & kind) || !H->kill_countdown) return 0;
    return --H->kill_countdown == 0;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* Whether this call is to fail now. */
static int fails(uint64_t error, uint64_t classes, uint64_t *skip, int class) {
    if (!error || !(classes & (uint64_t)class)) return 0;
    if (*skip) {
        --*skip;
        return 0;
    }
    H->injected++;
    return 1;
}

/* ---- bytes ---- */

enum how { PLAIN, AT, COPY };

static ssize_t tracked(int fd, const struct iovec *iov, int n_iov, off_t off, int flags, size_t n_copy, enum how how,
                       ssize_t (*act)(const struct iovec *, int, size_t, void *), void *with) {
    struct stat st;
    char path[PATH_MAX];
    int class = look(fd, &st, path);
    if (!class || !S_ISREG(st.st_mode)) return act(iov, n_iov, n_copy, with);
    (void)flags;
    pthread_mutex_lock(&lock);
    fstat(fd, &st);
    if (fails(H->write_errno, H->write_class, &H->write_skip, class)) {
        int error = (int)H->write_errno;
        pthread_mutex_unlock(&lock);
        errno = error;
        return -1;
    }
    uint64_t total = n_copy;
    struct iovec parts[64];
    if (how != COPY) {
        for (int i = 0; i < n_iov; i++) total += iov[i].iov_len;
        uint64_t most = total;
        if (H->short_max && (H->short_class & (uint64_t)class) && total > 1) {
            most = 1 + (H->ops * 2654435761u) % (H->short_max < total - 1 ? H->short_max : total - 1);
            H->injected++;
        }
        if (most < total) {
            int n = 0;
            for (uint64_t left = most; n < n_iov && n < 64 && left > 0; n++) {
                parts[n] = iov[n];
                if (parts[n].iov_len > left) parts[n].iov_len = left;
                left -= parts[n].iov_len;
            }
            iov = parts;
            n_iov = n;
            total = most;
        }
    }
    int fl = fcntl(fd, F_GETFL);
    uint64_t at = how != PLAIN && off >= 0 ? (uint64_t)off : (fl & O_APPEND) ? (uint64_t)st.st_size : (uint64_t)lseek(fd, 0, SEEK_CUR);
    struct entry *e = (fl & O_DSYNC) ? NULL : note_write(fd, &st, at, total);
    int last = due(A_WRITE);
    if (last && H->kill_mode == BEFORE) die();
    if (last && H->kill_mode == MIDDLE && how != COPY && total > 1) {
        struct iovec half = iov[0];
        half.iov_len = half.iov_len / 2 + 1 < half.iov_len ? half.iov_len / 2 + 1 : half.iov_len;
        act(&half, 1, 0, with);
        die();
    }
    ssize_t done = act(iov, n_iov, n_copy, with);
    int error = errno;
    if (done <= 0 && e) drop(e);
    /* A copy asks for a gigabyte and gets the file. */
    if (done > 0 && e && how == COPY) e->n_new = (uint64_t)done;
    if (last) die();
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}

struct io { int fd, fd_in, flags; off_t off; off_t *off_in, *off_out; };

static ssize_t act_write(const struct iovec *iov, int n, size_t copy, void *with) {
    (void)copy;
    REAL(writev);
    return real(((struct io *)with)->fd, iov, n);
}
static ssize_t act_pwrite(const struct iovec *iov, int n, size_t copy, void *with) {
    (void)copy;
    struct io *io = with;
    REAL(pwritev);
    return real(io->fd, iov, n, io->off);
}
static ssize_t act_pwrite2(const struct iovec *iov, int n, size_t copy, void *with) {
    (void)copy;
    struct io *io = with;
    REAL(pwritev2);
    return real(io->fd, iov, n, io->off, io->flags);
}
static ssize_t act_copy(const struct iovec *iov, int n, size_t copy, void *with) {
    (void)iov, (void)n;
    struct io *io = with;
    REAL(copy_file_range);
    return real(io->fd_in, io->off_in, io->fd, io->off_out, copy, (unsigned)io->flags);
}
static ssize_t act_sendfile(const struct iovec *iov, int n, size_t copy, void *with) {
    (void)iov, (void)n;
    struct io *io = with;
    REAL(sendfile);
    return real(io->fd, io->fd_in, io->off_in, copy);
}

ssize_t write(int fd, const void *buf, size_t n) {
    struct stat st;
    char path[PATH_MAX];
    if (!H || n == 0 || !look(fd, &st, path)) {
        REAL(write);
        return real(fd, buf, n);
    }
    struct iovec iov = {(void *)buf, n};
    struct io io = {.fd = fd};
    return tracked(fd, &iov, 1, -1, 0, 0, PLAIN, act_write, &io);
}
ssize_t writev(int fd, const struct iovec *iov, int n) {
    struct io io = {.fd = fd};
    return tracked(fd, iov, n, -1, 0, 0, PLAIN, act_write, &io);
}
ssize_t pwrite(int fd, const void *buf, size_t n, off_t off) {
    struct iovec iov = {(void *)buf, n};
    struct io io = {.fd = fd, .off = off};
    return tracked(fd, &iov, 1, off, 0, 0, AT, act_pwrite, &io);
}
ssize_t pwrite64(int fd, const void *buf, size_t n, off64_t off) { return pwrite(fd, buf, n, off); }
ssize_t pwritev(int fd, const struct iovec *iov, int n, off_t off) {
    struct io io = {.fd = fd, .off = off};
    return tracked(fd, iov, n, off, 0, 0, AT, act_pwrite, &io);
}
ssize_t pwritev64(int fd, const struct iovec *iov, int n, off64_t off) { return pwritev(fd, iov, n, off); }
ssize_t pwritev2(int fd, const struct iovec *iov, int n, off_t off, int flags) {
    struct io io = {.fd = fd, .off = off, .flags = flags};
    return tracked(fd, iov, n, off, flags, 0, AT, act_pwrite2, &io);
}
ssize_t pwritev64v2(int fd, const struct iovec *iov, int n, off64_t off, int flags) { return pwritev2(fd, iov, n, off, flags); }
ssize_t copy_file_range(int in, off64_t *off_in, int fd, off64_t *off_out, size_t n, unsigned flags) {
    struct io io = {.fd = fd, .fd_in = in, .off_in = off_in, .off_out = off_out, .flags = (int)flags};
    return tracked(fd, NULL, 0, off_out ? *off_out : -1, 0, n, COPY, act_copy, &io);
}
ssize_t sendfile(int fd, int in, off_t *off_in, size_t n) {
    struct io io = {.fd = fd, .fd_in = in, .off_in = off_in};
    return tracked(fd, NULL, 0, -1, 0, n, COPY, act_sendfile, &io);
}
ssize_t sendfile64(int fd, int in, off64_t *off_in, size_t n) { return sendfile(fd, in, off_in, n); }

int ftruncate(int fd, off_t length) {
    REAL(ftruncate);
    struct stat st;
    char path[PATH_MAX];
    int class = look(fd, &st, path);
    if (!class) return real(fd, length);
    pthread_mutex_lock(&lock);
    fstat(fd, &st);
    struct entry *e = length == st.st_size ? NULL : note_truncate(fd, &st, (uint64_t)length);
    int last = due(A_WRITE);
    if (last && H->kill_mode == BEFORE) die();
    int done = real(fd, length), error = errno;
    if (done != 0 && e) drop(e);
    if (last) die();
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}
int ftruncate64(int fd, off64_t length) { return ftruncate(fd, length); }
int truncate(const char *name, off_t length) {
    int fd = sys_open(name, O_RDWR);
    if (fd < 0) return -1;
    int done = ftruncate(fd, length), error = errno;
    close(fd);
    errno = error;
    return done;
}
int truncate64(const char *name, off64_t length) { return truncate(name, length); }

int fallocate(int fd, int mode, off_t off, off_t n) {
    REAL(fallocate);
    struct stat st;
    char path[PATH_MAX];
    if (!look(fd, &st, path)) return real(fd, mode, off, n);
    pthread_mutex_lock(&lock);
    fstat(fd, &st);
    struct entry *e = note_write(fd, &st, (uint64_t)off, (uint64_t)n);
    int done = real(fd, mode, off, n), error = errno;
    if (done != 0 && e) drop(e);
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}
int fallocate64(int fd, int mode, off64_t off, off64_t n) { return fallocate(fd, mode, off, n); }
int posix_fallocate(int fd, off_t off, off_t n) { return fallocate(fd, 0, off, n) == 0 ? 0 : errno; }
int posix_fallocate64(int fd, off64_t off, off64_t n) { return posix_fallocate(fd, off, n); }

/* ---- names ---- */

static void grave_of(uint64_t seq, char *kept) { snprintf(kept, PATH_MAX, "%s/%llu", grave, (unsigned long long)seq); }

/* Keeps a second name for a file that is about to lose its own, under the number of the next entry, so that its bytes can come back. */
static int bury(const char *path) {
    char kept[PATH_MAX];
    grave_of(H->ops + 1, kept);
    REAL(linkat);
    if (real(AT_FDCWD, path, AT_FDCWD, kept, 0) == 0) return 1;
    if (errno != EEXIST) return 0;
    /* A process that was killed between here and its note left this behind. */
    syscall(SYS_unlinkat, AT_FDCWD, kept, 0);
    return real(AT_FDCWD, path, AT_FDCWD, kept, 0) == 0;
}

static void unbury(const struct entry *e) {
    char kept[PATH_MAX];
    if (!e) return;
    grave_of(e->seq, kept);
    syscall(SYS_unlinkat, AT_FDCWD, kept, 0);
}

static int open_tracked(int dirfd, const char *name, int flags, mode_t mode) {
    REAL(openat);
    char path[PATH_MAX];
    if (!H || !(flags & (O_CREAT | O_TRUNC)) || !named(dirfd, name, path)) return real(dirfd, name, flags, mode);
    if ((flags & O_TMPFILE) == O_TMPFILE) H->unseen++;
    pthread_mutex_lock(&lock);
    struct stat st;
    struct entry *e = NULL;
    int there = stat(path, &st) == 0, last = 0;
    if (!there && (flags & O_CREAT)) {
        e = note_names(CREATE, 0, path, NULL, 0);
        last = due(A_NAME);
    } else if (there && (flags & O_TRUNC) && st.st_size > 0 && S_ISREG(st.st_mode)) {
        int fd = sys_open(path, O_RDONLY);
        e = note_truncate(fd, &st, 0);
        close(fd);
        last = due(A_WRITE);
    }
    if (last && H->kill_mode == BEFORE) die();
    int fd = real(dirfd, name, flags, mode), error = errno;
    if (fd < 0 && e) drop(e);
    if (last) die();
    pthread_mutex_unlock(&lock);
    errno = error;
    return fd;
}

#define MODE(flags) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { \
        va_list list; \
        va_start(list, flags); \
        mode = va_arg(list, mode_t); \
        va_end(list); \
    }
int open(const char *name, int flags, ...) { MODE(flags) return open_tracked(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE(flags) return open_tracked(AT_FDCWD, name, flags | O_LARGEFILE, mode); }
int openat(int dirfd, const char *name, int flags, ...) { MODE(flags) return open_tracked(dirfd, name, flags, mode); }
int openat64(int dirfd, const char *name, int flags, ...) { MODE(flags) return open_tracked(dirfd, name, flags | O_LARGEFILE, mode); }
int creat(const char *name, mode_t mode) { return open_tracked(AT_FDCWD, name, O_CREAT | O_WRONLY | O_TRUNC, mode); }
int creat64(const char *name, mode_t mode) { return creat(name, mode); }

int renameat2(int from_dir, const char *from, int to_dir, const char *to, unsigned flags) {
    REAL(renameat2);
    char a[PATH_MAX], b[PATH_MAX];
    int in = named(from_dir, from, a), out = named(to_dir, to, b);
    if (!in && !out) return real(from_dir, from, to_dir, to, flags);
    pthread_mutex_lock(&lock);
    struct stat st, was;
    int exchanges = flags == RENAME_EXCHANGE, there = lstat(a, &st) == 0, replaces = !exchanges && lstat(b, &was) == 0, buried = 0;
    if (!in || !out || (flags && flags != RENAME_NOREPLACE && !exchanges)) H->unseen++;
    if (there && replaces && !S_ISDIR(was.st_mode) && !(buried = bury(b))) H->unseen++;
    struct entry *e = there ? note_names(exchanges ? EXCHANGE : RENAME, st.st_ino, a, b, replaces ? was.st_ino : 0) : NULL;
    int last = there && due(A_NAME);
    if (last && H->kill_mode == BEFORE) die();
    int done = real(from_dir, from, to_dir, to, flags), error = errno;
    if (done != 0 && e) {
        drop(e);
        if (buried) unbury(e);
    }
    if (last) die();
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}
int renameat(int from_dir, const char *from, int to_dir, const char *to) { return renameat2(from_dir, from, to_dir, to, 0); }
int rename(const char *from, const char *to) { return renameat2(AT_FDCWD, from, AT_FDCWD, to, 0); }

int unlinkat(int dirfd, const char *name, int flags) {
    REAL(unlinkat);
    char path[PATH_MAX];
    struct stat st;
    if (!named(dirfd, name, path)) return real(dirfd, name, flags);
    pthread_mutex_lock(&lock);
    if (lstat(path, &st) != 0) {
        pthread_mutex_unlock(&lock);
        return real(dirfd, name, flags);
    }
    int is_dir = (flags & AT_REMOVEDIR) != 0, buried = !is_dir && bury(path);
    if (!is_dir && !buried && !S_ISDIR(st.st_mode)) H->unseen++;
    struct entry *e = note_names(is_dir ? RMDIR : UNLINK, st.st_ino, path, NULL, 0);
    int last = due(A_NAME);
    if (last && H->kill_mode == BEFORE) die();
    int done = real(dirfd, name, flags), error = errno;
    if (done != 0 && e) {
        drop(e);
        if (buried) unbury(e);
    }
    if (last) die();
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}
int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }
int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }
int remove(const char *name) {
    struct stat st;
    return lstat(name, &st) == 0 && S_ISDIR(st.st_mode) ? rmdir(name) : unlink(name);
}

int mkdirat(int dirfd, const char *name, mode_t mode) {
    REAL(mkdirat);
    char path[PATH_MAX];
    if (!named(dirfd, name, path)) return real(dirfd, name, mode);
    pthread_mutex_lock(&lock);
    /* One that is there already is nobody's to undo, killed or not before it is refused. */
    struct stat st;
    struct entry *e = lstat(path, &st) == 0 ? NULL : note_names(MKDIR, 0, path, NULL, 0);
    int last = e && due(A_NAME);
    if (last && H->kill_mode == BEFORE) die();
    int done = real(dirfd, name, mode), error = errno;
    if (done != 0 && e) drop(e);
    if (last) die();
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}
int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }

int linkat(int from_dir, const char *from, int to_dir, const char *to, int flags) {
    REAL(linkat);
    char path[PATH_MAX];
    if (!named(to_dir, to, path)) return real(from_dir, from, to_dir, to, flags);
    pthread_mutex_lock(&lock);
    struct stat st;
    struct entry *e = lstat(path, &st) == 0 ? NULL : note_names(LINK, 0, path, NULL, 0);
    int last = e && due(A_NAME);
    if (last && H->kill_mode == BEFORE) die();
    int done = real(from_dir, from, to_dir, to, flags), error = errno;
    if (done != 0 && e) drop(e);
    if (last) die();
    pthread_mutex_unlock(&lock);
    errno = error;
    return done;
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

int symlinkat(const char *target, int dirfd, const char *name) {
    REAL(symlinkat);
    char path[PATH_MAX];
    if (named(dirfd, name, path)) H->unseen++;
    return real(target, dirfd, name);
}
int symlink(const char *target, const char *name) { return symlinkat(target, AT_FDCWD, name); }

/* ---- syncs ---- */

/* The directory whose sync keeps this name. */
static uint64_t stands_in(const struct entry *e) { return e->kind == RENAME || e->kind == EXCHANGE ? e->old_size : e->off; }

/* A name that is gone for good: its file too, if nothing else holds it, and what was journaled of it. */
static void forget(const struct entry *e) {
    char kept[PATH_MAX];
    struct stat st;
    if (!(e->kind == RENAME || e->kind == UNLINK)) return;
    grave_of(e->seq, kept);
    if (lstat(kept, &st) != 0) return;
    syscall(SYS_unlinkat, AT_FDCWD, kept, 0);
    uint64_t at = 0;
    if (st.st_nlink > 1) return;
    for (struct entry *d; (d = next_entry(&at));)
        if (d->kind <= TRUNCATE && d->ino == st.st_ino) drop(d);
}

static int sync_tracked(int fd, int data_only, int (*real)(int)) {
    struct stat st;
    char path[PATH_MAX];
    int class = look(fd, &st, path);
    if (!class) return real(fd);
    pthread_mutex_lock(&lock);
    H->syncs++;
    uint64_t until = H->ops, delay = (H->delay_class & (uint64_t)class) ? H->delay_us : 0;
    int failing = fails(H->sync_errno, H->sync_class, &H->sync_skip, class), error = (int)H->sync_errno;
    int swallow = ((data_only ? H->swallow_fdatasync : H->swallow_fsync) & (uint64_t)class) != 0;
    int last = due(A_SYNC);
    if (last && H->kill_mode == BEFORE) die();
    if (failing) {
        uint64_t at = 0;
        for (struct entry *e; (e = next_entry(&at));)
            if (e->state == LIVE && e->kind <= TRUNCATE && e->ino == st.st_ino) e->state = STUCK;
    }
    if (delay) H->injected++;
    pthread_mutex_unlock(&lock);
    if (delay) usleep((useconds_t)delay);
    if (failing) {
        errno = error;
        return -1;
    }
    if (swallow) return 0;
    int done = real(fd);
    if (done != 0) return done;
    pthread_mutex_lock(&lock);
    uint64_t at = 0;
    for (struct entry *e; (e = next_entry(&at));) {
        if (e->state != LIVE || e->seq > until) continue;
        if (S_ISDIR(st.st_mode)) {
            if (e->kind >= CREATE && stands_in(e) == st.st_ino) {
                drop(e);
                forget(e);
            }
        } else if (e->kind <= TRUNCATE && e->ino == st.st_ino) {
            drop(e);
        }
    }
    if (last) die();
    pthread_mutex_unlock(&lock);
    return 0;
}

int fsync(int fd) {
    REAL(fsync);
    return sync_tracked(fd, 0, real);
}
int fdatasync(int fd) {
    REAL(fdatasync);
    return sync_tracked(fd, 1, real);
}
/* sync_file_range(2) keeps no length and no metadata, and is no barrier: nothing is dropped for it. */

/* ---- what would go round the journal ---- */

void *mmap(void *addr, size_t n, int prot, int flags, int fd, off_t off) {
    REAL(mmap);
    struct stat st;
    char path[PATH_MAX];
    if (fd >= 0 && (flags & MAP_SHARED) && (prot & PROT_WRITE) && look(fd, &st, path)) H->mapped++;
    return real(addr, n, prot, flags, fd, off);
}
void *mmap64(void *addr, size_t n, int prot, int flags, int fd, off64_t off) { return mmap(addr, n, prot, flags, fd, off); }

ssize_t splice(int in, off64_t *off_in, int fd, off64_t *off_out, size_t n, unsigned flags) {
    REAL(splice);
    struct stat st;
    char path[PATH_MAX];
    if (look(fd, &st, path)) H->unseen++;
    return real(in, off_in, fd, off_out, n, flags);
}
