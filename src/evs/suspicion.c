/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Failure detection (spec 03 section 10.2) and the transport's hint (section 18.8).
 *
 * The hint says that the peer's host refuses connections: the process is gone. It becomes a suspicion after
 * EVS_REFUSED_NS without any message of the peer, or as soon as another member suspects it too. Such a suspicion alone
 * excludes no member: the majority of the view must share it (majority_rule), so never with two members.
 */
#include "evs/internal.h"

bool evs_is_gone(const struct evs *evs, const struct evs_node *n) {
    return n->is_refused && evs->now_ns >= n->refused_ripe_ns && n->seen_ns <= n->refused_ns + EVS_STRAGGLER_NS &&
           (n->rank < 0 || evs->member_count > 2);
}

void evs_peer_lost(struct evs *evs, const struct xb_uuid *peer, bool is_refused, int64_t now_ns) {
    evs->now_ns = now_ns;
    struct evs_node *n = evs_node_find(evs, peer);
    if (!is_refused || !n || n == evs->me || n->is_refused) return;
    n->is_refused = true;
    n->refused_ns = now_ns;
    n->refused_ripe_ns = now_ns + EVS_REFUSED_NS;
    evs->refused_due_ns = xb_earlier(evs->refused_due_ns, n->refused_ripe_ns);
}

void evs_check_refused(struct evs *evs) {
    bool is_found = false;
    evs->refused_due_ns = XB_NEVER;
    for (size_t i = 0; i < evs->known_count; i++) {
        struct evs_node *n = evs->known[i];
        if (!n->is_refused) continue;
        if (n->seen_ns > n->refused_ns + EVS_STRAGGLER_NS) n->is_refused = false; /* it lives */
        if (n->is_refused && evs->now_ns < n->refused_ripe_ns)
            evs->refused_due_ns = xb_earlier(evs->refused_due_ns, n->refused_ripe_ns);
        if (!evs_is_gone(evs, n) || n->is_suspected || n == evs->me) continue;
        xb_log_info(evs->log, "evs: suspecting %s: its host refuses connections", XB_UUID_TEXT(&n->uuid));
        is_found = n->is_suspected = true;
        if (n->rank < 0) evs_node_exclude(evs, n); /* no member: it can come again */
    }
    if (!is_found) return;
    evs->unsettled++;
    if (evs->state == EVS_OPERATIONAL)
        evs_shift_gather(evs, true);
    else if (evs->install)
        evs_install_advance(evs); /* it is not waited for any more */
}

/* Sets suspected and inactive by time. -> how many operational nodes are suspected by time. */
static size_t judge_by_time(struct evs *evs, bool *is_found) {
    size_t suspected = 0;
    for (size_t i = 0; i < evs->known_count; i++) {
        struct evs_node *q = evs->known[i];
        if (q == evs->me) continue;
        bool is_late = q->progress_ns + evs->options.suspect_timeout_ns < evs->now_ns;
        if (is_late && !q->is_suspected)
            xb_log_info(evs->log, "evs: suspecting %s: no progress for %.1f s", XB_UUID_TEXT(&q->uuid),
                        (double)(evs->now_ns - q->progress_ns) / 1e9);
        q->is_suspected = is_late || evs_is_gone(evs, q);
        q->is_inactive = q->progress_ns + evs->options.inactive_timeout_ns < evs->now_ns;
        if (q->is_inactive) evs_node_exclude(evs, q);
        if (is_late && q->is_operational) {
            suspected++;
            /* A node of another view, too, that does not answer: it can be met again after the next view. */
            if (!q->join || q->rank < 0) evs_node_exclude(evs, q);
        }
        if (q->is_suspected || q->is_inactive) *is_found = true;
    }
    return suspected;
}

static bool is_alone(const struct evs *evs) {
    for (size_t i = 0; i < evs->known_count; i++)
        if (evs->known[i] != evs->me && evs->known[i]->is_operational) return false;
    return true;
}

void evs_check_inactivity(struct evs *evs) {
    bool was_stopped = evs->now_ns - evs->last_check_ns > 3 * evs->options.inactive_check_period_ns;
    evs->last_check_ns = evs->now_ns;
    evs->me->progress_ns = evs->now_ns;
    if (was_stopped) return; /* this process did not run: do not blame others */
    bool is_found = false;
    size_t suspected = judge_by_time(evs, &is_found);
    if (evs->options.auto_evict) evs_delayed_list_check(evs);
    if (evs->known_count > 2 && suspected + 1 == evs->known_count) /* I am the isolated one */
        for (size_t i = 0; i < evs->known_count; i++) evs_node_exclude(evs, evs->known[i]);
    if (is_found) evs->unsettled++;
    if (is_found && evs->state == EVS_OPERATIONAL)
        evs_shift_gather(evs, true);
    else if (is_found && evs->state == EVS_LEAVING && is_alone(evs))
        evs_shift_closed(evs);
    else if (is_found && evs->install)
        evs_install_advance(evs);
    evs_book_forget(&evs->old_views, evs->now_ns - evs->options.view_forget_timeout_ns);
    evs_evict_forget(evs);
}
