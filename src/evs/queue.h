/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A queue of buffers: the output queue (spec 03 section 7.3) and the causal queue (section 8.4). */
#ifndef XB_EVS_QUEUE_H
#define XB_EVS_QUEUE_H

#include "base/buf.h"

#include <stddef.h>
#include <stdint.h>

#define EVS_QUEUE_MESSAGES_MAX 65536

struct evs_queued {
    struct xb_buf *buf; /* a reference */
    size_t size;        /* of the payload, set by push: once the message is sent, buf has headers in front */
    uint8_t user_type, order;
    int64_t seq;        /* causal queue: delivered when this is safe */
    int64_t created_ns; /* causal queue */
};

struct evs_queue {
    struct evs_queued *items; /* ring */
    size_t capacity;          /* power of two, or 0 */
    size_t head, count;
    size_t bytes; /* of all payloads */
};

/* -> 0, -EAGAIN (EVS_QUEUE_MESSAGES_MAX reached) or -ENOMEM. The reference passes to the queue on 0. */
int evs_queue_push(struct evs_queue *queue, const struct evs_queued *item);
/* i-th from the head, i < count. */
static inline struct evs_queued *evs_queue_at(const struct evs_queue *queue, size_t i) {
    return &queue->items[(queue->head + i) & (queue->capacity - 1)];
}
/* Takes the head out; its reference passes to the caller. count > 0. */
struct evs_queued evs_queue_pop(struct evs_queue *queue);
void evs_queue_free(struct evs_queue *queue);

#endif
