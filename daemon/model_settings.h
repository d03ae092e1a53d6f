/* SPDX-License-Identifier: Apache-2.0
 *
 * model_settings.h - the daemon's settings as the model's: one translation for learner, core and
 * queries.
 */
#ifndef DAEMON_MODEL_SETTINGS_H
#define DAEMON_MODEL_SETTINGS_H

#include <stdbool.h>

#include "daemon/settings.h"
#include "model/learner.h"

/* title_width: 2C of the base model, 0 without one. */
struct fast_settings model_settings_fast(const struct settings *settings, int title_width);
/* title_width 0: no language model. item_tokens: the prompt template has placeholders. */
struct learner_settings model_settings_learner(const struct settings *settings, int title_width,
                                               bool item_tokens);

#endif
