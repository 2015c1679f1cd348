/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A simulated cluster: nodes made of src/group, src/certify, src/writeset and a small model of the replicator and its
 * database, on the virtual network.
 *
 * A node is a disk that outlives crashes, and a process. The model keeps the replicator's rules (spec 07): actions are
 * taken in order, certified in order, applied at the node's speed; a configuration change waits until everything before
 * it is applied; a node that needs a state transfer asks for it, takes the donor's data and history, fills its index
 * from that history and goes on with what has come in meanwhile.
 *
 * Files: node.c (process, network, callbacks), replica.c (actions in order), transfer.c (donor and joiner), client.c
 * (submissions).
 */
#ifndef XB_SIM_NODE_H
#define XB_SIM_NODE_H

#include "check.h"
#include "network.h"

#include "base/clock.h"
#include "base/log.h"
#include "certify/certify.h"
#include "group/group.h"

#define SIM_NODES_MAX 7
#define SIM_CALENDAR_NS (1700000000 * XB_SECOND) /* of virtual time 0 */
#define SIM_KEYS 24                              /* rows of the only table: few, so that write sets conflict */
#define SIM_OUTSTANDING_MAX 8                    /* submissions of a node under way */
#define SIM_REPL_VERSION 11
#define SIM_APPL_VERSION 4

struct cluster;
struct sim_node;
struct transfer;

struct history_entry { /* one seqno of the history: a write set or a configuration change */
    enum gcs_action_type type;
    uint8_t *bytes;
    size_t size;
    bool is_skip; /* failed in certification */
};

/* Gapless from `low` on; empty if count is 0. */
struct history {
    struct history_entry *entries;
    int64_t low, released; /* up to `released` may be forgotten: the index does not need it */
    size_t count, capacity, max;
};

struct disk {
    struct check_state state; /* the database; what was applied is on disk */
    struct history history;
    bool has_saved;
    struct pc_saved_view saved; /* gvwstate.dat */
};

/* Taken from the group, waiting for its turn. */
struct item {
    struct item *next;
    struct gcs_action action;
    struct submission *submission; /* own write set */
};

/* Certified, waiting to be applied. */
struct job {
    struct job *next;
    int64_t seqno;
    struct xb_hash128 digest;
    bool is_passed, is_voted;
    struct certify_ticket *ticket;
    struct submission *submission;
    int64_t cost_ns;
};

enum submission_kind { SUBMIT_WRITESET, SUBMIT_STATE_REQUEST, SUBMIT_DESYNC, SUBMIT_CAUSAL };

struct submission {
    struct gcs_submission gcs; /* first: the callbacks get this */
    struct sim_node *node;
    struct submission *next, **link; /* of the node's */
    enum submission_kind kind;
    uint64_t number; /* SUBMIT_WRITESET: of the checker */
    int64_t seqno;   /* SUBMIT_CAUSAL: what the read must see */
    struct writeset_builder *builder;
    uint8_t *request;
    struct iovec part;
};

enum replica_phase {
    REPLICA_OUTSIDE,    /* no primary component, or not up to date */
    REPLICA_REQUESTING, /* needs a state transfer, has not got a donor */
    REPLICA_RECEIVING,  /* a donor is at work */
    REPLICA_JOINED,
    REPLICA_SYNCED
};

struct sim_node {
    struct cluster *cluster;
    int index;
    struct disk disk;
    int weight;

    /* The process. */
    bool is_up;
    uint64_t generation; /* of the process */
    struct xb_uuid uuid;
    struct xb_random random;
    struct xb_log log;
    struct group *group;
    struct certify *certify;
    int64_t tick_at_ns; /* XB_NEVER: none is scheduled */
    bool is_settling, is_leaving, has_left, is_conflict;
    int left_code;

    /* Replica. */
    enum replica_phase phase;
    bool is_donor, is_corrupt, is_joined; /* is_joined: clients may write */
    struct xb_uuid group_uuid;            /* of the group, as the last change says */
    struct item *items, **items_end;
    struct job *jobs, **jobs_end;
    size_t item_count, job_count;
    int64_t queue_bytes;
    bool is_applying;            /* an event for the end of the first job is under way */
    int64_t apply_ns;            /* a write set costs this */
    int64_t cc_seqno, cc_lowest; /* spec 07 section 5.3 */
    bool is_primary;             /* the last change delivered was a primary one */
    int64_t reunion_seqno;       /* the last primary one that followed another; write sets wait until it is applied */
    int64_t needed_seqno;        /* of the change that asked for a transfer */
    int64_t transfer_seqno;      /* position after the transfer, -1 */
    uint64_t request_number;     /* of the running request */
    int requests_failed;         /* in a row */
    bool is_giving_up;           /* will leave and join anew */
    bool is_request_out;         /* the state request is under way */
    bool is_request_timed;       /* an event will make the next one */
    struct submission *submissions;
    size_t outstanding;
    bool is_desynced, is_voting;
};

struct cluster {
    struct net *net;
    struct check *check;
    struct xb_random random;
    struct sim_node nodes[SIM_NODES_MAX];
    int count;
    bool is_traced;
    bool has_fast_timers;
    struct evs_options evs;
    int64_t peer_timeout_ns, transfer_ns;
    bool is_load_on;
    int64_t load_period_ns; /* of each client */
    bool is_failing;        /* write sets may fail to apply */
    int64_t failure_period; /* one write set in so many fails to apply somewhere; 0: none */
    uint64_t failure_seed;
    struct transfer *transfers;
};

/* main.c, faults.c */
struct cluster *cluster_new(uint64_t seed, bool is_traced);
void cluster_free(struct cluster *cluster);
void cluster_trace(struct cluster *cluster, int node, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* -> the error text if the node, as the seed decides, cannot apply the write set; else NULL */
const char *cluster_apply_failure(const struct cluster *cluster, int node, int64_t seqno);

/* node.c: processes. with_saved: gvwstate.dat is used if it is there. */
void node_start(struct sim_node *node, bool is_bootstrap, bool with_saved);
void node_crash(struct sim_node *node, bool is_silent);
void node_leave(struct sim_node *node);
/* After anything was done to the node from outside: lets all its layers do what is due. */
void node_settle(struct sim_node *node);
bool node_is_primary(const struct sim_node *node); /* its group layer is in a primary configuration */
bool node_is_ready(const struct sim_node *node);   /* and its data is up to date */

/* replica.c */
void replica_start(struct sim_node *node);
void replica_stop(struct sim_node *node);
void replica_take(struct sim_node *node, const struct gcs_action *action, struct submission *submission);
bool replica_process(struct sim_node *node); /* -> true if anything was done */
void replica_queue_changed(struct sim_node *node, bool is_own);
void history_add(struct history *history, int64_t seqno, enum gcs_action_type type, const void *bytes, size_t size,
                 bool is_skip);
const struct history_entry *history_find(const struct history *history, int64_t seqno);
void history_clear(struct history *history);
int64_t history_lowest(const struct history *history); /* -1: empty */
/* Takes a configuration change into the index. */
void replica_apply_change(struct sim_node *node, const struct gcs_cchange *change);
/* The database has taken one seqno more; digest NULL: nothing changed in it. */
void replica_advance(struct sim_node *node, int64_t seqno, const struct xb_hash128 *digest);

/* transfer.c */
void transfer_request(struct sim_node *node); /* asks for a donor, again and again until there is one */
void transfer_failed(struct sim_node *node);  /* asks again; or gives up and joins anew */
void transfer_answered(struct sim_node *node, const struct submission *submission, int result);
void transfer_donate(struct sim_node *node, const struct gcs_action *action); /* everything before is applied */
void transfer_free_all(struct cluster *cluster);

/* client.c */
void client_start(struct sim_node *node);
void client_submit(struct sim_node *node);
void client_desync(struct sim_node *node);
void client_causal_done(struct sim_node *node, void *token, int result, const struct xb_uuid *group_uuid,
                        int64_t seqno);
void client_done(struct gcs_submission *gcs, int result, const struct gcs_action *action);
struct submission *client_submission_new(struct sim_node *node, enum submission_kind kind);
void client_submission_free(struct submission *submission);
void client_stop(struct sim_node *node); /* the process is gone */

#endif
