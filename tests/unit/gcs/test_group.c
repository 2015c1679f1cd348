/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Several instances on a bus: joining, ordering, resending, causal reads, the end. */
#include "party.h"

#define BIG 100000

static void test_new_group(void **state) {
    for (int is_immediate = 0; is_immediate < 2; is_immediate++) {
        struct bus *bus = bus_new(1);
        bus->is_immediate = is_immediate;
        struct peer *peer = start_peer(bus, "n0");
        bus_change(bus, 1, false);
        bus_settle(bus);
        const struct gcs_cchange *c = node_configuration(peer->node);
        assert_int_equal(c->conf_id, 1);
        assert_int_equal(c->seqno, 1);
        assert_int_equal(c->repl_version, 11);
        assert_int_equal(c->member_count, 1);
        assert_int_equal(c->members[0].state, GCS_NODE_JOINED);
        assert_string_equal(c->members[0].name, "n0");
        assert_int_equal(node_last_action(peer->node, GCS_CCHANGE)->action.seqno, 0); /* own index */
        assert_int_equal(node_count_actions(peer->node, GCS_SYNC), 1);
        assert_int_equal(state_of(peer), GCS_NODE_SYNCED);
        struct item *item = item_submit(peer->node, GCS_WRITESET, "abc", 3);
        if (is_immediate) assert_true(item->is_done); /* ordered within the call */
        bus_settle(bus);
        assert_int_equal(item->result, 0);
        assert_int_equal(item->seqno, 2);
        item_free(item);
        bus_free(bus);
    }
}

/* The trace of spec 05 section 23, views 2. */
static void test_second_member(void **state) {
    struct bus *bus = make_group(1);
    struct peer *first = &bus->peers[0], *second = start_peer(bus, "n1");
    bus_change(bus, 3, false);
    bus_settle(bus);
    const struct gcs_cchange *c = node_configuration(second->node);
    assert_int_equal(c->conf_id, 2);
    assert_int_equal(c->seqno, 2);
    assert_int_equal(c->members[0].state, GCS_NODE_SYNCED);
    assert_int_equal(c->members[1].state, GCS_NODE_PRIM);
    const struct gcs_action *a = &node_last_action(first->node, GCS_CCHANGE)->action;
    const struct gcs_action *b = &node_last_action(second->node, GCS_CCHANGE)->action;
    assert_int_equal(a->size, b->size);
    assert_memory_equal(a->buf, b->buf, a->size);
    assert_int_equal(b->seqno, 1);

    struct item *early = item_submit(second->node, GCS_WRITESET, "x", 1); /* has not joined */
    assert_int_equal(early->result, -ENOTCONN);
    item_free(early);

    struct item *item = request(second, "");
    bus_settle(bus);
    assert_int_equal(item->result, 0); /* donor index */
    item_free(item);
    a = &node_last_action(first->node, GCS_STATE_REQ)->action;
    assert_int_equal(a->size, 1); /* only the application's part */
    assert_int_equal(a->buf[0], 'x');
    assert_int_equal(a->seqno, 2);
    assert_int_equal(a->sender, 1);
    assert_true(xb_uuid_equal(&a->sender_uuid, &second->node->uuid));
    assert_int_equal(node_count_actions(second->node, GCS_STATE_REQ), 0);
    assert_int_equal(state_of(first), GCS_NODE_DONOR);
    assert_int_equal(state_of(second), GCS_NODE_JOINER);
    tell_join(first, 0);
    bus_settle(bus);
    assert_int_equal(node_last_action(first->node, GCS_JOIN)->action.code, 0);
    assert_int_equal(state_of(first), GCS_NODE_SYNCED);
    tell_join(second, 0);
    bus_settle(bus);
    assert_int_equal(state_of(second), GCS_NODE_SYNCED);
    assert_int_equal(node_count_actions(second->node, GCS_JOIN), 1);
    assert_int_equal(node_count_actions(second->node, GCS_SYNC), 1);
    assert_same_counters(bus);
    bus_free(bus);
}

static void test_fragments_interleave(void **state) {
    struct bus *bus = make_group(3);
    static const size_t sizes[] = {1, 32616, 32617, BIG, 2 * 32616, 5};
    struct item *items[3][6];
    for (int k = 0; k < 6; k++)
        for (int i = 0; i < 3; i++) items[i][k] = submit_big(node_of(bus, i), sizes[(k + i) % 6], i);
    bus_settle(bus);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(node_count_actions(node_of(bus, i), GCS_WRITESET), 12); /* the others' */
        int64_t last = 0;
        for (int k = 0; k < 6; k++) {
            assert_int_equal(items[i][k]->result, 0);
            assert_true(items[i][k]->seqno > last); /* in the order of submission */
            last = items[i][k]->seqno;
            assert_int_equal(items[i][k]->prepared, 1);
        }
    }
    /* Delivered bytes are those sent, at the same seqno everywhere. */
    for (size_t r = 0; r < node_of(bus, 0)->record_count; r++) {
        const struct record *record = &node_of(bus, 0)->records[r];
        if (record->kind != RECORD_ACTION || record->action.type != GCS_WRITESET) continue;
        const struct item *item = NULL;
        for (int k = 0; k < 6; k++)
            if (items[record->action.sender][k]->seqno == record->action.seqno) item = items[record->action.sender][k];
        assert_non_null(item);
        assert_int_equal(item->size, record->action.size);
        assert_memory_equal(item->bytes, record->action.buf, item->size);
    }
    for (int k = 0; k < 6; k++)
        for (int i = 0; i < 3; i++) item_free(items[i][k]);
    assert_same_counters(bus);
    bus_free(bus);
}

static void test_packet_size(void **state) {
    struct bus *bus = bus_new(1);
    struct peer *peer = bus_add(bus, "n0");
    peer->node->config.options.max_packet_size = 0; /* raised to one data byte */
    node_start(peer->node);
    bus_change(bus, 1, false);
    bus_settle(bus);
    struct item *item = item_submit(peer->node, GCS_WRITESET, "abcd", 4);
    assert_int_equal(peer->out_count, 4);
    assert_int_equal(peer->out[3].size, GCS_FRAGMENT_HEADER_SIZE + 1);
    bus_settle(bus);
    assert_int_equal(item->result, 0);
    item_free(item);
    item = item_submit(peer->node, GCS_WRITESET, "", 0);
    assert_int_equal(item->result, -EMSGSIZE);
    item_free(item);
    bus_free(bus);
}

/* A small write set goes down within gcs_submit; if PC refuses it, it goes down in gcs_tick. */
static void test_quick_path(void **state) {
    struct bus *bus = make_group(2);
    struct node *node = node_of(bus, 0);
    struct item *a = item_submit(node, GCS_WRITESET, "a", 1);
    assert_int_equal(bus->peers[0].out_count, 1);
    node->refusal = -EAGAIN;
    struct item *b = item_submit(node, GCS_WRITESET, "b", 1), *c = item_submit(node, GCS_WRITESET, "c", 1);
    assert_int_equal(bus->peers[0].out_count, 1);
    assert_int_equal(node_tick(node), node->now_ns + GCS_RETRY_NS);
    node->refusal = 0;
    assert_int_equal(node_tick(node), XB_NEVER);
    assert_int_equal(bus->peers[0].out_count, 3);
    assert_int_equal(b->prepared, 1); /* its fragment was kept */
    bus_settle(bus);
    assert_true(a->seqno < b->seqno && b->seqno < c->seqno);
    item_free(a);
    item_free(b);
    item_free(c);
    bus_free(bus);
}

static void test_cancel_and_refusing_prepare(void **state) {
    struct bus *bus = make_group(2);
    struct node *node = node_of(bus, 0);
    struct item *sent = item_submit(node, GCS_WRITESET, "0", 1);
    assert_false(gcs_cancel(node->gcs, &sent->submission, node->now_ns));
    node->refusal = -EAGAIN;
    struct item *items[4];
    for (int i = 0; i < 4; i++) items[i] = item_submit(node, GCS_WRITESET, &"abcd"[i], 1);
    assert_int_equal(items[0]->prepared, 1);
    assert_true(gcs_cancel(node->gcs, &items[0]->submission, node->now_ns)); /* prepared, but not a fragment sent */
    assert_true(gcs_cancel(node->gcs, &items[2]->submission, node->now_ns));
    assert_int_equal(items[0]->result, -EINTR);
    assert_int_equal(items[2]->result, -EINTR);
    node->refusal = 0;
    bus_settle(bus);
    assert_int_equal(items[1]->result, 0);
    assert_true(items[1]->seqno < items[3]->seqno);
    struct item *refused = item_new(node, GCS_WRITESET, "r", 1);
    refused->prepare_result = -EINTR;
    gcs_submit(node->gcs, &refused->submission, node->now_ns);
    assert_int_equal(refused->result, -EINTR);
    /* A big one that has begun cannot be taken back. */
    node->refusal = -EAGAIN;
    node->accepted_before_refusal = 1;
    struct item *big = submit_big(node, BIG, 1);
    assert_int_equal(big->submission.fragment, 1);
    assert_false(gcs_cancel(node->gcs, &big->submission, node->now_ns));
    node->refusal = 0;
    bus_settle(bus);
    assert_int_equal(big->result, 0);
    for (int i = 0; i < 4; i++) item_free(items[i]);
    item_free(sent);
    item_free(refused);
    item_free(big);
    bus_free(bus);
}

static void test_waiting_limit(void **state) {
    struct bus *bus = make_group(1);
    struct node *node = node_of(bus, 0);
    node->refusal = -EAGAIN;
    static struct item *items[GCS_WAITING_MAX + 1];
    for (int i = 0; i <= GCS_WAITING_MAX; i++) items[i] = item_submit(node, GCS_WRITESET, "x", 1);
    assert_int_equal(items[GCS_WAITING_MAX]->result, -EAGAIN);
    assert_false(items[GCS_WAITING_MAX - 1]->is_done);
    struct gcs_status status;
    gcs_get_status(node->gcs, &status, node->now_ns);
    assert_int_equal(status.send_queue, GCS_WAITING_MAX);
    gcs_close(node->gcs, node->now_ns);
    for (int i = 0; i <= GCS_WAITING_MAX; i++) {
        if (i < GCS_WAITING_MAX) assert_int_equal(items[i]->result, -ECONNABORTED);
        item_free(items[i]);
    }
    bus_free(bus);
}

/* Section 21.4: what a view change cut goes out again as a whole, and nobody counts it twice. */
static void test_cut_action_is_sent_again(void **state) {
    for (int keeps = 0; keeps < 2; keeps++) {
        struct bus *bus = make_group(3);
        bus->keeps_out_at_change = keeps;
        struct node *node = node_of(bus, 0);
        bus->out_max = 2; /* two fragments are handed over, the third is refused */
        struct item *big = submit_big(node, BIG, 3), *small = item_submit(node, GCS_WRITESET, "s", 1);
        uint64_t old_id = big->submission.id;
        assert_int_equal(big->submission.fragment, 2);
        int64_t before = gcs_of(bus, 1)->counter;
        bus_remove(bus, &bus->peers[2]);
        bus_change(bus, 3, false);
        bus_settle(bus);
        assert_int_equal(big->result, 0);
        assert_int_equal(big->prepared, 2);
        assert_true(big->submission.id > old_id);
        assert_int_equal(big->seqno, before + 2); /* behind the configuration change */
        assert_int_equal(small->seqno, before + 3);
        assert_int_equal(node_count_actions(node_of(bus, 1), GCS_WRITESET), 2);
        assert_same_counters(bus);
        item_free(big);
        item_free(small);
        bus_free(bus);
    }
}

/* Sent completely, but the view came first: nobody counted it, it goes out again. */
static void test_overtaken_action_is_sent_again(void **state) {
    struct bus *bus = make_group(3);
    bus->keeps_out_at_change = true;
    struct item *item = item_submit(node_of(bus, 0), GCS_WRITESET, "abc", 3);
    struct item *own = request(&bus->peers[1], GCS_SELF_DESYNC);
    assert_int_equal(bus->peers[0].out_count, 1);
    bus_remove(bus, &bus->peers[2]);
    bus_change(bus, 3, false);
    bus_settle(bus);
    assert_int_equal(item->result, 0);
    assert_int_equal(item->prepared, 2);
    assert_int_equal(own->result, 1);
    assert_int_equal(gcs_of(bus, 0)->members[1].desync_count, 1);
    assert_int_equal(node_count_actions(node_of(bus, 1), GCS_WRITESET), 1);
    assert_same_counters(bus);
    item_free(item);
    item_free(own);
    bus_free(bus);
}

static void test_lost_quorum(void **state) {
    struct bus *bus = make_group(3);
    struct node *node = node_of(bus, 2);
    node->refusal = -EAGAIN;
    struct item *waiting = item_submit(node, GCS_WRITESET, "w", 1);
    int token;
    gcs_causal(node->gcs, &token, node->now_ns);
    bus_change(bus, 4, false);
    bus_change(bus, 3, false);
    bus_settle(bus);
    assert_int_equal(waiting->result, -ENOTCONN);
    const struct gcs_cchange *c = node_configuration(node);
    assert_int_equal(c->conf_id, -1);
    assert_int_equal(c->member_count, 1);
    assert_int_equal(c->members[0].state, GCS_NODE_NON_PRIM);
    assert_int_equal(c->repl_version, 11); /* of the last quorum */
    assert_int_equal(node->records[node->record_count - 2].kind, RECORD_CAUSAL);
    assert_int_equal(node->records[node->record_count - 2].result, -EPERM);
    struct item *late = item_submit(node, GCS_WRITESET, "l", 1);
    assert_int_equal(late->result, -ENOTCONN);
    node->refusal = 0;
    /* The others have gone on: back as PRIM. */
    bus_change(bus, 7, false);
    bus_settle(bus);
    c = node_configuration(node);
    assert_int_equal(c->members[2].state, GCS_NODE_PRIM);
    assert_int_equal(c->members[0].state, GCS_NODE_SYNCED);
    transfer(bus, &bus->peers[2]);
    assert_same_counters(bus);
    item_free(waiting);
    item_free(late);
    bus_free(bus);
}

/* All lose quorum and find together again: nothing has happened meanwhile, all are where they were. */
static void test_remerge(void **state) {
    struct bus *bus = make_group(3);
    int64_t counter = gcs_of(bus, 0)->counter;
    bus_change(bus, 1, false);
    bus_change(bus, 2, false);
    bus_change(bus, 4, false);
    bus_settle(bus);
    for (int i = 0; i < 3; i++) assert_int_equal(gcs_of(bus, i)->group_state, GCS_NON_PRIMARY);
    bus_change(bus, 7, false);
    bus_settle(bus);
    for (int i = 0; i < 3; i++) assert_int_equal(state_of(&bus->peers[i]), GCS_NODE_SYNCED);
    assert_int_equal(gcs_of(bus, 0)->counter, counter + 1);
    assert_same_counters(bus);
    bus_free(bus);
}

static void test_bootstrap_of_saved_positions(void **state) {
    struct bus *bus = bus_new(1);
    static const struct xb_uuid group = {{0xaa}};
    static const char *const names[] = {"n0", "n1", "n2"};
    for (int i = 0; i < 3; i++) {
        struct peer *peer = bus_add(bus, names[i]);
        peer->node->config.group_uuid = group;
        peer->node->config.seqno = i == 2 ? 99 : 100;
        node_start(peer->node);
    }
    bus_change(bus, 1, false);
    bus_settle(bus);
    const struct gcs_cchange *c = node_configuration(node_of(bus, 0));
    assert_true(xb_uuid_equal(&c->group_uuid, &group)); /* its own history goes on */
    assert_int_equal(c->seqno, 101);
    assert_int_equal(c->conf_id, 1);
    bus_free(bus);

    bus = bus_new(1);
    for (int i = 0; i < 3; i++) {
        struct peer *peer = bus_add(bus, names[i]);
        peer->node->config.group_uuid = group;
        peer->node->config.seqno = i == 2 ? 99 : 100;
        node_start(peer->node);
    }
    bus_change(bus, 7, true);
    bus_settle(bus);
    c = node_configuration(node_of(bus, 2));
    assert_int_equal(c->seqno, 101);
    assert_int_equal(c->members[0].state, GCS_NODE_JOINED);
    assert_int_equal(c->members[1].state, GCS_NODE_JOINED);
    assert_int_equal(c->members[2].state, GCS_NODE_PRIM);
    assert_same_counters(bus);
    bus_free(bus);
}

static void test_saved_position_rule(void **state) {
    struct node *node = node_new(0, "n0");
    struct gcs_down down = {0};
    struct gcs_up up = {0};
    node->config.seqno = 5;
    assert_null(gcs_new(&node->config, &down, &up, &node->random, NULL));
    node->config.seqno = -1;
    node->config.group_uuid.bytes[3] = 1;
    assert_null(gcs_new(&node->config, &down, &up, &node->random, NULL));
    node->config.seqno = 0;
    struct gcs *gcs = gcs_new(&node->config, &down, &up, &node->random, NULL);
    assert_non_null(gcs);
    gcs_free(gcs);
    char name[PC_PAYLOAD_MAX];
    memset(name, 'x', sizeof(name));
    name[sizeof(name) - 1] = '\0';
    node->config.name = name;
    assert_null(gcs_new(&node->config, &down, &up, &node->random, NULL));
    free(node);
}

/* Causal reads */

static void test_causal_reads(void **state) {
    struct bus *bus = make_group(2);
    struct node *node = node_of(bus, 0);
    struct item *item = item_submit(node_of(bus, 1), GCS_WRITESET, "x", 1);
    bus_order(bus, &bus->peers[1]); /* ordered, not delivered here yet */
    int tokens[3];
    gcs_causal(node->gcs, &tokens[0], node->now_ns);
    gcs_causal(node->gcs, &tokens[1], node->now_ns);
    size_t before = node->record_count;
    node_tick(node);
    bus_settle(bus);
    assert_int_equal(node->record_count, before + 3);
    for (size_t i = 0; i < 2; i++) {
        const struct record *r = &node->records[before + 1 + i];
        assert_int_equal(r->kind, RECORD_CAUSAL);
        assert_ptr_equal(r->what, &tokens[i]);
        assert_int_equal(r->result, 0);
        assert_int_equal(r->action.seqno, item->seqno);
    }
    /* Through a view change: asked again. */
    node->refusal = -EAGAIN;
    gcs_causal(node->gcs, &tokens[2], node->now_ns);
    assert_int_equal(node_tick(node), node->now_ns + GCS_RETRY_NS);
    bus_change(bus, 3, false);
    node->refusal = 0;
    bus_settle(bus);
    assert_ptr_equal(node->records[node->record_count - 1].what, &tokens[2]);
    assert_int_equal(node->records[node->record_count - 1].result, 0);
    gcs_causal(node->gcs, &tokens[0], node->now_ns);
    gcs_close(node->gcs, node->now_ns);
    assert_int_equal(node->records[node->record_count - 1].result, -ECONNABORTED);
    gcs_causal(node->gcs, &tokens[0], node->now_ns);
    assert_int_equal(node->records[node->record_count - 1].result, -ECONNABORTED);
    item_free(item);
    bus_free(bus);
}

/* The end */

static void test_close_and_self_leave(void **state) {
    struct bus *bus = make_group(2);
    struct node *node = node_of(bus, 0);
    struct item *sent = item_submit(node, GCS_WRITESET, "s", 1);
    node->refusal = -EAGAIN;
    struct item *waiting = item_submit(node, GCS_WRITESET, "w", 1);
    gcs_close(node->gcs, node->now_ns);
    assert_int_equal(waiting->result, -ECONNABORTED);
    assert_false(sent->is_done); /* may still be ordered, as here */
    bus_order(bus, &bus->peers[0]);
    bus_deliver(bus, &bus->peers[1]);
    bus_leave(bus, &bus->peers[0]);
    assert_int_equal(sent->result, 0);
    const struct record *last = &node->records[node->record_count - 1];
    assert_int_equal(last->action.type, GCS_CCHANGE);
    assert_int_equal(last->action.seqno, -1);
    assert_int_equal(last->change.member_count, 0);
    assert_int_equal(last->change.conf_id, -1);
    struct item *late = item_submit(node, GCS_WRITESET, "l", 1);
    assert_int_equal(late->result, -ECONNABORTED);
    size_t count = node->record_count;
    gcs_error(node->gcs, -EIO, node->now_ns); /* nothing follows */
    node_leave(node);
    assert_int_equal(node->record_count, count);
    assert_int_equal(node_tick(node), XB_NEVER);
    item_free(sent);
    item_free(waiting);
    item_free(late);
    bus_settle(bus);
    assert_int_equal(node_configuration(node_of(bus, 1))->member_count, 1);
    bus_free(bus);
}

static void test_error_ends_everything(void **state) {
    struct bus *bus = make_group(2);
    struct node *node = node_of(bus, 0);
    struct item *sent = item_submit(node, GCS_WRITESET, "s", 1);
    gcs_error(node->gcs, -EIO, node->now_ns);
    assert_int_equal(sent->result, -ECONNABORTED);
    assert_int_equal(node_last_action(node, GCS_ERROR)->action.code, -EIO);
    item_free(sent);
    bus_free(bus);
}

/* gcs_free answers everything that is still open. */
static void test_free_answers(void **state) {
    struct bus *bus = make_group(2);
    struct node *node = node_of(bus, 0);
    struct item *sent = item_submit(node, GCS_WRITESET, "s", 1);
    gcs_free(node->gcs);
    node->gcs = NULL;
    assert_int_equal(sent->result, -ECONNABORTED);
    item_free(sent);
    bus_free(bus);
}

/* Exchanges come to an end even if PC refuses much. */
static void test_refused_sends(void **state) {
    struct bus *bus = make_group(3);
    bus->refuse_percent = 80;
    for (int k = 0; k < 20; k++) {
        struct item *item = submit_big(node_of(bus, k % 2), BIG, k);
        if (k % 3 == 0) bus_change(bus, 7, false);
        bus_settle(bus);
        assert_int_equal(item->result, 0);
        item_free(item);
    }
    assert_same_counters(bus);
    bus_free(bus);
}

static void test_exchange_is_watched(void **state) {
    struct bus *bus = make_group(2);
    struct node *node = node_of(bus, 0);
    bus_change(bus, 3, false);
    bus_deliver(bus, &bus->peers[0]);
    int64_t next_ns = node_tick(node);
    assert_int_equal(next_ns, node->now_ns + GCS_EXCHANGE_WATCH_NS);
    node->now_ns = next_ns;
    assert_int_equal(node_tick(node), next_ns + GCS_EXCHANGE_WATCH_NS);
    bus_settle(bus);
    bus_free(bus);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_new_group),
        cmocka_unit_test(test_second_member),
        cmocka_unit_test(test_fragments_interleave),
        cmocka_unit_test(test_packet_size),
        cmocka_unit_test(test_quick_path),
        cmocka_unit_test(test_cancel_and_refusing_prepare),
        cmocka_unit_test(test_waiting_limit),
        cmocka_unit_test(test_cut_action_is_sent_again),
        cmocka_unit_test(test_overtaken_action_is_sent_again),
        cmocka_unit_test(test_lost_quorum),
        cmocka_unit_test(test_remerge),
        cmocka_unit_test(test_bootstrap_of_saved_positions),
        cmocka_unit_test(test_saved_position_rule),
        cmocka_unit_test(test_causal_reads),
        cmocka_unit_test(test_close_and_self_leave),
        cmocka_unit_test(test_error_ends_everything),
        cmocka_unit_test(test_free_answers),
        cmocka_unit_test(test_refused_sends),
        cmocka_unit_test(test_exchange_is_watched),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
