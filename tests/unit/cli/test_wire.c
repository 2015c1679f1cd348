/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A needle is found wherever segments cut it, and nowhere else. */
#include "cli/wire.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static const char needle[] = "canary-0123456789abcdef";

/* An IPv4 packet with a TCP segment from port 5000 (or other) to 4567. */
static void segment(struct wire *wire, uint16_t from, const char *data, size_t size) {
    uint8_t packet[2048] = {0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6};
    size_t total = 40 + size;
    packet[2] = (uint8_t)(total >> 8);
    packet[3] = (uint8_t)total;
    packet[20] = (uint8_t)(from >> 8);
    packet[21] = (uint8_t)from;
    packet[22] = 4567 >> 8;
    packet[23] = 4567 & 255;
    packet[32] = 5 << 4;
    memcpy(packet + 40, data, size);
    wire_packet(wire, packet, total + 6); /* Ethernet pads short ones */
}

static struct wire *fresh(void) {
    struct wire *wire = calloc(1, sizeof(*wire));
    wire->needles[wire->needle_count++] = needle;
    wire->ports[wire->port_count++].port = 4567;
    return wire;
}

static void cut_anywhere(void **state) {
    for (size_t cut = 0; cut <= strlen(needle); cut++) {
        struct wire *wire = fresh();
        segment(wire, 5000, needle, cut);
        segment(wire, 5000, needle + cut, strlen(needle) - cut);
        assert_int_equal(wire->ports[0].hits, 1);
        assert_int_equal(wire->ports[0].bytes, strlen(needle));
        free(wire);
    }
}

static void byte_by_byte(void **state) {
    struct wire *wire = fresh();
    for (int round = 0; round < 3; round++) {
        segment(wire, 5000, "noise", 5);
        for (size_t i = 0; i < strlen(needle); i++) segment(wire, 5000, needle + i, 1);
    }
    assert_int_equal(wire->ports[0].hits, 3);
    free(wire);
}

static void flows_are_apart(void **state) {
    struct wire *wire = fresh();
    segment(wire, 5000, needle, 10);
    segment(wire, 5001, needle + 10, strlen(needle) - 10);
    assert_int_equal(wire->ports[0].hits, 0);
    segment(wire, 5000, needle + 10, strlen(needle) - 10);
    assert_int_equal(wire->ports[0].hits, 1);
    free(wire);
}

static void broken_packets(void **state) {
    struct wire *wire = fresh();
    uint8_t packet[256];
    srand(1);
    for (int i = 0; i < 100000; i++) {
        size_t size = (size_t)rand() % sizeof(packet);
        uint8_t *exact = malloc(size ? size : 1); /* so that AddressSanitizer sees reads behind it */
        for (size_t b = 0; b < size; b++) exact[b] = (uint8_t)rand();
        if (size > 30) {
            exact[0] = rand() % 2 ? 0x45 : 0x60;
            exact[exact[0] == 0x45 ? 9 : 6] = 6;
            exact[exact[0] == 0x45 ? 22 : 2] = 4567 >> 8;
        }
        wire_packet(wire, exact, size);
        free(exact);
    }
    assert_int_equal(wire->ports[0].hits, 0);
    free(wire);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(cut_anywhere), cmocka_unit_test(byte_by_byte),
                                       cmocka_unit_test(flows_are_apart), cmocka_unit_test(broken_packets)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
