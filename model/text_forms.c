/* SPDX-License-Identifier: Apache-2.0
 *
 * text_forms.c - Unicode's normal forms as `tokenizers` makes them, in linear time.
 *
 *   piece ▸ stretches between unmoved characters ▸ decomposed ▸ marks in order ▸ composed
 *
 * Unmoved characters: the reference's tables are those of Unicode 9. What later versions assigned
 * it neither decomposes, composes nor moves, so such a character is copied and what lies around it
 * goes its own way (tests/reference/unicode_forms.py looks at every code point). Marks are ordered
 * here because utf8proc's ordering swaps neighbours: 100,000 marks took it 20 s.
 */
#include "model/text_steps.h"

#include <assert.h>
#include <utf8proc.h>

#include "base/memory.h"

#define INSERTION_MARKS_MAX 24 /* longer runs are counted out by class */

struct code_range {
    int32_t first, last;
};

/* Characters and whole blocks assigned after Unicode 9 that have a combining class or a
 * decomposition in Unicode 16; then U+11A7, the base of the trailing Hangul jamo and itself none of
 * them (Unicode 3.12), which utf8proc 2.6 lets vanish behind a syllable. Sorted. */
static const struct code_range unmoved[] = {
    {0x7fd, 0x7fd},     {0x897, 0x89f},     {0x8ca, 0x8d3},     {0x9fe, 0x9fe},
    {0xc3c, 0xc3c},     {0xd3b, 0xd3c},     {0xeba, 0xeba},     {0x11a7, 0x11a7},
    {0x1715, 0x1715},   {0x1abf, 0x1ace},   {0x1df6, 0x1dfa},   {0x32ff, 0x32ff},
    {0xa7f1, 0xa7f4},   {0xa82c, 0xa82c},   {0xab69, 0xab69},   {0x105c0, 0x105ff},
    {0x10781, 0x107ba}, {0x10d24, 0x10d27}, {0x10d40, 0x10d8f}, {0x10eab, 0x10eac},
    {0x10efc, 0x10eff}, {0x10f46, 0x10f50}, {0x10f82, 0x10f85}, {0x11070, 0x11070},
    {0x1133b, 0x1133b}, {0x11380, 0x113ff}, {0x1145e, 0x1145e}, {0x11839, 0x1183a},
    {0x11930, 0x11930}, {0x11935, 0x11935}, {0x11938, 0x11938}, {0x1193d, 0x1193e},
    {0x11943, 0x11943}, {0x119e0, 0x119e0}, {0x11a34, 0x11a34}, {0x11a47, 0x11a47},
    {0x11a99, 0x11a99}, {0x11d42, 0x11d42}, {0x11d44, 0x11d45}, {0x11d97, 0x11d97},
    {0x11f41, 0x11f42}, {0x16100, 0x1613f}, {0x16d40, 0x16d7f}, {0x16ff0, 0x16ff1},
    {0x1ccd6, 0x1ccf9}, {0x1e030, 0x1e08f}, {0x1e130, 0x1e136}, {0x1e2ae, 0x1e2ae},
    {0x1e2ec, 0x1e2ef}, {0x1e4ec, 0x1e4ef}, {0x1e5d0, 0x1e5ff}, {0x1f16c, 0x1f16c},
    {0x1fbf0, 0x1fbf9},
};

static bool is_unmoved(int32_t code) {
    size_t low = 0, high = sizeof unmoved / sizeof unmoved[0];
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (unmoved[middle].last < code) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low < sizeof unmoved / sizeof unmoved[0] && unmoved[low].first <= code;
}

static bool is_ascii(struct span text) {
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] >= 0x80) { return false; }
    }
    return true;
}

/* Doubles the room for code points and keeps the first `used`; one more is kept for the NUL of
 * utf8proc_reencode. */
static enum status grow_points(struct text_work *work, size_t needed) {
    size_t capacity = 2 * (needed + 64);
    int32_t *points = memory_resize(work->points, capacity * sizeof *points);
    if (points == NULL) { return STATUS_NO_MEMORY; }
    work->points = points;
    work->point_capacity = capacity;
    return STATUS_OK;
}

/* ---- canonical order: marks by class, equal ones as they stand (Unicode 3.11, D108-D109) ----- */

static int class_of(int32_t code) {
    return utf8proc_get_property(code)->combining_class;
}

static void order_few(int32_t *marks, size_t count) {
    for (size_t i = 1; i < count; i++) {
        int32_t mark = marks[i];
        size_t to = i;
        for (; to > 0 && class_of(marks[to - 1]) > class_of(mark); to--) {
            marks[to] = marks[to - 1];
        }
        marks[to] = mark;
    }
}

static enum status order_many(int32_t *marks, size_t count) {
    size_t begins[256 + 1] = {0};
    int32_t *ordered = MEMORY_TAKE_ARRAY(int32_t, count);
    if (ordered == NULL) { return STATUS_NO_MEMORY; }
    for (size_t i = 0; i < count; i++) {
        begins[class_of(marks[i]) + 1]++;
    }
    for (int class = 0; class < 256; class ++) {
        begins[class + 1] += begins[class];
    }
    for (size_t i = 0; i < count; i++) {
        ordered[begins[class_of(marks[i])]++] = marks[i];
    }
    memcpy(marks, ordered, count * sizeof *marks);
    memory_free(ordered);
    return STATUS_OK;
}

static enum status order_marks(int32_t *points, size_t count) {
    for (size_t i = 0; i < count; i++) {
        size_t begin = i;
        while (i < count && class_of(points[i]) != 0) {
            i++;
        }
        if (i - begin <= INSERTION_MARKS_MAX) {
            order_few(points + begin, i - begin);
        } else if (order_many(points + begin, i - begin) != STATUS_OK) {
            return STATUS_NO_MEMORY;
        }
    }
    return STATUS_OK;
}

/* ---- a stretch ------------------------------------------------------------------------------- */

/* The stretch's code points, decomposed, into work->points. */
static enum status decompose(struct text_work *work, struct span stretch, utf8proc_option_t option,
                             size_t *ret_count) {
    size_t count = 0;
    for (size_t at = 0; at < stretch.size;) {
        utf8proc_int32_t code = 0;
        utf8proc_ssize_t size =
            utf8proc_iterate(stretch.data + at, (utf8proc_ssize_t)(stretch.size - at), &code);
        if (size <= 0) { return STATUS_MALFORMED; }
        size_t room = work->point_capacity > count ? work->point_capacity - count - 1 : 0;
        utf8proc_ssize_t needed = utf8proc_decompose_char(code, work->points + count,
                                                          (utf8proc_ssize_t)room, option, NULL);
        if (needed < 0) { return STATUS_MALFORMED; }
        if ((size_t)needed > room) { /* once more, with room */
            if (grow_points(work, count + (size_t)needed) != STATUS_OK) { return STATUS_NO_MEMORY; }
            continue;
        }
        count += (size_t)needed;
        at += (size_t)size;
    }
    *ret_count = count;
    return STATUS_OK;
}

static enum status append_stretch(enum text_normal_form form, struct text_work *work,
                                  struct span stretch, struct buffer *out) {
    static const int options[] = {
        [TEXT_NFC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE,
        [TEXT_NFD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE,
        [TEXT_NFKC] = UTF8PROC_STABLE | UTF8PROC_COMPOSE | UTF8PROC_COMPAT,
        [TEXT_NFKD] = UTF8PROC_STABLE | UTF8PROC_DECOMPOSE | UTF8PROC_COMPAT,
    };
    if (is_ascii(stretch)) { return buffer_append(out, stretch.data, stretch.size); }
    const utf8proc_option_t option = (utf8proc_option_t)options[form];
    size_t count = 0;
    if (work->points == NULL && grow_points(work, 0) != STATUS_OK) { return STATUS_NO_MEMORY; }
    enum status status = decompose(work, stretch, option, &count);
    if (status == STATUS_OK) { status = order_marks(work->points, count); }
    if (status != STATUS_OK) { return status; }

    utf8proc_ssize_t size = utf8proc_reencode(work->points, (utf8proc_ssize_t)count, option);
    if (size < 0) { return STATUS_MALFORMED; }
    return buffer_append(out, work->points, (size_t)size);
}

enum status text_form_append(enum text_normal_form form, struct text_work *work, struct span piece,
                             struct buffer *out) {
    size_t begin = 0; /* of the stretch */
    if (is_ascii(piece)) { return buffer_append(out, piece.data, piece.size); }
    for (size_t at = 0; at < piece.size;) {
        utf8proc_int32_t code = 0;
        utf8proc_ssize_t size =
            utf8proc_iterate(piece.data + at, (utf8proc_ssize_t)(piece.size - at), &code);
        assert(size > 0); /* the text is UTF-8 */
        if (is_unmoved(code)) {
            struct span stretch = span_make(piece.data + begin, at - begin);
            enum status status = append_stretch(form, work, stretch, out);
            if (status == STATUS_OK) { status = buffer_append(out, piece.data + at, (size_t)size); }
            if (status != STATUS_OK) { return status; }
            begin = at + (size_t)size;
        }
        at += (size_t)size;
    }
    return append_stretch(form, work, span_make(piece.data + begin, piece.size - begin), out);
}
