/* Lets the n-th file-system call below a folder kill the process, fail, or write half. Loaded by LD_PRELOAD.

   Calls are numbered as they are made, over all threads, among those that were asked for. Nothing happens before
   torture_arm. A call that failed has done nothing, but a close, which has closed (close(2), "Dealing with error
   returns"). */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { OPEN = 1, WRITE = 2, SYNC = 4, RENAME = 8, LINK = 16, MKDIR = 32, CLOSE = 64, READ = 128, UNLINK = 256, CUT = 512 };
enum { DIE = -1, HALF = -2 };

static char root[PATH_MAX];
static size_t length;
static int asked, number, act, always;
static atomic_int seen, struck;

#define REAL(name) \
    static __typeof__(&name) real; \
    if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

void torture_arm(const char *folder, int calls, int nth, int action, int for_ever) {
    length = strlen(folder);
    memcpy(root, folder, length + 1);
    number = nth, act = action, always = for_ever;
    asked = calls;
}

static void say(const char *text, int count) {
    char line[PATH_MAX + 64];
    int size = snprintf(line, sizeof line, "torture: %s %d\n", text, count);
    static ssize_t (*plain)(int, const void *, size_t);
    if (!plain) plain = dlsym(RTLD_NEXT, "write");
    if (plain(2, line, size) < 0) { }
}

void torture_report(void) {
    asked = 0;
    say("calls", seen);
    say("struck", struck);
}

static int is_below(const char *path) {
    return !strncmp(path, root, length) && (path[length] == '/' || !path[length] || path[length] == ' ');
}

static int fd_below(int descriptor) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return 0;
    path[size] = 0;
    return is_below(path);
}

static int at_below(int folder, const char *path) {
    if (*path == '/') return is_below(path);
    return folder != AT_FDCWD && fd_below(folder);
}

/* Whether this call is the one: then errno is set, unless only half is to be written. */
static int strikes(const char *name) {
    int count = ++seen;
    if (count != number && !(always && count > number)) return 0;
    if (!struck++) say(name, count);
    if (act == DIE) kill(getpid(), SIGKILL), pause();
    if (act > 0) errno = act;
    return 1;
}

#define FAILS(call, where, name) ((asked & (call)) && (where) && strikes(name) && act > 0)

#define OPENING(name, WHERE, PARAMETERS, ARGUMENTS) \
    int name PARAMETERS { \
        REAL(name); \
        mode_t mode = 0; \
        if (flags & (O_CREAT | O_TMPFILE)) { va_list rest; va_start(rest, flags); mode = va_arg(rest, mode_t); va_end(rest); } \
        if (FAILS(OPEN, WHERE, #name)) return -1; \
        return real ARGUMENTS; \
    }
OPENING(open, at_below(AT_FDCWD, path), (const char *path, int flags, ...), (path, flags, mode))
OPENING(open64, at_below(AT_FDCWD, path), (const char *path, int flags, ...), (path, flags, mode))
OPENING(openat, at_below(folder, path), (int folder, const char *path, int flags, ...), (folder, path, flags, mode))
OPENING(openat64, at_below(folder, path), (int folder, const char *path, int flags, ...), (folder, path, flags, mode))

#define PLAIN(name, CALL, WHERE, TYPE, PARAMETERS, ARGUMENTS) \
    TYPE name PARAMETERS { \
        REAL(name); \
        if (FAILS(CALL, WHERE, #name)) return -1; \
        return real ARGUMENTS; \
    }
PLAIN(fsync, SYNC, fd_below(file), int, (int file), (file))
PLAIN(fdatasync, SYNC, fd_below(file), int, (int file), (file))
PLAIN(syncfs, SYNC, fd_below(file), int, (int file), (file))
PLAIN(ftruncate, CUT, fd_below(file), int, (int file, off_t size), (file, size))
PLAIN(ftruncate64, CUT, fd_below(file), int, (int file, off64_t size), (file, size))
PLAIN(read, READ, fd_below(file), ssize_t, (int file, void *data, size_t size), (file, data, size))
PLAIN(pread, READ, fd_below(file), ssize_t, (int file, void *data, size_t size, off_t place), (file, data, size, place))
PLAIN(pread64, READ, fd_below(file), ssize_t, (int file, void *data, size_t size, off64_t place), (file, data, size, place))
PLAIN(rename, RENAME, at_below(AT_FDCWD, old), int, (const char *old, const char *new), (old, new))
PLAIN(renameat, RENAME, at_below(one, old), int, (int one, const char *old, int two, const char *new), (one, old, two, new))
PLAIN(link, LINK, at_below(AT_FDCWD, old), int, (const char *old, const char *new), (old, new))
PLAIN(linkat, LINK, at_below(one, old), int, (int one, const char *old, int two, const char *new, int flags), (one, old, two, new, flags))
PLAIN(mkdir, MKDIR, at_below(AT_FDCWD, path), int, (const char *path, mode_t mode), (path, mode))
PLAIN(mkdirat, MKDIR, at_below(folder, path), int, (int folder, const char *path, mode_t mode), (folder, path, mode))
PLAIN(unlink, UNLINK, at_below(AT_FDCWD, path), int, (const char *path), (path))
PLAIN(unlinkat, UNLINK, at_below(folder, path), int, (int folder, const char *path, int flags), (folder, path, flags))

#define WRITING(name, PARAMETERS, ARGUMENTS) \
    ssize_t name PARAMETERS { \
        REAL(name); \
        if ((asked & WRITE) && fd_below(file) && strikes(#name)) { \
            if (act > 0) return -1; \
            size = (size + 1) / 2; \
        } \
        return real ARGUMENTS; \
    }
WRITING(write, (int file, const void *data, size_t size), (file, data, size))
WRITING(pwrite, (int file, const void *data, size_t size, off_t place), (file, data, size, place))
WRITING(pwrite64, (int file, const void *data, size_t size, off64_t place), (file, data, size, place))

int close(int file) {
    REAL(close);
    int is_struck = (asked & CLOSE) && fd_below(file) && strikes("close") && act > 0;
    int result = real(file);
    if (!is_struck) return result;
    errno = act;
    return -1;
}
