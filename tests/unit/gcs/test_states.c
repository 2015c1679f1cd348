/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What each input does in each group state (spec 05 section 10), driven by hand on one node. */
#include "node.h"

#define GROUP_SEQNO 100
#define CONF_ID 8 /* of the configuration that the exchange makes */

static const struct xb_uuid group = {{0xaa}}, exchange = {{0xee}};

struct scene {
    struct node *first, *self, *third; /* in the order of their indices; only self is alive */
};

static void send_code(struct scene *s, const struct node *from, uint8_t type, int64_t seqno, int64_t code) {
    uint8_t bytes[GCS_CODE_SIZE + 1] = {0};
    struct xb_writer w = xb_writer_init(bytes, sizeof(bytes));
    gcs_code_write(&w, &(struct gcs_code){.group_uuid = group, .seqno = seqno, .code = code});
    node_message(s->self, &from->uuid, type, bytes, type == GCS_MSG_VOTE ? GCS_CODE_SIZE + 1 : GCS_CODE_SIZE);
}

static void send_fragment(struct scene *s, const struct node *from, uint8_t version, uint64_t id, uint8_t type,
                          const char *data) {
    uint8_t bytes[256];
    size_t size = strlen(data);
    struct gcs_fragment fragment = {.version = version, .id = id, .action_size = (uint32_t)size, .type = type};
    gcs_fragment_write_header(bytes, &fragment);
    memcpy(bytes + GCS_FRAGMENT_HEADER_SIZE, data, size);
    node_message(s->self, &from->uuid, GCS_MSG_ACTION, bytes, GCS_FRAGMENT_HEADER_SIZE + size);
}

static void send_state(struct scene *s, const struct node *from, const struct xb_uuid *uuid, enum gcs_node_state node) {
    struct gcs_state_message m = {.flags = node == GCS_NODE_SYNCED ? GCS_STATE_COUNTED : 0,
                                  .max = {5, 11, 4},
                                  .primary_state = node,
                                  .state = node,
                                  .state_uuid = *uuid,
                                  .group_uuid = group,
                                  .primary_uuid = {{1}},
                                  .received = GROUP_SEQNO,
                                  .primary_seqno = CONF_ID - 1,
                                  .name = from->name,
                                  .incoming = "",
                                  .cached = 1,
                                  .desync_count = node == GCS_NODE_DONOR,
                                  .last_applied = 50,
                                  .vote_seqno = -1,
                                  .primary = {5, 11, 4}};
    uint8_t bytes[512];
    struct xb_writer w = xb_writer_init(bytes, sizeof(bytes));
    gcs_state_message_write(&w, &m);
    node_message(s->self, &from->uuid, GCS_MSG_STATE, bytes, w.used);
}

static void send_own(struct scene *s, uint8_t type) { /* what self has sent comes back */
    const struct sent *sent = node_last_sent(s->self, type);
    assert_non_null(sent);
    node_deliver(s->self, &s->self->uuid, sent);
}

static void give_view(struct scene *s, bool is_primary) {
    const struct node *members[] = {s->first, s->self, s->third};
    node_view(s->self, is_primary, false, members, 3);
}

/* Brings the scene to a state. In PRIMARY: first is SYNCED, self has just become SYNCED, third is a DONOR. */
static void setup(struct scene *s, enum gcs_group_state state) {
    s->first = node_new(0, "first");
    s->self = node_new(1, "self");
    s->third = node_new(2, "third");
    s->self->config.group_uuid = group;
    s->self->config.seqno = GROUP_SEQNO;
    node_start(s->self);
    give_view(s, state != GCS_NON_PRIMARY);
    if (state == GCS_NON_PRIMARY || state == GCS_WAIT_STATE_UUID) goto out;
    node_message(s->self, &s->first->uuid, GCS_MSG_STATE_UUID, exchange.bytes, 16);
    send_state(s, s->first, &exchange, GCS_NODE_SYNCED);
    send_state(s, s->third, &exchange, GCS_NODE_DONOR);
    if (state == GCS_WAIT_STATE_MSG) goto out; /* the own message is missing */
    send_own(s, GCS_MSG_STATE);
    send_own(s, GCS_MSG_SYNC);
    assert_int_equal(gcs_own_state(s->self->gcs), GCS_NODE_SYNCED);
out:
    assert_int_equal(s->self->gcs->group_state, state);
    if (state != GCS_WAIT_STATE_MSG) node_forget(s->self); /* there the own message is still needed */
    assert_int_equal(s->self->record_count, 0);
}

static void teardown(struct scene *s) {
    node_free(s->first);
    node_free(s->self);
    node_free(s->third);
}

static void primary_view(struct scene *s) {
    give_view(s, true);
}
static void non_primary_view(struct scene *s) {
    give_view(s, false);
}
static void self_leave(struct scene *s) {
    node_leave(s->self);
}
static void uuid_from_first(struct scene *s) {
    node_message(s->self, &s->first->uuid, GCS_MSG_STATE_UUID, exchange.bytes, 16);
}
static void uuid_from_third(struct scene *s) {
    node_message(s->self, &s->third->uuid, GCS_MSG_STATE_UUID, exchange.bytes, 16);
}
static void own_state(struct scene *s) {
    if (node_last_sent(s->self, GCS_MSG_STATE))
        send_own(s, GCS_MSG_STATE);
    else
        send_state(s, s->self, &exchange, GCS_NODE_SYNCED);
}
static void other_state(struct scene *s) {
    send_state(s, s->self, &group, GCS_NODE_SYNCED);
}
static void foreign_action(struct scene *s) {
    send_fragment(s, s->first, 5, 1, GCS_WRITESET, "data");
}
static void own_action(struct scene *s) {
    send_fragment(s, s->self, 5, 1, GCS_WRITESET, "data");
}
static void donor_action(struct scene *s) {
    send_fragment(s, s->third, 5, 1, GCS_WRITESET, "data");
}
static void old_action(struct scene *s) {
    send_fragment(s, s->first, 4, 1, GCS_WRITESET, "data");
}
static void last(struct scene *s) {
    send_code(s, s->first, GCS_MSG_LAST, 90, 0);
    send_code(s, s->self, GCS_MSG_LAST, 80, 0);
    send_code(s, s->third, GCS_MSG_LAST, 70, 0);
}
static void last_with_code(struct scene *s) {
    send_code(s, s->third, GCS_MSG_LAST, 70, 1);
}
static void join(struct scene *s) {
    send_code(s, s->third, GCS_MSG_JOIN, 90, 0);
}
static void sync_of_donor(struct scene *s) {
    send_code(s, s->third, GCS_MSG_SYNC, 90, 0);
}
static void flow(struct scene *s) {
    static const uint8_t bytes[GCS_FLOW_SIZE] = {CONF_ID, 0, 0, 0, 1, 0, 0, 0};
    node_message(s->self, &s->first->uuid, GCS_MSG_FLOW, bytes, sizeof(bytes));
}
static void old_flow(struct scene *s) {
    static const uint8_t bytes[GCS_FLOW_SIZE] = {CONF_ID - 1, 0, 0, 0, 1, 0, 0, 0};
    node_message(s->self, &s->first->uuid, GCS_MSG_FLOW, bytes, sizeof(bytes));
}
static void vote(struct scene *s) {
    send_code(s, s->first, GCS_MSG_VOTE, 100, -5);
}
static void stranger(struct scene *s) {
    static const struct xb_uuid unknown = {{0x77}};
    node_message(s->self, &unknown, GCS_MSG_STATE_UUID, exchange.bytes, 16);
}

#define NO_CHANGE (-1)
#define CLOSED (-2)

/* Of each input: the state after it (or no change), and how many actions come up, for each state before it. */
struct row {
    const char *name;
    void (*input)(struct scene *s);
    int after[4], actions[4];
};

static const struct row rows[] = {
    {"primary view",
     primary_view,
     {GCS_WAIT_STATE_UUID, GCS_WAIT_STATE_UUID, GCS_WAIT_STATE_UUID, GCS_WAIT_STATE_UUID},
     {0, 0, 0, 0}},
    {"non-primary view",
     non_primary_view,
     {GCS_NON_PRIMARY, GCS_NON_PRIMARY, GCS_NON_PRIMARY, GCS_NON_PRIMARY},
     {1, 1, 1, 1}},
    {"self-leave", self_leave, {CLOSED, CLOSED, CLOSED, CLOSED}, {1, 1, 1, 1}},
    {"STATE_UUID of 0", uuid_from_first, {NO_CHANGE, GCS_WAIT_STATE_MSG, NO_CHANGE, NO_CHANGE}, {0, 0, 0, 0}},
    {"STATE_UUID of 2", uuid_from_third, {NO_CHANGE, NO_CHANGE, NO_CHANGE, NO_CHANGE}, {0, 0, 0, 0}},
    {"STATE_MSG", own_state, {NO_CHANGE, NO_CHANGE, GCS_PRIMARY, NO_CHANGE}, {0, 0, 1, 0}},
    {"other STATE_MSG", other_state, {NO_CHANGE, NO_CHANGE, NO_CHANGE, NO_CHANGE}, {0, 0, 0, 0}},
    {"foreign ACTION", foreign_action, {NO_CHANGE, NO_CHANGE, NO_CHANGE, NO_CHANGE}, {0, 0, 0, 1}},
    {"ACTION of a donor", donor_action, {NO_CHANGE, NO_CHANGE, NO_CHANGE, NO_CHANGE}, {0, 0, 0, 1}},
    {"own ACTION", own_action, {NO_CHANGE, NO_CHANGE, NO_CHANGE, NO_CHANGE}, {0, 0, 0, 1}},
    {"ACTION of another version", old_action, {NO_CHANGE, NO_CHANGE, NO_CHANGE, NO_CHANGE}, {0, 0, 0, 0}},
    {"LAST", last, {NO_CHANGE, NO_CHANGE, NO_CHANGE, NO_CHANGE}, {0, 0, 0, 1}},
    {"LAST with code", last_with_code, {NO_CHANGE, NO_CHANGE, NO_CHANGE, NO_CHANGE}, {0, 0, 0, 0}},
    {"JOIN", join, {NO_CHANGE, NO_CHANGE, NO_CHANGE, NO_CHANGE}, {0, 0, 0, 0}},
    {"SYNC of a donor", sync_of_donor, {NO_CHANGE, NO_CHANGE, NO_CHANGE, NO_CHANGE}, {0, 0, 0, 0}},
    {"FLOW", flow, {NO_CHANGE, NO_CHANGE, NO_CHANGE, NO_CHANGE}, {0, 0, 0, 0}},
    {"FLOW of another configuration", old_flow, {NO_CHANGE, NO_CHANGE, NO_CHANGE, NO_CHANGE}, {0, 0, 0, 0}},
    {"stranger", stranger, {NO_CHANGE, NO_CHANGE, NO_CHANGE, NO_CHANGE}, {0, 0, 0, 0}},
};

static void test_matrix(void **state) {
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++) {
        for (int before = GCS_NON_PRIMARY; before <= GCS_PRIMARY; before++) {
            struct scene s;
            setup(&s, (enum gcs_group_state)before);
            rows[i].input(&s);
            int after = rows[i].after[before] == NO_CHANGE ? before : rows[i].after[before];
            if (after == CLOSED)
                assert_true(s.self->gcs->is_closed);
            else if ((int)s.self->gcs->group_state != after)
                fail_msg("%s in state %d: now %d", rows[i].name, before, (int)s.self->gcs->group_state);
            if ((int)s.self->record_count != rows[i].actions[before])
                fail_msg("%s in state %d: %zu actions", rows[i].name, before, s.self->record_count);
            assert_int_equal(s.self->failure.code, 0);
            teardown(&s);
        }
    }
}

static void test_effects_in_primary(void **state) {
    struct scene s;
    setup(&s, GCS_PRIMARY);
    struct gcs *gcs = s.self->gcs;
    assert_int_equal(gcs->counter, GROUP_SEQNO + 1); /* the configuration change */
    assert_int_equal(gcs->conf_id, CONF_ID);
    foreign_action(&s);
    assert_int_equal(node_last_action(s.self, GCS_WRITESET)->action.seqno, GROUP_SEQNO + 2);
    assert_int_equal(node_last_action(s.self, GCS_WRITESET)->action.sender, 0);
    last(&s);
    assert_int_equal(node_last_action(s.self, GCS_COMMIT_CUT)->action.seqno, 70);
    flow(&s);
    assert_true(gcs_flow_is_paused(gcs));
    flow(&s);
    assert_int_equal(gcs->flow.stops_received, 1); /* a doubled one does not count twice */
    assert_int_equal(gcs->members[2].desync_count, 1);
    join(&s);
    assert_int_equal(gcs->members[2].state, GCS_NODE_JOINED);
    assert_int_equal(gcs->members[2].desync_count, 0);
    join(&s);
    sync_of_donor(&s);
    assert_int_equal(gcs->members[2].state, GCS_NODE_SYNCED);
    vote(&s);
    assert_int_equal(node_last_action(s.self, GCS_VOTE)->action.code, 1); /* request */
    assert_int_equal(node_last_action(s.self, GCS_VOTE)->action.seqno, 100);
    teardown(&s);
}

/* VOTE is honoured in every state if the history matches. */
static void test_vote_in_every_state(void **state) {
    for (int before = GCS_NON_PRIMARY; before <= GCS_PRIMARY; before++) {
        struct scene s;
        setup(&s, (enum gcs_group_state)before);
        vote(&s);
        assert_int_equal(s.self->gcs->members[0].vote_seqno, 100);
        teardown(&s);
    }
}

/* Local events, unknown types and messages without total order are dropped in every state (section 21.1). */
static void test_forged_messages(void **state) {
    static const uint8_t types[] = {0, 3, 10, 11, 12, 127, 255};
    for (int before = GCS_NON_PRIMARY; before <= GCS_PRIMARY; before++) {
        struct scene s;
        setup(&s, (enum gcs_group_state)before);
        uint8_t bytes[64] = {0};
        for (size_t i = 0; i < sizeof(types); i++)
            for (size_t size = 0; size <= sizeof(bytes); size += 8)
                node_message(s.self, &s.first->uuid, types[i], bytes, size);
        assert_int_equal(s.self->gcs->dropped, sizeof(types) * 9);
        struct pc_message causal = {.source = s.first->uuid,
                                    .user_type = GCS_MSG_CAUSAL,
                                    .order = EVS_LOCAL_CAUSAL,
                                    .payload = bytes,
                                    .size = 8};
        gcs_message(s.self->gcs, &causal, 0);
        causal.order = EVS_AGREED;
        causal.user_type = GCS_MSG_JOIN;
        gcs_message(s.self->gcs, &causal, 0);
        assert_int_equal(s.self->gcs->group_state, before);
        assert_int_equal(s.self->record_count, 0);
        teardown(&s);
    }
}

/* ACTION fragments that claim to be local events: dropped, and the next goes well. */
static void test_forged_actions(void **state) {
    for (int type = 0; type < 256; type++) {
        struct scene s;
        setup(&s, GCS_PRIMARY);
        if (type == GCS_WRITESET || type == GCS_STATE_REQ) type++;
        send_fragment(&s, s.first, 5, 1, (uint8_t)type, "data");
        assert_int_equal(s.self->record_count, 0);
        foreign_action(&s);
        assert_int_equal(s.self->record_count, 1);
        assert_int_equal(node_last_action(s.self, GCS_WRITESET)->action.seqno, GROUP_SEQNO + 2);
        teardown(&s);
    }
}

static void send_part(struct scene *s, uint64_t id, uint32_t size, uint32_t number, uint8_t type, size_t data) {
    uint8_t bytes[GCS_FRAGMENT_HEADER_SIZE + 64] = {0};
    struct gcs_fragment fragment = {.version = 5, .id = id, .action_size = size, .number = number, .type = type};
    gcs_fragment_write_header(bytes, &fragment);
    node_message(s->self, &s->first->uuid, GCS_MSG_ACTION, bytes, GCS_FRAGMENT_HEADER_SIZE + data);
}

static void test_collector_rules(void **state) {
    struct scene s;
    setup(&s, GCS_PRIMARY);
    struct gcs_collector *c = &s.self->gcs->members[0].collector;
    send_part(&s, 7, 10, 0, 0, 4);
    send_part(&s, 7, 10, 0, 0, 4); /* duplicate: ignored */
    send_part(&s, 7, 10, 1, 0, 4);
    assert_int_equal(c->received, 8);
    send_part(&s, 9, 5, 0, GCS_ACTION_SERVICE, 5); /* the reserved type has a place of its own */
    assert_true(c->is_active);
    send_part(&s, 7, 10, 2, 0, 2);
    assert_int_equal(s.self->record_count, 1);
    send_part(&s, 8, 10, 1, 0, 4); /* no start */
    assert_int_equal(s.self->gcs->dropped, 1);
    assert_true(c->is_reset);
    send_part(&s, 8, 10, 2, 0, 4); /* its tail */
    assert_int_equal(s.self->gcs->dropped, 1);
    send_part(&s, 9, 10, 0, 0, 4);
    send_part(&s, 9, 10, 1, 0, 7); /* longer than announced */
    assert_false(c->is_active);
    send_part(&s, 9, 10, 0, 0, 11);
    assert_false(c->is_active);
    send_part(&s, 10, 10, 0, 0, 4);
    send_part(&s, 10, 10, 2, 0, 4); /* hole */
    assert_false(c->is_active);
    send_part(&s, 10, 10, 0, 0, 4);
    send_part(&s, 10, 10, 1, GCS_STATE_REQ, 4); /* another type */
    assert_false(c->is_active);
    send_part(&s, 10, 10, 0, 0, 4);
    send_part(&s, 11, 10, 1, 0, 4); /* another id */
    assert_false(c->is_active);
    assert_int_equal(s.self->record_count, 1);
    for (uint32_t i = 0; i < 10; i++) send_part(&s, 12, 10, i, 0, 1); /* any split */
    assert_int_equal(s.self->record_count, 2);
    send_part(&s, 13, 10, 0, 0, 4);
    primary_view(&s); /* nothing of a foreign action outlives a view (section 20.4) */
    assert_false(s.self->gcs->members[0].collector.is_active);
    assert_true(s.self->gcs->members[0].collector.is_reset);
    teardown(&s);
}

static void test_malformed_service_messages(void **state) {
    static const uint8_t types[] = {GCS_MSG_LAST, GCS_MSG_JOIN,       GCS_MSG_SYNC,  GCS_MSG_VOTE,
                                    GCS_MSG_FLOW, GCS_MSG_STATE_UUID, GCS_MSG_STATE, GCS_MSG_ACTION};
    for (int before = GCS_NON_PRIMARY; before <= GCS_PRIMARY; before++) {
        struct scene s;
        setup(&s, (enum gcs_group_state)before);
        uint8_t bytes[32] = {0};
        for (size_t i = 0; i < sizeof(types); i++)
            for (size_t size = 0; size < sizeof(bytes); size++)
                if (!(types[i] == GCS_MSG_STATE_UUID && size == 16) && !(types[i] == GCS_MSG_FLOW && size == 8))
                    node_message(s.self, &s.third->uuid, types[i], bytes, size);
        assert_int_equal(s.self->gcs->group_state, before);
        assert_int_equal(s.self->record_count, 0);
        teardown(&s);
    }
}

static void test_inconsistent_history(void **state) { /* section 7.4 step 5 */
    struct scene s;
    setup(&s, GCS_WAIT_STATE_UUID);
    s.self->gcs->counter = GROUP_SEQNO + 1;
    uuid_from_first(&s);
    send_state(&s, s.first, &exchange, GCS_NODE_SYNCED);
    send_state(&s, s.third, &exchange, GCS_NODE_SYNCED);
    own_state(&s);
    assert_int_equal(s.self->gcs->group_state, GCS_INCONSISTENT);
    assert_int_equal(node_count_actions(s.self, GCS_INCONSISTENCY), 1);
    assert_int_equal(s.self->failure.code, -ENOTRECOVERABLE);
    foreign_action(&s);
    assert_int_equal(s.self->record_count, 1);
    gcs_error(s.self->gcs, -ECONNABORTED, s.self->now_ns);
    assert_int_equal(node_last_action(s.self, GCS_ERROR)->action.code, -ECONNABORTED);
    teardown(&s);
}

static void test_version_above_ours(void **state) { /* section 7.3 */
    struct scene s;
    setup(&s, GCS_WAIT_STATE_UUID);
    s.self->gcs->max.repl = 10;
    uuid_from_first(&s);
    send_state(&s, s.first, &exchange, GCS_NODE_SYNCED);
    send_state(&s, s.third, &exchange, GCS_NODE_SYNCED);
    own_state(&s);
    assert_int_equal(s.self->failure.code, -EPROTO);
    assert_int_equal(s.self->record_count, 0);
    teardown(&s);
}

static void test_no_memory(void **state) {
    struct scene s;
    setup(&s, GCS_PRIMARY);
    s.self->is_without_memory = true;
    foreign_action(&s);
    assert_int_equal(s.self->failure.code, -ENOMEM);
    assert_int_equal(s.self->record_count, 0);
    teardown(&s);
    setup(&s, GCS_PRIMARY);
    s.self->is_without_memory = true;
    struct item *item = item_submit(s.self, GCS_WRITESET, "abc", 3);
    send_own(&s, GCS_MSG_ACTION);
    assert_int_equal(item->result, -ENOMEM);
    assert_int_equal(s.self->failure.code, -ENOMEM);
    item_free(item);
    teardown(&s);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matrix),
        cmocka_unit_test(test_effects_in_primary),
        cmocka_unit_test(test_vote_in_every_state),
        cmocka_unit_test(test_forged_messages),
        cmocka_unit_test(test_forged_actions),
        cmocka_unit_test(test_collector_rules),
        cmocka_unit_test(test_malformed_service_messages),
        cmocka_unit_test(test_inconsistent_history),
        cmocka_unit_test(test_version_above_ours),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
