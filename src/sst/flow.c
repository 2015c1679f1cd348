/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One thread moves blocks between stream and consumer; with a filter program a second one feeds that. */
#include "sst/flow.h"

#include "sst/child.h"
#include "sst/symmetric.h"
#include "sst/words.h"

#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FINISH_WAIT_NS (300 * XB_SECOND) /* the joiner may have blocks to write before it can acknowledge */
#define PIPE_BYTES (1 << 20)

/* Where blocks come from: a descriptor or a stream. -> bytes, 0 end, or negative with *error */
struct source {
    int fd; /* -1: the stream */
    struct stream *stream;
    const struct watch *watch;
};

static ssize_t source_read(const struct source *source, void *to, size_t size, struct xb_error *error) {
    if (source->fd < 0) return stream_read(source->stream, to, size, error);
    for (;;) {
        int rc = watch_wait(source->watch, source->fd, POLLIN, XB_NEVER, error);
        if (rc) return rc;
        ssize_t n = read(source->fd, to, size);
        if (n >= 0) return n;
        if (errno != EINTR && errno != EAGAIN) return xb_fail(error, -errno, "cannot read from a helper program: %m");
    }
}

static int write_fd(const struct watch *watch, int fd, const uint8_t *data, size_t size, struct xb_error *error) {
    while (size > 0) {
        int rc = watch_wait(watch, fd, POLLOUT, XB_NEVER, error);
        if (rc) return rc;
        ssize_t n = write(fd, data, size);
        if (n < 0 && errno != EINTR && errno != EAGAIN)
            return xb_fail(error, -errno, "a helper program ended early: %m");
        if (n > 0) {
            data += n;
            size -= (size_t)n;
        }
    }
    return 0;
}

/* A program between two of our ends, fed by a thread. */
struct filter {
    struct child child;
    struct words command;
    struct source source;
    struct symmetric *cipher; /* applied before the program; NULL: none */
    struct watch watch;       /* of the feeding thread */
    int in, out;              /* our ends: the program's input and output */
    pthread_t thread;
    bool has_thread;
    struct xb_error error;
};

static int feed(struct filter *f, uint8_t *block, uint8_t *coded) {
    for (;;) {
        ssize_t n = source_read(&f->source, block, TRANSFER_BLOCK, &f->error), m = n;
        if (n < 0) return (int)n;
        if (f->cipher)
            m = n ? symmetric_feed(f->cipher, block, (size_t)n, coded, &f->error)
                  : symmetric_end(f->cipher, coded, &f->error);
        int rc = m < 0 ? (int)m : write_fd(&f->watch, f->in, f->cipher ? coded : block, (size_t)m, &f->error);
        if (rc || n == 0) return rc;
    }
}

static void *feed_thread(void *ctx) {
    struct filter *f = ctx;
    uint8_t *block = malloc(TRANSFER_BLOCK), *coded = malloc(TRANSFER_BLOCK + SYMMETRIC_EXTRA);
    int rc = block && coded ? feed(f, block, coded) : xb_fail(&f->error, -ENOMEM, "no memory");
    if (rc && !f->error.code) f->error.code = rc;
    close(f->in); /* the program sees the end */
    f->in = -1;
    free(block);
    free(coded);
    return NULL;
}

static int make_pipe(int ends[2], struct xb_error *error) {
    if (pipe2(ends, O_CLOEXEC)) return xb_fail(error, -errno, "cannot make a pipe: %m");
    fcntl(ends[0], F_SETPIPE_SZ, PIPE_BYTES);
    return 0;
}

static int start_filter(struct filter *f, struct transfer *t, const char *what, const char *command,
                        struct xb_error *error) {
    int in[2], out[2];
    int rc = words_split(&f->command, what, command, error);
    if (rc == 0 && f->command.count == 0) rc = xb_fail(error, -EINVAL, "%s is empty", what);
    if (rc == 0) rc = watch_fork(&f->watch, &t->watch, error);
    if (rc == 0) rc = make_pipe(in, error);
    if (rc) return rc;
    rc = make_pipe(out, error);
    if (rc) {
        close(in[0]);
        close(in[1]);
        return rc;
    }
    rc = child_start(&f->child, &(struct child_spec){f->command.items, in[0], out[1], -1, NULL, 0}, error);
    close(in[0]);
    close(out[1]);
    f->in = in[1];
    f->out = out[0];
    fcntl(f->in, F_SETFL, O_NONBLOCK);
    f->source.watch = &f->watch;
    if (rc == 0 && pthread_create(&f->thread, NULL, feed_thread, f))
        rc = xb_fail(error, -EAGAIN, "cannot start a thread");
    f->has_thread = rc == 0;
    return rc;
}

/* Ends the filter. rc: how the work with it went. -> that, or what the filter has to say */
static int end_filter(struct filter *f, struct transfer *t, int rc, struct xb_error *error) {
    if (rc) watch_stop(&f->watch);
    if (rc) child_kill(&f->child);
    if (f->has_thread) pthread_join(f->thread, NULL);
    if (f->error.code && f->error.code != -ECANCELED && (rc == 0 || f->error.text[0])) {
        *error = f->error; /* the first cause: the other side of the program only saw its end */
        rc = f->error.code;
    }
    if (rc == 0) {
        int status = child_wait(&f->child, &t->watch, XB_NEVER, error);
        rc = status > 0 ? xb_fail(error, -EPIPE, "'%s' failed with status %d", f->command.items[0], status) : status;
    }
    child_kill(&f->child);
    if (f->in >= 0) close(f->in);
    if (f->out >= 0) close(f->out);
    watch_close_fork(&f->watch);
    words_free(&f->command);
    return rc;
}

static int wait_for_limit(struct transfer *t, struct limit *limit, size_t n, struct xb_error *error) {
    int64_t now_ns = xb_clock_monotonic_ns(), wait_ns = limit_take(limit, n, now_ns);
    int rc = wait_ns ? watch_wait(&t->watch, -1, 0, now_ns + wait_ns, error) : watch_check(&t->watch, error);
    return rc == -ETIMEDOUT ? 0 : rc;
}

static int send_blocks(struct transfer *t, struct stream *stream, const struct source *source, struct symmetric *cipher,
                       struct progress *progress, char *answer, size_t answer_size, uint8_t *block, uint8_t *coded,
                       struct xb_error *error) {
    struct limit limit = {t->settings.rlimit, 0};
    size_t size = t->settings.rlimit && t->settings.rlimit / 20 < TRANSFER_BLOCK ? (size_t)(t->settings.rlimit / 20 + 1)
                                                                                 : TRANSFER_BLOCK;
    for (;;) {
        ssize_t n = source_read(source, block, size, error), m = n;
        if (n < 0) return (int)n;
        if (cipher)
            m = n ? symmetric_feed(cipher, block, (size_t)n, coded, error) : symmetric_end(cipher, coded, error);
        int rc = m < 0 ? (int)m : wait_for_limit(t, &limit, (size_t)m, error);
        if (rc == 0) rc = stream_write_heeding(stream, cipher ? coded : block, (size_t)m, answer, answer_size, error);
        if (rc || n == 0) return rc;
        if (progress) transfer_report(t, progress, (uint64_t)n);
    }
}

/* The joiner may have said why it closed: that is the better reason. */
static int prefer_answer(struct stream *stream, int rc, char *answer, size_t size, struct xb_error *error) {
    struct xb_error ignored = {0};
    size_t used = strlen(answer);
    if (rc && (rc == -EPIPE || rc == -ECONNRESET) && stream->fd >= 0)
        stream_finish(stream, answer + used, size - used, xb_clock_monotonic_ns() + XB_SECOND, &ignored);
    return rc;
}

int flow_send(struct transfer *t, struct stream *stream, const struct flow_source *from, struct progress *progress,
              char *answer, size_t answer_size, struct xb_error *error) {
    struct symmetric *cipher = NULL;
    struct filter filter = {.in = -1, .out = -1, .child = {0, -1, NULL}, .watch = {-1, -1, -1, 0}};
    struct source source = {from->fd, NULL, &t->watch};
    uint8_t *block = malloc(TRANSFER_BLOCK), *coded = malloc(TRANSFER_BLOCK + SYMMETRIC_EXTRA);
    int rc = block && coded ? 0 : xb_fail(error, -ENOMEM, "no memory");
    answer[0] = '\0';
    if (rc == 0 && t->settings.encrypt == 1 &&
        !(cipher = symmetric_new(t->settings.algorithm, t->settings.password, true, error)))
        rc = error->code;
    if (rc == 0 && t->settings.compressor) {
        filter.source = source;
        filter.cipher = cipher;
        rc = start_filter(&filter, t, "compressor", t->settings.compressor, error);
        source.fd = filter.out;
    }
    if (rc == 0)
        rc = send_blocks(t, stream, &source, t->settings.compressor ? NULL : cipher, progress, answer, answer_size,
                         block, coded, error);
    rc = prefer_answer(stream, rc, answer, answer_size, error);
    if (t->settings.compressor) rc = end_filter(&filter, t, rc, error);
    if (rc == 0 && from->end) rc = from->end(from->ctx, error);
    if (rc == 0) rc = stream_finish(stream, answer, answer_size, xb_clock_monotonic_ns() + FINISH_WAIT_NS, error);
    if (rc == -ETIMEDOUT && !error->code)
        xb_fail(error, rc, "%s took everything but never closed the connection", stream->peer);
    symmetric_free(cipher);
    free(block);
    free(coded);
    return rc;
}

static int receive_blocks(struct transfer *t, const struct source *source, struct symmetric *cipher,
                          struct progress *progress, int (*consume)(void *, const uint8_t *, size_t, struct xb_error *),
                          void *ctx, uint8_t *block, uint8_t *plain, struct xb_error *error) {
    for (;;) {
        ssize_t n = source_read(source, block, TRANSFER_BLOCK, error), m = n;
        if (n < 0) return (int)n;
        if (cipher)
            m = n ? symmetric_feed(cipher, block, (size_t)n, plain, error) : symmetric_end(cipher, plain, error);
        int rc = m < 0 ? (int)m : watch_check(&t->watch, error);
        if (rc == 0 && m > 0) rc = consume(ctx, cipher ? plain : block, (size_t)m, error);
        if (rc || n == 0) return rc;
        if (progress) transfer_report(t, progress, (uint64_t)m);
    }
}

int flow_receive(struct transfer *t, struct stream *stream, struct progress *progress,
                 int (*consume)(void *ctx, const uint8_t *data, size_t size, struct xb_error *error), void *ctx,
                 struct xb_error *error) {
    struct symmetric *cipher = NULL;
    struct filter filter = {.in = -1, .out = -1, .child = {0, -1, NULL}, .watch = {-1, -1, -1, 0}};
    struct source source = {-1, stream, &t->watch};
    const struct watch *own_watch = stream->watch;
    uint8_t *block = malloc(TRANSFER_BLOCK), *plain = malloc(TRANSFER_BLOCK + SYMMETRIC_EXTRA);
    int rc = block && plain ? 0 : xb_fail(error, -ENOMEM, "no memory");
    if (rc == 0 && t->settings.encrypt == 1 &&
        !(cipher = symmetric_new(t->settings.algorithm, t->settings.password, false, error)))
        rc = error->code;
    if (rc == 0 && t->settings.decompressor) {
        filter.source = source;
        rc = start_filter(&filter, t, "decompressor", t->settings.decompressor, error);
        stream->watch = &filter.watch;
        source.fd = filter.out;
    }
    if (rc == 0) rc = receive_blocks(t, &source, cipher, progress, consume, ctx, block, plain, error);
    if (t->settings.decompressor) {
        rc = end_filter(&filter, t, rc, error);
        stream->watch = own_watch;
    }
    symmetric_free(cipher);
    free(block);
    free(plain);
    return rc;
}
