/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Configuration changes, as IST and a recovered history bring them. First byte: 1 = the checksum is set right first. */
#include "fuzz.h"
#include "gcs/cchange.h"
#include "support/vectors.h"

#include "base/hash.h"

#define IST_HEADER_SIZE 24
#define IST_CCHANGE 5

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size) return 0;
    uint8_t *bytes = fuzz_copy(data + 1, --size);
    if (data[0] & 1 && size >= 8) {
        struct xb_hash128 hash = xb_fast_hash128(bytes, size - 8);
        memcpy(bytes + size - 8, hash.bytes, 8);
    }
    struct gcs_cchange change;
    struct xb_error error = {0};
    int rc = gcs_cchange_decode(&change, bytes, size, &error);
    fuzz_require(rc == 0 || error.text[0]);
    if (!rc) { /* what is accepted is written again alike, but for the case of UUIDs */
        fuzz_require(gcs_cchange_encoded_size(&change) == size);
        uint8_t *again = malloc(size);
        gcs_cchange_encode(&change, again);
        for (size_t i = 0; i < size - 8; i++) fuzz_require(again[i] == bytes[i] || again[i] == (bytes[i] | 0x20));
        free(again);
    }
    gcs_cchange_clear(&change);
    free(bytes);
    return 0;
}

void fuzz_seeds(fuzz_take *take, void *ctx) {
    struct vectors v = vectors_load("ist");
    struct vector record;
    static uint8_t seed[FUZZ_INPUT_MAX];
    while (vectors_next(&v, &record)) {
        if (record.size <= 1 + IST_HEADER_SIZE || record.size >= sizeof(seed) || record.data[2] != IST_CCHANGE)
            continue;
        seed[0] = 1;
        memcpy(seed + 1, record.data + 1 + IST_HEADER_SIZE, record.size - 1 - IST_HEADER_SIZE);
        take(ctx, seed, record.size - IST_HEADER_SIZE);
    }
    free(v.bytes);
}
