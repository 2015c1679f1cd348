/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The ordered bus. */
#include "bus.h"

struct bus *bus_new(uint64_t seed) {
    struct bus *bus = calloc(1, sizeof(*bus));
    xb_random_seed(&bus->random, seed);
    bus->out_max = BUS_OUT_MAX;
    bus->now_ns = XB_SECOND;
    return bus;
}

static void free_event(struct bus_event *event) {
    free(event->message.bytes);
    free(event);
}

static void clear_peer(struct peer *peer) {
    while (peer->inbox) {
        struct bus_event *next = peer->inbox->next;
        free_event(peer->inbox);
        peer->inbox = next;
    }
    peer->inbox_last = &peer->inbox;
    for (size_t i = 0; i < peer->out_count; i++) free(peer->out[i].bytes);
    peer->out_count = 0;
    peer->component = 0;
    peer->pending_views = 0;
}

void bus_free(struct bus *bus) {
    for (int i = 0; i < bus->peer_count; i++) {
        node_free(bus->peers[i].node);
        clear_peer(&bus->peers[i]);
    }
    free(bus);
}

static struct bus_event *push(struct peer *peer, struct bus_event event) {
    struct bus_event *copy = malloc(sizeof(*copy));
    *copy = event;
    copy->next = NULL;
    if (event.message.bytes) {
        copy->message.bytes = malloc(event.message.size);
        memcpy(copy->message.bytes, event.message.bytes, event.message.size);
    }
    *peer->inbox_last = copy;
    peer->inbox_last = &copy->next;
    return copy;
}

static int on_submit(struct node *node, const struct sent *message) {
    struct peer *peer = node->ctx;
    struct bus *bus = peer->bus;
    if (peer->pending_views) return -EAGAIN;
    if (!peer->is_primary) return -ENOTCONN;
    if (peer->out_count >= bus->out_max || xb_random_below(&bus->random, 100) < bus->refuse_percent) return -EAGAIN;
    if (message->order == EVS_LOCAL_CAUSAL) {
        push(peer, (struct bus_event){.order = bus->order, .source = peer->id, .message = *message});
        return 0;
    }
    struct sent copy = *message;
    copy.bytes = malloc(message->size);
    memcpy(copy.bytes, message->bytes, message->size);
    peer->out[peer->out_count++] = copy;
    if (bus->is_immediate && peer->component == bus_bit(peer) && !peer->is_delivering)
        while (bus_order(bus, peer) || bus_deliver(bus, peer)) {
        }
    return 0;
}

struct peer *bus_add(struct bus *bus, const char *name) {
    assert_true(bus->peer_count < BUS_PEERS_MAX);
    struct peer *peer = &bus->peers[bus->peer_count];
    *peer = (struct peer){.bus = bus, .id = bus->peer_count++};
    peer->inbox_last = &peer->inbox;
    peer->node = node_new(peer->id, name);
    peer->node->ctx = peer;
    peer->node->submit = on_submit;
    peer->node->now_ns = bus->now_ns;
    return peer;
}

static bool order_into(struct bus *bus, struct peer *peer, bus_set members) {
    if (!peer->out_count) return false;
    struct bus_event event = {.order = ++bus->order, .source = peer->id, .message = peer->out[0]};
    for (int i = 0; i < bus->peer_count; i++)
        if (members >> i & 1) push(&bus->peers[i], event);
    free(peer->out[0].bytes);
    memmove(peer->out, peer->out + 1, --peer->out_count * sizeof(*peer->out));
    return true;
}

bool bus_order(struct bus *bus, struct peer *peer) {
    return peer->node && order_into(bus, peer, peer->component);
}

static void deliver_view(struct peer *peer, const struct bus_event *event) {
    struct pc_member list[BUS_PEERS_MAX]; /* a member that has crashed since is named all the same */
    size_t count = 0;
    peer->pending_views--;
    peer->is_primary = event->is_primary;
    for (int i = 0; i < peer->bus->peer_count; i++) {
        if (!(event->members >> i & 1)) continue;
        memset(list[count].uuid.bytes, i + 1, sizeof(list[count].uuid.bytes));
        list[count++].segment = 0;
    }
    struct pc_view view = {.id = {.type = event->is_primary ? VIEW_PRIM : VIEW_NON_PRIM},
                           .is_bootstrap = event->is_bootstrap,
                           .are_all_ours = event->is_primary && peer->node->are_all_ours,
                           .members = list,
                           .member_count = count};
    gcs_view(peer->node->gcs, &view, peer->node->now_ns, peer->node->now_ns);
}

bool bus_deliver(struct bus *bus, struct peer *peer) {
    struct bus_event *event = peer->inbox;
    if (!event || !peer->node) return false;
    peer->inbox = event->next;
    if (!peer->inbox) peer->inbox_last = &peer->inbox;
    bool was_delivering = peer->is_delivering;
    peer->is_delivering = true;
    if (event->is_view) {
        deliver_view(peer, event);
    } else {
        for (int i = 0; i < bus->peer_count; i++)
            if (bus->peers[i].component == peer->component && event->order > bus->peers[i].reached)
                bus->peers[i].reached = event->order;
        struct xb_uuid source;
        memset(source.bytes, event->source + 1, sizeof(source.bytes));
        node_deliver(peer->node, &source, &event->message);
    }
    peer->is_delivering = was_delivering;
    free_event(event);
    return true;
}

/* Takes what the members that stay together will not see out of a peer's inbox, and puts the view at its place. What is
 * in front of an earlier view is settled. */
static void change_inbox(struct peer *peer, const struct bus_event *view, uint64_t reached, const uint64_t *limits) {
    struct bus_event *old = peer->inbox, *settled = NULL;
    for (struct bus_event *e = old; e; e = e->next)
        if (e->is_view) settled = e;
    peer->inbox = NULL;
    peer->inbox_last = &peer->inbox;
    bool is_placed = false;
    while (old) {
        struct bus_event *next = old->next;
        bool is_tail = !settled && !old->is_view && old->order > reached;
        if (old == settled) settled = NULL;
        if (is_tail && !view->is_primary && !is_placed) {
            push(peer, *view);
            is_placed = true;
        }
        if (!is_tail || old->order <= limits[old->source]) push(peer, *old);
        free_event(old);
        old = next;
    }
    if (!is_placed) push(peer, *view);
}

/* Members of one old component that go on together. */
static void change_part(struct bus *bus, bus_set part, const struct bus_event *view) {
    uint64_t reached = 0, limits[BUS_PEERS_MAX];
    for (int i = 0; i < bus->peer_count; i++) {
        struct peer *peer = &bus->peers[i];
        if (!(part >> i & 1)) continue;
        if (peer->reached > reached) reached = peer->reached;
        if (!bus->keeps_out_at_change)
            while (order_into(bus, peer, part)) {
            }
    }
    for (int i = 0; i < bus->peer_count; i++)
        limits[i] =
            view->members >> i & 1 ? UINT64_MAX : reached + xb_random_below(&bus->random, bus->order - reached + 1);
    if (!view->is_primary)
        for (int i = 0; i < bus->peer_count; i++)
            if (!(view->members >> i & 1)) limits[i] = reached;
    for (int i = 0; i < bus->peer_count; i++)
        if (part >> i & 1) change_inbox(&bus->peers[i], view, reached, limits);
}

static int count_bits(bus_set set) {
    return __builtin_popcountll(set);
}

void bus_change(struct bus *bus, bus_set members, bool is_bootstrap) {
    struct bus_event view = {.is_view = true, .members = members, .is_bootstrap = is_bootstrap};
    bool is_first = !bus->last_primary;
    view.is_primary =
        is_bootstrap || is_first || 2 * count_bits(members & bus->last_primary) > count_bits(bus->last_primary);
    if (view.is_primary) bus->last_primary = members;
    bus_set left = members;
    while (left) {
        struct peer *first = &bus->peers[__builtin_ctzll(left)];
        bus_set part = (first->component | bus_bit(first)) & members;
        if (!first->component) part = bus_bit(first);
        change_part(bus, part, &view);
        left &= ~part;
    }
    for (int i = 0; i < bus->peer_count; i++) {
        struct peer *peer = &bus->peers[i];
        if (!(members >> i & 1)) continue;
        peer->component = members;
        peer->is_component_primary = view.is_primary;
        peer->pending_views++;
    }
}

void bus_remove(struct bus *bus, struct peer *peer) {
    node_free(peer->node);
    peer->node = NULL;
    clear_peer(peer);
}

void bus_leave(struct bus *bus, struct peer *peer) {
    bus_set rest = peer->component & ~bus_bit(peer);
    while (order_into(bus, peer, peer->component)) {
    }
    bus->last_primary &= ~bus_bit(peer);
    if (rest) bus_change(bus, rest, false);
    while (peer->inbox && (peer->inbox->is_view || peer->inbox->order <= peer->reached)) bus_deliver(bus, peer);
    node_leave(peer->node);
    peer->component = 0;
    peer->is_primary = false;
}

void bus_tick(struct bus *bus, int64_t step_ns) {
    bus->now_ns += step_ns;
    for (int i = 0; i < bus->peer_count; i++) {
        struct peer *peer = &bus->peers[i];
        if (!peer->node) continue;
        peer->node->now_ns = bus->now_ns;
        node_tick(peer->node);
    }
}

static bool move(struct bus *bus) {
    bool has_moved = false;
    for (int i = 0; i < bus->peer_count; i++) {
        struct peer *peer = &bus->peers[i];
        if (bus_order(bus, peer)) has_moved = true;
        while (bus_deliver(bus, peer)) has_moved = true;
    }
    return has_moved;
}

void bus_settle(struct bus *bus) {
    int enough = bus->refuse_percent ? 60 : 3; /* refused sends are tried again later */
    for (int quiet = 0, round = 0; quiet < enough; round++) {
        assert_true(round < 100000);
        quiet = move(bus) ? 0 : quiet + 1;
        bus_tick(bus, 10 * XB_MS);
    }
}
