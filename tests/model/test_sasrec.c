/* SPDX-License-Identifier: Apache-2.0
 *
 * test_sasrec.c - gradients, states and growth of SASRec. */
#include <math.h>

#include "base/rng.h"
#include "model/sasrec.h"
#include "tests/support/fault.h"
#include "tests/support/unit.h"

#define WIDTH 8
#define ITEMS 12
#define W     3

static const struct sasrec_shape shape = {
    .E = WIDTH, .blocks = 2, .S = 5, .items_max = 64, .title_width = W};
static const struct sasrec_shape plain = {.E = WIDTH, .blocks = 2, .S = 5, .items_max = 64};

static const uint32_t first_items[] = {3, 1, 4, 1, 5, 9};
static const uint32_t second_items[] = {2, 7, 11};
static const uint32_t third_items[] = {8, 6, 0, 10};
static const struct sasrec_sequence sequences[] = {
    {first_items, 6, 1.0F}, {second_items, 3, 0.5F}, {third_items, 4, 2.0F}};

static int setup(void **state) {
    struct backend *be = NULL;
    struct error err;

    ASSERT_OK(backend_cpu_new(1, &be, &err), err);
    *state = be;
    return 0;
}

static int teardown(void **state) {
    struct backend *be = *state;

    be->ops->free(be);
    return 0;
}

/* Every parameter random and large enough to matter. */
static void randomise(struct sasrec *sasrec) {
    struct rng rng = rng_make(11, 3);

    for (int t = 0; t < sasrec_tensor_count(sasrec); t++) {
        const struct sasrec_tensor *tensor = sasrec_tensor_at(sasrec, t);
        float *values = tensor->value.data;
        for (int n = 0; n < tensor->rows * tensor->cols; n++) {
            values[n] = (float)(0.3 * rng_normal(&rng)) + (values[n] == 1.0F ? 1.0F : 0.0F);
        }
    }
    sasrec_loaded(sasrec, sasrec_items(sasrec));
}

static struct sasrec *make(struct backend *be, const struct sasrec_shape *of, int items) {
    struct sasrec *sasrec = NULL;
    struct error err;

    ASSERT_OK(sasrec_new(be, of, 1, true, &sasrec, &err), err);
    ASSERT_OK(sasrec_grow(sasrec, items, &err), err);
    for (uint32_t i = 0; i < (uint32_t)items && of->title_width > 0; i++) {
        const float title[W] = {0.5F, (float)i / 10, -0.25F};
        ASSERT_OK(sasrec_set_title(sasrec, i, title, &err), err);
    }
    return sasrec;
}

/* Loss of the sequences; parameters stay, the gradient is left in moment1. */
static double loss_of(struct sasrec *sasrec) {
    const struct sasrec_step how = {
        .learning_rate = 0, .beta1 = 0, .beta2 = 0, .epsilon = 1, .step = 1};
    struct sasrec_stats stats;
    struct error err;

    ASSERT_OK(sasrec_train(sasrec, sequences, 3, &how, &stats, &err), err);
    assert_int_equal(stats.positions, 5 + 2 + 3);
    return stats.loss;
}

static void every_gradient_equals_finite_differences(void **state) {
    struct sasrec *sasrec = make(*state, &shape, ITEMS);
    static float gradient[4096];
    const float h = 1e-2F;

    randomise(sasrec);
    int parameters = sasrec_tensor_count(sasrec) - 1; /* the last are the titles, not learned */
    for (int t = 0; t < parameters; t++) {
        const struct sasrec_tensor *tensor = sasrec_tensor_at(sasrec, t);
        const int count = tensor->rows * tensor->cols;
        (void)loss_of(sasrec);
        memcpy(gradient, tensor->moment1.data, (size_t)count * sizeof *gradient);
        float *values = tensor->value.data;
        for (int n = 0; n<count; n += count> 64 ? 5 : 1) {
            float kept = values[n];
            values[n] = kept + h;
            sasrec_loaded(sasrec, ITEMS);
            double up = loss_of(sasrec);
            values[n] = kept - h;
            sasrec_loaded(sasrec, ITEMS);
            double down = loss_of(sasrec);
            values[n] = kept;
            sasrec_loaded(sasrec, ITEMS);
            double expected = (up - down) / (2 * (double)h);
            double error = fabs(expected - (double)gradient[n]);
            if (!(error <= 3e-3 + 0.03 * fabs(expected))) {
                fail_msg("%s[%d]: %g, finite difference %g", tensor->name, n, (double)gradient[n],
                         expected);
            }
        }
    }
    sasrec_free(sasrec);
}

/* With nearly all others drawn, the sample's loss is nearly the catalogue's; rows without a
 * gradient stay as they are, moments too. */
static void a_sampled_softmax_estimates_the_whole_and_touches_only_its_rows(void **state) {
    struct sasrec *sasrec = make(*state, &shape, 60);
    const struct sasrec_step how = {
        .learning_rate = 0, .epsilon = 1, .step = 1, .sampled_negatives = 40};
    const struct sasrec_tensor *table = sasrec_tensor_at(sasrec, 0);
    struct sasrec_stats stats;
    struct error err;

    randomise(sasrec);
    double whole = loss_of(sasrec);
    memset(table->moment1.data, 0, sizeof(float) * 60 * WIDTH);
    double mean = 0;
    for (int s = 1; s <= 20; s++) {
        struct sasrec_step step = how;
        step.step = s; /* other negatives */
        ASSERT_OK(sasrec_train(sasrec, sequences, 3, &step, &stats, &err), err);
        mean += stats.loss / 20;
        if (s > 1) { continue; }
        int untouched = 0;
        const float *moment = table->moment1.data;
        for (int i = 0; i < 60; i++) {
            bool zero = true;
            for (int e = 0; e < WIDTH; e++) {
                zero = zero && moment[i * WIDTH + e] == 0.0F;
            }
            untouched += zero ? 1 : 0;
        }
        assert_true(untouched >= 1 && untouched <= 60 - 40);
    }

    assert_true(fabs(mean - whole) < 0.02 * whole);
    sasrec_free(sasrec);
}

static void states_for(struct sasrec *sasrec, struct backend *be,
                       const struct sasrec_sequence *histories, int count, float *ret_states) {
    struct sasrec_work *work = NULL;
    struct error err;

    (void)sasrec_vectors(sasrec);
    ASSERT_OK(sasrec_work_new(be, sasrec_shape_of(sasrec), false, &work, &err), err);
    ASSERT_OK(sasrec_states(sasrec, work, histories, count, ret_states, &err), err);
    sasrec_work_free(work);
}

/* -log p(item | history) as a prediction sees it */
static double surprise(struct sasrec *sasrec, struct backend *be, const uint32_t *history,
                       int count, uint32_t item) {
    const struct sasrec_sequence one = {history, count, 1.0F};
    struct sasrec_work *work = NULL;
    float state[WIDTH], values[ITEMS];
    struct error err;

    states_for(sasrec, be, &one, 1, state);
    ASSERT_OK(sasrec_work_new(be, sasrec_shape_of(sasrec), false, &work, &err), err);
    ASSERT_OK(sasrec_log_probabilities(sasrec, work, state, 1, values, &err), err);
    sasrec_work_free(work);
    return -(double)values[item];
}

/* Without positions the two passes must agree at every position, with the short cut of the last
 * block or without. */
static void training_loss_is_what_predictions_would_have_lost(void **state) {
    struct sasrec *sasrec = make(*state, &plain, ITEMS);
    const struct sasrec_step how = {.learning_rate = 0, .epsilon = 1, .step = 1};
    const struct sasrec_sequence one = {first_items, 4, 1.0F};
    struct sasrec_stats stats;
    struct error err;

    randomise(sasrec);
    memset(sasrec_tensor_at(sasrec, 1)->value.data, 0, sizeof(float) * 5 * WIDTH);
    ASSERT_OK(sasrec_train(sasrec, &one, 1, &how, &stats, &err), err);
    double expected = 0;
    for (int n = 1; n < 4; n++) {
        expected += surprise(sasrec, *state, first_items, n, first_items[n]) / 3;
    }

    assert_true(fabs(stats.loss - expected) < 1e-5);
    sasrec_free(sasrec);
}

static void a_state_has_the_same_bits_alone_and_in_company(void **state) {
    struct sasrec *sasrec = make(*state, &shape, ITEMS);
    float together[3 * WIDTH], alone[WIDTH];

    randomise(sasrec);
    states_for(sasrec, *state, sequences, 3, together);
    for (int n = 0; n < 3; n++) {
        states_for(sasrec, *state, &sequences[n], 1, alone);
        assert_memory_equal(alone, together + n * WIDTH, sizeof alone);
    }
    sasrec_free(sasrec);
}

static void an_empty_or_unknown_history_gives_zeros(void **state) {
    struct sasrec *sasrec = make(*state, &plain, 4);
    const struct sasrec_sequence odd[2] = {{first_items + 4, 2, 1.0F}, {first_items, 0, 1.0F}};
    float states[2 * WIDTH];

    states_for(sasrec, *state, odd, 2, states); /* items 5 and 9 of 4 */

    for (int n = 0; n < 2 * WIDTH; n++) {
        assert_true(states[n] == 0.0F);
    }
    sasrec_free(sasrec);
}

static void training_learns_a_cycle(void **state) {
    struct sasrec *sasrec = make(*state, &plain, 6);
    struct sasrec_step how = {
        .learning_rate = 1e-2F, .beta1 = 0.9F, .beta2 = 0.98F, .epsilon = 1e-8F};
    const uint32_t cycle[] = {0, 1, 2, 3, 4, 5, 0, 1, 2, 3, 4, 5};
    struct sasrec_stats stats;
    struct error err;

    for (int s = 0; s < 300; s++) {
        struct sasrec_sequence one = {cycle + s % 6, 6, 1.0F};
        how.step = s + 1;
        ASSERT_OK(sasrec_train(sasrec, &one, 1, &how, &stats, &err), err);
    }

    assert_true(stats.loss < 0.3);
    assert_true(surprise(sasrec, *state, cycle, 3, 3) < 0.5);
    sasrec_free(sasrec);
}

static void a_step_that_is_not_finite_changes_nothing(void **state) {
    struct sasrec *sasrec = make(*state, &plain, ITEMS);
    const struct sasrec_step how = {.learning_rate = 0.1F, .epsilon = 1e-8F, .step = 1};
    const struct sasrec_tensor *positions = sasrec_tensor_at(sasrec, 1);
    const struct sasrec_tensor *last = sasrec_tensor_at(sasrec, sasrec_tensor_count(sasrec) - 2);
    struct sasrec_stats stats;
    float before[WIDTH * WIDTH];
    struct error err;

    ((float *)positions->value.data)[0] = NAN;
    memcpy(before, last->value.data, sizeof before);
    ASSERT_OK(sasrec_train(sasrec, sequences, 3, &how, &stats, &err), err);

    assert_true(stats.discarded);
    assert_memory_equal(before, last->value.data, sizeof before);
    sasrec_free(sasrec);
}

static void new_items_start_near_the_mean_and_old_ones_stay(void **state) {
    struct sasrec *sasrec = make(*state, &plain, 8);
    struct error err;
    float before[8 * WIDTH];
    double mean = 0;

    randomise(sasrec);
    memcpy(before, sasrec_vectors(sasrec), sizeof before);
    ASSERT_OK(sasrec_grow(sasrec, 40, &err), err);
    const float *vectors = sasrec_vectors(sasrec);

    assert_memory_equal(before, vectors, sizeof before);
    for (int i = 0; i < 8; i++) {
        mean += (double)before[i * WIDTH] / 8;
    }
    for (int i = 8; i < 40; i++) {
        assert_true(fabs((double)vectors[i * WIDTH] - mean) < 0.15);
    }
    ASSERT_STATUS(sasrec_grow(sasrec, 65, &err), STATUS_LIMIT);
    assert_int_equal(sasrec_items(sasrec), 40);
    sasrec_free(sasrec);
}

static void a_version_has_the_vectors_and_states_of_its_source(void **state) {
    struct sasrec *sasrec = make(*state, &shape, ITEMS), *version = NULL;
    struct error err;
    float a[3 * WIDTH], b[3 * WIDTH];

    randomise(sasrec);
    (void)sasrec_vectors(sasrec);
    ASSERT_OK(sasrec_new(*state, &shape, 99, false, &version, &err), err);
    ASSERT_OK(sasrec_copy(version, sasrec, &err), err);
    states_for(sasrec, *state, sequences, 3, a);
    states_for(version, *state, sequences, 3, b);

    assert_memory_equal(a, b, sizeof a);
    assert_memory_equal(sasrec_vectors(sasrec), sasrec_vectors(version),
                        sizeof(float) * ITEMS * WIDTH);
    sasrec_free(version);
    sasrec_free(sasrec);
}

static void a_title_moves_its_item_and_no_other(void **state) {
    struct sasrec *sasrec = make(*state, &shape, ITEMS);
    const float title[W] = {2, 2, 2};
    float before[ITEMS * WIDTH];
    struct error err;

    randomise(sasrec);
    memcpy(before, sasrec_vectors(sasrec), sizeof before);
    ASSERT_OK(sasrec_set_title(sasrec, 5, title, &err), err);
    const float *after = sasrec_vectors(sasrec);

    assert_memory_equal(before, after, sizeof(float) * 5 * WIDTH);
    assert_memory_not_equal(before + 5 * WIDTH, after + 5 * WIDTH, sizeof(float) * WIDTH);
    assert_memory_equal(before + 6 * WIDTH, after + 6 * WIDTH, sizeof(float) * (ITEMS - 6) * WIDTH);
    ASSERT_STATUS(sasrec_set_title(sasrec, ITEMS, title, &err), STATUS_NOT_FOUND);
    sasrec_free(sasrec);
}

static enum status make_and_train(void *context) {
    const struct sasrec_step how = {.learning_rate = 0.1F, .epsilon = 1e-8F, .step = 1};
    struct sasrec *sasrec = NULL;
    struct sasrec_stats stats;
    struct error err;

    enum status status = sasrec_new(context, &shape, 1, true, &sasrec, &err);
    if (status == STATUS_OK) { status = sasrec_grow(sasrec, ITEMS, &err); }
    if (status == STATUS_OK) { status = sasrec_train(sasrec, sequences, 3, &how, &stats, &err); }
    sasrec_free(sasrec);
    return status;
}

static void every_failed_allocation_is_no_memory(void **state) {
    int operations = fault_sweep(FAULT_MEMORY, STATUS_NO_MEMORY, make_and_train, *state);

    assert_true(operations > 20);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_gradient_equals_finite_differences),
        cmocka_unit_test(a_sampled_softmax_estimates_the_whole_and_touches_only_its_rows),
        cmocka_unit_test(training_loss_is_what_predictions_would_have_lost),
        cmocka_unit_test(a_state_has_the_same_bits_alone_and_in_company),
        cmocka_unit_test(an_empty_or_unknown_history_gives_zeros),
        cmocka_unit_test(training_learns_a_cycle),
        cmocka_unit_test(a_step_that_is_not_finite_changes_nothing),
        cmocka_unit_test(new_items_start_near_the_mean_and_old_ones_stay),
        cmocka_unit_test(a_version_has_the_vectors_and_states_of_its_source),
        cmocka_unit_test(a_title_moves_its_item_and_no_other),
        cmocka_unit_test(every_failed_allocation_is_no_memory),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
