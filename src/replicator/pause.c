/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pausing and desync (spec 01 section 19, 07 section 10).
 *
 * Paused, the node stands at a consistent point: everything up to one seqno is committed, nothing above has begun to.
 * The group goes on, and so does certification, since neither touches data: what is above waits at the gates. Views and
 * the other things that appliers process alone wait as well, for they share one right with the pause: to be alone.
 */
#include "replicator/internal.h"

void exclusive_begin(struct replicator *rep) {
    pthread_mutex_lock(&rep->pause_lock);
    while (rep->is_exclusive) pthread_cond_wait(&rep->pause_changed, &rep->pause_lock);
    rep->is_exclusive = true;
    pthread_mutex_unlock(&rep->pause_lock);
}

void exclusive_end(struct replicator *rep) {
    pthread_mutex_lock(&rep->pause_lock);
    rep->is_exclusive = false;
    pthread_cond_signal(&rep->pause_changed);
    pthread_mutex_unlock(&rep->pause_lock);
}

/*
 * For what appliers process alone. The queue is suspended then, and a local transaction above may have entered the
 * apply gate although write sets before it still are in the queue: to wait for it would be to wait for ever. So the
 * line is drawn at the commit gate, where order is strict: what has entered there finishes, what is above stays
 * outside.
 */
int64_t quiet_begin(struct replicator *rep, int64_t position) {
    int64_t seqno = gate_hold(&rep->commit, position);
    if (!atomic_load(&rep->is_corrupt)) gate_wait(&rep->apply, seqno, XB_NEVER);
    return seqno;
}

void quiet_end(struct replicator *rep) {
    gate_release(&rep->commit);
}

/* For a pause: what appliers have begun is finished, and they begin nothing above it. A local transaction above may be
 * in, with its locks, and waits to commit; it cannot be waited for, since the queue may be suspended behind this pause
 * with write sets before it. */
static int64_t pause_begin(struct replicator *rep) {
    int64_t seqno = gate_hold(&rep->apply, node_last_committed(rep));
    seqno = gate_hold(&rep->commit, seqno);
    if (!atomic_load(&rep->is_corrupt)) gate_wait(&rep->apply, seqno, XB_NEVER);
    return seqno;
}

static void pause_end(struct replicator *rep) {
    gate_release(&rep->commit);
    gate_release(&rep->apply);
}

int64_t replicator_pause(struct replicator *rep) {
    exclusive_begin(rep);
    if (atomic_load(&rep->is_corrupt) || node_get_state(rep) == NODE_CLOSED) {
        exclusive_end(rep);
        return -1;
    }
    atomic_store(&rep->is_paused, true);
    int64_t seqno = pause_begin(rep);
    struct xb_uuid history = node_history(rep);
    state_file_set_position(rep->state_file, &history, seqno);
    xb_log_info(rep->log, "Provider paused at %s:%" PRId64 " (%" PRId64 ")", XB_UUID_TEXT(&history), seqno, seqno);
    return seqno;
}

enum replicator_status replicator_resume(struct replicator *rep) {
    if (!atomic_exchange(&rep->is_paused, false)) {
        xb_log_warning(rep->log, "Resume: the provider is not paused");
        return REPLICATOR_OK;
    }
    xb_log_info(rep->log, "resuming provider at %" PRId64, node_last_committed(rep));
    struct xb_uuid history = node_history(rep);
    state_file_set_position(rep->state_file, &history, -1);
    pause_end(rep);
    exclusive_end(rep);
    xb_log_info(rep->log, "Provider resumed.");
    return REPLICATOR_OK;
}

/* ---- desync: a state request to oneself ---- */

struct desync {
    struct member_task task;
    struct gcs_submission submission;
    struct replicator *rep;
    struct iovec part;
    struct item *item; /* made before, so that it cannot fail in its place of the order */
    struct event done;
    int result;
};

static const uint8_t desync_request[] = {/* spec 07 section 25.7 */
                                         's', 'e', 'l', 'f', '-',  'd',  'e',  's',  'y',  'n',  'c',  0,    'V',
                                         2,   0,   0,   0,   0,    0,    0,    0,    0,    0,    0,    0,    0,
                                         0,   0,   0,   0,   0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0};

static void desync_done(struct gcs_submission *submission, int result, const struct gcs_action *action) {
    struct desync *desync = submission->ctx;
    (void)action;
    desync->result = result < 0 ? result : 0;
    if (result < 0) {
        event_set(&desync->done);
        return;
    }
    struct item *item = desync->item;
    desync->item = NULL;
    order_take_item(desync->rep, item); /* the state changes in order, then the caller goes on */
}

static void run_desync(struct member_task *task, struct group *group, int64_t now_ns) {
    struct desync *desync = (struct desync *)((char *)task - offsetof(struct desync, task));
    gcs_submit(group_gcs(group), &desync->submission, now_ns);
}

enum replicator_status replicator_desync(struct replicator *rep) {
    struct desync desync = {
        .task.run = run_desync,
        .rep = rep,
        .part = {(void *)desync_request, sizeof(desync_request)},
        .item = item_new(ITEM_DESYNC, 0),
    };
    desync.submission = (struct gcs_submission){
        .type = GCS_STATE_REQ, .parts = &desync.part, .part_count = 1, .done = desync_done, .ctx = &desync};
    if (!desync.item) return REPLICATOR_TRX_FAIL;
    event_init(&desync.done);
    desync.item->as.desync.done = &desync.done;
    desync.item->as.desync.result = &desync.result;
    int rc = link_post(&rep->link, &desync.task);
    if (!rc) {
        event_wait(&desync.done, XB_NEVER);
        rc = desync.result;
    }
    if (!rc) return REPLICATOR_OK;
    item_free(desync.item);
    xb_log_warning(rep->log, "Desync failed: %s", strerror(-rc));
    return REPLICATOR_TRX_FAIL;
}

struct resync {
    struct member_task task;
    struct replicator_gtid position;
};

static void run_resync(struct member_task *task, struct group *group, int64_t now_ns) {
    struct resync *resync = (struct resync *)((char *)task - offsetof(struct resync, task));
    /* Who has been out of the group meanwhile is desynced no more: nothing to do. */
    gcs_join_as_donor(group_gcs(group), &resync->position.uuid, resync->position.seqno, 0, now_ns);
}

enum replicator_status replicator_resync(struct replicator *rep) {
    struct resync resync = {.task.run = run_resync, .position = {node_history(rep), gate_last_left(&rep->commit)}};
    return link_call(&rep->link, &resync.task) ? REPLICATOR_NODE_FAIL : REPLICATOR_OK;
}
