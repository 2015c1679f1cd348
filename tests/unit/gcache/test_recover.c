/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Recovery of the ring file: after a clean end, after a crash at any moment, from damaged files, and from files made by
 * hand after spec 07 section 19, as the other provider leaves them.
 */
#include "support.h"

#define START 1280

static int setup(void **state) {
    struct fixture *f = calloc(1, sizeof(*f));
    fixture_init(f);
    f->config.size_bytes = 8192;
    *state = f;
    return 0;
}

static int teardown(void **state) {
    fixture_clear(*state);
    free(*state);
    return 0;
}

/* Writes count events with random sizes, releasing all but the last keep ones. -> the last seqno */
static int64_t fill(struct gcache *cache, int64_t from, int count, int keep, struct xb_random *random) {
    for (int64_t s = from; s < from + count; s++) {
        if (xb_random_below(random, 5) == 0) gcache_free(cache, gcache_alloc(cache, 1 + xb_random_below(random, 200)));
        ws_put(cache, s, WS_MIN + 8 * xb_random_below(random, 60));
        if (xb_random_below(random, 10) == 0) gcache_skip(cache, s);
        gcache_release(cache, s - keep);
    }
    return from + count - 1;
}

static void test_clean(void **state) {
    struct fixture *f = *state;
    struct xb_random random;
    int64_t last = 0;
    for (uint64_t seed = 1; seed < 60; seed++) {
        xb_random_seed(&random, seed);
        struct gcache *cache = fixture_open(f);
        int64_t min = -1;
        if (seed > 1) {
            assert_int_equal(newest(cache), last);
            check_uuid(cache, &uuid_a);
        }
        gcache_reset(cache, &uuid_a, last);
        last = fill(cache, last + 1, 1 + (int)(seed * 7 % 80), 0, &random);
        min = gcache_min(cache);
        int64_t count = check_all(cache);
        gcache_close(cache);
        cache = fixture_open(f);
        assert_int_equal(gcache_min(cache), min);
        assert_int_equal(check_all(cache), count);
        gcache_close(cache);
    }
}

static void test_not_wanted(void **state) {
    struct fixture *f = *state;
    struct gcache *cache = fixture_open(f);
    gcache_reset(cache, &uuid_a, 0);
    ws_put(cache, 1, 128);
    gcache_close(cache);
    f->config.is_recovering = false;
    cache = fixture_open(f);
    assert_int_equal(newest(cache), -1);
    gcache_close(cache);
}

static void test_pages_are_left_out(void **state) {
    struct fixture *f = *state;
    struct gcache *cache = fixture_open(f);
    gcache_reset(cache, &uuid_a, 0);
    for (int64_t s = 1; s <= 10; s++) ws_put(cache, s, s == 5 || s == 10 ? 6000 : 128);
    gcache_close(cache);
    cache = fixture_open(f);
    assert_int_equal(gcache_min(cache), 6);
    assert_int_equal(newest(cache), 9);
    assert_int_equal(check_all(cache), 4);
    gcache_close(cache);
}

/* The process dies now: what another one finds in the file. -> the number of recovered seqnos */
static int64_t crash_check(struct fixture *f, struct gcache *cache, bool is_all_in_ring) {
    char from[128], to[128];
    size_t size;
    uint8_t *bytes = file_read(fixture_path(f, "galera.cache", from), &size);
    file_write(fixture_path(f, "copy", to), bytes, size);
    free(bytes);
    struct gcache_config config = f->config;
    config.name = "copy";
    struct gcache *copy = gcache_open(&config, NULL, NULL);
    assert_non_null(copy);
    int64_t count = check_all(copy);
    if (is_all_in_ring) {
        assert_int_equal(gcache_min(copy), gcache_min(cache));
        assert_int_equal(newest(copy), newest(cache));
    }
    if (count) {
        int64_t next = newest(copy) + 1;
        for (int i = 0; i < 30; i++) { /* the ring works on */
            ws_put(copy, next + i, 200);
            gcache_release(copy, next + i);
        }
        check_all(copy);
        assert_int_equal(newest(copy), next + 29);
    }
    gcache_close(copy);
    return count;
}

static void test_crash(void **state) {
    struct fixture *f = *state;
    struct xb_random random;
    xb_random_seed(&random, 7);
    struct gcache *cache = fixture_open(f);
    gcache_reset(cache, &uuid_a, 0);
    int64_t last = 0;
    for (int i = 0; i < 600; i++) {
        last = fill(cache, last + 1, 1, 0, &random);
        void *in_use = i % 3 ? NULL : gcache_alloc(cache, 100 + xb_random_below(&random, 400));
        assert_true(crash_check(f, cache, true) > 0);
        gcache_free(cache, in_use);
    }
    gcache_close(cache);
}

static void test_crash_after_reset(void **state) {
    struct fixture *f = *state;
    struct xb_random random;
    xb_random_seed(&random, 9);
    struct gcache *cache = fixture_open(f);
    gcache_reset(cache, &uuid_a, 0);
    for (int i = 0; i < 200; i++) {
        int64_t max = newest(cache) < 0 ? 0 : newest(cache);
        if (i % 4 == 1) gcache_reset(cache, &uuid_a, max > 3 ? max - 3 : 0);
        if (i % 4 == 3) gcache_reset(cache, i % 8 == 3 ? &uuid_b : &uuid_a, max = 0);
        assert_int_equal(crash_check(f, cache, true), newest(cache) < 0 ? 0 : check_all(cache));
        fill(cache, (newest(cache) < 0 ? max : newest(cache)) + 1, 1 + i % 40, 0, &random);
        crash_check(f, cache, true);
    }
    gcache_close(cache);
}

/* Opens damaged bytes as they are: nothing torn may be served, whatever is recovered. */
static int64_t open_damaged(struct fixture *f, const uint8_t *bytes, size_t size) {
    char path[128];
    file_write(fixture_path(f, "damaged", path), bytes, size);
    struct gcache_config config = f->config;
    config.name = "damaged";
    struct gcache *cache = gcache_open(&config, NULL, NULL);
    assert_non_null(cache);
    int64_t count = check_all(cache), next = count ? newest(cache) + 1 : 1;
    for (int i = 0; i < 60; i++) {
        ws_put(cache, next + i, 128 + 8 * (size_t)(i % 20));
        gcache_release(cache, next + i);
    }
    check_all(cache);
    gcache_close(cache);
    return count;
}

/* A file of a full, wrapped ring. */
static uint8_t *make_file(struct fixture *f, bool is_clean, size_t *size) {
    struct xb_random random;
    xb_random_seed(&random, 3);
    struct gcache *cache = fixture_open(f);
    gcache_reset(cache, &uuid_a, 0);
    fill(cache, 1, 100, 0, &random);
    char path[128];
    uint8_t *bytes = NULL;
    if (!is_clean) bytes = file_read(fixture_path(f, "galera.cache", path), size);
    gcache_close(cache);
    if (is_clean) bytes = file_read(fixture_path(f, "galera.cache", path), size);
    unlink(path);
    return bytes;
}

static void test_truncated(void **state) {
    struct fixture *f = *state;
    for (int is_clean = 0; is_clean < 2; is_clean++) {
        size_t size;
        uint8_t *bytes = make_file(f, is_clean, &size);
        for (size_t n = 0; n <= size; n += 7) open_damaged(f, bytes, n);
        assert_true(open_damaged(f, bytes, size) > 10);
        free(bytes);
    }
}

static void test_torn(void **state) {
    struct fixture *f = *state;
    struct xb_random random;
    xb_random_seed(&random, 11);
    int64_t recovered = 0;
    for (int round = 0; round < 1000; round++) {
        size_t size;
        static uint8_t *originals[2];
        static size_t sizes[2];
        int which = round & 1;
        if (!originals[which]) originals[which] = make_file(f, which, &sizes[which]);
        size = sizes[which];
        uint8_t *bytes = malloc(size);
        memcpy(bytes, originals[which], size);
        int damages = 1 + (int)xb_random_below(&random, 4);
        for (int i = 0; i < damages; i++) {
            size_t at = xb_random_below(&random, size), length = 1 + xb_random_below(&random, 700);
            if (length > size - at) length = size - at;
            switch (xb_random_below(&random, 4)) {
            case 0:
                memset(bytes + at, 0, length);
                break; /* a block that was never written */
            case 1:
                memmove(bytes + at, originals[which] + xb_random_below(&random, size - length), length);
                break;
            case 2:
                xb_random_bytes(&random, bytes + at, length);
                break;
            default:
                bytes[at] ^= (uint8_t)(1 << xb_random_below(&random, 8));
            }
        }
        recovered += open_damaged(f, bytes, size);
        free(bytes);
        if (round >= 998) free(originals[which]);
    }
    assert_true(recovered > 1000);
}

static void test_other_size(void **state) {
    struct fixture *f = *state;
    size_t size;
    uint8_t *bytes = make_file(f, true, &size);
    for (int64_t ring = 0; ring < 30000; ring += 1001) {
        f->config.size_bytes = ring;
        int64_t count = open_damaged(f, bytes, size);
        if (ring >= 8192) assert_true(count > 10);
    }
    free(bytes);
}

/* ----------------------------------------------------- files made by hand */

struct image {
    uint8_t bytes[START + 8192 + 24];
    size_t at;
};

static void image_preamble(struct image *image, const char *text) {
    memset(image->bytes, 0, 1024);
    memcpy(image->bytes, text, strlen(text));
}

/* Header as in section 19, then content. */
static void image_header(struct image *image, int64_t seqno, size_t payload, int flags, int type) {
    struct xb_writer w = xb_writer_init(image->bytes + image->at, 24);
    xb_write_i64(&w, seqno);
    xb_write_u64(&w, 0x000055b5a6dbfb20);
    xb_write_u32(&w, (uint32_t)(24 + payload));
    xb_write_le(&w, (uint64_t)flags, 2);
    xb_write_u8(&w, 1);
    xb_write_u8(&w, (uint8_t)type);
    image->at += 24 + payload;
}

static void image_ws(struct image *image, int64_t seqno, size_t payload) {
    ws_fill(image->bytes + image->at + 24, payload, seqno);
    image_header(image, seqno, payload, 1, 0);
}

/* A configuration change: text, padding, checksum. */
static void image_cc(struct image *image, int64_t seqno) {
    uint8_t *cc = image->bytes + image->at + 24;
    memset(cc, 0, 88);
    sprintf((char *)cc + 1, "0,11,4,%s:%lld,4,-1,0,0", XB_UUID_TEXT(&uuid_a), (long long)seqno);
    xb_store_le(cc + 80, xb_fast_hash64(cc, 80), 8);
    image_header(image, seqno, 88, 1, 3);
}

static struct gcache *image_open(struct fixture *f, const struct image *image) {
    char path[128];
    file_write(fixture_path(f, "galera.cache", path), image->bytes, sizeof(image->bytes));
    return fixture_open(f);
}

#define GID "GID: a1010203-0405-1107-8109-0a0b0c0d0e0f\n"

static void test_stock_clean(void **state) {
    struct image image = {.at = START};
    image_preamble(&image, "Version: 2\n" GID "seqno_min: 5\nseqno_max: 12\noffset: 1280\nsynced: 1\n\n");
    image_cc(&image, 5);
    for (int64_t s = 6; s < 10; s++) image_ws(&image, s, 128);
    image_header(&image, 10, 8, 3, 0); /* a SKIP that came by IST: dummy content */
    image_ws(&image, 11, 128);
    image_header(&image, -1, 304, 1, 0);
    image_cc(&image, 12);
    struct gcache *cache = image_open(*state, &image);
    assert_int_equal(gcache_min(cache), 5);
    assert_int_equal(newest(cache), 12);
    check_uuid(cache, &uuid_a);
    assert_int_equal(check_all(cache), 8);
    struct gcache_entry entry;
    assert_true(gcache_has(cache, 10, &entry));
    assert_true(entry.is_skip);
    assert_int_equal(entry.size, 8);
    assert_true(gcache_has(cache, 12, &entry));
    assert_int_equal(entry.type, GCACHE_CCHANGE);
    gcache_close(cache);
}

/* Wrapped: 20..25 at the end of the file, 26..30 at its start; remains of older ones in between. */
static void make_wrapped(struct image *image, const char *preamble, bool is_sound) {
    memset(image, 0, sizeof(*image));
    image_preamble(image, preamble);
    image->at = START;
    for (int64_t s = 26; s <= 30; s++) image_ws(image, s, 256);
    image_header(image, 0, 300 & ~7, 0, 0); /* in use when the process died */
    image->at += 24;                        /* the end */
    memset(image->bytes + image->at, 0x11, 200);
    image->at += 1000;
    image_header(image, -1, 128, 1, 0);
    for (int64_t s = 20; s <= 25; s++) image_ws(image, s, 512);
    if (!is_sound) image->bytes[image->at - 300] ^= 1;
}

static void test_stock_wrapped(void **state) {
    struct image image;
    make_wrapped(&image, "Version: 2\n" GID "synced: 0\n\n", true); /* crashed: nothing says where the oldest is */
    struct gcache *cache = image_open(*state, &image);
    assert_int_equal(gcache_min(cache), 20);
    assert_int_equal(check_all(cache), 11);
    for (int64_t s = 31; s < 60; s++) {
        ws_put(cache, s, 200);
        gcache_release(cache, s);
    }
    check_all(cache);
    gcache_close(cache);

    make_wrapped(&image, "Version: 2\n" GID "synced: 0\n\n", false); /* 25 is torn */
    cache = image_open(*state, &image);
    assert_int_equal(gcache_min(cache), 26);
    assert_int_equal(check_all(cache), 5);
    gcache_close(cache);

    char text[200];
    int at = START + 5 * 280 + 24 + 296 + 24 + 1000 + 152;
    snprintf(text, sizeof(text), "Version: 2\n" GID "seqno_min: 20\nseqno_max: 30\noffset: %d\nsynced: 1\n\n", at);
    make_wrapped(&image, text, true);
    cache = image_open(*state, &image);
    assert_int_equal(check_all(cache), 11);
    gcache_close(cache);
}

static void test_duplicates(void **state) {
    struct image image = {.at = START};
    image_preamble(&image, "Version: 2\n" GID "synced: 0\n\n");
    for (int64_t s = 1; s <= 9; s++) image_ws(&image, s, 128);
    image_ws(&image, 7, 128); /* the same once more */
    struct gcache *cache = image_open(*state, &image);
    assert_int_equal(check_all(cache), 9);
    gcache_close(cache);

    image.at = START;
    image_preamble(&image, "Version: 2\n" GID "synced: 0\n\n");
    memset(image.bytes + START, 0, 8192);
    for (int64_t s = 1; s <= 9; s++) image_ws(&image, s, 128);
    image_ws(&image, 7, 136); /* another 7 */
    cache = image_open(*state, &image);
    assert_int_equal(gcache_min(cache), 8);
    assert_int_equal(check_all(cache), 2);
    gcache_close(cache);
}

static void test_unusable(void **state) {
    const char *preambles[] = {
        "Version: 2\nGID: 00000000-0000-0000-0000-000000000000\nsynced: 0\n\n",
        "Version: 1\n" GID "synced: 1\nseqno_min: 1\nseqno_max: 9\n\n",
        "Version: 3\n" GID "synced: 0\n\n",
        "Version: 2\nGID: nonsense\nsynced: 0\n\n",
        "Version: 2\n" GID "seqno_min: -1\nseqno_max: -1\nsynced: 1\n\n",
        "",
        "Version:",
        "Version: 2",
        "\n\n\n",
        "GID: \n: \n :\n",
    };
    for (size_t i = 0; i < sizeof(preambles) / sizeof(*preambles); i++) {
        struct image image = {.at = START};
        image_preamble(&image, preambles[i]);
        for (int64_t s = 1; s <= 9; s++) image_ws(&image, s, 128);
        struct gcache *cache = image_open(*state, &image);
        assert_int_equal(newest(cache), -1);
        gcache_close(cache);
        char path[128];
        size_t size;
        uint8_t *bytes = file_read(fixture_path(*state, "galera.cache", path), &size);
        for (size_t at = START; at < size; at++) assert_int_equal(bytes[at], 0); /* not to be mistaken later */
        free(bytes);
    }
}

static void test_intact(void **state) {
    struct gcache *cache = fixture_open(*state);
    uint8_t buf[256];
    ws_fill(buf, sizeof(buf), 17);
    assert_true(gcache_is_intact(cache, 17, GCACHE_WRITESET, buf, sizeof(buf)));
    assert_false(gcache_is_intact(cache, 18, GCACHE_WRITESET, buf, sizeof(buf)));
    for (size_t n = 0; n < sizeof(buf); n++) assert_false(gcache_is_intact(cache, 17, GCACHE_WRITESET, buf, n));
    for (size_t i = 0; i < sizeof(buf); i++) {
        buf[i] ^= 4;
        assert_false(gcache_is_intact(cache, 17, GCACHE_WRITESET, buf, sizeof(buf)));
        assert_false(gcache_is_intact(cache, 17, GCACHE_CCHANGE, buf, sizeof(buf)));
        buf[i] ^= 4;
    }
    struct image image = {.at = START};
    image_cc(&image, 12);
    uint8_t *cc = image.bytes + START + 24;
    assert_true(gcache_is_intact(cache, 12, GCACHE_CCHANGE, cc, 88));
    assert_false(gcache_is_intact(cache, 11, GCACHE_CCHANGE, cc, 88));
    for (size_t n = 0; n < 88; n++) assert_false(gcache_is_intact(cache, 12, GCACHE_CCHANGE, cc, n));
    gcache_close(cache);
}

/* The preamble of a clean file, line by line. */
static void test_preamble(void **state) {
    struct fixture *f = *state;
    struct gcache *cache = fixture_open(f);
    gcache_reset(cache, &uuid_a, 40);
    for (int64_t s = 41; s < 44; s++) ws_put(cache, s, 128);
    char path[128];
    size_t size;
    uint8_t *bytes = file_read(fixture_path(f, "galera.cache", path), &size);
    assert_int_equal(size, 8192 + 1304);
    assert_string_equal((char *)bytes, "# xebec\nVersion: 2\n" GID "synced: 0\n\n");
    free(bytes);
    gcache_close(cache);
    bytes = file_read(path, &size);
    assert_string_equal((char *)bytes,
                        "# xebec\nVersion: 2\n" GID "seqno_min: 41\nseqno_max: 43\noffset: 1280\nsynced: 1\n\n");
    for (size_t i = strlen((char *)bytes); i < 1024; i++) assert_int_equal(bytes[i], 0);
    const uint8_t header[] = {41, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 152, 0, 0, 0, 1, 0, 1, 0};
    assert_memory_equal(bytes + START, header, sizeof(header));
    const uint8_t zero[24] = {0};
    assert_memory_equal(bytes + START + 3 * 152, zero, sizeof(zero));
    free(bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_clean, setup, teardown),
        cmocka_unit_test_setup_teardown(test_not_wanted, setup, teardown),
        cmocka_unit_test_setup_teardown(test_pages_are_left_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_crash, setup, teardown),
        cmocka_unit_test_setup_teardown(test_crash_after_reset, setup, teardown),
        cmocka_unit_test_setup_teardown(test_truncated, setup, teardown),
        cmocka_unit_test_setup_teardown(test_torn, setup, teardown),
        cmocka_unit_test_setup_teardown(test_other_size, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stock_clean, setup, teardown),
        cmocka_unit_test_setup_teardown(test_stock_wrapped, setup, teardown),
        cmocka_unit_test_setup_teardown(test_duplicates, setup, teardown),
        cmocka_unit_test_setup_teardown(test_unusable, setup, teardown),
        cmocka_unit_test_setup_teardown(test_intact, setup, teardown),
        cmocka_unit_test_setup_teardown(test_preamble, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
