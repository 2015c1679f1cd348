/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Two to six instances find and keep each other. */
#include "virtual_net.h"

#include <errno.h>
#include <string.h>

static void start_all(struct vnet *net, int hosts) {
    for (int i = 1; i <= hosts; i++) vnet_start(net, i, i == 1 ? NO_PEERS : PEERS(1));
}

/* Everybody knows only the first; gossip does the rest. Everybody hears everybody once. */
static void test_full_mesh_from_one_seed(void **state) {
    struct vnet *net = vnet_new();
    start_all(net, 6);
    vnet_run(net, XB_SECOND);
    vnet_assert_full_mesh(net, 6);
    for (int i = 1; i <= 6; i++) vnet_broadcast(net, i, "hello");
    vnet_run(net, 10 * XB_MS);
    for (int a = 1; a <= 6; a++)
        for (int b = 1; b <= 6; b++) assert_int_equal(vnet_count(net, a, b, "hello"), a != b);
    vnet_free(net);
}

/* The wildcard listen address does not tell: every node finds itself in its list by dialling, once. */
static void test_own_address_in_list(void **state) {
    struct vnet *net = vnet_new();
    for (int i = 1; i <= 3; i++) vnet_start(net, i, PEERS(1, 2, 3));
    vnet_run(net, 5 * XB_SECOND);
    vnet_assert_full_mesh(net, 3);
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(net->hosts[i].fatal_count, 0);
        assert_true(net->hosts[i].dials <= 3);
    }
    char text[GMCAST_ADDRESS_SIZE];
    unsigned dials = net->hosts[1].dials;
    assert_int_equal(gmcast_peer_add(net->hosts[1].mesh, vnet_address(net, 1, text), net->now_ns), 0);
    vnet_run(net, 5 * XB_SECOND);
    assert_int_equal(net->hosts[1].dials, dials);
    vnet_free(net);
}

/* A specific listen address in the list is not even dialled. */
static void test_own_listen_address(void **state) {
    struct vnet *net = vnet_new();
    struct gmcast_config config = vnet_config(net, 1);
    vnet_address(net, 1, config.listen_address);
    vnet_start_with(net, 1, &config, PEERS(1));
    vnet_run(net, 5 * XB_SECOND);
    assert_int_equal(net->hosts[1].dials, 0);
    vnet_free(net);
}

/* Both dial at the same moment, at several latencies: one connection remains, the same at both ends. */
static void test_crossed_dials(void **state) {
    for (int64_t latency_ns = XB_MS / 10; latency_ns < 40 * XB_MS; latency_ns = latency_ns * 3 / 2) {
        struct vnet *net = vnet_new();
        net->latency_ns[2] = latency_ns;
        vnet_start(net, 1, PEERS(2));
        vnet_start(net, 2, PEERS(1));
        vnet_run(net, XB_SECOND);
        vnet_assert_full_mesh(net, 2);
        size_t hints = net->hosts[1].hint_count + net->hosts[2].hint_count;
        vnet_run(net, 10 * XB_SECOND);
        vnet_assert_full_mesh(net, 2);
        assert_int_equal(net->hosts[1].hint_count + net->hosts[2].hint_count, hints);
        assert_int_equal(net->hosts[1].dials + net->hosts[2].dials, 2);
        vnet_free(net);
    }
}

/* Nobody has anything to say: keepalives hold the connections, and one list each is all the topology traffic. */
static void test_keepalive(void **state) {
    struct vnet *net = vnet_new();
    start_all(net, 3);
    vnet_run(net, XB_SECOND);
    vnet_assert_full_mesh(net, 3);
    unsigned lists = net->hosts[1].sent[WIRE_TOPOLOGY_CHANGE];
    vnet_run(net, 60 * XB_SECOND);
    vnet_assert_full_mesh(net, 3);
    for (int i = 1; i <= 3; i++) {
        assert_true(net->hosts[i].sent[WIRE_KEEPALIVE] >= 2 * 40);
        assert_int_equal(net->hosts[i].hint_count, 0);
    }
    assert_int_equal(net->hosts[1].sent[WIRE_TOPOLOGY_CHANGE], lists);
    /* With traffic there are none. */
    unsigned before = net->hosts[1].sent[WIRE_KEEPALIVE];
    for (int i = 0; i < 50; i++) {
        for (int host = 1; host <= 3; host++) vnet_broadcast(net, host, "beat");
        vnet_run(net, 200 * XB_MS);
    }
    assert_true(net->hosts[1].sent[WIRE_KEEPALIVE] <= before + 4);
    vnet_free(net);
}

/* A stopped process: its connections are dropped after the peer timeout, others keep theirs. */
static void test_silent_peer(void **state) {
    struct vnet *net = vnet_new();
    start_all(net, 3);
    vnet_run(net, 3 * XB_SECOND);
    net->hosts[3].is_mute = true;
    vnet_run(net, 2400 * XB_MS);
    vnet_assert_full_mesh(net, 2 + 1);
    vnet_run(net, 1200 * XB_MS);
    assert_int_equal(vnet_peer_count(net, 1), 1);
    assert_true(vnet_is_connected(net, 1, 2));
    assert_int_equal(net->hosts[1].hint_count, 1);
    assert_true(xb_uuid_equal(&net->hosts[1].hints[0].peer, &net->hosts[3].uuid));
    assert_false(net->hosts[1].hints[0].is_refused);
    /* It dials, is taken in by the kernel and waits for HANDSHAKE, again and again. */
    unsigned dials = net->hosts[1].dials;
    vnet_run(net, 20 * XB_SECOND);
    assert_in_range(net->hosts[1].dials - dials, 4, 6);
    net->hosts[3].is_mute = false;
    vnet_run(net, 5 * XB_SECOND);
    vnet_assert_full_mesh(net, 3);
    vnet_free(net);
}

/* Our own stall is not the peers' silence. */
static void test_own_stall(void **state) {
    struct vnet *net = vnet_new();
    start_all(net, 2);
    vnet_run(net, XB_SECOND);
    int64_t until_ns = net->now_ns + 10 * XB_SECOND;
    gmcast_tick(net->hosts[1].mesh, until_ns); /* woke up late, before it could read */
    assert_int_equal(vnet_peer_count(net, 1), 1);
    vnet_free(net);
}

/* kill -9: told at once, and again as refused when the redial says so; a restart is found. */
static void test_killed_peer(void **state) {
    struct vnet *net = vnet_new();
    start_all(net, 2);
    vnet_run(net, 8 * XB_SECOND);
    struct vnet_host *one = &net->hosts[1];
    struct xb_uuid old = net->hosts[2].uuid;
    vnet_kill(net, 2);
    vnet_run(net, 5 * XB_MS);
    assert_int_equal(one->hint_count, 1);
    assert_false(one->hints[0].is_refused);
    vnet_run(net, 400 * XB_MS);
    assert_int_equal(one->hint_count, 2);
    assert_true(one->hints[1].is_refused && xb_uuid_equal(&one->hints[1].peer, &old));
    vnet_run(net, 3 * XB_SECOND);
    net->hosts[2].uuid.bytes[0] ^= 1;
    vnet_start(net, 2, NO_PEERS);
    vnet_run(net, 2 * XB_SECOND);
    vnet_assert_full_mesh(net, 2);
    vnet_free(net);
}

/* A partition, both sides with a view of their own, then the network heals: the mesh is whole again. */
static void test_partition_and_redial(void **state) {
    struct vnet *net = vnet_new();
    start_all(net, 5);
    vnet_run(net, 2 * XB_SECOND);
    vnet_assert_full_mesh(net, 5);
    const int *all = PEERS(1, 2, 3, 4, 5), *major = PEERS(1, 2, 3), *minor = PEERS(4, 5);
    for (int i = 1; i <= 5; i++) {
        vnet_view(net, i, false, all, NO_PEERS);
        vnet_view(net, i, true, all, NO_PEERS);
    }
    for (int a = 1; a <= 3; a++)
        for (int b = 4; b <= 5; b++) vnet_cut(net, a, b, true);
    vnet_run(net, 5 * XB_SECOND);
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(vnet_peer_count(net, i), 2);
        vnet_view(net, i, false, major, NO_PEERS);
        vnet_view(net, i, true, major, NO_PEERS);
    }
    for (int i = 4; i <= 5; i++) vnet_view(net, i, false, minor, NO_PEERS);
    vnet_run(net, 30 * XB_SECOND);
    for (int a = 1; a <= 3; a++)
        for (int b = 4; b <= 5; b++) vnet_cut(net, a, b, false);
    vnet_run(net, 10 * XB_SECOND);
    vnet_assert_full_mesh(net, 5);
    vnet_free(net);
}

/* gmcast.isolate: 1 closes everything and keeps it closed, 0 comes back, 2 is the end. */
static void test_isolate(void **state) {
    struct vnet *net = vnet_new();
    start_all(net, 3);
    vnet_run(net, XB_SECOND);
    gmcast_isolate(net->hosts[2].mesh, 1, net->now_ns);
    assert_int_equal(vnet_peer_count(net, 2), 0);
    unsigned dials = net->hosts[2].dials;
    vnet_run(net, 20 * XB_SECOND);
    assert_int_equal(vnet_peer_count(net, 2), 0);
    assert_int_equal(net->hosts[2].dials, dials);
    assert_true(vnet_is_connected(net, 1, 3));
    gmcast_isolate(net->hosts[2].mesh, 0, net->now_ns);
    vnet_run(net, XB_SECOND);
    vnet_assert_full_mesh(net, 3);

    gmcast_isolate(net->hosts[3].mesh, 2, net->now_ns);
    assert_int_equal(net->hosts[3].fatal_count, 1);
    assert_int_equal(net->hosts[3].fatal.code, -ECANCELED);
    vnet_run(net, 10 * XB_SECOND);
    assert_int_equal(vnet_peer_count(net, 3), 0);
    assert_int_equal(vnet_peer_count(net, 1), 1);
    assert_int_equal(gmcast_tick(net->hosts[3].mesh, net->now_ns), XB_NEVER);
    vnet_free(net);
}

/* Addresses by hand; the scheme does not matter (section 22.3). */
static void test_peer_add_and_delete(void **state) {
    struct vnet *net = vnet_new();
    net->is_tls = true;
    vnet_start(net, 1, NO_PEERS);
    vnet_start(net, 2, NO_PEERS);
    struct gmcast *one = net->hosts[1].mesh;
    assert_int_equal(gmcast_peer_add(one, "10.0.0.2:4567", net->now_ns), -EINVAL);
    assert_int_equal(gmcast_peer_add(one, "tcp://10.0.0.2", net->now_ns), -EINVAL);
    assert_int_equal(gmcast_peer_add(one, "tcp://10.0.0.2:4567", net->now_ns), 0);
    vnet_run(net, 100 * XB_MS);
    vnet_assert_full_mesh(net, 2);
    assert_int_equal(gmcast_peer_delete(one, "nonsense", net->now_ns), -EINVAL);
    assert_int_equal(gmcast_peer_delete(one, "ssl://10.0.0.7:4567", net->now_ns), 0);
    assert_int_equal(gmcast_peer_delete(one, "ssl://10.0.0.2:4567", net->now_ns), 0);
    assert_int_equal(vnet_peer_count(net, 1), 0);
    vnet_run(net, 4 * XB_SECOND);
    assert_int_equal(vnet_peer_count(net, 1), 0); /* the other one comes and is sent away */
    vnet_run(net, 4 * XB_SECOND);
    vnet_assert_full_mesh(net, 2); /* its next try after the time is welcome */
    vnet_free(net);
}

/* gmcast.mira: an address from gossip is forgotten after so many dials; a configured one never. */
static void test_initial_reconnect_attempts(void **state) {
    struct vnet *net = vnet_new();
    struct gmcast_config config = vnet_config(net, 1);
    config.max_initial_reconnect_attempts = 3;
    vnet_start_with(net, 1, &config, PEERS(2, 5));
    vnet_start(net, 2, NO_PEERS);
    vnet_start(net, 3, PEERS(2));
    vnet_cut(net, 1, 3, true);
    vnet_run(net, 60 * XB_SECOND);
    const unsigned *dials_to = net->hosts[1].dials_to;
    assert_in_range(dials_to[2], 1, 2);
    assert_int_equal(dials_to[3], 4);
    assert_in_range(dials_to[5], 55, 61);
    assert_true(vnet_is_connected(net, 1, 2));
    vnet_free(net);
}

/* Configured peers that are down do not hold each other back, whatever hangs (section 22.10), and are dialled slowly
 * once a primary view was seen. */
static void test_dial_schedule(void **state) {
    struct vnet *net = vnet_new();
    vnet_raw(net, 4); /* accepts and says nothing */
    vnet_cut(net, 1, 5, true);
    vnet_start(net, 1, PEERS(2, 3, 4, 5));
    vnet_run(net, 10 * XB_SECOND);
    vnet_start(net, 2, NO_PEERS);
    vnet_run(net, 1100 * XB_MS);
    assert_true(vnet_is_connected(net, 1, 2));
    vnet_view(net, 1, false, PEERS(1, 2), NO_PEERS);
    vnet_view(net, 1, true, PEERS(1, 2), NO_PEERS);
    vnet_run(net, 20 * XB_SECOND);
    unsigned dials = net->hosts[1].dials;
    vnet_run(net, 100 * XB_SECOND);
    assert_in_range(net->hosts[1].dials - dials, 3 * 7, 3 * 11);
    vnet_start(net, 3, NO_PEERS);
    vnet_run(net, 10 * XB_SECOND);
    assert_true(vnet_is_connected(net, 1, 3));
    vnet_free(net);
}

/* Unicast goes to one; without a connection to all. */
static void test_unicast(void **state) {
    struct vnet *net = vnet_new();
    start_all(net, 3);
    vnet_run(net, XB_SECOND);
    vnet_unicast(net, 1, 3, "only");
    vnet_unicast(net, 1, 5, "lost");
    vnet_run(net, 10 * XB_MS);
    assert_int_equal(vnet_count(net, 3, 1, "only"), 1);
    assert_int_equal(vnet_count(net, 2, 1, "only"), 0);
    assert_int_equal(vnet_count(net, 3, 1, "lost"), 1);
    assert_int_equal(vnet_count(net, 2, 1, "lost"), 1);
    vnet_free(net);
}

/* A full send queue loses EVS messages and keepalives, nothing else; gmcast's other messages are worth a reconnect. */
static void test_full_queue(void **state) {
    struct vnet *net = vnet_new();
    start_all(net, 2);
    vnet_run(net, XB_SECOND);
    net->hosts[1].send_result = -ENOBUFS;
    vnet_broadcast(net, 1, "lost");
    vnet_unicast(net, 1, 2, "lost"); /* tries direct, then as broadcast */
    vnet_run(net, 1500 * XB_MS);
    assert_true(vnet_is_connected(net, 1, 2));
    net->hosts[1].send_result = 0;
    vnet_broadcast(net, 1, "sent");
    vnet_run(net, 10 * XB_MS);
    assert_int_equal(vnet_count(net, 2, 1, "lost"), 0);
    assert_int_equal(vnet_count(net, 2, 1, "sent"), 1);

    net->hosts[1].send_result = -ENOBUFS;
    vnet_start(net, 3, PEERS(1));
    vnet_run(net, 100 * XB_MS);
    assert_int_equal(vnet_peer_count(net, 1), 1); /* the newcomer's HANDSHAKE could not be sent */
    net->hosts[1].send_result = 0;
    vnet_run(net, 3 * XB_SECOND);
    vnet_assert_full_mesh(net, 3);
    vnet_free(net);
}

/* An address that never answers and that nobody lists any more is forgotten. */
static void test_stale_gossip(void **state) {
    struct vnet *net = vnet_new();
    start_all(net, 2);
    vnet_start(net, 3, PEERS(2));
    vnet_cut(net, 1, 3, true);
    vnet_run(net, 10 * XB_SECOND);
    assert_true(vnet_is_connected(net, 2, 3));
    vnet_kill(net, 3);
    vnet_run(net, 200 * XB_SECOND);
    unsigned dials = net->hosts[1].dials_to[3];
    vnet_run(net, 60 * XB_SECOND);
    assert_int_equal(net->hosts[1].dials_to[3], dials);
    vnet_free(net);
}

/* Host 1 may not talk to host 3, which host 2 tells it about. What a user names is dialled in any case. */
static const char *refuse_third(void *ctx, const char *host) {
    const char *third = ctx;
    return strstr(third, host) ? "not wanted." : NULL;
}

static void test_gossip_of_forbidden_hosts(void **state) {
    for (int is_forbidden = 0; is_forbidden <= 1; is_forbidden++) {
        struct vnet *net = vnet_new();
        char third[GMCAST_ADDRESS_SIZE];
        vnet_address(net, 3, third);
        struct gmcast_config config = vnet_config(net, 1);
        if (is_forbidden) config.refusal = refuse_third;
        config.refusal_ctx = third;
        vnet_start_with(net, 1, &config, NO_PEERS);
        vnet_start(net, 2, PEERS(1));
        vnet_start(net, 3, PEERS(2));
        vnet_cut(net, 1, 3, true);
        vnet_run(net, 20 * XB_SECOND);
        assert_true(vnet_is_connected(net, 2, 3));
        assert_int_equal(net->hosts[1].dials_to[3] > 0, !is_forbidden);
        gmcast_peer_add(net->hosts[1].mesh, third, net->now_ns);
        vnet_cut(net, 1, 3, false);
        vnet_run(net, 10 * XB_SECOND);
        assert_true(vnet_is_connected(net, 1, 3));
        vnet_free(net);
    }
}

static void test_stop(void **state) {
    struct vnet *net = vnet_new();
    start_all(net, 2);
    vnet_run(net, XB_SECOND);
    gmcast_stop(net->hosts[2].mesh);
    vnet_broadcast(net, 2, "late");
    vnet_run(net, 5 * XB_SECOND);
    assert_int_equal(vnet_peer_count(net, 1), 0);
    assert_int_equal(vnet_count(net, 1, 2, "late"), 0);
    vnet_free(net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_full_mesh_from_one_seed),
        cmocka_unit_test(test_own_address_in_list),
        cmocka_unit_test(test_own_listen_address),
        cmocka_unit_test(test_crossed_dials),
        cmocka_unit_test(test_keepalive),
        cmocka_unit_test(test_silent_peer),
        cmocka_unit_test(test_own_stall),
        cmocka_unit_test(test_killed_peer),
        cmocka_unit_test(test_partition_and_redial),
        cmocka_unit_test(test_isolate),
        cmocka_unit_test(test_peer_add_and_delete),
        cmocka_unit_test(test_initial_reconnect_attempts),
        cmocka_unit_test(test_dial_schedule),
        cmocka_unit_test(test_unicast),
        cmocka_unit_test(test_full_queue),
        cmocka_unit_test(test_stale_gossip),
        cmocka_unit_test(test_gossip_of_forbidden_hosts),
        cmocka_unit_test(test_stop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
