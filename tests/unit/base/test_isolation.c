/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Node isolation mode: who watches hears of every change, from a signal handler too, and nobody else does. */
#include "base/isolation.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <unistd.h>

#include <cmocka.h>

static struct xb_isolation isolation;

static bool is_readable(int fd) {
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    return poll(&polled, 1, 0) == 1;
}

static void on_signal(int number) {
    xb_isolation_set(&isolation, XB_ISOLATED);
}

static void test_watchers_hear_of_a_change(void **state) {
    int a = xb_isolation_watch(&isolation), b = xb_isolation_watch(&isolation);
    assert_true(a >= 0 && b >= 0 && a != b);
    assert_false(is_readable(a));
    signal(SIGUSR1, on_signal);
    errno = EXDEV;
    raise(SIGUSR1);
    assert_int_equal(errno, EXDEV);
    assert_int_equal(xb_isolation_get(&isolation), XB_ISOLATED);
    assert_true(is_readable(a) && is_readable(b));
    xb_isolation_read(a);
    assert_false(is_readable(a));
    xb_isolation_read(a); /* does not wait */
    xb_isolation_set(&isolation, XB_NORMAL);
    assert_true(is_readable(a));
    xb_isolation_clear(&isolation);
    assert_int_equal(xb_isolation_get(NULL), XB_NORMAL);
}

static void test_a_descriptor_is_kept_for_the_next_watcher(void **state) {
    int a = xb_isolation_watch(&isolation);
    xb_isolation_unwatch(&isolation, a);
    xb_isolation_set(&isolation, XB_ISOLATED); /* a signal that comes too late hits nobody else's file */
    assert_int_equal(xb_isolation_watch(&isolation), a);
    xb_isolation_unwatch(&isolation, -1);
    for (int i = 1; i < XB_ISOLATION_WATCHERS_MAX; i++) assert_true(xb_isolation_watch(&isolation) >= 0);
    assert_int_equal(xb_isolation_watch(&isolation), -1);
    xb_isolation_unwatch(&isolation, a);
    assert_int_equal(xb_isolation_watch(&isolation), a);
    xb_isolation_clear(&isolation);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_watchers_hear_of_a_change),
        cmocka_unit_test(test_a_descriptor_is_kept_for_the_next_watcher),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
