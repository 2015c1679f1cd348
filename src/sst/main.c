/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xebec-sst: the state transfer program of all methods; the name by which it is called chooses (spec 08 section 2). */
#include "sst/mysqldump.h"
#include "sst/relay.h"
#include "sst/rsync.h"
#include "sst/standalone.h"
#include "sst/transfer.h"
#include "sst/xebec.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static void write_log(void *ctx, enum xb_log_level level, const char *line) {
    static const char *const names[] = {"FATAL", "ERROR", "WARNING", "INFO", "DEBUG"};
    struct timespec now;
    struct tm local;
    char stamp[32];
    clock_gettime(CLOCK_REALTIME, &now);
    strftime(stamp, sizeof(stamp), "%Y%m%d %H:%M:%S", localtime_r(&now.tv_sec, &local));
    fprintf(stderr, "WSREP_SST: [%s] %s (%s.%03ld)\n", names[level], line, stamp, now.tv_nsec / 1000000);
}

/* The exit status is read as an errno when no final line came (section 2.8). */
static int exit_status(int code) {
    switch (-code) {
    case 0:
        return 0;
    case EINTR:
        return 3;
    case ENOMSG:
        return 42;
    case ENOPROTOOPT:
        return 93;
    case ENOENT:
    case EINVAL:
    case EBUSY:
    case EALREADY:
    case ENODATA:
        return -code == ENODATA ? 2 : -code;
    default:
        return EPIPE;
    }
}

/* Standard output is the control channel: it moves to a descriptor of its own, so that nothing else writes there. */
static int take_control_channel(void) {
    syscall(SYS_close_range, 3u, ~0u, 0u);
    int fd = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, 3);
    dup2(STDERR_FILENO, STDOUT_FILENO);
    return fd;
}

static int run(struct transfer *t, struct xb_error *error) {
    const struct sst_arguments *a = t->arguments;
    int rc = sst_address_read(&t->address, a->address, error);
    if (rc) t->address = (struct sst_address){0}; /* nothing of it is to be trusted */
    if (rc == 0 && a->port && t->address.has_port && a->port != t->address.port && a->method != SST_METHOD_MYSQLDUMP)
        rc = xb_fail(error, -ENOENT, "--port %u and the port of --address %u differ", a->port, t->address.port);
    if (rc == 0) rc = watch_open(&t->watch, a->parent_pid, error);
    if (rc == 0) rc = sst_settings_load(&t->settings, a, error);
    const char *warning;
    for (int i = 0; rc == 0 && (warning = sst_settings_warning(&t->settings, i)); i++)
        xb_log_warning(t->log, "%s", warning);
    if (rc) return rc;
    switch (a->method) {
    case SST_METHOD_BACKUP:
        return a->role == SST_JOINER ? joiner_run(t, error) : donor_run(t, error);
    case SST_METHOD_XEBEC:
        return a->role == SST_JOINER ? xebec_joiner_run(t, error) : xebec_donor_run(t, error);
    case SST_METHOD_RSYNC:
        return a->role == SST_JOINER ? rsync_joiner_run(t, error) : rsync_donor_run(t, error);
    case SST_METHOD_MYSQLDUMP:
        break;
    }
    return mysqldump_donor_run(t, error);
}

/* The joiner waits for a donor that will not come. */
static void tell_joiner(const struct transfer *t) {
    bool is_heard = t->arguments->method == SST_METHOD_RSYNC || t->address.version[0];
    if (t->arguments->role == SST_DONOR && is_heard && t->arguments->method != SST_METHOD_MYSQLDUMP &&
        t->address.host[0])
        stream_tell_failure(&t->address, &t->watch);
}

static bool is_called_by_hand(const char *path) {
    const char *slash = strrchr(path, '/');
    return strcmp(slash ? slash + 1 : path, "xebec-sst") == 0;
}

int main(int argc, char **argv) {
    if (argc > 1 && strcmp(argv[1], RELAY_WORD) == 0) return relay_main();
    if (is_called_by_hand(argv[0])) return standalone_main(argc, argv);
    struct xb_log log = {.write = write_log};
    struct xb_error error = {0};
    struct sst_arguments arguments;
    struct transfer transfer = {.arguments = &arguments, .log = &log, .watch = {-1, -1, -1, 0}};
    transfer.control_fd = take_control_channel();
    setvbuf(stderr, NULL, _IOLBF, 0);
    int rc = sst_arguments_read(&arguments, argc, argv, &error);
    if (rc == 0) rc = run(&transfer, &error);
    if (rc) {
        tell_joiner(&transfer);
        xb_log_error(&log, "state transfer failed (%s): %s", arguments.role == SST_JOINER ? "joiner" : "donor",
                     error.text[0] ? error.text : strerror(-rc));
    }
    stream_tls_free(transfer.tls);
    watch_close(&transfer.watch);
    sst_settings_free(&transfer.settings);
    return exit_status(rc);
}
