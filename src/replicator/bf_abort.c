/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Brute-force abort: an ordered write set removes a local transaction that is in its way (spec 01 section 11, 07
 * section 8.4). The caller holds locks of the server and its storage engine, so nothing here waits but for the victim's
 * own lock, which nobody holds while waiting. The state is changed first, then the one place where the victim can be
 * waiting is interrupted; it looks at its state whenever it takes its lock again.
 */
#include "replicator/internal.h"

static bool is_older(struct trx *victim, int64_t seqno, int64_t bf_seqno) {
    return seqno >= 0 && seqno < bf_seqno && (victim->flags & WRITESET_COMMIT);
}

static enum replicator_status abort_committing(struct trx *victim) {
    bool is_interrupted = gate_interrupt(&victim->waiter);
    if (!is_interrupted && (victim->flags & WRITESET_COMMIT)) return REPLICATOR_NOT_ALLOWED;
    trx_set_state(victim, TRX_MUST_ABORT);
    return REPLICATOR_OK;
}

static enum replicator_status abort_locked(struct replicator *rep, struct trx *victim) {
    switch (trx_get_state(victim)) {
    case TRX_MUST_ABORT:
    case TRX_ABORTING:
    case TRX_MUST_REPLAY:
        return REPLICATOR_NOT_ALLOWED;
    case TRX_EXECUTING:
        trx_set_state(victim, TRX_MUST_ABORT);
        return REPLICATOR_OK;
    case TRX_REPLICATING:
        trx_set_state(victim, TRX_MUST_ABORT);
        trx_cancel_submission(victim);
        return REPLICATOR_OK;
    case TRX_CERTIFYING:
    case TRX_APPLYING:
        trx_set_state(victim, TRX_MUST_ABORT);
        gate_interrupt(&victim->waiter);
        return REPLICATOR_OK;
    case TRX_COMMITTING:
        return abort_committing(victim);
    case TRX_COMMITTED:
        return REPLICATOR_OK;
    default:
        xb_log_warning(rep->log, "Brute-force abort of transaction %" PRIu64 " in state %s", victim->id,
                       trx_state_name(trx_get_state(victim)));
        return REPLICATOR_OK;
    }
}

enum replicator_status replicator_abort_certification(struct replicator *rep, int64_t bf_seqno, uint64_t victim_id,
                                                      int64_t *victim_seqno) {
    *victim_seqno = -1;
    struct trx *victim = trx_map_get(&rep->trxs, victim_id);
    if (!victim) return REPLICATOR_OK; /* has not replicated anything: the server aborts it alone */
    pthread_mutex_lock(&victim->lock);
    int64_t seqno = atomic_load(&victim->ordered.seqno);
    *victim_seqno = seqno;
    enum replicator_status status =
        is_older(victim, seqno, bf_seqno) ? REPLICATOR_NOT_ALLOWED : abort_locked(rep, victim);
    pthread_mutex_unlock(&victim->lock);
    trx_unref(victim);
    return status;
}
