/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Incremental state transfer: the donor streams the seqnos that a joiner lacks out of its history (spec 07 sections 16
 * and 17). The donor connects to the joiner, over TCP or TLS as the address in the joiner's request says.
 *
 * A receiver is opened before the state request is sent, takes the first peer that completes the dialogue as its donor
 * (strangers on the port neither take the donor's place nor hold it up), waits until it is told where applying starts,
 * and then hands up one event after the other, each already in the history.
 * A sender first pins the history from where it will start, then connects and has the dialogue in the caller's thread,
 * so that a refusal becomes the code of the JOIN message, and streams in a thread of its own.
 *
 * Threads: see each function. Callbacks come from the receiver's own thread, from within ist_receiver_open on until
 * ist_receiver_close has returned.
 */
#ifndef XB_IST_IST_H
#define XB_IST_IST_H

#include "base/error.h"
#include "base/isolation.h"
#include "base/log.h"
#include "gcache/gcache.h"
#include "tls/tls.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IST_VERSION_MIN 10 /* versions are those of the replicator protocol (section 1.1) */
#define IST_VERSION_MAX 11
#define IST_ADDRESS_SIZE 320 /* "ssl://host:port" and NUL */
#define IST_DEFAULT_TIMEOUT_NS (10 * INT64_C(1000000000))

/* ------------------------------------------------------------------ joiner */

enum ist_event_type { IST_TRX = 4, IST_CCHANGE = 5, IST_SKIP = 6 }; /* as on the wire */

struct ist_event {
    enum ist_event_type type;
    int64_t seqno;
    bool is_preload;    /* goes into the certification index (section 17.5) */
    bool is_applied;    /* seqno >= first: must be applied, not only kept */
    bool was_cached;    /* the history had it already; what came was dropped */
    const uint8_t *buf; /* in the history, in use until gcache_release. SKIP: do not look inside */
    size_t size;
};

struct ist_receiver_io {
    void *ctx;
    /* Asked for each peer that connects, before anything is said, see struct net_config. NULL: all. May block for a
     * while. */
    const char *(*refusal)(void *ctx, const char *host);
    /* In the order of seqnos, without gaps. May block (back pressure), but must return when the receiver is closed.
     * -> 0, or a negative errno that ends the transfer. */
    int (*event)(void *ctx, const struct ist_event *event);
    /* done of total events; first, last, and in between at most twice a second. NULL is allowed. */
    void (*progress)(void *ctx, int64_t total, int64_t done);
    /* Exactly once, the last call. result 0: everything needed has come, last is the last seqno (it may be more than
     * was needed). Else a negative errno: -ECANCELED closed, -ETIMEDOUT no donor came in time, others with error; last:
     * the last seqno handed up, -1 none; from last + 1 it can be asked for again. */
    void (*end)(void *ctx, int result, int64_t last, const struct xb_error *error);
};

struct ist_receiver_config {
    /* Where to listen (section 17.1). Each may be NULL or empty: recv_addr falls back to base_host, recv_bind to
     * recv_addr. "[scheme://]host[:port]"; no port: base_port + 1; port 0: the kernel chooses. */
    const char *recv_addr, *recv_bind, *base_host;
    int base_port;
    struct tls_context
        *tls; /* socket.ssl_*; NULL: none. A reference is taken. Used unless is_dynamic and the scheme says tcp */
    bool is_dynamic; /* socket.dynamic: no scheme then means tcp */
    int version;     /* of the group: 10 or 11 */
    struct gcache *cache;
    int64_t last_needed;                  /* seqno of the configuration change that made the transfer necessary */
    size_t payload_size_max;              /* repl.max_ws_size; 0: 2 GiB - 1 */
    int64_t donor_timeout_ns;             /* from ist_receiver_start on, for a donor to have shown up; 0: for ever */
    const struct xb_isolation *isolation; /* node isolation mode (spec 01 section 5); NULL: none */
};

struct ist_receiver;

/* Listens and starts the thread. -> a receiver, or NULL with *error: -EINVAL no usable address, -EADDRINUSE, ... */
struct ist_receiver *ist_receiver_open(const struct ist_receiver_config *config, const struct ist_receiver_io *io,
                                       const struct xb_log *log, struct xb_error *error);
/* What to write into the state request: "scheme://host:port" with the real port. Any thread. */
const char *ist_receiver_address(const struct ist_receiver *receiver);
/* Go on: the first seqno to be applied, last committed + 1. Any thread, once. */
void ist_receiver_start(struct ist_receiver *receiver, int64_t first);
/* Ends the transfer if it is running, joins the thread, frees. Not from a callback. NULL is allowed. */
void ist_receiver_close(struct ist_receiver *receiver);

/* ------------------------------------------------------------------- donor */

/* The host of a joiner's address "[scheme://]host[:port]", as it stands there. -> 0 or -EINVAL */
#define IST_HOST_SIZE 256
int ist_address_host(const char *text, char host[IST_HOST_SIZE]);

struct ist_senders; /* all transfers of a node */
struct ist_sender;  /* one that has not started */

struct ist_senders *ist_senders_new(struct gcache *cache, const struct xb_log *log); /* NULL: no memory */
/* Cancels everything that waits in ist_sender_start or streams, now and later. Any thread. */
void ist_senders_cancel(struct ist_senders *senders);
/* Cancels and joins all. No ist_sender_start may be running; senders that were not started are dropped first. */
void ist_senders_free(struct ist_senders *senders); /* NULL is allowed */

/* Pins the history from first on. -> a sender, NULL: first is not in the history (or no memory). Any thread. */
struct ist_sender *ist_sender_new(struct ist_senders *senders, int64_t first);
void ist_sender_drop(struct ist_sender *sender); /* instead of starting. NULL is allowed */

struct ist_sender_config {
    const char *address;  /* from the request: "tcp://host:port" or "ssl://host:port" */
    int64_t last;         /* seqno of the last configuration change; below first: nothing is sent but the end */
    int64_t preload_from; /* events from here on go into the joiner's certification index; 0 or less: none */
    int version;          /* of the group: 10 or 11 */
    struct tls_context
        *tls;           /* NULL: none, then an ssl address is refused; else a tcp address is. A reference is taken */
    bool is_dynamic;    /* socket.dynamic: a tcp address is served all the same */
    int64_t timeout_ns; /* for connect, TLS and dialogue together; 0: IST_DEFAULT_TIMEOUT_NS */
    const struct xb_isolation *isolation;
};

/* Connects, has the dialogue, starts streaming, all of it within the timeout. Takes over the sender in every case.
 * -> 0: streaming, or a negative errno with *error. */
int ist_sender_start(struct ist_sender *sender, const struct ist_sender_config *config, struct xb_error *error);

/* ---------------------------------------------------------------- addresses */

struct ist_address {
    bool has_scheme, is_tls, has_port;
    uint16_t port;
    char host[256]; /* IPv6 with its brackets */
};
/* "[scheme://]host[:port]", scheme tcp or ssl. -> 0 or -EINVAL with *error */
int ist_address_parse(struct ist_address *address, const char *text, struct xb_error *error);

#endif
