# SPDX-License-Identifier: Apache-2.0
# fuzz.cmake - ilora_fuzz(name USES ... [MUTATOR mutate_x.c ...]): one target over fuzz_<name>.c and
# corpus/<name>. README.md says how to run one and what all of them have found.
#
# ILORA_FUZZ=ON makes the libFuzzer program fuzz_<name> (clang; give the libraries their
# instrumentation with -DILORA_SANITIZE=address,undefined,fuzzer-no-link). MUTATOR: sources of a
# mutator that knows the format. Otherwise the test fuzz_<name> replays the corpus with some
# thousand seeded mutations.
function(ilora_fuzz name)
  cmake_parse_arguments(arg "" "" "USES;MUTATOR" ${ARGN})
  if(ILORA_FUZZ)
    add_executable(fuzz_${name} fuzz_${name}.c ${arg_MUTATOR})
    ilora_target_options(fuzz_${name})
    target_link_options(fuzz_${name} PRIVATE -fsanitize=fuzzer)
    foreach(use IN LISTS arg_USES)
      target_link_libraries(fuzz_${name} PRIVATE ilora_${use})
    endforeach()
  else()
    ilora_test(fuzz_${name} LABEL fuzz SOURCES fuzz_${name}.c replay.c USES ${arg_USES}
      ARGS ${CMAKE_CURRENT_SOURCE_DIR}/corpus/${name})
  endif()
endfunction()
