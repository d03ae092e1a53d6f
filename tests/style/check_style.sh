#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# check_style.sh - the rules of STYLE.md that a program can check, over the whole tree.
#
# usage: tests/style/check_style.sh [ROOT]
#
# One C file's rules are in style.awk; here are the rules about names and about files of other
# kinds. Prints file:line: reason for each offence; exit 1 when there is one.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "${1:-$here/../..}"
export LC_ALL=C.UTF-8

# What belongs to the tree: what git tracks, or every file of an unpacked archive.
list() {
    if [ -e .git ] && command -v git >/dev/null; then
        git ls-files
    else
        find . -type f ! -path './build*' ! -path './.git/*' | sed 's|^\./||'
    fi | while IFS= read -r file; do
        if [ -f "$file" ]; then printf '%s\n' "$file"; fi
    done | sort
}

files=$(list)
matching() { printf '%s\n' "$files" | grep -E "$1" || true; }
sources=$(matching '\.(c|h|cu|cuh)$')
scripts=$(matching '(\.(sh|py|awk|cmake)|(^|/)CMakeLists\.txt)$')
# Pictures, data and texts of licences have their own rules.
texts=$(matching '(\.(c|h|cu|cuh|sh|py|awk|cmake|proto|service|conf)|(^|/)CMakeLists\.txt)$')

offences() {
    # Names that say nothing about what happens in the room.
    printf '%s\n' "$files" | grep -E '(^|[/_.-])(util|misc|common|helper)s?([/_.-]|$)' |
        sed 's|$|:1: a name that says nothing: util, misc, common, helper|' || true

    printf '%s\n' "$sources" | xargs -r awk -f "$here/style.awk"

    printf '%s\n' "$texts" | xargs -r grep -nHE '^.{101,}$' |
        sed -E 's|^([^:]*:[0-9]*):.*|\1: line longer than 100 columns|' || true

    for file in $scripts; do
        if ! head -n 2 "$file" | grep -q 'SPDX-License-Identifier: '; then
            echo "$file:1: expected an SPDX line in the first two lines"
        fi
        if ! head -n 5 "$file" | grep -qE '[A-Za-z_.]+ - |^"""'; then
            echo "$file:1: no sign at the top: 'name - what and why'"
        fi
        if [ "$(wc -l <"$file")" -gt 600 ]; then
            echo "$file:601: file longer than 600 lines: split it by idea"
        fi
        grep -nE '(^|[^A-Za-z|(])(TODO|FIXME|HACK)([^A-Za-z]|$)' "$file" |
            grep -v 'style: allow' |
            sed -E "s|^([0-9]*):.*|$file:\1: unfinished work is an issue|" || true
    done
}

found=$(offences)
if [ -n "$found" ]; then
    printf '%s\n' "$found"
    echo "$(printf '%s\n' "$found" | wc -l) offences against STYLE.md"
    exit 1
fi
