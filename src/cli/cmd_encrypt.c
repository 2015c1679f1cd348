/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xebec encrypt: turns encryption on in a running plaintext cluster, one node at a time (spec 02 section 17).
 *
 * Phase 1: every node gets certificates and speaks TLS with whoever can, plain text with the others (socket.dynamic);
 * phase 2: all agree on encrypted snapshots, files only; phase 3: every node takes TLS alone. No provider takes up
 * certificates that it was not started with, nor ends socket.dynamic, so phases 1 and 3 restart each node, when the one
 * before is Synced again. A node that does not come back gets its former files and is restarted with them; then
 * --resume tries again, --abort goes back. Where it stands is in INVENTORY.encryption before each step, so a killed run
 * is resumed or aborted the same way.
 */
#include "cli/cli.h"
#include "cli/files.h"
#include "cli/fragment.h"
#include "cli/identity.h"
#include "cli/inspect.h"
#include "cli/json.h"
#include "cli/observe.h"
#include "cli/place.h"

#include <errno.h>
#include <ini.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PHASES 3
#define WAIT_S 900 /* for a restarted node: it may need a whole snapshot */

static const struct phase {
    const char *text;
    enum fragment_stage stage;
    bool is_tls, is_dynamic; /* what a node's provider says of itself afterwards */
} phases[PHASES + 1] = {
    {"the cluster as it was", FRAGMENT_OPEN, false, false},
    {"every node speaks TLS beside plain text", FRAGMENT_OPEN, true, true},
    {"snapshots are encrypted from now on", FRAGMENT_OPEN_BUT_SNAPSHOTS, true, true},
    {"every node takes TLS alone", FRAGMENT_CLOSED, true, false},
};

struct encrypt {
    struct cli_common common;
    const char *inventory_path;
    bool is_dry, is_resumed, is_aborted, pauses;
    int wait_s;
    struct inventory inventory;
    char *state_path;
    char id[32];
    int phase, node; /* under way: the phase, and how many nodes have it */
};

enum { KEY_RESUME = 0x100, KEY_ABORT, KEY_PAUSE, KEY_WAIT };

static const struct argp_option options[] = {
    {"dry-run", 'n', NULL, 0, "Test everything, show what would be done, change nothing", 0},
    {"pause", KEY_PAUSE, NULL, 0,
     "Stop when every node speaks TLS beside plain text, so that clients can be switched; --resume goes on", 0},
    {"resume", KEY_RESUME, NULL, 0, "Go on with what was paused, stopped or killed", 0},
    {"abort", KEY_ABORT, NULL, 0, "Go back to the cluster as it was, one node at a time", 0},
    {"wait", KEY_WAIT, "SECONDS", 0, "How long a restarted node may take until it is Synced (default: 900)", 0},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state) {
    struct encrypt *encrypt = state->input;
    switch (key) {
    case 'n':
        encrypt->is_dry = true;
        return 0;
    case KEY_PAUSE:
        encrypt->pauses = true;
        return 0;
    case KEY_RESUME:
        encrypt->is_resumed = true;
        return 0;
    case KEY_ABORT:
        encrypt->is_aborted = true;
        return 0;
    case KEY_WAIT:
        encrypt->wait_s = atoi(value);
        if (encrypt->wait_s < 1) argp_error(state, "--wait: a number of seconds from 1");
        return 0;
    case ARGP_KEY_ARG:
        if (encrypt->inventory_path) argp_error(state, "one inventory is enough");
        encrypt->inventory_path = value;
        return 0;
    case ARGP_KEY_END:
        if (!encrypt->inventory_path) argp_error(state, "which inventory?");
        if (encrypt->is_resumed + encrypt->is_aborted + encrypt->is_dry > 1)
            argp_error(state, "one of --dry-run, --resume, --abort");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

/* ---- where it stands */

static int save(const struct encrypt *encrypt, struct xb_error *error) {
    char text[128];
    snprintf(text, sizeof(text), "id = %s\nphase = %d\nnode = %d\n", encrypt->id, encrypt->phase, encrypt->node);
    return files_write(encrypt->state_path, text, strlen(text), 0600, false, error);
}

static int take_line(void *ctx, const char *section, const char *name, const char *value) {
    struct encrypt *encrypt = ctx;
    if (!strcmp(name, "id")) snprintf(encrypt->id, sizeof(encrypt->id), "%s", value);
    if (!strcmp(name, "phase")) encrypt->phase = atoi(value);
    if (!strcmp(name, "node")) encrypt->node = atoi(value);
    return 1;
}

static int load(struct encrypt *encrypt, struct xb_error *error) {
    if (ini_parse(encrypt->state_path, take_line, encrypt) != 0 || !*encrypt->id ||
        encrypt->id[strspn(encrypt->id, "0123456789T")] || encrypt->phase < 1 || encrypt->phase > PHASES ||
        encrypt->node < 0 || encrypt->node > encrypt->inventory.node_count)
        return xb_fail(error, -EINVAL, "nothing is under way (%s is not readable)", encrypt->state_path);
    return 0;
}

/* ---- one node */

static void name_generation(const struct encrypt *encrypt, int phase, char name[64]) {
    snprintf(name, 64, "encrypt-%s-%d", encrypt->id, phase);
}

/* Certificates and the phase's fragment become valid on the node; its server has not read them yet. */
static int put(const struct encrypt *encrypt, int phase, const struct inventory_node *node, struct xb_error *error) {
    struct place_files files;
    char generation[64];
    int result = place_read_node(&files, &encrypt->inventory, node, error);
    fragment_add(&files, &encrypt->inventory, node, phases[phase].stage);
    name_generation(encrypt, phase, generation);
    if (result == 0) result = place_undo(&encrypt->inventory, node, generation, error); /* of a killed attempt */
    if (result == 0) result = place_stage(&encrypt->inventory, node, generation, &files, error);
    if (result == 0) result = place_activate(&encrypt->inventory, node, generation, error);
    place_free(&files);
    return result;
}

static int take_back(const struct encrypt *encrypt, int phase, const struct inventory_node *node,
                     struct xb_error *error) {
    char generation[64];
    name_generation(encrypt, phase, generation);
    return place_undo(&encrypt->inventory, node, generation, error);
}

/* A server without certificates can be asked by TCP in plain text alone; one that has them must show the right one. */
static struct sql *log_in(const struct encrypt *encrypt, const struct inventory_node *node, int phase,
                          struct xb_error *error) {
    bool is_plain = !phases[phase].is_tls && !(node->socket && !node->ssh);
    return sql_open(&encrypt->inventory, node, is_plain ? SQL_AS_OTHERS : SQL_SAFE, error);
}

static int check_group_port(const struct encrypt *encrypt, const struct inventory_node *node, int phase,
                            struct xb_error *error) {
    struct identity id;
    struct probe probe = {0};
    char *dir = inventory_certs_of(&encrypt->inventory, node);
    int result = identity_load(&id, dir, error);
    free(dir);
    /* At the end it listens first: does the node speak plain text? */
    if (result == 0) identity_knock(&id, node, phases[phase].is_dynamic, &probe);
    if (result == 0 &&
        (!probe.chain || !probe.is_taken || X509_cmp(sk_X509_value(probe.chain, 0), identity_leaf(&id)) != 0))
        result = xb_fail(error, -EPROTO, "node %s does not speak TLS with its certificate at port %s: %s", node->name,
                         node->group_port, probe.kind == PROBE_GROUP_PLAIN ? "it speaks plain text" : probe.reason);
    probe_free(&probe);
    identity_free(&id);
    return result;
}

static int judge(const struct encrypt *encrypt, const struct inventory_node *node, int phase,
                 const struct observation *o, struct xb_error *error) {
    char *ssl = observe_option(o->options, "socket.ssl"), *dynamic = observe_option(o->options, "socket.dynamic");
    int result = 0;
    if (observe_is_on(ssl) != phases[phase].is_tls || observe_is_on(dynamic) != phases[phase].is_dynamic)
        result =
            xb_fail(error, -EPROTO,
                    "node %s runs with socket.ssl=%s, socket.dynamic=%s: if it was restarted, it does not read %s, "
                    "or another file overrides it",
                    node->name, ssl ? ssl : "NO", dynamic ? dynamic : "NO", node->fragment);
    else if (!o->state || strcmp(o->state, "Synced") || !o->status || strcmp(o->status, "Primary"))
        result = xb_fail(error, -EPROTO, "node %s is %s in a %s component", node->name, o->state ? o->state : "?",
                         o->status ? o->status : "?");
    else if (!o->size || atoi(o->size) != encrypt->inventory.node_count)
        result = xb_fail(error, -EPROTO,
                         "node %s sees a component of %s members, the inventory has %d nodes: all must be there, and "
                         "nobody else (stop an arbitrator, and start it with certificates afterwards)",
                         node->name, o->size ? o->size : "?", encrypt->inventory.node_count);
    free(ssl);
    free(dynamic);
    return result;
}

static int look_at(const struct encrypt *encrypt, const struct inventory_node *node, int phase,
                   struct xb_error *error) {
    struct observation o;
    struct sql *sql = log_in(encrypt, node, phase, error);
    int result = sql ? observe(sql, &o, error) : error->code;
    sql_close(sql);
    if (result) return result;
    result = judge(encrypt, node, phase, &o, error);
    observe_free(&o);
    if (result == 0 && phases[phase].is_tls) result = check_group_port(encrypt, node, phase, error);
    return result;
}

struct expectation {
    const struct encrypt *encrypt;
    const struct inventory_node *node;
    int phase;
};

static int look_again(void *ctx, struct xb_error *error) {
    const struct expectation *expected = ctx;
    return look_at(expected->encrypt, expected->node, expected->phase, error);
}

static int restart(const struct encrypt *encrypt, const struct inventory_node *node, int phase,
                   struct xb_error *error) {
    struct expectation expected = {encrypt, node, phase};
    int result = place_restart(&encrypt->inventory, node, error);
    return result ? result : cli_await(look_again, &expected, encrypt->wait_s * INT64_C(1000), error);
}

/* ---- phases */

/* Back to the node's files of the phase before, and its server with them. */
static int revert(const struct encrypt *encrypt, int phase, const struct inventory_node *node, struct xb_error *error) {
    int result = take_back(encrypt, phase, node, error);
    return result ? result : restart(encrypt, node, phase - 1, error);
}

static int change_node(struct encrypt *encrypt, const struct inventory_node *node, struct xb_error *error) {
    struct xb_error also = {0};
    cli_progress(&encrypt->common, "  node %s: new files, %s", node->name, node->restart);
    int result = put(encrypt, encrypt->phase, node, error);
    if (result == 0) result = restart(encrypt, node, encrypt->phase, error);
    if (result) {
        cli_progress(&encrypt->common, "  FAILED: %s\n  node %s: former files, restart", error->text, node->name);
        if (revert(encrypt, encrypt->phase, node, &also))
            cli_trouble(0, "NOT undone: %s. Look at the error log of node %s.", also.text, node->name);
        return result;
    }
    cli_progress(&encrypt->common, "  node %s: Synced", node->name);
    encrypt->node++;
    return save(encrypt, error);
}

static int change_nodes(struct encrypt *encrypt, struct xb_error *error) {
    int result = 0;
    while (result == 0 && encrypt->node < encrypt->inventory.node_count)
        result = change_node(encrypt, &encrypt->inventory.nodes[encrypt->node], error);
    return result;
}

/* Donor and joiner must agree, so no node waits for another here. */
static int change_snapshots(const struct encrypt *encrypt, struct xb_error *error) {
    int result = 0;
    for (int i = 0; result == 0 && i < encrypt->inventory.node_count; i++)
        result = put(encrypt, encrypt->phase, &encrypt->inventory.nodes[i], error);
    for (int i = 0; result != 0 && i < encrypt->inventory.node_count; i++) {
        struct xb_error also = {0};
        if (take_back(encrypt, encrypt->phase, &encrypt->inventory.nodes[i], &also))
            cli_trouble(0, "NOT undone: %s", also.text);
    }
    return result;
}

static int run_phase(struct encrypt *encrypt, struct xb_error *error) {
    cli_progress(&encrypt->common, "Phase %d of %d: %s", encrypt->phase, PHASES, phases[encrypt->phase].text);
    int result = encrypt->phase == 2 ? change_snapshots(encrypt, error) : change_nodes(encrypt, error);
    if (result || encrypt->phase == PHASES) return result;
    encrypt->phase++;
    encrypt->node = 0;
    return save(encrypt, error);
}

static int forward(struct encrypt *encrypt, struct xb_error *error) {
    int result = 0;
    while (result == 0 && (encrypt->phase < PHASES || encrypt->node < encrypt->inventory.node_count)) {
        if (encrypt->phase == PHASES && encrypt->node == 0 && encrypt->pauses) {
            cli_progress(&encrypt->common,
                         "Paused. Every node takes TLS and plain text, from clients, too: switch these, then say "
                         "--resume. The cluster is not protected yet.");
            return 0;
        }
        result = run_phase(encrypt, error);
    }
    if (result) return result;
    unlink(encrypt->state_path);
    cli_progress(&encrypt->common, "Done: every node takes TLS alone. `xebec audit %s` looks at every channel.",
                 encrypt->inventory_path);
    return 0;
}

/* The one that was under way when it stopped, too: it may have its files already. */
static int revert_nodes(struct encrypt *encrypt, struct xb_error *error) {
    int last = encrypt->inventory.node_count - 1, result = 0;
    for (int i = encrypt->node < last ? encrypt->node : last; result == 0 && i >= 0; i--) {
        cli_progress(&encrypt->common, "  node %s: former files, restart", encrypt->inventory.nodes[i].name);
        result = revert(encrypt, encrypt->phase, &encrypt->inventory.nodes[i], error);
        if (result == 0 && encrypt->node > i) encrypt->node = i;
        if (result == 0) result = save(encrypt, error);
    }
    return result;
}

static int revert_snapshots(const struct encrypt *encrypt, struct xb_error *error) {
    int result = 0;
    for (int i = 0; result == 0 && i < encrypt->inventory.node_count; i++)
        result = take_back(encrypt, encrypt->phase, &encrypt->inventory.nodes[i], error);
    return result;
}

static int backward(struct encrypt *encrypt, struct xb_error *error) {
    int result = 0;
    while (result == 0 && encrypt->phase > 0) {
        cli_progress(&encrypt->common, "Undoing phase %d: %s", encrypt->phase, phases[encrypt->phase].text);
        result = encrypt->phase == 2 ? revert_snapshots(encrypt, error) : revert_nodes(encrypt, error);
        if (result == 0 && --encrypt->phase > 0) {
            encrypt->node = encrypt->inventory.node_count;
            result = save(encrypt, error);
        }
    }
    if (result) return result;
    unlink(encrypt->state_path);
    cli_progress(&encrypt->common, "The cluster is as it was: in plain text.");
    return 0;
}

/* ---- before anything is touched */

static int test_node(const struct encrypt *encrypt, const struct inventory_node *node, struct xb_error *error) {
    char *now = NULL;
    int result = inspect_node(&encrypt->inventory, node, "; nothing was changed", error);
    if (result == 0) result = place_look(&encrypt->inventory, node, &now, error);
    if (result == 0) result = look_at(encrypt, node, 0, error);
    if (result == 0 && encrypt->is_dry)
        cli_progress(&encrypt->common, "node %s: certificates to %s, settings to %s, then, twice: %s", node->name,
                     node->certs_dir, node->fragment, node->restart);
    free(now);
    return result;
}

static int begin(struct encrypt *encrypt, struct xb_error *error) {
    time_t now = time(NULL);
    struct tm tm;
    int result = 0;
    if (access(encrypt->state_path, F_OK) == 0)
        return xb_fail(error, -EEXIST, "it is under way (%s): --resume or --abort it", encrypt->state_path);
    for (int i = 0; result == 0 && i < encrypt->inventory.node_count; i++)
        result = test_node(encrypt, &encrypt->inventory.nodes[i], error);
    strftime(encrypt->id, sizeof(encrypt->id), "%Y%m%dT%H%M%S", gmtime_r(&now, &tm));
    encrypt->phase = 1;
    return result || encrypt->is_dry ? result : save(encrypt, error);
}

static int work(struct encrypt *encrypt, struct xb_error *error) {
    if (asprintf(&encrypt->state_path, "%s.encryption", encrypt->inventory_path) < 0) abort();
    int result = encrypt->is_resumed || encrypt->is_aborted ? load(encrypt, error) : begin(encrypt, error);
    if (result || encrypt->is_dry) return result;
    return encrypt->is_aborted ? backward(encrypt, error) : forward(encrypt, error);
}

int cli_encrypt(int argc, char **argv) {
    static struct encrypt encrypt = {.wait_s = WAIT_S};
    struct xb_error error = {0};
    cli_parse(
        options, parse, "INVENTORY",
        "Turns encryption on in a running plaintext cluster, one node at a time: first every node speaks TLS "
        "beside plain text, then snapshots are encrypted, then every node takes TLS alone. Each node is restarted "
        "twice, through the inventory's restart command, when the one before is Synced again; a node that does "
        "not come back gets its former files.",
        argc, argv, &encrypt.common, &encrypt);
    int result = inventory_read(&encrypt.inventory, encrypt.inventory_path, &error);
    if (result == 0) result = work(&encrypt, &error);
    inventory_free(&encrypt.inventory);
    if (encrypt.common.is_json) {
        struct json json = {stdout, false};
        json_open(&json, NULL, '{');
        json_bool(&json, "done", result == 0 && !encrypt.is_dry && access(encrypt.state_path, F_OK) != 0);
        json_number(&json, "phase", encrypt.phase);
        json_text(&json, "error", result ? error.text : NULL);
        json_close(&json, '}');
        putchar('\n');
    }
    if (result) return cli_trouble(CLI_FAILED, "%s", error.text);
    if (encrypt.is_dry) cli_progress(&encrypt.common, "Nothing was changed.");
    return CLI_GOOD;
}
