/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The proof of an audit: random strings are written through the cluster while its traffic is captured, and must not be
 * found in it.
 *
 * On every node, as a client by TCP: a table with a random name, rows with random text, and a big row. All nodes' group
 * ports then carry them. That the detector works is shown first: the canary in clear over a connection of our own must
 * be found, else there is no verdict.
 */
#include "cli/audit.h"
#include "cli/sql.h"
#include "cli/wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <openssl/rand.h>
#include <pcap/pcap.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CAPTURE_BUFFER_BYTES (32 << 20)
#define BIG_ROW_REPEATS 20000

struct proof {
    struct audit *audit;
    pcap_t *pcap;
    int link;
    struct wire *wire;
    char text[40], table[40];
    int own_listener, own_client, own_server;
};

/* -> bytes in front of the IP packet, or -1: none of ours */
static int link_header(int link, const uint8_t *data, size_t size) {
    switch (link) {
    case DLT_LINUX_SLL:
        return 16;
    case DLT_LINUX_SLL2:
        return 20;
    case DLT_EN10MB:
        return size > 18 && data[12] == 0x81 && data[13] == 0 ? 18 : 14;
    case DLT_NULL:
        return 4;
    case DLT_RAW:
        return 0;
    default:
        return -1;
    }
}

static void take_packet(uint8_t *ctx, const struct pcap_pkthdr *header, const uint8_t *data) {
    struct proof *proof = (struct proof *)ctx;
    int offset = link_header(proof->link, data, header->caplen);
    if (offset >= 0 && (size_t)offset < header->caplen)
        wire_packet(proof->wire, data + offset, header->caplen - (size_t)offset);
}

static int64_t now_ms(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int open_capture(struct proof *proof, struct xb_error *error) {
    char message[PCAP_ERRBUF_SIZE];
    const char *interface = proof->audit->interface ? proof->audit->interface : "any";
    pcap_t *pcap = pcap_create(interface, message);
    if (!pcap) return xb_fail(error, -EIO, "cannot capture on %s: %s", interface, message);
    pcap_set_snaplen(pcap, 262144);
    pcap_set_timeout(pcap, 100);
    pcap_set_buffer_size(pcap, CAPTURE_BUFFER_BYTES);
    int code = pcap_activate(pcap);
    if (code < 0)
        return xb_fail(error, -EPERM, "cannot capture on %s: %s; run as root or with CAP_NET_RAW", interface,
                       pcap_statustostr(code));
    struct bpf_program filter;
    if (pcap_compile(pcap, &filter, "tcp", 1, PCAP_NETMASK_UNKNOWN) != 0 || pcap_setfilter(pcap, &filter) != 0)
        return xb_fail(error, -EIO, "cannot set the filter on %s: %s", interface, pcap_geterr(pcap));
    pcap_freecode(&filter);
    pcap_setnonblock(pcap, 1, message);
    proof->pcap = pcap;
    proof->link = pcap_datalink(pcap);
    return 0;
}

static void drain(struct proof *proof) {
    while (pcap_dispatch(proof->pcap, -1, take_packet, (uint8_t *)proof) > 0) {
    }
}

static void add_port(struct proof *proof, int port) {
    struct wire *wire = proof->wire;
    for (int i = 0; i < wire->port_count; i++) {
        if (wire->ports[i].port == port) return;
    }
    if (wire->port_count < WIRE_PORTS_MAX) wire->ports[wire->port_count++] = (struct wire_port){.port = (uint16_t)port};
}

static const struct wire_port *port_seen(const struct proof *proof, int port) {
    for (int i = 0; i < proof->wire->port_count; i++) {
        if (proof->wire->ports[i].port == port) return &proof->wire->ports[i];
    }
    return NULL;
}

/* A connection of our own on loopback. -> its port, or -1 */
static int connect_to_self(struct proof *proof) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    proof->own_listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    proof->own_client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(proof->own_listener, (struct sockaddr *)&address, size) != 0 || listen(proof->own_listener, 1) != 0 ||
        getsockname(proof->own_listener, (struct sockaddr *)&address, &size) != 0 ||
        connect(proof->own_client, (struct sockaddr *)&address, size) != 0)
        return -1;
    proof->own_server = accept(proof->own_listener, NULL, NULL);
    return proof->own_server < 0 ? -1 : ntohs(address.sin_port);
}

/* Only where loopback is captured can the detector be shown to work; elsewhere its silence must be believed. */
static int show_that_it_sees(struct proof *proof, struct xb_error *error) {
    const char *interface = proof->audit->interface;
    if (interface && strcmp(interface, "any") && strcmp(interface, "lo")) return 0;
    int port = connect_to_self(proof);
    if (port < 0) return xb_fail(error, -EIO, "cannot connect to itself: %m");
    add_port(proof, port);
    if (send(proof->own_client, proof->text, 10, MSG_NOSIGNAL) < 0 || /* in two pieces, across a border */
        send(proof->own_client, proof->text + 10, strlen(proof->text) - 10, MSG_NOSIGNAL) < 0)
        return xb_fail(error, -EIO, "cannot send to itself: %m");
    for (int64_t end = now_ms() + 5000; now_ms() < end;) {
        struct pollfd wait = {pcap_get_selectable_fd(proof->pcap), POLLIN, 0};
        poll(&wait, 1, 100);
        drain(proof);
        if (port_seen(proof, port)->hits) break;
    }
    bool is_seen = port_seen(proof, port)->hits;
    close(proof->own_client);
    close(proof->own_server);
    close(proof->own_listener);
    return is_seen ? 0
                   : xb_fail(error, -EIO,
                             "the capture does not even see the canary in clear on loopback: no proof is possible");
}

static int run(struct sql *sql, struct xb_error *error, const char *format, ...) __attribute__((format(printf, 3, 4)));
static int run(struct sql *sql, struct xb_error *error, const char *format, ...) {
    char statement[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(statement, sizeof(statement), format, arguments);
    va_end(arguments);
    return sql_run(sql, statement, NULL, NULL, error);
}

/* The text itself is sent by the client once for each row, and once for the big one, which the server multiplies. */
static int write_canaries(struct proof *proof, int round, struct xb_error *error) {
    int result = 0;
    for (int i = 0; result == 0 && i < proof->audit->inventory.node_count; i++) {
        struct sql *sql = sql_open(&proof->audit->inventory, &proof->audit->inventory.nodes[i], SQL_AS_OTHERS, error);
        if (!sql) return error->code;
        if (i == 0 && round == 0) {
            result = run(sql, error, "CREATE DATABASE IF NOT EXISTS xebec_proof");
            if (result == 0)
                result =
                    run(sql, error,
                        "CREATE TABLE xebec_proof.%s (id INT AUTO_INCREMENT PRIMARY KEY, v LONGTEXT) ENGINE=InnoDB",
                        proof->table);
        }
        if (result == 0) result = run(sql, error, "SET SESSION wsrep_sync_wait=15");
        if (result == 0)
            result = run(sql, error, "INSERT INTO xebec_proof.%s (v) VALUES ('%s')", proof->table, proof->text);
        if (result == 0 && round == 0)
            result = run(sql, error, "INSERT INTO xebec_proof.%s (v) VALUES (REPEAT('%s', %d))", proof->table,
                         proof->text, BIG_ROW_REPEATS);
        sql_close(sql);
        drain(proof);
    }
    return result;
}

static void drop(struct proof *proof) {
    struct xb_error error = {0};
    struct sql *sql = sql_open(&proof->audit->inventory, &proof->audit->inventory.nodes[0], SQL_AS_OTHERS, &error);
    if (!sql || run(sql, &error, "DROP DATABASE xebec_proof"))
        cli_trouble(0, "the schema xebec_proof is left over: %s", error.text);
    sql_close(sql);
}

/* Nodes hold one connection a pair, at the port of either: a node that has dialled all its peers shows nothing at its
 * own. */
static bool is_group_seen(const struct proof *proof) {
    bool is_seen = false;
    for (int i = 0; i < proof->audit->inventory.node_count; i++) {
        const struct wire_port *port = port_seen(proof, atoi(proof->audit->inventory.nodes[i].group_port));
        is_seen = is_seen || (port && port->bytes > 0);
    }
    return is_seen;
}

static void conclude(struct proof *proof) {
    struct audit *audit = proof->audit;
    for (int i = 0; i < audit->inventory.node_count; i++) {
        const struct inventory_node *node = &audit->inventory.nodes[i];
        const struct {
            const char *kind, *port;
            bool is_optional;
        } channels[] = {{"clients", node->port, false},
                        {"group", node->group_port, false},
                        {"IST", node->ist_port, true},
                        {"SST", node->sst_port, true}};
        for (size_t c = 0; c < sizeof(channels) / sizeof(*channels); c++) {
            const struct wire_port *port = port_seen(proof, atoi(channels[c].port));
            char where[128];
            snprintf(where, sizeof(where), "%s %s", node->name, channels[c].kind);
            if (!port || (channels[c].is_optional && port->bytes == 0)) continue;
            audit->proofs[audit->proof_count++] =
                (struct audit_proof){node->name, channels[c].kind, port->bytes, port->hits};
            if (port->hits)
                findings_add(&audit->findings, RULE_CANARY, where, "the canary was found %zu times in %zu bytes",
                             port->hits, port->bytes);
            else if (port->bytes == 0 && !(c == 1 && is_group_seen(proof)))
                findings_add(&audit->findings, RULE_NOT_PROVEN, where, "nothing was seen on port %s", channels[c].port);
        }
    }
}

static int prove(struct proof *proof, struct xb_error *error) {
    int64_t end = now_ms() + proof->audit->proof_s * 1000LL;
    int result = open_capture(proof, error);
    if (result == 0) result = show_that_it_sees(proof, error);
    for (int round = 0; result == 0 && (round == 0 || now_ms() < end); round++)
        result = write_canaries(proof, round, error);
    if (result) return result;
    drop(proof);
    for (int quiet = 0; quiet < 3; quiet++) { /* what the kernel still holds */
        struct pollfd wait = {pcap_get_selectable_fd(proof->pcap), POLLIN, 0};
        poll(&wait, 1, 100);
        drain(proof);
    }
    struct pcap_stat statistics;
    if (pcap_stats(proof->pcap, &statistics) == 0 && statistics.ps_drop > 0)
        findings_add(&proof->audit->findings, RULE_NOT_PROVEN, "capture",
                     "%u packets were lost, the search is not complete", statistics.ps_drop);
    conclude(proof);
    return 0;
}

int audit_prove(struct audit *audit, struct xb_error *error) {
    struct proof proof = {.audit = audit, .wire = calloc(1, sizeof(struct wire))};
    unsigned char random[20];
    if (!proof.wire || RAND_bytes(random, sizeof(random)) != 1)
        return xb_fail(error, -ENOMEM, "no memory or randomness");
    snprintf(proof.text, sizeof(proof.text), "canary-");
    snprintf(proof.table, sizeof(proof.table), "proof_");
    for (int i = 0; i < 12; i++) snprintf(proof.text + strlen(proof.text), 3, "%02x", random[i]);
    for (int i = 12; i < 20; i++) snprintf(proof.table + strlen(proof.table), 3, "%02x", random[i]);
    proof.wire->needles[proof.wire->needle_count++] = proof.text;
    proof.wire->needles[proof.wire->needle_count++] = proof.table;
    for (int i = 0; i < audit->inventory.node_count; i++) {
        const struct inventory_node *node = &audit->inventory.nodes[i];
        const char *ports[] = {node->port, node->group_port, node->ist_port, node->sst_port};
        for (int p = 0; p < 4; p++) add_port(&proof, atoi(ports[p]));
    }
    int result = prove(&proof, error);
    if (proof.pcap) pcap_close(proof.pcap);
    free(proof.wire);
    return result;
}
