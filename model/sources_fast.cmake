# SPDX-License-Identifier: Apache-2.0
# sources_fast.cmake - the fast tier: counters, SASRec, stacker, candidates and lists.
# With ILORA_TEXT also the learner.
list(APPEND ILORA_MODEL_SOURCES
  candidates.c catalogue_ranks.c counters.c counters_file.c fast_model.c features.c ranker.c
  sasrec.c sasrec_pass.c sasrec_sampled.c sasrec_train.c stacker.c)
if(ILORA_TEXT)
  list(APPEND ILORA_MODEL_SOURCES
    batch_users.c eval_book.c golden_batch.c learner.c learner_evaluate.c learner_lm.c
  learner_lm_train.c
    learner_state.c learner_train.c peft_adapter.c peft_config.c peft_mix.c reservoir.c
    tensor_file.c title_vectors.c version.c version_files.c version_gate.c)
endif()
