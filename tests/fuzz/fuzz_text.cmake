# SPDX-License-Identifier: Apache-2.0
# fuzz_text - readers of base models, tokenizers, prompt templates and ilorad.conf.
if(ILORA_TEXT AND TARGET ilora_model)
  ilora_fuzz(safetensors USES model MUTATOR mutate_safetensors.c mutate_json.c)
  ilora_fuzz(gguf USES model MUTATOR mutate_gguf.c mutate_json.c)
  ilora_fuzz(tokenizer USES model MUTATOR mutate_text.c mutate_json.c)
  ilora_fuzz(hf_config USES model MUTATOR mutate_text.c mutate_json.c)
  ilora_fuzz(hf_index USES model MUTATOR mutate_text.c mutate_json.c)
  if(EXISTS ${PROJECT_SOURCE_DIR}/model/peft_config.c)
    ilora_fuzz(peft_config USES model MUTATOR mutate_text.c mutate_json.c)
  endif()
  ilora_fuzz(prompts USES model)
  ilora_fuzz(ilorad_conf USES base)
endif()
