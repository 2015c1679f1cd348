/* SPDX-License-Identifier: GPL-2.0-or-later */
/* JOIN: what a node knows about all nodes, on the way to agreement (spec 03 section 9.4). */
#include "evs/internal.h"

#include <stdlib.h>

/* LEAVING: it is only listened to, and served. */
static void note_while_leaving(struct evs *evs, struct evs_node *p, struct evs_report *m) {
    if (!evs_is_current(evs, &m->h.view)) {
        free(m);
        return;
    }
    bool is_moved = false;
    p->progress_ns = evs->now_ns;
    evs_node_set_join(p, m);
    for (uint32_t i = 0; i < m->count; i++) {
        const struct evs_node *q = evs_node_find(evs, &m->entries[i].uuid);
        if (q && q->rank >= 0 && evs_is_current(evs, &m->entries[i].view))
            is_moved |= evs_map_raise_safe(&evs->map, (size_t)q->rank, m->entries[i].safe);
    }
    if (is_moved) evs_leave_send(evs);
    evs_ask_missing(evs);
}

/* Step 3: does a JOIN that arrives during an installation end it? -> false if it is to be ignored. */
static bool interrupts(struct evs *evs, const struct evs_report *m) {
    if (evs->install) {
        const struct evs_entry *theirs = evs_report_find(evs->install, &m->h.source);
        evs_join_refresh(evs);
        if (view_id_equal(&m->h.view, &evs->install->install_view) && theirs && theirs->is_operational)
            evs_install_complete(evs); /* it works in the new view already, and wants the next one */
        else if (evs_is_consistent(evs, evs->install))
            return false; /* the installation is going to complete */
    }
    if (evs->state == EVS_LEAVING || evs->state == EVS_CLOSED) return false;
    if (evs->install || evs->state != EVS_GATHER) evs_shift_gather(evs, false);
    return evs->state == EVS_GATHER;
}

static bool has_later_incarnation(const struct evs *evs, const struct xb_uuid *uuid) {
    for (size_t i = 0; i < evs->known_count; i++) {
        const struct xb_uuid *known = &evs->known[i]->uuid;
        if (xb_uuid_is_same_node(known, uuid) && xb_uuid_incarnation(known) > xb_uuid_incarnation(uuid)) return true;
    }
    return false;
}

/* What is still said about nodes that are out, and would hold up agreement once known: evicted ones (section 18.14), in
 * no view; and a former incarnation of a node that is here. A node that came back before the others had let its former
 * self go would hear of that from them and tell it again, when they have just got over it, every suspect_timeout. */
bool evs_is_hearsay(const struct evs *evs, const struct evs_entry *e) {
    return (!e->is_operational && view_id_equal(&e->view, &view_id_nil)) || has_later_incarnation(evs, &e->uuid);
}

/* Step 5: views and nodes that were not known; evictions. */
static void learn(struct evs *evs, const struct evs_report *m) {
    for (uint32_t i = 0; i < m->count; i++) {
        const struct evs_entry *e = &m->entries[i];
        evs_book_add(&evs->met_views, &e->view, evs->now_ns);
        struct evs_node *node = evs_node_find(evs, &e->uuid);
        if (!node && !evs_is_hearsay(evs, e)) node = evs_node_add(evs, &e->uuid);
        if (!e->is_evicted || xb_uuid_equal(&e->uuid, &evs->uuid)) continue;
        evs_evict_add(evs, &e->uuid);
        if (node) evs_node_exclude(evs, node);
    }
}

/* Step 8: what a member of my view tells about its messages. -> false if it does not list me. */
static bool take_acknowledgements(struct evs *evs, const struct evs_report *m) {
    const struct evs_entry *mine = evs_report_find(m, &evs->uuid);
    if (!mine || !evs_is_current(evs, &mine->view)) return false;
    for (uint32_t i = 0; i < m->count; i++) {
        const struct evs_entry *e = &m->entries[i];
        const struct evs_node *q = evs_node_find(evs, &e->uuid);
        if (!q || q->rank < 0 || !evs_is_current(evs, &e->view)) continue;
        evs_map_raise_safe(&evs->map, (size_t)q->rank, e->safe);
        if (e->hs > evs->complete_to && e->hs <= evs->map.safe + EVS_AHEAD_MAX) evs->complete_to = e->hs;
    }
    return true;
}

/* Step 10: leaves that it has not heard of. */
static void tell_leaves(struct evs *evs, const struct evs_report *m) {
    for (size_t i = 0; i < evs->known_count; i++) {
        struct evs_node *q = evs->known[i];
        if (!q->has_leave || q->is_inactive || q == evs->me) continue;
        const struct evs_entry *e = evs_report_find(m, &q->uuid);
        if (!e || !evs_is_current(evs, &e->view) || !evs_entry_is_leaving(e)) evs_leave_tell(evs, q);
    }
}

/* A member that the transport says is gone, and that p suspects too, is suspected at once (section 18.8). */
static void confirm_refused(struct evs *evs, const struct evs_report *m) {
    for (size_t i = 0; i < evs->known_count; i++) {
        struct evs_node *q = evs->known[i];
        if (!q->is_refused || q->is_suspected || evs->member_count < 3) continue;
        const struct evs_entry *e = evs_report_find(m, &q->uuid);
        if (e && e->is_suspected && evs_is_current(evs, &e->view)) q->refused_ripe_ns = evs->now_ns;
    }
    evs_check_refused(evs);
}

int evs_join_handle(struct evs *evs, struct evs_node *p, struct evs_report *m) {
    if (evs->state == EVS_LEAVING) {
        note_while_leaving(evs, p, m);
        return 0;
    }
    if (evs_is_previous(evs, &m->h) || !interrupts(evs, m)) goto drop;
    p = evs_node_find(evs, &m->h.source);
    if (!p) goto drop;
    evs_debug(evs, EVS_DEBUG_JOIN, "evs: %s has JOIN of %s: in %s, %u nodes, safe %lld, aru %lld",
              XB_UUID_SHORT(&evs->uuid), XB_UUID_SHORT(&p->uuid), VIEW_ID_TEXT(&m->h.view), m->count, (long long)m->seq,
              (long long)m->aru);
    if (p->rank >= 0 && !evs_is_current(evs, &m->h.view)) {
        evs_node_exclude(evs, p); /* it moved on without me */
        goto drop;
    }
    learn(evs, m);
    const struct evs_entry *mine = evs_report_find(m, &evs->uuid);
    if (mine && mine->is_operational)
        p->progress_ns = evs->now_ns;
    else if (mine)
        evs_node_exclude(evs, p);
    evs_node_set_join(p, m);
    if (mine)
        p->ignores_since_ns = XB_NEVER;
    else if (p->ignores_since_ns == XB_NEVER)
        p->ignores_since_ns = evs->now_ns;
    /* It has not got my JOIN: tell it again. */
    if (!evs_is_current(evs, &m->h.view) && (!mine || view_id_equal(&mine->view, &view_id_nil)))
        evs->is_join_wanted = true;
    if (evs_is_current(evs, &m->h.view) && !take_acknowledgements(evs, m)) return 0;
    evs_push_remains(evs, p);
    tell_leaves(evs, m);
    confirm_refused(evs, m);
    return 0;
drop:
    free(m);
    return 0;
}

int evs_join_receive(struct evs *evs, struct evs_node *p, const struct evs_header *h, struct xb_reader *r) {
    struct evs_report *m;
    int result = evs_report_read(r, h, &m);
    if (result) return result == -ENOMEM ? 0 : result;
    if (evs->state == EVS_JOINING) {
        free(m);
        return 0;
    }
    return evs_join_handle(evs, p, m);
}
