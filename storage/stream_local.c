/* SPDX-License-Identifier: Apache-2.0
 *
 * stream_local.c - opens the embedded stream: environment, topics, owners and committed positions.
 *
 * Why it exists: a first user, a test and an edge machine have no Kafka. The promises are the same:
 * one LMDB transaction, synced in full, makes outputs, positions and token last together, and a
 * fresh random owner per fence keeps an older writer out.
 */
#include "storage/stream_local.h"

#include <assert.h>
#include <sys/random.h>

#include "base/failpoint.h"
#include "base/memory.h"
#include "storage/stream_local_parts.h"

#define LOCAL_MODE          0640
#define LOCAL_READERS_MAX   126u
#define LOCAL_TABLES        4u
#define LOCAL_MAP_SPARE     ((uint64_t)64 << 20) /* beyond twice the retention */
#define LOCAL_MAP_BYTES_MIN ((uint64_t)1 << 20)
#define LOCAL_TOTAL_KEY     0xffu
#define LOCAL_END_BYTES     24u

/* ---- small tables ---------------------------------------------------------------------------- */

int local_put(MDB_txn *txn, MDB_dbi table, struct span key, struct span value) {
    MDB_val wanted = lmdb_val(key);
    MDB_val room = {value.size + 4, NULL};
    if (fault_fires(FAULT_STORE)) { return ENOSPC; }
    int code = mdb_put(txn, table, &wanted, &room, MDB_RESERVE);
    if (code != 0) { return code; }
    uint8_t *bytes = room.mv_data;
    if (value.size > 0) { memcpy(bytes + 4, value.data, value.size); }
    put_u32le(bytes, crc32c(0, value.data, value.size));
    return 0;
}

/* Strips and checks the CRC in front. */
static enum status local_unwrap(const struct stream_local *local, const char *what,
                                struct span stored, struct span *ret_value, struct error *err) {
    if (stored.size < 4 || crc32c(0, stored.data + 4, stored.size - 4) != get_u32le(stored.data)) {
        return error_set(err, STATUS_CORRUPT, "'%s': bad CRC in %s", local->path, what);
    }
    *ret_value = span_make(stored.data + 4, stored.size - 4);
    return STATUS_OK;
}

/* Reads a value; *ret_value is empty when there is none. */
static enum status local_get(struct stream_local *local, MDB_txn *txn, MDB_dbi table,
                             struct span key, const char *what, struct span *ret_value,
                             struct error *err) {
    MDB_val wanted = lmdb_val(key);
    MDB_val stored;
    int code = mdb_get(txn, table, &wanted, &stored);
    if (code == MDB_NOTFOUND) {
        *ret_value = span_make(NULL, 0);
        return STATUS_OK;
    }
    if (code != 0) { return lmdb_failed(err, code, local->path, "reading %s", what); }
    return local_unwrap(local, what, lmdb_span(&stored), ret_value, err);
}

enum status local_place_check(const struct stream_local *local, struct local_place place,
                              struct error *err) {
    assert((int)place.topic >= 0 && (int)place.topic < STREAM_TOPIC_COUNT);
    if (place.partition < 0 || place.partition >= local->partitions[place.topic]) {
        return error_set(err, STATUS_NOT_FOUND, "topic %s has no partition %d, it has %d",
                         stream_topic_name(place.topic), place.partition,
                         local->partitions[place.topic]);
    }
    return STATUS_OK;
}

static struct span local_end_key(struct local_place place, uint8_t key[5]) {
    key[0] = (uint8_t)place.topic;
    put_u32be(key + 1, (uint32_t)place.partition);
    return span_make(key, 5);
}

enum status local_end_load(struct stream_local *local, MDB_txn *txn, struct local_place place,
                           struct local_end *ret_end, struct error *err) {
    uint8_t key[5];
    struct span value = {0};
    enum status status = local_get(local, txn, local->ends, local_end_key(place, key),
                                   "the end of a partition", &value, err);
    if (status != STATUS_OK) { return status; }
    *ret_end = (struct local_end){0};
    if (value.data == NULL) { return STATUS_OK; }
    if (value.size != LOCAL_END_BYTES) {
        return error_set(err, STATUS_CORRUPT, "'%s': end of %s/%d has %zu bytes", local->path,
                         stream_topic_name(place.topic), place.partition, value.size);
    }
    ret_end->next = get_u64le(value.data);
    ret_end->first = get_u64le(value.data + 8);
    ret_end->bytes = get_u64le(value.data + 16);
    return STATUS_OK;
}

enum status local_end_save(struct stream_local *local, MDB_txn *txn, struct local_place place,
                           const struct local_end *end, struct error *err) {
    uint8_t key[5], value[LOCAL_END_BYTES];
    put_u64le(value, end->next);
    put_u64le(value + 8, end->first);
    put_u64le(value + 16, end->bytes);
    int code =
        local_put(txn, local->ends, local_end_key(place, key), span_make(value, sizeof value));
    if (code != 0) { return lmdb_failed(err, code, local->path, "writing an end"); }
    return STATUS_OK;
}

enum status local_total_load(struct stream_local *local, MDB_txn *txn, uint64_t *ret_bytes,
                             struct error *err) {
    uint8_t key = LOCAL_TOTAL_KEY;
    struct span value = {0};
    enum status status =
        local_get(local, txn, local->ends, span_make(&key, 1), "the size", &value, err);
    if (status != STATUS_OK) { return status; }
    *ret_bytes = value.size == 8 ? get_u64le(value.data) : 0;
    return STATUS_OK;
}

enum status local_total_save(struct stream_local *local, MDB_txn *txn, uint64_t bytes,
                             struct error *err) {
    uint8_t key = LOCAL_TOTAL_KEY;
    uint8_t value[8];
    put_u64le(value, bytes);
    int code = local_put(txn, local->ends, span_make(&key, 1), span_make(value, sizeof value));
    if (code != 0) { return lmdb_failed(err, code, local->path, "writing the size"); }
    return STATUS_OK;
}

/* ---- commits --------------------------------------------------------------------------------- */

enum status local_commit_parse(const struct stream_local *local, struct span stored,
                               struct local_commit *ret_commit, struct error *err) {
    struct span value = {0};
    enum status status = local_unwrap(local, "a commit", stored, &value, err);
    if (status != STATUS_OK) { return status; }

    const size_t head = LOCAL_OWNER_BYTES + 1;
    size_t token_size = value.size >= head ? value.data[LOCAL_OWNER_BYTES] : 0;
    if (value.size < head + token_size + 4) { goto malformed; }
    ret_commit->owner = value.data;
    ret_commit->token = span_make(value.data + head, token_size);
    ret_commit->count = get_u32le(value.data + head + token_size);
    ret_commit->positions = value.data + head + token_size + 4;
    size_t left = value.size - head - token_size - 4;
    if (ret_commit->count > LOCAL_PARTITIONS_MAX ||
        left != (size_t)ret_commit->count * LOCAL_POSITION_BYTES) {
        goto malformed;
    }
    return STATUS_OK;

malformed:
    return error_set(err, STATUS_CORRUPT, "'%s': malformed commit", local->path);
}

enum status local_commit_load(struct stream_local *local, MDB_txn *txn, const char *identity,
                              struct local_commit *ret_commit, struct error *err) {
    MDB_val key = lmdb_val(span_of(identity));
    MDB_val stored;
    int code = mdb_get(txn, local->commits, &key, &stored);
    if (code != 0) {
        return lmdb_failed(err, code, local->path, "reading the commit of '%s'", identity);
    }
    return local_commit_parse(local, lmdb_span(&stored), ret_commit, err);
}

struct local_position local_commit_position(const struct local_commit *commit, uint32_t index) {
    assert(index < commit->count);
    const uint8_t *at = commit->positions + (size_t)index * LOCAL_POSITION_BYTES;
    struct local_position position = {
        .place = {(enum stream_topic)at[0], (int32_t)get_u32le(at + 1)}};
    for (size_t i = 0; i < LOCAL_COMMITS_KEPT; i++) {
        position.next[i] = get_u64le(at + 5 + 8 * i);
    }
    return position;
}

bool local_commit_find(const struct local_commit *commit, struct local_place place,
                       struct local_position *ret_position) {
    for (uint32_t i = 0; i < commit->count; i++) {
        struct local_position position = local_commit_position(commit, i);
        if (position.place.topic == place.topic && position.place.partition == place.partition) {
            *ret_position = position;
            return true;
        }
    }
    return false;
}

/* Writes the record again with another owner. A first one has no token and no positions. */
static enum status local_owner_write(struct stream_local *local, MDB_txn *txn,
                                     const uint8_t owner[LOCAL_OWNER_BYTES], struct error *err) {
    struct local_commit commit = {0};
    enum status status = local_commit_load(local, txn, local->identity, &commit, err);
    if (status != STATUS_OK && status != STATUS_NOT_FOUND) { return status; }

    size_t positions_bytes = (size_t)commit.count * LOCAL_POSITION_BYTES;
    size_t size = LOCAL_OWNER_BYTES + 1 + commit.token.size + 4 + positions_bytes;
    uint8_t *value = memory_take(size);
    if (value == NULL) { return error_set(err, STATUS_NO_MEMORY, "a commit of %zu bytes", size); }
    memcpy(value, owner, LOCAL_OWNER_BYTES);
    uint8_t *at = value + LOCAL_OWNER_BYTES;
    *at++ = (uint8_t)commit.token.size;
    if (commit.token.size > 0) { memcpy(at, commit.token.data, commit.token.size); }
    at += commit.token.size;
    put_u32le(at, commit.count);
    if (positions_bytes > 0) { memcpy(at + 4, commit.positions, positions_bytes); }

    int code = local_put(txn, local->commits, span_of(local->identity), span_make(value, size));
    memory_free(value);
    if (code != 0) { return lmdb_failed(err, code, local->path, "writing the owner"); }
    return STATUS_OK;
}

static enum status local_fence(struct stream *s, stream_wait wait, void *wait_context,
                               struct error *err) {
    struct stream_local *local = stream_local_of(s);
    assert(local->identity[0] != '\0');
    (void)wait; /* the writer lock is held for milliseconds */
    (void)wait_context;

    uint8_t owner[LOCAL_OWNER_BYTES];
    if (getrandom(owner, sizeof owner, 0) != (ssize_t)sizeof owner) {
        return error_errno(err, errno, "random bytes for an owner");
    }
    int dead = 0;
    (void)mdb_reader_check(local->env, &dead); /* only frees pages of killed readers sooner */

    MDB_txn *txn = NULL;
    int code = lmdb_begin_write(local->env, &txn);
    if (code != 0) { return lmdb_failed(err, code, local->path, "fencing"); }
    enum status status = local_owner_write(local, txn, owner, err);
    if (status != STATUS_OK) {
        mdb_txn_abort(txn);
        return status;
    }
    code = lmdb_commit(txn);
    if (code != 0) { return lmdb_failed(err, code, local->path, "committing the owner"); }
    memcpy(local->owner, owner, sizeof owner);
    local->fenced_in = true;
    local->in_transaction = false; /* an open one belonged to the owner before */
    return failpoint_pass(FAILPOINT_local_fenced, err);
}

static enum status local_committed(struct stream *s, struct stream_position *positions, int count,
                                   char ret_token[STREAM_TOKEN_BYTES_MAX], struct error *err) {
    struct stream_local *local = stream_local_of(s);
    assert(local->identity[0] != '\0');

    MDB_txn *txn = NULL;
    int code = mdb_txn_begin(local->env, NULL, MDB_RDONLY, &txn);
    if (code != 0) { return lmdb_failed(err, code, local->path, "reading positions"); }
    struct local_commit commit = {0};
    enum status status = local_commit_load(local, txn, local->identity, &commit, err);
    if (status == STATUS_OK && commit.token.size >= STREAM_TOKEN_BYTES_MAX) {
        status = error_set(err, STATUS_CORRUPT, "'%s': token of %zu bytes", local->path,
                           commit.token.size);
    }
    if (status == STATUS_OK || status == STATUS_NOT_FOUND) {
        for (int i = 0; i < count; i++) {
            struct local_place place = {positions[i].topic, positions[i].partition};
            struct local_position found;
            bool known = local_commit_find(&commit, place, &found);
            positions[i].next = known ? (int64_t)found.next[0] : -1;
        }
        if (commit.token.size > 0) { memcpy(ret_token, commit.token.data, commit.token.size); }
        ret_token[commit.token.size] = '\0';
        status = STATUS_OK;
    }
    mdb_txn_abort(txn);
    return status;
}

/* ---- open and close -------------------------------------------------------------------------- */

static enum status local_partitions(struct stream *s, enum stream_topic topic, int32_t *ret_count,
                                    struct error *err) {
    (void)err; /* every topic exists from the first open */
    assert((int)topic >= 0 && (int)topic < STREAM_TOPIC_COUNT);
    *ret_count = stream_local_of(s)->partitions[topic];
    return STATUS_OK;
}

static bool local_tainted(struct stream *s) {
    (void)s; /* there is no connection to be disturbed */
    return false;
}

static void local_close(struct stream *s) {
    struct stream_local *local = stream_local_of(s);
    local_consumer_free(&local->consumer);
    if (local->env != NULL) { mdb_env_close(local->env); }
    buffer_free(&local->pending_bytes);
    buffer_free(&local->commit_bytes);
    memory_free(local->pending);
    memory_free(local->writing);
    memory_free(local->touched);
    memory_free(local);
}

static const struct stream_ops local_ops = {
    .name = "local",
    .partitions = local_partitions,
    .fence = local_fence,
    .committed = local_committed,
    .bounds = local_bounds,
    .tail = local_tail,
    .read = local_read,
    .assign = local_assign,
    .poll = local_poll,
    .begin = local_begin,
    .publish = local_publish,
    .commit = local_commit_all,
    .abort = local_abort,
    .tainted = local_tainted,
    .lag = local_lag,
    .close = local_close,
};

/* Reads the topics' partition counts, writing them where the folder is new. */
static enum status local_topics_open(struct stream_local *local, MDB_txn *txn, int32_t partitions,
                                     struct error *err) {
    for (int t = 0; t < STREAM_TOPIC_COUNT; t++) {
        uint8_t key = (uint8_t)t;
        struct span value = {0};
        enum status status =
            local_get(local, txn, local->topics, span_make(&key, 1), "a topic", &value, err);
        if (status != STATUS_OK) { return status; }
        if (value.size == 4) {
            uint32_t count = get_u32le(value.data);
            if (count == 0 || count > LOCAL_PARTITIONS_MAX) {
                return error_set(err, STATUS_CORRUPT, "'%s': topic %s has %u partitions",
                                 local->path, stream_topic_name((enum stream_topic)t), count);
            }
            local->partitions[t] = (int32_t)count;
            continue;
        }
        uint8_t bytes[4];
        local->partitions[t] = t < STREAM_INPUT_COUNT ? partitions : 1;
        put_u32le(bytes, (uint32_t)local->partitions[t]);
        int code = local_put(txn, local->topics, span_make(&key, 1), span_make(bytes, 4));
        if (code != 0) { return lmdb_failed(err, code, local->path, "making a topic"); }
    }
    return STATUS_OK;
}

static enum status local_tables_open(struct stream_local *local, int32_t partitions,
                                     struct error *err) {
    const struct {
        const char *name;
        MDB_dbi *dbi;
    } tables[LOCAL_TABLES] = {{"records", &local->records},
                              {"ends", &local->ends},
                              {"commits", &local->commits},
                              {"topics", &local->topics}};
    MDB_txn *txn = NULL;
    int code = lmdb_begin_write(local->env, &txn);
    for (size_t i = 0; i < LOCAL_TABLES && code == 0; i++) {
        code = mdb_dbi_open(txn, tables[i].name, MDB_CREATE, tables[i].dbi);
    }
    enum status status = STATUS_OK;
    if (code == 0) { status = local_topics_open(local, txn, partitions, err); }
    if (code == 0 && status == STATUS_OK) {
        code = lmdb_commit(txn);
        txn = NULL;
    }
    if (txn != NULL) { mdb_txn_abort(txn); }
    if (code != 0) { return lmdb_failed(err, code, local->path, "opening tables"); }
    return status;
}

static enum status local_env_open(struct stream_local *local,
                                  const struct stream_local_settings *settings, struct error *err) {
    uint64_t map_bytes = settings->map_bytes_max;
    uint64_t map_bytes_min = settings->retention_bytes * 2 + LOCAL_MAP_SPARE;
    if (settings->retention_bytes > 0 && map_bytes < map_bytes_min) { map_bytes = map_bytes_min; }
    if (map_bytes < LOCAL_MAP_BYTES_MIN) { map_bytes = LOCAL_MAP_BYTES_MIN; }

    int dead = 0;
    int code = mdb_env_create(&local->env);
    if (code == 0) { code = mdb_env_set_maxdbs(local->env, LOCAL_TABLES); }
    if (code == 0) { code = mdb_env_set_maxreaders(local->env, LOCAL_READERS_MAX); }
    if (code == 0) {
        code = mdb_env_set_mapsize(local->env, (size_t)(map_bytes & ~UINT64_C(4095)));
    }
    if (code == 0) { code = mdb_env_open(local->env, settings->path, MDB_NOTLS, LOCAL_MODE); }
    if (code == 0) { code = mdb_reader_check(local->env, &dead); }
    if (code != 0) { return lmdb_failed(err, code, local->path, "opening the stream"); }
    return STATUS_OK;
}

/* The scratch of write transactions: one slot for each partition of each topic. */
static enum status local_places_make(struct stream_local *local, struct error *err) {
    int32_t count = 0;
    for (int t = 0; t < STREAM_TOPIC_COUNT; t++) {
        local->first_place[t] = count;
        count += local->partitions[t];
    }
    local->first_place[STREAM_TOPIC_COUNT] = count;
    local->writing = MEMORY_TAKE_ARRAY(struct local_writing, count);
    local->touched = MEMORY_TAKE_ARRAY(int32_t, count);
    if (local->writing == NULL || local->touched == NULL) {
        return error_set(err, STATUS_NO_MEMORY, "ends of %d partitions", count);
    }
    for (int t = 0; t < STREAM_TOPIC_COUNT; t++) {
        for (int32_t p = 0; p < local->partitions[t]; p++) {
            local->writing[local->first_place[t] + p].place =
                (struct local_place){(enum stream_topic)t, p};
        }
    }
    return STATUS_OK;
}

enum status stream_local_open(const struct stream_local_settings *settings,
                              struct stream **ret_stream, struct error *err) {
    assert(settings->path != NULL);
    assert(settings->partitions <= LOCAL_PARTITIONS_MAX);

    const char *identity = settings->identity != NULL ? settings->identity : "";
    if (strlen(identity) > LOCAL_IDENTITY_MAX) {
        return error_set(err, STATUS_LIMIT, "identity of %zu bytes, allowed %u", strlen(identity),
                         LOCAL_IDENTITY_MAX);
    }
    struct stream_local *local = memory_take_zeroed(1, sizeof *local);
    if (local == NULL) { return error_set(err, STATUS_NO_MEMORY, "the embedded stream"); }
    local->stream.ops = &local_ops;
    local->consumer.notify = -1;
    local->retention_bytes = settings->retention_bytes;
    local->pending_bytes.limit = LOCAL_PENDING_BYTES_MAX;
    memcpy(local->identity, identity, strlen(identity) + 1);

    int32_t partitions = settings->partitions > 0 ? settings->partitions : 1;
    enum status status = path_join(local->path, settings->path, "", err);
    if (status == STATUS_OK) { status = dir_make(settings->path, err); }
    if (status == STATUS_OK) { status = local_env_open(local, settings, err); }
    if (status == STATUS_OK) { status = local_tables_open(local, partitions, err); }
    if (status == STATUS_OK) { status = local_places_make(local, err); }
    if (status != STATUS_OK) {
        local_close(&local->stream);
        return status;
    }
    *ret_stream = &local->stream;
    return STATUS_OK;
}
