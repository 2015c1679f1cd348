/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a node tells about itself over SQL. */
#include "cli/observe.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const struct {
    const char *name;
    size_t offset;
} fields[] = {
    {"wsrep_local_state_comment", offsetof(struct observation, state)},
    {"wsrep_cluster_status", offsetof(struct observation, status)},
    {"wsrep_cluster_size", offsetof(struct observation, size)},
    {"wsrep_cluster_conf_id", offsetof(struct observation, view)},
    {"wsrep_last_committed", offsetof(struct observation, committed)},
    {"wsrep_flow_control_paused", offsetof(struct observation, paused)},
    {"wsrep_local_recv_queue", offsetof(struct observation, recv_queue)},
    {"wsrep_local_send_queue", offsetof(struct observation, send_queue)},
    {"wsrep_provider_name", offsetof(struct observation, provider)},
    {"wsrep_peers", offsetof(struct observation, peers)},
    {"wsrep_ssl_cert_days_left", offsetof(struct observation, days_left)},
    {"wsrep_provider_options", offsetof(struct observation, options)},
    {"require_secure_transport", offsetof(struct observation, secure_transport)},
};

static char **slot(struct observation *observation, size_t i) {
    return (char **)((char *)observation + fields[i].offset);
}

static void take_row(void *ctx, unsigned columns, char **values) {
    for (size_t i = 0; columns > 1 && values[0] && i < sizeof(fields) / sizeof(*fields); i++) {
        if (!strcasecmp(fields[i].name, values[0]) && values[1] && !*slot(ctx, i)) *slot(ctx, i) = strdup(values[1]);
    }
}

int observe(struct sql *sql, struct observation *observation, struct xb_error *error) {
    *observation = (struct observation){0};
    int result = sql_run(sql, "SHOW GLOBAL STATUS LIKE 'wsrep%'", take_row, observation, error);
    if (result == 0)
        result = sql_run(sql, "SHOW GLOBAL VARIABLES LIKE 'wsrep_provider_options'", take_row, observation, error);
    if (result == 0)
        result = sql_run(sql, "SHOW GLOBAL VARIABLES LIKE 'require_secure_transport'", take_row, observation, error);
    return result;
}

void observe_free(struct observation *observation) {
    for (size_t i = 0; i < sizeof(fields) / sizeof(*fields); i++) free(*slot(observation, i));
    *observation = (struct observation){0};
}

char *observe_option(const char *options, const char *name) {
    size_t length = strlen(name);
    for (const char *at = options; at && *at; at = strchr(at, ';') ? strchr(at, ';') + 1 : NULL) {
        at += strspn(at, " ");
        if (strncmp(at, name, length)) continue;
        const char *value = at + length + strspn(at + length, " ");
        if (*value != '=') continue;
        value += 1 + strspn(value + 1, " ");
        size_t size = strcspn(value, ";");
        while (size > 0 && value[size - 1] == ' ') size--;
        return strndup(value, size);
    }
    return NULL;
}

bool observe_is_on(const char *value) {
    return value &&
           (!strcasecmp(value, "YES") || !strcasecmp(value, "ON") || !strcmp(value, "1") || !strcasecmp(value, "TRUE"));
}

const char *observe_group(const struct observation *observation) {
    char *ssl = observe_option(observation->options, "socket.ssl"),
         *dynamic = observe_option(observation->options, "socket.dynamic");
    const char *verdict = !observe_is_on(ssl)      ? "PLAINTEXT"
                          : observe_is_on(dynamic) ? "plaintext allowed"
                                                   : "encrypted";
    if (observation->peers && strstr(observation->peers, "plaintext")) verdict = "PLAINTEXT";
    free(ssl);
    free(dynamic);
    return verdict;
}
