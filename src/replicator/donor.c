/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The donor's side of a state transfer (spec 07 section 14): an increment if this node's history reaches back far
 * enough, else a snapshot by the server, with the events that the joiner needs for its certification index.
 *
 * The JOIN message ends the donation. It goes out at once, unless the server is to send a snapshot: then sst_sent
 * brings it, however late, even when this node has been out of the group meanwhile and is a donor still.
 */
#include "replicator/internal.h"
#include "replicator/request.h"

#include <stdlib.h>

struct donation {
    struct replicator *rep;
    void *recv_ctx;
    struct state_container container;
    struct ist_part ist;
    bool has_ist;
    struct replicator_gtid position; /* of this node at the request */
    struct donor_bounds bounds;
    struct tls_context *tls;
    bool is_joined_later; /* by sst_sent */
};

struct join_task {
    struct member_task task;
    struct replicator_gtid position;
    int code;
    int result; /* 0, or -EPERM: this node is no donor any more */
};

static void run_join(struct member_task *task, struct group *group, int64_t now_ns) {
    struct join_task *join = (struct join_task *)((char *)task - offsetof(struct join_task, task));
    join->result = gcs_join_as_donor(group_gcs(group), &join->position.uuid, join->position.seqno, join->code, now_ns);
}

static int send_join(struct replicator *rep, const struct replicator_gtid *position, int code) {
    struct join_task join = {.task.run = run_join, .position = *position, .code = code};
    int rc = link_call(&rep->link, &join.task);
    return rc ? rc : join.result;
}

/* Connects to the joiner and begins to stream. Takes the sender. -> 0 or negative errno */
static int start_sender(struct donation *donation, struct ist_sender *sender, int64_t preload_from) {
    struct replicator *rep = donation->rep;
    struct xb_error error;
    struct ist_sender_config config = {
        .address = donation->ist.address,
        .last = donation->bounds.cc_seqno,
        .preload_from = preload_from,
        .version = donation->bounds.repl_version,
        .tls = donation->tls,
        .is_dynamic = xb_options_bool(rep->options, "socket.dynamic"),
        .isolation = rep->isolation,
    };
    int rc = ist_sender_start(sender, &config, &error);
    if (rc) xb_log_warning(rep->log, "Cannot stream to the joiner at %s: %s", config.address, error.text);
    return rc;
}

/* bypass: what the joiner has; NULL: a snapshot. It begins at a definite position: nothing commits until the server has
 * taken the request. */
static int donate(struct donation *donation, const struct replicator_gtid *bypass) {
    struct replicator *rep = donation->rep;
    atomic_store(&rep->is_donating, true); /* sst_sent may come before the callback returns */
    donation->is_joined_later = true;
    struct replicator_gtid position = {donation->position.uuid, quiet_begin(rep, donation->position.seqno)};
    int rc = rep->callbacks.sst_donate(rep->callbacks.ctx, donation->recv_ctx, donation->container.sst,
                                       donation->container.sst_size, bypass ? bypass : &position, bypass != NULL);
    quiet_end(rep);
    if (!rc) return 0;
    atomic_store(&rep->is_donating, false);
    donation->is_joined_later = false;
    xb_log_error(rep->log, "SST failed: the server could not begin to donate its state, see its messages above");
    return -ECANCELED;
}

/* -> 0 done, -ENOENT the history does not reach back far enough, other negative errno */
static int donate_increment(struct donation *donation) {
    struct replicator *rep = donation->rep;
    const struct donor_bounds *bounds = &donation->bounds;
    struct replicator_gtid state = {donation->ist.history, donation->ist.last_applied};
    int64_t first = donation->ist.last_applied + 1;
    if (!xb_uuid_equal(&donation->ist.history, &donation->position.uuid) || donation->ist.last_applied < 0)
        return -ENOENT;
    if (bounds->cc_lowest > 0 && bounds->cc_lowest < first) first = bounds->cc_lowest;
    struct ist_sender *sender = ist_sender_new(rep->senders, first);
    if (!sender) return -ENOENT;
    xb_log_info(rep->log, "IST: %" PRId64 " to %" PRId64 " to %s, preload from %" PRId64, first, bounds->cc_seqno,
                donation->ist.address, bounds->cc_lowest);
    int rc = start_sender(donation, sender, bounds->cc_lowest);
    if (!rc && donation->container.sst_size) rc = donate(donation, &state);
    return rc == -ENOENT ? -ENOTRECOVERABLE : rc;
}

/* Only what the joiner's certification index needs. */
static int stream_preload(struct donation *donation) {
    const struct donor_bounds *bounds = &donation->bounds;
    int64_t start = bounds->cc_lowest > 0 ? bounds->cc_lowest : bounds->cc_seqno;
    if (!donation->has_ist) return -ENOMSG;
    struct ist_sender *sender = ist_sender_new(donation->rep->senders, start);
    return sender ? start_sender(donation, sender, start) : -ENOMSG;
}

static int donate_snapshot(struct donation *donation) {
    struct certify_stats stats;
    certify_get_stats(donation->rep->certify, &stats);
    if (stats.nbo_count) return -EAGAIN;
    if (!donation->container.sst_size) return -ECANCELED;
    int rc = donation->container.is_plain ? 0 : stream_preload(donation);
    return rc ? rc : donate(donation, NULL);
}

static int serve(struct donation *donation) {
    if (state_container_is_trivial(&donation->container)) {
        /* A data node that skips the snapshot still needs the index (spec 07 section 15 step 9). */
        if (!donation->container.is_plain && donation->has_ist) stream_preload(donation);
        return 0;
    }
    int rc = donation->has_ist ? donate_increment(donation) : -ENOENT;
    return rc == -ENOENT ? donate_snapshot(donation) : rc;
}

/* ---- may this node be sent to connect there? (ist.donate_to, spec 07 section 24.12) ---- */

struct destination {
    char host[IST_HOST_SIZE];
    bool is_member;
};

static void compare_peer(void *ctx, const struct xb_uuid *peer, const char *address, const struct tls_info *tls) {
    struct destination *destination = ctx;
    char host[IST_HOST_SIZE];
    (void)peer;
    (void)tls;
    if (!ist_address_host(address, host) && !strcmp(host, destination->host)) destination->is_member = true;
}

static bool is_member_host(struct replicator *rep, struct destination *destination) {
    struct member *member = link_use(&rep->link);
    if (!member) return false;
    member_each_peer(member, compare_peer, destination);
    link_done(&rep->link);
    return destination->is_member;
}

static bool may_donate_to(struct replicator *rep, const char *address) {
    struct destination destination = {.is_member = false};
    char *allowed = xb_options_copy(rep->options, "ist.donate_to"), *rest = allowed, *item;
    bool is_allowed = !allowed || !*allowed;
    if (!is_allowed && ist_address_host(address, destination.host)) rest = NULL;
    while (!is_allowed && rest && (item = strsep(&rest, ", ")))
        is_allowed = !strcmp(item, "members") ? is_member_host(rep, &destination) : !strcmp(item, destination.host);
    if (!is_allowed)
        xb_log_warning(rep->log, "The joiner wants to be sent the increment to %s, which is not in ist.donate_to = %s",
                       address, allowed);
    free(allowed);
    return is_allowed;
}

static int read_request(struct donation *donation, struct item *item) {
    struct xb_error error;
    int rc = state_container_decode(&donation->container, item->as.request.buf, item->as.request.size, &error);
    if (!rc && donation->container.ist) {
        rc = ist_part_parse(&donation->ist, donation->container.ist, &error);
        donation->has_ist = !rc;
    }
    if (rc) xb_log_warning(donation->rep->log, "A state transfer request is malformed: %s", error.text);
    return rc;
}

void donor_serve(struct replicator *rep, void *recv_ctx, struct item *item) {
    struct donation donation = {.rep = rep, .recv_ctx = recv_ctx, .position = {node_history(rep), item->position}};
    pthread_mutex_lock(&rep->identity_lock);
    donation.bounds = rep->bounds;
    pthread_mutex_unlock(&rep->identity_lock);
    donation.tls = node_tls(rep);
    if (node_get_state(rep) != NODE_DONOR) node_set_state(rep, NODE_DONOR);
    int code = atomic_load(&rep->is_corrupt) ? -ECANCELED : read_request(&donation, item);
    if (!code && donation.has_ist && !may_donate_to(rep, donation.ist.address)) code = -EACCES;
    if (!code) code = serve(&donation);
    if (code < 0) {
        xb_log_warning(rep->log, "State transfer to the joiner failed: %s", strerror(-code));
        atomic_store(&rep->is_donating, false);
    }
    if (code < 0 || !donation.is_joined_later) send_join(rep, &donation.position, code);
    gcache_free(rep->cache, item->as.request.buf);
    tls_context_unref(donation.tls);
}

enum replicator_status replicator_sst_sent(struct replicator *rep, const struct replicator_gtid *state, int code) {
    struct replicator_gtid position = *state;
    struct xb_uuid history = node_history(rep);
    if (!atomic_exchange(&rep->is_donating, false)) {
        xb_log_error(rep->log, "The server says that it has sent its state, but no donation is going on");
        return REPLICATOR_CONN_FAIL;
    }
    if (code >= 0) code = xb_uuid_equal(&state->uuid, &history) ? 0 : -EREMCHG;
    if (code < 0) position = (struct replicator_gtid){history, gate_last_left(&rep->commit)};
    int rc = send_join(rep, &position, code);
    if (rc == -EPERM)
        xb_log_warning(rep->log, "The server has sent its state, but this node has been out of the group meanwhile and "
                                 "is no donor any more: the joiner must ask again");
    return rc ? REPLICATOR_CONN_FAIL : REPLICATOR_OK;
}
