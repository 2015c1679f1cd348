/* SPDX-License-Identifier: GPL-2.0-or-later */
/* State transfer requests, as a donor gets them: the part of gcs, the container inside, the IST part inside that. */
#include "fuzz.h"
#include "gcs/messages.h"
#include "ist/ist.h"
#include "replicator/request.h"
#include "support/vectors.h"

#include <stdlib.h>

static void try_container(const uint8_t *data, size_t size) {
    struct state_container container;
    struct xb_error error = {0};
    int rc = state_container_decode(&container, data, size, &error);
    fuzz_require(rc == 0 || error.text[0]);
    if (rc) return;
    fuzz_require(!container.sst_size || (container.sst >= data && container.sst_size <= size));
    state_container_is_trivial(&container);
    struct ist_part part;
    struct ist_address address;
    if (!container.ist || ist_part_parse(&part, container.ist, &error)) return;
    ist_address_parse(&address, part.address, &error);
    char text[IST_PART_SIZE];
    struct ist_part again;
    if (!ist_part_format(&part, text)) fuzz_require(!ist_part_parse(&again, text, &error));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    uint8_t *bytes = fuzz_copy(data, size);
    struct gcs_request request;
    try_container(bytes, size);
    if (!gcs_request_read(&request, bytes, size)) {
        fuzz_require(request.body <= size && strlen(request.donors) < size);
        uint8_t *body = fuzz_copy(bytes + request.body, size - request.body);
        try_container(body, size - request.body);
        free(body);
    }
    free(bytes);
    return 0;
}

static void take_request(fuzz_take *take, void *ctx, const char *sst, const char *ist) {
    struct state_request request = {.donors = "a,b,",
                                    .history = {{1, 2, 3}},
                                    .last_applied = 77,
                                    .sst = sst,
                                    .sst_size = sst ? strlen(sst) + 1 : 0,
                                    .ist = ist};
    size_t size;
    uint8_t *bytes = state_request_encode(&request, &size);
    take(ctx, bytes, size);
    free(bytes);
}

void fuzz_seeds(fuzz_take *take, void *ctx) {
    take_request(take, ctx, "mariabackup\00010.0.0.1:4444/xtrabackup_sst//1", NULL);
    take_request(take, ctx, "trivial", "01020300-0000-0000-0000-000000000000:77-99|ssl://10.0.0.1:4568");
    take_request(take, ctx, NULL, "01020300-0000-0000-0000-000000000000:-1-99|tcp://[::1]:4568");
    /* Stock requests are actions of type 2 in one fragment. */
    struct vectors v = vectors_load("gcs");
    struct vector record;
    while (vectors_next(&v, &record)) {
        struct gcs_fragment fragment;
        if (record.size < 17 || record.data[0] != GCS_MSG_ACTION) continue;
        if (gcs_fragment_read(&fragment, record.data + 17, record.size - 17) || fragment.type != GCS_STATE_REQ)
            continue;
        take(ctx, fragment.data, fragment.size);
    }
    free(v.bytes);
}
