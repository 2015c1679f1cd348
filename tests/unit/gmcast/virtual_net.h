/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A network in memory for a few gmcast instances: hosts 10.0.0.1, 10.0.0.2, ..., port 4567, a latency of 1 ms, a
 * virtual clock. A host without instance ("raw") is played by the test, which sees and sends single messages.
 */
#ifndef XB_TESTS_GMCAST_VIRTUAL_NET_H
#define XB_TESTS_GMCAST_VIRTUAL_NET_H

#include "base/clock.h"
#include "gmcast/gmcast.h"
#include "gmcast/messages.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

#define VNET_HOSTS_MAX 8
#define VNET_PIPES_MAX 4096
#define VNET_EVENTS_MAX 65536
#define VNET_INBOX_MAX 2048
#define VNET_LATENCY_NS XB_MS

struct vnet;

struct vnet_message {
    struct xb_uuid source;
    uint8_t data[64];
    size_t size;
    int64_t at_ns;
};

struct vnet_hint {
    struct xb_uuid peer;
    bool is_refused;
    int64_t at_ns;
};

struct vnet_host {
    struct vnet *net;
    int index;
    bool is_up;          /* something listens; else dials are refused */
    bool is_mute;        /* takes everything and answers nothing, as a stopped process does */
    struct gmcast *mesh; /* NULL: raw */
    struct xb_random random;
    struct xb_uuid uuid;
    /* What came up. */
    struct vnet_message messages[VNET_INBOX_MAX];
    size_t message_count;
    struct vnet_hint hints[64];
    size_t hint_count;
    struct xb_error fatal;
    unsigned fatal_count;
    int message_result; /* what the layer above answers */
    int send_result;    /* what the network answers to every datagram, 0: takes it */
    /* Counters of what was sent. */
    unsigned sent[16]; /* by message type */
    unsigned dials, dials_to[VNET_HOSTS_MAX + 1];
    /* Raw hosts: what came in last, per connection end, see vnet_raw_*. */
};

/* A connection; end 0 is the dialler. Connection number of an end: 1 + 2 * index + end. */
struct vnet_pipe {
    int host[2];
    bool is_open[2];
    bool is_accepted;        /* the acceptor knows it */
    uint8_t inbox[2][40960]; /* raw ends: bodies received, each with a u32 length in front */
    size_t inbox_used[2];
    size_t inbox_read[2];
    bool has_ended[2]; /* raw ends: the other side closed */
};

enum vnet_event_kind { VNET_ACCEPT, VNET_CONNECTED, VNET_REFUSED, VNET_DATA, VNET_EOF };

struct vnet_event {
    int64_t at_ns;
    enum vnet_event_kind kind;
    int pipe, end; /* who gets it */
    struct xb_buf *buf;
};

struct vnet {
    int64_t now_ns;
    struct vnet_host hosts[VNET_HOSTS_MAX + 1]; /* from 1 */
    struct vnet_pipe *pipes[VNET_PIPES_MAX];
    size_t pipe_count;
    struct vnet_event events[VNET_EVENTS_MAX]; /* in the order of time */
    size_t event_count;
    bool is_cut[VNET_HOSTS_MAX + 1][VNET_HOSTS_MAX + 1]; /* nothing passes, nothing fails */
    int64_t latency_ns[VNET_HOSTS_MAX + 1];              /* of what the host sends, 0: the usual one */
    bool is_tls;
    struct xb_log log;
};

/* True while the network itself takes memory, which never fails in the tests that make allocations fail. */
extern volatile bool vnet_is_allocating;

struct vnet *vnet_new(void);
void vnet_free(struct vnet *net);

/* A config with the usual values for a host. */
struct gmcast_config vnet_config(const struct vnet *net, int host);
/* Starts an instance at a host with the given configured peers (host numbers, ended by 0). */
void vnet_start(struct vnet *net, int host, const int *peers);
void vnet_start_with(struct vnet *net, int host, const struct gmcast_config *config, const int *peers);
#define PEERS(...) ((const int[]){__VA_ARGS__, 0})
#define NO_PEERS ((const int[]){0})
/* The process is gone: connections break at once, dials are refused. */
void vnet_kill(struct vnet *net, int host);
void vnet_cut(struct vnet *net, int a, int b, bool is_cut);
void vnet_run(struct vnet *net, int64_t duration_ns);

const char *vnet_address(const struct vnet *net, int host, char text[GMCAST_ADDRESS_SIZE]);
bool vnet_is_connected(struct vnet *net, int a, int b); /* both sides say so, over the same connection */
void vnet_assert_full_mesh(struct vnet *net, int hosts);
size_t vnet_peer_count(struct vnet *net, int host);
void vnet_broadcast(struct vnet *net, int host, const char *text);
void vnet_unicast(struct vnet *net, int host, int target, const char *text);
unsigned vnet_count(const struct vnet *net, int host, int source, const char *text); /* arrived */
/* Tells hosts a view of the given hosts (0 ends). */
void vnet_view(struct vnet *net, int host, bool is_primary, const int *members, const int *left);

/* Raw hosts. */
void vnet_raw(struct vnet *net, int host);
int vnet_raw_dial(struct vnet *net, int host, int target);  /* -> pipe, end 0 is ours; runs the network */
int vnet_raw_accepted(struct vnet *net, int host, int nth); /* -> nth pipe accepted by the raw host, -1 none */
void vnet_raw_send(struct vnet *net, int pipe, int end, const void *body, size_t size);
/* The next message at our end -> its type, 0: none. body holds the last one returned. */
int vnet_raw_next(struct vnet *net, int pipe, int end, const uint8_t **body, size_t *size);
bool vnet_raw_has_ended(struct vnet *net, int pipe, int end); /* the instance closed */

#endif
