#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# family.sh - the daemon end to end on a family's small random model.
#
#   tests/flow/family.sh NAME        ILORA_BUILD names the build folder (default build/)
#
# Writes the model (tests/reference/family_model.c), then lets crash.py send a stream through the
# daemon once undisturbed and once with kills: predictions, versions and adapter files must be the
# same bytes, and the audit clean. Needs Python's standard library; exits 77 without it.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
build=${ILORA_BUILD:-$root/build}
[ $# = 1 ] || { echo "usage: family.sh NAME" >&2; exit 64; }
command -v python3 >/dev/null || exit 77
[ -x "$build/tests/model/family_write" ] || exit 77 # a build without ILORA_TEXT

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$build/tests/model/family_write" "$work" "$1"
[ -d "$work/$1" ] || { echo "no family '$1'" >&2; exit 1; }
python3 "$root/tests/crash/crash.py" --build "$build" --base "$work/$1" --kills 1 \
    --set train.lm_rate_max=0.1 --set eval.lm_rate=0.02 --set predict.lm_users=2 \
    --set device.threads=1
