/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Looks for byte strings in captured TCP traffic, across the borders of segments. Pure: packets come as bytes.
 *
 * Segments are taken as they come; what a flow said last is kept, so that a needle cut by a border is found. A needle
 * whose pieces arrive out of order could be missed: it is written many times.
 */
#ifndef XB_CLI_WIRE_H
#define XB_CLI_WIRE_H

#include <stddef.h>
#include <stdint.h>

#define WIRE_NEEDLE_MAX 64
#define WIRE_NEEDLES_MAX 8
#define WIRE_PORTS_MAX 512
#define WIRE_FLOWS 4096

struct wire_port {
    uint16_t port;
    size_t bytes, hits;
};

struct wire {
    const char *needles[WIRE_NEEDLES_MAX]; /* each of 8 to WIRE_NEEDLE_MAX bytes */
    int needle_count;
    struct wire_port ports[WIRE_PORTS_MAX];
    int port_count;
    struct wire_flow {
        uint64_t id;
        size_t size;
        uint8_t tail[WIRE_NEEDLE_MAX];
    } flows[WIRE_FLOWS]; /* by hash; a collision forgets the older */
};

/* An IP packet, version 4 or 6. Counts for the port that it is from or to, if it is one of ports. */
void wire_packet(struct wire *wire, const uint8_t *packet, size_t size);

#endif
