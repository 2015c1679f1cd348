/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The invariants of spec 03 section 15, checked on everything that the processes of a simulation do. */
#include "sim.h"

#include <stdlib.h>

static void append(struct sim_list *list, const struct sim_delivered *item) {
    if (list->count == list->capacity) {
        list->capacity = list->capacity ? 2 * list->capacity : 64;
        list->items = realloc(list->items, list->capacity * sizeof(list->items[0]));
        if (!list->items) abort();
    }
    list->items[list->count++] = *item;
}

static bool has(const struct xb_uuid *list, size_t count, const struct xb_uuid *uuid) {
    for (size_t i = 0; i < count; i++)
        if (xb_uuid_equal(&list[i], uuid)) return true;
    return false;
}

static bool ascends(const struct xb_uuid *list, size_t count) {
    for (size_t i = 1; i < count; i++)
        if (xb_uuid_compare(&list[i - 1], &list[i]) >= 0) return false;
    return true;
}

/* 8, 17: all who deliver a view deliver the same one. -> its index. */
static int note_view(struct sim_proc *proc, const struct evs_view *view) {
    struct sim *sim = proc->sim;
    for (int i = 0; i < sim->view_count; i++) {
        const struct sim_view *v = sim->views[i];
        if (!view_id_equal(&v->id, &view->id)) continue;
        if (v->version != view->version || v->member_count != view->member_count ||
            memcmp(v->members, view->members, view->member_count * sizeof(view->members[0])))
            sim_fail(sim, proc, "view %s has other members here", VIEW_ID_TEXT(&view->id));
        return i;
    }
    if (sim->view_count == SIM_VIEWS_MAX) {
        sim_fail(sim, proc, "too many views");
        return 0;
    }
    struct sim_view *v = calloc(1, sizeof(*v));
    if (!v) abort();
    v->id = view->id;
    v->version = view->version;
    v->member_count = view->member_count;
    memcpy(v->members, view->members, view->member_count * sizeof(view->members[0]));
    sim->views[sim->view_count] = v;
    return sim->view_count++;
}

static bool is_equal_list(const struct sim_list *a, const struct sim_list *b) {
    if (a->count != b->count) return false;
    for (size_t i = 0; i < a->count; i++)
        if (a->items[i].id != b->items[i].id || a->items[i].seq != b->items[i].seq) return false;
    return true;
}

/* 10: who goes from one view to the same next one delivers the same. 13: own messages are among them. */
static void end_passage(struct sim_proc *proc, int next) {
    struct sim *sim = proc->sim;
    if (proc->accepted != proc->own_delivered && !proc->is_forced)
        sim_fail(sim, proc, "%u own messages accepted, %u delivered at the end of the view", proc->accepted,
                 proc->own_delivered);
    if (proc->causal_sent != proc->causal_got) sim_fail(sim, proc, "causal messages are lost at the end of the view");
    for (size_t i = 0; i < sim->passage_count && next >= 0 && proc->view >= 0; i++) {
        const struct sim_passage *other = &sim->passages[i];
        if (other->view != proc->view || other->next != next) continue;
        if (!is_equal_list(&other->list, &proc->delivered))
            sim_fail(sim, proc, "delivered %zu messages in %s before %s, process %d delivered %zu or others",
                     proc->delivered.count, VIEW_ID_TEXT(&sim->views[proc->view]->id),
                     VIEW_ID_TEXT(&sim->views[next]->id), other->proc, other->list.count);
    }
    if (sim->passage_count == sim->passage_capacity) {
        sim->passage_capacity = sim->passage_capacity ? 2 * sim->passage_capacity : 64;
        sim->passages = realloc(sim->passages, sim->passage_capacity * sizeof(sim->passages[0]));
        if (!sim->passages) abort();
    }
    sim->passages[sim->passage_count++] = (struct sim_passage){.proc = proc->number,
                                                               .view = proc->view,
                                                               .next = next,
                                                               .list = proc->delivered,
                                                               .is_bounded = proc->is_bounded};
    proc->is_bounded = false;
    memset(&proc->delivered, 0, sizeof(proc->delivered));
}

/*
 * A weakness of the protocol that cannot be cured on one side: an INSTALL bounds what is delivered of a member that is
 * out by one seq, whatever view that seq belongs to (spec 03 section 8.6). If it is out of the proposer's view as well
 * as of mine, the bound is that of the other view, and members of mine that go together drop what lies beyond.
 */
static bool is_bounded_by_stranger(const struct sim_proc *proc, const struct evs_view *view) {
    const struct evs_report *im = proc->evs->install;
    if (!im || view->member_count < 2) return false;
    for (size_t i = 0; i < proc->last_member_count; i++) {
        const struct evs_entry *e = evs_report_find(im, &proc->last_members[i]);
        if (!e || (!e->is_operational && !view_id_equal(&e->view, &proc->last_id))) return true;
    }
    return false;
}

/* 6, 7 for a transitional view. */
static void check_trans(struct sim_proc *proc, const struct evs_view *view) {
    struct sim *sim = proc->sim;
    if (proc->is_in_trans) sim_fail(sim, proc, "two transitional views in a row");
    if (!xb_uuid_equal(&view->id.uuid, &proc->last_id.uuid) || view->id.seq != proc->last_id.seq)
        sim_fail(sim, proc, "transitional view %s after %s", VIEW_ID_TEXT(&view->id), VIEW_ID_TEXT(&proc->last_id));
    if (!has(view->members, view->member_count, &proc->uuid)) sim_fail(sim, proc, "not in the own transitional view");
    size_t total = view->member_count + view->left_count + view->partitioned_count;
    if (total != proc->last_member_count)
        sim_fail(sim, proc, "transitional view: %zu of %zu", total, proc->last_member_count);
    for (size_t i = 0; i < proc->last_member_count; i++) {
        const struct xb_uuid *u = &proc->last_members[i];
        if (has(view->members, view->member_count, u) + has(view->left, view->left_count, u) +
                has(view->partitioned, view->partitioned_count, u) !=
            1)
            sim_fail(sim, proc, "%s is not in exactly one list", XB_UUID_SHORT(u));
    }
    if (view->joined_count) sim_fail(sim, proc, "somebody joins a transitional view");
    proc->is_in_trans = true;
    proc->is_bounded = is_bounded_by_stranger(proc, view);
    proc->regular_count = proc->delivered.count;
}

/* 6 for a regular view. */
static void check_regular(struct sim_proc *proc, const struct evs_view *view) {
    struct sim *sim = proc->sim;
    if (!proc->is_in_trans) sim_fail(sim, proc, "regular view without a transitional one");
    if (!has(view->members, view->member_count, &proc->uuid)) sim_fail(sim, proc, "not in the own view");
    if (!ascends(view->members, view->member_count)) sim_fail(sim, proc, "members do not ascend");
    if (view->id.seq <= proc->last_id.seq)
        sim_fail(sim, proc, "view %s after %s", VIEW_ID_TEXT(&view->id), VIEW_ID_TEXT(&proc->last_id));
    if (!has(view->members, view->member_count, &view->id.uuid)) sim_fail(sim, proc, "its creator is no member");
    for (size_t i = 0; i < view->joined_count; i++)
        if (has(proc->last_members, proc->last_member_count, &view->joined[i])) sim_fail(sim, proc, "joined twice");
    for (size_t i = 0; i < proc->last_member_count; i++) {
        const struct xb_uuid *u = &proc->last_members[i];
        if (has(view->members, view->member_count, u) + has(view->left, view->left_count, u) +
                has(view->partitioned, view->partitioned_count, u) !=
            1)
            sim_fail(sim, proc, "%s of the previous view is not in exactly one list", XB_UUID_SHORT(u));
    }
    int index = note_view(proc, view);
    end_passage(proc, index);
    proc->view = index;
    proc->is_in_trans = false;
    proc->last_id = view->id;
    proc->last_member_count = view->member_count;
    memcpy(proc->last_members, view->members, view->member_count * sizeof(view->members[0]));
}

void check_view(struct sim_proc *proc, const struct evs_view *view) {
    if (!view->member_count) {
        if (!proc->is_in_trans) sim_fail(proc->sim, proc, "the end without a transitional view");
        end_passage(proc, -1);
        proc->view = -1;
    } else if (view->id.type == VIEW_TRANS) {
        check_trans(proc, view);
    } else {
        check_regular(proc, view);
    }
}

/* 11: total order. What is delivered before the end of a view is one sequence for all. */
static void check_order(struct sim_proc *proc, const struct sim_delivered *item) {
    struct sim *sim = proc->sim;
    struct sim_list *common = &sim->views[proc->view]->common;
    size_t place = proc->delivered.count;
    if (place > 0) {
        const struct sim_delivered *last = &proc->delivered.items[place - 1];
        if (item->seq < last->seq || (item->seq == last->seq && item->rank < last->rank))
            sim_fail(sim, proc, "(%lld,%zu) after (%lld,%zu)", (long long)item->seq, item->rank, (long long)last->seq,
                     last->rank);
    }
    if (proc->is_in_trans) return;
    if (place == common->count)
        append(common, item);
    else if (common->items[place].id != item->id || common->items[place].seq != item->seq)
        sim_fail(sim, proc, "message %zu of %s is another one here", place, VIEW_ID_TEXT(&sim->views[proc->view]->id));
}

void check_message(struct sim_proc *proc, const struct evs_message *message) {
    struct sim *sim = proc->sim;
    static uint8_t expected[EVS_PAYLOAD_MAX];
    if (proc->view < 0) {
        sim_fail(sim, proc, "a message before the first view");
        return;
    }
    const struct sim_view *view = sim->views[proc->view];
    if (!view_id_equal(&message->view, &view->id)) sim_fail(sim, proc, "a message of another view"); /* 9 */
    size_t rank = 0;
    while (rank < view->member_count && !xb_uuid_equal(&view->members[rank], &message->source)) rank++;
    if (rank == view->member_count) sim_fail(sim, proc, "a message of a stranger");
    if (message->size < SIM_PAYLOAD_MIN) {
        sim_fail(sim, proc, "a message of %zu bytes", message->size);
        return;
    }
    /* 14: integrity. */
    uint32_t from = (uint32_t)xb_load_le(message->payload, 4), number = (uint32_t)xb_load_le(message->payload + 4, 4);
    if (from >= (uint32_t)sim->proc_count || !xb_uuid_equal(&sim->procs[from]->uuid, &message->source)) {
        sim_fail(sim, proc, "a message that nobody sent");
        return;
    }
    sim_payload(expected, message->size, (int)from, number);
    if (memcmp(expected, message->payload, message->size) || message->user_type != (number & 7))
        sim_fail(sim, proc, "message %u of %u is damaged", number, from);
    if (message->order == EVS_LOCAL_CAUSAL) {
        if (from != (uint32_t)proc->number || number != proc->causal_got++) sim_fail(sim, proc, "causal order");
        return;
    }
    if (proc->next_of[from] > number) sim_fail(sim, proc, "message %u of %u comes again", number, from);
    if (sim->procs[from] == proc && proc->next_of[from] != number) sim_fail(sim, proc, "own message is missing");
    proc->next_of[from] = number + 1;
    if (from == (uint32_t)proc->number) proc->own_delivered++;
    struct sim_delivered item = {.id = (uint64_t)from << 32 | number, .seq = message->seq, .rank = rank};
    check_order(proc, &item);
    append(&proc->delivered, &item);
}

/* 3, 4: what is sent. */
void check_sent(struct sim_proc *proc, const uint8_t *data, size_t size) {
    struct sim *sim = proc->sim;
    struct xb_reader r = xb_reader_init(data, size);
    struct evs_header h;
    if (evs_header_read(&r, &proc->uuid, &h)) {
        sim_fail(sim, proc, "sends a malformed message");
        return;
    }
    bool is_new = h.type == EVS_TYPE_GAP || !evs_is_retrans(&h);
    if (is_new && h.fifo_seq <= proc->fifo_seq) sim_fail(sim, proc, "fifo_seq %lld again", (long long)h.fifo_seq);
    if (is_new) proc->fifo_seq = h.fifo_seq;
    struct evs_user m;
    if (h.type != EVS_TYPE_USER || !is_new || evs_user_read(&r, &h, &m)) return;
    if (h.view.type != VIEW_REG) sim_fail(sim, proc, "a USER outside of a regular view");
    if (!view_id_equal(&h.view, &proc->user_view)) proc->user_seq = -1;
    /* What a node sends while it isolates itself goes nowhere. */
    bool was_isolated = proc->user_seq == -1 && proc->evs->member_count == 1;
    if (m.seq != proc->user_seq + 1 && !was_isolated)
        sim_fail(sim, proc, "seq %lld after %lld", (long long)m.seq, (long long)proc->user_seq);
    proc->user_view = h.view;
    proc->user_seq = m.seq + m.range;
}

/* 1, 2: the input map. */
void check_inside(struct sim_proc *proc) {
    const struct evs *evs = proc->evs;
    const struct evs_map *map = &evs->map;
    struct sim *sim = proc->sim;
    if (evs->state == EVS_CLOSED) return;
    int64_t hs = INT64_MAX, lu = INT64_MAX, max_hs = -1;
    for (size_t i = 0; i < map->n; i++) {
        if (map->ranks[i].hs < hs) hs = map->ranks[i].hs;
        if (map->ranks[i].lu < lu) lu = map->ranks[i].lu;
        if (map->ranks[i].hs > max_hs) max_hs = map->ranks[i].hs;
    }
    if (map->safe > map->aru || map->aru > hs || map->aru != lu - 1 || map->max_hs != max_hs)
        sim_fail(sim, proc, "safe %lld, aru %lld, least hs %lld, least lu %lld", (long long)map->safe,
                 (long long)map->aru, (long long)hs, (long long)lu);
    const struct evs_rank *own = &map->ranks[evs->own_rank];
    if (own->hs != evs->own_last || own->lu != evs->own_last + 1) sim_fail(sim, proc, "a hole in the own sequence");
    if (!view_id_equal(&evs->view, &proc->map_view)) {
        proc->map_view = evs->view;
    } else if (map->aru < proc->map_aru || map->safe < proc->map_safe) {
        sim_fail(sim, proc, "aru or safe decreases");
    }
    proc->map_aru = map->aru;
    proc->map_safe = map->safe;
}

/* 12: what one delivered before the end of a view, all others who have left that view orderly have delivered too. */
void check_end(struct sim *sim) {
    for (size_t i = 0; i < sim->passage_count; i++) {
        const struct sim_passage *p = &sim->passages[i];
        if (p->view < 0 || p->is_bounded) continue;
        const struct sim_list *common = &sim->views[p->view]->common;
        for (size_t k = 0; k < common->count; k++) {
            if (k < p->list.count && p->list.items[k].id == common->items[k].id) continue;
            sim_fail(sim, sim->procs[p->proc], "did not deliver safe message %zu of %zu in %s", k, common->count,
                     VIEW_ID_TEXT(&sim->views[p->view]->id));
            return;
        }
    }
}

void check_free(struct sim *sim) {
    for (size_t i = 0; i < sim->passage_count; i++) free(sim->passages[i].list.items);
    free(sim->passages);
    for (int i = 0; i < sim->view_count; i++) {
        free(sim->views[i]->common.items);
        free(sim->views[i]);
    }
}
