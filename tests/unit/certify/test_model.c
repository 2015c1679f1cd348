/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Random streams against a model that keeps every write set for ever and searches it from the end: verdicts must be the
 * same on a node that never purges, on one that purges as commit cuts come, and on joiners, whatever the purge progress
 * (spec 06 section 17.3); dependencies must be the model's, or the purge bound.
 */
#include "base/random.h"
#include "unit/certify/support.h"

#define EVENTS 3000
#define NODES 4
#define KEYS_MAX 6
#define NAMES 24

struct model_event {
    int node;
    int64_t last_seen;
    unsigned flags;
    bool is_change, is_passed;
    int key_count;
    struct {
        int name, type;
    } keys[KEYS_MAX];
};

struct model {
    struct model_event events[EVENTS + 1]; /* by seqno */
    int64_t last_pa_unsafe;
};

/* The seqno that last passed with this name and type, 0 none. */
static int64_t latest(const struct model *model, int64_t before, int name, int type) {
    for (int64_t seqno = before - 1; seqno > 0; seqno--) {
        const struct model_event *event = &model->events[seqno];
        if (!event->is_passed) continue;
        for (int i = 0; i < event->key_count; i++)
            if (event->keys[i].name == name && event->keys[i].type == type) return seqno;
    }
    return 0;
}

static int64_t model_test(struct model *model, int64_t seqno, bool *is_passed) {
    static const char matrix[4][5] = {"NNDD", "NNDC", "DDCC", "CCCC"};
    struct model_event *event = &model->events[seqno];
    bool is_toi = event->flags & WRITESET_TOI;
    int64_t depends = is_toi || (event->flags & WRITESET_PA_UNSAFE) ? seqno - 1 : 0;
    *is_passed = true;
    for (int i = 0; i < event->key_count && !is_toi && *is_passed; i++) {
        for (int type = 3; type >= 0 && *is_passed; type--) {
            char rule = matrix[type][event->keys[i].type];
            int64_t other = latest(model, seqno, event->keys[i].name, type);
            if (other == 0 || rule == 'N') continue;
            if (other > depends) depends = other;
            const struct model_event *with = &model->events[other];
            *is_passed = !(rule == 'C' && other > event->last_seen &&
                           ((with->flags & WRITESET_TOI) || with->node != event->node));
        }
    }
    if (model->last_pa_unsafe > depends) depends = model->last_pa_unsafe;
    event->is_passed = *is_passed;
    if (*is_passed && (event->flags & WRITESET_PA_UNSAFE)) model->last_pa_unsafe = seqno;
    return depends;
}

/* A stream in which every node's last seen never falls, and lags behind by at most 40. */
static struct made random_event(struct model_event *event, int64_t seqno, int64_t *seen, struct xb_random *random) {
    static const char *const types[] = {"SH", "RE", "UP", "EX"};
    *event = (struct model_event){.node = 1 + (int)xb_random_below(random, NODES)};
    int64_t lowest = seqno - 1 - (int64_t)xb_random_below(random, 40);
    if (lowest > seen[event->node]) seen[event->node] = lowest;
    event->last_seen = seen[event->node];
    uint64_t kind = xb_random_below(random, 40);
    event->flags = kind == 0 ? TOI_WHOLE : kind == 1 ? WRITESET_ROLLBACK_FRAGMENT : kind == 2 ? TRX | 8 : TRX;
    char text[256] = "";
    int count = event->flags == WRITESET_ROLLBACK_FRAGMENT ? 0 : (int)xb_random_below(random, KEYS_MAX);
    bool used[NAMES] = {false};
    for (int i = 0; i < count; i++) {
        int name = (int)xb_random_below(random, NAMES), type = (int)xb_random_below(random, 4);
        if (event->flags & WRITESET_TOI) type = WRITESET_KEY_EXCLUSIVE;
        if (used[name]) continue;
        used[name] = true;
        event->keys[event->key_count].name = name;
        event->keys[event->key_count++].type = type;
        size_t at = strlen(text);
        snprintf(text + at, sizeof(text) - at, "%s%s k%d", at ? ", " : "", types[type], name);
    }
    enum writeset_key_format format = (enum writeset_key_format)(1 + xb_random_below(random, 4));
    return make_with(format, 6, event->node, event->last_seen, event->flags, text, NULL, 0);
}

struct node {
    struct certify *certify;
    struct certify_ticket *tickets[EVENTS + 1];
};

static struct certify_result node_takes(struct node *node, const struct writeset *ws, int64_t seqno) {
    struct certify_result result = certify_ws(node->certify, ws, seqno, CERTIFY_FROM_GROUP);
    node->tickets[seqno] = result.ticket;
    return result;
}

/* Finishes some of what is out, in any order, and purges as a commit cut would. */
static void finish_some(struct node *node, int64_t position, const int64_t *seen, struct xb_random *random) {
    for (int64_t seqno = position > 60 ? position - 60 : 1; seqno <= position; seqno++) {
        bool is_due = seqno < position - 50 || xb_random_below(random, 8) == 0;
        if (!node->tickets[seqno] || !is_due) continue;
        certify_finish(node->certify, node->tickets[seqno]);
        node->tickets[seqno] = NULL;
    }
    if (xb_random_below(random, 20) != 0) return;
    int64_t cut = INT64_MAX; /* what every node has reported: nothing later has a lower last seen */
    for (int i = 1; i <= NODES; i++)
        if (seen[i] < cut) cut = seen[i];
    certify_purge(node->certify, cut);
}

static void run(uint64_t seed) {
    static struct model model;
    struct node keeper = {.certify = certify_at(0)}, purger = {.certify = certify_at(0)};
    struct xb_random random;
    int64_t seen[NODES + 1] = {0};
    int failed = 0;
    xb_random_seed(&random, seed);
    memset(&model, 0, sizeof(model));
    for (int64_t seqno = 1; seqno <= EVENTS; seqno++) {
        if (xb_random_below(&random, 200) == 0) {
            model.events[seqno].is_change = true;
            model.last_pa_unsafe = seqno;
            struct xb_uuid member = node_uuid(1);
            certify_change_configuration(keeper.certify, seqno, 6, &member, 1, NULL);
            certify_change_configuration(purger.certify, seqno, 6, &member, 1, NULL);
            continue;
        }
        struct made made = random_event(&model.events[seqno], seqno, seen, &random);
        bool is_passed;
        int64_t depends = model_test(&model, seqno, &is_passed);
        int64_t lowest = certify_lowest_seqno(purger.certify);
        bool is_empty = lowest == certify_position(purger.certify) && stats_of(purger.certify).length == 0;
        struct certify_result of_keeper = node_takes(&keeper, &made.ws, seqno);
        struct certify_result of_purger = node_takes(&purger, &made.ws, seqno);
        assert_int_equal(of_keeper.is_passed, is_passed);
        assert_int_equal(of_purger.is_passed, is_passed);
        if (seqno > 1 && stats_of(keeper.certify).length > 1) assert_int_equal(of_keeper.depends, depends);
        int64_t bound = is_empty ? seqno - 1 : lowest - 1;
        assert_int_equal(of_purger.depends, depends > bound ? depends : bound);
        failed += !is_passed;
        finish_some(&purger, seqno, seen, &random);
        free(made.bytes);
    }
    assert_true(failed > EVENTS / 50 && failed < EVENTS * 3 / 4);
    assert_true(stats_of(purger.certify).length < 500);
    for (int64_t seqno = 1; seqno <= EVENTS; seqno++)
        if (keeper.tickets[seqno]) certify_finish(keeper.certify, keeper.tickets[seqno]);
    certify_purge(keeper.certify, EVENTS);
    certify_free(keeper.certify);
    certify_free(purger.certify);
}

static void test_random_streams(void **state) {
    for (uint64_t seed = 1; seed <= 4; seed++) run(seed);
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_random_streams)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
