/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Is a buffer what it claims to be? A process or machine that dies leaves torn buffers behind, and what comes over the
 * network may be anything; neither must ever be served to a joiner (spec 07 section 24 no. 5 and 10).
 */
#include "base/bytes.h"
#include "base/hash.h"
#include "gcache/internal.h"

#include <stdlib.h>
#include <string.h>

/* Header of a write set after certification: spec 06 sections 3 and 10. */
#define WRITESET_MAGIC 0x47
#define WRITESET_HEADER_MIN 32
#define WRITESET_CERTIFIED 0x4000
#define WRITESET_SEQNO_OFFSET 8

static bool is_writeset_header_intact(int64_t seqno, const uint8_t *buf, size_t size) {
    if (size < WRITESET_HEADER_MIN || buf[0] != WRITESET_MAGIC) return false;
    size_t header_size = buf[2];
    if (header_size < WRITESET_HEADER_MIN || header_size > size) return false;
    if (!(xb_load_le(buf + 4, 2) & WRITESET_CERTIFIED)) return false;
    if ((int64_t)xb_load_le(buf + WRITESET_SEQNO_OFFSET, 8) != seqno) return false;
    return xb_fast_hash64(buf, header_size - 8) == xb_load_le(buf + header_size - 8, 8);
}

/* Encoded configuration change: section 16.3. */
static bool is_cchange_intact(int64_t seqno, const uint8_t *buf, size_t size) {
    if (size < 16 || buf[0] != 0) return false;
    if (xb_fast_hash64(buf, size - 8) != xb_load_le(buf + size - 8, 8)) return false;
    const char *text = (const char *)buf + 1;
    if (!memchr(text, 0, size - 9)) return false;
    const char *colon = strchr(text, ':'); /* group uuid:seqno */
    return colon && strtoll(colon + 1, NULL, 10) == seqno;
}

bool gcache_is_intact(const struct gcache *cache, int64_t seqno, enum gcache_type type, const void *buf, size_t size) {
    bool is_intact =
        type == GCACHE_WRITESET ? is_writeset_header_intact(seqno, buf, size) : is_cchange_intact(seqno, buf, size);
    return is_intact && (!cache->is_payload_intact || cache->is_payload_intact(cache->ctx, type, buf, size));
}
