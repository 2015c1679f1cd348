/* SPDX-License-Identifier: GPL-2.0-or-later */
/* INSTALL: the representative proposes the next view; commit and install phases (spec 03 sections 9.7, 9.9, 18.1). */
#include "evs/internal.h"

#include <stdlib.h>

static void forget_gaps(struct evs *evs) {
    for (size_t i = 0; i < evs->known_count; i++) evs->known[i]->is_committed = evs->known[i]->is_installed = false;
}

static void forget_pending(struct evs *evs) {
    forget_gaps(evs);
    free(evs->install);
    evs->install = NULL;
}

static bool is_awaited(const struct evs *evs, const struct evs_node *n) {
    return n->is_operational && evs_report_find(evs->install, &n->uuid) && !evs_is_gone(evs, n);
}

bool evs_install_all_committed(const struct evs *evs) {
    for (size_t i = 0; i < evs->known_count; i++)
        if (is_awaited(evs, evs->known[i]) && !evs->known[i]->is_committed) return false;
    return true;
}

bool evs_install_all_installed(const struct evs *evs) {
    for (size_t i = 0; i < evs->known_count; i++)
        if (is_awaited(evs, evs->known[i]) && !evs->known[i]->is_installed) return false;
    return true;
}

void evs_install_advance(struct evs *evs) {
    if (evs->state == EVS_GATHER && evs->install && evs->me->is_committed && evs_install_all_committed(evs))
        evs_shift_install(evs);
    if (evs->state == EVS_INSTALL && evs->me->is_installed && evs_install_all_installed(evs))
        evs_shift_operational(evs);
}

void evs_install_complete(struct evs *evs) {
    if (evs->state == EVS_GATHER) evs_set_state(evs, EVS_INSTALL);
    evs_shift_operational(evs);
}

/* Takes m as the pending INSTALL and tells so. */
static void accept(struct evs *evs, struct evs_node *p, struct evs_report *m) {
    evs_debug(evs, EVS_DEBUG_INSTALL, "evs: %s accepts %s", XB_UUID_SHORT(&evs->uuid), VIEW_ID_TEXT(&m->install_view));
    p->progress_ns = evs->now_ns;
    evs->install = m;
    evs->gap_repeat_wait_ns = EVS_GAP_REPEAT_NS;
    evs->gap_repeat_ns = evs->now_ns + EVS_GAP_REPEAT_NS;
    evs_gap_send_commit(evs);
    evs->me->is_committed = true;
    for (size_t i = 0; i < evs->known_count; i++) { /* commit gaps that overtook the INSTALL (section 18.2) */
        struct evs_node *n = evs->known[i];
        if (view_id_equal(&n->early_commit_view, &m->install_view) && n->early_commit_seq == m->h.fifo_seq)
            n->is_committed = true;
    }
    evs_install_advance(evs);
}

static void send_install(struct evs *evs, const struct evs_report *m) {
    struct xb_buf *buf = evs_new_buf(evs_report_size(m));
    if (!buf) return;
    struct xb_writer w = xb_writer_init(xb_buf_data(buf), buf->size);
    evs_report_write(&w, m);
    evs->stats.sent_install++;
    evs_transmit(evs, buf, NULL);
}

void evs_install_propose(struct evs *evs) {
    struct evs_report *m = evs_report_build(evs, EVS_TYPE_INSTALL, EVS_FLAG_SOURCE);
    if (!m) return;
    m->h.version = EVS_VERSION_MAX;
    for (size_t i = 0; i < evs->known_count; i++) {
        const struct evs_node *n = evs->known[i];
        if (!n->is_operational || !n->join) continue;
        if (n->join->h.version < m->h.version) m->h.version = n->join->h.version;
        if (n->join->h.view.seq > evs->top_view_seq) evs->top_view_seq = n->join->h.view.seq;
    }
    /* Never the same number twice: others may have gone on with a former proposal of mine without me. */
    uint32_t seq = evs->top_view_seq + evs->attempt;
    if (seq <= evs->proposed_seq) seq = evs->proposed_seq + 1;
    m->install_view = (struct view_id){.type = VIEW_REG, .uuid = evs->uuid, .seq = seq};
    evs->proposed_seq = seq;
    evs->attempt++;
    evs_debug(evs, EVS_DEBUG_INSTALL, "evs: %s proposes %s", XB_UUID_SHORT(&evs->uuid), VIEW_ID_TEXT(&m->install_view));
    send_install(evs, m);
    accept(evs, evs->me, m);
}

void evs_install_repeat(struct evs *evs) {
    if (!xb_uuid_equal(&evs->install->h.source, &evs->uuid) || evs_install_all_committed(evs)) return;
    evs->install->h.flags |= EVS_FLAG_RETRANS;
    send_install(evs, evs->install);
    evs->install->h.flags &= (uint8_t)~EVS_FLAG_RETRANS;
}

/* An INSTALL tells what a JOIN of its source would. */
static int take_as_join(struct evs *evs, struct evs_node *p, const struct evs_report *m, const struct evs_entry *own) {
    struct evs_report *join = evs_report_copy(m);
    if (!join) return -ENOMEM;
    join->h.type = EVS_TYPE_JOIN;
    join->h.flags = 0;
    join->h.view = own->view;
    join->install_view = view_id_nil;
    return evs_join_handle(evs, p, join);
}

/* Nodes that the representative does not list and that are not in my view go out of sight. */
static void forget_unlisted(struct evs *evs, const struct evs_report *m) {
    for (size_t i = evs->known_count; i-- > 0;) {
        const struct evs_node *n = evs->known[i];
        if (n->rank < 0 && n != evs->me && !evs_report_find(m, &n->uuid)) evs_node_remove(evs, i);
    }
}

static bool is_sound(const struct evs *evs, const struct evs_report *m) {
    size_t operational = 0;
    for (uint32_t i = 0; i < m->count; i++) operational += m->entries[i].is_operational;
    const struct evs_entry *own = evs_report_find(m, &m->h.source);
    return own && own->is_operational && operational <= EVS_KNOWN_MAX && m->install_view.type == VIEW_REG &&
           xb_uuid_equal(&m->install_view.uuid, &m->h.source);
}

/* An INSTALL arrives while another one is pending. -> true if it replaces that one. */
static bool replaces(struct evs *evs, const struct evs_report *m, const struct evs_entry *mine) {
    if (xb_uuid_equal(&m->h.source, &evs->install->h.source)) {
        if (m->install_view.seq <= evs->install->install_view.seq) return false; /* repeated */
        /* Regenerated. In INSTALL the first one has been committed by all, so it is still to be completed. */
        evs_set_state(evs, EVS_GATHER);
        forget_pending(evs);
        return true;
    }
    if (mine && mine->is_operational) evs_shift_gather(evs, true); /* two representatives */
    return false;
}

static void handle_install(struct evs *evs, struct evs_node *p, struct evs_report *m) {
    const struct evs_entry *mine = evs_report_find(m, &evs->uuid);
    if (evs->state == EVS_LEAVING) {
        if (mine && (!mine->is_operational || evs_entry_is_leaving(mine))) evs_shift_closed(evs);
        goto drop;
    }
    if ((evs->state != EVS_GATHER && evs->state != EVS_INSTALL) || !p->is_operational || evs_is_previous(evs, &m->h) ||
        m->install_view.seq <= evs->view.seq)
        goto drop;
    if (evs->install && !replaces(evs, m, mine)) goto drop;
    if (take_as_join(evs, p, m, evs_report_find(m, &m->h.source))) goto drop;
    p = evs_node_find(evs, &m->h.source);
    if (evs->state != EVS_GATHER || evs->install || !p) goto drop;
    if (!mine || !mine->is_operational) goto drop;
    forget_unlisted(evs, m);
    evs_join_refresh(evs);
    if (evs_is_consistent(evs, m)) {
        accept(evs, p, m);
        return;
    }
    evs_debug(evs, EVS_DEBUG_INSTALL, "evs: %s refuses %s", XB_UUID_SHORT(&evs->uuid), VIEW_ID_TEXT(&m->install_view));
    evs_shift_gather(evs, true);
drop:
    free(m);
}

int evs_install_receive(struct evs *evs, struct evs_node *p, const struct evs_header *h, struct xb_reader *r) {
    struct evs_report *m;
    int result = evs_report_read(r, h, &m);
    if (result) return result == -ENOMEM ? 0 : result;
    if (!is_sound(evs, m)) {
        free(m);
        return -EPROTO;
    }
    handle_install(evs, p, m);
    return 0;
}
