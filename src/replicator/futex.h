/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Waiting on a 32-bit word: one waiter, one wake-up, no lock. What a client thread costs while its write set travels.
 * Any thread. A wake-up may be spurious, so every wait stands in a loop over the word.
 */
#ifndef XB_REPLICATOR_FUTEX_H
#define XB_REPLICATOR_FUTEX_H

#include "base/clock.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Sleeps while *word == expected, until woken or deadline_ns (monotonic, XB_NEVER: none). -> 0 or -ETIMEDOUT */
static inline int futex_wait(_Atomic(uint32_t) *word, uint32_t expected, int64_t deadline_ns) {
    struct timespec at = {.tv_sec = deadline_ns / XB_SECOND, .tv_nsec = deadline_ns % XB_SECOND};
    long rc = syscall(SYS_futex, word, FUTEX_WAIT_BITSET_PRIVATE, expected, deadline_ns == XB_NEVER ? NULL : &at, NULL,
                      FUTEX_BITSET_MATCH_ANY);
    return rc == -1 && errno == ETIMEDOUT ? -ETIMEDOUT : 0;
}

/* The word may be gone by now: at worst somebody else wakes for nothing. */
static inline void futex_wake(_Atomic(uint32_t) *word) {
    syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
}

/* Something that happens once, awaited by one thread or more. */
struct event {
    _Atomic(uint32_t) is_set;
};

static inline void event_init(struct event *event) {
    atomic_init(&event->is_set, 0);
}

static inline void event_set(struct event *event) {
    atomic_store(&event->is_set, 1);
    futex_wake(&event->is_set);
}

/* -> 0 or -ETIMEDOUT */
static inline int event_wait(struct event *event, int64_t deadline_ns) {
    while (!atomic_load(&event->is_set))
        if (futex_wait(&event->is_set, 0, deadline_ns) && !atomic_load(&event->is_set)) return -ETIMEDOUT;
    return 0;
}

#endif
