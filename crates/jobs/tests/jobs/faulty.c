/* A disk that fails at a chosen moment, and that knows what it would have after a loss of power. The tests build it with cc and
 * load it by LD_PRELOAD (ld.so(8)) into a server; of all its processes only the keeper opens the file it is about.
 *
 *   TENFOLD_FAULTY      the file, F; F-wal, its log, belongs to it
 *   F.fault             "WHAT OF ERRNO" while something is to fail: `sync` or `write`, of `db` or `wal` or `any`
 *   F.faults            one byte for each call that was failed
 *   F.disk, F-wal.disk  what is on the disk: the last contents whose synchronisation succeeded
 *   F.dirty, …          where the file was written since, as records of place and length; outlives the process, as the page
 *                       cache does
 *
 * A synchronisation that fails does what Linux does: the pages count as clean from then on, and the disk has not got them. A write
 * that fails is a short one first, as on a disk that becomes full. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FDS 4096

enum kind { OTHER, DB, WAL };
static enum kind kinds[FDS];

struct range {
    off_t at;
    off_t length; /* -1: the file was cut to `at`. */
};

#define REAL(name, result, ...)                                                     \
    static result (*real)(__VA_ARGS__);                                             \
    if (!real) real = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static int real_open(const char *path, int flags, mode_t mode) {
    REAL("open64", int, const char *, int, ...);
    return real(path, flags, mode);
}

static ssize_t real_pwrite(int fd, const void *bytes, size_t count, off_t at) {
    REAL("pwrite64", ssize_t, int, const void *, size_t, off_t);
    return real(fd, bytes, count, at);
}

static ssize_t real_write(int fd, const void *bytes, size_t count) {
    REAL("write", ssize_t, int, const void *, size_t);
    return real(fd, bytes, count);
}

static int real_ftruncate(int fd, off_t length) {
    REAL("ftruncate64", int, int, off_t);
    return real(fd, length);
}

static int real_close(int fd) {
    REAL("close", int, int);
    return real(fd);
}

static int real_fdatasync(int fd) {
    REAL("fdatasync", int, int);
    return real(fd);
}

static enum kind kind_of_path(const char *path) {
    const char *file = getenv("TENFOLD_FAULTY");
    size_t length = file ? strlen(file) : 0;
    if (!length || strncmp(path, file, length)) return OTHER;
    return !path[length] ? DB : !strcmp(path + length, "-wal") ? WAL : OTHER;
}

static enum kind kind_of(int fd) { return fd >= 0 && fd < FDS ? kinds[fd] : OTHER; }

/* Opens what lies beside a file of this kind. */
static int beside(enum kind kind, const char *what, int flags) {
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s%s%s", getenv("TENFOLD_FAULTY"), kind == WAL ? "-wal" : "", what);
    return real_open(path, flags | O_CLOEXEC, 0600);
}

/* Whether this call is to fail; errno says how. */
static int fails(enum kind kind, const char *what) {
    char text[64] = "", word[16], of[16];
    int number, fd = beside(DB, ".fault", O_RDONLY);
    if (fd < 0) return 0;
    ssize_t count = read(fd, text, sizeof text - 1);
    real_close(fd);
    if (count <= 0 || sscanf(text, "%15s %15s %d", word, of, &number) != 3) return 0;
    if (strcmp(word, what) || (strcmp(of, "any") && strcmp(of, kind == WAL ? "wal" : "db"))) return 0;
    errno = number;
    return 1;
}

static void count_fault(void) {
    int number = errno, fd = beside(DB, ".faults", O_WRONLY | O_CREAT | O_APPEND);
    if (real_write(fd, "x", 1) != 1) abort();
    real_close(fd);
    errno = number;
}

static void dirty(int fd, off_t at, off_t length) {
    struct range range = {at, length};
    int list = beside(kinds[fd], ".dirty", O_WRONLY | O_CREAT | O_APPEND);
    if (real_write(list, &range, sizeof range) != sizeof range) abort();
    real_close(list);
}

static void copy(int from, int to, off_t at, off_t length) {
    char bytes[65536];
    while (length > 0) {
        ssize_t count = pread(from, bytes, length < (off_t)sizeof bytes ? length : (off_t)sizeof bytes, at);
        if (count <= 0) return;
        if (real_pwrite(to, bytes, count, at) != count) abort();
        at += count, length -= count;
    }
}

static int opened(int fd, const char *path) {
    if (fd < 0 || fd >= FDS) return fd;
    kinds[fd] = kind_of_path(path);
    if (kinds[fd] == OTHER) return fd;
    int disk = beside(kinds[fd], ".disk", O_WRONLY | O_CREAT | O_EXCL);
    if (disk >= 0) {
        int from = beside(kinds[fd], "", O_RDONLY);
        copy(from, disk, 0, lseek(from, 0, SEEK_END));
        real_close(from);
        real_close(disk);
    }
    return fd;
}

static int synchronise(int fd) {
    enum kind kind = kind_of(fd);
    if (kind == OTHER) return real_fdatasync(fd);
    int list = beside(kind, ".dirty", O_RDWR | O_CREAT);
    if (fails(kind, "sync")) {
        int number = errno;
        if (real_ftruncate(list, 0)) abort();
        real_close(list);
        errno = number;
        count_fault();
        return -1;
    }
    int outcome = real_fdatasync(fd), disk = beside(kind, ".disk", O_WRONLY | O_CREAT);
    struct range range;
    while (read(list, &range, sizeof range) == sizeof range) {
        if (range.length < 0) {
            if (real_ftruncate(disk, range.at)) abort();
        } else {
            copy(fd, disk, range.at, range.length);
        }
    }
    if (real_ftruncate(list, 0)) abort();
    real_close(list);
    real_close(disk);
    return outcome;
}

static ssize_t put(int fd, const void *bytes, size_t count, off_t at) {
    if (fails(kinds[fd], "write")) {
        count /= 2;
        if (!count) return count_fault(), -1;
    }
    dirty(fd, at, count);
    return real_pwrite(fd, bytes, count, at);
}

int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    return opened(real_open(path, flags, mode), path);
}

int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(more, mode_t) : 0;
    va_end(more);
    return opened(real_open(path, flags, mode), path);
}

int close(int fd) {
    if (kind_of(fd) != OTHER) kinds[fd] = OTHER;
    return real_close(fd);
}

ssize_t write(int fd, const void *bytes, size_t count) {
    if (kind_of(fd) == OTHER) return real_write(fd, bytes, count);
    off_t at = lseek(fd, 0, SEEK_CUR);
    ssize_t done = put(fd, bytes, count, at);
    if (done > 0) lseek(fd, at + done, SEEK_SET);
    return done;
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off_t at) {
    return kind_of(fd) == OTHER ? real_pwrite(fd, bytes, count, at) : put(fd, bytes, count, at);
}

ssize_t pwrite(int fd, const void *bytes, size_t count, off_t at) { return pwrite64(fd, bytes, count, at); }

int fsync(int fd) { return synchronise(fd); }

int fdatasync(int fd) { return synchronise(fd); }

int ftruncate64(int fd, off_t length) {
    int outcome = real_ftruncate(fd, length);
    if (!outcome && kind_of(fd) != OTHER) dirty(fd, length, -1);
    return outcome;
}

int ftruncate(int fd, off_t length) { return ftruncate64(fd, length); }

int unlink(const char *path) {
    REAL("unlink", int, const char *);
    int outcome = real(path);
    enum kind kind = outcome ? OTHER : kind_of_path(path);
    if (kind != OTHER) {
        char other[PATH_MAX];
        snprintf(other, sizeof other, "%s.disk", path);
        real(other);
        snprintf(other, sizeof other, "%s.dirty", path);
        real(other);
    }
    return outcome;
}
