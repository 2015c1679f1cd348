/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * STATE: after every regular view each member says what it knows about every node (spec 04 section 5), and when all
 * have spoken each decides by the same rules whether this view can be the primary component (section 6.5).
 *
 * A member's claim to be primary is its own entry in its own STATE. Entries about others only say what is known.
 */
#include "pc/pc_internal.h"

void pc_collected_clear(struct pc *pc) {
    for (size_t i = 0; i < pc->collected_count; i++) pc_map_clear(&pc->collected[i].map);
    pc->collected_count = 0;
}

void pc_send_state(struct pc *pc, int64_t now_ns) {
    struct pc_node *self = pc_self(pc);
    int64_t to_seq = self->to_seq;
    for (size_t i = 0; i < pc->nodes.count; i++) {
        struct pc_node *node = &pc->nodes.nodes[i];
        node->is_ours = node == self;
        if (pc_set_has(&pc->members, &node->uuid)) node->to_seq = to_seq;
        if (pc->down.is_evicted(pc->down.ctx, &node->uuid)) node->is_evicted = true;
    }
    struct pc_header header = {.version = pc->version, .type = PC_STATE};
    int result = pc_send_control(pc, pc_map_message(&header, pc->nodes.nodes, pc->nodes.count), now_ns);
    if (result) pc_fail(pc, false, "state message could not be sent: %s", strerror(-result));
}

/* -> where the source is or belongs in the collected ones */
static size_t collected_position(const struct pc *pc, const struct xb_uuid *source) {
    size_t i = 0;
    while (i < pc->collected_count && xb_uuid_compare(&pc->collected[i].source, source) < 0) i++;
    return i;
}

/* Own entry of the sender; its existence was checked when the message came. */
static const struct pc_node *own_entry(const struct pc_collected *collected) {
    return pc_map_find(&collected->map, &collected->source);
}

/* Step 1. -> true if the message is to be dropped (or the layer has failed) */
static bool is_conflicting(struct pc *pc, const struct xb_uuid *source, const struct pc_node *claim) {
    const struct pc_node *self = pc_self(pc);
    if (!self->is_prim || !claim->is_prim || view_id_equal(&self->last_prim, &claim->last_prim)) return false;
    xb_log_warning(pc->log, "PC: conflicting prims: my prim: %s other prim: %s of %s", VIEW_ID_TEXT(&self->last_prim),
                   VIEW_ID_TEXT(&claim->last_prim), XB_UUID_SHORT(source));
    bool is_greater = view_id_compare(&self->last_prim, &claim->last_prim) > 0;
    if (is_greater != pc->options.npvo) {
        xb_log_info(pc->log, "PC: discarding other prim view");
        return true;
    }
    pc_fail(pc, true,
            "two primary components meet and %s of %s wins against %s of this node: what was committed here since the "
            "split is lost",
            VIEW_ID_TEXT(&claim->last_prim), XB_UUID_SHORT(source), VIEW_ID_TEXT(&self->last_prim));
    return true;
}

/* Nothing depends on them: not in the view, without a primary view that others could wait for. Without this a group
 * that is not primary would learn of a new node at every restart of a crashing one, for ever (section 17.8). */
static void forget_void_nodes(struct pc *pc) {
    for (size_t i = pc->nodes.count; i-- > 0;) {
        const struct pc_node *node = &pc->nodes.nodes[i];
        if (!node->is_un && !node->is_prim && node->last_prim.type != VIEW_PRIM &&
            !pc_set_has(&pc->members, &node->uuid))
            pc_map_remove(&pc->nodes, i);
    }
}

/* Step 4 for one entry. -> false if the layer has failed */
static bool merge_entry(struct pc *pc, const struct xb_uuid *source, const struct pc_node *entry) {
    struct pc_node *node = pc_map_find(&pc->nodes, &entry->uuid);
    if (!node) {
        node = pc_map_add(&pc->nodes, entry);
        if (!node) {
            pc_fail(pc, false, "more than %d nodes are known, or no memory for one more", PC_NODES_MAX);
            return false;
        }
    } else if (entry->weight != node->weight && node->weight == -1) {
        node->weight = entry->weight;
    } else if (entry->weight != node->weight && xb_uuid_equal(&entry->uuid, source)) {
        xb_log_warning(pc->log, "PC: overriding reported weight of %s: %d -> %d", XB_UUID_SHORT(source), node->weight,
                       entry->weight);
        node->weight = entry->weight;
    }
    if (!pc_self(pc)->is_prim && entry->is_un && !xb_uuid_equal(&entry->uuid, &pc->uuid))
        pc_map_find(&pc->nodes, &entry->uuid)->is_un = true;
    return true;
}

static bool merge_all(struct pc *pc) {
    for (size_t i = 0; i < pc->collected_count; i++) {
        const struct pc_collected *collected = &pc->collected[i];
        for (size_t j = 0; j < collected->map.count; j++)
            if (!merge_entry(pc, &collected->source, &collected->map.nodes[j])) return false;
    }
    return true;
}

/* Is the entry what this node knows, in state and in to_seq? Step 5. */
static bool entry_is_valid(const struct pc *pc, const struct pc_node *entry, int64_t to_seq) {
    const struct pc_node *node = pc_map_find(&pc->nodes, &entry->uuid);
    if (!node || entry->to_seq != to_seq) return false;
    if (entry->weight != -1) return pc_node_is_same_state(node, entry);
    return entry->is_prim == node->is_prim && entry->last_seq == node->last_seq &&
           view_id_equal(&entry->last_prim, &node->last_prim) && entry->to_seq == node->to_seq;
}

/* Step 5: those who say that they are primary agree with this node about every member. -> false if the layer failed */
static bool validate_all(struct pc *pc) {
    if (!pc_self(pc)->is_prim) return true;
    int64_t to_seq = -1;
    for (size_t i = 0; i < pc->collected_count; i++) {
        const struct pc_node *claim = own_entry(&pc->collected[i]);
        if (claim->is_prim && claim->to_seq > to_seq) to_seq = claim->to_seq;
    }
    for (size_t i = 0; i < pc->collected_count; i++) {
        const struct pc_collected *collected = &pc->collected[i];
        if (!own_entry(collected)->is_prim) continue;
        for (size_t j = 0; j < collected->map.count; j++) {
            const struct pc_node *entry = &collected->map.nodes[j];
            if (!entry->is_prim || !pc_set_has(&pc->members, &entry->uuid)) continue;
            if (entry_is_valid(pc, entry, to_seq)) continue;
            pc_fail(pc, false, "state of %s as reported by %s (last_seq %u, to_seq %lld) is not what this node knows",
                    XB_UUID_SHORT(&entry->uuid), XB_UUID_SHORT(&collected->source), entry->last_seq,
                    (long long)entry->to_seq);
            return false;
        }
    }
    return true;
}

enum decision { DECISION_PRIMARY, DECISION_NON_PRIMARY, DECISION_WAIT, DECISION_FAILED };

/* Section 6.5.1 A: somebody claims to be primary, then all who do must agree. */
static enum decision decide_by_claims(struct pc *pc) {
    const struct pc_node *first = NULL;
    for (size_t i = 0; i < pc->collected_count; i++) {
        const struct pc_node *claim = own_entry(&pc->collected[i]);
        if (!claim->is_prim) continue;
        if (!first) first = claim;
        if (view_id_equal(&claim->last_prim, &first->last_prim) && claim->to_seq == first->to_seq) continue;
        if (pc_self(pc)->is_prim) {
            pc_fail(pc, false, "primary claims of %s and %s are not consistent", XB_UUID_SHORT(&first->uuid),
                    XB_UUID_SHORT(&claim->uuid));
            return DECISION_FAILED;
        }
        /* A neutral joiner waits until one side has gone (section 17.5). */
        xb_log_warning(pc->log, "PC: two primary components meet: %s of %s and %s of %s; waiting until one has gone",
                       VIEW_ID_TEXT(&first->last_prim), XB_UUID_SHORT(&first->uuid), VIEW_ID_TEXT(&claim->last_prim),
                       XB_UUID_SHORT(&claim->uuid));
        return DECISION_WAIT;
    }
    return first ? DECISION_PRIMARY : DECISION_NON_PRIMARY;
}

bool pc_is_reported_evicted(const struct pc *pc, const struct xb_uuid *uuid) {
    for (size_t i = 0; i < pc->collected_count; i++) {
        const struct pc_node *entry = pc_map_find(&pc->collected[i].map, uuid);
        if (entry && entry->is_evicted) return true;
    }
    return false;
}

/* A restarted node, with another incarnation, is back too. */
bool pc_is_back(const struct pc *pc, const struct xb_uuid *uuid) {
    for (size_t i = 0; i < pc->members.count; i++)
        if (xb_uuid_is_same_node(&pc->members.uuids[i], uuid)) return true;
    return false;
}

/* Section 6.5.1 B: nobody claims, but everybody of the last primary view is back. Of nodes that may have installed a
 * primary component unseen, a new incarnation will do too, unlike in the stock provider, which would wait for ever:
 * what such a node may have alone it brings along, and gcs finds it. Stock members take the INSTALL all the same. */
static enum decision decide_by_return(struct pc *pc) {
    for (size_t i = 0; i < pc->nodes.count; i++) {
        const struct pc_node *node = &pc->nodes.nodes[i];
        if (!node->is_un || pc_is_back(pc, &node->uuid)) continue;
        xb_log_warning(pc->log, "PC: Nodes %s are still in unknown state, unable to rebootstrap new prim",
                       XB_UUID_SHORT(&node->uuid));
        return DECISION_NON_PRIMARY;
    }
    const struct view_id *last = NULL;
    for (size_t i = 0; i < pc->collected_count; i++)
        for (size_t j = 0; j < pc->collected[i].map.count; j++) {
            const struct view_id *id = &pc->collected[i].map.nodes[j].last_prim;
            if (id->type == VIEW_PRIM && (!last || view_id_compare(id, last) > 0)) last = id;
        }
    if (!last) {
        xb_log_warning(pc->log, "no nodes coming from prim view, prim not possible");
        return DECISION_NON_PRIMARY;
    }
    for (size_t i = 0; i < pc->collected_count; i++)
        for (size_t j = 0; j < pc->collected[i].map.count; j++) {
            const struct pc_node *entry = &pc->collected[i].map.nodes[j];
            if (!view_id_equal(&entry->last_prim, last) || pc_is_back(pc, &entry->uuid) ||
                pc_is_reported_evicted(pc, &entry->uuid))
                continue;
            xb_log_info(pc->log, "PC: %s of the last primary view %s is not back", XB_UUID_SHORT(&entry->uuid),
                        VIEW_ID_TEXT(last));
            return DECISION_NON_PRIMARY;
        }
    if (pc_has_later_memory(pc, last)) {
        xb_log_info(pc->log, "PC: a restarted node remembers a later primary view than %s", VIEW_ID_TEXT(last));
        return DECISION_NON_PRIMARY;
    }
    xb_log_info(pc->log, "PC: re-bootstrapping prim from partitioned components, last primary view %s",
                VIEW_ID_TEXT(last));
    return DECISION_PRIMARY;
}

static void finish_exchange(struct pc *pc, int64_t now_ns) {
    if (!merge_all(pc) || !validate_all(pc)) return;
    pc->are_all_ours = pc_are_all_ours(pc);
    pc->is_recollection = pc_is_recollection(pc);
    enum decision decision = decide_by_claims(pc);
    if (decision == DECISION_NON_PRIMARY) decision = decide_by_return(pc);
    if (decision == DECISION_PRIMARY) {
        pc_shift(pc, PC_INSTALL); /* before sending, the message may come back at once (section 18) */
        pc_await_install(pc, now_ns);
    } else if (decision == DECISION_NON_PRIMARY) {
        pc_mark_non_prim(pc);
        forget_void_nodes(pc);
        pc_shift(pc, PC_NON_PRIM);
        pc_deliver_view(pc, VIEW_NON_PRIM, false, now_ns);
    }
}

void pc_handle_state(struct pc *pc, const struct xb_uuid *source, struct xb_reader *r, int64_t now_ns) {
    if (pc->state == PC_TRANS) return; /* an exchange that the next membership change interrupted */
    struct pc_map map = {0};
    struct xb_error error = {0};
    const struct pc_node *claim = NULL;
    size_t i = collected_position(pc, source);
    if (pc->state != PC_STATES_EXCH)
        pc_fail(pc, false, "state message of %s in state %s", XB_UUID_SHORT(source), pc_state_name(pc->state));
    else if (!pc_set_has(&pc->members, source))
        pc_fail(pc, false, "state message of %s, which is not in the view", XB_UUID_SHORT(source));
    else if (i < pc->collected_count && xb_uuid_equal(&pc->collected[i].source, source))
        pc_fail(pc, false, "second state message of %s in one view", XB_UUID_SHORT(source));
    else if (pc_map_read(r, &map, &error))
        pc_fail(pc, false, "state message of %s: %s", XB_UUID_SHORT(source), error.text);
    else if (!(claim = pc_map_find(&map, source)))
        pc_fail(pc, false, "state message of %s does not speak of its sender", XB_UUID_SHORT(source));
    if (!claim || is_conflicting(pc, source, claim)) {
        pc_map_clear(&map);
        return;
    }
    memmove(&pc->collected[i + 1], &pc->collected[i], (pc->collected_count - i) * sizeof(pc->collected[0]));
    pc->collected[i] = (struct pc_collected){.source = *source, .map = map};
    pc->collected_count++;
    if (pc->collected_count == pc->members.count) finish_exchange(pc, now_ns);
}
