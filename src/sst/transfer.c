/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Control channel, progress, and the TLS context from the settings. */
#include "sst/transfer.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define LINE_MAX_BYTES 511       /* what the server takes as one line of a joiner, */
#define DONOR_LINE_MAX_BYTES 127 /* and of a donor */
#define EXPIRY_WARNING_DAYS 30

int transfer_say(struct transfer *transfer, struct xb_error *error, const char *format, ...) {
    char line[LINE_MAX_BYTES + 2];
    va_list list;
    va_start(list, format);
    int size = vsnprintf(line, sizeof(line) - 1, format, list);
    va_end(list);
    int room = transfer->arguments->role == SST_DONOR ? DONOR_LINE_MAX_BYTES : LINE_MAX_BYTES;
    if (size < 0 || size >= room) return xb_fail(error, -EINVAL, "a line for the server is too long");
    line[size++] = '\n';
    for (const char *at = line; size > 0;) {
        ssize_t n = write(transfer->control_fd, at, (size_t)size);
        if (n < 0 && errno != EINTR) return xb_fail(error, -errno, "cannot tell the server: %m");
        if (n > 0) {
            at += n;
            size -= (int)n;
        }
    }
    return 0;
}

void transfer_report(struct transfer *transfer, struct progress *progress, uint64_t bytes) {
    int64_t now_ns = xb_clock_monotonic_ns();
    char line[PROGRESS_LINE_SIZE];
    if (!progress_add(progress, bytes, now_ns)) return;
    if (transfer->bar_columns) {
        fprintf(stderr, "\r%s", progress_bar(progress, now_ns, transfer->bar_columns, line));
        transfer->is_bar_shown = true;
        return;
    }
    progress_format(progress, now_ns, line);
    if (transfer->settings.is_progress_shown)
        xb_log_info(transfer->log, "%s %s", transfer->arguments->role == SST_DONOR ? "sent" : "received", line);
    if (transfer->arguments->is_progress_wanted)
        transfer_say(transfer, NULL, "complete %" PRIu64, progress->done_bytes);
}

int transfer_load_tls(struct transfer *transfer, struct xb_error *error) {
    const struct sst_settings *s = &transfer->settings;
    if (!s->is_tls || transfer->tls) return 0;
    struct stream_tls_config config = {s->cert,
                                       s->key,
                                       s->ca,
                                       s->ca_path,
                                       s->dh_file,
                                       s->is_peer_verified,
                                       transfer->arguments->method == SST_METHOD_XEBEC};
    transfer->tls = stream_tls_load(&config, error);
    if (!transfer->tls) return error->code;
    int64_t days = stream_tls_days_left(transfer->tls);
    if (days < EXPIRY_WARNING_DAYS)
        xb_log_warning(transfer->log, "own certificate '%s' expires in %" PRId64 " days: renew it", s->cert, days);
    return 0;
}
