/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What appliers work on, in the order of the group. Write sets are applied side by side; everything else (views, the
 * ends of transfers, votes, requests) is processed alone: when it is taken, nothing more is given out until the thread
 * that has it calls queue_resume. Meanwhile a state transfer may feed the same appliers through a second list.
 * Any thread.
 */
#ifndef XB_REPLICATOR_QUEUE_H
#define XB_REPLICATOR_QUEUE_H

#include "gcs/cchange.h"
#include "replicator/trx.h"

enum item_type {
    ITEM_WRITESET, /* to be applied */
    ITEM_VIEW,
    ITEM_JOIN,
    ITEM_SYNC,
    ITEM_VOTE,
    ITEM_STATE_REQUEST,
    ITEM_DESYNC,
    ITEM_INCONSISTENCY
};

struct view_item {
    struct gcs_cchange change; /* strings point into buf */
    uint8_t *buf;
    int own_index;
    bool is_in_history;  /* else buf is to be freed */
    bool needs_transfer; /* this node lacks state: the transfer is run from here */
    bool is_connecting;  /* first primary one of the connection, or another history than before */
    bool is_from_ist;
    int error; /* of a final view: why the membership ended, 0 graceful */
};

struct item {
    enum item_type type;
    struct item *next;
    int64_t bytes;
    int64_t position; /* everything ordered before it goes up to here */
    union {
        struct ordered ordered; /* WRITESET */
        struct view_item view;
        struct {
            int64_t seqno, code;
        } value; /* JOIN, SYNC: code. VOTE: both */
        struct {
            uint8_t *buf;
            size_t size;
            int64_t position; /* of this node in the order */
        } request;
        struct {
            struct event *done; /* the caller waits */
            int *result;
        } desync;
    } as;
};

struct item *item_new(enum item_type type, int64_t bytes); /* zeroed; NULL: no memory */
void item_free(struct item *item);

struct apply_queue {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    struct item *first, **last;
    _Atomic(int64_t) length; /* of the first list */
    int64_t bytes;
    bool is_suspended, is_closed;
    /* Second list. */
    struct item *transfer_first, **transfer_last;
    int64_t transfer_length;
    bool is_transferring, is_transfer_over;
    int receivers; /* threads inside recv */
};

#define QUEUE_TRANSFER_MAX 1024 /* the IST receiver waits when it is that far ahead of the appliers */

void queue_init(struct apply_queue *queue);
void queue_destroy(struct apply_queue *queue);
void queue_open(struct apply_queue *queue);
void queue_close(struct apply_queue *queue); /* receivers get NULL */
void queue_close_locked(struct apply_queue *queue);

void queue_push(struct apply_queue *queue, struct item *item);
/* -> the next item, or NULL when closed. */
struct item *queue_pop(struct apply_queue *queue);
void queue_resume(struct apply_queue *queue);

/* The second list, for the time of a transfer. push waits while it is full; -> 0 or -ECANCELED when it was ended. */
void queue_transfer_begin(struct apply_queue *queue);
int queue_transfer_push(struct apply_queue *queue, struct item *item);
void queue_transfer_finish(struct apply_queue *queue); /* no more will be pushed */
/* For the thread that runs the transfer: -> next item of the second list, NULL when it is finished and empty. */
struct item *queue_transfer_pop(struct apply_queue *queue);
void queue_transfer_end(struct apply_queue *queue);

#endif
