/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Streaming replication beyond the common path (spec 01 section 13, 07 section 8.7): rollback fragments, and the end of
 * a transaction that another connection left prepared. Both are write sets that nobody waits for; they come back
 * through the appliers, here as well as elsewhere.
 */
#include "replicator/internal.h"

/* A write set without waiter, keys and data. */
static struct trx *new_unawaited(struct replicator *rep, uint64_t id, uint32_t flags) {
    struct trx *trx = trx_new(rep, id);
    if (!trx) return NULL;
    trx->flags = flags;
    if (!trx_builder_start(trx)) return trx;
    trx_unref(trx);
    return NULL;
}

/* The victim rolls back. A thread of its own that is under way sees its state and does so itself. */
static void abort_victim(struct replicator *rep, uint64_t id) {
    struct trx *victim = trx_map_get(&rep->trxs, id);
    if (!victim) return;
    pthread_mutex_lock(&victim->lock);
    enum trx_state state = trx_get_state(victim);
    bool is_idle = !victim->is_in_certify && atomic_load(&victim->ordered.seqno) < 0;
    if (state == TRX_EXECUTING) trx_set_state(victim, TRX_MUST_ABORT);
    if (is_idle && trx_get_state(victim) == TRX_MUST_ABORT) trx_set_state(victim, TRX_ABORTING);
    pthread_mutex_unlock(&victim->lock);
    trx_unref(victim);
}

enum replicator_status replicator_rollback(struct replicator *rep, uint64_t id) {
    struct xb_uuid own = node_own_uuid(rep);
    abort_victim(rep, id);
    if (!node_may_replicate(rep)) return REPLICATOR_TRX_FAIL;
    struct trx *trx = new_unawaited(rep, id, WRITESET_ROLLBACK_FRAGMENT);
    if (!trx) return REPLICATOR_TRX_FAIL;
    int rc = trx_finish_builder(trx, &own, trx->flags, false);
    /* Past flow control: what would lift it may be waiting for the victim's locks. */
    if (!rc) rc = trx_submit(trx, false, true);
    trx_unref(trx);
    return rc ? REPLICATOR_TRX_FAIL : REPLICATOR_OK;
}

enum replicator_status streaming_terminate(struct replicator *rep, const struct replicator_meta *meta, uint32_t flags,
                                           uint64_t conn) {
    uint32_t end = flags & (WRITESET_COMMIT | WRITESET_ROLLBACK);
    bool is_one = end == WRITESET_COMMIT || end == WRITESET_ROLLBACK;
    if (!is_one || !(flags & WRITESET_PA_UNSAFE) || (flags & WRITESET_BEGIN)) return REPLICATOR_NOT_ALLOWED;
    if (!node_may_replicate(rep)) return node_refusal(rep);
    struct trx *trx = new_unawaited(rep, meta->trx, flags & WRITESET_API_FLAGS);
    if (!trx) return node_refusal(rep);
    trx->conn = conn;
    int rc = trx_finish_builder(trx, &meta->node, trx->flags, false);
    if (!rc) rc = trx_submit(trx, false, false);
    trx_unref(trx);
    return rc ? node_refusal(rep) : replicator_sync_wait(rep, NULL, -1, NULL);
}
