/* SPDX-License-Identifier: Apache-2.0
 *
 * eval_book.c - adds outcomes up and names the sums. */
#include "model/eval_book.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

static const char *const model_names[EVAL_MODELS] = {
    "full",   "fast",         "ilora_item", "ilora_title",        "frozen_item",
    "sasrec", "covisitation", "popularity", "popularity_decayed",
};
static const char *const kind_names[EVAL_KINDS] = {"candidates", "catalogue"};
static const char *const slice_names[EVAL_SLICES] = {"all", "unseen", "short", "long", "lm"};
static const enum eval_model pair_models[EVAL_PAIRS][2] = {
    {EVAL_FULL, EVAL_FAST},
    {EVAL_ILORA_ITEM, EVAL_FROZEN_ITEM},
    {EVAL_FULL, EVAL_SASREC},
};

void eval_book_add(struct eval_book *book, enum eval_model model, enum eval_kind kind,
                   unsigned slices, struct eval_outcome outcome) {
    assert(outcome.rank >= 1 && slices < 1u << EVAL_SLICES);
    for (int s = 0; s < EVAL_SLICES; s++) {
        if ((slices >> s & 1u) == 0) { continue; }
        struct eval_sum *sum = &book->sum[model][kind][s];
        sum->count += 1;
        sum->hit_1 += outcome.rank <= 1 ? 1 : 0;
        sum->hit_5 += outcome.rank <= 5 ? 1 : 0;
        sum->hit_10 += outcome.rank <= 10 ? 1 : 0;
        sum->ndcg_10 += outcome.rank <= 10 ? 1 / log2(outcome.rank + 1.0) : 0;
        sum->mrr += 1.0 / outcome.rank;
        sum->log_loss += outcome.log_loss;
    }
}

void eval_book_pair(struct eval_book *book, enum eval_pairing pairing, struct eval_outcome a,
                    struct eval_outcome b) {
    struct eval_pair_sum *pair = &book->pair[pairing];
    double hit = (a.rank <= 1 ? 1.0 : 0.0) - (b.rank <= 1 ? 1.0 : 0.0);
    double loss = a.log_loss - b.log_loss;

    pair->count += 1;
    pair->hit_1_sum += hit;
    pair->hit_1_square += hit * hit;
    pair->log_loss_sum += loss;
    pair->log_loss_square += loss * loss;
}

static void name_set(char *to, size_t size, const char *name) {
    (void)snprintf(to, size, "%s", name);
}

int eval_book_figures(const struct eval_book *book, struct eval_figure *ret_figures, int max) {
    int count = 0;

    for (int n = 0; n < EVAL_MODELS * EVAL_KINDS * EVAL_SLICES && count < max; n++) {
        int model = n / (EVAL_KINDS * EVAL_SLICES);
        int kind = n / EVAL_SLICES % EVAL_KINDS, slice = n % EVAL_SLICES;
        const struct eval_sum *sum = &book->sum[model][kind][slice];
        if (sum->count < 1) { continue; }
        struct eval_figure *figure = &ret_figures[count++];
        memset(figure, 0, sizeof *figure);
        name_set(figure->model, sizeof figure->model, model_names[model]);
        name_set(figure->kind, sizeof figure->kind, kind_names[kind]);
        name_set(figure->slice, sizeof figure->slice, slice_names[slice]);
        figure->count = (uint64_t)sum->count;
        figure->hit_1 = sum->hit_1;
        figure->hit_5 = sum->hit_5;
        figure->hit_10 = sum->hit_10;
        figure->ndcg_10 = sum->ndcg_10;
        figure->mrr = sum->mrr;
        figure->log_loss = sum->log_loss;
    }
    return count;
}

int eval_book_pairs(const struct eval_book *book, struct eval_pair *ret_pairs, int max) {
    int count = 0;

    for (int p = 0; p < EVAL_PAIRS && count < max; p++) {
        const struct eval_pair_sum *sum = &book->pair[p];
        if (sum->count < 1) { continue; }
        struct eval_pair *pair = &ret_pairs[count++];
        memset(pair, 0, sizeof *pair);
        name_set(pair->a, sizeof pair->a, model_names[pair_models[p][0]]);
        name_set(pair->b, sizeof pair->b, model_names[pair_models[p][1]]);
        pair->count = (uint64_t)sum->count;
        pair->hit_1_sum = sum->hit_1_sum;
        pair->hit_1_square = sum->hit_1_square;
        pair->log_loss_sum = sum->log_loss_sum;
        pair->log_loss_square = sum->log_loss_square;
    }
    return count;
}

struct eval_outcome eval_outcome_of(const float *scores, int count) {
    float highest = scores[0];
    int higher = 0, equal = 0;
    double sum = 0;

    assert(count > 0);
    for (int c = 1; c < count; c++) {
        higher += scores[c] > scores[0];
        equal += scores[c] == scores[0];
        if (scores[c] > highest) { highest = scores[c]; }
    }
    for (int c = 0; c < count; c++) {
        sum += (double)expf(scores[c] - highest);
    }
    return (struct eval_outcome){1 + higher + (equal + 1) / 2,
                                 (double)highest + log(sum) - (double)scores[0]};
}
