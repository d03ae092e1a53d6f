/* SPDX-License-Identifier: Apache-2.0
 *
 * learner_golden.c - the golden batch of the numeric profile: recorded once, compared ever after.
 *
 *   <state>/golden:  line 1: device, precision, base model;  then 16 figures, one a line
 *
 * Rule: another first line is another device or base: the figures are recorded anew. The same first
 * line and other figures: the device does not compute what it did. It is asked once more, then the
 * daemon stops with DEVICE_LOST (exit 75); what was not made durable is made again by replay.
 * Thread: learner. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "daemon/device_plan.h"
#include "daemon/learner_parts.h"

#define GOLDEN_BYTES_MAX 4096u

/* The first line, newline included. */
static void first_line(const struct learner_thread *t, char *line, size_t line_bytes) {
    char base[2 * SHA256_BYTES + 1];
    hex_encode(t->identity.base_model_sha256, SHA256_BYTES, base);
    const char *precision = device_precision(t->settings, t->be) == PRECISION_F32 ? "f32" : "bf16";
    (void)snprintf(line, line_bytes, "%s; base %s %.16s\n", t->be->profile, precision,
                   base); /* 256 bytes hold it */
}

static enum status golden_path(const struct learner_thread *t, char path[FILE_PATH_BYTES_MAX],
                               struct error *err) {
    return path_join(path, t->state_path, "golden", err);
}

/* NOT_FOUND: no file, or one of another device or base. */
static enum status read_golden(const struct learner_thread *t, struct golden_batch *ret_golden,
                               struct error *err) {
    char path[FILE_PATH_BYTES_MAX], line[256];
    struct buffer bytes = {0};
    enum status status = golden_path(t, path, err);
    if (status == STATUS_OK) { status = file_read(path, GOLDEN_BYTES_MAX - 1, &bytes, err); }
    if (status != STATUS_OK) { return status; }
    char text[GOLDEN_BYTES_MAX];
    memcpy(text, bytes.data, bytes.size);
    text[bytes.size] = '\0';
    buffer_free(&bytes);
    first_line(t, line, sizeof line);
    if (strncmp(text, line, strlen(line)) != 0) {
        return error_set(err, STATUS_NOT_FOUND, "'%s' is another device's", path);
    }
    char *at = text + strlen(line);
    for (int i = 0; i < GOLDEN_FIGURES; i++) {
        char *end = at;
        ret_golden->figure[i] = strtod(at, &end);
        if (end == at || *end != '\n') {
            return error_set(err, STATUS_CORRUPT, "'%s', line %d: expected a number", path, i + 2);
        }
        at = end + 1;
    }
    return STATUS_OK;
}

static enum status write_golden(const struct learner_thread *t, const struct golden_batch *golden,
                                struct error *err) {
    char path[FILE_PATH_BYTES_MAX], text[GOLDEN_BYTES_MAX];
    enum status status = golden_path(t, path, err);
    if (status != STATUS_OK) { return status; }
    first_line(t, text, sizeof text);
    size_t size = strlen(text);
    for (int i = 0; i < GOLDEN_FIGURES; i++) {
        int put = snprintf(text + size, sizeof text - size, "%.17g\n", golden->figure[i]);
        size += (size_t)put; /* 25 bytes each: they fit */
    }
    return file_replace(path, span_make(text, size), err);
}

/* Runs the batch; differing figures are asked for once more. *ret_difference: the last one. */
static enum status compare(struct learner_thread *t, double *ret_difference, struct error *err) {
    double tolerance = golden_batch_tolerance(device_precision(t->settings, t->be));
    for (int attempt = 0; attempt < 2; attempt++) {
        struct golden_batch now;
        enum status status = golden_batch_run(t->learner, &now, err);
        if (status != STATUS_OK) { return status; }
        *ret_difference = golden_batch_difference(&t->golden, &now);
        if (*ret_difference <= tolerance) { return STATUS_OK; }
        if (attempt == 0) {
            LOG_WARNING("golden batch: a figure is off by %.3g of its size, at most %.3g is "
                        "expected: asking once more",
                        *ret_difference, tolerance);
        }
    }
    return error_set(err, STATUS_DEVICE_LOST,
                     "golden batch: a figure is off by %.3g of its size twice, at most %.3g is "
                     "expected: the device '%s' does not compute what it did when '%s/golden' was "
                     "written",
                     *ret_difference, tolerance, t->be->profile, t->state_path);
}

enum status learner_golden_open(struct learner_thread *t, struct error *err) {
    if (!t->identity.has_lm || t->settings->device_golden_every == 0) { return STATUS_OK; }
    double difference = 0.0;
    enum status status = read_golden(t, &t->golden, err);
    if (status == STATUS_NOT_FOUND) {
        status = golden_batch_run(t->learner, &t->golden, err);
        if (status == STATUS_OK && golden_batch_difference(&t->golden, &t->golden) != 0.0) {
            return error_set(err, STATUS_DEVICE_LOST,
                             "golden batch: the device '%s' gives figures that are not numbers",
                             t->be->profile);
        }
        if (status == STATUS_OK) { status = write_golden(t, &t->golden, err); }
        if (status == STATUS_OK) { LOG_INFO("golden batch: recorded in '%s'", t->state_path); }
        return status;
    }
    if (status != STATUS_OK) { return status; }
    status = compare(t, &difference, err);
    if (status == STATUS_OK) { LOG_INFO("golden batch: as recorded, within %.3g", difference); }
    return status;
}

enum status learner_golden_step(struct learner_thread *t, struct error *err) {
    uint64_t every = (uint64_t)t->settings->device_golden_every;
    if (!t->identity.has_lm || every == 0 || t->lm_steps < t->golden_step + every) {
        return STATUS_OK;
    }
    t->golden_step = t->lm_steps;
    double difference = 0.0;
    enum status status = compare(t, &difference, err);
    if (status == STATUS_OK) {
        LOG_DEBUG("golden batch: as recorded after step %" PRIu64 ", within %.3g", t->lm_steps,
                  difference);
    }
    return status;
}
