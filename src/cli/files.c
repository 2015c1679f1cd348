/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading and writing whole files. */
#include "cli/files.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

char *files_join(const char *directory, const char *name) {
    char *path = NULL;
    size_t length = strlen(directory);
    if (asprintf(&path, "%s%s%s", directory, length && directory[length - 1] == '/' ? "" : "/", name) < 0) abort();
    return path;
}

static char *read_all(int fd, size_t *size) {
    char *data = malloc(FILES_SIZE_MAX + 1);
    size_t used = 0;
    while (data) {
        ssize_t n = read(fd, data + used, FILES_SIZE_MAX + 1 - used);
        if (n < 0 && errno == EINTR) continue;
        if (n == 0) break;
        if (n > 0) used += (size_t)n;
        if (n < 0 || used > FILES_SIZE_MAX) {
            if (n > 0) errno = EFBIG;
            free(data);
            return NULL;
        }
    }
    if (!data) return NULL;
    data[used] = 0;
    *size = used;
    char *shorter = realloc(data, used + 1);
    return shorter ? shorter : data;
}

char *files_read(const char *path, size_t *size, struct xb_error *error) {
    size_t length;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    char *data = fd < 0 ? NULL : read_all(fd, &length);
    int problem = errno;
    if (fd >= 0) close(fd);
    if (!data) {
        xb_fail(error, -problem, "cannot read %s: %s", path, strerror(problem));
        return NULL;
    }
    if (size) *size = length;
    return data;
}

static int write_all(int fd, const char *data, size_t size) {
    while (size > 0) {
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -errno;
        data += n;
        size -= (size_t)n;
    }
    return fsync(fd) == 0 ? 0 : -errno;
}

/* A rename is durable when the directory is. */
static int sync_directory(const char *path) {
    char copy[4096];
    snprintf(copy, sizeof(copy), "%s", path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return -errno;
    int result = fsync(fd) == 0 ? 0 : -errno;
    close(fd);
    return result;
}

/* An existing file's owner stays: the server must be able to read what root replaced. */
static int keep_owner(int fd, const char *path) {
    struct stat old;
    if (stat(path, &old) != 0 || geteuid() != 0) return 0;
    return fchown(fd, old.st_uid, old.st_gid) == 0 ? 0 : -errno;
}

static int put_in_place(const char *temporary, const char *path, bool is_new) {
    if (!is_new) return rename(temporary, path) == 0 ? 0 : -errno;
    int result = link(temporary, path) == 0 ? 0 : -errno;
    unlink(temporary);
    return result;
}

int files_write(const char *path, const void *data, size_t size, mode_t mode, bool is_new, struct xb_error *error) {
    char temporary[4096];
    if (snprintf(temporary, sizeof(temporary), "%s.XXXXXX", path) >= (int)sizeof(temporary))
        return xb_fail(error, -ENAMETOOLONG, "path too long: %s", path);
    int fd = mkostemp(temporary, O_CLOEXEC);
    if (fd < 0) return xb_fail(error, -errno, "cannot write beside %s: %s", path, strerror(errno));
    int result = keep_owner(fd, path);
    if (result == 0) result = write_all(fd, data, size);
    if (result == 0 && fchmod(fd, mode) != 0) result = -errno;
    close(fd);
    if (result == 0) result = put_in_place(temporary, path, is_new);
    if (result == 0) result = sync_directory(path);
    if (result == 0) return 0;
    unlink(temporary);
    return xb_fail(error, result, "cannot write %s: %s", path, strerror(-result));
}

int files_make_directory(const char *path, mode_t mode, struct xb_error *error) {
    struct stat status;
    if (mkdir(path, mode) == 0) return 0;
    if (errno == EEXIST && stat(path, &status) == 0 && S_ISDIR(status.st_mode)) return 0;
    int problem = errno == EEXIST ? ENOTDIR : errno;
    return xb_fail(error, -problem, "cannot make the directory %s: %s", path, strerror(problem));
}
