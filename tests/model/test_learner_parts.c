/* SPDX-License-Identifier: Apache-2.0
 *
 * test_learner_parts.c - the small rooms behind the learner: the evaluation book, the users of a
 * batch and the title vectors. */
#include <math.h>

#include "model/batch_users.h"
#include "model/eval_book.h"
#include "model/title_vectors.h"
#include "tests/support/unit.h"

/* ---- evaluation book ------------------------------------------------------------------------- */

static void ties_count_half_and_rounded_up(void **state) {
    const float scores[] = {2, 3, 2, 1, 2, 2};

    (void)state;
    const struct eval_outcome outcome = eval_outcome_of(scores, 6);
    const struct eval_outcome alone = eval_outcome_of(scores, 1);

    assert_int_equal(outcome.rank, 1 + 1 + 2); /* one higher, three equal */
    assert_int_equal(alone.rank, 1);
    assert_true(fabs(alone.log_loss) < 1e-6);
    double sum = exp(3) + 4 * exp(2) + exp(1);
    assert_true(fabs(outcome.log_loss - log(sum / exp(2))) < 1e-5);
}

static void figures_are_sums_of_the_rows_of_their_slice(void **state) {
    static struct eval_book book;
    static struct eval_figure figures[FIGURES_MAX];
    const unsigned all = 1u << SLICE_ALL, lm = 1u << SLICE_LM;

    (void)state;
    eval_book_add(&book, EVAL_FAST, EVAL_CATALOGUE, all, (struct eval_outcome){1, 0.5});
    eval_book_add(&book, EVAL_FAST, EVAL_CATALOGUE, all | lm, (struct eval_outcome){7, 1.5});
    eval_book_add(&book, EVAL_FAST, EVAL_CATALOGUE, all, (struct eval_outcome){11, 3});
    int count = eval_book_figures(&book, figures, FIGURES_MAX);

    assert_int_equal(count, 2);
    assert_string_equal(figures[0].model, "fast");
    assert_string_equal(figures[0].kind, "catalogue");
    assert_string_equal(figures[0].slice, "all");
    assert_int_equal(figures[0].count, 3);
    assert_true(figures[0].hit_1 == 1 && figures[0].hit_5 == 1 && figures[0].hit_10 == 2);
    assert_true(fabs(figures[0].ndcg_10 - (1 + 1 / log2(8))) < 1e-12);
    assert_true(fabs(figures[0].mrr - (1 + 1.0 / 7 + 1.0 / 11)) < 1e-12);
    assert_true(figures[0].log_loss == 5);
    assert_string_equal(figures[1].slice, "lm");
    assert_int_equal(figures[1].count, 1);
}

static void a_pair_keeps_sum_and_square_of_the_difference(void **state) {
    static struct eval_book book;
    struct eval_pair pairs[EVAL_PAIRS];

    (void)state;
    eval_book_pair(&book, PAIR_FULL_FAST, (struct eval_outcome){1, 1}, (struct eval_outcome){2, 3});
    eval_book_pair(&book, PAIR_FULL_FAST, (struct eval_outcome){4, 2}, (struct eval_outcome){1, 1});
    eval_book_pair(&book, PAIR_FULL_FAST, (struct eval_outcome){1, 2}, (struct eval_outcome){1, 1});

    assert_int_equal(eval_book_pairs(&book, pairs, EVAL_PAIRS), 1);
    assert_int_equal(pairs[0].count, 3);
    assert_true(pairs[0].hit_1_sum == 0 && pairs[0].hit_1_square == 2);
    assert_true(pairs[0].log_loss_sum == 0 && pairs[0].log_loss_square == 6);
}

/* ---- users of a batch ------------------------------------------------------------------------ */

static struct training_row row_of(uint64_t user, int64_t time, uint32_t item) {
    struct training_row row = {.user_key = user, .time_ms = time, .item = item};

    row.window_count = 3;
    for (uint32_t n = 0; n < 3; n++) {
        row.window[n] = 100 + n;
    }
    return row;
}

static void rows_of_one_second_see_each_other_only_in_learning(void **state) {
    static struct batch_users users;
    const struct training_row rows[] = {row_of(7, 10, 1), row_of(8, 10, 2), row_of(7, 10, 3),
                                        row_of(0, 10, 9), row_of(7, 10, 4), row_of(7, 11, 5)};
    uint32_t before[8];

    (void)state;
    batch_users_find(&users, rows, 6);

    assert_int_equal(users.count, 2);
    assert_int_equal(users.of_row[3], -1); /* erased */
    assert_int_equal(users.rows[0], 4);
    assert_int_equal(users.first[1], 1);
    assert_true(batch_users_has(&users, rows, 8));
    assert_false(batch_users_has(&users, rows, 9));
    /* row 4: window 100 101 102, then 1 and 3 of the same second */
    assert_int_equal(batch_users_before(&users, rows, 4, 8, before), 5);
    const uint32_t expected[] = {100, 101, 102, 1, 3};
    assert_memory_equal(before, expected, sizeof expected);
    assert_int_equal(batch_users_before(&users, rows, 4, 3, before), 3);
    assert_memory_equal(before, expected + 2, 3 * sizeof before[0]);
    /* row 5 is later: its own window would hold them */
    assert_int_equal(batch_users_before(&users, rows, 5, 8, before), 3);
    assert_int_equal(batch_users_before(&users, rows, 4, 1, before), 1);
    assert_int_equal(before[0], 3);
}

/* ---- title vectors --------------------------------------------------------------------------- */

static void vectors_are_standardised_and_of_length_one(void **state) {
    struct title_vectors titles;
    struct error err;
    float raw[2], vector[2];

    (void)state;
    ASSERT_OK(title_vectors_init(&titles, 2, &err), err);
    for (uint32_t n = 0; n < 100; n++) {
        raw[0] = n % 2 == 0 ? 10 : 14;
        raw[1] = n % 2 == 0 ? -1 : -3;
        assert_true(title_vectors_add(&titles, n, raw));
    }
    title_vectors_measure(&titles);
    raw[0] = 14;
    raw[1] = -1;
    title_vectors_standardise(&titles, raw, vector);

    assert_true(fabsf(vector[0] - sqrtf(0.5F)) < 1e-5F);
    assert_true(fabsf(vector[1] - sqrtf(0.5F)) < 1e-5F);
    title_vectors_free(&titles);
}

static void after_enough_titles_the_measure_stays(void **state) {
    struct title_vectors titles;
    struct error err;
    float raw[1];

    (void)state;
    ASSERT_OK(title_vectors_init(&titles, 1, &err), err);
    for (uint32_t n = 0; n < TITLES_MEASURED; n++) {
        raw[0] = (float)(n % 7);
        assert_true(title_vectors_add(&titles, n, raw));
        bool again = title_vectors_add(&titles, n, raw); /* the same item keeps one place */
        assert_true(again == (n < TITLES_MEASURED - 1));
    }
    title_vectors_measure(&titles);
    float mean = titles.mean[0];
    raw[0] = 1000;

    assert_int_equal(titles.measured, TITLES_MEASURED);
    assert_false(title_vectors_add(&titles, 5000, raw));
    title_vectors_measure(&titles);
    assert_true(titles.mean[0] == mean);
    title_vectors_free(&titles);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ties_count_half_and_rounded_up),
        cmocka_unit_test(figures_are_sums_of_the_rows_of_their_slice),
        cmocka_unit_test(a_pair_keeps_sum_and_square_of_the_difference),
        cmocka_unit_test(rows_of_one_second_see_each_other_only_in_learning),
        cmocka_unit_test(vectors_are_standardised_and_of_length_one),
        cmocka_unit_test(after_enough_titles_the_measure_stays),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
