/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a node shows of itself. */
#include "cli/identity.h"

int identity_load(struct identity *identity, const char *dir, struct xb_error *error) {
    *identity = (struct identity){0};
    int result = pem_load_in(&identity->ca, dir, "ca.pem", NULL, error);
    if (result == 0) result = pem_load_in(&identity->cert, dir, "server-cert.pem", NULL, error);
    if (result == 0) result = pem_load_in(&identity->key, dir, "server-key.pem", NULL, error);
    return result;
}

void identity_free(struct identity *identity) {
    pem_free(&identity->ca);
    pem_free(&identity->cert);
    pem_free(&identity->key);
}

X509 *identity_leaf(const struct identity *identity) {
    return sk_X509_value(identity->cert.certs, 0);
}

void identity_knock(const struct identity *identity, const struct inventory_node *node, bool is_tls_expected,
                    struct probe *probe) {
    struct probe_wish wish = {.host = node->address,
                              .port = node->group_port,
                              .cert = identity_leaf(identity),
                              .key = identity->key.key,
                              .extra = identity->cert.certs,
                              .is_tls_expected = is_tls_expected,
                              .waits_for_word = true};
    probe_run(&wish, probe);
}
