# SPDX-License-Identifier: Apache-2.0
# fuzz_text - readers of base models, tokenizers and prompt templates.
if(ILORA_TEXT AND TARGET ilora_model)
  foreach(name safetensors gguf tokenizer config prompts)
    ilora_fuzz(${name} USES model)
  endforeach()
endif()
