/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A make-believe database server for the provider interface: rows with locks, local transactions, appliers that abort
 * whoever is in their way, replay, streaming, snapshots between servers of one process. It checks the interface's
 * invariants as it goes (spec 01 section 27): every seqno once, commits in order, nothing beside a view.
 */
#ifndef XB_TESTS_FAKE_SERVER_H
#define XB_TESTS_FAKE_SERVER_H

#include "provider/abi.h"

#include <pthread.h>
#include <stdatomic.h>

#define FAKE_ROWS 64
#define FAKE_APPLIERS 4
#define FAKE_SEQNO_MAX 1000000
#define FAKE_TRX_ROWS 4

/* One that fails when it is called. */
enum fake_callback { FAKE_NONE, FAKE_CONNECTED, FAKE_VIEW, FAKE_SYNCED, FAKE_SST_REQUEST, FAKE_SST_DONATE };

struct fake_server {
    struct abi_table t;
    char name[16], dir[96];
    int port, index;
    bool is_running_engine; /* a snapshot cannot be taken any more, */
    bool takes_live;        /* except with a method that loads it into a running server */
    bool is_quiet;          /* does not print the log */

    pthread_mutex_t lock; /* rows, holders */
    pthread_cond_t freed;
    int64_t rows[FAKE_ROWS];
    uint64_t holders[FAKE_ROWS]; /* local transaction id, or applier mark; 0: free */
    bool is_victim[FAKE_ROWS];   /* the holder has been told to abort */
    struct abi_gtid position;    /* of the engine */
    uint64_t history_hash;       /* of everything committed, in order */

    _Atomic(int64_t) inside; /* seqno between commit_order_enter and _leave, 0: none */
    _Atomic(int) callbacks;  /* views and the like going on */
    _Atomic(int64_t) last_entered;
    _Atomic(uint8_t) *seen; /* by seqno */
    int64_t seen_from;      /* seqnos up to here came with a snapshot */

    pthread_t appliers[FAKE_APPLIERS];
    int applier_count;
    _Atomic(int) receivers;
    pthread_mutex_t state_lock;
    pthread_cond_t state_changed;
    bool is_synced, is_primary, is_final;
    int view_size;
    union abi_uuid uuid;
    int last_recv_result;

    int64_t poison_row;       /* applying a change of this row fails, -1: none */
    _Atomic(int) failing;     /* enum fake_callback */
    int apply_us;             /* how long a write set takes to be applied, beside the work */
    int64_t lost;             /* seqnos that the engine turns out not to have once it is told to start */
    uint64_t lost_hash;       /* its history_hash then */
    _Atomic(int64_t) nbo;     /* seqno of the non-blocking operation that goes on here, 0: none */
    _Atomic(int) failed_tois; /* statements that were ordered and are not to be executed: shown without data */
    _Atomic(uint64_t) next_trx;
    _Atomic(int64_t) commits, conflicts, aborts, replays, replays_failed, errors;
    _Atomic(int) log_errors, log_warnings; /* lines of these levels */
};

/* Log lines that contain this text are counted, of all servers of the process. */
extern _Atomic(const char *) fake_wanted_line;
extern _Atomic(int) fake_wanted_lines;

/* dir: made by the caller, kept over restarts of the server. */
void fake_init(struct fake_server *server, int index, int port, const char *dir);
void fake_destroy(struct fake_server *server);
/* address: "" with bootstrap. Waits until synced unless it fails. options are added. -> status of connect */
int fake_start(struct fake_server *server, const char *address, bool is_bootstrap, const char *options);
int fake_connect(struct fake_server *server, const char *address, bool is_bootstrap);
void fake_disconnect(struct fake_server *server);
void fake_stop(struct fake_server *server); /* frees the provider as a server does, twice */
/* -> true when it has come within the time */
bool fake_wait_synced(struct fake_server *server, int seconds);
bool fake_wait_view(struct fake_server *server, bool is_primary, int members, int seconds);
bool fake_wait_final(struct fake_server *server, int seconds);

/* One transaction that adds `by` to count rows beginning at row. -> 0 committed, 1213 deadlock, 1047 not connected */
int fake_add(struct fake_server *server, unsigned *seed, int first_row, int count, int64_t by);
/* The same in fragments, one a row; is_rollback: given up at the end. */
int fake_stream(struct fake_server *server, unsigned *seed, int first_row, int count, int64_t by, bool is_rollback);
/* A statement in total order isolation: multiplies all rows. -> status */
int fake_toi(struct fake_server *server, uint64_t conn, int64_t factor);
/* A non-blocking operation on all rows: begins on all nodes, and is over when every node has called the end. */
void fake_nbo_begin(struct fake_server *server, uint64_t conn);
void fake_nbo_end(struct fake_server *server, uint64_t conn);

int64_t fake_last_committed(struct fake_server *server);
int64_t fake_stat(struct fake_server *server, const char *name);
/* The text of a status variable; the caller frees. */
char *fake_stat_text(struct fake_server *server, const char *name);
void fake_wait_position(struct fake_server *server, int64_t seqno); /* by sync_wait */
void fake_check_seen(struct fake_server *server);                   /* every seqno once */

#endif
