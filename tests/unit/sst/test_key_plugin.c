/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The option file of a backup that is encrypted at rest, on a node whose keys lie elsewhere. */
#include "sst/key_plugin.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#define HEAD "[mysqld]\ninnodb_page_size=16384\nplugin_dir=\"/plugins/\"\n"
#define LOAD "plugin_load=file_key_management=file_key_management\n"

static char directory[] = "/tmp/xebec-key-plugin-XXXXXX", path[64], text[4096];

static int set_up(void **state) {
    assert_non_null(mkdtemp(directory));
    snprintf(path, sizeof(path), "%s/backup-my.cnf", directory);
    return 0;
}

static int tear_down(void **state) {
    unlink(path);
    return rmdir(directory);
}

static void write_backup(const char *content) {
    FILE *file = fopen(path, "we");
    assert_non_null(file);
    fputs(content, file);
    assert_int_equal(fclose(file), 0);
}

static const char *read_backup(void) {
    FILE *file = fopen(path, "re");
    assert_non_null(file);
    size_t size = fread(text, 1, sizeof(text) - 1, file);
    fclose(file);
    text[size] = '\0';
    return text;
}

/* -> what a node with these options says of the backup */
static int adopt(const char *own, char plugin[KEY_PLUGIN_NAME_SIZE], struct xb_error *error) {
    struct sst_options options = {.suffix = ""};
    *error = (struct xb_error){0};
    assert_int_equal(sst_options_parse(&options, "own", own, 0, error), 0);
    int rc = key_plugin_adopt(&options, directory, plugin, error);
    sst_options_free(&options);
    return rc;
}

static void test_own_options_take_their_place(void **state) {
    char plugin[KEY_PLUGIN_NAME_SIZE];
    struct xb_error error;
    write_backup(HEAD LOAD "file_key_management_filename=/donor/keys\nfile_key_management_filekey=FILE:/donor/key\n"
                           "innodb_encrypt_log=1\n");
    assert_int_equal(adopt("[mysqld]\nplugin-load-add=file_key_management.so\nport=1\n[mariadb]\n"
                           "loose_file_key_management_filename=\"/my \\\"keys\\\"\"\n",
                           plugin, &error),
                     0);
    assert_string_equal(plugin, "file_key_management");
    assert_string_equal(read_backup(),
                        HEAD LOAD "innodb_encrypt_log=1\nfile-key-management-filename=\"/my \\\"keys\\\"\"\n");
}

static void test_plugin_is_missing(void **state) {
    char plugin[KEY_PLUGIN_NAME_SIZE];
    struct xb_error error;
    write_backup(HEAD LOAD "file_key_management_filename=/donor/keys\n");
    assert_int_equal(adopt("[mysqld]\nport=1\n[sst]\nplugin-load-add=file_key_management\n", plugin, &error), -EINVAL);
    assert_non_null(strstr(error.text, "plugin_load_add=file_key_management"));
    assert_string_equal(read_backup(), HEAD LOAD "file_key_management_filename=/donor/keys\n");
}

static void test_backup_without_keys_stays(void **state) {
    char plugin[KEY_PLUGIN_NAME_SIZE];
    struct xb_error error;
    write_backup(HEAD);
    assert_int_equal(adopt("[mysqld]\nplugin-load-add=file_key_management\n", plugin, &error), 0);
    assert_string_equal(plugin, "");
    assert_string_equal(read_backup(), HEAD);
    unlink(path);
    assert_int_equal(adopt("", plugin, &error), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_own_options_take_their_place),
        cmocka_unit_test(test_plugin_is_missing),
        cmocka_unit_test(test_backup_without_keys_stays),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
