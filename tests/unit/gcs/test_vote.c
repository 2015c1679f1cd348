/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Inconsistency votes (spec 05 section 15). */
#include "party.h"

#define TEXT "Duplicate entry"

static int64_t value_of(struct bus *bus, int i, int64_t seqno, const char *text) {
    return text ? gcs_vote_value(&gcs_of(bus, i)->group_uuid, seqno, text, strlen(text) + 1) : 0;
}

/* text NULL: success */
static int vote(struct bus *bus, int i, int64_t seqno, const char *text) {
    struct gcs *gcs = gcs_of(bus, i);
    return gcs_vote(gcs, &gcs->group_uuid, seqno, value_of(bus, i, seqno, text), text, text ? strlen(text) + 1 : 0,
                    bus->now_ns);
}

/* Lets some write sets be ordered, so that there is something to vote on. -> the last seqno */
static int64_t order_some(struct bus *bus, int count) {
    int64_t seqno = 0;
    for (int k = 0; k < count; k++) {
        struct item *item = item_submit(node_of(bus, 0), GCS_WRITESET, "x", 1);
        bus_settle(bus);
        seqno = item->seqno;
        item_free(item);
    }
    return seqno;
}

static const struct gcs_action *last_vote(struct bus *bus, int i) {
    return &node_last_action(node_of(bus, i), GCS_VOTE)->action;
}

static void assert_own_result(struct bus *bus, int i, int64_t seqno, int code) {
    assert_true(last_vote(bus, i)->is_own_vote);
    assert_int_equal(last_vote(bus, i)->seqno, seqno);
    assert_int_equal(last_vote(bus, i)->code, code);
}

static void assert_request(struct bus *bus, int i, int64_t seqno) {
    assert_false(last_vote(bus, i)->is_own_vote);
    assert_int_equal(last_vote(bus, i)->seqno, seqno);
    assert_int_equal(last_vote(bus, i)->code, 1);
}

static size_t votes_of(struct bus *bus, int i) {
    return node_count_actions(node_of(bus, i), GCS_VOTE);
}

/* The second capture: n3 fails alone and leaves. */
static void test_one_fails(void **state) {
    struct bus *bus = make_group(3);
    int64_t seqno = order_some(bus, 3);
    assert_int_equal(vote(bus, 2, seqno, TEXT), 0);
    bus_settle(bus);
    assert_request(bus, 0, seqno);
    assert_request(bus, 1, seqno);
    assert_int_equal(votes_of(bus, 2), 0);
    assert_int_equal(vote(bus, 1, seqno, NULL), 0);
    assert_int_equal(vote(bus, 0, seqno, NULL), 0);
    bus_settle(bus);
    assert_own_result(bus, 2, seqno, 1);
    assert_own_result(bus, 1, seqno, 0);
    assert_own_result(bus, 0, seqno, 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(gcs_of(bus, i)->ballot.result.seqno, seqno);
        assert_int_equal(gcs_of(bus, i)->ballot.result.value, 0);
        assert_int_equal(vote(bus, i, seqno, NULL), -EALREADY);
        assert_int_equal(vote(bus, i, seqno - 1, TEXT), -EALREADY);
    }
    bus_free(bus);
}

static void test_majority_fails(void **state) {
    struct bus *bus = make_group(3);
    int64_t seqno = order_some(bus, 3), value = value_of(bus, 0, seqno, TEXT);
    assert_true(value < 0);
    vote(bus, 0, seqno, TEXT);
    vote(bus, 1, seqno, TEXT);
    bus_settle(bus);
    assert_own_result(bus, 0, seqno, 0);
    assert_own_result(bus, 1, seqno, 0);
    /* The third has been asked, and the result waits for its own vote. */
    assert_request(bus, 2, seqno);
    assert_int_equal(votes_of(bus, 2), 1);
    vote(bus, 2, seqno, NULL);
    bus_settle(bus);
    assert_own_result(bus, 2, seqno, 1);
    assert_int_equal(gcs_of(bus, 2)->ballot.history_count, 0);
    bus_free(bus);
}

/* Success was decided without a word of this node: the late voter is the odd one. */
static void test_late_vote(void **state) {
    struct bus *bus = make_group(3);
    int64_t seqno = order_some(bus, 3);
    vote(bus, 0, seqno, NULL);
    vote(bus, 1, seqno, NULL);
    bus_settle(bus);
    assert_int_equal(gcs_of(bus, 2)->ballot.result.seqno, seqno);
    vote(bus, 2, seqno - 1, TEXT); /* an earlier seqno: nobody else had a problem with it */
    bus_settle(bus);
    assert_own_result(bus, 2, seqno - 1, 1);
    bus_free(bus);
}

static void test_one_vote_at_a_time(void **state) {
    struct bus *bus = make_group(2);
    int64_t seqno = order_some(bus, 3);
    assert_int_equal(vote(bus, 0, seqno - 1, TEXT), 0);
    assert_int_equal(vote(bus, 0, seqno, TEXT), -EBUSY);
    assert_int_equal(vote(bus, 0, seqno - 2, TEXT), -EALREADY);
    struct xb_uuid other = {{9}};
    bus_settle(bus);
    vote(bus, 1, seqno - 1, NULL);
    bus_settle(bus);
    assert_int_equal(gcs_vote(gcs_of(bus, 0), &other, 1, 0, NULL, 0, 0), -EREMCHG);
    assert_int_equal(vote(bus, 0, seqno, TEXT), 0);
    bus_free(bus); /* still open: answered by gcs_free */
}

static void test_members_without_state_do_not_vote(void **state) {
    struct bus *bus = make_group(2);
    int64_t seqno = order_some(bus, 1);
    start_peer(bus, "new");
    bus_change(bus, all(bus), false);
    bus_settle(bus);
    assert_int_equal(vote(bus, 2, seqno, TEXT), -ENOTCONN);
    vote(bus, 0, seqno, TEXT);
    vote(bus, 1, seqno, TEXT);
    bus_settle(bus);
    assert_own_result(bus, 0, seqno, 0);
    bus_free(bus);
}

/* A vote that stays open is decided by the configuration change that removes the missing voter. */
static void test_configuration_decides(void **state) {
    struct bus *bus = make_group(3);
    int64_t seqno = order_some(bus, 3);
    vote(bus, 0, seqno, TEXT);
    vote(bus, 1, seqno, NULL);
    bus_settle(bus);
    assert_int_equal(gcs_of(bus, 0)->ballot.result.seqno, -1);
    bus_remove(bus, &bus->peers[2]);
    bus_change(bus, 3, false);
    bus_settle(bus);
    for (int i = 0; i < 2; i++) {
        const struct gcs_cchange *c = node_configuration(node_of(bus, i));
        assert_int_equal(c->vote_seqno, seqno);
        assert_int_equal(c->vote_value, 0);
        assert_own_result(bus, i, seqno, i == 0 ? 1 : 0);
    }
    /* Answered before the configuration comes up. */
    struct node *node = node_of(bus, 0);
    size_t vote_at = 0, change_at = 0;
    for (size_t r = 0; r < node->record_count; r++) {
        if (node->records[r].action.type == GCS_VOTE) vote_at = r;
        if (node->records[r].action.type == GCS_CCHANGE) change_at = r;
    }
    assert_true(vote_at < change_at);
    bus_free(bus);
}

/* Votes in flight at a view change come in the exchange, where the own state message overwrites them: sent again. */
static void test_swallowed_vote(void **state) {
    for (int k = 0; k < 2; k++) {
        struct bus *bus = make_group(3);
        bus->keeps_out_at_change = k;
        int64_t seqno = order_some(bus, 3);
        for (int i = 0; i < 2; i++) vote(bus, i, seqno, TEXT);
        bus_remove(bus, &bus->peers[2]);
        bus_change(bus, 3, false);
        bus_settle(bus);
        for (int i = 0; i < 2; i++) assert_own_result(bus, i, seqno, 0);
        bus_free(bus);
    }
}

/* Without quorum the voter waits; if the group goes on without it, it is not asked any more. */
static void test_vote_without_quorum(void **state) {
    struct bus *bus = make_group(3);
    int64_t seqno = order_some(bus, 3);
    bus_change(bus, 4, false);
    bus_change(bus, 3, false);
    bus_settle(bus);
    assert_int_equal(vote(bus, 2, seqno, TEXT), 0);
    bus_settle(bus);
    assert_int_equal(votes_of(bus, 2), 0);
    bus_change(bus, 7, false);
    bus_settle(bus);
    assert_own_result(bus, 2, seqno, -ENOTCONN);
    bus_free(bus);

    bus = make_group(3);
    seqno = order_some(bus, 3);
    for (int i = 0; i < 3; i++) bus_change(bus, (bus_set)1 << i, false);
    bus_settle(bus);
    for (int i = 0; i < 3; i++) assert_int_equal(vote(bus, i, seqno, i ? TEXT : NULL), 0);
    bus_change(bus, 7, false); /* all together again */
    bus_settle(bus);
    for (int i = 0; i < 3; i++) assert_own_result(bus, i, seqno, i ? 0 : 1);
    bus_free(bus);
}

/* Section 21.8: a failure that the group agrees on, and that this node has applied, ends its wait for a later vote. */
static void test_earlier_failure_wakes(void **state) {
    struct bus *bus = make_group(3);
    int64_t seqno = order_some(bus, 4);
    vote(bus, 2, seqno, TEXT);
    bus_settle(bus);
    vote(bus, 0, seqno - 1, TEXT);
    vote(bus, 1, seqno - 1, TEXT);
    bus_settle(bus);
    assert_own_result(bus, 0, seqno - 1, 0);
    struct node *node = node_of(bus, 2);
    size_t own = 0, results = 0;
    for (size_t r = 0; r < node->record_count; r++) {
        const struct gcs_action *a = &node->records[r].action;
        if (a->type != GCS_VOTE) continue;
        if (a->is_own_vote) {
            own++;
            assert_int_equal(a->seqno, seqno);
            assert_int_equal(a->code, 1);
        } else if (a->code < 0) {
            results++;
            assert_int_equal(a->seqno, seqno - 1);
        }
    }
    assert_int_equal(own, 1);
    assert_int_equal(results, 1);
    bus_free(bus);
}

/* A VOTE that brings the result of an earlier one asks nobody: repeated, it does. */
static void test_open_vote_is_repeated(void **state) {
    struct bus *bus = make_group(2);
    int64_t seqno = order_some(bus, 4);
    vote(bus, 0, seqno - 1, TEXT);
    bus_settle(bus);
    assert_request(bus, 1, seqno - 1);
    vote(bus, 1, seqno, TEXT);
    bus_settle(bus);
    assert_own_result(bus, 0, seqno - 1, 1);
    assert_int_equal(votes_of(bus, 0), 1); /* not asked about seqno */
    bus_tick(bus, GCS_VOTE_REPEAT_NS);
    bus_settle(bus);
    assert_request(bus, 0, seqno);
    vote(bus, 0, seqno, TEXT);
    bus_settle(bus);
    assert_own_result(bus, 0, seqno, 0);
    assert_own_result(bus, 1, seqno, 0);
    bus_free(bus);
}

/* The only counted member fails: decided at once. One that has not synced yet, but applies, has to learn of it. */
static void test_decided_by_one(void **state) {
    struct bus *bus = make_group(2);
    int64_t seqno = order_some(bus, 2);
    struct item *item = request(&bus->peers[1], GCS_SELF_DESYNC);
    bus_settle(bus);
    item_free(item);
    gcs_of(bus, 0)->members[1].is_counted = gcs_of(bus, 1)->members[1].is_counted = false;
    vote(bus, 0, seqno, TEXT);
    bus_settle(bus);
    assert_own_result(bus, 0, seqno, 0);
    assert_request(bus, 1, seqno);
    vote(bus, 1, seqno, NULL);
    bus_settle(bus);
    assert_own_result(bus, 1, seqno, 1);
    bus_free(bus);
}

static void test_close_wakes(void **state) {
    struct bus *bus = make_group(2);
    int64_t seqno = order_some(bus, 2);
    vote(bus, 0, seqno, TEXT);
    gcs_close(gcs_of(bus, 0), bus->now_ns);
    assert_own_result(bus, 0, seqno, -ECONNABORTED);
    assert_int_equal(vote(bus, 0, seqno + 1, TEXT), -ECONNABORTED);
    vote(bus, 1, seqno, TEXT);
    node_leave(node_of(bus, 1));
    assert_own_result(bus, 1, seqno, -ECONNABORTED);
    bus_free(bus);
}

static void test_text_is_cut(void **state) {
    struct bus *bus = make_group(2);
    int64_t seqno = order_some(bus, 1);
    char text[3000];
    memset(text, 't', sizeof(text));
    struct gcs *gcs = gcs_of(bus, 0);
    int64_t value = gcs_vote_value(&gcs->group_uuid, seqno, text, sizeof(text));
    assert_int_not_equal(value,
                         gcs_vote_value(&gcs->group_uuid, seqno, text, GCS_VOTE_TEXT_MAX)); /* all of it counts */
    gcs_vote(gcs, &gcs->group_uuid, seqno, value, text, sizeof(text), bus->now_ns);
    const struct sent *sent = &bus->peers[0].out[0];
    assert_int_equal(sent->type, GCS_MSG_VOTE);
    assert_int_equal(sent->size, GCS_VOTE_SIZE_MAX);
    assert_int_equal(sent->bytes[GCS_VOTE_SIZE_MAX - 1], 0);
    bus_settle(bus);
    bus_free(bus);
}

/* While a voter holds the commit order no commit cut may come (section 12.2). */
static void test_no_cut_while_voting(void **state) {
    struct bus *bus = make_group(2);
    int64_t seqno = order_some(bus, 5);
    vote(bus, 0, seqno, TEXT);
    for (int i = 0; i < 2; i++) gcs_report_last_applied(gcs_of(bus, i), &gcs_of(bus, i)->group_uuid, seqno - 2, 0);
    bus_settle(bus);
    assert_int_equal(node_count_actions(node_of(bus, 0), GCS_COMMIT_CUT), 0);
    assert_int_equal(node_count_actions(node_of(bus, 1), GCS_COMMIT_CUT), 1);
    vote(bus, 1, seqno, TEXT);
    bus_settle(bus);
    for (int i = 0; i < 2; i++) gcs_report_last_applied(gcs_of(bus, i), &gcs_of(bus, i)->group_uuid, seqno - 1, 0);
    bus_settle(bus);
    assert_int_equal(node_last_action(node_of(bus, 0), GCS_COMMIT_CUT)->action.seqno, seqno - 1);
    bus_free(bus);
}

static void test_history_is_bounded(void **state) {
    struct bus *bus = make_group(3);
    int64_t seqno = order_some(bus, 2);
    gcs_of(bus, 0)->counter = gcs_of(bus, 1)->counter = gcs_of(bus, 2)->counter = seqno + 2000;
    for (int k = 0; k < GCS_VOTE_HISTORY_MAX + 50; k++) {
        vote(bus, 0, seqno + k, TEXT);
        vote(bus, 1, seqno + k, TEXT);
        bus_settle(bus);
    }
    assert_int_equal(gcs_of(bus, 2)->ballot.history_count, GCS_VOTE_HISTORY_MAX);
    vote(bus, 2, seqno + GCS_VOTE_HISTORY_MAX, TEXT);
    bus_settle(bus);
    assert_own_result(bus, 2, seqno + GCS_VOTE_HISTORY_MAX, 0);
    assert_int_equal(gcs_of(bus, 2)->ballot.history_count, 49);
    bus_free(bus);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_fails),
        cmocka_unit_test(test_majority_fails),
        cmocka_unit_test(test_late_vote),
        cmocka_unit_test(test_one_vote_at_a_time),
        cmocka_unit_test(test_members_without_state_do_not_vote),
        cmocka_unit_test(test_configuration_decides),
        cmocka_unit_test(test_swallowed_vote),
        cmocka_unit_test(test_vote_without_quorum),
        cmocka_unit_test(test_earlier_failure_wakes),
        cmocka_unit_test(test_open_vote_is_repeated),
        cmocka_unit_test(test_decided_by_one),
        cmocka_unit_test(test_close_wakes),
        cmocka_unit_test(test_text_is_cut),
        cmocka_unit_test(test_no_cut_while_voting),
        cmocka_unit_test(test_history_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
