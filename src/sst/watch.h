/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every wait of the program: for a descriptor, and beside it for the death of the server, a signal, or an order to stop
 * (spec 08 section 12: bounded everything). Threads: any; the watch does not change once opened, but for the order.
 */
#ifndef XB_SST_WATCH_H
#define XB_SST_WATCH_H

#include "base/error.h"

#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct watch {
    int parent_fd; /* pidfd of the server, -1: nobody to watch */
    int signal_fd;
    int stop_fd; /* eventfd */
    int64_t parent_pid;
};

/* Blocks the signals that end the program, which are then read here; call before any thread is started.
 * parent_pid 0: looks for a server among the ancestors. -> 0 or a negative errno with *error */
int watch_open(struct watch *watch, int64_t parent_pid, struct xb_error *error);
void watch_close(struct watch *watch);

/* A watch for a group of threads, which ends with `watch` but can be stopped alone. */
int watch_fork(struct watch *child, const struct watch *watch, struct xb_error *error);
void watch_stop(const struct watch *watch); /* all waits of this watch end, now and later */
void watch_close_fork(struct watch *child);

/*
 * Waits until fd is ready for `events` (poll's), fd -1: only for the deadline.
 * -> 0, -ETIMEDOUT (no text), -ECANCELED (stopped, no text), or with *error -EPIPE (the server is gone), -EINTR
 * (signal).
 */
int watch_wait(const struct watch *watch, int fd, short events, int64_t deadline_ns, struct xb_error *error);
/* The same for two descriptors (fd -1: none): -> 0 one of them is ready. */
int watch_poll(const struct watch *watch, const struct pollfd wanted[2], int64_t deadline_ns, struct xb_error *error);
/* The same without waiting: has something happened that ends the work? */
int watch_check(const struct watch *watch, struct xb_error *error);

/* What threads tell each other: waits until `changed` is signalled, at most 0.1 s, so that the caller looks at its
 * watch now and then. Call it with the lock held. */
void watch_wait_change(pthread_cond_t *changed, pthread_mutex_t *lock);

#endif
