/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the files of this folder share. */
#ifndef XB_IST_INTERNAL_H
#define XB_IST_INTERNAL_H

#include "ist/ist.h"
#include "ist/message.h"
#include "net/stream.h"

#include <pthread.h>
#include <stdatomic.h>

/* Where a receiver listens and what it tells the donor (spec 07 section 17.1). */
struct ist_listen_address {
    struct ist_address bind, advertised; /* both complete: scheme and port are filled in */
};
int ist_address_resolve(struct ist_listen_address *address, const struct ist_receiver_config *config,
                        struct xb_error *error);
void ist_address_format(const struct ist_address *address, char text[IST_ADDRESS_SIZE]);

/* Starts a thread that leaves all signals to the server. -> 0 or negative errno */
int ist_thread_start(pthread_t *thread, void *(*run)(void *arg), void *arg);

/* Sends a header without payload at once, and receives a header. */
int ist_send_plain(struct stream *stream, enum ist_message_type type, int8_t ctrl, int version, struct xb_error *error);
int ist_receive_header(struct stream *stream, struct ist_message *message, int version, struct xb_error *error);

struct ist_receiver {
    struct ist_receiver_config config; /* strings are not kept */
    struct ist_receiver_io io;
    const struct xb_log *log;
    char address[IST_ADDRESS_SIZE];
    struct stream_listener *listener; /* of the thread */
    struct stream_cancel *cancel;
    pthread_t thread;

    pthread_mutex_t mutex;
    pthread_cond_t started;
    bool is_started, is_closing;
    int64_t first, started_ns;

    int64_t stranger_logged_ns; /* of the thread: when the last line about strangers was written */
    int64_t strangers_unlogged;
};

/* The stream of events, in receive.c: from the first message to the end. -> 0 or negative errno with *error */
int ist_receive_events(struct ist_receiver *receiver, struct stream *stream, int64_t first, int64_t *last,
                       struct xb_error *error);

#endif
