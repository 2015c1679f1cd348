/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Donor and joiner over loopback: transfers, strangers, malformed streams, cancelling (spec 07 sections 16, 17, 24). */
#include "pair.h"

#include <netinet/in.h>
#include <sys/socket.h>

static struct certs certs;
static struct tls_context *own_tls, *other_tls;

static struct tls_context *load(const char *name, const char *ca) {
    char key[32], cert[32];
    snprintf(key, sizeof(key), "%s.key", name);
    snprintf(cert, sizeof(cert), "%s.crt", name);
    struct tls_config config = {.key_file = certs_path(&certs, key), .cert_file = certs_path(&certs, cert),
                                .ca_file = certs_path(&certs, ca)};
    struct tls_context *context = tls_context_load(&config, NULL);
    assert_non_null(context);
    return context;
}

static int group_setup(void **state) {
    certs_init(&certs);
    certs_make(&certs, "ca", &(struct cert_wish){.is_ca = true});
    certs_make(&certs, "ca2", &(struct cert_wish){.is_ca = true});
    certs_make(&certs, "node", &(struct cert_wish){.issuer = "ca"});
    certs_make(&certs, "stranger", &(struct cert_wish){.issuer = "ca2"});
    own_tls = load("node", "ca.crt");
    other_tls = load("stranger", "ca2.crt");
    return 0;
}

static int group_teardown(void **state) {
    tls_context_unref(own_tls);
    tls_context_unref(other_tls);
    certs_clean(&certs);
    return 0;
}

struct pair {
    struct donor donor;
    struct joiner joiner;
};

static int setup(void **state) {
    struct pair *pair = calloc(1, sizeof(*pair));
    donor_init(&pair->donor);
    joiner_init(&pair->joiner);
    *state = pair;
    return 0;
}

static int teardown(void **state) {
    struct pair *pair = *state;
    donor_clear(&pair->donor);
    joiner_clear(&pair->joiner);
    free(pair);
    return 0;
}

static void send_ok(struct pair *pair, int64_t first, int64_t last, int64_t preload_from, struct tls_context *tls) {
    struct xb_error error = {0};
    const char *address = ist_receiver_address(pair->joiner.receiver);
    if (donor_send(&pair->donor, address, first, last, preload_from, tls, &error)) fail_msg("%s", error.text);
}

/* --------------------------------------------------------------- transfers */

static void transfer(struct pair *pair, struct tls_context *tls) {
    struct joiner *joiner = &pair->joiner;
    pair_fill(pair->donor.cache, 1, 1500);
    joiner_open(joiner, 1500, tls);
    assert_int_equal(strncmp(ist_receiver_address(joiner->receiver), tls ? "ssl://" : "tcp://", 6), 0);
    send_ok(pair, 25, 1500, 1400, tls);
    ist_receiver_start(joiner->receiver, 25);
    joiner_await_end(joiner);
    joiner_check(joiner, 25, 1500, 25, 1400);
    for (int i = 0; i < joiner->count; i++) assert_false(joiner->events[i].was_cached);
    assert_int_equal(joiner->asked, 1);
    assert_int_equal(joiner->progress_first_total, 1476);
    assert_int_equal(joiner->progress_last_done, 1476);
}

static void test_plain(void **state) {
    transfer(*state, NULL);
}

static void test_tls(void **state) {
    transfer(*state, own_tls);
}

/* The joiner has part of it; applying begins higher than the stream. */
static void test_preload_over_cache(void **state) {
    struct pair *pair = *state;
    struct joiner *joiner = &pair->joiner;
    pair_fill(pair->donor.cache, 1, 600);
    pair_fill(joiner->cache, 50, 400);
    joiner_open(joiner, 550, own_tls);
    send_ok(pair, 4, 600, 4, own_tls); /* more than needed is fine */
    ist_receiver_start(joiner->receiver, 551);
    joiner_await_end(joiner);
    joiner_check(joiner, 4, 600, 551, 4);
    for (int i = 0; i < joiner->count; i++)
        assert_int_equal(joiner->events[i].was_cached, i + 4 >= 50 && i + 4 <= 400);
    assert_int_equal(gcache_min(joiner->cache), 4);
}

/* What the joiner kept is not what the group agreed on. */
static void test_cache_differs(void **state) {
    struct pair *pair = *state;
    struct joiner *joiner = &pair->joiner;
    pair_fill(pair->donor.cache, 1, 60);
    for (int64_t s = 1; s <= 40; s++) {
        void *buf = gcache_alloc(joiner->cache, 80);
        ws_fill(buf, 80, s);
        gcache_assign(joiner->cache, buf, s, GCACHE_WRITESET, s == 20);
    }
    joiner_open(joiner, 60, NULL);
    send_ok(pair, 15, 60, 15, NULL);
    ist_receiver_start(joiner->receiver, 41);
    joiner_await_end(joiner);
    assert_int_equal(joiner->result, 0);
    assert_int_equal(joiner->last, 60);
    struct gcache_entry entry;
    assert_true(gcache_has(joiner->cache, 17, &entry)); /* skipped after all: marked */
    assert_true(entry.is_skip);
    uint8_t payload[PAYLOAD_MAX];
    assert_true(gcache_has(joiner->cache, 20, &entry)); /* not skipped after all: replaced, with what follows */
    assert_false(entry.is_skip);
    for (int64_t s = 20; s <= 60; s++) {
        assert_int_equal(gcache_get(joiner->cache, s, &entry), 0);
        if (entry.is_skip) continue;
        assert_int_equal(entry.size, pair_payload(s, payload));
        assert_memory_equal(entry.buf, payload, entry.size);
    }
}

static void test_only_end(void **state) {
    struct pair *pair = *state;
    struct joiner *joiner = &pair->joiner;
    pair_fill(pair->donor.cache, 1, 10);
    joiner_open(joiner, -1, NULL);
    send_ok(pair, 10, 9, 0, NULL);
    ist_receiver_start(joiner->receiver, 11);
    joiner_await_end(joiner);
    assert_int_equal(joiner->result, 0);
    assert_int_equal(joiner->last, -1);
    assert_int_equal(joiner->count, 0);

    joiner_open(joiner, 10, NULL); /* but something was needed */
    send_ok(pair, 10, 9, 0, NULL);
    ist_receiver_start(joiner->receiver, 11);
    joiner_await_end(joiner);
    assert_int_equal(joiner->result, -EPROTO);
}

static void test_incomplete(void **state) {
    struct pair *pair = *state;
    struct joiner *joiner = &pair->joiner;
    pair_fill(pair->donor.cache, 1, 100);
    joiner_open(joiner, 100, NULL);
    send_ok(pair, 5, 99, 0, NULL);
    ist_receiver_start(joiner->receiver, 5);
    joiner_await_end(joiner);
    assert_int_equal(joiner->result, -EPROTO);
    assert_int_equal(joiner->last, 99);
    assert_non_null(strstr(joiner->reason, "IST didn't contain all write sets"));

    joiner_open(joiner, 110, NULL); /* the donor's history runs out: it says so */
    send_ok(pair, 5, 110, 0, NULL);
    ist_receiver_start(joiner->receiver, 5);
    joiner_await_end(joiner);
    assert_int_equal(joiner->result, -ENODATA);
    assert_int_equal(joiner->last, 100);

    joiner_open(joiner, 100, NULL);
    send_ok(pair, 5, 100, 0, NULL);
    ist_receiver_start(joiner->receiver, 4);
    joiner_await_end(joiner);
    assert_int_equal(joiner->result, -EINVAL);
    assert_int_equal(joiner->last, -1);
    assert_non_null(strstr(joiner->reason, "IST started with wrong seqno"));
}

static void test_event_refused(void **state) {
    struct pair *pair = *state;
    struct joiner *joiner = &pair->joiner;
    pair_fill(pair->donor.cache, 1, 100);
    joiner->fail_at = 30;
    joiner_open(joiner, 100, NULL);
    send_ok(pair, 1, 100, 0, NULL);
    ist_receiver_start(joiner->receiver, 1);
    joiner_await_end(joiner);
    assert_int_equal(joiner->result, -EBADMSG);
    assert_int_equal(joiner->last, 29);
}

static void test_not_in_history(void **state) {
    struct pair *pair = *state;
    pair_fill(pair->donor.cache, 10, 20);
    assert_null(ist_sender_new(pair->donor.senders, 9));
    assert_null(ist_sender_new(pair->donor.senders, 21));
    struct ist_sender *sender = ist_sender_new(pair->donor.senders, 10);
    assert_non_null(sender);
    ist_sender_drop(sender);
    ist_sender_drop(NULL);
}

static void test_connect_errors(void **state) {
    struct pair *pair = *state;
    struct xb_error error = {0};
    pair_fill(pair->donor.cache, 1, 10);
    int64_t begin_ns = xb_clock_monotonic_ns();
    joiner_open(&pair->joiner, 10, NULL);
    char address[IST_ADDRESS_SIZE];
    snprintf(address, sizeof(address), "%s", ist_receiver_address(pair->joiner.receiver));
    ist_receiver_close(pair->joiner.receiver); /* nobody listens there now */
    pair->joiner.receiver = NULL;
    assert_int_equal(pair->joiner.result, -ECANCELED);
    assert_int_equal(donor_send(&pair->donor, address, 1, 10, 0, NULL, &error), -ECONNREFUSED);
    assert_int_equal(donor_send(&pair->donor, "tcp://127.0.0.1", 1, 10, 0, NULL, &error), -EINVAL);
    assert_int_equal(donor_send(&pair->donor, "ssl://127.0.0.1:1", 1, 10, 0, NULL, &error), -EINVAL);
    assert_int_equal(donor_send(&pair->donor, "", 1, 10, 0, NULL, &error), -EINVAL);
    assert_true(xb_clock_monotonic_ns() - begin_ns < WAIT_NS);
    struct gcache_status status;
    gcache_get_status(pair->donor.cache, &status);
    assert_int_equal(status.reader_count, 0);
}

static void test_version(void **state) {
    struct pair *pair = *state;
    struct xb_error error = {0};
    pair_fill(pair->donor.cache, 1, 10);
    joiner_open(&pair->joiner, 10, NULL);
    struct ist_sender_config config = {
        .address = ist_receiver_address(pair->joiner.receiver), .last = 10, .version = 10};
    assert_int_equal(ist_sender_start(ist_sender_new(pair->donor.senders, 1), &config, &error), -EPROTO);
    config.version = 9;
    assert_int_equal(ist_sender_start(ist_sender_new(pair->donor.senders, 1), &config, &error), -EPROTONOSUPPORT);
    send_ok(pair, 1, 10, 0, NULL); /* the joiner is still waiting for the right one */
    ist_receiver_start(pair->joiner.receiver, 1);
    joiner_await_end(&pair->joiner);
    joiner_check(&pair->joiner, 1, 10, 1, 0);
    pair->joiner.config.version = 9;
    struct ist_receiver_io io = {.ctx = NULL};
    assert_null(ist_receiver_open(&pair->joiner.config, &io, NULL, &error));
    assert_int_equal(error.code, -EPROTONOSUPPORT);
}

static void test_ipv6(void **state) {
    struct pair *pair = *state;
    int fd = socket(AF_INET6, SOCK_STREAM, 0);
    struct sockaddr_in6 any = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    bool has_ipv6 = fd >= 0 && !bind(fd, (struct sockaddr *)&any, sizeof(any));
    if (fd >= 0) close(fd);
    if (!has_ipv6) skip();
    pair_fill(pair->donor.cache, 1, 10);
    pair->joiner.config.recv_addr = "[::1]:0";
    joiner_open(&pair->joiner, 10, own_tls);
    assert_int_equal(strncmp(ist_receiver_address(pair->joiner.receiver), "ssl://[::1]:", 12), 0);
    send_ok(pair, 1, 10, 0, own_tls);
    ist_receiver_start(pair->joiner.receiver, 1);
    joiner_await_end(&pair->joiner);
    joiner_check(&pair->joiner, 1, 10, 1, 0);
}

/* --------------------------------------------------------------- strangers */

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
    struct ist_message message = {.version = 11, .type = pair_is_cchange(seqno) ? IST_MESSAGE_CCHANGE : IST_MESSAGE_TRX,
                                  .length = (uint32_t)size, .seqno = seqno};
    say(fd, &message, payload, size);
}

static void say_trx(int fd, int64_t seqno, const uint8_t *payload, size_t size) {
    struct ist_message message = {
        .version = 11, .type = IST_MESSAGE_TRX, .length = (uint32_t)size, .seqno = seqno};
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
        if (is_cut) used = xb_random_below(&random, used);
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

/* More than the sockets hold, and a joiner that does not read. */
static void fill_much(struct gcache *cache) {
    for (int64_t s = 1; s <= 600; s++) {
        ws_put(cache, s, 64 * 1024);
        gcache_release(cache, s);
    }
}

static void *free_senders(void *arg) {
    ist_senders_free(arg);
    return NULL;
}

static struct donor *donor_with_much(int64_t reader_limit_bytes) {
    struct donor *donor = calloc(1, sizeof(*donor));
    fixture_init(&donor->fixture);
    donor->fixture.config.size_bytes = 64 << 20;
    donor->fixture.config.page_size_bytes = 1 << 20;
    donor->fixture.config.reader_limit_bytes = reader_limit_bytes;
    donor->cache = fixture_open(&donor->fixture);
    gcache_reset(donor->cache, &uuid_a, 0);
    donor->senders = ist_senders_new(donor->cache, NULL);
    fill_much(donor->cache);
    return donor;
}

static void test_cancel_blocked_sender(void **state) {
    struct joiner *joiner = &((struct pair *)*state)->joiner;
    struct donor *donor = donor_with_much(0);
    struct xb_error error = {0};
    joiner_open(joiner, 600, own_tls);
    const char *address = ist_receiver_address(joiner->receiver);
    assert_int_equal(donor_send(donor, address, 1, 600, 0, own_tls, &error), 0);
    struct gcache_status status;
    gcache_get_status(donor->cache, &status);
    assert_int_equal(status.reader_count, 1);
    pthread_t thread;
    pthread_create(&thread, NULL, free_senders, donor->senders);
    pthread_join(thread, NULL);
    donor->senders = NULL;
    donor_clear(donor);
    free(donor);
    ist_receiver_start(joiner->receiver, 1);
    joiner_await_end(joiner);
    assert_true(joiner->result < 0);
}

/* The history needs its room: the blocked sender gives way, the joiner gets an error, not a hole. */
static void test_history_needs_room(void **state) {
    struct joiner *joiner = &((struct pair *)*state)->joiner;
    struct donor *donor = donor_with_much(4 << 20);
    struct xb_error error = {0};
    joiner_open(joiner, 600, NULL);
    assert_int_equal(donor_send(donor, ist_receiver_address(joiner->receiver), 1, 600, 0, NULL, &error), 0);
    for (int64_t s = 601; s <= 1800; s++) {
        ws_put(donor->cache, s, 64 * 1024);
        gcache_release(donor->cache, s);
    }
    ist_receiver_start(joiner->receiver, 1);
    joiner_await_end(joiner);
    assert_true(joiner->result < 0);
    check_all(joiner->cache);
    donor_clear(donor);
    free(donor);
}

/* All of it, with back pressure from a joiner that starts late. */
static void test_late_start(void **state) {
    struct joiner *joiner = &((struct pair *)*state)->joiner;
    struct donor *donor = donor_with_much(0);
    struct xb_error error = {0};
    joiner_open(joiner, 600, own_tls);
    assert_int_equal(donor_send(donor, ist_receiver_address(joiner->receiver), 1, 600, 0, own_tls, &error), 0);
    assert_int_equal(donor_send(donor, ist_receiver_address(joiner->receiver), 1, 600, 0, own_tls, &error) < 0, 1);
    ist_receiver_start(joiner->receiver, 1);
    joiner_await_end(joiner);
    assert_int_equal(joiner->result, 0);
    assert_int_equal(joiner->last, 600);
    check_all(joiner->cache);
    donor_clear(donor);
    free(donor);
}

static void test_isolated(void **state) {
    struct pair *pair = *state;
    struct xb_isolation isolation = {.mode = XB_ISOLATED};
    pair_fill(pair->donor.cache, 1, 10);
    pair->joiner.config.isolation = &isolation;
    joiner_open(&pair->joiner, 10, NULL);
    joiner_await_end(&pair->joiner);
    assert_int_equal(pair->joiner.result, -ECONNRESET);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(test_plain),
        TEST(test_tls),
        TEST(test_preload_over_cache),
        TEST(test_cache_differs),
        TEST(test_only_end),
        TEST(test_incomplete),
        TEST(test_event_refused),
        TEST(test_not_in_history),
        TEST(test_connect_errors),
        TEST(test_version),
        TEST(test_ipv6),
        TEST(test_strangers_plain),
        TEST(test_strangers_tls),
        TEST(test_thousand_strangers),
        TEST(test_donor_with_wrong_certificate),
        TEST(test_not_allowed),
        TEST(test_no_donor),
        TEST(test_malformed),
        TEST(test_fuzzed),
        TEST(test_false_dialogues),
        TEST(test_close_at_any_time),
        TEST(test_cancel_blocked_sender),
        TEST(test_history_needs_room),
        TEST(test_late_start),
        TEST(test_isolated),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
