/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The container's sink on the file system. The directory is ours alone and fresh, so it holds no link to follow. */
#include "sst/unpack.h"

#include "sst/datadir.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define OPEN_MAX_FILES 512
#define SPACE_LOW_BYTES ((uint64_t)512 << 20)
#define SPACE_CHECK_BYTES ((uint64_t)64 << 20)

struct open_file {
    char *path;
    int fd;
};

struct unpack {
    struct container_reader *reader;
    char *directory;
    int directory_fd;
    struct open_file files[OPEN_MAX_FILES];
    size_t count;
    uint64_t unchecked_bytes; /* written since the last look at the free space */
    int (*low_space)(void *ctx, struct xb_error *error);
    void *ctx;
};

static struct open_file *find(struct unpack *unpack, const char *path) {
    for (size_t i = 0; i < unpack->count; i++)
        if (strcmp(unpack->files[i].path, path) == 0) return &unpack->files[i];
    return NULL;
}

static void make_parents(struct unpack *unpack, const char *path) {
    char part[CONTAINER_PATH_MAX + 1];
    for (const char *slash = strchr(path, '/'); slash; slash = strchr(slash + 1, '/')) {
        snprintf(part, sizeof(part), "%.*s", (int)(slash - path), path);
        mkdirat(unpack->directory_fd, part, 0770);
    }
}

static struct open_file *open_file(struct unpack *unpack, const char *path, struct xb_error *error) {
    if (unpack->count == OPEN_MAX_FILES) {
        xb_fail(error, -EMFILE, "the backup has more than %d files open at once", OPEN_MAX_FILES);
        return NULL;
    }
    make_parents(unpack, path);
    int fd = openat(unpack->directory_fd, path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0660);
    char *name = strdup(path);
    if (fd < 0 || !name) {
        xb_fail(error, fd < 0 ? -errno : -ENOMEM, "cannot create '%s/%s': %m", unpack->directory, path);
        if (fd >= 0) close(fd);
        free(name);
        return NULL;
    }
    unpack->files[unpack->count] = (struct open_file){name, fd};
    return &unpack->files[unpack->count++];
}

static int ask_for_room(struct unpack *unpack, struct xb_error *error) {
    int (*low_space)(void *, struct xb_error *) = unpack->low_space;
    unpack->low_space = NULL;
    return low_space(unpack->ctx, error);
}

static int watch_space(struct unpack *unpack, size_t size, struct xb_error *error) {
    unpack->unchecked_bytes += size;
    if (!unpack->low_space || unpack->unchecked_bytes < SPACE_CHECK_BYTES) return 0;
    unpack->unchecked_bytes = 0;
    return datadir_free_bytes(unpack->directory) >= SPACE_LOW_BYTES ? 0 : ask_for_room(unpack, error);
}

static int take_data(void *ctx, const char *path, uint64_t offset, const uint8_t *data, size_t size,
                     struct xb_error *error) {
    struct unpack *unpack = ctx;
    struct open_file *file = find(unpack, path);
    if (!file) file = open_file(unpack, path, error);
    if (!file) return error->code;
    int rc = watch_space(unpack, size, error);
    while (size > 0 && rc == 0) {
        ssize_t n = pwrite(file->fd, data, size, (off_t)offset);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0 && errno == ENOSPC && unpack->low_space) {
            rc = ask_for_room(unpack, error);
            continue;
        }
        if (n < 0 && errno == ENOSPC)
            return xb_fail(error, -ENOSPC, "the disk of '%s' is full: make room there", unpack->directory);
        if (n < 0) return xb_fail(error, -errno, "cannot write '%s/%s': %m", unpack->directory, path);
        data += n;
        size -= (size_t)n;
        offset += (uint64_t)n;
    }
    return rc;
}

static int end_file(void *ctx, const char *path, struct xb_error *error) {
    struct unpack *unpack = ctx;
    struct open_file *file = find(unpack, path);
    if (!file) return 0;
    int code = close(file->fd) ? -errno : 0;
    free(file->path);
    *file = unpack->files[--unpack->count];
    return code ? xb_fail(error, code, "cannot close '%s/%s': %s", unpack->directory, path, strerror(-code)) : 0;
}

struct unpack *unpack_new(const char *directory, int (*low_space)(void *ctx, struct xb_error *error), void *ctx,
                          struct xb_error *error) {
    struct unpack *unpack = calloc(1, sizeof(*unpack));
    if (unpack) {
        unpack->low_space = low_space;
        unpack->ctx = ctx;
        unpack->directory = strdup(directory);
        unpack->directory_fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        unpack->reader = container_reader_new(&(struct container_sink){take_data, end_file, unpack});
        if (unpack->directory && unpack->directory_fd >= 0 && unpack->reader) return unpack;
    }
    xb_fail(error, errno ? -errno : -ENOMEM, "cannot unpack into '%s': %m", directory);
    unpack_free(unpack);
    return NULL;
}

void unpack_free(struct unpack *unpack) {
    if (!unpack) return;
    for (size_t i = 0; i < unpack->count; i++) {
        close(unpack->files[i].fd);
        free(unpack->files[i].path);
    }
    container_reader_free(unpack->reader);
    if (unpack->directory_fd >= 0) close(unpack->directory_fd);
    free(unpack->directory);
    free(unpack);
}

int unpack_feed(struct unpack *unpack, const uint8_t *data, size_t size, struct xb_error *error) {
    return container_reader_feed(unpack->reader, data, size, error);
}

int unpack_end(struct unpack *unpack, struct xb_error *error) {
    return container_reader_end(unpack->reader, error);
}

uint64_t unpack_files(const struct unpack *unpack) {
    return container_reader_files(unpack->reader);
}

const char *unpack_path(const struct unpack *unpack) {
    return container_reader_path(unpack->reader);
}
