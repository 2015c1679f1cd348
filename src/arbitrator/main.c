/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xebec-arbitrator: the process around the arbitrator: log, background, signals, exit code. */
#include "arbitrator/arbitrator.h"
#include "arbitrator/arguments.h"

#include <argp.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <syslog.h>
#include <time.h>
#include <unistd.h>

/* For argp, in the C library: it must see it although all else is hidden. */
__attribute__((visibility("default"))) const char *argp_program_version = "xebec-arbitrator " XEBEC_VERSION;

static void write_stream(void *ctx, enum xb_log_level level, const char *line) {
    static const char *const names[] = {"FATAL", "ERROR", "WARN", "INFO", "DEBUG"};
    struct timespec now;
    struct tm local;
    char stamp[32];
    clock_gettime(CLOCK_REALTIME, &now);
    strftime(stamp, sizeof(stamp), "%Y-%m-%d %H:%M:%S", localtime_r(&now.tv_sec, &local));
    fprintf(ctx, "%s.%03ld %5s: %s\n", stamp, now.tv_nsec / 1000000, names[level], line);
    fflush(ctx);
}

static void write_syslog(void *ctx, enum xb_log_level level, const char *line) {
    static const int priorities[] = {LOG_CRIT, LOG_ERR, LOG_WARNING, LOG_INFO, LOG_DEBUG};
    syslog(priorities[level], "%s", line);
}

static int open_log(const struct arguments *arguments, struct xb_log *log) {
    if (arguments->log) {
        FILE *file = fopen(arguments->log, "ae");
        if (!file) {
            fprintf(stderr, "xebec-arbitrator: cannot open log file '%s': %m\n", arguments->log);
            return -errno;
        }
        log->write = write_stream;
        log->ctx = file;
    } else if (arguments->is_daemon) {
        openlog("xebec-arbitrator", LOG_PID, LOG_DAEMON);
        log->write = write_syslog;
    } else {
        log->write = write_stream;
        log->ctx = stderr;
    }
    return 0;
}

/* Signals are read from a descriptor, so that a second one while the first is served is harmless. */
static int block_signals(void) {
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    pthread_sigmask(SIG_BLOCK, &signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    return signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void wait_for_end(struct arbitrator *arbitrator, int signal_fd, const struct xb_log *log) {
    struct pollfd fds[] = {{signal_fd, POLLIN, 0}, {arbitrator_end_fd(arbitrator), POLLIN, 0}};
    for (;;) {
        int ready = poll(fds, 2, arbitrator_tick(arbitrator));
        if (ready < 0 && errno != EINTR) xb_log_error(log, "poll failed: %m");
        if (ready > 0 && fds[0].revents) {
            xb_log_info(log, "Signal received, leaving the group");
            return;
        }
        if (ready > 0 && fds[1].revents) return;
    }
}

static int run(const struct arguments *arguments, struct xb_options *options, const struct xb_log *log, int signal_fd) {
    struct xb_error error = {0};
    struct arbitrator_config config = {arguments->name,  arguments->address, arguments->group, arguments->sst,
                                       arguments->donor, arguments->workdir, options};
    struct arbitrator *arbitrator = arbitrator_open(&config, log, &error);
    if (!arbitrator) {
        xb_log_error(log, "%s", error.text);
        return error.code ? error.code : -EIO;
    }
    wait_for_end(arbitrator, signal_fd, log);
    return arbitrator_close(arbitrator);
}

/* What the user has mistyped is said in his terminal, before the process goes to the background. */
static int prepare(struct arguments *arguments, struct xb_options *options, struct xb_log *log, int argc, char **argv) {
    struct xb_error error = {0};
    if (!options) {
        fprintf(stderr, "xebec-arbitrator: no memory\n");
        return -ENOMEM;
    }
    if (arguments_read(arguments, argc, argv, &error) || xb_options_start(options, arguments->options, &error)) {
        fprintf(stderr, "xebec-arbitrator: %s\n", error.text);
        return error.code;
    }
    int result = open_log(arguments, log);
    if (result == 0 && arguments->is_daemon && daemon(1, 0)) {
        result = -errno;
        fprintf(stderr, "xebec-arbitrator: cannot go to the background: %m\n");
    }
    return result;
}

int main(int argc, char **argv) {
    struct arguments arguments = {0};
    struct xb_log log = {0};
    struct xb_options *options = xb_options_new();
    int code = prepare(&arguments, options, &log, argc, argv);
    if (code == 0) {
        int signal_fd = block_signals();
        code = signal_fd < 0 ? -errno : run(&arguments, options, &log, signal_fd);
    }
    xb_options_free(options);
    arguments_clear(&arguments);
    return code ? EXIT_FAILURE : EXIT_SUCCESS;
}
