/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Local transactions as their client threads see them (spec 01 section 10, 07 section 8.1): collect, certify, take the
 * place in the commit order, finish.
 *
 * Two things move independently: the transaction's state, on which brute-force aborts act, and the ordered write set's
 * stage, which says what gates its seqno has still to pass. Whatever happens to the transaction, the seqno passes both.
 */
#include "replicator/internal.h"

#include <assert.h>

/* -> the transaction's object, made if `is_made`; in *opaque from then on. */
static struct trx *find_trx(struct replicator *rep, uint64_t id, void **opaque, bool is_made) {
    if (*opaque) return *opaque;
    struct trx *trx = id == REPLICATOR_ID_UNDEFINED ? NULL : trx_map_get(&rep->trxs, id);
    if (trx) {
        trx_unref(trx); /* the map's reference stays until release */
    } else if (is_made) {
        trx = trx_new(rep, id);
        if (!trx) return NULL;
        trx->flags = WRITESET_BEGIN;
        if (trx_builder_start(trx)) {
            trx_unref(trx);
            return NULL;
        }
        trx_map_put(&rep->trxs, id, trx);
        trx_unref(trx);
    }
    *opaque = trx;
    return trx;
}

enum replicator_status replicator_append_key(struct replicator *rep, uint64_t trx_id, void **opaque,
                                             const struct iovec *parts, size_t part_count,
                                             enum writeset_key_type type) {
    struct trx *trx = find_trx(rep, trx_id, opaque, true);
    if (!trx) return REPLICATOR_CONN_FAIL;
    /* A new protocol means another format: what was collected cannot be sent any more. */
    if (trx->version != writeset_version_of_protocol(atomic_load(&rep->repl_version))) return REPLICATOR_CONN_FAIL;
    int rc = writeset_builder_add_key(trx->builder, parts, part_count, type);
    return rc == -EMSGSIZE ? REPLICATOR_OK : error_status(rc); /* the server expects to hear it at certify or of data */
}

enum replicator_status replicator_append_data(struct replicator *rep, uint64_t trx_id, void **opaque, const void *data,
                                              size_t size, enum writeset_data_kind kind, bool is_copied) {
    struct trx *trx = find_trx(rep, trx_id, opaque, true);
    if (!trx) return REPLICATOR_CONN_FAIL;
    if (!data || !size) return REPLICATOR_OK;
    return error_status(writeset_builder_add_data(trx->builder, kind, data, size, is_copied));
}

/* ---- certify ---- */

void trx_fill_meta(struct trx *trx, struct replicator_meta *meta) {
    meta->gtid.uuid = trx->ordered.history;
    meta->gtid.seqno = atomic_load(&trx->ordered.seqno);
    meta->depends = trx->ordered.depends;
}

/* Aborted before it was ordered. With the lock held. */
static enum replicator_status abort_unordered(struct replicator *rep, struct trx *trx, int rc) {
    if (trx_get_state(trx) != TRX_MUST_ABORT && trx_get_state(trx) != TRX_ABORTING) trx_set_state(trx, TRX_MUST_ABORT);
    if (trx_get_state(trx) == TRX_MUST_ABORT) trx_set_state(trx, TRX_ABORTING);
    if (rc == -EMSGSIZE) return REPLICATOR_SIZE_EXCEEDED;
    if (rc != -EDEADLK) return node_refusal(rep);
    atomic_fetch_add(&rep->counters.cert_failures, 1);
    atomic_fetch_add(&rep->counters.doomed, 1);
    return REPLICATOR_TRX_FAIL;
}

/* Ordered and passed, but aborted meanwhile. With the lock held. */
static enum replicator_status abort_ordered(struct trx *trx, enum replicator_status of_fragment) {
    bool is_commit = trx->flags & WRITESET_COMMIT;
    trx_set_state(trx, is_commit ? TRX_MUST_REPLAY : TRX_ABORTING);
    return is_commit ? REPLICATOR_BF_ABORT : of_fragment;
}

/* It has failed. While the node is paused it waits here with all others, as if its turn had not come; an aborter may
 * throw it out. With the lock held. */
static void take_failure(struct replicator *rep, struct trx *trx) {
    atomic_fetch_add(&rep->counters.cert_failures, 1);
    if (trx_get_state(trx) != TRX_MUST_ABORT) {
        gate_waiter_init(&trx->waiter);
        trx_set_state(trx, TRX_CERTIFYING);
        pthread_mutex_unlock(&trx->lock);
        int rc = gate_enter(&rep->apply, &trx->waiter, atomic_load(&trx->ordered.seqno), -1);
        pthread_mutex_lock(&trx->lock);
        if (!rc) trx->ordered.stage = ORDERED_APPLYING;
    }
    trx_set_state(trx, TRX_ABORTING);
}

/* The first moment with a seqno. With the lock held. */
static enum replicator_status take_verdict(struct replicator *rep, struct trx *trx) {
    bool is_aborted = trx_get_state(trx) == TRX_MUST_ABORT;
    trx->last_fragment = atomic_load(&trx->ordered.seqno);
    if (!trx->ordered.is_passed) {
        take_failure(rep, trx);
        return REPLICATOR_TRX_FAIL;
    }
    if (is_aborted) return abort_ordered(trx, REPLICATOR_TRX_FAIL);
    trx_set_state(trx, TRX_CERTIFYING);
    return REPLICATOR_OK;
}

/* Local transactions enter the apply gate at once: their row locks order them already. With the lock held. */
static enum replicator_status enter_apply(struct replicator *rep, struct trx *trx) {
    trx_set_state(trx, TRX_APPLYING);
    gate_waiter_init(&trx->waiter);
    pthread_mutex_unlock(&trx->lock);
    int64_t seqno = atomic_load(&trx->ordered.seqno);
    int rc = gate_enter(&rep->apply, &trx->waiter, seqno, -1);
    pthread_mutex_lock(&trx->lock);
    if (rc) return abort_ordered(trx, REPLICATOR_TRX_FAIL);
    trx->ordered.stage = ORDERED_APPLYING;
    return trx_get_state(trx) == TRX_MUST_ABORT ? abort_ordered(trx, REPLICATOR_BF_ABORT) : REPLICATOR_OK;
}

static enum replicator_status certify_locked(struct replicator *rep, struct trx *trx, struct replicator_meta *meta,
                                             int finish_rc, void (*sequenced)(void *ctx), void *sequenced_ctx) {
    if (trx_get_state(trx) != TRX_EXECUTING || !node_may_replicate(rep) || finish_rc) {
        if (sequenced) sequenced(sequenced_ctx);
        return abort_unordered(rep, trx, finish_rc);
    }
    trx_set_state(trx, TRX_REPLICATING);
    trx->is_in_certify = true;
    int rc = trx_send_and_wait(trx, sequenced, sequenced_ctx);
    trx->is_in_certify = false;
    if (rc) return abort_unordered(rep, trx, rc);
    trx->flags &= ~(uint32_t)(WRITESET_BEGIN | WRITESET_PREPARE);
    enum replicator_status status = take_verdict(rep, trx);
    if (status == REPLICATOR_OK) status = enter_apply(rep, trx);
    trx_fill_meta(trx, meta);
    return status;
}

static void drop_collected(struct trx *trx) {
    writeset_builder_reset(trx->builder, NULL);
}

/* With the lock held: what the server says about the transaction now. -> 0, or the answer to it */
static enum replicator_status take_flags(struct trx *trx, uint64_t conn, uint32_t flags) {
    trx->conn = conn;
    trx->flags |= flags & WRITESET_API_FLAGS & ~(uint32_t)WRITESET_BEGIN;
    if (!(flags & WRITESET_ROLLBACK)) return REPLICATOR_OK;
    if (trx->flags & WRITESET_BEGIN) return REPLICATOR_TRX_MISSING; /* nothing of it was ever replicated */
    trx->flags |= WRITESET_PA_UNSAFE;
    if (trx_get_state(trx) == TRX_ABORTING) trx_set_state(trx, TRX_EXECUTING);
    return REPLICATOR_OK;
}

enum replicator_status replicator_certify(struct replicator *rep, uint64_t conn, uint64_t trx_id, void **opaque,
                                          uint32_t flags, struct replicator_meta *meta, void (*sequenced)(void *ctx),
                                          void *sequenced_ctx) {
    struct trx *trx = find_trx(rep, trx_id, opaque, false);
    struct xb_uuid own = node_own_uuid(rep);
    uint64_t foreign = meta->trx;
    if (!trx && foreign != REPLICATOR_ID_UNDEFINED) return streaming_terminate(rep, meta, flags, conn);
    meta->gtid = (struct replicator_gtid){xb_uuid_nil, -1};
    meta->depends = -1;
    meta->node = own;
    if (!trx) return REPLICATOR_OK;
    meta->trx = trx->id;
    pthread_mutex_lock(&trx->lock);
    enum replicator_status status = take_flags(trx, conn, flags);
    pthread_mutex_unlock(&trx->lock);
    if (status) return status;
    /* Checksums over all the data: not under the lock that aborters want. */
    trx->ordered.source = own;
    int rc = trx_finish_builder(trx, &own, trx->flags & WRITESET_API_FLAGS, !(trx->flags & WRITESET_ROLLBACK));
    pthread_mutex_lock(&trx->lock);
    status = certify_locked(rep, trx, meta, rc, sequenced, sequenced_ctx);
    pthread_mutex_unlock(&trx->lock);
    drop_collected(trx);
    return status;
}

/* ---- commit order ---- */

/* The gates without interruption. need -1: at once. */
void ordered_enter_apply(struct replicator *rep, struct ordered *ordered, int64_t need) {
    struct gate_waiter waiter;
    if (ordered->stage >= ORDERED_APPLYING) return;
    gate_waiter_init(&waiter);
    gate_enter(&rep->apply, &waiter, atomic_load(&ordered->seqno), need);
    ordered->stage = ORDERED_APPLYING;
}

void ordered_enter_commit(struct replicator *rep, struct ordered *ordered) {
    struct gate_waiter waiter;
    int64_t seqno = atomic_load(&ordered->seqno);
    if (ordered->stage >= ORDERED_COMMITTING) return;
    gate_waiter_init(&waiter);
    gate_enter(&rep->commit, &waiter, seqno, seqno - 1);
    ordered->stage = ORDERED_COMMITTING;
}

/* With the lock held. */
static enum replicator_status enter_commit(struct replicator *rep, struct trx *trx) {
    int64_t seqno = atomic_load(&trx->ordered.seqno);
    pthread_mutex_unlock(&trx->lock);
    int rc = gate_enter(&rep->commit, &trx->waiter, seqno, seqno - 1);
    pthread_mutex_lock(&trx->lock);
    if (rc) return abort_ordered(trx, REPLICATOR_TRX_FAIL);
    trx->ordered.stage = ORDERED_COMMITTING;
    /* A fragment may be killed at any time; it keeps its place. */
    return trx_get_state(trx) == TRX_MUST_ABORT ? REPLICATOR_TRX_FAIL : REPLICATOR_OK;
}

static enum replicator_status commit_order_enter_trx(struct replicator *rep, struct trx *trx) {
    enum trx_state state = trx_get_state(trx);
    if (atomic_load(&trx->ordered.seqno) < 0) return REPLICATOR_TRX_MISSING;
    if (state == TRX_MUST_ABORT) return abort_ordered(trx, REPLICATOR_TRX_FAIL);
    if (state == TRX_ABORTING) {
        trx_set_state(trx, TRX_ROLLING_BACK);
        pthread_mutex_unlock(&trx->lock);
        ordered_enter_apply(rep, &trx->ordered, -1);
        ordered_enter_commit(rep, &trx->ordered);
        pthread_mutex_lock(&trx->lock);
        return REPLICATOR_OK;
    }
    gate_waiter_init(&trx->waiter);
    if (!trx_set_state(trx, TRX_COMMITTING)) return REPLICATOR_NODE_FAIL;
    if (trx->ordered.stage >= ORDERED_COMMITTING) { /* in already: too late for an interruption */
        atomic_store(&trx->waiter.state, GATE_GRANTED);
        return REPLICATOR_OK;
    }
    return enter_commit(rep, trx);
}

enum replicator_status replicator_commit_order_enter(struct replicator *rep, void *opaque) {
    struct ordered *ordered = opaque;
    if (!ordered) return REPLICATOR_TRX_MISSING;
    if (ordered->kind == HANDLE_ORDERED) {
        ordered_enter_commit(rep, ordered);
        return REPLICATOR_OK;
    }
    struct trx *trx = opaque;
    pthread_mutex_lock(&trx->lock);
    enum replicator_status status = commit_order_enter_trx(rep, trx);
    pthread_mutex_unlock(&trx->lock);
    return status;
}

static enum replicator_status vote(struct replicator *rep, struct ordered *ordered, const void *error, size_t size) {
    if (!error || !size) return REPLICATOR_OK;
    return vote_on_error(rep, ordered, error, size) ? REPLICATOR_NODE_FAIL : REPLICATOR_OK;
}

void ordered_leave_commit(struct replicator *rep, struct ordered *ordered) {
    if (ordered->stage != ORDERED_COMMITTING) return;
    gate_leave(&rep->commit, atomic_load(&ordered->seqno));
    ordered->stage = ORDERED_COMMITTED;
}

static void commit_order_left(struct trx *trx) {
    switch (trx_get_state(trx)) {
    case TRX_COMMITTING:
        trx_set_state(trx, TRX_COMMITTED);
        break;
    case TRX_ROLLING_BACK:
        trx_set_state(trx, TRX_ROLLED_BACK);
        break;
    case TRX_MUST_ABORT: /* a fragment: told by release */
        trx_set_state(trx, TRX_ABORTING);
        trx->is_abort_deferred = true;
        break;
    default:
        xb_log_warning(trx->rep->log, "Transaction %" PRIu64 " left the commit order in state %s", trx->id,
                       trx_state_name(trx_get_state(trx)));
    }
}

enum replicator_status replicator_commit_order_leave(struct replicator *rep, void *opaque, const void *error,
                                                     size_t error_size) {
    struct ordered *ordered = opaque;
    if (!ordered) return REPLICATOR_TRX_MISSING;
    enum replicator_status status = vote(rep, ordered, error, error_size);
    if (ordered->kind == HANDLE_ORDERED) {
        ordered_leave_commit(rep, ordered);
        return status;
    }
    struct trx *trx = opaque;
    pthread_mutex_lock(&trx->lock);
    ordered_leave_commit(rep, ordered);
    commit_order_left(trx);
    pthread_mutex_unlock(&trx->lock);
    return status;
}

/* ---- release ---- */

void ordered_settle(struct replicator *rep, struct ordered *ordered) {
    if (!ordered->ticket) return;
    bool is_due = certify_finish(rep->certify, ordered->ticket);
    ordered->ticket = NULL;
    if (is_due) order_post_settle(rep);
}

void ordered_finish(struct replicator *rep, struct ordered *ordered) {
    int64_t seqno = atomic_load(&ordered->seqno);
    ordered_settle(rep, ordered);
    gate_leave(&rep->apply, seqno);
}

/* Makes the object ready for the next fragment. */
static void next_fragment(struct trx *trx) {
    struct xb_uuid source = trx->ordered.source;
    trx->ordered = (struct ordered){.kind = HANDLE_TRX, .source = source, .nbo_ended = -1};
    atomic_store(&trx->ordered.seqno, -1);
}

/* Whatever gates the seqno has not passed yet, it passes now. */
void ordered_pass(struct replicator *rep, struct ordered *ordered) {
    if (atomic_load(&ordered->seqno) < 0) return;
    ordered_enter_apply(rep, ordered, -1);
    ordered_enter_commit(rep, ordered);
    ordered_leave_commit(rep, ordered);
    ordered_finish(rep, ordered);
}

/* -> true: the object is over. With the lock held, not during the gates. */
static bool release_locked(struct replicator *rep, struct trx *trx, enum replicator_status *status) {
    enum trx_state state = trx_get_state(trx);
    if (state == TRX_COMMITTED) {
        bool is_fragment = !(trx->flags & WRITESET_COMMIT);
        pthread_mutex_unlock(&trx->lock);
        ordered_finish(rep, &trx->ordered);
        pthread_mutex_lock(&trx->lock);
        atomic_fetch_add(&rep->counters.commits, 1);
        if (!is_fragment) return true;
        next_fragment(trx);
        trx_set_state(trx, TRX_EXECUTING);
        return false;
    }
    if (state == TRX_MUST_ABORT) trx_set_state(trx, TRX_ABORTING);
    if (state == TRX_MUST_REPLAY) trx_set_state(trx, TRX_ABORTING);
    pthread_mutex_unlock(&trx->lock);
    ordered_pass(rep, &trx->ordered);
    pthread_mutex_lock(&trx->lock);
    if (trx->is_abort_deferred) {
        trx->is_abort_deferred = false;
        next_fragment(trx);
        *status = REPLICATOR_BF_ABORT;
        return false;
    }
    if (trx_get_state(trx) == TRX_MUST_ABORT) trx_set_state(trx, TRX_ABORTING); /* aborted while it ended anyway */
    if (trx_get_state(trx) == TRX_EXECUTING || trx_get_state(trx) == TRX_ABORTING) trx_set_state(trx, TRX_ROLLED_BACK);
    atomic_fetch_add(&rep->counters.rollbacks, 1);
    return true;
}

enum replicator_status replicator_release(struct replicator *rep, void **opaque) {
    struct trx *trx = *opaque;
    enum replicator_status status = REPLICATOR_OK;
    if (!trx) return REPLICATOR_OK;
    pthread_mutex_lock(&trx->lock);
    bool is_over = release_locked(rep, trx, &status);
    pthread_mutex_unlock(&trx->lock);
    if (is_over) {
        *opaque = NULL;
        trx_map_remove(&rep->trxs, trx->id, trx);
    }
    return status;
}
