/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Relaying: nodes without a direct connection, segments (spec 02 sections 12 and 13). */
#include "virtual_net.h"

#include <string.h>

static void start_in_segments(struct vnet *net, int hosts, const uint8_t *segments) {
    for (int i = 1; i <= hosts; i++) {
        struct gmcast_config config = vnet_config(net, i);
        config.segment = segments[i - 1];
        vnet_start_with(net, i, &config, i == 1 ? NO_PEERS : PEERS(1));
    }
}

static void expect_everybody_hears(struct vnet *net, int hosts, unsigned times_max) {
    for (int i = 1; i <= hosts; i++) {
        for (int k = 1; k <= hosts; k++) net->hosts[k].message_count = 0;
        vnet_broadcast(net, i, "to all");
        vnet_run(net, 20 * XB_MS);
        for (int k = 1; k <= hosts; k++) {
            unsigned count = vnet_count(net, k, i, "to all");
            if (k == i)
                assert_int_equal(count, 0);
            else
                assert_in_range(count, 1, times_max);
        }
    }
}

/* 1 and 2 cannot connect to each other; 3 and 4 see both. */
static void test_two_nodes_apart(void **state) {
    struct vnet *net = vnet_new();
    vnet_cut(net, 1, 2, true);
    vnet_start(net, 1, NO_PEERS);
    vnet_start(net, 3, PEERS(1));
    vnet_start(net, 4, PEERS(1));
    vnet_start(net, 2, PEERS(3));
    vnet_run(net, 5 * XB_SECOND);
    assert_int_equal(vnet_peer_count(net, 1), 2);
    assert_int_equal(vnet_peer_count(net, 2), 2);
    expect_everybody_hears(net, 4, 2);
    /* A unicast without connection is broadcast, and so relayed. */
    vnet_unicast(net, 1, 2, "to two");
    vnet_run(net, 20 * XB_MS);
    assert_int_equal(vnet_count(net, 2, 1, "to two"), 1);

    /* The relay dies, the other one takes over. */
    vnet_kill(net, 3);
    vnet_run(net, XB_SECOND);
    vnet_broadcast(net, 1, "again");
    vnet_run(net, 20 * XB_MS);
    assert_int_equal(vnet_count(net, 2, 1, "again"), 1);

    /* They meet at last: no relaying any more. */
    vnet_cut(net, 1, 2, false);
    vnet_run(net, 5 * XB_SECOND);
    vnet_broadcast(net, 1, "direct");
    vnet_run(net, 20 * XB_MS);
    assert_int_equal(vnet_count(net, 2, 1, "direct"), 1);
    assert_int_equal(vnet_count(net, 4, 1, "direct"), 1);
    assert_true(vnet_is_connected(net, 1, 2));
    vnet_free(net);
}

/* Three segments of two: each message crosses to each other segment once and is spread there. */
static void test_three_segments(void **state) {
    struct vnet *net = vnet_new();
    start_in_segments(net, 6, (const uint8_t[]){0, 0, 1, 1, 254, 254});
    vnet_run(net, XB_SECOND);
    vnet_assert_full_mesh(net, 6);
    for (int i = 1; i <= 6; i++) net->hosts[i].sent[WIRE_USER] = 0;
    expect_everybody_hears(net, 6, 1);
    unsigned sent = 0;
    for (int i = 1; i <= 6; i++) sent += net->hosts[i].sent[WIRE_USER];
    assert_int_equal(sent, 6 * 5); /* every copy is needed */
    vnet_unicast(net, 1, 6, "straight");
    vnet_run(net, 20 * XB_MS);
    assert_int_equal(vnet_count(net, 6, 1, "straight"), 1);
    assert_int_equal(vnet_count(net, 5, 1, "straight"), 0);
    vnet_free(net);
}

/* In a remote segment the gateways differ, so that the load is spread. */
static void test_gateways_are_spread(void **state) {
    struct vnet *net = vnet_new();
    start_in_segments(net, 4, (const uint8_t[]){0, 0, 3, 3});
    vnet_run(net, XB_SECOND);
    for (int i = 1; i <= 4; i++) net->hosts[i].sent[WIRE_USER] = 0;
    vnet_broadcast(net, 1, "a");
    vnet_broadcast(net, 2, "b");
    vnet_run(net, 20 * XB_MS);
    assert_int_equal(net->hosts[3].sent[WIRE_USER], 1);
    assert_int_equal(net->hosts[4].sent[WIRE_USER], 1);
    vnet_free(net);
}

/* Segments and a missing connection at once. 1, 2 in one segment, 3, 4 in the other; 1 and 3 cannot connect. */
static void test_segments_and_relays(void **state) {
    struct vnet *net = vnet_new();
    vnet_cut(net, 1, 3, true);
    struct gmcast_config config;
    for (int i = 1; i <= 4; i++) {
        config = vnet_config(net, i);
        config.segment = i > 2;
        vnet_start_with(net, i, &config, i == 1 ? NO_PEERS : i == 3 ? PEERS(2) : PEERS(1));
    }
    vnet_run(net, 5 * XB_SECOND);
    expect_everybody_hears(net, 4, 3);
    vnet_free(net);
}

/* Raw peers see the very flags (section 12.2), and what a relay makes of them (section 13.2). */
struct raw_peer {
    int pipe;
    struct xb_uuid uuid;
};

static struct raw_peer join_raw(struct vnet *net, int host, int target, uint8_t segment) {
    vnet_raw(net, host);
    struct raw_peer peer = {vnet_raw_dial(net, host, target), net->hosts[host].uuid};
    const uint8_t *body;
    size_t size;
    assert_int_equal(vnet_raw_next(net, peer.pipe, 0, &body, &size), WIRE_HANDSHAKE);
    struct wire_message m;
    struct xb_error error;
    assert_int_equal(mesh_read_message(&m, body, size, &error), 0);
    uint8_t response[HANDSHAKE_RESPONSE_SIZE];
    struct xb_writer w = xb_writer_init(response, sizeof(response));
    mesh_handshake_response_write(&w, segment, &peer.uuid, &m.handshake, "tcp://0.0.0.0:4567", "lab");
    vnet_raw_send(net, peer.pipe, 0, response, sizeof(response));
    assert_int_equal(vnet_raw_next(net, peer.pipe, 0, &body, &size), WIRE_OK);
    return peer;
}

static void send_user(struct vnet *net, struct raw_peer peer, uint8_t flags, uint8_t segment,
                      const struct xb_uuid *source) {
    uint8_t body[GMCAST_HEADER_SIZE + 3];
    struct xb_writer w = xb_writer_init(body, sizeof(body));
    mesh_user_write_header(&w, flags, segment, source);
    xb_write_bytes(&w, "abc", 3);
    vnet_raw_send(net, peer.pipe, 0, body, sizeof(body));
}

/* -> flags of the one USER message that came since, -1: none; checks that it is unchanged otherwise */
static int next_user(struct vnet *net, struct raw_peer peer, uint8_t segment, const struct xb_uuid *source) {
    int flags = -1;
    const uint8_t *body;
    size_t size;
    for (int type; (type = vnet_raw_next(net, peer.pipe, 0, &body, &size));) {
        if (type != WIRE_USER) continue;
        assert_int_equal(flags, -1);
        flags = body[2];
        assert_int_equal(body[3], segment);
        assert_memory_equal(body + 4, source->bytes, 16);
        assert_memory_equal(body + GMCAST_HEADER_SIZE, "abc", 3);
        assert_int_equal(size, GMCAST_HEADER_SIZE + 3);
    }
    return flags;
}

static void tell_topology(struct vnet *net, struct raw_peer peer, const struct xb_uuid *node, const char *address) {
    uint8_t body[TOPOLOGY_CHANGE_SIZE(1)];
    struct xb_writer w = xb_writer_init(body, sizeof(body));
    struct mesh_node list = {.uuid = *node};
    strcpy(list.address, address);
    mesh_topology_change_write(&w, &peer.uuid, "lab", &list, 1);
    vnet_raw_send(net, peer.pipe, 0, body, sizeof(body));
}

static void test_flags(void **state) {
    struct vnet *net = vnet_new();
    vnet_start(net, 1, NO_PEERS);
    const struct xb_uuid *own = &net->hosts[1].uuid;
    struct raw_peer a = join_raw(net, 2, 1, 0), b = join_raw(net, 3, 1, 0), c = join_raw(net, 4, 1, 9);

    vnet_broadcast(net, 1, "abc");
    vnet_run(net, 4 * XB_MS);
    assert_int_equal(next_user(net, a, 0, own), 0);
    assert_int_equal(next_user(net, b, 0, own), 0);
    assert_int_equal(next_user(net, c, 0, own), WIRE_SEGMENT_RELAY);

    send_user(net, a, 0, 0, &a.uuid);
    assert_int_equal(next_user(net, b, 0, &a.uuid), -1);
    send_user(net, a, WIRE_RELAY | WIRE_SEGMENT_RELAY, 0, &a.uuid);
    assert_int_equal(next_user(net, a, 0, &a.uuid), -1);
    assert_int_equal(next_user(net, b, 0, &a.uuid), 0);
    assert_int_equal(next_user(net, c, 0, &a.uuid), 0);
    send_user(net, c, WIRE_SEGMENT_RELAY, 9, &c.uuid);
    assert_int_equal(next_user(net, a, 9, &c.uuid), 0);
    assert_int_equal(next_user(net, b, 9, &c.uuid), 0);
    assert_int_equal(next_user(net, c, 9, &c.uuid), -1);

    /* b lists a node that we do not reach: b becomes our relay. */
    struct xb_uuid far = net->hosts[8].uuid;
    tell_topology(net, b, &far, "tcp://10.0.0.8:4567");
    vnet_broadcast(net, 1, "abc");
    vnet_run(net, 4 * XB_MS);
    assert_int_equal(next_user(net, a, 0, own), 0);
    assert_int_equal(next_user(net, b, 0, own), WIRE_RELAY);
    assert_int_equal(next_user(net, c, 0, own), WIRE_SEGMENT_RELAY);
    /* Second stage: what another segment sends goes on to the relay, with the flag. */
    send_user(net, c, WIRE_SEGMENT_RELAY, 9, &c.uuid);
    assert_int_equal(next_user(net, a, 9, &c.uuid), 0);
    assert_int_equal(next_user(net, b, 9, &c.uuid), WIRE_RELAY);
    /* What the relay passes on from there is heard. */
    unsigned heard = (unsigned)net->hosts[1].message_count;
    send_user(net, b, 0, 0, &far);
    assert_int_equal(net->hosts[1].message_count, heard + 1);
    /* And never goes back to where it came from. */
    send_user(net, b, WIRE_RELAY, 0, &far);
    assert_int_equal(next_user(net, a, 0, &far), 0);
    assert_int_equal(next_user(net, b, 0, &far), -1);
    vnet_free(net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_two_nodes_apart),
        cmocka_unit_test(test_three_segments),
        cmocka_unit_test(test_gateways_are_spread),
        cmocka_unit_test(test_segments_and_relays),
        cmocka_unit_test(test_flags),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
