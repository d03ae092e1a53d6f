# SPDX-License-Identifier: Apache-2.0
# fuzz.cmake - ilora_fuzz(name USES ...): one target over fuzz_<name>.c and corpus/<name>.
#
# ILORA_FUZZ=ON makes the libFuzzer program fuzz_<name> (clang; give the libraries their
# instrumentation with -DILORA_SANITIZE=address,undefined,fuzzer-no-link) and run it like
#   fuzz_gguf -max_len=8192 NEW_CORPUS tests/fuzz/corpus/gguf
# Otherwise the test fuzz_<name> replays the corpus with some thousand seeded mutations.
function(ilora_fuzz name)
  cmake_parse_arguments(arg "" "" "USES" ${ARGN})
  if(ILORA_FUZZ)
    add_executable(fuzz_${name} fuzz_${name}.c)
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
