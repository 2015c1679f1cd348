/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Local transactions: the object that a client thread works on and that brute-force aborts act on, its states and the
 * transitions that are allowed among them (spec 07 section 6.2, 01 section 10.3), and the table that finds it by id.
 *
 * Threads. The state and what stands beside it are guarded by `lock`, which is never held while waiting. What the group
 * thread fills in (`ordered`, `result`) is published by `delivered`. The rest belongs to the client thread. Aborters,
 * and tasks on their way to the group thread, hold references, so the object outlives its release.
 */
#ifndef XB_REPLICATOR_TRX_H
#define XB_REPLICATOR_TRX_H

#include "base/uuid.h"
#include "certify/certify.h"
#include "gcs/gcs.h"
#include "member/member.h"
#include "replicator/futex.h"
#include "replicator/gate.h"
#include "writeset/writeset.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* First member of whatever the server keeps in a handle, or gets in apply: tells what it is. */
enum handle_kind { HANDLE_TRX = 0x54525831, HANDLE_ORDERED = 0x4f524431 };

/* A write set in its place of the total order, local or not: which gates it has still to pass. */
enum ordered_stage { ORDERED_NONE, ORDERED_CERTIFIED, ORDERED_APPLYING, ORDERED_COMMITTING, ORDERED_COMMITTED };

struct ordered {
    enum handle_kind kind;
    enum ordered_stage stage;
    struct xb_uuid history;
    _Atomic(int64_t) seqno; /* -1: not ordered */
    int64_t depends;
    uint32_t flags; /* of the transaction; a failed verdict has set ROLLBACK */
    bool is_passed;
    bool is_from_ist;
    int64_t nbo_ended; /* start of the NBO that this effectively ends, else -1 */
    struct xb_uuid source;
    uint64_t trx, conn;
    struct certify_ticket *ticket;   /* NULL: none, or settled */
    const uint8_t *data, *unordered; /* in the history */
    size_t data_size, unordered_size;
};

enum trx_state { /* spec 07 section 6.2 */
                 TRX_EXECUTING,
                 TRX_MUST_ABORT,
                 TRX_REPLICATING,
                 TRX_CERTIFYING,
                 TRX_APPLYING,
                 TRX_COMMITTING,
                 TRX_COMMITTED,
                 TRX_MUST_REPLAY,
                 TRX_REPLAYING,
                 TRX_ABORTING,
                 TRX_ROLLING_BACK,
                 TRX_ROLLED_BACK,
                 TRX_STATES
};
const char *trx_state_name(enum trx_state state);
bool trx_is_transition_allowed(enum trx_state from, enum trx_state to);

struct replicator;

struct trx {
    struct ordered ordered; /* first */
    struct replicator *rep;
    _Atomic(uint32_t) refs;
    pthread_mutex_t lock;
    _Atomic(enum trx_state) state; /* changed with the lock held */
    uint64_t id, conn;
    uint32_t flags;
    int version; /* of write sets when it began */
    bool is_toi;
    bool is_abort_deferred; /* killed between commit_order_enter and _leave of a fragment */
    int64_t last_fragment;  /* seqno of the fragment before, -1 */
    bool is_in_certify;     /* its thread is there and will act on an abort itself */
    int64_t pa_range;       /* of a preordered one */
    struct writeset_builder *builder;
    struct gate_waiter waiter; /* of the one gate where it may be waiting */

    /* The way to the group thread and back. */
    struct member_task submit_task, cancel_task;
    struct gcs_submission submission;
    bool is_submitted; /* group thread: the submission is with gcs */
    _Atomic(bool) is_cancel_posted;
    struct event delivered;
    int result;       /* 0: ordered; negative errno */
    uint64_t key;     /* in its map */
    struct trx *next; /* of its bucket */
};

/* With the lock held. A transition that the table forbids is a bug of ours: it is logged, and not made. -> false then
 * */
bool trx_set_state(struct trx *trx, enum trx_state to);
static inline enum trx_state trx_get_state(struct trx *trx) {
    return atomic_load(&trx->state);
}

struct trx *trx_new(struct replicator *rep, uint64_t id); /* one reference; NULL: no memory */
struct trx *trx_ref(struct trx *trx);
void trx_unref(struct trx *trx);

/* By transaction id, or by connection id for TOI. */
#define TRX_MAP_BUCKETS 4096
#define TRX_MAP_LOCKS 16
struct trx_map {
    pthread_mutex_t locks[TRX_MAP_LOCKS];
    struct trx *buckets[TRX_MAP_BUCKETS];
    _Atomic(int64_t) count;
};
void trx_map_init(struct trx_map *map);
void trx_map_destroy(struct trx_map *map); /* drops what is left */
/* The map takes a reference of its own. key: the id by which it is found. A transaction that is there is replaced. */
void trx_map_put(struct trx_map *map, uint64_t key, struct trx *trx);
struct trx *trx_map_get(struct trx_map *map, uint64_t key); /* with a reference, or NULL */
/* Takes it out, if it is this one. */
void trx_map_remove(struct trx_map *map, uint64_t key, struct trx *trx);

#endif
