/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The common header of all EVS messages (spec 03 section 3.2) and its checks (section 3.6). */
#include "evs/message.h"

#include <errno.h>

int evs_header_read(struct xb_reader *r, const struct xb_uuid *source, struct evs_header *h) {
    uint8_t bits = xb_read_u8(r);
    h->flags = xb_read_u8(r);
    h->version = xb_read_u8(r);
    xb_read_u8(r); /* reserved */
    h->type = (enum evs_type)(bits >> 2 & 7);
    h->order = bits >> 5;
    h->fifo_seq = xb_read_i64(r);
    if (h->flags & EVS_FLAG_SOURCE)
        h->source = xb_read_uuid(r);
    else
        h->source = source ? *source : xb_uuid_nil;
    h->view = view_id_read(r);
    if (!xb_reader_ok(r) || !h->type || h->order > EVS_ORDER_WIRE_MAX || xb_uuid_is_nil(&h->source)) return -EPROTO;
    if (source && !xb_uuid_equal(&h->source, source)) return -EPROTO;
    return 0;
}

void evs_header_write(struct xb_writer *w, const struct evs_header *h) {
    /* JOIN and INSTALL keep bit 0 clear so that ancient nodes can read them (section 14). */
    bool has_version_bit = h->version && h->type != EVS_TYPE_JOIN && h->type != EVS_TYPE_INSTALL;
    xb_write_u8(w, (uint8_t)(has_version_bit | (unsigned)h->type << 2 | (unsigned)h->order << 5));
    xb_write_u8(w, h->flags);
    xb_write_u8(w, h->version);
    xb_write_u8(w, 0);
    xb_write_i64(w, h->fifo_seq);
    if (h->flags & EVS_FLAG_SOURCE) xb_write_uuid(w, &h->source);
    view_id_write(w, &h->view);
}
