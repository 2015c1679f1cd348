/* SPDX-License-Identifier: GPL-2.0-or-later */
/* State transfer requests: the bytes (spec 07 section 13). Pure. */
#ifndef XB_REPLICATOR_REQUEST_H
#define XB_REPLICATOR_REQUEST_H

#include "base/error.h"
#include "base/uuid.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define REQUEST_VERSION 3 /* of the replicator protocols 10 and 11 */

/* What the joiner sends: donor list, its position, and the container for the donor. */
struct state_request {
    const char *donors;
    struct xb_uuid history; /* of what the joiner has, nil if unknown */
    int64_t last_applied;   /* -1 */
    const void *sst;        /* of the server; NULL: none */
    size_t sst_size;
    const char *ist; /* text of ist_part_format, NULL: none */
};
/* -> malloc'ed bytes, NULL: no memory, or too large */
uint8_t *state_request_encode(const struct state_request *request, size_t *size);

/* What the donor gets: the container, or, in version 0, all of it as an SST part. */
struct state_container {
    bool is_plain; /* version 0: from an arbitrator, for a backup */
    const uint8_t *sst;
    size_t sst_size;
    const char *ist; /* NUL-terminated; NULL: none */
};
/* -> 0 or -EINVAL with *error */
int state_container_decode(struct state_container *container, const uint8_t *data, size_t size, struct xb_error *error);
/* "trivial" or "none": no data wanted */
bool state_container_is_trivial(const struct state_container *container);

/* "<history>:<last applied>-<last needed>|<address>" */
struct ist_part {
    struct xb_uuid history;
    int64_t last_applied, last_needed;
    const char *address; /* into the text */
};
#define IST_PART_SIZE 512
int ist_part_format(const struct ist_part *part, char text[IST_PART_SIZE]); /* -> 0 or -ENOBUFS */
int ist_part_parse(struct ist_part *part, const char *text, struct xb_error *error);

#endif
