/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The evict list: nodes that are expelled for good, by hand or by the delayed list (spec 03 section 11). */
#include "evs/internal.h"

#include <stdio.h>

bool evs_is_evicted(const struct evs *evs, const struct xb_uuid *node) {
    for (size_t i = 0; i < evs->evicted_count; i++)
        if (xb_uuid_equal(&evs->evicted[i].uuid, node)) return true;
    return false;
}

static void remove_at(struct evs *evs, size_t i) {
    evs->evicted_count--;
    memmove(&evs->evicted[i], &evs->evicted[i + 1], (evs->evicted_count - i) * sizeof(evs->evicted[0]));
}

bool evs_evict_add(struct evs *evs, const struct xb_uuid *node) {
    if (evs_is_evicted(evs, node)) return false;
    if (evs->evicted_count == EVS_EVICTED_MAX) {
        evs->down.unevict(evs->down.ctx, &evs->evicted[0].uuid);
        remove_at(evs, 0);
    }
    evs->evicted[evs->evicted_count++] = (struct evs_evicted){.uuid = *node, .time_ns = evs->now_ns};
    evs->unsettled++;
    return true;
}

/* Tells the transport, and leaves the node behind with the next view if it is known. */
void evs_evict_apply(struct evs *evs) {
    for (size_t i = 0; i < evs->evicted_count; i++) {
        if (evs->evicted[i].is_told) continue;
        evs->evicted[i].is_told = true;
        xb_log_warning(evs->log, "evs: %s is evicted", XB_UUID_TEXT(&evs->evicted[i].uuid));
        evs->down.evict(evs->down.ctx, &evs->evicted[i].uuid);
        struct evs_node *n = evs_node_find(evs, &evs->evicted[i].uuid);
        if (!n || evs->state == EVS_JOINING || evs->state == EVS_LEAVING) continue;
        evs_node_exclude(evs, n);
        evs->unsettled++;
        if (evs->state == EVS_OPERATIONAL) evs_shift_gather(evs, true);
    }
}

void evs_evict_forget(struct evs *evs) {
    for (size_t i = evs->evicted_count; i-- > 0;) {
        if (evs->evicted[i].time_ns + evs->options.view_forget_timeout_ns >= evs->now_ns) continue;
        evs->down.unevict(evs->down.ctx, &evs->evicted[i].uuid);
        remove_at(evs, i);
    }
}

void evs_evict(struct evs *evs, const struct xb_uuid *node, int64_t now_ns) {
    evs->now_ns = now_ns;
    if (!node) {
        evs->evicted_count = 0;
        evs->unsettled++;
        evs->down.unevict(evs->down.ctx, NULL);
        return;
    }
    if (xb_uuid_equal(node, &evs->uuid)) return;
    evs_evict_add(evs, node); /* carried out by the next tick: this may be inside an upward call */
}

size_t evs_evict_list(const struct evs *evs, char *text, size_t size) {
    size_t used = 0;
    if (size) text[0] = 0;
    for (size_t i = 0; i < evs->evicted_count && used < size; i++) {
        int n = snprintf(text + used, size - used, "%s%s", i ? "," : "", XB_UUID_TEXT(&evs->evicted[i].uuid));
        used += n > 0 ? (size_t)n : 0;
    }
    return used < size ? used : size ? size - 1 : 0;
}
