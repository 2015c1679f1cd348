/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Delivery upwards: in a regular view (spec 03 section 8.5) and what is left at its end (section 8.6). */
#include "evs/internal.h"

void evs_up_view(struct evs *evs, const struct evs_view *view) {
    evs->upcalls++;
    evs->up.view(evs->up.ctx, view, evs->now_ns);
    evs->upcalls--;
}

static void pass_up(struct evs *evs, struct evs_message *message, const uint8_t *payload, size_t size) {
    message->payload = payload;
    message->size = size;
    evs->up.message(evs->up.ctx, message, evs->now_ns);
}

/* The slot is a copy: the upper layer may send from inside, and the ring may move. Its buffer stays until the message
 * is marked as delivered. */
static void deliver_slot(struct evs *evs, struct evs_slot slot, size_t rank, int64_t seq) {
    struct evs_message message = {.source = evs->members[rank],
                                  .view = evs->view,
                                  .user_type = slot.user_type,
                                  .order = (enum evs_order)slot.order,
                                  .seq = seq};
    const uint8_t *payload = slot.buf ? slot.buf->mem + slot.offset : NULL;
    evs_debug(evs, EVS_DEBUG_DELIVERY, "evs: %s delivers %lld of %s, order %d, %u bytes", XB_UUID_SHORT(&evs->uuid),
              (long long)seq, XB_UUID_SHORT(&evs->members[rank]), slot.order, (unsigned)slot.size);
    evs->upcalls++;
    if (slot.flags & EVS_FLAG_AGGREGATE) {
        struct xb_reader r = xb_reader_init(payload, slot.size);
        struct evs_part part;
        while (evs_part_next(&r, &part)) {
            message.user_type = part.user_type;
            pass_up(evs, &message, part.payload, part.size);
        }
    } else {
        pass_up(evs, &message, payload, slot.size);
    }
    evs->upcalls--;
    if (slot.order == EVS_SAFE) evs->stats.delivered_safe++;
    if (slot.order == EVS_SAFE && rank == evs->own_rank) evs_stats_latency(evs, evs->now_ns - slot.created_ns);
}

void evs_deliver(struct evs *evs) {
    int64_t seq;
    size_t rank;
    if (evs->upcalls || evs->state == EVS_CLOSED) return;
    while (evs_map_deliverable(&evs->map, &seq, &rank)) {
        const struct evs_slot *slot = evs_map_find(&evs->map, rank, seq);
        if (slot->order != EVS_DROP) deliver_slot(evs, *slot, rank, seq);
        evs_map_delivered(&evs->map, rank, seq);
    }
    if (evs->causal.count) evs_causal_release(evs, evs->map.safe);
}

/* Does any other member come along from the current view? */
static bool has_company(const struct evs *evs) {
    for (uint32_t i = 0; i < evs->install->count; i++) {
        const struct evs_entry *e = &evs->install->entries[i];
        if (e->is_operational && evs_is_current(evs, &e->view) && !xb_uuid_equal(&e->uuid, &evs->uuid)) return true;
    }
    return false;
}

/*
 * Does the view change deliver what is held from this source up to seq? The bound of the INSTALL is what those who come
 * along have in common; alone, or closing, a node delivers all that others may have delivered before.
 */
static bool is_agreed(const struct evs *evs, size_t rank, int64_t seq, bool is_bounded) {
    if (evs->map.ranks[rank].lu <= seq) return false; /* behind a hole that nobody can fill */
    if (!is_bounded) return true;
    const struct evs_entry *e = evs_report_find(evs->install, &evs->members[rank]);
    return e && seq <= e->hs;
}

void evs_deliver_trans(struct evs *evs) {
    int64_t seq;
    size_t rank;
    bool is_bounded = evs->install && has_company(evs);
    while (evs_map_pending(&evs->map, &seq, &rank)) {
        const struct evs_slot *slot = evs_map_find(&evs->map, rank, seq);
        if (slot->order != EVS_DROP && is_agreed(evs, rank, seq, is_bounded)) deliver_slot(evs, *slot, rank, seq);
        evs_map_delivered(&evs->map, rank, seq);
    }
}
