/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Lets a libFuzzer target write its seeds: `fuzz_TARGET --seeds DIR`, one file each. */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);

struct corpus {
    const char *directory;
    unsigned count;
};

static void take(void *ctx, const uint8_t *data, size_t size) {
    struct corpus *corpus = ctx;
    if (size > FUZZ_INPUT_MAX) return;
    char path[4096];
    snprintf(path, sizeof(path), "%s/seed-%05u", corpus->directory, corpus->count++);
    FILE *f = fopen(path, "wb");
    if (!f || fwrite(data, 1, size, f) != size || fclose(f)) {
        perror(path);
        exit(2);
    }
}

int LLVMFuzzerInitialize(int *argc, char ***argv) {
    if (*argc != 3 || strcmp((*argv)[1], "--seeds")) return 0;
    struct corpus corpus = {.directory = (*argv)[2]};
    fuzz_seeds(take, &corpus);
    exit(0);
}
