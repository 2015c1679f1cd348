/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A tiny virtually synchronous bus: several PC instances on a make-believe EVS. Every view has one log of messages in
 * one order; every node reads it with a cursor of its own. bus_change ends views as EVS does: those who go on together
 * deliver the same messages, first the rest of what any of them delivered, then the transitional view, then what is
 * left, then the regular view.
 */
#ifndef XB_TESTS_PC_BUS_H
#define XB_TESTS_PC_BUS_H

#include "pc/pc.h"

#define BUS_NODES 8
#define BUS_LOG 4096

enum { BUS_OUT = -1, BUS_CRASHES = -2, BUS_LEAVES = -3 }; /* instead of a component */

struct bus;
struct bus_view_log;

struct bus_entry {
    int sender;
    uint8_t user_type;
    enum evs_order order;
    uint8_t *bytes;
    size_t size;
};

struct bus_delivered {
    int sender;
    uint8_t user_type;
    int64_t to_seq;
    uint32_t value; /* the 4 payload bytes */
};

struct bus_node {
    struct bus *bus;
    int index;
    struct pc *pc;
    struct pc_options options;
    struct xb_uuid uuid;
    struct bus_view_log *view; /* NULL: out of the group */
    size_t cursor;
    bool is_operational; /* EVS takes messages */
    bool is_joiner;      /* the layer above waits for its state, in a primary component */
    int refuse;          /* this many submissions are refused with -EAGAIN */
    /* What PC did. */
    struct pc_view shown;
    struct pc_member members[PC_MEMBERS_MAX];
    int prim_views, non_prim_views, empty_views, stable_views;
    bool has_saved;
    struct pc_saved_view saved;
    bool has_failed, is_conflict;
    struct xb_error failure;
    int weight_changes, last_weight;
    struct bus_delivered delivered[BUS_LOG];
    size_t delivered_count;
};

struct bus {
    struct bus_node nodes[BUS_NODES];
    struct bus_view_log *logs; /* all, newest first */
    bool is_evicted[BUS_NODES];
    int64_t now_ns;
};

struct bus *bus_new(void);
void bus_free(struct bus *bus);

/* Nodes with a smaller index have a smaller UUID; age: 0 = oldest. */
void bus_set_uuid(struct bus *bus, int node, uint16_t incarnation);
/* Starts PC and gives it its first transitional view. restored may be NULL. */
void bus_start(struct bus *bus, int node, bool is_bootstrap, const struct pc_saved_view *restored);
/* Next incarnation with what the node has saved. */
void bus_restart(struct bus *bus, int node);

/* to[i]: the component node i moves to, or BUS_*. Messages of the old views whose position in the log is `lost_from`
 * or beyond are lost unless somebody in the component delivered them. */
void bus_change_lossy(struct bus *bus, const int to[BUS_NODES], size_t lost_from);
void bus_change(struct bus *bus, const int to[BUS_NODES]);
/* Delivers one more message to the node. -> false if there is none */
bool bus_deliver(struct bus *bus, int node);
/* Delivers everything to everybody. */
void bus_run(struct bus *bus);
void bus_tick(struct bus *bus, int64_t by_ns);

/* An application message with 4 bytes. -> as pc_submit */
int bus_send(struct bus *bus, int node, uint32_t value);
/* A raw message as if the node's EVS had sent it. */
void bus_inject(struct bus *bus, int node, const void *bytes, size_t size);
size_t bus_log_size(const struct bus *bus, int node); /* messages in the node's view */

#endif
