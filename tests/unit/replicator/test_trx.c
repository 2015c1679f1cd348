/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The transaction object: exactly the transitions of spec 07 section 6.2, and the table that finds it. */
#include "replicator/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

static void test_only_the_listed_transitions_are_allowed(void **state) {
    static const enum trx_state pairs[][2] = {
        {TRX_EXECUTING, TRX_REPLICATING},    {TRX_EXECUTING, TRX_MUST_ABORT},   {TRX_EXECUTING, TRX_ROLLED_BACK},
        {TRX_REPLICATING, TRX_CERTIFYING},   {TRX_REPLICATING, TRX_MUST_ABORT}, {TRX_CERTIFYING, TRX_APPLYING},
        {TRX_CERTIFYING, TRX_ABORTING},      {TRX_CERTIFYING, TRX_MUST_ABORT},  {TRX_APPLYING, TRX_COMMITTING},
        {TRX_APPLYING, TRX_MUST_ABORT},      {TRX_COMMITTING, TRX_COMMITTED},   {TRX_COMMITTING, TRX_MUST_ABORT},
        {TRX_COMMITTED, TRX_EXECUTING},      {TRX_MUST_ABORT, TRX_MUST_REPLAY}, {TRX_MUST_ABORT, TRX_ABORTING},
        {TRX_MUST_REPLAY, TRX_REPLAYING},    {TRX_MUST_REPLAY, TRX_ABORTING},   {TRX_REPLAYING, TRX_COMMITTING},
        {TRX_ABORTING, TRX_ROLLING_BACK},    {TRX_ABORTING, TRX_ROLLED_BACK},   {TRX_ABORTING, TRX_EXECUTING},
        {TRX_ROLLING_BACK, TRX_ROLLED_BACK},
    };
    int count = 0;
    for (int from = 0; from < TRX_STATES; from++)
        for (int to = 0; to < TRX_STATES; to++) {
            bool is_listed = false;
            for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++)
                if ((int)pairs[i][0] == from && (int)pairs[i][1] == to) is_listed = true;
            assert_int_equal(trx_is_transition_allowed((enum trx_state)from, (enum trx_state)to), is_listed);
            if (is_listed) count++;
        }
    assert_int_equal(count, 22);
}

static void test_a_forbidden_transition_is_not_made(void **state) {
    struct replicator *rep = calloc(1, sizeof(*rep));
    struct trx *trx = trx_new(rep, 5);
    assert_false(trx_set_state(trx, TRX_COMMITTED));
    assert_int_equal(trx_get_state(trx), TRX_EXECUTING);
    assert_true(trx_set_state(trx, TRX_MUST_ABORT));
    assert_string_equal(trx_state_name(trx_get_state(trx)), "MUST_ABORT");
    trx_unref(trx);
    free(rep);
}

static void test_the_table_finds_and_keeps(void **state) {
    struct replicator *rep = calloc(1, sizeof(*rep));
    struct trx_map *map = malloc(sizeof(*map));
    struct trx *trxs[100];
    trx_map_init(map);
    for (uint64_t i = 0; i < 100; i++) {
        trxs[i] = trx_new(rep, i * TRX_MAP_BUCKETS + 3); /* all in one bucket */
        trx_map_put(map, trxs[i]->id, trxs[i]);
    }
    assert_int_equal(map->count, 100);
    assert_null(trx_map_get(map, 4));
    for (uint64_t i = 0; i < 100; i++) {
        struct trx *found = trx_map_get(map, i * TRX_MAP_BUCKETS + 3);
        assert_ptr_equal(found, trxs[i]);
        trx_map_remove(map, found->id, found);
        trx_map_remove(map, found->id, found); /* not there any more: nothing */
        trx_unref(found);                      /* it outlives its removal as long as it is held */
        assert_int_equal(trxs[i]->id, i * TRX_MAP_BUCKETS + 3);
        trx_unref(trxs[i]);
    }
    assert_int_equal(map->count, 0);
    struct trx *first = trx_new(rep, 9), *second = trx_new(rep, 9);
    trx_map_put(map, 9, first);
    trx_map_put(map, 9, second); /* replaces */
    trx_map_remove(map, 9, first);
    struct trx *found = trx_map_get(map, 9);
    assert_ptr_equal(found, second);
    trx_unref(found);
    trx_unref(first);
    trx_unref(second);
    trx_map_destroy(map); /* drops what is left */
    free(map);
    free(rep);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_the_listed_transitions_are_allowed),
        cmocka_unit_test(test_a_forbidden_transition_is_not_made),
        cmocka_unit_test(test_the_table_finds_and_keeps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
