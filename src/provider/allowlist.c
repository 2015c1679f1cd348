/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The server's allowlist service (spec 01 section 5): may this host connect?
 *
 * The server looks it up with locks of its own. A statement that holds one of them (SET GLOBAL wsrep_provider_options)
 * may be waiting for the very group thread that wants to know, so a thread of ours asks, and whoever wants to know
 * waits for a second at most. Without an answer the host is refused this time, and so is everybody else until the
 * answer has come; a peer tries again a second later.
 *
 * The entry points carry no context, so there is one asker for all providers of the process.
 */
#include "base/clock.h"
#include "provider/provider.h"

#include <string.h>
#include <time.h>

#define ANSWER_NS XB_SECOND

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct abi_allowlist_v1 *allowlist;
static int users;
static pthread_t asker;
static bool is_ending;

/* One question at a time. Whoever asked takes the answer, or, when the time is over, leaves it to the asker to end. */
static enum stage { NOTHING_ASKED, ASKED, ANSWERED, GIVEN_UP } stage;
static char asked_host[64];
static bool answer;

static void enter(enum stage next) {
    stage = next;
    pthread_cond_broadcast(&changed);
}

static void *ask_server(void *ctx) {
    struct abi_allowlist_v1 *service = ctx;
    pthread_mutex_lock(&lock);
    while (!is_ending) {
        if (stage == GIVEN_UP) enter(NOTHING_ASKED);
        if (stage != ASKED) {
            pthread_cond_wait(&changed, &lock);
            continue;
        }
        struct abi_buf value = {asked_host, strlen(asked_host)};
        pthread_mutex_unlock(&lock);
        /* An error of the callback refuses as well. */
        bool is_allowed = service->check(service->ctx, ABI_ALLOWLIST_ADDRESS, &value) == REPLICATOR_OK;
        pthread_mutex_lock(&lock);
        answer = is_allowed;
        enter(stage == GIVEN_UP ? NOTHING_ASKED : ANSWERED);
    }
    pthread_mutex_unlock(&lock);
    return NULL;
}

int wsrep_init_allowlist_service_v1(struct abi_allowlist_v1 *service) {
    pthread_mutex_lock(&lock);
    int rc = users ? 0 : pthread_create(&asker, NULL, ask_server, service);
    if (rc == 0) {
        users++;
        allowlist = service;
    }
    pthread_mutex_unlock(&lock);
    return rc ? REPLICATOR_NODE_FAIL : REPLICATOR_OK;
}

void wsrep_deinit_allowlist_service_v1(void) {
    pthread_mutex_lock(&lock);
    bool is_last = users > 0 && --users == 0;
    if (is_last) {
        allowlist = NULL;
        is_ending = true;
        pthread_cond_broadcast(&changed);
    }
    pthread_mutex_unlock(&lock);
    if (!is_last) return;
    pthread_join(asker, NULL);
    is_ending = false;
    stage = NOTHING_ASKED;
}

/* Call it with the lock held. */
static bool reaches(enum stage wanted, const struct timespec *until) {
    while (allowlist && stage != wanted)
        if (pthread_cond_clockwait(&changed, &lock, CLOCK_MONOTONIC, until)) break;
    return stage == wanted;
}

static const char *const not_found = "not found in allowlist.";
static const char *const not_answered =
    "not looked up in the allowlist: the server has not answered within 1 s. The peer "
    "may try again.";

/* -> NULL if it is allowed, or why not */
static const char *ask(const char *host, size_t size) {
    int64_t until_ns = xb_clock_monotonic_ns() + ANSWER_NS;
    struct timespec until = {until_ns / XB_SECOND, until_ns % XB_SECOND};
    if (size >= sizeof(asked_host)) return not_found; /* no address is as long */
    /* The server still owes an answer that was waited for once: this stranger is not worth another second. */
    if (stage == GIVEN_UP) return not_answered;
    if (!reaches(NOTHING_ASKED, &until)) return allowlist ? not_answered : NULL;
    memcpy(asked_host, host, size);
    asked_host[size] = 0;
    enter(ASKED);
    bool is_answered = reaches(ANSWERED, &until);
    enter(is_answered ? NOTHING_ASKED : GIVEN_UP);
    if (!is_answered) return allowlist ? not_answered : NULL;
    return answer ? NULL : not_found;
}

const char *service_refusal(const char *host) {
    size_t size = strlen(host);
    if (size > 2 && host[0] == '[') { /* the server's table has IPv6 without brackets */
        host++;
        size -= 2;
    }
    pthread_mutex_lock(&lock);
    const char *refusal = allowlist ? ask(host, size) : NULL;
    pthread_mutex_unlock(&lock);
    return refusal;
}
