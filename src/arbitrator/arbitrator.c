/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The arbitrator: joins, asks for the empty state once a primary configuration lists it as new, says that it has it,
 * and from then on only counts (spec 07 section 20). Runs in the group thread, but for the functions of the header.
 */
#include "arbitrator/arbitrator.h"

#include "base/clock.h"
#include "member/member.h"
#include "tls/keeper.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define REQUEST_RETRY_NS XB_SECOND

struct arbitrator {
    const struct xb_log *log;
    struct member *member;
    struct tls_keeper *tls; /* an arbitrator has no SQL: socket.ssl_watch reloads */
    struct group *group;    /* group thread */
    int end_fd;
    char *request; /* donor list NUL, SST string: a version 0 state request (spec 07 section 13.1) */
    size_t request_size;
    bool is_backup; /* the SST string asks for data: leave once a donor has been chosen */

    /* Group thread. */
    struct gcs_submission submission;
    struct iovec request_part;
    bool is_asking;
    struct xb_uuid group_uuid;
    int64_t conf_seqno;

    struct member_task retry;
    _Atomic(int64_t) retry_at_ns; /* XB_NEVER: none due */
    _Atomic(int) end_code;
};

/* The first reason counts: leaving the group, which follows, has none. */
static void end(struct arbitrator *arbitrator, int code) {
    int none = 0;
    atomic_compare_exchange_strong(&arbitrator->end_code, &none, code);
    if (eventfd_write(arbitrator->end_fd, 1)) xb_log_error(arbitrator->log, "cannot wake the main thread: %m");
}

static void on_request_done(struct gcs_submission *submission, int result, const struct gcs_action *action);

static void ask_for_state(struct arbitrator *arbitrator, int64_t now_ns) {
    if (arbitrator->is_asking) return;
    arbitrator->is_asking = true;
    atomic_store(&arbitrator->retry_at_ns, XB_NEVER);
    arbitrator->submission = (struct gcs_submission){
        .type = GCS_STATE_REQ,
        .parts = &arbitrator->request_part,
        .part_count = 1,
        .done = on_request_done,
        .ctx = arbitrator,
    };
    gcs_submit(group_gcs(arbitrator->group), &arbitrator->submission, now_ns);
}

static void on_request_done(struct gcs_submission *submission, int result, const struct gcs_action *action) {
    struct arbitrator *arbitrator = submission->ctx;
    int64_t now_ns = xb_clock_monotonic_ns();
    arbitrator->is_asking = false;
    if (action && action->buf) free(action->buf);
    if (result >= 0 && arbitrator->is_backup) {
        xb_log_info(arbitrator->log, "State request accepted by member %d, leaving the group to it", result);
        end(arbitrator, 0);
    } else if (result >= 0) {
        gcs_join(group_gcs(arbitrator->group), &arbitrator->group_uuid, arbitrator->conf_seqno, 0, now_ns);
    } else if (result == -EAGAIN || result == -ENOTCONN) {
        atomic_store(&arbitrator->retry_at_ns, now_ns + REQUEST_RETRY_NS);
    } else if (result != -ECANCELED && result != -ECONNABORTED) {
        xb_log_error(arbitrator->log, "State request failed: %s. Check --donor and --sst", strerror(-result));
        end(arbitrator, result);
    }
}

static void on_configuration(struct arbitrator *arbitrator, const struct gcs_action *action, int64_t now_ns) {
    struct gcs_cchange change;
    struct xb_error error;
    if (gcs_cchange_decode(&change, action->buf, action->size, &error)) {
        xb_log_error(arbitrator->log, "Own configuration change is not readable: %s", error.text);
        return;
    }
    int64_t index = action->seqno;
    bool is_primary = change.conf_id >= 0;
    xb_log_info(arbitrator->log, "%s configuration %" PRId64 ", seqno %" PRId64 ", %zu member%s",
                is_primary ? "Primary" : "Non-primary", change.conf_id, change.seqno, change.member_count,
                change.member_count == 1 ? "" : "s");
    if (is_primary && index >= 0 && (size_t)index < change.member_count) {
        arbitrator->group_uuid = change.group_uuid;
        arbitrator->conf_seqno = change.seqno;
        if (change.members[index].state == GCS_NODE_PRIM) ask_for_state(arbitrator, now_ns);
    }
    gcs_cchange_clear(&change);
}

static void on_action(void *ctx, const struct gcs_action *action, int64_t now_ns) {
    struct arbitrator *arbitrator = ctx;
    switch (action->type) {
    case GCS_CCHANGE:
        on_configuration(arbitrator, action, now_ns);
        break;
    case GCS_STATE_REQ: /* never chosen, but an answer costs nothing and nobody waits in vain */
        gcs_join(group_gcs(arbitrator->group), &arbitrator->group_uuid, action->seqno, -ENOSYS, now_ns);
        break;
    case GCS_JOIN:
        if (action->code < 0) atomic_store(&arbitrator->retry_at_ns, now_ns + REQUEST_RETRY_NS);
        break;
    case GCS_SYNC:
        xb_log_info(arbitrator->log, "Synchronized with group, ready");
        break;
    case GCS_ERROR:
    case GCS_INCONSISTENCY:
        xb_log_error(arbitrator->log, "Group connection ended: %s", strerror((int)-action->code));
        break;
    case GCS_WRITESET:
    case GCS_COMMIT_CUT:
    case GCS_VOTE:
        break;
    }
    free(action->buf);
}

static void *alloc_action(void *ctx, size_t size) {
    return malloc(size);
}

static void free_action(void *ctx, void *buf) {
    free(buf);
}

static int64_t nothing_cached(void *ctx) {
    return -1;
}

static void on_causal(void *ctx, void *token, int result, const struct xb_uuid *group_uuid, int64_t seqno) {}

static void on_started(void *ctx, struct group *group) {
    struct arbitrator *arbitrator = ctx;
    arbitrator->group = group;
}

static void on_weight_changed(void *ctx, int weight) {
    struct arbitrator *arbitrator = ctx;
    xb_log_info(arbitrator->log, "Weight is now %d", weight);
}

static void on_left(void *ctx, int code, const struct xb_error *error) {
    struct arbitrator *arbitrator = ctx;
    if (code) xb_log_error(arbitrator->log, "Left the group: %s", error->text);
    end(arbitrator, code);
}

/* "a:b" becomes "a" NUL "b" NUL, "a" becomes "a" NUL NUL (spec 07 section 20). */
static int build_request(struct arbitrator *arbitrator, const char *donor, const char *sst) {
    size_t donor_size = strlen(donor) + 1, sst_size = strlen(sst) + 1;
    const char *colon = strchr(sst, ':');
    arbitrator->request_size = donor_size + sst_size + (colon ? 0 : 1);
    arbitrator->request = calloc(1, arbitrator->request_size);
    if (!arbitrator->request) return -ENOMEM;
    memcpy(arbitrator->request, donor, donor_size);
    memcpy(arbitrator->request + donor_size, sst, sst_size);
    if (colon) arbitrator->request[donor_size + (size_t)(colon - sst)] = 0;
    arbitrator->request_part = (struct iovec){arbitrator->request, arbitrator->request_size};
    return 0;
}

/* What makes a node an arbitrator, whatever the user's options say. */
static void force_options(struct xb_options *options, const char *workdir) {
    xb_options_put(options, "gcs.fc_limit", "9999999");
    xb_options_put(options, "gcs.fc_factor", "1.0");
    xb_options_put(options, "gcs.fc_single_primary", "yes");
    xb_options_put(options, "gcs.stateless", "yes");
    xb_options_put(options, "base_dir", workdir);
}

static void on_new_tls(void *ctx, struct tls_context *tls) {
    member_set_tls(((struct arbitrator *)ctx)->member, tls);
}

static struct member *join(struct arbitrator *arbitrator, const struct arbitrator_config *config,
                           struct xb_error *error) {
    arbitrator->tls = tls_keeper_new(config->options, arbitrator->log, error);
    if (!arbitrator->tls) return NULL;
    struct tls_context *tls = tls_keeper_context(arbitrator->tls);
    if (!tls)
        xb_log_warning(arbitrator->log, "No certificates are configured (socket.ssl_key, socket.ssl_cert, "
                                        "socket.ssl_ca): all traffic is in plaintext");
    struct member_config member_config = {
        .group_name = config->group,
        .address = config->address,
        .data_dir = config->workdir,
        .node_name = config->name,
        .node_incoming = "",
        .repl_version_max = GCS_VERSION_ANY,
        .appl_version_max = GCS_VERSION_ANY,
        .seqno = -1,
        .options = config->options,
        .tls = tls,
    };
    struct gcs_up gcs_up = {arbitrator, alloc_action, free_action, on_action, nothing_cached, on_causal};
    struct member_up member_up = {
        .ctx = arbitrator, .started = on_started, .weight_changed = on_weight_changed, .left = on_left};
    struct member *member = member_open(&member_config, &gcs_up, &member_up, arbitrator->log, error);
    tls_context_unref(tls);
    return member;
}

static void discard(struct arbitrator *arbitrator) {
    if (arbitrator->end_fd >= 0) close(arbitrator->end_fd);
    tls_keeper_free(arbitrator->tls);
    free(arbitrator->request);
    free(arbitrator);
}

struct arbitrator *arbitrator_open(const struct arbitrator_config *config, const struct xb_log *log,
                                   struct xb_error *error) {
    struct arbitrator *arbitrator = calloc(1, sizeof(*arbitrator));
    if (!arbitrator) {
        xb_fail(error, -ENOMEM, "no memory for the arbitrator");
        return NULL;
    }
    arbitrator->log = log;
    arbitrator->is_backup = strcmp(config->sst, "trivial") != 0;
    atomic_store(&arbitrator->retry_at_ns, XB_NEVER);
    arbitrator->end_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (arbitrator->end_fd < 0 || build_request(arbitrator, config->donor, config->sst)) {
        xb_fail(error, -ENOMEM, "cannot set up the arbitrator: %m");
        discard(arbitrator);
        return NULL;
    }
    force_options(config->options, config->workdir);
    arbitrator->member = join(arbitrator, config, error);
    if (!arbitrator->member) {
        discard(arbitrator);
        return NULL;
    }
    struct xb_error trouble;
    if (tls_keeper_start(arbitrator->tls, on_new_tls, arbitrator, &trouble)) xb_log_warning(log, "%s", trouble.text);
    return arbitrator;
}

int arbitrator_end_fd(const struct arbitrator *arbitrator) {
    return arbitrator->end_fd;
}

static void retry(struct member_task *task, struct group *group, int64_t now_ns) {
    struct arbitrator *arbitrator = (struct arbitrator *)((char *)task - offsetof(struct arbitrator, retry));
    struct gcs_status status;
    gcs_get_status(group_gcs(group), &status, now_ns);
    if (status.group_state == GCS_PRIMARY && status.node_state == GCS_NODE_PRIM) ask_for_state(arbitrator, now_ns);
}

int arbitrator_tick(struct arbitrator *arbitrator) {
    int64_t at_ns = atomic_load(&arbitrator->retry_at_ns);
    if (at_ns == XB_NEVER) return (int)(REQUEST_RETRY_NS / XB_MS);
    int64_t now_ns = xb_clock_monotonic_ns();
    if (now_ns < at_ns) return (int)((at_ns - now_ns) / XB_MS) + 1;
    atomic_store(&arbitrator->retry_at_ns, XB_NEVER);
    arbitrator->retry.run = retry;
    member_call(arbitrator->member, &arbitrator->retry);
    return (int)(REQUEST_RETRY_NS / XB_MS);
}

int arbitrator_close(struct arbitrator *arbitrator) {
    tls_keeper_stop(arbitrator->tls);
    member_close(arbitrator->member);
    int code = atomic_load(&arbitrator->end_code);
    discard(arbitrator);
    return code;
}
