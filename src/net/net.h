/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The network of the group: an event loop, one listener, connections that carry datagrams over TCP or TLS (spec 02
 * sections 4, 14, 16, 17, 22). Other doors of this folder: net/address.h, net/stream.h (blocking, for state transfers).
 *
 * One turn of the loop: what is readable is read and given to `received`; then posted work and what is due; then
 * everything that was queued meanwhile leaves, each connection with one system call. So the more there is to do, the
 * fewer system calls a datagram costs.
 * A node with TLS never sends or takes a plain byte, unless socket.dynamic says otherwise (section 22.3). Accepted
 * connections are reported when they are ready, that is after the TLS handshake: strangers stay in here, bounded in
 * number and time.
 *
 * Threads: all functions and all callbacks in the thread of net_run, except net_wake (any thread) and, before net_run,
 * net_new, net_listen, net_dial and the like by its creator.
 */
#ifndef XB_NET_NET_H
#define XB_NET_NET_H

#include "base/buf.h"
#include "base/error.h"
#include "base/isolation.h"
#include "base/log.h"
#include "net/address.h"
#include "tls/tls.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define NET_QUEUE_BYTES_MAX ((size_t)32 << 20) /* queued datagrams of a connection (section 14.2) */
#define NET_CONNS_MAX 1024
/* Accepted connections that have not yet delivered a datagram. At a limit the oldest that has said nothing is dropped:
 * a peer is through in milliseconds, what is old and silent is none. */
#define NET_HALF_OPEN_MAX 256
#define NET_HALF_OPEN_PER_HOST_MAX 32

struct net;
typedef uint64_t net_conn; /* never used again within a net */
#define NET_NO_CONN 0

struct net_config {
    struct tls_context *tls;                     /* NULL: plain TCP. A reference is taken */
    bool is_dynamic;                             /* section 17 */
    int receive_buffer_bytes, send_buffer_bytes; /* SO_RCVBUF, SO_SNDBUF; 0: left to the kernel */
    int64_t handshake_timeout_ns; /* from accept or dial until ready; also TCP_USER_TIMEOUT. The peer timeout */
    const char *bind_host;        /* numeric, of dialled connections (section 3.2); NULL: any */
    /* Of accepted connections (section 15.4): may this host connect? -> NULL if so, else why not, as the end of a
     * sentence that begins with "IP H". NULL: all may. */
    const char *(*refusal)(void *ctx, const char *host);
    void *refusal_ctx;
    struct xb_isolation *isolation; /* section 15.2; wakes the loop. NULL: none */
};

/* Why a connection ended. */
struct net_loss {
    int reason; /* negative errno; 0: the peer closed it */
    const char *text;
    const char *host; /* of the peer */
    uint16_t port;
    bool is_dialled;
    bool is_handshake;    /* before it was ready, or in TLS 1.3 before the peer had accepted our certificate */
    bool is_tls;          /* the TLS session failed */
    bool is_peer_refused; /* because this side does not accept the peer's certificate */
    bool is_violation;    /* what the peer sent is no datagram */
    const char *subject;  /* of the peer's certificate, "" unknown or plain */
};

struct net_events {
    void *ctx;
    /* Connected, and the TLS handshake is done. host: numeric address of the peer. */
    void (*ready)(void *ctx, net_conn conn, const char *host, bool is_dialled);
    void (*received)(void *ctx, net_conn conn, const uint8_t *body, size_t size);
    /* A dialled or ready connection has ended and is closed. */
    void (*lost)(void *ctx, net_conn conn, const struct net_loss *loss);
    /* An accepted connection was refused or failed before it was ready. For the log. */
    void (*stranger)(void *ctx, const struct net_loss *loss);
    /* net_wake was called since the last time. */
    void (*work)(void *ctx);
    /* Once a turn, after the events and the work. -> when to be called again at the latest */
    int64_t (*tick)(void *ctx, int64_t now_ns);
    /* The isolation mode was seen as XB_DISCONNECT; called once. */
    void (*disconnected)(void *ctx);
};

/* Keeps config's strings and the log pointer; events are copied. -> NULL with *error */
struct net *net_new(const struct net_config *config, const struct net_events *events, const struct xb_log *log,
                    struct xb_error *error);
void net_free(struct net *net); /* closes everything at once. NULL is allowed */

/* host: numeric. port 0: the kernel chooses. -> 0 and the port in use, or negative errno with *error */
int net_listen(struct net *net, const char *host, uint16_t port, uint16_t *port_in_use, struct xb_error *error);
void net_stop_listening(struct net *net);

/* Runs turns until net_finish has come to its end. */
void net_run(struct net *net);
/* Ends the loop as soon as all connections are gone, at the latest after timeout_ns. */
void net_finish(struct net *net, int64_t timeout_ns);
/* Makes the loop call `work` soon. Costs a system call only if the loop sleeps and nobody has woken it yet. */
void net_wake(struct net *net);

/* host: numeric. The end is told by `ready` or `lost`, never from inside this call.
 * -> NET_NO_CONN if it cannot even be tried (table full, isolated). */
net_conn net_dial(struct net *net, const char *host, uint16_t port);
/* Queues a sealed datagram, with a reference of its own, in the queue of the segment (section 14.1).
 * -> 0, -ENOTCONN, -ENOBUFS (NET_QUEUE_BYTES_MAX), -ENOMEM */
int net_send(struct net *net, net_conn conn, uint8_t segment, struct xb_buf *buf);
/* No more events; what is queued is still sent, then both ends close, within seconds (section 14.3). */
void net_close(struct net *net, net_conn conn);

/* New connections use it. Takes a reference. */
void net_set_tls(struct net *net, struct tls_context *tls);
/* Was the connection made with another context? */
bool net_is_outdated(const struct net *net, net_conn conn);
/* Would its peer's certificate be accepted by the context of now? -> 0, or negative errno with *error */
int net_recheck(const struct net *net, net_conn conn, struct xb_error *error);
/* Ends it at once; told by `lost`. */
void net_cut(struct net *net, net_conn conn, int reason, const char *text);
/* -> false: unknown. host: NET_HOST_SIZE bytes */
bool net_peer(const struct net *net, net_conn conn, char *host, uint16_t *port);

/* Asks the system's resolver in another thread; done is called in the loop, with count 0 if there is no answer, and not
 * at all if the net is freed before. -> 0 or negative errno (done is not called) */
int net_resolve(struct net *net, const char *host, uint16_t port,
                void (*done)(void *ctx, const struct net_endpoint *endpoints, size_t count), void *ctx);

/* -> false if the connection is unknown or plain */
bool net_tls_info(const struct net *net, net_conn conn, struct tls_info *info);

struct net_stats {
    uint64_t bytes_sent, bytes_received;             /* on the wire */
    uint64_t plain_bytes_sent, plain_bytes_received; /* those of them without TLS */
    uint64_t datagrams_sent, datagrams_received;
    uint64_t write_calls, read_calls, turns, wakes;
    uint64_t accepted, refused, handshakes_failed, half_open_dropped, queue_full;
    size_t connections, half_open, queue_bytes, queue_bytes_peak; /* peak: largest queue of one connection so far */
};
void net_get_stats(const struct net *net, struct net_stats *stats);

#endif
