/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The joiner of the method xebec. The accepting thread takes connections all the time, for a broken one may come back;
 * one thread a connection receives, decompresses and checks pieces; the main thread writes them in the order of their
 * numbers.
 */
#include "sst/joiner.h"
#include "sst/piece.h"
#include "sst/reception.h"
#include "sst/unpack.h"
#include "sst/xebec.h"

#include "base/clock.h"
#include "base/hash.h"

#include <zstd.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MODULE "xebec_sst//1"
#define CONNECTIONS_MAX 64 /* strangers in their handshake count as well */
#define CANDIDATE_NS (10 * XB_SECOND)
#define AHEAD (2 * PIECE_WINDOW)
#define RESUME_EXTRA_NS (5 * XB_SECOND) /* the donor tries for donor-timeout */

struct line {
    struct receiver *receiver;
    struct stream stream;
    pthread_t thread;
    bool is_running, is_donor; /* is_donor: it has proved who it is */
    _Atomic(bool) is_done;
    int64_t spoke_ns;
    uint8_t *packed;
};

struct receiver {
    struct joiner *joiner;
    struct watch watch;
    pthread_t accepting;
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct line lines[CONNECTIONS_MAX];
    struct hello hello; /* of the first connection */
    bool has_donor;
    int64_t suspicion_ns;   /* when a connection failed as a differently configured donor would, 0: none did */
    unsigned live;          /* connections of the donor */
    int64_t broken_ns;      /* since when there is none */
    struct xb_error broken; /* why the last one broke */
    uint8_t *pieces[AHEAD]; /* of piece n: n modulo AHEAD; NULL: not here yet */
    uint32_t sizes[AHEAD];
    bool is_last[AHEAD];
    uint64_t next; /* the piece that the writer wants */
    struct xb_error error;
};

static void fail_receiver(struct receiver *r, const struct xb_error *error) {
    pthread_mutex_lock(&r->lock);
    if (!r->error.code) r->error = *error;
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

/* ---- one connection */

static int admit(struct line *l, struct xb_error *error) {
    struct receiver *r = l->receiver;
    uint8_t key[32], message[HELLO_SIZE], answer[WELCOME_SIZE];
    struct hello hello;
    int rc = stream_export_key(&l->stream, key) ? xb_fail(error, -EPROTO, "no keying material from TLS") : 0;
    if (rc == 0) rc = stream_read_all(&l->stream, message, sizeof(message), error);
    if (rc == 0) rc = hello_read(&hello, r->joiner->secret, key, message, error);
    if (rc) return rc;
    pthread_mutex_lock(&r->lock);
    if (!r->has_donor) r->hello = hello;
    bool is_same = memcmp(hello.session, r->hello.session, sizeof(hello.session)) == 0;
    r->has_donor = true;
    pthread_mutex_unlock(&r->lock);
    if (!is_same) return xb_fail(error, -EACCES, "a second donor came");
    if (hello.is_given_up) {
        xb_fail(error, -EREMOTEIO, "the donor gave up: see its log");
        fail_receiver(r, error);
    }
    welcome_write(&hello, r->joiner->secret, key, answer);
    return stream_write(&l->stream, answer, sizeof(answer), error);
}

static int say(struct line *l, uint64_t number, struct xb_error *error) {
    uint8_t ack[ACK_SIZE];
    xb_store_le(ack, number, 8);
    l->spoke_ns = xb_clock_monotonic_ns();
    return stream_write(&l->stream, ack, sizeof(ack), error);
}

static int say_here_in_time(struct line *l, struct xb_error *error) {
    return xb_clock_monotonic_ns() - l->spoke_ns < BEAT_NS ? 0 : say(l, ACK_HERE, error);
}

/* On a slow line a piece takes long; the donor must not think that we are gone. */
static int read_all(struct line *l, uint8_t *to, size_t size, struct xb_error *error) {
    while (size > 0) {
        ssize_t n = stream_read(&l->stream, to, size, error);
        if (n == 0) return xb_fail(error, -ECONNRESET, "%s closed the connection", l->stream.peer);
        int rc = n < 0 ? (int)n : say_here_in_time(l, error);
        if (rc) return rc;
        to += n;
        size -= (size_t)n;
    }
    return 0;
}

/* The raw bytes of a piece, checked. -> malloc'ed, or NULL with *error */
static uint8_t *receive_piece(struct line *l, const struct piece_header *h, struct xb_error *error) {
    uint8_t *raw = malloc(PIECE_BYTES);
    if (!raw) {
        xb_fail(error, -ENOMEM, "no memory");
        return NULL;
    }
    int rc = read_all(l, h->is_compressed ? l->packed : raw, h->wire_size, error);
    if (rc == 0) {
        size_t n = h->is_compressed ? ZSTD_decompress(raw, PIECE_BYTES, l->packed, h->wire_size) : h->raw_size;
        uint32_t crc = n == h->raw_size ? xb_crc32c(0, raw, n) : ~h->crc;
        if (crc == h->crc) return raw;
        xb_fail(error, -EBADMSG,
                "piece %" PRIu64 " (bytes %" PRIu64 " to %" PRIu64
                " of the stream) is damaged: its checksum is wrong though TLS "
                "was not; is the memory of one of the hosts faulty?",
                h->number, h->offset, h->offset + h->raw_size);
    }
    free(raw);
    return NULL;
}

/* Hands a piece to the writer; waits while it is too far ahead of it. -> 0, or the watch's failure */
static int deposit(struct line *l, const struct piece_header *h, uint8_t *raw, struct xb_error *error) {
    struct receiver *r = l->receiver;
    int rc = 0;
    pthread_mutex_lock(&r->lock);
    while (rc == 0 && h->number >= r->next + AHEAD) {
        watch_wait_change(&r->changed, &r->lock);
        pthread_mutex_unlock(&r->lock);
        rc = watch_check(&r->watch, error);
        if (rc == 0) rc = say_here_in_time(l, error);
        pthread_mutex_lock(&r->lock);
    }
    size_t i = h->number % AHEAD;
    bool is_new = rc == 0 && h->number >= r->next && !r->pieces[i];
    if (is_new) {
        r->pieces[i] = raw;
        r->sizes[i] = h->raw_size;
        r->is_last[i] = h->is_last;
        pthread_cond_broadcast(&r->changed);
    }
    pthread_mutex_unlock(&r->lock);
    if (!is_new) free(raw); /* it was sent again after its acknowledgement got lost */
    return rc;
}

static int receive_pieces(struct line *l, struct xb_error *error) {
    int64_t idle_ns = l->receiver->joiner->transfer->settings.idle_timeout_ns;
    for (;;) {
        uint8_t bytes[PIECE_HEADER_SIZE];
        struct piece_header h;
        int rc = read_all(l, bytes, sizeof(bytes), error);
        if (rc == 0) rc = piece_read(&h, bytes, error);
        if (rc == 0) l->stream.idle_ns = h.is_pause ? 0 : piece_silence_ns(idle_ns);
        if (rc == 0 && !h.is_beat) {
            uint8_t *raw = receive_piece(l, &h, error);
            rc = raw ? deposit(l, &h, raw, error) : error->code;
        }
        if (rc == 0) rc = say(l, h.is_beat ? ACK_HERE : h.number, error);
        if (rc) return rc;
    }
}

static void count_live(struct receiver *r, int change) {
    pthread_mutex_lock(&r->lock);
    r->live += (unsigned)change;
    if (r->live == 0) r->broken_ns = xb_clock_monotonic_ns();
    pthread_cond_broadcast(&r->changed);
    pthread_mutex_unlock(&r->lock);
}

static void note_suspicion(struct receiver *r) {
    pthread_mutex_lock(&r->lock);
    if (!r->suspicion_ns) r->suspicion_ns = xb_clock_monotonic_ns();
    pthread_mutex_unlock(&r->lock);
}

static void note_break(struct receiver *r, const struct xb_error *error) {
    pthread_mutex_lock(&r->lock);
    r->broken = *error;
    pthread_mutex_unlock(&r->lock);
}

static void *run_line(void *ctx) {
    struct line *l = ctx;
    struct receiver *r = l->receiver;
    struct transfer *t = r->joiner->transfer;
    struct xb_error error = {0};
    l->stream.idle_ns = CANDIDATE_NS;
    int rc = stream_start_server(&l->stream, t->tls, 4, xb_clock_monotonic_ns() + CANDIDATE_NS, &error);
    if (rc == 0) rc = admit(l, &error);
    if (rc) {
        if (reception_is_suspicious(rc, &l->stream)) note_suspicion(r);
        if (error.code && rc != -EPIPE)
            xb_log_warning(t->log, "connection of %s refused: %s", l->stream.peer, error.text);
        stream_close_with(&l->stream, "");
    } else {
        l->is_donor = true;
        l->stream.idle_ns = piece_silence_ns(t->settings.idle_timeout_ns);
        l->spoke_ns = xb_clock_monotonic_ns();
        count_live(r, 1);
        rc = receive_pieces(l, &error);
        bool is_damage = rc == -EBADMSG || rc == -ENOMEM;
        if (is_damage) fail_receiver(r, &error);
        if (!is_damage && rc != -ECANCELED && error.code) {
            xb_log_info(t->log, "%s; the donor may resume it", error.text);
            note_break(r, &error);
        }
        if (rc != -ECANCELED && !is_damage)
            stream_abort(&l->stream); /* else the main thread still has a word for the donor */
        count_live(r, -1);
    }
    l->is_done = true;
    return NULL;
}

static struct line *free_line(struct receiver *r) {
    for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
        struct line *l = &r->lines[i];
        if (l->is_running && l->is_done && l->stream.fd < 0) {
            pthread_join(l->thread, NULL);
            l->is_running = false;
        }
        if (!l->is_running) return l;
    }
    return NULL;
}

static void *accept_lines(void *ctx) {
    struct receiver *r = ctx;
    struct xb_error error = {0};
    struct stream stream;
    while (stream_accept(&stream, r->joiner->listen_fd, &r->watch, XB_NEVER, &error) == 0) {
        struct line *l = free_line(r);
        uint8_t *packed = l && !l->packed ? malloc(PIECE_BYTES) : NULL;
        if (!l || (!l->packed && !packed)) {
            stream_close(&stream);
            continue;
        }
        if (packed) l->packed = packed;
        *l = (struct line){.receiver = r, .stream = stream, .packed = l->packed};
        l->is_running = pthread_create(&l->thread, NULL, run_line, l) == 0;
        if (!l->is_running) stream_close(&l->stream);
    }
    return NULL;
}

/* ---- the writer */

static int check_time(struct receiver *r, int64_t start_ns, struct xb_error *error) {
    const struct sst_settings *s = &r->joiner->transfer->settings;
    int64_t now_ns = xb_clock_monotonic_ns();
    if (!r->has_donor && s->initial_timeout_ns && now_ns - start_ns > s->initial_timeout_ns)
        return xb_fail(error, -ETIMEDOUT, "no donor came within %d s (sst-initial-timeout): see the donor's log",
                       (int)(s->initial_timeout_ns / XB_SECOND));
    if (!r->has_donor && r->suspicion_ns && now_ns - r->suspicion_ns > RECEPTION_SUSPICION_S * XB_SECOND)
        return xb_fail(error, -ETIMEDOUT,
                       "the only donor that came did not fit (see above), and no other came within %d s",
                       RECEPTION_SUSPICION_S);
    if (r->has_donor && r->live == 0 && r->broken_ns && now_ns - r->broken_ns > s->donor_timeout_ns + RESUME_EXTRA_NS)
        return xb_fail(error, -ETIMEDOUT,
                       "all connections of the donor broke (%s) and none came back within %d s (donor-timeout and a "
                       "little): is the network up, is the donor alive?",
                       r->broken.text, (int)((s->donor_timeout_ns + RESUME_EXTRA_NS) / XB_SECOND));
    return watch_check(&r->watch, error);
}

/* -> 0: *raw is the next piece (the caller frees it), or negative with *error */
static int next_piece(struct receiver *r, uint8_t **raw, uint32_t *size, bool *is_last, struct xb_error *error) {
    size_t i = r->next % AHEAD;
    int rc = 0;
    pthread_mutex_lock(&r->lock);
    while (rc == 0 && !r->pieces[i]) {
        watch_wait_change(&r->changed, &r->lock);
        if (r->error.code) {
            *error = r->error;
            rc = error->code;
        } else {
            rc = check_time(r, 0, error);
        }
    }
    if (rc == 0) {
        *raw = r->pieces[i];
        *size = r->sizes[i];
        *is_last = r->is_last[i];
        r->pieces[i] = NULL;
        r->next++;
        pthread_cond_broadcast(&r->changed);
    }
    pthread_mutex_unlock(&r->lock);
    return rc;
}

static int write_pieces(struct receiver *r, struct unpack *unpack, struct progress *progress, struct xb_error *error) {
    for (;;) {
        uint8_t *raw;
        uint32_t size;
        bool is_last;
        int rc = next_piece(r, &raw, &size, &is_last, error);
        if (rc) return rc;
        rc = unpack_feed(unpack, raw, size, error);
        free(raw);
        transfer_report(r->joiner->transfer, progress, size);
        if (rc || is_last) return rc;
    }
}

static int receive_backup(struct receiver *r, struct xb_error *error) {
    struct transfer *t = r->joiner->transfer;
    struct progress progress;
    char line[PROGRESS_LINE_SIZE];
    int rc = t->is_standalone ? 0 : joiner_make_directory(r->joiner, error);
    struct unpack *unpack =
        rc ? NULL : unpack_new(r->joiner->directory, t->is_standalone ? NULL : joiner_make_room, r->joiner, error);
    if (!unpack) return error->code;
    joiner_note_donor(r->joiner);
    r->joiner->total_bytes = r->hello.total_bytes;
    r->joiner->received_bytes = &progress.done_bytes;
    progress_begin(&progress, r->hello.total_bytes, xb_clock_monotonic_ns());
    if (t->arguments->is_progress_wanted) transfer_say(t, NULL, "total %" PRIu64, r->hello.total_bytes);
    rc = write_pieces(r, unpack, &progress, error);
    if (rc == 0) rc = unpack_end(unpack, error);
    if (rc == -EBADMSG) {
        size_t used = strlen(error->text);
        snprintf(error->text + used, sizeof(error->text) - used, " (written last: '%s')", unpack_path(unpack));
    }
    if (rc == 0) rc = joiner_check_backup(r->joiner, error);
    if (rc == 0)
        xb_log_info(t->log, "received %" PRIu64 " files, %s", unpack_files(unpack),
                    progress_format_end(&progress, xb_clock_monotonic_ns(), line));
    unpack_free(unpack);
    r->joiner->received_bytes = NULL;
    return rc;
}

/* Tells the donor how it went, on every connection that is still open; its threads have ended. */
static void tell_result(struct receiver *r, int rc, const struct xb_error *error) {
    uint8_t message[ACK_SIZE + ACK_TEXT_SIZE] = {0};
    xb_store_le(message, rc ? ACK_FAILED : ACK_WHOLE, 8);
    snprintf((char *)message + ACK_SIZE, ACK_TEXT_SIZE, "%.255s", error->text);
    for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
        struct line *l = &r->lines[i];
        if (l->stream.fd < 0 || !l->is_donor) continue;
        struct xb_error ignored = {0};
        l->stream.watch = &r->joiner->transfer->watch;
        stream_write(&l->stream, message, rc ? sizeof(message) : ACK_SIZE, &ignored);
        stream_close_with(&l->stream, "");
    }
}

static int wait_for_donor(struct receiver *r, struct xb_error *error) {
    int64_t start_ns = xb_clock_monotonic_ns();
    int rc = 0;
    pthread_mutex_lock(&r->lock);
    while (rc == 0 && !(r->has_donor && (r->live > 0 || r->broken_ns))) {
        watch_wait_change(&r->changed, &r->lock);
        rc = check_time(r, start_ns, error);
        if (rc == 0 && r->error.code) {
            *error = r->error;
            rc = error->code;
        }
    }
    pthread_mutex_unlock(&r->lock);
    if (rc == 0)
        xb_log_info(r->joiner->transfer->log, "the donor has connected, verified on both sides, cluster %.36s",
                    r->hello.state);
    return rc;
}

static void end_receiver(struct receiver *r, int rc, const struct xb_error *error) {
    watch_stop(&r->watch);
    pthread_join(r->accepting, NULL);
    for (size_t i = 0; i < CONNECTIONS_MAX; i++)
        if (r->lines[i].is_running) pthread_join(r->lines[i].thread, NULL);
    tell_result(r, rc, error);
    for (size_t i = 0; i < CONNECTIONS_MAX; i++) {
        stream_close(&r->lines[i].stream);
        free(r->lines[i].packed);
    }
    for (size_t i = 0; i < AHEAD; i++) free(r->pieces[i]);
    watch_close_fork(&r->watch);
}

static int receive(struct receiver *r, struct xb_error *error) {
    int rc = watch_fork(&r->watch, &r->joiner->transfer->watch, error);
    if (rc) return rc;
    if (pthread_create(&r->accepting, NULL, accept_lines, r)) {
        watch_close_fork(&r->watch);
        return xb_fail(error, -EAGAIN, "cannot start a thread");
    }
    rc = wait_for_donor(r, error);
    if (rc == 0 && !r->hello.is_ist_only) rc = receive_backup(r, error);
    end_receiver(r, rc, error);
    return rc;
}

int xebec_receive(struct joiner *joiner, struct xb_error *error) {
    char fingerprint[STREAM_FINGERPRINT_SIZE];
    struct receiver *r = calloc(1, sizeof(*r));
    if (!r) return xb_fail(error, -ENOMEM, "no memory");
    r->joiner = joiner;
    for (size_t i = 0; i < CONNECTIONS_MAX; i++) r->lines[i].stream.fd = -1;
    pthread_mutex_init(&r->lock, NULL);
    pthread_cond_init(&r->changed, NULL);
    stream_tls_fingerprint(joiner->transfer->tls, fingerprint);
    int rc = joiner_listen(joiner, joiner->transfer, error);
    if (rc == 0) rc = joiner_make_secret(joiner, error);
    if (rc == 0) rc = joiner_say_ready(joiner, fingerprint, MODULE, error);
    if (rc == 0) rc = receive(r, error);
    joiner->is_ist_only = r->hello.is_ist_only;
    if (rc == 0 && joiner->is_ist_only) snprintf(joiner->state, sizeof(joiner->state), "%s", r->hello.state);
    free(r);
    return rc;
}

static int join(struct joiner *joiner, struct xb_error *error) {
    int rc = xebec_receive(joiner, error);
    if (rc == 0 && joiner->is_ist_only)
        xb_log_info(joiner->transfer->log, "the donor sends only the IST: the data stays");
    return rc || joiner->is_ist_only ? rc : joiner_install(joiner, error);
}

int xebec_joiner_run(struct transfer *t, struct xb_error *error) {
    return joiner_run_with(t, join, error);
}
