# SPDX-License-Identifier: Apache-2.0
# tests_engine.cmake - the core's rooms.
set(tiny_sources ../support/tiny_core.c ../support/tiny_learner.c ../support/tiny_stream.c
  ../support/stream_memory.c)
ilora_test(engine LABEL unit SOURCES test_engine.c ${tiny_sources} USES daemon)
ilora_test(forgets LABEL unit SOURCES test_forgets.c ${tiny_sources} USES daemon)
ilora_test(device_plan LABEL unit SOURCES test_device_plan.c USES daemon)
ilora_test(core_state LABEL unit SOURCES test_core_state.c ../storage/store_fixture.c USES daemon)
ilora_test(epoch LABEL unit SOURCES test_epoch.c USES daemon)
ilora_test(ledger LABEL unit SOURCES test_ledger.c ../support/stream_memory.c USES daemon)
ilora_test(rates LABEL unit SOURCES test_rates.c USES daemon)
ilora_test(settings_record LABEL unit SOURCES test_settings_record.c ../storage/store_fixture.c
  USES daemon)
