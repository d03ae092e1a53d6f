/* SPDX-License-Identifier: Apache-2.0
 *
 * test_decode_golden.c - greedy decoding against transformers' on the built-in small models.
 *
 * decode_make_golden.py writes the file: prompts, and what transformers' generate wrote after each,
 * with the first stop id at the end where one came (whichever it was). */
#include <stdlib.h>

#include "model/language_model_decode.h"
#include "tests/reference/lm_golden.h"
#include "tests/support/unit.h"

#define PROMPTS    24
#define TOKENS_MAX 32

static struct lm_golden golden;

struct subject {
    struct backend *be;
    struct checkpoint *checkpoint;
    struct base_model *base;
    struct language_model *lm;
};

static struct subject subject_open(const char *model) {
    struct error err;
    struct subject s = {0};
    struct language_model_settings settings = {.tokens_max = 200, .sequences_max = PROMPTS};
    struct ilora_shape shape = {.R = 2, .K = 1, .alpha = 2.0f, .E = 4, .head = ILORA_HEAD_TITLE};
    ASSERT_OK(backend_cpu_new(1, &s.be, &err), err);
    ASSERT_OK(checkpoint_open(model, &s.checkpoint, &err), err);
    ASSERT_OK(base_model_load(s.be, s.checkpoint, PRECISION_F32, false, &s.base, &err), err);
    ASSERT_OK(language_model_new(s.base, &settings, &shape, &s.lm, &err), err);
    return s;
}

static void subject_close(struct subject *s) {
    language_model_free(s->lm);
    base_model_free(s->base);
    checkpoint_close(s->checkpoint);
    s->be->ops->free(s->be);
}

static const int32_t *integers(const char *name, int i, const char *what, int *ret_count) {
    char text[64];
    (void)snprintf(text, sizeof text, "%s.%d.%s", name, i, what);
    return lm_golden_integers(&golden, text, ret_count);
}

static void check_model(const char *name, const char *model) {
    static struct prompt prompts[PROMPTS];
    struct lm_sample samples[PROMPTS] = {0};
    struct lm_continuation written[PROMPTS];
    int32_t ids[PROMPTS][TOKENS_MAX];
    struct error err;
    int stop_count = 0, stopped = 0;
    char text[32];
    (void)snprintf(text, sizeof text, "%s.stops", name);
    const int32_t *stops = lm_golden_integers(&golden, text, &stop_count);
    int tokens_max = *lm_golden_integers(&golden, "tokens_max", NULL);
    assert_in_range(tokens_max, 1, TOKENS_MAX);
    struct subject s = subject_open(model);
    for (int i = 0; i < PROMPTS; i++) {
        const int32_t *tokens = integers(name, i, "prompt", &prompts[i].count);
        memcpy(prompts[i].tokens, tokens, (size_t)prompts[i].count * sizeof tokens[0]);
        samples[i].prompt = &prompts[i];
        written[i].ids = ids[i];
    }
    ASSERT_OK(language_model_decode(s.lm, NULL, false, samples, PROMPTS, tokens_max, stops,
                                    stop_count, written, &err),
              err);

    for (int i = 0; i < PROMPTS; i++) {
        int count = 0;
        const int32_t *theirs = integers(name, i, "written", &count);
        bool stop = count > 0 && theirs[count - 1] == stops[0];
        count -= stop;
        assert_int_equal(written[i].count, count);
        assert_int_equal(written[i].stopped, stop);
        assert_memory_equal(ids[i], theirs, (size_t)count * sizeof ids[i][0]);
        stopped += stop;
    }
    assert_in_range(stopped, 1, PROMPTS - 1); /* else the stop ids tested nothing */
    subject_close(&s);
}

static void tiny_writes_what_transformers_writes(void **state) {
    (void)state;
    check_model("tiny", "builtin:tiny:3");
}

static void small_writes_what_transformers_writes(void **state) {
    (void)state;
    check_model("small", "builtin:small:5");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tiny_writes_what_transformers_writes),
        cmocka_unit_test(small_writes_what_transformers_writes),
    };
    if (lm_golden_read(DECODE_GOLDEN, &golden) != 0) { return 1; }
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    lm_golden_free(&golden);
    return failed;
}
