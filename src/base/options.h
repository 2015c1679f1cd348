/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Provider options: one table that knows each option's type, bounds, default, run-time behaviour and help (spec 09),
 * and a store of values with the grammar of `wsrep_provider_options`.
 *
 * Threads: the store has a lock of its own; every function may be called from any thread.
 */
#ifndef XB_BASE_OPTIONS_H
#define XB_BASE_OPTIONS_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum xb_option_type {
    XB_OPTION_STRING,
    XB_OPTION_BOOL,
    XB_OPTION_INTEGER,        /* plain decimal (spec 09 type N) */
    XB_OPTION_INTEGER_SUFFIX, /* with K, M, G, T, hex, octal (type I) */
    XB_OPTION_AUTO_SIZE,      /* the same, or "auto" */
    XB_OPTION_MASK,           /* hexadecimal (type H) */
    XB_OPTION_DOUBLE,
    XB_OPTION_PERIOD /* ISO 8601 or plain seconds (type P) */
};

enum xb_option_dynamic {
    XB_OPTION_FIXED,   /* not changeable at run time */
    XB_OPTION_STORED,  /* accepted and shown, effective at the next start */
    XB_OPTION_DYNAMIC, /* changeable, takes effect at once */
    XB_OPTION_TRIGGER  /* does something when set, is not stored */
};

enum xb_option_flags {
    XB_FLAG_DEPRECATED = 1,
    XB_FLAG_READ_ONLY = 2,
    XB_FLAG_BOOL = 4,
    XB_FLAG_INTEGER = 8,
    XB_FLAG_DOUBLE = 16
};

struct xb_option_definition {
    const char *name;
    const char *default_text; /* NULL: no value by default, not shown */
    enum xb_option_type type;
    enum xb_option_dynamic dynamic;
    uint8_t config_flags; /* enum xb_option_flags: as the config service reports it (spec 09 section 5) */
    bool is_hidden;
    double low, high; /* numeric bounds, inclusive; low > high: none. Periods in seconds */
    const char *help;
};

/* The table, in ascending order of names. */
extern const struct xb_option_definition xb_option_table[];
extern const size_t xb_option_count;
const struct xb_option_definition *xb_option_find(const char *name); /* NULL: unknown */

/* Values. -> 0 or -EINVAL (not parsable), -ERANGE. */
int xb_parse_bool(const char *text, bool *value);
int xb_parse_integer(const char *text, bool with_suffix, int64_t *value);
int xb_parse_double(const char *text, double *value);
int xb_parse_period(const char *text, int64_t *value_ns);
#define XB_PERIOD_TEXT_SIZE 64
const char *xb_format_period(int64_t value_ns, char text[XB_PERIOD_TEXT_SIZE]); /* can be read back */

struct xb_options;
struct xb_options *xb_options_new(void); /* all defaults; NULL: no memory */
void xb_options_free(struct xb_options *options);

/*
 * Splits "k=v;k=v" and calls visit for each pair in order, until it returns non-zero.
 * -> 0, visit's result, or -EINVAL with *error for bad grammar (texts of 09 section 1.2).
 */
int xb_options_split(const char *text, int (*visit)(void *ctx, const char *key, const char *value), void *ctx,
                     struct xb_error *error);
/* Start: parses the string, checks every name, type and bound, stores. -> 0 or -EINVAL with *error that names all
 * bad ones. */
int xb_options_start(struct xb_options *options, const char *text, struct xb_error *error);
/* Checks one value against the table without storing: -> 0, -ENOENT unknown name, -EINVAL, -ERANGE. */
int xb_options_check(const char *name, const char *value, struct xb_error *error);

/* Stores a text as it will be shown; NULL takes the value away. -> 0, -ENOENT, -ENOMEM */
int xb_options_put(struct xb_options *options, const char *name, const char *text);
/* Copies the shown text. -> length, or -ENOENT if the option has no value (text is then ""). */
int xb_options_text(struct xb_options *options, const char *name, char *text, size_t size);
/* The same, whatever its length. -> malloc'ed text, NULL: no value, or no memory */
char *xb_options_copy(struct xb_options *options, const char *name);
/* Is this what is shown? */
bool xb_options_is(struct xb_options *options, const char *name, const char *text);
/* Typed values. A missing value reads as false, 0, 0.0. */
bool xb_options_bool(struct xb_options *options, const char *name);
int64_t xb_options_integer(struct xb_options *options, const char *name);
double xb_options_double(struct xb_options *options, const char *name);
int64_t xb_options_period_ns(struct xb_options *options, const char *name);

/* "key = value; key = value; " in ascending order, for wsrep_provider_options. -> malloc'ed text, NULL: no memory */
char *xb_options_show(struct xb_options *options);

#endif
