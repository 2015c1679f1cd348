/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * HANDSHAKE_RESPONSE: the dialler's answer: who it is, where it listens, which group it wants (spec 02 section 8). The
 * acceptor answers OK, or FAIL and closes.
 */
#include "gmcast/address.h"
#include "gmcast/messages.h"

void mesh_handshake_response_write(struct xb_writer *w, uint8_t segment, const struct xb_uuid *source,
                                   const struct xb_uuid *handshake, const char *address, const char *group) {
    mesh_write_header(w, WIRE_HANDSHAKE_RESPONSE, WIRE_HANDSHAKE_UUID | WIRE_ADDRESS | WIRE_GROUP, segment, source);
    xb_write_uuid(w, handshake);
    mesh_write_text(w, address, WIRE_ADDRESS_SIZE);
    mesh_write_text(w, group, GMCAST_GROUP_MAX);
}

void mesh_handshake_response_send(struct gmcast *mesh, struct mesh_link *link) {
    const struct gmcast_config *config = &mesh->config;
    struct xb_writer w;
    struct xb_buf *buf = mesh_new_buf(HANDSHAKE_RESPONSE_SIZE, &w);
    if (buf)
        mesh_handshake_response_write(&w, config->segment, &config->uuid, &link->handshake, config->listen_address,
                                      config->group);
    mesh_link_send(mesh, link, buf, config->segment, false);
}

/* "printable" keeps a hostile name from forging log lines. */
static void make_printable(char *text) {
    for (; *text; text++)
        if (*text < ' ' || *text > '~') *text = '?';
}

static void refuse(struct gmcast *mesh, struct mesh_link *link, const char *text) {
    mesh_fail_send(mesh, link, text);
    mesh_link_fail(mesh, link, "refused: %s", text);
}

void mesh_handshake_response_receive(struct gmcast *mesh, struct mesh_link *link, const struct wire_message *message) {
    if (link->state != LINK_HS_SENT) {
        mesh_link_violate(mesh, link, "unexpected HANDSHAKE_RESPONSE");
        return;
    }
    char group[GMCAST_GROUP_MAX + 1], advertised[GMCAST_ADDRESS_SIZE], address[GMCAST_ADDRESS_SIZE];
    mesh_read_text(message->group, GMCAST_GROUP_MAX, group);
    if (strcmp(group, mesh->config.group)) {
        make_printable(group);
        mesh_link_tell(mesh, link, "it belongs to the group '%s' and this node to '%s': compare wsrep_cluster_name",
                       group, mesh->config.group);
        refuse(mesh, link, FAIL_GROUP);
        return;
    }
    /* The stock acceptor does not compare the returned UUID; every dialler returns it unchanged (section 7.4). */
    if (xb_uuid_is_nil(&message->source) || !xb_uuid_equal(&message->handshake, &link->handshake)) {
        mesh_link_violate(mesh, link, "HANDSHAKE_RESPONSE to another handshake, or without node UUID");
        return;
    }
    /* Of the advertised address only the port counts; the host is where the connection came from. */
    mesh_read_text(message->address, WIRE_ADDRESS_SIZE, advertised);
    unsigned port = mesh_address_port(advertised);
    if (!port || mesh_address_compose(address, link->host, port, mesh->config.is_tls)) {
        refuse(mesh, link, FAIL_ADDRESS);
        return;
    }
    link->peer = message->source;
    link->segment = message->segment;
    memcpy(link->address, address, sizeof(address));
    if (mesh_is_evicted(mesh, &link->peer)) {
        refuse(mesh, link, FAIL_EVICTED);
        return;
    }
    if (!mesh_identity_check(mesh, link)) return;
    mesh_ok_send(mesh, link, false);
    mesh_establish(mesh, link);
}
