/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Causal reads (spec 01 section 18, 07 section 8.10): ask for a position of the group that includes everything
 * committed anywhere before the call, then wait until it has been committed here. A reader that gives up leaves its
 * question to the answer that is still to come.
 */
#include "replicator/internal.h"

#include <stdlib.h>

struct question {
    struct member_task task;
    _Atomic(int) refs; /* the reader's and the answer's */
    struct event answered;
    int result;
    struct replicator_gtid position;
};

static void question_unref(struct question *question) {
    if (atomic_fetch_sub(&question->refs, 1) == 1) free(question);
}

static void run_question(struct member_task *task, struct group *group, int64_t now_ns) {
    gcs_causal(group_gcs(group), (struct question *)((char *)task - offsetof(struct question, task)), now_ns);
}

void order_causal(void *ctx, void *token, int result, const struct xb_uuid *history, int64_t seqno) {
    struct question *question = token;
    (void)ctx;
    question->result = result;
    if (!result) question->position = (struct replicator_gtid){*history, seqno};
    event_set(&question->answered);
    question_unref(question);
}

static int ask(struct replicator *rep, int64_t deadline_ns, struct replicator_gtid *position) {
    struct question *question = calloc(1, sizeof(*question));
    if (!question) return -ENOMEM;
    atomic_init(&question->refs, 2);
    question->task.run = run_question;
    int rc = link_post(&rep->link, &question->task);
    if (rc) {
        free(question);
        return rc;
    }
    rc = event_wait(&question->answered, deadline_ns);
    if (!rc) rc = question->result;
    if (!rc) *position = question->position;
    question_unref(question);
    return rc;
}

static int64_t deadline_of(struct replicator *rep, int timeout_s) {
    int64_t timeout_ns = timeout_s < 0 ? xb_options_period_ns(rep->options, "repl.causal_read_timeout")
                                       : timeout_s * XB_SECOND; /* 2^31 seconds fit */
    return xb_clock_monotonic_ns() + timeout_ns;
}

enum replicator_status replicator_sync_wait(struct replicator *rep, const struct replicator_gtid *upto, int timeout_s,
                                            struct replicator_gtid *reached) {
    int64_t deadline_ns = deadline_of(rep, timeout_s);
    struct replicator_gtid target = upto ? *upto : (struct replicator_gtid){xb_uuid_nil, -1};
    if (!upto && ask(rep, deadline_ns, &target)) return REPLICATOR_TRX_FAIL;
    struct xb_uuid history = node_history(rep);
    if (!xb_uuid_equal(&history, &target.uuid)) return REPLICATOR_TRX_MISSING;
    if (gate_wait(&rep->apply, target.seqno, deadline_ns)) return REPLICATOR_TRX_FAIL;
    history = node_history(rep); /* gone if this node turned out to be wrong meanwhile */
    if (!xb_uuid_equal(&history, &target.uuid)) return REPLICATOR_TRX_MISSING;
    if (reached) *reached = replicator_last_committed(rep);
    atomic_fetch_add_explicit(&rep->counters.causal_reads, 1, memory_order_relaxed);
    return REPLICATOR_OK;
}
