/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Automatic promotion (spec 04 section 13.4): all nodes crashed and come back with their gvwstate.dat. When everybody
 * of the last primary view that anyone recorded is there, they make themselves primary again.
 *
 * Beyond the stock rule, which wants exactly the recorded members, all with records made by one creator (section 17.6):
 * others may be there too if none of them, nor any node heard of, has seen a primary view that is not older than the
 * restored one; and a recorded member may have an older record, since it crashed before it installed the last view. A
 * node's view numbers only grow as long as it keeps its UUID, so an older number is an earlier view.
 */
#include "pc/pc_internal.h"

static bool is_restored_member(const struct pc *pc, const struct xb_uuid *uuid) {
    for (size_t i = 0; i < pc->restored.member_count; i++)
        if (xb_uuid_is_same_node(&pc->restored.members[i].uuid, uuid)) return true;
    return false;
}

/* Step 1 and 2: -> true if nobody knows better than the restored view. */
static bool is_newest(const struct pc *pc) {
    const struct view_id *restored = &pc->restored.id;
    for (size_t i = 0; i < pc->nodes.count; i++) {
        const struct pc_node *node = &pc->nodes.nodes[i];
        const struct view_id *last = &node->last_prim;
        bool is_member = is_restored_member(pc, &node->uuid);
        bool is_restored = last->type == VIEW_NON_PRIM && last->seq == restored->seq &&
                           xb_uuid_equal(&last->uuid, &restored->uuid);
        if (is_member && is_restored) continue;
        if (last->seq < restored->seq && (!is_member || last->type == VIEW_NON_PRIM)) continue;
        xb_log_warning(pc->log, "PC: node %s with last prim %s is inconsistent to restored view %s",
                       XB_UUID_SHORT(&node->uuid), VIEW_ID_TEXT(last), VIEW_ID_TEXT(restored));
        return false;
    }
    return true;
}

/* Every restored member is in the view, in one incarnation. */
static bool is_complete(const struct pc *pc) {
    for (size_t i = 0; i < pc->restored.member_count; i++) {
        size_t found = 0;
        for (size_t j = 0; j < pc->members.count; j++)
            found += xb_uuid_is_same_node(&pc->restored.members[i].uuid, &pc->members.uuids[j]);
        if (found != 1) return false;
    }
    return true;
}

/* In TRANS EVS cannot send; the non-primary view at the end of the exchange makes the next attempt. */
void pc_promote(struct pc *pc, int64_t now_ns) {
    if (!pc->has_restored || pc->is_start_prim || pc->state != PC_NON_PRIM) return;
    if (!is_newest(pc) || !is_complete(pc)) return;
    xb_log_info(pc->log, "PC: promote to primary component, restored view %s", VIEW_ID_TEXT(&pc->restored.id));
    int result = pc_send_install(pc, PC_FLAG_BOOTSTRAP, 0, now_ns);
    if (!result || pc->state != PC_NON_PRIM) return;
    pc->pending = PC_PENDING_PROMOTION;
    pc->retry_at_ns = now_ns + pc->options.retry_period_ns;
}
