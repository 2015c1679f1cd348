/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xebec cert init: a CA and what it signs, in MySQL's file names.
 *
 *     DIR/ca.pem ca-key.pem server-cert.pem server-key.pem client-cert.pem client-key.pem dhparams.pem
 *     DIR/NODE/ca.pem server-cert.pem server-key.pem client-cert.pem client-key.pem dhparams.pem   with --node
 *
 * The common names are NAME-ca-xxxxxx, NAME-server, NAME-client, NAME-node-NODE, NAME-client-NODE: never equal (a leaf
 * named as its CA is taken for self-signed), and without blanks or stars (MariaDB's snapshot scripts refuse these). The
 * CA's has a random part, so that an old and a new CA can be told apart while they are rotated. All is made in memory
 * first and all targets are looked at before the first file is written.
 */
#include "cli/cli.h"
#include "cli/files.h"
#include "cli/issue.h"
#include "cli/json.h"
#include "cli/pem.h"

#include <errno.h>
#include <openssl/rand.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NODES_MAX 64
#define HOSTS_MAX 64
#define DAY_S 86400
#define DH_BITS 2048
#define CLOCK_SKEW_S 300 /* a node whose clock is a little behind must not find a new certificate "not yet valid" */

struct node {
    char *name;
    const char *hosts[HOSTS_MAX + 1];
};

struct init {
    struct cli_common common;
    const char *dir, *cluster, *algorithm, *password_file;
    char *password;
    int days, ca_days;
    bool is_forced, is_ca_kept, are_all_encrypted;
    unsigned dh_bits; /* of a fresh group; 0: the one of RFC 7919 */
    const char *hosts[HOSTS_MAX + 1];
    int host_count;
    struct node nodes[NODES_MAX];
    int node_count;
    X509 *ca;
    EVP_PKEY *ca_key, *dh;
};

enum { KEY_CA_DAYS = 0x100, KEY_FORCE, KEY_KEEP_CA, KEY_PASSWORD, KEY_ENCRYPT, KEY_GENERATE };

static const struct argp_option options[] = {
    {"cluster", 'c', "NAME", 0, "Begins the common names (default: xebec)", 0},
    {"algorithm", 'a', "KIND", 0, "rsa:2048, rsa:3072, rsa:4096, ec:p256 (default), ec:p384 or ed25519", 0},
    {"days", 'd', "N", 0, "How long server and client certificates are valid (default: 825)", 0},
    {"ca-days", KEY_CA_DAYS, "N", 0, "How long the CA is valid (default: 3650)", 0},
    {"host", 'h', "HOST", 0,
     "Name or address for the server certificate; may be repeated (default: this host and localhost)", 0},
    {"node", 'n', "NODE=HOST,...", 0,
     "A server certificate for this node alone, in DIR/NODE with all that it needs; may be repeated", 0},
    {"keep-ca", KEY_KEEP_CA, NULL, 0,
     "Sign with the CA that is in DIR; make only what is missing (with --force: all but the CA)", 0},
    {"force", KEY_FORCE, NULL, 0, "Overwrite what is there", 0},
    {"password-file", KEY_PASSWORD, "FILE", 0, "Encrypt the CA's key with the first line of FILE", 0},
    {"encrypt-keys", KEY_ENCRYPT, NULL, 0,
     "Encrypt the other keys too: the provider reads them (socket.ssl_password_file), MariaDB's own ssl_key and the "
     "snapshot scripts do not",
     0},
    {"generate", KEY_GENERATE, "BITS", OPTION_ARG_OPTIONAL,
     "Search for fresh DH parameters (default: 2048 bits), up to minutes, instead of taking ffdhe2048 of RFC 7919", 0},
    {0},
};

/* What is safe as a file name, in a common name and in a configuration file. */
static bool is_plain_name(const char *name) {
    size_t length = strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");
    return length > 0 && length <= 32 && !name[length] && *name != '.' && *name != '-';
}

static bool is_host(const char *host) {
    size_t length = strspn(host, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-:*");
    return length > 0 && length <= 253 && !host[length];
}

/* Shorter ones are refused by every check, and by many peers (spec 08). */
static unsigned dh_bits(struct argp_state *state, const char *value) {
    char *end;
    long bits = strtol(value, &end, 10);
    if (*end || bits < 1024 || bits > 8192)
        argp_error(state, "--generate: '%s' is no number of bits from 1024 to 8192", value);
    return (unsigned)bits;
}

static int days_from(const char *value, struct argp_state *state) {
    char *end;
    long days = strtol(value, &end, 10);
    if (*end || days < 1 || days > 36500) argp_error(state, "'%s' is no number of days from 1 to 36500", value);
    return (int)days;
}

static void add_node(struct init *init, char *value, struct argp_state *state) {
    if (init->node_count == NODES_MAX) argp_error(state, "more than %d nodes", NODES_MAX);
    struct node *node = &init->nodes[init->node_count++];
    node->name = strsep(&value, "=");
    if (!is_plain_name(node->name))
        argp_error(state, "'%s' is no name for a node: letters, digits, . _ -, 32 at most", node->name);
    for (int i = 0; i < init->node_count - 1; i++) {
        if (!strcasecmp(init->nodes[i].name, node->name)) argp_error(state, "node '%s' is given twice", node->name);
    }
    int count = 0;
    for (char *host; (host = strsep(&value, ","));) {
        if (!is_host(host) || count == HOSTS_MAX) argp_error(state, "'%s' is no host name or address", host);
        node->hosts[count++] = host;
    }
    if (count == 0) node->hosts[0] = node->name;
}

static error_t parse(int key, char *value, struct argp_state *state) {
    struct init *init = state->input;
    switch (key) {
    case 'c':
        if (!is_plain_name(value)) argp_error(state, "--cluster: letters, digits, . _ -, 32 at most");
        init->cluster = value;
        return 0;
    case 'a':
        init->algorithm = value;
        return 0;
    case 'd':
        init->days = days_from(value, state);
        return 0;
    case KEY_CA_DAYS:
        init->ca_days = days_from(value, state);
        return 0;
    case 'h':
        if (!is_host(value) || init->host_count == HOSTS_MAX)
            argp_error(state, "'%s' is no host name or address", value);
        init->hosts[init->host_count++] = value;
        return 0;
    case 'n':
        add_node(init, value, state);
        return 0;
    case KEY_KEEP_CA:
        init->is_ca_kept = true;
        return 0;
    case KEY_FORCE:
        init->is_forced = true;
        return 0;
    case KEY_PASSWORD:
        init->password_file = value;
        return 0;
    case KEY_ENCRYPT:
        init->are_all_encrypted = true;
        return 0;
    case KEY_GENERATE:
        init->dh_bits = value ? dh_bits(state, value) : DH_BITS;
        return 0;
    case ARGP_KEY_ARG:
        if (init->dir) argp_error(state, "one directory is enough");
        init->dir = value;
        return 0;
    case ARGP_KEY_END:
        if (!init->dir) argp_error(state, "which directory?");
        if (init->are_all_encrypted && !init->password_file) argp_error(state, "--encrypt-keys needs --password-file");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* One pair to be written, or nothing if key is NULL. */
struct pair {
    char *key_path, *cert_path;
    EVP_PKEY *key;
    STACK_OF(X509) * certs;
};

struct plan {
    struct pair pairs[3 + 2 * NODES_MAX];
    int pair_count;
    char *ca_copies[1 + NODES_MAX], *dh_paths[1 + NODES_MAX];
    int ca_copy_count, dh_count;
};

static bool exists(const char *path) {
    return access(path, F_OK) == 0;
}

static int refuse_existing(struct init *init, const char *path, struct xb_error *error) {
    if (init->is_forced || !exists(path)) return 0;
    return xb_fail(error, -EEXIST,
                   "%s exists: nothing is overwritten. Choose another directory, add what is missing "
                   "with --keep-ca, or replace it with --force",
                   path);
}

/* -> 0: made (or, kept CA, there already), or a negative errno with *error */
static int plan_pair(struct init *init, struct plan *plan, const char *dir, const char *kind,
                     const struct issue_wish *wish, struct xb_error *error) {
    char file[64];
    snprintf(file, sizeof(file), "%s-key.pem", kind);
    char *key_path = files_join(dir, file);
    snprintf(file, sizeof(file), wish->kind == ISSUE_CA ? "%s.pem" : "%s-cert.pem", kind);
    char *cert_path = files_join(dir, file);
    if (init->is_ca_kept && !init->is_forced && exists(key_path) && exists(cert_path)) return 0;
    int result = refuse_existing(init, key_path, error);
    if (result == 0) result = refuse_existing(init, cert_path, error);
    if (result) return result;
    struct pair *pair = &plan->pairs[plan->pair_count++];
    pair->key_path = key_path;
    pair->cert_path = cert_path;
    pair->key = issue_key(init->algorithm, error);
    X509 *cert = pair->key ? issue_certificate(wish, pair->key, init->ca, init->ca_key, error) : NULL;
    pair->certs = sk_X509_new_null();
    if (!cert || !pair->certs || !sk_X509_push(pair->certs, cert)) return error->code ? error->code : -ENOMEM;
    return 0;
}

static int plan_ca(struct init *init, struct plan *plan, struct xb_error *error) {
    unsigned char random[3];
    char name[64];
    if (RAND_bytes(random, sizeof(random)) != 1) return xb_fail(error, -EIO, "no randomness: %s", issue_reason());
    snprintf(name, sizeof(name), "%s-ca-%02x%02x%02x", init->cluster, random[0], random[1], random[2]);
    time_t now = time(NULL);
    struct issue_wish wish = {ISSUE_CA, name, NULL, now - CLOCK_SKEW_S, now + (time_t)init->ca_days * DAY_S};
    int result = plan_pair(init, plan, init->dir, "ca", &wish, error);
    if (result) return result;
    init->ca = sk_X509_value(plan->pairs[0].certs, 0);
    init->ca_key = plan->pairs[0].key;
    return 0;
}

static int load_ca(struct init *init, struct xb_error *error) {
    struct pem_file certificate, key;
    int result = pem_load_in(&certificate, init->dir, "ca.pem", NULL, error);
    if (result == 0) result = pem_load_in(&key, init->dir, "ca-key.pem", init->password, error);
    if (result) return result;
    for (int i = 0; key.key && i < sk_X509_num(certificate.certs); i++) { /* a bundle, while a CA is rotated */
        if (X509_check_private_key(sk_X509_value(certificate.certs, i), key.key) == 1)
            init->ca = sk_X509_value(certificate.certs, i);
    }
    init->ca_key = key.key;
    return init->ca ? 0
                    : xb_fail(error, -EKEYREJECTED, "%s/ca-key.pem does not belong to %s/ca.pem", init->dir, init->dir);
}

/* A leaf that outlives its CA would be a promise that is not kept. */
static time_t leaf_until(const struct init *init, time_t now) {
    struct tm end;
    time_t until = now + (time_t)init->days * DAY_S;
    if (!ASN1_TIME_to_tm(X509_get0_notAfter(init->ca), &end)) return until;
    time_t ca_until = timegm(&end);
    return until < ca_until ? until : ca_until;
}

static int plan_leaves(struct init *init, struct plan *plan, const char *dir, const char *server_name, const char *node,
                       const char **hosts, struct xb_error *error) {
    time_t now = time(NULL);
    char client_name[100];
    snprintf(client_name, sizeof(client_name), "%s-client%s%s", init->cluster, node ? "-" : "", node ? node : "");
    struct issue_wish server = {ISSUE_SERVER, server_name, hosts, now - CLOCK_SKEW_S, leaf_until(init, now)};
    struct issue_wish client = {ISSUE_CLIENT, client_name, NULL, now - CLOCK_SKEW_S, leaf_until(init, now)};
    int result = plan_pair(init, plan, dir, "server", &server, error);
    if (result == 0) result = plan_pair(init, plan, dir, "client", &client, error);
    char *dh = files_join(dir, "dhparams.pem");
    if (result == 0 && init->is_ca_kept && exists(dh)) return 0;
    if (result == 0) result = refuse_existing(init, dh, error);
    plan->dh_paths[plan->dh_count++] = dh;
    return result;
}

static int plan_all(struct init *init, struct plan *plan, struct xb_error *error) {
    char name[80];
    int result = init->is_ca_kept ? load_ca(init, error) : plan_ca(init, plan, error);
    snprintf(name, sizeof(name), "%s-server", init->cluster);
    if (result == 0) result = plan_leaves(init, plan, init->dir, name, NULL, init->hosts, error);
    for (int i = 0; result == 0 && i < init->node_count; i++) {
        const struct node *node = &init->nodes[i];
        char *dir = files_join(init->dir, node->name), *ca = files_join(dir, "ca.pem");
        result = init->is_ca_kept ? 0 : refuse_existing(init, ca, error);
        plan->ca_copies[plan->ca_copy_count++] = ca;
        snprintf(name, sizeof(name), "%s-node-%s", init->cluster, node->name);
        if (result == 0) result = plan_leaves(init, plan, dir, name, node->name, (const char **)node->hosts, error);
    }
    if (result == 0 && plan->dh_count > 0) init->dh = issue_dh(init->dh_bits, error);
    return result ? result : plan->dh_count > 0 && !init->dh ? error->code : 0;
}

/* What the CA file of the directory holds goes to every node: with --keep-ca that may be a bundle of old and new. */
static int write_ca_copies(struct init *init, struct plan *plan, struct xb_error *error) {
    size_t size;
    char *text = files_read(files_join(init->dir, "ca.pem"), &size, error);
    int result = text ? 0 : error->code;
    for (int i = 0; result == 0 && i < plan->ca_copy_count; i++)
        result = files_write(plan->ca_copies[i], text, size, 0644, false, error);
    free(text);
    return result;
}

static int write_all(struct init *init, struct plan *plan, struct xb_error *error) {
    bool is_new = !init->is_forced;
    int result = files_make_directory(init->dir, 0755, error);
    for (int i = 0; result == 0 && i < init->node_count; i++)
        result = files_make_directory(files_join(init->dir, init->nodes[i].name), 0755, error);
    for (int i = 0; result == 0 && i < plan->pair_count; i++) {
        const struct pair *pair = &plan->pairs[i];
        bool is_ca = pair->key == init->ca_key;
        result = pem_write_key(pair->key_path, pair->key, is_ca || init->are_all_encrypted ? init->password : NULL,
                               is_new, error);
        if (result == 0) result = pem_write_certs(pair->cert_path, pair->certs, is_new, error);
    }
    for (int i = 0; result == 0 && i < plan->dh_count; i++)
        result = pem_write_dh(plan->dh_paths[i], init->dh, is_new, error);
    return result ? result : write_ca_copies(init, plan, error);
}

static void tell(const struct init *init, const struct plan *plan) {
    if (init->common.is_json) {
        struct json json = {stdout, false};
        json_open(&json, NULL, '{');
        json_text(&json, "directory", init->dir);
        json_open(&json, "files", '[');
        for (int i = 0; i < plan->pair_count; i++) {
            json_text(&json, NULL, plan->pairs[i].cert_path);
            json_text(&json, NULL, plan->pairs[i].key_path);
        }
        for (int i = 0; i < plan->dh_count; i++) json_text(&json, NULL, plan->dh_paths[i]);
        for (int i = 0; i < plan->ca_copy_count; i++) json_text(&json, NULL, plan->ca_copies[i]);
        json_close(&json, ']');
        json_close(&json, '}');
        putchar('\n');
        return;
    }
    for (int i = 0; i < plan->pair_count; i++) printf("%s\n%s\n", plan->pairs[i].cert_path, plan->pairs[i].key_path);
    for (int i = 0; i < plan->dh_count; i++) printf("%s\n", plan->dh_paths[i]);
    for (int i = 0; i < plan->ca_copy_count; i++) printf("%s\n", plan->ca_copies[i]);
    if (plan->pair_count == 0 && plan->ca_copy_count == 0) printf("Nothing was missing in %s.\n", init->dir);
    if (!init->is_ca_kept) printf("Keep ca-key.pem away from the nodes: who has it can make members of the cluster.\n");
}

static void default_hosts(struct init *init) {
    static char own[256];
    if (init->host_count) return;
    if (gethostname(own, sizeof(own) - 1) == 0 && is_host(own) && strcmp(own, "localhost"))
        init->hosts[init->host_count++] = own;
    init->hosts[init->host_count++] = "localhost";
    init->hosts[init->host_count++] = "127.0.0.1";
    init->hosts[init->host_count++] = "::1";
}

int cli_cert_init(int argc, char **argv) {
    static struct init init = {.cluster = "xebec", .algorithm = "ec:p256", .days = 825, .ca_days = 3650};
    static struct plan plan;
    struct xb_error error = {0};
    cli_parse(
        options, parse, "DIR",
        "Makes in DIR: ca.pem, ca-key.pem, server-cert.pem, server-key.pem, client-cert.pem, client-key.pem, "
        "dhparams.pem. Keys have mode 0600. Nothing is overwritten without --force.\v"
        "Examples:\n"
        "  xebec cert init /root/shop-certs --cluster shop --node n1=db1.example,10.0.0.1 --node n2=10.0.0.2\n"
        "  xebec cert init /root/shop-certs --cluster shop --keep-ca --node n3=10.0.0.3     one node more\n"
        "  xebec cert init /root/shop-certs --cluster shop --keep-ca --force                renew all but the CA\n",
        argc, argv, &init.common, &init);
    default_hosts(&init);
    if (init.password_file && !(init.password = pem_read_password(init.password_file, &error)))
        return cli_trouble(CLI_FAILED, "%s", error.text);
    int result = plan_all(&init, &plan, &error);
    if (result == 0) result = write_all(&init, &plan, &error);
    if (result)
        return cli_trouble(error.code == -EINVAL ? CLI_USAGE : CLI_FAILED, "%s",
                           error.code ? error.text : strerror(-result));
    tell(&init, &plan);
    return CLI_GOOD;
}
