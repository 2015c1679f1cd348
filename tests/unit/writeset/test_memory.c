/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The builder when memory runs out at any of its allocations: an error, no leak, and it can be used again. */
#include "support/fail_alloc.h"
#include "unit/writeset/support.h"

static uint8_t giant[100000];

static int add_all(struct writeset_builder *builder) {
    int rc = 0;
    for (uint32_t row = 0; row < 200 && rc == 0; row++) {
        struct iovec key[3] = {PART("t"), {giant, row == 100 ? 5000 : 3}, {&row, sizeof(row)}};
        rc = writeset_builder_add_key(builder, key, 3, WRITESET_KEY_EXCLUSIVE);
    }
    for (int i = 0; i < 40 && rc == 0; i++)
        rc = writeset_builder_add_data(builder, WRITESET_DATA_ORDERED, giant + 2000 * i, 1500, i % 3 != 0);
    if (rc == 0) rc = writeset_builder_add_data(builder, WRITESET_DATA_UNORDERED, giant, 70000, true);
    return rc;
}

static void test_every_allocation(void **state) {
    struct writeset_builder_config config = builder_config(WRITESET_FLAT16A);
    struct writeset_origin origin = {.connection_id = 1};
    struct writeset_header header = {.version = 6, .flags = 0x41};
    int failures = 0;
    for (unsigned long n = 0;; n++) {
        struct xb_error error;
        fail_alloc_arm(n);
        struct writeset_builder *builder = writeset_builder_new(&config);
        int added = builder ? add_all(builder) : -ENOMEM;
        int rc = builder ? writeset_builder_finish(builder, &origin, 0x41, &error) : -ENOMEM;
        fail_alloc_disarm();
        if (!fail_alloc_has_failed) {
            assert_int_equal(rc, 0);
            writeset_builder_free(builder);
            break;
        }
        failures++;
        assert_int_equal(rc, -ENOMEM); /* what is not complete is never sent */
        assert_true(added == 0 || added == -ENOMEM);
        if (builder) {
            writeset_builder_reset(builder, NULL);
            assert_int_equal(add_all(builder), 0);
            size_t size;
            uint8_t *bytes = build(builder, &header, &size);
            assert_int_equal(read_ok(bytes, size).keys.count, 203);
            free(bytes);
        }
        writeset_builder_free(builder);
    }
    assert_true(failures > 15);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_allocation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
