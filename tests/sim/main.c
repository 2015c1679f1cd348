/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The simulator: whole clusters on a virtual network, each with the faults of its seed.
 *
 *   sim --seeds A-B [--jobs N]   runs the seeds; names those that fail
 *   sim --seed N [--trace]       one seed alone, the same run; with every event and log line
 *
 * The last line is "N passed, N failed"; the exit code is 0 if none failed. Workers are processes, so that a crash is a
 * failed seed like any other.
 */
#include "faults.h"

#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#define JOBS_MAX 64

/* ---- a cluster ---- */

static void set_fast_timers(struct evs_options *evs) {
    evs->suspect_timeout_ns = XB_SECOND;
    evs->inactive_timeout_ns = 3 * XB_SECOND;
    evs->inactive_check_period_ns = XB_SECOND / 10;
    evs->keepalive_period_ns = 3 * XB_SECOND / 10;
    evs->causal_keepalive_period_ns = evs->keepalive_period_ns;
    evs->join_retrans_period_ns = 3 * XB_SECOND / 10;
    evs->install_timeout_ns = 3 * XB_SECOND / 2;
}

struct cluster *cluster_new(uint64_t seed, bool is_traced) {
    struct cluster *cluster = calloc(1, sizeof(*cluster));
    xb_random_seed(&cluster->random, seed);
    struct xb_random *random = &cluster->random;
    cluster->net = net_new(random);
    cluster->check = check_new();
    cluster->is_traced = is_traced;
    cluster->count = 2 + (int)xb_random_below(random, SIM_NODES_MAX - 1);
    evs_options_default(&cluster->evs);
    cluster->has_fast_timers = xb_random_below(random, 4) != 0;
    cluster->peer_timeout_ns = 3 * XB_SECOND;
    if (cluster->has_fast_timers) {
        set_fast_timers(&cluster->evs);
        cluster->peer_timeout_ns = XB_SECOND;
    }
    if (xb_random_below(random, 2)) {
        cluster->evs.send_window = 1 + (int64_t)xb_random_below(random, 512);
        cluster->evs.user_send_window = 1 + (int64_t)xb_random_below(random, (uint64_t)cluster->evs.send_window);
    }
    cluster->evs.use_aggregate = xb_random_below(random, 4) != 0;
    cluster->transfer_ns = 1 + (int64_t)xb_random_below(random, 3 * XB_SECOND);
    size_t history_max = xb_random_below(random, 3) ? 100000 : 50 + (size_t)xb_random_below(random, 500);
    cluster->load_period_ns = XB_MS * (2 + (int64_t)xb_random_below(random, 200));
    cluster->failure_period = xb_random_below(random, 4) ? 0 : 20 + (int64_t)xb_random_below(random, 400);
    cluster->failure_seed = xb_random_u64(random);
    bool is_wan = xb_random_below(random, 5) == 0;
    for (int i = 0; i < cluster->count; i++) {
        struct sim_node *node = &cluster->nodes[i];
        node->cluster = cluster;
        node->index = i;
        node->weight = 1;
        node->apply_ns = XB_MS / 10;
        node->disk.state.seqno = -1;
        node->disk.history.max = history_max;
        for (int j = 0; is_wan && j < cluster->count; j++) net_set_delay(cluster->net, i, j, 20 * XB_MS, 60 * XB_MS);
    }
    return cluster;
}

void cluster_free(struct cluster *cluster) {
    for (int i = 0; i < cluster->count; i++) {
        node_crash(&cluster->nodes[i], true);
        history_clear(&cluster->nodes[i].disk.history);
    }
    transfer_free_all(cluster);
    net_free(cluster->net);
    check_free(cluster->check);
    free(cluster);
}

void cluster_trace(struct cluster *cluster, int node, const char *format, ...) {
    if (!cluster->is_traced) return;
    int64_t now_us = net_now(cluster->net) / 1000;
    printf("%4lld.%06lld ", (long long)(now_us / 1000000), (long long)(now_us % 1000000));
    if (node >= 0)
        printf("n%d ", node);
    else
        printf("-- ");
    va_list args;
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}

const char *cluster_apply_failure(const struct cluster *cluster, int node, int64_t seqno) {
    if (!cluster->failure_period || !cluster->is_failing) return NULL;
    struct xb_random random;
    xb_random_seed(&random, cluster->failure_seed ^ (uint64_t)seqno);
    if (xb_random_below(&random, (uint64_t)cluster->failure_period)) return NULL;
    uint64_t kind = xb_random_below(&random, 3), chosen = xb_random_below(&random, (uint64_t)cluster->count);
    uint64_t bits = xb_random_u64(&random);
    if (kind == 0) return (uint64_t)node == chosen ? "disk full" : NULL;
    if (kind == 1) return "table does not exist";
    return bits >> node & 1 ? bits >> (node + 32) & 1 ? "duplicate key" : "row not found" : NULL;
}

/* ---- running seeds ---- */

static bool run_seed(uint64_t seed, bool is_traced, bool is_verbose, char *text, size_t size) {
    struct cluster *cluster = cluster_new(seed, is_traced);
    struct faults_stats stats;
    faults_run(cluster, &stats);
    const char *failure = check_failure(cluster->check);
    struct check_counts counts;
    check_get_counts(cluster->check, &counts);
    if (is_verbose)
        printf("seed %llu: %d nodes, %d faults, %lld.%03lld s, %llu events, %llu submitted, %llu ordered, %llu failed "
               "certification, %llu acknowledged, %llu changes, %llu primary views, recovery %lld ms, operator %d\n",
               (unsigned long long)seed, cluster->count, stats.faults, (long long)(stats.virtual_ns / XB_SECOND),
               (long long)(stats.virtual_ns / XB_MS % 1000), (unsigned long long)stats.events,
               (unsigned long long)counts.submitted, (unsigned long long)counts.ordered,
               (unsigned long long)counts.failed_verdicts, (unsigned long long)counts.acknowledged,
               (unsigned long long)counts.changes, (unsigned long long)counts.primary_views,
               (long long)(stats.recovery_ns / XB_MS), stats.operator_acts);
    bool has_passed = failure == NULL;
    if (!has_passed) snprintf(text, size, "%s", failure);
    cluster_free(cluster);
    return has_passed;
}

struct report { /* from a worker, through its pipe */
    uint64_t seed;
    bool is_begin, has_passed;
    char text[CHECK_TEXT_SIZE];
};

struct worker {
    pid_t pid;
    int fd;
    uint64_t next, end, step; /* seeds: next, next + step, .. */
    bool is_running;
    uint64_t running;
};

static void worker_start(struct worker *worker, bool is_verbose) {
    int fds[2];
    fflush(stdout);
    if (pipe(fds) || (worker->pid = fork()) < 0) {
        perror("sim");
        exit(2);
    }
    if (worker->pid) {
        close(fds[1]);
        worker->fd = fds[0];
        return;
    }
    for (uint64_t seed = worker->next; seed <= worker->end; seed += worker->step) {
        struct report report = {.seed = seed, .is_begin = true};
        if (write(fds[1], &report, sizeof(report)) != sizeof(report)) _exit(2);
        report.is_begin = false;
        report.has_passed = run_seed(seed, false, is_verbose, report.text, sizeof(report.text));
        fflush(stdout);
        if (write(fds[1], &report, sizeof(report)) != sizeof(report)) _exit(2);
    }
    exit(0);
}

/* -> false at the end of the worker */
static bool worker_read(struct worker *worker, uint64_t *passed, uint64_t *failed) {
    struct report report;
    size_t used = 0;
    while (used < sizeof(report)) {
        ssize_t n = read(worker->fd, (char *)&report + used, sizeof(report) - used);
        if (n <= 0) return false;
        used += (size_t)n;
    }
    worker->is_running = report.is_begin;
    worker->running = report.seed;
    worker->next = report.seed + worker->step;
    if (report.is_begin) return true;
    *passed += report.has_passed;
    *failed += !report.has_passed;
    if (!report.has_passed) printf("seed %llu failed: %s\n", (unsigned long long)report.seed, report.text);
    fflush(stdout);
    return true;
}

static int run_seeds(uint64_t first, uint64_t last, int jobs, bool is_verbose) {
    struct worker workers[JOBS_MAX];
    uint64_t passed = 0, failed = 0;
    for (int i = 0; i < jobs; i++) {
        workers[i] = (struct worker){.next = first + (uint64_t)i, .end = last, .step = (uint64_t)jobs};
        worker_start(&workers[i], is_verbose);
    }
    for (int alive = jobs; alive > 0;) {
        fd_set set;
        int max = -1;
        FD_ZERO(&set);
        for (int i = 0; i < jobs; i++) {
            if (workers[i].fd < 0) continue;
            FD_SET(workers[i].fd, &set);
            if (workers[i].fd > max) max = workers[i].fd;
        }
        if (select(max + 1, &set, NULL, NULL, NULL) < 0) continue;
        for (int i = 0; i < jobs; i++) {
            struct worker *worker = &workers[i];
            if (worker->fd < 0 || !FD_ISSET(worker->fd, &set) || worker_read(worker, &passed, &failed)) continue;
            int status;
            waitpid(worker->pid, &status, 0);
            close(worker->fd);
            worker->fd = -1;
            alive--;
            if (!worker->is_running) continue;
            printf("seed %llu failed: the process died, status %x\n", (unsigned long long)worker->running, status);
            failed++;
            worker->is_running = false;
            if (worker->next > worker->end) continue;
            worker_start(worker, is_verbose);
            alive++;
        }
    }
    printf("%llu passed, %llu failed\n", (unsigned long long)passed, (unsigned long long)failed);
    return failed ? 1 : 0;
}

static int usage(void) {
    fprintf(stderr, "usage: sim --seeds A-B [--jobs N] [--verbose] | sim --seed N [--trace]\n");
    return 2;
}

int main(int argc, char **argv) {
    static const struct option options[] = {
        {"seeds", required_argument, NULL, 's'}, {"seed", required_argument, NULL, 'n'},
        {"jobs", required_argument, NULL, 'j'},  {"trace", no_argument, NULL, 't'},
        {"verbose", no_argument, NULL, 'v'},     {NULL, 0, NULL, 0}};
    unsigned long long first = 0, last = 0;
    bool is_traced = false, is_verbose = false, is_one = false;
    int jobs = (int)sysconf(_SC_NPROCESSORS_ONLN), c;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (c == 's' && sscanf(optarg, "%llu-%llu", &first, &last) == 2)
            continue;
        else if (c == 'n' && sscanf(optarg, "%llu", &first) == 1)
            is_one = true;
        else if (c == 'j')
            jobs = atoi(optarg);
        else if (c == 't')
            is_traced = true;
        else if (c == 'v')
            is_verbose = true;
        else
            return usage();
    }
    if (jobs < 1 || jobs > JOBS_MAX) jobs = 1;
    if (!is_one) return last >= first && first ? run_seeds(first, last, jobs, is_verbose) : usage();
    char text[CHECK_TEXT_SIZE];
    bool has_passed = run_seed(first, is_traced, true, text, sizeof(text));
    if (!has_passed) printf("seed %llu failed: %s\n", first, text);
    printf("%d passed, %d failed\n", has_passed, !has_passed);
    return has_passed ? 0 : 1;
}
