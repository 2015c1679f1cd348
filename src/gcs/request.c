/* SPDX-License-Identifier: GPL-2.0-or-later */
/* STATE_REQ: state transfer request, or a node's wish to desync itself (spec 05 sections 11.1, 11.2). */
#include "gcs/core.h"

int gcs_request_read(struct gcs_request *request, const uint8_t *data, size_t size) {
    struct xb_reader r = xb_reader_init(data, size);
    *request = (struct gcs_request){.ist_seqno = -1};
    request->donors = xb_read_cstr(&r);
    if (xb_reader_left(&r) >= 2 && r.data[r.used] == 'V') {
        xb_read_u8(&r);
        request->version = xb_read_u8(&r);
        request->ist_uuid = xb_read_uuid(&r);
        request->ist_seqno = xb_read_i64(&r);
    }
    request->body = r.used;
    return xb_reader_ok(&r) ? 0 : -EPROTO;
}

/* -> may this member ask at all? If not: the answer to it. */
static int check_sender(const struct gcs *gcs, const struct gcs_member *joiner, bool is_self_desync) {
    if (is_self_desync) {
        enum gcs_node_state low = gcs->exchange_version < 4 ? GCS_NODE_SYNCED : GCS_NODE_DONOR;
        return joiner->state >= low ? 0 : -EAGAIN;
    }
    if (joiner->state == GCS_NODE_PRIM) return 0;
    return joiner->state >= GCS_NODE_JOINED ? -ECANCELED : -ENOTRECOVERABLE;
}

/* -> index of the donor, now with one joiner more, or a negative errno */
static int assign_donor(struct gcs *gcs, size_t index, const struct gcs_request *request) {
    struct gcs_member *joiner = &gcs->members[index];
    bool is_self_desync = !strcmp(request->donors, GCS_SELF_DESYNC);
    int result = check_sender(gcs, joiner, is_self_desync);
    if (result) {
        xb_log_warning(gcs->log, "State request of member %zu (%s) in state %s is refused", index,
                       gcs_member_name(joiner), gcs_node_state_name(joiner->state));
        return result;
    }
    int donor_index = (int)index;
    if (!is_self_desync)
        donor_index =
            gcs_donor_choose(gcs->members, gcs->member_count, index, request, &gcs->group_uuid, gcs->quorum_counter);
    if (donor_index < 0) {
        xb_log_warning(gcs->log,
                       "Member %zu (%s) requested state transfer from '%s', but it is impossible to select State "
                       "Transfer donor: %s",
                       index, gcs_member_name(joiner), *request->donors ? request->donors : "any",
                       strerror(-donor_index));
        return donor_index;
    }
    struct gcs_member *donor = &gcs->members[donor_index];
    donor->desync_count = gcs_add(donor->desync_count, 1);
    joiner->state = GCS_NODE_JOINER; /* before the donor's, so that a self-desync ends as DONOR */
    donor->state = GCS_NODE_DONOR;
    if (donor->desync_count == 1) {
        donor->joiner = joiner->uuid;
        joiner->donor = donor->uuid;
    }
    if (is_self_desync)
        xb_log_info(gcs->log, "Member %zu (%s) desyncs itself from the group", index, gcs_member_name(joiner));
    else
        xb_log_info(gcs->log, "Member %zu (%s) asked for a state transfer from '%s': donor is %d (%s)", index,
                    gcs_member_name(joiner), *request->donors ? request->donors : "any", donor_index,
                    gcs_member_name(donor));
    return donor_index;
}

/* The donor gets what its replicator needs: the request without donor list and position. */
static void deliver_to_donor(struct gcs *gcs, size_t index, uint8_t *buf, size_t size, size_t body) {
    memmove(buf, buf + body, size - body);
    struct gcs_action action = {
        .type = GCS_STATE_REQ,
        .buf = buf,
        .size = size - body,
        .seqno = gcs->counter,
        .sender = (int)index,
        .sender_uuid = gcs->members[index].uuid,
    };
    gcs_deliver(gcs, &action);
}

static void answer_own(struct gcs *gcs, struct gcs_submission *submission, int result) {
    if (!submission) return;
    struct gcs_action action = {
        .type = GCS_STATE_REQ,
        .seqno = gcs->counter,
        .sender = gcs->own_index,
        .sender_uuid = gcs->uuid,
    };
    gcs_finish(gcs, submission, result, result < 0 ? NULL : &action);
}

void gcs_handle_request(struct gcs *gcs, size_t index, uint8_t *buf, size_t size, struct gcs_submission *submission) {
    struct gcs_request request;
    bool is_own = (int)index == gcs->own_index;
    if (!buf) { /* who becomes donor stands in it, so this node would lose its common picture */
        if (submission) gcs_finish(gcs, submission, -ENOMEM, NULL);
        gcs_halt(gcs, -ENOMEM, "no memory for a state request of %zu bytes", size);
        return;
    }
    if (gcs_request_read(&request, buf, size)) {
        gcs_violation(gcs, &gcs->members[index], "malformed state request");
        gcs->up.free(gcs->up.ctx, buf);
        if (submission) gcs_finish(gcs, submission, -ENOTRECOVERABLE, NULL);
        return;
    }
    if (is_own && gcs_donor_ambiguity(gcs->members, gcs->member_count, request.donors) > 1)
        xb_log_warning(gcs->log,
                       "Donor list '%s': a name matches several members, since names match by their "
                       "beginning; the one with the lowest index wins",
                       request.donors);
    int donor = assign_donor(gcs, index, &request);
    bool is_donor = donor >= 0 && donor == gcs->own_index;
    if (is_donor && !gcs->options.sync_donor) gcs_flow_set_stopping(gcs, false);
    if (is_donor && !is_own) {
        deliver_to_donor(gcs, index, buf, size, request.body);
        return;
    }
    gcs->up.free(gcs->up.ctx, buf);
    if (!is_own) return;
    if (donor >= 0 && !is_donor) gcs_throttle_start(gcs);
    answer_own(gcs, submission, donor);
}
