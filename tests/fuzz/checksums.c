/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See checksums.h. */
#include "checksums.h"

#include "base/bytes.h"
#include "base/hash.h"
#include "writeset/header.h"
#include "writeset/record_set.h"

#define SETS_MAX 4
#define SHORT_FORM 0x08

/* Bytes in front of the checksum of a record set's header. -> 0: not to be found */
static size_t covered_size(const uint8_t *bytes, size_t size) {
    if (size < 8) return 0;
    if (bytes[0] >> 4 == 2 && bytes[0] & SHORT_FORM) return 4;
    size_t used = 1;
    for (int numbers = 0; numbers < 2; numbers++) {
        while (used < size && bytes[used] & 0x80) used++;
        used++;
    }
    if (bytes[0] >> 4 == 2) used = ((used + 4 + 7) & ~(size_t)7) - 4;
    return used + 4 <= size ? used : 0;
}

void checksums_fix_writeset(uint8_t *bytes, size_t size) {
    if (size < 64 || bytes[2] < 64 || bytes[2] > size) return;
    header_seal(bytes, bytes[2]);
    size_t at = bytes[2];
    for (int i = 0; i < SETS_MAX; i++) {
        size_t covered = covered_size(bytes + at, size - at);
        if (!covered) return;
        xb_store_le(bytes + at + covered, xb_fast_hash32(bytes + at, covered), 4);
        struct record_set set;
        if (record_set_read(&set, bytes + at, size - at)) return;
        struct xb_murmur128 payload;
        xb_murmur128_init(&payload);
        xb_murmur128_update(&payload, bytes + at + set.begin, set.serial_size - set.begin);
        xb_murmur128_update(&payload, bytes + at, set.header_size);
        struct xb_hash128 hash = xb_murmur128_final(&payload);
        memcpy(bytes + at + set.header_size, hash.bytes, set.begin - set.header_size);
        at += set.serial_size;
    }
}
