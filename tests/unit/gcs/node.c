/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A recorded gcs instance. */
#include "node.h"

#include <stdio.h>

/* Room for one more, in steps of powers of two. */
static void *grow(void *array, size_t count, size_t size) {
    return count & (count - 1) ? array : realloc(array, (count ? 2 * count : 1) * size);
}

static void keep(struct node *node, struct record record) {
    node->records = grow(node->records, node->record_count, sizeof(record));
    node->records[node->record_count++] = record;
    if (node->watch) node->watch(node, &record);
}

static int on_submit(void *ctx, struct xb_buf *buf, uint8_t user_type, enum evs_order order, int64_t now_ns) {
    struct node *node = ctx;
    assert_true(buf->head >= XB_BUF_HEADROOM - GCS_FRAGMENT_HEADER_SIZE); /* room for the layers below */
    assert_true(buf->size > 0 && buf->size <= PC_PAYLOAD_MAX);
    if (node->refusal && node->accepted_before_refusal-- <= 0) return node->refusal;
    struct sent message = {user_type, order, malloc(buf->size), buf->size};
    memcpy(message.bytes, xb_buf_data(buf), buf->size);
    if (node->submit) {
        xb_buf_ref(buf); /* gone if it is taken */
        int result = node->submit(node, &message);
        xb_buf_unref(buf);
        free(message.bytes);
        if (!result) xb_buf_unref(buf);
        return result;
    }
    node->sent = grow(node->sent, node->sent_count, sizeof(message));
    node->sent[node->sent_count++] = message;
    xb_buf_unref(buf);
    return 0;
}

static void on_fatal(void *ctx, const struct xb_error *error) {
    struct node *node = ctx;
    assert_int_equal(node->failure.code, 0);
    node->failure = *error;
}

static void *on_alloc(void *ctx, size_t size) {
    struct node *node = ctx;
    if (node->is_without_memory) return NULL;
    node->buffers++;
    return malloc(size);
}

static void on_free(void *ctx, void *buf) {
    struct node *node = ctx;
    node->buffers--;
    free(buf);
}

static void on_action(void *ctx, const struct gcs_action *action, int64_t now_ns) {
    struct node *node = ctx;
    struct record record = {.kind = RECORD_ACTION, .action = *action};
    if (action->buf) node->buffers--;
    if (action->type == GCS_CCHANGE)
        assert_int_equal(gcs_cchange_decode(&record.change, action->buf, action->size, NULL), 0);
    keep(node, record);
}

static int64_t on_cached(void *ctx) {
    struct node *node = ctx;
    return node->cached;
}

static void on_causal(void *ctx, void *token, int result, const struct xb_uuid *group_uuid, int64_t seqno) {
    assert_true((result == 0) == (group_uuid != NULL));
    keep(ctx, (struct record){.kind = RECORD_CAUSAL, .result = result, .what = token, .action = {.seqno = seqno}});
}

static void write_log(void *ctx, enum xb_log_level level, const char *line) {
    struct node *node = ctx;
    printf("%s %d: %s\n", node->name, (int)level, line);
}

struct node *node_new(int id, const char *name) {
    struct node *node = calloc(1, sizeof(*node));
    memset(node->uuid.bytes, id + 1, sizeof(node->uuid.bytes));
    xb_random_seed(&node->random, (uint64_t)id + 1000);
    snprintf(node->name, sizeof(node->name), "%s", name);
    node->now_ns = XB_SECOND;
    node->cached = -1;
    node->log = (struct xb_log){.write = write_log, .ctx = node};
    node->config = (struct gcs_config){.uuid = node->uuid,
                                       .name = node->name,
                                       .incoming = "127.0.0.1:3306",
                                       .repl_version_max = 11,
                                       .appl_version_max = 4,
                                       .seqno = -1};
    gcs_options_default(&node->config.options);
    return node;
}

void node_start(struct node *node) {
    struct gcs_down down = {node, on_submit, on_fatal};
    struct gcs_up up = {node, on_alloc, on_free, on_action, on_cached, on_causal};
    node->gcs = gcs_new(&node->config, &down, &up, &node->random, getenv("GCS_TEST_LOG") ? &node->log : NULL);
    assert_non_null(node->gcs);
}

void node_free(struct node *node) {
    if (!node) return;
    gcs_free(node->gcs);
    assert_int_equal(node->buffers, 0);
    node_forget(node);
    free(node);
}

void node_forget(struct node *node) {
    for (size_t i = 0; i < node->sent_count; i++) free(node->sent[i].bytes);
    for (size_t i = 0; i < node->record_count; i++) {
        gcs_cchange_clear(&node->records[i].change);
        free(node->records[i].action.buf);
    }
    free(node->sent);
    free(node->records);
    node->sent = NULL;
    node->records = NULL;
    node->sent_count = node->record_count = 0;
}

void node_view(struct node *node, bool is_primary, bool is_bootstrap, const struct node *const *members, size_t count) {
    struct pc_member list[16];
    for (size_t i = 0; i < count; i++) list[i] = (struct pc_member){.uuid = members[i]->uuid};
    struct pc_view view = {.id = {.type = is_primary ? VIEW_PRIM : VIEW_NON_PRIM},
                           .is_bootstrap = is_bootstrap,
                           .are_all_ours = is_primary && node->are_all_ours,
                           .members = list,
                           .member_count = count};
    gcs_view(node->gcs, &view, node->now_ns, node->now_ns);
}

void node_leave(struct node *node) {
    node_view(node, false, false, NULL, 0);
}

static void give(struct node *node, const struct xb_uuid *source, uint8_t type, enum evs_order order,
                 const void *payload, size_t size) {
    uint8_t *copy = malloc(size ? size : 1); /* exact, for the sanitizer */
    if (size) memcpy(copy, payload, size);
    struct pc_message message = {.source = *source, .user_type = type, .order = order, .payload = copy, .size = size};
    gcs_message(node->gcs, &message, node->now_ns);
    free(copy);
}

void node_message(struct node *node, const struct xb_uuid *source, uint8_t type, const void *payload, size_t size) {
    give(node, source, type, EVS_SAFE, payload, size);
}

void node_deliver(struct node *node, const struct xb_uuid *source, const struct sent *message) {
    give(node, source, message->type, message->order, message->bytes, message->size);
}

int64_t node_tick(struct node *node) {
    return gcs_tick(node->gcs, node->now_ns);
}

const struct sent *node_last_sent(const struct node *node, uint8_t type) {
    for (size_t i = node->sent_count; i; i--)
        if (node->sent[i - 1].type == type) return &node->sent[i - 1];
    return NULL;
}

size_t node_count_sent(const struct node *node, uint8_t type) {
    size_t count = 0;
    for (size_t i = 0; i < node->sent_count; i++) count += node->sent[i].type == type;
    return count;
}

static bool is_action(const struct record *record, enum gcs_action_type type) {
    return record->kind == RECORD_ACTION && record->action.type == type;
}

const struct record *node_last_action(const struct node *node, enum gcs_action_type type) {
    for (size_t i = node->record_count; i; i--)
        if (is_action(&node->records[i - 1], type)) return &node->records[i - 1];
    fail_msg("%s has no action of type %d", node->name, (int)type);
    return NULL;
}

size_t node_count_actions(const struct node *node, enum gcs_action_type type) {
    size_t count = 0;
    for (size_t i = 0; i < node->record_count; i++) count += is_action(&node->records[i], type);
    return count;
}

const struct gcs_cchange *node_configuration(const struct node *node) {
    return &node_last_action(node, GCS_CCHANGE)->change;
}

static int on_prepare(struct gcs_submission *submission) {
    struct item *item = submission->ctx;
    item->prepared++;
    if (item->on_prepare) item->on_prepare(item);
    return item->prepare_result;
}

static void on_done(struct gcs_submission *submission, int result, const struct gcs_action *action) {
    struct item *item = submission->ctx;
    struct node *node = item->node;
    assert_false(item->is_done);
    item->is_done = true;
    item->result = result;
    struct record record = {.kind = RECORD_DONE, .result = result, .what = item};
    assert_true((result >= 0) == (action != NULL));
    if (action) {
        record.action = *action;
        item->seqno = action->seqno;
        if (action->buf) {
            node->buffers--;
            assert_int_equal(action->size, item->size);
            assert_memory_equal(action->buf, item->bytes, item->size);
        }
    }
    keep(node, record);
}

struct item *item_new(struct node *node, enum gcs_action_type type, const void *bytes, size_t size) {
    struct item *item = calloc(1, sizeof(*item));
    item->node = node;
    item->bytes = malloc(size ? size : 1);
    item->size = size;
    if (size) memcpy(item->bytes, bytes, size);
    size_t first = size / 3;
    item->parts[0] = (struct iovec){item->bytes, first};
    item->parts[1] = (struct iovec){NULL, 0}; /* an empty part does no harm */
    item->parts[2] = (struct iovec){item->bytes + first, size - first};
    item->submission = (struct gcs_submission){
        .type = type, .parts = item->parts, .part_count = 3, .prepare = on_prepare, .done = on_done, .ctx = item};
    return item;
}

struct item *item_submit(struct node *node, enum gcs_action_type type, const void *bytes, size_t size) {
    struct item *item = item_new(node, type, bytes, size);
    gcs_submit(node->gcs, &item->submission, node->now_ns);
    return item;
}

void item_free(struct item *item) {
    assert_true(item->is_done);
    free(item->bytes);
    free(item);
}

size_t make_request(uint8_t *to, size_t room, const char *donors, const struct xb_uuid *uuid, int64_t seqno) {
    struct xb_writer w = xb_writer_init(to, room);
    xb_write_cstr(&w, donors);
    xb_write_u8(&w, 'V');
    xb_write_u8(&w, 3);
    xb_write_uuid(&w, uuid);
    xb_write_i64(&w, seqno);
    xb_write_u8(&w, 'x');
    assert_true(xb_writer_ok(&w));
    return w.used;
}

size_t make_desync(uint8_t *to, size_t room) {
    return make_request(to, room, GCS_SELF_DESYNC, &xb_uuid_nil, -1);
}
