#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# test_check_style.sh - plants one offence of each kind in a copy of base/ and sees it caught.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
bad=0
tab=$(printf '\t')

fresh() {
    rm -rf "$tree/tree"
    mkdir "$tree/tree"
    cp -r "$here/../../base" "$tree/tree/base"
}

# expect WORDS: check_style.sh on the tree must fail and say them.
expect() {
    if "$here/check_style.sh" "$tree/tree" >"$tree/out"; then
        echo "not caught: $1"
        bad=1
    elif ! grep -qF -- "$1" "$tree/out"; then
        echo "caught, but not with the words '$1':"
        head -5 "$tree/out"
        bad=1
    fi
}

# plant TEXT: a C file that is clean but for the text, which begins on line 5.
plant() {
    fresh
    printf '/* SPDX-License-Identifier: Apache-2.0\n *\n * planted.c - a test.\n */\n%s\n' \
        "$1" >"$tree/tree/base/planted.c"
}

# planted LINE WORDS: this one line is refused with these words.
planted() {
    plant "$1"
    expect "base/planted.c:5: $2"
}

# allowed LINE: the same file must pass.
allowed() {
    plant "$1"
    if ! "$here/check_style.sh" "$tree/tree" >"$tree/out"; then
        echo "refused, but fine: $1"
        head -5 "$tree/out"
        bad=1
    fi
}

# repeated COUNT LINE
repeated() { awk -v n="$1" -v line="$2" 'BEGIN { while (n--) print line }'; }

fresh
"$here/check_style.sh" "$tree/tree" || { echo "base/ itself is not clean"; bad=1; }

for call in sprintf strcpy strcat strtok atoi sscanf system strtol malloc free strdup printf puts \
    exit abort; do
    planted "    x = $call(a);" "$call(): "
done
planted "    assert(n++ < 5);" "assert with a side effect"
planted "    assert((n = next()) != 0);" "assert with a side effect"
planted "typedef struct point { int x; } point;" "a struct has no typedef"
planted "// a comment" "/* */ comments in C"
planted "${tab}int x;" "tab: four spaces"
planted "int x; " "blank at the end of the line"
planted "/* TODO: later */" "unfinished work is an issue" # style: allow: planted
planted "/* FIXME */" "unfinished work is an issue" # style: allow: planted
planted "const char *p = \"/home/me/data\";" "path of one machine"
planted "/* $(repeated 100 x | tr -d '\n') */" "line longer than 100 columns"

allowed "    buffer_free(&x); /* free(), malloc() and sprintf() are only words here */"
allowed "    x = \"printf(1) // TODOS /* \"; y = '\"'; assert(a <= b && c == d && e != f);"
allowed "    free(p); /* style: allow free: the library asks for it */"
allowed "    p->free(q); io.exit(1); my_printf(2);"
allowed "/* ──────────────────────────────────────────────────────────────────────────────────── */"
allowed "typedef enum status (*visit)(struct span name);"

long_function() {
    printf 'int planted(void) {\n'
    repeated "$1" '    step();'
    printf '}\n'
}
plant "$(long_function 69)"
expect "function of 71 lines, at most 70"
allowed "$(long_function 68)"
plant "$(printf 'int f(int a,\n      int b) {\n                    if (a) {\n}')"
expect "base/planted.c:7: more than 4 levels deep"
plant "$(repeated 600 'int x;')"
expect "file longer than 600 lines"

fresh
printf 'int x;\n' >"$tree/tree/base/planted.c"
expect "base/planted.c:1: expected '/* SPDX"
fresh
printf '/* SPDX-License-Identifier: Apache-2.0 */\n\n\n\n\nint x;\n' >"$tree/tree/base/planted.c"
expect "base/planted.c:6: no sign at the top"
fresh
printf '/* SPDX-License-Identifier: Apache-2.0\n * planted.h - x */\nenum status f(int x);\n' \
    >"$tree/tree/base/planted.h"
expect "base/planted.h:3: a function that returns enum status needs MUST_CHECK"
for name in base/string_util.c base/misc.h helpers/a.md base/common.c; do
    fresh
    mkdir -p "$(dirname "$tree/tree/$name")"
    printf '/* SPDX-License-Identifier: Apache-2.0\n * %s - x */\n' "$(basename "$name")" \
        >"$tree/tree/$name"
    expect "$name:1: a name that says nothing"
done
fresh
printf '#!/bin/sh\necho no licence\n' >"$tree/tree/base/planted.sh"
expect "base/planted.sh:1: expected an SPDX line"

# The format, where clang-format is there to judge it.
if command -v clang-format >/dev/null; then
    fresh
    cp "$here/../../.clang-format" "$tree/tree/.clang-format"
    "$here/check_format.sh" "$tree/tree" || { echo "base/ itself is not formatted"; bad=1; }
    printf 'int  x ;\n' >"$tree/tree/base/planted.c"
    if "$here/check_format.sh" "$tree/tree" >"$tree/out"; then
        echo "not caught: a file that clang-format would change"
        bad=1
    fi
    grep -qF "base/planted.c: clang-format" "$tree/out" || bad=1
fi

exit $bad
