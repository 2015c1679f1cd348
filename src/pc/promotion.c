/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Automatic promotion (spec 04 section 13.4): all nodes crashed and come back with their gvwstate.dat. When everybody
 * of the last primary view that anyone recorded is there, they make themselves primary again.
 *
 * The stock rule is narrow (exactly the recorded members, nobody else: a fresh node blocks it), and beside it stands a
 * rule that loses acknowledged data (section 6.5.1 B): if one member of the last primary component that a *living* node
 * knows lived on and the others restarted, the living one's state counts, although the others may have committed more:
 * in the moment of the crash, since a message that they delivered was still doubtful at the survivor, or for hours, in
 * a primary component that the survivor was cut off from. They then find themselves "ahead of the group" and are wiped.
 * The choice among living ones has a flaw too (spec 05 section 7.1, "S stays").
 *
 * So our nodes say in their STATE who they are, with a bit that the stock provider ignores. One that is not primary
 * yields to others of ours: it does not insist on its part in the last primary component. If all members of a view are
 * ours and none is primary, then
 *  - a primary view that a restarted member remembers and that is later than the last one of those that lived on keeps
 *    these from re-forming theirs; the restarted ones may promote themselves in their presence, if nobody knows a later
 *    one still;
 *  - gcs is told to follow the highest seqno (pc_view.is_recollection).
 * If one does not say so, it is a stock node, and the stock rules hold, so that all draw the same conclusion; then a
 * fresh node is the only addition that does no harm (section 17.6).
 * gcs is told as well whether all are ours (pc_view.are_all_ours): the only holder of the state of a primary component
 * of joiners may have crashed, and comes back.
 *
 * A node that crashed while it waited for its state does not promote itself, unlike the stock provider's: the last one
 * who had the state may have left before, which makes the joiner a primary component of its own, with old data.
 */
#include "pc/pc_internal.h"

static bool is_restored_member(const struct pc *pc, const struct xb_uuid *uuid) {
    for (size_t i = 0; i < pc->restored.member_count; i++)
        if (xb_uuid_is_same_node(&pc->restored.members[i].uuid, uuid)) return true;
    return false;
}

static const struct pc_node *own_entry(const struct pc *pc, size_t i) {
    return pc_map_find(&pc->collected[i].map, &pc->collected[i].source);
}

bool pc_are_all_ours(const struct pc *pc) {
    for (size_t i = 0; i < pc->collected_count; i++)
        if (!own_entry(pc, i)->is_ours) return false;
    return true;
}

static bool do_all_yield(const struct pc *pc) {
    for (size_t i = 0; i < pc->collected_count; i++)
        if (own_entry(pc, i)->is_prim) return false;
    return pc_are_all_ours(pc);
}

/* Has restarted with a memory of a primary view, and has not been primary since. */
static bool is_restored(const struct pc_node *node) {
    return node->last_prim.type == VIEW_NON_PRIM && !xb_uuid_is_nil(&node->last_prim.uuid);
}

static bool is_same_view(const struct view_id *a, const struct view_id *b) { /* whatever its type */
    return a->seq == b->seq && xb_uuid_equal(&a->uuid, &b->uuid);
}

bool pc_has_later_memory(const struct pc *pc, const struct view_id *last) {
    if (!do_all_yield(pc)) return false;
    for (size_t i = 0; i < pc->collected_count; i++) {
        const struct pc_node *entry = own_entry(pc, i);
        if (is_restored(entry) && entry->last_prim.seq > last->seq) return true;
    }
    return false;
}

bool pc_is_recollection(const struct pc *pc) {
    return do_all_yield(pc) && !xb_uuid_is_nil(&pc_map_find(&pc->nodes, &pc->uuid)->last_prim.uuid);
}

/* Step 1 and 2 as the stock provider has them, plus section 17.6. */
static bool is_consistent(const struct pc *pc, const struct pc_node *node) {
    const struct view_id *last = &node->last_prim;
    if (!is_restored_member(pc, &node->uuid)) return xb_uuid_is_nil(&last->uuid);
    return is_restored(node) && xb_uuid_equal(&last->uuid, &pc->restored.id.uuid) && last->seq <= pc->restored.id.seq;
}

/* Among nodes that yield: it knows nothing later than this node. Records of incarnations that have come back under
 * another name do not count. */
static bool is_not_later(const struct pc *pc, const struct pc_node *node) {
    if (!pc_set_has(&pc->members, &node->uuid) && pc_is_back(pc, &node->uuid)) return true;
    return node->last_prim.seq < pc->restored.id.seq || is_same_view(&node->last_prim, &pc->restored.id);
}

static bool is_newest(const struct pc *pc) {
    bool all_yield = do_all_yield(pc);
    for (size_t i = 0; i < pc->nodes.count; i++) {
        const struct pc_node *node = &pc->nodes.nodes[i];
        if (all_yield ? is_not_later(pc, node) : is_consistent(pc, node)) continue;
        xb_log_warning(pc->log, "PC: node %s with last prim %s is inconsistent to restored view %s",
                       XB_UUID_SHORT(&node->uuid), VIEW_ID_TEXT(&node->last_prim), VIEW_ID_TEXT(&pc->restored.id));
        return false;
    }
    return true;
}

/* Every restored member that is not evicted is in the view, in one incarnation. */
static bool is_complete(const struct pc *pc) {
    for (size_t i = 0; i < pc->restored.member_count; i++) {
        const struct xb_uuid *uuid = &pc->restored.members[i].uuid;
        size_t found = 0;
        for (size_t j = 0; j < pc->members.count; j++) found += xb_uuid_is_same_node(uuid, &pc->members.uuids[j]);
        if (found != 1 && !(found == 0 && pc_is_reported_evicted(pc, uuid))) return false;
    }
    return true;
}

/* In TRANS EVS cannot send; the non-primary view at the end of the exchange makes the next attempt. */
void pc_promote(struct pc *pc, int64_t now_ns) {
    if (!pc->has_restored || pc->restored.lacks_state || pc->is_start_prim || pc->state != PC_NON_PRIM) return;
    if (!is_newest(pc) || !is_complete(pc)) return;
    xb_log_info(pc->log, "PC: promote to primary component, restored view %s", VIEW_ID_TEXT(&pc->restored.id));
    int result = pc_send_install(pc, PC_FLAG_BOOTSTRAP, 0, now_ns);
    if (!result || pc->state != PC_NON_PRIM) return;
    pc->pending = PC_PENDING_PROMOTION;
    pc->retry_at_ns = now_ns + pc->options.retry_period_ns;
}
