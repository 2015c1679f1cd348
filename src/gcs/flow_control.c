/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Flow control (spec 05 section 13.3): a node whose queue grows beyond a limit asks the group to stop, and to go on
 * when it has worked it off. What is wanted (is_stopping) and what the group was told (is_stop_sent) are kept apart;
 * flow.c brings the second after the first.
 */
#include "gcs/core.h"

#include <math.h>

#define LIMIT_MAX 1e15 /* beyond any queue, and exact as a double */

static int64_t to_limit(double value) {
    return value >= LIMIT_MAX ? (int64_t)LIMIT_MAX : (int64_t)(value + 0.5);
}

void gcs_flow_set_limits(struct gcs *gcs) {
    double scale = gcs->options.fc_single_primary || !gcs->member_count ? 1 : sqrt((double)gcs->member_count);
    gcs->flow.upper = to_limit((double)gcs->options.fc_limit * scale);
    gcs->flow.lower = to_limit((double)gcs->flow.upper * gcs->options.fc_factor);
}

static bool may_stop(const struct gcs *gcs) {
    if (gcs->group_state != GCS_PRIMARY) return false;
    enum gcs_node_state state = gcs_own_state(gcs);
    return state >= GCS_NODE_JOINED || (state == GCS_NODE_DONOR && gcs->options.sync_donor);
}

void gcs_flow_set_stopping(struct gcs *gcs, bool is_stopping) {
    if (is_stopping && !gcs->flow.is_stopping) gcs->flow.stop_offset = gcs->flow.offset;
    gcs->flow.is_stopping = is_stopping;
}

/* How short the queue must be for the group to go on. A stock node that has just joined lets it go on as soon as one
 * item of the backlog is gone, so between two such items the group adds `upper` others, and under endless load the
 * backlog has to be worked off thirty times over. Here each stop takes `upper` off it: twice over (section 21.13). */
static int64_t resume_length(const struct gcs_flow *flow) {
    int64_t length = flow->stop_offset - flow->upper;
    return length > flow->lower ? length : flow->lower;
}

bool gcs_flow_is_paused(const struct gcs *gcs) {
    return gcs->flow.stops_received > 0;
}

/* A member's count is below 0 for a moment when it sends a CONT before the STOP that it ends: the threads of a stock
 * node do. */
void gcs_flow_count_stop(struct gcs *gcs, struct gcs_member *member, bool is_stopping) {
    struct gcs_flow *flow = &gcs->flow;
    bool was_stopping = member->stops > 0;
    if (is_stopping) flow->received++;
    member->stops += is_stopping ? 1 : -1;
    if (was_stopping == (member->stops > 0)) return;
    flow->stops_received += is_stopping ? 1 : -1;
    if (is_stopping && flow->stops_received == 1) flow->paused_since_ns = gcs->now_ns;
    if (flow->stops_received == 0) flow->paused_ns += gcs->now_ns - flow->paused_since_ns;
}

/* Section 7.6 step 2. */
void gcs_flow_configuration(struct gcs *gcs) {
    struct gcs_flow *flow = &gcs->flow;
    for (size_t i = 0; i < gcs->member_count; i++) gcs->members[i].stops = 0;
    if (flow->stops_received > 0) flow->paused_ns += gcs->now_ns - flow->paused_since_ns;
    flow->stops_received = 0;
    flow->is_stopping = flow->is_stop_sent = false;
    flow->throttle_until_ns = 0;
    gcs_flow_set_limits(gcs);
    if (gcs_own_state(gcs) != GCS_NODE_JOINER) gcs_throttle_end(gcs);
}

static void consider(struct gcs *gcs, bool is_own) {
    struct gcs_flow *flow = &gcs->flow;
    if (flow->is_stopping) {
        if (flow->length <= resume_length(flow)) gcs_flow_set_stopping(gcs, false);
    } else if (!is_own && flow->stops_received == 0 && flow->length > flow->upper + flow->offset) {
        gcs_flow_set_stopping(gcs, true);
    }
}

void gcs_flow_options(struct gcs *gcs) {
    gcs_flow_set_limits(gcs);
    if (may_stop(gcs))
        consider(gcs, false);
    else if (!gcs->flow.is_throttling)
        gcs_flow_set_stopping(gcs, false);
}

/* The backlog that a node brings along is no reason to stop the group. */
void gcs_flow_joined(struct gcs *gcs) {
    gcs->flow.offset = gcs->flow.length;
}

void gcs_flow_synced(struct gcs *gcs) {
    gcs->flow.offset = 0;
}

void gcs_set_queue_length(struct gcs *gcs, int64_t length, int64_t bytes, bool is_own, int64_t now_ns) {
    struct gcs_flow *flow = &gcs->flow;
    if (gcs->is_closed) return;
    gcs_enter(gcs, now_ns);
    flow->length = length;
    flow->bytes = bytes;
    if (length < flow->offset) flow->offset = length;
    if (may_stop(gcs))
        consider(gcs, is_own);
    else
        gcs_throttle_check(gcs);
    gcs_leave(gcs, now_ns);
}

/* When the catch-up allowance is to be brought down: steps of an eighth are fine enough, unless the group waits. */
static int64_t next_offset(const struct gcs_flow *flow) {
    if (flow->offset == 0) return -1;
    return flow->is_stopping ? resume_length(flow) : flow->offset - 1 - flow->offset / 8;
}

void gcs_get_queue_thresholds(const struct gcs *gcs, struct gcs_queue_thresholds *thresholds) {
    const struct gcs_flow *flow = &gcs->flow;
    *thresholds = (struct gcs_queue_thresholds){INT64_MAX, -1, INT64_MAX};
    if (!may_stop(gcs)) {
        thresholds->bytes_above = gcs_throttle_threshold(gcs);
        return;
    }
    if (!flow->is_stopping && flow->stops_received == 0) thresholds->above = flow->upper + flow->offset;
    thresholds->below = next_offset(flow);
    bool is_sync_due = gcs_own_state(gcs) == GCS_NODE_JOINED && !gcs->is_sync_sent;
    if ((flow->is_stopping || is_sync_due) && flow->lower > thresholds->below && flow->length > flow->lower)
        thresholds->below = flow->lower;
}
