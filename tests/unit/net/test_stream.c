/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Blocking streams over loopback: plain, TLS, strangers, cancelling. */
#include "net/stream.h"
#include "support/certs.h"

#include "base/clock.h"
#include "net/socket.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#define WAIT_NS (20 * XB_SECOND) /* longer than anything takes on a slow machine */
#define STRANGERS (STREAM_HALF_OPEN_MAX + 8)

static struct certs certs;
static struct tls_context *own_tls, *other_tls, *expired_tls;

static struct tls_context *load(const char *key, const char *cert) {
    struct tls_config config = {.key_file = certs_path(&certs, key),
                                .cert_file = certs_path(&certs, cert),
                                .ca_file = certs_path(&certs, "ca.crt")};
    struct tls_context *context = tls_context_load(&config, NULL);
    assert_non_null(context);
    return context;
}

static struct stream_config config_with(struct tls_context *tls) {
    return (struct stream_config){.tls = tls, .timeout_ns = WAIT_NS};
}

struct refusals {
    int count;
    char last[XB_ERROR_TEXT_SIZE];
    int allowed; /* how many connections to allow, -1: all */
};

static void note_refused(void *ctx, const char *host, const struct xb_error *error) {
    struct refusals *refusals = ctx;
    assert_string_equal(host, "127.0.0.1");
    refusals->count++;
    snprintf(refusals->last, sizeof(refusals->last), "%s", error->text);
}

static const char *ask_refusal(void *ctx, const char *host) {
    struct refusals *refusals = ctx;
    assert_string_equal(host, "127.0.0.1");
    return refusals->allowed < 0 || refusals->allowed-- > 0 ? NULL : "not found in allowlist.";
}

static struct stream_listener *listen_with(struct stream_listener_config config, struct refusals *refusals) {
    config.refused = note_refused;
    config.refusal = ask_refusal;
    config.ctx = refusals;
    struct xb_error error;
    struct stream_listener *listener = stream_listen("127.0.0.1", 0, &config, &error);
    if (!listener) fail_msg("%s", error.text);
    return listener;
}

/* The other end runs in a thread of its own. */
struct client {
    pthread_t thread;
    uint16_t port;
    struct stream_config config;
    void (*run)(struct client *client, struct stream *stream);
    struct stream *stream;
    struct xb_error error;
    size_t count;
};

static void *run_client(void *arg) {
    struct client *client = arg;
    client->stream = stream_connect("127.0.0.1", client->port, &client->config, &client->error);
    if (client->stream && client->run) client->run(client, client->stream);
    return NULL;
}

static void start_client(struct client *client, const struct stream_listener *listener) {
    client->port = stream_listener_port(listener);
    assert_int_equal(pthread_create(&client->thread, NULL, run_client, client), 0);
}

static void end_client(struct client *client) {
    pthread_join(client->thread, NULL);
    stream_free(client->stream);
}

static int dial_raw(const struct stream_listener *listener) {
    struct net_endpoint to;
    assert_int_equal(net_endpoint_from_numeric("127.0.0.1", stream_listener_port(listener), &to), 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to.address, to.size), 0);
    return fd;
}

#define BIG ((size_t)3000000)

static void fill(uint8_t *bytes, size_t size) {
    for (size_t i = 0; i < size; i++) bytes[i] = (uint8_t)(i * 2654435761u >> 13);
}

/* Sends small and large pieces, then takes the same back. */
static void talk(struct client *client, struct stream *stream) {
    uint8_t *bytes = malloc(BIG), *back = malloc(BIG);
    fill(bytes, BIG);
    size_t used = 0;
    for (size_t piece = 1; used < BIG; piece = piece * 3 % 400009 + 1) {
        if (piece > BIG - used) piece = BIG - used;
        if (stream_write(stream, bytes + used, piece, &client->error)) break;
        used += piece;
    }
    if (!stream_flush(stream, &client->error) && !stream_read(stream, back, BIG, &client->error) &&
        !memcmp(bytes, back, BIG))
        client->count = BIG;
    stream_free(stream); /* the other end sees it */
    client->stream = NULL;
    free(bytes);
    free(back);
}

static void exchange(struct tls_context *tls) {
    struct refusals refusals = {.allowed = -1};
    struct stream_listener *listener =
        listen_with((struct stream_listener_config){.stream = config_with(tls)}, &refusals);
    struct client client = {.config = config_with(tls), .run = talk};
    start_client(&client, listener);
    struct xb_error error = {0};
    struct stream *stream = stream_accept(listener, WAIT_NS, &error);
    if (!stream) fail_msg("%s", error.text);
    assert_string_equal(stream_peer_host(stream), "127.0.0.1");
    struct tls_info info;
    assert_int_equal(stream_tls_info(stream, &info), tls != NULL);
    if (tls) assert_string_equal(info.peer_subject, "CN=node");

    uint8_t *bytes = malloc(BIG);
    assert_non_null(bytes);
    size_t got = 0;
    while (got < BIG) { /* odd sizes */
        size_t part = got % 3 ? 100000 : 300001;
        if (part > BIG - got) part = BIG - got;
        assert_int_equal(stream_read(stream, bytes + got, part, &error), 0);
        got += part;
    }
    assert_int_equal(stream_write(stream, bytes, BIG, &error), 0);
    assert_int_equal(stream_flush(stream, &error), 0);
    assert_int_equal(stream_read_some(stream, bytes, BIG, &error), 0);
    assert_int_equal(stream_read(stream, bytes, 1, &error), -ENODATA);
    end_client(&client);
    assert_int_equal(client.count, BIG);
    free(bytes);
    stream_free(stream);
    stream_listener_free(listener);
}

static void test_plain(void **state) {
    (void)state;
    exchange(NULL);
}

static void test_tls(void **state) {
    (void)state;
    exchange(own_tls);
}

/* Many small writes leave at once: a raw peer gets them with one read. */
static void test_coalescing(void **state) {
    (void)state;
    struct refusals refusals = {.allowed = -1};
    struct stream_listener *listener =
        listen_with((struct stream_listener_config){.stream = config_with(NULL)}, &refusals);
    int fd = dial_raw(listener);
    struct stream *stream = stream_accept(listener, WAIT_NS, NULL);
    assert_non_null(stream);
    for (int i = 0; i < 1000; i++) assert_int_equal(stream_write(stream, "twelve bytes", 12, NULL), 0);
    struct pollfd polled = {.fd = fd, .events = POLLIN};
    assert_int_equal(poll(&polled, 1, 20), 0); /* nothing before the flush */
    assert_int_equal(stream_flush(stream, NULL), 0);
    char got[20000];
    assert_int_equal(recv(fd, got, sizeof(got), 0), 12000);
    close(fd);
    stream_free(stream);
    stream_listener_free(listener);
}

static void test_cut_message(void **state) {
    (void)state;
    struct refusals refusals = {.allowed = -1};
    struct stream_listener *listener =
        listen_with((struct stream_listener_config){.stream = config_with(NULL)}, &refusals);
    int fd = dial_raw(listener);
    assert_int_equal(send(fd, "half", 4, 0), 4);
    close(fd);
    struct stream *stream = stream_accept(listener, WAIT_NS, NULL);
    char got[8];
    struct xb_error error = {0};
    assert_int_equal(stream_read(stream, got, 8, &error), -ECONNRESET);
    assert_non_null(strstr(error.text, "127.0.0.1"));
    stream_free(stream);
    stream_listener_free(listener);
}

static void test_timeouts(void **state) {
    (void)state;
    struct refusals refusals = {.allowed = -1};
    struct stream_listener *listener =
        listen_with((struct stream_listener_config){.stream = config_with(NULL)}, &refusals);
    struct xb_error error = {0};
    assert_null(stream_accept(listener, 10 * XB_MS, &error));
    assert_int_equal(error.code, -ETIMEDOUT);
    int fd = dial_raw(listener);
    struct stream *stream = stream_accept(listener, WAIT_NS, NULL);
    char got[8];
    stream_set_timeout(stream, 10 * XB_MS);
    assert_int_equal(stream_read(stream, got, 8, &error), -ETIMEDOUT);
    /* a peer that does not read */
    uint8_t *bytes = calloc(1, BIG);
    int rc = 0;
    for (int i = 0; i < 100 && !rc; i++) rc = stream_write(stream, bytes, BIG, &error);
    assert_int_equal(rc, -ETIMEDOUT);
    free(bytes);
    close(fd);
    stream_free(stream);
    stream_listener_free(listener);
}

static void *set_cancel(void *arg) {
    stream_cancel_set(arg);
    return NULL;
}

static void test_cancel(void **state) {
    (void)state;
    struct refusals refusals = {.allowed = -1};
    struct stream_cancel *cancel = stream_cancel_new();
    struct stream_listener_config config = {.stream = {.cancel = cancel}};
    struct stream_listener *listener = listen_with(config, &refusals);
    int fd = dial_raw(listener);
    struct stream *stream = stream_accept(listener, 0, NULL);
    assert_non_null(stream);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, set_cancel, cancel), 0);
    char got[8];
    struct xb_error error = {0};
    assert_int_equal(stream_read(stream, got, 8, &error), -ECANCELED); /* waits for ever else */
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(stream_cancel_is_set(cancel));
    assert_null(stream_accept(listener, 0, &error));
    assert_int_equal(error.code, -ECANCELED);
    assert_null(stream_connect("127.0.0.1", stream_listener_port(listener), &config.stream, &error));
    assert_int_equal(error.code, -ECANCELED);
    stream_free(stream);
    close(fd);
    stream_listener_free(listener);
    stream_cancel_free(cancel);
}

static void test_refused_connect(void **state) {
    (void)state;
    struct refusals refusals = {.allowed = -1};
    struct stream_listener *listener = listen_with((struct stream_listener_config){0}, &refusals);
    uint16_t port = stream_listener_port(listener);
    stream_listener_free(listener);
    struct stream_config config = config_with(NULL);
    struct xb_error error = {0};
    assert_null(stream_connect("127.0.0.1", port, &config, &error));
    assert_int_equal(error.code, -ECONNREFUSED);
    assert_null(stream_connect("no.such.host.invalid", port, &config, &error));
    assert_int_equal(error.code, -EHOSTUNREACH);
}

/* The right peer gets in past silent ones, plain text, random bytes and wrong certificates. */
static void test_strangers(void **state) {
    (void)state;
    struct refusals refusals = {.allowed = -1};
    struct stream_listener *listener =
        listen_with((struct stream_listener_config){.stream = config_with(own_tls)}, &refusals);
    int silent[STRANGERS];
    for (int i = 0; i < STRANGERS; i++) silent[i] = dial_raw(listener);
    assert_int_equal(send(silent[STRANGERS - 1], "GET / HTTP/1.0\r\n\r\n", 18, 0), 18);
    struct client wrong = {.config = config_with(other_tls)}, late = {.config = config_with(expired_tls)};
    struct client right = {.config = config_with(own_tls)};
    start_client(&wrong, listener);
    start_client(&late, listener);
    start_client(&right, listener);
    struct xb_error error = {0};
    struct stream *stream = stream_accept(listener, WAIT_NS, &error);
    if (!stream) fail_msg("%s", error.text);
    struct tls_info info;
    assert_true(stream_tls_info(stream, &info));
    assert_string_equal(info.peer_subject, "CN=node");
    stream_free(stream);
    /* no plain byte was answered to plain text: nothing at all, or a TLS alert */
    uint8_t byte;
    ssize_t n = recv(silent[STRANGERS - 1], &byte, 1, MSG_DONTWAIT);
    assert_true(n <= 0 || byte == 0x15);
    for (int i = 0; i < STRANGERS; i++) close(silent[i]);
    assert_null(stream_accept(listener, 300 * XB_MS, &error)); /* lets the wrong ones fail */
    end_client(&wrong);
    end_client(&late);
    end_client(&right);
    assert_true(refusals.count >= STRANGERS - STREAM_HALF_OPEN_MAX);
    stream_listener_free(listener);
}

static void test_handshake_deadline(void **state) {
    (void)state;
    struct refusals refusals = {.allowed = -1};
    struct stream_listener_config config = {.stream = config_with(own_tls), .handshake_timeout_ns = 50 * XB_MS};
    struct stream_listener *listener = listen_with(config, &refusals);
    int fd = dial_raw(listener);
    struct xb_error error = {0};
    assert_null(stream_accept(listener, 100 * XB_MS, &error));
    assert_int_equal(refusals.count, 1);
    uint8_t byte;
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    close(fd);
    stream_listener_free(listener);
}

static void answer(struct client *client, struct stream *stream) {
    char greeting[8];
    if (stream_read(stream, greeting, 5, &client->error) || memcmp(greeting, "hello", 5)) return;
    stream_write(stream, "reply and more", 14, &client->error);
    stream_flush(stream, &client->error);
}

static void greet_with(struct tls_context *tls) {
    struct refusals refusals = {.allowed = -1};
    struct stream_listener_config config = {
        .stream = config_with(tls), .greeting = "hello", .greeting_size = 5, .reply_size = 5};
    struct stream_listener *listener = listen_with(config, &refusals);
    int silent = dial_raw(listener), closed = dial_raw(listener);
    close(closed);
    struct client client = {.config = config_with(tls), .run = answer};
    start_client(&client, listener);
    struct stream *stream = stream_accept(listener, WAIT_NS, NULL);
    assert_non_null(stream);
    char got[14];
    assert_int_equal(stream_read(stream, got, 14, NULL), 0);
    assert_memory_equal(got, "reply and more", 14);
    end_client(&client);
    close(silent);
    stream_free(stream);
    stream_listener_free(listener);
}

static void test_greeting(void **state) {
    (void)state;
    greet_with(NULL);
    greet_with(own_tls);
}

static void test_allowlist(void **state) {
    (void)state;
    struct refusals refusals = {.allowed = 0};
    struct stream_listener *listener =
        listen_with((struct stream_listener_config){.stream = config_with(NULL)}, &refusals);
    int fd = dial_raw(listener);
    assert_null(stream_accept(listener, 50 * XB_MS, NULL));
    assert_string_equal(refusals.last, "Connection not allowed, IP 127.0.0.1 not found in allowlist.");
    uint8_t byte;
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    close(fd);
    stream_listener_free(listener);
}

static void say_hello(struct client *client, struct stream *stream) {
    struct tls_info info;
    client->count = stream_tls_info(stream, &info) ? 2 : 1; /* 1: plain, 2: TLS */
    stream_write(stream, "hello", 5, &client->error);
    stream_flush(stream, &client->error);
}

/* socket.dynamic: which end has it, and what the two agree on. */
static void test_dynamic(void **state) {
    (void)state;
    static const struct {
        bool has_server_tls, is_server_dynamic, has_client_tls, is_client_dynamic, is_tls;
    } cases[] = {
        {true, true, true, false, true},   /* TLS peer at a dynamic acceptor */
        {true, true, false, false, false}, /* plain peer at a dynamic acceptor */
        {true, true, true, true, true},    /* both dynamic */
        {true, false, true, true, true},   /* dynamic dialler at a TLS acceptor */
        {false, false, true, true, false}, /* dynamic dialler at a plain acceptor that speaks first */
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct refusals refusals = {.allowed = -1};
        struct stream_listener_config config = {.stream = config_with(cases[i].has_server_tls ? own_tls : NULL)};
        config.stream.is_dynamic = cases[i].is_server_dynamic;
        config.greeting = "$";
        config.greeting_size = 1;
        struct stream_listener *listener = listen_with(config, &refusals);
        struct client client = {.config = config_with(cases[i].has_client_tls ? own_tls : NULL), .run = say_hello};
        client.config.is_dynamic = cases[i].is_client_dynamic;
        start_client(&client, listener);
        struct xb_error error = {0};
        struct stream *stream = stream_accept(listener, WAIT_NS, &error);
        if (!stream) fail_msg("case %zu: %s", i, error.text);
        char got[5];
        assert_int_equal(stream_read(stream, got, 5, NULL), 0);
        assert_memory_equal(got, "hello", 5);
        end_client(&client);
        assert_int_equal(client.count, cases[i].is_tls ? 2 : 1);
        stream_free(stream);
        stream_listener_free(listener);
    }
}

static int prepare(void **state) {
    (void)state;
    certs_init(&certs);
    certs_make(&certs, "ca", &(struct cert_wish){.is_ca = true});
    certs_make(&certs, "other-ca", &(struct cert_wish){.is_ca = true});
    certs_make(&certs, "node", &(struct cert_wish){.issuer = "ca"});
    certs_make(&certs, "stranger", &(struct cert_wish){.issuer = "other-ca"});
    certs_make(&certs, "expired", &(struct cert_wish){.issuer = "ca", .is_expired = true});
    own_tls = load("node.key", "node.crt");
    other_tls = load("stranger.key", "stranger.crt");
    expired_tls = load("expired.key", "expired.crt");
    return 0;
}

static int clean(void **state) {
    (void)state;
    tls_context_unref(own_tls);
    tls_context_unref(other_tls);
    tls_context_unref(expired_tls);
    certs_clean(&certs);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_coalescing),
        cmocka_unit_test(test_cut_message),
        cmocka_unit_test(test_timeouts),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_refused_connect),
        cmocka_unit_test(test_strangers),
        cmocka_unit_test(test_handshake_deadline),
        cmocka_unit_test(test_greeting),
        cmocka_unit_test(test_allowlist),
        cmocka_unit_test(test_dynamic),
    };
    return cmocka_run_group_tests(tests, prepare, clean);
}
