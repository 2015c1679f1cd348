/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Works on the data directory. Nothing outside the server's own directories is ever touched, and no link is followed.
 */
#include "sst/datadir.h"

#include "base/clock.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <ftw.h>
#include <glob.h>
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define LOCK_WAIT_NS (30 * XB_SECOND)
#define LOCK_RETRY_NS (XB_SECOND / 5)

/* Beside the pattern: what the provider, the transfer and the server's start scripts need, whatever the pattern says.
 */
static const char *const always_kept[] = {".sst",          "sst_in_progress", "wsrep_sst.pid",
                                          "grastate.dat",  "gvwstate.dat",    "galera.cache",
                                          "gcache.page.*", "*.pem",           "mariabackup.*.log"};

static const char *path_of(const char *datadir, const char *name, char path[SST_PATH_SIZE]) {
    snprintf(path, SST_PATH_SIZE, "%s/%s", datadir, name);
    return path;
}

int datadir_try_lock(const char *path, int flags) {
    struct stat ours, named;
    int fd = open(path, flags | O_CLOEXEC | O_NOFOLLOW, 0660);
    if (fd < 0) return -errno;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0 && fstat(fd, &ours) == 0 && lstat(path, &named) == 0 &&
        ours.st_ino == named.st_ino)
        return fd;
    close(fd);
    return -EWOULDBLOCK;
}

int datadir_lock(const char *datadir, const struct watch *watch, struct xb_error *error) {
    char path[SST_PATH_SIZE], pid[32];
    int64_t deadline_ns = xb_clock_monotonic_ns() + LOCK_WAIT_NS;
    path_of(datadir, "wsrep_sst.pid", path);
    for (;;) {
        int fd = datadir_try_lock(path, O_RDWR | O_CREAT);
        int size = snprintf(pid, sizeof(pid), "%d\n", (int)getpid());
        if (fd >= 0 && ftruncate(fd, 0) == 0 && write(fd, pid, (size_t)size) == size) return fd;
        if (fd >= 0) close(fd);
        if (fd != -EWOULDBLOCK) return xb_fail(error, fd < 0 ? fd : -EIO, "cannot write '%s': %m", path);
        if (xb_clock_monotonic_ns() >= deadline_ns)
            return xb_fail(error, -EALREADY, "another state transfer program works on '%s'", datadir);
        int rc = watch_wait(watch, -1, 0, xb_clock_monotonic_ns() + LOCK_RETRY_NS, error);
        if (rc != -ETIMEDOUT) return rc;
    }
}

void datadir_unlock(const char *datadir, int fd) {
    char path[SST_PATH_SIZE];
    if (fd < 0) return;
    unlink(path_of(datadir, "wsrep_sst.pid", path));
    close(fd);
}

int datadir_mark(const char *datadir, struct xb_error *error) {
    char path[SST_PATH_SIZE];
    int fd = open(path_of(datadir, "sst_in_progress", path), O_WRONLY | O_CREAT | O_CLOEXEC, 0660);
    if (fd < 0) return xb_fail(error, -errno, "cannot create '%s': %m", path);
    close(fd);
    return 0;
}

void datadir_unmark(const char *datadir) {
    char path[SST_PATH_SIZE];
    unlink(path_of(datadir, "sst_in_progress", path));
}

static int make_directory(const char *path, struct xb_error *error) {
    char part[SST_PATH_SIZE];
    snprintf(part, sizeof(part), "%s", path);
    for (char *slash = strchr(part + 1, '/');; slash = strchr(slash + 1, '/')) {
        if (slash) *slash = '\0';
        if (mkdir(part, 0770) && errno != EEXIST)
            return xb_fail(error, -errno, "cannot create the directory '%s': %m", part);
        if (!slash) return 0;
        *slash = '/';
    }
}

int datadir_make_directories(const struct sst_settings *s, struct xb_error *error) {
    const char *paths[] = {s->data_home, s->undo_dir, s->log_dir, s->aria_dir};
    int rc = 0;
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]) && rc == 0; i++)
        if (paths[i][0]) rc = make_directory(paths[i], error);
    return rc;
}

static bool matches(const char *path, const char *pattern) {
    regex_t regex;
    regmatch_t match;
    if (regcomp(&regex, pattern, 0)) return true; /* a broken pattern must not cost data */
    bool is_match = regexec(&regex, path, 1, &match, 0) == 0 && match.rm_so == 0 && (size_t)match.rm_eo == strlen(path);
    regfree(&regex);
    return is_match;
}

bool datadir_is_kept(const char *path, const char *pattern) {
    const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
    for (size_t i = 0; i < sizeof(always_kept) / sizeof(always_kept[0]); i++)
        if (fnmatch(always_kept[i], name, 0) == 0) return true;
    return matches(path, pattern);
}

static int remove_entry(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
    return remove(path);
}

int datadir_remove_tree(const char *path) {
    struct stat st;
    if (lstat(path, &st)) return errno == ENOENT ? 0 : -errno;
    if (!S_ISDIR(st.st_mode)) return unlink(path) ? -errno : 0;
    return nftw(path, remove_entry, 32, FTW_DEPTH | FTW_PHYS) ? -errno : 0;
}

static int clean_directory(const char *directory, const char *pattern, struct xb_error *error) {
    DIR *dir = opendir(directory);
    if (!dir) return errno == ENOENT ? 0 : xb_fail(error, -errno, "cannot read the directory '%s': %m", directory);
    struct dirent *entry;
    int rc = 0;
    while (rc == 0 && (entry = readdir(dir))) {
        char path[SST_PATH_SIZE];
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        path_of(directory, entry->d_name, path);
        if (datadir_is_kept(path, pattern)) continue;
        rc = datadir_remove_tree(path);
        /* A mount point inside stays; its content is gone. */
        if (rc == -EBUSY) rc = 0;
        if (rc) xb_fail(error, rc, "cannot remove '%s': %s", path, strerror(-rc));
    }
    closedir(dir);
    return rc;
}

/* Binary logs may lie anywhere: BASE.000001 and so on, and the index. */
void datadir_remove_binary_logs(const struct sst_arguments *arguments) {
    char pattern[SST_PATH_SIZE];
    glob_t found;
    if (!arguments->binlog || !arguments->binlog[0]) return;
    const char *parts[] = {".[0-9]*", ".index", ".state"};
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        bool is_absolute = *arguments->binlog == '/';
        snprintf(pattern, sizeof(pattern), "%s%s%s%s", is_absolute ? "" : arguments->datadir, is_absolute ? "" : "/",
                 arguments->binlog, parts[i]);
        if (glob(pattern, GLOB_NOSORT, NULL, &found) == 0) {
            for (size_t k = 0; k < found.gl_pathc; k++) unlink(found.gl_pathv[k]);
            globfree(&found);
        }
    }
    if (arguments->binlog_index && *arguments->binlog_index == '/') unlink(arguments->binlog_index);
}

int datadir_clean(const struct sst_settings *s, const struct sst_arguments *arguments, struct xb_error *error) {
    const char *paths[] = {arguments->datadir, s->data_home, s->undo_dir, s->log_dir, s->aria_dir};
    datadir_remove_binary_logs(arguments);
    int rc = 0;
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]) && rc == 0; i++)
        if (paths[i][0]) rc = clean_directory(paths[i], s->clean_pattern, error);
    return rc;
}

/* nftw has no context: the program counts one directory at a time, in one thread. */
static _Thread_local uint64_t counted_bytes;

static bool is_one_of(const char *name, const char *const *patterns) {
    for (; *patterns; patterns++)
        if (fnmatch(*patterns, name, 0) == 0) return true;
    return false;
}

static int count_tables(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
    static const char *const patterns[] = {"*.ibd", "*.MYI", "*.MYD", "*.MAI", "*.MAD", "ibdata*", "undo[0-9]*", NULL};
    if (flag == FTW_F && is_one_of(path + ftw->base, patterns)) counted_bytes += (uint64_t)st->st_size;
    return 0;
}

static int count_files(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
    static const char *const patterns[] = {"ibdata*", "undo[0-9]*", "ib_logfile*", "aria_log*", NULL};
    if (flag == FTW_F && (ftw->level > 1 || is_one_of(path + ftw->base, patterns)))
        counted_bytes += (uint64_t)st->st_size;
    return 0;
}

static uint64_t count_in(const char *const *paths, size_t count, __nftw_func_t counter) {
    counted_bytes = 0;
    for (size_t i = 0; i < count; i++)
        if (paths[i][0]) nftw(paths[i], counter, 32, FTW_PHYS);
    return counted_bytes;
}

uint64_t datadir_footprint(const struct sst_settings *s, const char *datadir) {
    return count_in((const char *const[]){datadir, s->data_home, s->undo_dir}, 3, count_tables);
}

uint64_t datadir_file_bytes(const struct sst_settings *s, const char *datadir) {
    return count_in((const char *const[]){datadir, s->data_home, s->undo_dir, s->log_dir, s->aria_dir}, 5, count_files);
}

static _Thread_local dev_t counted_device;

static int count_blocks(const char *path, const struct stat *st, int flag, struct FTW *ftw) {
    if (flag == FTW_F && st->st_dev == counted_device) counted_bytes += (uint64_t)st->st_blocks * 512;
    return 0;
}

static void count_removable(const char *directory, const char *pattern) {
    DIR *dir = opendir(directory);
    struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        char path[SST_PATH_SIZE];
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        if (!datadir_is_kept(path_of(directory, entry->d_name, path), pattern)) nftw(path, count_blocks, 32, FTW_PHYS);
    }
    if (dir) closedir(dir);
}

uint64_t datadir_removable_bytes(const struct sst_settings *s, const char *datadir) {
    const char *paths[] = {datadir, s->data_home, s->undo_dir, s->log_dir, s->aria_dir};
    struct stat st;
    counted_bytes = 0;
    if (stat(datadir, &st)) return 0;
    counted_device = st.st_dev;
    for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) /* those inside the first are counted with it */
        if (i == 0 || (paths[i][0] && strncmp(paths[i], datadir, strlen(datadir))))
            count_removable(paths[i], s->clean_pattern);
    return counted_bytes;
}

uint64_t datadir_free_bytes(const char *path) {
    struct statvfs st;
    return statvfs(path, &st) ? UINT64_MAX : (uint64_t)st.f_bavail * st.f_frsize;
}
