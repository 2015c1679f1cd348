/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A live member of a group: the pure stack of src/group driven by real sockets (src/net), the real clock and one
 * thread, the group thread. This is where other threads meet it.
 *
 * Threads: member_open and member_close by the owner, one at a time. member_post and member_call from any thread but
 * the group thread (member_post also from there). All callbacks of struct gcs_up and struct member_up run in the group
 * thread and must not block.
 */
#ifndef XB_MEMBER_MEMBER_H
#define XB_MEMBER_MEMBER_H

#include "base/options.h"
#include "group/group.h"
#include "net/net.h"
#include "tls/tls.h"

struct member;

struct member_config {
    const char *group_name;
    const char *address; /* cluster address "gcomm://host:port,..." with options (spec 02 section 3.1) */
    bool is_bootstrap;
    const char *data_dir; /* gvwstate.dat */
    const char *node_name, *node_incoming;
    int repl_version_max, appl_version_max;
    struct xb_uuid group_uuid; /* saved position */
    int64_t seqno;
    struct xb_options *options; /* shared with the owner; effective values are written back */
    struct tls_context *tls;    /* NULL: plaintext. A reference is taken */
    /* Asked for each accepted connection, and before an address that only a peer has named is dialled (spec 02 section
     * 15.4, 01 section 29), see struct net_config. NULL: all are allowed. Group thread. */
    const char *(*refusal)(void *ctx, const char *host);
    void *refusal_ctx;
    struct xb_isolation *isolation; /* spec 02 section 15.2 */
};

struct member_up {
    void *ctx;
    /* The stack is made, nothing has happened yet: before any other callback, from inside member_open. What the
     * callbacks of gcs_up need to act on the group; valid in the group thread until `left` has returned. */
    void (*started)(void *ctx, struct group *group);
    void (*weight_changed)(void *ctx, int weight);
    /* As in struct group_up. May be NULL. */
    void (*diverged)(void *ctx, const struct xb_error *error);
    void (*left)(void *ctx, int code, const struct xb_error *error);
};

/*
 * Resolves, listens, dials, starts the group thread and, unless pc.wait_prim is off or a view was restored, waits for
 * the primary view (up to pc.wait_prim_timeout).
 * -> a member, or NULL with *error: -EADDRINUSE, -ETIMEDOUT, -EINVAL, ...
 */
struct member *member_open(const struct member_config *config, const struct gcs_up *gcs_up, const struct member_up *up,
                           const struct xb_log *log, struct xb_error *error);
/* Graceful leave (pc.linger at most), end of the thread, all memory freed. Blocks. */
void member_close(struct member *member);

/* Runs fn(arg, gcs-owning group, now) in the group thread, soon and in the order of the posts. Never blocks; the queue
 * is bounded by memory only through the callers' own bounds. After `left` tasks are still run, until member_close.
 * -> 0, or -ESHUTDOWN if the thread has ended (fn not run). */
struct member_task {
    void (*run)(struct member_task *task, struct group *group, int64_t now_ns);
    struct member_task *next; /* private */
};
int member_post(struct member *member, struct member_task *task);
/* Same, and waits until it has run. */
int member_call(struct member *member, struct member_task *task);

/* Swaps the TLS context (socket.ssl_reload): new connections use it, and the present ones are made anew. Those whose
 * peers would be refused now are cut. Takes a reference. */
void member_set_tls(struct member *member, struct tls_context *tls);

struct xb_uuid member_uuid(const struct member *member);
/* The listening address and port in use, canonical. */
const char *member_listen_address(const struct member *member);

/* Per peer, for status: calls visit in the group thread and returns when done. tls: NULL on a plain connection. */
void member_each_peer(struct member *member,
                      void (*visit)(void *ctx, const struct xb_uuid *peer, const char *address,
                                    const struct tls_info *tls),
                      void *ctx);
/* Counters of the sockets, for status. All zero if the thread has ended. */
void member_net_stats(struct member *member, struct net_stats *stats);

#endif
