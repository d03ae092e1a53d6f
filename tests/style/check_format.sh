#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# check_format.sh - lists the C files that clang-format would change; skipped (77) without it.
#
# usage: tests/style/check_format.sh [ROOT]      mend one with: clang-format -i FILE
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "${1:-$here/../..}"
command -v clang-format >/dev/null || { echo "clang-format is not installed"; exit 77; }

bad=$(find base proto kernels storage model daemon ops tests -type f \
    \( -name '*.c' -o -name '*.h' \) 2>/dev/null | LC_ALL=C sort |
    xargs -r clang-format --dry-run 2>&1 |
    sed -nE 's/^([^ :]+):[0-9]+:[0-9]+: warning: code should be clang-formatted.*/\1/p' | uniq)
if [ -n "$bad" ]; then
    printf '%s\n' "$bad" | sed 's/$/: clang-format would change it/'
    exit 1
fi
