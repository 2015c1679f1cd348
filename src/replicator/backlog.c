/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What is ordered while this node lacks state. It cannot be certified yet, so it is kept as it came (the bytes are in
 * the history) and taken up in order when the transfer is over, in batches, so that the network is not kept waiting.
 * Group thread.
 */
#include "replicator/internal.h"

#include <stdlib.h>

/* What cannot be kept, or will not be taken up any more. */
static void drop(struct replicator *rep, struct ordered_action *entry) {
    if (entry->action.buf) gcache_free(rep->cache, entry->action.buf);
    if (entry->trx) {
        entry->trx->result = -ECONNABORTED;
        event_set(&entry->trx->delivered);
        trx_unref(entry->trx);
    }
    if (!entry->item) return;
    *entry->item->as.desync.result = -ECONNABORTED;
    event_set(entry->item->as.desync.done);
    item_free(entry->item);
}

static void add(struct replicator *rep, struct ordered_action what) {
    struct order *order = &rep->order;
    struct ordered_action *entry = order->backlog_count < ORDER_BACKLOG_MAX ? malloc(sizeof(*entry)) : NULL;
    if (!entry) {
        node_leave(rep, "%" PRId64 " actions wait for the state transfer to end, there is no room for more",
                   order->backlog_count);
        drop(rep, &what);
        return;
    }
    *entry = what;
    if (!order->backlog) order->backlog_last = &order->backlog;
    *order->backlog_last = entry;
    order->backlog_last = &entry->next;
    order->backlog_count++;
    order->backlog_bytes += (int64_t)what.action.size;
    order_tell_queue_length(rep, false);
}

void backlog_add(struct replicator *rep, const struct gcs_action *action, struct trx *trx) {
    add(rep, (struct ordered_action){.action = *action, .trx = trx});
    /* The donor has failed, or the transfer was given up: who waits for it must know. */
    if (rep->order.is_transferring && action->type == GCS_JOIN && action->code < 0)
        transfer_refused(rep, (int)action->code);
}

void backlog_add_item(struct replicator *rep, struct item *item) {
    add(rep, (struct ordered_action){.item = item});
}

static struct ordered_action *take_first(struct order *order) {
    struct ordered_action *entry = order->backlog;
    order->backlog = entry->next;
    order->backlog_count--;
    order->backlog_bytes -= (int64_t)entry->action.size;
    return entry;
}

void backlog_post(struct replicator *rep) {
    struct order *order = &rep->order;
    if (!order->is_backlog_posted) order->is_backlog_posted = link_post(&rep->link, &order->backlog_task) == 0;
}

void backlog_work(struct replicator *rep) {
    struct order *order = &rep->order;
    order->is_backlog_posted = false;
    if (!order_continue(rep)) {
        backlog_post(rep);
        return;
    }
    for (int i = 0; i < ORDER_BACKLOG_BATCH && order->backlog && !order->is_transferring && !order->current.is_busy;
         i++) {
        struct ordered_action *entry = take_first(order);
        if (entry->item)
            order_push(rep, entry->item, true);
        else
            order_dispatch(rep, &entry->action, entry->trx);
        free(entry);
    }
    order_tell_queue_length(rep, false);
    if (order->backlog && !order->is_transferring) backlog_post(rep);
}

void backlog_drop(struct replicator *rep) {
    struct order *order = &rep->order;
    while (!order_continue(rep)) continue; /* the one that was begun is completed: nothing can undo it */
    while (order->backlog) {
        struct ordered_action *entry = take_first(order);
        drop(rep, entry);
        free(entry);
    }
}
