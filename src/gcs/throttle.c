/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Receive queue of a joiner (spec 05 section 13.4). Nobody works it off during the transfer, so between a soft and a
 * hard limit in bytes the group is slowed down more and more: the bytes that came give a time before which no more
 * should come, and until then the group is stopped.
 */
#include "gcs/core.h"

#define HARD_LIMIT_PART 0.9
#define PAUSE_MIN_NS ((double)XB_MS)
#define PAUSE_MAX_NS (3600.0 * (double)XB_SECOND)

static double hard_limit(const struct gcs *gcs) {
    return (double)gcs->options.recv_q_hard_limit * HARD_LIMIT_PART;
}

static double soft_limit(const struct gcs *gcs) {
    return hard_limit(gcs) * gcs->options.recv_q_soft_limit;
}

void gcs_throttle_start(struct gcs *gcs) {
    struct gcs_flow *flow = &gcs->flow;
    flow->is_throttling = true;
    flow->is_crossed = false;
    flow->start_bytes = flow->bytes;
    flow->start_ns = gcs->now_ns;
    flow->throttle_until_ns = 0;
}

void gcs_throttle_end(struct gcs *gcs) {
    struct gcs_flow *flow = &gcs->flow;
    if (!flow->is_throttling) return;
    flow->is_throttling = false;
    flow->throttle_until_ns = 0;
    gcs_flow_set_stopping(gcs, false);
}

int64_t gcs_throttle_threshold(const struct gcs *gcs) {
    const struct gcs_flow *flow = &gcs->flow;
    if (!flow->is_throttling) return INT64_MAX;
    double soft = soft_limit(gcs);
    if (soft >= (double)INT64_MAX) return INT64_MAX;
    return flow->bytes > (int64_t)soft ? flow->bytes : (int64_t)soft;
}

static void reach_hard_limit(struct gcs *gcs) {
    struct gcs_flow *flow = &gcs->flow;
    if (gcs->options.max_throttle == 0) {
        flow->throttle_until_ns = XB_NEVER;
        gcs_flow_set_stopping(gcs, true);
        return;
    }
    gcs_halt(gcs, -ENOBUFS,
             "%" PRId64 " bytes wait for the end of the state transfer, more than gcs.recv_q_hard_limit allows. Raise "
             "it, or set gcs.max_throttle to 0 to let the group wait",
             flow->bytes);
}

/* How fast the queue grew by itself, and from where the pauses are reckoned. */
static void cross_soft_limit(struct gcs *gcs, double soft) {
    struct gcs_flow *flow = &gcs->flow;
    double elapsed = (double)(gcs->now_ns - flow->start_ns), grown = (double)(flow->bytes - flow->start_bytes);
    flow->is_crossed = true;
    flow->rate = elapsed > 0 && grown > 0 ? grown / elapsed : (double)flow->bytes; /* all of it within 1 ns */
    flow->reference_bytes = soft;
    flow->reference_ns = (double)gcs->now_ns - ((double)flow->bytes - soft) / flow->rate;
}

void gcs_throttle_check(struct gcs *gcs) {
    struct gcs_flow *flow = &gcs->flow;
    if (!flow->is_throttling || flow->throttle_until_ns == XB_NEVER) return;
    double hard = hard_limit(gcs), soft = soft_limit(gcs), bytes = (double)flow->bytes;
    if (bytes <= soft) return;
    if (bytes >= hard) {
        reach_hard_limit(gcs);
        return;
    }
    if (!flow->is_crossed) cross_soft_limit(gcs, soft);
    if (bytes <= flow->reference_bytes) return;
    double slope = (1 - gcs->options.max_throttle) / (soft - hard);
    double rate = flow->rate * (1 + slope * (bytes - soft));
    double until_ns = flow->reference_ns + (bytes - flow->reference_bytes) / rate, now_ns = (double)gcs->now_ns;
    if (until_ns - now_ns < PAUSE_MIN_NS) return;
    if (until_ns - now_ns > PAUSE_MAX_NS) until_ns = now_ns + PAUSE_MAX_NS;
    flow->reference_bytes = bytes;
    flow->reference_ns = until_ns;
    flow->throttle_until_ns = (int64_t)until_ns;
    gcs_flow_set_stopping(gcs, true);
}

int64_t gcs_throttle_deadline(const struct gcs *gcs) {
    return gcs->flow.throttle_until_ns ? gcs->flow.throttle_until_ns : XB_NEVER;
}

/* Ends a pause that is over. */
void gcs_throttle_tick(struct gcs *gcs) {
    if (gcs->now_ns < gcs_throttle_deadline(gcs)) return;
    gcs->flow.throttle_until_ns = 0;
    gcs_flow_set_stopping(gcs, false);
}
