/* SPDX-License-Identifier: Apache-2.0
 *
 * test_tensor_file.c - a folder's manifest that is cut, bent or points elsewhere is refused with
 * the file and the field; a tensor of another shape with its name.
 */
#include "tests/support/unit.h"

#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "model/safetensors.h"
#include "model/tensor_file.h"
#include "tests/support/tmpdir.h"

#define DIGEST_OF_ABC "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static struct tmpdir folder;

static int folder_make(void **state) {
    (void)state;
    tmpdir_init(&folder);
    return 0;
}

static int folder_remove(void **state) {
    (void)state;
    tmpdir_free(&folder);
    return 0;
}

static void write_text(const char *name, struct span text) {
    struct error err;
    ASSERT_OK(file_write(tmpdir_path(&folder, name), &text, 1, &err), err);
}

static enum status check(const char *manifest, struct error *err) {
    struct json_value *json = NULL;
    write_text("manifest.json", span_of(manifest));
    enum status status = folder_digests_check(folder.path, "manifest.json", &json, NULL, err);
    if (status == STATUS_OK) { json_free(json); }
    return status;
}

static void a_manifest_names_files_and_their_digests(void **state) {
    (void)state;
    struct error err;
    write_text("a.bin", span_of("abc"));
    ASSERT_OK(check("{\"files\":{\"a.bin\":\"" DIGEST_OF_ABC "\"}}", &err), err);
}

static void hostile_manifests_are_refused_with_file_and_field(void **state) {
    (void)state;
    static const struct {
        const char *manifest;
        const char *file, *words;
    } cases[] = {
        {"", "manifest.json", "empty"},
        {"{\"files\":{\"a.bin\":\"" DIGEST_OF_ABC, "manifest.json", "JSON line 1"},
        {"[]", "manifest.json", "field 'files' is not an object"},
        {"{\"files\":7}", "manifest.json", "field 'files' is not an object"},
        {"{\"files\":{\"a.bin\":7}}", "manifest.json", "field 'files': 'a.bin'"},
        {"{\"files\":{\"a.bin\":\"00\"}}", "manifest.json", "field 'files': 'a.bin'"},
        {"{\"files\":{\"a.bin\":"
         "\"za7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015a\"}}",
         "manifest.json", "64 hexadecimal digits"},
        {"{\"files\":{\"../a.bin\":\"" DIGEST_OF_ABC "\"}}", "manifest.json", "'../a.bin'"},
        {"{\"files\":{\"/etc/passwd\":\"" DIGEST_OF_ABC "\"}}", "manifest.json", "'/etc/passwd'"},
        {"{\"files\":{\".\":\"" DIGEST_OF_ABC "\"}}", "manifest.json", "plain file name"},
        {"{\"files\":{\"b.bin\":\"" DIGEST_OF_ABC "\"}}", "'b.bin'", "missing"},
        {"{\"files\":{\"c.bin\":\"" DIGEST_OF_ABC "\"}}", "'c.bin'", "another SHA-256"},
        {"{\"files\":{\"a.bin\":\"" DIGEST_OF_ABC "\",\"a.bin\":\"" DIGEST_OF_ABC "\"}}",
         "manifest.json", "duplicate"},
    };
    write_text("a.bin", span_of("abc"));
    write_text("c.bin", span_of("abd"));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err = {.text = ""};
        enum status status = check(cases[i].manifest, &err);
        assert_true(status == STATUS_CORRUPT);
        ASSERT_CONTAINS(err.text, folder.path);
        ASSERT_CONTAINS(err.text, cases[i].file);
        ASSERT_CONTAINS(err.text, cases[i].words);
    }
}

static void a_tensor_of_another_shape_or_kind_is_named(void **state) {
    (void)state;
    struct error err;
    struct tensor_list list = {.count = 0};
    struct safetensors *file = NULL;
    const float values[6] = {1, 2, 3, 4, 5, 6};
    float copy[6] = {0};
    tensor_list_add(&list, "a", ".weight", "F32", 2, 3, values);
    ASSERT_OK(tensor_list_write(&list, folder.path, "t.safetensors", &err), err);
    tensor_list_free(&list);
    ASSERT_OK(safetensors_open(tmpdir_path(&folder, "t.safetensors"), &file, &err), err);

    ASSERT_OK(tensor_file_copy(file, "a", ".weight", "F32", 2, 3, copy, &err), err);
    assert_memory_equal(copy, values, sizeof values);
    assert_int_equal(tensor_file_rows(file, "a.weight"), 2);
    assert_int_equal(tensor_file_rows(file, "b"), -1);
    memset(copy, 0, sizeof copy);
    ASSERT_STATUS(tensor_file_copy(file, "a", ".weight", "F32", 3, 2, copy, &err), STATUS_CORRUPT);
    ASSERT_CONTAINS(err.text, "tensor 'a.weight' is F32 (2, 3), expected F32 (3, 2)");
    ASSERT_STATUS(tensor_file_copy(file, "a", ".weight", "F64", 2, 3, copy, &err), STATUS_CORRUPT);
    ASSERT_CONTAINS(err.text, "expected F64 (2, 3)");
    ASSERT_STATUS(tensor_file_copy(file, "a", "", "F32", 2, 3, copy, &err), STATUS_CORRUPT);
    ASSERT_CONTAINS(err.text, "tensor 'a' is missing");
    assert_true(copy[0] == 0.0f); /* written only on success */
    safetensors_close(file);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_manifest_names_files_and_their_digests),
        cmocka_unit_test(hostile_manifests_are_refused_with_file_and_field),
        cmocka_unit_test(a_tensor_of_another_shape_or_kind_is_named),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
