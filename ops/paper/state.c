/* SPDX-License-Identifier: Apache-2.0
 *
 * state.c - the folder, its settings, results and checkpoints. */
#include "ops/paper/state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/fault.h"
#include "base/memory.h"

#define RESULT_BYTES_MAX (256u * 1024u * 1024u)
#define SLABS_KEPT       3

/* ---- folder and settings --------------------------------------------------------------------- */

static enum status take_lock(struct paper_state *state, struct error *err) {
    char path[FILE_PATH_BYTES_MAX];
    enum status status = path_join(path, state->folder, "lock", err);
    if (status != STATUS_OK) { return status; }
    state->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0640);
    if (state->lock_fd < 0) { return error_errno(err, errno, "opening '%s'", path); }
    if (flock(state->lock_fd, LOCK_EX | LOCK_NB) == 0) { return STATUS_OK; }
    if (errno == EWOULDBLOCK) {
        return error_set(err, STATUS_CONFIG, "--out '%s': another process works there",
                         state->folder);
    }
    return error_errno(err, errno, "locking '%s'", path);
}

static enum status settings_write(const char *path, const struct paper_setting *settings, int count,
                                  struct error *err) {
    struct buffer text = {0};
    struct json_writer w;
    json_write_begin(&w, &text);
    json_write_object(&w, NULL);
    for (int i = 0; i < count; i++) {
        json_write_string(&w, settings[i].name, span_of(settings[i].value));
    }
    json_write_object_end(&w);
    enum status status = json_write_end(&w);
    if (status == STATUS_OK) {
        status = file_replace(path, buffer_span(&text), err);
    } else {
        (void)error_set(err, status, "settings of '%s'", path); /* returns its code */
    }
    buffer_free(&text);
    return status;
}

static enum status settings_compare(const char *folder, const struct json_value *held,
                                    const struct paper_setting *settings, int count,
                                    struct error *err) {
    for (int i = 0; i < count; i++) {
        struct span value = {0};
        if (!json_string(json_member(held, settings[i].name), &value)) {
            return error_set(err, STATUS_CONFIG,
                             "--out '%s': its settings.json has no '%s': begun by another program",
                             folder, settings[i].name);
        }
        if (!span_equal(value, span_of(settings[i].value))) {
            return error_set(err, STATUS_CONFIG,
                             "--out '%s' was begun with %s %.*s, not %s: take that, or another "
                             "folder",
                             folder, settings[i].name, SPAN_ARG(value), settings[i].value);
        }
    }
    return STATUS_OK;
}

static enum status json_read(const char *path, struct json_value **ret_json, struct error *err) {
    struct buffer text = {0};
    enum status status = file_read(path, RESULT_BYTES_MAX, &text, err);
    if (status == STATUS_OK) {
        status = json_parse(buffer_span(&text), ret_json, err);
        if (status == STATUS_MALFORMED) { status = err->code = STATUS_CORRUPT; }
        if (status != STATUS_OK) { (void)error_wrap(err, "'%s'", path); } /* returns its code */
    }
    buffer_free(&text);
    return status;
}

enum status paper_state_open(const char *folder, const struct paper_setting *settings, int count,
                             struct paper_state *ret_state, struct error *err) {
    struct paper_state state = {.lock_fd = -1};
    struct json_value *held = NULL;
    char path[FILE_PATH_BYTES_MAX];
    if (snprintf(state.folder, sizeof state.folder, "%s", folder) >= (int)sizeof state.folder) {
        return error_set(err, STATUS_LIMIT, "--out: longer than %u bytes", FILE_PATH_BYTES_MAX);
    }
    enum status status = dir_make(folder, err);
    if (status != STATUS_OK) { return error_wrap(err, "--out"); }
    status = take_lock(&state, err);
    if (status != STATUS_OK) { goto fail; }
    status = path_join(path, folder, "settings.json", err);
    if (status != STATUS_OK) { goto fail; }
    if (file_exists(path)) {
        status = json_read(path, &held, err);
        if (status != STATUS_OK) { goto fail; }
        status = settings_compare(folder, held, settings, count, err);
        json_free(held);
    } else {
        status = settings_write(path, settings, count, err);
    }
    if (status != STATUS_OK) { goto fail; }
    *ret_state = state;
    return STATUS_OK;

fail:
    paper_state_close(&state);
    return status;
}

void paper_state_close(struct paper_state *state) {
    if (state->lock_fd >= 0) { (void)close(state->lock_fd); } /* nothing was written to it */
    state->lock_fd = -1;
}

enum status paper_state_path(const struct paper_state *state, int seed, const char *stem,
                             const char *ending, char ret_path[FILE_PATH_BYTES_MAX],
                             struct error *err) {
    char folder[FILE_PATH_BYTES_MAX], name[128];
    (void)snprintf(name, sizeof name, "seed-%d", seed);
    enum status status = path_join(folder, state->folder, seed > 0 ? name : ".", err);
    if (status == STATUS_OK && seed > 0) { status = dir_make(folder, err); }
    (void)snprintf(name, sizeof name, "%s%s", stem, ending);
    return status == STATUS_OK ? path_join(ret_path, folder, name, err) : status;
}

/* ---- results --------------------------------------------------------------------------------- */

enum status paper_state_result_read(const struct paper_state *state, int seed,
                                    enum paper_method method, struct paper_result *ret_result,
                                    struct error *err) {
    char path[FILE_PATH_BYTES_MAX];
    struct json_value *json = NULL;
    enum status status =
        paper_state_path(state, seed, paper_method_name(method), ".json", path, err);
    if (status != STATUS_OK) { return status; }
    status = json_read(path, &json, err);
    if (status != STATUS_OK) { return status; }
    status = paper_result_parse(json, ret_result, err);
    json_free(json);
    return status == STATUS_OK ? status : error_wrap(err, "'%s'", path);
}

enum status paper_state_result_write(const struct paper_state *state, int seed,
                                     enum paper_method method, const struct paper_result *result,
                                     struct error *err) {
    char path[FILE_PATH_BYTES_MAX];
    struct buffer text = {0};
    struct json_writer w;
    enum status status =
        paper_state_path(state, seed, paper_method_name(method), ".json", path, err);
    if (status != STATUS_OK) { return status; }
    json_write_begin(&w, &text);
    paper_result_json(&w, NULL, result);
    status = json_write_end(&w);
    if (status == STATUS_OK) {
        status = file_replace(path, buffer_span(&text), err);
    } else {
        (void)error_set(err, status, "result '%s'", path); /* returns its code */
    }
    buffer_free(&text);
    return status;
}

/* ---- tensors --------------------------------------------------------------------------------- */

enum status paper_tensors_write(const struct tensor_list *list, const char *path,
                                struct error *err) {
    static const char *const metadata[1][2] = {{"format", "pt"}}; /* as PyTorch's writer says */
    char partial[FILE_PATH_BYTES_MAX];
    if (list->status != STATUS_OK) { return error_set(err, list->status, "tensors of '%s'", path); }
    if (snprintf(partial, sizeof partial, "%s.tmp", path) >= (int)sizeof partial) {
        return error_set(err, STATUS_LIMIT, "path longer than %u bytes", FILE_PATH_BYTES_MAX);
    }
    enum status status = safetensors_write(partial, list->entries, list->count, metadata, 1, err);
    if (status != STATUS_OK) { return status; }
    bool refused = fault_fires(FAULT_FILE);
    if (refused || rename(partial, path) != 0) {
        return error_errno(err, refused ? EIO : errno, "renaming '%s' to '%s'", partial, path);
    }
    return path_sync_parent(path, err);
}

static const struct {
    enum ilora_slab slab;
    const char *name;
} slabs_kept[SLABS_KEPT] = {
    {ILORA_VALUE, "value"}, {ILORA_MOMENT1, "moment1"}, {ILORA_MOMENT2, "moment2"}};

#define COUNTS_KEPT 4
#define REALS_KEPT  3

static float *slabs_take(const struct ilora_params *params, struct error *err) {
    float *slabs = MEMORY_TAKE_ARRAY(float, SLABS_KEPT *ilora_params_floats(params));
    if (slabs == NULL) { (void)error_set(err, STATUS_NO_MEMORY, "checkpoint"); }
    return slabs;
}

enum status paper_checkpoint_write(const char *path, struct ilora_params *params,
                                   const struct paper_result *result, struct error *err) {
    const int64_t counts[COUNTS_KEPT] = {result->steps, result->trained, result->tokens,
                                         result->discarded};
    const double reals[REALS_KEPT] = {result->first_loss, result->last_loss,
                                      result->timing.train_seconds};
    size_t floats = ilora_params_floats(params);
    struct tensor_list list = {0};
    float *slabs = slabs_take(params, err);
    if (slabs == NULL) { return STATUS_NO_MEMORY; }
    enum status status = STATUS_OK;
    for (size_t s = 0; s < SLABS_KEPT && status == STATUS_OK; s++) {
        status = ilora_params_read(params, slabs_kept[s].slab, slabs + s * floats, err);
        tensor_list_add(&list, slabs_kept[s].name, "", "F32", 1, (int64_t)floats,
                        slabs + s * floats);
    }
    tensor_list_add(&list, "counts", "", "I64", 1, COUNTS_KEPT, counts);
    tensor_list_add(&list, "reals", "", "F64", 1, REALS_KEPT, reals);
    if (status == STATUS_OK) { status = paper_tensors_write(&list, path, err); }
    tensor_list_free(&list);
    memory_free(slabs);
    return status;
}

static enum status checkpoint_fill(const struct safetensors *file, struct ilora_params *params,
                                   float *slabs, struct paper_result *result, struct error *err) {
    int64_t counts[COUNTS_KEPT];
    double reals[REALS_KEPT];
    size_t floats = ilora_params_floats(params);
    enum status status = tensor_file_copy(file, "counts", "", "I64", 1, COUNTS_KEPT, counts, err);
    if (status != STATUS_OK) { return status; }
    status = tensor_file_copy(file, "reals", "", "F64", 1, REALS_KEPT, reals, err);
    for (size_t s = 0; s < SLABS_KEPT && status == STATUS_OK; s++) {
        status = tensor_file_copy(file, slabs_kept[s].name, "", "F32", 1, (int64_t)floats,
                                  slabs + s * floats, err);
    }
    for (size_t s = 0; s < SLABS_KEPT && status == STATUS_OK; s++) {
        status = ilora_params_write(params, slabs_kept[s].slab, slabs + s * floats, err);
    }
    if (status != STATUS_OK) { return status; }
    result->steps = counts[0];
    result->trained = counts[1];
    result->tokens = counts[2];
    result->discarded = (int)counts[3];
    result->first_loss = reals[0];
    result->last_loss = reals[1];
    result->timing.train_seconds = reals[2];
    return STATUS_OK;
}

enum status paper_checkpoint_read(const char *path, struct ilora_params *params,
                                  struct paper_result *result, struct error *err) {
    struct safetensors *file = NULL;
    if (!file_exists(path)) { return error_set(err, STATUS_NOT_FOUND, "no checkpoint '%s'", path); }
    float *slabs = slabs_take(params, err);
    if (slabs == NULL) { return STATUS_NO_MEMORY; }
    enum status status = safetensors_open(path, &file, err);
    if (status == STATUS_OK) {
        status = checkpoint_fill(file, params, slabs, result, err);
        safetensors_close(file);
    }
    memory_free(slabs);
    return status == STATUS_OK ? status : error_wrap(err, "'%s'", path);
}

enum status paper_adapter_write(const char *path, struct ilora_params *params, struct error *err) {
    struct tensor_list list = {0};
    float *values = MEMORY_TAKE_ARRAY(float, ilora_params_floats(params));
    if (values == NULL) { return error_set(err, STATUS_NO_MEMORY, "adapter"); }
    enum status status = ilora_params_read(params, ILORA_VALUE, values, err);
    for (int i = 0; i < ilora_params_count(params); i++) {
        const struct ilora_tensor *tensor = ilora_params_at(params, i);
        tensor_list_add(&list, tensor->name, "", "F32", tensor->rows, tensor->cols,
                        values + tensor->offset);
    }
    if (status == STATUS_OK) { status = paper_tensors_write(&list, path, err); }
    tensor_list_free(&list);
    memory_free(values);
    return status;
}
