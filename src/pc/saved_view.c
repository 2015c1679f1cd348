/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The text of gvwstate.dat (spec 04 section 13.1): lines of words, the first word says what the line is; lines with an
 * unknown first word are ignored. Ours has two lines that the stock provider skips: one says that the node was a
 * joiner, and the last is a checksum of everything before it. A file of the stock provider has neither and is accepted.
 * Everything that could make two nodes use one UUID or trust half a file is refused (section 17.4).
 */
#include "base/hash.h"
#include "pc/pc_internal.h"

#include <stdio.h>
#include <stdlib.h>

#define SAVED_TEXT_MAX 65536
#define CHECKSUM_WORD "#crc32c:"
#define LACKS_STATE_WORD "#joining"

/* What stands on the lines so far. */
struct parse {
    struct pc_saved_view *saved;
    struct xb_error *error;
    bool has_uuid, has_begin, has_end, has_view;
};

static bool parse_number(const char **text, uint64_t max, uint64_t *value) {
    if (**text < '0' || **text > '9') return false;
    *value = 0;
    for (; **text >= '0' && **text <= '9'; (*text)++) {
        *value = *value * 10 + (uint64_t)(**text - '0');
        if (*value > max) return false;
    }
    return true;
}

static bool parse_space(const char **text) {
    if (**text != ' ') return false;
    while (**text == ' ') (*text)++;
    return true;
}

static bool parse_uuid(const char **text, struct xb_uuid *uuid) {
    if (strnlen(*text, XB_UUID_TEXT_SIZE) < XB_UUID_TEXT_SIZE - 1 || xb_uuid_parse(uuid, *text)) return false;
    *text += XB_UUID_TEXT_SIZE - 1;
    return true;
}

static bool parse_end(const char *text) {
    while (*text == ' ' || *text == '\r') text++;
    return *text == 0;
}

static bool parse_view_id(const char *text, struct view_id *id) {
    uint64_t type, seq;
    if (!parse_number(&text, VIEW_PRIM, &type) || !parse_space(&text) || !parse_uuid(&text, &id->uuid) ||
        !parse_space(&text) || !parse_number(&text, PC_SAVED_SEQ_MAX, &seq) || !parse_end(text))
        return false;
    id->type = (enum view_type)type;
    id->seq = (uint32_t)seq;
    return type == VIEW_PRIM && seq > 0;
}

/* Members are kept in ascending order, whatever the order in the file. */
static bool parse_member(const char *text, struct pc_saved_view *saved) {
    struct pc_member member;
    uint64_t segment;
    if (!parse_uuid(&text, &member.uuid) || !parse_space(&text) || !parse_number(&text, UINT32_MAX, &segment) ||
        !parse_end(text) || saved->member_count == PC_MEMBERS_MAX)
        return false;
    member.segment = (uint8_t)segment;
    size_t i = saved->member_count;
    for (; i > 0; i--) {
        int order = xb_uuid_compare(&saved->members[i - 1].uuid, &member.uuid);
        if (order == 0) return false;
        if (order < 0) break;
        saved->members[i] = saved->members[i - 1];
    }
    saved->members[i] = member;
    saved->member_count++;
    return true;
}

/* -> what follows the word, or NULL if the line begins with another one */
static const char *after_word(const char *line, const char *word) {
    size_t length = strlen(word);
    if (strncmp(line, word, length)) return NULL;
    if (line[length] == ' ') return line + length + strspn(line + length, " ");
    return parse_end(line + length) ? line + length : NULL;
}

static bool parse_line(struct parse *parse, const char *line) {
    const char *rest;
    uint64_t mark;
    if ((rest = after_word(line, "my_uuid:"))) {
        parse->has_uuid =
            parse_uuid(&rest, &parse->saved->my_uuid) && parse_end(rest) && !xb_uuid_is_nil(&parse->saved->my_uuid);
        return parse->has_uuid;
    }
    if (after_word(line, "#vwbeg")) return parse->has_begin = true;
    if (after_word(line, "#vwend")) return parse->has_end = true;
    if (after_word(line, LACKS_STATE_WORD)) return parse->saved->lacks_state = true;
    if ((rest = after_word(line, "view_id:"))) return parse->has_view = parse_view_id(rest, &parse->saved->id);
    if ((rest = after_word(line, "bootstrap:"))) {
        if (!parse_number(&rest, 1, &mark) || !parse_end(rest)) return false;
        parse->saved->is_bootstrap = mark;
        return true;
    }
    if ((rest = after_word(line, "member:"))) return parse_member(rest, parse->saved);
    return true;
}

static bool checksum_is_good(const char *text, const char *line) {
    const char *rest = after_word(line, CHECKSUM_WORD);
    if (!rest) return true;
    char expected[9];
    snprintf(expected, sizeof(expected), "%08x", xb_crc32c(0, text, (size_t)(line - text)));
    return strncmp(rest, expected, 8) == 0 && parse_end(rest + 8);
}

static int check_complete(const struct parse *parse) {
    if (!parse->has_uuid) return xb_fail(parse->error, -EINVAL, "no my_uuid");
    if (!parse->has_begin || !parse->has_view || !parse->has_end)
        return xb_fail(parse->error, -EINVAL, "the view is missing or cut off");
    for (size_t i = 0; i < parse->saved->member_count; i++)
        if (xb_uuid_is_same_node(&parse->saved->members[i].uuid, &parse->saved->my_uuid)) return 0;
    return xb_fail(parse->error, -EINVAL, "%s is not a member of its view", XB_UUID_TEXT(&parse->saved->my_uuid));
}

/* text ends with NUL */
static int parse_lines(char *text, struct parse *parse) {
    size_t number = 0;
    for (char *line = text; *line;) {
        number++;
        char *end = strchr(line, '\n');
        if (!end) return xb_fail(parse->error, -EINVAL, "line %zu is cut off", number);
        *end = 0;
        bool is_good = checksum_is_good(text, line) && parse_line(parse, line);
        *end = '\n';
        if (!is_good) return xb_fail(parse->error, -EINVAL, "line %zu is not valid", number);
        line = end + 1;
    }
    return check_complete(parse);
}

int pc_saved_view_parse(const char *text, size_t size, struct pc_saved_view *saved, struct xb_error *error) {
    memset(saved, 0, sizeof(*saved));
    if (size == 0) return xb_fail(error, -EINVAL, "empty");
    if (size > SAVED_TEXT_MAX) return xb_fail(error, -EFBIG, "longer than %d bytes", SAVED_TEXT_MAX);
    if (memchr(text, 0, size)) return xb_fail(error, -EINVAL, "not a text");
    char *copy = strndup(text, size);
    if (!copy) return xb_fail(error, -ENOMEM, "no memory");
    struct parse parse = {.saved = saved, .error = error};
    int result = parse_lines(copy, &parse);
    free(copy);
    return result;
}

int pc_saved_view_format(const struct pc_saved_view *saved, char *text, size_t size) {
    size_t used = 0;
#define ADD(...)                                                                                                       \
    do {                                                                                                               \
        int length = snprintf(text + used, size - used, __VA_ARGS__);                                                  \
        if (length < 0 || (size_t)length >= size - used) return -ENOBUFS;                                              \
        used += (size_t)length;                                                                                        \
    } while (0)
    ADD("my_uuid: %s\n#vwbeg\n", XB_UUID_TEXT(&saved->my_uuid));
    ADD("view_id: %d %s %u\n", saved->id.type, XB_UUID_TEXT(&saved->id.uuid), saved->id.seq);
    ADD("bootstrap: %d\n", saved->is_bootstrap);
    for (size_t i = 0; i < saved->member_count; i++)
        ADD("member: %s %u\n", XB_UUID_TEXT(&saved->members[i].uuid), saved->members[i].segment);
    if (saved->lacks_state) ADD(LACKS_STATE_WORD "\n");
    ADD("#vwend\n");
    ADD(CHECKSUM_WORD " %08x\n", xb_crc32c(0, text, used));
#undef ADD
    return (int)used;
}
