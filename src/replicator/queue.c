/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The appliers' queue. */
#include "replicator/queue.h"

#include <stdlib.h>

struct item *item_new(enum item_type type, int64_t bytes) {
    struct item *item = calloc(1, sizeof(*item));
    if (!item) return NULL;
    item->type = type;
    item->bytes = bytes;
    return item;
}

void item_free(struct item *item) {
    free(item);
}

void queue_init(struct apply_queue *queue) {
    *queue = (struct apply_queue){.is_closed = true};
    pthread_mutex_init(&queue->lock, NULL);
    pthread_cond_init(&queue->wake, NULL);
    queue->last = &queue->first;
    queue->transfer_last = &queue->transfer_first;
}

void queue_destroy(struct apply_queue *queue) {
    pthread_cond_destroy(&queue->wake);
    pthread_mutex_destroy(&queue->lock);
}

void queue_open(struct apply_queue *queue) {
    pthread_mutex_lock(&queue->lock);
    queue->is_closed = queue->is_suspended = false;
    pthread_mutex_unlock(&queue->lock);
}

void queue_close_locked(struct apply_queue *queue) {
    queue->is_closed = true;
    pthread_cond_broadcast(&queue->wake);
}

void queue_close(struct apply_queue *queue) {
    pthread_mutex_lock(&queue->lock);
    queue_close_locked(queue);
    pthread_mutex_unlock(&queue->lock);
}

void queue_push(struct apply_queue *queue, struct item *item) {
    item->next = NULL;
    pthread_mutex_lock(&queue->lock);
    *queue->last = item;
    queue->last = &item->next;
    queue->bytes += item->bytes;
    atomic_fetch_add(&queue->length, 1);
    if (!queue->is_suspended) pthread_cond_signal(&queue->wake);
    pthread_mutex_unlock(&queue->lock);
}

static struct item *take(struct apply_queue *queue) {
    struct item *item = queue->first;
    queue->first = item->next;
    if (!queue->first) queue->last = &queue->first;
    queue->bytes -= item->bytes;
    atomic_fetch_sub(&queue->length, 1);
    if (item->type != ITEM_WRITESET) queue->is_suspended = true;
    return item;
}

static struct item *take_transferred(struct apply_queue *queue) {
    struct item *item = queue->transfer_first;
    queue->transfer_first = item->next;
    if (!queue->transfer_first) queue->transfer_last = &queue->transfer_first;
    /* Whoever filled the list, or waits for its end, may go on. */
    if (queue->transfer_length-- >= QUEUE_TRANSFER_MAX || !queue->transfer_first) pthread_cond_broadcast(&queue->wake);
    return item;
}

struct item *queue_pop(struct apply_queue *queue) {
    struct item *item = NULL;
    pthread_mutex_lock(&queue->lock);
    while (!item) {
        if (queue->transfer_first)
            item = take_transferred(queue);
        else if (queue->first && !queue->is_suspended)
            item = take(queue);
        else if (queue->is_closed)
            break;
        else
            pthread_cond_wait(&queue->wake, &queue->lock);
    }
    pthread_mutex_unlock(&queue->lock);
    return item;
}

void queue_resume(struct apply_queue *queue) {
    pthread_mutex_lock(&queue->lock);
    queue->is_suspended = false;
    pthread_cond_broadcast(&queue->wake);
    pthread_mutex_unlock(&queue->lock);
}

void queue_transfer_begin(struct apply_queue *queue) {
    pthread_mutex_lock(&queue->lock);
    queue->is_transferring = true;
    queue->is_transfer_over = false;
    pthread_mutex_unlock(&queue->lock);
}

int queue_transfer_push(struct apply_queue *queue, struct item *item) {
    int rc = -ECANCELED;
    item->next = NULL;
    pthread_mutex_lock(&queue->lock);
    while (queue->is_transferring && queue->transfer_length >= QUEUE_TRANSFER_MAX)
        pthread_cond_wait(&queue->wake, &queue->lock);
    if (queue->is_transferring) {
        *queue->transfer_last = item;
        queue->transfer_last = &item->next;
        queue->transfer_length++;
        pthread_cond_broadcast(&queue->wake);
        rc = 0;
    }
    pthread_mutex_unlock(&queue->lock);
    return rc;
}

void queue_transfer_finish(struct apply_queue *queue) {
    pthread_mutex_lock(&queue->lock);
    queue->is_transfer_over = true;
    pthread_cond_broadcast(&queue->wake);
    pthread_mutex_unlock(&queue->lock);
}

struct item *queue_transfer_pop(struct apply_queue *queue) {
    struct item *item = NULL;
    pthread_mutex_lock(&queue->lock);
    while (!queue->transfer_first && !queue->is_transfer_over) pthread_cond_wait(&queue->wake, &queue->lock);
    if (queue->transfer_first) item = take_transferred(queue);
    pthread_mutex_unlock(&queue->lock);
    return item;
}

void queue_transfer_end(struct apply_queue *queue) {
    pthread_mutex_lock(&queue->lock);
    queue->is_transferring = false;
    queue->is_transfer_over = true;
    pthread_cond_broadcast(&queue->wake);
    pthread_mutex_unlock(&queue->lock);
}
