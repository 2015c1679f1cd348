/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * gcs: ordered actions (spec 05): fragments, seqnos, state exchange, node states, donor choice, commit cut, flow
 * control, inconsistency votes, causal reads.
 *
 * Pure state machine, group thread only. Upward calls come from inside the functions and may call gcs_submit,
 * gcs_join, gcs_report_last_applied, gcs_vote, gcs_causal and gcs_set_queue_length: what they send goes out, and
 * delivery is not re-entered.
 *
 * Differences in form from the stock layer: there are no local seqnos here (the receiver sees one ordered sequence of
 * actions and needs none) and no send monitor (one thread sends, in the order of the queue). An own action that a view
 * change cut is sent again as a whole after the state exchange under a new id (section 21.4), so a submitter never sees
 * "try again".
 */
#ifndef XB_GCS_GCS_H
#define XB_GCS_GCS_H

#include "base/buf.h"
#include "base/error.h"
#include "base/log.h"
#include "base/random.h"
#include "base/uuid.h"
#include "gcs/cchange.h"
#include "pc/pc.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define GCS_PROTOCOL_MAX 5
#define GCS_ACTION_SIZE_MAX 0x7fffffff
#define GCS_FRAGMENT_HEADER_SIZE 20

struct gcs;
struct gcs_action;

enum gcs_action_type { /* spec 05 section 3.1 */
                       GCS_WRITESET = 0,
                       GCS_COMMIT_CUT = 1,
                       GCS_STATE_REQ = 2,
                       GCS_CCHANGE = 3,
                       GCS_JOIN = 4,
                       GCS_SYNC = 5,
                       GCS_VOTE = 7,
                       GCS_ERROR = 9,
                       GCS_INCONSISTENCY = 10
};

/*
 * Something to be sent: a write set or a state request. Lives in the submitter; the fields must not change between
 * gcs_submit and done. The bytes are a gather list and are read when the action is sent, after prepare.
 */
struct gcs_submission {
    enum gcs_action_type type; /* GCS_WRITESET or GCS_STATE_REQ */
    const struct iovec *parts;
    size_t part_count;
    bool is_out_of_order; /* past waiting ones and past flow control: rollback fragments (section 13.1) */
    /* Called once per sending attempt when the action's turn has come, right before its first fragment is built: the
     * write set gets its last seen seqno and its header checksum here. May be NULL. May refuse by returning a negative
     * errno: then done is called with it (an aborted transaction); -EAGAIN: not yet, it is asked again soon, and
     * everything behind it waits. */
    int (*prepare)(struct gcs_submission *submission);
    /* Called exactly once, always. WRITESET: result 0 and the action as delivered (its buffer is in the history and
     * belongs to the receiver), or a negative errno and action NULL: -EINTR cancelled, -ENOTCONN not in a primary
     * component or this node has not joined, -ECONNABORTED closed, -EMSGSIZE (empty or too large), -EAGAIN
     * (GCS_WAITING_MAX), -ENOMEM. STATE_REQ: result = donor index >= 0 and an action with the position but no buffer,
     * or negative errno (section 11.2). May free the submission and may call gcs_submit. */
    void (*done)(struct gcs_submission *submission, int result, const struct gcs_action *action);
    void *ctx;
    /* Private to gcs. */
    struct gcs_submission *next, *previous;
    uint64_t id;
    size_t size, sent;
    uint32_t fragment;
    int progress;
};

/* One ordered action for the receiver. */
struct gcs_action {
    enum gcs_action_type type;
    uint8_t *buf; /* from gcs_up.alloc, now owned by the receiver (WRITESET, STATE_REQ, CCHANGE); else NULL */
    size_t size;
    int64_t seqno; /* WRITESET: global seqno. STATE_REQ: own position. COMMIT_CUT, VOTE: the seqno they speak of.
                      CCHANGE: own index, -1 for self-leave. */
    int64_t code;  /* JOIN, SYNC: 0 or negative errno. VOTE: value (1 = request, else result). ERROR: negative errno */
    int sender;    /* WRITESET, STATE_REQ: node index */
    struct xb_uuid sender_uuid;
    /* VOTE: the end of the own vote on `seqno`; code is then 0 (the group agrees), 1 (it does not), or a negative errno
     * (undecidable). Comes from inside the message that decided it, and before a CCHANGE that carries the result: the
     * voter holds the commit order, so wake it from here. */
    bool is_own_vote;
};

struct gcs_down {
    void *ctx;
    /* As pc_submit. */
    int (*submit)(void *ctx, struct xb_buf *buf, uint8_t user_type, enum evs_order order, int64_t now_ns);
    /* The group connection must be given up (a version above ours and the like); gcs_error follows. */
    void (*fatal)(void *ctx, const struct xb_error *error);
};

struct gcs_up {
    void *ctx;
    /* Buffer of the history for an incoming action; NULL without memory (then the sender or the group layer gets an
     * error, section 3.5). */
    void *(*alloc)(void *ctx, size_t size);
    void (*free)(void *ctx, void *buf);
    /* Actions in their order. Own write sets and own state requests do not come here but to submission.done, at the
     * same place in the order. */
    void (*action)(void *ctx, const struct gcs_action *action, int64_t now_ns);
    /* Lowest seqno in the history, for the state message; -1 none. */
    int64_t (*cached)(void *ctx);
    /* The causal token has come through: result 0 and the position, or a negative errno (section 16). */
    void (*causal)(void *ctx, void *token, int result, const struct xb_uuid *group_uuid, int64_t seqno);
};

struct gcs_options {
    int64_t fc_limit;
    double fc_factor;
    bool fc_single_primary;
    bool sync_donor;
    int64_t max_packet_size;
    int64_t recv_q_hard_limit;
    double recv_q_soft_limit, max_throttle;
    bool stateless; /* arbitrator */
    int vote_policy;
};
void gcs_options_default(struct gcs_options *options);

/* The replication and application version of a member that holds no state: never lowers what the group agrees on. */
#define GCS_VERSION_ANY 127

struct gcs_config {
    struct xb_uuid uuid;                    /* own member UUID */
    const char *name, *incoming;            /* copied */
    int repl_version_max, appl_version_max; /* announced; GCS_VERSION_ANY for the arbitrator */
    struct xb_uuid group_uuid;              /* saved position, nil and -1 if none */
    int64_t seqno;
    struct gcs_options options;
};

/* NULL: no memory, a seqno without UUID or the reverse (section 4.1), or name and address too long for a message. */
struct gcs *gcs_new(const struct gcs_config *config, const struct gcs_down *down, const struct gcs_up *up,
                    struct xb_random *random, const struct xb_log *log);
void gcs_free(struct gcs *gcs);

/* From PC. calendar_ns: for new UUIDs. */
void gcs_view(struct gcs *gcs, const struct pc_view *view, int64_t now_ns, int64_t calendar_ns);
void gcs_message(struct gcs *gcs, const struct pc_message *message, int64_t now_ns);
/* The transport broke: self-leave with an error (section 5.2 step 1). */
void gcs_error(struct gcs *gcs, int code, int64_t now_ns);
/* Sends what can be sent, does what is due. -> when to be called again at the latest. To be called after every batch of
 * events, since room in EVS's queue is noticed here. */
int64_t gcs_tick(struct gcs *gcs, int64_t now_ns);
/* The same answer without doing anything: for an owner whose other layers have delivered something since the tick. */
int64_t gcs_deadline(const struct gcs *gcs, int64_t now_ns);

/* Queues the submission; done follows, perhaps from inside. Bounded by GCS_WAITING_MAX, beyond that done(-EAGAIN) at
 * once. State requests pass waiting write sets and flow control: a node that stops the group must be able to desync. */
#define GCS_WAITING_MAX 16384
void gcs_submit(struct gcs *gcs, struct gcs_submission *submission, int64_t now_ns);
/* Takes it back if no fragment of it has been sent: done(-EINTR) is called, -> true. Else false. */
bool gcs_cancel(struct gcs *gcs, struct gcs_submission *submission, int64_t now_ns);
/* Closing begins: nothing is sent any more (but answers to state exchanges), what has not been sent completely is
 * done(-ECONNABORTED). What has been sent may still be ordered: it is done then, or with the self-leave, gcs_error or
 * gcs_free. */
void gcs_close(struct gcs *gcs, int64_t now_ns);

/* JOIN: donation or transfer over, resync (section 11.4). Repeated by gcs as long as it may be lost. If the donor
 * leaves or fails before a joiner has called this, gcs sends a JOIN with a negative code for it: the action GCS_JOIN
 * with a negative code says that this node is back in PRIM and may send another state request (section 21.3). */
void gcs_join(struct gcs *gcs, const struct xb_uuid *group_uuid, int64_t seqno, int code, int64_t now_ns);
/* JOIN at the end of a donation or desync, which may have been forgotten meanwhile: a node that has been out of the
 * group may be waiting for its own state by now, and must not say that it is here. -> 0, or -EPERM: this node is no
 * donor */
int gcs_join_as_donor(struct gcs *gcs, const struct xb_uuid *group_uuid, int64_t seqno, int code, int64_t now_ns);
/* LAST: never between prepare and the last fragment of a write set, so that no write set with a lower last seen follows
 * it (07 section 9.3). Only the newest waits. gcs repeats it when a configuration change or SYNC made the group forget
 * it (section 21.12); the owner reports at SYNC and when idle. */
void gcs_report_last_applied(struct gcs *gcs, const struct xb_uuid *group_uuid, int64_t seqno, int64_t now_ns);
/* VOTE on seqno: value 0 = success, else from gcs_vote_value. -> 0 under way (the result comes as an action GCS_VOTE
 * with is_own_vote, exactly once), -EALREADY, -EBUSY (another own vote is undecided), -ENOTCONN (this node has not
 * joined or the group does not vote: the node is inconsistent), -EREMCHG (another history), -ECONNABORTED. text: the
 * error message, may hold NULs. */
int gcs_vote(struct gcs *gcs, const struct xb_uuid *group_uuid, int64_t seqno, int64_t value, const void *text,
             size_t text_size, int64_t now_ns);
int64_t gcs_vote_value(const struct xb_uuid *group_uuid, int64_t seqno, const void *text, size_t text_size);
/* Causal read: gcs_up.causal(token) follows exactly once: result 0, -EPERM (not in a primary component), -ECONNABORTED
 * (closed), -EAGAIN (GCS_CAUSAL_MAX waiting). A state exchange is waited for. What comes between two gcs_tick goes in
 * one message. */
#define GCS_CAUSAL_MAX 65536
void gcs_causal(struct gcs *gcs, void *token, int64_t now_ns);

/*
 * Flow control (section 13). The receiver's queue is not here, so its owner tells its length: actions waiting for
 * appliers, and their bytes. It must be told after each change that crosses a threshold below; more often is harmless.
 * The queue grows inside gcs_up.action: telling there costs nothing, do it always. Thresholds change with nearly every
 * action; a length beyond a new one is to be told at once.
 * is_own: the last item added was an own action (never causes a STOP).
 */
void gcs_set_queue_length(struct gcs *gcs, int64_t length, int64_t bytes, bool is_own, int64_t now_ns);
/* For the statistics only: an action joins the receiver's queue behind `met` others. */
void gcs_count_arrival(struct gcs *gcs, int64_t met);
struct gcs_queue_thresholds {
    int64_t above;       /* tell when the length grows beyond; INT64_MAX: not interested */
    int64_t below;       /* tell when the length falls to or below; -1: not interested */
    int64_t bytes_above; /* tell when the bytes grow beyond; INT64_MAX: not interested */
};
void gcs_get_queue_thresholds(const struct gcs *gcs, struct gcs_queue_thresholds *thresholds);

/* Run-time options: -> 0, -EINVAL (range), -EPERM (one that is fixed at start differs). */
int gcs_set_options(struct gcs *gcs, const struct gcs_options *options, int64_t now_ns);

enum gcs_group_state { GCS_NON_PRIMARY, GCS_WAIT_STATE_UUID, GCS_WAIT_STATE_MSG, GCS_PRIMARY, GCS_INCONSISTENT };

struct gcs_status {
    enum gcs_group_state group_state;
    enum gcs_node_state node_state;
    struct xb_uuid group_uuid;
    int64_t seqno, conf_id, commit_cut;
    int gcs_version, repl_version, appl_version; /* negotiated, -1 before the first quorum */
    int desync_count, member_count, own_index;
    int64_t send_queue, send_queue_max, send_queue_min;
    double send_queue_avg;
    int64_t recv_queue, recv_queue_max, recv_queue_min;
    double recv_queue_avg;
    int64_t fc_paused_ns; /* since start, running pause included */
    int64_t fc_sent, fc_received;
    bool fc_is_active, fc_is_requested;
    int64_t fc_interval_low, fc_interval_high;
};
void gcs_get_status(const struct gcs *gcs, struct gcs_status *status, int64_t now_ns);
/* This node's state in the primary configuration that it is in. -> false: it is in none */
bool gcs_get_own_state(const struct gcs *gcs, enum gcs_node_state *state);
void gcs_reset_stats(struct gcs *gcs, int64_t now_ns);

#endif
