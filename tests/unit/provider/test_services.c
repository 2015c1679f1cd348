/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Services between server and provider: events, parameters, node isolation. MariaDB 10.11 uses the last one only. */
#include "group.h"

#include "base/uuid.h"
#include "support/certs.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

/* ---- events ---- */

static _Atomic(int) progress[5][5], evictions, strange_events;

static void on_event(void *ctx, const char *name, const char *json) {
    int from, to;
    int64_t total, done;
    CHECK(ctx == &progress);
    if (!strcmp(name, "progress") &&
        sscanf(json, "{ \"from\": %d, \"to\": %d, \"total\": %ld, \"done\": %ld, \"undefined\": -1 }", &from, &to,
               &total, &done) == 4 &&
        from >= 0 && from <= 4 && to >= 0 && to <= 4 && done <= total)
        atomic_fetch_add(&progress[from][to], 1);
    else if (!strcmp(name, "event") && !strncmp(json, "{\"status\": \"evicted\", \"message\": \"", 34))
        atomic_fetch_add(&evictions, 1);
    else
        atomic_fetch_add(&strange_events, 1);
}

static void test_events_of_progress(void **state) {
    struct abi_event_v1 service = {on_event, &progress};
    unsigned seed = 1;
    (void)state;
    assert_int_equal(wsrep_init_event_service_v1(&service), 0);
    service = (struct abi_event_v1){NULL, NULL}; /* it was the caller's */
    start_nodes(2);
    fake_stop(&nodes[1]);
    for (int i = 0; i < 100; i++) assert_int_equal(fake_add(&nodes[0], &seed, i % 60, 1, 1), 0);
    assert_int_equal(fake_start(&nodes[1], group_addresses, false, ""), 0);
    assert_true(fake_wait_synced(&nodes[1], 200));
    stop_nodes(2);
    wsrep_deinit_event_service_v1();
    int before = atomic_load(&progress[0][0]);
    assert_true(before > 0);                       /* the history is looked through */
    assert_true(atomic_load(&progress[1][3]) > 0); /* an increment comes */
    assert_true(atomic_load(&progress[3][4]) > 0); /* what came meanwhile is worked off */
    assert_int_equal(atomic_load(&strange_events), 0);
    start_nodes(1);
    stop_nodes(1);
    assert_int_equal(atomic_load(&progress[0][0]), before);
}

/* Three nodes, since who is evicted hears of it from a primary component; with TLS, since it believes nobody else. */
static void test_event_of_an_eviction(void **state) {
    struct abi_event_v1 service = {on_event, &progress};
    struct certs certs;
    char tls[256], option[64];
    struct xb_uuid uuid;
    (void)state;
    certs_init(&certs);
    certs_make(&certs, "ca", &(struct cert_wish){.is_ca = true});
    certs_make(&certs, "node", &(struct cert_wish){.issuer = "ca"});
    snprintf(tls, sizeof(tls), "socket.ssl_ca=%s;socket.ssl_cert=%s;socket.ssl_key=%s", certs_path(&certs, "ca.crt"),
             certs_path(&certs, "node.crt"), certs_path(&certs, "node.key"));
    assert_int_equal(wsrep_init_event_service_v1(&service), 0);
    init_nodes(3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(fake_start(&nodes[i], i ? group_addresses : "", i == 0, tls), 0);
        assert_true(fake_wait_synced(&nodes[i], 200));
    }
    memcpy(&uuid, &nodes[1].uuid, sizeof(uuid));
    snprintf(option, sizeof(option), "evs.evict=%s", XB_UUID_TEXT(&uuid));
    assert_int_equal(nodes[0].t.options_set(&nodes[0].t, option), 0);
    assert_true(fake_wait_final(&nodes[1], 200));
    stop_nodes(3);
    wsrep_deinit_event_service_v1();
    certs_clean(&certs);
    assert_int_equal(atomic_load(&evictions), 1);
    assert_int_equal(atomic_load(&strange_events), 0);
}

/* ---- parameters ---- */

struct parameters {
    char last[64];
    int count, stop_at, odd;
};

static void look_at(struct parameters *seen, const struct abi_parameter *p) {
    int type = p->flags & (ABI_PARAMETER_BOOL | ABI_PARAMETER_INTEGER | ABI_PARAMETER_DOUBLE);
    if (!strcmp(p->name, "cert.log_conflicts")) seen->odd += type != ABI_PARAMETER_BOOL || p->value.boolean;
    if (!strcmp(p->name, "cert.optimistic_pa")) seen->odd += type != ABI_PARAMETER_BOOL || !p->value.boolean;
    if (!strcmp(p->name, "gcache.size")) seen->odd += type != ABI_PARAMETER_INTEGER || p->value.integer != 4 << 20;
    if (!strcmp(p->name, "gcs.fc_factor")) seen->odd += type != ABI_PARAMETER_DOUBLE || p->value.dbl != 1;
    if (!strcmp(p->name, "evs.suspect_timeout")) seen->odd += type != ABI_PARAMETER_DOUBLE || p->value.dbl != 2;
    if (!strcmp(p->name, "gcache.name")) seen->odd += type || strcmp(p->value.string, "galera.cache");
    if (!strcmp(p->name, "socket.ssl_ca")) seen->odd += type || strcmp(p->value.string, "");
    if (!strcmp(p->name, "gcs.fc_master_slave")) seen->odd += !(p->flags & ABI_PARAMETER_DEPRECATED);
    if (!strcmp(p->name, "gcache.recover")) seen->odd += !(p->flags & ABI_PARAMETER_READ_ONLY);
    if (!strcmp(p->name, "gmcast.isolate")) seen->odd++; /* hidden */
}

static int visit(const struct abi_parameter *p, void *context) {
    struct parameters *seen = context;
    if (strcmp(p->name, seen->last) <= 0) seen->odd++;
    snprintf(seen->last, sizeof(seen->last), "%s", p->name);
    look_at(seen, p);
    return ++seen->count == seen->stop_at;
}

/* A server that knows the parameters warns of deprecated ones itself. */
static void test_parameters(void **state) {
    struct abi_config_v1 service = {NULL};
    struct parameters all = {.count = 0}, some = {.stop_at = 3};
    struct abi_table none = {.ctx = NULL};
    static const char *const option = "gcs.fc_master_slave=no";
    (void)state;
    atomic_store(&fake_wanted_line, "gcs.fc_master_slave");
    atomic_store(&fake_wanted_lines, 0);
    assert_int_equal(wsrep_init_config_service_v1(&service), 0);
    for (int round = 0; round < 2; round++) {
        init_nodes(1);
        assert_int_equal(fake_start(&nodes[0], "", true, option), 0);
        assert_true(fake_wait_synced(&nodes[0], 200));
        if (!round) {
            assert_int_equal(service.get_parameters(&nodes[0].t, visit, &all), 0);
            assert_int_equal(all.count, 88);
            assert_int_equal(all.odd, 0);
            assert_int_equal(service.get_parameters(&nodes[0].t, visit, &some), 8);
            assert_int_equal(some.count, 3);
            assert_int_equal(service.get_parameters(&none, visit, &some), 8);
            wsrep_deinit_config_service_v1();
        }
        stop_nodes(1);
        assert_int_equal(atomic_load(&fake_wanted_lines) > 0, round);
    }
    atomic_store(&fake_wanted_line, NULL);
}

/* ---- isolation: of the whole process, so of both nodes ---- */

static void test_isolation(void **state) {
    unsigned seed = 1;
    (void)state;
    assert_int_equal(wsrep_node_isolation_mode_set_v1(-1), 1);
    assert_int_equal(wsrep_node_isolation_mode_set_v1(3), 1);
    start_nodes(2);
    assert_int_equal(wsrep_node_isolation_mode_set_v1(ABI_ISOLATION_ISOLATED), 0);
    for (int i = 0; i < 2; i++) assert_true(fake_wait_view(&nodes[i], false, 1, 200));
    assert_int_equal(fake_add(&nodes[0], &seed, 1, 1, 5), 1047);
    assert_int_equal(wsrep_node_isolation_mode_set_v1(ABI_ISOLATION_NONE), 0);
    for (int i = 0; i < 2; i++) assert_true(fake_wait_view(&nodes[i], true, 2, 200));
    for (int i = 0; i < 2; i++) assert_true(fake_wait_synced(&nodes[i], 200));
    assert_int_equal(fake_add(&nodes[0], &seed, 1, 1, 5), 0);
    assert_equal_nodes(2);
    assert_int_equal(wsrep_node_isolation_mode_set_v1(ABI_ISOLATION_DISCONNECT), 0);
    for (int i = 0; i < 2; i++) assert_true(fake_wait_final(&nodes[i], 200));
    assert_int_equal(wsrep_node_isolation_mode_set_v1(ABI_ISOLATION_NONE), 0);
    stop_nodes(2);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_events_of_progress),
        cmocka_unit_test(test_event_of_an_eviction),
        cmocka_unit_test(test_parameters),
        cmocka_unit_test(test_isolation),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
