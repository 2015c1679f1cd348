/* SPDX-License-Identifier: GPL-2.0-or-later */
/* DELEGATE: a USER or LEAVE of another node, passed on by a third (spec 03 sections 3.3, 6.6, 8.1). */
#include "evs/internal.h"

int evs_delegate_receive(struct evs *evs, const struct evs_header *h, struct xb_reader *r) {
    struct evs_header inner;
    if (evs_header_read(r, NULL, &inner)) return -EPROTO;
    if (inner.type != EVS_TYPE_USER && inner.type != EVS_TYPE_LEAVE) return -EPROTO;
    evs_debug(evs, EVS_DEBUG_DELEGATE, "evs: %s has a message of type %d of %s from %s", XB_UUID_SHORT(&evs->uuid),
              inner.type, XB_UUID_SHORT(&inner.source), XB_UUID_SHORT(&h->source));
    return evs_dispatch(evs, &inner, r, false);
}

struct xb_buf *evs_delegate_begin(struct evs *evs, size_t inner_size, struct xb_writer *w) {
    struct xb_buf *buf = evs_new_buf(EVS_HEADER_SIZE + inner_size);
    if (!buf) return NULL;
    struct evs_header h = evs_new_header(evs, EVS_TYPE_DELEGATE, 0);
    *w = xb_writer_init(xb_buf_data(buf), buf->size);
    evs_header_write(w, &h);
    evs->stats.sent_delegate++;
    return buf;
}
