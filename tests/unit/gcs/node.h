/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One gcs instance with everything around it recorded: what it sends, what it delivers, what it answers. Views and
 * messages are given to it by hand, or by the bus (bus.h).
 */
#ifndef XB_TESTS_UNIT_GCS_NODE_H
#define XB_TESTS_UNIT_GCS_NODE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "gcs/core.h"

/* An action delivered, a submission done, or a causal read answered. */
enum record_kind { RECORD_ACTION, RECORD_DONE, RECORD_CAUSAL };

struct record {
    enum record_kind kind;
    struct gcs_action action;  /* buf: a copy that the node frees */
    int result;                /* done, causal */
    void *what;                /* submission, token */
    struct gcs_cchange change; /* of a CCHANGE */
};

struct sent {
    uint8_t type;
    enum evs_order order;
    uint8_t *bytes;
    size_t size;
};

struct node {
    struct gcs *gcs;
    struct xb_uuid uuid;
    struct xb_random random;
    struct xb_log log;
    int64_t now_ns;
    struct gcs_options options;
    struct gcs_config config;
    char name[32];

    struct sent *sent;
    size_t sent_count;
    struct record *records;
    size_t record_count;
    size_t buffers; /* handed out by alloc and not freed by gcs or recorded */
    bool is_without_memory;
    int64_t cached;
    int refusal;                 /* if not 0: what submit answers */
    int accepted_before_refusal; /* that many are taken first */
    bool are_all_ours;           /* what its primary views say */
    struct xb_error failure;     /* fatal */
    size_t prepared;
    /* Takes the place of recording in `sent`. -> 0 or negative errno */
    int (*submit)(struct node *node, const struct sent *message);
    /* Called for each record, with its buffer. */
    void (*watch)(struct node *node, const struct record *record);
    void *ctx;
};

struct node *node_new(int id, const char *name); /* config can be changed before node_start */
void node_start(struct node *node);
void node_free(struct node *node);

void node_view(struct node *node, bool is_primary, bool is_bootstrap, const struct node *const *members, size_t count);
void node_leave(struct node *node); /* self-leave */
void node_message(struct node *node, const struct xb_uuid *source, uint8_t type, const void *payload, size_t size);
void node_deliver(struct node *node, const struct xb_uuid *source, const struct sent *message);
int64_t node_tick(struct node *node);

/* Last message sent of this type; NULL none. */
const struct sent *node_last_sent(const struct node *node, uint8_t type);
size_t node_count_sent(const struct node *node, uint8_t type);
/* Last action of this type; fails the test if there is none. */
const struct record *node_last_action(const struct node *node, enum gcs_action_type type);
size_t node_count_actions(const struct node *node, enum gcs_action_type type);
const struct gcs_cchange *node_configuration(const struct node *node);
void node_forget(struct node *node); /* what was recorded and sent */

/* A submission with its own bytes. Free with node_submission_free once it is done. */
struct item {
    struct gcs_submission submission;
    struct iovec parts[3];
    uint8_t *bytes;
    size_t size;
    struct node *node;
    bool is_done;
    int result;
    int64_t seqno; /* of the delivered action */
    int prepare_result;
    int prepared;
    void (*on_prepare)(struct item *item); /* may change bytes */
};
struct item *item_new(struct node *node, enum gcs_action_type type, const void *bytes, size_t size);
struct item *item_submit(struct node *node, enum gcs_action_type type, const void *bytes, size_t size);
void item_free(struct item *item); /* must be done */

/* A state request: donor list, version 3 block with this position (nil, -1: none), "x". -> size */
size_t make_request(uint8_t *to, size_t room, const char *donors, const struct xb_uuid *uuid, int64_t seqno);
/* Desync request. */
size_t make_desync(uint8_t *to, size_t room);

#endif
