/* SPDX-License-Identifier: GPL-2.0-or-later */
/* "Salted__", 8 bytes of salt, then the ciphertext; key and IV from PBKDF2-HMAC-SHA256. */
#include "sst/symmetric.h"

#include <openssl/evp.h>
#include <openssl/rand.h>

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define MAGIC "Salted__"
#define HEADER_SIZE 16
#define ITERATIONS 10000

struct symmetric {
    EVP_CIPHER *cipher;
    EVP_CIPHER_CTX *ctx;
    char *password;
    bool is_encrypting, is_keyed;
    uint8_t header[HEADER_SIZE];
    size_t header_size;
};

static int take_key(struct symmetric *s) {
    uint8_t derived[EVP_MAX_KEY_LENGTH + EVP_MAX_IV_LENGTH];
    int key_size = EVP_CIPHER_get_key_length(s->cipher), iv_size = EVP_CIPHER_get_iv_length(s->cipher);
    int ok = PKCS5_PBKDF2_HMAC(s->password, (int)strlen(s->password), s->header + 8, 8, ITERATIONS, EVP_sha256(),
                               key_size + iv_size, derived);
    if (ok == 1) ok = EVP_CipherInit_ex2(s->ctx, s->cipher, derived, derived + key_size, s->is_encrypting, NULL);
    OPENSSL_cleanse(derived, sizeof(derived));
    s->is_keyed = true;
    return ok == 1 ? 0 : -EINVAL;
}

struct symmetric *symmetric_new(const char *algorithm, const char *password, bool is_encrypting,
                                struct xb_error *error) {
    struct symmetric *s = calloc(1, sizeof(*s));
    if (s) {
        s->is_encrypting = is_encrypting;
        s->cipher = EVP_CIPHER_fetch(NULL, algorithm, NULL);
        s->ctx = EVP_CIPHER_CTX_new();
        s->password = strdup(password);
    }
    if (!s || !s->ctx || !s->password) {
        xb_fail(error, -ENOMEM, "no memory");
    } else if (!s->cipher || EVP_CIPHER_get_flags(s->cipher) & EVP_CIPH_FLAG_AEAD_CIPHER) {
        xb_fail(error, -EINVAL,
                "encrypt-algo '%s' is not a stream or block cipher of the TLS library, for example aes-256-ctr",
                algorithm);
    } else if (!is_encrypting) {
        return s;
    } else {
        memcpy(s->header, MAGIC, 8);
        if (RAND_bytes(s->header + 8, 8) == 1 && take_key(s) == 0) return s;
        xb_fail(error, -EINVAL, "encrypt-algo '%s' cannot be used", algorithm);
    }
    symmetric_free(s);
    return NULL;
}

void symmetric_free(struct symmetric *s) {
    if (!s) return;
    EVP_CIPHER_free(s->cipher);
    EVP_CIPHER_CTX_free(s->ctx);
    if (s->password) OPENSSL_cleanse(s->password, strlen(s->password));
    free(s->password);
    free(s);
}

/* -> bytes of input that the header took, or -EBADMSG */
static ssize_t take_header(struct symmetric *s, const uint8_t *data, size_t size, struct xb_error *error) {
    size_t n = HEADER_SIZE - s->header_size < size ? HEADER_SIZE - s->header_size : size;
    memcpy(s->header + s->header_size, data, n);
    s->header_size += n;
    if (s->header_size < HEADER_SIZE) return (ssize_t)n;
    if (memcmp(s->header, MAGIC, 8))
        return xb_fail(error, -EBADMSG, "the stream is not encrypted with encrypt=1, as it is here");
    return take_key(s) ? xb_fail(error, -EINVAL, "the key cannot be used") : (ssize_t)n;
}

ssize_t symmetric_feed(struct symmetric *s, const uint8_t *data, size_t size, uint8_t *to, struct xb_error *error) {
    size_t used = 0;
    if (s->is_encrypting && s->header_size == 0) {
        memcpy(to, s->header, HEADER_SIZE);
        used = s->header_size = HEADER_SIZE;
    } else if (!s->is_encrypting && !s->is_keyed) {
        ssize_t n = take_header(s, data, size, error);
        if (n < 0) return n;
        data += n;
        size -= (size_t)n;
    }
    int n = 0;
    if (size == 0 || !s->is_keyed) return (ssize_t)used;
    if (size > INT_MAX || EVP_CipherUpdate(s->ctx, to + used, &n, data, (int)size) != 1)
        return xb_fail(error, -EBADMSG, "the cipher failed");
    return (ssize_t)used + n;
}

ssize_t symmetric_end(struct symmetric *s, uint8_t *to, struct xb_error *error) {
    int n = 0;
    if (!s->is_keyed) return xb_fail(error, -EBADMSG, "the encrypted stream ended in its first %d bytes", HEADER_SIZE);
    if (EVP_CipherFinal_ex(s->ctx, to, &n) != 1)
        return xb_fail(error, -EBADMSG,
                       "the stream cannot be decrypted: compare encrypt-algo and encrypt-key of both nodes");
    return n;
}
