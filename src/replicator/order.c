/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The group thread's side: every ordered action of this node comes through here once, in its place.
 *
 * A write set is read, certified, rewritten and filed right here (spec 06 sections 9 to 12), then its verdict goes to the
 * client thread that waits for it or to the appliers' queue. Nothing here waits. When this node cannot go on, nothing
 * more is certified or filed: the position stays where it was true.
 */
#include "replicator/internal.h"

#include <stdlib.h>

void *order_alloc(void *ctx, size_t size) {
    struct replicator *rep = ctx;
    return gcache_alloc(rep->cache, size);
}

void order_free_buffer(void *ctx, void *buf) {
    struct replicator *rep = ctx;
    gcache_free(rep->cache, buf);
}

int64_t order_cached(void *ctx) {
    struct replicator *rep = ctx;
    struct xb_uuid cached = gcache_uuid(rep->cache), history = node_history(rep);
    return xb_uuid_is_nil(&history) || !xb_uuid_equal(&cached, &history) ? -1 : gcache_min(rep->cache);
}

void order_started(void *ctx, struct group *group) {
    struct replicator *rep = ctx;
    rep->order.group = group;
    rep->order.gcs = group_gcs(group);
    order_tell_queue_length(rep, false);
}

/* ---- the queue of the appliers ---- */

void order_tell_queue_length(struct replicator *rep, bool is_own) {
    struct order *order = &rep->order;
    struct gcs_queue_thresholds thresholds;
    if (!order->gcs) return;
    pthread_mutex_lock(&rep->queue.lock);
    int64_t length = atomic_load(&rep->queue.length), bytes = rep->queue.bytes;
    pthread_mutex_unlock(&rep->queue.lock);
    gcs_set_queue_length(order->gcs, length + order->backlog_count, bytes + order->backlog_bytes, is_own,
                         xb_clock_monotonic_ns());
    gcs_get_queue_thresholds(order->gcs, &thresholds);
    atomic_store(&order->queue_below, thresholds.below);
}

void order_push(struct replicator *rep, struct item *item, bool is_own) {
    item->position = rep->order.position;
    queue_push(&rep->queue, item);
    order_tell_queue_length(rep, is_own);
}

void order_take_item(struct replicator *rep, struct item *item) {
    if (rep->order.is_transferring || rep->order.backlog)
        backlog_add_item(rep, item);
    else
        order_push(rep, item, true);
}

static struct item *new_item(struct replicator *rep, enum item_type type, int64_t bytes) {
    struct item *item = item_new(type, bytes);
    if (!item) node_leave(rep, "No memory for an ordered action");
    return item;
}

static void push_value(struct replicator *rep, enum item_type type, int64_t seqno, int64_t code) {
    struct item *item = new_item(rep, type, sizeof(int64_t));
    if (!item) return;
    item->as.value.seqno = seqno;
    item->as.value.code = code;
    order_push(rep, item, false);
}

/* ---- write sets ---- */

static bool is_over(struct replicator *rep) {
    return atomic_load(&rep->is_corrupt) || atomic_load(&rep->is_failed);
}

/* Answers the client thread that waits for this write set. Takes the reference. */
static void deliver(struct trx *trx, int result) {
    trx->result = result;
    event_set(&trx->delivered);
    trx_unref(trx);
}

static void refuse_writeset(struct replicator *rep, const struct gcs_action *action, struct trx *trx) {
    gcache_free(rep->cache, action->buf);
    if (trx) deliver(trx, -ECONNABORTED);
}

/* Reads and checks; own bytes have not left this machine's memory and are not hashed again. */
static int read_writeset(struct replicator *rep, const struct gcs_action *action, struct writeset *ws, bool is_own) {
    struct xb_error error;
    int rc = writeset_read(ws, action->buf, action->size, &error);
    if (!rc && !is_own) rc = writeset_check(ws, &error);
    if (rc)
        node_leave(rep, "Write set %" PRId64 " from %s cannot be read: %s. It would be the same for every node; the node "
                   "that sent it is faulty", action->seqno, XB_UUID_TEXT(&action->sender_uuid), error.text);
    return rc;
}

static void fill_ordered(struct replicator *rep, struct ordered *ordered, const struct writeset *ws, int64_t seqno,
                         const struct certify_result *result) {
    ordered->stage = ORDERED_CERTIFIED;
    ordered->history = rep->order.history;
    ordered->depends = result->depends;
    ordered->flags = (ws->header.flags & WRITESET_TRX_FLAGS) | (result->is_passed ? 0 : WRITESET_ROLLBACK);
    ordered->is_passed = result->is_passed;
    ordered->nbo_ended = result->nbo_ended;
    ordered->source = ws->header.source;
    ordered->trx = ws->header.transaction_id;
    ordered->conn = ws->header.connection_id;
    ordered->ticket = result->ticket;
    ordered->data = ws->data.data;
    ordered->data_size = ws->data.size;
    ordered->unordered = ws->unordered.data;
    ordered->unordered_size = ws->unordered.size;
    atomic_store(&ordered->seqno, seqno);
}

/* The verdict, the rewritten header, the place in the history. -> 0, or this node leaves. */
static int certify_and_file(struct replicator *rep, const struct gcs_action *action, struct writeset *ws,
                            struct certify_result *result) {
    struct order *order = &rep->order;
    struct xb_error error;
    int rc = certify_writeset(order->certify, ws, action->seqno, CERTIFY_FROM_GROUP, result, &error);
    if (rc) {
        node_leave_inconsistent(rep, "Write set %" PRId64 " cannot be certified: %s", action->seqno, error.text);
        return rc;
    }
    writeset_mark_certified(ws, action->buf, action->seqno, result->depends);
    rc = gcache_assign(rep->cache, action->buf, action->seqno, GCACHE_WRITESET, result->is_skip);
    if (rc) {
        certify_finish(order->certify, result->ticket);
        node_leave_inconsistent(rep, "Write set %" PRId64 " does not fit into the history: %s", action->seqno,
                                strerror(-rc));
        return rc;
    }
    order->position = action->seqno;
    return 0;
}

/* The transfer has brought it already: only history and index may still lack it (spec 07 section 17.6). */
static void take_overlap(struct replicator *rep, const struct gcs_action *action) {
    struct order *order = &rep->order;
    struct certify_result result;
    struct gcache_entry entry;
    struct writeset ws;
    if (!gcache_has(rep->cache, action->seqno, &entry)) {
        if (action->seqno > certify_position(order->certify)) {
            if (!read_writeset(rep, action, &ws, false) && !certify_and_file(rep, action, &ws, &result))
                certify_finish(order->certify, result.ticket);
            return;
        }
        if (!read_writeset(rep, action, &ws, false)) {
            /* Its verdict is not known here, so it can never be sent on. */
            if (gcache_assign(rep->cache, action->buf, action->seqno, GCACHE_WRITESET, true))
                gcache_free(rep->cache, action->buf);
        }
        return;
    }
    if (action->seqno > certify_position(order->certify) && !entry.is_skip &&
        !read_writeset(rep, action, &ws, false)) {
        struct xb_error error;
        int rc = certify_writeset(order->certify, &ws, action->seqno, CERTIFY_FROM_GROUP, &result, &error);
        if (rc)
            node_leave_inconsistent(rep, "Write set %" PRId64 " cannot be certified: %s", action->seqno, error.text);
        else
            certify_finish(order->certify, result.ticket);
    }
    gcache_free(rep->cache, action->buf);
}

/* Takes trx's reference. */
static void take_writeset(struct replicator *rep, const struct gcs_action *action, struct trx *trx) {
    struct order *order = &rep->order;
    struct certify_result result;
    struct writeset ws;
    if (is_over(rep) || read_writeset(rep, action, &ws, trx != NULL)) {
        refuse_writeset(rep, action, trx);
        return;
    }
    if (action->seqno <= order->transfer_position && !trx) {
        take_overlap(rep, action);
        return;
    }
    struct item *item = trx ? NULL : new_item(rep, ITEM_WRITESET, (int64_t)action->size);
    if ((!trx && !item) || certify_and_file(rep, action, &ws, &result)) {
        free(item);
        refuse_writeset(rep, action, trx);
        return;
    }
    if (trx) {
        fill_ordered(rep, &trx->ordered, &ws, action->seqno, &result);
        deliver(trx, 0);
        return;
    }
    fill_ordered(rep, &item->as.ordered, &ws, action->seqno, &result);
    item->as.ordered.kind = HANDLE_ORDERED;
    if (order_nbo_ended(rep, &item->as.ordered)) {
        free(item);
        return;
    }
    struct xb_uuid own = node_own_uuid(rep);
    order_push(rep, item, xb_uuid_equal(&own, &ws.header.source));
}

/* ---- commit cuts and reports ---- */

/*
 * Purges index and history up to the group's commit cut, as far as this node has come itself. How far an index is purged
 * changes no verdict (spec 06 section 19), so nobody has to wait for the rest: it is done when its time has come.
 */
static void carry_out_cut(struct replicator *rep) {
    struct order *order = &rep->order;
    int64_t cut = xb_earlier(order->pending_cut, node_last_committed(rep));
    if (order->is_transferring || cut <= order->purged || cut < rep->bounds.cc_seqno) return;
    order->purged = certify_purge(order->certify, cut);
    if (order->purged >= 0) gcache_release(rep->cache, order->purged);
    if (order->purged >= order->pending_cut) order->pending_cut = -1;
}

void order_settle(struct replicator *rep) {
    struct order *order = &rep->order;
    if (order->is_transferring || !order->gcs || !order->certify) return;
    if (order->pending_cut >= 0) carry_out_cut(rep);
    if (node_get_state(rep) < NODE_JOINED || is_over(rep)) return;
    int64_t committed = node_last_committed(rep);
    int64_t report = certify_take_report(order->certify, committed);
    if (report >= 0) gcs_report_last_applied(order->gcs, &order->history, report, xb_clock_monotonic_ns());
}

/* ---- everything ---- */

static void take_request(struct replicator *rep, const struct gcs_action *action) {
    struct item *item = is_over(rep) ? NULL : new_item(rep, ITEM_STATE_REQUEST, (int64_t)action->size);
    if (!item) {
        gcache_free(rep->cache, action->buf);
        return;
    }
    item->as.request.buf = action->buf;
    item->as.request.size = action->size;
    item->as.request.position = action->seqno;
    order_push(rep, item, false);
}

/* The membership is over: what is not yet certified stays so, and the appliers give the server its last view. */
static void push_final_view(struct replicator *rep, int error) {
    struct order *order = &rep->order;
    struct item *item = item_new(ITEM_VIEW, 0);
    transfer_end(rep);
    order_votes_end(rep, -EBADFD);
    order_nbo_interrupt(rep, -EBADFD);
    backlog_drop(rep);
    if (!item) return;
    item->as.view = (struct view_item){
        .change = {.repl_version = -1, .appl_version = -1, .group_uuid = order->history, .seqno = order->position,
                   .conf_id = -1, .vote_seqno = -1},
        .own_index = -1,
        .error = error,
    };
    order->is_view_known = false;
    order_push(rep, item, false);
}

void order_dispatch(struct replicator *rep, const struct gcs_action *action, struct trx *trx) {
    struct order *order = &rep->order;
    switch (action->type) {
    case GCS_WRITESET:
        take_writeset(rep, action, trx);
        break;
    case GCS_COMMIT_CUT:
        if (action->seqno > order->pending_cut) order->pending_cut = action->seqno;
        order_settle(rep);
        break;
    case GCS_STATE_REQ:
        take_request(rep, action);
        break;
    case GCS_CCHANGE:
        order_cchange(rep, action);
        break;
    case GCS_JOIN:
        push_value(rep, ITEM_JOIN, -1, action->code);
        break;
    case GCS_SYNC:
        push_value(rep, ITEM_SYNC, -1, action->code);
        break;
    case GCS_VOTE:
        order_vote(rep, action);
        break;
    case GCS_ERROR:
        break; /* order_take has dealt with it */
    case GCS_INCONSISTENCY:
        node_leave_inconsistent(rep, "The history of this node is ahead of the group's");
        push_value(rep, ITEM_INCONSISTENCY, -1, 0);
        break;
    }
}

static bool is_self_leave(const struct gcs_action *action) {
    return action->type == GCS_ERROR || (action->type == GCS_CCHANGE && action->seqno < 0);
}

void order_take(struct replicator *rep, const struct gcs_action *action, struct trx *trx) {
    struct order *order = &rep->order;
    if (is_self_leave(action)) { /* not to be kept waiting for a transfer that will not end any more */
        if (action->buf) gcache_free(rep->cache, action->buf);
        push_final_view(rep, (int)action->code);
        return;
    }
    if (order->is_transferring || order->backlog) {
        backlog_add(rep, action, trx);
        return;
    }
    order_dispatch(rep, action, trx);
}

void order_action(void *ctx, const struct gcs_action *action, int64_t now_ns) {
    (void)now_ns;
    order_take(ctx, action, NULL);
}

void order_left(void *ctx, int code, const struct xb_error *error, bool is_conflict) {
    struct replicator *rep = ctx;
    struct order *order = &rep->order;
    if (code && error)
        xb_log_error(rep->log, "The connection to the group is lost: %s%s", error->text,
                     is_conflict ? " (another primary component exists; restart to join it)" : "");
    if (order->is_view_known) push_final_view(rep, code);
    order->gcs = NULL;
    order->group = NULL;
    atomic_store(&order->is_left, true);
    if (code) service_want_close(rep);
}
