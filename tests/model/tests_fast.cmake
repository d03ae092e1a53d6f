# SPDX-License-Identifier: Apache-2.0
# tests_fast.cmake - the fast tier's and the learner's tests.
ilora_test(sasrec LABEL unit SOURCES test_sasrec.c USES model kernels m)
ilora_test(stacker LABEL unit SOURCES test_stacker.c USES model kernels m)
ilora_test(fast_model LABEL unit SOURCES test_fast_model.c USES model kernels m)
if(ILORA_TEXT)
  ilora_test(counters LABEL unit SOURCES test_counters.c learner_fixture.c USES model kernels m)
  ilora_test(learner_parts LABEL unit SOURCES test_learner_parts.c USES model kernels m)
  ilora_test(reservoir LABEL unit SOURCES test_reservoir.c USES model kernels m)
  ilora_test(learner LABEL unit SOURCES test_learner.c learner_fixture.c USES model kernels m)
  ilora_test(golden_batch LABEL unit SOURCES test_golden_batch.c learner_fixture.c
    learner_lm_fixture.c USES model kernels m)
  ilora_test(learner_lm LABEL unit SOURCES test_learner_lm.c learner_fixture.c
    learner_lm_fixture.c USES model kernels m)

  set(peft_reference ${PROJECT_SOURCE_DIR}/tests/reference)
  foreach(part adapter mix)
    ilora_test(peft_${part} LABEL unit SOURCES test_peft_${part}.c peft_fixture.c
      ${peft_reference}/lm_golden.c USES model kernels m)
    target_compile_definitions(test_peft_${part} PRIVATE PEFT_GOLDEN_FOLDER="${peft_reference}")
  endforeach()
  ilora_test(peft_config LABEL unit SOURCES test_peft_config.c USES model kernels m)
  ilora_test(learner_peft LABEL unit SOURCES test_learner_peft.c learner_fixture.c
    learner_lm_fixture.c peft_fixture.c ${peft_reference}/lm_golden.c USES model kernels m)
  target_compile_definitions(test_learner_peft PRIVATE PEFT_GOLDEN_FOLDER="${peft_reference}")

  # Not a ctest: peft_round_trip.py and peft_make_golden.py run it.
  add_executable(peft_logits ${peft_reference}/peft_logits.c ${peft_reference}/lm_golden.c)
  ilora_target_options(peft_logits)
  target_link_libraries(peft_logits PRIVATE ilora_model ilora_kernels)

  # Not a ctest: needs a real data set in RecBole's format.
  add_executable(bench_fast bench_fast.c bench_stream.c)
  ilora_target_options(bench_fast)
  target_link_libraries(bench_fast PRIVATE ilora_model ilora_kernels)
endif()
