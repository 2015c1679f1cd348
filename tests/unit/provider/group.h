/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A group of make-believe servers on 127.0.0.1, and clients that load them. Inside tests/unit/provider only. */
#ifndef XB_TESTS_GROUP_H
#define XB_TESTS_GROUP_H

#include "engine.h"

#define GROUP_NODES 3

extern char group_dir[64];        /* temporary, of the run */
extern char group_addresses[128]; /* of all nodes, for fake_start */
/* Of the first node; each has ten, and 50 to 99 are free for a test. 28600, or where XEBEC_PORTS=FROM-TO begins (the
 * build gives each program its own hundred). */
extern int group_port;
extern struct fake_server nodes[GROUP_NODES];

int group_setup(void **state);
int group_teardown(void **state);

void init_node(int i); /* a new one, with an empty directory */
void init_nodes(int count);
void start_nodes(int count); /* initialized, the first bootstrapped, until all are synced */
void stop_nodes(int count);
/* All have applied the same, in the same order. */
void assert_equal_nodes(int count);

struct client {
    struct fake_server *server;
    unsigned seed;
    int transactions, span, first;
    bool is_streaming;
    _Atomic(bool) *is_over;
    int64_t done, refused;
    pthread_t thread;
};
void *run_client(void *client); /* what its thread does */
void start_client(struct client *client, struct fake_server *server, unsigned seed, int transactions, int span);
void run_clients(struct client *clients, int count); /* until all are done */

#endif
