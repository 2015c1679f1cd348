/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PC: which component is primary (spec 04): quorum with weights, state exchange, bootstrap, restored views.
 *
 * Pure state machine, group thread only. It may submit to EVS from inside EVS's upward calls. Its own upward calls may
 * call pc_submit and nothing else.
 */
#ifndef XB_PC_PC_H
#define XB_PC_PC_H

#include "base/buf.h"
#include "base/error.h"
#include "base/log.h"
#include "base/uuid.h"
#include "evs/evs.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PC_HEADER_SIZE 8
#define PC_PAYLOAD_MAX 32636 /* spec 04 section 1 */
#define PC_MEMBERS_MAX 256   /* more than any group; entries of a map beyond the message's length are refused anyway */

struct pc;

enum pc_state { PC_CLOSED, PC_STATES_EXCH, PC_INSTALL, PC_PRIM, PC_TRANS, PC_NON_PRIM };

struct pc_member {
    struct xb_uuid uuid;
    uint8_t segment;
};

/* A PRIM or NON_PRIM view; without members: the own departure is complete (self-leave). Valid during the call;
 * members ascend by UUID, their position is the node index of the layer above. */
struct pc_view {
    struct view_id id;
    bool is_bootstrap; /* the bootstrap mark */
    /* PRIM: nobody was primary before, this node has been once, and all members have agreed that whoever has the
     * highest seqno is to be followed, whether it lived on or crashed, and whatever it was the last member of
     * (promotion.c). */
    bool is_recollection;
    bool are_all_ours; /* PRIM: no member is of the stock provider */
    const struct pc_member *members;
    size_t member_count;
};

struct pc_message {
    struct xb_uuid source;
    uint8_t user_type;
    enum evs_order order;
    int64_t to_seq; /* total order number, -1 outside a primary component */
    const uint8_t *payload;
    size_t size;
};

/* What gvwstate.dat holds (section 13). */
struct pc_saved_view {
    struct xb_uuid my_uuid;
    struct view_id id; /* type PRIM */
    bool is_bootstrap;
    bool lacks_state; /* the node was still waiting for its state transfer */
    struct pc_member members[PC_MEMBERS_MAX];
    size_t member_count;
};

struct pc_down {
    void *ctx;
    /* As evs_submit: ownership of buf passes on 0. */
    int (*submit)(void *ctx, struct xb_buf *buf, uint8_t user_type, enum evs_order order, int64_t now_ns);
    /* Every view that was delivered above, for gmcast's address book (section 9.3). */
    void (*stable_view)(void *ctx, const struct pc_view *view, int64_t now_ns);
    bool (*is_evicted)(void *ctx, const struct xb_uuid *node);
};

struct pc_up {
    void *ctx;
    void (*view)(void *ctx, const struct pc_view *view, int64_t now_ns);
    void (*message)(void *ctx, const struct pc_message *message, int64_t now_ns);
    /* gvwstate.dat is to be written (saved != NULL, valid during the call) or removed (NULL). Never blocks the caller:
     * the rim may do it elsewhere. */
    void (*save)(void *ctx, const struct pc_saved_view *saved);
    /* pc.weight of this node changed by its own weight change message. */
    void (*weight_changed)(void *ctx, int weight);
    /* Forced close needed (section 12.2). is_conflict: this node lost against another primary component and may come
     * back as a fresh node (section 17.5). */
    void (*fatal)(void *ctx, const struct xb_error *error, bool is_conflict);
};

struct pc_options {
    int weight; /* 0..255 */
    bool ignore_sb, ignore_quorum, checksum, npvo, recovery;
    int64_t retry_period_ns; /* of an INSTALL that EVS refused; default 100 ms */
};
void pc_options_default(struct pc_options *options);

/* restored: view of gvwstate.dat or NULL (copied). Keeps log. */
struct pc *pc_new(const struct xb_uuid *uuid, uint8_t segment, const struct pc_options *options,
                  const struct pc_saved_view *restored, const struct pc_down *down, const struct pc_up *up,
                  const struct xb_log *log);
void pc_free(struct pc *pc);

void pc_start(struct pc *pc, bool is_start_prim, int64_t now_ns); /* CLOSED -> NON_PRIM, before evs_start */
void pc_closing(struct pc *pc); /* a graceful leave begins: lack of quorum is not ignored any more */

/* From EVS. */
void pc_evs_view(struct pc *pc, const struct evs_view *view, int64_t now_ns);
void pc_evs_message(struct pc *pc, const struct evs_message *message, int64_t now_ns);
int64_t pc_tick(struct pc *pc, int64_t now_ns);

/* From above: buf holds 1..PC_PAYLOAD_MAX bytes with headroom; ownership passes on 0.
 * -> 0, -EAGAIN, -ENOTCONN, -EMSGSIZE (section 8). */
int pc_submit(struct pc *pc, struct xb_buf *buf, uint8_t user_type, enum evs_order order, int64_t now_ns);

/* pc.bootstrap at run time: -> 0 (sent, or ignored in another state than NON_PRIM), or EVS's error. */
int pc_bootstrap(struct pc *pc, int64_t now_ns);
/* pc.weight at run time: -> 0 (sent; weight_changed follows), -EAGAIN, -ERANGE, or EVS's error. */
int pc_set_weight(struct pc *pc, int weight, int64_t now_ns);
/* Has this node the state of the group it is in, or does it wait for a transfer? Told by the layer above in a primary
 * component, from outside of any callback: a node that crashed as a joiner must not make itself primary again. */
void pc_set_has_state(struct pc *pc, bool has_state);
void pc_set_ignore(struct pc *pc, bool ignore_sb, bool ignore_quorum);

enum pc_state pc_get_state(const struct pc *pc);
int pc_cluster_weight(const struct pc *pc); /* wsrep_cluster_weight */

/* gvwstate.dat text (section 13.1), pure: parse -> 0 or negative errno with error; format -> bytes written without NUL,
 * or -ENOBUFS. */
int pc_saved_view_parse(const char *text, size_t size, struct pc_saved_view *saved, struct xb_error *error);
int pc_saved_view_format(const struct pc_saved_view *saved, char *text, size_t size);

#endif
