/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The donor: pins the history, connects to the joiner, streams (spec 07 sections 14 and 16).
 *
 * The joiner may leave the stream unread for hours, until its snapshot is complete; the thread then just waits. What
 * ends it is the joiner, a cancel of all senders, or the history when it has to make room (gcache.h): all three through
 * the sender's cancel descriptor or the connection itself.
 */
#include "ist/internal.h"

#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BATCH_ENTRIES 256 /* what one look into the history takes out; pinned until the next */

struct ist_sender {
    struct ist_senders *senders;
    struct ist_sender *next;
    struct gcache_reader *reader; /* NULL once everything has been sent */
    struct stream_cancel *cancel;
    struct stream *stream;
    pthread_t thread;
    bool has_thread, is_finished; /* under the mutex of senders */
    int64_t first, last, preload_from;
    int version;
    const struct xb_isolation *isolation;
    char address[IST_ADDRESS_SIZE];
    struct gcache_entry batch[BATCH_ENTRIES];
};

struct ist_senders {
    pthread_mutex_t mutex;
    struct gcache *cache;
    const struct xb_log *log;
    struct ist_sender *all;
    bool is_cancelled;
};

/* --------------------------------------------------------------- streaming */

static int send_entry(struct ist_sender *sender, const struct gcache_entry *entry, struct xb_error *error) {
    struct ist_message message = {.version = (uint8_t)sender->version,
                                  .type = entry->is_skip                  ? IST_MESSAGE_SKIP
                                          : entry->type == GCACHE_CCHANGE ? IST_MESSAGE_CCHANGE
                                                                          : IST_MESSAGE_TRX,
                                  .length = entry->is_skip ? 0 : (uint32_t)entry->size,
                                  .seqno = entry->seqno};
    if (sender->preload_from > 0 && entry->seqno >= sender->preload_from) message.flags = IST_FLAG_PRELOAD;
    uint8_t header[IST_HEADER_SIZE];
    ist_message_encode(&message, header);
    int rc = stream_write(sender->stream, header, sizeof(header), error);
    return rc ? rc : stream_write(sender->stream, entry->buf, message.length, error);
}

/* The joiner must not take a broken stream for a complete one, nor wait (section 24 no. 3). */
static void tell_failure(struct ist_sender *sender, int code) {
    struct xb_error ignored;
    int8_t ctrl = (int8_t)(code < INT8_MIN ? -EIO : code);
    ist_send_plain(sender->stream, IST_MESSAGE_CTRL, ctrl, sender->version, &ignored);
}

static int send_all(struct ist_sender *sender, struct xb_error *error) {
    int64_t next = sender->first;
    while (next <= sender->last) {
        int count = gcache_reader_next(sender->reader, sender->batch, BATCH_ENTRIES);
        if (count == -ECANCELED) return xb_fail(error, count, "the history needed its room");
        if (count == 0) return xb_fail(error, -ENODATA, "seqno %lld is not in the history", (long long)next);
        for (int i = 0; i < count && next <= sender->last; i++, next++) {
            if (xb_isolation_get(sender->isolation) != XB_NORMAL)
                return xb_fail(error, -ECONNRESET, "node is isolated");
            int rc = send_entry(sender, &sender->batch[i], error);
            if (rc) return rc;
        }
    }
    return ist_send_plain(sender->stream, IST_MESSAGE_CTRL, IST_CTRL_EOF, sender->version, error);
}

/* It closes when it has read everything. */
static void await_close(struct ist_sender *sender) {
    struct xb_error ignored;
    uint8_t byte;
    while (stream_read_some(sender->stream, &byte, sizeof(byte), &ignored) > 0) {
    }
}

static void unpin(struct ist_sender *sender) {
    gcache_reader_close(sender->reader);
    sender->reader = NULL;
}

static void *run(void *arg) {
    struct ist_sender *sender = arg;
    struct ist_senders *senders = sender->senders;
    struct xb_error error = {0};
    stream_set_timeout(sender->stream, 0);
    int rc = send_all(sender, &error);
    unpin(sender);
    if (!rc) {
        await_close(sender);
        xb_log_info(senders->log, "IST to %s finished: %lld-%lld", sender->address, (long long)sender->first,
                    (long long)sender->last);
    } else {
        tell_failure(sender, rc);
        xb_log_warning(senders->log, "IST to %s (%lld-%lld) failed: %s", sender->address, (long long)sender->first,
                       (long long)sender->last, error.text);
    }
    stream_free(sender->stream);
    sender->stream = NULL;
    pthread_mutex_lock(&senders->mutex);
    sender->is_finished = true;
    pthread_mutex_unlock(&senders->mutex);
    return NULL;
}

/* -------------------------------------------------------------- dialogue */

static int await_message(struct ist_sender *sender, struct ist_message *message, int64_t deadline_ns,
                         struct xb_error *error) {
    int64_t left_ns = deadline_ns - xb_clock_monotonic_ns();
    stream_set_timeout(sender->stream, left_ns > XB_MS ? left_ns : XB_MS);
    int rc = ist_receive_header(sender->stream, message, sender->version, error);
    if (rc == -ENODATA) return xb_fail(error, -ECONNRESET, "the joiner closed the connection during the dialogue");
    return rc;
}

/* Section 16.4, donor's side. */
static int have_dialogue(struct ist_sender *sender, int64_t deadline_ns, struct xb_error *error) {
    struct ist_message message;
    int rc = await_message(sender, &message, deadline_ns, error);
    if (rc) return rc;
    if (message.type == IST_MESSAGE_CTRL && message.ctrl == IST_CTRL_EOF)
        return xb_fail(error, -EINTR, "the joiner has cancelled the transfer");
    if (message.type != IST_MESSAGE_HANDSHAKE)
        return xb_fail(error, -EPROTO, "%s where HANDSHAKE was expected", ist_message_type_name(message.type));
    rc = ist_send_plain(sender->stream, IST_MESSAGE_HANDSHAKE_RESPONSE, 0, sender->version, error);
    if (!rc) rc = await_message(sender, &message, deadline_ns, error);
    if (rc) return rc;
    if (message.type != IST_MESSAGE_CTRL || message.ctrl < 0)
        return xb_fail(error, -EPROTO, "the joiner does not want the transfer (%s %d)",
                       ist_message_type_name(message.type), message.ctrl);
    return 0;
}

static int connect_to_joiner(struct ist_sender *sender, const struct ist_sender_config *config,
                             struct xb_error *error) {
    struct ist_address address;
    int rc = ist_address_parse(&address, config->address, error);
    if (rc) return rc;
    if (!address.has_port) return xb_fail(error, -EINVAL, "address '%s' of the joiner has no port", config->address);
    if (address.is_tls && !config->tls)
        return xb_fail(error, -EINVAL, "the joiner wants TLS at '%s', but socket.ssl_key is not set here",
                       config->address);
    if (config->tls && !address.is_tls && !config->is_dynamic)
        return xb_fail(error, -EPERM,
                       "the joiner wants IST at '%s' without TLS: refused, since certificates are "
                       "configured here; set socket.ssl_key, socket.ssl_cert and socket.ssl_ca there",
                       config->address);
    if (config->tls && !address.is_tls)
        xb_log_info(sender->senders->log,
                    "WARNING: IST to '%s' goes without encryption: the joiner asked for it so, and "
                    "socket.dynamic is on",
                    config->address);
    struct stream_config stream = {.tls = address.is_tls ? config->tls : NULL,
                                   .cancel = sender->cancel,
                                   .timeout_ns = config->timeout_ns ? config->timeout_ns : IST_DEFAULT_TIMEOUT_NS};
    int64_t deadline_ns = xb_clock_monotonic_ns() + stream.timeout_ns;
    sender->stream = stream_connect(address.host, address.port, &stream, error);
    return sender->stream ? have_dialogue(sender, deadline_ns, error) : error->code;
}

/* ------------------------------------------------------------------- set */

struct ist_senders *ist_senders_new(struct gcache *cache, const struct xb_log *log) {
    struct ist_senders *senders = calloc(1, sizeof(*senders));
    if (!senders) return NULL;
    senders->cache = cache;
    senders->log = log;
    pthread_mutex_init(&senders->mutex, NULL);
    return senders;
}

static void destroy(struct ist_sender *sender) {
    if (sender->has_thread) pthread_join(sender->thread, NULL);
    gcache_reader_close(sender->reader); /* before the cancel, which it may set */
    stream_free(sender->stream);
    stream_cancel_free(sender->cancel);
    free(sender);
}

/* Takes senders off the list: the one given, or all whose threads are done, or all. */
enum which { THIS_ONE, FINISHED, ALL };
static void remove_senders(struct ist_senders *senders, enum which which, const struct ist_sender *one) {
    struct ist_sender *removed = NULL;
    pthread_mutex_lock(&senders->mutex);
    for (struct ist_sender **link = &senders->all; *link;) {
        struct ist_sender *sender = *link;
        if (which == ALL || (which == FINISHED && sender->is_finished) || sender == one) {
            *link = sender->next;
            sender->next = removed;
            removed = sender;
        } else {
            link = &sender->next;
        }
    }
    pthread_mutex_unlock(&senders->mutex);
    while (removed) {
        struct ist_sender *next = removed->next;
        destroy(removed);
        removed = next;
    }
}

void ist_senders_cancel(struct ist_senders *senders) {
    pthread_mutex_lock(&senders->mutex);
    senders->is_cancelled = true;
    for (struct ist_sender *s = senders->all; s; s = s->next) stream_cancel_set(s->cancel);
    pthread_mutex_unlock(&senders->mutex);
}

void ist_senders_free(struct ist_senders *senders) {
    if (!senders) return;
    ist_senders_cancel(senders);
    remove_senders(senders, ALL, NULL);
    pthread_mutex_destroy(&senders->mutex);
    free(senders);
}

static void give_way(void *cancel) {
    stream_cancel_set(cancel);
}

struct ist_sender *ist_sender_new(struct ist_senders *senders, int64_t first) {
    remove_senders(senders, FINISHED, NULL);
    struct ist_sender *sender = calloc(1, sizeof(*sender));
    if (!sender) return NULL;
    sender->senders = senders;
    sender->first = first;
    sender->cancel = stream_cancel_new();
    if (sender->cancel) sender->reader = gcache_reader_open(senders->cache, first, give_way, sender->cancel);
    if (!sender->reader) {
        destroy(sender);
        return NULL;
    }
    pthread_mutex_lock(&senders->mutex);
    sender->next = senders->all;
    senders->all = sender;
    if (senders->is_cancelled) stream_cancel_set(sender->cancel);
    pthread_mutex_unlock(&senders->mutex);
    return sender;
}

void ist_sender_drop(struct ist_sender *sender) {
    if (sender) remove_senders(sender->senders, THIS_ONE, sender);
}

static int start_thread(struct ist_sender *sender, struct xb_error *error) {
    struct ist_senders *senders = sender->senders;
    pthread_mutex_lock(&senders->mutex);
    int rc = ist_thread_start(&sender->thread, run, sender);
    sender->has_thread = !rc;
    pthread_mutex_unlock(&senders->mutex);
    return rc ? xb_fail(error, rc, "cannot start a thread: %s", strerror(-rc)) : 0;
}

int ist_sender_start(struct ist_sender *sender, const struct ist_sender_config *config, struct xb_error *error) {
    struct xb_error reason = {0};
    sender->last = config->last;
    sender->preload_from = config->preload_from;
    sender->version = config->version;
    sender->isolation = config->isolation;
    snprintf(sender->address, sizeof(sender->address), "%s", config->address);
    int rc = 0;
    if (config->version < IST_VERSION_MIN || config->version > IST_VERSION_MAX)
        rc = xb_fail(&reason, -EPROTONOSUPPORT, "group protocol %d is not supported", config->version);
    if (!rc) rc = connect_to_joiner(sender, config, &reason);
    if (!rc) {
        xb_log_info(sender->senders->log, "IST to %s: sending %lld-%lld, preload starts from %lld", sender->address,
                    (long long)sender->first, (long long)sender->last, (long long)sender->preload_from);
        rc = start_thread(sender, &reason);
    }
    if (!rc) return 0;
    xb_fail(error, rc, "IST to %.200s cannot start: %s", config->address, reason.text);
    ist_sender_drop(sender);
    return rc;
}
