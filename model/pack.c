/* SPDX-License-Identifier: Apache-2.0
 *
 * pack.c - fills the index arrays of a pack, sample by sample.
 *
 * Why no padding: prompts differ in length, and a padded row costs as much as a real one.
 * Failure: pack_add says false when the sample does not fit and has then changed nothing; the
 * caller runs the pack and starts the next one. Thread: that of the language model. */
#include "model/pack.h"

#include "base/memory.h"

enum status pack_init(struct pack *pack, int rows_max, int samples_max, struct error *err) {
    assert(rows_max > 0 && samples_max > 0);

    *pack = (struct pack){.rows_max = rows_max, .samples_max = samples_max, .titles_max = rows_max};
    for (int i = 0; i < PACK_INDEX_COUNT; i++) {
        pack->capacity[i] = rows_max;
    }
    pack->capacity[PACK_LAST] = samples_max;
    pack->capacity[PACK_TARGET] = samples_max;
    /* A title of n tokens takes n-1 rows. */
    pack->capacity[PACK_TITLE_ROW] = rows_max + pack->titles_max;
    pack->capacity[PACK_TITLE_TOKEN] = rows_max + pack->titles_max;
    for (int i = 0; i < PACK_INDEX_COUNT; i++) {
        pack->offset[i] = pack->block_count;
        pack->block_count += (size_t)pack->capacity[i];
    }

    pack->host = MEMORY_TAKE_ARRAY(int32_t, pack->block_count);
    pack->segments = MEMORY_TAKE_ARRAY(struct segment, (size_t)rows_max);
    pack->titles = MEMORY_TAKE_ARRAY(struct pack_title, (size_t)pack->titles_max);
    if (pack->host == NULL || pack->segments == NULL || pack->titles == NULL) {
        pack_free(pack);
        return error_set(err, STATUS_NO_MEMORY, "pack of %d rows", rows_max);
    }
    return STATUS_OK;
}

void pack_free(struct pack *pack) {
    memory_free(pack->host);
    memory_free(pack->segments);
    memory_free(pack->titles);
    *pack = (struct pack){0};
}

void pack_layout(struct pack *pack, struct slab *slab) {
    pack->device = slab_tensor(slab, DTYPE_I32, 1, (int)pack->block_count);
}

void pack_reset(struct pack *pack) {
    for (int i = 0; i < PACK_INDEX_COUNT; i++) {
        pack->count[i] = 0;
    }
    pack->segment_count = 0;
    pack->title_count = 0;
    pack->samples = 0;
}

/* Appends to one index array; room was checked. */
static void put(struct pack *pack, enum pack_index index, int value) {
    assert(pack->count[index] < pack->capacity[index]);
    pack->host[pack->offset[index] + (size_t)pack->count[index]++] = value;
}

static void put_row(struct pack *pack, int token, int position, bool need) {
    int row = pack->count[PACK_TOKEN];
    put(pack, PACK_TOKEN, token);
    put(pack, PACK_POSITION, position);
    put(pack, PACK_SEQUENCE, pack->samples);
    if (need) {
        put(pack, PACK_NEED, row);
        put(pack, PACK_NEED_SEQUENCE, pack->samples);
    }
}

int pack_rows_of(const struct lm_sample *sample, const struct pack_options *options) {
    int rows = sample->prompt->count;
    for (int i = 0; options->titles && i < sample->candidate_count; i++) {
        rows += sample->candidates[i].count - 1;
    }
    return rows;
}

/* The prompt's rows as a plain segment; its last row is always needed. */
static void put_prompt(struct pack *pack, const struct prompt *prompt,
                       const struct pack_options *options) {
    int first = pack_rows(pack);
    for (int t = 0; t < prompt->count; t++) {
        put_row(pack, prompt->tokens[t], t, options->every_row || t == prompt->count - 1);
    }
    put(pack, PACK_LAST, pack->count[PACK_NEED] - 1);
    pack->segments[pack->segment_count++] =
        (struct segment){.begin = first, .end = first + prompt->count};
    for (int i = 0; i < prompt->item_count; i++) {
        bool known = options->items > 0 && prompt->items[i] < (uint32_t)options->items;
        put(pack, PACK_ITEM_ROW, first + prompt->item_rows[i]);
        put(pack, PACK_ITEM, known ? (int)prompt->items[i] : -1);
    }
}

/* One title after the prompt whose rows are [first, first+prompt_rows). */
static void put_title(struct pack *pack, const struct title_tokens *title, int first,
                      int prompt_rows, int last_need) {
    struct pack_title *t = &pack->titles[pack->title_count++];
    *t = (struct pack_title){pack->samples, pack->count[PACK_TITLE_ROW], title->count};
    int begin = pack_rows(pack);
    for (int i = 0; i < title->count; i++) {
        put(pack, PACK_TITLE_ROW, i == 0 ? last_need : pack->count[PACK_NEED] - 1);
        put(pack, PACK_TITLE_TOKEN, title->ids[i]);
        if (i + 1 < title->count) { put_row(pack, title->ids[i], prompt_rows + i, true); }
    }
    if (pack_rows(pack) > begin) {
        pack->segments[pack->segment_count++] = (struct segment){.begin = begin,
                                                                 .end = pack_rows(pack),
                                                                 .prefix_begin = first,
                                                                 .prefix_end = first + prompt_rows};
    }
}

bool pack_add(struct pack *pack, const struct lm_sample *sample,
              const struct pack_options *options) {
    const struct prompt *prompt = sample->prompt;
    int titles = options->titles ? sample->candidate_count : 0;
    assert(prompt->count > 0);
    if (pack->samples == pack->samples_max || pack->title_count + titles > pack->titles_max ||
        pack_rows(pack) + pack_rows_of(sample, options) > pack->rows_max) {
        return false;
    }

    int first = pack_rows(pack);
    put_prompt(pack, prompt, options);
    int last_need = pack->count[PACK_NEED] - 1;
    for (int i = 0; i < titles; i++) {
        assert(sample->candidates[i].count > 0);
        put_title(pack, &sample->candidates[i], first, prompt->count, last_need);
    }
    bool known = options->items > 0 && sample->target < (uint32_t)options->items;
    put(pack, PACK_TARGET, known ? (int)sample->target : -1);
    pack->samples++;
    return true;
}

bool pack_add_tokens(struct pack *pack, const int32_t *tokens, int count) {
    assert(count > 0);
    if (pack->samples == pack->samples_max || pack_rows(pack) + count > pack->rows_max) {
        return false;
    }

    int first = pack_rows(pack);
    for (int t = 0; t < count; t++) {
        put_row(pack, tokens[t], t, true);
    }
    put(pack, PACK_LAST, pack->count[PACK_NEED] - 1);
    put(pack, PACK_TARGET, -1);
    pack->segments[pack->segment_count++] = (struct segment){.begin = first, .end = first + count};
    pack->samples++;
    return true;
}

bool pack_add_step(struct pack *pack, int32_t token, int position, int sequence) {
    assert(position >= 0 && sequence >= 0);
    if (pack_rows(pack) == pack->rows_max) { return false; }

    int row = pack_rows(pack);
    put(pack, PACK_TOKEN, token);
    put(pack, PACK_POSITION, position);
    put(pack, PACK_SEQUENCE, sequence);
    put(pack, PACK_NEED, row);
    put(pack, PACK_NEED_SEQUENCE, sequence);
    return true;
}

enum status pack_upload(struct pack *pack, struct backend *be, struct error *err) {
    return be->ops->upload(be, pack->device, pack->host, err);
}
