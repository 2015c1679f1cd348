/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 64-byte header of a write set (spec 06 section 3) and its rewriting after certification (section 10). */
#include "writeset/writeset.h"

#include "base/bytes.h"
#include "writeset/header.h"

#include <errno.h>

#define MAGIC 0x47
#define CHECKSUM_SIZE 8
#define PRE3_VERSION_MAX 2 /* of write sets before version 3, which have no header of this kind */

int writeset_version_of_protocol(int repl_version) {
    if (repl_version >= 5 && repl_version <= 8) return 3;
    if (repl_version >= 9 && repl_version <= 11) return repl_version - 5;
    return -1;
}

void writeset_write_header(uint8_t to[WRITESET_HEADER_SIZE], const struct writeset_header *header) {
    struct xb_writer w = xb_writer_init(to, WRITESET_HEADER_SIZE);
    xb_write_u8(&w, MAGIC);
    xb_write_u8(&w, (uint8_t)(header->version << 4 | WRITESET_VERSION_MIN));
    xb_write_u8(&w, WRITESET_HEADER_SIZE);
    xb_write_u8(
        &w, (uint8_t)(header->keys << 4 | header->has_data << 2 | header->has_unordered << 1 | header->has_annotation));
    xb_write_u16(&w, header->flags);
    xb_write_u16(&w, header->pa_range);
    xb_write_i64(&w, header->seqno);
    xb_write_i64(&w, header->timestamp_ns);
    xb_write_uuid(&w, &header->source);
    xb_write_u64(&w, header->connection_id);
    xb_write_u64(&w, header->transaction_id);
    header_seal(to, WRITESET_HEADER_SIZE);
}

void header_seal(uint8_t *header, size_t header_size) {
    uint64_t checksum = xb_fast_hash64(header, header_size - CHECKSUM_SIZE);
    xb_store_le(header + header_size - CHECKSUM_SIZE, checksum, CHECKSUM_SIZE);
}

/* Magic, versions and size (section 3.2). -> 0 and the version as which to read, and the header's size. */
static int read_preamble(struct xb_reader *r, int *version, size_t *header_size, struct xb_error *error) {
    uint8_t magic = xb_read_u8(r), versions = xb_read_u8(r), size = xb_read_u8(r), sets = xb_read_u8(r);
    int high = versions >> 4, low = versions & 0xF;
    if (!xb_reader_ok(r)) return xb_fail(error, -EPROTO, "write set: %zu bytes are too few", r->size);
    if (versions == 0 && size == 0 && sets <= PRE3_VERSION_MAX)
        return xb_fail(error, -EPROTONOSUPPORT, "write set: version %u is too old", sets);
    if (magic != MAGIC || low < WRITESET_VERSION_MIN || high < low)
        return xb_fail(error, -EPROTO, "write set: bad magic 0x%02x or versions 0x%02x", magic, versions);
    if (low > WRITESET_VERSION_MAX)
        return xb_fail(error, -EPROTONOSUPPORT, "write set: version %d can be read from version %d on only", high, low);
    if (size < WRITESET_HEADER_SIZE || size > r->size)
        return xb_fail(error, -EPROTO, "write set: header of %u in %zu bytes", size, r->size);
    *version = high < WRITESET_VERSION_MAX ? high : WRITESET_VERSION_MAX;
    *header_size = size;
    return 0;
}

/* Byte 3. Unordered and annotation sets cannot exist without a data set. */
static int read_sets(struct writeset_header *header, uint8_t sets, struct xb_error *error) {
    unsigned keys = sets >> 4, data = sets >> 2 & 3;
    if (keys > WRITESET_FLAT16A || data > 1)
        return xb_fail(error, -EPROTO, "write set: key set version %u, data set version %u", keys, data);
    header->keys = (enum writeset_key_format)keys;
    header->has_data = data != 0;
    header->has_unordered = header->has_data && (sets & 2);
    header->has_annotation = header->has_data && (sets & 1);
    return 0;
}

int writeset_read_header(struct writeset_header *header, size_t *header_size, const void *bytes, size_t size,
                         struct xb_error *error) {
    struct xb_reader r = xb_reader_init(bytes, size);
    int rc = read_preamble(&r, &header->version, header_size, error);
    if (rc == 0) rc = read_sets(header, r.data[3], error);
    if (rc < 0) return rc;
    header->flags = xb_read_u16(&r);
    header->pa_range = xb_read_u16(&r);
    header->seqno = xb_read_i64(&r);
    header->timestamp_ns = xb_read_i64(&r);
    header->source = xb_read_uuid(&r);
    header->connection_id = xb_read_u64(&r);
    header->transaction_id = xb_read_u64(&r);
    size_t covered = *header_size - CHECKSUM_SIZE;
    if (xb_load_le(r.data + covered, CHECKSUM_SIZE) != xb_fast_hash64(bytes, covered))
        return xb_fail(error, -EPROTO, "write set: header checksum does not match");
    return 0;
}

void writeset_mark_certified(struct writeset *ws, void *bytes, int64_t seqno, int64_t depends) {
    int64_t distance = depends >= 0 ? seqno - depends : 0;
    ws->header.flags |= WRITESET_CERTIFIED;
    ws->header.pa_range = (uint16_t)(distance < WRITESET_PA_RANGE_MAX ? distance : WRITESET_PA_RANGE_MAX);
    ws->header.seqno = seqno;
    header_store_stamp(bytes, ws->header.flags, ws->header.pa_range, seqno);
    header_seal(bytes, ws->header_size);
}

void header_store_stamp(uint8_t *header, uint16_t flags, uint16_t pa_range, int64_t seqno) {
    xb_store_le(header + HEADER_FLAGS_OFFSET, flags, 2);
    xb_store_le(header + 6, pa_range, 2);
    xb_store_le(header + 8, (uint64_t)seqno, 8);
}

int64_t writeset_certified_depends(const struct writeset_header *header) {
    /* A range of 0 stands for an unknown dependency: waiting for everything is right then too. */
    int64_t depends = header->seqno - (header->pa_range > 0 ? header->pa_range : 1);
    return depends > -1 ? depends : -1;
}
