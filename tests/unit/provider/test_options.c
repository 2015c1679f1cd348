/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Options of the provider, at a start and at run time. */
#include "group.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void test_options(void **state) {
    (void)state;
    start_nodes(1);
    struct abi_table *t = &nodes[0].t;
    char *before = t->options_get(t);
    assert_non_null(strstr(before, "repl.max_ws_size = 2147483647; "));
    assert_int_equal(t->options_set(t, before), 0); /* a saved string can be restored */
    assert_int_equal(t->options_set(t, NULL), 0);
    assert_int_equal(t->options_set(t, " ; ;"), 0);
    assert_int_equal(t->options_set(t, "a=1"), 7);
    assert_int_equal(t->options_set(t, "a"), 7);
    assert_int_equal(t->options_set(t, "gcs.fc_limit=33;no.such=1"), 7); /* all or nothing */
    char *after = t->options_get(t);
    assert_string_equal(before, after);
    free(after);
    assert_int_equal(t->options_set(t, "gcs.fc_limit=1024;evs.suspect_timeout=PT1.5S;pc.ignore_sb=true;"
                                       "repl.max_ws_size=4096;repl.key_format=flat16a;cert.log_conflicts=yes"),
                     0);
    after = t->options_get(t);
    assert_non_null(strstr(after, "gcs.fc_limit = 1K; "));
    assert_non_null(strstr(after, "evs.suspect_timeout = PT1.5S; "));
    assert_non_null(strstr(after, "repl.max_ws_size = 4096; "));
    free(after);
    assert_int_equal(t->options_set(t, before), 0);
    assert_int_equal(t->options_set(t, "socket.ssl_reload=1"), 0); /* TLS is off: nothing */
    assert_int_equal(t->options_set(t, "gcache.size=1M"), 7);
    assert_int_equal(t->options_set(t, "repl.key_format=xx"), 7);
    assert_int_equal(t->options_set(t, "evs.suspect_timeout=PT0.01S"), 7);
    free(before);
    stop_nodes(1);
}

/* A list of peers may be long: it is kept whole, and what is shown can be given back. */
static void test_a_long_value_is_kept_whole(void **state) {
    static char option[20000] = "socket.ssl_allowed_peers=", shown[20100];
    (void)state;
    start_nodes(1);
    struct abi_table *t = &nodes[0].t;
    for (int i = 0; strlen(option) < sizeof(option) - 40; i++) sprintf(option + strlen(option), "db%d.example,", i);
    char *value = strchr(option, '=') + 1;
    snprintf(shown, sizeof(shown), "socket.ssl_allowed_peers = %s; ", value);
    assert_int_equal(t->options_set(t, option), 0);
    for (int round = 0; round < 2; round++) {
        char *all = t->options_get(t);
        assert_non_null(strstr(all, shown));
        assert_int_equal(t->options_set(t, all), 0);
        free(all);
    }
    stop_nodes(1);
}

/* Of an option that must be equal on all nodes for ever, a limit that nothing could stay below, a deprecated one. */
static void test_ignored_options_are_named(void **state) {
    (void)state;
    init_nodes(1);
    assert_int_equal(
        fake_start(&nodes[0], "", true, "cert.max_length=100;gcs.fc_limit=0;gcs.fc_master_slave=no;ist.keep_keys=no"),
        0);
    assert_true(fake_wait_synced(&nodes[0], 200));
    assert_int_equal(atomic_load(&nodes[0].log_warnings), 5); /* and of the state file that is not there yet */
    stop_nodes(1);
}

static void test_bad_starts(void **state) {
    char nobody[32];
    (void)state;
    init_nodes(1);
    snprintf(nobody, sizeof(nobody), "127.0.0.1:%d", group_port + 90);
    assert_int_equal(fake_start(&nodes[0], "", true, "no.such=1"), 7);
    assert_int_equal(fake_start(&nodes[0], "", true, "repl.proto_max=12"), 7);
    assert_int_equal(fake_start(&nodes[0], "", true, "repl.key_format=xx"), 7);
    assert_int_equal(fake_start(&nodes[0], "", true, "socket.ssl=yes"), 7);
    assert_int_equal(fake_start(&nodes[0], "", true, "socket.ssl_key=/nonexistent;socket.ssl_cert=/nonexistent"), 7);
    /* nobody answers: the primary view does not come */
    assert_int_equal(fake_start(&nodes[0], nobody, false, "pc.wait_prim_timeout=PT2S"), 7);
    assert_int_equal(fake_connect(&nodes[0], "", true), 0); /* the same instance can try again */
    assert_true(fake_wait_synced(&nodes[0], 200));
    stop_nodes(1);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_a_long_value_is_kept_whole),
        cmocka_unit_test(test_ignored_options_are_named),
        cmocka_unit_test(test_bad_starts),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
