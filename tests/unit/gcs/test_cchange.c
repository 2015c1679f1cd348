/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Configuration changes: those of captured IST streams, decoded and encoded again, and broken ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/bytes.h"
#include "base/hash.h"
#include "gcs/cchange.h"
#include "support/vectors.h"

#include <errno.h>

#define IST_HEAD 25 /* direction, IST header */
#define IST_CCHANGE 5

static bool next_change(struct vectors *v, const uint8_t **data, size_t *size) {
    struct vector record;
    while (vectors_next(v, &record)) {
        if (record.size < IST_HEAD || record.data[0] != 0 || record.data[2] != IST_CCHANGE) continue;
        *data = record.data + IST_HEAD;
        *size = record.size - IST_HEAD;
        return true;
    }
    return false;
}

static void assert_encodes_to(const struct gcs_cchange *change, const uint8_t *data, size_t size) {
    assert_int_equal(gcs_cchange_encoded_size(change), size);
    uint8_t *again = malloc(size);
    gcs_cchange_encode(change, again);
    assert_memory_equal(again, data, size);
    free(again);
}

static void test_captured_changes(void **state) {
    struct vectors v = vectors_load("ist");
    const uint8_t *data;
    size_t size, count = 0;
    while (next_change(&v, &data, &size)) {
        struct gcs_cchange change;
        struct xb_error error;
        assert_int_equal(gcs_cchange_decode(&change, data, size, &error), 0);
        assert_true(change.conf_id >= 0 && change.seqno > 0 && change.member_count > 0);
        assert_encodes_to(&change, data, size);
        gcs_cchange_clear(&change);
        count++;
    }
    assert_true(count >= 5);
    free(v.bytes);
}

static void test_example(void **state) { /* spec section 7.5 */
    struct gcs_cchange_member members[2] = {
        {.name = "n1", .incoming = "127.0.0.1:24010", .cached = 1, .state = GCS_NODE_SYNCED},
        {.name = "n2", .incoming = "127.0.0.1:24020", .cached = -1, .state = GCS_NODE_PRIM}};
    assert_int_equal(xb_uuid_parse(&members[0].uuid, "45a60bc2-e7b1-11f1-8171-0b840cf86fe5"), 0);
    assert_int_equal(xb_uuid_parse(&members[1].uuid, "48aa9986-e7b1-11f1-96d3-ffce42259894"), 0);
    struct gcs_cchange change = {.repl_version = 11,
                                 .appl_version = 4,
                                 .seqno = 2,
                                 .conf_id = 2,
                                 .vote_seqno = -1,
                                 .members = members,
                                 .member_count = 2};
    assert_int_equal(xb_uuid_parse(&change.group_uuid, "45a77f8f-e7b1-11f1-9621-96515d50e37a"), 0);
    uint8_t bytes[200];
    assert_int_equal(gcs_cchange_encoded_size(&change), sizeof(bytes));
    gcs_cchange_encode(&change, bytes);
    static const uint8_t checksum[8] = {0xdf, 0x64, 0x3e, 0x1b, 0x8f, 0x67, 0x10, 0x51};
    assert_memory_equal(bytes + 192, checksum, 8);
}

/* The other hash function, and the extremes of the numbers. */
static void test_large_change_and_extremes(void **state) {
    char name[304];
    memset(name, 'x', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    struct gcs_cchange_member members[3] = {
        {.name = name, .incoming = "", .cached = INT64_MIN},
        {.name = "", .incoming = name, .cached = INT64_MAX, .state = GCS_NODE_JOINED},
        {.name = "a,b:\"c", .incoming = "\xff\x01", .state = GCS_NODE_DONOR}};
    struct gcs_cchange change = {.repl_version = -1,
                                 .appl_version = 127,
                                 .seqno = INT64_MAX,
                                 .conf_id = INT64_MIN,
                                 .vote_seqno = INT64_MIN,
                                 .vote_value = INT64_MIN,
                                 .members = members};
    for (size_t count = 0; count <= 3; count++) {
        change.member_count = count;
        size_t size = gcs_cchange_encoded_size(&change);
        uint8_t *bytes = malloc(size);
        gcs_cchange_encode(&change, bytes);
        struct gcs_cchange read;
        assert_int_equal(gcs_cchange_decode(&read, bytes, size, NULL), 0);
        assert_int_equal(read.member_count, count);
        assert_int_equal(read.vote_value, INT64_MIN);
        assert_encodes_to(&read, bytes, size);
        gcs_cchange_clear(&read);
        free(bytes);
    }
}

static int decode_exact(const uint8_t *data, size_t size, bool with_checksum) {
    uint8_t *copy = malloc(size ? size : 1);
    if (size) memcpy(copy, data, size);
    if (with_checksum && size >= 8) {
        struct xb_hash128 hash = xb_fast_hash128(copy, size - 8);
        memcpy(copy + size - 8, hash.bytes, 8);
    }
    struct gcs_cchange change;
    int result = gcs_cchange_decode(&change, copy, size, NULL);
    if (!result)
        gcs_cchange_clear(&change);
    else
        assert_null(change.members);
    free(copy);
    return result;
}

static void test_broken_changes(void **state) {
    struct vectors v = vectors_load("ist");
    const uint8_t *data;
    size_t size;
    assert_true(next_change(&v, &data, &size));
    for (size_t n = 0; n < size; n++) {
        assert_int_equal(decode_exact(data, n, false), -EINVAL);
        assert_int_equal(decode_exact(data, n, true), -EINVAL);
    }
    uint8_t *copy = malloc(size);
    for (size_t i = 0; i < size; i++) {
        memcpy(copy, data, size);
        copy[i] ^= 0x10;
        assert_int_equal(decode_exact(copy, size, false), -EINVAL);
        for (int value = 0; value < 256; value += 5) { /* with a right checksum: no harm */
            copy[i] = (uint8_t)value;
            decode_exact(copy, size, true);
        }
    }
    free(copy);
    free(v.bytes);
}

static int decode_text(const char *text) { /* as a change without members */
    uint8_t bytes[256] = {0};
    size_t size = (1 + strlen(text) + 1 + 8 + 7) / 8 * 8;
    memcpy(bytes + 1, text, strlen(text) + 1);
    return decode_exact(bytes, size, true);
}

static void test_texts(void **state) {
#define UUID "45a77f8f-e7b1-11f1-9621-96515d50e37a"
    assert_int_equal(decode_text("0,11,4," UUID ":2,2,-1,0,0"), 0);
    assert_int_equal(decode_text("0,-1,-1," UUID ":-1,-1,-1,-9223372036854775808,0"), 0);
    static const char *const bad[] = {"",
                                      "0",
                                      "1,11,4," UUID ":2,2,-1,0,0",
                                      "0,11,4," UUID ":2,2,-1,0",
                                      "0,11,4," UUID ":2,2,-1,0,0,",
                                      "0,11,4," UUID ":2,2,-1,0,1",
                                      "0,11,4," UUID ":2,2,-1,0,-1",
                                      "0,11,4," UUID ":2,2,-1,0,99999999999999999999",
                                      "0,11,4," UUID ":9223372036854775808,2,-1,0,0",
                                      "0,11,4," UUID ":2,2,-1,-9223372036854775809,0",
                                      "0,256,4," UUID ":2,2,-1,0,0",
                                      "0,-2,4," UUID ":2,2,-1,0,0",
                                      "0, 11,4," UUID ":2,2,-1,0,0",
                                      "0,11,4,45a77f8f:2,2,-1,0,0",
                                      "0,11,4," UUID "2,2,-1,0,0",
                                      "0,11,4," UUID ":02,2,-1,0,0",
                                      "0,11,4," UUID ":2,2,-1,-0,0",
                                      "0,11,4," UUID ":2,2,-1,0,18446744073709551615"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) assert_int_equal(decode_text(bad[i]), -EINVAL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_captured_changes),
        cmocka_unit_test(test_example),
        cmocka_unit_test(test_large_change_and_extremes),
        cmocka_unit_test(test_broken_changes),
        cmocka_unit_test(test_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
