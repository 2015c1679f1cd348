/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Another program, run from an argument vector, never through a shell of ours. */
#ifndef XB_CLI_PROCESS_H
#define XB_CLI_PROCESS_H

#define PROCESS_OUTPUT_MAX (1 << 20)

struct process {
    const char *const *words; /* NULL-terminated; the first is looked up in PATH */
    const char *input;        /* its standard input; NULL: none. */
    char *output;             /* its standard output, up to PROCESS_OUTPUT_MAX */
    char *complaint;          /* the last line of its standard error */
};

/* Waits for it. -> its exit code, 127 could not be run, 128 + n killed by signal n */
int process_run(struct process *process);
void process_clear(struct process *process);

#endif
