/* SPDX-License-Identifier: Apache-2.0
 *
 * config_file.c - feeds inih line by line and keeps count, because inih does not say where it is.
 *
 * inih is compiled with a line buffer of 200 bytes. A longer line goes over in pieces, as the
 * continuation lines that inih knows (they begin with a blank), and the pieces are joined again:
 *
 *   key = aaaaaaa bbbbb ─▸ "key = aaaa" " aaa bb" " bbb" ─▸ (key, "aaaaaaa bbbbb")
 *
 * Before a line is handed over, the key of the line before it is complete and goes to the visitor;
 * a line that gave inih nothing is not INI, and is reported with its number.
 */
#include "base/config_file.h"

#include <assert.h>
#include <ini.h>

#include "base/file.h"

#define INI_NAME_BYTES 128u /* of a section or key with its NUL */

struct ini_source {
    const char *path;
    struct span text; /* what is left of the file */
    config_visit visit;
    void *context;
    struct error *err;
    enum status status; /* the first failure ends the reading */

    char line[CONFIG_LINE_BYTES_MAX + 1]; /* stripped */
    size_t line_size;                     /* bytes */
    size_t line_given;                    /* bytes that inih has */
    int line_number;                      /* 1 = first */
    bool wants_key;                       /* the line is neither blank, comment nor section */

    bool has_key; /* the three below are the key of this line */
    char section[INI_NAME_BYTES];
    char key[INI_NAME_BYTES];
    char value[CONFIG_LINE_BYTES_MAX + 1];
};

static void source_fail(struct ini_source *source, enum status status, const char *words) {
    if (source->status != STATUS_OK) { return; }
    source->status =
        error_set(source->err, status, "%s:%d: %s", source->path, source->line_number, words);
}

/* The line that inih has whole: gives its key to the visitor. */
static void source_finish_line(struct ini_source *source) {
    if (source->status != STATUS_OK) { return; }
    if (source->wants_key && !source->has_key) {
        source_fail(source, STATUS_CONFIG, "expected 'key = value', '[section]' or a comment");
        return;
    }
    source->wants_key = false;
    if (!source->has_key) { return; }

    source->has_key = false;
    source->status = source->visit(source->context, source->line_number, source->section,
                                   source->key, source->value, source->err);
    if (source->status != STATUS_OK) {
        (void)error_wrap(source->err, "%s:%d", source->path, source->line_number);
    }
}

static bool is_blank(uint8_t c) {
    return c == ' ' || c == '\t' || c == '\r';
}

/* The line without blanks around it and without a comment that follows a blank. */
static struct span line_strip(struct span line) {
    for (size_t i = 1; i < line.size; i++) {
        if (line.data[i] == ';' && is_blank(line.data[i - 1])) { line.size = i; }
    }
    while (line.size > 0 && is_blank(line.data[line.size - 1])) {
        line.size--;
    }
    while (line.size > 0 && is_blank(line.data[0])) {
        line.data++;
        line.size--;
    }
    return line;
}

/* Loads the next line; false at the end of the file and after a failure. */
static bool source_next_line(struct ini_source *source) {
    source_finish_line(source);
    if (source->status != STATUS_OK || source->text.size == 0) { return false; }

    struct span line = source->text;
    const uint8_t *end = memchr(line.data, '\n', line.size);
    if (end != NULL) { line.size = (size_t)(end - line.data); }
    size_t passed = line.size + (end != NULL);
    source->text = span_make(source->text.data + passed, source->text.size - passed);
    source->line_number++;

    if (source->line_number == 1 && line.size >= 3 && memcmp(line.data, "\xEF\xBB\xBF", 3) == 0) {
        line = span_make(line.data + 3, line.size - 3); /* byte order mark */
    }
    line = line_strip(line);
    bool comment = line.size == 0 || line.data[0] == '#' || line.data[0] == ';';
    if (comment) { line.size = 0; }
    if (line.size > CONFIG_LINE_BYTES_MAX) {
        source_fail(source, STATUS_CONFIG, "line too long: expected at most 1024 bytes");
        return false;
    }
    if (line.size > 0 && memchr(line.data, '\0', line.size) != NULL) {
        source_fail(source, STATUS_CONFIG, "expected text, found a NUL byte");
        return false;
    }
    bool section = !comment && line.data[0] == '[';
    if (section && memchr(line.data, ']', line.size) == NULL) {
        source_fail(source, STATUS_CONFIG, "section without ']'");
        return false;
    }

    if (line.size > 0) { memcpy(source->line, line.data, line.size); }
    source->line_size = line.size;
    source->line_given = 0;
    source->wants_key = !comment && !section;
    return true;
}

/* Where to cut at most `room` bytes of the rest, so that inih joins without loss: neither side of
 * the cut may be blank, and the next piece must not look like a comment. 0: nowhere. */
static size_t piece_size(const struct ini_source *source, size_t room) {
    const char *rest = source->line + source->line_given;
    size_t left = source->line_size - source->line_given;
    if (left <= room) { return left; }
    for (size_t cut = room; cut > 0; cut--) {
        bool blank = is_blank((uint8_t)rest[cut]) || is_blank((uint8_t)rest[cut - 1]);
        if (!blank && rest[cut] != ';' && rest[cut] != '#') { return cut; }
    }
    return 0;
}

/* inih's reader, in the manner of fgets: one line, or one piece of it, with its newline. */
static char *ini_next_piece(char *piece, int piece_bytes, void *stream) {
    struct ini_source *source = stream;
    assert(piece_bytes > 16);

    bool first = source->line_given == source->line_size;
    if (first && !source_next_line(source)) { return NULL; }

    size_t room = (size_t)piece_bytes - 3; /* a blank in front, newline and NUL behind */
    size_t size = piece_size(source, room);
    if (size == 0 && source->line_size > 0) {
        source_fail(source, STATUS_CONFIG, "line too long and without a place to cut it");
        return NULL;
    }
    char *p = piece;
    if (!first) { *p++ = ' '; }
    memcpy(p, source->line + source->line_given, size);
    memcpy(p + size, "\n", 2);
    source->line_given += size;
    return piece;
}

/* inih's handler: the first piece of a key's line, or a further piece of its value. */
static int ini_take(void *user, const char *section, const char *key, const char *value) {
    struct ini_source *source = user;
    if (source->status != STATUS_OK) { return 0; }

    if (source->has_key) {
        size_t used = strlen(source->value);
        size_t more = strlen(value);
        assert(used + more <= CONFIG_LINE_BYTES_MAX); /* both come from one line */
        memcpy(source->value + used, value, more + 1);
        return 1;
    }
    if (strlen(key) >= sizeof source->key || strlen(section) >= sizeof source->section) {
        source_fail(source, STATUS_CONFIG, "name too long: expected at most 127 bytes");
        return 0;
    }
    memcpy(source->section, section, strlen(section) + 1);
    memcpy(source->key, key, strlen(key) + 1);
    memcpy(source->value, value, strlen(value) + 1);
    source->has_key = true;
    return 1;
}

enum status config_text_read(const char *name, struct span text, config_visit visit, void *context,
                             struct error *err) {
    assert(err != NULL);

    struct ini_source source = {
        .path = name, .text = text, .visit = visit, .context = context, .err = err};
    int refused = ini_parse_stream(ini_next_piece, &source, ini_take, &source);
    if (refused < 0) {
        source_fail(&source, STATUS_NO_MEMORY, "no memory for the parser");
    } else if (refused > 0) {
        source_fail(&source, STATUS_CONFIG, "expected 'key = value', '[section]' or a comment");
    }
    source_finish_line(&source);
    return source.status;
}

enum status config_file_read(const char *path, config_visit visit, void *context,
                             struct error *err) {
    assert(err != NULL);

    struct buffer text = {.size = 0};
    enum status status = file_read(path, CONFIG_FILE_BYTES_MAX, &text, err);
    if (status == STATUS_NOT_FOUND || status == STATUS_LIMIT) {
        /* The operator named it: not a record to skip, but a setting that is wrong. */
        err->code = STATUS_CONFIG;
        status = STATUS_CONFIG;
    }
    if (status != STATUS_OK) { return error_wrap(err, "configuration file"); }

    status = config_text_read(path, buffer_span(&text), visit, context, err);
    buffer_free(&text);
    return status;
}
