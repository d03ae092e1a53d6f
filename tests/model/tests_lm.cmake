# SPDX-License-Identifier: Apache-2.0
# tests_lm.cmake - the language model's tests.
ilora_test(lm_facts LABEL unit SOURCES test_lm_facts.c lm_fixture.c USES model kernels m)
ilora_test(lm_train LABEL unit SOURCES test_lm_train.c lm_fixture.c USES model kernels m)
ilora_test(gate_layers LABEL unit SOURCES test_gate_layers.c USES model kernels m)
ilora_test(lm_exact LABEL unit SOURCES test_lm_exact.c lm_fixture.c USES model kernels m)
ilora_test(lm_gradients LABEL unit SOURCES test_lm_gradients.c lm_fixture.c USES model kernels m)
ilora_test(lm_decode LABEL unit SOURCES test_lm_decode.c lm_fixture.c USES model kernels m)
add_executable(lm_dump ${PROJECT_SOURCE_DIR}/tests/reference/lm_dump.c
  ${PROJECT_SOURCE_DIR}/tests/reference/lm_golden.c)
ilora_target_options(lm_dump)
target_link_libraries(lm_dump PRIVATE ilora_model ilora_kernels)

set(lm_reference ${PROJECT_SOURCE_DIR}/tests/reference)
ilora_test(lm_reference LABEL reference SOURCES ${lm_reference}/test_lm_reference.c
  ${lm_reference}/lm_reference.c ${lm_reference}/lm_golden.c USES model kernels m)
target_compile_definitions(test_lm_reference PRIVATE LM_GOLDEN_FOLDER="${lm_reference}")

ilora_test(gate_reference LABEL reference SOURCES ${lm_reference}/test_gate_reference.c
  ${lm_reference}/lm_reference.c ${lm_reference}/lm_golden.c USES model kernels m)
target_compile_definitions(test_gate_reference PRIVATE LM_GOLDEN_FOLDER="${lm_reference}")

# Not a ctest: needs a real model and PyTorch (lm_smollm2_logits.py says how).
add_executable(lm_logits ${lm_reference}/lm_logits.c ${lm_reference}/lm_golden.c)
ilora_target_options(lm_logits)
target_link_libraries(lm_logits PRIVATE ilora_model ilora_kernels)

# Not a ctest: tokens a second and the time of each operator.
add_executable(bench_lm bench_lm.c)
ilora_target_options(bench_lm)
target_link_libraries(bench_lm PRIVATE ilora_model ilora_kernels)
add_executable(lm_shared_prefix ${lm_reference}/lm_shared_prefix.c)
ilora_target_options(lm_shared_prefix)
target_link_libraries(lm_shared_prefix PRIVATE ilora_model ilora_kernels m)

# Not a ctest: continuations for decode_smollm2.py and decode_architectures.py.
add_executable(decode_ids ${lm_reference}/decode_ids.c ${lm_reference}/lm_golden.c)
ilora_target_options(decode_ids)
target_link_libraries(decode_ids PRIVATE ilora_model ilora_kernels)
ilora_test(decode_golden LABEL reference SOURCES ${lm_reference}/test_decode_golden.c
  ${lm_reference}/lm_golden.c USES model kernels m)
target_compile_definitions(test_decode_golden PRIVATE
  DECODE_GOLDEN="${lm_reference}/decode_builtin.bin")

# Small models of every family: golden files in each run, families.py with --reference.
if(ILORA_TEXT)
  set(family ${lm_reference}/family_model.c)
  ilora_test(family_reference LABEL reference SOURCES ${lm_reference}/test_family_reference.c
    ${family} ${lm_reference}/lm_reference.c ${lm_reference}/lm_golden.c USES model kernels m)
  target_compile_definitions(test_family_reference PRIVATE LM_GOLDEN_FOLDER="${lm_reference}")
  add_executable(family_write ${lm_reference}/family_write.c ${family})
  ilora_target_options(family_write)
  target_link_libraries(family_write PRIVATE ilora_model m)
  add_executable(family_run ${lm_reference}/family_run.c ${lm_reference}/lm_reference.c
    ${lm_reference}/lm_golden.c)
  ilora_target_options(family_run)
  target_link_libraries(family_run PRIVATE ilora_model ilora_kernels ilora_test_support m)
endif()
