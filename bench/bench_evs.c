/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * EVS throughput: three nodes in one thread, messages handed over in memory without delay. Prints messages delivered
 * per second (at each node; all nodes share the CPU) and datagrams per message, for several sizes, windows and numbers
 * of senders. A second of one core divided by the messages is what a message costs the whole group of three.
 */
#include "base/clock.h"
#include "evs/evs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#define NODES 3
#define IN_FLIGHT_MAX 65536
#define HEADERS_BELOW 28 /* gmcast and datagram */
#define RUN_NS XB_SECOND

struct node {
    struct bench *bench;
    int number;
    struct xb_uuid uuid;
    struct evs *evs;
    struct xb_random random;
    int64_t delivered;
    bool is_ready;
};

struct packet {
    int from;
    struct xb_buf *buf;
    uint32_t offset, size;
};

struct bench {
    struct node nodes[NODES];
    struct packet in_flight[NODES][IN_FLIGHT_MAX]; /* by receiver */
    size_t head[NODES], count[NODES];
    int64_t datagrams;
};

static void post(struct node *node, int to, struct xb_buf *buf, uint32_t offset, uint32_t size) {
    struct bench *bench = node->bench;
    if (to == node->number) return;
    if (bench->count[to] == IN_FLIGHT_MAX) abort();
    size_t place = (bench->head[to] + bench->count[to]++) % IN_FLIGHT_MAX;
    bench->in_flight[to][place] = (struct packet){node->number, xb_buf_ref(buf), offset, size};
    bench->datagrams++;
}

static void on_broadcast(void *ctx, struct xb_buf *buf, int64_t now_ns) {
    uint32_t size = buf->size;
    xb_buf_push(buf, HEADERS_BELOW);
    for (int to = 0; to < NODES; to++) post(ctx, to, buf, buf->head + HEADERS_BELOW, size);
}

static void on_unicast(void *ctx, const struct xb_uuid *target, struct xb_buf *buf, int64_t now_ns) {
    struct node *node = ctx;
    uint32_t size = buf->size;
    xb_buf_push(buf, HEADERS_BELOW);
    for (int to = 0; to < NODES; to++)
        if (xb_uuid_equal(&node->bench->nodes[to].uuid, target)) post(node, to, buf, buf->head + HEADERS_BELOW, size);
}

static void on_node(void *ctx, const struct xb_uuid *uuid) {}

static void on_view(void *ctx, const struct evs_view *view, int64_t now_ns) {
    struct node *node = ctx;
    if (view->id.type == VIEW_REG && view->member_count == NODES) node->is_ready = true;
}

static void on_message(void *ctx, const struct evs_message *message, int64_t now_ns) {
    struct node *node = ctx;
    node->delivered++;
}

static void on_fatal(void *ctx, const struct xb_error *error) {
    fprintf(stderr, "%s\n", error->text);
    exit(1);
}

/* Hands over what is in flight, up to 16 messages a node and tick, as a socket would. */
static void turn(struct bench *bench, int64_t now_ns) {
    for (int to = 0; to < NODES; to++) {
        struct node *node = &bench->nodes[to];
        for (int batch = 0; batch < 16 && bench->count[to]; batch++) {
            struct packet p = bench->in_flight[to][bench->head[to]];
            bench->head[to] = (bench->head[to] + 1) % IN_FLIGHT_MAX;
            bench->count[to]--;
            if (evs_receive(node->evs, &bench->nodes[p.from].uuid, p.buf->mem + p.offset, p.size, now_ns)) abort();
            xb_buf_unref(p.buf);
        }
        evs_tick(node->evs, now_ns);
    }
}

static void start(struct bench *bench, const struct evs_options *options) {
    int64_t now_ns = xb_clock_monotonic_ns();
    for (int i = 0; i < NODES; i++) {
        struct node *node = &bench->nodes[i];
        node->bench = bench;
        node->number = i;
        xb_random_seed(&node->random, 77u + (unsigned)i);
        node->uuid = xb_uuid_new(xb_clock_calendar_ns(), &node->random);
        struct evs_down down = {.ctx = node,
                                .broadcast = on_broadcast,
                                .unicast = on_unicast,
                                .allow = on_node,
                                .evict = on_node,
                                .unevict = on_node};
        struct evs_up up = {.ctx = node, .view = on_view, .message = on_message, .fatal = on_fatal};
        node->evs = evs_new(&node->uuid, options, NULL, &down, &up, &node->random, NULL, now_ns);
        if (!node->evs) abort();
        evs_start(node->evs, i == 0, XB_SECOND / 10, now_ns);
    }
    while (!bench->nodes[0].is_ready || !bench->nodes[1].is_ready || !bench->nodes[2].is_ready)
        turn(bench, xb_clock_monotonic_ns());
}

static void run(int senders, size_t size, int64_t window) {
    struct bench *bench = calloc(1, sizeof(*bench));
    struct evs_options options;
    if (!bench) abort();
    evs_options_default(&options);
    options.send_window = window;
    options.user_send_window = window / 2;
    start(bench, &options);
    int64_t begin_ns = xb_clock_monotonic_ns(), now_ns = begin_ns, submitted = 0;
    bench->datagrams = 0;
    for (int i = 0; i < NODES; i++) bench->nodes[i].delivered = 0;
    while (now_ns - begin_ns < RUN_NS) {
        for (int s = 0; s < senders; s++) {
            for (int k = 0; k < 4 && submitted < bench->nodes[0].delivered + 1000 * senders; k++) {
                struct xb_buf *buf = xb_buf_new(XB_BUF_HEADROOM, size);
                if (!buf) abort();
                memset(xb_buf_data(buf), 'x', size);
                if (evs_submit(bench->nodes[s].evs, buf, 1, EVS_SAFE, now_ns))
                    xb_buf_unref(buf);
                else
                    submitted++;
            }
        }
        turn(bench, now_ns);
        now_ns = xb_clock_monotonic_ns();
    }
    double seconds = (double)(now_ns - begin_ns) / 1e9;
    struct evs_stats stats;
    evs_get_stats(bench->nodes[0].evs, &stats);
    printf("%d sender%s %5zu bytes window %4" PRId64 ": %8.0f messages/s %7.1f MB/s %5.2f datagrams a message, latency "
           "%.0f us\n",
           senders, senders > 1 ? "s" : " ", size, window, (double)bench->nodes[0].delivered / seconds,
           (double)bench->nodes[0].delivered * (double)size / seconds / 1e6,
           (double)bench->datagrams / (double)bench->nodes[0].delivered, stats.latency_avg_s * 1e6);
    for (int i = 0; i < NODES; i++) {
        while (bench->count[i]) {
            xb_buf_unref(bench->in_flight[i][bench->head[i]].buf);
            bench->head[i] = (bench->head[i] + 1) % IN_FLIGHT_MAX;
            bench->count[i]--;
        }
        evs_free(bench->nodes[i].evs);
    }
    free(bench);
}

int main(void) {
    static const size_t sizes[] = {100, 1000, 30000};
    static const int64_t windows[] = {4, 256};
    for (int senders = 1; senders <= NODES; senders += 2)
        for (size_t w = 0; w < 2; w++)
            for (size_t s = 0; s < 3; s++) run(senders, sizes[s], windows[w]);
    return 0;
}
