/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Keys: the vectors of spec 06 section 26, the annotated example 27.6, and which key parts a writer stores (6.6). */
#include "unit/writeset/support.h"

/* Parses "74,61,0001000000": parts in hex. */
static size_t parse_parts(const char *text, uint8_t *bytes, size_t size, struct iovec *parts) {
    size_t n = 0, used = 0;
    while (*text) {
        char piece[64];
        size_t length = strcspn(text, ",");
        snprintf(piece, sizeof(piece), "%.*s", (int)length, text);
        size_t got = unhex(piece, bytes + used, size - used);
        parts[n++] = (struct iovec){bytes + used, got};
        used += got;
        text += length + (text[length] == ',');
    }
    return n;
}

/* The leaf that a builder stores for a key, as hex without annotation. */
static void assert_stored(const char *parts_hex, enum writeset_key_type type, enum writeset_key_format format,
                          const char *expected) {
    uint8_t bytes[64];
    struct iovec parts[4];
    size_t n = parse_parts(parts_hex, bytes, sizeof(bytes), parts);
    struct writeset_builder *builder = builder_new(format);
    assert_int_equal(writeset_builder_add_key(builder, parts, n, type), 0);
    struct writeset_keys keys = writeset_builder_keys(builder);
    assert_int_equal(keys.count, n);
    struct writeset_key_cursor cursor = writeset_key_cursor_init(&keys);
    struct writeset_key key;
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(writeset_next_key(&cursor, &key), 1);
        assert_int_equal(key.format, format);
        assert_int_equal(key.type, i + 1 == n ? type : WRITESET_KEY_REFERENCE);
    }
    assert_int_equal(writeset_next_key(&cursor, &key), 0);
    assert_hex(key.bytes, key.is_wide ? 16 : 8, expected);
    writeset_builder_free(builder);
}

static void test_vectors(void **state) {
    static const struct {
        const char *parts, *hash;
    } hashes[] = {
        {"00", "88c0f358615974319dfc10ed4d6933e6"},
        {"74", "68f636a0bce87c1bb011e9fd092bde61"},
        {"74,61", "599c8c47c5b86f00e181252a2a025ad8"},
        {"74,61,0001000000", "1e89236d566a044b085a29d21d8ffbeb"},
        {"74,61,010001000000", "37f7a3caed318cc1be1248428b2b4e41"},
        {"74,61,0065000000", "df40fd64b2a105268338991960472ce5"},
        {"74,70", "7319ff4a43e1cbe99e62d53a510513a2"},
        {"74,70,0001000000", "e9c50f83626faedf628980cbb116a6ab"},
        {"74,63,0001000000", "d4eb8e5856118fbe3e43f5066095d9c7"},
        {"74,62,0001000000", "94ac29a56b8898e9e8ea9381d92dbd5b"},
        {"74,6e,658c9d6fbc323bf14300c77008c8b58b", "1791af32b39133009cacab4536e60dc4"},
        {"6d7973716c", "ec624f3f2f1b18b34a5000339803a0f1"},
        {"74,73,0000480045004c004c004f", "7fd71f484a739462cb593d36e0a7388b"},
    };
    uint8_t bytes[64];
    struct iovec parts[4];
    for (size_t i = 0; i < sizeof(hashes) / sizeof(hashes[0]); i++) {
        size_t n = parse_parts(hashes[i].parts, bytes, sizeof(bytes), parts);
        struct xb_hash128 hash = writeset_key_hash(parts, n);
        assert_hex(hash.bytes, 16, hashes[i].hash);
    }
    uint8_t row[601] = {0};
    memset(row + 1, 0x6b, 600);
    struct iovec long_key[3] = {PART("t"), PART("l"), {row, sizeof(row)}};
    struct xb_hash128 hash = writeset_key_hash(long_key, 3);
    assert_hex(hash.bytes, 16, "bf008f7500161884d790ea983f0a2177");
}

static void test_serialized(void **state) {
    const enum writeset_key_type RE = WRITESET_KEY_REFERENCE, UP = WRITESET_KEY_UPDATE, EX = WRITESET_KEY_EXCLUSIVE;
    assert_stored("00", RE, WRITESET_FLAT8, "85c0f35861597431");
    assert_stored("00", RE, WRITESET_FLAT16, "8dc0f358615974319dfc10ed4d6933e6");
    assert_stored("00", RE, WRITESET_FLAT8A, "89c0f35861597431");
    assert_stored("00", EX, WRITESET_FLAT8, "87c0f35861597431");
    assert_stored("74", RE, WRITESET_FLAT8, "65f636a0bce87c1b");
    assert_stored("74", EX, WRITESET_FLAT8, "67f636a0bce87c1b");
    assert_stored("74", RE, WRITESET_FLAT16A, "71f636a0bce87c1bb011e9fd092bde61");
    assert_stored("74,61", RE, WRITESET_FLAT8, "459c8c47c5b86f00");
    assert_stored("74,61", EX, WRITESET_FLAT8, "479c8c47c5b86f00");
    assert_stored("74,61", EX, WRITESET_FLAT16, "4f9c8c47c5b86f00e181252a2a025ad8");
    assert_stored("74,61,0001000000", EX, WRITESET_FLAT8, "0789236d566a044b");
    assert_stored("74,61,0001000000", UP, WRITESET_FLAT8, "0689236d566a044b");
    assert_stored("74,61,0001000000", UP, WRITESET_FLAT16A, "1289236d566a044b085a29d21d8ffbeb");
    assert_stored("74,61,010001000000", EX, WRITESET_FLAT8, "27f7a3caed318cc1");
    assert_stored("74,61,010001000000", UP, WRITESET_FLAT8, "26f7a3caed318cc1");
    assert_stored("74,61,0065000000", EX, WRITESET_FLAT8, "c740fd64b2a10526");
    assert_stored("74,70", RE, WRITESET_FLAT8, "6519ff4a43e1cbe9");
    assert_stored("74,70", EX, WRITESET_FLAT8, "6719ff4a43e1cbe9");
    assert_stored("74,70,0001000000", EX, WRITESET_FLAT8, "e7c50f83626faedf");
    assert_stored("74,70,0001000000", RE, WRITESET_FLAT8, "e5c50f83626faedf");
    assert_stored("74,63,0001000000", EX, WRITESET_FLAT8, "c7eb8e5856118fbe");
    assert_stored("74,62,0001000000", EX, WRITESET_FLAT8, "87ac29a56b8898e9");
    assert_stored("74,6e,658c9d6fbc323bf14300c77008c8b58b", EX, WRITESET_FLAT8, "0791af32b3913300");
    assert_stored("6d7973716c", EX, WRITESET_FLAT16, "ef624f3f2f1b18b34a5000339803a0f1");
    assert_stored("74,73,0000480045004c004c004f", EX, WRITESET_FLAT16A, "73d71f484a739462cb593d36e0a7388b");
}

static void test_annotations(void **state) {
    struct writeset_builder *builder = builder_new(WRITESET_FLAT16A);
    static const char *const rows[] = {"74,61,0001000000", "74,61,010001000000", "74,61,0002000000"};
    uint8_t bytes[64];
    struct iovec parts[4];
    for (size_t i = 0; i < 3; i++) {
        size_t n = parse_parts(rows[i], bytes, sizeof(bytes), parts);
        assert_int_equal(writeset_builder_add_key(builder, parts, n, WRITESET_KEY_EXCLUSIVE), 0);
    }
    assert_int_equal(writeset_builder_add_key(builder, NULL, 0, WRITESET_KEY_REFERENCE), 0);
    /* Section 27.6 from offset 0x18 on. */
    static const char expected[] =
        "71f636a0bce87c1bb011e9fd092bde610800017400000000519c8c47c5b86f00e181252a2a025ad8"
        "08000174016100001389236d566a044b085a29d21d8ffbeb1000017401610500010000000000000033f7a3caed318cc1"
        "be1248428b2b4e411000017401610601000100000000000033ba76976d6489cbbe140cd6117585cd1000017401610500"
        "020000000000000091c0f358615974319dfc10ed4d6933e60800010000000000";
    uint8_t wanted[512];
    size_t size = unhex(expected, wanted, sizeof(wanted));
    struct writeset_keys keys = writeset_builder_keys(builder);
    assert_int_equal(keys.count, 6);
    assert_int_equal(keys.size, size);
    assert_memory_equal(keys.records, wanted, size);

    struct writeset_key_cursor cursor = writeset_key_cursor_init(&keys);
    struct writeset_key key;
    char text[WRITESET_KEY_TEXT_SIZE];
    for (int i = 0; i < 3; i++) assert_int_equal(writeset_next_key(&cursor, &key), 1);
    assert_string_equal(writeset_key_format_text(&key, text), "EX FLAT16A 1389236d566a044b085a29d21d8ffbeb /t/a/.....");
    writeset_builder_free(builder);
}

/* Part cut to 255 bytes, all parts together to the writer's scratch area. */
static void test_long_annotations(void **state) {
    uint8_t row[601] = {0};
    memset(row + 1, 0x6b, 600);
    struct iovec key[3] = {PART("t"), PART("l"), {row, sizeof(row)}};
    struct writeset_builder *builder = builder_new(WRITESET_FLAT16A);
    assert_int_equal(writeset_builder_add_key(builder, key, 3, WRITESET_KEY_EXCLUSIVE), 0);
    struct writeset_keys keys = writeset_builder_keys(builder);
    struct writeset_key_cursor cursor = writeset_key_cursor_init(&keys);
    struct writeset_key part;
    for (int i = 0; i < 3; i++) assert_int_equal(writeset_next_key(&cursor, &part), 1);
    assert_hex(part.bytes, 16, "b3008f7500161884d790ea983f0a2177");
    assert_int_equal(part.annotation_size, 264 - 2); /* 2 + 2 + 2 + 256 up to a multiple of 8 */
    assert_int_equal(part.annotation[4], 255);
    writeset_builder_free(builder);

    for (int format = WRITESET_FLAT8A; format <= WRITESET_FLAT16A; format += 2) {
        struct iovec many[WRITESET_KEY_PARTS_MAX];
        for (int i = 0; i < WRITESET_KEY_PARTS_MAX; i++) many[i] = (struct iovec){row, sizeof(row)};
        builder = builder_new((enum writeset_key_format)format);
        assert_int_equal(writeset_builder_add_key(builder, many, WRITESET_KEY_PARTS_MAX, WRITESET_KEY_UPDATE), 0);
        keys = writeset_builder_keys(builder);
        cursor = writeset_key_cursor_init(&keys);
        while (writeset_next_key(&cursor, &part) > 0)
            ;
        assert_ptr_equal(cursor.next, cursor.end);
        assert_int_equal(part.annotation_size + 2, format == WRITESET_FLAT8A ? 4088 : 4080);
        writeset_builder_free(builder);
    }
}

/* Adds keys written as "EX t/a/1", then compares what is stored, written as "RE t, RE t/a, EX t/a/1". */
static void assert_rule(const char *const *keys, const char *expected) {
    static const char *const types[] = {"SH", "RE", "UP", "EX"};
    struct writeset_builder *builder = builder_new(WRITESET_FLAT16);
    for (; *keys; keys++) {
        int type = 0;
        while (strncmp(types[type], *keys, 2) != 0) type++;
        assert_int_equal(add_text_key(builder, *keys + 3, (enum writeset_key_type)type), 0);
    }
    struct writeset_keys stored = writeset_builder_keys(builder);
    struct writeset_key_cursor cursor = writeset_key_cursor_init(&stored);
    struct writeset_key key;
    for (const char *at = expected; *at;) {
        char text[64];
        size_t size = strcspn(at, ",");
        snprintf(text, sizeof(text), "%.*s", (int)size, at);
        at += size + (at[size] == ',' ? 2 : 0);
        struct writeset_builder *one = builder_new(WRITESET_FLAT16);
        add_text_key(one, text + 3, WRITESET_KEY_SHARED);
        struct writeset_keys of_one = writeset_builder_keys(one);
        const uint8_t *leaf = of_one.records + of_one.size - 16;
        assert_int_equal(writeset_next_key(&cursor, &key), 1);
        assert_memory_equal(writeset_key_type_name(key.type), text, 2);
        assert_memory_equal(key.bytes + 1, leaf + 1, 15);
        writeset_builder_free(one);
    }
    assert_int_equal(writeset_next_key(&cursor, &key), 0);
    writeset_builder_free(builder);
}

#define RULE(expected, ...) assert_rule((const char *const[]){__VA_ARGS__, NULL}, expected)

static void test_which_parts_are_stored(void **state) {
    RULE("RE t, RE t/a, EX t/a/1, EX t/a/2", "EX t/a/1", "EX t/a/2");
    RULE("RE t, RE t/a, EX t/a/1, RE t/b, EX t/b/1", "EX t/a/1", "EX t/b/1", "EX t/a/1");
    RULE("RE t, RE t/a, UP t/a/1, EX t/a/1", "UP t/a/1", "EX t/a/1", "UP t/a/1", "RE t/a/1");
    RULE("RE t, EX t/a", "EX t/a", "EX t/a/1", "UP t/a");
    RULE("EX t", "EX t", "EX t/a/1", "SH t");
    RULE("RE t, SH t/x", "SH t/x", "SH t/x");
    RULE("RE t, SH t/x, EX t/x/1", "SH t/x", "EX t/x/1");
    RULE("RE t, RE t/a, EX t/a/1, EX t/a, RE t/b, EX t/b/1", "EX t/a/1", "EX t/a", "EX t/a/2", "EX t/b/1", "EX t/a/3");
    RULE("SH t, RE t, RE t/a", "SH t", "RE t", "RE t/a");
    RULE("RE t, RE t/a, RE t/a/1, EX t/a/1", "RE t/a/1", "EX t/a/1");
    /* A stopped key leaves the previous one as it is: the second u/a finds u/a/1's prefixes. */
    RULE("EX t, RE u, RE u/a, EX u/a/1, EX u/a/2", "EX t", "EX u/a/1", "EX t/z/1", "EX u/a/2");
    /* Better than the stock writer (25.6): what lies below a branch stored as UP is stored all the same. */
    RULE("RE t, UP t/a, EX t/a/1", "UP t/a", "EX t/a/1");
    RULE("RE t, UP t/a, RE t/b, EX t/b/1, SH t/a/1", "UP t/a", "EX t/b/1", "SH t/a/1");
}

static void test_zero_level(void **state) {
    struct writeset_builder *builder = builder_new(WRITESET_FLAT8);
    assert_int_equal(writeset_builder_add_key(builder, NULL, 0, WRITESET_KEY_EXCLUSIVE), 0);
    assert_int_equal(writeset_builder_add_key(builder, NULL, 0, WRITESET_KEY_REFERENCE), 0);
    struct writeset_keys keys = writeset_builder_keys(builder);
    assert_int_equal(keys.count, 1);
    assert_hex(keys.records, keys.size, "87c0f35861597431");

    struct writeset_builder_config config = builder_config(WRITESET_FLAT8);
    config.version = 5;
    writeset_builder_reset(builder, &config);
    assert_int_equal(writeset_builder_add_key(builder, NULL, 0, WRITESET_KEY_EXCLUSIVE), 0);
    assert_int_equal(writeset_builder_keys(builder).count, 0);
    writeset_builder_free(builder);
}

/* Section 6.4: what older versions mean by the two low bits. */
static void test_types_of_old_versions(void **state) {
    static const int expected[4][4] = {{0, 3, -1, -1}, {0, 1, 3, -1}, {0, 1, 2, 3}, {0, 1, 2, 3}};
    for (int version = 3; version <= 6; version++) {
        for (int prefix = 0; prefix < 4; prefix++) {
            uint8_t bytes[8] = {(uint8_t)(WRITESET_FLAT8 << 2 | prefix)};
            struct writeset_keys keys = {.records = bytes, .size = 8, .count = 1, .version = version};
            struct writeset_key_cursor cursor = writeset_key_cursor_init(&keys);
            struct writeset_key key;
            int rc = writeset_next_key(&cursor, &key);
            if (expected[version - 3][prefix] < 0) {
                assert_true(rc < 0);
            } else {
                assert_int_equal(rc, 1);
                assert_int_equal(key.type, expected[version - 3][prefix]);
            }
        }
    }
}

static void test_malformed_keys(void **state) {
    /* Formats 0, 5, 6, 7; each length of an annotated key; annotation length below 2 and beyond the end. */
    uint8_t bytes[32] = {0};
    struct writeset_key key;
    for (int format = 0; format < 8; format++) {
        bytes[0] = (uint8_t)(format << 2 | WRITESET_KEY_UPDATE);
        bytes[16] = 16;
        bytes[8] = format == WRITESET_FLAT8A ? 16 : 0;
        size_t whole = (size_t[]){0, 8, 24, 16, 32, 0, 0, 0}[format];
        for (size_t size = 0; size <= sizeof(bytes); size++) {
            struct writeset_keys keys = {.records = bytes, .size = size, .count = 1, .version = 6};
            struct writeset_key_cursor cursor = writeset_key_cursor_init(&keys);
            assert_int_equal(writeset_next_key(&cursor, &key) == 1, whole != 0 && size >= whole);
        }
    }
    bytes[0] = WRITESET_FLAT8A << 2;
    static const uint16_t lengths[] = {0, 1, 25, 0xffff};
    for (size_t i = 0; i < 4; i++) {
        bytes[8] = (uint8_t)lengths[i];
        bytes[9] = (uint8_t)(lengths[i] >> 8);
        struct writeset_keys keys = {.records = bytes, .size = sizeof(bytes), .count = 1, .version = 6};
        struct writeset_key_cursor cursor = writeset_key_cursor_init(&keys);
        assert_true(writeset_next_key(&cursor, &key) < 0);
    }
}

static void test_names(void **state) {
    assert_int_equal(writeset_key_format_parse("flat16a"), WRITESET_FLAT16A);
    assert_int_equal(writeset_key_format_parse("FLAT8"), WRITESET_FLAT8);
    assert_true(writeset_key_format_parse("EMPTY") < 0);
    assert_true(writeset_key_format_parse("") < 0);
    assert_string_equal(writeset_key_format_name(WRITESET_FLAT8A), "FLAT8A");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_serialized),
        cmocka_unit_test(test_annotations),
        cmocka_unit_test(test_long_annotations),
        cmocka_unit_test(test_which_parts_are_stored),
        cmocka_unit_test(test_zero_level),
        cmocka_unit_test(test_types_of_old_versions),
        cmocka_unit_test(test_malformed_keys),
        cmocka_unit_test(test_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
