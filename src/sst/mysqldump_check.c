/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Steps: 1 the account on the donor, 2 wsrep_sst_auth, 3 the same account on the joiner, 4 TLS of the joiner's server,
 * 5 TLS files of the donor, 6 the joiner reachable under the address that it has announced.
 */
#include "sst/mysqldump_check.h"

#include "sst/sql_client.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_SIZE 16384
#define MAKE_ACCOUNT "CREATE USER '%s' IDENTIFIED BY '...' REQUIRE SSL; GRANT ALL ON *.* TO '%s' WITH GRANT OPTION"

#define NEEDS_ALL                                                                                                      \
    "step %d, the account on the %s: '%s' must be able to do everything: GRANT ALL ON *.* TO '%s' WITH GRANT OPTION"

/* The number in "ERROR 1045 (28000): ...", 0: none */
static int error_number(const char *answer) {
    const char *at = strstr(answer, "ERROR ");
    return at ? atoi(at + 6) : 0;
}

static const char *error_line(char *answer) {
    char *at = strstr(answer, "ERROR ");
    if (!at) at = answer;
    at[strcspn(at, "\n")] = '\0';
    return at;
}

static int explain_donor(const struct transfer *t, char *answer, struct xb_error *error) {
    const char *user = t->settings.user;
    if (error_number(answer) == 1045)
        return xb_fail(error, -EACCES,
                       "step 1, the account on the donor: '%s' of wsrep_sst_auth is not let in (%s). Is there an "
                       "anonymous user ''@'localhost', which goes before it? Drop that; else make the "
                       "account there: " MAKE_ACCOUNT,
                       user, error_line(answer), user, user);
    return xb_fail(error, -EACCES, "step 1, the account on the donor: '%s' cannot work there: %s", user,
                   error_line(answer));
}

static int explain_joiner(const struct transfer *t, char *answer, struct xb_error *error) {
    const char *user = t->settings.user, *host = t->address.host;
    switch (error_number(answer)) {
    case 1045:
    case 1130:
        return xb_fail(
            error, -EACCES,
            "step 3, the account on the joiner: '%s' is not let in by %s:%u (%s). Start the joiner once with "
            "--wsrep-provider=none and make the same account, with the same password: " MAKE_ACCOUNT,
            user, host, t->address.port, error_line(answer), user, user);
    case 2026:
        return xb_fail(
            error, -EPROTO,
            "step 4, TLS of the joiner's server: %s:%u has no certificate that passes here (%s). Set ssl-ca, "
            "ssl-cert and ssl-key in its [mysqld]; the certificate must be of the CA '%s' and carry '%s' as "
            "a subjectAltName",
            host, t->address.port, error_line(answer), t->settings.ca ? t->settings.ca : "of ssl-capath", host);
    case 2002:
    case 2003:
    case 2005:
    case 2013:
        return xb_fail(error, -EHOSTUNREACH,
                       "step 6, the way to the joiner: nothing answers at %s:%u (%s). Is its bind_address 0.0.0.0 or "
                       "that address, wsrep_sst_receive_address right, and the port open in the firewall?",
                       host, t->address.port, error_line(answer));
    case 1227:
    case 1142:
        return xb_fail(error, -EACCES, NEEDS_ALL "; %s:%u says: %s", 3, "joiner", user, user, host, t->address.port,
                       error_line(answer));
    default:
        return xb_fail(error, -EACCES, "step 3, the account on the joiner: '%s' cannot work on %s:%u: %s", user, host,
                       t->address.port, error_line(answer));
    }
}

static bool has_right(const char *grants, const char *right) {
    for (const char *at = grants; (at = strstr(at, right)); at++) {
        const char *end = at + strcspn(at, "\n");
        const char *scope = strstr(at, " ON *.* ");
        if (scope && scope < end) return true;
    }
    return false;
}

/* -> 0 or negative with *error; whose: "donor" or "joiner" */
static int check_account(struct transfer *t, enum sql_server server, struct xb_error *error) {
    static const char sql[] = "SET SESSION wsrep_on=OFF;\n"
                              "SELECT CONCAT('cipher ', VARIABLE_VALUE) FROM information_schema.SESSION_STATUS WHERE "
                              "VARIABLE_NAME='SSL_CIPHER';\nSHOW GRANTS;\nSHOW CREATE USER;\n";
    bool is_donor = server == SQL_DONOR;
    const char *whose = is_donor ? "donor" : "joiner", *user = t->settings.user;
    int step = is_donor ? 1 : 3;
    char *answer = calloc(1, ANSWER_SIZE);
    if (!answer) return xb_fail(error, -ENOMEM, "no memory");
    int rc = sql_run(t, server, sql, answer, ANSWER_SIZE, error);
    if (rc > 0) {
        rc = is_donor ? explain_donor(t, answer, error) : explain_joiner(t, answer, error);
    } else if (rc == 0 && !has_right(answer, "ALL PRIVILEGES") && !has_right(answer, "SUPER")) {
        rc = xb_fail(error, -EACCES, NEEDS_ALL, step, whose, user, user);
    } else if (rc == 0 && t->settings.is_tls && !is_donor && !strstr(answer, "cipher TLS") &&
               !strstr(answer, "cipher ECDHE")) {
        rc = xb_fail(error, -EPROTO,
                     "step 4, TLS of the joiner's server: the connection to %s:%u would not be encrypted. Set ssl-ca, "
                     "ssl-cert and ssl-key in its [mysqld] and restart it",
                     t->address.host, t->address.port);
    } else if (rc == 0 && t->settings.is_tls && !strstr(answer, "REQUIRE ")) {
        xb_log_warning(t->log,
                       "step %d, the account on the %s: '%s' may be used without TLS: ALTER USER '%s' REQUIRE SSL",
                       step, whose, user, user);
    }
    free(answer);
    return rc;
}

static int check_different(struct transfer *t, struct xb_error *error) {
    /* Containers may be alike in the first three; the last is the node's own in its group. */
    static const char sql[] = "SET SESSION wsrep_on=OFF;\n"
                              "SELECT @@hostname, @@port, @@datadir, VARIABLE_VALUE FROM "
                              "information_schema.GLOBAL_STATUS WHERE VARIABLE_NAME='wsrep_gcomm_uuid';\n";
    char donor[1024], joiner[1024];
    int rc = sql_run(t, SQL_DONOR, sql, donor, sizeof(donor), error);
    if (rc == 0) rc = sql_run(t, SQL_JOINER, sql, joiner, sizeof(joiner), error);
    if (rc < 0) return rc;
    return rc == 0 && strcmp(donor, joiner) == 0
               ? xb_fail(error, -EINVAL,
                         "step 6, the way to the joiner: %s:%u is the donor itself. Set wsrep_sst_receive_address on "
                         "the joiner",
                         t->address.host, t->address.port)
               : 0;
}

int mysqldump_check_steps(struct transfer *t, struct xb_error *error) {
    if (!t->settings.user[0])
        return xb_fail(error, -EINVAL,
                       "step 2, wsrep_sst_auth: it is not set on this node. Set wsrep_sst_auth=user:password on all "
                       "nodes, with the account of step 1");
    struct xb_error reason = {0};
    int rc = transfer_load_tls(t, &reason);
    if (rc) return xb_fail(error, rc, "step 5, TLS files of the donor: %s", reason.text);
    rc = check_account(t, SQL_DONOR, error);
    if (rc == 0) rc = check_account(t, SQL_JOINER, error);
    return rc ? rc : check_different(t, error);
}
