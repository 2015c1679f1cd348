/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside of the replicator: its parts, who may touch what, and what the files ask of each other.
 *
 *   node.c       making, connecting, leaving, node states            link.c      the way to the group thread
 *   order.c      group thread: every ordered action, certification   backlog.c   the same, kept while state is lacking
 *   local.c      client threads: append, certify, commit order       apply.c     appliers
 *   bf_abort.c replay.c streaming.c toi.c nbo.c preordered.c         special paths of local transactions
 *   cchange.c    views: their part in the order and at the appliers  vote.c      inconsistency votes
 *   request.c    bytes of a state transfer request                   donor.c joiner.c  the two sides of a transfer
 *   pause.c sync_wait.c  pausing, desync, causal reads               service.c   the one thread of our own
 */
#ifndef XB_REPLICATOR_INTERNAL_H
#define XB_REPLICATOR_INTERNAL_H

#include "certify/certify.h"
#include "gcache/gcache.h"
#include "group/group.h"
#include "ist/ist.h"
#include "member/member.h"
#include "replicator/gate.h"
#include "replicator/queue.h"
#include "replicator/replicator.h"
#include "replicator/state_file.h"
#include "replicator/trx.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <string.h>

enum node_state { NODE_CLOSED, NODE_CONNECTED, NODE_JOINING, NODE_JOINED, NODE_SYNCED, NODE_DONOR, NODE_STATES };

enum transfer_state {
    TRANSFER_NONE,
    TRANSFER_WAIT, /* a donor has accepted */
    TRANSFER_JOIN_SENT,
    TRANSFER_REQUEST_FAILED,
    TRANSFER_FAILED
};

/* ------------------------------------------------------------------------------------------------ link.c */

/* The member may go away while others post to it: users are counted, closing waits for them. */
struct link {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct member *member; /* NULL: not connected */
    bool is_closing;
    _Atomic(bool) is_open;
    _Atomic(int) users;
};

void link_init(struct link *link);
void link_destroy(struct link *link);
void link_open(struct link *link, struct member *member);
bool link_is_open(struct link *link); /* or still closing */
/* Leaves the group; returns when that is over, whoever began it. */
void link_close(struct link *link);
/* -> 0 or -ENOTCONN: the task will not run */
int link_post(struct link *link, struct member_task *task);
int link_call(struct link *link, struct member_task *task);
/* Between them the member stays; NULL: not connected. */
struct member *link_use(struct link *link);
void link_done(struct link *link);

/* --------------------------------------------------------------------------------- order.c: the group thread */

/* One action of the order, with the local transaction that waits for it, if any. */
struct ordered_action {
    struct ordered_action *next; /* in the backlog */
    struct gcs_action action;
    struct trx *trx;   /* holds a reference */
    struct item *item; /* instead of an action: ready for the queue */
};

/* The write set being certified. */
struct current {
    bool is_busy; /* not done yet */
    struct gcs_action action;
    struct trx *trx;   /* holds a reference; or */
    struct item *item; /* for the appliers */
    struct writeset ws;
    struct certify_result result;
};

struct vote;
struct nbo_wait;

struct order {
    struct gcs *gcs; /* from `started` until `left` */
    struct group *group;
    struct certify *certify; /* owned by the transfer while is_transferring */
    struct xb_uuid history;
    int64_t position;   /* last seqno taken in order */
    int repl_version;   /* -1: none yet */
    bool is_view_known; /* a view of this connection has come and not yet the last one */
    bool is_primary_known;
    bool is_primary;       /* the last change was a primary one */
    int64_t reunion_seqno; /* of the last primary change that followed a non-primary one: see may_send */
    _Atomic(bool) is_left; /* the membership is over */
    int64_t pending_cut;   /* commit cut not yet carried out, -1 */
    int64_t purged;
    struct current current;

    bool is_transferring;
    int64_t transfer_position; /* covered by the last transfer, -1 */
    struct ordered_action *backlog, **backlog_last;
    int64_t backlog_count, backlog_bytes;
    struct member_task backlog_task;
    bool is_backlog_posted;

    struct vote *votes; /* own ones, in order; the first is being decided if is_voting */
    bool is_voting;
    struct nbo_wait *nbo_waits;
    _Atomic(int64_t) queue_below; /* tell gcs when the queue gets as short as this */
    struct member_task length_task, settle_task;
    _Atomic(bool) is_length_posted, is_settle_posted;
};

#define ORDER_BACKLOG_MAX (INT64_C(1) << 24) /* actions kept while state is lacking; beyond it the node leaves */
#define ORDER_BACKLOG_BATCH 256              /* worked off at once, then the network has its turn */

/* gcs_up */
void *order_alloc(void *ctx, size_t size);
void order_free_buffer(void *ctx, void *buf);
void order_action(void *ctx, const struct gcs_action *action, int64_t now_ns);
int64_t order_cached(void *ctx);
void order_causal(void *ctx, void *token, int result, const struct xb_uuid *history, int64_t seqno);
/* member_up */
void order_started(void *ctx, struct group *group);
void order_diverged(void *ctx, const struct xb_error *error);
void order_left(void *ctx, int code, const struct xb_error *error);

/* An action in its place: at once, or to the backlog. trx: reference passes. */
void order_take(struct replicator *rep, const struct gcs_action *action, struct trx *trx);
void order_dispatch(struct replicator *rep, const struct gcs_action *action, struct trx *trx);
void order_push(struct replicator *rep, struct item *item, bool is_own);
void order_push_at(struct replicator *rep, struct item *item, bool is_own); /* its position is set already */
void order_take_item(struct replicator *rep, struct item *item);            /* in its place: behind what is kept */
void order_tell_queue_length(struct replicator *rep, bool is_own);
void order_settle(struct replicator *rep);      /* reports and cuts that have become due */
void order_post_settle(struct replicator *rep); /* any thread */
bool order_continue(struct replicator *rep);    /* -> certification is not busy (any more) */
/* What comes now has to wait behind something. */
static inline bool order_is_held(const struct order *order) {
    return order->is_transferring || order->backlog || order->current.is_busy;
}
/* backlog.c */
void backlog_add(struct replicator *rep, const struct gcs_action *action, struct trx *trx);
void backlog_add_item(struct replicator *rep, struct item *item);
void backlog_work(struct replicator *rep);
void backlog_post(struct replicator *rep); /* it goes on when the network has had its turn */
void backlog_drop(struct replicator *rep);
/* cchange.c */
void order_cchange(struct replicator *rep, const struct gcs_action *action);
/* vote.c */
void order_vote(struct replicator *rep, const struct gcs_action *action);
void order_votes_end(struct replicator *rep, int result);
/* nbo.c: -> true: a local thread takes the seqno of this effective end over */
bool order_nbo_ended(struct replicator *rep, const struct ordered *ordered);
void order_nbo_interrupt(struct replicator *rep, int result); /* whoever waits for an end */
enum replicator_status nbo_end(struct replicator *rep, uint64_t conn, const struct replicator_key *keys,
                               size_t key_count, uint32_t flags, struct replicator_meta *meta);

/* ------------------------------------------------------------------------------------------------ transfers */

struct transfer { /* joiner.c; guarded by its lock */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool is_over; /* the membership is: nothing more will come */
    int refusal;  /* negative errno: the donor has failed, or this node has given up; 0 */
    bool is_sst_wanted, is_sst_received;
    struct replicator_gtid sst;
    struct xb_uuid history; /* of the group */
    int ist_result;
    int64_t last_pushed; /* last seqno that appliers got, -1 */
    char ist_error[XB_ERROR_TEXT_SIZE];
};
void transfer_init(struct replicator *rep);
void transfer_reset(struct replicator *rep);
void transfer_destroy(struct replicator *rep);

struct donor_bounds { /* 07 section 5.3, of the highest configuration change */
    int64_t cc_seqno, cc_lowest;
    int repl_version;
};

struct service { /* service.c */
    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t wake, closed;
    bool is_running, is_stopping, wants_close, is_closing;
};

struct counters { /* all relaxed */
    _Atomic(int64_t) replicated, replicated_bytes, repl_keys, repl_keys_bytes, repl_data_bytes, repl_other_bytes;
    _Atomic(int64_t) received, received_bytes, commits, rollbacks, cert_failures, replays, causal_reads;
    _Atomic(int64_t) doomed; /* failed before they were sent */
};

struct baseline { /* at the last reset of the statistics */
    int64_t since_ns, fc_paused_ns;
    struct certify_stats certify;
};

struct replicator {
    const struct xb_log *log;
    struct xb_options *options;
    struct replicator_callbacks callbacks;
    char *node_name, *node_incoming, *data_dir;
    int appl_version_max;
    struct xb_isolation *isolation;
    uint64_t hash_secret;

    _Atomic(enum node_state) state; /* changed with state_lock held */
    pthread_mutex_t state_lock;
    pthread_cond_t state_changed;
    _Atomic(enum transfer_state) transfer_state;
    _Atomic(bool) is_corrupt;                /* the data is wrong */
    _Atomic(bool) is_failed;                 /* the node is leaving on its own */
    _Atomic(bool) awaits_snapshot;           /* since sst_request was called, until the server has it */
    _Atomic(bool) is_donating;               /* the server is sending a snapshot */
    _Atomic(int) repl_version, appl_version; /* agreed, -1 */
    _Atomic(int) key_format;
    _Atomic(int64_t) max_ws_size;

    pthread_mutex_t identity_lock; /* guards what follows */
    struct xb_uuid own_uuid, history;
    char *incoming_addresses, *donor;
    struct donor_bounds bounds;
    struct tls_context *tls;

    struct state_file *state_file;
    struct gcache *cache;
    struct certify *certify;
    struct gate apply, commit;
    struct trx_map trxs, tois;
    struct apply_queue queue;
    struct link link;
    struct order order;
    struct transfer transfer;
    struct ist_senders *senders;
    struct service service;
    struct counters counters;
    struct baseline baseline;
    _Atomic(uint64_t) preordered_id;
    int64_t catch_up; /* actions that waited when this node had joined */

    pthread_mutex_t pause_lock; /* held while paused, and while anything but write sets is processed */
    pthread_cond_t pause_changed;
    bool is_exclusive; /* somebody has that right */
    _Atomic(bool) is_paused;
};

/* node.c */
bool node_set_state(struct replicator *rep, enum node_state to);
static inline enum node_state node_get_state(struct replicator *rep) {
    return atomic_load(&rep->state);
}
static inline bool node_may_replicate(struct replicator *rep) {
    return node_get_state(rep) >= NODE_JOINED && !atomic_load(&rep->is_corrupt) && !atomic_load(&rep->is_failed);
}
/* Result of what cannot be replicated. */
static inline enum replicator_status node_refusal(struct replicator *rep) {
    return atomic_load(&rep->is_corrupt) || atomic_load(&rep->is_failed) ? REPLICATOR_NODE_FAIL : REPLICATOR_CONN_FAIL;
}
struct xb_uuid node_own_uuid(struct replicator *rep);
void node_set_own_uuid(struct replicator *rep, const struct xb_uuid *uuid);
struct xb_uuid node_history(struct replicator *rep);
struct tls_context *node_tls(struct replicator *rep); /* a reference to the newest; NULL: plaintext */
void node_set_history(struct replicator *rep, const struct xb_uuid *history);
/* Of a state transfer or recovery, for the server's event service; from, to: member statuses (spec 01 section 5). */
void node_report_progress(struct replicator *rep, int from, int to, int64_t total, int64_t done);
/* This node cannot go on: says why, leaves the group. Any thread, once. */
void node_leave(struct replicator *rep, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* The same, and its data is wrong: the next start needs a snapshot. */
void node_leave_inconsistent(struct replicator *rep, const char *format, ...) __attribute__((format(printf, 2, 3)));
static inline int64_t node_last_committed(struct replicator *rep) {
    return gate_last_left(&rep->apply);
}

/* The right to be alone (pause.c). */
void exclusive_begin(struct replicator *rep);
void exclusive_end(struct replicator *rep);
/* With that right: everything up to position, or what has begun to commit already, is finished, and nothing above it
 * begins until quiet_end. -> the seqno */
int64_t quiet_begin(struct replicator *rep, int64_t position);
void quiet_end(struct replicator *rep);

/* cchange.c */
void apply_view(struct replicator *rep, void *recv_ctx, struct item *item);
void apply_ist_view(struct replicator *rep, void *recv_ctx, struct item *item);
void view_item_free(struct replicator *rep, struct item *item);
void view_remember_addresses(struct replicator *rep, const struct gcs_cchange *change);
void view_of_change(struct replicator *rep, const struct gcs_cchange *change, int own_index,
                    struct replicator_view *view);
int certify_view(struct replicator *rep, const struct gcs_cchange *change); /* by the owner of the index */
void bounds_record(struct replicator *rep, int64_t cc_seqno, int64_t cc_lowest, int repl_version);

/* apply.c */
void apply_ordered(struct replicator *rep, void *recv_ctx, struct item *item, bool *exit_loop);
enum replicator_status apply_call(struct replicator *rep, void *recv_ctx, struct ordered *ordered, void *opaque,
                                  bool *exit_loop);
void apply_item(struct replicator *rep, void *recv_ctx, struct item *item, bool *exit_loop);
void items_drop(struct replicator *rep); /* closes the queue; nobody will apply what is in it */

/* submit.c */
int trx_builder_start(struct trx *trx);
int trx_finish_builder(struct trx *trx, const struct xb_uuid *source, uint32_t flags, bool is_zero_level);
enum replicator_status error_status(int error); /* of the builder */
/* Out of order: past flow control. Not waiting: the write set comes back like a foreign one. -> 0 or -ENOTCONN */
int trx_submit(struct trx *trx, bool is_waiting, bool is_out_of_order);
int trx_send_and_wait(struct trx *trx, void (*sequenced)(void *ctx), void *sequenced_ctx);
void trx_cancel_submission(struct trx *trx); /* if its turn has not come; does not wait */
/* local.c */
void trx_fill_meta(struct trx *trx, struct replicator_meta *meta);
void ordered_enter_apply(struct replicator *rep, struct ordered *ordered, int64_t need);
void ordered_enter_commit(struct replicator *rep, struct ordered *ordered);
void ordered_leave_commit(struct replicator *rep, struct ordered *ordered);
void ordered_pass(struct replicator *rep, struct ordered *ordered); /* all gates that are still to be passed */
/* The write set is over here: for certification, then the apply gate. */
void ordered_settle(struct replicator *rep, struct ordered *ordered);
void ordered_finish(struct replicator *rep, struct ordered *ordered);
/* streaming.c */
enum replicator_status streaming_terminate(struct replicator *rep, const struct replicator_meta *meta, uint32_t flags,
                                           uint64_t conn);
/* vote.c: -> 0 agreed, 1 this node is wrong, negative errno */
int vote_on_error(struct replicator *rep, struct ordered *ordered, const void *text, size_t size);
void apply_vote(struct replicator *rep, struct item *item);

/* donor.c, joiner.c */
void donor_serve(struct replicator *rep, void *recv_ctx, struct item *item);
void joiner_run(struct replicator *rep, void *recv_ctx, struct item *item);
void transfer_end(struct replicator *rep);               /* the membership is over */
void transfer_refused(struct replicator *rep, int code); /* no state will come from this donor */

/* service.c */
void service_init(struct replicator *rep);
int service_start(struct replicator *rep);
void service_stop(struct replicator *rep);
void service_want_close(struct replicator *rep);
/* Before a new connection: a wish that is left from the one before must not end it. */
void service_forget_close(struct replicator *rep);

#endif
