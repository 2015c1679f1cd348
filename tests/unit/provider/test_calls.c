/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Calls of the interface that MariaDB 10.11 does not make: events ordered elsewhere, certification with a callback,
 * read views. */
#include "group.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <semaphore.h>
#include <string.h>

#include <cmocka.h>

/* ---- preordered events ---- */

#define EVENTS 50
#define CHANGES 32 /* of an event in one piece: more than is copied whether the caller wants it or not */

/* The caller's memory is its own again when the call returns, whether it asked for a copy or not. */
static void commit_event(struct abi_table *t, const union abi_uuid *source, int event, bool is_copied) {
    struct abi_po_handle handle = {NULL};
    static struct change changes[CHANGES + 1];
    struct abi_buf data[2] = {{changes, sizeof(*changes) * CHANGES}, {changes + CHANGES, sizeof(*changes)}};
    for (int i = 0; i <= CHANGES; i++) changes[i] = (struct change){i, event + i};
    assert_int_equal(t->preordered_collect(t, &handle, &data[0], 1, is_copied), 0);
    assert_non_null(handle.opaque);
    assert_int_equal(t->preordered_collect(t, &handle, &data[1], 1, is_copied), 0);
    assert_int_equal(t->preordered_commit(t, &handle, source, FLAG_START | FLAG_END, 0, true), 0);
    memset(changes, 0xee, sizeof(changes));
    assert_null(handle.opaque);
}

static void test_preordered_events(void **state) {
    union abi_uuid source = {{7, 7, 7}};
    unsigned seed = 1;
    (void)state;
    start_nodes(2);
    struct abi_table *t = &nodes[0].t;
    int64_t before = fake_last_committed(&nodes[0]), sum = 0;
    for (int event = 0; event < EVENTS; event++) {
        commit_event(t, &source, event, event % 2);
        sum += event;
    }
    for (int i = 0; i < 2; i++) fake_wait_position(&nodes[i], before + EVENTS);
    assert_int_equal(fake_add(&nodes[1], &seed, 40, 1, 5), 0); /* local transactions go on among them */
    assert_equal_nodes(2);
    assert_int_equal(fake_last_committed(&nodes[0]), before + EVENTS + 1);
    for (int row = 0; row <= CHANGES; row++) assert_int_equal(nodes[0].rows[row], sum + EVENTS * row);
    stop_nodes(2);
}

static void test_preordered_events_that_are_not_sent(void **state) {
    union abi_uuid source = {{7, 7, 7}};
    struct abi_po_handle handle = {NULL};
    struct change change = {1, 1};
    struct abi_buf data = {&change, sizeof(change)};
    (void)state;
    start_nodes(1);
    struct abi_table *t = &nodes[0].t;
    int64_t before = fake_last_committed(&nodes[0]);
    assert_int_equal(t->preordered_commit(t, &handle, &source, FLAG_END, 0, true), 0); /* nothing was collected */
    assert_int_equal(t->preordered_collect(t, &handle, &data, 1, true), 0);
    assert_int_equal(t->preordered_commit(t, &handle, &source, FLAG_END, 0, false), 0); /* given up */
    assert_null(handle.opaque);
    assert_int_equal(fake_last_committed(&nodes[0]), before);
    fake_disconnect(&nodes[0]);
    assert_int_equal(t->preordered_collect(t, &handle, &data, 1, true), 0);
    assert_int_equal(t->preordered_commit(t, &handle, &source, FLAG_END, 0, true), 3); /* no group */
    assert_null(handle.opaque);
    fake_stop(&nodes[0]);
    fake_destroy(&nodes[0]);
}

/* ---- certification that tells when the order is fixed ---- */

struct sequenced {
    int calls;
    sem_t *then; /* whose turn it is, may be NULL */
};
static __thread sem_t *next_turn;
static __thread int64_t last_seqno;
static _Atomic(int) certified;

static void on_sequenced(void *ctx) {
    struct sequenced *sequenced = ctx;
    sequenced->calls++;
    if (sequenced->then) sem_post(sequenced->then);
}

/* In the server's table instead of certify. Whatever comes of it, the callback is called once, and not later. */
static int certify_with_callback(struct abi_table *t, uint64_t conn, struct abi_ws_handle *handle, uint32_t flags,
                                 struct abi_trx_meta *meta) {
    struct sequenced sequenced = {0, next_turn};
    struct abi_seq_cb callback = {&sequenced, on_sequenced};
    int rc = wsrep_certify_v1(t, conn, handle, flags, meta, &callback);
    CHECK(sequenced.calls == 1);
    last_seqno = meta->gtid.seqno;
    atomic_fetch_add(&certified, 1);
    return rc;
}

static void test_certification_with_a_callback(void **state) {
    struct client clients[6];
    unsigned seed = 1;
    (void)state;
    start_nodes(2);
    for (int i = 0; i < 2; i++) nodes[i].t.certify = certify_with_callback;
    for (unsigned i = 0; i < 6; i++) start_client(&clients[i], &nodes[i % 2], i + 1, 100, 12);
    run_clients(clients, 6);
    assert_equal_nodes(2);
    assert_true(atomic_load(&certified) > 100);
    fake_disconnect(&nodes[1]);
    int before = atomic_load(&certified);
    assert_int_equal(fake_add(&nodes[1], &seed, 1, 1, 5), 1047);
    print_message("certified %d, refused %d\n", before, atomic_load(&certified) - before);
    fake_stop(&nodes[1]);
    fake_stop(&nodes[0]);
    for (int i = 0; i < 2; i++) fake_destroy(&nodes[i]);
}

#define TURNS 100
static sem_t turns[2];
static int64_t order[2 * TURNS];

static void *take_turns(void *arg) {
    int mine = *(int *)arg;
    unsigned seed = 1;
    next_turn = &turns[!mine];
    for (int i = 0; i < TURNS; i++) {
        sem_wait(&turns[mine]);
        int row = 10 + mine * 20 + i % 10;
        CHECK(fake_add(&nodes[0], &seed, row, 1, 1) == 0);
        order[2 * i + mine] = last_seqno;
    }
    return NULL;
}

/* Who certifies after somebody's callback is ordered after it. */
static void test_the_callback_fixes_the_order(void **state) {
    pthread_t threads[2];
    int numbers[2] = {0, 1};
    (void)state;
    start_nodes(1);
    nodes[0].t.certify = certify_with_callback;
    for (int i = 0; i < 2; i++) sem_init(&turns[i], 0, i == 0);
    for (int i = 0; i < 2; i++) pthread_create(&threads[i], NULL, take_turns, &numbers[i]);
    for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
    for (int i = 1; i < 2 * TURNS; i++) assert_int_equal(order[i], order[i - 1] + 1);
    stop_nodes(1);
}

/* ---- the rest ---- */

static void test_read_views_are_not_known(void **state) {
    struct abi_ws_handle handle = {1, NULL};
    struct abi_gtid view = {{{1}}, 5};
    (void)state;
    start_nodes(1);
    assert_int_equal(nodes[0].t.assign_read_view(&nodes[0].t, &handle, &view), 9);
    assert_int_equal(nodes[0].t.assign_read_view(&nodes[0].t, &handle, NULL), 9);
    assert_null(handle.opaque);
    stop_nodes(1);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_preordered_events),
        cmocka_unit_test(test_preordered_events_that_are_not_sent),
        cmocka_unit_test(test_certification_with_a_callback),
        cmocka_unit_test(test_the_callback_fixes_the_order),
        cmocka_unit_test(test_read_views_are_not_known),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
