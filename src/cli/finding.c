/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The rules that break clusters, in words, and the list of what was found. */
#include "cli/finding.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

/* {dir} and {where} are replaced in what mends. */
static const struct {
    const char *name;
    enum finding_level level;
    const char *breaks, *mend;
} rules[RULE_COUNT] = {
    [RULE_UNREADABLE] = {"unreadable", FINDING_ERROR,
                         "the server does not start, or keeps its old certificate at a reload",
                         "xebec cert init {dir} --keep-ca --force"},
    [RULE_MISSING] = {"missing", FINDING_ERROR, "what needs this file runs without encryption or not at all",
                      "xebec cert init {dir} --keep-ca"},
    [RULE_KEY_UNFIT] = {"key-does-not-fit", FINDING_ERROR, "the server does not start: key values mismatch",
                        "xebec cert init {dir} --keep-ca --force"},
    [RULE_KEY_ENCRYPTED] =
        {"key-encrypted", FINDING_WARNING,
         "MariaDB's ssl_key and the snapshot scripts cannot read it; the provider can, with socket.ssl_password_file",
         "openssl pkey -in {where} -out {where}.plain"},
    [RULE_KEY_OPEN] = {"key-readable-by-others", FINDING_ERROR, "any user of the machine can take the node's identity",
                       "chmod 600 {where}"},
    [RULE_KEY_OWNER] = {"owner", FINDING_ERROR, "the server, which runs as that user, cannot read it",
                        "chown mysql: {where}"},
    [RULE_DIRECTORY_OPEN] = {"directory-writable-by-others", FINDING_ERROR,
                             "any user of the machine can replace the files", "chmod go-w {where}"},
    [RULE_CHAIN] = {"chain", FINDING_ERROR, "every peer that trusts this CA refuses the certificate",
                    "xebec cert init {dir} --keep-ca --force, or put the missing intermediates behind the leaf"},
    [RULE_SAME_NAME] = {"same-name-as-ca", FINDING_ERROR,
                        "a leaf named as its CA is taken for self-signed and refused (error 18)",
                        "xebec cert init {dir} --keep-ca --force"},
    [RULE_SAME_COMMON_NAME] = {"same-common-name-as-ca", FINDING_WARNING,
                               "some TLS libraries compare the common names and refuse it",
                               "xebec cert init {dir} --keep-ca --force"},
    [RULE_EXPIRED] = {"expired", FINDING_ERROR,
                      "every new connection is refused; the cluster falls apart at the next restart or network trouble",
                      "xebec cert init {dir} --keep-ca --force"},
    [RULE_EXPIRES_SOON] = {"expires-soon", FINDING_WARNING, "after that day every new connection is refused",
                           "xebec cert init {dir} --keep-ca --force"},
    [RULE_NOT_YET_VALID] = {"not-yet-valid", FINDING_ERROR, "every new connection is refused until then",
                            "set the clock right, or xebec cert init {dir} --keep-ca --force"},
    [RULE_NO_HOSTS] = {"no-subject-alternative-name", FINDING_WARNING,
                       "clients and snapshots that verify the host name refuse it",
                       "xebec cert init {dir} --keep-ca --force --host NAME --host ADDRESS"},
    [RULE_WRONG_HOST] = {"wrong-host", FINDING_ERROR, "clients and snapshots that verify the host name refuse it",
                         "xebec cert init {dir} --keep-ca --force --host NAME --host ADDRESS"},
    [RULE_NAME_UNFIT_FOR_SST] =
        {"name-unfit-for-sst", FINDING_WARNING,
         "MariaDB's snapshot scripts refuse such names with ssl-mode VERIFY_CA or VERIFY_IDENTITY",
         "xebec cert init {dir} --keep-ca --force"},
    [RULE_PURPOSE] = {"purpose", FINDING_ERROR,
                      "every node dials and is dialled: without serverAuth and clientAuth one direction is refused",
                      "xebec cert init {dir} --keep-ca --force"},
    [RULE_CLIENT_PURPOSE] = {"purpose-of-client", FINDING_ERROR,
                             "servers refuse the client: unsuitable certificate purpose",
                             "xebec cert init {dir} --keep-ca --force"},
    [RULE_KEY_USAGE] = {"key-usage", FINDING_ERROR, "the peer refuses the handshake",
                        "xebec cert init {dir} --keep-ca --force"},
    [RULE_NO_CA] = {"not-a-ca", FINDING_ERROR, "nothing that it signed verifies: invalid CA certificate",
                    "xebec cert init NEWDIR, then rotate to it"},
    [RULE_LEAF_IS_CA] = {"leaf-is-ca", FINDING_WARNING, "who has this key can make members of the cluster",
                         "xebec cert init {dir} --keep-ca --force"},
    [RULE_WEAK_KEY] = {"weak-key", FINDING_ERROR, "OpenSSL refuses it at the usual security level: key too small",
                       "xebec cert init {dir} --keep-ca --force --algorithm ec:p256 (the CA's own: a new directory)"},
    [RULE_WEAK_SIGNATURE] = {"weak-signature", FINDING_ERROR,
                             "OpenSSL refuses it at the usual security level: digest too weak",
                             "xebec cert init {dir} --keep-ca --force (the CA's own: a new directory)"},
    [RULE_DH_REFUSED] = {"dh-refused", FINDING_ERROR, "clients refuse the handshake: dh key too small",
                         "rm {where}; xebec cert init {dir} --keep-ca"},
    [RULE_DH_SMALL] = {"dh-small", FINDING_WARNING, "OpenSSL 3 refuses it at security level 2: dh key too small",
                       "rm {where}; xebec cert init {dir} --keep-ca"},
    [RULE_CA_DIFFERS] = {"ca-differs", FINDING_ERROR, "the nodes refuse each other: unknown ca",
                         "put the CAs of all into every ca.pem, then renew the certificates"},
    [RULE_UNREACHABLE] = {"unreachable", FINDING_ERROR, "nothing could be checked",
                          "is the server running, the port right, the firewall open?"},
    [RULE_PLAINTEXT] =
        {"plaintext", FINDING_ERROR, "everybody on the way reads and changes the data",
         "set ssl_cert, ssl_key, ssl_ca (3306) or socket.ssl_cert, socket.ssl_key, socket.ssl_ca (4567) there"},
    [RULE_NO_TLS] = {"tls-handshake", FINDING_ERROR, "no peer can connect there",
                     "read the server's error log; xebec cert check its files"},
    [RULE_PLAINTEXT_TAKEN] =
        {"plaintext-accepted", FINDING_ERROR,
         "a client that does not ask for encryption sends passwords and data in clear",
         "SET GLOBAL require_secure_transport=ON, and in [mysqld]; for the group: socket.dynamic=no"},
    [RULE_OLD_TLS] = {"old-tls-accepted", FINDING_ERROR, "TLS 1.0 and 1.1 have known attacks",
                      "tls_version = TLSv1.2,TLSv1.3 in [mysqld]"},
    [RULE_ANONYMOUS] = {"anonymous-accepted", FINDING_ERROR, "everybody who reaches the port can be a member",
                        "set socket.ssl_ca"},
    [RULE_FOREIGN] = {"foreign-ca-accepted", FINDING_ERROR, "everybody who makes a certificate can be a member",
                      "set socket.ssl_ca to the cluster's CA alone"},
    [RULE_EXPIRED_TAKEN] = {"expired-accepted", FINDING_ERROR, "a certificate that was given up is good for ever",
                            "set the node's clock right"},
    [RULE_OWN_REFUSED] = {"own-refused", FINDING_ERROR, "nodes with the certificates of the inventory cannot connect",
                          "xebec cert check the node's files; xebec deploy, then reload"},
    [RULE_NO_SQL] = {"no-sql", FINDING_WARNING, "variables and accounts were not looked at",
                     "give [cluster] user and password_file, or [node] socket"},
    [RULE_ACCOUNT] = {"account-without-ssl", FINDING_WARNING,
                      "if require_secure_transport is ever switched off, it may log in in clear",
                      "ALTER USER {where} REQUIRE SSL"},
    [RULE_GROUP_PLAINTEXT] = {"group-plaintext", FINDING_ERROR,
                              "write sets and increments travel, or may travel, in clear",
                              "set socket.ssl_* and remove socket.dynamic on every node"},
    [RULE_CANARY] = {"canary-in-clear", FINDING_ERROR, "what is written to the database passes the network in clear",
                     "xebec config, xebec deploy, and restart the node"},
    [RULE_NOT_PROVEN] = {"not-proven", FINDING_WARNING, "nothing was seen there, so nothing is known",
                         "let it run longer, or on the interface that the nodes use (--interface)"},
};

static char *fill_in(const char *text, const char *dir, const char *where) {
    char *result = NULL;
    size_t size;
    FILE *to = open_memstream(&result, &size);
    if (!to) abort();
    while (*text) {
        if (!strncmp(text, "{dir}", 5) || !strncmp(text, "{where}", 7)) {
            fputs(text[1] == 'd' ? dir : where, to);
            text += text[1] == 'd' ? 5 : 7;
        } else {
            fputc(*text++, to);
        }
    }
    fclose(to);
    return result;
}

void findings_add(struct findings *findings, enum finding_rule rule, const char *where, const char *format, ...) {
    struct finding *list = realloc(findings->list, sizeof(*list) * (size_t)(findings->count + 1));
    if (!list) abort();
    findings->list = list;
    struct finding *finding = &list[findings->count++];
    va_list arguments;
    va_start(arguments, format);
    *finding = (struct finding){rule, strdup(where), NULL,
                                fill_in(rules[rule].mend, findings->dir ? findings->dir : "DIR", where)};
    if (vasprintf(&finding->text, format, arguments) < 0) abort();
    va_end(arguments);
}

int findings_count(const struct findings *findings, enum finding_level level) {
    int count = 0;
    for (int i = 0; i < findings->count; i++) count += rules[findings->list[i].rule].level == level;
    return count;
}

const struct finding *findings_first(const struct findings *findings, enum finding_level level) {
    for (int i = 0; i < findings->count; i++) {
        if (rules[findings->list[i].rule].level == level) return &findings->list[i];
    }
    return NULL;
}

bool findings_has(const struct findings *findings, enum finding_rule rule) {
    for (int i = 0; i < findings->count; i++) {
        if (findings->list[i].rule == rule) return true;
    }
    return false;
}

static const char *const level_names[] = {"note", "warning", "error"};

/* Names in certificates may hold anything: nothing of it may steer the terminal. */
static void print_safely(const char *text) {
    for (; *text; text++) putchar((unsigned char)*text < 0x20 || *text == 0x7f ? '?' : *text);
}

void findings_print(const struct findings *findings, const struct cli_common *common) {
    static const char *const colours[] = {"", "\033[33m", "\033[31m"};
    for (int i = 0; i < findings->count; i++) {
        const struct finding *f = &findings->list[i];
        enum finding_level level = rules[f->rule].level;
        printf("%s%-7s%s ", common->is_colour ? colours[level] : "", level_names[level],
               common->is_colour ? "\033[0m" : "");
        print_safely(f->where);
        printf(": ");
        print_safely(f->text);
        printf(" [%s]\n        breaks: %s\n        mend:   ", rules[f->rule].name, rules[f->rule].breaks);
        print_safely(f->mend);
        putchar('\n');
    }
}

void findings_json(const struct findings *findings, struct json *json) {
    json_open(json, "findings", '[');
    for (int i = 0; i < findings->count; i++) {
        const struct finding *f = &findings->list[i];
        json_open(json, NULL, '{');
        json_text(json, "level", level_names[rules[f->rule].level]);
        json_text(json, "rule", rules[f->rule].name);
        json_text(json, "where", f->where);
        json_text(json, "text", f->text);
        json_text(json, "breaks", rules[f->rule].breaks);
        json_text(json, "mend", f->mend);
        json_close(json, '}');
    }
    json_close(json, ']');
}
