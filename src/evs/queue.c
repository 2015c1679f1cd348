/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A ring of buffers that grows up to a limit. */
#include "evs/queue.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define CAPACITY_MIN 64

static int grow(struct evs_queue *queue) {
    size_t capacity = queue->capacity ? 2 * queue->capacity : CAPACITY_MIN;
    struct evs_queued *items = malloc(capacity * sizeof(*items));
    if (!items) return -ENOMEM;
    for (size_t i = 0; i < queue->count; i++) items[i] = *evs_queue_at(queue, i);
    free(queue->items);
    queue->items = items;
    queue->capacity = capacity;
    queue->head = 0;
    return 0;
}

int evs_queue_push(struct evs_queue *queue, const struct evs_queued *item) {
    if (queue->count >= EVS_QUEUE_MESSAGES_MAX) return -EAGAIN;
    if (queue->count == queue->capacity && grow(queue)) return -ENOMEM;
    queue->count++;
    struct evs_queued *last = evs_queue_at(queue, queue->count - 1);
    *last = *item;
    last->size = item->buf->size;
    queue->bytes += last->size;
    return 0;
}

struct evs_queued evs_queue_pop(struct evs_queue *queue) {
    struct evs_queued item = *evs_queue_at(queue, 0);
    queue->head = (queue->head + 1) & (queue->capacity - 1);
    queue->count--;
    queue->bytes -= item.size;
    return item;
}

void evs_queue_free(struct evs_queue *queue) {
    while (queue->count) xb_buf_unref(evs_queue_pop(queue).buf);
    free(queue->items);
    memset(queue, 0, sizeof(*queue));
}
