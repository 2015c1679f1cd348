/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One net with a thread of its own, for tests. */
#include "end.h"
#include "support/certs.h"

#include "base/clock.h"
#include "base/hash.h"
#include "datagram/datagram.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <cmocka.h>

#define WAIT_S 30 /* longer than anything takes on a slow machine */

static struct certs certs;
struct tls_context *own_tls, *other_tls, *expired_tls;

static void record(struct end *end, struct end_event event) {
    pthread_mutex_lock(&end->mutex);
    if (event.kind == END_RECEIVED) {
        end->received_count++;
        end->received_bytes += event.size;
    }
    if (end->event_count < END_EVENTS_MAX) end->events[end->event_count++] = event;
    pthread_cond_broadcast(&end->changed);
    pthread_mutex_unlock(&end->mutex);
}

static void on_ready(void *ctx, net_conn conn, const char *host, bool is_dialled) {
    record(ctx, (struct end_event){.kind = END_READY, .conn = conn, .is_dialled = is_dialled});
}

static void on_received(void *ctx, net_conn conn, const uint8_t *body, size_t size) {
    struct end_event event = {.kind = END_RECEIVED, .conn = conn, .size = size, .crc = xb_crc32c(0, body, size)};
    snprintf(event.text, sizeof(event.text), "%.*s", (int)(size < 100 ? size : 100), (const char *)body);
    record(ctx, event);
}

static struct end_event loss_event(enum end_event_kind kind, const struct net_loss *loss) {
    struct end_event event = {.kind = kind,
                              .reason = loss->reason,
                              .is_dialled = loss->is_dialled,
                              .is_handshake = loss->is_handshake,
                              .is_tls = loss->is_tls};
    snprintf(event.text, sizeof(event.text), "%s", loss->text);
    return event;
}

static void on_lost(void *ctx, net_conn conn, const struct net_loss *loss) {
    struct end_event event = loss_event(END_LOST, loss);
    event.conn = conn;
    record(ctx, event);
}

static void on_stranger(void *ctx, const struct net_loss *loss) {
    record(ctx, loss_event(END_STRANGER, loss));
}

static void on_work(void *ctx) {
    struct end *end = ctx;
    pthread_mutex_lock(&end->mutex);
    void (*command)(struct end * end, void *arg) = end->command;
    void *arg = end->command_arg;
    pthread_mutex_unlock(&end->mutex);
    if (!command) return;
    command(end, arg);
    pthread_mutex_lock(&end->mutex);
    end->command = NULL;
    pthread_cond_broadcast(&end->changed);
    pthread_mutex_unlock(&end->mutex);
}

static int64_t on_tick(void *ctx, int64_t now_ns) {
    return XB_NEVER;
}

static void on_disconnected(void *ctx) {
    record(ctx, (struct end_event){.kind = END_DISCONNECTED});
}

static const char *refusal(void *ctx, const char *host) {
    struct end *end = ctx;
    return atomic_load(&end->refuse) ? "not wanted." : NULL;
}

static void *run(void *arg) {
    net_run(((struct end *)arg)->net);
    return NULL;
}

void end_start(struct end *end, const struct net_config *config) {
    memset(end, 0, sizeof(*end));
    pthread_mutex_init(&end->mutex, NULL);
    pthread_condattr_t attributes;
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&end->changed, &attributes);
    pthread_condattr_destroy(&attributes);
    struct net_config own = *config;
    own.isolation = &end->isolation;
    own.refusal = refusal;
    own.refusal_ctx = end;
    struct net_events events = {.ctx = end,
                                .ready = on_ready,
                                .received = on_received,
                                .lost = on_lost,
                                .stranger = on_stranger,
                                .work = on_work,
                                .tick = on_tick,
                                .disconnected = on_disconnected};
    struct xb_error error;
    end->net = net_new(&own, &events, NULL, &error);
    assert_non_null(end->net);
    assert_int_equal(net_listen(end->net, "127.0.0.1", 0, &end->port, &error), 0);
    assert_int_equal(pthread_create(&end->thread, NULL, run, end), 0);
}

static struct timespec deadline(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += WAIT_S;
    return t;
}

void end_call(struct end *end, void (*command)(struct end *end, void *arg), void *arg) {
    struct timespec until = deadline();
    pthread_mutex_lock(&end->mutex);
    end->command = command;
    end->command_arg = arg;
    pthread_mutex_unlock(&end->mutex);
    net_wake(end->net);
    pthread_mutex_lock(&end->mutex);
    int rc = 0;
    while (end->command && !rc) rc = pthread_cond_timedwait(&end->changed, &end->mutex, &until);
    pthread_mutex_unlock(&end->mutex);
    assert_int_equal(rc, 0);
}

static void stop(struct end *end, void *arg) {
    net_finish(end->net, 0);
}

void end_stop(struct end *end) {
    end_call(end, stop, NULL);
    pthread_join(end->thread, NULL);
    net_free(end->net);
    xb_isolation_clear(&end->isolation);
    pthread_mutex_destroy(&end->mutex);
    pthread_cond_destroy(&end->changed);
}

struct dial {
    uint16_t port;
    net_conn conn;
};

static void dial(struct end *end, void *arg) {
    struct dial *d = arg;
    d->conn = net_dial(end->net, "127.0.0.1", d->port);
}

net_conn end_dial(struct end *end, uint16_t port) {
    struct dial d = {.port = port};
    end_call(end, dial, &d);
    return d.conn;
}

static void close_conn(struct end *end, void *arg) {
    net_close(end->net, *(net_conn *)arg);
}

void end_close(struct end *end, net_conn conn) {
    end_call(end, close_conn, &conn);
}

struct send {
    net_conn conn;
    uint8_t segment, first;
    size_t count, size;
    int rc;
};

static void send_datagrams(struct end *end, void *arg) {
    struct send *s = arg;
    for (size_t i = 0; i < s->count && !s->rc; i++) {
        struct xb_buf *buf = xb_buf_new(XB_BUF_HEADROOM, s->size);
        memset(xb_buf_data(buf), s->first + (int)i, s->size);
        datagram_seal(buf, DATAGRAM_CHECKSUM_CRC32C);
        s->rc = net_send(end->net, s->conn, s->segment, buf);
        xb_buf_unref(buf);
    }
}

int end_send(struct end *end, net_conn conn, uint8_t segment, size_t count, size_t size, uint8_t first) {
    struct send s = {.conn = conn, .segment = segment, .count = count, .size = size, .first = first};
    end_call(end, send_datagrams, &s);
    return s.rc;
}

static void read_stats(struct end *end, void *arg) {
    net_get_stats(end->net, arg);
}

void end_stats(struct end *end, struct net_stats *stats) {
    end_call(end, read_stats, stats);
}

/* Under the mutex. -> NULL: not there yet */
static const struct end_event *find(const struct end *end, enum end_event_kind kind, size_t n) {
    for (size_t i = 0; i < end->event_count; i++)
        if (end->events[i].kind == kind && n-- == 0) return &end->events[i];
    return NULL;
}

struct end_event end_wait(struct end *end, enum end_event_kind kind, size_t n) {
    struct timespec until = deadline();
    struct end_event event = {0};
    pthread_mutex_lock(&end->mutex);
    const struct end_event *found;
    int rc = 0;
    while (!(found = find(end, kind, n)) && !rc) rc = pthread_cond_timedwait(&end->changed, &end->mutex, &until);
    if (found) event = *found;
    pthread_mutex_unlock(&end->mutex);
    if (!found) fail_msg("event %d number %zu did not come", kind, n);
    return event;
}

size_t end_count(struct end *end, enum end_event_kind kind) {
    size_t n = 0;
    pthread_mutex_lock(&end->mutex);
    for (size_t i = 0; i < end->event_count; i++) n += end->events[i].kind == kind;
    pthread_mutex_unlock(&end->mutex);
    return n;
}

struct net_config config_with(struct tls_context *tls) {
    return (struct net_config){.tls = tls, .handshake_timeout_ns = 3 * XB_SECOND};
}

struct pair *start_pair(struct tls_context *a_tls, struct tls_context *b_tls) {
    struct pair *pair = malloc(sizeof(*pair));
    assert_non_null(pair);
    struct net_config a = config_with(a_tls), b = config_with(b_tls);
    end_start(&pair->a, &a);
    end_start(&pair->b, &b);
    pair->from_a = end_dial(&pair->a, pair->b.port);
    assert_true(pair->from_a != NET_NO_CONN);
    struct end_event ready = end_wait(&pair->a, END_READY, 0);
    assert_true(ready.conn == pair->from_a);
    assert_true(ready.is_dialled);
    ready = end_wait(&pair->b, END_READY, 0);
    assert_false(ready.is_dialled);
    pair->at_b = ready.conn;
    return pair;
}

void stop_pair(struct pair *pair) {
    end_stop(&pair->a);
    end_stop(&pair->b);
    free(pair);
}

int dial_raw(uint16_t port) {
    struct net_endpoint to;
    assert_int_equal(net_endpoint_from_numeric("127.0.0.1", port, &to), 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to.address, to.size), 0);
    return fd;
}

static struct tls_context *load(const char *key, const char *cert) {
    struct tls_config config = {.key_file = certs_path(&certs, key),
                                .cert_file = certs_path(&certs, cert),
                                .ca_file = certs_path(&certs, "ca.crt")};
    struct tls_context *context = tls_context_load(&config, NULL);
    assert_non_null(context);
    return context;
}

int end_prepare(void **state) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    limit.rlim_cur = limit.rlim_max < 65536 ? limit.rlim_max : 65536;
    setrlimit(RLIMIT_NOFILE, &limit); /* for the thousand */
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

int end_clean(void **state) {
    tls_context_unref(own_tls);
    tls_context_unref(other_tls);
    tls_context_unref(expired_tls);
    certs_clean(&certs);
    return 0;
}
