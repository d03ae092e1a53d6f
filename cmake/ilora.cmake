# SPDX-License-Identifier: Apache-2.0
# ilora.cmake - ilora_module, ilora_test and the warnings every target gets.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)

set(ILORA_WARNINGS -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion
  -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition -Wvla -Wundef -Wpointer-arith
  -Wcast-align -Wcast-qual -Wwrite-strings -Wformat=2 -Wdouble-promotion -Wfloat-conversion
  -Wswitch-enum -Wnull-dereference)
if(CMAKE_C_COMPILER_ID STREQUAL "GNU")
  list(APPEND ILORA_WARNINGS -Wimplicit-fallthrough=5 -Wlogical-op -Wduplicated-cond)
endif()
if(ILORA_WERROR)
  list(APPEND ILORA_WARNINGS -Werror)
endif()

# Compile and link options shared by every target of the project.
function(ilora_target_options target)
  target_compile_definitions(${target} PRIVATE _GNU_SOURCE ILORA_VERSION="${PROJECT_VERSION}")
  target_compile_options(${target} PRIVATE ${ILORA_WARNINGS} -fstack-protector-strong)
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR})
  if(ILORA_SANITIZE)
    target_compile_options(${target} PRIVATE -fsanitize=${ILORA_SANITIZE} -fno-sanitize-recover=all)
    target_link_options(${target} PRIVATE -fsanitize=${ILORA_SANITIZE})
  endif()
endfunction()

# ilora_module(name SOURCES a.c ... USES module-or-library ... PACKAGES pkg-config names ...)
# makes the static library ilora_<name>. USES are public: a module brings what it needs.
function(ilora_module name)
  cmake_parse_arguments(arg "" "" "SOURCES;USES;PACKAGES" ${ARGN})
  add_library(ilora_${name} STATIC ${arg_SOURCES})
  ilora_target_options(ilora_${name})
  set_target_properties(ilora_${name} PROPERTIES POSITION_INDEPENDENT_CODE ON)
  foreach(use IN LISTS arg_USES)
    if(TARGET ilora_${use})
      target_link_libraries(ilora_${name} PUBLIC ilora_${use})
    else()
      target_link_libraries(ilora_${name} PUBLIC ${use})
    endif()
  endforeach()
  foreach(package IN LISTS arg_PACKAGES)
    string(MAKE_C_IDENTIFIER "PKG_${package}" prefix)
    pkg_check_modules(${prefix} REQUIRED IMPORTED_TARGET ${package})
    target_link_libraries(ilora_${name} PUBLIC PkgConfig::${prefix})
  endforeach()
endfunction()

# ilora_test(name LABEL label SOURCES ... USES ... [ARGS ...] [TIMEOUT seconds])
# makes the program test_<name> and its ctest entry; exit 77 means skipped.
function(ilora_test name)
  cmake_parse_arguments(arg "" "LABEL;TIMEOUT" "SOURCES;USES;ARGS" ${ARGN})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  add_executable(test_${name} ${arg_SOURCES})
  ilora_target_options(test_${name})
  target_link_libraries(test_${name} PRIVATE ilora_test_support)
  foreach(use IN LISTS arg_USES)
    if(TARGET ilora_${use})
      target_link_libraries(test_${name} PRIVATE ilora_${use})
    else()
      target_link_libraries(test_${name} PRIVATE ${use})
    endif()
  endforeach()
  add_test(NAME ${name} COMMAND test_${name} ${arg_ARGS})
  set_tests_properties(${name} PROPERTIES LABELS "${arg_LABEL}" TIMEOUT ${arg_TIMEOUT}
    SKIP_RETURN_CODE 77)
endfunction()

# ilora_script_test(name LABEL label COMMAND ... [TIMEOUT seconds]): a script as a ctest entry.
function(ilora_script_test name)
  cmake_parse_arguments(arg "" "LABEL;TIMEOUT" "COMMAND" ${ARGN})
  if(NOT arg_TIMEOUT)
    set(arg_TIMEOUT 120)
  endif()
  add_test(NAME ${name} COMMAND ${arg_COMMAND} WORKING_DIRECTORY ${PROJECT_SOURCE_DIR})
  set_tests_properties(${name} PROPERTIES LABELS "${arg_LABEL}" TIMEOUT ${arg_TIMEOUT}
    SKIP_RETURN_CODE 77)
  set_property(TEST ${name} PROPERTY ENVIRONMENT "ILORA_BUILD=${PROJECT_BINARY_DIR}")
endfunction()
