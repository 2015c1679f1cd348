/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The sets of a rotation and its state on disk. */
#include "cli/rotation.h"
#include "cli/files.h"
#include "cli/inspect.h"
#include "cli/pem.h"

#include <errno.h>
#include <ini.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static const char *const leaf_names[] = {"server-cert.pem", "server-key.pem", "client-cert.pem", "client-key.pem"};
#define LEAVES (sizeof(leaf_names) / sizeof(*leaf_names))

static char *directory_of(const char *inventory_path) {
    char *dir = NULL;
    if (asprintf(&dir, "%s.rotation", inventory_path) < 0) abort();
    return dir;
}

bool rotation_exists(const char *inventory_path) {
    char *dir = directory_of(inventory_path);
    bool is_there = access(dir, F_OK) == 0;
    free(dir);
    return is_there;
}

/* As inventory_certs_of, for any directory. */
static char *certs_in(const char *dir, const struct inventory_node *node) {
    struct inventory elsewhere = {.certs = (char *)(uintptr_t)dir};
    return inventory_certs_of(&elsewhere, node);
}

char *rotation_set(const struct rotation *rotation, int set, const struct inventory_node *node) {
    char *dir = NULL;
    if (set == 0) return inventory_certs_of(rotation->inventory, node);
    if (asprintf(&dir, "%s/phase%d/%s", rotation->dir, set, node->name) < 0) abort();
    return dir;
}

void rotation_generation(const struct rotation *rotation, int phase, char name[64]) {
    snprintf(name, 64, "rotate-%s-%d", rotation->id, phase);
}

int rotation_files(const struct rotation *rotation, int set, const struct inventory_node *node,
                   struct place_files *files, struct xb_error *error) {
    char *dir = rotation_set(rotation, set, node);
    int result = place_read(files, dir, error);
    free(dir);
    return result;
}

static int copy(const char *from, const char *name, const char *to, struct xb_error *error) {
    size_t size;
    char *source = files_join(from, name), *target = files_join(to, name), *data = NULL;
    int result = 0;
    if (access(source, F_OK) == 0) {
        data = files_read(source, &size, error);
        result = data ? files_write(target, data, size, 0600, false, error) : error->code;
    }
    free(data);
    free(source);
    free(target);
    return result;
}

/* Both CA files, each certificate once. */
static int write_union(const char *old, const char *new, const char *to, struct xb_error *error) {
    struct pem_file a = {0}, b = {0};
    char *path = files_join(to, "ca.pem");
    int result = pem_load_in(&a, old, "ca.pem", NULL, error);
    if (result == 0) result = pem_load_in(&b, new, "ca.pem", NULL, error);
    for (int i = 0; result == 0 && i < sk_X509_num(b.certs); i++) {
        bool is_known = false;
        for (int j = 0; j < sk_X509_num(a.certs); j++)
            is_known = is_known || X509_cmp(sk_X509_value(a.certs, j), sk_X509_value(b.certs, i)) == 0;
        if (!is_known && X509_up_ref(sk_X509_value(b.certs, i))) sk_X509_push(a.certs, sk_X509_value(b.certs, i));
    }
    if (result == 0) result = pem_write_certs(path, a.certs, false, error);
    pem_free(&a);
    pem_free(&b);
    free(path);
    return result;
}

static int build_set(struct rotation *rotation, int set, const struct inventory_node *node, struct xb_error *error) {
    char *old = inventory_certs_of(rotation->inventory, node), *new = certs_in(rotation->to, node);
    char *to = rotation_set(rotation, set, node), *phase = NULL;
    if (asprintf(&phase, "%s/phase%d", rotation->dir, set) < 0) abort();
    int result = set == 1 ? inspect_set(new, "", error) : 0;
    if (result == 0) result = files_make_directory(phase, 0700, error);
    if (result == 0) result = files_make_directory(to, 0700, error);
    for (size_t i = 0; result == 0 && i < LEAVES; i++) result = copy(set == 1 ? old : new, leaf_names[i], to, error);
    if (result == 0) result = copy(set == 1 ? old : new, "dhparams.pem", to, error);
    if (result == 0) result = set < 3 ? write_union(old, new, to, error) : copy(new, "ca.pem", to, error);
    free(old);
    free(new);
    free(to);
    free(phase);
    return result;
}

int rotation_begin(struct rotation *rotation, struct inventory *inventory, const char *inventory_path, const char *to,
                   struct xb_error *error) {
    time_t now = time(NULL);
    struct tm tm;
    *rotation = (struct rotation){inventory, directory_of(inventory_path), realpath(to, NULL), "", 0};
    if (!rotation->to) return xb_fail(error, -errno, "cannot read %s: %s", to, strerror(errno));
    strftime(rotation->id, sizeof(rotation->id), "%Y%m%dT%H%M%S", gmtime_r(&now, &tm));
    int result = files_make_directory(rotation->dir, 0700, error);
    for (int set = 1; result == 0 && set <= ROTATION_PHASES; set++) {
        for (int i = 0; result == 0 && i < inventory->node_count; i++)
            result = build_set(rotation, set, &inventory->nodes[i], error);
    }
    if (result == 0) result = rotation_save(rotation, error);
    if (result) rotation_end(rotation);
    return result;
}

int rotation_save(const struct rotation *rotation, struct xb_error *error) {
    char *path = files_join(rotation->dir, "state"), *text = NULL;
    if (asprintf(&text, "to = %s\nid = %s\ndone = %d\n", rotation->to, rotation->id, rotation->done) < 0) abort();
    int result = files_write(path, text, strlen(text), 0600, false, error);
    free(path);
    free(text);
    return result;
}

static int take_line(void *ctx, const char *section, const char *name, const char *value) {
    struct rotation *rotation = ctx;
    if (!strcmp(name, "to")) rotation->to = strdup(value);
    if (!strcmp(name, "id")) snprintf(rotation->id, sizeof(rotation->id), "%s", value);
    if (!strcmp(name, "done")) rotation->done = atoi(value);
    return 1;
}

int rotation_load(struct rotation *rotation, struct inventory *inventory, const char *inventory_path,
                  struct xb_error *error) {
    *rotation = (struct rotation){.inventory = inventory, .dir = directory_of(inventory_path)};
    char *path = files_join(rotation->dir, "state");
    if (ini_parse(path, take_line, rotation) != 0 || !rotation->to || !*rotation->id ||
        rotation->id[strspn(rotation->id, "0123456789T")] || rotation->done < 0 || rotation->done > ROTATION_PHASES)
        xb_fail(error, -EINVAL,
                "no rotation is under way, or it was killed before it touched any node (%s is not readable)", path);
    free(path);
    return error->code;
}

static void remove_file(const char *dir, const char *name) {
    char *path = files_join(dir, name);
    unlink(path);
    free(path);
}

void rotation_end(const struct rotation *rotation) {
    for (int set = 1; set <= ROTATION_PHASES; set++) {
        for (int i = 0; i < rotation->inventory->node_count; i++) {
            char *dir = rotation_set(rotation, set, &rotation->inventory->nodes[i]);
            for (size_t f = 0; f < LEAVES; f++) remove_file(dir, leaf_names[f]);
            remove_file(dir, "ca.pem");
            remove_file(dir, "dhparams.pem");
            rmdir(dir);
            free(dir);
        }
        char *phase = NULL;
        if (asprintf(&phase, "%s/phase%d", rotation->dir, set) < 0) abort();
        rmdir(phase);
        free(phase);
    }
    remove_file(rotation->dir, "state");
    rmdir(rotation->dir);
}
