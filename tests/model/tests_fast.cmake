# SPDX-License-Identifier: Apache-2.0
# tests_fast.cmake - the fast tier's and the learner's tests.
if(ILORA_TEXT)
  ilora_test(learner LABEL unit SOURCES test_learner.c learner_fixture.c USES model kernels m)
endif()
