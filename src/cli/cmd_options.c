/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xebec options: what wsrep_provider_options may hold, from the table that the provider itself reads. */
#include "cli/cli.h"
#include "cli/json.h"

#include "base/options.h"

#include <string.h>

struct listing {
    struct cli_common common;
    const char *part; /* of the names; NULL: all */
};

static error_t parse(int key, char *value, struct argp_state *state) {
    struct listing *listing = state->input;
    if (key != ARGP_KEY_ARG) return ARGP_ERR_UNKNOWN;
    if (state->arg_num) argp_error(state, "one part of a name is enough");
    listing->part = value;
    return 0;
}

static const char *when(enum xb_option_dynamic dynamic) {
    switch (dynamic) {
    case XB_OPTION_FIXED:
        return "at the start";
    case XB_OPTION_STORED:
        return "at any time, for the next start";
    case XB_OPTION_DYNAMIC:
        return "at any time";
    case XB_OPTION_TRIGGER:
        return "at any time, acts at once and is not kept";
    }
    return "?";
}

static void show(const struct xb_option_definition *option) {
    printf("%s", option->name);
    if (option->default_text) printf(" = %s", option->default_text);
    printf("\n    %s\n    set %s%s\n", option->help, when(option->dynamic),
           option->config_flags & XB_FLAG_DEPRECATED ? "; deprecated" : "");
}

static void put(const struct xb_option_definition *option, struct json *json) {
    json_open(json, option->name, '{');
    json_text(json, "default", option->default_text);
    json_text(json, "help", option->help);
    json_text(json, "set", when(option->dynamic));
    json_bool(json, "deprecated", option->config_flags & XB_FLAG_DEPRECATED);
    json_close(json, '}');
}

int cli_options(int argc, char **argv) {
    static struct listing listing;
    static const struct argp_option none[] = {{0}};
    struct json json = {stdout, false};
    size_t count = 0;
    cli_parse(
        none, parse, "[PART]",
        "Shows the options of wsrep_provider_options whose names contain PART, or all: the default, what each does, "
        "and when it can be set.",
        argc, argv, &listing.common, &listing);
    if (listing.common.is_json) json_open(&json, NULL, '{');
    for (size_t i = 0; i < xb_option_count; i++) {
        const struct xb_option_definition *option = &xb_option_table[i];
        if (listing.part && !strstr(option->name, listing.part)) continue;
        count++;
        if (listing.common.is_json)
            put(option, &json);
        else
            show(option);
    }
    if (listing.common.is_json) {
        json_close(&json, '}');
        putchar('\n');
    }
    return count ? CLI_GOOD : cli_trouble(CLI_USAGE, "no option has '%s' in its name", listing.part);
}
