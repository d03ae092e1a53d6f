/* SPDX-License-Identifier: Apache-2.0
 *
 * language_model_decode.c - prompts once, then one row a live sequence and step.
 *
 * Each sequence owns rows of the cache one after another, room for its prompt and all it may write:
 *
 *   rows of a layer   │ prompt 0 │ written 0 …  │ prompt 1 │ written 1 …  │ free
 *                      ^ begin     ^ begin+length: where the next token goes
 *
 * so what a row sees is one range, and no row ever moves. The last token that is written is never
 * fed. A sequence that has ended leaves the list of live ones; its rows stay unused until the
 * pack is done.
 * Failure: the caller's data is checked before a pack runs; the rest is kept by the backend and
 * returned when logits are read. Thread: that of the backend. */
#include "model/language_model_decode.h"

#include <limits.h>
#include <string.h>

#include "base/memory.h"
#include "model/language_model_state.h"

/* One sequence of the pack that is being decoded. */
struct live {
    int sequence; /* in the pack: its gate and its continuation */
    int begin;    /* its first row of the cache */
    int length;   /* rows written */
};

struct decoder {
    struct language_model *lm; /* borrows */
    int tokens_max;            /* ids a continuation */
    const int32_t *stop_ids;   /* borrows */
    int stop_count;
    struct llama_cache cache;
    struct tensor rows;       /* (N,1) i32: memory of cache.row */
    void *memory;             /* owns: keys, values, rows */
    int32_t *rows_host;       /* owns: (N) */
    struct row_range *ranges; /* owns: (sequences) */
    struct live *live;        /* owns: (sequences) */
    int live_count;
    float *logits;   /* owns: (chunk,V) */
    int chunk;       /* rows of logits at a time */
    int cache_begin; /* free rows of the cache start here */
};

/* Rows of the cache that are enough for packs of at most `rows` rows and `sequences` prompts. */
static int64_t cache_rows(int rows, int sequences, int tokens_max) {
    return (int64_t)rows + (int64_t)sequences * (tokens_max - 1);
}

size_t language_model_decode_bytes(const struct language_model *lm, int tokens_max) {
    const struct model_description *d = &lm->base->description;
    assert(tokens_max >= 1);

    size_t row = 2 * (size_t)d->L * (size_t)(d->G * d->D) * sizeof(float);
    return row *
           (size_t)cache_rows(lm->settings.tokens_max, lm->settings.sequences_max, tokens_max);
}

static void cache_layout(struct decoder *d, struct slab *slab, int rows) {
    const struct model_description *base = &d->lm->base->description;
    int M = d->cache.M, width = base->G * base->D;
    d->cache.keys = slab_tensor(slab, DTYPE_F32, base->L * M, width);
    d->cache.values = slab_tensor(slab, DTYPE_F32, base->L * M, width);
    d->rows = slab_tensor(slab, DTYPE_I32, rows, 1);
}

/* Host and device memory for packs of at most `rows` rows and `sequences` prompts. */
static enum status decoder_take(struct decoder *d, int rows, int sequences, struct error *err) {
    struct backend *be = d->lm->be;
    const struct model_description *base = &d->lm->base->description;
    int64_t M = cache_rows(rows, sequences, d->tokens_max);
    if (M > INT_MAX / base->L) {
        return error_set(err, STATUS_LIMIT,
                         "key/value cache for %d tokens after each of %d prompts: too many rows",
                         d->tokens_max, sequences);
    }
    d->cache.M = (int)M;
    d->chunk = title_head_chunk(&d->lm->title_head);
    if (d->chunk > sequences) { d->chunk = sequences; }
    d->rows_host = MEMORY_TAKE_ARRAY(int32_t, (size_t)rows);
    d->ranges = MEMORY_TAKE_ARRAY(struct row_range, (size_t)sequences);
    d->live = MEMORY_TAKE_ARRAY(struct live, (size_t)sequences);
    d->logits = MEMORY_TAKE_ARRAY(float, (size_t)d->chunk *(size_t)base->V);
    if (d->rows_host == NULL || d->ranges == NULL || d->live == NULL || d->logits == NULL) {
        return error_set(err, STATUS_NO_MEMORY, "decoding %d prompts", sequences);
    }

    struct slab slab = {0};
    cache_layout(d, &slab, rows);
    enum status status = be->ops->memory_take(be, slab.used, &d->memory, err);
    if (status != STATUS_OK) {
        return error_wrap(err, "key/value cache of %d rows, %zu bytes", d->cache.M, slab.used);
    }
    slab = (struct slab){.base = d->memory};
    cache_layout(d, &slab, rows);
    return STATUS_OK;
}

static void decoder_give(struct decoder *d) {
    if (d->memory != NULL) { d->lm->be->ops->memory_give(d->lm->be, d->memory); }
    memory_free(d->rows_host);
    memory_free(d->ranges);
    memory_free(d->live);
    memory_free(d->logits);
}

/* The first `count` numbers of rows_host to the device, for the rows of the pack. */
static enum status upload_rows(struct decoder *d, int count, struct error *err) {
    struct backend *be = d->lm->be;
    d->cache.row = first_rows(d->rows, count);
    return be->ops->upload(be, d->cache.row, d->rows_host, err);
}

/* The smallest id of the largest logit, or -1 when all are NaN. */
static int32_t largest_logit(const float *logits, int V) {
    int32_t best = -1;
    for (int32_t v = 0; v < V; v++) {
        if (logits[v] == logits[v] && (best < 0 || logits[v] > logits[best])) { best = v; }
    }
    return best;
}

static bool is_stop(const struct decoder *d, int32_t id) {
    for (int i = 0; i < d->stop_count; i++) {
        if (d->stop_ids[i] == id) { return true; }
    }
    return false;
}

/* Row i of the final states is that of live sequence i: its next id is written, and those that
 * ended leave the list. */
static enum status write_ids(struct decoder *d, struct lm_continuation *continuations,
                             struct error *err) {
    struct language_model *lm = d->lm;
    int V = lm->base->description.V, kept = 0;
    for (int first = 0; first < d->live_count; first += d->chunk) {
        int count = d->live_count - first < d->chunk ? d->live_count - first : d->chunk;
        struct tensor logits =
            title_head_logits(&lm->title_head, tensor_rows(lm->llama.final, first, count));
        enum status status = lm->be->ops->download(lm->be, d->logits, logits, err);
        if (status != STATUS_OK) { return error_wrap(err, "decoding"); }

        for (int i = 0; i < count; i++) {
            struct live live = d->live[first + i];
            struct lm_continuation *c = &continuations[live.sequence];
            int32_t id = largest_logit(d->logits + (size_t)i * (size_t)V, V);
            if (id < 0) {
                return error_set(err, STATUS_MALFORMED,
                                 "decoding: every logit of token %d is NaN: expected numbers",
                                 live.length);
            }
            c->stopped = is_stop(d, id);
            if (c->stopped) { continue; }
            c->ids[c->count++] = id;
            if (c->count < d->tokens_max) { d->live[kept++] = live; }
        }
    }
    d->live_count = kept;
    return STATUS_OK;
}

/* Sequence b of the pack gets its rows of the cache. */
static void place(struct decoder *d, const struct prompt *prompt, int b, int pack_row) {
    for (int t = 0; t < prompt->count; t++) {
        d->rows_host[pack_row + t] = d->cache_begin + t;
    }
    d->live[b] = (struct live){b, d->cache_begin, prompt->count};
    d->cache_begin += prompt->count + d->tokens_max - 1;
    assert(d->cache_begin <= d->cache.M);
}

/* All prompts of the pack through the layers; their keys and values are in the cache then, their
 * last rows in the final states. */
static enum status run_prompts(struct decoder *d, struct ilora_params *params, bool frozen,
                               const struct lm_sample *samples, struct llama_pass *ret_pass,
                               struct error *err) {
    struct language_model *lm = d->lm;
    int row = 0;
    d->cache_begin = 0;
    d->live_count = lm->pack.samples;
    for (int b = 0; b < d->live_count; b++) {
        place(d, samples[b].prompt, b, row);
        row += samples[b].prompt->count;
    }
    enum status status = upload_rows(d, row, err);
    if (status != STATUS_OK) { return status; }
    status = pack_prepare(lm, params, params != NULL && !frozen, samples, false, ret_pass, err);
    if (status != STATUS_OK) { return status; }
    ret_pass->cache = &d->cache;
    d->cache.ranges = NULL;
    llama_forward(&lm->llama, ret_pass);
    return STATUS_OK;
}

/* The id that each live sequence wrote last goes through the layers. */
static enum status run_step(struct decoder *d, const struct lm_continuation *continuations,
                            struct llama_pass *pass, struct error *err) {
    struct pack *pack = &d->lm->pack;
    pack_reset(pack);
    for (int i = 0; i < d->live_count; i++) {
        struct live *live = &d->live[i];
        const struct lm_continuation *c = &continuations[live->sequence];
        bool added = pack_add_step(pack, c->ids[c->count - 1], live->length, live->sequence);
        assert(added); /* as many sequences took at least as many rows before */
        (void)added;
        d->rows_host[i] = live->begin + live->length;
        live->length++;
        d->ranges[i] = (struct row_range){live->begin, live->begin + live->length};
    }
    enum status status = upload_rows(d, d->live_count, err);
    if (status != STATUS_OK) { return status; }
    d->cache.ranges = d->ranges;
    return pack_step(d->lm, pass, err);
}

/* Decodes what is in the pack. */
static enum status decode_pack(struct decoder *d, struct ilora_params *params, bool frozen,
                               const struct lm_sample *samples,
                               struct lm_continuation *continuations, struct error *err) {
    struct llama_pass pass;
    enum status status = run_prompts(d, params, frozen, samples, &pass, err);
    if (status != STATUS_OK) { return status; }
    status = write_ids(d, continuations, err);
    for (int step = 1; step < d->tokens_max && d->live_count > 0 && status == STATUS_OK; step++) {
        status = run_step(d, continuations, &pass, err);
        if (status == STATUS_OK) { status = write_ids(d, continuations, err); }
    }
    return status;
}

/* Every prompt with what may be written has positions in the base model; adds up their rows. */
static enum status check_prompts(const struct language_model *lm, const struct lm_sample *samples,
                                 int count, int tokens_max, int64_t *ret_rows, struct error *err) {
    int positions = lm->base->rope.rows;
    int64_t rows = 0;
    for (int i = 0; i < count; i++) {
        int prompt = samples[i].prompt->count;
        if (tokens_max - 1 > positions - prompt) {
            return error_set(err, STATUS_LIMIT,
                             "prompt of %d tokens and %d to write: the base model has %d positions",
                             prompt, tokens_max, positions);
        }
        rows += prompt;
    }
    *ret_rows = rows;
    return STATUS_OK;
}

enum status language_model_decode(struct language_model *lm, struct ilora_params *params,
                                  bool frozen, const struct lm_sample *samples, int count,
                                  int tokens_max, const int32_t *stop_ids, int stop_count,
                                  struct lm_continuation *ret_continuations, struct error *err) {
    assert(count >= 0 && tokens_max >= 1 && stop_count >= 0);
    assert(params != NULL || !frozen);

    struct decoder d = {
        .lm = lm, .tokens_max = tokens_max, .stop_ids = stop_ids, .stop_count = stop_count};
    enum status status = base_model_prepare_head(lm->base, lm->base->head_backward, err);
    if (status != STATUS_OK || count == 0) { return status; }
    int64_t rows = 0;
    status = check_prompts(lm, samples, count, tokens_max, &rows, err);
    if (status != STATUS_OK) { return status; }
    for (int i = 0; i < count; i++) {
        ret_continuations[i].count = 0;
        ret_continuations[i].stopped = false;
    }
    int sequences = count < lm->settings.sequences_max ? count : lm->settings.sequences_max;
    int rows_max = rows < lm->settings.tokens_max ? (int)rows : lm->settings.tokens_max;
    status = decoder_take(&d, rows_max, sequences, err);

    int B = 0;
    for (int first = 0; first < count && status == STATUS_OK; first += B) {
        status = pack_fill(lm, samples + first, count - first, false, &B, err);
        if (status != STATUS_OK) { break; }
        status = decode_pack(&d, params, frozen, samples + first, ret_continuations + first, err);
    }
    decoder_give(&d);
    return status;
}
