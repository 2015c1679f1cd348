/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The joiner's side of a state transfer (spec 07 sections 15 and 17). It runs inside the view that made it necessary,
 * in the applier that took the view, while the group thread keeps what is ordered and the other appliers help to apply
 * the increment. The certification index is ours meanwhile.
 *
 * A request names what this node has; the donor answers with an increment, or with a snapshot and the events that the
 * index needs. When a donor fails, or a stream breaks, and the server has a consistent position, the rest is asked for
 * again from another donor. Only when the server's own snapshot fails is there nothing left to do but to leave.
 */
#include "replicator/internal.h"
#include "replicator/request.h"

#include <stdio.h>
#include <stdlib.h>

#define JOINER_ATTEMPTS_MAX 10                   /* transfers that break, one after the other */
#define JOINER_RETRY_NS XB_SECOND                /* between requests that find no donor */
#define JOINER_DONOR_TIMEOUT_NS (60 * XB_SECOND) /* for a donor to show up at the IST port once we are ready */

struct joiner {
    struct replicator *rep;
    void *recv_ctx;
    const struct gcs_cchange *change; /* the view that needs it */
    void *sst;                        /* of the server; NULL: only an increment is possible */
    size_t sst_size;
    bool is_marked_unsafe;
    bool is_cache_reset;
    int64_t position; /* up to where the server has the state */
    struct ist_receiver *receiver;
};

void transfer_init(struct replicator *rep) {
    pthread_condattr_t attributes;
    pthread_mutex_init(&rep->transfer.lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&rep->transfer.changed, &attributes);
    pthread_condattr_destroy(&attributes);
}

void transfer_destroy(struct replicator *rep) {
    pthread_cond_destroy(&rep->transfer.changed);
    pthread_mutex_destroy(&rep->transfer.lock);
}

void transfer_reset(struct replicator *rep) {
    struct transfer *transfer = &rep->transfer;
    pthread_mutex_lock(&transfer->lock);
    transfer->is_over = transfer->is_sst_received = transfer->is_sst_wanted = false;
    transfer->refusal = 0;
    pthread_mutex_unlock(&transfer->lock);
    atomic_store(&rep->transfer_state, TRANSFER_NONE);
}

void transfer_end(struct replicator *rep) {
    pthread_mutex_lock(&rep->transfer.lock);
    rep->transfer.is_over = true;
    pthread_cond_broadcast(&rep->transfer.changed);
    pthread_mutex_unlock(&rep->transfer.lock);
    queue_transfer_finish(&rep->queue);
}

void transfer_refused(struct replicator *rep, int code) {
    pthread_mutex_lock(&rep->transfer.lock);
    rep->transfer.refusal = code;
    pthread_cond_broadcast(&rep->transfer.changed);
    pthread_mutex_unlock(&rep->transfer.lock);
    queue_transfer_finish(&rep->queue);
}

static bool is_membership_over(struct replicator *rep) {
    pthread_mutex_lock(&rep->transfer.lock);
    bool is_over = rep->transfer.is_over;
    pthread_mutex_unlock(&rep->transfer.lock);
    return is_over || atomic_load(&rep->is_failed);
}

/* The server may be faster than the donor's answer, so it counts from the request on. */
enum replicator_status replicator_sst_received(struct replicator *rep, const struct replicator_gtid *state, int code) {
    struct transfer *transfer = &rep->transfer;
    pthread_mutex_lock(&transfer->lock);
    bool is_wanted = transfer->is_sst_wanted && !transfer->is_sst_received;
    if (is_wanted) {
        transfer->is_sst_received = true;
        transfer->sst = *state;
        if (code < 0) transfer->sst = (struct replicator_gtid){xb_uuid_nil, -1};
        pthread_cond_broadcast(&transfer->changed);
    }
    pthread_mutex_unlock(&transfer->lock);
    if (is_wanted) return REPLICATOR_OK;
    xb_log_error(rep->log, "The server says that it has received a state, but none is expected");
    return REPLICATOR_CONN_FAIL;
}

/* ------------------------------------------------------- the increment, in the receiver's thread (section 17.5) */

static int define_index(struct replicator *rep, int64_t seqno, int version) {
    return certify_position(rep->certify) < 0 ? certify_assign_position(rep->certify, seqno - 1, version) : 0;
}

static struct item *new_transferred(struct replicator *rep, const struct ist_event *event) {
    struct item *item = item_new(ITEM_WRITESET, (int64_t)event->size);
    if (!item) return NULL;
    struct ordered *ordered = &item->as.ordered;
    *ordered = (struct ordered){.kind = HANDLE_ORDERED,
                                .stage = ORDERED_CERTIFIED,
                                .depends = event->seqno - 1,
                                .flags = WRITESET_ROLLBACK,
                                .is_from_ist = true,
                                .nbo_ended = -1,
                                .trx = REPLICATOR_ID_UNDEFINED,
                                .conn = REPLICATOR_ID_UNDEFINED,
                                .history = rep->transfer.history};
    atomic_store(&ordered->seqno, event->seqno);
    return item;
}

static int push(struct replicator *rep, struct item *item) {
    int64_t seqno = item->type == ITEM_VIEW ? item->as.view.change.seqno : atomic_load(&item->as.ordered.seqno);
    int rc = queue_transfer_push(&rep->queue, item);
    if (!rc) {
        pthread_mutex_lock(&rep->transfer.lock);
        rep->transfer.last_pushed = seqno;
        pthread_mutex_unlock(&rep->transfer.lock);
        return 0;
    }
    if (item->type == ITEM_VIEW) view_item_free(rep, item);
    item_free(item);
    return rc;
}

static int preload(struct replicator *rep, const struct ist_event *event, const struct writeset *ws) {
    struct certify_result result;
    struct xb_error error;
    bool is_nbo = writeset_flags_are_nbo_start(ws->header.flags) || writeset_flags_are_nbo_end(ws->header.flags);
    if (is_nbo && !event->is_applied) return certify_placeholder(rep->certify, event->seqno);
    int rc = certify_writeset(rep->certify, ws, event->seqno, CERTIFY_FROM_IST, &result, &error);
    if (rc) xb_log_error(rep->log, "IST: write set %" PRId64 ": %s", event->seqno, error.text);
    bool is_good = result.is_passed || writeset_flags_are_nbo_end(ws->header.flags);
    return rc || is_good ? rc : -EPROTO;
}

static int receive_writeset(struct replicator *rep, const struct ist_event *event) {
    struct writeset ws;
    struct xb_error error;
    if (!event->is_applied && !event->is_preload) return 0; /* for the history only */
    int rc = writeset_read(&ws, event->buf, event->size, &error);
    if (!rc) rc = writeset_check(&ws, &error);
    if (rc) {
        xb_log_error(rep->log, "IST: write set %" PRId64 ": %s", event->seqno, error.text);
        return rc;
    }
    rc = define_index(rep, event->seqno, ws.header.version);
    if (!rc && event->is_preload) rc = preload(rep, event, &ws);
    if (rc || !event->is_applied) return rc;
    struct item *item = new_transferred(rep, event);
    if (!item) return -ENOMEM;
    struct ordered *ordered = &item->as.ordered;
    ordered->depends = writeset_certified_depends(&ws.header);
    ordered->flags = ws.header.flags & WRITESET_TRX_FLAGS;
    ordered->is_passed = true;
    ordered->source = ws.header.source;
    ordered->trx = ws.header.transaction_id;
    ordered->conn = ws.header.connection_id;
    ordered->data = ws.data.data;
    ordered->data_size = ws.data.size;
    ordered->unordered = ws.unordered.data;
    ordered->unordered_size = ws.unordered.size;
    return push(rep, item);
}

static int receive_skip(struct replicator *rep, const struct ist_event *event) {
    int rc = 0;
    if (event->is_preload && certify_position(rep->certify) >= 0) rc = certify_placeholder(rep->certify, event->seqno);
    if (rc || !event->is_applied) return rc;
    struct item *item = new_transferred(rep, event);
    return item ? push(rep, item) : -ENOMEM;
}

static int receive_change(struct replicator *rep, const struct ist_event *event) {
    struct xb_error error;
    if (!event->is_applied && !event->is_preload) return 0;
    struct item *item = item_new(ITEM_VIEW, (int64_t)event->size);
    if (!item) return -ENOMEM;
    struct view_item *view = &item->as.view;
    int rc = gcs_cchange_decode(&view->change, event->buf, event->size, &error);
    if (!rc && view->change.seqno != event->seqno)
        rc = xb_fail(&error, -EPROTO, "it says %" PRId64, view->change.seqno);
    if (rc) {
        xb_log_error(rep->log, "IST: configuration change %" PRId64 ": %s", event->seqno, error.text);
        item_free(item);
        return rc;
    }
    view->is_in_history = view->is_from_ist = true;
    view->own_index = -1;
    rc = define_index(rep, event->seqno, writeset_version_of_protocol(view->change.repl_version));
    if (!rc) rc = certify_view(rep, &view->change);
    if (!rc && event->is_applied) return push(rep, item);
    view_item_free(rep, item);
    item_free(item);
    return rc;
}

static int ist_event(void *ctx, const struct ist_event *event) {
    struct replicator *rep = ctx;
    if (is_membership_over(rep)) return -ECANCELED;
    switch (event->type) {
    case IST_TRX:
        return receive_writeset(rep, event);
    case IST_SKIP:
        return receive_skip(rep, event);
    case IST_CCHANGE:
        return receive_change(rep, event);
    }
    return -EPROTO;
}

static void ist_end(void *ctx, int result, int64_t last, const struct xb_error *error) {
    struct replicator *rep = ctx;
    struct transfer *transfer = &rep->transfer;
    (void)last;
    pthread_mutex_lock(&transfer->lock);
    transfer->ist_result = result;
    snprintf(transfer->ist_error, sizeof(transfer->ist_error), "%s", error ? error->text : "");
    pthread_cond_broadcast(&transfer->changed);
    pthread_mutex_unlock(&transfer->lock);
    queue_transfer_finish(&rep->queue);
}

static void ist_progress(void *ctx, int64_t total, int64_t done) {
    node_report_progress(ctx, 1, 3, total, done);
}

static const char *ist_refusal(void *ctx, const char *host) {
    struct replicator *rep = ctx;
    return rep->callbacks.refusal ? rep->callbacks.refusal(rep->callbacks.ctx, host) : NULL;
}

static int open_receiver(struct joiner *joiner, struct xb_error *error) {
    struct replicator *rep = joiner->rep;
    char recv_addr[256], recv_bind[256], base_host[256];
    xb_options_text(rep->options, "ist.recv_addr", recv_addr, sizeof(recv_addr));
    xb_options_text(rep->options, "ist.recv_bind", recv_bind, sizeof(recv_bind));
    xb_options_text(rep->options, "base_host", base_host, sizeof(base_host));
    struct tls_context *tls = node_tls(rep);
    struct ist_receiver_config config = {
        .recv_addr = recv_addr,
        .recv_bind = recv_bind,
        .base_host = base_host,
        .base_port = (int)xb_options_integer(rep->options, "base_port"),
        .tls = tls,
        .is_dynamic = xb_options_bool(rep->options, "socket.dynamic"),
        .version = joiner->change->repl_version,
        .cache = rep->cache,
        .last_needed = joiner->change->seqno,
        .donor_timeout_ns = JOINER_DONOR_TIMEOUT_NS,
        .isolation = rep->isolation,
    };
    struct ist_receiver_io io = {
        .ctx = rep, .refusal = ist_refusal, .event = ist_event, .progress = ist_progress, .end = ist_end};
    joiner->receiver = ist_receiver_open(&config, &io, rep->log, error);
    tls_context_unref(tls);
    return joiner->receiver ? 0 : error->code;
}

/* --------------------------------------------------------------------------------------------- the request */

struct request_task {
    struct member_task task;
    struct gcs_submission submission;
    struct iovec part;
    struct event answered;
    int result;
};

static void request_done(struct gcs_submission *submission, int result, const struct gcs_action *action) {
    struct request_task *request = submission->ctx;
    (void)action;
    request->result = result;
    event_set(&request->answered);
}

static void run_request(struct member_task *task, struct group *group, int64_t now_ns) {
    struct request_task *request = (struct request_task *)((char *)task - offsetof(struct request_task, task));
    gcs_submit(group_gcs(group), &request->submission, now_ns);
}

static uint8_t *encode_request(struct joiner *joiner, size_t *size) {
    struct replicator *rep = joiner->rep;
    struct xb_uuid history = node_history(rep);
    bool is_same = xb_uuid_equal(&history, &joiner->change->group_uuid);
    char text[IST_PART_SIZE];
    struct ist_part ist = {history, is_same ? node_last_committed(rep) : -1, joiner->change->seqno,
                           ist_receiver_address(joiner->receiver)};
    if (ist_part_format(&ist, text)) return NULL;
    pthread_mutex_lock(&rep->identity_lock);
    struct state_request request = {.donors = rep->donor ? rep->donor : "",
                                    .history = history,
                                    .last_applied = ist.last_applied,
                                    .sst = joiner->sst,
                                    .sst_size = joiner->sst_size,
                                    .ist = text};
    uint8_t *bytes = state_request_encode(&request, size);
    pthread_mutex_unlock(&rep->identity_lock);
    return bytes;
}

/* -> index of the donor or negative errno */
static int request_once(struct joiner *joiner) {
    struct request_task request = {.task.run = run_request};
    size_t size;
    uint8_t *bytes = encode_request(joiner, &size);
    if (!bytes) return -ENOMEM;
    request.part = (struct iovec){bytes, size};
    request.submission = (struct gcs_submission){
        .type = GCS_STATE_REQ, .parts = &request.part, .part_count = 1, .done = request_done, .ctx = &request};
    event_init(&request.answered);
    int rc = link_post(&joiner->rep->link, &request.task);
    if (!rc) {
        event_wait(&request.answered, XB_NEVER);
        rc = request.result;
    }
    free(bytes);
    return rc;
}

/* With the lock held: waits until something of the transfer changes, or the time is over. */
static void wait_for_change(struct transfer *transfer, int64_t timeout_ns) {
    int64_t at_ns = xb_clock_monotonic_ns() + timeout_ns;
    struct timespec at = {.tv_sec = at_ns / XB_SECOND, .tv_nsec = at_ns % XB_SECOND};
    pthread_cond_timedwait(&transfer->changed, &transfer->lock, &at);
}

static void wait_before_retry(struct replicator *rep) {
    pthread_mutex_lock(&rep->transfer.lock);
    int64_t end_ns = xb_clock_monotonic_ns() + JOINER_RETRY_NS;
    for (int64_t left; !rep->transfer.is_over && (left = end_ns - xb_clock_monotonic_ns()) > 0;)
        wait_for_change(&rep->transfer, left);
    pthread_mutex_unlock(&rep->transfer.lock);
}

static int request_transfer(struct joiner *joiner) {
    struct replicator *rep = joiner->rep;
    bool is_told = false;
    for (;;) {
        int rc = is_membership_over(rep) ? -ECANCELED : request_once(joiner);
        if (rc >= 0) {
            xb_log_info(rep->log, "State transfer requested, donor: %d", rc);
            return 0;
        }
        if ((rc != -EAGAIN && rc != -ENOTCONN) || is_membership_over(rep)) return rc;
        if (!is_told)
            xb_log_info(rep->log, "No donor is available for a state transfer yet (%s); asking again every second",
                        strerror(-rc));
        is_told = true;
        wait_before_retry(rep);
    }
}

/* --------------------------------------------------------------------------------------------- the snapshot */

/* -> 0: *sst is what the server has now; negative errno */
static int wait_for_snapshot(struct joiner *joiner, struct replicator_gtid *sst) {
    struct transfer *transfer = &joiner->rep->transfer;
    int rc = 0;
    pthread_mutex_lock(&transfer->lock);
    while (!transfer->is_sst_received && !transfer->is_over && !transfer->refusal)
        pthread_cond_wait(&transfer->changed, &transfer->lock);
    if (transfer->is_sst_received)
        *sst = transfer->sst;
    else
        rc = transfer->is_over ? -ECANCELED : transfer->refusal;
    transfer->is_sst_wanted = false;
    pthread_mutex_unlock(&transfer->lock);
    return rc;
}

static bool is_trivial(const struct joiner *joiner) {
    const struct state_container container = {.sst = joiner->sst, .sst_size = joiner->sst_size};
    return state_container_is_trivial(&container);
}

/* The server has another state now (or says that it needs none): history, gates and saved state follow. */
static void install_position(struct joiner *joiner, int64_t seqno) {
    struct replicator *rep = joiner->rep;
    const struct xb_uuid *history = &joiner->change->group_uuid;
    if (!joiner->is_cache_reset && seqno != node_last_committed(rep)) gcache_reset(rep->cache, history, seqno);
    node_set_history(rep, history);
    gate_set_position(&rep->apply, -1);
    gate_set_position(&rep->commit, -1);
    gate_set_position(&rep->apply, seqno);
    gate_set_position(&rep->commit, seqno);
    joiner->position = seqno;
    if (state_file_is_corrupt(rep->state_file)) {
        state_file_mark_restored(rep->state_file, history, -1);
    } else {
        state_file_set_position(rep->state_file, history, -1);
        state_file_mark_safe(rep->state_file);
    }
    joiner->is_marked_unsafe = false;
    atomic_store(&rep->awaits_snapshot, false);
    xb_log_info(rep->log, "SST received: %s:%" PRId64, XB_UUID_TEXT(history), seqno);
}

static int receive_snapshot(struct joiner *joiner) {
    struct replicator *rep = joiner->rep;
    struct replicator_gtid sst = {joiner->change->group_uuid, joiner->change->seqno};
    int rc = is_trivial(joiner) ? 0 : wait_for_snapshot(joiner, &sst);
    if (rc == -ECANCELED && is_membership_over(rep)) return rc;
    if (rc) {
        /* "Will never ... abort": what monitoring and test suites know from the stock provider */
        node_leave(rep, "Will never receive state. Need to abort: The donor failed to send its state: %s",
                   strerror(-rc));
    } else if (!xb_uuid_equal(&sst.uuid, &joiner->change->group_uuid) || sst.seqno < 0) {
        node_leave(rep, "The state transfer has failed: the server received %s:%" PRId64 " instead of history %s",
                   XB_UUID_TEXT(&sst.uuid), sst.seqno, XB_UUID_TEXT(&joiner->change->group_uuid));
        rc = -EREMCHG;
    } else {
        install_position(joiner, sst.seqno);
    }
    if (rc) atomic_store(&rep->transfer_state, TRANSFER_FAILED);
    return rc;
}

/* ------------------------------------------------------------------------------------------------ a transfer */

static void apply_transferred(struct joiner *joiner) {
    struct item *item;
    bool exit_loop = false;
    while ((item = queue_transfer_pop(&joiner->rep->queue)))
        apply_item(joiner->rep, joiner->recv_ctx, item, &exit_loop);
}

/* Takes the stream, to its end or until it is clear that there will be none. -> 0; -ECANCELED: the membership is over;
 * other negative errno: the rest may be asked for again, the position is where the server is */
static int receive_increment(struct joiner *joiner) {
    struct replicator *rep = joiner->rep;
    struct transfer *transfer = &rep->transfer;
    ist_receiver_start(joiner->receiver, joiner->position + 1);
    apply_transferred(joiner);
    queue_transfer_end(&rep->queue);
    ist_receiver_close(joiner->receiver);
    joiner->receiver = NULL;
    apply_transferred(joiner); /* what came while it was being closed */
    pthread_mutex_lock(&transfer->lock);
    int rc = transfer->ist_result;
    int64_t last = transfer->last_pushed;
    bool is_over = transfer->is_over || (rc && atomic_load(&rep->is_failed));
    if (is_over)
        rc = -ECANCELED;
    else if (rc == -ECANCELED) /* by us, since the donor has refused */
        rc = -EINTR;
    if (rc && !is_over)
        xb_log_warning(rep->log, "Receiving IST failed: %s",
                       transfer->refusal ? strerror(-transfer->refusal) : transfer->ist_error);
    pthread_mutex_unlock(&transfer->lock);
    if (last > joiner->position) { /* all that was pushed is being applied, by us or by another applier */
        gate_wait(&rep->apply, last, XB_NEVER);
        joiner->position = last;
    }
    return rc;
}

struct handover_task {
    struct member_task task;
    struct replicator *rep;
    const struct gcs_cchange *change;
    int64_t position;
    int code; /* 0: the state is here; negative errno: the transfer is given up, to be asked for again */
};

/* Group thread: the index comes back, and what was ordered meanwhile is taken up. */
static void run_handover(struct member_task *task, struct group *group, int64_t now_ns) {
    struct handover_task *handover = (struct handover_task *)((char *)task - offsetof(struct handover_task, task));
    struct replicator *rep = handover->rep;
    struct order *order = &rep->order;
    if (!handover->code) {
        order->history = handover->change->group_uuid;
        order->position = order->transfer_position = handover->position;
        order->repl_version = handover->change->repl_version;
        order->purged = -1;
        order->is_transferring = false;
    }
    gcs_join(group_gcs(group), &handover->change->group_uuid, handover->position, handover->code, now_ns);
    if (!handover->code) backlog_work(rep);
}

static int hand_over(struct joiner *joiner, int code) {
    struct handover_task handover = {.task.run = run_handover,
                                     .rep = joiner->rep,
                                     .change = joiner->change,
                                     .position = joiner->position,
                                     .code = code};
    return link_call(&joiner->rep->link, &handover.task);
}

/* Tells the group that this transfer is over without success, and waits until all know it: then this node may ask
 * again. -> 0 or -ECANCELED */
static int give_up(struct joiner *joiner) {
    struct transfer *transfer = &joiner->rep->transfer;
    if (hand_over(joiner, -EINTR)) return -ECANCELED;
    pthread_mutex_lock(&transfer->lock);
    while (!transfer->refusal && !transfer->is_over) pthread_cond_wait(&transfer->changed, &transfer->lock);
    int rc = transfer->is_over ? -ECANCELED : 0;
    pthread_mutex_unlock(&transfer->lock);
    return rc;
}

static void begin_attempt(struct joiner *joiner) {
    struct replicator *rep = joiner->rep;
    struct transfer *transfer = &rep->transfer;
    pthread_mutex_lock(&transfer->lock);
    transfer->refusal = 0;
    transfer->last_pushed = -1;
    transfer->is_sst_received = false; /* that of an earlier transfer is not where the server is now */
    transfer->is_sst_wanted = joiner->sst_size > 0;
    transfer->history = joiner->change->group_uuid;
    pthread_mutex_unlock(&transfer->lock);
    pthread_mutex_lock(&rep->identity_lock);
    rep->bounds = (struct donor_bounds){-1, -1, -1};
    pthread_mutex_unlock(&rep->identity_lock);
    certify_reset(rep->certify);
    queue_transfer_begin(&rep->queue);
}

static void end_attempt(struct joiner *joiner) {
    queue_transfer_end(&joiner->rep->queue);
    ist_receiver_close(joiner->receiver);
    joiner->receiver = NULL;
    apply_transferred(joiner);
}

static void prepare_history(struct joiner *joiner) {
    struct replicator *rep = joiner->rep;
    struct xb_uuid history = node_history(rep);
    if (xb_uuid_equal(&history, &joiner->change->group_uuid)) return;
    gcache_reset(rep->cache, &joiner->change->group_uuid, joiner->change->seqno);
    joiner->is_cache_reset = true;
}

/* -> 0 the state is here, -EAGAIN the rest is to be asked for again, other negative errno: over */
static int transfer_once(struct joiner *joiner) {
    struct replicator *rep = joiner->rep;
    struct xb_error error;
    if (open_receiver(joiner, &error)) {
        node_leave(rep, "Cannot listen for a state transfer: %s", error.text);
        return -EINVAL;
    }
    if (joiner->sst_size && !joiner->is_marked_unsafe) {
        state_file_mark_unsafe(rep->state_file);
        joiner->is_marked_unsafe = true;
    }
    int rc = request_transfer(joiner);
    if (rc) {
        atomic_store(&rep->transfer_state, TRANSFER_REQUEST_FAILED);
        if (joiner->is_marked_unsafe) state_file_mark_safe(rep->state_file); /* nothing has been changed */
        joiner->is_marked_unsafe = false;
        if (!is_membership_over(rep)) node_leave(rep, "The state transfer request was refused: %s", strerror(-rc));
        return rc;
    }
    node_set_state(rep, NODE_JOINING);
    atomic_store(&rep->transfer_state, TRANSFER_WAIT);
    prepare_history(joiner);
    if (joiner->sst_size) {
        rc = receive_snapshot(joiner);
        if (rc) return rc;
        joiner->sst_size = 0; /* the server is running now: from here on increments do */
    } else {
        joiner->position = node_last_committed(rep);
        state_file_set_position(rep->state_file, &joiner->change->group_uuid, -1);
    }
    rc = receive_increment(joiner);
    return !rc ? 0 : rc == -ECANCELED ? rc : -EAGAIN;
}

/* A donor that says it cannot (its history does not reach back, and the server takes no snapshot any more) is final. */
static bool is_hopeless(struct replicator *rep) {
    pthread_mutex_lock(&rep->transfer.lock);
    int refusal = rep->transfer.refusal;
    pthread_mutex_unlock(&rep->transfer.lock);
    if (refusal != -ECANCELED && refusal != -ENOMSG) return false;
    node_leave(rep, "No donor has the history that this node lacks, and a running server cannot take a snapshot: "
                    "restart it");
    return true;
}

static int run_transfer(struct joiner *joiner) {
    struct replicator *rep = joiner->rep;
    for (int attempt = 1;; attempt++) {
        begin_attempt(joiner);
        int rc = transfer_once(joiner);
        end_attempt(joiner);
        if (rc != -EAGAIN) return rc;
        if (is_hopeless(rep)) return -ENOMSG;
        if (attempt == JOINER_ATTEMPTS_MAX) {
            node_leave(rep, "%d state transfers in a row have failed", attempt);
            return -EIO;
        }
        rc = give_up(joiner);
        if (rc) return rc;
        node_set_state(rep, NODE_CONNECTED);
        wait_before_retry(rep);
        xb_log_info(rep->log, "Asking for the state from %" PRId64 " on again", joiner->position + 1);
    }
}

/* -> 0 and the server's request in the joiner; else this node leaves */
static int get_request(struct joiner *joiner) {
    struct replicator *rep = joiner->rep;
    struct xb_uuid history = node_history(rep);
    bool is_same = xb_uuid_equal(&history, &joiner->change->group_uuid) && node_last_committed(rep) >= 0;
    struct certify_stats stats;
    atomic_store(&rep->awaits_snapshot, true);
    if (rep->callbacks.sst_request(rep->callbacks.ctx, &joiner->sst, &joiner->sst_size)) {
        node_leave(rep, "SST request callback failed. This is unrecoverable, restart required: The server could not "
                        "prepare to receive a state");
        return -ECANCELED;
    }
    certify_get_stats(rep->certify, &stats);
    if (stats.nbo_count) joiner->sst_size = 0; /* its data is in the midst of an operation */
    if (!joiner->sst_size) atomic_store(&rep->awaits_snapshot, false);
    if (joiner->sst_size || is_same) return 0;
    node_leave(rep, "A full state transfer is needed, but the server is running already: restart it");
    return -ECANCELED;
}

void joiner_run(struct replicator *rep, void *recv_ctx, struct item *item) {
    struct joiner joiner = {.rep = rep, .recv_ctx = recv_ctx, .change = &item->as.view.change};
    struct xb_uuid history = node_history(rep);
    if (node_get_state(rep) > NODE_CONNECTED) node_set_state(rep, NODE_CONNECTED);
    xb_log_info(rep->log, "State transfer required:\n\tGroup state: %s:%" PRId64 "\n\tLocal state: %s:%" PRId64,
                XB_UUID_TEXT(&joiner.change->group_uuid), joiner.change->seqno, XB_UUID_TEXT(&history),
                node_last_committed(rep));
    int rc = get_request(&joiner);
    if (!rc) rc = run_transfer(&joiner);
    if (!rc) {
        atomic_store(&rep->repl_version, joiner.change->repl_version);
        atomic_store(&rep->transfer_state, TRANSFER_JOIN_SENT);
        hand_over(&joiner, 0);
    }
    free(joiner.sst);
}
