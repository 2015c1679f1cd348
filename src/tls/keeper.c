/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The context of a running node.
 *
 * Watching compares what stat says about the files, once in TLS_WATCH_PERIOD_S: that also notices files that are
 * replaced through links or on network file systems. Files of one set change one after the other, so a change is looked
 * at when the files have been the same for a whole period.
 */
#include "tls/keeper.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define TLS_WATCH_PERIOD_S 1
#define TLS_CHECK_PERIOD_S (24 * 3600)

struct file_state {
    dev_t device;
    ino_t inode;
    off_t size;
    int64_t changed_ns;
};

struct file_states {
    struct file_state files[TLS_FILE_OPTIONS_MAX];
};

struct tls_keeper {
    struct xb_options *options;
    const struct xb_log *log;
    void (*changed)(void *ctx, struct tls_context *context);
    void *ctx;
    pthread_mutex_t reload_lock; /* one reload at a time; held while `changed` runs */
    struct file_states tried;    /* as they were at the last attempt to load them; under reload_lock */
    pthread_mutex_t lock;        /* of what follows */
    pthread_cond_t stopping;
    struct tls_context *context;
    bool is_stopping, has_thread;
    pthread_t thread;
};

static struct file_states look(struct xb_options *options) {
    struct file_states states;
    memset(&states, 0, sizeof(states)); /* compared as bytes */
    for (size_t i = 0; i < TLS_FILE_OPTIONS_MAX; i++) {
        char path[PATH_MAX];
        struct stat status;
        if (xb_options_text(options, tls_file_options[i], path, sizeof(path)) <= 0 || stat(path, &status)) continue;
        struct file_state *file = &states.files[i];
        file->device = status.st_dev;
        file->inode = status.st_ino;
        file->size = status.st_size;
        file->changed_ns = (int64_t)status.st_ctim.tv_sec * 1000000000 + status.st_ctim.tv_nsec;
    }
    return states;
}

static bool is_same(const struct file_states *a, const struct file_states *b) {
    return memcmp(a, b, sizeof(*a)) == 0;
}

static void warn(void *ctx, const char *line) {
    xb_log_info(ctx, "WARNING: %s", line);
}

static void check(struct tls_keeper *keeper) {
    struct tls_context *context = tls_keeper_context(keeper);
    if (!context) return;
    tls_options_check(keeper->options, context, warn, (void *)(uintptr_t)keeper->log);
    if (xb_options_bool(keeper->options, "socket.dynamic"))
        warn((void *)(uintptr_t)keeper->log,
             "socket.dynamic is on: plaintext is accepted from peers and offered to them; it is meant for the time of "
             "switching a cluster to TLS: take it away as soon as all nodes have certificates");
    tls_context_unref(context);
}

struct tls_keeper *tls_keeper_new(struct xb_options *options, const struct xb_log *log, struct xb_error *error) {
    struct tls_keeper *keeper = calloc(1, sizeof(*keeper));
    if (!keeper) {
        xb_fail(error, -ENOMEM, "no memory for the TLS context");
        return NULL;
    }
    keeper->options = options;
    keeper->log = log;
    if (tls_options_load(options, false, &keeper->context, error)) {
        free(keeper);
        return NULL;
    }
    keeper->tried = look(options);
    pthread_mutex_init(&keeper->reload_lock, NULL);
    pthread_mutex_init(&keeper->lock, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&keeper->stopping, &attributes);
    pthread_condattr_destroy(&attributes);
    check(keeper);
    return keeper;
}

void tls_keeper_free(struct tls_keeper *keeper) {
    if (!keeper) return;
    tls_keeper_stop(keeper);
    tls_context_unref(keeper->context);
    pthread_mutex_destroy(&keeper->reload_lock);
    pthread_mutex_destroy(&keeper->lock);
    pthread_cond_destroy(&keeper->stopping);
    free(keeper);
}

struct tls_context *tls_keeper_context(struct tls_keeper *keeper) {
    pthread_mutex_lock(&keeper->lock);
    struct tls_context *context = keeper->context ? tls_context_ref(keeper->context) : NULL;
    pthread_mutex_unlock(&keeper->lock);
    return context;
}

static int reload(struct tls_keeper *keeper, struct xb_error *error) {
    struct tls_context *fresh = NULL;
    keeper->tried = look(keeper->options); /* before the reading: what changes meanwhile is noticed */
    int rc = tls_options_load(keeper->options, true, &fresh, error);
    if (rc) return rc;
    pthread_mutex_lock(&keeper->lock);
    struct tls_context *old = keeper->context;
    keeper->context = tls_context_ref(fresh);
    pthread_mutex_unlock(&keeper->lock);
    tls_context_unref(old);
    xb_log_info(keeper->log,
                "The certificate files have been read again; new connections use them, and the present ones "
                "are made anew");
    check(keeper);
    if (keeper->changed) keeper->changed(keeper->ctx, fresh);
    tls_context_unref(fresh);
    return 0;
}

int tls_keeper_reload(struct tls_keeper *keeper, struct xb_error *error) {
    if (!keeper->context) return 0; /* TLS is not switched on or off at run time */
    pthread_mutex_lock(&keeper->reload_lock);
    int rc = reload(keeper, error);
    pthread_mutex_unlock(&keeper->reload_lock);
    return rc;
}

/* seen: of the last time */
static void watch(struct tls_keeper *keeper, struct file_states *seen) {
    struct file_states now = look(keeper->options);
    bool is_settled = is_same(&now, seen);
    *seen = now;
    if (!is_settled) return;
    struct xb_error error;
    pthread_mutex_lock(&keeper->reload_lock);
    if (!is_same(&now, &keeper->tried) && reload(keeper, &error))
        xb_log_error(keeper->log,
                     "The certificate files have changed, and are not usable; the old ones stay in use: %s",
                     error.text);
    pthread_mutex_unlock(&keeper->reload_lock);
}

/* -> false: stop */
static bool wait(struct tls_keeper *keeper) {
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += TLS_WATCH_PERIOD_S;
    int rc = 0;
    pthread_mutex_lock(&keeper->lock);
    while (!keeper->is_stopping && rc == 0) rc = pthread_cond_timedwait(&keeper->stopping, &keeper->lock, &until);
    bool is_stopping = keeper->is_stopping;
    pthread_mutex_unlock(&keeper->lock);
    return !is_stopping;
}

static void *run(void *arg) {
    struct tls_keeper *keeper = arg;
    struct file_states seen = look(keeper->options);
    time_t checked = time(NULL);
    while (wait(keeper)) {
        if (xb_options_bool(keeper->options, "socket.ssl_watch")) watch(keeper, &seen);
        if (time(NULL) - checked < TLS_CHECK_PERIOD_S) continue;
        checked = time(NULL);
        check(keeper);
    }
    return NULL;
}

int tls_keeper_start(struct tls_keeper *keeper, void (*changed)(void *ctx, struct tls_context *context), void *ctx,
                     struct xb_error *error) {
    sigset_t all, old;
    keeper->changed = changed;
    keeper->ctx = ctx;
    if (!keeper->context) return 0;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are the server's */
    int rc = pthread_create(&keeper->thread, NULL, run, keeper);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc) return xb_fail(error, -rc, "cannot start the thread that keeps the certificates: %s", strerror(rc));
    pthread_setname_np(keeper->thread, "xebec-tls");
    keeper->has_thread = true;
    return 0;
}

void tls_keeper_stop(struct tls_keeper *keeper) {
    pthread_mutex_lock(&keeper->lock);
    keeper->is_stopping = true;
    pthread_cond_broadcast(&keeper->stopping);
    pthread_mutex_unlock(&keeper->lock);
    if (keeper->has_thread) pthread_join(keeper->thread, NULL);
    keeper->has_thread = false;
    pthread_mutex_lock(&keeper->reload_lock);
    keeper->changed = NULL;
    pthread_mutex_unlock(&keeper->reload_lock);
}
