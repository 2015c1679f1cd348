/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The network of the group over loopback: datagrams, batching, order, limits, strangers (spec 02). */
#include "end.h"
#include "support/certs.h"

#include "base/clock.h"
#include "base/hash.h"
#include "datagram/datagram.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#define SILENT 1000

static struct certs certs;
static struct tls_context *own_tls, *other_tls, *expired_tls;

static struct net_config config_with(struct tls_context *tls) {
    return (struct net_config){.tls = tls, .handshake_timeout_ns = 3 * XB_SECOND};
}

/* Two ends and a connection between them. */
struct pair {
    struct end a, b;
    net_conn from_a, at_b;
};

static struct pair *start_pair(struct tls_context *a_tls, struct tls_context *b_tls) {
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

static void stop_pair(struct pair *pair) {
    end_stop(&pair->a);
    end_stop(&pair->b);
    free(pair);
}

static int dial_raw(uint16_t port) {
    struct net_endpoint to;
    assert_int_equal(net_endpoint_from_numeric("127.0.0.1", port, &to), 0);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to.address, to.size), 0);
    return fd;
}

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
        assert_int_equal(tls_session_feed(session, bytes, (size_t)n), 0);
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
            tls_session_feed(session, bytes, (size_t)n);
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

static void test_random_bytes(void **state) {
    struct end plain, tls;
    struct net_config plain_config = config_with(NULL), tls_config = config_with(own_tls);
    end_start(&plain, &plain_config);
    end_start(&tls, &tls_config);
    srandom(11);
    for (int i = 0; i < 20; i++) {
        uint8_t bytes[3000];
        for (size_t n = 0; n < sizeof(bytes); n++) bytes[n] = (uint8_t)random();
        bytes[3] |= 0x80; /* no valid header, so that the end is certain */
        bytes[0] = 0x40;
        int to_plain = dial_raw(plain.port), to_tls = dial_raw(tls.port);
        send(to_plain, bytes, sizeof(bytes), MSG_NOSIGNAL);
        send(to_tls, bytes, sizeof(bytes), MSG_NOSIGNAL);
        assert_int_equal(end_wait(&plain, END_LOST, (size_t)i).reason, -EPROTO);
        struct end_event stranger = end_wait(&tls, END_STRANGER, (size_t)i);
        assert_true(stranger.is_tls && stranger.is_handshake);
        close(to_plain);
        close(to_tls);
    }
    assert_int_equal(end_count(&tls, END_READY), 0);
    end_stop(&plain);
    end_stop(&tls);
}

/* A node with TLS answers plain text with an alert at most, and takes no datagram of it. */
static void test_plain_text_to_tls(void **state) {
    struct end end;
    struct net_config config = config_with(own_tls);
    end_start(&end, &config);
    int fd = dial_raw(end.port);
    struct xb_buf *buf = xb_buf_new(XB_BUF_HEADROOM, 36);
    memset(xb_buf_data(buf), 0, 36);
    datagram_seal(buf, DATAGRAM_CHECKSUM_CRC32C);
    assert_int_equal(send(fd, xb_buf_data(buf), buf->size, 0), buf->size);
    xb_buf_unref(buf);
    struct end_event stranger = end_wait(&end, END_STRANGER, 0);
    assert_true(stranger.is_tls);
    assert_non_null(strstr(stranger.text, "does not speak TLS"));
    uint8_t bytes[100];
    ssize_t n;
    for (bool is_first = true; (n = recv(fd, bytes, sizeof(bytes), 0)) > 0; is_first = false)
        if (is_first) assert_int_equal(bytes[0], 0x15);
    assert_int_equal(end_count(&end, END_RECEIVED), 0);
    assert_int_equal(end_count(&end, END_READY), 0);
    close(fd);
    end_stop(&end);
}

/* Both sides learn the reason, with the subject. */
static void refuse(struct tls_context *bad, const char *reason, const char *subject, const char *told) {
    struct end good_end, bad_end;
    struct net_config good = config_with(own_tls), wrong = config_with(bad);
    end_start(&good_end, &good);
    end_start(&bad_end, &wrong);
    end_dial(&bad_end, good_end.port); /* the bad one dials */
    struct end_event stranger = end_wait(&good_end, END_STRANGER, 0);
    assert_non_null(strstr(stranger.text, reason));
    assert_non_null(strstr(stranger.text, subject));
    struct end_event lost = end_wait(&bad_end, END_LOST, 0);
    assert_true(lost.is_handshake && lost.is_tls);
    if (!strstr(lost.text, told)) fail_msg("%s", lost.text);
    end_dial(&good_end, bad_end.port); /* and is dialled */
    lost = end_wait(&good_end, END_LOST, 0);
    assert_true(lost.is_handshake && lost.is_tls);
    assert_non_null(strstr(lost.text, reason));
    assert_non_null(strstr(lost.text, subject));
    assert_int_equal(end_count(&good_end, END_READY), 0);
    end_stop(&good_end);
    end_stop(&bad_end);
}

static void test_wrong_certificates(void **state) {
    refuse(expired_tls, "certificate has expired", "CN=expired", "renew it");
}

/* The other CA's node does not know ours either, so it refuses first when it dials. */
static void test_wrong_ca(void **state) {
    struct end good_end, bad_end;
    struct net_config good = config_with(own_tls), wrong = config_with(other_tls);
    end_start(&good_end, &good);
    end_start(&bad_end, &wrong);
    end_dial(&good_end, bad_end.port);
    struct end_event lost = end_wait(&good_end, END_LOST, 0);
    assert_non_null(strstr(lost.text, "unable to get local issuer certificate"));
    assert_non_null(strstr(lost.text, "CN=stranger"));
    struct end_event stranger = end_wait(&bad_end, END_STRANGER, 0);
    assert_non_null(strstr(stranger.text, "unknown ca"));
    end_stop(&good_end);
    end_stop(&bad_end);
}

static void test_silent_thousand(void **state) {
    struct pair *pair = start_pair(own_tls, own_tls);
    static int silent[SILENT];
    for (int i = 0; i < SILENT; i++) silent[i] = dial_raw(pair->b.port);
    int64_t start_ns = xb_clock_monotonic_ns();
    end_dial(&pair->a, pair->b.port);
    end_wait(&pair->a, END_READY, 1);
    assert_true(xb_clock_monotonic_ns() - start_ns < 2 * XB_SECOND);
    /* the member that was there before is not disturbed either */
    assert_int_equal(end_send(&pair->a, pair->from_a, 0, 10, 1000, 0), 0);
    end_wait(&pair->b, END_RECEIVED, 9);
    struct net_stats stats;
    end_stats(&pair->b, &stats);
    assert_true(stats.half_open <= NET_HALF_OPEN_PER_HOST_MAX + 1);
    assert_true(stats.half_open_dropped >= SILENT - NET_HALF_OPEN_PER_HOST_MAX - 1);
    end_wait(&pair->b, END_STRANGER, SILENT - NET_HALF_OPEN_PER_HOST_MAX - 1);
    for (int i = 0; i < SILENT; i++) close(silent[i]);
    assert_int_equal(end_count(&pair->a, END_LOST), 0);
    stop_pair(pair);
}

static void test_handshake_deadline(void **state) {
    struct end end;
    struct net_config config = config_with(own_tls);
    config.handshake_timeout_ns = 50 * XB_MS;
    end_start(&end, &config);
    int fd = dial_raw(end.port);
    struct end_event stranger = end_wait(&end, END_STRANGER, 0);
    assert_int_equal(stranger.reason, -ETIMEDOUT);
    uint8_t byte;
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    close(fd);
    /* as dialler: a listener that never answers */
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct net_endpoint at;
    net_endpoint_from_numeric("127.0.0.1", 0, &at);
    assert_int_equal(bind(listener, (struct sockaddr *)&at.address, at.size), 0);
    assert_int_equal(listen(listener, 1), 0);
    at.size = sizeof(at.address);
    getsockname(listener, (struct sockaddr *)&at.address, &at.size);
    net_conn conn = end_dial(&end, net_endpoint_port(&at));
    struct end_event lost = end_wait(&end, END_LOST, 0);
    assert_true(lost.conn == conn);
    assert_int_equal(lost.reason, -ETIMEDOUT);
    close(listener);
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

static void test_closed_before_ready(void **state) {
    struct end end;
    struct net_config config = config_with(own_tls);
    end_start(&end, &config);
    int fds[5];
    for (int i = 0; i < 5; i++) {
        fds[i] = dial_raw(end.port);
        close(fds[i]);
    }
    assert_int_equal(end_wait(&end, END_STRANGER, 4).reason, 0);
    net_conn conn = end_dial(&end, end.port);
    end_close(&end, conn); /* maybe already ready; then it is flushed and closed */
    struct net_stats stats;
    do end_stats(&end, &stats);
    while (stats.connections > 0);
    assert_int_equal(end_count(&end, END_LOST) <= 1, 1); /* at most the accepted end of it */
    end_stop(&end);
}

static void test_allowlist(void **state) {
    struct end end;
    struct net_config config = config_with(own_tls);
    end_start(&end, &config);
    atomic_store(&end.refuse, 1);
    int fd = dial_raw(end.port);
    uint8_t byte;
    assert_int_equal(recv(fd, &byte, 1, 0), 0); /* closed without a byte */
    struct end_event stranger = end_wait(&end, END_STRANGER, 0);
    assert_int_equal(stranger.reason, -EACCES);
    close(fd);
    end_stop(&end);
}

static void nothing(struct end *end, void *arg) {
}

static void test_isolation(void **state) {
    struct pair *pair = start_pair(own_tls, own_tls);
    atomic_store(&pair->a.isolation, NET_ISOLATED);
    end_call(&pair->a, nothing, NULL); /* an event */
    assert_int_equal(end_wait(&pair->a, END_LOST, 0).reason, -ENETDOWN);
    end_wait(&pair->b, END_LOST, 0);
    assert_int_equal(end_dial(&pair->a, pair->b.port), NET_NO_CONN);
    int fd = dial_raw(pair->a.port);
    uint8_t byte;
    assert_int_equal(recv(fd, &byte, 1, 0), 0);
    close(fd);
    atomic_store(&pair->a.isolation, NET_NORMAL);
    end_call(&pair->a, nothing, NULL);
    assert_true(end_dial(&pair->a, pair->b.port) != NET_NO_CONN);
    end_wait(&pair->a, END_READY, 1);
    atomic_store(&pair->a.isolation, NET_DISCONNECT);
    end_call(&pair->a, nothing, NULL);
    end_wait(&pair->a, END_DISCONNECTED, 0);
    stop_pair(pair);
}

/* Without descriptors the listener pauses, then goes on. */
static void test_no_descriptors(void **state) {
    struct end end;
    struct net_config config = config_with(NULL);
    end_start(&end, &config);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct net_endpoint to;
    net_endpoint_from_numeric("127.0.0.1", end.port, &to);
    struct rlimit old, low;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &old), 0);
    low = old;
    low.rlim_cur = (rlim_t)fd + 1; /* all below are in use, or this one would be smaller */
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to.address, to.size), 0);
    struct pollfd none = {.fd = -1};
    poll(&none, 1, 250); /* more than two back-offs */
    assert_int_equal(end_count(&end, END_READY), 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &old), 0);
    end_wait(&end, END_READY, 0);
    close(fd);
    end_stop(&end);
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
        {true, true, true, false, true},   {true, true, false, false, false}, {true, true, true, true, true},
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
        {"tcp://10.0.0.1:4567", "tcp", "10.0.0.1", 4567}, {"ssl://[2001:db8::1]:1", "ssl", "[2001:db8::1]", 1},
        {"node1", "", "node1", -1},                       {"node1:65535", "", "node1", 65535},
        {"node1:", "", "node1", -1},                      {"[fe80::1%3]:9", "", "[fe80::1%3]", 9},
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
    } hosts[] = {{"127.0.0.1", "127.0.0.1", false}, {"0.0.0.0", "0.0.0.0", true}, {"[::]", "[::]", true},
                 {"::1", "[::1]", false},           {"[::ffff:10.0.0.1]", "10.0.0.1", false}};
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

static struct tls_context *load(const char *key, const char *cert) {
    struct tls_config config = {.key_file = certs_path(&certs, key), .cert_file = certs_path(&certs, cert),
                                .ca_file = certs_path(&certs, "ca.crt")};
    struct tls_context *context = tls_context_load(&config, NULL);
    assert_non_null(context);
    return context;
}

static int prepare(void **state) {
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

static int clean(void **state) {
    tls_context_unref(own_tls);
    tls_context_unref(other_tls);
    tls_context_unref(expired_tls);
    certs_clean(&certs);
    return 0;
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
        cmocka_unit_test(test_random_bytes),
        cmocka_unit_test(test_plain_text_to_tls),
        cmocka_unit_test(test_wrong_certificates),
        cmocka_unit_test(test_wrong_ca),
        cmocka_unit_test(test_silent_thousand),
        cmocka_unit_test(test_handshake_deadline),
        cmocka_unit_test(test_refused_dial),
        cmocka_unit_test(test_closed_before_ready),
        cmocka_unit_test(test_allowlist),
        cmocka_unit_test(test_isolation),
        cmocka_unit_test(test_no_descriptors),
        cmocka_unit_test(test_reload),
        cmocka_unit_test(test_dynamic),
        cmocka_unit_test(test_dynamic_fall_back),
        cmocka_unit_test(test_resolve),
        cmocka_unit_test(test_wake),
    };
    return cmocka_run_group_tests(tests, prepare, clean);
}
