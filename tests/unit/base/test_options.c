/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Option table, values and the option string (spec 09). */
#include "base/clock.h"
#include "base/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>

static void test_table_is_sorted_and_its_defaults_are_valid(void **state) {
    (void)state;
    for (size_t i = 0; i < xb_option_count; i++) {
        const struct xb_option_definition *option = &xb_option_table[i];
        if (i) assert_true(strcmp(xb_option_table[i - 1].name, option->name) < 0);
        assert_ptr_equal(xb_option_find(option->name), option);
        assert_true(strlen(option->help) > 5);
        if (option->default_text) assert_int_equal(xb_options_check(option->name, option->default_text, NULL), 0);
    }
    assert_null(xb_option_find("PC.WEIGHT"));
}

static void test_integers(void **state) {
    (void)state;
    int64_t v;
    assert_int_equal(xb_parse_integer("64M", true, &v), 0);
    assert_int_equal(v, 64 << 20);
    assert_int_equal(xb_parse_integer("010", true, &v), 0);
    assert_int_equal(v, 8);
    assert_int_equal(xb_parse_integer("0x10", true, &v), 0);
    assert_int_equal(v, 16);
    assert_int_equal(xb_parse_integer("-3", false, &v), 0);
    assert_int_equal(v, -3);
    const char *const bad[] = {"", "1X", "1.5", "16 K", "9223372036854775807K", "99999999999999999999", "K", "1KK"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) assert_int_not_equal(xb_parse_integer(bad[i], true, &v), 0);
    assert_int_not_equal(xb_parse_integer("1M", false, &v), 0);
    assert_int_not_equal(xb_parse_integer("0x1", false, &v), 0);
}

static void check_period(const char *text, int64_t ns, const char *shown) {
    int64_t v = -1;
    char printed[XB_PERIOD_TEXT_SIZE];
    assert_int_equal(xb_parse_period(text, &v), 0);
    assert_int_equal(v, ns);
    assert_string_equal(xb_format_period(v, printed), shown);
    assert_int_equal(xb_parse_period(printed, &v), 0);
    assert_int_equal(v, ns);
}

static void test_periods(void **state) {
    (void)state;
    check_period("PT7.5S", 7500 * XB_MS, "PT7.5S");
    check_period("PT24H", 86400 * XB_SECOND, "P1D");
    check_period("P1M", 30 * 86400 * XB_SECOND, "P1M");
    check_period("PT1M", 60 * XB_SECOND, "PT1M");
    check_period("P1H", 3600 * XB_SECOND, "PT1H");
    check_period("P1Y2M3DT4H5M6.789S", ((360 + 60 + 3) * 86400 + 4 * 3600 + 5 * 60 + 6) * XB_SECOND + 789 * XB_MS,
                 "P1Y2M3DT4H5M6.789S");
    check_period("10", 10 * XB_SECOND, "PT10S");
    check_period(".5", 500 * XB_MS, "PT0.5S");
    check_period("", 0, "P");
    check_period("P", 0, "P");
    check_period("PT0.000000001S", 1, "PT0.000000001S");
    int64_t v;
    const char *const bad[] = {"pt1s", "-1", "1e3",          "P1W",  "PT1.5M",      "PT1S1H",
                               "PT",   "P1", "1.0000000001", "PTxS", "P9999999999Y"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        if (strcmp(bad[i], "PT")) assert_int_not_equal(xb_parse_period(bad[i], &v), 0);
    assert_int_equal(xb_parse_period("PT", &v), 0);
}

static void test_booleans(void **state) {
    (void)state;
    bool v;
    assert_int_equal(xb_parse_bool("Yeah", &v), 0);
    assert_true(v);
    assert_int_equal(xb_parse_bool("NONE", &v), 0);
    assert_false(v);
    assert_int_not_equal(xb_parse_bool("t", &v), 0);
    assert_int_not_equal(xb_parse_bool("", &v), 0);
}

static void check_refused(const char *text, const char *reason) {
    struct xb_options *options = xb_options_new();
    struct xb_error error = {0};
    assert_int_equal(xb_options_start(options, text, &error), -EINVAL);
    if (!strstr(error.text, reason)) fail_msg("'%s' is not in '%s'", reason, error.text);
    xb_options_free(options);
}

static void test_grammar(void **state) {
    (void)state;
    check_refused("k", "Key without value: 'k' at position '0' in parameter list.");
    check_refused("pc.weight=1=2", "More than one value for key 'pc.weight'");
    check_refused("=5", "Empty key at '=5' in parameter list.");
    check_refused("nosuch=1;PC.WEIGHT=2;pc.weight=300", "Unrecognized parameter 'PC.WEIGHT'");
    check_refused("pc.weight=300", "out of range");
    check_refused("gcs.sync_donor=", "must be a boolean");
    check_refused("evs.delay_margin=", "must be a period");
    check_refused("socket.recv_buf_size=much", "must be auto");
    check_refused("socket.send_buf_size=-1", "out of range");

    struct xb_options *options = xb_options_new();
    assert_int_equal(xb_options_start(options,
                                      " ;; pc.weight = 2 ;pc.weight=3; evs.suspect_timeout=PT2S; "
                                      "socket.send_buf_size=auto; socket.recv_buf_size=4M; base_dir=a\\;b;",
                                      NULL),
                     0);
    assert_int_equal(xb_options_integer(options, "pc.weight"), 3);
    assert_int_equal(xb_options_period_ns(options, "evs.suspect_timeout"), 2 * XB_SECOND);
    char text[16];
    assert_int_equal(xb_options_text(options, "base_dir", text, sizeof(text)), 3);
    assert_string_equal(text, "a;b");
    xb_options_free(options);
}

static int restore(void *ctx, const char *key, const char *value) {
    return xb_options_put(ctx, key, value);
}

/* A data directory may have any name. */
static void test_separators_in_values(void **state) {
    static const char *const values[] = {"a;b", "=", "a=b=c", "a\\", "\\;", "\\=", "\\\\=;", ";\\"};
    for (size_t i = 0; i < sizeof(values) / sizeof(*values); i++) {
        struct xb_options *options = xb_options_new(), *restored = xb_options_new();
        char text[16];
        xb_options_put(options, "base_dir", values[i]);
        char *shown = xb_options_show(options);
        assert_int_equal(xb_options_split(shown, restore, restored, NULL), 0);
        xb_options_text(restored, "base_dir", text, sizeof(text));
        assert_string_equal(text, values[i]);
        xb_options_text(restored, "base_port", text, sizeof(text)); /* what comes behind is what it was */
        assert_string_equal(text, "4567");
        free(shown);
        xb_options_free(options);
        xb_options_free(restored);
    }
}

/* A list of certificates has no bound; a number has. */
static void test_long_values(void **state) {
    static char list[100000], zeros[600];
    (void)state;
    struct xb_options *options = xb_options_new();
    memset(list, 'a', sizeof(list) - 1);
    assert_int_equal(xb_options_check("socket.ssl_allowed_peers", list, NULL), 0);
    assert_int_equal(xb_options_put(options, "socket.ssl_allowed_peers", list), 0);
    assert_true(xb_options_is(options, "socket.ssl_allowed_peers", list));
    list[sizeof(list) - 2] = 'b';
    assert_false(xb_options_is(options, "socket.ssl_allowed_peers", list));
    char *copy = xb_options_copy(options, "socket.ssl_allowed_peers");
    assert_int_equal(strlen(copy), sizeof(list) - 1);
    free(copy);
    assert_null(xb_options_copy(options, "socket.ssl_crl"));
    assert_false(xb_options_is(options, "socket.ssl_crl", ""));
    memset(zeros, '0', sizeof(zeros) - 1);
    assert_int_equal(xb_options_check("pc.weight", zeros, NULL), -EINVAL);
    xb_options_free(options);
}

static int accept_shown(void *ctx, const char *key, const char *value) {
    (void)ctx;
    assert_int_equal(xb_options_check(key, value, NULL), 0);
    return 0;
}

static void test_what_is_shown_is_accepted_again(void **state) {
    (void)state;
    struct xb_options *options = xb_options_new();
    char *shown = xb_options_show(options);
    assert_non_null(strstr(shown, "repl.max_ws_size = 2147483647; "));
    assert_null(strstr(shown, "gmcast.isolate"));
    assert_int_equal(strncmp(shown, "base_dir = .; base_port = 4567; cert.log_conflicts", 40), 0);
    assert_int_equal(xb_options_split(shown, accept_shown, NULL, NULL), 0);
    free(shown);
    xb_options_free(options);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_is_sorted_and_its_defaults_are_valid),
        cmocka_unit_test(test_integers),
        cmocka_unit_test(test_periods),
        cmocka_unit_test(test_booleans),
        cmocka_unit_test(test_grammar),
        cmocka_unit_test(test_separators_in_values),
        cmocka_unit_test(test_long_values),
        cmocka_unit_test(test_what_is_shown_is_accepted_again),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
