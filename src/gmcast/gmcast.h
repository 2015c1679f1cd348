/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gmcast: the mesh of peers (spec 02): handshake, identity, address book, gossip, reconnecting, liveness, segments,
 * relaying, isolation, eviction.
 *
 * Pure state machine. It is told what happens (a connection was accepted, a dial succeeded, a datagram came, time
 * passed) and answers through struct gmcast_io (dial, send, close) and struct gmcast_up (an EVS message came).
 * All functions are for the group thread only. Callbacks of struct gmcast_up are made from inside the functions, with
 * the state already consistent, and may call every function here but gmcast_free. Callbacks of struct gmcast_io must
 * not call back.
 *
 * A connection is a number (gmcast_conn) that the rim chooses for accepted connections and for dials; numbers are
 * never used again within a process.
 */
#ifndef XB_GMCAST_GMCAST_H
#define XB_GMCAST_GMCAST_H

#include "base/buf.h"
#include "base/error.h"
#include "base/log.h"
#include "base/random.h"
#include "base/uuid.h"
#include "datagram/datagram.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GMCAST_HEADER_SIZE 20
#define GMCAST_ADDRESS_SIZE 65                                      /* 64 bytes on the wire and a NUL here */
#define GMCAST_GROUP_MAX 32                                         /* bytes of the group name on the wire */
#define GMCAST_MESSAGE_MAX (DATAGRAM_BODY_MAX - GMCAST_HEADER_SIZE) /* largest EVS message, 32748 */

typedef uint64_t gmcast_conn;
#define GMCAST_NO_CONN 0

struct gmcast;

/* To the network. */
struct gmcast_io {
    void *ctx;
    /* Starts a connection to a canonical address ("ssl://10.0.0.1:4567"; the rim applies the local TLS policy
     * whatever the scheme says). Its end is told by gmcast_connected or gmcast_lost.
     * -> number of the connection, GMCAST_NO_CONN if it cannot even be tried. */
    gmcast_conn (*dial)(void *ctx, const char *address);
    /* Queues a sealed datagram; takes its own reference of buf. segment chooses the send queue (section 14.1).
     * -> 0, -ENOTCONN, -ENOBUFS (queue limit). */
    int (*send)(void *ctx, gmcast_conn conn, uint8_t segment, struct xb_buf *buf);
    /* Flushes what is queued and closes (section 14.3). No gmcast_lost follows. */
    void (*close)(void *ctx, gmcast_conn conn);
    /* The connection is about to be closed, since its peer broke the protocol or is none of this group; for the log.
     * NULL: gmcast logs it. */
    void (*refused)(void *ctx, gmcast_conn conn, const char *reason);
};

/* To the layer above. */
struct gmcast_up {
    void *ctx;
    /* One EVS message; source = original sender (section 13), never this node. Valid during the call.
     * -> 0; negative if it is malformed: then the connection is dropped, unless somebody else's message was relayed. */
    int (*message)(void *ctx, const struct xb_uuid *source, const uint8_t *data, size_t size, int64_t now_ns);
    /* The connection to a peer was lost; a hint for failure detection (spec 03 section 18.8). is_refused: a redial
     * was refused by the peer's host, so the process is gone. */
    void (*peer_lost)(void *ctx, const struct xb_uuid *peer, bool is_refused, int64_t now_ns);
    /* This node must not go on; the mesh has already closed everything. The owner closes the group, and removes
     * gvwstate.dat. Called at most once. error->code: -EACCES evicted, -EEXIST another process uses the UUID,
     * -ECANCELED gmcast.isolate=2. */
    void (*fatal)(void *ctx, const struct xb_error *error);
};

struct gmcast_config {
    struct xb_uuid uuid; /* own node UUID */
    char group[GMCAST_GROUP_MAX + 1];
    char listen_address[GMCAST_ADDRESS_SIZE]; /* canonical, as advertised, port never 0 */
    uint8_t segment;                          /* 0..254 */
    bool is_tls;                              /* scheme of own and accepted addresses is ssl, else tcp */
    bool is_founder; /* begins a new group: peers given at start are dialled once they were members */
    enum datagram_checksum checksum;
    int64_t peer_timeout_ns;                /* gmcast.peer_timeout */
    int64_t time_wait_ns;                   /* gmcast.time_wait */
    int32_t max_initial_reconnect_attempts; /* gmcast.mira */
    /* Of hosts that only peers name: may they be dialled? -> NULL, or why not. Accepted connections have been asked
     * about before they come here, and what the user names needs no leave. NULL: all (spec 01 section 29). */
    const char *(*refusal)(void *ctx, const char *host);
    void *refusal_ctx;
};

/* Does not keep config, io, up pointers (copies them); keeps log and random, which must live longer. NULL: no memory.
 */
struct gmcast *gmcast_new(const struct gmcast_config *config, const struct gmcast_io *io, const struct gmcast_up *up,
                          struct xb_random *random, const struct xb_log *log);
void gmcast_free(struct gmcast *mesh); /* closes nothing */

/* Begins to dial the initial peers (canonical addresses, numeric hosts). */
void gmcast_start(struct gmcast *mesh, const char *const *peers, size_t peer_count, int64_t now_ns,
                  int64_t calendar_ns);
/* Closes all connections; nothing is dialled or accepted any more. */
void gmcast_stop(struct gmcast *mesh);

/* From the network. host: numeric remote address, IPv6 in brackets, v4-mapped addresses already plain IPv4. */
void gmcast_accepted(struct gmcast *mesh, gmcast_conn conn, const char *host, int64_t now_ns); /* TCP accepted */
void gmcast_connected(struct gmcast *mesh, gmcast_conn conn, int64_t now_ns); /* ready: TCP and TLS handshakes done */
void gmcast_received(struct gmcast *mesh, gmcast_conn conn, const uint8_t *body, size_t size, int64_t now_ns);
/* The connection failed or ended (reason: negative errno, 0 for EOF); the rim has closed it. */
void gmcast_lost(struct gmcast *mesh, gmcast_conn conn, int reason, int64_t now_ns);

/* Does what is due. -> when to be called again at the latest. */
int64_t gmcast_tick(struct gmcast *mesh, int64_t now_ns);

/*
 * From EVS. `buf` holds the EVS message behind headroom (at least GMCAST_HEADER_SIZE + DATAGRAM_HEADER_SIZE bytes) and
 * has exactly one reference, the caller's. The headers are put in front and stay there, and the send queues take
 * references of their own; the caller's reference stays the caller's, to drop at once or to keep the message for a
 * retransmission. From the call on head and size of buf mean nothing to the caller
 * (it keeps the offset of its message in buf->mem), its bytes are frozen, and buf is never sent a second time: to
 * send the message again, copy it into a new buffer.
 */
void gmcast_broadcast(struct gmcast *mesh, struct xb_buf *buf, int64_t now_ns);
void gmcast_unicast(struct gmcast *mesh, const struct xb_uuid *target, struct xb_buf *buf, int64_t now_ns);
/* EVS is about to accept the node: lift its ban (section 10.3). */
void gmcast_allow(struct gmcast *mesh, const struct xb_uuid *node);
void gmcast_evict(struct gmcast *mesh, const struct xb_uuid *node);
void gmcast_unevict(struct gmcast *mesh, const struct xb_uuid *node); /* NULL: all */
/* A regular EVS view (is_primary false) or a PRIM view (true) was installed; left: nodes that went gracefully. */
void gmcast_view(struct gmcast *mesh, bool is_primary, const struct xb_uuid *members, size_t member_count,
                 const struct xb_uuid *left, size_t left_count, int64_t now_ns);

/*
 * Dials the peer of an established connection a second time: for new certificates, without a moment without
 * connection. The new one replaces the old; if section 9.3 prefers the old one, both are closed and the peer is dialled
 * once more. If the new one fails, nothing has happened.
 * -> number of the new connection, GMCAST_NO_CONN if it cannot be tried
 */
gmcast_conn gmcast_renew(struct gmcast *mesh, gmcast_conn conn, int64_t now_ns);

/* Run-time options. */
int gmcast_peer_add(struct gmcast *mesh, const char *address, int64_t now_ns); /* 0, -EINVAL, -ENOSPC */
int gmcast_peer_delete(struct gmcast *mesh, const char *address, int64_t now_ns);
void gmcast_isolate(struct gmcast *mesh, int mode, int64_t now_ns); /* gmcast.isolate: 0, 1, 2 */

/* What went wrong so far, for status. */
struct gmcast_stats {
    uint64_t violations;      /* connections dropped because the peer broke the protocol (section 22.1) */
    uint64_t refused;         /* accepted connections closed at once: too many unfinished ones (section 22.4) */
    uint64_t foreign_sources; /* EVS messages dropped because nobody knows their source (section 22.13) */
};
void gmcast_get_stats(const struct gmcast *mesh, struct gmcast_stats *stats);

/* What is known about a peer, for status and the audit. -> false if there is no established connection to it. */
bool gmcast_peer_info(const struct gmcast *mesh, const struct xb_uuid *peer, gmcast_conn *conn,
                      char address[GMCAST_ADDRESS_SIZE]);
/* Calls visit for every established connection. */
void gmcast_each_peer(const struct gmcast *mesh,
                      void (*visit)(void *ctx, const struct xb_uuid *peer, gmcast_conn conn, const char *address,
                                    uint8_t segment),
                      void *ctx);

#endif
