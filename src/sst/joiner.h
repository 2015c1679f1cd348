/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The joiner's steps that its methods share; the order is in joiner.c and xebec_joiner.c. */
#ifndef XB_SST_JOINER_H
#define XB_SST_JOINER_H

#include "sst/kept_state.h"
#include "sst/magic.h"
#include "sst/transfer.h"

struct joiner {
    struct transfer *transfer;
    int listen_fd;
    char secret[64];                /* "": none */
    char directory[SST_PATH_SIZE];  /* where the backup is received and prepared */
    char state[MAGIC_LINE_SIZE];    /* the position to report */
    uint64_t total_bytes;           /* that will come, an estimate; 0 unknown */
    const uint64_t *received_bytes; /* of these; NULL: nothing yet */
    struct kept_state kept;         /* the position of the old data */
    bool is_ist_only;               /* method xebec: nothing but the position came */
    bool is_old_data_gone;          /* the point of no return is behind us */
};

/* Runs join_ between locking and unlocking the data directory, and reports its state to the server. */
int joiner_run_with(struct transfer *transfer, int (*join_)(struct joiner *joiner, struct xb_error *error),
                    struct xb_error *error);

/* The method xebec without a server around it: the backup comes into joiner->directory, which is there and empty. */
int xebec_receive(struct joiner *joiner, struct xb_error *error);

int joiner_listen(struct joiner *joiner, struct transfer *transfer, struct xb_error *error);
int joiner_make_secret(struct joiner *joiner, struct xb_error *error);
/* The common name of the own certificate; true if it can stand in an address. */
bool joiner_has_plain_name(const struct joiner *joiner, char name[STREAM_TEXT_SIZE]);
/* A secret that goes with that name; -EINVAL if the name cannot stand in an address. */
int joiner_make_named_secret(struct joiner *joiner, char name[STREAM_TEXT_SIZE], struct xb_error *error);
/* The first line for the server; name and secret go with it if there is a secret. path: module[/lsn/version]. */
int joiner_say_ready(struct joiner *joiner, const char *name, const char *path, struct xb_error *error);
int joiner_make_directory(struct joiner *joiner, struct xb_error *error);
/* The donor is who it should be. Until the old data goes, the node may come back by IST. */
void joiner_note_donor(struct joiner *joiner);
int joiner_give_up_old_data(struct joiner *joiner, struct xb_error *error); /* once */
/* For unpack_new: the old data makes room, if that is enough. -> 0, -ENOSPC with *error: it would be in vain */
int joiner_make_room(void *joiner, struct xb_error *error);
int joiner_check_backup(struct joiner *joiner, struct xb_error *error);
int joiner_install(struct joiner *joiner, struct xb_error *error); /* prepares, removes the old data, moves */

#endif
