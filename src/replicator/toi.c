/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Total order isolation (spec 01 section 14, 07 section 8.8): a statement that runs on every node at its place of the
 * order, with everything before it finished and nothing after it committed. On its own node it is found by its
 * connection.
 */
#include "replicator/internal.h"

static struct trx *toi_new(struct replicator *rep, uint64_t conn, uint32_t flags) {
    struct trx *trx = trx_new(rep, REPLICATOR_ID_UNDEFINED);
    if (!trx) return NULL;
    trx->is_toi = true;
    trx->conn = conn;
    trx->flags = (flags & WRITESET_API_FLAGS) | WRITESET_TOI;
    if (!trx_builder_start(trx)) return trx;
    trx_unref(trx);
    return NULL;
}

static int add_all(struct trx *trx, const struct replicator_key *keys, size_t key_count, const struct iovec *action,
                   size_t action_count) {
    int rc = 0;
    for (size_t i = 0; i < key_count && !rc; i++)
        rc = writeset_builder_add_key(trx->builder, keys[i].parts, keys[i].part_count, WRITESET_KEY_EXCLUSIVE);
    for (size_t i = 0; i < action_count && !rc; i++)
        rc = writeset_builder_add_data(trx->builder, WRITESET_DATA_ORDERED, action[i].iov_base, action[i].iov_len,
                                       false);
    return rc;
}

/* Everything before it finishes, then it is alone. Also when it failed: the server ends it then. */
static enum replicator_status enter_gates(struct replicator *rep, struct trx *trx) {
    ordered_enter_apply(rep, &trx->ordered, atomic_load(&trx->ordered.seqno) - 1);
    ordered_enter_commit(rep, &trx->ordered);
    pthread_mutex_lock(&trx->lock);
    trx_set_state(trx, TRX_CERTIFYING);
    if (trx->ordered.is_passed) {
        trx_set_state(trx, TRX_APPLYING);
        trx_set_state(trx, TRX_COMMITTING);
    } else {
        trx_set_state(trx, TRX_ABORTING);
        trx_set_state(trx, TRX_ROLLING_BACK);
    }
    pthread_mutex_unlock(&trx->lock);
    if (!trx->ordered.is_passed) return REPLICATOR_TRX_FAIL;
    state_file_mark_unsafe(rep->state_file);
    return REPLICATOR_OK;
}

/* -> 0 ordered, else the answer */
static enum replicator_status toi_replicate(struct replicator *rep, struct trx *trx) {
    struct xb_uuid own = node_own_uuid(rep);
    trx->ordered.source = own;
    int rc = trx_finish_builder(trx, &own, trx->flags, true);
    if (rc) return error_status(rc);
    pthread_mutex_lock(&trx->lock);
    trx_set_state(trx, TRX_REPLICATING);
    rc = trx_send_and_wait(trx, NULL, NULL);
    pthread_mutex_unlock(&trx->lock);
    return rc == -EMSGSIZE ? REPLICATOR_SIZE_EXCEEDED : rc ? node_refusal(rep) : REPLICATOR_OK;
}

enum replicator_status replicator_toi_start(struct replicator *rep, uint64_t conn, const struct replicator_key *keys,
                                            size_t key_count, const struct iovec *action, size_t action_count,
                                            uint32_t flags, struct replicator_meta *meta) {
    uint32_t ends = flags & (WRITESET_BEGIN | WRITESET_COMMIT);
    if (!ends || ((flags & WRITESET_COMMIT) && (flags & WRITESET_ROLLBACK))) return REPLICATOR_CONN_FAIL;
    if (ends == WRITESET_COMMIT) return nbo_end(rep, conn, keys, key_count, flags, meta);
    *meta = (struct replicator_meta){{xb_uuid_nil, -1}, node_own_uuid(rep), REPLICATOR_ID_UNDEFINED, conn, -1};
    if (!node_may_replicate(rep)) return node_refusal(rep);
    struct trx *trx = toi_new(rep, conn, flags);
    if (!trx) return node_refusal(rep);
    int rc = add_all(trx, keys, key_count, action, action_count);
    enum replicator_status status = rc ? error_status(rc) : toi_replicate(rep, trx);
    if (!status) {
        trx_map_put(&rep->tois, conn, trx);
        status = enter_gates(rep, trx);
        trx_fill_meta(trx, meta);
    }
    trx_unref(trx);
    return status;
}

enum replicator_status replicator_toi_end(struct replicator *rep, uint64_t conn, const void *error, size_t error_size) {
    struct trx *trx = trx_map_get(&rep->tois, conn);
    if (!trx) return REPLICATOR_CONN_FAIL;
    bool is_marked = trx->ordered.is_passed && !writeset_flags_are_nbo_start(trx->ordered.flags);
    if (error && error_size) vote_on_error(rep, &trx->ordered, error, error_size);
    ordered_leave_commit(rep, &trx->ordered);
    ordered_finish(rep, &trx->ordered);
    pthread_mutex_lock(&trx->lock);
    trx_set_state(trx, trx_get_state(trx) == TRX_COMMITTING ? TRX_COMMITTED : TRX_ROLLED_BACK);
    pthread_mutex_unlock(&trx->lock);
    if (is_marked) state_file_mark_safe(rep->state_file);
    trx_map_remove(&rep->tois, conn, trx);
    trx_unref(trx);
    return REPLICATOR_OK;
}
