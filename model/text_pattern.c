/* SPDX-License-Identifier: Apache-2.0
 *
 * text_pattern.c - regular expressions of tokenizers, by pcre2; nobody else sees its header.
 *
 * The reference splits with Oniguruma. Three differences matter for the published patterns and are
 * translated away before compiling: \s (pcre2 also takes U+180E, no white space since Unicode 6.3),
 * \w (pcre2 10.42 leaves out marks and connectors) and characters that are newer than pcre2's
 * tables (model/unicode_newer.h). What is left of the dialects' differences
 * (\b, class intersection) is refused by name rather than matched differently.
 */
#include "model/text_steps.h"

#include <assert.h>

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include "base/memory.h"
#include "model/unicode_newer.h"

#define MATCH_STEPS_MAX 10000000u /* of one match: a megabyte of white space needs a million */

struct text_pattern {
    pcre2_code *code;             /* owns */
    pcre2_match_context *context; /* owns */
    bool jit;                     /* machine code is there */
};

struct text_match {
    pcre2_match_data *data; /* owns */
};

static void *pcre2_take(size_t size, void *unused) {
    (void)unused;
    return memory_take(size);
}

static void pcre2_give(void *memory, void *unused) {
    (void)unused;
    memory_free(memory);
}

/* An escape of one character and what stands for it in a class. */
struct class_escape {
    const char *escape;
    const char *content;
};

/* \w, as Oniguruma has it: with the superscripts and fractions below U+0100. */
#define WORD_CONTENT                                                                      \
    "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}\\xb2\\xb3\\xb9\\xbc-\\xbe" UNICODE_NEWER_LETTERS \
        UNICODE_NEWER_MARKS UNICODE_NEWER_DIGITS

static const struct class_escape class_escapes[] = {
    {"\\s", "\\p{wspace}"},
    {"\\w", WORD_CONTENT},
    {"\\d", "\\p{Nd}" UNICODE_NEWER_DIGITS},
    {"\\p{L}", "\\p{L}" UNICODE_NEWER_LETTERS},
    {"\\p{N}", "\\p{N}" UNICODE_NEWER_NUMBERS},
    {"\\p{Nd}", "\\p{Nd}" UNICODE_NEWER_DIGITS},
    {"\\p{M}", "\\p{M}" UNICODE_NEWER_MARKS},
    {"\\p{P}", "\\p{P}" UNICODE_NEWER_PUNCTUATION},
    {"\\p{S}", "\\p{S}" UNICODE_NEWER_SYMBOLS},
};

/* The entry whose escape the text begins with; NULL when there is none. The negated forms (\S,
 * \P{L}) are the same entries with a capital letter. */
static const struct class_escape *find_escape(struct span text, bool *ret_negated) {
    for (size_t i = 0; i < sizeof class_escapes / sizeof class_escapes[0]; i++) {
        const char *escape = class_escapes[i].escape;
        size_t size = strlen(escape);
        if (text.size < size || memcmp(text.data + 2, escape + 2, size - 2) != 0) { continue; }
        *ret_negated = text.data[1] == (uint8_t)(escape[1] - 'a' + 'A');
        if (*ret_negated || text.data[1] == (uint8_t)escape[1]) { return &class_escapes[i]; }
    }
    return NULL;
}

static enum status append_text(struct buffer *out, const char *text) {
    return buffer_append(out, text, strlen(text));
}

/* Appends the escape at the beginning of text, rewritten where it must be; *ret_size: its bytes. A
 * negated class inside a class cannot be taken apart: it stays as pcre2 knows it. */
static enum status append_escape(struct span text, bool in_class, struct buffer *out,
                                 size_t *ret_size) {
    bool negated = false;
    const struct class_escape *found = find_escape(text, &negated);
    *ret_size = 2;
    if (found != NULL && in_class && negated) {
        if (text.data[1] == 'S') { return append_text(out, "\\P{wspace}"); }
        found = NULL;
    }
    if (found == NULL) { return buffer_append(out, text.data, 2); }
    *ret_size = strlen(found->escape);
    if (in_class) { return append_text(out, found->content); }
    enum status status = append_text(out, negated ? "[^" : "[");
    if (status == STATUS_OK) { status = append_text(out, found->content); }
    return status == STATUS_OK ? append_text(out, "]") : status;
}

/* The expression in pcre2's dialect. */
static enum status translate(struct span from, struct buffer *out, struct error *err) {
    bool in_class = false;
    for (size_t i = 0; i < from.size; i++) {
        enum status status = STATUS_OK;
        uint8_t c = from.data[i];
        if (c == '\\' && i + 1 < from.size) {
            uint8_t escaped = from.data[i + 1];
            size_t size = 0;
            if (strchr("bBGKXRhHvVkgWC", escaped) != NULL && escaped != '\0') {
                return error_set(err, STATUS_CONFIG, "pattern uses \\%c, which is not supported",
                                 escaped);
            }
            status = append_escape(span_make(from.data + i, from.size - i), in_class, out, &size);
            i += size - 1;
        } else {
            bool intersects = in_class && c == '&' && i + 1 < from.size && from.data[i + 1] == '&';
            bool nested = in_class && c == '[';
            if (intersects || nested) {
                return error_set(err, STATUS_CONFIG,
                                 "pattern uses a class inside a class, which "
                                 "is not supported");
            }
            if (c == '[') { in_class = true; }
            if (c == ']') { in_class = false; }
            status = buffer_append(out, &c, 1);
        }
        if (status != STATUS_OK) {
            return error_set(err, status, "pattern of %zu bytes", from.size);
        }
    }
    return STATUS_OK;
}

/* Compiles for the processor where pcre2 can; the interpreter is the fallback. */
static enum status compile(struct text_pattern *pattern, struct span expression, uint32_t options,
                           struct error *err) {
    int code = 0;
    size_t place = 0;
    enum status status = STATUS_OK;
    pcre2_general_context *general = pcre2_general_context_create(pcre2_take, pcre2_give, NULL);
    pcre2_compile_context *compiling =
        general != NULL ? pcre2_compile_context_create(general) : NULL;
    pattern->context = general != NULL ? pcre2_match_context_create(general) : NULL;
    if (compiling == NULL || pattern->context == NULL) {
        status = error_set(err, STATUS_NO_MEMORY, "compiling a pattern");
        goto done;
    }
    (void)pcre2_set_match_limit(pattern->context, MATCH_STEPS_MAX); /* always 0 */

    pattern->code =
        pcre2_compile(expression.data, expression.size, options, &code, &place, compiling);
    if (pattern->code == NULL) {
        PCRE2_UCHAR reason[128] = {0};
        (void)pcre2_get_error_message(code, reason, sizeof reason); /* cut when too long */
        status = error_set(err, code == PCRE2_ERROR_HEAP_FAILED ? STATUS_NO_MEMORY : STATUS_CONFIG,
                           "pattern does not compile: %s at byte %zu", (const char *)reason, place);
        goto done;
    }
    code = pcre2_jit_compile(pattern->code, PCRE2_JIT_COMPLETE);
    pattern->jit = code == 0; /* a pcre2 built without it: the interpreter gives the same matches */
    if (code == PCRE2_ERROR_NOMEMORY) {
        status = error_set(err, STATUS_NO_MEMORY, "compiling a pattern");
    }

done:
    pcre2_compile_context_free(compiling);
    pcre2_general_context_free(general);
    return status;
}

enum status text_pattern_compile(struct span expression, bool literal,
                                 struct text_pattern **ret_pattern, struct error *err) {
    assert(ret_pattern != NULL);
    if (expression.size == 0 || expression.size > TEXT_PATTERN_BYTES_MAX) {
        return error_set(err, STATUS_CONFIG, "pattern has %zu bytes, expected 1 to %u",
                         expression.size, TEXT_PATTERN_BYTES_MAX);
    }
    if (!span_is_utf8(expression)) { return error_set(err, STATUS_CONFIG, "pattern is not UTF-8"); }

    struct buffer translated = {0};
    enum status status = STATUS_NO_MEMORY;
    struct text_pattern *pattern = MEMORY_TAKE_ARRAY(struct text_pattern, 1);
    if (pattern == NULL) {
        status = error_set(err, STATUS_NO_MEMORY, "compiling a pattern");
        goto fail;
    }
    uint32_t options = PCRE2_UTF | PCRE2_NO_UTF_CHECK | PCRE2_NEVER_BACKSLASH_C;
    if (literal) {
        options = PCRE2_UTF | PCRE2_NO_UTF_CHECK | PCRE2_LITERAL;
        status = compile(pattern, expression, options, err);
    } else {
        status = translate(expression, &translated, err);
        if (status != STATUS_OK) { goto fail; }
        options |= PCRE2_UCP | PCRE2_MULTILINE; /* Oniguruma's ^ and $ stand at line ends */
        status = compile(pattern, buffer_span(&translated), options, err);
    }
    if (status != STATUS_OK) { goto fail; }

    buffer_free(&translated);
    *ret_pattern = pattern;
    return STATUS_OK;

fail:
    buffer_free(&translated);
    text_pattern_free(pattern);
    return status;
}

void text_pattern_free(struct text_pattern *pattern) {
    if (pattern == NULL) { return; }
    pcre2_code_free(pattern->code);
    pcre2_match_context_free(pattern->context);
    memory_free(pattern);
}

static enum status match_new(struct text_match **match, struct error *err) {
    struct text_match *made = MEMORY_TAKE_ARRAY(struct text_match, 1);
    pcre2_general_context *general = pcre2_general_context_create(pcre2_take, pcre2_give, NULL);
    if (made != NULL && general != NULL) { made->data = pcre2_match_data_create(1, general); }
    pcre2_general_context_free(general);
    if (made == NULL || made->data == NULL) {
        memory_free(made);
        return error_set(err, STATUS_NO_MEMORY, "matching a pattern");
    }
    *match = made;
    return STATUS_OK;
}

void text_match_free(struct text_match *match) {
    if (match == NULL) { return; }
    pcre2_match_data_free(match->data);
    memory_free(match);
}

enum status text_pattern_find(const struct text_pattern *pattern, struct text_match **match,
                              struct span text, size_t from, bool *ret_found, size_t *ret_begin,
                              size_t *ret_end, struct error *err) {
    assert(from <= text.size);
    if (*match == NULL) {
        enum status status = match_new(match, err);
        if (status != STATUS_OK) { return status; }
    }
    int found = PCRE2_ERROR_JIT_BADOPTION;
    if (pattern->jit) {
        found = pcre2_jit_match(pattern->code, text.data, text.size, from, 0, (*match)->data,
                                pattern->context);
    }
    if (found == PCRE2_ERROR_JIT_BADOPTION || found == PCRE2_ERROR_JIT_STACKLIMIT) {
        found = pcre2_match(pattern->code, text.data, text.size, from,
                            PCRE2_NO_UTF_CHECK | PCRE2_NO_JIT, (*match)->data, pattern->context);
    }
    if (found == PCRE2_ERROR_NOMATCH) {
        *ret_found = false;
        return STATUS_OK;
    }
    if (found == PCRE2_ERROR_NOMEMORY || found == PCRE2_ERROR_HEAPLIMIT) {
        return error_set(err, STATUS_NO_MEMORY, "matching a pattern over %zu bytes", text.size);
    }
    if (found < 0) {
        return error_set(err, STATUS_LIMIT,
                         "splitting %zu bytes of text takes too many steps "
                         "(pcre2 code %d)",
                         text.size, found);
    }
    const size_t *range = pcre2_get_ovector_pointer((*match)->data);
    *ret_found = true;
    *ret_begin = range[0];
    *ret_end = range[1];
    return STATUS_OK;
}
