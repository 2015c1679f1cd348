/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Short ways to make write sets and certify them. */
#ifndef XB_TESTS_UNIT_CERTIFY_SUPPORT_H
#define XB_TESTS_UNIT_CERTIFY_SUPPORT_H

#include "certify/certify.h"
#include "unit/writeset/support.h"

#define TRX (WRITESET_COMMIT | WRITESET_BEGIN)
#define TOI_WHOLE (WRITESET_TOI | WRITESET_COMMIT | WRITESET_BEGIN)

static inline struct xb_uuid node_uuid(int node) {
    return (struct xb_uuid){.bytes = {(uint8_t)node, 0xee}};
}

struct made {
    uint8_t *bytes;
    struct writeset ws;
};

static inline int type_named(const char *name) {
    static const char *const types[] = {"SH", "RE", "UP", "EX"};
    for (int i = 0; i < 4; i++)
        if (strncmp(types[i], name, 2) == 0) return i;
    fail_msg("no key type %s", name);
    return -1;
}

/* keys: "EX t/a/1, RE u" or ""; "0" is the zero-level key as RE. Each key goes through its own builder rule. */
static inline struct made make_with(enum writeset_key_format format, int version, int node, int64_t last_seen,
                                    unsigned flags, const char *keys, const void *data, size_t data_size) {
    struct writeset_builder_config config = builder_config(format);
    config.version = version < 5 ? 5 : version;
    struct writeset_builder *builder = writeset_builder_new(&config);
    for (const char *at = keys; *at;) {
        char text[64];
        size_t size = strcspn(at, ",");
        snprintf(text, sizeof(text), "%.*s", (int)size, at);
        at += size;
        at += strspn(at, ", ");
        int rc = text[0] == '0' ? writeset_builder_add_key(builder, NULL, 0, WRITESET_KEY_REFERENCE)
                                : add_text_key(builder, text + 3, (enum writeset_key_type)type_named(text));
        assert_int_equal(rc, 0);
    }
    if (data_size > 0) writeset_builder_add_data(builder, WRITESET_DATA_ORDERED, data, data_size, true);
    struct writeset_header header = {.version = version,
                                     .flags = (uint16_t)flags,
                                     .pa_range = WRITESET_PA_RANGE_MAX,
                                     .seqno = last_seen,
                                     .source = node_uuid(node),
                                     .transaction_id = 1};
    size_t size;
    struct made made = {.bytes = build(builder, &header, &size)};
    made.ws = read_ok(made.bytes, size);
    made.ws.header.version = made.ws.keys.version = version;
    writeset_builder_free(builder);
    return made;
}

static inline struct made make(int node, int64_t last_seen, unsigned flags, const char *keys) {
    return make_with(WRITESET_FLAT8, 6, node, last_seen, flags, keys, NULL, 0);
}

/* A context at position 0 with version 6. */
static inline struct certify *certify_at(int64_t position) {
    struct certify_config config = {.hash_secret = {0xabcdef, 0x1357}, .is_optimistic_pa = true};
    struct certify *certify = certify_new(&config, NULL);
    assert_non_null(certify);
    assert_int_equal(certify_assign_position(certify, position, 6), 0);
    return certify;
}

static inline struct certify_result certify_ws(struct certify *certify, const struct writeset *ws, int64_t seqno,
                                               enum certify_source source) {
    struct certify_result result;
    struct xb_error error = {0};
    if (certify_writeset(certify, ws, seqno, source, &result, &error) != 0) fail_msg("%s", error.text);
    assert_true(result.depends < seqno);
    assert_int_equal(result.is_passed, result.reason == CERTIFY_OK);
    return result;
}

/* Makes, certifies at the next position, frees. */
static inline struct certify_result put(struct certify *certify, int node, int64_t last_seen, unsigned flags,
                                        const char *keys) {
    struct made made = make(node, last_seen, flags, keys);
    struct certify_result result = certify_ws(certify, &made.ws, certify_position(certify) + 1, CERTIFY_FROM_GROUP);
    free(made.bytes);
    return result;
}

static inline struct certify_stats stats_of(const struct certify *certify) {
    struct certify_stats stats;
    certify_get_stats(certify, &stats);
    return stats;
}

#endif
