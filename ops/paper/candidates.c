/* SPDX-License-Identifier: Apache-2.0
 *
 * candidates.c - lists drawn by counter-based random numbers, and answers matched to them.
 */
#include "ops/paper/candidates.h"

#include <assert.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/memory.h"
#include "base/rng.h"
#include "model/prompt.h"

#define LIST_BYTES (8u + 4u * PAPER_CANDIDATES + 4u)

/* ---- lists ---- */

/* True when the item, or one that reads alike, is among these. */
static bool is_among(const struct paper_split *split, uint32_t item, const uint32_t *items,
                     int count) {
    for (int i = 0; i < count; i++) {
        if (split->items[items[i]].alike == split->items[item].alike) { return true; }
    }
    return false;
}

enum status paper_candidates_draw(const struct paper_split *split, uint64_t seed,
                                  const struct paper_sample *sample,
                                  struct paper_candidates *ret_candidates, struct error *err) {
    assert(sample->count <= PAPER_HISTORY_MAX);
    assert(sample->target < (uint32_t)split->item_count);
    if (split->title_count < PAPER_CANDIDATES + PAPER_HISTORY_MAX) {
        return error_set(err, STATUS_CONFIG, "%d distinct titles, expected at least %d",
                         split->title_count, PAPER_CANDIDATES + PAPER_HISTORY_MAX);
    }
    struct rng rng = rng_make(seed, sample->id);
    struct paper_candidates list;
    list.target_at = (int)rng_below(&rng, PAPER_CANDIDATES);
    for (int i = 0; i < PAPER_CANDIDATES; i++) {
        uint32_t item = sample->target;
        if (i != list.target_at) {
            do {
                item = (uint32_t)rng_below(&rng, (uint64_t)split->item_count);
            } while (is_among(split, item, &sample->target, 1) ||
                     is_among(split, item, sample->history, sample->count) ||
                     is_among(split, item, list.items, i));
        }
        list.items[i] = item;
    }
    *ret_candidates = list;
    return STATUS_OK;
}

/* ---- answers ---- */

static bool is_blank(uint8_t c) {
    return c <= ' ' || c == 0x7f;
}

/* The first line that is not blank, without white space at its ends. */
static struct span first_line(struct span text) {
    while (text.size > 0 && is_blank(text.data[0])) {
        text = span_make(text.data + 1, text.size - 1);
    }
    const uint8_t *end = text.size > 0 ? memchr(text.data, '\n', text.size) : NULL;
    if (end != NULL) { text.size = (size_t)(end - text.data); }
    while (text.size > 0 && is_blank(text.data[text.size - 1])) {
        text.size--;
    }
    return text;
}

static uint8_t lower(uint8_t c) {
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}

static bool holds(struct span text, struct span part) {
    for (size_t at = 0; at + part.size <= text.size; at++) {
        size_t i = 0;
        while (i < part.size && lower(text.data[at + i]) == lower(part.data[i])) {
            i++;
        }
        if (i == part.size) { return true; }
    }
    return false;
}

int paper_candidates_named(const struct paper_split *split,
                           const struct paper_candidates *candidates, struct span generated,
                           enum paper_match match) {
    struct span line = first_line(generated);
    int named = -1;
    for (int i = 0; i < PAPER_CANDIDATES; i++) {
        struct span title = split->items[candidates->items[i]].title;
        bool is_named =
            match == PAPER_MATCH_WHOLE ? prompt_title_same(line, title) : holds(line, title);
        if (!is_named) { continue; }
        if (named >= 0) { return -1; }
        named = i;
    }
    return named;
}

/* ---- digest ---- */

static int compare_samples(const void *a, const void *b) {
    const struct paper_sample *x = *(const struct paper_sample *const *)a;
    const struct paper_sample *y = *(const struct paper_sample *const *)b;
    return x->id < y->id ? -1 : x->id > y->id;
}

static enum status digest_lists(const struct paper_split *split, uint64_t seed,
                                const struct paper_sample *const *sorted, int count,
                                struct sha256 *hash, struct error *err) {
    for (int i = 0; i < count; i++) {
        struct paper_candidates list;
        uint8_t bytes[LIST_BYTES];
        enum status status = paper_candidates_draw(split, seed, sorted[i], &list, err);
        if (status != STATUS_OK) { return status; }
        put_u64le(bytes, sorted[i]->id);
        for (int c = 0; c < PAPER_CANDIDATES; c++) {
            put_u32le(bytes + 8 + 4 * c, list.items[c]);
        }
        put_u32le(bytes + 8 + 4 * PAPER_CANDIDATES, (uint32_t)list.target_at);
        sha256_update(hash, bytes, sizeof bytes);
    }
    return STATUS_OK;
}

enum status paper_candidates_digest(const struct paper_split *split, uint64_t seed,
                                    const struct paper_sample *samples, int count,
                                    char ret_text[PAPER_DIGEST_BYTES_TEXT], struct error *err) {
    assert(count >= 0);
    struct sha256 *hash = NULL;
    uint8_t digest[SHA256_BYTES];
    const struct paper_sample **sorted = memory_take_zeroed((size_t)count + 1, sizeof *sorted);
    if (sorted == NULL) { return error_set(err, STATUS_NO_MEMORY, "digest of candidates"); }
    for (int i = 0; i < count; i++) {
        sorted[i] = &samples[i];
    }
    qsort(sorted, (size_t)count, sizeof *sorted, compare_samples);
    enum status status = sha256_init(&hash, err);
    if (status == STATUS_OK) { status = digest_lists(split, seed, sorted, count, hash, err); }
    if (status == STATUS_OK) {
        sha256_finish(hash, digest);
        hex_encode(digest, sizeof digest, ret_text);
    }
    sha256_free(hash);
    memory_free(sorted);
    return status;
}
