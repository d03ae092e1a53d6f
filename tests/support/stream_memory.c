/* SPDX-License-Identifier: Apache-2.0
 *
 * stream_memory.c - see stream_memory.h. Arrays that grow, one lock, and no cleverness: the flow
 * tests trust it.
 */
#include "tests/support/stream_memory.h"

#include <assert.h>
#include <pthread.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/memory.h"
#include "tests/support/unit.h"

#define RUN_MAX        256
#define IDENTITIES_MAX 8
#define NAME_BYTES     64
#define WAIT_US        1000

struct memory_record {
    struct stream_record record; /* spans and names into bytes */
    uint8_t *bytes;              /* owns */
};

struct memory_partition {
    struct memory_record *records; /* (count - first) owns; record of offset o at o - first */
    int64_t first, end;
    size_t capacity;
};

struct memory_identity {
    char name[NAME_BYTES];
    uint64_t owner; /* of the last fence */
    char token[STREAM_TOKEN_BYTES_MAX];
    struct stream_position positions[STREAM_POSITIONS_MAX];
    int position_count;
};

struct memory_broker {
    pthread_mutex_t lock; /* recursive: a sink may ask the stream again */
    int32_t partition_count[STREAM_TOPIC_COUNT];
    struct memory_partition *partitions[STREAM_TOPIC_COUNT]; /* owns */
    struct memory_identity identities[IDENTITIES_MAX];
    int identity_count;
    int left[MEMORY_FAULT_COUNT]; /* calls until the fault; 0 = disarmed */
    bool failed[MEMORY_FAULT_COUNT];
    int commits;
};

struct stream_memory {
    struct stream stream;             /* first member */
    struct memory_broker *broker;     /* borrows: until closed */
    struct memory_identity *identity; /* in the broker; NULL: reads only */
    uint64_t owner;                   /* 0: not fenced yet */
    bool in_transaction, tainted;
    struct memory_record *pending; /* owns */
    size_t pending_count, pending_capacity;
    struct stream_position positions[STREAM_POSITIONS_MAX]; /* assigned */
    int position_count, turn;
};

static struct stream_memory *memory_of(struct stream *stream) {
    return (struct stream_memory *)(void *)stream;
}

/* True when this call is the planned one. */
static bool fault_now(struct memory_broker *broker, enum memory_fault fault) {
    if (broker->left[fault] == 0 || --broker->left[fault] > 0) { return false; }
    broker->failed[fault] = true;
    return true;
}

/* ---- records --------------------------------------------------------------------------------- */

static struct span keep_bytes(uint8_t **at, struct span bytes) {
    if (bytes.data == NULL) { return bytes; }
    if (bytes.size > 0) { memcpy(*at, bytes.data, bytes.size); }
    struct span kept = span_make(*at, bytes.size);
    *at += bytes.size;
    return kept;
}

static struct memory_record record_of(const struct stream_output *output, int32_t partition) {
    assert(output->header_count <= STREAM_HEADERS_MAX);
    size_t size = output->key.size + output->value.size + 1;
    for (int i = 0; i < output->header_count; i++) {
        size += strlen(output->headers[i].name) + 1 + output->headers[i].value.size;
    }
    struct memory_record kept = {.bytes = memory_take(size)};
    assert_non_null(kept.bytes);
    uint8_t *at = kept.bytes;
    kept.record.topic = output->topic;
    kept.record.partition = partition;
    kept.record.timestamp_ms =
        output->timestamp_ms >= 0 ? output->timestamp_ms : clock_wall_us() / 1000;
    kept.record.key = keep_bytes(&at, output->key);
    kept.record.value = keep_bytes(&at, output->value);
    kept.record.header_count = output->header_count;
    for (int i = 0; i < output->header_count; i++) {
        const char *name = output->headers[i].name;
        struct span name_kept = keep_bytes(&at, span_make(name, strlen(name) + 1));
        kept.record.headers[i].name = (const char *)name_kept.data;
        kept.record.headers[i].value = keep_bytes(&at, output->headers[i].value);
    }
    return kept;
}

static void records_room(struct memory_record **records, size_t count, size_t *capacity) {
    if (count < *capacity) { return; }
    *capacity = *capacity == 0 ? 64 : *capacity * 2;
    *records = memory_resize(*records, *capacity * sizeof **records);
    assert_non_null(*records);
}

static struct memory_partition *partition_of(struct memory_broker *broker, enum stream_topic topic,
                                             int32_t partition) {
    assert((int)topic >= 0 && (int)topic < STREAM_TOPIC_COUNT);
    if (partition < 0 || partition >= broker->partition_count[topic]) { return NULL; }
    return &broker->partitions[topic][partition];
}

/* takes: kept. */
static int64_t partition_append(struct memory_partition *partition, struct memory_record kept) {
    assert(partition != NULL);
    size_t held = (size_t)(partition->end - partition->first);
    records_room(&partition->records, held, &partition->capacity);
    kept.record.offset = partition->end++;
    partition->records[held] = kept;
    return kept.record.offset;
}

static int32_t output_partition(const struct memory_broker *broker,
                                const struct stream_output *output) {
    if (output->partition >= 0) { return output->partition; }
    return stream_partition_of_key(output->key, broker->partition_count[output->topic]);
}

/* ---- the broker ------------------------------------------------------------------------------ */

struct memory_broker *memory_broker_new(int32_t partitions) {
    struct memory_broker *broker = MEMORY_TAKE_ARRAY(struct memory_broker, 1);
    assert_non_null(broker);
    pthread_mutexattr_t recursive;
    assert_int_equal(pthread_mutexattr_init(&recursive), 0);
    assert_int_equal(pthread_mutexattr_settype(&recursive, PTHREAD_MUTEX_RECURSIVE), 0);
    assert_int_equal(pthread_mutex_init(&broker->lock, &recursive), 0);
    (void)pthread_mutexattr_destroy(&recursive); /* cannot fail on Linux */
    for (int t = 0; t < STREAM_TOPIC_COUNT; t++) {
        broker->partition_count[t] = t < STREAM_INPUT_COUNT ? partitions : 1;
        broker->partitions[t] =
            MEMORY_TAKE_ARRAY(struct memory_partition, broker->partition_count[t]);
        assert_non_null(broker->partitions[t]);
    }
    return broker;
}

void memory_broker_free(struct memory_broker *broker) {
    if (broker == NULL) { return; }
    for (int t = 0; t < STREAM_TOPIC_COUNT; t++) {
        for (int32_t p = 0; p < broker->partition_count[t]; p++) {
            struct memory_partition *partition = &broker->partitions[t][p];
            for (int64_t i = 0; i < partition->end - partition->first; i++) {
                memory_free(partition->records[i].bytes);
            }
            memory_free(partition->records);
        }
        memory_free(broker->partitions[t]);
    }
    (void)pthread_mutex_destroy(&broker->lock); /* nobody holds it */
    memory_free(broker);
}

int64_t memory_broker_append(struct memory_broker *broker, const struct stream_output *output) {
    int32_t number = output_partition(broker, output);
    struct memory_record kept = record_of(output, number);
    pthread_mutex_lock(&broker->lock);
    struct memory_partition *partition = partition_of(broker, output->topic, number);
    assert_non_null(partition);
    int64_t offset = partition_append(partition, kept);
    pthread_mutex_unlock(&broker->lock);
    return offset;
}

void memory_broker_fail(struct memory_broker *broker, enum memory_fault fault, int nth) {
    pthread_mutex_lock(&broker->lock);
    broker->left[fault] = nth;
    broker->failed[fault] = false;
    pthread_mutex_unlock(&broker->lock);
}

bool memory_broker_failed(const struct memory_broker *broker, enum memory_fault fault) {
    return broker->failed[fault];
}

void memory_broker_trim(struct memory_broker *broker, enum stream_topic topic, int32_t partition,
                        int64_t first) {
    pthread_mutex_lock(&broker->lock);
    struct memory_partition *p = partition_of(broker, topic, partition);
    assert(p != NULL && first <= p->end);
    int64_t gone = first > p->first ? first - p->first : 0;
    for (int64_t i = 0; i < gone; i++) {
        memory_free(p->records[i].bytes);
    }
    if (gone > 0) {
        memmove(p->records, p->records + gone,
                (size_t)(p->end - p->first - gone) * sizeof *p->records);
    }
    p->first += gone;
    pthread_mutex_unlock(&broker->lock);
}

int memory_broker_commits(const struct memory_broker *broker) {
    return broker->commits;
}

/* ---- looking --------------------------------------------------------------------------------- */

static enum status no_partition(enum stream_topic topic, int32_t partition, struct error *err) {
    return error_set(err, STATUS_NOT_FOUND, "topic %s has no partition %d",
                     stream_topic_name(topic), partition);
}

static enum status memory_partitions(struct stream *s, enum stream_topic topic, int32_t *ret_count,
                                     struct error *err) {
    (void)err; /* every topic exists */
    *ret_count = memory_of(s)->broker->partition_count[topic];
    return STATUS_OK;
}

static enum status memory_bounds(struct stream *s, enum stream_topic topic, int32_t partition,
                                 int64_t *ret_first, int64_t *ret_end, struct error *err) {
    struct memory_broker *broker = memory_of(s)->broker;
    const struct memory_partition *p = partition_of(broker, topic, partition);
    if (p == NULL) { return no_partition(topic, partition, err); }
    pthread_mutex_lock(&broker->lock);
    *ret_first = p->first;
    *ret_end = p->end;
    pthread_mutex_unlock(&broker->lock);
    return STATUS_OK;
}

static enum status memory_read(struct stream *s, enum stream_topic topic, int32_t partition,
                               int64_t first, int64_t last, stream_sink sink, void *context,
                               struct error *err) {
    struct memory_broker *broker = memory_of(s)->broker;
    const struct memory_partition *p = partition_of(broker, topic, partition);
    if (p == NULL) { return no_partition(topic, partition, err); }
    enum status status = STATUS_OK;
    pthread_mutex_lock(&broker->lock);
    if (first <= last && first < p->first) {
        status = error_set(err, STATUS_CORRUPT, "records %s/%d/%lld..%lld are lost",
                           stream_topic_name(topic), partition, (long long)first,
                           (long long)p->first - 1);
    }
    for (int64_t o = first; status == STATUS_OK && o <= last && o < p->end; o++) {
        status = sink(context, &p->records[o - p->first].record, err);
        /* As Kafka's stream does: a sink that ends a read must have said why. */
        if (status != STATUS_OK) { (void)error_wrap(err, "record %lld", (long long)o); }
    }
    pthread_mutex_unlock(&broker->lock);
    return status;
}

static enum status memory_tail(struct stream *s, enum stream_topic topic, int32_t partition,
                               stream_sink sink, void *context, struct error *err) {
    int64_t first = 0, end = 0;
    enum status status = memory_bounds(s, topic, partition, &first, &end, err);
    if (status != STATUS_OK) { return status; }
    if (first == end) { return error_set(err, STATUS_NOT_FOUND, "the partition is empty"); }
    return memory_read(s, topic, partition, end - 1, end - 1, sink, context, err);
}

static int64_t memory_lag(struct stream *s, enum stream_topic topic, int32_t partition,
                          int64_t next) {
    int64_t first = 0, end = 0;
    if (memory_bounds(s, topic, partition, &first, &end, NULL) != STATUS_OK) { return -1; }
    return end > next ? end - next : 0;
}

static enum status memory_committed(struct stream *s, struct stream_position *positions, int count,
                                    char ret_token[STREAM_TOKEN_BYTES_MAX], struct error *err) {
    (void)err; /* memory answers */
    struct stream_memory *memory = memory_of(s);
    const struct memory_identity *identity = memory->identity;
    assert_non_null(identity);
    pthread_mutex_lock(&memory->broker->lock);
    for (int i = 0; i < count; i++) {
        positions[i].next = -1;
        for (int k = 0; k < identity->position_count; k++) {
            const struct stream_position *known = &identity->positions[k];
            if (known->topic == positions[i].topic && known->partition == positions[i].partition) {
                positions[i].next = known->next;
            }
        }
    }
    memcpy(ret_token, identity->token, STREAM_TOKEN_BYTES_MAX);
    pthread_mutex_unlock(&memory->broker->lock);
    return STATUS_OK;
}

/* ---- the transaction ------------------------------------------------------------------------- */

static void pending_drop(struct stream_memory *memory) {
    for (size_t i = 0; i < memory->pending_count; i++) {
        memory_free(memory->pending[i].bytes);
    }
    memory->pending_count = 0;
    memory->in_transaction = false;
}

static enum status memory_fence(struct stream *s, stream_wait wait, void *wait_context,
                                struct error *err) {
    struct stream_memory *memory = memory_of(s);
    (void)wait; /* nothing takes time here */
    (void)wait_context;
    assert_non_null(memory->identity);
    pthread_mutex_lock(&memory->broker->lock);
    bool away = fault_now(memory->broker, MEMORY_FENCE_AWAY);
    if (!away) {
        memory->owner = ++memory->identity->owner;
        memory->tainted = false;
        pending_drop(memory);
    }
    pthread_mutex_unlock(&memory->broker->lock);
    return away ? error_set(err, STATUS_AGAIN, "planned: the broker is away") : STATUS_OK;
}

static enum status memory_begin(struct stream *s, struct error *err) {
    struct stream_memory *memory = memory_of(s);
    assert(!memory->in_transaction);
    assert(!memory->tainted); /* the owner's duty: fence first */
    if (memory->owner == 0) { return error_set(err, STATUS_FENCED, "not the owner"); }
    memory->in_transaction = true;
    return STATUS_OK;
}

static enum status memory_publish(struct stream *s, const struct stream_output *output,
                                  struct error *err) {
    struct stream_memory *memory = memory_of(s);
    assert(memory->in_transaction);
    pthread_mutex_lock(&memory->broker->lock);
    bool full = fault_now(memory->broker, MEMORY_PUBLISH_FULL);
    pthread_mutex_unlock(&memory->broker->lock);
    if (full) { return error_set(err, STATUS_AGAIN, "planned: the queue is full"); }
    if (output->key.size + output->value.size > STREAM_RECORD_BYTES_MAX) {
        return error_set(err, STATUS_LIMIT, "record larger than %u bytes", STREAM_RECORD_BYTES_MAX);
    }
    int32_t partition = output_partition(memory->broker, output);
    if (partition_of(memory->broker, output->topic, partition) == NULL) {
        return no_partition(output->topic, partition, err);
    }
    records_room(&memory->pending, memory->pending_count, &memory->pending_capacity);
    memory->pending[memory->pending_count++] = record_of(output, partition);
    return STATUS_OK;
}

static void identity_set(struct memory_identity *identity, const struct stream_position *position) {
    for (int i = 0; i < identity->position_count; i++) {
        struct stream_position *known = &identity->positions[i];
        if (known->topic == position->topic && known->partition == position->partition) {
            known->next = position->next;
            return;
        }
    }
    assert(identity->position_count < STREAM_POSITIONS_MAX);
    identity->positions[identity->position_count++] = *position;
}

static void commit_apply(struct stream_memory *memory, const struct stream_position *positions,
                         int count, const char *token) {
    for (size_t i = 0; i < memory->pending_count; i++) {
        const struct stream_record *record = &memory->pending[i].record;
        (void)partition_append(partition_of(memory->broker, record->topic, record->partition),
                               memory->pending[i]);
    }
    memory->pending_count = 0; /* the records have the bytes now */
    for (int i = 0; i < count; i++) {
        identity_set(memory->identity, &positions[i]);
    }
    assert(strlen(token) < STREAM_TOKEN_BYTES_MAX);
    (void)snprintf(memory->identity->token, STREAM_TOKEN_BYTES_MAX, "%s", token);
    memory->in_transaction = false;
    memory->broker->commits++;
}

static enum status commit_locked(struct stream_memory *memory,
                                 const struct stream_position *positions, int count,
                                 const char *token, struct error *err) {
    struct memory_broker *broker = memory->broker;
    if (memory->owner != memory->identity->owner) {
        memory->owner = 0;
        return error_set(err, STATUS_FENCED, "another owner took '%s' over",
                         memory->identity->name);
    }
    if (fault_now(broker, MEMORY_COMMIT_AGAIN)) {
        return error_set(err, STATUS_AGAIN, "planned: not now");
    }
    if (fault_now(broker, MEMORY_COMMIT_LOST)) {
        memory->tainted = true;
        return error_set(err, STATUS_IO, "planned: the commit was lost");
    }
    bool answer_lost = fault_now(broker, MEMORY_COMMIT_ANSWER_LOST);
    bool disturbed = fault_now(broker, MEMORY_COMMIT_DISTURBED);
    commit_apply(memory, positions, count, token);
    memory->tainted = answer_lost || disturbed;
    return answer_lost ? error_set(err, STATUS_IO, "planned: the answer was lost") : STATUS_OK;
}

static enum status memory_commit(struct stream *s, const struct stream_position *positions,
                                 int count, const char *token, stream_wait wait, void *wait_context,
                                 struct error *err) {
    struct stream_memory *memory = memory_of(s);
    assert(memory->in_transaction);
    (void)wait; /* nothing takes time here */
    (void)wait_context;
    pthread_mutex_lock(&memory->broker->lock);
    enum status status = commit_locked(memory, positions, count, token, err);
    pthread_mutex_unlock(&memory->broker->lock);
    return status;
}

static enum status memory_abort(struct stream *s, struct error *err) {
    (void)err; /* nothing left this process yet */
    pending_drop(memory_of(s));
    return STATUS_OK;
}

static bool memory_tainted(struct stream *s) {
    return memory_of(s)->tainted;
}

/* ---- consuming ------------------------------------------------------------------------------- */

static enum status memory_assign(struct stream *s, const struct stream_position *positions,
                                 int count, struct error *err) {
    struct stream_memory *memory = memory_of(s);
    assert(count <= STREAM_POSITIONS_MAX);
    for (int i = 0; i < count; i++) {
        if (partition_of(memory->broker, positions[i].topic, positions[i].partition) == NULL) {
            return no_partition(positions[i].topic, positions[i].partition, err);
        }
    }
    memcpy(memory->positions, positions, (size_t)count * sizeof *positions);
    memory->position_count = count;
    memory->turn = 0;
    return STATUS_OK;
}

/* One run of each partition; AGAIN: the sink had no room. */
static enum status poll_round(struct stream_memory *memory, stream_sink sink, void *context,
                              int *served, struct error *err) {
    int first = memory->turn;
    for (int i = 0; i < memory->position_count; i++) {
        memory->turn = (first + i) % memory->position_count;
        struct stream_position *position = &memory->positions[memory->turn];
        int64_t until = position->next + RUN_MAX;
        const struct memory_partition *p =
            partition_of(memory->broker, position->topic, position->partition);
        assert(p != NULL); /* assign checked it */
        if (position->next < p->first) {
            return error_set(err, STATUS_CORRUPT, "records before %lld are lost",
                             (long long)p->first);
        }
        for (; position->next < until && position->next < p->end; position->next++) {
            enum status status = sink(context, &p->records[position->next - p->first].record, err);
            if (status != STATUS_OK) { return status; }
            (*served)++;
        }
    }
    if (memory->position_count > 0) { memory->turn = (first + 1) % memory->position_count; }
    return STATUS_OK;
}

static enum status memory_poll(struct stream *s, int timeout_ms, stream_sink sink, void *context,
                               struct error *err) {
    struct stream_memory *memory = memory_of(s);
    int64_t until_us = clock_monotonic_us() + (int64_t)timeout_ms * 1000;
    pthread_mutex_lock(&memory->broker->lock);
    bool away = fault_now(memory->broker, MEMORY_POLL_AWAY);
    pthread_mutex_unlock(&memory->broker->lock);
    if (away) { return error_set(err, STATUS_AGAIN, "planned: the broker is away"); }
    for (;;) {
        int served = 0;
        pthread_mutex_lock(&memory->broker->lock);
        enum status status = poll_round(memory, sink, context, &served, err);
        pthread_mutex_unlock(&memory->broker->lock);
        if (status == STATUS_AGAIN) { return STATUS_OK; }
        if (status != STATUS_OK || served > 0 || clock_monotonic_us() >= until_us) {
            return status;
        }
        clock_sleep_us(WAIT_US);
    }
}

/* ---- open and close -------------------------------------------------------------------------- */

static void memory_close(struct stream *s) {
    struct stream_memory *memory = memory_of(s);
    pending_drop(memory);
    memory_free(memory->pending);
    memory_free(memory);
}

static const struct stream_ops memory_ops = {
    .name = "memory",
    .partitions = memory_partitions,
    .fence = memory_fence,
    .committed = memory_committed,
    .bounds = memory_bounds,
    .tail = memory_tail,
    .read = memory_read,
    .assign = memory_assign,
    .poll = memory_poll,
    .begin = memory_begin,
    .publish = memory_publish,
    .commit = memory_commit,
    .abort = memory_abort,
    .tainted = memory_tainted,
    .lag = memory_lag,
    .close = memory_close,
};

static struct memory_identity *identity_of(struct memory_broker *broker, const char *name) {
    for (int i = 0; i < broker->identity_count; i++) {
        if (strcmp(broker->identities[i].name, name) == 0) { return &broker->identities[i]; }
    }
    assert(broker->identity_count < IDENTITIES_MAX);
    assert(strlen(name) < NAME_BYTES);
    struct memory_identity *identity = &broker->identities[broker->identity_count++];
    (void)snprintf(identity->name, NAME_BYTES, "%s", name);
    return identity;
}

struct stream *stream_memory_open(struct memory_broker *broker, const char *identity) {
    struct stream_memory *memory = MEMORY_TAKE_ARRAY(struct stream_memory, 1);
    assert_non_null(memory);
    memory->stream.ops = &memory_ops;
    memory->broker = broker;
    pthread_mutex_lock(&broker->lock);
    memory->identity = identity != NULL ? identity_of(broker, identity) : NULL;
    pthread_mutex_unlock(&broker->lock);
    return &memory->stream;
}
