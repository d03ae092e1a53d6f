# SPDX-License-Identifier: Apache-2.0
# sources_engine.cmake - the core's rooms: from a record to a committed epoch.
list(APPEND ILORA_DAEMON_SOURCES core_state.c device_plan.c epoch.c engine.c forgets.c groups.c
  publisher.c evaluator.c
  decisions.c ledger.c commit.c settings_record.c model_settings.c
  learner_thread.c learner_open.c learner_golden.c learner_jobs.c learner_keep.c
  core_open.c core_report.c core_score.c core_versions.c operators.c pipeline.c
  poll_thread.c rates.c start.c stream_open.c)
