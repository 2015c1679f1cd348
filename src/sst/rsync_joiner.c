/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The joiner of the method rsync. Each run of the donor's rsync is a connection of its own, examined and served in a
 * thread of its own. The first that succeeds decides who the donor is (its certificate; without TLS its address); the
 * file rsync_sst_complete, with the secret of this join in it, ends the transfer.
 */
#include "sst/binlog_archive.h"
#include "sst/joiner.h"
#include "sst/reception.h"
#include "sst/rsync.h"
#include "sst/rsync_daemon.h"
#include "sst/rsync_magic.h"

#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LINES_MAX 64
#define HANDSHAKE_NS (10 * XB_SECOND)
#define GAP_NS (120 * XB_SECOND) /* between two connections of the donor */
#define PLAIN_GREETING "@RSYNCD:"

struct receiver;

/* One connection. */
struct line {
    struct receiver *receiver;
    struct stream stream;
    pthread_t thread;
    bool is_running;
    _Atomic(bool) is_done;
};

struct receiver {
    struct joiner *joiner;
    struct watch watch; /* of the threads */
    pthread_t accepting;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct progress progress;
    char fingerprint[STREAM_FINGERPRINT_SIZE], host[STREAM_TEXT_SIZE]; /* the donor's, "" not known yet */
    unsigned live;                                                     /* connections that rsync serves */
    bool has_donor;
    int64_t idle_ns, suspicion_ns; /* since when there is none; first failed one that looked like the donor, 0 none */
    bool is_complete;
    struct magic_stage magic;
    struct xb_error error; /* that ends the transfer */
    struct line lines[LINES_MAX];
};

/* ---- who is it */

static void host_of(const char *peer, char host[STREAM_TEXT_SIZE]) {
    snprintf(host, STREAM_TEXT_SIZE, "%s", peer);
    char *colon = strrchr(host, ':');
    if (colon) *colon = '\0';
}

/* Call it with the lock held. */
static bool is_same_donor(const struct receiver *r, const struct stream *stream) {
    char host[STREAM_TEXT_SIZE];
    host_of(stream->peer, host);
    if (!r->host[0]) return true;
    return r->fingerprint[0] ? strcmp(r->fingerprint, stream->fingerprint) == 0 : strcmp(r->host, host) == 0;
}

/* Without TLS a port scan must not even start a program. */
static bool speaks_rsync(const struct stream *stream) {
    char bytes[sizeof(PLAIN_GREETING) - 1];
    ssize_t n = recv(stream->fd, bytes, sizeof(bytes), MSG_PEEK);
    return n > 0 && memcmp(bytes, PLAIN_GREETING, (size_t)n) == 0;
}

static int admit(struct line *l, struct xb_error *error) {
    struct receiver *r = l->receiver;
    struct transfer *t = r->joiner->transfer;
    l->stream.idle_ns = HANDSHAKE_NS;
    int rc =
        stream_start_server(&l->stream, t->tls, t->settings.encrypt, xb_clock_monotonic_ns() + HANDSHAKE_NS, error);
    l->stream.idle_ns = t->settings.idle_timeout_ns;
    if (rc) return rc;
    if (!t->tls && !speaks_rsync(&l->stream)) return xb_fail(error, -EPROTO, "%s does not speak rsync", l->stream.peer);
    pthread_mutex_lock(&r->lock);
    if (!is_same_donor(r, &l->stream))
        rc = xb_fail(error, -EACCES, "%s is not the donor of the first connection", l->stream.peer);
    pthread_mutex_unlock(&r->lock);
    return rc;
}

/* ---- one connection */

static int count(void *ctx, bool is_from_stream, size_t bytes, struct xb_error *error) {
    struct receiver *r = ctx;
    if (!is_from_stream) return 0;
    pthread_mutex_lock(&r->lock);
    transfer_report(r->joiner->transfer, &r->progress, bytes);
    pthread_mutex_unlock(&r->lock);
    return 0;
}

static void note_donor(struct receiver *r, const struct stream *stream) {
    if (r->host[0]) return;
    snprintf(r->fingerprint, sizeof(r->fingerprint), "%s", stream->fingerprint);
    host_of(stream->peer, r->host);
    if (stream->cipher[0])
        xb_log_info(r->joiner->transfer->log, "donor %s, %s, certificate %s", stream->peer, stream->cipher,
                    stream->subject[0] ? stream->subject : "none");
    else
        xb_log_info(r->joiner->transfer->log, "donor %s, in plain text", stream->peer);
}

/* A run has succeeded: was it the last? Call it with the lock held. */
static void look_for_end(struct receiver *r) {
    int rc = rsync_magic_read(r->joiner->transfer->arguments->datadir, &r->magic, &r->error);
    if (rc) return;
    if (r->joiner->secret[0] && !magic_is_secret_equal(r->joiner->secret, r->magic.secret)) {
        xb_fail(&r->error, -EACCES,
                "the donor does not know the secret of this join: it is not the one that the group "
                "has chosen, and what it sent is not used");
        return;
    }
    r->is_complete = true;
}

static void begin_serving(struct receiver *r) {
    pthread_mutex_lock(&r->lock);
    r->live++;
    r->has_donor = true;
    r->joiner->is_old_data_gone = true;
    pthread_mutex_unlock(&r->lock);
}

static void end_serving(struct receiver *r, const struct stream *stream, int rc) {
    pthread_mutex_lock(&r->lock);
    r->live--;
    r->idle_ns = xb_clock_monotonic_ns();
    if (rc == 0) {
        note_donor(r, stream);
        look_for_end(r);
    }
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

static void note_suspicion(struct receiver *r) {
    pthread_mutex_lock(&r->lock);
    if (!r->suspicion_ns) r->suspicion_ns = xb_clock_monotonic_ns();
    pthread_mutex_unlock(&r->lock);
}

static void *run_line(void *ctx) {
    struct line *l = ctx;
    struct receiver *r = l->receiver;
    struct transfer *t = r->joiner->transfer;
    struct xb_error error = {0};
    int rc = admit(l, &error);
    if (rc) {
        if (reception_is_suspicious(rc, &l->stream)) note_suspicion(r);
        if (rc != -ECONNRESET && rc != -EPIPE && error.code)
            xb_log_warning(t->log, "connection refused: %s", error.text);
        stream_close_with(&l->stream, "");
    } else {
        begin_serving(r);
        rc = rsync_daemon_serve(t, &l->stream, count, r, &error);
        if (rc && rc != -ECANCELED && error.code)
            xb_log_warning(t->log, "connection of %s: %s", l->stream.peer, error.text);
        end_serving(r, &l->stream, rc);
        stream_close(&l->stream);
    }
    l->is_done = true;
    return NULL;
}

static struct line *free_line(struct receiver *r) {
    for (size_t i = 0; i < LINES_MAX; i++) {
        struct line *l = &r->lines[i];
        if (l->is_running && l->is_done) {
            pthread_join(l->thread, NULL);
            l->is_running = false;
        }
        if (!l->is_running) return l;
    }
    return NULL;
}

static void *accept_lines(void *ctx) {
    struct receiver *r = ctx;
    struct xb_error error = {0};
    struct stream stream;
    while (stream_accept(&stream, r->joiner->listen_fd, &r->watch, XB_NEVER, &error) == 0) {
        struct line *l = free_line(r);
        if (!l) { /* strangers hold all places; each lets go after HANDSHAKE_NS */
            stream_close(&stream);
            continue;
        }
        *l = (struct line){.receiver = r, .stream = stream};
        l->is_running = pthread_create(&l->thread, NULL, run_line, l) == 0;
        if (!l->is_running) stream_close(&l->stream);
    }
    return NULL;
}

/* ---- the whole */

static int check_time(const struct receiver *r, int64_t start_ns, struct xb_error *error) {
    const struct sst_settings *s = &r->joiner->transfer->settings;
    int64_t now_ns = xb_clock_monotonic_ns();
    if (r->live > 0) return 0;
    if (r->suspicion_ns &&
        now_ns - (r->idle_ns > r->suspicion_ns ? r->idle_ns : r->suspicion_ns) > RECEPTION_SUSPICION_S * XB_SECOND)
        return xb_fail(error, -ETIMEDOUT,
                       "the donor that came did not fit or has failed (see above), and no other came "
                       "within %d s",
                       RECEPTION_SUSPICION_S);
    if (!r->has_donor && s->initial_timeout_ns && now_ns - start_ns > s->initial_timeout_ns)
        return xb_fail(error, -ETIMEDOUT, "no donor came within %d s (sst-initial-timeout): see the donor's log",
                       (int)(s->initial_timeout_ns / XB_SECOND));
    if (r->has_donor && now_ns - r->idle_ns > GAP_NS)
        return xb_fail(error, -ETIMEDOUT,
                       "the donor left the transfer unfinished and did not come back within %d s: see "
                       "its log",
                       (int)(GAP_NS / XB_SECOND));
    return 0;
}

static int wait_for_end(struct receiver *r, struct xb_error *error) {
    int64_t start_ns = xb_clock_monotonic_ns();
    int rc = 0;
    pthread_mutex_lock(&r->lock);
    while (rc == 0 && !r->is_complete) {
        watch_wait_change(&r->changed, &r->lock);
        rc = r->error.code;
        if (rc)
            *error = r->error;
        else
            rc = check_time(r, start_ns, error);
        if (rc == 0) rc = watch_check(&r->watch, error);
    }
    pthread_mutex_unlock(&r->lock);
    return rc;
}

static int receive(struct receiver *r, struct xb_error *error) {
    int rc = watch_fork(&r->watch, &r->joiner->transfer->watch, error);
    if (rc) return rc;
    progress_begin(&r->progress, 0, xb_clock_monotonic_ns());
    if (pthread_create(&r->accepting, NULL, accept_lines, r)) {
        rc = xb_fail(error, -EAGAIN, "cannot start a thread");
    } else {
        rc = wait_for_end(r, error);
        watch_stop(&r->watch);
        pthread_join(r->accepting, NULL);
    }
    for (size_t i = 0; i < LINES_MAX; i++)
        if (r->lines[i].is_running) pthread_join(r->lines[i].thread, NULL);
    watch_close_fork(&r->watch);
    return rc;
}

/* The secret proves that the group has chosen this donor. */
static int announce(struct joiner *joiner, struct xb_error *error) {
    struct transfer *t = joiner->transfer;
    char name[STREAM_TEXT_SIZE] = "";
    int rc = 0;
    if (t->tls && t->settings.ssl_mode >= SST_SSL_VERIFY_CA)
        rc = joiner_make_named_secret(joiner, name, error);
    else if (t->settings.is_peer_verified && joiner_has_plain_name(joiner, name))
        rc = joiner_make_secret(joiner, error);
    return rc ? rc : joiner_say_ready(joiner, name, RSYNC_MODULE, error);
}

static int use_data(struct receiver *r, struct xb_error *error) {
    struct joiner *joiner = r->joiner;
    char line[PROGRESS_LINE_SIZE];
    snprintf(joiner->state, sizeof(joiner->state), "%s", r->magic.state);
    if (r->magic.is_ist_only) {
        xb_log_info(joiner->transfer->log, "the donor sends only the IST: the data stays");
        return 0;
    }
    xb_log_info(joiner->transfer->log, "received %s", progress_format_end(&r->progress, xb_clock_monotonic_ns(), line));
    return binlog_unpack(joiner->transfer, error);
}

static int join(struct joiner *joiner, struct xb_error *error) {
    struct transfer *t = joiner->transfer;
    struct receiver *r = calloc(1, sizeof(*r));
    if (!r) return xb_fail(error, -ENOMEM, "no memory");
    r->joiner = joiner;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    rsync_magic_remove(t->arguments->datadir);
    binlog_remove_archive(t);
    int rc = rsync_daemon_prepare(t, error);
    if (rc == 0) rc = joiner_listen(joiner, t, error);
    if (rc == 0) rc = announce(joiner, error);
    if (rc == 0) rc = receive(r, error);
    if (rc == 0) rc = use_data(r, error);
    rsync_daemon_remove_files(t);
    rsync_magic_remove(t->arguments->datadir);
    binlog_remove_archive(t);
    free(r);
    return rc;
}

int rsync_joiner_run(struct transfer *t, struct xb_error *error) {
    return joiner_run_with(t, join, error);
}
