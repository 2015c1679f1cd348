/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The virtual network and clock. */
#include "sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define PEER_TIMEOUT_NS (3 * XB_SECOND) /* after which the transport drops a silent connection */
#define HEADERS_BELOW 28                /* what gmcast and the datagram put in front */

void sim_fail(struct sim *sim, const struct sim_proc *proc, const char *format, ...) {
    if (sim->is_failed) return;
    sim->is_failed = true;
    va_list args;
    fprintf(stderr, "\nFAILED at %.6f s, process %d: ", (double)sim->now_ns / 1e9, proc ? proc->number : -1);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fprintf(stderr, "\nreplay with EVS_SIM_SEED=%llu (EVS_SIM_TRACE=1 shows everything)\n",
            (unsigned long long)sim->setting.seed);
}

static void write_log(void *ctx, enum xb_log_level level, const char *line) {
    struct sim *sim = ctx;
    if (sim->peace_ns && strstr(line, "no agreement on the members")) sim->disagreements++;
    if (sim->on_log) sim->on_log(sim, level, line);
    if (sim->is_traced) printf("%12.6f log %d %s\n", (double)sim->now_ns / 1e9, level, line);
}

void sim_setting_default(struct sim_setting *setting) {
    *setting = (struct sim_setting){.seed = 1,
                                    .slots = 3,
                                    .delay_min_ns = 50000,
                                    .delay_max_ns = 400000,
                                    .messages_per_s = 20,
                                    .size_max = 400,
                                    .has_hints = true};
    evs_options_default(&setting->options);
}

struct sim *sim_new(const struct sim_setting *setting) {
    struct sim *sim = calloc(1, sizeof(*sim));
    if (!sim) abort();
    sim->setting = *setting;
    sim->is_traced = getenv("EVS_SIM_TRACE") != NULL;
    if (sim->is_traced) sim->setting.options.debug_log_mask = 0xfff;
    sim->log = (struct xb_log){.write = write_log, .ctx = sim};
    sim->log.is_debug = sim->is_traced;
    sim->now_ns = 1000 * XB_SECOND;
    xb_random_seed(&sim->random, setting->seed);
    for (int i = 0; i < SIM_SLOTS_MAX; i++) sim->in_slot[i] = -1;
    return sim;
}

static void empty_link(struct sim_link *link) {
    while (link->count) {
        xb_buf_unref(link->packets[link->head].buf);
        link->head = (link->head + 1) % link->capacity;
        link->count--;
    }
}

void sim_free(struct sim *sim) {
    check_free(sim);
    for (int i = 0; i < sim->proc_count; i++) {
        for (int k = 0; k < SIM_SLOTS_MAX; k++) {
            empty_link(&sim->links[i][k]);
            free(sim->links[i][k].packets);
        }
        evs_free(sim->procs[i]->evs);
        free(sim->procs[i]->delivered.items);
        free(sim->procs[i]);
    }
    free(sim);
}

static double chance(struct sim *sim) {
    return (double)(xb_random_u64(&sim->random) >> 11) / 9007199254740992.0;
}

static int64_t between(struct sim *sim, int64_t low, int64_t high) {
    return low + (int64_t)xb_random_below(&sim->random, (uint64_t)(high - low) + 1);
}

static struct sim_proc *proc_in(struct sim *sim, int slot) {
    return sim->in_slot[slot] < 0 ? NULL : sim->procs[sim->in_slot[slot]];
}

int sim_running(const struct sim *sim) {
    int count = 0;
    for (int i = 0; i < sim->setting.slots; i++) count += sim->in_slot[i] >= 0;
    return count;
}

static struct sim_proc *find_proc(struct sim *sim, const struct xb_uuid *uuid) {
    for (int i = 0; i < sim->proc_count; i++)
        if (xb_uuid_equal(&sim->procs[i]->uuid, uuid)) return sim->procs[i];
    return NULL;
}

/* ---- connections */

static bool is_reachable(const struct sim *sim, int a, int b) {
    return sim->group_of[a] == sim->group_of[b] && sim->blocked_until_ns[a][b] <= sim->now_ns;
}

/* One direction goes down; keep: how many packets in flight still arrive (they were in the socket already). */
static void break_link(struct sim *sim, struct sim_link *link, bool is_all_lost) {
    size_t keep = is_all_lost || !link->count ? 0 : xb_random_below(&sim->random, link->count + 1);
    while (link->count > keep) {
        link->count--;
        xb_buf_unref(link->packets[(link->head + link->count) % link->capacity].buf);
    }
    link->is_up = false;
    link->up_at_ns = XB_NEVER;
}

static void disconnect(struct sim *sim, int a, int b, bool is_all_lost) {
    struct sim_proc *pa = proc_in(sim, a), *pb = proc_in(sim, b);
    if (pa) break_link(sim, &sim->links[pa->number][b], is_all_lost);
    if (pb) break_link(sim, &sim->links[pb->number][a], is_all_lost);
}

static void plan_connection(struct sim *sim, int a, int b, int64_t delay_ns) {
    struct sim_proc *pa = proc_in(sim, a), *pb = proc_in(sim, b);
    if (!pa || !pb || a == b) return;
    sim->links[pa->number][b].up_at_ns = sim->links[pb->number][a].up_at_ns = sim->now_ns + delay_ns;
}

static void make_connections(struct sim *sim) {
    for (int a = 0; a < sim->setting.slots; a++) {
        for (int b = a + 1; b < sim->setting.slots; b++) {
            struct sim_proc *pa = proc_in(sim, a), *pb = proc_in(sim, b);
            if (!pa || !pb) continue;
            struct sim_link *ab = &sim->links[pa->number][b], *ba = &sim->links[pb->number][a];
            if (ab->is_up || ab->up_at_ns > sim->now_ns) continue;
            if (!is_reachable(sim, a, b) || pa->is_paused || pb->is_paused) {
                ab->up_at_ns = ba->up_at_ns = sim->now_ns + between(sim, 200 * XB_MS, 1200 * XB_MS);
                continue;
            }
            empty_link(ab);
            empty_link(ba);
            ab->is_up = ba->is_up = true;
        }
    }
}

/* ---- what EVS asks for */

/* Around calls into EVS (+1) and out of it (-1), for tests that take its memory away. */
static void cross(struct sim *sim, int direction) {
    if (sim->inside) *sim->inside += direction;
}

static void trace_message(struct sim_proc *proc, const struct sim_proc *to, const uint8_t *data, size_t size) {
    static const char *const names[] = {"?", "USER", "DELEGATE", "GAP", "JOIN", "INSTALL", "LEAVE", "DELAYED_LIST"};
    struct xb_reader r = xb_reader_init(data, size);
    struct evs_header h;
    char text[512] = "";
    if (evs_header_read(&r, &proc->uuid, &h)) return;
    struct evs_user u;
    struct evs_gap g;
    struct evs_leave l;
    struct evs_report *m = NULL;
    if (h.type == EVS_TYPE_USER && !evs_user_read(&r, &h, &u))
        snprintf(text, sizeof(text), "seq %lld+%u aru %lld type %u", (long long)u.seq, u.range, (long long)u.aru,
                 u.user_type);
    if (h.type == EVS_TYPE_GAP && !evs_gap_read(&r, &g))
        snprintf(text, sizeof(text), "seq %lld aru %lld origin %s %lld..%lld", (long long)g.seq, (long long)g.aru,
                 XB_UUID_SHORT(&g.origin), (long long)g.lu, (long long)g.hs);
    if (h.type == EVS_TYPE_LEAVE && !evs_leave_read(&r, &l))
        snprintf(text, sizeof(text), "seq %lld aru %lld", (long long)l.seq, (long long)l.aru);
    printf("%12.6f %2d -> %2d %s flags %x fifo %lld %s %s\n", (double)proc->sim->now_ns / 1e9, proc->number,
           to ? to->number : -1, names[h.type], h.flags, (long long)h.fifo_seq, VIEW_ID_TEXT(&h.view), text);
    if ((h.type != EVS_TYPE_JOIN && h.type != EVS_TYPE_INSTALL) || evs_report_read(&r, &h, &m)) return;
    printf("             safe %lld aru %lld %s\n", (long long)m->seq, (long long)m->aru,
           h.type == EVS_TYPE_INSTALL ? VIEW_ID_TEXT(&m->install_view) : "");
    for (uint32_t i = 0; i < m->count; i++) {
        const struct evs_entry *e = &m->entries[i];
        const struct sim_proc *about = find_proc(proc->sim, &e->uuid);
        printf("             | %2d %s%s%s%s leave %lld %s safe %lld [%lld,%lld]\n", about ? about->number : -1,
               XB_UUID_SHORT(&e->uuid), e->is_operational ? " op" : " out", e->is_suspected ? " suspected" : "",
               e->is_evicted ? " evicted" : "", (long long)e->leave_seq, VIEW_ID_TEXT(&e->view), (long long)e->safe,
               (long long)e->lu, (long long)e->hs);
    }
    free(m);
}

static void send_to(struct sim_proc *proc, int slot, struct xb_buf *buf, uint32_t offset, uint32_t size) {
    struct sim *sim = proc->sim;
    struct sim_link *link = &sim->links[proc->number][slot];
    struct sim_proc *to = proc_in(sim, slot);
    if (!to || to == proc || !link->is_up) return;
    if (sim->loss > 0 && chance(sim) < sim->loss) return;
    if (sim->drop && sim->drop(sim, proc, to, buf->mem + offset, size)) return;
    if (link->count == link->capacity) {
        size_t capacity = link->capacity ? 2 * link->capacity : 64;
        struct sim_packet *packets = calloc(capacity, sizeof(*packets));
        if (!packets) abort();
        for (size_t i = 0; i < link->count; i++) packets[i] = link->packets[(link->head + i) % link->capacity];
        free(link->packets);
        link->packets = packets;
        link->capacity = capacity;
        link->head = 0;
    }
    int64_t at_ns = sim->now_ns + between(sim, sim->setting.delay_min_ns, sim->setting.delay_max_ns);
    if (at_ns < link->last_at_ns) at_ns = link->last_at_ns;
    link->last_at_ns = at_ns;
    link->packets[(link->head + link->count++) % link->capacity] =
        (struct sim_packet){.at_ns = at_ns, .buf = xb_buf_ref(buf), .offset = offset, .size = size};
}

static void transmit(struct sim_proc *proc, const struct xb_uuid *target, struct xb_buf *buf) {
    struct sim *sim = proc->sim;
    struct sim_proc *to = target ? find_proc(sim, target) : NULL;
    cross(sim, -1);
    if (sim->is_traced) trace_message(proc, to, xb_buf_data(buf), buf->size);
    check_sent(proc, xb_buf_data(buf), buf->size);
    sim->sent[xb_buf_data(buf)[0] >> 2 & 7]++;
    uint32_t size = buf->size;
    xb_buf_push(buf, HEADERS_BELOW); /* as gmcast and the datagram do */
    memset(xb_buf_data(buf), 0xee, HEADERS_BELOW);
    uint32_t offset = buf->head + HEADERS_BELOW;
    for (int slot = 0; slot < sim->setting.slots; slot++)
        if (!target || (to && sim->in_slot[slot] == to->number)) send_to(proc, slot, buf, offset, size);
    cross(sim, 1);
}

static void on_broadcast(void *ctx, struct xb_buf *buf, int64_t now_ns) {
    (void)now_ns;
    transmit(ctx, NULL, buf);
}

static void on_unicast(void *ctx, const struct xb_uuid *target, struct xb_buf *buf, int64_t now_ns) {
    (void)now_ns;
    transmit(ctx, target, buf);
}

static void on_node(void *ctx, const struct xb_uuid *node) {
    (void)ctx;
    (void)node;
}

static void on_view(void *ctx, const struct evs_view *view, int64_t now_ns) {
    (void)now_ns;
    struct sim_proc *proc = ctx;
    struct sim *sim = proc->sim;
    cross(sim, -1);
    if (sim->is_traced)
        printf("%12.6f %2d VIEW %s members %zu joined %zu left %zu partitioned %zu\n", (double)sim->now_ns / 1e9,
               proc->number, VIEW_ID_TEXT(&view->id), view->member_count, view->joined_count, view->left_count,
               view->partitioned_count);
    check_view(proc, view);
    if (view->member_count && view->id.type == VIEW_REG) {
        proc->last_view_ns = sim->now_ns;
        sim_submit(sim, proc, 40, EVS_SAFE); /* as PC does */
        if (sim->on_view) sim->on_view(sim, proc);
    }
    if (!view->member_count) proc->has_left = true;
    cross(sim, 1);
}

static void on_message(void *ctx, const struct evs_message *message, int64_t now_ns) {
    (void)now_ns;
    struct sim_proc *proc = ctx;
    cross(proc->sim, -1);
    check_message(proc, message);
    if (message->order == EVS_SAFE && xb_random_below(&proc->random, 50) == 0)
        sim_submit(proc->sim, proc, SIM_PAYLOAD_MIN + xb_random_below(&proc->random, 100), EVS_SAFE);
    cross(proc->sim, 1);
}

static void on_fatal(void *ctx, const struct xb_error *error) {
    struct sim_proc *proc = ctx;
    proc->is_fatal = true;
    if (proc->sim->is_traced) printf("%2d FATAL %s\n", proc->number, error->text);
}

/* ---- processes */

struct sim_proc *sim_start(struct sim *sim, int slot, int former, bool is_bootstrap) {
    if (sim->proc_count == SIM_PROCS_MAX || sim->in_slot[slot] >= 0) return NULL;
    struct sim_proc *proc = calloc(1, sizeof(*proc));
    if (!proc) abort();
    proc->sim = sim;
    proc->number = sim->proc_count;
    proc->slot = slot;
    xb_random_seed(&proc->random, xb_random_u64(&sim->random));
    proc->uuid = xb_uuid_new(sim->now_ns + 1700000000 * XB_SECOND, &proc->random);
    const struct view_id *restored = NULL;
    if (former >= 0) {
        proc->uuid = sim->procs[former]->uuid;
        xb_uuid_set_incarnation(&proc->uuid, (uint16_t)(xb_uuid_incarnation(&proc->uuid) + 1));
        if (sim->procs[former]->view >= 0) restored = &sim->procs[former]->last_id;
    } else { /* the fast moving time first: rank is random, as in real life */
        xb_random_bytes(&proc->random, proc->uuid.bytes, 4);
    }
    proc->view = -1;
    proc->fifo_seq = proc->user_seq = proc->map_aru = proc->map_safe = -1;
    proc->started_ns = sim->now_ns;
    proc->last_id = (struct view_id){.type = VIEW_TRANS, .uuid = proc->uuid, .seq = restored ? restored->seq + 1 : 0};
    proc->last_members[0] = proc->uuid;
    proc->last_member_count = 1;
    proc->map_view = proc->last_id;
    struct evs_down down = {.ctx = proc,
                            .broadcast = on_broadcast,
                            .unicast = on_unicast,
                            .allow = on_node,
                            .evict = on_node,
                            .unevict = on_node};
    struct evs_up up = {.ctx = proc, .view = on_view, .message = on_message, .fatal = on_fatal};
    proc->evs =
        evs_new(&proc->uuid, &sim->setting.options, restored, &down, &up, &proc->random, &sim->log, sim->now_ns);
    if (!proc->evs) abort();
    proc->is_alive = true;
    sim->procs[sim->proc_count++] = proc;
    sim->in_slot[slot] = proc->number;
    if (sim->is_traced)
        printf("%12.6f %2d START %s in slot %d\n", (double)sim->now_ns / 1e9, proc->number, XB_UUID_SHORT(&proc->uuid),
               slot);
    for (int other = 0; other < sim->setting.slots; other++)
        plan_connection(sim, slot, other, between(sim, XB_MS, 50 * XB_MS));
    evs_start(proc->evs, is_bootstrap, 3 * XB_SECOND, sim->now_ns);
    proc->deadline_ns = evs_tick(proc->evs, sim->now_ns);
    return proc;
}

static void stop(struct sim *sim, struct sim_proc *proc, bool is_all_lost) {
    proc->is_alive = false;
    proc->deadline_ns = XB_NEVER;
    for (int other = 0; other < sim->setting.slots; other++)
        if (other != proc->slot) disconnect(sim, proc->slot, other, is_all_lost);
    for (int other = 0; other < sim->setting.slots; other++) {
        struct sim_proc *peer = proc_in(sim, other);
        if (peer && peer != proc) empty_link(&sim->links[peer->number][proc->slot]);
    }
    sim->in_slot[proc->slot] = -1;
}

void sim_crash(struct sim *sim, struct sim_proc *proc) {
    if (!proc->is_alive) return;
    if (sim->is_traced) printf("%12.6f %2d CRASH\n", (double)sim->now_ns / 1e9, proc->number);
    int slot = proc->slot;
    stop(sim, proc, false);
    for (int other = 0; other < sim->setting.slots && sim->setting.has_hints; other++) {
        if (!proc_in(sim, other) || !is_reachable(sim, slot, other)) continue;
        if (sim->hint_count == sizeof(sim->hints) / sizeof(sim->hints[0])) break;
        sim->hints[sim->hint_count++] = (struct hint){
            .to = sim->in_slot[other], .about = proc->number, .at_ns = sim->now_ns + between(sim, 0, 300 * XB_MS)};
    }
}

static void tick(struct sim *sim, struct sim_proc *proc) {
    for (int i = 0; i < 10000; i++) {
        cross(sim, 1);
        proc->deadline_ns = evs_tick(proc->evs, sim->now_ns);
        cross(sim, -1);
        check_inside(proc);
        if (proc->deadline_ns > sim->now_ns || sim->is_failed) break;
        if (i == 9999) sim_fail(sim, proc, "a tick has always more to do at the same time");
    }
    if ((proc->has_left || proc->is_fatal) && proc->is_alive) stop(sim, proc, false);
}

void sim_leave(struct sim *sim, struct sim_proc *proc) {
    if (sim->is_traced) printf("%12.6f %2d LEAVE\n", (double)sim->now_ns / 1e9, proc->number);
    proc->is_leaving = true;
    evs_leave(proc->evs, 20 * XB_SECOND, sim->now_ns);
    tick(sim, proc);
}

void sim_pause(struct sim *sim, struct sim_proc *proc, int64_t duration_ns) {
    if (sim->is_traced) printf("%12.6f %2d PAUSE\n", (double)sim->now_ns / 1e9, proc->number);
    proc->is_paused = true;
    proc->resume_ns = sim->now_ns + duration_ns;
}

void sim_reset(struct sim *sim, int a, int b) {
    disconnect(sim, a, b, true);
    plan_connection(sim, a, b, between(sim, 10 * XB_MS, 1500 * XB_MS));
}

void sim_block(struct sim *sim, int a, int b, int64_t duration_ns) {
    sim->blocked_until_ns[a][b] = sim->blocked_until_ns[b][a] = sim->now_ns + duration_ns;
    sim_reset(sim, a, b);
}

static void apply_groups(struct sim *sim) {
    for (int a = 0; a < sim->setting.slots; a++) {
        for (int b = a + 1; b < sim->setting.slots; b++) {
            struct sim_proc *pa = proc_in(sim, a), *pb = proc_in(sim, b);
            if (!pa || !pb) continue;
            if (is_reachable(sim, a, b)) {
                if (!sim->links[pa->number][b].is_up) plan_connection(sim, a, b, between(sim, 0, 1500 * XB_MS));
            } else if (sim->links[pa->number][b].is_up) {
                sim_reset(sim, a, b);
            }
        }
    }
}

void sim_partition(struct sim *sim, unsigned mask) {
    if (sim->is_traced) printf("%12.6f PARTITION %x\n", (double)sim->now_ns / 1e9, mask);
    for (int i = 0; i < sim->setting.slots; i++) sim->group_of[i] = mask >> i & 1;
    apply_groups(sim);
}

void sim_heal(struct sim *sim) {
    memset(sim->blocked_until_ns, 0, sizeof(sim->blocked_until_ns));
    sim_partition(sim, 0);
}

void sim_payload(uint8_t *to, size_t size, int proc, uint32_t number) {
    xb_store_le(to, (uint64_t)proc, 4);
    xb_store_le(to + 4, number, 4);
    xb_store_le(to + 8, size, 4);
    for (size_t i = SIM_PAYLOAD_MIN; i < size; i++) to[i] = (uint8_t)(number * 31 + (unsigned)proc * 7 + i);
}

int sim_submit(struct sim *sim, struct sim_proc *proc, size_t size, enum evs_order order) {
    struct xb_buf *buf = xb_buf_new(XB_BUF_HEADROOM, size);
    if (!buf) abort();
    uint32_t number = order == EVS_LOCAL_CAUSAL ? proc->causal_sent : proc->accepted;
    sim_payload(xb_buf_data(buf), size, proc->number, number);
    /* It may be delivered before evs_submit returns. */
    uint32_t *count = order == EVS_LOCAL_CAUSAL ? &proc->causal_sent : &proc->accepted;
    ++*count;
    cross(sim, 1);
    int result = evs_submit(proc->evs, buf, (uint8_t)(number & 7), order, sim->now_ns);
    cross(sim, -1);
    if (result) {
        --*count;
        xb_buf_unref(buf);
    }
    return result;
}

/* ---- time */

/* Hands the packets that have arrived over one connection to the process: one batch, then one tick. */
static void receive_batch(struct sim *sim, struct sim_proc *to, struct sim_proc *from, struct sim_link *link) {
    size_t batch = 1 + xb_random_below(&sim->random, 8);
    while (batch-- && link->count && link->packets[link->head].at_ns <= sim->now_ns && to->is_alive) {
        struct sim_packet packet = link->packets[link->head];
        link->head = (link->head + 1) % link->capacity;
        link->count--;
        cross(sim, 1);
        int result = evs_receive(to->evs, &from->uuid, packet.buf->mem + packet.offset, packet.size, sim->now_ns);
        cross(sim, -1);
        if (result) sim_fail(sim, to, "refuses a message of %d: %d", from->number, result);
        xb_buf_unref(packet.buf);
        sim->events++;
        check_inside(to);
    }
    if (to->is_alive) tick(sim, to);
}

static void give_hints(struct sim *sim) {
    for (size_t i = 0; i < sim->hint_count; i++) {
        if (sim->hints[i].at_ns > sim->now_ns) continue;
        struct sim_proc *to = sim->procs[sim->hints[i].to];
        if (to->is_alive && !to->is_paused) {
            evs_peer_lost(to->evs, &sim->procs[sim->hints[i].about]->uuid, true, sim->now_ns);
            tick(sim, to);
        }
        sim->hints[i--] = sim->hints[--sim->hint_count];
    }
}

/* A connection to a stopped process is dropped by the other end after a while. */
static void drop_silent(struct sim *sim) {
    for (int a = 0; a < sim->setting.slots; a++) {
        struct sim_proc *pa = proc_in(sim, a);
        if (!pa || !pa->is_paused) continue;
        for (int b = 0; b < sim->setting.slots; b++) {
            struct sim_proc *pb = proc_in(sim, b);
            if (!pb || a == b || !sim->links[pa->number][b].is_up) continue;
            struct sim_link *in = &sim->links[pb->number][a];
            if (in->count && in->packets[in->head].at_ns + PEER_TIMEOUT_NS < sim->now_ns) {
                disconnect(sim, a, b, false);
                plan_connection(sim, a, b, between(sim, 10 * XB_MS, 1500 * XB_MS));
            }
        }
    }
}

static int64_t next_event(struct sim *sim) {
    int64_t next_ns = XB_NEVER;
    for (int a = 0; a < sim->setting.slots; a++) {
        struct sim_proc *pa = proc_in(sim, a);
        if (!pa) continue;
        next_ns = xb_earlier(next_ns, pa->is_paused ? pa->resume_ns : pa->deadline_ns);
    }
    for (int p = 0; p < sim->proc_count; p++) {
        for (int b = 0; b < sim->setting.slots; b++) {
            struct sim_link *link = &sim->links[p][b];
            struct sim_proc *to = proc_in(sim, b);
            if (!to || to->is_paused) continue;
            if (link->count) next_ns = xb_earlier(next_ns, link->packets[link->head].at_ns);
            if (sim->procs[p]->is_alive && !link->is_up && b != sim->procs[p]->slot)
                next_ns = xb_earlier(next_ns, link->up_at_ns);
        }
    }
    for (size_t i = 0; i < sim->hint_count; i++) next_ns = xb_earlier(next_ns, sim->hints[i].at_ns);
    return next_ns;
}

static void do_due(struct sim *sim) {
    make_connections(sim);
    drop_silent(sim);
    give_hints(sim);
    for (int a = 0; a < sim->setting.slots; a++) {
        struct sim_proc *proc = proc_in(sim, a);
        if (proc && proc->is_paused && proc->resume_ns <= sim->now_ns) proc->is_paused = false;
    }
    for (int p = 0; p < sim->proc_count; p++) {
        for (int b = 0; b < sim->setting.slots; b++) {
            struct sim_proc *to = proc_in(sim, b);
            struct sim_link *link = &sim->links[p][b];
            if (!to || to->is_paused || !link->count || link->packets[link->head].at_ns > sim->now_ns) continue;
            receive_batch(sim, to, sim->procs[p], link);
        }
    }
    for (int a = 0; a < sim->setting.slots; a++) {
        struct sim_proc *proc = proc_in(sim, a);
        if (proc && !proc->is_paused && proc->deadline_ns <= sim->now_ns) tick(sim, proc);
    }
}

bool sim_run_until(struct sim *sim, int64_t until_ns, bool (*is_done)(struct sim *sim)) {
    while (!sim->is_failed) {
        if (is_done && is_done(sim)) return true;
        int64_t next_ns = next_event(sim);
        if (next_ns > until_ns) {
            sim->now_ns = until_ns;
            return !is_done;
        }
        if (next_ns > sim->now_ns) sim->now_ns = next_ns;
        do_due(sim);
    }
    return false;
}

void sim_run(struct sim *sim, int64_t until_ns) {
    sim_run_until(sim, until_ns, NULL);
}

bool sim_is_settled(struct sim *sim) {
    const struct sim_proc *first = NULL;
    for (int i = 0; i < sim->setting.slots; i++) {
        const struct sim_proc *proc = proc_in(sim, i);
        if (!proc) continue;
        if (!first) first = proc;
        if (evs_get_state(proc->evs) != EVS_OPERATIONAL || proc->view < 0 || proc->view != first->view ||
            proc->is_leaving)
            return false;
    }
    return !first || sim->views[first->view]->member_count == (size_t)sim_running(sim);
}
