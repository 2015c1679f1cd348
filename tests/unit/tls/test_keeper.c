/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The context of a running node: automatic files, reloads that take effect and those that must not, watching. */
#include "tls/keeper.h"
#include "support/certs.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <cmocka.h>

static struct certs certs;

#define assert_contains(text, part)                                                                                    \
    do {                                                                                                               \
        if (!strstr((text), (part))) fail_msg("'%s' is not in '%s'", (part), (text));                                  \
    } while (0)

/* What the keeper has logged and told. */
struct witness {
    pthread_mutex_t lock;
    pthread_cond_t happened;
    char lines[8000];
    int changes;
    int64_t not_after;
    struct xb_log log;
};

static void write_line(void *ctx, enum xb_log_level level, const char *line) {
    struct witness *witness = ctx;
    pthread_mutex_lock(&witness->lock);
    size_t used = strlen(witness->lines);
    snprintf(witness->lines + used, sizeof(witness->lines) - used, "%d %s\n", level, line);
    pthread_cond_broadcast(&witness->happened);
    pthread_mutex_unlock(&witness->lock);
}

static void on_change(void *ctx, struct tls_context *context) {
    struct witness *witness = ctx;
    pthread_mutex_lock(&witness->lock);
    witness->changes++;
    witness->not_after = tls_context_not_after(context);
    pthread_cond_broadcast(&witness->happened);
    pthread_mutex_unlock(&witness->lock);
}

static void witness_init(struct witness *witness) {
    memset(witness, 0, sizeof(*witness));
    pthread_mutex_init(&witness->lock, NULL);
    pthread_cond_init(&witness->happened, NULL);
    witness->log = (struct xb_log){.write = write_line, .ctx = witness};
}

/* Node NAME's files become ca.pem, server-cert.pem and server-key.pem. */
static void install(const char *name) {
    char file[64];
    snprintf(file, sizeof(file), "%s.key", name);
    certs_join(&certs, "server-key.pem", file);
    chmod(certs_path(&certs, "server-key.pem"), 0600);
    snprintf(file, sizeof(file), "%s.crt", name);
    certs_join(&certs, "server-cert.pem", file);
    certs_join(&certs, "ca.pem", "ca.crt");
}

static struct xb_options *options_with(const char *more) {
    struct xb_options *options = xb_options_new();
    struct xb_error error;
    char text[512];
    snprintf(text, sizeof(text), "base_dir=%s;%s", certs.directory, more);
    if (xb_options_start(options, text, &error)) fail_msg("%s", error.text);
    return options;
}

static void test_automatic_files(void **state) {
    (void)state;
    struct witness witness;
    struct xb_error error = {0};
    char shown[300];
    witness_init(&witness);
    install("node");
    struct xb_options *options = options_with("socket.ssl_auto=YES");
    struct tls_keeper *keeper = tls_keeper_new(options, &witness.log, &error);
    if (!keeper) fail_msg("%s", error.text);
    struct tls_context *context = tls_keeper_context(keeper);
    assert_non_null(context);
    tls_context_unref(context);
    xb_options_text(options, "socket.ssl_key", shown, sizeof(shown));
    assert_string_equal(shown, certs_path(&certs, "server-key.pem"));
    assert_string_equal(witness.lines, "");
    tls_keeper_free(keeper);
    xb_options_free(options);
}

/* Each refusal to start names the file. */
static void test_automatic_refuses(void **state) {
    (void)state;
    static const struct {
        const char *name, *remove, *reason;
    } cases[] = {{"node", "ca.pem", "ca.pem': No such file or directory; put the file there"},
                 {"node", "server-cert.pem", "server-cert.pem': No such file"},
                 {"node", "server-key.pem", "server-key.pem': No such file"},
                 {"expired", NULL, "server-cert.pem' (socket.ssl_cert) is unfit, with the CA file"},
                 {"expired", NULL, "certificate has expired; renew the certificate"},
                 {"stranger", NULL, "unable to get local issuer certificate"},
                 {"client", NULL, "lacks serverAuth"},
                 {"namesake", NULL, "has the name of its CA"}};
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct witness witness;
        struct xb_error error = {0};
        witness_init(&witness);
        install(cases[i].name);
        if (cases[i].remove) unlink(certs_path(&certs, cases[i].remove));
        struct xb_options *options = options_with("socket.ssl_auto=YES");
        assert_null(tls_keeper_new(options, &witness.log, &error));
        assert_contains(error.text, cases[i].reason);
        xb_options_free(options);
    }
}

static void test_warnings_at_start(void **state) {
    (void)state;
    struct witness witness;
    witness_init(&witness);
    install("soon");
    chmod(certs_path(&certs, "server-key.pem"), 0644);
    struct xb_options *options = options_with("socket.ssl_auto=YES;socket.dynamic=YES");
    struct tls_keeper *keeper = tls_keeper_new(options, &witness.log, NULL);
    assert_non_null(keeper);
    assert_contains(witness.lines, "3 WARNING: own certificate 'CN=soon' expires in ");
    assert_contains(witness.lines, "3 WARNING: key file '");
    assert_contains(witness.lines, "can be read by everybody (mode 0644): chmod 600");
    assert_contains(witness.lines, "3 WARNING: socket.dynamic is on");
    tls_keeper_free(keeper);
    xb_options_free(options);
}

static void test_reload(void **state) {
    (void)state;
    struct witness witness;
    struct xb_error error = {0};
    witness_init(&witness);
    install("node");
    struct xb_options *options = options_with("socket.ssl_auto=YES");
    struct tls_keeper *keeper = tls_keeper_new(options, &witness.log, &error);
    assert_non_null(keeper);
    assert_int_equal(tls_keeper_start(keeper, on_change, &witness, &error), 0);
    struct tls_context *first = tls_keeper_context(keeper);
    static const char *const unfit[] = {"expired", "stranger", "client", "future"};
    for (size_t i = 0; i < 4; i++) {
        install(unfit[i]);
        assert_int_equal(tls_keeper_reload(keeper, &error), -EINVAL);
        assert_contains(error.text, "server-cert.pem");
    }
    install("node");
    certs_join(&certs, "server-key.pem", "soon.key"); /* half of another set */
    assert_int_equal(tls_keeper_reload(keeper, &error), -EINVAL);
    assert_contains(error.text, "server-key.pem");
    assert_contains(error.text, "key values mismatch");
    struct tls_context *now = tls_keeper_context(keeper);
    assert_ptr_equal(now, first);
    assert_int_equal(witness.changes, 0);
    tls_context_unref(now);
    install("soon");
    assert_int_equal(tls_keeper_reload(keeper, &error), 0);
    assert_int_equal(witness.changes, 1);
    now = tls_keeper_context(keeper);
    assert_ptr_not_equal(now, first);
    assert_int_equal(witness.not_after, tls_context_not_after(now));
    tls_context_unref(now);
    tls_context_unref(first);
    tls_keeper_free(keeper);
    xb_options_free(options);
}

static void await_line(struct witness *witness, const char *part) {
    pthread_mutex_lock(&witness->lock);
    while (!strstr(witness->lines, part)) pthread_cond_wait(&witness->happened, &witness->lock);
    pthread_mutex_unlock(&witness->lock);
}

/* A change that is no good is reported once, the next good one is taken. */
static void test_watch(void **state) {
    (void)state;
    struct witness witness;
    struct xb_error error = {0};
    witness_init(&witness);
    install("node");
    struct xb_options *options = options_with("socket.ssl_auto=YES;socket.ssl_watch=YES");
    struct tls_keeper *keeper = tls_keeper_new(options, &witness.log, &error);
    assert_non_null(keeper);
    assert_int_equal(tls_keeper_start(keeper, on_change, &witness, &error), 0);
    install("expired");
    await_line(&witness, "1 The certificate files have changed, and are not usable; the old ones stay in use: '");
    assert_int_equal(witness.changes, 0);
    install("soon");
    pthread_mutex_lock(&witness.lock);
    while (!witness.changes) pthread_cond_wait(&witness.happened, &witness.lock);
    pthread_mutex_unlock(&witness.lock);
    tls_keeper_free(keeper);
    xb_options_free(options);
}

static void test_plain(void **state) {
    (void)state;
    struct witness witness;
    struct xb_error error = {0};
    witness_init(&witness);
    struct xb_options *options = options_with("");
    struct tls_keeper *keeper = tls_keeper_new(options, &witness.log, &error);
    assert_non_null(keeper);
    assert_null(tls_keeper_context(keeper));
    assert_int_equal(tls_keeper_start(keeper, on_change, &witness, &error), 0);
    assert_int_equal(tls_keeper_reload(keeper, &error), 0);
    tls_keeper_free(keeper);
    xb_options_free(options);
}

static int make_certificates(void **state) {
    (void)state;
    certs_init(&certs);
    certs_make(&certs, "ca", &(struct cert_wish){.is_ca = true});
    certs_make(&certs, "other-ca", &(struct cert_wish){.is_ca = true});
    certs_make(&certs, "node", &(struct cert_wish){.issuer = "ca"});
    certs_make(&certs, "soon", &(struct cert_wish){.issuer = "ca", .valid_days = 7});
    certs_make(&certs, "expired", &(struct cert_wish){.issuer = "ca", .is_expired = true});
    certs_make(&certs, "future", &(struct cert_wish){.issuer = "ca", .is_future = true});
    certs_make(&certs, "client", &(struct cert_wish){.issuer = "ca", .usage = "clientAuth"});
    certs_make(&certs, "stranger", &(struct cert_wish){.issuer = "other-ca"});
    certs_make(&certs, "namesake", &(struct cert_wish){.issuer = "ca", .common_name = "ca"});
    return 0;
}

static int remove_certificates(void **state) {
    (void)state;
    certs_clean(&certs);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_automatic_files),
        cmocka_unit_test(test_automatic_refuses),
        cmocka_unit_test(test_warnings_at_start),
        cmocka_unit_test(test_reload),
        cmocka_unit_test(test_watch),
        cmocka_unit_test(test_plain),
    };
    return cmocka_run_group_tests(tests, make_certificates, remove_certificates);
}
