/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every gcs message of the captures, decoded and encoded again, and broken ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "gcs/messages.h"

#include <errno.h>
#include "support/vectors.h"

#define RECORD_HEAD 17 /* user type, source */

/* An exact copy, so that the sanitizer sees a read beyond the end. */
static uint8_t *copy_of(const uint8_t *data, size_t size) {
    uint8_t *copy = malloc(size ? size : 1);
    assert_non_null(copy);
    if (size) memcpy(copy, data, size);
    return copy;
}

static size_t encode_again(uint8_t type, const uint8_t *payload, size_t size, uint8_t *to, size_t room) {
    struct xb_writer w = xb_writer_init(to, room);
    struct gcs_fragment fragment;
    struct gcs_state_message state;
    struct gcs_flow_message flow;
    struct gcs_code code;
    switch (type) {
    case GCS_MSG_ACTION:
        assert_int_equal(gcs_fragment_read(&fragment, payload, size), 0);
        gcs_fragment_write_header(xb_write_space(&w, GCS_FRAGMENT_HEADER_SIZE), &fragment);
        xb_write_bytes(&w, fragment.data, fragment.size);
        break;
    case GCS_MSG_STATE:
        assert_int_equal(gcs_state_message_read(&state, payload, size), 0);
        gcs_state_message_write(&w, &state);
        break;
    case GCS_MSG_FLOW:
        assert_int_equal(gcs_flow_read(&flow, payload, size), 0);
        gcs_flow_write(&w, &flow);
        break;
    case GCS_MSG_STATE_UUID:
        assert_int_equal(size, 16);
        xb_write_bytes(&w, payload, size);
        break;
    default:
        assert_true(type == GCS_MSG_LAST || type == GCS_MSG_JOIN || type == GCS_MSG_SYNC || type == GCS_MSG_VOTE);
        assert_int_equal(gcs_code_read(&code, payload, size), 0);
        gcs_code_write(&w, &code);
    }
    assert_true(xb_writer_ok(&w));
    return w.used;
}

static void test_captured_messages_are_encoded_alike(void **state) {
    struct vectors v = vectors_load("gcs");
    struct vector record;
    size_t counts[GCS_MSG_TYPES] = {0};
    uint8_t again[65536];
    while (vectors_next(&v, &record)) {
        uint8_t type = record.data[0];
        assert_true(type < GCS_MSG_TYPES);
        counts[type]++;
        size_t size = record.size - RECORD_HEAD;
        uint8_t *payload = copy_of(record.data + RECORD_HEAD, size);
        assert_int_equal(encode_again(type, payload, size, again, sizeof(again)), size);
        assert_memory_equal(again, payload, size);
        free(payload);
    }
    static const enum gcs_message_type needed[] = {GCS_MSG_ACTION, GCS_MSG_LAST, GCS_MSG_STATE_UUID, GCS_MSG_STATE,
                                                   GCS_MSG_JOIN,   GCS_MSG_SYNC, GCS_MSG_VOTE};
    for (size_t i = 0; i < sizeof(needed) / sizeof(*needed); i++) assert_true(counts[needed[i]] > 0);
    free(v.bytes);
}

/* Spec section 2.4; the captures kept here have no FLOW. */
static void test_flow_example(void **state) {
    static const uint8_t stop[GCS_FLOW_SIZE] = {3, 0, 0, 0, 1, 0, 0, 0};
    struct gcs_flow_message flow;
    assert_int_equal(gcs_flow_read(&flow, stop, sizeof(stop)), 0);
    assert_int_equal(flow.conf_id, 3);
    assert_int_equal(flow.stop, 1);
    uint8_t again[GCS_FLOW_SIZE];
    struct xb_writer w = xb_writer_init(again, sizeof(again));
    gcs_flow_write(&w, &flow);
    assert_memory_equal(again, stop, sizeof(stop));
    for (size_t size = 0; size <= 12; size++) {
        uint8_t *copy = calloc(1, size + 1);
        assert_int_equal(gcs_flow_read(&flow, copy, size) == 0, size == GCS_FLOW_SIZE);
        free(copy);
    }
}

static void test_state_message_example(void **state) { /* spec section 6 */
    struct vectors v = vectors_load("gcs");
    struct vector record;
    struct gcs_state_message s = {0};
    while (vectors_next(&v, &record))
        if (record.data[0] == GCS_MSG_STATE) break;
    assert_int_equal(gcs_state_message_read(&s, record.data + RECORD_HEAD, record.size - RECORD_HEAD), 0);
    assert_int_equal(s.version, 6);
    assert_int_equal(s.flags, GCS_STATE_REPRESENTATIVE | GCS_STATE_COUNTED);
    assert_int_equal(s.max.gcs, 5);
    assert_int_equal(s.max.repl, 11);
    assert_int_equal(s.max.appl, 4);
    assert_int_equal(s.primary_state, GCS_NODE_SYNCED);
    assert_int_equal(s.state, GCS_NODE_SYNCED);
    assert_int_equal(s.joined_count, 1);
    assert_int_equal(s.received, 1);
    assert_int_equal(s.primary_seqno, 1);
    assert_string_equal(s.name, "n1");
    assert_string_equal(s.incoming, "127.0.0.1:24010");
    assert_int_equal(s.cached, 1);
    assert_int_equal(s.desync_count, 0);
    assert_int_equal(s.last_applied, 0);
    assert_int_equal(s.vote_seqno, -1);
    assert_int_equal(s.vote_policy, 0);
    assert_int_equal(s.primary.gcs, 5);
    assert_int_equal(s.primary.repl, 11);
    assert_int_equal(s.primary.appl, 4);
    free(v.bytes);
}

static int read_any(uint8_t type, const uint8_t *payload, size_t size) {
    struct gcs_fragment fragment;
    struct gcs_state_message state;
    struct gcs_flow_message flow;
    struct gcs_code code;
    switch (type) {
    case GCS_MSG_ACTION:
        return gcs_fragment_read(&fragment, payload, size);
    case GCS_MSG_STATE:
        return gcs_state_message_read(&state, payload, size);
    case GCS_MSG_FLOW:
        return gcs_flow_read(&flow, payload, size);
    default:
        return gcs_code_read(&code, payload, size);
    }
}

static size_t shortest(uint8_t type, size_t size) {
    if (type == GCS_MSG_ACTION) return GCS_FRAGMENT_HEADER_SIZE + 1;
    return type == GCS_MSG_STATE ? size : GCS_CODE_SIZE;
}

static void test_truncated_messages_are_refused(void **state) {
    struct vectors v = vectors_load("gcs");
    struct vector record;
    while (vectors_next(&v, &record)) {
        uint8_t type = record.data[0];
        size_t size = record.size - RECORD_HEAD;
        if (type == GCS_MSG_STATE_UUID) continue;
        for (size_t n = 0; n < size && n < 300; n++) {
            uint8_t *payload = copy_of(record.data + RECORD_HEAD, n);
            assert_int_equal(read_any(type, payload, n) == 0, n >= shortest(type, size));
            free(payload);
        }
    }
    free(v.bytes);
}

/* Every byte of every small message set to extremes: whatever is read stays inside. */
static void test_changed_messages_do_no_harm(void **state) {
    static const uint8_t values[] = {0x00, 0x01, 0x7f, 0x80, 0xff};
    struct vectors v = vectors_load("gcs");
    struct vector record;
    size_t seen[GCS_MSG_TYPES] = {0};
    while (vectors_next(&v, &record)) {
        uint8_t type = record.data[0];
        size_t size = record.size - RECORD_HEAD;
        if (type == GCS_MSG_STATE_UUID || size > 2000 || seen[type]++ >= 12) continue;
        for (size_t i = 0; i < size; i++) {
            for (size_t k = 0; k < sizeof(values); k++) {
                uint8_t *payload = copy_of(record.data + RECORD_HEAD, size);
                payload[i] = values[k];
                read_any(type, payload, size);
                free(payload);
            }
        }
    }
    free(v.bytes);
}

static void test_bad_fields_are_refused(void **state) {
    struct gcs_fragment good = {.version = 5, .id = 0x00a1b2c3d4e5f6, .action_size = 1, .type = GCS_WRITESET};
    uint8_t bytes[GCS_FRAGMENT_HEADER_SIZE + 1] = {0};
    struct gcs_fragment read;
    gcs_fragment_write_header(bytes, &good);
    assert_int_equal(gcs_fragment_read(&read, bytes, sizeof(bytes)), 0);
    assert_int_equal(read.id, good.id);
    assert_int_equal(bytes[0], 5);
    assert_int_equal(bytes[7], 0xf6); /* big-endian */
    good.action_size = 0;
    gcs_fragment_write_header(bytes, &good);
    assert_int_equal(gcs_fragment_read(&read, bytes, sizeof(bytes)), -EPROTO);
    good.action_size = 0x80000000u;
    gcs_fragment_write_header(bytes, &good);
    assert_int_equal(gcs_fragment_read(&read, bytes, sizeof(bytes)), -EPROTO);
    good.action_size = GCS_ACTION_SIZE_MAX;
    gcs_fragment_write_header(bytes, &good);
    assert_int_equal(gcs_fragment_read(&read, bytes, sizeof(bytes)), 0);
    assert_int_equal(gcs_fragment_read(&read, bytes, GCS_FRAGMENT_HEADER_SIZE), -EPROTO); /* no data */
}

/* Versions 3 to 5 have less; a later one may append (spec section 6). */
static void test_state_message_versions(void **state) {
    struct gcs_state_message s = {.max = {5, 11, 4},
                                  .state = GCS_NODE_DONOR,
                                  .primary_state = GCS_NODE_DONOR,
                                  .name = "n",
                                  .incoming = "a",
                                  .cached = 7,
                                  .desync_count = 3,
                                  .last_applied = 9,
                                  .vote_seqno = 11,
                                  .vote_value = -5,
                                  .vote_policy = 2,
                                  .primary = {5, 11, 4}};
    uint8_t bytes[GCS_STATE_FIXED_SIZE + 4 + 8] = {0};
    struct xb_writer w = xb_writer_init(bytes, sizeof(bytes));
    gcs_state_message_write(&w, &s);
    size_t full = w.used, tail = full - 41;
    static const size_t tail_sizes[] = {[3] = 9, [4] = 13, [5] = 38, [6] = 41, [7] = 41};
    for (uint8_t version = 3; version <= 7; version++) {
        bytes[0] = version;
        size_t size = tail + tail_sizes[version];
        uint8_t *copy = copy_of(bytes, size - 1);
        struct gcs_state_message read;
        assert_int_equal(gcs_state_message_read(&read, copy, size - 1), -EPROTO);
        free(copy);
        assert_int_equal(gcs_state_message_read(&read, bytes, size), 0);
        assert_int_equal(gcs_state_message_read(&read, bytes, sizeof(bytes)), 0);
        assert_int_equal(read.cached, 7);
        assert_int_equal(read.desync_count, version >= 4 ? 3 : 0);
        assert_int_equal(read.last_applied, version >= 5 ? 9 : 0);
        assert_int_equal(read.vote_policy, version >= 5 ? 2 : 1);
        assert_int_equal(read.primary.repl, version >= 6 ? 11 : 0);
    }
    struct gcs_state_message read;
    bytes[0] = 2;
    assert_int_equal(gcs_state_message_read(&read, bytes, full), -EPROTO);
    bytes[0] = 5;
    bytes[2] = 1; /* a sender of gcs protocol 1 has nothing useful in those fields */
    assert_int_equal(gcs_state_message_read(&read, bytes, full), 0);
    assert_int_equal(read.last_applied, 0);
    assert_int_equal(read.vote_policy, 1);
    bytes[0] = 6;
    bytes[5] = 6; /* no such node state */
    assert_int_equal(gcs_state_message_read(&read, bytes, full), -EPROTO);
}

static void test_state_requests(void **state) { /* spec section 11.1 */
    struct vectors v = vectors_load("gcs");
    struct vector record;
    size_t full = 0, ist = 0, desync = 0;
    while (vectors_next(&v, &record)) {
        struct gcs_fragment fragment;
        if (record.data[0] != GCS_MSG_ACTION) continue;
        assert_int_equal(gcs_fragment_read(&fragment, record.data + RECORD_HEAD, record.size - RECORD_HEAD), 0);
        if (fragment.type != GCS_STATE_REQ) continue;
        struct gcs_request request;
        assert_int_equal(gcs_request_read(&request, fragment.data, fragment.size), 0);
        if (!strcmp(request.donors, GCS_SELF_DESYNC)) {
            desync++;
            assert_int_equal(request.version, 2);
            assert_int_equal(fragment.size - request.body, 1);
        } else if (request.version == 0) { /* the arbitrator's */
            assert_memory_equal(fragment.data + request.body, "trivial", 8);
            assert_int_equal(request.ist_seqno, -1);
        } else {
            full += request.ist_seqno == -1;
            ist += request.ist_seqno > 0;
            assert_int_equal(request.version, 3);
            assert_memory_equal(fragment.data + request.body, "STRv1", 6);
        }
        for (size_t n = 0; n < request.body; n++) {
            uint8_t *copy = copy_of(fragment.data, n);
            struct gcs_request cut;
            int result = gcs_request_read(&cut, copy, n);
            /* Without the version block it is a request of version 0. */
            size_t donors = strlen(request.donors);
            if (n <= donors || (request.version && n > donors + 2)) assert_int_equal(result, -EPROTO);
            free(copy);
        }
    }
    assert_true(full > 0 && ist > 0 && desync > 0);
    struct gcs_request request;
    assert_int_equal(gcs_request_read(&request, (const uint8_t *)"\0trivial\0", 10), 0);
    assert_int_equal(request.version, 0);
    assert_int_equal(request.body, 1);
    free(v.bytes);
}

static void test_vote_value(void **state) { /* spec sections 2.4, 15.1 */
    struct vectors v = vectors_load("gcs");
    struct vector record;
    size_t checked = 0;
    while (vectors_next(&v, &record)) {
        struct gcs_code code;
        if (record.data[0] != GCS_MSG_VOTE) continue;
        assert_int_equal(gcs_code_read(&code, record.data + RECORD_HEAD, record.size - RECORD_HEAD), 0);
        if (code.code == 0) continue;
        assert_true(code.text_size > 1); /* the text with its own NUL, and one more */
        assert_int_equal(gcs_vote_value(&code.group_uuid, code.seqno, code.text, code.text_size - 1), code.code);
        checked++;
    }
    assert_true(checked > 0);
    struct xb_uuid uuid;
    assert_int_equal(xb_uuid_parse(&uuid, "e02aba18-e7b2-11f1-aacf-d2eecc285af3"), 0);
    static const char text[] = " Duplicate entry '5000' for key 'PRIMARY', Error_code: 1062;";
    assert_int_equal(sizeof(text), 61);
    assert_int_equal((uint64_t)gcs_vote_value(&uuid, 546, text, sizeof(text)), UINT64_C(0x8b8924109896e003));
    free(v.bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_captured_messages_are_encoded_alike),
        cmocka_unit_test(test_flow_example),
        cmocka_unit_test(test_state_message_example),
        cmocka_unit_test(test_truncated_messages_are_refused),
        cmocka_unit_test(test_changed_messages_do_no_harm),
        cmocka_unit_test(test_bad_fields_are_refused),
        cmocka_unit_test(test_state_message_versions),
        cmocka_unit_test(test_state_requests),
        cmocka_unit_test(test_vote_value),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
