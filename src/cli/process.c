/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Runs another program and collects what it says. */
#include "cli/process.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

struct text {
    char *data;
    size_t size;
};

static bool collect(int fd, struct text *text) {
    char part[4096];
    ssize_t n = read(fd, part, sizeof(part));
    if (n < 0 && errno == EINTR) return true;
    if (n <= 0) return false;
    if (text->size + (size_t)n > PROCESS_OUTPUT_MAX) return true; /* keep it going, forget the rest */
    char *data = realloc(text->data, text->size + (size_t)n + 1);
    if (!data) abort();
    text->data = data;
    memcpy(text->data + text->size, part, (size_t)n);
    text->size += (size_t)n;
    text->data[text->size] = 0;
    return true;
}

static void collect_both(int output, int complaint, struct text texts[2]) {
    struct pollfd fds[] = {{output, POLLIN, 0}, {complaint, POLLIN, 0}};
    while (fds[0].fd >= 0 || fds[1].fd >= 0) {
        if (poll(fds, 2, -1) < 0) continue;
        for (int i = 0; i < 2; i++) {
            if (fds[i].revents && !collect(fds[i].fd, &texts[i])) fds[i].fd = -1;
        }
    }
}

static char *last_line(struct text *text) {
    if (!text->data) return strdup("");
    while (text->size && strchr("\r\n ", text->data[text->size - 1])) text->data[--text->size] = 0;
    char *line = strrchr(text->data, '\n');
    char *result = strdup(line ? line + 1 : text->data);
    free(text->data);
    return result;
}

static int spawn(const struct process *process, int in, int out, int err, pid_t *pid) {
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t defaults;
    sigemptyset(&defaults);
    sigaddset(&defaults, SIGPIPE); /* ignored here, not there */
    posix_spawnattr_init(&attributes);
    posix_spawnattr_setsigdefault(&attributes, &defaults);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGDEF);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, in, 0);
    posix_spawn_file_actions_adddup2(&actions, out, 1);
    posix_spawn_file_actions_adddup2(&actions, err, 2);
    int result =
        posix_spawnp(pid, process->words[0], &actions, &attributes, (char *const *)(uintptr_t)process->words, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    return result;
}

/* A file in memory, since a pipe would have to be filled while the output is read. */
static int open_input(const char *text) {
    int fd = memfd_create("input", MFD_CLOEXEC);
    size_t left = text ? strlen(text) : 0;
    if (fd < 0) abort();
    while (left > 0) {
        ssize_t n = write(fd, text, left);
        if (n <= 0) abort();
        text += n;
        left -= (size_t)n;
    }
    lseek(fd, 0, SEEK_SET);
    return fd;
}

static int run(struct process *process, int pipes[2][2], struct text texts[2]) {
    pid_t pid;
    int status, input = open_input(process->input);
    int result = spawn(process, input, pipes[0][1], pipes[1][1], &pid);
    close(input);
    close(pipes[0][1]);
    close(pipes[1][1]);
    if (result == 0) collect_both(pipes[0][0], pipes[1][0], texts);
    close(pipes[0][0]);
    close(pipes[1][0]);
    if (result) {
        if (asprintf(&texts[1].data, "cannot run %s: %s", process->words[0], strerror(result)) < 0) abort();
        texts[1].size = strlen(texts[1].data);
        return 127;
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int process_run(struct process *process) {
    int pipes[2][2];
    struct text texts[2] = {0};
    for (int i = 0; i < 2; i++) {
        if (pipe2(pipes[i], O_CLOEXEC) != 0) abort();
    }
    fflush(stdout);
    int code = run(process, pipes, texts);
    process->output = texts[0].data ? texts[0].data : strdup("");
    process->complaint = last_line(&texts[1]);
    return code;
}

void process_clear(struct process *process) {
    free(process->output);
    free(process->complaint);
    process->output = process->complaint = NULL;
}
