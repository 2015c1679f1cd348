/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A server may call whatever it likes while its node joins, leaves, is cut off or comes back: status, options, pauses,
 * desyncs and causal reads go on here all the time, beside clients. Nothing may hang, and the data stays equal.
 */
#include "group.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define CLIENTS 4
#define MEDDLERS 4
#define ROUNDS 6

static _Atomic(bool) is_over;
static _Atomic(int64_t) calls[7];

/* Each answers as it can in the moment; that it answers is the point. */
static void call_something(struct abi_table *t, int what) {
    static const char *const options[] = {"gcs.fc_limit=20",   "gcs.fc_limit=16",       "evs.send_window=6",
                                          "evs.send_window=4", "cert.log_conflicts=no", "pc.weight=1"};
    struct abi_stats_var *stats;
    struct abi_gtid gtid;
    switch (what) {
    case 0:
        stats = t->stats_get(t);
        assert_non_null(stats);
        t->stats_free(t, stats);
        break;
    case 1:
        free(t->options_get(t));
        break;
    case 2:
        t->options_set(t, options[atomic_load(&calls[2]) % 6]);
        break;
    case 3:
        if (t->pause(t) >= 0) assert_int_equal(t->resume(t), 0);
        break;
    case 4:
        if (t->desync(t) == 0) t->resync(t);
        break;
    case 5:
        t->sync_wait(t, NULL, 1, &gtid);
        break;
    case 6:
        assert_int_equal(t->last_committed_id(t, &gtid), 0);
        break;
    }
    atomic_fetch_add(&calls[what], 1);
}

static void *meddle(void *arg) {
    unsigned seed = (unsigned)(uintptr_t)arg;
    while (!atomic_load(&is_over)) call_something(&nodes[2].t, rand_r(&seed) % 7);
    return NULL;
}

/* By a partition, and by the server's own will. */
static void leave_and_return(int round) {
    struct abi_table *t = &nodes[2].t;
    if (round % 2) {
        assert_int_equal(t->options_set(t, "gmcast.isolate=1"), 0);
        assert_true(fake_wait_view(&nodes[0], true, 2, 200));
        assert_true(fake_wait_view(&nodes[2], false, 1, 200));
        assert_int_equal(t->options_set(t, "gmcast.isolate=0"), 0);
        assert_true(fake_wait_view(&nodes[2], true, 3, 200));
    } else {
        fake_disconnect(&nodes[2]);
        assert_int_equal(fake_connect(&nodes[2], group_addresses, false), 0);
        assert_true(fake_wait_view(&nodes[2], true, 3, 200));
    }
}

static void test_any_call_at_any_time(void **state) {
    struct client clients[CLIENTS];
    pthread_t meddlers[MEDDLERS];
    (void)state;
    init_nodes(3);
    for (int i = 0; i < 3; i++) { /* the history reaches back to whatever is missed meanwhile */
        assert_int_equal(fake_start(&nodes[i], i ? group_addresses : "", i == 0, "gcache.size=64M"), 0);
        assert_true(fake_wait_synced(&nodes[i], 200));
    }
    atomic_store(&is_over, false);
    for (unsigned i = 0; i < CLIENTS; i++) {
        start_client(&clients[i], &nodes[i % 3], i + 1, 0, FAKE_ROWS);
        clients[i].is_over = &is_over;
        pthread_create(&clients[i].thread, NULL, run_client, &clients[i]);
    }
    for (uintptr_t i = 0; i < MEDDLERS; i++) pthread_create(&meddlers[i], NULL, meddle, (void *)(i + 1));
    for (int round = 0; round < ROUNDS; round++) leave_and_return(round);
    atomic_store(&is_over, true);
    for (int i = 0; i < CLIENTS; i++) pthread_join(clients[i].thread, NULL);
    for (int i = 0; i < MEDDLERS; i++) pthread_join(meddlers[i], NULL);
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) assert_true(atomic_load(&calls[i]) > 0);
    assert_true(fake_wait_synced(&nodes[2], 200));
    assert_equal_nodes(3);
    stop_nodes(3);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_any_call_at_any_time)};
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
