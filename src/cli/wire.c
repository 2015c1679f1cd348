/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Looks for byte strings in captured TCP traffic. */
#include "cli/wire.h"

#include <string.h>

#define PROTOCOL_TCP 6

static uint16_t be16(const uint8_t *p) {
    return (uint16_t)(p[0] << 8 | p[1]);
}

static struct wire_port *port_of(struct wire *wire, uint16_t from, uint16_t to) {
    for (int i = 0; i < wire->port_count; i++) {
        if (wire->ports[i].port == from || wire->ports[i].port == to) return &wire->ports[i];
    }
    return NULL;
}

static size_t count_in(const struct wire *wire, const uint8_t *data, size_t size) {
    size_t hits = 0;
    for (int i = 0; i < wire->needle_count; i++) {
        size_t length = strlen(wire->needles[i]);
        const uint8_t *at = data;
        while ((at = memmem(at, size - (size_t)(at - data), wire->needles[i], length))) hits++, at += length;
    }
    return hits;
}

/* The flow's last bytes and the first of this segment, as far as a needle could span them. */
static size_t count_across(struct wire *wire, struct wire_flow *flow, const uint8_t *data, size_t size) {
    uint8_t joint[2 * WIRE_NEEDLE_MAX];
    size_t head = size < WIRE_NEEDLE_MAX - 1 ? size : WIRE_NEEDLE_MAX - 1, hits = 0;
    memcpy(joint, flow->tail, flow->size);
    memcpy(joint + flow->size, data, head);
    for (int i = 0; i < wire->needle_count; i++) {
        size_t length = strlen(wire->needles[i]), total = flow->size + head;
        for (size_t at = 0; at + length <= total; at++) /* only those that begin before the border and end behind it */
            hits += at < flow->size && at + length > flow->size && !memcmp(joint + at, wire->needles[i], length);
    }
    size_t total = flow->size + size, keep = total < WIRE_NEEDLE_MAX - 1 ? total : WIRE_NEEDLE_MAX - 1;
    if (size >= keep) {
        memcpy(flow->tail, data + size - keep, keep);
    } else {
        memmove(flow->tail, flow->tail + total - keep, keep - size);
        memcpy(flow->tail + keep - size, data, size);
    }
    flow->size = keep;
    return hits;
}

static void take_segment(struct wire *wire, uint64_t addresses, const uint8_t *tcp, size_t size) {
    if (size < 20) return;
    uint16_t from = be16(tcp), to = be16(tcp + 2);
    size_t header = (size_t)(tcp[12] >> 4) * 4;
    struct wire_port *port = port_of(wire, from, to);
    if (!port || header < 20 || header >= size) return;
    const uint8_t *data = tcp + header;
    uint64_t id = (addresses ^ ((uint64_t)from << 16 | to)) * 0x9e3779b97f4a7c15u;
    struct wire_flow *flow = &wire->flows[id >> 52];
    if (flow->id != id) *flow = (struct wire_flow){.id = id};
    port->bytes += size - header;
    port->hits += count_across(wire, flow, data, size - header) + count_in(wire, data, size - header);
}

static uint64_t fold(const uint8_t *bytes, size_t size) {
    uint64_t value = 0;
    for (size_t i = 0; i < size; i++) value = value * 0x100000001b3u + bytes[i];
    return value;
}

void wire_packet(struct wire *wire, const uint8_t *packet, size_t size) {
    if (size >= 20 && packet[0] >> 4 == 4) {
        size_t header = (size_t)(packet[0] & 15) * 4, total = be16(packet + 2);
        if (total == 0 || total > size) total = size; /* 0: the network card cuts it up */
        if (packet[9] == PROTOCOL_TCP && header >= 20 && header < total && !(be16(packet + 6) & 0x1fff))
            take_segment(wire, fold(packet + 12, 8), packet + header, total - header);
    } else if (size >= 40 && packet[0] >> 4 == 6 && packet[6] == PROTOCOL_TCP) {
        size_t total = 40 + (size_t)be16(packet + 4);
        if (total == 40 || total > size) total = size;
        take_segment(wire, fold(packet + 8, 32), packet + 40, total - 40);
    }
}
