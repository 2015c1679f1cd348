/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Layout of the messages, little-endian; the proofs; the measure of compression. */
#include "sst/piece.h"

#include "sst/arguments.h"

#include "base/bytes.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define HELLO_MAGIC "XEBECSST"
#define WELCOME_MAGIC "XEBECWEL"
#define PIECE_MAGIC 0x43504258u /* "XBPC" */
#define VERSION 2
#define SIGNED_SIZE (HELLO_SIZE - PROOF_SIZE)
#define TRIAL_EVERY 16
#define METER_WEIGHT 0.2

/* HMAC-SHA256(secret, who | key | the hello without its proof) */
static void prove(const char *who, const char *secret, const uint8_t key[32], const uint8_t hello[SIGNED_SIZE],
                  uint8_t proof[PROOF_SIZE]) {
    uint8_t text[16 + 32 + SIGNED_SIZE] = {0};
    unsigned int size = PROOF_SIZE;
    memcpy(text, who, strlen(who));
    memcpy(text + 16, key, 32);
    memcpy(text + 48, hello, SIGNED_SIZE);
    HMAC(EVP_sha256(), secret, (int)strlen(secret), text, sizeof(text), proof, &size);
}

static void write_signed(const struct hello *hello, uint8_t to[SIGNED_SIZE]) {
    memset(to, 0, SIGNED_SIZE);
    struct xb_writer w = xb_writer_init(to, SIGNED_SIZE);
    xb_write_bytes(&w, HELLO_MAGIC, 8);
    xb_write_u8(&w, VERSION);
    xb_write_u8(&w, (uint8_t)(hello->is_ist_only | hello->is_given_up << 1));
    xb_write_u16(&w, hello->connection);
    xb_write_bytes(&w, hello->session, sizeof(hello->session));
    xb_write_bytes(&w, hello->state, sizeof(hello->state));
    xb_write_u64(&w, hello->total_bytes);
}

void hello_write(struct hello *hello, const char *secret, const uint8_t key[32], uint8_t to[HELLO_SIZE]) {
    write_signed(hello, to);
    prove("donor", secret, key, to, hello->proof);
    memcpy(to + SIGNED_SIZE, hello->proof, PROOF_SIZE);
}

int hello_read(struct hello *hello, const char *secret, const uint8_t key[32], const uint8_t from[HELLO_SIZE],
               struct xb_error *error) {
    struct xb_reader r = xb_reader_init(from, HELLO_SIZE);
    uint8_t expected[PROOF_SIZE];
    *hello = (struct hello){0};
    bool is_ours = memcmp(xb_read_bytes(&r, 8), HELLO_MAGIC, 8) == 0;
    uint8_t version = xb_read_u8(&r);
    uint8_t kind = xb_read_u8(&r);
    hello->is_ist_only = kind & 1;
    hello->is_given_up = kind >> 1 & 1;
    hello->connection = xb_read_u16(&r);
    xb_read_copy(&r, hello->session, sizeof(hello->session));
    xb_read_copy(&r, hello->state, sizeof(hello->state));
    hello->total_bytes = xb_read_u64(&r);
    if (!is_ours) return xb_fail(error, -EBADMSG, "it does not speak the method xebec");
    if (version != VERSION)
        return xb_fail(error, -EBADMSG, "it speaks version %u of the method xebec, this node %u: update the older one",
                       version, VERSION);
    prove("donor", secret, key, from, expected);
    if (CRYPTO_memcmp(expected, from + SIGNED_SIZE, PROOF_SIZE))
        return xb_fail(error, -EACCES,
                       "it does not know the secret of this join: it is not the donor that the group chose");
    hello->state[PIECE_STATE_SIZE - 1] = '\0';
    return sst_is_gtid(hello->state) ? 0 : xb_fail(error, -EBADMSG, "the donor's state is not UUID:SEQNO");
}

void welcome_write(const struct hello *hello, const char *secret, const uint8_t key[32], uint8_t to[WELCOME_SIZE]) {
    uint8_t text[SIGNED_SIZE];
    memset(to, 0, WELCOME_SIZE);
    memcpy(to, WELCOME_MAGIC, 8);
    write_signed(hello, text);
    prove("joiner", secret, key, text, to + WELCOME_SIZE - PROOF_SIZE);
}

int welcome_read(const struct hello *hello, const char *secret, const uint8_t key[32], const uint8_t from[WELCOME_SIZE],
                 struct xb_error *error) {
    uint8_t expected[WELCOME_SIZE];
    welcome_write(hello, secret, key, expected);
    if (memcmp(from, WELCOME_MAGIC, 8))
        return xb_fail(error, -EBADMSG, "the other end does not speak the method xebec");
    if (CRYPTO_memcmp(from, expected, WELCOME_SIZE))
        return xb_fail(error, -EACCES, "the other end does not know the secret of this join: it is not the joiner");
    return 0;
}

void piece_write(const struct piece_header *piece, uint8_t to[PIECE_HEADER_SIZE]) {
    struct xb_writer w = xb_writer_init(to, PIECE_HEADER_SIZE);
    xb_write_u32(&w, PIECE_MAGIC);
    xb_write_u32(&w, (uint32_t)piece->is_compressed | (uint32_t)piece->is_last << 1 | (uint32_t)piece->is_beat << 2 |
                         (uint32_t)piece->is_pause << 3);
    xb_write_u64(&w, piece->number);
    xb_write_u64(&w, piece->offset);
    xb_write_u32(&w, piece->raw_size);
    xb_write_u32(&w, piece->wire_size);
    xb_write_u32(&w, piece->crc);
}

int piece_read(struct piece_header *piece, const uint8_t from[PIECE_HEADER_SIZE], struct xb_error *error) {
    struct xb_reader r = xb_reader_init(from, PIECE_HEADER_SIZE);
    uint32_t magic = xb_read_u32(&r), flags = xb_read_u32(&r);
    piece->is_compressed = flags & 1;
    piece->is_last = flags >> 1 & 1;
    piece->is_beat = flags >> 2 & 1;
    piece->is_pause = flags >> 3 & 1;
    piece->number = xb_read_u64(&r);
    piece->offset = xb_read_u64(&r);
    piece->raw_size = xb_read_u32(&r);
    piece->wire_size = xb_read_u32(&r);
    piece->crc = xb_read_u32(&r);
    bool is_possible = magic == PIECE_MAGIC && (flags < 4 || ((flags == 4 || flags == 12) && piece->wire_size == 0)) &&
                       piece->raw_size <= PIECE_BYTES && piece->wire_size <= PIECE_BYTES && piece->number < ACK_HERE &&
                       (piece->is_compressed || piece->raw_size == piece->wire_size) &&
                       (!piece->is_last || piece->raw_size == 0);
    return is_possible ? 0 : xb_fail(error, -EBADMSG, "a piece with an impossible header came");
}

int64_t piece_silence_ns(int64_t configured_ns) {
    if (configured_ns == 0) return SILENCE_DEFAULT_NS;
    return configured_ns < SILENCE_MIN_NS ? SILENCE_MIN_NS : configured_ns;
}

static double smooth(double old, double newest) {
    return old > 0 ? old * (1 - METER_WEIGHT) + newest * METER_WEIGHT : newest;
}

bool meter_wants_compression(struct meter *m) {
    bool is_trial = m->pieces++ % TRIAL_EVERY == 0;
    if (is_trial || m->send_ns <= 0 || m->compress_ns <= 0) return is_trial;
    return m->compress_ns + m->ratio * m->send_ns < m->send_ns;
}

void meter_note_send(struct meter *m, size_t wire_bytes, int64_t ns) {
    if (wire_bytes > 0) m->send_ns = smooth(m->send_ns, (double)ns / (double)wire_bytes);
}

void meter_note_compression(struct meter *m, size_t raw_bytes, size_t wire_bytes, int64_t ns) {
    if (raw_bytes == 0) return;
    m->compress_ns = smooth(m->compress_ns, (double)ns / (double)raw_bytes);
    m->ratio = smooth(m->ratio, (double)wire_bytes / (double)raw_bytes);
}
