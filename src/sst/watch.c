/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Waits on a descriptor together with what may end the program. Signals stay pending, so that every thread sees them.
 */
#include "sst/watch.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* -> parent of a process and its name, 0 if it cannot be known */
static int64_t read_parent(int64_t pid, char name[32]) {
    char path[64], line[512] = "";
    snprintf(path, sizeof(path), "/proc/%" PRId64 "/stat", pid);
    FILE *file = fopen(path, "re");
    if (!file) return 0;
    char *end = fgets(line, sizeof(line), file) ? strrchr(line, ')') : NULL;
    fclose(file);
    char *begin = strchr(line, '(');
    if (!begin || !end) return 0;
    *end = '\0';
    snprintf(name, 32, "%s", begin + 1);
    return strlen(end + 1) > 3 ? strtoll(end + 4, NULL, 10) : 0;
}

static bool is_server(const char *name) {
    return strncmp(name, "mariadbd", 8) == 0 || strncmp(name, "mysqld", 6) == 0;
}

/* The server starts programs through a shell, which may stand between us and it. */
static int64_t find_server(void) {
    char name[32] = "";
    int64_t pid = getppid();
    for (int i = 0; i < 2 && pid > 1; i++) {
        int64_t above = read_parent(pid, name);
        if (is_server(name)) return pid;
        pid = above;
    }
    return 0;
}

int watch_open(struct watch *watch, int64_t parent_pid, struct xb_error *error) {
    *watch = (struct watch){-1, -1, -1, parent_pid ? parent_pid : find_server()};
    sigset_t signals;
    sigemptyset(&signals);
    static const int ends[] = {SIGTERM, SIGINT, SIGHUP, SIGQUIT};
    for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) sigaddset(&signals, ends[i]);
    sigprocmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    watch->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
    watch->stop_fd = eventfd(0, EFD_CLOEXEC);
    if (watch->signal_fd < 0 || watch->stop_fd < 0) return xb_fail(error, -errno, "cannot watch for signals: %m");
    if (!watch->parent_pid) return 0;
    watch->parent_fd = (int)syscall(SYS_pidfd_open, (pid_t)watch->parent_pid, 0);
    if (watch->parent_fd >= 0) return 0;
    if (errno == ESRCH) return xb_fail(error, -EPIPE, "the server (pid %" PRId64 ") is gone", watch->parent_pid);
    return xb_fail(error, -errno, "cannot watch the server (pid %" PRId64 "): %m", watch->parent_pid);
}

void watch_close(struct watch *watch) {
    if (watch->parent_fd >= 0) close(watch->parent_fd);
    if (watch->signal_fd >= 0) close(watch->signal_fd);
    if (watch->stop_fd >= 0) close(watch->stop_fd);
    *watch = (struct watch){-1, -1, -1, 0};
}

int watch_fork(struct watch *child, const struct watch *watch, struct xb_error *error) {
    *child = *watch;
    child->stop_fd = eventfd(0, EFD_CLOEXEC);
    return child->stop_fd < 0 ? xb_fail(error, -errno, "cannot make an event descriptor: %m") : 0;
}

void watch_stop(const struct watch *watch) {
    eventfd_write(watch->stop_fd, 1);
}

void watch_close_fork(struct watch *child) {
    if (child->stop_fd >= 0) close(child->stop_fd);
    child->stop_fd = -1;
}

static int timeout_ms(int64_t deadline_ns) {
    if (deadline_ns == XB_NEVER) return -1;
    int64_t left_ns = deadline_ns - xb_clock_monotonic_ns();
    if (left_ns <= 0) return 0;
    int64_t ms = left_ns / XB_MS + 1;
    return ms > INT32_MAX ? INT32_MAX : (int)ms;
}

int watch_poll(const struct watch *watch, const struct pollfd wanted[2], int64_t deadline_ns, struct xb_error *error) {
    struct pollfd fds[] = {{watch->parent_fd, POLLIN, 0},
                           {watch->signal_fd, POLLIN, 0},
                           {watch->stop_fd, POLLIN, 0},
                           wanted[0],
                           wanted[1]};
    for (;;) {
        int ready = poll(fds, 5, timeout_ms(deadline_ns));
        if (ready < 0 && errno != EINTR) return xb_fail(error, -errno, "poll failed: %m");
        if (ready < 0) continue;
        if (fds[0].revents) return xb_fail(error, -EPIPE, "the server (pid %" PRId64 ") has ended", watch->parent_pid);
        if (fds[1].revents) return xb_fail(error, -EINTR, "ended by a signal");
        if (fds[2].revents) return -ECANCELED;
        if (fds[3].revents || fds[4].revents) return 0;
        if (deadline_ns != XB_NEVER && xb_clock_monotonic_ns() >= deadline_ns) return -ETIMEDOUT;
    }
}

int watch_wait(const struct watch *watch, int fd, short events, int64_t deadline_ns, struct xb_error *error) {
    return watch_poll(watch, (struct pollfd[]){{fd, events, 0}, {-1, 0, 0}}, deadline_ns, error);
}

int watch_check(const struct watch *watch, struct xb_error *error) {
    int rc = watch_wait(watch, -1, 0, 0, error);
    return rc == -ETIMEDOUT ? 0 : rc;
}

void watch_wait_change(pthread_cond_t *changed, pthread_mutex_t *lock) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_nsec += 100 * XB_MS;
    if (until.tv_nsec >= XB_SECOND) {
        until.tv_nsec -= XB_SECOND;
        until.tv_sec++;
    }
    pthread_cond_timedwait(changed, lock, &until);
}
