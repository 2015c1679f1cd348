/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Message headers against stock traffic, and malformed ones; addresses (spec 07 sections 16.2, 17.1, 25.1). */
#include "ist/internal.h"
#include "base/bytes.h"
#include "base/hash.h"
#include "support/vectors.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <cmocka.h>

static void test_vectors(void **state) {
    struct vectors v = vectors_load("ist");
    struct vector record;
    int seen[IST_MESSAGE_SKIP + 1] = {0};
    while (vectors_next(&v, &record)) {
        assert_true(record.size >= 1 + IST_HEADER_SIZE);
        struct xb_error error = {0};
        struct ist_message message;
        int rc = ist_message_decode(&message, record.data + 1, 11, &error);
        if (rc) fail_msg("%s", error.text);
        assert_int_equal(message.length, record.size - 1 - IST_HEADER_SIZE);
        uint8_t again[IST_HEADER_SIZE];
        ist_message_encode(&message, again);
        assert_memory_equal(again, record.data + 1, IST_HEADER_SIZE);
        seen[message.type]++;
    }
    for (int type = IST_MESSAGE_HANDSHAKE; type <= IST_MESSAGE_SKIP; type++) assert_true(seen[type] > 0);
    free(v.bytes);
}

static void check_plain(enum ist_message_type type, int8_t ctrl, int version, const char *hex) {
    uint8_t header[IST_HEADER_SIZE];
    char text[2 * IST_HEADER_SIZE + 1];
    ist_message_encode_plain(type, ctrl, version, header);
    for (size_t i = 0; i < sizeof(header); i++) snprintf(text + 2 * i, 3, "%02x", header[i]);
    assert_string_equal(text, hex);
}

static void test_examples(void **state) {
    check_plain(IST_MESSAGE_HANDSHAKE, 0, 11, "0b01000000000000ffffffffffffffffa839807fdad500d3");
    check_plain(IST_MESSAGE_HANDSHAKE_RESPONSE, 0, 11, "0b02000000000000ffffffffffffffff77c223b512e0b626");
    check_plain(IST_MESSAGE_CTRL, 0, 11, "0b03000000000000ffffffffffffffff9280caa5698dc07f");
    check_plain(IST_MESSAGE_CTRL, 1, 11, "0b03000100000000ffffffffffffffffecd1f7e09f869fb3");
    check_plain(IST_MESSAGE_CTRL, -11, 11, "0b0300f500000000ffffffffffffffffa317edddf27765b4");
    check_plain(IST_MESSAGE_HANDSHAKE, 0, 10, "0a01000000000000ffffffffffffffff89fd0e27a303a26c");
    check_plain(IST_MESSAGE_HANDSHAKE_RESPONSE, 0, 10, "0a02000000000000ffffffffffffffffb679ca8a4fa844ab");
    check_plain(IST_MESSAGE_CTRL, 0, 10, "0a03000000000000ffffffffffffffff8bc7b8689924fc98");
    check_plain(IST_MESSAGE_CTRL, 1, 10, "0a03000100000000ffffffffffffffffe537dfda4073a880");
}

/* Puts the right checksum behind changed fields. */
static int decode_raw(uint8_t version, uint8_t type, uint8_t ctrl, uint32_t length, int64_t seqno) {
    uint8_t header[IST_HEADER_SIZE];
    struct xb_writer w = xb_writer_init(header, sizeof(header));
    xb_write_u8(&w, version);
    xb_write_u8(&w, type);
    xb_write_u8(&w, 0xff);
    xb_write_u8(&w, ctrl);
    xb_write_u32(&w, length);
    xb_write_i64(&w, seqno);
    xb_write_u64(&w, xb_fast_hash64(header, 16));
    struct ist_message message;
    struct xb_error error;
    return ist_message_decode(&message, header, 11, &error);
}

static void test_malformed(void **state) {
    assert_int_equal(decode_raw(11, 4, 0, 100, 1), 0);
    assert_int_equal(decode_raw(11, 4, 0, UINT32_MAX, INT64_MAX), 0); /* bounded by the receiver */
    assert_int_equal(decode_raw(10, 4, 0, 100, 1), -EPROTO);
    assert_int_equal(decode_raw(0, 4, 0, 100, 1), -EPROTO);
    assert_int_equal(decode_raw(11, 0, 0, 0, -1), -EPROTO);
    for (int type = 7; type < 256; type++) assert_int_equal(decode_raw(11, (uint8_t)type, 0, 0, 1), -EPROTO);
    for (uint8_t type = 1; type <= 3; type++) {
        assert_int_equal(decode_raw(11, type, 0, 0, -1), 0);
        assert_int_equal(decode_raw(11, type, 0, 1, -1), -EPROTO);
    }
    assert_int_equal(decode_raw(11, 6, 0, 0, 5), 0);
    assert_int_equal(decode_raw(11, 6, 0, 8, 5), -EPROTO);
    assert_int_equal(decode_raw(11, 4, 0, 0, 5), -EPROTO);
    assert_int_equal(decode_raw(11, 5, 0, 0, 5), -EPROTO);
    for (uint8_t type = 4; type <= 6; type++) {
        assert_int_equal(decode_raw(11, type, 0, type == 6 ? 0 : 8, 0), -EPROTO);
        assert_int_equal(decode_raw(11, type, 0, type == 6 ? 0 : 8, -1), -EPROTO);
        assert_int_equal(decode_raw(11, type, 0, type == 6 ? 0 : 8, INT64_MIN), -EPROTO);
    }
    uint8_t header[IST_HEADER_SIZE];
    struct ist_message message;
    struct xb_error error;
    for (size_t i = 1; i < IST_HEADER_SIZE; i++) {
        ist_message_encode_plain(IST_MESSAGE_HANDSHAKE, 0, 11, header);
        header[i] ^= 0x10;
        assert_int_equal(ist_message_decode(&message, header, 11, &error), -EINVAL);
    }
}

/* --------------------------------------------------------------- addresses */

static void test_parse_address(void **state) {
    struct ist_address a;
    assert_int_equal(ist_address_parse(&a, "ssl://10.0.0.1:4568", NULL), 0);
    assert_true(a.has_scheme && a.is_tls && a.has_port);
    assert_int_equal(a.port, 4568);
    assert_string_equal(a.host, "10.0.0.1");
    assert_int_equal(ist_address_parse(&a, "node.example", NULL), 0);
    assert_false(a.has_scheme || a.is_tls || a.has_port);
    assert_int_equal(ist_address_parse(&a, "[::1]:0", NULL), 0);
    assert_true(a.has_port && a.port == 0);
    assert_string_equal(a.host, "[::1]");
    assert_int_equal(ist_address_parse(&a, "tcp://fe80::2", NULL), 0);
    assert_string_equal(a.host, "[fe80::2]");
    assert_false(a.has_port);
    const char *bad[] = {"",          ":4568",      "tcp://", "udp://1.2.3.4:5", "1.2.3.4:65536",
                         "1.2.3.4:x", "1.2.3.4:-1", "[::1",   "[::1]4568",       "tcp://[::1]x:1"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++)
        assert_int_equal(ist_address_parse(&a, bad[i], NULL), -EINVAL);
    char longest[1000];
    memset(longest, 'a', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = 0;
    assert_int_equal(ist_address_parse(&a, longest, NULL), -EINVAL);
    memset(longest, ':', sizeof(longest) - 1);
    assert_int_equal(ist_address_parse(&a, longest, NULL), -EINVAL);
}

static void check_listen(const struct ist_receiver_config *config, const char *advertised, const char *bind) {
    struct ist_listen_address address;
    struct xb_error error = {0};
    int rc = ist_address_resolve(&address, config, &error);
    assert_int_equal(rc, advertised ? 0 : -EINVAL);
    if (rc) return;
    char text[IST_ADDRESS_SIZE];
    ist_address_format(&address.advertised, text);
    assert_string_equal(text, advertised);
    ist_address_format(&address.bind, text);
    assert_string_equal(text, bind);
}

static void test_listen_address(void **state) {
    struct tls_context *tls = (struct tls_context *)(uintptr_t)8; /* only looked at for being there */
    check_listen(&(struct ist_receiver_config){.base_port = 4567}, NULL, NULL);
    check_listen(&(struct ist_receiver_config){.recv_addr = "", .base_host = ""}, NULL, NULL);
    check_listen(&(struct ist_receiver_config){.base_host = "10.0.0.1"}, "tcp://10.0.0.1:4568", "tcp://10.0.0.1:4568");
    check_listen(&(struct ist_receiver_config){.base_host = "10.0.0.1", .base_port = 5000}, "tcp://10.0.0.1:5001",
                 "tcp://10.0.0.1:5001");
    check_listen(&(struct ist_receiver_config){.base_host = "10.0.0.1", .base_port = 65535}, NULL, NULL);
    check_listen(&(struct ist_receiver_config){.base_host = "10.0.0.1", .recv_addr = "10.0.0.2:7", .tls = tls},
                 "ssl://10.0.0.2:7", "ssl://10.0.0.2:7");
    check_listen(&(struct ist_receiver_config){.recv_addr = "10.0.0.2", .tls = tls, .is_dynamic = true},
                 "tcp://10.0.0.2:4568", "tcp://10.0.0.2:4568");
    /* no plaintext where certificates are, unless socket.dynamic is on */
    check_listen(&(struct ist_receiver_config){.recv_addr = "tcp://10.0.0.2", .tls = tls}, NULL, NULL);
    check_listen(&(struct ist_receiver_config){.recv_addr = "tcp://10.0.0.2", .tls = tls, .is_dynamic = true},
                 "tcp://10.0.0.2:4568", "tcp://10.0.0.2:4568");
    check_listen(&(struct ist_receiver_config){.recv_addr = "ssl://10.0.0.2"}, NULL, NULL); /* no key */
    check_listen(&(struct ist_receiver_config){.recv_addr = "1.2.3.4:99", .recv_bind = "0.0.0.0", .tls = tls},
                 "ssl://1.2.3.4:99", "ssl://0.0.0.0:4568");
    check_listen(&(struct ist_receiver_config){.recv_addr = "[::1]", .recv_bind = "[::]:44"}, "tcp://[::1]:4568",
                 "tcp://[::]:44");
    check_listen(&(struct ist_receiver_config){.recv_addr = "ssl://h", .recv_bind = "tcp://0.0.0.0", .tls = tls}, NULL,
                 NULL);
    check_listen(&(struct ist_receiver_config){.recv_addr = "h", .recv_bind = "x://0.0.0.0"}, NULL, NULL);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),       cmocka_unit_test(test_examples),       cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_parse_address), cmocka_unit_test(test_listen_address),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
