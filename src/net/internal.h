/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shared inside src/net only.
 *
 * A connection that fails or ends is not taken apart on the spot: it is marked, and reported and freed at the start of
 * the next turn. So no connection vanishes under the hands of a function; but a callback of struct net_events may have
 * closed it: check `phase` afterwards.
 */
#ifndef XB_NET_INTERNAL_H
#define XB_NET_INTERNAL_H

#include "base/clock.h"
#include "net/net.h"
#include "net/socket.h"

#include <uv.h>

#define NET_READ_BYTES ((size_t)256 * 1024)  /* a system call */
#define NET_READS_PER_EVENT 4                /* then the other connections have their turn */
#define NET_BATCH_BYTES ((size_t)256 * 1024) /* encrypted or gathered for one write */
#define NET_FLIGHT_MAX 512                   /* datagrams gathered for one write; below IOV_MAX */
#define NET_ACCEPTS_PER_TURN 16 /* below NET_HALF_OPEN_PER_HOST_MAX: a peer is heard before a flood pushes it out */
#define NET_HANDSHAKE_READS_PER_TURN 16 /* TLS handshakes cost CPU time that members need */
#define NET_HANDSHAKE_READ_BYTES ((size_t)16 * 1024)
#define NET_CLOSE_TIMEOUT_NS (5 * XB_SECOND) /* section 14.3 */
#define NET_BACK_OFF_NS (100 * XB_MS)        /* after accept has failed */
#define NET_BACK_OFF_LOG_NS (60 * XB_SECOND)
#define NET_DETECT_DIAL_NS (500 * XB_MS) /* section 17 */
#define NET_DETECT_ACCEPT_NS (750 * XB_MS)

enum conn_phase {
    CONN_CONNECTING, /* TCP */
    CONN_DETECTING,  /* socket.dynamic: plain or TLS? */
    CONN_SECURING,   /* TLS handshake */
    CONN_READY,
    CONN_CLOSING, /* closed by the owner: what is queued is still sent */
    CONN_FAILED   /* to be reported, unless forgotten, and freed */
};

/* Datagrams of one segment, a ring. */
struct send_fifo {
    struct xb_buf **ring;
    size_t capacity, first, count;
    uint8_t segment;
};

struct send_queue {
    struct send_fifo *fifos;                          /* ascending by segment */
    size_t fifo_count, next;                          /* next: whose turn it is */
    size_t bytes;                                     /* queued and not yet given to the kernel or to TLS */
    struct xb_buf *flight[NET_FLIGHT_MAX];            /* plain: taken from the FIFOs for the next write */
    size_t flight_first, flight_count, flight_offset; /* offset: bytes of the first that are already written */
};

struct conn {
    struct net *net;
    net_conn id;
    uv_poll_t poll;
    int fd, watched; /* watched: events asked from uv_poll */
    enum conn_phase phase;
    bool is_dialled, is_told; /* told: `ready` was called */
    bool has_spoken;          /* has sent a byte */
    bool is_proven;           /* has delivered a datagram */
    bool is_violation;        /* has sent something else */
    bool may_be_plain;        /* socket.dynamic: the peer may have discarded our ClientHello */
    bool wants_write, is_shut;
    bool is_forgotten; /* closed by the owner: its end is not reported */
    char host[NET_HOST_SIZE];
    uint16_t port;
    int64_t deadline_ns;
    struct tls_session *tls;
    struct send_queue queue;
    uint8_t *rest; /* start of a datagram whose end is still to come */
    size_t rest_size;
    struct xb_error failure;
    bool is_tls_failure, is_handshake_failure;
};

/* Connections that something is to be done for; by slot, so that one may vanish meanwhile. */
struct slot_list {
    uint16_t slots[NET_CONNS_MAX];
    bool is_listed[NET_CONNS_MAX];
    size_t count;
};

struct net {
    struct net_config config;
    struct net_socket_options socket_options;
    struct net_events events;
    const struct xb_log *log;

    uv_loop_t loop;
    uv_async_t async;
    uv_timer_t timer;
    _Atomic(bool) is_woken, is_asleep;

    int listener_fd; /* -1: none */
    uv_poll_t *listener_poll;
    int64_t accept_again_ns, accept_logged_ns;

    struct conn *conns[NET_CONNS_MAX];
    size_t conn_count;
    uint64_t last_number;
    struct slot_list dirty, failed;
    int64_t deadline_ns; /* the earliest of all connections and of the listener, or earlier */
    int handshake_reads_left;
    int isolation, isolation_fd; /* mode of the last turn; -1: not watched */
    uv_poll_t isolation_poll;

    bool is_running, is_freed;
    int64_t finish_ns;
    uint8_t *scratch; /* a rest of a datagram, and NET_READ_BYTES behind it */
    struct net_stats stats;
};

/* conn.c */
struct conn *conn_find(const struct net *net, net_conn id);
/* Takes over the descriptor, closes it if there is no place. -> NULL then */
struct conn *conn_new(struct net *net, int fd, const char *host, uint16_t port, bool is_dialled);
void conn_destroy(struct conn *conn);
void conn_fail(struct conn *conn, int reason, const char *format, ...) __attribute__((format(printf, 3, 4)));
void conn_fail_tls(struct conn *conn, const struct xb_error *error);
void conn_watch(struct conn *conn);
void conn_set_deadline(struct conn *conn, int64_t deadline_ns);
void conn_mark_dirty(struct conn *conn);
void conn_report_failures(struct net *net);
/* Does what is due for connections and listener. */
void net_check_deadlines(struct net *net, int64_t now_ns);

/* handshake.c */
void conn_begin(struct conn *conn);  /* TCP is connected */
void conn_detect(struct conn *conn); /* there is something to read */
void conn_detect_due(struct conn *conn);
void conn_handshake_read(struct conn *conn);

/* receive.c */
void conn_receive(struct conn *conn, bool is_last_chance);
void conn_drain(struct conn *conn); /* what the TLS session holds */
void conn_discard(struct conn *conn);

/* send.c */
int send_queue_push(struct send_queue *queue, uint8_t segment, struct xb_buf *buf);
void send_queue_clear(struct send_queue *queue);
void conn_flush(struct conn *conn);

/* listener.c */
void net_listener_resume(struct net *net, int64_t now_ns);

#endif
