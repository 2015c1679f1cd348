/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Positions, finishing, reports and purging (spec 06 sections 17 and 18). */
#include "unit/certify/support.h"

#include <pthread.h>

static void test_positions(void **state) {
    struct certify_config config = {.hash_secret = {1, 2}, .is_optimistic_pa = true};
    struct certify *certify = certify_new(&config, NULL);
    assert_int_equal(certify_position(certify), -1);
    assert_int_equal(certify_lowest_seqno(certify), -1);
    bool is_dropped = false;
    struct xb_uuid member = node_uuid(1);
    /* First node of a group: its first configuration change. */
    assert_int_equal(certify_change_configuration(certify, 1, 6, &member, 1, &is_dropped), 0);
    assert_true(is_dropped);
    assert_int_equal(certify_position(certify), 1);
    assert_int_equal(certify_lowest_seqno(certify), 1);
    put(certify, 1, 1, TRX, "EX a"); /* 2 */
    put(certify, 1, 1, TRX, "EX b"); /* 3 */
    assert_int_equal(certify_lowest_seqno(certify), 2);
    /* A change in the same version keeps the index, and all that follows depends on it. */
    assert_int_equal(certify_change_configuration(certify, 4, 6, &member, 1, &is_dropped), 0);
    assert_false(is_dropped);
    assert_int_equal(certify_lowest_seqno(certify), 2);
    assert_int_equal(put(certify, 1, 4, TRX, "EX c").depends, 4);
    assert_false(put(certify, 2, 1, TRX, "EX a").is_passed);
    /* Another version drops it. */
    assert_int_equal(certify_change_configuration(certify, 7, 5, &member, 1, &is_dropped), 0);
    assert_true(is_dropped);
    assert_int_equal(certify_lowest_seqno(certify), 7);
    assert_int_equal(stats_of(certify).index_size, 0);
    certify_reset(certify);
    assert_int_equal(certify_position(certify), -1);
    assert_int_equal(certify_assign_position(certify, 41, 6), 0);
    assert_int_equal(certify_safe_to_discard(certify), 41);
    assert_int_equal(put(certify, 1, 41, TRX, "EX a").depends, 41); /* first one: seqno - 1 */
    certify_free(certify);
}

static void test_safe_to_discard(void **state) {
    struct certify *certify = certify_at(10);
    struct certify_ticket *a = put(certify, 1, 10, TRX, "EX a").ticket; /* 11 */
    struct certify_ticket *b = put(certify, 1, 10, TRX, "EX b").ticket; /* 12 */
    struct certify_ticket *c = put(certify, 1, 12, TRX, "EX c").ticket; /* 13 */
    struct certify_ticket *d = put(certify, 2, 10, TRX, "EX c").ticket; /* 14 fails, counts all the same */
    assert_int_equal(certify_safe_to_discard(certify), 9);
    certify_finish(certify, c);
    assert_int_equal(certify_safe_to_discard(certify), 9);
    certify_finish(certify, a);
    certify_finish(certify, b);
    assert_int_equal(certify_safe_to_discard(certify), 9);
    certify_finish(certify, d);
    assert_int_equal(certify_safe_to_discard(certify), 10); /* the last one's */
    struct certify_ticket *e = put(certify, 1, 14, TRX, "EX e").ticket;
    assert_int_equal(certify_safe_to_discard(certify), 13);
    certify_finish(certify, e);
    assert_int_equal(certify_safe_to_discard(certify), 14);
    certify_free(certify);
}

/* A report is due when finishing after more than 127 write sets, 1024 keys or 128 MiB. */
static void test_reports(void **state) {
    struct certify *certify = certify_at(0);
    struct certify_ticket *tickets[400];
    int due = 0;
    for (int i = 0; i < 400; i++) tickets[i] = put(certify, 1, i, TRX, "EX k").ticket;
    assert_int_equal(certify_take_report(certify, 400), -1); /* safe to discard is -1: nothing to say */
    for (int i = 0; i < 400; i++) due += certify_finish(certify, tickets[i]);
    assert_int_equal(due, 0); /* the counters were reset */
    for (int i = 0; i < 128; i++) {
        bool is_due = certify_finish(certify, put(certify, 1, 400 + i, TRX, "EX k").ticket);
        assert_int_equal(is_due, i == 127);
    }
    assert_int_equal(certify_take_report(certify, 500), 500); /* last committed is lower */
    assert_int_equal(certify_take_report(certify, 528), 527); /* last seen of the last one */
    assert_int_equal(certify_take_report(certify, 528), -1);
    assert_int_equal(certify_take_report(certify, 100), -1);

    struct writeset_builder *builder = builder_new(WRITESET_FLAT8);
    for (uint32_t row = 0; row < 1025; row++) {
        struct iovec key = {&row, sizeof(row)};
        writeset_builder_add_key(builder, &key, 1, WRITESET_KEY_SHARED);
    }
    struct writeset_header header = {.version = 6, .flags = TRX, .seqno = 528, .pa_range = 65535};
    size_t size;
    uint8_t *bytes = build(builder, &header, &size);
    struct writeset ws = read_ok(bytes, size);
    assert_true(certify_finish(certify, certify_ws(certify, &ws, 529, CERTIFY_FROM_GROUP).ticket));
    assert_int_equal(certify_take_report(certify, 529), 528);
    free(bytes);

    writeset_builder_reset(builder, NULL);
    uint8_t *large = calloc(1, CERTIFY_REPORT_BYTES);
    writeset_builder_add_data(builder, WRITESET_DATA_ORDERED, large, CERTIFY_REPORT_BYTES, false);
    header.seqno = 529;
    bytes = build(builder, &header, &size);
    ws = read_ok(bytes, size);
    assert_true(certify_finish(certify, certify_ws(certify, &ws, 530, CERTIFY_FROM_GROUP).ticket));
    free(bytes);
    free(large);
    writeset_builder_free(builder);
    certify_free(certify);
}

/* Invariant 6: after purging everything the index is empty. */
static void test_purge(void **state) {
    struct certify *certify = certify_at(0);
    struct certify_ticket *tickets[50];
    for (int i = 0; i < 50; i++) {
        char keys[64];
        snprintf(keys, sizeof(keys), "EX t/a/%d, UP t/b, 0", i % 7);
        tickets[i] = put(certify, i % 3, i, i % 11 == 0 ? TOI_WHOLE : TRX, keys).ticket;
    }
    assert_int_equal(certify_purge(certify, 50), -1); /* nothing is finished */
    assert_int_equal(stats_of(certify).length, 50);
    for (int i = 0; i < 20; i++) certify_finish(certify, tickets[i]);
    assert_int_equal(certify_purge(certify, 10), 10);
    assert_int_equal(certify_lowest_seqno(certify), 11);
    assert_int_equal(certify_purge(certify, 50), 19); /* last seen of the 21st is 20 */
    assert_int_equal(certify_lowest_seqno(certify), 20);
    for (int i = 20; i < 50; i++) certify_finish(certify, tickets[i]);
    struct certify_result last = put(certify, 1, 50, TRX, "EX z");
    assert_int_equal(stats_of(certify).index_size, 12); /* t, t/a, 7 rows, t/b, zero level, z */
    certify_finish(certify, last.ticket);
    assert_int_equal(certify_purge(certify, 51), 50);
    assert_int_equal(certify_lowest_seqno(certify), 51);
    put(certify, 1, 51, TRX, "");
    assert_int_equal(stats_of(certify).index_size, 1); /* z */
    certify_free(certify);
}

/* Without commit cuts the map is trimmed at every 128th seqno above 16384, as far as transactions are finished. */
static void test_trim(void **state) {
    struct certify *certify = certify_at(0);
    struct certify_ticket *stuck = put(certify, 1, 0, TRX, "EX k").ticket;
    int64_t seqno = 2;
    for (; seqno <= 17000; seqno++) assert_int_equal(certify_placeholder(certify, seqno), 0);
    assert_int_equal(certify_lowest_seqno(certify), 1);
    certify_finish(certify, stuck); /* remembered: 0 */
    certify_finish(certify, put(certify, 1, 17000, TRX, "EX m").ticket);
    for (seqno = 17002; seqno < 17024; seqno++) certify_placeholder(certify, seqno);
    assert_int_equal(certify_lowest_seqno(certify), 1);
    certify_placeholder(certify, 17024); /* 17024 & 127 == 0 */
    assert_int_equal(certify_lowest_seqno(certify), 17024 - 16384 + 1);
    certify_free(certify);
}

/* Tickets that are out when the index is dropped may still be given back. */
static void test_reset_with_tickets_out(void **state) {
    for (int when = 0; when < 3; when++) {
        struct certify *certify = certify_at(0);
        struct certify_ticket *tickets[600];
        for (int i = 0; i < 600; i++) tickets[i] = put(certify, 1, i, TRX, "EX k").ticket;
        for (int i = 0; i < 200; i++) certify_finish(certify, tickets[i]);
        if (when == 1) certify_purge(certify, 100);
        if (when == 2) assert_int_equal(certify_change_configuration(certify, 601, 5, NULL, 0, NULL), 0);
        if (when != 2) certify_reset(certify);
        for (int i = 200; i < 300; i++) certify_finish(certify, tickets[i]);
        if (when != 2) assert_int_equal(certify_assign_position(certify, 1000, 6), 0);
        struct certify_ticket *fresh[600];
        for (int i = 0; i < 600; i++) {
            struct made made = make_with(WRITESET_FLAT8, 5, 1, 1000, TRX, "EX k", NULL, 0);
            fresh[i] = certify_ws(certify, &made.ws, 1001 + i, CERTIFY_FROM_GROUP).ticket;
            free(made.bytes);
        }
        for (int i = 300; i < 600; i++) certify_finish(certify, tickets[i]);
        assert_int_equal(certify_safe_to_discard(certify), 999);
        for (int i = 0; i < 600; i++) certify_finish(certify, fresh[i]);
        assert_int_equal(certify_safe_to_discard(certify), 1000);
        certify_free(certify);
    }
}

/* wsrep_cert_deps_distance, wsrep_cert_interval */
static void test_stats(void **state) {
    struct certify *certify = certify_at(0);
    put(certify, 1, 0, TRX, "EX a"); /* depends 0, interval 0 */
    put(certify, 1, 0, TRX, "EX b"); /* depends 0: distance 2, interval 1 */
    put(certify, 1, 2, TRX, "EX b"); /* depends 2: distance 1, interval 0 */
    put(certify, 2, 0, TRX, "EX b"); /* fails */
    struct certify_stats stats = stats_of(certify);
    assert_int_equal(stats.passed, 3);
    assert_int_equal(stats.deps_distance_sum, 4);
    assert_int_equal(stats.intervals, 3);
    assert_int_equal(stats.interval_sum, 1);
    assert_int_equal(stats.failed, 1);
    assert_int_equal(stats.index_size, 2);
    assert_int_equal(stats.length, 4);
    certify_free(certify);
}

/* ---- very large write sets ---- */

#define LARGE_KEYS 60000

static struct made make_large(int node, int64_t last_seen, enum writeset_key_type type) {
    struct writeset_builder *builder = builder_new(WRITESET_FLAT16);
    for (uint32_t row = 0; row < LARGE_KEYS; row++) {
        struct iovec key = {&row, sizeof(row)};
        assert_int_equal(writeset_builder_add_key(builder, &key, 1, type), 0);
    }
    struct writeset_header header = {
        .version = 6, .flags = TRX, .seqno = last_seen, .pa_range = 65535, .source = node_uuid(node)};
    size_t size;
    struct made made = {.bytes = build(builder, &header, &size)};
    made.ws = read_ok(made.bytes, size);
    writeset_builder_free(builder);
    return made;
}

/* -> how many calls it took */
static int certify_in_slices(struct certify *certify, const struct writeset *ws, int64_t seqno,
                             struct certify_result *result) {
    struct xb_error error;
    struct certify_result none;
    struct made other = make(3, seqno - 1, TRX, "EX k");
    struct certify_conflict conflict;
    struct xb_uuid source = node_uuid(3);
    int calls = 1, rc = certify_begin(certify, ws, seqno, CERTIFY_FROM_GROUP, result, &error);
    for (; rc > 0; calls++) {
        /* Nothing else is taken in between. */
        assert_int_equal(certify_writeset(certify, &other.ws, seqno + 1, CERTIFY_FROM_GROUP, &none, &error), -EBUSY);
        assert_int_equal(certify_placeholder(certify, seqno + 1), -EBUSY);
        assert_int_equal(certify_change_configuration(certify, seqno + 1, 6, NULL, 0, NULL), -EBUSY);
        assert_false(certify_is_doomed(certify, &other.ws.keys, &source, -1, &conflict));
        certify_purge(certify, seqno);
        assert_false(certify_purge_more(certify));
        rc = certify_continue(certify, result, &error);
    }
    assert_int_equal(rc, 0);
    free(other.bytes);
    return calls;
}

static void test_slices(void **state) {
    struct certify *certify = certify_at(0);
    struct made first = make_large(1, 0, WRITESET_KEY_EXCLUSIVE), second = make_large(2, 0, WRITESET_KEY_SHARED);
    struct certify_result result;
    assert_true(certify_in_slices(certify, &first.ws, 1, &result) >= 2 * LARGE_KEYS / 8192);
    assert_true(result.is_passed);
    assert_int_equal(stats_of(certify).index_size, LARGE_KEYS);
    certify_finish(certify, result.ticket);
    assert_int_equal(certify_in_slices(certify, &second.ws, 2, &result), 1); /* fails at its first key */
    assert_int_equal(result.reason, CERTIFY_CONFLICT);
    certify_finish(certify, result.ticket);
    second.ws.header.seqno = 2;
    certify_in_slices(certify, &second.ws, 3, &result);
    assert_true(result.is_passed);
    assert_int_equal(result.depends, 1);
    certify_finish(certify, result.ticket);

    /* Purging: at once for all that asks, bit by bit in fact. */
    assert_int_equal(certify_purge(certify, 3), 2);
    assert_int_equal(certify_lowest_seqno(certify), 3);
    assert_int_equal(stats_of(certify).length, 3);
    int calls = 1;
    for (; certify_purge_more(certify); calls++) assert_int_equal(certify_lowest_seqno(certify), 3);
    assert_true(calls >= LARGE_KEYS / 16384);
    assert_int_equal(stats_of(certify).length, 1);
    result = put(certify, 2, 3, TRX, "");
    certify_finish(certify, result.ticket);
    assert_int_equal(certify_purge(certify, 4), 3);
    assert_int_equal(certify_lowest_seqno(certify), 4);
    /* What is left over goes beside later events, and holds back nobody. */
    for (int i = 0; i < 100; i++) assert_int_equal(put(certify, 3, 4, TRX, "EX m").depends, i == 0 ? 3 : 4 + i);
    assert_int_equal(stats_of(certify).index_size, 1);
    certify_free(certify);

    /* A reset abandons what is under way. */
    certify = certify_at(0);
    struct xb_error error;
    assert_int_equal(certify_begin(certify, &first.ws, 1, CERTIFY_FROM_GROUP, &result, &error), 1);
    for (int i = 0; i < 10; i++) assert_int_equal(certify_continue(certify, &result, &error), 1);
    certify_reset(certify);
    assert_int_equal(certify_assign_position(certify, 5, 6), 0);
    assert_true(put(certify, 2, 5, TRX, "SH k").is_passed);
    assert_int_equal(stats_of(certify).index_size, 1);
    certify_free(certify);
    free(first.bytes);
    free(second.bytes);
}

/* ---- finishing from other threads ---- */

#define FINISHERS 3
#define PER_ROUND 300

struct finisher {
    struct certify *certify;
    struct certify_ticket *tickets[PER_ROUND];
    int count, due;
};

static void *finish_all(void *arg) {
    struct finisher *finisher = arg;
    for (int i = 0; i < finisher->count; i++) {
        finisher->due += certify_finish(finisher->certify, finisher->tickets[i]);
        struct certify_stats stats;
        certify_get_stats(finisher->certify, &stats);
    }
    return NULL;
}

static void test_finish_from_threads(void **state) {
    struct certify *certify = certify_at(0);
    int due = 0, reports = 0;
    for (int round = 0; round < 6; round++) {
        struct finisher finishers[FINISHERS] = {0};
        pthread_t threads[FINISHERS];
        for (int i = 0; i < FINISHERS * PER_ROUND; i++) {
            int64_t last_seen = certify_position(certify);
            struct finisher *finisher = &finishers[i % FINISHERS];
            finisher->tickets[finisher->count++] = put(certify, 1, last_seen, TRX, "EX k").ticket;
        }
        for (int i = 0; i < FINISHERS; i++) {
            finishers[i].certify = certify;
            assert_int_equal(pthread_create(&threads[i], NULL, finish_all, &finishers[i]), 0);
        }
        for (int i = 0; i < 100; i++) { /* meanwhile the group thread works on */
            struct certify_ticket *ticket = put(certify, 2, certify_position(certify), TRX, "EX m").ticket;
            due += certify_finish(certify, ticket);
            certify_purge(certify, certify_position(certify));
            reports += certify_take_report(certify, certify_position(certify)) >= 0;
        }
        for (int i = 0; i < FINISHERS; i++) {
            pthread_join(threads[i], NULL);
            due += finishers[i].due;
        }
        assert_true(certify_safe_to_discard(certify) >= certify_position(certify) - FINISHERS * PER_ROUND - 101);
    }
    assert_true(due > 0);
    assert_true(reports > 0);
    certify_purge(certify, certify_position(certify));
    assert_true(stats_of(certify).length <= FINISHERS * PER_ROUND + 101);
    certify_free(certify);
}

/* ---- logging ---- */

struct lines {
    int count;
    char last[2048];
};

static void keep_line(void *ctx, enum xb_log_level level, const char *line) {
    struct lines *lines = ctx;
    lines->count++;
    snprintf(lines->last, sizeof(lines->last), "%s", line);
}

static void test_conflict_log(void **state) {
    struct lines lines = {0};
    struct xb_log log = {.write = keep_line, .ctx = &lines};
    struct certify_config config = {.hash_secret = {1, 2}, .is_optimistic_pa = true};
    struct certify *certify = certify_new(&config, &log);
    certify_assign_position(certify, 0, 6);
    put(certify, 1, 0, TRX, "EX a");
    lines.count = 0;
    put(certify, 2, 0, TRX, "UP a");
    assert_int_equal(lines.count, 0);
    certify_set_log_conflicts(certify, true);
    put(certify, 2, 0, TRX, "UP a");
    assert_int_equal(lines.count, 1);
    assert_non_null(strstr(lines.last, "conflict UP - EX"));
    assert_non_null(strstr(lines.last, "seqno 3 last seen 0"));
    assert_non_null(strstr(lines.last, "seqno 1 last seen 0"));
    for (int i = 0; i < 500; i++) put(certify, 2, 0, TRX, "UP a"); /* a flood is cut short */
    assert_true(lines.count < 50);
    for (int i = 0; i < 1000; i++) put(certify, 2, 0, TRX, "UP a");
    assert_true(lines.count > 50 && lines.count < 100); /* and goes on later */
    certify_free(certify);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_positions),
        cmocka_unit_test(test_safe_to_discard),
        cmocka_unit_test(test_reports),
        cmocka_unit_test(test_purge),
        cmocka_unit_test(test_trim),
        cmocka_unit_test(test_reset_with_tickets_out),
        cmocka_unit_test(test_stats),
        cmocka_unit_test(test_slices),
        cmocka_unit_test(test_finish_from_threads),
        cmocka_unit_test(test_conflict_log),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
