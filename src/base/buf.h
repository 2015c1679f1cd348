/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shared message buffer with headroom.
 *
 * A message travels down the layers gcs -> pc -> evs -> gmcast -> datagram, and each puts its header in front. The
 * buffer is allocated once with room for all of them, so no layer copies the payload, and the finished datagram is
 * shared by reference among all connections it is queued on.
 *
 * Ownership: xb_buf_new gives one reference; xb_buf_ref adds one; xb_buf_unref drops one, the last frees.
 * The bytes and head may be changed only while there is exactly one reference.
 * Threads: the reference count is atomic; the bytes are not protected.
 */
#ifndef XB_BASE_BUF_H
#define XB_BASE_BUF_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

/* What the layers put in front, in order from the wire: datagram 8, gmcast 20, EVS up to 48 + 20, PC 8, gcs 20. */
#define XB_BUF_HEADROOM 128

struct xb_buf {
    _Atomic(uint32_t) refs;
    uint32_t capacity; /* bytes in mem */
    uint32_t head;     /* first byte in use */
    uint32_t size;     /* bytes in use */
    uint8_t mem[];
};

/* -> a buffer with `size` unset payload bytes behind `headroom` free ones, one reference; NULL without memory. */
struct xb_buf *xb_buf_new(size_t headroom, size_t size);
struct xb_buf *xb_buf_ref(struct xb_buf *buf);
void xb_buf_unref(struct xb_buf *buf); /* NULL is allowed */

static inline uint8_t *xb_buf_data(struct xb_buf *buf) {
    return buf->mem + buf->head;
}

/* -> pointer to n fresh bytes in front of the data. The headroom must suffice and the caller be the only owner. */
uint8_t *xb_buf_push(struct xb_buf *buf, size_t n);

/* Takes the first n bytes (a header) off again. */
void xb_buf_pull(struct xb_buf *buf, size_t n);

#endif
