/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A donor's and a joiner's history, and a joiner that writes down what it is handed. */
#ifndef XB_TESTS_IST_PAIR_H
#define XB_TESTS_IST_PAIR_H

#include "base/clock.h"
#include "ist/internal.h"
#include "support/certs.h"
#include "unit/gcache/support.h"

#include <pthread.h>

#define EVENTS_MAX 4096
#define WAIT_NS (30 * XB_SECOND) /* longer than anything takes on a slow machine */

struct joiner {
    struct fixture fixture;
    struct gcache *cache;
    struct ist_receiver_config config;
    struct ist_receiver *receiver;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    int count; /* of events */
    struct ist_event events[EVENTS_MAX];
    int fail_at; /* the event callback refuses this one; 0: none */
    bool is_ended;
    int result;
    int64_t last;
    char reason[XB_ERROR_TEXT_SIZE];
    int64_t progress_first_total, progress_last_done;
    int progress_calls;
    _Atomic(int) asked, lines; /* allowlist questions, log lines about strangers */
    bool is_nobody_allowed;
    struct xb_log log;
};

struct donor {
    struct fixture fixture;
    struct gcache *cache;
    struct ist_senders *senders;
};

/* seqno 1..count with sizes and kinds that vary; from: first one. */
void pair_fill(struct gcache *cache, int64_t from, int64_t to);
bool pair_is_skip(int64_t seqno);
bool pair_is_cchange(int64_t seqno);
/* Writes what pair_fill stores for a seqno. -> size */
size_t pair_payload(int64_t seqno, uint8_t *to);
#define PAYLOAD_MAX 70000

void joiner_init(struct joiner *joiner);
void joiner_open(struct joiner *joiner, int64_t last_needed, struct tls_context *tls);
void joiner_await_end(struct joiner *joiner); /* and closes the receiver */
void joiner_clear(struct joiner *joiner);
/* Events from..to came in order, with the flags that they should have, and are in the history. */
void joiner_check(struct joiner *joiner, int64_t from, int64_t to, int64_t first, int64_t preload_from);

void donor_init(struct donor *donor);
void donor_clear(struct donor *donor);
int donor_send(struct donor *donor, const char *address, int64_t first, int64_t last, int64_t preload_from,
               struct tls_context *tls, struct xb_error *error);

/* A plain TCP connection to the joiner. */
int joiner_dial(const struct joiner *joiner);

#endif
