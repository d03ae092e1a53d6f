#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check_sample.sh - the committed sample configuration is the one the table gives, the daemon takes
# it, and the manual pages are clean roff.
set -euo pipefail
build=${ILORA_BUILD:?}
root=$(cd "$(dirname "$0")/../.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$build/ops/iloractl" --config /dev/null config --sample >"$work/sample"
if ! diff -u "$root/ops/ilorad.conf" "$work/sample"; then
    echo "ops/ilorad.conf is old: iloractl --config /dev/null config --sample > ops/ilorad.conf"
    exit 1
fi
# Every commented default, set explicitly, is accepted too.
sed -n 's/^#\([a-z_]* = .*\)$/\1/p; /^\[/p' "$work/sample" | grep -v ' = *$' >"$work/explicit"
"$build/ops/iloractl" --config "$work/explicit" config --file >"$work/effective"
grep -q '^group_events = 64$' "$work/effective"

if [ -x "$build/daemon/ilorad" ]; then
    "$build/daemon/ilorad" --config "$work/sample" --check-config
    "$build/daemon/ilorad" --config "$work/explicit" --check-config
    code=0
    printf '[train]\nbatch_events = 0\n' >"$work/bad"
    "$build/daemon/ilorad" --config "$work/bad" --check-config 2>"$work/words" || code=$?
    [ $code = 78 ] || { echo "exit $code for a bad value"; exit 1; }
    grep -q "bad:2.*batch_events" "$work/words" || { cat "$work/words"; exit 1; }
    printf '[train]\nbach_events = 64\n' >"$work/bad"
    code=0
    "$build/daemon/ilorad" --config "$work/bad" --check-config 2>"$work/words" || code=$?
    [ $code = 78 ] && grep -q "bad:2.*bach_events" "$work/words" || { cat "$work/words"; exit 1; }
fi

"$build/ops/iloractl" --config /dev/null config --man >"$work/ilorad.conf.5"
"$root/ops/make_manual.sh" "$build/ops/iloractl" >"$work/iloractl.1"
if command -v groff >/dev/null; then
    for page in "$work/ilorad.conf.5" "$work/iloractl.1" "$root/ops/ilorad.8"; do
        words=$(groff -man -Tutf8 -ww "$page" 2>&1 >/dev/null | grep -v 'adjust\|break' || true)
        [ -z "$words" ] || { echo "$page: $words"; exit 1; }
    done
fi
grep -q '^\.SS audit' "$work/iloractl.1"
echo "sample, settings and manual pages agree"
