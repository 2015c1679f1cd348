/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Quorum (spec 04 section 7): the members that go on must weigh more than half of the basis, from which nodes that
 * left gracefully are taken away. Weights of nodes without a record are 0; if the weight of any node concerned is not
 * known, nodes are counted instead.
 */
#include "pc/pc_internal.h"

static bool set_weights_are_known(const struct pc *pc, const struct pc_set *set) {
    for (size_t i = 0; i < set->count; i++) {
        const struct pc_node *node = pc_map_find(&pc->nodes, &set->uuids[i]);
        if (node && node->weight == -1) return false;
    }
    return true;
}

/* Sum over the nodes of `set` that are in `basis`. */
static int64_t set_weigh(const struct pc *pc, const struct pc_set *set, const struct pc_set *basis, bool is_weighed) {
    int64_t sum = 0;
    for (size_t i = 0; i < set->count; i++) {
        if (!pc_set_has(basis, &set->uuids[i])) continue;
        const struct pc_node *node = pc_map_find(&pc->nodes, &set->uuids[i]);
        sum += !is_weighed ? 1 : node ? node->weight : 0;
    }
    return sum;
}

enum pc_majority pc_quorum(const struct pc *pc, const struct pc_set *basis) {
    bool is_weighed = set_weights_are_known(pc, &pc->members) && set_weights_are_known(pc, &pc->left) &&
                      set_weights_are_known(pc, basis);
    int64_t votes = 2 * set_weigh(pc, &pc->members, basis, is_weighed) + set_weigh(pc, &pc->left, basis, is_weighed);
    int64_t total = set_weigh(pc, basis, basis, is_weighed);
    return votes > total ? PC_QUORUM : votes == total ? PC_SPLIT_BRAIN : PC_MINORITY;
}

void pc_known_members(const struct pc *pc, struct pc_set *set) {
    set->count = 0;
    for (size_t i = 0; i < pc->members.count; i++)
        if (pc_map_find(&pc->nodes, &pc->members.uuids[i])) set->uuids[set->count++] = pc->members.uuids[i];
}
