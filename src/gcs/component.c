/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Views of PC: who is in the group, and what becomes of the state at a change (spec 05 section 5.2). */
#include "gcs/core.h"

static void free_member(struct gcs *gcs, struct gcs_member *member) {
    gcs_collector_reset(&member->collector, &gcs->up);
    free(member->message);
}

void gcs_free_members(struct gcs *gcs, struct gcs_member *members, size_t count) {
    for (size_t i = 0; i < count; i++) free_member(gcs, &members[i]);
    free(members);
}

/* Step 1. */
void gcs_self_leave(struct gcs *gcs, int code) {
    gcs_become_non_primary(gcs);
    gcs->is_closing = gcs->is_closed = true;
    gcs_free_members(gcs, gcs->members, gcs->member_count);
    gcs->members = NULL;
    gcs->member_count = 0;
    gcs->own_index = -1;
    gcs_sender_fail(gcs, -ECONNABORTED);
    gcs_vote_end(gcs, -ECONNABORTED);
    gcs_causal_fail(gcs, -ECONNABORTED);
    if (code) {
        struct gcs_action action = {.type = GCS_ERROR, .seqno = -1, .code = code < 0 ? code : -code};
        gcs_deliver(gcs, &action);
    } else {
        gcs_deliver_configuration(gcs, NULL);
    }
}

void gcs_become_non_primary(struct gcs *gcs) {
    struct gcs_member *self = gcs_self(gcs);
    if (self) self->state = GCS_NODE_NON_PRIM;
    gcs->group_state = GCS_NON_PRIMARY;
    gcs->conf_id = -1;
    gcs->is_state_uuid_due = gcs->is_state_due = false;
}

/* A node alone that nobody came before makes a group, of its own history if it has one. */
static void found_group(struct gcs *gcs, struct gcs_member *self, int64_t calendar_ns) {
    gcs->primary_uuid = xb_uuid_new(calendar_ns, gcs->random);
    gcs->primary_seqno = 0;
    gcs->joined_count = 1;
    if (gcs->counter < 0) {
        gcs->counter = 0;
        gcs->group_uuid = xb_uuid_new(calendar_ns, gcs->random);
        xb_log_info(gcs->log, "Starting new group from scratch: %s", XB_UUID_TEXT(&gcs->group_uuid));
    }
    gcs->cut.last_applied = gcs->counter;
    self->state = GCS_NODE_JOINED;
    self->last_applied = gcs->counter;
}

/* Step 4: the members of the view; who was a member before keeps what is known of it. */
static struct gcs_member *carry_over(struct gcs *gcs, const struct pc_view *view, int *own_index) {
    struct gcs_member *members = calloc(view->member_count, sizeof(*members));
    *own_index = -1;
    for (size_t i = 0; members && i < view->member_count; i++) {
        const struct xb_uuid *uuid = &view->members[i].uuid;
        members[i].vote_seqno = -1;
        for (size_t k = 0; k < gcs->member_count; k++) {
            if (!xb_uuid_equal(&gcs->members[k].uuid, uuid)) continue;
            members[i] = gcs->members[k];
            gcs->members[k] = (struct gcs_member){0};
            break;
        }
        members[i].uuid = *uuid;
        members[i].segment = view->members[i].segment;
        if (xb_uuid_equal(uuid, &gcs->uuid)) *own_index = (int)i;
    }
    return members;
}

static int install_members(struct gcs *gcs, const struct pc_view *view) {
    int own_index;
    bool is_possible = view->member_count <= PC_MEMBERS_MAX;
    struct gcs_member *members = is_possible ? carry_over(gcs, view, &own_index) : NULL;
    if (!members) return is_possible ? -ENOMEM : -EPROTO;
    gcs_free_members(gcs, gcs->members, gcs->member_count);
    gcs->members = members;
    gcs->member_count = view->member_count;
    gcs->own_index = own_index;
    for (size_t i = 0; i < gcs->member_count; i++) { /* nobody counts what was begun before this view */
        gcs_collector_reset(&members[i].collector, &gcs->up);
        members[i].has_answered = false;
    }
    return own_index < 0 ? -EPROTO : 0;
}

/* All members do this, so all that have state are equal candidates: the highest seqno counts, who restarted may bring
 * it, and the flaw of section 7.1 step 2 has no effect. The view's number is higher than any of theirs. A stateless
 * member has counted write sets that it cannot give to anybody: it begins anew. */
static void recollect(struct gcs *gcs, const struct pc_view *view) {
    if (gcs->options.stateless) {
        gcs->primary_state = GCS_NODE_NON_PRIM;
        gcs->group_uuid = gcs->primary_uuid = xb_uuid_nil;
        gcs->counter = gcs->primary_seqno = -1;
        gcs->joined_count = 0;
    } else if (gcs->counter >= 0) {
        if (gcs->primary_state < GCS_NODE_DONOR) gcs->primary_state = GCS_NODE_JOINED;
        gcs->primary_seqno = view->id.seq;
    }
}

static void set_bootstrap(struct gcs *gcs, const struct pc_view *view, bool had_members, int64_t calendar_ns) {
    struct gcs_member *self = gcs_self(gcs);
    if (gcs->primary_state == GCS_NODE_PRIM || gcs->primary_state == GCS_NODE_JOINER) {
        self->is_bootstrap = false; /* has counted what it received, but has not got the state */
        return;
    }
    if (view->is_recollection) recollect(gcs, view);
    if (view->is_bootstrap && !xb_uuid_is_nil(&gcs->group_uuid))
        self->is_bootstrap = true;
    else if (view->member_count == 1 && (!had_members || view->is_bootstrap))
        found_group(gcs, self, calendar_ns);
    else
        self->is_bootstrap = view->is_bootstrap;
}

static void begin_exchange(struct gcs *gcs, int64_t calendar_ns) {
    gcs->group_state = GCS_WAIT_STATE_UUID;
    gcs->state_uuid = xb_uuid_nil;
    gcs->is_state_due = false;
    gcs->is_state_uuid_due = gcs->own_index == 0;
    if (gcs->is_state_uuid_due) gcs->state_uuid = xb_uuid_new(calendar_ns, gcs->random);
    gcs->exchange_since_ns = gcs->now_ns;
    gcs->exchange_watch_ns = gcs->now_ns + GCS_EXCHANGE_WATCH_NS;
    gcs_sender_restart(gcs);
    gcs_causal_restart(gcs);
}

void gcs_component(struct gcs *gcs, const struct pc_view *view, int64_t calendar_ns) {
    bool is_primary = view->id.type == VIEW_PRIM, was_primary = gcs->group_state == GCS_PRIMARY;
    bool had_members = gcs->member_count > 0;
    if (was_primary) gcs->primary_state = gcs_own_state(gcs);
    int result = install_members(gcs, view);
    if (result) {
        gcs_halt(gcs, result,
                 result == -ENOMEM ? "no memory for a view of %zu members"
                                   : "view of %zu members without this node, or too large",
                 view->member_count);
        return;
    }
    if (!is_primary) {
        gcs_become_non_primary(gcs);
        gcs_sender_fail(gcs, -ENOTCONN);
        gcs_causal_fail(gcs, -EPERM);
        gcs_deliver_configuration(gcs, NULL);
        return;
    }
    gcs->are_all_ours = view->are_all_ours;
    if (!was_primary) set_bootstrap(gcs, view, had_members, calendar_ns);
    begin_exchange(gcs, calendar_ns);
}
