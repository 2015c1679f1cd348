/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * GATHER: telling the own JOIN and looking for consensus (spec 03 sections 9.4 - 9.7).
 *
 * The own JOIN is rebuilt whenever the present state differs from it, and told whenever it differs from the one told
 * last: at once for the first few, then one in EVS_JOIN_PERIOD_NS; what is held back is postponed, never dropped
 * (sections 18.3, 18.5). It is repeated while there is no consensus, since it may have been lost.
 */
#include "evs/internal.h"

#include <stdlib.h>

/* Section 9.5: what I know about q. */
static void fill_entry(const struct evs *evs, const struct evs_node *q, struct evs_entry *e) {
    *e = (struct evs_entry){.uuid = q->uuid,
                            .is_operational = q->is_operational,
                            .is_suspected = q->is_suspected,
                            .is_evicted = evs_is_evicted(evs, &q->uuid),
                            .leave_seq = -1,
                            .view = view_id_nil,
                            .safe = -1,
                            .lu = -1,
                            .hs = -1};
    const struct evs_entry *own = NULL;
    if (q == evs->me) {
        e->view = evs->view;
    } else if (q->join) {
        e->view = q->join->h.view;
        own = evs_report_find(q->join, &q->uuid);
    } else if (q->has_leave && (q->rank < 0 || evs_is_current(evs, &q->leave_header.view))) {
        e->leave_seq = q->leave.seq;
        e->view = q->leave_header.view;
    } else if (q->rank >= 0) {
        e->view = evs->view;
    }
    if (q->rank >= 0 && evs_is_current(evs, &e->view)) {
        const struct evs_rank *rank = &evs->map.ranks[q->rank];
        e->safe = rank->safe;
        e->lu = rank->lu;
        e->hs = rank->hs;
    } else if (own) {
        e->safe = own->safe;
        e->lu = own->lu;
        e->hs = own->hs;
    }
}

/*
 * A node that is out and was a member of another view than mine: what the members of that view agree on about it.
 * Written into an INSTALL, it lets them deliver what they all hold of it; a stock representative leaves this out, and
 * they have to drop messages that the dead node, and others, may have delivered.
 */
static void fill_entry_of_stranger(const struct evs *evs, const struct evs_node *q, struct evs_entry *e) {
    const struct evs_entry *stated = NULL;
    for (size_t i = 0; i < evs->known_count; i++) {
        const struct evs_node *n = evs->known[i];
        if (!n->is_operational || !n->join) continue;
        const struct evs_entry *theirs = evs_report_find(n->join, &q->uuid);
        if (!theirs || !view_id_equal(&theirs->view, &n->join->h.view) || theirs->is_operational) continue;
        if (stated && (!view_id_equal(&stated->view, &theirs->view) || stated->lu != theirs->lu ||
                       stated->hs != theirs->hs || stated->leave_seq != theirs->leave_seq))
            return;
        stated = theirs;
    }
    if (!stated) return;
    e->view = stated->view;
    e->leave_seq = stated->leave_seq;
    e->safe = stated->safe;
    e->lu = stated->lu;
    e->hs = stated->hs;
}

static int compare_entries(const void *a, const void *b) {
    return xb_uuid_compare(&((const struct evs_entry *)a)->uuid, &((const struct evs_entry *)b)->uuid);
}

struct evs_report *evs_report_build(struct evs *evs, enum evs_type type, uint8_t flags) {
    struct evs_report *m = evs_report_new((uint32_t)(evs->known_count + evs->evicted_count));
    if (!m) return NULL;
    m->h = evs_new_header(evs, type, flags);
    m->seq = evs->map.safe;
    m->aru = evs->map.aru;
    m->count = 0;
    for (size_t i = 0; i < evs->known_count; i++) {
        const struct evs_node *q = evs->known[i];
        struct evs_entry *e = &m->entries[m->count++];
        fill_entry(evs, q, e);
        if (type == EVS_TYPE_INSTALL && !q->is_operational && q->rank < 0) fill_entry_of_stranger(evs, q, e);
    }
    for (size_t i = 0; i < evs->evicted_count; i++) {
        if (evs_node_find(evs, &evs->evicted[i].uuid)) continue;
        m->entries[m->count++] = (struct evs_entry){.uuid = evs->evicted[i].uuid,
                                                    .is_evicted = true,
                                                    .leave_seq = -1,
                                                    .view = view_id_nil,
                                                    .safe = -1,
                                                    .lu = -1,
                                                    .hs = -1};
    }
    qsort(m->entries, m->count, sizeof(m->entries[0]), compare_entries);
    return m;
}

static bool is_same_entry(const struct evs_entry *a, const struct evs_entry *b) {
    return xb_uuid_equal(&a->uuid, &b->uuid) && a->is_operational == b->is_operational &&
           a->is_suspected == b->is_suspected && a->is_evicted == b->is_evicted && a->leave_seq == b->leave_seq &&
           view_id_equal(&a->view, &b->view) && a->safe == b->safe && a->lu == b->lu && a->hs == b->hs;
}

static bool is_same_content(const struct evs_report *a, const struct evs_report *b) {
    if (a->seq != b->seq || a->aru != b->aru || a->count != b->count || a->h.version != b->h.version) return false;
    for (uint32_t i = 0; i < a->count; i++)
        if (!is_same_entry(&a->entries[i], &b->entries[i])) return false;
    return true;
}

void evs_join_refresh(struct evs *evs) {
    struct evs_report *m = evs_report_build(evs, EVS_TYPE_JOIN, 0);
    if (!m) return;
    if (evs->me->join && is_same_content(evs->me->join, m)) {
        free(m);
        return;
    }
    for (uint32_t i = 0; i < m->count; i++) evs_book_add(&evs->met_views, &m->entries[i].view, evs->now_ns);
    evs_node_set_join(evs->me, m);
}

/* -> when the next JOIN may be sent; now or earlier: at once, and this one is counted. */
static int64_t take_token(struct evs *evs) {
    int64_t fresh = (evs->now_ns - evs->join_token_ns) / EVS_JOIN_PERIOD_NS;
    if (fresh >= EVS_JOIN_BURST - evs->join_tokens) {
        evs->join_tokens = EVS_JOIN_BURST;
        evs->join_token_ns = evs->now_ns;
    } else {
        evs->join_tokens += (int)fresh;
        evs->join_token_ns += fresh * EVS_JOIN_PERIOD_NS;
    }
    if (!evs->join_tokens) return evs->join_token_ns + EVS_JOIN_PERIOD_NS;
    evs->join_tokens--;
    return evs->now_ns;
}

static void send_join(struct evs *evs) {
    struct evs_report *m = evs->me->join;
    struct xb_buf *buf = evs_new_buf(evs_report_size(m));
    struct evs_report *copy = evs_report_copy(m);
    if (!buf || !copy) {
        xb_buf_unref(buf);
        free(copy);
        return;
    }
    copy->h.fifo_seq = m->h.fifo_seq = ++evs->fifo_seq;
    for (uint32_t i = 0; i < m->count; i++) {
        const struct evs_entry *e = &m->entries[i];
        if (e->is_operational && !e->is_suspected && !e->is_evicted) evs->down.allow(evs->down.ctx, &e->uuid);
    }
    struct xb_writer w = xb_writer_init(xb_buf_data(buf), buf->size);
    evs_report_write(&w, m);
    evs->stats.sent_join++;
    evs_debug(evs, EVS_DEBUG_JOIN, "evs: %s sends JOIN: in %s, %u nodes, safe %lld, aru %lld",
              XB_UUID_SHORT(&evs->uuid), VIEW_ID_TEXT(&m->h.view), m->count, (long long)m->seq, (long long)m->aru);
    evs_transmit(evs, buf, NULL);
    free(evs->join_sent);
    evs->join_sent = copy;
    evs->is_join_wanted = false;
    evs->acked = evs->map.aru;
}

static void tell_join(struct evs *evs) {
    bool is_new = !evs->join_sent || !is_same_content(evs->join_sent, evs->me->join);
    if (!is_new && !evs->is_join_wanted && evs->now_ns < evs->join_repeat_ns) return;
    int64_t when_ns = take_token(evs);
    if (when_ns > evs->now_ns) {
        evs->join_due_ns = when_ns;
        return;
    }
    if (is_new) evs->join_repeat_wait_ns = EVS_JOIN_REPEAT_NS;
    if (evs->join_repeat_wait_ns > evs->options.join_retrans_period_ns)
        evs->join_repeat_wait_ns = evs->options.join_retrans_period_ns;
    evs->join_repeat_ns = evs->now_ns + evs->join_repeat_wait_ns;
    evs->join_repeat_wait_ns *= 3;
    send_join(evs);
}

/* Is the next view to be proposed by me, as soon as those of another view agree on their dead? */
static bool is_to_propose(struct evs *evs) {
    const struct evs_node *proposer = evs_representative(evs);
    bool is_consensus = proposer == evs->me && evs_is_consensus(evs);
    if (proposer)
        evs_debug(evs, EVS_DEBUG_CONSENSUS, "evs: %s of %zu known: %s proposes%s", XB_UUID_SHORT(&evs->uuid),
                  evs->known_count, XB_UUID_SHORT(&proposer->uuid),
                  proposer != evs->me ? ""
                  : is_consensus      ? ", all agree"
                                      : ", not all agree yet");
    if (!is_consensus) {
        evs->strangers_ns = XB_NEVER;
        return false;
    }
    if (evs_do_strangers_agree(evs)) return true;
    if (evs->strangers_ns == XB_NEVER) evs->strangers_ns = evs->now_ns + EVS_STRANGERS_NS;
    return evs->now_ns >= evs->strangers_ns;
}

void evs_gather_step(struct evs *evs) {
    evs->join_due_ns = XB_NEVER;
    if (evs->state != EVS_GATHER || evs->install) return;
    evs_join_refresh(evs);
    evs_agree(evs);
    evs_eliminate_asymmetry(evs);
    evs_ask_missing(evs);
    evs_join_refresh(evs);
    if (!evs->me->join) { /* no memory now */
        evs->join_due_ns = evs->now_ns + EVS_JOIN_PERIOD_NS;
        return;
    }
    if (is_to_propose(evs)) {
        /* Should the proposals of two nodes ever answer each other, they do so slowly. */
        if (evs->attempt <= 3 || evs->now_ns >= evs->proposed_ns + EVS_JOIN_PERIOD_NS) {
            evs->proposed_ns = evs->now_ns;
            evs_install_propose(evs);
            return;
        }
        evs->join_due_ns = evs->proposed_ns + EVS_JOIN_PERIOD_NS;
        return;
    }
    tell_join(evs);
}

/* Section 9.2: while nobody is known. */
void evs_announce(struct evs *evs) {
    evs_join_refresh(evs);
    if (evs->me->join) send_join(evs);
}
