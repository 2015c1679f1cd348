/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is wrong, what it breaks, and what mends it: one rule each, and the list of those that were met. */
#ifndef XB_CLI_FINDING_H
#define XB_CLI_FINDING_H

#include "cli/cli.h"
#include "cli/json.h"

enum finding_level { FINDING_NOTE, FINDING_WARNING, FINDING_ERROR };

enum finding_rule {
    RULE_UNREADABLE,
    RULE_MISSING,
    RULE_KEY_UNFIT,
    RULE_KEY_ENCRYPTED,
    RULE_KEY_OPEN,
    RULE_KEY_OWNER,
    RULE_DIRECTORY_OPEN,
    RULE_CHAIN,
    RULE_SAME_NAME,
    RULE_SAME_COMMON_NAME,
    RULE_EXPIRED,
    RULE_EXPIRES_SOON,
    RULE_NOT_YET_VALID,
    RULE_NO_HOSTS,
    RULE_WRONG_HOST,
    RULE_NAME_UNFIT_FOR_SST,
    RULE_PURPOSE,
    RULE_CLIENT_PURPOSE,
    RULE_KEY_USAGE,
    RULE_NO_CA,
    RULE_LEAF_IS_CA,
    RULE_WEAK_KEY,
    RULE_WEAK_SIGNATURE,
    RULE_DH_REFUSED,
    RULE_DH_SMALL,
    RULE_CA_DIFFERS,
    RULE_UNREACHABLE,
    RULE_PLAINTEXT,
    RULE_NO_TLS,
    RULE_PLAINTEXT_TAKEN,
    RULE_OLD_TLS,
    RULE_ANONYMOUS,
    RULE_FOREIGN,
    RULE_EXPIRED_TAKEN,
    RULE_OWN_REFUSED,
    RULE_NO_SQL,
    RULE_ACCOUNT,
    RULE_GROUP_PLAINTEXT,
    RULE_CANARY,
    RULE_NOT_PROVEN,
    RULE_COUNT
};

struct finding {
    enum finding_rule rule;
    char *where, *text, *mend;
};

struct findings {
    const char *dir; /* stands for {dir} in what mends */
    struct finding *list;
    int count;
};

void findings_add(struct findings *findings, enum finding_rule rule, const char *where, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
int findings_count(const struct findings *findings, enum finding_level level);                   /* of that level */
const struct finding *findings_first(const struct findings *findings, enum finding_level level); /* NULL: none */
bool findings_has(const struct findings *findings, enum finding_rule rule);
void findings_print(const struct findings *findings, const struct cli_common *common);
void findings_json(const struct findings *findings, struct json *json); /* an array "findings" */

#endif
