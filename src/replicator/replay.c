/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Replay (spec 01 section 12, 07 section 8.5): a transaction was removed by a brute-force abort although its write set
 * is ordered and has passed. Its place in the order cannot be given up, so its own client thread applies the write set,
 * when everything before it is committed and nothing can be in its way any more.
 */
#include "replicator/internal.h"

/* With the lock held. -> its place in the order is the next one */
static enum replicator_status prepare_replay(struct replicator *rep, struct trx *trx) {
    int64_t seqno = atomic_load(&trx->ordered.seqno);
    if (trx_get_state(trx) == TRX_MUST_ABORT) trx_set_state(trx, TRX_MUST_REPLAY);
    if (seqno < 0 || trx_get_state(trx) != TRX_MUST_REPLAY) {
        xb_log_error(rep->log, "Replay of transaction %" PRIu64 " in state %s", trx->id,
                     trx_state_name(trx_get_state(trx)));
        return REPLICATOR_CONN_FAIL;
    }
    pthread_mutex_unlock(&trx->lock);
    ordered_enter_apply(rep, &trx->ordered, -1);
    gate_wait(&rep->commit, seqno - 1, XB_NEVER);
    pthread_mutex_lock(&trx->lock);
    trx_set_state(trx, TRX_REPLAYING);
    return REPLICATOR_OK;
}

enum replicator_status replicator_replay(struct replicator *rep, void *opaque, void *recv_ctx) {
    struct trx *trx = opaque;
    bool exit_loop = false;
    if (!trx || trx->ordered.kind != HANDLE_TRX) return REPLICATOR_CONN_FAIL;
    pthread_mutex_lock(&trx->lock);
    enum replicator_status status = prepare_replay(rep, trx);
    pthread_mutex_unlock(&trx->lock);
    if (status) return status;
    atomic_fetch_add(&rep->counters.replays, 1);
    return apply_call(rep, recv_ctx, &trx->ordered, trx, &exit_loop);
}
