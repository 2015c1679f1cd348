/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * User messages downwards (spec 03 section 7): windows, completion of the own sequence, queue, aggregation; and what is
 * answered after a batch of received messages.
 */
#include "evs/internal.h"

struct outgoing {
    struct xb_buf *buf; /* NULL: filler */
    uint8_t user_type, order;
    int64_t window; /* -1: none */
    int64_t up_to;  /* completion: last seq to occupy; -1: none */
    size_t count;   /* queued messages in this one */
};

/* Section 7.2: may receivers wait with their answer, since more is coming at once? */
static bool has_more(const struct evs *evs, const struct outgoing *out, int64_t seq) {
    if (evs->queue.count <= out->count || out->up_to >= 0) return false;
    if (out->window < 0) return true;
    return seq + 1 <= evs->map.safe + out->window &&
           evs->quiet_bytes + (out->buf ? out->buf->size : 0) < EVS_QUIET_BYTES_MAX;
}

static uint8_t range_to(int64_t seq, int64_t last) {
    int64_t range = last - seq;
    return (uint8_t)(range < 0 ? 0 : range > EVS_RANGE_MAX ? EVS_RANGE_MAX : range);
}

/* Puts the message in the input map and on the wire. On EVS_SENT the reference of out->buf has been taken. */
static int send_user(struct evs *evs, const struct outgoing *out) {
    int64_t seq = evs->own_last + 1;
    if (out->window >= 0 && seq > evs->map.safe + out->window) return EVS_BLOCKED;
    bool is_more = has_more(evs, out, seq);
    int64_t last = out->up_to >= 0 ? out->up_to : is_more ? seq : evs->map.max_hs;
    struct evs_user m = {.user_type = out->user_type, .range = range_to(seq, last), .seq = seq};
    if (evs_map_reserve(&evs->map, evs->own_rank, seq + m.range)) return -ENOMEM;
    struct xb_buf *buf = out->buf ? out->buf : evs_new_buf(0);
    if (!buf) return -ENOMEM;

    struct evs_header h = evs_new_header(evs, EVS_TYPE_USER, 0);
    h.order = out->order;
    h.flags = (uint8_t)((is_more ? EVS_FLAG_MORE : 0) | (out->count > 1 ? EVS_FLAG_AGGREGATE : 0));
    evs->quiet_bytes = is_more ? evs->quiet_bytes + buf->size : 0;
    struct evs_slot slot = {.buf = out->buf,
                            .offset = buf->head,
                            .size = buf->size,
                            .fifo_seq = h.fifo_seq,
                            .aru = evs->map.aru,
                            .created_ns = evs->now_ns,
                            .user_type = m.user_type,
                            .order = h.order,
                            .flags = h.flags & EVS_FLAG_AGGREGATE,
                            .range = m.range};
    evs_map_insert(&evs->map, evs->own_rank, seq, &slot);
    evs->own_last = seq + m.range;
    evs_map_raise_safe(&evs->map, evs->own_rank, evs->map.aru);
    m.aru = evs->acked = evs->map.aru;
    evs->sent_ns = evs->now_ns;
    evs->stats.sent_user++;
    evs_debug(evs, EVS_DEBUG_USER, "evs: %s sends %lld to %lld, order %d, safe %lld", XB_UUID_SHORT(&evs->uuid),
              (long long)seq, (long long)evs->own_last, out->order, (long long)evs->map.safe);

    struct xb_writer w = xb_writer_init(xb_buf_push(buf, EVS_USER_HEADER_SIZE), EVS_USER_HEADER_SIZE);
    evs_user_write(&w, &h, &m);
    if (out->buf)
        evs_transmit_keep(evs, buf, NULL);
    else
        evs_transmit(evs, buf, NULL);
    return EVS_SENT;
}

int evs_send_filler(struct evs *evs) {
    return send_user(evs, &(struct outgoing){.user_type = EVS_FILLER, .order = EVS_DROP, .window = -1, .up_to = -1});
}

void evs_complete(struct evs *evs, int64_t up_to) {
    if (evs->own_last >= up_to) return;
    send_user(evs, &(struct outgoing){.user_type = EVS_FILLER, .order = EVS_DROP, .window = -1, .up_to = up_to});
}

/* How many messages at the head of the queue fit in one aggregate; 1: it goes alone. */
static size_t aggregate_count(const struct evs *evs, size_t *size) {
    size_t count = 0;
    *size = 0;
    if (!evs->options.use_aggregate) return 1;
    for (; count < evs->queue.count; count++) {
        const struct evs_queued *item = evs_queue_at(&evs->queue, count);
        size_t next = *size + EVS_PART_HEADER_SIZE + item->size;
        if (next > EVS_PAYLOAD_MAX || item->order != evs_queue_at(&evs->queue, 0)->order) break;
        *size = next;
    }
    return count < 2 ? 1 : count;
}

static int send_aggregate(struct evs *evs, int64_t window, size_t count, size_t size) {
    struct xb_buf *buf = xb_buf_new(XB_BUF_HEADROOM, size);
    if (!buf) return -ENOMEM;
    struct xb_writer w = xb_writer_init(xb_buf_data(buf), size);
    for (size_t i = 0; i < count; i++) {
        const struct evs_queued *item = evs_queue_at(&evs->queue, i);
        evs_part_write(&w, item->user_type, xb_buf_data(item->buf), item->size);
    }
    int result = send_user(evs, &(struct outgoing){.buf = buf,
                                                   .user_type = EVS_FILLER,
                                                   .order = evs_queue_at(&evs->queue, 0)->order,
                                                   .window = window,
                                                   .up_to = -1,
                                                   .count = count});
    if (result != EVS_SENT) xb_buf_unref(buf);
    return result;
}

/* Section 7.3: sends the head of the queue, aggregated if possible. */
static int send_head(struct evs *evs, int64_t window) {
    if (window >= 0 && evs->own_last + 1 > evs->map.safe + window) return EVS_BLOCKED;
    size_t size;
    size_t count = aggregate_count(evs, &size);
    if (count > 1) {
        int result = send_aggregate(evs, window, count, size);
        if (result != EVS_SENT) return result;
        for (size_t i = 0; i < count; i++) xb_buf_unref(evs_queue_pop(&evs->queue).buf);
        return EVS_SENT;
    }
    const struct evs_queued *head = evs_queue_at(&evs->queue, 0);
    int result = send_user(evs, &(struct outgoing){.buf = head->buf,
                                                   .user_type = head->user_type,
                                                   .order = head->order,
                                                   .window = window,
                                                   .up_to = -1,
                                                   .count = 1});
    if (result == EVS_SENT) evs_queue_pop(&evs->queue);
    return result;
}

void evs_drain(struct evs *evs) {
    while (evs->queue.count && send_head(evs, evs->options.send_window) == EVS_SENT) {
    }
}

int evs_flush_queue(struct evs *evs) {
    while (evs->queue.count)
        if (send_head(evs, -1) != EVS_SENT) return -ENOMEM;
    return 0;
}

int evs_submit(struct evs *evs, struct xb_buf *buf, uint8_t user_type, enum evs_order order, int64_t now_ns) {
    evs->now_ns = now_ns;
    if (evs->state == EVS_GATHER || evs->state == EVS_INSTALL) return -EAGAIN;
    if (evs->state != EVS_OPERATIONAL) return -ENOTCONN;
    if (!buf->size || buf->size > EVS_PAYLOAD_MAX) return -EMSGSIZE;
    if (order == EVS_LOCAL_CAUSAL) return evs_causal_submit(evs, buf, user_type);
    if (evs->member_count == 1) evs->unsettled++; /* safe at once: delivered by the next tick */
    if (evs->queue.bytes >= EVS_QUEUE_BYTES_MAX) return -EAGAIN;
    evs->stats.queued += (int64_t)evs->queue.count;
    evs->stats.submitted++;
    if (!evs->queue.count) {
        int result = send_user(evs, &(struct outgoing){.buf = buf,
                                                       .user_type = user_type,
                                                       .order = (uint8_t)order,
                                                       .window = evs->options.user_send_window,
                                                       .up_to = -1});
        if (result == EVS_SENT) return 0;
    }
    struct evs_queued item = {.buf = buf, .user_type = user_type, .order = (uint8_t)order};
    return evs_queue_push(&evs->queue, &item) ? -EAGAIN : 0;
}

/* Sections 7.4, 8.2, 8.3: drain, complete, acknowledge - whatever is due, with as few messages as possible. */
static void answer(struct evs *evs) {
    if (evs->state == EVS_OPERATIONAL) evs_drain(evs);
    bool may_complete = !evs->install && (evs->state == EVS_OPERATIONAL || evs->state == EVS_GATHER);
    if (may_complete && !evs->queue.count) {
        /* In GATHER nobody may wait for more: its sender may be dead. */
        if (evs->state == EVS_GATHER && evs->complete_to < evs->map.max_hs) evs->complete_to = evs->map.max_hs;
        evs_complete(evs, evs->complete_to);
    }
    if (evs->state == EVS_GATHER) evs_gather_step(evs);
    bool may_acknowledge =
        !evs->install && (evs->state == EVS_OPERATIONAL || evs->state == EVS_GATHER || evs->state == EVS_LEAVING);
    if (may_acknowledge && evs->acked < evs->map.aru) evs_gap_send_ack(evs);
}

void evs_settle(struct evs *evs) {
    evs->unsettled = 0;
    evs_deliver(evs);
    answer(evs);
    evs_deliver(evs);
}
