/* SPDX-License-Identifier: Apache-2.0
 *
 * stage.c - an epoch's writes in memory: put, delete, and reading through to LMDB.
 *
 * Why it exists: LMDB must not run ahead of the stream's commit, and an epoch that fails must leave
 * no trace. A user's sequence is written once an event and read back at the user's next one, so the
 * same key is overwritten in place where the new value fits, with a little room to grow.
 * Thread: core.
 */
#include "storage/stage_parts.h"

#include <assert.h>

#include "base/memory.h"

#define STAGE_SLOTS_MIN     1024u
#define STAGE_ENTRIES_MIN   512u
#define STAGE_AFTER_MIN     64u
#define STAGE_ENTRIES_LIMIT (1u << 30) /* indices are 32 bits; an epoch has some 10^5 */
#define STAGE_BYTES_LIMIT   ((size_t)4 << 30)

/* ---- memory ---------------------------------------------------------------------------------- */

/* A piece of at most STAGE_CHUNK_BYTES, 8-byte aligned; NULL: no memory. */
static uint8_t *stage_take(struct stage *stage, size_t size) {
    assert(size <= STAGE_CHUNK_BYTES);

    size_t rounded = (size + 7) & ~(size_t)7;
    if (stage->chunk_count > 0 && rounded <= STAGE_CHUNK_BYTES - stage->chunk_used) {
        uint8_t *piece = stage->chunks[stage->chunk_current] + stage->chunk_used;
        stage->chunk_used += rounded;
        return piece;
    }

    size_t next = stage->chunk_count > 0 ? stage->chunk_current + 1 : 0;
    if (next == stage->chunk_count) {
        if (next >= STAGE_BYTES_LIMIT / STAGE_CHUNK_BYTES) { return NULL; }
        uint8_t **chunks = memory_resize(stage->chunks, (next + 1) * sizeof *chunks);
        if (chunks == NULL) { return NULL; }
        stage->chunks = chunks;
        chunks[next] = memory_take(STAGE_CHUNK_BYTES);
        if (chunks[next] == NULL) { return NULL; }
        stage->chunk_count++;
    }
    stage->chunk_current = next;
    stage->chunk_used = rounded;
    return stage->chunks[next];
}

/* Room for one more element; the array may move. False: no memory, nothing changed. */
static bool stage_array_room(void **array, size_t count, size_t *capacity, size_t size,
                             size_t least) {
    if (count < *capacity) { return true; }
    size_t wanted = *capacity == 0 ? least : *capacity * 2;
    void *moved = memory_resize(*array, wanted * size);
    if (moved == NULL) { return false; }
    *array = moved;
    *capacity = wanted;
    return true;
}

/* ---- the hash table -------------------------------------------------------------------------- */

static void stage_slots_fill(uint32_t *slots, size_t slot_count, const struct stage_entry *entries,
                             size_t entry_count) {
    for (size_t i = 0; i < entry_count; i++) {
        size_t slot = entries[i].hash & (slot_count - 1);
        while (slots[slot] != 0) {
            slot = (slot + 1) & (slot_count - 1);
        }
        slots[slot] = (uint32_t)(i + 1);
    }
}

/* Slots for one more entry at a load of at most one half. */
static bool stage_slots_room(struct stage *stage) {
    if ((stage->entry_count + 1) * 2 <= stage->slot_count) { return true; }
    size_t wanted = stage->slot_count == 0 ? STAGE_SLOTS_MIN : stage->slot_count * 2;
    uint32_t *slots = memory_take_zeroed(wanted, sizeof *slots);
    if (slots == NULL) { return false; }
    stage_slots_fill(slots, wanted, stage->entries, stage->entry_count);
    memory_free(stage->slots);
    stage->slots = slots;
    stage->slot_count = wanted;
    return true;
}

static uint64_t stage_hash(enum store_table table, struct span key) {
    return hash64(key, (uint64_t)table);
}

static struct stage_entry *stage_find(struct stage *stage, enum store_table table, struct span key,
                                      uint64_t hash) {
    if (stage->entry_count == 0) { return NULL; }
    size_t mask = stage->slot_count - 1;
    for (size_t slot = hash & mask; stage->slots[slot] != 0; slot = (slot + 1) & mask) {
        struct stage_entry *entry = &stage->entries[stage->slots[slot] - 1];
        if (entry->hash == hash && entry->table == (uint8_t)table &&
            span_equal(stage_entry_key(entry), key)) {
            return entry;
        }
    }
    return NULL;
}

/* ---- open and close -------------------------------------------------------------------------- */

enum status stage_open(struct store *store, struct stage **ret_stage, struct error *err) {
    assert(store != NULL);
    assert(!store->read_only);

    struct stage *stage = memory_take_zeroed(1, sizeof *stage);
    if (stage == NULL) { return error_set(err, STATUS_NO_MEMORY, "the stage"); }
    stage->store = store;
    enum status status = store_reader_open(store, &stage->reader, err);
    if (status != STATUS_OK) {
        stage_close(stage);
        return status;
    }
    *ret_stage = stage;
    return STATUS_OK;
}

void stage_close(struct stage *stage) {
    if (stage == NULL) { return; }
    store_reader_close(stage->reader);
    for (size_t i = 0; i < stage->chunk_count; i++) {
        memory_free(stage->chunks[i]);
    }
    memory_free(stage->chunks);
    memory_free(stage->entries);
    memory_free(stage->slots);
    memory_free(stage->order);
    memory_free(stage->scratch);
    memory_free(stage->after);
    memory_free(stage->digest_bytes);
    sha256_free(stage->digest);
    memory_free(stage);
}

void stage_reset(struct stage *stage) {
    if (stage->entry_count > 0) {
        memset(stage->slots, 0, stage->slot_count * sizeof *stage->slots);
    }
    stage->entry_count = 0;
    stage->order_count = 0;
    stage->after_count = 0;
    stage->chunk_current = 0;
    stage->chunk_used = 0;
}

size_t stage_bytes(const struct stage *stage) {
    return stage->chunk_current * STAGE_CHUNK_BYTES + stage->chunk_used;
}

size_t stage_entries(const struct stage *stage) {
    return stage->entry_count;
}

/* ---- get, put, delete ------------------------------------------------------------------------ */

enum status stage_reader(struct stage *stage, struct store_reader **ret_reader, struct error *err) {
    if (stage->reader_stale) {
        enum status status = store_reader_renew(stage->reader, err);
        if (status != STATUS_OK) { return status; }
        stage->reader_stale = false;
    }
    *ret_reader = stage->reader;
    return STATUS_OK;
}

enum status stage_get(struct stage *stage, enum store_table table, struct span key,
                      struct span *ret_value, struct error *err) {
    assert(key.size > 0 && key.size <= STORE_KEY_BYTES_MAX);

    const struct stage_entry *entry = stage_find(stage, table, key, stage_hash(table, key));
    if (entry != NULL && entry->deleted) {
        return error_set(err, STATUS_NOT_FOUND, "deleted in this epoch");
    }
    if (entry != NULL) {
        *ret_value = stage_entry_value(entry);
        return STATUS_OK;
    }

    struct store_reader *reader = NULL;
    enum status status = stage_reader(stage, &reader, err);
    if (status != STATUS_OK) { return status; }
    return store_get(reader, table, key, ret_value, err);
}

static enum status stage_no_memory(const struct stage *stage, struct error *err) {
    return error_set(err, STATUS_NO_MEMORY, "the stage, holding %zu entries in %zu bytes",
                     stage->entry_count, stage_bytes(stage));
}

static enum status stage_key_check(enum store_table table, struct span key, struct error *err) {
    if (key.size == 0 || key.size > STORE_KEY_BYTES_MAX) {
        return error_set(err, STATUS_LIMIT, "key of table %s: %zu bytes, allowed 1..%u",
                         store_table_name(table), key.size, STORE_KEY_BYTES_MAX);
    }
    return STATUS_OK;
}

/* A new entry with room for value_capacity bytes behind the key. NULL: no memory. */
static struct stage_entry *stage_add(struct stage *stage, enum store_table table, struct span key,
                                     uint64_t hash, size_t value_capacity) {
    if (stage->entry_count >= STAGE_ENTRIES_LIMIT || !stage_slots_room(stage) ||
        !stage_array_room((void **)&stage->entries, stage->entry_count, &stage->entry_capacity,
                          sizeof *stage->entries, STAGE_ENTRIES_MIN)) {
        return NULL;
    }
    uint8_t *bytes = stage_take(stage, key.size + value_capacity);
    if (bytes == NULL) { return NULL; }

    memcpy(bytes, key.data, key.size);
    struct stage_entry *entry = &stage->entries[stage->entry_count++];
    *entry = (struct stage_entry){.hash = hash,
                                  .key = bytes,
                                  .value = bytes + key.size,
                                  .value_capacity = (uint32_t)value_capacity,
                                  .key_size = (uint16_t)key.size,
                                  .table = (uint8_t)table};
    size_t slot = hash & (stage->slot_count - 1);
    while (stage->slots[slot] != 0) {
        slot = (slot + 1) & (stage->slot_count - 1);
    }
    stage->slots[slot] = (uint32_t)stage->entry_count;
    return entry;
}

/* What a value of size bytes is given: a quarter more, so that a growing one moves seldom. */
static size_t stage_capacity(size_t size) {
    return size < 16 ? size : size + size / 4;
}

enum status stage_put(struct stage *stage, enum store_table table, struct span key,
                      struct span value, struct error *err) {
    enum status status = stage_key_check(table, key, err);
    if (status != STATUS_OK) { return status; }
    if (value.size > STORE_VALUE_BYTES_MAX) {
        return error_set(err, STATUS_LIMIT, "value of table %s: %zu bytes, allowed %u",
                         store_table_name(table), value.size, STORE_VALUE_BYTES_MAX);
    }

    uint64_t hash = stage_hash(table, key);
    struct stage_entry *entry = stage_find(stage, table, key, hash);
    if (entry == NULL) {
        entry = stage_add(stage, table, key, hash, stage_capacity(value.size));
        if (entry == NULL) { return stage_no_memory(stage, err); }
    } else if (entry->value_capacity < value.size) {
        uint8_t *bytes = stage_take(stage, stage_capacity(value.size));
        if (bytes == NULL) { return stage_no_memory(stage, err); }
        entry->value = bytes;
        entry->value_capacity = (uint32_t)stage_capacity(value.size);
    }
    /* memmove: value may be what stage_get lent for this very key. */
    if (value.size > 0) { memmove(entry->value, value.data, value.size); }
    entry->value_size = (uint32_t)value.size;
    entry->deleted = false;
    return STATUS_OK;
}

enum status stage_delete(struct stage *stage, enum store_table table, struct span key,
                         struct error *err) {
    enum status status = stage_key_check(table, key, err);
    if (status != STATUS_OK) { return status; }

    uint64_t hash = stage_hash(table, key);
    struct stage_entry *entry = stage_find(stage, table, key, hash);
    if (entry == NULL) { entry = stage_add(stage, table, key, hash, 0); }
    if (entry == NULL) { return stage_no_memory(stage, err); }
    entry->value_size = 0;
    entry->deleted = true;
    return STATUS_OK;
}

/* ---- outside the digests --------------------------------------------------------------------- */

static enum status stage_after_add(struct stage *stage, enum stage_after_kind kind,
                                   enum store_table table, struct span key, struct span value,
                                   struct error *err) {
    enum status status = stage_key_check(table, key, err);
    if (status != STATUS_OK) { return status; }
    if (!stage_array_room((void **)&stage->after, stage->after_count, &stage->after_capacity,
                          sizeof *stage->after, STAGE_AFTER_MIN)) {
        return stage_no_memory(stage, err);
    }
    uint8_t *bytes = stage_take(stage, key.size + value.size);
    if (bytes == NULL) { return stage_no_memory(stage, err); }

    memcpy(bytes, key.data, key.size);
    if (value.size > 0) { memcpy(bytes + key.size, value.data, value.size); }
    stage->after[stage->after_count++] =
        (struct stage_after){.kind = kind,
                             .table = table,
                             .key = span_make(bytes, key.size),
                             .value = span_make(bytes + key.size, value.size)};
    return STATUS_OK;
}

enum status stage_trim_below(struct stage *stage, enum store_table table, struct span key,
                             struct error *err) {
    return stage_after_add(stage, STAGE_TRIM_BELOW, table, key, span_make(NULL, 0), err);
}

enum status stage_trim(struct stage *stage, enum store_table table, struct span key,
                       struct error *err) {
    return stage_after_add(stage, STAGE_TRIM, table, key, span_make(NULL, 0), err);
}

enum status stage_rewrite(struct stage *stage, enum store_table table, struct span key,
                          struct span value, struct error *err) {
    if (value.size > STORE_VALUE_BYTES_MAX) {
        return error_set(err, STATUS_LIMIT, "value of table %s: %zu bytes, allowed %u",
                         store_table_name(table), value.size, STORE_VALUE_BYTES_MAX);
    }
    return stage_after_add(stage, STAGE_REWRITE, table, key, value, err);
}
