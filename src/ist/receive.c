/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The joiner's stream: ordered messages come in, go into the history, are handed up (spec 07 sections 16.4, 17.2). */
#include "ist/internal.h"

#include "base/clock.h"

#include <errno.h>
#include <string.h>

#define SCRATCH_BYTES 65536
#define DUMMY_SIZE 8 /* what stands in the history for a seqno that was skipped */
#define PROGRESS_EVENTS 16
#define PROGRESS_NS (500 * XB_MS)
#define LOG_NS (10 * XB_SECOND)

struct transfer {
    struct ist_receiver *receiver;
    struct stream *stream;
    struct gcache *cache;
    int64_t first;       /* to be applied */
    int64_t begin, last; /* seqnos: of the first message, of the one handed up last; -1: none */
    int64_t progress_ns, log_ns;
    uint8_t scratch[SCRATCH_BYTES];
};

/* ---------------------------------------------------------------- progress */

static int64_t total_events(const struct transfer *transfer) {
    return transfer->receiver->config.last_needed - transfer->begin + 1;
}

static void report(const struct transfer *transfer, int64_t total, int64_t done) {
    const struct ist_receiver_io *io = &transfer->receiver->io;
    if (io->progress) io->progress(io->ctx, total, done);
}

static void note_progress(struct transfer *transfer) {
    int64_t done = transfer->last - transfer->begin + 1;
    if (done % PROGRESS_EVENTS) return;
    int64_t now_ns = xb_clock_monotonic_ns();
    if (now_ns - transfer->progress_ns < PROGRESS_NS) return;
    transfer->progress_ns = now_ns;
    int64_t total = total_events(transfer) > done ? total_events(transfer) : done;
    report(transfer, total, done);
    if (now_ns - transfer->log_ns < LOG_NS) return;
    transfer->log_ns = now_ns;
    xb_log_info(transfer->receiver->log, "Receiving IST... %.1f%% (%lld/%lld events) complete.",
                100.0 * (double)done / (double)total, (long long)done, (long long)total);
}

/* ----------------------------------------------------------------- storing */

static int drop_payload(struct transfer *transfer, size_t size, struct xb_error *error) {
    while (size > 0) {
        ssize_t n =
            stream_read_some(transfer->stream, transfer->scratch, size < SCRATCH_BYTES ? size : SCRATCH_BYTES, error);
        if (n < 0) return (int)n;
        if (n == 0) return xb_fail(error, -ECONNRESET, "connection closed in the midst of a message");
        size -= (size_t)n;
    }
    return 0;
}

static enum gcache_type history_type(const struct ist_message *message) {
    return message->type == IST_MESSAGE_CCHANGE ? GCACHE_CCHANGE : GCACHE_WRITESET;
}

/* Is the seqno in the history already? What the donor says about it is what the group has agreed on: so it may have to
 * be marked as skipped, and if it is something else, our history is wrong from here on and goes. */
static bool find_cached(struct transfer *transfer, const struct ist_message *message, struct gcache_entry *entry) {
    struct gcache *cache = transfer->cache;
    if (gcache_get(cache, message->seqno, entry)) return false;
    if (message->type == IST_MESSAGE_SKIP) {
        gcache_skip(cache, message->seqno);
        return true;
    }
    if (!entry->is_skip && entry->type == history_type(message)) return true;
    xb_log_warning(transfer->receiver->log,
                   "Own history differs from the donor's at seqno %lld: what is kept from "
                   "there on is replaced",
                   (long long)message->seqno);
    struct xb_uuid uuid = gcache_uuid(cache);
    gcache_reset(cache, &uuid, message->seqno - 1);
    return false;
}

static int read_payload(struct transfer *transfer, const struct ist_message *message, void *buf,
                        struct xb_error *error) {
    if (message->type == IST_MESSAGE_SKIP) {
        memset(buf, 0, DUMMY_SIZE);
        return 0;
    }
    int rc = stream_read(transfer->stream, buf, message->length, error);
    if (rc) return rc;
    if (gcache_is_intact(transfer->cache, message->seqno, history_type(message), buf, message->length)) return 0;
    return xb_fail(error, -EBADMSG, "%s with seqno %lld is damaged", ist_message_type_name(message->type),
                   (long long)message->seqno);
}

static int store(struct transfer *transfer, const struct ist_message *message, struct gcache_entry *entry,
                 struct xb_error *error) {
    bool is_skip = message->type == IST_MESSAGE_SKIP;
    size_t size = is_skip ? DUMMY_SIZE : message->length;
    void *buf = gcache_alloc(transfer->cache, size);
    if (!buf) return xb_fail(error, -ENOMEM, "no room in the history for %zu bytes", size);
    int rc = read_payload(transfer, message, buf, error);
    if (!rc) {
        rc = gcache_assign(transfer->cache, buf, message->seqno, history_type(message), is_skip);
        if (rc) xb_fail(error, rc, "seqno %lld does not fit into the history", (long long)message->seqno);
    }
    if (rc)
        gcache_free(transfer->cache, buf);
    else
        *entry = (struct gcache_entry){.seqno = message->seqno, .buf = buf, .size = size, .is_skip = is_skip};
    return rc;
}

/* ------------------------------------------------------------------ events */

static int check_seqno(struct transfer *transfer, const struct ist_message *message, struct xb_error *error) {
    if (transfer->last < 0) {
        if (message->seqno > transfer->first)
            return xb_fail(error, -EINVAL, "IST started with wrong seqno: %lld, expected <= %lld",
                           (long long)message->seqno, (long long)transfer->first);
        transfer->begin = message->seqno;
        transfer->last = message->seqno - 1;
        transfer->log_ns = transfer->progress_ns = xb_clock_monotonic_ns();
        report(transfer, total_events(transfer) > 0 ? total_events(transfer) : 1, 0);
    }
    if (message->seqno != transfer->last + 1)
        return xb_fail(error, -EINVAL, "unexpected seqno %lld in IST, expected %lld", (long long)message->seqno,
                       (long long)transfer->last + 1);
    size_t max = transfer->receiver->config.payload_size_max;
    if (message->length > (max ? max : GCACHE_BUFFER_SIZE_MAX))
        return xb_fail(error, -EMSGSIZE, "%s with seqno %lld has %u bytes, more than allowed",
                       ist_message_type_name(message->type), (long long)message->seqno, message->length);
    return 0;
}

static int handle_ordered(struct transfer *transfer, const struct ist_message *message, struct xb_error *error) {
    int rc = check_seqno(transfer, message, error);
    if (rc) return rc;
    struct gcache_entry entry;
    bool was_cached = find_cached(transfer, message, &entry);
    rc = was_cached ? drop_payload(transfer, message->length, error) : store(transfer, message, &entry, error);
    if (rc) return rc;
    struct ist_event event = {.type = (enum ist_event_type)message->type,
                              .seqno = message->seqno,
                              .is_preload = message->flags & IST_FLAG_PRELOAD,
                              .is_applied = message->seqno >= transfer->first,
                              .was_cached = was_cached,
                              .buf = entry.buf,
                              .size = entry.size};
    const struct ist_receiver_io *io = &transfer->receiver->io;
    rc = io->event(io->ctx, &event);
    if (rc) return xb_fail(error, rc, "seqno %lld cannot be processed: %s", (long long)message->seqno, strerror(-rc));
    transfer->last = message->seqno;
    note_progress(transfer);
    return 0;
}

static int handle_ctrl(const struct transfer *transfer, const struct ist_message *message, struct xb_error *error) {
    int64_t needed = transfer->receiver->config.last_needed;
    if (message->ctrl < 0)
        return xb_fail(error, message->ctrl, "the donor could not send everything: %s", strerror(-message->ctrl));
    if (message->ctrl != IST_CTRL_EOF)
        return xb_fail(error, -EPROTO, "unexpected CTRL %d from the donor", message->ctrl);
    if (transfer->last >= needed) return 0;
    return xb_fail(error, -EPROTO, "IST didn't contain all write sets, expected last: %lld last received: %lld",
                   (long long)needed, (long long)transfer->last);
}

static int receive_all(struct transfer *transfer, struct xb_error *error) {
    const struct ist_receiver_config *config = &transfer->receiver->config;
    for (;;) {
        struct ist_message message;
        int rc = ist_receive_header(transfer->stream, &message, config->version, error);
        if (!rc && xb_isolation_get(config->isolation) != XB_NORMAL)
            rc = xb_fail(error, -ECONNRESET, "node is isolated");
        if (rc) return rc;
        if (message.type == IST_MESSAGE_CTRL) return handle_ctrl(transfer, &message, error);
        rc = ist_message_is_ordered(&message)
                 ? handle_ordered(transfer, &message, error)
                 : xb_fail(error, -EPROTO, "unexpected %s from the donor", ist_message_type_name(message.type));
        if (rc) return rc;
    }
}

int ist_receive_events(struct ist_receiver *receiver, struct stream *stream, int64_t first, int64_t *last,
                       struct xb_error *error) {
    struct transfer transfer = {.receiver = receiver,
                                .stream = stream,
                                .cache = receiver->config.cache,
                                .first = first,
                                .begin = -1,
                                .last = -1};
    int rc = receive_all(&transfer, error);
    *last = transfer.last;
    if (transfer.begin >= 0 && transfer.last < transfer.begin) *last = -1; /* not even the first one */
    if (!rc && transfer.begin >= 0) {
        int64_t done = transfer.last - transfer.begin + 1;
        report(&transfer, done, done);
    }
    return rc;
}
