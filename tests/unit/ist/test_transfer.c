/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Donor and joiner over loopback: transfers, their ends, cancelling (spec 07 sections 16, 17, 24). */
#include "fixture.h"

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
    for (int i = 0; i < joiner->count; i++) assert_int_equal(joiner->events[i].was_cached, i + 4 >= 50 && i + 4 <= 400);
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
    pair_fill(pair->donor.cache, 1, 10);
    pair->joiner.config.recv_addr = "[::1]:0";
    joiner_open(&pair->joiner, 10, own_tls);
    assert_int_equal(strncmp(ist_receiver_address(pair->joiner.receiver), "ssl://[::1]:", 12), 0);
    send_ok(pair, 1, 10, 0, own_tls);
    ist_receiver_start(pair->joiner.receiver, 1);
    joiner_await_end(&pair->joiner);
    joiner_check(&pair->joiner, 1, 10, 1, 0);
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
        TEST(test_cancel_blocked_sender),
        TEST(test_history_needs_room),
        TEST(test_late_start),
        TEST(test_isolated),
    };
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
