/* SPDX-License-Identifier: GPL-2.0-or-later */
/* GAP: acknowledgement, request for missing messages, commit gap, install gap (spec 03 sections 3.3, 6.5, 8.3). */
#include "evs/internal.h"

int evs_gap_read(struct xb_reader *r, struct evs_gap *m) {
    m->seq = xb_read_i64(r);
    m->aru = xb_read_i64(r);
    m->origin = xb_read_uuid(r);
    m->lu = xb_read_i64(r);
    m->hs = xb_read_i64(r);
    return xb_reader_ok(r) ? 0 : -EPROTO;
}

void evs_gap_write(struct xb_writer *w, const struct evs_header *h, const struct evs_gap *m) {
    evs_header_write(w, h);
    xb_write_i64(w, m->seq);
    xb_write_i64(w, m->aru);
    xb_write_uuid(w, &m->origin);
    xb_write_i64(w, m->lu);
    xb_write_i64(w, m->hs);
}

static void send_gap(struct evs *evs, const struct xb_uuid *target, const struct evs_header *h,
                     const struct evs_gap *m) {
    struct xb_buf *buf = evs_new_buf(EVS_HEADER_SIZE + EVS_GAP_FIELDS_SIZE);
    if (!buf) return;
    struct xb_writer w = xb_writer_init(xb_buf_data(buf), buf->size);
    evs_gap_write(&w, h, m);
    evs->stats.sent_gap++;
    evs_debug(evs, EVS_DEBUG_GAP, "evs: %s sends GAP, flags %#x: sent %lld, has all up to %lld, asks for %lld to %lld",
              XB_UUID_SHORT(&evs->uuid), h->flags, (long long)m->seq, (long long)m->aru, (long long)m->lu,
              (long long)m->hs);
    evs_transmit(evs, buf, target);
}

static const struct evs_gap no_range = {.seq = -1, .aru = -1, .lu = -1, .hs = -1};

void evs_gap_send_ack(struct evs *evs) {
    struct evs_header h = evs_new_header(evs, EVS_TYPE_GAP, 0);
    struct evs_gap m = no_range;
    m.seq = evs->own_last;
    m.aru = evs->acked = evs->map.aru;
    send_gap(evs, NULL, &h, &m);
}

void evs_gap_send_request(struct evs *evs, const struct xb_uuid *target, const struct xb_uuid *origin, int64_t lu,
                          int64_t hs) {
    struct evs_header h = evs_new_header(evs, EVS_TYPE_GAP, EVS_FLAG_RETRANS);
    struct evs_gap m = {.seq = evs->own_last, .aru = evs->map.aru, .origin = *origin, .lu = lu, .hs = hs};
    send_gap(evs, target, &h, &m);
}

void evs_gap_send_commit(struct evs *evs) {
    struct evs_header h = evs_new_header(evs, EVS_TYPE_GAP, EVS_FLAG_COMMIT);
    struct evs_gap m = no_range;
    h.view = evs->install->install_view;
    m.seq = evs->install->h.fifo_seq;
    send_gap(evs, NULL, &h, &m);
}

void evs_gap_send_install(struct evs *evs) {
    struct evs_header h = evs_new_header(evs, EVS_TYPE_GAP, 0);
    h.view = evs->install->install_view;
    send_gap(evs, NULL, &h, &no_range);
}

static void on_commit_gap(struct evs *evs, struct evs_node *p, const struct evs_header *h, const struct evs_gap *m) {
    p->early_commit_view = h->view;
    p->early_commit_seq = m->seq;
    if (evs->state != EVS_GATHER || !evs->install || !view_id_equal(&evs->install->install_view, &h->view)) return;
    if (evs->install->h.fifo_seq == m->seq) {
        p->is_committed = true;
        p->progress_ns = evs->now_ns;
        evs_install_advance(evs);
    } else if (evs->install->h.fifo_seq < m->seq) {
        evs_shift_gather(evs, true); /* a newer INSTALL exists */
    }
}

static void on_install_gap(struct evs *evs, struct evs_node *p, const struct evs_header *h) {
    p->early_install_view = h->view;
    if (evs->state != EVS_INSTALL || !view_id_equal(&evs->install->install_view, &h->view)) return;
    p->is_installed = true;
    p->progress_ns = evs->now_ns;
    evs_install_advance(evs);
}

static void on_request(struct evs *evs, struct evs_node *p, const struct evs_header *h, const struct evs_gap *m) {
    if (m->lu < 0 || m->lu > m->hs) return;
    const struct evs_node *origin = evs_node_find(evs, &m->origin);
    if (!origin || origin->rank < 0) return;
    if (origin != evs->me) {
        if (evs_is_retrans(h)) evs_serve(evs, &p->uuid, origin, m->lu, m->hs);
        return;
    }
    /* While an INSTALL is pending nothing may be added to what was agreed. */
    if (!evs->install && m->hs > evs->complete_to && m->hs <= evs->map.safe + EVS_AHEAD_MAX) evs->complete_to = m->hs;
    evs_serve(evs, &p->uuid, origin, m->lu, m->hs < evs->own_last ? m->hs : evs->own_last);
}

static void on_acknowledgement(struct evs *evs, struct evs_node *p, const struct evs_header *h,
                               const struct evs_gap *m) {
    struct evs_rank *rank = &evs->map.ranks[p->rank];
    if (evs_map_raise_safe(&evs->map, (size_t)p->rank, m->aru)) p->progress_ns = evs->now_ns;
    if (!xb_uuid_is_nil(&m->origin)) on_request(evs, p, h, m);
    if (evs->install) return;
    /* It has sent more than was received: the tail was lost. */
    if (m->seq >= rank->lu && m->seq <= evs->map.safe + EVS_AHEAD_MAX) evs_request(evs, &p->uuid, p, rank->lu, m->seq);
    /* What it has sent it does not follow up at once, whatever MSG_MORE said. */
    if (rank->hs > evs->own_last && evs->complete_to < rank->hs) evs->complete_to = rank->hs;
}

int evs_gap_receive(struct evs *evs, struct evs_node *p, const struct evs_header *h, struct xb_reader *r) {
    struct evs_gap m;
    if (evs_gap_read(r, &m)) return -EPROTO;
    if (h->flags & EVS_FLAG_COMMIT) {
        on_commit_gap(evs, p, h, &m);
    } else if (!evs_is_current(evs, &h->view)) {
        on_install_gap(evs, p, h);
    } else if (p->rank >= 0 && evs->state != EVS_JOINING) {
        on_acknowledgement(evs, p, h, &m);
        evs_deliver(evs);
    }
    return 0;
}
