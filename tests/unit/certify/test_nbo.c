/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Non-blocking operations (spec 06 section 15), with the quirk as it was observed in the stock provider. */
#include "base/bytes.h"
#include "unit/certify/support.h"

#define NBO_START (WRITESET_TOI | WRITESET_BEGIN)
#define NBO_END (WRITESET_TOI | WRITESET_COMMIT)

static void set_members(struct certify *certify, int first, int last) {
    struct xb_uuid members[8];
    size_t count = 0;
    for (int node = first; node <= last; node++) members[count++] = node_uuid(node);
    int64_t seqno = certify_position(certify) + 1;
    bool is_dropped = true;
    assert_int_equal(certify_change_configuration(certify, seqno, 6, members, count, &is_dropped), 0);
    assert_false(is_dropped);
}

static struct certify_result put_end(struct certify *certify, int node, int64_t start, const char *keys) {
    uint8_t data[8];
    xb_store_le(data, (uint64_t)start, 8);
    struct made made = make_with(WRITESET_FLAT8, 6, node, certify_position(certify), NBO_END, keys, data, sizeof(data));
    struct certify_result result = certify_ws(certify, &made.ws, certify_position(certify) + 1, CERTIFY_FROM_GROUP);
    free(made.bytes);
    assert_int_equal(result.depends, certify_position(certify) - 1);
    assert_false(result.is_skip); /* never for an NBO end */
    return result;
}

static struct certify_result put_now(struct certify *certify, int node, unsigned flags, const char *keys) {
    return put(certify, node, certify_position(certify), flags, keys);
}

/* As it was driven on a single stock node. */
static void test_single_node(void **state) {
    struct certify *certify = certify_at(0);
    set_members(certify, 1, 1);
    struct certify_result result = put_now(certify, 1, NBO_START, "EX b/l, 0");
    assert_true(result.is_passed);
    int64_t start = certify_position(certify);
    assert_int_equal(stats_of(certify).nbo_count, 1);

    static const char *const failing[] = {"EX b/other, 0", "EX zz, 0", "EX b/l, 0", "0"};
    for (int i = 0; i < 4; i++) {
        result = put_now(certify, 1, TOI_WHOLE, failing[i]);
        assert_false(result.is_passed);
        assert_true(result.is_skip);
        assert_int_equal(result.reason, CERTIFY_NBO_CONFLICT);
        assert_int_equal(result.conflict.seqno, start);
    }
    assert_false(put_now(certify, 1, NBO_START, "EX q, 0").is_passed);
    assert_true(put_now(certify, 1, TRX, "EX x/1, 0").is_passed);
    assert_true(put_now(certify, 1, TRX, "EX b/l, 0").is_passed);

    result = put_end(certify, 1, start, "EX b/l");
    assert_true(result.is_passed);
    assert_int_equal(result.nbo_ended, start);
    assert_int_equal(stats_of(certify).nbo_count, 0);
    assert_true(put_now(certify, 1, TOI_WHOLE, "EX b/l, 0").is_passed);

    /* Beside one that was started without keys of its own, TOIs pass. */
    assert_true(put_now(certify, 1, NBO_START, "0").is_passed);
    assert_true(put_now(certify, 1, TOI_WHOLE, "EX b/l, 0").is_passed);
    certify_free(certify);
}

/* Without zero-level keys (write-set version 5): only the same key, held as UP or EX, conflicts. */
static void test_keys_without_quirk(void **state) {
    struct certify *certify = certify_at(0);
    set_members(certify, 1, 1);
    assert_true(put_now(certify, 1, NBO_START, "EX b/l, UP u, RE r, SH s").is_passed);
    int64_t first = certify_position(certify);
    static const char *const conflicting[] = {"EX b/l", "SH b/l", "RE u", "EX a, EX b/l"};
    for (int i = 0; i < 4; i++) assert_false(put_now(certify, 1, TOI_WHOLE, conflicting[i]).is_passed);
    static const char *const passing[] = {"EX b/m", "EX b", "EX r", "EX s", ""};
    for (int i = 0; i < 5; i++) assert_true(put_now(certify, 1, TOI_WHOLE, passing[i]).is_passed);
    assert_true(put_now(certify, 1, NBO_START, "EX c/l, EX r, RE s").is_passed);
    int64_t second = certify_position(certify);
    assert_int_equal(stats_of(certify).nbo_count, 2);
    assert_false(put_now(certify, 1, TOI_WHOLE, "SH r").is_passed);
    assert_true(put_end(certify, 1, first, "EX b/l").is_passed);
    assert_true(put_now(certify, 1, TOI_WHOLE, "EX b/l").is_passed);
    assert_false(put_now(certify, 1, TOI_WHOLE, "SH r").is_passed);
    assert_true(put_end(certify, 1, second, "").is_passed);
    assert_true(put_now(certify, 1, TOI_WHOLE, "SH r").is_passed);
    certify_free(certify);
}

static void test_all_members_must_end(void **state) {
    struct certify *certify = certify_at(0);
    set_members(certify, 1, 3);
    assert_true(put_now(certify, 2, NBO_START, "EX b/l, 0").is_passed);
    int64_t start = certify_position(certify);
    assert_int_equal(put_end(certify, 1, start, "EX b/l").reason, CERTIFY_NBO_INEFFECTIVE);
    assert_int_equal(put_end(certify, 1, start, "EX b/l").reason, CERTIFY_NBO_INEFFECTIVE); /* again */
    assert_int_equal(put_end(certify, 7, start, "EX b/l").reason, CERTIFY_NBO_INEFFECTIVE); /* no member */
    assert_int_equal(put_end(certify, 3, start, "EX b/l").reason, CERTIFY_NBO_INEFFECTIVE);
    assert_int_equal(put_end(certify, 3, start + 1, "EX b/l").reason, CERTIFY_NBO_UNKNOWN);
    struct certify_result result = put_end(certify, 2, start, "EX b/l");
    assert_true(result.is_passed);
    assert_int_equal(result.nbo_ended, start);
    assert_int_equal(put_end(certify, 2, start, "EX b/l").reason, CERTIFY_NBO_UNKNOWN);
    certify_free(certify);
}

static void test_view_change_forgets_ends(void **state) {
    struct certify *certify = certify_at(0);
    set_members(certify, 1, 3);
    assert_true(put_now(certify, 2, NBO_START, "EX b/l, 0").is_passed);
    int64_t start = certify_position(certify);
    put_end(certify, 1, start, "");
    put_end(certify, 2, start, "");
    set_members(certify, 1, 2); /* 3 is gone; the others send again */
    assert_int_equal(put_end(certify, 1, start, "").reason, CERTIFY_NBO_INEFFECTIVE);
    assert_true(put_end(certify, 2, start, "").is_passed);
    certify_free(certify);
}

/* The index keeps a failed TOI and the NBO's own references like any TOI's. */
static void test_regular_index(void **state) {
    struct certify *certify = certify_at(0);
    set_members(certify, 1, 1);
    put_now(certify, 1, NBO_START, "EX b/l, 0");
    int64_t start = certify_position(certify);
    assert_false(put(certify, 2, start - 1, TRX, "EX b/l/1, 0").is_passed);
    assert_int_equal(put(certify, 2, start, TRX, "EX b/l/1, 0").depends, start);
    assert_false(put_now(certify, 1, TOI_WHOLE, "EX zz, 0").is_passed);
    int64_t failed = certify_position(certify);
    assert_int_equal(put(certify, 2, failed, TRX, "EX zz/1, 0").depends, failed);
    certify_free(certify);
}

/* Events at or below the NBO position were processed before a transfer: they pass and change nothing. */
static void test_processed_before(void **state) {
    struct certify *certify = certify_at(0);
    set_members(certify, 1, 1);
    put_now(certify, 1, NBO_START, "EX b/l, 0"); /* 2 */
    put_now(certify, 1, TRX, "EX x");            /* 3 */
    certify_reset(certify);
    assert_int_equal(certify_assign_position(certify, 0, 6), 0);
    struct made made = make(1, 0, TOI_WHOLE, "EX b/l, 0");
    assert_true(certify_ws(certify, &made.ws, 1, CERTIFY_FROM_GROUP).is_passed);
    assert_int_equal(certify_placeholder(certify, 2), 0);
    assert_false(certify_ws(certify, &made.ws, 3, CERTIFY_FROM_GROUP).is_passed); /* still running */
    free(made.bytes);
    certify_free(certify);
}

static void test_malformed_end(void **state) {
    struct certify *certify = certify_at(0);
    set_members(certify, 1, 1);
    for (size_t size = 0; size < 12; size++) {
        if (size == 8) continue;
        struct made made = make_with(WRITESET_FLAT8, 6, 1, 0, NBO_END, "", "123456789012", size);
        struct certify_result result;
        struct xb_error error = {0};
        assert_int_equal(
            certify_writeset(certify, &made.ws, certify_position(certify) + 1, CERTIFY_FROM_GROUP, &result, &error),
            -EPROTO);
        assert_true(error.text[0] != '\0');
        free(made.bytes);
    }
    certify_free(certify);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_single_node),          cmocka_unit_test(test_keys_without_quirk),
        cmocka_unit_test(test_all_members_must_end), cmocka_unit_test(test_view_change_forgets_ends),
        cmocka_unit_test(test_regular_index),        cmocka_unit_test(test_processed_before),
        cmocka_unit_test(test_malformed_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
