/* SPDX-License-Identifier: Apache-2.0
 *
 * inbound_json.c - an event as JSON, under the names of Metarank, Gorse, Personalize and our own.
 *
 * One walk over the members; a small hash table, made once, turns a name into a field and a rank.
 * When a record holds several names of one field the one that stands first in the table counts,
 * whatever their order in the text; a null counts as absent. Names from the settings come before
 * all others. Numbers are accepted as ids and written in decimal.
 */
#include "proto/inbound_decode.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

enum json_field {
    FIELD_KIND,
    FIELD_ID,
    FIELD_USER,
    FIELD_ITEM,
    FIELD_TIME,
    FIELD_TYPE,
    FIELD_STRENGTH,
    FIELD_TITLE,
    FIELD_FIELDS,
    FIELD_HIDDEN,
    FIELD_COMMAND,
    FIELD_VERSION,
    FIELD_KEY,
    FIELD_VALUE,
    FIELD_COUNT,
};

/* INTERFACES, "Events in", row by row. `value` is a strength or, in a control record, a setting. */
static const struct {
    enum json_field field;
    const char *name;
} json_names[] = {
    {FIELD_KIND, "event"},      {FIELD_ID, "id"},
    {FIELD_ID, "eventId"},      {FIELD_ID, "event_id"},
    {FIELD_USER, "user"},       {FIELD_USER, "user_id"},
    {FIELD_USER, "userId"},     {FIELD_USER, "UserId"},
    {FIELD_USER, "USER_ID"},    {FIELD_ITEM, "item"},
    {FIELD_ITEM, "item_id"},    {FIELD_ITEM, "itemId"},
    {FIELD_ITEM, "ItemId"},     {FIELD_ITEM, "ITEM_ID"},
    {FIELD_TIME, "timestamp"},  {FIELD_TIME, "ts"},
    {FIELD_TIME, "sentAt"},     {FIELD_TIME, "Timestamp"},
    {FIELD_TIME, "TIMESTAMP"},  {FIELD_TYPE, "type"},
    {FIELD_TYPE, "eventType"},  {FIELD_TYPE, "FeedbackType"},
    {FIELD_TYPE, "EVENT_TYPE"}, {FIELD_STRENGTH, "weight"},
    {FIELD_VALUE, "value"},     {FIELD_STRENGTH, "rating"},
    {FIELD_STRENGTH, "Value"},  {FIELD_STRENGTH, "EVENT_VALUE"},
    {FIELD_TITLE, "title"},     {FIELD_FIELDS, "fields"},
    {FIELD_HIDDEN, "hidden"},   {FIELD_HIDDEN, "IsHidden"},
    {FIELD_COMMAND, "command"}, {FIELD_VERSION, "version"},
    {FIELD_KEY, "key"},
};
#define JSON_NAME_COUNT (sizeof json_names / sizeof json_names[0])
#define RANK_SETTING    0u /* a name from the settings */

static_assert(2 * (JSON_NAME_COUNT + 4) <= ALIAS_SLOTS, "the table of names is at most half full");

struct members {
    const struct inbound *inbound;
    const struct json_value *values[FIELD_COUNT];
    uint8_t ranks[FIELD_COUNT]; /* of the value held */
};

static size_t alias_slot(struct span name) {
    if (name.size == 0) { return 0; }
    size_t mixed = name.size * 31u + name.data[0] * 7u + name.data[name.size - 1] * 13u +
                   name.data[name.size / 2] * 3u;
    return mixed & (ALIAS_SLOTS - 1);
}

static void alias_add(struct inbound *inbound, const char *name, enum json_field field,
                      uint32_t rank) {
    size_t size = strlen(name);
    if (size == 0) { return; } /* a setting that is not set */
    assert(size <= UINT8_MAX);

    size_t slot = alias_slot(span_make(name, size));
    while (inbound->aliases[slot].name != NULL) {
        struct span taken = span_make(inbound->aliases[slot].name, inbound->aliases[slot].size);
        if (span_equal(taken, span_make(name, size))) { return; } /* the setting came first */
        slot = (slot + 1) & (ALIAS_SLOTS - 1);
    }
    inbound->aliases[slot] = (struct alias){name, (uint8_t)size, (uint8_t)field, (uint8_t)rank};
}

void inbound_json_prepare(struct inbound *inbound) {
    alias_add(inbound, inbound->settings.user_field, FIELD_USER, RANK_SETTING);
    alias_add(inbound, inbound->settings.item_field, FIELD_ITEM, RANK_SETTING);
    alias_add(inbound, inbound->settings.time_field, FIELD_TIME, RANK_SETTING);
    alias_add(inbound, inbound->settings.title_field, FIELD_TITLE, RANK_SETTING);
    for (size_t i = 0; i < JSON_NAME_COUNT; i++) {
        alias_add(inbound, json_names[i].name, json_names[i].field, (uint32_t)i + 1);
    }
}

static const struct alias *alias_find(const struct inbound *inbound, struct span name) {
    size_t slot = alias_slot(name);
    while (inbound->aliases[slot].name != NULL) {
        const struct alias *alias = &inbound->aliases[slot];
        if (alias->size == name.size && memcmp(alias->name, name.data, name.size) == 0) {
            return alias;
        }
        slot = (slot + 1) & (ALIAS_SLOTS - 1);
    }
    return NULL;
}

static bool member_visit(void *context, struct span name, const struct json_value *value) {
    struct members *members = context;
    const struct alias *alias = alias_find(members->inbound, name);
    if (alias == NULL || json_kind(value) == JSON_NULL) { return true; }

    if (members->values[alias->field] == NULL || alias->rank < members->ranks[alias->field]) {
        members->values[alias->field] = value;
        members->ranks[alias->field] = alias->rank;
    }
    return true;
}

/* Text of a member: a string as it is, a number in decimal. False: another kind of value. */
static bool member_text(struct inbound *inbound, const struct json_value *value,
                        struct span *ret_text) {
    if (value == NULL || json_string(value, ret_text)) { return true; }

    int64_t integer = 0;
    if (!json_integer(value, &integer) || inbound->number_count >= NUMBER_IDS_MAX) { return false; }
    char *text = inbound->numbers[inbound->number_count++];
    int size = snprintf(text, NUMBER_BYTES, "%" PRId64, integer);
    *ret_text = span_make(text, (size_t)size);
    return true;
}

static enum status kind_of(const struct json_value *value, enum stream_topic topic,
                           enum event_kind *ret_kind, const char **ret_reason, struct error *err) {
    if (value == NULL) {
        *ret_kind = inbound_topic_kind(topic);
        return STATUS_OK;
    }
    static const struct {
        const char *name;
        enum event_kind kind;
    } kinds[] = {
        {"interaction", EVENT_INTERACTION}, {"item", EVENT_ITEM},
        {"control", EVENT_CONTROL},         {"user", EVENT_IGNORED},
        {"ranking", EVENT_IGNORED},
    };
    struct span name = {0};
    bool text = json_string(value, &name);
    for (size_t i = 0; text && i < sizeof kinds / sizeof kinds[0]; i++) {
        if (span_equal(name, span_of(kinds[i].name))) {
            *ret_kind = kinds[i].kind;
            return STATUS_OK;
        }
    }
    if (!text) { name = span_of("no text"); }
    if (name.size > 32) { name.size = 32; }
    return REFUSE("bad-kind", STATUS_MALFORMED,
                  "'event' is '%.*s', not interaction, item, control, user or ranking",
                  SPAN_ARG(name));
}

static enum status time_of(const struct json_value *value, enum timestamp_unit unit,
                           int64_t *ret_ms, const char **ret_reason, struct error *err) {
    if (value == NULL) { return STATUS_OK; }

    struct span text = {0};
    int64_t integer = 0;
    double real = 0.0;
    bool sane = false;
    if (json_string(value, &text)) {
        sane = inbound_time_text(text, unit, ret_ms);
    } else if (json_kind(value) == JSON_INTEGER && json_integer(value, &integer)) {
        sane = inbound_time_integer(integer, unit, ret_ms);
    } else if (json_real(value, &real)) {
        sane = inbound_time_number(real, unit, ret_ms);
    }
    if (sane) { return STATUS_OK; }
    return REFUSE("bad-time", STATUS_MALFORMED,
                  "time is no number of s, ms or us and no ISO-8601 between 1970 and 2199");
}

static enum status strength_of(const struct json_value *value, struct event *event,
                               const char **ret_reason, struct error *err) {
    if (value == NULL) { return STATUS_OK; }

    struct span text = {0};
    double real = 0.0;
    bool number =
        json_string(value, &text) ? inbound_number_text(text, &real) : json_real(value, &real);
    if (!number || fabs(real) > 1e30) {
        return REFUSE("bad-strength", STATUS_MALFORMED, "strength is not a number below 1e30");
    }
    event->strength = (float)real;
    event->has_strength = true;
    return STATUS_OK;
}

/* Metarank's fields: [{"name": "title", "value": "..."}]. */
static const struct json_value *title_in_fields(const struct inbound *inbound,
                                                const struct json_value *fields) {
    const char *wanted = inbound->settings.title_field;
    if (wanted[0] == '\0') { wanted = "title"; }
    for (size_t i = 0; i < json_size(fields); i++) {
        const struct json_value *field = json_element(fields, i);
        struct span name = {0};
        if (json_string(json_member(field, "name"), &name) && span_equal(name, span_of(wanted))) {
            return json_member(field, "value");
        }
    }
    return NULL;
}

static enum status texts_of(struct inbound *inbound, const struct members *members,
                            struct event *event, const char **ret_reason, struct error *err) {
    const struct json_value *title = members->values[FIELD_TITLE];
    if (title == NULL) { title = title_in_fields(inbound, members->values[FIELD_FIELDS]); }
    const struct {
        const char *name;
        const struct json_value *value;
        struct span *text;
        const char *reason;
    } texts[] = {
        {"user", members->values[FIELD_USER], &event->user, "no-user"},
        {"item", members->values[FIELD_ITEM], &event->item, "no-item"},
        {"id", members->values[FIELD_ID], &event->id, "bad-field"},
        {"type", members->values[FIELD_TYPE], &event->type, "bad-field"},
        {"title", title, &event->title, "bad-field"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        if (!member_text(inbound, texts[i].value, texts[i].text)) {
            return REFUSE(texts[i].reason, STATUS_MALFORMED,
                          "%s is neither text nor a whole number", texts[i].name);
        }
    }
    event->has_title = event->title.size > 0;
    return STATUS_OK;
}

static enum status control_of(struct inbound *inbound, const struct members *members,
                              struct event *event, const char **ret_reason, struct error *err) {
    struct span command = {0};
    bool truth = false;
    const struct json_value *value = members->values[FIELD_VALUE];
    bool whole = json_string(members->values[FIELD_COMMAND], &command) &&
                 member_text(inbound, members->values[FIELD_KEY], &event->key);
    if (whole && json_bool(value, &truth)) {
        event->value = span_of(truth ? "true" : "false");
    } else if (whole && !member_text(inbound, value, &event->value)) {
        double real = 0.0;
        whole = json_real(value, &real) && inbound->number_count < NUMBER_IDS_MAX;
        if (whole) {
            char *text = inbound->numbers[inbound->number_count++];
            (void)snprintf(text, NUMBER_BYTES, "%.9g", real);
            event->value = span_of(text);
        }
    }
    event->command = inbound_command(command);
    if (whole && event->command == CONTROL_ROLLBACK) {
        int64_t version = -1;
        whole = json_integer(members->values[FIELD_VERSION], &version) && version >= 0;
        event->version = (uint64_t)version;
    }
    if (whole && event->command != CONTROL_NONE) { return STATUS_OK; }
    return REFUSE("bad-control", STATUS_MALFORMED,
                  "control record without a known command and what it needs");
}

/* The record's one object; an array may hold exactly one. */
static const struct json_value *record_object(const struct json_value *tree) {
    if (json_kind(tree) == JSON_ARRAY && json_size(tree) == 1) { tree = json_element(tree, 0); }
    return json_kind(tree) == JSON_OBJECT ? tree : NULL;
}

/* True when brackets outside strings nest deeper than EVENT_DEPTH_MAX. */
static bool too_deep(struct span text) {
    int depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < text.size; i++) {
        uint8_t c = text.data[i];
        if (in_string) {
            if (c == '\\') { i++; }
            in_string = c != '"';
            continue;
        }
        in_string = c == '"';
        if (c == '{' || c == '[') { depth++; }
        if (c == '}' || c == ']') { depth--; }
        if (depth > EVENT_DEPTH_MAX) { return true; }
    }
    return false;
}

static enum status tree_of(struct inbound *inbound, struct span bytes, const char **ret_reason,
                           struct error *err) {
    if (too_deep(bytes)) {
        return REFUSE("too-deep", STATUS_LIMIT, "JSON nests deeper than %d", EVENT_DEPTH_MAX);
    }
    enum status status = json_parse(bytes, &inbound->tree, err);
    if (status == STATUS_MALFORMED && !span_is_utf8(bytes)) {
        return REFUSE("not-utf8", STATUS_MALFORMED, "JSON is not UTF-8");
    }
    if (status != STATUS_OK) {
        *ret_reason = status == STATUS_NO_MEMORY ? NULL : "not-json";
        return status;
    }
    if (record_object(inbound->tree) == NULL) {
        return REFUSE("not-json", STATUS_MALFORMED, "JSON is not one object");
    }
    return STATUS_OK;
}

enum status inbound_json_decode(struct inbound *inbound, struct span bytes, enum stream_topic topic,
                                struct event *event, const char **ret_reason, struct error *err) {
    assert(inbound->tree == NULL);

    enum status status = tree_of(inbound, bytes, ret_reason, err);
    if (status != STATUS_OK) { return status; }

    struct members members = {.inbound = inbound};
    json_members(record_object(inbound->tree), member_visit, &members);

    status = kind_of(members.values[FIELD_KIND], topic, &event->kind, ret_reason, err);
    if (status != STATUS_OK || event->kind == EVENT_IGNORED) { return status; }
    status = texts_of(inbound, &members, event, ret_reason, err);
    if (status != STATUS_OK) { return status; }
    event->time_ms = TIME_ABSENT;
    status = time_of(members.values[FIELD_TIME], inbound->settings.timestamp_unit, &event->time_ms,
                     ret_reason, err);
    if (status != STATUS_OK) { return status; }
    if (members.values[FIELD_HIDDEN] != NULL &&
        !json_bool(members.values[FIELD_HIDDEN], &event->hidden)) {
        return REFUSE("bad-field", STATUS_MALFORMED, "hidden is neither true nor false");
    }
    if (event->kind == EVENT_CONTROL) {
        return control_of(inbound, &members, event, ret_reason, err);
    }

    const struct json_value *strength = members.values[FIELD_STRENGTH];
    const struct json_value *value = members.values[FIELD_VALUE];
    bool value_first = value != NULL && members.ranks[FIELD_VALUE] < members.ranks[FIELD_STRENGTH];
    if (strength == NULL || value_first) { strength = value; }
    return strength_of(strength, event, ret_reason, err);
}
