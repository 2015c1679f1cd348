/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Messages of incremental state transfer: a header of 24 bytes, for ordered ones a payload behind it (spec 07 section
 * 16.2). Pure. */
#ifndef XB_IST_MESSAGE_H
#define XB_IST_MESSAGE_H

#include "base/error.h"

#include <stdbool.h>
#include <stdint.h>

#define IST_HEADER_SIZE 24
#define IST_FLAG_PRELOAD 0x01
#define IST_CTRL_OK 0
#define IST_CTRL_EOF 1

enum ist_message_type {
    IST_MESSAGE_HANDSHAKE = 1,
    IST_MESSAGE_HANDSHAKE_RESPONSE = 2,
    IST_MESSAGE_CTRL = 3,
    IST_MESSAGE_TRX = 4,
    IST_MESSAGE_CCHANGE = 5,
    IST_MESSAGE_SKIP = 6
};

struct ist_message {
    uint8_t version; /* of the replicator protocol */
    enum ist_message_type type;
    uint8_t flags;
    int8_t ctrl;     /* CTRL: OK, EOF, or a negative errno of the peer */
    uint32_t length; /* of the payload */
    int64_t seqno;   /* of ordered messages; else -1 */
};

static inline bool ist_message_is_ordered(const struct ist_message *message) {
    return message->type >= IST_MESSAGE_TRX;
}

void ist_message_encode(const struct ist_message *message, uint8_t to[IST_HEADER_SIZE]);
/* Headers without payload. */
void ist_message_encode_plain(enum ist_message_type type, int8_t ctrl, int version, uint8_t to[IST_HEADER_SIZE]);
/* -> 0, -EINVAL (checksum), -EPROTO (another version, unknown type, impossible field), with *error */
int ist_message_decode(struct ist_message *message, const uint8_t from[IST_HEADER_SIZE], int version,
                       struct xb_error *error);
const char *ist_message_type_name(enum ist_message_type type);

#endif
