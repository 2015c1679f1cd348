/* SPDX-License-Identifier: GPL-2.0-or-later */
/* UUIDs. */
#include "base/uuid.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static const char text_n3[] = "57b1804d-e7b1-11f1-a2e8-92bedcd12c1a";

static void test_text_form(void **state) {
    (void)state;
    struct xb_uuid uuid;
    assert_int_equal(xb_uuid_parse(&uuid, text_n3), 0);
    assert_string_equal(XB_UUID_TEXT(&uuid), text_n3);
    assert_string_equal(XB_UUID_SHORT(&uuid), "57b1804d-a2e8");
    const char *const bad[] = {"", "57b1804d", "57b1804d-e7b1-11f1-a2e8-92bedcd12c1",
                               "57b1804dxe7b1-11f1-a2e8-92bedcd12c1a", "57b1804d-e7b1-11f1-a2e8-92bedcd12c1g"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        assert_int_not_equal(xb_uuid_parse(&uuid, bad[i]), 0);
        assert_true(xb_uuid_is_nil(&uuid));
    }
}

static void test_incarnation(void **state) {
    (void)state;
    struct xb_uuid a, b;
    xb_uuid_parse(&a, text_n3);
    b = a;
    xb_uuid_set_incarnation(&b, (uint16_t)(xb_uuid_incarnation(&a) + 1));
    assert_int_equal(xb_uuid_incarnation(&b), 0xa2e9);
    assert_true(xb_uuid_is_same_node(&a, &b));
    assert_false(xb_uuid_equal(&a, &b));
    b.bytes[15] ^= 1;
    assert_false(xb_uuid_is_same_node(&a, &b));
}

static void test_fresh_ones(void **state) {
    (void)state;
    struct xb_random random;
    xb_random_seed(&random, 1);
    struct xb_uuid a = xb_uuid_new(1000000000, &random), b = xb_uuid_new(2000000000, &random);
    assert_false(xb_uuid_equal(&a, &b));
    assert_true(xb_uuid_time(&a) < xb_uuid_time(&b));
    assert_int_equal(a.bytes[6] >> 4, 1);
    assert_int_equal(a.bytes[8] >> 6, 2);
    assert_int_equal(xb_uuid_time(&b) - xb_uuid_time(&a), 10000000);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_form),
        cmocka_unit_test(test_incarnation),
        cmocka_unit_test(test_fresh_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
