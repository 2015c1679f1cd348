/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Pages: files of their own for what the ring has no room for (spec 07 section 18.2). Buffers are laid one behind the
 * other; a page goes as a whole, the oldest first, when nothing in it is needed and gcache.keep_pages_size is exceeded.
 */
#include "gcache/internal.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define PAGE_NAME_PREFIX "gcache.page."
#define DISK_RESERVE 10 /* this part of the disk is not filled for the sake of a reader */

static void page_delete(struct gcache_page *page) {
    if (page->map != MAP_FAILED) munmap(page->map, page->size);
    if (page->path) unlink(page->path);
    free(page->path);
    free(page);
}

void page_delete_all(struct gcache_page *pages) {
    while (pages) {
        struct gcache_page *next = pages->next;
        page_delete(pages);
        pages = next;
    }
}

static struct gcache_page *page_new(struct gcache *cache, size_t size) {
    struct gcache_page *page = calloc(1, sizeof(*page));
    if (!page) return NULL;
    page->map = MAP_FAILED;
    page->size = size;
    if (asprintf(&page->path, "%s/" PAGE_NAME_PREFIX "%06u", cache->pages.dir, cache->pages.number) < 0)
        page->path = NULL;
    int fd = page->path ? open(page->path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0660) : -1;
    int rc = fd < 0 ? errno : posix_fallocate(fd, 0, (off_t)size);
    if (!rc) page->map = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (fd >= 0) close(fd);
    if (page->map != MAP_FAILED) return page;
    if (!cache->is_disk_full_logged)
        xb_log_warning(cache->log,
                       "Cannot make history page '%s' of %zu bytes: %s. Buffers stay in memory until there "
                       "is room",
                       page->path ? page->path : cache->pages.dir, size, strerror(rc ? rc : errno));
    cache->is_disk_full_logged = true;
    page_delete(page);
    return NULL;
}

static bool is_disk_tight(const char *dir, size_t more) {
    struct statvfs st;
    if (statvfs(dir, &st)) return false;
    uint64_t left = (uint64_t)st.f_bavail * st.f_frsize, all = (uint64_t)st.f_blocks * st.f_frsize;
    return left < more + all / DISK_RESERVE;
}

/* The readers are why history cannot be discarded: the slowest has to go when there is too much of it. */
static void limit_readers(struct gcache *cache, size_t more) {
    int64_t limit = cache->reader_limit_bytes;
    bool is_too_much =
        limit > 0 ? cache->pages.size_bytes + (int64_t)more > limit : is_disk_tight(cache->pages.dir, more);
    if (is_too_much) readers_abort_slowest(cache);
}

static struct gcache_page *page_add(struct gcache *cache, size_t total, bool is_reader_to_blame) {
    struct gcache_pages *pages = &cache->pages;
    size_t size = total;
    if (pages->page_size_bytes > 0 && (size_t)pages->page_size_bytes > size) size = (size_t)pages->page_size_bytes;
    if (is_reader_to_blame) limit_readers(cache, size);
    struct gcache_page *page = page_new(cache, size);
    if (!page) return NULL;
    cache->is_disk_full_logged = false;
    xb_log_info(cache->log, "Created history page %s of %zu bytes", page->path, size);
    if (pages->newest)
        pages->newest->next = page;
    else
        pages->oldest = page;
    pages->newest = page;
    pages->number = (pages->number + 1) % 1000000;
    pages->count++;
    pages->size_bytes += (int64_t)size;
    return page;
}

struct gcache_header *page_alloc(struct gcache *cache, size_t total, bool is_reader_to_blame) {
    struct gcache_page *page = cache->pages.newest;
    if (!page || page->size - page->used < total) page = page_add(cache, total, is_reader_to_blame);
    if (!page) return NULL;
    struct gcache_header *header = (struct gcache_header *)(void *)(page->map + page->used);
    page->used += total;
    page->buffer_count++;
    page->unordered_count++;
    *header = (struct gcache_header){
        .seqno = SEQNO_NONE, .context = (uintptr_t)page, .size = (uint32_t)total, .store = STORE_PAGE};
    return header;
}

struct gcache_page *pages_take_oldest(struct gcache_pages *pages) {
    struct gcache_page *page = pages->oldest;
    pages->oldest = page->next;
    if (!pages->oldest) pages->newest = NULL;
    pages->count--;
    pages->size_bytes -= (int64_t)page->size;
    page->next = NULL;
    return page;
}

void pages_delete_stale(const char *dir) {
    DIR *d = opendir(dir);
    if (!d) return;
    const struct dirent *entry;
    while ((entry = readdir(d))) {
        const char *number = entry->d_name + strlen(PAGE_NAME_PREFIX);
        if (strncmp(entry->d_name, PAGE_NAME_PREFIX, strlen(PAGE_NAME_PREFIX))) continue;
        if (strlen(number) != 6 || strspn(number, "0123456789") != 6) continue;
        unlinkat(dirfd(d), entry->d_name, 0);
    }
    closedir(d);
}
