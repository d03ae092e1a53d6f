# SPDX-License-Identifier: Apache-2.0
# tests_text - readers of base models, tokenizers, prompts.
if(ILORA_TEXT)
  ilora_test(safetensors LABEL unit SOURCES test_safetensors.c USES model)
  ilora_test(checkpoint LABEL unit SOURCES test_checkpoint.c USES model)
  ilora_test(tensor_file LABEL unit SOURCES test_tensor_file.c USES model)
  ilora_test(tokenizer LABEL unit SOURCES test_tokenizer.c gguf_build.c USES model)
  ilora_test(prompt LABEL unit SOURCES test_prompt.c USES model
    ARGS ${PROJECT_SOURCE_DIR}/ops/prompts.txt)
  ilora_test(tokenizer_golden LABEL reference SOURCES test_tokenizer_golden.c USES model
    ARGS ${PROJECT_SOURCE_DIR}/tests/reference/tokenizer_bytes.json
         ${PROJECT_SOURCE_DIR}/tests/reference/tokenizer_chars.json)
endif()
ilora_test(gguf LABEL unit SOURCES test_gguf.c gguf_build.c USES model
  ARGS ${PROJECT_SOURCE_DIR}/tests/reference/gguf_blocks.bin)

# Not a ctest: for tokenizer_compare.py, which needs Hugging Face tokenizers.
if(ILORA_TEXT)
  add_executable(tokenizer_ids ${PROJECT_SOURCE_DIR}/tests/reference/tokenizer_ids.c)
  ilora_target_options(tokenizer_ids)
  target_link_libraries(tokenizer_ids PRIVATE ilora_model)
endif()
