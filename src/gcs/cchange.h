/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Configuration change action: its bytes, which every member builds alike, which the history keeps and IST carries
 * (spec 05 section 7.5, 07 section 16.3). Pure; any thread.
 */
#ifndef XB_GCS_CCHANGE_H
#define XB_GCS_CCHANGE_H

#include "base/error.h"
#include "base/uuid.h"

#include <stddef.h>
#include <stdint.h>

enum gcs_node_state { /* spec 05 section 4.2, on the wire */
                      GCS_NODE_NON_PRIM = 0,
                      GCS_NODE_PRIM = 1,
                      GCS_NODE_JOINER = 2,
                      GCS_NODE_DONOR = 3,
                      GCS_NODE_JOINED = 4,
                      GCS_NODE_SYNCED = 5
};
const char *gcs_node_state_name(enum gcs_node_state state); /* "NON-PRIMARY", "PRIMARY", ... */

struct gcs_cchange_member {
    struct xb_uuid uuid;
    const char *name; /* points into the decoded bytes, or what the encoder is given */
    const char *incoming;
    int64_t cached; /* lowest cached seqno, -1 unknown */
    enum gcs_node_state state;
};

struct gcs_cchange {
    int repl_version, appl_version;     /* -1: none yet */
    struct xb_uuid group_uuid;          /* history id */
    int64_t seqno;                      /* of this change if primary; else the last seqno */
    int64_t conf_id;                    /* -1: non-primary */
    int64_t vote_seqno, vote_value;     /* -1, 0: none */
    struct gcs_cchange_member *members; /* owned by the structure after decode */
    size_t member_count;
};

/* Size of the encoded form, a multiple of 8. */
size_t gcs_cchange_encoded_size(const struct gcs_cchange *change);
/* Writes exactly that many bytes. */
void gcs_cchange_encode(const struct gcs_cchange *change, uint8_t *to);
/* -> 0, or -EINVAL (format, checksum), -ENOMEM. The strings point into data, which must live as long. */
int gcs_cchange_decode(struct gcs_cchange *change, const uint8_t *data, size_t size, struct xb_error *error);
void gcs_cchange_clear(struct gcs_cchange *change); /* frees members */

#endif
