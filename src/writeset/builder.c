/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Builds a write set at its origin (spec 06 sections 6.6 and 8).
 *
 * The server hands over one key a row; keys of neighbouring rows share their leading parts (schema, table). So the
 * builder keeps the hash state after every part of the previous key and goes on from the last common one, and looks up
 * only what is new.
 */
#include "writeset/data_list.h"
#include "writeset/header.h"
#include "writeset/key.h"
#include "writeset/key_table.h"
#include "writeset/record_set.h"
#include "writeset/writeset.h"

#include "base/bytes.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define DATA_KINDS 3
#define KEY_BYTES_KEPT_MAX (64 << 10) /* of memory between transactions, and of a previous key */
#define KEY_RECORDS_INLINE 512
#define TRAIL_BYTES_INLINE 256
#define PARTS_INLINE 16
#define SET_OVERHEAD RECORD_SET_HEAD_MAX /* what the size limit counts for a set (section 8.3) */
#define ANNOTATION_SCRATCH 4096          /* stock writer's area for one key part with its annotation */
#define ANNOTATION_PART_MAX 255

/* Growing bytes that begin inside their owner. */
struct byte_area {
    uint8_t *bytes;
    size_t used, capacity;
};

/* A key that was walked to its end, with what its prefixes gave. */
struct key_trail {
    size_t part_count;
    uint32_t part_sizes[WRITESET_KEY_PARTS_MAX];
    uint8_t strengths[WRITESET_KEY_PARTS_MAX]; /* with which the prefix is stored */
    struct xb_murmur128 states[WRITESET_KEY_PARTS_MAX];
    struct byte_area parts; /* one after the other */
    uint8_t first[TRAIL_BYTES_INLINE];
};

struct data_set {
    struct data_list list;
    uint8_t head[RECORD_SET_HEAD_MAX];
    size_t head_size, padding; /* after finish; head_size 0: no such set */
};

struct writeset_builder {
    struct writeset_builder_config config;
    bool is_finished;
    int failure; /* -EMSGSIZE or -ENOMEM: what was added is not complete */
    bool has_annotation;
    size_t records_size; /* of all sets, against the limit */

    struct byte_area keys; /* records */
    uint32_t key_count;
    struct key_table table;
    struct key_trail trails[2];
    struct key_trail *previous, *current;

    struct data_set sets[DATA_KINDS];

    /* After finish. */
    uint8_t head[WRITESET_HEADER_SIZE + RECORD_SET_HEAD_MAX]; /* header, and head of the key set */
    size_t key_head_size;
    struct iovec *parts; /* first_parts or on the heap */
    size_t part_count, size;
    struct iovec first_parts[PARTS_INLINE];
    uint8_t key_records[KEY_RECORDS_INLINE];
};

/* ---- memory ---- */

static void area_init(struct byte_area *area, uint8_t *first, size_t capacity) {
    *area = (struct byte_area){.bytes = first, .capacity = capacity};
}

static void area_clear(struct byte_area *area, uint8_t *first, size_t capacity) {
    if (area->bytes != first && area->capacity > KEY_BYTES_KEPT_MAX) {
        free(area->bytes);
        area_init(area, first, capacity);
    }
    area->used = 0;
}

/* -> place for n more bytes (not yet counted as used), or NULL. */
static uint8_t *area_reserve(struct byte_area *area, const uint8_t *first, size_t n) {
    if (area->capacity - area->used < n) {
        size_t capacity = 2 * area->capacity;
        while (capacity - area->used < n) capacity *= 2;
        bool is_inline = area->bytes == first;
        uint8_t *larger = realloc(is_inline ? NULL : area->bytes, capacity);
        if (!larger) return NULL;
        if (is_inline) memcpy(larger, first, area->used);
        area->bytes = larger;
        area->capacity = capacity;
    }
    return area->bytes + area->used;
}

struct writeset_builder *writeset_builder_new(const struct writeset_builder_config *config) {
    struct writeset_builder *builder = malloc(sizeof(*builder));
    if (!builder) return NULL;
    area_init(&builder->keys, builder->key_records, sizeof(builder->key_records));
    for (int i = 0; i < 2; i++)
        area_init(&builder->trails[i].parts, builder->trails[i].first, sizeof(builder->trails[i].first));
    for (int i = 0; i < DATA_KINDS; i++) data_list_init(&builder->sets[i].list);
    builder->parts = builder->first_parts;
    key_table_init(&builder->table, config->hash_secret);
    writeset_builder_reset(builder, config);
    return builder;
}

void writeset_builder_reset(struct writeset_builder *builder, const struct writeset_builder_config *config) {
    if (config) builder->config = *config;
    assert(builder->config.version >= 5 && builder->config.version <= WRITESET_VERSION_MAX);
    if (builder->config.size_max > WRITESET_SIZE_MAX) builder->config.size_max = WRITESET_SIZE_MAX;
    builder->is_finished = false;
    builder->failure = 0;
    builder->has_annotation = false;
    builder->records_size = 0;
    area_clear(&builder->keys, builder->key_records, sizeof(builder->key_records));
    builder->key_count = 0;
    if (builder->table.count > 0 || config) key_table_clear(&builder->table, builder->config.hash_secret);
    for (int i = 0; i < 2; i++) {
        struct key_trail *trail = &builder->trails[i];
        trail->part_count = 0;
        area_clear(&trail->parts, trail->first, sizeof(trail->first));
    }
    builder->previous = &builder->trails[0];
    builder->current = &builder->trails[1];
    for (int i = 0; i < DATA_KINDS; i++) data_list_clear(&builder->sets[i].list);
    if (builder->parts != builder->first_parts) free(builder->parts);
    builder->parts = builder->first_parts;
    builder->part_count = 0;
    builder->size = 0;
}

void writeset_builder_free(struct writeset_builder *builder) {
    if (!builder) return;
    if (builder->keys.bytes != builder->key_records) free(builder->keys.bytes);
    for (int i = 0; i < 2; i++)
        if (builder->trails[i].parts.bytes != builder->trails[i].first) free(builder->trails[i].parts.bytes);
    for (int i = 0; i < DATA_KINDS; i++) data_list_free(&builder->sets[i].list);
    if (builder->parts != builder->first_parts) free(builder->parts);
    key_table_clear(&builder->table, 0);
    free(builder);
}

/* Counts n more record bytes against the limit (section 8.3). */
static int claim(struct writeset_builder *builder, size_t n) {
    size_t overhead = WRITESET_HEADER_SIZE + (builder->has_annotation ? 4 : 3) * SET_OVERHEAD;
    size_t used = overhead + builder->records_size;
    if (used > builder->config.size_max || n > builder->config.size_max - used) {
        builder->failure = -EMSGSIZE;
        return -EMSGSIZE;
    }
    builder->records_size += n;
    return 0;
}

/* ---- keys ---- */

/* How many leading parts are those of the previous key. */
static size_t count_common_parts(const struct key_trail *previous, const struct iovec *parts, size_t part_count) {
    const uint8_t *bytes = previous->parts.bytes;
    size_t n = 0;
    for (; n < part_count && n < previous->part_count; n++) {
        uint32_t size = previous->part_sizes[n];
        if (parts[n].iov_len != size || (size > 0 && memcmp(bytes, parts[n].iov_base, size) != 0)) break;
        bytes += size;
    }
    return n;
}

/* Annotation of the prefix of n parts (section 6.3), cut to what fits. -> its size */
static size_t write_annotation(uint8_t *to, size_t size_max, const struct iovec *parts, size_t n) {
    size_t total = KEY_ANNOTATION_LENGTH_SIZE;
    for (size_t i = 0; i < n; i++)
        total += 1 + (parts[i].iov_len < ANNOTATION_PART_MAX ? parts[i].iov_len : ANNOTATION_PART_MAX);
    total = (total + 7) & ~(size_t)7;
    if (total > size_max) total = size_max;
    struct xb_writer w = xb_writer_init(to, total);
    xb_write_u16(&w, (uint16_t)total);
    for (size_t i = 0; i < n && w.used + 1 < total; i++) {
        size_t size = parts[i].iov_len < ANNOTATION_PART_MAX ? parts[i].iov_len : ANNOTATION_PART_MAX;
        if (size > total - w.used - 1) size = total - w.used - 1;
        xb_write_u8(&w, (uint8_t)size);
        xb_write_bytes(&w, parts[i].iov_base, size);
    }
    xb_write_zero(&w, total - w.used);
    return total;
}

static int store_key_part(struct writeset_builder *builder, const struct xb_hash128 *hash, enum writeset_key_type type,
                          const struct iovec *parts, size_t part_count) {
    enum writeset_key_format format = builder->config.key_format;
    size_t size = key_format_is_wide(format) ? 16 : 8;
    bool is_annotated = key_format_is_annotated(format);
    uint8_t *to = area_reserve(&builder->keys, builder->key_records, is_annotated ? ANNOTATION_SCRATCH : size);
    if (!to) return builder->failure = -ENOMEM;
    memcpy(to, hash->bytes, size);
    to[0] = (uint8_t)((to[0] & 0xE0) | format << KEY_FORMAT_SHIFT | type);
    if (is_annotated) size += write_annotation(to + size, (ANNOTATION_SCRATCH - size) & ~(size_t)7, parts, part_count);
    int rc = claim(builder, size);
    if (rc < 0) return rc;
    builder->keys.used += size;
    builder->key_count++;
    return 0;
}

/*
 * Step 2 of section 6.6 for the prefix of n parts. -> 1: go on with the next part; 0: the rest of the key is covered;
 * negative errno.
 * Unlike the stock writer, goes on behind a branch that is stored as UPDATE: that does not cover what is below it
 * against competitors that hold the branch as REFERENCE (section 25.6).
 */
static int walk_prefix(struct writeset_builder *builder, const struct iovec *parts, size_t n, bool is_leaf,
                       enum writeset_key_type type) {
    struct xb_hash128 hash = xb_murmur128_final(&builder->current->states[n - 1]);
    uint64_t id_low = xb_load_le(hash.bytes, 8) & KEY_ID_MASK;
    uint64_t id_high = key_format_is_wide(builder->config.key_format) ? xb_load_le(hash.bytes + 8, 8) : 0;
    struct key_slot *slot = key_table_find(&builder->table, id_low, id_high);
    if (!slot) return builder->failure = -ENOMEM;
    if (!key_slot_is_used(slot) || key_slot_strength(slot) < type) {
        int rc = store_key_part(builder, &hash, type, parts, n);
        if (rc < 0) return rc;
        key_table_put(&builder->table, slot, id_low, id_high, type);
    } else if (is_leaf || key_slot_strength(slot) == WRITESET_KEY_EXCLUSIVE) {
        return 0;
    }
    builder->current->strengths[n - 1] = (uint8_t)key_slot_strength(slot);
    return 1;
}

/* The key was walked to its end: it is the previous one now. A giant is not worth remembering. */
static int remember_key(struct writeset_builder *builder, const struct iovec *parts, size_t part_count) {
    struct key_trail *trail = builder->current;
    size_t size = 0;
    for (size_t i = 0; i < part_count; i++) size += parts[i].iov_len;
    trail->part_count = 0;
    trail->parts.used = 0;
    builder->current = builder->previous;
    builder->previous = trail;
    if (size > KEY_BYTES_KEPT_MAX) return 0;
    if (!area_reserve(&trail->parts, trail->first, size)) return builder->failure = -ENOMEM;
    for (size_t i = 0; i < part_count; i++) {
        if (parts[i].iov_len > 0) memcpy(trail->parts.bytes + trail->parts.used, parts[i].iov_base, parts[i].iov_len);
        trail->part_sizes[i] = (uint32_t)parts[i].iov_len;
        trail->parts.used += parts[i].iov_len;
    }
    trail->part_count = part_count;
    return 0;
}

static int add_key(struct writeset_builder *builder, const struct iovec *parts, size_t part_count,
                   enum writeset_key_type type) {
    struct key_trail *previous = builder->previous, *current = builder->current;
    size_t common = count_common_parts(previous, parts, part_count), start = common;
    if (common > 0) {
        enum writeset_key_type stored = (enum writeset_key_type)previous->strengths[common - 1];
        if (stored == WRITESET_KEY_EXCLUSIVE) return 0;
        if (common == part_count) {
            if (type <= stored) return 0;
            start = common - 1;
        }
    }
    for (size_t i = 0; i < start; i++) {
        current->states[i] = previous->states[i];
        current->strengths[i] = previous->strengths[i];
    }
    for (size_t i = start; i < part_count; i++) {
        bool is_leaf = i + 1 == part_count;
        if (i > 0)
            current->states[i] = current->states[i - 1];
        else
            xb_murmur128_init(&current->states[i]);
        key_hash_part(&current->states[i], &parts[i]);
        int rc = walk_prefix(builder, parts, i + 1, is_leaf, is_leaf ? type : WRITESET_KEY_REFERENCE);
        if (rc <= 0) return rc;
    }
    return remember_key(builder, parts, part_count);
}

int writeset_builder_add_key(struct writeset_builder *builder, const struct iovec *parts, size_t part_count,
                             enum writeset_key_type type) {
    static const uint8_t zero_level[1] = {0};
    if (builder->is_finished) return -EBUSY;
    if (builder->failure) return builder->failure;
    if (part_count > WRITESET_KEY_PARTS_MAX) return -E2BIG;
    if (type >= WRITESET_KEY_TYPES) return -EINVAL;
    if (part_count > 0) return add_key(builder, parts, part_count, type);
    if (builder->config.version < 6) return 0;
    struct iovec part = {.iov_base = (void *)(uintptr_t)zero_level, .iov_len = sizeof(zero_level)};
    return add_key(builder, &part, 1, type);
}

/* ---- data ---- */

int writeset_builder_add_data(struct writeset_builder *builder, enum writeset_data_kind kind, const void *data,
                              size_t size, bool is_copied) {
    if (builder->is_finished) return -EBUSY;
    if (builder->failure) return builder->failure;
    if (kind >= DATA_KINDS) return -EINVAL;
    if (size == 0) return 0;
    if (kind == WRITESET_DATA_ANNOTATION) builder->has_annotation = true;
    int rc = claim(builder, size);
    if (rc < 0) return rc;
    rc = data_list_add(&builder->sets[kind].list, data, size, is_copied);
    if (rc < 0) builder->failure = rc;
    return rc;
}

/* ---- finishing ---- */

static void add_part(struct writeset_builder *builder, const void *data, size_t size) {
    if (size == 0) return;
    builder->parts[builder->part_count++] = (struct iovec){.iov_base = (void *)(uintptr_t)data, .iov_len = size};
    builder->size += size;
}

static void finish_keys(struct writeset_builder *builder) {
    builder->key_head_size = 0;
    if (builder->key_count == 0) return;
    struct xb_murmur128 payload;
    size_t padding;
    xb_murmur128_init(&payload);
    xb_murmur128_update(&payload, builder->keys.bytes, builder->keys.used);
    builder->key_head_size = record_set_write_head(builder->head + WRITESET_HEADER_SIZE, builder->key_count,
                                                   builder->keys.used, &payload, &padding);
    assert(padding == 0); /* heads and key parts are multiples of 8 */
}

static void finish_data(struct data_set *set) {
    set->head_size = 0;
    if (set->list.size == 0) return;
    struct xb_murmur128 payload = set->list.hash;
    set->head_size = record_set_write_head(set->head, 1, set->list.size, &payload, &set->padding);
}

static int make_room_for_parts(struct writeset_builder *builder) {
    size_t count = 2;
    for (int i = 0; i < DATA_KINDS; i++) count += builder->sets[i].list.piece_count + 2;
    if (count <= PARTS_INLINE) return 0;
    struct iovec *parts = malloc(count * sizeof(*parts));
    if (!parts) return -ENOMEM;
    builder->parts = parts;
    return 0;
}

static void gather(struct writeset_builder *builder) {
    static const uint8_t zero[8];
    add_part(builder, builder->head, WRITESET_HEADER_SIZE + builder->key_head_size);
    add_part(builder, builder->keys.bytes, builder->keys.used);
    for (int i = 0; i < DATA_KINDS; i++) {
        struct data_set *set = &builder->sets[i];
        if (set->head_size == 0) continue;
        add_part(builder, set->head, set->head_size);
        for (size_t k = 0; k < set->list.piece_count; k++)
            add_part(builder, set->list.pieces[k].iov_base, set->list.pieces[k].iov_len);
        add_part(builder, zero, set->padding);
    }
}

/* Has the builder all that a write set may consist of? Sets beside the data set cannot stand alone (section 2). */
static int check_complete(struct writeset_builder *builder, struct xb_error *error) {
    if (builder->is_finished) return xb_fail(error, -EBUSY, "write set is finished already");
    if (builder->failure == -EMSGSIZE)
        return xb_fail(error, -EMSGSIZE, "write set exceeds the limit of %zu bytes (repl.max_ws_size)",
                       builder->config.size_max);
    if (builder->failure) return xb_fail(error, builder->failure, "no memory for the write set");
    if (builder->sets[WRITESET_DATA_ORDERED].list.size == 0 && builder->sets[WRITESET_DATA_UNORDERED].list.size > 0)
        return xb_fail(error, -EINVAL, "unordered data cannot be replicated without ordered data");
    return 0;
}

int writeset_builder_finish(struct writeset_builder *builder, const struct writeset_origin *origin, uint16_t flags,
                            struct xb_error *error) {
    int rc = check_complete(builder, error);
    if (rc < 0) return rc;
    if (make_room_for_parts(builder) < 0) return xb_fail(error, -ENOMEM, "no memory for the write set");
    /* An annotation is for people: without data it goes nowhere. */
    if (builder->sets[WRITESET_DATA_ORDERED].list.size == 0)
        data_list_clear(&builder->sets[WRITESET_DATA_ANNOTATION].list);
    finish_keys(builder);
    for (int i = 0; i < DATA_KINDS; i++) finish_data(&builder->sets[i]);
    struct writeset_header header = {
        .version = builder->config.version,
        .keys = builder->key_count > 0 ? builder->config.key_format : WRITESET_KEYS_NONE,
        .has_data = builder->sets[WRITESET_DATA_ORDERED].head_size > 0,
        .has_unordered = builder->sets[WRITESET_DATA_UNORDERED].head_size > 0,
        .has_annotation = builder->sets[WRITESET_DATA_ANNOTATION].head_size > 0,
        .flags = flags,
        .source = origin->source,
        .connection_id = origin->connection_id,
        .transaction_id = origin->transaction_id,
    };
    writeset_write_header(builder->head, &header);
    gather(builder);
    builder->is_finished = true;
    return 0;
}

void writeset_builder_stamp(struct writeset_builder *builder, int64_t last_seen, uint16_t pa_range,
                            int64_t timestamp_ns) {
    assert(builder->is_finished);
    uint16_t flags = (uint16_t)xb_load_le(builder->head + HEADER_FLAGS_OFFSET, 2);
    header_store_stamp(builder->head, flags, pa_range, last_seen);
    xb_store_le(builder->head + HEADER_TIMESTAMP_OFFSET, (uint64_t)timestamp_ns, 8);
    header_seal(builder->head, WRITESET_HEADER_SIZE);
}

const struct iovec *writeset_builder_parts(const struct writeset_builder *builder, size_t *part_count) {
    *part_count = builder->part_count;
    return builder->parts;
}

size_t writeset_builder_size(const struct writeset_builder *builder) {
    return builder->size;
}

struct writeset_keys writeset_builder_keys(const struct writeset_builder *builder) {
    return (struct writeset_keys){.records = builder->keys.bytes,
                                  .size = builder->keys.used,
                                  .count = builder->key_count,
                                  .version = builder->config.version};
}

void writeset_builder_get_stats(const struct writeset_builder *builder, struct writeset_builder_stats *stats) {
    const struct data_set *sets = builder->sets;
    *stats = (struct writeset_builder_stats){.key_count = builder->key_count};
    stats->key_bytes = builder->keys.used;
    stats->data_bytes = sets[WRITESET_DATA_ORDERED].list.size;
    stats->other_bytes = sets[WRITESET_DATA_UNORDERED].list.size + sets[WRITESET_DATA_ANNOTATION].list.size;
    if (!builder->is_finished) return;
    stats->key_bytes += builder->key_head_size;
    stats->data_bytes += sets[WRITESET_DATA_ORDERED].head_size;
    stats->other_bytes += sets[WRITESET_DATA_UNORDERED].head_size + sets[WRITESET_DATA_ANNOTATION].head_size;
}
