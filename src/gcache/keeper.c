/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The housekeeper: a thread that takes off the group thread what would make it wait.
 *
 * Page faults ahead of time. The first store into a page of a mapped file, and the first one after each write-back,
 * costs 5 to 10 microseconds in the file system and now and then many milliseconds. So the housekeeper keeps the pages
 * in front of the ring's writer writable.
 * Page files that nobody needs any more: it deletes them, which takes milliseconds each (trim.c).
 */
#include "gcache/internal.h"

#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>

#define CHUNK_BYTES ((size_t)256 << 10) /* short, since it keeps others from changing the address space meanwhile */
#define AHEAD_BYTES_MAX ((size_t)8 << 20)

struct keeper {
    struct gcache *cache;
    pthread_t thread;
    pthread_mutex_t mutex; /* may be taken under that of the history, not the other way round */
    pthread_cond_t wake;
    size_t chunk_count, ahead; /* of the ring, and how many to be in front; ahead 0: do not bother */
    size_t writer_chunk;       /* under the mutex of the history */
    size_t target;             /* the same, under the mutex of this */
    size_t done;               /* next chunk to prepare; of the thread */
    bool is_trim_wanted, is_stopping;
};

/* How many chunks in front of the writer are ready. */
static size_t lead(struct keeper *keeper) {
    size_t chunks = (keeper->done + keeper->chunk_count - keeper->target) % keeper->chunk_count;
    if (chunks <= keeper->ahead) return chunks;
    keeper->done = keeper->target; /* overtaken */
    return 0;
}

/* One step of work with the mutex given away meanwhile. -> false: there is nothing to do */
static bool work(struct keeper *keeper) {
    if (keeper->is_trim_wanted) {
        keeper->is_trim_wanted = false;
        pthread_mutex_unlock(&keeper->mutex);
        pages_trim(keeper->cache);
        pthread_mutex_lock(&keeper->mutex);
        return true;
    }
    if (!keeper->ahead || lead(keeper) == keeper->ahead) return false;
    pthread_mutex_unlock(&keeper->mutex);
    /* An old kernel does not know it: then the writer takes its faults itself. */
    bool is_able = !madvise(keeper->cache->ring.map + keeper->done * CHUNK_BYTES, CHUNK_BYTES, MADV_POPULATE_WRITE);
    keeper->done = (keeper->done + 1) % keeper->chunk_count;
    pthread_mutex_lock(&keeper->mutex);
    if (!is_able) keeper->ahead = 0;
    return true;
}

static void *run(void *arg) {
    struct keeper *keeper = arg;
    pthread_mutex_lock(&keeper->mutex);
    while (!keeper->is_stopping)
        if (!work(keeper)) pthread_cond_wait(&keeper->wake, &keeper->mutex);
    pthread_mutex_unlock(&keeper->mutex);
    return NULL;
}

struct keeper *keeper_start(struct gcache *cache) {
    struct keeper *keeper = calloc(1, sizeof(*keeper));
    if (!keeper) return NULL;
    size_t size = cache->ring.end; /* what is left behind the last whole chunk has to do without */
    keeper->cache = cache;
    keeper->chunk_count = size / CHUNK_BYTES;
    keeper->ahead = (size / 4 < AHEAD_BYTES_MAX ? size / 4 : AHEAD_BYTES_MAX) / CHUNK_BYTES;
    pthread_mutex_init(&keeper->mutex, NULL);
    pthread_cond_init(&keeper->wake, NULL);
    sigset_t all, old;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old); /* signals are the server's */
    int rc = pthread_create(&keeper->thread, NULL, run, keeper);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (!rc) return keeper;
    pthread_cond_destroy(&keeper->wake);
    pthread_mutex_destroy(&keeper->mutex);
    free(keeper);
    return NULL;
}

void keeper_stop(struct keeper *keeper) {
    if (!keeper) return;
    pthread_mutex_lock(&keeper->mutex);
    keeper->is_stopping = true;
    pthread_cond_signal(&keeper->wake);
    pthread_mutex_unlock(&keeper->mutex);
    pthread_join(keeper->thread, NULL);
    pthread_cond_destroy(&keeper->wake);
    pthread_mutex_destroy(&keeper->mutex);
    free(keeper);
}

void keeper_writer_at(struct keeper *keeper, size_t offset) {
    size_t chunk = offset / CHUNK_BYTES;
    if (chunk == keeper->writer_chunk || chunk >= keeper->chunk_count) return;
    keeper->writer_chunk = chunk;
    pthread_mutex_lock(&keeper->mutex);
    keeper->target = chunk;
    pthread_cond_signal(&keeper->wake);
    pthread_mutex_unlock(&keeper->mutex);
}

void keeper_trim(struct keeper *keeper) {
    pthread_mutex_lock(&keeper->mutex);
    keeper->is_trim_wanted = true;
    pthread_cond_signal(&keeper->wake);
    pthread_mutex_unlock(&keeper->mutex);
}
