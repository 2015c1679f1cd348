/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Hash functions and checksums against the vectors of spec 06 section 5.5, of the captures, and the public ones. */
#include "base/hash.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void fill_ramp(uint8_t *to, size_t size) {
    for (size_t i = 0; i < size; i++) to[i] = (uint8_t)i;
}

static void assert_hash_hex(struct xb_hash128 hash, const char *hex) {
    char text[33];
    for (int i = 0; i < 16; i++) snprintf(text + 2 * i, 3, "%02x", hash.bytes[i]);
    assert_string_equal(text, hex);
}

static void test_vectors(void **state) {
    static uint8_t ramp[600];
    fill_ramp(ramp, sizeof(ramp));
    const struct {
        const void *data;
        size_t size;
        uint32_t murmur32;
        const char *murmur128;
        uint32_t fast32;
        uint64_t fast64;
    } vectors[] = {
        {"", 0, 0xab3e7c0b, "a9ce5a560c0bf7d6634f6f810e0bf20a", 0xab3e7c0b, 0xca21c602a1b8556c},
        {"\0", 1, 0xe0bcff2b, "dae4dd8e07bbff76c57b75f2046b034b", 0xe0bcff2b, 0x7fca0ab4b5be8694},
        {"abc", 3, 0x8e686885, "8518f935730b5459b03592e83262f0b5", 0x8e686885, 0x872ad64d6e2d7e43},
        {"0123456789abcde", 15, 0x6b17890b, "920f9fd8465476c204c44f2426a545b6", 0x6b17890b, 0xccad67090937530e},
        {"0123456789abcdef", 16, 0x2dda8659, "437c50aceb65ac3b6aae49596abf92f4", 0x2dda8659, 0x3bac65ebac507c43},
        {ramp, 32, 0xef9ff8d3, "086a5b3c851c3f60baaa6bdef5f797d3", 0x3c5b6a08, 0x603f1c853c5b6a08},
        {ramp, 511, 0x5e63f267, "0723914cada9ba7149cf9803595cb092", 0x4c912307, 0x71baa9ad4c912307},
        {ramp, 512, 0x77be3507, "da6afc1ad266da0e5fb4fdb7e5ced6f0", 0xbaf04e06, 0x96e62559baf04e06},
        {ramp, 600, 0xdeed0eea, "e311db253c13fced72ba0d293424543b", 0x17f19f43, 0x5f834ea317f19f43},
    };
    for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
        const void *data = vectors[i].data;
        size_t size = vectors[i].size;
        assert_int_equal(xb_murmur3_32(data, size, XB_MURMUR32_SEED), vectors[i].murmur32);
        assert_hash_hex(xb_murmur128(data, size), vectors[i].murmur128);
        assert_int_equal(xb_fast_hash32(data, size), vectors[i].fast32);
        assert_true(xb_fast_hash64(data, size) == vectors[i].fast64);
        if (size < 512) assert_hash_hex(xb_fast_hash128(data, size), vectors[i].murmur128);
    }
    assert_hash_hex(xb_fast_hash128(ramp, 512), "064ef0ba5925e6965de77c8e048af756");
    assert_hash_hex(xb_fast_hash128(ramp, 600), "439ff117a34e835fddac86e3a145cf75");
}

/* The public self-test: hash keys {0}, {0,1}, ... with seed 256 - length, then the hashes themselves with seed 0. */
static void test_murmur32_self_test(void **state) {
    uint8_t key[256], hashes[256 * 4];
    for (int i = 0; i < 256; i++) {
        key[i] = (uint8_t)i;
        uint32_t h = xb_murmur3_32(key, (size_t)i, (uint32_t)(256 - i));
        for (int b = 0; b < 4; b++) hashes[4 * i + b] = (uint8_t)(h >> (8 * b));
    }
    assert_int_equal(xb_murmur3_32(hashes, sizeof(hashes), 0), 0xB0F57EE3);
}

static void test_streaming_equals_at_once(void **state) {
    uint8_t data[100];
    fill_ramp(data, sizeof(data));
    for (size_t size = 0; size <= sizeof(data); size++) {
        struct xb_hash128 expected = xb_murmur128(data, size);
        for (size_t first = 0; first <= size; first++) {
            for (size_t step = 1; step <= 33; step += 4) {
                struct xb_murmur128 murmur;
                xb_murmur128_init(&murmur);
                xb_murmur128_update(&murmur, data, first);
                for (size_t at = first; at < size; at += step)
                    xb_murmur128_update(&murmur, data + at, size - at < step ? size - at : step);
                struct xb_murmur128 copy = murmur;
                xb_murmur128_update(&copy, "x", 1);
                struct xb_hash128 hash = xb_murmur128_final(&murmur);
                assert_memory_equal(hash.bytes, expected.bytes, 16);
            }
        }
    }
}

static uint32_t crc_by_bits(uint32_t polynomial, uint32_t crc, const uint8_t *p, size_t size) {
    crc = ~crc;
    for (size_t i = 0; i < size; i++) {
        crc ^= p[i];
        for (int b = 0; b < 8; b++) crc = crc & 1 ? crc >> 1 ^ polynomial : crc >> 1;
    }
    return ~crc;
}

static void test_checksums(void **state) {
    assert_int_equal(xb_crc32(0, "123456789", 9), 0xCBF43926);
    assert_int_equal(xb_crc32c(0, "123456789", 9), 0xE3069283);
    assert_int_equal(xb_crc32c_by_table(0, "123456789", 9), 0xE3069283);
    assert_int_equal(xb_crc16(0, "123456789", 9), 0xBB3D);
    uint8_t data[301];
    uint32_t v = 1;
    for (size_t i = 0; i < sizeof(data); i++) data[i] = (uint8_t)((v = v * 1664525u + 1013904223u) >> 24);
    for (size_t size = 0; size <= sizeof(data); size++) {
        for (size_t first = 0; first <= size; first += 7) {
            uint32_t crc32 = xb_crc32(xb_crc32(0, data, first), data + first, size - first);
            assert_int_equal(crc32, crc_by_bits(0xEDB88320, 0, data, size));
            uint32_t expected = crc_by_bits(0x82F63B78, 0, data, size);
            assert_int_equal(xb_crc32c(xb_crc32c(0, data, first), data + first, size - first), expected);
            assert_int_equal(xb_crc32c_by_table(xb_crc32c_by_table(0, data, first), data + first, size - first),
                             expected);
        }
    }
}

/* Messages of the captures: spec 02 section 19 (OK), spec 04 section 4.6. */
static void test_messages(void **state) {
    static const uint8_t ok[24] = {0x14, 0,    0,    0,    0x00, 0x03, 0x00, 0x00, 0x45, 0xa6, 0x0b, 0xc2,
                                   0xe7, 0xb1, 0x11, 0xf1, 0x81, 0x71, 0x0b, 0x84, 0x0c, 0xf8, 0x6f, 0xe5};
    assert_int_equal(xb_crc32c(0, ok, sizeof(ok)), 0xdc93902e);
    static const uint8_t user[24] = {0x14, 0,    0,    0,    0x01, 0x00, 0x00, 0x00, 0x87, 0x79, 0x45, 0xc1,
                                     0xe7, 0xb4, 0x11, 0xf1, 0xa9, 0x33, 0x22, 0xad, 0x7b, 0x4c, 0xc9, 0x47};
    assert_int_equal(xb_crc16(0, user, sizeof(user)), 0x3D9F);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_murmur32_self_test),
        cmocka_unit_test(test_streaming_equals_at_once),
        cmocka_unit_test(test_checksums),
        cmocka_unit_test(test_messages),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
