/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xebec deploy: certificates and fragments to all nodes of an inventory, or to none.
 *
 * First everything is tested: the certificates here, the directories there. Then every node gets a new generation
 * beside the old; then one node after the other switches to it. What fails undoes all nodes, in reverse. Servers that
 * run keep what they have loaded until they are told.
 */
#include "cli/cli.h"
#include "cli/fragment.h"
#include "cli/inspect.h"
#include "cli/json.h"
#include "cli/place.h"

#include <errno.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct deploy {
    struct cli_common common;
    const char *inventory_path;
    bool is_dry, is_without_fragment;
    struct inventory inventory;
    char generation[32];
    struct json json;
};

enum { KEY_CERTS_ONLY = 0x100 };

static const struct argp_option options[] = {
    {"dry-run", 'n', NULL, 0, "Test everything, show what would change, change nothing", 0},
    {"certs-only", KEY_CERTS_ONLY, NULL, 0, "Leave the my.cnf fragments alone", 0},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state) {
    struct deploy *deploy = state->input;
    switch (key) {
    case 'n':
        deploy->is_dry = true;
        return 0;
    case KEY_CERTS_ONLY:
        deploy->is_without_fragment = true;
        return 0;
    case ARGP_KEY_ARG:
        if (deploy->inventory_path) argp_error(state, "one inventory is enough");
        deploy->inventory_path = value;
        return 0;
    case ARGP_KEY_END:
        if (!deploy->inventory_path) argp_error(state, "which inventory?");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static int collect(const struct deploy *deploy, const struct inventory_node *node, struct place_files *files,
                   struct xb_error *error) {
    int result = place_read_node(files, &deploy->inventory, node, error);
    if (!deploy->is_without_fragment) fragment_add(files, &deploy->inventory, node, FRAGMENT_CLOSED);
    return result;
}

static void digest_of(const struct place_file *file, char text[65]) {
    unsigned char digest[SHA256_DIGEST_LENGTH];
    SHA256((unsigned char *)file->data, file->size, digest);
    for (int i = 0; i < SHA256_DIGEST_LENGTH; i++) snprintf(text + 2 * i, 3, "%02x", digest[i]);
}

/* "name sha256" lines -> new, changed or same */
static const char *compare(const char *now, const char *name, const char *digest) {
    char line[256];
    size_t length = strlen(name);
    snprintf(line, sizeof(line), "%s %s", name, digest);
    for (const char *at = now; at && *at; at = strchr(at, '\n') ? strchr(at, '\n') + 1 : NULL) {
        if (!strncmp(at, line, strlen(line))) return "same";
        if (!strncmp(at, name, length) && at[length] == ' ') return "changed";
    }
    return "new";
}

static void tell_node(struct deploy *deploy, const struct inventory_node *node, const struct place_files *files,
                      const char *now) {
    char digest[65];
    if (deploy->common.is_json) json_open(&deploy->json, node->name, '{');
    for (size_t i = 0; i < files->count; i++) {
        const char *name = files->list[i].name;
        bool is_fragment = !strcmp(name, "fragment.cnf");
        digest_of(&files->list[i], digest);
        const char *verdict = compare(now, is_fragment ? "fragment" : name, digest);
        if (deploy->common.is_json)
            json_text(&deploy->json, is_fragment ? node->fragment : name, verdict);
        else if (is_fragment)
            printf("%s: %-7s %s\n", node->name, verdict, node->fragment);
        else
            printf("%s: %-7s %s/%s\n", node->name, verdict, node->certs_dir, name);
    }
    if (deploy->common.is_json) json_close(&deploy->json, '}');
}

static int test_node(struct deploy *deploy, const struct inventory_node *node, struct xb_error *error) {
    struct place_files files = {0};
    char *now = NULL;
    int result = inspect_node(&deploy->inventory, node, "; nothing was deployed", error);
    if (result == 0) result = place_look(&deploy->inventory, node, &now, error);
    if (result == 0) result = collect(deploy, node, &files, error);
    if (result == 0) tell_node(deploy, node, &files, now);
    place_free(&files);
    free(now);
    return result;
}

static int test_all(struct deploy *deploy, struct xb_error *error) {
    int result = 0;
    if (deploy->common.is_json) json_open(&deploy->json, "nodes", '{');
    for (int i = 0; result == 0 && i < deploy->inventory.node_count; i++) {
        const struct inventory_node *node = &deploy->inventory.nodes[i];
        result = test_node(deploy, node, error);
    }
    if (deploy->common.is_json) json_close(&deploy->json, '}');
    return result;
}

static void undo_all(struct deploy *deploy) {
    for (int i = deploy->inventory.node_count - 1; i >= 0; i--) {
        struct xb_error also = {0};
        if (place_undo(&deploy->inventory, &deploy->inventory.nodes[i], deploy->generation, &also))
            cli_trouble(0, "NOT undone: %s", also.text);
    }
}

static int put_all(struct deploy *deploy, struct xb_error *error) {
    int result = 0;
    for (int i = 0; result == 0 && i < deploy->inventory.node_count; i++) {
        struct place_files files;
        const struct inventory_node *node = &deploy->inventory.nodes[i];
        result = collect(deploy, node, &files, error);
        if (result == 0) result = place_stage(&deploy->inventory, node, deploy->generation, &files, error);
        place_free(&files);
    }
    for (int i = 0; result == 0 && i < deploy->inventory.node_count; i++)
        result = place_activate(&deploy->inventory, &deploy->inventory.nodes[i], deploy->generation, error);
    if (result) undo_all(deploy);
    return result;
}

static int work(struct deploy *deploy, struct xb_error *error) {
    int result = test_all(deploy, error);
    return result || deploy->is_dry ? result : put_all(deploy, error);
}

int cli_deploy(int argc, char **argv) {
    static struct deploy deploy;
    struct xb_error error = {0};
    time_t now = time(NULL);
    struct tm tm;
    cli_parse(options, parse, "INVENTORY",
              "Copies certificates and my.cnf fragments to all nodes of the inventory, on this machine or through ssh: "
              "to all of them or, when anything fails, to none. Servers that run take them up when they are told "
              "(FLUSH SSL; socket.ssl_reload=1) or restarted.",
              argc, argv, &deploy.common, &deploy);
    strftime(deploy.generation, sizeof(deploy.generation), "%Y%m%dT%H%M%S", gmtime_r(&now, &tm));
    snprintf(deploy.generation + strlen(deploy.generation), 12, "-%d", getpid());
    deploy.json = (struct json){stdout, false};
    if (inventory_read(&deploy.inventory, deploy.inventory_path, &error))
        return cli_trouble(CLI_FAILED, "%s", error.text);
    if (deploy.common.is_json) json_open(&deploy.json, NULL, '{');
    int result = work(&deploy, &error);
    inventory_free(&deploy.inventory);
    if (deploy.common.is_json) {
        json_bool(&deploy.json, "deployed", result == 0 && !deploy.is_dry);
        json_close(&deploy.json, '}');
        putchar('\n');
    }
    if (result) return cli_trouble(CLI_FAILED, "%s", error.text);
    if (!deploy.common.is_json) puts(deploy.is_dry ? "Nothing was changed." : "Deployed to all nodes.");
    return CLI_GOOD;
}
