/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xebec config: the my.cnf fragment of each node of an inventory. */
#include "cli/cli.h"
#include "cli/files.h"
#include "cli/fragment.h"
#include "cli/json.h"

#include <stdlib.h>
#include <string.h>

struct config {
    struct cli_common common;
    const char *inventory, *node, *output;
};

static const struct argp_option options[] = {
    {"output", 'o', "DIR", 0, "Write DIR/NODE.cnf for each node instead of showing them", 0},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state) {
    struct config *config = state->input;
    switch (key) {
    case 'o':
        config->output = value;
        return 0;
    case ARGP_KEY_ARG:
        if (state->arg_num > 1) argp_error(state, "an inventory and a node are enough");
        *(state->arg_num == 0 ? &config->inventory : &config->node) = value;
        return 0;
    case ARGP_KEY_END:
        if (!config->inventory) argp_error(state, "which inventory?");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int put(const struct config *config, const struct inventory_node *node, const char *text, struct json *json,
               struct xb_error *error) {
    char name[64];
    if (config->common.is_json) json_text(json, node->name, text);
    if (!config->output) {
        if (!config->common.is_json) fputs(text, stdout);
        return 0;
    }
    snprintf(name, sizeof(name), "%s.cnf", node->name);
    char *path = files_join(config->output, name);
    int result = files_write(path, text, strlen(text), 0644, false, error);
    if (result == 0 && !config->common.is_json) printf("%s\n", path);
    free(path);
    return result;
}

int cli_config(int argc, char **argv) {
    static struct config config;
    struct inventory inventory;
    struct xb_error error = {0};
    struct json json = {stdout, false};
    cli_parse(
        options, parse, "INVENTORY [NODE]",
        "Shows or writes the my.cnf fragment of each node: encryption of clients, group, increments and snapshots, "
        "and the addresses. The inventory is described in xebec(1).",
        argc, argv, &config.common, &config);
    int result = inventory_read(&inventory, config.inventory, &error);
    if (result == 0 && config.node && !inventory_find(&inventory, config.node))
        return cli_trouble(CLI_USAGE, "there is no node '%s' in %s", config.node, config.inventory);
    if (result == 0 && config.output) result = files_make_directory(config.output, 0755, &error);
    if (result == 0 && config.common.is_json) json_open(&json, NULL, '{');
    for (int i = 0; result == 0 && i < inventory.node_count; i++) {
        const struct inventory_node *node = &inventory.nodes[i];
        if (config.node && strcmp(node->name, config.node)) continue;
        char *text = fragment_text(&inventory, node, FRAGMENT_CLOSED);
        result = put(&config, node, text, &json, &error);
        free(text);
    }
    inventory_free(&inventory);
    if (result) return cli_trouble(CLI_FAILED, "%s", error.text);
    if (config.common.is_json) {
        json_close(&json, '}');
        putchar('\n');
    }
    return CLI_GOOD;
}
