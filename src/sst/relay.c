/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Two threads, one a direction. */
#include "sst/relay.h"

#include "sst/child.h"

#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

#define BLOCK ((size_t)256 << 10)

static bool write_all(int fd, const char *data, ssize_t size) {
    while (size > 0) {
        ssize_t n = write(fd, data, (size_t)size);
        if (n < 0 && errno != EINTR) return false;
        if (n > 0) {
            data += n;
            size -= n;
        }
    }
    return true;
}

static void copy(int from, int to, char *block) {
    ssize_t n;
    do {
        n = read(from, block, BLOCK);
    } while (n > 0 ? write_all(to, block, n) : n < 0 && errno == EINTR);
}

static void *send_all(void *ctx) {
    static char block[BLOCK];
    copy(STDIN_FILENO, CHILD_EXTRA_FD, block);
    shutdown(CHILD_EXTRA_FD, SHUT_WR);
    return NULL;
}

int relay_main(void) {
    static char block[BLOCK];
    pthread_t thread;
    if (pthread_create(&thread, NULL, send_all, NULL)) return 1;
    copy(CHILD_EXTRA_FD, STDOUT_FILENO, block);
    return 0;
}
