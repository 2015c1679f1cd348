/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the targets share. */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>

#define STEP_HEADER_SIZE 4

uint8_t *fuzz_copy(const void *data, size_t size) {
    uint8_t *copy = malloc(size ? size : 1);
    if (!copy) abort();
    if (size) memcpy(copy, data, size);
    return copy;
}

struct fuzz_steps fuzz_steps_init(const uint8_t *data, size_t size) {
    return (struct fuzz_steps){.r = xb_reader_init(data, size)};
}

bool fuzz_next(struct fuzz_steps *steps) {
    free(steps->data);
    steps->data = NULL;
    if (xb_reader_left(&steps->r) < STEP_HEADER_SIZE) return false;
    steps->op = xb_read_u8(&steps->r);
    steps->arg = xb_read_u8(&steps->r);
    size_t size = xb_read_u16(&steps->r), left = xb_reader_left(&steps->r);
    steps->size = size < left ? size : left;
    steps->data = fuzz_copy(xb_read_bytes(&steps->r, steps->size), steps->size);
    return true;
}

uint64_t fuzz_number(const struct fuzz_steps *steps, size_t offset, size_t size) {
    uint64_t value = 0;
    for (size_t i = 0; i < size && offset + i < steps->size; i++) value |= (uint64_t)steps->data[offset + i] << 8 * i;
    return value;
}

void fuzz_add(struct fuzz_seed *seed, uint8_t op, uint8_t arg, const void *data, size_t size) {
    if (size > UINT16_MAX || size + STEP_HEADER_SIZE > sizeof(seed->bytes) - seed->size) return;
    struct xb_writer w = xb_writer_init(seed->bytes + seed->size, sizeof(seed->bytes) - seed->size);
    xb_write_u8(&w, op);
    xb_write_u8(&w, arg);
    xb_write_u16(&w, (uint16_t)size);
    xb_write_bytes(&w, data, size);
    seed->size += w.used;
}

void fuzz_violated(const char *condition, const char *file, int line) {
    fprintf(stderr, "%s:%d: does not hold: %s\n", file, line, condition);
    abort();
}
