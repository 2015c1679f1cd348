/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Node records, ordered maps of them (spec 04 section 2.3) and their bytes (sections 3.2 and 3.3). */
#include "pc/pc_internal.h"

#include <stdlib.h>

#define MAP_COUNT_SIZE 4
#define MAP_ENTRY_SIZE 52

enum { NODE_PRIM = 0x1, NODE_WEIGHT = 0x2, NODE_UN = 0x4, NODE_EVICTED = 0x8, NODE_OURS = 0x8000 };

const struct view_id pc_never_prim = {.type = VIEW_NON_PRIM};

struct pc_node pc_node_init(const struct xb_uuid *uuid) {
    return (struct pc_node){
        .uuid = *uuid, .last_seq = PC_NEVER_SEQ, .last_prim = pc_never_prim, .to_seq = -1, .weight = -1};
}

bool pc_node_is_same_state(const struct pc_node *a, const struct pc_node *b) {
    return a->is_prim == b->is_prim && a->is_un == b->is_un && a->last_seq == b->last_seq &&
           view_id_equal(&a->last_prim, &b->last_prim) && a->to_seq == b->to_seq && a->segment == b->segment &&
           (b->weight == -1 || a->weight == b->weight);
}

/* -> index of the first record that is not below the UUID */
static size_t map_lower_bound(const struct pc_map *map, const struct xb_uuid *uuid) {
    size_t low = 0, high = map->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (xb_uuid_compare(&map->nodes[middle].uuid, uuid) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct pc_node *pc_map_find(const struct pc_map *map, const struct xb_uuid *uuid) {
    size_t i = map_lower_bound(map, uuid);
    return i < map->count && xb_uuid_equal(&map->nodes[i].uuid, uuid) ? &map->nodes[i] : NULL;
}

struct pc_node *pc_map_add(struct pc_map *map, const struct pc_node *node) {
    if (map->count >= PC_NODES_MAX) return NULL;
    if (map->count == map->capacity) {
        size_t capacity = map->capacity ? 2 * map->capacity : 8;
        struct pc_node *nodes = realloc(map->nodes, capacity * sizeof(*nodes));
        if (!nodes) return NULL;
        map->nodes = nodes;
        map->capacity = capacity;
    }
    size_t i = map_lower_bound(map, &node->uuid);
    memmove(&map->nodes[i + 1], &map->nodes[i], (map->count - i) * sizeof(*node));
    map->nodes[i] = *node;
    map->count++;
    return &map->nodes[i];
}

void pc_map_remove(struct pc_map *map, size_t index) {
    map->count--;
    memmove(&map->nodes[index], &map->nodes[index + 1], (map->count - index) * sizeof(*map->nodes));
}

void pc_map_clear(struct pc_map *map) {
    free(map->nodes);
    *map = (struct pc_map){0};
}

static void node_read(struct xb_reader *r, struct pc_node *node) {
    node->uuid = xb_read_uuid(r);
    uint32_t bits = xb_read_u32(r);
    node->is_prim = bits & NODE_PRIM;
    node->is_un = bits & NODE_UN;
    node->is_evicted = bits & NODE_EVICTED;
    node->is_ours = bits & NODE_OURS;
    node->segment = (uint8_t)(bits >> 16);
    node->weight = bits & NODE_WEIGHT ? (int)(bits >> 24) : -1;
    node->last_seq = xb_read_u32(r);
    node->last_prim = view_id_read(r);
    node->to_seq = xb_read_i64(r);
}

static void node_write(struct xb_writer *w, const struct pc_node *node) {
    uint32_t bits = (uint32_t)node->segment << 16;
    if (node->is_prim) bits |= NODE_PRIM;
    if (node->is_un) bits |= NODE_UN;
    if (node->is_evicted) bits |= NODE_EVICTED;
    if (node->is_ours) bits |= NODE_OURS;
    if (node->weight >= 0) bits |= NODE_WEIGHT | (uint32_t)node->weight << 24;
    xb_write_uuid(w, &node->uuid);
    xb_write_u32(w, bits);
    xb_write_u32(w, node->last_seq);
    view_id_write(w, &node->last_prim);
    xb_write_i64(w, node->to_seq);
}

/* Trailing bytes are ignored, duplicates refused (section 3.6). */
int pc_map_read(struct xb_reader *r, struct pc_map *map, struct xb_error *error) {
    uint32_t count = xb_read_u32(r);
    if (!xb_reader_ok(r) || count > xb_reader_left(r) / MAP_ENTRY_SIZE)
        return xb_fail(error, -EPROTO, "PC map of %u nodes does not fit in its message of %zu bytes", count, r->size);
    if (count > PC_NODES_MAX) return xb_fail(error, -EPROTO, "PC map of %u nodes is too large", count);
    for (uint32_t i = 0; i < count; i++) {
        struct pc_node node;
        node_read(r, &node);
        if (pc_map_find(map, &node.uuid)) {
            pc_map_clear(map);
            return xb_fail(error, -EPROTO, "node %s is twice in a PC map", XB_UUID_SHORT(&node.uuid));
        }
        if (!pc_map_add(map, &node)) {
            pc_map_clear(map);
            return xb_fail(error, -ENOMEM, "no memory for a PC map of %u nodes", count);
        }
    }
    return 0;
}

struct xb_buf *pc_map_message(const struct pc_header *header, const struct pc_node *nodes, size_t count) {
    size_t size = PC_HEADER_SIZE + MAP_COUNT_SIZE + count * MAP_ENTRY_SIZE;
    struct xb_buf *buf = xb_buf_new(XB_BUF_HEADROOM, size);
    if (!buf) return NULL;
    struct xb_writer w = xb_writer_init(xb_buf_data(buf), size);
    pc_header_write(xb_write_space(&w, PC_HEADER_SIZE), header);
    xb_write_u32(&w, (uint32_t)count);
    for (size_t i = 0; i < count; i++) node_write(&w, &nodes[i]);
    return buf;
}

bool pc_set_has(const struct pc_set *set, const struct xb_uuid *uuid) {
    size_t low = 0, high = set->count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = xb_uuid_compare(&set->uuids[middle], uuid);
        if (order == 0) return true;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return false;
}

void pc_set_add(struct pc_set *set, const struct xb_uuid *uuid) {
    size_t i = set->count++;
    for (; i > 0 && xb_uuid_compare(&set->uuids[i - 1], uuid) > 0; i--) set->uuids[i] = set->uuids[i - 1];
    set->uuids[i] = *uuid;
}

bool pc_set_assign(struct pc_set *set, const struct xb_uuid *uuids, size_t count) {
    if (count > PC_MEMBERS_MAX) return false;
    if (count) memcpy(set->uuids, uuids, count * sizeof(*uuids));
    set->count = count;
    return true;
}
