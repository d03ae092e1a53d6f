/* SPDX-License-Identifier: Apache-2.0
 *
 * table.c - one instruction set's whole table: every room puts its operators in. */
#include "kernels/cpu/cpu.h"

void ISA(cpu_table)(struct backend_ops *ops, struct cpu_loops *loops) {
    ISA(move_install)(ops, loops);
    ISA(norm_install)(ops);
    ISA(rotary_install)(ops);
    ISA(attention_install)(ops);
    ISA(attention_backward_install)(ops);
    ISA(activation_install)(ops);
    ISA(elementwise_install)(ops);
    ISA(rows_install)(ops);
    ISA(gate_install)(ops);
    ISA(loss_install)(ops);
    ISA(optim_install)(ops);
    ISA(product_install)(ops);
}
