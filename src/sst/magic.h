/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The first stage of a transfer (spec 08 section 3.4): a few small files that tell the state, the donor's secret, and
 * whether the joiner needs only the IST. Between our own programs one more file says who speaks. Pure.
 */
#ifndef XB_SST_MAGIC_H
#define XB_SST_MAGIC_H

#include "base/error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MAGIC_GALERA_INFO "xtrabackup_galera_info"
#define MAGIC_GALERA_INFO_11 "mariadb_backup_galera_info" /* the name in MariaDB 11 */
#define MAGIC_DONOR_INFO "donor_galera_info"
#define MAGIC_IST "xtrabackup_ist"
#define MAGIC_OURS "xebec_sst_info" /* stock joiners unpack it into a temporary directory and ignore it */
#define MAGIC_LINE_SIZE 256
#define MAGIC_STAGE_MAX 65536 /* bytes of a whole first stage */

struct magic_stage {
    char state[MAGIC_LINE_SIZE]; /* "UUID:SEQNO DOMAIN" */
    char secret[MAGIC_LINE_SIZE];
    uint64_t total_bytes; /* 0: not said */
    bool is_ist_only;
    bool is_ours; /* the donor waits for our acknowledgement */
};

/* -> bytes of the container in `to`, 0 if they do not fit */
size_t magic_write_stage(const struct magic_stage *stage, uint8_t *to, size_t room);
/* A whole first stage. -> 0 or -EBADMSG, -ENOMEM with *error */
int magic_read_stage(struct magic_stage *stage, const uint8_t *data, size_t size, struct xb_error *error);

/* Texts have equal lengths and bytes; takes the same time wherever they differ. */
bool magic_is_secret_equal(const char *a, const char *b);

#endif
