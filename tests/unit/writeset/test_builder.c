/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The builder: limits, copied and referred data, many keys, reuse, what it refuses. */
#include "base/bytes.h"
#include "unit/writeset/support.h"

static const struct writeset_header some_header = {
    .version = 6, .flags = WRITESET_COMMIT | WRITESET_BEGIN, .pa_range = 65535, .seqno = 7, .connection_id = 3};

static void test_many_keys(void **state) {
    struct writeset_builder *builder = builder_new(WRITESET_FLAT8);
    for (uint32_t row = 0; row < 3000; row++) {
        for (int again = 0; again < 2; again++) {
            struct iovec key[3] = {PART("t"), PART("a"), {&row, sizeof(row)}};
            assert_int_equal(writeset_builder_add_key(builder, key, 3, WRITESET_KEY_EXCLUSIVE), 0);
        }
    }
    for (uint32_t row = 0; row < 3000; row++) { /* not the previous key, but known */
        struct iovec key[3] = {PART("t"), PART("a"), {&row, sizeof(row)}};
        assert_int_equal(writeset_builder_add_key(builder, key, 3, WRITESET_KEY_EXCLUSIVE), 0);
    }
    size_t size;
    uint8_t *bytes = build(builder, &some_header, &size);
    struct writeset ws = read_ok(bytes, size);
    assert_int_equal(ws.keys.count, 3002);
    assert_hex(bytes + 64, 1, "23"); /* long form */
    assert_int_equal(ws.key_set.size, 3002 * 8 + 32);
    struct writeset_builder_stats stats;
    writeset_builder_get_stats(builder, &stats);
    assert_int_equal(stats.key_count, 3002);
    assert_int_equal(stats.key_bytes, ws.key_set.size);
    free(bytes);
    writeset_builder_free(builder);
}

/* All sizes around the alignment and the two forms, in many pieces, copied, referred to, and mixed. */
static void test_data_pieces(void **state) {
    static uint8_t data[40000];
    for (size_t i = 0; i < sizeof(data); i++) data[i] = (uint8_t)(i * 7 + (i >> 8));
    static const size_t sizes[] = {1, 7, 8, 9, 100, 16359, 16360, 16361, 40000};
    static const size_t steps[] = {1, 3, 511, 512, 4096, 40000};
    struct writeset_builder *builder = builder_new(WRITESET_FLAT8);
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        for (size_t k = 0; k < sizeof(steps) / sizeof(steps[0]); k++) {
            for (int mode = 0; mode < 3; mode++) {
                writeset_builder_reset(builder, NULL);
                bool is_copied = mode == 0;
                for (size_t at = 0; at < sizes[s]; at += steps[k]) {
                    size_t n = sizes[s] - at < steps[k] ? sizes[s] - at : steps[k];
                    if (mode == 2) is_copied = !is_copied;
                    assert_int_equal(writeset_builder_add_data(builder, WRITESET_DATA_ORDERED, data + at, n, is_copied),
                                     0);
                }
                size_t size;
                uint8_t *bytes = build(builder, &some_header, &size);
                struct writeset ws = read_ok(bytes, size);
                assert_int_equal(size % 8, 0);
                assert_int_equal(ws.size, size);
                assert_int_equal(ws.data.size, sizes[s]);
                assert_memory_equal(ws.data.data, data, sizes[s]);
                free(bytes);
            }
        }
    }
    writeset_builder_free(builder);
}

/* Data that is referred to is not copied: the gather list points at the caller's memory. */
static void test_no_copy(void **state) {
    static uint8_t data[100000];
    struct writeset_builder *builder = builder_new(WRITESET_FLAT8);
    assert_int_equal(writeset_builder_add_data(builder, WRITESET_DATA_ORDERED, data, sizeof(data), false), 0);
    size_t size, count;
    free(build(builder, &some_header, &size));
    const struct iovec *parts = writeset_builder_parts(builder, &count);
    assert_int_equal(count, 3);
    assert_ptr_equal(parts[2].iov_base, data);
    assert_int_equal(parts[2].iov_len, sizeof(data));
    writeset_builder_free(builder);
}

/* Section 8.3: the limit less header and set overheads is what keys and data may use together. */
static void test_size_limit(void **state) {
    uint8_t data[1000] = {0};
    struct writeset_builder_config config = builder_config(WRITESET_FLAT8);
    config.size_max = 64 + 3 * 40 + 100;
    struct writeset_builder *builder = writeset_builder_new(&config);
    assert_int_equal(add_text_key(builder, "t/a/1", WRITESET_KEY_EXCLUSIVE), 0);
    assert_int_equal(writeset_builder_add_data(builder, WRITESET_DATA_ORDERED, data, 76, true), 0);
    size_t size;
    uint8_t *bytes = build(builder, &some_header, &size);
    assert_true(size <= config.size_max);
    free(bytes);

    struct xb_error error;
    struct writeset_origin origin = {.connection_id = 1};
    for (int last = 0; last < 3; last++) {
        writeset_builder_reset(builder, NULL);
        assert_int_equal(add_text_key(builder, "t/a/1", WRITESET_KEY_EXCLUSIVE), 0);
        assert_int_equal(writeset_builder_add_data(builder, WRITESET_DATA_ORDERED, data, 76, true), 0);
        if (last == 0) assert_int_equal(add_text_key(builder, "t/a/2", WRITESET_KEY_EXCLUSIVE), -EMSGSIZE);
        if (last == 1)
            assert_int_equal(writeset_builder_add_data(builder, WRITESET_DATA_ORDERED, data, 1, false), -EMSGSIZE);
        if (last == 2)
            assert_int_equal(writeset_builder_add_data(builder, WRITESET_DATA_ANNOTATION, data, 1, true), -EMSGSIZE);
        assert_int_equal(writeset_builder_add_data(builder, WRITESET_DATA_ORDERED, data, 1, true), -EMSGSIZE);
        assert_int_equal(writeset_builder_finish(builder, &origin, 1, &error), -EMSGSIZE);
    }
    /* A rollback fragment has no records: it goes through whatever the limit. */
    config.size_max = 0;
    writeset_builder_reset(builder, &config);
    assert_int_equal(writeset_builder_finish(builder, &origin, WRITESET_ROLLBACK_FRAGMENT, &error), 0);
    assert_int_equal(writeset_builder_size(builder), 64);
    writeset_builder_free(builder);
}

static void test_refusals(void **state) {
    struct writeset_builder *builder = builder_new(WRITESET_FLAT8);
    struct iovec parts[WRITESET_KEY_PARTS_MAX + 1] = {{0}};
    assert_int_equal(writeset_builder_add_key(builder, parts, WRITESET_KEY_PARTS_MAX + 1, WRITESET_KEY_SHARED), -E2BIG);
    assert_int_equal(writeset_builder_add_key(builder, parts, 1, (enum writeset_key_type)4), -EINVAL);
    assert_int_equal(writeset_builder_add_data(builder, (enum writeset_data_kind)3, "x", 1, true), -EINVAL);
    assert_int_equal(writeset_builder_keys(builder).count, 0);
    assert_int_equal(writeset_builder_add_key(builder, parts, 3, WRITESET_KEY_SHARED), 0); /* empty parts are parts */
    assert_int_equal(writeset_builder_keys(builder).count, 3);

    struct xb_error error;
    struct writeset_origin origin = {.connection_id = 1};
    assert_int_equal(writeset_builder_add_data(builder, WRITESET_DATA_UNORDERED, "x", 1, true), 0);
    assert_int_equal(writeset_builder_finish(builder, &origin, 1, &error), -EINVAL);
    writeset_builder_reset(builder, NULL);
    assert_int_equal(writeset_builder_add_data(builder, WRITESET_DATA_ANNOTATION, "x", 1, true), 0);
    assert_int_equal(writeset_builder_finish(builder, &origin, 1, &error), 0);
    assert_int_equal(writeset_builder_size(builder), 64); /* an annotation of nothing is left out */
    assert_int_equal(writeset_builder_finish(builder, &origin, 1, &error), -EBUSY);
    assert_int_equal(writeset_builder_add_key(builder, parts, 1, WRITESET_KEY_SHARED), -EBUSY);
    assert_int_equal(writeset_builder_add_data(builder, WRITESET_DATA_ORDERED, "x", 1, true), -EBUSY);
    writeset_builder_free(builder);
}

/* Keys and data after a reset do not depend on what the builder was used for before. */
static void test_reuse(void **state) {
    struct writeset_builder *builder = builder_new(WRITESET_FLAT16A), *fresh = NULL;
    static uint8_t large[200000];
    for (int round = 0; round < 4; round++) {
        struct writeset_builder_config config = builder_config((enum writeset_key_format)(1 + round));
        writeset_builder_reset(builder, &config);
        fresh = writeset_builder_new(&config);
        struct writeset_builder *both[2] = {builder, fresh};
        uint8_t *bytes[2];
        size_t sizes[2];
        for (int i = 0; i < 2; i++) {
            for (uint32_t row = 0; row < 200u + (uint32_t)round; row++) {
                struct iovec key[3] = {PART("t"), {large, (size_t)round * 30000}, {&row, sizeof(row)}};
                assert_int_equal(writeset_builder_add_key(both[i], key, 3, WRITESET_KEY_UPDATE), 0);
            }
            assert_int_equal(
                writeset_builder_add_data(both[i], WRITESET_DATA_ORDERED, large, 1000u + (size_t)round * 60000, true),
                0);
            bytes[i] = build(both[i], &some_header, &sizes[i]);
        }
        assert_int_equal(sizes[0], sizes[1]);
        assert_memory_equal(bytes[0], bytes[1], sizes[0]);
        read_ok(bytes[0], sizes[0]);
        free(bytes[0]);
        free(bytes[1]);
        writeset_builder_free(fresh);
    }
    writeset_builder_free(builder);
}

/* The next attempt to send changes only what the stamp covers. */
static void test_stamp_again(void **state) {
    struct writeset_builder *builder = builder_new(WRITESET_FLAT8);
    add_text_key(builder, "t/a/1", WRITESET_KEY_EXCLUSIVE);
    size_t size;
    uint8_t *first = build(builder, &some_header, &size);
    writeset_builder_stamp(builder, INT64_MAX, 12, -5);
    uint8_t *second = join_parts(builder, &size);
    struct writeset ws = read_ok(second, size);
    assert_true(ws.header.seqno == INT64_MAX && ws.header.pa_range == 12 && ws.header.timestamp_ns == -5);
    assert_int_equal(ws.header.flags, some_header.flags);
    memcpy(first + 6, second + 6, 18);
    memcpy(first + 56, second + 56, 8);
    assert_memory_equal(first, second, size);
    free(first);
    free(second);
    writeset_builder_free(builder);
}

/* Version 5, for a group at replicator protocol 10. */
static void test_version_5(void **state) {
    assert_int_equal(writeset_version_of_protocol(10), 5);
    assert_int_equal(writeset_version_of_protocol(11), 6);
    assert_int_equal(writeset_version_of_protocol(9), 4);
    assert_int_equal(writeset_version_of_protocol(8), 3);
    assert_int_equal(writeset_version_of_protocol(4), -1);
    assert_int_equal(writeset_version_of_protocol(12), -1);
    struct writeset_builder_config config = builder_config(WRITESET_FLAT8);
    config.version = 5;
    struct writeset_builder *builder = writeset_builder_new(&config);
    add_text_key(builder, "t/a/1", WRITESET_KEY_UPDATE);
    writeset_builder_add_key(builder, NULL, 0, WRITESET_KEY_REFERENCE);
    size_t size;
    uint8_t *bytes = build(builder, &some_header, &size);
    assert_int_equal(bytes[1], 0x53);
    struct writeset ws = read_ok(bytes, size);
    assert_int_equal(ws.header.version, 5);
    assert_int_equal(ws.keys.count, 3);
    free(bytes);
    writeset_builder_free(builder);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_keys),   cmocka_unit_test(test_data_pieces), cmocka_unit_test(test_no_copy),
        cmocka_unit_test(test_size_limit),  cmocka_unit_test(test_refusals),    cmocka_unit_test(test_reuse),
        cmocka_unit_test(test_stamp_again), cmocka_unit_test(test_version_5),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
