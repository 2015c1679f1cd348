/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Nodes that cannot go on: who leaves, and how it comes back. */
#include "group.h"
#include "rogue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

static void test_a_node_that_is_alone_with_its_error_leaves(void **state) {
    unsigned seed = 1;
    (void)state;
    start_nodes(3);
    nodes[2].poison_row = 7;
    assert_int_equal(fake_add(&nodes[0], &seed, 7, 1, 5), 0);
    assert_true(fake_wait_final(&nodes[2], 200));
    assert_int_equal(fake_stat(&nodes[2], "local_state"), 5);
    char *comment = fake_stat_text(&nodes[2], "local_state_comment");
    assert_string_equal(comment, "Inconsistent");
    free(comment);
    assert_int_equal(fake_add(&nodes[2], &seed, 1, 1, 5), 1047);
    assert_true(fake_wait_view(&nodes[0], true, 2, 200));
    assert_int_equal(fake_add(&nodes[1], &seed, 8, 1, 5), 0);
    assert_equal_nodes(2);
    fake_disconnect(&nodes[2]); /* a running server cannot take the snapshot that it would need */
    assert_int_equal(fake_connect(&nodes[2], group_addresses, false), 0);
    assert_true(fake_wait_final(&nodes[2], 200));
    fake_stop(&nodes[2]); /* and comes back with a snapshot */
    nodes[2].poison_row = -1;
    nodes[2].position = (struct abi_gtid){{{0}}, -1};
    assert_int_equal(fake_start(&nodes[2], group_addresses, false, ""), 0);
    assert_true(fake_wait_synced(&nodes[2], 200));
    assert_equal_nodes(3);
    stop_nodes(3);
}

/* The node turns out to be wrong while a local transaction has its place in the order and is on its way to commit. The
 * node has no position any more when it gets there: it must get through all the same. */
static void test_who_is_under_way_on_a_node_that_is_wrong_gets_through(void **state) {
    unsigned seed = 1;
    (void)state;
    start_nodes(3);
    struct abi_table *t = &nodes[2].t;
    struct abi_ws_handle handle = {900001, NULL};
    struct abi_trx_meta meta = {.gtid = {{{0}}, -1}, .stid = {{{0}}, UINT64_MAX, UINT64_MAX}, .depends_on = -1};
    struct abi_buf part = {"apart", 5}, none = {NULL, 0};
    struct abi_key key = {&part, 1};
    nodes[2].apply_us = 500000;
    nodes[2].poison_row = 7;
    assert_int_equal(fake_add(&nodes[0], &seed, 7, 1, 5), 0);
    assert_int_equal(t->append_key(t, &handle, &key, 1, 3, true), 0);
    assert_int_equal(t->certify(t, 1, &handle, FLAG_START | FLAG_END, &meta), 0);
    assert_true(meta.gtid.seqno > 0);
    assert_true(fake_wait_final(&nodes[2], 200));
    fake_disconnect(&nodes[2]);
    assert_int_equal(t->commit_order_enter(t, &handle, &meta), 0);
    assert_int_equal(t->commit_order_leave(t, &handle, &meta, &none), 0);
    assert_int_equal(t->release(t, &handle), 0);
    assert_null(handle.opaque);
    stop_nodes(3);
}

static void test_an_error_of_all_others_removes_the_origin(void **state) {
    unsigned seed = 1;
    (void)state;
    start_nodes(3);
    nodes[1].poison_row = nodes[2].poison_row = 7;
    assert_int_equal(fake_add(&nodes[0], &seed, 7, 1, 5), 0);
    assert_true(fake_wait_final(&nodes[0], 200));
    assert_int_equal(fake_stat(&nodes[0], "local_state"), 5);
    assert_true(fake_wait_view(&nodes[1], true, 2, 200));
    assert_int_equal(fake_add(&nodes[1], &seed, 8, 1, 5), 0);
    fake_wait_position(&nodes[2], fake_last_committed(&nodes[1]));
    assert_memory_equal(nodes[1].rows, nodes[2].rows, sizeof(nodes[1].rows));
    stop_nodes(3);
}

/* Whatever the server cannot do, it goes on running, and gets its final view; the others go on (spec 01 section 29). */
static void test_failing_callbacks_end_the_membership_only(void **state) {
    static const enum fake_callback callbacks[] = {FAKE_CONNECTED, FAKE_SYNCED, FAKE_SST_REQUEST};
    unsigned seed = 1;
    (void)state;
    for (size_t i = 0; i < sizeof(callbacks) / sizeof(callbacks[0]); i++) {
        init_nodes(2);
        assert_int_equal(fake_start(&nodes[0], "", true, ""), 0);
        assert_true(fake_wait_synced(&nodes[0], 200));
        atomic_store(&nodes[1].failing, callbacks[i]);
        assert_int_equal(fake_start(&nodes[1], group_addresses, false, ""), 0);
        assert_true(fake_wait_final(&nodes[1], 200));
        assert_int_equal(fake_stat(&nodes[1], "local_state"), 5);
        assert_int_equal(fake_add(&nodes[1], &seed, 1, 1, 5), 1047);
        assert_true(fake_wait_view(&nodes[0], true, 1, 200));
        assert_int_equal(fake_add(&nodes[0], &seed, 8, 1, 5), 0);
        fake_stop(&nodes[1]);
        assert_int_equal(nodes[1].last_recv_result, 8);
        atomic_store(&nodes[1].failing, FAKE_NONE);
        assert_int_equal(fake_start(&nodes[1], group_addresses, false, ""), 0);
        assert_true(fake_wait_synced(&nodes[1], 200));
        assert_equal_nodes(2);
        stop_nodes(2);
    }
}

static void test_a_view_that_the_server_cannot_take(void **state) {
    unsigned seed = 1;
    (void)state;
    start_nodes(2);
    init_node(2);
    atomic_store(&nodes[1].failing, FAKE_VIEW);
    assert_int_equal(fake_start(&nodes[2], group_addresses, false, ""), 0);
    assert_true(fake_wait_final(&nodes[1], 200));
    assert_true(fake_wait_synced(&nodes[2], 200));
    assert_true(fake_wait_view(&nodes[0], true, 2, 200));
    assert_int_equal(fake_add(&nodes[0], &seed, 8, 1, 5), 0);
    fake_stop(&nodes[1]);
    assert_int_equal(nodes[1].last_recv_result, 8);
    fake_wait_position(&nodes[2], fake_last_committed(&nodes[0]));
    assert_memory_equal(nodes[0].rows, nodes[2].rows, sizeof(nodes[0].rows));
    fake_stop(&nodes[2]);
    fake_stop(&nodes[0]);
    for (int i = 0; i < 3; i++) fake_destroy(&nodes[i]);
}

/* The joiner leaves, since its server waits for a snapshot; the donor is Synced again, and donates the next time. */
static void test_a_donor_that_cannot_donate(void **state) {
    unsigned seed = 1;
    (void)state;
    init_nodes(2);
    assert_int_equal(fake_start(&nodes[0], "", true, ""), 0);
    assert_true(fake_wait_synced(&nodes[0], 200));
    nodes[0].is_synced = false;
    atomic_store(&nodes[0].failing, FAKE_SST_DONATE);
    assert_int_equal(fake_start(&nodes[1], group_addresses, false, ""), 0);
    assert_true(fake_wait_final(&nodes[1], 200));
    assert_true(fake_wait_synced(&nodes[0], 200));
    assert_int_equal(fake_add(&nodes[0], &seed, 8, 1, 5), 0);
    fake_stop(&nodes[1]);
    assert_int_equal(nodes[1].last_recv_result, 8);
    atomic_store(&nodes[0].failing, FAKE_NONE);
    assert_int_equal(fake_start(&nodes[1], group_addresses, false, ""), 0);
    assert_true(fake_wait_synced(&nodes[1], 200));
    assert_equal_nodes(2);
    stop_nodes(2);
}

static int64_t saved_seqno(const struct fake_server *server) {
    char path[160], text[512] = "";
    snprintf(path, sizeof(path), "%s/grastate.dat", server->dir);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    assert_true(fread(text, 1, sizeof(text) - 1, f) > 0);
    fclose(f);
    const char *line = strstr(text, "seqno:");
    assert_non_null(line);
    return strtoll(line + 6, NULL, 10);
}

/* What no node can read has a place in the order of all: every one leaves, says who sent it, and keeps its position. */
static void test_a_write_set_that_nobody_can_read(void **state) {
    static const struct {
        const void *bytes;
        size_t size;
    } cases[] = {{"x", 1},
                 {"G\x63\x40\x14"
                  "a header that goes on with nonsense, for at least sixty-four bytes ....",
                  72}};
    unsigned seed = 1;
    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char dir[96];
        start_nodes(2);
        snprintf(dir, sizeof(dir), "%s/rogue%zu", group_dir, i);
        assert_int_equal(mkdir(dir, 0700), 0);
        struct rogue *rogue = rogue_join(group_addresses, group_port + 50, dir);
        assert_int_equal(fake_add(&nodes[0], &seed, 1, 1, 5), 0);
        int64_t last = fake_last_committed(&nodes[0]);
        rogue_order(rogue, cases[i].bytes, cases[i].size);
        for (int n = 0; n < 2; n++) {
            assert_true(fake_wait_final(&nodes[n], 200));
            assert_int_equal(fake_stat(&nodes[n], "local_state"), 5);
            assert_int_equal(fake_add(&nodes[n], &seed, 1, 1, 5), 1047);
        }
        rogue_leave(rogue);
        stop_nodes(2);
        for (int n = 0; n < 2; n++) {
            assert_int_equal(nodes[n].last_recv_result, 8);
            assert_int_equal(saved_seqno(&nodes[n]), last);
        }
        assert_memory_equal(nodes[0].rows, nodes[1].rows, sizeof(nodes[0].rows));
    }
}

/* Both halves of a group were made primary by hand, and have written. The half that gives way has a position in the
 * history of the other, which never had what stands there: only a snapshot brings it back, and its running server
 * cannot take one. */
static void test_who_gives_way_to_another_primary_needs_a_snapshot(void **state) {
    unsigned seed = 1;
    (void)state;
    start_nodes(2);
    assert_int_equal(nodes[1].t.options_set(&nodes[1].t, "gmcast.isolate=1"), 0);
    for (int i = 0; i < 2; i++) {
        assert_true(fake_wait_view(&nodes[i], false, 1, 200));
        assert_int_equal(nodes[i].t.options_set(&nodes[i].t, "pc.bootstrap=1"), 0);
        assert_true(fake_wait_view(&nodes[i], true, 1, 200));
        assert_int_equal(fake_add(&nodes[i], &seed, 5 + i, 1, 5), 0);
    }
    assert_int_equal(nodes[1].t.options_set(&nodes[1].t, "gmcast.isolate=0"), 0);
    while (!fake_wait_final(&nodes[0], 0) && !fake_wait_final(&nodes[1], 0)) sched_yield();
    int loser = fake_wait_final(&nodes[1], 0), winner = !loser;
    assert_int_equal(fake_stat(&nodes[loser], "local_state"), 5);
    fake_disconnect(&nodes[loser]);
    assert_int_equal(fake_connect(&nodes[loser], group_addresses, false), 0);
    assert_true(fake_wait_final(&nodes[loser], 200));
    fake_stop(&nodes[loser]);
    assert_int_equal(nodes[loser].last_recv_result, 8);
    assert_int_equal(saved_seqno(&nodes[loser]), -1);
    assert_int_equal(fake_add(&nodes[winner], &seed, 9, 1, 5), 0);
    assert_int_equal(fake_start(&nodes[loser], group_addresses, false, ""), 0); /* its server still says where it was */
    assert_true(fake_wait_synced(&nodes[loser], 200));
    assert_equal_nodes(2);
    stop_nodes(2);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_node_that_is_alone_with_its_error_leaves),
        cmocka_unit_test(test_who_is_under_way_on_a_node_that_is_wrong_gets_through),
        cmocka_unit_test(test_an_error_of_all_others_removes_the_origin),
        cmocka_unit_test(test_failing_callbacks_end_the_membership_only),
        cmocka_unit_test(test_a_view_that_the_server_cannot_take),
        cmocka_unit_test(test_a_donor_that_cannot_donate),
        cmocka_unit_test(test_a_write_set_that_nobody_can_read),
        cmocka_unit_test(test_who_gives_way_to_another_primary_needs_a_snapshot),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
