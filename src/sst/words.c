/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Argument vectors: no text of the configuration or the network ever reaches a shell. */
#include "sst/words.h"

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void add_owned(struct words *words, char *text) {
    if (words->count + 2 > words->capacity) {
        size_t capacity = words->capacity ? words->capacity * 2 : 32;
        char **items = realloc(words->items, capacity * sizeof(*items));
        if (!items) {
            words->failed = -ENOMEM;
            free(text);
            return;
        }
        words->items = items;
        words->capacity = capacity;
    }
    if (!text) {
        words->failed = -ENOMEM;
        return;
    }
    words->items[words->count++] = text;
    words->items[words->count] = NULL;
}

void words_add(struct words *words, const char *text) {
    add_owned(words, strdup(text));
}

void words_addf(struct words *words, const char *format, ...) {
    char *text = NULL;
    va_list list;
    va_start(list, format);
    if (vasprintf(&text, format, list) < 0) text = NULL;
    va_end(list);
    add_owned(words, text);
}

void words_free(struct words *words) {
    for (size_t i = 0; i < words->count; i++) free(words->items[i]);
    free(words->items);
    *words = (struct words){0};
}

/* Copies one word without its quotes from *at to `to`. -> false: an unclosed quote or something for a shell */
static bool copy_word(const char **at, char *to) {
    char quote = 0;
    for (; **at && (quote || !strchr(" \t", **at)); ++*at) {
        char c = **at;
        if (quote ? c == quote : (c == '\'' || c == '"')) {
            quote = quote ? 0 : c;
        } else if (c == '\\' && quote != '\'' && (*at)[1]) {
            *to++ = *++*at;
        } else {
            if (quote != '\'' && strchr(quote ? "$`" : "|&;<>()$`*?~", c)) return false;
            *to++ = c;
        }
    }
    *to = '\0';
    return !quote;
}

int words_split(struct words *words, const char *what, const char *line, struct xb_error *error) {
    char *word = malloc(strlen(line) + 1);
    if (!word) return xb_fail(error, -ENOMEM, "no memory");
    int rc = 0;
    for (const char *at = line + strspn(line, " \t"); *at && rc == 0; at += strspn(at, " \t")) {
        if (copy_word(&at, word))
            words_add(words, word);
        else
            rc = xb_fail(error, -EINVAL,
                         "%s: '%s' needs a shell, but is started without one: name one program and its arguments, or "
                         "put the rest into a script",
                         what, line);
    }
    free(word);
    return rc ? rc : words->failed;
}
