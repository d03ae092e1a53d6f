#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check_units.sh - the units are valid and as closed as they claim: 1.2 at most, 1.5 with the GPU.
set -euo pipefail
command -v systemd-analyze >/dev/null || { echo "systemd-analyze is missing"; exit 77; }
build=${ILORA_BUILD:?}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# verify wants the program to be there and to be executable.
for unit in ilorad.service ilorad@.service; do
    sed "s#^ExecStart=[^ ]*#ExecStart=/bin/true#" "$build/systemd/$unit" >"$work/$unit"
done
cp "$work/ilorad@.service" "$work/ilorad@3.service"
for unit in ilorad.service ilorad@3.service; do
    words=$(systemd-analyze verify --man=no --recursive-errors=no "$work/$unit" 2>&1) || {
        echo "$words"
        exit 1
    }
    [ -z "$words" ] || { echo "$unit: $words"; exit 1; }
    systemd-analyze security --offline=true --no-pager --threshold=12 "$work/$unit" \
        >"$work/score" || { cat "$work/score"; exit 1; }
    tail -n 1 "$work/score"
done

# The drop-in's lines come after the unit's, as the manager reads them.
cat "$work/ilorad.service" "$build/systemd/gpu.conf" >"$work/ilorad-gpu.service"
systemd-analyze security --offline=true --no-pager --threshold=15 "$work/ilorad-gpu.service" \
    >"$work/score" || { cat "$work/score"; exit 1; }
echo "with the GPU: $(tail -n 1 "$work/score")"

# The user the units name is the one that is made.
grep -q '^u ilorad ' "$build/systemd/ilorad.sysusers"
grep -q '^User=ilorad$' "$work/ilorad.service"
