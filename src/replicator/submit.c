/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The way of a local write set to the group and back: posted by its client thread, stamped when its turn to be sent has
 * come, certified when it is delivered, answered on one word.
 */
#include "replicator/internal.h"

enum replicator_status error_status(int error) {
    switch (error) {
    case 0:
        return REPLICATOR_OK;
    case -EMSGSIZE:
        return REPLICATOR_SIZE_EXCEEDED;
    default:
        return REPLICATOR_CONN_FAIL;
    }
}

int trx_builder_start(struct trx *trx) {
    struct replicator *rep = trx->rep;
    int version = writeset_version_of_protocol(atomic_load(&rep->repl_version));
    if (version < 0) return -ENOTCONN; /* no primary view yet: which format is not known */
    struct writeset_builder_config config = {
        .version = version,
        .key_format = (enum writeset_key_format)atomic_load(&rep->key_format),
        .size_max = (size_t)atomic_load(&rep->max_ws_size),
        .hash_secret = rep->hash_secret,
    };
    trx->version = version;
    if (trx->builder) {
        writeset_builder_reset(trx->builder, &config);
        return 0;
    }
    trx->builder = writeset_builder_new(&config);
    return trx->builder ? 0 : -ENOMEM;
}

int trx_finish_builder(struct trx *trx, const struct xb_uuid *source, uint32_t flags, bool is_zero_level) {
    struct writeset_origin origin = {*source, trx->conn, trx->id};
    struct xb_error error;
    if (is_zero_level) {
        int rc = writeset_builder_add_key(trx->builder, NULL, 0, WRITESET_KEY_REFERENCE);
        if (rc) return rc;
    }
    int rc = writeset_builder_finish(trx->builder, &origin, (uint16_t)flags, &error);
    if (rc == -EMSGSIZE) xb_log_info(trx->rep->log, "%s", error.text);
    return rc;
}

/* ---- group thread ---- */

/* Last seen and PA range (spec 06 section 8.4): what is committed here when the write set's turn has come. */
static void stamp(struct trx *trx) {
    int64_t seen = node_last_committed(trx->rep);
    int64_t range = WRITESET_PA_RANGE_MAX;
    if (trx->flags & WRITESET_PREORDERED) {
        seen = 0;
        range = trx->pa_range;
    } else if (!(trx->flags & (WRITESET_BEGIN | WRITESET_TOI))) {
        if (trx->last_fragment > seen) seen = trx->last_fragment;
        int64_t previous = trx->last_fragment > 0 ? trx->last_fragment : 0;
        range = seen - previous < WRITESET_PA_RANGE_MAX ? seen - previous : WRITESET_PA_RANGE_MAX;
    }
    writeset_builder_stamp(trx->builder, seen, (uint16_t)range, xb_clock_monotonic_ns());
}

/* Would the write set fail for sure? Then it is not worth a seqno and everybody's work (spec 06 section 25.5). While
 * the node is paused every transaction waits, so one that is bound to fail must do so as well. */
static bool is_doomed(struct trx *trx) {
    struct replicator *rep = trx->rep;
    struct certify_conflict conflict;
    if (trx->is_toi || order_is_held(&rep->order) || atomic_load(&rep->is_paused)) return false;
    struct writeset_keys keys = writeset_builder_keys(trx->builder);
    return certify_is_doomed(rep->order.certify, &keys, &trx->ordered.source, node_last_committed(rep), &conflict);
}

/* When a component becomes primary again, a member that has restarted may be up to date without a transfer, so its
 * index is empty: for a write set that has not seen all that went before it would come to another verdict than the
 * others. */
static bool may_send(struct replicator *rep) {
    return node_last_committed(rep) >= rep->order.reunion_seqno;
}

static int prepare(struct gcs_submission *submission) {
    struct trx *trx = submission->ctx;
    if (trx_get_state(trx) == TRX_MUST_ABORT) return -EINTR;
    if (!may_send(trx->rep)) return -EAGAIN;
    if (is_doomed(trx)) return -EDEADLK;
    stamp(trx);
    return 0;
}

static int prepare_unawaited(struct gcs_submission *submission) {
    struct trx *trx = submission->ctx;
    if (!may_send(trx->rep)) return -EAGAIN;
    stamp(trx);
    return 0;
}

static void run_submit(struct member_task *task, struct group *group, int64_t now_ns) {
    struct trx *trx = (struct trx *)((char *)task - offsetof(struct trx, submit_task));
    trx->is_submitted = true;
    gcs_submit(group_gcs(group), &trx->submission, now_ns);
}

static void run_cancel(struct member_task *task, struct group *group, int64_t now_ns) {
    struct trx *trx = (struct trx *)((char *)task - offsetof(struct trx, cancel_task));
    if (trx->is_submitted) gcs_cancel(group_gcs(group), &trx->submission, now_ns);
    trx_unref(trx);
}

void trx_cancel_submission(struct trx *trx) {
    if (atomic_exchange(&trx->is_cancel_posted, true)) return;
    trx->cancel_task.run = run_cancel;
    trx_ref(trx);
    if (link_post(&trx->rep->link, &trx->cancel_task)) trx_unref(trx);
}

/* Delivered, or not to be. The submission's reference passes on. */
static void submission_done(struct gcs_submission *submission, int result, const struct gcs_action *action) {
    struct trx *trx = submission->ctx;
    trx->is_submitted = false;
    if (!result && action) {
        order_take(trx->rep, action, trx);
        return;
    }
    trx->result = result ? result : -EIO;
    event_set(&trx->delivered);
    trx_unref(trx);
}

/* Nobody waits: it goes the way of a foreign one (spec 01 section 13). */
static void unawaited_done(struct gcs_submission *submission, int result, const struct gcs_action *action) {
    struct trx *trx = submission->ctx;
    trx->is_submitted = false;
    if (!result && action)
        order_take(trx->rep, action, NULL);
    else
        xb_log_info(trx->rep->log, "A write set of transaction %" PRIu64 " was not sent: %s", trx->id,
                    strerror(-result));
    trx_unref(trx);
}

/* ---- client thread ---- */

int trx_submit(struct trx *trx, bool is_waiting, bool is_out_of_order) {
    size_t count;
    const struct iovec *parts = writeset_builder_parts(trx->builder, &count);
    trx->submission = (struct gcs_submission){
        .type = GCS_WRITESET,
        .parts = parts,
        .part_count = count,
        .is_out_of_order = is_out_of_order,
        .prepare = is_waiting ? prepare : prepare_unawaited,
        .done = is_waiting ? submission_done : unawaited_done,
        .ctx = trx,
    };
    trx->submit_task.run = run_submit;
    atomic_store(&trx->is_cancel_posted, false);
    event_init(&trx->delivered);
    trx_ref(trx);
    int rc = link_post(&trx->rep->link, &trx->submit_task);
    if (rc) trx_unref(trx);
    return rc;
}

static void count_replicated(struct replicator *rep, struct trx *trx) {
    struct writeset_builder_stats stats;
    writeset_builder_get_stats(trx->builder, &stats);
    atomic_fetch_add(&rep->counters.replicated, 1);
    atomic_fetch_add(&rep->counters.replicated_bytes, (int64_t)writeset_builder_size(trx->builder));
    atomic_fetch_add(&rep->counters.repl_keys, (int64_t)stats.key_count);
    atomic_fetch_add(&rep->counters.repl_keys_bytes, (int64_t)stats.key_bytes);
    atomic_fetch_add(&rep->counters.repl_data_bytes, (int64_t)stats.data_bytes);
    atomic_fetch_add(&rep->counters.repl_other_bytes, (int64_t)stats.other_bytes);
}

/* Sends the finished write set and waits for its verdict; the lock is held before and after, not meanwhile.
 * -> 0 ordered, or a negative errno. */
int trx_send_and_wait(struct trx *trx, void (*sequenced)(void *ctx), void *sequenced_ctx) {
    pthread_mutex_unlock(&trx->lock);
    int rc = trx_submit(trx, true, false);
    if (sequenced) sequenced(sequenced_ctx);
    if (!rc) {
        event_wait(&trx->delivered, XB_NEVER);
        rc = trx->result;
    }
    if (!rc) count_replicated(trx->rep, trx);
    pthread_mutex_lock(&trx->lock);
    return rc;
}
