/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Who else knocks at the IST port, and donors that say what no donor says (spec 07 sections 16, 17, 24). */
#include "fixture.h"

#include <netinet/in.h>
#include <sys/socket.h>

struct stranger {
    pthread_t thread;
    char address[IST_ADDRESS_SIZE];
    struct tls_context *tls;
};

static void *wrong_certificate(void *arg) {
    struct stranger *stranger = arg;
    struct ist_address address;
    ist_address_parse(&address, stranger->address, NULL);
    struct stream_config config = {.tls = stranger->tls, .timeout_ns = 5 * XB_SECOND};
    struct xb_error error;
    struct stream *stream = stream_connect(address.host, address.port, &config, &error);
    uint8_t byte;
    if (stream) stream_read(stream, &byte, 1, &error); /* TLS 1.3: the refusal comes after our side is done */
    stream_free(stream);
    return NULL;
}

/* Silent ones, chatterers, wrong certificates, plain text on a TLS port, all before the donor. */
static void strangers(struct pair *pair, struct tls_context *tls, int count) {
    struct joiner *joiner = &pair->joiner;
    pair_fill(pair->donor.cache, 1, 200);
    joiner_open(joiner, 200, tls);
    int *fds = calloc((size_t)count, sizeof(*fds));
    struct xb_random random;
    xb_random_seed(&random, 5);
    static const char http[] = "GET / HTTP/1.1\r\nHost: somewhere.example\r\nAccept: */*\r\n\r\n";
    uint8_t noise[300];
    for (int i = 0; i < count; i++) {
        fds[i] = joiner_dial(joiner);
        xb_random_bytes(&random, noise, sizeof(noise));
        if (i % 4 == 1) (void)!send(fds[i], http, sizeof(http) - 1, MSG_NOSIGNAL);
        if (i % 4 == 2) (void)!send(fds[i], noise, sizeof(noise), MSG_NOSIGNAL);
        if (i % 8 == 3) {
            close(fds[i]);
            fds[i] = -1;
        }
    }
    struct stranger stranger = {.tls = tls ? other_tls : NULL};
    snprintf(stranger.address, sizeof(stranger.address), "%s", ist_receiver_address(joiner->receiver));
    if (tls) {
        pthread_create(&stranger.thread, NULL, wrong_certificate, &stranger);
        pthread_join(stranger.thread, NULL);
    }
    send_ok(pair, 1, 200, 0, tls);
    ist_receiver_start(joiner->receiver, 1);
    joiner_await_end(joiner);
    joiner_check(joiner, 1, 200, 1, 0);
    assert_in_range(joiner->lines, 1, 40); /* not one a stranger */
    for (int i = 0; i < count; i++)
        if (fds[i] >= 0) close(fds[i]);
    free(fds);
}

static void test_strangers_plain(void **state) {
    strangers(*state, NULL, 100);
}

static void test_strangers_tls(void **state) {
    strangers(*state, own_tls, 100);
}

static void test_thousand_strangers(void **state) {
    strangers(*state, own_tls, 900); /* a process has 1024 descriptors here */
}

static void test_donor_with_wrong_certificate(void **state) {
    struct pair *pair = *state;
    struct xb_error error = {0};
    pair_fill(pair->donor.cache, 1, 10);
    joiner_open(&pair->joiner, 10, own_tls);
    const char *address = ist_receiver_address(pair->joiner.receiver);
    assert_true(donor_send(&pair->donor, address, 1, 10, 0, other_tls, &error) < 0);
    send_ok(pair, 1, 10, 0, own_tls);
    ist_receiver_start(pair->joiner.receiver, 1);
    joiner_await_end(&pair->joiner);
    joiner_check(&pair->joiner, 1, 10, 1, 0);
}

static void test_not_allowed(void **state) {
    struct pair *pair = *state;
    struct xb_error error = {0};
    pair_fill(pair->donor.cache, 1, 10);
    pair->joiner.is_nobody_allowed = true;
    joiner_open(&pair->joiner, 10, NULL);
    const char *address = ist_receiver_address(pair->joiner.receiver);
    assert_true(donor_send(&pair->donor, address, 1, 10, 0, NULL, &error) < 0);
    assert_int_equal(pair->joiner.asked, 1);
}

static void test_no_donor(void **state) {
    struct pair *pair = *state;
    pair->joiner.config.donor_timeout_ns = 100 * XB_MS;
    joiner_open(&pair->joiner, 10, NULL);
    ist_receiver_start(pair->joiner.receiver, 1);
    joiner_await_end(&pair->joiner);
    assert_int_equal(pair->joiner.result, -ETIMEDOUT);
}

/* --------------------------------------------------------- malformed streams */

/* A donor that has completed the dialogue, then says what the test wants. */
static int false_donor(struct joiner *joiner) {
    int fd = joiner_dial(joiner);
    uint8_t header[IST_HEADER_SIZE];
    assert_int_equal(recv(fd, header, sizeof(header), MSG_WAITALL), sizeof(header));
    ist_message_encode_plain(IST_MESSAGE_HANDSHAKE_RESPONSE, 0, 11, header);
    assert_int_equal(send(fd, header, sizeof(header), MSG_NOSIGNAL), sizeof(header));
    assert_int_equal(recv(fd, header, sizeof(header), MSG_WAITALL), sizeof(header));
    struct ist_message message;
    assert_int_equal(ist_message_decode(&message, header, 11, NULL), 0);
    assert_int_equal(message.type, IST_MESSAGE_CTRL);
    return fd;
}

static void say(int fd, const struct ist_message *message, const void *payload, size_t size) {
    uint8_t header[IST_HEADER_SIZE];
    ist_message_encode(message, header);
    (void)!send(fd, header, sizeof(header), MSG_NOSIGNAL);
    if (size) (void)!send(fd, payload, size, MSG_NOSIGNAL);
}

static void say_event(int fd, int64_t seqno) {
    uint8_t payload[PAYLOAD_MAX];
    size_t size = pair_payload(seqno, payload);
    struct ist_message message = {.version = 11,
                                  .type = pair_is_cchange(seqno) ? IST_MESSAGE_CCHANGE : IST_MESSAGE_TRX,
                                  .length = (uint32_t)size,
                                  .seqno = seqno};
    say(fd, &message, payload, size);
}

static void say_trx(int fd, int64_t seqno, const uint8_t *payload, size_t size) {
    struct ist_message message = {.version = 11, .type = IST_MESSAGE_TRX, .length = (uint32_t)size, .seqno = seqno};
    say(fd, &message, payload, size);
}

static void expect(struct joiner *joiner, int fd, int result, int64_t last) {
    joiner_await_end(joiner);
    if (joiner->result != result) fail_msg("%d instead of %d: %s", joiner->result, result, joiner->reason);
    assert_int_equal(joiner->last, last);
    close(fd);
    gcache_reset(joiner->cache, &uuid_a, 0);
}

static int begin(struct joiner *joiner) {
    joiner_open(joiner, 10, NULL);
    int fd = false_donor(joiner);
    ist_receiver_start(joiner->receiver, 1);
    return fd;
}

static void test_malformed(void **state) {
    struct joiner *joiner = &((struct pair *)*state)->joiner;
    joiner->config.payload_size_max = 1 << 20;

    int fd = begin(joiner); /* a gap */
    say_event(fd, 1);
    say_event(fd, 4);
    expect(joiner, fd, -EINVAL, 1);

    fd = begin(joiner); /* the same twice */
    say_event(fd, 1);
    say_event(fd, 1);
    expect(joiner, fd, -EINVAL, 1);

    fd = begin(joiner); /* too long */
    say(fd, &(struct ist_message){.version = 11, .type = IST_MESSAGE_TRX, .length = UINT32_MAX, .seqno = 1}, "", 0);
    expect(joiner, fd, -EMSGSIZE, -1);

    fd = begin(joiner); /* ends within a payload */
    say(fd, &(struct ist_message){.version = 11, .type = IST_MESSAGE_TRX, .length = 800, .seqno = 1}, "abcdefgh", 8);
    shutdown(fd, SHUT_WR);
    expect(joiner, fd, -ECONNRESET, -1);

    fd = begin(joiner); /* ends between messages, without EOF */
    say_event(fd, 1);
    shutdown(fd, SHUT_WR);
    expect(joiner, fd, -ENODATA, 1);

    fd = begin(joiner); /* content is not a write set */
    say(fd, &(struct ist_message){.version = 11, .type = IST_MESSAGE_TRX, .length = 8, .seqno = 1}, "abcdefgh", 8);
    expect(joiner, fd, -EBADMSG, -1);

    fd = begin(joiner); /* the write set of another seqno */
    uint8_t payload[PAYLOAD_MAX];
    size_t size = pair_payload(2, payload);
    say_trx(fd, 1, payload, size);
    expect(joiner, fd, -EBADMSG, -1);

    fd = begin(joiner); /* a torn payload */
    size = pair_payload(1, payload);
    payload[size / 2 + 40] ^= 1;
    say_trx(fd, 1, payload, size);
    expect(joiner, fd, -EBADMSG, -1);

    struct {
        struct ist_message message;
        int result;
    } cases[] = {
        {{.version = 10, .type = IST_MESSAGE_CTRL, .ctrl = 1, .seqno = -1}, -EPROTO},
        {{.version = 11, .type = IST_MESSAGE_HANDSHAKE, .seqno = -1}, -EPROTO},
        {{.version = 11, .type = IST_MESSAGE_HANDSHAKE_RESPONSE, .seqno = -1}, -EPROTO},
        {{.version = 11, .type = 0, .seqno = -1}, -EPROTO},
        {{.version = 11, .type = 99, .seqno = -1}, -EPROTO},
        {{.version = 11, .type = IST_MESSAGE_CTRL, .ctrl = 0, .seqno = -1}, -EPROTO},
        {{.version = 11, .type = IST_MESSAGE_CTRL, .ctrl = 2, .seqno = -1}, -EPROTO},
        {{.version = 11, .type = IST_MESSAGE_CTRL, .ctrl = -EAGAIN, .seqno = -1}, -EAGAIN},
        {{.version = 11, .type = IST_MESSAGE_CTRL, .ctrl = -128, .seqno = -1}, -128},
        {{.version = 11, .type = IST_MESSAGE_TRX, .length = 0, .seqno = 2}, -EPROTO},
        {{.version = 11, .type = IST_MESSAGE_SKIP, .length = 5, .seqno = 2}, -EPROTO},
        {{.version = 11, .type = IST_MESSAGE_SKIP, .seqno = 0}, -EPROTO},
        {{.version = 11, .type = IST_MESSAGE_SKIP, .seqno = -5}, -EPROTO},
        {{.version = 11, .type = IST_MESSAGE_SKIP, .seqno = INT64_MAX}, -EINVAL},
    };
    for (size_t i = 0; i < sizeof(cases) / sizeof(*cases); i++) {
        fd = begin(joiner);
        say_event(fd, 1);
        say(fd, &cases[i].message, "", 0);
        expect(joiner, fd, cases[i].result, 1);
    }
}

/* Random changes to a good stream, and cuts at every length of its beginning. */
static void test_fuzzed(void **state) {
    struct joiner *joiner = &((struct pair *)*state)->joiner;
    struct xb_random random;
    xb_random_seed(&random, 17);
    uint8_t stream[8192], payload[PAYLOAD_MAX];
    for (int round = 0; round < 300; round++) {
        size_t used = 0;
        for (int64_t s = 48; s <= 52; s++) {
            size_t size = pair_is_skip(s) ? 0 : pair_payload(s, payload);
            struct ist_message message = {.version = 11, .seqno = s, .length = (uint32_t)size, .flags = 1};
            message.type = pair_is_skip(s)      ? IST_MESSAGE_SKIP
                           : pair_is_cchange(s) ? IST_MESSAGE_CCHANGE
                                                : IST_MESSAGE_TRX;
            ist_message_encode(&message, stream + used);
            memcpy(stream + used + IST_HEADER_SIZE, payload, size);
            used += IST_HEADER_SIZE + size;
        }
        ist_message_encode_plain(IST_MESSAGE_CTRL, IST_CTRL_EOF, 11, stream + used);
        used += IST_HEADER_SIZE;
        bool is_cut = round % 2;
        if (is_cut)
            used = xb_random_below(&random, used);
        else
            for (int i = 0; i < 1 + round % 3; i++)
                stream[xb_random_below(&random, used)] ^= (uint8_t)(1 + xb_random_below(&random, 255));
        joiner_open(joiner, 52, NULL);
        int fd = false_donor(joiner);
        (void)!send(fd, stream, used, MSG_NOSIGNAL);
        shutdown(fd, SHUT_WR);
        ist_receiver_start(joiner->receiver, 48);
        joiner_await_end(joiner);
        /* flags other than PRELOAD and PRELOAD itself are not covered by anything but the checksum */
        assert_int_not_equal(joiner->result, 0);
        check_all(joiner->cache);
        close(fd);
        gcache_reset(joiner->cache, &uuid_a, 0);
    }
}

/* A donor without answer, and one whose first message is something else: the next one is the donor. */
static void test_false_dialogues(void **state) {
    struct pair *pair = *state;
    struct joiner *joiner = &pair->joiner;
    pair_fill(pair->donor.cache, 1, 10);
    joiner_open(joiner, 10, NULL);
    uint8_t header[IST_HEADER_SIZE];
    int fds[4];
    for (int i = 0; i < 4; i++) {
        fds[i] = joiner_dial(joiner);
        if (i == 0) ist_message_encode_plain(IST_MESSAGE_CTRL, IST_CTRL_EOF, 11, header);
        if (i == 1) ist_message_encode_plain(IST_MESSAGE_HANDSHAKE, 0, 11, header);
        if (i == 2) ist_message_encode_plain(IST_MESSAGE_HANDSHAKE_RESPONSE, 0, 10, header);
        if (i < 3) assert_int_equal(send(fds[i], header, sizeof(header), MSG_NOSIGNAL), sizeof(header));
        if (i == 3) assert_int_equal(send(fds[i], header, 10, MSG_NOSIGNAL), 10);
    }
    send_ok(pair, 1, 10, 0, NULL);
    ist_receiver_start(joiner->receiver, 1);
    joiner_await_end(joiner);
    joiner_check(joiner, 1, 10, 1, 0);
    for (int i = 0; i < 4; i++) close(fds[i]);
}

/* -------------------------------------------------------------- cancelling */

static void test_close_at_any_time(void **state) {
    struct pair *pair = *state;
    struct joiner *joiner = &pair->joiner;
    pair_fill(pair->donor.cache, 1, 100);

    joiner_open(joiner, 100, own_tls); /* nobody has come */
    ist_receiver_close(joiner->receiver);
    assert_int_equal(joiner->result, -ECANCELED);

    joiner_open(joiner, 100, NULL); /* the donor is there, but it has not been told to start */
    send_ok(pair, 1, 100, 0, NULL);
    ist_receiver_close(joiner->receiver);
    assert_int_equal(joiner->result, -ECANCELED);

    joiner_open(joiner, 100, NULL); /* in the midst of the stream */
    int fd = false_donor(joiner);
    ist_receiver_start(joiner->receiver, 1);
    say_event(fd, 1);
    pthread_mutex_lock(&joiner->mutex);
    while (joiner->count < 1) pthread_cond_wait(&joiner->changed, &joiner->mutex);
    pthread_mutex_unlock(&joiner->mutex);
    ist_receiver_close(joiner->receiver);
    joiner->receiver = NULL;
    assert_int_equal(joiner->result, -ECANCELED);
    assert_int_equal(joiner->last, 1);
    close(fd);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_strangers_plain),    TEST(test_strangers_tls),
        TEST(test_thousand_strangers), TEST(test_donor_with_wrong_certificate),
        TEST(test_not_allowed),        TEST(test_no_donor),
        TEST(test_malformed),          TEST(test_fuzzed),
        TEST(test_false_dialogues),    TEST(test_close_at_any_time),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
