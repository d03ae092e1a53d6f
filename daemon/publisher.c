/* SPDX-License-Identifier: Apache-2.0
 *
 * publisher.c - turns results into output records of the epoch in progress.
 *
 * Why it exists: names, headers and partitions of what users read are decided in one place.
 * Every record carries ilora-id = topic/partition/offset/kind of the input record behind it, so
 * that a consumer can de-duplicate even across broker faults. No output carries wall-clock time.
 * Failure: NO_MEMORY; the epoch is dropped by the caller.
 * Thread: core. */
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/memory.h"
#include "daemon/engine_parts.h"

#define CHUNK_BYTES 900000u
/* Records get the broker's time. Event time is in the value: as a record's timestamp it would be
 * what retention goes by, and predictions about an old event would be deleted within minutes. */
#define NO_TIMESTAMP (-1)

static enum output_format output_format(const struct engine *engine) {
    return engine->doors.settings->output_format == 0 ? OUTPUT_PROTOBUF : OUTPUT_JSON;
}

static enum status add_id_header(struct engine *engine, int topic, int32_t partition,
                                 int64_t offset, const char *kind, struct error *err) {
    char id[320];
    int size = snprintf(id, sizeof(id), "%s/%" PRId32 "/%" PRId64 "/%s",
                        engine_topic_name(engine, topic), partition, offset, kind);
    assert(size > 0 && (size_t)size < sizeof(id)); /* topic names have at most 249 bytes */
    return epoch_output_header(&engine->epoch, "ilora-id", span_make(id, (size_t)size), err);
}

/* The item ids of a list, borrowed from the stage: nothing is put before they are encoded. */
static enum status list_items(struct engine *engine, const struct rank_list *list,
                              struct predicted_item *items, struct error *err) {
    for (int i = 0; i < list->count; i++) {
        struct catalogue_item item;
        enum status status = catalogue_get(engine->doors.catalogue, list->items[i], &item, err);
        if (status != STATUS_OK) { return error_wrap(err, "item %" PRIu32, list->items[i]); }
        items[i] = (struct predicted_item){.item = item.id,
                                           .score = list->probability[i],
                                           .source = list_source_name(list->source[i])};
    }
    return STATUS_OK;
}

enum status publish_prediction(struct engine *engine, const struct group_user *user,
                               const struct rank_list *list, const char *tier,
                               uint32_t history_length, struct error *err) {
    struct predicted_item items[LIST_MAX];
    enum status status = list_items(engine, list, items, err);
    if (status != STATUS_OK) { return status; }
    struct prediction_record record = {
        .user = user->user,
        .items = items,
        .item_count = list->count,
        .model_version = engine->version->number,
        .tier = tier,
        .seq = user->seq,
        .event = {span_of(engine_topic_name(engine, user->topic)), user->partition, user->offset},
        .timestamp_ms = user->time_ms,
        .history_length = history_length,
    };
    buffer_reset(&engine->message);
    status = outbound_prediction(&record, output_format(engine), &engine->message);
    if (status != STATUS_OK) { return error_set(err, status, "encoding a prediction"); }
    status = epoch_output_add(&engine->epoch, STREAM_PREDICTIONS, -1, NO_TIMESTAMP, user->user,
                              buffer_span(&engine->message), err);
    if (status != STATUS_OK) { return status; }
    engine->epoch.predictions++;
    return add_id_header(engine, user->topic, user->partition, user->offset, "prediction", err);
}

enum status publish_dead_letter(struct engine *engine, const struct stream_record *record,
                                const char *reason, const char *message, struct error *err) {
    char partition[16], offset[24];
    int partition_size = snprintf(partition, sizeof(partition), "%" PRId32, record->partition);
    int offset_size = snprintf(offset, sizeof(offset), "%" PRId64, record->offset);
    /* Which partition: the source's number; the stream wraps it to the count there is. */
    enum status status = epoch_output_add(&engine->epoch, STREAM_DLQ, record->partition,
                                          NO_TIMESTAMP, record->key, record->value, err);
    if (status != STATUS_OK) { return status; }
    const char *topic = engine_topic_name(engine, (int)record->topic);
    const struct stream_header headers[] = {
        {"ilora.error.reason", span_of(reason)},
        {"ilora.error.topic", span_of(topic)},
        {"ilora.error.partition", span_make(partition, (size_t)partition_size)},
        {"ilora.error.offset", span_make(offset, (size_t)offset_size)},
        {"ilora.error.message", span_of(message)},
    };
    for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
        status = epoch_output_header(&engine->epoch, headers[i].name, headers[i].value, err);
        if (status != STATUS_OK) { return status; }
    }
    engine->epoch.dead_letters++;
    return add_id_header(engine, (int)record->topic, record->partition, record->offset,
                         "dead-letter", err);
}

static void copy_figure(struct figure *dst, const struct eval_figure *src) {
    memset(dst, 0, sizeof(*dst));
    (void)snprintf(dst->model, sizeof(dst->model), "%s", src->model); /* same sizes */
    (void)snprintf(dst->kind, sizeof(dst->kind), "%s", src->kind);
    (void)snprintf(dst->slice, sizeof(dst->slice), "%s", src->slice);
    dst->count = src->count;
    dst->hit_1 = src->hit_1;
    dst->hit_5 = src->hit_5;
    dst->hit_10 = src->hit_10;
    dst->ndcg_10 = src->ndcg_10;
    dst->mrr = src->mrr;
    dst->log_loss = src->log_loss;
}

static int version_figures(const struct version *version, struct figure *figures, int max) {
    int count = version->figure_count < max ? version->figure_count : max;
    for (int i = 0; i < count; i++) {
        copy_figure(&figures[i], &version->figures[i]);
    }
    return count;
}

enum status publish_metrics(struct engine *engine, struct error *err) {
    struct figure figures[FIGURES_MAX + 1];
    const struct live_sums *live = &engine->state.live;
    memset(&figures[0], 0, sizeof(figures[0]));
    memcpy(figures[0].model, "published", sizeof("published"));
    memcpy(figures[0].kind, "live", sizeof("live"));
    memcpy(figures[0].slice, "all", sizeof("all"));
    figures[0].count = live->count;
    figures[0].hit_1 = live->hit_1;
    figures[0].hit_5 = live->hit_5;
    figures[0].hit_10 = live->hit_10;
    figures[0].ndcg_10 = live->ndcg_10;
    figures[0].mrr = live->mrr;
    int count = 1;
    if (engine->version != NULL) {
        count += version_figures(engine->version, figures + 1, FIGURES_MAX);
    }
    const struct core_state *state = &engine->state;
    struct metrics_record record = {
        .shard = (uint32_t)engine->doors.settings->stream_shard,
        .seq = state->seq,
        .model_version = state->in_force,
        .applied = state->counts.applied,
        .duplicate = state->counts.duplicate,
        .dead = state->counts.dead,
        .filtered = state->counts.filtered,
        .figures = figures,
        .figure_count = count,
    };
    buffer_reset(&engine->message);
    enum status status = outbound_metrics(&record, output_format(engine), &engine->message);
    if (status != STATUS_OK) { return error_set(err, status, "encoding a metrics record"); }
    char key[16];
    int key_size = snprintf(key, sizeof(key), "%u", record.shard);
    engine->epoch.metrics_records++;
    return epoch_output_add(&engine->epoch, STREAM_METRICS, 0, -1, span_make(key, (size_t)key_size),
                            buffer_span(&engine->message), err);
}

enum status engine_publish_control(struct engine *engine, struct span json, struct error *err) {
    bool control = engine->state.partitions[STREAM_CONTROL] > 0;
    return epoch_output_add(&engine->epoch, control ? STREAM_CONTROL : STREAM_EVENTS, 0, -1,
                            span_make(NULL, 0), json, err);
}

/* ---- versions ---- */

struct file_list {
    const char *path;
    struct snapshot_file files[16];
    int count;
    bool chunks;
};

static enum status list_file(void *context, const char *name, bool is_dir, struct error *err) {
    struct file_list *list = context;
    if (is_dir) { return STATUS_OK; }
    if (list->count == (int)(sizeof(list->files) / sizeof(list->files[0])) ||
        strlen(name) >= sizeof(list->files[0].name)) {
        return error_set(err, STATUS_LIMIT, "file '%s' of a version", name);
    }
    struct snapshot_file *file = &list->files[list->count];
    memset(file, 0, sizeof(*file));
    (void)snprintf(file->name, sizeof(file->name), "%s", name); /* checked above */
    char path[FILE_PATH_BYTES_MAX];
    enum status status = path_join(path, list->path, name, err);
    if (status != STATUS_OK) { return status; }
    status = sha256_of_file(path, file->sha256, err);
    if (status != STATUS_OK) { return status; }
    struct span bytes;
    status = file_map(path, &bytes, err);
    if (status != STATUS_OK) { return status; }
    file->size = bytes.size;
    file->chunk_count = list->chunks ? (uint32_t)((bytes.size + CHUNK_BYTES - 1) / CHUNK_BYTES) : 0;
    file_unmap(bytes);
    list->count++;
    return STATUS_OK;
}

static enum status publish_chunks(struct engine *engine, uint64_t version, const char *key,
                                  const char *folder, const struct snapshot_file *file,
                                  struct error *err) {
    char path[FILE_PATH_BYTES_MAX];
    enum status status = path_join(path, folder, file->name, err);
    if (status != STATUS_OK) { return status; }
    struct span bytes;
    status = file_map(path, &bytes, err);
    if (status != STATUS_OK) { return status; }
    for (uint32_t i = 0; i < file->chunk_count && status == STATUS_OK; i++) {
        size_t at = (size_t)i * CHUNK_BYTES;
        size_t size = bytes.size - at < CHUNK_BYTES ? bytes.size - at : CHUNK_BYTES;
        buffer_reset(&engine->message);
        status = outbound_chunk(version, file->name, i, span_make(bytes.data + at, size),
                                &engine->message);
        if (status != STATUS_OK) {
            (void)error_set(err, status, "encoding chunk %u of '%s'", i, file->name);
            break;
        }
        status = epoch_output_add(&engine->epoch, STREAM_SNAPSHOTS, -1, -1, span_of(key),
                                  buffer_span(&engine->message), err);
        if (status == STATUS_OK) {
            status = epoch_output_header(&engine->epoch, "ilora-kind", span_of("chunk"), err);
        }
    }
    file_unmap(bytes);
    return status;
}

static enum status publish_manifest(struct engine *engine,
                                    const struct engine_announcement *announcement,
                                    const struct file_list *list, const char *key,
                                    struct error *err) {
    struct figure figures[FIGURES_MAX];
    const struct version *version = announcement->version;
    struct manifest_record record = {
        .version = announcement->number,
        .shard = (uint32_t)engine->doors.settings->stream_shard,
        .files = list->files,
        .file_count = list->count,
        .figures = figures,
        .numeric_profile = span_of(announcement->numeric_profile),
        .base_model = span_of(announcement->base_model),
        .rejected = version == NULL,
        .reason = span_of(announcement->reason != NULL ? announcement->reason : ""),
    };
    memcpy(record.base_model_sha256, announcement->base_model_sha256, SHA256_BYTES);
    if (version != NULL) {
        record.parent = version->parent;
        record.seq_lo = version->seq_lo;
        record.seq_hi = version->seq_hi;
        record.rows_trained = version->rows_trained;
        record.rows_unsampled = version->rows_unsampled;
        record.rows_quarantined = version->rows_quarantined;
        record.rows_excluded = version->rows_excluded;
        record.restored_from = version->restored_from;
        record.figure_count = version_figures(version, figures, FIGURES_MAX);
    }
    buffer_reset(&engine->message);
    enum status status = outbound_manifest(&record, output_format(engine), &engine->message);
    if (status != STATUS_OK) { return error_set(err, status, "encoding a manifest"); }
    status = epoch_output_add(&engine->epoch, STREAM_SNAPSHOTS, -1, -1, span_of(key),
                              buffer_span(&engine->message), err);
    if (status != STATUS_OK) { return status; }
    return epoch_output_header(&engine->epoch, "ilora-kind", span_of("manifest"), err);
}

static void note_announced(struct engine *engine, const struct engine_announcement *announcement) {
    struct core_state *state = &engine->state;
    for (int i = 0; i < state->pending_count; i++) {
        if (state->pending[i].number != announcement->number) { continue; }
        state->pending[i].announced = true;
        state->pending[i].rejected = announcement->version == NULL;
    }
    struct epoch_version *entry = &engine->epoch.announced[engine->epoch.announced_count];
    memset(entry, 0, sizeof(*entry));
    entry->version = announcement->number;
    entry->rejected = announcement->version == NULL;
    if (announcement->version != NULL) {
        entry->seq = announcement->version->seq_hi;
        memcpy(entry->digest, announcement->version->digest, SHA256_BYTES);
    }
    engine->epoch.announced_count++;
}

enum status engine_announce(struct engine *engine, const struct engine_announcement *announcement,
                            struct error *err) {
    if (engine->epoch.announced_count == EPOCH_ANNOUNCED_MAX) {
        return error_set(err, STATUS_AGAIN, "more than %d versions in one epoch",
                         EPOCH_ANNOUNCED_MAX);
    }
    char key[24];
    (void)snprintf(key, sizeof(key), "%" PRIu64, announcement->number); /* 20 digits at most */
    struct file_list list = {.path = announcement->path,
                             .chunks = engine->doors.settings->publish_weights};
    enum status status = STATUS_OK;
    if (announcement->version != NULL) {
        status = dir_list(announcement->path, list_file, &list, err);
        if (status != STATUS_OK) { return status; }
    }
    status = publish_manifest(engine, announcement, &list, key, err);
    for (int i = 0; i < list.count && status == STATUS_OK; i++) {
        status = publish_chunks(engine, announcement->number, key, announcement->path,
                                &list.files[i], err);
    }
    if (status != STATUS_OK) {
        return error_wrap(err, "announcing version %" PRIu64, announcement->number);
    }
    note_announced(engine, announcement);
    return STATUS_OK;
}
