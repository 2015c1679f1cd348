/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A gate: puts work on consecutive seqnos in order (spec 01 section 9, 07 section 7). Two are kept, apply and commit.
 *
 * Every seqno passes a gate exactly once: entered and left, or cancelled. `last_left` is the end of the gapless prefix
 * of seqnos that have passed. All conditions have one form, last_left >= need: the commit gate needs seqno - 1, the
 * apply gate what the write set depends on. So a waiter stands in the list of the one seqno that it needs, and leaving
 * wakes exactly those whose seqno has come.
 *
 * Waiting is decided in one atomic word of the waiter, granted or interrupted, whichever comes first; so a brute-force
 * abort never waits for the gate, and a victim that has not yet arrived is turned away when it does.
 * Any thread.
 */
#ifndef XB_REPLICATOR_GATE_H
#define XB_REPLICATOR_GATE_H

#include "replicator/futex.h"

#include <pthread.h>
#include <stdbool.h>

#define GATE_WINDOW 65536 /* seqnos beyond last_left that can pass out of order; further ones wait */
#define GATE_BUCKETS 1024

enum gate_waiter_state { GATE_IDLE, GATE_WAITING, GATE_GRANTED, GATE_INTERRUPTED };

struct gate_waiter {
    _Atomic(uint32_t) state;
    bool is_linked;
    bool is_entry, is_ordered; /* wants to enter (in order), else only waits for last_left */
    int64_t seqno, need;
    struct gate_waiter *next, **link;
};

struct gate_stats {
    uint64_t entered, entered_early; /* early: with a gap below */
    uint64_t window_sum;             /* of last_entered - last_left at entry */
    uint64_t left, left_many;        /* many: more than one seqno completed */
    uint64_t waits;
};

struct gate {
    _Atomic(int64_t) last_left;
    pthread_mutex_t lock;
    int64_t last_entered;
    int64_t last_ordered; /* the same, of entries that need something: the others (need -1) overtake */
    int64_t limit;        /* entries above wait; INT64_MAX: none */
    bool is_open;         /* gate_open: nobody waits */
    pthread_cond_t limit_gone;
    struct gate_waiter *held;                  /* stopped by the limit alone */
    struct gate_waiter *buckets[GATE_BUCKETS]; /* by need */
    uint64_t passed[GATE_WINDOW / 64];         /* bit seqno % GATE_WINDOW: passed, above last_left */
    struct gate_stats stats;
};

void gate_init(struct gate *gate);
void gate_destroy(struct gate *gate);

static inline int64_t gate_last_left(const struct gate *gate) {
    return atomic_load_explicit(&gate->last_left, memory_order_acquire);
}

/* Before an entry that others may interrupt: to be called before they can see that it is coming. */
void gate_waiter_init(struct gate_waiter *waiter);
/* Waits until last_left >= need and nothing holds the gate below seqno. -> 0, or -EINTR: seqno has not passed. */
int gate_enter(struct gate *gate, struct gate_waiter *waiter, int64_t seqno, int64_t need);
/* -> true: the entry fails or will fail with -EINTR; false: it is in (or was interrupted before). Never waits. */
bool gate_interrupt(struct gate_waiter *waiter);
void gate_leave(struct gate *gate, int64_t seqno);
/* The seqno passes without having entered. Waits while it is beyond the window. */
void gate_cancel(struct gate *gate, int64_t seqno);

/* -> 0 when last_left >= seqno, or -ETIMEDOUT. */
int gate_wait(struct gate *gate, int64_t seqno, int64_t deadline_ns);

/* Lets nothing above seqno enter until gate_release, or above what has entered in order, if that is higher; what has
 * overtaken and is in already stays in and counts for nothing, since what it has overtaken may be held up for long. One
 * holder at a time, a second one waits. -> the seqno in force. */
int64_t gate_hold(struct gate *gate, int64_t seqno);
void gate_release(struct gate *gate);

/* Moves forward to seqno; -1 forgets the position. Nothing may be on its way through the gate when it goes back. */
void gate_set_position(struct gate *gate, int64_t seqno);
/* Forgets the position while others are still on their way: what they wait for will not come, so they get through, as
 * does whoever comes later, until a position is set again. */
void gate_open(struct gate *gate);

void gate_get_stats(struct gate *gate, struct gate_stats *stats);
void gate_reset_stats(struct gate *gate);

#endif
