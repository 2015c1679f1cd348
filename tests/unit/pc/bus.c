/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See bus.h. */
#include "bus.h"

#include "base/clock.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct bus_view_log {
    struct bus_view_log *next;
    struct view_id id;
    int members[BUS_NODES];
    size_t member_count;
    struct bus_entry entries[BUS_LOG];
    size_t count;
};

/* What PC calls. */

static int on_submit(void *ctx, struct xb_buf *buf, uint8_t user_type, enum evs_order order, int64_t now_ns) {
    struct bus_node *node = ctx;
    (void)now_ns;
    if (!node->view) return -ENOTCONN;
    if (node->refuse > 0) {
        node->refuse--;
        return -EAGAIN;
    }
    if (!node->is_operational) return -EAGAIN;
    struct bus_view_log *log = node->view;
    assert(log->count < BUS_LOG);
    struct bus_entry *entry = &log->entries[log->count++];
    *entry = (struct bus_entry){.sender = node->index, .user_type = user_type, .order = order, .size = buf->size};
    entry->bytes = malloc(buf->size);
    memcpy(entry->bytes, xb_buf_data(buf), buf->size);
    xb_buf_unref(buf);
    return 0;
}

static void on_stable_view(void *ctx, const struct pc_view *view, int64_t now_ns) {
    struct bus_node *node = ctx;
    (void)now_ns;
    assert(view_id_equal(&view->id, &node->shown.id));
    node->stable_views++;
}

static bool on_is_evicted(void *ctx, const struct xb_uuid *uuid) {
    struct bus_node *node = ctx;
    for (int i = 0; i < BUS_NODES; i++)
        if (node->bus->is_evicted[i] && xb_uuid_is_same_node(&node->bus->nodes[i].uuid, uuid)) return true;
    return false;
}

static void on_view(void *ctx, const struct pc_view *view, int64_t now_ns) {
    struct bus_node *node = ctx;
    (void)now_ns;
    node->shown = *view;
    if (view->member_count) memcpy(node->members, view->members, view->member_count * sizeof(*view->members));
    node->shown.members = node->members;
    if (!view->member_count)
        node->empty_views++;
    else if (view->id.type == VIEW_PRIM)
        node->prim_views++;
    else
        node->non_prim_views++;
}

static void on_message(void *ctx, const struct pc_message *message, int64_t now_ns) {
    struct bus_node *node = ctx;
    (void)now_ns;
    assert(node->delivered_count < BUS_LOG);
    struct bus_delivered *delivered = &node->delivered[node->delivered_count++];
    *delivered = (struct bus_delivered){.sender = -1, .user_type = message->user_type, .to_seq = message->to_seq};
    assert(message->size == 4);
    delivered->value = (uint32_t)xb_load_le(message->payload, 4);
    for (int i = 0; i < BUS_NODES; i++)
        if (xb_uuid_equal(&node->bus->nodes[i].uuid, &message->source)) delivered->sender = i;
}

static void on_save(void *ctx, const struct pc_saved_view *saved) {
    struct bus_node *node = ctx;
    node->has_saved = saved != NULL;
    if (!saved) return;
    char text[65536];
    int size = pc_saved_view_format(saved, text, sizeof(text));
    assert(size > 0);
    struct xb_error error;
    int result = pc_saved_view_parse(text, (size_t)size, &node->saved, &error);
    assert(result == 0);
    assert(node->saved.member_count == saved->member_count);
    assert(view_id_equal(&node->saved.id, &saved->id));
    assert(node->saved.lacks_state == saved->lacks_state);
}

static void on_weight_changed(void *ctx, int weight) {
    struct bus_node *node = ctx;
    node->weight_changes++;
    node->last_weight = weight;
}

static void on_fatal(void *ctx, const struct xb_error *error, bool is_conflict) {
    struct bus_node *node = ctx;
    node->has_failed = true;
    node->is_conflict = is_conflict;
    node->failure = *error;
}

/* The bus. */

struct bus *bus_new(void) {
    struct bus *bus = calloc(1, sizeof(*bus));
    for (int i = 0; i < BUS_NODES; i++) {
        bus->nodes[i].bus = bus;
        bus->nodes[i].index = i;
        pc_options_default(&bus->nodes[i].options);
        bus_set_uuid(bus, i, 0x8000);
    }
    return bus;
}

void bus_free(struct bus *bus) {
    for (int i = 0; i < BUS_NODES; i++) pc_free(bus->nodes[i].pc);
    while (bus->logs) {
        struct bus_view_log *log = bus->logs;
        bus->logs = log->next;
        for (size_t i = 0; i < log->count; i++) free(log->entries[i].bytes);
        free(log);
    }
    free(bus);
}

void bus_set_uuid(struct bus *bus, int node, uint16_t incarnation) {
    struct xb_uuid *uuid = &bus->nodes[node].uuid;
    memset(uuid->bytes, 0, sizeof(uuid->bytes));
    uuid->bytes[0] = (uint8_t)(0x10 * (node + 1));
    uuid->bytes[6] = 0x11;
    uuid->bytes[15] = (uint8_t)(node + 1);
    xb_uuid_set_incarnation(uuid, incarnation);
}

static struct bus_view_log *new_log(struct bus *bus, const struct view_id *id) {
    struct bus_view_log *log = calloc(1, sizeof(*log));
    log->id = *id;
    log->next = bus->logs;
    bus->logs = log;
    return log;
}

void bus_start(struct bus *bus, int index, bool is_bootstrap, const struct pc_saved_view *restored) {
    struct bus_node *node = &bus->nodes[index];
    struct pc_down down = {node, on_submit, on_stable_view, on_is_evicted};
    struct pc_up up = {node, on_view, on_message, on_save, on_weight_changed, on_fatal};
    pc_free(node->pc);
    node->pc = pc_new(&node->uuid, (uint8_t)(index % 3), &node->options, restored, &down, &up, NULL);
    node->has_failed = node->is_conflict = false;
    node->delivered_count = 0;
    node->cursor = 0;
    node->refuse = 0;
    node->prim_views = node->non_prim_views = node->empty_views = node->stable_views = node->weight_changes = 0;
    pc_start(node->pc, is_bootstrap, bus->now_ns);
    struct view_id id = {VIEW_TRANS, node->uuid, restored ? restored->id.seq + 1 : 0};
    node->view = new_log(bus, &id);
    node->view->members[0] = index;
    node->view->member_count = 1;
    node->is_operational = false;
    struct evs_view view = {.id = id, .members = &node->uuid, .member_count = 1};
    pc_evs_view(node->pc, &view, bus->now_ns);
}

void bus_restart(struct bus *bus, int index) {
    struct bus_node *node = &bus->nodes[index];
    node->uuid = node->saved.my_uuid;
    xb_uuid_set_incarnation(&node->uuid, (uint16_t)(xb_uuid_incarnation(&node->uuid) + 1));
    struct pc_saved_view saved = node->saved;
    bus_start(bus, index, false, &saved);
}

static void deliver_entry(struct bus_node *node, const struct bus_view_log *log, const struct bus_entry *entry) {
    struct evs_message message = {.source = node->bus->nodes[entry->sender].uuid,
                                  .view = log->id,
                                  .user_type = entry->user_type,
                                  .order = entry->order,
                                  .payload = entry->bytes,
                                  .size = entry->size};
    pc_evs_message(node->pc, &message, node->bus->now_ns);
}

bool bus_deliver(struct bus *bus, int index) {
    struct bus_node *node = &bus->nodes[index];
    if (!node->view || node->cursor >= node->view->count) return false;
    const struct bus_entry *entry = &node->view->entries[node->cursor++];
    deliver_entry(node, node->view, entry);
    if (pc_get_state(node->pc) == PC_PRIM) pc_set_has_state(node->pc, !node->is_joiner);
    return true;
}

void bus_run(struct bus *bus) {
    for (bool is_busy = true; is_busy;) {
        is_busy = false;
        for (int i = 0; i < BUS_NODES; i++) is_busy |= bus_deliver(bus, i);
    }
}

void bus_tick(struct bus *bus, int64_t by_ns) {
    bus->now_ns += by_ns;
    for (int i = 0; i < BUS_NODES; i++)
        if (bus->nodes[i].pc) pc_tick(bus->nodes[i].pc, bus->now_ns);
}

/* One old view ends for those who go to component `where`: regular rest, transitional view, transitional rest. */
static void end_view(struct bus *bus, struct bus_view_log *log, const int to[BUS_NODES], int where, size_t lost_from) {
    size_t seen = 0;
    struct xb_uuid stay[BUS_NODES], left[BUS_NODES], gone[BUS_NODES];
    struct evs_view view = {.id = log->id, .members = stay, .left = left, .partitioned = gone};
    view.id.type = VIEW_TRANS;
    int movers[BUS_NODES];
    for (size_t i = 0; i < log->member_count; i++) {
        int n = log->members[i];
        struct bus_node *node = &bus->nodes[n];
        bool is_here = node->view == log;
        if (is_here && to[n] == where && where >= 0) {
            movers[view.member_count] = n;
            stay[view.member_count++] = node->uuid;
            if (node->cursor > seen) seen = node->cursor;
        } else if (is_here && to[n] == BUS_LEAVES) {
            left[view.left_count++] = node->uuid;
        } else {
            gone[view.partitioned_count++] = node->uuid;
        }
    }
    size_t end = log->count;
    if (end > lost_from) end = lost_from > seen ? lost_from : seen;
    bool has_first_view = log->id.type == VIEW_TRANS; /* PC got it at the start */
    for (size_t i = 0; i < view.member_count; i++) {
        struct bus_node *node = &bus->nodes[movers[i]];
        while (node->cursor < seen) bus_deliver(bus, node->index);
        node->is_operational = false;
        if (!has_first_view) pc_evs_view(node->pc, &view, bus->now_ns);
        while (node->cursor < end) bus_deliver(bus, node->index);
    }
}

static void leave(struct bus *bus, int index) {
    struct bus_node *node = &bus->nodes[index];
    struct xb_uuid gone[BUS_NODES];
    struct evs_view view = {.id = node->view->id, .members = &node->uuid, .member_count = 1, .partitioned = gone};
    view.id.type = VIEW_TRANS;
    for (size_t i = 0; i < node->view->member_count; i++)
        if (node->view->members[i] != index) gone[view.partitioned_count++] = bus->nodes[node->view->members[i]].uuid;
    pc_closing(node->pc);
    node->is_operational = false;
    if (node->view->id.type != VIEW_TRANS) pc_evs_view(node->pc, &view, bus->now_ns);
    while (bus_deliver(bus, index)) continue;
    node->view = NULL;
    struct evs_view empty = {.id = {.type = VIEW_REG}};
    pc_evs_view(node->pc, &empty, bus->now_ns);
}

static void begin_view(struct bus *bus, const int to[BUS_NODES], int where) {
    struct xb_uuid members[BUS_NODES];
    struct evs_view view = {.id = {.type = VIEW_REG}, .version = 1, .members = members};
    int movers[BUS_NODES];
    for (int i = 0; i < BUS_NODES; i++) {
        if (to[i] != where || !bus->nodes[i].view) continue;
        if (bus->nodes[i].view->id.seq > view.id.seq) view.id.seq = bus->nodes[i].view->id.seq;
        movers[view.member_count] = i;
        members[view.member_count++] = bus->nodes[i].uuid;
    }
    if (!view.member_count) return;
    view.id.seq++;
    view.id.uuid = members[0];
    struct bus_view_log *log = new_log(bus, &view.id);
    for (size_t i = 0; i < view.member_count; i++) log->members[i] = movers[i];
    log->member_count = view.member_count;
    for (size_t i = 0; i < view.member_count; i++) {
        struct bus_node *node = &bus->nodes[movers[i]];
        node->view = log;
        node->cursor = 0;
        node->is_operational = true;
    }
    for (size_t i = 0; i < view.member_count; i++) pc_evs_view(bus->nodes[movers[i]].pc, &view, bus->now_ns);
}

void bus_change_lossy(struct bus *bus, const int to[BUS_NODES], size_t lost_from) {
    for (int where = 0; where < BUS_NODES; where++)
        for (struct bus_view_log *log = bus->logs; log; log = log->next) end_view(bus, log, to, where, lost_from);
    for (int i = 0; i < BUS_NODES; i++) {
        if (to[i] == BUS_LEAVES && bus->nodes[i].view) leave(bus, i);
        if (to[i] == BUS_CRASHES) bus->nodes[i].view = NULL;
    }
    for (int where = 0; where < BUS_NODES; where++) begin_view(bus, to, where);
}

void bus_change(struct bus *bus, const int to[BUS_NODES]) {
    bus_change_lossy(bus, to, BUS_LOG);
}

int bus_send(struct bus *bus, int index, uint32_t value) {
    struct xb_buf *buf = xb_buf_new(XB_BUF_HEADROOM, 4);
    xb_store_le(xb_buf_data(buf), value, 4);
    int result = pc_submit(bus->nodes[index].pc, buf, 7, EVS_SAFE, bus->now_ns);
    if (result) {
        assert(buf->size == 4 && xb_load_le(xb_buf_data(buf), 4) == value);
        xb_buf_unref(buf);
    }
    return result;
}

void bus_inject(struct bus *bus, int index, const void *bytes, size_t size) {
    struct xb_buf *buf = xb_buf_new(XB_BUF_HEADROOM, size);
    memcpy(xb_buf_data(buf), bytes, size);
    int result = on_submit(&bus->nodes[index], buf, 0xff, EVS_SAFE, bus->now_ns);
    assert(result == 0);
}

size_t bus_log_size(const struct bus *bus, int index) {
    return bus->nodes[index].view->count;
}
