/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * EVS messages as they are on the wire (spec 03 section 3): one struct a type, its reader and its writer.
 * The readers and writers stand in the file of their type, beside its handler.
 *
 * A reader returns 0 or -EPROTO (-ENOMEM where it allocates). It is given the cursor behind the common header.
 */
#ifndef XB_EVS_MESSAGE_H
#define XB_EVS_MESSAGE_H

#include "base/bytes.h"
#include "base/uuid.h"
#include "evs/view_id.h"

enum evs_type {
    EVS_TYPE_USER = 1,
    EVS_TYPE_DELEGATE = 2,
    EVS_TYPE_GAP = 3,
    EVS_TYPE_JOIN = 4,
    EVS_TYPE_INSTALL = 5,
    EVS_TYPE_LEAVE = 6,
    EVS_TYPE_DELAYED_LIST = 7
};

enum evs_flag {
    EVS_FLAG_MORE = 0x01,
    EVS_FLAG_RETRANS = 0x02,
    EVS_FLAG_SOURCE = 0x04,
    EVS_FLAG_AGGREGATE = 0x08,
    EVS_FLAG_COMMIT = 0x10
};

#define EVS_VERSION_MAX 1
#define EVS_ORDER_WIRE_MAX 4 /* SAFE */
#define EVS_FILLER 0xff      /* user type of fillers and aggregates */

#define EVS_HEADER_SIZE 32
#define EVS_HEADER_SOURCE_SIZE 48
#define EVS_USER_FIELDS_SIZE 20
#define EVS_GAP_FIELDS_SIZE 48
#define EVS_LEAVE_FIELDS_SIZE 16
#define EVS_ENTRY_SIZE 70
#define EVS_DELAYED_ENTRY_SIZE 17
#define EVS_PART_HEADER_SIZE 4
#define EVS_RANGE_MAX 255
#define EVS_ENTRIES_MAX 1024 /* in a node list (section 18.7) */

struct evs_header { /* section 3.2 */
    enum evs_type type;
    uint8_t order; /* of a USER: enum evs_order; of the others what stock writes */
    uint8_t flags, version;
    int64_t fifo_seq;
    struct xb_uuid source; /* of the header if SOURCE is set, else what the transport says */
    struct view_id view;
};

/* source: of the transport header; NULL for the inner message of a DELEGATE, which must carry its own. A header that
 * names another source than the transport is malformed. A version above ours ends the reading without an error. */
int evs_header_read(struct xb_reader *r, const struct xb_uuid *source, struct evs_header *h);
void evs_header_write(struct xb_writer *w, const struct evs_header *h);
static inline size_t evs_header_size(const struct evs_header *h) {
    return h->flags & EVS_FLAG_SOURCE ? EVS_HEADER_SOURCE_SIZE : EVS_HEADER_SIZE;
}
static inline bool evs_is_retrans(const struct evs_header *h) {
    return h->flags & EVS_FLAG_RETRANS;
}

struct evs_user {
    uint8_t user_type, range; /* it occupies seq .. seq + range */
    int64_t seq, aru;
    const uint8_t *payload;
    size_t size;
};
int evs_user_read(struct xb_reader *r, const struct evs_header *h, struct evs_user *m);
void evs_user_write(struct xb_writer *w, const struct evs_header *h, const struct evs_user *m); /* without payload */

struct evs_gap {
    int64_t seq, aru;
    struct xb_uuid origin; /* whose messages are requested; nil: none */
    int64_t lu, hs;        /* first and last seq requested */
};
int evs_gap_read(struct xb_reader *r, struct evs_gap *m);
void evs_gap_write(struct xb_writer *w, const struct evs_header *h, const struct evs_gap *m);

struct evs_leave {
    int64_t seq, aru;
};
int evs_leave_read(struct xb_reader *r, struct evs_leave *m);
void evs_leave_write(struct xb_writer *w, const struct evs_header *h, const struct evs_leave *m);

/* One row of a node list: what the sender of a JOIN or INSTALL knows about one node. */
struct evs_entry {
    struct xb_uuid uuid;
    bool is_operational, is_suspected, is_evicted;
    int64_t leave_seq;
    struct view_id view;
    int64_t safe, lu, hs;
};
static inline bool evs_entry_is_leaving(const struct evs_entry *e) {
    return e->leave_seq != -1;
}

/* A JOIN or an INSTALL. Entries ascend by UUID, each UUID once. Allocated as one piece, freed with free. */
struct evs_report {
    struct evs_header h;
    int64_t seq, aru;            /* seq: global safe */
    struct view_id install_view; /* INSTALL only */
    uint32_t count;
    struct evs_entry entries[];
};
int evs_report_read(struct xb_reader *r, const struct evs_header *h, struct evs_report **report);
size_t evs_report_size(const struct evs_report *m);
void evs_report_write(struct xb_writer *w, const struct evs_report *m);
struct evs_report *evs_report_new(uint32_t count); /* zeroed, or NULL */
struct evs_report *evs_report_copy(const struct evs_report *m);
const struct evs_entry *evs_report_find(const struct evs_report *m, const struct xb_uuid *uuid); /* or NULL */

struct evs_delayed_item {
    struct xb_uuid uuid;
    uint8_t count;
};
struct evs_delayed_message {
    uint8_t count;
    struct evs_delayed_item items[255];
};
int evs_delayed_message_read(struct xb_reader *r, struct evs_delayed_message *m);
void evs_delayed_message_write(struct xb_writer *w, const struct evs_header *h, const struct evs_delayed_message *m);

/* Aggregates (section 3.5). next: -> true and the part, false at the end; the payload was checked before. */
struct evs_part {
    uint8_t user_type;
    const uint8_t *payload;
    size_t size;
};
bool evs_parts_are_ok(const uint8_t *payload, size_t size);
bool evs_part_next(struct xb_reader *r, struct evs_part *part);
void evs_part_write(struct xb_writer *w, uint8_t user_type, const uint8_t *payload, size_t size);

#endif
