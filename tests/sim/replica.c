/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The model of the replicator: takes actions in their order, certifies, applies (spec 07 sections 4, 5, 9, 17.6).
 *
 * Two queues: `items` are actions as they came from the group, `jobs` are certified write sets that wait to be applied
 * one after the other. A configuration change or a state request waits until all jobs are done. While a state transfer
 * is wanted or going on, items wait too.
 */
#include "node.h"

#include "base/hash.h"

#include <errno.h>
#include <stdlib.h>

static int64_t now(const struct sim_node *node) {
    return net_now(node->cluster->net);
}

/* ---- history ---- */

int64_t history_lowest(const struct history *history) {
    return history->count ? history->low : -1;
}

const struct history_entry *history_find(const struct history *history, int64_t seqno) {
    if (!history->count || seqno < history->low || seqno >= history->low + (int64_t)history->count) return NULL;
    return &history->entries[seqno - history->low];
}

static void history_trim(struct history *history, size_t remove) {
    for (size_t i = 0; i < remove; i++) free(history->entries[i].bytes);
    history->count -= remove;
    history->low += (int64_t)remove;
    memmove(history->entries, history->entries + remove, history->count * sizeof(*history->entries));
}

void history_clear(struct history *history) {
    for (size_t i = 0; i < history->count; i++) free(history->entries[i].bytes);
    free(history->entries);
    *history = (struct history){.max = history->max};
}

/* Below what is there: ignored. With a gap: begins anew. */
void history_add(struct history *history, int64_t seqno, enum gcs_action_type type, const void *bytes, size_t size,
                 bool is_skip) {
    if (history->count && seqno < history->low + (int64_t)history->count) return;
    if (history->count && seqno > history->low + (int64_t)history->count) history_clear(history);
    if (history->count > history->max + history->max / 4 &&
        history->low + (int64_t)(history->count - history->max) <= history->released + 1)
        history_trim(history, history->count - history->max);
    if (!history->count) history->low = seqno;
    if (history->count == history->capacity) {
        history->capacity = history->capacity ? 2 * history->capacity : 64;
        history->entries = realloc(history->entries, history->capacity * sizeof(*history->entries));
    }
    struct history_entry *entry = &history->entries[history->count++];
    *entry = (struct history_entry){.type = type, .bytes = malloc(size), .size = size, .is_skip = is_skip};
    memcpy(entry->bytes, bytes, size);
}

/* ---- state ---- */

static uint64_t state_hash_next(uint64_t hash, int64_t seqno, const struct xb_hash128 *digest) {
    uint64_t parts[3] = {hash, (uint64_t)seqno, digest ? xb_load_le(digest->bytes, 8) : 0};
    return xb_fast_hash64(parts, sizeof(parts));
}

void replica_advance(struct sim_node *node, int64_t seqno, const struct xb_hash128 *digest) {
    struct check_state *state = &node->disk.state;
    if (seqno != state->seqno + 1)
        check_fail(node->cluster->check, "node %d applies %lld after %lld", node->index, (long long)seqno,
                   (long long)state->seqno);
    state->hash = state_hash_next(state->hash, seqno, digest);
    state->seqno = seqno;
    check_applied(node->cluster->check, node->index, state);
}

void replica_start(struct sim_node *node) {
    struct history *history = &node->disk.history;
    while (history->count && history->low + (int64_t)history->count - 1 > node->disk.state.seqno)
        free(history->entries[--history->count].bytes); /* was not applied before the crash */
    node->phase = REPLICA_OUTSIDE;
    node->is_donor = node->is_corrupt = node->is_joined = node->is_applying = node->is_voting = false;
    node->is_request_out = node->is_request_timed = false;
    node->requests_failed = 0;
    node->is_primary = false;
    node->reunion_seqno = -1;
    node->is_giving_up = false;
    node->group_uuid = xb_uuid_nil;
    node->items = NULL;
    node->items_end = &node->items;
    node->jobs = NULL;
    node->jobs_end = &node->jobs;
    node->item_count = node->job_count = 0;
    node->queue_bytes = 0;
    node->cc_seqno = node->cc_lowest = node->needed_seqno = node->transfer_seqno = -1;
}

static void item_free(struct item *item) {
    free(item->action.buf);
    free(item);
}

void replica_stop(struct sim_node *node) {
    while (node->items) {
        struct item *item = node->items;
        node->items = item->next;
        item_free(item);
    }
    while (node->jobs) {
        struct job *job = node->jobs;
        node->jobs = job->next;
        free(job);
    }
}

void replica_queue_changed(struct sim_node *node, bool is_own) {
    if (!node->is_up) return;
    gcs_set_queue_length(group_gcs(node->group), (int64_t)(node->item_count + node->job_count), node->queue_bytes,
                         is_own, now(node));
}

/* ---- taking ---- */

static uint64_t submission_number(const struct writeset *ws) {
    return ws->data.size >= 8 ? xb_load_le(ws->data.data, 8) : UINT64_MAX;
}

static bool has_state(const struct sim_node *node) {
    struct gcs_status status;
    gcs_get_status(group_gcs(node->group), &status, now(node));
    return status.node_state >= GCS_NODE_DONOR;
}

static void inspect_writeset(struct sim_node *node, const struct gcs_action *action) {
    struct writeset ws;
    struct xb_error error;
    if (writeset_read(&ws, action->buf, action->size, &error) || writeset_check(&ws, &error)) {
        check_fail(node->cluster->check, "node %d: write set %lld: %s", node->index, (long long)action->seqno,
                   error.text);
        return;
    }
    cluster_trace(node->cluster, node->index, "delivers %lld: submission %lld, seen %lld", (long long)action->seqno,
                  (long long)submission_number(&ws), (long long)ws.header.seqno);
    check_writeset(node->cluster->check, node->index, has_state(node), &node->group_uuid, action->seqno, action->buf,
                   action->size, &action->sender_uuid, submission_number(&ws), ws.header.seqno);
}

static void inspect_change(struct sim_node *node, const struct gcs_action *action) {
    struct gcs_cchange change;
    struct xb_error error;
    if (gcs_cchange_decode(&change, action->buf, action->size, &error)) {
        check_fail(node->cluster->check, "node %d: configuration change: %s", node->index, error.text);
        return;
    }
    cluster_trace(node->cluster, node->index, "delivers change %lld, configuration %lld, %zu members, own %lld %s",
                  (long long)change.seqno, (long long)change.conf_id, change.member_count, (long long)action->seqno,
                  action->seqno >= 0 && (size_t)action->seqno < change.member_count
                      ? gcs_node_state_name(change.members[action->seqno].state)
                      : "");
    if (change.conf_id >= 0 && !node->is_primary) node->reunion_seqno = change.seqno;
    node->is_primary = change.conf_id >= 0;
    if (change.conf_id >= 0) {
        node->group_uuid = change.group_uuid;
        check_cchange(node->cluster->check, node->index, has_state(node), &change);
        if (action->seqno < 0 || (size_t)action->seqno >= change.member_count ||
            !xb_uuid_equal(&change.members[action->seqno].uuid, &node->uuid))
            check_fail(node->cluster->check, "node %d is not member %lld of change %lld", node->index,
                       (long long)action->seqno, (long long)change.seqno);
    }
    gcs_cchange_clear(&change);
}

/* The state is of no use any more: leave, and come back with a full transfer (07 section 11.3). */
static void become_corrupt(struct sim_node *node, const char *why) {
    cluster_trace(node->cluster, node->index, "inconsistent: %s", why);
    node->is_corrupt = true;
    node->is_joined = false;
}

static void own_vote_ended(struct sim_node *node, int64_t code) {
    if (code != 0) become_corrupt(node, code > 0 ? "the group voted against this node" : "could not vote");
    node->is_voting = false;
}

/* What does not wait for its turn. -> true if the action is used up */
static bool take_at_once(struct sim_node *node, const struct gcs_action *action) {
    bool is_waiting = node->phase == REPLICA_RECEIVING || node->phase == REPLICA_REQUESTING;
    cluster_trace(node->cluster, node->index, "action %d: seqno %lld code %lld", action->type, (long long)action->seqno,
                  (long long)action->code);
    switch (action->type) {
    case GCS_VOTE:
        if (action->is_own_vote) {
            own_vote_ended(node, action->code);
            return true;
        }
        return false;
    case GCS_JOIN:
        if (action->code < 0 && is_waiting) { /* nothing will come: ask again */
            transfer_failed(node);
            return true;
        }
        return false;
    default:
        return false;
    }
}

void replica_take(struct sim_node *node, const struct gcs_action *action, struct submission *submission) {
    if (action->type == GCS_WRITESET) inspect_writeset(node, action);
    if (action->type == GCS_CCHANGE) inspect_change(node, action);
    if (action->type == GCS_COMMIT_CUT)
        check_commit_cut(node->cluster->check, node->index, &node->group_uuid, action->seqno);
    if (action->type != GCS_WRITESET && action->type != GCS_CCHANGE && take_at_once(node, action)) {
        free(action->buf);
        return;
    }
    struct item *item = malloc(sizeof(*item));
    *item = (struct item){.action = *action, .submission = submission};
    *node->items_end = item;
    node->items_end = &item->next;
    node->item_count++;
    node->queue_bytes += (int64_t)action->size;
    replica_queue_changed(node, submission != NULL);
}

/* ---- applying ---- */

static void job_done(struct sim_node *node, struct job *job) {
    struct gcs *gcs = group_gcs(node->group);
    replica_advance(node, job->seqno, job->is_passed ? &job->digest : NULL);
    if (job->ticket && certify_finish(node->certify, job->ticket)) {
        int64_t report = certify_take_report(node->certify, node->disk.state.seqno);
        if (report >= 0) gcs_report_last_applied(gcs, &node->group_uuid, report, now(node));
    }
    if (job->submission) {
        if (job->is_passed)
            check_acknowledged(node->cluster->check, node->index, &node->disk.state.group_uuid, job->seqno);
        client_submission_free(job->submission);
    }
    node->jobs = job->next;
    if (!node->jobs) node->jobs_end = &node->jobs;
    node->job_count--;
    free(job);
    replica_queue_changed(node, true);
}

/* -> a text if this node, by the seed's decision, cannot apply the write set */
static const char *apply_failure(const struct sim_node *node, const struct job *job) {
    if (!job->is_passed) return NULL;
    return cluster_apply_failure(node->cluster, node->index, job->seqno);
}

static void on_applied(void *ctx, uint64_t generation) {
    struct sim_node *node = ctx;
    if (!node->is_up || node->generation != generation || !node->is_applying) return;
    int64_t busy_until_ns = net_busy_until(node->cluster->net, node->index);
    if (busy_until_ns > now(node)) {
        net_at(node->cluster->net, busy_until_ns, on_applied, node, generation);
        return;
    }
    struct job *job = node->jobs;
    const char *failure = apply_failure(node, job);
    if (failure && !job->is_voted) {
        job->is_voted = true;
        const struct xb_uuid *group_uuid = &node->disk.state.group_uuid;
        int64_t value = gcs_vote_value(group_uuid, job->seqno, failure, strlen(failure) + 1);
        cluster_trace(node->cluster, node->index, "cannot apply %lld: %s", (long long)job->seqno, failure);
        node->is_voting = true;
        node->is_applying = false; /* goes on when the vote has ended */
        int result =
            gcs_vote(group_gcs(node->group), group_uuid, job->seqno, value, failure, strlen(failure) + 1, now(node));
        if (result == -EALREADY) result = 0;
        if (result) own_vote_ended(node, result);
        node_settle(node);
        return;
    }
    node->is_applying = false;
    job_done(node, job);
    node_settle(node);
}

static void start_applying(struct sim_node *node) {
    if (!node->jobs || node->is_applying || node->is_voting || node->is_corrupt) return;
    node->is_applying = true;
    net_at(node->cluster->net, now(node) + node->jobs->cost_ns, on_applied, node, node->generation);
}

/* ---- items in order ---- */

static void add_job(struct sim_node *node, int64_t seqno, const struct writeset *ws,
                    const struct certify_result *result, struct submission *submission) {
    struct job *job = calloc(1, sizeof(*job));
    *job = (struct job){.seqno = seqno,
                        .digest = xb_fast_hash128(ws->data.data, ws->data.size),
                        .is_passed = result->is_passed,
                        .ticket = result->ticket,
                        .submission = submission,
                        .cost_ns = submission ? node->apply_ns / 4 : node->apply_ns};
    *node->jobs_end = job;
    node->jobs_end = &job->next;
    node->job_count++;
}

static int64_t map_lowest(const struct sim_node *node, int64_t seqno) {
    struct certify_stats stats;
    certify_get_stats(node->certify, &stats);
    return stats.length ? certify_lowest_seqno(node->certify) : seqno;
}

static void process_writeset(struct sim_node *node, struct item *item) {
    struct gcs_action *action = &item->action;
    struct check *check = node->cluster->check;
    struct writeset ws;
    struct xb_error error = {0};
    struct certify_result result = {0};
    if (writeset_read(&ws, action->buf, action->size, &error)) return;
    bool is_contained = action->seqno <= node->disk.state.seqno; /* by the state transfer: section 17.6 */
    if (is_contained && action->seqno <= certify_position(node->certify)) return;
    int64_t lowest = map_lowest(node, action->seqno);
    int status = certify_writeset(node->certify, &ws, action->seqno, CERTIFY_FROM_GROUP, &result, &error);
    if (status) {
        check_fail(check, "node %d cannot certify %lld: %s", node->index, (long long)action->seqno, error.text);
        return;
    }
    cluster_trace(node->cluster, node->index, "certifies %lld: %s, depends %lld", (long long)action->seqno,
                  certify_reason_text(result.reason), (long long)result.depends);
    check_verdict(check, node->index, &node->disk.state.group_uuid, action->seqno, result.is_passed, result.depends,
                  lowest);
    writeset_mark_certified(&ws, action->buf, action->seqno, result.depends);
    history_add(&node->disk.history, action->seqno, GCS_WRITESET, action->buf, action->size, result.is_skip);
    if (is_contained) {
        if (certify_finish(node->certify, result.ticket)) certify_take_report(node->certify, node->disk.state.seqno);
        return;
    }
    add_job(node, action->seqno, &ws, &result, item->submission);
    item->submission = NULL;
}

void replica_apply_change(struct sim_node *node, const struct gcs_cchange *change) {
    struct xb_uuid members[SIM_NODES_MAX];
    size_t count = 0;
    for (size_t i = 0; i < change->member_count && count < SIM_NODES_MAX; i++)
        members[count++] = change->members[i].uuid;
    int version = writeset_version_of_protocol(change->repl_version);
    int status = certify_change_configuration(node->certify, change->seqno, version, members, count, NULL);
    if (status)
        check_fail(node->cluster->check, "node %d cannot take change %lld: %s", node->index, (long long)change->seqno,
                   strerror(-status));
    if (change->seqno > node->cc_seqno) {
        node->cc_seqno = change->seqno;
        node->cc_lowest = certify_lowest_seqno(node->certify);
    }
}

/* Clients may write from the first SYNC on, also while the node donates or catches up later; not before, since its
 * reports do not count yet and a commit cut may be ahead of it. */
static void enter_phase(struct sim_node *node, enum gcs_node_state state) {
    node->is_joined = (state == GCS_NODE_SYNCED || (node->is_joined && state >= GCS_NODE_DONOR)) && !node->is_corrupt;
    node->phase = state == GCS_NODE_SYNCED  ? REPLICA_SYNCED
                  : state >= GCS_NODE_DONOR ? REPLICA_JOINED
                                            : REPLICA_OUTSIDE;
}

static void process_primary(struct sim_node *node, const struct gcs_action *action, const struct gcs_cchange *change) {
    struct check_state *state = &node->disk.state;
    struct cluster *cluster = node->cluster;
    bool is_same = xb_uuid_equal(&state->group_uuid, &change->group_uuid);
    enum gcs_node_state own = change->members[action->seqno].state;
    if (!is_same) node->transfer_seqno = -1;
    if (is_same && change->seqno <= node->transfer_seqno) { /* the transfer has brought it */
        if (change->seqno > certify_position(node->certify)) replica_apply_change(node, change);
        history_add(&node->disk.history, change->seqno, GCS_CCHANGE, action->buf, action->size, false);
        return;
    }
    if (own == GCS_NODE_PRIM) {
        certify_reset(node->certify);
        node->is_joined = false;
        node->needed_seqno = change->seqno;
        node->phase = REPLICA_REQUESTING;
        transfer_request(node);
        return;
    }
    if (!is_same) { /* founded by this node */
        if (state->seqno >= 0 || change->seqno != 1)
            check_fail(cluster->check, "node %d with seqno %lld is declared joined in history %s", node->index,
                       (long long)state->seqno, XB_UUID_TEXT(&change->group_uuid));
        *state = (struct check_state){.group_uuid = change->group_uuid, .seqno = change->seqno - 1};
        history_clear(&node->disk.history);
    }
    replica_apply_change(node, change);
    history_add(&node->disk.history, change->seqno, GCS_CCHANGE, action->buf, action->size, false);
    replica_advance(node, change->seqno, NULL);
    enter_phase(node, own);
}

static void process_change(struct sim_node *node, const struct gcs_action *action) {
    struct gcs_cchange change;
    if (gcs_cchange_decode(&change, action->buf, action->size, NULL)) return;
    if (change.conf_id >= 0 && change.member_count) {
        process_primary(node, action, &change);
    } else if (change.member_count) {
        node->phase = REPLICA_OUTSIDE;
        node->is_joined = node->is_donor = false;
    }
    gcs_cchange_clear(&change);
}

static void process_commit_cut(struct sim_node *node, int64_t cut) {
    if (cut < node->cc_seqno) return; /* spec 07 section 9.4 */
    node->disk.history.released = certify_purge(node->certify, cut);
}

static void process_vote(struct sim_node *node, const struct gcs_action *action) {
    if (action->code < 0) {
        become_corrupt(node, "the group failed on what this node has applied");
    } else if (action->code > 0) { /* request */
        int result =
            gcs_vote(group_gcs(node->group), &node->disk.state.group_uuid, action->seqno, 0, NULL, 0, now(node));
        if (result == 0)
            node->is_voting = true;
        else if (result != -EALREADY)
            become_corrupt(node, "could not vote");
    }
}

static void process_item(struct sim_node *node, struct item *item) {
    switch (item->action.type) {
    case GCS_WRITESET:
        process_writeset(node, item);
        break;
    case GCS_CCHANGE:
        process_change(node, &item->action);
        break;
    case GCS_COMMIT_CUT:
        process_commit_cut(node, item->action.seqno);
        break;
    case GCS_STATE_REQ:
        transfer_donate(node, &item->action);
        break;
    case GCS_JOIN:
        enter_phase(node, GCS_NODE_JOINED);
        break;
    case GCS_SYNC:
        enter_phase(node, GCS_NODE_SYNCED);
        break;
    case GCS_VOTE:
        process_vote(node, &item->action);
        break;
    default:
        break;
    }
}

/* Has everything before it come as far as it must? */
static bool item_is_ready(const struct sim_node *node, const struct item *item) {
    const struct gcs_action *action = &item->action;
    if (node->phase == REPLICA_REQUESTING || node->phase == REPLICA_RECEIVING) return false;
    switch (action->type) {
    case GCS_CCHANGE:
    case GCS_STATE_REQ:
    case GCS_JOIN:
    case GCS_SYNC:
        return !node->jobs && !node->is_voting;
    case GCS_COMMIT_CUT:
        return node->phase == REPLICA_SYNCED || action->seqno < node->cc_seqno ||
               node->disk.state.seqno >= action->seqno;
    case GCS_VOTE:
        return action->code != 1 || (node->disk.state.seqno >= action->seqno && !node->is_voting);
    default:
        return true;
    }
}

bool replica_process(struct sim_node *node) {
    bool is_busy = false;
    while (node->items && !node->is_corrupt && item_is_ready(node, node->items)) {
        struct item *item = node->items;
        node->items = item->next;
        if (!node->items) node->items_end = &node->items;
        node->item_count--;
        node->queue_bytes -= (int64_t)item->action.size;
        process_item(node, item);
        if (item->submission) client_submission_free(item->submission);
        item_free(item);
        replica_queue_changed(node, true);
        is_busy = true;
    }
    start_applying(node);
    if (node->is_giving_up && !node->is_leaving) {
        node_leave(node);
        is_busy = true;
    }
    if (node->is_corrupt && !node->is_leaving) {
        node->disk.state = (struct check_state){.seqno = -1};
        check_holds(node->cluster->check, node->index, -1);
        history_clear(&node->disk.history);
        node_leave(node);
        is_busy = true;
    }
    return is_busy;
}
