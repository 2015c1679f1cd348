/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One net with a thread of its own, for tests: commands run in its thread, events are recorded and waited for.
 */
#ifndef XB_TESTS_NET_END_H
#define XB_TESTS_NET_END_H

#include "net/net.h"

#include <pthread.h>

#define END_EVENTS_MAX 4096

enum end_event_kind { END_READY, END_RECEIVED, END_LOST, END_STRANGER, END_DISCONNECTED };

struct end_event {
    enum end_event_kind kind;
    net_conn conn;
    bool is_dialled, is_handshake, is_tls;
    int reason;
    size_t size;
    uint32_t crc; /* of the body */
    char text[160];
};

struct end {
    struct net *net;
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    /* Under the mutex. */
    struct end_event events[END_EVENTS_MAX];
    size_t event_count, received_count;
    uint64_t received_bytes;
    void (*command)(struct end *end, void *arg);
    void *command_arg;
    bool is_over;
    uint16_t port;
    struct xb_isolation isolation;
    _Atomic(int) refuse; /* the allow list says no */
};

/* Makes the net, listening at 127.0.0.1, and starts the thread. */
void end_start(struct end *end, const struct net_config *config);
/* Stops the thread and frees the net. */
void end_stop(struct end *end);
/* Runs it in the thread and waits until it is done. */
void end_call(struct end *end, void (*command)(struct end *end, void *arg), void *arg);

net_conn end_dial(struct end *end, uint16_t port);
void end_close(struct end *end, net_conn conn);
/* Queues datagrams of `size` bytes, the bodies filled with `first`, first + 1, ... in one go. -> first failure or 0 */
int end_send(struct end *end, net_conn conn, uint8_t segment, size_t count, size_t size, uint8_t first);
void end_stats(struct end *end, struct net_stats *stats);

/* Waits for the n-th (from 0) event of the kind; the test fails if it does not come. */
struct end_event end_wait(struct end *end, enum end_event_kind kind, size_t n);
size_t end_count(struct end *end, enum end_event_kind kind);

/* For cmocka_run_group_tests: makes the certificates, and lets the process open many descriptors. */
int end_prepare(void **state);
int end_clean(void **state);
extern struct tls_context *own_tls, *other_tls, *expired_tls; /* other: of another CA */

/* Two ends and a connection between them. */
struct pair {
    struct end a, b;
    net_conn from_a, at_b;
};

struct net_config config_with(struct tls_context *tls);
struct pair *start_pair(struct tls_context *a_tls, struct tls_context *b_tls);
void stop_pair(struct pair *pair);
int dial_raw(uint16_t port); /* a plain socket, connected */

#endif
