/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Recovery of the history from a file with anything in it; then the history must be of use, and a second recovery must
 * find what the first left. First byte: 1 = the checksums of what look like buffers are set right first.
 */
#include "fuzz.h"
#include "gcache/internal.h"

#include "base/hash.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define RING_BYTES 4096
#define FILE_BYTES (RING_BYTES + RING_FILE_OVERHEAD)
#define BUFFERS 40

static const struct xb_uuid history = {{0xa1, 1, 2, 3, 4, 5, 0x11, 7, 0x81, 9, 10, 11, 12, 13, 14, 15}};

/* What recovery looks at in a certified write set. */
static void seal(uint8_t *buf, size_t size, int64_t seqno) {
    if (size < 64) return;
    buf[0] = 0x47;
    buf[2] = 64;
    buf[5] |= 0x40;
    xb_store_le(buf + 8, (uint64_t)seqno, 8);
    xb_store_le(buf + 56, xb_fast_hash64(buf, 56), 8);
}

static void fix(uint8_t *file) {
    for (size_t at = RING_START; at + HEADER_SIZE <= FILE_BYTES;) {
        uint8_t *header = file + at;
        size_t size = (size_t)xb_load_le(header + 16, 4);
        if (size < HEADER_SIZE || size % 8 || size > FILE_BYTES - at) {
            at += 8;
            continue;
        }
        seal(header + HEADER_SIZE, size - HEADER_SIZE, (int64_t)xb_load_le(header, 8));
        at += size;
    }
}

static struct gcache *open_cache(const char *directory) {
    struct gcache_config config = {.dir = directory,
                                   .name = "galera.cache",
                                   .size_bytes = RING_BYTES,
                                   .page_size_bytes = RING_BYTES,
                                   .is_recovering = true};
    struct xb_error error;
    struct gcache *cache = gcache_open(&config, NULL, &error);
    if (!cache) fuzz_violated(error.text, __FILE__, __LINE__);
    return cache;
}

static int64_t newest(struct gcache *cache) {
    struct gcache_status status;
    gcache_get_status(cache, &status);
    return status.max;
}

/* Everything between min and max is there, and readable to its end. */
static void check(struct gcache *cache) {
    int64_t min = gcache_min(cache), max = newest(cache);
    volatile uint8_t sum = 0;
    for (int64_t seqno = min; max >= 0 && seqno <= max; seqno++) {
        struct gcache_entry entry;
        fuzz_require(!gcache_get(cache, seqno, &entry) && entry.seqno == seqno && entry.size > 0);
        fuzz_require(entry.is_skip || gcache_is_intact(cache, seqno, entry.type, entry.buf, entry.size));
        for (size_t i = 0; i < entry.size; i++) sum = (uint8_t)(sum + entry.buf[i]);
    }
    gcache_release(cache, max);
}

static void fill(struct gcache *cache, unsigned count, unsigned salt) {
    for (unsigned i = 0; i < count; i++) {
        int64_t max = newest(cache), seqno = max < 0 ? 1 : max + 1;
        size_t size = 64 + (i * 37 + salt) % 300;
        if (max == INT64_MAX) return;
        uint8_t *buf = gcache_alloc(cache, size);
        fuzz_require(buf);
        memset(buf, (int)i, size);
        seal(buf, size, seqno);
        fuzz_require(!gcache_assign(cache, buf, seqno, GCACHE_WRITESET, i % 7 == 6));
        if (i % 3 == 2) gcache_release(cache, seqno);
    }
}

static void run(const char *directory, const uint8_t *file, size_t size) {
    char path[64];
    snprintf(path, sizeof(path), "%s/galera.cache", directory);
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    if (fd < 0 || write(fd, file, size) != (ssize_t)size || close(fd)) abort();

    struct gcache *cache = open_cache(directory);
    check(cache);
    int64_t min = gcache_min(cache), max = newest(cache);
    gcache_close(cache);

    cache = open_cache(directory);
    fuzz_require(gcache_min(cache) == min && newest(cache) == max);
    if (max < 0) gcache_reset(cache, &history, 0);
    fill(cache, BUFFERS, (unsigned)size);
    gcache_release(cache, newest(cache));
    check(cache);
    gcache_close(cache);

    cache = open_cache(directory);
    check(cache);
    gcache_close(cache);
    unlink(path);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size) return 0;
    static uint8_t file[FILE_BYTES + 64];
    memset(file, 0, sizeof(file));
    size_t file_size = size - 1 < sizeof(file) ? size - 1 : sizeof(file);
    memcpy(file, data + 1, file_size);
    if (data[0] & 1) fix(file);
    char directory[] = "/dev/shm/xb-fuzz-XXXXXX";
    if (!mkdtemp(directory)) abort();
    run(directory, file, data[0] & 1 ? FILE_BYTES : file_size);
    rmdir(directory);
    return 0;
}

/* Files as they are after use: closed, and as a killed process leaves them. */
static size_t make_file(const char *directory, unsigned count, bool is_closed, uint8_t *to) {
    char path[64];
    snprintf(path, sizeof(path), "%s/galera.cache", directory);
    struct gcache *cache = open_cache(directory);
    gcache_reset(cache, &history, 0);
    fill(cache, count, count);
    if (is_closed) gcache_close(cache);
    int fd = open(path, O_RDONLY);
    ssize_t size = read(fd, to, FILE_BYTES);
    close(fd);
    if (!is_closed) gcache_close(cache);
    unlink(path);
    return size > 0 ? (size_t)size : 0;
}

void fuzz_seeds(fuzz_take *take, void *ctx) {
    static uint8_t seed[FILE_BYTES + 1];
    char directory[] = "/dev/shm/xb-fuzz-XXXXXX";
    if (!mkdtemp(directory)) abort();
    for (unsigned count = 0; count < 48; count += 3) {
        seed[0] = count % 2;
        size_t size = make_file(directory, count, count % 4 < 2, seed + 1);
        take(ctx, seed, 1 + size);
    }
    rmdir(directory);
}
