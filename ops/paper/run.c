/* SPDX-License-Identifier: Apache-2.0
 *
 * run.c - opens the parts, runs what is missing, reports. */
#include "ops/paper/run.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/memory.h"
#include "ops/base_access.h"
#include "ops/paper/evaluate.h"

#define SETTINGS_MAX    24
#define ROWS_A_SEQUENCE 64   /* the shortest prompts: bounds how many share a pack */
#define RATE_MOVIELENS  8e-4 /* Kong et al. 2024 */
#define RATE_LASTFM     7e-4
#define SALT_PARAMS     0x70617261u

struct run {
    struct paper_settings settings;   /* a copy, defaults filled in */
    struct paper_split split;         /* owns */
    struct backend *fast_be;          /* owns: SASRec's, on the CPU */
    struct backend *be;               /* owns: the language model's */
    struct base_access access;        /* owns: checkpoint and tokenizer */
    struct base_model *base;          /* owns */
    struct paper_texts texts;         /* owns */
    struct paper_state state;         /* owns */
    const struct paper_sample **test; /* owns the array */
    int test_count;
    struct paper_setting recorded[SETTINGS_MAX];
    int recorded_count;
    struct paper_report report; /* owns the results */
};

static bool needs_base(const struct paper_settings *settings) {
    return settings->wanted[PAPER_BASE] || settings->wanted[PAPER_LORA] ||
           settings->wanted[PAPER_ILORA];
}

/* ---- what the run is ------------------------------------------------------------------------- */

static void record(struct run *run, const char *name, const char *format, ...) PRINTF_LIKE(3, 4);

static void record(struct run *run, const char *name, const char *format, ...) {
    va_list arguments;
    assert(run->recorded_count < SETTINGS_MAX);
    struct paper_setting *setting = &run->recorded[run->recorded_count++];
    (void)snprintf(setting->name, sizeof setting->name, "%s", name);
    va_start(arguments, format);
    (void)vsnprintf(setting->value, sizeof setting->value, format, arguments);
    va_end(arguments);
}

struct data_digest {
    struct sha256 *hash; /* owns */
    const char *folder;
};

/* Name and bytes of each data file of the folder. */
static enum status digest_file(void *context, const char *name, bool is_dir, struct error *err) {
    struct data_digest *digest = context;
    char path[FILE_PATH_BYTES_MAX];
    struct span bytes;
    if (is_dir || !paper_data_is_file(name)) { return STATUS_OK; }
    enum status status = path_join(path, digest->folder, name, err);
    if (status != STATUS_OK) { return status; }
    status = file_map(path, &bytes, err);
    if (status != STATUS_OK) { return status; }
    sha256_update(digest->hash, name, strlen(name) + 1);
    sha256_update(digest->hash, bytes.data, bytes.size);
    file_unmap(bytes);
    return STATUS_OK;
}

static enum status record_digests(struct run *run, struct error *err) {
    uint8_t digest[SHA256_BYTES];
    char text[2 * SHA256_BYTES + 1];
    struct data_digest data = {.folder = run->settings.data};
    enum status status = sha256_init(&data.hash, err);
    if (status != STATUS_OK) { return status; }
    status = dir_list(data.folder, digest_file, &data, err);
    if (status == STATUS_OK) {
        sha256_finish(data.hash, digest);
        hex_encode(digest, sizeof digest, text);
        record(run, "data_sha256", "%s", text);
    }
    sha256_free(data.hash);
    if (status != STATUS_OK) { return status; }
    status = paper_candidates_digest(&run->split, PAPER_LISTS_SEED, run->split.test.samples,
                                     run->split.test.count, text, err);
    if (status != STATUS_OK) { return status; }
    record(run, "test_lists_sha256", "%s", text);
    if (run->access.checkpoint == NULL) { return STATUS_OK; }
    status = checkpoint_sha256(run->access.checkpoint, digest, err);
    if (status != STATUS_OK) { return status; }
    hex_encode(digest, sizeof digest, text);
    record(run, "base_sha256", "%s", text);
    return STATUS_OK;
}

static enum status record_settings(struct run *run, struct error *err) {
    static const char *const gates[] = {"stream", "linear", "resnet"};
    const struct paper_settings *s = &run->settings;
    record(run, "data_kind", "%s", run->split.kind);
    record(run, "limit", "%d", s->limit);
    record(run, "limit-test", "%d", s->limit_test);
    if (run->access.checkpoint != NULL) {
        record(run, "experts", "%d", s->experts);
        record(run, "gate", "%s", gates[s->gate]);
        record(run, "epochs", "%d", s->epochs);
        record(run, "batch", "%d", s->batch);
        record(run, "rank", "%d", s->rank);
        record(run, "alpha", "%g", s->alpha);
        record(run, "lr", "%g", s->learning_rate);
        record(run, "dropout", "%g", s->dropout);
        record(run, "device", "%s", run->be->ops->name);
        record(run, "precision", "%s", s->precision == PRECISION_BF16 ? "bf16" : "f32");
        record(run, "tokens", "%d", s->tokens);
    }
    return record_digests(run, err);
}

static void digest_program(char ret_text[2 * SHA256_BYTES + 1]) {
    uint8_t digest[SHA256_BYTES];
    struct error unknown;
    ret_text[0] = '\0';
    if (sha256_of_file("/proc/self/exe", digest, &unknown) == STATUS_OK) {
        hex_encode(digest, sizeof digest, ret_text);
    }
}

/* ---- parts ----------------------------------------------------------------------------------- */

static enum status open_base(struct run *run, struct error *err) {
    const struct paper_settings *s = &run->settings;
    const char *prompts = s->daemon->base_model_prompts;
    enum status status = base_access_open(s->daemon, s->base, &run->access, err);
    if (status != STATUS_OK) { return status; }
    const struct model_description *d = checkpoint_description(run->access.checkpoint);
    return paper_texts_open(&run->split, run->access.tokenizer, prompts[0] == '\0' ? NULL : prompts,
                            d->eos, &run->texts, err);
}

/* The language model's backend: the card where there is one, unless told otherwise. */
static enum status open_device(struct run *run, struct error *err) {
    struct paper_settings *s = &run->settings;
    enum status status = STATUS_NOT_FOUND;
    if (s->device != PAPER_DEVICE_CPU) { status = backend_cuda_new(0, &run->be, err); }
    if (status == STATUS_NOT_FOUND && s->device != PAPER_DEVICE_CUDA) {
        status = backend_cpu_new(s->threads, &run->be, err);
    }
    if (status != STATUS_OK) { return error_wrap(err, "--device"); }
    bool cpu = strcmp(run->be->ops->name, "cpu") == 0;
    if (s->precision_auto) {
        s->precision = !cpu || backend_cpu_has_bf16() ? PRECISION_BF16 : PRECISION_F32;
    }
    if (cpu && s->precision == PRECISION_BF16 && !backend_cpu_has_bf16()) {
        return error_set(err, STATUS_CONFIG,
                         "--precision bf16: this processor has no AVX512-BF16 or AMX");
    }
    return STATUS_OK;
}

/* Everything that can be refused comes before the folder is made, all that takes long after it. */
static enum status open_parts(struct run *run, struct error *err) {
    struct paper_settings *s = &run->settings;
    enum status status = paper_split_read(s->data, &run->split, err);
    if (status != STATUS_OK) { return error_wrap(err, "--data"); }
    if (s->learning_rate == 0.0) {
        bool movielens = strcmp(run->split.kind, "RecBole") == 0;
        s->learning_rate = movielens ? RATE_MOVIELENS : RATE_LASTFM;
    }
    if (s->threads == 0) { s->threads = (int)sysconf(_SC_NPROCESSORS_ONLN); }
    if (s->threads < 1) { s->threads = 1; }
    status = backend_cpu_new(s->threads, &run->fast_be, err);
    if (status != STATUS_OK) { return status; }
    if (needs_base(s)) {
        status = open_base(run, err);
        if (status == STATUS_OK) { status = open_device(run, err); }
    }
    if (status != STATUS_OK) { return status; }
    status = record_settings(run, err);
    if (status != STATUS_OK) { return status; }
    status = paper_state_open(s->out, run->recorded, run->recorded_count, &run->state, err);
    if (status != STATUS_OK) { return status; }

    run->test = MEMORY_TAKE_ARRAY(const struct paper_sample *, run->split.test.count);
    if (run->test == NULL) { return error_set(err, STATUS_NO_MEMORY, "test samples"); }
    status = paper_test_choose(&run->split, s->limit_test, run->test, &run->test_count, err);
    if (status != STATUS_OK || run->be == NULL) { return status; }
    return base_model_load(run->be, run->access.checkpoint, s->precision, true, &run->base, err);
}

static void close_parts(struct run *run) {
    paper_report_free(&run->report);
    paper_texts_close(&run->texts);
    if (run->base != NULL) { base_model_free(run->base); }
    base_access_close(&run->access);
    if (run->be != NULL) { run->be->ops->free(run->be); }
    if (run->fast_be != NULL) { run->fast_be->ops->free(run->fast_be); }
    memory_free(run->test);
    paper_state_close(&run->state);
    paper_split_free(&run->split);
}

static void begin(struct progress *progress, int64_t total, enum paper_method method, int seed,
                  const char *what) {
    bool terminal = isatty(STDERR_FILENO) == 1;
    if (seed == 0) {
        progress_begin(progress, stderr, terminal, 0, total, "%s: %s", paper_method_name(method),
                       what);
    } else {
        progress_begin(progress, stderr, terminal, 0, total, "seed %d, %s: %s", seed,
                       paper_method_name(method), what);
    }
}

/* ---- one method with one seed ---------------------------------------------------------------- */

/* Answers first, then the result: it stands for "finished". */
static enum status keep_result(struct run *run, int seed, enum paper_method method,
                               const struct paper_result *result, const struct buffer *answers,
                               struct error *err) {
    char path[FILE_PATH_BYTES_MAX];
    enum status status =
        paper_state_path(&run->state, seed, paper_method_name(method), ".answers.jsonl", path, err);
    if (status == STATUS_OK) { status = file_replace(path, buffer_span(answers), err); }
    if (status != STATUS_OK) { return status; }
    return paper_state_result_write(&run->state, seed, method, result, err);
}

/* The report's place of a result, filled when it is finished already. */
static enum status find_result(struct run *run, int seed, enum paper_method method,
                               struct paper_result **ret_result, bool *ret_finished,
                               struct error *err) {
    struct paper_result *result = &run->report.results[method][seed > 0 ? seed - 1 : 0];
    enum status status = paper_state_result_read(&run->state, seed, method, result, err);
    *ret_finished = status == STATUS_OK;
    *ret_result = result;
    if (status == STATUS_OK && result->samples != run->test_count) {
        return error_set(err, STATUS_CORRUPT, "'%s': the result of %s has %d samples, not %d",
                         run->settings.out, paper_method_name(method), result->samples,
                         run->test_count);
    }
    if (status != STATUS_NOT_FOUND) { return status; }
    return paper_result_init(result, run->test_count, err);
}

static enum status run_sasrec(struct run *run, int seed, struct paper_sasrec *ret_sasrec,
                              struct error *err) {
    struct progress progress;
    char path[FILE_PATH_BYTES_MAX];
    enum status status = paper_state_path(&run->state, seed, "sasrec", ".safetensors", path, err);
    if (status != STATUS_OK) { return status; }
    if (file_exists(path)) {
        return paper_sasrec_read(run->fast_be, run->split.item_count, path, ret_sasrec, err);
    }
    begin(&progress, PAPER_SASREC_EPOCHS, PAPER_SASREC, seed, "train, epochs");
    status = paper_sasrec_train(run->fast_be, &run->split, (uint64_t)seed, PAPER_LISTS_SEED,
                                &progress, ret_sasrec, err);
    if (status != STATUS_OK) { return status; }
    return paper_sasrec_write(ret_sasrec, path, err);
}

static enum status report_sasrec(struct run *run, int seed, struct paper_sasrec *sasrec,
                                 struct error *err) {
    struct paper_result *result = NULL;
    struct buffer answers = {0};
    bool finished = false;
    enum status status = find_result(run, seed, PAPER_SASREC, &result, &finished, err);
    if (status != STATUS_OK || finished) { return status; }
    result->steps = sasrec->epochs;
    result->last_loss = sasrec->loss;
    result->timing.train_seconds = sasrec->seconds;
    status = paper_evaluate_sasrec(&run->split, sasrec, run->test, run->test_count, result,
                                   &answers, err);
    if (status == STATUS_OK) {
        status = keep_result(run, seed, PAPER_SASREC, result, &answers, err);
    }
    buffer_free(&answers);
    return status;
}

static struct ilora_shape shape_of(const struct run *run, enum paper_method method) {
    const struct paper_settings *s = &run->settings;
    bool ilora = method == PAPER_ILORA;
    return (struct ilora_shape){.R = s->rank,
                                .K = ilora ? s->experts : 1,
                                .alpha = (float)s->alpha,
                                .E = PAPER_SASREC_WIDTH,
                                .projector_width = base_model_description(run->base)->C,
                                .head = ILORA_HEAD_TITLE,
                                .item_tokens = true,
                                /* one expert has the weight 1 whatever the gate */
                                .gate = ilora ? s->gate : ILORA_GATE_LINEAR};
}

/* Trains (the base: not) and evaluates. */
static enum status run_method(struct run *run, int seed, enum paper_method method,
                              struct paper_model *model, struct paper_result *result,
                              struct error *err) {
    struct progress progress;
    struct buffer answers = {0};
    char checkpoint[FILE_PATH_BYTES_MAX], adapter[FILE_PATH_BYTES_MAX];
    const char *name = paper_method_name(method);
    enum status status = paper_state_path(&run->state, seed, name, ".checkpoint", checkpoint, err);
    if (status == STATUS_OK) {
        status = paper_state_path(&run->state, seed, name, ".safetensors", adapter, err);
    }
    if (status != STATUS_OK) { return status; }
    if (model->params != NULL) {
        begin(&progress, 1, method, seed, "train, samples");
        status = paper_train(model, (uint64_t)seed, checkpoint, &progress, result, err);
        if (status != STATUS_OK) { return error_wrap(err, "seed %d, training %s", seed, name); }
        status = paper_adapter_write(adapter, model->params, err);
        if (status != STATUS_OK) { return status; }
    }
    begin(&progress, run->test_count, method, seed, "test, samples");
    status = paper_evaluate(model, run->test, run->test_count, &progress, result, &answers, err);
    if (status == STATUS_OK) { status = keep_result(run, seed, method, result, &answers, err); }
    if (status == STATUS_OK) { (void)unlink(checkpoint); } /* not needed any more; may not exist */
    buffer_free(&answers);
    return status;
}

static enum status run_language_model(struct run *run, int seed, enum paper_method method,
                                      struct paper_sasrec *sasrec, struct error *err) {
    const struct paper_settings *s = &run->settings;
    struct paper_result *result = NULL;
    bool finished = false;
    enum status status =
        find_result(run, method == PAPER_BASE ? 0 : seed, method, &result, &finished, err);
    if (status != STATUS_OK || finished) { return status; }

    struct ilora_shape shape = shape_of(run, method);
    struct language_model_settings how = {.tokens_max = s->tokens,
                                          .sequences_max = s->tokens / ROWS_A_SEQUENCE,
                                          .items_max = run->split.item_count,
                                          .training = true,
                                          .step_samples_max = s->batch};
    struct paper_model model = {
        .settings = s, .split = &run->split, .texts = &run->texts, .sasrec = sasrec};
    status = language_model_new(run->base, &how, &shape, &model.lm, err);
    if (status != STATUS_OK) { goto done; }
    status = language_model_set_items(model.lm, sasrec_vectors(sasrec->sasrec),
                                      run->split.item_count, err);
    if (status != STATUS_OK) { goto done; }
    if (method != PAPER_BASE) {
        status =
            ilora_params_new(run->be, base_model_description(run->base), &shape,
                             hash64_pair((uint64_t)seed, 0, SALT_PARAMS), true, &model.params, err);
        if (status != STATUS_OK) { goto done; }
    }
    status = run_method(run, method == PAPER_BASE ? 0 : seed, method, &model, result, err);
done:
    if (model.params != NULL) { ilora_params_free(model.params); }
    if (model.lm != NULL) { language_model_free(model.lm); }
    return status;
}

static enum status run_seed(struct run *run, int seed, struct error *err) {
    const struct paper_settings *s = &run->settings;
    struct paper_sasrec sasrec = {0};
    enum status status = run_sasrec(run, seed, &sasrec, err);
    if (status == STATUS_OK && s->wanted[PAPER_SASREC]) {
        status = report_sasrec(run, seed, &sasrec, err);
    }
    static const enum paper_method methods[] = {PAPER_BASE, PAPER_LORA, PAPER_ILORA};
    for (size_t m = 0; m < sizeof methods / sizeof methods[0] && status == STATUS_OK; m++) {
        if (!s->wanted[methods[m]] || (methods[m] == PAPER_BASE && seed > 1)) { continue; }
        status = run_language_model(run, seed, methods[m], &sasrec, err);
    }
    paper_sasrec_free(&sasrec);
    return status;
}

/* ---- all ------------------------------------------------------------------------------------- */

static enum status report(struct run *run, struct error *err) {
    struct buffer text = {0};
    char path[FILE_PATH_BYTES_MAX];
    struct paper_report *report = &run->report;
    int train = run->split.train.count;
    bool limited = run->settings.limit > 0 && run->settings.limit < train;
    report->settings = &run->settings;
    report->recorded = run->recorded;
    report->recorded_count = run->recorded_count;
    report->sequences = run->split.sequence_count;
    report->train_total = train;
    report->train_samples = limited ? run->settings.limit : train;
    report->test_total = run->split.test.count;
    report->test_samples = run->test_count;
    digest_program(report->program_sha256);

    enum status status = paper_report_json(report, &text, err);
    if (status == STATUS_OK) { status = path_join(path, run->settings.out, "results.json", err); }
    if (status == STATUS_OK) { status = file_replace(path, buffer_span(&text), err); }
    if (status == STATUS_OK && !run->settings.json) {
        buffer_reset(&text);
        status = paper_report_table(report, &text, err);
    }
    if (status == STATUS_OK) {
        (void)fwrite(text.data, 1, text.size, stdout); /* main's last flush says if it failed */
        if (run->settings.json) { (void)fputc('\n', stdout); }
    }
    buffer_free(&text);
    return status;
}

enum status paper_run(const struct paper_settings *settings, struct error *err) {
    struct run *run = MEMORY_TAKE_ARRAY(struct run, 1);
    if (run == NULL) { return error_set(err, STATUS_NO_MEMORY, "run"); }
    run->settings = *settings;
    run->state.lock_fd = -1;
    enum status status = open_parts(run, err);
    for (int seed = 1; seed <= settings->seeds && status == STATUS_OK; seed++) {
        status = run_seed(run, seed, err);
    }
    if (status == STATUS_OK) { status = report(run, err); }
    close_parts(run);
    memory_free(run);
    return status;
}
