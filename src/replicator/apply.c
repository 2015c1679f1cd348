/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Appliers: the threads that the server lends us, and what they do with each kind of item (spec 01 section 16). */
#include "replicator/internal.h"

#include <stdlib.h>

/* A TOI that failed (it can only beside an NBO) is shown without what a server could execute (spec 01 section 29). */
static bool is_failed_toi(const struct ordered *ordered) {
    return !ordered->is_passed && (ordered->flags & WRITESET_TOI);
}

enum replicator_status apply_call(struct replicator *rep, void *recv_ctx, struct ordered *ordered, void *opaque,
                                  bool *exit_loop) {
    bool is_hidden = is_failed_toi(ordered);
    struct replicator_apply apply = {
        .trx = ordered->trx,
        .opaque = opaque,
        .flags = is_hidden ? WRITESET_ROLLBACK | WRITESET_BEGIN : ordered->flags & WRITESET_API_FLAGS,
        .data = is_hidden || !ordered->data_size ? NULL : ordered->data,
        .size = is_hidden ? 0 : ordered->data_size,
        .meta = {.gtid = {ordered->history, atomic_load(&ordered->seqno)},
                 .node = ordered->source,
                 .trx = ordered->trx,
                 .conn = ordered->conn,
                 .depends = ordered->depends},
    };
    if (!rep->callbacks.apply(rep->callbacks.ctx, recv_ctx, &apply, exit_loop)) return REPLICATOR_OK;
    if (!atomic_load(&rep->is_corrupt))
        node_leave_inconsistent(rep, "Write set %" PRId64 " could not be applied", apply.meta.gtid.seqno);
    return REPLICATOR_NODE_FAIL;
}

/* The node is corrupt: the seqno passes and nothing else happens, so that whoever waits behind it gets out. */
static void dismiss(struct replicator *rep, struct ordered *ordered) {
    int64_t seqno = atomic_load(&ordered->seqno);
    ordered_settle(rep, ordered);
    gate_cancel(&rep->commit, seqno);
    gate_cancel(&rep->apply, seqno);
}

void apply_ordered(struct replicator *rep, void *recv_ctx, struct item *item, bool *exit_loop) {
    struct ordered *ordered = &item->as.ordered;
    bool is_toi = ordered->is_passed && (ordered->flags & WRITESET_TOI);
    if (atomic_load(&rep->is_corrupt)) {
        dismiss(rep, ordered);
        return;
    }
    ordered_enter_apply(rep, ordered, ordered->depends < 0 ? 0 : ordered->depends);
    if (is_toi) state_file_mark_unsafe(rep->state_file);
    apply_call(rep, recv_ctx, ordered, ordered, exit_loop);
    /* A server that failed before it came to the commit order must not stop those behind it. */
    ordered_enter_commit(rep, ordered);
    ordered_leave_commit(rep, ordered);
    if (ordered->unordered_size && rep->callbacks.unordered)
        rep->callbacks.unordered(rep->callbacks.ctx, recv_ctx, ordered->unordered, ordered->unordered_size);
    ordered_finish(rep, ordered);
    if (is_toi && !writeset_flags_are_nbo_start(ordered->flags)) state_file_mark_safe(rep->state_file);
}

static void apply_join(struct replicator *rep, const struct item *item) {
    if (node_get_state(rep) == NODE_JOINING && item->as.value.code < 0) return; /* a donor before the one that served */
    if (node_get_state(rep) == NODE_JOINED) return;
    node_set_state(rep, NODE_JOINED);
    atomic_store(&rep->transfer_state, TRANSFER_NONE);
    rep->catch_up = atomic_load(&rep->queue.length);
    node_report_progress(rep, 3, 4, rep->catch_up, 0);
}

static void apply_sync(struct replicator *rep) {
    if (!node_set_state(rep, NODE_SYNCED)) return;
    node_report_progress(rep, 3, 4, rep->catch_up, rep->catch_up);
    if (rep->callbacks.synced(rep->callbacks.ctx)) node_leave(rep, "The server failed to become synced");
}

static void apply_desync(struct replicator *rep, const struct item *item) {
    if (node_get_state(rep) != NODE_DONOR) node_set_state(rep, NODE_DONOR);
    event_set(item->as.desync.done);
}

/* Alone: nothing else is given out meanwhile, and the node is not paused. */
static void apply_exclusively(struct replicator *rep, void *recv_ctx, struct item *item) {
    exclusive_begin(rep);
    switch (item->type) {
    case ITEM_VIEW:
        apply_view(rep, recv_ctx, item);
        break;
    case ITEM_JOIN:
    case ITEM_SYNC:
        quiet_begin(rep, item->position);
        if (item->type == ITEM_JOIN)
            apply_join(rep, item);
        else
            apply_sync(rep);
        quiet_end(rep);
        break;
    case ITEM_VOTE:
        apply_vote(rep, item);
        break;
    case ITEM_STATE_REQUEST:
        donor_serve(rep, recv_ctx, item);
        break;
    case ITEM_DESYNC:
        apply_desync(rep, item);
        break;
    case ITEM_INCONSISTENCY:
    case ITEM_WRITESET:
        break;
    }
    exclusive_end(rep);
    queue_resume(&rep->queue);
}

void apply_item(struct replicator *rep, void *recv_ctx, struct item *item, bool *exit_loop) {
    if (item->type == ITEM_WRITESET)
        apply_ordered(rep, recv_ctx, item, exit_loop);
    else if (item->type == ITEM_VIEW && item->as.view.is_from_ist)
        apply_ist_view(rep, recv_ctx, item);
    else
        apply_exclusively(rep, recv_ctx, item);
    if (item->type == ITEM_VIEW) view_item_free(rep, item);
    free(item);
}

static void drop_item(struct replicator *rep, struct item *item) {
    if (item->type == ITEM_WRITESET) ordered_settle(rep, &item->as.ordered);
    if (item->type == ITEM_VIEW) view_item_free(rep, item);
    if (item->type == ITEM_STATE_REQUEST) gcache_free(rep->cache, item->as.request.buf);
    if (item->type == ITEM_DESYNC) {
        *item->as.desync.result = -ECONNABORTED;
        event_set(item->as.desync.done);
    }
    free(item);
}

void items_drop(struct replicator *rep) {
    struct item *item;
    queue_close(&rep->queue);
    queue_resume(&rep->queue);
    while ((item = queue_pop(&rep->queue))) {
        drop_item(rep, item);
        queue_resume(&rep->queue);
    }
}

/* The queue got shorter: does flow control want to know? */
static void notice_length(struct replicator *rep) {
    struct order *order = &rep->order;
    if (atomic_load(&rep->queue.length) > atomic_load(&order->queue_below)) return;
    if (atomic_exchange(&order->is_length_posted, true)) return;
    if (link_post(&rep->link, &order->length_task)) atomic_store(&order->is_length_posted, false);
}

static int enter_receivers(struct replicator *rep) {
    pthread_mutex_lock(&rep->queue.lock);
    int receivers = ++rep->queue.receivers;
    pthread_mutex_unlock(&rep->queue.lock);
    return receivers;
}

/* -> may this thread go? The last one stays unless the queue is closed. */
static bool leave_receivers(struct replicator *rep, bool is_forced) {
    pthread_mutex_lock(&rep->queue.lock);
    bool may_go = is_forced || rep->queue.receivers > 1;
    if (may_go) {
        rep->queue.receivers--;
        pthread_cond_broadcast(&rep->queue.wake); /* the thread with the final view may wait for the others */
    }
    pthread_mutex_unlock(&rep->queue.lock);
    if (!may_go) xb_log_warning(rep->log, "The last applier thread is asked to end: it stays, to go on applying");
    return may_go;
}

enum replicator_status replicator_recv(struct replicator *rep, void *recv_ctx) {
    if (node_get_state(rep) == NODE_CLOSED) return REPLICATOR_FATAL;
    enter_receivers(rep);
    for (;;) {
        bool exit_loop = false, is_final;
        struct item *item = queue_pop(&rep->queue);
        if (!item) break;
        is_final = item->type == ITEM_VIEW && !item->as.view.is_from_ist && !item->as.view.change.member_count;
        atomic_fetch_add(&rep->counters.received, 1);
        atomic_fetch_add(&rep->counters.received_bytes, item->bytes);
        notice_length(rep);
        apply_item(rep, recv_ctx, item, &exit_loop);
        if (is_final) {
            leave_receivers(rep, true);
            return atomic_load(&rep->is_corrupt) || atomic_load(&rep->is_failed) ? REPLICATOR_FATAL : REPLICATOR_OK;
        }
        if (exit_loop && leave_receivers(rep, false)) return REPLICATOR_OK;
    }
    leave_receivers(rep, true);
    return REPLICATOR_CONN_FAIL;
}
