/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Status: state, counters, latency, who lags (spec 03 sections 13, 18.10). */
#include "evs/internal.h"

#include <math.h>
#include <string.h>

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

const double evs_latency_class_s[EVS_LATENCY_CLASSES] = {0,   0.0001,  0.00031623, 0.001,  0.0031623, 0.01,  0.031623,
                                                         0.1, 0.31623, 1,          3.1623, 10,        31.623};

static void count_latency(int64_t classes[EVS_LATENCY_CLASSES], double seconds) {
    size_t i = EVS_LATENCY_CLASSES - 1;
    while (i > 0 && seconds < evs_latency_class_s[i]) i--;
    classes[i]++;
}

void evs_stats_causal_latency(struct evs *evs, int64_t latency_ns) {
    count_latency(evs->stats.causal_latency, (double)latency_ns / 1e9);
}

void evs_stats_latency(struct evs *evs, int64_t latency_ns) {
    double seconds = (double)latency_ns / 1e9;
    struct evs_stats *s = &evs->stats;
    count_latency(s->safe_latency, seconds);
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

/* Latency and queue start anew; the counters of messages go on. */
void evs_reset_stats(struct evs *evs) {
    struct evs_stats *s = &evs->stats;
    s->latency_min_s = s->latency_avg_s = s->latency_max_s = s->latency_stddev_s = 0;
    s->latency_count = 0;
    evs->latency_sum_s = evs->latency_squares_s2 = 0;
    memset(s->safe_latency, 0, sizeof(s->safe_latency));
    memset(s->causal_latency, 0, sizeof(s->causal_latency));
    s->queued = s->submitted = 0;
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
