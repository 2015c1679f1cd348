/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SYNC: a joined member has caught up (spec 05 sections 4.2, 13.5). */
#include "gcs/core.h"

bool gcs_send_sync(struct gcs *gcs) {
    if (gcs_own_state(gcs) != GCS_NODE_JOINED || gcs->is_sync_sent || gcs->flow.length > gcs->flow.lower) return false;
    struct gcs_code code = {.group_uuid = gcs->group_uuid, .seqno = gcs->counter};
    uint8_t bytes[GCS_CODE_SIZE];
    struct xb_writer w = xb_writer_init(bytes, sizeof(bytes));
    gcs_code_write(&w, &code);
    uint64_t epoch = gcs->epoch;
    gcs->is_sync_sent = true;
    if (!gcs_send_bytes(gcs, bytes, sizeof(bytes), GCS_MSG_SYNC)) return true;
    if (gcs->epoch == epoch) gcs->is_sync_sent = false;
    return false;
}

static void deliver_sync(struct gcs *gcs) {
    xb_log_info(gcs->log, "This node is synced with the group");
    gcs_flow_synced(gcs);
    struct gcs_action action = {.type = GCS_SYNC, .sender = gcs->own_index, .sender_uuid = gcs->uuid};
    gcs_deliver(gcs, &action);
    gcs_repeat_report(gcs);
}

void gcs_handle_sync(struct gcs *gcs, struct gcs_member *member) {
    bool is_own = gcs_is_own(gcs, member);
    if (is_own) gcs->is_sync_sent = false; /* refused or not; the next one goes out when the state is JOINED */
    if (member->state != GCS_NODE_JOINED) {
        if (member->state < GCS_NODE_DONOR)
            xb_log_warning(gcs->log, "SYNC of %s in state %s is ignored", gcs_member_name(member),
                           gcs_node_state_name(member->state));
        return;
    }
    member->state = GCS_NODE_SYNCED;
    member->is_counted = true;
    gcs_cut_recompute(&gcs->cut, gcs->members, gcs->member_count, gcs->versions.gcs);
    if (is_own)
        deliver_sync(gcs);
    else
        xb_log_info(gcs->log, "%s is synced with the group", gcs_member_name(member));
}
