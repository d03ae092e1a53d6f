/* SPDX-License-Identifier: Apache-2.0
 *
 * outbound_json.c - predictions, manifests and metrics as JSON ([output] format = json).
 */
#include "proto/outbound_json.h"

#include <assert.h>
#include <string.h>

#include "base/json.h"

/* Sequence numbers, versions and counts stay far below 2^63. */
static void put_count(struct json_writer *w, const char *name, uint64_t count) {
    assert(count <= INT64_MAX);

    json_write_integer(w, name, (int64_t)count);
}

static void put_text(struct json_writer *w, const char *name, const char *text) {
    json_write_string(w, name, span_of(text != NULL ? text : ""));
}

/* An absent span is empty text. */
static void put_span(struct json_writer *w, const char *name, struct span text) {
    json_write_string(w, name, text.data != NULL ? text : span_of(""));
}

static void put_digest(struct json_writer *w, const char *name, const uint8_t *digest) {
    char text[2 * SHA256_BYTES + 1];
    hex_encode(digest, SHA256_BYTES, text);
    json_write_string(w, name, span_of(text));
}

static void put_position(struct json_writer *w, const char *name,
                         const struct position_record *position) {
    json_write_object(w, name);
    put_span(w, "topic", position->topic);
    json_write_integer(w, "partition", position->partition);
    json_write_integer(w, "offset", position->offset);
    json_write_object_end(w);
}

/* Closes the record; on failure out holds what it held before. */
static enum status finish(struct json_writer *w, struct buffer *out, size_t size_before) {
    enum status status = json_write_end(w);
    if (status != STATUS_OK) { out->size = size_before; }
    return status;
}

enum status outbound_json_prediction(const struct prediction_record *record, struct buffer *out) {
    assert(record->item_count >= 0);

    size_t size_before = out->size;
    struct json_writer w;
    json_write_begin(&w, out);
    json_write_object(&w, NULL);
    put_span(&w, "user", record->user);
    json_write_array(&w, "items");
    for (int i = 0; i < record->item_count; i++) {
        json_write_object(&w, NULL);
        put_span(&w, "item", record->items[i].item);
        json_write_real(&w, "score", (double)record->items[i].score);
        json_write_integer(&w, "rank", i + 1);
        put_text(&w, "source", record->items[i].source);
        json_write_object_end(&w);
    }
    json_write_array_end(&w);
    put_count(&w, "model_version", record->model_version);
    put_text(&w, "tier", record->tier);
    put_count(&w, "seq", record->seq);
    put_position(&w, "event", &record->event);
    json_write_integer(&w, "timestamp", record->timestamp_ms);
    json_write_integer(&w, "history_length", record->history_length);
    json_write_object_end(&w);
    return finish(&w, out, size_before);
}

static void put_figures(struct json_writer *w, const struct figure *figures, int count) {
    json_write_array(w, "figures");
    for (int i = 0; i < count; i++) {
        const struct figure *figure = &figures[i];
        json_write_object(w, NULL);
        put_text(w, "model", figure->model);
        put_text(w, "kind", figure->kind);
        put_text(w, "slice", figure->slice);
        put_count(w, "count", figure->count);
        json_write_real(w, "hit_1", figure->hit_1);
        json_write_real(w, "hit_5", figure->hit_5);
        json_write_real(w, "hit_10", figure->hit_10);
        json_write_real(w, "ndcg_10", figure->ndcg_10);
        json_write_real(w, "mrr", figure->mrr);
        json_write_real(w, "log_loss", figure->log_loss);
        json_write_object_end(w);
    }
    json_write_array_end(w);
}

static void put_files(struct json_writer *w, const struct snapshot_file *files, int count) {
    json_write_array(w, "files");
    for (int i = 0; i < count; i++) {
        json_write_object(w, NULL);
        put_text(w, "name", files[i].name);
        put_count(w, "size", files[i].size);
        put_digest(w, "sha256", files[i].sha256);
        json_write_integer(w, "chunk_count", files[i].chunk_count);
        json_write_object_end(w);
    }
    json_write_array_end(w);
}

enum status outbound_json_manifest(const struct manifest_record *record, struct buffer *out) {
    assert(record->covered_count >= 0);

    size_t size_before = out->size;
    struct json_writer w;
    json_write_begin(&w, out);
    json_write_object(&w, NULL);
    put_count(&w, "version", record->version);
    put_count(&w, "parent", record->parent);
    json_write_integer(&w, "shard", record->shard);
    put_count(&w, "seq_lo", record->seq_lo);
    put_count(&w, "seq_hi", record->seq_hi);
    json_write_array(&w, "covered");
    for (int i = 0; i < record->covered_count; i++) {
        put_position(&w, NULL, &record->covered[i]);
    }
    json_write_array_end(&w);
    put_count(&w, "rows_trained", record->rows_trained);
    put_count(&w, "rows_unsampled", record->rows_unsampled);
    put_count(&w, "rows_quarantined", record->rows_quarantined);
    put_count(&w, "rows_excluded", record->rows_excluded);
    put_files(&w, record->files, record->file_count);
    put_figures(&w, record->figures, record->figure_count);
    put_span(&w, "numeric_profile", record->numeric_profile);
    put_span(&w, "base_model", record->base_model);
    put_digest(&w, "base_model_sha256", record->base_model_sha256);
    json_write_bool(&w, "rejected", record->rejected);
    put_span(&w, "reason", record->reason);
    put_count(&w, "restored_from", record->restored_from);
    json_write_object_end(&w);
    return finish(&w, out, size_before);
}

enum status outbound_json_metrics(const struct metrics_record *record, struct buffer *out) {
    assert(record->figure_count >= 0);

    size_t size_before = out->size;
    struct json_writer w;
    json_write_begin(&w, out);
    json_write_object(&w, NULL);
    json_write_integer(&w, "shard", record->shard);
    put_count(&w, "seq", record->seq);
    put_count(&w, "model_version", record->model_version);
    put_count(&w, "applied", record->applied);
    put_count(&w, "duplicate", record->duplicate);
    put_count(&w, "dead", record->dead);
    put_count(&w, "filtered", record->filtered);
    put_figures(&w, record->figures, record->figure_count);
    json_write_object_end(&w);
    return finish(&w, out, size_before);
}
