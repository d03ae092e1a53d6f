/* SPDX-License-Identifier: Apache-2.0
 *
 * items.c - items by number: names looked up, titles as they are shown, and which read alike.
 */
#include <inttypes.h>

#include "base/hash.h"
#include "base/memory.h"
#include "ops/paper/rooms.h"
#include "ops/table_file.h"

#define PLACES_FIRST 2048u

/* ---- numbers by name ---- */

void paper_index_free(struct paper_index *index) {
    memory_free(index->places);
    memory_free(index->keys);
    *index = (struct paper_index){0};
}

/* The place of a key: where it is, or where it would go. */
static size_t place_of(const struct paper_index *index, struct span key) {
    size_t place = (size_t)hash64(key, 0) & (index->place_count - 1);
    while (index->places[place] != 0 && !span_equal(index->keys[index->places[place] - 1], key)) {
        place = (place + 1) & (index->place_count - 1);
    }
    return place;
}

bool paper_index_find(const struct paper_index *index, struct span key, uint32_t *ret_number) {
    if (index->count == 0) { return false; }
    uint32_t found = index->places[place_of(index, key)];
    if (found == 0) { return false; }
    *ret_number = found - 1;
    return true;
}

/* Twice the places, at most half of them taken. */
static bool index_grow(struct paper_index *index) {
    size_t place_count = index->place_count == 0 ? PLACES_FIRST : 2 * index->place_count;
    uint32_t *places = MEMORY_TAKE_ARRAY(uint32_t, place_count);
    if (places == NULL) { return false; }
    memory_free(index->places);
    index->places = places;
    index->place_count = place_count;
    for (size_t i = 0; i < index->count; i++) {
        places[place_of(index, index->keys[i])] = (uint32_t)i + 1;
    }
    return true;
}

enum status paper_index_add(struct paper_index *index, struct span key, uint32_t *ret_number,
                            bool *ret_new, struct error *err) {
    *ret_new = !paper_index_find(index, key, ret_number);
    if (!*ret_new) { return STATUS_OK; }
    if (index->count >= UINT32_MAX - 1) { return error_set(err, STATUS_LIMIT, "too many names"); }
    void *keys = index->keys;
    if (!paper_make_room(&keys, index->count, &index->capacity, sizeof *index->keys)) {
        return error_set(err, STATUS_NO_MEMORY, "index of names");
    }
    index->keys = keys;
    if (2 * (index->count + 1) > index->place_count && !index_grow(index)) {
        return error_set(err, STATUS_NO_MEMORY, "index of names");
    }
    index->keys[index->count] = key;
    index->places[place_of(index, key)] = (uint32_t)index->count + 1;
    *ret_number = (uint32_t)index->count++;
    return STATUS_OK;
}

/* ---- items ---- */

/* Bytes of a trailing ", The" (", A", ", An"), at the end or in front of " ("; 0 without. Sets
 * where it begins. */
static size_t article_at(struct span title, size_t *ret_begin) {
    static const char *const articles[] = {", The", ", An", ", A"};
    size_t end = title.size;
    for (size_t i = 1; i + 1 < title.size; i++) {
        if (title.data[i] == ' ' && title.data[i + 1] == '(') {
            end = i;
            break;
        }
    }
    for (size_t i = 0; i < sizeof articles / sizeof articles[0]; i++) {
        struct span article = span_of(articles[i]);
        if (end <= article.size) { continue; }
        *ret_begin = end - article.size;
        if (memcmp(title.data + *ret_begin, article.data, article.size) == 0) {
            return article.size;
        }
    }
    return 0;
}

/* White space folded into text, which has room for title. Returns the bytes. */
static size_t title_fold(struct span title, uint8_t *text) {
    size_t size = 0;
    bool gap = false;
    for (size_t i = 0; i < title.size; i++) {
        uint8_t c = title.data[i];
        if (c <= ' ' || c == 0x7f) {
            gap = size > 0;
            continue;
        }
        if (gap) { text[size++] = ' '; }
        gap = false;
        text[size++] = c;
    }
    return size;
}

/* The title as it is shown, in the split's arena; size 0 for nothing. */
static enum status title_take(struct paper_build *build, struct span title, bool articles_behind,
                              struct span *ret_title, struct error *err) {
    uint8_t text[PAPER_TITLE_BYTES];
    if (title.size > sizeof text) {
        return error_set(err, STATUS_CONFIG, "title of %zu bytes, expected at most %u", title.size,
                         PAPER_TITLE_BYTES);
    }
    struct span folded = span_make(text, title_fold(title, text));
    char *taken = arena_take_copy(&build->split->text, text, folded.size);
    if (taken == NULL) { return error_set(err, STATUS_NO_MEMORY, "titles"); }
    *ret_title = span_make(taken, folded.size);
    size_t begin = 0;
    size_t size = articles_behind ? article_at(folded, &begin) : 0;
    if (size == 0) { return STATUS_OK; }
    size_t word = size - 2; /* behind ", " */
    memcpy(taken, text + begin + 2, word);
    taken[word] = ' ';
    memcpy(taken + word + 1, text, begin);
    memcpy(taken + word + 1 + begin, text + begin + size, folded.size - begin - size);
    ret_title->size = folded.size - 1;
    return STATUS_OK;
}

static enum status item_add(struct paper_build *build, struct span name, struct span title,
                            bool articles_behind, struct error *err) {
    struct paper_split *split = build->split;
    struct paper_item item = {0};
    uint32_t number = 0;
    bool fresh = false;
    if (name.size == 0) { return error_set(err, STATUS_CONFIG, "expected an item id"); }
    if (split->item_count >= (int)PAPER_ITEMS_MAX) {
        return error_set(err, STATUS_CONFIG, "more than %u items", PAPER_ITEMS_MAX);
    }
    enum status status = title_take(build, title, articles_behind, &item.title, err);
    if (status != STATUS_OK) { return status; }
    if (item.title.size == 0) {
        return error_set(err, STATUS_CONFIG, "item '%.*s' has no title", SPAN_ARG(name));
    }
    char *copy = arena_take_copy(&split->text, name.data, name.size);
    if (copy == NULL) { return error_set(err, STATUS_NO_MEMORY, "names of items"); }
    item.name = span_make(copy, name.size);
    status = paper_index_add(&build->names, item.name, &number, &fresh, err);
    if (status != STATUS_OK) { return status; }
    if (!fresh) {
        return error_set(err, STATUS_CONFIG, "item '%.*s' is there twice", SPAN_ARG(name));
    }
    void *items = split->items;
    if (!paper_make_room(&items, (size_t)split->item_count, &build->item_capacity, sizeof item)) {
        return error_set(err, STATUS_NO_MEMORY, "items");
    }
    split->items = items;
    split->items[split->item_count++] = item;
    return STATUS_OK;
}

/* Finds the items that read alike. */
static enum status find_alike(struct paper_split *split, struct error *err) {
    struct paper_index titles = {0};
    enum status status = STATUS_OK;
    uint32_t *firsts = MEMORY_TAKE_ARRAY(uint32_t, split->item_count + 1); /* by title */
    if (firsts == NULL) { return error_set(err, STATUS_NO_MEMORY, "titles"); }
    for (int i = 0; i < split->item_count && status == STATUS_OK; i++) {
        uint32_t number = 0;
        bool fresh = false;
        status = paper_index_add(&titles, split->items[i].title, &number, &fresh, err);
        if (status != STATUS_OK) { break; }
        if (fresh) { firsts[number] = (uint32_t)i; }
        split->items[i].alike = firsts[number];
    }
    split->title_count = (int)titles.count;
    paper_index_free(&titles);
    memory_free(firsts);
    return status;
}

static enum status find_columns(const struct table_file *table, const struct paper_items_form *form,
                                int *ret_item, int *ret_title, struct error *err) {
    int title = -1;
    int item = table_column(table, form->item);
    for (int i = 0; form->titles[i] != NULL && title < 0; i++) {
        title = table_column(table, form->titles[i]);
    }
    if (item < 0 || title < 0) {
        return error_set(err, STATUS_CONFIG, "line 1: expected a header with columns '%s' and '%s'",
                         form->item, form->titles[0]);
    }
    *ret_item = item;
    *ret_title = title;
    return STATUS_OK;
}

static enum status read_rows(struct paper_build *build, struct table_file *table,
                             const struct paper_items_form *form, struct error *err) {
    struct span fields[TABLE_COLUMNS_MAX];
    int count = 0;
    int item = -1;
    int title = -1;
    enum status status = find_columns(table, form, &item, &title, err);
    if (status != STATUS_OK) { return error_wrap(err, "'%s'", table->path); }
    while ((status = table_row(table, fields, &count, err)) == STATUS_OK) {
        status =
            count == table->columns
                ? item_add(build, fields[item], fields[title], form->articles_behind, err)
                : error_set(err, STATUS_CONFIG, "%d columns, expected %d", count, table->columns);
        if (status != STATUS_OK) {
            return error_wrap(err, "'%s' line %" PRIu64, table->path, table->line);
        }
    }
    return status == STATUS_NOT_FOUND ? STATUS_OK : status;
}

enum status paper_items_read(struct paper_build *build, const char *path,
                             const struct paper_items_form *form, struct error *err) {
    struct table_file table;
    enum status status = table_open(path, "\t", false, true, &build->split->text, &table, err);
    if (status != STATUS_OK) { return status; }
    status = read_rows(build, &table, form, err);
    table_close(&table);
    return status == STATUS_OK ? find_alike(build->split, err) : status;
}
