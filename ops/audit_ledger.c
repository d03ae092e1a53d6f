/* SPDX-License-Identifier: Apache-2.0
 *
 * audit_ledger.c - the ledger against itself.
 *
 *   H_n = SHA-256(H_{n-1} || ER_n)      epochs and sequence numbers without gap
 *   runs of a partition ascend, never overlap       records = applied + duplicate + dead + ...
 *   a version number is announced once; what is in force was announced before (or is 0) */
#include <inttypes.h>
#include <string.h>

#include "base/memory.h"
#include "daemon/ledger.h"
#include "ops/audit.h"

static bool room(void **array, size_t count, size_t *capacity, size_t bytes) {
    if (count < *capacity) { return true; }
    size_t larger = *capacity == 0 ? 256 : *capacity * 2;
    void *resized = memory_resize(*array, larger * bytes);
    if (resized == NULL) { return false; }
    *array = resized;
    *capacity = larger;
    return true;
}

struct audit_version *audit_version_find(struct audit *audit, uint64_t number) {
    for (size_t i = audit->version_count; i > 0; i--) {
        if (audit->versions[i - 1].number == number) { return &audit->versions[i - 1]; }
    }
    return NULL;
}

static enum status add_run(struct audit *audit, const struct epoch_record *record,
                           const struct epoch_run *run, struct error *err) {
    void *runs = audit->runs;
    if (run->topic >= STREAM_INPUT_COUNT || run->lo > run->hi || run->records == 0 ||
        (int64_t)run->records > run->hi - run->lo + 1) {
        audit_problem(audit, "epoch %" PRIu64 ": run %" PRId64 "..%" PRId64 " of %u records",
                      record->epoch, run->lo, run->hi, run->records);
    }
    if (!room(&runs, audit->run_count, &audit->run_capacity, sizeof *audit->runs)) {
        return error_set(err, STATUS_NO_MEMORY, "runs of the ledger");
    }
    audit->runs = runs;
    audit->runs[audit->run_count++] = (struct audit_run){.topic = run->topic,
                                                         .partition = run->partition,
                                                         .lo = run->lo,
                                                         .hi = run->hi,
                                                         .crc = run->crc,
                                                         .records = run->records};
    return STATUS_OK;
}

static enum status add_version(struct audit *audit, const struct epoch_record *record,
                               const struct epoch_version *announced, struct error *err) {
    void *versions = audit->versions;
    if (audit_version_find(audit, announced->version) != NULL) {
        audit_problem(audit, "epoch %" PRIu64 ": version %" PRIu64 " is announced again",
                      record->epoch, announced->version);
        return STATUS_OK;
    }
    if (!room(&versions, audit->version_count, &audit->version_capacity, sizeof *audit->versions)) {
        return error_set(err, STATUS_NO_MEMORY, "versions of the ledger");
    }
    audit->versions = versions;
    audit->versions[audit->version_count++] =
        (struct audit_version){.number = announced->version, .rejected = announced->rejected};
    return STATUS_OK;
}

static void check_counts(struct audit *audit, const struct epoch_record *record) {
    uint64_t records = 0;
    for (int i = 0; i < record->run_count; i++) {
        records += record->runs[i].records;
    }
    uint64_t counted =
        record->applied + record->duplicate + record->dead + record->filtered + record->other;
    if (records != counted) {
        audit_problem(audit, "epoch %" PRIu64 ": %" PRIu64 " records in runs, %" PRIu64 " counted",
                      record->epoch, records, counted);
    }
    uint64_t span = record->seq_hi + 1 - record->seq_lo;
    if (record->seq_lo != audit->seq + 1 || span != record->applied) {
        audit_problem(audit,
                      "epoch %" PRIu64 ": sequence numbers %" PRIu64 "..%" PRIu64 " for %" PRIu64
                      " applied events after %" PRIu64,
                      record->epoch, record->seq_lo, record->seq_hi, record->applied, audit->seq);
    }
    if (record->dead_letters != record->dead) {
        audit_problem(audit, "epoch %" PRIu64 ": %" PRIu64 " dead records, %" PRIu64 " letters",
                      record->epoch, record->dead, record->dead_letters);
    }
    uint64_t users = 0, last = record->seq_lo - 1;
    for (int i = 0; i < record->group_count; i++) {
        users += record->groups[i].users;
        if (record->groups[i].seq_hi <= last || record->groups[i].seq_hi > record->seq_hi) {
            audit_problem(audit, "epoch %" PRIu64 ": group up to %" PRIu64, record->epoch,
                          record->groups[i].seq_hi);
        }
        last = record->groups[i].seq_hi;
    }
    if (record->predictions > users) {
        audit_problem(audit, "epoch %" PRIu64 ": %" PRIu64 " predictions for %" PRIu64 " users",
                      record->epoch, record->predictions, users);
    }
}

static enum status keep_start(struct audit *audit, const struct epoch_record *record,
                              struct error *err) {
    if (record->start_count == 0) { return STATUS_OK; }
    audit->start = MEMORY_TAKE_ARRAY(struct position_record, record->start_count);
    if (audit->start == NULL) { return error_set(err, STATUS_NO_MEMORY, "start positions"); }
    for (int i = 0; i < record->start_count; i++) {
        audit->start[i] = record->start[i];
        char *copy = memory_take_copy(record->start[i].topic.data, record->start[i].topic.size);
        if (copy == NULL) { return error_set(err, STATUS_NO_MEMORY, "start positions"); }
        audit->start[i].topic = span_make(copy, record->start[i].topic.size);
        audit->start_count = i + 1;
    }
    return STATUS_OK;
}

static void check_place(struct audit *audit, const struct epoch_record *record) {
    bool first = audit->epochs == 0;
    if (first) {
        audit->first_epoch = record->epoch;
        if (record->epoch != 0) { /* older ones are trimmed: begin with what this one says */
            audit->ledger_trimmed = true;
            audit->seq = record->seq_lo - 1;
            memcpy(audit->chain, record->previous, SHA256_BYTES);
        }
    } else if (record->epoch != audit->last_epoch + 1) {
        audit_problem(audit, "epoch %" PRIu64 " follows epoch %" PRIu64, record->epoch,
                      audit->last_epoch);
    }
    if (memcmp(record->previous, audit->chain, SHA256_BYTES) != 0) {
        audit_problem(audit, "epoch %" PRIu64 ": the hash chain is broken", record->epoch);
    }
    if (!first && memcmp(record->owner, audit->owner, sizeof audit->owner) != 0) {
        audit->takeovers++;
    }
    memcpy(audit->owner, record->owner, sizeof audit->owner);
}

static enum status on_epoch(void *context, const struct stream_record *message, struct error *err) {
    struct audit *audit = context;
    struct epoch_record record;
    arena_reset(&audit->arena);
    enum status status = outbound_epoch_read(message->value, &audit->arena, &record, err);
    if (status != STATUS_OK) {
        audit_problem(audit, "ledger offset %" PRId64 ": %s", message->offset, err->text);
        return STATUS_OK;
    }
    check_place(audit, &record);
    check_counts(audit, &record);
    for (int i = 0; i < record.run_count && status == STATUS_OK; i++) {
        status = add_run(audit, &record, &record.runs[i], err);
    }
    for (int i = 0; i < record.decisions.announced_count && status == STATUS_OK; i++) {
        status = add_version(audit, &record, &record.decisions.announced[i], err);
    }
    if (status == STATUS_OK && audit->epochs == 0 && record.epoch == 0) {
        status = keep_start(audit, &record, err);
    }
    if (status == STATUS_OK) { status = ledger_chain_advance(audit->chain, message->value, err); }
    if (status != STATUS_OK) { return status; }
    const struct audit_version *in_force = audit_version_find(audit, record.decisions.in_force);
    if (record.decisions.in_force != 0 && !audit->ledger_trimmed &&
        (in_force == NULL || in_force->rejected)) {
        audit_problem(audit, "epoch %" PRIu64 ": version %" PRIu64 " in force, never announced",
                      record.epoch, record.decisions.in_force);
    }
    audit->epochs++;
    audit->last_epoch = record.epoch;
    audit->seq = record.seq_hi;
    audit->applied += record.applied;
    audit->duplicate += record.duplicate;
    audit->dead += record.dead;
    audit->filtered += record.filtered;
    audit->other += record.other;
    audit->predictions += record.predictions;
    audit->dead_letters += record.dead_letters;
    audit->metrics_records += record.metrics_records;
    return STATUS_OK;
}

enum status audit_ledger(struct audit *audit, struct error *err) {
    int32_t shard = (int32_t)audit->settings->stream_shard;
    int64_t first = 0, end = 0;
    enum status status =
        audit->stream->ops->bounds(audit->stream, STREAM_LEDGER, shard, &first, &end, err);
    if (status != STATUS_OK || first >= end) { return status; }
    return audit->stream->ops->read(audit->stream, STREAM_LEDGER, shard, first, end - 1, on_epoch,
                                    audit, err);
}
