/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Groups of make-believe servers in one process, through the provider interface, over real sockets. */
#include "group.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

static void test_conflicts_leave_all_nodes_equal(void **state) {
    struct client clients[9];
    (void)state;
    start_nodes(3);
    for (unsigned i = 0; i < 9; i++) start_client(&clients[i], &nodes[i % 3], i + 1, 150, 16);
    run_clients(clients, 9);
    assert_equal_nodes(3);
    int64_t commits = 0, aborts = 0, replays = 0;
    for (int i = 0; i < 3; i++) {
        commits += atomic_load(&nodes[i].commits);
        aborts += atomic_load(&nodes[i].aborts);
        replays += atomic_load(&nodes[i].replays);
        assert_int_equal(fake_stat(&nodes[i], "open_transactions"), 0);
        assert_int_equal(fake_stat(&nodes[i], "local_commits"), atomic_load(&nodes[i].commits));
    }
    print_message("commits %ld aborts %ld replays %ld\n", (long)commits, (long)aborts, (long)replays);
    assert_true(commits > 100);
    stop_nodes(3);
}

static void *run_toi(void *arg) {
    struct fake_server *s = arg;
    for (int i = 0; i < 20; i++) assert_int_equal(fake_toi(s, (uint64_t)(1000 + i), -1), 0);
    return NULL;
}

static void test_isolated_statements_among_transactions(void **state) {
    struct client clients[6];
    pthread_t tois[3];
    (void)state;
    start_nodes(3);
    for (unsigned i = 0; i < 6; i++) {
        start_client(&clients[i], &nodes[i % 3], i + 1, 100, 32);
        pthread_create(&clients[i].thread, NULL, run_client, &clients[i]);
    }
    for (int i = 0; i < 3; i++) pthread_create(&tois[i], NULL, run_toi, &nodes[i]);
    for (int i = 0; i < 6; i++) pthread_join(clients[i].thread, NULL);
    for (int i = 0; i < 3; i++) pthread_join(tois[i], NULL);
    assert_equal_nodes(3);
    stop_nodes(3);
}

static void test_streaming(void **state) {
    struct client clients[6];
    (void)state;
    start_nodes(3);
    for (unsigned i = 0; i < 6; i++) {
        start_client(&clients[i], &nodes[i % 3], i + 1, 100, 24);
        clients[i].is_streaming = true;
    }
    run_clients(clients, 6);
    assert_equal_nodes(3);
    for (int i = 0; i < 3; i++) assert_int_equal(fake_stat(&nodes[i], "open_transactions"), 0);
    stop_nodes(3);
}

static void test_a_partition_and_back(void **state) {
    struct client clients[6];
    (void)state;
    start_nodes(3);
    for (unsigned i = 0; i < 6; i++) { /* those of the third node are refused most of the time, and end with the rest */
        start_client(&clients[i], &nodes[i % 3], i + 1, 3000, FAKE_ROWS);
        pthread_create(&clients[i].thread, NULL, run_client, &clients[i]);
    }
    for (int round = 0; round < 2; round++) {
        struct abi_table *t = &nodes[2].t;
        unsigned seed = 1;
        assert_int_equal(t->options_set(t, "gmcast.isolate=1"), 0);
        assert_true(fake_wait_view(&nodes[0], true, 2, 200));
        assert_true(fake_wait_view(&nodes[2], false, 1, 200));
        assert_int_equal(fake_add(&nodes[2], &seed, 3, 1, 1), 1047);
        assert_int_equal(fake_toi(&nodes[2], 5, -1), 6);
        assert_int_equal(t->sync_wait(t, NULL, 1, NULL), 3);
        assert_int_equal(t->options_set(t, "gmcast.isolate=0"), 0);
        assert_true(fake_wait_synced(&nodes[2], 200));
    }
    for (int i = 0; i < 6; i++) pthread_join(clients[i].thread, NULL);
    for (int i = 0; i < 3; i++) assert_true(fake_wait_view(&nodes[i], true, 3, 200));
    assert_equal_nodes(3);
    stop_nodes(3);
}

static void *run_nbo_end(void *arg) {
    fake_nbo_end(arg, 77);
    return NULL;
}

static void test_a_statement_beside_a_non_blocking_operation(void **state) {
    unsigned seed = 1;
    pthread_t ends[3];
    (void)state;
    start_nodes(3);
    fake_nbo_begin(&nodes[0], 77);
    assert_int_equal(fake_toi(&nodes[1], 5, -1), 3);
    fake_wait_position(&nodes[2], fake_last_committed(&nodes[1]));
    assert_int_equal(fake_add(&nodes[2], &seed, 3, 1, 5), 0); /* rows are not in its way */
    assert_equal_nodes(3);
    for (int i = 0; i < 3; i++) assert_int_equal(atomic_load(&nodes[i].failed_tois), i != 1);
    for (int i = 0; i < 3; i++) pthread_create(&ends[i], NULL, run_nbo_end, &nodes[i]);
    for (int i = 0; i < 3; i++) pthread_join(ends[i], NULL);
    assert_int_equal(fake_toi(&nodes[1], 5, -1), 0);
    assert_equal_nodes(3);
    stop_nodes(3);
}

static void test_bootstrap_is_refused_where_it_is_not_safe(void **state) {
    (void)state;
    start_nodes(2);
    fake_stop(&nodes[1]);
    fake_stop(&nodes[0]); /* the last one */
    assert_int_equal(fake_start(&nodes[1], "", true, ""), 7);
    nodes[1].t.free(&nodes[1].t);
    assert_int_equal(fake_start(&nodes[0], "", true, ""), 0);
    assert_true(fake_wait_synced(&nodes[0], 200));
    assert_int_equal(fake_start(&nodes[1], group_addresses, false, ""), 0);
    assert_true(fake_wait_synced(&nodes[1], 200));
    assert_equal_nodes(2);
    stop_nodes(2);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_conflicts_leave_all_nodes_equal),
        cmocka_unit_test(test_isolated_statements_among_transactions),
        cmocka_unit_test(test_streaming),
        cmocka_unit_test(test_a_partition_and_back),
        cmocka_unit_test(test_a_statement_beside_a_non_blocking_operation),
        cmocka_unit_test(test_bootstrap_is_refused_where_it_is_not_safe),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
