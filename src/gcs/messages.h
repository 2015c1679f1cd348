/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shapes of the gcs messages (spec 05 sections 2, 3.2, 6, 11.1). Each is read and written in the file named at it.
 * Readers check everything and return 0 or -EPROTO; what they return points into the message.
 */
#ifndef XB_GCS_MESSAGES_H
#define XB_GCS_MESSAGES_H

#include "base/bytes.h"
#include "base/uuid.h"
#include "gcs/gcs.h"

/* The user type of the EVS header tells the type of a message (section 2). */
enum gcs_message_type {
    GCS_MSG_ACTION = 1,
    GCS_MSG_LAST = 2,
    GCS_MSG_STATE_UUID = 4,
    GCS_MSG_STATE = 5,
    GCS_MSG_JOIN = 6,
    GCS_MSG_SYNC = 7,
    GCS_MSG_FLOW = 8,
    GCS_MSG_VOTE = 9,
    GCS_MSG_CAUSAL = 10, /* never on the wire */
    GCS_MSG_TYPES = 11
};

/* action.c */
#define GCS_ACTION_SERVICE 8 /* reserved type: ignored, and does not disturb a collector (section 3.5) */

struct gcs_fragment {
    uint8_t version;
    uint64_t id; /* 56 bits */
    uint32_t action_size;
    uint32_t number;
    uint8_t type;
    const uint8_t *data;
    size_t size; /* of data */
};
int gcs_fragment_read(struct gcs_fragment *fragment, const uint8_t *payload, size_t size);
void gcs_fragment_write_header(uint8_t to[GCS_FRAGMENT_HEADER_SIZE], const struct gcs_fragment *fragment);

/* code.c: LAST, JOIN, SYNC, VOTE */
#define GCS_CODE_SIZE 32
#define GCS_VOTE_SIZE_MAX 1024
#define GCS_VOTE_TEXT_MAX (GCS_VOTE_SIZE_MAX - GCS_CODE_SIZE - 1)

struct gcs_code {
    struct xb_uuid group_uuid;
    int64_t seqno;
    int64_t code;
    const uint8_t *text; /* VOTE, what follows the fixed part */
    size_t text_size;
};
int gcs_code_read(struct gcs_code *code, const uint8_t *payload, size_t size);
void gcs_code_write(struct xb_writer *w, const struct gcs_code *code);

/* flow.c */
#define GCS_FLOW_SIZE 8

struct gcs_flow_message {
    uint32_t conf_id; /* low half */
    uint32_t stop;    /* any value but 0 */
};
int gcs_flow_read(struct gcs_flow_message *flow, const uint8_t *payload, size_t size);
void gcs_flow_write(struct xb_writer *w, const struct gcs_flow_message *flow);

/* state_message.c */
#define GCS_STATE_VERSION 6
#define GCS_STATE_VERSION_MIN 3
#define GCS_STATE_FIXED_SIZE 113 /* all but the two strings */

enum gcs_state_flag {
    GCS_STATE_REPRESENTATIVE = 0x1,
    GCS_STATE_COUNTED = 0x2,
    GCS_STATE_BOOTSTRAP = 0x4,
    GCS_STATE_STATELESS = 0x8
};

struct gcs_versions {
    int gcs, repl, appl;
};

struct gcs_state_message {
    uint8_t version, flags;
    struct gcs_versions max;
    enum gcs_node_state primary_state, state;
    int joined_count;
    struct xb_uuid state_uuid, group_uuid, primary_uuid;
    int64_t received, primary_seqno;
    const char *name, *incoming;
    int64_t cached;
    int64_t desync_count;
    int64_t last_applied, vote_seqno, vote_value;
    int vote_policy;
    struct gcs_versions primary;
};
int gcs_state_message_read(struct gcs_state_message *state, const uint8_t *payload, size_t size);
void gcs_state_message_write(struct xb_writer *w, const struct gcs_state_message *state); /* version 6 */

/* request.c: content of a STATE_REQ action */
#define GCS_SELF_DESYNC "self-desync"

struct gcs_request {
    const char *donors;
    int version; /* 0: without IST position */
    struct xb_uuid ist_uuid;
    int64_t ist_seqno;
    size_t body; /* where the application request begins */
};
int gcs_request_read(struct gcs_request *request, const uint8_t *data, size_t size);

#endif
