#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# check_format.sh - lists the C files that clang-format would change; skipped (77) without it.
#
# usage: tests/style/check_format.sh [ROOT]      mend one with: clang-format -i FILE
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "${1:-$here/../..}"
command -v clang-format >/dev/null || { echo "clang-format is not installed"; exit 77; }

bad=0
for file in $(find base proto kernels storage model daemon ops tests -type f \
    \( -name '*.c' -o -name '*.h' \) 2>/dev/null | LC_ALL=C sort); do
    if ! clang-format --dry-run --Werror "$file" 2>/dev/null; then
        echo "$file: clang-format would change it"
        bad=1
    fi
done
exit $bad
