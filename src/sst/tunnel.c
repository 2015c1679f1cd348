/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One loop for both directions, since a TLS session has one user. */
#include "sst/tunnel.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define BLOCK ((size_t)256 << 10)
#define LINGER_NS (10 * XB_SECOND) /* for the peer's end, once the program here has ended */

/* One direction. */
struct way {
    uint8_t *bytes;
    size_t used, sent;
    bool is_ended;  /* its source has ended */
    bool is_closed; /* its sink was told */
};

struct moving {
    struct tunnel *tunnel;
    struct way out, in; /* program -> stream, stream -> program */
    short want;         /* what the stream waits for beyond its plain turn (TLS) */
    bool is_moved;      /* something happened in this round */
    int64_t deadline_ns;
};

int tunnel_open_pair(int *ours, int *theirs, struct xb_error *error) {
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
        return xb_fail(error, -errno, "cannot make a local connection: %m");
    fcntl(pair[0], F_SETFL, O_NONBLOCK);
    *ours = pair[0];
    *theirs = pair[1];
    return 0;
}

static void note_greeting(struct tunnel *tunnel, const uint8_t *bytes, size_t size) {
    if (tunnel->greeting[0]) return;
    size_t take = size < TUNNEL_GREETING_SIZE - 1 ? size : TUNNEL_GREETING_SIZE - 1;
    memcpy(tunnel->greeting, bytes, take);
    tunnel->greeting[take] = '\0';
}

static int take(struct moving *m, struct way *way, bool is_from_stream, ssize_t n, struct xb_error *error) {
    if (n == -EAGAIN) return 0;
    if (n < 0) return (int)n;
    m->is_moved = true;
    way->is_ended = n == 0;
    way->used = (size_t)n;
    way->sent = 0;
    if (n == 0) return 0;
    if (is_from_stream) note_greeting(m->tunnel, way->bytes, way->used);
    return m->tunnel->count ? m->tunnel->count(m->tunnel->ctx, is_from_stream, way->used, error) : 0;
}

static ssize_t read_program(int fd, void *to, size_t size) {
    ssize_t n = recv(fd, to, size, 0);
    if (n >= 0) return n;
    return errno == EAGAIN || errno == EINTR ? -EAGAIN : 0; /* a program that was killed has ended as well */
}

static void write_program(struct moving *m) {
    struct way *way = &m->in;
    ssize_t n = send(m->tunnel->fd, way->bytes + way->sent, way->used - way->sent, MSG_NOSIGNAL);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    m->is_moved = true;
    way->sent = n < 0 ? way->used : way->sent + (size_t)n; /* who listens no more needs nothing */
}

static int move_in(struct moving *m, struct xb_error *error) {
    struct way *way = &m->in;
    int rc = 0;
    if (way->sent == way->used && !way->is_ended)
        rc = take(m, way, true, stream_try_read(m->tunnel->stream, way->bytes, BLOCK, &m->want, error), error);
    if (rc == 0 && way->sent < way->used) write_program(m);
    if (rc == 0 && way->sent == way->used && way->is_ended && !way->is_closed) {
        way->is_closed = true;
        shutdown(m->tunnel->fd, SHUT_WR);
    }
    return rc;
}

static int move_out(struct moving *m, struct xb_error *error) {
    struct way *way = &m->out;
    int rc = 0;
    if (way->sent == way->used && !way->is_ended)
        rc = take(m, way, false, read_program(m->tunnel->fd, way->bytes, BLOCK), error);
    if (rc == 0 && way->sent < way->used) {
        short want;
        ssize_t n = stream_try_write(m->tunnel->stream, way->bytes + way->sent, way->used - way->sent, &want, error);
        if (n == -EAGAIN)
            m->want |= want;
        else if (n < 0)
            return (int)n;
        else
            way->sent += (size_t)n;
        m->is_moved = m->is_moved || n > 0;
    }
    if (rc == 0 && way->sent == way->used && way->is_ended && !way->is_closed) {
        way->is_closed = true;
        m->deadline_ns = xb_clock_monotonic_ns() + LINGER_NS;
        stream_say_end(m->tunnel->stream);
    }
    return rc;
}

static int wait_round(struct moving *m, struct xb_error *error) {
    short local = 0, remote = m->want;
    if (!m->out.is_ended && m->out.sent == m->out.used) local |= POLLIN;
    if (m->in.sent < m->in.used) local |= POLLOUT;
    struct pollfd fds[2] = {{local ? m->tunnel->fd : -1, local, 0}, {remote ? m->tunnel->stream->fd : -1, remote, 0}};
    return watch_poll(m->tunnel->stream->watch, fds, m->deadline_ns, error);
}

static int move(struct moving *m, struct xb_error *error) {
    while (!m->in.is_closed || !m->out.is_closed) {
        m->is_moved = false;
        m->want = 0;
        int rc = move_in(m, error);
        if (rc == 0) rc = move_out(m, error);
        if (rc == 0 && !m->is_moved) rc = wait_round(m, error);
        if (rc == -ETIMEDOUT) return 0;
        if (rc) return rc;
    }
    return 0;
}

int tunnel_run(struct tunnel *tunnel, struct xb_error *error) {
    struct moving m = {.tunnel = tunnel, .deadline_ns = XB_NEVER};
    m.out.bytes = malloc(BLOCK);
    m.in.bytes = malloc(BLOCK);
    int rc = m.out.bytes && m.in.bytes ? move(&m, error) : xb_fail(error, -ENOMEM, "no memory");
    free(m.out.bytes);
    free(m.in.bytes);
    return rc;
}
