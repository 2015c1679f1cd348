/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xebec cert check: what breaks clusters, found in files, directories and running servers.
 *
 * FILE: a certificate, a key or DH parameters, with the CA and the other half found beside it or named.
 * DIR: MySQL's names in it, and the same in each subdirectory that has a server-cert.pem (one a node).
 * HOST:PORT: what the server shows. Several targets are also compared: all nodes must trust each other's certificates.
 */
#include "cli/cli.h"
#include "cli/files.h"
#include "cli/inspect.h"
#include "cli/pem.h"
#include "cli/probe.h"

#include <dirent.h>
#include <errno.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define TARGETS_MAX 256

/* A node: what it shows and whom it trusts. */
struct shown {
    char *where;
    STACK_OF(X509) * certs;
    STACK_OF(X509) * cas; /* NULL: not known */
};

struct check {
    struct cli_common common;
    const char *targets[TARGETS_MAX];
    int target_count;
    const char *ca, *key, *cert, *host, *user, *password_file;
    char *password;
    bool is_strict;
    struct findings findings;
    struct shown shown[TARGETS_MAX];
    int shown_count;
    time_t now;
    struct json json;
};

enum { KEY_CA = 0x100, KEY_KEY, KEY_CERT, KEY_HOST, KEY_OWNER, KEY_PASSWORD, KEY_STRICT };

static const struct argp_option options[] = {
    {"ca", KEY_CA, "FILE", 0, "CA file (default: ca.pem beside the target; none for HOST:PORT)", 0},
    {"cert", KEY_CERT, "FILE", 0, "For HOST:PORT: the certificate to show there", 0},
    {"key", KEY_KEY, "FILE", 0, "The key of a FILE or of --cert (default: X-key.pem beside X-cert.pem)", 0},
    {"host", KEY_HOST, "HOST", 0, "The server certificate must be for this name or address", 0},
    {"owner", KEY_OWNER, "USER", 0, "The key files must belong to this user, mysql usually", 0},
    {"password-file", KEY_PASSWORD, "FILE", 0, "First line is the password of encrypted keys", 0},
    {"strict", KEY_STRICT, NULL, 0, "Exit code 1 for warnings too", 0},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state) {
    struct check *check = state->input;
    switch (key) {
    case KEY_CA:
        check->ca = value;
        return 0;
    case KEY_KEY:
        check->key = value;
        return 0;
    case KEY_CERT:
        check->cert = value;
        return 0;
    case KEY_HOST:
        check->host = value;
        return 0;
    case KEY_OWNER:
        check->user = value;
        return 0;
    case KEY_PASSWORD:
        check->password_file = value;
        return 0;
    case KEY_STRICT:
        check->is_strict = true;
        return 0;
    case ARGP_KEY_ARG:
        if (check->target_count == TARGETS_MAX) argp_error(state, "more than %d targets", TARGETS_MAX);
        check->targets[check->target_count++] = value;
        return 0;
    case ARGP_KEY_END:
        if (check->target_count == 0) argp_error(state, "what shall be checked?");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static bool load(struct check *check, struct pem_file *file, const char *path) {
    struct xb_error error = {0};
    int result = pem_load(file, path, check->password, &error);
    if (result && result != -ENOKEY) findings_add(&check->findings, RULE_UNREADABLE, path, "%s", error.text);
    if (result == -ENOKEY && check->password) findings_add(&check->findings, RULE_UNREADABLE, path, "%s", error.text);
    return result == 0 || result == -ENOKEY;
}

static void remember(struct check *check, const char *where, STACK_OF(X509) * certs, STACK_OF(X509) * cas) {
    if (check->shown_count < TARGETS_MAX)
        check->shown[check->shown_count++] = (struct shown){strdup(where), certs, cas};
}

/* What the certificates are, said even when nothing is wrong. */
static void describe(struct check *check, const char *where, X509 *cert) {
    char *name = inspect_name(X509_get_subject_name(cert)), *issuer = inspect_name(X509_get_issuer_name(cert));
    int left = inspect_days_left(cert, check->now);
    if (check->common.is_json) {
        json_open(&check->json, NULL, '{');
        json_text(&check->json, "where", where);
        json_text(&check->json, "subject", name);
        json_text(&check->json, "issuer", issuer);
        json_number(&check->json, "days_left", left);
        json_close(&check->json, '}');
    } else {
        printf("%s: %s, signed by %s, %d days left\n", where, name, issuer, left);
    }
    free(name);
    free(issuer);
}

static void check_key(struct check *check, const char *path, const char *cert_path, X509 *cert) {
    struct pem_file file;
    inspect_key_file(&check->findings, path, check->user);
    if (!load(check, &file, path)) return;
    if (file.is_key_encrypted)
        findings_add(&check->findings, RULE_KEY_ENCRYPTED, path, "the key is encrypted%s",
                     file.key ? "" : "; whether it fits was not tested (--password-file)");
    else if (!file.key)
        findings_add(&check->findings, RULE_UNREADABLE, path, "there is no private key in it");
    if (file.key && cert && X509_check_private_key(cert, file.key) != 1)
        findings_add(&check->findings, RULE_KEY_UNFIT, path, "the key does not belong to %s", cert_path);
}

static STACK_OF(X509) * check_cas(struct check *check, const char *path) {
    struct pem_file file;
    if (!load(check, &file, path)) return NULL;
    for (int i = 0; i < sk_X509_num(file.certs); i++) {
        describe(check, path, sk_X509_value(file.certs, i));
        inspect_certificate(&check->findings, path, sk_X509_value(file.certs, i), INSPECT_CA, NULL, check->now);
    }
    if (sk_X509_num(file.certs) > 0) return file.certs;
    findings_add(&check->findings, RULE_UNREADABLE, path, "there is no certificate in it");
    return NULL;
}

/* A leaf and its intermediates. */
static void check_certs(struct check *check, const char *where, STACK_OF(X509) * certs, STACK_OF(X509) * cas,
                        enum inspect_role role) {
    X509 *leaf = sk_X509_value(certs, 0);
    describe(check, where, leaf);
    inspect_certificate(&check->findings, where, leaf, role, role == INSPECT_SERVER ? check->host : NULL, check->now);
    for (int i = 1; i < sk_X509_num(certs); i++)
        inspect_certificate(&check->findings, where, sk_X509_value(certs, i), INSPECT_CA, NULL, check->now);
    if (cas) inspect_chain(&check->findings, where, certs, cas);
}

static STACK_OF(X509) *
    check_cert_file(struct check *check, const char *path, STACK_OF(X509) * cas, enum inspect_role role) {
    struct pem_file file;
    if (!load(check, &file, path)) return NULL;
    if (sk_X509_num(file.certs) == 0) {
        findings_add(&check->findings, RULE_UNREADABLE, path, "there is no certificate in it");
        return NULL;
    }
    check_certs(check, path, file.certs, cas, role);
    return file.certs;
}

static bool exists(const char *path) {
    return access(path, F_OK) == 0;
}

static void check_half(struct check *check, const char *dir, const char *kind, STACK_OF(X509) * cas,
                       enum inspect_role role, bool is_needed) {
    char name[64];
    snprintf(name, sizeof(name), "%s-cert.pem", kind);
    char *cert_path = files_join(dir, name);
    snprintf(name, sizeof(name), "%s-key.pem", kind);
    char *key_path = files_join(dir, name);
    bool has_cert = exists(cert_path), has_key = exists(key_path);
    STACK_OF(X509) *certs = has_cert ? check_cert_file(check, cert_path, cas, role) : NULL;
    if (!has_cert && (is_needed || has_key)) findings_add(&check->findings, RULE_MISSING, cert_path, "is not there");
    if (!has_key && (is_needed || has_cert)) findings_add(&check->findings, RULE_MISSING, key_path, "is not there");
    if (has_key) check_key(check, key_path, cert_path, certs ? sk_X509_value(certs, 0) : NULL);
    if (certs && role == INSPECT_SERVER) remember(check, cert_path, certs, cas);
}

static void check_dh_file(struct check *check, const char *path) {
    struct pem_file file;
    if (!load(check, &file, path)) return;
    if (file.dh)
        inspect_dh(&check->findings, path, file.dh);
    else
        findings_add(&check->findings, RULE_UNREADABLE, path, "there are no DH parameters in it");
}

static void check_files_of(struct check *check, const char *dir) {
    char *ca_path = check->ca ? strdup(check->ca) : files_join(dir, "ca.pem"), *ca_key = files_join(dir, "ca-key.pem");
    char *dh = files_join(dir, "dhparams.pem");
    STACK_OF(X509) *cas = NULL;
    if (exists(ca_path))
        cas = check_cas(check, ca_path);
    else
        findings_add(&check->findings, RULE_MISSING, ca_path, "is not there");
    if (exists(ca_key)) inspect_key_file(&check->findings, ca_key, NULL);
    check_half(check, dir, "server", cas, INSPECT_SERVER, true);
    check_half(check, dir, "client", cas, INSPECT_CLIENT, false);
    if (exists(dh)) check_dh_file(check, dh);
}

static int is_visible(const struct dirent *entry) {
    return entry->d_name[0] != '.';
}

static void check_directory(struct check *check, const char *dir) {
    struct dirent **entries = NULL;
    check->findings.dir = dir;
    check_files_of(check, dir);
    int count = scandir(dir, &entries, is_visible, alphasort);
    for (int i = 0; i < count; i++) {
        char *sub = files_join(dir, entries[i]->d_name);
        if (exists(files_join(sub, "server-cert.pem"))) check_files_of(check, sub);
        free(entries[i]);
    }
    free(entries);
}

static enum inspect_role role_of(const char *path, STACK_OF(X509) * certs) {
    if (inspect_is_ca(sk_X509_value(certs, 0)) && !strstr(path, "server") && !strstr(path, "client")) return INSPECT_CA;
    return strstr(path, "client") ? INSPECT_CLIENT : INSPECT_SERVER;
}

/* "x-cert.pem" -> "x-key.pem" in the same directory */
static char *key_beside(const char *path) {
    const char *end = strstr(path, "-cert.pem");
    char *key = NULL;
    if (!end || end[9] || asprintf(&key, "%.*s-key.pem", (int)(end - path), path) < 0) return NULL;
    return key;
}

static void check_file(struct check *check, const char *path) {
    struct pem_file file;
    char *copy = strdup(path), *dir = strdup(dirname(copy));
    check->findings.dir = dir;
    if (!load(check, &file, path)) return;
    bool has_certs = sk_X509_num(file.certs) > 0;
    if (file.dh) inspect_dh(&check->findings, path, file.dh);
    if (file.key || file.is_key_encrypted)
        check_key(check, path, path, has_certs ? sk_X509_value(file.certs, 0) : NULL);
    if (!has_certs) return;
    enum inspect_role role = role_of(path, file.certs);
    if (role == INSPECT_CA) {
        check_cas(check, path);
        return;
    }
    char *ca_path = check->ca ? strdup(check->ca) : files_join(dir, "ca.pem");
    STACK_OF(X509) *cas = exists(ca_path) ? check_cas(check, ca_path) : NULL;
    check_certs(check, path, file.certs, cas, role);
    if (!cas) findings_add(&check->findings, RULE_MISSING, ca_path, "is not there: the chain was not checked (--ca)");
    char *key = check->key ? strdup(check->key) : key_beside(path);
    if (key && exists(key)) check_key(check, key, path, sk_X509_value(file.certs, 0));
}

static void check_server(struct check *check, const char *target, char *host, char *port) {
    struct probe_wish wish = {.host = host, .port = port, .waits_for_word = check->cert};
    struct pem_file cas = {0}, mine = {0}, key = {0};
    struct probe probe;
    if (check->ca) load(check, &cas, check->ca);
    if (check->cert && load(check, &mine, check->cert)) {
        char *key_path = check->key ? strdup(check->key) : key_beside(check->cert);
        if (key_path) load(check, &key, key_path);
        wish.cert = sk_X509_value(mine.certs, 0);
        wish.extra = mine.certs;
        wish.key = key.key ? key.key : mine.key;
    }
    probe_run(&wish, &probe);
    if (probe.kind == PROBE_UNREACHABLE)
        findings_add(&check->findings, RULE_UNREACHABLE, target, "cannot connect: %s", probe.reason);
    else if (probe.kind == PROBE_GROUP_PLAIN)
        findings_add(&check->findings, RULE_PLAINTEXT, target, "the node speaks the group's protocol in plain text");
    else if (probe.kind == PROBE_MYSQL && !probe.is_tls_offered)
        findings_add(&check->findings, RULE_PLAINTEXT, target, "the server offers no encryption");
    else if (!probe.chain || (check->cert && !probe.is_taken))
        findings_add(&check->findings, RULE_NO_TLS, target, "no TLS connection: %s", probe.reason);
    if (!probe.chain) return;
    check_certs(check, target, probe.chain, cas.certs, INSPECT_SERVER);
    remember(check, target, probe.chain, cas.certs);
}

/* Every pair: does the one trust what the other shows? */
static void compare(struct check *check) {
    for (int i = 0; i < check->shown_count; i++) {
        for (int j = 0; j < check->shown_count; j++) {
            const struct shown *mine = &check->shown[i], *other = &check->shown[j];
            struct findings scratch = {0};
            if (i == j || !mine->cas || mine->cas == other->cas) continue;
            inspect_chain(&scratch, other->where, other->certs, mine->cas);
            if (findings_has(&scratch, RULE_CHAIN))
                findings_add(&check->findings, RULE_CA_DIFFERS, mine->where, "the CA file beside it does not verify %s",
                             other->where);
        }
    }
}

static void check_target(struct check *check, const char *target) {
    struct stat status;
    char *host, *port;
    check->findings.dir = NULL;
    if (stat(target, &status) == 0 && S_ISDIR(status.st_mode))
        check_directory(check, target);
    else if (stat(target, &status) != 0 && probe_split(target, &host, &port))
        check_server(check, target, host, port);
    else
        check_file(check, target);
}

static void tell(struct check *check) {
    int errors = findings_count(&check->findings, FINDING_ERROR),
        warnings = findings_count(&check->findings, FINDING_WARNING);
    if (check->common.is_json) {
        json_close(&check->json, ']');
        findings_json(&check->findings, &check->json);
        json_number(&check->json, "errors", errors);
        json_number(&check->json, "warnings", warnings);
        json_close(&check->json, '}');
        putchar('\n');
        return;
    }
    findings_print(&check->findings, &check->common);
    printf("%d error%s, %d warning%s\n", errors, errors == 1 ? "" : "s", warnings, warnings == 1 ? "" : "s");
}

int cli_cert_check(int argc, char **argv) {
    static struct check check;
    struct xb_error error = {0};
    cli_parse(
        options, parse, "FILE|DIR|HOST:PORT...",
        "Finds what is wrong with certificates before it breaks the cluster. Each finding says what it breaks and "
        "what mends it.\vExamples:\n"
        "  xebec cert check /etc/mysql/certs --owner mysql\n"
        "  xebec cert check server-cert.pem --ca ca.pem --host db1.example\n"
        "  xebec cert check 10.0.0.1:3306 10.0.0.1:4567 --ca ca.pem --cert server-cert.pem\n",
        argc, argv, &check.common, &check);
    check.now = time(NULL);
    check.json = (struct json){stdout, false};
    if (check.password_file && !(check.password = pem_read_password(check.password_file, &error)))
        return cli_trouble(CLI_FAILED, "%s", error.text);
    if (check.common.is_json) {
        json_open(&check.json, NULL, '{');
        json_open(&check.json, "certificates", '[');
    }
    for (int i = 0; i < check.target_count; i++) check_target(&check, check.targets[i]);
    compare(&check);
    tell(&check);
    bool is_bad = findings_count(&check.findings, FINDING_ERROR) > 0 ||
                  (check.is_strict && findings_count(&check.findings, FINDING_WARNING) > 0);
    return is_bad ? CLI_FINDINGS : CLI_GOOD;
}
