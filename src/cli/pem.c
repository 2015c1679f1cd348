/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PEM files. */
#include "cli/pem.h"
#include "cli/files.h"
#include "cli/issue.h"

#include <errno.h>
#include <openssl/decoder.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <stdlib.h>
#include <string.h>

static int give_password(char *to, int size, int is_writing, void *ctx) {
    const char *password = ctx;
    size_t length = password ? strlen(password) : 0;
    if (length == 0 || length > (size_t)size) return -1;
    memcpy(to, password, length);
    return (int)length;
}

static bool is_key_name(const char *name) {
    size_t length = strlen(name), suffix = strlen("PRIVATE KEY");
    return length >= suffix && !strcmp(name + length - suffix, "PRIVATE KEY");
}

static int take_key(struct pem_file *file, BIO *block, const char *path, const char *password, struct xb_error *error) {
    if (file->key) return 0; /* the first counts, as for the servers */
    file->key = PEM_read_bio_PrivateKey(block, NULL, give_password, (void *)(uintptr_t)password);
    if (file->key) return 0;
    if (!file->is_key_encrypted)
        return xb_fail(error, -EBADMSG, "%s: the private key is damaged: %s", path, issue_reason());
    ERR_clear_error();
    return xb_fail(error, -ENOKEY, "%s: the private key is encrypted and the password is %s", path,
                   password ? "wrong" : "not given (--password-file)");
}

/* One block: the reader of its kind gets it again as PEM text. */
static int take_block(struct pem_file *file, const char *name, BIO *block, const char *path, const char *password,
                      struct xb_error *error) {
    if (is_key_name(name)) return take_key(file, block, path, password, error);
    if (!strcmp(name, PEM_STRING_DHPARAMS) || !strcmp(name, PEM_STRING_DHXPARAMS)) {
        file->dh = file->dh ? file->dh : PEM_read_bio_Parameters(block, NULL);
        return file->dh ? 0 : xb_fail(error, -EBADMSG, "%s: the DH parameters are damaged: %s", path, issue_reason());
    }
    if (strcmp(name, PEM_STRING_X509) && strcmp(name, PEM_STRING_X509_OLD) && strcmp(name, PEM_STRING_X509_TRUSTED))
        return 0; /* EC PARAMETERS, revocation lists and the like */
    X509 *cert = PEM_read_bio_X509_AUX(block, NULL, NULL, NULL);
    if (cert && sk_X509_push(file->certs, cert)) return 0;
    X509_free(cert);
    return xb_fail(error, -EBADMSG, "%s: a certificate is damaged: %s", path, issue_reason());
}

static int read_blocks(struct pem_file *file, BIO *input, const char *path, const char *password,
                       struct xb_error *error) {
    int result = 0, count = 0;
    for (;;) {
        char *name = NULL, *header = NULL;
        unsigned char *data = NULL;
        long size = 0;
        if (PEM_read_bio(input, &name, &header, &data, &size) != 1) break;
        count++;
        BIO *block = BIO_new(BIO_s_mem());
        if (!strcmp(name, PEM_STRING_PKCS8) || strstr(header, "ENCRYPTED")) file->is_key_encrypted = true;
        int one = block && PEM_write_bio(block, name, header, data, size) > 0
                      ? take_block(file, name, block, path, password, error)
                      : -ENOMEM;
        if (one) result = one;
        BIO_free(block);
        OPENSSL_free(name);
        OPENSSL_free(header);
        OPENSSL_clear_free(data, (size_t)size);
        if (result && result != -ENOKEY) return result;
    }
    unsigned long code = ERR_peek_last_error();
    bool is_end = ERR_GET_REASON(code) == PEM_R_NO_START_LINE;
    if (!is_end) return xb_fail(error, -EBADMSG, "%s is cut off or damaged: %s", path, issue_reason());
    ERR_clear_error();
    if (count == 0) return xb_fail(error, -EBADMSG, "%s is not a PEM file: it has no line -----BEGIN ...-----", path);
    return result;
}

int pem_load(struct pem_file *file, const char *path, const char *password, struct xb_error *error) {
    *file = (struct pem_file){.certs = sk_X509_new_null()};
    struct xb_error own = {0};
    size_t size;
    if (!error) error = &own;
    char *text = files_read(path, &size, error);
    if (!text) return error->code;
    BIO *input = BIO_new_mem_buf(text, (int)size);
    int result = input ? read_blocks(file, input, path, password, error) : -ENOMEM;
    BIO_free(input);
    OPENSSL_cleanse(text, size);
    free(text);
    return result;
}

int pem_load_in(struct pem_file *file, const char *dir, const char *name, const char *password,
                struct xb_error *error) {
    char *path = files_join(dir, name);
    int result = pem_load(file, path, password, error);
    free(path);
    return result;
}

void pem_free(struct pem_file *file) {
    sk_X509_pop_free(file->certs, X509_free);
    EVP_PKEY_free(file->key);
    EVP_PKEY_free(file->dh);
    *file = (struct pem_file){0};
}

static int write_bio(const char *path, BIO *bio, bool is_good, mode_t mode, bool is_new, struct xb_error *error) {
    char *data = NULL;
    long size = bio ? BIO_get_mem_data(bio, &data) : 0;
    int result = is_good ? files_write(path, data, (size_t)size, mode, is_new, error)
                         : xb_fail(error, -EIO, "cannot write %s: %s", path, issue_reason());
    BIO_free(bio);
    return result;
}

int pem_write_key(const char *path, EVP_PKEY *key, const char *password, bool is_new, struct xb_error *error) {
    BIO *bio = BIO_new(BIO_s_secmem());
    int length = password ? (int)strlen(password) : 0;
    bool is_good = bio && PEM_write_bio_PKCS8PrivateKey(bio, key, password ? EVP_aes_256_cbc() : NULL, password, length,
                                                        NULL, NULL) == 1;
    return write_bio(path, bio, is_good, 0600, is_new, error);
}

int pem_write_certs(const char *path, STACK_OF(X509) * certs, bool is_new, struct xb_error *error) {
    BIO *bio = BIO_new(BIO_s_mem());
    bool is_good = bio;
    for (int i = 0; is_good && i < sk_X509_num(certs); i++)
        is_good = PEM_write_bio_X509(bio, sk_X509_value(certs, i)) == 1;
    return write_bio(path, bio, is_good, 0644, is_new, error);
}

int pem_write_dh(const char *path, EVP_PKEY *dh, bool is_new, struct xb_error *error) {
    BIO *bio = BIO_new(BIO_s_mem());
    return write_bio(path, bio, bio && PEM_write_bio_Parameters(bio, dh) == 1, 0644, is_new, error);
}

char *pem_read_password(const char *path, struct xb_error *error) {
    char *text = files_read(path, NULL, error);
    if (!text) return NULL;
    text[strcspn(text, "\r\n")] = 0;
    if (*text && strlen(text) < PEM_PASSWORD_MAX) return text;
    xb_fail(error, -EINVAL, "the first line of the password file %s is empty or too long", path);
    free(text);
    return NULL;
}
