/* SPDX-License-Identifier: Apache-2.0
 *
 * audit_topics.c - the topics against the ledger.
 *
 *   input    every record from the start offset to the last run lies in exactly one run; each run
 *            holds as many records as it says and ends with the record it says (CRC-32C)
 *   outputs  every ilora-id once; as many records as the ledger counts; versions that exist
 * What retention has trimmed cannot be counted any more: said, not guessed. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/memory.h"
#include "daemon/epoch.h"
#include "ops/audit.h"
#include "ops/client.h"

/* ---- input ---- */

static int compare_runs(const void *a, const void *b) {
    const struct audit_run *x = a, *y = b;
    if (x->topic != y->topic) { return x->topic < y->topic ? -1 : 1; }
    if (x->partition != y->partition) { return x->partition < y->partition ? -1 : 1; }
    if (x->lo != y->lo) { return x->lo < y->lo ? -1 : 1; }
    return 0;
}

struct input_scan {
    struct audit *audit;
    struct audit_run *runs; /* of this partition, ascending */
    size_t count, at;
};

static enum status on_input(void *context, const struct stream_record *record, struct error *err) {
    struct input_scan *scan = context;
    (void)err; /* contradictions are counted, nothing fails */
    while (scan->at < scan->count && scan->runs[scan->at].hi < record->offset) {
        scan->at++;
    }
    if (scan->at == scan->count) {
        scan->audit->input_waiting++;
        return STATUS_OK;
    }
    struct audit_run *run = &scan->runs[scan->at];
    scan->audit->input_records++;
    if (record->offset < run->lo) {
        audit_problem(scan->audit, "%s/%d offset %" PRId64 " lies in no run",
                      stream_topic_name(record->topic), record->partition, record->offset);
        return STATUS_OK;
    }
    run->seen++;
    run->last_crc = epoch_record_crc(record);
    return STATUS_OK;
}

/* First offset the ledger speaks of. */
static int64_t start_of(const struct audit *audit, enum stream_topic topic, int32_t partition) {
    const char *name = stream_access_topic_name(audit->settings, topic);
    for (int i = 0; i < audit->start_count; i++) {
        if (audit->start[i].partition == partition &&
            span_equal(audit->start[i].topic, span_of(name))) {
            return audit->start[i].offset;
        }
    }
    return 0;
}

static void check_run(struct audit *audit, const struct audit_run *run, int64_t first) {
    const char *name = stream_topic_name((enum stream_topic)run->topic);
    if (run->lo < first) { /* retention took its beginning: only what is left could be read */
        audit->input_trimmed += run->records - run->seen;
        return;
    }
    if (run->seen != run->records) {
        audit_problem(audit, "%s/%d %" PRId64 "..%" PRId64 ": %u records, the ledger says %u", name,
                      run->partition, run->lo, run->hi, run->seen, run->records);
    } else if (run->last_crc != run->crc) {
        audit_problem(audit, "%s/%d offset %" PRId64 ": not the record that was consumed", name,
                      run->partition, run->hi);
    }
}

static enum status audit_partition(struct audit *audit, enum stream_topic topic, int32_t partition,
                                   struct audit_run *runs, size_t count, struct error *err) {
    int64_t first = 0, end = 0;
    enum status status =
        audit->stream->ops->bounds(audit->stream, topic, partition, &first, &end, err);
    if (status != STATUS_OK) { return status; }
    for (size_t i = 1; i < count; i++) {
        if (runs[i].lo <= runs[i - 1].hi) {
            audit_problem(
                audit, "%s/%d: runs %" PRId64 "..%" PRId64 " and %" PRId64 "..%" PRId64 " overlap",
                stream_topic_name(topic), partition, runs[i - 1].lo, runs[i - 1].hi, runs[i].lo,
                runs[i].hi);
        }
    }
    struct input_scan scan = {.audit = audit, .runs = runs, .count = count};
    int64_t from =
        audit->ledger_trimmed && count > 0 ? runs[0].lo : start_of(audit, topic, partition);
    if (from < first) { from = first; }
    if (from < end) {
        status = audit->stream->ops->read(audit->stream, topic, partition, from, end - 1, on_input,
                                          &scan, err);
        if (status != STATUS_OK) { return status; }
    }
    for (size_t i = 0; i < count; i++) {
        check_run(audit, &runs[i], first);
    }
    return STATUS_OK;
}

enum status audit_input(struct audit *audit, struct error *err) {
    if (audit->run_count > 0) {
        qsort(audit->runs, audit->run_count, sizeof *audit->runs, compare_runs);
    }
    size_t at = 0;
    for (int t = 0; t < STREAM_INPUT_COUNT; t++) {
        enum stream_topic topic = (enum stream_topic)t;
        int32_t partitions = 0;
        enum status status = audit->stream->ops->partitions(audit->stream, topic, &partitions, err);
        if (status == STATUS_NOT_FOUND) { continue; }
        if (status != STATUS_OK) { return status; }
        for (int32_t p = 0; p < partitions; p++) {
            size_t begin = at;
            while (at < audit->run_count && audit->runs[at].topic == (uint32_t)t &&
                   audit->runs[at].partition == p) {
                at++;
            }
            struct audit_run *runs = audit->runs == NULL ? NULL : audit->runs + begin;
            status = audit_partition(audit, topic, p, runs, at - begin, err);
            if (status != STATUS_OK) { return status; }
        }
    }
    if (at != audit->run_count) {
        audit_problem(audit, "%zu runs of partitions that do not exist", audit->run_count - at);
    }
    return STATUS_OK;
}

/* ---- outputs ---- */

/* False: no memory. *ret_new: it was not there. */
static bool set_add(struct hash_set *set, uint64_t hash, bool *ret_new) {
    if (hash == 0) { hash = 1; }
    if (set->count * 2 >= set->capacity) {
        struct hash_set larger = {.capacity = set->capacity == 0 ? 4096 : set->capacity * 2};
        larger.slots = MEMORY_TAKE_ARRAY(uint64_t, larger.capacity);
        if (larger.slots == NULL) { return false; }
        for (size_t i = 0; i < set->capacity; i++) {
            bool is_new = false;
            if (set->slots[i] != 0 && !set_add(&larger, set->slots[i], &is_new)) { return false; }
        }
        memory_free(set->slots);
        *set = larger;
    }
    size_t at = hash & (set->capacity - 1);
    while (set->slots[at] != 0 && set->slots[at] != hash) {
        at = (at + 1) & (set->capacity - 1);
    }
    *ret_new = set->slots[at] == 0;
    if (*ret_new) {
        set->slots[at] = hash;
        set->count++;
    }
    return true;
}

static struct span header_of(const struct stream_record *record, const char *name) {
    for (int i = 0; i < record->header_count; i++) {
        if (strcmp(record->headers[i].name, name) == 0) { return record->headers[i].value; }
    }
    return (struct span){NULL, 0};
}

static enum status check_id(struct audit *audit, const struct stream_record *record,
                            struct error *err) {
    struct span id = header_of(record, "ilora-id");
    bool is_new = false;
    if (id.size == 0) {
        audit_problem(audit, "%s/%d offset %" PRId64 ": no ilora-id",
                      stream_topic_name(record->topic), record->partition, record->offset);
        return STATUS_OK;
    }
    if (!set_add(&audit->ids, hash64(id, 0), &is_new)) {
        return error_set(err, STATUS_NO_MEMORY, "ids of outputs");
    }
    if (!is_new) { audit_problem(audit, "'%.*s' was published twice", SPAN_ARG(id)); }
    return STATUS_OK;
}

/* The record as JSON, whatever [output] format is. NULL: counted as a problem. */
static struct json_value *value_of(struct audit *audit, const struct stream_record *record) {
    struct json_value *value = NULL;
    struct error unread = {0};
    struct span text = record->value;
    enum status status = STATUS_OK;
    if (text.size == 0 || text.data[0] != '{') {
        buffer_reset(&audit->text);
        status = outbound_to_json(stream_topic_name(record->topic), record->value, &audit->text,
                                  &unread);
        text = buffer_span(&audit->text);
    }
    if (status == STATUS_OK) { status = json_parse(text, &value, &unread); }
    if (status == STATUS_OK) { return value; }
    audit_problem(audit, "%s/%d offset %" PRId64 ": %s", stream_topic_name(record->topic),
                  record->partition, record->offset, unread.text);
    return NULL;
}

static enum status on_prediction(void *context, const struct stream_record *record,
                                 struct error *err) {
    struct audit *audit = context;
    struct json_value *value = value_of(audit, record);
    if (value == NULL) { return STATUS_OK; }
    uint64_t seq = (uint64_t)client_integer(value, "seq", 0);
    uint64_t version = (uint64_t)client_integer(value, "model_version", 0);
    json_free(value);
    if (seq > audit->seq) { return STATUS_OK; } /* committed after the ledger was read */
    audit->predictions_seen++;
    if (version != 0 && !audit->ledger_trimmed && audit_version_find(audit, version) == NULL) {
        audit_problem(audit, "prediction of seq %" PRIu64 ": version %" PRIu64 " does not exist",
                      seq, version);
    }
    return check_id(audit, record, err);
}

/* True when the input record behind a dead letter lies in a run. */
static bool is_covered(const struct audit *audit, struct span topic, struct span partition,
                       struct span offset) {
    int64_t at = 0, number = 0;
    if (!span_integer(partition, &number) || !span_integer(offset, &at)) { return true; }
    for (size_t i = audit->run_count; i > 0; i--) {
        const struct audit_run *run = &audit->runs[i - 1];
        const char *name = stream_access_topic_name(audit->settings, (enum stream_topic)run->topic);
        if (run->partition == number && span_equal(topic, span_of(name))) {
            return at <= run->hi; /* runs are sorted: the newest of the partition */
        }
    }
    return false;
}

static enum status on_dead_letter(void *context, const struct stream_record *record,
                                  struct error *err) {
    struct audit *audit = context;
    if (!is_covered(audit, header_of(record, "ilora.error.topic"),
                    header_of(record, "ilora.error.partition"),
                    header_of(record, "ilora.error.offset"))) {
        return STATUS_OK; /* committed after the ledger was read */
    }
    audit->dead_letters_seen++;
    return check_id(audit, record, err);
}

static enum status on_metrics(void *context, const struct stream_record *record,
                              struct error *err) {
    struct audit *audit = context;
    struct json_value *value = value_of(audit, record);
    (void)err; /* contradictions are counted, nothing fails */
    if (value == NULL) { return STATUS_OK; }
    if ((uint64_t)client_integer(value, "seq", 0) <= audit->seq) { audit->metrics_seen++; }
    json_free(value);
    return STATUS_OK;
}

static enum status on_snapshot(void *context, const struct stream_record *record,
                               struct error *err) {
    struct audit *audit = context;
    (void)err; /* contradictions are counted, nothing fails */
    int64_t number = 0;
    if (!span_integer(record->key, &number)) { return STATUS_OK; }
    struct audit_version *version = audit_version_find(audit, (uint64_t)number);
    if (version == NULL) { return STATUS_OK; } /* announced after the ledger was read */
    if (span_equal(header_of(record, "ilora-kind"), span_of("chunk"))) {
        version->chunks++;
        return STATUS_OK;
    }
    struct json_value *value = value_of(audit, record);
    if (value == NULL) { return STATUS_OK; }
    const struct json_value *files = json_member(value, "files");
    for (size_t i = 0; i < json_size(files); i++) {
        version->chunks_expected +=
            (uint32_t)client_integer(json_element(files, i), "chunk_count", 0);
    }
    json_free(value);
    version->manifests++;
    audit->manifests_seen++;
    return STATUS_OK;
}

static enum status read_topic(struct audit *audit, enum stream_topic topic, stream_sink sink,
                              bool *ret_trimmed, struct error *err) {
    int32_t partitions = 0;
    bool trimmed = false;
    enum status status = audit->stream->ops->partitions(audit->stream, topic, &partitions, err);
    if (status == STATUS_NOT_FOUND) { return STATUS_OK; }
    for (int32_t p = 0; status == STATUS_OK && p < partitions; p++) {
        int64_t first = 0, end = 0;
        status = audit->stream->ops->bounds(audit->stream, topic, p, &first, &end, err);
        trimmed = trimmed || first > 0;
        if (status == STATUS_OK && first < end) {
            status =
                audit->stream->ops->read(audit->stream, topic, p, first, end - 1, sink, audit, err);
        }
    }
    if (status == STATUS_OK) { *ret_trimmed = trimmed || audit->ledger_trimmed; }
    return status;
}

static void check_total(struct audit *audit, const char *what, uint64_t seen, uint64_t counted,
                        bool trimmed) {
    if (seen == counted || (trimmed && seen < counted)) { return; }
    if (trimmed && audit->ledger_trimmed) { return; }
    audit_problem(audit, "%" PRIu64 " %s, the ledger counts %" PRIu64, seen, what, counted);
}

enum status audit_outputs(struct audit *audit, struct error *err) {
    enum status status =
        read_topic(audit, STREAM_PREDICTIONS, on_prediction, &audit->predictions_trimmed, err);
    if (status == STATUS_OK) {
        status = read_topic(audit, STREAM_DLQ, on_dead_letter, &audit->dead_letters_trimmed, err);
    }
    if (status == STATUS_OK) {
        status = read_topic(audit, STREAM_METRICS, on_metrics, &audit->metrics_trimmed, err);
    }
    if (status == STATUS_OK) {
        status = read_topic(audit, STREAM_SNAPSHOTS, on_snapshot, &audit->snapshots_trimmed, err);
    }
    if (status != STATUS_OK) { return status; }
    check_total(audit, "predictions", audit->predictions_seen, audit->predictions,
                audit->predictions_trimmed);
    check_total(audit, "dead letters", audit->dead_letters_seen, audit->dead_letters,
                audit->dead_letters_trimmed);
    check_total(audit, "metrics records", audit->metrics_seen, audit->metrics_records,
                audit->metrics_trimmed);
    for (size_t i = 0; i < audit->version_count; i++) {
        const struct audit_version *version = &audit->versions[i];
        bool whole = version->manifests == 1 && version->chunks == version->chunks_expected;
        bool gone = audit->snapshots_trimmed && version->manifests <= 1;
        if (!whole && !gone) {
            audit_problem(audit, "version %" PRIu64 ": %u manifests, %u of %u chunks",
                          version->number, version->manifests, version->chunks,
                          version->chunks_expected);
        }
    }
    return STATUS_OK;
}
