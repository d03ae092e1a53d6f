/* SPDX-License-Identifier: Apache-2.0
 *
 * rotary.cu - rotary position embedding in HF's rotate-half order (Su et al. 2021): element j of a
 * head's first half turns with element j of its second half by position * theta^(-2j/D). */
#include "kernels/cuda/sheet.h"

/* ---- kernels --------------------------------------------------------------------------------- */

/* x (N,H*D) in place; table (T,D) = [cos | sin]; position (N,1). Column c of the sheet (N,H*D/2) is
 * pair c%half of head c/half: (x1, x2) = (x1 cos - x2 sin, x2 cos + x1 sin); sign -1 turns back. */
struct rotary_operation {
    struct tensor x, table, position;
    int half_of_head;
    float sign;
    template <int V> __device__ void at(int n, int c) const {
        const int j = c % half_of_head;
        float *first = row_f32(x, n) + c / half_of_head * 2 * half_of_head + j;
        const float *angle = row_f32(table, *row_i32(position, n)) + j;
        const struct lanes<V> cosine = lanes_load<V>(angle);
        const struct lanes<V> sine = lanes_load<V>(angle + half_of_head);
        struct lanes<V> x1 = lanes_load<V>(first), x2 = lanes_load<V>(first + half_of_head);
        for (int i = 0; i < V; i++) {
            const float a = x1.at[i], b = x2.at[i], s = sign * sine.at[i];
            x1.at[i] = a * cosine.at[i] - b * s;
            x2.at[i] = b * cosine.at[i] + a * s;
        }
        lanes_store<V>(first, x1);
        lanes_store<V>(first + half_of_head, x2);
    }
};

/* ---- launchers ------------------------------------------------------------------------------- */

static void rotary(struct backend *be, struct tensor x, struct tensor table, struct tensor position,
                   int D, bool inverse) {
    assert(D > 0 && D % 2 == 0);
    assert(x.cols % D == 0 && table.cols == D);
    assert(tensor_is_index(position, x.rows));
    bool fours = D % 8 == 0 && tensor_in_fours(x) && tensor_in_fours(table);
    sheet_launch(cuda_of(be), rotary_operation{x, table, position, D / 2, inverse ? -1.0f : 1.0f},
                 x.rows, x.cols / 2, fours);
}

void cuda_rotary_install(struct backend_ops *ops) {
    ops->rotary = rotary;
}
