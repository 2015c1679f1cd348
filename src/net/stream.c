/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Blocking byte streams. The sockets themselves are non-blocking: each wait is a poll on the socket and on the cancel
 * descriptor, and happens only after the socket has refused.
 */
#include "net/stream_internal.h"

#include "base/clock.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/uio.h>
#include <unistd.h>

struct stream_cancel *stream_cancel_new(void) {
    struct stream_cancel *cancel = calloc(1, sizeof(*cancel));
    if (!cancel) return NULL;
    cancel->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (cancel->fd < 0) {
        free(cancel);
        return NULL;
    }
    return cancel;
}

void stream_cancel_free(struct stream_cancel *cancel) {
    if (!cancel) return;
    close(cancel->fd);
    free(cancel);
}

void stream_cancel_set(struct stream_cancel *cancel) {
    if (!atomic_exchange(&cancel->is_set, true)) (void)eventfd_write(cancel->fd, 1);
}

bool stream_cancel_is_set(const struct stream_cancel *cancel) {
    return atomic_load(&cancel->is_set);
}

static int fail_cancelled(struct xb_error *error) {
    return xb_fail(error, -ECANCELED, "cancelled");
}

int stream_wait(int fd, short events, const struct stream_cancel *cancel, int64_t deadline_ns, struct xb_error *error) {
    for (;;) {
        if (cancel && stream_cancel_is_set(cancel)) return fail_cancelled(error);
        int timeout_ms = -1;
        if (deadline_ns != XB_NEVER) {
            int64_t left_ms = (deadline_ns - xb_clock_monotonic_ns() + XB_MS - 1) / XB_MS;
            if (left_ms <= 0) return xb_fail(error, -ETIMEDOUT, "timed out");
            timeout_ms = left_ms < INT_MAX ? (int)left_ms : INT_MAX;
        }
        struct pollfd polled[2] = {{.fd = fd, .events = events}, {.fd = cancel ? cancel->fd : -1, .events = POLLIN}};
        int n = poll(polled, 2, timeout_ms);
        if (n < 0 && errno != EINTR) return xb_fail(error, -errno, "poll: %s", strerror(errno));
        if (n > 0 && polled[0].revents) return 0;
    }
}

static int wait_for_peer(struct stream *stream, short events, struct xb_error *error) {
    int64_t deadline_ns = stream->timeout_ns ? xb_clock_monotonic_ns() + stream->timeout_ns : XB_NEVER;
    return stream_wait(stream->fd, events, stream->cancel, deadline_ns, error);
}

struct stream *stream_new(int fd, const char *host, const struct stream_config *config) {
    struct stream *stream = calloc(1, sizeof(*stream));
    if (stream) {
        stream->in = malloc(STREAM_BUFFER_BYTES);
        stream->out = malloc(STREAM_BUFFER_BYTES);
        stream->fd = fd;
    }
    if (!stream || !stream->in || !stream->out) {
        if (stream)
            stream_free(stream);
        else
            close(fd);
        return NULL;
    }
    if (config->tls) stream->context = tls_context_ref(config->tls);
    stream->cancel = config->cancel;
    stream->timeout_ns = config->timeout_ns;
    snprintf(stream->host, sizeof(stream->host), "%s", host);
    return stream;
}

void stream_free(struct stream *stream) {
    if (!stream) return;
    close(stream->fd);
    tls_session_free(stream->tls);
    tls_context_unref(stream->context);
    free(stream->in);
    free(stream->out);
    free(stream);
}

int stream_start_tls(struct stream *stream, bool is_server) {
    stream->tls = tls_session_new(stream->context, is_server);
    if (!stream->tls) return -ENOMEM;
    tls_session_set_host(stream->tls, stream->host);
    return 0;
}

void stream_set_timeout(struct stream *stream, int64_t timeout_ns) {
    stream->timeout_ns = timeout_ns;
}

const char *stream_peer_host(const struct stream *stream) {
    return stream->host;
}

bool stream_tls_info(const struct stream *stream, struct tls_info *info) {
    if (!stream->tls) return false;
    tls_session_info(stream->tls, info);
    return true;
}

/* One receive. -> bytes, 0 at the end, -EAGAIN, or negative errno with *error */
static ssize_t receive(struct stream *stream, void *to, size_t size, struct xb_error *error) {
    ssize_t n;
    do n = recv(stream->fd, to, size, 0);
    while (n < 0 && errno == EINTR);
    if (n > 0) stream->received += (uint64_t)n;
    if (n >= 0) return n;
    if (errno == EWOULDBLOCK) return -EAGAIN;
    return xb_fail(error, -errno, "reading from %s: %s", stream->host, strerror(errno));
}

/* Ciphertext from the socket to the TLS session. -> as receive */
static ssize_t receive_ciphertext(struct stream *stream, struct xb_error *error) {
    size_t room;
    uint8_t *to = tls_session_input(stream->tls, STREAM_BUFFER_BYTES, &room);
    if (!to) return xb_fail(error, -ENOMEM, "no memory for a TLS session");
    ssize_t n = receive(stream, to, room, error);
    if (n > 0) tls_session_input_done(stream->tls, (size_t)n);
    return n;
}

/* Plaintext without waiting. -> as receive */
static ssize_t receive_plaintext(struct stream *stream, void *to, size_t size, struct xb_error *error) {
    if (!stream->tls) return receive(stream, to, size, error);
    for (;;) {
        ssize_t n = tls_session_read(stream->tls, to, size, error);
        if (n != -EAGAIN) return n;
        int rc = stream_push_tls_output(stream, error);
        if (rc) return rc;
        n = receive_ciphertext(stream, error);
        if (n <= 0) return n; /* the end without close_notify counts like one with it (spec 02 section 14.3) */
    }
}

static ssize_t receive_waiting(struct stream *stream, void *to, size_t size, struct xb_error *error) {
    for (;;) {
        if (stream->cancel && stream_cancel_is_set(stream->cancel)) return fail_cancelled(error);
        ssize_t n = receive_plaintext(stream, to, size, error);
        if (n != -EAGAIN) return n;
        int rc = wait_for_peer(stream, POLLIN, error);
        if (rc) return rc;
    }
}

int stream_fill(struct stream *stream, struct xb_error *error) {
    if (stream->in_end == STREAM_BUFFER_BYTES) return 0;
    ssize_t n = receive_plaintext(stream, stream->in + stream->in_end, STREAM_BUFFER_BYTES - stream->in_end, error);
    if (n == -EAGAIN) return 0;
    if (n == 0) return xb_fail(error, -ENODATA, "%s closed the connection", stream->host);
    if (n < 0) return (int)n;
    stream->in_end += (size_t)n;
    return 0;
}

ssize_t stream_read_some(struct stream *stream, void *to, size_t size, struct xb_error *error) {
    if (size == 0) return 0;
    if (stream->in_begin == stream->in_end) {
        if (size >= STREAM_BUFFER_BYTES) return receive_waiting(stream, to, size, error);
        ssize_t n = receive_waiting(stream, stream->in, STREAM_BUFFER_BYTES, error);
        if (n <= 0) return n;
        stream->in_begin = 0;
        stream->in_end = (size_t)n;
    }
    size_t n = stream->in_end - stream->in_begin;
    if (n > size) n = size;
    memcpy(to, stream->in + stream->in_begin, n);
    stream->in_begin += n;
    return (ssize_t)n;
}

int stream_read(struct stream *stream, void *to, size_t size, struct xb_error *error) {
    size_t got = 0;
    while (got < size) {
        ssize_t n = stream_read_some(stream, (uint8_t *)to + got, size - got, error);
        if (n < 0) return (int)n;
        if (n == 0 && got == 0) return xb_fail(error, -ENODATA, "%s closed the connection", stream->host);
        if (n == 0)
            return xb_fail(error, -ECONNRESET, "%s closed the connection in the midst of a message", stream->host);
        got += (size_t)n;
    }
    return 0;
}

static int push_parts(struct stream *stream, struct iovec *parts, size_t count, struct xb_error *error) {
    while (count > 0) {
        if (stream->cancel && stream_cancel_is_set(stream->cancel)) return fail_cancelled(error);
        struct msghdr message = {.msg_iov = parts, .msg_iovlen = count};
        ssize_t n = sendmsg(stream->fd, &message, MSG_NOSIGNAL);
        if (n < 0 && errno == EWOULDBLOCK) {
            int rc = wait_for_peer(stream, POLLOUT, error);
            if (rc) return rc;
        } else if (n < 0 && errno != EINTR) {
            return xb_fail(error, -errno, "writing to %s: %s", stream->host, strerror(errno));
        }
        size_t done = n > 0 ? (size_t)n : 0;
        while (count > 0 && done >= parts->iov_len) {
            done -= parts->iov_len;
            parts++;
            count--;
        }
        if (count > 0) {
            parts->iov_base = (uint8_t *)parts->iov_base + done;
            parts->iov_len -= done;
        }
    }
    return 0;
}

int stream_push(struct stream *stream, const void *data, size_t size, struct xb_error *error) {
    struct iovec part = {.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    return size ? push_parts(stream, &part, 1, error) : 0;
}

int stream_push_tls_output(struct stream *stream, struct xb_error *error) {
    const uint8_t *data;
    size_t size = tls_session_output(stream->tls, &data);
    int rc = stream_push(stream, data, size, error);
    tls_session_output_done(stream->tls, size);
    return rc;
}

/* Encrypts in parts of the buffer's size, each of which leaves in one system call. */
static int push_encrypted(struct stream *stream, const uint8_t *data, size_t size, struct xb_error *error) {
    while (size > 0) {
        size_t part = size < STREAM_BUFFER_BYTES ? size : STREAM_BUFFER_BYTES;
        int rc = tls_session_write(stream->tls, data, part, error);
        if (!rc) rc = stream_push_tls_output(stream, error);
        if (rc) return rc;
        data += part;
        size -= part;
    }
    return 0;
}

/* What is queued, then data. */
static int flush_with(struct stream *stream, const void *data, size_t size, struct xb_error *error) {
    size_t queued = stream->out_size;
    stream->out_size = 0;
    if (stream->tls) {
        int rc = push_encrypted(stream, stream->out, queued, error);
        return rc ? rc : push_encrypted(stream, data, size, error);
    }
    struct iovec parts[2] = {{.iov_base = stream->out, .iov_len = queued},
                             {.iov_base = (void *)(uintptr_t)data, .iov_len = size}};
    return push_parts(stream, parts, 2, error);
}

int stream_write(struct stream *stream, const void *data, size_t size, struct xb_error *error) {
    size_t room = STREAM_BUFFER_BYTES - stream->out_size;
    if (size == 0) return 0;
    if (size <= room) {
        memcpy(stream->out + stream->out_size, data, size);
        stream->out_size += size;
        return 0;
    }
    if (size >= STREAM_BUFFER_BYTES) return flush_with(stream, data, size, error);
    memcpy(stream->out + stream->out_size, data, room);
    stream->out_size += room;
    int rc = stream_flush(stream, error);
    return rc ? rc : stream_write(stream, (const uint8_t *)data + room, size - room, error);
}

int stream_flush(struct stream *stream, struct xb_error *error) {
    return stream->out_size ? flush_with(stream, NULL, 0, error) : 0;
}

int stream_handshake_step(struct stream *stream, struct xb_error *error) {
    for (;;) {
        int rc = tls_session_handshake(stream->tls, error);
        struct xb_error ignored;
        int push_rc = stream_push_tls_output(stream, rc && rc != -EAGAIN ? &ignored : error); /* maybe an alert */
        if (rc == 0) return push_rc;
        if (rc != -EAGAIN) return rc;
        if (push_rc) return push_rc;
        ssize_t n = receive_ciphertext(stream, error);
        if (n == 0)
            return xb_fail(error, -ECONNRESET,
                           "%s closed the connection during the TLS handshake: maybe it refused our certificate, see "
                           "its log",
                           stream->host);
        if (n < 0) return (int)n;
    }
}

/* The dialler's side of socket.dynamic (spec 02 section 17). -> 1 TLS, 0 plain, or an error */
static int detect(struct stream *stream, int64_t deadline_ns, struct xb_error *error) {
    int64_t until_ns = xb_clock_monotonic_ns() + STREAM_DETECT_DIAL_NS;
    int rc = stream_wait(stream->fd, POLLIN, stream->cancel, xb_earlier(until_ns, deadline_ns), error);
    if (rc == 0) return 0; /* a peer with TLS does not speak first */
    if (rc != -ETIMEDOUT) return rc;
    if (stream_start_tls(stream, false)) return xb_fail(error, -ENOMEM, "no memory for a TLS session");
    rc = stream_handshake_step(stream, error);
    if (rc != -EAGAIN) return rc ? rc : 1;
    rc = stream_wait(stream->fd, POLLIN, stream->cancel, deadline_ns, error);
    if (rc) return rc;
    int byte = net_socket_peek(stream->fd);
    if (byte < 0 || byte == NET_PEEK_END || net_is_tls_byte(byte)) return 1;
    tls_session_free(stream->tls); /* the peer discarded our hello and goes on in plain text */
    stream->tls = NULL;
    return 0;
}

static int secure(struct stream *stream, const struct stream_config *config, int64_t deadline_ns,
                  struct xb_error *error) {
    if (!config->tls) return 0;
    int rc = config->is_dynamic ? detect(stream, deadline_ns, error) : 1;
    if (rc <= 0) return rc;
    if (!stream->tls && stream_start_tls(stream, false)) return xb_fail(error, -ENOMEM, "no memory for a TLS session");
    while ((rc = stream_handshake_step(stream, error)) == -EAGAIN) {
        rc = stream_wait(stream->fd, POLLIN, stream->cancel, deadline_ns, error);
        if (rc) return rc;
    }
    return rc;
}

static struct stream *connect_to(const struct net_endpoint *to, const struct stream_config *config,
                                 struct xb_error *error) {
    int64_t deadline_ns = config->timeout_ns ? xb_clock_monotonic_ns() + config->timeout_ns : XB_NEVER;
    struct net_socket_options options = {.keepalive_ns = STREAM_KEEPALIVE_NS};
    char host[NET_HOST_SIZE];
    net_endpoint_host(to, host);
    int fd = net_socket_connect(to, config->bind_host, &options);
    struct stream *stream = fd < 0 ? NULL : stream_new(fd, host, config);
    struct xb_error reason = {0};
    int rc = fd < 0 ? fd : stream ? 0 : -ENOMEM;
    if (!rc) rc = stream_wait(fd, POLLOUT, config->cancel, deadline_ns, &reason);
    if (!rc) rc = net_socket_error(fd);
    if (!rc) rc = secure(stream, config, deadline_ns, &reason);
    if (!rc) return stream;
    stream_free(stream);
    xb_fail(error, rc, "connecting to %s:%u: %s", host, net_endpoint_port(to),
            reason.code ? reason.text : strerror(-rc));
    return NULL;
}

struct stream *stream_connect(const char *host, uint16_t port, const struct stream_config *config,
                              struct xb_error *error) {
    struct net_endpoint endpoints[NET_ENDPOINTS_MAX];
    int count = net_endpoint_lookup(host, port, endpoints, error);
    struct stream *stream = NULL;
    for (int i = 0; i < count && !stream; i++) {
        if (config->cancel && stream_cancel_is_set(config->cancel)) {
            fail_cancelled(error);
            return NULL;
        }
        stream = connect_to(&endpoints[i], config, error);
    }
    return stream;
}
