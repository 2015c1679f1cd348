/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Write sets (spec 06 part A): what a transaction changed, as it goes to the group, into the history and through IST.
 *
 * The origin collects keys and data in a writeset_builder and finishes it in its own (client) thread; the result is a
 * gather list, so that the data is not copied again before it is cut into datagrams. What is not known before the write
 * set's turn in the send queue (last seen seqno, PA range) is filled in by writeset_builder_stamp, which costs one hash
 * of 56 bytes.
 *
 * The receiver reads one contiguous buffer with writeset_read (everything but the payload checksums, one linear pass)
 * and writeset_check (payload checksums), then walks keys with a cursor. Nothing here allocates but the builder.
 *
 * Pure. Threads: an object has one user at a time; different objects are independent.
 */
#ifndef XB_WRITESET_WRITESET_H
#define XB_WRITESET_WRITESET_H

#include "base/bytes.h"
#include "base/error.h"
#include "base/hash.h"
#include "base/uuid.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define WRITESET_HEADER_SIZE 64
#define WRITESET_VERSION_MIN 3 /* lowest we read */
#define WRITESET_VERSION_MAX 6
#define WRITESET_SIZE_MAX 0x7fffffff
#define WRITESET_ID_UNDEFINED UINT64_MAX /* of connections and transactions */
#define WRITESET_PA_RANGE_MAX 65535

/* -> write-set version of a replicator protocol (spec 06 section 22.1): 10: 5, 11: 6; -1 if unknown. */
int writeset_version_of_protocol(int repl_version);

enum writeset_flag { /* spec 06 section 3.1 */
                     WRITESET_COMMIT = 0x0001,
                     WRITESET_ROLLBACK = 0x0002,
                     WRITESET_TOI = 0x0004,
                     WRITESET_PA_UNSAFE = 0x0008,
                     WRITESET_COMMUTATIVE = 0x0010,
                     WRITESET_NATIVE = 0x0020,
                     WRITESET_BEGIN = 0x0040,
                     WRITESET_PREPARE = 0x0080,
                     WRITESET_SNAPSHOT = 0x0100,
                     WRITESET_IMPLICIT_DEPS = 0x0200,
                     WRITESET_CERTIFIED = 0x4000,
                     WRITESET_PREORDERED = 0x8000
};
#define WRITESET_API_FLAGS 0x03ff /* what the server may set and sees */
#define WRITESET_TRX_FLAGS 0x83ff /* flags of the transaction on the receiver */
#define WRITESET_ROLLBACK_FRAGMENT (WRITESET_ROLLBACK | WRITESET_PA_UNSAFE) /* exactly these */

static inline bool writeset_flags_are_nbo_start(unsigned flags) {
    return (flags & (WRITESET_TOI | WRITESET_BEGIN | WRITESET_COMMIT)) == (WRITESET_TOI | WRITESET_BEGIN);
}
static inline bool writeset_flags_are_nbo_end(unsigned flags) {
    return (flags & (WRITESET_TOI | WRITESET_BEGIN | WRITESET_COMMIT)) == (WRITESET_TOI | WRITESET_COMMIT);
}

/* Values of the provider interface and of the wire (spec 06 section 6.4), in order of strength. */
enum writeset_key_type {
    WRITESET_KEY_SHARED = 0,
    WRITESET_KEY_REFERENCE = 1,
    WRITESET_KEY_UPDATE = 2,
    WRITESET_KEY_EXCLUSIVE = 3
};
#define WRITESET_KEY_TYPES 4
const char *writeset_key_type_name(enum writeset_key_type type); /* "SH", "RE", "UP", "EX" */

/* repl.key_format (spec 06 section 6.1) */
enum writeset_key_format {
    WRITESET_KEYS_NONE = 0,
    WRITESET_FLAT8 = 1,
    WRITESET_FLAT8A = 2,
    WRITESET_FLAT16 = 3,
    WRITESET_FLAT16A = 4
};
int writeset_key_format_parse(const char *name); /* -> format, or -EINVAL; case does not matter */
const char *writeset_key_format_name(enum writeset_key_format format);

/* ---- header ---- */

struct writeset_header {
    int version;                   /* as which it is to be read: 3..6 */
    enum writeset_key_format keys; /* version nibble of the key set; NONE: no key set */
    bool has_data, has_unordered, has_annotation;
    uint16_t flags;    /* all 16 bits */
    uint16_t pa_range; /* before certification; after: seqno - depends */
    int64_t seqno;     /* before certification: last seen; after: own */
    int64_t timestamp_ns;
    struct xb_uuid source;
    uint64_t connection_id, transaction_id;
};

/* Encodes a header with its checksum. */
void writeset_write_header(uint8_t to[WRITESET_HEADER_SIZE], const struct writeset_header *header);

/* ---- reading ---- */

/* A sequence of key parts. */
struct writeset_keys {
    const uint8_t *records;
    size_t size;
    uint32_t count;
    int version; /* of the write set, for the meaning of types */
};

struct writeset_part {
    const uint8_t *data; /* NULL: the set is not there */
    size_t size;
};

/* Where a record set lies in the buffer: all of it, padding included. */
struct writeset_range {
    size_t offset, size; /* size 0: not there */
};

struct writeset {
    const uint8_t *bytes; /* the buffer, not owned */
    size_t size;          /* up to the end of the last set */
    size_t header_size;
    struct writeset_header header;
    struct writeset_keys keys;
    struct writeset_part data, unordered, annotation; /* each one record: what the origin appended */
    struct writeset_range key_set, data_set, unordered_set, annotation_set;
};

static inline bool writeset_is_certified(const struct writeset *ws) {
    return (ws->header.flags & WRITESET_CERTIFIED) != 0;
}

/*
 * Parses and validates headers, their checksums, and every key part. Does not look at payload checksums.
 * -> 0; -EPROTO malformed or damaged; -EPROTONOSUPPORT a version that we cannot read. *error says which part and why.
 */
int writeset_read(struct writeset *ws, const void *bytes, size_t size, struct xb_error *error);
/* Header alone (a cached buffer whose source or seqno is wanted). Same results. */
int writeset_read_header(struct writeset_header *header, size_t *header_size, const void *bytes, size_t size,
                         struct xb_error *error);
/* Payload checksums of keys, data and unordered set. Must pass before certification. -> 0 or -EBADMSG with *error */
int writeset_check(const struct writeset *ws, struct xb_error *error);

/* Data of an NBO end: the seqno of its start. -> 0 or -EPROTO */
int writeset_nbo_start_seqno(const struct writeset *ws, int64_t *seqno);

/* One key part. Identity: 59 bits, or 123 if is_wide; low five bits of id_low are zero (spec 06 section 6.3). */
struct writeset_key {
    uint64_t id_low, id_high; /* id_high is 0 unless is_wide */
    bool is_wide;
    enum writeset_key_type type;
    enum writeset_key_format format;
    const uint8_t *bytes;      /* 8 or 16 as on the wire */
    const uint8_t *annotation; /* length bytes and parts (section 6.3), for people only; NULL unless annotated */
    size_t annotation_size;
};

struct writeset_key_cursor {
    const uint8_t *next, *end;
    uint32_t left;
    int version;
};

static inline struct writeset_key_cursor writeset_key_cursor_init(const struct writeset_keys *keys) {
    return (struct writeset_key_cursor){
        .next = keys->records, .end = keys->records + keys->size, .left = keys->count, .version = keys->version};
}
int writeset_next_key_of_any_kind(struct writeset_key_cursor *cursor, struct writeset_key *key);

/* -> 1 and the next key; 0 at the end; -EPROTO if the bytes are no key part (never after writeset_read). */
static inline int writeset_next_key(struct writeset_key_cursor *cursor, struct writeset_key *key) {
    bool is_plain = cursor->left > 0 && cursor->end - cursor->next >= 8 && cursor->version >= 5 &&
                    (cursor->next[0] & 0x1c) == WRITESET_FLAT8 << 2;
    if (!is_plain) return writeset_next_key_of_any_kind(cursor, key);
    uint64_t word = xb_load_le(cursor->next, 8);
    *key = (struct writeset_key){.id_low = word & ~(uint64_t)0x1f,
                                 .type = (enum writeset_key_type)(word & 3),
                                 .format = WRITESET_FLAT8,
                                 .bytes = cursor->next};
    cursor->next += 8;
    cursor->left--;
    return 1;
}

/* The key part of parts[0..part_count-1] as it stands on the wire, without annotation: hash of spec 06 section 6.2 */
struct xb_hash128 writeset_key_hash(const struct iovec *parts, size_t part_count);

/* For logs: "EX FLAT8 0789236d566a044b" and the annotation as text. -> text */
#define WRITESET_KEY_TEXT_SIZE 256
const char *writeset_key_format_text(const struct writeset_key *key, char text[WRITESET_KEY_TEXT_SIZE]);

/* ---- after certification ---- */

/*
 * Rewrites the header in place after the verdict (spec 06 section 10), passed or failed; *ws follows. bytes: the
 * writable buffer that ws was read from. depends < 0: undefined.
 */
void writeset_mark_certified(struct writeset *ws, void *bytes, int64_t seqno, int64_t depends);
/* Dependency of a certified write set, at most seqno - 1. */
int64_t writeset_certified_depends(const struct writeset_header *header);

/* ---- building ---- */

struct writeset_builder;

struct writeset_builder_config {
    int version; /* 5 or 6, of the protocol in force when the transaction began */
    enum writeset_key_format key_format;
    size_t size_max;      /* repl.max_ws_size, at most WRITESET_SIZE_MAX */
    uint64_t hash_secret; /* random, keeps clients from flooding the table of seen keys */
};

/* An empty one with the configuration; NULL: no memory. */
struct writeset_builder *writeset_builder_new(const struct writeset_builder_config *config);
void writeset_builder_free(struct writeset_builder *builder);
/* Empties it for the next fragment or transaction and keeps a little of its memory. config NULL: as before. */
void writeset_builder_reset(struct writeset_builder *builder, const struct writeset_builder_config *config);

#define WRITESET_KEY_PARTS_MAX 16

/*
 * Adds a key of 1..16 parts (prefix parts become branches, spec 06 sections 6.2 and 6.6). part_count 0: the zero-level
 * key of section 6.5 (ignored in version 5). The bytes are hashed at once, never kept.
 * -> 0; -EMSGSIZE: size_max exceeded, writeset_builder_finish will fail too; -E2BIG: too many parts; -ENOMEM (finish
 * fails too); -EBUSY: finished already
 */
int writeset_builder_add_key(struct writeset_builder *builder, const struct iovec *parts, size_t part_count,
                             enum writeset_key_type type);

enum writeset_data_kind { /* values of the provider interface */
                          WRITESET_DATA_ORDERED = 0,
                          WRITESET_DATA_UNORDERED = 1,
                          WRITESET_DATA_ANNOTATION = 2
};
/* Appends data. is_copied: else the memory must stay unchanged until the write set has been sent. Results as above. */
int writeset_builder_add_data(struct writeset_builder *builder, enum writeset_data_kind kind, const void *data,
                              size_t size, bool is_copied);

struct writeset_origin {
    struct xb_uuid source;
    uint64_t connection_id, transaction_id;
};

/*
 * Finishes the record sets and fills the header but for the stamp. flags: as they go on the wire. The zero-level key is
 * the caller's: added last, to all that spec 06 section 6.5 names. A rollback fragment is an empty builder finished
 * with WRITESET_ROLLBACK_FRAGMENT.
 * -> 0; -EMSGSIZE with *error; -ENOMEM; -EBUSY: finished already
 */
int writeset_builder_finish(struct writeset_builder *builder, const struct writeset_origin *origin, uint16_t flags,
                            struct xb_error *error);
/* When the write set's turn to be sent has come, and again for every further attempt (spec 06 section 8.4). */
void writeset_builder_stamp(struct writeset_builder *builder, int64_t last_seen, uint16_t pa_range,
                            int64_t timestamp_ns);

/* After finish. The gather list belongs to the builder and lives until reset or free. */
const struct iovec *writeset_builder_parts(const struct writeset_builder *builder, size_t *part_count);
size_t writeset_builder_size(const struct writeset_builder *builder); /* of the whole write set */
/* The keys collected so far, for a test against the own index before sending. Valid until the next change. */
struct writeset_keys writeset_builder_keys(const struct writeset_builder *builder);

struct writeset_builder_stats { /* wsrep_repl_keys, _keys_bytes, _data_bytes, _other_bytes */
    uint64_t key_count;
    uint64_t key_bytes, data_bytes, other_bytes; /* record-set sizes; before finish: record bytes */
};
void writeset_builder_get_stats(const struct writeset_builder *builder, struct writeset_builder_stats *stats);

#endif
