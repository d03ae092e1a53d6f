/* SPDX-License-Identifier: Apache-2.0
 *
 * stage_parts.h - the inside of the stage, shared by stage.c (memory), stage_order.c (sorting and
 * digests) and stage_commit.c (LMDB).
 *
 *   slots  u32, open addressing ──▸ entries[] {hash, table, key, value} ──▸ bytes in chunks
 *   order  entries sorted by (table, key), made when first needed, good until an entry is added
 *   after  trims and rewrites: applied after the entries, outside every digest
 *
 * Chunks, slots and entries keep their memory from epoch to epoch: once the largest epoch has been
 * seen, the stage asks the heap for nothing.
 */
#ifndef STORAGE_STAGE_PARTS_H
#define STORAGE_STAGE_PARTS_H

#include "storage/store_parts.h"

#define STAGE_CHUNK_BYTES ((size_t)1024 * 1024)

struct stage_entry {
    uint64_t hash;           /* of key, seeded by table */
    uint8_t *key;            /* in the chunks */
    uint8_t *value;          /* in the chunks */
    uint32_t value_size;     /* bytes */
    uint32_t value_capacity; /* bytes; a value that fits is overwritten in place */
    uint16_t key_size;       /* bytes */
    uint8_t table;           /* enum store_table */
    bool deleted;            /* a pending delete: no value */
};

enum stage_after_kind {
    STAGE_TRIM,       /* delete key */
    STAGE_TRIM_BELOW, /* delete all keys < key */
    STAGE_REWRITE,    /* replace the value of key where it exists */
};

struct stage_after {
    enum stage_after_kind kind;
    enum store_table table;
    struct span key;   /* in the chunks */
    struct span value; /* in the chunks; REWRITE alone */
};

/* One entry's place in the order. prefix: the key's next 8 bytes after what all keys of its table
 * in this epoch share, big-endian, zero-padded: most comparisons end there. */
struct stage_place {
    uint64_t prefix;
    uint32_t entry;
};

struct stage {
    struct store *store;         /* borrows: until closed */
    struct store_reader *reader; /* owns */
    bool reader_stale;           /* renew before the next read */

    uint8_t **chunks; /* (chunk_count) of STAGE_CHUNK_BYTES; owns */
    size_t chunk_count;
    size_t chunk_current; /* the one being filled; < chunk_count, or 0 */
    size_t chunk_used;    /* bytes of it */

    struct stage_entry *entries; /* owns */
    size_t entry_count, entry_capacity;
    uint32_t *slots;   /* owns; entry index + 1, 0 = free */
    size_t slot_count; /* a power of two, or 0 */

    struct stage_place *order;   /* (order_capacity); owns */
    struct stage_place *scratch; /* (order_capacity); owns */
    size_t order_capacity;
    size_t order_count;                        /* entries sorted; valid when == entry_count */
    size_t table_start[STORE_TABLE_COUNT + 1]; /* places of table t: [start[t], start[t+1]) */

    struct stage_after *after; /* owns */
    size_t after_count, after_capacity;

    uint8_t *digest_bytes; /* encoding buffer; owns; NULL until the first digest */
    struct sha256 *digest; /* owns; NULL until the first digest */
};

static inline struct span stage_entry_key(const struct stage_entry *entry) {
    return span_make(entry->key, entry->key_size);
}

static inline struct span stage_entry_value(const struct stage_entry *entry) {
    return span_make(entry->value, entry->value_size);
}

/* Makes order valid. NO_MEMORY. */
MUST_CHECK enum status stage_sort(struct stage *stage, struct error *err);

#endif
