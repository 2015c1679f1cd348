/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads and writes message headers (spec 07 section 16.2). */
#include "ist/message.h"

#include "base/bytes.h"
#include "base/hash.h"

#include <errno.h>

#define CHECKED_SIZE 16 /* what the checksum behind them covers */

void ist_message_encode(const struct ist_message *message, uint8_t to[IST_HEADER_SIZE]) {
    struct xb_writer w = xb_writer_init(to, IST_HEADER_SIZE);
    xb_write_u8(&w, message->version);
    xb_write_u8(&w, (uint8_t)message->type);
    xb_write_u8(&w, message->flags);
    xb_write_u8(&w, (uint8_t)message->ctrl);
    xb_write_u32(&w, message->length);
    xb_write_i64(&w, message->seqno);
    xb_write_u64(&w, xb_fast_hash64(to, CHECKED_SIZE));
}

void ist_message_encode_plain(enum ist_message_type type, int8_t ctrl, int version, uint8_t to[IST_HEADER_SIZE]) {
    ist_message_encode(&(struct ist_message){.version = (uint8_t)version, .type = type, .ctrl = ctrl, .seqno = -1}, to);
}

static int check_fields(const struct ist_message *message, struct xb_error *error) {
    if (message->type < IST_MESSAGE_HANDSHAKE || message->type > IST_MESSAGE_SKIP)
        return xb_fail(error, -EPROTO, "unknown message type %d", (int)message->type);
    bool has_payload = message->type == IST_MESSAGE_TRX || message->type == IST_MESSAGE_CCHANGE;
    if (has_payload != (message->length > 0))
        return xb_fail(error, -EPROTO, "%s message with %u bytes of payload", ist_message_type_name(message->type),
                       message->length);
    if (ist_message_is_ordered(message) && message->seqno <= 0)
        return xb_fail(error, -EPROTO, "%s message with seqno %lld", ist_message_type_name(message->type),
                       (long long)message->seqno);
    return 0;
}

int ist_message_decode(struct ist_message *message, const uint8_t from[IST_HEADER_SIZE], int version,
                       struct xb_error *error) {
    struct xb_reader r = xb_reader_init(from, IST_HEADER_SIZE);
    message->version = xb_read_u8(&r);
    message->type = (enum ist_message_type)xb_read_u8(&r);
    message->flags = xb_read_u8(&r);
    message->ctrl = (int8_t)xb_read_u8(&r);
    message->length = xb_read_u32(&r);
    message->seqno = xb_read_i64(&r);
    uint64_t checksum = xb_read_u64(&r);
    if (message->version != version)
        return xb_fail(error, -EPROTO, "message of protocol version %u, expected %d", message->version, version);
    if (checksum != xb_fast_hash64(from, CHECKED_SIZE)) return xb_fail(error, -EINVAL, "wrong message checksum");
    return check_fields(message, error);
}

const char *ist_message_type_name(enum ist_message_type type) {
    static const char *const names[] = {"NONE", "HANDSHAKE", "HANDSHAKE_RESPONSE", "CTRL", "TRX", "CCHANGE", "SKIP"};
    return (size_t)type < sizeof(names) / sizeof(*names) ? names[type] : "?";
}
