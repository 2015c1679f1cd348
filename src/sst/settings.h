/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the option files and the environment ask for (spec 08 section 7), checked and with defaults. */
#ifndef XB_SST_SETTINGS_H
#define XB_SST_SETTINGS_H

#include "sst/arguments.h"
#include "sst/option_file.h"

#include <stdbool.h>
#include <stdint.h>

#define SST_PATH_SIZE 4096

enum sst_ssl_mode { SST_SSL_DISABLED, SST_SSL_REQUIRED, SST_SSL_VERIFY_CA, SST_SSL_VERIFY_IDENTITY };

struct sst_settings {
    struct sst_options options; /* the texts below belong to it */
    int encrypt;                /* 0..4 */
    enum sst_ssl_mode ssl_mode;
    bool is_tls, is_peer_verified;
    const char *cert, *key, *ca, *ca_path, *dh_file;
    const char *algorithm, *password;      /* mode 1 */
    char password_line[1024];              /* of encrypt-key-file */
    const char *compressor, *decompressor; /* NULL: none */
    uint64_t rlimit;                       /* bytes a second, 0: none */
    bool is_progress_shown;
    int64_t initial_timeout_ns, donor_timeout_ns; /* 0: none */
    int64_t idle_timeout_ns;                      /* 0: only a vanished peer ends a transfer */
    int64_t max_binlogs;                          /* that method rsync sends, -1: all */
    const char *backup_options, *apply_options, *move_options, *use_memory, *backup_threads, *tmpdir, *clean_pattern;
    char data_home[SST_PATH_SIZE], undo_dir[SST_PATH_SIZE], log_dir[SST_PATH_SIZE],
        aria_dir[SST_PATH_SIZE];               /* "": the datadir */
    char user[256], account_password[256];     /* wsrep_sst_auth */
    char remote_name[256], remote_secret[256]; /* of the joiner, from WSREP_SST_OPT_REMOTE_AUTH */
};

/* Reads option files, server arguments and environment. -> 0 or a negative errno with *error */
int sst_settings_load(struct sst_settings *settings, const struct sst_arguments *arguments, struct xb_error *error);
/* From options already read: the pure part. */
int sst_settings_apply(struct sst_settings *settings, const struct sst_arguments *arguments, struct xb_error *error);
void sst_settings_free(struct sst_settings *settings);
/* Lines that the administrator should read: deprecated modes, a peer that is not verified, plain text. -> the n-th or
 * NULL */
const char *sst_settings_warning(const struct sst_settings *settings, int n);

#endif
