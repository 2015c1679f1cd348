/* SPDX-License-Identifier: GPL-2.0-or-later */
/* JSON output stays JSON whatever is in the texts; host:port is split strictly. */
#include "cli/json.h"
#include "cli/probe.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void escapes(void **state) {
    char *text;
    size_t size;
    struct json json = {open_memstream(&text, &size), false};
    json_open(&json, NULL, '{');
    json_text(&json, "a\"b", "line\nquote\"back\\ \xc3\xa9 \xff\xc3");
    json_open(&json, "list", '[');
    json_number(&json, NULL, -5);
    json_bool(&json, NULL, true);
    json_text(&json, NULL, NULL);
    json_close(&json, ']');
    json_number(&json, "n", 1);
    json_close(&json, '}');
    fclose(json.to);
    assert_string_equal(text, "{\"a\\\"b\": \"line\\u000aquote\\\"back\\\\ \xc3\xa9 \\ufffd\\ufffd\", "
                              "\"list\": [-5, true, null], \"n\": 1}");
    free(text);
}

static void expect_split(const char *target, const char *host, const char *port) {
    char *h = NULL, *p = NULL;
    assert_true(probe_split(target, &h, &p));
    assert_string_equal(h, host);
    assert_string_equal(p, port);
    free(h);
    free(p);
}

static void splits(void **state) {
    char *h, *p;
    expect_split("db1:3306", "db1", "3306");
    expect_split("[::1]:4567", "::1", "4567");
    assert_false(probe_split("db1", &h, &p));
    assert_false(probe_split("db1:", &h, &p));
    assert_false(probe_split(":3306", &h, &p));
    assert_false(probe_split("db1:33x", &h, &p));
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(escapes), cmocka_unit_test(splits)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
