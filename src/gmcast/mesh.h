/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside of gmcast: the mesh, its links (connections) and its address book.
 *
 * How changes settle: a function that finds something changed only marks it (is_changed, a closed link, a hint, a fatal
 * error). The outermost mesh_leave then settles: send lists and the own link list are rebuilt, told to the peers,
 * gossip is taken in, relays are chosen, what is due is dialled, hints go up, closed links are freed. So no function
 * frees a link under its caller, and a burst of changes costs one round of topology messages.
 */
#ifndef XB_GMCAST_MESH_H
#define XB_GMCAST_MESH_H

#include "base/clock.h"
#include "gmcast/gmcast.h"
#include "gmcast/wire.h"

#define MESH_LINKS_MAX 512          /* connections of any state; more are refused or not dialled */
#define MESH_UNFINISHED_MAX 128     /* accepted connections before OK, in total; more are refused */
#define MESH_UNFINISHED_HOST_MAX 32 /* ... and from one host */
#define MESH_DIALS_MAX 64           /* own connections before OK; other addresses wait for their turn */
#define MESH_ENTRIES_MAX 1024       /* addresses in the book; gossip beyond that is ignored */
#define MESH_OWN_MAX 64             /* addresses found to be this node; the oldest is forgotten */
#define MESH_ISSUED_MAX 64          /* own handshake UUIDs remembered, to recognize this node as dialled peer */
#define MESH_EVICTED_MAX 1024       /* the oldest is forgotten */
#define MESH_HINTS_MAX 64           /* lost peers not told yet; more are not told (a hint only) */
#define MESH_BUCKETS 128            /* a power of two */
#define MESH_NODES_MAX 221          /* largest list that fits into a datagram (section 22.14) */

#define MESH_CHECK_PERIOD_NS (500 * XB_MS)
#define MESH_RETRY_DELAY_NS XB_SECOND
#define MESH_RETRY_DELAY_LOST_NS (200 * XB_MS)    /* after an old connection broke: is the process still there? */
#define MESH_RETRY_DELAY_SLOW_NS (10 * XB_SECOND) /* configured peers outside the group (section 22.10) */
#define MESH_GOSSIP_SPREAD_NS (100 * XB_MS)
#define MESH_STALE_ATTEMPTS 30 /* dials of a gossiped address that nobody lists any more */

enum mesh_link_state {
    LINK_INIT,      /* accepted, transport not ready */
    LINK_HS_SENT,   /* acceptor waits for HANDSHAKE_RESPONSE */
    LINK_HS_WAIT,   /* dialler waits for connection and HANDSHAKE */
    LINK_RESP_SENT, /* dialler waits for OK */
    LINK_OK,        /* established */
    LINK_CLOSED     /* waits to be freed */
};

/* An entry of a TOPOLOGY_CHANGE. */
struct mesh_node {
    struct xb_uuid uuid;
    char address[GMCAST_ADDRESS_SIZE];
};

struct mesh_link {
    gmcast_conn conn;
    enum mesh_link_state state;
    bool is_dialled;
    bool is_ready;                     /* transport connected */
    bool is_relay;                     /* member of the relay set */
    bool is_renewal;                   /* dialled by gmcast_renew */
    uint8_t segment;                   /* of the peer */
    struct xb_uuid peer;               /* nil until the peer told it */
    struct xb_uuid handshake;          /* of this connection, the same at both ends */
    char host[GMCAST_ADDRESS_SIZE];    /* accepted: where it came from */
    char address[GMCAST_ADDRESS_SIZE]; /* normalized; "" until known */
    int64_t received_ns;               /* last complete datagram, or when the present wait began */
    int64_t user_sent_ns;              /* last EVS message queued */
    int64_t established_ns;
    struct mesh_node *nodes; /* what the peer lists, ascending UUIDs */
    size_t node_count;
    bool is_news;          /* that list is to be looked through for addresses */
    uint64_t told_version; /* of the own list, as sent last; 0: never */
    struct mesh_link *bucket_next;
};

struct mesh_entry {
    char address[GMCAST_ADDRESS_SIZE];
    struct xb_uuid uuid;  /* nil: not known yet */
    bool is_configured;   /* given by the user: kept for ever */
    bool is_stable;       /* a member of the last view that told: dialled for ever */
    bool was_member;      /* of any view, under this UUID */
    bool is_banned;       /* until due_ns (section 10.3) */
    int32_t attempts;     /* failed since the last success */
    int64_t due_ns;       /* next dial */
    int64_t connected_ns; /* last established; 0: never */
};

struct mesh_hint {
    struct xb_uuid peer;
    bool is_refused;
};

struct gmcast {
    struct gmcast_config config;
    struct gmcast_io io;
    struct gmcast_up up;
    struct xb_random *random;
    const struct xb_log *log;
    struct gmcast_stats stats;
    int64_t calendar_offset_ns; /* calendar time minus monotonic time */
    int64_t now_ns;             /* of the running call */
    bool is_running;
    bool is_isolated;
    bool is_primary_seen;
    bool is_changed; /* settle: see above */
    bool is_telling; /* the relay set is not empty (for the log) */
    unsigned depth;  /* of nested calls */
    struct xb_error fatal;

    struct mesh_link *links[MESH_LINKS_MAX]; /* in the order of their beginning; closed ones until settled */
    size_t link_count;
    struct mesh_link *buckets[MESH_BUCKETS]; /* open links by connection */

    /* Send lists, rebuilt when settling (section 10.2.4); closed links are skipped by their state. */
    struct mesh_link *established[MESH_LINKS_MAX];
    size_t established_count;
    struct mesh_link *local[MESH_LINKS_MAX]; /* in the own segment */
    size_t local_count;
    struct mesh_link *gateways[MESH_LINKS_MAX]; /* one in each other segment */
    size_t gateway_count;
    struct mesh_link *relays[MESH_LINKS_MAX]; /* section 12.4 */
    size_t relay_count;

    /* The own links as told to peers: ascending UUIDs, each UUID and each address once. */
    struct mesh_node nodes[MESH_NODES_MAX];
    size_t node_count;
    uint64_t version; /* of that list, from 1 */

    struct mesh_entry *entries;
    size_t entry_count, entry_capacity;
    char own[MESH_OWN_MAX][GMCAST_ADDRESS_SIZE];
    size_t own_count; /* ever added: the place is this modulo MESH_OWN_MAX */
    struct xb_uuid issued[MESH_ISSUED_MAX];
    size_t issued_count; /* likewise */
    struct xb_uuid evicted[MESH_EVICTED_MAX];
    size_t evicted_count;
    struct mesh_hint hints[MESH_HINTS_MAX];
    size_t hint_count;

    int64_t check_due_ns, checked_ns; /* liveness */
    int64_t dial_due_ns;

    /* Refusals with "evicted" since the last established connection (fail.c). */
    struct xb_uuid evicted_by;
    unsigned evicted_by_count;
};

/* mesh.c: around every public function that changes something. */
void mesh_enter(struct gmcast *mesh, int64_t now_ns);
void mesh_leave(struct gmcast *mesh);
void mesh_fail_fatally(struct gmcast *mesh, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* link.c */
struct mesh_link *mesh_link_open(struct gmcast *mesh, gmcast_conn conn, enum mesh_link_state state); /* NULL: full */
struct mesh_link *mesh_link_find(const struct gmcast *mesh, gmcast_conn conn);
struct mesh_link *mesh_link_to(const struct gmcast *mesh, const struct xb_uuid *peer); /* established, or NULL */
bool mesh_link_is_open_to(const struct gmcast *mesh, const char *address, const struct mesh_link *except);
void mesh_link_close(struct gmcast *mesh, struct mesh_link *link); /* without accounting */
/* The connection failed: log, close, account in the book (section 10.3). */
void mesh_link_fail(struct gmcast *mesh, struct mesh_link *link, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* As mesh_link_fail, and counted: the peer broke the protocol. */
void mesh_link_violate(struct gmcast *mesh, struct mesh_link *link, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void mesh_link_lost(struct gmcast *mesh, struct mesh_link *link, int reason); /* the rim has closed it */
void mesh_link_tell(struct gmcast *mesh, const struct mesh_link *link, const char *format,
                    ...) /* struct gmcast_io.refused */
    __attribute__((format(printf, 3, 4)));
void mesh_link_free_closed(struct gmcast *mesh);
/* Seals and queues a message of gmcast itself; drops the reference. buf NULL: there was no memory. Fails the link if it
 * cannot be queued; a full queue is nothing to an is_optional one. */
void mesh_link_send(struct gmcast *mesh, struct mesh_link *link, struct xb_buf *buf, uint8_t segment, bool is_optional);
const char *mesh_link_name(const struct mesh_link *link); /* address or host, for logs */

/* identity.c: sections 9 and 9.3. */
bool mesh_identity_check(struct gmcast *mesh, struct mesh_link *link); /* false: the link is closed */
void mesh_establish(struct gmcast *mesh, struct mesh_link *link);

/* book.c: section 10 */
struct mesh_entry *mesh_book_find(struct gmcast *mesh, const char *address);
/* Finds or adds. -> NULL if the book is full of better entries. Entries may move. */
struct mesh_entry *mesh_book_add(struct gmcast *mesh, const char *address, const struct xb_uuid *uuid, int64_t due_ns);
void mesh_book_remove(struct gmcast *mesh, const char *address);
bool mesh_book_is_own(const struct gmcast *mesh, const char *address);
void mesh_book_add_own(struct gmcast *mesh, const char *address);
void mesh_book_failed(struct gmcast *mesh, const struct mesh_link *link); /* the link is closed already */
void mesh_book_forget(struct gmcast *mesh, const struct xb_uuid *uuid, int64_t time_ns);
void mesh_book_gossip(struct gmcast *mesh);                               /* section 10.2.3 */
void mesh_book_scan(struct gmcast *mesh);                                 /* section 10.4 */
bool mesh_book_is_listed(const struct gmcast *mesh, const char *address); /* by some established peer */

/* relay.c */
void mesh_routes_update(struct gmcast *mesh);                                                     /* section 10.2.4 */
void mesh_relays_update(struct gmcast *mesh);                                                     /* section 12.4 */
void mesh_nodes_sort(struct mesh_node *nodes, size_t count);                                      /* by UUID */
bool mesh_nodes_contain(const struct mesh_node *nodes, size_t count, const struct xb_uuid *uuid); /* ascending */
bool mesh_link_lists(const struct mesh_link *link, const struct xb_uuid *node);

/* liveness.c: section 11 */
void mesh_liveness_check(struct gmcast *mesh);
int64_t mesh_liveness_period(const struct gmcast *mesh);

/* eviction.c */
bool mesh_is_evicted(const struct gmcast *mesh, const struct xb_uuid *node);

#endif
