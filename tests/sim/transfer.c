/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * State transfer between simulated nodes (spec 07 sections 13 to 17): the joiner asks, the group chooses a donor, the
 * donor copies either its database and the history that the joiner's index needs, or just the history from where the
 * joiner is (IST); the copy arrives after a while if both live and can reach each other.
 */
#include "node.h"

#include <errno.h>
#include <stdlib.h>

#define REQUEST_RETRY_NS XB_SECOND
#define REQUESTS_MAX 3 /* failed transfers, then the node joins anew: a new configuration may help the donor */
#define PATIENCE_NS (10 * XB_SECOND) /* a copy that cannot be delivered for so long has failed */

struct transfer {
    struct transfer *next;
    struct cluster *cluster;
    struct sim_node *donor, *joiner;
    uint64_t donor_generation, joiner_generation, request_number;
    struct xb_uuid group_uuid;
    int64_t donor_seqno, deadline_ns;
    bool has_snapshot;
    struct check_state snapshot;
    int64_t first; /* seqno of the first entry */
    struct history_entry *entries;
    size_t count;
    bool is_over;
};

/* What the joiner writes for the donor; the group does not look at it. */
struct request {
    uint8_t joiner;
    uint64_t generation, number;
    struct xb_uuid group_uuid;
    int64_t seqno;
};
#define REQUEST_MAX 128 /* bytes, with what the group reads */

static int64_t now(const struct sim_node *node) {
    return net_now(node->cluster->net);
}

/* ---- joiner asks ---- */

static void on_request(void *ctx, uint64_t generation) {
    struct sim_node *node = ctx;
    if (!node->is_up || node->generation != generation || node->has_left) return;
    node->is_request_timed = false;
    if (node->phase != REPLICA_REQUESTING || node->is_request_out) return;
    const struct check_state *state = &node->disk.state;
    struct submission *submission = client_submission_new(node, SUBMIT_STATE_REQUEST);
    submission->request = calloc(1, REQUEST_MAX);
    struct xb_writer w = xb_writer_init(submission->request, REQUEST_MAX);
    xb_write_u8(&w, 0); /* any donor */
    xb_write_u8(&w, 'V');
    xb_write_u8(&w, 3);
    bool is_same = xb_uuid_equal(&state->group_uuid, &node->group_uuid);
    xb_write_uuid(&w, &state->group_uuid);
    xb_write_i64(&w, is_same ? state->seqno : -1);
    xb_write_u8(&w, (uint8_t)node->index);
    xb_write_u64(&w, node->generation);
    xb_write_u64(&w, ++node->request_number);
    xb_write_uuid(&w, &state->group_uuid);
    xb_write_i64(&w, is_same ? state->seqno : -1);
    submission->part = (struct iovec){submission->request, w.used};
    submission->gcs.type = GCS_STATE_REQ;
    submission->gcs.parts = &submission->part;
    submission->gcs.part_count = 1;
    node->is_request_out = true;
    gcs_submit(group_gcs(node->group), &submission->gcs, now(node));
    node_settle(node);
}

static void request_at(struct sim_node *node, int64_t at_ns) {
    if (node->is_request_timed) return;
    node->is_request_timed = true;
    net_at(node->cluster->net, at_ns, on_request, node, node->generation);
}

void transfer_request(struct sim_node *node) {
    request_at(node, now(node));
}

void transfer_answered(struct sim_node *node, const struct submission *submission, int result) {
    (void)submission;
    node->is_request_out = false;
    if (node->phase != REPLICA_REQUESTING) return;
    if (result >= 0)
        node->phase = REPLICA_RECEIVING;
    else
        request_at(node, now(node) + REQUEST_RETRY_NS);
}

void transfer_failed(struct sim_node *node) {
    node->phase = REPLICA_REQUESTING;
    if (++node->requests_failed < REQUESTS_MAX)
        request_at(node, now(node) + REQUEST_RETRY_NS);
    else
        node->is_giving_up = true;
}

/* ---- donor ---- */

static void transfer_free(struct transfer *transfer) {
    for (size_t i = 0; i < transfer->count; i++) free(transfer->entries[i].bytes);
    free(transfer->entries);
    free(transfer);
}

void transfer_free_all(struct cluster *cluster) {
    while (cluster->transfers) {
        struct transfer *transfer = cluster->transfers;
        cluster->transfers = transfer->next;
        transfer_free(transfer);
    }
}

/* Copies [first, last] of the donor's history. -> false if it does not hold all of it */
static bool copy_history(struct transfer *transfer, const struct history *history, int64_t first, int64_t last) {
    if (first > last) return true;
    if (!history_find(history, first) || !history_find(history, last)) return false;
    transfer->first = first;
    transfer->entries = calloc((size_t)(last - first + 1), sizeof(*transfer->entries));
    for (int64_t seqno = first; seqno <= last; seqno++) {
        struct history_entry *to = &transfer->entries[transfer->count++];
        *to = *history_find(history, seqno);
        to->bytes = malloc(to->size);
        memcpy(to->bytes, history_find(history, seqno)->bytes, to->size);
    }
    return true;
}

static void tell_donor(struct sim_node *donor, uint64_t generation, const struct xb_uuid *group_uuid, int64_t seqno,
                       int code) {
    if (!donor->is_up || donor->generation != generation || donor->has_left) return;
    cluster_trace(donor->cluster, donor->index, "donation is over: %d", code);
    gcs_join_as_donor(group_gcs(donor->group), group_uuid, seqno, code, now(donor));
    node_settle(donor);
}

static void on_donation_failed(void *ctx, uint64_t generation) {
    struct sim_node *donor = ctx;
    tell_donor(donor, generation, &donor->disk.state.group_uuid, donor->disk.state.seqno, -ENOMSG);
}

static void on_arrival(void *ctx, uint64_t arg);

void transfer_donate(struct sim_node *node, const struct gcs_action *action) {
    struct xb_reader r = xb_reader_init(action->buf, action->size);
    struct cluster *cluster = node->cluster;
    struct request request = {.joiner = xb_read_u8(&r), .generation = xb_read_u64(&r), .number = xb_read_u64(&r)};
    request.group_uuid = xb_read_uuid(&r);
    request.seqno = xb_read_i64(&r);
    if (!xb_reader_ok(&r) || xb_reader_left(&r) || request.joiner >= cluster->count) {
        check_fail(cluster->check, "node %d gets a state request of %zu bytes", node->index, action->size);
        return;
    }
    const struct check_state *state = &node->disk.state;
    struct transfer *transfer = calloc(1, sizeof(*transfer));
    *transfer = (struct transfer){.next = cluster->transfers,
                                  .cluster = cluster,
                                  .donor = node,
                                  .joiner = &cluster->nodes[request.joiner],
                                  .donor_generation = node->generation,
                                  .joiner_generation = request.generation,
                                  .request_number = request.number,
                                  .group_uuid = state->group_uuid,
                                  .donor_seqno = state->seqno};
    cluster->transfers = transfer;
    int64_t lowest = node->cc_lowest > 0 ? node->cc_lowest : node->cc_seqno;
    int64_t first = request.seqno + 1 < lowest ? request.seqno + 1 : lowest;
    bool is_same = request.seqno >= 0 && xb_uuid_equal(&request.group_uuid, &state->group_uuid);
    bool is_ready = is_same && copy_history(transfer, &node->disk.history, first, node->cc_seqno);
    if (!is_ready) {
        transfer->has_snapshot = true;
        transfer->snapshot = *state;
        is_ready = copy_history(transfer, &node->disk.history, lowest, node->cc_seqno);
    }
    cluster_trace(cluster, node->index, "donates to %d: %s at %lld, history %lld to %lld%s", request.joiner,
                  transfer->has_snapshot ? "snapshot" : "history", (long long)state->seqno, (long long)transfer->first,
                  (long long)node->cc_seqno, is_ready ? "" : ", which is not there");
    if (!is_ready) {
        transfer->is_over = true;
        net_at(cluster->net, now(node) + XB_MS, on_donation_failed, node, node->generation);
        return;
    }
    int64_t duration_ns = 1 + (int64_t)xb_random_below(&cluster->random, (uint64_t)cluster->transfer_ns * 2);
    transfer->deadline_ns = now(node) + duration_ns + PATIENCE_NS;
    net_at(cluster->net, now(node) + duration_ns, on_arrival, transfer, 0);
}

/* ---- joiner gets it ---- */

/* One entry of the donor's history (section 17.5). */
static void take_entry(struct sim_node *node, const struct history_entry *entry, int64_t seqno) {
    struct cluster *cluster = node->cluster;
    bool must_apply = seqno > node->disk.state.seqno;
    struct writeset ws;
    struct gcs_cchange change;
    struct xb_error error = {0};
    struct certify_result result = {0};
    struct xb_hash128 digest;
    bool is_applied = false;
    int status = 0;
    if (entry->type == GCS_CCHANGE) {
        if (gcs_cchange_decode(&change, entry->bytes, entry->size, &error)) {
            check_fail(cluster->check, "change %lld of a transfer: %s", (long long)seqno, error.text);
            return;
        }
        if (certify_position(node->certify) < 0)
            certify_assign_position(node->certify, seqno - 1, writeset_version_of_protocol(change.repl_version));
        replica_apply_change(node, &change);
        gcs_cchange_clear(&change);
    } else if (writeset_read(&ws, entry->bytes, entry->size, &error) || ws.header.seqno != seqno) {
        check_fail(cluster->check, "write set %lld of a transfer: %s", (long long)seqno, error.text);
        return;
    } else {
        if (certify_position(node->certify) < 0 && !entry->is_skip)
            certify_assign_position(node->certify, seqno - 1, ws.header.version);
        if (!entry->is_skip) {
            status = certify_writeset(node->certify, &ws, seqno, CERTIFY_FROM_IST, &result, &error);
            if (!status && !result.is_passed) status = -EPROTO;
        } else if (certify_position(node->certify) >= 0) {
            status = certify_placeholder(node->certify, seqno);
        }
        is_applied = !entry->is_skip;
        digest = xb_fast_hash128(ws.data.data, ws.data.size);
    }
    if (status)
        check_fail(cluster->check, "node %d cannot take %lld of a transfer: %d %s", node->index, (long long)seqno,
                   status, error.text);
    history_add(&node->disk.history, seqno, entry->type, entry->bytes, entry->size, entry->is_skip);
    if (must_apply) replica_advance(node, seqno, is_applied ? &digest : NULL);
}

static void take_transfer(struct sim_node *node, const struct transfer *transfer) {
    int64_t last = transfer->first + (int64_t)transfer->count - 1;
    if (transfer->has_snapshot) {
        node->disk.state = transfer->snapshot;
        check_holds(node->cluster->check, node->index, transfer->snapshot.seqno);
        history_clear(&node->disk.history);
    }
    if (transfer->count && last < node->needed_seqno)
        check_fail(node->cluster->check, "node %d needs history up to %lld, but gets it up to %lld", node->index,
                   (long long)node->needed_seqno, (long long)last);
    certify_reset(node->certify);
    for (size_t i = 0; i < transfer->count; i++) take_entry(node, &transfer->entries[i], transfer->first + (int64_t)i);
    node->transfer_seqno = node->disk.state.seqno;
    node->requests_failed = 0;
    node->phase = REPLICA_OUTSIDE; /* until the own JOIN comes back */
    cluster_trace(node->cluster, node->index, "has its state, %lld", (long long)node->transfer_seqno);
    gcs_join(group_gcs(node->group), &node->disk.state.group_uuid, node->transfer_seqno, 0, now(node));
    node_settle(node);
}

static bool joiner_waits(const struct transfer *transfer) {
    const struct sim_node *joiner = transfer->joiner;
    return joiner->is_up && joiner->generation == transfer->joiner_generation && !joiner->has_left &&
           joiner->request_number == transfer->request_number &&
           (joiner->phase == REPLICA_RECEIVING || joiner->is_request_out);
}

static void on_arrival(void *ctx, uint64_t arg) {
    struct transfer *transfer = ctx;
    struct sim_node *donor = transfer->donor, *joiner = transfer->joiner;
    struct cluster *cluster = transfer->cluster;
    (void)arg;
    bool has_donor = donor->is_up && donor->generation == transfer->donor_generation;
    bool is_cut =
        net_is_cut(cluster->net, donor->index, joiner->index) || net_is_cut(cluster->net, joiner->index, donor->index);
    bool is_late = net_now(cluster->net) >= transfer->deadline_ns;
    /* The answer to the request may not have come through yet, or the joiner is busy. */
    bool is_early = joiner_waits(transfer) && (joiner->phase != REPLICA_RECEIVING ||
                                               net_busy_until(cluster->net, joiner->index) > net_now(cluster->net));
    if (has_donor && joiner_waits(transfer) && (is_cut || is_early) && !is_late) {
        net_at(cluster->net, net_now(cluster->net) + 100 * XB_MS, on_arrival, transfer, 0);
        return;
    }
    transfer->is_over = true;
    bool is_good = has_donor && joiner_waits(transfer) && joiner->phase == REPLICA_RECEIVING && !is_cut;
    if (is_good) {
        take_transfer(joiner, transfer);
    } else if (joiner_waits(transfer) && joiner->phase == REPLICA_RECEIVING) {
        cluster_trace(cluster, joiner->index, "transfer failed");
        gcs_join(group_gcs(joiner->group), &transfer->group_uuid, -1, -ECONNRESET, now(joiner));
        transfer_failed(joiner);
        node_settle(joiner);
    }
    tell_donor(donor, transfer->donor_generation, &transfer->group_uuid, transfer->donor_seqno,
               is_good ? 0 : -ECONNRESET);
}
