/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The known list: every node that the membership algorithm takes into account (spec 03 section 5). */
#include "evs/internal.h"

#include <stdlib.h>

/* -> place of uuid, or where it would be inserted. */
static size_t place_of(const struct evs *evs, const struct xb_uuid *uuid, bool *is_there) {
    size_t low = 0, high = evs->known_count;
    *is_there = false;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int order = xb_uuid_compare(uuid, &evs->known[middle]->uuid);
        if (order == 0) {
            *is_there = true;
            return middle;
        }
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

struct evs_node *evs_node_find(const struct evs *evs, const struct xb_uuid *uuid) {
    bool is_there;
    size_t i = place_of(evs, uuid, &is_there);
    return is_there ? evs->known[i] : NULL;
}

struct evs_node *evs_node_add(struct evs *evs, const struct xb_uuid *uuid) {
    bool is_there;
    size_t place = place_of(evs, uuid, &is_there);
    if (is_there) return evs->known[place];
    if (evs->known_count == EVS_KNOWN_MAX) {
        xb_log_warning(evs->log, "evs: node %s is ignored: %d nodes are known already", XB_UUID_SHORT(uuid),
                       EVS_KNOWN_MAX);
        return NULL;
    }
    struct evs_node *node = calloc(1, sizeof(*node));
    if (!node) return NULL;
    node->uuid = *uuid;
    node->rank = -1;
    node->is_operational = true;
    node->progress_ns = node->seen_ns = evs->now_ns;
    node->request_ns = node->push_ns = node->leave_told_ns = EVS_LONG_AGO;
    node->ignores_since_ns = XB_NEVER;
    node->fifo_seq = -1;
    memmove(&evs->known[place + 1], &evs->known[place], (evs->known_count - place) * sizeof(evs->known[0]));
    evs->known[place] = node;
    evs->known_count++;
    return node;
}

static void free_node(struct evs_node *node) {
    free(node->join);
    free(node->delayed);
    free(node);
}

void evs_node_remove(struct evs *evs, size_t index) {
    free_node(evs->known[index]);
    evs->known_count--;
    memmove(&evs->known[index], &evs->known[index + 1], (evs->known_count - index) * sizeof(evs->known[0]));
}

void evs_nodes_free(struct evs *evs) {
    while (evs->known_count) free_node(evs->known[--evs->known_count]);
}

void evs_node_exclude(struct evs *evs, struct evs_node *node) {
    if (node == evs->me) return;
    if (node->is_operational)
        evs_debug(evs, EVS_DEBUG_STATE, "evs: %s excludes %s", XB_UUID_SHORT(&evs->uuid), XB_UUID_SHORT(&node->uuid));
    node->progress_ns = EVS_LONG_AGO;
    node->is_suspected = node->is_inactive = true;
    node->is_operational = false;
    evs_node_set_join(node, NULL);
}

void evs_node_set_join(struct evs_node *node, struct evs_report *join) {
    if (node->join != join) free(node->join);
    node->join = join;
}

const struct evs_node *evs_representative(const struct evs *evs) {
    for (size_t i = 0; i < evs->known_count; i++)
        if (evs->known[i]->is_operational && !evs->known[i]->is_inactive) return evs->known[i];
    return NULL;
}

bool evs_is_current(const struct evs *evs, const struct view_id *view) {
    return view_id_equal(&evs->view, view);
}
