/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The hash functions of the wire format (spec 06 section 5) and the checksums (02 section 5, 04 section 3.5).
 * Pure; any thread.
 */
#ifndef XB_BASE_HASH_H
#define XB_BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

/* 128 bits in the byte order that goes on the wire. */
struct xb_hash128 {
    uint8_t bytes[16];
};

uint32_t xb_murmur3_32(const void *data, size_t size, uint32_t seed); /* 06 section 5.1; the format's seed is below */
#define XB_MURMUR32_SEED 0x811C9DC5u

/* MurmurHash3 x64-128 with the format's seeds (06 section 5.2), streaming and at once. */
struct xb_murmur128 {
    uint64_t h1, h2;
    uint64_t size; /* bytes fed so far */
    uint8_t tail[16];
    uint32_t tail_size;
};
void xb_murmur128_init(struct xb_murmur128 *state);
void xb_murmur128_update(struct xb_murmur128 *state, const void *data, size_t size);
struct xb_hash128 xb_murmur128_final(const struct xb_murmur128 *state);
struct xb_hash128 xb_murmur128(const void *data, size_t size);

/* The selectors of 06 section 5.4: which function is used depends on the size. */
uint32_t xb_fast_hash32(const void *data, size_t size);
struct xb_hash128 xb_fast_hash128(const void *data, size_t size);
uint64_t xb_fast_hash64(const void *data, size_t size);

/* Checksums. crc32 and crc32c continue from a previous value; begin with 0. */
uint32_t xb_crc32(uint32_t crc, const void *data, size_t size);
uint32_t xb_crc32c(uint32_t crc, const void *data, size_t size);          /* hardware instruction where there is one */
uint32_t xb_crc32c_by_table(uint32_t crc, const void *data, size_t size); /* the same, on any machine */
uint16_t xb_crc16(uint16_t crc, const void *data, size_t size);           /* CRC-16/ARC; begin with 0 */

#endif
