/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A primary component comes back after crashes, from saved views and from those that live (spec 04 sections 14, 17,
 * 19). */
#include "scenario.h"

static void test_crash_of_all(void **state) {
    (void)state;
    struct bus *bus = cluster(3);
    for (uint32_t i = 0; i < 5; i++) assert_int_equal(bus_send(bus, 0, i), 0);
    bus_run(bus);
    CHANGE(bus, C, C, C, X, X, X, X, X);
    for (int i = 0; i < 3; i++) bus_restart(bus, i);
    assert_true(bus->nodes[0].has_saved); /* rewritten at once with the new UUID and the old view */
    assert_int_equal(xb_uuid_incarnation(&bus->nodes[0].saved.my_uuid), 0x8001);
    assert_int_equal(xb_uuid_incarnation(&bus->nodes[0].saved.members[0].uuid), 0x8000);
    CHANGE(bus, 0, 0, 1, X, X, X, X, X);
    bus_run(bus);
    assert_non_primary(bus, 7);
    CHANGE(bus, 0, 0, 0, X, X, X, X, X);
    bus_run(bus);
    assert_primary(bus, 7, 3);
    for (int i = 0; i < 3; i++) assert_true(bus->nodes[i].shown.is_bootstrap);
    assert_int_equal(bus_send(bus, 2, 1), 0);
    bus_run(bus);
    assert_int_equal(bus->nodes[1].delivered[0].to_seq, 0); /* counted anew from -1 */
    bus_free(bus);
}

/* One crashed earlier and has an older view: the others need not be told to wait for it, nor does it stop them. */
static void test_crash_one_older(void **state) {
    (void)state;
    for (int is_there_first = 0; is_there_first < 2; is_there_first++) {
        struct bus *bus = cluster(3);
        CHANGE(bus, 0, 0, C, X, X, X, X, X);
        bus_run(bus);
        assert_primary(bus, 3, 2);
        CHANGE(bus, C, C, X, X, X, X, X, X);
        for (int i = 0; i < 3; i++) bus_restart(bus, i);
        CHANGE(bus, 0, 1, 0, X, X, X, X, X);
        bus_run(bus);
        assert_non_primary(bus, 7);
        if (is_there_first)
            CHANGE(bus, 0, 0, 0, X, X, X, X, X);
        else
            CHANGE(bus, 0, 0, 1, X, X, X, X, X);
        bus_run(bus);
        assert_primary(bus, is_there_first ? 7 : 3, is_there_first ? 3 : 2);
        bus_free(bus);
    }
}

/* A fresh node among the restored ones does not block (section 17.6); one with a newer view does. */
static void test_promotion_with_others(void **state) {
    (void)state;
    struct bus *bus = cluster(2);
    CHANGE(bus, C, C, X, X, X, X, X, X);
    for (int i = 0; i < 2; i++) bus_restart(bus, i);
    bus_start(bus, 2, false, NULL);
    CHANGE(bus, 0, 0, 0, X, X, X, X, X);
    bus_run(bus);
    assert_primary(bus, 7, 3);
    bus_free(bus);

    bus = cluster(2); /* 4 and 5 are another group with a greater view; 5 does not come back */
    bus_start(bus, 4, true, NULL);
    bus_start(bus, 5, false, NULL);
    for (int i = 0; i < 4; i++) {
        CHANGE(bus, X, X, X, X, 1, 1, X, X);
        bus_run(bus);
    }
    assert_primary(bus, 48, 2);
    CHANGE(bus, C, C, X, X, C, C, X, X);
    bus_restart(bus, 0);
    bus_restart(bus, 1);
    bus_restart(bus, 4);
    CHANGE(bus, 0, 0, X, X, 0, X, X, X);
    bus_run(bus);
    assert_non_primary(bus, 19);
    bus_free(bus);
}

/* Those who left before an exchange that is interrupted are not missing in the next one. */
static void test_leavers_in_an_interrupted_exchange(void **state) {
    (void)state;
    struct bus *bus = cluster(6);
    CHANGE(bus, 0, L, 0, L, 0, L, X, X); /* the exchange of 0, 2 and 4 begins */
    CHANGE(bus, L, X, 0, X, 0, X, X, X);
    bus_run(bus);
    assert_primary(bus, 4 | 16, 2);
    CHANGE(bus, X, X, 0, X, 1, X, X, X); /* the leavers are forgotten with the new primary view */
    bus_run(bus);
    assert_non_primary(bus, 4 | 16);
    bus_free(bus);
}

/* The only one with the state leaves, so the joiner alone is the primary component; after a crash it must not be so
 * again by itself. */
static void test_joiner_is_not_promoted(void **state) {
    (void)state;
    for (int has_got_it = 0; has_got_it < 2; has_got_it++) {
        struct bus *bus = cluster(1);
        bus->nodes[1].is_joiner = true;
        bus_start(bus, 1, false, NULL);
        CHANGE(bus, 0, 0, X, X, X, X, X, X);
        bus_run(bus);
        assert_true(bus->nodes[1].saved.lacks_state);
        assert_false(bus->nodes[0].saved.lacks_state);
        if (has_got_it) {
            bus->nodes[1].is_joiner = false;
            bus_send(bus, 0, 1);
            bus_run(bus);
            assert_false(bus->nodes[1].saved.lacks_state);
            assert_int_equal(bus->nodes[1].saved.member_count, 2);
        }
        CHANGE(bus, L, 0, X, X, X, X, X, X);
        bus_run(bus);
        assert_primary(bus, 2, 1);
        CHANGE(bus, X, C, X, X, X, X, X, X);
        bus_restart(bus, 1);
        CHANGE(bus, X, 0, X, X, X, X, X, X);
        bus_run(bus);
        if (has_got_it)
            assert_primary(bus, 2, 1);
        else
            assert_non_primary(bus, 2);
        bus_free(bus);
    }
}

/* Part of the group crashed, the rest lives on without quorum: the survivor's last view counts, with the restarted
 * nodes as its members (section 6.5.1 B); but who of them knows most is for gcs to find out. */
static void test_survivor(void **state) {
    (void)state;
    struct bus *bus = cluster(3);
    CHANGE(bus, C, C, 0, X, X, X, X, X);
    bus_run(bus);
    assert_non_primary(bus, 4);
    bus_restart(bus, 0);
    CHANGE(bus, 0, X, 0, X, X, X, X, X);
    bus_run(bus);
    assert_non_primary(bus, 5);
    bus_restart(bus, 1);
    CHANGE(bus, 0, 0, 0, X, X, X, X, X);
    bus_run(bus);
    assert_primary(bus, 7, 3);
    for (int i = 0; i < 3; i++) assert_true(bus->nodes[i].shown.is_recollection);
    bus_free(bus);
}

/* The heavy node went on alone while the other was cut off, then crashed: its memory counts, not that of the one that
 * lives and knows an older primary component only. */
static void test_later_memory(void **state) {
    (void)state;
    for (int is_fresh_there = 0; is_fresh_there < 2; is_fresh_there++) {
        struct bus *bus = bus_new();
        bus->nodes[1].options.weight = 3;
        bus_start(bus, 0, true, NULL);
        bus_start(bus, 1, false, NULL);
        CHANGE(bus, 0, 0, X, X, X, X, X, X);
        bus_run(bus);
        CHANGE(bus, 0, 1, X, X, X, X, X, X);
        bus_run(bus);
        assert_non_primary(bus, 1);
        assert_primary(bus, 2, 1);
        CHANGE(bus, X, C, X, X, X, X, X, X);
        bus_restart(bus, 1);
        if (is_fresh_there) bus_start(bus, 2, false, NULL);
        if (is_fresh_there)
            CHANGE(bus, 0, 0, 0, X, X, X, X, X);
        else
            CHANGE(bus, 0, 0, X, X, X, X, X, X);
        bus_run(bus);
        assert_primary(bus, is_fresh_there ? 7 : 3, is_fresh_there ? 3 : 2);
        assert_true(bus->nodes[0].shown.is_recollection);
        assert_true(bus->nodes[1].shown.is_recollection);
        CHANGE(bus, 0, 0, X, X, X, X, X, X);
        bus_run(bus);
        assert_false(bus->nodes[0].shown.is_recollection);
        bus_free(bus);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crash_of_all),           cmocka_unit_test(test_crash_one_older),
        cmocka_unit_test(test_promotion_with_others),  cmocka_unit_test(test_leavers_in_an_interrupted_exchange),
        cmocka_unit_test(test_joiner_is_not_promoted), cmocka_unit_test(test_survivor),
        cmocka_unit_test(test_later_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
