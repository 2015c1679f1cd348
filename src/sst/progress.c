/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Arithmetic of progress lines and of the speed limit. */
#include "sst/progress.h"

#include "base/clock.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BURST_NS (XB_SECOND / 10)
#define BAR_MIN 10
#define RATE_WEIGHT 0.3 /* of the newest second */

void progress_begin(struct progress *progress, uint64_t total_bytes, int64_t now_ns) {
    *progress = (struct progress){.total_bytes = total_bytes, .start_ns = now_ns, .shown_ns = now_ns};
}

bool progress_add(struct progress *progress, uint64_t bytes, int64_t now_ns) {
    progress->done_bytes += bytes;
    return now_ns - progress->shown_ns >= XB_SECOND;
}

static const char *size_text(double bytes, char text[32]) {
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    size_t unit = 0;
    for (; bytes >= 1024 && unit < 4; unit++) bytes /= 1024;
    snprintf(text, 32, unit ? "%.1f %s" : "%.0f %s", bytes, units[unit]);
    return text;
}

static void measure(struct progress *p, int64_t now_ns) {
    double seconds = (double)(now_ns - p->shown_ns) / (double)XB_SECOND;
    if (seconds <= 0) return;
    double newest = (double)(p->done_bytes - p->shown_bytes) / seconds;
    p->rate = p->rate > 0 ? p->rate * (1 - RATE_WEIGHT) + newest * RATE_WEIGHT : newest;
    p->shown_ns = now_ns;
    p->shown_bytes = p->done_bytes;
}

const char *progress_format(struct progress *progress, int64_t now_ns, char line[PROGRESS_LINE_SIZE]) {
    measure(progress, now_ns);
    char done[32], total[32], rate[32];
    size_text((double)progress->done_bytes, done);
    size_text(progress->rate, rate);
    if (progress->total_bytes == 0) {
        snprintf(line, PROGRESS_LINE_SIZE, "%s, %s/s", done, rate);
        return line;
    }
    /* The total is an estimate made before the copy: the copy may turn out larger, and is not done before it is done.
     */
    double part = (double)progress->done_bytes / (double)progress->total_bytes;
    int percent = part >= 0.99 ? 99 : (int)(part * 100);
    int used = snprintf(line, PROGRESS_LINE_SIZE, "%d%% (%s of %s), %s/s", percent, done,
                        size_text((double)progress->total_bytes, total), rate);
    if (progress->rate >= 1 && progress->done_bytes < progress->total_bytes) {
        double left = (double)(progress->total_bytes - progress->done_bytes) / progress->rate;
        uint64_t s = left < 1e9 ? (uint64_t)left : 1000000000;
        snprintf(line + used, PROGRESS_LINE_SIZE - (size_t)used, ", %" PRIu64 ":%02" PRIu64 " left", s / 60, s % 60);
    }
    return line;
}

const char *progress_bar(struct progress *progress, int64_t now_ns, int columns, char line[PROGRESS_LINE_SIZE]) {
    char text[PROGRESS_LINE_SIZE];
    progress_format(progress, now_ns, text);
    int room = columns < PROGRESS_LINE_SIZE ? columns : PROGRESS_LINE_SIZE - 1;
    int size = (int)strlen(text), width = room - size - 3; /* of the bar, in brackets and with a blank */
    if (progress->total_bytes == 0 || width < BAR_MIN) {
        snprintf(line, PROGRESS_LINE_SIZE, "%-*.*s", room > 0 ? room : 1, room > 0 ? room : 1, text);
        return line;
    }
    double part = (double)progress->done_bytes / (double)progress->total_bytes;
    int full = part >= 1 ? width : (int)(part * width);
    char *at = line;
    *at++ = '[';
    for (int i = 0; i < width; i++) *at++ = i < full ? '#' : '.';
    snprintf(at, (size_t)(PROGRESS_LINE_SIZE - width - 1), "] %s", text);
    return line;
}

const char *progress_format_end(const struct progress *progress, int64_t now_ns, char line[PROGRESS_LINE_SIZE]) {
    char done[32], rate[32];
    double seconds = (double)(now_ns - progress->start_ns) / (double)XB_SECOND;
    snprintf(line, PROGRESS_LINE_SIZE, "100%% (%s) in %.1f s, %s/s", size_text((double)progress->done_bytes, done),
             seconds, size_text(seconds > 0 ? (double)progress->done_bytes / seconds : 0, rate));
    return line;
}

int64_t limit_take(struct limit *limit, size_t n, int64_t now_ns) {
    if (limit->bytes_per_s == 0) return 0;
    if (limit->free_ns < now_ns - BURST_NS) limit->free_ns = now_ns - BURST_NS;
    int64_t wait_ns = limit->free_ns > now_ns ? limit->free_ns - now_ns : 0;
    limit->free_ns += (int64_t)((double)n * (double)XB_SECOND / (double)limit->bytes_per_s);
    return wait_ns;
}

bool limit_parse(const char *text, uint64_t *bytes_per_s) {
    char *end;
    if (*text < '0' || *text > '9') return false;
    double value = strtod(text, &end);
    static const char suffixes[] = "kmgt";
    const char *suffix = *end ? strchr(suffixes, *end | 0x20) : NULL;
    if (suffix) {
        for (const char *s = suffixes; s <= suffix; s++) value *= 1024;
        end++;
    }
    if (*end || value < 1 || value > 1e18) return false;
    *bytes_per_s = (uint64_t)value;
    return true;
}
