/* SPDX-License-Identifier: Apache-2.0
 *
 * peft_fixture.h - the built-in tiny base with golden adapters that PEFT made of it, and what it
 * computes with them (tests/reference/peft_make_golden.py). */
#ifndef TESTS_MODEL_PEFT_FIXTURE_H
#define TESTS_MODEL_PEFT_FIXTURE_H

#include "model/peft_adapter.h"
#include "tests/reference/lm_golden.h"
#include "tests/support/tmpdir.h"

#define PEFT_FIXTURE_E 8

struct peft_fixture {
    struct backend *be;
    struct checkpoint *checkpoint;
    struct base_model *base;
    struct lm_golden golden; /* peft_tiny.bin */
    struct tmpdir tmp;
};

/* cmocka's setup and teardown: *state is a struct peft_fixture. */
int peft_setup(void **state);
int peft_teardown(void **state);
/* alpha 10, floor 0.05, title head: only A, B and the gate. */
struct ilora_shape peft_shape_of(int R, int K);
/* Fresh params, opened adapters: they fail the test on an error. */
struct ilora_params *peft_params_of(const struct peft_fixture *f, const struct ilora_shape *shape,
                                    bool trainable);
struct peft_adapter *peft_adapter_of(const char *folder);
/* "qv": r 2, F32; "layer": r 3, F16, layer 1 alone; "all": r 4, BF16, rslora. Until the next. */
const char *peft_golden_folder(const char *name);

#endif
