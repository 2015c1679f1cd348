/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What stands in for the storage engine of the make-believe server: rows with locks, the changes of streaming
 * transactions that are not over, and the checks that every seqno comes once and in order. Inside tests/unit/provider
 * only.
 */
#ifndef XB_TESTS_ENGINE_H
#define XB_TESTS_ENGINE_H

#include "fake_server.h"

#include <stdio.h>
#include <stdlib.h>

#define BF_HOLDER (UINT64_C(1) << 63) /* an applier or a replay holds the row */
#define FLAG_END 0x001
#define FLAG_ROLLBACK 0x002
#define FLAG_ISOLATION 0x004
#define FLAG_START 0x040

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: %s: " #condition " does not hold\n", __FILE__, __LINE__, __func__);                \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

struct change {
    int64_t row, by;
};

/* Fragments of other nodes that are not committed yet: a fake streaming applier. */
#define STREAMS_MAX 256
struct stream {
    union abi_uuid source;
    uint64_t trx;
    size_t count;
    struct change changes[FAKE_ROWS];
};
extern struct stream engine_streams[8][STREAMS_MAX]; /* by the server's index */

/* The server that this thread works for. */
extern __thread struct fake_server *fake_current;

/* A seqno comes for the first and only time; alone between entered and leaving. */
void engine_see(struct fake_server *s, int64_t seqno);
void engine_entered(struct fake_server *s, int64_t seqno);
void engine_leaving(struct fake_server *s, int64_t seqno);
void engine_commit(struct fake_server *s, int64_t seqno, const struct change *changes, size_t count);

/* A local transaction waits for others, an applier removes local ones. -> false: this (local) one is to be aborted */
bool engine_lock_row(struct fake_server *s, int64_t row, uint64_t holder, int64_t bf_seqno, bool is_bf);
void engine_unlock_rows(struct fake_server *s, uint64_t holder);
bool engine_is_told_to_abort(const struct fake_server *s, uint64_t holder); /* with the lock held */

void engine_add_to_stream(struct fake_server *s, const struct abi_trx_meta *m, const struct change *changes,
                          size_t count);
struct stream engine_end_stream(struct fake_server *s, const struct abi_trx_meta *m); /* -> what it was */

/* The server's callbacks for the provider; the address of the log function is the same for all. */
void fake_callbacks(struct abi_init_args *args);

#endif
