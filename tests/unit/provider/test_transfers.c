/* SPDX-License-Identifier: GPL-2.0-or-later */
/* State transfers between make-believe servers. */
#include "cutter.h"
#include "group.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static void test_joining_and_rejoining_under_load(void **state) {
    struct client clients[4];
    _Atomic(bool) is_over = false;
    (void)state;
    init_nodes(3);
    assert_int_equal(fake_start(&nodes[0], "", true, ""), 0);
    assert_true(fake_wait_synced(&nodes[0], 200));
    for (unsigned i = 0; i < 4; i++) {
        start_client(&clients[i], &nodes[0], i + 1, 0, FAKE_ROWS);
        clients[i].is_over = &is_over;
        pthread_create(&clients[i].thread, NULL, run_client, &clients[i]);
    }
    for (int i = 1; i < 3; i++) { /* snapshots */
        assert_int_equal(fake_start(&nodes[i], group_addresses, false, ""), 0);
        assert_true(fake_wait_synced(&nodes[i], 200));
    }
    for (int round = 0; round < 3; round++) { /* restarts: increments with a snapshot channel */
        fake_stop(&nodes[2]);
        assert_int_equal(fake_start(&nodes[2], group_addresses, false, ""), 0);
        assert_true(fake_wait_synced(&nodes[2], 200));
    }
    for (int round = 0; round < 3; round++) { /* reconnects of a running server: increments alone */
        fake_disconnect(&nodes[1]);
        assert_int_equal(fake_connect(&nodes[1], group_addresses, false), 0);
        assert_true(fake_wait_synced(&nodes[1], 200));
    }
    atomic_store(&is_over, true);
    for (int i = 0; i < 4; i++) pthread_join(clients[i].thread, NULL);
    assert_equal_nodes(3);
    print_message("seqno %ld\n", (long)fake_last_committed(&nodes[0]));
    stop_nodes(3);
}

/* A member that asks to be sent the history somewhere else: refused if the donor is told to, a host may be named. */
static void test_where_a_donor_may_be_sent(void **state) {
    static const struct {
        const char *allowed;
        bool is_refused;
    } cases[] = {{"ist.donate_to=members", true}, {"ist.donate_to=members, 127.0.0.2", false}, {"", false}};
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        init_nodes(2);
        assert_int_equal(fake_start(&nodes[0], "", true, cases[i].allowed), 0);
        assert_true(fake_wait_synced(&nodes[0], 200));
        assert_int_equal(fake_start(&nodes[1], group_addresses, false, "ist.recv_addr=127.0.0.2"), 0);
        if (cases[i].is_refused) {
            assert_true(fake_wait_final(&nodes[1], 200));
            fake_stop(&nodes[1]);
            assert_int_equal(fake_start(&nodes[1], group_addresses, false, ""),
                             0); /* 127.0.0.1, where it is a member */
        }
        assert_true(fake_wait_synced(&nodes[1], 200));
        assert_equal_nodes(2);
        stop_nodes(2);
    }
}

/*
 * All others write without a pause, faster than the joiner applies. Joined, it would never come to the end of its queue
 * by itself: flow control has to see to it.
 */
static void test_a_slow_joiner_catches_up_under_endless_load(void **state) {
    struct client clients[6];
    _Atomic(bool) is_over = false;
    (void)state;
    init_nodes(3);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(fake_start(&nodes[i], i ? group_addresses : "", i == 0, ""), 0);
        assert_true(fake_wait_synced(&nodes[i], 200));
    }
    for (unsigned i = 0; i < 6; i++) {
        start_client(&clients[i], &nodes[i % 2], i + 1, 0, FAKE_ROWS);
        clients[i].is_over = &is_over;
        pthread_create(&clients[i].thread, NULL, run_client, &clients[i]);
    }
    nodes[2].apply_us = 1000;
    assert_int_equal(fake_start(&nodes[2], group_addresses, false, ""), 0);
    assert_true(fake_wait_synced(&nodes[2], 200));
    assert_int_equal(fake_stat(&nodes[2], "local_state"), 4);
    atomic_store(&is_over, true);
    for (int i = 0; i < 6; i++) pthread_join(clients[i].thread, NULL);
    for (int i = 0; i < 6; i++) assert_true(clients[i].done > 0);
    assert_equal_nodes(3);
    stop_nodes(3);
}

/* What has come is applied, and the rest is asked for again, with other work going on. */
static void test_an_increment_that_breaks_is_resumed(void **state) {
    struct client client, away;
    char options[96];
    (void)state;
    start_nodes(2);
    fake_stop(&nodes[1]);
    start_client(&away, &nodes[0], 1, 3000, FAKE_ROWS);
    run_clients(&away, 1);
    int from = group_port + 60, to = group_port + 61;
    struct cutter *cutter = cutter_start(from, to, 200000);
    snprintf(options, sizeof(options), "ist.recv_addr=127.0.0.1:%d;ist.recv_bind=127.0.0.1:%d", from, to);
    start_client(&client, &nodes[0], 2, 5000, FAKE_ROWS); /* all of it fits into the history */
    pthread_create(&client.thread, NULL, run_client, &client);
    assert_int_equal(fake_start(&nodes[1], group_addresses, false, options), 0);
    assert_true(fake_wait_synced(&nodes[1], 200));
    pthread_join(client.thread, NULL);
    assert_int_equal(cutter_stop(cutter), 2);
    assert_equal_nodes(2);
    stop_nodes(2);
}

/* The storage engine lost its last transactions in a crash, which it finds out after the request has been sent: the
 * stream begins too high, and is asked for again from where the server really is. */
static void test_a_server_that_is_further_back_than_it_said(void **state) {
    struct client away;
    unsigned seed = 1;
    (void)state;
    start_nodes(2);
    assert_int_equal(fake_add(&nodes[0], &seed, 1, 1, 5), 0);
    fake_wait_position(&nodes[1], fake_last_committed(&nodes[0]));
    nodes[1].lost_hash = nodes[1].history_hash;
    for (int i = 0; i < 5; i++) assert_int_equal(fake_add(&nodes[0], &seed, 2 + i, 1, 0), 0); /* change nothing */
    fake_wait_position(&nodes[1], fake_last_committed(&nodes[0]));
    fake_stop(&nodes[1]);
    nodes[1].lost = 5;
    start_client(&away, &nodes[0], 1, 3000, FAKE_ROWS); /* so that the index needs nothing from there */
    run_clients(&away, 1);
    assert_int_equal(fake_start(&nodes[1], group_addresses, false, ""), 0);
    assert_true(fake_wait_synced(&nodes[1], 200));
    assert_int_equal(nodes[1].lost, 0);
    assert_equal_nodes(2);
    stop_nodes(2);
}

/* Cut off for longer than anybody's history reaches back: only a snapshot could help, which a running server cannot
 * take. The donor refuses before it has connected; the node leaves and says so, and comes back when its server starts
 * anew. */
static void test_a_gap_that_no_history_closes(void **state) {
    struct client away;
    (void)state;
    init_nodes(3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(fake_start(&nodes[i], i ? group_addresses : "", i == 0, "gcache.size=128K"), 0);
        assert_true(fake_wait_synced(&nodes[i], 200));
    }
    assert_int_equal(nodes[2].t.options_set(&nodes[2].t, "gmcast.isolate=1"), 0);
    assert_true(fake_wait_view(&nodes[0], true, 2, 200));
    assert_true(fake_wait_view(&nodes[2], false, 1, 200));
    start_client(&away, &nodes[0], 1, 3000, FAKE_ROWS);
    run_clients(&away, 1);
    atomic_store(&fake_wanted_lines, 0);
    atomic_store(&fake_wanted_line, "No donor has the history that this node lacks");
    assert_int_equal(nodes[2].t.options_set(&nodes[2].t, "gmcast.isolate=0"), 0);
    assert_true(fake_wait_final(&nodes[2], 200));
    assert_int_equal(atomic_load(&fake_wanted_lines), 1);
    atomic_store(&fake_wanted_line, NULL);
    fake_stop(&nodes[2]);
    assert_int_equal(fake_start(&nodes[2], group_addresses, false, ""), 0);
    assert_true(fake_wait_synced(&nodes[2], 200));
    assert_equal_nodes(3);
    stop_nodes(3);
}

/* A server that can be loaded while it runs (mysqldump) offers a snapshot with every request, and says each time where
 * it is. What it said the last time, in the same membership, is not where it is now. */
static void test_a_running_server_that_takes_snapshots_is_cut_off(void **state) {
    struct client away;
    unsigned seed = 1;
    (void)state;
    init_nodes(3);
    nodes[2].takes_live = true;
    for (int i = 0; i < 3; i++) {
        assert_int_equal(fake_start(&nodes[i], i ? group_addresses : "", i == 0, ""), 0);
        assert_true(fake_wait_synced(&nodes[i], 200));
    }
    for (int i = 0; i < 5; i++) assert_int_equal(fake_add(&nodes[0], &seed, i, 1, 1), 0);
    fake_wait_position(&nodes[2], fake_last_committed(&nodes[0]));
    assert_int_equal(nodes[2].t.options_set(&nodes[2].t, "gmcast.isolate=1"), 0);
    assert_true(fake_wait_view(&nodes[0], true, 2, 200));
    assert_true(fake_wait_view(&nodes[2], false, 1, 200));
    start_client(&away, &nodes[0], 1, 300, FAKE_ROWS);
    run_clients(&away, 1);
    assert_int_equal(nodes[2].t.options_set(&nodes[2].t, "gmcast.isolate=0"), 0);
    assert_true(fake_wait_view(&nodes[2], true, 3, 200));
    assert_true(fake_wait_synced(&nodes[2], 200));
    assert_equal_nodes(3);
    stop_nodes(3);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_joining_and_rejoining_under_load),
        cmocka_unit_test(test_where_a_donor_may_be_sent),
        cmocka_unit_test(test_a_slow_joiner_catches_up_under_endless_load),
        cmocka_unit_test(test_an_increment_that_breaks_is_resumed),
        cmocka_unit_test(test_a_server_that_is_further_back_than_it_said),
        cmocka_unit_test(test_a_gap_that_no_history_closes),
        cmocka_unit_test(test_a_running_server_that_takes_snapshots_is_cut_off),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
