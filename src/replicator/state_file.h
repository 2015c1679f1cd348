/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The saved state, grastate.dat (spec 07 section 12, 09 section 6.1): which history this node's data belongs to, and up
 * to where, for the next start.
 *
 * While the node runs the file says seqno -1, since the storage engine knows better. While data may be half changed (a
 * statement in total order isolation, a snapshot being received) it says nil, so that a crash then leads to a full
 * transfer; so it does for good once the node is corrupt. Server scripts read the file, so its layout is fixed, and it
 * is written in place, in one piece below the size of a disk sector.
 *
 * Threads: every function from any thread.
 */
#ifndef XB_REPLICATOR_STATE_FILE_H
#define XB_REPLICATOR_STATE_FILE_H

#include "base/error.h"
#include "base/log.h"
#include "base/uuid.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STATE_FILE_SIZE_MAX 256

struct saved_state {
    struct xb_uuid uuid;
    int64_t seqno;
    bool is_safe_to_bootstrap;
};

/* The text, pure. format: -> length without NUL. parse: what is missing or unreadable keeps nil, -1, true;
 * -> false if the uuid could not be read. */
size_t saved_state_format(const struct saved_state *saved, char text[STATE_FILE_SIZE_MAX]);
bool saved_state_parse(struct saved_state *saved, const char *text, size_t size);

struct state_file;

/* How bytes reach the disk; replaced by tests. Writes all of text at offset 0 and makes it durable. -> 0 or -errno */
typedef int (*state_file_write)(int fd, const char *text, size_t size, bool is_truncating);

/* Opens or makes dir/grastate.dat and takes it for this process alone. write: NULL for the real one.
 * -> the file, or NULL with *error: -EAGAIN if another process has it, -EACCES, ... */
struct state_file *state_file_open(const char *dir, state_file_write write, const struct xb_log *log,
                                   struct xb_error *error);
void state_file_close(struct state_file *file); /* NULL is allowed */

/* What was read at the start, then what was set last. */
struct saved_state state_file_get(struct state_file *file);
/* Remembers, and writes unless unsafe or corrupt. */
void state_file_set(struct state_file *file, const struct xb_uuid *uuid, int64_t seqno, bool is_safe_to_bootstrap);
void state_file_set_position(struct state_file *file, const struct xb_uuid *uuid, int64_t seqno);
/* Nest: the first of the ones writes nil, the last of the others what is remembered. */
void state_file_mark_unsafe(struct state_file *file);
void state_file_mark_safe(struct state_file *file);
/* The data is wrong: nil from now on, until a snapshot has replaced it. */
void state_file_mark_corrupt(struct state_file *file);
void state_file_mark_restored(struct state_file *file, const struct xb_uuid *uuid, int64_t seqno);
bool state_file_is_corrupt(struct state_file *file);

#endif
