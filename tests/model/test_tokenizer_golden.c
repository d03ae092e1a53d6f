/* SPDX-License-Identifier: Apache-2.0
 *
 * test_tokenizer_golden.c - token ids equal those of Hugging Face `tokenizers`, from golden files.
 *
 * tests/reference/tokenizer_make_golden.py makes the files and says what is in them. Arguments:
 * their paths.
 */
#include "tests/support/unit.h"

#include <stdio.h>

#include "base/file.h"
#include "base/json.h"
#include "model/tokenizer_parts.h"

#define GOLDEN_BYTES_MAX (1u << 20)
#define IDS_MAX          4096

static struct tokenizer *open_variant(const struct json_value *variant, struct span model) {
    struct error err;
    struct span head;
    struct span tail;
    struct buffer text = {0};
    struct tokenizer_parts parts = {0};
    struct tokenizer *tokenizer = NULL;
    assert_true(json_string(json_member(variant, "head"), &head));
    assert_true(json_string(json_member(variant, "tail"), &tail));
    assert_int_equal(buffer_append(&text, head.data, head.size), STATUS_OK);
    assert_int_equal(buffer_append(&text, model.data, model.size), STATUS_OK);
    assert_int_equal(buffer_append(&text, tail.data, tail.size), STATUS_OK);

    ASSERT_OK(tokenizer_parts_of_json(buffer_span(&text), &parts, &err), err);
    ASSERT_OK(tokenizer_of_parts(&parts, &tokenizer, &err), err);
    buffer_free(&text);
    return tokenizer;
}

static void check_case(const struct tokenizer *tokenizer, struct span name, size_t index,
                       const struct json_value *pair) {
    static int32_t ids[IDS_MAX];
    struct error err;
    struct span text;
    int count = -1;
    assert_true(json_string(json_element(pair, 0), &text));
    const struct json_value *expected = json_element(pair, 1);

    ASSERT_OK(tokenizer_encode(tokenizer, text, ids, IDS_MAX, &count, &err), err);

    for (size_t i = 0; i < json_size(expected) && i < (size_t)count; i++) {
        int64_t id = -1;
        assert_true(json_integer(json_element(expected, i), &id));
        if (id != ids[i]) {
            fail_msg("variant %.*s, text %zu: id %zu is %d, expected %lld", SPAN_ARG(name), index,
                     i, ids[i], (long long)id);
        }
    }
    assert_int_equal(count, json_size(expected));
}

static void check_file(const char *path) {
    struct error err;
    struct buffer text = {0};
    struct json_value *golden = NULL;
    struct span model;
    ASSERT_OK(file_read(path, GOLDEN_BYTES_MAX, &text, &err), err);
    ASSERT_OK(json_parse(buffer_span(&text), &golden, &err), err);
    assert_true(json_string(json_member(golden, "model"), &model));
    const struct json_value *variants = json_member(golden, "variants");
    assert_true(json_size(variants) > 0);

    size_t cases_seen = 0;
    for (size_t v = 0; v < json_size(variants); v++) {
        const struct json_value *variant = json_element(variants, v);
        struct span name;
        assert_true(json_string(json_member(variant, "name"), &name));
        struct tokenizer *tokenizer = open_variant(variant, model);
        const struct json_value *cases = json_member(variant, "cases");
        for (size_t i = 0; i < json_size(cases); i++) {
            check_case(tokenizer, name, i, json_element(cases, i));
            cases_seen++;
        }
        tokenizer_close(tokenizer);
    }
    assert_true(cases_seen > 50);
    json_free(golden);
    buffer_free(&text);
}

static const char *const *golden_paths; /* set once by main, before any test runs */

static void ids_equal_those_of_tokenizers_for_bytes(void **state) {
    (void)state;
    check_file(golden_paths[1]);
}

static void ids_equal_those_of_tokenizers_for_characters(void **state) {
    (void)state;
    check_file(golden_paths[2]);
}

int main(int argc, char **argv) {
    if (argc != 3) {
        (void)fprintf(stderr, "usage: %s tokenizer_bytes.json tokenizer_chars.json\n", argv[0]);
        return 64;
    }
    golden_paths = (const char *const *)argv;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_equal_those_of_tokenizers_for_bytes),
        cmocka_unit_test(ids_equal_those_of_tokenizers_for_characters),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
