/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The relay; cutter.h. One connection at a time, which is what a state transfer makes. */
#include "cutter.h"
#include "engine.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

struct cutter {
    int listener, to_port, count;
    size_t cut_after;
    int stop[2]; /* a pipe: closed at one end to end the thread */
    pthread_t thread;
};

static struct sockaddr_in loopback(int port) {
    return (struct sockaddr_in){
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
}

static int dial(int port) {
    struct sockaddr_in to = loopback(port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(fd >= 0);
    if (!connect(fd, (struct sockaddr *)&to, sizeof(to))) return fd;
    close(fd);
    return -1;
}

/* -> false: one side is done */
static bool pass(int from, int to, size_t *left) {
    char bytes[4096];
    ssize_t n = read(from, bytes, sizeof(bytes) < *left ? sizeof(bytes) : *left);
    if (n <= 0 || send(to, bytes, (size_t)n, MSG_NOSIGNAL) != n) return false;
    *left -= (size_t)n;
    return *left > 0;
}

static void relay(struct cutter *cutter, int donor, int joiner) {
    size_t left = cutter->count++ ? SIZE_MAX : cutter->cut_after, no_limit = SIZE_MAX;
    bool is_open = true;
    while (is_open) {
        struct pollfd fds[] = {{donor, POLLIN, 0}, {joiner, POLLIN, 0}, {cutter->stop[0], POLLIN, 0}};
        CHECK(poll(fds, 3, -1) > 0);
        if (fds[0].revents) is_open = pass(donor, joiner, &left);
        if (is_open && fds[1].revents) is_open = pass(joiner, donor, &no_limit);
        if (fds[2].revents) is_open = false;
    }
}

static void *run(void *arg) {
    struct cutter *cutter = arg;
    for (;;) {
        struct pollfd fds[] = {{cutter->listener, POLLIN, 0}, {cutter->stop[0], POLLIN, 0}};
        CHECK(poll(fds, 2, -1) > 0);
        if (fds[1].revents) return NULL;
        int donor = accept(cutter->listener, NULL, NULL), joiner = dial(cutter->to_port);
        CHECK(donor >= 0);
        if (joiner >= 0) relay(cutter, donor, joiner);
        close(donor);
        if (joiner >= 0) close(joiner);
    }
}

struct cutter *cutter_start(int from_port, int to_port, size_t cut_after) {
    struct cutter *cutter = calloc(1, sizeof(*cutter));
    struct sockaddr_in at = loopback(from_port);
    int on = 1;
    cutter->to_port = to_port;
    cutter->cut_after = cut_after;
    cutter->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    CHECK(!setsockopt(cutter->listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)));
    CHECK(!bind(cutter->listener, (struct sockaddr *)&at, sizeof(at)) && !listen(cutter->listener, 5));
    CHECK(!pipe(cutter->stop));
    CHECK(!pthread_create(&cutter->thread, NULL, run, cutter));
    return cutter;
}

int cutter_stop(struct cutter *cutter) {
    close(cutter->stop[1]);
    pthread_join(cutter->thread, NULL);
    close(cutter->stop[0]);
    close(cutter->listener);
    int count = cutter->count;
    free(cutter);
    return count;
}
