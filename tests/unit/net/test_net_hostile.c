/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Strangers and lack of resources (spec 02 sections 15, 16.4, 22.3, 22.4): bounded, told apart, no harm to members. */
#include "end.h"

#include "base/clock.h"
#include "datagram/datagram.h"

#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#define SILENT 1000

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
    assert_string_equal(stranger.text, "Connection not allowed, IP 127.0.0.1 not wanted.");
    close(fd);
    end_stop(&end);
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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_bytes),        cmocka_unit_test(test_plain_text_to_tls),
        cmocka_unit_test(test_wrong_certificates),  cmocka_unit_test(test_wrong_ca),
        cmocka_unit_test(test_silent_thousand),     cmocka_unit_test(test_handshake_deadline),
        cmocka_unit_test(test_closed_before_ready), cmocka_unit_test(test_allowlist),
        cmocka_unit_test(test_no_descriptors),
    };
    return cmocka_run_group_tests(tests, end_prepare, end_clean);
}
