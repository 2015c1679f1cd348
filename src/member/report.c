/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Failed connections in the log: one line each with address, certificate subject, reason and what to do, but not more
 * than one line for a host and reason in REPORT_PERIOD_NS, since peers and scanners come again and again.
 */
#include "member/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The entry of host and reason, or a free one, or the one that was silent longest. */
static struct report_entry *find_entry(struct report *report, const char *host, const char *reason) {
    struct report_entry *oldest = &report->entries[0];
    for (size_t i = 0; i < REPORT_ENTRIES_MAX; i++) {
        struct report_entry *entry = &report->entries[i];
        if (!strcmp(entry->host, host) && !strcmp(entry->reason, reason)) return entry;
        bool is_older = !entry->host[0] || entry->logged_ns < oldest->logged_ns;
        if (oldest->host[0] && is_older) oldest = entry;
    }
    *oldest = (struct report_entry){.logged_ns = -REPORT_PERIOD_NS};
    snprintf(oldest->host, sizeof(oldest->host), "%s", host);
    snprintf(oldest->reason, sizeof(oldest->reason), "%s", reason);
    return oldest;
}

/* May there be one more line in this period? */
static bool is_room(struct report *report, int64_t now_ns) {
    if (now_ns - report->period_ns >= REPORT_PERIOD_NS) {
        report->period_ns = now_ns;
        report->lines = 0;
    }
    return report->lines < REPORT_LINES_MAX;
}

/* Refused dials and lost connections are the mesh's to tell; connects without a byte are health checks. */
static bool is_worth_a_line(const struct net_loss *loss) {
    if (!loss->is_handshake && loss->reason != -EACCES) return false;
    return loss->is_tls || (loss->is_dialled ? loss->reason == 0 || loss->reason == -ETIMEDOUT : loss->reason != 0);
}

void report_failure(struct report *report, const struct net_loss *loss, const struct xb_log *log, int64_t now_ns) {
    if (loss->is_dialled && loss->is_handshake)
        snprintf(report->last, sizeof(report->last), "%s:%u: %.400s", loss->host, loss->port, loss->text);
    if (!is_worth_a_line(loss)) return;
    char reason[sizeof(report->entries->reason)];
    snprintf(reason, sizeof(reason), "%.*s", (int)strcspn(loss->text, "("), loss->text);
    struct report_entry *entry = find_entry(report, loss->host, reason);
    if (now_ns - entry->logged_ns < REPORT_PERIOD_NS || !is_room(report, now_ns)) {
        entry->unlogged++;
        return;
    }
    report->lines++;
    char more[64] = "";
    if (entry->unlogged) snprintf(more, sizeof(more), " (%" PRIu64 " more before)", entry->unlogged);
    if (loss->reason == -EACCES)
        xb_log_warning(log, "%s%s", loss->text, more);
    else
        xb_log_warning(log, "Failed to establish connection %s %s:%u: %s%s", loss->is_dialled ? "to" : "from",
                       loss->host, loss->port, loss->text, more);
    entry->unlogged = 0;
    entry->logged_ns = now_ns;
}
