/* SPDX-License-Identifier: Apache-2.0
 *
 * learner_lm_fixture.c - opens the base model and what belongs to it, closes it all. */
#include "tests/model/learner_lm_fixture.h"

#include "tests/support/unit.h"

const uint8_t learner_lm_digest[SHA256_BYTES] = {1, 2, 3};

int learner_lm_setup(void **state) {
    static struct learner_walk stream; /* large; one test at a time */
    static struct learner_lm_fixture f;
    struct error err;

    memset(&f, 0, sizeof f);
    f.stream = &stream;
    learner_stream_init(f.stream);
    ASSERT_OK(backend_cpu_new(1, &f.be, &err), err);
    ASSERT_OK(checkpoint_open("builtin:tiny:3", &f.checkpoint, &err), err);
    ASSERT_OK(base_model_load(f.be, f.checkpoint, PRECISION_F32, true, &f.base, &err), err);
    ASSERT_OK(tokenizer_open(f.checkpoint, &f.tokenizer, &err), err);
    ASSERT_OK(prompt_template_open(NULL, f.tokenizer, &f.template, &err), err);
    tmpdir_init(&f.tmp);
    *state = &f;
    return 0;
}

int learner_lm_teardown(void **state) {
    struct learner_lm_fixture *f = *state;

    learner_stream_free(f->stream);
    prompt_template_close(f->template);
    tokenizer_close(f->tokenizer);
    base_model_free(f->base);
    checkpoint_close(f->checkpoint);
    f->be->ops->free(f->be);
    tmpdir_free(&f->tmp);
    return 0;
}

struct learner_settings learner_lm_settings(const struct learner_lm_fixture *f) {
    struct learner_settings settings = learner_fixture_settings();

    settings.lm = true;
    settings.title_vectors = true;
    settings.fast.sasrec.title_width = 2 * base_model_description(f->base)->C;
    settings.ilora =
        (struct ilora_shape){.R = 4,
                             .K = 2,
                             .alpha = 8,
                             .gate_floor = 0.05F,
                             .E = settings.fast.sasrec.E,
                             .projector_width = 16,
                             .items_max = settings.fast.sasrec.items_max,
                             .head = ILORA_HEAD_ITEM,
                             .item_tokens = prompt_template_has_item_tokens(f->template) != 0};
    settings.lm_step = (struct lm_step){.learning_rate = 1e-2F,
                                        .multiplier = {1, 1, 1, 2},
                                        .beta1 = 0.9F,
                                        .beta2 = 0.99F,
                                        .epsilon = 1e-8F,
                                        .clip_norm = 1,
                                        .ema_decay = 0.5F,
                                        .proximal = 0.1F};
    settings.lm_warmup_steps = 2;
    settings.history = 4;
    settings.micro_batch_tokens = 512;
    settings.replay = 0.25;
    settings.title_negatives = 3;
    return settings;
}

struct learner *learner_lm_open(const struct learner_lm_fixture *f,
                                const struct learner_settings *settings) {
    struct learner *learner = NULL;
    struct error err;

    ASSERT_OK(learner_new(settings, f->be, f->be, f->base, f->tokenizer, f->template,
                          &f->stream->catalogue, &learner, &err),
              err);
    return learner;
}

struct version *learner_lm_version(const struct learner_lm_fixture *f, struct learner *learner,
                                   uint64_t number, const char *name) {
    struct version *version = NULL;
    struct error err;

    ASSERT_OK(learner_make_version(learner, number, tmpdir_path(&f->tmp, name), "test", "tiny",
                                   learner_lm_digest, &version, &err),
              err);
    return version;
}
