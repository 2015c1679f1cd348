/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Texts that users write: wsrep_provider_options, single values, addresses, cluster addresses. */
#include "base/options.h"
#include "fuzz.h"
#include "gmcast/address.h"
#include "ist/ist.h"
#include "member/internal.h"
#include "net/address.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* What is shown at the end can be given at a start, and is then shown the same. */
static void try_options(const char *text) {
    struct xb_error error = {0};
    struct xb_options *options = xb_options_new(), *again = xb_options_new();
    int rc = xb_options_start(options, text, &error);
    fuzz_require(rc == 0 || error.text[0]);
    char *shown = xb_options_show(options);
    if (!rc) {
        if (xb_options_start(again, shown, &error)) fuzz_violated(error.text, shown, 0);
        char *shown_again = xb_options_show(again);
        fuzz_require(!strcmp(shown, shown_again));
        free(shown_again);
    }
    free(shown);
    xb_options_free(again);
    xb_options_free(options);
}

static void try_value(const char *text) {
    bool flag;
    int64_t number, again;
    double real;
    xb_parse_bool(text, &flag);
    xb_parse_integer(text, false, &number);
    xb_parse_integer(text, true, &number);
    xb_parse_double(text, &real);
    char shown[XB_PERIOD_TEXT_SIZE];
    if (!xb_parse_period(text, &number))
        fuzz_require(!xb_parse_period(xb_format_period(number, shown), &again) && again == number);
}

static void try_address(const char *text) {
    struct xb_error error = {0};
    struct net_uri uri;
    struct ist_address ist;
    char address[GMCAST_ADDRESS_SIZE], twice[GMCAST_ADDRESS_SIZE];
    if (!net_uri_parse(text, &uri)) fuzz_require(strlen(uri.host) < sizeof(uri.host) && uri.port <= 65535);
    if (ist_address_parse(&ist, text, &error)) fuzz_require(error.text[0]);
    if (!mesh_address_normalize(address, text, true)) {
        fuzz_require(!mesh_address_normalize(twice, address, true) && !strcmp(address, twice));
        mesh_address_port(address);
    }
}

static void try_cluster_address(const char *text) {
    static struct cluster_address address;
    struct xb_error error = {0};
    struct xb_options *options = xb_options_new();
    int rc = cluster_address_parse(&address, text, options, &error);
    fuzz_require(rc == 0 || error.text[0]);
    fuzz_require(address.host_count <= PEERS_MAX);
    xb_options_free(options);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    char *text = malloc(size + 1);
    if (size) memcpy(text, data, size);
    text[size] = 0;
    try_options(text);
    try_value(text);
    try_address(text);
    try_cluster_address(text);
    free(text);
    return 0;
}

void fuzz_seeds(fuzz_take *take, void *ctx) {
    static const char *const texts[] = {"",
                                        "gcache.size = 128M; gcs.fc_limit=100;",
                                        "pc.weight=3;evs.suspect_timeout=PT5S",
                                        "evs.inactive_timeout = P0Y0M1DT2H3M4.5S;gmcast.peer_timeout=1.5",
                                        "socket.ssl_key=/a/b;socket.ssl_cert=/c\\;d",
                                        "evs.debug_log_mask=0xff; evs.auto_evict=0",
                                        "repl.max_ws_size=2147483647;gcs.max_throttle=0.25",
                                        "gcache.size=0x1000;cert.log_conflicts=yes;pc.bootstrap=true",
                                        "a=b;;=;x",
                                        "gcs.fc_factor=1e-3",
                                        "true",
                                        "off",
                                        "PT0.5S",
                                        "P1Y2M3DT4H5M6.789S",
                                        "127.0.0.1:4567",
                                        "tcp://10.0.0.1:4567",
                                        "ssl://[::1]:4567",
                                        "[fe80::1%eth0]:1",
                                        "example.org",
                                        "gcomm://",
                                        "gcomm://10.0.0.1,host:4568,[::1]:4569?pc.wait_prim=no&evs.version=1#x",
                                        "gcomm://user@host/path?gmcast.segment=2",
                                        "gcomm://0.0.0.0",
                                        "9223372036854775807",
                                        "-1",
                                        "1T",
                                        "0x7fG",
                                        "017"};
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        take(ctx, (const uint8_t *)texts[i], strlen(texts[i]));
    struct xb_options *options = xb_options_new();
    char *shown = xb_options_show(options);
    take(ctx, (const uint8_t *)shown, strlen(shown));
    free(shown);
    xb_options_free(options);
    char text[256];
    for (size_t i = 0; i < xb_option_count; i++) {
        const struct xb_option_definition *option = &xb_option_table[i];
        int n = snprintf(text, sizeof(text), "%s=%s", option->name, option->default_text ? option->default_text : "1");
        take(ctx, (const uint8_t *)text, (size_t)n);
    }
}
