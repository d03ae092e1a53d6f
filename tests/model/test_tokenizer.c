/* SPDX-License-Identifier: Apache-2.0
 *
 * test_tokenizer.c - tokenizers made in memory: limits, long words, GGUF metadata, refusals.
 *
 * That ids equal the reference's is test_tokenizer_golden's claim.
 */
#include "tests/support/unit.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "model/checkpoint.h"
#include "model/tokenizer_parts.h"
#include "tests/model/gguf_build.h"
#include "tests/support/fault.h"

#define IDS_MAX (TOKENIZER_TEXT_BYTES_MAX + 16)

static int32_t ids[IDS_MAX];

static struct tokenizer *tokenizer_of_json(const char *text) {
    struct error err;
    struct tokenizer_parts parts = {0};
    struct tokenizer *tokenizer = NULL;
    ASSERT_OK(tokenizer_parts_of_json(span_of(text), &parts, &err), err);
    ASSERT_OK(tokenizer_of_parts(&parts, &tokenizer, &err), err);
    return tokenizer;
}

static int encode(const struct tokenizer *tokenizer, struct span text) {
    struct error err;
    int count = -1;
    ASSERT_OK(tokenizer_encode(tokenizer, text, ids, IDS_MAX, &count, &err), err);
    return count;
}

static void expect_ids(const struct tokenizer *tokenizer, const char *text, int count,
                       const int32_t *expected) {
    assert_int_equal(encode(tokenizer, span_of(text)), count);
    assert_memory_equal(ids, expected, (size_t)count * sizeof *ids);
}

/* ---- built-in -------------------------------------------------------------------------------- */

static struct tokenizer *open_builtin(void) {
    struct error err;
    struct checkpoint *checkpoint = NULL;
    struct tokenizer *tokenizer = NULL;
    ASSERT_OK(checkpoint_open("builtin:tiny", &checkpoint, &err), err);
    ASSERT_OK(tokenizer_open(checkpoint, &tokenizer, &err), err);
    checkpoint_close(checkpoint); /* the tokenizer borrows nothing from it */
    return tokenizer;
}

static void builtin_tokens_are_bytes_and_specials_follow(void **state) {
    (void)state;
    struct tokenizer *tokenizer = open_builtin();
    expect_ids(tokenizer, "aé<|endoftext|>\n<|item|>", 6,
               (const int32_t[]){'a', 0xc3, 0xa9, 256, '\n', 257});
    assert_int_equal(encode(tokenizer, span_make("\0x", 2)), 2);
    assert_int_equal(ids[0], 0);
    assert_int_equal(tokenizer_size(tokenizer), 258);
    assert_int_equal(tokenizer_bos(tokenizer), -1);
    tokenizer_close(tokenizer);
}

static void pieces_give_the_bytes_back(void **state) {
    (void)state;
    struct tokenizer *tokenizer = open_builtin();
    struct buffer out = {0};
    const char *text = "Ünï \x01\x7f\n<|item|>日";
    int count = encode(tokenizer, span_of(text));
    for (int i = 0; i < count; i++) {
        ASSERT_STATUS(tokenizer_piece(tokenizer, ids[i], &out), STATUS_OK);
    }
    assert_true(span_equal(buffer_span(&out), span_of(text)));
    ASSERT_STATUS(tokenizer_piece(tokenizer, -1, &out), STATUS_MALFORMED);
    ASSERT_STATUS(tokenizer_piece(tokenizer, 258, &out), STATUS_MALFORMED);
    buffer_free(&out);
    tokenizer_close(tokenizer);
}

static void texts_that_are_not_utf8_or_too_long_are_refused(void **state) {
    (void)state;
    struct error err;
    int count = -7;
    struct tokenizer *tokenizer = open_builtin();
    ASSERT_STATUS(tokenizer_encode(tokenizer, span_make("a\xff", 2), ids, IDS_MAX, &count, &err),
                  STATUS_MALFORMED);
    ASSERT_STATUS(tokenizer_encode(tokenizer, span_of("abc"), ids, 2, &count, &err), STATUS_LIMIT);
    char *text = malloc(TOKENIZER_TEXT_BYTES_MAX + 1);
    assert_non_null(text);
    memset(text, 'a', TOKENIZER_TEXT_BYTES_MAX + 1);
    ASSERT_STATUS(tokenizer_encode(tokenizer, span_make(text, TOKENIZER_TEXT_BYTES_MAX + 1), ids,
                                   IDS_MAX, &count, &err),
                  STATUS_LIMIT);
    assert_int_equal(count, -7); /* untouched by all three */
    assert_int_equal(encode(tokenizer, span_make(text, TOKENIZER_TEXT_BYTES_MAX)),
                     TOKENIZER_TEXT_BYTES_MAX);
    free(text);
    tokenizer_close(tokenizer);
}

/* ---- joining --------------------------------------------------------------------------------- */

/* a=0 b=1 aa=2 aaaa=3 ab=4: pairs by rank (a,a) (aa,aa) (a,b). */
static const char small_json[] =
    "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0,\"b\":1,\"aa\":2,\"aaaa\":3,\"ab\":4},"
    "\"merges\":[\"a a\",[\"aa\",\"aa\"],\"a b\"]%s},"
    "\"pre_tokenizer\":{\"type\":\"ByteLevel\",\"add_prefix_space\":false,\"use_regex\":false}%s}";

static void pairs_are_joined_by_rank_then_from_the_left(void **state) {
    (void)state;
    char text[1024];
    (void)snprintf(text, sizeof text, small_json, "", "");
    struct tokenizer *tokenizer = tokenizer_of_json(text);
    expect_ids(tokenizer, "aaa", 2, (const int32_t[]){2, 0});
    expect_ids(tokenizer, "aaab", 2, (const int32_t[]){2, 4});
    expect_ids(tokenizer, "aaaaab", 2, (const int32_t[]){3, 4});
    expect_ids(tokenizer, "aab", 2, (const int32_t[]){2, 1}); /* not a, ab */
    expect_ids(tokenizer, "axb", 1, (const int32_t[]){4});    /* x has no token and vanishes */
    tokenizer_close(tokenizer);
}

/* The scan for short words and the heap for long ones agree where they meet. */
static void long_words_follow_the_same_rule(void **state) {
    (void)state;
    char json[1024];
    char text[400];
    (void)snprintf(json, sizeof json, small_json, "", "");
    struct tokenizer *tokenizer = tokenizer_of_json(json);
    for (int size = 1; size < 300; size++) {
        memset(text, 'a', (size_t)size);
        int count = encode(tokenizer, span_make(text, (size_t)size));
        assert_int_equal(count, size / 4 + (size % 4 == 3 ? 2 : size % 4 > 0));
        text[size] = 'b'; /* the odd a in front of it joins the b */
        count = encode(tokenizer, span_make(text, (size_t)size + 1));
        assert_int_equal(ids[count - 1], size % 2 == 1 ? 4 : 1);
    }
    tokenizer_close(tokenizer);
}

static void a_megabyte_of_one_letter_takes_less_than_seconds(void **state) {
    (void)state;
    char json[1024];
    (void)snprintf(json, sizeof json, small_json, "", "");
    struct tokenizer *tokenizer = tokenizer_of_json(json);
    char *text = malloc(TOKENIZER_TEXT_BYTES_MAX);
    assert_non_null(text);
    memset(text, 'a', TOKENIZER_TEXT_BYTES_MAX);
    assert_int_equal(encode(tokenizer, span_make(text, TOKENIZER_TEXT_BYTES_MAX)),
                     TOKENIZER_TEXT_BYTES_MAX / 4);
    free(text);
    tokenizer_close(tokenizer);
}

static void *encode_many(void *context) {
    const struct tokenizer *tokenizer = context;
    for (int i = 0; i < 2000; i++) {
        struct error err;
        int32_t own[16];
        int count = 0;
        if (tokenizer_encode(tokenizer, span_of("aaaaab"), own, 16, &count, &err) != STATUS_OK ||
            count != 2 || own[0] != 3 || own[1] != 4) {
            return context;
        }
    }
    return NULL;
}

static void several_threads_share_one_tokenizer(void **state) {
    (void)state;
    char json[1024];
    pthread_t threads[3];
    (void)snprintf(json, sizeof json, small_json, "", "");
    struct tokenizer *tokenizer = tokenizer_of_json(json);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&threads[i], NULL, encode_many, tokenizer), 0);
    }
    for (int i = 0; i < 3; i++) {
        void *failed = tokenizer;
        assert_int_equal(pthread_join(threads[i], &failed), 0);
        assert_null(failed);
    }
    tokenizer_close(tokenizer);
}

/* ---- refusals -------------------------------------------------------------------------------- */

static void what_is_not_supported_is_refused_by_name(void **state) {
    (void)state;
    static const struct {
        const char *model, *root; /* members behind the usual ones */
        const char *words;
    } cases[] = {
        {",\"type\":\"WordPiece\"", "", "WordPiece"},
        {",\"dropout\":0.1", "", "dropout"},
        {",\"end_of_word_suffix\":\"</w>\"", "", "end_of_word_suffix"},
        {",\"merges\":[\"a c\"]", "", "merge 0"},
        {",\"merges\":[\"ab\"]", "", "merge 0"},
        {",\"merges\":7", "", "model.merges"},
        {",\"vocab\":{\"a\":0,\"b\":0}", "", "there twice"},
        {",\"vocab\":{\"a\":-1}", "", "model.vocab"},
        {",\"vocab\":{\"a\":4000000}", "", "only 1 tokens"},
        {",\"vocab\":[]", "", "model.vocab"},
        {",\"unk_token\":\"zz\"", "", "unk_token"},
        {"", ",\"normalizer\":{\"type\":\"BertNormalizer\"}", "BertNormalizer"},
        {"", ",\"normalizer\":{\"type\":\"Replace\",\"pattern\":{},\"content\":\"\"}", "pattern"},
        {"", ",\"pre_tokenizer\":{\"type\":\"Punctuation\"}", "Punctuation"},
        {"",
         ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"(\"},"
         "\"behavior\":\"Isolated\"}",
         "does not compile"},
        {"",
         ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"\\\\bx\"},"
         "\"behavior\":\"Isolated\"}",
         "\\b"},
        {"",
         ",\"pre_tokenizer\":{\"type\":\"Split\",\"pattern\":{\"Regex\":\"x\"},"
         "\"behavior\":\"Sideways\"}",
         "Sideways"},
        {"", ",\"added_tokens\":[{\"id\":0,\"content\":\"x\"}]", "says otherwise"},
        {"", ",\"added_tokens\":[{\"content\":\"x\"}]", "added_tokens"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err = {.text = ""};
        struct tokenizer_parts parts = {0};
        char text[1024];
        (void)snprintf(text, sizeof text, small_json, cases[i].model, cases[i].root);
        ASSERT_STATUS(tokenizer_parts_of_json(span_of(text), &parts, &err), STATUS_CONFIG);
        ASSERT_CONTAINS(err.text, cases[i].words);
        tokenizer_parts_free(&parts);
    }
}

/* Texts of one thing many times over, each refused within a second and for what it is. */
static void huge_tokenizers_are_refused_within_a_second(void **state) {
    (void)state;
    static const struct {
        const char *begin, *unit, *end;
        size_t times;
        const char *words;
    } cases[] = {
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[0", ",0", "]}}", 3000000,
         "field 'model.merges' holds 3000001 merges"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[0", ",0", "]}}", 9000000,
         "more than 4194304 values"},
        {"{\"model\":", "[", "", 1000000, "deeper than 64"},
        {"{\"model\":", "{\"a\":", "", 1000000, "deeper than 64"},
        {"{\"model\":{\"type\":\"BPE\",\"vocab\":{\"", "a", "\":0},\"merges\":[]}}", 8000000,
         "field 'model.vocab': token 0 has 8000000 bytes"},
        {"{\"model\":\"", "a", "", 30000000, "JSON line 1"}, /* a string without end */
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err = {.text = ""};
        struct tokenizer_parts parts = {0};
        struct buffer text = {0};
        struct timespec begin;
        struct timespec end;
        size_t unit = strlen(cases[i].unit);
        ASSERT_STATUS(buffer_append(&text, cases[i].begin, strlen(cases[i].begin)), STATUS_OK);
        for (size_t n = 0; n < cases[i].times; n++) {
            ASSERT_STATUS(buffer_append(&text, cases[i].unit, unit), STATUS_OK);
        }
        ASSERT_STATUS(buffer_append(&text, cases[i].end, strlen(cases[i].end)), STATUS_OK);
        assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &begin), 0);
        ASSERT_STATUS(tokenizer_parts_of_json(buffer_span(&text), &parts, &err), STATUS_CONFIG);
        assert_int_equal(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &end), 0);
        ASSERT_CONTAINS(err.text, cases[i].words);
        assert_true((double)(end.tv_sec - begin.tv_sec) +
                        1e-9 * (double)(end.tv_nsec - begin.tv_nsec) <
                    1.0);
        tokenizer_parts_free(&parts);
        buffer_free(&text);
    }
}

/* Steps that put 64 bytes for each character, one behind the other: 10^18 bytes of one title. */
static void steps_that_grow_a_text_without_end_are_stopped(void **state) {
    (void)state;
    struct error err = {.text = ""};
    struct tokenizer_parts parts = {0};
    struct tokenizer *tokenizer = NULL;
    struct buffer json = {0};
    int count = 0;
    const char *begin = "{\"model\":{\"type\":\"BPE\",\"vocab\":{\"a\":0},\"merges\":[]},"
                        "\"normalizer\":{\"type\":\"Sequence\",\"normalizers\":[";
    const char *step = "{\"type\":\"Replace\",\"pattern\":{\"String\":\"a\"},\"content\":"
                       "\"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"}";
    ASSERT_STATUS(buffer_append(&json, begin, strlen(begin)), STATUS_OK);
    for (int i = 0; i < 10; i++) {
        if (i > 0) { ASSERT_STATUS(buffer_append(&json, ",", 1), STATUS_OK); }
        ASSERT_STATUS(buffer_append(&json, step, strlen(step)), STATUS_OK);
    }
    ASSERT_STATUS(buffer_append(&json, "]}}", 3), STATUS_OK);
    ASSERT_OK(tokenizer_parts_of_json(buffer_span(&json), &parts, &err), err);
    ASSERT_OK(tokenizer_of_parts(&parts, &tokenizer, &err), err);
    ASSERT_STATUS(tokenizer_encode(tokenizer, span_of("a"), ids, IDS_MAX, &count, &err),
                  STATUS_LIMIT);
    tokenizer_close(tokenizer);
    buffer_free(&json);
}

/* ---- GGUF metadata --------------------------------------------------------------------------- */

static enum status parts_of_build(struct gguf_build *build, struct tokenizer_parts *parts,
                                  struct error *err) {
    struct gguf *file = NULL;
    struct buffer bytes = gguf_build_finish(build);
    ASSERT_OK(gguf_open_bytes(buffer_span(&bytes), &file, err), *err);
    enum status status = tokenizer_parts_of_gguf(file, parts, err);
    gguf_close(file);
    buffer_free(&bytes);
    return status;
}

static void byte_level_metadata_makes_a_tokenizer(void **state) {
    (void)state;
    struct error err;
    struct gguf_build build = {0};
    struct tokenizer_parts parts = {0};
    struct tokenizer *tokenizer = NULL;
    const char *tokens[] = {"<|end|>", "a", "b", "ab", "1", "2", "12"};
    const int32_t types[] = {3, 1, 1, 1, 1, 1, 1};
    const char *merges[] = {"a b", "1 2"};
    gguf_build_text(&build, "tokenizer.ggml.model", "gpt2");
    gguf_build_text(&build, "tokenizer.ggml.pre", "smollm");
    gguf_build_texts(&build, "tokenizer.ggml.tokens", tokens, 7);
    gguf_build_i32s(&build, "tokenizer.ggml.token_type", types, 7);
    gguf_build_texts(&build, "tokenizer.ggml.merges", merges, 2);
    gguf_build_u32(&build, "tokenizer.ggml.bos_token_id", 0);
    ASSERT_OK(parts_of_build(&build, &parts, &err), err);
    ASSERT_OK(tokenizer_of_parts(&parts, &tokenizer, &err), err);

    expect_ids(tokenizer, "ab12<|end|>a", 5, (const int32_t[]){3, 4, 5, 0, 1}); /* digits apart */
    assert_string_equal(tokenizer_kind(tokenizer), "byte-level BPE");
    assert_int_equal(tokenizer_bos(tokenizer), -1);
    tokenizer_close(tokenizer);
}

static void sentencepiece_metadata_joins_by_score(void **state) {
    (void)state;
    struct error err;
    struct gguf_build build = {0};
    struct tokenizer_parts parts = {0};
    struct tokenizer *tokenizer = NULL;
    const char *tokens[] = {"<unk>",
                            "<s>",
                            "<0xC3>",
                            "<0xA9>",
                            "\xe2\x96\x81",
                            "a",
                            "b",
                            "ab",
                            ("\xe2\x96\x81"
                             "a")};
    const int32_t types[] = {2, 3, 6, 6, 1, 1, 1, 1, 1};
    const float scores[] = {0, 0, 0, 0, -9, -9, -9, -2, -1};
    gguf_build_text(&build, "tokenizer.ggml.model", "llama");
    gguf_build_texts(&build, "tokenizer.ggml.tokens", tokens, 9);
    gguf_build_i32s(&build, "tokenizer.ggml.token_type", types, 9);
    gguf_build_f32s(&build, "tokenizer.ggml.scores", scores, 9);
    gguf_build_u32(&build, "tokenizer.ggml.bos_token_id", 1);
    ASSERT_OK(parts_of_build(&build, &parts, &err), err);
    ASSERT_OK(tokenizer_of_parts(&parts, &tokenizer, &err), err);

    /* "▁a" scores above "ab"; é falls back to its bytes; ñ's second byte has no token:
     * unknown */
    expect_ids(tokenizer, "ab", 2, (const int32_t[]){8, 6});
    expect_ids(tokenizer, "abab", 3, (const int32_t[]){8, 6, 7});
    expect_ids(tokenizer, "éñ", 4, (const int32_t[]){4, 2, 3, 0});
    assert_int_equal(tokenizer_bos(tokenizer), 1);
    tokenizer_close(tokenizer);
}

/* A sort whose order is not one, and a search for cuts that takes the square of a length. */
static void scores_and_tokens_that_no_model_has_are_refused(void **state) {
    (void)state;
    struct error err = {.text = ""};
    struct gguf_build build = {0};
    struct tokenizer_parts parts = {0};
    const char *tokens[] = {"a", "b", "ab"};
    const int32_t types[] = {1, 1, 1};
    const float scores[] = {0, NAN, 1};
    gguf_build_text(&build, "tokenizer.ggml.model", "llama");
    gguf_build_texts(&build, "tokenizer.ggml.tokens", tokens, 3);
    gguf_build_i32s(&build, "tokenizer.ggml.token_type", types, 3);
    gguf_build_f32s(&build, "tokenizer.ggml.scores", scores, 3);
    ASSERT_STATUS(parts_of_build(&build, &parts, &err), STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, "'tokenizer.ggml.scores': that of token 1 is not a number");
    tokenizer_parts_free(&parts);

    enum { LONG = 20 }; /* tokens of 4 KiB: 320 MiB of text to look up */
    static char text[LONG][TOKEN_BYTES_MAX + 1];
    const char *texts[LONG];
    int32_t kinds[LONG];
    float zeros[LONG] = {0};
    for (int i = 0; i < LONG; i++) {
        memset(text[i], 'a' + i, TOKEN_BYTES_MAX);
        texts[i] = text[i];
        kinds[i] = 1;
    }
    gguf_build_text(&build, "tokenizer.ggml.model", "llama");
    gguf_build_texts(&build, "tokenizer.ggml.tokens", texts, LONG);
    gguf_build_i32s(&build, "tokenizer.ggml.token_type", kinds, LONG);
    gguf_build_f32s(&build, "tokenizer.ggml.scores", zeros, LONG);
    ASSERT_STATUS(parts_of_build(&build, &parts, &err), STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, "'tokenizer.ggml.tokens': up to token");
    tokenizer_parts_free(&parts);

    /* More merges than any three tokens have. */
    static const char *merges[2000];
    for (int i = 0; i < 2000; i++) {
        merges[i] = "a b";
    }
    gguf_build_text(&build, "tokenizer.ggml.model", "gpt2");
    gguf_build_texts(&build, "tokenizer.ggml.tokens", tokens, 3);
    gguf_build_i32s(&build, "tokenizer.ggml.token_type", types, 3);
    gguf_build_texts(&build, "tokenizer.ggml.merges", merges, 2000);
    ASSERT_STATUS(parts_of_build(&build, &parts, &err), STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, "'tokenizer.ggml.merges' holds 2000 merges");
    tokenizer_parts_free(&parts);
}

static void metadata_that_does_not_fit_is_refused_by_key(void **state) {
    (void)state;
    static const struct {
        const char *model, *pre, *merge;
        size_t types;
        const char *words;
    } cases[] = {
        {"bert", "smollm", "a b", 3, "'bert'"},       {"gpt2", "klingon", "a b", 3, "'klingon'"},
        {"gpt2", "gpt-2", "a c", 3, "merge 0 'a c'"}, {"gpt2", "gpt-2", "ab", 3, "merge 0 'ab'"},
        {"gpt2", "gpt-2", "a b", 2, "token_type"},    {"llama", "", "", 3, "tokenizer.ggml.scores"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err = {.text = ""};
        struct gguf_build build = {0};
        struct tokenizer_parts parts = {0};
        const char *tokens[] = {"a", "b", "ab"};
        const int32_t types[] = {1, 1, 1};
        gguf_build_text(&build, "tokenizer.ggml.model", cases[i].model);
        gguf_build_text(&build, "tokenizer.ggml.pre", cases[i].pre);
        gguf_build_texts(&build, "tokenizer.ggml.tokens", tokens, 3);
        gguf_build_i32s(&build, "tokenizer.ggml.token_type", types, cases[i].types);
        gguf_build_texts(&build, "tokenizer.ggml.merges", &cases[i].merge, 1);
        ASSERT_STATUS(parts_of_build(&build, &parts, &err), STATUS_CONFIG);
        ASSERT_CONTAINS(err.text, cases[i].words);
        tokenizer_parts_free(&parts);
    }
}

/* Opens the tokenizer behind these bytes and encodes a text that needs every kind of step. */
static enum status open_and_encode(void *context) {
    struct error err;
    int count = 0;
    struct gguf *file = NULL;
    struct tokenizer_parts parts = {0};
    struct tokenizer *tokenizer = NULL;
    enum status status = gguf_open_bytes(buffer_span(context), &file, &err);
    if (status != STATUS_OK) { return status; }
    status = tokenizer_parts_of_gguf(file, &parts, &err);
    if (status == STATUS_OK) { status = tokenizer_of_parts(&parts, &tokenizer, &err); }
    gguf_close(file);
    tokenizer_parts_free(&parts);
    if (status != STATUS_OK) { return status; }
    status = tokenizer_encode(tokenizer, span_of("ab e\xcc\x81 <|end|> abababab"), ids, IDS_MAX,
                              &count, &err);
    tokenizer_close(tokenizer);
    return status;
}

static void every_failed_allocation_is_reported(void **state) {
    (void)state;
    struct gguf_build build = {0};
    const char *tokens[] = {"<|end|>", "a", "b", "ab"};
    const int32_t types[] = {3, 1, 1, 1};
    const char *merges[] = {"a b"};
    gguf_build_text(&build, "tokenizer.ggml.model", "gpt2");
    gguf_build_text(&build, "tokenizer.ggml.pre", "qwen2");
    gguf_build_texts(&build, "tokenizer.ggml.tokens", tokens, 4);
    gguf_build_i32s(&build, "tokenizer.ggml.token_type", types, 4);
    gguf_build_texts(&build, "tokenizer.ggml.merges", merges, 1);
    struct buffer bytes = gguf_build_finish(&build);
    assert_true(fault_sweep(FAULT_MEMORY, STATUS_NO_MEMORY, open_and_encode, &bytes) > 20);
    buffer_free(&bytes);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(builtin_tokens_are_bytes_and_specials_follow),
        cmocka_unit_test(pieces_give_the_bytes_back),
        cmocka_unit_test(texts_that_are_not_utf8_or_too_long_are_refused),
        cmocka_unit_test(pairs_are_joined_by_rank_then_from_the_left),
        cmocka_unit_test(long_words_follow_the_same_rule),
        cmocka_unit_test(a_megabyte_of_one_letter_takes_less_than_seconds),
        cmocka_unit_test(several_threads_share_one_tokenizer),
        cmocka_unit_test(what_is_not_supported_is_refused_by_name),
        cmocka_unit_test(huge_tokenizers_are_refused_within_a_second),
        cmocka_unit_test(steps_that_grow_a_text_without_end_are_stopped),
        cmocka_unit_test(scores_and_tokens_that_no_model_has_are_refused),
        cmocka_unit_test(byte_level_metadata_makes_a_tokenizer),
        cmocka_unit_test(sentencepiece_metadata_joins_by_score),
        cmocka_unit_test(metadata_that_does_not_fit_is_refused_by_key),
        cmocka_unit_test(every_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
