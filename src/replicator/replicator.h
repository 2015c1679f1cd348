/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The replicator: what a database server sees of the group (spec 01 sections 8 to 21, spec 07). Local transactions from
 * their first key to their place in the commit order, appliers, views, state transfer, the saved state.
 *
 * How work travels. A client thread collects a transaction's keys and data, posts the finished write set to the group
 * thread and sleeps on one word. The group thread gets it back in its place of the total order, certifies it there and
 * then, files it in the history, and wakes the client with the verdict; write sets of other nodes get their verdict the
 * same way and go to the appliers' queue. So certification is done once, in one thread, in order, and needs no lock.
 * What remains to be ordered among threads are applying and committing, by two gates (gate.h). While this node lacks
 * state, ordered actions are kept uncertified and taken up when the transfer is over.
 *
 * Threads: every function from any thread between replicator_new and replicator_free; calls for one transaction from
 * one thread at a time, but for abort_certification and rollback, which may come at any time. No lock is held while the
 * server is called. Statuses, flags and types have the values of the provider interface, so its layer only translates.
 *
 * Nothing here ends the process: when this node cannot go on it says why in one line, marks the saved state if its data
 * may be wrong, leaves the group, and gives the server the disconnected view.
 */
#ifndef XB_REPLICATOR_REPLICATOR_H
#define XB_REPLICATOR_REPLICATOR_H

#include "base/error.h"
#include "base/isolation.h"
#include "base/log.h"
#include "base/options.h"
#include "base/uuid.h"
#include "gcs/cchange.h"
#include "tls/tls.h"
#include "writeset/writeset.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#define REPLICATOR_PROTOCOL_MIN 10
#define REPLICATOR_PROTOCOL_MAX 11
#define REPLICATOR_ID_UNDEFINED WRITESET_ID_UNDEFINED
#define REPLICATOR_CAPABILITIES 0x2d17f /* spec 01 section 26, of both protocols */

enum replicator_status { /* spec 01 section 2.2 */
                         REPLICATOR_OK = 0,
                         REPLICATOR_WARNING,
                         REPLICATOR_TRX_MISSING,
                         REPLICATOR_TRX_FAIL,
                         REPLICATOR_BF_ABORT,
                         REPLICATOR_SIZE_EXCEEDED,
                         REPLICATOR_CONN_FAIL,
                         REPLICATOR_NODE_FAIL,
                         REPLICATOR_FATAL,
                         REPLICATOR_NOT_IMPLEMENTED,
                         REPLICATOR_NOT_ALLOWED
};

struct replicator_gtid {
    struct xb_uuid uuid;
    int64_t seqno;
};

struct replicator_meta { /* of a transaction */
    struct replicator_gtid gtid;
    struct xb_uuid node;
    uint64_t trx, conn;
    int64_t depends;
};

struct replicator_view {
    struct replicator_gtid state;
    int64_t conf_id; /* -1: non-primary */
    uint32_t capabilities;
    int own_index; /* -1: from a state transfer, or the final view */
    int appl_version;
    const struct gcs_cchange_member *members;
    size_t member_count;
};

/* What an applier hands to the server. */
struct replicator_apply {
    uint64_t trx;
    void *opaque; /* for commit_order_enter and _leave */
    uint32_t flags;
    const void *data; /* NULL: none */
    size_t size;
    struct replicator_meta meta;
};

/* To the server. Results: 0 is success, all else failure. */
struct replicator_callbacks {
    void *ctx;
    int (*connected)(void *ctx, const struct replicator_view *view);
    int (*view)(void *ctx, void *recv_ctx, const struct replicator_view *view);
    int (*sst_request)(void *ctx, void **request, size_t *size); /* request from malloc */
    int (*apply)(void *ctx, void *recv_ctx, const struct replicator_apply *apply, bool *exit_loop);
    void (*unordered)(void *ctx, void *recv_ctx, const void *data, size_t size); /* NULL: not wanted */
    int (*sst_donate)(void *ctx, void *recv_ctx, const void *request, size_t size, const struct replicator_gtid *state,
                      bool is_bypass);
    int (*synced)(void *ctx);
    void (*no_state)(void *ctx); /* the snapshot that sst_request prepared for will not come; the final view follows */
    void (*event)(void *ctx, const char *name, const char *json); /* event service; may do nothing */
    /* The allowlist, see struct net_config. Any thread; may block for a second. */
    const char *(*refusal)(void *ctx, const char *host);
};

struct replicator_config {
    const char *node_name, *node_incoming, *data_dir;
    int appl_version_max;
    struct replicator_gtid start; /* recovered by the server; nil and -1 if not */
    struct xb_options *options;   /* shared, outlives the replicator; base_*, gcache.*, repl.* are read here */
    struct tls_context *tls;      /* NULL: plaintext. A reference is taken */
    struct xb_isolation *isolation;
};

struct replicator;

/* Opens the saved state and the history. -> a replicator, or NULL with *error. */
struct replicator *replicator_new(const struct replicator_config *config, const struct replicator_callbacks *callbacks,
                                  const struct xb_log *log, struct xb_error *error);
/* Leaves the group if needed, ends all own threads. Nobody may be inside any other function. NULL is allowed. */
void replicator_free(struct replicator *rep);

enum replicator_status replicator_connect(struct replicator *rep, const char *group, const char *address,
                                          const char *donor, bool is_bootstrap);
enum replicator_status replicator_disconnect(struct replicator *rep);
/* An applier's life. */
enum replicator_status replicator_recv(struct replicator *rep, void *recv_ctx);

/* ---- local transactions; *opaque as in the server's handle, NULL at first ---- */

enum replicator_status replicator_append_key(struct replicator *rep, uint64_t trx, void **opaque,
                                             const struct iovec *parts, size_t part_count, enum writeset_key_type type);
enum replicator_status replicator_append_data(struct replicator *rep, uint64_t trx, void **opaque, const void *data,
                                              size_t size, enum writeset_data_kind kind, bool is_copied);
/* sequenced: NULL, or called once when nobody who sends later can overtake any more. */
enum replicator_status replicator_certify(struct replicator *rep, uint64_t conn, uint64_t trx, void **opaque,
                                          uint32_t flags, struct replicator_meta *meta, void (*sequenced)(void *ctx),
                                          void *sequenced_ctx);
/* opaque: of a local transaction or from struct replicator_apply. error NULL or size 0: success. */
enum replicator_status replicator_commit_order_enter(struct replicator *rep, void *opaque);
enum replicator_status replicator_commit_order_leave(struct replicator *rep, void *opaque, const void *error,
                                                     size_t error_size);
enum replicator_status replicator_release(struct replicator *rep, void **opaque);
enum replicator_status replicator_replay(struct replicator *rep, void *opaque, void *recv_ctx);
enum replicator_status replicator_abort_certification(struct replicator *rep, int64_t bf_seqno, uint64_t victim,
                                                      int64_t *victim_seqno);
/* Streaming: rollback fragment for a transaction of this node. */
enum replicator_status replicator_rollback(struct replicator *rep, uint64_t trx);

struct replicator_key {
    const struct iovec *parts;
    size_t part_count;
};
enum replicator_status replicator_toi_start(struct replicator *rep, uint64_t conn, const struct replicator_key *keys,
                                            size_t key_count, const struct iovec *action, size_t action_count,
                                            uint32_t flags, struct replicator_meta *meta);
enum replicator_status replicator_toi_end(struct replicator *rep, uint64_t conn, const void *error, size_t error_size);

/* The data is copied. */
enum replicator_status replicator_preordered_collect(struct replicator *rep, void **opaque, const struct iovec *data,
                                                     size_t count);
enum replicator_status replicator_preordered_commit(struct replicator *rep, void **opaque, const struct xb_uuid *source,
                                                    uint32_t flags, int pa_range, bool is_commit);

/* ---- position, pausing, state transfer ---- */

/* upto NULL: the group's current position. timeout_s -1: repl.causal_read_timeout. reached may be NULL. */
enum replicator_status replicator_sync_wait(struct replicator *rep, const struct replicator_gtid *upto, int timeout_s,
                                            struct replicator_gtid *reached);
struct replicator_gtid replicator_last_committed(struct replicator *rep);
int64_t replicator_pause(struct replicator *rep); /* -> position, or -1 */
enum replicator_status replicator_resume(struct replicator *rep);
enum replicator_status replicator_desync(struct replicator *rep);
enum replicator_status replicator_resync(struct replicator *rep);
enum replicator_status replicator_sst_sent(struct replicator *rep, const struct replicator_gtid *state, int code);
enum replicator_status replicator_sst_received(struct replicator *rep, const struct replicator_gtid *state, int code);
uint32_t replicator_capabilities(struct replicator *rep);

/* ---- options and status ---- */

/* The option has been stored already; takes effect here and in the layers below. -> 0 or negative errno with *error;
 * -EOPNOTSUPP: not an option with an effect at run time. */
int replicator_apply_option(struct replicator *rep, const char *name, const char *value, struct xb_error *error);
void replicator_set_tls(struct replicator *rep, struct tls_context *tls);

enum replicator_stat_type { REPLICATOR_STAT_TEXT, REPLICATOR_STAT_INTEGER, REPLICATOR_STAT_DOUBLE };
struct replicator_stat {
    char name[48];
    enum replicator_stat_type type;
    int64_t integer;
    double number;
    char *text; /* owned by the list */
};
struct replicator_stats {
    struct replicator_stat *list;
    size_t count;
};
/* In the order of spec 01 section 25, ours behind. -> 0 or -ENOMEM */
int replicator_stats_get(struct replicator *rep, struct replicator_stats *stats);
void replicator_stats_clear(struct replicator_stats *stats);
void replicator_stats_reset(struct replicator *rep);

#endif
