/* SPDX-License-Identifier: Apache-2.0
 *
 * peft_mix.c - a plain LoRA into iLoRA's ranks and experts, and one mixture of experts out as a
 * plain LoRA. (MODEL.md, iLoRA linear layer; the two lines of algebra are in peft_adapter.h.) */
#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/memory.h"
#include "model/params.h"
#include "model/peft_adapter.h"
#include "model/peft_config.h"

#define GATE_SUM_ERROR 1e-3 /* of weights that were typed */

/* ---- in -------------------------------------------------------------------------------------- */

static bool is_up(const char *name) {
    return strstr(name, ".lora_B.") != NULL;
}

static const struct ilora_tensor *find_tensor(const struct ilora_params *params, const char *name) {
    for (int t = 0; t < params->count; t++) {
        if (strcmp(params->tensors[t].name, name) == 0) { return &params->tensors[t]; }
    }
    return NULL;
}

/* Rank j of the adapter: the experts take turns, so each holds an even share. */
static int row_of_rank(int j, const struct ilora_shape *shape) {
    return j % shape->K * (shape->R / shape->K) + j / shape->K;
}

static enum status check_rank(const struct peft_adapter *adapter, const struct ilora_shape *shape,
                              struct error *err) {
    int K = shape->K, wanted = (adapter->rank + K - 1) / K * K;

    if (adapter->rank <= shape->R) { return STATUS_OK; }
    return error_set(err, STATUS_CONFIG,
                     "rank r = %d does not fit in [ilora] rank = %d, expected [ilora] rank = %d or "
                     "more",
                     adapter->rank, shape->R, wanted);
}

static enum status check_matrix(const struct peft_matrix *matrix, const struct ilora_tensor *tensor,
                                int layers, struct error *err) {
    if (tensor == NULL) {
        return error_set(err, STATUS_CONFIG, "tensor '%s' is of no layer of the base, which has %d",
                         matrix->name, layers);
    }
    bool up = is_up(matrix->name);
    int width = up ? matrix->rows : matrix->cols, wanted = up ? tensor->rows : tensor->cols;
    if (width == wanted) { return STATUS_OK; }
    return error_set(err, STATUS_CONFIG, "tensor '%s' is (%d, %d), expected (%d, %d) of the base",
                     matrix->name, matrix->rows, matrix->cols, up ? wanted : matrix->rows,
                     up ? matrix->cols : wanted);
}

static void place_matrix(const struct peft_matrix *matrix, const struct ilora_tensor *tensor,
                         const struct ilora_shape *shape, double factor, float *slab) {
    float *values = slab + tensor->offset;
    bool up = is_up(matrix->name);
    int rank = up ? matrix->cols : matrix->rows;

    for (int j = 0; j < rank; j++) {
        size_t row = (size_t)row_of_rank(j, shape);
        if (!up) {
            memcpy(values + row * (size_t)tensor->cols,
                   matrix->values + (size_t)j * (size_t)matrix->cols,
                   (size_t)matrix->cols * sizeof *values);
            continue;
        }
        for (int o = 0; o < matrix->rows; o++) {
            values[(size_t)o * (size_t)tensor->cols + row] =
                (float)(factor * (double)matrix->values[(size_t)o * (size_t)rank + (size_t)j]);
        }
    }
}

/* Checks all, then places all. slab: the params' values on the host. */
static enum status place(const struct peft_adapter *adapter, const struct ilora_params *params,
                         float *slab, struct error *err) {
    const struct ilora_shape *shape = &params->shape;
    double factor = adapter->scale * (double)shape->R / (double)shape->alpha;

    enum status status = check_rank(adapter, shape, err);
    if (status == STATUS_OK) { status = peft_adapter_check_targets(adapter, params->L, err); }
    for (int i = 0; i < adapter->count && status == STATUS_OK; i++) {
        const struct peft_matrix *matrix = &adapter->matrices[i];
        status = check_matrix(matrix, find_tensor(params, matrix->name), params->L, err);
    }
    if (status != STATUS_OK) { return status; }
    for (int t = 0; t < params->count; t++) {
        const struct ilora_tensor *tensor = &params->tensors[t];
        if (!is_up(tensor->name)) { continue; }
        memset(slab + tensor->offset, 0,
               (size_t)tensor->rows * (size_t)tensor->cols * sizeof *slab);
    }
    for (int i = 0; i < adapter->count; i++) {
        const struct peft_matrix *matrix = &adapter->matrices[i];
        const struct ilora_tensor *tensor = find_tensor(params, matrix->name);
        assert(tensor != NULL);
        if (tensor != NULL) { place_matrix(matrix, tensor, shape, factor, slab); }
    }
    return STATUS_OK;
}

enum status peft_adapter_start(const struct peft_adapter *adapter, struct ilora_params *params,
                               struct error *err) {
    float *slab = MEMORY_TAKE_ARRAY(float, params->floats);
    if (slab == NULL) { return error_set(err, STATUS_NO_MEMORY, "a slab of parameters"); }

    enum status status = ilora_params_read(params, ILORA_VALUE, slab, err);
    if (status == STATUS_OK) { status = place(adapter, params, slab, err); }
    if (status == STATUS_OK) { status = ilora_params_write(params, ILORA_VALUE, slab, err); }
    if (status == STATUS_OK && params->trainable) {
        status = ilora_params_write(params, ILORA_EMA, slab, err);
    }
    memory_free(slab);
    return status == STATUS_OK ? STATUS_OK : error_wrap(err, "adapter '%s'", adapter->folder);
}

/* ---- out ------------------------------------------------------------------------------------- */

enum status peft_adapter_write(const struct tensor_list *list, int rank, double alpha,
                               const char *base_name, const char *folder, struct error *err) {
    char path[FILE_PATH_BYTES_MAX];
    struct buffer out = {0};

    enum status status = tensor_list_write(list, folder, PEFT_MODEL_FILE, err);
    if (status == STATUS_OK) { status = peft_config_make(rank, alpha, base_name, &out, err); }
    if (status == STATUS_OK) { status = path_join(path, folder, PEFT_CONFIG_FILE, err); }
    if (status == STATUS_OK) {
        struct span piece = buffer_span(&out);
        status = file_write(path, &piece, 1, err);
    }
    buffer_free(&out);
    return status;
}

static enum status check_mixture(const struct peft_adapter *adapter, const float *gate, int K,
                                 struct error *err) {
    double sum = 0.0;

    if (K < 1 || adapter->rank % K != 0) {
        return error_set(err, STATUS_CONFIG, "%d experts do not divide the rank %d", K,
                         adapter->rank);
    }
    for (int k = 0; k < K && gate != NULL; k++) {
        if (!(gate[k] >= 0.0f)) {
            return error_set(err, STATUS_CONFIG, "gate weight %d is %g, expected >= 0", k,
                             (double)gate[k]);
        }
        sum += (double)gate[k];
    }
    if (gate != NULL && !(fabs(sum - 1.0) <= GATE_SUM_ERROR)) {
        return error_set(err, STATUS_CONFIG, "gate weights have the sum %g, expected 1", sum);
    }
    if (adapter->count != adapter->layers * 2 * PEFT_MODULES) {
        return error_set(err, STATUS_CONFIG,
                         "%d tensors of %d layers, expected those of all seven modules",
                         adapter->count, adapter->layers);
    }
    return STATUS_OK;
}

/* B' = K B diag(g), in place. */
static void fold_gate(const float *gate, int K, int rank, float *values, int rows) {
    for (int o = 0; o < rows; o++) {
        for (int j = 0; j < rank; j++) {
            double weight = (double)K * (double)gate[j / (rank / K)];
            float *value = &values[(size_t)o * (size_t)rank + (size_t)j];
            *value = (float)(weight * (double)*value);
        }
    }
}

static enum status write_mixture(const struct peft_adapter *adapter, const float *gate, int K,
                                 const char *folder, struct error *err) {
    struct tensor_list list = {0};
    size_t floats = 0, at = 0;

    for (int i = 0; i < adapter->count; i++) {
        floats += (size_t)adapter->matrices[i].rows * (size_t)adapter->matrices[i].cols;
    }
    float *values = MEMORY_TAKE_ARRAY(float, floats);
    if (values == NULL) { return error_set(err, STATUS_NO_MEMORY, "an adapter"); }
    for (int i = 0; i < adapter->count; i++) {
        const struct peft_matrix *matrix = &adapter->matrices[i];
        size_t count = (size_t)matrix->rows * (size_t)matrix->cols;
        memcpy(values + at, matrix->values, count * sizeof *values);
        if (gate != NULL && is_up(matrix->name)) {
            fold_gate(gate, K, adapter->rank, values + at, matrix->rows);
        }
        tensor_list_add(&list, matrix->name, "", "F32", matrix->rows, matrix->cols, values + at);
        at += count;
    }
    double alpha = adapter->rslora ? adapter->scale * adapter->rank : adapter->alpha;
    enum status status =
        peft_adapter_write(&list, adapter->rank, alpha, adapter->base_name, folder, err);
    tensor_list_free(&list);
    memory_free(values);
    return status;
}

enum status peft_adapter_export(const struct peft_adapter *adapter, const float *gate, int K,
                                const char *folder, struct error *err) {
    char temporary[FILE_PATH_BYTES_MAX], path[FILE_PATH_BYTES_MAX - 32];
    size_t size = strlen(folder);

    while (size > 1 && folder[size - 1] == '/') {
        size--; /* "user-42/" */
    }
    if (size == 0 || size >= sizeof path) {
        return error_set(err, STATUS_CONFIG, "a path of %zu bytes, expected 1 to %zu", size,
                         sizeof path - 1);
    }
    (void)snprintf(path, sizeof path, "%.*s", (int)size, folder);
    (void)snprintf(temporary, sizeof temporary, "%s.%ld.tmp", path, (long)getpid());
    enum status status = check_mixture(adapter, gate, K, err);
    if (status != STATUS_OK) { return status; }
    if (file_exists(path)) {
        return error_set(err, STATUS_CONFIG, "'%s' exists, expected a folder to be made", path);
    }
    status = dir_make(temporary, err);
    if (status != STATUS_OK) { return status; }
    status = write_mixture(adapter, gate, K, temporary, err);
    if (status == STATUS_OK) { status = dir_publish(temporary, path, err); }
    if (status != STATUS_OK) {
        struct error unused;
        enum status removed = dir_remove(temporary, &unused);
        (void)removed; /* the first failure counts */
    }
    return status;
}
