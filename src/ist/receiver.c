/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The joiner: listens, finds its donor among whoever connects, waits for the word to go (spec 07 section 17).
 *
 * The stock provider takes the first connection for the donor's. Here the listener greets every peer and hands over the
 * first that has answered, so only a wrong answer is seen here, and the next one gets its chance (section 24 no. 1).
 */
#include "ist/internal.h"

#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ACCEPT_SLICE_NS XB_SECOND /* how late the thread may notice that the time limit has begun to run */
#define STRANGER_LOG_NS XB_SECOND /* one line about strangers at most in this time */
#define DIALOGUE_NS (5 * XB_SECOND)

/* ---------------------------------------------------------------- strangers */

static void log_stranger(struct ist_receiver *receiver, const char *host, const char *reason) {
    int64_t now_ns = xb_clock_monotonic_ns();
    if (receiver->stranger_logged_ns && now_ns - receiver->stranger_logged_ns < STRANGER_LOG_NS) {
        receiver->strangers_unlogged++;
        return;
    }
    receiver->stranger_logged_ns = now_ns;
    char more[64] = "";
    if (receiver->strangers_unlogged)
        snprintf(more, sizeof(more), " (%lld more since the last line)", (long long)receiver->strangers_unlogged);
    receiver->strangers_unlogged = 0;
    xb_log_warning(receiver->log, "IST: refused %s, still waiting for the donor: %s%s", host, reason, more);
}

static void on_refused(void *ctx, const char *host, const struct xb_error *error) {
    log_stranger(ctx, host, error->text);
}

static const char *on_asked(void *ctx, const char *host) {
    const struct ist_receiver *receiver = ctx;
    return receiver->io.refusal ? receiver->io.refusal(receiver->io.ctx, host) : NULL;
}

/* ---------------------------------------------------------------- dialogue */

/* The answer to our HANDSHAKE, which the listener has sent; then ours to it (section 16.4). */
static int finish_dialogue(struct ist_receiver *receiver, struct stream *stream, struct xb_error *error) {
    struct ist_message message;
    int version = receiver->config.version;
    int rc = ist_receive_header(stream, &message, version, error);
    if (rc) return rc;
    if (message.type != IST_MESSAGE_HANDSHAKE_RESPONSE)
        return xb_fail(error, -EPROTO, "%s where HANDSHAKE_RESPONSE was expected", ist_message_type_name(message.type));
    return ist_send_plain(stream, IST_MESSAGE_CTRL, IST_CTRL_OK, version, error);
}

static bool is_out_of_time(struct ist_receiver *receiver) {
    pthread_mutex_lock(&receiver->mutex);
    int64_t limit_ns = receiver->config.donor_timeout_ns;
    bool is_out = receiver->is_started && limit_ns > 0 && xb_clock_monotonic_ns() - receiver->started_ns >= limit_ns;
    pthread_mutex_unlock(&receiver->mutex);
    return is_out;
}

static struct stream *await_donor(struct ist_receiver *receiver, struct xb_error *error) {
    for (;;) {
        struct stream *stream = stream_accept(receiver->listener, ACCEPT_SLICE_NS, error);
        if (stream && !finish_dialogue(receiver, stream, error)) return stream;
        if (stream) {
            if (error->code != -ECANCELED) log_stranger(receiver, stream_peer_host(stream), error->text);
            stream_free(stream);
        } else if (error->code != -ETIMEDOUT) {
            return NULL;
        }
        if (stream_cancel_is_set(receiver->cancel)) {
            xb_fail(error, -ECANCELED, "cancelled");
            return NULL;
        }
        if (xb_isolation_get(receiver->config.isolation) != XB_NORMAL) {
            xb_fail(error, -ECONNRESET, "node is isolated");
            return NULL;
        }
        if (is_out_of_time(receiver)) {
            xb_fail(error, -ETIMEDOUT, "no donor has connected to %s in time: is the port reachable from the donor?",
                    receiver->address);
            return NULL;
        }
    }
}

static int await_start(struct ist_receiver *receiver, int64_t *first, struct xb_error *error) {
    pthread_mutex_lock(&receiver->mutex);
    while (!receiver->is_started && !receiver->is_closing) pthread_cond_wait(&receiver->started, &receiver->mutex);
    bool is_closing = receiver->is_closing;
    *first = receiver->first;
    pthread_mutex_unlock(&receiver->mutex);
    return is_closing ? xb_fail(error, -ECANCELED, "cancelled") : 0;
}

static int transfer(struct ist_receiver *receiver, int64_t *last, struct xb_error *error) {
    struct stream *stream = await_donor(receiver, error);
    stream_listener_free(receiver->listener);
    receiver->listener = NULL;
    if (!stream) return error->code;
    struct tls_info tls;
    bool has_tls = stream_tls_info(stream, &tls);
    if (has_tls)
        xb_log_info(receiver->log, "IST: donor %s has connected, %s %s, certificate %s", stream_peer_host(stream),
                    tls.version, tls.cipher, tls.peer_subject);
    else
        xb_log_info(receiver->log, "IST: donor %s has connected, in plaintext", stream_peer_host(stream));
    int64_t first;
    int rc = await_start(receiver, &first, error);
    stream_set_timeout(stream, 0); /* a slow donor is no dead donor */
    if (!rc) rc = ist_receive_events(receiver, stream, first, last, error);
    stream_free(stream);
    return rc;
}

static void *run(void *arg) {
    struct ist_receiver *receiver = arg;
    struct xb_error error = {0};
    int64_t last = -1;
    int rc = transfer(receiver, &last, &error);
    if (rc && rc != -ECANCELED)
        xb_log_error(receiver->log, "Receiving IST failed after seqno %lld: %s", (long long)last, error.text);
    if (!rc) {
        error = (struct xb_error){0};
        xb_log_info(receiver->log, "Receiving IST finished at seqno %lld", (long long)last);
    }
    receiver->io.end(receiver->io.ctx, rc, last, &error);
    return NULL;
}

/* ------------------------------------------------------------ open and close */

static int listen_at(struct ist_receiver *receiver, const struct ist_receiver_config *config, struct xb_error *error) {
    struct ist_listen_address address;
    int rc = ist_address_resolve(&address, config, error);
    if (rc) return rc;
    if (config->tls && !address.advertised.is_tls)
        xb_log_warning(receiver->log, "IST will be received without encryption, since the address says so or "
                                      "socket.dynamic is on");
    uint8_t greeting[IST_HEADER_SIZE];
    ist_message_encode_plain(IST_MESSAGE_HANDSHAKE, 0, config->version, greeting);
    struct stream_listener_config listen = {.stream = {.tls = address.bind.is_tls ? config->tls : NULL,
                                                       .cancel = receiver->cancel,
                                                       .timeout_ns = DIALOGUE_NS},
                                            .handshake_timeout_ns = DIALOGUE_NS,
                                            .greeting = greeting,
                                            .greeting_size = sizeof(greeting),
                                            .reply_size = IST_HEADER_SIZE,
                                            .refusal = on_asked,
                                            .refused = on_refused,
                                            .ctx = receiver};
    receiver->listener = stream_listen(address.bind.host, address.bind.port, &listen, error);
    if (!receiver->listener) return error->code;
    if (!address.bind.port || !address.advertised.port)
        address.advertised.port = stream_listener_port(receiver->listener);
    ist_address_format(&address.advertised, receiver->address);
    return 0;
}

static void destroy(struct ist_receiver *receiver) {
    stream_listener_free(receiver->listener);
    stream_cancel_free(receiver->cancel);
    tls_context_unref(receiver->config.tls);
    pthread_cond_destroy(&receiver->started);
    pthread_mutex_destroy(&receiver->mutex);
    free(receiver);
}

struct ist_receiver *ist_receiver_open(const struct ist_receiver_config *config, const struct ist_receiver_io *io,
                                       const struct xb_log *log, struct xb_error *error) {
    struct xb_error local;
    if (!error) error = &local;
    if (config->version < IST_VERSION_MIN || config->version > IST_VERSION_MAX) {
        xb_fail(error, -EPROTONOSUPPORT, "IST of group protocol %d is not supported", config->version);
        return NULL;
    }
    struct ist_receiver *receiver = calloc(1, sizeof(*receiver));
    if (!receiver) {
        xb_fail(error, -ENOMEM, "Out of memory");
        return NULL;
    }
    receiver->config = *config;
    receiver->config.recv_addr = receiver->config.recv_bind = receiver->config.base_host = NULL;
    if (config->tls) tls_context_ref(config->tls);
    receiver->io = *io;
    receiver->log = log;
    pthread_mutex_init(&receiver->mutex, NULL);
    pthread_cond_init(&receiver->started, NULL);
    receiver->cancel = stream_cancel_new();
    int rc = receiver->cancel ? listen_at(receiver, config, error) : xb_fail(error, -ENOMEM, "Out of descriptors");
    if (!rc) {
        rc = ist_thread_start(&receiver->thread, run, receiver);
        if (rc) xb_fail(error, rc, "Cannot start a thread: %s", strerror(-rc));
    }
    if (!rc) return receiver;
    destroy(receiver);
    return NULL;
}

const char *ist_receiver_address(const struct ist_receiver *receiver) {
    return receiver->address;
}

void ist_receiver_start(struct ist_receiver *receiver, int64_t first) {
    pthread_mutex_lock(&receiver->mutex);
    receiver->is_started = true;
    receiver->first = first;
    receiver->started_ns = xb_clock_monotonic_ns();
    pthread_cond_signal(&receiver->started);
    pthread_mutex_unlock(&receiver->mutex);
}

void ist_receiver_close(struct ist_receiver *receiver) {
    if (!receiver) return;
    pthread_mutex_lock(&receiver->mutex);
    receiver->is_closing = true;
    pthread_cond_signal(&receiver->started);
    pthread_mutex_unlock(&receiver->mutex);
    stream_cancel_set(receiver->cancel);
    pthread_join(receiver->thread, NULL);
    destroy(receiver);
}
