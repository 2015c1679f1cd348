/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The listening side of blocking streams. Peers go through TLS handshake and greeting side by side, driven by one poll,
 * so a silent or hostile one costs the right one nothing (spec 07 section 25, listener hijack).
 */
#include "net/stream_internal.h"

#include "base/clock.h"

#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HANDSHAKE_TIMEOUT_NS (5 * XB_SECOND)
#define BACK_OFF_NS (100 * XB_MS) /* after accept has failed, e.g. for lack of descriptors */

enum phase { DETECTING, SECURING, AWAITING_REPLY, FINISHED };

struct half_open {
    struct stream *stream; /* NULL: unused */
    enum phase phase;
    bool is_fresh; /* to be looked at before the next poll */
    int64_t deadline_ns, detect_until_ns;
    uint64_t number; /* order of arrival */
};

struct stream_listener {
    int fd;
    uint16_t port;
    struct stream_listener_config config;
    uint8_t *greeting;
    struct half_open half_open[STREAM_HALF_OPEN_MAX];
    uint64_t arrived;
    int64_t back_off_until_ns;
};

struct stream_listener *stream_listen(const char *host, uint16_t port, const struct stream_listener_config *config,
                                      struct xb_error *error) {
    struct net_endpoint endpoints[NET_ENDPOINTS_MAX];
    if (net_endpoint_lookup(host, port, endpoints, error) < 0) return NULL;
    struct stream_listener *listener = calloc(1, sizeof(*listener));
    if (!listener) {
        xb_fail(error, -ENOMEM, "no memory for a listener");
        return NULL;
    }
    listener->config = *config;
    if (!config->handshake_timeout_ns) listener->config.handshake_timeout_ns = HANDSHAKE_TIMEOUT_NS;
    if (config->stream.tls) listener->config.stream.tls = tls_context_ref(config->stream.tls);
    listener->fd = net_socket_listen(&endpoints[0], &(struct net_socket_options){0});
    int rc = listener->fd < 0 ? listener->fd : net_socket_port(listener->fd);
    if (rc >= 0 && config->greeting_size) {
        listener->greeting = malloc(config->greeting_size);
        if (listener->greeting)
            memcpy(listener->greeting, config->greeting, config->greeting_size);
        else
            rc = -ENOMEM;
    }
    if (rc < 0) {
        xb_fail(error, rc, "cannot listen at %s:%u: %s", host, port, strerror(-rc));
        stream_listener_free(listener);
        return NULL;
    }
    listener->port = (uint16_t)rc;
    return listener;
}

void stream_listener_free(struct stream_listener *listener) {
    if (!listener) return;
    if (listener->fd >= 0) close(listener->fd);
    for (size_t i = 0; i < STREAM_HALF_OPEN_MAX; i++) stream_free(listener->half_open[i].stream);
    tls_context_unref(listener->config.stream.tls);
    free(listener->greeting);
    free(listener);
}

uint16_t stream_listener_port(const struct stream_listener *listener) {
    return listener->port;
}

static void refuse(struct stream_listener *listener, const char *host, const struct xb_error *error) {
    if (listener->config.refused) listener->config.refused(listener->config.ctx, host, error);
}

static void drop(struct stream_listener *listener, struct half_open *peer, const struct xb_error *error) {
    refuse(listener, stream_peer_host(peer->stream), error);
    stream_free(peer->stream);
    peer->stream = NULL;
}

/* A free place; if there is none, the peer has to go that has sent the fewest bytes, among those the oldest. */
static struct half_open *find_place(struct stream_listener *listener) {
    struct half_open *worst = &listener->half_open[0];
    for (size_t i = 0; i < STREAM_HALF_OPEN_MAX; i++) {
        struct half_open *peer = &listener->half_open[i];
        if (!peer->stream) return peer;
        uint64_t a = peer->stream->received, b = worst->stream->received;
        if (a < b || (a == b && peer->number < worst->number)) worst = peer;
    }
    struct xb_error error;
    xb_fail(&error, -EBUSY, "too many connections that do not finish their handshake");
    drop(listener, worst, &error);
    return worst;
}

static void take_in(struct stream_listener *listener, int fd, const struct net_endpoint *from, int64_t now_ns) {
    char host[NET_HOST_SIZE];
    net_endpoint_host(from, host);
    const char *refusal = listener->config.refusal ? listener->config.refusal(listener->config.ctx, host) : NULL;
    if (refusal) {
        struct xb_error error;
        xb_fail(&error, -EACCES, "Connection not allowed, IP %s %s", host, refusal);
        refuse(listener, host, &error);
        close(fd);
        return;
    }
    struct half_open *peer = find_place(listener);
    *peer = (struct half_open){.number = listener->arrived++, .is_fresh = true};
    peer->stream = stream_new(fd, host, &listener->config.stream);
    if (!peer->stream) return;
    peer->deadline_ns = now_ns + listener->config.handshake_timeout_ns;
    peer->detect_until_ns = now_ns + STREAM_DETECT_ACCEPT_NS;
    peer->phase = DETECTING;
}

static void accept_all(struct stream_listener *listener, int64_t now_ns) {
    struct net_socket_options options = {.keepalive_ns = STREAM_KEEPALIVE_NS};
    for (int i = 0; i < STREAM_HALF_OPEN_MAX; i++) {
        struct net_endpoint from;
        int fd = net_socket_accept(listener->fd, &from, &options);
        if (fd == -EAGAIN) return;
        if (fd < 0) {
            listener->back_off_until_ns = now_ns + BACK_OFF_NS;
            return;
        }
        take_in(listener, fd, &from, now_ns);
    }
}

/* Plain or TLS? Without socket.dynamic that is no question. -> 0 decided, -EAGAIN, or an error */
static int detect(struct stream_listener *listener, struct half_open *peer, int64_t now_ns) {
    bool is_tls = listener->config.stream.tls != NULL;
    if (is_tls && listener->config.stream.is_dynamic) {
        int byte = net_socket_peek(peer->stream->fd);
        if (byte == -EAGAIN && now_ns < peer->detect_until_ns) return -EAGAIN;
        is_tls = net_is_tls_byte(byte);
    }
    if (is_tls && stream_start_tls(peer->stream, true)) return -ENOMEM;
    return 0;
}

static int greet(struct stream_listener *listener, struct stream *stream, struct xb_error *error) {
    if (!listener->greeting) return 0;
    int rc = stream_write(stream, listener->greeting, listener->config.greeting_size, error);
    return rc ? rc : stream_flush(stream, error); /* the send buffer of a fresh socket is empty: this does not wait */
}

/* Goes on as far as possible without waiting. -> 0, -EAGAIN included, or an error */
static int advance(struct stream_listener *listener, struct half_open *peer, int64_t now_ns, struct xb_error *error) {
    int rc = 0;
    if (peer->phase == DETECTING) {
        rc = detect(listener, peer, now_ns);
        if (rc == -EAGAIN) return 0;
        if (rc) return xb_fail(error, rc, "%s", strerror(-rc));
        peer->phase = SECURING;
    }
    if (peer->phase == SECURING) {
        rc = peer->stream->tls ? stream_handshake_step(peer->stream, error) : 0;
        if (rc == -EAGAIN) return 0;
        if (!rc) rc = greet(listener, peer->stream, error);
        if (rc) return rc;
        peer->phase = AWAITING_REPLY;
    }
    if (listener->config.reply_size) rc = stream_fill(peer->stream, error);
    if (peer->stream->in_end >= listener->config.reply_size) peer->phase = FINISHED;
    return peer->phase == FINISHED ? 0 : rc;
}

static struct stream *advance_all(struct stream_listener *listener, const struct pollfd *polled, int64_t now_ns) {
    for (size_t i = 0; i < STREAM_HALF_OPEN_MAX; i++) {
        struct half_open *peer = &listener->half_open[i];
        if (!peer->stream) continue;
        bool is_due = peer->is_fresh || (peer->phase == DETECTING && now_ns >= peer->detect_until_ns);
        peer->is_fresh = false;
        struct xb_error error = {0};
        int rc = 0;
        if (is_due || polled[i].revents) rc = advance(listener, peer, now_ns, &error);
        if (!rc && peer->phase == FINISHED) {
            struct stream *stream = peer->stream;
            peer->stream = NULL;
            return stream;
        }
        if (!rc && now_ns >= peer->deadline_ns)
            rc = xb_fail(&error, -ETIMEDOUT, "no complete handshake in time: not a member of this cluster?");
        if (rc) drop(listener, peer, &error);
    }
    return NULL;
}

/* Lists all descriptors. -> when the first deadline is */
static int64_t list_descriptors(struct stream_listener *listener, struct pollfd *polled, int64_t now_ns) {
    int64_t next_ns = XB_NEVER;
    for (size_t i = 0; i < STREAM_HALF_OPEN_MAX; i++) {
        struct half_open *peer = &listener->half_open[i];
        polled[i] = (struct pollfd){.fd = peer->stream ? peer->stream->fd : -1, .events = POLLIN};
        if (!peer->stream) continue;
        next_ns = xb_earlier(next_ns, peer->deadline_ns);
        if (peer->phase == DETECTING) next_ns = xb_earlier(next_ns, peer->detect_until_ns);
    }
    bool is_backing_off = now_ns < listener->back_off_until_ns;
    if (is_backing_off) next_ns = xb_earlier(next_ns, listener->back_off_until_ns);
    polled[STREAM_HALF_OPEN_MAX] = (struct pollfd){.fd = is_backing_off ? -1 : listener->fd, .events = POLLIN};
    const struct stream_cancel *cancel = listener->config.stream.cancel;
    polled[STREAM_HALF_OPEN_MAX + 1] = (struct pollfd){.fd = cancel ? cancel->fd : -1, .events = POLLIN};
    return next_ns;
}

struct stream *stream_accept(struct stream_listener *listener, int64_t timeout_ns, struct xb_error *error) {
    const struct stream_cancel *cancel = listener->config.stream.cancel;
    int64_t now_ns = xb_clock_monotonic_ns();
    int64_t until_ns = timeout_ns ? now_ns + timeout_ns : XB_NEVER;
    for (;;) {
        struct pollfd polled[STREAM_HALF_OPEN_MAX + 2];
        int64_t next_ns = xb_earlier(list_descriptors(listener, polled, now_ns), until_ns);
        int64_t left_ms = next_ns == XB_NEVER ? -1 : (next_ns - now_ns + XB_MS - 1) / XB_MS;
        if (next_ns != XB_NEVER && left_ms < 0) left_ms = 0;
        int n = poll(polled, STREAM_HALF_OPEN_MAX + 2, left_ms < INT_MAX ? (int)left_ms : INT_MAX);
        if (n < 0 && errno != EINTR) {
            xb_fail(error, -errno, "poll: %s", strerror(errno));
            return NULL;
        }
        if (cancel && stream_cancel_is_set(cancel)) {
            xb_fail(error, -ECANCELED, "cancelled");
            return NULL;
        }
        now_ns = xb_clock_monotonic_ns();
        if (n > 0 && polled[STREAM_HALF_OPEN_MAX].revents) accept_all(listener, now_ns);
        struct stream *stream = advance_all(listener, polled, now_ns);
        if (stream) return stream;
        if (now_ns >= until_ns) {
            xb_fail(error, -ETIMEDOUT, "nobody connected in time");
            return NULL;
        }
    }
}
