/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Groups under random load and random faults, from seeds, against the invariants of spec 05 section 20 and what the
 * replicator relies on: one history, each write set at most once in it, last seen never below what was reported, votes
 * that leave no two opinions, every call answered.
 *
 * GCS_TEST_SEEDS sets how many seeds are run (default 60), GCS_TEST_SEED one seed with its log.
 */
#include "party.h"

#include <stdio.h>

#define PEERS_ALIVE_MAX 5
#define PEERS_TOTAL_MAX 16
#define STEPS 4000
#define HISTORY_MAX 8192
#define ITEMS_MAX 4096
#define POISON_ONE_IN 25

enum outcome { OUTCOME_NONE, OUTCOME_OK, OUTCOME_FAILED };

/* The replicator of one peer. */
struct model {
    struct world *world;
    struct peer *peer;
    int64_t seqno; /* of the last action counted here */
    int64_t applied;
    int64_t cut;
    bool has_state;   /* follows the history without a gap */
    bool needs_state; /* PRIM: has to ask */
    bool is_receiving;
    int donations; /* own desyncs and donations that are not over */
    bool is_voting;
    int64_t voting_on;
    int64_t request; /* seqno of the vote asked for, -1 */
    bool must_leave;
    size_t causal_open;
    int (*submit)(struct node *node, const struct sent *message); /* the bus's */
    size_t action_left;                                           /* bytes of the action that is being sent */
    int64_t reported, last_seen;                                  /* highest handed over */
    uint8_t outcomes[HISTORY_MAX];
};

struct world {
    struct bus *bus;
    struct xb_random random;
    uint64_t history[HISTORY_MAX]; /* hash of the action with this seqno, 0: none yet */
    bool is_poisoned[HISTORY_MAX];
    uint64_t next_id;
    int64_t seqno_of_id[ITEMS_MAX];
    struct item *items[ITEMS_MAX];
    size_t item_count;
    struct model models[BUS_PEERS_MAX];
    bool is_calm; /* no new faults and failures */
    size_t ordered, resent, votes_decided;
};

static uint64_t below(struct world *w, uint64_t bound) {
    return xb_random_below(&w->random, bound);
}

static uint64_t hash_bytes(const uint8_t *bytes, size_t size) {
    uint64_t hash = 0xcbf29ce484222325u;
    for (size_t i = 0; i < size; i++) hash = (hash ^ bytes[i]) * 0x100000001b3u;
    return hash | 1;
}

/* Checks. */

static void check_history(struct world *w, int64_t seqno, uint64_t hash) {
    assert_true(seqno > 0 && seqno < HISTORY_MAX);
    if (!w->history[seqno]) w->history[seqno] = hash;
    if (w->history[seqno] != hash) fail_msg("two actions with seqno %d", (int)seqno);
}

static void check_state(const struct gcs *gcs) {
    if (gcs->group_state != GCS_PRIMARY) return;
    bool has_donor = false;
    for (size_t i = 0; i < gcs->member_count; i++) {
        const struct gcs_member *m = &gcs->members[i];
        assert_true(m->state != GCS_NODE_NON_PRIM);
        assert_int_equal(m->desync_count > 0, m->state == GCS_NODE_DONOR);
        has_donor |= m->state >= GCS_NODE_DONOR;
    }
    assert_true(has_donor);
    assert_true(gcs->cut.last_applied <= gcs->counter);
}

/* Each write set carries its id and its last seen seqno. */
static void check_write_set(struct model *m, const struct gcs_action *action) {
    struct world *w = m->world;
    assert_int_equal(action->seqno, m->seqno + 1);
    m->seqno = action->seqno;
    check_history(w, action->seqno, hash_bytes(action->buf, action->size));
    uint64_t id = xb_load_le(action->buf, 8);
    int64_t last_seen = (int64_t)xb_load_le(action->buf + 8, 8);
    assert_true(id < ITEMS_MAX);
    if (!w->seqno_of_id[id]) {
        w->seqno_of_id[id] = action->seqno;
        w->ordered++;
    }
    assert_int_equal(w->seqno_of_id[id], action->seqno); /* nothing is ordered twice */
    assert_true(m->peer->node->gcs->members[action->sender].state >= GCS_NODE_DONOR);
    assert_true(last_seen >= 0 && last_seen < action->seqno);
}

/* The order of what one member hands over: no write set has seen less than what was reported before it, and no report
 * comes between the fragments of one (07 section 9.3). */
static void check_order_of_sending(struct model *m, const struct sent *message) {
    if (message->type == GCS_MSG_LAST) {
        int64_t seqno = (int64_t)xb_load_le(message->bytes + 16, 8);
        assert_int_equal(m->action_left, 0);
        if (seqno > m->reported) m->reported = seqno;
    }
    struct gcs_fragment f;
    if (message->type != GCS_MSG_ACTION) return;
    assert_int_equal(gcs_fragment_read(&f, message->bytes, message->size), 0);
    if (f.number == 0) m->action_left = f.action_size;
    if (f.number == 0 && f.type == GCS_WRITESET) {
        int64_t last_seen = (int64_t)xb_load_le(f.data + 8, 8);
        assert_true(last_seen >= m->reported && last_seen >= m->last_seen);
        m->last_seen = last_seen;
    }
    assert_true(f.size <= m->action_left);
    m->action_left -= f.size;
}

static int on_submit(struct node *node, const struct sent *message) {
    struct peer *peer = node->ctx;
    struct model *m = peer->model;
    size_t left = m->action_left; /* the message may be delivered, and followed by others, within the call */
    int64_t reported = m->reported, last_seen = m->last_seen;
    check_order_of_sending(m, message);
    int result = m->submit(node, message);
    if (!result) return 0;
    m->action_left = left;
    m->reported = reported;
    m->last_seen = last_seen;
    return result;
}

static void check_configuration(struct model *m, const struct record *record) {
    struct world *w = m->world;
    const struct gcs_cchange *c = &record->change;
    const struct gcs *gcs = m->peer->node->gcs;
    for (size_t i = 0; i < gcs->member_count; i++)
        if ((int)i != gcs->own_index) assert_false(gcs->members[i].collector.is_active);
    assert_int_equal(gcs->flow.stops_received, 0);
    assert_false(gcs->flow.is_stopping);
    m->is_receiving = m->needs_state = false;
    m->action_left = 0; /* what was under way begins anew */
    if (c->conf_id < 0) return;
    struct gcs_cchange copy = *c; /* the vote may differ for one that has just joined (section 7.5) */
    copy.vote_seqno = -1;
    copy.vote_value = 0;
    size_t size = gcs_cchange_encoded_size(&copy);
    uint8_t *bytes = malloc(size);
    gcs_cchange_encode(&copy, bytes);
    check_history(w, c->seqno, hash_bytes(bytes, size));
    free(bytes);
    enum gcs_node_state own = c->members[record->action.seqno].state;
    assert_true(own != GCS_NODE_NON_PRIM);
    assert_int_equal(record->action.seqno, gcs->own_index);
    if (own >= GCS_NODE_DONOR && m->has_state) assert_int_equal(c->seqno, m->seqno + 1);
    if (own >= GCS_NODE_DONOR && !m->has_state) { /* founder, or up to date by its saved position */
        m->has_state = true;
        m->applied = c->seqno - 1;
    }
    m->seqno = c->seqno;
    if (own == GCS_NODE_PRIM) {
        m->has_state = false;
        m->needs_state = true;
        memset(m->outcomes, OUTCOME_NONE, sizeof(m->outcomes));
    }
    m->is_receiving = own == GCS_NODE_JOINER;
    if (own != GCS_NODE_DONOR) m->donations = 0;
}

static void on_vote(struct model *m, const struct gcs_action *action) {
    if (action->is_own_vote) {
        assert_true(m->is_voting);
        assert_int_equal(action->seqno, m->voting_on);
        m->is_voting = false;
        m->world->votes_decided++;
        if (action->code != 0) m->must_leave = true;
    } else if (action->code == 1) {
        if (action->seqno > m->request) m->request = action->seqno;
    } else if (action->code < 0) {
        m->must_leave = true; /* applied here, failed elsewhere */
    }
}

static struct item *submit(struct model *m);

static void on_record(struct node *node, const struct record *record) {
    struct peer *peer = node->ctx;
    struct model *m = peer->model;
    struct world *w = m->world;
    if (record->kind == RECORD_CAUSAL) {
        m->causal_open--;
        if (!record->result) assert_int_equal(record->action.seqno, m->seqno);
        return;
    }
    bool is_ordered = record->action.type == GCS_WRITESET && record->action.buf;
    if (is_ordered) check_write_set(m, &record->action);
    if (record->kind == RECORD_DONE) {
        if (!w->is_calm && w->next_id < ITEMS_MAX - 64 && below(w, 16) == 0) submit(m); /* from inside */
        return;
    }
    switch (record->action.type) {
    case GCS_CCHANGE:
        check_configuration(m, record);
        break;
    case GCS_COMMIT_CUT:
        assert_true(record->action.seqno > m->cut);
        assert_true(record->action.seqno <= node->gcs->counter);
        m->cut = record->action.seqno;
        break;
    case GCS_STATE_REQ:
        m->donations++;
        break;
    case GCS_JOIN:
        if (record->action.code < 0 && gcs_own_state(node->gcs) == GCS_NODE_PRIM) {
            m->needs_state = true;
            m->is_receiving = false;
        }
        break;
    case GCS_VOTE:
        on_vote(m, &record->action);
        break;
    default:
        break;
    }
}

/* What the peers do. */

static void on_prepare(struct item *item) {
    struct peer *peer = item->node->ctx;
    struct model *m = peer->model;
    xb_store_le(item->bytes + 8, (uint64_t)m->applied, 8);
    if (item->prepared > 1) m->world->resent++;
}

static struct item *submit(struct model *m) {
    struct world *w = m->world;
    static const size_t sizes[] = {16, 20, 300, 33000, 120000};
    size_t size = sizes[below(w, below(w, 4) ? 3 : 5)];
    uint8_t *bytes = calloc(1, size);
    xb_store_le(bytes, w->next_id, 8);
    struct item *item = item_new(m->peer->node, GCS_WRITESET, bytes, size);
    free(bytes);
    item->on_prepare = on_prepare;
    item->submission.is_out_of_order = below(w, 10) == 0;
    w->items[w->next_id++] = item;
    gcs_submit(m->peer->node->gcs, &item->submission, m->peer->node->now_ns);
    return item;
}

static struct model *any_model(struct world *w) {
    for (;;) {
        struct peer *peer = &w->bus->peers[below(w, (uint64_t)w->bus->peer_count)];
        if (peer->node) return peer->model;
    }
}

static enum gcs_node_state own_state(const struct model *m) {
    return gcs_own_state(m->peer->node->gcs);
}

/* Is the outcome of this seqno on this peer a failure? */
static bool fails(struct model *m, int64_t seqno, char *text) {
    struct world *w = m->world;
    if (!w->is_poisoned[seqno] || w->is_calm) return false;
    uint64_t fate = ((uint64_t)seqno * 31 + (uint64_t)m->peer->id) * 0x9e3779b97f4a7c15u >> 61;
    text[0] = fate & 1 ? 'a' : 'b';
    return fate < 5;
}

static void apply(struct model *m) {
    struct gcs *gcs = m->peer->node->gcs;
    if (!m->has_state || m->is_voting || m->applied >= m->seqno || gcs->is_closed) return;
    int64_t seqno = m->applied + 1;
    char text[2] = "";
    if (fails(m, seqno, text)) {
        int64_t value = gcs_vote_value(&gcs->group_uuid, seqno, text, 2);
        m->is_voting = true;
        m->voting_on = seqno;
        int result = gcs_vote(gcs, &gcs->group_uuid, seqno, value, text, 2, m->peer->node->now_ns);
        assert_int_not_equal(result, -EALREADY);
        if (result) {
            m->is_voting = false;
            m->must_leave = true;
        }
        m->outcomes[seqno] = OUTCOME_FAILED;
    } else {
        m->outcomes[seqno] = OUTCOME_OK;
    }
    m->applied = seqno;
}

/* Votes success on what it was asked for, once it is past it. */
static void answer_request(struct model *m) {
    struct gcs *gcs = m->peer->node->gcs;
    if (m->request < 0 || m->is_voting || !m->has_state || m->applied < m->request) return;
    m->is_voting = true;
    m->voting_on = m->request;
    int result = gcs_vote(gcs, &gcs->group_uuid, m->request, 0, NULL, 0, m->peer->node->now_ns);
    if (result) m->is_voting = false;
    if (result && result != -EALREADY && result != -EREMCHG) m->must_leave = true;
    m->request = -1;
}

static void ask_for_state(struct world *w, struct model *m) {
    if (!m->needs_state || own_state(m) != GCS_NODE_PRIM) return;
    m->needs_state = false;
    w->items[w->next_id++] = request(m->peer, "");
}

static void end_transfer(struct world *w, struct model *m) {
    struct gcs *gcs = m->peer->node->gcs;
    if (own_state(m) == GCS_NODE_JOINER && m->is_receiving) {
        m->is_receiving = false;
        m->has_state = true;
        m->applied = m->seqno;
        tell_join(m->peer, 0);
    } else if (own_state(m) == GCS_NODE_DONOR && (m->donations > 0 || gcs->joins.count == 0)) {
        if (m->donations) m->donations--;
        tell_join(m->peer, w->is_calm || below(w, 4) ? 0 : -ECANCELED);
    }
}

static void look_after_requests(struct world *w) {
    for (size_t i = 0; i < w->next_id; i++) {
        struct item *item = w->items[i];
        if (!item || !item->is_done || item->submission.type != GCS_STATE_REQ) continue;
        struct peer *peer = item->node->ctx;
        struct model *m = peer->model;
        if (peer->node == item->node && peer->node) {
            if (item->result >= 0 && own_state(m) == GCS_NODE_JOINER)
                m->is_receiving = true;
            else if (item->result >= 0)
                m->donations++;
            else if (own_state(m) == GCS_NODE_PRIM)
                m->needs_state = true;
        }
        item_free(item);
        w->items[i] = NULL;
    }
}

/* Faults. */

static int alive(const struct world *w) {
    return __builtin_popcountll(all(w->bus));
}

static void add_peer(struct world *w, bool is_changing) {
    char name[16];
    snprintf(name, sizeof(name), "p%d", w->bus->peer_count);
    struct peer *peer = bus_add(w->bus, name);
    struct model *m = &w->models[peer->id];
    *m = (struct model){.world = w, .peer = peer, .request = -1, .cut = -1, .seqno = -1};
    peer->model = m;
    peer->node->watch = on_record;
    m->submit = peer->node->submit;
    peer->node->submit = on_submit;
    node_start(peer->node);
    if (!is_changing) return;
    struct peer *other = any_model(w)->peer;
    bus_change(w->bus, other->component | bus_bit(peer), false);
}

static void change_rest(struct world *w, bus_set component) {
    bus_set rest = component & all(w->bus);
    if (rest) bus_change(w->bus, rest, false);
}

static void take_items(struct world *w, const struct node *node) { /* of a node that is gone */
    for (size_t i = 0; i < w->next_id; i++) {
        if (!w->items[i] || w->items[i]->node != node) continue;
        item_free(w->items[i]);
        w->items[i] = NULL;
    }
}

static void remove_peer(struct world *w, struct peer *peer, bool is_graceful) {
    struct node *node = peer->node;
    bus_set component = peer->component;
    if (is_graceful) {
        gcs_close(node->gcs, node->now_ns);
        bus_leave(w->bus, peer);
        component = 0;
    }
    bus_remove(w->bus, peer);
    take_items(w, node);
    change_rest(w, component);
}

static bool will_lose_quorum(const struct peer *peer) {
    for (const struct bus_event *e = peer->inbox; e; e = e->next)
        if (e->is_view && !e->is_primary) return true;
    return false;
}

/* Members of the primary component that have the state. Joiners count for the quorum as well; if they alone made one,
 * with a member of an earlier minority, the history would go on from there: so the group is, and no subject here. */
static bus_set rich(const struct world *w) {
    bus_set set = 0;
    for (int i = 0; i < w->bus->peer_count; i++) {
        const struct peer *p = &w->bus->peers[i];
        if (p->node && p->is_primary && own_state(p->model) >= GCS_NODE_DONOR && !will_lose_quorum(p))
            set |= bus_bit(p);
    }
    return set;
}

static bool makes_quorum(const struct world *w, bus_set set) {
    return 2 * __builtin_popcountll(w->bus->last_primary & set) > __builtin_popcountll(w->bus->last_primary);
}

static bool can_lose(const struct world *w, const struct peer *peer) {
    bus_set rest = all(w->bus) & ~bus_bit(peer);
    return __builtin_popcountll(rich(w) & rest) >= 2 && makes_quorum(w, rest);
}

static void split(struct world *w) {
    bus_set everybody = all(w->bus), part = xb_random_u64(&w->random) & everybody, rest = everybody & ~part;
    if (!part || !rest) return;
    if ((makes_quorum(w, part) && !(rich(w) & part)) || (makes_quorum(w, rest) && !(rich(w) & rest))) return;
    bus_change(w->bus, part, false);
    bus_change(w->bus, rest, false);
}

static void heal(struct world *w) {
    bus_change(w->bus, all(w->bus), false);
}

/* Somebody with the state has to stay, or the group ends. */
static bool is_last_of_its_kind(const struct world *w, const struct model *m) {
    for (int i = 0; i < w->bus->peer_count; i++) {
        const struct model *other = &w->models[i];
        if (w->bus->peers[i].node && other != m && own_state(other) >= GCS_NODE_DONOR) return false;
    }
    return true;
}

static void leave_if_inconsistent(struct world *w) {
    for (int i = 0; i < w->bus->peer_count; i++) {
        struct model *m = &w->models[i];
        if (!w->bus->peers[i].node || !m->must_leave || is_last_of_its_kind(w, m)) continue;
        if (!w->is_calm && !can_lose(w, m->peer)) continue;
        remove_peer(w, m->peer, true);
    }
}

static void fault(struct world *w) {
    struct peer *peer = any_model(w)->peer;
    switch (below(w, 7)) {
    case 0:
        if (alive(w) < PEERS_ALIVE_MAX && w->bus->peer_count < PEERS_TOTAL_MAX) add_peer(w, true);
        break;
    case 1:
        if (can_lose(w, peer)) remove_peer(w, peer, below(w, 2));
        break;
    case 2:
        split(w);
        break;
    default:
        heal(w);
    }
}

static void act(struct world *w) {
    struct model *m = any_model(w);
    struct node *node = m->peer->node;
    uint64_t dice = below(w, 1000);
    if (dice < 300) {
        bus_order(w->bus, m->peer);
    } else if (dice < 700) {
        bus_deliver(w->bus, m->peer);
        if (m->peer->node) check_state(m->peer->node->gcs);
    } else if (dice < 750) {
        bus_tick(w->bus, XB_MS * (int64_t)below(w, 20));
    } else if (dice < 820) {
        if (w->next_id < ITEMS_MAX - 64) submit(m);
    } else if (dice < 920) {
        apply(m);
        answer_request(m);
    } else if (dice < 940) {
        if (m->has_state && m->applied > 0)
            gcs_report_last_applied(node->gcs, &node->gcs->group_uuid, m->applied - (int64_t)below(w, 2), node->now_ns);
    } else if (dice < 950) {
        if (own_state(m) >= GCS_NODE_DONOR && w->next_id < ITEMS_MAX - 64)
            w->items[w->next_id++] = request(m->peer, GCS_SELF_DESYNC);
    } else if (dice < 970) {
        ask_for_state(w, m);
        end_transfer(w, m);
    } else if (dice < 980) {
        struct item *item = w->next_id ? w->items[below(w, w->next_id)] : NULL;
        if (item && !item->is_done && gcs_cancel(item->node->gcs, &item->submission, item->node->now_ns))
            assert_int_equal(item->result, -EINTR);
    } else if (dice < 988) {
        m->causal_open++;
        gcs_causal(node->gcs, m, node->now_ns);
    } else if (dice < 996) {
        gcs_set_queue_length(node->gcs, (int64_t)below(w, 60), 0, below(w, 2), node->now_ns);
    } else {
        fault(w);
    }
    look_after_requests(w);
    leave_if_inconsistent(w);
}

/* Everything works again; all that was begun comes to an end. */
static void calm_down(struct world *w) {
    w->is_calm = true;
    w->bus->refuse_percent = 0;
    for (int round = 0; round < 60; round++) {
        if (round % 20 == 0) heal(w);
        bus_tick(w->bus, GCS_VOTE_REPEAT_NS);
        bus_settle(w->bus);
        for (int i = 0; i < w->bus->peer_count; i++) {
            struct model *m = &w->models[i];
            if (!w->bus->peers[i].node) continue;
            gcs_set_queue_length(m->peer->node->gcs, 0, 0, false, m->peer->node->now_ns);
            for (int k = 0; k < HISTORY_MAX && !m->is_voting && m->has_state && m->applied < m->seqno; k++) apply(m);
            answer_request(m);
            ask_for_state(w, m);
            bus_settle(w->bus);
            look_after_requests(w);
            end_transfer(w, m);
        }
        bus_settle(w->bus);
        leave_if_inconsistent(w);
    }
}

static void check_end(struct world *w) {
    const struct model *first = NULL;
    for (int i = 0; i < w->bus->peer_count; i++) {
        const struct model *m = &w->models[i];
        if (!w->bus->peers[i].node) continue;
        if (!first) first = m;
        assert_int_equal(m->peer->node->gcs->group_state, GCS_PRIMARY);
        assert_int_equal(own_state(m), GCS_NODE_SYNCED);
        assert_int_equal(m->seqno, first->seqno);
        assert_int_equal(m->causal_open, 0);
        assert_false(m->is_voting);
        assert_int_equal(m->peer->node->gcs->flow.stops_received, 0);
        assert_int_equal(m->peer->node->failure.code, 0);
        for (int64_t s = 1; s <= first->seqno && !m->must_leave && !first->must_leave;
             s++) /* no two opinions on one seqno */
            if (m->outcomes[s] && first->outcomes[s]) assert_int_equal(m->outcomes[s], first->outcomes[s]);
    }
    for (int64_t s = 1; s <= first->seqno; s++) assert_true(w->history[s] != 0);
    for (size_t i = 0; i < w->next_id; i++) {
        const struct item *item = w->items[i];
        if (!item) continue;
        assert_true(item->is_done);
        if (item->result == 0) assert_int_equal(w->seqno_of_id[i], item->seqno);
        if (item->result == -EINTR) assert_int_equal(w->seqno_of_id[i], 0);
    }
    assert_same_counters(w->bus);
}

static void run(uint64_t seed, size_t totals[3]) {
    struct world *w = calloc(1, sizeof(*w));
    w->bus = bus_new(seed);
    xb_random_seed(&w->random, seed * 77 + 1);
    w->bus->keeps_out_at_change = seed % 2;
    w->bus->is_immediate = seed % 3 == 0;
    w->bus->refuse_percent = (unsigned)(seed % 5) * 10;
    w->bus->out_max = seed % 4 ? 4 : BUS_OUT_MAX;
    for (int64_t s = 0; s < HISTORY_MAX; s++) w->is_poisoned[s] = below(w, POISON_ONE_IN) == 0;
    add_peer(w, false);
    bus_change(w->bus, 1, false);
    bus_settle(w->bus);
    for (int i = 0; i < 2; i++) add_peer(w, true);
    for (int step = 0; step < STEPS; step++) act(w);
    calm_down(w);
    check_end(w);
    totals[0] += w->ordered;
    totals[1] += w->resent;
    totals[2] += w->votes_decided;
    struct node *nodes[BUS_PEERS_MAX];
    int node_count = 0;
    for (int i = 0; i < w->bus->peer_count; i++)
        if (w->bus->peers[i].node) nodes[node_count++] = w->bus->peers[i].node;
    bus_free(w->bus);
    for (int i = 0; i < node_count; i++) take_items(w, nodes[i]);
    free(w);
}

static void test_random(void **state) {
    const char *count = getenv("GCS_TEST_SEEDS"), *one = getenv("GCS_TEST_SEED");
    uint64_t from = one ? strtoull(one, NULL, 10) : 1, to = one ? from : count ? strtoull(count, NULL, 10) : 60;
    size_t totals[3] = {0};
    for (uint64_t seed = from; seed <= to; seed++) {
        printf("seed %d\n", (int)seed);
        fflush(stdout);
        run(seed, totals);
    }
    printf("%zu write sets ordered, %zu sent again, %zu votes decided\n", totals[0], totals[1], totals[2]);
    if (!one) assert_true(totals[0] > 0 && totals[1] > 0 && totals[2] > 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
