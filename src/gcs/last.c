/* SPDX-License-Identifier: GPL-2.0-or-later */
/* LAST: a member's last applied seqno, and the commit cut that follows from it (spec 05 section 12). */
#include "gcs/core.h"

void gcs_report_last_applied(struct gcs *gcs, const struct xb_uuid *group_uuid, int64_t seqno, int64_t now_ns) {
    struct gcs_sender *sender = &gcs->sender;
    if (gcs->options.stateless || gcs->is_closing) return;
    if (xb_uuid_equal(group_uuid, &sender->reported_uuid) && seqno <= sender->reported_seqno) return;
    gcs_enter(gcs, now_ns);
    sender->reported_uuid = *group_uuid;
    sender->reported_seqno = seqno;
    sender->is_report_due = gcs->group_state != GCS_NON_PRIMARY;
    gcs_leave(gcs, now_ns);
}

/* All members know as much from the state exchange; a stock node warns of a report that says no more. */
static bool is_known(struct gcs *gcs) {
    const struct gcs_member *self = gcs_self(gcs);
    return self && gcs->sender.reported_seqno <= self->last_applied;
}

bool gcs_send_report(struct gcs *gcs) {
    struct gcs_sender *sender = &gcs->sender;
    if (!sender->is_report_due) return false;
    sender->is_report_due = false;
    if (!xb_uuid_equal(&sender->reported_uuid, &gcs->group_uuid) || is_known(gcs)) return false;
    uint8_t bytes[GCS_CODE_SIZE];
    struct xb_writer w = xb_writer_init(bytes, sizeof(bytes));
    struct gcs_code code = {.group_uuid = gcs->group_uuid, .seqno = sender->reported_seqno};
    gcs_code_write(&w, &code);
    if (!gcs_send_bytes(gcs, bytes, sizeof(bytes), GCS_MSG_LAST)) return true;
    sender->is_report_due = true;
    return false;
}

/* Configuration changes set each member back to the group's value, and a new counted member may have none: without a
 * report the cut would stand still (section 21.12). */
void gcs_repeat_report(struct gcs *gcs) {
    struct gcs_sender *sender = &gcs->sender;
    const struct gcs_member *self = gcs_self(gcs);
    if (self && self->state >= GCS_NODE_DONOR && sender->reported_seqno > self->last_applied &&
        xb_uuid_equal(&sender->reported_uuid, &gcs->group_uuid))
        sender->is_report_due = true;
}

void gcs_handle_last(struct gcs *gcs, size_t index, const struct gcs_code *code) {
    struct gcs_member *member = &gcs->members[index];
    if (code->code != 0) return;
    if (code->seqno <= member->last_applied) return; /* reports cross configuration changes: normal */
    member->last_applied = code->seqno;
    if ((int)index != gcs->cut.reporter || code->seqno <= gcs->cut.last_applied) return;
    int64_t before = gcs->cut.last_applied;
    gcs_cut_recompute(&gcs->cut, gcs->members, gcs->member_count, gcs->versions.gcs);
    if (gcs->cut.last_applied <= before || gcs->cut.last_applied <= gcs->cut_delivered) return;
    /* While a local thread waits for the vote on a seqno the replicator would block on it (section 12.2). */
    if (gcs->ballot.is_waiting) return;
    gcs->cut_delivered = gcs->cut.last_applied;
    struct gcs_action action = {.type = GCS_COMMIT_CUT, .seqno = gcs->cut.last_applied, .sender = -1};
    gcs_deliver(gcs, &action);
}
