/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A TLS session, server or client, whose peer sends anything: noise, or the bytes of a real peer with changes. (OpenSSL
 * takes its own randomness, so runs are not repeatable to the byte; what is tested is our handling.)
 */
#include "fuzz.h"
#include "support/certs.h"
#include "support/tls_feed.h"
#include "tls/tls.h"

#include <errno.h>
#include <stdlib.h>

enum op { OP_NOISE, OP_REAL, OP_WRITE, OP_READ, OP_CLOSE, OP_COUNT };

struct end {
    struct tls_session *session;
    bool is_done, is_failed;
};

/* Made once; the target would spend all its time on keys. */
static struct tls_context *context(void) {
    static struct tls_context *made;
    if (made) return made;
    struct certs certs;
    certs_init(&certs);
    certs_make(&certs, "ca", &(struct cert_wish){.is_ca = true});
    certs_make(&certs, "node", &(struct cert_wish){.issuer = "ca"});
    struct tls_config config = {.key_file = certs_path(&certs, "node.key"),
                                .cert_file = certs_path(&certs, "node.crt"),
                                .ca_file = certs_path(&certs, "ca.crt")};
    struct xb_error error;
    made = tls_context_load(&config, &error);
    if (!made) fuzz_violated(error.text, __FILE__, __LINE__);
    certs_clean(&certs);
    return made;
}

static void advance(struct end *end) {
    if (end->is_done || end->is_failed) return;
    struct xb_error error = {0};
    int rc = tls_session_handshake(end->session, &error);
    fuzz_require(rc == 0 || rc == -EAGAIN || (rc == -EPROTO && error.text[0]));
    end->is_done = rc == 0;
    end->is_failed = rc == -EPROTO;
    struct tls_info info;
    if (end->is_done) tls_session_info(end->session, &info);
}

/* What `from` has to say, changed as the step says. */
static void pass(struct end *from, struct end *to, const struct fuzz_steps *step) {
    const uint8_t *output;
    size_t size = tls_session_output(from->session, &output);
    uint8_t *copy = fuzz_copy(output, size);
    for (size_t at = 0; at + 3 <= step->size && size; at += 3)
        copy[fuzz_number(step, at, 2) % size] ^= (uint8_t)fuzz_number(step, at + 2, 1);
    size_t part = step->arg & 1 ? size / 2 : size;
    tls_feed(to->session, copy, part);
    tls_session_output_done(from->session, part);
    free(copy);
    advance(to);
}

static void read_all(struct end *end) {
    uint8_t buffer[512];
    struct xb_error error = {0};
    ssize_t n;
    if (!end->is_done) return;
    while ((n = tls_session_read(end->session, buffer, sizeof(buffer), &error)) > 0) {
    }
    fuzz_require(n == 0 || n == -EAGAIN || (n == -EPROTO && error.text[0]));
    end->is_failed |= n != -EAGAIN;
}

static void act(struct end *tested, struct end *peer, const struct fuzz_steps *step) {
    struct xb_error error = {0};
    struct end *end = step->arg & 2 ? peer : tested;
    switch (step->op % OP_COUNT) {
    case OP_NOISE:
        tls_feed(tested->session, step->data, step->size);
        advance(tested);
        break;
    case OP_REAL:
        pass(peer, tested, step);
        pass(tested, peer, &(struct fuzz_steps){0});
        break;
    case OP_WRITE:
        if (end->is_done && !end->is_failed && step->size)
            tls_session_write(end->session, step->data, step->size, &error);
        break;
    case OP_READ:
        read_all(end);
        break;
    case OP_CLOSE:
        if (end->is_done && !end->is_failed) tls_session_close(end->session);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (!size) return 0;
    bool is_server = data[0] & 1;
    struct end tested = {.session = tls_session_new(context(), is_server)};
    struct end peer = {.session = tls_session_new(context(), !is_server)};
    advance(&peer);
    advance(&tested);
    struct fuzz_steps step = fuzz_steps_init(data + 1, size - 1);
    for (int count = 0; fuzz_next(&step); count++)
        if (count < 50) act(&tested, &peer, &step);
    tls_session_free(tested.session);
    tls_session_free(peer.session);
    return 0;
}

void fuzz_seeds(fuzz_take *take, void *ctx) {
    static struct fuzz_seed seed;
    for (uint8_t n = 0; n < 24; n++) {
        seed.size = 1;
        seed.bytes[0] = n;
        uint8_t change[3] = {(uint8_t)(n * 11), 0, n};
        for (int i = 0; i < 4; i++) fuzz_add(&seed, OP_REAL, n / 2 % 2, change, i == n / 6 && n > 3 ? 3 : 0);
        fuzz_add(&seed, OP_WRITE, 2, "hello", 5);
        fuzz_add(&seed, OP_REAL, 0, change, n % 3 ? 0 : 3);
        fuzz_add(&seed, OP_READ, 0, NULL, 0);
        if (n % 4 == 0) fuzz_add(&seed, OP_CLOSE, n, NULL, 0);
        if (n % 5 == 0) fuzz_add(&seed, OP_NOISE, 0, "\x16\x03\x01\x00\x05hello", 10);
        take(ctx, seed.bytes, seed.size);
    }
}
