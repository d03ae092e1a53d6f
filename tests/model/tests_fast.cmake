# SPDX-License-Identifier: Apache-2.0
# tests_fast.cmake - the fast tier's and the learner's tests.
if(ILORA_TEXT)
  ilora_test(learner LABEL unit SOURCES test_learner.c learner_fixture.c USES model kernels m)
  ilora_test(learner_lm LABEL unit SOURCES test_learner_lm.c learner_fixture.c USES model kernels m)
endif()

# Not a ctest: needs a real data set in RecBole's format.
if(ILORA_TEXT)
  add_executable(bench_fast bench_fast.c)
  ilora_target_options(bench_fast)
  target_link_libraries(bench_fast PRIVATE ilora_model ilora_kernels)
endif()
