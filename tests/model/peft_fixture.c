/* SPDX-License-Identifier: Apache-2.0
 *
 * peft_fixture.c - opens what the tests of PEFT's adapters share. */
#include "tests/model/peft_fixture.h"

#include <stdio.h>

#include "tests/support/unit.h"

int peft_setup(void **state) {
    static struct peft_fixture fixture;
    struct error err;

    memset(&fixture, 0, sizeof fixture);
    assert_int_equal(lm_golden_read(PEFT_GOLDEN_FOLDER "/peft_tiny.bin", &fixture.golden), 0);
    ASSERT_OK(backend_cpu_new(1, &fixture.be, &err), err);
    ASSERT_OK(checkpoint_open("builtin:tiny:3", &fixture.checkpoint, &err), err);
    ASSERT_OK(
        base_model_load(fixture.be, fixture.checkpoint, PRECISION_F32, false, &fixture.base, &err),
        err);
    tmpdir_init(&fixture.tmp);
    *state = &fixture;
    return 0;
}

int peft_teardown(void **state) {
    struct peft_fixture *fixture = *state;

    base_model_free(fixture->base);
    checkpoint_close(fixture->checkpoint);
    fixture->be->ops->free(fixture->be);
    lm_golden_free(&fixture->golden);
    tmpdir_free(&fixture->tmp);
    return 0;
}

struct ilora_shape peft_shape_of(int R, int K) {
    return (struct ilora_shape){.R = R,
                                .K = K,
                                .alpha = 10.0F,
                                .gate_floor = 0.05F,
                                .E = PEFT_FIXTURE_E,
                                .head = ILORA_HEAD_TITLE};
}

struct ilora_params *peft_params_of(const struct peft_fixture *f, const struct ilora_shape *shape,
                                    bool trainable) {
    struct ilora_params *params = NULL;
    struct error err;

    ASSERT_OK(ilora_params_new(f->be, base_model_description(f->base), shape, 9, trainable, &params,
                               &err),
              err);
    return params;
}

struct peft_adapter *peft_adapter_of(const char *folder) {
    struct peft_adapter *adapter = NULL;
    struct error err;

    ASSERT_OK(peft_adapter_open(folder, &adapter, &err), err);
    return adapter;
}

const char *peft_golden_folder(const char *name) {
    static char path[512];

    (void)snprintf(path, sizeof path, PEFT_GOLDEN_FOLDER "/peft_tiny_%s", name);
    return path;
}
