/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Sending: queues by segment (spec 02 section 14.1), and one write for all that a turn of the loop has queued.
 *
 * Plain: datagrams are gathered from their shared buffers. TLS: each datagram is a TLS write of its own, so that no
 * record holds bytes of two (section 16.6), and the ciphertext of all leaves together.
 */
#include "net/internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>

#define FIFO_FIRST_CAPACITY 16

static struct send_fifo *find_fifo(struct send_queue *queue, uint8_t segment) {
    size_t i = 0;
    while (i < queue->fifo_count && queue->fifos[i].segment < segment) i++;
    if (i < queue->fifo_count && queue->fifos[i].segment == segment) return &queue->fifos[i];
    struct send_fifo *fifos = realloc(queue->fifos, (queue->fifo_count + 1) * sizeof(*fifos));
    if (!fifos) return NULL;
    memmove(&fifos[i + 1], &fifos[i], (queue->fifo_count - i) * sizeof(*fifos));
    fifos[i] = (struct send_fifo){.segment = segment};
    queue->fifos = fifos;
    queue->fifo_count++;
    if (i < queue->next) queue->next++;
    return &fifos[i];
}

static int grow_fifo(struct send_fifo *fifo) {
    size_t capacity = fifo->capacity ? 2 * fifo->capacity : FIFO_FIRST_CAPACITY;
    struct xb_buf **ring = malloc(capacity * sizeof(struct xb_buf *));
    if (!ring) return -ENOMEM;
    for (size_t i = 0; i < fifo->count; i++) ring[i] = fifo->ring[(fifo->first + i) & (fifo->capacity - 1)];
    free(fifo->ring);
    fifo->ring = ring;
    fifo->capacity = capacity;
    fifo->first = 0;
    return 0;
}

int send_queue_push(struct send_queue *queue, uint8_t segment, struct xb_buf *buf) {
    struct send_fifo *fifo = find_fifo(queue, segment);
    if (!fifo || (fifo->count == fifo->capacity && grow_fifo(fifo))) return -ENOMEM;
    fifo->ring[(fifo->first + fifo->count++) & (fifo->capacity - 1)] = xb_buf_ref(buf);
    queue->bytes += buf->size;
    return 0;
}

/* The next datagram, one of each segment in turn. -> NULL: none. The reference is the caller's */
static struct xb_buf *queue_take(struct send_queue *queue) {
    for (size_t i = 0; i < queue->fifo_count; i++) {
        if (queue->next >= queue->fifo_count) queue->next = 0;
        struct send_fifo *fifo = &queue->fifos[queue->next++];
        if (fifo->count == 0) continue;
        struct xb_buf *buf = fifo->ring[fifo->first];
        fifo->first = (fifo->first + 1) & (fifo->capacity - 1);
        fifo->count--;
        return buf;
    }
    return NULL;
}

void send_queue_clear(struct send_queue *queue) {
    for (struct xb_buf *buf; (buf = queue_take(queue));) xb_buf_unref(buf);
    for (size_t i = 0; i < queue->flight_count; i++)
        xb_buf_unref(queue->flight[(queue->flight_first + i) % NET_FLIGHT_MAX]);
    for (size_t i = 0; i < queue->fifo_count; i++) free(queue->fifos[i].ring);
    free(queue->fifos);
    *queue = (struct send_queue){0};
}

static void fill_flight(struct send_queue *queue) {
    size_t bytes = 0;
    for (size_t i = 0; i < queue->flight_count; i++)
        bytes += queue->flight[(queue->flight_first + i) % NET_FLIGHT_MAX]->size;
    while (queue->flight_count < NET_FLIGHT_MAX && bytes < NET_BATCH_BYTES) {
        struct xb_buf *buf = queue_take(queue);
        if (!buf) return;
        queue->flight[(queue->flight_first + queue->flight_count++) % NET_FLIGHT_MAX] = buf;
        bytes += buf->size;
    }
}

static size_t gather_flight(const struct send_queue *queue, struct iovec parts[NET_FLIGHT_MAX]) {
    for (size_t i = 0; i < queue->flight_count; i++) {
        struct xb_buf *buf = queue->flight[(queue->flight_first + i) % NET_FLIGHT_MAX];
        size_t skip = i == 0 ? queue->flight_offset : 0;
        parts[i] = (struct iovec){.iov_base = xb_buf_data(buf) + skip, .iov_len = buf->size - skip};
    }
    return queue->flight_count;
}

static void flight_written(struct net *net, struct send_queue *queue, size_t size) {
    queue->bytes -= size;
    size += queue->flight_offset;
    while (queue->flight_count > 0 && size >= queue->flight[queue->flight_first]->size) {
        struct xb_buf *buf = queue->flight[queue->flight_first];
        size -= buf->size;
        queue->flight_first = (queue->flight_first + 1) % NET_FLIGHT_MAX;
        queue->flight_count--;
        net->stats.datagrams_sent++;
        xb_buf_unref(buf);
    }
    queue->flight_offset = size;
}

/* -> bytes written; -EAGAIN: the socket is full; other negative errno: the connection has failed */
static ssize_t write_parts(struct conn *conn, struct iovec *parts, size_t count) {
    struct net_stats *stats = &conn->net->stats;
    struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
    ssize_t n;
    do n = sendmsg(conn->fd, &message, MSG_NOSIGNAL);
    while (n < 0 && errno == EINTR);
    stats->write_calls++;
    if (n < 0 && errno == EWOULDBLOCK) return -EAGAIN;
    if (n < 0) {
        int code = errno;
        conn_fail(conn, -code, "%s", strerror(code));
        return -code;
    }
    stats->bytes_sent += (uint64_t)n;
    if (!conn->tls) stats->plain_bytes_sent += (uint64_t)n;
    return n;
}

/* -> true: all is written */
static bool flush_plain(struct conn *conn) {
    struct send_queue *queue = &conn->queue;
    for (;;) {
        fill_flight(queue);
        struct iovec parts[NET_FLIGHT_MAX];
        size_t count = gather_flight(queue, parts);
        if (count == 0) return true;
        ssize_t n = write_parts(conn, parts, count);
        if (n < 0 && n != -EAGAIN) return false;
        if (n > 0) flight_written(conn->net, queue, (size_t)n);
        if (queue->flight_count > 0) return false;
    }
}

static void encrypt_batch(struct conn *conn) {
    const uint8_t *data;
    struct xb_error error;
    while (conn->phase != CONN_FAILED && tls_session_output(conn->tls, &data) < NET_BATCH_BYTES) {
        struct xb_buf *buf = queue_take(&conn->queue);
        if (!buf) return;
        if (tls_session_write(conn->tls, xb_buf_data(buf), buf->size, &error)) conn_fail_tls(conn, &error);
        conn->queue.bytes -= buf->size;
        conn->net->stats.datagrams_sent++;
        xb_buf_unref(buf);
    }
}

/* -> true: all is written */
static bool flush_tls(struct conn *conn) {
    for (;;) {
        const uint8_t *data;
        size_t size = tls_session_output(conn->tls, &data);
        if (size == 0) {
            encrypt_batch(conn);
            size = tls_session_output(conn->tls, &data);
        }
        if (size == 0) return conn->phase != CONN_FAILED;
        struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
        ssize_t n = write_parts(conn, &part, 1);
        if (n > 0) tls_session_output_done(conn->tls, (size_t)n);
        if (n != (ssize_t)size) return false;
    }
}

static void shut(struct conn *conn) {
    conn->is_shut = true;
    if (conn->tls) {
        tls_session_close(conn->tls);
        flush_tls(conn);
    }
    shutdown(conn->fd, SHUT_WR);
}

void conn_flush(struct conn *conn) {
    if (conn->phase == CONN_FAILED || conn->phase == CONN_CONNECTING || conn->phase == CONN_DETECTING) return;
    if (conn->wants_write) return; /* the socket is full and will say when it is not */
    bool is_done = conn->tls ? flush_tls(conn) : flush_plain(conn);
    if (is_done && conn->phase == CONN_CLOSING && !conn->is_shut) shut(conn);
    conn->wants_write = !is_done;
    conn_watch(conn);
}
