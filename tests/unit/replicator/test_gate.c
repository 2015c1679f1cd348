/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The gates: conditions, order under load, interruption at every moment, holding, positions. */
#include "replicator/gate.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define SOON (xb_clock_monotonic_ns() + 20 * XB_MS)

static int enter(struct gate *gate, int64_t seqno, int64_t need) {
    struct gate_waiter waiter;
    gate_waiter_init(&waiter);
    return gate_enter(gate, &waiter, seqno, need);
}

static void test_leaving_advances_over_the_gapless_prefix(void **state) {
    struct gate *gate = malloc(sizeof(*gate));
    gate_init(gate);
    gate_set_position(gate, 10);
    assert_int_equal(enter(gate, 12, 10), 0);
    assert_int_equal(enter(gate, 11, 10), 0);
    gate_leave(gate, 12);
    assert_int_equal(gate_last_left(gate), 10);
    gate_cancel(gate, 14);
    gate_leave(gate, 11);
    assert_int_equal(gate_last_left(gate), 12);
    gate_leave(gate, 11); /* covered already */
    gate_cancel(gate, 13);
    assert_int_equal(gate_last_left(gate), 14);
    gate_set_position(gate, 12); /* only forward */
    assert_int_equal(gate_last_left(gate), 14);
    gate_cancel(gate, 21);
    gate_set_position(gate, 20);
    assert_int_equal(gate_last_left(gate), 21);
    gate_set_position(gate, -1);
    gate_set_position(gate, 5);
    assert_int_equal(gate_last_left(gate), 5);
    gate_set_position(gate, 5 + 3 * GATE_WINDOW);
    assert_int_equal(gate_last_left(gate), 5 + 3 * GATE_WINDOW);
    gate_destroy(gate);
    free(gate);
}

static void test_a_wait_has_a_deadline(void **state) {
    struct gate *gate = malloc(sizeof(*gate));
    gate_init(gate);
    gate_set_position(gate, 3);
    assert_int_equal(gate_wait(gate, 3, 0), 0);
    assert_int_equal(gate_wait(gate, 4, SOON), -ETIMEDOUT);
    gate_leave(gate, 4); /* the late waiter is not there any more */
    assert_int_equal(gate_wait(gate, 4, 0), 0);
    gate_destroy(gate);
    free(gate);
}

static void test_an_interruption_before_the_entry_counts(void **state) {
    struct gate *gate = malloc(sizeof(*gate));
    struct gate_waiter waiter;
    gate_init(gate);
    gate_set_position(gate, 3);
    gate_waiter_init(&waiter);
    assert_true(gate_interrupt(&waiter));
    assert_false(gate_interrupt(&waiter));
    assert_int_equal(gate_enter(gate, &waiter, 4, 3), -EINTR);
    gate_waiter_init(&waiter);
    assert_int_equal(gate_enter(gate, &waiter, 4, 3), 0);
    assert_false(gate_interrupt(&waiter)); /* in: too late */
    gate_leave(gate, 4);
    gate_destroy(gate);
    free(gate);
}

struct entry {
    struct gate *gate;
    struct gate_waiter waiter;
    int64_t seqno, need;
    int result;
    pthread_t thread;
};

static void *enter_thread(void *arg) {
    struct entry *entry = arg;
    entry->result = gate_enter(entry->gate, &entry->waiter, entry->seqno, entry->need);
    return NULL;
}

static void start(struct entry *entry, struct gate *gate, int64_t seqno, int64_t need) {
    *entry = (struct entry){.gate = gate, .seqno = seqno, .need = need, .result = 1};
    gate_waiter_init(&entry->waiter);
    pthread_create(&entry->thread, NULL, enter_thread, entry);
    while (atomic_load(&entry->waiter.state) == GATE_IDLE) sched_yield();
}

static void test_a_hold_stops_what_is_above(void **state) {
    struct gate *gate = malloc(sizeof(*gate));
    struct entry above, late;
    gate_init(gate);
    gate_set_position(gate, 0);
    assert_int_equal(enter(gate, 2, 0), 0);
    assert_int_equal(gate_hold(gate, 1), 2); /* 2 is in already */
    assert_int_equal(enter(gate, 1, 0), 0);
    start(&above, gate, 3, 0);
    start(&late, gate, 4, 2);
    gate_leave(gate, 1);
    gate_leave(gate, 2);
    assert_int_equal(gate_wait(gate, 2, SOON), 0);
    assert_int_equal(atomic_load(&above.waiter.state), GATE_WAITING);
    assert_int_equal(atomic_load(&late.waiter.state), GATE_WAITING);
    assert_true(gate_interrupt(&late.waiter)); /* a held one can be interrupted as well */
    pthread_join(late.thread, NULL);
    assert_int_equal(late.result, -EINTR);
    gate_release(gate);
    pthread_join(above.thread, NULL);
    assert_int_equal(above.result, 0);
    gate_leave(gate, 3);
    gate_destroy(gate);
    free(gate);
}

/* Open, it lets through who waits and who comes, however far above, until it has a position again. */
static void test_an_open_gate_keeps_nobody(void **state) {
    struct gate *gate = malloc(sizeof(*gate));
    struct entry before, held, far;
    gate_init(gate);
    gate_set_position(gate, 10);
    gate_leave(gate, 12);
    assert_int_equal(gate_hold(gate, 10), 10);
    start(&before, gate, 13, 12);
    start(&held, gate, 11, 10);
    start(&far, gate, 20 + GATE_WINDOW, -1);
    gate_open(gate);
    pthread_join(before.thread, NULL);
    pthread_join(held.thread, NULL);
    pthread_join(far.thread, NULL);
    assert_int_equal(before.result + held.result + far.result, 0);
    assert_int_equal(gate_last_left(gate), -1);
    assert_int_equal(enter(gate, 14, 13), 0);
    assert_int_equal(gate_wait(gate, 14, XB_NEVER), 0);
    gate_leave(gate, 11);
    gate_leave(gate, 20 + GATE_WINDOW);
    gate_cancel(gate, 5 * GATE_WINDOW);
    gate_release(gate);
    gate_set_position(gate, -1); /* still without one */
    assert_int_equal(enter(gate, 14, 13), 0);
    gate_set_position(gate, 10);
    assert_int_equal(gate_last_left(gate), 10); /* what passed the open gate is forgotten */
    assert_int_equal(gate_wait(gate, 11, SOON), -ETIMEDOUT);
    gate_destroy(gate);
    free(gate);
}

static void test_the_window_is_bounded(void **state) {
    struct gate *gate = malloc(sizeof(*gate));
    struct entry far;
    gate_init(gate);
    gate_set_position(gate, 0);
    assert_int_equal(enter(gate, GATE_WINDOW, 0), 0);
    start(&far, gate, GATE_WINDOW + 1, 0);
    assert_int_equal(atomic_load(&far.waiter.state), GATE_WAITING);
    gate_leave(gate, GATE_WINDOW);
    assert_int_equal(gate_last_left(gate), 0);
    gate_leave(gate, 1);
    pthread_join(far.thread, NULL);
    assert_int_equal(far.result, 0);
    gate_destroy(gate);
    free(gate);
}

/* Many threads take seqnos, some are interrupted and cancel: the order inside stays that of the seqnos. */
#define THREADS 8
#define SEQNOS 20000

struct load {
    struct gate *apply, *commit;
    _Atomic(int64_t) next, inside;
    _Atomic(struct gate_waiter *) victims[THREADS];
    _Atomic(bool) is_over;
    _Atomic(int64_t) interrupted;
};
struct worker {
    struct load *load;
    int index;
};

static void *work(void *arg) {
    struct worker *worker = arg;
    struct load *load = worker->load;
    uint64_t random = (uint64_t)worker->index * 0x9e3779b97f4a7c15u + 1;
    /* Static storage for the waiter: the aborter may look at it at any time, as it does at a transaction. */
    struct gate_waiter *waiter = calloc(1, sizeof(*waiter));
    for (;;) {
        int64_t seqno = atomic_fetch_add(&load->next, 1);
        if (seqno > SEQNOS) break;
        random = random * 6364136223846793005u + 1442695040888963407u;
        assert_int_equal(enter(load->apply, seqno, seqno - 1 - (int64_t)(random >> 60)), 0);
        gate_waiter_init(waiter);
        atomic_store(&load->victims[worker->index], waiter);
        int rc = gate_enter(load->commit, waiter, seqno, seqno - 1);
        atomic_store(&load->victims[worker->index], NULL);
        if (rc) {
            assert_int_equal(rc, -EINTR);
            assert_int_equal(enter(load->commit, seqno, seqno - 1), 0);
        }
        assert_int_equal(atomic_exchange(&load->inside, seqno), seqno - 1);
        gate_leave(load->commit, seqno);
        gate_leave(load->apply, seqno);
    }
    return waiter;
}

static void *interrupt_some(void *arg) {
    struct load *load = arg;
    for (int i = 0; !atomic_load(&load->is_over); i = (i + 1) % THREADS) {
        struct gate_waiter *waiter = atomic_load(&load->victims[i]);
        if (waiter && gate_interrupt(waiter)) atomic_fetch_add(&load->interrupted, 1);
        sched_yield();
    }
    return NULL;
}

static void *hold_some(void *arg) {
    struct load *load = arg;
    while (!atomic_load(&load->is_over)) {
        int64_t seqno = gate_hold(load->apply, gate_last_left(load->apply));
        gate_wait(load->apply, seqno, XB_NEVER);
        assert_int_equal(gate_last_left(load->apply), seqno);
        gate_release(load->apply);
        sched_yield();
    }
    return NULL;
}

static void test_order_holds_under_load(void **state) {
    struct load load = {.apply = malloc(sizeof(struct gate)), .commit = malloc(sizeof(struct gate)), .next = 1};
    struct worker workers[THREADS];
    pthread_t threads[THREADS], aborter, holder;
    void *waiters[THREADS];
    gate_init(load.apply);
    gate_init(load.commit);
    gate_set_position(load.apply, 0);
    gate_set_position(load.commit, 0);
    for (int i = 0; i < THREADS; i++) {
        workers[i] = (struct worker){&load, i};
        pthread_create(&threads[i], NULL, work, &workers[i]);
    }
    pthread_create(&aborter, NULL, interrupt_some, &load);
    pthread_create(&holder, NULL, hold_some, &load);
    for (int i = 0; i < THREADS; i++) pthread_join(threads[i], &waiters[i]);
    atomic_store(&load.is_over, true);
    pthread_join(aborter, NULL);
    pthread_join(holder, NULL);
    for (int i = 0; i < THREADS; i++) free(waiters[i]);
    assert_int_equal(gate_last_left(load.apply), SEQNOS);
    assert_int_equal(gate_last_left(load.commit), SEQNOS);
    struct gate_stats stats;
    gate_get_stats(load.commit, &stats);
    assert_int_equal(stats.entered, SEQNOS);
    assert_int_equal(stats.entered_early, 0);
    gate_reset_stats(load.commit);
    gate_destroy(load.apply);
    gate_destroy(load.commit);
    free(load.apply);
    free(load.commit);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_leaving_advances_over_the_gapless_prefix),
        cmocka_unit_test(test_a_wait_has_a_deadline),
        cmocka_unit_test(test_an_interruption_before_the_entry_counts),
        cmocka_unit_test(test_a_hold_stops_what_is_above),
        cmocka_unit_test(test_an_open_gate_keeps_nobody),
        cmocka_unit_test(test_the_window_is_bounded),
        cmocka_unit_test(test_order_holds_under_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
