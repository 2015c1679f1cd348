/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Page faults ahead of time. The first store into a page of a mapped file, and the first one after each write-back, costs
 * 5 to 10 microseconds in the file system and now and then many milliseconds. The writer is the group thread, which must
 * not wait; so a thread keeps the pages in front of it writable.
 */
#include "gcache/internal.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>

#define CHUNK_BYTES ((size_t)256 << 10) /* short, since it keeps others from changing the address space meanwhile */
#define AHEAD_BYTES_MAX ((size_t)8 << 20)
#define RING_BYTES_MIN ((size_t)4 << 20) /* smaller rings stay in memory anyway */

struct prefault {
    pthread_t thread;
    pthread_mutex_t mutex;
    pthread_cond_t wake;
    uint8_t *base;
    size_t chunk_count, ahead; /* of the ring, and how many to be in front */
    size_t writer_chunk;       /* under the mutex of the history */
    size_t target;             /* the same, under the mutex of this */
    bool is_stopping;
};

static size_t chunks_between(const struct prefault *prefault, size_t from, size_t to) {
    return (to + prefault->chunk_count - from) % prefault->chunk_count;
}

static void *run(void *arg) {
    struct prefault *prefault = arg;
    size_t done = 0; /* next chunk to prepare */
    pthread_mutex_lock(&prefault->mutex);
    while (!prefault->is_stopping) {
        size_t lead = chunks_between(prefault, prefault->target, done);
        if (lead > prefault->ahead) { /* behind the writer */
            done = prefault->target;
            lead = 0;
        }
        if (lead == prefault->ahead) {
            pthread_cond_wait(&prefault->wake, &prefault->mutex);
            continue;
        }
        pthread_mutex_unlock(&prefault->mutex);
        /* An old kernel does not know it: then the writer takes its faults itself. */
        bool is_able = !madvise(prefault->base + done * CHUNK_BYTES, CHUNK_BYTES, MADV_POPULATE_WRITE);
        done = (done + 1) % prefault->chunk_count;
        pthread_mutex_lock(&prefault->mutex);
        if (!is_able) break;
    }
    pthread_mutex_unlock(&prefault->mutex);
    return NULL;
}

struct prefault *prefault_start(uint8_t *base, size_t size) {
    if (size < RING_BYTES_MIN) return NULL;
    struct prefault *prefault = calloc(1, sizeof(*prefault));
    if (!prefault) return NULL;
    prefault->base = base;
    prefault->chunk_count = size / CHUNK_BYTES; /* what is left at the end has to do without */
    prefault->ahead = (size / 4 < AHEAD_BYTES_MAX ? size / 4 : AHEAD_BYTES_MAX) / CHUNK_BYTES;
    pthread_mutex_init(&prefault->mutex, NULL);
    pthread_cond_init(&prefault->wake, NULL);
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are the server's */
    int rc = pthread_create(&prefault->thread, NULL, run, prefault);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (rc) {
        free(prefault);
        return NULL;
    }
    return prefault;
}

void prefault_stop(struct prefault *prefault) {
    if (!prefault) return;
    pthread_mutex_lock(&prefault->mutex);
    prefault->is_stopping = true;
    pthread_cond_signal(&prefault->wake);
    pthread_mutex_unlock(&prefault->mutex);
    pthread_join(prefault->thread, NULL);
    pthread_cond_destroy(&prefault->wake);
    pthread_mutex_destroy(&prefault->mutex);
    free(prefault);
}

void prefault_writer_at(struct prefault *prefault, size_t offset) {
    size_t chunk = offset / CHUNK_BYTES;
    if (chunk == prefault->writer_chunk || chunk >= prefault->chunk_count) return;
    prefault->writer_chunk = chunk;
    pthread_mutex_lock(&prefault->mutex);
    prefault->target = chunk;
    pthread_cond_signal(&prefault->wake);
    pthread_mutex_unlock(&prefault->mutex);
}
