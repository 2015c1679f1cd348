/* SPDX-License-Identifier: GPL-2.0-or-later */
/* EVS messages of a stock cluster, read and written again; and malformed ones (spec 03 sections 3, 18.7, 19). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "evs/internal.h"
#include "support/vectors.h"

#include <stdlib.h>

#define MESSAGE_MAX 33000

/* Reads a message of any type and writes it to out. -> its size, or the error. */
static int reencode(const struct xb_uuid *source, const uint8_t *data, size_t size, uint8_t *out, bool has_inner) {
    struct xb_reader r = xb_reader_init(data, size);
    struct xb_writer w = xb_writer_init(out, MESSAGE_MAX);
    struct evs_header h;
    int result = evs_header_read(&r, source, &h);
    if (result) return result;
    struct evs_user user;
    struct evs_gap gap;
    struct evs_leave leave;
    struct evs_delayed_message delayed;
    struct evs_report *report;
    switch (h.type) {
    case EVS_TYPE_USER:
        result = evs_user_read(&r, &h, &user);
        if (result) return result;
        evs_user_write(&w, &h, &user);
        xb_write_bytes(&w, user.payload, user.size);
        break;
    case EVS_TYPE_GAP:
        result = evs_gap_read(&r, &gap);
        evs_gap_write(&w, &h, &gap);
        break;
    case EVS_TYPE_LEAVE:
        result = evs_leave_read(&r, &leave);
        evs_leave_write(&w, &h, &leave);
        break;
    case EVS_TYPE_DELAYED_LIST:
        result = evs_delayed_message_read(&r, &delayed);
        if (!result) evs_delayed_message_write(&w, &h, &delayed);
        break;
    case EVS_TYPE_JOIN:
    case EVS_TYPE_INSTALL:
        result = evs_report_read(&r, &h, &report);
        if (result) return result;
        assert_int_equal(evs_report_size(report), size);
        evs_report_write(&w, report);
        free(report);
        break;
    case EVS_TYPE_DELEGATE:
        evs_header_write(&w, &h);
        result = has_inner ? -EPROTO : reencode(NULL, data + r.used, size - r.used, out + w.used, true);
        if (result < 0) return result;
        return (int)w.used + result;
    }
    assert_true(xb_writer_ok(&w));
    return result ? result : (int)w.used;
}

static void check_vectors(const char *name, size_t expected[8]) {
    struct vectors v = vectors_load(name);
    struct vector m;
    static uint8_t out[MESSAGE_MAX];
    while (vectors_next(&v, &m)) {
        struct xb_uuid source;
        memcpy(source.bytes, m.data, 16);
        const uint8_t *data = m.data + 16;
        size_t size = m.size - 16;
        expected[data[0] >> 2 & 7]++;
        assert_int_equal(reencode(&source, data, size, out, false), size);
        assert_memory_equal(out, data, size);
        /* Truncated at every length: the payload of USER may have any length, everything else is refused. */
        size_t fixed = EVS_HEADER_SIZE + EVS_USER_FIELDS_SIZE;
        bool is_user = (data[0] >> 2 & 7) == EVS_TYPE_USER;
        for (size_t cut = 0; cut < size; cut++) {
            uint8_t *copy = malloc(cut + !cut); /* so that a read beyond its end is found */
            assert_non_null(copy);
            memcpy(copy, data, cut);
            int result = reencode(&source, copy, cut, out, false);
            if (!is_user || cut < fixed) {
                if (result != -EPROTO && (data[0] >> 2 & 7) != EVS_TYPE_DELEGATE)
                    fail_msg("cut at %zu of %zu", cut, size);
            }
            free(copy);
        }
    }
    free(v.bytes);
}

static void test_vectors(void **state) {
    (void)state;
    size_t counts[8] = {0};
    check_vectors("evs", counts);
    check_vectors("evs_rare", counts);
    for (int type = EVS_TYPE_USER; type <= EVS_TYPE_DELAYED_LIST; type++) assert_true(counts[type] > 0);
    assert_int_equal(counts[0], 0);
}

static struct xb_uuid uuid_of(const char *text) {
    struct xb_uuid uuid;
    assert_int_equal(xb_uuid_parse(&uuid, text), 0);
    return uuid;
}

static size_t from_hex(const char *hex, uint8_t *to) {
    size_t n = 0;
    for (; *hex; hex++) {
        if (*hex == ' ') continue;
        char pair[3] = {hex[0], hex[1], 0};
        to[n++] = (uint8_t)strtoul(pair, NULL, 16);
        hex++;
    }
    return n;
}

/* Section 19: the fields of the worked examples. */
static void test_examples(void **state) {
    (void)state;
    struct xb_uuid n1 = uuid_of("45a60bc2-e7b1-11f1-8171-0b840cf86fe5");
    struct xb_uuid n3 = uuid_of("57b1804d-e7b1-11f1-a2e8-92bedcd12c1a");
    uint8_t b[256];
    struct evs_header h;
    size_t size = from_hex("05000100 0e00000000000000 45a60bc2e7b111f181710b840cf86fe5 03000000 ff000000 "
                           "0400000000000000 "
                           "0300000000000000",
                           b);
    struct xb_reader r = xb_reader_init(b, size);
    assert_int_equal(evs_header_read(&r, &n3, &h), 0);
    assert_int_equal(h.type, EVS_TYPE_USER);
    assert_int_equal(h.order, EVS_DROP);
    assert_int_equal(h.fifo_seq, 14);
    assert_int_equal(h.view.seq, 3);
    assert_int_equal(h.view.type, VIEW_REG);
    assert_true(xb_uuid_equal(&h.view.uuid, &n1));
    assert_true(xb_uuid_equal(&h.source, &n3));
    struct evs_user u;
    assert_int_equal(evs_user_read(&r, &h, &u), 0);
    assert_int_equal(u.seq, 4);
    assert_int_equal(u.aru, 3);
    assert_int_equal(u.size, 0);

    size = from_hex("2d020100 0900000000000000 45a60bc2e7b111f181710b840cf86fe5 03000000 0100000000000000 "
                    "ffffffffffffffff "
                    "45a60bc2e7b111f181710b840cf86fe5 0000000000000000 0000000000000000",
                    b);
    r = xb_reader_init(b, size);
    struct evs_gap g;
    assert_int_equal(evs_header_read(&r, &n3, &h), 0);
    assert_int_equal(evs_gap_read(&r, &g), 0);
    assert_true(evs_is_retrans(&h));
    assert_int_equal(g.seq, 1);
    assert_int_equal(g.aru, -1);
    assert_int_equal(g.lu, 0);
    assert_int_equal(g.hs, 0);
    assert_true(xb_uuid_equal(&g.origin, &n1));
}

static void refuse(const struct xb_uuid *source, const uint8_t *data, size_t size) {
    static uint8_t out[MESSAGE_MAX];
    assert_int_equal(reencode(source, data, size, out, false), -EPROTO);
}

static void test_extremes(void **state) {
    (void)state;
    struct xb_uuid n2 = uuid_of("48aa9986-e7b1-11f1-96d3-ffce42259894");
    uint8_t good[256], b[256];
    size_t size = from_hex("30000100 0100000000000000 48aa9986e7b111f196d3ffce42259894 00000040 ffffffffffffffff "
                           "ffffffffffffffff 01000000 48aa9986e7b111f196d3ffce42259894 0100 ffffffffffffffff "
                           "48aa9986e7b111f196d3ffce42259894 00000040 ffffffffffffffff 0000000000000000 "
                           "ffffffffffffffff",
                           good);
    assert_int_equal(size, 122);
    static uint8_t out[MESSAGE_MAX];
    assert_int_equal(reencode(&n2, good, size, out, false), 122);
    assert_memory_equal(out, good, size);
    /* Counts that do not fit. */
    for (uint64_t count = 0; count < 10; count++) {
        memcpy(b, good, size);
        xb_store_le(b + 48, count == 9 ? 0xffffffffu : count == 8 ? 0x03a83a84u : count, 4);
        if (count != 1) refuse(&n2, b, size);
    }
    /* A node twice, trailing bytes. */
    memcpy(b, good, size);
    xb_store_le(b + 48, 2, 4);
    memcpy(b + size, good + 52, 70);
    refuse(&n2, b, size + 70);
    memcpy(b, good, size);
    refuse(&n2, b, size + 1);
    /* Types, orders, sources. */
    memcpy(b, good, size);
    b[0] = 0x00;
    refuse(&n2, b, size);
    b[0] = 0xb0; /* order 5 */
    refuse(&n2, b, size);
    memcpy(b, good, size);
    refuse(&xb_uuid_nil, b, size);
    b[1] = EVS_FLAG_SOURCE; /* the view's UUID is read as source: another one than the transport's */
    b[12] ^= 1;
    refuse(&n2, b, size);
    /* USER: negative and huge seqs. */
    size = from_hex("05000100 0e00000000000000 45a60bc2e7b111f181710b840cf86fe5 03000000 ff000000 "
                    "0400000000000000 "
                    "0300000000000000",
                    b);
    xb_store_le(b + 36, (uint64_t)-1, 8);
    refuse(&n2, b, size);
    xb_store_le(b + 36, INT64_MAX, 8);
    refuse(&n2, b, size);
    /* DELEGATE in a DELEGATE, and without a source inside. */
    memset(b, 0, sizeof(b));
    b[0] = 0x29;
    b[32] = 0x29;
    b[33] = EVS_FLAG_SOURCE;
    b[44] = 1;
    refuse(&n2, b, 32 + 48);
    b[32] = 0x05;
    b[33] = 0;
    refuse(&n2, b, 32 + 52);
}

static void test_aggregates(void **state) {
    (void)state;
    uint8_t b[64];
    struct xb_writer w = xb_writer_init(b, sizeof(b));
    evs_part_write(&w, 7, (const uint8_t *)"abc", 3);
    evs_part_write(&w, 8, NULL, 0);
    evs_part_write(&w, 9, (const uint8_t *)"xy", 2);
    assert_true(evs_parts_are_ok(b, w.used));
    assert_int_equal(w.used, 17);
    struct xb_reader r = xb_reader_init(b, w.used);
    struct evs_part part;
    assert_true(evs_part_next(&r, &part));
    assert_int_equal(part.user_type, 7);
    assert_memory_equal(part.payload, "abc", 3);
    assert_true(evs_part_next(&r, &part));
    assert_int_equal(part.size, 0);
    assert_true(evs_part_next(&r, &part));
    assert_int_equal(part.user_type, 9);
    assert_false(evs_part_next(&r, &part));
    for (size_t cut = 1; cut < w.used; cut++)
        if (cut != 7 && cut != 11) assert_false(evs_parts_are_ok(b, cut));
    xb_store_le(b + 2, 0xffff, 2);
    assert_false(evs_parts_are_ok(b, w.used));
}

static void test_view_ids(void **state) {
    (void)state;
    struct view_id a = {VIEW_REG, uuid_of("45a60bc2-e7b1-11f1-8171-0b840cf86fe5"), 3}, b = a;
    assert_true(view_id_equal(&a, &b));
    assert_int_equal(view_id_compare(&a, &b), 0);
    b.seq = 4;
    assert_true(view_id_compare(&a, &b) < 0 && view_id_compare(&b, &a) > 0);
    b = a;
    b.type = VIEW_PRIM;
    assert_false(view_id_equal(&a, &b));
    assert_true(view_id_compare(&a, &b) < 0);
    b.uuid = uuid_of("48aa9986-e7b1-11f1-96d3-ffce42259894"); /* generated later: smaller */
    assert_true(view_id_compare(&a, &b) > 0);
    uint8_t bytes[VIEW_ID_SIZE];
    struct xb_writer w = xb_writer_init(bytes, sizeof(bytes));
    view_id_write(&w, &b);
    assert_int_equal(xb_load_le(bytes + 16, 4), 0xc0000003u);
    struct xb_reader r = xb_reader_init(bytes, sizeof(bytes));
    struct view_id c = view_id_read(&r);
    assert_true(view_id_equal(&b, &c));
    assert_string_equal(VIEW_ID_TEXT(&b), "(PRIM,48aa9986-96d3,3)");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),    cmocka_unit_test(test_examples), cmocka_unit_test(test_extremes),
        cmocka_unit_test(test_aggregates), cmocka_unit_test(test_view_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
