/* SPDX-License-Identifier: GPL-2.0-or-later */
/* USER: messages of the layer above, with 8 bytes in front (spec 04 section 8). */
#include "pc/pc_internal.h"

int pc_submit(struct pc *pc, struct xb_buf *buf, uint8_t user_type, enum evs_order order, int64_t now_ns) {
    if (pc->state == PC_CLOSED || pc->state == PC_NON_PRIM) return -ENOTCONN;
    if (pc->state != PC_PRIM) return -EAGAIN;
    if (buf->size == 0 || buf->size > PC_PAYLOAD_MAX) return -EMSGSIZE;
    uint32_t before = pc->last_sent;
    if (order == EVS_SAFE) pc->last_sent++; /* before the hand-over: the message may be delivered within it */
    struct pc_header header = {.version = pc->version, .type = PC_USER, .seq = pc->last_sent};
    uint8_t *to = xb_buf_push(buf, PC_HEADER_SIZE);
    if (pc->options.checksum) {
        header.flags = PC_FLAG_CRC;
        pc_header_write(to, &header);
        header.crc = pc_message_crc(to, buf->size);
    }
    pc_header_write(to, &header);
    int result = pc->down.submit(pc->down.ctx, buf, user_type, order, now_ns);
    if (result) {
        pc->last_sent = before;
        xb_buf_pull(buf, PC_HEADER_SIZE);
    }
    return result;
}

void pc_handle_user(struct pc *pc, const struct evs_message *message, const struct pc_header *header,
                    struct xb_reader *r, int64_t now_ns) {
    bool is_safe = message->order == EVS_SAFE;
    if (is_safe && (pc->state == PC_STATES_EXCH || pc->state == PC_INSTALL)) {
        pc_fail(pc, false, "user message of %s in state %s", XB_UUID_SHORT(&message->source), pc_state_name(pc->state));
        return;
    }
    struct pc_node *self = pc_self(pc);
    if (!self->is_prim && !pc_set_has(&pc->members, &message->source)) return;
    int64_t to_seq = -1;
    if (is_safe) {
        struct pc_node *source = pc_map_find(&pc->nodes, &message->source);
        if (!source || header->seq != source->last_seq + 1) {
            pc_fail(pc, false, "gap in message sequence of %s: %u after %u", XB_UUID_SHORT(&message->source),
                    header->seq, source ? source->last_seq : PC_NEVER_SEQ);
            return;
        }
        source->last_seq = header->seq;
        if (self->is_prim) to_seq = ++self->to_seq;
    }
    struct pc_message up = {.source = message->source,
                            .user_type = message->user_type,
                            .order = message->order,
                            .to_seq = to_seq,
                            .size = xb_reader_left(r)};
    up.payload = xb_read_bytes(r, up.size);
    pc->up.message(pc->up.ctx, &up, now_ns);
}
