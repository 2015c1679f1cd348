/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The donor of the methods xtrabackup and mariabackup (spec 08 section 3.5): two streams to the joiner's port. */
#include "sst/backup.h"
#include "sst/datadir.h"
#include "sst/flow.h"
#include "sst/magic.h"
#include "sst/reach.h"
#include "sst/transfer.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define ANSWER_SIZE 512

/* What the joiner said at the end of a stage. */
static int read_answer(const char *answer, bool is_ours_expected, bool *is_ours, struct xb_error *error) {
    *is_ours = strncmp(answer, TRANSFER_OK, strlen(TRANSFER_OK)) == 0;
    if (strncmp(answer, TRANSFER_FAILED, strlen(TRANSFER_FAILED)) == 0)
        return xb_fail(error, -EPIPE, "the joiner says: %.*s", (int)strcspn(answer + strlen(TRANSFER_FAILED), "\n"),
                       answer + strlen(TRANSFER_FAILED));
    if (strncmp(answer, "XEBEC-SST encrypt=", 18) == 0)
        return xb_fail(error, -EPROTOTYPE,
                       "the joiner uses encrypt=%c, this node does not: set [sst] encrypt alike on both nodes",
                       answer[18]);
    if (is_ours_expected && !*is_ours)
        return xb_fail(error, -EPIPE, "the joiner closed the connection before it had acknowledged the whole");
    return 0;
}

static int send_stage(struct transfer *t, const struct flow_source *source, struct progress *progress,
                      bool is_ours_expected, bool *is_ours, struct xb_error *error) {
    struct stream stream = {.fd = -1};
    char answer[ANSWER_SIZE] = "";
    int rc = reach_joiner(t, &stream, error);
    if (rc == 0) rc = flow_send(t, &stream, source, progress, answer, sizeof(answer), error);
    bool has_reason = strncmp(answer, "XEBEC-SST ", 10) == 0;
    if (rc == 0 || has_reason) {
        struct xb_error reason = {0};
        int answer_rc = read_answer(answer, is_ours_expected, is_ours, &reason);
        if (answer_rc) {
            rc = answer_rc;
            *error = reason;
        }
    }
    if (rc == 0 && progress)
        xb_log_info(t->log, "sent to %s%s%s", stream.peer, stream.cipher[0] ? " by " : "", stream.cipher);
    if (rc)
        stream_abort(&stream);
    else
        stream_close(&stream);
    return rc;
}

static int send_magic(struct transfer *t, uint64_t total, bool *is_ours, struct xb_error *error) {
    struct magic_stage stage = {.total_bytes = total, .is_ist_only = t->arguments->is_bypass, .is_ours = true};
    uint8_t bytes[MAGIC_LINE_SIZE * 8];
    int ends[2];
    snprintf(stage.state, sizeof(stage.state), "%s %s", t->arguments->gtid, t->arguments->gtid_domain_id);
    snprintf(stage.secret, sizeof(stage.secret), "%s", t->settings.remote_secret);
    size_t size = magic_write_stage(&stage, bytes, sizeof(bytes));
    if (size == 0 || pipe(ends)) return xb_fail(error, -ENOMEM, "cannot build the first stage");
    int rc =
        write(ends[1], bytes, size) == (ssize_t)size ? 0 : xb_fail(error, -EIO, "cannot build the first stage: %m");
    close(ends[1]);
    if (rc == 0) rc = send_stage(t, &(struct flow_source){ends[0], NULL, NULL}, NULL, false, is_ours, error);
    close(ends[0]);
    return rc;
}

/* A joiner of ours that still waits for the second stage learns that none will come: a byte that begins no backup. */
static void give_up(struct transfer *t) {
    struct stream stream = {.fd = -1};
    struct xb_error ignored = {0};
    if (watch_check(&t->watch, &ignored) == 0 && reach_joiner(t, &stream, &ignored) == 0)
        stream_close_with(&stream, "-");
    stream_close(&stream);
}

static int send_backup(struct transfer *t, uint64_t total, bool is_ours, struct xb_error *error) {
    struct progress progress;
    struct backup_source source;
    char line[PROGRESS_LINE_SIZE];
    progress_begin(&progress, total, xb_clock_monotonic_ns());
    if (t->arguments->is_progress_wanted) transfer_say(t, NULL, "total %" PRIu64, total);
    int rc = backup_source_start(&source, t, error);
    bool is_ours_again;
    if (rc && is_ours) give_up(t);
    if (rc == 0)
        rc = send_stage(t, &(struct flow_source){source.fd, backup_source_check, &source}, &progress, is_ours,
                        &is_ours_again, error);
    backup_source_end(&source);
    if (rc == 0) xb_log_info(t->log, "%s", progress_format_end(&progress, xb_clock_monotonic_ns(), line));
    return rc;
}

static int donate(struct transfer *t, struct xb_error *error) {
    bool is_ours = false;
    uint64_t total = t->arguments->is_bypass ? 0 : datadir_footprint(&t->settings, t->arguments->datadir);
    int rc = t->arguments->is_bypass ? transfer_say(t, error, "continue") : 0;
    if (rc == 0) rc = send_magic(t, total, &is_ours, error);
    if (rc == 0 && !t->arguments->is_bypass) rc = send_backup(t, total, is_ours, error);
    return rc ? rc : transfer_say(t, error, "done %s", t->arguments->gtid);
}

int donor_run(struct transfer *t, struct xb_error *error) {
    if (!t->address.version[0])
        return xb_fail(error, -ENOPROTOOPT, "the joiner is too old for this method: its address carries no version");
    int rc = transfer_load_tls(t, error);
    int lock = rc ? rc : datadir_lock(t->arguments->datadir, &t->watch, error);
    if (lock < 0) return lock;
    rc = donate(t, error);
    datadir_unlock(t->arguments->datadir, lock);
    return rc;
}
