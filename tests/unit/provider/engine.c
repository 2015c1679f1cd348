/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The engine of the make-believe server; engine.h. */
#include "engine.h"

#include <stdlib.h>
#include <string.h>

struct stream engine_streams[8][STREAMS_MAX];

/* ---- order ---- */

void engine_see(struct fake_server *s, int64_t seqno) {
    CHECK(seqno > 0 && seqno < FAKE_SEQNO_MAX);
    CHECK(atomic_fetch_add(&s->seen[seqno], 1) == 0);
}

void engine_entered(struct fake_server *s, int64_t seqno) {
    CHECK(atomic_exchange(&s->inside, seqno) == 0);
    CHECK(atomic_exchange(&s->last_entered, seqno) < seqno);
    CHECK(atomic_load(&s->callbacks) == 0);
    engine_see(s, seqno);
}

void engine_leaving(struct fake_server *s, int64_t seqno) {
    CHECK(atomic_exchange(&s->inside, 0) == seqno);
}

void engine_commit(struct fake_server *s, int64_t seqno, const struct change *changes, size_t count) {
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < count; i++) {
        s->rows[changes[i].row] += changes[i].by;
        s->history_hash =
            s->history_hash * 1099511628211u + (uint64_t)(seqno * 31 + changes[i].row * 7 + changes[i].by);
    }
    s->position.seqno = seqno;
    pthread_mutex_unlock(&s->lock);
}

/* ---- row locks ---- */

/* With the lock held. */
bool engine_is_told_to_abort(const struct fake_server *s, uint64_t holder) {
    for (int i = 0; i < FAKE_ROWS; i++)
        if (s->holders[i] == holder && s->is_victim[i]) return true;
    return false;
}

/* As the real server: with the lock of what is contended held, so the provider must not wait. */
static void abort_local(struct fake_server *s, uint64_t victim, int64_t bf_seqno) {
    int64_t victim_seqno = -7;
    int rc = s->t.abort_certification(&s->t, bf_seqno, victim, &victim_seqno);
    CHECK(rc == 0 || rc == 10);
    CHECK(victim_seqno != -7);
    if (rc) return;
    atomic_fetch_add(&s->aborts, 1);
    for (int i = 0; i < FAKE_ROWS; i++)
        if (s->holders[i] == victim) s->is_victim[i] = true;
    pthread_cond_broadcast(&s->freed);
}

/* Who is in the way? For an applier also a local transaction in the neighbour row, as with gap locks: so transactions
 * whose keys do not conflict are removed too, and have to replay. */
static uint64_t in_the_way(const struct fake_server *s, int64_t row, uint64_t holder, bool is_bf) {
    uint64_t other = s->holders[row], neighbour = s->holders[row ^ 1];
    if (other && other != holder) return other;
    return is_bf && neighbour && neighbour != holder && !(neighbour & BF_HOLDER) ? neighbour : 0;
}

/* A local transaction waits for others, an applier removes local ones. -> false: this (local) one is to be aborted */
bool engine_lock_row(struct fake_server *s, int64_t row, uint64_t holder, int64_t bf_seqno, bool is_bf) {
    uint64_t told = 0;
    bool may_go_on = true;
    pthread_mutex_lock(&s->lock);
    for (uint64_t other; (other = in_the_way(s, row, holder, is_bf)) != 0;) {
        may_go_on = is_bf || !engine_is_told_to_abort(s, holder);
        if (!may_go_on) break;
        if (is_bf && !(other & BF_HOLDER) && other != told) {
            abort_local(s, other, bf_seqno);
            told = other;
        }
        pthread_cond_wait(&s->freed, &s->lock);
    }
    if (may_go_on) {
        s->holders[row] = holder;
        s->is_victim[row] = false;
    }
    pthread_mutex_unlock(&s->lock);
    return may_go_on;
}

void engine_unlock_rows(struct fake_server *s, uint64_t holder) {
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < FAKE_ROWS; i++)
        if (s->holders[i] == holder) {
            s->holders[i] = 0;
            s->is_victim[i] = false;
        }
    pthread_cond_broadcast(&s->freed);
    pthread_mutex_unlock(&s->lock);
}

/* ---- streams ---- */

/* With the lock held. */
static struct stream *find_stream(struct fake_server *s, const struct abi_trx_meta *m, bool is_made) {
    struct stream *empty = NULL;
    for (int i = 0; i < STREAMS_MAX; i++) {
        struct stream *stream = &engine_streams[s->index][i];
        if (!stream->trx && !empty) empty = stream;
        if (stream->trx == m->stid.trx && !memcmp(&stream->source, &m->stid.node, 16)) return stream;
    }
    if (!is_made) return NULL;
    CHECK(empty);
    empty->trx = m->stid.trx;
    empty->source = m->stid.node;
    empty->count = 0;
    return empty;
}

void engine_add_to_stream(struct fake_server *s, const struct abi_trx_meta *m, const struct change *changes,
                          size_t count) {
    pthread_mutex_lock(&s->lock);
    struct stream *stream = find_stream(s, m, true);
    for (size_t i = 0; i < count; i++) stream->changes[stream->count++] = changes[i];
    pthread_mutex_unlock(&s->lock);
}

/* Its end; -> what it was */
struct stream engine_end_stream(struct fake_server *s, const struct abi_trx_meta *m) {
    struct stream whole = {.trx = 0};
    pthread_mutex_lock(&s->lock);
    struct stream *stream = find_stream(s, m, false);
    if (stream) {
        whole = *stream;
        stream->trx = 0;
    }
    pthread_mutex_unlock(&s->lock);
    return whole;
}
