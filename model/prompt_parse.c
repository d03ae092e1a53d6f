/* SPDX-License-Identifier: Apache-2.0
 *
 * prompt_parse.c - reads a template file line by line; every complaint names the line.
 */
#include "model/prompt_parse.h"

#include <assert.h>
#include <stdio.h>

#define PROMPT_NAME_BYTES 64u

static const char *const section_suffixes[PROMPT_SECTION_COUNT] = {
    [PROMPT_BODY] = "",
    [PROMPT_ITEM] = ".item",
    [PROMPT_SEPARATOR] = ".separator",
    [PROMPT_CANDIDATE] = ".candidate",
    [PROMPT_CANDIDATE_SEPARATOR] = ".candidate_separator",
    [PROMPT_EMPTY] = ".empty",
    [PROMPT_END] = ".end",
};

/* Where the reader stands. */
struct prompt_reader {
    const char *name;             /* the template wanted */
    struct prompt_text *sections; /* (PROMPT_SECTION_COUNT) */
    struct prompt_text *open;     /* the section being filled; NULL: one of another template */
    bool inside;                  /* a header was seen */
    int line;
    struct error *err;
};

/* "[name.item]" opens a section; true when it is one of the wanted template. */
static enum status open_section(struct prompt_reader *reader, struct span line) {
    if (line.size < 3 || line.data[line.size - 1] != ']' || line.size > PROMPT_NAME_BYTES) {
        return error_set(reader->err, STATUS_CONFIG, "line %d: expected [name] of at most %u bytes",
                         reader->line, PROMPT_NAME_BYTES);
    }
    struct span found = span_make(line.data + 1, line.size - 2);
    size_t stem = strlen(reader->name);
    reader->inside = true;
    reader->open = NULL;
    if (found.size < stem || memcmp(found.data, reader->name, stem) != 0 ||
        (found.size > stem && found.data[stem] != '.')) {
        return STATUS_OK; /* another template's */
    }
    struct span suffix = span_make(found.data + stem, found.size - stem);
    for (int i = 0; i < PROMPT_SECTION_COUNT; i++) {
        if (!span_equal(suffix, span_of(section_suffixes[i]))) { continue; }
        if (reader->sections[i].found) {
            return error_set(reader->err, STATUS_CONFIG, "line %d: section [%.*s] is there twice",
                             reader->line, SPAN_ARG(found));
        }
        reader->open = &reader->sections[i];
        reader->open->found = true;
        reader->open->line = reader->line;
        return STATUS_OK;
    }
    return error_set(reader->err, STATUS_CONFIG,
                     "line %d: section [%.*s] is unknown, expected "
                     "[%s] or .item .separator .candidate .candidate_separator .empty .end "
                     "behind it",
                     reader->line, SPAN_ARG(found), reader->name);
}

static enum status part_add(struct prompt_reader *reader, enum prompt_part_kind kind) {
    struct prompt_text *open = reader->open;
    if (open->part_count == PROMPT_PARTS_MAX) {
        return error_set(reader->err, STATUS_CONFIG, "line %d: more than %d parts in a section",
                         reader->line, PROMPT_PARTS_MAX);
    }
    open->parts[open->part_count++] = (struct prompt_part){kind, open->text_size, open->text_size};
    return STATUS_OK;
}

static enum status character_add(struct prompt_reader *reader, uint8_t character) {
    struct prompt_text *open = reader->open;
    bool text = open->part_count > 0 && open->parts[open->part_count - 1].kind == PROMPT_PART_TEXT;
    if (!text) {
        enum status status = part_add(reader, PROMPT_PART_TEXT);
        if (status != STATUS_OK) { return status; }
    }
    if (open->text_size == PROMPT_TEXT_BYTES_MAX) {
        return error_set(reader->err, STATUS_CONFIG, "line %d: section longer than %u bytes",
                         reader->line, PROMPT_TEXT_BYTES_MAX);
    }
    open->text[open->text_size++] = (char)character;
    open->parts[open->part_count - 1].end = open->text_size;
    return STATUS_OK;
}

/* The character behind a backslash; 0 when there is no such escape. */
static uint8_t escape_of(uint8_t c) {
    switch (c) {
    case 'n': return '\n';
    case 't': return '\t';
    case 's': return ' ';
    case '\\':
    case '{':
    case '[':
    case '#': return c;
    default: return 0;
    }
}

/* "{title}" at the start of rest; sets how many bytes it takes. */
static enum status placeholder_add(struct prompt_reader *reader, struct span rest,
                                   size_t *ret_size) {
    static const struct {
        const char *text;
        enum prompt_part_kind kind;
        bool of_items; /* belongs in .item and .candidate, else in the body */
    } known[] = {
        {"{history}", PROMPT_PART_HISTORY, false},
        {"{candidates}", PROMPT_PART_CANDIDATES, false},
        {"{title}", PROMPT_PART_TITLE, true},
        {"{item_token}", PROMPT_PART_TOKEN, true},
    };
    bool in_body = reader->open == &reader->sections[PROMPT_BODY];
    bool in_item = reader->open == &reader->sections[PROMPT_ITEM] ||
                   reader->open == &reader->sections[PROMPT_CANDIDATE];
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        size_t size = strlen(known[i].text);
        if (rest.size < size || memcmp(rest.data, known[i].text, size) != 0) { continue; }
        if (!(known[i].of_items ? in_item : in_body)) { break; }
        for (int p = 0; p < reader->open->part_count; p++) {
            if (reader->open->parts[p].kind == known[i].kind) {
                return error_set(reader->err, STATUS_CONFIG, "line %d: %s is there twice",
                                 reader->line, known[i].text);
            }
        }
        *ret_size = size;
        return part_add(reader, known[i].kind);
    }
    return error_set(reader->err, STATUS_CONFIG,
                     "line %d: '%.*s' is no placeholder of this "
                     "section; {history} and {candidates} belong in [%s], {title} and "
                     "{item_token} in [%s.item] and .candidate, \\{ writes a brace",
                     reader->line, rest.size < 16 ? (int)rest.size : 16, (const char *)rest.data,
                     reader->name, reader->name);
}

static enum status line_add(struct prompt_reader *reader, struct span line) {
    for (size_t i = 0; i < line.size;) {
        enum status status;
        size_t size = 1;
        uint8_t c = line.data[i];
        if (c == '{') {
            struct span rest = span_make(line.data + i, line.size - i);
            status = placeholder_add(reader, rest, &size);
        } else if (c == '\\') {
            uint8_t escaped = i + 1 < line.size ? escape_of(line.data[i + 1]) : 0;
            size = 2;
            status = escaped != 0 ? character_add(reader, escaped)
                                  : error_set(reader->err, STATUS_CONFIG,
                                              "line %d: unknown escape, expected "
                                              "\\n \\t \\s \\\\ \\{ \\[ or \\#",
                                              reader->line);
        } else {
            status = character_add(reader, c);
        }
        if (status != STATUS_OK) { return status; }
        i += size;
    }
    return STATUS_OK;
}

static enum status read_line(struct prompt_reader *reader, struct span line) {
    if (line.size > 0 && line.data[line.size - 1] == '\r') { line.size--; }
    if (line.size == 0 || line.data[0] == '#') { return STATUS_OK; }
    if (line.data[0] == '[') { return open_section(reader, line); }
    if (!reader->inside) {
        return error_set(reader->err, STATUS_CONFIG,
                         "line %d: text in front of the first [section]", reader->line);
    }
    return reader->open != NULL ? line_add(reader, line) : STATUS_OK;
}

/* Index of the part of this kind; -1 without. */
static int part_of(const struct prompt_text *section, enum prompt_part_kind kind) {
    for (int i = 0; i < section->part_count; i++) {
        if (section->parts[i].kind == kind) { return i; }
    }
    return -1;
}

/* An item must say something about the item. */
static enum status check_item(const struct prompt_reader *reader, enum prompt_section which) {
    const struct prompt_text *item = &reader->sections[which];
    if (part_of(item, PROMPT_PART_TITLE) >= 0 || part_of(item, PROMPT_PART_TOKEN) >= 0) {
        return STATUS_OK;
    }
    return error_set(reader->err, STATUS_CONFIG,
                     "line %d: section [%s%s] has neither {title} nor {item_token}", item->line,
                     reader->name, section_suffixes[which]);
}

/* Candidates: the placeholder behind {history}, and its section; or neither. */
static enum status check_candidates(const struct prompt_reader *reader) {
    const struct prompt_text *body = &reader->sections[PROMPT_BODY];
    const struct prompt_text *candidate = &reader->sections[PROMPT_CANDIDATE];
    const struct prompt_text *separator = &reader->sections[PROMPT_CANDIDATE_SEPARATOR];
    int at = part_of(body, PROMPT_PART_CANDIDATES);
    if (at < 0 && !candidate->found && !separator->found) { return STATUS_OK; }
    if (at < 0) {
        return error_set(
            reader->err, STATUS_CONFIG,
            "line %d: section [%s] has no {candidates}, which its section [%s%s] is "
            "for",
            body->line, reader->name, reader->name,
            section_suffixes[candidate->found ? PROMPT_CANDIDATE : PROMPT_CANDIDATE_SEPARATOR]);
    }
    if (!candidate->found) {
        return error_set(reader->err, STATUS_CONFIG, "section [%s.candidate] is missing",
                         reader->name);
    }
    if (at < part_of(body, PROMPT_PART_HISTORY)) {
        return error_set(reader->err, STATUS_CONFIG,
                         "line %d: section [%s] has {candidates} in front of {history}, expected "
                         "it behind",
                         body->line, reader->name);
    }
    return check_item(reader, PROMPT_CANDIDATE);
}

/* What a usable template must have. */
static enum status check_sections(const struct prompt_reader *reader) {
    const struct prompt_text *body = &reader->sections[PROMPT_BODY];
    const struct prompt_text *item = &reader->sections[PROMPT_ITEM];
    if (!body->found || !item->found) {
        return error_set(reader->err, STATUS_CONFIG, "section [%s%s] is missing", reader->name,
                         body->found ? ".item" : "");
    }
    if (part_of(body, PROMPT_PART_HISTORY) < 0) {
        return error_set(reader->err, STATUS_CONFIG, "line %d: section [%s] has no {history}",
                         body->line, reader->name);
    }
    enum status status = check_item(reader, PROMPT_ITEM);
    return status == STATUS_OK ? check_candidates(reader) : status;
}

enum status prompt_parse(struct span file, const char *name,
                         struct prompt_text ret_sections[PROMPT_SECTION_COUNT], struct error *err) {
    assert(name != NULL && err != NULL);
    if (!span_is_utf8(file) || (file.size > 0 && memchr(file.data, '\0', file.size) != NULL)) {
        return error_set(err, STATUS_CONFIG, "it is not UTF-8 text");
    }
    memset(ret_sections, 0, PROMPT_SECTION_COUNT * sizeof *ret_sections);
    struct prompt_reader reader = {name, ret_sections, NULL, false, 0, err};
    for (size_t at = 0; at < file.size;) {
        const uint8_t *line = file.data + at;
        const uint8_t *end = memchr(line, '\n', file.size - at);
        size_t size = end != NULL ? (size_t)(end - line) : file.size - at;
        reader.line++;
        enum status status = read_line(&reader, span_make(line, size));
        if (status != STATUS_OK) { return status; }
        at += size + 1;
    }
    return check_sections(&reader);
}
