/* SPDX-License-Identifier: GPL-2.0-or-later */
/* How far a transfer is: percentage, rate, time left; and the speed limit. Pure: the time is handed in. */
#ifndef XB_SST_PROGRESS_H
#define XB_SST_PROGRESS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PROGRESS_LINE_SIZE 160

struct progress {
    uint64_t total_bytes, done_bytes; /* total 0: unknown */
    int64_t start_ns, shown_ns;
    uint64_t shown_bytes; /* done when the last line was written */
    double rate;          /* bytes a second, smoothed */
};

void progress_begin(struct progress *progress, uint64_t total_bytes, int64_t now_ns);
/* Counts bytes. -> true about once a second: a line is due. */
bool progress_add(struct progress *progress, uint64_t bytes, int64_t now_ns);
/* "37% (1.2 of 3.3 GiB), 210.4 MiB/s, 0:10 left". -> line */
const char *progress_format(struct progress *progress, int64_t now_ns, char line[PROGRESS_LINE_SIZE]);
/* The same as a bar of exactly `columns` characters, or nearly so if the line's size does not allow it. -> line */
const char *progress_bar(struct progress *progress, int64_t now_ns, int columns, char line[PROGRESS_LINE_SIZE]);
/* The last line: all of it, and the mean rate. -> line */
const char *progress_format_end(const struct progress *progress, int64_t now_ns, char line[PROGRESS_LINE_SIZE]);

/* A token bucket of one tenth of a second. */
struct limit {
    uint64_t bytes_per_s; /* 0: none */
    int64_t free_ns;      /* when what was sent so far is paid */
};

/* Takes n bytes. -> how long to wait before they may go, in ns */
int64_t limit_take(struct limit *limit, size_t n, int64_t now_ns);
/* "10m" as pv does: k m g t, powers of 1024. -> false: no number */
bool limit_parse(const char *text, uint64_t *bytes_per_s);

#endif
