/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * INSTALL: makes the current view the primary component (spec 04 section 6.6), at the end of an exchange, by hand
 * (BOOTSTRAP), or changes the weight of its sender (WEIGHT, section 11). Delivered after the transitional view it is
 * a puzzle: those who went away may have installed or not (section 6.7).
 */
#include "pc/pc_internal.h"

/* The map holds every member's own entry of its own STATE. weight: of this node, for PC_FLAG_WEIGHT. */
int pc_send_install(struct pc *pc, uint8_t flags, int weight, int64_t now_ns) {
    size_t count = 0;
    bool has_self = false;
    for (size_t i = 0; i < pc->collected_count; i++) {
        const struct pc_collected *collected = &pc->collected[i];
        if (!pc_set_has(&pc->members, &collected->source)) continue;
        bool is_self = xb_uuid_equal(&collected->source, &pc->uuid);
        has_self |= is_self;
        pc->scratch[count] = *pc_map_find(&collected->map, &collected->source);
        if (is_self && flags & PC_FLAG_WEIGHT) pc->scratch[count].weight = weight;
        count++;
    }
    if (!has_self) return -EAGAIN; /* no exchange has taken place yet */
    struct pc_header header = {.version = pc->version, .flags = flags, .type = PC_INSTALL_MESSAGE};
    return pc_send_control(pc, pc_map_message(&header, pc->scratch, count), now_ns);
}

/* The member with the smallest UUID sends it. The others only if it fails to, and again if EVS refuses it: a second
 * one does no harm (section 17.2). */
void pc_await_install(struct pc *pc, int64_t now_ns) {
    if (!xb_uuid_equal(&pc->members.uuids[0], &pc->uuid) && pc->pending == PC_PENDING_NONE) {
        pc->pending = PC_PENDING_INSTALL;
        pc->retry_at_ns = now_ns + PC_INSTALL_GRACE_NS;
        return;
    }
    pc->pending = PC_PENDING_NONE;
    pc->retry_at_ns = XB_NEVER;
    int result = pc_send_install(pc, 0, 0, now_ns);
    if (!result || pc->state != PC_INSTALL) return;
    xb_log_info(pc->log, "PC: sending install message failed: %s; it is sent again", strerror(-result));
    pc->pending = PC_PENDING_INSTALL;
    pc->retry_at_ns = now_ns + pc->options.retry_period_ns;
}

static void warn_about_weights(struct pc *pc) {
    int64_t total = 0;
    const struct pc_node *heaviest = NULL;
    for (size_t i = 0; i < pc->nodes.count; i++) {
        const struct pc_node *node = &pc->nodes.nodes[i];
        if (node->weight < 0) return;
        total += node->weight;
        if (!heaviest || node->weight > heaviest->weight) heaviest = node;
    }
    if (total == 0)
        xb_log_warning(pc->log, "PC: the weights of all members are 0: the next membership change stops the group; "
                                "set pc.weight of some node");
    else if (heaviest && pc->nodes.count > 1 && 2 * (int64_t)heaviest->weight > total)
        xb_log_info(pc->log, "PC: node %s has more weight than all others together: without it the group stops",
                    XB_UUID_SHORT(&heaviest->uuid));
}

/* Section 11 step 5. Only the entry of the source counts, the rest of the map may be out of date. */
static void change_weight(struct pc *pc, const struct xb_uuid *source, const struct pc_map *map) {
    const struct pc_node *entry = pc_map_find(map, source);
    struct pc_node *node = pc_map_find(&pc->nodes, source);
    if (!entry || !node || entry->weight < 0) {
        xb_log_warning(pc->log, "PC: weight change of %s without its weight, ignored", XB_UUID_SHORT(source));
        return;
    }
    xb_log_info(pc->log, "PC: changing node %s weight %d -> %d", XB_UUID_SHORT(source), node->weight, entry->weight);
    node->weight = entry->weight;
    if (!xb_uuid_equal(source, &pc->uuid)) return;
    pc->options.weight = entry->weight;
    pc->up.weight_changed(pc->up.ctx, entry->weight);
}

/* Section 6.6 step 3. -> false if the entries disagree */
static bool find_to_seq(const struct pc_map *map, int64_t *to_seq) {
    bool has_prim = false;
    int64_t prim_seq = -1, max_seq = -1;
    for (size_t i = 0; i < map->count; i++) {
        const struct pc_node *entry = &map->nodes[i];
        if (entry->to_seq > max_seq) max_seq = entry->to_seq;
        if (!entry->is_prim) continue;
        if (has_prim && prim_seq != -1 && entry->to_seq != prim_seq) return false;
        has_prim = true;
        prim_seq = entry->to_seq;
    }
    *to_seq = has_prim ? prim_seq : max_seq;
    return true;
}

/* Section 6.6 */
static void install_primary(struct pc *pc, const struct xb_uuid *source, bool is_bootstrap, const struct pc_map *map,
                            int64_t now_ns) {
    if (is_bootstrap && pc->state == PC_INSTALL) {
        xb_log_info(pc->log, "PC: ignoring bootstrap install in INSTALL state");
        return;
    }
    struct pc_node *self = pc_self(pc);
    const struct pc_node *entry = pc_map_find(map, &pc->uuid);
    int64_t to_seq;
    if (!entry || !pc_node_is_same_state(self, entry)) {
        pc_fail(pc, false, "Install message of %s: self state does not match", XB_UUID_SHORT(source));
        return;
    }
    if (!find_to_seq(map, &to_seq)) {
        pc_fail(pc, false, "Install message of %s: TO seqnos inconsistent", XB_UUID_SHORT(source));
        return;
    }
    self->to_seq = to_seq;
    pc->pending = PC_PENDING_NONE;
    pc->retry_at_ns = XB_NEVER;
    pc_mark_prim(pc);
    pc_shift(pc, PC_PRIM);
    pc_deliver_view(pc, VIEW_PRIM, is_bootstrap, now_ns);
    for (size_t i = pc->nodes.count; i-- > 0;) {
        pc->nodes.nodes[i].is_un = false;
        if (!pc_set_has(&pc->members, &pc->nodes.nodes[i].uuid)) pc_map_remove(&pc->nodes, i);
    }
    warn_about_weights(pc);
}

static bool basis_stays(const struct pc *pc) {
    for (size_t i = 0; i < pc->basis_members.count; i++) {
        const struct xb_uuid *uuid = &pc->basis_members.uuids[i];
        if (!pc_set_has(&pc->members, uuid) && !pc_set_has(&pc->left, uuid)) return false;
    }
    return true;
}

/* Section 6.7. Where the stock provider aborts (no quorum because all weights are 0) this is non-primary. */
static void install_in_trans(struct pc *pc, const struct xb_uuid *source, uint8_t flags, const struct pc_map *map,
                             int64_t now_ns) {
    if (flags & PC_FLAG_BOOTSTRAP) {
        xb_log_info(pc->log, "PC: Dropping bootstrap install in TRANS state");
        return;
    }
    bool is_kept = pc_quorum(pc, &pc->basis_members) == PC_QUORUM;
    if (flags & PC_FLAG_WEIGHT) {
        is_kept = is_kept && basis_stays(pc);
        change_weight(pc, source, map);
    } else if (is_kept) {
        struct pc_set installed = {.count = 0};
        for (size_t i = 0; i < map->count && installed.count < PC_MEMBERS_MAX; i++)
            if (pc_map_find(&pc->nodes, &map->nodes[i].uuid)) installed.uuids[installed.count++] = map->nodes[i].uuid;
        is_kept = pc->basis.type == VIEW_PRIM && pc_quorum(pc, &installed) == PC_QUORUM;
    }
    if (is_kept) return;
    xb_log_info(pc->log, "PC: %s leads to non-prim",
                flags & PC_FLAG_WEIGHT ? "Weight changing trans install" : "Trans install");
    pc_mark_non_prim(pc);
    pc_deliver_view(pc, VIEW_NON_PRIM, false, now_ns);
    for (size_t i = 0; i < map->count; i++) {
        struct pc_node *node = pc_map_find(&pc->nodes, &map->nodes[i].uuid);
        if (node && !pc_set_has(&pc->members, &node->uuid)) node->is_un = true;
    }
}

static void install_in_prim(struct pc *pc, const struct xb_uuid *source, uint8_t flags, const struct pc_map *map) {
    if (!(flags & PC_FLAG_WEIGHT)) {
        xb_log_info(pc->log, "PC: non weight changing install in S_PRIM, ignored");
        return;
    }
    change_weight(pc, source, map);
    warn_about_weights(pc);
}

void pc_handle_install(struct pc *pc, const struct xb_uuid *source, const struct pc_header *header, struct xb_reader *r,
                       int64_t now_ns) {
    struct pc_map map = {0};
    struct xb_error error = {0};
    if (pc_map_read(r, &map, &error))
        pc_fail(pc, false, "install message of %s: %s", XB_UUID_SHORT(source), error.text);
    else if (pc->state == PC_PRIM)
        install_in_prim(pc, source, header->flags, &map);
    else if (pc->state == PC_TRANS)
        install_in_trans(pc, source, header->flags, &map, now_ns);
    else if (pc->state == PC_INSTALL || pc->state == PC_NON_PRIM)
        install_primary(pc, source, header->flags & PC_FLAG_BOOTSTRAP, &map, now_ns);
    else
        pc_fail(pc, false, "install message of %s in state %s", XB_UUID_SHORT(source), pc_state_name(pc->state));
    pc_map_clear(&map);
}
