/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Status variables: one block for the array and all its strings, as the interface wants it (spec 01 section 25). */
#include "provider/provider.h"

#include <stdlib.h>
#include <string.h>

static size_t text_size(const struct replicator_stat *stat) {
    return strlen(stat->name) + 1 + (stat->text ? strlen(stat->text) + 1 : 0);
}

static const char *put_text(char **at, const char *text) {
    const char *start = *at;
    *at = stpcpy(*at, text) + 1;
    return start;
}

static void fill(struct abi_stats_var *to, const struct replicator_stat *from, char **at) {
    to->name = put_text(at, from->name);
    switch (from->type) {
    case REPLICATOR_STAT_TEXT:
        to->type = ABI_STAT_STRING;
        to->value.string = put_text(at, from->text);
        break;
    case REPLICATOR_STAT_INTEGER:
        to->type = ABI_STAT_INT64;
        to->value.int64 = from->integer;
        break;
    case REPLICATOR_STAT_DOUBLE:
        to->type = ABI_STAT_DOUBLE;
        to->value.dbl = from->number;
        break;
    }
}

struct abi_stats_var *provider_stats_get(struct abi_table *t) {
    struct provider *provider = provider_of(t);
    struct replicator_stats stats;
    if (!provider || replicator_stats_get(provider->rep, &stats)) return NULL;
    size_t size = (stats.count + 1) * sizeof(struct abi_stats_var);
    for (size_t i = 0; i < stats.count; i++) size += text_size(&stats.list[i]);
    struct abi_stats_var *vars = calloc(1, size);
    if (vars) {
        char *at = (char *)(vars + stats.count + 1);
        for (size_t i = 0; i < stats.count; i++) fill(&vars[i], &stats.list[i], &at);
    }
    replicator_stats_clear(&stats);
    return vars;
}

void provider_stats_free(struct abi_table *t, struct abi_stats_var *stats) {
    (void)t;
    free(stats);
}

void provider_stats_reset(struct abi_table *t) {
    struct provider *provider = provider_of(t);
    if (provider) replicator_stats_reset(provider->rep);
}
