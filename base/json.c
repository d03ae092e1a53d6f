/* SPDX-License-Identifier: Apache-2.0
 *
 * json.c - reading: jansson's tree behind our own names. Writing is in json_write.c.
 *
 * struct json_value is never defined: a pointer to it is a json_t pointer in disguise, so that
 * jansson's types appear in this file alone. jansson allocates through base/memory.h. The depth is
 * checked before parsing, because jansson's own limit (2048) is fixed when it is built.
 */

/* jansson's enumerators are called like ours: they get another name while its header is read, and
 * it is read first, before base/json.h renames three functions. */
#define JSON_OBJECT  JANSSON_OBJECT
#define JSON_ARRAY   JANSSON_ARRAY
#define JSON_STRING  JANSSON_STRING
#define JSON_INTEGER JANSSON_INTEGER
#define JSON_REAL    JANSSON_REAL
#define JSON_TRUE    JANSSON_TRUE
#define JSON_FALSE   JANSSON_FALSE
#define JSON_NULL    JANSSON_NULL
#include <jansson.h>
#undef JSON_OBJECT
#undef JSON_ARRAY
#undef JSON_STRING
#undef JSON_INTEGER
#undef JSON_REAL
#undef JSON_TRUE
#undef JSON_FALSE
#undef JSON_NULL

#include "base/json.h"

#include <assert.h>
#include <math.h>
#include <pthread.h>

#include "base/memory.h"

static pthread_once_t json_once = PTHREAD_ONCE_INIT;

/* jansson calls a token whose memory was refused invalid: this tells the two apart. */
static _Thread_local bool json_memory_refused;

static void *json_allocate(size_t size) {
    void *memory = memory_take(size);
    if (memory == NULL) { json_memory_refused = true; }
    return memory;
}

static void json_prepare(void) {
    json_set_alloc_funcs(json_allocate, memory_free);
}

static const json_t *json_inner(const struct json_value *value) {
    return (const json_t *)(const void *)value;
}

static const struct json_value *json_outer(const json_t *inner) {
    return (const struct json_value *)(const void *)inner;
}

/* MALFORMED when brackets outside strings nest deeper than JSON_DEPTH_MAX, or when there are more
 * than values_max values: each but the first stands behind a comma or an opening bracket, each key
 * in front of a colon. */
static enum status json_check_size(struct span text, size_t values_max, struct error *err) {
    int depth = 0;
    size_t values = 1;
    int line = 1;
    size_t line_begin = 0;
    bool in_string = false;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (in_string) {
            if (c == '\\') { i++; }
            if (c == '"') { in_string = false; }
            continue;
        }
        if (c == '"') { in_string = true; }
        if (c == '\n') {
            line++;
            line_begin = i + 1;
        }
        if (c == '}' || c == ']') { depth--; }
        if (c == '{' || c == '[') { depth++; }
        if (c == ',' || c == '{' || c == '[') { values++; }
        if (c == ':') { values += JSON_KEY_VALUES; }
        if (values > values_max) {
            return error_set(err, STATUS_MALFORMED, "JSON line %d column %zu: more than %zu values",
                             line, i - line_begin + 1, values_max);
        }
        if (depth > JSON_DEPTH_MAX) {
            return error_set(err, STATUS_MALFORMED,
                             "JSON line %d column %zu: nested deeper than %d levels", line,
                             i - line_begin + 1, JSON_DEPTH_MAX);
        }
    }
    return STATUS_OK;
}

enum status json_parse(struct span text, struct json_value **ret_value, struct error *err) {
    return json_parse_limited(text, SIZE_MAX, false, ret_value, err);
}

enum status json_parse_limited(struct span text, size_t values_max, bool unique_keys,
                               struct json_value **ret_value, struct error *err) {
    (void)pthread_once(&json_once, json_prepare); /* cannot fail with a static control */

    if (text.size == 0) { return error_set(err, STATUS_MALFORMED, "JSON text is empty"); }
    enum status status = json_check_size(text, values_max, err);
    if (status != STATUS_OK) { return status; }

    json_memory_refused = false;
    json_error_t reason = {.line = 0};
    const size_t flags =
        JSON_DECODE_ANY | JSON_ALLOW_NUL | (unique_keys ? JSON_REJECT_DUPLICATES : 0u);
    json_t *inner = json_loadb((const char *)text.data, text.size, flags, &reason);
    if (inner != NULL && !json_memory_refused) {
        *ret_value = (struct json_value *)(void *)inner;
        return STATUS_OK;
    }

    if (json_memory_refused) {
        json_decref(inner); /* jansson goes on without the member it had no memory for */
        return error_set(err, STATUS_NO_MEMORY, "JSON text of %zu bytes", text.size);
    }
    return error_set(err, STATUS_MALFORMED, "JSON line %d column %d: %s", reason.line,
                     reason.column, reason.text);
}

void json_free(struct json_value *value) {
    json_decref((json_t *)(void *)value);
}

enum json_kind json_kind(const struct json_value *value) {
    switch (json_typeof(json_inner(value))) {
    case JANSSON_OBJECT: return JSON_OBJECT;
    case JANSSON_ARRAY: return JSON_ARRAY;
    case JANSSON_STRING: return JSON_STRING;
    case JANSSON_INTEGER: return JSON_INTEGER;
    case JANSSON_REAL: return JSON_REAL;
    case JANSSON_TRUE: return JSON_TRUE;
    case JANSSON_FALSE: return JSON_FALSE;
    case JANSSON_NULL: return JSON_NULL;
    }
    bool known_kind = false; /* jansson has the eight above */
    assert(known_kind);
    return JSON_NULL;
}

const struct json_value *json_member(const struct json_value *value, const char *name) {
    if (value == NULL) { return NULL; }
    return json_outer(json_object_get(json_inner(value), name)); /* NULL for other kinds */
}

size_t json_size(const struct json_value *value) {
    if (value == NULL) { return 0; }
    if (json_kind(value) == JSON_ARRAY) { return json_array_size(json_inner(value)); }
    return json_object_size(json_inner(value)); /* 0 for other kinds */
}

const struct json_value *json_element(const struct json_value *array, size_t index) {
    if (array == NULL) { return NULL; }
    return json_outer(json_array_get(json_inner(array), index)); /* NULL for other kinds */
}

void json_members(const struct json_value *object, json_visit visit, void *context) {
    if (object == NULL || json_kind(object) != JSON_OBJECT) { return; }

    /* The iteration interface of jansson 2.14 takes a non-const object and does not change it. */
    json_t *inner = (json_t *)(uintptr_t)object;
    for (void *at = json_object_iter(inner); at != NULL; at = json_object_iter_next(inner, at)) {
        struct span name = span_of(json_object_iter_key(at));
        if (!visit(context, name, json_outer(json_object_iter_value(at)))) { return; }
    }
}

bool json_string(const struct json_value *value, struct span *ret_text) {
    if (value == NULL || json_kind(value) != JSON_STRING) { return false; }
    *ret_text =
        span_make(json_string_value(json_inner(value)), json_string_length(json_inner(value)));
    return true;
}

bool json_integer(const struct json_value *value, int64_t *ret_integer) {
    if (value == NULL) { return false; }
    if (json_kind(value) == JSON_INTEGER) {
        *ret_integer = json_integer_value(json_inner(value));
        return true;
    }
    if (json_kind(value) != JSON_REAL) { return false; }

    double real = json_real_value(json_inner(value));
    bool fits = real >= -0x1p63 && real < 0x1p63;
    if (!fits || real != trunc(real)) { return false; }
    *ret_integer = (int64_t)real;
    return true;
}

bool json_real(const struct json_value *value, double *ret_real) {
    if (value == NULL) { return false; }
    if (json_kind(value) != JSON_REAL && json_kind(value) != JSON_INTEGER) { return false; }
    *ret_real = json_number_value(json_inner(value));
    return true;
}

bool json_bool(const struct json_value *value, bool *ret_bool) {
    if (value == NULL) { return false; }
    if (json_kind(value) != JSON_TRUE && json_kind(value) != JSON_FALSE) { return false; }
    *ret_bool = json_kind(value) == JSON_TRUE;
    return true;
}
