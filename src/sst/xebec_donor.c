/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The donor of the method xebec. The main thread reads the backup into a window of pieces; one thread a connection
 * takes the next unsent piece, compresses it if that pays, and sends it, reading acknowledgements meanwhile. What a
 * broken or silent connection had not got acknowledged goes back to the window, and the thread connects anew.
 */
#include "sst/backup.h"
#include "sst/datadir.h"
#include "sst/piece.h"
#include "sst/transfer.h"
#include "sst/xebec.h"

#include "base/bytes.h"
#include "base/clock.h"
#include "base/hash.h"

#include <openssl/rand.h>
#include <zstd.h>

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 16
#define UNACKED_MAX 4 /* pieces under way on one connection */
#define HANDSHAKE_NS (10 * XB_SECOND)
#define HANDSHAKE_MIN_NS XB_SECOND
#define ANSWER_NS (600 * XB_SECOND) /* the joiner may have to write what it has before it can say that all is there */
#define GIVE_UP_NS (2 * XB_SECOND)
#define TELL_PAUSE_NS (2 * XB_SECOND)
#define COMPRESSION_LEVEL 1

enum slot_state { SLOT_FREE, SLOT_WAITING, SLOT_SENT };

struct slot {
    enum slot_state state;
    struct piece_header header;
    uint8_t *bytes;
};

struct sender {
    struct transfer *transfer;
    struct hello hello; /* all but connection and proof */
    struct watch watch; /* of the connections */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct slot slots[PIECE_WINDOW]; /* of piece n: n modulo the window */
    uint64_t base, head;             /* first not acknowledged, next to be read */
    bool is_read;                    /* the last piece is in the window */
    bool is_whole;                   /* the joiner has acknowledged everything */
    struct xb_error error;           /* the first failure */
    struct meter meter;
    struct limit limit;
    struct progress progress;
    uint64_t raw_bytes, wire_bytes;
    unsigned resumed; /* connections that broke and were replaced */
    bool is_paused;
    unsigned pauses, working, told; /* connections, and those of them that have told the joiner of this pause */
    _Atomic(bool) has_ended;
};

struct connection {
    struct sender *sender;
    struct stream stream;
    uint16_t number;
    uint64_t unacked[UNACKED_MAX];
    size_t unacked_count;
    uint8_t *packed;
    struct slot *next; /* taken, and not to be sent before due_ns; NULL: none */
    int64_t due_ns;
    const uint8_t *bytes;              /* of the piece that is next or under way */
    uint8_t header[PIECE_HEADER_SIZE]; /* under way, bytes of `current` behind it */
    struct slot *current;              /* NULL: a beat, or nothing */
    size_t out_size, out_sent;         /* out_size 0: nothing is under way */
    int64_t begin_ns, spoke_ns, heard_ns;
    bool has_told_pause;
    unsigned told_pauses;
    uint8_t heard[ACK_SIZE + ACK_TEXT_SIZE];
    size_t heard_size;
    pthread_t thread;
    bool is_running;
};

/* ---- the window */

static void fail_sender(struct sender *s, const struct xb_error *error) {
    pthread_mutex_lock(&s->lock);
    if (!s->error.code && !s->is_whole) s->error = *error;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    watch_stop(&s->watch);
}

/* With the lock held. -> the next piece to send, NULL: none now */
static struct slot *find_piece(struct sender *s) {
    for (uint64_t n = s->base; n < s->head; n++)
        if (s->slots[n % PIECE_WINDOW].state == SLOT_WAITING) return &s->slots[n % PIECE_WINDOW];
    return NULL;
}

static struct slot *take_piece(struct sender *s) {
    pthread_mutex_lock(&s->lock);
    struct slot *found = s->is_paused ? NULL : find_piece(s);
    if (found) found->state = SLOT_SENT;
    pthread_mutex_unlock(&s->lock);
    return found;
}

static void wait_for_piece(struct sender *s) {
    pthread_mutex_lock(&s->lock);
    if ((s->is_paused || !find_piece(s)) && !s->is_whole && !s->error.code) watch_wait_change(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
}

static void note_ack(struct sender *s, uint64_t number) {
    pthread_mutex_lock(&s->lock);
    if (number >= s->base && number < s->head) s->slots[number % PIECE_WINDOW].state = SLOT_FREE;
    while (s->base < s->head && s->slots[s->base % PIECE_WINDOW].state == SLOT_FREE) s->base++;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

static void give_back(struct connection *c) {
    struct sender *s = c->sender;
    pthread_mutex_lock(&s->lock);
    for (size_t i = 0; i < c->unacked_count; i++)
        if (s->slots[c->unacked[i] % PIECE_WINDOW].state == SLOT_SENT)
            s->slots[c->unacked[i] % PIECE_WINDOW].state = SLOT_WAITING;
    c->unacked_count = 0;
    s->resumed++;
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

static bool is_over(struct sender *s) {
    pthread_mutex_lock(&s->lock);
    bool is = s->is_whole || s->error.code;
    pthread_mutex_unlock(&s->lock);
    return is;
}

/* ---- one connection */

static int greet(struct connection *c, struct xb_error *error) {
    struct transfer *t = c->sender->transfer;
    struct hello hello = c->sender->hello;
    uint8_t key[32], message[HELLO_SIZE], answer[WELCOME_SIZE];
    hello.connection = c->number;
    /* The joiner announced its certificate through the group. */
    if (strcmp(c->stream.fingerprint, t->settings.remote_name))
        return xb_fail(error, -EACCES,
                       "%s shows another certificate (%s) than the joiner announced to the group: it is not the joiner",
                       c->stream.peer, c->stream.subject);
    if (stream_export_key(&c->stream, key)) return xb_fail(error, -EPROTO, "no keying material from TLS");
    hello_write(&hello, t->settings.remote_secret, key, message);
    int rc = stream_write(&c->stream, message, sizeof(message), error);
    if (rc == 0) rc = stream_read_all(&c->stream, answer, sizeof(answer), error);
    return rc ? rc : welcome_read(&hello, t->settings.remote_secret, key, answer, error);
}

static int open_connection(struct connection *c, int64_t deadline_ns, struct xb_error *error) {
    struct transfer *t = c->sender->transfer;
    int rc = stream_connect(&c->stream, &t->address, &c->sender->watch, deadline_ns, error);
    int64_t now_ns = xb_clock_monotonic_ns(), patience_ns = deadline_ns - now_ns;
    patience_ns = patience_ns < HANDSHAKE_MIN_NS ? HANDSHAKE_MIN_NS : xb_earlier(patience_ns, HANDSHAKE_NS);
    if (rc == 0) rc = stream_start_client(&c->stream, t->tls, 4, now_ns + patience_ns, error);
    c->stream.idle_ns = patience_ns;
    if (rc == 0) rc = greet(c, error);
    c->stream.idle_ns = 0; /* work() looks at that */
    if (rc) stream_close(&c->stream);
    return rc;
}

static int take_ack(struct connection *c, uint64_t number, struct xb_error *error) {
    if (number == ACK_HERE) return 0;
    if (number == ACK_WHOLE) {
        pthread_mutex_lock(&c->sender->lock);
        c->sender->is_whole = true;
        pthread_cond_broadcast(&c->sender->changed);
        pthread_mutex_unlock(&c->sender->lock);
        return 0;
    }
    size_t i = 0;
    while (i < c->unacked_count && c->unacked[i] != number) i++;
    if (i == c->unacked_count) return xb_fail(error, -EBADMSG, "the joiner acknowledges what it was not sent");
    c->unacked[i] = c->unacked[--c->unacked_count];
    note_ack(c->sender, number);
    return 0;
}

/* All that the joiner has said so far. */
static int hear(struct connection *c, struct xb_error *error) {
    for (;;) {
        bool is_reason = c->heard_size >= ACK_SIZE && xb_load_le(c->heard, 8) == ACK_FAILED;
        size_t wanted = is_reason ? sizeof(c->heard) : ACK_SIZE;
        if (c->heard_size == wanted && is_reason)
            return xb_fail(error, -EREMOTEIO, "the joiner says: %.*s", ACK_TEXT_SIZE, (char *)c->heard + ACK_SIZE);
        if (c->heard_size == wanted) {
            c->heard_size = 0;
            int rc = take_ack(c, xb_load_le(c->heard, 8), error);
            if (rc) return rc;
        }
        short want;
        ssize_t n = stream_try_read(&c->stream, c->heard + c->heard_size, wanted - c->heard_size, &want, error);
        if (n == -EAGAIN) return 0;
        if (n < 0) return (int)n;
        if (n == 0)
            return is_over(c->sender) ? 0 : xb_fail(error, -ECONNRESET, "%s closed the connection", c->stream.peer);
        c->heard_size += (size_t)n;
        c->heard_ns = xb_clock_monotonic_ns();
    }
}

static const uint8_t *pack(struct connection *c, struct slot *slot) {
    struct sender *s = c->sender;
    struct piece_header *h = &slot->header;
    h->crc = xb_crc32c(0, slot->bytes, h->raw_size);
    h->wire_size = h->raw_size;
    h->is_compressed = false;
    pthread_mutex_lock(&s->lock);
    bool is_wanted = h->raw_size > 0 && meter_wants_compression(&s->meter);
    pthread_mutex_unlock(&s->lock);
    if (!is_wanted) return slot->bytes;
    int64_t start_ns = xb_clock_monotonic_ns();
    size_t n = ZSTD_compress(c->packed, ZSTD_compressBound(PIECE_BYTES), slot->bytes, h->raw_size, COMPRESSION_LEVEL);
    bool is_smaller = !ZSTD_isError(n) && n < h->raw_size;
    pthread_mutex_lock(&s->lock);
    meter_note_compression(&s->meter, h->raw_size, is_smaller ? n : h->raw_size, xb_clock_monotonic_ns() - start_ns);
    pthread_mutex_unlock(&s->lock);
    if (!is_smaller) return slot->bytes;
    h->wire_size = (uint32_t)n;
    h->is_compressed = true;
    return c->packed;
}

static void take_next(struct connection *c) {
    struct sender *s = c->sender;
    if (c->out_size || c->next || c->unacked_count == UNACKED_MAX || !(c->next = take_piece(s))) return;
    c->unacked[c->unacked_count++] = c->next->header.number;
    c->bytes = pack(c, c->next);
    int64_t now_ns = xb_clock_monotonic_ns();
    pthread_mutex_lock(&s->lock);
    c->due_ns = now_ns + limit_take(&s->limit, c->next->header.wire_size, now_ns);
    pthread_mutex_unlock(&s->lock);
}

/* Puts the next piece, or a beat, under way if it is time. */
static void begin_message(struct connection *c, int64_t now_ns) {
    pthread_mutex_lock(&c->sender->lock);
    const struct piece_header beat = {.is_beat = true, .is_pause = c->sender->is_paused};
    pthread_mutex_unlock(&c->sender->lock);
    bool is_due = c->next && now_ns >= c->due_ns && !beat.is_pause;
    bool is_news = beat.is_pause != c->has_told_pause;
    if (is_news && !beat.is_pause) c->heard_ns = now_ns; /* we may have been stopped meanwhile */
    if (c->out_size || (!is_due && !is_news && now_ns < c->spoke_ns + BEAT_NS)) return;
    c->has_told_pause = beat.is_pause;
    c->current = is_due ? c->next : NULL;
    if (is_due) c->next = NULL;
    piece_write(c->current ? &c->current->header : &beat, c->header);
    c->out_size = PIECE_HEADER_SIZE + (c->current ? c->current->header.wire_size : 0);
    c->out_sent = 0;
    c->begin_ns = c->spoke_ns = now_ns;
}

static void end_message(struct connection *c) {
    struct sender *s = c->sender;
    c->out_size = 0;
    c->spoke_ns = xb_clock_monotonic_ns();
    pthread_mutex_lock(&s->lock);
    if (!c->current && c->has_told_pause && c->told_pauses != s->pauses) {
        c->told_pauses = s->pauses;
        s->told++;
        pthread_cond_broadcast(&s->changed);
    }
    if (c->current) {
        const struct piece_header *h = &c->current->header;
        meter_note_send(&s->meter, h->wire_size, c->spoke_ns - c->begin_ns);
        s->raw_bytes += h->raw_size;
        s->wire_bytes += h->wire_size;
        transfer_report(s->transfer, &s->progress, h->raw_size);
    }
    pthread_mutex_unlock(&s->lock);
}

/* What is under way, as far as the socket takes it. -> 0, or -EAGAIN with what to wait for */
static int push(struct connection *c, short *want, struct xb_error *error) {
    while (c->out_sent < c->out_size) {
        bool is_header = c->out_sent < PIECE_HEADER_SIZE;
        const uint8_t *from = is_header ? c->header + c->out_sent : c->bytes + (c->out_sent - PIECE_HEADER_SIZE);
        size_t size = is_header ? PIECE_HEADER_SIZE - c->out_sent : c->out_size - c->out_sent;
        ssize_t n = stream_try_write(&c->stream, from, size, want, error);
        if (n < 0) return (int)n;
        c->out_sent += (size_t)n;
        /* A piece that moves is a sign of life on a slow line. It cannot deceive for long: few are under way. */
        if (!is_header) c->heard_ns = xb_clock_monotonic_ns();
    }
    if (c->out_size) end_message(c);
    return 0;
}

/* Until there is something to do. want: what the socket must be ready for before more can be sent, 0: nothing is. */
static int rest(struct connection *c, short want, struct xb_error *error) {
    int64_t until_ns = c->spoke_ns + BEAT_NS;
    bool is_idle = !want && (c->has_told_pause || (!c->next && c->unacked_count < UNACKED_MAX));
    if (is_idle) wait_for_piece(c->sender);
    if (is_idle) return watch_check(&c->sender->watch, error);
    if (c->next && !want) until_ns = xb_earlier(until_ns, c->due_ns);
    if (want) until_ns = xb_clock_monotonic_ns() + BEAT_NS; /* no beat can go now either */
    int rc = watch_wait(&c->sender->watch, c->stream.fd, POLLIN | want, until_ns, error);
    return rc == -ETIMEDOUT ? 0 : rc;
}

static int work_on(struct connection *c, struct xb_error *error) {
    int64_t silence_ns = piece_silence_ns(c->sender->transfer->settings.idle_timeout_ns);
    c->heard_ns = c->spoke_ns = xb_clock_monotonic_ns();
    c->heard_size = c->out_size = 0;
    c->next = NULL;
    c->has_told_pause = false;
    while (!is_over(c->sender)) {
        short want = 0;
        int rc = hear(c, error);
        if (rc || is_over(c->sender)) return rc;
        take_next(c);
        begin_message(c, xb_clock_monotonic_ns());
        rc = push(c, &want, error);
        if (rc == 0 && c->next && !c->has_told_pause && xb_clock_monotonic_ns() >= c->due_ns) continue;
        if (rc == 0 || rc == -EAGAIN) rc = rest(c, rc ? want : 0, error);
        if (rc) return rc;
        if (!c->has_told_pause && xb_clock_monotonic_ns() - c->heard_ns > silence_ns)
            return xb_fail(error, -ETIMEDOUT, "%s was silent for %d s (sst-idle-timeout)", c->stream.peer,
                           (int)(silence_ns / XB_SECOND));
    }
    return 0;
}

static int work(struct connection *c, struct xb_error *error) {
    struct sender *s = c->sender;
    pthread_mutex_lock(&s->lock);
    s->working++;
    pthread_mutex_unlock(&s->lock);
    int rc = work_on(c, error);
    pthread_mutex_lock(&s->lock);
    s->working--;
    pthread_mutex_unlock(&s->lock);
    return rc;
}

/* Failures after which another connection cannot help. */
static bool is_final(int rc) {
    return rc == -EREMOTEIO || rc == -EACCES || rc == -EINTR || rc == -ECANCELED || rc == -EPIPE || rc == -ENOMEM ||
           rc == -EPROTOTYPE;
}

static void *run_connection(void *ctx) {
    struct connection *c = ctx;
    struct sender *s = c->sender;
    struct xb_error broke = {0}; /* why it has to be replaced */
    int64_t deadline_ns = xb_clock_monotonic_ns() + s->transfer->settings.donor_timeout_ns;
    while (!is_over(s)) {
        struct xb_error error = {0};
        bool is_open = c->stream.fd >= 0;
        int rc = is_open ? 0 : open_connection(c, deadline_ns, &error);
        if (rc == 0) rc = work(c, &error);
        if (rc == 0 || is_over(s)) break;
        bool was_working = c->stream.fd >= 0;
        stream_abort(&c->stream);
        if (was_working) deadline_ns = xb_clock_monotonic_ns() + s->transfer->settings.donor_timeout_ns;
        if (was_working) broke = error;
        if (rc == -EPIPE && watch_check(&s->watch, &error) == 0)
            rc = -ECONNRESET; /* the peer's end, not the server's */
        if (is_final(rc) || xb_clock_monotonic_ns() >= deadline_ns) {
            if (!error.code) xb_fail(&error, rc, "connection %u ended", c->number);
            if (!is_final(rc) && broke.code)
                xb_fail(&error, rc,
                        "%s, and could not be replaced within %d s (donor-timeout): is the network up, is the joiner "
                        "alive?",
                        broke.text, (int)(s->transfer->settings.donor_timeout_ns / XB_SECOND));
            fail_sender(s, &error);
            break;
        }
        if (was_working) xb_log_warning(s->transfer->log, "%s; connecting anew, nothing is lost", error.text);
        give_back(c);
    }
    stream_close(&c->stream);
    return NULL;
}

/* ---- the pause */

static void pause_signals(sigset_t *signals) {
    sigemptyset(signals);
    sigaddset(signals, SIGTSTP);
    sigaddset(signals, SIGCONT);
}

static void set_paused(struct sender *s, bool is_paused) {
    pthread_mutex_lock(&s->lock);
    bool is_news = s->is_paused != is_paused;
    s->is_paused = is_paused;
    if (is_paused && is_news) {
        s->pauses++;
        s->told = 0;
    }
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
    if (is_news) xb_log_info(s->transfer->log, is_paused ? "paused until SIGCONT comes" : "going on");
}

/* Who has typed ^Z wants the prompt: the whole process stops, once the joiner knows that it need not worry. */
static void stop_process(struct sender *s) {
    int64_t deadline_ns = xb_clock_monotonic_ns() + TELL_PAUSE_NS;
    pthread_mutex_lock(&s->lock);
    while (s->told < s->working && xb_clock_monotonic_ns() < deadline_ns && !s->has_ended)
        watch_wait_change(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
    kill(getpid(), SIGSTOP);
}

static void *heed_signals(void *ctx) {
    struct sender *s = ctx;
    sigset_t signals;
    pause_signals(&signals);
    for (int number; sigwait(&signals, &number) == 0 && !s->has_ended;) {
        if (number == SIGTSTP || number == SIGCONT) set_paused(s, number == SIGTSTP);
        if (number == SIGTSTP && s->transfer->is_standalone) stop_process(s);
    }
    return NULL;
}

/* ---- the backup */

static struct slot *free_slot(struct sender *s) {
    struct slot *slot = NULL;
    pthread_mutex_lock(&s->lock);
    if (s->head - s->base < PIECE_WINDOW)
        slot = &s->slots[s->head % PIECE_WINDOW];
    else if (!s->error.code)
        watch_wait_change(&s->changed, &s->lock);
    pthread_mutex_unlock(&s->lock);
    return slot;
}

static int read_piece(struct sender *s, int fd, uint8_t *to, uint32_t *size, struct xb_error *error) {
    *size = 0;
    while (*size < PIECE_BYTES) {
        int rc = watch_wait(&s->watch, fd, POLLIN, XB_NEVER, error);
        if (rc) return rc;
        ssize_t n = read(fd, to + *size, PIECE_BYTES - *size);
        if (n == 0) return 0;
        if (n < 0 && errno != EINTR) return xb_fail(error, -errno, "cannot read the backup: %m");
        if (n > 0) *size += (uint32_t)n;
    }
    return 0;
}

static int read_backup(struct sender *s, struct backup_source *source, struct xb_error *error) {
    uint64_t offset = 0;
    for (bool is_last = false; !is_last;) {
        struct slot *slot = free_slot(s);
        int rc = watch_check(&s->watch, error);
        if (rc) return rc;
        if (!slot) continue;
        if (!slot->bytes && !(slot->bytes = malloc(PIECE_BYTES))) return xb_fail(error, -ENOMEM, "no memory");
        uint32_t size;
        rc = read_piece(s, source->fd, slot->bytes, &size, error);
        is_last = size == 0;
        if (rc == 0 && is_last)
            rc = backup_source_check(source, error); /* a failed backup must not look like its end */
        if (rc) return rc;
        pthread_mutex_lock(&s->lock);
        slot->header =
            (struct piece_header){.number = s->head++, .offset = offset, .raw_size = size, .is_last = is_last};
        slot->state = SLOT_WAITING;
        pthread_cond_broadcast(&s->changed);
        pthread_mutex_unlock(&s->lock);
        offset += size;
    }
    return 0;
}

static int wait_for_whole(struct sender *s, struct xb_error *error) {
    int64_t deadline_ns = xb_clock_monotonic_ns() + ANSWER_NS;
    for (;;) {
        pthread_mutex_lock(&s->lock);
        bool is_whole = s->is_whole, has_failed = s->error.code != 0;
        if (!is_whole && !has_failed) watch_wait_change(&s->changed, &s->lock);
        pthread_mutex_unlock(&s->lock);
        int rc = is_whole ? 0 : watch_check(&s->watch, error);
        if (is_whole || rc) return rc;
        if (xb_clock_monotonic_ns() >= deadline_ns)
            return xb_fail(error, -ETIMEDOUT, "the joiner does not say that it has everything");
    }
}

static unsigned connection_count(const struct transfer *t) {
    const char *text = sst_options_get(&t->settings.options, "sst", "xebec-connections");
    long n = text ? strtol(text, NULL, 10) : sysconf(_SC_NPROCESSORS_ONLN);
    return n < 1 ? 1 : n > CONNECTIONS_MAX ? CONNECTIONS_MAX : !text && n > 4 ? 4 : (unsigned)n;
}

static int send_backup(struct sender *s, struct connection *connections, unsigned count, struct xb_error *error) {
    struct backup_source source;
    pthread_t signals;
    bool is_heeding = pthread_create(&signals, NULL, heed_signals, s) == 0;
    int rc = is_heeding ? 0 : xb_fail(error, -EAGAIN, "cannot start a thread");
    source.transfer = NULL;
    if (rc == 0) rc = backup_source_start(&source, s->transfer, error);
    for (unsigned i = 0; i < count && rc == 0; i++) {
        struct connection *c = &connections[i];
        c->is_running = pthread_create(&c->thread, NULL, run_connection, c) == 0;
        if (!c->is_running) rc = xb_fail(error, -EAGAIN, "cannot start a thread");
    }
    if (rc == 0) rc = read_backup(s, &source, error);
    if (rc == 0) rc = wait_for_whole(s, error);
    watch_stop(&s->watch);
    for (unsigned i = 0; i < count; i++)
        if (connections[i].is_running) pthread_join(connections[i].thread, NULL);
    s->has_ended = true;
    if (is_heeding) {
        pthread_kill(signals, SIGCONT); /* its last */
        pthread_join(signals, NULL);
    }
    if (rc && s->error.code) *error = s->error;
    if (source.transfer) backup_source_end(&source);
    return rc ? (error->code ? error->code : rc) : 0;
}

/* Lets the joiner know that nothing will come any more; it would wait for us to resume. */
static void give_up(struct sender *s, struct connection *c) {
    struct xb_error ignored = {0};
    struct watch only_time = {-1, -1, -1,
                              0}; /* our server may be dead, or a signal may want us to end: this is short */
    watch_close_fork(&s->watch);  /* it was stopped */
    if (watch_fork(&s->watch, &only_time, &ignored)) return;
    stream_close(&c->stream);
    s->hello.is_given_up = true;
    open_connection(c, xb_clock_monotonic_ns() + GIVE_UP_NS, &ignored);
}

static int donate(struct sender *s, struct xb_error *error) {
    struct transfer *t = s->transfer;
    struct connection connections[CONNECTIONS_MAX] = {0};
    unsigned count = t->arguments->is_bypass ? 1 : connection_count(t);
    char line[PROGRESS_LINE_SIZE];
    int rc = 0;
    for (unsigned i = 0; i < count; i++) {
        connections[i] = (struct connection){
            .sender = s, .stream.fd = -1, .number = (uint16_t)i, .packed = malloc(ZSTD_compressBound(PIECE_BYTES))};
        if (!connections[i].packed) rc = xb_fail(error, -ENOMEM, "no memory");
    }
    if (t->arguments->is_bypass && rc == 0) rc = transfer_say(t, error, "continue");
    /* The first connection proves who is there before the backup is even started. */
    if (rc == 0) rc = open_connection(&connections[0], xb_clock_monotonic_ns() + t->settings.donor_timeout_ns, error);
    if (rc == 0) {
        xb_log_info(t->log, "joiner %s: %s, certificate %s, verified on both sides%s", connections[0].stream.peer,
                    connections[0].stream.cipher, connections[0].stream.subject,
                    t->arguments->is_bypass ? "; only the IST is needed" : "");
        if (t->arguments->is_progress_wanted) transfer_say(t, NULL, "total %" PRIu64, s->hello.total_bytes);
        progress_begin(&s->progress, s->hello.total_bytes, xb_clock_monotonic_ns());
    }
    if (rc == 0 && !t->arguments->is_bypass) {
        rc = send_backup(s, connections, count, error);
        if (rc && rc != -EREMOTEIO) give_up(s, &connections[0]);
        if (rc == 0)
            xb_log_info(t->log, "sent to %s over %u connections (%u resumed), %.0f%% of the bytes on the wire; %s",
                        t->address.host, count, s->resumed,
                        s->raw_bytes ? 100.0 * (double)s->wire_bytes / (double)s->raw_bytes : 100,
                        progress_format_end(&s->progress, xb_clock_monotonic_ns(), line));
    }
    for (unsigned i = 0; i < count; i++) {
        stream_close(&connections[i].stream);
        free(connections[i].packed);
    }
    return rc ? rc : transfer_say(t, error, "done %s", t->arguments->gtid);
}

static int prepare_sender(struct sender *s, struct transfer *t, struct xb_error *error) {
    if (!t->settings.remote_secret[0] || strlen(t->settings.remote_name) != STREAM_FINGERPRINT_SIZE - 1)
        return xb_fail(
            error, -EINVAL,
            "the request carries no certificate and secret of the joiner: is its wsrep_sst_method xebec too?");
    s->transfer = t;
    s->limit.bytes_per_s = t->settings.rlimit;
    s->hello.is_ist_only = t->arguments->is_bypass;
    if (!t->arguments->is_bypass) s->hello.total_bytes = datadir_footprint(&t->settings, t->arguments->datadir);
    snprintf(s->hello.state, sizeof(s->hello.state), "%.57s %.10s", t->arguments->gtid, t->arguments->gtid_domain_id);
    if (RAND_bytes(s->hello.session, sizeof(s->hello.session)) != 1) return xb_fail(error, -EIO, "no random numbers");
    pthread_mutex_init(&s->lock, NULL);
    pthread_cond_init(&s->changed, NULL);
    return watch_fork(&s->watch, &t->watch, error);
}

int xebec_donor_run(struct transfer *t, struct xb_error *error) {
    struct sender *s = calloc(1, sizeof(*s));
    sigset_t signals;
    int lock = -1;
    if (!s) return xb_fail(error, -ENOMEM, "no memory");
    pause_signals(&signals);
    sigprocmask(SIG_BLOCK, &signals, NULL); /* before any thread starts: one of them waits for these */
    s->watch.stop_fd = -1;
    int rc = transfer_load_tls(t, error);
    if (rc == 0 && !t->is_standalone) { /* a backup by hand must not stand in the way of a joiner */
        lock = datadir_lock(t->arguments->datadir, &t->watch, error);
        rc = lock < 0 ? lock : 0;
    }
    if (rc == 0) rc = prepare_sender(s, t, error);
    if (rc == 0) rc = donate(s, error);
    datadir_unlock(t->arguments->datadir, lock);
    for (size_t i = 0; i < PIECE_WINDOW; i++) free(s->slots[i].bytes);
    watch_close_fork(&s->watch);
    free(s);
    return rc;
}
