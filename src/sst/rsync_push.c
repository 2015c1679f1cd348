/* SPDX-License-Identifier: GPL-2.0-or-later */
/* rsync speaks to a relay of ours in place of ssh, and that to a socket whose other end is tied to the joiner. */
#include "sst/rsync_push.h"

#include "sst/child.h"
#include "sst/reach.h"
#include "sst/relay.h"
#include "sst/rsync.h"
#include "sst/tunnel.h"

#include "base/clock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define MODE_LINE "XEBEC-SST encrypt="
#define HOST_FOR_RSYNC "joiner" /* it asks the relay for it, which does not care */

int rsync_sender_open(struct rsync_sender *s, struct transfer *t, struct xb_error *error) {
    char self[SST_PATH_SIZE];
    *s = (struct rsync_sender){.transfer = t, .watch.stop_fd = -1, .limit.bytes_per_s = t->settings.rlimit};
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (n <= 0) return xb_fail(error, -errno, "cannot find the own program: %m");
    self[n] = '\0';
    if (strpbrk(self, "'\"")) return xb_fail(error, -EINVAL, "the path of this program, %s, has a quote in it", self);
    snprintf(s->shell, sizeof(s->shell), "'%s' " RELAY_WORD, self);
    pthread_mutex_init(&s->lock, NULL);
    return watch_fork(&s->watch, &t->watch, error);
}

void rsync_sender_close(struct rsync_sender *s) {
    watch_close_fork(&s->watch);
    pthread_mutex_destroy(&s->lock);
}

static int count(void *ctx, bool is_from_stream, size_t bytes, struct xb_error *error) {
    struct rsync_sender *s = ctx;
    if (is_from_stream) return 0;
    pthread_mutex_lock(&s->lock);
    int64_t now_ns = xb_clock_monotonic_ns(), wait_ns = limit_take(&s->limit, bytes, now_ns);
    transfer_report(s->transfer, &s->progress, bytes);
    pthread_mutex_unlock(&s->lock);
    if (wait_ns <= 0) return 0;
    int rc = watch_wait(&s->watch, -1, 0, now_ns + wait_ns, error);
    return rc == -ETIMEDOUT ? 0 : rc;
}

static void make_command(struct words *command, const struct rsync_sender *s, const char *source, const char *suffix,
                         const struct words *options) {
    static const char *const common[] = {"--owner", "--group",        "--perms",   "--links",        "--specials",
                                         "--quiet", "--ignore-times", "--inplace", "--copy-dirlinks"};
    const struct transfer *t = s->transfer;
    const char *module = t->address.module[0] ? t->address.module : RSYNC_MODULE;
    words_add(command, "rsync");
    words_addf(command, "--rsh=%s", s->shell);
    for (size_t i = 0; i < sizeof(common) / sizeof(common[0]); i++) words_add(command, common[i]);
    /* Over a slow network only what differs is sent. */
    if (strcmp(t->arguments->program, "wsrep_sst_rsync_wan")) words_add(command, "--whole-file");
    for (size_t i = 0; i < options->count; i++) words_add(command, options->items[i]);
    words_add(command, "--");
    words_add(command, source);
    words_addf(command, HOST_FOR_RSYNC "::%s%s/", module, suffix);
}

static int judge(const struct rsync_sender *s, const struct stream *stream, const char *source, const char *greeting,
                 int status, struct xb_error *error) {
    if (strncmp(greeting, MODE_LINE, strlen(MODE_LINE)) == 0)
        return xb_fail(error, -EPROTOTYPE,
                       "the joiner %s uses encrypt=%c, this node encrypt=%d: set [sst] encrypt alike on both nodes",
                       stream->peer, greeting[strlen(MODE_LINE)], s->transfer->settings.encrypt);
    if (status == 0) return 0;
    if (!greeting[0])
        return xb_fail(error, -EPIPE,
                       "the joiner %s closed the connection before a word: see its log; this node uses encrypt=%d, "
                       "does the joiner use another?",
                       stream->peer, s->transfer->settings.encrypt);
    return xb_fail(error, -EPIPE, "rsync failed with status %d at '%s': see its lines above and the joiner's log",
                   status, source);
}

int rsync_push(struct rsync_sender *s, const char *source, const char *suffix, const struct words *options,
               struct xb_error *error) {
    struct stream stream = {.fd = -1};
    struct tunnel tunnel = {&stream, -1, count, s, ""};
    struct words command = {0};
    struct child rsync = {0, -1, NULL};
    int theirs = -1;
    make_command(&command, s, source, suffix, options);
    int rc = command.failed ? xb_fail(error, -ENOMEM, "no memory") : reach_joiner(s->transfer, &stream, error);
    stream.watch = &s->watch;
    if (rc == 0) rc = tunnel_open_pair(&tunnel.fd, &theirs, error);
    if (rc == 0) rc = child_start(&rsync, &(struct child_spec){command.items, -1, -1, -1, NULL, theirs}, error);
    if (theirs >= 0) close(theirs);
    if (rc == 0) {
        struct xb_error reason = {0};
        int moved = tunnel_run(&tunnel, &reason);
        close(tunnel.fd);
        tunnel.fd = -1;
        rc = child_wait(&rsync, &s->watch, XB_NEVER, error);
        if (rc >= 0) rc = judge(s, &stream, source, tunnel.greeting, rc, error);
        /* The connection's end says more than rsync about it. */
        if (rc < 0 && moved < 0 && reason.code && rc != -EPROTOTYPE) *error = reason;
    }
    child_kill(&rsync);
    if (tunnel.fd >= 0) close(tunnel.fd);
    stream_close(&stream);
    words_free(&command);
    return rc;
}
