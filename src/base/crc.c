/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Checksums: CRC-32 and CRC-32C of the datagrams (spec 02 section 5), CRC-16/ARC of PC messages (spec 04 section 3.5).
 *
 * A CRC is linear, so each row of 256 table entries follows from its eight entries for single bits. The source holds
 * only those and the compiler makes the rows. Row k gives the remainder of a byte that k more bytes follow, so eight
 * bytes take eight independent lookups ("slicing by eight").
 */
#include "base/hash.h"

#include <endian.h>
#include <string.h>

#define BIT(i, n, v) ((i) >> (n)&1 ? (v) : 0)
#define ENTRY(i, a, b, c, d, e, f, g, h)                                                                               \
    (BIT(i, 0, a) ^ BIT(i, 1, b) ^ BIT(i, 2, c) ^ BIT(i, 3, d) ^ BIT(i, 4, e) ^ BIT(i, 5, f) ^ BIT(i, 6, g) ^          \
     BIT(i, 7, h))
#define ENTRIES4(i, ...)                                                                                               \
    ENTRY(i, __VA_ARGS__), ENTRY((i) + 1, __VA_ARGS__), ENTRY((i) + 2, __VA_ARGS__), ENTRY((i) + 3, __VA_ARGS__)
#define ENTRIES16(i, ...)                                                                                              \
    ENTRIES4(i, __VA_ARGS__), ENTRIES4((i) + 4, __VA_ARGS__), ENTRIES4((i) + 8, __VA_ARGS__),                          \
        ENTRIES4((i) + 12, __VA_ARGS__)
#define ENTRIES64(i, ...)                                                                                              \
    ENTRIES16(i, __VA_ARGS__), ENTRIES16((i) + 16, __VA_ARGS__), ENTRIES16((i) + 32, __VA_ARGS__),                     \
        ENTRIES16((i) + 48, __VA_ARGS__)
#define ROW(...)                                                                                                       \
    ENTRIES64(0, __VA_ARGS__), ENTRIES64(64, __VA_ARGS__), ENTRIES64(128, __VA_ARGS__), ENTRIES64(192, __VA_ARGS__)

/* Polynomial 0xEDB88320 (reflected). */
static const uint32_t crc32_table[8][256] = {
    {ROW(0x77073096, 0xEE0E612C, 0x076DC419, 0x0EDB8832, 0x1DB71064, 0x3B6E20C8, 0x76DC4190, 0xEDB88320)},
    {ROW(0x191B3141, 0x32366282, 0x646CC504, 0xC8D98A08, 0x4AC21251, 0x958424A2, 0xF0794F05, 0x3B83984B)},
    {ROW(0x01C26A37, 0x0384D46E, 0x0709A8DC, 0x0E1351B8, 0x1C26A370, 0x384D46E0, 0x709A8DC0, 0xE1351B80)},
    {ROW(0xB8BC6765, 0xAA09C88B, 0x8F629757, 0xC5B428EF, 0x5019579F, 0xA032AF3E, 0x9B14583D, 0xED59B63B)},
    {ROW(0x3D6029B0, 0x7AC05360, 0xF580A6C0, 0x30704BC1, 0x60E09782, 0xC1C12F04, 0x58F35849, 0xB1E6B092)},
    {ROW(0xCB5CD3A5, 0x4DC8A10B, 0x9B914216, 0xEC53826D, 0x03D6029B, 0x07AC0536, 0x0F580A6C, 0x1EB014D8)},
    {ROW(0xA6770BB4, 0x979F1129, 0xF44F2413, 0x33EF4E67, 0x67DE9CCE, 0xCFBD399C, 0x440B7579, 0x8816EAF2)},
    {ROW(0xCCAA009E, 0x4225077D, 0x844A0EFA, 0xD3E51BB5, 0x7CBB312B, 0xF9766256, 0x299DC2ED, 0x533B85DA)},
};

/* Polynomial 0x82F63B78 (reflected). */
static const uint32_t crc32c_table[8][256] = {
    {ROW(0xF26B8303, 0xE13B70F7, 0xC79A971F, 0x8AD958CF, 0x105EC76F, 0x20BD8EDE, 0x417B1DBC, 0x82F63B78)},
    {ROW(0x13A29877, 0x274530EE, 0x4E8A61DC, 0x9D14C3B8, 0x3FC5F181, 0x7F8BE302, 0xFF17C604, 0xFBC3FAF9)},
    {ROW(0xA541927E, 0x4F6F520D, 0x9EDEA41A, 0x38513EC5, 0x70A27D8A, 0xE144FB14, 0xC76580D9, 0x8B277743)},
    {ROW(0xDD45AAB8, 0xBF672381, 0x7B2231F3, 0xF64463E6, 0xE964B13D, 0xD725148B, 0xABA65FE7, 0x52A0C93F)},
    {ROW(0x38116FAC, 0x7022DF58, 0xE045BEB0, 0xC5670B91, 0x8F2261D3, 0x1BA8B557, 0x37516AAE, 0x6EA2D55C)},
    {ROW(0xEF306B19, 0xDB8CA0C3, 0xB2F53777, 0x6006181F, 0xC00C303E, 0x85F4168D, 0x0E045BEB, 0x1C08B7D6)},
    {ROW(0x68032CC8, 0xD0065990, 0xA5E0C5D1, 0x4E2DFD53, 0x9C5BFAA6, 0x3D5B83BD, 0x7AB7077A, 0xF56E0EF4)},
    {ROW(0x493C7D27, 0x9278FA4E, 0x211D826D, 0x423B04DA, 0x847609B4, 0x0D006599, 0x1A00CB32, 0x34019664)},
};

/* Polynomial 0xA001 (reflected). */
static const uint16_t crc16_table[256] = {ROW(0xC0C1, 0xC181, 0xC301, 0xC601, 0xCC01, 0xD801, 0xF001, 0xA001)};

static uint32_t crc_by_table(const uint32_t table[8][256], uint32_t crc, const uint8_t *p, size_t size) {
    crc = ~crc;
    for (; size >= 8; size -= 8, p += 8) {
        uint64_t v;
        memcpy(&v, p, sizeof(v));
        v = le64toh(v) ^ crc;
        crc = table[7][v & 0xFF] ^ table[6][v >> 8 & 0xFF] ^ table[5][v >> 16 & 0xFF] ^ table[4][v >> 24 & 0xFF] ^
              table[3][v >> 32 & 0xFF] ^ table[2][v >> 40 & 0xFF] ^ table[1][v >> 48 & 0xFF] ^ table[0][v >> 56];
    }
    for (; size > 0; size--, p++) crc = table[0][(crc ^ *p) & 0xFF] ^ crc >> 8;
    return ~crc;
}

uint32_t xb_crc32(uint32_t crc, const void *data, size_t size) {
    return crc_by_table(crc32_table, crc, data, size);
}

uint32_t xb_crc32c_by_table(uint32_t crc, const void *data, size_t size) {
    return crc_by_table(crc32c_table, crc, data, size);
}

#if defined(__x86_64__)

__attribute__((target("sse4.2"))) static uint32_t crc32c_by_instruction(uint32_t crc, const uint8_t *p, size_t size) {
    uint64_t state = (uint32_t)~crc;
    for (; size >= 8; size -= 8, p += 8) {
        uint64_t v;
        memcpy(&v, p, sizeof(v));
        state = __builtin_ia32_crc32di(state, v);
    }
    uint32_t rest = (uint32_t)state;
    for (; size > 0; size--, p++) rest = __builtin_ia32_crc32qi(rest, *p);
    return ~rest;
}

uint32_t xb_crc32c(uint32_t crc, const void *data, size_t size) {
    if (__builtin_cpu_supports("sse4.2")) return crc32c_by_instruction(crc, data, size);
    return xb_crc32c_by_table(crc, data, size);
}

#else

uint32_t xb_crc32c(uint32_t crc, const void *data, size_t size) {
    return xb_crc32c_by_table(crc, data, size);
}

#endif

uint16_t xb_crc16(uint16_t crc, const void *data, size_t size) {
    const uint8_t *p = data;
    for (; size > 0; size--, p++) crc = (uint16_t)(crc16_table[(crc ^ *p) & 0xFF] ^ crc >> 8);
    return crc;
}
