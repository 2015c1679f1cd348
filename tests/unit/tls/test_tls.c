/* SPDX-License-Identifier: GPL-2.0-or-later */
/* TLS contexts and sessions (spec 02 section 16): who is accepted, which reasons are given, records. */
#include "tls/tls_options.h"
#include "support/certs.h"
#include "support/tls_feed.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

static struct certs certs;

static struct tls_context *load_with(const char *name, const char *ca, struct tls_config config) {
    char key[64], cert[64];
    snprintf(key, sizeof(key), "%s.key", name);
    snprintf(cert, sizeof(cert), "%s.crt", name);
    config.key_file = certs_path(&certs, key);
    config.cert_file = certs_path(&certs, cert);
    config.ca_file = ca ? certs_path(&certs, ca) : NULL;
    struct xb_error error = {0};
    struct tls_context *context = tls_context_load(&config, &error);
    if (!context) fail_msg("%s: %s", name, error.text);
    return context;
}

static struct tls_context *load(const char *name, const char *ca) {
    return load_with(name, ca, (struct tls_config){0});
}

struct pair {
    struct tls_session *client, *server;
    int client_result, server_result;
    struct xb_error client_error, server_error;
};

/* Moves what is there; at most `part` bytes a turn, 0: all. -> something was moved */
static bool move(struct tls_session *from, struct tls_session *to, size_t part) {
    const uint8_t *data;
    size_t size = tls_session_output(from, &data);
    if (part && size > part) size = part;
    if (!size) return false;
    assert_int_equal(tls_feed(to, data, size), 0);
    tls_session_output_done(from, size);
    return true;
}

static void pump(struct pair *pair, size_t part) {
    bool is_moving;
    do {
        if (pair->client_result == -EAGAIN)
            pair->client_result = tls_session_handshake(pair->client, &pair->client_error);
        if (pair->server_result == -EAGAIN)
            pair->server_result = tls_session_handshake(pair->server, &pair->server_error);
        is_moving = move(pair->client, pair->server, part);
        is_moving |= move(pair->server, pair->client, part);
    } while (is_moving);
    /* TLS 1.3: the client is done before the server has looked at its certificate. */
    uint8_t byte;
    if (pair->client_result == 0) {
        ssize_t n = tls_session_read(pair->client, &byte, 1, &pair->client_error);
        if (n == -EPROTO) pair->client_result = -EPROTO;
    }
}

static struct pair connect_pair(struct tls_context *client, struct tls_context *server, size_t part) {
    struct pair pair = {.client_result = -EAGAIN, .server_result = -EAGAIN};
    pair.client = tls_session_new(client, false);
    pair.server = tls_session_new(server, true);
    assert_non_null(pair.client);
    assert_non_null(pair.server);
    pump(&pair, part);
    return pair;
}

static void pair_free(struct pair *pair) {
    tls_session_free(pair->client);
    tls_session_free(pair->server);
}

#define assert_contains(text, part)                                                                                    \
    do {                                                                                                               \
        if (!strstr((text), (part))) fail_msg("'%s' is not in '%s'", (part), (text));                                  \
    } while (0)

static void test_mutual(void **state) {
    (void)state;
    struct tls_context *a = load("node1", "ca.crt"), *b = load("node2", "ca.crt");
    static const size_t parts[] = {0, 1, 7};
    for (size_t i = 0; i < 3; i++) {
        struct pair pair = connect_pair(a, b, parts[i]);
        assert_int_equal(pair.client_result, 0);
        assert_int_equal(pair.server_result, 0);
        struct tls_info info;
        tls_session_info(pair.server, &info);
        assert_string_equal(info.version, "TLSv1.3");
        assert_string_equal(info.cipher, "TLS_AES_256_GCM_SHA384");
        assert_string_equal(info.peer_subject, "CN=node1");
        assert_int_equal(strlen(info.peer_fingerprint), 95);
        assert_true(info.peer_not_after > (int64_t)time(NULL) + 300 * 86400L);
        tls_session_info(pair.client, &info);
        assert_string_equal(info.peer_subject, "CN=node2");
        pair_free(&pair);
    }
    tls_context_unref(a);
    tls_context_unref(b);
}

/* The server sends no tickets: after the handshake there is nothing left for the client. */
static void test_no_tickets(void **state) {
    (void)state;
    struct tls_context *a = load("node1", "ca.crt");
    struct pair pair = connect_pair(a, a, 0);
    uint8_t hello[100] = {0};
    assert_int_equal(tls_session_write(pair.server, hello, sizeof(hello), NULL), 0);
    const uint8_t *data;
    /* one record: header 5, type 1, tag 16 */
    assert_int_equal(tls_session_output(pair.server, &data), sizeof(hello) + 22);
    pair_free(&pair);
    tls_context_unref(a);
}

/* Each write makes records of its own: those of a stock node are datagram + 17 + 5 bytes of header (section 16.6). */
static void test_one_write_one_record(void **state) {
    (void)state;
    struct tls_context *a = load("node1", "ca.crt");
    struct pair pair = connect_pair(a, a, 0);
    static uint8_t bytes[32776], got[32776];
    for (size_t i = 0; i < sizeof(bytes); i++) bytes[i] = (uint8_t)(i * 7);
    static const size_t sizes[] = {1, 44, 32776, 16384, 16385};
    size_t expected = 0, total = 0;
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(tls_session_write(pair.client, bytes, sizes[i], NULL), 0);
        expected += sizes[i] + 22 * ((sizes[i] + 16383) / 16384);
        total += sizes[i];
    }
    const uint8_t *data;
    assert_int_equal(tls_session_output(pair.client, &data), expected);
    while (move(pair.client, pair.server, 5000)) continue;
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(tls_session_read(pair.server, got, sizes[i], NULL), sizes[i]);
        assert_memory_equal(got, bytes, sizes[i]);
    }
    assert_int_equal(tls_session_read(pair.server, got, 1, NULL), -EAGAIN);
    assert_true(total > 0);
    pair_free(&pair);
    tls_context_unref(a);
}

static void test_close(void **state) {
    (void)state;
    struct tls_context *a = load("node1", "ca.crt");
    struct pair pair = connect_pair(a, a, 0);
    char got[10];
    assert_int_equal(tls_session_write(pair.client, "last", 4, NULL), 0);
    tls_session_close(pair.client);
    move(pair.client, pair.server, 0);
    assert_int_equal(tls_session_read(pair.server, got, sizeof(got), NULL), 4);
    assert_int_equal(tls_session_read(pair.server, got, sizeof(got), NULL), 0);
    assert_int_equal(tls_session_read(pair.server, got, sizeof(got), NULL), 0);
    pair_free(&pair);
    /* before the handshake it is harmless */
    struct tls_session *early = tls_session_new(a, true);
    tls_session_close(early);
    tls_session_free(early);
    tls_context_unref(a);
}

static void test_damaged_record(void **state) {
    (void)state;
    struct tls_context *a = load("node1", "ca.crt");
    struct pair pair = connect_pair(a, a, 0);
    char got[10];
    struct xb_error error = {0};
    assert_int_equal(tls_session_write(pair.client, "good", 4, NULL), 0);
    move(pair.client, pair.server, 0);
    assert_int_equal(tls_session_write(pair.client, "bad!", 4, NULL), 0);
    const uint8_t *data;
    size_t size = tls_session_output(pair.client, &data);
    uint8_t copy[100];
    memcpy(copy, data, size);
    copy[10] ^= 1;
    assert_int_equal(tls_feed(pair.server, copy, size), 0);
    /* the good part first, then the failure, again and again */
    assert_int_equal(tls_session_read(pair.server, got, sizeof(got), &error), 4);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(tls_session_read(pair.server, got, sizeof(got), &error), -EPROTO);
        assert_contains(error.text, "bad record mac");
        assert_contains(error.text, "CN=node1");
    }
    assert_int_equal(tls_session_write(pair.server, "x", 1, &error), -EPROTO);
    pair_free(&pair);
    tls_context_unref(a);
}

/* The table of section 16.4. */
struct meeting {
    const char *peer; /* what the other one presents */
    bool is_accepted_as_client, is_accepted_as_server;
    const char *reason; /* in our error text */
    const char *told;   /* in the peer's error text */
};

static const struct meeting meetings[] = {
    {"node2", true, true, NULL, NULL},
    {"named", true, true, NULL, NULL},
    {"both", true, true, NULL, NULL},
    {"server-only", false, true, "certificate verify failed: unsuitable certificate purpose",
     "unsupported certificate"},
    {"client-only", false, false, "certificate verify failed: unsuitable certificate purpose",
     "unsupported certificate"},
    {"stranger", false, false, "certificate verify failed: unable to get local issuer certificate", "unknown ca"},
    {"selfsigned", false, false, "certificate verify failed: self-signed certificate", "unknown ca"},
    {"expired", false, false, "certificate verify failed: certificate has expired", "certificate expired"},
    {"future", false, false, "certificate verify failed: certificate is not yet valid", "bad certificate"},
};

static void test_who_is_accepted(void **state) {
    (void)state;
    struct tls_context *own = load("node1", "ca.crt");
    for (size_t i = 0; i < sizeof(meetings) / sizeof(meetings[0]); i++) {
        const struct meeting *m = &meetings[i];
        struct tls_context *other = load(m->peer, "ca.crt");
        for (int is_client = 0; is_client < 2; is_client++) {
            struct pair pair = connect_pair(is_client ? other : own, is_client ? own : other, 0);
            int own_result = is_client ? pair.server_result : pair.client_result;
            struct xb_error *own_error = is_client ? &pair.server_error : &pair.client_error;
            struct xb_error *other_error = is_client ? &pair.client_error : &pair.server_error;
            bool is_accepted = is_client ? m->is_accepted_as_client : m->is_accepted_as_server;
            if ((own_result == 0) != is_accepted) fail_msg("%s, is_client %d: %s", m->peer, is_client, own_error->text);
            if (!is_accepted) {
                char subject[64];
                snprintf(subject, sizeof(subject), "CN=%s", m->peer);
                assert_contains(own_error->text, m->reason);
                assert_contains(own_error->text, subject);
                assert_contains(other_error->text, m->told);
            }
            pair_free(&pair);
        }
        tls_context_unref(other);
    }
    tls_context_unref(own);
}

static void test_intermediates(void **state) {
    (void)state;
    struct tls_context *plain = load("node1", "ca.crt"), *deep = load("deep1", "ca.crt");
    struct tls_context *leaf_only = load("deep-leaf-only", "ca.crt");
    /* the chain is sent and used */
    struct pair pair = connect_pair(deep, plain, 0);
    assert_int_equal(pair.client_result, 0);
    assert_int_equal(pair.server_result, 0);
    pair_free(&pair);
    /* a peer that sends its leaf only is accepted by one that has the intermediate in its own file */
    pair = connect_pair(leaf_only, deep, 0);
    assert_int_equal(pair.server_result, 0);
    pair_free(&pair);
    /* and refused by one that has not */
    pair = connect_pair(leaf_only, plain, 0);
    assert_int_equal(pair.server_result, -EPROTO);
    assert_contains(pair.server_error.text, "unable to get local issuer certificate");
    pair_free(&pair);
    tls_context_unref(plain);
    tls_context_unref(deep);
    tls_context_unref(leaf_only);
}

static void test_shared_selfsigned_is_its_own_ca(void **state) {
    (void)state;
    struct tls_context *a = load("selfsigned", NULL);
    struct pair pair = connect_pair(a, a, 0);
    assert_int_equal(pair.client_result, 0);
    assert_int_equal(pair.server_result, 0);
    pair_free(&pair);
    tls_context_unref(a);
}

static void test_ca_bundle(void **state) {
    (void)state;
    struct tls_context *a = load("node1", "both-ca.crt"), *b = load("stranger", "both-ca.crt");
    struct pair pair = connect_pair(a, b, 0);
    assert_int_equal(pair.client_result, 0);
    assert_int_equal(pair.server_result, 0);
    pair_free(&pair);
    tls_context_unref(a);
    tls_context_unref(b);
}

static void test_plain_text(void **state) {
    (void)state;
    struct tls_context *a = load("node1", "ca.crt");
    static const struct {
        const char *bytes, *reason;
    } plain[] = {{"GET / HTTP/1.0\r\n\r\n", "http request"},
                 {"\x24\0\0\2\x3c\x1f\x81\x3f plain gcomm", "wrong version number"}};
    for (size_t i = 0; i < 2; i++) {
        struct tls_session *server = tls_session_new(a, true);
        struct xb_error error = {0};
        assert_int_equal(tls_feed(server, plain[i].bytes, 18), 0);
        assert_int_equal(tls_session_handshake(server, &error), -EPROTO);
        assert_contains(error.text, plain[i].reason);
        assert_contains(error.text, "does not speak TLS");
        tls_session_free(server);
    }
    tls_context_unref(a);
}

static void test_versions_and_ciphers(void **state) {
    (void)state;
    struct tls_context *any = load("node1", "ca.crt");
    struct tls_context *only_13 = load_with("node1", "ca.crt", (struct tls_config){.is_tls13_only = true});
    struct tls_context *suites = load_with(
        "node1", "ca.crt",
        (struct tls_config){.cipher_list = "ECDHE-ECDSA-AES128-GCM-SHA256", .cipher_suites = "TLS_AES_128_GCM_SHA256"});
    struct pair pair = connect_pair(any, only_13, 0);
    assert_int_equal(pair.server_result, 0);
    pair_free(&pair);
    pair = connect_pair(any, suites, 0);
    struct tls_info info;
    tls_session_info(pair.server, &info);
    assert_string_equal(info.cipher, "TLS_AES_128_GCM_SHA256");
    pair_free(&pair);
    tls_context_unref(any);
    tls_context_unref(only_13);
    tls_context_unref(suites);
}

static void test_own_rules(void **state) {
    (void)state;
    struct tls_context *peer = load("named", "ca.crt"), *unnamed = load("node2", "ca.crt");
    struct tls_context *server_only = load("server-only", "ca.crt");
    struct tls_context *names =
        load_with("node1", "ca.crt", (struct tls_config){.peer_names = "db9.example, .example,127.0.0.9"});
    struct tls_config with_crl = {.crl_file = certs_path(&certs, "ca.crl")};
    struct tls_context *crl = load_with("node1", "ca.crt", with_crl);
    struct tls_context *relaxed = load_with("node1", "ca.crt", (struct tls_config){.is_any_purpose = true});

    struct pair pair = connect_pair(peer, names, 0);
    assert_int_equal(pair.server_result, 0);
    pair_free(&pair);
    pair = connect_pair(unnamed, names, 0);
    assert_int_equal(pair.server_result, -EPROTO);
    assert_contains(pair.server_error.text, "socket.ssl_verify_peer_name");
    pair_free(&pair);
    pair = connect_pair(peer, crl, 0);
    assert_int_equal(pair.server_result, 0);
    pair_free(&pair);
    pair = connect_pair(unnamed, crl, 0);
    assert_int_equal(pair.server_result, -EPROTO);
    assert_contains(pair.server_error.text, "certificate revoked");
    pair_free(&pair);
    pair = connect_pair(server_only, relaxed, 0);
    assert_int_equal(pair.server_result, 0);
    pair_free(&pair);

    tls_context_unref(peer);
    tls_context_unref(unnamed);
    tls_context_unref(server_only);
    tls_context_unref(names);
    tls_context_unref(crl);
    tls_context_unref(relaxed);
}

/* Who passes which list, and what the refusal says. The server is the one that looks; the client comes from `host`. */
static void test_peer_lists(void **state) {
    (void)state;
    struct tls_context *named = load("named", "ca.crt");
    struct pair probe = connect_pair(named, named, 0);
    struct tls_info info;
    tls_session_info(probe.server, &info);
    pair_free(&probe);
    char no_colons[96] = "", both[200];
    for (size_t i = 0, n = 0; info.peer_fingerprint[i]; i++)
        if (info.peer_fingerprint[i] != ':') no_colons[n++] = (char)(info.peer_fingerprint[i] | 32); /* lower case */
    snprintf(both, sizeof(both), "somebody, %s", info.peer_fingerprint);
    const struct {
        struct tls_config config;
        const char *host, *reason; /* NULL: accepted */
    } cases[] = {
        {{.peer_names = TLS_PEER_ADDRESS}, "127.0.0.7", NULL},
        {{.peer_names = TLS_PEER_ADDRESS}, "127.0.0.8", "hostname mismatch (peer certificate 'CN=named'); none of its"},
        {{.peer_names = "x, named"}, "127.0.0.8", NULL},
        {{.peer_names = "name"}, "127.0.0.7", "hostname mismatch"},
        {{.allowed_peers = "named"}, "", NULL},
        {{.allowed_peers = "db1.example"}, "", NULL},
        {{.allowed_peers = both}, "", NULL},
        {{.allowed_peers = no_colons}, "", NULL},
        {{.allowed_peers = ".example,AA:BB,*.example"},
         "",
         "certificate rejected (peer certificate 'CN=named'); it is not listed in socket.ssl_allowed_peers"},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tls_context *own = load_with("node1", "ca.crt", cases[i].config);
        struct pair pair = {tls_session_new(named, false), tls_session_new(own, true), -EAGAIN, -EAGAIN, {0}, {0}};
        tls_session_set_host(pair.server, cases[i].host);
        pump(&pair, 0);
        if (!cases[i].reason) {
            if (pair.server_result) fail_msg("case %zu: %s", i, pair.server_error.text);
        } else {
            assert_int_equal(pair.server_result, -EPROTO);
            assert_contains(pair.server_error.text, cases[i].reason);
            assert_true(tls_session_has_refused(pair.server));
        }
        pair_free(&pair);
        tls_context_unref(own);
    }
    tls_context_unref(named);
}

/* After a reload: whom would the new context refuse? */
/* As somebody writes it into the provider options: the one that counts stands behind thousands of others. */
static void test_long_peer_list(void **state) {
    static char list[20000];
    (void)state;
    while (strlen(list) < sizeof(list) - 40) sprintf(list + strlen(list), "db%zu.example,", strlen(list));
    strcat(list, "named");
    struct xb_options *options = xb_options_new();
    xb_options_put(options, "socket.ssl_key", certs_path(&certs, "node1.key"));
    xb_options_put(options, "socket.ssl_cert", certs_path(&certs, "node1.crt"));
    xb_options_put(options, "socket.ssl_ca", certs_path(&certs, "ca.crt"));
    xb_options_put(options, "socket.ssl_allowed_peers", list);
    struct tls_context *own, *named = load("named", "ca.crt"), *other = load("node2", "ca.crt");
    assert_int_equal(tls_options_load(options, false, &own, NULL), 0);
    struct pair pair = connect_pair(named, own, 0);
    assert_int_equal(pair.server_result, 0);
    pair_free(&pair);
    pair = connect_pair(other, own, 0);
    assert_int_equal(pair.server_result, -EPROTO);
    pair_free(&pair);
    tls_context_unref(own);
    tls_context_unref(named);
    tls_context_unref(other);
    xb_options_free(options);
}

static void test_recheck(void **state) {
    (void)state;
    struct tls_context *a = load("node1", "ca.crt"), *b = load("node2", "ca.crt");
    struct tls_context *other_ca = load("stranger", "other-ca.crt");
    struct tls_context *crl =
        load_with("node1", "ca.crt", (struct tls_config){.crl_file = certs_path(&certs, "ca.crl")});
    struct pair pair = connect_pair(a, b, 0);
    struct xb_error error;
    assert_true(tls_session_is_of(pair.client, a));
    assert_false(tls_session_is_of(pair.client, crl));
    assert_int_equal(tls_session_recheck(pair.client, a, &error), 0);
    assert_int_equal(tls_session_recheck(pair.client, crl, &error), -EACCES); /* node2 is revoked */
    assert_contains(error.text, "peer certificate 'CN=node2': certificate revoked; issue a new certificate");
    assert_int_equal(tls_session_recheck(pair.server, crl, &error), 0);
    assert_int_equal(tls_session_recheck(pair.server, other_ca, &error), -EACCES);
    assert_contains(error.text, "add the CA that signed it to socket.ssl_ca");
    pair_free(&pair);
    tls_context_unref(a);
    tls_context_unref(b);
    tls_context_unref(crl);
    tls_context_unref(other_ca);
}

static void expect_refused(struct tls_config config, const char *text) {
    struct xb_error error = {0};
    assert_null(tls_context_load(&config, &error));
    assert_int_equal(error.code, -EINVAL);
    assert_contains(error.text, text);
}

static void test_refused_files(void **state) {
    (void)state;
    const char *key = certs_path(&certs, "node1.key"), *cert = certs_path(&certs, "node1.crt");
    const char *ca = certs_path(&certs, "ca.crt"), *missing = certs_path(&certs, "missing");
    char text[300];
    const char *both = "To enable SSL at least both of 'socket.ssl_key' and 'socket.ssl_cert' must be set";
    expect_refused((struct tls_config){.key_file = key}, both);
    expect_refused((struct tls_config){.cert_file = cert}, both);
    snprintf(text, sizeof(text), "Bad value '%s' for SSL parameter 'socket.ssl_cert': ", missing);
    expect_refused((struct tls_config){.key_file = key, .cert_file = missing}, text);
    expect_refused((struct tls_config){.key_file = key, .cert_file = missing}, "No such file or directory");
    snprintf(text, sizeof(text), "Bad value '%s' for SSL parameter 'socket.ssl_key': ", missing);
    expect_refused((struct tls_config){.key_file = missing, .cert_file = cert}, text);
    snprintf(text, sizeof(text), "Bad value '%s' for SSL parameter 'socket.ssl_ca': ", key);
    expect_refused((struct tls_config){.key_file = key, .cert_file = cert, .ca_file = key}, text);
    expect_refused((struct tls_config){.key_file = certs_path(&certs, "node2.key"), .cert_file = cert, .ca_file = ca},
                   "key values mismatch");
    expect_refused((struct tls_config){.key_file = certs_path(&certs, "node2.key"), .cert_file = cert, .ca_file = ca},
                   "; the key does not belong to the certificate of socket.ssl_cert");
    expect_refused((struct tls_config){.key_file = cert, .cert_file = key, .ca_file = ca},
                   "; the file holds a key and no certificate: are the files swapped?");
    expect_refused((struct tls_config){.key_file = cert, .cert_file = cert, .ca_file = ca},
                   "; the file holds a certificate and no key: are the files swapped?");
    certs_write(&certs, "cut.crt", "-----BEGIN CERTIFICATE-----\nMIIBgjCCASigAwIBAgIJANg\n");
    expect_refused((struct tls_config){.key_file = key, .cert_file = certs_path(&certs, "cut.crt"), .ca_file = ca},
                   "; the file is damaged or cut off: copy it again");
    certs_write(&certs, "noise.crt", "hello\n");
    expect_refused((struct tls_config){.key_file = key, .cert_file = certs_path(&certs, "noise.crt"), .ca_file = ca},
                   "; the file is not in PEM format");
    expect_refused((struct tls_config){.key_file = key, .cert_file = cert, .cipher_list = "NOSUCH"},
                   "Error setting SSL cipher list to 'NOSUCH': ");
}

static void test_password(void **state) {
    (void)state;
    struct tls_config config = {.key_file = certs_path(&certs, "secret.key"),
                                .cert_file = certs_path(&certs, "secret.crt"),
                                .ca_file = certs_path(&certs, "ca.crt")};
    expect_refused(config, "socket.ssl_password_file is required");
    config.password_file = certs_path(&certs, "missing");
    char text[300];
    snprintf(text, sizeof(text), "could not open password file '%s': System error: 2 (No such file or directory)",
             config.password_file);
    expect_refused(config, text);
    config.password_file = certs_path(&certs, "wrong.password");
    expect_refused(config, "for SSL parameter 'socket.ssl_key'");
    config.password_file = certs_path(&certs, "right.password");
    struct xb_error error = {0};
    struct tls_context *context = tls_context_load(&config, &error);
    if (!context) fail_msg("%s", error.text);
    tls_context_unref(context);
}

static void count_warning(void *ctx, const char *line) {
    char *all = ctx;
    strncat(all, line, 1999 - strlen(all));
    strncat(all, "\n", 1999 - strlen(all));
}

static void test_own_certificate_check(void **state) {
    (void)state;
    static const struct {
        const char *name, *warning;
    } cases[] = {{"node1", ""},
                 {"expired", "has expired"},
                 {"soon", "expires in 9 days"},
                 {"server-only", "lacks clientAuth"},
                 {"client-only", "lacks serverAuth"},
                 {"stranger", "own certificate 'CN=stranger': unable to get local issuer certificate; add the CA"},
                 {"future", "not yet valid"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct tls_context *context = load(cases[i].name, "ca.crt");
        char all[2000] = "";
        tls_context_check(context, (int64_t)time(NULL) + 60, count_warning, all);
        assert_contains(all, cases[i].warning);
        if (!*cases[i].warning) assert_string_equal(all, "");
        tls_context_unref(context);
    }
}

/* A session keeps the context that it was made from; cut and random input never crashes. */
static void test_context_outlived_and_noise(void **state) {
    (void)state;
    struct tls_context *a = load("node1", "ca.crt");
    struct pair pair = {.client = tls_session_new(a, false), .server = tls_session_new(a, true)};
    struct tls_session *noise = tls_session_new(a, true);
    tls_context_unref(a);
    pair.client_result = pair.server_result = -EAGAIN;
    pump(&pair, 0);
    assert_int_equal(pair.server_result, 0);
    pair_free(&pair);
    uint8_t bytes[5000];
    srandom(7);
    for (size_t i = 0; i < sizeof(bytes); i++) bytes[i] = (uint8_t)random();
    assert_int_equal(tls_feed(noise, bytes, sizeof(bytes)), 0);
    assert_int_equal(tls_session_handshake(noise, NULL), -EPROTO);
    assert_int_equal(tls_session_handshake(noise, NULL), -EPROTO);
    assert_int_equal(tls_session_read(noise, bytes, sizeof(bytes), NULL), -EPROTO);
    tls_session_free(noise);
}

static int make_certificates(void **state) {
    (void)state;
    certs_init(&certs);
    certs_make(&certs, "ca", &(struct cert_wish){.is_ca = true});
    certs_make(&certs, "other-ca", &(struct cert_wish){.is_ca = true});
    certs_make(&certs, "middle", &(struct cert_wish){.issuer = "ca", .is_ca = true});
    certs_make(&certs, "node1", &(struct cert_wish){.issuer = "ca"});
    certs_make(&certs, "node2", &(struct cert_wish){.issuer = "ca"});
    certs_make(&certs, "named", &(struct cert_wish){.issuer = "ca", .alternative = "DNS:db1.example,IP:127.0.0.7"});
    certs_make(&certs, "both", &(struct cert_wish){.issuer = "ca", .usage = "clientAuth,serverAuth"});
    certs_make(&certs, "server-only", &(struct cert_wish){.issuer = "ca", .usage = "serverAuth"});
    certs_make(&certs, "client-only", &(struct cert_wish){.issuer = "ca", .usage = "clientAuth"});
    certs_make(&certs, "stranger", &(struct cert_wish){.issuer = "other-ca"});
    certs_make(&certs, "selfsigned", &(struct cert_wish){0});
    certs_make(&certs, "expired", &(struct cert_wish){.issuer = "ca", .is_expired = true});
    certs_make(&certs, "future", &(struct cert_wish){.issuer = "ca", .is_future = true});
    certs_make(&certs, "soon", &(struct cert_wish){.issuer = "ca", .valid_days = 10});
    certs_make(&certs, "deep1", &(struct cert_wish){.issuer = "middle"});
    certs_make(&certs, "deep-leaf-only", &(struct cert_wish){.issuer = "middle", .is_leaf_only = true});
    certs_make(&certs, "secret", &(struct cert_wish){.issuer = "ca", .password = "open sesame"});
    certs_write(&certs, "right.password", "open sesame\nsecond line\n");
    certs_write(&certs, "wrong.password", "close\n");
    certs_join(&certs, "both-ca.crt", "ca.crt other-ca.crt");
    certs_revoke(&certs, "ca.crl", "ca", "node2");
    return 0;
}

static int remove_certificates(void **state) {
    (void)state;
    certs_clean(&certs);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_mutual),
        cmocka_unit_test(test_no_tickets),
        cmocka_unit_test(test_one_write_one_record),
        cmocka_unit_test(test_close),
        cmocka_unit_test(test_damaged_record),
        cmocka_unit_test(test_who_is_accepted),
        cmocka_unit_test(test_intermediates),
        cmocka_unit_test(test_shared_selfsigned_is_its_own_ca),
        cmocka_unit_test(test_ca_bundle),
        cmocka_unit_test(test_plain_text),
        cmocka_unit_test(test_versions_and_ciphers),
        cmocka_unit_test(test_own_rules),
        cmocka_unit_test(test_peer_lists),
        cmocka_unit_test(test_long_peer_list),
        cmocka_unit_test(test_recheck),
        cmocka_unit_test(test_refused_files),
        cmocka_unit_test(test_password),
        cmocka_unit_test(test_own_certificate_check),
        cmocka_unit_test(test_context_outlived_and_noise),
    };
    return cmocka_run_group_tests(tests, make_certificates, remove_certificates);
}
