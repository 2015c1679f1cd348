/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Every rule about certificates, on certificates made for it; and that what we make breaks none. */
#include "cli/inspect.h"
#include "cli/issue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define DAY 86400

static struct fixture {
    EVP_PKEY *ca_key, *key;
    X509 *ca;
    time_t now;
} f;

static const char *hosts[] = {"db1.example", "10.0.0.1", NULL};

static int set_up(void **state) {
    f.now = time(NULL);
    f.ca_key = issue_key("ec:p256", NULL);
    f.key = issue_key("ec:p384", NULL);
    f.ca = issue_certificate(&(struct issue_wish){ISSUE_CA, "t-ca", NULL, f.now - DAY, f.now + 1000 * DAY}, f.ca_key,
                             NULL, NULL, NULL);
    return f.ca && f.key ? 0 : -1;
}

static int tear_down(void **state) {
    X509_free(f.ca);
    EVP_PKEY_free(f.ca_key);
    EVP_PKEY_free(f.key);
    return 0;
}

static X509 *leaf(enum issue_kind kind, const char *name, int from_days, int until_days, const char **names) {
    struct issue_wish wish = {kind, name, names, f.now + (time_t)from_days * DAY, f.now + (time_t)until_days * DAY};
    X509 *cert = issue_certificate(&wish, f.key, f.ca, f.ca_key, NULL);
    assert_non_null(cert);
    return cert;
}

static void clear(struct findings *findings) {
    for (int i = 0; i < findings->count; i++) {
        free(findings->list[i].where);
        free(findings->list[i].text);
        free(findings->list[i].mend);
    }
    free(findings->list);
}

/* Exactly this rule, or none with RULE_COUNT. Frees the certificate. */
static void expect(X509 *cert, enum inspect_role role, const char *host, X509 *ca, enum finding_rule rule) {
    struct findings findings = {0};
    STACK_OF(X509) *certs = sk_X509_new_null(), *cas = sk_X509_new_null();
    sk_X509_push(certs, cert);
    sk_X509_push(cas, ca);
    inspect_certificate(&findings, "x", cert, role, host, f.now);
    inspect_chain(&findings, "x", certs, cas);
    for (int i = 0; i < findings.count; i++) {
        if (rule == RULE_COUNT || findings.list[i].rule != rule) print_error("%s\n", findings.list[i].text);
    }
    assert_int_equal(findings.count, rule == RULE_COUNT ? 0 : 1);
    if (findings.count) assert_int_equal(findings.list[0].rule, rule);
    clear(&findings);
    sk_X509_free(certs);
    sk_X509_free(cas);
    X509_free(cert);
}

static void good_ones(void **state) {
    expect(leaf(ISSUE_SERVER, "t-server", -1, 500, hosts), INSPECT_SERVER, "db1.example", f.ca, RULE_COUNT);
    expect(leaf(ISSUE_SERVER, "t-server", -1, 500, hosts), INSPECT_SERVER, "10.0.0.1", f.ca, RULE_COUNT);
    expect(leaf(ISSUE_CLIENT, "t-client", -1, 500, NULL), INSPECT_CLIENT, NULL, f.ca, RULE_COUNT);
}

static void dates(void **state) {
    expect(leaf(ISSUE_SERVER, "t-server", -9, -1, hosts), INSPECT_SERVER, NULL, f.ca, RULE_EXPIRED);
    expect(leaf(ISSUE_SERVER, "t-server", 2, 500, hosts), INSPECT_SERVER, NULL, f.ca, RULE_NOT_YET_VALID);
    expect(leaf(ISSUE_SERVER, "t-server", -2, 29, hosts), INSPECT_SERVER, NULL, f.ca, RULE_EXPIRES_SOON);
    expect(leaf(ISSUE_SERVER, "t-server", -2, 31, hosts), INSPECT_SERVER, NULL, f.ca, RULE_COUNT);
}

static void names(void **state) {
    expect(leaf(ISSUE_SERVER, "t-ca", -1, 500, hosts), INSPECT_SERVER, NULL, f.ca, RULE_SAME_NAME);
    expect(leaf(ISSUE_SERVER, "with blank", -1, 500, hosts), INSPECT_SERVER, NULL, f.ca, RULE_NAME_UNFIT_FOR_SST);
    expect(leaf(ISSUE_SERVER, "t-server", -1, 500, NULL), INSPECT_SERVER, NULL, f.ca, RULE_NO_HOSTS);
    expect(leaf(ISSUE_SERVER, "t-server", -1, 500, hosts), INSPECT_SERVER, "db2.example", f.ca, RULE_WRONG_HOST);
}

static void purposes(void **state) {
    expect(leaf(ISSUE_CLIENT, "t-server", -1, 500, hosts), INSPECT_SERVER, NULL, f.ca, RULE_PURPOSE);
    expect(leaf(ISSUE_SERVER, "t-client", -1, 500, hosts), INSPECT_CA, NULL, f.ca, RULE_NO_CA);
    struct findings findings = {0};
    X509 *ca_as_client = leaf(ISSUE_CA, "t-client", -1, 500, NULL);
    inspect_certificate(&findings, "x", ca_as_client, INSPECT_CLIENT, NULL, f.now);
    assert_true(findings_has(&findings, RULE_LEAF_IS_CA));
    assert_true(findings_has(&findings, RULE_KEY_USAGE));
    clear(&findings);
    X509_free(ca_as_client);
}

static void other_ca(void **state) {
    EVP_PKEY *key = issue_key("ed25519", NULL);
    X509 *other =
        issue_certificate(&(struct issue_wish){ISSUE_CA, "o-ca", NULL, f.now, f.now + 99 * DAY}, key, NULL, NULL, NULL);
    expect(leaf(ISSUE_SERVER, "t-server", -1, 500, hosts), INSPECT_SERVER, NULL, other, RULE_CHAIN);
    X509_free(other);
    EVP_PKEY_free(key);
}

static void weak_keys(void **state) {
    struct findings findings = {0};
    EVP_PKEY *key = EVP_RSA_gen(1024);
    X509 *cert = issue_certificate(&(struct issue_wish){ISSUE_CLIENT, "weak", NULL, f.now - DAY, f.now + 99 * DAY}, key,
                                   f.ca, f.ca_key, NULL);
    inspect_certificate(&findings, "x", cert, INSPECT_CLIENT, NULL, f.now);
    assert_int_equal(findings.count, 1);
    assert_int_equal(findings.list[0].rule, RULE_WEAK_KEY);
    clear(&findings);
    X509_free(cert);
    EVP_PKEY_free(key);
}

static void dh(void **state) {
    struct findings findings = {0};
    EVP_PKEY *named = issue_dh(false, NULL);
    inspect_dh(&findings, "x", named);
    assert_int_equal(EVP_PKEY_get_bits(named), 2048);
    assert_int_equal(findings.count, 0);
    EVP_PKEY_free(named);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_ones), cmocka_unit_test(dates),     cmocka_unit_test(names), cmocka_unit_test(purposes),
        cmocka_unit_test(other_ca),  cmocka_unit_test(weak_keys), cmocka_unit_test(dh)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
