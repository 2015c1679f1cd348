/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A stream of datagrams as it comes from a socket. First byte: 1 = checksums are set right first. */
#include "datagram/datagram.h"
#include "fuzz.h"
#include "gmcast/wire.h"
#include "support/vectors.h"

#include "base/hash.h"

#include <stdlib.h>

static void seal(uint8_t *data, size_t size) {
    while (size >= DATAGRAM_HEADER_SIZE) {
        uint32_t word = (uint32_t)xb_load_le(data, 4), length = word & 0xffffff;
        if (length > size - DATAGRAM_HEADER_SIZE) return;
        uint8_t prefix[4];
        xb_store_le(prefix, length, 4);
        bool is_crc32c = word & 0x02000000;
        uint32_t crc = is_crc32c ? xb_crc32c(0, prefix, 4) : xb_crc32(0, prefix, 4);
        const uint8_t *body = data + DATAGRAM_HEADER_SIZE;
        crc = is_crc32c ? xb_crc32c(crc, body, length) : xb_crc32(crc, body, length);
        xb_store_le(data + 4, word & 0x03000000 ? crc : 0, 4);
        data += DATAGRAM_HEADER_SIZE + length;
        size -= DATAGRAM_HEADER_SIZE + length;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size) return 0;
    uint8_t *copy = fuzz_copy(data + 1, size - 1);
    const uint8_t *at = copy, *body = NULL;
    size_t left = size - 1, body_size = 0;
    if (data[0] & 1) seal(copy, left);
    struct xb_error error = {0};
    int used;
    while ((used = datagram_parse(at, left, &body, &body_size, &error)) > 0) {
        fuzz_require((size_t)used <= left && body == at + DATAGRAM_HEADER_SIZE);
        fuzz_require(body_size > 0 && body_size + DATAGRAM_HEADER_SIZE == (size_t)used);
        struct wire_message message;
        if (!mesh_read_message(&message, body, body_size, &error))
            fuzz_require(message.payload + message.payload_size == body + body_size);
        at += used;
        left -= (size_t)used;
    }
    fuzz_require(used == 0 || error.text[0]);
    free(copy);
    return 0;
}

void fuzz_seeds(fuzz_take *take, void *ctx) {
    struct vectors v = vectors_load("gmcast");
    struct vector record;
    static uint8_t seed[FUZZ_INPUT_MAX];
    for (uint8_t mode = 0; vectors_next(&v, &record); mode ^= 1) {
        if (2 * record.size >= sizeof(seed)) continue;
        seed[0] = mode;
        memcpy(seed + 1, record.data, record.size);
        memcpy(seed + 1 + record.size, record.data, record.size);
        take(ctx, seed, 1 + 2 * record.size);
    }
    free(v.bytes);
}
