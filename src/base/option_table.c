/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Every provider option with its type, default, bounds, run-time behaviour and help (spec 09 section 4).
 * Sorted by name: wsrep_provider_options shows them in this order.
 */
#include "base/options.h"

#include <string.h>

#define R XB_FLAG_READ_ONLY
#define X XB_FLAG_DEPRECATED
#define B XB_FLAG_BOOL
#define I XB_FLAG_INTEGER
#define D XB_FLAG_DOUBLE
#define ANY 1, 0 /* no bounds */
#define INT64_HIGH 9223372036854775807.0
#define INT32_HIGH 2147483647

#define STRING(name, value, dynamic, flags, help)                                                                      \
    { name, value, XB_OPTION_STRING, XB_OPTION_##dynamic, flags, false, ANY, help }
#define BOOL(name, value, dynamic, flags, help)                                                                        \
    { name, value, XB_OPTION_BOOL, XB_OPTION_##dynamic, flags, false, ANY, help }
#define INTEGER(name, value, dynamic, flags, low, high, help)                                                          \
    { name, value, XB_OPTION_INTEGER, XB_OPTION_##dynamic, flags, false, low, high, help }
#define SIZE(name, value, dynamic, flags, low, high, help)                                                             \
    { name, value, XB_OPTION_INTEGER_SUFFIX, XB_OPTION_##dynamic, flags, false, low, high, help }
#define DOUBLE(name, value, dynamic, flags, low, high, help)                                                           \
    { name, value, XB_OPTION_DOUBLE, XB_OPTION_##dynamic, flags, false, low, high, help }
#define PERIOD(name, value, dynamic, flags, low, high, help)                                                           \
    { name, value, XB_OPTION_PERIOD, XB_OPTION_##dynamic, flags, false, low, high, help }
#define HIDDEN(name, value, type, dynamic, flags, low, high, help)                                                     \
    { name, value, XB_OPTION_##type, XB_OPTION_##dynamic, flags, true, low, high, help }
#define PERIOD_HIGH 9e9

const struct xb_option_definition xb_option_table[] = {
    STRING("base_dir", ".", STORED, R, "directory of grastate.dat and gvwstate.dat"),
    STRING("base_host", NULL, STORED, R, "own host where ist.recv_addr does not say it"),
    INTEGER("base_port", "4567", STORED, R | I, 0, 65535, "port of group communication; IST uses the next one"),
    HIDDEN("cert.length_check", NULL, INTEGER_SUFFIX, FIXED, I, 0, INT32_HIGH,
           "how often the index length is checked; must be equal on all nodes"),
    BOOL("cert.log_conflicts", "no", DYNAMIC, B, "log details of failed certifications"),
    HIDDEN("cert.max_length", NULL, INTEGER_SUFFIX, FIXED, I, 0, INT32_HIGH,
           "purge threshold of the certification index; must be equal on all nodes"),
    BOOL("cert.optimistic_pa", "yes", DYNAMIC, B, "apply in parallel as far as the keys allow"),
    BOOL("debug", "no", DYNAMIC, B, "write debug lines to the log"),
    INTEGER("evs.auto_evict", "0", DYNAMIC, R | B, 0, 4294967295.0, "delayed reports that lead to eviction; 0 = off"),
    PERIOD("evs.causal_keepalive_period", NULL, DYNAMIC, D, 0, PERIOD_HIGH,
           "how long a causal read may lean on the last round"),
    {"evs.debug_log_mask", "0x1", XB_OPTION_MASK, XB_OPTION_DYNAMIC, 0, false, ANY, "what EVS logs at debug level"},
    PERIOD("evs.delay_margin", "PT1S", DYNAMIC, D, 0, PERIOD_HIGH,
           "response delay beyond which a node counts as delayed"),
    PERIOD("evs.delayed_keep_period", "PT30S", DYNAMIC, D, 0, PERIOD_HIGH,
           "how long a delayed node must respond to be forgiven"),
    {"evs.evict", NULL, XB_OPTION_STRING, XB_OPTION_TRIGGER, 0, false, ANY,
     "UUID of a node to evict; empty: clear the list"},
    PERIOD("evs.inactive_check_period", "PT0.5S", FIXED, D, 0, PERIOD_HIGH, "how often peers are checked"),
    PERIOD("evs.inactive_timeout", "PT15S", DYNAMIC, D, 0.1, PERIOD_HIGH,
           "silence until a node is dropped in any case"),
    {"evs.info_log_mask", "0", XB_OPTION_MASK, XB_OPTION_DYNAMIC, 0, false, ANY,
     "what EVS logs at info level; 4 adds statistics"},
    PERIOD("evs.install_timeout", NULL, DYNAMIC, D, 0.1, PERIOD_HIGH,
           "time for a membership change before it starts over"),
    PERIOD("evs.join_retrans_period", "PT1S", DYNAMIC, D, 0.1, PERIOD_HIGH, "repetition of JOIN messages"),
    PERIOD("evs.keepalive_period", "PT1S", DYNAMIC, D, 0.1, PERIOD_HIGH, "how often a node shows that it lives"),
    INTEGER("evs.max_install_timeouts", "3", DYNAMIC, I, 0, INT32_HIGH - 1, "membership attempts before giving up"),
    INTEGER("evs.send_window", "4", DYNAMIC, I, 1, INT64_HIGH, "messages in flight a node, replication included"),
    PERIOD("evs.stats_report_period", "PT1M", DYNAMIC, D, 1, PERIOD_HIGH, "period of the EVS statistics"),
    PERIOD("evs.suspect_timeout", "PT5S", DYNAMIC, D, 0.1, PERIOD_HIGH, "silence until a node is suspected"),
    BOOL("evs.use_aggregate", "true", DYNAMIC, B, "pack small messages together"),
    INTEGER("evs.user_send_window", "2", DYNAMIC, I, 1, INT64_HIGH, "messages in flight a node, of the application"),
    INTEGER("evs.version", "1", DYNAMIC, R, 0, 1, "highest EVS version offered"),
    PERIOD("evs.view_forget_timeout", "PT24H", FIXED, D | R, 1, PERIOD_HIGH,
           "how long past views and evictions are remembered"),
    STRING("gcache.dir", "", FIXED, R, "directory of the history; empty: base_dir"),
    SIZE("gcache.keep_pages_size", "0", DYNAMIC, I, 0, INT64_HIGH, "size of history pages to keep"),
    SIZE("gcache.mem_size", "0", DYNAMIC, I, 0, INT64_HIGH, "size of the history in memory"),
    STRING("gcache.name", "galera.cache", FIXED, R, "file of the history ring"),
    SIZE("gcache.page_size", "128M", DYNAMIC, I, 0, INT64_HIGH, "least size of a history page"),
    HIDDEN("gcache.reader_limit", NULL, INTEGER_SUFFIX, DYNAMIC, I, 0, INT64_HIGH,
           "ours: size of history pages kept for joiners before the slowest is let down; 0: nine tenths of the disk"),
    BOOL("gcache.recover", "yes", FIXED, R | B, "recover the history at start"),
    SIZE("gcache.size", "128M", FIXED, R | I, 0, INT64_HIGH, "size of the history ring"),
    STRING("gcomm.thread_prio", "", FIXED, 0, "scheduling of the group thread: other, fifo:N, rr:N"),
    SIZE("gcs.fc_debug", "0", DYNAMIC, I, 0, INT64_HIGH, "no effect"),
    DOUBLE("gcs.fc_factor", "1.0", DYNAMIC, D, 0, 1, "resume at this fraction of the upper limit"),
    SIZE("gcs.fc_limit", "16", DYNAMIC, I, 0, INT64_HIGH, "length of the receive queue that stops replication"),
    BOOL("gcs.fc_master_slave", "no", FIXED, X | B, "old name of gcs.fc_single_primary"),
    BOOL("gcs.fc_single_primary", "no", FIXED, R | B, "do not scale gcs.fc_limit with the number of nodes"),
    SIZE("gcs.max_packet_size", "64500", FIXED, I, 0, INT32_HIGH, "upper bound of a group message"),
    DOUBLE("gcs.max_throttle", "0.25", DYNAMIC, D, 0, 0.999999999, "least rate while a state transfer runs"),
    SIZE("gcs.recv_q_hard_limit", "9223372036854775807", DYNAMIC, I, 1, INT64_HIGH,
         "bytes queued in a state transfer before it is given up"),
    DOUBLE("gcs.recv_q_soft_limit", "0.25", DYNAMIC, D, 0, 0.999999999,
           "part of the hard limit at which throttling begins"),
    BOOL("gcs.stateless", NULL, FIXED, R | B, "this node holds no state"),
    BOOL("gcs.sync_donor", "no", DYNAMIC, B, "a donor takes part in flow control"),
    SIZE("gcs.vote_policy", NULL, FIXED, R | I, 0, 254, "inconsistency votes: 0 majority, n: n successes win"),
    STRING("gmcast.group", NULL, FIXED, R, "name of the cluster"),
    HIDDEN("gmcast.isolate", NULL, INTEGER, TRIGGER, I, 0, 2,
           "1: cut all connections, 0: connect again, 2: leave by force"),
    STRING("gmcast.listen_addr", NULL, FIXED, R, "address of group communication"),
    STRING("gmcast.mcast_addr", "", FIXED, R, "UDP multicast: must be empty"),
    HIDDEN("gmcast.mcast_port", NULL, STRING, FIXED, R | I, 1, 0, "UDP multicast: no effect"),
    INTEGER("gmcast.mcast_ttl", "1", FIXED, R | I, 1, 255, "UDP multicast: no effect"),
    HIDDEN("gmcast.mira", NULL, INTEGER, DYNAMIC, I, 0, INT32_HIGH, "dial attempts for an address learnt from a peer"),
    {"gmcast.peer_addr", NULL, XB_OPTION_STRING, XB_OPTION_TRIGGER, 0, false, 1, 0,
     "add:ssl://host:port or del:ssl://host:port"},
    PERIOD("gmcast.peer_timeout", "PT3S", FIXED, R | D, 0.1, PERIOD_HIGH, "silence until a connection is dropped"),
    INTEGER("gmcast.segment", "0", FIXED, R | I, 0, 254, "data centre of this node"),
    PERIOD("gmcast.time_wait", "PT5S", FIXED, R | D, 0, PERIOD_HIGH, "how long a node that left is not dialled"),
    INTEGER("gmcast.version", "0", FIXED, R, 0, 0, "gmcast protocol: there is 0 only"),
    HIDDEN("ist.donate_to", NULL, STRING, DYNAMIC, 0, 1, 0,
           "ours: hosts to which this node may be asked to stream, comma separated; members: those of the group; "
           "empty: all"),
    HIDDEN("ist.keep_keys", NULL, BOOL, FIXED, R | B, 1, 0, "ignored, keys are always sent: joiners need them"),
    STRING("ist.recv_addr", NULL, FIXED, R, "address told to the donor"),
    STRING("ist.recv_bind", NULL, FIXED, R, "address to listen on for a donor"),
    PERIOD("pc.announce_timeout", "PT3S", FIXED, R | D, 0, PERIOD_HIGH,
           "how long to look for peers before being alone"),
    {"pc.bootstrap", NULL, XB_OPTION_STRING, XB_OPTION_TRIGGER, B, false, ANY, "make this component primary"},
    BOOL("pc.checksum", "false", FIXED, B, "checksum in PC messages"),
    BOOL("pc.ignore_quorum", "false", DYNAMIC, B, "stay primary without quorum: data will diverge"),
    BOOL("pc.ignore_sb", "false", DYNAMIC, B, "stay primary in a split brain: data will diverge"),
    PERIOD("pc.linger", "PT20S", FIXED, R | D, 0, PERIOD_HIGH, "how long a leaving node serves the others"),
    BOOL("pc.npvo", "false", FIXED, B, "of two primary components the newer one wins"),
    BOOL("pc.recovery", "true", FIXED, R | B, "restore the last primary view after a crash of all nodes"),
    STRING("pc.version", "0", FIXED, R, "no effect"),
    BOOL("pc.wait_prim", "true", FIXED, R | B, "wait for a primary component at start"),
    PERIOD("pc.wait_prim_timeout", "PT30S", FIXED, R | D, 0, PERIOD_HIGH, "how long to wait for it"),
    INTEGER("pc.weight", "1", DYNAMIC, I, 0, 255, "weight of this node in quorum"),
    STRING("protonet.backend", "asio", FIXED, R | X, "no effect"),
    INTEGER("protonet.version", "0", FIXED, R | X, 0, 0, "no effect"),
    PERIOD("repl.causal_read_timeout", "PT30S", DYNAMIC, D, 0, PERIOD_HIGH, "limit of a causal wait"),
    INTEGER("repl.commit_order", "3", FIXED, 0, 3, 3, "3: in order, which MariaDB needs"),
    STRING("repl.key_format", "FLAT8", DYNAMIC, 0, "FLAT8, FLAT8A, FLAT16 or FLAT16A"),
    INTEGER("repl.max_ws_size", "2147483647", DYNAMIC, I, 0, INT32_HIGH, "limit of a write set"),
    INTEGER("repl.proto_max", "11", STORED, 0, 10, 11, "highest replication protocol offered"),
    INTEGER("socket.checksum", "2", FIXED, R | I, 0, 2, "datagrams: 0 none, 1 CRC-32, 2 CRC-32C"),
    BOOL("socket.dynamic", NULL, FIXED, R | B, "accept plaintext peers beside TLS ones, for the switch to TLS only"),
    HIDDEN("socket.non_blocking", NULL, STRING, FIXED, 0, 1, 0, "no effect"),
    {"socket.recv_buf_size", "auto", XB_OPTION_AUTO_SIZE, XB_OPTION_STORED, 0, false, 0, INT32_HIGH,
     "SO_RCVBUF, auto or bytes"},
    {"socket.send_buf_size", "auto", XB_OPTION_AUTO_SIZE, XB_OPTION_FIXED, 0, false, 0, INT32_HIGH,
     "SO_SNDBUF, auto or bytes"},
    BOOL("socket.ssl", NULL, FIXED, R | B, "TLS for group communication and IST"),
    HIDDEN("socket.ssl_allowed_peers", NULL, STRING, DYNAMIC, 0, 1, 0,
           "ours: common names, alternative names or SHA-256 fingerprints of the peers let in; comma separated"),
    HIDDEN("socket.ssl_any_purpose", NULL, BOOL, DYNAMIC, B, 1, 0,
           "ours: let peers in whatever their extended key usage says"),
    HIDDEN("socket.ssl_auto", NULL, BOOL, FIXED, R | B, 1, 0,
           "ours: TLS with ca.pem, server-cert.pem and server-key.pem of base_dir, or no start"),
    STRING("socket.ssl_ca", NULL, FIXED, R, "PEM file of the trusted certificate authorities"),
    STRING("socket.ssl_cert", NULL, FIXED, R, "PEM file of the certificate, then its intermediates"),
    STRING("socket.ssl_cipher", NULL, FIXED, R, "OpenSSL cipher list of TLS 1.2"),
    HIDDEN("socket.ssl_ciphersuites", NULL, STRING, DYNAMIC, 0, 1, 0, "ours: OpenSSL cipher suites of TLS 1.3"),
    BOOL("socket.ssl_compression", NULL, FIXED, R | X | B, "no effect"),
    HIDDEN("socket.ssl_crl", NULL, STRING, DYNAMIC, 0, 1, 0, "ours: PEM file of the CA's revocation list"),
    STRING("socket.ssl_key", NULL, FIXED, R, "PEM file of the private key"),
    HIDDEN("socket.ssl_min_version", NULL, STRING, DYNAMIC, 0, 1, 0, "ours: TLSv1.2 (the default) or TLSv1.3"),
    STRING("socket.ssl_password_file", NULL, FIXED, R, "file whose first line is the password of the key"),
    {"socket.ssl_reload", NULL, XB_OPTION_BOOL, XB_OPTION_TRIGGER, B, false, ANY, "read the certificate files again"},
    HIDDEN("socket.ssl_verify_peer_name", NULL, STRING, DYNAMIC, 0, 1, 0,
           "ours: names one of which a peer's certificate must have, comma separated; address: the one it comes from"),
    HIDDEN("socket.ssl_watch", NULL, BOOL, DYNAMIC, B, 1, 0, "ours: read the certificate files again when they change"),
};

const size_t xb_option_count = sizeof(xb_option_table) / sizeof(xb_option_table[0]);

const struct xb_option_definition *xb_option_find(const char *name) {
    size_t low = 0, high = xb_option_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        int order = strcmp(name, xb_option_table[middle].name);
        if (order == 0) return &xb_option_table[middle];
        if (order < 0)
            high = middle;
        else
            low = middle + 1;
    }
    return NULL;
}
