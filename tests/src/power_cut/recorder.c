/* Stands between a program and the C library and writes down what the program asks of the files in one folder.
 *
 * Loaded with LD_PRELOAD. POWER_CUT_FOLDER is the folder, POWER_CUT_TRACE the file to write to. A record is five 64-bit
 * numbers (kind, descriptor, first, second, length) and `length` bytes. Call and record happen under one lock, so that the
 * order of records is the order of calls. What fails is not recorded, and a short write is recorded as short as it was.
 *
 * With POWER_CUT_FULL_AT=n and POWER_CUT_FULL_FOR=m the disk is full from the n-th write into the folder on (1 is the first;
 * half of it still finds room), and has room again after m writes.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

enum kind { OPENED = 1, CLOSED, WRITTEN, CUT, SYNCED, RENAMED, REMOVED };

/* Descriptors are small numbers; a program that has more open at once is not one of ours. */
#define DESCRIPTORS 4096

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_once_t once = PTHREAD_ONCE_INIT;
/* 0: not in the folder. 1: a file that finds no room on a full disk. 2: where the program counts what it has acknowledged. */
static char watched[DESCRIPTORS];
static long full_at, full_for, writes;
static const char *folder;
static int trace = -1;

static int (*real_open)(const char *, int, ...);
static int (*real_close)(int);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off64_t);
static int (*real_ftruncate)(int, off64_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_rename)(const char *, const char *);
static int (*real_unlink)(const char *);

static void fail(const char *what)
{
    fprintf(stderr, "power cut recorder: %s\n", what);
    abort();
}

static void *find(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (!found)
        fail(name);
    return found;
}

static void begin(void)
{
    real_open = find("open64");
    real_close = find("close");
    real_write = find("write");
    real_pwrite = find("pwrite64");
    real_ftruncate = find("ftruncate64");
    real_fsync = find("fsync");
    real_fdatasync = find("fdatasync");
    real_rename = find("rename");
    real_unlink = find("unlink");
    folder = getenv("POWER_CUT_FOLDER");
    const char *path = getenv("POWER_CUT_TRACE");
    if (!folder || !path)
        fail("POWER_CUT_FOLDER and POWER_CUT_TRACE are not set");
    trace = real_open(path, O_WRONLY | O_CREAT | O_TRUNC | O_APPEND | O_CLOEXEC, 0600);
    if (trace < 0)
        fail("the trace cannot be written");
    const char *at = getenv("POWER_CUT_FULL_AT"), *times = getenv("POWER_CUT_FULL_FOR");
    full_at = at ? atol(at) : 0;
    full_for = times ? atol(times) : 0;
}

static void enter(void)
{
    pthread_once(&once, begin);
    pthread_mutex_lock(&lock);
}

static void leave(void)
{
    pthread_mutex_unlock(&lock);
}

static void put(const void *bytes, size_t length)
{
    const char *at = bytes;
    while (length > 0) {
        ssize_t done = real_write(trace, at, length);
        if (done <= 0)
            fail("the trace cannot be written");
        at += done;
        length -= (size_t)done;
    }
}

static void record(enum kind kind, int fd, int64_t first, int64_t second, const void *bytes, size_t length)
{
    int64_t head[5] = { kind, fd, first, second, (int64_t)length };
    put(head, sizeof head);
    put(bytes, length);
}

/* The name of a file in the folder, "" for the folder itself, nothing for anything else. */
static const char *inside(const char *path)
{
    size_t length = strlen(folder);
    if (strncmp(path, folder, length) != 0)
        return NULL;
    if (path[length] == '\0')
        return path + length;
    return path[length] == '/' ? path + length + 1 : NULL;
}

static int is_watched(int fd)
{
    return fd >= 0 && fd < DESCRIPTORS && watched[fd];
}

static int opened(const char *path, int flags, mode_t mode)
{
    enter();
    int fd = real_open(path, flags, mode);
    const char *name = inside(path);
    if (fd >= 0 && name) {
        if (fd >= DESCRIPTORS)
            fail("too many files are open");
        watched[fd] = strcmp(name, "acknowledged") == 0 ? 2 : 1;
        record(OPENED, fd, (flags & O_TRUNC) != 0, 0, name, strlen(name));
    }
    leave();
    return fd;
}

static mode_t mode_of(int flags, va_list rest)
{
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;
}

int open(const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    mode_t mode = mode_of(flags, rest);
    va_end(rest);
    return opened(path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    va_list rest;
    va_start(rest, flags);
    mode_t mode = mode_of(flags, rest);
    va_end(rest);
    return opened(path, flags, mode);
}

int close(int fd)
{
    enter();
    if (is_watched(fd)) {
        watched[fd] = 0;
        record(CLOSED, fd, 0, 0, NULL, 0);
    }
    int result = real_close(fd);
    leave();
    return result;
}

/* How much of a write there is room for. */
static size_t room(int fd, size_t length)
{
    if (full_at == 0 || !is_watched(fd) || watched[fd] == 2)
        return length;
    writes++;
    if (writes < full_at || writes >= full_at + full_for)
        return length;
    return writes == full_at ? length / 2 : 0;
}

static ssize_t is_full(void)
{
    leave();
    errno = ENOSPC;
    return -1;
}

ssize_t write(int fd, const void *bytes, size_t length)
{
    enter();
    size_t wanted = length;
    length = room(fd, length);
    if (length == 0 && wanted > 0)
        return is_full();
    ssize_t done = real_write(fd, bytes, length);
    if (done > 0 && is_watched(fd)) {
        /* The position is behind what was written, also where the file is opened for appending. */
        off64_t end = lseek64(fd, 0, SEEK_CUR);
        record(WRITTEN, fd, end - done, 0, bytes, (size_t)done);
    }
    leave();
    return done;
}

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset)
{
    enter();
    size_t wanted = length;
    length = room(fd, length);
    if (length == 0 && wanted > 0)
        return is_full();
    ssize_t done = real_pwrite(fd, bytes, length, offset);
    if (done > 0 && is_watched(fd))
        record(WRITTEN, fd, offset, 0, bytes, (size_t)done);
    leave();
    return done;
}

ssize_t pwrite(int fd, const void *bytes, size_t length, off_t offset)
{
    return pwrite64(fd, bytes, length, offset);
}

int ftruncate64(int fd, off64_t length)
{
    enter();
    int result = real_ftruncate(fd, length);
    if (result == 0 && is_watched(fd))
        record(CUT, fd, length, 0, NULL, 0);
    leave();
    return result;
}

int ftruncate(int fd, off_t length)
{
    return ftruncate64(fd, length);
}

static int synced(int fd, int (*real)(int))
{
    int result = real(fd);
    if (result == 0 && is_watched(fd))
        record(SYNCED, fd, 0, 0, NULL, 0);
    leave();
    return result;
}

int fsync(int fd)
{
    enter();
    return synced(fd, real_fsync);
}

int fdatasync(int fd)
{
    enter();
    return synced(fd, real_fdatasync);
}

int rename(const char *from, const char *to)
{
    enter();
    int result = real_rename(from, to);
    const char *from_name = inside(from), *to_name = inside(to);
    if (result == 0 && (from_name || to_name)) {
        if (!from_name || !to_name)
            fail("a file was moved into the folder or out of it");
        size_t first = strlen(from_name), second = strlen(to_name);
        char *both = malloc(first + second);
        if (!both)
            fail("no memory");
        memcpy(both, from_name, first);
        memcpy(both + first, to_name, second);
        record(RENAMED, -1, (int64_t)first, 0, both, first + second);
        free(both);
    }
    leave();
    return result;
}

int unlink(const char *path)
{
    enter();
    int result = real_unlink(path);
    const char *name = inside(path);
    if (result == 0 && name)
        record(REMOVED, -1, 0, 0, name, strlen(name));
    leave();
    return result;
}
