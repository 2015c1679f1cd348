/* SPDX-License-Identifier: GPL-2.0-or-later */
/* SQL through libmariadb. */
#include "cli/sql.h"
#include "cli/files.h"
#include "cli/pem.h"

#include <errno.h>
#include <mysql.h>
#include <openssl/sha.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define TIMEOUT_S 10

struct sql {
    MYSQL *connection;
    const struct inventory_node *node;
};

/* libmariadb compares SHA-1 fingerprints. Without a readable certificate nothing fits. */
static void pin(MYSQL *connection, const char *dir) {
    struct pem_file file = {0};
    unsigned char digest[EVP_MAX_MD_SIZE] = {0};
    char text[2 * SHA_DIGEST_LENGTH + 1];
    if (pem_load_in(&file, dir, "server-cert.pem", NULL, NULL) == 0 && sk_X509_num(file.certs) > 0)
        X509_digest(sk_X509_value(file.certs, 0), EVP_sha1(), digest, NULL);
    for (int i = 0; i < SHA_DIGEST_LENGTH; i++) snprintf(text + 2 * i, 3, "%02X", digest[i]);
    mysql_options(connection, MARIADB_OPT_TLS_PEER_FP, text);
    pem_free(&file);
}

static void use_tls(MYSQL *connection, const struct inventory *inventory, const struct inventory_node *node,
                    enum sql_way way) {
    char *dir = inventory_certs_of(inventory, node), *ca = files_join(dir, "ca.pem");
    char *cert = files_join(dir, "client-cert.pem"), *key = files_join(dir, "client-key.pem");
    my_bool enforce = way != SQL_AS_OTHERS, verify = way == SQL_SAFE;
    if (way == SQL_PINNED) pin(connection, dir);
    if (way != SQL_PINNED && access(ca, R_OK) == 0) mysql_options(connection, MYSQL_OPT_SSL_CA, ca);
    if (way != SQL_PINNED && access(key, R_OK) == 0) {
        mysql_options(connection, MYSQL_OPT_SSL_CERT, cert);
        mysql_options(connection, MYSQL_OPT_SSL_KEY, key);
    }
    mysql_options(connection, MYSQL_OPT_SSL_ENFORCE, &enforce);
    mysql_options(connection, MYSQL_OPT_SSL_VERIFY_SERVER_CERT, &verify);
    free(dir);
    free(ca);
    free(cert);
    free(key);
}

struct sql *sql_open(const struct inventory *inventory, const struct inventory_node *node, enum sql_way way,
                     struct xb_error *error) {
    bool is_local = way != SQL_AS_OTHERS && node->socket && !node->ssh;
    char *password = inventory->password_file ? pem_read_password(inventory->password_file, error) : NULL;
    if (inventory->password_file && !password) return NULL;
    struct sql *sql = calloc(1, sizeof(*sql));
    MYSQL *connection = mysql_init(NULL);
    unsigned seconds = TIMEOUT_S;
    if (!sql || !connection) abort();
    mysql_options(connection, MYSQL_OPT_CONNECT_TIMEOUT, &seconds);
    mysql_options(connection, MYSQL_OPT_READ_TIMEOUT, &seconds);
    if (!is_local) use_tls(connection, inventory, node, way);
    *sql = (struct sql){connection, node};
    if (!mysql_real_connect(connection, is_local ? NULL : node->address, inventory->user ? inventory->user : "root",
                            password, NULL, is_local ? 0 : (unsigned)atoi(node->port), is_local ? node->socket : NULL,
                            0)) {
        xb_fail(error, -EIO, "node %s: cannot log in at %s: %s", node->name, is_local ? node->socket : node->address,
                mysql_error(connection));
        sql_close(sql);
        sql = NULL;
    }
    free(password);
    return sql;
}

void sql_close(struct sql *sql) {
    if (!sql) return;
    mysql_close(sql->connection);
    free(sql);
}

int sql_run(struct sql *sql, const char *statement, void (*row)(void *ctx, unsigned columns, char **values), void *ctx,
            struct xb_error *error) {
    MYSQL_RES *result = NULL;
    if (mysql_query(sql->connection, statement) != 0 ||
        (!(result = mysql_store_result(sql->connection)) && mysql_errno(sql->connection)))
        return xb_fail(error, -EIO, "node %s: %s (%.80s)", sql->node->name, mysql_error(sql->connection), statement);
    for (MYSQL_ROW values; result && row && (values = mysql_fetch_row(result));)
        row(ctx, mysql_num_fields(result), values);
    mysql_free_result(result);
    return 0;
}
