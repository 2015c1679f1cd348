/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The lock is on the directory itself: it dies with the process, and needs no file that would have to go as well. */
#include "sst/work.h"

#include "sst/datadir.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PREFIX "xebec-sst-"

/* -> a locked descriptor of our own directory that has the name now, or -1 */
static int try_lock(const char *path) {
    struct stat ours;
    int fd = datadir_try_lock(path, O_RDONLY | O_DIRECTORY);
    if (fd < 0) return -1;
    if (fstat(fd, &ours) == 0 && ours.st_uid == geteuid()) return fd;
    close(fd);
    return -1;
}

int work_make(struct work *work, const char *base, struct xb_error *error) {
    do { /* another program may take it for a stale one before it is locked */
        snprintf(work->path, sizeof(work->path), "%s/" PREFIX "XXXXXX", base);
        if (!mkdtemp(work->path)) {
            work->path[0] = '\0';
            return xb_fail(error, -errno, "cannot make a directory in '%s' (tmpdir): %m", base);
        }
        work->lock_fd = try_lock(work->path);
    } while (work->lock_fd < 0 && access(work->path, F_OK));
    return 0; /* where there are no locks nobody takes it for stale either */
}

void work_remove(struct work *work) {
    if (work->path[0]) datadir_remove_tree(work->path);
    if (work->lock_fd >= 0) close(work->lock_fd);
    *work = (struct work){"", -1};
}

void work_remove_stale(const char *base) {
    DIR *dir = opendir(base);
    struct dirent *entry;
    while (dir && (entry = readdir(dir))) {
        struct work work = {"", -1};
        if (strncmp(entry->d_name, PREFIX, strlen(PREFIX))) continue;
        snprintf(work.path, sizeof(work.path), "%s/%s", base, entry->d_name);
        work.lock_fd = try_lock(work.path);
        if (work.lock_fd >= 0) work_remove(&work);
    }
    if (dir) closedir(dir);
}
