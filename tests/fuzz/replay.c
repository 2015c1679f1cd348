/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Runs a fuzz target without libFuzzer.
 *
 *     replay_TARGET COUNT [SEED]     every seed, then COUNT mutations of them; the same ones for the same SEED (1)
 *     replay_TARGET FILE...          these inputs, e.g. what the fuzzer found
 */
#include "fuzz.h"

#include "base/random.h"

#include <stdio.h>
#include <stdlib.h>

#define MUTATED_MAX 4096 /* the mutations are of seeds up to this size, which say as much as the large ones */

struct input {
    uint8_t *data;
    size_t size;
};

struct corpus {
    struct input *inputs;
    size_t count, capacity;
};

static void take(void *ctx, const uint8_t *data, size_t size) {
    struct corpus *corpus = ctx;
    if (size > FUZZ_INPUT_MAX) return;
    if (corpus->count == corpus->capacity) {
        corpus->capacity = corpus->capacity ? 2 * corpus->capacity : 64;
        corpus->inputs = realloc(corpus->inputs, corpus->capacity * sizeof(*corpus->inputs));
        if (!corpus->inputs) abort();
    }
    corpus->inputs[corpus->count++] = (struct input){fuzz_copy(data, size), size};
}

static const struct input *pick(const struct corpus *corpus, struct xb_random *random) {
    for (;;) {
        const struct input *input = &corpus->inputs[xb_random_below(random, corpus->count)];
        if (input->size <= MUTATED_MAX) return input;
    }
}

static size_t place(struct xb_random *random, size_t size) {
    return (size_t)xb_random_below(random, size ? size : 1);
}

/* Numbers at which readers go wrong. */
static void put_number(uint8_t *data, size_t size, struct xb_random *random) {
    static const uint64_t numbers[] = {0,         1,          0x7f,       0x80,       0xff,      0x7fff,
                                       0xffff,    0x7fffffff, 0x80000000, 0xffffffff, INT64_MAX, (uint64_t)INT64_MIN,
                                       UINT64_MAX};
    size_t width = (size_t)1 << xb_random_below(random, 4);
    if (width > size) return;
    uint64_t number = numbers[xb_random_below(random, sizeof(numbers) / sizeof(numbers[0]))];
    xb_store_le(data + place(random, size - width + 1), number, width);
}

/* One small change. data has room for FUZZ_INPUT_MAX bytes. -> new size */
static size_t mutate(uint8_t *data, size_t size, const struct corpus *corpus, struct xb_random *random) {
    size_t at = place(random, size), n = place(random, 64), room = FUZZ_INPUT_MAX - size;
    switch (xb_random_below(random, 8)) {
    case 0:
    case 1:
        if (size) data[at] ^= (uint8_t)(1u << xb_random_below(random, 8));
        return size;
    case 2:
        if (size) data[at] = (uint8_t)xb_random_u64(random);
        return size;
    case 3:
    case 4:
        put_number(data, size, random);
        return size;
    case 5: /* takes bytes out */
        n = n < size - at ? n : size - at;
        memmove(data + at, data + at + n, size - at - n);
        return size - n;
    case 6: /* puts bytes in */
        n = n < room ? n : room;
        memmove(data + at + n, data + at, size - at);
        xb_random_bytes(random, data + at, n);
        return size + n;
    default: { /* the end of another one */
        const struct input *other = pick(corpus, random);
        size_t from = place(random, other->size);
        n = other->size - from < FUZZ_INPUT_MAX - at ? other->size - from : FUZZ_INPUT_MAX - at;
        memcpy(data + at, other->data + from, n);
        return at + n;
    }
    }
}

static void run_mutations(const struct corpus *corpus, uint64_t count, uint64_t seed) {
    static uint8_t data[FUZZ_INPUT_MAX];
    struct xb_random random;
    xb_random_seed(&random, seed);
    for (uint64_t i = 0; i < count; i++) {
        const struct input *input = pick(corpus, &random);
        size_t size = input->size;
        memcpy(data, input->data, size);
        for (uint64_t changes = 1 + xb_random_below(&random, 8); changes; changes--)
            size = mutate(data, size, corpus, &random);
        uint8_t *copy = fuzz_copy(data, size);
        LLVMFuzzerTestOneInput(copy, size);
        free(copy);
    }
}

static int run_file(const char *path) {
    FILE *f = fopen(path, "rb");
    if (!f) {
        perror(path);
        return 2;
    }
    static uint8_t data[1 << 20];
    size_t size = fread(data, 1, sizeof(data), f);
    fclose(f);
    uint8_t *copy = fuzz_copy(data, size);
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
    return 0;
}

int main(int argc, char **argv) {
    char *end;
    uint64_t count = argc > 1 ? strtoull(argv[1], &end, 10) : 1000;
    if (argc > 1 && *end) {
        int rc = 0;
        for (int i = 1; i < argc && !rc; i++) rc = run_file(argv[i]);
        return rc;
    }
    struct corpus corpus = {0};
    take(&corpus, (const uint8_t *)"", 0);
    fuzz_seeds(take, &corpus);
    for (size_t i = 0; i < corpus.count; i++) LLVMFuzzerTestOneInput(corpus.inputs[i].data, corpus.inputs[i].size);
    run_mutations(&corpus, count, argc > 2 ? strtoull(argv[2], NULL, 10) : 1);
    printf("%zu seeds and %llu mutations\n", corpus.count, (unsigned long long)count);
    for (size_t i = 0; i < corpus.count; i++) free(corpus.inputs[i].data);
    free(corpus.inputs);
    return 0;
}
