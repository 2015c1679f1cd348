/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who is out: how the opinions in the JOINs become common (spec 03 sections 10.4, 10.5). */
#include "evs/internal.h"

static bool has_foreign_join(const struct evs *evs, const struct evs_node *n) {
    return n != evs->me && n->join;
}

/*
 * A member that told its JOIN and then fell silent: it is out as soon as all others that are heard of suspect it. Stock
 * nodes wait for inactive_timeout or the install timer if these others are no majority. Only silence counts here, not
 * the hint of the transport.
 */
static bool is_given_up(const struct evs *evs, const struct evs_node *q) {
    if (q->progress_ns + evs->options.suspect_timeout_ns >= evs->now_ns) return false;
    for (size_t i = 0; i < evs->known_count; i++) {
        const struct evs_node *n = evs->known[i];
        if (n == q || n->rank < 0 || !n->is_operational || n->is_suspected) continue;
        const struct evs_entry *e = n->join ? evs_report_find(n->join, &q->uuid) : NULL;
        if (!e || !e->is_suspected) return false;
    }
    return true;
}

/* A member that more than half of the view suspects, or that another member has excluded and I suspect, is out. */
static void judge_member(struct evs *evs, struct evs_node *q) {
    size_t suspecting = 0;
    bool is_suspected_elsewhere = false, is_out_elsewhere = false;
    for (size_t i = 0; i < evs->known_count; i++) {
        const struct evs_node *n = evs->known[i];
        const struct evs_entry *e = n->join ? evs_report_find(n->join, &q->uuid) : NULL;
        if (!e) continue;
        if (e->is_suspected && n->rank >= 0 && n != q) suspecting++;
        if (n == evs->me || !evs_is_current(evs, &e->view)) continue;
        is_suspected_elsewhere |= e->is_suspected;
        is_out_elsewhere |= !e->is_operational;
    }
    if (q->is_operational && is_suspected_elsewhere && suspecting > evs->member_count / 2) evs_node_exclude(evs, q);
    if (q->is_operational && q->is_suspected && (is_out_elsewhere || is_given_up(evs, q))) evs_node_exclude(evs, q);
}

/* unseen_rule of one node. -> false: some JOIN is still missing, so nothing can be said about any node. */
static bool judge_unseen(struct evs *evs, struct evs_node *q) {
    size_t listed = 0, out = 0;
    for (size_t i = 0; i < evs->known_count; i++) {
        if (!has_foreign_join(evs, evs->known[i])) continue;
        const struct evs_report *m = evs->known[i]->join;
        for (uint32_t k = 0; k < m->count; k++) {
            const struct evs_entry *e = &m->entries[k];
            if (xb_uuid_equal(&e->uuid, &q->uuid)) {
                if (view_id_equal(&e->view, &view_id_nil)) continue;
                listed++;
                out += !e->is_operational;
                continue;
            }
            const struct evs_node *n = evs_node_find(evs, &e->uuid);
            if (!n && evs_is_hearsay(evs, e)) continue; /* never made known */
            if (!n || (e->is_operational && !n->join)) return false;
        }
    }
    if (listed && listed == out) evs_node_exclude(evs, q);
    return true;
}

/* nil_view_rule: nobody has ever heard of it, and everybody has waited long enough. */
static bool is_phantom(const struct evs *evs, const struct evs_node *q) {
    bool is_listed = false;
    for (size_t i = 0; i < evs->known_count; i++) {
        if (!evs->known[i]->join) continue;
        const struct evs_entry *e = evs_report_find(evs->known[i]->join, &q->uuid);
        if (!e || !e->is_suspected || !view_id_equal(&e->view, &view_id_nil)) return false;
        is_listed = true;
    }
    return is_listed;
}

/*
 * A node of another view that goes on telling JOINs without me takes mine for those of a former view, and will do so
 * until I am in another one: the sooner that is made without it, the sooner we meet.
 */
static bool is_ignoring_me(const struct evs *evs, const struct evs_node *q) {
    return q->rank < 0 && q->ignores_since_ns != XB_NEVER && evs->now_ns >= q->ignores_since_ns + EVS_IGNORED_NS;
}

void evs_agree(struct evs *evs) {
    bool is_all_seen = true;
    for (size_t i = 0; i < evs->known_count; i++) {
        struct evs_node *q = evs->known[i];
        if (q == evs->me || !q->is_operational) continue;
        if (q->rank >= 0)
            judge_member(evs, q);
        else if (!q->join && is_all_seen)
            is_all_seen = judge_unseen(evs, q);
        if (q->is_operational && (is_phantom(evs, q) || is_ignoring_me(evs, q))) evs_node_exclude(evs, q);
    }
}

void evs_eliminate_asymmetry(struct evs *evs) {
    int64_t left_ns = evs->install_timer_ns - evs->now_ns;
    if (left_ns > evs->options.install_timeout_ns - evs->options.suspect_timeout_ns) return;
    for (size_t i = 0; i < evs->known_count; i++)
        if (evs->known[i]->is_operational && !evs->known[i]->join) evs_node_exclude(evs, evs->known[i]);
    for (size_t i = 0; i < evs->known_count; i++) {
        const struct evs_node *n = evs->known[i];
        if (!n->is_operational || !n->join) continue;
        const struct evs_entry *mine = evs_report_find(n->join, &evs->uuid);
        if (!mine || !mine->is_operational) continue;
        for (size_t k = 0; k < evs->known_count; k++) {
            const struct evs_entry *e = n->join ? evs_report_find(n->join, &evs->known[k]->uuid) : NULL;
            if (e && !e->is_operational && evs->known[k]->is_operational) evs_node_exclude(evs, evs->known[k]);
        }
    }
}
