/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The service thread: a wish to close that is left from one connection does not end the next. */
#include "replicator/internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static void test_old_wish_is_forgotten(void **state) {
    (void)state;
    struct replicator *rep = test_calloc(1, sizeof(*rep));
    service_init(rep);
    link_init(&rep->link);
    service_want_close(rep);
    service_forget_close(rep);
    link_open(&rep->link, (struct member *)rep); /* closing this would end the test at once */
    assert_int_equal(service_start(rep), 0);
    service_stop(rep);
    assert_true(link_is_open(&rep->link));
    link_destroy(&rep->link);
    test_free(rep);
}

static void *forget(void *rep) {
    service_forget_close(rep);
    return NULL;
}

/* Closing waits for whoever uses the link; to forget, in a new connection's place, waits for the closing. */
static void test_closing_is_waited_for(void **state) {
    (void)state;
    struct replicator *rep = test_calloc(1, sizeof(*rep));
    pthread_t thread;
    service_init(rep);
    link_init(&rep->link);
    rep->link.member = (struct member *)rep;
    rep->link.is_closing = true; /* by somebody else, who has not finished */
    service_want_close(rep);
    assert_int_equal(service_start(rep), 0);
    assert_int_equal(pthread_create(&thread, NULL, forget, rep), 0);
    pthread_mutex_lock(&rep->link.lock);
    rep->link.member = NULL;
    pthread_cond_broadcast(&rep->link.changed);
    pthread_mutex_unlock(&rep->link.lock);
    pthread_join(thread, NULL);
    assert_false(rep->service.is_closing || rep->service.wants_close);
    service_stop(rep);
    link_destroy(&rep->link);
    test_free(rep);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_old_wish_is_forgotten),
        cmocka_unit_test(test_closing_is_waited_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
