/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The network in memory. */
#include "virtual_net.h"

#include "gmcast/wire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CALENDAR_NS (1700000000 * XB_SECOND)

volatile bool vnet_is_allocating;

static int pipe_of(gmcast_conn conn) {
    return (int)((conn - 1) / 2);
}

static int end_of(gmcast_conn conn) {
    return (int)((conn - 1) % 2);
}

static gmcast_conn conn_of(int pipe, int end) {
    return 1 + 2 * (gmcast_conn)pipe + (gmcast_conn)end;
}

static void write_log(void *ctx, enum xb_log_level level, const char *line) {
    struct vnet *net = ctx;
    if (getenv("VNET_LOG")) fprintf(stderr, "%9.4f %d %s\n", (double)net->now_ns / XB_SECOND, level, line);
}

struct vnet *vnet_new(void) {
    struct vnet *net = calloc(1, sizeof(*net));
    assert_non_null(net);
    net->now_ns = 1000 * XB_SECOND;
    net->log.write = write_log;
    net->log.ctx = net;
    net->log.is_debug = true;
    for (int i = 0; i <= VNET_HOSTS_MAX; i++) {
        struct vnet_host *host = &net->hosts[i];
        host->net = net;
        host->index = i;
        xb_random_seed(&host->random, 4711 + (uint64_t)i);
        host->uuid = xb_uuid_new(CALENDAR_NS + i * XB_SECOND, &host->random);
    }
    return net;
}

void vnet_free(struct vnet *net) {
    for (int i = 0; i <= VNET_HOSTS_MAX; i++) gmcast_free(net->hosts[i].mesh);
    for (size_t i = 0; i < net->event_count; i++) xb_buf_unref(net->events[i].buf);
    for (size_t i = 0; i < net->pipe_count; i++) free(net->pipes[i]);
    free(net);
}

static void post(struct vnet *net, int from, enum vnet_event_kind kind, int pipe, int end, struct xb_buf *buf) {
    assert_true(net->event_count < VNET_EVENTS_MAX);
    int64_t latency_ns = net->latency_ns[from] ? net->latency_ns[from] : VNET_LATENCY_NS;
    size_t i = net->event_count++;
    for (; i > 0 && net->events[i - 1].at_ns > net->now_ns + latency_ns; i--) net->events[i] = net->events[i - 1];
    net->events[i] = (struct vnet_event){net->now_ns + latency_ns, kind, pipe, end, buf};
}

static int open_pipe(struct vnet *net, int from, int to) {
    assert_true(net->pipe_count < VNET_PIPES_MAX);
    int index = (int)net->pipe_count++;
    vnet_is_allocating = true;
    struct vnet_pipe *pipe = net->pipes[index] = calloc(1, sizeof(*pipe));
    vnet_is_allocating = false;
    assert_non_null(pipe);
    pipe->host[0] = from;
    pipe->host[1] = to;
    pipe->is_open[0] = pipe->is_open[1] = true;
    if (net->is_cut[from][to]) return index; /* the SYN is lost */
    post(net, from, net->hosts[to].is_up ? VNET_ACCEPT : VNET_REFUSED, index, net->hosts[to].is_up ? 1 : 0, NULL);
    return index;
}

/* struct gmcast_io */

static gmcast_conn on_dial(void *ctx, const char *address) {
    struct vnet_host *host = ctx;
    int target = 0;
    assert_int_equal(1, sscanf(address, host->net->is_tls ? "ssl://10.0.0.%d:4567" : "tcp://10.0.0.%d:4567", &target));
    host->dials++;
    if (target < 1 || target > VNET_HOSTS_MAX) return GMCAST_NO_CONN;
    host->dials_to[target]++;
    return conn_of(open_pipe(host->net, host->index, target), 0);
}

static int transmit(struct vnet *net, int pipe_index, int end, struct xb_buf *buf) {
    struct vnet_pipe *pipe = net->pipes[pipe_index];
    if (!pipe->is_open[end]) return -ENOTCONN;
    if (!net->is_cut[pipe->host[0]][pipe->host[1]])
        post(net, pipe->host[end], VNET_DATA, pipe_index, !end, xb_buf_ref(buf));
    return 0;
}

static int on_send(void *ctx, gmcast_conn conn, uint8_t segment, struct xb_buf *buf) {
    struct vnet_host *host = ctx;
    const uint8_t *body;
    size_t size;
    struct xb_error error;
    assert_true(datagram_parse(xb_buf_data(buf), buf->size, &body, &size, &error) > 0);
    /* Lists of peers say segment 0 and yet go through the queue of the own messages. */
    assert_true(body[1] < 16 && (body[3] == segment || body[1] == WIRE_TOPOLOGY_CHANGE));
    if (host->send_result) return host->send_result;
    host->sent[body[1]]++;
    return transmit(host->net, pipe_of(conn), end_of(conn), buf);
}

static void close_end(struct vnet *net, int pipe_index, int end) {
    struct vnet_pipe *pipe = net->pipes[pipe_index];
    assert_true(pipe->is_open[end]);
    pipe->is_open[end] = false;
    if (!net->is_cut[pipe->host[0]][pipe->host[1]]) post(net, pipe->host[end], VNET_EOF, pipe_index, !end, NULL);
}

static void on_close(void *ctx, gmcast_conn conn) {
    struct vnet_host *host = ctx;
    close_end(host->net, pipe_of(conn), end_of(conn));
}

/* struct gmcast_up */

static int on_message(void *ctx, const struct xb_uuid *source, const uint8_t *data, size_t size, int64_t now_ns) {
    struct vnet_host *host = ctx;
    struct vnet_message *message = &host->messages[host->message_count++ % VNET_INBOX_MAX];
    assert_true(size <= sizeof(message->data));
    message->source = *source;
    message->size = size;
    message->at_ns = now_ns;
    memcpy(message->data, data, size);
    return host->message_result;
}

static void on_peer_lost(void *ctx, const struct xb_uuid *peer, bool is_refused, int64_t now_ns) {
    struct vnet_host *host = ctx;
    host->hints[host->hint_count++ % 64] = (struct vnet_hint){*peer, is_refused, now_ns};
}

static void on_fatal(void *ctx, const struct xb_error *error) {
    struct vnet_host *host = ctx;
    host->fatal = *error;
    host->fatal_count++;
    gmcast_stop(host->mesh);
}

const char *vnet_address(const struct vnet *net, int host, char text[GMCAST_ADDRESS_SIZE]) {
    snprintf(text, GMCAST_ADDRESS_SIZE, "%s://10.0.0.%d:4567", net->is_tls ? "ssl" : "tcp", host);
    return text;
}

struct gmcast_config vnet_config(const struct vnet *net, int host) {
    struct gmcast_config config = {.uuid = net->hosts[host].uuid,
                                   .group = "lab",
                                   .is_tls = net->is_tls,
                                   .checksum = DATAGRAM_CHECKSUM_CRC32C,
                                   .peer_timeout_ns = 3 * XB_SECOND,
                                   .time_wait_ns = 5 * XB_SECOND,
                                   .max_initial_reconnect_attempts = INT32_MAX};
    snprintf(config.listen_address, sizeof(config.listen_address), "%s://0.0.0.0:4567", net->is_tls ? "ssl" : "tcp");
    return config;
}

void vnet_start_with(struct vnet *net, int index, const struct gmcast_config *config, const int *peers) {
    struct vnet_host *host = &net->hosts[index];
    struct gmcast_io io = {host, on_dial, on_send, on_close, NULL};
    struct gmcast_up up = {host, on_message, on_peer_lost, on_fatal};
    char texts[VNET_HOSTS_MAX][GMCAST_ADDRESS_SIZE];
    const char *addresses[VNET_HOSTS_MAX];
    size_t count = 0;
    for (; peers[count]; count++) addresses[count] = vnet_address(net, peers[count], texts[count]);
    assert_null(host->mesh);
    host->uuid = config->uuid;
    vnet_is_allocating = true;
    host->mesh = gmcast_new(config, &io, &up, &host->random, &net->log);
    vnet_is_allocating = false;
    assert_non_null(host->mesh);
    host->is_up = true;
    gmcast_start(host->mesh, addresses, count, net->now_ns, CALENDAR_NS + net->now_ns);
}

void vnet_start(struct vnet *net, int host, const int *peers) {
    struct gmcast_config config = vnet_config(net, host);
    vnet_start_with(net, host, &config, peers);
}

void vnet_kill(struct vnet *net, int index) {
    struct vnet_host *host = &net->hosts[index];
    host->is_up = false;
    gmcast_free(host->mesh);
    host->mesh = NULL;
    for (size_t i = 0; i < net->pipe_count; i++)
        for (int end = 0; end < 2; end++)
            if (net->pipes[i]->host[end] == index && net->pipes[i]->is_open[end]) close_end(net, (int)i, end);
}

void vnet_cut(struct vnet *net, int a, int b, bool is_cut) {
    net->is_cut[a][b] = net->is_cut[b][a] = is_cut;
}

/* Delivering */

static void put_inbox(struct vnet_pipe *pipe, int end, const uint8_t *body, size_t size) {
    assert_true(pipe->inbox_used[end] + 4 + size <= sizeof(pipe->inbox[end]));
    xb_store_le(pipe->inbox[end] + pipe->inbox_used[end], size, 4);
    memcpy(pipe->inbox[end] + pipe->inbox_used[end] + 4, body, size);
    pipe->inbox_used[end] += 4 + size;
}

static void deliver_data(struct vnet *net, const struct vnet_event *event, struct vnet_host *host) {
    const uint8_t *body;
    size_t size;
    struct xb_error error;
    assert_true(datagram_parse(xb_buf_data(event->buf), event->buf->size, &body, &size, &error) > 0);
    if (host->mesh)
        gmcast_received(host->mesh, conn_of(event->pipe, event->end), body, size, net->now_ns);
    else
        put_inbox(net->pipes[event->pipe], event->end, body, size);
}

static void deliver(struct vnet *net, const struct vnet_event *event) {
    struct vnet_pipe *pipe = net->pipes[event->pipe];
    struct vnet_host *host = &net->hosts[pipe->host[event->end]];
    if (net->is_cut[pipe->host[0]][pipe->host[1]]) return;
    if (!pipe->is_open[event->end]) {
        if (event->kind == VNET_DATA) post(net, host->index, VNET_EOF, event->pipe, !event->end, NULL); /* a reset */
        return;
    }
    if (host->is_mute && event->kind != VNET_ACCEPT) return;
    gmcast_conn conn = conn_of(event->pipe, event->end);
    char from[GMCAST_ADDRESS_SIZE];
    switch (event->kind) {
    case VNET_ACCEPT:
        if (!host->is_up) { /* died meanwhile */
            pipe->is_open[1] = false;
            post(net, host->index, VNET_REFUSED, event->pipe, 0, NULL);
            break;
        }
        pipe->is_accepted = true;
        post(net, host->index, VNET_CONNECTED, event->pipe, 0, NULL);
        snprintf(from, sizeof(from), "10.0.0.%d", pipe->host[0]);
        if (!host->mesh || host->is_mute) break;
        gmcast_accepted(host->mesh, conn, from, net->now_ns);
        if (pipe->is_open[1]) gmcast_connected(host->mesh, conn, net->now_ns);
        break;
    case VNET_CONNECTED:
        if (host->mesh) gmcast_connected(host->mesh, conn, net->now_ns);
        break;
    case VNET_DATA:
        deliver_data(net, event, host);
        break;
    case VNET_REFUSED:
    case VNET_EOF:
        pipe->is_open[event->end] = host->mesh == NULL; /* a raw end stays usable, what it sends is lost */
        pipe->has_ended[event->end] = true;
        if (host->mesh) gmcast_lost(host->mesh, conn, event->kind == VNET_REFUSED ? -ECONNREFUSED : 0, net->now_ns);
        break;
    }
}

static int64_t tick_all(struct vnet *net) {
    int64_t next_ns = XB_NEVER;
    for (int i = 1; i <= VNET_HOSTS_MAX; i++)
        if (net->hosts[i].mesh && !net->hosts[i].is_mute)
            next_ns = xb_earlier(next_ns, gmcast_tick(net->hosts[i].mesh, net->now_ns));
    return next_ns;
}

void vnet_run(struct vnet *net, int64_t duration_ns) {
    int64_t end_ns = net->now_ns + duration_ns;
    for (;;) {
        int64_t next_ns = tick_all(net);
        if (net->event_count) next_ns = xb_earlier(next_ns, net->events[0].at_ns);
        if (next_ns > end_ns) break;
        if (next_ns > net->now_ns) net->now_ns = next_ns;
        if (!net->event_count || net->events[0].at_ns > net->now_ns) continue;
        struct vnet_event event = net->events[0];
        memmove(net->events, net->events + 1, --net->event_count * sizeof(event));
        deliver(net, &event);
        xb_buf_unref(event.buf);
    }
    net->now_ns = end_ns;
}

/* Looking and telling */

bool vnet_is_connected(struct vnet *net, int a, int b) {
    gmcast_conn conn_a, conn_b;
    char address[GMCAST_ADDRESS_SIZE], expected[GMCAST_ADDRESS_SIZE];
    if (!net->hosts[a].mesh || !net->hosts[b].mesh) return false;
    if (!gmcast_peer_info(net->hosts[a].mesh, &net->hosts[b].uuid, &conn_a, address)) return false;
    assert_string_equal(address, vnet_address(net, b, expected));
    if (!gmcast_peer_info(net->hosts[b].mesh, &net->hosts[a].uuid, &conn_b, address)) return false;
    return pipe_of(conn_a) == pipe_of(conn_b);
}

static void count_peer(void *ctx, const struct xb_uuid *peer, gmcast_conn conn, const char *address, uint8_t segment) {
    (*(size_t *)ctx)++;
}

size_t vnet_peer_count(struct vnet *net, int host) {
    size_t count = 0;
    gmcast_each_peer(net->hosts[host].mesh, count_peer, &count);
    return count;
}

void vnet_assert_full_mesh(struct vnet *net, int hosts) {
    for (int a = 1; a <= hosts; a++) {
        for (int b = 1; b <= hosts; b++)
            if (a != b && !vnet_is_connected(net, a, b)) fail_msg("%d and %d are not connected", a, b);
        assert_int_equal(vnet_peer_count(net, a), hosts - 1);
    }
}

static struct xb_buf *make_message(const char *text) {
    vnet_is_allocating = true;
    struct xb_buf *buf = xb_buf_new(XB_BUF_HEADROOM, strlen(text));
    vnet_is_allocating = false;
    assert_non_null(buf);
    memcpy(xb_buf_data(buf), text, strlen(text));
    return buf;
}

void vnet_broadcast(struct vnet *net, int host, const char *text) {
    struct xb_buf *buf = make_message(text);
    uint32_t offset = buf->head;
    gmcast_broadcast(net->hosts[host].mesh, buf, net->now_ns);
    assert_memory_equal(buf->mem + offset, text, strlen(text));
    xb_buf_unref(buf);
}

void vnet_unicast(struct vnet *net, int host, int target, const char *text) {
    struct xb_buf *buf = make_message(text);
    gmcast_unicast(net->hosts[host].mesh, &net->hosts[target].uuid, buf, net->now_ns);
    xb_buf_unref(buf);
}

unsigned vnet_count(const struct vnet *net, int host, int source, const char *text) {
    const struct vnet_host *h = &net->hosts[host];
    unsigned count = 0;
    for (size_t i = 0; i < h->message_count && i < VNET_INBOX_MAX; i++) {
        const struct vnet_message *message = &h->messages[i];
        if (xb_uuid_equal(&message->source, &net->hosts[source].uuid) && message->size == strlen(text) &&
            !memcmp(message->data, text, message->size))
            count++;
    }
    return count;
}

void vnet_view(struct vnet *net, int host, bool is_primary, const int *members, const int *left) {
    struct xb_uuid member_uuids[VNET_HOSTS_MAX], left_uuids[VNET_HOSTS_MAX];
    size_t member_count = 0, left_count = 0;
    for (; members[member_count]; member_count++) member_uuids[member_count] = net->hosts[members[member_count]].uuid;
    for (; left[left_count]; left_count++) left_uuids[left_count] = net->hosts[left[left_count]].uuid;
    gmcast_view(net->hosts[host].mesh, is_primary, member_uuids, member_count, left_uuids, left_count, net->now_ns);
}

/* Raw hosts */

void vnet_raw(struct vnet *net, int host) {
    net->hosts[host].is_up = true;
}

int vnet_raw_dial(struct vnet *net, int host, int target) {
    int pipe = open_pipe(net, host, target);
    vnet_run(net, 4 * VNET_LATENCY_NS);
    return pipe;
}

int vnet_raw_accepted(struct vnet *net, int host, int nth) {
    for (size_t i = 0; i < net->pipe_count; i++)
        if (net->pipes[i]->host[1] == host && net->pipes[i]->is_accepted && nth-- == 0) return (int)i;
    return -1;
}

void vnet_raw_send(struct vnet *net, int pipe, int end, const void *body, size_t size) {
    struct xb_buf *buf = xb_buf_new(DATAGRAM_HEADER_SIZE, size);
    assert_non_null(buf);
    memcpy(xb_buf_data(buf), body, size);
    datagram_seal(buf, DATAGRAM_CHECKSUM_CRC32C);
    transmit(net, pipe, end, buf);
    xb_buf_unref(buf);
    vnet_run(net, 4 * VNET_LATENCY_NS);
}

int vnet_raw_next(struct vnet *net, int index, int end, const uint8_t **body, size_t *size) {
    struct vnet_pipe *pipe = net->pipes[index];
    if (pipe->inbox_read[end] == pipe->inbox_used[end]) return 0;
    const uint8_t *record = pipe->inbox[end] + pipe->inbox_read[end];
    *size = xb_load_le(record, 4);
    *body = record + 4;
    pipe->inbox_read[end] += 4 + *size;
    return (*body)[1];
}

bool vnet_raw_has_ended(struct vnet *net, int pipe, int end) {
    return net->pipes[pipe]->has_ended[end];
}
