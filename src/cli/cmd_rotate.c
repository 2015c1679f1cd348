/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * xebec rotate: new certificates, or a new CA, on a running cluster, without restarts (spec 08 section 8.10).
 *
 * Phase 1: every node trusts the old and the new CA. 2: every node shows its new certificate. 3: the old CA is dropped.
 * One node after the other; after each, every node must take the certificate that every other node shows now, show the
 * one that it should, be Synced, and the component as large as before. Otherwise the phase is undone on all nodes, and
 * the rotation stands at the end of the phase before: --resume tries again, --abort goes back to the beginning.
 * All that is needed for both is on disk before the first node is touched; a killed rotation is resumed the same way.
 */
#include "cli/cli.h"
#include "cli/identity.h"
#include "cli/inspect.h"
#include "cli/json.h"
#include "cli/observe.h"
#include "cli/rotation.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SETTLE_MS 15000  /* how long a node may take to show what it has loaded */
#define RECOVER_MS 60000 /* how long parted nodes may take to find each other and agree */

struct rotate {
    struct cli_common common;
    const char *inventory_path, *to;
    bool is_resumed, is_aborted, is_recovering;
    struct inventory inventory;
    struct inventory expired; /* recovering: the same with the certificates that the nodes had */
    struct rotation rotation;
    int set[INVENTORY_NODES_MAX]; /* what each node has loaded */
    char *size;                   /* of the component when it began */
};

enum { KEY_TO = 0x100, KEY_RESUME, KEY_ABORT, KEY_RECOVER };

static const struct argp_option options[] = {
    {"to", KEY_TO, "DIR", 0, "The new certificates, as `xebec cert init DIR` made them for the same nodes", 0},
    {"resume", KEY_RESUME, NULL, 0, "Go on with a rotation that was stopped or killed", 0},
    {"recover", KEY_RECOVER, NULL, 0,
     "With --to: the certificates have expired and the nodes refuse each other. All nodes get the new ones at once, "
     "are told, and must find each other again",
     0},
    {"abort", KEY_ABORT, NULL, 0, "Go back to the certificates before the rotation", 0},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state) {
    struct rotate *rotate = state->input;
    switch (key) {
    case KEY_TO:
        rotate->to = value;
        return 0;
    case KEY_RESUME:
        rotate->is_resumed = true;
        return 0;
    case KEY_ABORT:
        rotate->is_aborted = true;
        return 0;
    case KEY_RECOVER:
        rotate->is_recovering = true;
        return 0;
    case ARGP_KEY_ARG:
        if (rotate->inventory_path) argp_error(state, "one inventory is enough");
        rotate->inventory_path = value;
        return 0;
    case ARGP_KEY_END:
        if (!rotate->inventory_path) argp_error(state, "which inventory?");
        if ((rotate->to != NULL) + rotate->is_resumed + rotate->is_aborted != 1)
            argp_error(state, "one of --to DIR, --resume, --abort");
        if (rotate->is_recovering && !rotate->to) argp_error(state, "--recover needs --to DIR");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

static const char *const phase_texts[] = {"", "every node trusts the old and the new CA",
                                          "every node shows its new certificate", "the old CA is dropped"};

/* The server may have loaded either set, if a kill came in between: by TCP its certificate is verified by the one or
 * the other. */
static struct sql *log_in(struct rotate *rotate, int node, struct xb_error *error) {
    for (int set = 0; set <= (rotate->is_recovering ? 0 : ROTATION_PHASES); set++) {
        struct inventory as_set = rotate->inventory;
        struct xb_error one = {0};
        char dir[4096];
        if (set > 0) {
            snprintf(dir, sizeof(dir), "%s/phase%d", rotate->rotation.dir, set);
            as_set.certs = dir;
        }
        struct sql *sql = sql_open(&as_set, &rotate->inventory.nodes[node], SQL_SAFE, &one);
        if (sql) return sql;
        if (set == 0) *error = one;
    }
    if (rotate->is_recovering) return sql_open(&rotate->expired, &rotate->inventory.nodes[node], SQL_PINNED, error);
    return NULL;
}

/* Server and provider take up the files: the provider tests them first and keeps the old on a mistake, so it goes
 * first. */
static int reload(struct rotate *rotate, int node, struct xb_error *error) {
    struct xb_error none = {0};
    struct sql *sql = log_in(rotate, node, error);
    if (!sql) return error->code;
    *error = none;
    /* A node that has lost its component takes neither FLUSH nor anything else, unless wsrep is off for the session. */
    int result = sql_run(sql, "SET SESSION wsrep_on=OFF", NULL, NULL, error);
    if (result == 0)
        result = sql_run(sql, "SET GLOBAL wsrep_provider_options='socket.ssl_reload=1'", NULL, NULL, error);
    if (result == 0) result = sql_run(sql, "FLUSH LOCAL SSL", NULL, NULL, error);
    sql_close(sql);
    return result;
}

static int load_set(const struct rotate *rotate, int node, int set, struct identity *id, struct xb_error *error) {
    char *dir = rotation_set(&rotate->rotation, set, &rotate->inventory.nodes[node]);
    int result = identity_load(id, dir, error);
    free(dir);
    return result;
}

/* As node `from` dials node `to`. */
static int check_pair(const struct rotate *rotate, const struct identity *from, const struct identity *to, int to_index,
                      const char *from_name, struct xb_error *error) {
    const struct inventory_node *node = &rotate->inventory.nodes[to_index];
    struct probe probe;
    struct findings findings = {0};
    int result = 0;
    identity_knock(from, node, true, &probe);
    if (!probe.chain || !probe.is_taken)
        result = xb_fail(error, -EPROTO, "node %s does not take the certificate of %s: %s", node->name, from_name,
                         probe.reason);
    else if (X509_cmp(sk_X509_value(probe.chain, 0), identity_leaf(to)) != 0)
        result = xb_fail(error, -EPROTO, "node %s does not show the certificate that it should", node->name);
    if (result == 0) inspect_chain(&findings, node->name, probe.chain, from->ca.certs);
    if (findings_count(&findings, FINDING_ERROR))
        result =
            xb_fail(error, -EPROTO, "node %s does not trust node %s: %s", from_name, node->name, findings.list[0].text);
    probe_free(&probe);
    return result;
}

static int check_all_pairs(const struct rotate *rotate, struct xb_error *error) {
    static struct identity ids[INVENTORY_NODES_MAX]; /* empty between two calls */
    int result = 0, count = rotate->inventory.node_count;
    for (int i = 0; result == 0 && i < count; i++) result = load_set(rotate, i, rotate->set[i], &ids[i], error);
    for (int i = 0; result == 0 && i < count; i++) {
        for (int j = 0; result == 0 && j < count; j++)
            result = check_pair(rotate, &ids[i], &ids[j], j, rotate->inventory.nodes[i].name, error);
    }
    for (int i = 0; i < count; i++) identity_free(&ids[i]);
    return result;
}

static int check_state(struct rotate *rotate, int node, struct xb_error *error) {
    struct observation o;
    struct sql *sql = log_in(rotate, node, error);
    int result = sql ? observe(sql, &o, error) : error->code;
    sql_close(sql);
    if (result) return result;
    bool is_good = o.state && !strcmp(o.state, "Synced") && o.status && !strcmp(o.status, "Primary");
    if (!is_good)
        result = xb_fail(error, -EPROTO, "node %s is %s in a %s component", rotate->inventory.nodes[node].name,
                         o.state ? o.state : "?", o.status ? o.status : "?");
    else if (!rotate->size)
        rotate->size = strdup(o.size);
    else if (strcmp(rotate->size, o.size))
        result = xb_fail(error, -EPROTO, "the component has %s members, it had %s", o.size, rotate->size);
    observe_free(&o);
    return result;
}

static int look_at_all(void *ctx, struct xb_error *error) {
    struct rotate *rotate = ctx;
    int result = 0;
    for (int i = 0; result == 0 && i < rotate->inventory.node_count; i++) result = check_state(rotate, i, error);
    return result ? result : check_all_pairs(rotate, error);
}

/* Until it is as it should be, or the time is over. */
static int check_cluster(struct rotate *rotate, struct xb_error *error) {
    return cli_await(look_at_all, rotate, SETTLE_MS, error);
}

static int change_node(struct rotate *rotate, int phase, int node, struct xb_error *error) {
    struct place_files files = {0};
    const struct inventory_node *it = &rotate->inventory.nodes[node];
    char generation[64];
    rotation_generation(&rotate->rotation, phase, generation);
    int result = place_undo(&rotate->inventory, it, generation, error); /* of a killed attempt */
    if (result == 0) result = rotation_files(&rotate->rotation, phase, it, &files, error);
    if (result == 0) result = place_stage(&rotate->inventory, it, generation, &files, error);
    place_free(&files);
    if (result == 0) result = place_activate(&rotate->inventory, it, generation, error);
    if (result == 0) result = reload(rotate, node, error);
    if (result == 0) rotate->set[node] = phase;
    return result;
}

static int undo_phase(struct rotate *rotate, int phase, struct xb_error *error) {
    char generation[64];
    int result = 0;
    rotation_generation(&rotate->rotation, phase, generation);
    for (int i = rotate->inventory.node_count - 1; i >= 0; i--) {
        const struct inventory_node *node = &rotate->inventory.nodes[i];
        struct xb_error one = {0};
        int code = place_undo(&rotate->inventory, node, generation, &one);
        if (code) cli_trouble(0, "NOT undone: %s", one.text);
        if (code == 0 && (code = reload(rotate, i, &one)))
            cli_trouble(0, "node %s has its former files again but was not told: %s", node->name, one.text);
        if (code) {
            *error = one;
            result = code;
        } else {
            rotate->set[i] = phase - 1;
        }
    }
    return result;
}

static int run_phase(struct rotate *rotate, int phase, struct xb_error *error) {
    int result = 0;
    cli_progress(&rotate->common, "Phase %d of %d: %s", phase, ROTATION_PHASES, phase_texts[phase]);
    for (int i = 0; result == 0 && i < rotate->inventory.node_count; i++) {
        result = change_node(rotate, phase, i, error);
        if (result == 0) result = check_cluster(rotate, error);
        if (result == 0)
            cli_progress(&rotate->common, "  node %s: done, all nodes take each other's certificates",
                         rotate->inventory.nodes[i].name);
    }
    if (result == 0) {
        rotate->rotation.done = phase;
        return rotation_save(&rotate->rotation, error);
    }
    struct xb_error undoing = {0};
    cli_progress(&rotate->common, "  FAILED: %s\n  going back to the end of phase %d", error->text, phase - 1);
    undo_phase(rotate, phase, &undoing);
    return result;
}

/* Whom the old certificates still open the door; a stock provider keeps the CAs that it has once loaded. */
static void tell_who_trusts_the_old(const struct rotate *rotate) {
    struct xb_error error = {0};
    for (int i = 0; i < rotate->inventory.node_count; i++) {
        const struct inventory_node *node = &rotate->inventory.nodes[i];
        struct identity old;
        struct probe probe;
        if (load_set(rotate, i, 0, &old, &error)) {
            identity_free(&old);
            return;
        }
        identity_knock(&old, node, true, &probe);
        if (probe.is_taken)
            cli_trouble(0,
                        "node %s still takes the old certificate: either it is signed by the same CA, or the node has "
                        "the stock "
                        "provider, which trusts the old CA until it is restarted",
                        node->name);
        probe_free(&probe);
        identity_free(&old);
    }
}

static int forward(struct rotate *rotate, struct xb_error *error) {
    for (int i = 0; i < rotate->inventory.node_count; i++) rotate->set[i] = rotate->rotation.done;
    int result = rotate->is_resumed ? 0 : check_cluster(rotate, error);
    if (result) { /* nothing was touched yet */
        rotation_end(&rotate->rotation);
        return result;
    }
    for (int phase = rotate->rotation.done + 1; result == 0 && phase <= ROTATION_PHASES; phase++)
        result = run_phase(rotate, phase, error);
    if (result) return result;
    tell_who_trusts_the_old(rotate);
    cli_progress(&rotate->common, "Done. Write certs = %s into the inventory.", rotate->rotation.to);
    rotation_end(&rotate->rotation);
    return 0;
}

static int backward(struct rotate *rotate, struct xb_error *error) {
    int result = 0;
    for (int phase = ROTATION_PHASES; result == 0 && phase >= 1; phase--) {
        if (phase > rotate->rotation.done + 1) continue;
        cli_progress(&rotate->common, "Undoing phase %d", phase);
        result = undo_phase(rotate, phase, error);
        if (result == 0) result = check_cluster(rotate, error);
        if (result == 0 && rotate->rotation.done >= phase) {
            rotate->rotation.done = phase - 1;
            result = rotation_save(&rotate->rotation, error);
        }
    }
    if (result == 0) rotation_end(&rotate->rotation);
    if (result == 0) cli_progress(&rotate->common, "The cluster has the certificates from before the rotation.");
    return result;
}

/* ---- all certificates have expired */

static void undo_recovery(const struct rotate *rotate, const char *generation) {
    for (int i = 0; i < rotate->inventory.node_count; i++) {
        struct xb_error also = {0};
        if (place_undo(&rotate->inventory, &rotate->inventory.nodes[i], generation, &also))
            cli_trouble(0, "NOT undone: %s", also.text);
    }
}

/* To all nodes or to none. */
static int place_recovery(struct rotate *rotate, struct xb_error *error) {
    const struct inventory *inventory = &rotate->inventory;
    char generation[64];
    int result = 0;
    snprintf(generation, sizeof(generation), "recover-%lld-%d", (long long)time(NULL), getpid());
    for (int i = 0; result == 0 && i < inventory->node_count; i++)
        result = inspect_node(inventory, &inventory->nodes[i], "; nothing was changed", error);
    if (result) return result;
    for (int i = 0; result == 0 && i < inventory->node_count; i++) {
        struct place_files files;
        result = rotation_files(&rotate->rotation, 0, &inventory->nodes[i], &files, error);
        if (result == 0) result = place_stage(inventory, &inventory->nodes[i], generation, &files, error);
        place_free(&files);
    }
    for (int i = 0; result == 0 && i < inventory->node_count; i++)
        result = place_activate(inventory, &inventory->nodes[i], generation, error);
    if (result) undo_recovery(rotate, generation);
    return result;
}

static int look_for_recovery(void *ctx, struct xb_error *error) {
    struct rotate *rotate = ctx;
    free(rotate->size);
    rotate->size = NULL;
    int result = look_at_all(rotate, error);
    if (result == 0 && atoi(rotate->size) < rotate->inventory.node_count)
        result = xb_fail(error, -EPROTO, "the component has %s members, the inventory %d nodes", rotate->size,
                         rotate->inventory.node_count);
    return result;
}

/* There is no good state to keep on the way, so no phases. What is placed stays, even if a node does not come back. */
static int recover(struct rotate *rotate, struct xb_error *error) {
    rotate->expired = rotate->inventory;
    rotate->inventory.certs = realpath(rotate->to, NULL);
    if (!rotate->inventory.certs) return xb_fail(error, -errno, "cannot read %s: %s", rotate->to, strerror(errno));
    rotate->rotation = (struct rotation){.inventory = &rotate->inventory};
    int result = place_recovery(rotate, error);
    if (result) return result;
    cli_progress(&rotate->common, "Every node has its new files");
    for (int i = 0; i < rotate->inventory.node_count; i++) {
        struct xb_error one = {0};
        const char *name = rotate->inventory.nodes[i].name;
        if (reload(rotate, i, &one))
            cli_trouble(0, "node %s was not told: %s. Start it if it does not run", name, one.text);
        else
            cli_progress(&rotate->common, "  node %s: reloaded", name);
    }
    result = cli_await(look_for_recovery, rotate, RECOVER_MS, error);
    if (result) return result;
    cli_progress(&rotate->common,
                 "Done: all nodes take each other's certificates. Write certs = %s into the inventory.",
                 rotate->inventory.certs);
    return 0;
}

static int begin(struct rotate *rotate, struct xb_error *error) {
    if (!rotate->to) return rotation_load(&rotate->rotation, &rotate->inventory, rotate->inventory_path, error);
    if (rotation_exists(rotate->inventory_path))
        return xb_fail(error, -EEXIST, "a rotation is under way (%s.rotation): --resume or --abort it",
                       rotate->inventory_path);
    return rotation_begin(&rotate->rotation, &rotate->inventory, rotate->inventory_path, rotate->to, error);
}

static int run(struct rotate *rotate, struct xb_error *error) {
    if (rotate->is_recovering && !rotation_exists(rotate->inventory_path)) return recover(rotate, error);
    int result = begin(rotate, error);
    if (result) return result;
    return rotate->is_aborted ? backward(rotate, error) : forward(rotate, error);
}

int cli_rotate(int argc, char **argv) {
    static struct rotate rotate;
    struct xb_error error = {0};
    cli_parse(options, parse, "INVENTORY",
              "Changes certificates, or the CA, of a running cluster without restarts: first every node trusts both "
              "CAs, then "
              "every node gets its new certificate, then the old CA is dropped. After each node all pairs of nodes are "
              "tried out; if that fails, the phase is undone.",
              argc, argv, &rotate.common, &rotate);
    int result = inventory_read(&rotate.inventory, rotate.inventory_path, &error);
    if (result == 0) result = run(&rotate, &error);
    inventory_free(&rotate.inventory);
    if (rotate.common.is_json) {
        struct json json = {stdout, false};
        json_open(&json, NULL, '{');
        json_bool(&json, "done", result == 0);
        json_number(&json, "phases", result == 0 && !rotate.is_aborted ? ROTATION_PHASES : rotate.rotation.done);
        json_text(&json, "error", result ? error.text : NULL);
        json_close(&json, '}');
        putchar('\n');
    }
    return result ? cli_trouble(CLI_FAILED, "%s", error.text) : CLI_GOOD;
}
