/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Messages of the method xebec, ours to ours: over each of several TLS 1.3 connections one hello and one welcome, then
 * the backup's stream in numbered pieces, any piece on any connection, each acknowledged by its number. A piece that
 * was not acknowledged when its connection broke is sent again on another one: that is the whole of resuming.
 *
 * Both sides speak on every connection at least every BEAT_NS, if only to say that they are there: the donor by a beat
 * instead of a piece, the joiner by ACK_HERE while it receives anything or waits for its disk. So silence means that
 * the network is cut, and nothing else does.
 *
 * Both proofs are HMACs with the secret that the joiner sent through the group, over keying material of this very
 * connection, the cluster's UUID and the position: so each side knows, before a byte of data moves, that the other
 * belongs to the same cluster and means the same transfer. Pure.
 */
#ifndef XB_SST_PIECE_H
#define XB_SST_PIECE_H

#include "base/clock.h"
#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PIECE_BYTES ((uint32_t)1 << 20) /* of the stream; the last one may be shorter */
#define PIECE_WINDOW 64                 /* pieces under way at the donor, and ahead of the joiner's writer */
#define PIECE_STATE_SIZE 72
#define BEAT_NS (2 * XB_SECOND)
#define SILENCE_MIN_NS (2 * BEAT_NS)
#define SILENCE_DEFAULT_NS (30 * XB_SECOND)
#define PROOF_SIZE 32

#define HELLO_SIZE 168
struct hello {
    uint16_t connection; /* 0, 1, ... */
    bool is_ist_only;
    bool is_given_up;             /* the donor has failed and will send nothing more */
    uint8_t session[16];          /* of the donor's program; equal on all its connections */
    char state[PIECE_STATE_SIZE]; /* "UUID:SEQNO DOMAIN"; the UUID is the cluster's */
    uint64_t total_bytes;         /* estimate */
    uint8_t proof[PROOF_SIZE];
};
/* secret and key (32 bytes of keying material) make the proof, which write fills in and read checks. */
void hello_write(struct hello *hello, const char *secret, const uint8_t key[32], uint8_t to[HELLO_SIZE]);
/* -> 0, -EBADMSG no hello of ours, -EACCES the proof is wrong, each with *error */
int hello_read(struct hello *hello, const char *secret, const uint8_t key[32], const uint8_t from[HELLO_SIZE],
               struct xb_error *error);

#define WELCOME_SIZE 48
void welcome_write(const struct hello *hello, const char *secret, const uint8_t key[32], uint8_t to[WELCOME_SIZE]);
int welcome_read(const struct hello *hello, const char *secret, const uint8_t key[32], const uint8_t from[WELCOME_SIZE],
                 struct xb_error *error);

#define PIECE_HEADER_SIZE 36
struct piece_header {
    uint64_t number, offset;           /* offset in the stream */
    uint32_t raw_size, wire_size, crc; /* CRC-32C of the raw bytes */
    bool is_compressed, is_last;       /* the last piece is empty */
    bool is_beat;                      /* no piece, and answered by ACK_HERE */
    bool is_pause;                     /* a beat after which silence is no failure, until the next message */
};
void piece_write(const struct piece_header *piece, uint8_t to[PIECE_HEADER_SIZE]);
int piece_read(struct piece_header *piece, const uint8_t from[PIECE_HEADER_SIZE],
               struct xb_error *error); /* -EBADMSG */

/* From the joiner: a number of 8 bytes. */
#define ACK_SIZE 8
#define ACK_WHOLE UINT64_MAX        /* everything is there and checked */
#define ACK_FAILED (UINT64_MAX - 1) /* ACK_TEXT_SIZE bytes of reason follow */
#define ACK_HERE (UINT64_MAX - 2)   /* nothing but a sign of life */
#define ACK_TEXT_SIZE 256

/* After which silence a connection counts as broken; configured_ns: sst-idle-timeout, 0 not set. */
int64_t piece_silence_ns(int64_t configured_ns);

/* Does compressing pay? Measured while running, one meter for all threads (the caller locks). */
struct meter {
    double send_ns, compress_ns; /* a byte, smoothed; 0: not known yet */
    double ratio;                /* wire bytes a raw byte */
    uint64_t pieces;
};
bool meter_wants_compression(struct meter *meter); /* asked once a piece; now and then it asks for a trial */
void meter_note_send(struct meter *meter, size_t wire_bytes, int64_t ns);
void meter_note_compression(struct meter *meter, size_t raw_bytes, size_t wire_bytes, int64_t ns);

#endif
