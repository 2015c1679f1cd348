/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Malformed write sets: every truncation, every flipped bit, and headers whose checksums are right but whose fields are
 * not. Each input lies at the end of its own allocation, so that the address sanitizer sees any read beyond it.
 */
#include "base/bytes.h"
#include "support/vectors.h"
#include "unit/writeset/support.h"
#include "writeset/record_set.h"

/* Reads a copy of exactly this size. -> 0 if it is a sound write set */
static int read_copy(const uint8_t *bytes, size_t size) {
    uint8_t *copy = malloc(size ? size : 1);
    memcpy(copy, bytes, size);
    struct writeset ws;
    struct xb_error error = {0};
    int rc = writeset_read(&ws, copy, size, &error);
    if (rc == 0) rc = writeset_check(&ws, &error);
    if (rc != 0) {
        assert_int_equal(error.code, rc);
        assert_true(error.text[0] != '\0');
    }
    free(copy);
    return rc;
}

static uint8_t *sample(size_t *size) {
    struct writeset_builder *builder = builder_new(WRITESET_FLAT16A);
    add_text_key(builder, "t/a/1", WRITESET_KEY_EXCLUSIVE);
    writeset_builder_add_key(builder, NULL, 0, WRITESET_KEY_REFERENCE);
    writeset_builder_add_data(builder, WRITESET_DATA_ORDERED, "some data", 9, true);
    writeset_builder_add_data(builder, WRITESET_DATA_UNORDERED, "more", 4, true);
    writeset_builder_add_data(builder, WRITESET_DATA_ANNOTATION, "note", 4, true);
    struct writeset_header header = {.version = 6, .flags = 0x41, .seqno = 1};
    uint8_t *bytes = build(builder, &header, size);
    writeset_builder_free(builder);
    return bytes;
}

static void test_truncated(void **state) {
    size_t size;
    uint8_t *bytes = sample(&size);
    assert_int_equal(read_copy(bytes, size), 0);
    for (size_t n = 0; n < size; n++) assert_true(read_copy(bytes, n) < 0);
    free(bytes);

    struct vectors v = vectors_load("writeset");
    struct vector record;
    for (int i = 0; i < 40 && vectors_next(&v, &record); i++) {
        size_t end = record.size < 1000 ? record.size : 1000;
        for (size_t n = 0; n < end; n++) assert_true(read_copy(record.data, n) < 0);
    }
    free(v.bytes);
}

static void test_trailing_bytes(void **state) {
    size_t size;
    uint8_t *bytes = sample(&size), more[1024] = {0};
    memcpy(more, bytes, size);
    for (size_t n = 0; n < 16; n++) assert_int_equal(read_copy(more, size + n) == 0, n < 8);
    free(bytes);
}

/* Invariant 9 of section 23; the annotation set's payload is nobody's business. */
static void test_flipped_bits(void **state) {
    size_t size;
    uint8_t *bytes = sample(&size);
    struct writeset ws = read_ok(bytes, size);
    size_t unchecked = ws.annotation_set.offset + 8;
    for (size_t bit = 0; bit < size * 8; bit++) {
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
        assert_int_equal(read_copy(bytes, size) == 0, bit / 8 >= unchecked);
        bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
    }
    free(bytes);
}

/* ---- right checksums, wrong fields ---- */

static int read_with_header(const uint8_t *bytes, size_t size, size_t at, uint8_t value) {
    uint8_t copy[1024];
    memcpy(copy, bytes, size);
    copy[at] = value;
    size_t header_size = copy[2] >= 64 && copy[2] <= size ? copy[2] : 64;
    xb_store_le(copy + header_size - 8, xb_fast_hash64(copy, header_size - 8), 8);
    return read_copy(copy, size);
}

static void test_header_fields(void **state) {
    size_t size;
    uint8_t *bytes = sample(&size);
    for (int value = 0; value < 256; value++) {
        int high = value >> 4, low = value & 15;
        assert_int_equal(read_with_header(bytes, size, 0, (uint8_t)value) == 0, value == 0x47);
        bool is_readable = low >= 3 && low <= 6 && high >= low && high >= 5; /* prefixes mean other things below */
        int rc = read_with_header(bytes, size, 1, (uint8_t)value);
        if (is_readable) assert_int_equal(rc, 0);
        if (low > 6 && high >= low) assert_int_equal(rc, -EPROTONOSUPPORT);
        if (low < 3 || high < low) assert_int_equal(rc, -EPROTO);
        assert_int_equal(read_with_header(bytes, size, 2, (uint8_t)value) == 0, value == 64);
        bool has_all_sets = (value & 0x0f) == 0x07;
        int sets = read_with_header(bytes, size, 3, (uint8_t)value);
        if (value >> 4 > 4 || (value >> 2 & 3) > 1) assert_int_equal(sets, -EPROTO);
        /* Sets that are not announced are trailing bytes, or are taken for others. */
        if (sets == 0) assert_true(has_all_sets);
    }
    /* Write sets before version 3. */
    for (uint8_t version = 0; version <= 2; version++) {
        uint8_t old[4] = {0x47, 0, 0, version};
        assert_int_equal(read_copy(old, sizeof(old)), -EPROTONOSUPPORT);
    }
    free(bytes);
}

/* A newer write set with a longer header that says it can be read as version 6. */
static void test_longer_header(void **state) {
    struct writeset_header header = {.version = 6, .flags = 0x41, .seqno = 9};
    uint8_t bytes[80] = {0};
    writeset_write_header(bytes, &header);
    bytes[1] = 0x96;
    bytes[2] = 80;
    memset(bytes + 56, 0xee, 16);
    xb_store_le(bytes + 72, xb_fast_hash64(bytes, 72), 8);
    assert_int_equal(read_copy(bytes, 80), 0);
    struct writeset ws = read_ok(bytes, 80);
    assert_int_equal(ws.header.version, 6);
    assert_int_equal(ws.size, 80);
    writeset_mark_certified(&ws, bytes, 10, 9);
    ws = read_ok(bytes, 80);
    assert_int_equal(ws.header.seqno, 10);
    assert_int_equal(bytes[56], 0xee);
}

/* Set header with the given bytes before its checksum, at the end of its own memory. -> accepted? */
static bool is_set_accepted(const uint8_t *head, size_t head_size, size_t size, struct record_set *set) {
    uint8_t *copy = calloc(1, size ? size : 1);
    if (head_size + 4 <= size) {
        memcpy(copy, head, head_size);
        xb_store_le(copy + head_size, xb_fast_hash32(copy, head_size), 4);
    } else {
        memcpy(copy, head, size < head_size ? size : head_size);
    }
    bool is_accepted = record_set_read(set, copy, size) == NULL;
    if (is_accepted) record_set_is_intact(set, copy);
    free(copy);
    return is_accepted;
}

static void test_short_form_fields(void **state) {
    struct record_set set;
    for (uint32_t count = 1; count <= 1024; count += 31) {
        for (uint32_t size = 1; size <= 64; size++) {
            uint8_t head[4];
            xb_store_le(head, (uint32_t)(size - 1) << 18 | (count - 1) << 8 | 0x2b, 4);
            bool is_right = size >= 24 && count <= size && ((size + 7) & ~7u) <= 48;
            assert_int_equal(is_set_accepted(head, 4, 48, &set), is_right);
        }
    }
    for (unsigned first = 0; first < 256; first++) { /* versions, forms and checksum types */
        uint8_t head[4] = {(uint8_t)first, 0, 47 << 2 & 0xff, 0};
        bool is_short = (first >> 4 == 2) && (first & 8);
        if (!is_short) continue;
        unsigned type = first & 7;
        assert_int_equal(is_set_accepted(head, 4, 48, &set), type == 0 || type == 2 || type == 3);
    }
}

/* Long form with these first bytes in a buffer of `size`; the header is padded as it should be. */
#define LONG(size, ...)                                                                                                \
    is_set_accepted((const uint8_t[28]){__VA_ARGS__}, (sizeof((const uint8_t[]){__VA_ARGS__}) + 11) / 8 * 8 - 4, size, \
                    &set)

static void test_long_form_fields(void **state) {
    struct record_set set;
    assert_true(LONG(48, 0x23, 48, 1)); /* 8 bytes of header, 16 of checksum, 24 of records */
    assert_int_equal(set.begin, 24);
    assert_false(LONG(47, 0x23, 48, 1));
    assert_false(LONG(48, 0x23, 48, 0));
    assert_false(LONG(48, 0x23, 0, 0));
    assert_true(LONG(48, 0x23, 24, 1));
    assert_false(LONG(48, 0x23, 23, 1)); /* ends inside its checksum */
    assert_true(LONG(48, 0x23, 41, 1));
    assert_false(LONG(47, 0x23, 41, 1)); /* the padding is missing */

    /* LEB128: 64 bits at most for the size, 31 for the count, and they must end. */
    uint8_t head[28];
    memset(head, 0xff, sizeof(head));
    head[0] = 0x23;
    for (size_t size = 0; size <= sizeof(head); size++) assert_false(is_set_accepted(head, sizeof(head), size, &set));
    assert_false(LONG(48, 0x23, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01, 1));
    assert_false(LONG(48, 0x23, 0xb0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x02, 1)); /* bit 64 */
    assert_true(LONG(48, 0x23, 0xb0, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00, 1));
    assert_false(LONG(48, 0x23, 48, 0xff, 0xff, 0xff, 0xff, 0x07));
    assert_false(LONG(48, 0x23, 48, 0x81, 0x80, 0x80, 0x80, 0x08)); /* bit 31 */
    assert_true(LONG(48, 0x23, 48, 0x81, 0x80, 0x80, 0x80, 0x00));
    assert_true(LONG(48, 0x23, 0xb0, 0x00, 0x81, 0x00)); /* 48 and 1 with a needless byte each */

    for (unsigned version = 0; version < 16; version++) {
        for (unsigned type = 0; type < 8; type++) {
            uint8_t first[12] = {(uint8_t)(version << 4 | type), 48, 1};
            size_t head_size = version == 1 ? 3 : 4; /* version 1 is not aligned */
            bool is_right = (version == 1 && type <= 3) || (version == 2 && type <= 3 && type != 1);
            assert_int_equal(is_set_accepted(first, head_size, 48, &set), is_right);
        }
    }
}

/* A key set whose checksums are right and whose keys are not. */
static void test_bad_keys_in_sound_set(void **state) {
    static const uint8_t sizes[] = {8, 15, 16, 17, 24};
    for (size_t s = 0; s < sizeof(sizes); s++) {
        for (int format = 0; format < 8; format++) {
            uint8_t bytes[256] = {0}, records[24] = {0};
            records[0] = (uint8_t)(format << 2);
            records[8] = 16; /* annotation length for FLAT8A */
            struct writeset_header header = {.version = 6, .keys = WRITESET_FLAT8, .flags = 0x41};
            writeset_write_header(bytes, &header);
            struct xb_murmur128 hash;
            size_t padding;
            xb_murmur128_init(&hash);
            xb_murmur128_update(&hash, records, sizes[s]);
            size_t head = record_set_write_head(bytes + 64, 1, sizes[s], &hash, &padding);
            memcpy(bytes + 64 + head, records, sizes[s]);
            size_t right = (size_t[]){0, 8, 24, 16, 0, 0, 0, 0}[format];
            assert_int_equal(read_copy(bytes, 64 + head + sizes[s] + padding) == 0, sizes[s] == right);
        }
    }
}

static void test_nbo_data(void **state) {
    for (size_t n = 0; n < 17; n++) {
        struct writeset_builder *builder = builder_new(WRITESET_FLAT8);
        const uint8_t data[16] = {5};
        writeset_builder_add_data(builder, WRITESET_DATA_ORDERED, data, n < 16 ? n : 16, true);
        struct writeset_header header = {.version = 6, .flags = WRITESET_TOI | WRITESET_COMMIT};
        size_t size;
        uint8_t *bytes = build(builder, &header, &size);
        struct writeset ws = read_ok(bytes, size);
        int64_t seqno = -1;
        assert_true(writeset_flags_are_nbo_end(ws.header.flags) && !writeset_flags_are_nbo_start(ws.header.flags));
        assert_int_equal(writeset_nbo_start_seqno(&ws, &seqno), n == 8 ? 0 : -EPROTO);
        assert_int_equal(seqno, n == 8 ? 5 : -1);
        free(bytes);
        writeset_builder_free(builder);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_truncated),        cmocka_unit_test(test_trailing_bytes),
        cmocka_unit_test(test_flipped_bits),     cmocka_unit_test(test_header_fields),
        cmocka_unit_test(test_longer_header),    cmocka_unit_test(test_short_form_fields),
        cmocka_unit_test(test_long_form_fields), cmocka_unit_test(test_bad_keys_in_sound_set),
        cmocka_unit_test(test_nbo_data),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
