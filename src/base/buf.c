/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Shared message buffer with headroom. */
#include "base/buf.h"

#include <assert.h>
#include <stdlib.h>

struct xb_buf *xb_buf_new(size_t headroom, size_t size) {
    if (headroom > UINT32_MAX || size > UINT32_MAX - headroom) return NULL;
    struct xb_buf *buf = malloc(sizeof(*buf) + headroom + size);
    if (!buf) return NULL;
    atomic_init(&buf->refs, 1);
    buf->capacity = (uint32_t)(headroom + size);
    buf->head = (uint32_t)headroom;
    buf->size = (uint32_t)size;
    return buf;
}

struct xb_buf *xb_buf_ref(struct xb_buf *buf) {
    atomic_fetch_add_explicit(&buf->refs, 1, memory_order_relaxed);
    return buf;
}

void xb_buf_unref(struct xb_buf *buf) {
    if (buf && atomic_fetch_sub_explicit(&buf->refs, 1, memory_order_acq_rel) == 1) free(buf);
}

uint8_t *xb_buf_push(struct xb_buf *buf, size_t n) {
    assert(n <= buf->head && atomic_load(&buf->refs) == 1);
    buf->head -= (uint32_t)n;
    buf->size += (uint32_t)n;
    return xb_buf_data(buf);
}

void xb_buf_pull(struct xb_buf *buf, size_t n) {
    assert(n <= buf->size);
    buf->head += (uint32_t)n;
    buf->size -= (uint32_t)n;
}
