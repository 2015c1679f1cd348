/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What every member computes alike: donor, quorum, commit cut, vote. Vectors of spec 05 sections 11.3, 7, 12, 15. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "gcs/member.h"
#include "gcs/quorum.h"

#include <errno.h>
#include <stdio.h>

static const struct xb_uuid group = {{1}}, other_group = {{2}};

/* Donor selection */

struct party {
    struct gcs_member members[7];
    struct gcs_state_message messages[7];
    char names[7][16];
};

static void make_party(struct party *p) {
    static const int64_t cached[] = {1090, 1095, 1105, 1100, 1090, 1095, 1105};
    *p = (struct party){0};
    for (int i = 0; i < 7; i++) {
        snprintf(p->names[i], sizeof(p->names[i]), "m%d", i);
        p->messages[i] = (struct gcs_state_message){.name = p->names[i], .incoming = "", .cached = cached[i]};
        p->members[i] = (struct gcs_member){.message = &p->messages[i], .state = GCS_NODE_SYNCED, .segment = i > 3};
    }
}

static int choose(const struct party *p, const char *donors, int version, int64_t ist_seqno, int64_t counter) {
    struct gcs_request request = {.donors = donors,
                                  .version = version,
                                  .ist_seqno = ist_seqno,
                                  .ist_uuid = ist_seqno == -1 ? xb_uuid_nil : group};
    return gcs_donor_choose(p->members, 7, 3, &request, &group, counter);
}

static void test_donor_vectors(void **state) {
    struct party p;
    make_party(&p);
    assert_int_equal(choose(&p, "m3", 2, -1, 0), -EHOSTDOWN);
    assert_int_equal(choose(&p, "m1,m2", 2, -1, 0), 1);
    p.members[1].state = GCS_NODE_JOINER;
    assert_int_equal(choose(&p, "m1,m2", 2, -1, 0), 2);
    make_party(&p);
    assert_int_equal(choose(&p, "m3,", 2, -1, 0), 0);
    p.members[0].is_stateless = true;
    assert_int_equal(choose(&p, "m3,", 2, -1, 0), 1);
    make_party(&p);
    assert_int_equal(choose(&p, "m0,m1,m2", 2, 1100, 1000), 1);
    assert_int_equal(choose(&p, "m2", 2, 1100, 2498), 2);
    assert_int_equal(choose(&p, "m2", 2, 1100, 2497), 1);
    for (int i = 0; i < 3; i++) p.members[i].state = GCS_NODE_JOINER;
    assert_int_equal(choose(&p, "m2", 2, 1100, 2497), 5);
}

static void test_donor_by_state(void **state) {
    struct party p;
    make_party(&p);
    assert_int_equal(choose(&p, "", 2, -1, 0), 0);
    for (int i = 0; i < 3; i++) p.members[i].state = GCS_NODE_PRIM; /* no donors here, now or later */
    assert_int_equal(choose(&p, "", 2, -1, 0), 6);
    p.members[1].state = GCS_NODE_JOINED; /* one to come */
    assert_int_equal(choose(&p, "", 2, -1, 0), -EAGAIN);
    for (int i = 0; i < 7; i++) p.members[i].state = GCS_NODE_PRIM;
    assert_int_equal(choose(&p, "", 2, -1, 0), -EAGAIN);
    assert_int_equal(choose(&p, "m1", 2, -1, 0), -EHOSTUNREACH);
    assert_int_equal(choose(&p, "nobody", 2, -1, 0), -EHOSTUNREACH);
}

static void test_donor_list_with_fall_back(void **state) {
    struct party p;
    make_party(&p);
    p.members[1].state = GCS_NODE_DONOR;
    assert_int_equal(choose(&p, "m1", 2, -1, 0), -EAGAIN);
    assert_int_equal(choose(&p, "m1,", 2, -1, 0), 0);
    assert_int_equal(choose(&p, "m1,", 0, -1, 0), -EAGAIN); /* too old a request */
    assert_int_equal(choose(&p, "m1,,m2", 2, -1, 0), -EAGAIN);
    assert_int_equal(choose(&p, "nobody,m2", 2, -1, 0), 2);
    assert_int_equal(choose(&p, "m", 2, -1, 0), 0); /* prefix: the lowest index */
    p.members[0].state = GCS_NODE_JOINER;
    assert_int_equal(choose(&p, "m,nobody", 2, -1, 0), -EAGAIN); /* the first waitable error stays */
}

static void test_ist_donor_needs_history(void **state) {
    struct party p;
    make_party(&p);
    assert_int_equal(choose(&p, "", 2, 1100, 1100), 1); /* highest cached not above 1101 in the own segment */
    assert_int_equal(choose(&p, "", 0, 1100, 1100), 0); /* version 0 has no position */
    assert_int_equal(choose(&p, "", 2, 1089, 1100), 0); /* below the lowest cached seqno: full transfer */
    p.members[1].is_stateless = true;
    assert_int_equal(choose(&p, "", 2, 1100, 1100), 0);
    assert_int_equal(choose(&p, "m1", 2, 1100, 1100), 1); /* unless named */
    for (int i = 0; i < 7; i++) p.messages[i].cached = -1;
    assert_int_equal(choose(&p, "m6", 2, 1100, 1100), 6);
    make_party(&p);
    for (int i = 0; i < 7; i++) p.messages[i].cached = i % 2 ? INT64_MIN : INT64_MAX; /* nonsense does no harm */
    choose(&p, "m6", 2, INT64_MAX, INT64_MIN);
    choose(&p, "", 2, INT64_MIN, INT64_MAX);
}

static void test_ambiguous_names(void **state) {
    struct party p;
    make_party(&p);
    assert_int_equal(gcs_donor_ambiguity(p.members, 7, "m1,m2"), 0);
    assert_int_equal(gcs_donor_ambiguity(p.members, 7, "m1,m"), 7);
    assert_int_equal(gcs_donor_ambiguity(p.members, 7, ""), 0);
    snprintf(p.names[2], sizeof(p.names[2]), "m10");
    assert_int_equal(gcs_donor_ambiguity(p.members, 7, "m1"), 0); /* a whole name all the same */
}

/* Quorum */

static struct gcs_state_message message(enum gcs_node_state now, enum gcs_node_state before, int64_t received,
                                        int64_t primary_seqno) {
    return (struct gcs_state_message){.version = 6,
                                      .max = {5, 11, 4},
                                      .state = now,
                                      .primary_state = before,
                                      .received = received,
                                      .primary_seqno = primary_seqno,
                                      .group_uuid = group,
                                      .name = "n",
                                      .incoming = "",
                                      .primary = {5, 11, 4}};
}

static struct gcs_quorum compute(const struct gcs_state_message *a, const struct gcs_state_message *b,
                                 const struct gcs_state_message *c) {
    const struct gcs_state_message *messages[] = {a, b, c};
    struct gcs_quorum quorum;
    gcs_quorum_compute(&quorum, messages, 1 + (b != NULL) + (c != NULL), false, NULL);
    return quorum;
}

/* The only one with the state of a group of joiners has crashed and comes back. */
static void test_quorum_returned(void **state) {
    (void)state;
    struct gcs_state_message joiner = message(GCS_NODE_JOINER, GCS_NODE_JOINER, 251, 9);
    struct gcs_state_message returned = message(GCS_NODE_NON_PRIM, GCS_NODE_NON_PRIM, 251, -1);
    struct gcs_state_message older = message(GCS_NODE_NON_PRIM, GCS_NODE_NON_PRIM, 200, -1);
    const struct gcs_state_message *messages[] = {&joiner, &older, &returned};
    struct gcs_quorum q;
    gcs_quorum_compute(&q, messages, 3, false, NULL);
    assert_false(q.is_primary); /* stock nodes do not know this rule */
    gcs_quorum_compute(&q, messages, 3, true, NULL);
    assert_true(q.is_primary);
    assert_ptr_equal(q.representative, &returned);
    gcs_quorum_compute(&q, messages, 2, true, NULL);
    assert_false(q.is_primary); /* has missed what the joiner saw ordered */
    returned.group_uuid = (struct xb_uuid){{77}};
    gcs_quorum_compute(&q, messages, 3, true, NULL);
    assert_false(q.is_primary);
    returned = message(GCS_NODE_NON_PRIM, GCS_NODE_NON_PRIM, 251, -1);
    returned.flags = GCS_STATE_STATELESS;
    gcs_quorum_compute(&q, messages, 3, true, NULL);
    assert_false(q.is_primary);
}

static void test_quorum_inherits(void **state) {
    struct gcs_state_message a = message(GCS_NODE_NON_PRIM, GCS_NODE_SYNCED, 900, 9);
    struct gcs_state_message b = message(GCS_NODE_JOINED, GCS_NODE_JOINED, 100, 10);
    struct gcs_state_message c = message(GCS_NODE_SYNCED, GCS_NODE_SYNCED, 100, 10);
    struct gcs_quorum q = compute(&a, &b, &c);
    assert_true(q.is_primary);
    assert_ptr_equal(q.representative, &b); /* the joined ones count, equal ones by order */
    assert_int_equal(q.counter, 100);
    assert_int_equal(q.conf_id, 10);
    c.primary_seqno = 11;
    assert_ptr_equal(compute(&a, &b, &c).representative, &c);
    c.group_uuid = other_group; /* two histories: no group, and no further steps */
    a.flags = GCS_STATE_BOOTSTRAP;
    q = compute(&a, &b, &c);
    assert_false(q.is_primary);
    assert_int_equal(q.versions.gcs, -1);
    assert_int_equal(q.conf_id, -1);
}

static void test_quorum_remerges(void **state) {
    struct gcs_state_message a = message(GCS_NODE_NON_PRIM, GCS_NODE_SYNCED, 111, 9);
    struct gcs_state_message b = message(GCS_NODE_NON_PRIM, GCS_NODE_DONOR, 112, 9);
    struct gcs_state_message c = message(GCS_NODE_NON_PRIM, GCS_NODE_NON_PRIM, 500, 20);
    assert_ptr_equal(compute(&a, &b, &c).representative, &b);
    c.primary_state = GCS_NODE_SYNCED;
    c.state = GCS_NODE_JOINER; /* in the middle of a transfer */
    assert_ptr_equal(compute(&a, &b, &c).representative, &b);
    c.state = GCS_NODE_NON_PRIM;
    c.group_uuid = xb_uuid_nil;
    assert_ptr_equal(compute(&a, &b, &c).representative, &b);
    c.group_uuid = other_group;
    assert_false(compute(&a, &b, &c).is_primary);
    b.flags = GCS_STATE_BOOTSTRAP; /* decides when the others disagree */
    assert_ptr_equal(compute(&a, &b, &c).representative, &b);
}

/* The received of the best is not taken over with a higher primary seqno (section 7.1). */
static void test_quorum_keeps_an_oddity(void **state) {
    struct gcs_state_message a = message(GCS_NODE_NON_PRIM, GCS_NODE_SYNCED, 200, 5);
    struct gcs_state_message b = message(GCS_NODE_NON_PRIM, GCS_NODE_SYNCED, 100, 6);
    struct gcs_state_message c = message(GCS_NODE_NON_PRIM, GCS_NODE_SYNCED, 150, 6);
    assert_ptr_equal(compute(&a, &b, &c).representative, &b);
    c.received = 201;
    assert_ptr_equal(compute(&a, &b, &c).representative, &c);
}

static void test_quorum_bootstraps(void **state) {
    struct gcs_state_message a = message(GCS_NODE_NON_PRIM, GCS_NODE_NON_PRIM, 200, -1);
    struct gcs_state_message b = message(GCS_NODE_NON_PRIM, GCS_NODE_NON_PRIM, 100, -1);
    assert_false(compute(&a, &b, NULL).is_primary);
    b.flags = GCS_STATE_BOOTSTRAP;
    struct gcs_quorum q = compute(&a, &b, NULL);
    assert_ptr_equal(q.representative, &b);
    assert_int_equal(q.counter, 100);
}

static void test_versions_are_negotiated(void **state) {
    struct gcs_state_message a = message(GCS_NODE_SYNCED, GCS_NODE_SYNCED, 1, 1);
    struct gcs_state_message b = message(GCS_NODE_NON_PRIM, GCS_NODE_NON_PRIM, -1, -1);
    b.max = (struct gcs_versions){4, 10, 127};
    struct gcs_quorum q = compute(&a, &b, NULL);
    assert_int_equal(q.versions.gcs, 5); /* a living group does not go back */
    assert_int_equal(q.versions.repl, 11);
    assert_int_equal(q.versions.appl, 4);
    b.version = 5;
    q = compute(&a, &b, NULL);
    assert_int_equal(q.exchange_version, 5);
    assert_int_equal(q.versions.gcs, 4);
    assert_int_equal(q.versions.repl, 10);
    a.vote_policy = 3;
    assert_int_equal(compute(&a, &b, NULL).vote_policy, 3);
}

static void test_arbitrators_keep_versions(void **state) {
    (void)state;
    struct gcs_state_message a = message(GCS_NODE_SYNCED, GCS_NODE_SYNCED, 1, 1), b = a;
    a.max = b.max = (struct gcs_versions){5, GCS_VERSION_ANY, GCS_VERSION_ANY};
    a.flags = b.flags = GCS_STATE_STATELESS;
    a.primary = (struct gcs_versions){0}; /* is new */
    b.primary = (struct gcs_versions){4, 10, 3};
    const struct gcs_state_message *messages[] = {&a, &b};
    struct gcs_quorum q;
    gcs_quorum_compute(&q, messages, 2, true, NULL);
    assert_true(q.is_of_arbitrators);
    assert_int_equal(q.versions.gcs, 4);
    assert_int_equal(q.versions.repl, 10);
    assert_int_equal(q.versions.appl, 3);
    gcs_quorum_compute(&q, messages, 2, false, NULL); /* a stock arbitrator goes by the specification */
    assert_false(q.is_of_arbitrators);
    assert_int_equal(q.versions.repl, GCS_VERSION_ANY);
    gcs_quorum_compute(&q, messages, 1, true, NULL); /* nothing to keep */
    assert_int_equal(q.versions.repl, GCS_VERSION_ANY);
    a.max.repl = 11; /* a server without state writes all the same */
    gcs_quorum_compute(&q, messages, 2, true, NULL);
    assert_false(q.is_of_arbitrators);
    assert_int_equal(q.versions.repl, 11);
}

/* Commit cut */

static struct gcs_member counted(int64_t last_applied) {
    return (struct gcs_member){.is_counted = true, .last_applied = last_applied, .vote_seqno = -1};
}

static void test_commit_cut(void **state) {
    struct gcs_member m[] = {counted(10), counted(7), counted(7), counted(3)};
    struct gcs_cut cut = {5, -1};
    m[3].is_counted = false;
    gcs_cut_recompute(&cut, m, 4, 5);
    assert_int_equal(cut.last_applied, 7);
    assert_int_equal(cut.reporter, 2); /* of equals the last */
    m[3].is_counted = true;
    gcs_cut_recompute(&cut, m, 4, 5);
    assert_int_equal(cut.last_applied, 7); /* never back */
    assert_int_equal(cut.reporter, 3);
    m[3].is_stateless = true;
    gcs_cut_recompute(&cut, m, 4, 5);
    assert_int_equal(cut.reporter, 2);
    m[3].is_stateless = false;
    cut.last_applied = 7;
    gcs_cut_recompute(&cut, m, 4, 4); /* old protocol: laggards are left out */
    assert_int_equal(cut.reporter, 2);
    gcs_cut_recompute(&cut, m, 4, 1);
    assert_int_equal(cut.last_applied, 3);
    for (int i = 0; i < 4; i++) m[i].is_counted = false;
    gcs_cut_recompute(&cut, m, 4, 5);
    assert_int_equal(cut.last_applied, 3);
}

/* Vote */

static struct gcs_member voter(int64_t seqno, int64_t value) {
    return (struct gcs_member){.is_counted = true, .vote_seqno = seqno, .vote_value = value};
}

#define FAIL_A INT64_C(-100)
#define FAIL_B INT64_C(-50)
#define OPEN INT64_MIN /* no answer */

/* Votes on seqno 10 of up to five members; -> result or OPEN */
static int64_t vote_of(int policy, int count, ...) {
    struct gcs_member members[5];
    va_list args;
    va_start(args, count);
    for (int i = 0; i < count; i++) {
        int64_t value = va_arg(args, int64_t);
        members[i] = value == OPEN ? voter(-1, 0) : voter(10, value);
    }
    va_end(args);
    struct gcs_vote_result result;
    if (!gcs_vote_recount(members, (size_t)count, 20, -1, policy, &result)) return OPEN;
    assert_int_equal(result.seqno, 10);
    return result.value;
}

#define N(x) ((int64_t)(x))

static void test_votes_of_a_simple_majority(void **state) {
    assert_int_equal(vote_of(0, 3, OPEN, OPEN, OPEN), OPEN);
    assert_int_equal(vote_of(0, 3, FAIL_A, OPEN, OPEN), OPEN);
    assert_int_equal(vote_of(0, 3, FAIL_A, N(0), OPEN), OPEN);
    assert_int_equal(vote_of(0, 3, FAIL_A, N(0), N(0)), 0);
    assert_int_equal(vote_of(0, 3, FAIL_A, FAIL_A, N(0)), FAIL_A);
    assert_int_equal(vote_of(0, 3, FAIL_A, FAIL_A, OPEN), FAIL_A); /* the third cannot change it */
    assert_int_equal(vote_of(0, 2, FAIL_A, N(0)), 0);              /* a tie goes to success */
    assert_int_equal(vote_of(0, 2, FAIL_A, FAIL_B), FAIL_B);       /* unsigned order, the later one */
    assert_int_equal(vote_of(0, 1, FAIL_A), FAIL_A);
    assert_int_equal(vote_of(0, 5, FAIL_A, FAIL_A, FAIL_B, FAIL_B, N(0)), FAIL_B);
    assert_int_equal(vote_of(0, 5, FAIL_A, FAIL_A, N(0), N(0), FAIL_B), 0);
    assert_int_equal(vote_of(0, 5, FAIL_A, FAIL_A, N(0), OPEN, FAIL_B), OPEN);
}

static void test_votes_of_a_policy(void **state) {
    assert_int_equal(vote_of(1, 3, FAIL_A, FAIL_A, N(0)), 0); /* one success is enough */
    assert_int_equal(vote_of(1, 3, FAIL_A, FAIL_A, OPEN), OPEN);
    assert_int_equal(vote_of(1, 3, FAIL_A, FAIL_A, FAIL_A), FAIL_A);
    assert_int_equal(vote_of(2, 3, FAIL_A, FAIL_A, N(0)), FAIL_A);
}

static void test_who_votes(void **state) {
    struct gcs_member m[4] = {voter(10, FAIL_A), voter(10, FAIL_A), voter(-1, 0), voter(-1, 0)};
    struct gcs_vote_result result;
    m[2].is_counted = m[3].is_counted = false; /* not synced: not asked */
    assert_true(gcs_vote_recount(m, 4, 20, -1, 0, &result));
    assert_int_equal(result.value, FAIL_A);
    m[2].last_applied = m[3].last_applied = 10; /* but what they have applied is a success */
    assert_true(gcs_vote_recount(m, 4, 20, -1, 0, &result));
    assert_int_equal(result.value, 0);
    assert_false(gcs_vote_recount(m, 4, 20, 10, 0, &result)); /* decided before */
    m[1].vote_seqno = 12; /* the lowest open seqno first; a later vote is a success for it */
    m[2].last_applied = m[3].last_applied = 0;
    assert_true(gcs_vote_recount(m, 2, 20, -1, 0, &result));
    assert_int_equal(result.seqno, 10);
    assert_int_equal(result.value, 0);
    assert_true(gcs_vote_recount(m, 2, 9, -1, 0, &result)); /* not beyond what was counted */
    assert_int_equal(result.seqno, 9);
    m[0].is_stateless = m[1].is_stateless = true;
    assert_false(gcs_vote_recount(m, 2, 20, -1, 0, &result));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_donor_vectors),
        cmocka_unit_test(test_donor_by_state),
        cmocka_unit_test(test_donor_list_with_fall_back),
        cmocka_unit_test(test_ist_donor_needs_history),
        cmocka_unit_test(test_ambiguous_names),
        cmocka_unit_test(test_quorum_inherits),
        cmocka_unit_test(test_quorum_returned),
        cmocka_unit_test(test_quorum_remerges),
        cmocka_unit_test(test_quorum_keeps_an_oddity),
        cmocka_unit_test(test_quorum_bootstraps),
        cmocka_unit_test(test_versions_are_negotiated),
        cmocka_unit_test(test_arbitrators_keep_versions),
        cmocka_unit_test(test_commit_cut),
        cmocka_unit_test(test_votes_of_a_simple_majority),
        cmocka_unit_test(test_votes_of_a_policy),
        cmocka_unit_test(test_who_votes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
