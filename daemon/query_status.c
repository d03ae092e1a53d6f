/* SPDX-License-Identifier: Apache-2.0
 *
 * query_status.c - the picture of the daemon as JSON: what iloractl status and the page draw from.
 *
 * Figures leave the daemon as sums (they merge); here they are means, because a person reads them.
 * Thread: doors. */
#include <math.h>

#include "daemon/query_parts.h"

/* 1.96: the two-sided 95 % point of the normal distribution. */
#define NORMAL_95 1.959964

enum status query_written(struct json_writer *w, struct error *err) {
    enum status status = json_write_end(w);
    if (status == STATUS_OK) { return STATUS_OK; }
    return error_set(err, status, "answer of more than %u bytes", QUERY_ANSWER_BYTES_MAX);
}

static void write_u64(struct json_writer *w, const char *name, uint64_t value) {
    json_write_integer(w, name, value > INT64_MAX ? INT64_MAX : (int64_t)value);
}

static double mean(double sum, uint64_t count) {
    return count == 0 ? (double)NAN : sum / (double)count; /* NaN is written as null */
}

static void write_counts(struct json_writer *w, const struct shared_picture *p) {
    json_write_string(w, "state", span_of(p->state));
    json_write_bool(w, "ready", p->ready);
    write_u64(w, "epoch", p->epoch);
    write_u64(w, "seq", p->seq);
    write_u64(w, "applied", p->applied);
    write_u64(w, "duplicate", p->duplicate);
    write_u64(w, "dead", p->dead);
    write_u64(w, "filtered", p->filtered);
    write_u64(w, "other", p->other);
    write_u64(w, "predictions", p->predictions);
    write_u64(w, "version_in_force", p->version_in_force);
    write_u64(w, "version_newest", p->version_newest);
    write_u64(w, "learner_seq", p->learner_seq);
    json_write_integer(w, "lag", p->lag);
    json_write_real(w, "events_per_second", p->events_per_second);
    json_write_integer(w, "items", p->items);
    write_u64(w, "store_used_bytes", p->store_used_bytes);
    write_u64(w, "disk_free_bytes", p->disk_free_bytes);
}

static void write_learning(struct json_writer *w, const struct shared_picture *p) {
    json_write_object(w, "learning");
    json_write_real(w, "lm_rate", p->lm_rate);
    json_write_real(w, "fast_share", p->fast_share);
    json_write_real(w, "eval_lm_rate", p->eval_lm_rate);
    write_u64(w, "lm_rows", p->lm_rows);
    write_u64(w, "lm_tokens", p->lm_tokens);
    json_write_real(w, "lm_loss", p->lm_loss);
    json_write_real(w, "sasrec_loss", p->sasrec_loss);
    json_write_array(w, "expert_weight");
    for (int i = 0; i < p->experts && i < 16; i++) {
        json_write_real(w, NULL, p->expert_weight[i]);
    }
    json_write_array_end(w);
    json_write_object_end(w);
}

static void write_figure(struct json_writer *w, const struct eval_figure *f) {
    json_write_object(w, NULL);
    json_write_string(w, "model", span_of(f->model));
    json_write_string(w, "kind", span_of(f->kind));
    json_write_string(w, "slice", span_of(f->slice));
    write_u64(w, "count", f->count);
    json_write_real(w, "hit_1", mean(f->hit_1, f->count));
    json_write_real(w, "hit_5", mean(f->hit_5, f->count));
    json_write_real(w, "hit_10", mean(f->hit_10, f->count));
    json_write_real(w, "ndcg_10", mean(f->ndcg_10, f->count));
    json_write_real(w, "mrr", mean(f->mrr, f->count));
    json_write_real(w, "log_loss", mean(f->log_loss, f->count));
    json_write_object_end(w);
}

/* Mean of a paired difference with its 95 % interval. */
static void write_difference(struct json_writer *w, const char *name, double sum, double square,
                             uint64_t count) {
    double middle = mean(sum, count);
    double half = (double)NAN;
    if (count > 1) {
        double n = (double)count;
        double variance = (square - sum * sum / n) / (n - 1.0);
        half = NORMAL_95 * sqrt(fmax(variance, 0.0) / n);
    }
    json_write_object(w, name);
    json_write_real(w, "mean", middle);
    json_write_real(w, "low", middle - half);
    json_write_real(w, "high", middle + half);
    json_write_object_end(w);
}

static void write_evaluation(struct json_writer *w, const struct shared_picture *p) {
    json_write_object(w, "live");
    write_u64(w, "count", p->live_count);
    json_write_real(w, "hit_1", mean(p->live_hit_1, p->live_count));
    json_write_real(w, "hit_5", mean(p->live_hit_5, p->live_count));
    json_write_real(w, "hit_10", mean(p->live_hit_10, p->live_count));
    json_write_real(w, "ndcg_10", mean(p->live_ndcg_10, p->live_count));
    json_write_real(w, "mrr", mean(p->live_mrr, p->live_count));
    json_write_object_end(w);
    json_write_array(w, "figures");
    for (int i = 0; i < p->figure_count; i++) {
        write_figure(w, &p->figures[i]);
    }
    json_write_array_end(w);
    json_write_array(w, "pairs");
    for (int i = 0; i < p->pair_count; i++) {
        const struct eval_pair *pair = &p->pairs[i];
        json_write_object(w, NULL);
        json_write_string(w, "a", span_of(pair->a));
        json_write_string(w, "b", span_of(pair->b));
        write_u64(w, "count", pair->count);
        write_difference(w, "hit_1", pair->hit_1_sum, pair->hit_1_square, pair->count);
        write_difference(w, "log_loss", pair->log_loss_sum, pair->log_loss_square, pair->count);
        json_write_object_end(w);
    }
    json_write_array_end(w);
}

enum status query_status(struct query *query, struct buffer *out, struct error *err) {
    struct shared_picture picture;
    struct json_writer w;
    shared_picture_copy(query->shared, &picture);
    size_t before = out->size;
    json_write_begin(&w, out);
    json_write_object(&w, NULL);
    write_counts(&w, &picture);
    write_learning(&w, &picture);
    write_evaluation(&w, &picture);
    json_write_object_end(&w);
    enum status status = query_written(&w, err);
    if (status != STATUS_OK) { out->size = before; }
    return status;
}
