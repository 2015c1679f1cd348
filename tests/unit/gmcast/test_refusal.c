/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who is not let in, and who must stop: groups, duplicate UUIDs, eviction, bans. */
#include "virtual_net.h"

#include <errno.h>
#include <string.h>

static void view_all(struct vnet *net, const int *tellers, bool is_primary, const int *members, const int *left) {
    for (; *tellers; tellers++) {
        vnet_view(net, *tellers, false, members, left);
        if (is_primary) vnet_view(net, *tellers, true, members, NO_PEERS);
    }
}

static struct vnet *three_members(bool is_tls) {
    struct vnet *net = vnet_new();
    net->is_tls = is_tls;
    for (int i = 1; i <= 3; i++) vnet_start(net, i, i == 1 ? NO_PEERS : PEERS(1));
    vnet_run(net, XB_SECOND);
    vnet_assert_full_mesh(net, 3);
    view_all(net, PEERS(1, 2, 3), true, PEERS(1, 2, 3), NO_PEERS);
    return net;
}

static void test_wrong_group(void **state) {
    struct vnet *net = vnet_new();
    net->is_tls = true;
    vnet_start(net, 1, NO_PEERS);
    struct gmcast_config config = vnet_config(net, 2);
    strcpy(config.group, "Lab");
    vnet_start_with(net, 2, &config, PEERS(1));
    vnet_run(net, 10 * XB_SECOND);
    assert_int_equal(vnet_peer_count(net, 1), 0);
    assert_int_equal(net->hosts[2].fatal_count, 0);
    assert_in_range(net->hosts[1].sent[WIRE_FAIL], 9, 10);
    vnet_free(net);
}

/* A copied gvwstate.dat: the second process learns it and stops, the first goes on. */
static void test_duplicate_uuid(void **state) {
    for (int is_tls = 0; is_tls <= 1; is_tls++) {
        struct vnet *net = three_members(is_tls);
        struct gmcast_config config = vnet_config(net, 4);
        config.uuid = net->hosts[2].uuid;
        vnet_start_with(net, 4, &config, PEERS(1));
        vnet_run(net, 5 * XB_SECOND);
        assert_int_equal(net->hosts[4].fatal_count, is_tls); /* anybody may say so without TLS */
        if (is_tls) assert_int_equal(net->hosts[4].fatal.code, -EEXIST);
        assert_int_equal(vnet_peer_count(net, 4), 0);
        vnet_assert_full_mesh(net, 3);

        /* And if it dials its double itself. */
        config = vnet_config(net, 5);
        config.uuid = net->hosts[2].uuid;
        vnet_start_with(net, 5, &config, PEERS(2));
        vnet_run(net, 5 * XB_SECOND);
        assert_int_equal(net->hosts[5].fatal_count, 1);
        assert_int_equal(net->hosts[2].fatal_count, 0);
        vnet_assert_full_mesh(net, 3);
        vnet_free(net);
    }
}

/* The same process at two addresses is refused at the second (rule 4), and no harm is done. */
static void test_second_address(void **state) {
    struct vnet *net = three_members(true);
    vnet_raw(net, 4); /* plays host 2 at another address */
    char text[GMCAST_ADDRESS_SIZE];
    gmcast_peer_add(net->hosts[1].mesh, vnet_address(net, 4, text), net->now_ns);
    vnet_run(net, 100 * XB_MS);
    int pipe = vnet_raw_accepted(net, 4, 0);
    assert_true(pipe >= 0);
    uint8_t body[HANDSHAKE_SIZE];
    struct xb_writer w = xb_writer_init(body, sizeof(body));
    mesh_handshake_write(&w, 0, &net->hosts[2].uuid, &net->hosts[4].uuid);
    vnet_raw_send(net, pipe, 1, body, sizeof(body));
    assert_true(vnet_raw_has_ended(net, pipe, 1));
    const uint8_t *answer;
    size_t size;
    assert_int_equal(vnet_raw_next(net, pipe, 1, &answer, &size), 0); /* no FAIL: it might be fatal for the peer */
    vnet_run(net, 15 * XB_SECOND);
    vnet_assert_full_mesh(net, 3);
    assert_int_equal(vnet_raw_accepted(net, 4, 1), -1); /* not dialled again while connected */
    vnet_free(net);
}

/* Eviction: the evicted node goes with the next primary view, is told so, and stops when it is sure. */
static void test_evict(void **state) {
    struct vnet *net = three_members(true);
    for (int i = 1; i <= 2; i++) gmcast_evict(net->hosts[i].mesh, &net->hosts[3].uuid);
    vnet_run(net, 100 * XB_MS);
    vnet_assert_full_mesh(net, 3); /* not cut by the eviction itself */
    size_t before = net->hosts[1].message_count;
    vnet_broadcast(net, 3, "unheard");
    vnet_run(net, 100 * XB_MS);
    assert_int_equal(net->hosts[1].message_count, before);
    assert_int_equal(vnet_count(net, 1, 3, "unheard"), 0);
    view_all(net, PEERS(1, 2), true, PEERS(1, 2), NO_PEERS);
    vnet_run(net, 3 * XB_SECOND);
    assert_int_equal(net->hosts[3].fatal_count, 1);
    assert_int_equal(net->hosts[3].fatal.code, -EACCES);
    assert_true(vnet_is_connected(net, 1, 2));

    /* With a new UUID it is welcome; with the old one after the list was cleared, too. */
    vnet_kill(net, 3);
    struct xb_uuid old = net->hosts[3].uuid;
    net->hosts[3].uuid.bytes[3] ^= 1;
    vnet_start(net, 3, PEERS(1));
    vnet_run(net, 2 * XB_SECOND);
    vnet_assert_full_mesh(net, 3);
    vnet_kill(net, 3);
    vnet_run(net, XB_SECOND);
    net->hosts[3].uuid = old;
    gmcast_unevict(net->hosts[1].mesh, NULL);
    gmcast_unevict(net->hosts[2].mesh, &old);
    vnet_start(net, 3, PEERS(1));
    vnet_run(net, 2 * XB_SECOND);
    vnet_assert_full_mesh(net, 3);
    vnet_free(net);
}

/* With one survivor its word must do, but only said again and again, and only while nobody else accepts us. */
static void test_evicted_by_one(void **state) {
    struct vnet *net = vnet_new();
    net->is_tls = true;
    vnet_start(net, 1, NO_PEERS);
    gmcast_evict(net->hosts[1].mesh, &net->hosts[2].uuid);
    vnet_start(net, 2, PEERS(1));
    vnet_run(net, XB_SECOND);
    assert_int_equal(net->hosts[2].fatal_count, 0);
    vnet_run(net, 2 * XB_SECOND);
    assert_int_equal(net->hosts[2].fatal_count, 1);

    vnet_start(net, 3, NO_PEERS);
    gmcast_evict(net->hosts[1].mesh, &net->hosts[4].uuid);
    vnet_start(net, 4, PEERS(1, 3));
    vnet_run(net, 10 * XB_SECOND);
    assert_int_equal(net->hosts[4].fatal_count, 0);
    assert_true(vnet_is_connected(net, 3, 4));
    vnet_free(net);
}

/* Without TLS nobody can make us stop. */
static void test_evicted_in_plain_text(void **state) {
    struct vnet *net = vnet_new();
    for (int i = 1; i <= 2; i++) {
        vnet_start(net, i, NO_PEERS);
        gmcast_evict(net->hosts[i].mesh, &net->hosts[3].uuid);
    }
    vnet_start(net, 3, PEERS(1, 2));
    vnet_run(net, 10 * XB_SECOND);
    assert_int_equal(net->hosts[3].fatal_count, 0);
    assert_int_equal(vnet_peer_count(net, 3), 0);
    vnet_free(net);
}

/* A node that left is refused for gmcast.time_wait, then welcome. A new process at its address is welcome at once. */
static void test_left_node(void **state) {
    struct vnet *net = three_members(true);
    view_all(net, PEERS(1, 2), true, PEERS(1, 2), PEERS(3));
    vnet_run(net, 100 * XB_MS);
    assert_int_equal(vnet_peer_count(net, 1), 1);
    vnet_run(net, 4800 * XB_MS);
    assert_int_equal(vnet_peer_count(net, 1), 1); /* it came back every second and was sent away */
    assert_true(net->hosts[3].dials >= 5);
    vnet_run(net, 2 * XB_SECOND);
    vnet_assert_full_mesh(net, 3);

    view_all(net, PEERS(1, 2, 3), true, PEERS(1, 2, 3), NO_PEERS);
    view_all(net, PEERS(1, 2), true, PEERS(1, 2), PEERS(3));
    vnet_kill(net, 3);
    net->hosts[3].uuid.bytes[0] ^= 1;
    vnet_start(net, 3, PEERS(1));
    vnet_run(net, 500 * XB_MS);
    vnet_assert_full_mesh(net, 3);
    vnet_free(net);
}

/* EVS lifts the ban when it is about to accept the node. */
static void test_allow(void **state) {
    struct vnet *net = three_members(true);
    view_all(net, PEERS(1, 2), true, PEERS(1, 2), PEERS(3));
    vnet_run(net, 1500 * XB_MS);
    assert_int_equal(vnet_peer_count(net, 1), 1);
    for (int i = 1; i <= 2; i++) gmcast_allow(net->hosts[i].mesh, &net->hosts[3].uuid);
    vnet_run(net, 200 * XB_MS);
    vnet_assert_full_mesh(net, 3);
    /* A newcomer again: a view for somebody else does not ban it. */
    view_all(net, PEERS(1, 2), true, PEERS(1, 2), NO_PEERS);
    vnet_assert_full_mesh(net, 3);
    vnet_free(net);
}

/* A partitioned member is refused for half the time. */
static void test_partitioned_node(void **state) {
    struct vnet *net = three_members(true);
    view_all(net, PEERS(1, 2), true, PEERS(1, 2), NO_PEERS);
    assert_int_equal(vnet_peer_count(net, 1), 1);
    vnet_run(net, 2400 * XB_MS);
    assert_int_equal(vnet_peer_count(net, 1), 1);
    vnet_run(net, 1500 * XB_MS);
    vnet_assert_full_mesh(net, 3);
    vnet_free(net);
}

/* A node that is just joining is not banned by the view for another joiner (section 21). */
static void test_newcomer_is_not_banned(void **state) {
    struct vnet *net = three_members(true);
    vnet_start(net, 4, PEERS(1));
    vnet_start(net, 5, PEERS(1));
    vnet_run(net, 500 * XB_MS);
    vnet_assert_full_mesh(net, 5);
    view_all(net, PEERS(1, 2, 3, 4), true, PEERS(1, 2, 3, 4), NO_PEERS);
    vnet_run(net, 100 * XB_MS);
    vnet_assert_full_mesh(net, 5);
    vnet_free(net);
}

/* A configured peer that left is dialled again after its ban, slowly. */
static void test_configured_peer_that_left(void **state) {
    struct vnet *net = three_members(true); /* 1 is configured at 2 and 3 */
    view_all(net, PEERS(2, 3), true, PEERS(2, 3), PEERS(1));
    vnet_kill(net, 1);
    unsigned dials = net->hosts[2].dials_to[1];
    vnet_run(net, 14 * XB_SECOND);
    assert_int_equal(net->hosts[2].dials_to[1], dials);
    net->hosts[1].uuid.bytes[0] ^= 1;
    vnet_start(net, 1, NO_PEERS); /* knows nobody */
    vnet_run(net, 2 * XB_SECOND);
    vnet_assert_full_mesh(net, 3);
    vnet_free(net);
}

/* A node that founds a group does not look for another one, but for members of its own that it has lost. */
static void test_founder(void **state) {
    struct vnet *net = vnet_new();
    struct gmcast_config config = vnet_config(net, 1);
    config.is_founder = true;
    vnet_start(net, 2, NO_PEERS);
    vnet_start_with(net, 1, &config, PEERS(2));
    vnet_view(net, 1, true, PEERS(1), NO_PEERS);
    vnet_run(net, 30 * XB_SECOND);
    assert_int_equal(net->hosts[1].dials_to[2], 0);
    char text[GMCAST_ADDRESS_SIZE];
    gmcast_peer_add(net->hosts[2].mesh, vnet_address(net, 1, text), net->now_ns);
    vnet_run(net, XB_SECOND);
    vnet_assert_full_mesh(net, 2);
    view_all(net, PEERS(1, 2), true, PEERS(1, 2), NO_PEERS);
    vnet_kill(net, 2);
    vnet_view(net, 1, true, PEERS(1), NO_PEERS);
    net->hosts[2].uuid.bytes[0] ^= 1;
    vnet_start(net, 2, NO_PEERS);
    vnet_run(net, 20 * XB_SECOND);
    vnet_assert_full_mesh(net, 2);
    vnet_free(net);
}

/* An address of a former joiner that is neither connected nor listed goes with the next primary view. */
static void test_vanished_joiner(void **state) {
    struct vnet *net = three_members(true);
    vnet_start(net, 4, PEERS(1));
    vnet_run(net, 500 * XB_MS);
    vnet_assert_full_mesh(net, 4);
    vnet_kill(net, 4);
    vnet_run(net, 100 * XB_MS);
    view_all(net, PEERS(1, 2, 3), true, PEERS(1, 2, 3), NO_PEERS);
    unsigned dials = net->hosts[1].dials_to[4];
    vnet_run(net, 20 * XB_SECOND);
    assert_int_equal(net->hosts[1].dials_to[4], dials);
    vnet_free(net);
}

/* An evicted node that listens is dialled in vain, and not told: it learns it when it dials. */
static void test_dialling_an_evicted_node(void **state) {
    struct vnet *net = vnet_new();
    net->is_tls = true;
    vnet_start(net, 1, PEERS(2));
    gmcast_evict(net->hosts[1].mesh, &net->hosts[2].uuid);
    vnet_start(net, 2, NO_PEERS);
    vnet_run(net, 5 * XB_SECOND);
    assert_int_equal(vnet_peer_count(net, 1), 0);
    assert_int_equal(vnet_peer_count(net, 2), 0);
    assert_int_equal(net->hosts[2].fatal_count, 0);
    vnet_free(net);
}

/* Plays a handshake up to our message, whose answer is returned; as acceptor with this handshake UUID. */
static const uint8_t *handshake_as_with(struct vnet *net, int pipe, int end, const struct xb_uuid *uuid,
                                        int type_expected, const struct xb_uuid *own_handshake) {
    uint8_t body[HANDSHAKE_RESPONSE_SIZE];
    struct xb_writer w = xb_writer_init(body, sizeof(body));
    const uint8_t *answer;
    size_t size;
    if (end == 1) {
        mesh_handshake_write(&w, 0, uuid, own_handshake);
    } else {
        assert_int_equal(vnet_raw_next(net, pipe, end, &answer, &size), WIRE_HANDSHAKE);
        struct xb_uuid handshake;
        memcpy(handshake.bytes, answer + GMCAST_HEADER_SIZE, 16);
        mesh_handshake_response_write(&w, 0, uuid, &handshake, "ssl://0.0.0.0:4567", "lab");
    }
    vnet_raw_send(net, pipe, end, body, w.used);
    assert_int_equal(vnet_raw_next(net, pipe, end, &answer, &size), type_expected);
    return answer;
}

static const uint8_t *handshake_as(struct vnet *net, int pipe, int end, const struct xb_uuid *uuid, int type_expected) {
    return handshake_as_with(net, pipe, end, uuid, type_expected, &net->hosts[8].uuid);
}

/* Of two connections to one peer the greater handshake UUID stays (section 9.3.5), be it the old or the new one. */
static void test_greater_handshake_stays(void **state) {
    for (int is_old_greater = 0; is_old_greater <= 1; is_old_greater++) {
        struct vnet *net = three_members(true);
        vnet_raw(net, 4);
        char text[GMCAST_ADDRESS_SIZE];
        gmcast_peer_add(net->hosts[1].mesh, vnet_address(net, 4, text), net->now_ns);
        vnet_run(net, 10 * XB_MS);
        struct xb_uuid handshake; /* the other connection's is a real one in between */
        memset(handshake.bytes, is_old_greater ? 0xff : 0x00, sizeof(handshake.bytes));
        handshake.bytes[15] = 1;
        int ours = vnet_raw_accepted(net, 4, 0);
        handshake_as_with(net, ours, 1, &net->hosts[4].uuid, WIRE_HANDSHAKE_RESPONSE, &handshake);
        uint8_t ok[OK_SIZE];
        struct xb_writer w = xb_writer_init(ok, sizeof(ok));
        mesh_ok_write(&w, 0, &net->hosts[4].uuid);
        vnet_raw_send(net, ours, 1, ok, sizeof(ok));
        int theirs = vnet_raw_dial(net, 4, 1);
        handshake_as(net, theirs, 0, &net->hosts[4].uuid, WIRE_OK);
        assert_int_equal(vnet_raw_has_ended(net, ours, 1), !is_old_greater);
        assert_int_equal(vnet_raw_has_ended(net, theirs, 0), is_old_greater);
        assert_int_equal(vnet_peer_count(net, 1), 3);
        assert_int_equal(net->hosts[1].hint_count, 0);
        vnet_free(net);
    }
}

/* Once a primary view was seen the other process is wrong, not we (rule 3). */
static void test_own_uuid_from_outside(void **state) {
    struct vnet *net = three_members(true);
    vnet_raw(net, 4);
    int pipe = vnet_raw_dial(net, 4, 1);
    const uint8_t *answer = handshake_as(net, pipe, 0, &net->hosts[1].uuid, WIRE_FAIL);
    assert_memory_equal(answer + GMCAST_HEADER_SIZE, FAIL_DUPLICATE, sizeof(FAIL_DUPLICATE));
    assert_true(vnet_raw_has_ended(net, pipe, 0));
    vnet_run(net, XB_SECOND);
    assert_int_equal(net->hosts[1].fatal_count, 0);
    vnet_assert_full_mesh(net, 3);
    vnet_free(net);
}

/* Our own unfinished dial to a peer's other address does not make us refuse the peer. */
static void test_own_dial_gives_way(void **state) {
    struct vnet *net = three_members(true);
    vnet_raw(net, 4);
    vnet_raw(net, 5); /* the same process at another address */
    char text[GMCAST_ADDRESS_SIZE];
    gmcast_peer_add(net->hosts[1].mesh, vnet_address(net, 5, text), net->now_ns);
    vnet_run(net, 100 * XB_MS);
    int ours = vnet_raw_accepted(net, 5, 0);
    handshake_as(net, ours, 1, &net->hosts[4].uuid, WIRE_HANDSHAKE_RESPONSE);
    int theirs = vnet_raw_dial(net, 4, 1);
    handshake_as(net, theirs, 0, &net->hosts[4].uuid, WIRE_OK);
    assert_true(vnet_raw_has_ended(net, ours, 1));
    assert_false(vnet_raw_has_ended(net, theirs, 0));
    vnet_free(net);
}

static void test_evict_list_is_bounded(void **state) {
    struct vnet *net = vnet_new();
    vnet_start(net, 1, NO_PEERS);
    struct gmcast *mesh = net->hosts[1].mesh;
    struct xb_uuid node = net->hosts[2].uuid;
    for (int i = 0; i < 2 * MESH_EVICTED_MAX; i++) {
        xb_store_le(node.bytes, (uint64_t)i, 4);
        gmcast_evict(mesh, &node);
        gmcast_evict(mesh, &node);
    }
    assert_int_equal(mesh->evicted_count, MESH_EVICTED_MAX);
    assert_true(mesh_is_evicted(mesh, &node));
    gmcast_unevict(mesh, &node);
    assert_false(mesh_is_evicted(mesh, &node));
    vnet_free(net);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wrong_group),
        cmocka_unit_test(test_duplicate_uuid),
        cmocka_unit_test(test_second_address),
        cmocka_unit_test(test_evict),
        cmocka_unit_test(test_evicted_by_one),
        cmocka_unit_test(test_evicted_in_plain_text),
        cmocka_unit_test(test_left_node),
        cmocka_unit_test(test_allow),
        cmocka_unit_test(test_partitioned_node),
        cmocka_unit_test(test_newcomer_is_not_banned),
        cmocka_unit_test(test_configured_peer_that_left),
        cmocka_unit_test(test_founder),
        cmocka_unit_test(test_vanished_joiner),
        cmocka_unit_test(test_dialling_an_evicted_node),
        cmocka_unit_test(test_own_uuid_from_outside),
        cmocka_unit_test(test_own_dial_gives_way),
        cmocka_unit_test(test_evict_list_is_bounded),
        cmocka_unit_test(test_greater_handshake_stays),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
