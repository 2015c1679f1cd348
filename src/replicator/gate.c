/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The gates; gate.h has the idea. */
#include "replicator/gate.h"

#include <assert.h>
#include <string.h>

#define WAKE_BATCH 64 /* woken after the lock is dropped; more are woken inside it */

struct wake_list {
    _Atomic(uint32_t) *words[WAKE_BATCH];
    size_t count;
};

static void wake_all(struct wake_list *wake) {
    for (size_t i = 0; i < wake->count; i++) futex_wake(wake->words[i]);
    wake->count = 0;
}

void gate_init(struct gate *gate) {
    memset(gate, 0, sizeof(*gate));
    atomic_init(&gate->last_left, -1);
    gate->last_entered = gate->last_ordered = -1;
    gate->limit = INT64_MAX;
    pthread_mutex_init(&gate->lock, NULL);
    pthread_cond_init(&gate->limit_gone, NULL);
}

void gate_destroy(struct gate *gate) {
    pthread_cond_destroy(&gate->limit_gone);
    pthread_mutex_destroy(&gate->lock);
}

void gate_waiter_init(struct gate_waiter *waiter) {
    waiter->is_linked = false;
    atomic_store(&waiter->state, GATE_IDLE);
}

static void link_waiter(struct gate_waiter **list, struct gate_waiter *waiter) {
    waiter->next = *list;
    waiter->link = list;
    if (*list) (*list)->link = &waiter->next;
    *list = waiter;
    waiter->is_linked = true;
}

static void unlink_waiter(struct gate_waiter *waiter) {
    *waiter->link = waiter->next;
    if (waiter->next) waiter->next->link = waiter->link;
    waiter->is_linked = false;
}

static struct gate_waiter **bucket_of(struct gate *gate, int64_t need) {
    return &gate->buckets[(uint64_t)need % GATE_BUCKETS];
}

static void count_entry(struct gate *gate, int64_t seqno, bool is_ordered) {
    if (gate->is_open) return;
    int64_t left = atomic_load_explicit(&gate->last_left, memory_order_relaxed);
    if (seqno > gate->last_entered) gate->last_entered = seqno;
    if (is_ordered && seqno > gate->last_ordered) gate->last_ordered = seqno;
    gate->stats.entered++;
    if (left + 1 < seqno) gate->stats.entered_early++;
    gate->stats.window_sum += (uint64_t)(gate->last_entered - left);
}

/* The waiter's seqno has come. It stays linked if it has been interrupted: its thread takes it out. */
static void grant(struct gate *gate, struct gate_waiter *waiter, struct wake_list *wake) {
    uint32_t expected = GATE_WAITING;
    unlink_waiter(waiter);
    int64_t seqno = waiter->seqno;
    bool is_entry = waiter->is_entry, is_ordered = waiter->is_ordered;
    _Atomic(uint32_t) *word = &waiter->state;
    /* After this the waiter's memory may go away. */
    if (!atomic_compare_exchange_strong(word, &expected, GATE_GRANTED)) {
        link_waiter(bucket_of(gate, waiter->need), waiter);
        return;
    }
    if (is_entry) count_entry(gate, seqno, is_ordered);
    if (wake->count == WAKE_BATCH) wake_all(wake);
    wake->words[wake->count++] = word;
}

static void grant_list(struct gate *gate, struct gate_waiter *waiter, struct wake_list *wake) {
    while (waiter) {
        struct gate_waiter *next = waiter->next;
        grant(gate, waiter, wake);
        waiter = next;
    }
}

static void visit_bucket(struct gate *gate, struct gate_waiter *waiter, int64_t left, struct wake_list *wake) {
    while (waiter) {
        struct gate_waiter *next = waiter->next;
        if (waiter->need <= left) {
            if (waiter->is_entry && waiter->seqno > gate->limit) {
                unlink_waiter(waiter);
                link_waiter(&gate->held, waiter);
            } else {
                grant(gate, waiter, wake);
            }
        }
        waiter = next;
    }
}

/* last_left has gone from `from` to `to`: look where those stand who need a seqno between. */
static void wake_between(struct gate *gate, int64_t from, int64_t to, struct wake_list *wake) {
    int64_t count = to - from < GATE_BUCKETS ? to - from : GATE_BUCKETS;
    for (int64_t i = 0; i < count; i++) visit_bucket(gate, *bucket_of(gate, to - i), to, wake);
}

/* Waits until granted, interrupted or late. The waiter is linked and its state WAITING. */
static int sleep_until_decided(struct gate *gate, struct gate_waiter *waiter, int64_t deadline_ns) {
    int rc = 0;
    while (atomic_load(&waiter->state) == GATE_WAITING) {
        if (!futex_wait(&waiter->state, GATE_WAITING, deadline_ns)) continue;
        uint32_t expected = GATE_WAITING;
        if (atomic_compare_exchange_strong(&waiter->state, &expected, GATE_INTERRUPTED)) rc = -ETIMEDOUT;
    }
    if (atomic_load(&waiter->state) == GATE_GRANTED) return 0;
    pthread_mutex_lock(&gate->lock);
    if (waiter->is_linked) unlink_waiter(waiter);
    pthread_mutex_unlock(&gate->lock);
    return rc ? rc : -EINTR;
}

int gate_enter(struct gate *gate, struct gate_waiter *waiter, int64_t seqno, int64_t need) {
    uint32_t expected = GATE_IDLE;
    bool is_ordered = need >= 0;
    if (need < seqno - GATE_WINDOW) need = seqno - GATE_WINDOW;
    pthread_mutex_lock(&gate->lock);
    bool is_due = gate->is_open || gate_last_left(gate) >= need;
    if (is_due && (gate->is_open || seqno <= gate->limit)) {
        bool is_in = atomic_compare_exchange_strong(&waiter->state, &expected, GATE_GRANTED);
        if (is_in) count_entry(gate, seqno, is_ordered);
        pthread_mutex_unlock(&gate->lock);
        return is_in ? 0 : -EINTR;
    }
    if (!atomic_compare_exchange_strong(&waiter->state, &expected, GATE_WAITING)) {
        pthread_mutex_unlock(&gate->lock);
        return -EINTR;
    }
    waiter->seqno = seqno;
    waiter->need = need;
    waiter->is_entry = true;
    waiter->is_ordered = is_ordered;
    link_waiter(is_due ? &gate->held : bucket_of(gate, need), waiter);
    gate->stats.waits++;
    pthread_mutex_unlock(&gate->lock);
    return sleep_until_decided(gate, waiter, XB_NEVER);
}

bool gate_interrupt(struct gate_waiter *waiter) {
    uint32_t state = atomic_load(&waiter->state);
    while (state == GATE_IDLE || state == GATE_WAITING)
        if (atomic_compare_exchange_weak(&waiter->state, &state, GATE_INTERRUPTED)) {
            if (state == GATE_WAITING) futex_wake(&waiter->state);
            return true;
        }
    return false;
}

static bool take_passed(struct gate *gate, int64_t seqno) {
    uint64_t *word = &gate->passed[(uint64_t)seqno % GATE_WINDOW / 64], bit = 1ull << ((uint64_t)seqno % 64);
    bool is_passed = *word & bit;
    *word &= ~bit;
    return is_passed;
}

/* seqno has passed; within the window. */
static void pass(struct gate *gate, int64_t seqno, struct wake_list *wake) {
    int64_t left = gate_last_left(gate);
    if (gate->is_open || seqno <= left) return; /* left: covered by a position that a transfer has set */
    assert(seqno - left <= GATE_WINDOW);
    gate->stats.left++;
    if (seqno > left + 1) {
        gate->passed[(uint64_t)seqno % GATE_WINDOW / 64] |= 1ull << ((uint64_t)seqno % 64);
        return;
    }
    int64_t to = seqno;
    while (take_passed(gate, to + 1)) to++;
    if (to > seqno) gate->stats.left_many++;
    if (to > gate->last_entered) gate->last_entered = to;
    atomic_store_explicit(&gate->last_left, to, memory_order_release);
    wake_between(gate, left, to, wake);
}

void gate_leave(struct gate *gate, int64_t seqno) {
    struct wake_list wake = {.count = 0};
    pthread_mutex_lock(&gate->lock);
    pass(gate, seqno, &wake);
    pthread_mutex_unlock(&gate->lock);
    wake_all(&wake);
}

void gate_cancel(struct gate *gate, int64_t seqno) {
    if (seqno - gate_last_left(gate) > GATE_WINDOW) gate_wait(gate, seqno - GATE_WINDOW, XB_NEVER);
    gate_leave(gate, seqno);
}

int gate_wait(struct gate *gate, int64_t seqno, int64_t deadline_ns) {
    if (gate_last_left(gate) >= seqno) return 0;
    struct gate_waiter waiter = {.state = GATE_WAITING, .need = seqno};
    pthread_mutex_lock(&gate->lock);
    if (gate->is_open || gate_last_left(gate) >= seqno) {
        pthread_mutex_unlock(&gate->lock);
        return 0;
    }
    link_waiter(bucket_of(gate, seqno), &waiter);
    pthread_mutex_unlock(&gate->lock);
    return sleep_until_decided(gate, &waiter, deadline_ns);
}

int64_t gate_hold(struct gate *gate, int64_t seqno) {
    pthread_mutex_lock(&gate->lock);
    while (gate->limit != INT64_MAX) pthread_cond_wait(&gate->limit_gone, &gate->lock);
    if (seqno < gate->last_ordered) seqno = gate->last_ordered;
    gate->limit = seqno;
    pthread_mutex_unlock(&gate->lock);
    return seqno;
}

void gate_release(struct gate *gate) {
    struct wake_list wake = {.count = 0};
    pthread_mutex_lock(&gate->lock);
    gate->limit = INT64_MAX;
    grant_list(gate, gate->held, &wake);
    pthread_cond_signal(&gate->limit_gone);
    pthread_mutex_unlock(&gate->lock);
    wake_all(&wake);
}

static void forget_position(struct gate *gate) {
    memset(gate->passed, 0, sizeof(gate->passed));
    gate->last_entered = gate->last_ordered = -1;
    atomic_store_explicit(&gate->last_left, -1, memory_order_release);
}

void gate_set_position(struct gate *gate, int64_t seqno) {
    struct wake_list wake = {.count = 0};
    pthread_mutex_lock(&gate->lock);
    int64_t left = gate_last_left(gate);
    if (seqno < 0) {
        forget_position(gate);
        pthread_mutex_unlock(&gate->lock);
        return;
    }
    gate->is_open = false;
    if (seqno > left) {
        if (seqno - left >= GATE_WINDOW)
            memset(gate->passed, 0, sizeof(gate->passed));
        else
            for (int64_t s = left + 1; s <= seqno; s++) take_passed(gate, s);
        while (take_passed(gate, seqno + 1)) seqno++;
        if (gate->last_entered < seqno) gate->last_entered = seqno;
        atomic_store_explicit(&gate->last_left, seqno, memory_order_release);
        wake_between(gate, left, seqno, &wake);
    }
    pthread_mutex_unlock(&gate->lock);
    wake_all(&wake);
}

void gate_open(struct gate *gate) {
    struct wake_list wake = {.count = 0};
    pthread_mutex_lock(&gate->lock);
    forget_position(gate);
    gate->is_open = true;
    grant_list(gate, gate->held, &wake);
    for (size_t i = 0; i < GATE_BUCKETS; i++) grant_list(gate, gate->buckets[i], &wake);
    pthread_mutex_unlock(&gate->lock);
    wake_all(&wake);
}

void gate_get_stats(struct gate *gate, struct gate_stats *stats) {
    pthread_mutex_lock(&gate->lock);
    *stats = gate->stats;
    pthread_mutex_unlock(&gate->lock);
}

void gate_reset_stats(struct gate *gate) {
    pthread_mutex_lock(&gate->lock);
    gate->stats = (struct gate_stats){0};
    pthread_mutex_unlock(&gate->lock);
}
