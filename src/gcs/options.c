/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options of the group layer (spec 05 section 19). */
#include "gcs/core.h"

void gcs_options_default(struct gcs_options *options) {
    *options = (struct gcs_options){
        .fc_limit = 16,
        .fc_factor = 1.0,
        .max_packet_size = 64500,
        .recv_q_hard_limit = INT64_MAX,
        .recv_q_soft_limit = 0.25,
        .max_throttle = 0.25,
    };
}

static bool is_in_range(const struct gcs_options *o) {
    return o->fc_limit > 0 && o->fc_factor >= 0 && o->fc_factor <= 1 && o->recv_q_hard_limit > 0 &&
           o->recv_q_soft_limit >= 0 && o->recv_q_soft_limit < 1 && o->max_throttle >= 0 && o->max_throttle < 1;
}

int gcs_set_options(struct gcs *gcs, const struct gcs_options *options, int64_t now_ns) {
    struct gcs_options *own = &gcs->options;
    if (!is_in_range(options)) return -EINVAL;
    if (options->fc_single_primary != own->fc_single_primary || options->stateless != own->stateless ||
        options->vote_policy != own->vote_policy || options->max_packet_size != own->max_packet_size)
        return -EPERM;
    gcs_enter(gcs, now_ns);
    *own = *options;
    gcs_flow_options(gcs);
    gcs_leave(gcs, now_ns);
    return 0;
}
