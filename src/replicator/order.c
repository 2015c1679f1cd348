/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The group thread's side: every ordered action of this node comes through here once, in its place.
 *
 * A write set is read, certified, rewritten and filed right here (spec 06 sections 9 to 12), then its verdict goes to
 * the client thread that waits for it or to the appliers' queue. Nothing here waits. When this node cannot go on,
 * nothing more is certified or filed: the position stays where it was true.
 */
#include "replicator/internal.h"

#include <stdio.h>
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

/* The appliers look at queue_below when they take an item. One may have been taken between the reading of the length
 * and the storing of the mark: then nobody else would tell, and a STOP would stay in force for ever. So look again. */
void order_tell_queue_length(struct replicator *rep, bool is_own) {
    struct order *order = &rep->order;
    struct gcs_queue_thresholds thresholds;
    int64_t length;
    if (!order->gcs) return;
    do {
        pthread_mutex_lock(&rep->queue.lock);
        length = atomic_load(&rep->queue.length);
        int64_t bytes = rep->queue.bytes;
        pthread_mutex_unlock(&rep->queue.lock);
        gcs_set_queue_length(order->gcs, length + order->backlog_count, bytes + order->backlog_bytes, is_own,
                             xb_clock_monotonic_ns());
        gcs_get_queue_thresholds(order->gcs, &thresholds);
        atomic_store(&order->queue_below, thresholds.below);
        is_own = true; /* only the first look saw an item added */
    } while (atomic_load(&rep->queue.length) < length);
}

void order_push(struct replicator *rep, struct item *item, bool is_own) {
    item->position = rep->order.position;
    order_push_at(rep, item, is_own);
}

void order_push_at(struct replicator *rep, struct item *item, bool is_own) {
    if (rep->order.gcs) gcs_count_arrival(rep->order.gcs, atomic_load(&rep->queue.length));
    queue_push(&rep->queue, item);
    order_tell_queue_length(rep, is_own);
}

void order_take_item(struct replicator *rep, struct item *item) {
    if (order_is_held(&rep->order))
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
        node_leave(rep,
                   "Write set %" PRId64 " from %s cannot be read: %s. It would be the same for every node; the "
                   "node that sent it is faulty",
                   action->seqno, XB_UUID_TEXT(&action->sender_uuid), error.text);
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

/* After the verdict: the rewritten header, the place in the history. -> 0, or this node leaves. */
static int file_writeset(struct replicator *rep, const struct gcs_action *action, struct writeset *ws,
                         const struct certify_result *result) {
    struct order *order = &rep->order;
    writeset_mark_certified(ws, action->buf, action->seqno, result->depends);
    int rc = gcache_assign(rep->cache, action->buf, action->seqno, GCACHE_WRITESET, result->is_skip);
    if (rc) {
        certify_finish(order->certify, result->ticket);
        node_leave_inconsistent(rep, "Write set %" PRId64 " does not fit into the history: %s", action->seqno,
                                strerror(-rc));
        return rc;
    }
    order->position = action->seqno;
    return 0;
}

static int cannot_certify(struct replicator *rep, int64_t seqno, int rc, const struct xb_error *error) {
    node_leave_inconsistent(rep, "Write set %" PRId64 " cannot be certified: %s", seqno, error->text);
    return rc;
}

/* The transfer has brought it already: only history and index may still lack it (spec 07 section 17.6). */
static void take_overlap(struct replicator *rep, const struct gcs_action *action, struct writeset *ws) {
    struct order *order = &rep->order;
    struct certify_result result;
    struct gcache_entry entry;
    struct xb_error error;
    bool is_cached = gcache_has(rep->cache, action->seqno, &entry), is_filed = false;
    bool is_new = action->seqno > certify_position(order->certify) && !(is_cached && entry.is_skip);
    if (is_new) {
        int rc = certify_writeset(order->certify, ws, action->seqno, CERTIFY_FROM_GROUP, &result, &error);
        if (rc) {
            cannot_certify(rep, action->seqno, rc, &error);
        } else {
            is_filed = !is_cached && !file_writeset(rep, action, ws, &result);
            if (is_cached || is_filed) certify_finish(order->certify, result.ticket);
        }
    } else if (!is_cached) { /* its verdict is not known here, so it can never be sent on */
        is_filed = !gcache_assign(rep->cache, action->buf, action->seqno, GCACHE_WRITESET, true);
    }
    if (!is_filed) gcache_free(rep->cache, action->buf);
}

/* Certification of the write set in order->current is over. */
static void finish_writeset(struct replicator *rep, int rc, const struct xb_error *error) {
    struct order *order = &rep->order;
    struct current current = order->current;
    const struct gcs_action *action = &current.action;
    order->current.is_busy = false;
    if (rc) cannot_certify(rep, action->seqno, rc, error);
    if (rc || file_writeset(rep, action, &current.ws, &current.result)) {
        item_free(current.item);
        refuse_writeset(rep, action, current.trx);
        return;
    }
    if (current.trx) {
        fill_ordered(rep, &current.trx->ordered, &current.ws, action->seqno, &current.result);
        deliver(current.trx, 0);
        return;
    }
    struct ordered *ordered = &current.item->as.ordered;
    fill_ordered(rep, ordered, &current.ws, action->seqno, &current.result);
    ordered->kind = HANDLE_ORDERED;
    if (order_nbo_ended(rep, ordered)) {
        item_free(current.item);
        return;
    }
    struct xb_uuid own = node_own_uuid(rep);
    order_push(rep, current.item, xb_uuid_equal(&own, &current.ws.header.source));
}

/* A write set with very many keys is certified in slices; what comes after it waits in the backlog meanwhile. */
bool order_continue(struct replicator *rep) {
    struct order *order = &rep->order;
    struct xb_error error;
    if (!order->current.is_busy) return true;
    int rc = certify_continue(order->certify, &order->current.result, &error);
    if (rc == 1) return false;
    finish_writeset(rep, rc, &error);
    return true;
}

/* Takes trx's reference. */
static void take_writeset(struct replicator *rep, const struct gcs_action *action, struct trx *trx) {
    struct order *order = &rep->order;
    struct current *current = &order->current;
    struct xb_error error;
    if (is_over(rep) || read_writeset(rep, action, &current->ws, trx != NULL)) {
        refuse_writeset(rep, action, trx);
        return;
    }
    if (action->seqno <= order->transfer_position && !trx) {
        take_overlap(rep, action, &current->ws);
        return;
    }
    current->action = *action;
    current->trx = trx;
    current->item = trx ? NULL : new_item(rep, ITEM_WRITESET, (int64_t)action->size);
    if (!trx && !current->item) {
        refuse_writeset(rep, action, trx);
        return;
    }
    int rc = certify_begin(order->certify, &current->ws, action->seqno, CERTIFY_FROM_GROUP, &current->result, &error);
    current->is_busy = rc == 1;
    if (current->is_busy)
        backlog_post(rep);
    else
        finish_writeset(rep, rc, &error);
}

/* ---- commit cuts and reports ---- */

/*
 * Purges index and history up to the group's commit cut, as far as this node has come itself. How far an index is
 * purged changes no verdict (spec 06 section 19), so nobody has to wait for the rest: it is done when its time has
 * come.
 */
static void carry_out_cut(struct replicator *rep) {
    struct order *order = &rep->order;
    int64_t cut = xb_earlier(order->pending_cut, node_last_committed(rep));
    if (order->is_transferring || cut <= order->purged || cut < rep->bounds.cc_seqno) return;
    order->purged = certify_purge(order->certify, cut);
    if (order->purged >= 0) gcache_release(rep->cache, order->purged);
    if (order->purged >= order->pending_cut) order->pending_cut = -1;
}

void order_post_settle(struct replicator *rep) {
    struct order *order = &rep->order;
    if (atomic_exchange(&order->is_settle_posted, true)) return;
    if (link_post(&rep->link, &order->settle_task)) atomic_store(&order->is_settle_posted, false);
}

void order_settle(struct replicator *rep) {
    struct order *order = &rep->order;
    if (order->is_transferring || order->current.is_busy || !order->gcs) return;
    if (order->pending_cut >= 0) carry_out_cut(rep);
    if (certify_purge_more(order->certify)) order_post_settle(rep);
    if (node_get_state(rep) < NODE_JOINED || is_over(rep)) return;
    int64_t report = certify_take_report(order->certify, node_last_committed(rep));
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
        .change = {.repl_version = -1,
                   .appl_version = -1,
                   .group_uuid = order->history,
                   .seqno = order->position,
                   .conf_id = -1,
                   .vote_seqno = -1},
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
    if (order_is_held(order)) {
        backlog_add(rep, action, trx);
        return;
    }
    order_dispatch(rep, action, trx);
}

void order_action(void *ctx, const struct gcs_action *action, int64_t now_ns) {
    (void)now_ns;
    order_take(ctx, action, NULL);
}

static void tell_eviction(struct replicator *rep, const char *message) {
    char json[XB_ERROR_TEXT_SIZE + 64];
    snprintf(json, sizeof(json), "{\"status\": \"evicted\", \"message\": \"%s\"}", message);
    rep->callbacks.event(rep->callbacks.ctx, "event", json);
}

/* The position is one of the group's history, what stands there is not: an increment from there would leave the nodes
 * different for ever. Before the final view, which saves the position. */
void order_diverged(void *ctx, const struct xb_error *error) {
    node_leave_inconsistent(ctx, "%s", error->text);
}

void order_left(void *ctx, int code, const struct xb_error *error) {
    struct replicator *rep = ctx;
    struct order *order = &rep->order;
    if (code == -EACCES && error) tell_eviction(rep, error->text);
    if (code && error) xb_log_error(rep->log, "The connection to the group is lost: %s", error->text);
    if (order->is_view_known) push_final_view(rep, code);
    order->gcs = NULL;
    order->group = NULL;
    atomic_store(&order->is_left, true);
    if (code) service_want_close(rep);
}
