/* SPDX-License-Identifier: GPL-2.0-or-later */
/* OpenSSL's errors in words that help: the reason, whose certificate, and what to do about it. */
#include "tls/internal.h"

#include <openssl/err.h>
#include <openssl/sslerr.h>
#include <openssl/x509err.h>

#include <errno.h>
#include <stdio.h>
#include <string.h>

struct advice {
    int reason;
    const char *text;
};

/* Certificate of the peer, found bad by us: X509_V_ERR_*. */
static const struct advice verify_advice[] = {
    {X509_V_ERR_CERT_HAS_EXPIRED, "renew the certificate"},
    {X509_V_ERR_CERT_NOT_YET_VALID, "check the clocks of both hosts"},
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY, "add the CA that signed it to socket.ssl_ca"},
    {X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT, "add the CA that signed it to socket.ssl_ca"},
    {X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT, "add the CA that signed it to socket.ssl_ca"},
    {X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN, "add the CA that signed it to socket.ssl_ca"},
    {X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE, "add the CA that signed it to socket.ssl_ca"},
    {X509_V_ERR_INVALID_PURPOSE,
     "a node certificate needs clientAuth and serverAuth in its extended key usage, or none at all"},
    {X509_V_ERR_HOSTNAME_MISMATCH,
     "none of its names is in socket.ssl_verify_peer_name; issue a certificate with that name, or add the name there"},
    {X509_V_ERR_CERT_REJECTED,
     "it is not listed in socket.ssl_allowed_peers; add its common name or SHA-256 fingerprint there"},
    {X509_V_ERR_CERT_REVOKED, "issue a new certificate; this one is in the list of socket.ssl_crl"},
    {X509_V_ERR_UNABLE_TO_GET_CRL, "socket.ssl_crl holds no revocation list of the CA that signed it: add it"},
    {X509_V_ERR_CRL_HAS_EXPIRED, "issue a new revocation list for socket.ssl_crl"},
    {X509_V_ERR_CRL_NOT_YET_VALID, "the revocation list of socket.ssl_crl is of the future: check the clocks"},
};

/* What the TLS library found: SSL_R_*. */
static const struct advice library_advice[] = {
    {SSL_R_WRONG_VERSION_NUMBER, "the peer does not speak TLS: is socket.ssl on there?"},
    {SSL_R_HTTP_REQUEST, "the peer does not speak TLS but HTTP"},
    {SSL_R_PACKET_LENGTH_TOO_LONG, "the peer does not speak TLS: is socket.ssl on there?"},
    {SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE,
     "the peer has no certificate: set socket.ssl_key and socket.ssl_cert there"},
    {SSL_R_UNSUPPORTED_PROTOCOL, "the peer offers only TLS versions below the lowest allowed here"},
    {SSL_R_NO_SHARED_CIPHER, "compare socket.ssl_cipher of both nodes"},
};

/* Alerts, by which the peer refused us: SSL_AD_*. */
static const struct advice alert_advice[] = {
    {SSL_AD_UNKNOWN_CA, "the peer refused our certificate: it does not trust our CA, see its socket.ssl_ca"},
    {SSL_AD_CERTIFICATE_EXPIRED, "the peer refused our certificate: renew it"},
    {SSL_AD_CERTIFICATE_REVOKED, "the peer refused our certificate: it is revoked"},
    {SSL_AD_UNSUPPORTED_CERTIFICATE, "the peer refused our certificate: a node certificate needs clientAuth and "
                                     "serverAuth in its extended key usage, or none at all"},
    {SSL_AD_BAD_CERTIFICATE, "the peer refused our certificate, see its log"},
    {SSL_AD_CERTIFICATE_UNKNOWN, "the peer refused our certificate, see its log"},
    {SSL_AD_CERTIFICATE_REQUIRED, "the peer got no certificate from us"},
    {SSL_AD_PROTOCOL_VERSION, "no TLS version in common"},
    {SSL_AD_HANDSHAKE_FAILURE, "no cipher in common, or the peer refused our certificate; see its log"},
};

#define FIND(table, reason) find(table, sizeof(table) / sizeof((table)[0]), reason)

static const char *find(const struct advice *table, size_t count, int reason) {
    for (size_t i = 0; i < count; i++)
        if (table[i].reason == reason) return table[i].text;
    return NULL;
}

const char *tls_verify_advice(int result) {
    return FIND(verify_advice, result);
}

/* Is there a line "-----BEGIN ...`what`-----"? */
static bool has_pem(const char *file, const char *what) {
    char line[256];
    bool is_found = false;
    FILE *f = fopen(file, "re");
    while (f && !is_found && fgets(line, sizeof(line), f)) is_found = strstr(line, "BEGIN ") && strstr(line, what);
    if (f) fclose(f);
    return is_found;
}

const char *tls_file_advice(const char *option, const char *file, unsigned long code) {
    bool is_key = !strcmp(option, "socket.ssl_key");
    if (ERR_SYSTEM_ERROR(code)) return "; the server's user must be able to read the file";
    if (ERR_GET_LIB(code) == ERR_LIB_X509 && ERR_GET_REASON(code) == X509_R_KEY_VALUES_MISMATCH)
        return "; the key does not belong to the certificate of socket.ssl_cert: give both of one pair";
    if (has_pem(file, is_key ? "PRIVATE KEY" : "CERTIFICATE") || has_pem(file, "CRL"))
        return "; the file is damaged or cut off: copy it again";
    if (has_pem(file, is_key ? "CERTIFICATE" : "PRIVATE KEY"))
        return is_key ? "; the file holds a certificate and no key: are the files swapped?"
                      : "; the file holds a key and no certificate: are the files swapped?";
    return "; the file is not in PEM format";
}

unsigned long tls_take_reason(char *text, size_t size) {
    unsigned long code = ERR_get_error();
    const char *reason = ERR_SYSTEM_ERROR(code) ? strerror(ERR_GET_REASON(code)) : ERR_reason_error_string(code);
    snprintf(text, size, "%s", reason ? reason : "unknown error");
    ERR_clear_error();
    return code;
}

static void append(struct xb_error *error, const char *format, const char *text) {
    size_t used = strlen(error->text);
    snprintf(error->text + used, sizeof(error->text) - used, format, text);
}

void tls_explain_failure(struct tls_session *session) {
    char reason[256];
    unsigned long code = tls_take_reason(reason, sizeof(reason));
    int number = ERR_GET_LIB(code) == ERR_LIB_SSL ? ERR_GET_REASON(code) : 0;
    struct xb_error *failure = &session->failure;
    xb_fail(failure, -EPROTO, "%s", reason);

    const char *advice;
    if (number == SSL_R_CERTIFICATE_VERIFY_FAILED) {
        append(failure, ": %s", X509_verify_cert_error_string(session->verify_result));
        advice = tls_verify_advice((int)session->verify_result);
    } else if (number > SSL_AD_REASON_OFFSET) {
        advice = FIND(alert_advice, number - SSL_AD_REASON_OFFSET);
    } else {
        advice = FIND(library_advice, number);
    }
    if (session->peer_subject[0]) append(failure, " (peer certificate '%s')", session->peer_subject);
    if (session->bad_subject[0]) append(failure, " (at fault: certificate '%s' of its chain)", session->bad_subject);
    if (advice) append(failure, "; %s", advice);
}
