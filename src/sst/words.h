/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Growing argument vectors, and commands of the configuration cut into words without a shell. Pure. */
#ifndef XB_SST_WORDS_H
#define XB_SST_WORDS_H

#include "base/error.h"

#include <stddef.h>

struct words {
    char **items; /* NULL-terminated once something was added */
    size_t count, capacity;
    int failed; /* -ENOMEM once an addition failed; it stays */
};

void words_add(struct words *words, const char *text);
void words_addf(struct words *words, const char *format, ...) __attribute__((format(printf, 2, 3)));
void words_free(struct words *words);
/* Adds the words of a command line: blanks part them, quotes and backslash protect. What only a shell could do (pipes,
 * variables, redirections) is refused. `what` names the setting. -> 0, -EINVAL or -ENOMEM with *error */
int words_split(struct words *words, const char *what, const char *line, struct xb_error *error);

#endif
