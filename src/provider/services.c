/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Optional services of the server (spec 01 section 5), but for the allowlist (allowlist.c). Their entry points carry no
 * context, so what they set is the only state of the library that is not in a provider. Each counts its users; the last
 * one to go takes the callback away, and waits until nobody is inside it.
 */
#include "provider/provider.h"

#include <stdatomic.h>

static pthread_rwlock_t event_lock = PTHREAD_RWLOCK_INITIALIZER;
static struct abi_event_v1 event_service; /* copied: the caller's may be on its stack */
static int event_users;

int wsrep_init_event_service_v1(struct abi_event_v1 *service) {
    pthread_rwlock_wrlock(&event_lock);
    event_users++;
    event_service = *service;
    pthread_rwlock_unlock(&event_lock);
    return REPLICATOR_OK;
}

void wsrep_deinit_event_service_v1(void) {
    pthread_rwlock_wrlock(&event_lock);
    if (event_users > 0 && --event_users == 0) event_service = (struct abi_event_v1){NULL, NULL};
    pthread_rwlock_unlock(&event_lock);
}

void service_event(const char *name, const char *json) {
    pthread_rwlock_rdlock(&event_lock);
    if (event_service.event) event_service.event(event_service.ctx, name, json);
    pthread_rwlock_unlock(&event_lock);
}

static _Atomic(int) config_users;

int wsrep_init_config_service_v1(struct abi_config_v1 *service) {
    service->get_parameters = provider_get_parameters;
    atomic_fetch_add(&config_users, 1);
    return REPLICATOR_OK;
}

void wsrep_deinit_config_service_v1(void) {
    if (atomic_fetch_sub(&config_users, 1) <= 0) atomic_store(&config_users, 0);
}

bool service_has_config(void) {
    return atomic_load(&config_users) > 0;
}

/* Set from the server's signal handler, looked at by everything that uses a socket. */
static struct xb_isolation isolation;

int wsrep_node_isolation_mode_set_v1(int mode) {
    if (mode < ABI_ISOLATION_NONE || mode > ABI_ISOLATION_DISCONNECT) return 1;
    xb_isolation_set(&isolation, mode);
    return 0;
}

struct xb_isolation *service_isolation(void) {
    return &isolation;
}
