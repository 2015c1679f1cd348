/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A group of make-believe servers, and clients that load them; group.h. */
#include "group.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

char group_dir[64], group_addresses[128];
int group_port = 28600;
struct fake_server nodes[GROUP_NODES];

int group_setup(void **state) {
    const char *ports = getenv("XEBEC_PORTS");
    (void)state;
    if (ports) group_port = atoi(ports);
    snprintf(group_dir, sizeof(group_dir), "/tmp/xb_group_XXXXXX");
    if (!mkdtemp(group_dir)) return -1;
    for (int i = 0; i < GROUP_NODES; i++) {
        char one[32];
        snprintf(one, sizeof(one), "%s127.0.0.1:%d", i ? "," : "", group_port + i * 10);
        strcat(group_addresses, one);
    }
    return 0;
}

int group_teardown(void **state) {
    char command[128];
    (void)state;
    snprintf(command, sizeof(command), "rm -rf %s", group_dir);
    return system(command);
}

void init_node(int i) {
    static int round;
    char dir[96];
    snprintf(dir, sizeof(dir), "%s/%d-%d", group_dir, round++, i);
    assert_int_equal(mkdir(dir, 0700), 0);
    fake_init(&nodes[i], i, group_port + i * 10, dir);
}

void init_nodes(int count) {
    for (int i = 0; i < count; i++) init_node(i);
}

void start_nodes(int count) {
    init_nodes(count);
    for (int i = 0; i < count; i++) {
        assert_int_equal(fake_start(&nodes[i], i ? group_addresses : "", i == 0, ""), 0);
        assert_true(fake_wait_synced(&nodes[i], 200));
    }
}

void stop_nodes(int count) {
    for (int i = count - 1; i >= 0; i--) fake_stop(&nodes[i]);
    for (int i = 0; i < count; i++) fake_destroy(&nodes[i]);
}

void assert_equal_nodes(int count) {
    int64_t last = 0;
    for (int i = 0; i < count; i++)
        if (fake_last_committed(&nodes[i]) > last) last = fake_last_committed(&nodes[i]);
    for (int i = 0; i < count; i++) {
        struct abi_gtid reached;
        assert_int_equal(nodes[i].t.sync_wait(&nodes[i].t, NULL, 30, &reached), 0);
        fake_wait_position(&nodes[i], last);
        fake_check_seen(&nodes[i]);
    }
    for (int i = 1; i < count; i++) {
        assert_memory_equal(nodes[0].rows, nodes[i].rows, sizeof(nodes[0].rows));
        assert_int_equal(nodes[0].history_hash, nodes[i].history_hash);
    }
}

/* ---- load ---- */

void *run_client(void *arg) {
    struct client *client = arg;
    for (int i = 0; client->is_over ? !atomic_load(client->is_over) : i < client->transactions; i++) {
        int count = 1 + (int)((unsigned)rand_r(&client->seed) % FAKE_TRX_ROWS);
        int row = client->first + (int)((unsigned)rand_r(&client->seed) % (unsigned)(client->span - count));
        int kind = rand_r(&client->seed) % 8, rc;
        if (client->is_streaming && kind < 4)
            rc = fake_stream(client->server, &client->seed, row, count, i % 100, kind == 0);
        else
            rc = fake_add(client->server, &client->seed, row, count, i % 100);
        if (rc == 0) client->done++;
        if (rc == 1047) client->refused++;
    }
    return NULL;
}

void start_client(struct client *client, struct fake_server *server, unsigned seed, int transactions, int span) {
    *client = (struct client){.server = server, .seed = seed, .transactions = transactions, .span = span};
}

void run_clients(struct client *clients, int count) {
    for (int i = 0; i < count; i++) pthread_create(&clients[i].thread, NULL, run_client, &clients[i]);
    for (int i = 0; i < count; i++) pthread_join(clients[i].thread, NULL);
}
