/* SPDX-License-Identifier: Apache-2.0
 *
 * epoch.c - collects one epoch's runs, groups and outputs.
 *
 * Why it exists: everything an epoch publishes must be known before its transaction begins, so that
 * a failure inside the transaction loses nothing but the transaction.
 * Failure: LIMIT asks the caller to close the epoch; NO_MEMORY leaves the epoch as it was.
 * Thread: core. */
#include "daemon/epoch.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/hash.h"
#include "base/memory.h"

#define OUTPUTS_FIRST 4096

enum status epoch_init(struct epoch *epoch, struct error *err) {
    memset(epoch, 0, sizeof(*epoch));
    epoch->runs = MEMORY_TAKE_ARRAY(struct epoch_run, EPOCH_RUNS_MAX);
    epoch->groups = MEMORY_TAKE_ARRAY(struct epoch_group, EPOCH_GROUPS_MAX);
    epoch->outputs = MEMORY_TAKE_ARRAY(struct epoch_output, OUTPUTS_FIRST);
    if (epoch->runs == NULL || epoch->groups == NULL || epoch->outputs == NULL) {
        epoch_free(epoch);
        return error_set(err, STATUS_NO_MEMORY, "the epoch's lists");
    }
    epoch->output_capacity = OUTPUTS_FIRST;
    epoch_reset(epoch, 1);
    return STATUS_OK;
}

void epoch_free(struct epoch *epoch) {
    memory_free(epoch->runs);
    memory_free(epoch->groups);
    memory_free(epoch->outputs);
    buffer_free(&epoch->bytes);
    memset(epoch, 0, sizeof(*epoch));
}

void epoch_reset(struct epoch *epoch, uint64_t seq_lo) {
    epoch->run_count = 0;
    epoch->group_count = 0;
    epoch->output_count = 0;
    buffer_reset(&epoch->bytes);
    epoch->applied = epoch->duplicate = epoch->dead = epoch->filtered = epoch->other = 0;
    epoch->predictions = epoch->dead_letters = epoch->metrics_records = 0;
    epoch->records = 0;
    epoch->seq_lo = seq_lo;
    epoch->announced_count = 0;
    epoch->forgotten_count = 0;
    epoch->crashed_count = 0;
}

uint32_t epoch_record_crc(const struct stream_record *record) {
    uint32_t crc = crc32c(0, record->key.data, record->key.size);
    return crc32c(crc, record->value.data, record->value.size);
}

enum status epoch_run_extend(struct epoch *epoch, const struct stream_record *record,
                             struct error *err) {
    struct epoch_run *run = epoch->run_count > 0 ? &epoch->runs[epoch->run_count - 1] : NULL;
    bool same =
        run != NULL && run->topic == (uint32_t)record->topic && run->partition == record->partition;
    if (!same) {
        if (epoch->run_count == EPOCH_RUNS_MAX) {
            return error_set(err, STATUS_LIMIT, "an epoch of more than %d runs", EPOCH_RUNS_MAX);
        }
        run = &epoch->runs[epoch->run_count];
        *run = (struct epoch_run){
            .topic = (uint32_t)record->topic, .partition = record->partition, .lo = record->offset};
        epoch->run_count++;
    }
    run->hi = record->offset;
    run->crc = epoch_record_crc(record);
    run->records++;
    epoch->records++;
    return STATUS_OK;
}

enum status epoch_group_add(struct epoch *epoch, const struct epoch_group *group,
                            struct error *err) {
    if (epoch->group_count == EPOCH_GROUPS_MAX) {
        return error_set(err, STATUS_LIMIT, "an epoch of more than %d groups", EPOCH_GROUPS_MAX);
    }
    epoch->groups[epoch->group_count] = *group;
    epoch->group_count++;
    return STATUS_OK;
}

bool epoch_is_full(const struct epoch *epoch) {
    return epoch->run_count > EPOCH_RUNS_MAX / 2 || epoch->group_count > EPOCH_GROUPS_MAX / 2 ||
           epoch->crashed_count == EPOCH_CRASHED_MAX;
}

static enum status output_room(struct epoch *epoch, struct error *err) {
    if (epoch->output_count < epoch->output_capacity) { return STATUS_OK; }
    int capacity = epoch->output_capacity * 2;
    struct epoch_output *outputs =
        memory_resize(epoch->outputs, (size_t)capacity * sizeof(*outputs));
    if (outputs == NULL) { return error_set(err, STATUS_NO_MEMORY, "%d outputs", capacity); }
    epoch->outputs = outputs;
    epoch->output_capacity = capacity;
    return STATUS_OK;
}

/* Appends bytes and says where. */
static enum status bytes_add(struct epoch *epoch, const void *data, size_t size, size_t *ret_at,
                             struct error *err) {
    size_t at = epoch->bytes.size;
    if (size > 0 && buffer_append(&epoch->bytes, data, size) != STATUS_OK) {
        return error_set(err, STATUS_NO_MEMORY, "%zu bytes of an output", size);
    }
    *ret_at = at;
    return STATUS_OK;
}

enum status epoch_output_add(struct epoch *epoch, enum stream_topic topic, int32_t partition,
                             int64_t timestamp_ms, struct span key, struct span value,
                             struct error *err) {
    enum status status = output_room(epoch, err);
    if (status != STATUS_OK) { return status; }
    struct epoch_output output = {.topic = topic,
                                  .partition = partition,
                                  .timestamp_ms = timestamp_ms,
                                  .key_size = key.size,
                                  .value_size = value.size};
    size_t used = epoch->bytes.size;
    status = bytes_add(epoch, key.data, key.size, &output.key, err);
    if (status == STATUS_OK) {
        status = bytes_add(epoch, value.data, value.size, &output.value, err);
    }
    if (status != STATUS_OK) {
        epoch->bytes.size = used;
        return status;
    }
    epoch->outputs[epoch->output_count] = output;
    epoch->output_count++;
    return STATUS_OK;
}

enum status epoch_output_header(struct epoch *epoch, const char *name, struct span value,
                                struct error *err) {
    assert(epoch->output_count > 0);
    struct epoch_output *output = &epoch->outputs[epoch->output_count - 1];
    if (output->header_count == STREAM_HEADERS_MAX) {
        return error_set(err, STATUS_LIMIT, "header '%s': more than %d", name, STREAM_HEADERS_MAX);
    }
    int index = output->header_count;
    enum status status = bytes_add(epoch, name, strlen(name) + 1, &output->header_name[index], err);
    if (status != STATUS_OK) { return status; }
    status = bytes_add(epoch, value.data, value.size, &output->header_value[index], err);
    if (status != STATUS_OK) { return status; }
    output->header_value_size[index] = value.size;
    output->header_count++;
    return STATUS_OK;
}

void epoch_output_get(const struct epoch *epoch, int index, struct stream_header *headers,
                      struct stream_output *ret_output) {
    assert(index >= 0 && index < epoch->output_count);
    const struct epoch_output *output = &epoch->outputs[index];
    const uint8_t *base = epoch->bytes.data;
    for (int i = 0; i < output->header_count; i++) {
        headers[i].name = (const char *)base + output->header_name[i];
        headers[i].value = span_make(base + output->header_value[i], output->header_value_size[i]);
    }
    *ret_output = (struct stream_output){
        .topic = output->topic,
        .partition = output->partition,
        .timestamp_ms = output->timestamp_ms,
        .key = output->key_size > 0 ? span_make(base + output->key, output->key_size)
                                    : span_make(NULL, 0),
        .value = span_make(base + output->value, output->value_size),
        .headers = headers,
        .header_count = output->header_count,
    };
}
