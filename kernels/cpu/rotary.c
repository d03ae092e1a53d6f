/* SPDX-License-Identifier: Apache-2.0
 *
 * rotary.c - rotary position embedding in HF's rotate-half order (Su et al. 2021): element j of a
 * head's first half turns with element j of its second half by position * theta^(-2j/D). */
#include "kernels/cpu/cpu.h"

/* One head: (x1, x2) = (x1 cos - x2 sin, x2 cos + x1 sin); sign -1 turns back. */
static void rotary_head(float *restrict x, const float *table, float sign, int half) {
    for (int j = 0; j < half; j++) {
        float cosine = table[j], sine = sign * table[half + j];
        float x1 = x[j], x2 = x[half + j];
        x[j] = x1 * cosine - x2 * sine;
        x[half + j] = x2 * cosine + x1 * sine;
    }
}

static void rotary(struct backend *be, struct tensor x, struct tensor table, struct tensor position,
                   int D, bool inverse) {
    int team = team_for(be, x.rows, x.cols);

    assert(D > 0 && D % 2 == 0);
    assert(x.cols % D == 0 && table.cols == D);
    assert(tensor_is_index(position, x.rows));
#pragma omp parallel for num_threads(team) schedule(static)
    for (int n = 0; n < x.rows; n++) {
        int at = *row_i32(position, n);
        assert(at >= 0 && at < table.rows);
        for (int head = 0; head < x.cols / D; head++) {
            rotary_head(row_f32(x, n) + head * D, row_f32(table, at), inverse ? -1.0f : 1.0f,
                        D / 2);
        }
    }
}

void ISA(rotary_install)(struct backend_ops *ops) {
    ops->rotary = rotary;
}
