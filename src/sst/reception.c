/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Threads, one a connection; the first whose judge is content takes the place and stops the rest. */
#include "sst/reception.h"

#include "base/clock.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define CANDIDATES_MAX 64
#define CANDIDATE_NS (10 * XB_SECOND) /* a connection that says nothing for that long is dropped */

struct room {
    const struct reception *reception;
    struct watch watch; /* of the candidates and of the listener; stopped when one has won */
    pthread_mutex_t lock;
    struct stream *winner;
    bool is_won;
    _Atomic(int64_t) suspicion_ns; /* when the first suspicious connection failed, 0: none */
};

struct candidate {
    struct room *room;
    struct stream stream;
    pthread_t thread;
    bool is_running;
    _Atomic(bool) is_done;
};

bool reception_is_suspicious(int rc, const struct stream *stream) {
    return rc == -EPROTOTYPE || (rc == -EPROTO && stream->ssl != NULL);
}

static bool win(struct room *room, struct candidate *candidate, const void *result) {
    pthread_mutex_lock(&room->lock);
    bool is_first = !room->is_won;
    if (is_first) {
        room->is_won = true;
        memcpy(room->reception->result, result, room->reception->result_size);
        *room->winner = candidate->stream;
        room->winner->watch = &room->reception->transfer->watch;
        room->winner->idle_ns = room->reception->transfer->settings.idle_timeout_ns;
    }
    pthread_mutex_unlock(&room->lock);
    if (is_first) watch_stop(&room->watch);
    return is_first;
}

static void *examine(void *ctx) {
    struct candidate *c = ctx;
    const struct reception *r = c->room->reception;
    struct transfer *t = r->transfer;
    struct xb_error error = {0};
    void *result = calloc(1, r->result_size + 1);
    int rc = result ? stream_start_server(&c->stream, t->tls, t->settings.encrypt,
                                          xb_clock_monotonic_ns() + CANDIDATE_NS, &error)
                    : -ENOMEM;
    if (rc == 0) rc = r->judge(t, r->ctx, &c->stream, result, &error);
    if (rc || !win(c->room, c, result)) {
        if (reception_is_suspicious(rc, &c->stream) && !c->room->suspicion_ns)
            c->room->suspicion_ns = xb_clock_monotonic_ns();
        if (error.code && rc != -ECONNRESET && c->stream.fd >= 0)
            stream_close_with(&c->stream, "");
        else
            stream_close(&c->stream);
        if (rc == -EPROTOTYPE)
            xb_log_error(t->log, "%s", error.text);
        else if (error.code)
            xb_log_warning(t->log, "connection refused: %s", error.text);
    }
    free(result);
    c->is_done = true;
    return NULL;
}

static void join_candidates(struct candidate *candidates, bool only_done) {
    for (size_t i = 0; i < CANDIDATES_MAX; i++) {
        if (!candidates[i].is_running || (only_done && !candidates[i].is_done)) continue;
        pthread_join(candidates[i].thread, NULL);
        candidates[i].is_running = false;
    }
}

static struct candidate *free_place(struct candidate *candidates) {
    join_candidates(candidates, true);
    for (size_t i = 0; i < CANDIDATES_MAX; i++)
        if (!candidates[i].is_running) return &candidates[i];
    return NULL;
}

static int receive_candidates(struct room *room, struct candidate *candidates, int64_t deadline_ns,
                              struct xb_error *error) {
    for (;;) {
        struct stream stream;
        int64_t suspicion_ns = room->suspicion_ns,
                until_ns = suspicion_ns ? suspicion_ns + RECEPTION_SUSPICION_S * XB_SECOND : XB_NEVER;
        int64_t look_ns = xb_clock_monotonic_ns() + XB_SECOND;
        int rc = stream_accept(&stream, room->reception->listen_fd, &room->watch,
                               xb_earlier(look_ns, xb_earlier(deadline_ns, until_ns)), error);
        int64_t now_ns = xb_clock_monotonic_ns();
        if (rc == -ETIMEDOUT && now_ns >= until_ns)
            return xb_fail(error, rc, "the only donor that came did not fit (see above), and no other came within %d s",
                           RECEPTION_SUSPICION_S);
        if (rc == -ETIMEDOUT && now_ns < deadline_ns) continue;
        if (rc) return rc;
        struct candidate *c = free_place(candidates);
        if (!c) { /* strangers hold all places; each lets go after CANDIDATE_NS */
            stream_close(&stream);
            continue;
        }
        *c = (struct candidate){.room = room, .stream = stream};
        c->stream.idle_ns = CANDIDATE_NS;
        c->is_running = pthread_create(&c->thread, NULL, examine, c) == 0;
        if (!c->is_running) stream_close(&c->stream);
    }
}

int reception_run(const struct reception *reception, int64_t deadline_ns, struct stream *winner,
                  struct xb_error *error) {
    struct room room = {.reception = reception, .winner = winner};
    struct candidate *candidates = calloc(CANDIDATES_MAX, sizeof(*candidates));
    if (!candidates) return xb_fail(error, -ENOMEM, "no memory");
    int rc = watch_fork(&room.watch, &reception->transfer->watch, error);
    pthread_mutex_init(&room.lock, NULL);
    if (rc == 0) rc = receive_candidates(&room, candidates, deadline_ns, error);
    watch_stop(&room.watch);
    join_candidates(candidates, false);
    if (room.is_won && (rc == -ECANCELED || rc == -ETIMEDOUT)) rc = 0;
    if (rc && room.is_won) stream_close(winner);
    pthread_mutex_destroy(&room.lock);
    watch_close_fork(&room.watch);
    free(candidates);
    return rc;
}
