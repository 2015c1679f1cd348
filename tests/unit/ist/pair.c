/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Both histories of pair.h, and the joiner that writes down what it is handed. */
#include "pair.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>

bool pair_is_skip(int64_t seqno) {
    return seqno % 7 == 3;
}

bool pair_is_cchange(int64_t seqno) {
    return seqno % 50 == 0;
}

size_t pair_payload(int64_t seqno, uint8_t *to) {
    if (pair_is_cchange(seqno)) {
        memset(to, 0, 96);
        sprintf((char *)to + 1, "0,11,4,%s:%lld,4,-1,0,0", XB_UUID_TEXT(&uuid_a), (long long)seqno);
        xb_store_le(to + 88, xb_fast_hash64(to, 88), 8);
        return 96;
    }
    size_t size = seqno % 101 == 0 ? 65536 : WS_MIN + 8 * (size_t)(seqno * 37 % 200);
    ws_fill(to, size, seqno);
    return size;
}

void pair_fill(struct gcache *cache, int64_t from, int64_t to) {
    uint8_t payload[PAYLOAD_MAX];
    for (int64_t s = from; s <= to; s++) {
        size_t size = pair_payload(s, payload);
        void *buf = gcache_alloc(cache, size);
        assert_non_null(buf);
        memcpy(buf, payload, size);
        enum gcache_type type = pair_is_cchange(s) ? GCACHE_CCHANGE : GCACHE_WRITESET;
        assert_int_equal(gcache_assign(cache, buf, s, type, pair_is_skip(s)), 0);
        gcache_release(cache, s);
    }
}

/* ------------------------------------------------------------------ joiner */

static const char *on_asked(void *ctx, const char *host) {
    struct joiner *joiner = ctx;
    joiner->asked++;
    bool is_allowed = !joiner->is_nobody_allowed && (!strcmp(host, "127.0.0.1") || !strcmp(host, "[::1]"));
    return is_allowed ? NULL : "not found in allowlist.";
}

static int on_event(void *ctx, const struct ist_event *event) {
    struct joiner *joiner = ctx;
    pthread_mutex_lock(&joiner->mutex);
    if (joiner->count < EVENTS_MAX) joiner->events[joiner->count] = *event;
    joiner->count++;
    int rc = joiner->count == joiner->fail_at ? -EBADMSG : 0;
    pthread_cond_broadcast(&joiner->changed);
    pthread_mutex_unlock(&joiner->mutex);
    return rc;
}

static void on_progress(void *ctx, int64_t total, int64_t done) {
    struct joiner *joiner = ctx;
    if (!joiner->progress_calls++) joiner->progress_first_total = total;
    joiner->progress_last_done = done;
}

static void on_end(void *ctx, int result, int64_t last, const struct xb_error *error) {
    struct joiner *joiner = ctx;
    pthread_mutex_lock(&joiner->mutex);
    assert_false(joiner->is_ended);
    joiner->is_ended = true;
    joiner->result = result;
    joiner->last = last;
    snprintf(joiner->reason, sizeof(joiner->reason), "%s", error->text);
    pthread_cond_broadcast(&joiner->changed);
    pthread_mutex_unlock(&joiner->mutex);
}

static void on_line(void *ctx, enum xb_log_level level, const char *line) {
    struct joiner *joiner = ctx;
    if (strstr(line, "refused")) joiner->lines++;
    if (getenv("XB_TEST_VERBOSE")) fprintf(stderr, "%d %s\n", level, line);
}

void joiner_init(struct joiner *joiner) {
    memset(joiner, 0, sizeof(*joiner));
    fixture_init(&joiner->fixture);
    joiner->fixture.config.size_bytes = 4 << 20;
    joiner->cache = fixture_open(&joiner->fixture);
    gcache_reset(joiner->cache, &uuid_a, 0);
    pthread_mutex_init(&joiner->mutex, NULL);
    pthread_cond_init(&joiner->changed, NULL);
    joiner->log = (struct xb_log){.write = on_line, .ctx = joiner};
}

void joiner_open(struct joiner *joiner, int64_t last_needed, struct tls_context *tls) {
    struct ist_receiver_io io = {
        .ctx = joiner, .refusal = on_asked, .event = on_event, .progress = on_progress, .end = on_end};
    if (!joiner->config.recv_addr) joiner->config.recv_addr = "127.0.0.1:0";
    joiner->config.tls = tls;
    joiner->config.version = 11;
    joiner->config.cache = joiner->cache;
    joiner->config.last_needed = last_needed;
    joiner->count = 0;
    joiner->is_ended = false;
    struct xb_error error = {0};
    joiner->receiver = ist_receiver_open(&joiner->config, &io, &joiner->log, &error);
    if (!joiner->receiver) fail_msg("%s", error.text);
}

void joiner_await_end(struct joiner *joiner) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_NS / XB_SECOND;
    pthread_mutex_lock(&joiner->mutex);
    while (!joiner->is_ended)
        if (pthread_cond_timedwait(&joiner->changed, &joiner->mutex, &until)) break;
    bool is_ended = joiner->is_ended;
    pthread_mutex_unlock(&joiner->mutex);
    assert_true(is_ended);
    ist_receiver_close(joiner->receiver);
    joiner->receiver = NULL;
}

void joiner_clear(struct joiner *joiner) {
    ist_receiver_close(joiner->receiver);
    gcache_close(joiner->cache);
    fixture_clear(&joiner->fixture);
    pthread_cond_destroy(&joiner->changed);
    pthread_mutex_destroy(&joiner->mutex);
}

void joiner_check(struct joiner *joiner, int64_t from, int64_t to, int64_t first, int64_t preload_from) {
    if (joiner->result) fail_msg("%s", joiner->reason);
    assert_int_equal(joiner->last, to);
    assert_int_equal(joiner->count, to - from + 1);
    uint8_t payload[PAYLOAD_MAX];
    for (int i = 0; i < joiner->count; i++) {
        const struct ist_event *event = &joiner->events[i];
        int64_t seqno = from + i;
        assert_int_equal(event->seqno, seqno);
        assert_int_equal(event->type, pair_is_skip(seqno) ? IST_SKIP : pair_is_cchange(seqno) ? IST_CCHANGE : IST_TRX);
        assert_int_equal(event->is_preload, preload_from > 0 && seqno >= preload_from);
        assert_int_equal(event->is_applied, seqno >= first);
        struct gcache_entry entry;
        assert_int_equal(gcache_get(joiner->cache, seqno, &entry), 0);
        assert_ptr_equal(entry.buf, event->buf);
        assert_int_equal(entry.is_skip, pair_is_skip(seqno));
        if (entry.is_skip) continue;
        assert_int_equal(event->size, pair_payload(seqno, payload));
        assert_memory_equal(event->buf, payload, event->size);
    }
}

int joiner_dial(const struct joiner *joiner) {
    struct ist_address address;
    assert_int_equal(ist_address_parse(&address, ist_receiver_address(joiner->receiver), NULL), 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(address.port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof(to)), 0);
    return fd;
}

/* ------------------------------------------------------------------- donor */

void donor_init(struct donor *donor) {
    fixture_init(&donor->fixture);
    donor->fixture.config.size_bytes = 4 << 20;
    donor->cache = fixture_open(&donor->fixture);
    gcache_reset(donor->cache, &uuid_a, 0);
    donor->senders = ist_senders_new(donor->cache, NULL);
    assert_non_null(donor->senders);
}

void donor_clear(struct donor *donor) {
    ist_senders_free(donor->senders);
    gcache_close(donor->cache);
    fixture_clear(&donor->fixture);
}

int donor_send(struct donor *donor, const char *address, int64_t first, int64_t last, int64_t preload_from,
               struct tls_context *tls, struct xb_error *error) {
    struct ist_sender *sender = ist_sender_new(donor->senders, first);
    if (!sender) return -ENOENT;
    struct ist_sender_config config = {
        .address = address, .last = last, .preload_from = preload_from, .version = 11, .tls = tls};
    return ist_sender_start(sender, &config, error);
}
