/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Fuzz targets: one file each, bytes in; it must not crash, hang, leak, or use memory without bound.
 *
 * The same file makes two programs: with clang a libFuzzer target (`scripts/fuzz`), and with any compiler a replay
 * program (replay.c) that runs the target on all its seeds and on mutations drawn from a fixed seed (`meson test`).
 *
 * Readers take their input as it is. State machines take it as a sequence of steps, so that one input is a whole story:
 * u8 operation, u8 argument, u16 size, and that many bytes. Targets that stand behind checksums can set them right
 * first, or the fuzzer would never get past them.
 */
#ifndef XB_TESTS_FUZZ_FUZZ_H
#define XB_TESTS_FUZZ_FUZZ_H

#include "base/bytes.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FUZZ_INPUT_MAX 49152 /* larger seeds are left out */

/* The two functions of a target. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
typedef void fuzz_take(void *ctx, const uint8_t *data, size_t size);
void fuzz_seeds(fuzz_take *take, void *ctx); /* gives every seed to take */

/* Steps. data: a copy of exactly this size, so that the sanitizer sees a read beyond it; writable, valid until the next
 * call. Call until false. */
struct fuzz_steps {
    struct xb_reader r;
    uint8_t op, arg;
    uint8_t *data;
    size_t size;
};
struct fuzz_steps fuzz_steps_init(const uint8_t *data, size_t size);
bool fuzz_next(struct fuzz_steps *steps);

/* Bytes that the step needs beyond its end read as zero. */
uint64_t fuzz_number(const struct fuzz_steps *steps, size_t offset, size_t size);

/* For seeds: an input under construction. What does not fit is left out. */
struct fuzz_seed {
    uint8_t bytes[FUZZ_INPUT_MAX];
    size_t size;
};
void fuzz_add(struct fuzz_seed *seed, uint8_t op, uint8_t arg, const void *data, size_t size);

/* A copy of exactly this size, malloc'ed. */
uint8_t *fuzz_copy(const void *data, size_t size);

/* Ends the program: what must hold does not. */
#define fuzz_require(condition) ((condition) ? (void)0 : fuzz_violated(#condition, __FILE__, __LINE__))
void fuzz_violated(const char *condition, const char *file, int line) __attribute__((noreturn));

#endif
