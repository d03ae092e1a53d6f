/* SPDX-License-Identifier: Apache-2.0
 *
 * test_safetensors.c - tensors written come back; the same tensors give the same bytes; hostile
 * headers are refused with the tensor's name.
 */
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "base/bytes.h"
#include "base/fault.h"
#include "base/file.h"
#include "model/safetensors.h"
#include "tests/support/tmpdir.h"

static struct tmpdir folder; /* of this program; made by the group's setup */

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

static const float a_values[6] = {1, 2, 3, 4, 5, 6};
static const uint8_t b_values[3] = {7, 8, 9};

static const struct safetensors_entry two_entries[2] = {
    {.name = "b", .dtype = "U8", .shape = {3}, .dims = 1, .data = b_values, .bytes = 3},
    {.name = "a", .dtype = "F32", .shape = {2, 3}, .dims = 2, .data = a_values, .bytes = 24},
};

static void tensors_written_come_back_sorted_by_name(void **state) {
    (void)state;
    struct error err;
    struct safetensors *file = NULL;
    const char *const metadata[2][2] = {{"z", "1"}, {"format", "pt"}};
    const char *path = tmpdir_path(&folder, "two.safetensors");

    ASSERT_OK(safetensors_write(path, two_entries, 2, metadata, 2, &err), err);
    ASSERT_OK(safetensors_open(path, &file, &err), err);

    assert_int_equal(safetensors_count(file), 2);
    assert_string_equal(safetensors_at(file, 0)->name, "a");
    const struct safetensors_entry *a = safetensors_find(file, "a");
    assert_non_null(a);
    assert_int_equal(a->dims, 2);
    assert_int_equal(a->shape[0], 2);
    assert_int_equal(a->shape[1], 3);
    assert_memory_equal(a->data, a_values, sizeof a_values);
    assert_memory_equal(safetensors_find(file, "b")->data, b_values, sizeof b_values);
    assert_null(safetensors_find(file, "c"));
    safetensors_close(file);
}

static void order_of_entries_does_not_change_the_bytes(void **state) {
    (void)state;
    struct error err;
    const char *path[2] = {tmpdir_path(&folder, "x"), tmpdir_path(&folder, "y")};
    struct buffer bytes[2] = {{0}, {0}};
    const struct safetensors_entry turned[2] = {two_entries[1], two_entries[0]};

    ASSERT_OK(safetensors_write(path[0], two_entries, 2, NULL, 0, &err), err);
    ASSERT_OK(safetensors_write(path[1], turned, 2, NULL, 0, &err), err);

    for (int i = 0; i < 2; i++) {
        ASSERT_OK(file_read(path[i], 1u << 16, &bytes[i], &err), err);
    }
    assert_true(span_equal(buffer_span(&bytes[0]), buffer_span(&bytes[1])));
    assert_int_equal(get_u64le(bytes[0].data) % 8, 0); /* the data begins aligned */
    buffer_free(&bytes[0]);
    buffer_free(&bytes[1]);
}

static void no_tensors_make_a_valid_file(void **state) {
    (void)state;
    struct error err;
    struct safetensors *file = NULL;
    const char *path = tmpdir_path(&folder, "none");
    ASSERT_OK(safetensors_write(path, NULL, 0, NULL, 0, &err), err);
    ASSERT_OK(safetensors_open(path, &file, &err), err);
    assert_int_equal(safetensors_count(file), 0);
    assert_null(safetensors_find(file, "a"));
    safetensors_close(file);
}

#define ENTRY(name, dtype, shape, offsets) \
    "\"" name "\":{\"dtype\":\"" dtype "\",\"shape\":" shape ",\"data_offsets\":" offsets "}"

/* A file of this header and `data` bytes of data. */
static enum status open_header(const char *header, size_t data, struct error *err) {
    struct safetensors *file = NULL;
    size_t size = strlen(header);
    uint8_t *bytes = calloc(1, 8 + size + data);
    assert_non_null(bytes);
    put_u64le(bytes, size);
    memcpy(bytes + 8, header, size);
    enum status status = safetensors_open_bytes(span_make(bytes, 8 + size + data), &file, err);
    if (status == STATUS_OK) { safetensors_close(file); }
    free(bytes);
    return status;
}

/* Each says the tensor and the field. */
static void hostile_headers_are_refused_with_tensor_and_field(void **state) {
    (void)state;
    static const struct {
        const char *header;
        size_t data;
        const char *tensor, *field;
    } cases[] = {
        /* offsets that do not lie in the file, or do not fit dtype and shape */
        {"{" ENTRY("a", "F32", "[2]", "[0,8]") "}", 7, "'a'", "'data_offsets' is [0, 8]"},
        {"{" ENTRY("a", "F32", "[2]", "[0,4]") "}", 4, "'a'", "'data_offsets' holds 4 bytes"},
        {"{" ENTRY("a", "F32", "[1]", "[-4,0]") "}", 4, "'a'", "'data_offsets' is [-4, 0]"},
        {"{" ENTRY("a", "F32", "[1]", "[4,0]") "}", 4, "'a'", "'data_offsets' is [4, 0]"},
        {"{" ENTRY("a", "F32", "[1]", "[0]") "}", 4, "'a'", "'data_offsets' is not two"},
        {"{" ENTRY("a", "F32", "[1]", "{\"x\":0,\"y\":4}") "}", 4, "'a'", "'data_offsets' is not"},
        {"{" ENTRY("a", "F32", "[1]", "[0,9223372036854775807]") "}", 4, "'a'", "'data_offsets'"},
        {"{" ENTRY("a", "F32", "[1]", "[9223372036854775804,9223372036854775807]") "}", 4, "'a'",
         "'data_offsets'"},
        /* holes and overlaps */
        {"{" ENTRY("a", "F32", "[2]", "[4,12]") "}", 12, "'a'", "'data_offsets' begins at 4"},
        {"{" ENTRY("a", "F32", "[1]", "[0,4]") "," ENTRY("b", "F32", "[1]", "[0,4]") "}", 4, "'b'",
         "'data_offsets' begins at 0, expected 4: it overlaps tensor 'a'"},
        {"{" ENTRY("a", "F32", "[2]", "[0,8]") "," ENTRY("b", "F32", "[1]", "[4,8]") "}", 8, "'b'",
         "overlaps tensor 'a'"},
        {"{" ENTRY("a", "F32", "[1]", "[0,4]") "," ENTRY("b", "F32", "[1]", "[8,12]") "}", 12,
         "'b'", "leaves a hole behind tensor 'a'"},
        {"{" ENTRY("a", "F32", "[1]", "[0,4]") "}", 5, "1 bytes of data", "no tensor"},
        /* dtype */
        {"{" ENTRY("a", "Q9", "[1]", "[0,4]") "}", 4, "'a'", "'dtype' is 'Q9'"},
        {"{" ENTRY("a", "", "[1]", "[0,4]") "}", 4, "'a'", "'dtype' is ''"},
        {"{" ENTRY("a", "F32\\u0000", "[1]", "[0,4]") "}", 4, "'a'", "'dtype'"},
        {"{" ENTRY("a", "a dtype of many letters", "[1]", "[0,4]") "}", 4, "'a'", "'dtype'"},
        {"{\"a\":{\"shape\":[1],\"data_offsets\":[0,4]}}", 4, "'a'", "'dtype' is missing"},
        /* shape: sizes that are none, that overflow, or ask for more than there is */
        {"{" ENTRY("a", "F32", "[-1]", "[0,4]") "}", 4, "'a'", "'shape'"},
        {"{" ENTRY("a", "F32", "[1.5]", "[0,4]") "}", 4, "'a'", "'shape'"},
        {"{" ENTRY("a", "F32", "[\"1\"]", "[0,4]") "}", 4, "'a'", "'shape'"},
        {"{" ENTRY("a", "F32", "[4611686018427387904,4]", "[0,0]") "}", 0, "'a'", "'shape'"},
        {"{" ENTRY("a", "F32", "[4294967296,4294967296]", "[0,0]") "}", 0, "'a'", "'shape'"},
        {"{" ENTRY("a", "F32", "[1,1,1,1,1]", "[0,4]") "}", 4, "'a'", "'shape'"},
        {"{" ENTRY("a", "F32", "{}", "[0,4]") "}", 4, "'a'", "'shape'"},
        {"{" ENTRY("a", "F32", "[0]", "[0,4]") "}", 4, "'a'", "'data_offsets' holds 4 bytes"},
        /* names */
        {"{" ENTRY("a", "F32", "[1]", "[0,4]") "," ENTRY("a", "F32", "[1]", "[0,4]") "}", 4,
         "\"a\"", "duplicate"},
        {"{" ENTRY("", "F32", "[1]", "[0,4]") "}", 4, "''", "name has 0 bytes"},
        /* the header itself */
        {"{\"a\":7}", 0, "'a'", "not an object"},
        {"[]", 0, "header", "not an object"},
        {"{\"a\":", 0, "header", "JSON line 1"},
        {"{\"a", 0, "header", "JSON line 1"},
        {"{\"a\xff\":{}}", 0, "header", "JSON line 1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err = {.text = ""};
        ASSERT_STATUS(open_header(cases[i].header, cases[i].data, &err), STATUS_CONFIG);
        ASSERT_CONTAINS(err.text, cases[i].tensor);
        ASSERT_CONTAINS(err.text, cases[i].field);
    }
}

static void a_tensor_without_values_is_legal(void **state) {
    (void)state;
    struct error err = {.text = ""};
    ASSERT_OK(open_header("{" ENTRY("a", "F32", "[0,4611686018427387904]", "[0,0]") "}", 0, &err),
              err);
    ASSERT_OK(
        open_header("{" ENTRY("a", "F32", "[0]", "[0,0]") "," ENTRY("b", "U8", "[2]", "[0,2]") "}",
                    2, &err),
        err);
}

static void a_name_of_any_length_is_cut_in_the_message(void **state) {
    (void)state;
    struct error err = {.text = ""};
    char header[4096];
    char name[2000];
    memset(name, 'x', sizeof name - 1);
    name[sizeof name - 1] = '\0';
    (void)snprintf(header, sizeof header, "{\"%s\":{}}", name);
    ASSERT_STATUS(open_header(header, 0, &err), STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, "'xxxxxxxx");
    ASSERT_CONTAINS(err.text, "1999 bytes");
}

/* A header of `unit` many times over; seconds of the processor until it is refused. */
static double time_to_refuse(const char *unit, size_t times, const char *words) {
    struct error err = {.text = ""};
    struct timespec begin;
    struct timespec end;
    size_t size = strlen(unit);
    char *header = malloc(times * size + 2);
    assert_non_null(header);
    header[0] = '{';
    for (size_t i = 0; i < times; i++) {
        memcpy(header + 1 + i * size, unit, size);
    }
    header[1 + times * size] = '\0';
    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin), 0);
    ASSERT_STATUS(open_header(header, 0, &err), STATUS_CONFIG);
    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end), 0);
    free(header);
    ASSERT_CONTAINS(err.text, words);
    return (double)(end.tv_sec - begin.tv_sec) + 1e-9 * (double)(end.tv_nsec - begin.tv_nsec);
}

static void a_million_tensors_are_refused_within_a_second(void **state) {
    (void)state;
    const char *entry = ENTRY("a", "F32", "[1]", "[0,4]") ",";
    assert_true(time_to_refuse(entry, 1000000, "header size") < 1.0);             /* 56 MB */
    assert_true(time_to_refuse(entry, 250000, "more than 1769472 values") < 1.0); /* 14 MB */
    assert_true(time_to_refuse("\"a\":[", 2500000, "deeper than 64") < 1.0);
    assert_true(time_to_refuse("\"a\":0,", 300000, "duplicate") < 1.0);
}

static void json_nested_too_deep_is_refused(void **state) {
    (void)state;
    struct error err;
    char header[4096];
    memset(header, '[', sizeof header - 1);
    header[sizeof header - 1] = '\0';
    ASSERT_STATUS(open_header(header, 0, &err), STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, "deep");
}

static void a_header_size_beyond_the_file_is_refused(void **state) {
    (void)state;
    struct error err;
    struct safetensors *file = NULL;
    uint8_t bytes[10] = {0};
    const uint64_t sizes[] = {0, 1, 3, 1u << 30, UINT64_MAX};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        put_u64le(bytes, sizes[i]);
        ASSERT_STATUS(safetensors_open_bytes(span_make(bytes, sizeof bytes), &file, &err),
                      STATUS_CONFIG);
    }
    ASSERT_STATUS(safetensors_open_bytes(span_make(bytes, 7), &file, &err), STATUS_CONFIG);
}

/* Every allocation failed once, reading and writing: NO_MEMORY and nothing left behind. */
static void a_failing_allocation_is_reported(void **state) {
    (void)state;
    struct error err;
    const char *const metadata[1][2] = {{"k", "v"}};
    const char *path = tmpdir_path(&folder, "swept");
    for (long nth = 1;; nth++) {
        struct safetensors *file = NULL;
        fault_arm(FAULT_MEMORY, nth);
        enum status status = safetensors_write(path, two_entries, 2, metadata, 1, &err);
        if (status == STATUS_OK) { status = safetensors_open(path, &file, &err); }
        bool fired = fault_fired(FAULT_MEMORY);
        fault_arm(FAULT_MEMORY, 0);
        if (!fired) {
            ASSERT_STATUS(status, STATUS_OK);
            safetensors_close(file);
            break;
        }
        ASSERT_STATUS(status, STATUS_NO_MEMORY);
    }
}

static void a_failing_write_is_reported_with_the_path(void **state) {
    (void)state;
    struct error err;
    const char *path = tmpdir_path(&folder, "unwritten");
    fault_arm(FAULT_FILE, 2);
    enum status status = safetensors_write(path, two_entries, 2, NULL, 0, &err);
    fault_arm(FAULT_FILE, 0);
    ASSERT_STATUS(status, STATUS_IO);
    ASSERT_CONTAINS(err.text, "unwritten");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tensors_written_come_back_sorted_by_name),
        cmocka_unit_test(order_of_entries_does_not_change_the_bytes),
        cmocka_unit_test(no_tensors_make_a_valid_file),
        cmocka_unit_test(hostile_headers_are_refused_with_tensor_and_field),
        cmocka_unit_test(a_tensor_without_values_is_legal),
        cmocka_unit_test(a_name_of_any_length_is_cut_in_the_message),
        cmocka_unit_test(a_million_tensors_are_refused_within_a_second),
        cmocka_unit_test(json_nested_too_deep_is_refused),
        cmocka_unit_test(a_header_size_beyond_the_file_is_refused),
        cmocka_unit_test(a_failing_allocation_is_reported),
        cmocka_unit_test(a_failing_write_is_reported_with_the_path),
    };
    return cmocka_run_group_tests(tests, folder_make, folder_remove);
}
