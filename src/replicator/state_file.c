/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The saved state; state_file.h has the rules. */
#include "replicator/state_file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

size_t saved_state_format(const struct saved_state *saved, char text[STATE_FILE_SIZE_MAX]) {
    int n = snprintf(text, STATE_FILE_SIZE_MAX,
                     "# GALERA saved state\nversion: 2.1\nuuid:    %s\nseqno:   %" PRId64 "\nsafe_to_bootstrap: %d\n",
                     XB_UUID_TEXT(&saved->uuid), saved->seqno, saved->is_safe_to_bootstrap ? 1 : 0);
    assert(n > 0 && n < STATE_FILE_SIZE_MAX);
    return (size_t)n;
}

/* -> next word of the line that ends at `end`, its length in *size; NULL if there is none. */
static const char *next_word(const char **at, const char *end, size_t *size) {
    const char *p = *at;
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\r')) p++;
    const char *word = p;
    while (p < end && *p != ' ' && *p != '\t' && *p != '\r') p++;
    *at = p;
    *size = (size_t)(p - word);
    return *size ? word : NULL;
}

static bool is_word(const char *word, size_t size, const char *text) {
    return size == strlen(text) && memcmp(word, text, size) == 0;
}

static bool parse_line(struct saved_state *saved, const char *line, const char *end) {
    size_t key_size, size;
    const char *key = next_word(&line, end, &key_size), *value = next_word(&line, end, &size);
    char number[32] = "";
    if (!key || !value || key[0] == '#') return true;
    if (size < sizeof(number)) memcpy(number, value, size);
    if (is_word(key, key_size, "uuid:")) return size == 36 && xb_uuid_parse(&saved->uuid, value) == 0;
    if (is_word(key, key_size, "seqno:")) saved->seqno = strtoll(number, NULL, 10);
    if (is_word(key, key_size, "safe_to_bootstrap:")) saved->is_safe_to_bootstrap = strtol(number, NULL, 10) != 0;
    return true;
}

bool saved_state_parse(struct saved_state *saved, const char *text, size_t size) {
    bool is_ok = true;
    *saved = (struct saved_state){.uuid = xb_uuid_nil, .seqno = -1, .is_safe_to_bootstrap = true};
    /* A last line without its end may be torn and is not read. */
    for (const char *end; (end = memchr(text, '\n', size)); size -= (size_t)(end + 1 - text), text = end + 1)
        if (!parse_line(saved, text, end)) is_ok = false;
    if (!is_ok) saved->uuid = xb_uuid_nil;
    if (xb_uuid_is_nil(&saved->uuid)) saved->seqno = -1;
    return is_ok;
}

struct state_file {
    pthread_mutex_t lock;
    int fd;
    size_t size; /* of the file */
    state_file_write write;
    const struct xb_log *log;
    struct saved_state saved;   /* remembered */
    struct saved_state written; /* what the file says */
    int unsafe;
    bool is_corrupt;
    char path[PATH_MAX];
};

static int write_in_place(int fd, const char *text, size_t size, bool is_truncating) {
    if (is_truncating && ftruncate(fd, 0)) return -errno;
    for (size_t done = 0; done < size;) {
        ssize_t n = pwrite(fd, text + done, size - done, (off_t)done);
        if (n < 0 && errno != EINTR) return -errno;
        if (n > 0) done += (size_t)n;
    }
    return fdatasync(fd) ? -errno : 0;
}

/* With the lock held. */
static void write_state(struct state_file *file, const struct xb_uuid *uuid, int64_t seqno) {
    struct saved_state saved = {*uuid, seqno, file->saved.is_safe_to_bootstrap};
    char text[STATE_FILE_SIZE_MAX];
    bool is_truncating = file->size > STATE_FILE_SIZE_MAX;
    size_t size = saved_state_format(&saved, text);
    if (!is_truncating && size < file->size) { /* written over in place: blanks cover the rest of the longer text */
        memset(text + size, ' ', file->size - size);
        size = file->size;
    }
    int rc = file->write(file->fd, text, size, is_truncating);
    if (rc) {
        xb_log_error(file->log,
                     "Could not write the saved state to '%s': %s. A crash now may go unnoticed at the next "
                     "start: remove the file before it.",
                     file->path, strerror(-rc));
        return;
    }
    file->size = size;
    file->written = saved;
}

static int lock_file(int fd, const char *path, struct xb_error *error) {
    struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    if (!fcntl(fd, F_SETLK, &lock)) return 0;
    return xb_fail(error, -EAGAIN,
                   "State file '%s' is in use by another process: is a second server running on this "
                   "data directory?",
                   path);
}

static int read_file(struct state_file *file, struct xb_error *error) {
    char text[4096];
    struct stat st;
    ssize_t n = pread(file->fd, text, sizeof(text), 0);
    if (n < 0 || fstat(file->fd, &st))
        return xb_fail(error, -errno, "Could not read state file '%s': %s", file->path, strerror(errno));
    file->size = (size_t)st.st_size;
    if (!saved_state_parse(&file->saved, text, (size_t)n))
        xb_log_error(file->log, "State file '%s' holds no readable uuid: the state is taken as unknown", file->path);
    file->written = file->saved;
    return 0;
}

static void sync_directory(const char *dir) {
    int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    fsync(fd);
    close(fd);
}

static int open_file(struct state_file *file, const char *dir, struct xb_error *error) {
    const char *slash = dir[0] && dir[strlen(dir) - 1] == '/' ? "" : "/";
    if (snprintf(file->path, sizeof(file->path), "%s%sgrastate.dat", dir, slash) >= (int)sizeof(file->path))
        return xb_fail(error, -ENAMETOOLONG, "Directory name '%s' is too long", dir);
    file->fd = open(file->path, O_RDWR | O_CLOEXEC);
    bool is_new = file->fd < 0 && errno == ENOENT;
    if (is_new) {
        xb_log_warning(file->log, "Could not open state file for reading: '%s'", file->path);
        file->fd = open(file->path, O_RDWR | O_CREAT | O_CLOEXEC, 0660);
    }
    if (file->fd < 0) return xb_fail(error, -errno, "Could not open state file '%s': %s", file->path, strerror(errno));
    int rc = lock_file(file->fd, file->path, error);
    if (rc) return rc;
    rc = read_file(file, error);
    if (rc || !is_new) return rc;
    write_state(file, &file->saved.uuid, file->saved.seqno);
    sync_directory(dir);
    return 0;
}

struct state_file *state_file_open(const char *dir, state_file_write write, const struct xb_log *log,
                                   struct xb_error *error) {
    struct state_file *file = calloc(1, sizeof(*file));
    if (!file) {
        xb_fail(error, -ENOMEM, "No memory for the state file");
        return NULL;
    }
    file->fd = -1;
    file->write = write ? write : write_in_place;
    file->log = log;
    pthread_mutex_init(&file->lock, NULL);
    if (open_file(file, dir, error)) {
        state_file_close(file);
        return NULL;
    }
    return file;
}

void state_file_close(struct state_file *file) {
    if (!file) return;
    if (file->fd >= 0) close(file->fd);
    pthread_mutex_destroy(&file->lock);
    free(file);
}

struct saved_state state_file_get(struct state_file *file) {
    pthread_mutex_lock(&file->lock);
    struct saved_state saved = file->saved;
    pthread_mutex_unlock(&file->lock);
    return saved;
}

/* With the lock held: the file follows what is remembered, if it may. */
static void write_remembered(struct state_file *file) {
    const struct saved_state *saved = &file->saved, *written = &file->written;
    if (file->unsafe || file->is_corrupt) return;
    if (xb_uuid_equal(&saved->uuid, &written->uuid) && saved->seqno == written->seqno &&
        saved->is_safe_to_bootstrap == written->is_safe_to_bootstrap)
        return;
    write_state(file, &saved->uuid, saved->seqno);
}

void state_file_set(struct state_file *file, const struct xb_uuid *uuid, int64_t seqno, bool is_safe_to_bootstrap) {
    pthread_mutex_lock(&file->lock);
    bool is_safe_changed = file->written.is_safe_to_bootstrap != is_safe_to_bootstrap;
    file->saved.is_safe_to_bootstrap = is_safe_to_bootstrap;
    if (!file->is_corrupt) {
        file->saved.uuid = *uuid;
        file->saved.seqno = seqno;
    }
    /* The mark is true at once, also while the position must not be told. */
    if (is_safe_changed && (file->unsafe || file->is_corrupt))
        write_state(file, &file->written.uuid, file->written.seqno);
    write_remembered(file);
    pthread_mutex_unlock(&file->lock);
}

void state_file_set_position(struct state_file *file, const struct xb_uuid *uuid, int64_t seqno) {
    state_file_set(file, uuid, seqno, state_file_get(file).is_safe_to_bootstrap);
}

void state_file_mark_unsafe(struct state_file *file) {
    pthread_mutex_lock(&file->lock);
    if (file->unsafe++ == 0 && !xb_uuid_is_nil(&file->written.uuid)) write_state(file, &xb_uuid_nil, -1);
    pthread_mutex_unlock(&file->lock);
}

void state_file_mark_safe(struct state_file *file) {
    pthread_mutex_lock(&file->lock);
    if (file->unsafe > 0 && --file->unsafe == 0) write_remembered(file);
    pthread_mutex_unlock(&file->lock);
}

void state_file_mark_corrupt(struct state_file *file) {
    pthread_mutex_lock(&file->lock);
    if (!file->is_corrupt) {
        file->is_corrupt = true;
        file->saved.uuid = xb_uuid_nil;
        file->saved.seqno = -1;
        write_state(file, &xb_uuid_nil, -1);
    }
    pthread_mutex_unlock(&file->lock);
}

void state_file_mark_restored(struct state_file *file, const struct xb_uuid *uuid, int64_t seqno) {
    pthread_mutex_lock(&file->lock);
    file->is_corrupt = false;
    file->unsafe = 0;
    file->saved.uuid = *uuid;
    file->saved.seqno = seqno;
    write_remembered(file);
    pthread_mutex_unlock(&file->lock);
}

bool state_file_is_corrupt(struct state_file *file) {
    pthread_mutex_lock(&file->lock);
    bool is_corrupt = file->is_corrupt;
    pthread_mutex_unlock(&file->lock);
    return is_corrupt;
}
