/* SPDX-License-Identifier: Apache-2.0
 *
 * version_files.c - the files of a version. The same state gives the same bytes: tensors are sorted
 * by name, JSON numbers are the shortest that read back the same, and nothing says when it was
 * written. */
#include "model/version_files.h"

#include <assert.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "model/peft_adapter.h"

#define COUNTERS_FILE "counters.bin"

void stack_to_doubles(const struct stacker *stack, double ret_values[STACK_DOUBLES]) {
    memcpy(ret_values, stack->weight, sizeof stack->weight);
    memcpy(ret_values + FEATURE_COUNT, stack->mean, sizeof stack->mean);
    memcpy(ret_values + 2 * FEATURE_COUNT, stack->variance, sizeof stack->variance);
    memcpy(ret_values + 3 * FEATURE_COUNT, stack->gradient2, sizeof stack->gradient2);
    ret_values[4 * FEATURE_COUNT] = stack->seen;
    ret_values[4 * FEATURE_COUNT + 1] = (double)stack->active;
}

void stack_from_doubles(const double values[STACK_DOUBLES], struct stacker *stack) {
    memcpy(stack->weight, values, sizeof stack->weight);
    memcpy(stack->mean, values + FEATURE_COUNT, sizeof stack->mean);
    memcpy(stack->variance, values + 2 * FEATURE_COUNT, sizeof stack->variance);
    memcpy(stack->gradient2, values + 3 * FEATURE_COUNT, sizeof stack->gradient2);
    stack->seen = values[4 * FEATURE_COUNT];
    stack->active = (uint32_t)values[4 * FEATURE_COUNT + 1];
}

/* ---- language model -------------------------------------------------------------------------- */

static bool is_adapter(const struct ilora_tensor *tensor) {
    return strstr(tensor->name, ".lora_A.") != NULL || strstr(tensor->name, ".lora_B.") != NULL;
}

/* Tensors of params in one of the two files. */
static void params_list(const struct ilora_params *params, const float *values, bool adapter,
                        struct tensor_list *list) {
    for (int t = 0; t < ilora_params_count(params); t++) {
        const struct ilora_tensor *tensor = ilora_params_at(params, t);
        if (is_adapter(tensor) != adapter) { continue; }
        tensor_list_add(list, tensor->name, "", "F32", tensor->rows, tensor->cols,
                        values + tensor->offset);
    }
}

static enum status params_copy(const struct ilora_params *params, float *values, bool adapter,
                               const struct safetensors *file, struct error *err) {
    for (int t = 0; t < ilora_params_count(params); t++) {
        const struct ilora_tensor *tensor = ilora_params_at(params, t);
        if (is_adapter(tensor) != adapter) { continue; }
        enum status status = tensor_file_copy(file, tensor->name, "", "F32", tensor->rows,
                                              tensor->cols, values + tensor->offset, err);
        if (status != STATUS_OK) { return status; }
    }
    return STATUS_OK;
}

/* With a uniform gate the adapter is plain LoRA of scale alpha/R (MODEL.md): PEFT loads it. */
static enum status adapter_write(const struct version *version, const float *values,
                                 const char *folder, const struct version_origin *origin,
                                 struct error *err) {
    struct tensor_list list = {0};

    const struct ilora_shape *shape = ilora_params_shape(version->params);
    params_list(version->params, values, true, &list);
    enum status status = peft_adapter_write(&list, shape->R, (double)shape->alpha,
                                            origin->base_model_name, folder, err);
    tensor_list_free(&list);
    return status;
}

/* ---- weights --------------------------------------------------------------------------------- */

static void sasrec_list_values(const struct sasrec *sasrec, struct tensor_list *list) {
    for (int t = 0; t < sasrec_tensor_count(sasrec); t++) {
        const struct sasrec_tensor *tensor = sasrec_tensor_at(sasrec, t);
        tensor_list_add(list, tensor->name, "", "F32", tensor->rows, tensor->cols,
                        tensor->value.data);
    }
}

/* values: the params' slab on the host, NULL without a language model. */
static enum status weights_write(const struct learner *learner, const struct version *version,
                                 const float *values, const char *folder, struct error *err) {
    const struct fast_model *fast = version->fast;
    double fast_stack[STACK_DOUBLES], full_stack[STACK_DOUBLES];
    struct tensor_list list = {0};

    stack_to_doubles(&fast->fast_stack, fast_stack);
    stack_to_doubles(&fast->full_stack, full_stack);
    sasrec_list_values(fast->sasrec, &list);
    tensor_list_add(&list, "stack.fast", "", "F64", 1, STACK_DOUBLES, fast_stack);
    tensor_list_add(&list, "stack.full", "", "F64", 1, STACK_DOUBLES, full_stack);
    tensor_list_add(&list, "evaluation.sums", "", "F64", 1, (int64_t)EVAL_BOOK_DOUBLES,
                    &learner->book);
    if (values != NULL) { params_list(version->params, values, false, &list); }
    enum status status = tensor_list_write(&list, folder, WEIGHTS_FILE, err);
    tensor_list_free(&list);
    return status;
}

/* ---- manifest -------------------------------------------------------------------------------- */

static void figures_write(struct json_writer *w, const struct version *version) {
    json_write_array(w, "figures");
    for (int f = 0; f < version->figure_count; f++) {
        const struct eval_figure *figure = &version->figures[f];
        double count = (double)figure->count;
        json_write_object(w, NULL);
        json_write_string(w, "model", span_of(figure->model));
        json_write_string(w, "kind", span_of(figure->kind));
        json_write_string(w, "slice", span_of(figure->slice));
        json_write_integer(w, "count", (int64_t)figure->count);
        json_write_real(w, "hit_1", figure->hit_1 / count);
        json_write_real(w, "hit_5", figure->hit_5 / count);
        json_write_real(w, "hit_10", figure->hit_10 / count);
        json_write_real(w, "ndcg_10", figure->ndcg_10 / count);
        json_write_real(w, "mrr", figure->mrr / count);
        json_write_real(w, "log_loss", figure->log_loss / count);
        json_write_object_end(w);
    }
    json_write_array_end(w);
}

static void numbers_write(struct json_writer *w, const struct version *version,
                          const struct version_origin *origin) {
    char text[2 * SHA256_BYTES + 1];

    json_write_integer(w, "format", 1);
    json_write_integer(w, "version", (int64_t)version->number);
    json_write_integer(w, "parent", (int64_t)version->parent);
    json_write_integer(w, "restored_from", (int64_t)version->restored_from);
    json_write_integer(w, "seq_lo", (int64_t)version->seq_lo);
    json_write_integer(w, "seq_hi", (int64_t)version->seq_hi);
    json_write_integer(w, "items", version->fast->items);
    json_write_integer(w, "rows_trained", (int64_t)version->rows_trained);
    json_write_integer(w, "rows_unsampled", (int64_t)version->rows_unsampled);
    json_write_integer(w, "rows_quarantined", (int64_t)version->rows_quarantined);
    json_write_integer(w, "rows_excluded", (int64_t)version->rows_excluded);
    json_write_string(w, "numeric_profile", span_of(origin->numeric_profile));
    if (version->params == NULL) { return; }
    const struct ilora_shape *shape = ilora_params_shape(version->params);
    hex_encode(origin->base_sha256, SHA256_BYTES, text);
    json_write_object(w, "base_model");
    json_write_string(w, "name", span_of(origin->base_model_name));
    json_write_string(w, "sha256", span_of(text));
    json_write_object_end(w);
    if (origin->adapter_sha256 != NULL) {
        hex_encode(origin->adapter_sha256, SHA256_BYTES, text);
        json_write_object(w, "adapter");
        json_write_string(w, "sha256", span_of(text));
        json_write_object_end(w);
    }
    json_write_object(w, "ilora");
    json_write_integer(w, "rank", shape->R);
    json_write_integer(w, "experts", shape->K);
    json_write_real(w, "alpha", (double)shape->alpha);
    json_write_real(w, "gate_floor", (double)shape->gate_floor);
    json_write_object_end(w);
}

static enum status manifest_write(struct version *version, const char *folder,
                                  const struct version_origin *origin, struct error *err) {
    static const char *const names[] = {COUNTERS_FILE, WEIGHTS_FILE, PEFT_MODEL_FILE,
                                        PEFT_CONFIG_FILE};
    char path[FILE_PATH_BYTES_MAX];
    struct buffer out = {0};
    struct json_writer w;

    json_write_begin(&w, &out);
    json_write_object(&w, NULL);
    numbers_write(&w, version, origin);
    figures_write(&w, version);
    enum status status =
        folder_digests_write(&w, folder, names, version->params != NULL ? 4 : 2, err);
    json_write_object_end(&w);
    if (status == STATUS_OK && json_write_end(&w) != STATUS_OK) {
        status = error_set(err, STATUS_NO_MEMORY, "'" MANIFEST_FILE "'");
    }
    if (status == STATUS_OK) { status = path_join(path, folder, MANIFEST_FILE, err); }
    if (status == STATUS_OK) {
        struct span piece = buffer_span(&out);
        sha256_of(piece, version->digest);
        status = file_write(path, &piece, 1, err);
    }
    buffer_free(&out);
    return status;
}

/* ---- all ------------------------------------------------------------------------------------- */

enum status version_files_write(struct learner *learner, struct version *version,
                                const char *folder, const struct version_origin *origin,
                                struct error *err) {
    char path[FILE_PATH_BYTES_MAX];
    float *values = NULL;
    enum status status = STATUS_OK;

    if (version->params != NULL) {
        values = MEMORY_TAKE_ARRAY(float, ilora_params_floats(version->params));
        if (values == NULL) { return error_set(err, STATUS_NO_MEMORY, "a slab of parameters"); }
        status = ilora_params_read(version->params, ILORA_VALUE, values, err);
        if (status == STATUS_OK) { status = adapter_write(version, values, folder, origin, err); }
    }
    if (status == STATUS_OK) { status = weights_write(learner, version, values, folder, err); }
    memory_free(values);
    if (status == STATUS_OK) { status = path_join(path, folder, COUNTERS_FILE, err); }
    if (status == STATUS_OK) { status = counters_save(version->fast->counters, path, err); }
    if (status == STATUS_OK) { status = manifest_write(version, folder, origin, err); }
    if (status == STATUS_OK) { status = dir_sync(folder, err); }
    return status;
}

enum status version_sasrec_read(struct sasrec *sasrec, const struct safetensors *file,
                                struct error *err) {
    int64_t M = tensor_file_rows(file, sasrec_tensor_at(sasrec, 0)->name);

    if (M < 0 || M > sasrec_shape_of(sasrec)->items_max) {
        return error_set(err, STATUS_CORRUPT, "SASRec of %lld items, limit %d", (long long)M,
                         sasrec_shape_of(sasrec)->items_max);
    }
    enum status status = sasrec_grow(sasrec, (int)M, err);
    for (int t = 0; t < sasrec_tensor_count(sasrec) && status == STATUS_OK; t++) {
        const struct sasrec_tensor *tensor = sasrec_tensor_at(sasrec, t);
        status = tensor_file_copy(file, tensor->name, "", "F32", tensor->rows, tensor->cols,
                                  tensor->value.data, err);
    }
    if (status == STATUS_OK) { sasrec_loaded(sasrec, (int)M); }
    return status;
}

static enum status figures_read(struct version *version, const struct safetensors *file,
                                struct error *err) {
    struct eval_book *book = MEMORY_TAKE_ARRAY(struct eval_book, 1);
    if (book == NULL) { return error_set(err, STATUS_NO_MEMORY, "evaluation sums"); }

    enum status status = tensor_file_copy(file, "evaluation.sums", "", "F64", 1,
                                          (int64_t)EVAL_BOOK_DOUBLES, book, err);
    if (status == STATUS_OK) {
        version->figure_count = eval_book_figures(book, version->figures, FIGURES_MAX);
    }
    memory_free(book);
    return status;
}

static enum status weights_read(struct version *version, float *values,
                                const struct safetensors *file, struct error *err) {
    double stack[STACK_DOUBLES];

    enum status status = version_sasrec_read(version->fast->sasrec, file, err);
    if (status != STATUS_OK) { return status; }
    version->fast->items = sasrec_items(version->fast->sasrec);
    status = tensor_file_copy(file, "stack.fast", "", "F64", 1, STACK_DOUBLES, stack, err);
    if (status != STATUS_OK) { return status; }
    stack_from_doubles(stack, &version->fast->fast_stack);
    status = tensor_file_copy(file, "stack.full", "", "F64", 1, STACK_DOUBLES, stack, err);
    if (status != STATUS_OK) { return status; }
    stack_from_doubles(stack, &version->fast->full_stack);
    status = figures_read(version, file, err);
    if (status != STATUS_OK || values == NULL) { return status; }
    return params_copy(version->params, values, false, file, err);
}

/* Opens a file that has passed its digest: what is wrong with it now is corruption. */
static enum status weights_open(const char *folder, const char *name, struct safetensors **ret_file,
                                struct error *err) {
    char path[FILE_PATH_BYTES_MAX];

    enum status status = path_join(path, folder, name, err);
    if (status != STATUS_OK) { return status; }
    return safetensors_open(path, ret_file, err);
}

enum status version_files_read(struct learner *learner, struct version *version, const char *folder,
                               struct error *err) {
    char path[FILE_PATH_BYTES_MAX];
    struct safetensors *weights = NULL, *adapter = NULL;
    float *values = NULL;

    (void)learner; /* the shapes are in the version's objects */
    enum status status = weights_open(folder, WEIGHTS_FILE, &weights, err);
    if (status != STATUS_OK) { return status; }
    if (version->params != NULL) {
        values = MEMORY_TAKE_ARRAY(float, ilora_params_floats(version->params));
        if (values == NULL) { status = error_set(err, STATUS_NO_MEMORY, "parameters"); }
        if (status == STATUS_OK) { status = weights_open(folder, PEFT_MODEL_FILE, &adapter, err); }
        if (status == STATUS_OK) {
            status = params_copy(version->params, values, true, adapter, err);
        }
    }
    if (status == STATUS_OK) { status = weights_read(version, values, weights, err); }
    if (status == STATUS_OK && values != NULL) {
        status = ilora_params_write(version->params, ILORA_VALUE, values, err);
    }
    if (status == STATUS_OK) { status = path_join(path, folder, COUNTERS_FILE, err); }
    if (status == STATUS_OK) { status = counters_load(version->fast->counters, path, err); }
    memory_free(values);
    if (adapter != NULL) { safetensors_close(adapter); }
    safetensors_close(weights);
    return status;
}
