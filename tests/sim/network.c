/* SPDX-License-Identifier: GPL-2.0-or-later */
/* See network.h. */
#include "network.h"

#include "base/clock.h"
#include "datagram/datagram.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define BATCH_MAX 16 /* datagrams handed over between two settles */
#define DIAL_TIMEOUT_NS (5 * XB_SECOND)
#define RETRANSMISSION_NS (300 * XB_MS) /* at most so long after a link heals a stalled stream moves on */

struct event {
    int64_t at_ns;
    uint64_t number;
    void (*act)(void *ctx, uint64_t arg);
    void *ctx;
    uint64_t arg;
};

struct packet {
    struct xb_buf *buf;
    const uint8_t *data;
    size_t size;
    int64_t arrives_ns;
};

/* One end of a connection, with the stream that leaves it. */
struct end {
    struct net *net;
    gmcast_conn conn;
    int host;
    struct end *peer;       /* the other end; NULL once it is gone */
    bool is_open;           /* its process holds it */
    bool is_ready;          /* connected was told */
    bool is_ending;         /* closed by its process: the peer hears the end after the last datagram */
    bool is_scheduled;      /* a delivery event of this stream is under way */
    bool is_stalled;        /* by a cut link */
    struct packet *packets; /* ring */
    size_t capacity, head, count, bytes;
    int64_t last_arrival_ns;
};

struct link {
    bool is_cut;
    int64_t min_ns, max_ns, bytes_per_s, free_at_ns;
};

struct host {
    struct net *net;
    int number;
    bool is_up, is_silent;
    struct net_process process;
    int64_t busy_until_ns;
};

struct net {
    struct xb_random *random;
    int64_t now_ns;
    uint64_t event_number, events_run;
    struct event *heap;
    size_t event_count, event_capacity;
    struct host hosts[NET_HOSTS_MAX];
    struct link links[NET_HOSTS_MAX][NET_HOSTS_MAX];
    struct end **ends; /* by number - 1 */
    size_t end_count, end_capacity;
};

/* ---- events ---- */

static bool event_before(const struct event *a, const struct event *b) {
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->number < b->number;
}

void net_at(struct net *net, int64_t at_ns, void (*act)(void *ctx, uint64_t arg), void *ctx, uint64_t arg) {
    if (net->event_count == net->event_capacity) {
        net->event_capacity = net->event_capacity ? 2 * net->event_capacity : 1024;
        net->heap = realloc(net->heap, net->event_capacity * sizeof(*net->heap));
    }
    struct event event = {at_ns < net->now_ns ? net->now_ns : at_ns, net->event_number++, act, ctx, arg};
    size_t i = net->event_count++;
    for (; i > 0 && event_before(&event, &net->heap[(i - 1) / 2]); i = (i - 1) / 2)
        net->heap[i] = net->heap[(i - 1) / 2];
    net->heap[i] = event;
}

static struct event event_take(struct net *net) {
    struct event first = net->heap[0], last = net->heap[--net->event_count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= net->event_count) break;
        if (child + 1 < net->event_count && event_before(&net->heap[child + 1], &net->heap[child])) child++;
        if (!event_before(&net->heap[child], &last)) break;
        net->heap[i] = net->heap[child];
        i = child;
    }
    net->heap[i] = last;
    return first;
}

bool net_step(struct net *net, int64_t until_ns) {
    if (!net->event_count || net->heap[0].at_ns > until_ns) {
        net->now_ns = until_ns;
        return false;
    }
    struct event event = event_take(net);
    net->now_ns = event.at_ns;
    net->events_run++;
    event.act(event.ctx, event.arg);
    return true;
}

uint64_t net_event_count(const struct net *net) {
    return net->events_run;
}

int64_t net_now(const struct net *net) {
    return net->now_ns;
}

/* ---- hosts and links ---- */

struct net *net_new(struct xb_random *random) {
    struct net *net = calloc(1, sizeof(*net));
    net->random = random;
    for (int i = 0; i < NET_HOSTS_MAX; i++) net->hosts[i] = (struct host){net, i, .is_up = false};
    for (int i = 0; i < NET_HOSTS_MAX; i++)
        for (int j = 0; j < NET_HOSTS_MAX; j++)
            net->links[i][j] = (struct link){.min_ns = XB_MS / 10, .max_ns = XB_MS, .bytes_per_s = 100 << 20};
    return net;
}

static void drop_packets(struct end *end) {
    for (; end->count; end->count--) {
        xb_buf_unref(end->packets[end->head].buf);
        end->head = (end->head + 1) % end->capacity;
    }
    end->bytes = 0;
}

void net_free(struct net *net) {
    for (size_t i = 0; i < net->end_count; i++) {
        drop_packets(net->ends[i]);
        free(net->ends[i]->packets);
        free(net->ends[i]);
    }
    free(net->ends);
    free(net->heap);
    free(net);
}

const char *net_address(int host, char text[NET_ADDRESS_SIZE]) {
    snprintf(text, NET_ADDRESS_SIZE, "tcp://10.0.0.%d:4567", host + 1);
    return text;
}

static int host_of_address(const char *address) {
    char text[NET_ADDRESS_SIZE];
    for (int i = 0; i < NET_HOSTS_MAX; i++)
        if (!strcmp(address, net_address(i, text))) return i;
    return -1;
}

static int64_t link_delay(struct net *net, int from, int to) {
    const struct link *link = &net->links[from][to];
    return link->min_ns + (int64_t)xb_random_below(net->random, (uint64_t)(link->max_ns - link->min_ns) + 1);
}

void net_set_delay(struct net *net, int from, int to, int64_t min_ns, int64_t max_ns) {
    net->links[from][to].min_ns = min_ns;
    net->links[from][to].max_ns = max_ns;
}

void net_set_bandwidth(struct net *net, int from, int to, int64_t bytes_per_s) {
    net->links[from][to].bytes_per_s = bytes_per_s;
}

void net_set_busy(struct net *net, int host, int64_t until_ns) {
    if (until_ns > net->hosts[host].busy_until_ns) net->hosts[host].busy_until_ns = until_ns;
}

int64_t net_busy_until(const struct net *net, int host) {
    return net->hosts[host].busy_until_ns;
}

bool net_is_up(const struct net *net, int host) {
    return net->hosts[host].is_up;
}

bool net_is_cut(const struct net *net, int from, int to) {
    return net->links[from][to].is_cut;
}

/* ---- streams ---- */

static struct end *end_new(struct net *net, int host) {
    if (net->end_count == net->end_capacity) {
        net->end_capacity = net->end_capacity ? 2 * net->end_capacity : 64;
        net->ends = realloc(net->ends, net->end_capacity * sizeof(*net->ends));
    }
    struct end *end = calloc(1, sizeof(*end));
    end->net = net;
    end->host = host;
    net->ends[net->end_count++] = end;
    end->conn = net->end_count;
    end->is_open = true;
    return end;
}

/* The end that the process on the host holds under this number, or NULL. */
static struct end *end_find(struct net *net, int host, gmcast_conn conn) {
    if (conn == 0 || conn > net->end_count) return NULL;
    struct end *end = net->ends[conn - 1];
    return end->host == host && end->is_open ? end : NULL;
}

static void deliver(void *ctx, uint64_t arg);

static void end_schedule(struct end *end, int64_t at_ns) {
    if (end->is_scheduled) return;
    end->is_scheduled = true;
    net_at(end->net, at_ns, deliver, end, 0);
}

/* The process that holds the end hears that it is over. */
static void end_lose(struct end *end, int reason) {
    if (!end->is_open) return;
    end->is_open = false;
    drop_packets(end);
    struct host *host = &end->net->hosts[end->host];
    if (!host->is_up) return;
    host->process.lost(host->process.ctx, end->conn, reason);
    host->process.settle(host->process.ctx);
}

static void lose_later(void *ctx, uint64_t reason) {
    struct end *end = ctx;
    struct net *net = end->net;
    if (end->is_open && net->hosts[end->host].busy_until_ns > net->now_ns)
        net_at(net, net->hosts[end->host].busy_until_ns, lose_later, end, reason);
    else
        end_lose(end, -(int)reason);
}

/* Hands over what has arrived of the stream that leaves `end`. */
static void deliver(void *ctx, uint64_t arg) {
    struct end *end = ctx, *peer = end->peer;
    struct net *net = end->net;
    (void)arg;
    end->is_scheduled = false;
    if (!peer || !peer->is_open) {
        drop_packets(end);
        return;
    }
    struct host *host = &net->hosts[peer->host];
    if (net->links[end->host][peer->host].is_cut) {
        end->is_stalled = true;
        return;
    }
    if (host->busy_until_ns > net->now_ns) {
        end_schedule(end, host->busy_until_ns);
        return;
    }
    if (!peer->is_ready) { /* the handshake is still under way */
        end_schedule(end, net->now_ns + XB_MS);
        return;
    }
    bool is_batch = false;
    for (int i = 0; i < BATCH_MAX && end->count && peer->is_open; i++) {
        struct packet packet = end->packets[end->head];
        if (packet.arrives_ns > net->now_ns) break;
        end->head = (end->head + 1) % end->capacity;
        end->count--;
        end->bytes -= packet.size;
        const uint8_t *body;
        size_t body_size;
        struct xb_error error;
        int size = datagram_parse(packet.data, packet.size, &body, &body_size, &error);
        assert(size == (int)packet.size);
        is_batch = true;
        host->process.received(host->process.ctx, peer->conn, body, body_size);
        xb_buf_unref(packet.buf);
    }
    if (is_batch && host->is_up) host->process.settle(host->process.ctx);
    if (end->count)
        end_schedule(end, end->packets[end->head].arrives_ns);
    else if (end->is_ending)
        end_lose(peer, 0);
}

static int io_send(void *ctx, gmcast_conn conn, uint8_t segment, struct xb_buf *buf) {
    struct host *own = ctx;
    struct net *net = own->net;
    int host = own->number;
    (void)segment;
    struct end *end = end_find(net, host, conn);
    if (!end || !end->is_ready) return -ENOTCONN;
    struct end *peer = end->peer;
    if (!peer || (!peer->is_open && !peer->is_ending)) {
        /* The other process is gone. If its host is there again, it answers with a reset. */
        if (peer && net->hosts[peer->host].is_up && !net->links[host][peer->host].is_cut &&
            !net->links[peer->host][host].is_cut)
            net_at(net, net->now_ns + 2 * link_delay(net, host, peer->host), lose_later, end, ECONNRESET);
        return 0;
    }
    if (end->bytes + buf->size > NET_SEND_QUEUE_MAX) return -ENOBUFS;
    if (end->count == end->capacity) {
        size_t capacity = end->capacity ? 2 * end->capacity : 16;
        struct packet *packets = malloc(capacity * sizeof(*packets));
        for (size_t i = 0; i < end->count; i++) packets[i] = end->packets[(end->head + i) % end->capacity];
        free(end->packets);
        end->packets = packets;
        end->head = 0;
        end->capacity = capacity;
    }
    struct link *link = &net->links[host][peer->host];
    int64_t start_ns = link->free_at_ns > net->now_ns ? link->free_at_ns : net->now_ns;
    link->free_at_ns = start_ns + (int64_t)buf->size * XB_SECOND / link->bytes_per_s;
    int64_t arrives_ns = link->free_at_ns + link_delay(net, host, peer->host);
    if (arrives_ns < end->last_arrival_ns) arrives_ns = end->last_arrival_ns;
    end->last_arrival_ns = arrives_ns;
    end->packets[(end->head + end->count++) % end->capacity] =
        (struct packet){xb_buf_ref(buf), xb_buf_data(buf), buf->size, arrives_ns};
    end->bytes += buf->size;
    if (!end->is_stalled) end_schedule(end, end->packets[end->head].arrives_ns);
    return 0;
}

static void io_close(void *ctx, gmcast_conn conn) {
    struct host *own = ctx;
    struct net *net = own->net;
    int host = own->number;
    struct end *end = end_find(net, host, conn);
    if (!end) return;
    end->is_open = false;
    if (!end->peer) return;
    end->is_ending = true;
    drop_packets(end->peer);
    if (!end->is_stalled) end_schedule(end, net->now_ns + link_delay(net, host, end->peer->host));
}

/* ---- dialling ---- */

static void told_connected(void *ctx, uint64_t arg) {
    struct end *end = ctx;
    struct net *net = end->net;
    struct host *host = &net->hosts[end->host];
    (void)arg;
    if (!end->is_open || !host->is_up) return;
    if (host->busy_until_ns > net->now_ns) {
        net_at(net, host->busy_until_ns, told_connected, end, 0);
        return;
    }
    end->is_ready = true;
    host->process.connected(host->process.ctx, end->conn);
    if (host->is_up) host->process.settle(host->process.ctx);
}

/* arg: the dialled host, and in the high half how many attempts there were */
static void dial_arrives(void *ctx, uint64_t arg) {
    struct end *end = ctx;
    struct net *net = end->net;
    int to = (int)(arg & 0xff);
    uint64_t attempt = arg >> 8;
    if (!end->is_open) return;
    bool is_reachable = !net->links[end->host][to].is_cut && !net->links[to][end->host].is_cut;
    struct host *host = &net->hosts[to];
    if (!is_reachable || (!host->is_up && host->is_silent)) {
        if (attempt < 2)
            net_at(net, net->now_ns + ((int64_t)1 << attempt) * XB_SECOND, dial_arrives, end,
                   (uint64_t)to | (attempt + 1) << 8);
        else
            net_at(net, net->now_ns + DIAL_TIMEOUT_NS, lose_later, end, ETIMEDOUT);
        return;
    }
    int64_t back_ns = net->now_ns + link_delay(net, to, end->host);
    if (!host->is_up) {
        net_at(net, back_ns, lose_later, end, ECONNREFUSED);
        return;
    }
    struct end *other = end_new(net, to);
    other->peer = end;
    end->peer = other;
    char name[NET_ADDRESS_SIZE];
    snprintf(name, sizeof(name), "10.0.0.%d", end->host + 1);
    host->process.accepted(host->process.ctx, other->conn, name);
    /* One more round trip for the handshakes of the secure channel. */
    net_at(net, back_ns + link_delay(net, end->host, to), told_connected, other, 0);
    net_at(net, back_ns, told_connected, end, 0);
}

static gmcast_conn io_dial(void *ctx, const char *address) {
    struct host *own = ctx;
    struct net *net = own->net;
    int host = own->number;
    int to = host_of_address(address);
    if (to < 0) return GMCAST_NO_CONN;
    struct end *end = end_new(net, host);
    net_at(net, net->now_ns + link_delay(net, host, to), dial_arrives, end, (uint64_t)to);
    return end->conn;
}

struct gmcast_io net_io(struct net *net, int host) {
    return (struct gmcast_io){&net->hosts[host], io_dial, io_send, io_close, NULL};
}

/* ---- faults ---- */

void net_up(struct net *net, int host, const struct net_process *process) {
    net->hosts[host] = (struct host){net, host, .is_up = true, .process = *process};
}

void net_down(struct net *net, int host, bool is_silent) {
    net->hosts[host].is_up = false;
    net->hosts[host].is_silent = is_silent;
    net->hosts[host].busy_until_ns = 0;
    for (size_t i = 0; i < net->end_count; i++) {
        struct end *end = net->ends[i];
        if (end->host != host || !end->is_open) continue;
        end->is_open = false;
        drop_packets(end);
        if (end->peer && end->peer->is_open && !is_silent && !net->links[host][end->peer->host].is_cut)
            net_at(net, net->now_ns + link_delay(net, host, end->peer->host), lose_later, end->peer, ECONNRESET);
    }
}

void net_cut(struct net *net, int from, int to, bool is_cut) {
    net->links[from][to].is_cut = is_cut;
    if (is_cut) return;
    for (size_t i = 0; i < net->end_count; i++) {
        struct end *end = net->ends[i];
        if (end->host != from || !end->is_stalled || !end->peer || end->peer->host != to) continue;
        end->is_stalled = false;
        end_schedule(end, net->now_ns + (int64_t)xb_random_below(net->random, RETRANSMISSION_NS));
    }
}

void net_reset(struct net *net, int a, int b) {
    for (size_t i = 0; i < net->end_count; i++) {
        struct end *end = net->ends[i];
        if (!end->peer || !((end->host == a && end->peer->host == b) || (end->host == b && end->peer->host == a)))
            continue;
        drop_packets(end);
        if (end->is_open)
            net_at(net, net->now_ns + (int64_t)xb_random_below(net->random, XB_MS), lose_later, end, ECONNRESET);
    }
}
