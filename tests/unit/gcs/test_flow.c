/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Flow control and the throttle of a joiner (spec 05 sections 13.3, 13.4), options, status. */
#include "party.h"

static void tell_length(struct bus *bus, int i, int64_t length, bool is_own) {
    gcs_set_queue_length(gcs_of(bus, i), length, length * 100, is_own, bus->now_ns);
}

static struct gcs_status status_of(struct bus *bus, int i) {
    struct gcs_status status;
    gcs_get_status(gcs_of(bus, i), &status, bus->now_ns);
    return status;
}

static struct gcs_queue_thresholds thresholds_of(struct bus *bus, int i) {
    struct gcs_queue_thresholds t;
    gcs_get_queue_thresholds(gcs_of(bus, i), &t);
    return t;
}

static void test_limits(void **state) {
    struct bus *bus = make_group(1);
    assert_int_equal(status_of(bus, 0).fc_interval_high, 16);
    bus_free(bus);
    bus = make_group(2);
    assert_int_equal(status_of(bus, 0).fc_interval_high, 23);
    bus_free(bus);
    bus = make_group(3);
    assert_int_equal(status_of(bus, 0).fc_interval_low, 28);
    assert_int_equal(status_of(bus, 0).fc_interval_high, 28);
    struct gcs_options options = gcs_of(bus, 0)->options;
    options.fc_limit = 4;
    assert_int_equal(gcs_set_options(gcs_of(bus, 0), &options, bus->now_ns), 0);
    assert_int_equal(status_of(bus, 0).fc_interval_high, 7);
    options.fc_factor = 0.5;
    assert_int_equal(gcs_set_options(gcs_of(bus, 0), &options, bus->now_ns), 0);
    assert_int_equal(status_of(bus, 0).fc_interval_low, 4);
    options.fc_limit = INT64_MAX;
    assert_int_equal(gcs_set_options(gcs_of(bus, 0), &options, bus->now_ns), 0);
    assert_true(status_of(bus, 0).fc_interval_high > 1000000);
    bus_free(bus);
}

static void test_options(void **state) {
    struct bus *bus = make_group(1);
    struct gcs *gcs = gcs_of(bus, 0);
    const struct gcs_options good = gcs->options;
    struct gcs_options o = good;
    o.fc_limit = 0;
    assert_int_equal(gcs_set_options(gcs, &o, 0), -EINVAL);
    o = good;
    o.fc_factor = 1.1;
    assert_int_equal(gcs_set_options(gcs, &o, 0), -EINVAL);
    o = good;
    o.recv_q_soft_limit = 1;
    assert_int_equal(gcs_set_options(gcs, &o, 0), -EINVAL);
    o = good;
    o.max_throttle = -0.1;
    assert_int_equal(gcs_set_options(gcs, &o, 0), -EINVAL);
    o = good;
    o.recv_q_hard_limit = 0;
    assert_int_equal(gcs_set_options(gcs, &o, 0), -EINVAL);
    o = good;
    o.max_packet_size = 1000;
    assert_int_equal(gcs_set_options(gcs, &o, 0), -EPERM);
    o = good;
    o.vote_policy = 1;
    assert_int_equal(gcs_set_options(gcs, &o, 0), -EPERM);
    o = good;
    o.stateless = true;
    assert_int_equal(gcs_set_options(gcs, &o, 0), -EPERM);
    assert_int_equal(gcs_set_options(gcs, &good, 0), 0);
    bus_free(bus);
}

static void test_stop_and_continue(void **state) {
    struct bus *bus = make_group(3);
    assert_int_equal(thresholds_of(bus, 1).above, 28);
    assert_int_equal(thresholds_of(bus, 1).below, -1);
    tell_length(bus, 1, 28, false);
    assert_int_equal(bus->peers[1].out_count, 0);
    tell_length(bus, 1, 29, true); /* an own action never stops the group */
    assert_int_equal(bus->peers[1].out_count, 0);
    tell_length(bus, 1, 30, false);
    assert_int_equal(bus->peers[1].out_count, 1);
    tell_length(bus, 1, 31, false); /* one STOP at a time */
    bus_settle(bus);
    for (int i = 0; i < 3; i++) {
        assert_true(status_of(bus, i).fc_is_active);
        assert_int_equal(status_of(bus, i).fc_received, 1);
        assert_int_equal(status_of(bus, i).fc_is_requested, i == 1);
    }
    assert_int_equal(status_of(bus, 1).fc_sent, 1);
    assert_int_equal(thresholds_of(bus, 1).below, 28);
    assert_int_equal(thresholds_of(bus, 1).above, INT64_MAX);
    assert_int_equal(thresholds_of(bus, 0).above, INT64_MAX); /* none while another's is in force */
    tell_length(bus, 0, 50, false);
    assert_int_equal(bus->peers[0].out_count, 0);

    /* Paused: write sets wait, urgent ones and requests do not. */
    struct item *waiting = item_submit(node_of(bus, 2), GCS_WRITESET, "w", 1);
    struct item *urgent = item_new(node_of(bus, 2), GCS_WRITESET, "u", 1);
    urgent->submission.is_out_of_order = true;
    gcs_submit(gcs_of(bus, 2), &urgent->submission, bus->now_ns);
    bus_settle(bus);
    assert_false(waiting->is_done);
    assert_int_equal(urgent->result, 0);
    struct item *desync = request(&bus->peers[1], GCS_SELF_DESYNC);
    bus_settle(bus);
    assert_int_equal(desync->result, 1);
    assert_false(status_of(bus, 1).fc_is_requested); /* a desynced node does not stop the group */
    assert_int_equal(waiting->result, 0);
    assert_true(status_of(bus, 0).fc_paused_ns > 0);
    int64_t paused_ns = status_of(bus, 0).fc_paused_ns;
    bus->now_ns += XB_SECOND;
    assert_int_equal(status_of(bus, 0).fc_paused_ns, paused_ns);
    gcs_reset_stats(gcs_of(bus, 1), bus->now_ns);
    assert_int_equal(status_of(bus, 1).fc_sent, 0);
    assert_int_equal(status_of(bus, 0).fc_paused_ns, paused_ns);
    item_free(waiting);
    item_free(urgent);
    item_free(desync);
    bus_free(bus);
}

static void test_continue_at_lower_limit(void **state) {
    struct bus *bus = make_group(2);
    tell_length(bus, 0, 40, false);
    bus_settle(bus);
    struct item *item = item_submit(node_of(bus, 1), GCS_WRITESET, "w", 1);
    tell_length(bus, 0, 24, false);
    bus_settle(bus);
    assert_false(item->is_done);
    bus->refuse_percent = 90; /* the CONT gets through all the same */
    tell_length(bus, 0, 23, false);
    bus_settle(bus);
    assert_int_equal(item->result, 0);
    assert_false(status_of(bus, 1).fc_is_active);
    item_free(item);
    bus_free(bus);
}

/* A STOP that PC refused and that is not wanted any more is not sent. */
static void test_refused_stop(void **state) {
    struct bus *bus = make_group(2);
    node_of(bus, 0)->refusal = -EAGAIN;
    tell_length(bus, 0, 40, false);
    assert_false(status_of(bus, 0).fc_is_requested);
    tell_length(bus, 0, 5, false);
    node_of(bus, 0)->refusal = 0;
    bus_settle(bus);
    assert_int_equal(status_of(bus, 1).fc_received, 0);
    bus_free(bus);
}

static void tell_flow(struct bus *bus, int i, bool is_stop) {
    struct gcs_flow *flow = &gcs_of(bus, i)->flow;
    flow->is_stopping = is_stop;
    flow->is_stop_sent = !is_stop;
    assert_true(gcs_send_flow(gcs_of(bus, i)));
    flow->is_stopping = flow->is_stop_sent = false;
}

/* The threads of a stock node do so: one decides to stop, another one to go on, and that one is the first to send. */
static void test_continue_overtakes_its_stop(void **state) {
    struct bus *bus = make_group(2);
    tell_flow(bus, 0, false);
    bus_settle(bus);
    tell_flow(bus, 0, true);
    bus_settle(bus);
    assert_false(status_of(bus, 1).fc_is_active);
    struct item *item = item_submit(node_of(bus, 1), GCS_WRITESET, "w", 1);
    bus_settle(bus);
    assert_int_equal(item->result, 0);
    tell_flow(bus, 0, true); /* and the next one counts */
    bus_settle(bus);
    assert_true(status_of(bus, 1).fc_is_active);
    item_free(item);
    bus_free(bus);
}

static void test_configuration_resets(void **state) {
    struct bus *bus = make_group(3);
    tell_length(bus, 1, 40, false);
    tell_length(bus, 0, 40, false);
    bus_settle(bus);
    assert_int_equal(gcs_of(bus, 2)->flow.stops_received, 2);
    struct item *item = item_submit(node_of(bus, 2), GCS_WRITESET, "w", 1);
    bus_remove(bus, &bus->peers[1]);
    bus_change(bus, all(bus), false);
    bus_settle(bus);
    assert_int_equal(item->result, 0); /* nobody is left paused */
    assert_int_equal(gcs_of(bus, 0)->flow.stops_received, 0);
    assert_false(gcs_of(bus, 0)->flow.is_stopping);
    tell_length(bus, 0, 41, false);
    bus_settle(bus);
    assert_true(status_of(bus, 2).fc_is_active);
    item_free(item);
    bus_free(bus);
}

/* All others write without a pause, five times as fast as a joined node applies. It comes to the end of its backlog
 * nevertheless, and after a bounded amount of work. */
static void test_catch_up_under_endless_load(void **state) {
    struct bus *bus = make_group(2);
    struct peer *joiner = start_peer(bus, "new");
    bus_change(bus, all(bus), false);
    bus_settle(bus);
    struct item *item = request(joiner, "");
    bus_settle(bus);
    const int64_t backlog = 3000;
    int64_t length = backlog, applied = 0, stopped = 0;
    tell_length(bus, 2, length, false);
    tell_join(&bus->peers[item->result], 0);
    tell_join(joiner, 0);
    bus_settle(bus);
    while (state_of(joiner) == GCS_NODE_JOINED && applied < 10 * backlog) {
        bool is_stopped = status_of(bus, 0).fc_is_active;
        for (int i = 0; i < 5 && !is_stopped; i++) tell_length(bus, 2, ++length, false);
        tell_length(bus, 2, --length, false);
        bus_settle(bus);
        applied++;
        stopped += is_stopped;
    }
    assert_int_equal(state_of(joiner), GCS_NODE_SYNCED);
    assert_true(applied <= 5 * backlog / 2);
    assert_true(stopped > 0 && stopped < applied); /* and the group goes on */
    item_free(item);
    bus_free(bus);
}

/* The backlog of a joiner does not stop the group; SYNC comes when it has worked it off. */
static void test_catch_up(void **state) {
    struct bus *bus = make_group(2);
    struct peer *joiner = start_peer(bus, "new");
    bus_change(bus, all(bus), false);
    bus_settle(bus);
    struct item *item = request(joiner, "");
    bus_settle(bus);
    tell_length(bus, 2, 100, false); /* nobody applies yet */
    bus_settle(bus);
    assert_false(status_of(bus, 0).fc_is_active);
    tell_join(&bus->peers[item->result], 0);
    tell_join(joiner, 0);
    bus_settle(bus);
    assert_int_equal(state_of(joiner), GCS_NODE_JOINED);
    assert_int_equal(thresholds_of(bus, 2).above, 28 + 100);
    assert_true(thresholds_of(bus, 2).below >= 28 && thresholds_of(bus, 2).below < 100);
    tell_length(bus, 2, 129, false); /* more than it brought along */
    bus_settle(bus);
    assert_true(status_of(bus, 0).fc_is_active);
    assert_int_equal(thresholds_of(bus, 2).below, 72); /* a stop takes 28 off the backlog */
    tell_length(bus, 2, 73, false);
    bus_settle(bus);
    assert_true(status_of(bus, 0).fc_is_active);
    tell_length(bus, 2, 72, false);
    bus_settle(bus);
    assert_false(status_of(bus, 0).fc_is_active);
    tell_length(bus, 2, 29, false);
    bus_settle(bus);
    assert_int_equal(state_of(joiner), GCS_NODE_JOINED);
    tell_length(bus, 2, 28, false);
    bus_settle(bus);
    assert_int_equal(state_of(joiner), GCS_NODE_SYNCED);
    assert_int_equal(thresholds_of(bus, 2).above, 28);
    item_free(item);
    bus_free(bus);
}

static void test_sync_donor(void **state) {
    struct bus *bus = make_group(2);
    struct gcs_options options = gcs_of(bus, 0)->options;
    options.sync_donor = true;
    gcs_set_options(gcs_of(bus, 0), &options, bus->now_ns);
    struct item *item = request(&bus->peers[0], GCS_SELF_DESYNC);
    bus_settle(bus);
    tell_length(bus, 0, 100, false);
    bus_settle(bus);
    assert_true(status_of(bus, 1).fc_is_active);
    options.sync_donor = false;
    gcs_set_options(gcs_of(bus, 0), &options, bus->now_ns);
    bus_settle(bus);
    assert_false(status_of(bus, 1).fc_is_active);
    item_free(item);
    bus_free(bus);
}

/* Throttle. */

static struct peer *make_throttled(struct bus *bus, double max_throttle) {
    struct peer *joiner = bus_add(bus, "new");
    joiner->node->config.options.recv_q_hard_limit = 100000; /* hard 90000, soft 22500 */
    joiner->node->config.options.max_throttle = max_throttle;
    node_start(joiner->node);
    bus_change(bus, all(bus), false);
    bus_settle(bus);
    struct item *item = request(joiner, "");
    bus_settle(bus);
    assert_int_equal(state_of(joiner), GCS_NODE_JOINER);
    item_free(item);
    return joiner;
}

static void test_throttle_slows_down(void **state) {
    struct bus *bus = make_group(1);
    struct peer *joiner = make_throttled(bus, 0.25);
    struct gcs *gcs = joiner->node->gcs;
    assert_int_equal(thresholds_of(bus, 1).bytes_above, 22500);
    gcs->flow.start_ns = bus->now_ns;
    /* 1000 bytes a millisecond as long as the group is not stopped. */
    int64_t bytes = 0, paused_ms = 0, ms = 0;
    for (; bytes < 80000 && ms < 100000; ms++) {
        joiner->node->now_ns = bus->now_ns += XB_MS;
        node_tick(joiner->node);
        if (gcs->flow.is_stopping) {
            paused_ms++;
            continue;
        }
        gcs_set_queue_length(gcs, ms + 1, bytes += 1000, false, bus->now_ns);
        if (bytes <= 22000) assert_false(gcs->flow.is_stopping);
    }
    assert_int_equal(bytes, 80000);
    /* From soft to 80000 the rate falls from 1 to 1 - 0.75 * 57.5 / 67.5 = 0.36 of the first: 92 ms instead of 57. */
    assert_in_range(paused_ms, 30, 40);
    bus_settle(bus);
    bus_free(bus);
}

static void test_throttle_ends_with_the_transfer(void **state) {
    struct bus *bus = make_group(1);
    struct peer *joiner = make_throttled(bus, 0);
    gcs_set_queue_length(joiner->node->gcs, 10, 95000, false, bus->now_ns);
    bus_settle(bus);
    assert_true(status_of(bus, 0).fc_is_active); /* and stays so */
    assert_int_equal(joiner->node->failure.code, 0);
    tell_join(&bus->peers[0], 0);
    tell_join(joiner, 0);
    bus_settle(bus);
    assert_false(status_of(bus, 0).fc_is_active);
    assert_int_equal(thresholds_of(bus, 1).bytes_above, INT64_MAX);
    bus_free(bus);
}

static void test_hard_limit(void **state) {
    struct bus *bus = make_group(1);
    struct peer *joiner = make_throttled(bus, 0.25);
    gcs_set_queue_length(joiner->node->gcs, 10, 90000, false, bus->now_ns);
    assert_int_equal(joiner->node->failure.code, -ENOBUFS);
    bus_free(bus);
}

static void test_default_limit_does_nothing(void **state) {
    struct bus *bus = make_group(1);
    struct peer *joiner = start_peer(bus, "new");
    bus_change(bus, all(bus), false);
    bus_settle(bus);
    struct item *item = request(joiner, "");
    bus_settle(bus);
    gcs_set_queue_length(joiner->node->gcs, 10, (int64_t)1 << 50, false, bus->now_ns);
    bus_settle(bus);
    assert_false(status_of(bus, 0).fc_is_active);
    item_free(item);
    bus_free(bus);
}

static void test_queue_statistics(void **state) {
    struct bus *bus = make_group(1);
    gcs_reset_stats(gcs_of(bus, 0), bus->now_ns);
    for (int n = 1; n <= 4; n++) {
        gcs_count_arrival(gcs_of(bus, 0), n - 1);
        tell_length(bus, 0, n, true);
    }
    tell_length(bus, 0, 0, true);
    gcs_count_arrival(gcs_of(bus, 0), 0); /* after a long queue as after an empty one */
    struct gcs_status s = status_of(bus, 0);
    assert_int_equal(s.recv_queue, 0);
    assert_int_equal(s.recv_queue_max, 4);
    assert_int_equal(s.recv_queue_min, 0);
    assert_true(s.recv_queue_avg == 1.2);
    node_of(bus, 0)->refusal = -EAGAIN;
    struct item *items[3];
    for (int k = 0; k < 3; k++) items[k] = item_submit(node_of(bus, 0), GCS_WRITESET, "x", 1);
    s = status_of(bus, 0);
    assert_int_equal(s.send_queue, 3);
    assert_int_equal(s.send_queue_max, 3);
    assert_true(s.send_queue_avg == 1);
    node_of(bus, 0)->refusal = 0;
    bus_settle(bus);
    assert_int_equal(status_of(bus, 0).send_queue, 0);
    for (int k = 0; k < 3; k++) item_free(items[k]);
    bus_free(bus);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_stop_and_continue),
        cmocka_unit_test(test_continue_at_lower_limit),
        cmocka_unit_test(test_refused_stop),
        cmocka_unit_test(test_continue_overtakes_its_stop),
        cmocka_unit_test(test_configuration_resets),
        cmocka_unit_test(test_catch_up),
        cmocka_unit_test(test_catch_up_under_endless_load),
        cmocka_unit_test(test_sync_donor),
        cmocka_unit_test(test_throttle_slows_down),
        cmocka_unit_test(test_throttle_ends_with_the_transfer),
        cmocka_unit_test(test_hard_limit),
        cmocka_unit_test(test_default_limit_does_nothing),
        cmocka_unit_test(test_queue_statistics),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
