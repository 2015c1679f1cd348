/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Helper processes: argument vectors only, nothing inherited but descriptors 0 to 2, a process group of their own, and
 * death with us (spec 08 sections 2.1 and 12.6). Threads: one child has one user; it dies when the thread that started
 * it ends.
 */
#ifndef XB_SST_CHILD_H
#define XB_SST_CHILD_H

#include "sst/watch.h"

#include <sys/types.h>

struct child {
    pid_t pid; /* 0: none */
    int pidfd;
    const char *name; /* for messages */
};

#define CHILD_EXTRA_FD 4

struct child_spec {
    char *const *arguments; /* [0] is looked up in PATH */
    int in, out, err;       /* -1: in /dev/null, out and err our standard error */
    const char *variable;   /* "NAME=value" for its environment; NULL: none */
    int extra;              /* is its descriptor CHILD_EXTRA_FD; 0: none */
};

/* -> 0, -ENOENT (no such program), or another negative errno with *error */
int child_start(struct child *child, const struct child_spec *spec, struct xb_error *error);
/* -> its exit status (0..255; 128 + number if a signal ended it), or what watch_wait says: then it still runs */
int child_wait(struct child *child, const struct watch *watch, int64_t deadline_ns, struct xb_error *error);
void child_kill(struct child *child); /* its whole group, and waits for it; fine if there is none */

#endif
