/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * UUIDs as the group uses them (spec 02 section 7): version 1, 16 bytes copied to the wire unchanged, compared with
 * memcmp. Bytes 8 and 9, read big-endian, are the incarnation of a node; the rest is its fixed part.
 */
#ifndef XB_BASE_UUID_H
#define XB_BASE_UUID_H

#include "base/bytes.h"
#include "base/random.h"

#include <stdbool.h>
#include <stdint.h>

#define XB_UUID_TEXT_SIZE 37  /* 36 characters and NUL */
#define XB_UUID_SHORT_SIZE 14 /* "57b1804d-a2e9" and NUL */

struct xb_uuid {
    uint8_t bytes[16];
};

extern const struct xb_uuid xb_uuid_nil;

static inline int xb_uuid_compare(const struct xb_uuid *a, const struct xb_uuid *b) {
    return memcmp(a->bytes, b->bytes, sizeof(a->bytes));
}

static inline bool xb_uuid_equal(const struct xb_uuid *a, const struct xb_uuid *b) {
    return xb_uuid_compare(a, b) == 0;
}

static inline bool xb_uuid_is_nil(const struct xb_uuid *uuid) {
    return xb_uuid_equal(uuid, &xb_uuid_nil);
}

/* A fresh UUID. calendar_ns: nanoseconds since 1970 from the calendar clock; two calls with the same value still
 * give different UUIDs, since clock sequence and node are drawn from random. */
struct xb_uuid xb_uuid_new(int64_t calendar_ns, struct xb_random *random);

/* The 60-bit time inside; lower = generated earlier. */
uint64_t xb_uuid_time(const struct xb_uuid *uuid);

/* Equal but for the incarnation (bytes 8 and 9). */
bool xb_uuid_is_same_node(const struct xb_uuid *a, const struct xb_uuid *b);
uint16_t xb_uuid_incarnation(const struct xb_uuid *uuid);
void xb_uuid_set_incarnation(struct xb_uuid *uuid, uint16_t incarnation);

/* 36 lower-case characters. -> text */
const char *xb_uuid_format(const struct xb_uuid *uuid, char text[XB_UUID_TEXT_SIZE]);
/* As logs show it: first four bytes, dash, incarnation. -> text */
const char *xb_uuid_format_short(const struct xb_uuid *uuid, char text[XB_UUID_SHORT_SIZE]);
/* Exactly 36 characters at text (more may follow). -> 0 or -EINVAL; nil on error. */
int xb_uuid_parse(struct xb_uuid *uuid, const char *text);

/* Text forms in expressions, e.g. log lines: the compound literal lives until the end of the block. */
#define XB_UUID_TEXT(uuid) xb_uuid_format((uuid), (char[XB_UUID_TEXT_SIZE]){0})
#define XB_UUID_SHORT(uuid) xb_uuid_format_short((uuid), (char[XB_UUID_SHORT_SIZE]){0})

static inline struct xb_uuid xb_read_uuid(struct xb_reader *r) {
    struct xb_uuid uuid;
    xb_read_copy(r, uuid.bytes, sizeof(uuid.bytes));
    return uuid;
}

static inline void xb_write_uuid(struct xb_writer *w, const struct xb_uuid *uuid) {
    xb_write_bytes(w, uuid->bytes, sizeof(uuid->bytes));
}

#endif
