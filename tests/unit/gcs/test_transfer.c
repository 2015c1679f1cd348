/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Several instances on a bus: desync, donors and joiners, commit cut. */
#include "party.h"

#define BIG 100000

static void test_nested_desync(void **state) {
    struct bus *bus = make_group(2);
    struct peer *peer = &bus->peers[1];
    struct item *a = request(peer, GCS_SELF_DESYNC), *b = request(peer, GCS_SELF_DESYNC);
    bus_settle(bus);
    assert_int_equal(a->result, 1);
    assert_int_equal(b->result, 1);
    assert_int_equal(a->seqno, gcs_of(bus, 1)->counter); /* position */
    assert_int_equal(gcs_of(bus, 0)->members[1].desync_count, 2);
    assert_int_equal(node_count_actions(peer->node, GCS_STATE_REQ), 0);
    tell_join(peer, -EAGAIN); /* a failure with a desync left is not told (section 21.7) */
    bus_settle(bus);
    assert_int_equal(state_of(peer), GCS_NODE_DONOR);
    assert_int_equal(node_count_actions(peer->node, GCS_JOIN), 0);
    tell_join(peer, 0);
    bus_settle(bus);
    assert_int_equal(state_of(peer), GCS_NODE_SYNCED);
    assert_int_equal(node_count_actions(peer->node, GCS_JOIN), 1);
    tell_join(peer, 0); /* nothing to end */
    bus_settle(bus);
    assert_int_equal(node_count_actions(peer->node, GCS_JOIN), 1);
    item_free(a);
    item_free(b);
    bus_free(bus);
}

/* No SYNC is sent while it would be refused. */
static void test_no_sync_storm(void **state) {
    struct bus *bus = make_group(2);
    struct peer *peer = &bus->peers[1];
    struct item *a = request(peer, GCS_SELF_DESYNC);
    bus_settle(bus);
    /* JOIN and SYNC go out, but another desync comes between them: the SYNC is refused. */
    struct item *b = request(peer, GCS_SELF_DESYNC);
    tell_join(peer, 0);
    tell_join(peer, 0);
    bus_settle(bus);
    assert_int_equal(state_of(peer), GCS_NODE_SYNCED);
    item_free(a);
    item_free(b);
    struct item *c = request(peer, GCS_SELF_DESYNC);
    bus_settle(bus);
    tell_join(peer, 0);
    bus_order(bus, peer);
    struct item *d = request(peer, GCS_SELF_DESYNC); /* before the own JOIN is delivered here */
    bus_settle(bus);
    assert_int_equal(state_of(peer), GCS_NODE_DONOR);
    uint64_t order = bus->order;
    bus_settle(bus);
    assert_int_equal(bus->order, order); /* quiet */
    tell_join(peer, 0);
    bus_settle(bus);
    assert_int_equal(state_of(peer), GCS_NODE_SYNCED);
    item_free(c);
    item_free(d);
    bus_free(bus);
}

static void test_lost_joins_are_repeated(void **state) {
    struct bus *bus = make_group(3);
    bus->keeps_out_at_change = true;
    struct peer *peer = &bus->peers[1];
    struct item *a = request(peer, GCS_SELF_DESYNC), *b = request(peer, GCS_SELF_DESYNC);
    bus_settle(bus);
    tell_join(peer, 0);
    tell_join(peer, 0);
    bus_remove(bus, &bus->peers[2]);
    bus_change(bus, 3, false); /* both JOINs come in the exchange, where nobody honours them */
    bus_settle(bus);
    assert_int_equal(state_of(peer), GCS_NODE_SYNCED);
    assert_same_counters(bus);
    item_free(a);
    item_free(b);
    bus_free(bus);
}

static struct peer *add_joiner(struct bus *bus, const char *donors) {
    struct peer *joiner = start_peer(bus, "new");
    bus_change(bus, all(bus), false);
    bus_settle(bus);
    struct item *item = request(joiner, donors);
    bus_settle(bus);
    assert_true(item->result >= 0);
    assert_int_equal(state_of(joiner), GCS_NODE_JOINER);
    item_free(item);
    return joiner;
}

static void test_donor_fails(void **state) {
    struct bus *bus = make_group(2);
    struct peer *joiner = add_joiner(bus, "n1");
    tell_join(&bus->peers[1], -ECANCELED);
    bus_settle(bus);
    assert_int_equal(state_of(&bus->peers[1]), GCS_NODE_SYNCED);
    assert_int_equal(node_last_action(node_of(bus, 1), GCS_JOIN)->action.code, -ECANCELED);
    assert_int_equal(state_of(joiner), GCS_NODE_PRIM);
    assert_int_equal(node_last_action(joiner->node, GCS_JOIN)->action.code, -ECANCELED);
    assert_int_equal(joiner->node->failure.code, 0);
    assert_same_counters(bus);
    transfer(bus, joiner); /* another one */
    bus_free(bus);
}

static void test_donor_leaves(void **state) {
    struct bus *bus = make_group(3);
    struct peer *joiner = add_joiner(bus, "n1");
    bus_remove(bus, &bus->peers[1]);
    bus_change(bus, all(bus), false);
    bus_settle(bus);
    assert_int_equal(state_of(joiner), GCS_NODE_PRIM);
    assert_int_equal(node_last_action(joiner->node, GCS_JOIN)->action.code, -EHOSTDOWN);
    assert_same_counters(bus);
    transfer(bus, joiner);
    bus_free(bus);
}

/* A joiner that has what it needs does not care for the donor's end. */
static void test_donor_fails_too_late(void **state) {
    struct bus *bus = make_group(3);
    struct peer *joiner = add_joiner(bus, "n1");
    joiner->node->refusal = -EAGAIN;
    tell_join(joiner, 0);
    bus_remove(bus, &bus->peers[1]);
    bus_change(bus, all(bus), false);
    joiner->node->refusal = 0;
    bus_settle(bus);
    assert_int_equal(state_of(joiner), GCS_NODE_SYNCED);
    assert_int_equal(node_count_actions(joiner->node, GCS_JOIN), 1);
    bus_free(bus);
}

/* The end of a donation or desync comes when this node has been out of the group, and waits for its own state. */
static void test_late_end_of_a_donation(void **state) {
    struct bus *bus = make_group(3);
    struct peer *joiner = add_joiner(bus, "n1"), *donor = &bus->peers[1];
    struct gcs *gcs = joiner->node->gcs;
    assert_int_equal(gcs_join_as_donor(gcs, &gcs->group_uuid, gcs->counter, 0, bus->now_ns), -EPERM);
    bus_settle(bus);
    assert_int_equal(state_of(joiner), GCS_NODE_JOINER); /* the state is not here */
    tell_join(joiner, 0);
    assert_int_equal(gcs_join_as_donor(donor->node->gcs, &gcs->group_uuid, gcs->counter, 0, bus->now_ns), 0);
    bus_settle(bus);
    assert_int_equal(state_of(joiner), GCS_NODE_SYNCED);
    assert_int_equal(state_of(donor), GCS_NODE_SYNCED);
    assert_int_equal(gcs_join_as_donor(donor->node->gcs, &gcs->group_uuid, gcs->counter, 0, bus->now_ns), -EPERM);
    bus_free(bus);
}

static void test_refused_requests(void **state) {
    struct bus *bus = make_group(2);
    struct peer *joiner = start_peer(bus, "new");
    bus_change(bus, all(bus), false);
    bus_settle(bus);
    struct item *item = request(joiner, "nobody");
    bus_settle(bus);
    assert_int_equal(item->result, -EHOSTUNREACH);
    assert_int_equal(state_of(joiner), GCS_NODE_PRIM);
    item_free(item);
    item = request(joiner, GCS_SELF_DESYNC);
    bus_settle(bus);
    assert_int_equal(item->result, -EAGAIN);
    item_free(item);
    item = request(&bus->peers[0], "n1"); /* is synced */
    bus_settle(bus);
    assert_int_equal(item->result, -ECANCELED);
    item_free(item);
    struct item *first = request(joiner, "n0"), *second = request(joiner, "n1");
    bus_settle(bus);
    assert_int_equal(first->result, 0);
    assert_int_equal(second->result, -ENOTRECOVERABLE);
    item_free(first);
    item_free(second);
    item = item_submit(node_of(bus, 1), GCS_STATE_REQ, "\0V\3short", 8);
    bus_settle(bus);
    assert_int_equal(item->result, -ENOTRECOVERABLE);
    item_free(item);
    assert_same_counters(bus);
    bus_free(bus);
}

static struct peer *add_arbitrator(struct bus *bus) {
    struct peer *peer = bus_add(bus, "garb");
    peer->node->config.options.stateless = true;
    peer->node->config.repl_version_max = peer->node->config.appl_version_max = GCS_VERSION_ANY;
    node_start(peer->node);
    return peer;
}

static void test_arbitrator(void **state) {
    struct bus *bus = make_group(2);
    struct peer *peer = add_arbitrator(bus);
    bus_change(bus, all(bus), false);
    bus_settle(bus);
    assert_int_equal(node_configuration(peer->node)->repl_version, 11);
    assert_int_equal(node_configuration(peer->node)->members[2].cached, -1);
    struct item *item = item_submit(peer->node, GCS_STATE_REQ, "\0trivial\0", 10);
    bus_settle(bus);
    assert_true(item->result >= 0);
    const struct gcs_action *a = &node_last_action(node_of(bus, item->result), GCS_STATE_REQ)->action;
    assert_int_equal(a->size, 9);
    assert_memory_equal(a->buf, "trivial\0", 9);
    tell_join(&bus->peers[item->result], 0);
    tell_join(peer, 0);
    bus_settle(bus);
    assert_int_equal(state_of(peer), GCS_NODE_SYNCED);
    item_free(item);
    gcs_report_last_applied(peer->node->gcs, &peer->node->gcs->group_uuid, 1, 0); /* never sent */
    assert_int_equal(peer->out_count, 0);
    /* Not chosen as donor, not counted in the cut. */
    item = request(&bus->peers[0], GCS_SELF_DESYNC);
    bus_settle(bus);
    item_free(item);
    for (int i = 0; i < 2; i++) gcs_report_last_applied(gcs_of(bus, i), &gcs_of(bus, i)->group_uuid, 3, 0);
    bus_settle(bus);
    assert_int_equal(gcs_of(bus, 2)->cut.last_applied, 3);
    bus_free(bus);
}

/* All nodes leave; the arbitrator keeps versions and seqno, and the node that left last is at once up to date. */
static void test_arbitrator_outlives_the_nodes(void **state) {
    struct bus *bus = make_group(2);
    struct peer *arbitrator = add_arbitrator(bus);
    bus_change(bus, all(bus), false);
    bus_settle(bus);
    transfer(bus, arbitrator);
    bus_leave(bus, &bus->peers[0]);
    bus_settle(bus);
    struct xb_uuid group = gcs_of(bus, 1)->group_uuid;
    int64_t seqno = gcs_of(bus, 1)->counter;
    arbitrator->node->are_all_ours = true;
    bus_leave(bus, &bus->peers[1]);
    bus_settle(bus);
    const struct gcs_cchange *c = node_configuration(arbitrator->node);
    assert_int_equal(c->member_count, 1);
    assert_int_equal(c->repl_version, 11);
    assert_int_equal(c->appl_version, 4);
    assert_int_equal(c->seqno, seqno);
    arbitrator->node->are_all_ours = false;
    struct peer *back = bus_add(bus, "n1");
    back->node->config.group_uuid = group;
    back->node->config.seqno = seqno;
    node_start(back->node);
    bus_change(bus, bus_bit(arbitrator) | bus_bit(back), false);
    bus_settle(bus);
    assert_int_equal(node_configuration(back->node)->repl_version, 11);
    assert_int_equal(node_configuration(back->node)->seqno, seqno + 1);
    assert_int_equal(state_of(back), GCS_NODE_SYNCED);
    assert_int_equal(arbitrator->node->gcs->counter, seqno + 1);
    bus_free(bus);
}

/* Nobody has ever brought a version: a node that comes later decides. */
static void test_arbitrator_alone(void **state) {
    struct bus *bus = bus_new(1);
    struct peer *arbitrator = add_arbitrator(bus);
    arbitrator->node->are_all_ours = true;
    bus_change(bus, bus_bit(arbitrator), false);
    bus_settle(bus);
    struct peer *node = start_peer(bus, "n0");
    arbitrator->node->are_all_ours = false;
    bus_change(bus, all(bus), false);
    bus_settle(bus);
    assert_int_equal(node->node->failure.code, 0);
    assert_int_equal(node_configuration(node->node)->repl_version, 11);
    bus_free(bus);
}

/* Commit cut */

static void report(struct bus *bus, int i, int64_t seqno) {
    gcs_report_last_applied(gcs_of(bus, i), &gcs_of(bus, i)->group_uuid, seqno, bus->now_ns);
}

static void test_commit_cut(void **state) {
    struct bus *bus = make_group(3);
    for (int k = 0; k < 20; k++) {
        struct item *item = item_submit(node_of(bus, k % 3), GCS_WRITESET, "x", 1);
        bus_settle(bus);
        item_free(item);
    }
    int64_t base = gcs_of(bus, 0)->cut.last_applied;
    report(bus, 0, base + 9);
    report(bus, 1, base + 7);
    bus_settle(bus);
    assert_int_equal(node_count_actions(node_of(bus, 0), GCS_COMMIT_CUT), 0);
    report(bus, 2, base + 8);
    bus_settle(bus);
    assert_int_equal(node_last_action(node_of(bus, 2), GCS_COMMIT_CUT)->action.seqno, base + 7);
    /* A view change makes the group forget the single values; gcs tells its own again. */
    bus_remove(bus, &bus->peers[1]);
    bus_change(bus, all(bus), false);
    bus_settle(bus);
    assert_int_equal(node_last_action(node_of(bus, 0), GCS_COMMIT_CUT)->action.seqno, base + 8);
    assert_int_equal(node_last_action(node_of(bus, 2), GCS_COMMIT_CUT)->action.seqno, base + 8);
    assert_same_counters(bus);
    bus_free(bus);
}

/* What the others know of this member from the state exchange is not sent: stock nodes warn of it. */
static void test_known_report_is_not_sent(void **state) {
    struct bus *bus = make_group(2);
    for (int i = 0; i < 2; i++) {
        int64_t known = gcs_self(gcs_of(bus, i))->last_applied;
        report(bus, i, known);
        assert_int_equal(bus->peers[i].out_count, 0);
        report(bus, i, known + 1);
        assert_int_equal(bus->peers[i].out_count, 1);
        assert_int_equal(bus->peers[i].out[0].type, GCS_MSG_LAST);
    }
    bus_free(bus);
}

/* A report does not get between the fragments of a prepared write set. */
static void test_report_waits_for_the_current_action(void **state) {
    struct bus *bus = make_group(2);
    struct node *node = node_of(bus, 0);
    bus->out_max = 2;
    struct item *big = submit_big(node, BIG, 1), *next = item_submit(node, GCS_WRITESET, "n", 1);
    report(bus, 0, 3);
    report(bus, 0, 4);
    report(bus, 0, 2); /* older: forgotten */
    size_t fragments = 0;
    bool was_last_sent = false;
    while (!next->is_done) {
        for (size_t i = 0; i < bus->peers[0].out_count; i++) {
            if (bus->peers[0].out[i].type == GCS_MSG_LAST) {
                assert_int_equal(fragments, 4); /* all of the big one, none of the next */
                assert_int_equal(next->prepared, was_last_sent || bus->peers[0].out_count > i + 1);
                was_last_sent = true;
            } else {
                fragments++;
            }
        }
        bus->peers[0].out_count ? (void)bus_order(bus, &bus->peers[0]) : (void)0;
        while (bus->peers[0].out_count) bus_order(bus, &bus->peers[0]);
        while (bus_deliver(bus, &bus->peers[0]) || bus_deliver(bus, &bus->peers[1])) {
        }
        bus_tick(bus, XB_MS);
    }
    assert_true(was_last_sent);
    assert_int_equal(big->result, 0);
    assert_int_equal(gcs_of(bus, 1)->members[0].last_applied, 4);
    item_free(big);
    item_free(next);
    bus_free(bus);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_nested_desync),
        cmocka_unit_test(test_no_sync_storm),
        cmocka_unit_test(test_lost_joins_are_repeated),
        cmocka_unit_test(test_donor_fails),
        cmocka_unit_test(test_donor_leaves),
        cmocka_unit_test(test_donor_fails_too_late),
        cmocka_unit_test(test_late_end_of_a_donation),
        cmocka_unit_test(test_refused_requests),
        cmocka_unit_test(test_arbitrator),
        cmocka_unit_test(test_arbitrator_outlives_the_nodes),
        cmocka_unit_test(test_arbitrator_alone),
        cmocka_unit_test(test_commit_cut),
        cmocka_unit_test(test_known_report_is_not_sent),
        cmocka_unit_test(test_report_waits_for_the_current_action),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
