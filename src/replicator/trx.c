/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Transaction objects: states, references, the table. */
#include "replicator/trx.h"

#include "replicator/internal.h"

#include <assert.h>
#include <stdlib.h>

static const char *const state_names[TRX_STATES] = {
    "EXECUTING", "MUST_ABORT",  "REPLICATING", "CERTIFYING", "APPLYING",     "COMMITTING",
    "COMMITTED", "MUST_REPLAY", "REPLAYING",   "ABORTING",   "ROLLING_BACK", "ROLLED_BACK",
};

const char *trx_state_name(enum trx_state state) {
    return state < TRX_STATES ? state_names[state] : "?";
}

#define TO(state) (1u << TRX_##state)
static const uint32_t allowed[TRX_STATES] = {
    /* spec 07 section 6.2, row by row */
    [TRX_EXECUTING] = TO(REPLICATING) | TO(MUST_ABORT) | TO(ROLLED_BACK),
    [TRX_MUST_ABORT] = TO(MUST_REPLAY) | TO(ABORTING),
    [TRX_REPLICATING] = TO(CERTIFYING) | TO(MUST_ABORT),
    [TRX_CERTIFYING] = TO(APPLYING) | TO(ABORTING) | TO(MUST_ABORT),
    [TRX_APPLYING] = TO(COMMITTING) | TO(MUST_ABORT),
    [TRX_COMMITTING] = TO(COMMITTED) | TO(MUST_ABORT),
    [TRX_COMMITTED] = TO(EXECUTING),
    [TRX_MUST_REPLAY] = TO(REPLAYING) | TO(ABORTING),
    [TRX_REPLAYING] = TO(COMMITTING),
    [TRX_ABORTING] = TO(ROLLING_BACK) | TO(ROLLED_BACK) | TO(EXECUTING),
    [TRX_ROLLING_BACK] = TO(ROLLED_BACK),
    [TRX_ROLLED_BACK] = 0,
};

bool trx_is_transition_allowed(enum trx_state from, enum trx_state to) {
    return from < TRX_STATES && to < TRX_STATES && (allowed[from] & (1u << to));
}

bool trx_set_state(struct trx *trx, enum trx_state to) {
    enum trx_state from = trx_get_state(trx);
    if (!trx_is_transition_allowed(from, to)) {
        xb_log_error(trx->rep->log, "Transaction %llu of connection %llu: unexpected transition from %s to %s",
                     (unsigned long long)trx->id, (unsigned long long)trx->conn, trx_state_name(from),
                     trx_state_name(to));
        return false;
    }
    atomic_store(&trx->state, to);
    return true;
}

struct trx *trx_new(struct replicator *rep, uint64_t id) {
    struct trx *trx = calloc(1, sizeof(*trx));
    if (!trx) return NULL;
    trx->ordered.kind = HANDLE_TRX;
    trx->ordered.nbo_ended = -1;
    atomic_init(&trx->ordered.seqno, -1);
    trx->rep = rep;
    atomic_init(&trx->refs, 1);
    pthread_mutex_init(&trx->lock, NULL);
    atomic_init(&trx->state, TRX_EXECUTING);
    trx->id = id;
    trx->conn = REPLICATOR_ID_UNDEFINED;
    trx->last_fragment = -1;
    gate_waiter_init(&trx->waiter);
    event_init(&trx->delivered);
    return trx;
}

struct trx *trx_ref(struct trx *trx) {
    atomic_fetch_add_explicit(&trx->refs, 1, memory_order_relaxed);
    return trx;
}

void trx_unref(struct trx *trx) {
    if (atomic_fetch_sub_explicit(&trx->refs, 1, memory_order_acq_rel) != 1) return;
    writeset_builder_free(trx->builder);
    pthread_mutex_destroy(&trx->lock);
    free(trx);
}

void trx_map_init(struct trx_map *map) {
    memset(map, 0, sizeof(*map));
    for (int i = 0; i < TRX_MAP_LOCKS; i++) pthread_mutex_init(&map->locks[i], NULL);
}

void trx_map_destroy(struct trx_map *map) {
    for (int i = 0; i < TRX_MAP_BUCKETS; i++)
        while (map->buckets[i]) {
            struct trx *trx = map->buckets[i];
            map->buckets[i] = trx->next;
            trx_unref(trx);
        }
    for (int i = 0; i < TRX_MAP_LOCKS; i++) pthread_mutex_destroy(&map->locks[i]);
}

/* Ids are counters of the server, so neighbours go to neighbouring buckets. */
static struct trx **find(struct trx_map *map, uint64_t key) {
    struct trx **at = &map->buckets[key % TRX_MAP_BUCKETS];
    while (*at && (*at)->key != key) at = &(*at)->next;
    return at;
}

static pthread_mutex_t *lock_of(struct trx_map *map, uint64_t key) {
    return &map->locks[key % TRX_MAP_LOCKS];
}

void trx_map_put(struct trx_map *map, uint64_t key, struct trx *trx) {
    pthread_mutex_lock(lock_of(map, key));
    struct trx **at = find(map, key), *old = *at;
    trx->key = key;
    trx->next = old ? old->next : NULL;
    *at = trx_ref(trx);
    pthread_mutex_unlock(lock_of(map, key));
    if (old)
        trx_unref(old);
    else
        atomic_fetch_add(&map->count, 1);
}

struct trx *trx_map_get(struct trx_map *map, uint64_t key) {
    pthread_mutex_lock(lock_of(map, key));
    struct trx *trx = *find(map, key);
    if (trx) trx_ref(trx);
    pthread_mutex_unlock(lock_of(map, key));
    return trx;
}

void trx_map_remove(struct trx_map *map, uint64_t key, struct trx *trx) {
    pthread_mutex_lock(lock_of(map, key));
    struct trx **at = find(map, key);
    bool is_found = *at == trx;
    if (is_found) *at = trx->next;
    pthread_mutex_unlock(lock_of(map, key));
    if (!is_found) return;
    atomic_fetch_sub(&map->count, 1);
    trx_unref(trx);
}
