/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The inventory: an INI file that says which nodes there are and where their things lie.
 *
 *     [cluster]
 *     name = shop
 *     certs = /root/shop-certs            ; here, as `xebec cert init` made it: certs/NODE if it is there, else certs
 *     [node n1]
 *     address = 10.0.0.1
 *     ssh = root@10.0.0.1                 ; without it the node is on this machine
 *
 * Every value that ends in a command or a configuration file is held to plain characters when it is read, so nothing
 * needs quoting later. Keys of a node may also stand in [cluster], for all nodes.
 */
#ifndef XB_CLI_INVENTORY_H
#define XB_CLI_INVENTORY_H

#include "base/error.h"

#define INVENTORY_NODES_MAX 64

struct inventory_node {
    char *name;
    char *address; /* for peers and clients */
    char *ssh;     /* NULL: this machine */
    char *port, *group_port, *ist_port, *sst_port;
    char *socket;    /* of the server, for SQL; NULL: address and port */
    char *certs_dir; /* on the node; becomes a symbolic link */
    char *fragment;  /* on the node */
    char *owner;     /* of the files: the server's user */
    char *restart;   /* the command there that restarts the server: words, no shell syntax */
    char *options;   /* more wsrep_provider_options; may be NULL */
};

struct inventory {
    char *name, *certs, *provider, *sst_method, *ssh_config, *user, *password_file;
    struct inventory_node nodes[INVENTORY_NODES_MAX];
    int node_count;
};

/* -> 0, or a negative errno with *error naming file and line */
int inventory_read(struct inventory *inventory, const char *path, struct xb_error *error);
void inventory_free(struct inventory *inventory);

/* -> the node, or NULL */
const struct inventory_node *inventory_find(const struct inventory *inventory, const char *name);

/* The directory here with the node's certificates: certs/NODE or certs; to be freed. */
char *inventory_certs_of(const struct inventory *inventory, const struct inventory_node *node);

#endif
