/* SPDX-License-Identifier: Apache-2.0
 *
 * bpe.c - two ways to the same ids: a scan for short words, a heap for long ones.
 *
 * Nearly all words have fewer than 32 symbols: there, finding the smallest rank by a scan of an
 * array that sits in the first-level cache beats any structure. A word may also be a megabyte (a
 * run of one letter, a text without splitting), where the scan would be quadratic: symbols are
 * then a linked list and candidate pairs a binary heap, n log n.
 *
 * A heap entry goes stale when one of its symbols was joined meanwhile. A joined symbol covers more
 * text than before, so "the pair at this place still gives the same token" recognises it.
 */
#include "model/bpe.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include "base/memory.h"

#define SCAN_SYMBOLS_MAX 64 /* measured: from here on the heap is as fast as the scan */
#define NO_RANK          UINT32_MAX

struct bpe_candidate {
    uint32_t rank;
    int32_t at; /* index of the left symbol */
    int32_t joined;
};

enum status bpe_init(struct bpe *bpe, size_t merges, struct error *err) {
    assert(bpe != NULL);
    assert(merges <= VOCABULARY_TOKENS_MAX * (size_t)16);

    *bpe = (struct bpe){.slot_count = 16, .shift = 60, .unknown = -1};
    while (bpe->slot_count < 2 * merges) {
        bpe->slot_count *= 2;
        bpe->shift--;
    }
    bpe->slots = memory_take(bpe->slot_count * sizeof *bpe->slots);
    if (bpe->slots == NULL) { return error_set(err, STATUS_NO_MEMORY, "%zu merges", merges); }
    memset(bpe->slots, 0xff, bpe->slot_count * sizeof *bpe->slots); /* pair = UINT64_MAX */
    return STATUS_OK;
}

void bpe_free(struct bpe *bpe) {
    memory_free(bpe->slots);
    *bpe = (struct bpe){0};
}

/* Fibonacci hashing: the high bits of a product with 2^64 / golden ratio. */
static struct bpe_merge *slot_of(const struct bpe *bpe, uint64_t pair) {
    size_t mask = bpe->slot_count - 1;
    size_t slot = (size_t)((pair * 0x9e3779b97f4a7c15ull) >> bpe->shift);
    while (bpe->slots[slot].pair != UINT64_MAX && bpe->slots[slot].pair != pair) {
        slot = (slot + 1) & mask;
    }
    return &bpe->slots[slot];
}

static uint64_t pair_of(int32_t left, int32_t right) {
    return (uint64_t)(uint32_t)left << 32 | (uint32_t)right;
}

void bpe_add(struct bpe *bpe, int32_t left, int32_t right, uint32_t rank, int32_t joined) {
    struct bpe_merge *slot = slot_of(bpe, pair_of(left, right));
    *slot = (struct bpe_merge){pair_of(left, right), rank, joined};
}

void bpe_bind(struct bpe *bpe, const struct vocabulary *vocabulary) {
    for (unsigned byte = 0; byte < 256; byte++) {
        uint8_t text[8];
        size_t size = 0;
        if (bpe->byte_level) {
            size = alphabet_of_byte((uint8_t)byte, text);
        } else {
            size = (size_t)snprintf((char *)text, sizeof text, "<0x%02X>", byte);
        }
        bpe->byte_ids[byte] = vocabulary_find(vocabulary, span_make(text, size));
    }
}

void bpe_scratch_free(struct bpe_scratch *scratch) {
    memory_free(scratch->ids);
    memory_free(scratch->ranks);
    memory_free(scratch->next);
    memory_free(scratch->previous);
    memory_free(scratch->heap);
    *scratch = (struct bpe_scratch){0};
}

/* Room for one word of at most `symbols` symbols. Candidates: at most one a symbol at the start and
 * two a join. */
static enum status scratch_reserve(struct bpe_scratch *scratch, size_t symbols, struct error *err) {
    if (symbols <= scratch->capacity) { return STATUS_OK; }
    size_t capacity = symbols < SCAN_SYMBOLS_MAX ? SCAN_SYMBOLS_MAX : 2 * symbols;
    bpe_scratch_free(scratch);
    scratch->ids = MEMORY_TAKE_ARRAY(int32_t, capacity);
    scratch->ranks = MEMORY_TAKE_ARRAY(uint32_t, capacity);
    if (scratch->ids == NULL || scratch->ranks == NULL) { goto fail; }
    if (capacity > SCAN_SYMBOLS_MAX) {
        scratch->next = MEMORY_TAKE_ARRAY(int32_t, capacity);
        scratch->previous = MEMORY_TAKE_ARRAY(int32_t, capacity);
        scratch->heap = MEMORY_TAKE_ARRAY(struct bpe_candidate, 3 * capacity);
        if (scratch->next == NULL || scratch->previous == NULL || scratch->heap == NULL) {
            goto fail;
        }
    }
    scratch->capacity = capacity;
    return STATUS_OK;

fail:
    bpe_scratch_free(scratch);
    return error_set(err, STATUS_NO_MEMORY, "a word of %zu symbols", symbols);
}

/* ---- where a word begins: its symbols -------------------------------------------------------- */

/* Unknown symbols wait until a known one follows, so that they can be fused into one. */
struct unknown_run {
    int32_t id; /* -1: unknown symbols vanish */
    bool fuse;
    bool pending;
};

static void add_known(struct unknown_run *run, int32_t id, int32_t *ids, size_t *count) {
    if (run->pending) { ids[(*count)++] = run->id; }
    run->pending = false;
    ids[(*count)++] = id;
}

static void add_unknown(struct unknown_run *run, int32_t *ids, size_t *count) {
    if (run->id < 0) { return; }
    if (run->pending && !run->fuse) { ids[(*count)++] = run->id; }
    run->pending = true;
}

static size_t symbols_of_bytes(const struct bpe *bpe, struct span word, int32_t *ret_ids) {
    struct unknown_run run = {bpe->unknown, bpe->fuse_unknown, false};
    size_t count = 0;
    for (size_t i = 0; i < word.size; i++) {
        int32_t id = bpe->byte_ids[word.data[i]];
        if (id >= 0) {
            add_known(&run, id, ret_ids, &count);
        } else {
            add_unknown(&run, ret_ids, &count);
        }
    }
    if (run.pending) { ret_ids[count++] = run.id; }
    return count;
}

static size_t character_bytes(uint8_t lead) {
    return lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
}

/* Appends the fallback tokens of one character; false when a byte has none. */
static bool fall_back(const struct bpe *bpe, struct span character, int32_t *ids, size_t *count) {
    if (!bpe->byte_fallback) { return false; }
    for (size_t i = 0; i < character.size; i++) {
        if (bpe->byte_ids[character.data[i]] < 0) { return false; }
    }
    for (size_t i = 0; i < character.size; i++) {
        ids[(*count)++] = bpe->byte_ids[character.data[i]];
    }
    return true;
}

static size_t symbols_of_characters(const struct bpe *bpe, const struct vocabulary *vocabulary,
                                    struct span word, int32_t *ret_ids) {
    struct unknown_run run = {bpe->unknown, bpe->fuse_unknown, false};
    size_t count = 0;
    for (size_t i = 0; i < word.size;) {
        size_t size = character_bytes(word.data[i]);
        struct span character = span_make(word.data + i, size);
        i += size;
        int32_t id = vocabulary_find(vocabulary, character);
        if (id >= 0) {
            add_known(&run, id, ret_ids, &count);
        } else if (!fall_back(bpe, character, ret_ids, &count)) {
            add_unknown(&run, ret_ids, &count);
        }
    }
    if (run.pending) { ret_ids[count++] = run.id; }
    return count;
}

/* ---- joining --------------------------------------------------------------------------------- */

static uint32_t rank_at(const struct bpe *bpe, const int32_t *ids, size_t i, size_t count) {
    if (i + 1 >= count) { return NO_RANK; }
    const struct bpe_merge *merge = slot_of(bpe, pair_of(ids[i], ids[i + 1]));
    return merge->pair == UINT64_MAX ? NO_RANK : merge->rank;
}

/* Joins in place by scanning; returns the symbols left. */
static size_t join_by_scan(const struct bpe *bpe, int32_t *ids, uint32_t *ranks, size_t count) {
    for (size_t i = 0; i < count; i++) {
        ranks[i] = rank_at(bpe, ids, i, count);
    }
    while (count > 1) {
        size_t best = 0;
        for (size_t i = 1; i + 1 < count; i++) {
            if (ranks[i] < ranks[best]) { best = i; }
        }
        if (ranks[best] == NO_RANK) { break; }

        ids[best] = slot_of(bpe, pair_of(ids[best], ids[best + 1]))->joined;
        size_t behind = count - best - 2;
        memmove(ids + best + 1, ids + best + 2, behind * sizeof *ids);
        memmove(ranks + best + 1, ranks + best + 2, behind * sizeof *ranks);
        count--;
        ranks[best] = rank_at(bpe, ids, best, count);
        if (best > 0) { ranks[best - 1] = rank_at(bpe, ids, best - 1, count); }
    }
    return count;
}

static bool goes_first(struct bpe_candidate a, struct bpe_candidate b) {
    return a.rank != b.rank ? a.rank < b.rank : a.at < b.at;
}

static void heap_push(struct bpe_candidate *heap, size_t *count, struct bpe_candidate candidate) {
    size_t i = (*count)++;
    while (i > 0 && goes_first(candidate, heap[(i - 1) / 2])) {
        heap[i] = heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    heap[i] = candidate;
}

static struct bpe_candidate heap_pop(struct bpe_candidate *heap, size_t *count) {
    struct bpe_candidate top = heap[0];
    struct bpe_candidate last = heap[--(*count)];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= *count) { break; }
        if (child + 1 < *count && goes_first(heap[child + 1], heap[child])) { child++; }
        if (!goes_first(heap[child], last)) { break; }
        heap[i] = heap[child];
        i = child;
    }
    heap[i] = last;
    return top;
}

/* The pair that begins at symbol `at` becomes a candidate when it can be joined. */
static void heap_offer(const struct bpe *bpe, struct bpe_scratch *scratch, size_t *count,
                       int32_t at) {
    if (at < 0 || scratch->next[at] < 0) { return; }
    const struct bpe_merge *merge =
        slot_of(bpe, pair_of(scratch->ids[at], scratch->ids[scratch->next[at]]));
    if (merge->pair == UINT64_MAX) { return; }
    assert(*count < 3 * scratch->capacity);
    heap_push(scratch->heap, count, (struct bpe_candidate){merge->rank, at, merge->joined});
}

/* True when the pair at the candidate's place still gives its token; a dead symbol has id -1. */
static bool still_valid(const struct bpe *bpe, const struct bpe_scratch *scratch,
                        struct bpe_candidate candidate) {
    int32_t next = scratch->next[candidate.at];
    if (scratch->ids[candidate.at] < 0 || next < 0) { return false; }
    const struct bpe_merge *merge =
        slot_of(bpe, pair_of(scratch->ids[candidate.at], scratch->ids[next]));
    return merge->pair != UINT64_MAX && merge->joined == candidate.joined;
}

static size_t join_by_heap(const struct bpe *bpe, struct bpe_scratch *scratch, size_t count) {
    size_t candidates = 0;
    for (size_t i = 0; i < count; i++) {
        scratch->next[i] = i + 1 < count ? (int32_t)i + 1 : -1;
        scratch->previous[i] = (int32_t)i - 1;
    }
    for (size_t i = 0; i < count; i++) {
        heap_offer(bpe, scratch, &candidates, (int32_t)i);
    }
    while (candidates > 0) {
        struct bpe_candidate best = heap_pop(scratch->heap, &candidates);
        if (!still_valid(bpe, scratch, best)) { continue; }

        int32_t dead = scratch->next[best.at];
        int32_t behind = scratch->next[dead];
        scratch->ids[best.at] = best.joined;
        scratch->ids[dead] = -1;
        scratch->next[best.at] = behind;
        if (behind >= 0) { scratch->previous[behind] = best.at; }
        heap_offer(bpe, scratch, &candidates, scratch->previous[best.at]);
        heap_offer(bpe, scratch, &candidates, best.at);
    }
    size_t left = 0;
    for (int32_t i = 0; i >= 0; i = scratch->next[i]) {
        scratch->ids[left++] = scratch->ids[i]; /* left <= i */
    }
    return left;
}

/* ---- one word -------------------------------------------------------------------------------- */

/* The token that the whole word is; -1 when there is none. */
static int32_t whole_word(const struct bpe *bpe, const struct vocabulary *vocabulary,
                          struct span word) {
    uint8_t text[2 * TOKEN_BYTES_MAX];
    size_t size = 0;
    if (word.size > vocabulary->longest) { return -1; }
    if (!bpe->byte_level) { return vocabulary_find(vocabulary, word); }
    for (size_t i = 0; i < word.size; i++) {
        size += alphabet_of_byte(word.data[i], text + size);
    }
    return vocabulary_find(vocabulary, span_make(text, size));
}

enum status bpe_encode(const struct bpe *bpe, const struct vocabulary *vocabulary,
                       struct bpe_scratch *scratch, struct span word, int32_t *ids, int max,
                       int *count, struct error *err) {
    assert(word.size > 0 && word.size <= INT32_MAX);
    assert(*count >= 0 && *count <= max);

    enum status status = scratch_reserve(scratch, word.size, err);
    if (status != STATUS_OK) { return status; }
    int32_t whole = bpe->ignore_merges ? whole_word(bpe, vocabulary, word) : -1;
    size_t symbols = 1;
    if (whole >= 0) {
        scratch->ids[0] = whole;
    } else {
        symbols = bpe->byte_level ? symbols_of_bytes(bpe, word, scratch->ids)
                                  : symbols_of_characters(bpe, vocabulary, word, scratch->ids);
        symbols = symbols <= SCAN_SYMBOLS_MAX
                      ? join_by_scan(bpe, scratch->ids, scratch->ranks, symbols)
                      : join_by_heap(bpe, scratch, symbols);
    }
    if (symbols > (size_t)(max - *count)) {
        return error_set(err, STATUS_LIMIT, "text gives more than %d tokens", max);
    }
    memcpy(ids + *count, scratch->ids, symbols * sizeof *ids);
    *count += (int)symbols;
    return STATUS_OK;
}
