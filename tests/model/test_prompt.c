/* SPDX-License-Identifier: Apache-2.0
 *
 * test_prompt.c - templates and the prompts made from them, with the byte-level tokenizer so that
 * tokens can be read.
 *
 * Argument: ops/prompts.txt.
 */
#include "tests/support/unit.h"

#include <stdio.h>

#include "base/file.h"
#include "model/prompt.h"
#include "model/prompt_parse.h"
#include "tests/support/fault.h"
#include "tests/support/tmpdir.h"

static const char *prompts_path; /* set once by main */
static struct tmpdir folder;
static struct tokenizer *tokenizer; /* byte-level */

static int group_make(void **state) {
    (void)state;
    struct error err;
    struct checkpoint *checkpoint = NULL;
    ASSERT_OK(checkpoint_open("builtin:tiny", &checkpoint, &err), err);
    ASSERT_OK(tokenizer_open(checkpoint, &tokenizer, &err), err);
    checkpoint_close(checkpoint);
    tmpdir_init(&folder);
    return 0;
}

static int group_remove(void **state) {
    (void)state;
    tokenizer_close(tokenizer);
    tmpdir_free(&folder);
    return 0;
}

static const char *write_template(const char *text) {
    struct error err;
    struct span piece = span_of(text);
    const char *path = tmpdir_path(&folder, "prompts.txt");
    ASSERT_OK(file_write(path, &piece, 1, &err), err);
    return path;
}

static struct prompt_template *open_template(const char *text) {
    struct error err;
    struct prompt_template *template = NULL;
    ASSERT_OK(prompt_template_open(write_template(text), tokenizer, &template, &err), err);
    return template;
}

/* The tokens as text; '^' for the item placeholder. */
static const char *shown(const struct prompt *prompt) {
    static char text[PROMPT_TOKENS_MAX + 1];
    for (int i = 0; i < prompt->count; i++) {
        text[i] = prompt->tokens[i] == 257 ? '^' : (char)prompt->tokens[i];
    }
    text[prompt->count] = '\0';
    return text;
}

/* Builds the prompt of items 1, 2, ... with these titles. */
static enum status build(const struct prompt_template *template, const char *const *titles,
                         int count, int tokens_max, struct prompt *ret_prompt) {
    struct error err;
    struct title_tokens tokens[PROMPT_ITEMS_MAX + 8];
    const struct title_tokens *pointers[PROMPT_ITEMS_MAX + 8];
    uint32_t items[PROMPT_ITEMS_MAX + 8];
    for (int i = 0; i < count; i++) {
        ASSERT_OK(prompt_title_tokens(template, span_of(titles[i]), &tokens[i], &err), err);
        pointers[i] = &tokens[i];
        items[i] = (uint32_t)i + 1;
    }
    return prompt_build(template, items, pointers, count, tokens_max, ret_prompt, &err);
}

static void the_compiled_in_file_is_the_one_in_ops(void **state) {
    (void)state;
    struct error err;
    struct buffer file = {0};
    ASSERT_OK(file_read(prompts_path, PROMPT_FILE_BYTES_MAX, &file, &err), err);
    assert_true(span_equal(buffer_span(&file), span_of(prompt_default_text)));
    buffer_free(&file);
}

static void shipped_templates_open(void **state) {
    (void)state;
    struct error err;
    struct prompt_template *template = NULL;
    ASSERT_OK(prompt_template_open(NULL, tokenizer, &template, &err), err);
    assert_false(prompt_template_has_item_tokens(template));
    prompt_template_close(template);
    ASSERT_OK(prompt_template_open_named(prompts_path, "stream_tokens", tokenizer, &template, &err),
              err);
    assert_true(prompt_template_has_item_tokens(template));
    prompt_template_close(template);
}

static void history_titles_and_item_tokens_are_written_in_order(void **state) {
    (void)state;
    const char *titles[] = {"One", "", "Two"};
    struct prompt prompt;
    struct prompt_template *template =
        open_template("[stream]\nSeen: {history}\\nNext:\n[stream.item]\n<{title}>{item_token}\n"
                      "[stream.separator]\n,\\s\n");

    ASSERT_STATUS(build(template, titles, 3, 200, &prompt), STATUS_OK);

    assert_string_equal(shown(&prompt), "Seen: <One>^, <>^, <Two>^\nNext:");
    assert_int_equal(prompt.item_count, 3);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(prompt.items[i], i + 1);
        assert_int_equal(prompt.tokens[prompt.item_rows[i]], 257);
    }
    prompt_template_close(template);
}

static void text_prompts_leave_out_items_without_title(void **state) {
    (void)state;
    const char *titles[] = {"", "One", "", "Two"};
    struct prompt prompt;
    struct prompt_template *template =
        open_template("[stream]\n{history}!\n[stream.item]\n{title}\n[stream.separator]\n,\n"
                      "[stream.empty]\nnone\n");
    ASSERT_STATUS(build(template, titles, 4, 200, &prompt), STATUS_OK);
    assert_string_equal(shown(&prompt), "One,Two!");
    assert_int_equal(prompt.item_count, 0);
    ASSERT_STATUS(build(template, titles, 1, 200, &prompt), STATUS_OK);
    assert_string_equal(shown(&prompt), "none!");
    ASSERT_STATUS(build(template, titles, 0, 200, &prompt), STATUS_OK);
    assert_string_equal(shown(&prompt), "none!");
    prompt_template_close(template);
}

static void the_oldest_items_give_way(void **state) {
    (void)state;
    const char *titles[] = {"aaaa", "bbbb", "cccc"};
    struct prompt prompt;
    struct prompt_template *template =
        open_template("[stream]\n({history})\n[stream.item]\n{title}\n[stream.separator]\n,\n");
    ASSERT_STATUS(build(template, titles, 3, 16, &prompt), STATUS_OK);
    assert_string_equal(shown(&prompt), "(aaaa,bbbb,cccc)");
    ASSERT_STATUS(build(template, titles, 3, 15, &prompt), STATUS_OK);
    assert_string_equal(shown(&prompt), "(bbbb,cccc)");
    ASSERT_STATUS(build(template, titles, 3, 6, &prompt), STATUS_OK);
    assert_string_equal(shown(&prompt), "(cccc)");
    ASSERT_STATUS(build(template, titles, 3, 5, &prompt), STATUS_OK);
    assert_string_equal(shown(&prompt), "()");
    ASSERT_STATUS(build(template, titles, 3, 1, &prompt), STATUS_LIMIT);
    prompt_template_close(template);
}

static void at_most_the_limit_of_items_is_written(void **state) {
    (void)state;
    const char *titles[PROMPT_ITEMS_MAX + 5];
    struct prompt prompt;
    for (int i = 0; i < PROMPT_ITEMS_MAX + 5; i++) {
        titles[i] = "t";
    }
    struct prompt_template *template =
        open_template("[stream]\n{history}\n[stream.item]\n{title}{item_token}\n");
    ASSERT_STATUS(build(template, titles, PROMPT_ITEMS_MAX + 5, PROMPT_TOKENS_MAX, &prompt),
                  STATUS_OK);
    assert_int_equal(prompt.item_count, PROMPT_ITEMS_MAX);
    assert_int_equal(prompt.items[0], 6);
    prompt_template_close(template);
}

static void a_space_in_front_of_the_title_becomes_its_own(void **state) {
    (void)state;
    struct error err;
    struct title_tokens title;
    struct prompt prompt;
    const char *titles[] = {"One", "Two"};
    struct prompt_template *template =
        open_template("[stream]\nSeen:\\n{history}\\nNext:\\s\n[stream.item]\n- {title}\n"
                      "[stream.separator]\n\\n\n");
    ASSERT_OK(prompt_title_tokens(template, span_of("One"), &title, &err), err);
    assert_int_equal(title.count, 4);
    assert_int_equal(title.ids[0], ' ');
    ASSERT_STATUS(build(template, titles, 2, 200, &prompt), STATUS_OK);
    assert_string_equal(shown(&prompt), "Seen:\n- One\n- Two\nNext:");
    prompt_template_close(template);
}

static void titles_are_cleaned_and_cut(void **state) {
    (void)state;
    struct error err;
    struct title_tokens title;
    char text[1200];
    struct prompt_template *template =
        open_template("[stream]\n{history}\n[stream.item]\n{title}\n");
    ASSERT_OK(prompt_title_tokens(template, span_of("\n a \t\x01 b  "), &title, &err), err);
    assert_int_equal(title.count, 3);
    assert_memory_equal(title.ids, ((int32_t[]){'a', ' ', 'b'}), 3 * sizeof(int32_t));
    ASSERT_OK(prompt_title_tokens(template, span_of(" \n"), &title, &err), err);
    assert_int_equal(title.count, 0);
    for (int lead = 0; lead < 3; lead++) { /* the cut meets a character of three bytes everywhere */
        size_t size = 0;
        memset(text, 'x', sizeof text);
        for (size = (size_t)lead; size + 4 < sizeof text; size += 3) {
            memcpy(text + size, "\xe6\x97\xa5", 3);
        }
        ASSERT_OK(prompt_title_tokens(template, span_make(text, size), &title, &err), err);
        assert_int_equal(title.count, TITLE_TOKENS_MAX);
    }
    ASSERT_STATUS(prompt_title_tokens(template, span_of("\xff"), &title, &err), STATUS_MALFORMED);
    prompt_template_close(template);
}

static void a_candidate_is_title_and_end(void **state) {
    (void)state;
    struct error err;
    struct title_tokens title;
    struct title_tokens candidate;
    char longer[TITLE_TOKENS_MAX + 2];
    struct prompt_template *template =
        open_template("[stream]\n{history}\n[stream.item]\n{title}\n");
    ASSERT_OK(prompt_title_tokens(template, span_of("ab"), &title, &err), err);
    ASSERT_OK(prompt_candidate(template, &title, &candidate, &err), err);
    assert_int_equal(candidate.count, 3);
    assert_int_equal(candidate.ids[2], '\n');
    memset(longer, 'x', sizeof longer);
    ASSERT_OK(prompt_title_tokens(template, span_make(longer, sizeof longer), &title, &err), err);
    ASSERT_OK(prompt_candidate(template, &title, &candidate, &err), err);
    assert_int_equal(candidate.count, TITLE_TOKENS_MAX);
    assert_int_equal(candidate.ids[TITLE_TOKENS_MAX - 1], '\n');
    title.count = 0;
    ASSERT_OK(prompt_candidate(template, &title, &candidate, &err), err);
    assert_int_equal(candidate.count, 1);
    prompt_template_close(template);
}

/* ---- exact mode ------------------------------------------------------------------------------ */

static const char exact_text[] =
    "[stream]\nSeen:{history}. Of:{candidates}!\\nNext:\\s\n[stream.item]\n\\s{title}{item_token}\n"
    "[stream.separator]\n,\n[stream.candidate]\n\\s{title}{item_token}\n"
    "[stream.candidate_separator]\n;\n[stream.empty]\n -\n";

/* Builds the exact prompt of items 1, 2, ... and candidates 101, 102, ... */
static enum status build_exact(const struct prompt_template *template, const char *const *titles,
                               int count, const char *const *candidates, int candidate_count,
                               bool hybrid, int tokens_max, struct prompt *ret_prompt) {
    struct error err;
    struct title_tokens tokens[2 * PROMPT_ITEMS_MAX + 8];
    const struct title_tokens *pointers[2 * PROMPT_ITEMS_MAX + 8];
    uint32_t items[2 * PROMPT_ITEMS_MAX + 8];
    for (int i = 0; i < count + candidate_count; i++) {
        const char *title = i < count ? titles[i] : candidates[i - count];
        ASSERT_OK(prompt_title_tokens(template, span_of(title), &tokens[i], &err), err);
        pointers[i] = &tokens[i];
        items[i] = (uint32_t)(i < count ? i + 1 : i - count + 101);
    }
    return prompt_build_exact(template, items, pointers, count, items + count, pointers + count,
                              candidate_count, hybrid, tokens_max, ret_prompt, &err);
}

static void exact_prompts_show_history_then_candidates_with_their_tokens(void **state) {
    (void)state;
    const char *titles[] = {"One", "Two"};
    const char *candidates[] = {"Six", "Ten", "Elf"};
    const uint32_t expected[] = {1, 2, 101, 102, 103};
    struct prompt prompt;
    struct prompt_template *template = open_template(exact_text);
    assert_true(prompt_template_has_candidates(template));

    ASSERT_STATUS(build_exact(template, titles, 2, candidates, 3, true, 200, &prompt), STATUS_OK);

    assert_string_equal(shown(&prompt), "Seen: One^, Two^. Of: Six^; Ten^; Elf^!\nNext:");
    assert_int_equal(prompt.item_count, 5);
    assert_memory_equal(prompt.items, expected, sizeof expected);
    for (int i = 0; i < 5; i++) {
        assert_int_equal(prompt.tokens[prompt.item_rows[i]], 257);
    }
    prompt_template_close(template);
}

static void text_only_is_the_same_prompt_without_item_tokens(void **state) {
    (void)state;
    const char *titles[] = {"One", "", "Two"};
    const char *candidates[] = {"Six", "Ten"};
    const char *nameless[] = {"Six", ""};
    struct prompt prompt;
    struct prompt_template *template = open_template(exact_text);
    ASSERT_STATUS(build_exact(template, titles, 3, candidates, 2, false, 200, &prompt), STATUS_OK);
    assert_string_equal(shown(&prompt), "Seen: One, Two. Of: Six; Ten!\nNext:");
    assert_int_equal(prompt.item_count, 0);
    ASSERT_STATUS(build_exact(template, titles, 0, candidates, 2, false, 200, &prompt), STATUS_OK);
    assert_string_equal(shown(&prompt), "Seen: -. Of: Six; Ten!\nNext:");
    ASSERT_STATUS(build_exact(template, titles, 3, nameless, 2, false, 200, &prompt),
                  STATUS_MALFORMED);
    ASSERT_STATUS(build_exact(template, titles, 3, nameless, 2, true, 200, &prompt), STATUS_OK);
    prompt_template_close(template);
}

static void candidates_stay_when_the_oldest_items_give_way(void **state) {
    (void)state;
    const char *titles[] = {"One", "Two"};
    const char *candidates[] = {"Six", "Ten"};
    struct prompt prompt;
    struct prompt_template *template = open_template(exact_text);
    int whole = (int)strlen("Seen: One, Two. Of: Six; Ten!_Next:");
    ASSERT_STATUS(build_exact(template, titles, 2, candidates, 2, false, whole, &prompt),
                  STATUS_OK);
    assert_int_equal(prompt.count, whole);
    ASSERT_STATUS(build_exact(template, titles, 2, candidates, 2, false, whole - 1, &prompt),
                  STATUS_OK);
    assert_string_equal(shown(&prompt), "Seen: Two. Of: Six; Ten!\nNext:");
    int least = (int)strlen("Seen: -. Of: Six; Ten!_Next:");
    ASSERT_STATUS(build_exact(template, titles, 2, candidates, 2, false, least, &prompt),
                  STATUS_OK);
    assert_string_equal(shown(&prompt), "Seen: -. Of: Six; Ten!\nNext:");
    ASSERT_STATUS(build_exact(template, titles, 2, candidates, 2, false, least - 1, &prompt),
                  STATUS_LIMIT);
    prompt_template_close(template);
}

static void history_and_candidates_share_the_limit_of_items(void **state) {
    (void)state;
    const char *titles[PROMPT_ITEMS_MAX + 1];
    struct prompt prompt;
    for (int i = 0; i < PROMPT_ITEMS_MAX + 1; i++) {
        titles[i] = "t";
    }
    struct prompt_template *template = open_template(exact_text);
    ASSERT_STATUS(build_exact(template, titles, 60, titles, 20, true, PROMPT_TOKENS_MAX, &prompt),
                  STATUS_OK);
    assert_int_equal(prompt.item_count, PROMPT_ITEMS_MAX);
    assert_int_equal(prompt.items[0], 60 - 44 + 1);
    ASSERT_STATUS(build_exact(template, titles, 5, titles, PROMPT_ITEMS_MAX, true,
                              PROMPT_TOKENS_MAX, &prompt),
                  STATUS_OK);
    assert_int_equal(prompt.items[0], 101);
    ASSERT_STATUS(build_exact(template, titles, 5, titles, PROMPT_ITEMS_MAX + 1, true,
                              PROMPT_TOKENS_MAX, &prompt),
                  STATUS_LIMIT);
    prompt_template_close(template);
}

static void shipped_exact_prompts_end_where_the_answer_begins(void **state) {
    (void)state;
    const char *titles[] = {"One", "Two"};
    const char *candidates[] = {"Six", "Ten"};
    for (int i = 0; i < PROMPT_EXACT_TEMPLATES; i++) {
        struct error err;
        struct prompt prompt;
        struct title_tokens title;
        struct title_tokens answer;
        struct prompt_template *template = NULL;
        char name[16];
        (void)snprintf(name, sizeof name, "exact_%d", i + 1);
        ASSERT_OK(prompt_template_open_named(NULL, name, tokenizer, &template, &err), err);
        assert_true(prompt_template_has_candidates(template));
        assert_true(prompt_template_has_item_tokens(template));

        ASSERT_STATUS(build_exact(template, titles, 2, candidates, 2, true, 400, &prompt),
                      STATUS_OK);

        ASSERT_CONTAINS(shown(&prompt), " One^; Two^");
        ASSERT_CONTAINS(shown(&prompt), " Six^; Ten^");
        int32_t last = prompt.tokens[prompt.count - 1];
        assert_true(last != ' ' && last != '\n'); /* the space is the answer's */
        ASSERT_OK(prompt_title_tokens(template, span_of("Six"), &title, &err), err);
        ASSERT_OK(prompt_candidate(template, &title, &answer, &err), err);
        assert_int_equal(answer.count, 5);
        assert_memory_equal(answer.ids, ((int32_t[]){' ', 'S', 'i', 'x', '\n'}),
                            5 * sizeof(int32_t));
        prompt_template_close(template);
    }
}

static void templates_serve_only_the_prompts_they_are_for(void **state) {
    (void)state;
    const char *titles[] = {"One"};
    struct prompt prompt;
    struct prompt_template *template = open_template(exact_text);
    ASSERT_STATUS(build(template, titles, 1, 200, &prompt), STATUS_CONFIG);
    prompt_template_close(template);
    template = open_template("[stream]\n{history}\n[stream.item]\n{title}\n");
    assert_false(prompt_template_has_candidates(template));
    ASSERT_STATUS(build_exact(template, titles, 1, titles, 1, true, 200, &prompt), STATUS_CONFIG);
    prompt_template_close(template);
}

static void generated_titles_are_compared_after_folding_white_space(void **state) {
    (void)state;
    static const struct {
        const char *generated, *title;
        bool same;
    } cases[] = {
        {"Toy Story", "Toy Story", true},
        {"  Toy \t Story \r", "Toy Story", true},
        {"Toy Story", " Toy\nStory ", true},
        {"toy story", "Toy Story", false},
        {"Toy Story 2", "Toy Story", false},
        {"Toy Stor", "Toy Story", false},
        {"ToyStory", "Toy Story", false},
        {"", "Toy Story", false},
        {" ", "", true},
        {"A", "A ", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        assert_int_equal(prompt_title_same(span_of(cases[i].generated), span_of(cases[i].title)),
                         cases[i].same);
    }
}

static void mistakes_are_named_with_their_line(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"", "[stream] is missing"},
        {"[stream]\n{history}\n", "[stream.item] is missing"},
        {"[stream]\nno\n[stream.item]\n{title}\n", "line 1: section [stream] has no {history}"},
        {"[stream]\n{history}\n[stream.item]\nx\n", "line 3"},
        {"[stream]\n{title}\n", "line 2: '{title}"},
        {"[stream]\n{history}{history}\n", "line 2: {history} is there twice"},
        {"[stream]\n\n{histery}\n", "line 3: '{histery}"},
        {"# c\n[stream]\n[stream]\n", "line 3: section [stream] is there twice"},
        {"[stream.items]\n", "line 1: section [stream.items] is unknown"},
        {"text\n", "line 1: text in front"},
        {"[stream]\n\\q\n", "line 2: unknown escape"},
        {"[stream\n", "line 1: expected [name]"},
        {"[stream]\n\xff", "not UTF-8"},
        {"[stream]\n{history}{candidates}\n[stream.item]\n{title}\n",
         "[stream.candidate] is missing"},
        {"[stream]\n{history}\n[stream.item]\n{title}\n[stream.candidate]\n{title}\n",
         "line 1: section [stream] has no {candidates}"},
        {"[stream]\n{history}\n[stream.item]\n{title}\n[stream.candidate_separator]\n,\n",
         "[stream.candidate_separator] is for"},
        {"[stream]\n{candidates}{history}\n[stream.item]\n{title}\n[stream.candidate]\n{title}\n",
         "line 1: section [stream] has {candidates} in front of {history}"},
        {"[stream]\n{history}{candidates}\n[stream.item]\n{title}\n[stream.candidate]\nx\n",
         "line 5: section [stream.candidate] has neither"},
        {"[stream]\n{history}{candidates}\n[stream.item]\n{title}\n[stream.candidate]\n"
         "{candidates}\n",
         "line 6: '{candidates}"},
        {"[stream]\n{history}{candidates}\n[stream.item]\n- {title}\n[stream.candidate]\n"
         "{title}\n",
         "line 5: section has no space in front of {title}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct error err = {.text = ""};
        struct prompt_template *template = NULL;
        const char *path = write_template(cases[i][0]);
        ASSERT_STATUS(prompt_template_open(path, tokenizer, &template, &err), STATUS_CONFIG);
        ASSERT_CONTAINS(err.text, cases[i][1]);
        ASSERT_CONTAINS(err.text, "prompts.txt");
    }
    struct error err = {.text = ""};
    struct prompt_template *template = NULL;
    ASSERT_STATUS(prompt_template_open("/does/not/exist", tokenizer, &template, &err),
                  STATUS_CONFIG);
    ASSERT_CONTAINS(err.text, "/does/not/exist");
}

static enum status open_default(void *context) {
    (void)context;
    struct error err;
    struct prompt_template *template = NULL;
    enum status status = prompt_template_open(NULL, tokenizer, &template, &err);
    if (status == STATUS_OK) { prompt_template_close(template); }
    return status;
}

static void every_failed_allocation_is_reported(void **state) {
    (void)state;
    assert_true(fault_sweep(FAULT_MEMORY, STATUS_NO_MEMORY, open_default, NULL) > 5);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        (void)fprintf(stderr, "usage: %s ops/prompts.txt\n", argv[0]);
        return 64;
    }
    prompts_path = argv[1];
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_compiled_in_file_is_the_one_in_ops),
        cmocka_unit_test(shipped_templates_open),
        cmocka_unit_test(history_titles_and_item_tokens_are_written_in_order),
        cmocka_unit_test(text_prompts_leave_out_items_without_title),
        cmocka_unit_test(the_oldest_items_give_way),
        cmocka_unit_test(at_most_the_limit_of_items_is_written),
        cmocka_unit_test(a_space_in_front_of_the_title_becomes_its_own),
        cmocka_unit_test(titles_are_cleaned_and_cut),
        cmocka_unit_test(a_candidate_is_title_and_end),
        cmocka_unit_test(exact_prompts_show_history_then_candidates_with_their_tokens),
        cmocka_unit_test(text_only_is_the_same_prompt_without_item_tokens),
        cmocka_unit_test(candidates_stay_when_the_oldest_items_give_way),
        cmocka_unit_test(history_and_candidates_share_the_limit_of_items),
        cmocka_unit_test(shipped_exact_prompts_end_where_the_answer_begins),
        cmocka_unit_test(templates_serve_only_the_prompts_they_are_for),
        cmocka_unit_test(generated_titles_are_compared_after_folding_white_space),
        cmocka_unit_test(mistakes_are_named_with_their_line),
        cmocka_unit_test(every_failed_allocation_is_reported),
    };
    return cmocka_run_group_tests(tests, group_make, group_remove);
}
