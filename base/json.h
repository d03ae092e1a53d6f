/* SPDX-License-Identifier: Apache-2.0
 *
 * json.h - the one wrapper around jansson: bounded reading, and a small writer.
 *
 * Reading builds a tree (struct json_value hides json_t). Depth is limited to JSON_DEPTH_MAX, size
 * by the caller. Writing appends to a buffer with correct escaping and round-trip numbers, so that
 * the same values always give the same bytes.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include <stdbool.h>
#include <stdint.h>

#include "base/bytes.h"
#include "base/status.h"

#define JSON_DEPTH_MAX 64
#define JSON_KEY_VALUES \
    4 /* values that a key counts for: reading one takes that many times as long */

/* jansson exports these very names, and as a shared library it would call ours in place of its own:
 * in object files ours carry a prefix. */
#define json_string  ilora_json_string
#define json_integer ilora_json_integer
#define json_real    ilora_json_real

struct json_value; /* hides json_t */

/* MALFORMED with line, column and reason. Duplicate keys: the last wins. */
MUST_CHECK enum status json_parse(struct span text, struct json_value **ret_value,
                                  struct error *err);
/* As json_parse, for the files of a model: more than values_max values are MALFORMED before
 * anything is allocated (a value costs about 50 bytes, so "[0,0,0" takes 25 times its own size; a
 * key counts for JSON_KEY_VALUES more); with unique_keys a key that stands twice in an object is
 * MALFORMED instead of the last winning. */
MUST_CHECK enum status json_parse_limited(struct span text, size_t values_max, bool unique_keys,
                                          struct json_value **ret_value, struct error *err);
void json_free(struct json_value *value);

enum json_kind {
    JSON_NULL,
    JSON_FALSE,
    JSON_TRUE,
    JSON_INTEGER,
    JSON_REAL,
    JSON_STRING,
    JSON_ARRAY,
    JSON_OBJECT
};
enum json_kind json_kind(const struct json_value *value);

/* borrows: from value. NULL when absent or value is not an object. */
const struct json_value *json_member(const struct json_value *value, const char *name);
size_t json_size(const struct json_value *value); /* of an array or object; 0 otherwise */
const struct json_value *json_element(const struct json_value *array, size_t index);
/* Calls visit for each member in the order of the text; stops when visit returns false. */
typedef bool (*json_visit)(void *context, struct span name, const struct json_value *value);
void json_members(const struct json_value *object, json_visit visit, void *context);

/* False when the kind does not fit. integer accepts integral reals; real accepts integers. */
bool json_string(const struct json_value *value, struct span *ret_text);
bool json_integer(const struct json_value *value, int64_t *ret_integer);
bool json_real(const struct json_value *value, double *ret_real);
bool json_bool(const struct json_value *value, bool *ret_bool);

/* Writer: one object of these appends JSON text to a buffer; commas are placed by it. The first
 * failure (LIMIT, NO_MEMORY) sticks and is returned by json_write_end. */
struct json_writer {
    struct buffer *out;
    uint64_t has_member; /* one bit a depth: a comma is due */
    int depth;
    enum status status;
};
void json_write_begin(struct json_writer *w, struct buffer *out);
MUST_CHECK enum status json_write_end(struct json_writer *w);
/* name NULL inside arrays and at the top. */
void json_write_object(struct json_writer *w, const char *name);
void json_write_object_end(struct json_writer *w);
void json_write_array(struct json_writer *w, const char *name);
void json_write_array_end(struct json_writer *w);
void json_write_string(struct json_writer *w, const char *name, struct span text);
void json_write_integer(struct json_writer *w, const char *name, int64_t integer);
void json_write_real(struct json_writer *w, const char *name,
                     double real); /* shortest of %.9g/%.17g; NaN, Inf -> null */
void json_write_bool(struct json_writer *w, const char *name, bool value);

#endif
