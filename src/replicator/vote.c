/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inconsistency votes (spec 07 section 11, 05 section 15). Who could not apply a write set asks the group, inside the
 * commit gate, so that votes come in order, whether that is the general outcome. The one who is alone with his error
 * leaves; where all fail alike the seqno is marked as skipped and life goes on.
 *
 * gcs takes one own vote at a time, so votes wait here in a list.
 */
#include "replicator/internal.h"

#include <stdlib.h>

struct vote {
    struct member_task task;
    struct vote *next;
    struct replicator *rep;
    struct xb_uuid history;
    int64_t seqno, value; /* value 0: applied well here, nobody waits for the outcome */
    const void *text;
    size_t text_size;
    int result; /* 0 the group agrees, 1 it does not, negative errno */
    struct event decided;
};

/* ---- group thread ---- */

static void push_vote_item(struct replicator *rep, int64_t seqno, int64_t code) {
    struct item *item = item_new(ITEM_VOTE, 2 * sizeof(int64_t));
    if (!item) {
        node_leave(rep, "No memory for a vote");
        return;
    }
    item->as.value.seqno = seqno;
    item->as.value.code = code;
    order_push(rep, item, false);
}

/* The first vote is over. */
static void decide(struct replicator *rep, int result) {
    struct order *order = &rep->order;
    struct vote *vote = order->votes;
    order->votes = vote->next;
    order->is_voting = false;
    if (vote->value) {
        vote->result = result;
        event_set(&vote->decided);
        return;
    }
    if (result == 1) push_vote_item(rep, vote->seqno, -1); /* the others could not apply it */
    free(vote);
}

static void cast_next(struct replicator *rep) {
    struct order *order = &rep->order;
    while (order->votes && !order->is_voting) {
        struct vote *vote = order->votes;
        order->is_voting = true; /* the answer may come from inside the call */
        int rc = order->gcs ? gcs_vote(order->gcs, &vote->history, vote->seqno, vote->value, vote->text,
                                       vote->text_size, xb_clock_monotonic_ns())
                            : -ENOTCONN;
        if (rc) decide(rep, rc);
    }
}

static void run_vote(struct member_task *task, struct group *group, int64_t now_ns) {
    struct vote *vote = (struct vote *)((char *)task - offsetof(struct vote, task)), **last = &vote->rep->order.votes;
    (void)group;
    (void)now_ns;
    while (*last) last = &(*last)->next;
    *last = vote;
    cast_next(vote->rep);
}

void order_votes_end(struct replicator *rep, int result) {
    while (rep->order.votes) decide(rep, result);
}

void order_vote(struct replicator *rep, const struct gcs_action *action) {
    if (action->is_own_vote) {
        if (rep->order.is_voting) decide(rep, (int)action->code);
        cast_next(rep);
    } else if (action->code) {
        push_vote_item(rep, action->seqno, action->code);
    }
}

/* ---- appliers and clients ---- */

/* For people: the text without the zero bytes at its end. */
static int text_length(const void *text, size_t size) {
    const char *end = memchr(text, 0, size);
    size_t length = end ? (size_t)(end - (const char *)text) : size;
    return length < 400 ? (int)length : 400;
}

static int ask_group(struct replicator *rep, struct ordered *ordered, const void *text, size_t size) {
    struct vote vote = {.rep = rep,
                        .history = ordered->history,
                        .seqno = atomic_load(&ordered->seqno),
                        .text = text,
                        .text_size = size,
                        .task.run = run_vote};
    vote.value = gcs_vote_value(&vote.history, vote.seqno, text, size);
    event_init(&vote.decided);
    int rc = node_may_replicate(rep) ? link_post(&rep->link, &vote.task) : -ENOTCONN;
    if (rc) return rc;
    event_wait(&vote.decided, XB_NEVER);
    return vote.result;
}

int vote_on_error(struct replicator *rep, struct ordered *ordered, const void *text, size_t size) {
    int64_t seqno = atomic_load(&ordered->seqno);
    int length = text_length(text, size);
    if (atomic_load(&rep->is_corrupt)) return 1;
    if (ordered->is_from_ist) {
        node_leave_inconsistent(
            rep, "Inconsistency detected: Failed on preordered %s:%" PRId64 ", received by a state transfer:%.*s",
            XB_UUID_TEXT(&ordered->history), seqno, length, (const char *)text);
        return 1;
    }
    int rc = ask_group(rep, ordered, text, size);
    if (rc == 0) {
        xb_log_info(rep->log, "Write set %" PRId64 " failed on the other nodes as well: it is skipped", seqno);
        gcache_skip(rep->cache, seqno);
        return 0;
    }
    if (rc > 0)
        node_leave_inconsistent(rep,
                                "Inconsistency detected: Inconsistent by consensus on %s:%" PRId64
                                ": it failed on this node, not on the others:%.*s",
                                XB_UUID_TEXT(&ordered->history), seqno, length, (const char *)text);
    else
        node_leave_inconsistent(rep,
                                "Inconsistency detected: %s:%" PRId64 " failed and the group could not vote on it "
                                "(%s):%.*s",
                                XB_UUID_TEXT(&ordered->history), seqno, strerror(-rc), length, (const char *)text);
    return rc;
}

/* Another node asks about a seqno that was applied here: it has gone well. */
static void vote_for_success(struct replicator *rep, int64_t seqno) {
    struct vote *vote = calloc(1, sizeof(*vote));
    if (!vote) return;
    vote->rep = rep;
    vote->history = node_history(rep);
    vote->seqno = seqno;
    vote->task.run = run_vote;
    if (link_post(&rep->link, &vote->task)) free(vote);
}

void apply_vote(struct replicator *rep, struct item *item) {
    struct xb_uuid history = node_history(rep);
    int64_t seqno = item->as.value.seqno;
    gate_wait(&rep->apply, xb_earlier(seqno, item->position), XB_NEVER);
    if (atomic_load(&rep->is_corrupt)) return;
    if (item->as.value.code > 0)
        vote_for_success(rep, seqno);
    else
        node_leave_inconsistent(rep, "Vote 0 (success) on %s:%" PRId64 " is inconsistent with group. Leaving cluster",
                                XB_UUID_TEXT(&history), seqno);
}
