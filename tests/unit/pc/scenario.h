/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What scenarios share: changes of view in one line, and what is primary. Inside tests/unit/pc only. */
#ifndef XB_TESTS_PC_SCENARIO_H
#define XB_TESTS_PC_SCENARIO_H

#include "bus.h"
#include "pc/pc_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>

#include <cmocka.h>

#define X BUS_OUT
#define C BUS_CRASHES
#define L BUS_LEAVES
#define CHANGE(bus, ...) bus_change(bus, (int[BUS_NODES]){__VA_ARGS__})
#define CHANGE_LOSSY(bus, from, ...) bus_change_lossy(bus, (int[BUS_NODES]){__VA_ARGS__}, from)

static inline bool is_primary(const struct bus *bus, int node) {
    const struct bus_node *n = &bus->nodes[node];
    bool shown = n->shown.id.type == VIEW_PRIM && n->shown.member_count > 0;
    if (pc_get_state(n->pc) == PC_PRIM) assert_true(shown);
    return shown;
}

static inline void assert_primary(const struct bus *bus, unsigned nodes, size_t member_count) {
    for (int i = 0; i < BUS_NODES; i++) {
        if (!(nodes & 1u << i)) continue;
        if (bus->nodes[i].has_failed) fail_msg("node %d: %s", i, bus->nodes[i].failure.text);
        assert_true(is_primary(bus, i));
        assert_int_equal(pc_get_state(bus->nodes[i].pc), PC_PRIM);
        assert_int_equal(bus->nodes[i].shown.member_count, member_count);
        assert_true(bus->nodes[i].has_saved);
        assert_true(view_id_equal(&bus->nodes[i].saved.id, &bus->nodes[i].shown.id));
    }
}

static inline void assert_non_primary(const struct bus *bus, unsigned nodes) {
    for (int i = 0; i < BUS_NODES; i++) {
        if (!(nodes & 1u << i)) continue;
        assert_false(bus->nodes[i].has_failed);
        assert_false(is_primary(bus, i));
        assert_int_equal(pc_get_state(bus->nodes[i].pc), PC_NON_PRIM);
    }
}

/* A primary component of the first `count` nodes. */
static inline struct bus *cluster(int count) {
    struct bus *bus = bus_new();
    int to[BUS_NODES];
    for (int i = 0; i < BUS_NODES; i++) {
        if (i < count) bus_start(bus, i, i == 0, NULL);
        to[i] = i == 0 ? 0 : X;
    }
    bus_change(bus, to);
    bus_run(bus);
    assert_primary(bus, 1, 1);
    for (int i = 1; i < count; i++) to[i] = 0;
    bus_change(bus, to);
    bus_run(bus);
    assert_primary(bus, (1u << count) - 1, (size_t)count);
    return bus;
}

static inline void assert_same_history(const struct bus *bus, int a, int b) {
    assert_int_equal(bus->nodes[a].delivered_count, bus->nodes[b].delivered_count);
    for (size_t i = 0; i < bus->nodes[a].delivered_count; i++) {
        assert_int_equal(bus->nodes[a].delivered[i].value, bus->nodes[b].delivered[i].value);
        assert_int_equal(bus->nodes[a].delivered[i].to_seq, bus->nodes[b].delivered[i].to_seq);
    }
}

#endif
