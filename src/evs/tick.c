/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Timers (spec 03 sections 9.2, 9.10, 10.3, 10.6, 10.7, 18.2, 18.6, 18.13). */
#include "evs/internal.h"

static bool is_due(const struct evs *evs, int64_t at_ns) {
    return at_ns <= evs->now_ns;
}

/* Section 9.2; the retransmission timer of JOINING (10.7) ends the announcements of a node that finds nobody. */
static void announce(struct evs *evs) {
    if (is_due(evs, evs->announce_end_ns) || is_due(evs, evs->retrans_ns)) {
        evs_shift_gather(evs, true);
        return;
    }
    evs->announce_ns = evs->now_ns + EVS_ANNOUNCE_PERIOD_NS;
    evs_announce(evs);
}

/* Section 10.3 with 18.6: fillers that answer other members' messages serve as keepalives too. */
static void keep_alive(struct evs *evs) {
    bool is_acknowledged = evs->map.safe >= evs->map.max_hs;
    if (is_acknowledged && evs->sent_ns + evs->options.keepalive_period_ns * 4 / 5 > evs->now_ns) {
        evs_arm_retrans(evs);
        if (!is_due(evs, evs->retrans_ns)) return;
    }
    evs_send_filler(evs);
    evs_arm_retrans(evs);
}

static void retransmit(struct evs *evs) {
    if (evs->state == EVS_OPERATIONAL) {
        keep_alive(evs);
    } else if (evs->state == EVS_LEAVING) {
        evs_leave_send(evs);
        evs_push_own(evs);
        evs_arm_retrans(evs);
    } else {
        evs->retrans_ns = XB_NEVER;
    }
}

/* Sections 10.7 and 18.2: what belongs to a pending INSTALL is repeated after 20, 80, 260 ms, then every period. */
static void repeat_gaps(struct evs *evs) {
    if (!evs->install) {
        evs->gap_repeat_ns = XB_NEVER;
        return;
    }
    evs->gap_repeat_wait_ns *= 3;
    if (evs->gap_repeat_wait_ns > evs->options.join_retrans_period_ns)
        evs->gap_repeat_wait_ns = evs->options.join_retrans_period_ns;
    evs->gap_repeat_ns = evs->now_ns + evs->gap_repeat_wait_ns;
    if (evs->state == EVS_GATHER) evs_install_repeat(evs);
    evs_gap_send_commit(evs);
    if (evs->state == EVS_INSTALL) evs_gap_send_install(evs);
    evs_install_advance(evs); /* who is out by now is not waited for */
}

/* Section 10.6. */
static void on_install_timer(struct evs *evs) {
    int32_t count = evs->install_timeouts, limit = evs->options.max_install_timeouts;
    xb_log_warning(evs->log, "evs: no agreement on the members within %.1f s (%d of %d), excluding who disagrees",
                   (double)evs->options.install_timeout_ns / 1e9, count + 1, limit + 1);
    evs->install_timer_ns = evs->now_ns + evs->options.install_timeout_ns;
    if (count > limit) {
        evs_fatal(evs, -ECONNABORTED, "no view could be agreed upon within %d install timeouts", count);
        return;
    }
    for (size_t i = 0; i < evs->known_count; i++) {
        struct evs_node *n = evs->known[i];
        if (count == limit || !n->join || !evs_is_consistent(evs, n->join) || (evs->install && !n->is_committed))
            evs_node_exclude(evs, n);
    }
    if (count == limit)
        evs->isolated_until_ns = evs->now_ns + evs->options.suspect_timeout_ns + evs->options.inactive_timeout_ns;
    evs->install_timeouts++;
    evs_shift_gather(evs, true);
}

/* Section 18.13: the further apart the members are, the longer safe may stand still without anything being lost. */
static int64_t probe_delay_ns(const struct evs *evs) {
    int64_t usual_ns = (int64_t)(3 * evs->latency_smooth_ns);
    return usual_ns > EVS_PROBE_NS ? usual_ns : EVS_PROBE_NS;
}

static void probe(struct evs *evs) {
    if (evs->state != EVS_OPERATIONAL || evs->map.safe >= evs->map.max_hs) {
        evs->probe_ns = XB_NEVER;
        return;
    }
    if (evs->probe_ns == XB_NEVER || evs->probe_safe != evs->map.safe) {
        evs->probe_safe = evs->map.safe;
        evs->probe_wait_ns = probe_delay_ns(evs);
        evs->probe_ns = evs->now_ns + evs->probe_wait_ns;
    } else if (is_due(evs, evs->probe_ns)) {
        evs_send_filler(evs);
        evs->probe_wait_ns *= 3;
        if (evs->probe_wait_ns > evs->options.keepalive_period_ns)
            evs->probe_wait_ns = evs->options.keepalive_period_ns;
        evs->probe_ns = evs->now_ns + evs->probe_wait_ns;
    }
}

/* The lowest seq that has come from some other member. While one is silent all acknowledge no more than that, so their
 * acknowledgements do not tell who it is. */
static int64_t least_heard(const struct evs *evs) {
    int64_t least = evs->map.max_hs;
    for (size_t i = 0; i < evs->member_count; i++)
        if (i != evs->own_rank && evs->map.ranks[i].hs < least) least = evs->map.ranks[i].hs;
    return least;
}

/* Section 18.10: says once who keeps messages from being delivered: who is silent, or, if nobody is, who does not
 * acknowledge. */
static void report_lag(struct evs *evs) {
    if (evs->state != EVS_OPERATIONAL || evs->map.safe >= evs->map.max_hs || evs->probe_safe != evs->map.safe) {
        evs->lag_since_ns = evs->now_ns;
        evs->is_lag_told = false;
        return;
    }
    if (evs->is_lag_told || evs->now_ns < evs->lag_since_ns + EVS_LAG_REPORT_NS) return;
    evs->is_lag_told = true;
    int64_t least = least_heard(evs);
    for (size_t i = 0; i < evs->member_count; i++) {
        const struct evs_rank *rank = &evs->map.ranks[i];
        bool is_blocking = least < evs->map.max_hs ? rank->hs == least : rank->safe == evs->map.safe;
        if (i == evs->own_rank || !is_blocking) continue;
        xb_log_info(evs->log, "evs: delivery waits for %s, which has acknowledged up to %lld of %lld",
                    XB_UUID_TEXT(&evs->members[i]), (long long)rank->safe, (long long)evs->map.max_hs);
    }
}

static void report_stats(struct evs *evs) {
    evs->stats_ns = evs->now_ns + evs->options.stats_report_period_ns;
    if (evs->options.info_log_mask & EVS_INFO_STATS)
        xb_log_info(evs->log, "evs: sent user %lld gap %lld join %lld, retransmitted %lld, recovered %lld, safe %lld",
                    (long long)evs->stats.sent_user, (long long)evs->stats.sent_gap, (long long)evs->stats.sent_join,
                    (long long)evs->stats.retransmitted, (long long)evs->stats.recovered,
                    (long long)evs->stats.delivered_safe);
    evs_reset_stats(evs);
}

/* If the process did not run for a while, what was received meanwhile is looked at before time is taken for silence. */
static void notice_stop(struct evs *evs) {
    bool was_stopped = evs->now_ns - evs->last_tick_ns > 3 * evs->options.inactive_check_period_ns;
    evs->last_tick_ns = evs->now_ns;
    if (was_stopped) evs->lag_since_ns = evs->now_ns;
    if (was_stopped && evs->install_timer_ns != XB_NEVER)
        evs->install_timer_ns = evs->now_ns + evs->options.install_timeout_ns;
}

/* A timer of what is done in this state. */
static bool fires(const struct evs *evs, int64_t at_ns, const char *name) {
    if (!is_due(evs, at_ns)) return false;
    evs_debug(evs, EVS_DEBUG_TIMERS, "evs: %s in %s: timer of %s", XB_UUID_SHORT(&evs->uuid),
              evs_state_name(evs->state), name);
    return true;
}

static void run_timers(struct evs *evs) {
    notice_stop(evs);
    evs_evict_apply(evs);
    if (is_due(evs, evs->isolated_until_ns)) evs->isolated_until_ns = 0;
    if (evs->is_leave_wanted && (evs->state == EVS_OPERATIONAL || evs->state == EVS_JOINING)) evs_leave_now(evs);
    if (fires(evs, evs->close_ns, "the end")) evs_shift_closed(evs);
    if (evs->state == EVS_JOINING && fires(evs, evs->announce_ns, "the announcement")) announce(evs);
    if (fires(evs, evs->refused_due_ns, "refused connections")) evs_check_refused(evs);
    if (evs->state != EVS_JOINING && fires(evs, evs->check_ns, "inactivity")) {
        evs->check_ns = evs->now_ns + evs->options.inactive_check_period_ns;
        evs_check_inactivity(evs);
    }
    if (fires(evs, evs->retrans_ns, "repetition")) retransmit(evs);
    if ((evs->state == EVS_GATHER || evs->state == EVS_INSTALL) && fires(evs, evs->install_timer_ns, "the install"))
        on_install_timer(evs);
    if (fires(evs, evs->gap_repeat_ns, "gaps")) repeat_gaps(evs);
    if (fires(evs, evs->ask_ns, "requests")) {
        evs->ask_ns = XB_NEVER;
        evs_ask_missing(evs);
    }
    if (fires(evs, evs->job_ns, "retransmission")) evs_serve_jobs(evs);
    if (fires(evs, evs->stats_ns, "statistics")) report_stats(evs);
}

static int64_t next_deadline(const struct evs *evs) {
    if (evs->state == EVS_CLOSED) return XB_NEVER;
    /* More to complete, or something was sent or evicted from inside an upward call. */
    bool may_complete = !evs->install && (evs->state == EVS_OPERATIONAL || evs->state == EVS_GATHER);
    if (evs->unsettled || (may_complete && !evs->queue.count && evs->own_last < evs->complete_to)) return evs->now_ns;
    int64_t next_ns = xb_earlier(evs->check_ns, evs->retrans_ns);
    next_ns = xb_earlier(next_ns, evs->close_ns);
    next_ns = xb_earlier(next_ns, evs->refused_due_ns);
    next_ns = xb_earlier(next_ns, evs->announce_ns);
    next_ns = xb_earlier(next_ns, evs->gap_repeat_ns);
    next_ns = xb_earlier(next_ns, evs->ask_ns);
    next_ns = xb_earlier(next_ns, evs->job_ns);
    next_ns = xb_earlier(next_ns, evs->probe_ns);
    next_ns = xb_earlier(next_ns, evs->stats_ns);
    if (evs->state != EVS_GATHER && evs->state != EVS_INSTALL) return next_ns;
    next_ns = xb_earlier(next_ns, evs->install_timer_ns);
    if (evs->install || evs->state == EVS_INSTALL) return next_ns;
    return xb_earlier(next_ns, evs->join_due_ns != XB_NEVER ? evs->join_due_ns : evs->join_repeat_ns);
}

int64_t evs_tick(struct evs *evs, int64_t now_ns) {
    evs->now_ns = now_ns;
    if (evs->state == EVS_CLOSED) return XB_NEVER;
    run_timers(evs);
    if (evs->state == EVS_CLOSED) return XB_NEVER;
    evs_settle(evs);
    probe(evs);
    report_lag(evs);
    return next_deadline(evs);
}
