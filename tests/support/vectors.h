/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads the test vectors of tests/vectors (see the README there): records of a u32 length and bytes. */
#ifndef XB_TESTS_SUPPORT_VECTORS_H
#define XB_TESTS_SUPPORT_VECTORS_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct vectors {
    uint8_t *bytes;
    size_t size, used;
};

struct vector {
    const uint8_t *data;
    size_t size;
};

/* Loads tests/vectors/NAME.bin; ends the process with a message if it cannot. Free with free(v.bytes). */
static inline struct vectors vectors_load(const char *name) {
    char path[512];
    const char *root = getenv("XEBEC_SOURCE_ROOT"); /* set by Meson for the tests */
    snprintf(path, sizeof(path), "%s/tests/vectors/%s.bin", root ? root : ".", name);
    struct vectors v = {0};
    FILE *f = fopen(path, "rb");
    if (!f) {
        fprintf(stderr, "cannot open %s: run through `meson test` or set XEBEC_SOURCE_ROOT\n", path);
        exit(2);
    }
    fseek(f, 0, SEEK_END);
    v.size = (size_t)ftell(f);
    rewind(f);
    v.bytes = malloc(v.size + 1);
    if (!v.bytes || fread(v.bytes, 1, v.size, f) != v.size) {
        fprintf(stderr, "cannot read %s\n", path);
        exit(2);
    }
    fclose(f);
    return v;
}

/* -> 1 and the next record, or 0 at the end. */
static inline int vectors_next(struct vectors *v, struct vector *record) {
    *record = (struct vector){0};
    if (v->size - v->used < 4) return 0;
    const uint8_t *p = v->bytes + v->used;
    size_t n = (size_t)p[0] | (size_t)p[1] << 8 | (size_t)p[2] << 16 | (size_t)p[3] << 24;
    if (n > v->size - v->used - 4) return 0;
    record->data = p + 4;
    record->size = n;
    v->used += 4 + n;
    return 1;
}

#endif
