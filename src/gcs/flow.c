/* SPDX-License-Identifier: GPL-2.0-or-later */
/* FLOW: stop or continue (spec 05 sections 2.2, 13.3). */
#include "gcs/core.h"

int gcs_flow_read(struct gcs_flow_message *flow, const uint8_t *payload, size_t size) {
    struct xb_reader r = xb_reader_init(payload, size);
    flow->conf_id = xb_read_u32(&r);
    flow->stop = xb_read_u32(&r);
    return xb_reader_ok(&r) && size == GCS_FLOW_SIZE ? 0 : -EPROTO;
}

void gcs_flow_write(struct xb_writer *w, const struct gcs_flow_message *flow) {
    xb_write_u32(w, flow->conf_id);
    xb_write_u32(w, flow->stop);
}

/* One that PC refuses is tried again as long as it is still wanted, so a CONT cannot get lost (section 18). */
bool gcs_send_flow(struct gcs *gcs) {
    struct gcs_flow *flow = &gcs->flow;
    bool is_stop = flow->is_stopping;
    if (is_stop == flow->is_stop_sent) return false;
    struct gcs_flow_message message = {(uint32_t)gcs->conf_id, is_stop};
    uint8_t bytes[GCS_FLOW_SIZE];
    struct xb_writer w = xb_writer_init(bytes, sizeof(bytes));
    gcs_flow_write(&w, &message);
    uint64_t epoch = gcs->epoch;
    flow->is_stop_sent = is_stop;
    if (!gcs_send_bytes(gcs, bytes, sizeof(bytes), GCS_MSG_FLOW)) {
        flow->sent++;
        return true;
    }
    if (gcs->epoch == epoch) flow->is_stop_sent = !is_stop;
    return false;
}

void gcs_handle_flow(struct gcs *gcs, struct gcs_member *member, const uint8_t *payload, size_t size) {
    struct gcs_flow_message message;
    if (gcs_flow_read(&message, payload, size)) {
        gcs_violation(gcs, member, "malformed FLOW");
        return;
    }
    if (gcs->group_state != GCS_PRIMARY || message.conf_id != (uint32_t)gcs->conf_id) return;
    gcs_flow_count_stop(gcs, member, message.stop != 0);
}
