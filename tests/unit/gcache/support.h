/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the tests of the history share: directories, write sets with checkable content, files made by hand. */
#ifndef XB_TESTS_GCACHE_SUPPORT_H
#define XB_TESTS_GCACHE_SUPPORT_H

#include "base/bytes.h"
#include "base/hash.h"
#include "base/random.h"
#include "gcache/gcache.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

#define WS_MIN 80

static const struct xb_uuid uuid_a = {{0xa1, 1, 2, 3, 4, 5, 0x11, 7, 0x81, 9, 10, 11, 12, 13, 14, 15}};
static const struct xb_uuid uuid_b = {{0xb2, 1, 2, 3, 4, 5, 0x11, 7, 0x81, 9, 10, 11, 12, 13, 14, 15}};

struct fixture {
    char dir[64];
    struct gcache_config config;
};

/* A certified write set as far as the history looks at it; the payload ends with its own CRC. */
static inline void ws_fill(uint8_t *buf, size_t size, int64_t seqno) {
    assert_true(size >= WS_MIN && size % 8 == 0);
    memset(buf, 0, 64);
    buf[0] = 0x47;
    buf[1] = 0x63;
    buf[2] = 64;
    xb_store_le(buf + 4, 0x4041, 2);
    xb_store_le(buf + 8, (uint64_t)seqno, 8);
    xb_store_le(buf + 56, xb_fast_hash64(buf, 56), 8);
    for (size_t i = 64; i < size; i++) buf[i] = (uint8_t)((uint64_t)seqno * 31 + i * 7);
    xb_store_le(buf + size - 4, xb_crc32c(0, buf + 64, size - 68), 4);
}

static inline bool ws_is_payload_intact(void *ctx, enum gcache_type type, const void *buf, size_t size) {
    const uint8_t *p = buf;
    if (type != GCACHE_WRITESET) return true;
    return size >= WS_MIN && xb_load_le(p + size - 4, 4) == xb_crc32c(0, p + 64, size - 68);
}

static inline void ws_check(const struct gcache_entry *entry) {
    uint8_t *expected = malloc(entry->size);
    ws_fill(expected, entry->size, entry->seqno);
    assert_memory_equal(expected, entry->buf, entry->size);
    free(expected);
}

static inline void *ws_put(struct gcache *cache, int64_t seqno, size_t size) {
    void *buf = gcache_alloc(cache, size);
    assert_non_null(buf);
    ws_fill(buf, size, seqno);
    assert_int_equal(gcache_assign(cache, buf, seqno, GCACHE_WRITESET, false), 0);
    return buf;
}

static inline void fixture_init(struct fixture *f) {
    snprintf(f->dir, sizeof(f->dir), "%s/xb-gcache-XXXXXX", access("/dev/shm", W_OK) ? "/tmp" : "/dev/shm");
    assert_non_null(mkdtemp(f->dir));
    f->config = (struct gcache_config){.dir = f->dir,
                                       .name = "galera.cache",
                                       .size_bytes = 64 * 1024,
                                       .page_size_bytes = 32 * 1024,
                                       .is_recovering = true,
                                       .is_payload_intact = ws_is_payload_intact};
}

static inline void fixture_clear(struct fixture *f) {
    char command[128];
    snprintf(command, sizeof(command), "rm -rf '%s'", f->dir);
    assert_int_equal(system(command), 0);
}

static inline struct gcache *fixture_open(struct fixture *f) {
    struct xb_error error = {0};
    struct gcache *cache = gcache_open(&f->config, NULL, &error);
    if (!cache) fail_msg("%s", error.text);
    return cache;
}

static inline const char *fixture_path(struct fixture *f, const char *name, char path[128]) {
    snprintf(path, 128, "%s/%s", f->dir, name);
    return path;
}

/* The highest seqno; -1: none. */
static inline int64_t newest(struct gcache *cache) {
    struct gcache_status status;
    gcache_get_status(cache, &status);
    return status.max;
}

/* Takes all that is there back, so that the history's own thread deletes nothing of it. -> the lowest; -1: none */
static inline int64_t hold_all(struct gcache *cache) {
    struct gcache_entry entry;
    int64_t min;
    do min = gcache_min(cache);
    while (min >= 0 && gcache_get(cache, min, &entry));
    return min;
}

/* Everything from min to max is there and right. -> how many */
static inline int64_t check_all(struct gcache *cache) {
    struct gcache_status before;
    gcache_get_status(cache, &before);
    int64_t min = hold_all(cache), max = newest(cache);
    if (max < 0) return 0;
    for (int64_t s = min; s <= max; s++) {
        struct gcache_entry entry;
        assert_true(gcache_has(cache, s, &entry));
        assert_int_equal(entry.seqno, s);
        if (entry.type == GCACHE_WRITESET && !entry.is_skip) ws_check(&entry);
    }
    gcache_release(cache, before.released);
    return max - min + 1;
}

static inline void check_uuid(struct gcache *cache, const struct xb_uuid *expected) {
    struct xb_uuid uuid = gcache_uuid(cache);
    assert_true(xb_uuid_equal(&uuid, expected));
}

/* Pages are deleted by the history's own thread. */
static inline void await_page_count(struct gcache *cache, int64_t count) {
    struct gcache_status status;
    for (int tries = 0; tries < 20000; tries++) {
        gcache_get_status(cache, &status);
        if (status.page_count == count) return;
        poll(NULL, 0, 1);
    }
    fail_msg("%lld pages instead of %lld", (long long)status.page_count, (long long)count);
}

static inline uint8_t *file_read(const char *path, size_t *size) {
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    fseek(f, 0, SEEK_END);
    *size = (size_t)ftell(f);
    rewind(f);
    uint8_t *bytes = malloc(*size + 1);
    assert_int_equal(fread(bytes, 1, *size, f), *size);
    fclose(f);
    return bytes;
}

static inline void file_write(const char *path, const uint8_t *bytes, size_t size) {
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, size, f), size);
    fclose(f);
}

#endif
