/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The verdicts of a stock cluster: all write sets of plain.pcap in their order, certified anew. Order, configuration
 * changes, failures and dependencies are taken from what the stock donor sent by IST; spec 06 section 27.8 names some.
 */
#include "support/vectors.h"
#include "unit/certify/support.h"

#define IST_HEADER 24
#define SEQNOS 114 /* of the first cluster: 2..113 */

enum { IST_TRX = 4, IST_CCHANGE = 5, IST_SKIP = 6 };

struct event {
    int type;            /* 0: not known */
    struct vector image; /* certified */
    struct vector sent;  /* as the group got it */
    bool is_used;
};

/* The first occurrence of each seqno is the first cluster's. */
static void load_events(struct event *events, struct vectors *ist) {
    struct vector message;
    while (vectors_next(ist, &message)) {
        const uint8_t *header = message.data + 1;
        int64_t seqno;
        if (message.size < 1 + IST_HEADER || header[1] < IST_TRX || header[1] > IST_SKIP) continue;
        memcpy(&seqno, header + 8, 8);
        if (seqno < 0 || seqno >= SEQNOS || events[seqno].type != 0) continue;
        events[seqno].type = header[1];
        events[seqno].image = (struct vector){.data = header + IST_HEADER, .size = message.size - 1 - IST_HEADER};
    }
}

/* Finds the group's form of every image; the two that failed have none and are told by what is known of them. */
static void match_sent(struct event *events, struct vectors *sent) {
    struct vector record;
    while (vectors_next(sent, &record)) {
        struct writeset ws = read_ok(record.data, record.size);
        int64_t found = -1;
        for (int64_t seqno = 2; seqno < SEQNOS && found < 0; seqno++) {
            const struct vector *image = &events[seqno].image;
            if (events[seqno].type == IST_TRX && image->size == record.size &&
                memcmp(image->data + 16, record.data + 16, 40) == 0)
                found = seqno;
        }
        if (found < 0 && ws.header.seqno == 34) found = 36;
        if (found < 0 && ws.header.seqno == 79) found = 81;
        if (found >= 0 && !events[found].sent.data) events[found].sent = record;
    }
}

static void test_plain_capture(void **state) {
    static struct event events[SEQNOS];
    struct vectors ist = vectors_load("ist"), sent = vectors_load("writeset");
    load_events(events, &ist);
    match_sent(events, &sent);
    struct certify *certify = certify_at(1);
    struct xb_uuid member = node_uuid(1);
    int passed = 0, failed = 0;
    int64_t depends[SEQNOS] = {0};
    for (int64_t seqno = 2; seqno < SEQNOS; seqno++) {
        if (events[seqno].type == IST_CCHANGE) {
            assert_int_equal(certify_change_configuration(certify, seqno, 6, &member, 1, NULL), 0);
            continue;
        }
        assert_non_null(events[seqno].sent.data);
        uint8_t *bytes = malloc(events[seqno].sent.size);
        memcpy(bytes, events[seqno].sent.data, events[seqno].sent.size);
        struct writeset ws = read_ok(bytes, events[seqno].sent.size);
        struct certify_result result = certify_ws(certify, &ws, seqno, CERTIFY_FROM_GROUP);
        depends[seqno] = result.depends;
        assert_int_equal(result.is_passed, events[seqno].type == IST_TRX);
        assert_int_equal(result.is_skip, events[seqno].type == IST_SKIP);
        writeset_mark_certified(&ws, bytes, seqno, result.depends);
        if (result.is_passed) {
            assert_memory_equal(bytes, events[seqno].image.data, ws.size);
            passed++;
        } else {
            assert_int_equal(result.reason, CERTIFY_CONFLICT);
            assert_int_equal(result.conflict.own_type, WRITESET_KEY_UPDATE);
            assert_int_equal(result.conflict.other_type, WRITESET_KEY_UPDATE);
            failed++;
        }
        free(bytes);
    }
    assert_int_equal(passed, 100);
    assert_int_equal(failed, 2);
    static const int64_t named[][2] = {{8, 5},   {10, 7},  {12, 8},  {17, 5},  {18, 17}, {19, 18}, {20, 19},
                                       {22, 21}, {35, 34}, {37, 35}, {86, 85}, {95, 85}, {105, 85}};
    for (size_t i = 0; i < sizeof(named) / sizeof(named[0]); i++) assert_int_equal(depends[named[i][0]], named[i][1]);
    certify_free(certify);
    free(ist.bytes);
    free(sent.bytes);
}

/* A joiner that takes the donor's images gets an index that gives the same verdicts afterwards. */
static void test_joiner_agrees(void **state) {
    static struct event events[SEQNOS];
    struct vectors ist = vectors_load("ist"), sent = vectors_load("writeset");
    load_events(events, &ist);
    match_sent(events, &sent);
    for (int64_t join_at = 3; join_at < 100; join_at += 8) {
        struct certify *donor = certify_at(1), *joiner = certify_at(1);
        struct xb_uuid member = node_uuid(1);
        for (int64_t seqno = 2; seqno < SEQNOS; seqno++) {
            if (events[seqno].type == IST_CCHANGE) {
                certify_change_configuration(donor, seqno, 6, &member, 1, NULL);
                certify_change_configuration(joiner, seqno, 6, &member, 1, NULL);
                continue;
            }
            struct writeset live = read_ok(events[seqno].sent.data, events[seqno].sent.size);
            struct certify_result of_donor = certify_ws(donor, &live, seqno, CERTIFY_FROM_GROUP);
            if (seqno > join_at) {
                struct certify_result of_joiner = certify_ws(joiner, &live, seqno, CERTIFY_FROM_GROUP);
                assert_int_equal(of_joiner.is_passed, of_donor.is_passed);
                assert_int_equal(of_joiner.depends, of_donor.depends);
            } else if (events[seqno].type == IST_SKIP) {
                assert_int_equal(certify_placeholder(joiner, seqno), 0);
            } else {
                struct writeset image = read_ok(events[seqno].image.data, events[seqno].image.size);
                struct certify_result result = certify_ws(joiner, &image, seqno, CERTIFY_FROM_IST);
                assert_true(result.is_passed);
                assert_null(result.ticket);
                assert_int_equal(result.depends, of_donor.depends);
            }
        }
        certify_free(donor);
        certify_free(joiner);
    }
    free(ist.bytes);
    free(sent.bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_capture),
        cmocka_unit_test(test_joiner_agrees),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
