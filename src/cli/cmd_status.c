/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xebec status: one screen about the cluster. */
#include "cli/cli.h"
#include "cli/inspect.h"
#include "cli/json.h"
#include "cli/observe.h"
#include "cli/probe.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define WARN_DAYS 30

struct status {
    struct cli_common common;
    const char *inventory_path;
    unsigned watch_s;
    struct inventory inventory;
};

static const struct argp_option options[] = {
    {"watch", 'w', "SECONDS", OPTION_ARG_OPTIONAL, "Show it again every 2 (or so many) seconds, until interrupted", 0},
    {0},
};

static error_t parse(int key, char *value, struct argp_state *state) {
    struct status *status = state->input;
    switch (key) {
    case 'w':
        status->watch_s = value ? (unsigned)atoi(value) : 2;
        if (status->watch_s == 0) argp_error(state, "--watch: a number of seconds from 1");
        return 0;
    case ARGP_KEY_ARG:
        if (status->inventory_path) argp_error(state, "one inventory is enough");
        status->inventory_path = value;
        return 0;
    case ARGP_KEY_END:
        if (!status->inventory_path) argp_error(state, "which inventory?");
        return 0;
    default:
        return ARGP_ERR_UNKNOWN;
    }
}

struct row {
    struct observation o;
    struct xb_error error;
    bool are_clients_encrypted; /* the server offers TLS and allows nothing else */
    bool is_tls_offered;
    int days_left; /* of the certificate that ends first; INT_MAX: none seen */
};

static void look_at(const struct status *status, const struct inventory_node *node, struct row *row) {
    struct probe_wish wish = {.host = node->address, .port = node->port};
    struct probe probe;
    *row = (struct row){.days_left = INT_MAX};
    struct sql *sql = sql_open(&status->inventory, node, SQL_SAFE, &row->error);
    if (!sql) return;
    observe(sql, &row->o, &row->error);
    sql_close(sql);
    probe_run(&wish, &probe);
    row->is_tls_offered = probe.is_tls_offered;
    row->are_clients_encrypted = probe.is_tls_offered && observe_is_on(row->o.secure_transport);
    if (probe.chain) row->days_left = inspect_days_left(sk_X509_value(probe.chain, 0), time(NULL));
    if (row->o.days_left && atoi(row->o.days_left) < row->days_left) row->days_left = atoi(row->o.days_left);
    probe_free(&probe);
}

static bool is_good(const struct row *row) {
    return !row->error.code && row->o.state && !strcmp(row->o.state, "Synced") && row->o.status &&
           !strcmp(row->o.status, "Primary") && row->are_clients_encrypted &&
           !strcmp(observe_group(&row->o), "encrypted") && row->days_left >= 0;
}

static const char *clients(const struct row *row) {
    return row->are_clients_encrypted ? "encrypted" : row->is_tls_offered ? "plaintext allowed" : "PLAINTEXT";
}

static const char *or_dash(const char *value) {
    return value ? value : "-";
}

static void print_row(const struct status *status, const struct inventory_node *node, const struct row *row) {
    char days[16] = "-";
    const char *colour = !status->common.is_colour    ? ""
                         : !is_good(row)              ? "\033[31m"
                         : row->days_left < WARN_DAYS ? "\033[33m"
                                                      : "\033[32m";
    if (row->days_left != INT_MAX) snprintf(days, sizeof(days), "%d", row->days_left);
    if (row->error.code)
        printf("%s%-10s%s %s\n", colour, node->name, *colour ? "\033[0m" : "", row->error.text);
    else
        printf("%s%-10s%s %-14s %-12s %6s %4s %12s %7.7s %6s %6s %-17s %-17s %6s\n", colour, node->name,
               *colour ? "\033[0m" : "", or_dash(row->o.state), or_dash(row->o.status), or_dash(row->o.view),
               or_dash(row->o.size), or_dash(row->o.committed), or_dash(row->o.paused), or_dash(row->o.recv_queue),
               or_dash(row->o.send_queue), clients(row), observe_group(&row->o), days);
}

static void json_row(struct json *json, const struct inventory_node *node, const struct row *row) {
    json_open(json, node->name, '{');
    json_bool(json, "good", is_good(row));
    if (row->error.code) {
        json_text(json, "error", row->error.text);
    } else {
        json_text(json, "state", row->o.state);
        json_text(json, "status", row->o.status);
        json_text(json, "view", row->o.view);
        json_text(json, "size", row->o.size);
        json_text(json, "committed", row->o.committed);
        json_text(json, "flow_control_paused", row->o.paused);
        json_text(json, "recv_queue", row->o.recv_queue);
        json_text(json, "send_queue", row->o.send_queue);
        json_text(json, "provider", row->o.provider);
        json_text(json, "clients", clients(row));
        json_text(json, "group", observe_group(&row->o));
        if (row->days_left != INT_MAX) json_number(json, "days_left", row->days_left);
    }
    json_close(json, '}');
}

/* -> are all good? */
static bool show(const struct status *status) {
    struct json json = {stdout, false};
    bool are_good = true;
    if (status->common.is_json)
        json_open(&json, NULL, '{');
    else
        printf("%-10s %-14s %-12s %6s %4s %12s %7s %6s %6s %-17s %-17s %6s\n", "node", "state", "component", "view",
               "size", "committed", "paused", "recv_q", "send_q", "clients", "group, IST", "days");
    for (int i = 0; i < status->inventory.node_count; i++) {
        struct row row;
        look_at(status, &status->inventory.nodes[i], &row);
        are_good = is_good(&row) && are_good;
        if (status->common.is_json)
            json_row(&json, &status->inventory.nodes[i], &row);
        else
            print_row(status, &status->inventory.nodes[i], &row);
        observe_free(&row.o);
    }
    if (status->common.is_json) json_close(&json, '}');
    if (status->common.is_json) putchar('\n');
    fflush(stdout);
    return are_good;
}

int cli_status(int argc, char **argv) {
    static struct status status;
    struct xb_error error = {0};
    cli_parse(options, parse, "INVENTORY",
              "Shows the nodes: state, view, flow control, queues, which channels are encrypted, and the days that the "
              "certificates have left. Exit code 1 when a node is not Synced, or a channel not encrypted.",
              argc, argv, &status.common, &status);
    if (inventory_read(&status.inventory, status.inventory_path, &error))
        return cli_trouble(CLI_FAILED, "%s", error.text);
    while (status.watch_s && !ferror(stdout)) {
        if (isatty(STDOUT_FILENO)) fputs("\033[H\033[2J", stdout);
        show(&status);
        sleep(status.watch_s);
    }
    bool is_good = show(&status);
    inventory_free(&status.inventory);
    return is_good ? CLI_GOOD : CLI_FINDINGS;
}
