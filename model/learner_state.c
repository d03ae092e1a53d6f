/* SPDX-License-Identifier: Apache-2.0
 *
 * learner_state.c - the learner's whole state as a folder, and back.
 *
 *   state.safetensors  SASRec with moments and titles, stacks, evaluation sums, numbers, reservoir,
 *                      the language model's slabs, measured titles
 *   counters.bin
 *   checkpoint.json    SHA-256 of both
 *
 * A learner that loads it and one that never stopped make the same bytes from then on.
 */
#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "model/learner_lm.h"
#include "model/version_files.h"

#define STATE_FILE      "state.safetensors"
#define COUNTERS_FILE   "counters.bin"
#define CHECKPOINT_FILE "checkpoint.json"

enum state_number {
    NUMBER_SEQ,
    NUMBER_VERSION,
    NUMBER_VERSION_SEQ,
    NUMBER_RESTORED_FROM,
    NUMBER_SASREC_STEPS,
    NUMBER_LM_STEPS,
    NUMBER_TRAINED,
    NUMBER_UNSAMPLED,
    NUMBER_QUARANTINED,
    NUMBER_EXCLUDED,
    NUMBER_TITLES_SEQ,
    NUMBER_TITLES_MEASURED,
    NUMBER_TITLES_WAITING,
    NUMBER_COUNT,
};

/* ---- numbers --------------------------------------------------------------------------------- */

static void numbers_get(const struct learner *learner, int64_t *ret_numbers) {
    const struct learner_lm *lm = learner->lm;

    ret_numbers[NUMBER_SEQ] = (int64_t)learner->seq;
    ret_numbers[NUMBER_VERSION] = (int64_t)learner->version;
    ret_numbers[NUMBER_VERSION_SEQ] = (int64_t)learner->version_seq;
    ret_numbers[NUMBER_RESTORED_FROM] = (int64_t)learner->restored_from;
    ret_numbers[NUMBER_SASREC_STEPS] = learner->sasrec_steps;
    ret_numbers[NUMBER_LM_STEPS] = learner->lm_steps;
    ret_numbers[NUMBER_TRAINED] = (int64_t)learner->since.trained;
    ret_numbers[NUMBER_UNSAMPLED] = (int64_t)learner->since.unsampled;
    ret_numbers[NUMBER_QUARANTINED] = (int64_t)learner->since.quarantined;
    ret_numbers[NUMBER_EXCLUDED] = (int64_t)learner->since.excluded;
    ret_numbers[NUMBER_TITLES_SEQ] = lm != NULL ? (int64_t)lm->titles_seq : 0;
    ret_numbers[NUMBER_TITLES_MEASURED] = lm != NULL ? lm->titles.measured : 0;
    ret_numbers[NUMBER_TITLES_WAITING] = lm != NULL ? lm->waiting_count : 0;
}

static void numbers_set(struct learner *learner, const int64_t *numbers) {
    learner->seq = (uint64_t)numbers[NUMBER_SEQ];
    learner->version = (uint64_t)numbers[NUMBER_VERSION];
    learner->version_seq = (uint64_t)numbers[NUMBER_VERSION_SEQ];
    learner->restored_from = (uint64_t)numbers[NUMBER_RESTORED_FROM];
    learner->sasrec_steps = numbers[NUMBER_SASREC_STEPS];
    learner->lm_steps = numbers[NUMBER_LM_STEPS];
    learner->since.trained = (uint64_t)numbers[NUMBER_TRAINED];
    learner->since.unsampled = (uint64_t)numbers[NUMBER_UNSAMPLED];
    learner->since.quarantined = (uint64_t)numbers[NUMBER_QUARANTINED];
    learner->since.excluded = (uint64_t)numbers[NUMBER_EXCLUDED];
    if (learner->lm == NULL) { return; }
    learner->lm->titles_seq = (uint64_t)numbers[NUMBER_TITLES_SEQ];
}

/* ---- saving ---------------------------------------------------------------------------------- */

/* What the list points into while the file is written. */
struct state_parts {
    int64_t numbers[NUMBER_COUNT];
    double fast_stack[STACK_DOUBLES], full_stack[STACK_DOUBLES];
    int64_t title_items[TITLES_MEASURED];
    struct buffer reservoir; /* owns */
    float *slabs;            /* owns */
    int64_t *waiting;        /* owns */
};

static void sasrec_list(const struct sasrec *sasrec, struct tensor_list *list) {
    for (int t = 0; t < sasrec_tensor_count(sasrec); t++) {
        const struct sasrec_tensor *tensor = sasrec_tensor_at(sasrec, t);
        const int rows = tensor->rows, cols = tensor->cols;
        tensor_list_add(list, tensor->name, "", "F32", rows, cols, tensor->value.data);
        if (tensor_is_none(tensor->moment1)) { continue; }
        tensor_list_add(list, tensor->name, ".moment1", "F32", rows, cols, tensor->moment1.data);
        tensor_list_add(list, tensor->name, ".moment2", "F32", rows, cols, tensor->moment2.data);
    }
}

static enum status lm_list(struct learner *learner, struct state_parts *parts,
                           struct tensor_list *list, struct error *err) {
    const struct title_vectors *titles = &learner->lm->titles;
    size_t floats = learner_lm_floats(learner);

    parts->slabs = MEMORY_TAKE_ARRAY(float, LEARNER_LM_SLABS *floats);
    if (parts->slabs == NULL) { return error_set(err, STATUS_NO_MEMORY, "parameters"); }
    enum status status = learner_lm_read(learner, parts->slabs, err);
    if (status != STATUS_OK) { return status; }
    tensor_list_add(list, "ilora.slabs", "", "F32", LEARNER_LM_SLABS, (int64_t)floats,
                    parts->slabs);
    for (int t = 0; t < titles->measured; t++) {
        parts->title_items[t] = titles->item[t];
    }
    tensor_list_add(list, "titles.raw", "", "F32", titles->measured, titles->W, titles->raw);
    tensor_list_add(list, "titles.items", "", "I64", 1, titles->measured, parts->title_items);
    int waiting = learner->lm->waiting_count;
    parts->waiting = MEMORY_TAKE_ARRAY(int64_t, waiting + 1);
    if (parts->waiting == NULL) { return error_set(err, STATUS_NO_MEMORY, "titles that wait"); }
    for (int t = 0; t < waiting; t++) {
        parts->waiting[t] = learner->lm->waiting[t];
    }
    tensor_list_add(list, "titles.waiting", "", "I64", 1, waiting, parts->waiting);
    return STATUS_OK;
}

static enum status state_write(struct learner *learner, struct state_parts *parts,
                               const char *folder, struct error *err) {
    struct tensor_list list = {0};

    numbers_get(learner, parts->numbers);
    stack_to_doubles(&learner->fast->fast_stack, parts->fast_stack);
    stack_to_doubles(&learner->fast->full_stack, parts->full_stack);
    enum status status = reservoir_save(learner->reservoir, &parts->reservoir, err);
    if (status != STATUS_OK) { return status; }
    sasrec_list(learner->fast->sasrec, &list);
    tensor_list_add(&list, "stack.fast", "", "F64", 1, STACK_DOUBLES, parts->fast_stack);
    tensor_list_add(&list, "stack.full", "", "F64", 1, STACK_DOUBLES, parts->full_stack);
    tensor_list_add(&list, "evaluation.sums", "", "F64", 1, (int64_t)EVAL_BOOK_DOUBLES,
                    &learner->book);
    tensor_list_add(&list, "numbers", "", "I64", 1, NUMBER_COUNT, parts->numbers);
    tensor_list_add(&list, "reservoir", "", "U8", 1, (int64_t)parts->reservoir.size,
                    parts->reservoir.data);
    if (learner->lm != NULL) { status = lm_list(learner, parts, &list, err); }
    if (status == STATUS_OK) { status = tensor_list_write(&list, folder, STATE_FILE, err); }
    tensor_list_free(&list);
    return status;
}

/* SHA-256 of the adapter that it all started from, in hex; "" for a fresh one. */
static void adapter_text(const struct learner *learner, char ret_text[2 * SHA256_BYTES + 1]) {
    const struct peft_adapter *adapter = learner->lm != NULL ? learner->settings.adapter : NULL;

    ret_text[0] = '\0';
    if (adapter != NULL) { hex_encode(adapter->sha256, SHA256_BYTES, ret_text); }
}

static enum status checkpoint_json_write(const struct learner *learner, const char *folder,
                                         struct error *err) {
    static const char *const names[] = {COUNTERS_FILE, STATE_FILE};
    char path[FILE_PATH_BYTES_MAX], adapter[2 * SHA256_BYTES + 1];
    struct buffer out = {0};
    struct json_writer w;

    json_write_begin(&w, &out);
    json_write_object(&w, NULL);
    json_write_integer(&w, "format", 1);
    json_write_integer(&w, "seq", (int64_t)learner->seq);
    json_write_integer(&w, "version", (int64_t)learner->version);
    adapter_text(learner, adapter);
    if (adapter[0] != '\0') { json_write_string(&w, "adapter", span_of(adapter)); }
    enum status status = folder_digests_write(&w, folder, names, 2, err);
    json_write_object_end(&w);
    if (status == STATUS_OK && json_write_end(&w) != STATUS_OK) {
        status = error_set(err, STATUS_NO_MEMORY, "'" CHECKPOINT_FILE "'");
    }
    if (status == STATUS_OK) { status = path_join(path, folder, CHECKPOINT_FILE, err); }
    if (status == STATUS_OK) {
        struct span piece = buffer_span(&out);
        status = file_write(path, &piece, 1, err);
    }
    buffer_free(&out);
    return status;
}

enum status learner_save(struct learner *learner, const char *path, struct error *err) {
    char counters[FILE_PATH_BYTES_MAX];
    struct state_parts *parts = MEMORY_TAKE_ARRAY(struct state_parts, 1);
    if (parts == NULL) { return error_set(err, STATUS_NO_MEMORY, "checkpoint"); }

    enum status status = dir_make(path, err);
    if (status == STATUS_OK) { status = state_write(learner, parts, path, err); }
    if (status == STATUS_OK) { status = path_join(counters, path, COUNTERS_FILE, err); }
    if (status == STATUS_OK) { status = counters_save(learner->fast->counters, counters, err); }
    if (status == STATUS_OK) { status = checkpoint_json_write(learner, path, err); }
    if (status == STATUS_OK) { status = dir_sync(path, err); }
    buffer_free(&parts->reservoir);
    memory_free(parts->slabs);
    memory_free(parts->waiting);
    memory_free(parts);
    if (status != STATUS_OK) { return error_wrap(err, "saving the learner to '%s'", path); }
    return STATUS_OK;
}

/* ---- loading --------------------------------------------------------------------------------- */

static enum status sasrec_load(struct learner *learner, const struct safetensors *file,
                               struct error *err) {
    struct sasrec *sasrec = learner->fast->sasrec;
    int64_t M = tensor_file_rows(file, sasrec_tensor_at(sasrec, 0)->name);

    if (M < sasrec_items(sasrec) || M > sasrec_shape_of(sasrec)->items_max) {
        return error_set(err, STATUS_CORRUPT, "SASRec of %" PRId64 " items, expected %d to %d", M,
                         sasrec_items(sasrec), sasrec_shape_of(sasrec)->items_max);
    }
    enum status status = fast_model_grow(learner->fast, (int)M, err);
    for (int t = 0; t < sasrec_tensor_count(sasrec) && status == STATUS_OK; t++) {
        const struct sasrec_tensor *tensor = sasrec_tensor_at(sasrec, t);
        const int rows = tensor->rows, cols = tensor->cols;
        status =
            tensor_file_copy(file, tensor->name, "", "F32", rows, cols, tensor->value.data, err);
        if (status != STATUS_OK || tensor_is_none(tensor->moment1)) { continue; }
        status = tensor_file_copy(file, tensor->name, ".moment1", "F32", rows, cols,
                                  tensor->moment1.data, err);
        if (status != STATUS_OK) { break; }
        status = tensor_file_copy(file, tensor->name, ".moment2", "F32", rows, cols,
                                  tensor->moment2.data, err);
    }
    if (status == STATUS_OK) { sasrec_loaded(sasrec, (int)M); }
    return status;
}

static enum status reservoir_read(struct learner *learner, const struct safetensors *file,
                                  struct error *err) {
    const struct safetensors_entry *entry = safetensors_find(file, "reservoir");

    if (entry == NULL || strcmp(entry->dtype, "U8") != 0) {
        return error_set(err, STATUS_CORRUPT, "tensor 'reservoir' is missing");
    }
    return reservoir_load(learner->reservoir, span_make(entry->data, entry->bytes), err);
}

static enum status waiting_load(struct learner_lm *lm, const struct safetensors *file,
                                int64_t waiting, struct error *err) {
    if (waiting < 0 || waiting > INT32_MAX / 2) {
        return error_set(err, STATUS_CORRUPT, "%" PRId64 " titles wait", waiting);
    }
    int64_t *items = MEMORY_TAKE_ARRAY(int64_t, waiting + 1);
    if (items == NULL) { return error_set(err, STATUS_NO_MEMORY, "titles that wait"); }
    enum status status =
        tensor_file_copy(file, "titles.waiting", "", "I64", 1, waiting, items, err);
    lm->waiting_count = 0;
    for (int64_t t = 0; t < waiting && status == STATUS_OK; t++) {
        status = learner_lm_wait_title(lm, (uint32_t)items[t], err);
    }
    memory_free(items);
    return status;
}

static enum status lm_load(struct learner *learner, const struct safetensors *file,
                           int64_t measured, int64_t waiting, struct error *err) {
    struct title_vectors *titles = &learner->lm->titles;
    size_t floats = learner_lm_floats(learner);
    int64_t items[TITLES_MEASURED] = {0};

    if (measured < 0 || measured > TITLES_MEASURED) {
        return error_set(err, STATUS_CORRUPT, "%" PRId64 " measured titles", measured);
    }
    float *slabs = MEMORY_TAKE_ARRAY(float, LEARNER_LM_SLABS *floats);
    if (slabs == NULL) { return error_set(err, STATUS_NO_MEMORY, "parameters"); }
    enum status status = tensor_file_copy(file, "ilora.slabs", "", "F32", LEARNER_LM_SLABS,
                                          (int64_t)floats, slabs, err);
    if (status == STATUS_OK) { status = learner_lm_write(learner, slabs, err); }
    memory_free(slabs);
    if (status != STATUS_OK || titles->W == 0) { return status; }
    status = tensor_file_copy(file, "titles.raw", "", "F32", measured, titles->W, titles->raw, err);
    if (status != STATUS_OK) { return status; }
    status = tensor_file_copy(file, "titles.items", "", "I64", 1, measured, items, err);
    if (status != STATUS_OK) { return status; }
    for (int64_t t = 0; t < measured; t++) {
        titles->item[t] = (uint32_t)items[t];
    }
    titles->measured = (int)measured;
    title_vectors_measure(titles);
    return waiting_load(learner->lm, file, waiting, err);
}

static enum status state_read(struct learner *learner, const struct safetensors *file,
                              struct error *err) {
    int64_t numbers[NUMBER_COUNT];
    double stack[STACK_DOUBLES];

    enum status status = sasrec_load(learner, file, err);
    if (status != STATUS_OK) { return status; }
    status = tensor_file_copy(file, "stack.fast", "", "F64", 1, STACK_DOUBLES, stack, err);
    if (status != STATUS_OK) { return status; }
    stack_from_doubles(stack, &learner->fast->fast_stack);
    status = tensor_file_copy(file, "stack.full", "", "F64", 1, STACK_DOUBLES, stack, err);
    if (status != STATUS_OK) { return status; }
    stack_from_doubles(stack, &learner->fast->full_stack);
    status = tensor_file_copy(file, "evaluation.sums", "", "F64", 1, (int64_t)EVAL_BOOK_DOUBLES,
                              &learner->book, err);
    if (status != STATUS_OK) { return status; }
    status = tensor_file_copy(file, "numbers", "", "I64", 1, NUMBER_COUNT, numbers, err);
    if (status != STATUS_OK) { return status; }
    status = reservoir_read(learner, file, err);
    if (status != STATUS_OK) { return status; }
    if (learner->lm != NULL) {
        status = lm_load(learner, file, numbers[NUMBER_TITLES_MEASURED],
                         numbers[NUMBER_TITLES_WAITING], err);
        if (status != STATUS_OK) { return status; }
    }
    numbers_set(learner, numbers);
    return STATUS_OK;
}

/* What a checkpoint grew from is not to be seen in its weights. */
static enum status adapter_check(const struct learner *learner, const struct json_value *json,
                                 struct error *err) {
    char wanted[2 * SHA256_BYTES + 1];
    struct span held = {NULL, 0}; /* absent: a fresh adapter */

    adapter_text(learner, wanted);
    (void)json_string(json_member(json, "adapter"), &held);
    if (span_equal(held, span_of(wanted))) { return STATUS_OK; }
    return error_set(err, STATUS_CORRUPT,
                     "it started from adapter '%.*s', the settings say '%s' ('' = a fresh one)",
                     SPAN_ARG(held), wanted);
}

enum status learner_load(struct learner *learner, const char *path, struct error *err) {
    char file_path[FILE_PATH_BYTES_MAX];
    struct json_value *json = NULL;
    struct safetensors *file = NULL;

    assert(learner->seq == 0); /* into a fresh learner: half a load is thrown away by the caller */
    enum status status = folder_digests_check(path, CHECKPOINT_FILE, &json, NULL, err);
    if (status != STATUS_OK) { goto done; }
    status = adapter_check(learner, json, err);
    if (status != STATUS_OK) { goto done; }
    status = path_join(file_path, path, STATE_FILE, err);
    if (status != STATUS_OK) { goto done; }
    status = safetensors_open(file_path, &file, err);
    if (status != STATUS_OK) { goto done; }
    status = state_read(learner, file, err);
    if (status != STATUS_OK) { goto done; }
    status = path_join(file_path, path, COUNTERS_FILE, err);
    if (status != STATUS_OK) { goto done; }
    status = counters_load(learner->fast->counters, file_path, err);
done:
    json_free(json);
    if (file != NULL) { safetensors_close(file); }
    if (status != STATUS_OK) { return error_wrap(err, "loading the learner from '%s'", path); }
    return STATUS_OK;
}
