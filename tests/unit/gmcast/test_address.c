/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Address strings: one form for one peer. */
#include "virtual_net.h"

#include "gmcast/address.h"

#include <errno.h>
#include <string.h>

static void test_normalize(void **state) {
    static const struct {
        const char *text, *normal; /* NULL: refused */
    } cases[] = {
        {"tcp://10.0.0.1:4567", "ssl://10.0.0.1:4567"},
        {"ssl://10.0.0.1:04567", "ssl://10.0.0.1:4567"},
        {"ssl://[::ffff:10.0.0.1]:4567", "ssl://10.0.0.1:4567"},
        {"ssl://[::FFFF:0a00:1]:4567", "ssl://10.0.0.1:4567"},
        {"ssl://[2001:DB8:0:0::1]:1", "ssl://[2001:db8::1]:1"},
        {"ssl://[fe80::1%2]:65535", "ssl://[fe80::1%2]:65535"},
        {"ssl://[fe80::1%]:65535", NULL},
        {"ssl://[fe80::1%a/b]:65535", NULL},
        {"ssl://[fe80::1%aaaaaaaaaaaaaaaaa]:65535", NULL},
        {"ssl://[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%aaaaaaaaaaaaaaaa]:65535",
         NULL}, /* longer than the wire field */
        {"ssl://host.example:4567", NULL},
        {"ssl://10.0.0.256:4567", NULL},
        {"ssl://10.0.1:4567", NULL},
        {"ssl://10.0.0.1:4567x", NULL},
        {"ssl://10.0.0.1", NULL},
        {"10.0.0.1:4567", NULL},
        {"http://10.0.0.1:4567", NULL},
        {"ssl://[10.0.0.1]:4567", NULL},
        {"ssl://[::1]", NULL},
        {"ssl://:4567", NULL},
        {"", NULL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        char address[GMCAST_ADDRESS_SIZE] = "unset";
        int rc = mesh_address_normalize(address, cases[i].text, true);
        assert_int_equal(rc, cases[i].normal ? 0 : -EINVAL);
        if (cases[i].normal) assert_string_equal(address, cases[i].normal);
    }
    char address[GMCAST_ADDRESS_SIZE];
    assert_int_equal(mesh_address_normalize(address, "ssl://10.0.0.1:4567", false), 0);
    assert_string_equal(address, "tcp://10.0.0.1:4567");
}

static void test_compose(void **state) {
    char address[GMCAST_ADDRESS_SIZE];
    assert_int_equal(mesh_address_compose(address, "[fe80::1%2]", 4567, true), 0);
    assert_string_equal(address, "ssl://[fe80::1%2]:4567");
    char host[GMCAST_ADDRESS_SIZE];
    memset(host, 'h', sizeof(host) - 1);
    host[sizeof(host) - 1] = 0;
    assert_int_equal(mesh_address_compose(address, host, 4567, true), -EINVAL);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_normalize), cmocka_unit_test(test_compose)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
