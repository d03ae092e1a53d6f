# SPDX-License-Identifier: Apache-2.0
# cuda.cmake - two builds of kernels/cuda: by nvcc for cards, by g++ for the tests' executor.
#
# -DILORA_CUDA=ON compiles with the toolkit that ops/cuda-toolkit.sh finds or installs
# (-DILORA_CUDA_ROOT=... names another). One compilation for compute_80, assembled for every card
# since: nothing needs more, and the compiler's slow half runs once. The PTX serves newer cards.
option(ILORA_CUDA "the CUDA backend, compiled by nvcc" OFF)
set(ILORA_CUDA_ROOT "" CACHE PATH "CUDA toolkit; empty: ops/cuda-toolkit.sh finds it")
set(ILORA_CUDA_CODE "sm_80,sm_86,sm_89,sm_90,compute_80" CACHE STRING "what nvcc assembles for")

set(ILORA_CUDA_ROOMS
  activation backend cublas elementwise gate move norm pool rotary rows stage table)
file(GLOB ILORA_CUDA_HEADERS CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/cuda/*.h)

# The executor needs a C++ compiler; without one its tests are not built, and ctest says so.
include(CheckLanguage)
check_language(CXX)
if(CMAKE_CXX_COMPILER)
  enable_language(CXX)
endif()

# Finds the toolkit, once.
function(cuda_find_toolkit)
  if(NOT ILORA_CUDA_ROOT)
    execute_process(COMMAND ${PROJECT_SOURCE_DIR}/ops/cuda-toolkit.sh ${PROJECT_BINARY_DIR}/cuda
      OUTPUT_VARIABLE root OUTPUT_STRIP_TRAILING_WHITESPACE RESULT_VARIABLE failed)
    if(failed)
      message(FATAL_ERROR "ILORA_CUDA=ON: no CUDA toolkit (ops/cuda-toolkit.sh)")
    endif()
    set(ILORA_CUDA_ROOT ${root} CACHE PATH "CUDA toolkit" FORCE)
  endif()
  message(STATUS "CUDA toolkit: ${ILORA_CUDA_ROOT}")
endfunction()

# cuda_compile(ret_objects): an object a room. What the assembler says of registers and spills is
# kept beside it (ops/cuda-registers.sh reads it) and shown when the compilation fails.
function(cuda_compile ret_objects)
  set(flags -std=c++17 -O3 -lineinfo -Xptxas=-v
    "-gencode=arch=compute_80,code=[${ILORA_CUDA_CODE}]"
    -Xcompiler=-fPIC,-Wall,-Wextra,-Wshadow,-fno-strict-aliasing,-fstack-protector-strong
    -I${PROJECT_SOURCE_DIR} -I${ILORA_CUDA_ROOT}/include)
  if(ILORA_WERROR)
    list(APPEND flags -Werror=all-warnings -Xcompiler=-Werror)
  endif()
  set(objects)
  foreach(room IN LISTS ILORA_CUDA_ROOMS)
    set(source ${PROJECT_SOURCE_DIR}/kernels/cuda/${room}.cu)
    set(object ${CMAKE_CURRENT_BINARY_DIR}/cuda/${room}.o)
    set(words ${CMAKE_CURRENT_BINARY_DIR}/cuda/${room}.ptxas)
    string(JOIN "' '" command ${ILORA_CUDA_ROOT}/bin/nvcc ${flags} -MD -MF ${object}.d
      -c ${source} -o ${object})
    add_custom_command(OUTPUT ${object} BYPRODUCTS ${words}
      COMMAND sh -c "'${command}' 2>'${words}' || { cat '${words}' >&2; exit 1; }"
      DEPENDS ${source} ${ILORA_CUDA_HEADERS} DEPFILE ${object}.d
      COMMENT "nvcc kernels/cuda/${room}.cu" VERBATIM)
    list(APPEND objects ${object})
  endforeach()
  file(MAKE_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR}/cuda)
  set_source_files_properties(${objects} PROPERTIES EXTERNAL_OBJECT ON GENERATED ON)
  set(${ret_objects} ${objects} PARENT_SCOPE)
endfunction()

# cuda_host_library(name optimisation sanitizers definition): kernels/cuda and the executor as the
# static library cuda_host_<name>. What links it must name it before ilora_kernels, whose
# backend_cuda_new says that there is none. The executor itself is never instrumented.
function(cuda_host_library name optimisation sanitizers definition)
  set(tests ${PROJECT_SOURCE_DIR}/tests/cuda)
  set(options -std=c++17 -g ${optimisation} -Wall -Wextra -Wno-unknown-pragmas -ffp-contract=off)
  if(ILORA_WERROR)
    list(APPEND options -Werror)
  endif()
  add_library(cuda_host_executor_${name} OBJECT
    ${tests}/executor.cpp ${tests}/fibers.cpp ${tests}/runtime.cpp)
  target_compile_options(cuda_host_executor_${name} PRIVATE ${options} -O2)
  target_compile_definitions(cuda_host_executor_${name} PRIVATE ${definition})
  set(sources)
  foreach(room IN LISTS ILORA_CUDA_ROOMS)
    set(copy ${PROJECT_SOURCE_DIR}/kernels/cuda/${room}.cu)
    list(APPEND sources ${copy})
  endforeach()
  set_source_files_properties(${sources} PROPERTIES LANGUAGE CXX)
  add_library(cuda_host_${name} STATIC ${sources} $<TARGET_OBJECTS:cuda_host_executor_${name}>)
  target_compile_options(cuda_host_${name} PRIVATE ${options} -x c++ -fno-strict-aliasing)
  if(sanitizers)
    target_compile_options(cuda_host_${name} PRIVATE -fsanitize=${sanitizers}
      -fno-sanitize-recover=all)
    target_link_options(cuda_host_${name} PUBLIC -fsanitize=${sanitizers})
  endif()
  foreach(target cuda_host_${name} cuda_host_executor_${name})
    target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR} ${tests})
  endforeach()
  target_link_libraries(cuda_host_${name} PUBLIC ilora_kernels)
endfunction()
