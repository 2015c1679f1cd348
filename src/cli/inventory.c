/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads the inventory. */
#include "cli/inventory.h"
#include "cli/files.h"

#include <errno.h>
#include <ini.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PLAIN "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

enum kind { KIND_NAME, KIND_PATH, KIND_HOST, KIND_SSH, KIND_PORT, KIND_COMMAND, KIND_OPTIONS };

static const struct key {
    const char *name;
    enum kind kind;
    size_t offset;
    const char *otherwise;
} cluster_keys[] =
    {
        {"name", KIND_NAME, offsetof(struct inventory, name), NULL},
        {"certs", KIND_PATH, offsetof(struct inventory, certs), NULL},
        {"provider", KIND_PATH, offsetof(struct inventory, provider), NULL},
        {"sst_method", KIND_NAME, offsetof(struct inventory, sst_method), "mariabackup"},
        {"ssh_config", KIND_PATH, offsetof(struct inventory, ssh_config), NULL},
        {"user", KIND_NAME, offsetof(struct inventory, user), NULL},
        {"password_file", KIND_PATH, offsetof(struct inventory, password_file), NULL},
},
  node_keys[] = {
      {"address", KIND_HOST, offsetof(struct inventory_node, address), NULL},
      {"ssh", KIND_SSH, offsetof(struct inventory_node, ssh), NULL},
      {"port", KIND_PORT, offsetof(struct inventory_node, port), "3306"},
      {"group_port", KIND_PORT, offsetof(struct inventory_node, group_port), "4567"},
      {"ist_port", KIND_PORT, offsetof(struct inventory_node, ist_port), "4568"},
      {"sst_port", KIND_PORT, offsetof(struct inventory_node, sst_port), "4444"},
      {"socket", KIND_PATH, offsetof(struct inventory_node, socket), NULL},
      {"certs_dir", KIND_PATH, offsetof(struct inventory_node, certs_dir), "/etc/mysql/xebec"},
      {"fragment", KIND_PATH, offsetof(struct inventory_node, fragment), "/etc/mysql/mariadb.conf.d/90-xebec.cnf"},
      {"owner", KIND_NAME, offsetof(struct inventory_node, owner), "mysql"},
      {"restart", KIND_COMMAND, offsetof(struct inventory_node, restart), "systemctl restart mariadb"},
      {"options", KIND_OPTIONS, offsetof(struct inventory_node, options), NULL},
};
#define COUNT(array) (sizeof(array) / sizeof(*(array)))

struct reading {
    struct inventory *inventory;
    struct inventory_node all; /* what [cluster] says for every node */
    struct xb_error *error;
};

static bool consists_of(const char *value, const char *characters) {
    return *value && !value[strspn(value, characters)];
}

static bool is_acceptable(enum kind kind, const char *value) {
    switch (kind) {
    case KIND_NAME:
        return consists_of(value, PLAIN) && *value != '-' && *value != '.' && strlen(value) <= 32;
    case KIND_PATH:
        return *value == '/' && consists_of(value, PLAIN "/+@,:") && !strstr(value, "/../");
    case KIND_HOST:
        return consists_of(value, PLAIN ":") && *value != '-';
    case KIND_SSH:
        return consists_of(value, PLAIN "@:[]") && *value != '-';
    case KIND_PORT:
        return consists_of(value, "0123456789") && strlen(value) <= 5 && atoi(value) > 0 && atoi(value) < 65536;
    case KIND_COMMAND:
        return consists_of(value, PLAIN "/+@,:= ") && *value != '-';
    case KIND_OPTIONS:
        return consists_of(value, PLAIN "/+@,:;= []");
    }
    return false;
}

static char **slot(void *base, const struct key *key) {
    return (char **)((char *)base + key->offset);
}

/* -> was it one of these keys? */
static bool take(const struct key *keys, size_t count, void *base, const char *name, const char *value,
                 struct xb_error *error) {
    for (size_t i = 0; i < count; i++) {
        if (strcmp(keys[i].name, name)) continue;
        if (!is_acceptable(keys[i].kind, value)) {
            xb_fail(error, -EINVAL, "'%s' is not acceptable for %s%s", value, name,
                    keys[i].kind == KIND_PATH ? ": an absolute path of plain characters" : "");
            return true;
        }
        free(*slot(base, &keys[i]));
        *slot(base, &keys[i]) = strdup(value);
        return true;
    }
    return false;
}

static struct inventory_node *node_named(struct reading *reading, const char *name) {
    struct inventory *inventory = reading->inventory;
    for (int i = 0; i < inventory->node_count; i++) {
        if (!strcmp(inventory->nodes[i].name, name)) return &inventory->nodes[i];
    }
    if (!is_acceptable(KIND_NAME, name) || inventory->node_count == INVENTORY_NODES_MAX) {
        xb_fail(reading->error, -EINVAL, "'%s' is no name for a node, or there are more than %d", name,
                INVENTORY_NODES_MAX);
        return NULL;
    }
    struct inventory_node *node = &inventory->nodes[inventory->node_count++];
    node->name = strdup(name);
    return node;
}

static int take_line(void *ctx, const char *section, const char *name, const char *value) {
    struct reading *reading = ctx;
    bool is_known = false;
    if (reading->error->code) return 0; /* the first counts */
    if (!strcmp(section, "cluster")) {
        is_known = take(cluster_keys, COUNT(cluster_keys), reading->inventory, name, value, reading->error) ||
                   take(node_keys, COUNT(node_keys), &reading->all, name, value, reading->error);
    } else if (!strncmp(section, "node ", 5)) {
        struct inventory_node *node = node_named(reading, section + 5);
        is_known = !node || take(node_keys, COUNT(node_keys), node, name, value, reading->error);
    }
    if (!is_known) xb_fail(reading->error, -EINVAL, "there is no key '%s' in [%s]", name, section);
    return reading->error->code == 0;
}

static void complete(struct reading *reading) {
    struct inventory *inventory = reading->inventory;
    for (size_t i = 0; i < COUNT(cluster_keys); i++) {
        char **value = slot(inventory, &cluster_keys[i]);
        if (!*value && cluster_keys[i].otherwise) *value = strdup(cluster_keys[i].otherwise);
    }
    for (int n = 0; n < inventory->node_count; n++) {
        for (size_t i = 0; i < COUNT(node_keys); i++) {
            char **value = slot(&inventory->nodes[n], &node_keys[i]), *general = *slot(&reading->all, &node_keys[i]);
            const char *otherwise = general ? general : node_keys[i].otherwise;
            if (!*value && otherwise) *value = strdup(otherwise);
        }
        if (!inventory->nodes[n].address) inventory->nodes[n].address = strdup(inventory->nodes[n].name);
    }
    for (size_t i = 0; i < COUNT(node_keys); i++) free(*slot(&reading->all, &node_keys[i]));
}

int inventory_read(struct inventory *inventory, const char *path, struct xb_error *error) {
    struct xb_error first = {0};
    struct reading reading = {.inventory = inventory, .error = &first};
    *inventory = (struct inventory){0};
    int line = ini_parse(path, take_line, &reading);
    complete(&reading);
    if (line < 0)
        return xb_fail(error, line == -1 ? -ENOENT : -ENOMEM, "cannot read the inventory %s: %s", path,
                       strerror(errno));
    if (line > 0)
        return xb_fail(error, -EINVAL, "%s, line %d: %s", path, line, first.code ? first.text : "not understood");
    if (!inventory->name || !inventory->certs || inventory->node_count == 0)
        return xb_fail(error, -EINVAL, "%s needs [cluster] with name and certs, and at least one [node NAME]", path);
    return 0;
}

void inventory_free(struct inventory *inventory) {
    for (size_t i = 0; i < COUNT(cluster_keys); i++) free(*slot(inventory, &cluster_keys[i]));
    for (int n = 0; n < inventory->node_count; n++) {
        free(inventory->nodes[n].name);
        for (size_t i = 0; i < COUNT(node_keys); i++) free(*slot(&inventory->nodes[n], &node_keys[i]));
    }
    *inventory = (struct inventory){0};
}

const struct inventory_node *inventory_find(const struct inventory *inventory, const char *name) {
    for (int i = 0; i < inventory->node_count; i++) {
        if (!strcmp(inventory->nodes[i].name, name)) return &inventory->nodes[i];
    }
    return NULL;
}

char *inventory_certs_of(const struct inventory *inventory, const struct inventory_node *node) {
    char *own = files_join(inventory->certs, node->name), *cert = files_join(own, "server-cert.pem");
    bool has_own = access(cert, F_OK) == 0;
    free(cert);
    if (has_own) return own;
    free(own);
    return strdup(inventory->certs);
}
