/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Knocks at a TCP port and tells what answers: a MariaDB server (which speaks first, TLS by STARTTLS), a node of the
 * group in plain text (which speaks first too: datagram with a handshake, spec 02 section 6), or TLS from the first
 * byte.
 */
#ifndef XB_CLI_PROBE_H
#define XB_CLI_PROBE_H

#include <openssl/ssl.h>
#include <stdbool.h>

enum probe_kind {
    PROBE_UNREACHABLE, /* nobody accepts */
    PROBE_SILENT,      /* accepted, but neither speaks nor understands TLS */
    PROBE_MYSQL,
    PROBE_GROUP_PLAIN, /* a node of the group without TLS */
    PROBE_TLS,
};

struct probe_wish {
    const char *host, *port;
    X509 *cert; /* what to show; NULL: nothing */
    EVP_PKEY *key;
    STACK_OF(X509) * extra; /* intermediates to show; may be NULL */
    int max_version;        /* TLS1_2_VERSION ...; 0: the newest */
    bool is_tls_expected;   /* begin TLS at once, do not listen first who it is */
    bool waits_for_word;    /* after the handshake wait for the peer's first byte, or its refusal */
};

struct probe {
    enum probe_kind kind;
    bool is_tls_offered; /* MySQL: the server can STARTTLS */
    bool is_tls_done;    /* the handshake finished from our side */
    bool is_taken;       /* waits_for_word: the peer spoke, or kept the connection */
    char version[16], cipher[64];
    STACK_OF(X509) * chain; /* the peer's, leaf first; NULL: none seen */
    char reason[256];       /* why it failed, in words */
};

/* The peer's certificate is not verified here. Always fills *probe; waits at most some seconds. */
void probe_run(const struct probe_wish *wish, struct probe *probe);
void probe_free(struct probe *probe);

/* "host:port", "[v6]:port" -> two strings to be freed; false if it is not of that form */
bool probe_split(const char *target, char **host, char **port);

#endif
