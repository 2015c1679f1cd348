/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xebec audit: knocks at every channel of every node and reads what the servers say about themselves.
 *
 * At each port it tries what must not work: plain text, TLS 1.1, no certificate, one of another CA, an expired one
 * (made for the purpose; needs the CA's key here). The transfer ports are open only during a transfer, and a stray
 * connection ends the snapshots of the stock programs: they are knocked at only when asked to.
 */
#include "cli/audit.h"
#include "cli/cli.h"
#include "cli/files.h"
#include "cli/inspect.h"
#include "cli/issue.h"
#include "cli/observe.h"
#include "cli/pem.h"
#include "cli/probe.h"

#include <limits.h>
#include <openssl/ssl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define DAY_S 86400

enum { KEY_TRANSFERS = 0x100, KEY_PROOF, KEY_INTERFACE };

static const struct argp_option options[] = {
    {"transfers", KEY_TRANSFERS, NULL, 0, "Knock at the IST and SST ports too; this may end a running transfer", 0},
    {"proof", KEY_PROOF, "SECONDS", 0,
     "Write a random canary through the cluster and look for it in the captured traffic (needs root, and an account "
     "that may create a database)",
     0},
    {"interface", KEY_INTERFACE, "NAME", 0, "Where --proof captures (default: any)", 0},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state) {
    struct audit *audit = state->input;
    switch (key) {
    case KEY_TRANSFERS:
        audit->knocks_at_transfers = true;
        return 0;
    case KEY_PROOF:
        audit->proof_s = atoi(value);
        if (audit->proof_s < 1) argp_error(state, "--proof: a number of seconds from 1");
        return 0;
    case KEY_INTERFACE:
        audit->interface = value;
        return 0;
    case ARGP_KEY_ARG:
        if (audit->inventory_path) argp_error(state, "one inventory is enough");
        audit->inventory_path = value;
        return 0;
    case ARGP_KEY_END:
        if (!audit->inventory_path) argp_error(state, "which inventory?");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* A certificate to show. */
struct identity {
    X509 *cert;
    EVP_PKEY *key;
    STACK_OF(X509) * extra;
};

/* What is tried at every port; cert NULL: not to be had. */
struct identities {
    struct identity own, foreign, expired;
    STACK_OF(X509) * cas;
};

static struct identity make_foreign(void) {
    time_t now = time(NULL);
    EVP_PKEY *ca_key = issue_key("ec:p256", NULL), *key = issue_key("ec:p256", NULL);
    struct issue_wish ca = {ISSUE_CA, "stranger-ca", NULL, now - DAY_S, now + DAY_S};
    struct issue_wish leaf = {ISSUE_SERVER, "stranger", NULL, now - DAY_S, now + DAY_S};
    X509 *issuer = ca_key ? issue_certificate(&ca, ca_key, NULL, NULL, NULL) : NULL;
    return (struct identity){issuer && key ? issue_certificate(&leaf, key, issuer, ca_key, NULL) : NULL, key, NULL};
}

static struct identity make_expired(const struct inventory *inventory) {
    struct pem_file ca, ca_key;
    time_t now = time(NULL);
    if (pem_load_in(&ca, inventory->certs, "ca.pem", NULL, NULL) != 0 ||
        pem_load_in(&ca_key, inventory->certs, "ca-key.pem", NULL, NULL) != 0)
        return (struct identity){0};
    X509 *issuer = NULL;
    for (int i = 0; i < sk_X509_num(ca.certs); i++) {
        if (X509_check_private_key(sk_X509_value(ca.certs, i), ca_key.key) == 1) issuer = sk_X509_value(ca.certs, i);
    }
    EVP_PKEY *key = issue_key("ec:p256", NULL);
    struct issue_wish leaf = {ISSUE_SERVER, "expired", NULL, now - 2 * DAY_S, now - DAY_S};
    return (struct identity){issuer && key ? issue_certificate(&leaf, key, issuer, ca_key.key, NULL) : NULL, key, NULL};
}

static void load_identities(struct audit *audit, const struct inventory_node *node, struct identities *ids) {
    struct pem_file ca = {0}, cert = {0}, key = {0};
    char *dir = inventory_certs_of(&audit->inventory, node);
    *ids = (struct identities){.foreign = make_foreign(), .expired = make_expired(&audit->inventory)};
    if (pem_load_in(&ca, dir, "ca.pem", NULL, NULL) == 0) ids->cas = ca.certs;
    if (pem_load_in(&cert, dir, "server-cert.pem", NULL, NULL) == 0 &&
        pem_load_in(&key, dir, "server-key.pem", NULL, NULL) == 0)
        ids->own = (struct identity){sk_X509_value(cert.certs, 0), key.key, cert.certs};
    free(dir);
}

static const char *taken_or_refused(struct audit *audit, struct probe_wish wish, const struct identity *identity,
                                    enum finding_rule rule, const char *where, const char *what) {
    struct probe probe;
    wish.cert = identity ? identity->cert : NULL;
    wish.key = identity ? identity->key : NULL;
    wish.extra = identity ? identity->extra : NULL;
    if (identity && !identity->cert) return "not tried";
    probe_run(&wish, &probe);
    bool is_taken = probe.is_tls_done && (!wish.waits_for_word || probe.is_taken);
    if (is_taken) findings_add(&audit->findings, rule, where, "accepts %s (%s %s)", what, probe.version, probe.cipher);
    probe_free(&probe);
    return is_taken ? "ACCEPTED" : "refused";
}

/* What is the same for all channels once it is known that TLS is spoken. */
static void judge_tls(struct audit *audit, const struct identities *ids, const char *where, const struct probe *probe,
                      const struct probe_wish *wish, struct audit_channel *channel) {
    X509 *leaf = sk_X509_value(probe->chain, 0);
    struct probe_wish old = *wish;
    old.max_version = TLS1_1_VERSION;
    channel->protocol = strdup(probe->version);
    channel->cipher = strdup(probe->cipher);
    channel->subject = inspect_name(X509_get_subject_name(leaf));
    channel->days_left = inspect_days_left(leaf, time(NULL));
    inspect_certificate(&audit->findings, where, leaf, INSPECT_SERVER, NULL, time(NULL));
    if (ids->cas) inspect_chain(&audit->findings, where, probe->chain, ids->cas);
    channel->old_tls =
        taken_or_refused(audit, old, ids->own.cert ? &ids->own : NULL, RULE_OLD_TLS, where, "TLS 1.1 or older");
}

static void audit_clients(struct audit *audit, const struct inventory_node *node, const struct identities *ids,
                          const char *where, struct audit_channel *channel) {
    struct probe_wish wish = {.host = node->address, .port = node->port};
    struct probe probe;
    probe_run(&wish, &probe);
    channel->is_open = probe.kind != PROBE_UNREACHABLE;
    if (!channel->is_open) {
        findings_add(&audit->findings, RULE_UNREACHABLE, where, "cannot connect: %s", probe.reason);
        return;
    }
    if (probe.kind != PROBE_MYSQL) {
        findings_add(&audit->findings, RULE_NO_TLS, where, "no database server answers: %s", probe.reason);
        return;
    }
    channel->plain = probe.is_tls_offered ? "not tried" : "ACCEPTED";
    if (probe.chain)
        judge_tls(audit, ids, where, &probe, &wish, channel);
    else if (probe.is_tls_offered)
        findings_add(&audit->findings, RULE_NO_TLS, where, "no TLS connection: %s", probe.reason);
    else
        findings_add(&audit->findings, RULE_PLAINTEXT, where, "the server offers no encryption");
    probe_free(&probe);
}

/* A server that wants encryption says so only after it has got the password: its own word must do. */
static void judge_clients(struct audit *audit, const struct inventory_node *node, const struct observation *o,
                          struct audit_channel *channel) {
    if (!channel->is_open) return;
    channel->plain = observe_is_on(o->secure_transport) ? "refused" : "ACCEPTED";
    if (!observe_is_on(o->secure_transport))
        findings_add(&audit->findings, RULE_PLAINTEXT_TAKEN, node->name, "clients: require_secure_transport is off");
}

/* Group, IST, SST: TLS from the first byte, both sides show certificates. */
static void audit_peers(struct audit *audit, const struct inventory_node *node, const struct identities *ids,
                        const char *port, const char *where, bool is_optional, struct audit_channel *channel) {
    struct probe_wish wish = {.host = node->address, .port = port, .waits_for_word = true};
    struct probe probe;
    wish.cert = ids->own.cert;
    wish.key = ids->own.key;
    wish.extra = ids->own.extra;
    probe_run(&wish, &probe);
    channel->is_open = probe.kind != PROBE_UNREACHABLE;
    if (!channel->is_open) {
        if (!is_optional) findings_add(&audit->findings, RULE_UNREACHABLE, where, "cannot connect: %s", probe.reason);
        return;
    }
    bool is_plain = probe.kind == PROBE_GROUP_PLAIN || (!probe.chain && probe.kind == PROBE_SILENT);
    channel->plain = is_plain ? "ACCEPTED" : "refused";
    if (is_plain)
        findings_add(&audit->findings, RULE_PLAINTEXT, where,
                     probe.kind == PROBE_GROUP_PLAIN ? "speaks the group's protocol in plain text"
                                                     : "does not speak TLS");
    else if (!probe.chain)
        findings_add(&audit->findings, RULE_NO_TLS, where, "no TLS connection: %s", probe.reason);
    if (probe.chain) {
        wish.is_tls_expected = true; /* nobody spoke first the first time */
        judge_tls(audit, ids, where, &probe, &wish, channel);
        if (ids->own.cert && !probe.is_taken)
            findings_add(&audit->findings, RULE_OWN_REFUSED, where, "refuses the inventory's certificate: %s",
                         probe.reason);
        channel->anonymous = taken_or_refused(audit, wish, NULL, RULE_ANONYMOUS, where, "a peer without certificate");
        channel->foreign =
            taken_or_refused(audit, wish, &ids->foreign, RULE_FOREIGN, where, "a certificate of another CA");
        channel->expired =
            taken_or_refused(audit, wish, &ids->expired, RULE_EXPIRED_TAKEN, where, "an expired certificate");
    }
    probe_free(&probe);
}

struct accounts {
    struct audit *audit;
    const char *node;
};

static void take_account(void *ctx, unsigned columns, char **values) {
    struct accounts *accounts = ctx;
    char *where = NULL;
    if (columns < 2 || asprintf(&where, "'%s'@'%s'", values[0] ? values[0] : "", values[1] ? values[1] : "") < 0)
        return;
    const struct findings *findings = &accounts->audit->findings;
    bool is_known = false; /* accounts are the same on all nodes, usually */
    for (int i = 0; i < findings->count; i++)
        is_known = is_known || (findings->list[i].rule == RULE_ACCOUNT && !strcmp(findings->list[i].where, where));
    if (!is_known)
        findings_add(&accounts->audit->findings, RULE_ACCOUNT, where, "on node %s: has no REQUIRE SSL or X509",
                     accounts->node);
    free(where);
}

static void audit_sql(struct audit *audit, const struct inventory_node *node, struct audit_channel *clients) {
    struct xb_error error = {0};
    struct observation o;
    struct accounts accounts = {audit, node->name};
    struct sql *sql = sql_open(&audit->inventory, node, SQL_SAFE, &error);
    if (sql && observe(sql, &o, &error) == 0) {
        const char *group = observe_group(&o);
        if (strcmp(group, "encrypted"))
            findings_add(&audit->findings, RULE_GROUP_PLAINTEXT, node->name, "group communication and IST: %s", group);
        judge_clients(audit, node, &o, clients);
        observe_free(&o);
        /* localhost alone is a socket; roles do not log in */
        sql_run(sql, "SELECT User, Host FROM mysql.user WHERE ssl_type = '' AND is_role = 'N' AND Host <> 'localhost'",
                take_account, &accounts, &error);
    }
    if (error.code) findings_add(&audit->findings, RULE_NO_SQL, node->name, "%s", error.text);
    sql_close(sql);
}

static struct audit_channel *new_channel(struct audit *audit, const struct inventory_node *node, const char *kind) {
    struct audit_channel *channel = &audit->channels[audit->channel_count++];
    *channel = (struct audit_channel){.node = node->name, .kind = kind, .days_left = INT_MAX};
    return channel;
}

static void audit_node(struct audit *audit, const struct inventory_node *node) {
    struct identities ids;
    struct audit_channel *clients = &audit->channels[audit->channel_count];
    load_identities(audit, node, &ids);
    const struct {
        const char *kind, *port;
        bool is_transfer;
    } channels[] = {{"clients", node->port, false},
                    {"group", node->group_port, false},
                    {"IST", node->ist_port, true},
                    {"SST", node->sst_port, true}};
    for (size_t i = 0; i < sizeof(channels) / sizeof(*channels); i++) {
        char *where = NULL;
        if (channels[i].is_transfer && !audit->knocks_at_transfers) continue;
        if (asprintf(&where, "%s %s %s:%s", node->name, channels[i].kind, node->address, channels[i].port) < 0) abort();
        struct audit_channel *channel = new_channel(audit, node, channels[i].kind);
        if (i == 0)
            audit_clients(audit, node, &ids, where, channel);
        else
            audit_peers(audit, node, &ids, channels[i].port, where, channels[i].is_transfer, channel);
        free(where);
    }
    audit_sql(audit, node, clients);
}

static const char *or_dash(const char *value) {
    return value ? value : "-";
}

static void print_channels(const struct audit *audit) {
    printf("%-10s %-8s %-8s %-26s %-24s %6s  %-9s %-9s %-9s %-9s %-9s\n", "node", "channel", "protocol", "cipher",
           "certificate", "days", "plaintext", "TLS 1.1", "anonymous", "other CA", "expired");
    for (int i = 0; i < audit->channel_count; i++) {
        const struct audit_channel *c = &audit->channels[i];
        char days[16] = "-";
        if (c->days_left != INT_MAX) snprintf(days, sizeof(days), "%d", c->days_left);
        printf("%-10s %-8s %-8s %-26.26s %-24.24s %6s  %-9s %-9s %-9s %-9s %-9s\n", c->node, c->kind,
               c->is_open ? or_dash(c->protocol) : "closed", or_dash(c->cipher), or_dash(c->subject), days,
               or_dash(c->plain), or_dash(c->old_tls), or_dash(c->anonymous), or_dash(c->foreign), or_dash(c->expired));
    }
    for (int i = 0; i < audit->proof_count; i++) {
        const struct audit_proof *p = &audit->proofs[i];
        printf("proof: %-10s %-8s %8zu bytes seen, canary %s\n", p->node, p->kind, p->bytes,
               p->hits    ? "FOUND IN CLEAR"
               : p->bytes ? "not found"
                          : "not seen here");
    }
}

static void json_channels(const struct audit *audit, struct json *json) {
    json_open(json, "channels", '[');
    for (int i = 0; i < audit->channel_count; i++) {
        const struct audit_channel *c = &audit->channels[i];
        json_open(json, NULL, '{');
        json_text(json, "node", c->node);
        json_text(json, "channel", c->kind);
        json_bool(json, "open", c->is_open);
        json_text(json, "protocol", c->protocol);
        json_text(json, "cipher", c->cipher);
        json_text(json, "certificate", c->subject);
        if (c->days_left != INT_MAX) json_number(json, "days_left", c->days_left);
        json_text(json, "plaintext", c->plain);
        json_text(json, "old_tls", c->old_tls);
        json_text(json, "anonymous", c->anonymous);
        json_text(json, "other_ca", c->foreign);
        json_text(json, "expired", c->expired);
        json_close(json, '}');
    }
    json_close(json, ']');
    json_open(json, "proof", '[');
    for (int i = 0; i < audit->proof_count; i++) {
        json_open(json, NULL, '{');
        json_text(json, "node", audit->proofs[i].node);
        json_text(json, "channel", audit->proofs[i].kind);
        json_number(json, "bytes", (int64_t)audit->proofs[i].bytes);
        json_number(json, "hits", (int64_t)audit->proofs[i].hits);
        json_close(json, '}');
    }
    json_close(json, ']');
}

int cli_audit(int argc, char **argv) {
    static struct audit audit;
    struct xb_error error = {0};
    cli_parse(
        options, parse, "INVENTORY",
        "Connects to the channels of every node and reports protocol, cipher, certificate, and whether plain text, old "
        "TLS, no certificate, one of another CA and an expired one are refused. Exit code 1 when something is open.",
        argc, argv, &audit.common, &audit);
    if (inventory_read(&audit.inventory, audit.inventory_path, &error))
        return cli_trouble(CLI_FAILED, "%s", error.text);
    audit.findings.dir = audit.inventory.certs;
    for (int i = 0; i < audit.inventory.node_count; i++) audit_node(&audit, &audit.inventory.nodes[i]);
    if (audit.proof_s && audit_prove(&audit, &error)) return cli_trouble(CLI_FAILED, "%s", error.text);
    int errors = findings_count(&audit.findings, FINDING_ERROR),
        warnings = findings_count(&audit.findings, FINDING_WARNING);
    if (audit.common.is_json) {
        struct json json = {stdout, false};
        json_open(&json, NULL, '{');
        json_channels(&audit, &json);
        findings_json(&audit.findings, &json);
        json_close(&json, '}');
        putchar('\n');
    } else {
        print_channels(&audit);
        findings_print(&audit.findings, &audit.common);
        printf("%d error%s, %d warning%s\n", errors, errors == 1 ? "" : "s", warnings, warnings == 1 ? "" : "s");
    }
    inventory_free(&audit.inventory);
    return errors ? CLI_FINDINGS : CLI_GOOD;
}
