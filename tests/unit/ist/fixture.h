/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A donor and a joiner for each test, with certificates of one CA and of another. Inside tests/unit/ist only. */
#ifndef XB_TESTS_IST_FIXTURE_H
#define XB_TESTS_IST_FIXTURE_H

#include "pair.h"

static struct certs certs;
static struct tls_context *own_tls, *other_tls;

static inline struct tls_context *load(const char *name, const char *ca) {
    char key[32], cert[32];
    snprintf(key, sizeof(key), "%s.key", name);
    snprintf(cert, sizeof(cert), "%s.crt", name);
    struct tls_config config = {
        .key_file = certs_path(&certs, key), .cert_file = certs_path(&certs, cert), .ca_file = certs_path(&certs, ca)};
    struct tls_context *context = tls_context_load(&config, NULL);
    assert_non_null(context);
    return context;
}

static inline int group_setup(void **state) {
    certs_init(&certs);
    certs_make(&certs, "ca", &(struct cert_wish){.is_ca = true});
    certs_make(&certs, "ca2", &(struct cert_wish){.is_ca = true});
    certs_make(&certs, "node", &(struct cert_wish){.issuer = "ca"});
    certs_make(&certs, "stranger", &(struct cert_wish){.issuer = "ca2"});
    own_tls = load("node", "ca.crt");
    other_tls = load("stranger", "ca2.crt");
    return 0;
}

static inline int group_teardown(void **state) {
    tls_context_unref(own_tls);
    tls_context_unref(other_tls);
    certs_clean(&certs);
    return 0;
}

struct pair {
    struct donor donor;
    struct joiner joiner;
};

static inline int setup(void **state) {
    struct pair *pair = calloc(1, sizeof(*pair));
    donor_init(&pair->donor);
    joiner_init(&pair->joiner);
    *state = pair;
    return 0;
}

static inline int teardown(void **state) {
    struct pair *pair = *state;
    donor_clear(&pair->donor);
    joiner_clear(&pair->joiner);
    free(pair);
    return 0;
}

static inline void send_ok(struct pair *pair, int64_t first, int64_t last, int64_t preload_from,
                           struct tls_context *tls) {
    struct xb_error error = {0};
    const char *address = ist_receiver_address(pair->joiner.receiver);
    if (donor_send(&pair->donor, address, first, last, preload_from, tls, &error)) fail_msg("%s", error.text);
}

#endif
