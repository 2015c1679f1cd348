/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The joiner of the methods xtrabackup and mariabackup (spec 08 section 3.6): one listening socket for both stages. The
 * old data goes only when the backup is complete, prepared and ready to take its place, or when the disk has no room
 * for both.
 */
#include "sst/backup.h"
#include "sst/datadir.h"
#include "sst/flow.h"
#include "sst/joiner.h"
#include "sst/magic.h"
#include "sst/reception.h"
#include "sst/unpack.h"

#include "base/clock.h"

#include <openssl/rand.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MODULE "xtrabackup_sst//1"
#define SPACE_TO_PREPARE ((uint64_t)1 << 30)

/* ---- the first stage */

struct collected {
    uint8_t bytes[MAGIC_STAGE_MAX];
    size_t size;
};

static int collect(void *ctx, const uint8_t *data, size_t size, struct xb_error *error) {
    struct collected *c = ctx;
    if (size > sizeof(c->bytes) - c->size)
        return xb_fail(error, -EBADMSG, "the first stage is larger than %d bytes", MAGIC_STAGE_MAX);
    memcpy(c->bytes + c->size, data, size);
    c->size += size;
    return 0;
}

struct first_stage {
    struct magic_stage magic;
    char fingerprint[STREAM_FINGERPRINT_SIZE], host[STREAM_TEXT_SIZE];
};

static void host_of(const char *peer, char host[STREAM_TEXT_SIZE]) {
    snprintf(host, STREAM_TEXT_SIZE, "%s", peer);
    char *colon = strrchr(host, ':');
    if (colon) *colon = '\0';
}

static int judge_first(struct transfer *t, const void *ctx, struct stream *stream, void *result,
                       struct xb_error *error) {
    const struct joiner *joiner = ctx;
    struct first_stage *first = result;
    struct collected *c = calloc(1, sizeof(*c));
    int rc = c ? flow_receive(t, stream, NULL, collect, c, error) : xb_fail(error, -ENOMEM, "no memory");
    if (rc == 0) rc = magic_read_stage(&first->magic, c->bytes, c->size, error);
    free(c);
    if (rc == 0 && joiner->secret[0] && !magic_is_secret_equal(joiner->secret, first->magic.secret))
        rc = xb_fail(error, -EACCES, "%s does not know the secret of this join: it is not the donor", stream->peer);
    snprintf(first->fingerprint, sizeof(first->fingerprint), "%s", stream->fingerprint);
    host_of(stream->peer, first->host);
    return rc;
}

int joiner_listen(struct joiner *joiner, struct transfer *t, struct xb_error *error) {
    joiner->transfer = t;
    joiner->listen_fd = stream_listen(&t->address, error);
    return joiner->listen_fd < 0 ? joiner->listen_fd : 0;
}

int joiner_make_secret(struct joiner *joiner, struct xb_error *error) {
    uint8_t bytes[16];
    if (RAND_bytes(bytes, sizeof(bytes)) != 1) return xb_fail(error, -EIO, "no random numbers");
    for (size_t i = 0; i < sizeof(bytes); i++) sprintf(joiner->secret + 2 * i, "%02x", bytes[i]);
    return 0;
}

int joiner_say_ready(struct joiner *joiner, const char *name, const char *path, struct xb_error *error) {
    const struct sst_address *a = &joiner->transfer->address;
    const char *open = a->is_ip6 ? "[" : "", *close_ = a->is_ip6 ? "]" : "";
    uint16_t port = stream_port(joiner->listen_fd);
    if (joiner->secret[0])
        return transfer_say(joiner->transfer, error, "%s%s:%s@%s%s%s:%u/%s",
                            joiner->transfer->is_standalone ? "" : "ready ", name, joiner->secret, open, a->host,
                            close_, port, path);
    return transfer_say(joiner->transfer, error, "ready %s%s%s:%u/%s", open, a->host, close_, port, path);
}

bool joiner_has_plain_name(const struct joiner *joiner, char name[STREAM_TEXT_SIZE]) {
    static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
    return stream_tls_common_name(joiner->transfer->tls, name) == 0 && !name[strspn(name, allowed)];
}

int joiner_make_named_secret(struct joiner *joiner, char name[STREAM_TEXT_SIZE], struct xb_error *error) {
    if (joiner_has_plain_name(joiner, name)) return joiner_make_secret(joiner, error);
    return xb_fail(
        error, -EINVAL,
        "ssl-mode=VERIFY_* needs a certificate whose common name has only letters, digits and '._-': the one "
        "of '%s' has not",
        joiner->transfer->settings.cert);
}

static int announce(struct joiner *joiner, struct xb_error *error) {
    char name[STREAM_TEXT_SIZE] = "";
    struct transfer *t = joiner->transfer;
    int rc = 0;
    if (t->tls && t->settings.ssl_mode >= SST_SSL_VERIFY_CA) rc = joiner_make_named_secret(joiner, name, error);
    return rc ? rc : joiner_say_ready(joiner, name, MODULE, error);
}

static int receive_first(struct joiner *joiner, struct first_stage *first, struct xb_error *error) {
    struct transfer *t = joiner->transfer;
    struct stream stream = {.fd = -1};
    struct reception reception = {t, joiner->listen_fd, judge_first, joiner, first, sizeof(*first)};
    int64_t wait_ns = t->settings.initial_timeout_ns;
    int rc = reception_run(&reception, wait_ns ? xb_clock_monotonic_ns() + wait_ns : XB_NEVER, &stream, error);
    if (rc == -ETIMEDOUT && !error->code)
        return xb_fail(error, rc, "no donor came within %d s (sst-initial-timeout): see the donor's log",
                       (int)(wait_ns / XB_SECOND));
    if (rc) return rc;
    if (stream.cipher[0])
        xb_log_info(t->log, "donor %s has connected, %s, certificate %s", stream.peer, stream.cipher,
                    stream.subject[0] ? stream.subject : "none");
    else
        xb_log_info(t->log, "donor %s has connected in plain text", stream.peer);
    stream_close_with(&stream, first->magic.is_ours ? TRANSFER_OK : "");
    return 0;
}

/* ---- the data */

void joiner_note_donor(struct joiner *joiner) {
    kept_state_restore(&joiner->kept, joiner->transfer->arguments->datadir);
}

int joiner_give_up_old_data(struct joiner *joiner, struct xb_error *error) {
    const char *datadir = joiner->transfer->arguments->datadir;
    if (joiner->is_old_data_gone) return 0;
    int rc = kept_state_forget(&joiner->kept, datadir);
    if (rc) return xb_fail(error, rc, "cannot write '%s/grastate.dat': %s", datadir, strerror(-rc));
    joiner->is_old_data_gone = true;
    xb_log_info(joiner->transfer->log, "removing the old data of '%s'", datadir);
    return datadir_clean(&joiner->transfer->settings, joiner->transfer->arguments, error);
}

int joiner_make_room(void *ctx, struct xb_error *error) {
    struct joiner *joiner = ctx;
    const struct transfer *t = joiner->transfer;
    if (joiner->is_old_data_gone) return 0;
    uint64_t received = joiner->received_bytes ? *joiner->received_bytes : 0;
    uint64_t missing = joiner->total_bytes > received ? joiner->total_bytes - received : 0;
    uint64_t free_bytes = datadir_free_bytes(joiner->directory);
    uint64_t old_bytes = datadir_removable_bytes(&t->settings, t->arguments->datadir);
    if (missing > free_bytes + old_bytes)
        return xb_fail(error, -ENOSPC,
                       "the disk of '%s' is too small: %" PRIu64 " MiB are still to come, %" PRIu64
                       " MiB are free, and the old data would make room for %" PRIu64 " MiB: make room there",
                       t->arguments->datadir, missing >> 20, free_bytes >> 20, old_bytes >> 20);
    xb_log_info(t->log, "the disk of '%s' has no room for the old data beside the new", t->arguments->datadir);
    return joiner_give_up_old_data(joiner, error);
}

static int judge_second(struct transfer *t, const void *ctx, struct stream *stream, void *result,
                        struct xb_error *error) {
    const struct first_stage *first = ctx;
    char host[STREAM_TEXT_SIZE];
    host_of(stream->peer, host);
    bool is_same =
        first->fingerprint[0] ? strcmp(first->fingerprint, stream->fingerprint) == 0 : strcmp(first->host, host) == 0;
    return is_same ? 0 : xb_fail(error, -EACCES, "%s is not the donor of the first stage", stream->peer);
}

static int consume(void *ctx, const uint8_t *data, size_t size, struct xb_error *error) {
    return unpack_feed(ctx, data, size, error);
}

int joiner_make_directory(struct joiner *joiner, struct xb_error *error) {
    int rc = mkdir(joiner->directory, 0770) ? -errno : 0;
    return rc ? xb_fail(error, rc, "cannot make '%s': %s", joiner->directory, strerror(-rc)) : 0;
}

static int receive_second(struct joiner *joiner, const struct first_stage *first, struct xb_error *error) {
    struct transfer *t = joiner->transfer;
    struct stream stream = {.fd = -1};
    struct progress progress;
    char line[PROGRESS_LINE_SIZE], nothing[1];
    struct reception reception = {t, joiner->listen_fd, judge_second, first, nothing, 0};
    struct unpack *unpack = unpack_new(joiner->directory, joiner_make_room, joiner, error);
    if (!unpack) return error->code;
    joiner->total_bytes = first->magic.total_bytes;
    joiner->received_bytes = &progress.done_bytes;
    int64_t wait_ns = t->settings.initial_timeout_ns;
    int rc = reception_run(&reception, wait_ns ? xb_clock_monotonic_ns() + wait_ns : XB_NEVER, &stream, error);
    if (rc == -ETIMEDOUT && !error->code)
        xb_fail(error, rc, "the donor did not come back with the data within %d s (sst-initial-timeout)",
                (int)(wait_ns / XB_SECOND));
    if (rc == 0) joiner_note_donor(joiner);
    progress_begin(&progress, first->magic.total_bytes, xb_clock_monotonic_ns());
    if (t->arguments->is_progress_wanted && first->magic.total_bytes)
        transfer_say(t, NULL, "total %" PRIu64, first->magic.total_bytes);
    if (rc == 0) rc = flow_receive(t, &stream, &progress, consume, unpack, error);
    if (rc == 0) rc = unpack_end(unpack, error);
    if (rc == 0) rc = joiner_check_backup(joiner, error);
    if (rc == 0) {
        xb_log_info(t->log, "received %" PRIu64 " files, %s", unpack_files(unpack),
                    progress_format_end(&progress, xb_clock_monotonic_ns(), line));
        stream_close_with(&stream, first->magic.is_ours ? TRANSFER_OK : "");
    } else if (first->magic.is_ours && stream.fd >= 0) {
        char reason[XB_ERROR_TEXT_SIZE + 32];
        snprintf(reason, sizeof(reason), TRANSFER_FAILED "%s\n", error->text);
        stream_close_with(&stream, reason);
    } else {
        stream_abort(&stream);
    }
    unpack_free(unpack);
    joiner->received_bytes = NULL;
    return rc;
}

static int read_line(const char *directory, const char *name, char line[MAGIC_LINE_SIZE]) {
    char path[SST_PATH_SIZE + 64];
    snprintf(path, sizeof(path), "%s/%s", directory, name);
    FILE *file = fopen(path, "re");
    if (!file) return -ENOENT;
    bool has_line = fgets(line, MAGIC_LINE_SIZE, file) != NULL;
    fclose(file);
    if (!has_line) return -ENOENT;
    line[strcspn(line, "\n")] = '\0';
    return 0;
}

int joiner_check_backup(struct joiner *joiner, struct xb_error *error) {
    char line[MAGIC_LINE_SIZE];
    if (read_line(joiner->directory, "xtrabackup_checkpoints", line) &&
        read_line(joiner->directory, "mariadb_backup_checkpoints", line))
        return xb_fail(error, -ENODATA, "the backup is not complete: its last files did not come; see the donor's log");
    static const char *const names[] = {MAGIC_DONOR_INFO, MAGIC_GALERA_INFO, MAGIC_GALERA_INFO_11};
    for (size_t i = 0; i < 3; i++)
        if (read_line(joiner->directory, names[i], joiner->state) == 0 && sst_is_gtid(joiner->state)) return 0;
    if (joiner->transfer->is_standalone) return 0; /* of a server without a cluster */
    return xb_fail(error, -ENODATA, "the backup does not tell its position (%s)", MAGIC_DONOR_INFO);
}

static void remove_magic(struct joiner *joiner) {
    static const char *const names[] = {MAGIC_DONOR_INFO, MAGIC_GALERA_INFO, MAGIC_GALERA_INFO_11, MAGIC_OURS,
                                        MAGIC_IST};
    char path[SST_PATH_SIZE + 64];
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        snprintf(path, sizeof(path), "%s/%s", joiner->transfer->arguments->datadir, names[i]);
        unlink(path);
    }
}

int joiner_install(struct joiner *joiner, struct xb_error *error) {
    struct transfer *t = joiner->transfer;
    int rc = 0;
    if (datadir_free_bytes(joiner->directory) < SPACE_TO_PREPARE) rc = joiner_give_up_old_data(joiner, error);
    if (rc == 0) rc = backup_prepare(t, joiner->directory, error);
    if (rc) return rc;
    backup_drop_binary_logs(t, joiner->directory);
    rc = joiner_give_up_old_data(joiner, error);
    if (rc == 0) rc = datadir_make_directories(&t->settings, error);
    if (rc == 0) rc = backup_move(t, joiner->directory, error);
    if (rc == 0) remove_magic(joiner);
    return rc;
}

static int join(struct joiner *joiner, struct xb_error *error) {
    struct transfer *t = joiner->transfer;
    struct first_stage first;
    int rc = joiner_listen(joiner, t, error);
    if (rc == 0) rc = announce(joiner, error);
    if (rc == 0) rc = receive_first(joiner, &first, error);
    if (rc) return rc;
    if (first.magic.is_ist_only) {
        xb_log_info(t->log, "the donor sends only the IST: the data stays");
        snprintf(joiner->state, sizeof(joiner->state), "%s", first.magic.state);
        return 0;
    }
    rc = joiner_make_directory(joiner, error);
    if (rc == 0) rc = receive_second(joiner, &first, error);
    return rc ? rc : joiner_install(joiner, error);
}

int joiner_run_with(struct transfer *t, int (*join_)(struct joiner *joiner, struct xb_error *error),
                    struct xb_error *error) {
    const char *datadir = t->arguments->datadir;
    struct joiner *joiner = calloc(1, sizeof(*joiner));
    if (!joiner) return xb_fail(error, -ENOMEM, "no memory");
    joiner->listen_fd = -1;
    joiner->transfer = t;
    int rc = transfer_load_tls(t, error);
    int lock = rc ? rc : datadir_lock(datadir, &t->watch, error);
    snprintf(joiner->directory, sizeof(joiner->directory), "%s/.sst", datadir);
    rc = lock < 0 ? lock : datadir_mark(datadir, error);
    if (rc == 0) {
        kept_state_remember(&joiner->kept, datadir);
        datadir_remove_tree(joiner->directory); /* of a program that was killed */
    }
    if (rc == 0) rc = datadir_make_directories(&t->settings, error);
    if (rc == 0) rc = join_(joiner, error);
    if (rc && lock >= 0 && !joiner->is_old_data_gone) kept_state_restore(&joiner->kept, datadir);
    if (lock >= 0) datadir_remove_tree(joiner->directory);
    if (joiner->listen_fd >= 0) close(joiner->listen_fd);
    if (lock >= 0) datadir_unmark(datadir);
    datadir_unlock(datadir, lock);
    if (rc && error->code)
        xb_log_info(t->log,
                    joiner->is_old_data_gone ? "the old data of '%s' is gone: the next start takes a snapshot again"
                                             : "the data of '%s' was not touched",
                    datadir);
    if (rc == 0) rc = transfer_say(t, error, "%s", joiner->state);
    free(joiner);
    return rc;
}

int joiner_run(struct transfer *t, struct xb_error *error) {
    return joiner_run_with(t, join, error);
}
