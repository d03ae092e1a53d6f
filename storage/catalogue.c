/* SPDX-License-Identifier: Apache-2.0
 *
 * catalogue.c - the core's view of the items, and rows as of a sequence number for everyone else.
 *
 *   item_ids      id                     -> u32le number
 *   items         (number, from_seq) be  -> u8 hidden, u8 has title, varint size, id, title
 *   item_changes  (from_seq, number) be  -> nothing; exactly one a row of items, until trimmed
 *
 * In memory per item: hidden now, and from_seq of the newest row, so that the newest row is one
 * get. What an epoch changed in memory is noted, and undone by catalogue_rollback.
 * Thread: core; catalogue_read*, catalogue_changes: any, with its own reader.
 */
#include "storage/catalogue.h"

#include <assert.h>

#include "base/memory.h"
#include "storage/packing.h"

#define CATALOGUE_UNDO_MIN 256u
#define ITEM_KEY_BYTES     12u /* both of items and of item_changes */

struct catalogue_undo {
    uint32_t item;
    bool hidden;
    uint64_t newest;
};

struct catalogue {
    struct stage *stage; /* borrows: until closed */
    uint32_t items_max;
    uint32_t count;              /* pending ones included */
    uint32_t count_committed;    /* count as of the last catalogue_committed */
    uint8_t *hidden;             /* (items_max) now; owns */
    uint64_t *newest;            /* (items_max) from_seq of the newest row; owns */
    struct catalogue_undo *undo; /* owns: what was before each change of this epoch */
    size_t undo_count, undo_capacity;
};

/* ---- keys and rows --------------------------------------------------------------------------- */

static struct span item_key(uint32_t item, uint64_t from_seq, uint8_t bytes[ITEM_KEY_BYTES]) {
    put_u32be(bytes, item);
    put_u64be(bytes + 4, from_seq);
    return span_make(bytes, ITEM_KEY_BYTES);
}

static struct span change_key(uint64_t from_seq, uint32_t item, uint8_t bytes[ITEM_KEY_BYTES]) {
    put_u64be(bytes, from_seq);
    put_u32be(bytes + 8, item);
    return span_make(bytes, ITEM_KEY_BYTES);
}

static enum status row_decode(uint32_t item, uint64_t from_seq, struct span value,
                              struct catalogue_item *ret_item, struct error *err) {
    struct unpacker u = unpack_from(value);
    bool hidden = unpack_u8(&u) != 0;
    bool titled = unpack_u8(&u) != 0;
    uint64_t id_size = unpack_u64(&u);
    const uint8_t *id = unpack_bytes(&u, id_size);
    size_t title_size = (size_t)(u.end - u.at);
    if (!u.good || id == NULL || (!titled && title_size > 0)) {
        return error_set(err, STATUS_CORRUPT, "row of item %u from %llu is malformed", item,
                         (unsigned long long)from_seq);
    }
    *ret_item = (struct catalogue_item){.id = span_make(id, id_size),
                                        .title = span_make(titled ? u.at : NULL, title_size),
                                        .hidden = hidden,
                                        .from_seq = from_seq};
    return STATUS_OK;
}

/* Stages row and change. Id and title are copied first: they may lie in the row replaced. */
static enum status row_put(struct catalogue *catalogue, uint32_t item,
                           const struct catalogue_item *row, struct error *err) {
    assert(row->title.data != NULL || row->title.size == 0);
    uint8_t bytes[STORE_VALUE_BYTES_MAX];
    if (row->id.size + row->title.size > sizeof bytes - 2 - PACKED_U64_BYTES) {
        return error_set(err, STATUS_LIMIT, "id and title of %zu bytes, allowed %zu",
                         row->id.size + row->title.size, sizeof bytes - 2 - PACKED_U64_BYTES);
    }
    bytes[0] = row->hidden;
    bytes[1] = row->title.data != NULL;
    uint8_t *at = pack_u64(bytes + 2, row->id.size);
    if (row->id.size > 0) { memcpy(at, row->id.data, row->id.size); }
    at += row->id.size;
    if (row->title.size > 0) { memcpy(at, row->title.data, row->title.size); }
    at += row->title.size;

    uint8_t key[ITEM_KEY_BYTES];
    enum status status =
        stage_put(catalogue->stage, STORE_ITEMS, item_key(item, row->from_seq, key),
                  span_make(bytes, (size_t)(at - bytes)), err);
    if (status != STATUS_OK) { return status; }
    return stage_put(catalogue->stage, STORE_ITEM_CHANGES, change_key(row->from_seq, item, key),
                     span_make(NULL, 0), err);
}

/* ---- open ------------------------------------------------------------------------------------ */

struct catalogue_loading {
    struct catalogue *catalogue;
    enum status status;
    struct error *err;
};

static bool catalogue_load_row(void *context, struct span key, struct span value) {
    struct catalogue_loading *loading = context;
    struct catalogue *catalogue = loading->catalogue;
    struct catalogue_item row = {0};
    if (key.size != ITEM_KEY_BYTES) {
        loading->status =
            error_set(loading->err, STATUS_CORRUPT, "key of table items has %zu bytes", key.size);
        return false;
    }
    uint32_t item = get_u32be(key.data);
    if (item > catalogue->count) {
        loading->status =
            error_set(loading->err, STATUS_CORRUPT, "item %u is missing", catalogue->count);
        return false;
    }
    if (item >= catalogue->items_max) {
        loading->status =
            error_set(loading->err, STATUS_CONFIG, "the store holds more items than items_max %u",
                      catalogue->items_max);
        return false;
    }
    loading->status = row_decode(item, get_u64be(key.data + 4), value, &row, loading->err);
    if (loading->status != STATUS_OK) { return false; }
    catalogue->hidden[item] = row.hidden;
    catalogue->newest[item] = row.from_seq; /* rows of an item come in order of from_seq */
    catalogue->count = item + 1;
    return true;
}

enum status catalogue_open(struct stage *stage, uint32_t items_max,
                           struct catalogue **ret_catalogue, struct error *err) {
    assert(items_max > 0 && items_max <= ITEMS_LIMIT);

    struct catalogue *catalogue = memory_take_zeroed(1, sizeof *catalogue);
    if (catalogue == NULL) { return error_set(err, STATUS_NO_MEMORY, "the catalogue"); }
    catalogue->stage = stage;
    catalogue->items_max = items_max;
    catalogue->hidden = MEMORY_TAKE_ARRAY(uint8_t, items_max);
    catalogue->newest = MEMORY_TAKE_ARRAY(uint64_t, items_max);
    struct catalogue_loading loading = {catalogue, STATUS_OK, err};
    struct store_reader *reader = NULL;
    enum status status = STATUS_OK;
    if (catalogue->hidden == NULL || catalogue->newest == NULL) {
        status = error_set(err, STATUS_NO_MEMORY, "a catalogue of %u items", items_max);
    }
    if (status == STATUS_OK) { status = stage_reader(stage, &reader, err); }
    if (status == STATUS_OK) {
        status =
            store_scan(reader, STORE_ITEMS, span_make(NULL, 0), catalogue_load_row, &loading, err);
    }
    if (status == STATUS_OK) { status = loading.status; }
    if (status != STATUS_OK) {
        catalogue_close(catalogue);
        return status;
    }
    catalogue->count_committed = catalogue->count;
    *ret_catalogue = catalogue;
    return STATUS_OK;
}

void catalogue_close(struct catalogue *catalogue) {
    if (catalogue == NULL) { return; }
    memory_free(catalogue->hidden);
    memory_free(catalogue->newest);
    memory_free(catalogue->undo);
    memory_free(catalogue);
}

uint32_t catalogue_count(const struct catalogue *catalogue) {
    return catalogue->count;
}

bool catalogue_hidden(const struct catalogue *catalogue, uint32_t item) {
    assert(item < catalogue->count);
    return catalogue->hidden[item] != 0;
}

/* ---- the core's changes ---------------------------------------------------------------------- */

/* Room for one more note, so that a change in memory cannot fail half-way. */
static enum status undo_reserve(struct catalogue *catalogue, struct error *err) {
    if (catalogue->undo_count < catalogue->undo_capacity) { return STATUS_OK; }
    size_t wanted =
        catalogue->undo_capacity == 0 ? CATALOGUE_UNDO_MIN : catalogue->undo_capacity * 2;
    struct catalogue_undo *undo = memory_resize(catalogue->undo, wanted * sizeof *undo);
    if (undo == NULL) {
        return error_set(err, STATUS_NO_MEMORY, "%zu item changes of an epoch",
                         catalogue->undo_count);
    }
    catalogue->undo = undo;
    catalogue->undo_capacity = wanted;
    return STATUS_OK;
}

/* Notes what was and sets what is. */
static void catalogue_change(struct catalogue *catalogue, uint32_t item, uint64_t from_seq,
                             bool hidden) {
    catalogue->undo[catalogue->undo_count++] =
        (struct catalogue_undo){item, catalogue->hidden[item] != 0, catalogue->newest[item]};
    catalogue->hidden[item] = hidden;
    catalogue->newest[item] = from_seq;
}

static enum status number_decode(struct span id, struct span value, uint32_t *ret_item,
                                 struct error *err) {
    if (value.size != 4) {
        return error_set(err, STATUS_CORRUPT, "number of item '%.*s' has %zu bytes", SPAN_ARG(id),
                         value.size);
    }
    *ret_item = get_u32le(value.data);
    return STATUS_OK;
}

enum status catalogue_find(struct catalogue *catalogue, struct span id, uint32_t *ret_item,
                           struct error *err) {
    struct span value = {0};
    enum status status = stage_get(catalogue->stage, STORE_ITEM_IDS, id, &value, err);
    if (status == STATUS_OK) { status = number_decode(id, value, ret_item, err); }
    if (status == STATUS_OK && *ret_item >= catalogue->count) {
        return error_set(err, STATUS_CORRUPT, "item '%.*s' has number %u of %u", SPAN_ARG(id),
                         *ret_item, catalogue->count);
    }
    return status;
}

enum status catalogue_add(struct catalogue *catalogue, struct span id, uint64_t from_seq,
                          uint32_t *ret_item, struct error *err) {
    enum status status = catalogue_find(catalogue, id, ret_item, err);
    if (status != STATUS_NOT_FOUND) { return status; }
    if (catalogue->count >= catalogue->items_max) {
        return error_set(err, STATUS_LIMIT, "item '%.*s' is new and items_max is %u", SPAN_ARG(id),
                         catalogue->items_max);
    }
    status = undo_reserve(catalogue, err);
    if (status != STATUS_OK) { return status; }

    uint32_t item = catalogue->count;
    uint8_t number[4];
    put_u32le(number, item);
    struct catalogue_item row = {.id = id, .from_seq = from_seq};
    status = row_put(catalogue, item, &row, err);
    if (status == STATUS_OK) {
        status = stage_put(catalogue->stage, STORE_ITEM_IDS, id, span_make(number, 4), err);
    }
    if (status != STATUS_OK) { return status; }
    catalogue->count++;
    catalogue_change(catalogue, item, from_seq, false);
    *ret_item = item;
    return STATUS_OK;
}

enum status catalogue_get(struct catalogue *catalogue, uint32_t item,
                          struct catalogue_item *ret_item, struct error *err) {
    assert(item < catalogue->count);

    uint8_t key[ITEM_KEY_BYTES];
    struct span value = {0};
    uint64_t newest = catalogue->newest[item];
    enum status status =
        stage_get(catalogue->stage, STORE_ITEMS, item_key(item, newest, key), &value, err);
    if (status == STATUS_NOT_FOUND) {
        return error_set(err, STATUS_CORRUPT, "item %u has no row from %llu", item,
                         (unsigned long long)newest);
    }
    if (status != STATUS_OK) { return status; }
    return row_decode(item, newest, value, ret_item, err);
}

enum status catalogue_set(struct catalogue *catalogue, uint32_t item, uint64_t from_seq,
                          struct span title, bool hidden, struct error *err) {
    struct catalogue_item row = {0};
    enum status status = catalogue_get(catalogue, item, &row, err);
    if (status != STATUS_OK) { return status; }
    bool same_title =
        title.data == NULL || (row.title.data != NULL && span_equal(row.title, title));
    if (same_title && row.hidden == hidden) { return STATUS_OK; }

    status = undo_reserve(catalogue, err);
    if (status != STATUS_OK) { return status; }
    if (!same_title) { row.title = title; }
    row.hidden = hidden;
    if (from_seq > row.from_seq) { row.from_seq = from_seq; } /* rows only move forward */
    status = row_put(catalogue, item, &row, err);
    if (status != STATUS_OK) { return status; }
    catalogue_change(catalogue, item, row.from_seq, hidden);
    return STATUS_OK;
}

enum status catalogue_rollback(struct catalogue *catalogue, struct error *err) {
    (void)err; /* the notes suffice; reading the store again would not */
    while (catalogue->undo_count > 0) {
        const struct catalogue_undo *undo = &catalogue->undo[--catalogue->undo_count];
        catalogue->hidden[undo->item] = undo->hidden;
        catalogue->newest[undo->item] = undo->newest;
    }
    catalogue->count = catalogue->count_committed;
    return STATUS_OK;
}

void catalogue_committed(struct catalogue *catalogue) {
    catalogue->undo_count = 0;
    catalogue->count_committed = catalogue->count;
}

/* ---- trimming -------------------------------------------------------------------------------- */

struct catalogue_trimming {
    struct stage *stage;
    struct store_reader *reader;
    uint64_t keep_seq;
    uint32_t item;     /* of the change at hand */
    uint64_t from_seq; /* of the change at hand */
    enum status status;
    struct error *err;
};

/* Trims the item's rows older than the change at hand. */
static bool trim_old_row(void *context, struct span key, struct span value) {
    struct catalogue_trimming *trimming = context;
    (void)value;
    if (get_u32be(key.data) != trimming->item || get_u64be(key.data + 4) >= trimming->from_seq) {
        return false;
    }
    trimming->status = stage_trim(trimming->stage, STORE_ITEMS, key, trimming->err);
    return trimming->status == STATUS_OK;
}

static bool trim_change(void *context, struct span key, struct span value) {
    struct catalogue_trimming *trimming = context;
    (void)value;
    trimming->from_seq = get_u64be(key.data);
    trimming->item = get_u32be(key.data + 8);
    if (trimming->from_seq > trimming->keep_seq) { return false; }

    uint8_t first[ITEM_KEY_BYTES];
    enum status status =
        store_scan(trimming->reader, STORE_ITEMS, item_key(trimming->item, 0, first), trim_old_row,
                   trimming, trimming->err);
    if (status != STATUS_OK) { trimming->status = status; }
    return trimming->status == STATUS_OK;
}

enum status catalogue_trim(struct catalogue *catalogue, uint64_t keep_seq, struct error *err) {
    struct catalogue_trimming trimming = {
        .stage = catalogue->stage, .keep_seq = keep_seq, .err = err};
    uint8_t bound[ITEM_KEY_BYTES];
    enum status status = stage_reader(catalogue->stage, &trimming.reader, err);
    if (status == STATUS_OK) {
        status = store_scan(trimming.reader, STORE_ITEM_CHANGES, span_make(NULL, 0), trim_change,
                            &trimming, err);
    }
    if (status == STATUS_OK) { status = trimming.status; }
    if (status != STATUS_OK) { return status; }
    return stage_trim_below(catalogue->stage, STORE_ITEM_CHANGES, change_key(keep_seq, 0, bound),
                            err);
}

/* ---- other threads --------------------------------------------------------------------------- */

enum status catalogue_read(struct store_reader *reader, uint32_t item, uint64_t seq,
                           struct catalogue_item *ret_item, struct error *err) {
    uint8_t wanted[ITEM_KEY_BYTES];
    struct span key = {0}, value = {0};
    enum status status =
        store_at_or_below(reader, STORE_ITEMS, item_key(item, seq, wanted), &key, &value, err);
    if (status != STATUS_OK) { return status; }
    if (key.size != ITEM_KEY_BYTES || get_u32be(key.data) != item) {
        return error_set(err, STATUS_NOT_FOUND, "item %u did not exist at %llu", item,
                         (unsigned long long)seq);
    }
    return row_decode(item, get_u64be(key.data + 4), value, ret_item, err);
}

enum status catalogue_read_number(struct store_reader *reader, struct span id, uint32_t *ret_item,
                                  struct error *err) {
    struct span value = {0};
    enum status status = store_get(reader, STORE_ITEM_IDS, id, &value, err);
    return status == STATUS_OK ? number_decode(id, value, ret_item, err) : status;
}

struct catalogue_changing {
    struct store_reader *reader;
    uint64_t upto;
    catalogue_visit visit;
    void *context;
    enum status status;
    struct error *err;
};

static bool visit_change(void *context, struct span key, struct span value) {
    struct catalogue_changing *changing = context;
    (void)value;
    uint64_t from_seq = get_u64be(key.data);
    uint32_t item = get_u32be(key.data + 8);
    if (from_seq > changing->upto) { return false; }

    uint8_t wanted[ITEM_KEY_BYTES];
    struct span row_value = {0};
    struct catalogue_item row = {0};
    enum status status = store_get(changing->reader, STORE_ITEMS, item_key(item, from_seq, wanted),
                                   &row_value, changing->err);
    if (status == STATUS_NOT_FOUND) {
        status = error_set(changing->err, STATUS_CORRUPT, "item %u changed at %llu without a row",
                           item, (unsigned long long)from_seq);
    }
    if (status == STATUS_OK) {
        status = row_decode(item, from_seq, row_value, &row, changing->err);
    }
    if (status == STATUS_OK) {
        status = changing->visit(changing->context, item, &row, changing->err);
    }
    changing->status = status;
    return status == STATUS_OK;
}

enum status catalogue_changes(struct store_reader *reader, uint64_t after, uint64_t upto,
                              catalogue_visit visit, void *context, struct error *err) {
    if (after >= upto) { return STATUS_OK; }
    struct catalogue_changing changing = {reader, upto, visit, context, STATUS_OK, err};
    uint8_t first[ITEM_KEY_BYTES];
    enum status status = store_scan(reader, STORE_ITEM_CHANGES, change_key(after + 1, 0, first),
                                    visit_change, &changing, err);
    return status == STATUS_OK ? changing.status : status;
}
