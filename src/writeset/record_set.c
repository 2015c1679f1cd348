/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reader and writer of record sets, versions 1 (reading only: no alignment, no short form) and 2. */
#include "writeset/record_set.h"

#include "base/bytes.h"

#include <string.h>

#define VERSION 2
#define SHORT_FORM 0x08
#define CHECKSUM_TYPE_MASK 0x07
#define CHECKSUM_TYPE_16 3
#define CHECKSUM_TYPES 4
#define SHORT_COUNT_MAX 1024
#define SHORT_SIZE_MAX 16384
#define SHORT_HEADER_SIZE 8
#define LONG_HEADER_MAX 24
#define HEADER_CHECKSUM_SIZE 4

static const uint8_t checksum_sizes[CHECKSUM_TYPES] = {0, 4, 8, 16};

static size_t align8(size_t n) {
    return (n + 7) & ~(size_t)7;
}

/* Unsigned LEB128 of at most `bits` bits; anything larger spoils the reader. */
static uint64_t read_leb128(struct xb_reader *r, unsigned bits) {
    uint64_t value = 0;
    for (unsigned shift = 0;; shift += 7) {
        uint8_t byte = xb_read_u8(r);
        uint64_t part = byte & 0x7F;
        if (shift >= bits || (bits - shift < 7 && part >> (bits - shift) != 0)) r->is_bad = true;
        if (r->is_bad) return 0;
        value |= part << shift;
        if (!(byte & 0x80)) return value;
    }
}

const char *record_set_read(struct record_set *set, const uint8_t *bytes, size_t size) {
    struct xb_reader r = xb_reader_init(bytes, size);
    uint8_t first = xb_read_u8(&r);
    unsigned version = first >> 4, type = first & CHECKSUM_TYPE_MASK;
    bool is_aligned = version == 2;
    if (!xb_reader_ok(&r)) return "record set is cut off";
    if (version != 1 && version != 2) return "unknown record set version";
    if (type >= CHECKSUM_TYPES || (type == 1 && version == 2)) return "unknown checksum type of a record set";

    uint64_t set_size, count;
    if (is_aligned && (first & SHORT_FORM)) {
        r.used = 0;
        uint32_t word = xb_read_u32(&r);
        count = (word >> 8 & (SHORT_COUNT_MAX - 1)) + 1;
        set_size = (word >> 18) + 1;
    } else {
        set_size = read_leb128(&r, 64);
        count = read_leb128(&r, 31);
        if (is_aligned) xb_read_bytes(&r, align8(r.used + HEADER_CHECKSUM_SIZE) - HEADER_CHECKSUM_SIZE - r.used);
    }
    size_t covered = r.used;
    uint32_t checksum = xb_read_u32(&r);
    if (!xb_reader_ok(&r)) return "record set header is cut off";
    if (checksum != xb_fast_hash32(bytes, covered)) return "record set header checksum does not match";
    if (set_size > size || set_size == 0 || count == 0 || count > set_size) return "record set size or count is wrong";

    set->count = (uint32_t)count;
    set->header_size = r.used;
    set->begin = r.used + checksum_sizes[type];
    set->size = (size_t)set_size;
    set->serial_size = is_aligned ? align8(set->size) : set->size;
    if (set->begin > set->size) return "record set is smaller than its header";
    if (set->serial_size > size) return "record set is cut off";
    return NULL;
}

bool record_set_is_intact(const struct record_set *set, const uint8_t *bytes) {
    struct xb_murmur128 payload;
    xb_murmur128_init(&payload);
    xb_murmur128_update(&payload, bytes + set->begin, set->serial_size - set->begin);
    xb_murmur128_update(&payload, bytes, set->header_size);
    struct xb_hash128 hash = xb_murmur128_final(&payload);
    return memcmp(hash.bytes, bytes + set->header_size, set->begin - set->header_size) == 0;
}

static size_t leb128_size(uint64_t value) {
    size_t n = 1;
    while (value >>= 7) n++;
    return n;
}

static void write_leb128(struct xb_writer *w, uint64_t value) {
    for (; value > 0x7F; value >>= 7) xb_write_u8(w, (uint8_t)(value | 0x80));
    xb_write_u8(w, (uint8_t)value);
}

/* Long form: the header gets shorter as the size that it tells gets shorter. -> header size; *size follows. */
static size_t fit_long_header(uint64_t *size, uint32_t count) {
    size_t header_size = LONG_HEADER_MAX;
    for (;;) {
        size_t needed = align8(1 + leb128_size(*size) + leb128_size(count) + HEADER_CHECKSUM_SIZE);
        if (needed >= header_size) return header_size;
        *size -= header_size - needed;
        header_size = needed;
    }
}

size_t record_set_write_head(uint8_t to[RECORD_SET_HEAD_MAX], uint32_t count, size_t records_size,
                             struct xb_murmur128 *payload, size_t *padding) {
    static const uint8_t zero[8];
    struct xb_writer w = xb_writer_init(to, RECORD_SET_HEAD_MAX);
    uint64_t size = (uint64_t)LONG_HEADER_MAX + RECORD_SET_CHECKSUM_SIZE + records_size;
    uint8_t first = VERSION << 4 | CHECKSUM_TYPE_16;
    if (count <= SHORT_COUNT_MAX && size - (LONG_HEADER_MAX - SHORT_HEADER_SIZE) <= SHORT_SIZE_MAX) {
        size -= LONG_HEADER_MAX - SHORT_HEADER_SIZE;
        xb_write_u32(&w, (uint32_t)(size - 1) << 18 | (count - 1) << 8 | first | SHORT_FORM);
    } else {
        size_t header_size = fit_long_header(&size, count);
        xb_write_u8(&w, first);
        write_leb128(&w, size);
        write_leb128(&w, count);
        xb_write_zero(&w, header_size - HEADER_CHECKSUM_SIZE - w.used);
    }
    xb_write_u32(&w, xb_fast_hash32(to, w.used));
    *padding = (size_t)(-size & 7);
    xb_murmur128_update(payload, zero, *padding);
    xb_murmur128_update(payload, to, w.used);
    struct xb_hash128 hash = xb_murmur128_final(payload);
    xb_write_bytes(&w, hash.bytes, sizeof(hash.bytes));
    return w.used;
}
