/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Parsing and printing of option values (spec 09 section 2). */
#include "base/options.h"

#include "base/clock.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define DAY_NS (24 * 3600 * XB_SECOND)

int xb_parse_bool(const char *text, bool *value) {
    static const char *const yes[] = {"1", "y", "on", "yes", "yep", "true", "sure", "yeah"};
    static const char *const no[] = {"0", "n", "no", "off", "none", "nope", "false"};
    for (size_t i = 0; i < sizeof(yes) / sizeof(*yes); i++) {
        if (strcasecmp(text, yes[i]) == 0) {
            *value = true;
            return 0;
        }
    }
    for (size_t i = 0; i < sizeof(no) / sizeof(*no); i++) {
        if (strcasecmp(text, no[i]) == 0) {
            *value = false;
            return 0;
        }
    }
    return -EINVAL;
}

static int suffix_shift(char c) {
    switch (toupper((unsigned char)c)) {
    case 'K':
        return 10;
    case 'M':
        return 20;
    case 'G':
        return 30;
    case 'T':
        return 40;
    default:
        return -1;
    }
}

int xb_parse_integer(const char *text, bool with_suffix, int64_t *value) {
    if (!*text || isspace((unsigned char)*text)) return -EINVAL;
    char *end;
    errno = 0;
    long long parsed = strtoll(text, &end, with_suffix ? 0 : 10);
    if (errno == ERANGE) return -ERANGE;
    if (end == text) return -EINVAL;
    if (*end && with_suffix && !end[1]) {
        int shift = suffix_shift(*end);
        if (shift < 0) return -EINVAL;
        long long scaled;
        if (__builtin_mul_overflow(parsed, 1ll << shift, &scaled)) return -ERANGE;
        *value = scaled;
        return 0;
    }
    if (*end) return -EINVAL;
    *value = parsed;
    return 0;
}

int xb_parse_double(const char *text, double *value) {
    if (!*text) return -EINVAL;
    char *end;
    double parsed = strtod(text, &end);
    if (end == text || *end || parsed != parsed) return -EINVAL;
    *value = parsed;
    return 0;
}

/* "12.345" -> 12 345 000 000 ns with unit one second. -> what follows the number, NULL if there is none. */
static const char *parse_number(const char *text, int64_t unit_ns, bool allow_fraction, int64_t *value_ns) {
    const char *c = text;
    int64_t whole = 0, fraction = 0, scale = unit_ns;
    int digits = 0;
    for (; isdigit((unsigned char)*c); c++, digits++)
        if (__builtin_mul_overflow(whole, 10, &whole) || __builtin_add_overflow(whole, *c - '0', &whole)) return NULL;
    if (*c == '.' && allow_fraction) {
        for (c++; isdigit((unsigned char)*c); c++, digits++) {
            if (scale % 10) return NULL; /* more than 9 decimals */
            scale /= 10;
            fraction += (*c - '0') * scale;
        }
    }
    if (!digits || __builtin_mul_overflow(whole, unit_ns, &whole) || __builtin_add_overflow(whole, fraction, value_ns))
        return NULL;
    return c;
}

/* ISO 8601 with years of 360 and months of 30 days; the T is optional, M before it is a month. */
static int parse_iso_period(const char *text, int64_t *value_ns) {
    static const char date_units[] = "YMD", time_units[] = "HMS";
    static const int64_t date_ns[] = {360 * DAY_NS, 30 * DAY_NS, DAY_NS};
    static const int64_t time_ns[] = {3600 * XB_SECOND, 60 * XB_SECOND, XB_SECOND};
    int64_t total = 0;
    int next = 0; /* index of the next unit allowed: 0..2 date, 3..5 time */
    for (const char *c = text + 1; *c;) {
        if (*c == 'T' && next <= 3) {
            next = 3;
            c++;
            continue;
        }
        size_t digits = strspn(c, "0123456789.");
        char unit = c[digits];
        const char *date = next < 3 && unit ? strchr(date_units + next, unit) : NULL;
        const char *time = !date && unit ? strchr(time_units + (next > 3 ? next - 3 : 0), unit) : NULL;
        if (!date && !time) return -EINVAL;
        int index = date ? (int)(date - date_units) : (int)(time - time_units);
        int64_t part;
        const char *after = parse_number(c, date ? date_ns[index] : time_ns[index], unit == 'S', &part);
        if (after != c + digits || __builtin_add_overflow(total, part, &total)) return -EINVAL;
        next = index + (date ? 1 : 4);
        c = after + 1;
    }
    *value_ns = total;
    return 0;
}

int xb_parse_period(const char *text, int64_t *value_ns) {
    if (*text == 'P') return parse_iso_period(text, value_ns);
    if (!*text) {
        *value_ns = 0;
        return 0;
    }
    const char *after = parse_number(text, XB_SECOND, true, value_ns);
    return after && !*after ? 0 : -EINVAL;
}

const char *xb_format_period(int64_t value_ns, char text[XB_PERIOD_TEXT_SIZE]) {
    static const struct {
        char name;
        int64_t ns;
        bool is_time;
    } units[] = {{'Y', 360 * DAY_NS, false},
                 {'M', 30 * DAY_NS, false},
                 {'D', DAY_NS, false},
                 {'H', 3600 * XB_SECOND, true},
                 {'M', 60 * XB_SECOND, true}};
    char *c = text + sprintf(text, "P");
    bool has_t = false;
    for (size_t i = 0; i < sizeof(units) / sizeof(*units); i++) {
        if (units[i].is_time && value_ns && !has_t) {
            *c++ = 'T';
            has_t = true;
        }
        if (value_ns >= units[i].ns) c += sprintf(c, "%" PRId64 "%c", value_ns / units[i].ns, units[i].name);
        value_ns %= units[i].ns;
    }
    if (value_ns) {
        c += sprintf(c, "%" PRId64, value_ns / XB_SECOND);
        if (value_ns % XB_SECOND) {
            c += sprintf(c, ".%09" PRId64, value_ns % XB_SECOND);
            while (c[-1] == '0') c--;
        }
        *c++ = 'S';
    }
    *c = 0;
    return text;
}
