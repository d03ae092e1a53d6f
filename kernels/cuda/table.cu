/* SPDX-License-Identifier: Apache-2.0
 *
 * table.cu - the whole table: every room puts its operators in. */
#include "kernels/cuda/cuda.h"

void cuda_table(struct backend_ops *ops) {
    cuda_move_install(ops);
    cuda_norm_install(ops);
    cuda_rotary_install(ops);
    cuda_activation_install(ops);
    cuda_elementwise_install(ops);
    cuda_rows_install(ops);
    cuda_gate_install(ops);
    cuda_attention_install(ops);
    cuda_attention_backward_install(ops);
    cuda_loss_install(ops);
    cuda_optim_install(ops);
    cuda_product_install(ops);
    cuda_linear_install(ops);
}
