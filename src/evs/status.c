/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Status: state, counters, latency, who lags (spec 03 sections 13, 18.10). */
#include "evs/internal.h"

#include <math.h>

const char *evs_state_name(enum evs_state state) {
    switch (state) {
    case EVS_CLOSED:
        return "CLOSED";
    case EVS_JOINING:
        return "JOINING";
    case EVS_GATHER:
        return "GATHER";
    case EVS_INSTALL:
        return "INSTALL";
    case EVS_OPERATIONAL:
        return "OPERATIONAL";
    case EVS_LEAVING:
        return "LEAVING";
    }
    return "?";
}

enum evs_state evs_get_state(const struct evs *evs) {
    return evs->state;
}

void evs_stats_latency(struct evs *evs, int64_t latency_ns) {
    double seconds = (double)latency_ns / 1e9;
    struct evs_stats *s = &evs->stats;
    if (!s->latency_count || seconds < s->latency_min_s) s->latency_min_s = seconds;
    if (seconds > s->latency_max_s) s->latency_max_s = seconds;
    s->latency_count++;
    evs->latency_sum_s += seconds;
    evs->latency_squares_s2 += seconds * seconds;
    evs->latency_smooth_ns += ((double)latency_ns - evs->latency_smooth_ns) / 8;
}

void evs_get_stats(const struct evs *evs, struct evs_stats *stats) {
    *stats = evs->stats;
    if (!stats->latency_count) return;
    double n = (double)stats->latency_count;
    stats->latency_avg_s = evs->latency_sum_s / n;
    double variance = evs->latency_squares_s2 / n - stats->latency_avg_s * stats->latency_avg_s;
    stats->latency_stddev_s = variance > 0 ? sqrt(variance) : 0;
}

/* The latency starts anew; the counters of messages go on. */
void evs_reset_stats(struct evs *evs) {
    struct evs_stats *s = &evs->stats;
    s->latency_min_s = s->latency_avg_s = s->latency_max_s = s->latency_stddev_s = 0;
    s->latency_count = 0;
    evs->latency_sum_s = evs->latency_squares_s2 = 0;
}

size_t evs_get_peers(const struct evs *evs, struct evs_peer *peers, size_t max, int64_t now_ns) {
    size_t count = 0;
    for (size_t i = 0; i < evs->member_count && count < max; i++) {
        if (i == evs->own_rank) continue;
        peers[count++] = (struct evs_peer){.uuid = evs->members[i],
                                           .lag = evs->map.max_hs - evs->map.ranks[i].safe,
                                           .silent_ns = now_ns - evs->by_rank[i]->progress_ns,
                                           .is_suspected = evs->by_rank[i]->is_suspected};
    }
    return count;
}
