# SPDX-License-Identifier: Apache-2.0
# tests_lm.cmake - the language model's tests.
ilora_test(lm_gradients LABEL unit SOURCES test_lm_gradients.c lm_fixture.c USES model kernels m)
