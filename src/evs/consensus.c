/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Consensus (spec 03 section 9.6): the view may change only when all surviving members of the old view hold the same
 * messages of every old member and have acknowledged them to each other, counted only up to what a dead member had
 * acknowledged.
 */
#include "evs/internal.h"

/* Does every operational node list q as suspected? Then the seq of its LEAVE binds nobody: nobody waits for what it has
 * sent and not delivered to all, but nothing beyond a hole in it can be reached. */
static bool is_doubted_by_all(const struct evs *evs, const struct xb_uuid *q) {
    for (size_t i = 0; i < evs->known_count; i++) {
        const struct evs_node *n = evs->known[i];
        if (!n->is_operational) continue;
        const struct evs_entry *e = n->join ? evs_report_find(n->join, q) : NULL;
        if (!e || !e->is_suspected) return false;
    }
    return true;
}

static bool has_current_leave(const struct evs *evs, const struct evs_node *n) {
    return n->has_leave && evs_is_current(evs, &n->leave_header.view);
}

static int64_t least(int64_t a, int64_t b) {
    return a < b ? a : b;
}

/* The highest seq that all members of the current view can come to hold. */
static int64_t reachable(const struct evs *evs) {
    int64_t result = INT64_MAX;
    for (size_t i = 0; i < evs->known_count; i++) {
        const struct evs_node *q = evs->known[i];
        if (q->rank < 0 || (q->join && !evs_is_current(evs, &q->join->h.view) && !has_current_leave(evs, q))) continue;
        const struct evs_rank *rank = &evs->map.ranks[q->rank];
        if (has_current_leave(evs, q)) {
            result = least(result, is_doubted_by_all(evs, &q->uuid) ? rank->lu - 1 : q->leave.seq);
        } else if (!q->is_operational) {
            result = least(result, least(rank->safe, rank->lu - 1));
        } else {
            result = least(result, rank->hs);
        }
    }
    return result;
}

static int64_t filtered_safe(const struct evs *evs) {
    int64_t result = INT64_MAX;
    for (size_t i = 0; i < evs->known_count; i++) {
        const struct evs_node *q = evs->known[i];
        if (q->rank < 0) continue;
        if (!q->is_operational && has_current_leave(evs, q) && is_doubted_by_all(evs, &q->uuid)) continue;
        result = least(result, evs->map.ranks[q->rank].safe);
    }
    return result;
}

/* Rule a: the highest seqs that m states match mine. */
static bool is_same_reach(const struct evs *evs, const struct evs_report *m) {
    int64_t high = -1, bound = INT64_MAX;
    for (uint32_t i = 0; i < m->count; i++) {
        const struct evs_entry *e = &m->entries[i];
        if (!evs_is_current(evs, &e->view)) continue;
        if (e->is_operational) {
            if (!evs_entry_is_leaving(e) && e->hs > high) high = e->hs;
        } else if (!evs_entry_is_leaving(e)) {
            bound = least(bound, least(e->safe, e->lu - 1));
        } else {
            bound = least(bound, is_doubted_by_all(evs, &e->uuid) ? e->lu - 1 : e->leave_seq);
        }
    }
    int64_t reach = least(high, bound);
    return evs->map.max_hs == high && reachable(evs) == reach && filtered_safe(evs) == reach;
}

enum kind { KIND_STAYING, KIND_GONE, KIND_LEFT };

static enum kind kind_of_node(const struct evs *evs, const struct evs_node *n) {
    if (n->is_operational) return KIND_STAYING;
    return has_current_leave(evs, n) ? KIND_LEFT : KIND_GONE;
}

static enum kind kind_of_entry(const struct evs_entry *e) {
    if (e->is_operational) return KIND_STAYING;
    return evs_entry_is_leaving(e) ? KIND_LEFT : KIND_GONE;
}

/* Rules b to d: of every member of the view m states the range that is held here, and the same about its leaving. */
static bool are_same_ranges(const struct evs *evs, const struct evs_report *m) {
    size_t stated = 0;
    for (uint32_t i = 0; i < m->count; i++) {
        const struct evs_entry *e = &m->entries[i];
        if (!evs_is_current(evs, &e->view)) continue;
        const struct evs_node *n = evs_node_find(evs, &e->uuid);
        if (!n || n->rank < 0) return false;
        const struct evs_rank *rank = &evs->map.ranks[n->rank];
        if (e->lu != rank->lu || e->hs != rank->hs || kind_of_entry(e) != kind_of_node(evs, n)) return false;
        stated++;
    }
    return stated == evs->member_count;
}

static bool is_same_view_ok(const struct evs *evs, const struct evs_report *m) {
    return m->aru == evs->map.aru && m->seq == evs->map.safe && are_same_ranges(evs, m) && is_same_reach(evs, m);
}

static bool is_compared(const struct evs_entry *e, const struct evs_report *m, bool is_same_source) {
    if (is_same_source) return view_id_equal(&e->view, &m->h.view);
    return e->is_operational && !evs_entry_is_leaving(e);
}

static bool are_entries_equal(const struct evs_entry *a, const struct evs_entry *b) {
    return xb_uuid_equal(&a->uuid, &b->uuid) && a->is_operational == b->is_operational &&
           a->is_suspected == b->is_suspected && a->leave_seq == b->leave_seq && view_id_equal(&a->view, &b->view) &&
           a->safe == b->safe && a->lu == b->lu && a->hs == b->hs;
}

static bool are_equal(const struct evs_report *a, const struct evs_report *b) {
    if (view_id_equal(&a->h.view, &b->h.view) && (a->seq != b->seq || a->aru != b->aru)) return false;
    bool is_same_source = xb_uuid_equal(&a->h.source, &b->h.source);
    uint32_t i = 0, k = 0;
    for (;;) {
        while (i < a->count && !is_compared(&a->entries[i], a, is_same_source)) i++;
        while (k < b->count && !is_compared(&b->entries[k], b, is_same_source)) k++;
        if (i == a->count || k == b->count) return i == a->count && k == b->count;
        if (!are_entries_equal(&a->entries[i++], &b->entries[k++])) return false;
    }
}

bool evs_is_consistent(const struct evs *evs, const struct evs_report *m) {
    const struct evs_report *mine = evs->me->join;
    return mine && (!evs_is_current(evs, &m->h.view) || is_same_view_ok(evs, m)) && are_equal(m, mine);
}

/* Do two members of another view hold the same of those members of it that are out? */
static bool is_same_of_the_dead(const struct evs_report *a, const struct evs_report *b) {
    for (uint32_t i = 0; i < a->count; i++) {
        const struct evs_entry *of_a = &a->entries[i];
        if (of_a->is_operational || !view_id_equal(&of_a->view, &a->h.view)) continue;
        const struct evs_entry *of_b = evs_report_find(b, &of_a->uuid);
        if (!of_b || of_b->is_operational || !view_id_equal(&of_b->view, &b->h.view) || of_a->lu != of_b->lu ||
            of_a->hs != of_b->hs || of_a->leave_seq != of_b->leave_seq)
            return false;
    }
    return true;
}

/* The rules above compare members of my view only. Members of another view must agree on their dead, too, before all
 * can go on together without losing what the dead have delivered; a stock representative does not wait for that. */
bool evs_do_strangers_agree(const struct evs *evs) {
    for (size_t i = 0; i < evs->known_count; i++) {
        const struct evs_node *a = evs->known[i];
        if (!a->is_operational || !a->join || evs_is_current(evs, &a->join->h.view)) continue;
        for (size_t k = 0; k < evs->known_count; k++) {
            const struct evs_node *b = evs->known[k];
            if (!b->is_operational || !b->join || !view_id_equal(&a->join->h.view, &b->join->h.view)) continue;
            if (!is_same_of_the_dead(a->join, b->join)) return false;
        }
    }
    return true;
}

bool evs_is_consensus(const struct evs *evs) {
    if (!evs->me->join || !is_same_view_ok(evs, evs->me->join)) return false;
    for (size_t i = 0; i < evs->known_count; i++) {
        const struct evs_node *q = evs->known[i];
        if (q->is_operational && (!q->join || !evs_is_consistent(evs, q->join))) return false;
    }
    return true;
}
