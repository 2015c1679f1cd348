/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Inside of gcs: the state of the layer and what its files ask of each other.
 *
 * Every public function that may send is bracketed by gcs_enter and gcs_leave. Handlers only change the state and note
 * what is to be sent; the outermost gcs_leave sends (gcs_flush). So nothing is sent from the middle of a handler, and a
 * message that the layers below deliver within a send finds a consistent state.
 */
#ifndef XB_GCS_CORE_H
#define XB_GCS_CORE_H

#include "gcs/member.h"
#include "gcs/quorum.h"

#include "base/clock.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define GCS_RETRY_NS (10 * XB_MS)             /* what PC refused is tried again */
#define GCS_EXCHANGE_WATCH_NS (5 * XB_SECOND) /* an exchange that lasts longer is logged, again and again */
#define GCS_VOTE_REPEAT_NS (5 * XB_SECOND)    /* an own vote that stays undecided is sent again */
#define GCS_JOINS_MAX 256                     /* own JOINs under way; more than there can be desyncs at a time */
#define GCS_VOTE_HISTORY_MAX 256              /* results that came before the own vote */

struct gcs_list {
    struct gcs_submission *head, *tail;
};

struct gcs_sender {                 /* queue.c */
    struct gcs_list urgent;         /* state requests, out-of-order write sets */
    struct gcs_list waiting;        /* write sets in order */
    struct gcs_list sent;           /* handed over, not delivered yet */
    struct gcs_submission *current; /* being sent; prepared */
    size_t part, part_used;         /* how far its gather list has been read */
    struct xb_buf *refused;         /* its next fragment, which PC did not take */
    uint64_t next_id;
    size_t count, sent_count; /* of all these, of those in sent */
    bool is_report_due;       /* LAST */
    struct xb_uuid reported_uuid;
    int64_t reported_seqno; /* newest that the owner told, -1 none */
    int64_t queue_max, queue_min;
    double queue_sum;
    int64_t queue_samples;
};

struct gcs_flow {          /* flow_control.c, throttle.c */
    int64_t upper, lower;  /* section 13.3 */
    int64_t length, bytes; /* of the receiver's queue, as told */
    int64_t offset;        /* catch-up allowance */
    int64_t stop_offset;   /* what it was when this node last stopped the group */
    bool is_stopping;      /* this node wants the group to stop ("stops sent") */
    bool is_stop_sent;     /* and has said so */
    int stops_received;    /* members that said so */
    int64_t paused_since_ns, paused_ns;
    int64_t sent, received;
    int64_t queue_max, queue_min;
    double queue_sum;
    int64_t queue_samples;
    bool is_throttling; /* this node receives a state transfer */
    bool is_crossed;    /* the soft limit was passed */
    int64_t start_bytes, start_ns;
    double rate; /* bytes/ns before the soft limit */
    double reference_bytes, reference_ns;
    int64_t throttle_until_ns; /* 0: no pause */
};

struct gcs_join_message {
    int64_t seqno;
    int code;
};

struct gcs_joins { /* join.c: own JOINs not delivered yet, in order */
    struct gcs_join_message ring[GCS_JOINS_MAX];
    size_t head, count, sent;
};

struct gcs_ballot {                                       /* vote.c */
    struct gcs_vote_result result;                        /* last one, -1, 0 */
    int64_t request_seqno;                                /* last request, -1 */
    struct gcs_vote_result history[GCS_VOTE_HISTORY_MAX]; /* of this group UUID, ascending */
    size_t history_count;
    /* Own vote. */
    bool is_waiting, is_due;
    struct xb_uuid own_uuid;
    int64_t own_seqno, own_value; /* last voted; own_seqno -1 none */
    int64_t repeat_ns;            /* when it is sent again */
    uint8_t text[GCS_VOTE_TEXT_MAX];
    size_t text_size;
};

struct gcs_causal_token {
    struct gcs_causal_token *next;
    void *token;
    uint64_t batch; /* number of the message it is in; 0: to be sent */
};

struct gcs_causal { /* causal.c: in order, those under way first */
    struct gcs_causal_token *first, **last;
    size_t count, unsent;
    bool is_refused; /* the last message */
    uint64_t batch;  /* last number used */
};

struct gcs {
    struct xb_uuid uuid;
    char *name, *incoming;
    struct gcs_versions max; /* what this node can do */
    struct gcs_options options;
    struct gcs_down down;
    struct gcs_up up;
    struct xb_random *random;
    const struct xb_log *log;

    enum gcs_group_state group_state;
    bool is_closing;   /* sends no more */
    bool is_closed;    /* self-leave or error seen */
    bool are_all_ours; /* pc_view's, of the latest primary view */
    bool is_halted;    /* given up, gcs_error is to come */
    int depth;         /* of nested public calls */
    bool is_refused;   /* PC refused something in the last flush */
    uint64_t epoch;    /* counts component events */
    int64_t now_ns;    /* of the running call */
    uint64_t dropped;  /* messages that cannot come from a correct member */

    /* Section 4.1. */
    int64_t counter;
    struct xb_uuid group_uuid;
    int64_t conf_id;
    struct gcs_cut cut;
    int64_t cut_delivered; /* last COMMIT_CUT, -1 */
    struct xb_uuid state_uuid;
    bool is_state_uuid_due, is_state_due;
    int64_t exchange_since_ns, exchange_watch_ns;
    struct xb_uuid primary_uuid;
    int64_t primary_seqno;
    int joined_count;
    enum gcs_node_state primary_state;
    struct gcs_versions primary_versions, versions;
    int exchange_version, vote_policy;
    int64_t quorum_counter; /* C of section 11.3 */

    struct gcs_member *members;
    size_t member_count;
    int own_index; /* -1 */

    struct gcs_sender sender;
    struct gcs_flow flow;
    struct gcs_joins joins;
    bool is_sync_sent;
    struct gcs_ballot ballot;
    struct gcs_causal causal;
};

static inline struct gcs_member *gcs_self(struct gcs *gcs) {
    return gcs->own_index < 0 ? NULL : &gcs->members[gcs->own_index];
}

static inline enum gcs_node_state gcs_own_state(const struct gcs *gcs) {
    return gcs->own_index < 0 ? GCS_NODE_NON_PRIM : gcs->members[gcs->own_index].state;
}

static inline bool gcs_is_own(const struct gcs *gcs, const struct gcs_member *member) {
    return gcs->own_index >= 0 && member == &gcs->members[gcs->own_index];
}

/* gcs.c */
void gcs_enter(struct gcs *gcs, int64_t now_ns);
void gcs_leave(struct gcs *gcs, int64_t now_ns);
/* Hands a message to PC. Takes buf in any case. -> 0, or PC's error */
int gcs_send_bytes(struct gcs *gcs, const uint8_t *payload, size_t size, enum gcs_message_type type);
/* The connection cannot go on: tells the owner and does nothing more. */
void gcs_halt(struct gcs *gcs, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* A message that no correct member sends: logged once a member. */
void gcs_violation(struct gcs *gcs, struct gcs_member *member, const char *what);
void gcs_deliver(struct gcs *gcs, const struct gcs_action *action);

/* component.c: views */
void gcs_component(struct gcs *gcs, const struct pc_view *view, int64_t calendar_ns);
void gcs_self_leave(struct gcs *gcs, int code);
void gcs_become_non_primary(struct gcs *gcs);
void gcs_free_members(struct gcs *gcs, struct gcs_member *members, size_t count);

/* exchange.c: state exchange, new configurations */
bool gcs_send_state_uuid(struct gcs *gcs);
bool gcs_send_state(struct gcs *gcs);
void gcs_handle_state_uuid(struct gcs *gcs, size_t index, const uint8_t *payload, size_t size);
void gcs_handle_state(struct gcs *gcs, struct gcs_member *member, const uint8_t *payload, size_t size);
void gcs_watch_exchange(struct gcs *gcs);
void gcs_deliver_configuration(struct gcs *gcs, const struct gcs_vote_result *vote);

/* action.c */
void gcs_handle_action(struct gcs *gcs, size_t index, const uint8_t *payload, size_t size);

/* request.c: takes buf */
void gcs_handle_request(struct gcs *gcs, size_t index, uint8_t *buf, size_t size, struct gcs_submission *submission);

/* queue.c */
bool gcs_send_action(struct gcs *gcs); /* one step: a fragment, a report, or nothing to send (false) */
/* The submission that an own delivered action belongs to, taken out of the queue; NULL: nobody waits. */
struct gcs_submission *gcs_sender_match(struct gcs *gcs, uint64_t id, size_t size);
void gcs_finish(struct gcs *gcs, struct gcs_submission *submission, int result, const struct gcs_action *action);
void gcs_sender_restart(struct gcs *gcs);          /* a view change cut what was under way: it will be sent again */
void gcs_sender_fail(struct gcs *gcs, int result); /* everything */
void gcs_sender_fail_unsent(struct gcs *gcs, int result); /* but what has been sent completely */
void gcs_sender_fail_write_sets(struct gcs *gcs, int result);
void gcs_repeat_report(struct gcs *gcs); /* if the group forgot it */

/* last.c */
bool gcs_send_report(struct gcs *gcs);
void gcs_handle_last(struct gcs *gcs, size_t index, const struct gcs_code *code);

/* join.c, sync.c */
bool gcs_send_join(struct gcs *gcs);
void gcs_handle_join(struct gcs *gcs, struct gcs_member *member, const struct gcs_code *code);
/* This node waits for a transfer that will not end: gives it up, unless it has it already. */
void gcs_give_up_transfer(struct gcs *gcs, int code, const char *why);
void gcs_joins_configuration(struct gcs *gcs);
bool gcs_send_sync(struct gcs *gcs);
void gcs_handle_sync(struct gcs *gcs, struct gcs_member *member);

/* flow.c: the message; flow_control.c: when; throttle.c: of a joiner */
bool gcs_send_flow(struct gcs *gcs);
void gcs_handle_flow(struct gcs *gcs, struct gcs_member *member, const uint8_t *payload, size_t size);
void gcs_flow_set_limits(struct gcs *gcs);
void gcs_flow_configuration(struct gcs *gcs);
void gcs_flow_options(struct gcs *gcs); /* limits or the role of a donor have changed */
void gcs_flow_joined(struct gcs *gcs);
void gcs_flow_synced(struct gcs *gcs);
void gcs_flow_set_stopping(struct gcs *gcs, bool is_stopping);
bool gcs_flow_is_paused(const struct gcs *gcs);
void gcs_flow_count_stop(struct gcs *gcs, struct gcs_member *member, bool is_stopping);
void gcs_throttle_start(struct gcs *gcs);
void gcs_throttle_end(struct gcs *gcs);
void gcs_throttle_check(struct gcs *gcs);
void gcs_throttle_tick(struct gcs *gcs);
int64_t gcs_throttle_deadline(const struct gcs *gcs);
int64_t gcs_throttle_threshold(const struct gcs *gcs); /* bytes beyond which gcs_throttle_check has to be called */

/* vote.c */
bool gcs_send_vote(struct gcs *gcs);
void gcs_vote_tick(struct gcs *gcs);
int64_t gcs_vote_deadline(const struct gcs *gcs);
void gcs_handle_vote(struct gcs *gcs, struct gcs_member *member, const struct gcs_code *code);
/* Recount with the configuration that has just been computed -> is there a result for it to carry? */
bool gcs_vote_configuration(struct gcs *gcs, struct gcs_vote_result *result);
/* What it means for the own vote. vote: its result or NULL. */
void gcs_vote_new_configuration(struct gcs *gcs, const struct gcs_vote_result *vote);
void gcs_vote_new_group(struct gcs *gcs); /* another history begins */
void gcs_vote_end(struct gcs *gcs, int code);

/* causal.c */
void gcs_send_causal(struct gcs *gcs);
int64_t gcs_causal_deadline(const struct gcs *gcs, int64_t now_ns);
void gcs_handle_causal(struct gcs *gcs, const uint8_t *payload, size_t size);
void gcs_causal_restart(struct gcs *gcs);
void gcs_causal_fail(struct gcs *gcs, int result);

/* status.c */
void gcs_sample_send_queue(struct gcs *gcs);

#endif
