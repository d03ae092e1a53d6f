/* SPDX-License-Identifier: Apache-2.0
 *
 * test_fast_model.c - lists, candidates and ranks of the fast tier. */
#include <math.h>

#include "base/rng.h"
#include "model/fast_model.h"
#include "tests/support/unit.h"

#define ITEMS   80
#define HISTORY 6

static const struct fast_settings settings = {
    .sasrec = {.E = 8, .blocks = 2, .S = 8, .items_max = 200},
    .counters = {.items_max = 200, .neighbours_max = 16, .span = 4, .half_life = 100},
    .history_span = 5,
    .candidates = 30,
    .new_share = 0.1,
};

struct fixture {
    struct backend *be;
    struct fast_model *model;
    struct ranker *ranker;
    uint32_t history[3][HISTORY];
    struct rank_request request[3];
};

/* Items 0..59 have events, 60..79 are new. */
static int setup(void **state) {
    static struct fixture f;
    struct rng rng = rng_make(4, 4);
    uint32_t window[300];
    struct error err;

    memset(&f, 0, sizeof f);
    ASSERT_OK(backend_cpu_new(1, &f.be, &err), err);
    ASSERT_OK(fast_model_new(f.be, &settings, 3, true, &f.model, &err), err);
    ASSERT_OK(fast_model_grow(f.model, ITEMS, &err), err);
    ASSERT_OK(ranker_new(f.be, &settings, &f.ranker, &err), err);
    for (int n = 0; n < 300; n++) {
        window[n] = n < 60 ? (uint32_t)n : (uint32_t)rng_below(&rng, 1 + rng_below(&rng, 60));
        ASSERT_OK(counters_add(f.model->counters, window, n, window[n], (uint64_t)n + 1, &err),
                  err);
    }
    (void)sasrec_vectors(f.model->sasrec);
    for (int r = 0; r < 3; r++) {
        for (int n = 0; n < HISTORY; n++) {
            f.history[r][n] = (uint32_t)rng_below(&rng, 60);
        }
        f.request[r] = (struct rank_request){
            .history = f.history[r],
            .history_count = HISTORY,
            .exclude = f.history[r],
            .exclude_count = HISTORY,
            .seq = 301,
            .use_sasrec = true,
            .list = 10,
        };
    }
    *state = &f;
    return 0;
}

static int teardown(void **state) {
    struct fixture *f = *state;

    ranker_free(f->ranker);
    fast_model_free(f->model);
    f->be->ops->free(f->be);
    return 0;
}

static void a_list_is_sorted_and_leaves_out_what_it_must(void **state) {
    struct fixture *f = *state;
    uint8_t hidden[ITEMS] = {0};
    struct rank_list list;
    struct error err;

    ASSERT_OK(ranker_rank(f->ranker, f->model, f->request, 1, &list, &err), err);
    hidden[list.items[0]] = 1;
    f->request[0].hidden = hidden;
    uint32_t best = list.items[0];
    ASSERT_OK(ranker_rank(f->ranker, f->model, f->request, 1, &list, &err), err);

    assert_int_equal(list.count, 10);
    for (int n = 0; n < list.count; n++) {
        assert_true(list.items[n] != best);
        for (int h = 0; h < HISTORY; h++) {
            assert_true(list.items[n] != f->history[0][h]);
        }
        if (n > 0) { assert_true(list.probability[n] <= list.probability[n - 1]); }
        assert_true(list.source[n] <= SOURCE_ITEM_HEAD);
    }
}

static void a_list_has_the_same_bits_alone_and_in_company(void **state) {
    struct fixture *f = *state;
    struct rank_list together[3], alone;
    struct error err;

    memset(together, 0, sizeof together);
    ASSERT_OK(ranker_rank(f->ranker, f->model, f->request, 3, together, &err), err);
    for (int r = 0; r < 3; r++) {
        memset(&alone, 0, sizeof alone);
        ASSERT_OK(ranker_rank(f->ranker, f->model, &f->request[r], 1, &alone, &err), err);
        assert_memory_equal(&alone, &together[r], sizeof alone);
    }
}

static void candidates_are_distinct_and_some_are_new(void **state) {
    struct fixture *f = *state;
    uint32_t items[30];
    bool seen[ITEMS] = {false};
    int count = 0, fresh = 0;
    struct error err;

    ASSERT_OK(ranker_candidates(f->ranker, f->model, f->request, 30, items, &count, &err), err);

    assert_int_equal(count, 30);
    for (int n = 0; n < count; n++) {
        assert_false(seen[items[n]]);
        seen[items[n]] = true;
        fresh += items[n] >= 60 ? 1 : 0;
    }
    assert_true(fresh >= 3); /* a tenth of them */
}

static void ranks_agree_with_sorting_by_hand(void **state) {
    struct fixture *f = *state;
    struct catalogue_ranks ranks;
    uint32_t items[ITEMS];
    static float features[ITEMS * FEATURE_COUNT], scores[ITEMS];
    const uint32_t target = 33;
    struct error err;
    int better[4] = {1, 1, 1, 1};

    for (uint32_t i = 0; i < ITEMS; i++) {
        items[i] = i;
    }
    ASSERT_OK(ranker_catalogue_ranks(f->ranker, f->model, f->request, target, &ranks, &err), err);
    ASSERT_OK(ranker_features(f->ranker, f->model, f->request, items, ITEMS, features, &err), err);
    stacker_score(&f->model->fast_stack, features, ITEMS, scores);
    const int feature[3] = {FEATURE_SASREC, FEATURE_COVISITATION, FEATURE_DECAYED};
    int equal[4] = {0, 0, 0, 0};
    for (int i = 0; i < ITEMS; i++) {
        bool out = i == (int)target;
        for (int h = 0; h < HISTORY; h++) {
            out = out || f->history[0][h] == (uint32_t)i;
        }
        if (out) { continue; }
        for (int k = 0; k < 4; k++) {
            float mine =
                k < 3 ? features[target * FEATURE_COUNT + (uint32_t)feature[k]] : scores[target];
            float other = k < 3 ? features[i * FEATURE_COUNT + feature[k]] : scores[i];
            better[k] += other > mine ? 1 : 0;
            equal[k] += other == mine ? 1 : 0;
        }
    }

    assert_int_equal(ranks.sasrec, better[0] + (equal[0] + 1) / 2);
    assert_int_equal(ranks.covisitation, better[1] + (equal[1] + 1) / 2);
    assert_int_equal(ranks.decayed, better[2] + (equal[2] + 1) / 2);
    assert_int_equal(ranks.fast, better[3] + (equal[3] + 1) / 2);
    assert_true(ranks.fast_log_loss > 0);
}

static void an_unknown_target_ranks_behind_all(void **state) {
    struct fixture *f = *state;
    struct catalogue_ranks ranks;
    struct error err;

    ASSERT_OK(ranker_catalogue_ranks(f->ranker, f->model, f->request, ITEMS + 3, &ranks, &err),
              err);
    assert_int_equal(ranks.fast, ITEMS + 1);
    assert_true(isnan(ranks.fast_log_loss));
}

static void without_sasrec_the_counters_answer(void **state) {
    struct fixture *f = *state;
    struct rank_list list;
    struct error err;

    f->request[0].use_sasrec = false;
    f->request[1].history_count = 0; /* and without a history the popular ones */
    f->request[1].exclude_count = 0;
    ASSERT_OK(ranker_rank(f->ranker, f->model, f->request, 1, &list, &err), err);
    assert_int_equal(list.count, 10);
    for (int n = 0; n < list.count; n++) {
        assert_true(list.source[n] != SOURCE_SASREC);
    }
    ASSERT_OK(ranker_rank(f->ranker, f->model, &f->request[1], 1, &list, &err), err);
    assert_true(counters_popularity(f->model->counters, list.items[0]) >= 5);
}

static void an_empty_catalogue_gives_an_empty_list(void **state) {
    struct fixture *f = *state;
    struct fast_model *empty = NULL;
    struct rank_list list;
    struct error err;

    ASSERT_OK(fast_model_new(f->be, &settings, 3, false, &empty, &err), err);
    ASSERT_OK(ranker_rank(f->ranker, empty, f->request, 1, &list, &err), err);
    assert_int_equal(list.count, 0);
    fast_model_free(empty);
}

static void a_copy_ranks_like_its_source(void **state) {
    struct fixture *f = *state;
    struct fast_model *copy = NULL;
    struct rank_list a, b;
    struct error err;

    memset(&a, 0, sizeof a);
    memset(&b, 0, sizeof b);
    f->model->fast_stack.weight[FEATURE_COVISITATION] = 3;
    ASSERT_OK(fast_model_new(f->be, &settings, 9, false, &copy, &err), err);
    ASSERT_OK(fast_model_copy(copy, f->model, &err), err);
    ASSERT_OK(ranker_rank(f->ranker, f->model, f->request, 1, &a, &err), err);
    ASSERT_OK(ranker_rank(f->ranker, copy, f->request, 1, &b, &err), err);
    assert_memory_equal(&a, &b, sizeof a);
    fast_model_free(copy);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_list_is_sorted_and_leaves_out_what_it_must, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(a_list_has_the_same_bits_alone_and_in_company, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(candidates_are_distinct_and_some_are_new, setup, teardown),
        cmocka_unit_test_setup_teardown(ranks_agree_with_sorting_by_hand, setup, teardown),
        cmocka_unit_test_setup_teardown(an_unknown_target_ranks_behind_all, setup, teardown),
        cmocka_unit_test_setup_teardown(without_sasrec_the_counters_answer, setup, teardown),
        cmocka_unit_test_setup_teardown(an_empty_catalogue_gives_an_empty_list, setup, teardown),
        cmocka_unit_test_setup_teardown(a_copy_ranks_like_its_source, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
