/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Changes of state and the views that they bring (spec 03 sections 9.1, 9.8, 9.10). */
#include "evs/internal.h"

#include <stdlib.h>

/* Lists for one upward call; a view has at most EVS_KNOWN_MAX of each. */
struct view_lists {
    struct evs_view view;
    struct xb_uuid members[EVS_KNOWN_MAX], joined[EVS_KNOWN_MAX], left[EVS_KNOWN_MAX], partitioned[EVS_KNOWN_MAX];
};

static void point_at_lists(struct view_lists *lists) {
    lists->view.members = lists->members;
    lists->view.joined = lists->joined;
    lists->view.left = lists->left;
    lists->view.partitioned = lists->partitioned;
}

static bool is_listed(const struct xb_uuid *list, size_t count, const struct xb_uuid *uuid) {
    for (size_t i = 0; i < count; i++)
        if (xb_uuid_equal(&list[i], uuid)) return true;
    return false;
}

void evs_set_state(struct evs *evs, enum evs_state state) {
    if (state == evs->state) return;
    evs_debug(evs, EVS_DEBUG_STATE, "evs: %s %s -> %s in %s", XB_UUID_SHORT(&evs->uuid), evs_state_name(evs->state),
              evs_state_name(state), VIEW_ID_TEXT(&evs->view));
    if (evs->options.info_log_mask & EVS_INFO_STATE)
        xb_log_info(evs->log, "evs: state %s -> %s", evs_state_name(evs->state), evs_state_name(state));
    evs->state = state;
}

void evs_arm_retrans(struct evs *evs) {
    if (evs->state != EVS_OPERATIONAL) {
        evs->retrans_ns = evs->now_ns + (evs->state == EVS_LEAVING ? evs->options.keepalive_period_ns
                                                                   : evs->options.join_retrans_period_ns);
        return;
    }
    /* Whoever sends first makes all others answer, and so need no keepalive of their own: spread it (section 18.6). */
    int64_t spread_ns = evs->options.keepalive_period_ns / 5;
    evs->retrans_ns = evs->sent_ns + evs->options.keepalive_period_ns -
                      (int64_t)xb_random_below(evs->random, (uint64_t)spread_ns + 1);
}

void evs_shift_gather(struct evs *evs, bool is_join_wanted) {
    enum evs_state old = evs->state;
    if (old == EVS_CLOSED) return; /* given up meanwhile */
    evs_set_state(evs, EVS_GATHER);
    for (size_t i = 0; i < evs->known_count; i++) evs->known[i]->is_committed = evs->known[i]->is_installed = false;
    free(evs->install);
    evs->install = NULL;
    evs->gap_repeat_ns = XB_NEVER;
    /* What was accepted in a view may be sent in no other. */
    if (old == EVS_OPERATIONAL && evs_flush_queue(evs)) {
        evs_fatal(evs, -ENOMEM, "no memory to send what is queued before the view changes");
        return;
    }
    if (is_join_wanted) evs->is_join_wanted = true;
    evs->unsettled++;
    if (old != EVS_OPERATIONAL && old != EVS_JOINING) return;
    evs->strangers_ns = XB_NEVER;
    free(evs->join_sent);
    evs->join_sent = NULL;
    evs->probe_ns = evs->announce_ns = evs->retrans_ns = XB_NEVER; /* the JOIN has a timer of its own: gather.c */
    evs->install_timer_ns = evs->now_ns + evs->options.install_timeout_ns;
    if (old != EVS_JOINING) return;
    evs->check_ns = evs->now_ns + evs->options.inactive_check_period_ns;
    evs->last_check_ns = evs->now_ns;
}

void evs_shift_install(struct evs *evs) {
    evs_set_state(evs, EVS_INSTALL);
    evs->gap_repeat_wait_ns = EVS_GAP_REPEAT_NS;
    evs->gap_repeat_ns = evs->now_ns + EVS_GAP_REPEAT_NS;
    evs_gap_send_install(evs);
    evs->me->is_installed = true;
    for (size_t i = 0; i < evs->known_count; i++) { /* install gaps that came early (section 18.2) */
        struct evs_node *n = evs->known[i];
        if (view_id_equal(&n->early_install_view, &evs->install->install_view)) n->is_installed = true;
    }
}

/* Section 9.8 step 2: who comes along from the old view. */
static void pass_trans_view(struct evs *evs) {
    struct view_lists lists = {.view = {.id = evs->view, .version = evs->view_version}};
    struct evs_view *v = &lists.view;
    point_at_lists(&lists);
    v->id.type = VIEW_TRANS;
    for (size_t i = 0; i < evs->member_count; i++) {
        const struct xb_uuid *uuid = &evs->members[i];
        const struct evs_entry *e = evs_report_find(evs->install, uuid);
        bool is_from_view = e && evs_is_current(evs, &e->view);
        if (is_from_view && e->is_operational)
            lists.members[v->member_count++] = *uuid;
        else if (is_from_view && evs_entry_is_leaving(e))
            lists.left[v->left_count++] = *uuid;
        else
            lists.partitioned[v->partitioned_count++] = *uuid;
    }
    evs_up_view(evs, v);
}

/* Step 6: the lists of the new view, while the old one is still in place. */
static void list_new_view(const struct evs *evs, const struct evs_report *im, struct view_lists *lists) {
    struct evs_view *v = &lists->view;
    point_at_lists(lists);
    v->id = im->install_view;
    v->version = im->h.version;
    for (uint32_t i = 0; i < im->count; i++) {
        const struct evs_entry *e = &im->entries[i];
        if (e->is_operational) {
            lists->members[v->member_count++] = e->uuid;
            if (!is_listed(evs->members, evs->member_count, &e->uuid)) lists->joined[v->joined_count++] = e->uuid;
        } else if (evs_entry_is_leaving(e) && v->left_count < EVS_KNOWN_MAX) {
            lists->left[v->left_count++] = e->uuid;
        }
    }
    for (size_t i = 0; i < evs->member_count; i++) {
        const struct xb_uuid *uuid = &evs->members[i];
        if (!is_listed(lists->members, v->member_count, uuid) && !is_listed(lists->left, v->left_count, uuid))
            lists->partitioned[v->partitioned_count++] = *uuid;
    }
}

/* Steps 5 and 7: the new view takes the place of the old one. -> 0 or -ENOMEM. */
static int enter_view(struct evs *evs, const struct evs_view *view) {
    if (evs_map_reset(&evs->map, view->member_count)) return -ENOMEM;
    for (size_t i = evs->known_count; i-- > 0;) {
        struct evs_node *n = evs->known[i];
        n->rank = -1;
        evs_node_set_join(n, NULL);
        n->early_commit_view = n->early_install_view = view_id_nil;
        n->is_committed = n->is_installed = false;
        if (!is_listed(view->members, view->member_count, &n->uuid)) evs_node_remove(evs, i);
    }
    evs->view = view->id;
    evs->view_version = view->version;
    evs->member_count = view->member_count;
    for (size_t i = 0; i < view->member_count; i++) {
        evs->members[i] = view->members[i];
        evs->by_rank[i] = evs_node_add(evs, &view->members[i]);
        if (!evs->by_rank[i]) return -ENOMEM;
        evs->by_rank[i]->rank = (int)i;
    }
    evs->own_rank = (size_t)evs->me->rank;
    evs->own_last = evs->acked = evs->complete_to = -1;
    evs->job_count = 0;
    return 0;
}

static void reset_timers(struct evs *evs) {
    evs->install_timer_ns = evs->gap_repeat_ns = evs->join_due_ns = XB_NEVER;
    evs->probe_ns = evs->ask_ns = evs->job_ns = XB_NEVER;
    evs->check_ns = evs->now_ns + evs->options.inactive_check_period_ns;
    evs->last_check_ns = evs->sent_ns = evs->lag_since_ns = evs->now_ns;
    evs->is_lag_told = false;
    evs_arm_retrans(evs);
    evs->attempt = 1;
    evs->install_timeouts = 0;
}

static void log_view(const struct evs *evs, const struct evs_view *v) {
    if (evs->view_version != v->version)
        xb_log_info(evs->log, "evs: protocol version of the group %u -> %u", evs->view_version, v->version);
    if (evs->options.info_log_mask & EVS_INFO_VIEWS || evs->options.debug_log_mask & EVS_DEBUG_STATE)
        xb_log_debug(evs->log, "evs: %s installs %s: %zu members, %zu joined, %zu left, %zu partitioned",
                     XB_UUID_SHORT(&evs->uuid), VIEW_ID_TEXT(&v->id), v->member_count, v->joined_count, v->left_count,
                     v->partitioned_count);
}

/* A member left or was given up while the view was being installed: on to the next view. */
static bool has_lost_member(const struct evs *evs) {
    for (size_t i = 0; i < evs->known_count; i++)
        if (!evs->known[i]->is_operational) return true;
    return false;
}

void evs_shift_operational(struct evs *evs) {
    evs_deliver(evs);
    pass_trans_view(evs);
    evs_deliver_trans(evs);
    evs_causal_release(evs, INT64_MAX);
    evs_book_add(&evs->met_views, &evs->view, evs->now_ns);
    evs_views_are_over(evs);

    struct view_lists lists = {.view = {.version = 0}};
    list_new_view(evs, evs->install, &lists);
    log_view(evs, &lists.view);
    free(evs->install);
    evs->install = NULL;
    if (enter_view(evs, &lists.view)) {
        evs_fatal(evs, -ENOMEM, "no memory to install a view of %zu members", lists.view.member_count);
        return;
    }
    evs_set_state(evs, EVS_OPERATIONAL);
    reset_timers(evs);
    evs_reset_stats(evs);
    evs_up_view(evs, &lists.view);
    evs_gap_send_ack(evs); /* helps slower nodes as an install gap (step 8) */
    evs->unsettled++;
    if (evs->is_leave_wanted)
        evs_leave_now(evs);
    else if (has_lost_member(evs))
        evs_shift_gather(evs, true);
}

void evs_shift_leaving(struct evs *evs) {
    evs_set_state(evs, EVS_LEAVING);
    evs->announce_ns = XB_NEVER;
    evs->probe_ns = XB_NEVER;
    evs->check_ns = evs->now_ns + evs->options.inactive_check_period_ns;
    evs->last_check_ns = evs->now_ns;
    evs_arm_retrans(evs);
    if (evs_flush_queue(evs))
        evs_fatal(evs, -ENOMEM, "no memory to send what is queued before leaving");
    else
        evs_leave_send(evs);
}

void evs_shift_closed(struct evs *evs) {
    if (evs->state == EVS_CLOSED) return;
    evs_set_state(evs, EVS_LEAVING); /* nothing is accepted from above any more */
    free(evs->install);
    evs->install = NULL;
    evs_deliver(evs);
    struct view_lists lists = {.view = {.id = evs->view, .version = evs->view_version, .member_count = 1}};
    point_at_lists(&lists);
    lists.view.id.type = VIEW_TRANS;
    lists.members[0] = evs->uuid;
    for (size_t i = 0; i < evs->member_count; i++)
        if (i != evs->own_rank) lists.partitioned[lists.view.partitioned_count++] = evs->members[i];
    evs_up_view(evs, &lists.view);
    evs_deliver_trans(evs);
    evs_causal_release(evs, INT64_MAX);
    evs_set_state(evs, EVS_CLOSED);
    struct evs_view nothing = {.id = view_id_nil,
                               .members = lists.members,
                               .joined = lists.joined,
                               .left = lists.left,
                               .partitioned = lists.partitioned};
    evs_up_view(evs, &nothing);
}
