/* SPDX-License-Identifier: GPL-2.0-or-later */
/* JSON output. */
#include "cli/json.h"

#include <inttypes.h>
#include <stddef.h>

/* -> length of the UTF-8 sequence at s, 0 if there is none */
static size_t utf8_length(const unsigned char *s) {
    size_t length = *s < 0x80 ? 1 : *s >= 0xf0 && *s < 0xf5 ? 4 : *s >= 0xe0 ? 3 : *s >= 0xc2 ? 2 : 0;
    if (*s >= 0xf5) return 0;
    for (size_t i = 1; i < length; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0;
    }
    if (length == 3 && ((*s == 0xe0 && s[1] < 0xa0) || (*s == 0xed && s[1] >= 0xa0))) return 0;
    if (length == 4 && ((*s == 0xf0 && s[1] < 0x90) || (*s == 0xf4 && s[1] >= 0x90))) return 0;
    return length;
}

static void write_string(FILE *to, const char *value) {
    fputc('"', to);
    for (const unsigned char *s = (const unsigned char *)value; *s;) {
        size_t length = utf8_length(s);
        if (*s == '"' || *s == '\\')
            fprintf(to, "\\%c", *s);
        else if (*s < 0x20 || *s == 0x7f)
            fprintf(to, "\\u%04x", *s);
        else if (length == 0)
            fputs("\\ufffd", to);
        else
            fwrite(s, 1, length, to);
        s += length ? length : 1;
    }
    fputc('"', to);
}

static void begin(struct json *json, const char *key) {
    if (json->needs_comma) fputs(", ", json->to);
    json->needs_comma = true;
    if (!key) return;
    write_string(json->to, key);
    fputs(": ", json->to);
}

void json_open(struct json *json, const char *key, char bracket) {
    begin(json, key);
    fputc(bracket, json->to);
    json->needs_comma = false;
}

void json_close(struct json *json, char bracket) {
    fputc(bracket, json->to);
    json->needs_comma = true;
}

void json_text(struct json *json, const char *key, const char *value) {
    begin(json, key);
    if (value)
        write_string(json->to, value);
    else
        fputs("null", json->to);
}

void json_number(struct json *json, const char *key, int64_t value) {
    begin(json, key);
    fprintf(json->to, "%" PRId64, value);
}

void json_bool(struct json *json, const char *key, bool value) {
    begin(json, key);
    fputs(value ? "true" : "false", json->to);
}
