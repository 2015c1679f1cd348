/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading, writing and ending a stream; the handshakes are in stream_tls.c, the sockets in stream_socket.c. */
#include "sst/stream_internal.h"

#include "base/clock.h"

#include <openssl/err.h>
#include <openssl/ssl.h>

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLOSE_WAIT_NS XB_SECOND

int stream_wait(struct stream *stream, short events, int64_t deadline_ns, struct xb_error *error) {
    int64_t idle_at = stream->idle_ns ? xb_clock_monotonic_ns() + stream->idle_ns : XB_NEVER;
    int rc = watch_wait(stream->watch, stream->fd, events, xb_earlier(deadline_ns, idle_at), error);
    if (rc == -ETIMEDOUT && idle_at < deadline_ns)
        return xb_fail(error, rc, "%s was silent for %d s (sst-idle-timeout)", stream->peer,
                       (int)(stream->idle_ns / XB_SECOND));
    return rc;
}

static int fail_socket(const struct stream *stream, int code, struct xb_error *error) {
    if (code == ETIMEDOUT)
        return xb_fail(error, -code, "%s has vanished: nothing came back for %d s", stream->peer,
                       STREAM_PEER_TIMEOUT_S);
    return xb_fail(error, -code, "the connection to %s broke: %s", stream->peer, strerror(code));
}

/* After an SSL call that did not succeed: -> -EAGAIN with what to wait for, 1 the peer ended the stream, or negative.
 */
static int explain_ssl(struct stream *stream, int result, short *want, struct xb_error *error) {
    int saved = errno;
    switch (SSL_get_error(stream->ssl, result)) {
    case SSL_ERROR_WANT_READ:
        *want = POLLIN;
        return -EAGAIN;
    case SSL_ERROR_WANT_WRITE:
        *want = POLLOUT;
        return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return 1;
    case SSL_ERROR_SYSCALL:
        return fail_socket(stream, saved ? saved : ECONNRESET, error);
    default:
        return stream_explain(stream, error);
    }
}

int stream_retry(struct stream *stream, int result, int64_t deadline_ns, struct xb_error *error) {
    short want;
    int rc = explain_ssl(stream, result, &want, error);
    return rc == -EAGAIN ? stream_wait(stream, want, deadline_ns, error) : rc;
}

ssize_t stream_try_read(struct stream *stream, void *to, size_t size, short *want, struct xb_error *error) {
    if (stream->ssl) {
        size_t n = 0;
        ERR_clear_error();
        int ok = SSL_read_ex(stream->ssl, to, size, &n);
        if (ok > 0) return (ssize_t)n;
        int rc = explain_ssl(stream, ok, want, error);
        return rc == 1 ? 0 : rc;
    }
    ssize_t n = recv(stream->fd, to, size, 0);
    *want = POLLIN;
    if (n >= 0) return n;
    return errno == EAGAIN || errno == EINTR ? -EAGAIN : fail_socket(stream, errno, error);
}

ssize_t stream_try_write(struct stream *stream, const void *data, size_t size, short *want, struct xb_error *error) {
    if (stream->ssl) {
        size_t n = 0;
        ERR_clear_error();
        int ok = SSL_write_ex(stream->ssl, data, size, &n);
        if (ok > 0) return (ssize_t)n;
        int rc = explain_ssl(stream, ok, want, error);
        return rc == 1 ? xb_fail(error, -EPIPE, "%s closed the connection", stream->peer) : rc;
    }
    ssize_t n = send(stream->fd, data, size, MSG_NOSIGNAL);
    *want = POLLOUT;
    if (n >= 0) return n;
    return errno == EAGAIN || errno == EINTR ? -EAGAIN : fail_socket(stream, errno, error);
}

static ssize_t read_some(struct stream *stream, void *to, size_t size, int64_t deadline_ns, struct xb_error *error) {
    for (;;) {
        short want;
        ssize_t n = stream_try_read(stream, to, size, &want, error);
        if (n != -EAGAIN) return n;
        int rc = stream_wait(stream, want, deadline_ns, error);
        if (rc) return rc;
    }
}

ssize_t stream_read(struct stream *stream, void *to, size_t size, struct xb_error *error) {
    return read_some(stream, to, size, XB_NEVER, error);
}

int stream_read_all(struct stream *stream, void *to, size_t size, struct xb_error *error) {
    while (size > 0) {
        ssize_t n = stream_read(stream, to, size, error);
        if (n < 0) return (int)n;
        if (n == 0) return xb_fail(error, -ECONNRESET, "%s closed the connection", stream->peer);
        to = (char *)to + n;
        size -= (size_t)n;
    }
    return 0;
}

int stream_write(struct stream *stream, const void *data, size_t size, struct xb_error *error) {
    while (size > 0) {
        short want;
        ssize_t n = stream_try_write(stream, data, size, &want, error);
        int rc = n == -EAGAIN ? stream_wait(stream, want, XB_NEVER, error) : n < 0 ? (int)n : 0;
        if (rc) return rc;
        if (n < 0) continue;
        data = (const char *)data + n;
        size -= (size_t)n;
    }
    return 0;
}

/* -> 0 it said nothing, or negative with *error */
static int heed(struct stream *stream, char *answer, size_t answer_size, struct xb_error *error) {
    size_t used = strlen(answer);
    char scratch[64];
    short want;
    bool has_room = used + 1 < answer_size;
    ssize_t n = stream_try_read(stream, has_room ? answer + used : scratch,
                                has_room ? answer_size - 1 - used : sizeof(scratch), &want, error);
    if (n < 0) return n == -EAGAIN ? 0 : (int)n;
    if (has_room) answer[used + (size_t)n] = '\0';
    return xb_fail(error, -EPIPE, "%s ended the connection before it had everything", stream->peer);
}

int stream_write_heeding(struct stream *stream, const void *data, size_t size, char *answer, size_t answer_size,
                         struct xb_error *error) {
    int rc = heed(stream, answer, answer_size, error);
    while (size > 0 && rc == 0) {
        short want;
        ssize_t n = stream_try_write(stream, data, size, &want, error);
        if (n < 0 && n != -EAGAIN) return (int)n;
        if (n < 0) {
            rc = stream_wait(stream, want | POLLIN, XB_NEVER, error);
            if (rc == 0) rc = heed(stream, answer, answer_size, error);
            continue;
        }
        data = (const char *)data + n;
        size -= (size_t)n;
    }
    return rc;
}

void stream_say_end(struct stream *stream) {
    if (stream->ssl && SSL_is_init_finished(stream->ssl)) {
        ERR_clear_error();
        SSL_shutdown(stream->ssl);
    }
    shutdown(stream->fd, SHUT_WR);
}

int stream_finish(struct stream *stream, char *answer, size_t size, int64_t deadline_ns, struct xb_error *error) {
    size_t used = 0;
    char scratch[512];
    ssize_t n;
    stream_say_end(stream);
    while ((n = read_some(stream, scratch, sizeof(scratch), deadline_ns, error)) > 0) {
        size_t take = (size_t)n < size - 1 - used ? (size_t)n : size - 1 - used;
        memcpy(answer + used, scratch, take);
        used += take;
    }
    answer[used] = '\0';
    return (int)n;
}

void stream_close(struct stream *stream) {
    if (stream->fd < 0) return;
    if (stream->ssl) {
        if (SSL_is_init_finished(stream->ssl)) SSL_shutdown(stream->ssl);
        SSL_free(stream->ssl);
        ERR_clear_error();
    }
    close(stream->fd);
    stream->ssl = NULL;
    stream->fd = -1;
}

void stream_close_with(struct stream *stream, const char *line) {
    if (stream->fd < 0) return;
    char scratch[4096];
    struct xb_error ignored;
    int64_t deadline_ns = xb_clock_monotonic_ns() + CLOSE_WAIT_NS;
    if (line[0]) stream_write(stream, line, strlen(line), &ignored);
    stream_say_end(stream);
    /* Unread data would turn our close into a reset, which overtakes the line. */
    while (xb_clock_monotonic_ns() < deadline_ns) {
        ssize_t n = recv(stream->fd, scratch, sizeof(scratch), 0);
        if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) break;
        if (n < 0 && watch_wait(stream->watch, stream->fd, POLLIN, deadline_ns, &ignored)) break;
    }
    stream_close(stream);
}

void stream_abort(struct stream *stream) {
    if (stream->fd < 0) return;
    struct linger linger = {1, 0};
    setsockopt(stream->fd, SOL_SOCKET, SO_LINGER, &linger, sizeof(linger));
    if (stream->ssl) SSL_set_quiet_shutdown(stream->ssl, 1);
    stream_close(stream);
}
