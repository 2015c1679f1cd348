/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A totally ordered bus for several gcs instances, in place of PC and what is below: components with virtual synchrony.
 * What a member sends waits in its output queue; bus_order takes the first of one member and puts it into the inbox of
 * each member of its component; bus_deliver gives one member its next event. A new component is an event in that order.
 * At a split, messages of members that are not there any more may be lost, behind the last that anybody has delivered;
 * a minority sees its non-primary view before what has not been delivered yet.
 */
#ifndef XB_TESTS_UNIT_GCS_BUS_H
#define XB_TESTS_UNIT_GCS_BUS_H

#include "node.h"

#define BUS_PEERS_MAX 64
#define BUS_OUT_MAX 64

typedef uint64_t bus_set; /* bit i: peer i */

struct bus;

struct bus_event {
    struct bus_event *next;
    bool is_view;
    uint64_t order;
    int source;
    struct sent message;
    bus_set members;
    bool is_primary, is_bootstrap;
};

struct peer {
    struct bus *bus;
    int id;
    struct node *node; /* NULL: gone */
    bus_set component; /* last decided; 0: none */
    bool is_component_primary;
    int pending_views;
    bool is_primary; /* last delivered view */
    bool is_delivering;
    struct bus_event *inbox, **inbox_last;
    uint64_t reached; /* highest order that any member of the component has delivered: all have it (SAFE) */
    struct sent out[BUS_OUT_MAX];
    size_t out_count;
    void *model; /* of the test */
};

struct bus {
    struct xb_random random;
    struct peer peers[BUS_PEERS_MAX];
    int peer_count;
    uint64_t order;
    bus_set last_primary;
    size_t out_max;
    unsigned refuse_percent;  /* of all sends */
    bool keeps_out_at_change; /* what waits is sent in the new component, else still in the old one */
    bool is_immediate;        /* a member alone delivers its message within the call */
    int64_t now_ns;
};

struct bus *bus_new(uint64_t seed);
void bus_free(struct bus *bus);
/* A member that is in no component yet; node_start it after changes of its config, then bus_change. */
struct peer *bus_add(struct bus *bus, const char *name);
void bus_change(struct bus *bus, bus_set members, bool is_bootstrap);
void bus_remove(struct bus *bus, struct peer *peer); /* crash: no word to anybody; the caller changes the component */
void bus_leave(struct bus *bus, struct peer *peer);  /* graceful: self-leave for it, new component for the others */
bool bus_order(struct bus *bus, struct peer *peer);
bool bus_deliver(struct bus *bus, struct peer *peer);
void bus_tick(struct bus *bus, int64_t step_ns);
void bus_settle(struct bus *bus); /* until nothing moves any more */

static inline bus_set bus_bit(const struct peer *peer) {
    return (bus_set)1 << peer->id;
}

#endif
