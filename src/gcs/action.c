/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ACTION: a fragment of a write set or state request (spec 05 sections 3.2, 3.5, 3.6).
 *
 * Here the group counts: the n-th complete write set of a joined member is seqno n, on every member alike. Nothing is
 * counted outside PRIMARY, own actions included: those are sent again as a whole after the exchange (section 21.4), and
 * since all that was handed to PC before comes before the own state message, no tail of them can come after it.
 */
#include "gcs/core.h"

int gcs_fragment_read(struct gcs_fragment *fragment, const uint8_t *payload, size_t size) {
    struct xb_reader r = xb_reader_init(payload, size);
    const uint8_t *word = xb_read_bytes(&r, 8); /* big-endian: version, action id */
    fragment->version = word ? word[0] : 0;
    fragment->id = 0;
    for (int i = 1; word && i < 8; i++) fragment->id = fragment->id << 8 | word[i];
    fragment->action_size = xb_read_u32(&r);
    fragment->number = xb_read_u32(&r);
    fragment->type = xb_read_u8(&r);
    xb_read_bytes(&r, 3); /* reserved */
    fragment->size = xb_reader_left(&r);
    fragment->data = xb_read_bytes(&r, fragment->size);
    if (!xb_reader_ok(&r) || fragment->size == 0) return -EPROTO;
    if (fragment->action_size == 0 || fragment->action_size > GCS_ACTION_SIZE_MAX) return -EPROTO;
    return 0;
}

void gcs_fragment_write_header(uint8_t to[GCS_FRAGMENT_HEADER_SIZE], const struct gcs_fragment *fragment) {
    struct xb_writer w = xb_writer_init(to, GCS_FRAGMENT_HEADER_SIZE);
    xb_write_u8(&w, fragment->version);
    for (int shift = 48; shift >= 0; shift -= 8) xb_write_u8(&w, (uint8_t)(fragment->id >> shift));
    xb_write_u32(&w, fragment->action_size);
    xb_write_u32(&w, fragment->number);
    xb_write_u8(&w, fragment->type);
    xb_write_zero(&w, 3);
}

static void free_buffer(struct gcs *gcs, uint8_t *buf) {
    if (buf) gcs->up.free(gcs->up.ctx, buf);
}

static void handle_write_set(struct gcs *gcs, size_t index, uint8_t *buf, size_t size,
                             struct gcs_submission *submission) {
    const struct gcs_member *member = &gcs->members[index];
    if (member->state < GCS_NODE_DONOR) { /* nobody counts it (section 22) */
        free_buffer(gcs, buf);
        if (submission) gcs_finish(gcs, submission, -ENOTCONN, NULL);
        return;
    }
    gcs->counter = gcs_add(gcs->counter, 1);
    if (!buf) {
        if (submission) gcs_finish(gcs, submission, -ENOMEM, NULL);
        gcs_halt(gcs, -ENOMEM, "no memory for write set %" PRId64 " of %zu bytes: this node cannot follow the group",
                 gcs->counter, size);
        return;
    }
    struct gcs_action action = {
        .type = GCS_WRITESET,
        .buf = buf,
        .size = size,
        .seqno = gcs->counter,
        .sender = (int)index,
        .sender_uuid = member->uuid,
    };
    if (submission)
        gcs_finish(gcs, submission, 0, &action);
    else
        gcs_deliver(gcs, &action);
}

static void handle_complete(struct gcs *gcs, size_t index) {
    struct gcs_member *member = &gcs->members[index];
    struct gcs_collector *collector = &member->collector;
    size_t size = collector->size;
    uint8_t type = collector->type;
    uint8_t *buf = gcs_collector_take(collector);
    struct gcs_submission *submission = NULL;
    if (gcs_is_own(gcs, member)) submission = gcs_sender_match(gcs, collector->id, size);
    if (type == GCS_WRITESET)
        handle_write_set(gcs, index, buf, size, submission);
    else
        gcs_handle_request(gcs, index, buf, size, submission);
}

void gcs_handle_action(struct gcs *gcs, size_t index, const uint8_t *payload, size_t size) {
    struct gcs_member *member = &gcs->members[index];
    if (gcs->group_state != GCS_PRIMARY) return;
    struct gcs_fragment fragment;
    int result = gcs_fragment_read(&fragment, payload, size);
    if (size >= GCS_FRAGMENT_HEADER_SIZE && fragment.version != gcs->versions.gcs) return;
    if (!result && fragment.type == GCS_ACTION_SERVICE) return;
    if (result || (fragment.type != GCS_WRITESET && fragment.type != GCS_STATE_REQ)) {
        gcs_collector_reset(&member->collector, &gcs->up);
        gcs_violation(gcs, member, "malformed action fragment");
        return;
    }
    switch (gcs_collector_add(&member->collector, &fragment, &gcs->up)) {
    case GCS_COLLECT_COMPLETE:
        handle_complete(gcs, index);
        break;
    case GCS_COLLECT_VIOLATION:
        gcs_violation(gcs, member, "action fragment out of order");
        break;
    case GCS_COLLECT_MORE:
    case GCS_COLLECT_IGNORED:
        break;
    }
}
