/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Certification when memory runs out at any of its allocations: an error that tells so, no leak, no crash. */
#include "support/fail_alloc.h"
#include "unit/certify/support.h"

#define COUNT 700

static struct made large_writeset(void) {
    struct writeset_builder *builder = builder_new(WRITESET_FLAT8);
    for (uint32_t row = 0; row < 30000; row++) {
        struct iovec key = {&row, sizeof(row)};
        writeset_builder_add_key(builder, &key, 1, WRITESET_KEY_SHARED);
    }
    struct writeset_header header = {.version = 6, .flags = TRX};
    size_t size;
    struct made made = {.bytes = build(builder, &header, &size)};
    made.ws = read_ok(made.bytes, size);
    writeset_builder_free(builder);
    return made;
}

/* A whole life: many small write sets, a large one, an NBO, changes. -> 0 or the first error */
static int live(struct certify *certify, const struct made *small, const struct made *large, const struct made *nbo) {
    struct certify_result result;
    struct certify_ticket *tickets[COUNT + 3] = {0};
    struct xb_error error;
    struct xb_uuid member = node_uuid(1);
    int rc = certify_change_configuration(certify, 1, 6, &member, 1, NULL), count = 0;
    for (int i = 0; i < COUNT + 2 && rc == 0; i++) {
        const struct made *made = i == COUNT ? large : i == 300 ? nbo : small;
        rc = certify_writeset(certify, &made->ws, 2 + i, CERTIFY_FROM_GROUP, &result, &error);
        if (rc == 0) tickets[count++] = result.ticket;
    }
    for (int i = 0; i < count; i++) certify_finish(certify, tickets[i]);
    if (rc == 0) rc = certify_placeholder(certify, COUNT + 10);
    certify_purge(certify, COUNT + 10);
    if (rc == 0) rc = certify_change_configuration(certify, COUNT + 20, 6, &member, 1, NULL);
    return rc;
}

static void test_every_allocation(void **state) {
    struct certify_config config = {.hash_secret = {1, 2}, .is_optimistic_pa = true};
    struct made small = make(1, 0, TRX, "EX t/a/1, 0"), large = large_writeset();
    struct made nbo = make(1, 0, WRITESET_TOI | WRITESET_BEGIN, "EX t/b, 0");
    int failures = 0, survived = 0;
    for (unsigned long n = 0;; n++) {
        fail_alloc_arm(n);
        struct certify *certify = certify_new(&config, NULL);
        int rc = certify ? live(certify, &small, &large, &nbo) : -ENOMEM;
        fail_alloc_disarm();
        bool has_failed = fail_alloc_has_failed;
        assert_true(rc == 0 || (has_failed && rc == -ENOMEM));
        failures += has_failed;
        survived += has_failed && rc == 0; /* a table that cannot grow only gets slower */
        certify_free(certify);
        if (!has_failed) break;
    }
    assert_true(failures > 20);
    assert_true(survived > 0);
    free(small.bytes);
    free(large.bytes);
    free(nbo.bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_allocation)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
