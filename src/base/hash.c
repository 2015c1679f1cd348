/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The hash functions of the wire format (spec 06 section 5): MurmurHash3 in 32 and 128 bits, FNV-1a mixed, and the
 * long path of SpookyHash V1, each with the format's fixed seeds. None is cryptographic.
 */
#include "base/hash.h"

#include <endian.h>
#include <string.h>

static inline uint32_t load32(const uint8_t *p) {
    uint32_t v;
    memcpy(&v, p, sizeof(v));
    return le32toh(v);
}

static inline uint64_t load64(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, sizeof(v));
    return le64toh(v);
}

/* n < 8 bytes as a little-endian number. */
static inline uint64_t load_tail(const uint8_t *p, size_t n) {
    uint64_t v = 0;
    for (size_t i = n; i > 0; i--) v = v << 8 | p[i - 1];
    return v;
}

static inline uint32_t rotl32(uint32_t v, int n) {
    return v << n | v >> (32 - n);
}

static inline uint64_t rotl64(uint64_t v, int n) {
    return v << n | v >> (64 - n);
}

struct word_pair {
    uint64_t h1, h2;
};

static inline struct xb_hash128 hash128_from_words(struct word_pair w) {
    struct xb_hash128 hash;
    uint64_t words[2] = {htole64(w.h1), htole64(w.h2)};
    memcpy(hash.bytes, words, sizeof(words));
    return hash;
}

/* ---- MurmurHash3 x86-32, spec 06 section 5.1 ---- */

static inline uint32_t murmur32_scramble(uint32_t k) {
    return rotl32(k * 0xCC9E2D51u, 15) * 0x1B873593u;
}

uint32_t xb_murmur3_32(const void *data, size_t size, uint32_t seed) {
    const uint8_t *p = data;
    uint32_t h = seed;
    for (size_t left = size / 4; left > 0; left--, p += 4) {
        h ^= murmur32_scramble(load32(p));
        h = rotl32(h, 13) * 5 + 0xE6546B64u;
    }
    if (size & 3) h ^= murmur32_scramble((uint32_t)load_tail(p, size & 3));
    h ^= (uint32_t)size;
    h = (h ^ h >> 16) * 0x85EBCA6Bu;
    h = (h ^ h >> 13) * 0xC2B2AE35u;
    return h ^ h >> 16;
}

/* ---- MurmurHash3 x64-128 with two seeds, spec 06 section 5.2 ---- */

#define MURMUR_SEED1 0x6C62272E07BB0142u
#define MURMUR_SEED2 0x62B821756295C58Du
#define MURMUR_C1 0x87C37B91114253D5u
#define MURMUR_C2 0x4CF5AD432745937Fu

static inline uint64_t murmur_scramble1(uint64_t k) {
    return rotl64(k * MURMUR_C1, 31) * MURMUR_C2;
}

static inline uint64_t murmur_scramble2(uint64_t k) {
    return rotl64(k * MURMUR_C2, 33) * MURMUR_C1;
}

static inline void murmur_block(struct word_pair *w, const uint8_t *block) {
    w->h1 = (rotl64(w->h1 ^ murmur_scramble1(load64(block)), 27) + w->h2) * 5 + 0x52DCE729u;
    w->h2 = (rotl64(w->h2 ^ murmur_scramble2(load64(block + 8)), 31) + w->h1) * 5 + 0x38495AB5u;
}

static inline uint64_t murmur_mix(uint64_t x) {
    x = (x ^ x >> 33) * 0xFF51AFD7ED558CCDu;
    x = (x ^ x >> 33) * 0xC4CEB9FE1A85EC53u;
    return x ^ x >> 33;
}

static inline struct word_pair murmur_finish(struct word_pair w, const uint8_t *tail, size_t tail_size, uint64_t size) {
    if (tail_size > 8) w.h2 ^= murmur_scramble2(load_tail(tail + 8, tail_size - 8));
    if (tail_size >= 8)
        w.h1 ^= murmur_scramble1(load64(tail));
    else if (tail_size > 0)
        w.h1 ^= murmur_scramble1(load_tail(tail, tail_size));
    w.h1 ^= size;
    w.h2 ^= size;
    w.h1 += w.h2;
    w.h2 += w.h1;
    w.h1 = murmur_mix(w.h1);
    w.h2 = murmur_mix(w.h2);
    w.h1 += w.h2;
    w.h2 += w.h1;
    return w;
}

static struct word_pair murmur_of(const void *data, size_t size) {
    struct word_pair w = {MURMUR_SEED1, MURMUR_SEED2};
    const uint8_t *p = data;
    for (size_t left = size / 16; left > 0; left--, p += 16) murmur_block(&w, p);
    return murmur_finish(w, p, size % 16, size);
}

void xb_murmur128_init(struct xb_murmur128 *state) {
    *state = (struct xb_murmur128){.h1 = MURMUR_SEED1, .h2 = MURMUR_SEED2};
}

void xb_murmur128_update(struct xb_murmur128 *state, const void *data, size_t size) {
    const uint8_t *p = data;
    struct word_pair w = {state->h1, state->h2};
    if (size == 0) return;
    state->size += size;
    if (state->tail_size > 0) {
        size_t missing = sizeof(state->tail) - state->tail_size;
        size_t n = size < missing ? size : missing;
        memcpy(state->tail + state->tail_size, p, n);
        state->tail_size += (uint32_t)n;
        if (n < missing) return;
        murmur_block(&w, state->tail);
        state->tail_size = 0;
        p += n;
        size -= n;
    }
    for (; size >= 16; size -= 16, p += 16) murmur_block(&w, p);
    memcpy(state->tail, p, size);
    state->tail_size = (uint32_t)size;
    state->h1 = w.h1;
    state->h2 = w.h2;
}

struct xb_hash128 xb_murmur128_final(const struct xb_murmur128 *state) {
    struct word_pair w = {state->h1, state->h2};
    w = murmur_finish(w, state->tail, state->tail_size, state->size);
    return hash128_from_words(w);
}

struct xb_hash128 xb_murmur128(const void *data, size_t size) {
    struct word_pair w = murmur_of(data, size);
    return hash128_from_words(w);
}

/* ---- FNV-1a 64 mixed and SpookyHash V1, spec 06 section 5.3 ---- */

static uint64_t fnv64_mixed(const uint8_t *p, size_t size) {
    uint64_t h = 0xCBF29CE484222325u;
    for (size_t i = 0; i < size; i++) h = (h ^ p[i]) * 0x100000001B3u;
    h *= rotl64(h, 56);
    return h ^ rotl64(h, 43);
}

#define SPOOKY_WORDS 12
#define SPOOKY_BLOCK (SPOOKY_WORDS * 8)
#define SPOOKY_SEED 0xDEADBEEFDEADBEEFu

struct spooky {
    uint64_t s[SPOOKY_WORDS];
};

/* Indices are modulo 12; all are constants after unrolling. */
#define S(i) (w->s[(i) % SPOOKY_WORDS])

static inline void spooky_mix(struct spooky *w, const uint8_t *block) {
    static const int rotation[SPOOKY_WORDS] = {11, 32, 43, 31, 17, 28, 39, 57, 55, 54, 22, 46};
    for (int i = 0; i < SPOOKY_WORDS; i++) {
        S(i) += load64(block + 8 * i);
        S(i + 2) ^= S(i + 10);
        S(i + 11) ^= S(i);
        S(i) = rotl64(S(i), rotation[i]);
        S(i + 11) += S(i + 1);
    }
}

static inline void spooky_end(struct spooky *w) {
    static const int rotation[SPOOKY_WORDS] = {44, 15, 34, 21, 38, 33, 10, 13, 38, 53, 42, 54};
    for (int i = 0; i < SPOOKY_WORDS; i++) {
        S(i + 11) += S(i + 1);
        S(i + 2) ^= S(i + 11);
        S(i + 1) = rotl64(S(i + 1), rotation[i]);
    }
}

#undef S

/* -> s0, s1 of the final state. */
static struct word_pair spooky_of(const uint8_t *p, size_t size) {
    struct spooky w = {{0, 0, SPOOKY_SEED, 0, 0, SPOOKY_SEED, 0, 0, SPOOKY_SEED, 0, 0, SPOOKY_SEED}};
    for (; size >= SPOOKY_BLOCK; size -= SPOOKY_BLOCK, p += SPOOKY_BLOCK) spooky_mix(&w, p);
    uint8_t last[SPOOKY_BLOCK] = {0};
    memcpy(last, p, size);
    last[SPOOKY_BLOCK - 1] = (uint8_t)size;
    spooky_mix(&w, last);
    for (int i = 0; i < 3; i++) spooky_end(&w);
    return (struct word_pair){w.s[0], w.s[1]};
}

/* ---- selectors, spec 06 section 5.4 ---- */

#define FAST_FNV_BELOW 16
#define FAST_MURMUR32_BELOW 32
#define FAST_SPOOKY_FROM 512

uint32_t xb_fast_hash32(const void *data, size_t size) {
    if (size < FAST_MURMUR32_BELOW) return xb_murmur3_32(data, size, XB_MURMUR32_SEED);
    if (size < FAST_SPOOKY_FROM) return (uint32_t)murmur_of(data, size).h1;
    return (uint32_t)spooky_of(data, size).h1;
}

uint64_t xb_fast_hash64(const void *data, size_t size) {
    if (size < FAST_FNV_BELOW) return fnv64_mixed(data, size);
    if (size < FAST_SPOOKY_FROM) return murmur_of(data, size).h1;
    return spooky_of(data, size).h1;
}

struct xb_hash128 xb_fast_hash128(const void *data, size_t size) {
    struct word_pair w = size < FAST_SPOOKY_FROM ? murmur_of(data, size) : spooky_of(data, size);
    return hash128_from_words(w);
}
