/* SPDX-License-Identifier: Apache-2.0
 *
 * outbound.c - predictions, snapshot manifests, chunks and metrics as canonical protobuf.
 *
 * Each function writes the fields of one message of ilora.proto in the order of their numbers; the
 * number stands at the call. The ledger's record is in epoch_record.c, JSON in outbound_json.c.
 */
#include "proto/outbound.h"

#include <assert.h>

#include "proto/outbound_json.h"
#include "proto/wire.h"

static void position_fields(struct wire *w, uint32_t field,
                            const struct position_record *position) {
    size_t mark = wire_begin(w, field);
    wire_bytes(w, 1, position->topic);
    wire_int(w, 2, position->partition);
    wire_int(w, 3, position->offset);
    wire_end(w, mark);
}

enum status outbound_prediction(const struct prediction_record *record, enum output_format format,
                                struct buffer *out) {
    assert(record->item_count >= 0);

    if (format == OUTPUT_JSON) { return outbound_json_prediction(record, out); }

    struct wire w;
    wire_start(&w, out);
    wire_bytes(&w, 1, record->user);
    for (int i = 0; i < record->item_count; i++) {
        size_t mark = wire_begin(&w, 2);
        wire_bytes(&w, 1, record->items[i].item);
        wire_float(&w, 2, record->items[i].score);
        wire_uint(&w, 3, (uint64_t)i + 1);
        wire_text(&w, 4, record->items[i].source);
        wire_end(&w, mark);
    }
    wire_uint(&w, 3, record->model_version);
    wire_text(&w, 4, record->tier);
    wire_uint(&w, 5, record->seq);
    position_fields(&w, 6, &record->event);
    wire_int(&w, 7, record->timestamp_ms);
    wire_uint(&w, 8, record->history_length);
    return wire_finish(&w);
}

static void figure_fields(struct wire *w, uint32_t field, const struct figure *figure) {
    size_t mark = wire_begin(w, field);
    wire_text(w, 1, figure->model);
    wire_text(w, 2, figure->kind);
    wire_text(w, 3, figure->slice);
    wire_uint(w, 4, figure->count);
    wire_double(w, 5, figure->hit_1);
    wire_double(w, 6, figure->hit_5);
    wire_double(w, 7, figure->hit_10);
    wire_double(w, 8, figure->ndcg_10);
    wire_double(w, 9, figure->mrr);
    wire_double(w, 10, figure->log_loss);
    wire_end(w, mark);
}

static void file_fields(struct wire *w, uint32_t field, const struct snapshot_file *file) {
    size_t mark = wire_begin(w, field);
    wire_text(w, 1, file->name);
    wire_uint(w, 2, file->size);
    wire_bytes(w, 3, span_make(file->sha256, sizeof file->sha256));
    wire_uint(w, 4, file->chunk_count);
    wire_end(w, mark);
}

enum status outbound_manifest(const struct manifest_record *record, enum output_format format,
                              struct buffer *out) {
    assert(record->covered_count >= 0);
    assert(record->file_count >= 0 && record->figure_count >= 0);

    if (format == OUTPUT_JSON) { return outbound_json_manifest(record, out); }

    struct wire w;
    wire_start(&w, out);
    wire_uint(&w, 1, record->version);
    wire_uint(&w, 2, record->parent);
    wire_uint(&w, 3, record->shard);
    wire_uint(&w, 4, record->seq_lo);
    wire_uint(&w, 5, record->seq_hi);
    for (int i = 0; i < record->covered_count; i++) {
        position_fields(&w, 6, &record->covered[i]);
    }
    wire_uint(&w, 7, record->rows_trained);
    wire_uint(&w, 8, record->rows_unsampled);
    wire_uint(&w, 9, record->rows_quarantined);
    wire_uint(&w, 10, record->rows_excluded);
    for (int i = 0; i < record->file_count; i++) {
        file_fields(&w, 11, &record->files[i]);
    }
    for (int i = 0; i < record->figure_count; i++) {
        figure_fields(&w, 12, &record->figures[i]);
    }
    wire_bytes(&w, 13, record->numeric_profile);
    wire_bytes(&w, 14, record->base_model);
    wire_bytes(&w, 15, span_make(record->base_model_sha256, sizeof record->base_model_sha256));
    wire_bool(&w, 16, record->rejected);
    wire_bytes(&w, 17, record->reason);
    wire_uint(&w, 18, record->restored_from);
    return wire_finish(&w);
}

enum status outbound_chunk(uint64_t version, const char *file, uint32_t index, struct span data,
                           struct buffer *out) {
    assert(file != NULL && file[0] != '\0');

    if (data.size > SNAPSHOT_CHUNK_BYTES_MAX) { return STATUS_LIMIT; }

    struct wire w;
    wire_start(&w, out);
    wire_uint(&w, 1, version);
    wire_text(&w, 2, file);
    wire_uint(&w, 3, index);
    wire_bytes(&w, 4, data);
    return wire_finish(&w);
}

enum status outbound_metrics(const struct metrics_record *record, enum output_format format,
                             struct buffer *out) {
    assert(record->figure_count >= 0);

    if (format == OUTPUT_JSON) { return outbound_json_metrics(record, out); }

    struct wire w;
    wire_start(&w, out);
    wire_uint(&w, 1, record->shard);
    wire_uint(&w, 2, record->seq);
    wire_uint(&w, 3, record->model_version);
    wire_uint(&w, 4, record->applied);
    wire_uint(&w, 5, record->duplicate);
    wire_uint(&w, 6, record->dead);
    wire_uint(&w, 7, record->filtered);
    for (int i = 0; i < record->figure_count; i++) {
        figure_fields(&w, 8, &record->figures[i]);
    }
    return wire_finish(&w);
}
