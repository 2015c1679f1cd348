/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files on a node. One constant shell script does the steps, here and there alike: it comes by standard input to `sh
 * -s`; its arguments are plain characters, which the inventory has made sure of, so no shell can read anything else in
 * them.
 * Files follow the script, encoded.
 */
#include "cli/place.h"
#include "cli/files.h"
#include "cli/process.h"

#include <errno.h>
#include <openssl/evp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RESTART_WORDS_MAX 24

static const char script[] =
    "set -eu\n"
    "what=$1 dir=$2 fragment=$3 owner=$4 generation=$5\n"
    "all=$dir.d new=$dir.d/$generation\n"
    "point_to() { ln -s \"$1\" \"$dir.link.$$\"; mv -T \"$dir.link.$$\" \"$dir\"; }\n"
    "case $what in\n"
    "look)\n"
    "    id \"$owner\" >/dev/null\n"
    "    for d in \"$(dirname \"$dir\")\" \"$(dirname \"$fragment\")\"; do\n"
    "        [ -w \"$d\" ] || { echo \"no directory, or not writable: $d\" >&2; exit 1; }\n"
    "    done\n"
    "    if [ -d \"$dir\" ]; then cd \"$dir\"; for f in *; do [ -f \"$f\" ] || continue; sha256sum \"$f\" | { read -r "
    "s _; echo \"$f $s\"; }; done; fi\n"
    "    if [ -f \"$fragment\" ]; then sha256sum \"$fragment\" | { read -r s _; echo \"fragment $s\"; }; fi ;;\n"
    "stage)\n"
    "    [ ! -e \"$new/previous\" ] || { echo \"already in use: $new\" >&2; exit 1; }\n"
    /* It may be there, from a run that was killed, even appear just now: that run's shell outlives it. */
    "    umask 077; mkdir -p \"$all\"; chmod 755 \"$all\"; mkdir -p \"$new\" ;;\n"
    "activate)\n"
    "    chmod 644 \"$new\"/*; for f in \"$new\"/*-key.pem; do [ ! -e \"$f\" ] || chmod 600 \"$f\"; done\n"
    "    [ \"$(id -un)\" = \"$owner\" ] || chown -R \"$owner:\" \"$new\"\n"
    "    chmod 755 \"$new\"; sync -f \"$new\"\n"
    "    if [ -L \"$dir\" ]; then readlink \"$dir\" >\"$new/previous\"\n"
    "    elif [ -d \"$dir\" ]; then mv -T \"$dir\" \"$all/before-xebec\"; echo \"$all/before-xebec\" "
    ">\"$new/previous\"\n"
    "    else : >\"$new/previous\"; fi\n"
    "    if [ -e \"$new/fragment.cnf\" ]; then\n"
    "        if [ -e \"$fragment\" ]; then cp -p \"$fragment\" \"$new/previous-fragment\"; else : "
    ">\"$new/no-fragment\"; fi\n"
    "        cp \"$new/fragment.cnf\" \"$fragment.xebec\"; chmod 644 \"$fragment.xebec\"; mv \"$fragment.xebec\" "
    "\"$fragment\"\n"
    "    fi\n"
    "    point_to \"$new\" ;;\n"
    "undo)\n"
    "    [ -d \"$new\" ] || exit 0\n"
    "    if [ -e \"$new/previous\" ]; then\n"
    "        previous=$(cat \"$new/previous\")\n"
    "        if [ -n \"$previous\" ]; then point_to \"$previous\"; elif [ -L \"$dir\" ]; then rm \"$dir\"; fi\n"
    "        if [ -e \"$new/previous-fragment\" ]; then mv \"$new/previous-fragment\" \"$fragment\"\n"
    "        elif [ -e \"$new/no-fragment\" ]; then rm -f \"$fragment\"; fi\n"
    "    fi\n"
    "    rm -r \"$new\" ;;\n"
    "esac\n";

/* What stands in front of a command for the node: ssh, which must never ask a question. -> number of words */
static size_t put_way(const struct inventory *inventory, const struct inventory_node *node, const char **words) {
    size_t n = 0;
    if (!node->ssh) return 0;
    words[n++] = "ssh";
    words[n++] = "-oBatchMode=yes";
    words[n++] = "-oConnectTimeout=10";
    if (inventory->ssh_config) {
        words[n++] = "-F";
        words[n++] = inventory->ssh_config;
    }
    words[n++] = "--";
    words[n++] = node->ssh;
    return n;
}

static int run_script(const struct inventory *inventory, const struct inventory_node *node, const char *what,
                      const char *generation, const char *text, char **output, struct xb_error *error) {
    const char *words[24];
    size_t n = put_way(inventory, node, words);
    const char *command[] = {"sh", "-s", "--", what, node->certs_dir, node->fragment, node->owner, generation, NULL};
    memcpy(words + n, command, sizeof(command));
    struct process process = {.words = words, .input = text};
    int code = process_run(&process);
    if (output) *output = code == 0 ? strdup(process.output) : NULL;
    if (code != 0)
        xb_fail(error, -EIO, "node %s: %s failed on %s: %s", node->name, what, node->ssh ? node->ssh : "this machine",
                *process.complaint ? process.complaint : "no reason given");
    process_clear(&process);
    return code == 0 ? 0 : error->code;
}

static const char *const names[] = {"ca.pem",          "server-cert.pem", "server-key.pem",
                                    "client-cert.pem", "client-key.pem",  "dhparams.pem"};

int place_read_node(struct place_files *files, const struct inventory *inventory, const struct inventory_node *node,
                    struct xb_error *error) {
    char *dir = inventory_certs_of(inventory, node);
    int result = place_read(files, dir, error);
    free(dir);
    return result;
}

void place_add(struct place_files *files, const char *name, char *text, size_t size) {
    if (files->count == PLACE_FILES_MAX) abort();
    files->list[files->count++] = (struct place_file){name, text, size};
}

int place_read(struct place_files *files, const char *dir, struct xb_error *error) {
    int result = 0;
    *files = (struct place_files){0};
    for (size_t i = 0; result == 0 && i < sizeof(names) / sizeof(*names); i++) {
        char *path = files_join(dir, names[i]);
        size_t size;
        char *data = access(path, F_OK) == 0 ? files_read(path, &size, error) : NULL;
        if (data)
            place_add(files, names[i], data, size);
        else if (access(path, F_OK) == 0)
            result = error->code;
        free(path);
    }
    return result;
}

void place_free(struct place_files *files) {
    for (size_t i = 0; i < files->count; i++) free(files->list[i].data);
    files->count = 0;
}

int place_look(const struct inventory *inventory, const struct inventory_node *node, char **now,
               struct xb_error *error) {
    return run_script(inventory, node, "look", "-", script, now, error);
}

/* The script goes on with the files, as text that no shell can take for anything else. */
static char *script_with(const struct place_files *files) {
    char *text = NULL;
    size_t size;
    FILE *to = open_memstream(&text, &size);
    if (!to) abort();
    fputs(script, to);
    for (size_t i = 0; i < files->count; i++) {
        const struct place_file *file = &files->list[i];
        unsigned char *encoded = malloc(file->size / 3 * 4 + 8);
        if (!encoded) abort();
        EVP_EncodeBlock(encoded, (unsigned char *)file->data, (int)file->size);
        fprintf(to, "base64 -d >\"$new/%s\" <<'.'\n%s\n.\n", file->name, encoded);
        free(encoded);
    }
    fclose(to);
    return text;
}

int place_stage(const struct inventory *inventory, const struct inventory_node *node, const char *generation,
                const struct place_files *files, struct xb_error *error) {
    char *text = script_with(files);
    int result = run_script(inventory, node, "stage", generation, text, NULL, error);
    free(text);
    return result;
}

int place_activate(const struct inventory *inventory, const struct inventory_node *node, const char *generation,
                   struct xb_error *error) {
    return run_script(inventory, node, "activate", generation, script, NULL, error);
}

int place_undo(const struct inventory *inventory, const struct inventory_node *node, const char *generation,
               struct xb_error *error) {
    return run_script(inventory, node, "undo", generation, script, NULL, error);
}

int place_restart(const struct inventory *inventory, const struct inventory_node *node, struct xb_error *error) {
    const char *words[8 + RESTART_WORDS_MAX];
    char *command = strdup(node->restart), *rest = NULL;
    size_t n = put_way(inventory, node, words), end = n + RESTART_WORDS_MAX;
    for (char *word = strtok_r(command, " ", &rest); word && n < end; word = strtok_r(NULL, " ", &rest))
        words[n++] = word;
    words[n] = NULL;
    struct process process = {.words = words};
    int code = process_run(&process);
    if (code != 0)
        xb_fail(error, -EIO, "node %s: '%s' failed on %s with code %d: %s", node->name, node->restart,
                node->ssh ? node->ssh : "this machine", code,
                *process.complaint ? process.complaint : "no reason given");
    process_clear(&process);
    free(command);
    return code == 0 ? 0 : error->code;
}
