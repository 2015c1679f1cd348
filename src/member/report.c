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

/* Is it this one's turn? `more`: how often it was not, in words. */
static bool may_log(struct report *report, const char *host, const char *reason, int64_t now_ns, char more[64]) {
    struct report_entry *entry = find_entry(report, host, reason);
    if (now_ns - entry->logged_ns < REPORT_PERIOD_NS || !is_room(report, now_ns)) {
        entry->unlogged++;
        return false;
    }
    report->lines++;
    more[0] = '\0';
    if (entry->unlogged) snprintf(more, 64, " (%" PRIu64 " more before)", entry->unlogged);
    entry->unlogged = 0;
    entry->logged_ns = now_ns;
    return true;
}

void report_refusal(struct report *report, const char *host, uint16_t port, const char *subject, const char *reason,
                    const struct xb_log *log, int64_t now_ns) {
    char more[64], key[sizeof(report->entries->reason)];
    snprintf(key, sizeof(key), "%.*s", (int)strcspn(reason, "'"), reason); /* without what the peer can vary */
    if (!may_log(report, host, key, now_ns, more)) return;
    if (*subject)
        xb_log_warning(log, "Refused %s:%u after the TLS handshake (certificate '%s'): %s%s", host, port, subject,
                       reason, more);
    else
        xb_log_warning(log, "Refused %s:%u: %s%s", host, port, reason, more);
}

void report_failure(struct report *report, const struct net_loss *loss, const struct xb_log *log, int64_t now_ns) {
    if (loss->is_dialled && loss->is_handshake)
        snprintf(report->last, sizeof(report->last), "%s:%u: %.400s", loss->host, loss->port, loss->text);
    if (loss->is_violation) {
        char reason[XB_ERROR_TEXT_SIZE];
        snprintf(reason, sizeof(reason), "what it sends is no group communication: %.300s", loss->text);
        report_refusal(report, loss->host, loss->port, loss->subject, reason, log, now_ns);
        return;
    }
    if (!is_worth_a_line(loss)) return;
    char more[64], reason[sizeof(report->entries->reason)];
    snprintf(reason, sizeof(reason), "%.*s", (int)strcspn(loss->text, "("), loss->text);
    if (!may_log(report, loss->host, reason, now_ns, more)) return;
    if (loss->reason == -EACCES)
        xb_log_warning(log, "%s%s", loss->text, more);
    else
        xb_log_warning(log, "Failed to establish connection %s %s:%u: %s%s", loss->is_dialled ? "to" : "from",
                       loss->host, loss->port, loss->text, more);
}
