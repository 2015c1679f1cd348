/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Configuration changes (spec 07 section 5, 01 section 8.5), in two steps. In the group thread, at once and in order:
 * the change takes its seqno in the certification index and the history, or it turns out that this node lacks state,
 * and ordering stops until a transfer is over. At an applier, alone: the server is told, and the node's state follows.
 */
#include "replicator/internal.h"

#include <stdlib.h>

void view_of_change(struct replicator *rep, const struct gcs_cchange *change, int own_index,
                    struct replicator_view *view) {
    int version = change->repl_version;
    *view = (struct replicator_view){
        .state = {change->group_uuid, change->seqno},
        .conf_id = change->conf_id,
        .capabilities = version < 0 ? 0 : REPLICATOR_CAPABILITIES,
        .own_index = own_index,
        .appl_version = change->appl_version,
        .members = change->members,
        .member_count = change->member_count,
    };
    if (!change->member_count) { /* the final view says what was agreed last */
        view->appl_version = atomic_load(&rep->appl_version);
        if (atomic_load(&rep->repl_version) >= 0) view->capabilities = REPLICATOR_CAPABILITIES;
    }
}

void view_item_free(struct replicator *rep, struct item *item) {
    struct view_item *view = &item->as.view;
    gcs_cchange_clear(&view->change);
    if (!view->is_in_history && view->buf) gcache_free(rep->cache, view->buf);
}

void bounds_record(struct replicator *rep, int64_t cc_seqno, int64_t cc_lowest, int repl_version) {
    pthread_mutex_lock(&rep->identity_lock);
    if (cc_seqno >= rep->bounds.cc_seqno) rep->bounds = (struct donor_bounds){cc_seqno, cc_lowest, repl_version};
    pthread_mutex_unlock(&rep->identity_lock);
}

/* ---- group thread ---- */

static enum gcs_node_state own_state(const struct gcs_cchange *change, int own_index) {
    return change->members[own_index].state;
}

static int collect_uuids(const struct gcs_cchange *change, struct xb_uuid **uuids) {
    *uuids = calloc(change->member_count ? change->member_count : 1, sizeof(**uuids));
    if (!*uuids) return -ENOMEM;
    for (size_t i = 0; i < change->member_count; i++) (*uuids)[i] = change->members[i].uuid;
    return 0;
}

int certify_view(struct replicator *rep, const struct gcs_cchange *change) {
    struct xb_uuid *uuids;
    int version = writeset_version_of_protocol(change->repl_version), rc = collect_uuids(change, &uuids);
    if (rc) return rc;
    rc = certify_change_configuration(rep->certify, change->seqno, version, uuids, change->member_count, NULL);
    free(uuids);
    if (!rc) bounds_record(rep, change->seqno, certify_lowest_seqno(rep->certify), change->repl_version);
    return rc;
}

/* The first primary view of a node whose position is that of the group, or that founds a group. */
static void adopt_history(struct replicator *rep, const struct gcs_cchange *change) {
    struct order *order = &rep->order;
    if (!xb_uuid_equal(&order->history, &change->group_uuid)) {
        gate_set_position(&rep->apply, -1);
        gate_set_position(&rep->commit, -1);
    }
    order->history = change->group_uuid;
    order->position = change->seqno - 1;
    order->transfer_position = -1;
    node_set_history(rep, &change->group_uuid);
    gate_set_position(&rep->apply, order->position);
    gate_set_position(&rep->commit, order->position);
    gcache_reset(rep->cache, &change->group_uuid, order->position);
}

/* In order: -> 0, or this node leaves. buf: filed on success. */
static int take_in_order(struct replicator *rep, const struct gcs_cchange *change, uint8_t *buf) {
    struct order *order = &rep->order;
    if (!xb_uuid_equal(&order->history, &change->group_uuid) || order->position < 0) adopt_history(rep, change);
    int rc = 0;
    if (order->repl_version != change->repl_version) {
        certify_reset(order->certify);
        if (order->repl_version < 0) /* the start of this process: its position is the index's (spec 01 section 8.2) */
            rc = certify_assign_position(order->certify, order->position,
                                         writeset_version_of_protocol(change->repl_version));
    }
    order->repl_version = change->repl_version;
    if (!rc) rc = certify_view(rep, change);
    if (!rc) rc = gcache_assign(rep->cache, buf, change->seqno, GCACHE_CCHANGE, false);
    if (rc)
        node_leave_inconsistent(rep, "Configuration change %" PRId64 " cannot be taken in order: %s", change->seqno,
                                strerror(-rc));
    order->position = change->seqno;
    order_nbo_interrupt(rep, -EAGAIN);
    return rc;
}

/* The transfer has brought it already. */
static void take_covered(struct replicator *rep, const struct gcs_cchange *change, uint8_t *buf) {
    bool is_new = change->seqno > certify_position(rep->order.certify);
    if (is_new && certify_view(rep, change)) {
        node_leave_inconsistent(rep, "Configuration change %" PRId64 " cannot be taken in order", change->seqno);
        is_new = false;
    }
    if (!is_new || gcache_assign(rep->cache, buf, change->seqno, GCACHE_CCHANGE, false)) gcache_free(rep->cache, buf);
}

static bool is_wanted(struct replicator *rep, const struct gcs_cchange *change, int own_index) {
    const struct order *order = &rep->order;
    if (change->conf_id < 0) /* not one from before a transfer that has led beyond it */
        return change->seqno >= order->transfer_position || !xb_uuid_equal(&order->history, &change->group_uuid);
    if (atomic_load(&rep->is_corrupt) || atomic_load(&rep->is_failed)) return false;
    if (change->repl_version < REPLICATOR_PROTOCOL_MIN || change->repl_version > REPLICATOR_PROTOCOL_MAX) {
        node_leave(rep, "The group uses replicator protocol %d; this node can do %d to %d", change->repl_version,
                   REPLICATOR_PROTOCOL_MIN, REPLICATOR_PROTOCOL_MAX);
        return false;
    }
    if (own_index >= 0 && (size_t)own_index < change->member_count) return true;
    node_leave(rep, "The group's configuration %" PRId64 " does not contain this node", change->conf_id);
    return false;
}

/* The index goes to the transfer; what is ordered from now on is kept. */
static void begin_transfer(struct replicator *rep) {
    struct order *order = &rep->order;
    order->is_transferring = true;
    certify_reset(order->certify);
}

static void take_primary(struct replicator *rep, struct item *item) {
    struct order *order = &rep->order;
    struct view_item *view = &item->as.view;
    bool is_same = xb_uuid_equal(&order->history, &view->change.group_uuid);
    if (!is_same) order->transfer_position = -1;
    if (view->change.seqno <= order->transfer_position) {
        take_covered(rep, &view->change, view->buf);
        view->buf = NULL;
        view_item_free(rep, item);
        free(item);
        return;
    }
    view->is_connecting = !order->is_primary_known || !is_same;
    /* In PRIM the group says that this node lacks something (spec 05 section 7.4). */
    view->needs_transfer = own_state(&view->change, view->own_index) == GCS_NODE_PRIM;
    order->is_primary_known = true;
    if (!order->is_primary) order->reunion_seqno = view->change.seqno;
    order->is_primary = true;
    if (view->needs_transfer) {
        item->position = order->position;
        begin_transfer(rep);
    } else {
        view->is_in_history = take_in_order(rep, &view->change, view->buf) == 0;
        item->position = view->change.seqno - 1;
    }
    order_push_at(rep, item, false);
}

void order_cchange(struct replicator *rep, const struct gcs_action *action) {
    struct item *item = item_new(ITEM_VIEW, (int64_t)action->size);
    struct xb_error error;
    int rc = item ? gcs_cchange_decode(&item->as.view.change, action->buf, action->size, &error) : -ENOMEM;
    if (rc) {
        node_leave(rep, "A configuration change cannot be read: %s", item ? error.text : "no memory");
        free(item);
        gcache_free(rep->cache, action->buf);
        return;
    }
    const struct gcs_cchange *change = &item->as.view.change;
    item->as.view.buf = action->buf;
    item->as.view.own_index = (int)action->seqno;
    rep->order.is_view_known = true;
    if (!is_wanted(rep, change, (int)action->seqno)) {
        view_item_free(rep, item);
        free(item);
    } else if (change->conf_id >= 0) {
        take_primary(rep, item);
    } else {
        rep->order.is_primary = false;
        order_push(rep, item, false);
    }
}

/* ---- appliers ---- */

void view_remember_addresses(struct replicator *rep, const struct gcs_cchange *change) {
    size_t size = 1;
    for (size_t i = 0; i < change->member_count; i++) size += strlen(change->members[i].incoming) + 1;
    char *text = malloc(size), *at = text;
    if (!text) return;
    *at = 0;
    for (size_t i = 0; i < change->member_count; i++) {
        if (i) *at++ = ',';
        at = stpcpy(at, change->members[i].incoming);
    }
    pthread_mutex_lock(&rep->identity_lock);
    free(rep->incoming_addresses);
    rep->incoming_addresses = text;
    pthread_mutex_unlock(&rep->identity_lock);
}

static void call_view(struct replicator *rep, void *recv_ctx, const struct gcs_cchange *change, int own_index) {
    struct replicator_view view;
    view_of_change(rep, change, own_index, &view);
    if (rep->callbacks.view(rep->callbacks.ctx, recv_ctx, &view)) node_leave(rep, "The server failed to take a view");
}

static void call_connected(struct replicator *rep, const struct gcs_cchange *change, int own_index) {
    struct replicator_view view;
    view_of_change(rep, change, own_index, &view);
    if (rep->callbacks.connected(rep->callbacks.ctx, &view))
        node_leave(rep, "The server failed to take the connection to the group");
}

static void save_position(struct replicator *rep) {
    struct saved_state saved = state_file_get(rep->state_file);
    struct xb_uuid history = node_history(rep);
    state_file_set(rep->state_file, &history, node_last_committed(rep), saved.is_safe_to_bootstrap);
}

static void become_disconnected(struct replicator *rep) {
    if (atomic_load(&rep->is_corrupt)) {
        /* Whoever is still in an apply callback leaves first: then there is no position any more. Clients may still be
         * on their way to commit. */
        pthread_mutex_lock(&rep->queue.lock);
        queue_close_locked(&rep->queue);
        while (rep->queue.receivers > 1) pthread_cond_wait(&rep->queue.wake, &rep->queue.lock);
        pthread_mutex_unlock(&rep->queue.lock);
        node_set_history(rep, &xb_uuid_nil);
        gate_open(&rep->apply);
        gate_open(&rep->commit);
    }
    node_set_own_uuid(rep, &xb_uuid_nil);
    queue_close(&rep->queue);
    node_set_state(rep, NODE_CLOSED);
}

static void apply_non_primary(struct replicator *rep, void *recv_ctx, struct item *item) {
    struct view_item *view = &item->as.view;
    quiet_begin(rep, item->position);
    if (view->own_index >= 0 && (size_t)view->own_index < view->change.member_count)
        node_set_own_uuid(rep, &view->change.members[view->own_index].uuid);
    view_remember_addresses(rep, &view->change);
    bool is_final = !view->change.member_count;
    if (is_final) save_position(rep); /* the server may end in the next line */
    if (is_final && atomic_load(&rep->is_failed) && atomic_load(&rep->awaits_snapshot))
        rep->callbacks.no_state(rep->callbacks.ctx);
    call_view(rep, recv_ctx, &view->change, view->own_index);
    quiet_end(rep);
    if (node_get_state(rep) > NODE_CONNECTED) node_set_state(rep, NODE_CONNECTED);
    if (is_final) become_disconnected(rep);
}

/* The node's state follows the group's list (spec 07 section 2.2): only from CONNECTED or DONOR. */
static void follow_state(struct replicator *rep, enum gcs_node_state listed) {
    static const enum node_state map[] = {
        [GCS_NODE_JOINER] = NODE_JOINING,
        [GCS_NODE_DONOR] = NODE_DONOR,
        [GCS_NODE_JOINED] = NODE_JOINED,
        [GCS_NODE_SYNCED] = NODE_SYNCED,
    };
    enum node_state now = node_get_state(rep);
    if (listed < GCS_NODE_JOINER || (now != NODE_CONNECTED && now != NODE_DONOR) || map[listed] == now) return;
    if (now == NODE_DONOR && listed != GCS_NODE_JOINED) return;
    node_set_state(rep, map[listed]);
    if (now == NODE_CONNECTED && listed == GCS_NODE_SYNCED && rep->callbacks.synced(rep->callbacks.ctx))
        node_leave(rep, "The server failed to become synced");
}

static void apply_primary(struct replicator *rep, void *recv_ctx, struct item *item) {
    struct view_item *view = &item->as.view;
    const struct gcs_cchange *change = &view->change;
    gate_wait(&rep->apply, item->position, XB_NEVER);
    node_set_own_uuid(rep, &change->members[view->own_index].uuid);
    atomic_store(&rep->appl_version, change->appl_version);
    if (view->is_connecting) call_connected(rep, change, view->own_index);
    view_remember_addresses(rep, change);
    if (view->needs_transfer) {
        struct saved_state saved = state_file_get(rep->state_file); /* not lost before there is something better */
        state_file_set(rep->state_file, &saved.uuid, saved.seqno, change->member_count == 1);
        joiner_run(rep, recv_ctx, item);
        return;
    }
    atomic_store(&rep->repl_version, change->repl_version);
    follow_state(rep, own_state(change, view->own_index));
    state_file_set(rep->state_file, &change->group_uuid, -1, change->member_count == 1);
    call_view(rep, recv_ctx, change, view->own_index);
    /* Only now, so that the server still sees the seqno before the view inside its callback. */
    gate_cancel(&rep->commit, change->seqno);
    gate_cancel(&rep->apply, change->seqno);
}

void apply_view(struct replicator *rep, void *recv_ctx, struct item *item) {
    if (item->as.view.change.conf_id < 0)
        apply_non_primary(rep, recv_ctx, item);
    else if (!atomic_load(&rep->is_corrupt))
        apply_primary(rep, recv_ctx, item);
    else if (item->as.view.is_in_history) { /* dismissed, but its seqno passes */
        gate_cancel(&rep->commit, item->as.view.change.seqno);
        gate_cancel(&rep->apply, item->as.view.change.seqno);
    }
}

void apply_ist_view(struct replicator *rep, void *recv_ctx, struct item *item) {
    const struct gcs_cchange *change = &item->as.view.change;
    gate_wait(&rep->apply, change->seqno - 1, XB_NEVER);
    if (!atomic_load(&rep->is_corrupt)) {
        view_remember_addresses(rep, change);
        call_view(rep, recv_ctx, change, -1);
    }
    gate_cancel(&rep->commit, change->seqno);
    gate_cancel(&rep->apply, change->seqno);
}
