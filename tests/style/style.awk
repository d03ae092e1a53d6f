# SPDX-License-Identifier: Apache-2.0
# style.awk - the rules of STYLE.md that one C file can break; called by check_style.sh.
#
# Comments and literals are cut out first, so that words inside them break nothing. A line may carry
# `style: allow WORD: reason` in a comment to be let through for that one word.
#
# Input: C files. Output: file:line: reason. Uses substr and index only, any awk will do.

FNR == 1 {
    in_comment = 0
    head = ""
    open_line = 0
    must_check_above = 0
    room = FILENAME
    sub(/\/.*/, "", room)
    test = room == "tests"
    door = FILENAME ~ /\.h$/
    voice = room == "ops" || test || FILENAME ~ /^(base\/log|daemon\/main)\.c$/
    entry = room == "ops" || test || FILENAME == "daemon/main.c"
    heap = test || FILENAME == "base/memory.c"
    numbers = test || FILENAME == "base/bytes.c"
}

{
    raw = $0
    code = cut(raw)
    if (FNR <= 6) { head = head raw "\n" }
    if (FNR == 1 && raw !~ /^\/[*\/] SPDX-License-Identifier: /) {
        refuse("expected '/* SPDX-License-Identifier: ...' in the first line", "")
    }
    if (FNR == 6) { check_sign() }
    if (FNR == 601) { refuse("file longer than 600 lines: split it by idea", "") }
    if (index(raw, "\t")) { refuse("tab: four spaces", "") }
    if (raw ~ /[ \t]$/) { refuse("blank at the end of the line", "") }
    if (raw ~ /(^|[^A-Za-z])(TODO|FIXME|HACK)([^A-Za-z]|$)/) {
        refuse("unfinished work is an issue", "")
    }
    if (raw ~ /["' ](\/work|\/root|\/home\/[a-z]+)\//) { refuse("path of one machine", "") }

    ban("sprintf|vsprintf|strcpy|strcat|strtok|gets|stpcpy|strncpy|strncat",
        "no limit, or no end")
    ban("atoi|atol|atoll|atof|sscanf", "cannot fail: use span_integer or span_real")
    ban("system|popen", "runs a shell")
    if (!numbers) { ban("strtol|strtoul|strtoll|strtoull", "use span_integer") }
    if (!heap) {
        ban("malloc|calloc|realloc|free|aligned_alloc|posix_memalign|strdup|strndup|asprintf",
            "the heap's door is base/memory.h")
    }
    if (!voice) {
        ban("printf|fprintf|vprintf|vfprintf|puts|putchar|fputs|perror", "rooms do not speak")
    }
    if (!entry) { ban("exit|_exit|_Exit|quick_exit|abort", "only main ends the process") }
    if (code ~ /(^|[^A-Za-z0-9_])assert\(.*(\+\+|--|[^=!<>]=[^=])/) {
        refuse("assert with a side effect", "assert")
    }
    if (code ~ /(^|[^A-Za-z0-9_])typedef +(struct|union) [^(]*[{;]/) {
        refuse("a struct has no typedef", "typedef")
    }
    if (door) { check_door() }
    check_function()
    must_check_above = code ~ /MUST_CHECK *$/
}

# Removes comments, strings and character constants of one line; keeps in_comment for the next.
function cut(line,   out, two, one, end) {
    out = ""
    while (line != "") {
        if (in_comment) {
            end = index(line, "*/")
            if (!end) { return out }
            line = substr(line, end + 2)
            in_comment = 0
            continue
        }
        if (!match(line, /\/\*|\/\/|"|'/)) { return out line }
        out = out substr(line, 1, RSTART - 1)
        two = substr(line, RSTART, 2)
        one = substr(line, RSTART, 1)
        line = substr(line, RSTART)
        if (two == "//") {
            if (FILENAME !~ /\.cuh?$/) { refuse("/* */ comments in C", "") }
            return out
        }
        if (two == "/*") { in_comment = 1; line = substr(line, 3); continue }
        if (one == "\"" && match(line, /^"([^"\\]|\\.)*"/)) { out = out "\"\"" }
        else if (one == "'" && match(line, /^'([^'\\]|\\.[^']*)'/)) { out = out "0" }
        else { return out }
        line = substr(line, RLENGTH + 1)
    }
    return out
}

function refuse(reason, word) {
    if (word != "" && index(raw, "style: allow " word ":")) { return }
    print FILENAME ":" FNR ": " reason
}

# Refuses calls of these functions.
function ban(words, reason,   list, n, i) {
    if (code !~ ("(^|[^A-Za-z0-9_.>])(" words ") *\\(")) { return }
    n = split(words, list, "|")
    for (i = 1; i <= n; i++) {
        if (code ~ ("(^|[^A-Za-z0-9_.>])" list[i] " *\\(")) {
            refuse(list[i] "(): " reason, list[i])
        }
    }
}

# The top comment says the file's name and what happens there.
function check_sign(   name) {
    name = FILENAME
    sub(/.*\//, "", name)
    if (!index(head, name " - ")) { refuse("no sign at the top: '" name " - what and why'", "") }
}

# A prototype that returns a status must not be ignored (base/status.h itself excepted: its
# functions hand a status on).
function check_door() {
    if (FILENAME == "base/status.h") { return }
    if (code ~ /^enum status [a-z0-9_]+\(/ && !must_check_above) {
        refuse("a function that returns enum status needs MUST_CHECK", "MUST_CHECK")
    }
}

# A function begins with a line that starts at the margin and opens a brace (or a brace alone),
# and ends with a brace at the margin. Data tables (with '=') and types are no functions.
function check_function() {
    if (code ~ /^[A-Za-z_]/) { signature = code }
    else if (code ~ /^ /) { signature = signature code }
    opens = code ~ /\) *\{ *$/ || code ~ /^\{/
    if (!open_line && opens && signature ~ /^[A-Za-z_][^=]*\(/) {
        open_line = FNR
    }
    if (open_line && code ~ /^                    +(if|for|while|switch|do|else)[ ({].*\{ *$/) {
        refuse("more than 4 levels deep", "")
    }
    if (open_line && code ~ /^\}/) {
        if (FNR - open_line + 1 > 70) {
            refuse("function of " (FNR - open_line + 1) " lines, at most 70", "")
        }
        open_line = 0
    }
    if (code ~ /[;}] *$/ && !open_line) { signature = "" }
}
