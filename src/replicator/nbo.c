/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The end of a non-blocking operation (spec 01 section 15, 07 section 8.9). Every node that runs the statement sends an
 * end; the one that completes the set of members takes effect, and the local thread takes its seqno over. A view change
 * voids the ends sent so far, so they are sent again.
 */
#include "replicator/internal.h"

/* A local thread between its end and the effective one. */
struct nbo_wait {
    struct nbo_wait *next;
    struct member_task task;
    struct replicator *rep;
    int64_t start;
    struct ordered ordered; /* the effective end */
    bool is_registered;
    int result; /* 0 effective, -EAGAIN the view changed, other negative errno */
    struct event over;
};

/* ---- group thread ---- */

static void finish(struct nbo_wait **at, int result) {
    struct nbo_wait *wait = *at;
    *at = wait->next;
    wait->is_registered = false;
    wait->result = result;
    event_set(&wait->over);
}

bool order_nbo_ended(struct replicator *rep, const struct ordered *ordered) {
    if (ordered->nbo_ended < 0) return false;
    for (struct nbo_wait **at = &rep->order.nbo_waits; *at; at = &(*at)->next)
        if ((*at)->start == ordered->nbo_ended) {
            (*at)->ordered = *ordered;
            finish(at, 0);
            return true;
        }
    return false;
}

void order_nbo_interrupt(struct replicator *rep, int result) {
    while (rep->order.nbo_waits) finish(&rep->order.nbo_waits, result);
}

static void run_register(struct member_task *task, struct group *group, int64_t now_ns) {
    struct nbo_wait *wait = (struct nbo_wait *)((char *)task - offsetof(struct nbo_wait, task));
    (void)group;
    (void)now_ns;
    wait->next = wait->rep->order.nbo_waits;
    wait->rep->order.nbo_waits = wait;
    wait->is_registered = true;
}

/* ---- the thread of the operation ---- */

static int send_end(struct replicator *rep, struct trx *trx, const struct replicator_key *keys, size_t key_count,
                    int64_t start) {
    struct xb_uuid own = node_own_uuid(rep);
    uint8_t data[8];
    int rc = trx_builder_start(trx);
    for (size_t i = 0; i < key_count && !rc; i++)
        rc = writeset_builder_add_key(trx->builder, keys[i].parts, keys[i].part_count, WRITESET_KEY_EXCLUSIVE);
    xb_store_le(data, (uint64_t)start, sizeof(data));
    if (!rc) rc = writeset_builder_add_data(trx->builder, WRITESET_DATA_ORDERED, data, sizeof(data), true);
    if (!rc) rc = trx_finish_builder(trx, &own, trx->flags, false);
    return rc ? rc : trx_submit(trx, false, false);
}

static void run_forget(struct member_task *task, struct group *group, int64_t now_ns) {
    struct nbo_wait *wait = (struct nbo_wait *)((char *)task - offsetof(struct nbo_wait, task));
    (void)group;
    (void)now_ns;
    for (struct nbo_wait **at = &wait->rep->order.nbo_waits; *at; at = &(*at)->next)
        if (*at == wait) {
            finish(at, -ECANCELED);
            return;
        }
}

/* The wait's memory goes away: it must not be found any more. If the group thread is over it has been finished. */
static void forget(struct replicator *rep, struct nbo_wait *wait) {
    wait->task.run = run_forget;
    if (link_call(&rep->link, &wait->task)) event_wait(&wait->over, XB_NEVER);
}

/* One attempt. -> 0 effective (in wait->ordered), -EAGAIN send again, other negative errno */
static int try_end(struct replicator *rep, uint64_t conn, const struct replicator_key *keys, size_t key_count,
                   uint32_t flags, struct nbo_wait *wait) {
    struct trx *trx = trx_new(rep, REPLICATOR_ID_UNDEFINED);
    if (!trx) return -ENOMEM;
    trx->is_toi = true;
    trx->conn = conn;
    trx->flags = (flags & WRITESET_API_FLAGS) | WRITESET_TOI;
    event_init(&wait->over);
    wait->task.run = run_register;
    int rc = link_call(&rep->link, &wait->task);
    if (!rc) {
        rc = send_end(rep, trx, keys, key_count, wait->start);
        if (rc) forget(rep, wait);
    }
    trx_unref(trx);
    if (rc) return rc;
    event_wait(&wait->over, XB_NEVER);
    return wait->result;
}

static enum replicator_status end_status(struct replicator *rep, int rc) {
    if (rc == -EBADFD) return REPLICATOR_FATAL; /* left the group meanwhile: the data may be half changed */
    return rc == -EMSGSIZE ? REPLICATOR_SIZE_EXCEEDED : node_refusal(rep);
}

enum replicator_status nbo_end(struct replicator *rep, uint64_t conn, const struct replicator_key *keys,
                               size_t key_count, uint32_t flags, struct replicator_meta *meta) {
    struct nbo_wait wait = {.rep = rep, .start = meta->gtid.seqno};
    int rc;
    do {
        if (!node_may_replicate(rep)) return node_refusal(rep);
        rc = try_end(rep, conn, keys, key_count, flags, &wait);
    } while (rc == -EAGAIN);
    if (rc) return end_status(rep, rc);
    struct trx *trx = trx_new(rep, REPLICATOR_ID_UNDEFINED);
    if (!trx) {
        ordered_pass(rep, &wait.ordered);
        return REPLICATOR_NODE_FAIL;
    }
    trx->is_toi = true;
    trx->conn = conn;
    trx->ordered = wait.ordered;
    trx->ordered.kind = HANDLE_TRX;
    atomic_store(&trx->state, TRX_COMMITTING);
    ordered_enter_apply(rep, &trx->ordered, trx->ordered.depends);
    ordered_enter_commit(rep, &trx->ordered);
    trx_map_put(&rep->tois, conn, trx);
    trx_fill_meta(trx, meta);
    trx_unref(trx);
    return REPLICATOR_OK;
}
