/* SPDX-License-Identifier: Apache-2.0
 *
 * device_plan.h - which device the language model runs on, and what it will take there, before a
 * byte of the base model is read.
 *
 *   [device] backend ─▶ card or CPU, one line why
 *   description, precision, settings ─▶ weights + adapters + versions + activations + workspace
 *                                       ─▶ one line; CONFIG when the device has less free
 *
 * Weights, adapters and activations are measured by the code that lays them out (language_model.h),
 * so the plan cannot drift from what is taken. Workspace is a bound: what operators ask of it
 * depends on the rows of a pack. On a card the planned memory is taken at once and given back to
 * the backend's pool, which then serves everything from it: no allocation in steady state fails.
 * thread: learner.
 */
#ifndef DAEMON_DEVICE_PLAN_H
#define DAEMON_DEVICE_PLAN_H

#include <stdbool.h>
#include <stddef.h>

#include "base/metrics.h"
#include "daemon/settings.h"
#include "kernels/backend.h"
#include "model/learner.h"

/* Versions on the device at once: in force, announced, made, and one that is loaded. */
#define DEVICE_VERSIONS 4

/* Bytes by kind. */
struct device_plan {
    size_t weights;     /* the frozen base */
    size_t adapters;    /* value, gradient, moments, EMA; the average served; the last version */
    size_t versions;    /* values of DEVICE_VERSIONS versions */
    size_t activations; /* of one micro-batch */
    size_t workspace;   /* scratch of operators, the library's workspace, staging: a bound */
};

/* The backend that [device] backend and index name; threads: of the CPU backend. Logs one line:
 * which, and why. CONFIG: cuda was asked for and cannot be had, with the reason. NO_MEMORY,
 * DEVICE_LOST. */
MUST_CHECK enum status device_open(const struct settings *settings, int threads,
                                   struct backend **ret_backend, struct error *err);

/* What [device] precision means on this backend. */
enum precision device_precision(const struct settings *settings, const struct backend *be);

/* Plans a learner over a base model that is described and not loaded. NO_MEMORY, CONFIG. */
MUST_CHECK enum status device_plan_make(const struct backend *be,
                                        const struct model_description *base,
                                        enum precision precision,
                                        const struct learner_settings *learner,
                                        struct device_plan *ret_plan, struct error *err);
size_t device_plan_total(const struct device_plan *plan);

/* Compares with free bytes. CONFIG names all parts and the setting to lower. */
MUST_CHECK enum status device_plan_check(const struct device_plan *plan, size_t free_bytes,
                                         struct error *err);

/* Asks the device for its free memory, logs the plan in one line, checks it and, on a card, takes
 * it for the backend's pool. CONFIG: it does not fit. DEVICE_LOST. */
MUST_CHECK enum status device_plan_reserve(const struct device_plan *plan, struct backend *be,
                                           struct error *err);

/* ilorad_device_memory_bytes{kind}. metrics NULL: nothing. LIMIT. */
MUST_CHECK enum status device_plan_show(const struct device_plan *plan, struct metrics *metrics,
                                        struct error *err);

#endif
