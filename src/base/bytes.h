/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Bounds-checked cursors over bytes. All parsing and all building of messages goes through them.
 *
 * A reader never reads past its end: the first read that does not fit sets `is_bad`, returns zero, and so does every
 * later read. So a parser reads like the table in the specification, and checks `xb_reader_ok` once at its end
 * (and before it trusts a count for a loop or an allocation).
 * A writer likewise never writes past its end and sets `is_bad` instead; `used` is then meaningless.
 * Integers are little-endian unless the name says `be`. Neither owns the memory it works on.
 */
#ifndef XB_BASE_BYTES_H
#define XB_BASE_BYTES_H

#include <endian.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct xb_reader {
    const uint8_t *data;
    size_t size;
    size_t used;
    bool is_bad;
};

struct xb_writer {
    uint8_t *data;
    size_t size;
    size_t used;
    bool is_bad;
};

/* Plain loads and stores of n <= 8 bytes for places whose bounds are already known. One instruction for constant n. */
static inline uint64_t xb_load_le(const void *from, size_t n) {
    uint64_t v = 0;
    memcpy(&v, from, n);
    return le64toh(v);
}

static inline void xb_store_le(void *to, uint64_t v, size_t n) {
    v = htole64(v);
    memcpy(to, &v, n);
}

static inline struct xb_reader xb_reader_init(const void *data, size_t size) {
    return (struct xb_reader){.data = data, .size = size};
}

static inline bool xb_reader_ok(const struct xb_reader *r) {
    return !r->is_bad;
}

static inline size_t xb_reader_left(const struct xb_reader *r) {
    return r->is_bad ? 0 : r->size - r->used;
}

/* -> pointer to the next n bytes and moves on, or NULL (and is_bad) if they are not there. n = 0 is allowed. */
static inline const uint8_t *xb_read_bytes(struct xb_reader *r, size_t n) {
    if (r->is_bad || n > r->size - r->used) {
        r->is_bad = true;
        return NULL;
    }
    const uint8_t *p = r->data + r->used;
    r->used += n;
    return p;
}

static inline uint64_t xb_read_le(struct xb_reader *r, size_t n) {
    const uint8_t *p = xb_read_bytes(r, n);
    return p ? xb_load_le(p, n) : 0;
}

static inline uint8_t xb_read_u8(struct xb_reader *r) {
    return (uint8_t)xb_read_le(r, 1);
}
static inline uint16_t xb_read_u16(struct xb_reader *r) {
    return (uint16_t)xb_read_le(r, 2);
}
static inline uint32_t xb_read_u32(struct xb_reader *r) {
    return (uint32_t)xb_read_le(r, 4);
}
static inline uint64_t xb_read_u64(struct xb_reader *r) {
    return xb_read_le(r, 8);
}
static inline int32_t xb_read_i32(struct xb_reader *r) {
    return (int32_t)xb_read_le(r, 4);
}
static inline int64_t xb_read_i64(struct xb_reader *r) {
    return (int64_t)xb_read_le(r, 8);
}

/* -> a NUL-terminated string inside the data, cursor behind its NUL; NULL (and is_bad) if there is no NUL. */
static inline const char *xb_read_cstr(struct xb_reader *r) {
    if (r->is_bad) return NULL;
    const void *end = memchr(r->data + r->used, 0, r->size - r->used);
    if (!end) {
        r->is_bad = true;
        return NULL;
    }
    const char *s = (const char *)(r->data + r->used);
    r->used = (size_t)((const uint8_t *)end - r->data) + 1;
    return s;
}

/* Copies n bytes out; zeroes `to` if they are not there. */
static inline void xb_read_copy(struct xb_reader *r, void *to, size_t n) {
    const uint8_t *p = xb_read_bytes(r, n);
    if (p)
        memcpy(to, p, n);
    else
        memset(to, 0, n);
}

static inline struct xb_writer xb_writer_init(void *data, size_t size) {
    return (struct xb_writer){.data = data, .size = size};
}

static inline bool xb_writer_ok(const struct xb_writer *w) {
    return !w->is_bad;
}

/* -> place for n bytes (to be filled by the caller) and moves on, or NULL (and is_bad). */
static inline uint8_t *xb_write_space(struct xb_writer *w, size_t n) {
    if (w->is_bad || n > w->size - w->used) {
        w->is_bad = true;
        return NULL;
    }
    uint8_t *p = w->data + w->used;
    w->used += n;
    return p;
}

static inline void xb_write_bytes(struct xb_writer *w, const void *from, size_t n) {
    uint8_t *p = xb_write_space(w, n);
    if (p && n) memcpy(p, from, n);
}

static inline void xb_write_zero(struct xb_writer *w, size_t n) {
    uint8_t *p = xb_write_space(w, n);
    if (p) memset(p, 0, n);
}

static inline void xb_write_le(struct xb_writer *w, uint64_t v, size_t n) {
    uint8_t *p = xb_write_space(w, n);
    if (p) xb_store_le(p, v, n);
}

static inline void xb_write_u8(struct xb_writer *w, uint8_t v) {
    xb_write_le(w, v, 1);
}
static inline void xb_write_u16(struct xb_writer *w, uint16_t v) {
    xb_write_le(w, v, 2);
}
static inline void xb_write_u32(struct xb_writer *w, uint32_t v) {
    xb_write_le(w, v, 4);
}
static inline void xb_write_u64(struct xb_writer *w, uint64_t v) {
    xb_write_le(w, v, 8);
}
static inline void xb_write_i32(struct xb_writer *w, int32_t v) {
    xb_write_le(w, (uint32_t)v, 4);
}
static inline void xb_write_i64(struct xb_writer *w, int64_t v) {
    xb_write_le(w, (uint64_t)v, 8);
}

/* Writes the string with its NUL. */
static inline void xb_write_cstr(struct xb_writer *w, const char *s) {
    xb_write_bytes(w, s, strlen(s) + 1);
}

#endif
