/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The bytes of PC messages: captured ones, the worked examples of spec 04 section 4, malformed ones; quorum. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "bus.h"
#include "pc/pc_internal.h"
#include "support/vectors.h"

static size_t from_hex(const char *hex, uint8_t *bytes) {
    size_t size = 0;
    for (; *hex; hex++) {
        if (*hex == ' ') continue;
        unsigned value;
        assert_int_equal(sscanf(hex, "%2x", &value), 1);
        bytes[size++] = (uint8_t)value;
        hex++;
    }
    return size;
}

/* Decodes and encodes again: -> 0 and the bytes are the same, or the decoder's error. */
static int round_trip(const uint8_t *data, size_t size) {
    struct xb_reader r = xb_reader_init(data, size);
    struct pc_header header;
    struct xb_error error;
    int result = pc_header_read(&r, &header, &error);
    if (result) return result;
    uint8_t bytes[PC_HEADER_SIZE];
    pc_header_write(bytes, &header);
    assert_memory_equal(bytes, data, sizeof(bytes));
    if (header.type == PC_USER) return 0;
    struct pc_map map = {0};
    result = pc_map_read(&r, &map, &error);
    if (result) {
        assert_null(map.nodes);
        return result;
    }
    struct xb_buf *buf = pc_map_message(&header, map.nodes, map.count);
    assert_int_equal(buf->size, size);
    assert_memory_equal(xb_buf_data(buf), data, size);
    xb_buf_unref(buf);
    pc_map_clear(&map);
    return 0;
}

static void test_vectors(void **state) {
    (void)state;
    struct vectors v = vectors_load("pc");
    struct vector record;
    size_t counts[4] = {0};
    while (vectors_next(&v, &record)) {
        assert_int_equal(round_trip(record.data + 1, record.size - 1), 0);
        counts[record.data[2]]++;
    }
    assert_true(counts[PC_STATE] > 10 && counts[PC_INSTALL_MESSAGE] > 5 && counts[PC_USER] > 100);
    free(v.bytes);
}

/* Section 4.1 to 4.5 and 4.7 */
static void test_worked_examples(void **state) {
    (void)state;
    uint8_t bytes[512];
    size_t size = from_hex("01 01 0000 00000000 01000000 48aa9986e7b111f196d3ffce42259894 02000001 ffffffff "
                           "00000000000000000000000000000000 00000080 ffffffffffffffff",
                           bytes);
    assert_int_equal(round_trip(bytes, size), 0);
    struct xb_uuid uuid;
    memcpy(uuid.bytes, bytes + 12, 16);
    struct pc_node joiner = pc_node_init(&uuid);
    joiner.weight = 1;
    struct pc_header header = {.version = 1, .type = PC_STATE};
    struct xb_buf *buf = pc_map_message(&header, &joiner, 1);
    assert_int_equal(buf->size, size);
    assert_memory_equal(xb_buf_data(buf), bytes, size);
    xb_buf_unref(buf);

    size = from_hex("41 02 0000 00000000 03000000"
                    "866c99eae7b411f1a4d70bf5102dd6af 03000001 04000000 866c99eae7b411f1a4d70bf5102dd6af 020000c0 "
                    "0a00000000000000"
                    "872c28b6e7b411f1a93926bcb9fa963b 03000003 04000000 866c99eae7b411f1a4d70bf5102dd6af 020000c0 "
                    "0a00000000000000"
                    "8d1b7a66e7b411f18c844e5ac0c56fa5 02000001 ffffffff 00000000000000000000000000000000 00000080 "
                    "ffffffffffffffff",
                    bytes);
    assert_int_equal(round_trip(bytes, size), 0);
    struct xb_reader r = xb_reader_init(bytes, size);
    struct pc_map map = {0};
    assert_int_equal(pc_header_read(&r, &header, NULL), 0);
    assert_int_equal(header.flags, PC_FLAG_WEIGHT);
    assert_int_equal(pc_map_read(&r, &map, NULL), 0);
    assert_int_equal(map.count, 3);
    assert_int_equal(map.nodes[1].weight, 3);
    assert_true(map.nodes[1].is_prim);
    assert_int_equal(map.nodes[1].to_seq, 10);
    assert_int_equal(map.nodes[1].last_prim.type, VIEW_PRIM);
    assert_int_equal(map.nodes[1].last_prim.seq, 2);
    assert_false(map.nodes[2].is_prim);
    pc_map_clear(&map);

    size = from_hex("01 01 0000 00000000 01000000 57b1804de7b111f1a2e992bedcd12c1a 0b000001 ffffffff "
                    "45a60bc2e7b111f181710b840cf86fe5 03000080 ffffffffffffffff",
                    bytes);
    assert_int_equal(round_trip(bytes, size), 0);
    r = xb_reader_init(bytes + PC_HEADER_SIZE, size - PC_HEADER_SIZE);
    assert_int_equal(pc_map_read(&r, &map, NULL), 0);
    assert_true(map.nodes[0].is_evicted);
    assert_int_equal(map.nodes[0].last_prim.type, VIEW_NON_PRIM);
    pc_map_clear(&map);
}

/* Section 4.6 */
static void test_checksum(void **state) {
    (void)state;
    uint8_t bytes[64];
    size_t size = from_hex("11 03 9f3d 01000000 877945c1e7b411f1a93322ad7b4cc947", bytes);
    assert_int_equal(round_trip(bytes, size), 0);
    assert_int_equal(pc_message_crc(bytes, size), 0x3d9f);
}

static void test_malformed(void **state) {
    (void)state;
    struct vectors v = vectors_load("pc");
    struct vector record;
    size_t done = 0;
    while (vectors_next(&v, &record) && done < 40) {
        const uint8_t *data = record.data + 1;
        size_t size = record.size - 1;
        if (data[1] == PC_USER) continue;
        done++;
        for (size_t cut = 0; cut < size; cut++) {
            uint8_t *copy = malloc(cut ? cut : 1); /* exactly as long, so that ASan sees a read beyond */
            memcpy(copy, data, cut);
            assert_int_not_equal(round_trip(copy, cut), 0);
            free(copy);
        }
        uint8_t *copy = malloc(size);
        memcpy(copy, data, size);
        memset(copy + PC_HEADER_SIZE, 0xff, 4);
        assert_int_equal(round_trip(copy, size), -EPROTO);
        free(copy);
    }
    uint8_t bytes[512];
    size_t size = from_hex("01 01 0000 00000000 02000000"
                           "48aa9986e7b111f196d3ffce42259894 02000001 ffffffff 00000000000000000000000000000000 "
                           "00000080 ffffffffffffffff"
                           "48aa9986e7b111f196d3ffce42259894 02000001 ffffffff 00000000000000000000000000000000 "
                           "00000080 ffffffffffffffff",
                           bytes);
    assert_int_equal(round_trip(bytes, size), -EPROTO); /* one node twice */
    bytes[1] = 0;
    assert_int_equal(round_trip(bytes, size), -EPROTO);
    bytes[1] = 4;
    assert_int_equal(round_trip(bytes, size), -EPROTO);
    bytes[0] = 2;
    assert_int_equal(round_trip(bytes, size), -EPROTONOSUPPORT);
    free(v.bytes);
}

/* One row of the table in section 7: weights of P, which of them stay, which left. */
struct quorum_row {
    int count, weights[4];
    unsigned stay, left;
    enum pc_majority expected;
};

static void test_quorum(void **state) {
    (void)state;
    static const struct quorum_row rows[] = {
        {3, {1, 1, 1}, 3, 0, PC_QUORUM},        {2, {1, 1}, 1, 0, PC_SPLIT_BRAIN}, {2, {1, 1}, 1, 2, PC_QUORUM},
        {3, {3, 1, 1}, 1, 0, PC_QUORUM},        {3, {3, 1, 1}, 6, 0, PC_MINORITY}, {3, {3, 1, 1}, 6, 1, PC_QUORUM},
        {2, {2, 1}, 1, 0, PC_QUORUM},           {2, {0, 0}, 3, 0, PC_SPLIT_BRAIN}, {2, {1, 0}, 1, 0, PC_QUORUM},
        {2, {1, 0}, 2, 1, PC_SPLIT_BRAIN},      {3, {-1, 1, 1}, 3, 0, PC_QUORUM},  {3, {-1, 9, 1}, 2, 0, PC_MINORITY},
        {4, {1, 1, 1, 1}, 3, 0, PC_SPLIT_BRAIN}};
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct pc *pc = calloc(1, sizeof(*pc));
        struct pc_set basis = {.count = 0};
        for (int j = 0; j < rows[i].count; j++) {
            struct xb_uuid uuid = {{(uint8_t)(j + 1)}};
            struct pc_node node = pc_node_init(&uuid);
            node.weight = rows[i].weights[j];
            assert_non_null(pc_map_add(&pc->nodes, &node));
            basis.uuids[basis.count++] = uuid;
            if (rows[i].stay & 1u << j) pc->members.uuids[pc->members.count++] = uuid;
            if (rows[i].left & 1u << j) pc->left.uuids[pc->left.count++] = uuid;
        }
        assert_int_equal(pc_quorum(pc, &basis), rows[i].expected);
        pc_map_clear(&pc->nodes);
        free(pc);
    }
}

static struct bus *two_prim(void) {
    struct bus *bus = bus_new();
    bus_start(bus, 0, true, NULL);
    bus_start(bus, 1, false, NULL);
    bus_change(bus, (int[BUS_NODES]){0, 0, BUS_OUT, BUS_OUT, BUS_OUT, BUS_OUT, BUS_OUT, BUS_OUT});
    bus_run(bus);
    assert_int_equal(pc_get_state(bus->nodes[0].pc), PC_PRIM);
    return bus;
}

/* Whatever a peer sends: the node gives up in order, it does not crash (sections 16, 17.1). */
static void test_bad_peer(void **state) {
    (void)state;
    static const char *const bad[] = {
        "01 01 0000 00000000 00000000", /* STATE in PRIM, without own entry */
        "01 01 0000 00000000 ffffffff", /* more nodes than bytes */
        "01 02 0000 00000000 05000000", /* INSTALL, cut off */
        "01 00 0000 00000000",          "01 04 0000 00000000", "01", "01 03 0000 07000000 01020304",
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct bus *bus = two_prim();
        uint8_t bytes[64];
        bus_inject(bus, 1, bytes, from_hex(bad[i], bytes));
        bus_run(bus);
        for (int n = 0; n < 2; n++) {
            assert_true(bus->nodes[n].has_failed);
            assert_false(bus->nodes[n].is_conflict);
            assert_false(bus->nodes[n].has_saved);
            assert_int_equal(pc_get_state(bus->nodes[n].pc), PC_CLOSED);
            assert_int_equal(bus_send(bus, n, 1), -ENOTCONN);
        }
        bus_free(bus);
    }
    struct bus *bus = two_prim();
    bus_inject(bus, 1, "\x02\x03\0\0\1\0\0\0abcd", 12); /* unknown version: a primary node drops it */
    bus_run(bus);
    assert_false(bus->nodes[0].has_failed);
    bus_free(bus);
}

/* A STATE without the entry of its sender, in the state where it is used. */
static void test_state_without_self(void **state) {
    (void)state;
    struct bus *bus = two_prim();
    bus_start(bus, 2, false, NULL);
    bus_change(bus, (int[BUS_NODES]){0, 0, 0, BUS_OUT, BUS_OUT, BUS_OUT, BUS_OUT, BUS_OUT});
    bus_inject(bus, 2, "\x01\x01\0\0\0\0\0\0\0\0\0\0", 12);
    bus_run(bus);
    assert_true(bus->nodes[0].has_failed || pc_get_state(bus->nodes[0].pc) != PC_STATES_EXCH);
    bus_free(bus);

    bus = two_prim();
    bus_start(bus, 2, false, NULL);
    bus->nodes[2].refuse = 1; /* its real STATE does not go out, so this one is the only one */
    bus_change(bus, (int[BUS_NODES]){0, 0, 0, BUS_OUT, BUS_OUT, BUS_OUT, BUS_OUT, BUS_OUT});
    assert_true(bus->nodes[2].has_failed);
    bus_inject(bus, 2, "\x01\x01\0\0\0\0\0\0\0\0\0\0", 12);
    bus_run(bus);
    assert_true(bus->nodes[0].has_failed);
    bus_free(bus);
}

static void test_checksums_meet(void **state) {
    (void)state;
    struct bus *bus = bus_new();
    bus->nodes[0].options.checksum = true;
    bus_start(bus, 0, true, NULL);
    bus_start(bus, 1, false, NULL);
    bus_change(bus, (int[BUS_NODES]){0, 0, BUS_OUT, BUS_OUT, BUS_OUT, BUS_OUT, BUS_OUT, BUS_OUT});
    bus_run(bus);
    assert_int_equal(bus_send(bus, 0, 11), 0);
    assert_int_equal(bus_send(bus, 1, 12), 0);
    bus_run(bus);
    assert_int_equal(bus->nodes[0].delivered_count, 2);
    assert_int_equal(bus->nodes[1].delivered_count, 2);
    bus_inject(bus, 0, "\x11\x03\x01\x02\2\0\0\0abcd", 12); /* wrong checksum: only a checking receiver minds */
    bus_run(bus);
    assert_true(bus->nodes[0].has_failed);
    assert_false(bus->nodes[1].has_failed);
    bus_free(bus);
}

static void test_submit_limits(void **state) {
    (void)state;
    struct bus *bus = two_prim();
    struct xb_buf *buf = xb_buf_new(XB_BUF_HEADROOM, PC_PAYLOAD_MAX + 1);
    memset(xb_buf_data(buf), 1, buf->size);
    assert_int_equal(pc_submit(bus->nodes[0].pc, buf, 0, EVS_SAFE, 0), -EMSGSIZE);
    buf->size = 0;
    assert_int_equal(pc_submit(bus->nodes[0].pc, buf, 0, EVS_SAFE, 0), -EMSGSIZE);
    xb_buf_unref(buf);
    bus->nodes[0].refuse = 1;
    assert_int_equal(bus_send(bus, 0, 1), -EAGAIN);
    assert_int_equal(bus_send(bus, 0, 2), 0); /* the refused one used no number */
    bus_run(bus);
    assert_false(bus->nodes[1].has_failed);
    assert_int_equal(bus->nodes[1].delivered[0].value, 2);
    bus_free(bus);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_worked_examples),
        cmocka_unit_test(test_checksum),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_quorum),
        cmocka_unit_test(test_bad_peer),
        cmocka_unit_test(test_state_without_self),
        cmocka_unit_test(test_checksums_meet),
        cmocka_unit_test(test_submit_limits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
