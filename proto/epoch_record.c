/* SPDX-License-Identifier: Apache-2.0
 *
 * epoch_record.c - the ledger's record, both ways.
 *
 * What is written here is hashed into the chain H_n = SHA-256(H_{n-1} || ER_n), so the canonical
 * form matters more than anywhere: one struct, one sequence of bytes. Reading goes through the
 * generated code and then checks what a record must hold before anybody acts on it.
 */
#include "proto/outbound.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "proto/ilora.pb-c.h"

#include "base/stream.h"
#include "proto/unpack.h"
#include "proto/wire.h"

#define FORGOTTEN_BYTES 8u /* a keyed hash, little-endian */
#define OWNER_BYTES     16u

static bool all_zero(const uint8_t *data, size_t size) {
    for (size_t i = 0; i < size; i++) {
        if (data[i] != 0) { return false; }
    }
    return true;
}

/* ---- writing ---- */

static void put_run(struct wire *w, const struct epoch_run *run) {
    assert(run->lo <= run->hi);

    size_t mark = wire_begin(w, 5);
    wire_uint(w, 1, run->topic);
    wire_int(w, 2, run->partition);
    wire_int(w, 3, run->lo);
    wire_int(w, 4, run->hi);
    wire_uint(w, 5, run->crc);
    wire_uint(w, 6, run->records);
    wire_end(w, mark);
}

static void put_group(struct wire *w, const struct epoch_group *group) {
    size_t mark = wire_begin(w, 13);
    wire_uint(w, 1, group->seq_hi);
    wire_uint(w, 2, group->users);
    wire_uint(w, 3, group->lm_users);
    wire_uint(w, 4, group->fast_users);
    wire_end(w, mark);
}

static void put_version(struct wire *w, const struct epoch_version *version) {
    size_t mark = wire_begin(w, 8);
    wire_uint(w, 1, version->version);
    wire_uint(w, 2, version->seq);
    wire_bytes(w, 3, span_make(version->digest, sizeof version->digest));
    wire_bool(w, 4, version->rejected);
    wire_end(w, mark);
}

static void put_position(struct wire *w, uint32_t field, const struct position_record *position) {
    size_t mark = wire_begin(w, field);
    wire_bytes(w, 1, position->topic);
    wire_int(w, 2, position->partition);
    wire_int(w, 3, position->offset);
    wire_end(w, mark);
}

static void put_decisions(struct wire *w, const struct epoch_decisions *decisions) {
    size_t mark = wire_begin(w, 14);
    wire_bool(w, 1, decisions->batch_cut);
    wire_bool(w, 2, decisions->version_mark);
    wire_uint(w, 3, decisions->in_force);
    wire_double(w, 4, decisions->lm_rate);
    wire_double(w, 5, decisions->eval_rate);
    wire_double(w, 6, decisions->eval_lm_rate);
    wire_double(w, 7, decisions->fast_share);
    for (int i = 0; i < decisions->announced_count; i++) {
        put_version(w, &decisions->announced[i]);
    }
    wire_bool(w, 9, decisions->rollback);
    wire_uint(w, 10, decisions->rollback_version);
    for (int i = 0; i < decisions->forgotten_count; i++) {
        uint8_t bytes[FORGOTTEN_BYTES];
        put_u64le(bytes, decisions->forgotten[i]);
        wire_element(w, 11, span_make(bytes, sizeof bytes));
    }
    wire_bool(w, 12, decisions->claim);
    for (int i = 0; i < decisions->crashed_count; i++) {
        put_position(w, 13, &decisions->crashed[i]);
    }
    wire_end(w, mark);
}

static void put_setting(struct wire *w, const struct epoch_setting *setting) {
    size_t mark = wire_begin(w, 18);
    wire_bytes(w, 1, setting->key);
    wire_bytes(w, 2, setting->value);
    wire_end(w, mark);
}

static void put_partitions(struct wire *w, const struct epoch_record *record) {
    if (record->partition_count == 0) { return; }
    size_t mark = wire_begin(w, 21);
    for (int i = 0; i < record->partition_count; i++) {
        wire_packed(w, record->partitions[i]);
    }
    wire_end(w, mark);
}

enum status outbound_epoch(const struct epoch_record *record, struct buffer *out) {
    assert(record->run_count >= 0 && record->group_count >= 0);
    assert(record->setting_count >= 0 && record->start_count >= 0);

    struct wire w;
    wire_start(&w, out);
    wire_uint(&w, 1, record->shard);
    wire_uint(&w, 2, record->epoch);
    wire_bytes(&w, 3, span_make(record->owner, sizeof record->owner));
    wire_bytes(&w, 4, span_make(record->previous, sizeof record->previous));
    for (int i = 0; i < record->run_count; i++) {
        put_run(&w, &record->runs[i]);
    }
    wire_uint(&w, 6, record->seq_lo);
    wire_uint(&w, 7, record->seq_hi);
    wire_uint(&w, 8, record->applied);
    wire_uint(&w, 9, record->duplicate);
    wire_uint(&w, 10, record->dead);
    wire_uint(&w, 11, record->filtered);
    wire_uint(&w, 12, record->other);
    for (int i = 0; i < record->group_count; i++) {
        put_group(&w, &record->groups[i]);
    }
    put_decisions(&w, &record->decisions);
    wire_bytes(&w, 15, span_make(record->input_digest, sizeof record->input_digest));
    wire_bytes(&w, 16, span_make(record->evaluation_digest, sizeof record->evaluation_digest));
    wire_uint(&w, 17, record->fold_version);
    for (int i = 0; i < record->setting_count; i++) {
        put_setting(&w, &record->settings[i]);
    }
    for (int i = 0; i < record->start_count; i++) {
        put_position(&w, 19, &record->start[i]);
    }
    if (!all_zero(record->base_model_sha256, SHA256_BYTES)) {
        wire_bytes(&w, 20, span_make(record->base_model_sha256, SHA256_BYTES));
    }
    put_partitions(&w, record);
    wire_bytes(&w, 22, record->numeric_profile);
    wire_uint(&w, 23, record->predictions);
    wire_uint(&w, 24, record->dead_letters);
    wire_uint(&w, 25, record->metrics_records);
    return wire_finish(&w);
}

/* ---- reading ---- */

/* Copies a field of fixed size; absent leaves zeros when optional. */
static enum status read_fixed(const char *name, ProtobufCBinaryData field, bool optional,
                              uint8_t *bytes, size_t size, struct error *err) {
    if (field.len == 0 && optional) { return STATUS_OK; }
    if (field.len != size) {
        return error_set(err, STATUS_MALFORMED, "field '%s' has %zu bytes, %zu are expected", name,
                         field.len, size);
    }
    memcpy(bytes, field.data, size);
    return STATUS_OK;
}

/* A list of the record: its array, or NO_MEMORY. A list without elements gives NULL. */
static enum status read_list(const char *name, struct arena *arena, size_t count, size_t size,
                             void **ret_list, struct error *err) {
    *ret_list = NULL;
    if (count == 0) { return STATUS_OK; }
    if (count > INT32_MAX) { return error_set(err, STATUS_MALFORMED, "field '%s' too long", name); }

    void *list = arena_take_array(arena, count, size);
    if (list == NULL) { return error_set(err, STATUS_NO_MEMORY, "field '%s'", name); }
    memset(list, 0, count * size);
    *ret_list = list;
    return STATUS_OK;
}

static enum status read_runs(const Ilora__V1__EpochRecord *message, struct arena *arena,
                             struct epoch_record *record, struct error *err) {
    void *list;
    enum status status =
        read_list("runs", arena, message->n_runs, sizeof(struct epoch_run), &list, err);
    if (status != STATUS_OK) { return status; }

    record->runs = list;
    record->run_count = (int)message->n_runs;
    for (size_t i = 0; i < message->n_runs; i++) {
        const Ilora__V1__Run *run = message->runs[i];
        if (run->topic >= STREAM_INPUT_COUNT || run->partition < 0) {
            return error_set(err, STATUS_MALFORMED, "field 'runs' names no input partition: %u/%d",
                             run->topic, run->partition);
        }
        if (run->lo < 0 || run->lo > run->hi || run->records == 0) {
            return error_set(err, STATUS_MALFORMED,
                             "field 'runs' holds an empty range %" PRId64 "..%" PRId64, run->lo,
                             run->hi);
        }
        record->runs[i] = (struct epoch_run){run->topic, run->partition, run->lo,
                                             run->hi,    run->crc,       run->records};
    }
    return STATUS_OK;
}

static enum status read_groups(const Ilora__V1__EpochRecord *message, struct arena *arena,
                               struct epoch_record *record, struct error *err) {
    void *list;
    enum status status =
        read_list("groups", arena, message->n_groups, sizeof(struct epoch_group), &list, err);
    if (status != STATUS_OK) { return status; }

    record->groups = list;
    record->group_count = (int)message->n_groups;
    for (size_t i = 0; i < message->n_groups; i++) {
        const Ilora__V1__GroupCut *cut = message->groups[i];
        if (cut->lm_users > cut->users || cut->fast_users > cut->users) {
            return error_set(err, STATUS_MALFORMED,
                             "field 'groups' scores more users than the group has");
        }
        record->groups[i] =
            (struct epoch_group){cut->seq_hi, cut->users, cut->lm_users, cut->fast_users};
    }
    return STATUS_OK;
}

static enum status read_announced(const Ilora__V1__Decisions *message, struct arena *arena,
                                  struct epoch_decisions *decisions, struct error *err) {
    void *list;
    enum status status = read_list("decisions.announced", arena, message->n_announced,
                                   sizeof(struct epoch_version), &list, err);
    if (status != STATUS_OK) { return status; }

    decisions->announced = list;
    decisions->announced_count = (int)message->n_announced;
    for (size_t i = 0; i < message->n_announced; i++) {
        const Ilora__V1__VersionMark *mark = message->announced[i];
        struct epoch_version *version = &decisions->announced[i];
        version->version = mark->version;
        version->seq = mark->seq;
        version->rejected = mark->rejected != 0;
        status = read_fixed("decisions.announced.digest", mark->digest, false, version->digest,
                            sizeof version->digest, err);
        if (status != STATUS_OK) { return status; }
    }
    return STATUS_OK;
}

static enum status read_forgotten(const Ilora__V1__Decisions *message, struct arena *arena,
                                  struct epoch_decisions *decisions, struct error *err) {
    void *list;
    enum status status =
        read_list("decisions.forgotten", arena, message->n_forgotten, sizeof(uint64_t), &list, err);
    if (status != STATUS_OK) { return status; }

    decisions->forgotten = list;
    decisions->forgotten_count = (int)message->n_forgotten;
    for (size_t i = 0; i < message->n_forgotten; i++) {
        uint8_t bytes[FORGOTTEN_BYTES] = {0};
        status = read_fixed("decisions.forgotten", message->forgotten[i], false, bytes,
                            sizeof bytes, err);
        if (status != STATUS_OK) { return status; }
        decisions->forgotten[i] = get_u64le(bytes);
    }
    return STATUS_OK;
}

static enum status read_positions(const char *name, Ilora__V1__Position **positions, size_t count,
                                  struct arena *arena, struct position_record **ret_list,
                                  struct error *err) {
    void *list;
    enum status status = read_list(name, arena, count, sizeof(struct position_record), &list, err);
    if (status != STATUS_OK) { return status; }
    *ret_list = list;
    for (size_t i = 0; i < count; i++) {
        const Ilora__V1__Position *position = positions[i];
        (*ret_list)[i] = (struct position_record){span_of(position->topic), position->partition,
                                                  position->offset};
    }
    return STATUS_OK;
}

static enum status read_decisions(const Ilora__V1__Decisions *message, struct arena *arena,
                                  struct epoch_decisions *decisions, struct error *err) {
    if (message == NULL) { return error_set(err, STATUS_MALFORMED, "field 'decisions' is absent"); }
    decisions->batch_cut = message->batch_cut != 0;
    decisions->version_mark = message->version_mark != 0;
    decisions->rollback = message->rollback != 0;
    decisions->claim = message->claim != 0;
    decisions->in_force = message->in_force;
    decisions->rollback_version = message->rollback_version;
    decisions->lm_rate = message->lm_rate;
    decisions->eval_rate = message->eval_rate;
    decisions->eval_lm_rate = message->eval_lm_rate;
    decisions->fast_share = message->fast_share;

    enum status status = read_announced(message, arena, decisions, err);
    if (status == STATUS_OK) { status = read_forgotten(message, arena, decisions, err); }
    if (status != STATUS_OK) { return status; }
    decisions->crashed_count = (int)message->n_crashed;
    return read_positions("decisions.crashed", message->crashed, message->n_crashed, arena,
                          &decisions->crashed, err);
}

static enum status read_first(const Ilora__V1__EpochRecord *message, struct arena *arena,
                              struct epoch_record *record, struct error *err) {
    void *list;
    enum status status =
        read_list("settings", arena, message->n_settings, sizeof(struct epoch_setting), &list, err);
    if (status != STATUS_OK) { return status; }
    record->settings = list;
    record->setting_count = (int)message->n_settings;
    for (size_t i = 0; i < message->n_settings; i++) {
        record->settings[i].key = span_of(message->settings[i]->key);
        record->settings[i].value = span_of(message->settings[i]->value);
    }

    record->start_count = (int)message->n_start;
    status = read_positions("start", message->start, message->n_start, arena, &record->start, err);
    if (status != STATUS_OK) { return status; }

    record->partitions = message->partitions; /* in the arena already */
    record->partition_count = (int)message->n_partitions;
    return STATUS_OK;
}

static void read_scalars(const Ilora__V1__EpochRecord *message, struct epoch_record *record) {
    record->shard = message->shard;
    record->epoch = message->epoch;
    record->seq_lo = message->seq_lo;
    record->seq_hi = message->seq_hi;
    record->applied = message->applied;
    record->duplicate = message->duplicate;
    record->dead = message->dead;
    record->filtered = message->filtered;
    record->other = message->other;
    record->fold_version = message->fold_version;
    record->numeric_profile = span_of(message->numeric_profile);
    record->predictions = message->predictions;
    record->dead_letters = message->dead_letters;
    record->metrics_records = message->metrics_records;
}

static enum status read_digests(const Ilora__V1__EpochRecord *message, struct epoch_record *record,
                                struct error *err) {
    const struct {
        const char *name;
        ProtobufCBinaryData field;
        bool optional;
        uint8_t *bytes;
        size_t size;
    } fields[] = {
        {"owner", message->owner, false, record->owner, OWNER_BYTES},
        {"previous", message->previous, false, record->previous, SHA256_BYTES},
        {"input_digest", message->input_digest, false, record->input_digest, SHA256_BYTES},
        {"evaluation_digest", message->evaluation_digest, false, record->evaluation_digest,
         SHA256_BYTES},
        {"base_model_sha256", message->base_model_sha256, true, record->base_model_sha256,
         SHA256_BYTES},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        enum status status = read_fixed(fields[i].name, fields[i].field, fields[i].optional,
                                        fields[i].bytes, fields[i].size, err);
        if (status != STATUS_OK) { return status; }
    }
    return STATUS_OK;
}

enum status outbound_epoch_read(struct span bytes, struct arena *arena,
                                struct epoch_record *ret_record, struct error *err) {
    assert(arena != NULL);
    assert(ret_record != NULL);

    ProtobufCMessage *unpacked;
    enum status status =
        unpack_message(&ilora__v1__epoch_record__descriptor, bytes, arena, &unpacked, err);
    if (status != STATUS_OK) { return error_wrap(err, "ledger record"); }
    const Ilora__V1__EpochRecord *message = (const Ilora__V1__EpochRecord *)(const void *)unpacked;

    struct epoch_record record = {0};
    read_scalars(message, &record);
    status = read_digests(message, &record, err);
    if (status == STATUS_OK) { status = read_runs(message, arena, &record, err); }
    if (status == STATUS_OK) { status = read_groups(message, arena, &record, err); }
    if (status == STATUS_OK) {
        status = read_decisions(message->decisions, arena, &record.decisions, err);
    }
    if (status == STATUS_OK) { status = read_first(message, arena, &record, err); }
    if (status != STATUS_OK) {
        return error_wrap(err, "ledger record of epoch %" PRIu64, message->epoch);
    }
    *ret_record = record;
    return STATUS_OK;
}
