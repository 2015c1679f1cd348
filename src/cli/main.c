/* SPDX-License-Identifier: GPL-2.0-or-later */
/* xebec: finds the command that is meant and runs it. */
#include "cli/cli.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const char *argp_program_version = "xebec " XEBEC_VERSION;
const char *argp_program_bug_address = NULL;

static const struct command {
    const char *words[2];
    const char *summary;
    int (*run)(int argc, char **argv);
} commands[] = {
    {{"cert", "init"}, "make a CA, server, client and per-node certificates", cli_cert_init},
    {{"cert", "check"}, "find what is wrong with certificates, before it breaks the cluster", cli_cert_check},
    {{"config", NULL}, "write the my.cnf fragment of each node of an inventory", cli_config},
    {{"deploy", NULL}, "put certificates and fragments on all nodes, or on none", cli_deploy},
    {{"options", NULL}, "what wsrep_provider_options may hold", cli_options},
    {{"status", NULL}, "one screen about the cluster", cli_status},
    {{"audit", NULL}, "knock at every channel, and prove that nothing travels in clear", cli_audit},
    {{"encrypt", NULL}, "turn encryption on in a running plaintext cluster", cli_encrypt},
    {{"rotate", NULL}, "change certificates or the CA of a running cluster", cli_rotate},
};

static const struct command *find(int argc, char **argv, int *used) {
    for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
        const struct command *c = &commands[i];
        *used = c->words[1] ? 2 : 1;
        if (argc <= *used || strcmp(argv[1], c->words[0])) continue;
        if (!c->words[1] || !strcmp(argv[2], c->words[1])) return c;
    }
    return NULL;
}

static void print_help(FILE *to) {
    fprintf(to, "Usage: xebec COMMAND [OPTION...]\n"
                "Certificates without fear for encrypted Galera clusters.\n\nCommands:\n");
    for (size_t i = 0; i < sizeof(commands) / sizeof(*commands); i++) {
        const struct command *c = &commands[i];
        char name[32];
        snprintf(name, sizeof(name), "%s%s%s", c->words[0], c->words[1] ? " " : "", c->words[1] ? c->words[1] : "");
        fprintf(to, "  %-12s %s\n", name, c->summary);
    }
    fprintf(to, "\n`xebec COMMAND --help` tells more; so does xebec(1).\n"
                "Exit codes: 0 good, 1 errors were found, 2 wrong usage, 3 could not be done.\n");
}

int main(int argc, char **argv) {
    argp_err_exit_status = CLI_USAGE;
    signal(SIGPIPE, SIG_IGN);
    if (argc > 1 && (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-?") || !strcmp(argv[1], "help"))) {
        print_help(stdout);
        return CLI_GOOD;
    }
    if (argc > 1 && (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V"))) {
        puts(argp_program_version);
        return CLI_GOOD;
    }
    int used;
    const struct command *command = find(argc, argv, &used);
    if (!command) {
        if (argc > 1)
            fprintf(stderr, "xebec: there is no command '%s%s%s'\n", argv[1], argc > 2 ? " " : "",
                    argc > 2 ? argv[2] : "");
        print_help(stderr);
        return CLI_USAGE;
    }
    static char name[64];
    snprintf(name, sizeof(name), "xebec %s%s%s", command->words[0], used == 2 ? " " : "",
             used == 2 ? command->words[1] : "");
    argv[used] = name;
    program_invocation_name = program_invocation_short_name = name;
    int code = command->run(argc - used, argv + used);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        perror(name);
        return CLI_FAILED;
    }
    return code;
}
