/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The input map against a plain model of spec 03 section 6, under random insertions, acknowledgements, deliveries. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "evs/internal.h"

#include <stdlib.h>

#define RANKS 4
#define SEQS 3000

enum held { NOTHING, PENDING, DELIVERED };

struct model {
    enum held held[RANKS][SEQS];
    uint8_t order[RANKS][SEQS];
    int64_t lu[RANKS], hs[RANKS], node_safe[RANKS], aru, safe;
};

static void model_insert(struct model *m, size_t r, int64_t seq, uint8_t range, uint8_t order) {
    for (int64_t s = seq; s <= seq + range; s++) {
        if (m->held[r][s] != NOTHING) continue;
        m->held[r][s] = PENDING;
        m->order[r][s] = s == seq ? order : EVS_DROP;
        if (s > m->hs[r]) m->hs[r] = s;
    }
    while (m->held[r][m->lu[r]] != NOTHING) m->lu[r]++;
    int64_t lu = m->lu[0];
    for (size_t i = 1; i < RANKS; i++)
        if (m->lu[i] < lu) lu = m->lu[i];
    m->aru = lu - 1;
}

static void model_raise(struct model *m, size_t r, int64_t v) {
    if (v <= m->node_safe[r]) return;
    m->node_safe[r] = v;
    m->safe = m->node_safe[0];
    for (size_t i = 1; i < RANKS; i++)
        if (m->node_safe[i] < m->safe) m->safe = m->node_safe[i];
}

static bool model_next(const struct model *m, int64_t *seq, size_t *rank) {
    for (int64_t s = 0; s < SEQS; s++) {
        for (size_t r = 0; r < RANKS; r++) {
            if (m->held[r][s] != PENDING) continue;
            *seq = s;
            *rank = r;
            uint8_t order = m->order[r][s];
            return m->safe >= s || (order <= EVS_AGREED && m->aru >= s) || (order <= EVS_FIFO && m->lu[r] > s);
        }
    }
    return false;
}

static void compare(const struct model *m, const struct evs_map *map) {
    assert_int_equal(m->aru, map->aru);
    assert_int_equal(m->safe, map->safe);
    for (size_t r = 0; r < RANKS; r++) {
        assert_int_equal(m->lu[r], map->ranks[r].lu);
        assert_int_equal(m->hs[r], map->ranks[r].hs);
        assert_int_equal(m->node_safe[r], map->ranks[r].safe);
    }
}

static void compare_slots(const struct model *m, const struct evs_map *map) {
    for (size_t r = 0; r < RANKS; r++) {
        for (int64_t s = 0; s < SEQS; s++) {
            enum held held = m->held[r][s];
            if (held == DELIVERED && s <= m->safe) held = NOTHING; /* has left the map */
            const struct evs_slot *slot = evs_map_find(map, r, s);
            assert_int_equal(held, slot ? slot->state : EVS_SLOT_EMPTY);
            if (slot) assert_int_equal(slot->order, m->order[r][s]);
        }
        int64_t x, y, from = m->safe + 1, seen = from;
        while (evs_map_gap(map, r, from, m->hs[r] + 5, &x, &y)) {
            for (; seen < x; seen++) assert_true(m->held[r][seen] != NOTHING);
            for (; seen <= y; seen++) assert_true(m->held[r][seen] == NOTHING);
            from = y + 1;
        }
        assert_int_equal(seen, m->hs[r] + 6);
    }
}

static void deliver(struct model *m, struct evs_map *map, int64_t limit) {
    int64_t seq, expected_seq;
    size_t rank, expected_rank;
    while (limit-- > 0) {
        bool is_there = model_next(m, &expected_seq, &expected_rank);
        assert_int_equal(is_there, evs_map_deliverable(map, &seq, &rank));
        if (!is_there) return;
        assert_int_equal(seq, expected_seq);
        assert_int_equal(rank, expected_rank);
        m->held[rank][seq] = DELIVERED;
        evs_map_delivered(map, rank, seq);
    }
}

static void one_run(uint64_t seed) {
    struct model *m = calloc(1, sizeof(*m));
    struct evs_map map = {0};
    struct xb_random random;
    xb_random_seed(&random, seed);
    assert_non_null(m);
    assert_int_equal(evs_map_reset(&map, RANKS), 0);
    m->aru = m->safe = -1;
    for (size_t r = 0; r < RANKS; r++) m->hs[r] = m->node_safe[r] = -1;
    static const uint8_t orders[] = {EVS_SAFE, EVS_SAFE, EVS_SAFE, EVS_DROP, EVS_AGREED, EVS_FIFO};
    for (int step = 0; step < 1500; step++) {
        size_t r = xb_random_below(&random, RANKS);
        int64_t seq = m->lu[r] + (int64_t)(xb_random_below(&random, 3) ? 0 : xb_random_below(&random, 100));
        uint8_t range = xb_random_below(&random, 4) ? 0 : (uint8_t)xb_random_below(&random, 9);
        if (seq + range + 10 < SEQS && seq < m->safe + 2000 && m->held[r][seq] == NOTHING) {
            struct evs_slot slot = {
                .buf = xb_buf_new(0, 10), .size = 10, .order = orders[xb_random_below(&random, 6)], .range = range};
            assert_int_equal(evs_map_reserve(&map, r, seq + range), 0);
            model_insert(m, r, seq, range, slot.order);
            evs_map_insert(&map, r, seq, &slot);
        }
        size_t who = xb_random_below(&random, RANKS);
        /* Nobody can have acknowledged more than the least of what is held. */
        int64_t aru = m->aru - (int64_t)xb_random_below(&random, 5);
        model_raise(m, who, aru);
        evs_map_raise_safe(&map, who, aru);
        if (xb_random_below(&random, 2)) deliver(m, &map, (int64_t)xb_random_below(&random, 10));
        compare(m, &map);
        if (step % 100 == 0) compare_slots(m, &map);
    }
    deliver(m, &map, INT64_MAX);
    compare_slots(m, &map);
    /* What is left is found in order, whether it may be delivered or not. */
    int64_t seq, last = -1;
    size_t rank;
    while (evs_map_pending(&map, &seq, &rank)) {
        assert_true(seq * RANKS + (int64_t)rank > last);
        last = seq * RANKS + (int64_t)rank;
        assert_int_equal(m->held[rank][seq], PENDING);
        m->held[rank][seq] = DELIVERED;
        evs_map_delivered(&map, rank, seq);
    }
    for (size_t r = 0; r < RANKS; r++)
        for (int64_t s = 0; s < SEQS; s++) assert_true(m->held[r][s] != PENDING);
    assert_int_equal(evs_map_reset(&map, 2), 0);
    assert_int_equal(evs_map_reset(&map, RANKS), 0);
    evs_map_free(&map);
    free(m);
}

static void test_random(void **state) {
    (void)state;
    for (uint64_t seed = 1; seed <= 30; seed++) one_run(seed);
}

/* A gap that ends far away is one interval, not a walk over its numbers. */
static void test_huge_gap(void **state) {
    (void)state;
    struct evs_map map = {0};
    int64_t x, y;
    assert_int_equal(evs_map_reset(&map, 2), 0);
    assert_true(evs_map_gap(&map, 0, 0, INT64_MAX - 1, &x, &y));
    assert_int_equal(x, 0);
    assert_int_equal(y, INT64_MAX - 1);
    assert_false(evs_map_gap(&map, 0, 5, 4, &x, &y));
    evs_map_free(&map);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random), cmocka_unit_test(test_huge_gap)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
