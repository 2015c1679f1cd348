/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The member that has gone mad; rogue.h. It joins as an arbitrator does, by a request for a trivial state. */
#include "rogue.h"
#include "engine.h"

#include "base/clock.h"
#include "member/member.h"

#include <string.h>

struct rogue {
    struct xb_options *options;
    struct member *member;
    struct group *group;
    struct xb_log log;
    struct xb_uuid group_uuid;
    int64_t conf_seqno;
    struct gcs_submission request, writeset;
    struct iovec request_part, part;
    struct member_task task;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_synced, is_ordered;
};

static void tell(struct rogue *rogue, bool *what) {
    pthread_mutex_lock(&rogue->lock);
    *what = true;
    pthread_cond_broadcast(&rogue->changed);
    pthread_mutex_unlock(&rogue->lock);
}

static void await(struct rogue *rogue, const bool *what) {
    pthread_mutex_lock(&rogue->lock);
    while (!*what) pthread_cond_wait(&rogue->changed, &rogue->lock);
    pthread_mutex_unlock(&rogue->lock);
}

static void on_requested(struct gcs_submission *submission, int result, const struct gcs_action *action) {
    struct rogue *rogue = submission->ctx;
    if (action) free(action->buf);
    CHECK(result >= 0);
    gcs_join(group_gcs(rogue->group), &rogue->group_uuid, rogue->conf_seqno, 0, xb_clock_monotonic_ns());
}

static void on_configuration(struct rogue *rogue, const struct gcs_action *action, int64_t now_ns) {
    static char trivial[] = "\0trivial\0"; /* donor list, what is wanted, nothing more */
    struct gcs_cchange change;
    CHECK(!gcs_cchange_decode(&change, action->buf, action->size, NULL));
    if (change.conf_id >= 0 && change.members[action->seqno].state == GCS_NODE_PRIM) {
        rogue->group_uuid = change.group_uuid;
        rogue->conf_seqno = change.seqno;
        rogue->request_part = (struct iovec){trivial, sizeof(trivial) - 1};
        rogue->request = (struct gcs_submission){
            .type = GCS_STATE_REQ, .parts = &rogue->request_part, .part_count = 1, .done = on_requested, .ctx = rogue};
        gcs_submit(group_gcs(rogue->group), &rogue->request, now_ns);
    }
    gcs_cchange_clear(&change);
}

static void on_action(void *ctx, const struct gcs_action *action, int64_t now_ns) {
    struct rogue *rogue = ctx;
    if (action->type == GCS_CCHANGE && action->seqno >= 0) on_configuration(rogue, action, now_ns);
    if (action->type == GCS_SYNC) tell(rogue, &rogue->is_synced);
    free(action->buf);
}

static void *on_alloc(void *ctx, size_t size) {
    (void)ctx;
    return malloc(size);
}

static void on_free(void *ctx, void *buf) {
    (void)ctx;
    free(buf);
}

static int64_t on_cached(void *ctx) {
    (void)ctx;
    return -1;
}

static void on_causal(void *ctx, void *token, int result, const struct xb_uuid *group_uuid, int64_t seqno) {
    (void)ctx, (void)token, (void)result, (void)group_uuid, (void)seqno;
}

static void on_started(void *ctx, struct group *group) {
    ((struct rogue *)ctx)->group = group;
}

static void on_left(void *ctx, int code, const struct xb_error *error) {
    (void)ctx, (void)code, (void)error;
}

static void write_line(void *ctx, enum xb_log_level level, const char *line) {
    (void)ctx, (void)level;
    if (getenv("FAKE_VERBOSE")) fprintf(stderr, "rogue %s\n", line);
}

struct rogue *rogue_join(const char *address, int port, const char *dir) {
    struct rogue *rogue = calloc(1, sizeof(*rogue));
    struct xb_error error = {.text = ""};
    char text[128];
    pthread_mutex_init(&rogue->lock, NULL);
    pthread_cond_init(&rogue->changed, NULL);
    rogue->log = (struct xb_log){.write = write_line, .ctx = rogue};
    rogue->options = xb_options_new();
    snprintf(text, sizeof(text),
             "base_port=%d;gmcast.listen_addr=tcp://127.0.0.1:%d;gcs.stateless=yes;gcs.fc_limit=99999", port, port);
    CHECK(!xb_options_start(rogue->options, text, &error));
    snprintf(text, sizeof(text), "gcomm://%s", address);
    struct member_config config = {.group_name = "fake",
                                   .address = text,
                                   .data_dir = dir,
                                   .node_name = "rogue",
                                   .node_incoming = "",
                                   .repl_version_max = GCS_VERSION_ANY,
                                   .appl_version_max = GCS_VERSION_ANY,
                                   .seqno = -1,
                                   .options = rogue->options};
    struct gcs_up gcs_up = {rogue, on_alloc, on_free, on_action, on_cached, on_causal};
    struct member_up member_up = {.ctx = rogue, .started = on_started, .left = on_left};
    rogue->member = member_open(&config, &gcs_up, &member_up, &rogue->log, &error);
    if (!rogue->member) fprintf(stderr, "%s\n", error.text);
    CHECK(rogue->member);
    await(rogue, &rogue->is_synced);
    return rogue;
}

static void on_ordered(struct gcs_submission *submission, int result, const struct gcs_action *action) {
    struct rogue *rogue = submission->ctx;
    if (action) free(action->buf);
    CHECK(result >= 0);
    tell(rogue, &rogue->is_ordered);
}

static void run_order(struct member_task *task, struct group *group, int64_t now_ns) {
    struct rogue *rogue = (struct rogue *)((char *)task - offsetof(struct rogue, task));
    gcs_submit(group_gcs(group), &rogue->writeset, now_ns);
}

void rogue_order(struct rogue *rogue, const void *bytes, size_t size) {
    rogue->is_ordered = false;
    rogue->part = (struct iovec){(void *)bytes, size};
    rogue->writeset = (struct gcs_submission){
        .type = GCS_WRITESET, .parts = &rogue->part, .part_count = 1, .done = on_ordered, .ctx = rogue};
    rogue->task.run = run_order;
    CHECK(!member_post(rogue->member, &rogue->task));
    await(rogue, &rogue->is_ordered);
}

void rogue_leave(struct rogue *rogue) {
    member_close(rogue->member);
    xb_options_free(rogue->options);
    pthread_cond_destroy(&rogue->changed);
    pthread_mutex_destroy(&rogue->lock);
    free(rogue);
}
