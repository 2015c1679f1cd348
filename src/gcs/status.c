/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What people may see of the group layer (spec 05 section 19). */
#include "gcs/core.h"

/* met: what is in the queue in front of who arrives now, as the stock provider counts it; the maximum is with him. */
static void sample(int64_t met, int64_t *max, int64_t *min, double *sum, int64_t *samples) {
    if (met + 1 > *max) *max = met + 1;
    if (!*samples || met < *min) *min = met;
    *sum += (double)met;
    (*samples)++;
}

static int64_t unsent(const struct gcs_sender *sender) {
    return (int64_t)(sender->count - sender->sent_count);
}

void gcs_sample_send_queue(struct gcs *gcs) {
    struct gcs_sender *s = &gcs->sender;
    sample(unsent(s), &s->queue_max, &s->queue_min, &s->queue_sum, &s->queue_samples);
}

void gcs_count_arrival(struct gcs *gcs, int64_t met) {
    struct gcs_flow *f = &gcs->flow;
    sample(met, &f->queue_max, &f->queue_min, &f->queue_sum, &f->queue_samples);
}

static double average(double sum, int64_t samples) {
    return samples ? sum / (double)samples : 0;
}

void gcs_get_status(const struct gcs *gcs, struct gcs_status *status, int64_t now_ns) {
    const struct gcs_sender *s = &gcs->sender;
    const struct gcs_flow *f = &gcs->flow;
    const struct gcs_member *self = gcs->own_index < 0 ? NULL : &gcs->members[gcs->own_index];
    *status = (struct gcs_status){
        .group_state = gcs->group_state,
        .node_state = gcs_own_state(gcs),
        .group_uuid = gcs->group_uuid,
        .seqno = gcs->counter,
        .conf_id = gcs->conf_id,
        .commit_cut = gcs->cut.last_applied,
        .gcs_version = gcs->versions.gcs,
        .repl_version = gcs->versions.repl,
        .appl_version = gcs->versions.appl,
        .desync_count = self ? (int)self->desync_count : 0,
        .member_count = (int)gcs->member_count,
        .own_index = gcs->own_index,
        .send_queue = unsent(s),
        .send_queue_max = s->queue_max,
        .send_queue_min = s->queue_min,
        .send_queue_avg = average(s->queue_sum, s->queue_samples),
        .recv_queue = f->length,
        .recv_queue_max = f->queue_max,
        .recv_queue_min = f->queue_min,
        .recv_queue_avg = average(f->queue_sum, f->queue_samples),
        .fc_paused_ns = f->paused_ns + (f->stops_received > 0 ? now_ns - f->paused_since_ns : 0),
        .fc_sent = f->sent,
        .fc_received = f->received,
        .fc_is_active = f->stops_received > 0,
        .fc_is_requested = f->is_stop_sent,
        .fc_interval_low = f->lower,
        .fc_interval_high = f->upper,
    };
}

bool gcs_get_own_state(const struct gcs *gcs, enum gcs_node_state *state) {
    *state = gcs_own_state(gcs);
    return gcs->group_state == GCS_PRIMARY && gcs->own_index >= 0;
}

void gcs_reset_stats(struct gcs *gcs, int64_t now_ns) {
    struct gcs_sender *s = &gcs->sender;
    struct gcs_flow *f = &gcs->flow;
    s->queue_max = s->queue_min = unsent(s);
    s->queue_sum = 0;
    s->queue_samples = 0;
    f->queue_max = f->queue_min = f->length;
    f->queue_sum = 0;
    f->queue_samples = 0;
    f->sent = f->received = 0;
}
