/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The way to the group thread. Posting costs two atomic operations more than the member's own queue: they keep the
 * member from being freed under a poster, without a lock on the path of every transaction.
 */
#include "replicator/internal.h"

void link_init(struct link *link) {
    memset(link, 0, sizeof(*link));
    pthread_mutex_init(&link->lock, NULL);
    pthread_cond_init(&link->changed, NULL);
}

void link_destroy(struct link *link) {
    pthread_cond_destroy(&link->changed);
    pthread_mutex_destroy(&link->lock);
}

void link_open(struct link *link, struct member *member) {
    pthread_mutex_lock(&link->lock);
    link->member = member;
    link->is_closing = false;
    atomic_store(&link->is_open, true);
    pthread_mutex_unlock(&link->lock);
}

bool link_is_open(struct link *link) {
    pthread_mutex_lock(&link->lock);
    bool is_open = link->member != NULL;
    pthread_mutex_unlock(&link->lock);
    return is_open;
}

struct member *link_use(struct link *link) {
    atomic_fetch_add(&link->users, 1);
    if (atomic_load(&link->is_open)) return link->member;
    link_done(link);
    return NULL;
}

void link_done(struct link *link) {
    if (atomic_fetch_sub(&link->users, 1) != 1 || atomic_load(&link->is_open)) return;
    pthread_mutex_lock(&link->lock); /* the closer may be waiting for the last one */
    pthread_cond_broadcast(&link->changed);
    pthread_mutex_unlock(&link->lock);
}

int link_post(struct link *link, struct member_task *task) {
    struct member *member = link_use(link);
    if (!member) return -ENOTCONN;
    int rc = member_post(member, task);
    link_done(link);
    return rc ? -ENOTCONN : 0;
}

int link_call(struct link *link, struct member_task *task) {
    struct member *member = link_use(link);
    if (!member) return -ENOTCONN;
    int rc = member_call(member, task);
    link_done(link);
    return rc ? -ENOTCONN : 0;
}

void link_close(struct link *link) {
    pthread_mutex_lock(&link->lock);
    if (!link->member || link->is_closing) {
        while (link->member) pthread_cond_wait(&link->changed, &link->lock);
        pthread_mutex_unlock(&link->lock);
        return;
    }
    link->is_closing = true;
    atomic_store(&link->is_open, false);
    while (atomic_load(&link->users)) pthread_cond_wait(&link->changed, &link->lock);
    pthread_mutex_unlock(&link->lock);
    member_close(link->member);
    pthread_mutex_lock(&link->lock);
    link->member = NULL;
    pthread_cond_broadcast(&link->changed);
    pthread_mutex_unlock(&link->lock);
}
