/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Cursors and message buffers. */
#include "base/buf.h"
#include "base/bytes.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void test_reader_stops_at_the_end_and_stays_bad(void **state) {
    (void)state;
    const uint8_t bytes[] = {1, 2, 3, 4, 5};
    struct xb_reader r = xb_reader_init(bytes, sizeof(bytes));
    assert_int_equal(xb_read_u16(&r), 0x0201);
    assert_int_equal(xb_reader_left(&r), 3);
    assert_int_equal(xb_read_u32(&r), 0);
    assert_false(xb_reader_ok(&r));
    assert_int_equal(xb_read_u8(&r), 0);
    assert_null(xb_read_bytes(&r, 0));
    assert_int_equal(xb_reader_left(&r), 0);
}

static void test_huge_count_does_not_wrap(void **state) {
    (void)state;
    const uint8_t bytes[] = {1, 2};
    struct xb_reader r = xb_reader_init(bytes, sizeof(bytes));
    assert_int_equal(xb_read_u8(&r), 1);
    assert_null(xb_read_bytes(&r, SIZE_MAX));
    assert_false(xb_reader_ok(&r));
}

static void test_strings(void **state) {
    (void)state;
    struct xb_reader r = xb_reader_init("ab\0cd", 5);
    assert_string_equal(xb_read_cstr(&r), "ab");
    assert_null(xb_read_cstr(&r));
    assert_false(xb_reader_ok(&r));
}

static void test_writer(void **state) {
    (void)state;
    uint8_t bytes[7];
    struct xb_writer w = xb_writer_init(bytes, sizeof(bytes));
    xb_write_u32(&w, 0x04030201);
    xb_write_u16(&w, 0x0605);
    assert_true(xb_writer_ok(&w));
    xb_write_u16(&w, 1);
    assert_false(xb_writer_ok(&w));
    for (int i = 0; i < 6; i++) assert_int_equal(bytes[i], i + 1);
}

static void test_buffer_headers(void **state) {
    (void)state;
    struct xb_buf *buf = xb_buf_new(XB_BUF_HEADROOM, 3);
    memcpy(xb_buf_data(buf), "xyz", 3);
    memcpy(xb_buf_push(buf, 2), "ab", 2);
    assert_memory_equal(xb_buf_data(buf), "abxyz", 5);
    assert_int_equal(buf->size, 5);
    xb_buf_pull(buf, 2);
    assert_memory_equal(xb_buf_data(buf), "xyz", 3);
    xb_buf_unref(xb_buf_ref(buf));
    xb_buf_unref(buf);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reader_stops_at_the_end_and_stays_bad),
        cmocka_unit_test(test_huge_count_does_not_wrap),
        cmocka_unit_test(test_strings),
        cmocka_unit_test(test_writer),
        cmocka_unit_test(test_buffer_headers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
