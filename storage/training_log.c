/* SPDX-License-Identifier: Apache-2.0
 *
 * training_log.c - rows and exclusions as bytes.
 *
 * Value in table training_log, key seq u64be: u8 present, u8 marks, u8 topic, partition, offset,
 * u64le user_key, item, zig-zag time, [f32 weight], [f32 lm, eval, eval_lm, sasrec rate],
 * [argument], [version], window_count, window...; integers are varints, what is in brackets stands
 * only where `present` says so, because nearly all rows have 1.0 and none.
 */
#include "storage/training_log.h"

#include <assert.h>

#include "storage/packing.h"
#include "storage/sequence.h"

enum row_present {
    ROW_REPEAT = 1, /* the flag itself */
    ROW_WEIGHT = 2,
    ROW_LM_RATE = 4,
    ROW_EVAL_RATE = 8,
    ROW_EVAL_LM_RATE = 16,
    ROW_SASREC_RATE = 32,
    ROW_ARGUMENT = 64,
    ROW_VERSION = 128,
};

#define ROW_BYTES_WORST (3 + 8 + 5 * 4 + 8 * PACKED_U64_BYTES + WINDOW_MAX * PACKED_U32_BYTES)
static_assert(ROW_BYTES_WORST <= STORE_VALUE_BYTES_MAX, "a row fits a value");

#define EXCLUSIONS_KEY_BYTES 9u
#define EXCLUSIONS_PARTS_MAX ((uint8_t)(SEEN_MAX * PACKED_U32_BYTES / STORE_VALUE_BYTES_MAX + 2u))

static struct span row_key(uint64_t seq, uint8_t bytes[8]) {
    put_u64be(bytes, seq);
    return span_make(bytes, 8);
}

/* ---- rows ------------------------------------------------------------------------------------ */

static uint8_t *pack_f32(uint8_t *at, float value) {
    uint32_t bits = 0;
    memcpy(&bits, &value, sizeof bits);
    put_u32le(at, bits);
    return at + 4;
}

static float unpack_f32(struct unpacker *u) {
    const uint8_t *bytes = unpack_bytes(u, 4);
    uint32_t bits = bytes != NULL ? get_u32le(bytes) : 0;
    float value = 0.0f;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Bitwise: what is read must be what was put, zero's sign and all. */
static bool is_one(float value) {
    uint32_t bits = 0;
    memcpy(&bits, &value, sizeof bits);
    return bits == UINT32_C(0x3f800000); /* IEEE 754: 1.0f */
}

static uint8_t row_present(const struct training_row *row) {
    unsigned present = (row->repeat ? (unsigned)ROW_REPEAT : 0u) |
                       (is_one(row->weight) ? 0u : (unsigned)ROW_WEIGHT) |
                       (is_one(row->lm_rate) ? 0u : (unsigned)ROW_LM_RATE) |
                       (is_one(row->eval_rate) ? 0u : (unsigned)ROW_EVAL_RATE) |
                       (is_one(row->eval_lm_rate) ? 0u : (unsigned)ROW_EVAL_LM_RATE) |
                       (is_one(row->sasrec_rate) ? 0u : (unsigned)ROW_SASREC_RATE) |
                       (row->argument == 0 ? 0u : (unsigned)ROW_ARGUMENT) |
                       (row->version == 0 ? 0u : (unsigned)ROW_VERSION);
    return (uint8_t)present;
}

static size_t row_encode(const struct training_row *row, uint8_t bytes[ROW_BYTES_WORST]) {
    uint8_t present = row_present(row);
    bytes[0] = present;
    bytes[1] = row->marks;
    bytes[2] = row->topic;
    uint8_t *at = pack_u64(bytes + 3, (uint32_t)row->partition);
    at = pack_u64(at, (uint64_t)row->offset);
    put_u64le(at, row->user_key);
    at = pack_u64(at + 8, row->item);
    at = pack_i64(at, row->time_ms);
    if (present & ROW_WEIGHT) { at = pack_f32(at, row->weight); }
    if (present & ROW_LM_RATE) { at = pack_f32(at, row->lm_rate); }
    if (present & ROW_EVAL_RATE) { at = pack_f32(at, row->eval_rate); }
    if (present & ROW_EVAL_LM_RATE) { at = pack_f32(at, row->eval_lm_rate); }
    if (present & ROW_SASREC_RATE) { at = pack_f32(at, row->sasrec_rate); }
    if (present & ROW_ARGUMENT) { at = pack_u64(at, row->argument); }
    if (present & ROW_VERSION) { at = pack_u64(at, row->version); }
    at = pack_u64(at, row->window_count);
    for (uint32_t i = 0; i < row->window_count; i++) {
        at = pack_u64(at, row->window[i]);
    }
    return (size_t)(at - bytes);
}

static enum status row_decode(uint64_t seq, struct span value, struct training_row *row,
                              struct error *err) {
    struct unpacker u = unpack_from(value);
    uint8_t present = unpack_u8(&u);
    row->seq = seq;
    row->repeat = (present & ROW_REPEAT) != 0;
    row->marks = unpack_u8(&u);
    row->topic = unpack_u8(&u);
    row->partition = (int32_t)unpack_u32(&u);
    row->offset = (int64_t)unpack_u64(&u);
    const uint8_t *user_key = unpack_bytes(&u, 8);
    row->user_key = user_key != NULL ? get_u64le(user_key) : 0;
    row->item = unpack_u32(&u);
    row->time_ms = unpack_i64(&u);
    row->weight = present & ROW_WEIGHT ? unpack_f32(&u) : 1.0f;
    row->lm_rate = present & ROW_LM_RATE ? unpack_f32(&u) : 1.0f;
    row->eval_rate = present & ROW_EVAL_RATE ? unpack_f32(&u) : 1.0f;
    row->eval_lm_rate = present & ROW_EVAL_LM_RATE ? unpack_f32(&u) : 1.0f;
    row->sasrec_rate = present & ROW_SASREC_RATE ? unpack_f32(&u) : 1.0f;
    row->argument = present & ROW_ARGUMENT ? unpack_u64(&u) : 0;
    row->version = present & ROW_VERSION ? unpack_u64(&u) : 0;
    row->window_count = unpack_u32(&u);
    if (row->window_count > WINDOW_MAX) { goto malformed; }
    for (uint32_t i = 0; i < row->window_count; i++) {
        row->window[i] = unpack_u32(&u);
    }
    if (unpack_done(&u)) { return STATUS_OK; }

malformed:
    return error_set(err, STATUS_CORRUPT, "row %llu of the training log is malformed",
                     (unsigned long long)seq);
}

enum status training_log_put(struct stage *stage, const struct training_row *row,
                             struct error *err) {
    assert(row->window_count <= WINDOW_MAX);

    uint8_t key[8], bytes[ROW_BYTES_WORST];
    size_t size = row_encode(row, bytes);
    return stage_put(stage, STORE_TRAINING_LOG, row_key(row->seq, key), span_make(bytes, size),
                     err);
}

enum status training_log_get(struct stage *stage, uint64_t seq, struct training_row *ret_row,
                             struct error *err) {
    uint8_t key[8];
    struct span value = {0};
    enum status status = stage_get(stage, STORE_TRAINING_LOG, row_key(seq, key), &value, err);
    if (status == STATUS_NOT_FOUND) {
        return error_set(err, STATUS_NOT_FOUND, "the training log has no row %llu",
                         (unsigned long long)seq);
    }
    return status == STATUS_OK ? row_decode(seq, value, ret_row, err) : status;
}

struct row_reading {
    uint64_t next, last;       /* seqs wanted */
    struct training_row *rows; /* (max) */
    int max, count;
    enum status status;
    struct error *err;
};

static bool read_row(void *context, struct span key, struct span value) {
    struct row_reading *reading = context;
    uint64_t seq = key.size == 8 ? get_u64be(key.data) : 0;
    if (seq != reading->next) {
        reading->status =
            error_set(reading->err, STATUS_CORRUPT, "row %llu of the training log is missing",
                      (unsigned long long)reading->next);
        return false;
    }
    reading->status = row_decode(seq, value, &reading->rows[reading->count], reading->err);
    if (reading->status != STATUS_OK) { return false; }
    reading->count++;
    reading->next++;
    return reading->count < reading->max && reading->next <= reading->last;
}

enum status training_log_read(struct store_reader *reader, uint64_t first, uint64_t last,
                              struct training_row *rows, int max, int *ret_count,
                              struct error *err) {
    assert(max >= 0);

    struct row_reading reading = {first, last, rows, max, 0, STATUS_OK, err};
    uint8_t key[8];
    enum status status = STATUS_OK;
    if (max > 0 && first <= last) {
        status =
            store_scan(reader, STORE_TRAINING_LOG, row_key(first, key), read_row, &reading, err);
    }
    if (status == STATUS_OK) { status = reading.status; }
    if (status != STATUS_OK) { return status; }
    *ret_count = reading.count;
    return STATUS_OK;
}

/* ---- exclusions ------------------------------------------------------------------------------ */

static struct span exclusions_key(uint64_t seq, uint8_t part, uint8_t bytes[9]) {
    put_u64be(bytes, seq);
    bytes[8] = part;
    return span_make(bytes, EXCLUSIONS_KEY_BYTES);
}

enum status training_exclusions_put(struct stage *stage, uint64_t seq, const uint32_t *items,
                                    uint32_t count, struct error *err) {
    assert(count <= SEEN_MAX);

    uint8_t key[EXCLUSIONS_KEY_BYTES], bytes[STORE_VALUE_BYTES_MAX];
    uint8_t part = 0;
    uint32_t before = 0; /* each part starts again from 0 */
    uint8_t *at = bytes;
    for (uint32_t i = 0; i < count; i++) {
        assert(i == 0 || items[i] > items[i - 1]);
        at = pack_u64(at, items[i] - before);
        before = items[i];
        bool full = (size_t)(bytes + sizeof bytes - at) < PACKED_U32_BYTES;
        if (!full && i + 1 < count) { continue; }
        enum status status = stage_put(stage, STORE_EXCLUSIONS, exclusions_key(seq, part, key),
                                       span_make(bytes, (size_t)(at - bytes)), err);
        if (status != STATUS_OK) { return status; }
        part++;
        at = bytes;
        before = 0;
    }
    return STATUS_OK;
}

enum status training_exclusions_read(struct store_reader *reader, uint64_t seq, uint32_t *items,
                                     uint32_t max, uint32_t *ret_count, struct error *err) {
    uint32_t count = 0;
    for (uint8_t part = 0; part < EXCLUSIONS_PARTS_MAX; part++) {
        uint8_t key[EXCLUSIONS_KEY_BYTES];
        struct span value = {0};
        enum status status =
            store_get(reader, STORE_EXCLUSIONS, exclusions_key(seq, part, key), &value, err);
        if (status == STATUS_NOT_FOUND) { break; }
        if (status != STATUS_OK) { return status; }

        struct unpacker u = unpack_from(value);
        uint32_t item = 0;
        while (u.good && u.at < u.end) {
            item += unpack_u32(&u);
            if (count == max) {
                return error_set(err, STATUS_LIMIT, "row %llu has more than %u exclusions",
                                 (unsigned long long)seq, max);
            }
            items[count++] = item;
        }
        if (!u.good) {
            return error_set(err, STATUS_CORRUPT, "exclusions of row %llu are malformed",
                             (unsigned long long)seq);
        }
    }
    *ret_count = count;
    return STATUS_OK;
}

/* ---- trim, erase, bounds --------------------------------------------------------------------- */

enum status training_log_trim(struct stage *stage, uint64_t seq, struct error *err) {
    uint8_t key[EXCLUSIONS_KEY_BYTES];
    enum status status = stage_trim_below(stage, STORE_TRAINING_LOG, row_key(seq, key), err);
    if (status != STATUS_OK) { return status; }
    return stage_trim_below(stage, STORE_EXCLUSIONS, exclusions_key(seq, 0, key), err);
}

struct row_erasing {
    struct stage *stage;
    struct store_reader *reader;
    uint64_t user_key, last;
    enum status status;
    struct error *err;
};

/* Drops the row's exclusions; they say what the user consumed. */
static enum status erase_exclusions(struct row_erasing *erasing, uint64_t seq) {
    for (uint8_t part = 0; part < EXCLUSIONS_PARTS_MAX; part++) {
        uint8_t key[EXCLUSIONS_KEY_BYTES];
        struct span value = {0};
        struct span wanted = exclusions_key(seq, part, key);
        enum status status =
            store_get(erasing->reader, STORE_EXCLUSIONS, wanted, &value, erasing->err);
        if (status == STATUS_NOT_FOUND) { return STATUS_OK; }
        if (status == STATUS_OK) {
            status = stage_trim(erasing->stage, STORE_EXCLUSIONS, wanted, erasing->err);
        }
        if (status != STATUS_OK) { return status; }
    }
    return STATUS_OK;
}

static bool erase_row(void *context, struct span key, struct span value) {
    struct row_erasing *erasing = context;
    uint64_t seq = key.size == 8 ? get_u64be(key.data) : UINT64_MAX;
    if (seq > erasing->last) { return false; }
    struct training_row row;
    enum status status = row_decode(seq, value, &row, erasing->err);
    if (status == STATUS_OK && row.user_key == erasing->user_key) {
        row.user_key = 0;
        row.item = ITEM_ERASED;
        row.weight = 0.0f;
        row.window_count = 0;
        row.repeat = false;
        uint8_t bytes[ROW_BYTES_WORST];
        size_t size = row_encode(&row, bytes);
        status = stage_rewrite(erasing->stage, STORE_TRAINING_LOG, key, span_make(bytes, size),
                               erasing->err);
        if (status == STATUS_OK) { status = erase_exclusions(erasing, seq); }
    }
    erasing->status = status;
    return status == STATUS_OK;
}

enum status training_log_erase(struct stage *stage, struct store_reader *reader, uint64_t user_key,
                               uint64_t first, uint64_t last, struct error *err) {
    struct row_erasing erasing = {stage, reader, user_key, last, STATUS_OK, err};
    uint8_t key[8];
    enum status status =
        store_scan(reader, STORE_TRAINING_LOG, row_key(first, key), erase_row, &erasing, err);
    return status == STATUS_OK ? erasing.status : status;
}

static bool first_key(void *context, struct span key, struct span value) {
    (void)value;
    uint64_t *first = context;
    *first = get_u64be(key.data);
    return false;
}

enum status training_log_bounds(struct store_reader *reader, uint64_t *ret_first,
                                uint64_t *ret_last, struct error *err) {
    struct span key = {0}, value = {0};
    uint64_t first = 0;
    enum status status = store_last(reader, STORE_TRAINING_LOG, &key, &value, err);
    if (status == STATUS_OK) {
        *ret_last = get_u64be(key.data);
        status = store_scan(reader, STORE_TRAINING_LOG, span_make(NULL, 0), first_key, &first, err);
    }
    if (status == STATUS_OK) { *ret_first = first; }
    return status;
}
