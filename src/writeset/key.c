/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Key parts on the wire (spec 06 sections 6.2 to 6.4): hash, reader, text. */
#include "writeset/writeset.h"

#include "base/bytes.h"
#include "writeset/key.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const char *const format_names[] = {"EMPTY", "FLAT8", "FLAT8A", "FLAT16", "FLAT16A"};

int writeset_key_format_parse(const char *name) {
    for (int format = WRITESET_FLAT8; format <= WRITESET_FLAT16A; format++)
        if (strcasecmp(name, format_names[format]) == 0) return format;
    return -EINVAL;
}

const char *writeset_key_format_name(enum writeset_key_format format) {
    return format <= WRITESET_FLAT16A ? format_names[format] : "?";
}

const char *writeset_key_type_name(enum writeset_key_type type) {
    static const char *const names[WRITESET_KEY_TYPES] = {"SH", "RE", "UP", "EX"};
    return type < WRITESET_KEY_TYPES ? names[type] : "?";
}

void key_hash_part(struct xb_murmur128 *state, const struct iovec *part) {
    uint8_t whole[64];
    bool is_small = part->iov_len <= sizeof(whole) - 4;
    xb_store_le(whole, part->iov_len, 4);
    if (is_small && part->iov_len > 0) memcpy(whole + 4, part->iov_base, part->iov_len);
    xb_murmur128_update(state, whole, is_small ? part->iov_len + 4 : 4);
    if (!is_small) xb_murmur128_update(state, part->iov_base, part->iov_len);
}

struct xb_hash128 writeset_key_hash(const struct iovec *parts, size_t part_count) {
    struct xb_murmur128 state;
    xb_murmur128_init(&state);
    for (size_t i = 0; i < part_count; i++) key_hash_part(&state, &parts[i]);
    return xb_murmur128_final(&state);
}

/* Section 6.4: what the two low bits mean to the version that wrote them. -> type or -1 */
static int type_of_prefix(unsigned prefix, int version) {
    static const int8_t types[2][4] = {
        {WRITESET_KEY_SHARED, WRITESET_KEY_EXCLUSIVE, -1, -1},                     /* version 3 */
        {WRITESET_KEY_SHARED, WRITESET_KEY_REFERENCE, WRITESET_KEY_EXCLUSIVE, -1}, /* version 4 */
    };
    return version >= 5 ? (int)prefix : types[version - 3][prefix];
}

int writeset_next_key_of_any_kind(struct writeset_key_cursor *cursor, struct writeset_key *key) {
    if (cursor->left == 0) return 0;
    struct xb_reader r = xb_reader_init(cursor->next, (size_t)(cursor->end - cursor->next));
    key->bytes = cursor->next;
    uint64_t low = xb_read_u64(&r);
    unsigned format = low >> KEY_FORMAT_SHIFT & 7;
    int type = type_of_prefix(low & KEY_PREFIX_MASK, cursor->version);
    if (format < WRITESET_FLAT8 || format > WRITESET_FLAT16A || type < 0) return -EPROTO;
    key->type = (enum writeset_key_type)type;
    key->format = (enum writeset_key_format)format;
    key->is_wide = key_format_is_wide(key->format);
    key->id_low = low & KEY_ID_MASK;
    key->id_high = key->is_wide ? xb_read_u64(&r) : 0;
    key->annotation = NULL;
    key->annotation_size = 0;
    if (key_format_is_annotated(key->format)) {
        /* Its length counts the two bytes of the length itself. */
        uint16_t total = xb_read_u16(&r);
        if (total < KEY_ANNOTATION_LENGTH_SIZE) return -EPROTO;
        key->annotation_size = total - KEY_ANNOTATION_LENGTH_SIZE;
        key->annotation = xb_read_bytes(&r, key->annotation_size);
    }
    if (!xb_reader_ok(&r)) return -EPROTO;
    cursor->next += r.used;
    cursor->left--;
    return 1;
}

/* Parts as text between slashes, unprintable bytes as dots. A zero length byte may be padding: the end. */
static void format_annotation(const struct writeset_key *key, char *text, size_t size) {
    size_t used = 0;
    for (size_t at = 0; at < key->annotation_size && key->annotation[at] > 0;) {
        size_t n = key->annotation[at++];
        if (used + 2 < size) text[used++] = '/';
        for (; n > 0 && at < key->annotation_size; n--, at++) {
            uint8_t byte = key->annotation[at];
            if (used + 2 < size) text[used++] = isprint(byte) && byte < 0x80 ? (char)byte : '.';
        }
    }
    text[used] = '\0';
}

const char *writeset_key_format_text(const struct writeset_key *key, char text[WRITESET_KEY_TEXT_SIZE]) {
    char hex[33] = "", parts[WRITESET_KEY_TEXT_SIZE - 64] = "";
    size_t size = key->is_wide ? 16 : 8;
    for (size_t i = 0; i < size; i++) snprintf(hex + 2 * i, 3, "%02x", key->bytes[i]);
    if (key->annotation) format_annotation(key, parts, sizeof(parts));
    snprintf(text, WRITESET_KEY_TEXT_SIZE, "%s %s %s%s%s", writeset_key_type_name(key->type),
             writeset_key_format_name(key->format), hex, parts[0] ? " " : "", parts);
    return text;
}
