# SPDX-License-Identifier: Apache-2.0
# sources_lm.cmake - the language model: frozen base, iLoRA, heads, training and scoring.
list(APPEND ILORA_MODEL_SOURCES
  adapter.c base_model.c gate.c gate_resnet.c gate_resnet_layers.c gate_run.c item_head.c
  language_model.c language_model_decode.c language_model_score.c language_model_train.c
  llama_backward.c llama_forward.c llama_state.c pack.c pack_run.c params.c projector.c rope.c
  title_head.c)
