/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Randomness that is handed in, so that the simulator can replay it from a seed (xoshiro256**, seeded by splitmix64).
 * Not for secrets: keys and nonces come from OpenSSL. Threads: none; one generator has one user.
 */
#ifndef XB_BASE_RANDOM_H
#define XB_BASE_RANDOM_H

#include <stddef.h>
#include <stdint.h>

struct xb_random {
    uint64_t state[4];
};

void xb_random_seed(struct xb_random *random, uint64_t seed);
int xb_random_seed_from_system(struct xb_random *random); /* 0 or negative errno */
uint64_t xb_random_u64(struct xb_random *random);
uint64_t xb_random_below(struct xb_random *random, uint64_t bound); /* 0 .. bound - 1; bound > 0 */
void xb_random_bytes(struct xb_random *random, void *to, size_t n);

#endif
