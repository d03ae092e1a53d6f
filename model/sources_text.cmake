# SPDX-License-Identifier: Apache-2.0
# sources_text - readers of base models; with ILORA_TEXT also HF folders, tokenizers and prompts.
list(APPEND ILORA_MODEL_SOURCES
  checkpoint.c checkpoint_builtin.c checkpoint_gguf.c gguf.c gguf_dequant.c)
if(ILORA_TEXT)
  list(APPEND ILORA_MODEL_SOURCES checkpoint_digest.c checkpoint_hf.c hf_config.c hf_index.c
    safetensors.c safetensors_write.c
    added_tokens.c bpe.c text_forms.c text_pattern.c text_steps.c tokenizer.c tokenizer_gguf.c
  tokenizer_json.c
    vocabulary.c prompt.c prompt_build.c prompt_default.c prompt_parse.c prompt_title.c)
  list(APPEND ILORA_MODEL_PACKAGES libpcre2-8 libutf8proc)
endif()
