/* SPDX-License-Identifier: Apache-2.0
 *
 * test_gguf.c - the GGUF reader: what it reads, and that no cut or bent file gets past it.
 *
 * Argument: tests/reference/gguf_blocks.bin (gguf_make_golden.py).
 */
#include "tests/support/unit.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/file.h"
#include "model/checkpoint.h"
#include "model/gguf.h"
#include "model/gguf_dequant.h"
#include "tests/model/gguf_build.h"

static const char *golden_path; /* set once by main */

static void blocks_of_every_type_equal_the_reference_bit_for_bit(void **state) {
    (void)state;
    struct error err;
    struct buffer file = {0};
    int records = 0;
    ASSERT_OK(file_read(golden_path, 1u << 20, &file, &err), err);

    for (size_t at = 0; at < file.size; records++) {
        const uint8_t *p = file.data + at;
        uint32_t type = get_u32le(p);
        size_t bytes = get_u32le(p + 4);
        size_t values = get_u32le(p + 8);
        float decoded[1024];
        assert_true(values <= 1024);
        assert_int_equal(bytes * gguf_block_values(type), values * gguf_block_bytes(type));

        gguf_dequantise(type, p + 12, values, decoded);

        if (memcmp(decoded, p + 12 + bytes, 4 * values) != 0) {
            fail_msg("type %s differs", gguf_type_name(type));
        }
        at += 12 + bytes + 4 * values;
    }
    assert_int_equal(records, 11);
    buffer_free(&file);
}

static void entries_of_each_kind_come_back(void **state) {
    (void)state;
    struct error err;
    struct gguf *file = NULL;
    struct gguf_build build = {0};
    const char *texts[] = {"one", "", "three"};
    gguf_build_u32(&build, "a", 7);
    gguf_build_f32(&build, "b", 0.5f);
    gguf_build_bool(&build, "c", true);
    gguf_build_text(&build, "d", "text");
    gguf_build_texts(&build, "e", texts, 3);
    struct buffer bytes = gguf_build_finish(&build);

    ASSERT_OK(gguf_open_bytes(buffer_span(&bytes), &file, &err), err);

    int64_t integer = 0;
    double real = 0.0;
    bool truth = false;
    struct span text;
    size_t at = 0;
    assert_true(gguf_integer(gguf_find(file, "a"), &integer) && integer == 7);
    assert_true(gguf_real(gguf_find(file, "b"), &real) && real == 0.5);
    assert_true(gguf_bool(gguf_find(file, "c"), &truth) && truth);
    assert_true(gguf_string(gguf_find(file, "d"), &text) && span_equal(text, span_of("text")));
    for (int i = 0; i < 3; i++) {
        assert_true(gguf_next_string(gguf_find(file, "e"), &at, &text));
        assert_true(span_equal(text, span_of(texts[i])));
    }
    assert_false(gguf_next_string(gguf_find(file, "e"), &at, &text));
    assert_null(gguf_find(file, "f"));
    assert_false(gguf_integer(gguf_find(file, "b"), &integer));
    gguf_close(file);
    buffer_free(&bytes);
}

/* A file cut anywhere is refused, with a sentence; so every bound is checked somewhere. */
static void a_file_cut_at_any_byte_is_refused(void **state) {
    (void)state;
    struct error err;
    struct gguf_build build = {0};
    gguf_build_llama(&build);
    struct buffer bytes = gguf_build_finish(&build);

    for (size_t size = 0; size < bytes.size; size++) {
        struct gguf *file = NULL;
        uint8_t *exact = malloc(size + 1); /* its own piece, so that a sanitizer sees the end */
        assert_non_null(exact);
        memcpy(exact, bytes.data, size);
        err.text[0] = '\0';
        ASSERT_STATUS(gguf_open_bytes(span_make(exact, size), &file, &err), STATUS_CONFIG);
        assert_true(err.text[0] != '\0');
        free(exact);
    }
    buffer_free(&bytes);
}

/* Bits flipped one at a time: the file opens or is refused, and every tensor lies inside. */
static void a_flipped_bit_never_leads_outside_the_file(void **state) {
    (void)state;
    struct error err;
    struct gguf_build build = {0};
    gguf_build_llama(&build);
    struct buffer bytes = gguf_build_finish(&build);
    size_t head = bytes.size < 1600 ? bytes.size : 1600;

    for (size_t bit = 0; bit < 8 * head; bit++) {
        struct gguf *file = NULL;
        bytes.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
        enum status status = gguf_open_bytes(buffer_span(&bytes), &file, &err);
        for (size_t i = 0; status == STATUS_OK && i < gguf_tensor_count(file); i++) {
            const struct gguf_tensor *tensor = gguf_tensor_at(file, i);
            assert_true(tensor->bytes.data >= bytes.data);
            assert_true(tensor->bytes.size <=
                        (size_t)(bytes.data + bytes.size - tensor->bytes.data));
        }
        if (status == STATUS_OK) { gguf_close(file); }
        bytes.data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    buffer_free(&bytes);
}

static void counts_beyond_the_limits_are_refused_before_allocating(void **state) {
    (void)state;
    struct error err;
    struct gguf *file = NULL;
    uint8_t head[24] = {'G', 'G', 'U', 'F', 3};
    put_u64le(head + 8, UINT64_MAX);
    ASSERT_STATUS(gguf_open_bytes(span_make(head, sizeof head), &file, &err), STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, "tensor count");
    put_u64le(head + 8, 0);
    put_u64le(head + 16, 1u << 20);
    ASSERT_STATUS(gguf_open_bytes(span_make(head, sizeof head), &file, &err), STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, "metadata count");
    head[4] = 1;
    ASSERT_STATUS(gguf_open_bytes(span_make(head, sizeof head), &file, &err), STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, "version 1");
}

static double seconds(void) {
    struct timespec now;
    assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now), 0);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

/* Numbers of a Llama's file overwritten one at a time; each refusal says whose field it was. */
static void hostile_numbers_are_refused_with_tensor_and_field(void **state) {
    (void)state;
    static const struct {
        const char *near; /* bytes in the file that the number is counted from */
        size_t offset;    /* from their beginning */
        uint64_t number;
        int width;
        const char *whose, *field;
    } cases[] = {
        /* counts */
        {"GGUF", 4, 1, 4, "GGUF version 1", "2 or 3"},
        {"GGUF", 4, 0x03000000, 4, "GGUF version", "little-endian"},
        {"GGUF", 8, 1000000, 8, "tensor count 1000000", "above 65536"},
        {"GGUF", 8, UINT64_MAX, 8, "tensor count", "above 65536"},
        {"GGUF", 8, 60000, 8, "tensor count 60000", "a count is wrong"},
        {"GGUF", 16, 1ull << 62, 8, "metadata count", "above 4096"},
        {"GGUF", 16, 4000, 8, "metadata count 4000", "a count is wrong"},
        /* metadata: keys, kinds and strings without end */
        {"general.architecture", 20, 77, 4, "'general.architecture'", "kind is unknown"},
        {"general.architecture", 20, 9, 4, "'general.architecture'", "array"},
        {"general.architecture", 24, 1u << 30, 8, "'general.architecture'", "string is longer"},
        {"general.architecture", 24, UINT64_MAX, 8, "'general.architecture'", "string is longer"},
        {"llama.block_count", -8ull, UINT64_MAX, 8, "metadata entry 1", "key is longer"},
        {"llama.block_count", -8ull, 0, 8, "metadata entry 1", "key is empty"},
        /* one tensor's row: name, dimensions, sizes, type, offset */
        {"blk.0.ffn_norm", -8ull, 64, 8, "tensor 7 of the table", "'name'"},
        {"blk.0.ffn_norm", -8ull, 0, 8, "tensor 7 of the table", "'name'"},
        {"blk.0.ffn_norm", 0, 0, 4, "tensor 7 of the table", "'name'"},
        {"blk.0.ffn_norm", 21, 0, 4, "'blk.0.ffn_norm.weight'", "'dimensions' is 0"},
        {"blk.0.ffn_norm", 21, 5, 4, "'blk.0.ffn_norm.weight'", "'dimensions' is 5"},
        {"blk.0.ffn_norm", 25, 0, 8, "'blk.0.ffn_norm.weight'", "'sizes' is 0"},
        {"blk.0.ffn_norm", 25, 1ull << 31, 8, "'blk.0.ffn_norm.weight'", "'sizes' is 2147483648"},
        {"blk.0.ffn_norm", 25, UINT64_MAX, 8, "'blk.0.ffn_norm.weight'", "'sizes'"},
        {"blk.0.ffn_norm", 25, INT32_MAX, 8, "'blk.0.ffn_norm.weight'", "'offset'"},
        {"blk.0.ffn_norm", 33, 99, 4, "'blk.0.ffn_norm.weight'", "'type' is unknown (99)"},
        {"blk.0.ffn_norm", 33, 26, 4, "'blk.0.ffn_norm.weight'", "'type' is unknown (26)"},
        {"blk.0.ffn_norm", 33, 12, 4, "'blk.0.ffn_norm.weight'", "'sizes': rows of 16 values"},
        {"blk.0.ffn_norm", 37, 31, 8, "'blk.0.ffn_norm.weight'", "'offset' is 31, expected a mult"},
        {"blk.0.ffn_norm", 37, 1ull << 40, 8, "'blk.0.ffn_norm.weight'", "'offset' is 10995116277"},
        {"blk.0.ffn_norm", 37, UINT64_MAX - 31, 8, "'blk.0.ffn_norm.weight'", "'offset'"},
        {"blk.0.ffn_up", 23, INT32_MAX, 8, "'blk.0.ffn_up.weight'", "'offset'"},
        /* the same place twice, and a piece of another tensor */
        {"blk.0.ffn_norm", 37, 0, 8, "'blk.0.ffn_norm.weight'", "'token_embd.weight'"},
        {"blk.0.ffn_norm", 37, 64, 8, "'blk.0.ffn_norm.weight'", "lies inside tensor"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err = {.text = ""};
        struct gguf *file = NULL;
        struct gguf_build build = {0};
        uint8_t number[8];
        gguf_build_llama(&build);
        struct buffer bytes = gguf_build_finish(&build);
        uint8_t *at = memmem(bytes.data, bytes.size, cases[i].near, strlen(cases[i].near));
        assert_non_null(at);
        put_u64le(number, cases[i].number);
        memcpy(at + cases[i].offset, number, (size_t)cases[i].width);
        ASSERT_STATUS(gguf_open_bytes(buffer_span(&bytes), &file, &err), STATUS_CONFIG);
        ASSERT_CONTAINS(err.text, cases[i].whose);
        ASSERT_CONTAINS(err.text, cases[i].field);
        buffer_free(&bytes);
    }
}

static void keys_and_tensors_that_stand_twice_are_refused(void **state) {
    (void)state;
    struct error err = {.text = ""};
    struct gguf *file = NULL;
    struct gguf_build build = {0};
    const float values[16] = {0};
    gguf_build_llama(&build);
    gguf_build_tensor(&build, "blk.0.ffn_norm.weight", 0, 16, values);
    struct buffer bytes = gguf_build_finish(&build);
    ASSERT_STATUS(gguf_open_bytes(buffer_span(&bytes), &file, &err), STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, "tensor 'blk.0.ffn_norm.weight' is there twice");
    buffer_free(&bytes);

    gguf_build_llama(&build);
    gguf_build_u32(&build, "llama.block_count", 2);
    bytes = gguf_build_finish(&build);
    ASSERT_STATUS(gguf_open_bytes(buffer_span(&bytes), &file, &err), STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, "metadata 'llama.block_count' is there twice");
    buffer_free(&bytes);
}

/* A million rows, a million entries, sixteen million strings: refused or read within a second. */
static void the_largest_tables_take_less_than_a_second(void **state) {
    (void)state;
    struct error err = {.text = ""};
    struct gguf *file = NULL;
    uint8_t head[24] = {'G', 'G', 'U', 'F', 3};
    uint8_t row[64] = {0};
    struct buffer bytes = {0};
    double begin = seconds();
    put_u64le(head + 8, 65536);
    ASSERT_STATUS(buffer_append(&bytes, head, sizeof head), STATUS_OK);
    for (uint32_t i = 0; i < 65536; i++) { /* one value each, at its own place */
        char name[24];
        int length = snprintf(name, sizeof name, "t%05u", i * 40503u % 65536u);
        assert_int_equal(length, 6);
        put_u64le(row, 6);
        memcpy(row + 8, name, 6);
        put_u32le(row + 14, 1);
        put_u64le(row + 18, 1);
        put_u32le(row + 26, 0);
        put_u64le(row + 30, 32ull * (65535 - i));
        ASSERT_STATUS(buffer_append(&bytes, row, 38), STATUS_OK);
    }
    memset(row, 0, sizeof row);
    for (int i = 0; i < 65536 / 2 + 1; i++) {
        ASSERT_STATUS(buffer_append(&bytes, row, 64), STATUS_OK);
    }
    begin = seconds();
    ASSERT_OK(gguf_open_bytes(buffer_span(&bytes), &file, &err), err);
    assert_int_equal(gguf_tensor_count(file), 65536);
    assert_true(seconds() - begin < 1.0);
    gguf_close(file);

    put_u64le(bytes.data + 8, 1000000); /* a million of them */
    begin = seconds();
    ASSERT_STATUS(gguf_open_bytes(buffer_span(&bytes), &file, &err), STATUS_CONFIG);
    assert_true(seconds() - begin < 0.1);
    buffer_free(&bytes);
}

static void a_failing_allocation_is_reported_and_leaks_nothing(void **state) {
    (void)state;
    struct error err;
    struct gguf_build build = {0};
    gguf_build_llama(&build);
    struct buffer bytes = gguf_build_finish(&build);
    for (long nth = 1;; nth++) {
        struct gguf *file = NULL;
        fault_arm(FAULT_MEMORY, nth);
        enum status status = gguf_open_bytes(buffer_span(&bytes), &file, &err);
        bool fired = fault_fired(FAULT_MEMORY);
        fault_arm(FAULT_MEMORY, 0);
        if (!fired) {
            ASSERT_STATUS(status, STATUS_OK);
            gguf_close(file);
            break;
        }
        ASSERT_STATUS(status, STATUS_NO_MEMORY);
    }
    buffer_free(&bytes);
}

/* ---- as a base model ------------------------------------------------------------------------- */

static char model_path[] = "/tmp/test_gguf_XXXXXX";

static enum status open_model(struct gguf_build *build, struct checkpoint **ret_checkpoint,
                              struct error *err) {
    gguf_build_write(build, model_path);
    return checkpoint_open(model_path, ret_checkpoint, err);
}

static void a_llama_opens_with_its_description(void **state) {
    (void)state;
    struct error err;
    struct checkpoint *checkpoint = NULL;
    struct gguf_build build = {0};
    gguf_build_llama(&build);

    ASSERT_OK(open_model(&build, &checkpoint, &err), err);

    const struct model_description *d = checkpoint_description(checkpoint);
    assert_string_equal(d->architecture, "llama");
    assert_string_equal(checkpoint_kind(checkpoint), "gguf");
    assert_int_equal(d->C, 16);
    assert_int_equal(d->G, 1);
    assert_int_equal(d->D, 8);
    assert_int_equal(d->V, 40);
    assert_true(d->tied_head);
    assert_true(d->rope_theta == 10000.0f);
    checkpoint_close(checkpoint);
}

/* File row h*8 + 2i + p is our row h*8 + 4p + i; the seeded values tell where a row came from. */
static void rows_of_q_and_k_are_put_into_rotate_half_order(void **state) {
    (void)state;
    struct error err;
    struct checkpoint *checkpoint = NULL;
    struct gguf_build build = {0};
    float values[16 * 16];
    gguf_build_llama(&build);
    ASSERT_OK(open_model(&build, &checkpoint, &err), err);

    ASSERT_OK(
        checkpoint_read(checkpoint, "model.layers.0.self_attn.q_proj.weight", 16, 16, values, &err),
        err);
    const float expected[16] = {0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15};
    for (int row = 0; row < 16; row++) {
        assert_true(values[row * 16] == expected[row]);
    }
    ASSERT_OK(
        checkpoint_read(checkpoint, "model.layers.0.self_attn.v_proj.weight", 8, 16, values, &err),
        err);
    assert_true(values[16] == 1.0f); /* v stays as it is */
    checkpoint_close(checkpoint);
}

static void what_the_forward_pass_lacks_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *key;
        uint32_t value;
        const char *words;
    } cases[] = {
        {"llama.expert_count", 8, "llama.expert_count"},
        {"llama.attention.sliding_window", 64, "sliding_window"},
        {"llama.rope.dimension_count", 4, "rope.dimension_count"},
        {"llama.attention.value_length", 16, "value_length"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err;
        struct checkpoint *checkpoint = NULL;
        struct gguf_build build = {0};
        gguf_build_llama(&build);
        gguf_build_u32(&build, cases[i].key, cases[i].value);
        ASSERT_STATUS(open_model(&build, &checkpoint, &err), STATUS_CONFIG);
        ASSERT_CONTAINS(err.text, cases[i].words);
        ASSERT_CONTAINS(err.text, model_path);
    }
}

static void another_architecture_is_refused(void **state) {
    (void)state;
    struct error err;
    struct checkpoint *checkpoint = NULL;
    struct gguf_build build = {0};
    gguf_build_text(&build, "general.architecture", "mamba");
    ASSERT_STATUS(open_model(&build, &checkpoint, &err), STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, "'mamba'");
}

static void a_missing_tensor_is_named(void **state) {
    (void)state;
    struct error err;
    struct checkpoint *checkpoint = NULL;
    struct gguf_build build = {0};
    gguf_build_llama(&build);
    gguf_build_u32(&build, "llama.vocab_size", 40);
    struct buffer bytes = gguf_build_finish(&build);
    uint8_t *name = memmem(bytes.data, bytes.size, "blk.0.ffn_up", 12);
    assert_non_null(name);
    name[4] = '9'; /* now of a layer that does not exist */
    struct span piece = buffer_span(&bytes);
    ASSERT_OK(file_write(model_path, &piece, 1, &err), err);

    ASSERT_STATUS(checkpoint_open(model_path, &checkpoint, &err), STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, "'model.layers.0.mlp.up_proj.weight' ('blk.0.ffn_up.weight')");
    buffer_free(&bytes);
}

static void a_weight_that_is_not_finite_is_refused_with_its_place(void **state) {
    (void)state;
    struct error err;
    struct checkpoint *checkpoint = NULL;
    struct gguf_build build = {0};
    float values[40 * 16] = {0};
    gguf_build_llama(&build);
    float bad[16] = {0};
    bad[5] = (float)(1e300 * 1e300);
    gguf_build_tensor(&build, "output.weight", 40, 16, values);
    /* output.weight is the last tensor: bend its row 1 */
    memset(build.data.data + build.data.size - sizeof values, 0, sizeof values);
    memcpy(build.data.data + build.data.size - sizeof values + sizeof bad, bad, sizeof bad);
    ASSERT_OK(open_model(&build, &checkpoint, &err), err);
    assert_false(checkpoint_description(checkpoint)->tied_head);

    ASSERT_STATUS(checkpoint_read(checkpoint, "lm_head.weight", 40, 16, values, &err),
                  STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, "row 1, column 5");
    checkpoint_close(checkpoint);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        (void)fprintf(stderr, "usage: %s gguf_blocks.bin\n", argv[0]);
        return 64;
    }
    golden_path = argv[1];
    int fd = mkstemp(model_path);
    if (fd < 0) { return 1; }
    (void)close(fd); /* only the name is needed */
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_of_every_type_equal_the_reference_bit_for_bit),
        cmocka_unit_test(entries_of_each_kind_come_back),
        cmocka_unit_test(a_file_cut_at_any_byte_is_refused),
        cmocka_unit_test(a_flipped_bit_never_leads_outside_the_file),
        cmocka_unit_test(counts_beyond_the_limits_are_refused_before_allocating),
        cmocka_unit_test(hostile_numbers_are_refused_with_tensor_and_field),
        cmocka_unit_test(keys_and_tensors_that_stand_twice_are_refused),
        cmocka_unit_test(the_largest_tables_take_less_than_a_second),
        cmocka_unit_test(a_failing_allocation_is_reported_and_leaks_nothing),
        cmocka_unit_test(a_llama_opens_with_its_description),
        cmocka_unit_test(rows_of_q_and_k_are_put_into_rotate_half_order),
        cmocka_unit_test(what_the_forward_pass_lacks_is_refused_by_name),
        cmocka_unit_test(another_architecture_is_refused),
        cmocka_unit_test(a_missing_tensor_is_named),
        cmocka_unit_test(a_weight_that_is_not_finite_is_refused_with_its_place),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    (void)unlink(model_path); /* of this test alone */
    return failed;
}
