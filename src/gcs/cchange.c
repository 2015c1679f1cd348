/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Bytes of a configuration change (spec 05 section 7.5). */
#include "gcs/cchange.h"

#include "base/bytes.h"
#include "base/hash.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define FORMAT_VERSION 0
#define CHECKSUM_SIZE 8
#define ALIGNMENT 8
#define SIZE_MIN 16
#define TEXT_SIZE 256 /* eight numbers and a UUID */
#define MEMBER_SIZE_MIN (XB_UUID_TEXT_SIZE + 1 + 1 + 8 + 1)

static const char *const node_state_names[] = {"NON-PRIMARY", "PRIMARY", "JOINER", "DONOR", "JOINED", "SYNCED"};

const char *gcs_node_state_name(enum gcs_node_state state) {
    return state >= GCS_NODE_NON_PRIM && state <= GCS_NODE_SYNCED ? node_state_names[state] : "?";
}

static size_t format_text(const struct gcs_cchange *change, char text[TEXT_SIZE]) {
    int n = snprintf(text, TEXT_SIZE, "%d,%d,%d,%s:%" PRId64 ",%" PRId64 ",%" PRId64 ",%" PRId64 ",%zu", FORMAT_VERSION,
                     change->repl_version, change->appl_version, XB_UUID_TEXT(&change->group_uuid), change->seqno,
                     change->conf_id, change->vote_seqno, change->vote_value, change->member_count);
    return (size_t)n + 1;
}

static size_t member_size(const struct gcs_cchange_member *member) {
    return XB_UUID_TEXT_SIZE + strlen(member->name) + 1 + strlen(member->incoming) + 1 + 8 + 1;
}

size_t gcs_cchange_encoded_size(const struct gcs_cchange *change) {
    char text[TEXT_SIZE];
    size_t size = 1 + format_text(change, text);
    for (size_t i = 0; i < change->member_count; i++) size += member_size(&change->members[i]);
    return (size + CHECKSUM_SIZE + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
}

void gcs_cchange_encode(const struct gcs_cchange *change, uint8_t *to) {
    size_t size = gcs_cchange_encoded_size(change);
    char text[TEXT_SIZE];
    size_t text_size = format_text(change, text);
    struct xb_writer w = xb_writer_init(to, size);
    xb_write_u8(&w, FORMAT_VERSION);
    xb_write_bytes(&w, text, text_size);
    for (size_t i = 0; i < change->member_count; i++) {
        const struct gcs_cchange_member *m = &change->members[i];
        xb_write_bytes(&w, XB_UUID_TEXT(&m->uuid), XB_UUID_TEXT_SIZE);
        xb_write_cstr(&w, m->name);
        xb_write_cstr(&w, m->incoming);
        xb_write_i64(&w, m->cached);
        xb_write_u8(&w, (uint8_t)m->state);
    }
    xb_write_zero(&w, size - CHECKSUM_SIZE - w.used);
    struct xb_hash128 hash = xb_fast_hash128(to, size - CHECKSUM_SIZE);
    xb_write_bytes(&w, hash.bytes, CHECKSUM_SIZE);
}

/* Decimal number that ends with `end`; *text moves behind it. Plain form only: what is written again is the same. */
static bool parse_number(const char **text, char end, int64_t *value) {
    const char *c = *text;
    bool is_negative = *c == '-';
    c += is_negative;
    if (*c < '0' || *c > '9' || (*c == '0' && (is_negative || (c[1] >= '0' && c[1] <= '9')))) return false;
    uint64_t n = 0, max = (uint64_t)INT64_MAX + is_negative;
    for (; *c >= '0' && *c <= '9'; c++) {
        uint64_t digit = (uint64_t)(*c - '0');
        if (n > (max - digit) / 10) return false;
        n = n * 10 + digit;
    }
    if (*c != end) return false;
    *value = (int64_t)(is_negative ? 0 - n : n);
    *text = end ? c + 1 : c;
    return true;
}

static bool parse_uuid(const char **text, char end, struct xb_uuid *uuid) {
    if (strlen(*text) < XB_UUID_TEXT_SIZE - 1 || xb_uuid_parse(uuid, *text)) return false;
    *text += XB_UUID_TEXT_SIZE - 1;
    if (**text != end) return false;
    *text += end ? 1 : 0;
    return true;
}

static bool parse_version(const char **text, int *version) {
    int64_t value;
    if (!parse_number(text, ',', &value) || value < -1 || value > UINT8_MAX) return false;
    *version = (int)value;
    return true;
}

/* -> number of members, -1 for a malformed text */
static int64_t parse_text(const char *text, struct gcs_cchange *change) {
    int64_t format, count;
    bool is_ok = parse_number(&text, ',', &format) && format == FORMAT_VERSION &&
                 parse_version(&text, &change->repl_version) && parse_version(&text, &change->appl_version) &&
                 parse_uuid(&text, ':', &change->group_uuid) && parse_number(&text, ',', &change->seqno) &&
                 parse_number(&text, ',', &change->conf_id) && parse_number(&text, ',', &change->vote_seqno) &&
                 parse_number(&text, ',', &change->vote_value) && parse_number(&text, '\0', &count);
    return is_ok && count >= 0 ? count : -1;
}

static bool read_member(struct xb_reader *r, struct gcs_cchange_member *member) {
    const char *uuid = xb_read_cstr(r);
    member->name = xb_read_cstr(r);
    member->incoming = xb_read_cstr(r);
    member->cached = xb_read_i64(r);
    uint8_t state = xb_read_u8(r);
    member->state = (enum gcs_node_state)(state <= GCS_NODE_SYNCED ? state : GCS_NODE_NON_PRIM);
    return xb_reader_ok(r) && state <= GCS_NODE_SYNCED && parse_uuid(&uuid, '\0', &member->uuid);
}

static bool is_zero(const uint8_t *bytes, size_t size) {
    for (size_t i = 0; i < size; i++)
        if (bytes[i]) return false;
    return true;
}

static int read_members(struct gcs_cchange *change, struct xb_reader *r, size_t count, struct xb_error *error) {
    if (count > xb_reader_left(r) / MEMBER_SIZE_MIN)
        return xb_fail(error, -EINVAL, "configuration change of %zu members is too short", count);
    change->members = calloc(count ? count : 1, sizeof(*change->members));
    if (!change->members) return xb_fail(error, -ENOMEM, "no memory for a configuration change of %zu members", count);
    change->member_count = count;
    for (size_t i = 0; i < count; i++)
        if (!read_member(r, &change->members[i]))
            return xb_fail(error, -EINVAL, "member %zu of a configuration change is malformed", i);
    size_t padding = xb_reader_left(r);
    if (padding >= ALIGNMENT || !is_zero(r->data + r->used, padding))
        return xb_fail(error, -EINVAL, "configuration change has %zu bytes behind its members", padding);
    return 0;
}

int gcs_cchange_decode(struct gcs_cchange *change, const uint8_t *data, size_t size, struct xb_error *error) {
    *change = (struct gcs_cchange){.vote_seqno = -1};
    if (size < SIZE_MIN || size % ALIGNMENT) return xb_fail(error, -EINVAL, "configuration change of %zu bytes", size);
    size_t hashed = size - CHECKSUM_SIZE;
    struct xb_hash128 hash = xb_fast_hash128(data, hashed);
    if (memcmp(hash.bytes, data + hashed, CHECKSUM_SIZE))
        return xb_fail(error, -EINVAL, "checksum of a configuration change is wrong");
    struct xb_reader r = xb_reader_init(data, hashed);
    if (xb_read_u8(&r) != FORMAT_VERSION)
        return xb_fail(error, -EINVAL, "configuration change of unknown format %d", data[0]);
    const char *text = xb_read_cstr(&r);
    int64_t count = text ? parse_text(text, change) : -1;
    if (count < 0) return xb_fail(error, -EINVAL, "configuration change is malformed");
    int result = read_members(change, &r, (size_t)count, error);
    if (result) gcs_cchange_clear(change);
    return result;
}

void gcs_cchange_clear(struct gcs_cchange *change) {
    free(change->members);
    change->members = NULL;
    change->member_count = 0;
}
