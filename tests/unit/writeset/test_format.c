/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The binary format against stock traffic: worked examples of spec 06 section 27, every write set of the captures
 * decoded and encoded again byte for byte, and the header rewriting compared with what stock donors sent by IST.
 */
#include "base/bytes.h"
#include "support/vectors.h"
#include "unit/writeset/support.h"
#include "writeset/record_set.h"

#define IST_HEADER 24
#define IST_TRX 4

/* ---- worked examples ---- */

static const char foreign_key_insert[] =
    "476340144100ffff0a00000000000000a63bcd131e01000057b1804de7b111f1a2e892bedcd12c1a0c00000000000000"
    "1300000000000000f0588f677bd2a4082b051c018f80a27ae60cd9029d495ff933d426271b009eee65f636a0bce87c1b"
    "6519ff4a43e1cbe9e5c50f83626faedf251684022bcefeb3c7eb8e5856118fbe85c0f35861597431";

/* Section 27.1, as far as it is printed: header and key set. */
static void test_foreign_key_insert(void **state) {
    struct writeset_builder *builder = builder_new(WRITESET_FLAT8);
    struct iovec parent[3] = {PART("t"), PART("p"), PART("\0\1\0\0\0")}, child[3] = {PART("t"), PART("c"), parent[2]};
    assert_int_equal(writeset_builder_add_key(builder, parent, 3, WRITESET_KEY_REFERENCE), 0);
    assert_int_equal(writeset_builder_add_key(builder, child, 3, WRITESET_KEY_EXCLUSIVE), 0);
    assert_int_equal(writeset_builder_add_key(builder, NULL, 0, WRITESET_KEY_REFERENCE), 0);
    uint8_t expected[512], data[122];
    size_t expected_size = unhex(foreign_key_insert, expected, sizeof(expected)), size;
    memset(data, 'x', sizeof(data));
    assert_int_equal(writeset_builder_add_data(builder, WRITESET_DATA_ORDERED, data, sizeof(data), true), 0);
    struct writeset_header header;
    struct xb_error error;
    assert_int_equal(writeset_read_header(&header, &size, expected, expected_size, &error), 0);
    uint8_t *bytes = build(builder, &header, &size);
    assert_int_equal(size, 288);
    assert_memory_equal(bytes, expected, expected_size);
    assert_hex(bytes + 0x88, 8, "2b00440296536dd6");
    free(bytes);
    writeset_builder_free(builder);
}

/* Section 27.2: header alone, and the image after certification. */
static void test_rollback_fragment(void **state) {
    static const char text[] = "476340000a00150015000000000000007dbbb8291e01000048aa9986e7b111f196d3ffce42259894"
                               "ffffffffffffffff2800000000000000fafeb9b84b4d4bfb";
    uint8_t expected[64];
    assert_int_equal(unhex(text, expected, sizeof(expected)), 64);
    struct writeset ws = read_ok(expected, 64);
    assert_int_equal(ws.header.flags & WRITESET_TRX_FLAGS, WRITESET_ROLLBACK_FRAGMENT);
    assert_true(ws.header.connection_id == WRITESET_ID_UNDEFINED);
    assert_int_equal(ws.keys.count, 0);
    assert_null(ws.data.data);

    struct writeset_builder *builder = builder_new(WRITESET_FLAT8);
    size_t size;
    uint8_t *bytes = build(builder, &ws.header, &size);
    assert_int_equal(size, 64);
    assert_memory_equal(bytes, expected, 64);

    struct writeset copy = read_ok(bytes, size);
    writeset_mark_certified(&copy, bytes, 22, 21);
    assert_hex(bytes, 16, "476340000a4001001600000000000000");
    assert_hex(bytes + 56, 8, "62aad6bf5a3ab937");
    copy = read_ok(bytes, size);
    assert_true(writeset_is_certified(&copy));
    assert_int_equal(writeset_certified_depends(&copy.header), 21);
    free(bytes);
    writeset_builder_free(builder);
}

/* Section 27.3: the first 120 bytes of a TOI. */
static void test_toi(void **state) {
    static const char text[] = "476340144500ffff0300000000000000f2e90e0b1e01000045a60bc2e7b111f181710b840cf86fe5"
                               "1400000000000000ffffffffffffffffe575b9901f6194832b019c001c743e30bed23d5afcabf6e1"
                               "42924c14e602285b67f636a0bce87c1b85c0f358615974312b008c053f3c71305645cf1a45b84513";
    uint8_t expected[120];
    assert_int_equal(unhex(text, expected, sizeof(expected)), 120);
    struct writeset_header header;
    size_t size;
    struct xb_error error;
    assert_int_equal(writeset_read_header(&header, &size, expected, 120, &error), 0);
    struct writeset_builder *builder = builder_new(WRITESET_FLAT8);
    assert_int_equal(add_text_key(builder, "t", WRITESET_KEY_EXCLUSIVE), 0);
    assert_int_equal(writeset_builder_add_key(builder, NULL, 0, WRITESET_KEY_REFERENCE), 0);
    uint8_t data[332] = {0};
    assert_int_equal(writeset_builder_add_data(builder, WRITESET_DATA_ORDERED, data, sizeof(data), false), 0);
    uint8_t *bytes = build(builder, &header, &size);
    assert_int_equal(size, 464);
    assert_memory_equal(bytes, expected, 112);
    free(bytes);
    writeset_builder_free(builder);
}

/* Section 27.7: all four sets; the printed image is certified (seqno 2, depends 1). */
static void test_all_sets(void **state) {
    static const char text[] = "47634017414001000200000000000000cefc2075c7020000a5651324e7b511f19473d2e143d3638c"
                               "07000000000000006500000000000000b2f93f5cc413da0d2b02bc006821a538bfa6764c01e67f36"
                               "70687c2fe51be52265c34123c946609d478837225b7ebd0d85c0f358615974312b007c00e7621715"
                               "3b56956d2a9e6cceb1be756220c64826726f772d646174612b0084004e91ed1a7a7fd123a70985bc"
                               "0e2024ccc12ff949756e6f726465726564210000000000002b006c00e6228bc3d66f7d2be0f7f0ae"
                               "cc657b5c63a781736e6f746500000000";
    uint8_t expected[216];
    assert_int_equal(unhex(text, expected, sizeof(expected)), 216);
    struct writeset ws = read_ok(expected, 216);
    assert_int_equal(ws.keys.count, 3);
    assert_int_equal(ws.key_set.offset, 0x40);
    assert_int_equal(ws.data_set.offset, 0x70);
    assert_int_equal(ws.unordered_set.offset, 0x90);
    assert_int_equal(ws.annotation_set.offset, 0xb8);
    assert_int_equal(ws.data.size, 8);
    assert_memory_equal(ws.data.data, "row-data", 8);
    assert_int_equal(ws.unordered.size, 10);
    assert_memory_equal(ws.unordered.data, "unordered!", 10);
    assert_memory_equal(ws.annotation.data, "note", 4);
    assert_int_equal(writeset_certified_depends(&ws.header), 1);

    struct writeset_builder *builder = builder_new(WRITESET_FLAT8);
    assert_int_equal(add_text_key(builder, "b/r1", WRITESET_KEY_EXCLUSIVE), 0);
    assert_int_equal(writeset_builder_add_key(builder, NULL, 0, WRITESET_KEY_REFERENCE), 0);
    assert_int_equal(writeset_builder_add_data(builder, WRITESET_DATA_ANNOTATION, "note", 4, true), 0);
    assert_int_equal(writeset_builder_add_data(builder, WRITESET_DATA_ORDERED, "row-", 4, true), 0);
    assert_int_equal(writeset_builder_add_data(builder, WRITESET_DATA_UNORDERED, "unordered!", 10, true), 0);
    assert_int_equal(writeset_builder_add_data(builder, WRITESET_DATA_ORDERED, "data", 4, true), 0);
    size_t size;
    uint8_t *bytes = build(builder, &ws.header, &size);
    assert_int_equal(size, 216);
    assert_memory_equal(bytes, expected, 216);

    uint8_t bare[64 + 32]; /* as stock donors with ist.keep_keys=no send it */
    struct writeset_header header = ws.header;
    header.keys = WRITESET_KEYS_NONE;
    header.has_unordered = header.has_annotation = false;
    writeset_write_header(bare, &header);
    memcpy(bare + 64, expected + ws.data_set.offset, ws.data_set.size);
    struct writeset without = read_ok(bare, sizeof(bare));
    assert_int_equal(without.header.keys, WRITESET_KEYS_NONE);
    assert_int_equal(without.keys.count, 0);
    assert_memory_equal(without.data.data, "row-data", 8);
    assert_null(without.unordered.data);
    assert_int_equal(without.header.seqno, 2);
    free(bytes);
    writeset_builder_free(builder);
}

/* Section 27.4: sizes at which the long form takes over, and its two headers. */
static void test_long_form(void **state) {
    uint8_t head[RECORD_SET_HEAD_MAX];
    struct xb_murmur128 hash;
    size_t padding;
    xb_murmur128_init(&hash);
    assert_int_equal(record_set_write_head(head, 1, 1000174 - 32, &hash, &padding), 32);
    assert_hex(head, 16, "23ee853d010000000000000010552a29");
    assert_int_equal(padding, 2);
    xb_murmur128_init(&hash);
    assert_int_equal(record_set_write_head(head, 6003, 48056 - 32, &hash, &padding), 32);
    assert_hex(head, 16, "23b8f702f32e000000000000a89cd9a9");

    /* The largest short one: 24 bytes of head and 16360 of records; then the long one. */
    for (size_t records = 16350; records < 16370; records++) {
        xb_murmur128_init(&hash);
        size_t size = record_set_write_head(head, 1024, records, &hash, &padding);
        assert_int_equal(size, records <= 16384 - 24 ? 24 : 32);
        xb_murmur128_init(&hash);
        assert_int_equal(record_set_write_head(head, 1025, records, &hash, &padding), 32);
    }
    /* A large set needs the longer header: LEB128 of 5 bytes and 3 bytes. */
    xb_murmur128_init(&hash);
    assert_int_equal(record_set_write_head(head, 1u << 28, (size_t)1 << 30, &hash, &padding), 40 - 8);
}

/* ---- vectors ---- */

/* A record set encoded from what was read must be the same bytes. */
static void assert_set_again(const struct writeset *ws, const struct writeset_range *range, const uint8_t *records,
                             size_t records_size, uint32_t count) {
    uint8_t head[RECORD_SET_HEAD_MAX];
    struct xb_murmur128 hash;
    size_t padding;
    if (range->size == 0) return;
    xb_murmur128_init(&hash);
    xb_murmur128_update(&hash, records, records_size);
    size_t head_size = record_set_write_head(head, count, records_size, &hash, &padding);
    assert_int_equal(head_size + records_size + padding, range->size);
    assert_memory_equal(head, ws->bytes + range->offset, head_size);
    assert_memory_equal(records, ws->bytes + range->offset + head_size, records_size);
}

static void test_all_vectors_again(void **state) {
    struct vectors v = vectors_load("writeset");
    struct vector record;
    int count = 0;
    for (; vectors_next(&v, &record); count++) {
        struct writeset ws = read_ok(record.data, record.size);
        assert_int_equal(ws.size, record.size);
        assert_int_equal(ws.header.version, 6);
        uint8_t header[WRITESET_HEADER_SIZE];
        writeset_write_header(header, &ws.header);
        assert_memory_equal(header, record.data, sizeof(header));
        assert_set_again(&ws, &ws.key_set, ws.keys.records, ws.keys.size, ws.keys.count);
        assert_set_again(&ws, &ws.data_set, ws.data.data, ws.data.size, 1);
        assert_int_equal(64 + ws.key_set.size + ws.data_set.size, record.size);
    }
    assert_true(count > 500);
    free(v.bytes);
}

/* Values of the keys of the captures: database t, tables a b c n p, rows with integer keys. */
struct dictionary {
    struct {
        uint64_t id;
        struct iovec parts[3];
        size_t count;
    } entries[60000];
    size_t count;
    uint8_t rows[3000][2][6];
};

static void dictionary_add(struct dictionary *d, const struct iovec *parts, size_t count) {
    struct xb_hash128 hash = writeset_key_hash(parts, count);
    d->entries[d->count].id = xb_load_le(hash.bytes, 8) & ~(uint64_t)0x1f;
    memcpy(d->entries[d->count].parts, parts, count * sizeof(*parts));
    d->entries[d->count++].count = count;
}

static int compare_entries(const void *a, const void *b) {
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static struct dictionary *dictionary_new(void) {
    static const char tables[] = "abcnp";
    struct dictionary *d = calloc(1, sizeof(*d));
    struct iovec key[3] = {PART("\0")};
    dictionary_add(d, key, 1);
    key[0] = PART("t");
    dictionary_add(d, key, 1);
    for (int row = 0; row < 3000; row++) {
        uint32_t value = row < 2000 ? (uint32_t)row : 98000u + (uint32_t)row;
        xb_store_le(d->rows[row][0] + 1, value, 4); /* primary key: index 0 */
        d->rows[row][1][0] = 1;                     /* unique key: index 1, not null */
        xb_store_le(d->rows[row][1] + 2, value, 4);
    }
    for (int table = 0; table < 5; table++) {
        key[1] = (struct iovec){(void *)(uintptr_t)(tables + table), 1};
        dictionary_add(d, key, 2);
        for (int row = 0; row < 3000; row++) {
            for (int index = 0; index < 2; index++) {
                key[2] = (struct iovec){d->rows[row][index], index == 0 ? 5 : 6};
                dictionary_add(d, key, 3);
            }
        }
    }
    qsort(d->entries, d->count, sizeof(d->entries[0]), compare_entries);
    return d;
}

/* Gives the builder the keys whose parts these are: leaves are all that nothing else in the set extends. */
static bool add_keys_again(const struct dictionary *d, struct writeset_builder *builder, const struct writeset *ws) {
    struct writeset_key_cursor cursor = writeset_key_cursor_init(&ws->keys);
    struct writeset_key key;
    while (writeset_next_key(&cursor, &key) > 0) {
        const void *found = bsearch(&key.id_low, d->entries, d->count, sizeof(d->entries[0]), compare_entries);
        if (!found) return false;
        size_t i = (size_t)((const char *)found - (const char *)d->entries) / sizeof(d->entries[0]);
        bool is_branch = key.type == WRITESET_KEY_REFERENCE && cursor.left > 1 && d->entries[i].count < 3;
        if (!is_branch)
            assert_int_equal(writeset_builder_add_key(builder, d->entries[i].parts, d->entries[i].count, key.type), 0);
    }
    return true;
}

static void test_vectors_through_builder(void **state) {
    struct dictionary *d = dictionary_new();
    struct writeset_builder *builder = builder_new(WRITESET_FLAT8);
    struct vectors v = vectors_load("writeset");
    struct vector record;
    int built = 0, unknown = 0;
    while (vectors_next(&v, &record)) {
        struct writeset ws = read_ok(record.data, record.size);
        writeset_builder_reset(builder, NULL);
        if (!add_keys_again(d, builder, &ws)) {
            unknown++;
            continue;
        }
        bool is_copied = built % 2 == 0;
        for (size_t at = 0, n; at < ws.data.size; at += n) { /* in three pieces or so */
            n = ws.data.size - at < ws.data.size / 3 + 1 ? ws.data.size - at : ws.data.size / 3 + 1;
            writeset_builder_add_data(builder, WRITESET_DATA_ORDERED, ws.data.data + at, n, is_copied);
        }
        size_t size;
        uint8_t *bytes = build(builder, &ws.header, &size);
        assert_int_equal(size, record.size);
        assert_memory_equal(bytes, record.data, size);
        free(bytes);
        built++;
    }
    assert_int_equal(unknown, 2); /* a row without primary key, and a schema object of the server */
    assert_true(built > 500);
    writeset_builder_free(builder);
    free(v.bytes);
    free(d);
}

/* Invariant 2 of section 23: rewriting the group's bytes gives what the donor sent; only some bytes differ. */
static void test_rewriting_gives_ist_images(void **state) {
    struct vectors v = vectors_load("writeset"), ist = vectors_load("ist");
    struct vector record, message;
    int matched = 0;
    while (vectors_next(&ist, &message)) {
        const uint8_t *image = message.data + 1 + IST_HEADER;
        if (message.size < 1 + IST_HEADER + WRITESET_HEADER_SIZE || message.data[2] != IST_TRX) continue;
        size_t size = message.size - 1 - IST_HEADER;
        struct writeset certified = read_ok(image, size);
        assert_true(writeset_is_certified(&certified));
        uint8_t header[WRITESET_HEADER_SIZE];
        writeset_write_header(header, &certified.header);
        assert_memory_equal(header, image, sizeof(header));
        v.used = 0;
        while (vectors_next(&v, &record)) {
            if (record.size != size || memcmp(record.data + 16, image + 16, 40) != 0) continue;
            uint8_t *bytes = malloc(size);
            memcpy(bytes, record.data, size);
            struct writeset ws = read_ok(bytes, size);
            int64_t seqno = certified.header.seqno;
            writeset_mark_certified(&ws, bytes, seqno, writeset_certified_depends(&certified.header));
            assert_memory_equal(bytes, image, size);
            assert_int_equal(ws.header.seqno, seqno);
            free(bytes);
            matched++;
            break;
        }
    }
    assert_true(matched > 150);
    free(v.bytes);
    free(ist.bytes);
}

static void test_mark_certified_bounds(void **state) {
    struct writeset_header header = {.version = 6, .flags = WRITESET_COMMIT | WRITESET_BEGIN};
    uint8_t bytes[WRITESET_HEADER_SIZE];
    static const struct {
        int64_t seqno, depends;
        uint16_t range;
        int64_t read_back;
    } cases[] = {{100, 99, 1, 99}, {70000, 10, 65535, 4465}, {65535, 0, 65535, 0}, {5, -1, 0, 4}, {5, 0, 5, 0}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        writeset_write_header(bytes, &header);
        struct writeset ws = read_ok(bytes, sizeof(bytes));
        writeset_mark_certified(&ws, bytes, cases[i].seqno, cases[i].depends);
        ws = read_ok(bytes, sizeof(bytes));
        assert_int_equal(ws.header.pa_range, cases[i].range);
        assert_int_equal(ws.header.seqno, cases[i].seqno);
        assert_int_equal(writeset_certified_depends(&ws.header), cases[i].read_back);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_foreign_key_insert),
        cmocka_unit_test(test_rollback_fragment),
        cmocka_unit_test(test_toi),
        cmocka_unit_test(test_all_sets),
        cmocka_unit_test(test_long_form),
        cmocka_unit_test(test_all_vectors_again),
        cmocka_unit_test(test_vectors_through_builder),
        cmocka_unit_test(test_rewriting_gives_ist_images),
        cmocka_unit_test(test_mark_certified_bounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
