/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Datagrams against those of a stock cluster, and malformed ones (spec 02 section 5). */
#include "datagram/datagram.h"
#include "support/vectors.h"

#include "base/bytes.h"
#include "base/hash.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

/* Parses a copy of exactly that size, so that the sanitizer sees every read beyond it. */
static int parse_exact(const uint8_t *data, size_t size, size_t *body_size, struct xb_error *error) {
    uint8_t *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    memcpy(copy, data, size);
    const uint8_t *body = NULL;
    size_t n = 0;
    int used = datagram_parse(copy, size, &body, &n, error);
    if (used > 0) {
        assert_ptr_equal(body, copy + DATAGRAM_HEADER_SIZE);
        assert_int_equal(used, n + DATAGRAM_HEADER_SIZE);
    }
    free(copy);
    *body_size = n;
    return used;
}

static struct xb_buf *buf_with(const void *body, size_t size) {
    struct xb_buf *buf = xb_buf_new(XB_BUF_HEADROOM, size);
    assert_non_null(buf);
    memcpy(xb_buf_data(buf), body, size);
    return buf;
}

static void test_stock_datagrams(void **state) {
    (void)state;
    struct vectors all = vectors_load("gmcast");
    struct vector v;
    size_t count = 0;
    while (vectors_next(&all, &v)) {
        struct xb_error error;
        size_t body_size;
        assert_int_equal(parse_exact(v.data, v.size, &body_size, &error), v.size);
        struct xb_buf *buf = buf_with(v.data + DATAGRAM_HEADER_SIZE, body_size);
        datagram_seal(buf, DATAGRAM_CHECKSUM_CRC32C);
        assert_int_equal(buf->size, v.size);
        assert_memory_equal(xb_buf_data(buf), v.data, v.size);
        xb_buf_unref(buf);
        /* cut at every length: more is needed */
        if (v.size < 400)
            for (size_t n = 0; n < v.size; n++) assert_int_equal(parse_exact(v.data, n, &body_size, &error), 0);
        count++;
    }
    assert_true(count > 20);
    free(all.bytes);
}

static void test_worked_example(void **state) {
    (void)state;
    /* spec 02 section 19, message OK */
    static const uint8_t ok[28] = {0x14, 0,    0,    0x02, 0x2e, 0x90, 0x93, 0xdc, 0,    3,    0,    0,    0x45, 0xa6,
                                   0x0b, 0xc2, 0xe7, 0xb1, 0x11, 0xf1, 0x81, 0x71, 0x0b, 0x84, 0x0c, 0xf8, 0x6f, 0xe5};
    struct xb_buf *buf = buf_with(ok + 8, 20);
    datagram_seal(buf, DATAGRAM_CHECKSUM_CRC32C);
    assert_memory_equal(xb_buf_data(buf), ok, sizeof(ok));
    xb_buf_unref(buf);
}

static void test_every_checksum_kind(void **state) {
    (void)state;
    static const enum datagram_checksum kinds[] = {DATAGRAM_CHECKSUM_NONE, DATAGRAM_CHECKSUM_CRC32,
                                                   DATAGRAM_CHECKSUM_CRC32C};
    for (size_t i = 0; i < 3; i++) {
        struct xb_buf *buf = buf_with("a body", 6);
        datagram_seal(buf, kinds[i]);
        uint8_t *p = xb_buf_data(buf);
        assert_int_equal(p[3], i);
        size_t body_size;
        struct xb_error error;
        assert_int_equal(parse_exact(p, buf->size, &body_size, &error), 14);
        p[7] ^= 1; /* wrong checksum; without a flag it must be 0 */
        assert_int_equal(parse_exact(p, buf->size, &body_size, &error), -EPROTO);
        p[7] ^= 1;
        p[13] ^= 1; /* wrong body: noticed only where there is a checksum */
        assert_int_equal(parse_exact(p, buf->size, &body_size, &error), i == 0 ? 14 : -EPROTO);
        xb_buf_unref(buf);
    }
}

static void test_both_flags_mean_crc32c(void **state) {
    (void)state;
    struct xb_buf *buf = buf_with("xyz", 3);
    datagram_seal(buf, DATAGRAM_CHECKSUM_CRC32C);
    xb_buf_data(buf)[3] |= 0x01;
    size_t body_size;
    assert_int_equal(parse_exact(xb_buf_data(buf), buf->size, &body_size, NULL), 11);
    xb_buf_unref(buf);
}

static void test_limits(void **state) {
    (void)state;
    uint8_t *bytes = calloc(1, DATAGRAM_BODY_MAX);
    assert_non_null(bytes);
    static const size_t sizes[] = {1, DATAGRAM_BODY_MAX};
    size_t body_size;
    for (size_t i = 0; i < 2; i++) {
        struct xb_buf *buf = buf_with(bytes, sizes[i]);
        datagram_seal(buf, DATAGRAM_CHECKSUM_CRC32C);
        assert_int_equal(parse_exact(xb_buf_data(buf), buf->size, &body_size, NULL), sizes[i] + DATAGRAM_HEADER_SIZE);
        xb_buf_unref(buf);
    }
    free(bytes);
}

static void test_malformed_headers(void **state) {
    (void)state;
    static const uint8_t bad[][8] = {
        {0, 0, 0, 0x02, 0, 0, 0, 0},          /* empty body */
        {1, 0x80, 0, 0x02, 0, 0, 0, 0},       /* 32769 bytes */
        {0xff, 0xff, 0xff, 0x02, 0, 0, 0, 0}, /* maximal length */
        {1, 0, 0, 0x04, 0, 0, 0, 0},          /* reserved flags */
        {1, 0, 0, 0x08, 0, 0, 0, 0},          /* */
        {1, 0, 0, 0x12, 0, 0, 0, 0},          /* version */
        {1, 0, 0, 0xf0, 0, 0, 0, 0},          /* */
        {0x16, 3, 1, 1, 0x27, 1, 0, 1},       /* a TLS ClientHello: 66326 bytes */
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct xb_error error = {0};
        size_t body_size;
        /* The header alone is enough to refuse. */
        assert_int_equal(parse_exact(bad[i], 8, &body_size, &error), -EPROTO);
        assert_int_equal(error.code, -EPROTO);
        assert_true(strlen(error.text) > 0);
    }
}

static void test_two_in_a_row(void **state) {
    (void)state;
    struct xb_buf *buf = buf_with("first", 5);
    datagram_seal(buf, DATAGRAM_CHECKSUM_CRC32C);
    uint8_t both[26];
    memcpy(both, xb_buf_data(buf), 13);
    memcpy(both + 13, xb_buf_data(buf), 13);
    const uint8_t *body;
    size_t body_size;
    assert_int_equal(datagram_parse(both, sizeof(both), &body, &body_size, NULL), 13);
    assert_int_equal(datagram_parse(both + 13, 13, &body, &body_size, NULL), 13);
    assert_memory_equal(body, "first", 5);
    xb_buf_unref(buf);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_stock_datagrams),
        cmocka_unit_test(test_worked_example),
        cmocka_unit_test(test_every_checksum_kind),
        cmocka_unit_test(test_both_flags_mean_crc32c),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_malformed_headers),
        cmocka_unit_test(test_two_in_a_row),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
