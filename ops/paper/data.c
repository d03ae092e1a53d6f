/* SPDX-License-Identifier: Apache-2.0
 *
 * data.c - which kind of folder it is; samples and sequences of both kinds.
 */
#include "ops/paper/data.h"

#include <assert.h>

#include "base/bytes.h"
#include "base/file.h"
#include "base/hash.h"
#include "base/memory.h"
#include "ops/paper/rooms.h"

#define TEXT_BLOCK_BYTES (256u * 1024u)
#define ARRAY_FIRST      1024u

bool paper_make_room(void **array, size_t count, size_t *capacity, size_t element_bytes) {
    if (count < *capacity) { return true; }
    size_t larger = *capacity == 0 ? ARRAY_FIRST : *capacity * 2;
    void *resized = memory_resize(*array, larger * element_bytes);
    if (resized == NULL) { return false; }
    *array = resized;
    *capacity = larger;
    return true;
}

/* ---- samples and sequences ---- */

/* The same sample has the same id on every machine: bytes are little-endian. */
static uint64_t sample_id(const struct paper_sample *sample) {
    uint8_t bytes[4 * (PAPER_HISTORY_MAX + 1)];
    for (int i = 0; i < sample->count; i++) {
        put_u32le(bytes + 4 * i, sample->history[i]);
    }
    put_u32le(bytes + 4 * sample->count, sample->target);
    return hash64(span_make(bytes, 4 * (size_t)(sample->count + 1)), 0);
}

enum status paper_sample_add(struct paper_part *part, const uint32_t *history, size_t count,
                             uint32_t target, struct error *err) {
    assert(count >= PAPER_HISTORY_MIN);
    void *samples = part->samples;
    if (part->count >= (int)PAPER_SAMPLES_MAX) {
        return error_set(err, STATUS_CONFIG, "more than %u samples", PAPER_SAMPLES_MAX);
    }
    if (!paper_make_room(&samples, (size_t)part->count, &part->capacity, sizeof *part->samples)) {
        return error_set(err, STATUS_NO_MEMORY, "samples");
    }
    part->samples = samples;
    struct paper_sample *sample = &part->samples[part->count++];
    *sample = (struct paper_sample){.target = target};
    sample->count = count < PAPER_HISTORY_MAX ? (int)count : PAPER_HISTORY_MAX;
    memcpy(sample->history, history + count - (size_t)sample->count,
           (size_t)sample->count * sizeof *history);
    sample->id = sample_id(sample);
    return STATUS_OK;
}

enum status paper_sequence_begin(struct paper_build *build, struct error *err) {
    struct paper_split *split = build->split;
    void *sequences = split->sequences;
    if (!paper_make_room(&sequences, (size_t)split->sequence_count, &build->sequence_capacity,
                         sizeof *split->sequences)) {
        return error_set(err, STATUS_NO_MEMORY, "sequences");
    }
    split->sequences = sequences;
    split->sequences[split->sequence_count++] = (struct paper_sequence){0};
    return STATUS_OK;
}

enum status paper_sequence_append(struct paper_build *build, uint32_t item, struct error *err) {
    struct paper_split *split = build->split;
    assert(split->sequence_count > 0);
    void *items = split->sequence_items;
    if (!paper_make_room(&items, build->sequence_item_count, &build->sequence_item_capacity,
                         sizeof *split->sequence_items)) {
        return error_set(err, STATUS_NO_MEMORY, "items of sequences");
    }
    split->sequence_items = items;
    split->sequence_items[build->sequence_item_count++] = item;
    split->sequences[split->sequence_count - 1].count++;
    return STATUS_OK;
}

/* ---- folders ---- */

struct folder_look {
    bool split;                                                 /* items.tsv is there */
    int inter_count, item_count;                                /* files of RecBole */
    char inter[FILE_PATH_BYTES_MAX], item[FILE_PATH_BYTES_MAX]; /* name of the last one */
};

bool paper_data_is_file(const char *name) {
    return text_ends_with(name, ".tsv") || text_ends_with(name, ".inter") ||
           text_ends_with(name, ".item");
}

static enum status look_at(void *context, const char *name, bool is_dir, struct error *err) {
    struct folder_look *look = context;
    (void)err;
    if (is_dir || strlen(name) >= FILE_PATH_BYTES_MAX) { return STATUS_OK; }
    if (strcmp(name, "items.tsv") == 0) { look->split = true; }
    if (text_ends_with(name, ".inter")) {
        look->inter_count++;
        memcpy(look->inter, name, strlen(name) + 1);
    }
    if (text_ends_with(name, ".item")) {
        look->item_count++;
        memcpy(look->item, name, strlen(name) + 1);
    }
    return STATUS_OK;
}

static enum status read_recbole(struct paper_build *build, const char *folder,
                                const struct folder_look *look, struct error *err) {
    char inter[FILE_PATH_BYTES_MAX];
    char item[FILE_PATH_BYTES_MAX];
    if (look->inter_count != 1 || look->item_count != 1) {
        return error_set(err, STATUS_CONFIG, "%d files *.inter and %d *.item, expected one of each",
                         look->inter_count, look->item_count);
    }
    enum status status = path_join(inter, folder, look->inter, err);
    if (status == STATUS_OK) { status = path_join(item, folder, look->item, err); }
    return status == STATUS_OK ? paper_recbole_read(build, inter, item, err) : status;
}

static enum status read_folder(struct paper_build *build, const char *folder, struct error *err) {
    struct folder_look look = {0};
    enum status status = dir_list(folder, look_at, &look, err);
    if (status != STATUS_OK) { return status; }
    bool recbole = look.inter_count > 0;
    if (look.split == recbole) {
        return error_set(err, STATUS_CONFIG,
                         "%s, expected either items.tsv, train.tsv, valid.tsv and test.tsv, or "
                         "RecBole's *.inter and *.item",
                         recbole ? "items.tsv and *.inter" : "neither items.tsv nor *.inter");
    }
    if (recbole) {
        build->split->kind = "RecBole";
        return read_recbole(build, folder, &look, err);
    }
    build->split->kind = "split";
    return paper_split_folder_read(build, folder, err);
}

static enum status check_parts(const struct paper_split *split, struct error *err) {
    const struct paper_part *parts[] = {&split->train, &split->valid, &split->test};
    static const char *const names[] = {"train", "valid", "test"};
    for (int i = 0; i < 3; i++) {
        if (parts[i]->count > 0) { continue; }
        return error_set(err, STATUS_CONFIG,
                         "no sample for %s, expected at least one target with %d items before it",
                         names[i], PAPER_HISTORY_MIN);
    }
    return STATUS_OK;
}

enum status paper_split_read(const char *folder, struct paper_split *ret_split, struct error *err) {
    assert(folder != NULL && ret_split != NULL);
    struct paper_split split = {0};
    struct paper_build build = {.split = &split};
    enum status status = arena_init_chained(&split.text, TEXT_BLOCK_BYTES, err);
    if (status == STATUS_OK) { status = read_folder(&build, folder, err); }
    if (status == STATUS_OK) { status = check_parts(&split, err); }
    paper_index_free(&build.names);
    if (status != STATUS_OK) { goto fail; }
    const uint32_t *items = split.sequence_items;
    for (int i = 0; i < split.sequence_count; i++) {
        split.sequences[i].items = items;
        items += split.sequences[i].count;
    }
    *ret_split = split;
    return STATUS_OK;

fail:
    paper_split_free(&split);
    if (status == STATUS_MALFORMED || status == STATUS_NOT_FOUND || status == STATUS_LIMIT) {
        err->code = STATUS_CONFIG; /* the operator chose the folder */
    }
    return error_wrap(err, "data '%s'", folder);
}

void paper_split_free(struct paper_split *split) {
    memory_free(split->items);
    memory_free(split->train.samples);
    memory_free(split->valid.samples);
    memory_free(split->test.samples);
    memory_free(split->sequences);
    memory_free(split->sequence_items);
    arena_free(&split->text);
    *split = (struct paper_split){0};
}
