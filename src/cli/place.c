/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Files on a node. One constant shell script does the steps, here and there alike: it comes by standard input to `sh
 * -s`; its arguments are plain characters, which the inventory has made sure of, so no shell can read anything else in
 * them.
 */
#include "cli/place.h"
#include "cli/files.h"
#include "cli/process.h"

#include <errno.h>
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

/* The program and what it needs never to ask a question; the inventory's ssh_config with it. -> number of words */
static size_t put_ssh(const struct inventory *inventory, const char *program, const char **words) {
    size_t n = 0;
    words[n++] = program;
    words[n++] = "-oBatchMode=yes";
    words[n++] = "-oConnectTimeout=10";
    if (inventory->ssh_config) {
        words[n++] = "-F";
        words[n++] = inventory->ssh_config;
    }
    return n;
}

/* What stands in front of a command for the node. -> number of words */
static size_t put_way(const struct inventory *inventory, const struct inventory_node *node, const char **words) {
    if (!node->ssh) return 0;
    size_t n = put_ssh(inventory, "ssh", words);
    words[n++] = "--";
    words[n++] = node->ssh;
    return n;
}

static int run_script(const struct inventory *inventory, const struct inventory_node *node, const char *what,
                      const char *generation, char **output, struct xb_error *error) {
    const char *words[24];
    size_t n = put_way(inventory, node, words);
    const char *command[] = {"sh", "-s", "--", what, node->certs_dir, node->fragment, node->owner, generation, NULL};
    memcpy(words + n, command, sizeof(command));
    struct process process = {.words = words, .input = script};
    int code = process_run(&process);
    if (output) *output = code == 0 ? strdup(process.output) : NULL;
    if (code != 0)
        xb_fail(error, -EIO, "node %s: %s failed on %s: %s", node->name, what, node->ssh ? node->ssh : "this machine",
                *process.complaint ? process.complaint : "no reason given");
    process_clear(&process);
    return code == 0 ? 0 : error->code;
}

size_t place_list(const char *dir, struct place_file files[PLACE_FILES_MAX]) {
    static const char *const names[] = {"ca.pem",          "server-cert.pem", "server-key.pem",
                                        "client-cert.pem", "client-key.pem",  "dhparams.pem"};
    size_t count = 0;
    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++) {
        char *path = files_join(dir, names[i]);
        if (access(path, R_OK) == 0) files[count++] = (struct place_file){names[i], path};
    }
    return count;
}

int place_look(const struct inventory *inventory, const struct inventory_node *node, char **now,
               struct xb_error *error) {
    return run_script(inventory, node, "look", "-", now, error);
}

static int copy_file(const struct inventory *inventory, const struct inventory_node *node, const char *generation,
                     const struct place_file *file, struct xb_error *error) {
    const char *words[16];
    char *target = NULL;
    size_t n;
    bool is_remote = node->ssh;
    if (asprintf(&target, "%s%s%s.d/%s/%s", is_remote ? node->ssh : "", is_remote ? ":" : "", node->certs_dir,
                 generation, file->name) < 0)
        abort();
    if (is_remote) {
        n = put_ssh(inventory, "scp", words);
        words[n++] = "-q";
    } else {
        n = 0;
        words[n++] = "cp";
    }
    words[n++] = "--";
    words[n++] = file->path;
    words[n++] = target;
    words[n] = NULL;
    struct process process = {.words = words};
    int code = process_run(&process);
    if (code != 0)
        xb_fail(error, -EIO, "node %s: cannot copy %s to %s: %s", node->name, file->path, target, process.complaint);
    process_clear(&process);
    free(target);
    return code == 0 ? 0 : error->code;
}

int place_stage(const struct inventory *inventory, const struct inventory_node *node, const char *generation,
                const struct place_file *files, size_t count, struct xb_error *error) {
    int result = run_script(inventory, node, "stage", generation, NULL, error);
    for (size_t i = 0; result == 0 && i < count; i++) result = copy_file(inventory, node, generation, &files[i], error);
    return result;
}

int place_activate(const struct inventory *inventory, const struct inventory_node *node, const char *generation,
                   struct xb_error *error) {
    return run_script(inventory, node, "activate", generation, NULL, error);
}

int place_undo(const struct inventory *inventory, const struct inventory_node *node, const char *generation,
               struct xb_error *error) {
    return run_script(inventory, node, "undo", generation, NULL, error);
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
