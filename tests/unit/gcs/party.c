/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Groups of synced members. */
#include "party.h"

struct peer *start_peer(struct bus *bus, const char *name) {
    struct peer *peer = bus_add(bus, name);
    node_start(peer->node);
    return peer;
}

bus_set all(const struct bus *bus) {
    bus_set set = 0;
    for (int i = 0; i < bus->peer_count; i++)
        if (bus->peers[i].node) set |= bus_bit(&bus->peers[i]);
    return set;
}

enum gcs_node_state state_of(const struct peer *peer) {
    return gcs_own_state(peer->node->gcs);
}

struct item *request(struct peer *peer, const char *donors) {
    uint8_t bytes[256];
    size_t size = make_request(bytes, sizeof(bytes), donors, &xb_uuid_nil, -1);
    return item_submit(peer->node, GCS_STATE_REQ, bytes, size);
}

void tell_join(struct peer *peer, int code) {
    struct gcs *gcs = peer->node->gcs;
    gcs_join(gcs, &gcs->group_uuid, gcs->counter, code, peer->node->now_ns);
}

void transfer(struct bus *bus, struct peer *joiner) {
    struct item *item = request(joiner, "");
    bus_settle(bus);
    assert_true(item->is_done && item->result >= 0);
    for (int i = 0; i < bus->peer_count; i++)
        if (bus->peers[i].node && state_of(&bus->peers[i]) == GCS_NODE_DONOR) tell_join(&bus->peers[i], 0);
    tell_join(joiner, 0);
    bus_settle(bus);
    assert_int_equal(state_of(joiner), GCS_NODE_SYNCED);
    item_free(item);
}

struct bus *make_group(int n) {
    static const char *const names[] = {"n0", "n1", "n2", "n3", "n4"};
    struct bus *bus = bus_new(1);
    for (int i = 0; i < n; i++) {
        struct peer *peer = start_peer(bus, names[i]);
        bus_change(bus, all(bus), false);
        bus_settle(bus);
        if (i) transfer(bus, peer);
    }
    for (int i = 0; i < n; i++) {
        assert_int_equal(state_of(&bus->peers[i]), GCS_NODE_SYNCED);
        node_forget(bus->peers[i].node);
    }
    return bus;
}

struct node *node_of(struct bus *bus, int i) {
    return bus->peers[i].node;
}

struct gcs *gcs_of(struct bus *bus, int i) {
    return bus->peers[i].node->gcs;
}

void assert_same_counters(struct bus *bus) {
    const struct gcs *first = NULL;
    for (int i = 0; i < bus->peer_count; i++) {
        if (!bus->peers[i].node) continue;
        const struct gcs *gcs = bus->peers[i].node->gcs;
        if (!first) first = gcs;
        assert_int_equal(gcs->counter, first->counter);
        assert_int_equal(gcs->cut.last_applied, first->cut.last_applied);
        assert_int_equal(gcs->member_count, first->member_count);
        for (size_t k = 0; k < gcs->member_count; k++) {
            assert_int_equal(gcs->members[k].state, first->members[k].state);
            assert_int_equal(gcs->members[k].desync_count, first->members[k].desync_count);
        }
    }
}

struct item *submit_big(struct node *node, size_t size, int seed) {
    uint8_t *bytes = malloc(size);
    for (size_t i = 0; i < size; i++) bytes[i] = (uint8_t)(i * 7 + (size_t)seed);
    struct item *item = item_submit(node, GCS_WRITESET, bytes, size);
    free(bytes);
    return item;
}
