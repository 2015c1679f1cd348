/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The network of the group over loopback: datagrams, batching, order, limits, reload, socket.dynamic (spec 02). */
#include "end.h"

#include "base/clock.h"
#include "base/hash.h"
#include "datagram/datagram.h"
#include "net/socket.h"
#include "support/tls_feed.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

static uint32_t crc_of(uint8_t byte, size_t size) {
    uint8_t *bytes = malloc(size);
    memset(bytes, byte, size);
    uint32_t crc = xb_crc32c(0, bytes, size);
    free(bytes);
    return crc;
}

static void exchange(struct tls_context *tls) {
    struct pair *pair = start_pair(tls, tls);
    static const size_t sizes[] = {1, 36, 200, 5000, 16384, 32716, DATAGRAM_BODY_MAX};
    for (size_t i = 0; i < 7; i++) {
        assert_int_equal(end_send(&pair->a, pair->from_a, 0, 1, sizes[i], (uint8_t)i), 0);
        assert_int_equal(end_send(&pair->b, pair->at_b, 0, 1, sizes[i], (uint8_t)(100 + i)), 0);
    }
    for (size_t i = 0; i < 7; i++) {
        struct end_event at_b = end_wait(&pair->b, END_RECEIVED, i), at_a = end_wait(&pair->a, END_RECEIVED, i);
        assert_true(at_b.conn == pair->at_b && at_a.conn == pair->from_a);
        assert_int_equal(at_b.size, sizes[i]);
        assert_int_equal(at_b.crc, crc_of((uint8_t)i, sizes[i]));
        assert_int_equal(at_a.crc, crc_of((uint8_t)(100 + i), sizes[i]));
    }
    struct net_stats stats;
    end_stats(&pair->a, &stats);
    assert_int_equal(stats.datagrams_sent, 7);
    assert_int_equal(stats.datagrams_received, 7);
    if (tls)
        assert_int_equal(stats.plain_bytes_sent + stats.plain_bytes_received, 0);
    else
        assert_int_equal(stats.plain_bytes_sent, stats.bytes_sent);
    end_close(&pair->a, pair->from_a);
    struct end_event lost = end_wait(&pair->b, END_LOST, 0);
    assert_int_equal(lost.reason, 0);
    assert_int_equal(end_count(&pair->a, END_LOST), 0);
    assert_int_equal(end_send(&pair->a, pair->from_a, 0, 1, 10, 0), -ENOTCONN);
    stop_pair(pair);
}

static void test_plain(void **state) {
    exchange(NULL);
}

static void test_tls(void **state) {
    exchange(own_tls);
}

struct info_query {
    net_conn conn;
    struct tls_info info;
    bool is_tls;
};

static void query_info(struct end *end, void *arg) {
    struct info_query *query = arg;
    query->is_tls = net_tls_info(end->net, query->conn, &query->info);
}

static void test_tls_info(void **state) {
    struct pair *pair = start_pair(own_tls, own_tls);
    struct info_query query = {.conn = pair->at_b};
    end_call(&pair->b, query_info, &query);
    assert_true(query.is_tls);
    assert_string_equal(query.info.peer_subject, "CN=node");
    query.conn = pair->at_b + 12345;
    end_call(&pair->b, query_info, &query);
    assert_false(query.is_tls);
    stop_pair(pair);
}

/* All that is queued in a turn leaves with one system call, and is read with few. */
static void batch(struct tls_context *tls) {
    struct pair *pair = start_pair(tls, tls);
    struct net_stats before, after;
    end_stats(&pair->a, &before);
    assert_int_equal(end_send(&pair->a, pair->from_a, 0, 300, 200, 0), 0);
    end_wait(&pair->b, END_RECEIVED, 299);
    end_stats(&pair->a, &after);
    assert_int_equal(after.datagrams_sent - before.datagrams_sent, 300);
    assert_int_equal(after.write_calls - before.write_calls, 1);
    end_stats(&pair->b, &after);
    assert_true(after.read_calls < 30);
    stop_pair(pair);
}

static void test_batching_plain(void **state) {
    batch(NULL);
}

static void test_batching_tls(void **state) {
    batch(own_tls);
}

/* A raw TLS peer sees one record a datagram, and two for one above 16384 bytes (section 16.6). */
static void test_records(void **state) {
    struct end end;
    struct net_config config = config_with(own_tls);
    end_start(&end, &config);
    int fd = dial_raw(end.port);
    struct tls_session *session = tls_session_new(own_tls, false);
    struct xb_error error;
    uint8_t bytes[65536];
    int rc;
    while ((rc = tls_session_handshake(session, &error)) == -EAGAIN) {
        const uint8_t *data;
        size_t size = tls_session_output(session, &data);
        if (size) {
            assert_int_equal(send(fd, data, size, 0), size);
            tls_session_output_done(session, size);
            continue;
        }
        ssize_t n = recv(fd, bytes, sizeof(bytes), 0);
        assert_true(n > 0);
        assert_int_equal(tls_feed(session, bytes, (size_t)n), 0);
    }
    assert_int_equal(rc, 0);
    const uint8_t *data;
    size_t size = tls_session_output(session, &data);
    assert_int_equal(send(fd, data, size, 0), size);
    struct end_event ready = end_wait(&end, END_READY, 0);
    assert_int_equal(end_send(&end, ready.conn, 0, 3, 36, 1), 0);
    assert_int_equal(end_send(&end, ready.conn, 0, 1, 20000, 1), 0);
    static const size_t records[] = {44 + 17, 44 + 17, 44 + 17, 16384 + 17, 20008 - 16384 + 17};
    for (size_t i = 0; i < 5; i++) {
        assert_int_equal(recv(fd, bytes, 5, MSG_WAITALL), 5);
        assert_int_equal(bytes[0], 0x17);
        assert_int_equal(bytes[3] << 8 | bytes[4], records[i]);
        assert_int_equal(recv(fd, bytes, records[i], MSG_WAITALL), records[i]);
    }
    tls_session_free(session);
    close(fd);
    end_stop(&end);
}

struct mixed_send {
    net_conn conn;
};

static void send_mixed(struct end *end, void *arg) {
    struct mixed_send *mixed = arg;
    static const char *const texts[] = {"a1", "a2", "a3", "a4", "b1", "b2", "c1"};
    static const uint8_t segments[] = {7, 7, 7, 7, 3, 3, 200};
    for (size_t i = 0; i < 7; i++) {
        struct xb_buf *buf = xb_buf_new(XB_BUF_HEADROOM, 2);
        memcpy(xb_buf_data(buf), texts[i], 2);
        datagram_seal(buf, DATAGRAM_CHECKSUM_CRC32C);
        assert_int_equal(net_send(end->net, mixed->conn, segments[i], buf), 0);
        xb_buf_unref(buf);
    }
}

/* One datagram of each segment in turn, ascending, each segment in its own order (section 14.1). */
static void order(struct tls_context *tls) {
    struct pair *pair = start_pair(tls, tls);
    struct mixed_send mixed = {.conn = pair->from_a};
    end_call(&pair->a, send_mixed, &mixed);
    static const char *const expected[] = {"b1", "a1", "c1", "b2", "a2", "a3", "a4"};
    for (size_t i = 0; i < 7; i++) assert_string_equal(end_wait(&pair->b, END_RECEIVED, i).text, expected[i]);
    stop_pair(pair);
}

static void test_segment_order(void **state) {
    order(NULL);
    order(own_tls);
}

/* A peer that does not read: the queue is bounded, and nothing is lost of what was taken. */
static void slow_peer(struct tls_context *tls) {
    struct end end;
    struct net_config config = config_with(tls);
    end_start(&end, &config);
    int fd = dial_raw(end.port);
    struct tls_session *session = NULL;
    struct net_stats stats;
    if (tls) {
        /* only the handshake by hand; afterwards this side is mute */
        session = tls_session_new(tls, false);
        uint8_t bytes[8192];
        while (tls_session_handshake(session, NULL) == -EAGAIN) {
            const uint8_t *data;
            size_t size = tls_session_output(session, &data);
            assert_int_equal(send(fd, data, size, 0), size);
            tls_session_output_done(session, size);
            ssize_t n = recv(fd, bytes, sizeof(bytes), 0);
            assert_true(n > 0);
            tls_feed(session, bytes, (size_t)n);
        }
        const uint8_t *data;
        size_t size = tls_session_output(session, &data);
        assert_int_equal(send(fd, data, size, 0), size);
    }
    struct end_event ready = end_wait(&end, END_READY, 0);
    int rc = 0;
    size_t taken = 0;
    while (!rc && taken < 4000) {
        rc = end_send(&end, ready.conn, 0, 1, 32000, 0);
        taken += !rc;
    }
    assert_int_equal(rc, -ENOBUFS);
    end_stats(&end, &stats);
    assert_true(stats.queue_bytes <= NET_QUEUE_BYTES_MAX);
    assert_true(stats.queue_bytes_peak > NET_QUEUE_BYTES_MAX - 33000);
    assert_true(stats.queue_full >= 1);
    if (!tls) { /* now read it all */
        size_t left = taken * 32008;
        uint8_t *bytes = malloc(1 << 20);
        while (left > 0) {
            ssize_t n = recv(fd, bytes, 1 << 20, 0);
            assert_true(n > 0);
            left -= (size_t)n;
        }
        free(bytes);
    }
    tls_session_free(session);
    close(fd);
    end_stop(&end);
}

static void test_queue_limit(void **state) {
    slow_peer(NULL);
    slow_peer(own_tls);
}

/* What was queued before the close still arrives, then the end. */
static void flush_on_close(struct tls_context *tls) {
    struct pair *pair = start_pair(tls, tls);
    assert_int_equal(end_send(&pair->a, pair->from_a, 0, 500, 30000, 0), 0);
    end_close(&pair->a, pair->from_a);
    struct end_event lost = end_wait(&pair->b, END_LOST, 0);
    assert_int_equal(lost.reason, 0);
    assert_int_equal(pair->b.received_count, 500);
    struct net_stats stats;
    int64_t until_ns = xb_clock_monotonic_ns() + 10 * XB_SECOND;
    do end_stats(&pair->a, &stats);
    while (stats.connections > 0 && xb_clock_monotonic_ns() < until_ns);
    assert_int_equal(stats.connections, 0);
    stop_pair(pair);
}

static void test_close_flushes(void **state) {
    flush_on_close(NULL);
    flush_on_close(own_tls);
}

static void finish(struct end *end, void *arg) {
    net_close(end->net, *(net_conn *)arg);
    net_finish(end->net, 5 * XB_SECOND);
}

static void test_finish(void **state) {
    struct pair *pair = start_pair(own_tls, own_tls);
    assert_int_equal(end_send(&pair->a, pair->from_a, 0, 100, 1000, 0), 0);
    end_call(&pair->a, finish, &pair->from_a);
    pthread_join(pair->a.thread, NULL); /* the loop ends by itself */
    end_wait(&pair->b, END_RECEIVED, 99);
    net_free(pair->a.net);
    end_stop(&pair->b);
    free(pair);
}

static void test_byte_by_byte(void **state) {
    struct end end;
    struct net_config config = config_with(NULL);
    end_start(&end, &config);
    int fd = dial_raw(end.port);
    struct xb_buf *buf = xb_buf_new(XB_BUF_HEADROOM, 50);
    memset(xb_buf_data(buf), 'x', 50);
    datagram_seal(buf, DATAGRAM_CHECKSUM_CRC32C);
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    for (int round = 0; round < 3; round++)
        for (size_t i = 0; i < buf->size; i++) assert_int_equal(send(fd, xb_buf_data(buf) + i, 1, 0), 1);
    assert_int_equal(end_wait(&end, END_RECEIVED, 2).size, 50);
    /* a damaged one ends the connection */
    xb_buf_data(buf)[20] ^= 1;
    assert_int_equal(send(fd, xb_buf_data(buf), buf->size, 0), buf->size);
    struct end_event lost = end_wait(&end, END_LOST, 0);
    assert_int_equal(lost.reason, -EPROTO);
    assert_non_null(strstr(lost.text, "checksum"));
    xb_buf_unref(buf);
    close(fd);
    end_stop(&end);
}

static void test_refused_dial(void **state) {
    struct end end, gone;
    struct net_config config = config_with(own_tls);
    end_start(&end, &config);
    end_start(&gone, &config);
    uint16_t port = gone.port;
    end_stop(&gone);
    net_conn conn = end_dial(&end, port);
    struct end_event lost = end_wait(&end, END_LOST, 0);
    assert_true(lost.conn == conn && lost.is_dialled);
    assert_int_equal(lost.reason, -ECONNREFUSED);
    end_stop(&end);
}

static void nothing(struct end *end, void *arg) {}

static void test_isolation(void **state) {
    struct pair *pair = start_pair(own_tls, own_tls);
    xb_isolation_set(&pair->a.isolation, XB_ISOLATED); /* the loop sleeps, and nothing else wakes it */
    assert_int_equal(end_wait(&pair->a, END_LOST, 0).reason, -ENETDOWN);
    end_wait(&pair->b, END_LOST, 0);
    assert_int_equal(end_dial(&pair->a, pair->b.port), NET_NO_CONN);
    int fd = dial_raw(pair->a.port);
    uint8_t byte;
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    close(fd);
    xb_isolation_set(&pair->a.isolation, XB_NORMAL);
    end_call(&pair->a, nothing, NULL);
    assert_true(end_dial(&pair->a, pair->b.port) != NET_NO_CONN);
    end_wait(&pair->a, END_READY, 1);
    xb_isolation_set(&pair->a.isolation, XB_DISCONNECT);
    end_wait(&pair->a, END_DISCONNECTED, 0);
    stop_pair(pair);
}

static void swap_tls(struct end *end, void *arg) {
    net_set_tls(end->net, arg);
}

static void test_reload(void **state) {
    struct pair *pair = start_pair(own_tls, own_tls);
    end_call(&pair->b, swap_tls, expired_tls);
    end_dial(&pair->a, pair->b.port);
    assert_non_null(strstr(end_wait(&pair->a, END_LOST, 0).text, "certificate has expired"));
    assert_int_equal(end_send(&pair->a, pair->from_a, 0, 1, 10, 0), 0); /* the old connection goes on */
    end_wait(&pair->b, END_RECEIVED, 0);
    end_call(&pair->b, swap_tls, own_tls);
    end_dial(&pair->a, pair->b.port);
    end_wait(&pair->a, END_READY, 1);
    stop_pair(pair);
}

/* socket.dynamic: what the two agree on; datagrams flow either way. */
static void test_dynamic(void **state) {
    static const struct {
        bool has_acceptor_tls, is_acceptor_dynamic, has_dialler_tls, is_dialler_dynamic, is_tls;
    } cases[] = {
        {true, true, true, false, true},
        {true, true, false, false, false},
        {true, true, true, true, true},
        {true, false, true, true, true},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct end acceptor, dialler;
        struct net_config a = config_with(cases[i].has_acceptor_tls ? own_tls : NULL);
        struct net_config d = config_with(cases[i].has_dialler_tls ? own_tls : NULL);
        a.is_dynamic = cases[i].is_acceptor_dynamic;
        d.is_dynamic = cases[i].is_dialler_dynamic;
        end_start(&acceptor, &a);
        end_start(&dialler, &d);
        net_conn conn = end_dial(&dialler, acceptor.port);
        struct end_event ready = end_wait(&acceptor, END_READY, 0);
        assert_int_equal(end_send(&acceptor, ready.conn, 0, 1, 36, 0), 0); /* a plain acceptor speaks first */
        end_wait(&dialler, END_READY, 0);
        end_wait(&dialler, END_RECEIVED, 0);
        assert_int_equal(end_send(&dialler, conn, 0, 1, 36, 0), 0);
        end_wait(&acceptor, END_RECEIVED, 0);
        struct info_query query = {.conn = conn};
        end_call(&dialler, query_info, &query);
        assert_int_equal(query.is_tls, cases[i].is_tls);
        end_stop(&acceptor);
        end_stop(&dialler);
    }
}

/* A dynamic dialler at an old plain acceptor that discards the ClientHello and then speaks (section 17). */
static void test_dynamic_fall_back(void **state) {
    struct end end;
    struct net_config config = config_with(own_tls);
    config.is_dynamic = true;
    end_start(&end, &config);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct net_endpoint at;
    net_endpoint_from_numeric("127.0.0.1", 0, &at);
    assert_int_equal(bind(listener, (struct sockaddr *)&at.address, at.size), 0);
    assert_int_equal(listen(listener, 1), 0);
    at.size = sizeof(at.address);
    getsockname(listener, (struct sockaddr *)&at.address, &at.size);
    end_dial(&end, net_endpoint_port(&at));
    int fd = accept(listener, NULL, NULL);
    uint8_t bytes[2000];
    assert_true(recv(fd, bytes, sizeof(bytes), 0) > 100);
    assert_int_equal(bytes[0], 0x16);
    struct xb_buf *buf = xb_buf_new(XB_BUF_HEADROOM, 36);
    memset(xb_buf_data(buf), 'h', 36);
    datagram_seal(buf, DATAGRAM_CHECKSUM_CRC32C);
    assert_int_equal(send(fd, xb_buf_data(buf), buf->size, 0), buf->size);
    end_wait(&end, END_READY, 0);
    assert_int_equal(end_wait(&end, END_RECEIVED, 0).size, 36);
    xb_buf_unref(buf);
    close(fd);
    close(listener);
    end_stop(&end);
}

struct resolution {
    _Atomic(int) count;
    bool is_loopback;
    char host[NET_HOST_SIZE];
    struct end *end;
};

static void on_resolved(void *ctx, const struct net_endpoint *endpoints, size_t count) {
    struct resolution *resolution = ctx;
    for (size_t i = 0; i < count; i++) {
        net_endpoint_host(&endpoints[i], resolution->host);
        resolution->is_loopback |= !strcmp(resolution->host, "127.0.0.1") || !strcmp(resolution->host, "[::1]");
    }
    atomic_store(&resolution->count, (int)count);
}

static void resolve(struct end *end, void *arg) {
    struct resolution *resolution = arg;
    if (net_resolve(end->net, "localhost", 4567, on_resolved, resolution)) atomic_store(&resolution->count, -2);
}

static void test_resolve(void **state) {
    struct end end;
    struct net_config config = config_with(NULL);
    end_start(&end, &config);
    struct resolution resolution = {.count = -1};
    end_call(&end, resolve, &resolution);
    for (int i = 0; i < 3000 && atomic_load(&resolution.count) == -1; i++) poll(NULL, 0, 10);
    assert_true(atomic_load(&resolution.count) > 0);
    assert_true(resolution.is_loopback);
    end_stop(&end);
}

static void *wake_often(void *arg) {
    for (int i = 0; i < 100000; i++) net_wake(arg);
    return NULL;
}

/* No wake-up is lost while others are made all the time. */
/* So that the kernel notices a dead path as soon as the peer timeout does (spec 02 section 22.12). */
static void test_dead_path_options(void **state) {
    struct net_socket_options options = {.dead_path_ns = 3 * XB_SECOND};
    struct net_endpoint at;
    (void)state;
    assert_int_equal(net_endpoint_from_numeric("127.0.0.1", 0, &at), 0);
    int listener = net_socket_listen(&at, &options);
    assert_true(listener >= 0);
    assert_int_equal(net_endpoint_from_numeric("127.0.0.1", (uint16_t)net_socket_port(listener), &at), 0);
    int fd = net_socket_connect(&at, NULL, &options);
    assert_true(fd >= 0);
    static const struct {
        int level, name, value;
    } wanted[] = {{SOL_SOCKET, SO_KEEPALIVE, 1},
                  {IPPROTO_TCP, TCP_USER_TIMEOUT, 3000},
                  {IPPROTO_TCP, TCP_KEEPIDLE, 3},
                  {IPPROTO_TCP, TCP_NODELAY, 1}};
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        int value = -1;
        socklen_t size = sizeof(value);
        assert_int_equal(getsockopt(fd, wanted[i].level, wanted[i].name, &value, &size), 0);
        assert_int_equal(value, wanted[i].value);
    }
    close(fd);
    close(listener);
}

static void test_wake(void **state) {
    struct end end;
    struct net_config config = config_with(NULL);
    end_start(&end, &config);
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, wake_often, end.net), 0);
    for (int i = 0; i < 2000; i++) end_call(&end, nothing, NULL);
    pthread_join(thread, NULL);
    end_stop(&end);
}

static void test_addresses(void **state) {
    static const struct {
        const char *text, *scheme, *host;
        int port;
    } good[] = {
        {"tcp://10.0.0.1:4567", "tcp", "10.0.0.1", 4567},
        {"ssl://[2001:db8::1]:1", "ssl", "[2001:db8::1]", 1},
        {"node1", "", "node1", -1},
        {"node1:65535", "", "node1", 65535},
        {"node1:", "", "node1", -1},
        {"[fe80::1%3]:9", "", "[fe80::1%3]", 9},
    };
    struct net_uri uri;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
        assert_int_equal(net_uri_parse(good[i].text, &uri), 0);
        assert_string_equal(uri.scheme, good[i].scheme);
        assert_string_equal(uri.host, good[i].host);
        assert_int_equal(uri.port, good[i].port);
    }
    static const char *const bad[] = {"",        ":4567", "host:65536", "host:-1",
                                      "host:1x", "[::1",  "[::1]x",     "toolongscheme://h"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) assert_int_equal(net_uri_parse(bad[i], &uri), -EINVAL);

    static const struct {
        const char *text, *canonical;
        bool is_any;
    } hosts[] = {{"127.0.0.1", "127.0.0.1", false},
                 {"0.0.0.0", "0.0.0.0", true},
                 {"[::]", "[::]", true},
                 {"::1", "[::1]", false},
                 {"[::ffff:10.0.0.1]", "10.0.0.1", false}};
    for (size_t i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
        struct net_endpoint endpoint;
        char host[NET_HOST_SIZE];
        assert_int_equal(net_endpoint_from_numeric(hosts[i].text, 99, &endpoint), 0);
        net_endpoint_host(&endpoint, host);
        assert_string_equal(host, hosts[i].canonical);
        assert_int_equal(net_endpoint_port(&endpoint), 99);
        assert_int_equal(net_endpoint_is_any(&endpoint), hosts[i].is_any);
    }
    struct net_endpoint endpoint;
    assert_int_equal(net_endpoint_from_numeric("localhost", 99, &endpoint), -EINVAL);
    char text[NET_ADDRESS_SIZE];
    assert_int_equal(net_address_format("ssl", "[::1]", 4567, text), 0);
    assert_string_equal(text, "ssl://[::1]:4567");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_plain),
        cmocka_unit_test(test_tls),
        cmocka_unit_test(test_tls_info),
        cmocka_unit_test(test_batching_plain),
        cmocka_unit_test(test_batching_tls),
        cmocka_unit_test(test_records),
        cmocka_unit_test(test_segment_order),
        cmocka_unit_test(test_queue_limit),
        cmocka_unit_test(test_close_flushes),
        cmocka_unit_test(test_finish),
        cmocka_unit_test(test_byte_by_byte),
        cmocka_unit_test(test_refused_dial),
        cmocka_unit_test(test_isolation),
        cmocka_unit_test(test_reload),
        cmocka_unit_test(test_dynamic),
        cmocka_unit_test(test_dynamic_fall_back),
        cmocka_unit_test(test_resolve),
        cmocka_unit_test(test_dead_path_options),
        cmocka_unit_test(test_wake),
    };
    return cmocka_run_group_tests(tests, end_prepare, end_clean);
}
