/* SPDX-License-Identifier: Apache-2.0
 *
 * onednn.c - see onednn.h: everything that differs between oneDNN 2.x and 3.x is in this file. */
#include "kernels/cpu/onednn.h"

#include <assert.h>
#include <stdio.h>

#if DNNL_VERSION_MAJOR >= 3
#define ONEDNN_3 1
#else
#define ONEDNN_3 0
#endif

/* NO_MEMORY for want of memory, MALFORMED for what the library cannot do. */
static enum status fail(struct error *err, dnnl_status_t status, const char *what) {
    enum status code = status == dnnl_out_of_memory ? STATUS_NO_MEMORY : STATUS_MALFORMED;

    return error_set(err, code, "oneDNN: %s: status %d", what, (int)status);
}

enum status onednn_device_open(struct onednn_device *device, struct error *err) {
    *device = (struct onednn_device){0};
    dnnl_status_t done = dnnl_engine_create(&device->engine, dnnl_cpu, 0);
    if (done != dnnl_success) { return fail(err, done, "engine"); }
    done = dnnl_stream_create(&device->stream, device->engine, dnnl_stream_default_flags);
    if (done != dnnl_success) {
        onednn_device_close(device);
        return fail(err, done, "stream");
    }
    return STATUS_OK;
}

void onednn_device_close(struct onednn_device *device) {
    if (device->stream != NULL) { (void)dnnl_stream_destroy(device->stream); /* nothing to do */ }
    if (device->engine != NULL) { (void)dnnl_engine_destroy(device->engine); /* nothing to do */ }
    *device = (struct onednn_device){0};
}

/* ---- layouts --------------------------------------------------------------------------------- */

enum status onednn_layout_strided(struct onednn_layout *layout, int rows, int cols,
                                  dnnl_data_type_t type, int row_stride, int col_stride,
                                  struct error *err) {
    const dnnl_dims_t dims = {rows, cols}, strides = {row_stride, col_stride};

    *layout = (struct onednn_layout){0};
#if ONEDNN_3
    dnnl_status_t done = dnnl_memory_desc_create_with_strides(&layout->md, 2, dims, type, strides);
#else
    dnnl_status_t done = dnnl_memory_desc_init_by_strides(&layout->md, 2, dims, type, strides);
#endif
    if (done != dnnl_success) { return fail(err, done, "strided layout"); }
    layout->made = true;
    return STATUS_OK;
}

static enum status layout_any(struct onednn_layout *layout, int rows, int cols,
                              dnnl_data_type_t type, struct error *err) {
    const dnnl_dims_t dims = {rows, cols};

    *layout = (struct onednn_layout){0};
#if ONEDNN_3
    dnnl_status_t done =
        dnnl_memory_desc_create_with_tag(&layout->md, 2, dims, type, dnnl_format_tag_any);
#else
    dnnl_status_t done =
        dnnl_memory_desc_init_by_tag(&layout->md, 2, dims, type, dnnl_format_tag_any);
#endif
    if (done != dnnl_success) { return fail(err, done, "layout"); }
    layout->made = true;
    return STATUS_OK;
}

void onednn_layout_free(struct onednn_layout *layout) {
#if ONEDNN_3
    if (layout->made) { (void)dnnl_memory_desc_destroy(layout->md); /* nothing to do */ }
#endif
    *layout = (struct onednn_layout){0};
}

size_t onednn_layout_bytes(const struct onednn_layout *layout) {
#if ONEDNN_3
    return dnnl_memory_desc_get_size(layout->md);
#else
    return dnnl_memory_desc_get_size(&layout->md);
#endif
}

enum status onednn_memory_make(dnnl_memory_t *ret_memory, const struct onednn_device *device,
                               const struct onednn_layout *layout, void *data, struct error *err) {
#if ONEDNN_3
    dnnl_status_t done = dnnl_memory_create(ret_memory, layout->md, device->engine, data);
#else
    dnnl_status_t done = dnnl_memory_create(ret_memory, &layout->md, device->engine, data);
#endif
    return done == dnnl_success ? STATUS_OK : fail(err, done, "memory");
}

/* ---- primitives ------------------------------------------------------------------------------ */

static dnnl_status_t matmul_desc_make(dnnl_primitive_desc_t *ret_desc,
                                      const struct onednn_device *device,
                                      const struct onednn_layout *src,
                                      const struct onednn_layout *weights,
                                      const struct onednn_layout *dst,
                                      const_dnnl_primitive_attr_t attr) {
#if ONEDNN_3
    return dnnl_matmul_primitive_desc_create(ret_desc, device->engine, src->md, weights->md, NULL,
                                             dst->md, attr);
#else
    dnnl_matmul_desc_t desc;
    dnnl_status_t done = dnnl_matmul_desc_init(&desc, &src->md, &weights->md, NULL, &dst->md);
    if (done != dnnl_success) { return done; }
    return dnnl_primitive_desc_create(ret_desc, &desc, attr, device->engine, NULL);
#endif
}

/* attr with "add to what is in dst"; *ret_attr is NULL when not accumulating */
static dnnl_status_t attr_make(dnnl_primitive_attr_t *ret_attr, bool accumulate) {
    dnnl_post_ops_t post_ops = NULL;

    *ret_attr = NULL;
    if (!accumulate) { return dnnl_success; }
    dnnl_status_t done = dnnl_primitive_attr_create(ret_attr);
    if (done != dnnl_success) { return done; }
    done = dnnl_post_ops_create(&post_ops);
    if (done != dnnl_success) { return done; }
#if ONEDNN_3
    done = dnnl_post_ops_append_sum(post_ops, 1.0f, 0, dnnl_data_type_undef);
#else
    done = dnnl_post_ops_append_sum(post_ops, 1.0f);
#endif
    if (done == dnnl_success) { done = dnnl_primitive_attr_set_post_ops(*ret_attr, post_ops); }
    (void)dnnl_post_ops_destroy(post_ops); /* the attribute holds a copy */
    return done;
}

enum status onednn_layout_packed(struct onednn_layout *layout, const struct onednn_device *device,
                                 int rows, int k, int n, dnnl_data_type_t type, struct error *err) {
    struct onednn_layout src = {0}, weights = {0}, dst = {0};
    dnnl_primitive_desc_t desc = NULL;
    dnnl_status_t done;

    enum status status = onednn_layout_strided(&src, rows, k, type, k, 1, err);
    if (status != STATUS_OK) { goto end; }
    status = layout_any(&weights, k, n, type, err);
    if (status != STATUS_OK) { goto end; }
    status = onednn_layout_strided(&dst, rows, n, dnnl_f32, n, 1, err);
    if (status != STATUS_OK) { goto end; }
    done = matmul_desc_make(&desc, device, &src, &weights, &dst, NULL);
    if (done != dnnl_success) {
        status = fail(err, done, "no product of this type");
        goto end;
    }
#if ONEDNN_3
    done = dnnl_memory_desc_clone(&layout->md,
                                  dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0));
    if (done != dnnl_success) { status = fail(err, done, "layout of packed weights"); }
#else
    layout->md = *dnnl_primitive_desc_query_md(desc, dnnl_query_weights_md, 0);
#endif
    layout->made = status == STATUS_OK;

end:
    if (desc != NULL) { (void)dnnl_primitive_desc_destroy(desc); /* nothing to do */ }
    onednn_layout_free(&src);
    onednn_layout_free(&weights);
    onednn_layout_free(&dst);
    return status;
}

enum status onednn_reorder(const struct onednn_device *device,
                           const struct onednn_layout *from_layout, const void *from,
                           const struct onednn_layout *to_layout, void *to, struct error *err) {
    dnnl_memory_t from_memory = NULL, to_memory = NULL;
    dnnl_primitive_desc_t desc = NULL;
    dnnl_primitive_t primitive = NULL;
    dnnl_status_t done;

    /* the library takes a plain pointer for both; a reorder only reads its source */
    enum status status =
        onednn_memory_make(&from_memory, device, from_layout, (void *)(uintptr_t)from, err);
    if (status != STATUS_OK) { goto end; }
    status = onednn_memory_make(&to_memory, device, to_layout, to, err);
    if (status != STATUS_OK) { goto end; }
#if ONEDNN_3
    done = dnnl_reorder_primitive_desc_create(&desc, from_layout->md, device->engine, to_layout->md,
                                              device->engine, NULL);
#else
    done = dnnl_reorder_primitive_desc_create(&desc, &from_layout->md, device->engine,
                                              &to_layout->md, device->engine, NULL);
#endif
    if (done == dnnl_success) { done = dnnl_primitive_create(&primitive, desc); }
    if (done == dnnl_success) {
        const dnnl_exec_arg_t args[] = {{DNNL_ARG_FROM, from_memory}, {DNNL_ARG_TO, to_memory}};
        done = dnnl_primitive_execute(primitive, device->stream, 2, args);
    }
    if (done == dnnl_success) { done = dnnl_stream_wait(device->stream); }
    if (done != dnnl_success) { status = fail(err, done, "reorder of weights"); }

end:
    if (primitive != NULL) { (void)dnnl_primitive_destroy(primitive); /* nothing to do */ }
    if (desc != NULL) { (void)dnnl_primitive_desc_destroy(desc); /* nothing to do */ }
    if (from_memory != NULL) { (void)dnnl_memory_destroy(from_memory); /* nothing to do */ }
    if (to_memory != NULL) { (void)dnnl_memory_destroy(to_memory); /* nothing to do */ }
    return status;
}

enum status onednn_matmul_make(struct onednn_matmul *matmul, const struct onednn_device *device,
                               int rows, int k, int n, dnnl_data_type_t type, int src_stride,
                               int dst_stride, const struct onednn_layout *weights, bool accumulate,
                               struct error *err) {
    struct onednn_layout src = {0}, dst = {0};
    dnnl_primitive_attr_t attr = NULL;
    dnnl_primitive_desc_t desc = NULL;
    dnnl_status_t done;

    *matmul = (struct onednn_matmul){0};
    enum status status = onednn_layout_strided(&src, rows, k, type, src_stride, 1, err);
    if (status != STATUS_OK) { goto end; }
    status = onednn_layout_strided(&dst, rows, n, dnnl_f32, dst_stride, 1, err);
    if (status != STATUS_OK) { goto end; }
    done = attr_make(&attr, accumulate);
    if (done == dnnl_success) { done = matmul_desc_make(&desc, device, &src, weights, &dst, attr); }
    if (done == dnnl_success) { done = dnnl_primitive_create(&matmul->primitive, desc); }
    if (done != dnnl_success) {
        status = fail(err, done, "product");
        goto end;
    }
    status = onednn_memory_make(&matmul->src, device, &src, NULL, err);
    if (status != STATUS_OK) { goto end; }
    status = onednn_memory_make(&matmul->dst, device, &dst, NULL, err);

end:
    if (status != STATUS_OK) { onednn_matmul_free(matmul); }
    if (desc != NULL) { (void)dnnl_primitive_desc_destroy(desc); /* nothing to do */ }
    if (attr != NULL) { (void)dnnl_primitive_attr_destroy(attr); /* nothing to do */ }
    onednn_layout_free(&src);
    onednn_layout_free(&dst);
    return status;
}

void onednn_matmul_free(struct onednn_matmul *matmul) {
    if (matmul->primitive != NULL) { (void)dnnl_primitive_destroy(matmul->primitive); /* same */ }
    if (matmul->src != NULL) { (void)dnnl_memory_destroy(matmul->src); /* nothing to do */ }
    if (matmul->dst != NULL) { (void)dnnl_memory_destroy(matmul->dst); /* nothing to do */ }
    *matmul = (struct onednn_matmul){0};
}

enum status onednn_matmul_run(const struct onednn_matmul *matmul,
                              const struct onednn_device *device, const void *src,
                              dnnl_memory_t weights, float *dst, struct error *err) {
    const dnnl_exec_arg_t args[] = {
        {DNNL_ARG_SRC, matmul->src}, {DNNL_ARG_WEIGHTS, weights}, {DNNL_ARG_DST, matmul->dst}};

    dnnl_status_t done = dnnl_memory_set_data_handle(matmul->src, (void *)(uintptr_t)src);
    if (done == dnnl_success) { done = dnnl_memory_set_data_handle(matmul->dst, dst); }
    if (done == dnnl_success) {
        done = dnnl_primitive_execute(matmul->primitive, device->stream, 3, args);
    }
    if (done == dnnl_success) { done = dnnl_stream_wait(device->stream); }
    return done == dnnl_success ? STATUS_OK : fail(err, done, "running a product");
}

const char *onednn_matmul_kernel(const struct onednn_matmul *matmul) {
    const_dnnl_primitive_desc_t desc = NULL;
    const char *name = NULL;

    if (dnnl_primitive_get_primitive_desc(matmul->primitive, &desc) != dnnl_success ||
        dnnl_primitive_desc_query(desc, dnnl_query_impl_info_str, 0, &name) != dnnl_success) {
        return "unknown";
    }
    return name;
}

void onednn_describe(char *text, size_t text_bytes) {
    const dnnl_version_t *v = dnnl_version();

    (void)snprintf(text, text_bytes, "onednn %d.%d.%d isa=0x%x", v->major, v->minor, v->patch,
                   (unsigned)dnnl_get_effective_cpu_isa()); /* cut when too long */
}

/* The sets are nested bits: AMX includes AVX512-BF16. */
bool onednn_has_bf16(void) {
    unsigned isa = (unsigned)dnnl_get_effective_cpu_isa();
    unsigned bf16 = (unsigned)dnnl_cpu_isa_avx512_core_bf16;

    return (isa & bf16) == bf16;
}
