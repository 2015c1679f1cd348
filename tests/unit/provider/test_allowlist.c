/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The question to the server's allowlist alone: its answers, and a server that does not answer. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sched.h>

#include <cmocka.h>

#include "provider/provider.h"

static _Atomic(bool) is_hanging;
static _Atomic(int) lookups;

static int look_up(void *ctx, int key_kind, const struct abi_buf *value) {
    (void)ctx;
    (void)key_kind;
    bool is_listed = value->len == 8 && memcmp(value->ptr, "10.0.0.1", 8) == 0;
    atomic_fetch_add(&lookups, 1);
    while (atomic_load(&is_hanging)) sched_yield();
    return is_listed ? 0 : 2;
}

static struct abi_allowlist_v1 service = {look_up, NULL};

static int init(void **state) {
    (void)state;
    atomic_store(&lookups, 0);
    return wsrep_init_allowlist_service_v1(&service);
}

static int deinit(void **state) {
    (void)state;
    wsrep_deinit_allowlist_service_v1();
    return 0;
}

static void test_answers(void **state) {
    (void)state;
    assert_null(service_refusal("10.0.0.1"));
    assert_null(service_refusal("[10.0.0.1]"));
    assert_string_equal(service_refusal("10.0.0.2"), "not found in allowlist.");
    assert_int_equal(atomic_load(&lookups), 3);
}

/* A second is lost once, not with each of the strangers that knock meanwhile: meson ends this test after 30. */
static void test_a_hanging_server_is_waited_for_once(void **state) {
    (void)state;
    atomic_store(&is_hanging, true);
    for (int i = 0; i < 100; i++) assert_non_null(strstr(service_refusal("10.0.0.1"), "has not answered within 1 s"));
    assert_int_equal(atomic_load(&lookups), 1);
    atomic_store(&is_hanging, false);
    while (service_refusal("10.0.0.1")) sched_yield();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_answers, init, deinit),
        cmocka_unit_test_setup_teardown(test_a_hanging_server_is_waited_for_once, init, deinit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
