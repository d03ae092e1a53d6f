/* SPDX-License-Identifier: Apache-2.0
 *
 * query.c - answers that need the state: a user's list, a user's sequence, settings, versions.
 *
 * A recommendation made here is the fast tier's on the version in force; what the language model
 * added to the last published list stands beside it. The hidden flags of the catalogue are kept
 * between requests and brought up to date from the table of item changes.
 * Failure: a status for the one who asked; the daemon goes on. Thread: doors. */
#include "daemon/query.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "base/json.h"
#include "base/memory.h"
#include "daemon/query_parts.h"
#include "model/fast_model.h"
#include "storage/catalogue.h"
#include "storage/sequence.h"

#define MANIFEST_BYTES_MAX (1024u * 1024u)

enum status query_new(struct shared *shared, struct query **ret_query, struct error *err) {
    struct query *query = memory_take_zeroed(1, sizeof *query);
    if (query == NULL) { return error_set(err, STATUS_NO_MEMORY, "answers to operators"); }
    query->shared = shared;
    enum status status = backend_cpu_new(1, &query->backend, err);
    if (status != STATUS_OK) {
        memory_free(query);
        return error_wrap(err, "answers to operators");
    }
    *ret_query = query;
    return STATUS_OK;
}

void query_free(struct query *query) {
    if (query == NULL) { return; }
    ranker_free(query->ranker);
    memory_free(query->hidden);
    if (query->backend != NULL) { query->backend->ops->free(query->backend); }
    memory_free(query);
}

/* ---- one request's view of the state ---- */

enum status view_open(struct query *query, struct view *view, struct error *err) {
    memset(view, 0, sizeof *view);
    view->shared = query->shared;
    view->store = shared_store_use(query->shared);
    if (view->store == NULL) { return error_set(err, STATUS_AGAIN, "the state is not open"); }
    enum status status = store_reader_open(view->store, &view->reader, err);
    if (status != STATUS_OK) {
        shared_store_done(query->shared);
        view->store = NULL;
    }
    return status;
}

void view_close(struct view *view) {
    if (view->store == NULL) { return; }
    store_reader_close(view->reader);
    shared_store_done(view->shared);
    view->store = NULL;
}

enum status query_check_user(struct span user, struct error *err) {
    if (user.size > 0 && user.size <= 256 && span_is_utf8(user)) { return STATUS_OK; }
    return error_set(err, STATUS_MALFORMED, "expected a user id of 1 to 256 bytes of UTF-8");
}

static enum status load_user(struct view *view, struct span user, struct sequence *sequence,
                             struct error *err) {
    enum status status = query_check_user(user, err);
    if (status == STATUS_OK) { status = sequence_read(view->reader, user, sequence, err); }
    if (status != STATUS_OK) { return status; }
    if (sequence->count == 0) {
        return error_set(err, STATUS_NOT_FOUND, "user '%.*s' has no events", SPAN_ARG(user));
    }
    return STATUS_OK;
}

/* Members "item" and "title" of an item number, as of now. */
static enum status write_item(struct json_writer *w, struct view *view, uint32_t item,
                              struct error *err) {
    struct catalogue_item row;
    enum status status = catalogue_read(view->reader, item, UINT64_MAX, &row, err);
    if (status != STATUS_OK) { return error_wrap(err, "item number %" PRIu32, item); }
    json_write_string(w, "item", row.id);
    if (row.title.size > 0) { json_write_string(w, "title", row.title); }
    return STATUS_OK;
}

/* ---- recommend ---- */

static enum status mark_hidden(void *context, uint32_t item, const struct catalogue_item *row,
                               struct error *err) {
    struct query *query = context;
    if (item >= query->hidden_capacity) {
        size_t capacity = (size_t)item * 2 + 1024;
        uint8_t *hidden = memory_resize(query->hidden, capacity);
        if (hidden == NULL) { return error_set(err, STATUS_NO_MEMORY, "flags of hidden items"); }
        memset(hidden + query->hidden_capacity, 0, capacity - query->hidden_capacity);
        query->hidden = hidden;
        query->hidden_capacity = capacity;
    }
    query->hidden[item] = row->hidden;
    if (row->from_seq > query->hidden_upto) { query->hidden_upto = row->from_seq; }
    return STATUS_OK;
}

/* Changes of the newest from_seq seen are read again: more of them may have come since. */
static enum status refresh_hidden(struct query *query, struct view *view, int items,
                                  struct error *err) {
    uint64_t after = query->hidden_upto == 0 ? 0 : query->hidden_upto - 1;
    enum status status = STATUS_OK;
    if (after == 0) { /* rows from_seq 0 do not lie above any `after`: look at them one by one */
        for (int i = 0; i < items && status == STATUS_OK; i++) {
            struct catalogue_item row;
            status = catalogue_read(view->reader, (uint32_t)i, UINT64_MAX, &row, err);
            if (status == STATUS_OK) { status = mark_hidden(query, (uint32_t)i, &row, err); }
        }
        if (status != STATUS_OK) { return status; }
    }
    status = catalogue_changes(view->reader, after, UINT64_MAX, mark_hidden, query, err);
    if (status != STATUS_OK) { return status; }
    if (items > 0 && (size_t)items > query->hidden_capacity) {
        struct catalogue_item none = {.hidden = false};
        return mark_hidden(query, (uint32_t)items - 1, &none, err);
    }
    return STATUS_OK;
}

/* Items to leave out: what the seen set holds. A stage of our own is only read through. */
static enum status load_seen(struct view *view, struct span user, uint32_t *items, uint32_t max,
                             uint32_t *ret_count, struct error *err) {
    struct stage *stage = NULL;
    enum status status = stage_open(view->store, &stage, err);
    if (status != STATUS_OK) { return status; }
    status = seen_load(stage, user, items, max, ret_count, err);
    stage_close(stage);
    return status;
}

static enum status rank_user(struct query *query, struct view *view, struct version *version,
                             struct span user, const struct sequence *sequence, int n,
                             struct rank_list *ret_list, struct error *err) {
    const struct settings *settings = shared_settings(query->shared);
    uint32_t history[HISTORY_MAX];
    uint32_t seen[SEEN_MAX];
    uint32_t seen_count = 0;
    uint32_t count =
        sequence_history(sequence, INT64_MAX, (uint32_t)settings->state_history, history);
    enum status status = STATUS_OK;
    if (!settings->predict_repeats) {
        status = load_seen(view, user, seen, SEEN_MAX, &seen_count, err);
        if (status != STATUS_OK) { return status; }
    }
    status = refresh_hidden(query, view, version->fast->items, err);
    if (status != STATUS_OK) { return status; }
    if (query->ranker == NULL) {
        status = ranker_new(query->backend, &version->fast->settings, &query->ranker, err);
        if (status != STATUS_OK) { return status; }
    }
    struct shared_picture picture;
    shared_picture_copy(query->shared, &picture);
    struct rank_request request = {.history = history,
                                   .history_count = (int)count,
                                   .exclude = seen,
                                   .exclude_count = (int)seen_count,
                                   .hidden = query->hidden,
                                   .seq = picture.seq,
                                   .use_sasrec = true,
                                   .list = n};
    return ranker_rank(query->ranker, version->fast, &request, 1, ret_list, err);
}

static enum status write_published(struct json_writer *w, struct view *view, struct span user,
                                   struct error *err) {
    static const char *const tiers[] = {"popular", "fast", "ilora"};
    struct published published;
    enum status status = published_read(view->reader, user, &published, err);
    if (status == STATUS_NOT_FOUND) { return STATUS_OK; }
    if (status != STATUS_OK) { return status; }
    json_write_object(w, "published");
    json_write_integer(w, "model_version", (int64_t)published.version);
    json_write_string(w, "tier", span_of(published.tier < 3 ? tiers[published.tier] : "unknown"));
    json_write_array(w, "items");
    for (uint32_t i = 0; i < published.count && status == STATUS_OK; i++) {
        json_write_object(w, NULL);
        status = write_item(w, view, published.items[i], err);
        json_write_object_end(w);
    }
    json_write_array_end(w);
    json_write_object_end(w);
    return status;
}

static enum status write_list(struct json_writer *w, struct view *view,
                              const struct rank_list *list, struct error *err) {
    json_write_array(w, "items");
    for (int i = 0; i < list->count; i++) {
        json_write_object(w, NULL);
        enum status status = write_item(w, view, list->items[i], err);
        if (status != STATUS_OK) { return status; }
        json_write_real(w, "score", (double)list->probability[i]);
        json_write_integer(w, "rank", i + 1);
        json_write_string(w, "source", span_of(list_source_name(list->source[i])));
        json_write_object_end(w);
    }
    json_write_array_end(w);
    return STATUS_OK;
}

static enum status recommend_in(struct query *query, struct view *view, struct version *version,
                                struct span user, int n, struct buffer *out, struct error *err) {
    struct sequence sequence;
    struct rank_list list;
    enum status status = load_user(view, user, &sequence, err);
    if (status != STATUS_OK) { return status; }
    if (n <= 0) { n = (int)shared_settings(query->shared)->predict_list; }
    if (n > LIST_MAX) { n = LIST_MAX; }
    status = rank_user(query, view, version, user, &sequence, n, &list, err);
    if (status != STATUS_OK) { return status; }

    struct json_writer w;
    json_write_begin(&w, out);
    json_write_object(&w, NULL);
    json_write_string(&w, "user", user);
    json_write_integer(&w, "model_version", (int64_t)version->number);
    json_write_string(&w, "tier", span_of("fast"));
    json_write_integer(&w, "history_length", (int64_t)sequence.count);
    status = write_list(&w, view, &list, err);
    if (status != STATUS_OK) { return status; }
    status = write_published(&w, view, user, err);
    if (status != STATUS_OK) { return status; }
    json_write_object_end(&w);
    return query_written(&w, err);
}

enum status query_recommend(struct query *query, struct span user, int n, struct buffer *out,
                            struct error *err) {
    struct view view;
    struct version *version = shared_version(query->shared);
    if (version == NULL) { return error_set(err, STATUS_AGAIN, "no version is in force yet"); }
    enum status status = view_open(query, &view, err);
    if (status == STATUS_OK) {
        size_t before = out->size;
        status = recommend_in(query, &view, version, user, n, out, err);
        if (status != STATUS_OK) { out->size = before; }
        view_close(&view);
    }
    version_give(version);
    return status;
}

/* ---- history ---- */

static enum status history_in(struct view *view, struct span user, struct buffer *out,
                              struct error *err) {
    struct sequence sequence;
    enum status status = load_user(view, user, &sequence, err);
    if (status != STATUS_OK) { return status; }
    struct json_writer w;
    json_write_begin(&w, out);
    json_write_object(&w, NULL);
    json_write_string(&w, "user", user);
    json_write_integer(&w, "total", (int64_t)sequence.total);
    json_write_array(&w, "events");
    for (uint32_t i = 0; i < sequence.count; i++) {
        json_write_object(&w, NULL);
        status = write_item(&w, view, sequence.items[i], err);
        if (status != STATUS_OK) { return status; }
        json_write_integer(&w, "number", sequence.items[i]);
        json_write_integer(&w, "timestamp", sequence.times[i]);
        json_write_object_end(&w);
    }
    json_write_array_end(&w);
    json_write_object_end(&w);
    return query_written(&w, err);
}

enum status query_history(struct query *query, struct span user, struct buffer *out,
                          struct error *err) {
    struct view view;
    enum status status = view_open(query, &view, err);
    if (status != STATUS_OK) { return status; }
    size_t before = out->size;
    status = history_in(&view, user, out, err);
    if (status != STATUS_OK) { out->size = before; }
    view_close(&view);
    return status;
}

/* ---- settings and versions ---- */

enum status query_config(struct query *query, struct buffer *out, struct error *err) {
    struct buffer text = {0};
    struct json_writer w;
    enum status status = settings_print(shared_settings(query->shared), &text);
    if (status != STATUS_OK) {
        buffer_free(&text);
        return error_set(err, status, "printing the settings");
    }
    json_write_begin(&w, out);
    json_write_object(&w, NULL);
    json_write_string(&w, "text", buffer_span(&text));
    json_write_object_end(&w);
    status = query_written(&w, err);
    buffer_free(&text);
    return status;
}

struct snapshot_list {
    struct buffer *out;
    const char *folder;
    bool comma;
};

/* Appends the manifest of one version; folders without one are not versions. */
static enum status add_snapshot(void *context, const char *name, bool is_dir, struct error *err) {
    struct snapshot_list *list = context;
    char path[FILE_PATH_BYTES_MAX];
    struct buffer bytes = {.limit = MANIFEST_BYTES_MAX};
    if (!is_dir) { return STATUS_OK; }
    int size = snprintf(path, sizeof path, "%s/%s/manifest.json", list->folder, name);
    if (size < 0 || (size_t)size >= sizeof path) { return STATUS_OK; }
    struct error unread = {0};
    enum status status = file_read(path, MANIFEST_BYTES_MAX, &bytes, &unread);
    struct json_value *value = NULL;
    if (status == STATUS_OK) { status = json_parse(buffer_span(&bytes), &value, &unread); }
    json_free(value);
    if (status == STATUS_OK) {
        size_t end = bytes.size; /* one line, whatever the file looks like */
        for (size_t i = 0; i < end; i++) {
            if (bytes.data[i] == '\n' || bytes.data[i] == '\r') { bytes.data[i] = ' '; }
        }
        status = buffer_append_format(
            list->out, "%s{\"folder\":\"%s\",\"manifest\":", list->comma ? "," : "", name);
        if (status == STATUS_OK) { status = buffer_append(list->out, bytes.data, bytes.size); }
        if (status == STATUS_OK) { status = buffer_append(list->out, "}", 1); }
        if (status != STATUS_OK) { (void)error_set(err, status, "list of versions"); }
        list->comma = true;
    } else {
        status = STATUS_OK; /* being written or removed just now */
    }
    buffer_free(&bytes);
    return status;
}

enum status query_snapshots(struct query *query, struct buffer *out, struct error *err) {
    struct shared_picture picture;
    char folder[FILE_PATH_BYTES_MAX];
    struct snapshot_list list = {.out = out, .folder = folder};
    enum status status =
        path_join(folder, shared_settings(query->shared)->state_path, "versions", err);
    if (status != STATUS_OK) { return status; }
    shared_picture_copy(query->shared, &picture);
    size_t before = out->size;
    status =
        buffer_append_format(out, "{\"in_force\":%" PRIu64 ",\"newest\":%" PRIu64 ",\"versions\":[",
                             picture.version_in_force, picture.version_newest);
    if (status != STATUS_OK) { return error_set(err, status, "list of versions"); }
    if (file_exists(folder)) { status = dir_list(folder, add_snapshot, &list, err); }
    if (status == STATUS_OK) {
        status = buffer_append(out, "]}", 2);
        if (status != STATUS_OK) { (void)error_set(err, status, "list of versions"); }
    }
    if (status != STATUS_OK) { out->size = before; }
    return status;
}

enum status query_request(struct query *query, const struct operator_request *request,
                          struct buffer *out, struct error *err) {
    enum status status = shared_request_submit(query->shared, request, err);
    if (status != STATUS_OK) { return status; }
    status = buffer_append_format(out, "{\"accepted\":true}");
    return status == STATUS_OK ? status : error_set(err, status, "answer");
}
