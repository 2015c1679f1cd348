/* SPDX-License-Identifier: GPL-2.0-or-later */
/* UUIDs: making, comparing, text forms (spec 02 section 7). */
#include "base/uuid.h"

#include <errno.h>
#include <stdio.h>

/* 100 ns units between 1582-10-15 and 1970-01-01 */
#define UNIX_EPOCH_100NS 0x01B21DD213814000u

const struct xb_uuid xb_uuid_nil;

static void store_be(uint8_t *to, uint64_t v, int n) {
    for (int i = 0; i < n; i++) to[i] = (uint8_t)(v >> (8 * (n - 1 - i)));
}

static uint64_t load_be(const uint8_t *from, int n) {
    uint64_t v = 0;
    for (int i = 0; i < n; i++) v = v << 8 | from[i];
    return v;
}

struct xb_uuid xb_uuid_new(int64_t calendar_ns, struct xb_random *random) {
    uint64_t time = (uint64_t)calendar_ns / 100 + UNIX_EPOCH_100NS;
    struct xb_uuid uuid;
    store_be(uuid.bytes, time & 0xffffffffu, 4);
    store_be(uuid.bytes + 4, time >> 32 & 0xffffu, 2);
    store_be(uuid.bytes + 6, (time >> 48 & 0x0fffu) | 0x1000u, 2);
    store_be(uuid.bytes + 8, (xb_random_u64(random) & 0x3fffu) | 0x8000u, 2);
    xb_random_bytes(random, uuid.bytes + 10, 6);
    uuid.bytes[10] |= 0x02;
    return uuid;
}

uint64_t xb_uuid_time(const struct xb_uuid *uuid) {
    const uint8_t *b = uuid->bytes;
    return (load_be(b + 6, 2) & 0x0fffu) << 48 | load_be(b + 4, 2) << 32 | load_be(b, 4);
}

bool xb_uuid_is_same_node(const struct xb_uuid *a, const struct xb_uuid *b) {
    return memcmp(a->bytes, b->bytes, 8) == 0 && memcmp(a->bytes + 10, b->bytes + 10, 6) == 0;
}

uint16_t xb_uuid_incarnation(const struct xb_uuid *uuid) {
    return (uint16_t)load_be(uuid->bytes + 8, 2);
}

void xb_uuid_set_incarnation(struct xb_uuid *uuid, uint16_t incarnation) {
    store_be(uuid->bytes + 8, incarnation, 2);
}

const char *xb_uuid_format(const struct xb_uuid *uuid, char text[XB_UUID_TEXT_SIZE]) {
    const uint8_t *b = uuid->bytes;
    snprintf(text, XB_UUID_TEXT_SIZE, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
             b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13], b[14], b[15]);
    return text;
}

const char *xb_uuid_format_short(const struct xb_uuid *uuid, char text[XB_UUID_SHORT_SIZE]) {
    const uint8_t *b = uuid->bytes;
    snprintf(text, XB_UUID_SHORT_SIZE, "%02x%02x%02x%02x-%02x%02x", b[0], b[1], b[2], b[3], b[8], b[9]);
    return text;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

int xb_uuid_parse(struct xb_uuid *uuid, const char *text) {
    const char *c = text;
    for (int i = 0; i < 16; i++) {
        if ((i == 4 || i == 6 || i == 8 || i == 10) && *c++ != '-') goto bad;
        int high = hex_digit(c[0]);
        int low = high < 0 ? -1 : hex_digit(c[1]);
        if (low < 0) goto bad;
        uuid->bytes[i] = (uint8_t)(high << 4 | low);
        c += 2;
    }
    return 0;
bad:
    *uuid = xb_uuid_nil;
    return -EINVAL;
}
