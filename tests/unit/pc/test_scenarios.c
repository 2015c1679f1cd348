/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The scenarios of spec 04 section 19 but for recovery, on the bus of bus.h. */
#include "scenario.h"

static void test_bootstrap_and_join(void **state) {
    (void)state;
    struct bus *bus = cluster(3);
    assert_false(bus->nodes[0].shown.is_bootstrap);
    assert_int_equal(bus->nodes[0].shown.members[1].segment, 1);
    assert_int_equal(pc_cluster_weight(bus->nodes[0].pc), 3);
    for (uint32_t i = 0; i < 5; i++) assert_int_equal(bus_send(bus, (int)(i % 3), i), 0);
    bus_run(bus);
    assert_int_equal(bus->nodes[2].delivered_count, 5);
    assert_int_equal(bus->nodes[2].delivered[0].user_type, 7);
    assert_int_equal(bus->nodes[2].delivered[4].to_seq, 4);
    assert_same_history(bus, 0, 1);
    assert_same_history(bus, 0, 2);
    bus_free(bus);
}

/* The joiner's UUID is smaller than that of the bootstrapped node, so it sends the INSTALL. */
static void test_reverse_uuids(void **state) {
    (void)state;
    struct bus *bus = bus_new();
    bus_start(bus, 3, true, NULL);
    bus_start(bus, 1, false, NULL);
    CHANGE(bus, X, 1, X, 0, X, X, X, X);
    bus_run(bus);
    assert_primary(bus, 8, 1);
    assert_non_primary(bus, 2);
    assert_int_equal(bus_send(bus, 1, 1), -ENOTCONN);
    CHANGE(bus, X, 0, X, 0, X, X, X, X);
    assert_int_equal(bus_send(bus, 3, 1), -EAGAIN);
    bus_run(bus);
    assert_primary(bus, 10, 2);
    bus_free(bus);
}

static void test_split_2_1(void **state) {
    (void)state;
    struct bus *bus = cluster(3);
    int before = bus->nodes[0].non_prim_views;
    CHANGE(bus, 0, 0, 1, X, X, X, X, X);
    bus_run(bus);
    assert_primary(bus, 3, 2);
    assert_non_primary(bus, 4);
    assert_int_equal(bus->nodes[0].non_prim_views, before); /* PRIM -> PRIM directly */
    assert_int_equal(pc_cluster_weight(bus->nodes[2].pc), 0);
    assert_int_equal(bus_send(bus, 0, 42), 0);
    bus_run(bus);
    CHANGE(bus, 0, 0, 0, X, X, X, X, X);
    bus_run(bus);
    assert_primary(bus, 7, 3);
    assert_int_equal(bus_send(bus, 2, 43), 0);
    bus_run(bus);
    assert_int_equal(bus->nodes[2].delivered[0].to_seq, 1); /* the number goes on from the primary side */
    bus_free(bus);
}

static void test_split_2_2(void **state) {
    (void)state;
    struct bus *bus = cluster(4);
    for (uint32_t i = 0; i < 8; i++) assert_int_equal(bus_send(bus, (int)(i % 4), i), 0);
    for (int i = 0; i < 3; i++) bus_deliver(bus, 2); /* in flight when the group splits */
    CHANGE(bus, 0, 0, 1, 1, X, X, X, X);
    bus_run(bus);
    assert_non_primary(bus, 15);
    for (int i = 0; i < 4; i++) assert_int_equal(bus->nodes[i].shown.member_count, 2);
    CHANGE(bus, 0, 0, 0, 0, X, X, X, X);
    bus_run(bus);
    assert_primary(bus, 15, 4);
    bus_free(bus);
}

static void test_merge_with_messages(void **state) {
    (void)state;
    struct bus *bus = cluster(3);
    CHANGE(bus, 0, 0, X, X, X, X, X, X);
    bus_run(bus);
    for (uint32_t i = 0; i < 9; i++) assert_int_equal(bus_send(bus, (int)(i % 2), i), 0);
    for (int i = 0; i < 4; i++) bus_deliver(bus, 0);
    bus->nodes[2].view = NULL;
    bus_set_uuid(bus, 2, 0x8123);
    bus_start(bus, 2, false, NULL);
    CHANGE(bus, 0, 0, 0, X, X, X, X, X);
    bus_run(bus);
    assert_primary(bus, 7, 3);
    assert_same_history(bus, 0, 1);
    assert_int_equal(bus->nodes[0].delivered[8].to_seq, 8); /* delivered in TRANS, still counted */
    bus_free(bus);
}

static void test_shatter_and_merge(void **state) {
    (void)state;
    struct bus *bus = cluster(5);
    CHANGE(bus, 0, 1, 2, 3, 4, X, X, X);
    bus_run(bus);
    assert_non_primary(bus, 31);
    CHANGE(bus, 0, 0, 0, 1, 1, X, X, X);
    bus_run(bus);
    assert_non_primary(bus, 31); /* a majority of the old view that comes together later has no claim (pitfalls) */
    CHANGE(bus, 0, 0, 0, 0, 0, X, X, X);
    bus_run(bus);
    assert_primary(bus, 31, 5);
    bus_free(bus);
}

/* Two groups bootstrapped apart meet: section 6.5 step 1. */
static void conflict(bool npvo) {
    struct bus *bus = bus_new();
    for (int i = 0; i < 4; i++) bus->nodes[i].options.npvo = npvo;
    bus_start(bus, 0, true, NULL);
    bus_start(bus, 1, true, NULL);
    bus_start(bus, 2, false, NULL);
    CHANGE(bus, 0, 1, 2, X, X, X, X, X);
    bus_run(bus);
    CHANGE(bus, X, 1, 1, X, X, X, X, X); /* the group of 1 is at a higher view number: greater */
    bus_run(bus);
    assert_primary(bus, 1, 1);
    assert_primary(bus, 6, 2);
    bus_start(bus, 3, false, NULL);
    CHANGE(bus, 0, 0, 0, 0, X, X, X, X);
    bus_run(bus);
    for (int i = 0; i < 3; i++) {
        bool is_loser = (i == 0) != npvo;
        assert_int_equal(bus->nodes[i].has_failed, is_loser);
        assert_int_equal(bus->nodes[i].is_conflict, is_loser);
        assert_int_equal(bus->nodes[i].has_saved, !is_loser);
    }
    assert_false(bus->nodes[3].has_failed); /* the neutral one waits (section 17.5) */
    assert_int_equal(pc_get_state(bus->nodes[3].pc), PC_STATES_EXCH);
    if (npvo)
        CHANGE(bus, 0, C, C, 0, X, X, X, X);
    else
        CHANGE(bus, C, 0, 0, 0, X, X, X, X);
    bus_run(bus);
    assert_primary(bus, npvo ? 9 : 14, npvo ? 2 : 3);
    bus_free(bus);
}

static void test_conflicting_prims(void **state) {
    (void)state;
    conflict(false);
    conflict(true);
}

static void test_weights(void **state) {
    (void)state;
    struct bus *bus = bus_new();
    bus->nodes[0].options.weight = 3;
    for (int i = 0; i < 3; i++) bus_start(bus, i, i == 0, NULL);
    CHANGE(bus, 0, 0, 0, X, X, X, X, X);
    bus_run(bus);
    assert_primary(bus, 7, 3);
    assert_int_equal(pc_cluster_weight(bus->nodes[2].pc), 5);
    CHANGE(bus, 0, 1, 1, X, X, X, X, X);
    bus_run(bus);
    assert_primary(bus, 1, 1);
    assert_non_primary(bus, 6);
    CHANGE(bus, 0, 0, 0, X, X, X, X, X);
    bus_run(bus);
    assert_primary(bus, 7, 3);
    CHANGE(bus, L, 0, 0, X, X, X, X, X); /* the heavy one leaves gracefully: the others go on */
    bus_run(bus);
    assert_primary(bus, 6, 2);
    assert_int_equal(bus->nodes[0].empty_views, 1);
    assert_int_equal(pc_get_state(bus->nodes[0].pc), PC_CLOSED);
    assert_false(bus->nodes[0].has_saved);
    bus_free(bus);
}

static void test_weight_change(void **state) {
    (void)state;
    struct bus *bus = cluster(3);
    assert_int_equal(pc_set_weight(bus->nodes[1].pc, 256, 0), -ERANGE);
    assert_int_equal(pc_set_weight(bus->nodes[1].pc, -1, 0), -ERANGE);
    assert_int_equal(pc_set_weight(bus->nodes[1].pc, 3, 0), 0);
    bus_run(bus);
    assert_int_equal(bus->nodes[1].weight_changes, 1);
    assert_int_equal(bus->nodes[1].last_weight, 3);
    assert_int_equal(bus->nodes[0].weight_changes, 0);
    assert_int_equal(pc_cluster_weight(bus->nodes[0].pc), 5);
    assert_int_equal(pc_set_weight(bus->nodes[1].pc, 255, 0), 0); /* the old weights may not be used again */
    bus_run(bus);
    CHANGE(bus, 0, 1, 0, X, X, X, X, X);
    assert_int_equal(pc_set_weight(bus->nodes[0].pc, 2, 0), -EAGAIN);
    bus_run(bus);
    assert_primary(bus, 2, 1);
    assert_non_primary(bus, 5);
    assert_int_equal(pc_set_weight(bus->nodes[0].pc, 2, 0), -EAGAIN);
    bus_free(bus);
}

/* The weight change is cut by a view change: section 6.7. */
static void test_weight_change_in_trans(void **state) {
    (void)state;
    struct bus *bus = cluster(3); /* a join: everybody of the basis stays, so it holds */
    bus_start(bus, 3, false, NULL);
    assert_int_equal(pc_set_weight(bus->nodes[2].pc, 4, 0), 0);
    CHANGE(bus, 0, 0, 0, 0, X, X, X, X);
    bus_run(bus);
    assert_primary(bus, 15, 4);
    for (int i = 0; i < 4; i++) assert_int_equal(pc_cluster_weight(bus->nodes[i].pc), 7);
    assert_int_equal(bus->nodes[2].weight_changes, 1);
    bus_free(bus);

    bus = cluster(3); /* a graceful leave likewise */
    assert_int_equal(pc_set_weight(bus->nodes[1].pc, 4, 0), 0);
    CHANGE(bus, 0, 0, L, X, X, X, X, X);
    bus_run(bus);
    assert_primary(bus, 3, 2);
    assert_int_equal(pc_cluster_weight(bus->nodes[0].pc), 5);
    bus_free(bus);

    bus = cluster(3); /* a partition: the lost one may count differently, so nobody is primary */
    assert_int_equal(pc_set_weight(bus->nodes[1].pc, 4, 0), 0);
    CHANGE(bus, 0, 0, 1, X, X, X, X, X);
    bus_run(bus);
    assert_non_primary(bus, 7);
    CHANGE(bus, 0, 0, 0, X, X, X, X, X);
    bus_run(bus);
    assert_primary(bus, 7, 3);
    assert_int_equal(pc_cluster_weight(bus->nodes[2].pc), 6);
    bus_free(bus);
}

/* Old primary {0,1}, node 2 joins; the INSTALL for {0,1,2} is in flight when 1 goes: {0,2} must not be primary, since
 * 1 may have installed; and only its return ends the doubt. */
static void test_trans_install(void **state) {
    (void)state;
    for (int has_installed = 0; has_installed < 2; has_installed++) {
        struct bus *bus = cluster(2);
        bus_start(bus, 2, false, NULL);
        CHANGE(bus, 0, 0, 0, X, X, X, X, X);
        for (int i = 0; i < 3; i++) {
            bus_deliver(bus, 0);
            bus_deliver(bus, 1);
            bus_deliver(bus, 2);
        }
        assert_int_equal(pc_get_state(bus->nodes[0].pc), PC_INSTALL);
        assert_int_equal(bus_log_size(bus, 0), 4);
        if (has_installed) {
            bus_deliver(bus, 1);
            assert_primary(bus, 2, 3);
        }
        CHANGE(bus, 0, 1, 0, X, X, X, X, X);
        bus_run(bus);
        assert_non_primary(bus, 7);
        /* Node 2 comes back alone with 0 after another split: still nothing. */
        CHANGE(bus, 0, 1, 2, X, X, X, X, X);
        bus_run(bus);
        CHANGE(bus, 0, 1, 0, X, X, X, X, X);
        bus_run(bus);
        assert_non_primary(bus, 7);
        CHANGE(bus, 0, 0, 0, X, X, X, X, X);
        bus_run(bus);
        assert_primary(bus, 7, 3);
        bus_free(bus);
    }
    /* With a majority of both the old and the new set the doubt does no harm. */
    struct bus *bus = cluster(4);
    bus_start(bus, 4, false, NULL);
    CHANGE(bus, 0, 0, 0, 0, 0, X, X, X);
    for (int n = 0; n < 5; n++)
        for (int i = 0; i < 5; i++) bus_deliver(bus, n);
    assert_int_equal(bus_log_size(bus, 0), 6);
    CHANGE(bus, 0, 0, 0, 1, 0, X, X, X);
    bus_run(bus);
    assert_primary(bus, 23, 4);
    bus_free(bus);
}

/* The one in doubt crashes and comes back with its saved state: that will do. */
static void test_unknown_restarts(void **state) {
    (void)state;
    for (int has_installed = 0; has_installed < 2; has_installed++) {
        struct bus *bus = cluster(2);
        bus_start(bus, 2, false, NULL);
        CHANGE(bus, 0, 0, 0, X, X, X, X, X);
        for (int n = 0; n < 3; n++)
            for (int i = 0; i < 3; i++) bus_deliver(bus, n);
        if (has_installed) bus_deliver(bus, 1);
        CHANGE(bus, 0, C, 0, X, X, X, X, X);
        bus_run(bus);
        assert_non_primary(bus, 5);
        bus_restart(bus, 1);
        CHANGE(bus, 0, 0, 0, X, X, X, X, X);
        bus_run(bus);
        assert_primary(bus, 7, 3);
        bus_free(bus);
    }
}

/* 0 and 1 know of the doubt about 2 and tell 3, which was never in: without the flag {0,1,3} would re-form. */
static void test_unknown_is_passed_on(void **state) {
    (void)state;
    struct bus *bus = cluster(2);
    bus_start(bus, 2, false, NULL);
    CHANGE(bus, 0, 0, 0, X, X, X, X, X);
    for (int n = 0; n < 3; n++)
        for (int i = 0; i < 3; i++) bus_deliver(bus, n);
    CHANGE(bus, 0, 1, 2, X, X, X, X, X); /* all apart, each with the INSTALL in TRANS */
    bus_run(bus);
    assert_non_primary(bus, 7);
    CHANGE(bus, 0, 0, 1, X, X, X, X, X); /* all of {0,1}, but 2 may have installed */
    bus_run(bus);
    assert_non_primary(bus, 7);
    CHANGE(bus, 0, 0, 0, X, X, X, X, X);
    bus_run(bus);
    assert_primary(bus, 7, 3);
    bus_free(bus);
}

static void test_eviction(void **state) {
    (void)state;
    struct bus *bus = cluster(4);
    bus->is_evicted[3] = true;
    CHANGE(bus, 0, 0, 1, C, X, X, X, X); /* the evicted one and the quorum go together */
    bus_run(bus);
    assert_non_primary(bus, 7);
    CHANGE(bus, 0, 0, 0, X, X, X, X, X);
    bus_run(bus);
    assert_primary(bus, 7, 3); /* nobody waits for the evicted node */
    bus_free(bus);
    bus = cluster(4);
    CHANGE(bus, 0, 0, 1, C, X, X, X, X);
    bus_run(bus);
    CHANGE(bus, 0, 0, 0, X, X, X, X, X);
    bus_run(bus);
    assert_non_primary(bus, 7); /* without the eviction all four have to be back */
    bus_free(bus);
}

static void test_bootstrap_at_run_time(void **state) {
    (void)state;
    struct bus *bus = cluster(3);
    assert_int_equal(pc_bootstrap(bus->nodes[0].pc, 0), 0); /* ignored in PRIM */
    assert_int_equal(bus_log_size(bus, 0), 4);
    CHANGE(bus, 0, C, C, X, X, X, X, X);
    bus_run(bus);
    assert_non_primary(bus, 1);
    bus_start(bus, 3, false, NULL);
    CHANGE(bus, 0, X, X, 0, X, X, X, X);
    assert_int_equal(pc_bootstrap(bus->nodes[3].pc, 0), 0); /* ignored during the exchange */
    bus_run(bus);
    assert_non_primary(bus, 9);
    assert_int_equal(pc_bootstrap(bus->nodes[3].pc, 0), 0);
    assert_int_equal(pc_bootstrap(bus->nodes[0].pc, 0), 0); /* twice does no harm */
    bus_run(bus);
    assert_primary(bus, 9, 2);
    assert_true(bus->nodes[0].shown.is_bootstrap);
    bus_free(bus);

    bus = cluster(2); /* cut by a membership change: dropped */
    CHANGE(bus, 0, C, X, X, X, X, X, X);
    bus_run(bus);
    assert_int_equal(pc_bootstrap(bus->nodes[0].pc, 0), 0);
    bus_start(bus, 2, false, NULL);
    CHANGE(bus, 0, X, 0, X, X, X, X, X);
    bus_run(bus);
    assert_non_primary(bus, 5);
    bus_free(bus);

    bus = bus_new(); /* before the first view */
    bus_start(bus, 0, false, NULL);
    assert_int_equal(pc_bootstrap(bus->nodes[0].pc, 0), 0);
    bus_free(bus);
}

static void test_install_retry(void **state) {
    (void)state;
    struct bus *bus = cluster(2);
    bus_start(bus, 2, false, NULL);
    CHANGE(bus, 0, 0, 0, X, X, X, X, X);
    bus->nodes[0].refuse = 2; /* the INSTALL and its first repetition */
    bus_run(bus);
    assert_int_equal(pc_get_state(bus->nodes[0].pc), PC_INSTALL);
    bus_tick(bus, 50 * XB_MS);
    bus_tick(bus, 60 * XB_MS);
    assert_int_equal(bus->nodes[0].refuse, 0);
    bus_run(bus);
    assert_int_equal(pc_get_state(bus->nodes[0].pc), PC_INSTALL);
    bus_tick(bus, 100 * XB_MS);
    bus_run(bus);
    assert_primary(bus, 7, 3);
    bus_free(bus);

    bus = cluster(2); /* it never manages: after the grace period another one does */
    bus_start(bus, 2, false, NULL);
    CHANGE(bus, 0, 0, 0, X, X, X, X, X);
    bus->nodes[0].refuse = 1000000;
    bus_run(bus);
    for (int i = 0; i < 19; i++) bus_tick(bus, 100 * XB_MS);
    bus_run(bus);
    assert_int_equal(pc_get_state(bus->nodes[2].pc), PC_INSTALL);
    bus_tick(bus, 200 * XB_MS);
    bus_run(bus);
    assert_primary(bus, 7, 3);
    for (int i = 0; i < 50; i++) bus_tick(bus, 100 * XB_MS);
    assert_false(bus_deliver(bus, 1)); /* and then nobody sends any more */
    bus_free(bus);
}

static void test_zero_weights(void **state) {
    (void)state;
    struct bus *bus = bus_new();
    for (int i = 0; i < 3; i++) bus->nodes[i].options.weight = 0;
    bus_start(bus, 0, true, NULL);
    bus_start(bus, 1, false, NULL);
    CHANGE(bus, 0, 0, X, X, X, X, X, X);
    bus_run(bus);
    assert_non_primary(bus, 0);
    bus_start(bus, 2, false, NULL);
    CHANGE(bus, 0, 0, 0, X, X, X, X, X);
    for (int n = 0; n < 3; n++)
        for (int i = 0; i < 3; i++) bus_deliver(bus, n);
    CHANGE(bus, 0, 1, 0, X, X, X, X, X); /* an INSTALL in TRANS without quorum, if there is one */
    bus_run(bus);
    for (int i = 0; i < 3; i++) assert_false(bus->nodes[i].has_failed);
    bus_free(bus);
}

static void test_ignore_options(void **state) {
    (void)state;
    struct bus *bus = cluster(2);
    pc_set_ignore(bus->nodes[0].pc, true, false);
    CHANGE(bus, 0, 1, X, X, X, X, X, X);
    bus_run(bus);
    assert_primary(bus, 1, 1);
    assert_non_primary(bus, 2);
    bus_free(bus);
    bus = cluster(5);
    pc_set_ignore(bus->nodes[0].pc, true, false);
    pc_set_ignore(bus->nodes[1].pc, false, true);
    CHANGE(bus, 0, 1, C, C, C, X, X, X);
    bus_run(bus);
    assert_non_primary(bus, 1);
    assert_primary(bus, 2, 1);
    CHANGE(bus, 0, L, X, X, X, X, X, X); /* closing: nothing is ignored */
    bus_free(bus);
}

/* A group that is not primary does not collect the records of a node that comes and goes (section 17.8). */
static void test_no_growth(void **state) {
    (void)state;
    struct bus *bus = cluster(3);
    CHANGE(bus, 0, C, C, X, X, X, X, X);
    for (uint16_t i = 0; i < 1000; i++) {
        bus_run(bus);
        bus_set_uuid(bus, 3, (uint16_t)(0x9000 + i));
        bus_start(bus, 3, false, NULL);
        CHANGE(bus, 0, X, X, 0, X, X, X, X);
        bus_run(bus);
        CHANGE(bus, 0, X, X, C, X, X, X, X);
    }
    bus_run(bus);
    assert_non_primary(bus, 1);
    assert_true(bus->nodes[0].pc->nodes.count <= 4);
    bus_free(bus);
}

/* Random partitions, merges, crashes, restarts and messages. At most one primary component; the members of one view
 * agree; everything heals once all are together and nobody is lost. */
static void check_one_primary(const struct bus *bus) {
    const struct bus_node *first = NULL;
    for (int i = 0; i < BUS_NODES; i++) {
        const struct bus_node *node = &bus->nodes[i];
        if (!node->pc || !node->view || pc_get_state(node->pc) != PC_PRIM) continue;
        if (!first) first = node;
        if (!view_id_equal(&first->shown.id, &node->shown.id)) fail_msg("two primary components");
        assert_int_equal(first->shown.member_count, node->shown.member_count);
    }
}

static void random_run(uint64_t seed) {
    struct xb_random random;
    xb_random_seed(&random, seed);
    int count = 2 + (int)xb_random_below(&random, 4);
    struct bus *bus = cluster(count);
    uint32_t value = 0;
    for (int step = 0; step < 60; step++) {
        for (uint64_t i = xb_random_below(&random, 20); i > 0; i--)
            bus_send(bus, (int)xb_random_below(&random, (uint64_t)count), value++);
        for (uint64_t i = xb_random_below(&random, 60); i > 0; i--)
            bus_deliver(bus, (int)xb_random_below(&random, (uint64_t)count));
        check_one_primary(bus);
        if (xb_random_below(&random, 6) == 0) bus_run(bus);
        int to[BUS_NODES] = {X, X, X, X, X, X, X, X};
        for (int i = 0; i < count; i++) {
            if (!bus->nodes[i].view) bus_restart(bus, i);
            to[i] = (int)xb_random_below(&random, 3);
            if (xb_random_below(&random, 12) == 0) to[i] = C;
        }
        bus_change(bus, to);
        for (int i = 0; i < count; i++)
            if (bus->nodes[i].has_failed) fail_msg("seed %d: node %d: %s", (int)seed, i, bus->nodes[i].failure.text);
    }
    int to[BUS_NODES] = {X, X, X, X, X, X, X, X};
    for (int i = 0; i < count; i++) {
        if (!bus->nodes[i].view) bus_restart(bus, i);
        to[i] = 0;
    }
    bus_change(bus, to);
    bus_run(bus);
    for (int i = 0; i < count; i++)
        if (!is_primary(bus, i)) fail_msg("seed %d: not healed", (int)seed);
    check_one_primary(bus);
    bus_free(bus);
}

static void test_random(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 60; seed++) random_run(seed);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bootstrap_and_join),
        cmocka_unit_test(test_reverse_uuids),
        cmocka_unit_test(test_split_2_1),
        cmocka_unit_test(test_split_2_2),
        cmocka_unit_test(test_merge_with_messages),
        cmocka_unit_test(test_shatter_and_merge),
        cmocka_unit_test(test_conflicting_prims),
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_weight_change),
        cmocka_unit_test(test_weight_change_in_trans),
        cmocka_unit_test(test_trans_install),
        cmocka_unit_test(test_unknown_restarts),
        cmocka_unit_test(test_unknown_is_passed_on),
        cmocka_unit_test(test_eviction),
        cmocka_unit_test(test_bootstrap_at_run_time),
        cmocka_unit_test(test_install_retry),
        cmocka_unit_test(test_zero_weights),
        cmocka_unit_test(test_ignore_options),
        cmocka_unit_test(test_no_growth),
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
