/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tests of write sets and certification share: hex, keys by value, building and joining a gather list. */
#ifndef XB_TESTS_UNIT_WRITESET_SUPPORT_H
#define XB_TESTS_UNIT_WRITESET_SUPPORT_H

#include "writeset/writeset.h"

#include <setjmp.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Reads hex digits, ignoring blanks. -> bytes written */
static inline size_t unhex(const char *text, uint8_t *to, size_t size) {
    size_t n = 0;
    int high = -1;
    for (; *text; text++) {
        int digit = *text >= '0' && *text <= '9' ? *text - '0' : *text >= 'a' && *text <= 'f' ? *text - 'a' + 10 : -1;
        if (digit < 0) continue;
        if (high < 0) {
            high = digit;
        } else {
            assert_true(n < size);
            to[n++] = (uint8_t)(high << 4 | digit);
            high = -1;
        }
    }
    return n;
}

static inline void assert_hex(const void *bytes, size_t size, const char *expected) {
    char text[2 * 512 + 1];
    assert_true(size <= 512);
    for (size_t i = 0; i < size; i++) snprintf(text + 2 * i, 3, "%02x", ((const uint8_t *)bytes)[i]);
    text[2 * size] = '\0';
    assert_string_equal(text, expected);
}

#define PART(text) ((struct iovec){(void *)(uintptr_t)(text), sizeof(text) - 1})

static inline struct writeset_builder_config builder_config(enum writeset_key_format format) {
    return (struct writeset_builder_config){
        .version = 6, .key_format = format, .size_max = WRITESET_SIZE_MAX, .hash_secret = 0x123456789abcdef1u};
}

static inline struct writeset_builder *builder_new(enum writeset_key_format format) {
    struct writeset_builder_config config = builder_config(format);
    struct writeset_builder *builder = writeset_builder_new(&config);
    assert_non_null(builder);
    return builder;
}

/* Key with parts given as strings: "t", "t/a", "t/a/row". */
static inline int add_text_key(struct writeset_builder *builder, const char *text, enum writeset_key_type type) {
    struct iovec parts[WRITESET_KEY_PARTS_MAX];
    size_t n = 0;
    for (const char *at = text;; at++) {
        size_t size = strcspn(at, "/");
        parts[n++] = (struct iovec){(void *)(uintptr_t)at, size};
        at += size;
        if (!*at) break;
    }
    return writeset_builder_add_key(builder, parts, n, type);
}

/* The gather list in one piece, malloc'ed. */
static inline uint8_t *join_parts(const struct writeset_builder *builder, size_t *size) {
    size_t count, used = 0;
    const struct iovec *parts = writeset_builder_parts(builder, &count);
    *size = writeset_builder_size(builder);
    uint8_t *bytes = malloc(*size + 1);
    for (size_t i = 0; i < count; i++) {
        assert_true(parts[i].iov_len > 0 && parts[i].iov_len <= *size - used);
        memcpy(bytes + used, parts[i].iov_base, parts[i].iov_len);
        used += parts[i].iov_len;
    }
    assert_int_equal(used, *size);
    return bytes;
}

/* Finishes, stamps and joins. */
static inline uint8_t *build(struct writeset_builder *builder, const struct writeset_header *header, size_t *size) {
    struct writeset_origin origin = {
        .source = header->source, .connection_id = header->connection_id, .transaction_id = header->transaction_id};
    struct xb_error error;
    assert_int_equal(writeset_builder_finish(builder, &origin, header->flags, &error), 0);
    writeset_builder_stamp(builder, 0, 0, 0);
    writeset_builder_stamp(builder, header->seqno, header->pa_range, header->timestamp_ns);
    return join_parts(builder, size);
}

static inline struct writeset read_ok(const void *bytes, size_t size) {
    struct writeset ws;
    struct xb_error error = {0};
    int rc = writeset_read(&ws, bytes, size, &error);
    if (rc != 0) fail_msg("%s", error.text);
    if (writeset_check(&ws, &error) != 0) fail_msg("%s", error.text);
    return ws;
}

#endif
