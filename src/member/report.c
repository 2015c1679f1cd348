/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Failed connections in the log: one line each with address, certificate subject, reason and what to do, but not more
 * than one line a host in REPORT_PERIOD_NS, since peers and scanners come again and again.
 */
#include "member/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* The host's entry, or a free one, or the one that was silent longest. */
static struct report_host *find_host(struct report *report, const char *host) {
    struct report_host *oldest = &report->hosts[0];
    for (size_t i = 0; i < REPORT_HOSTS_MAX; i++) {
        struct report_host *entry = &report->hosts[i];
        if (!strcmp(entry->host, host)) return entry;
        bool is_older = !entry->host[0] || entry->logged_ns < oldest->logged_ns;
        if (oldest->host[0] && is_older) oldest = entry;
    }
    *oldest = (struct report_host){.logged_ns = -REPORT_PERIOD_NS};
    snprintf(oldest->host, sizeof(oldest->host), "%s", host);
    return oldest;
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
    struct report_host *host = find_host(report, loss->host);
    if (now_ns - host->logged_ns < REPORT_PERIOD_NS) {
        host->unlogged++;
        return;
    }
    char more[64] = "";
    if (host->unlogged) snprintf(more, sizeof(more), " (%" PRIu64 " more before)", host->unlogged);
    if (loss->reason == -EACCES)
        xb_log_warning(log, "%s%s", loss->text, more);
    else
        xb_log_warning(log, "Failed to establish connection %s %s:%u: %s%s", loss->is_dialled ? "to" : "from",
                       loss->host, loss->port, loss->text, more);
    host->unlogged = 0;
    host->logged_ns = now_ns;
}
