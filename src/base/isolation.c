/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Node isolation mode. A signal handler can neither lock nor wait, so it may still write to a descriptor whose watcher
 * has just gone: descriptors are kept for the next watcher and not closed, or that write could hit another file.
 */
#include "base/isolation.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

void xb_isolation_set(struct xb_isolation *isolation, int mode) {
    int saved_errno = errno; /* of whom the signal has interrupted */
    uint64_t one = 1;
    atomic_store(&isolation->mode, mode);
    for (int i = 0; i < XB_ISOLATION_WATCHERS_MAX; i++) {
        int fd = atomic_load(&isolation->watchers[i].fd_plus_1) - 1;
        if (fd >= 0 && write(fd, &one, sizeof(one)) < 0) continue; /* its counter is full: it is readable */
    }
    errno = saved_errno;
}

int xb_isolation_watch(struct xb_isolation *isolation) {
    for (int i = 0; i < XB_ISOLATION_WATCHERS_MAX; i++) {
        struct xb_isolation_watcher *watcher = &isolation->watchers[i];
        if (atomic_exchange(&watcher->is_used, true)) continue;
        int fd = atomic_load(&watcher->fd_plus_1) - 1;
        if (fd < 0) fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        atomic_store(&watcher->fd_plus_1, fd + 1);
        if (fd < 0) atomic_store(&watcher->is_used, false);
        return fd;
    }
    return -1;
}

void xb_isolation_unwatch(struct xb_isolation *isolation, int fd) {
    for (int i = 0; fd >= 0 && i < XB_ISOLATION_WATCHERS_MAX; i++)
        if (atomic_load(&isolation->watchers[i].fd_plus_1) == fd + 1)
            atomic_store(&isolation->watchers[i].is_used, false);
}

void xb_isolation_read(int fd) {
    uint64_t count;
    if (read(fd, &count, sizeof(count)) < 0) return; /* it was not readable */
}

void xb_isolation_clear(struct xb_isolation *isolation) {
    for (int i = 0; i < XB_ISOLATION_WATCHERS_MAX; i++) {
        int fd = atomic_load(&isolation->watchers[i].fd_plus_1) - 1;
        if (fd >= 0) close(fd);
    }
    memset(isolation, 0, sizeof(*isolation));
}
