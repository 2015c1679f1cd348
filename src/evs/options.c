/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The evs.* options: defaults, bounds at start, changes at run time (spec 03 section 12). */
#include "evs/internal.h"

void evs_options_default(struct evs_options *options) {
    *options = (struct evs_options){
        .version = 1,
        .suspect_timeout_ns = 5 * XB_SECOND,
        .inactive_timeout_ns = 15 * XB_SECOND,
        .inactive_check_period_ns = XB_SECOND / 2,
        .keepalive_period_ns = XB_SECOND,
        .join_retrans_period_ns = XB_SECOND,
        .install_timeout_ns = 7500 * XB_MS,
        .causal_keepalive_period_ns = XB_SECOND,
        .view_forget_timeout_ns = 24 * 3600 * XB_SECOND,
        .stats_report_period_ns = 60 * XB_SECOND,
        .delay_margin_ns = XB_SECOND,
        .delayed_keep_period_ns = 30 * XB_SECOND,
        .max_install_timeouts = 3,
        .send_window = 4,
        .user_send_window = 2,
        .use_aggregate = true,
        .debug_log_mask = 0x1,
    };
}

/* What holds at start and at run time alike. */
static bool is_in_range(const struct evs_options *o) {
    return o->version <= EVS_VERSION_MAX && o->suspect_timeout_ns >= 100 * XB_MS &&
           o->inactive_timeout_ns >= 100 * XB_MS && o->keepalive_period_ns >= 100 * XB_MS &&
           o->join_retrans_period_ns >= 100 * XB_MS && o->install_timeout_ns <= o->inactive_timeout_ns &&
           o->max_install_timeouts >= 0 && o->user_send_window >= 1 && o->send_window >= o->user_send_window &&
           o->causal_keepalive_period_ns >= 0 && o->stats_report_period_ns >= XB_SECOND;
}

int evs_options_check(const struct evs_options *o) {
    bool is_ok = is_in_range(o) && o->inactive_check_period_ns >= 0 &&
                 o->inactive_check_period_ns <= o->suspect_timeout_ns / 2 &&
                 o->keepalive_period_ns <= o->suspect_timeout_ns / 3 &&
                 o->install_timeout_ns >= o->keepalive_period_ns && o->view_forget_timeout_ns >= XB_SECOND;
    return is_ok ? 0 : -ERANGE;
}

void evs_get_options(const struct evs *evs, struct evs_options *options) {
    *options = evs->options;
}

int evs_set_options(struct evs *evs, const struct evs_options *o, int64_t now_ns) {
    const struct evs_options old = evs->options;
    evs->now_ns = now_ns;
    if (o->inactive_check_period_ns != old.inactive_check_period_ns ||
        o->view_forget_timeout_ns != old.view_forget_timeout_ns)
        return -EPERM;
    bool is_install_timeout_new = o->install_timeout_ns != old.install_timeout_ns;
    if (!is_in_range(o) || (is_install_timeout_new && o->install_timeout_ns < 2 * o->keepalive_period_ns))
        return -ERANGE;
    evs->options = *o;
    if (evs->state == EVS_CLOSED) return 0;
    if (evs->state != EVS_JOINING &&
        (o->suspect_timeout_ns != old.suspect_timeout_ns || o->inactive_timeout_ns != old.inactive_timeout_ns))
        evs->check_ns = now_ns + o->inactive_check_period_ns;
    if (evs->retrans_ns != XB_NEVER &&
        (o->keepalive_period_ns != old.keepalive_period_ns || o->join_retrans_period_ns != old.join_retrans_period_ns))
        evs_arm_retrans(evs);
    if (is_install_timeout_new && evs->install_timer_ns != XB_NEVER)
        evs->install_timer_ns = now_ns + o->install_timeout_ns;
    if (o->stats_report_period_ns != old.stats_report_period_ns) evs->stats_ns = now_ns + o->stats_report_period_ns;
    if (o->version != old.version && evs->state == EVS_OPERATIONAL) evs_shift_gather(evs, true);
    evs->unsettled++;
    return 0;
}
