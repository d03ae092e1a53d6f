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
  activation attention attention_backward backend cublas elementwise gate library linear loss move
  norm optim pool product rotary rows stage table)
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

# cuda_host_options(target build): how sources of kernels/cuda are compiled for the executor, in one
# of its three builds: plain, asan, tsan.
set(ILORA_CUDA_HOST_FLAGS_plain -O2)
set(ILORA_CUDA_HOST_FLAGS_asan -O1 -fsanitize=address,undefined -fno-sanitize-recover=all)
set(ILORA_CUDA_HOST_FLAGS_tsan -O1 -fsanitize=thread)
set(ILORA_CUDA_HOST_WARNINGS -Wall -Wextra -Wno-unknown-pragmas)
if(ILORA_WERROR)
  list(APPEND ILORA_CUDA_HOST_WARNINGS -Werror)
endif()
function(cuda_host_options target build)
  target_compile_options(${target} PRIVATE -std=c++17 -x c++ -g ${ILORA_CUDA_HOST_WARNINGS}
    -ffp-contract=off -fno-strict-aliasing ${ILORA_CUDA_HOST_FLAGS_${build}})
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}
    ${PROJECT_SOURCE_DIR}/tests/cuda)
endfunction()

# cuda_host_library(build): kernels/cuda and the executor as the static library cuda_host_<build>.
# What links it must name it before ilora_kernels, whose backend_cuda_new says that there is none.
# The executor itself is never instrumented.
function(cuda_host_library build)
  string(TOUPPER CUDA_HOST_${build} definition)
  set(tests ${PROJECT_SOURCE_DIR}/tests/cuda)
  add_library(cuda_host_executor_${build} OBJECT
    ${tests}/executor.cpp ${tests}/fibers.cpp ${tests}/runtime.cpp)
  target_compile_options(cuda_host_executor_${build} PRIVATE -std=c++17 -g -O2
    ${ILORA_CUDA_HOST_WARNINGS})
  target_compile_definitions(cuda_host_executor_${build} PRIVATE ${definition})
  target_include_directories(cuda_host_executor_${build} PRIVATE ${PROJECT_SOURCE_DIR} ${tests})
  set(sources)
  foreach(room IN LISTS ILORA_CUDA_ROOMS)
    list(APPEND sources ${PROJECT_SOURCE_DIR}/kernels/cuda/${room}.cu)
  endforeach()
  set_source_files_properties(${sources} PROPERTIES LANGUAGE CXX)
  add_library(cuda_host_${build} STATIC ${sources} $<TARGET_OBJECTS:cuda_host_executor_${build}>)
  cuda_host_options(cuda_host_${build} ${build})
  if(NOT build STREQUAL plain)
    target_link_options(cuda_host_${build} PUBLIC ${ILORA_CUDA_HOST_FLAGS_${build}})
  endif()
  target_link_libraries(cuda_host_${build} PUBLIC ilora_kernels)
endfunction()
