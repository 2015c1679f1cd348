/* SPDX-License-Identifier: GPL-2.0-or-later */
/* State message: what a member knows, sent once an exchange (spec 05 section 6). */
#include "gcs/messages.h"

#include <errno.h>

static enum gcs_node_state read_node_state(struct xb_reader *r) {
    uint8_t state = xb_read_u8(r);
    if (state > GCS_NODE_SYNCED) r->is_bad = true;
    return state > GCS_NODE_SYNCED ? GCS_NODE_NON_PRIM : (enum gcs_node_state)state;
}

/* What follows the strings, as far as the sender's version has it. */
static void read_tail(struct xb_reader *r, struct gcs_state_message *s) {
    s->max.appl = xb_read_u8(r);
    s->cached = xb_read_i64(r);
    s->desync_count = s->version >= 4 ? xb_read_i32(r) : 0;
    s->last_applied = 0;
    s->vote_seqno = 0;
    s->vote_value = 0;
    s->vote_policy = 1;
    if (s->version >= 5) {
        int64_t last_applied = xb_read_i64(r), vote_seqno = xb_read_i64(r), vote_value = xb_read_i64(r);
        uint8_t vote_policy = xb_read_u8(r);
        if (s->max.gcs >= 2) {
            s->last_applied = last_applied;
            s->vote_seqno = vote_seqno;
            s->vote_value = vote_value;
            s->vote_policy = vote_policy;
        }
    }
    s->primary = (struct gcs_versions){0};
    if (s->version >= 6) {
        s->primary.gcs = xb_read_u8(r);
        s->primary.repl = xb_read_u8(r);
        s->primary.appl = xb_read_u8(r);
    }
}

int gcs_state_message_read(struct gcs_state_message *s, const uint8_t *payload, size_t size) {
    struct xb_reader r = xb_reader_init(payload, size);
    s->version = xb_read_u8(&r);
    s->flags = xb_read_u8(&r);
    s->max.gcs = xb_read_u8(&r);
    s->max.repl = xb_read_u8(&r);
    s->primary_state = read_node_state(&r);
    s->state = read_node_state(&r);
    s->joined_count = (int16_t)xb_read_u16(&r);
    s->state_uuid = xb_read_uuid(&r);
    s->group_uuid = xb_read_uuid(&r);
    s->primary_uuid = xb_read_uuid(&r);
    s->received = xb_read_i64(&r);
    s->primary_seqno = xb_read_i64(&r);
    s->name = xb_read_cstr(&r);
    s->incoming = xb_read_cstr(&r);
    read_tail(&r, s); /* bytes behind it belong to a later version */
    return xb_reader_ok(&r) && s->version >= GCS_STATE_VERSION_MIN ? 0 : -EPROTO;
}

static int clamp(int64_t value, int low, int high) {
    return value < low ? low : value > high ? high : (int)value;
}

void gcs_state_message_write(struct xb_writer *w, const struct gcs_state_message *s) {
    xb_write_u8(w, GCS_STATE_VERSION);
    xb_write_u8(w, s->flags);
    xb_write_u8(w, (uint8_t)s->max.gcs);
    xb_write_u8(w, (uint8_t)s->max.repl);
    xb_write_u8(w, (uint8_t)s->primary_state);
    xb_write_u8(w, (uint8_t)s->state);
    xb_write_u16(w, (uint16_t)clamp(s->joined_count, 0, INT16_MAX));
    xb_write_uuid(w, &s->state_uuid);
    xb_write_uuid(w, &s->group_uuid);
    xb_write_uuid(w, &s->primary_uuid);
    xb_write_i64(w, s->received);
    xb_write_i64(w, s->primary_seqno);
    xb_write_cstr(w, s->name);
    xb_write_cstr(w, s->incoming);
    xb_write_u8(w, (uint8_t)s->max.appl);
    xb_write_i64(w, s->cached);
    xb_write_i32(w, clamp(s->desync_count, 0, INT32_MAX));
    xb_write_i64(w, s->last_applied);
    xb_write_i64(w, s->vote_seqno);
    xb_write_i64(w, s->vote_value);
    xb_write_u8(w, (uint8_t)s->vote_policy);
    xb_write_u8(w, (uint8_t)s->primary.gcs);
    xb_write_u8(w, (uint8_t)s->primary.repl);
    xb_write_u8(w, (uint8_t)s->primary.appl);
}
