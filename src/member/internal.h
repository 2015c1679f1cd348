/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Shared inside src/member only.
 *
 * member.c           opening, waiting, closing, the group thread and what others post to it
 * cluster_address.c  "gcomm://host,host?option=value"
 * settings.c         provider options -> configuration of the group stack, and the effective values back
 * peers.c            names of configured peers: looked up again while nobody answers there
 * saved_state.c      gvwstate.dat, written by a thread of its own
 * report.c           connections that failed, for the log
 * renew.c            new certificates: every connection is made anew
 */
#ifndef XB_MEMBER_INTERNAL_H
#define XB_MEMBER_INTERNAL_H

#include "base/clock.h"
#include "member/member.h"
#include "net/net.h"

#include <pthread.h>

#define MEMBER_DEFAULT_PORT 4567
#define PEERS_MAX 64 /* hosts in a cluster address */
#define PEERS_LOOKUP_PERIOD_NS (10 * XB_SECOND)
#define PEERS_LOG_PERIOD_NS (60 * XB_SECOND)
#define REPORT_ENTRIES_MAX 64             /* hosts and reasons that are counted apart */
#define REPORT_PERIOD_NS (10 * XB_SECOND) /* in this time one line for a host and reason, ... */
#define REPORT_LINES_MAX 20               /* ... and so many in all */
#define RENEW_LOOK_NS (2 * XB_SECOND)
#define RENEW_SETTLED_NS (10 * XB_SECOND) /* more than a handshake takes */
#define RENEW_LOG_NS (30 * XB_SECOND)
#define FLUSH_TIMEOUT_NS XB_SECOND /* sockets at the end (spec 04 section 12.1) */
#define ADDRESS_TEXT_MAX 8192      /* a cluster address */

/* cluster_address.c */
struct cluster_host {
    char name[NET_NAME_SIZE]; /* as given; IPv6 in brackets */
    uint16_t port;
};

struct cluster_address {
    struct cluster_host hosts[PEERS_MAX];
    size_t host_count;
    bool is_bootstrap; /* no host, or the first is an any-address */
};

/* Splits the address; options of its query are checked and stored in `options`.
 * -> 0, -EINVAL, -ESOCKTNOSUPPORT (other backend) with *error */
int cluster_address_parse(struct cluster_address *address, const char *text, struct xb_options *options,
                          struct xb_error *error);

/* settings.c */
struct settings {
    struct group_config group; /* gmcast.uuid and gmcast.listen_address are still to be set */
    struct net_config net;
    char listen_host[NET_NAME_SIZE], bind_host[NET_HOST_SIZE];
    uint16_t listen_port;           /* 0: the kernel chooses */
    const char *scheme;             /* of own addresses */
    bool is_recovering, is_waiting; /* pc.recovery, pc.wait_prim */
    int64_t wait_timeout_ns;
    bool has_schedule;
    int schedule_policy, schedule_priority;
};

int settings_read(struct settings *settings, const struct member_config *config, struct xb_error *error);
/* Shows what is in effect. listen_address: canonical */
void settings_write_back(const struct settings *settings, struct xb_options *options, const char *listen_address,
                         uint16_t port);

/* saved_state.c */
struct saved_state;
/* Reads DIR/gvwstate.dat. -> 0, -ENOENT, or another negative errno with *error */
int saved_state_read(const char *directory, struct pc_saved_view *saved, struct xb_error *error);
/* Writes it now, durably. -> 0 or negative errno with *error */
int saved_state_write(const char *directory, const struct pc_saved_view *saved, struct xb_error *error);
/* The thread that writes; only the newest state counts. NULL: no memory or thread */
struct saved_state *saved_state_start(const char *directory, const struct xb_log *log);
void saved_state_put(struct saved_state *state, const struct pc_saved_view *saved); /* NULL: remove. Never blocks */
void saved_state_stop(struct saved_state *state); /* after the last one is done. NULL is allowed */

/* peers.c */
struct peer_host {
    struct cluster_host host;
    bool is_numeric, is_own, is_looking;
    bool has_address;
    char address[NET_ADDRESS_SIZE]; /* the one in use */
    int64_t logged_ns;
    struct peers *peers;
};

struct peers {
    struct peer_host hosts[PEERS_MAX];
    size_t count;
    const char *scheme;
    int family; /* of the listen address; AF_UNSPEC: any */
    uint16_t own_port;
    int64_t lookup_ns;
    /* For the callbacks, set by peers_start. */
    struct net *net;
    struct group *group;
    const struct xb_log *log;
};

/* Looks all names up; blocks. -> number of addresses found */
size_t peers_resolve(struct peers *peers, const struct cluster_address *address, const struct net_endpoint *listen,
                     const char *scheme, uint16_t own_port, const struct xb_log *log);
/* Group thread from here on. */
void peers_start(struct peers *peers, struct net *net, struct group *group, int64_t now_ns);
int64_t peers_tick(struct peers *peers, int64_t now_ns);

/* report.c */
struct report_entry {
    char host[NET_HOST_SIZE], reason[64]; /* reason: without the peer's subject, which a stranger can vary */
    int64_t logged_ns;
    uint64_t unlogged;
};

struct report {
    struct report_entry entries[REPORT_ENTRIES_MAX];
    int64_t period_ns;             /* beginning of the current period */
    int lines;                     /* in it */
    char last[XB_ERROR_TEXT_SIZE]; /* the last failed handshake with a peer that we dialled; "": none */
};

/* One line for a failed connection, within the limits above. */
void report_failure(struct report *report, const struct net_loss *loss, const struct xb_log *log, int64_t now_ns);
/* One line for a peer that got through TLS and was refused then. subject: of its certificate, or "" */
void report_refusal(struct report *report, const char *host, uint16_t port, const char *subject, const char *reason,
                    const struct xb_log *log, int64_t now_ns);

/* renew.c */
struct renewal {
    net_conn old, fresh;
};

struct renewals {
    struct renewal list[NET_CONNS_MAX];
    size_t count;
    int64_t look_ns;  /* when to look again for outdated ones; XB_NEVER: there are none */
    int64_t until_ns; /* so long at least: one whose handshake was under way comes up late */
    int64_t logged_ns;
};

/* Group thread. There is a new TLS context: begins to replace all connections that were made with an older one. */
void renew_begin(struct member *member, int64_t now_ns);
/* The connection has ended; loss NULL: closed by this node. Call it before gmcast hears of it. */
void renew_ended(struct member *member, net_conn conn, const struct net_loss *loss);
int64_t renew_tick(struct member *member, int64_t now_ns);

/* member.c */
struct member {
    struct settings settings;
    struct cluster_address cluster;
    struct peers peers;
    struct report report;
    struct renewals renewals;
    struct pc_saved_view restored;
    char data_dir[4096];
    char listen_address[NET_ADDRESS_SIZE];
    struct xb_uuid uuid;
    struct xb_random random;
    struct member_up up;
    const struct xb_log *log;

    struct net *net;
    struct group *group;
    struct saved_state *saved_state;
    pthread_t thread;
    _Atomic(struct member_task *) tasks; /* newest first; closed_mark: nothing is accepted any more */
    struct member_task closed_mark;

    /* Group thread. */
    bool is_over, is_finishing;

    /* For those who wait, under the mutex. */
    pthread_mutex_t mutex;
    pthread_cond_t changed;
    bool is_primary, has_left;
    struct xb_error left_error;
    char hint[XB_ERROR_TEXT_SIZE]; /* why no peer may have been reached */
};

#endif
