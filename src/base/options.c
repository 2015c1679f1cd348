/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The store of option values and the grammar of the option string (spec 09 section 1). */
#include "base/options.h"

#include "base/clock.h"

#include <ctype.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Of numbers, periods and booleans; a longer one is refused. */
#define NUMBER_TEXT_SIZE 128

struct value {
    char *text; /* NULL: no value */
};

struct xb_options {
    pthread_mutex_t lock;
    struct value values[]; /* one for each row of xb_option_table */
};

struct xb_options *xb_options_new(void) {
    struct xb_options *options = calloc(1, sizeof(*options) + xb_option_count * sizeof(struct value));
    if (!options) return NULL;
    pthread_mutex_init(&options->lock, NULL);
    for (size_t i = 0; i < xb_option_count; i++) {
        const char *text = xb_option_table[i].default_text;
        if (text && !(options->values[i].text = strdup(text))) {
            xb_options_free(options);
            return NULL;
        }
    }
    return options;
}

void xb_options_free(struct xb_options *options) {
    if (!options) return;
    for (size_t i = 0; i < xb_option_count; i++) free(options->values[i].text);
    pthread_mutex_destroy(&options->lock);
    free(options);
}

static char *trim(char *text) {
    while (isspace((unsigned char)*text)) text++;
    char *end = text + strlen(text);
    while (end > text && isspace((unsigned char)end[-1])) *--end = 0;
    return text;
}

/* The next piece of *rest up to an unescaped separator; takes the escapes of separators away. */
static char *next_piece(char **rest, char separator) {
    char *piece = *rest, *from = piece, *to = piece;
    while (*from && *from != separator) {
        if (*from == '\\' && from[1] == separator) from++;
        *to++ = *from++;
    }
    *rest = *from ? from + 1 : NULL;
    *to = 0;
    return piece;
}

static char *find_separator(char *text, char separator) {
    for (; *text && *text != separator; text++)
        if (*text == '\\' && text[1] == separator) text++;
    return *text ? text : NULL;
}

static int split_pair(char *element, size_t position, char **key, char **value, struct xb_error *error) {
    char *equals = find_separator(element, '=');
    if (!equals)
        return xb_fail(error, -EINVAL, "Key without value: '%s' at position '%zu' in parameter list.", element,
                       position);
    char *rest = equals + 1;
    if (find_separator(rest, '=')) {
        *equals = 0;
        return xb_fail(error, -EINVAL, "More than one value for key '%s' at '%s=%s' in parameter list.", trim(element),
                       element, equals + 1);
    }
    *equals = 0;
    *key = trim(element);
    *value = trim(next_piece(&rest, '='));
    if (!**key) return xb_fail(error, -EINVAL, "Empty key at '=%s' in parameter list.", *value);
    return 0;
}

int xb_options_split(const char *text, int (*visit)(void *ctx, const char *key, const char *value), void *ctx,
                     struct xb_error *error) {
    char *copy = strdup(text ? text : "");
    if (!copy) return xb_fail(error, -ENOMEM, "no memory for the option string");
    int result = 0;
    size_t position = 0;
    for (char *rest = copy; rest && result == 0; position++) {
        char *element = trim(next_piece(&rest, ';'));
        char *key = NULL, *value = NULL;
        if (!*element) continue;
        result = split_pair(element, position, &key, &value, error);
        if (result == 0) result = visit(ctx, key, value);
    }
    free(copy);
    return result;
}

static bool is_out_of_bounds(const struct xb_option_definition *option, double value) {
    return option->low <= option->high && (value < option->low || value > option->high);
}

/* -> 0 and the number, if it is one, that bounds apply to */
static int parse_value(const struct xb_option_definition *option, const char *text, double *number) {
    bool is_true;
    int64_t integer = 0;
    int result = 0;
    *number = 0;
    if (option->type != XB_OPTION_STRING && strlen(text) >= NUMBER_TEXT_SIZE) return -EINVAL;
    switch (option->type) {
    case XB_OPTION_STRING:
        return 0;
    case XB_OPTION_BOOL:
        return xb_parse_bool(text, &is_true);
    case XB_OPTION_AUTO_SIZE:
        if (!strcmp(text, "auto")) return 0;
        result = xb_parse_integer(text, true, &integer);
        *number = (double)integer;
        return result;
    case XB_OPTION_INTEGER:
    case XB_OPTION_INTEGER_SUFFIX:
        result = xb_parse_integer(text, option->type == XB_OPTION_INTEGER_SUFFIX, &integer);
        *number = (double)integer;
        return result;
    case XB_OPTION_MASK: {
        char *end;
        strtoul(text, &end, 16);
        return *text && !*end ? 0 : -EINVAL;
    }
    case XB_OPTION_DOUBLE:
        return xb_parse_double(text, number);
    case XB_OPTION_PERIOD:
        if (!*text && !strncmp(option->name, "evs.", 4))
            return -EINVAL; /* elsewhere it is 0, as in the stock provider */
        result = xb_parse_period(text, &integer);
        *number = (double)integer / XB_SECOND;
        return result;
    }
    return -EINVAL;
}

static const char *type_name(enum xb_option_type type) {
    static const char *const names[] = {"text",
                                        "a boolean (yes or no)",
                                        "an integer",
                                        "an integer with optional suffix K, M, G or T",
                                        "auto, or an integer with optional suffix K, M, G or T",
                                        "a hexadecimal mask",
                                        "a number",
                                        "a period like PT5S"};
    return names[type];
}

int xb_options_check(const char *name, const char *value, struct xb_error *error) {
    const struct xb_option_definition *option = xb_option_find(name);
    if (!option) return xb_fail(error, -ENOENT, "Unrecognized parameter '%s'", name);
    double number;
    int result = parse_value(option, value, &number);
    if (result == -EINVAL)
        return xb_fail(error, result, "Bad value '%s' for parameter '%s': it must be %s", value, name,
                       type_name(option->type));
    if (result == -ERANGE || (option->type != XB_OPTION_STRING && is_out_of_bounds(option, number)))
        return xb_fail(error, -ERANGE, "parameter '%s' value %s is out of range [%.10g,%.10g]", name, value,
                       option->low, option->high);
    return result;
}

struct start {
    struct xb_options *options;
    struct xb_error *error;
    bool has_failed;
};

static int start_one(void *ctx, const char *key, const char *value) {
    struct start *start = ctx;
    struct xb_error one = {0};
    int result = xb_options_check(key, value, &one);
    if (result == 0) return xb_options_put(start->options, key, value);
    if (start->error) { /* collect all of them */
        size_t used = start->has_failed ? strlen(start->error->text) : 0;
        snprintf(start->error->text + used, sizeof(start->error->text) - used, "%s%s", used ? "; " : "", one.text);
        start->error->code = -EINVAL;
    }
    start->has_failed = true;
    return 0;
}

int xb_options_start(struct xb_options *options, const char *text, struct xb_error *error) {
    struct start start = {.options = options, .error = error};
    int result = xb_options_split(text, start_one, &start, error);
    return result ? result : start.has_failed ? -EINVAL : 0;
}

static struct value *find_value(struct xb_options *options, const char *name) {
    const struct xb_option_definition *option = xb_option_find(name);
    return option ? &options->values[option - xb_option_table] : NULL;
}

int xb_options_put(struct xb_options *options, const char *name, const char *text) {
    struct value *value = find_value(options, name);
    if (!value) return -ENOENT;
    char *copy = text ? strdup(text) : NULL;
    if (text && !copy) return -ENOMEM;
    pthread_mutex_lock(&options->lock);
    char *old = value->text;
    value->text = copy;
    pthread_mutex_unlock(&options->lock);
    free(old);
    return 0;
}

int xb_options_text(struct xb_options *options, const char *name, char *text, size_t size) {
    struct value *value = find_value(options, name);
    int length = -ENOENT;
    if (size) *text = 0;
    pthread_mutex_lock(&options->lock);
    if (value && value->text) length = snprintf(text, size, "%s", value->text);
    pthread_mutex_unlock(&options->lock);
    return length;
}

char *xb_options_copy(struct xb_options *options, const char *name) {
    struct value *value = find_value(options, name);
    pthread_mutex_lock(&options->lock);
    char *copy = value && value->text ? strdup(value->text) : NULL;
    pthread_mutex_unlock(&options->lock);
    return copy;
}

bool xb_options_is(struct xb_options *options, const char *name, const char *text) {
    struct value *value = find_value(options, name);
    pthread_mutex_lock(&options->lock);
    bool is_equal = value && value->text && !strcmp(value->text, text);
    pthread_mutex_unlock(&options->lock);
    return is_equal;
}

bool xb_options_bool(struct xb_options *options, const char *name) {
    char text[NUMBER_TEXT_SIZE];
    bool value = false;
    if (xb_options_text(options, name, text, sizeof(text)) < 0 || xb_parse_bool(text, &value)) return false;
    return value;
}

int64_t xb_options_integer(struct xb_options *options, const char *name) {
    char text[NUMBER_TEXT_SIZE];
    int64_t value = 0;
    const struct xb_option_definition *option = xb_option_find(name);
    if (!option || xb_options_text(options, name, text, sizeof(text)) < 0) return 0;
    if (option->type == XB_OPTION_MASK) return (int64_t)strtoul(text, NULL, 16);
    return xb_parse_integer(text, option->type == XB_OPTION_INTEGER_SUFFIX, &value) ? 0 : value;
}

double xb_options_double(struct xb_options *options, const char *name) {
    char text[NUMBER_TEXT_SIZE];
    double value = 0;
    if (xb_options_text(options, name, text, sizeof(text)) < 0 || xb_parse_double(text, &value)) return 0;
    return value;
}

int64_t xb_options_period_ns(struct xb_options *options, const char *name) {
    char text[NUMBER_TEXT_SIZE];
    int64_t value = 0;
    if (xb_options_text(options, name, text, sizeof(text)) < 0 || xb_parse_period(text, &value)) return 0;
    return value;
}

/* So that it can be read back: separators are escaped, and a last backslash must not escape the separator behind it. */
static void show_pair(FILE *stream, const char *name, const char *value) {
    fprintf(stream, "%s = ", name);
    for (const char *c = value; *c; c++) {
        if (*c == ';' || *c == '=') fputc('\\', stream);
        fputc(*c, stream);
    }
    fputs(*value && value[strlen(value) - 1] == '\\' ? " ; " : "; ", stream);
}

char *xb_options_show(struct xb_options *options) {
    char *shown = NULL;
    size_t size = 0;
    FILE *stream = open_memstream(&shown, &size);
    if (!stream) return NULL;
    pthread_mutex_lock(&options->lock);
    for (size_t i = 0; i < xb_option_count; i++)
        if (options->values[i].text) show_pair(stream, xb_option_table[i].name, options->values[i].text);
    pthread_mutex_unlock(&options->lock);
    if (fclose(stream)) {
        free(shown);
        return NULL;
    }
    return shown;
}
