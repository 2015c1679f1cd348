/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reading and writing of every message type: stock captures, the examples of spec 02 section 19, malformed bytes. */
#include "virtual_net.h"

#include "support/vectors.h"

#include <errno.h>
#include <string.h>

/* Decodes a message and writes it again from what was decoded. -> bytes written */
static size_t rewrite(const struct wire_message *m, uint8_t *out, size_t out_size) {
    struct xb_writer w = xb_writer_init(out, out_size);
    char text[WIRE_ADDRESS_SIZE + 1], group[GMCAST_GROUP_MAX + 1];
    mesh_read_text(m->address, WIRE_ADDRESS_SIZE, text);
    mesh_read_text(m->group, GMCAST_GROUP_MAX, group);
    struct mesh_node *nodes = NULL;
    struct xb_error error;
    switch (m->type) {
    case WIRE_HANDSHAKE:
        mesh_handshake_write(&w, m->segment, &m->source, &m->handshake);
        break;
    case WIRE_HANDSHAKE_RESPONSE:
        mesh_handshake_response_write(&w, m->segment, &m->source, &m->handshake, text, group);
        break;
    case WIRE_OK:
        mesh_ok_write(&w, m->segment, &m->source);
        break;
    case WIRE_FAIL:
        mesh_fail_write(&w, m->segment, &m->source, text);
        break;
    case WIRE_TOPOLOGY_CHANGE: {
        int count = mesh_topology_change_read(m, &nodes, &error);
        assert_true(count >= 0);
        mesh_topology_change_write(&w, &m->source, group, nodes, (size_t)count);
        free(nodes);
        break;
    }
    case WIRE_KEEPALIVE:
        mesh_keepalive_write(&w, m->segment, &m->source);
        break;
    case WIRE_USER:
        mesh_user_write_header(&w, m->flags, m->segment, &m->source);
        xb_write_bytes(&w, m->payload, m->payload_size);
        break;
    }
    assert_true(xb_writer_ok(&w));
    return w.used;
}

/* A copy in memory of exactly its size, so that the sanitizer sees every read past it. */
static int read_exactly(struct wire_message *m, const uint8_t *body, size_t size, uint8_t **copy) {
    struct xb_error error = {0};
    *copy = malloc(size ? size : 1);
    assert_non_null(*copy);
    if (size) memcpy(*copy, body, size);
    int rc = mesh_read_message(m, *copy, size, &error);
    assert_true(rc == 0 || (rc == -EPROTO && error.text[0]));
    return rc;
}

static void test_captures(void **state) {
    static uint8_t out[DATAGRAM_BODY_MAX];
    unsigned seen[16] = {0};
    struct vectors vectors = vectors_load("gmcast");
    struct vector v;
    while (vectors_next(&vectors, &v)) {
        const uint8_t *body;
        size_t size;
        struct xb_error error;
        assert_int_equal(datagram_parse(v.data, v.size, &body, &size, &error), v.size);
        struct wire_message m;
        assert_int_equal(mesh_read_message(&m, body, size, &error), 0);
        assert_int_equal(rewrite(&m, out, sizeof(out)), size);
        assert_memory_equal(out, body, size);
        seen[m.type]++;
    }
    free(vectors.bytes);
    assert_true(seen[WIRE_HANDSHAKE] && seen[WIRE_HANDSHAKE_RESPONSE] && seen[WIRE_OK]);
    assert_true(seen[WIRE_TOPOLOGY_CHANGE] && seen[WIRE_USER]);
}

/* Cut anywhere, a message is either refused or (cut behind its last field) still complete. */
static void test_truncated(void **state) {
    unsigned left[16] = {[1] = 4, [2] = 4, [3] = 4, [5] = 20, [8] = 20};
    struct vectors vectors = vectors_load("gmcast");
    struct vector v;
    while (vectors_next(&vectors, &v)) {
        const uint8_t *body = v.data + DATAGRAM_HEADER_SIZE;
        size_t size = v.size - DATAGRAM_HEADER_SIZE;
        if (!left[body[1]] || !left[body[1]]--) continue;
        for (size_t cut = 0; cut < size; cut++) {
            struct wire_message m;
            uint8_t *copy;
            int rc = read_exactly(&m, body, cut, &copy);
            assert_int_equal(rc, body[1] == WIRE_USER && cut >= GMCAST_HEADER_SIZE ? 0 : -EPROTO);
            free(copy);
        }
    }
    free(vectors.bytes);
}

/* Every bit of the header and every byte value anywhere: no crash, and what is accepted can be written. */
static void test_mutated(void **state) {
    static uint8_t out[DATAGRAM_BODY_MAX];
    struct xb_random random;
    xb_random_seed(&random, 1);
    struct vectors vectors = vectors_load("gmcast");
    struct vector v;
    while (vectors_next(&vectors, &v)) {
        size_t size = v.size - DATAGRAM_HEADER_SIZE;
        if (size > 2000) continue;
        for (int round = 0; round < 20; round++) {
            uint8_t body[2000];
            memcpy(body, v.data + DATAGRAM_HEADER_SIZE, size);
            size_t at = round < 10 ? xb_random_below(&random, size < 60 ? size : 60) : xb_random_below(&random, size);
            body[at] = (uint8_t)xb_random_u64(&random);
            struct wire_message m;
            uint8_t *copy;
            struct mesh_node *nodes = NULL;
            struct xb_error error;
            if (read_exactly(&m, body, size, &copy) == 0) {
                if (m.type == WIRE_TOPOLOGY_CHANGE && mesh_topology_change_read(&m, &nodes, &error) >= 0) free(nodes);
                if (m.type != WIRE_TOPOLOGY_CHANGE) rewrite(&m, out, sizeof(out));
            }
            free(copy);
        }
    }
    free(vectors.bytes);
}

static void expect_refused(const uint8_t *body, size_t size) {
    struct wire_message m;
    uint8_t *copy;
    assert_int_equal(read_exactly(&m, body, size, &copy), -EPROTO);
    free(copy);
}

static void test_header_fields(void **state) {
    uint8_t body[GMCAST_HEADER_SIZE] = {0, WIRE_OK};
    struct wire_message m;
    uint8_t *copy;
    for (unsigned type = 0; type <= 255; type++) {
        body[1] = (uint8_t)type;
        bool is_known = (type >= 1 && type <= 6) || type == 8;
        assert_int_equal(read_exactly(&m, body, sizeof(body), &copy), is_known ? 0 : -EPROTO);
        free(copy);
    }
    body[1] = WIRE_OK;
    for (unsigned version = 1; version <= 255; version++) {
        body[0] = (uint8_t)version;
        expect_refused(body, sizeof(body));
    }
    body[0] = 0;
    body[2] = 0x80 | 0x02; /* no field belongs to these */
    assert_int_equal(read_exactly(&m, body, sizeof(body), &copy), 0);
    free(copy);
}

static void test_node_counts(void **state) {
    uint8_t body[GMCAST_HEADER_SIZE + 4 + WIRE_NODE_SIZE] = {0, WIRE_TOPOLOGY_CHANGE, WIRE_NODES};
    uint8_t *count = body + GMCAST_HEADER_SIZE;
    uint32_t counts[] = {2, 0x01bacf91 /* times 148 is small in 32 bits */, 0x7fffffff, 0x80000000, 0xffffffff};
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
        xb_store_le(count, counts[i], 4);
        expect_refused(body, sizeof(body));
    }
}

static struct xb_uuid uuid_of(uint8_t byte) {
    struct xb_uuid uuid;
    memset(uuid.bytes, byte, sizeof(uuid.bytes));
    return uuid;
}

static int read_list(const struct mesh_node *nodes, size_t count, struct mesh_node **list) {
    uint8_t body[TOPOLOGY_CHANGE_SIZE(4)];
    struct xb_writer w = xb_writer_init(body, sizeof(body));
    struct xb_uuid source = uuid_of(9);
    mesh_topology_change_write(&w, &source, "lab", nodes, count);
    assert_true(xb_writer_ok(&w));
    struct wire_message m;
    uint8_t *copy;
    struct xb_error error;
    assert_int_equal(read_exactly(&m, body, w.used, &copy), 0);
    int rc = mesh_topology_change_read(&m, list, &error);
    free(copy);
    return rc;
}

static void test_lists(void **state) {
    struct mesh_node nodes[4] = {{uuid_of(3), "tcp://10.0.0.3:1"},
                                 {uuid_of(1), "ssl://[::1]:65535"},
                                 {uuid_of(2), "tcp://name.example:4567"},
                                 {uuid_of(4), "tcp://0.0.0.0:4567"}};
    struct mesh_node *list;
    assert_int_equal(read_list(nodes, 4, &list), 4);
    for (uint8_t i = 0; i < 4; i++) assert_int_equal(list[i].uuid.bytes[0], i + 1); /* sorted */
    assert_string_equal(list[0].address, "ssl://[::1]:65535");
    free(list);
    assert_int_equal(read_list(nodes, 0, &list), 0);
    free(list);

    nodes[3].uuid = uuid_of(1);
    assert_int_equal(read_list(nodes, 4, &list), -EPROTO); /* twice */
    nodes[3].uuid = xb_uuid_nil;
    assert_int_equal(read_list(nodes, 4, &list), -EPROTO);
    nodes[3].uuid = uuid_of(4);
    const char *bad[] = {"",
                         "10.0.0.4:4567",
                         "tcp://10.0.0.4",
                         "tcp://:4567",
                         "tcp://10.0.0.4:",
                         "tcp://10.0.0.4:0",
                         "tcp://10.0.0.4:65536",
                         "tcp://10.0.0.4:99999999999",
                         "udp://10.0.0.4:4567",
                         "tcp://",
                         "tcp://10.0.0.4:45x",
                         "tcp://::1:4567",
                         "tcp://[]:4567",
                         "tcp://[::1:4567",
                         "tcp://[::1]4567",
                         "://10.0.0.4:4567",
                         "tcp://[::1]"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        memset(nodes[3].address, 0, sizeof(nodes[3].address));
        strcpy(nodes[3].address, bad[i]);
        assert_int_equal(read_list(nodes, 4, &list), -EPROTO);
    }
}

/* A text that fills its field has no NUL on the wire. */
static void test_full_texts(void **state) {
    uint8_t body[HANDSHAKE_RESPONSE_SIZE];
    struct xb_writer w = xb_writer_init(body, sizeof(body));
    char address[WIRE_ADDRESS_SIZE + 1], group[GMCAST_GROUP_MAX + 1];
    memset(address, 'a', WIRE_ADDRESS_SIZE);
    memset(group, 'g', GMCAST_GROUP_MAX);
    address[WIRE_ADDRESS_SIZE] = group[GMCAST_GROUP_MAX] = 0;
    struct xb_uuid source = uuid_of(1), handshake = uuid_of(2);
    mesh_handshake_response_write(&w, 7, &source, &handshake, address, group);
    assert_int_equal(w.used, sizeof(body));
    struct wire_message m;
    struct xb_error error;
    assert_int_equal(mesh_read_message(&m, body, sizeof(body), &error), 0);
    char text[WIRE_ADDRESS_SIZE + 1];
    assert_string_equal(mesh_read_text(m.address, WIRE_ADDRESS_SIZE, text), address);
    assert_string_equal(mesh_read_text(m.group, GMCAST_GROUP_MAX, text), group);
    assert_int_equal(m.segment, 7);
    assert_true(xb_uuid_equal(&m.handshake, &handshake));
    assert_int_equal(m.payload_size, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_captures),      cmocka_unit_test(test_truncated),   cmocka_unit_test(test_mutated),
        cmocka_unit_test(test_header_fields), cmocka_unit_test(test_node_counts), cmocka_unit_test(test_lists),
        cmocka_unit_test(test_full_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
