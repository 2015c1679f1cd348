/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Clients of a node: write sets over a small key space, desyncs, causal reads. */
#include "node.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static int64_t now(const struct sim_node *node) {
    return net_now(node->cluster->net);
}

/* The write set's turn has come: what is committed here is what it has seen (spec 06 section 8.1). */
static int on_prepare(struct gcs_submission *gcs) {
    struct submission *submission = (struct submission *)gcs;
    struct sim_node *node = submission->node;
    if (submission->kind != SUBMIT_WRITESET) return 0;
    /* A member that restarted and is up to date has an empty index: nothing may depend on what went before. */
    if (node->disk.state.seqno < node->reunion_seqno) return -EAGAIN;
    writeset_builder_stamp(submission->builder, node->disk.state.seqno, WRITESET_PA_RANGE_MAX,
                           SIM_CALENDAR_NS + now(node));
    return 0;
}

struct submission *client_submission_new(struct sim_node *node, enum submission_kind kind) {
    struct submission *submission = calloc(1, sizeof(*submission));
    submission->node = node;
    submission->kind = kind;
    submission->next = node->submissions;
    if (submission->next) submission->next->link = &submission->next;
    submission->link = &node->submissions;
    node->submissions = submission;
    submission->gcs.done = client_done;
    submission->gcs.prepare = on_prepare;
    if (kind == SUBMIT_WRITESET) node->outstanding++;
    return submission;
}

void client_submission_free(struct submission *submission) {
    *submission->link = submission->next;
    if (submission->next) submission->next->link = submission->link;
    if (submission->kind == SUBMIT_WRITESET) submission->node->outstanding--;
    writeset_builder_free(submission->builder);
    free(submission->request);
    free(submission);
}

void client_stop(struct sim_node *node) {
    while (node->submissions) {
        if (node->submissions->kind == SUBMIT_WRITESET) check_crashed(node->cluster->check, node->submissions->number);
        client_submission_free(node->submissions);
    }
}

/* ---- write sets ---- */

static size_t choose_size(struct xb_random *random) {
    uint64_t dice = xb_random_below(random, 100);
    if (dice < 90) return 16 + xb_random_below(random, 300);
    if (dice < 99) return 16 + xb_random_below(random, 40000);
    return 16 + xb_random_below(random, 400000);
}

static void add_keys(struct writeset_builder *builder, struct xb_random *random, bool is_toi) {
    size_t count = is_toi ? 1 : 1 + xb_random_below(random, 3);
    for (size_t i = 0; i < count; i++) {
        char row[16];
        int length = snprintf(row, sizeof(row), "row%d", (int)xb_random_below(random, SIM_KEYS));
        struct iovec parts[3] = {{"db", 2}, {"t", 1}, {row, (size_t)length}};
        enum writeset_key_type type =
            is_toi ? WRITESET_KEY_EXCLUSIVE : (enum writeset_key_type)xb_random_below(random, WRITESET_KEY_TYPES);
        writeset_builder_add_key(builder, parts, is_toi ? 2 : 3, type);
    }
    writeset_builder_add_key(builder, NULL, 0, is_toi ? WRITESET_KEY_REFERENCE : WRITESET_KEY_SHARED);
}

static struct writeset_builder *build(struct sim_node *node, uint64_t number) {
    struct xb_random *random = &node->cluster->random;
    struct writeset_builder_config config = {.version = writeset_version_of_protocol(SIM_REPL_VERSION),
                                             .key_format = WRITESET_FLAT8,
                                             .size_max = WRITESET_SIZE_MAX,
                                             .hash_secret = xb_random_u64(random)};
    struct writeset_builder *builder = writeset_builder_new(&config);
    uint64_t dice = xb_random_below(random, 40);
    uint16_t flags = WRITESET_COMMIT | WRITESET_BEGIN;
    bool is_toi = dice == 0;
    if (is_toi) flags = WRITESET_COMMIT | WRITESET_BEGIN | WRITESET_TOI;
    if (dice == 1) flags |= WRITESET_PA_UNSAFE;
    add_keys(builder, random, is_toi);
    size_t size = choose_size(random);
    uint8_t *data = malloc(size);
    memset(data, (int)(number & 0xff), size);
    xb_store_le(data, number, 8);
    writeset_builder_add_data(builder, WRITESET_DATA_ORDERED, data, size, true);
    free(data);
    struct writeset_origin origin = {.source = node->uuid, .connection_id = 1, .transaction_id = number};
    struct xb_error error;
    if (writeset_builder_finish(builder, &origin, flags, &error))
        check_fail(node->cluster->check, "a write set could not be built: %s", error.text);
    return builder;
}

/* It may have been done, and freed, within gcs_submit. */
static bool is_under_way(const struct sim_node *node, const struct submission *submission) {
    for (const struct submission *s = node->submissions; s; s = s->next)
        if (s == submission) return true;
    return false;
}

void client_submit(struct sim_node *node) {
    struct submission *submission = client_submission_new(node, SUBMIT_WRITESET);
    submission->number = check_submit(node->cluster->check, node->index);
    submission->builder = build(node, submission->number);
    submission->gcs.type = GCS_WRITESET;
    submission->gcs.parts = writeset_builder_parts(submission->builder, &submission->gcs.part_count);
    gcs_submit(group_gcs(node->group), &submission->gcs, now(node));
    /* Some are given up before they are sent. */
    if (xb_random_below(&node->cluster->random, 50) == 0 && is_under_way(node, submission))
        gcs_cancel(group_gcs(node->group), &submission->gcs, now(node));
}

/* ---- desync ---- */

static void on_desync_over(void *ctx, uint64_t generation) {
    struct sim_node *node = ctx;
    if (!node->is_up || node->generation != generation || node->has_left) return;
    node->is_desynced = false;
    gcs_join_as_donor(group_gcs(node->group), &node->disk.state.group_uuid, node->disk.state.seqno, 0, now(node));
    node_settle(node);
}

void client_desync(struct sim_node *node) {
    static const char name[] = "self-desync";
    if (node->is_desynced) return;
    struct submission *submission = client_submission_new(node, SUBMIT_DESYNC);
    size_t size = sizeof(name) + 2 + 16 + 8 + 1;
    submission->request = calloc(1, size);
    struct xb_writer w = xb_writer_init(submission->request, size);
    xb_write_cstr(&w, name);
    xb_write_u8(&w, 'V');
    xb_write_u8(&w, 2);
    xb_write_uuid(&w, &xb_uuid_nil);
    xb_write_i64(&w, -1);
    submission->part = (struct iovec){submission->request, size};
    submission->gcs.type = GCS_STATE_REQ;
    submission->gcs.parts = &submission->part;
    submission->gcs.part_count = 1;
    node->is_desynced = true;
    gcs_submit(group_gcs(node->group), &submission->gcs, now(node));
}

static void desync_done(struct sim_node *node, int result) {
    if (result < 0) {
        node->is_desynced = false;
        return;
    }
    int64_t length_ns = (int64_t)xb_random_below(&node->cluster->random, 5 * XB_SECOND);
    net_at(node->cluster->net, now(node) + length_ns, on_desync_over, node, node->generation);
}

/* ---- the end of a submission ---- */

void client_done(struct gcs_submission *gcs, int result, const struct gcs_action *action) {
    struct submission *submission = (struct submission *)gcs;
    struct sim_node *node = submission->node;
    cluster_trace(node->cluster, node->index, "submission %lld (kind %d) is done: %d", (long long)submission->number,
                  submission->kind, result);
    if (submission->kind == SUBMIT_WRITESET) {
        if (result == 0) replica_take(node, action, submission); /* it is freed when it is applied */
        check_done(node->cluster->check, submission->number, result, result == 0 ? action->seqno : -1);
        if (result == 0) return;
    } else if (submission->kind == SUBMIT_DESYNC) {
        desync_done(node, result);
    } else {
        transfer_answered(node, submission, result);
    }
    client_submission_free(submission);
}

/* ---- causal reads ---- */

static void causal_read(struct sim_node *node) {
    struct submission *submission = client_submission_new(node, SUBMIT_CAUSAL);
    submission->seqno = check_last_acknowledged(node->cluster->check);
    gcs_causal(group_gcs(node->group), submission, now(node));
}

void client_causal_done(struct sim_node *node, void *token, int result, const struct xb_uuid *group_uuid,
                        int64_t seqno) {
    struct submission *submission = token;
    (void)group_uuid;
    if (result == 0 && seqno < submission->seqno)
        check_fail(node->cluster->check, "node %d: a causal read at %lld misses %lld, which was acknowledged before",
                   node->index, (long long)seqno, (long long)submission->seqno);
    client_submission_free(submission);
}

/* ---- load ---- */

static bool is_outside(const struct sim_node *node) {
    struct gcs_status status;
    gcs_get_status(group_gcs(node->group), &status, now(node));
    return status.group_state == GCS_NON_PRIMARY;
}

static void on_client(void *ctx, uint64_t generation) {
    struct sim_node *node = ctx;
    struct cluster *cluster = node->cluster;
    if (!node->is_up || node->generation != generation) return;
    if (cluster->is_load_on && !node->is_leaving) {
        /* Now and then also when it must fail. */
        bool is_wanted = node_is_ready(node) || (is_outside(node) && xb_random_below(&cluster->random, 50) == 0);
        if (is_wanted && node->outstanding < SIM_OUTSTANDING_MAX) client_submit(node);
        if (node_is_ready(node) && xb_random_below(&cluster->random, 400) == 0) client_desync(node);
        if (xb_random_below(&cluster->random, 30) == 0) causal_read(node);
        node_settle(node);
        if (!node->is_up) return;
    }
    int64_t pause_ns = 1 + (int64_t)xb_random_below(&cluster->random, (uint64_t)cluster->load_period_ns * 2);
    net_at(cluster->net, now(node) + pause_ns, on_client, node, generation);
}

void client_start(struct sim_node *node) {
    node->outstanding = 0;
    node->is_desynced = false;
    net_at(node->cluster->net, now(node) + node->cluster->load_period_ns, on_client, node, node->generation);
}
