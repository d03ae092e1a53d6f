# SPDX-License-Identifier: Apache-2.0
# The fast tier: counters, SASRec, stacker, candidates and lists.
list(APPEND ILORA_MODEL_SOURCES candidates.c catalogue_ranks.c counters.c counters_file.c
  fast_model.c features.c ranker.c sasrec.c sasrec_pass.c sasrec_train.c stacker.c)
