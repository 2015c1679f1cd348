/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The joiner's side of incremental state transfer, from a donor that sends anything. The stream functions here stand in
 * for those of src/net: they read the input.
 *
 * u8 mode (1: header checksums are set right, 2: payloads too), u8 what the joiner needs beyond the first seqno, u8
 * what the history holds already; then the donor's bytes.
 */
#include "checksums.h"
#include "fuzz.h"
#include "gcs/cchange.h"
#include "ist/internal.h"
#include "support/vectors.h"
#include "writeset/writeset.h"

#include "base/hash.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define PREFIX_SIZE 3
#define RING_BYTES 65536

struct stream {
    struct xb_reader r;
};

int stream_read(struct stream *stream, void *to, size_t size, struct xb_error *error) {
    if (!xb_reader_left(&stream->r)) return xb_fail(error, -ENODATA, "the peer has ended the stream");
    if (size > xb_reader_left(&stream->r)) return xb_fail(error, -ECONNRESET, "in the midst of something");
    memcpy(to, xb_read_bytes(&stream->r, size), size);
    return 0;
}

ssize_t stream_read_some(struct stream *stream, void *to, size_t size, struct xb_error *error) {
    size_t left = xb_reader_left(&stream->r);
    if (size > left) size = left;
    if (size) memcpy(to, xb_read_bytes(&stream->r, size), size);
    return (ssize_t)size;
}

int stream_write(struct stream *stream, const void *data, size_t size, struct xb_error *error) {
    return 0;
}

int stream_flush(struct stream *stream, struct xb_error *error) {
    return 0;
}

static bool is_payload_intact(void *ctx, enum gcache_type type, const void *buf, size_t size) {
    struct writeset ws;
    return type != GCACHE_WRITESET || (!writeset_read(&ws, buf, size, NULL) && !writeset_check(&ws, NULL));
}

/* What the replicator does with it. */
static int on_event(void *ctx, const struct ist_event *event) {
    int64_t *next = ctx;
    fuzz_require(*next < 0 || event->seqno == *next);
    *next = event->seqno + 1;
    if (event->type == IST_SKIP) return 0;
    struct gcs_cchange change;
    struct writeset ws;
    int rc = event->type == IST_TRX ? writeset_read(&ws, event->buf, event->size, NULL)
                                    : gcs_cchange_decode(&change, event->buf, event->size, NULL);
    if (event->type == IST_CCHANGE) gcs_cchange_clear(&change);
    fuzz_require(event->type != IST_TRX || rc == 0 || event->was_cached);
    return rc ? -EPROTO : 0;
}

/* Makes checksums right along the stream. */
static void fix(uint8_t *data, size_t size, bool has_payloads) {
    while (size >= IST_HEADER_SIZE) {
        xb_store_le(data + 16, xb_fast_hash64(data, 16), 8);
        size_t length = xb_load_le(data + 4, 4), left = size - IST_HEADER_SIZE;
        uint8_t *payload = data + IST_HEADER_SIZE;
        if (data[1] < IST_MESSAGE_TRX) length = 0;
        if (length > left) return;
        if (has_payloads && data[1] == IST_MESSAGE_TRX && length >= 64) {
            memcpy(payload + 8, data + 8, 8);
            payload[5] |= 0x40;
            checksums_fix_writeset(payload, length);
        }
        if (has_payloads && data[1] == IST_MESSAGE_CCHANGE && length >= 16) {
            struct xb_hash128 hash = xb_fast_hash128(payload, length - 8);
            memcpy(payload + length - 8, hash.bytes, 8);
        }
        data = payload + length;
        size = left - length;
    }
}

static int64_t first_seqno(const uint8_t *data, size_t size) {
    while (size >= IST_HEADER_SIZE && data[1] < IST_MESSAGE_TRX) {
        data += IST_HEADER_SIZE;
        size -= IST_HEADER_SIZE;
    }
    int64_t seqno = size >= IST_HEADER_SIZE ? (int64_t)xb_load_le(data + 8, 8) : 1;
    return seqno > 0 && seqno < INT64_MAX - 1000 ? seqno : 1;
}

static struct gcache *open_cache(const char *directory, int64_t first, uint8_t held) {
    struct gcache_config config = {.dir = directory,
                                   .name = "galera.cache",
                                   .size_bytes = RING_BYTES,
                                   .page_size_bytes = RING_BYTES,
                                   .is_payload_intact = is_payload_intact};
    struct xb_error error;
    struct gcache *cache = gcache_open(&config, NULL, &error);
    if (!cache) abort();
    struct xb_uuid uuid = {{1, 2, 3}};
    gcache_reset(cache, &uuid, first - 1);
    for (uint8_t i = 0; i < (held & 7); i++) {
        void *buf = gcache_alloc(cache, 8);
        memset(buf, 0, 8);
        if (gcache_assign(cache, buf, first + i, i & 1 ? GCACHE_CCHANGE : GCACHE_WRITESET, held & 8)) abort();
    }
    return cache;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < PREFIX_SIZE) return 0;
    char directory[] = "/dev/shm/xb-fuzz-XXXXXX", path[64];
    if (!mkdtemp(directory)) abort();
    size_t stream_size = size - PREFIX_SIZE;
    uint8_t *bytes = fuzz_copy(data + PREFIX_SIZE, stream_size);
    if (data[0] & 3) fix(bytes, stream_size, data[0] & 2);
    int64_t first = first_seqno(bytes, stream_size), next = -1, last;
    struct ist_receiver receiver = {.config = {.version = data[0] & 4 ? 10 : 11,
                                               .cache = open_cache(directory, first, data[2]),
                                               .last_needed = first + (data[1] & 0x3f),
                                               .payload_size_max = 1 << 20},
                                    .io = {.ctx = &next, .event = on_event}};
    struct stream stream = {xb_reader_init(bytes, stream_size)};
    struct xb_error error = {0};
    int rc = ist_receive_events(&receiver, &stream, first + (data[1] >> 6), &last, &error);
    fuzz_require(rc == 0 || error.text[0]);
    fuzz_require(rc != 0 || last >= receiver.config.last_needed);
    gcache_close(receiver.config.cache);
    snprintf(path, sizeof(path), "%s/galera.cache", directory);
    unlink(path);
    rmdir(directory);
    free(bytes);
    return 0;
}

void fuzz_seeds(fuzz_take *take, void *ctx) {
    struct vectors v = vectors_load("ist");
    struct vector record;
    static uint8_t seed[FUZZ_INPUT_MAX];
    size_t size = 0;
    unsigned n = 0;
    while (vectors_next(&v, &record)) {
        if (record.data[0] != 0 || record.size > 4096) continue; /* of the joiner */
        if (!size) {
            memcpy(seed, (uint8_t[]){(uint8_t)(n % 4), (uint8_t)(n % 3), n % 5 ? 0 : (uint8_t)n}, PREFIX_SIZE);
            size = PREFIX_SIZE;
        }
        memcpy(seed + size, record.data + 1, record.size - 1);
        size += record.size - 1;
        if (++n % 4 && record.data[2] != IST_MESSAGE_CTRL) continue;
        uint8_t end[IST_HEADER_SIZE];
        ist_message_encode_plain(IST_MESSAGE_CTRL, IST_CTRL_EOF, 11, end);
        memcpy(seed + size, end, sizeof(end));
        take(ctx, seed, size + sizeof(end));
        size = 0;
    }
    free(v.bytes);
}
