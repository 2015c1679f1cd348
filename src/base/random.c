/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Seedable random generator. */
#include "base/random.h"

#include <errno.h>
#include <string.h>
#include <sys/random.h>

static uint64_t rotate_left(uint64_t x, int n) {
    return x << n | x >> (64 - n);
}

void xb_random_seed(struct xb_random *random, uint64_t seed) {
    for (int i = 0; i < 4; i++) {
        uint64_t z = seed += 0x9e3779b97f4a7c15u;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        random->state[i] = z ^ z >> 31;
    }
}

int xb_random_seed_from_system(struct xb_random *random) {
    uint64_t seed;
    if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed)) return errno ? -errno : -EIO;
    xb_random_seed(random, seed);
    return 0;
}

uint64_t xb_random_u64(struct xb_random *random) {
    uint64_t *s = random->state;
    uint64_t result = rotate_left(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotate_left(s[3], 45);
    return result;
}

uint64_t xb_random_below(struct xb_random *random, uint64_t bound) {
    return xb_random_u64(random) % bound;
}

void xb_random_bytes(struct xb_random *random, void *to, size_t n) {
    uint8_t *p = to;
    while (n) {
        uint64_t v = xb_random_u64(random);
        size_t part = n < sizeof(v) ? n : sizeof(v);
        memcpy(p, &v, part);
        p += part;
        n -= part;
    }
}
