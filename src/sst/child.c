/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fork and exec by hand: posix_spawn can neither ask for death with the parent nor report which step failed. */
#include "sst/child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

static void become(const struct child_spec *spec, pid_t parent, int report) {
    sigset_t none;
    sigemptyset(&none);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() != parent) _exit(127);
    signal(SIGPIPE, SIG_DFL);
    sigprocmask(SIG_SETMASK, &none, NULL);
    int null = open("/dev/null", O_RDWR);
    /* Above the standard three, so that no dup2 overwrites another's source. */
    int in = fcntl(spec->in >= 0 ? spec->in : null, F_DUPFD, 10),
        out = fcntl(spec->out >= 0 ? spec->out : 2, F_DUPFD, 10);
    int err = fcntl(spec->err >= 0 ? spec->err : 2, F_DUPFD, 10);
    int extra = spec->extra ? fcntl(spec->extra, F_DUPFD, 10) : -1;
    int keep = fcntl(report, F_DUPFD_CLOEXEC, 10);
    if (in < 0 || out < 0 || err < 0 || keep < 0 || dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0) _exit(127);
    if (dup3(keep, 3, O_CLOEXEC) < 0) _exit(127);
    if (spec->extra && (extra < 0 || dup2(extra, CHILD_EXTRA_FD) < 0)) _exit(127);
    syscall(SYS_close_range, spec->extra ? CHILD_EXTRA_FD + 1u : CHILD_EXTRA_FD + 0u, ~0u, 0u);
    if (spec->variable) putenv((char *)spec->variable);
    execvp(spec->arguments[0], spec->arguments);
    int code = errno;
    if (write(3, &code, sizeof(code)) < 0) _exit(126);
    _exit(127);
}

int child_start(struct child *child, const struct child_spec *spec, struct xb_error *error) {
    *child = (struct child){0, -1, spec->arguments[0]};
    int report[2];
    if (pipe2(report, O_CLOEXEC)) return xb_fail(error, -errno, "cannot make a pipe: %m");
    pid_t self = getpid(), pid = fork();
    if (pid == 0) become(spec, self, report[1]);
    int code = errno;
    close(report[1]);
    if (pid < 0) {
        close(report[0]);
        return xb_fail(error, -code, "cannot start '%s': %s", child->name, strerror(code));
    }
    setpgid(pid, pid);
    code = 0;
    ssize_t n = read(report[0], &code, sizeof(code));
    close(report[0]);
    child->pid = pid;
    child->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (n == 0 && child->pidfd >= 0) return 0;
    child_kill(child);
    if (n == (ssize_t)sizeof(code) && code == ENOENT)
        return xb_fail(error, -ENOENT, "program '%s' is not installed (not found in PATH)", spec->arguments[0]);
    return xb_fail(error, -ECHILD, "cannot start '%s': %s", spec->arguments[0], strerror(code ? code : ECHILD));
}

static void forget(struct child *child) {
    if (child->pidfd >= 0) close(child->pidfd);
    *child = (struct child){0, -1, child->name};
}

int child_wait(struct child *child, const struct watch *watch, int64_t deadline_ns, struct xb_error *error) {
    int rc = watch_wait(watch, child->pidfd, POLLIN, deadline_ns, error), status = 0;
    if (rc) return rc;
    pid_t group = child->pid;
    if (waitpid(child->pid, &status, 0) < 0) rc = xb_fail(error, -errno, "cannot wait for '%s': %m", child->name);
    kill(-group, SIGKILL); /* what it may have left behind */
    forget(child);
    if (rc) return rc;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

void child_kill(struct child *child) {
    if (child->pid <= 0) return;
    kill(-child->pid, SIGKILL);
    kill(child->pid, SIGKILL);
    while (waitpid(child->pid, NULL, 0) < 0 && errno == EINTR) {
    }
    forget(child);
}
