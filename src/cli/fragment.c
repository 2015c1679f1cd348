/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writes my.cnf fragments. */
#include "cli/fragment.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* IPv6 addresses stand in brackets before a port. */
static void put_endpoint(FILE *to, const char *address, const char *port) {
    const char *open = strchr(address, ':') ? "[" : "", *close = strchr(address, ':') ? "]" : "";
    fprintf(to, "%s%s%s:%s", open, address, close, port);
}

static void put_line(FILE *to, const char *key, const char *address, const char *port) {
    fprintf(to, "%s = ", key);
    put_endpoint(to, address, port);
    fputc('\n', to);
}

static void put_server(FILE *to, const struct inventory *inventory, const struct inventory_node *node,
                       enum fragment_stage stage) {
    const char *c = node->certs_dir;
    fprintf(to,
            "[mysqld]\nport = %s\nssl_ca = %s/ca.pem\nssl_cert = %s/server-cert.pem\nssl_key = %s/server-key.pem\n"
            "require_secure_transport = %s\n",
            node->port, c, c, c, stage == FRAGMENT_CLOSED ? "ON" : "OFF");
    fprintf(to, "wsrep_on = ON\nbinlog_format = ROW\ndefault_storage_engine = InnoDB\ninnodb_autoinc_lock_mode = 2\n");
    if (inventory->provider) fprintf(to, "wsrep_provider = %s\n", inventory->provider);
    fprintf(to, "wsrep_cluster_name = %s\nwsrep_node_name = %s\nwsrep_cluster_address = gcomm://", inventory->name,
            node->name);
    for (int i = 0; i < inventory->node_count; i++) {
        if (i > 0) fputc(',', to);
        put_endpoint(to, inventory->nodes[i].address, inventory->nodes[i].group_port);
    }
    fputc('\n', to);
    put_line(to, "wsrep_node_address", node->address, node->group_port);
    put_line(to, "wsrep_node_incoming_address", node->address, node->port);
    fprintf(to, "wsrep_sst_method = %s\n", inventory->sst_method);
    put_line(to, "wsrep_sst_receive_address", node->address, node->sst_port);
    fprintf(to,
            "wsrep_provider_options = \"socket.ssl=YES;socket.ssl_ca=%s/ca.pem;socket.ssl_cert=%s/server-cert.pem;"
            "socket.ssl_key=%s/server-key.pem;%sist.recv_addr=",
            c, c, c, stage == FRAGMENT_CLOSED ? "" : "socket.dynamic=yes;");
    put_endpoint(to, node->address, node->ist_port);
    fprintf(to, "%s%s\"\n", node->options ? ";" : "", node->options ? node->options : "");
}

static void put_snapshots(FILE *to, const struct inventory_node *node, enum fragment_stage stage) {
    const char *c = node->certs_dir;
    if (stage == FRAGMENT_OPEN)
        fprintf(to, "\n[sst]\nencrypt = 0\n");
    else
        fprintf(to,
                "\n[sst]\nencrypt = 4\nssl_ca = %s/ca.pem\nssl_cert = %s/server-cert.pem\n"
                "ssl_key = %s/server-key.pem\nssl_dhparams = %s/dhparams.pem\n",
                c, c, c, c);
}

char *fragment_text(const struct inventory *inventory, const struct inventory_node *node, enum fragment_stage stage) {
    char *text = NULL;
    size_t size;
    const char *c = node->certs_dir;
    FILE *to = open_memstream(&text, &size);
    if (!to) abort();
    fprintf(to, "# Node %s of cluster %s. Written by xebec config; the next xebec deploy writes it anew.\n", node->name,
            inventory->name);
    put_server(to, inventory, node, stage);
    put_snapshots(to, node, stage);
    fprintf(to, "\n[client]\nssl_ca = %s/ca.pem\nssl_cert = %s/client-cert.pem\nssl_key = %s/client-key.pem\n", c, c,
            c);
    fclose(to);
    return text;
}

void fragment_add(struct place_files *files, const struct inventory *inventory, const struct inventory_node *node,
                  enum fragment_stage stage) {
    char *text = fragment_text(inventory, node, stage);
    place_add(files, "fragment.cnf", text, strlen(text));
}
