/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Writes JSON to a stream, item by item; escapes what must be escaped, and replaces bytes that are not UTF-8.
 * key is NULL inside arrays and at the top.
 */
#ifndef XB_CLI_JSON_H
#define XB_CLI_JSON_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct json {
    FILE *to;
    bool needs_comma;
};

void json_open(struct json *json, const char *key, char bracket);      /* '{' or '[' */
void json_close(struct json *json, char bracket);                      /* '}' or ']' */
void json_text(struct json *json, const char *key, const char *value); /* NULL: null */
void json_number(struct json *json, const char *key, int64_t value);
void json_bool(struct json *json, const char *key, bool value);

#endif
