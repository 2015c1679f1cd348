/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The table of key identities: growing and shrinking by single buckets, identities of both lengths, memory. */
#include "base/random.h"
#include "certify/key_index.h"
#include "unit/writeset/support.h"

#define KEYS 200000

static const uint64_t secret[2] = {0x1234567, 0x89abcdef};

static struct writeset_key key_of(uint64_t n, bool is_wide) {
    struct xb_hash128 hash = xb_murmur128(&n, sizeof(n));
    struct writeset_key key = {.is_wide = is_wide};
    memcpy(&key.id_low, hash.bytes, 8);
    key.id_low &= ~(uint64_t)0x1f;
    if (is_wide) memcpy(&key.id_high, hash.bytes + 8, 8);
    return key;
}

static uint32_t find(const struct key_index *index, const struct writeset_key *key) {
    return key_index_find(index, key, key_index_hash(index, key->id_low));
}

static void test_grow_and_shrink(void **state) {
    struct key_index index;
    assert_int_equal(key_index_init(&index, secret), 0);
    static uint32_t numbers[KEYS];
    for (int round = 0; round < 3; round++) {
        for (uint64_t n = 0; n < KEYS; n++) {
            struct writeset_key key = key_of(n, n % 2 == 0);
            assert_int_equal(find(&index, &key), KEY_INDEX_NONE);
            numbers[n] = key_index_insert(&index, &key, key_index_hash(&index, key.id_low));
            key_entry_set_value(key_index_entry(&index, numbers[n]), n % 4, (uint32_t)n + 1);
        }
        assert_int_equal(index.count, KEYS);
        assert_true(index.bucket_count >= KEYS);
        for (uint64_t n = 0; n < KEYS; n++) {
            struct writeset_key key = key_of(n, n % 3 == 0); /* the other length finds it too */
            assert_int_equal(find(&index, &key), numbers[n]);
            const struct key_entry *entry = key_index_entry(&index, numbers[n]);
            assert_int_equal(entry->value[n % 4], n + 1);
            for (unsigned type = 0; type < 4; type++) assert_int_equal(key_entry_has_value(entry, type), type == n % 4);
        }
        for (uint64_t i = 0; i < KEYS; i++) {
            uint64_t n = i * 7919 % KEYS; /* 7919 and 200000 have no common factor */
            key_index_remove(&index, numbers[n]);
            struct writeset_key key = key_of(n, false);
            assert_int_equal(find(&index, &key), KEY_INDEX_NONE);
        }
        assert_int_equal(index.count, 0);
        assert_true(index.bucket_count <= 1024 + KEYS / 2);
        size_t allocated = 0;
        for (uint32_t i = 0; i < index.chunk_count; i++) allocated += index.chunks[i].entries != NULL;
        assert_true(allocated <= 1);
        assert_int_equal(index.chunk_count, (KEYS + KEY_INDEX_CHUNK - 1) / KEY_INDEX_CHUNK);
    }
    key_index_free(&index);
}

/* Wide identities that differ only behind the first 8 bytes are different keys; a narrow one is like both. */
static void test_wide_identities(void **state) {
    struct key_index index;
    assert_int_equal(key_index_init(&index, secret), 0);
    struct writeset_key a = key_of(1, true), b = a, narrow = key_of(1, false);
    b.id_high ^= 1;
    uint32_t first = key_index_insert(&index, &a, key_index_hash(&index, a.id_low));
    assert_int_equal(find(&index, &b), KEY_INDEX_NONE);
    assert_int_equal(find(&index, &narrow), first);
    uint32_t second = key_index_insert(&index, &b, key_index_hash(&index, b.id_low));
    assert_int_not_equal(first, second);
    assert_int_equal(find(&index, &a), first);
    assert_int_equal(find(&index, &b), second);
    assert_int_not_equal(find(&index, &narrow), KEY_INDEX_NONE);
    key_index_free(&index);
}

static void test_random_work(void **state) {
    struct key_index index;
    struct xb_random random;
    static uint32_t numbers[5000];
    xb_random_seed(&random, 5);
    assert_int_equal(key_index_init(&index, secret), 0);
    memset(numbers, 0xff, sizeof(numbers));
    size_t count = 0;
    for (int i = 0; i < 200000; i++) {
        /* Phases of growth and of decline. */
        bool is_growing = i / 20000 % 2 == 0;
        uint64_t n = xb_random_below(&random, 5000);
        struct writeset_key key = key_of(n, n % 2);
        assert_int_equal(find(&index, &key), numbers[n]);
        if (numbers[n] == KEY_INDEX_NONE && (is_growing || i % 4 == 0)) {
            numbers[n] = key_index_insert(&index, &key, key_index_hash(&index, key.id_low));
            key_entry_set_value(key_index_entry(&index, numbers[n]), WRITESET_KEY_SHARED, 1);
            count++;
        } else if (numbers[n] != KEY_INDEX_NONE && (!is_growing || i % 4 == 0)) {
            key_index_remove(&index, numbers[n]);
            numbers[n] = KEY_INDEX_NONE;
            count--;
        }
        assert_int_equal(index.count, count);
        if (i % 50000 == 49999) {
            key_index_clear(&index);
            memset(numbers, 0xff, sizeof(numbers));
            count = 0;
            assert_int_equal(index.bucket_count, 1024);
        }
    }
    key_index_free(&index);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_grow_and_shrink),
        cmocka_unit_test(test_wide_identities),
        cmocka_unit_test(test_random_work),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
