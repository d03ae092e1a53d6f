/* SPDX-License-Identifier: Apache-2.0
 *
 * test_lm_decode.c - a cache changes nothing: greedy decoding is running the whole sequence again.
 *
 * The whole run is the pass that scoring uses, over the prompt and what was written so far; it
 * never sees the cache. */
#include "model/language_model_decode.h"

#include <math.h>
#include <stdlib.h>

#include "model/language_model_state.h"
#include "tests/model/lm_fixture.h"
#include "tests/support/fault.h"
#include "tests/support/tensor_check.h"
#include "tests/support/unit.h"

#define TOKENS 12
#define ROWS   64 /* all prompts of the fixture take 33 */
#define V_MAX  320

struct written {
    int32_t ids[LM_SAMPLES][TOKENS];
    struct lm_continuation c[LM_SAMPLES];
};

static void written_open(struct written *w) {
    memset(w, 0, sizeof *w);
    for (int i = 0; i < LM_SAMPLES; i++) {
        w->c[i].ids = w->ids[i];
    }
}

static void decode(struct lm_fixture *f, struct language_model *lm, bool frozen, int first,
                   int count, int tokens_max, struct written *w) {
    struct error err;
    ASSERT_OK(language_model_decode(lm, f->params, frozen, f->samples + first, count, tokens_max,
                                    NULL, 0, w->c + first, &err),
              err);
}

static void assert_written_equal(const struct written *a, const struct written *b) {
    for (int i = 0; i < LM_SAMPLES; i++) {
        assert_int_equal(a->c[i].count, b->c[i].count);
        assert_int_equal(a->c[i].stopped, b->c[i].stopped);
        assert_memory_equal(a->ids[i], b->ids[i], (size_t)a->c[i].count * sizeof(int32_t));
    }
}

/* Logits after the prompt and `count` ids, by one pass over all of them. */
static void whole_logits(struct lm_fixture *f, struct language_model *lm, bool frozen, int sample,
                         const int32_t *ids, int count, float *ret_logits) {
    struct error err;
    struct llama_pass pass;
    struct prompt longer = f->prompts[sample];
    struct lm_sample s = f->samples[sample];
    int taken = 0;
    memcpy(longer.tokens + longer.count, ids, (size_t)count * sizeof ids[0]);
    longer.count += count;
    s.prompt = &longer;
    ASSERT_OK(pack_fill(lm, &s, 1, false, &taken, &err), err);
    ASSERT_OK(pack_run(lm, f->params, !frozen, &s, false, &pass, &err), err);
    struct tensor logits = title_head_logits(&lm->title_head, first_rows(lm->llama.final, 1));
    ASSERT_OK(f->be->ops->download(f->be, ret_logits, logits, &err), err);
}

static int32_t largest(const float *logits, int V) {
    int32_t best = 0;
    for (int32_t v = 1; v < V; v++) {
        if (logits[v] > logits[best]) { best = v; }
    }
    return best;
}

/* Ids of every step and logits of the last one, for continuations of every length: the cached
 * logits are those that the call left on the device. */
static void check_sample(struct lm_fixture *f, struct language_model *lm, bool frozen, int sample) {
    float whole[V_MAX], cached[V_MAX];
    struct error err;
    struct written w;
    int V = base_model_description(f->base)->V;
    assert_true(V <= V_MAX);
    for (int n = 1; n <= TOKENS; n++) {
        written_open(&w);
        decode(f, lm, frozen, sample, 1, n, &w);
        assert_int_equal(w.c[sample].count, n);
        struct tensor last = first_rows(lm->title_head.logits, 1);
        ASSERT_OK(f->be->ops->download(f->be, cached, last, &err), err);

        whole_logits(f, lm, frozen, sample, w.ids[sample], n - 1, whole);
        assert_int_equal(w.ids[sample][n - 1], largest(whole, V));
        assert_true(tensor_check_scaled("cached logits", cached, whole, (size_t)V, 1e-5));
        assert_memory_equal(cached, whole, (size_t)V * sizeof(float)); /* the CPU's promise */
    }
}

static void decoding_is_running_the_whole_sequence_again(void **state) {
    static const char *const bases[] = {"builtin:tiny:3", "builtin:small:5"};
    (void)state;
    for (size_t i = 0; i < sizeof bases / sizeof bases[0]; i++) {
        struct lm_fixture f;
        lm_fixture_open_base(&f, bases[i], 4, ILORA_HEAD_BOTH, true);
        struct language_model *lm = lm_fixture_model(&f, ROWS, false);
        for (int sample = 0; sample < LM_SAMPLES; sample++) {
            check_sample(&f, lm, false, sample);
            check_sample(&f, lm, true, sample);
        }
        language_model_free(lm);
        lm_fixture_close(&f);
    }
}

/* Packs of 64, 20 and 12 rows hold all prompts, some, and hardly one. */
static void who_shares_a_pack_changes_no_continuation(void **state) {
    static const int rows[] = {ROWS, 20, 12};
    struct lm_fixture f;
    struct written alone, together;
    (void)state;
    lm_fixture_open(&f, 2, ILORA_HEAD_TITLE, true);
    written_open(&alone);
    struct language_model *lm = lm_fixture_model(&f, ROWS, false);
    for (int i = 0; i < LM_SAMPLES; i++) {
        decode(&f, lm, false, i, 1, TOKENS, &alone);
    }
    language_model_free(lm);

    for (size_t r = 0; r < sizeof rows / sizeof rows[0]; r++) {
        lm = lm_fixture_model(&f, rows[r], false);
        written_open(&together);
        decode(&f, lm, false, 0, LM_SAMPLES, TOKENS, &together);
        assert_written_equal(&together, &alone);
        language_model_free(lm);
    }
    lm_fixture_close(&f);
}

static void prompts_and_gates_show_in_the_continuations(void **state) {
    struct lm_fixture f;
    struct written adapted, frozen;
    (void)state;
    lm_fixture_open(&f, 2, ILORA_HEAD_TITLE, true);
    struct language_model *lm = lm_fixture_model(&f, ROWS, false);
    written_open(&adapted);
    written_open(&frozen);
    decode(&f, lm, false, 0, LM_SAMPLES, TOKENS, &adapted);
    decode(&f, lm, true, 0, LM_SAMPLES, TOKENS, &frozen);

    assert_memory_not_equal(adapted.ids[0], adapted.ids[1], sizeof adapted.ids[0]);
    assert_memory_not_equal(adapted.ids, frozen.ids, sizeof adapted.ids);
    language_model_free(lm);
    lm_fixture_close(&f);
}

static void a_stop_id_ends_its_continuation_alone_and_is_left_out(void **state) {
    struct lm_fixture f;
    struct written whole, cut;
    struct error err;
    (void)state;
    lm_fixture_open(&f, 2, ILORA_HEAD_TITLE, true);
    struct language_model *lm = lm_fixture_model(&f, ROWS, false);
    written_open(&whole);
    decode(&f, lm, false, 0, LM_SAMPLES, TOKENS, &whole);
    const int32_t stops[] = {whole.ids[1][0], whole.ids[3][TOKENS / 2]};
    written_open(&cut);
    ASSERT_OK(language_model_decode(lm, f.params, false, f.samples, LM_SAMPLES, TOKENS, stops, 2,
                                    cut.c, &err),
              err);

    int ended = 0;
    for (int i = 0; i < LM_SAMPLES; i++) {
        int count = 0;
        while (count < TOKENS && whole.ids[i][count] != stops[0] &&
               whole.ids[i][count] != stops[1]) {
            count++;
        }
        assert_int_equal(cut.c[i].count, count);
        assert_int_equal(cut.c[i].stopped, count < TOKENS);
        assert_memory_equal(cut.ids[i], whole.ids[i], (size_t)count * sizeof(int32_t));
        ended += cut.c[i].stopped;
    }
    assert_int_equal(cut.c[1].count, 0);
    assert_true(ended >= 2);
    language_model_free(lm);
    lm_fixture_close(&f);
}

/* Ids v and v + 128 have one embedding, so one logit. */
static void of_equal_logits_the_smallest_id_wins(void **state) {
    struct lm_fixture f;
    struct written w;
    (void)state;
    lm_fixture_open(&f, 2, ILORA_HEAD_TITLE, true);
    for (int v = 128; v < f.base->description.V; v++) {
        f.be->ops->copy(f.be, tensor_rows(f.base->embedding, v, 1),
                        tensor_rows(f.base->embedding, v - 128, 1));
    }
    struct language_model *lm = lm_fixture_model(&f, ROWS, false);
    written_open(&w);
    decode(&f, lm, false, 0, LM_SAMPLES, TOKENS, &w);

    for (int i = 0; i < LM_SAMPLES; i++) {
        for (int t = 0; t < TOKENS; t++) {
            assert_in_range(w.ids[i][t], 0, 127);
        }
    }
    language_model_free(lm);
    lm_fixture_close(&f);
}

static void the_base_alone_needs_no_gate_input(void **state) {
    struct lm_fixture f;
    struct written base, frozen;
    struct error err;
    (void)state;
    lm_fixture_open(&f, 2, ILORA_HEAD_TITLE, false);
    struct language_model *lm = lm_fixture_model(&f, ROWS, false);
    written_open(&frozen);
    decode(&f, lm, true, 0, LM_SAMPLES, TOKENS, &frozen);
    for (int i = 0; i < LM_SAMPLES; i++) {
        f.samples[i].gate_input = NULL;
    }
    written_open(&base);
    ASSERT_OK(language_model_decode(lm, NULL, false, f.samples, LM_SAMPLES, TOKENS, NULL, 0, base.c,
                                    &err),
              err);

    assert_written_equal(&base, &frozen);
    language_model_free(lm);
    lm_fixture_close(&f);
}

static void what_does_not_fit_is_refused_before_it_runs(void **state) {
    struct lm_fixture f;
    struct written w;
    struct error err;
    (void)state;
    lm_fixture_open(&f, 2, ILORA_HEAD_TITLE, true);
    struct language_model *lm = lm_fixture_model(&f, 10, false);
    int positions = f.base->rope.rows;
    written_open(&w);
    ASSERT_STATUS(
        language_model_decode(lm, f.params, false, f.samples, 1, positions, NULL, 0, w.c, &err),
        STATUS_LIMIT);
    ASSERT_CONTAINS(err.text, "prompt of 7 tokens");
    ASSERT_STATUS(
        language_model_decode(lm, f.params, false, f.samples, 2, TOKENS, NULL, 0, w.c, &err),
        STATUS_LIMIT);
    ASSERT_CONTAINS(err.text, "12 rows: at most 10");
    language_model_free(lm);
    lm_fixture_close(&f);
}

static void logits_that_are_no_numbers_are_refused(void **state) {
    struct lm_fixture f;
    struct written w;
    struct error err;
    (void)state;
    lm_fixture_open(&f, 2, ILORA_HEAD_TITLE, true);
    struct language_model *lm = lm_fixture_model(&f, ROWS, false);
    for (size_t i = 0; i < ilora_params_floats(f.params); i++) {
        f.values[i] = NAN;
    }
    lm_fixture_write(&f);
    written_open(&w);
    ASSERT_STATUS(
        language_model_decode(lm, f.params, false, f.samples, 1, TOKENS, NULL, 0, w.c, &err),
        STATUS_MALFORMED);
    ASSERT_CONTAINS(err.text, "NaN");
    language_model_free(lm);
    lm_fixture_close(&f);
}

struct sweep {
    struct lm_fixture *f;
    struct language_model *lm;
};

static enum status decode_once(void *context) {
    struct sweep *sweep = context;
    struct written w;
    struct error err;
    written_open(&w);
    return language_model_decode(sweep->lm, sweep->f->params, false, sweep->f->samples, LM_SAMPLES,
                                 TOKENS, NULL, 0, w.c, &err);
}

static void a_failed_allocation_is_no_memory(void **state) {
    struct lm_fixture f;
    (void)state;
    lm_fixture_open(&f, 2, ILORA_HEAD_TITLE, true);
    struct sweep sweep = {&f, lm_fixture_model(&f, ROWS, false)};
    (void)decode_once(&sweep); /* the backend's scratch is there afterwards */
    assert_true(fault_sweep(FAULT_MEMORY, STATUS_NO_MEMORY, decode_once, &sweep) >= 5);
    language_model_free(sweep.lm);
    lm_fixture_close(&f);
}

static void the_bound_covers_what_a_call_takes(void **state) {
    struct lm_fixture f;
    (void)state;
    lm_fixture_open(&f, 2, ILORA_HEAD_TITLE, true);
    struct language_model *lm = lm_fixture_model(&f, ROWS, false);
    const struct model_description *d = base_model_description(f.base);
    size_t row = 2 * (size_t)(d->L * d->G * d->D) * sizeof(float);
    assert_int_equal(language_model_decode_bytes(lm, 1), row * ROWS);
    assert_int_equal(language_model_decode_bytes(lm, 11), row * (ROWS + LM_SAMPLES * 10));
    language_model_free(lm);
    lm_fixture_close(&f);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(decoding_is_running_the_whole_sequence_again),
        cmocka_unit_test(who_shares_a_pack_changes_no_continuation),
        cmocka_unit_test(prompts_and_gates_show_in_the_continuations),
        cmocka_unit_test(a_stop_id_ends_its_continuation_alone_and_is_left_out),
        cmocka_unit_test(of_equal_logits_the_smallest_id_wins),
        cmocka_unit_test(the_base_alone_needs_no_gate_input),
        cmocka_unit_test(what_does_not_fit_is_refused_before_it_runs),
        cmocka_unit_test(logits_that_are_no_numbers_are_refused),
        cmocka_unit_test(a_failed_allocation_is_no_memory),
        cmocka_unit_test(the_bound_covers_what_a_call_takes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
