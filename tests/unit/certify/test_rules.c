/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The test of spec 06 sections 12 to 16, rule by rule. */
#include "unit/certify/support.h"

static const char *const types[] = {"SH", "RE", "UP", "EX"};

/* Section 12.1, [in the index][candidate]: N, D, C. */
static const char matrix[4][5] = {"NNDD", "NNDC", "DDCC", "CCCC"};

/* First write set 10 of node 1 with one key, then one of node 2 that has or has not seen it. */
static void check_matrix(enum writeset_key_format first_format, enum writeset_key_format second_format) {
    for (int held = 0; held < 4; held++) {
        for (int wanted = 0; wanted < 4; wanted++) {
            for (int has_seen = 0; has_seen < 2; has_seen++) {
                for (int is_same_source = 0; is_same_source < 2; is_same_source++) {
                    char first_key[16], second_key[16];
                    snprintf(first_key, sizeof(first_key), "%s k", types[held]);
                    snprintf(second_key, sizeof(second_key), "%s k", types[wanted]);
                    struct certify *certify = certify_at(0);
                    put(certify, 1, 0, TRX, "EX other"); /* so that the map's lowest seqno is 1 */
                    struct made first = make_with(first_format, 6, 1, 1, TRX, first_key, NULL, 0);
                    struct made second =
                        make_with(second_format, 6, is_same_source ? 1 : 2, has_seen ? 2 : 1, TRX, second_key, NULL, 0);
                    assert_true(certify_ws(certify, &first.ws, 2, CERTIFY_FROM_GROUP).is_passed);
                    struct certify_conflict doomed;
                    struct xb_uuid source = node_uuid(is_same_source ? 1 : 2);
                    bool is_doomed =
                        certify_is_doomed(certify, &second.ws.keys, &source, second.ws.header.seqno, &doomed);
                    struct certify_result result = certify_ws(certify, &second.ws, 3, CERTIFY_FROM_GROUP);
                    char rule = matrix[held][wanted];
                    bool is_conflict = rule == 'C' && !has_seen && !is_same_source;
                    assert_int_equal(result.is_passed, !is_conflict);
                    assert_int_equal(is_doomed, is_conflict);
                    assert_int_equal(result.depends, rule == 'N' ? 0 : 2);
                    if (is_conflict) {
                        assert_int_equal(result.reason, CERTIFY_CONFLICT);
                        assert_true(result.is_skip);
                        assert_int_equal(result.conflict.seqno, 2);
                        assert_int_equal(result.conflict.own_type, wanted);
                        assert_int_equal(result.conflict.other_type, held);
                        assert_int_equal(doomed.seqno, 2);
                    }
                    free(first.bytes);
                    free(second.bytes);
                    certify_free(certify);
                }
            }
        }
    }
}

/* Also invariant 10: writers of all formats conflict with each other. */
static void test_matrix_in_all_formats(void **state) {
    for (int first = WRITESET_FLAT8; first <= WRITESET_FLAT16A; first++)
        for (int second = WRITESET_FLAT8; second <= WRITESET_FLAT16A; second++)
            check_matrix((enum writeset_key_format)first, (enum writeset_key_format)second);
}

/* Section 12.2: only the latest reference is compared. */
static void test_only_latest_reference(void **state) {
    struct certify *certify = certify_at(9);
    assert_true(put(certify, 1, 9, TRX, "EX k").is_passed);  /* 10 */
    assert_true(put(certify, 2, 10, TRX, "EX k").is_passed); /* 11 replaces 10 */
    assert_true(put(certify, 2, 9, TRX, "EX k").is_passed);  /* 10 would conflict, 11 is its own */
    assert_false(put(certify, 3, 9, TRX, "EX k").is_passed);
    certify_free(certify);
}

/* A stronger later reference does not remove a weaker one. */
static void test_references_by_type(void **state) {
    struct certify *certify = certify_at(0);
    put(certify, 1, 0, TRX, "RE k");                                /* 1 */
    put(certify, 2, 1, TRX, "UP k");                                /* 2 */
    struct certify_result result = put(certify, 2, 0, TRX, "EX k"); /* UP is its own, RE of 1 is not */
    assert_false(result.is_passed);
    assert_int_equal(result.conflict.seqno, 1);
    assert_int_equal(result.conflict.other_type, WRITESET_KEY_REFERENCE);
    certify_free(certify);
}

static void test_failed_leaves_no_trace(void **state) {
    struct certify *certify = certify_at(0);
    put(certify, 1, 0, TRX, "EX a"); /* 1 */
    int64_t size = stats_of(certify).index_size;
    assert_false(put(certify, 2, 0, TRX, "EX b, EX a, EX c").is_passed); /* 2 */
    assert_int_equal(stats_of(certify).index_size, size);
    assert_true(put(certify, 3, 0, TRX, "EX b, EX c").is_passed);
    assert_int_equal(stats_of(certify).failed, 1);
    certify_free(certify);
}

/* Several strengths of one key inside a write set do not conflict with each other. */
static void test_doubles_inside(void **state) {
    struct certify *certify = certify_at(0);
    struct certify_result result = put(certify, 1, 0, TRX, "RE k, UP k, EX k"); /* 1 */
    assert_true(result.is_passed);
    assert_int_equal(stats_of(certify).index_size, 1);
    for (int i = 0; i < 2; i++) {
        /* The builder never stores exact doubles; a foreign writer may. */
        struct made made = make(1, 1, TRX, "EX x/y, EX x/z");
        memcpy(made.bytes + made.ws.key_set.offset + 24 + 16, made.bytes + made.ws.key_set.offset + 24 + 8, 8);
        assert_true(certify_ws(certify, &made.ws, 2 + i, CERTIFY_FROM_GROUP).is_passed);
        free(made.bytes);
    }
    assert_int_equal(stats_of(certify).index_size, 3);
    certify_free(certify);
}

static void test_toi(void **state) {
    struct certify *certify = certify_at(0);
    put(certify, 1, 0, TRX, "EX t/a/1");                                       /* 1 */
    struct certify_result result = put(certify, 2, 0, TOI_WHOLE, "EX t/a, 0"); /* 2: never fails on keys */
    assert_true(result.is_passed);
    assert_int_equal(result.depends, 1);
    assert_false(put(certify, 2, 0, TRX, "EX t/a/2, 0").is_passed); /* 3: conflicts even from the same source */
    assert_false(put(certify, 3, 1, TRX, "EX t/a/2, 0").is_passed); /* 4 */
    result = put(certify, 3, 2, TRX, "EX t/a/2, 0");                /* 5: has seen it */
    assert_true(result.is_passed);
    assert_int_equal(result.depends, 2);
    assert_true(put(certify, 3, 1, TRX, "EX t/b/2, 0").is_passed); /* 6: another table */
    certify_free(certify);
}

static void test_server_key(void **state) {
    struct certify *certify = certify_at(0);
    struct made made = make(1, 0, TOI_WHOLE, "");
    struct writeset_builder *builder = builder_new(WRITESET_FLAT8);
    writeset_builder_add_key(builder, NULL, 0, WRITESET_KEY_EXCLUSIVE);
    size_t size;
    uint8_t *bytes = build(builder, &made.ws.header, &size);
    struct writeset ws = read_ok(bytes, size);
    assert_true(certify_ws(certify, &ws, 1, CERTIFY_FROM_GROUP).is_passed);
    assert_false(put(certify, 2, 0, TRX, "EX t/b/2, 0").is_passed);
    assert_true(put(certify, 2, 1, TRX, "EX t/b/2, 0").is_passed);
    free(bytes);
    free(made.bytes);
    writeset_builder_free(builder);
    certify_free(certify);
}

static void test_pa_unsafe(void **state) {
    struct certify *certify = certify_at(0);
    put(certify, 1, 0, TRX, "EX a");                                                   /* 1 */
    put(certify, 1, 1, TRX, "EX b");                                                   /* 2 */
    assert_int_equal(put(certify, 1, 2, TRX, "EX c").depends, 0);                      /* 3 */
    assert_int_equal(put(certify, 1, 2, TRX | WRITESET_PA_UNSAFE, "EX d").depends, 3); /* 4 */
    assert_int_equal(put(certify, 1, 2, TRX, "EX e").depends, 4);                      /* 5 */
    struct certify_result result = put(certify, 1, 2, WRITESET_ROLLBACK_FRAGMENT, ""); /* 6 */
    assert_true(result.is_passed);
    assert_int_equal(result.depends, 5);
    assert_int_equal(put(certify, 2, 2, TRX, "EX f").depends, 6); /* 7 */
    /* One that fails does not hold back the later ones, but has the last PA-unsafe as a lower bound itself. */
    result = put(certify, 3, 3, TRX | WRITESET_PA_UNSAFE, "EX d"); /* 8 against 4 */
    assert_false(result.is_passed);
    assert_int_equal(result.depends, 7);
    result = put(certify, 3, 3, TRX, "EX d"); /* 9 */
    assert_false(result.is_passed);
    assert_int_equal(result.depends, 6);
    assert_int_equal(put(certify, 2, 2, TRX, "EX g").depends, 6);
    certify_free(certify);
}

static void test_implicit_dependencies(void **state) {
    struct certify *certify = certify_at(0);
    for (int i = 0; i < 5; i++) put(certify, 1, 0, TRX, "SH a");
    assert_int_equal(put(certify, 1, 3, TRX | WRITESET_IMPLICIT_DEPS, "EX c").depends, 3);
    certify_set_optimistic_pa(certify, false);
    assert_int_equal(put(certify, 1, 4, TRX, "EX d").depends, 4);
    certify_set_optimistic_pa(certify, true);
    assert_int_equal(put(certify, 1, 4, TRX, "EX e").depends, 0);
    certify_free(certify);
}

/* Section 8.4: a later fragment depends on the one before. */
static void test_fragments(void **state) {
    struct certify *certify = certify_at(0);
    int64_t previous = 0;
    for (int i = 0; i < 4; i++) {
        put(certify, 1, certify_position(certify), TRX, "SH a");
        struct made made = make(2, certify_position(certify), i == 0 ? WRITESET_BEGIN : 0, "EX t/f");
        if (i > 0) made.ws.header.pa_range = (uint16_t)(made.ws.header.seqno - previous);
        struct certify_result result = certify_ws(certify, &made.ws, certify_position(certify) + 1, CERTIFY_FROM_GROUP);
        assert_true(result.is_passed);
        assert_true(result.depends >= previous);
        previous = certify_position(certify);
        free(made.bytes);
    }
    certify_free(certify);
}

/* Values that no honest origin sends must not break anything. */
static void test_absurd_last_seen(void **state) {
    static const int64_t values[] = {INT64_MAX, INT64_MIN, -2, 1000, 5, 4, 3};
    for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
        for (unsigned flags = 0; flags < 4; flags++) {
            struct certify *certify = certify_at(3);
            put(certify, 1, 3, TRX, "EX k");
            struct certify_result result =
                put(certify, 2, values[i],
                    TRX | (flags & 1 ? WRITESET_IMPLICIT_DEPS : 0) | (flags & 2 ? WRITESET_PREORDERED : 0), "EX k");
            assert_true(result.depends >= -1 && result.depends < 5);
            if (!(flags & 2)) assert_int_equal(result.is_passed, values[i] >= 4);
            assert_true(certify_safe_to_discard(certify) >= -2);
            certify_finish(certify, result.ticket);
            assert_true(certify_safe_to_discard(certify) <= 5);
            certify_purge(certify, INT64_MAX);
            certify_free(certify);
        }
    }
}

static void test_versions(void **state) {
    static const bool accepted[4][4] = {
        {true, false, false, false}, {true, true, false, false}, {true, true, true, false}, {true, true, true, true}};
    for (int current = 3; current <= 6; current++) {
        for (int version = 3; version <= 6; version++) {
            struct certify *certify = certify_at(0);
            assert_int_equal(certify_assign_position(certify, 0, current), 0);
            struct made made = make_with(WRITESET_FLAT8, version, 1, 0, TRX, "", NULL, 0);
            struct certify_result result = certify_ws(certify, &made.ws, 1, CERTIFY_FROM_GROUP);
            assert_int_equal(result.is_passed, accepted[current - 3][version - 3]);
            if (!result.is_passed) assert_int_equal(result.reason, CERTIFY_VERSION);
            free(made.bytes);
            certify_free(certify);
        }
    }
}

static void test_interval_and_initial_position(void **state) {
    struct certify *certify = certify_at(100);
    struct certify_result result = put(certify, 1, 99, TRX, "EX a");
    assert_int_equal(result.reason, CERTIFY_BEFORE_INITIAL);
    assert_true(put(certify, 1, 100, TRX, "EX a").is_passed);
    for (int64_t seqno = 103; seqno < 100 + CERTIFY_LENGTH_MAX; seqno++)
        assert_int_equal(certify_placeholder(certify, seqno), 0);
    assert_true(put(certify, 1, 100, TRX, "EX b").is_passed); /* seqno - last seen = 16384 */
    result = put(certify, 1, 100, TRX, "EX b");
    assert_int_equal(result.reason, CERTIFY_INTERVAL);
    assert_int_equal(result.depends, -1); /* nothing raised what last seen and PA range gave */
    result = put(certify, 1, 100, WRITESET_ROLLBACK_FRAGMENT, "");
    assert_false(result.is_passed);
    certify_free(certify);
}

static void test_preordered(void **state) {
    struct certify *certify = certify_at(10);
    static const struct {
        uint16_t range;
        int64_t depends;
    } events[] = {{1, 10}, {1, 11}, {3, 10}, {20, -1}, {1, 14}};
    for (size_t i = 0; i < 5; i++) {
        struct made made = make(1, 0, TRX | WRITESET_PREORDERED, "EX k");
        made.ws.header.pa_range = events[i].range;
        made.ws.header.transaction_id = i + 1;
        struct certify_result result = certify_ws(certify, &made.ws, certify_position(certify) + 1, CERTIFY_FROM_GROUP);
        assert_true(result.is_passed);
        assert_int_equal(result.depends, events[i].depends);
        free(made.bytes);
    }
    assert_true(put(certify, 2, 10, TRX, "EX k").is_passed); /* they are not in the index */
    certify_free(certify);
}

/* IST: no conflict test, but references and last PA-unsafe, so that later candidates meet the donor's index. */
static void test_from_ist(void **state) {
    struct certify *certify = certify_at(0);
    for (int64_t seqno = 1; seqno <= 4; seqno++) {
        struct made made = make(seqno == 1 ? 1 : 2, 0, TRX | (seqno == 2 ? WRITESET_PA_UNSAFE : 0), "EX k");
        writeset_mark_certified(&made.ws, made.bytes, seqno, 0);
        struct writeset image = read_ok(made.bytes, made.ws.size);
        struct certify_result result = certify_ws(certify, &image, seqno, CERTIFY_FROM_IST);
        assert_true(result.is_passed);
        assert_null(result.ticket);
        assert_int_equal(result.depends, seqno <= 2 ? 0 : 2);
        free(made.bytes);
    }
    assert_int_equal(stats_of(certify).intervals, 0); /* their last seen is unknown */
    assert_int_equal(stats_of(certify).passed, 4);
    assert_false(put(certify, 1, 3, TRX, "EX k").is_passed);
    assert_true(put(certify, 1, 4, TRX, "EX m").is_passed);
    certify_free(certify);
}

/* What an event may not be: the caller leaves the group. */
static void test_refused_events(void **state) {
    struct certify *certify = certify_at(10);
    struct certify_result result;
    struct xb_error error;
    struct made made = make(1, 10, TRX, "EX k");
    assert_int_equal(certify_writeset(certify, &made.ws, 10, CERTIFY_FROM_GROUP, &result, &error), -EEXIST);
    assert_int_equal(certify_writeset(certify, &made.ws, 11, CERTIFY_FROM_IST, &result, &error), -EPROTO);
    writeset_mark_certified(&made.ws, made.bytes, 11, 10);
    assert_int_equal(certify_writeset(certify, &made.ws, 11, CERTIFY_FROM_GROUP, &result, &error), -EPROTO);
    assert_int_equal(certify_writeset(certify, &made.ws, 12, CERTIFY_FROM_IST, &result, &error), -EPROTO);
    assert_int_equal(certify_placeholder(certify, 10), -EEXIST);
    assert_int_equal(certify_change_configuration(certify, 10, 6, NULL, 0, NULL), -EEXIST);
    assert_int_equal(certify_change_configuration(certify, 11, 7, NULL, 0, NULL), -EINVAL);
    assert_int_equal(certify_assign_position(certify, 11, 2), -EINVAL);
    assert_int_equal(certify_assign_position(certify, -2, 6), -EINVAL);
    assert_int_equal(certify_position(certify), 10);
    certify_reset(certify);
    assert_int_equal(certify_writeset(certify, &made.ws, 11, CERTIFY_FROM_IST, &result, &error), -EINVAL);
    free(made.bytes);
    certify_free(certify);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matrix_in_all_formats),
        cmocka_unit_test(test_only_latest_reference),
        cmocka_unit_test(test_references_by_type),
        cmocka_unit_test(test_failed_leaves_no_trace),
        cmocka_unit_test(test_doubles_inside),
        cmocka_unit_test(test_toi),
        cmocka_unit_test(test_server_key),
        cmocka_unit_test(test_pa_unsafe),
        cmocka_unit_test(test_implicit_dependencies),
        cmocka_unit_test(test_fragments),
        cmocka_unit_test(test_absurd_last_seen),
        cmocka_unit_test(test_versions),
        cmocka_unit_test(test_interval_and_initial_position),
        cmocka_unit_test(test_preordered),
        cmocka_unit_test(test_from_ist),
        cmocka_unit_test(test_refused_events),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
