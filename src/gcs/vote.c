/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * VOTE: is the failure of a write set general or this node's own (spec 05 section 15)?
 *
 * The own vote ends with an action that has is_own_vote, exactly once: by a result, by a configuration change (section
 * 7.6 step 1), or with the connection. A vote that a view change swallowed is sent again.
 */
#include "gcs/core.h"

#include "base/hash.h"

#define VALUE_REQUEST 1
#define FAILURE_BIT (UINT64_C(1) << 63)

int64_t gcs_vote_value(const struct xb_uuid *group_uuid, int64_t seqno, const void *text, size_t text_size) {
    uint8_t fixed[32];
    struct xb_writer w = xb_writer_init(fixed, sizeof(fixed));
    xb_write_uuid(&w, group_uuid);
    xb_write_i64(&w, seqno);
    xb_write_u64(&w, UINT64_MAX); /* error code, always this for an apply error */
    struct xb_murmur128 hash;
    xb_murmur128_init(&hash);
    xb_murmur128_update(&hash, fixed, sizeof(fixed));
    xb_murmur128_update(&hash, text, text_size);
    struct xb_hash128 result = xb_murmur128_final(&hash);
    return (int64_t)(xb_load_le(result.bytes, 8) | FAILURE_BIT);
}

/* In a state exchange, and while quorum is lost, what counts is how far this node was. */
static bool has_joined(const struct gcs *gcs) {
    if (gcs->group_state == GCS_PRIMARY) return gcs->versions.gcs >= 1 && gcs_own_state(gcs) >= GCS_NODE_DONOR;
    return gcs->primary_state >= GCS_NODE_DONOR;
}

int gcs_vote(struct gcs *gcs, const struct xb_uuid *group_uuid, int64_t seqno, int64_t value, const void *text,
             size_t text_size, int64_t now_ns) {
    struct gcs_ballot *ballot = &gcs->ballot;
    if (gcs->is_closing || gcs->is_halted) return -ECONNABORTED;
    if (xb_uuid_equal(group_uuid, &ballot->own_uuid) && seqno <= ballot->own_seqno) return -EALREADY;
    if (ballot->is_waiting) return -EBUSY;
    if (!has_joined(gcs)) return -ENOTCONN;
    if (!xb_uuid_equal(group_uuid, &gcs->group_uuid)) return -EREMCHG;
    gcs_enter(gcs, now_ns);
    ballot->is_waiting = ballot->is_due = true;
    ballot->own_uuid = *group_uuid;
    ballot->own_seqno = seqno;
    ballot->own_value = value;
    ballot->text_size = text_size < GCS_VOTE_TEXT_MAX ? text_size : GCS_VOTE_TEXT_MAX;
    if (ballot->text_size) memcpy(ballot->text, text, ballot->text_size);
    gcs_leave(gcs, now_ns);
    return 0;
}

bool gcs_send_vote(struct gcs *gcs) {
    struct gcs_ballot *ballot = &gcs->ballot;
    if (!ballot->is_due) return false;
    struct gcs_code code = {
        .group_uuid = ballot->own_uuid,
        .seqno = ballot->own_seqno,
        .code = ballot->own_value,
        .text = ballot->text,
        .text_size = ballot->text_size,
    };
    uint8_t bytes[GCS_VOTE_SIZE_MAX];
    struct xb_writer w = xb_writer_init(bytes, sizeof(bytes));
    gcs_code_write(&w, &code);
    xb_write_u8(&w, 0);
    uint64_t epoch = gcs->epoch;
    ballot->is_due = false;
    ballot->repeat_ns = gcs->now_ns + GCS_VOTE_REPEAT_NS;
    if (!gcs_send_bytes(gcs, bytes, w.used, GCS_MSG_VOTE)) return true;
    if (gcs->epoch == epoch && ballot->is_waiting) ballot->is_due = true;
    return false;
}

/*
 * Votes are counted when a VOTE or a configuration change comes. One that came with the result of an earlier vote asks
 * nobody, and a member that is counted since then has not been asked either: without a repetition the vote could stay
 * open for ever.
 */
int64_t gcs_vote_deadline(const struct gcs *gcs) {
    return gcs->ballot.is_waiting && !gcs->ballot.is_due ? gcs->ballot.repeat_ns : XB_NEVER;
}

void gcs_vote_tick(struct gcs *gcs) {
    if (gcs->now_ns >= gcs_vote_deadline(gcs)) gcs->ballot.is_due = true;
}

/* Results that are still of use to an own vote to come: own votes ascend. */
static void remember(struct gcs_ballot *ballot, const struct gcs_vote_result *result) {
    if (ballot->history_count == GCS_VOTE_HISTORY_MAX) {
        memmove(ballot->history, ballot->history + 1, (GCS_VOTE_HISTORY_MAX - 1) * sizeof(*ballot->history));
        ballot->history_count--;
    }
    ballot->history[ballot->history_count++] = *result;
}

/* Value of the result for seqno; 0 if there is none. Forgets it and all before. */
static int64_t recall(struct gcs_ballot *ballot, int64_t seqno) {
    size_t passed = 0;
    int64_t value = 0;
    while (passed < ballot->history_count && ballot->history[passed].seqno <= seqno) {
        if (ballot->history[passed].seqno == seqno) value = ballot->history[passed].value;
        passed++;
    }
    ballot->history_count -= passed;
    memmove(ballot->history, ballot->history + passed, ballot->history_count * sizeof(*ballot->history));
    return value;
}

void gcs_vote_end(struct gcs *gcs, int code) {
    struct gcs_ballot *ballot = &gcs->ballot;
    if (!ballot->is_waiting) return;
    ballot->is_waiting = ballot->is_due = false;
    struct gcs_action action = {.type = GCS_VOTE,
                                .seqno = ballot->own_seqno,
                                .code = code,
                                .sender = gcs->own_index,
                                .sender_uuid = gcs->uuid,
                                .is_own_vote = true};
    gcs_deliver(gcs, &action);
}

static void deliver_value(struct gcs *gcs, int64_t seqno, int64_t value) {
    struct gcs_action action = {.type = GCS_VOTE, .seqno = seqno, .code = value, .sender = -1};
    gcs_deliver(gcs, &action);
}

/* What a result says to the own vote that waits (section 15.4). -> true if it is its answer and nothing else */
static bool answer_own_vote(struct gcs *gcs, const struct gcs_vote_result *result) {
    const struct gcs_ballot *ballot = &gcs->ballot;
    if (!ballot->is_waiting) return false;
    if (result->seqno == ballot->own_seqno) {
        gcs_vote_end(gcs, result->value == ballot->own_value ? 0 : 1);
        return true;
    }
    if (result->seqno > ballot->own_seqno) /* results ascend: nobody else had a problem with the own seqno */
        gcs_vote_end(gcs, ballot->own_value == 0 ? 0 : 1);
    else if (result->value < 0) /* this node applied what the group failed on (section 21.8) */
        gcs_vote_end(gcs, 1);
    return false;
}

static void deliver_result(struct gcs *gcs, const struct gcs_vote_result *result) {
    if (!answer_own_vote(gcs, result)) deliver_value(gcs, result->seqno, result->value > 0 ? -1 : result->value);
}

static bool recount(struct gcs *gcs, struct gcs_vote_result *result) {
    struct gcs_ballot *ballot = &gcs->ballot;
    if (!gcs_vote_recount(gcs->members, gcs->member_count, gcs->counter, ballot->result.seqno, gcs->vote_policy,
                          result))
        return false;
    ballot->result = *result;
    xb_log_info(gcs->log, "The group has voted on seqno %" PRId64 ": %016" PRIx64, result->seqno,
                (uint64_t)result->value);
    return true;
}

/*
 * Decided without this node's vote. If the first vote was enough (it was the only member counted), nobody was asked; a
 * node that has applied what the group failed on would never learn of it. So it is asked now, and the answer to its
 * vote is the result kept here.
 */
static void keep_result(struct gcs *gcs, const struct gcs_vote_result *result) {
    struct gcs_ballot *ballot = &gcs->ballot;
    remember(ballot, result);
    if (result->value == 0 || result->seqno <= ballot->request_seqno || !has_joined(gcs)) return;
    ballot->request_seqno = result->seqno;
    deliver_value(gcs, result->seqno, VALUE_REQUEST);
}

static void count_vote(struct gcs *gcs, struct gcs_member *member, const struct gcs_code *code) {
    struct gcs_ballot *ballot = &gcs->ballot;
    bool is_own = gcs_is_own(gcs, member);
    xb_log_info(gcs->log, "%s votes on seqno %" PRId64 ": %016" PRIx64 ": %.*s", gcs_member_name(member), code->seqno,
                (uint64_t)code->code, (int)(code->text_size < GCS_VOTE_TEXT_MAX ? code->text_size : GCS_VOTE_TEXT_MAX),
                (const char *)code->text);
    if (code->seqno > member->vote_seqno) {
        member->vote_seqno = code->seqno;
        member->vote_value = code->code;
    } else if (code->seqno < member->vote_seqno) {
        xb_log_warning(gcs->log, "%s votes on seqno %" PRId64 " after %" PRId64 ": ignored", gcs_member_name(member),
                       code->seqno, member->vote_seqno);
    }
    struct gcs_vote_result result;
    if (recount(gcs, &result)) {
        const struct gcs_member *self = gcs_self(gcs);
        if (self->vote_seqno >= result.seqno)
            deliver_result(gcs, &result);
        else
            keep_result(gcs, &result);
    } else if (code->seqno > ballot->request_seqno) {
        ballot->request_seqno = code->seqno;
        if (!is_own) deliver_value(gcs, code->seqno, VALUE_REQUEST);
    }
}

void gcs_handle_vote(struct gcs *gcs, struct gcs_member *member, const struct gcs_code *code) {
    struct gcs_ballot *ballot = &gcs->ballot;
    int64_t done = ballot->result.seqno;
    if (gcs->versions.gcs >= 4 && gcs->cut.last_applied > done) done = gcs->cut.last_applied;
    if (code->seqno > done) {
        count_vote(gcs, member, code);
    } else if (gcs_is_own(gcs, member)) { /* decided long ago; without a result all others have succeeded */
        struct gcs_vote_result result = {code->seqno, recall(ballot, code->seqno)};
        deliver_result(gcs, &result);
    }
}

bool gcs_vote_configuration(struct gcs *gcs, struct gcs_vote_result *result) {
    if (!recount(gcs, result)) return false;
    if (gcs_self(gcs)->vote_seqno < result->seqno) remember(&gcs->ballot, result);
    return true;
}

void gcs_vote_new_configuration(struct gcs *gcs, const struct gcs_vote_result *vote) {
    struct gcs_ballot *ballot = &gcs->ballot;
    if (!ballot->is_waiting) return;
    const struct gcs_member *self = gcs_self(gcs);
    if (!xb_uuid_equal(&ballot->own_uuid, &gcs->group_uuid)) {
        gcs_vote_end(gcs, -EREMCHG);
        return;
    }
    if (vote) answer_own_vote(gcs, vote);
    if (!ballot->is_waiting) return;
    if (self->state < GCS_NODE_DONOR)
        gcs_vote_end(gcs, -ENOTCONN); /* the group went on without this node: its vote is not asked for any more */
    else if (self->vote_seqno < ballot->own_seqno)
        ballot->is_due = true;
}

void gcs_vote_new_group(struct gcs *gcs) {
    struct gcs_ballot *ballot = &gcs->ballot;
    ballot->result = (struct gcs_vote_result){-1, 0};
    ballot->request_seqno = -1;
    ballot->history_count = 0;
}
