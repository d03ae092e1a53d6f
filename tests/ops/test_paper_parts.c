/* SPDX-License-Identifier: Apache-2.0
 *
 * test_paper_parts.c - the schedule, the draws, what an answer names, what a result counts, and
 * what progress says. */
#include "tests/ops/paper_fixture.h"

#include <math.h>

#include "ops/paper/evaluate.h"
#include "ops/paper/progress.h"

static void assert_near(double found, double expected) {
    if (!(fabs(found - expected) <= 1e-12)) { fail_msg("%.15g, expected %.15g", found, expected); }
}

/* ---- schedule and draws ---- */

/* The released code's numbers for 100 steps at 1e-3, from and to 1e-5: warm-up 5 steps, then a
 * cosine that began at step 0. */
static void the_rate_warms_up_and_follows_the_cosine(void **state) {
    (void)state;
    assert_near(paper_learning_rate(1e-3, 0, 100), 1e-5);
    assert_near(paper_learning_rate(1e-3, 4, 100), 1e-5 + 0.8 * (1e-3 - 1e-5));
    assert_near(paper_learning_rate(1e-3, 5, 100), 1e-5 + 0.993844170297569 * (1e-3 - 1e-5));
    assert_near(paper_learning_rate(1e-3, 50, 100), 1e-5 + 0.5 * (1e-3 - 1e-5));
    assert_near(paper_learning_rate(1e-3, 0, 10), 1e-3); /* too short for a warm-up */
}

static void a_seed_learns_from_its_own_samples_and_each_once(void **state) {
    (void)state;
    int first[50], second[50], count = 0;
    bool seen[50] = {false};
    paper_train_choose(50, 20, 1, first, &count);
    assert_int_equal(count, 20);
    for (int i = 0; i < count; i++) {
        assert_true(first[i] >= 0 && first[i] < 50 && !seen[first[i]]);
        seen[first[i]] = true;
    }

    paper_train_choose(50, 20, 2, second, &count);
    assert_memory_not_equal(first, second, 20 * sizeof *first);
    paper_train_choose(50, 0, 1, first, &count);
    assert_int_equal(count, 50);
}

static void every_epoch_has_all_samples_in_another_order(void **state) {
    (void)state;
    int chosen[30], one[30], two[30], again[30], sum = 0;
    for (int i = 0; i < 30; i++) {
        chosen[i] = 100 + i;
    }
    paper_train_shuffle(chosen, 30, 1, 0, one);
    paper_train_shuffle(chosen, 30, 1, 1, two);
    paper_train_shuffle(chosen, 30, 1, 1, again);
    for (int i = 0; i < 30; i++) {
        sum += two[i];
    }

    assert_int_equal(sum, 30 * 100 + 30 * 29 / 2);
    assert_memory_not_equal(one, two, sizeof one);
    assert_memory_equal(two, again, sizeof two);
}

static void the_last_step_of_an_epoch_may_be_short(void **state) {
    (void)state;
    struct paper_settings settings = {.epochs = 3, .batch = 128};
    assert_int_equal(paper_train_steps(&settings, 1024), 24);
    assert_int_equal(paper_train_steps(&settings, 1025), 27);
    settings.limit = 100;
    assert_int_equal(paper_train_steps(&settings, 1025), 3);
}

/* ---- what an answer names ---- */

static struct paper_item list_items[PAPER_CANDIDATES];
static struct paper_candidates list;

static struct paper_split list_split(const char *const *titles) {
    static char names[PAPER_CANDIDATES][16];
    for (int c = 0; c < PAPER_CANDIDATES; c++) {
        (void)snprintf(names[c], sizeof names[c], "Filler %c", 'A' + c);
        list_items[c].title = span_of(c < 4 ? titles[c] : names[c]);
        list.items[c] = (uint32_t)c;
    }
    return (struct paper_split){.items = list_items, .item_count = PAPER_CANDIDATES};
}

static int named(const struct paper_split *split, enum paper_match match, const char *text) {
    return paper_candidates_named(split, &list, span_of(text), match);
}

static void an_answer_is_a_title_from_end_to_end(void **state) {
    (void)state;
    static const char *const titles[4] = {"Alien", "Aliens", "Toy Story", "Up"};
    struct paper_split split = list_split(titles);

    assert_int_equal(named(&split, PAPER_MATCH_WHOLE, " Aliens "), 1);
    assert_int_equal(named(&split, PAPER_MATCH_WHOLE, "Toy  Story"), 2);
    assert_int_equal(named(&split, PAPER_MATCH_WHOLE, "toy story"), -1);
    assert_int_equal(named(&split, PAPER_MATCH_WHOLE, "Toy Story 2"), -1);
    assert_int_equal(named(&split, PAPER_MATCH_WHOLE, ""), -1);
}

/* The released rule: the only title that stands somewhere in the text, any case. */
static void the_released_rule_looks_for_titles_inside(void **state) {
    (void)state;
    static const char *const titles[4] = {"Alien", "Aliens", "Toy Story", "Up"};
    struct paper_split split = list_split(titles);

    assert_int_equal(named(&split, PAPER_MATCH_PUBLISHED, "I say TOY STORY"), 2);
    assert_int_equal(named(&split, PAPER_MATCH_PUBLISHED, "Alien"), 0);
    assert_int_equal(named(&split, PAPER_MATCH_PUBLISHED, "Aliens"), -1); /* two */
    assert_int_equal(named(&split, PAPER_MATCH_PUBLISHED, "Brazil"), -1);
}

/* ---- results ---- */

static struct paper_result four_answers(void) {
    static const int target[4] = {3, 0, 7, 19}, answered[4] = {3, -1, 2, -1};
    static const int lenient[4] = {3, 0, 2, -1}, scored[4] = {3, 0, 7, 1};
    struct paper_result result;
    struct error err;
    ASSERT_OK(paper_result_init(&result, 4, &err), err);
    memcpy(result.target, target, sizeof target);
    memcpy(result.answered, answered, sizeof answered);
    memcpy(result.lenient, lenient, sizeof lenient);
    memcpy(result.scored, scored, sizeof scored);
    return result;
}

static void both_denominators_are_counted(void **state) {
    (void)state;
    struct paper_result result = four_answers();

    assert_near(paper_result_figure(&result, PAPER_HIT_VALID), 1.0 / 2.0);
    assert_near(paper_result_figure(&result, PAPER_HIT_ALL), 1.0 / 4.0);
    assert_near(paper_result_figure(&result, PAPER_VALID), 2.0 / 4.0);
    assert_near(paper_result_figure(&result, PAPER_HIT_SCORED), 3.0 / 4.0);
    assert_near(paper_result_figure(&result, PAPER_LENIENT_HIT), 2.0 / 3.0);
    assert_near(paper_result_figure(&result, PAPER_LENIENT_ALL), 2.0 / 4.0);
    assert_near(paper_result_figure(&result, PAPER_LENIENT_VALID), 3.0 / 4.0);
    paper_result_free(&result);
}

static void without_a_valid_answer_the_papers_figure_is_undefined(void **state) {
    (void)state;
    struct paper_result result = four_answers();
    result.answered[0] = result.answered[2] = -1;

    assert_true(isnan(paper_result_figure(&result, PAPER_HIT_VALID)));
    assert_near(paper_result_figure(&result, PAPER_HIT_ALL), 0.0);
    paper_result_free(&result);
}

static void a_result_comes_back_from_its_text(void **state) {
    (void)state;
    struct paper_result result = four_answers(), back;
    struct buffer text = {0};
    struct json_writer w;
    struct json_value *json = NULL;
    struct error err;
    result.steps = 7;
    result.tokens = 12345;
    result.first_loss = 2.5; /* last_loss stays NaN */

    json_write_begin(&w, &text);
    paper_result_json(&w, NULL, &result);
    assert_int_equal(json_write_end(&w), STATUS_OK);
    ASSERT_OK(json_parse(buffer_span(&text), &json, &err), err);
    ASSERT_OK(paper_result_parse(json, &back, &err), err);

    assert_int_equal(back.samples, 4);
    assert_memory_equal(back.answered, result.answered, 4 * sizeof *back.answered);
    assert_memory_equal(back.scored, result.scored, 4 * sizeof *back.scored);
    assert_int_equal(back.steps, 7);
    assert_int_equal(back.tokens, 12345);
    assert_near(back.first_loss, 2.5);
    assert_true(isnan(back.last_loss));
    json_free(json);
    buffer_free(&text);
    paper_result_free(&result);
    paper_result_free(&back);
}

static void a_result_that_lacks_answers_is_corrupt(void **state) {
    (void)state;
    struct paper_result back;
    struct json_value *json = NULL;
    struct error err;
    ASSERT_OK(json_parse(span_of("{\"samples\": 2, \"target\": [1]}"), &json, &err), err);

    ASSERT_STATUS(paper_result_parse(json, &back, &err), STATUS_CORRUPT);

    ASSERT_CONTAINS(err.text, "'target'");
    json_free(json);
}

/* ---- progress ---- */

static void assert_text(struct buffer *text, const char *expected) {
    assert_int_equal(buffer_append(text, "", 1), STATUS_OK);
    assert_string_equal((char *)text->data, expected);
    buffer_free(text);
}

static void the_time_left_is_of_this_process_alone(void **state) {
    (void)state;
    struct progress progress = {.what = "train", .total = 100, .first = 40};
    struct buffer text = {0};

    /* 10 of the 60 that were left took 20 s: 50 more take 100 s */
    assert_int_equal(progress_text(&progress, 50, 20000000, (double)NAN, false, &text), STATUS_OK);

    assert_text(&text, "train  50/100   50 %  1m 40s left");
}

static void a_bar_is_drawn_only_when_asked_for(void **state) {
    (void)state;
    struct progress progress = {.what = "train", .total = 4};
    struct buffer with = {0}, without = {0};

    assert_int_equal(progress_text(&progress, 2, 7200000000, 1.5, true, &with), STATUS_OK);
    assert_int_equal(progress_text(&progress, 2, 7200000000, 1.5, false, &without), STATUS_OK);

    assert_text(&with, "train  [============>           ]  2/4   50 %  2h 00m left  loss 1.5000");
    assert_text(&without, "train  2/4   50 %  2h 00m left  loss 1.5000");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_rate_warms_up_and_follows_the_cosine),
        cmocka_unit_test(a_seed_learns_from_its_own_samples_and_each_once),
        cmocka_unit_test(every_epoch_has_all_samples_in_another_order),
        cmocka_unit_test(the_last_step_of_an_epoch_may_be_short),
        cmocka_unit_test(an_answer_is_a_title_from_end_to_end),
        cmocka_unit_test(the_released_rule_looks_for_titles_inside),
        cmocka_unit_test(both_denominators_are_counted),
        cmocka_unit_test(without_a_valid_answer_the_papers_figure_is_undefined),
        cmocka_unit_test(a_result_comes_back_from_its_text),
        cmocka_unit_test(a_result_that_lacks_answers_is_corrupt),
        cmocka_unit_test(the_time_left_is_of_this_process_alone),
        cmocka_unit_test(a_bar_is_drawn_only_when_asked_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
