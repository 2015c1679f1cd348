/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The one thread of our own: it leaves the group when the node cannot go on (that must not be done in the group thread,
 * and an applier may be needed for the views that follow), and once a second reports what has been committed since the
 * last report, so that the group's commit cut does not stand still when the load ends (spec 05 section 21.12).
 */
#include "replicator/internal.h"

#include <signal.h>

#define SERVICE_PERIOD_NS XB_SECOND

static void tick(struct replicator *rep) {
    if (node_get_state(rep) >= NODE_JOINED) order_post_settle(rep);
}

static void *service_run(void *arg) {
    struct replicator *rep = arg;
    struct service *service = &rep->service;
    pthread_mutex_lock(&service->lock);
    while (!service->is_stopping) {
        bool is_closing = service->is_closing = service->wants_close;
        service->wants_close = false;
        pthread_mutex_unlock(&service->lock);
        if (is_closing)
            link_close(&rep->link);
        else
            tick(rep);
        int64_t at_ns = xb_clock_monotonic_ns() + SERVICE_PERIOD_NS;
        struct timespec at = {.tv_sec = at_ns / XB_SECOND, .tv_nsec = at_ns % XB_SECOND};
        pthread_mutex_lock(&service->lock);
        service->is_closing = false;
        pthread_cond_broadcast(&service->closed);
        if (!service->wants_close && !service->is_stopping) pthread_cond_timedwait(&service->wake, &service->lock, &at);
    }
    pthread_mutex_unlock(&service->lock);
    return NULL;
}

void service_init(struct replicator *rep) {
    pthread_condattr_t attributes;
    pthread_mutex_init(&rep->service.lock, NULL);
    pthread_condattr_init(&attributes);
    pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    pthread_cond_init(&rep->service.wake, &attributes);
    pthread_condattr_destroy(&attributes);
    pthread_cond_init(&rep->service.closed, NULL);
}

int service_start(struct replicator *rep) {
    struct service *service = &rep->service;
    sigset_t all, old;
    sigfillset(&all); /* signals are the server's */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int rc = pthread_create(&service->thread, NULL, service_run, rep);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    service->is_running = rc == 0;
    return -rc;
}

void service_want_close(struct replicator *rep) {
    pthread_mutex_lock(&rep->service.lock);
    rep->service.wants_close = true;
    pthread_cond_signal(&rep->service.wake);
    pthread_mutex_unlock(&rep->service.lock);
}

void service_forget_close(struct replicator *rep) {
    struct service *service = &rep->service;
    pthread_mutex_lock(&service->lock);
    service->wants_close = false;
    while (service->is_closing) pthread_cond_wait(&service->closed, &service->lock);
    pthread_mutex_unlock(&service->lock);
}

void service_stop(struct replicator *rep) {
    struct service *service = &rep->service;
    if (service->is_running) {
        pthread_mutex_lock(&service->lock);
        service->is_stopping = true;
        pthread_cond_signal(&service->wake);
        pthread_mutex_unlock(&service->lock);
        pthread_join(service->thread, NULL);
        service->is_running = false;
    }
    pthread_cond_destroy(&service->wake);
    pthread_cond_destroy(&service->closed);
    pthread_mutex_destroy(&service->lock);
}
