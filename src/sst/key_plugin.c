/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Works on the option file that mariadb-backup puts beside the data. */
#include "sst/key_plugin.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BACKUP_OPTIONS "backup-my.cnf"

/* plugin-load=NAME=LIBRARY */
static void name_of(const struct sst_options *backup, char plugin[KEY_PLUGIN_NAME_SIZE]) {
    const char *value = sst_options_get(backup, "mysqld", "plugin-load");
    snprintf(plugin, KEY_PLUGIN_NAME_SIZE, "%.*s", value ? (int)strcspn(value, "=;.") : 0, value ? value : "");
}

static bool is_loaded(const struct sst_options *own, const char *plugin) {
    size_t at = 0;
    const struct sst_option *o;
    while ((o = sst_options_next(own, "mysqld*", "plugin-load", &at)))
        if (strstr(o->value, plugin)) return true;
    return false;
}

static void write_own(FILE *file, const struct sst_options *own, const char *plugin) {
    char prefix[KEY_PLUGIN_NAME_SIZE];
    size_t at = 0;
    const struct sst_option *o;
    snprintf(prefix, sizeof(prefix), "%s", plugin);
    for (char *c = prefix; *c; c++)
        if (*c == '_') *c = '-'; /* as in all names of options */
    while ((o = sst_options_next(own, "mysqld*", prefix, &at))) {
        fprintf(file, "%s=\"", o->key);
        for (const char *c = o->value; *c; c++) fprintf(file, *c == '\\' || *c == '"' ? "\\%c" : "%c", *c);
        fprintf(file, "\"\n");
    }
}

/* The other lines stay to the letter: mariadb-backup reads some of them with a reader of its own. */
static int replace(const char *path, const struct sst_options *own, const char *plugin, struct xb_error *error) {
    char fresh_path[SST_PATH_SIZE + 8], line[SST_PATH_SIZE];
    snprintf(fresh_path, sizeof(fresh_path), "%s.new", path);
    FILE *old = fopen(path, "re"), *fresh = fopen(fresh_path, "we");
    int code = old && fresh ? 0 : errno;
    while (code == 0 && fgets(line, sizeof(line), old))
        if (strncmp(line, plugin, strlen(plugin))) fputs(line, fresh);
    if (code == 0) write_own(fresh, own, plugin);
    if (old) fclose(old);
    if (fresh && fclose(fresh) && code == 0) code = errno;
    if (code == 0 && rename(fresh_path, path)) code = errno;
    errno = code;
    return code ? xb_fail(error, -code, "cannot write '%s' anew: %m", path) : 0;
}

int key_plugin_adopt(const struct sst_options *own, const char *directory, char plugin[KEY_PLUGIN_NAME_SIZE],
                     struct xb_error *error) {
    char path[SST_PATH_SIZE];
    struct sst_options backup = {0};
    snprintf(path, sizeof(path), "%s/" BACKUP_OPTIONS, directory);
    plugin[0] = '\0';
    if (access(path, F_OK)) return 0; /* another engine's backup */
    int rc = sst_options_load(&backup, &(struct sst_option_files){.defaults_file = path}, error);
    if (rc == 0) name_of(&backup, plugin);
    if (rc == 0 && plugin[0] && !is_loaded(own, plugin))
        rc = xb_fail(error, -EINVAL,
                     "the donor's data is encrypted at rest with keys of the plugin %s, which this node does not load: "
                     "set plugin_load_add=%s and its options in [mysqld], with the same keys as on the donor",
                     plugin, plugin);
    if (rc == 0 && plugin[0]) rc = replace(path, own, plugin, error);
    sst_options_free(&backup);
    return rc;
}
