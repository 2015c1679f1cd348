/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gvwstate.dat (spec 04 section 13): read at start, written by a thread of its own, so that a slow disk does not delay
 * what keeps the membership alive (section 18). A crash right after a view may thus leave the previous one on disk,
 * which only matters for the automatic promotion.
 */
#include "member/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FILE_NAME "gvwstate.dat"
#define TEXT_MAX 65536
#define PATH_SIZE 4200

static void file_path(char path[PATH_SIZE], const char *directory, const char *suffix) {
    snprintf(path, PATH_SIZE, "%s/" FILE_NAME "%s", directory, suffix);
}

static int fail_file(struct xb_error *error, const char *what, const char *path, int code) {
    return xb_fail(error, -code, "%s file(%s) failed(%s)", what, path, strerror(code));
}

static ssize_t read_all(int fd, char *text, size_t size) {
    size_t used = 0;
    while (used < size) {
        ssize_t n = read(fd, text + used, size - used);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return -1;
        if (n == 0) break;
        used += (size_t)n;
    }
    return (ssize_t)used;
}

int saved_state_read(const char *directory, struct pc_saved_view *saved, struct xb_error *error) {
    char path[PATH_SIZE];
    file_path(path, directory, "");
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return fail_file(error, "access", path, errno);
    char *text = malloc(TEXT_MAX);
    ssize_t size = text ? read_all(fd, text, TEXT_MAX) : -1;
    int code = text ? errno : ENOMEM;
    close(fd);
    struct xb_error reason;
    int rc = 0;
    if (size < 0)
        rc = fail_file(error, "read", path, code);
    else if (pc_saved_view_parse(text, (size_t)size, saved, &reason))
        rc = xb_fail(error, -EINVAL, "read file(%s) failed(%s)", path, reason.text);
    free(text);
    return rc;
}

static int write_all(int fd, const char *text, size_t size) {
    while (size > 0) {
        ssize_t n = write(fd, text, size);
        if (n < 0 && errno != EINTR) return -1;
        if (n > 0) {
            text += n;
            size -= (size_t)n;
        }
    }
    return 0;
}

static void sync_directory(const char *directory) {
    int fd = open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    (void)fsync(fd); /* without it the rename may be lost in a power failure: then the old file counts */
    close(fd);
}

static int replace_file(const char *directory, const char *text, size_t size, struct xb_error *error) {
    char path[PATH_SIZE], temporary[PATH_SIZE];
    file_path(path, directory, "");
    file_path(temporary, directory, ".tmp");
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (fd < 0) return fail_file(error, "open", temporary, errno);
    int code = write_all(fd, text, size) || fsync(fd) ? errno : 0;
    if (close(fd) && !code) code = errno;
    if (!code && rename(temporary, path)) code = errno;
    if (code) return fail_file(error, "write", temporary, code);
    sync_directory(directory);
    return 0;
}

int saved_state_write(const char *directory, const struct pc_saved_view *saved, struct xb_error *error) {
    char *text = malloc(TEXT_MAX);
    if (!text) return xb_fail(error, -ENOMEM, "no memory for " FILE_NAME);
    int size = pc_saved_view_format(saved, text, TEXT_MAX);
    int rc = size < 0 ? xb_fail(error, size, FILE_NAME ": too many members") : 0;
    if (!rc) rc = replace_file(directory, text, (size_t)size, error);
    free(text);
    return rc;
}

static int remove_file(const char *directory, struct xb_error *error) {
    char path[PATH_SIZE];
    file_path(path, directory, "");
    if (unlink(path) && errno != ENOENT) return fail_file(error, "remove", path, errno);
    sync_directory(directory);
    return 0;
}

enum wish { WISH_NOTHING, WISH_WRITE, WISH_REMOVE };

struct saved_state {
    const char *directory;
    const struct xb_log *log;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    enum wish wish;
    bool is_stopping;
    struct pc_saved_view saved;
};

static void *write_wishes(void *arg) {
    struct saved_state *state = arg;
    pthread_mutex_lock(&state->mutex);
    while (state->wish != WISH_NOTHING || !state->is_stopping) {
        enum wish wish = state->wish;
        if (wish == WISH_NOTHING) {
            pthread_cond_wait(&state->changed, &state->mutex);
            continue;
        }
        struct pc_saved_view saved = state->saved;
        state->wish = WISH_NOTHING;
        pthread_mutex_unlock(&state->mutex);
        struct xb_error error;
        int rc = wish == WISH_WRITE ? saved_state_write(state->directory, &saved, &error)
                                    : remove_file(state->directory, &error);
        if (rc) xb_log_warning(state->log, "%s", error.text);
        pthread_mutex_lock(&state->mutex);
    }
    pthread_mutex_unlock(&state->mutex);
    return NULL;
}

struct saved_state *saved_state_start(const char *directory, const struct xb_log *log) {
    struct saved_state *state = calloc(1, sizeof(*state));
    if (!state) return NULL;
    state->directory = directory;
    state->log = log;
    pthread_mutex_init(&state->mutex, NULL);
    pthread_cond_init(&state->changed, NULL);
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are the server's */
    int rc = pthread_create(&state->thread, NULL, write_wishes, state);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc == 0) return state;
    pthread_mutex_destroy(&state->mutex);
    pthread_cond_destroy(&state->changed);
    free(state);
    return NULL;
}

void saved_state_put(struct saved_state *state, const struct pc_saved_view *saved) {
    pthread_mutex_lock(&state->mutex);
    if (saved) state->saved = *saved;
    state->wish = saved ? WISH_WRITE : WISH_REMOVE;
    pthread_cond_signal(&state->changed);
    pthread_mutex_unlock(&state->mutex);
}

void saved_state_stop(struct saved_state *state) {
    if (!state) return;
    pthread_mutex_lock(&state->mutex);
    state->is_stopping = true;
    pthread_cond_signal(&state->changed);
    pthread_mutex_unlock(&state->mutex);
    pthread_join(state->thread, NULL);
    pthread_mutex_destroy(&state->mutex);
    pthread_cond_destroy(&state->changed);
    free(state);
}
