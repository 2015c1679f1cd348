/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Views from EVS (spec 04 section 6.4), views to the layer above (section 9). */
#include "pc/pc_internal.h"

void pc_mark_prim(struct pc *pc) {
    struct pc_node *self = pc_self(pc);
    pc->basis = pc->current;
    pc->basis.type = VIEW_PRIM;
    pc_known_members(pc, &pc->basis_members);
    pc->left.count = 0;
    for (size_t i = 0; i < pc->nodes.count; i++) {
        struct pc_node *node = &pc->nodes.nodes[i];
        node->is_prim = pc_set_has(&pc->basis_members, &node->uuid);
        if (!node->is_prim) continue;
        node->last_prim = pc->basis;
        node->last_seq = 0;
        node->to_seq = self->to_seq;
    }
    pc->last_sent = 0;
}

/* Records of nodes outside the current view keep their flags. */
void pc_mark_non_prim(struct pc *pc) {
    pc->basis = pc->current;
    pc->basis.type = VIEW_NON_PRIM;
    pc_known_members(pc, &pc->basis_members);
    pc->left.count = 0;
    for (size_t i = 0; i < pc->nodes.count; i++)
        if (pc_set_has(&pc->basis_members, &pc->nodes.nodes[i].uuid)) pc->nodes.nodes[i].is_prim = false;
    pc_self(pc)->is_prim = false;
}

void pc_save_view(struct pc *pc, bool is_bootstrap) {
    struct pc_saved_view saved = {
        .my_uuid = pc->uuid, .id = pc->basis, .is_bootstrap = is_bootstrap, .lacks_state = !pc->has_state};
    for (size_t i = 0; i < pc->basis_members.count; i++) {
        const struct pc_node *node = pc_map_find(&pc->nodes, &pc->basis_members.uuids[i]);
        saved.members[saved.member_count++] = (struct pc_member){.uuid = node->uuid, .segment = node->segment};
    }
    pc->is_bootstrapped = is_bootstrap;
    pc->up.save(pc->up.ctx, &saved);
}

/* The order of the steps is that of section 18: saved, above, below, then the restored view. */
void pc_deliver_view(struct pc *pc, enum view_type type, bool is_bootstrap, int64_t now_ns) {
    struct pc_view view = {.id = pc->current, .is_bootstrap = is_bootstrap, .members = pc->view_members};
    view.id.type = type;
    view.is_recollection = type == VIEW_PRIM && pc->is_recollection;
    view.are_all_ours = type == VIEW_PRIM && pc->are_all_ours;
    for (size_t i = 0; i < pc->members.count; i++) {
        const struct pc_node *node = pc_map_find(&pc->nodes, &pc->members.uuids[i]);
        if (node)
            pc->view_members[view.member_count++] = (struct pc_member){.uuid = node->uuid, .segment = node->segment};
    }
    xb_log_info(pc->log, "PC: view %s with %zu member%s", VIEW_ID_TEXT(&view.id), view.member_count,
                view.member_count == 1 ? "" : "s");
    if (type == VIEW_PRIM && pc->options.recovery) pc_save_view(pc, is_bootstrap);
    pc->up.view(pc->up.ctx, &view, now_ns);
    pc->down.stable_view(pc->down.ctx, &view, now_ns);
    if (type == VIEW_NON_PRIM) {
        pc_promote(pc, now_ns);
    } else if (pc->has_restored) {
        xb_log_info(pc->log, "PC: clear restored view");
        pc->has_restored = false;
    }
}

/* Unlike with the stock provider they count as gone until the next primary view, not only in the view in which they
 * left: else a group that several leave one soon after the other, in the middle of an exchange, stops being primary.
 * Parts of a split group may know different leavers and still not both have quorum, for none of these is in any part.
 */
static void note_leavers(struct pc *pc, const struct evs_view *view) {
    for (size_t i = 0; i < view->left_count; i++)
        if (pc_set_has(&pc->basis_members, &view->left[i]) && !pc_set_has(&pc->left, &view->left[i]))
            pc_set_add(&pc->left, &view->left[i]);
}

static bool take_view(struct pc *pc, const struct evs_view *view) {
    if (!pc_set_assign(&pc->members, view->members, view->member_count)) {
        pc_fail(pc, false, "view of %zu members: more than %d are not supported", view->member_count, PC_MEMBERS_MAX);
        return false;
    }
    if (!pc_set_has(&pc->members, &pc->uuid)) {
        pc_fail(pc, false, "view %s does not contain this node", VIEW_ID_TEXT(&view->id));
        return false;
    }
    if (pc->has_current && pc->version != view->version)
        xb_log_info(pc->log, "PC protocol %s %u -> %u", view->version > pc->version ? "upgrade" : "downgrade",
                    pc->version, view->version);
    note_leavers(pc, view);
    pc->current = view->id;
    pc->version = view->version;
    pc->has_current = true;
    pc->pending = PC_PENDING_NONE;
    pc->retry_at_ns = XB_NEVER;
    return true;
}

/* Section 6.4.1 */
static void first_transitional_view(struct pc *pc, const struct evs_view *view) {
    if (!take_view(pc, view)) return;
    if (pc->is_start_prim) {
        if (view->member_count != 1) {
            pc_fail(pc, false, "first view %s of a bootstrapping node has %zu members", VIEW_ID_TEXT(&view->id),
                    view->member_count);
            return;
        }
        struct pc_node *self = pc_self(pc);
        self->last_prim = view->id;
        self->last_prim.type = VIEW_PRIM;
        self->is_prim = true;
    }
    pc_shift(pc, PC_TRANS);
}

/* Does the component keep its claim to be primary? Section 6.4.2 steps 1 to 3. */
static bool has_claim(struct pc *pc) {
    enum pc_majority majority = pc_quorum(pc, &pc->basis_members);
    if (majority == PC_QUORUM) return true;
    if (pc->is_closing) return false;
    if (majority == PC_SPLIT_BRAIN && pc->options.ignore_sb) {
        xb_log_warning(pc->log,
                       "Ignoring possible split-brain (allowed by configuration) from view: %s; this "
                       "half goes on and may diverge from the other half",
                       VIEW_ID_TEXT(&pc->current));
        return true;
    }
    if (pc->options.ignore_quorum) {
        xb_log_warning(pc->log, "Ignoring lack of quorum (pc.ignore_quorum): this component goes on and may diverge "
                                "from the others");
        return true;
    }
    return false;
}

/* Section 6.4.2 */
static void transitional_view(struct pc *pc, const struct evs_view *view, int64_t now_ns) {
    if (pc->state == PC_TRANS || !xb_uuid_equal(&view->id.uuid, &pc->current.uuid) || view->id.seq != pc->current.seq) {
        pc_fail(pc, false, "transitional view %s does not end %s in state %s", VIEW_ID_TEXT(&view->id),
                VIEW_ID_TEXT(&pc->current), pc_state_name(pc->state));
        return;
    }
    if (!take_view(pc, view)) return;
    bool is_kept = has_claim(pc);
    pc_shift(pc, PC_TRANS);
    if (is_kept) return;
    pc_mark_non_prim(pc);
    pc_deliver_view(pc, VIEW_NON_PRIM, false, now_ns);
}

/* Section 6.4.3 */
static void regular_view(struct pc *pc, const struct evs_view *view, int64_t now_ns) {
    if (pc->state != PC_TRANS || view->id.seq <= pc->current.seq) {
        pc_fail(pc, false, "regular view %s follows %s in state %s", VIEW_ID_TEXT(&view->id),
                VIEW_ID_TEXT(&pc->current), pc_state_name(pc->state));
        return;
    }
    if (!take_view(pc, view)) return;
    pc_collected_clear(pc);
    pc_shift(pc, PC_STATES_EXCH);
    pc_send_state(pc, now_ns);
}

/* Section 6.4.4 */
static void empty_view(struct pc *pc, int64_t now_ns) {
    pc->basis = pc_never_prim;
    pc->basis_members.count = pc->members.count = pc->left.count = 0;
    pc->pending = PC_PENDING_NONE;
    pc->retry_at_ns = XB_NEVER;
    pc_self(pc)->is_prim = false;
    pc_shift(pc, PC_CLOSED);
    pc->up.save(pc->up.ctx, NULL);
    struct pc_view view = {.id = pc_never_prim};
    xb_log_info(pc->log, "PC: left the group");
    pc->up.view(pc->up.ctx, &view, now_ns);
    pc->down.stable_view(pc->down.ctx, &view, now_ns);
}

void pc_evs_view(struct pc *pc, const struct evs_view *view, int64_t now_ns) {
    if (pc->state == PC_CLOSED) return;
    if (view->member_count == 0)
        empty_view(pc, now_ns);
    else if (view->id.type == VIEW_TRANS && !pc->has_current)
        first_transitional_view(pc, view);
    else if (view->id.type == VIEW_TRANS)
        transitional_view(pc, view, now_ns);
    else if (view->id.type == VIEW_REG)
        regular_view(pc, view, now_ns);
    else
        pc_fail(pc, false, "EVS view %s is neither regular nor transitional", VIEW_ID_TEXT(&pc->current));
}
