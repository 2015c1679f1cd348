/* SPDX-License-Identifier: GPL-2.0-or-later */
/* USER: a message of the layer above, or a filler (spec 03 sections 3.3, 3.5, 8.2, 9.9). */
#include "evs/internal.h"

int evs_user_read(struct xb_reader *r, const struct evs_header *h, struct evs_user *m) {
    m->user_type = xb_read_u8(r);
    m->range = xb_read_u8(r);
    xb_read_u16(r); /* pad */
    m->seq = xb_read_i64(r);
    m->aru = xb_read_i64(r);
    m->size = xb_reader_left(r);
    m->payload = xb_read_bytes(r, m->size);
    if (!xb_reader_ok(r) || m->seq < 0 || m->seq > INT64_MAX - EVS_RANGE_MAX || m->size > EVS_PAYLOAD_MAX)
        return -EPROTO;
    if (h->flags & EVS_FLAG_AGGREGATE && !evs_parts_are_ok(m->payload, m->size)) return -EPROTO;
    return 0;
}

void evs_user_write(struct xb_writer *w, const struct evs_header *h, const struct evs_user *m) {
    evs_header_write(w, h);
    xb_write_u8(w, m->user_type);
    xb_write_u8(w, m->range);
    xb_write_u16(w, 0);
    xb_write_i64(w, m->seq);
    xb_write_i64(w, m->aru);
}

bool evs_parts_are_ok(const uint8_t *payload, size_t size) {
    struct xb_reader r = xb_reader_init(payload, size);
    struct evs_part part;
    while (evs_part_next(&r, &part)) {
    }
    return xb_reader_ok(&r);
}

bool evs_part_next(struct xb_reader *r, struct evs_part *part) {
    if (!xb_reader_left(r)) return false;
    xb_read_u8(r); /* flags: none */
    part->user_type = xb_read_u8(r);
    part->size = xb_read_u16(r);
    part->payload = xb_read_bytes(r, part->size);
    return xb_reader_ok(r);
}

void evs_part_write(struct xb_writer *w, uint8_t user_type, const uint8_t *payload, size_t size) {
    xb_write_u8(w, 0);
    xb_write_u8(w, user_type);
    xb_write_u16(w, (uint16_t)size);
    xb_write_bytes(w, payload, size);
}

/* Copies the message into the input map. Without memory it counts as lost: it is asked for again. */
static void store(struct evs *evs, size_t rank, const struct evs_header *h, const struct evs_user *m) {
    if (evs_map_find(&evs->map, rank, m->seq) || evs_map_reserve(&evs->map, rank, m->seq + m->range)) return;
    struct evs_slot slot = {.size = (uint32_t)m->size,
                            .fifo_seq = h->fifo_seq,
                            .aru = m->aru,
                            .user_type = m->user_type,
                            .order = h->order,
                            .flags = h->flags & EVS_FLAG_AGGREGATE,
                            .range = m->range};
    if (m->size) {
        slot.buf = xb_buf_new(0, m->size);
        if (!slot.buf) return;
        memcpy(xb_buf_data(slot.buf), m->payload, m->size);
    }
    evs_map_insert(&evs->map, rank, m->seq, &slot);
}

/* A USER of the view that is being installed shows that its sender works in it. -> true if I do so too now. */
static bool enter_its_view(struct evs *evs, const struct evs_node *p, const struct evs_header *h) {
    if (!evs->install || !view_id_equal(&h->view, &evs->install->install_view) || !p->is_operational) return false;
    const struct evs_entry *theirs = evs_report_find(evs->install, &p->uuid);
    if (!theirs || !theirs->is_operational) return false;
    evs_install_complete(evs);
    return evs_is_current(evs, &h->view);
}

int evs_user_receive(struct evs *evs, struct evs_node *p, const struct evs_header *h, struct xb_reader *r,
                     bool is_direct) {
    struct evs_user m;
    if (evs_user_read(r, h, &m)) return -EPROTO;
    if (!evs_is_current(evs, &h->view)) {
        /* Its sender stays known: it is operational in the view that is entered. */
        if (!enter_its_view(evs, p, h)) return 0;
    }
    if (evs->install || p->rank < 0) return 0; /* the set of messages is agreed already */
    if (evs->state != EVS_OPERATIONAL && evs->state != EVS_GATHER && evs->state != EVS_LEAVING) return 0;
    struct evs_map *map = &evs->map;
    struct evs_rank *rank = &map->ranks[p->rank];
    if (m.seq > map->safe + EVS_AHEAD_MAX - m.range) return -EPROTO;
    evs_debug(evs, EVS_DEBUG_USER, "evs: %s has %lld to %lld of %s, which has all up to %lld",
              XB_UUID_SHORT(&evs->uuid), (long long)m.seq, (long long)m.seq + m.range, XB_UUID_SHORT(&p->uuid),
              (long long)m.aru);

    int64_t lu = rank->lu;
    if (m.seq >= lu) store(evs, (size_t)p->rank, h, &m);
    /* A recovered message says nothing about the life of its origin (section 18.4). */
    if (rank->lu > lu && is_direct && !evs_is_retrans(h)) p->progress_ns = evs->now_ns;
    evs_map_raise_safe(map, evs->own_rank, map->aru);
    evs_map_raise_safe(map, (size_t)p->rank, m.aru);
    if (rank->hs >= rank->lu && !evs_is_retrans(h)) evs_request(evs, &p->uuid, p, rank->lu, rank->hs);
    if (!(h->flags & EVS_FLAG_MORE) && evs->complete_to < map->max_hs) evs->complete_to = map->max_hs;
    evs_deliver(evs);
    return 0;
}
