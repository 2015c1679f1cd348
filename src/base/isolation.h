/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Node isolation mode (spec 01 section 5): one word that is set from a signal handler, and descriptors by which those
 * who sleep hear of it.
 *
 * Threads: xb_isolation_set from anywhere, a signal handler too; the rest from any thread.
 */
#ifndef XB_BASE_ISOLATION_H
#define XB_BASE_ISOLATION_H

#include <stdatomic.h>
#include <stdbool.h>

#define XB_ISOLATION_WATCHERS_MAX 16

enum xb_isolation_mode { XB_NORMAL = 0, XB_ISOLATED = 1, XB_DISCONNECT = 2 };

/* All zero: normal, watched by nobody. */
struct xb_isolation {
    _Atomic(int) mode;
    struct xb_isolation_watcher {
        _Atomic(bool) is_used;
        _Atomic(int) fd_plus_1; /* 0: none yet */
    } watchers[XB_ISOLATION_WATCHERS_MAX];
};

/* Nobody watches or sets any more. */
void xb_isolation_clear(struct xb_isolation *isolation);

void xb_isolation_set(struct xb_isolation *isolation, int mode);

/* isolation NULL: normal */
static inline int xb_isolation_get(const struct xb_isolation *isolation) {
    return isolation ? atomic_load_explicit(&isolation->mode, memory_order_relaxed) : XB_NORMAL;
}

/* -> a descriptor that becomes readable at every change, to be read with xb_isolation_read and never closed; -1: there
 * are XB_ISOLATION_WATCHERS_MAX already, or no descriptor is to be had. */
int xb_isolation_watch(struct xb_isolation *isolation);
void xb_isolation_unwatch(struct xb_isolation *isolation, int fd); /* -1 is allowed */
void xb_isolation_read(int fd);                                    /* makes it unreadable again */

#endif
