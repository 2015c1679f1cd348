/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Virtual time and a virtual network for the simulator.
 *
 * Everything that happens is an event with a time; the earliest runs next, and events of one time run in the order in
 * which they were made, so a run depends on the seed alone. Hosts are numbers; host n has the address
 * "tcp://10.0.0.<n+1>:4567". A connection is two one-way streams of datagrams, in order, each with the delay and
 * bandwidth of its link. A link is one way, from a host to another; while it is cut, streams stall and dials wait, as
 * TCP does; a reset loses what is under way and ends the connection for both.
 */
#ifndef XB_SIM_NETWORK_H
#define XB_SIM_NETWORK_H

#include "base/buf.h"
#include "base/random.h"
#include "gmcast/gmcast.h"

#include <stdbool.h>
#include <stdint.h>

#define NET_HOSTS_MAX 8
#define NET_ADDRESS_SIZE 32
#define NET_SEND_QUEUE_MAX (16 << 20) /* bytes in one stream; beyond -ENOBUFS */

struct net;

/* What a process hears. Calls come from the events. */
struct net_process {
    void *ctx;
    void (*accepted)(void *ctx, gmcast_conn conn, const char *host);
    void (*connected)(void *ctx, gmcast_conn conn);
    void (*received)(void *ctx, gmcast_conn conn, const uint8_t *body, size_t size);
    void (*lost)(void *ctx, gmcast_conn conn, int reason);
    void (*settle)(void *ctx); /* the batch of events is over */
};

struct net *net_new(struct xb_random *random);
void net_free(struct net *net);

int64_t net_now(const struct net *net);
/* Calls act(ctx, arg) at the time. */
void net_at(struct net *net, int64_t at_ns, void (*act)(void *ctx, uint64_t arg), void *ctx, uint64_t arg);
/* Runs the next event. -> false if it lies beyond until_ns; then the time is until_ns. */
bool net_step(struct net *net, int64_t until_ns);
uint64_t net_event_count(const struct net *net);

const char *net_address(int host, char text[NET_ADDRESS_SIZE]);

/* A process starts to listen, or dies. is_silent: as by a power cut, peers hear nothing; else their connections end. */
void net_up(struct net *net, int host, const struct net_process *process);
void net_down(struct net *net, int host, bool is_silent);
bool net_is_up(const struct net *net, int host);

/* What gmcast sends with, of the host's process. */
struct gmcast_io net_io(struct net *net, int host);

/* Faults. */
void net_cut(struct net *net, int from, int to, bool is_cut); /* one way */
bool net_is_cut(const struct net *net, int from, int to);
void net_reset(struct net *net, int a, int b); /* every connection between the two */
void net_set_delay(struct net *net, int from, int to, int64_t min_ns, int64_t max_ns);
void net_set_bandwidth(struct net *net, int from, int to, int64_t bytes_per_s);
/* The host's process does nothing before (a stopped or busy process); network events wait. */
void net_set_busy(struct net *net, int host, int64_t until_ns);
int64_t net_busy_until(const struct net *net, int host);

#endif
