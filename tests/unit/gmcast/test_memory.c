/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory runs out: every allocation of a scenario fails once, alone and with all that follow for a while. Nothing
 * crashes, and once there is memory again the mesh is whole.
 */
#include "virtual_net.h"

#include <limits.h>
#include <stdlib.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *old, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *old, size_t size);

static unsigned long allocations, fail_from, fail_to; /* counted from 1, fail_to excluded */

static bool must_fail(void) {
    if (vnet_is_allocating || fail_from == 0) return false;
    allocations++;
    return allocations >= fail_from && allocations < fail_to;
}

void *__wrap_malloc(size_t size) {
    return must_fail() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size) {
    return must_fail() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *old, size_t size) {
    return must_fail() ? NULL : __real_realloc(old, size);
}

/* Four nodes, two segments, two of them apart, one killed and back. -> number of allocations */
static unsigned long run_scenario(unsigned long from, unsigned long to) {
    struct vnet *net = vnet_new();
    allocations = 0;
    fail_from = from;
    fail_to = to;
    vnet_cut(net, 2, 3, true);
    for (int i = 1; i <= 4; i++) {
        struct gmcast_config config = vnet_config(net, i);
        config.segment = i == 4;
        vnet_start_with(net, i, &config, PEERS(1, 4));
    }
    vnet_run(net, 2 * XB_SECOND);
    for (int i = 1; i <= 4; i++) vnet_broadcast(net, i, "early");
    vnet_run(net, XB_SECOND);
    vnet_kill(net, 1);
    vnet_run(net, XB_SECOND);
    vnet_start(net, 1, PEERS(1, 4));
    vnet_run(net, XB_SECOND);
    fail_from = 0;
    unsigned long count = allocations;
    vnet_cut(net, 2, 3, false);
    for (int i = 1; i <= 4; i++) { /* the configured peers may have been lost to the shortage */
        char text[GMCAST_ADDRESS_SIZE];
        gmcast_peer_add(net->hosts[i].mesh, vnet_address(net, i == 1 ? 4 : 1, text), net->now_ns);
    }
    vnet_run(net, 10 * XB_SECOND);
    for (int i = 1; i <= 4; i++) assert_int_equal(net->hosts[i].fatal_count, 0);
    vnet_assert_full_mesh(net, 4);
    vnet_broadcast(net, 1, "late");
    vnet_run(net, 20 * XB_MS);
    for (int i = 2; i <= 4; i++) assert_int_equal(vnet_count(net, i, 1, "late"), 1);
    vnet_free(net);
    return count;
}

static void test_every_allocation(void **state) {
    unsigned long count = run_scenario(ULONG_MAX, ULONG_MAX);
    assert_true(count > 100);
    for (unsigned long i = 1; i <= count; i++) run_scenario(i, i + 1);
}

static void test_shortages(void **state) {
    for (unsigned long i = 1; i < 200; i += 7) run_scenario(i, i + 40);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_every_allocation), cmocka_unit_test(test_shortages)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
