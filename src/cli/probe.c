/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Knocks at TCP ports. */
#include "cli/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CONNECT_MS 3000
#define GREETING_MS 1500 /* who has not spoken by then waits for TLS */
#define ANSWER_S 5
#define CAPABILITY_PROTOCOL_41 0x0200u
#define CAPABILITY_SSL 0x0800u
#define CAPABILITY_SECURE 0x8000u
#define PACKET_MAX 4096

bool probe_split(const char *target, char **host, char **port) {
    const char *colon = strrchr(target, ':');
    if (!colon || colon == target || !colon[1] || colon[1 + strspn(colon + 1, "0123456789")]) return false;
    size_t length = (size_t)(colon - target);
    if (*target == '[' && target[length - 1] == ']') target++, length -= 2;
    *host = strndup(target, length);
    *port = strdup(colon + 1);
    return *host && *port;
}

static int connect_within(int fd, const struct addrinfo *a) {
    struct pollfd wait = {fd, POLLOUT, 0};
    int problem = 0;
    socklen_t size = sizeof(problem);
    if (connect(fd, a->ai_addr, a->ai_addrlen) == 0) return 0;
    if (errno != EINPROGRESS) return errno;
    if (poll(&wait, 1, CONNECT_MS) != 1) return ETIMEDOUT;
    getsockopt(fd, SOL_SOCKET, SO_ERROR, &problem, &size);
    return problem;
}

static int dial(const struct probe_wish *wish, struct probe *probe) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    int code = getaddrinfo(wish->host, wish->port, &hints, &list), fd = -1;
    snprintf(probe->reason, sizeof(probe->reason), "%s", code ? gai_strerror(code) : "no address");
    for (struct addrinfo *a = list; a && fd < 0; a = a->ai_next) {
        fd = socket(a->ai_family, a->ai_socktype | SOCK_NONBLOCK | SOCK_CLOEXEC, a->ai_protocol);
        int problem = fd < 0 ? errno : connect_within(fd, a);
        if (problem == 0) break;
        snprintf(probe->reason, sizeof(probe->reason), "%s", strerror(problem));
        if (fd >= 0) close(fd);
        fd = -1;
    }
    if (list) freeaddrinfo(list);
    return fd;
}

static void make_blocking(int fd) {
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
    struct timeval limit = {.tv_sec = ANSWER_S};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
}

static bool receive(int fd, unsigned char *to, size_t size) {
    while (size > 0) {
        ssize_t n = recv(fd, to, size, 0);
        if (n <= 0) return false;
        to += n;
        size -= (size_t)n;
    }
    return true;
}

/* One packet of the MySQL protocol: 3 bytes length, 1 byte number. -> its length, 0: none */
static size_t receive_packet(int fd, unsigned char *to) {
    unsigned char head[4];
    if (!receive(fd, head, sizeof(head))) return 0;
    size_t size = head[0] | (size_t)head[1] << 8 | (size_t)head[2] << 16;
    return size > 0 && size < PACKET_MAX && receive(fd, to, size) ? size : 0;
}

static bool send_packet(int fd, unsigned number, const unsigned char *body, size_t size) {
    unsigned char packet[4 + 256] = {(unsigned char)size, 0, 0, (unsigned char)number};
    memcpy(packet + 4, body, size);
    return send(fd, packet, size + 4, MSG_NOSIGNAL) == (ssize_t)size + 4;
}

static size_t put_login(unsigned char *body, unsigned capabilities) {
    unsigned char head[32] = {(unsigned char)capabilities,
                              (unsigned char)(capabilities >> 8),
                              (unsigned char)(capabilities >> 16),
                              0,
                              0,
                              0,
                              0,
                              1,
                              33};
    memcpy(body, head, sizeof(head));
    return sizeof(head);
}

static void take_mysql_error(struct probe *probe, unsigned char *packet, size_t size) {
    packet[size] = 0;
    const char *text = size > 9 && packet[3] == '#' ? (char *)packet + 9 : size > 3 ? (char *)packet + 3 : "";
    snprintf(probe->reason, sizeof(probe->reason), "%.*s", (int)sizeof(probe->reason) - 1, text);
}

/* -> may TLS begin now? */
static bool take_mysql_greeting(int fd, struct probe *probe) {
    unsigned char packet[PACKET_MAX + 1], body[32];
    size_t size = receive_packet(fd, packet);
    if (size == 0 || packet[0] == 0xff) {
        if (size > 3) take_mysql_error(probe, packet, size);
        return false;
    }
    unsigned char *version_end = memchr(packet + 1, 0, size - 1);
    size_t at = version_end ? (size_t)(version_end - packet) + 1 + 4 + 8 + 1 : size;
    if (at + 2 > size) return false;
    probe->is_tls_offered = (packet[at] | (unsigned)packet[at + 1] << 8) & CAPABILITY_SSL;
    if (!probe->is_tls_offered) {
        snprintf(probe->reason, sizeof(probe->reason), "the server offers no TLS");
        return false;
    }
    return send_packet(fd, 1, body, put_login(body, CAPABILITY_PROTOCOL_41 | CAPABILITY_SECURE | CAPABILITY_SSL));
}

/* A datagram of the group: version and flags nibbles, then a gmcast handshake of 36 bytes, version 0 type 1. */
static bool is_group_datagram(const unsigned char *head, size_t size) {
    return size >= 10 && head[0] == 36 && head[1] == 0 && head[2] == 0 && (head[3] & 0xf0) == 0 && head[8] == 0 &&
           head[9] == 1;
}

/* A MySQL packet: number 0 and protocol 10, or an error (too many connections, host not allowed). */
static bool is_mysql_greeting(const unsigned char *head, size_t size) {
    return size >= 5 && head[3] == 0 && (head[4] == 10 || head[4] == 0xff);
}

static enum probe_kind listen_first(int fd, int patience_ms) {
    unsigned char head[16];
    struct pollfd wait = {fd, POLLIN, 0};
    if (poll(&wait, 1, patience_ms) != 1) return PROBE_TLS;
    ssize_t size = recv(fd, head, sizeof(head), MSG_PEEK);
    if (size > 0 && is_group_datagram(head, (size_t)size)) return PROBE_GROUP_PLAIN;
    if (size > 0 && is_mysql_greeting(head, (size_t)size)) return PROBE_MYSQL;
    return PROBE_SILENT;
}

static int accept_any(int is_good, X509_STORE_CTX *ctx) {
    return 1;
}

static SSL_CTX *make_context(const struct probe_wish *wish) {
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    if (!ctx) abort();
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, accept_any);
    SSL_CTX_set_security_level(ctx, 0); /* what the peer accepts is the question, not what we would */
    SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION);
    if (wish->max_version) SSL_CTX_set_max_proto_version(ctx, wish->max_version);
    SSL_CTX_set_cipher_list(ctx, "ALL:@SECLEVEL=0");
    SSL_CTX_set_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_LEGACY_SERVER_CONNECT);
    if (wish->cert && wish->key) {
        SSL_CTX_use_certificate(ctx, wish->cert);
        SSL_CTX_use_PrivateKey(ctx, wish->key);
        for (int i = 0; wish->extra && i < sk_X509_num(wish->extra); i++)
            SSL_CTX_add1_chain_cert(ctx, sk_X509_value(wish->extra, i));
    }
    ERR_clear_error();
    return ctx;
}

static void take_reason(struct probe *probe, const char *otherwise) {
    unsigned long code = ERR_peek_last_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    snprintf(probe->reason, sizeof(probe->reason), "%s", reason ? reason : otherwise);
    ERR_clear_error();
}

static void take_session(SSL *ssl, struct probe *probe) {
    snprintf(probe->version, sizeof(probe->version), "%s", SSL_get_version(ssl));
    snprintf(probe->cipher, sizeof(probe->cipher), "%s", SSL_get_cipher_name(ssl) ? SSL_get_cipher_name(ssl) : "");
    STACK_OF(X509) *chain = SSL_get_peer_cert_chain(ssl);
    probe->chain = chain ? X509_chain_up_ref(chain) : NULL;
}

/* Under TLS 1.3 our side is done before the peer has looked at our certificate: its first word, or that it waits,
 * tells. */
static void await_word(SSL *ssl, struct probe *probe) {
    char byte;
    int n = SSL_read(ssl, &byte, 1);
    bool is_timeout = n <= 0 && SSL_get_error(ssl, n) == SSL_ERROR_WANT_READ;
    probe->is_taken = n > 0 || is_timeout;
    if (!probe->is_taken) take_reason(probe, "the peer closed the connection after the handshake");
}

static void run_tls(int fd, const struct probe_wish *wish, struct probe *probe) {
    SSL_CTX *ctx = make_context(wish);
    SSL *ssl = SSL_new(ctx);
    if (!ssl) abort();
    SSL_set_fd(ssl, fd);
    probe->is_tls_done = SSL_connect(ssl) == 1;
    take_session(ssl, probe);
    if (!probe->is_tls_done) {
        take_reason(probe, "the peer closed the connection in the handshake, or does not speak TLS");
        if (!probe->chain && probe->kind == PROBE_TLS && !wish->max_version) probe->kind = PROBE_SILENT;
    } else if (wish->waits_for_word) {
        await_word(ssl, probe);
    }
    SSL_free(ssl);
    SSL_CTX_free(ctx);
}

void probe_run(const struct probe_wish *wish, struct probe *probe) {
    *probe = (struct probe){.kind = PROBE_UNREACHABLE};
    int fd = dial(wish, probe);
    if (fd < 0) return;
    make_blocking(fd);
    probe->reason[0] = 0;
    probe->kind = wish->is_tls_expected ? PROBE_TLS : listen_first(fd, GREETING_MS);
    bool is_for_tls = probe->kind == PROBE_TLS;
    if (probe->kind == PROBE_MYSQL) is_for_tls = take_mysql_greeting(fd, probe);
    if (is_for_tls) run_tls(fd, wish, probe);
    close(fd);
}

void probe_free(struct probe *probe) {
    sk_X509_pop_free(probe->chain, X509_free);
    *probe = (struct probe){0};
}
