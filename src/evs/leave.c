/* SPDX-License-Identifier: GPL-2.0-or-later */
/* LEAVE: a node goes gracefully (spec 03 sections 3.3, 9.10). */
#include "evs/internal.h"

int evs_leave_read(struct xb_reader *r, struct evs_leave *m) {
    m->seq = xb_read_i64(r);
    m->aru = xb_read_i64(r);
    return xb_reader_ok(r) ? 0 : -EPROTO;
}

void evs_leave_write(struct xb_writer *w, const struct evs_header *h, const struct evs_leave *m) {
    evs_header_write(w, h);
    xb_write_i64(w, m->seq);
    xb_write_i64(w, m->aru);
}

void evs_leave_send(struct evs *evs) {
    struct evs_header h = evs_new_header(evs, EVS_TYPE_LEAVE, 0);
    struct evs_leave m = {.seq = evs->own_last, .aru = evs->map.aru};
    evs->me->has_leave = true;
    evs->me->leave_header = h;
    evs->me->leave = m;
    struct xb_buf *buf = evs_new_buf(EVS_HEADER_SIZE + EVS_LEAVE_FIELDS_SIZE);
    if (!buf) return;
    struct xb_writer w = xb_writer_init(xb_buf_data(buf), buf->size);
    evs_leave_write(&w, &h, &m);
    evs->stats.sent_leave++;
    evs_transmit(evs, buf, NULL);
}

void evs_leave_tell(struct evs *evs, struct evs_node *q) {
    if (evs->now_ns < q->leave_told_ns + EVS_JOIN_PERIOD_NS) return;
    struct xb_writer w;
    struct xb_buf *buf = evs_delegate_begin(evs, EVS_HEADER_SOURCE_SIZE + EVS_LEAVE_FIELDS_SIZE, &w);
    if (!buf) return;
    struct evs_header h = q->leave_header;
    h.flags = EVS_FLAG_RETRANS | EVS_FLAG_SOURCE;
    evs_leave_write(&w, &h, &q->leave);
    evs_transmit(evs, buf, NULL);
    q->leave_told_ns = evs->now_ns;
}

int evs_leave_receive(struct evs *evs, struct evs_node *p, const struct evs_header *h, struct xb_reader *r,
                      bool is_direct) {
    struct evs_leave m;
    if (evs_leave_read(r, &m)) return -EPROTO;
    if (evs->state == EVS_JOINING) return 0;
    if (!p->has_leave)
        evs_debug(evs, EVS_DEBUG_LEAVE, "evs: %s leaves %s at seq %lld", XB_UUID_SHORT(&p->uuid),
                  VIEW_ID_TEXT(&h->view), (long long)m.seq);
    bool is_newer = !p->has_leave || p->leave_header.fifo_seq < h->fifo_seq;
    if (is_newer) {
        p->has_leave = true;
        p->leave_header = *h;
        p->leave = m;
    }
    p->is_operational = false;
    evs_node_set_join(p, NULL);
    if (!evs_is_current(evs, &h->view) || p->rank < 0) return 0;
    bool is_moved = evs_map_raise_safe(&evs->map, (size_t)p->rank, m.aru);
    if (is_moved && is_direct) p->progress_ns = evs->now_ns;
    if (evs->state == EVS_OPERATIONAL) evs_shift_gather(evs, true);
    return 0;
}
