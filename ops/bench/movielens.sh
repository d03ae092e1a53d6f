#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# movielens.sh - the whole of a RecBole stream through the daemon, embedded: time until
# all is committed and learned, the prequential table, memory, processor time, sizes, audit.
#
#   ops/bench/movielens.sh BUILD FILE.inter [--rate N] [SECTION.KEY=VALUE ...]
#
#   BUILD          a build folder with daemon/ilorad and ops/iloractl (Release)
#   FILE.inter     RecBole's interactions, FILE.item beside it; ops/demo.sh fetches MovieLens 100K
#   --rate N       events a second (default: as fast as the daemon takes them)
#   SECTION.KEY=V  settings of the daemon, for instance base_model.path=FILE.gguf
#
# The state lies in a new folder under ${TMPDIR:-/tmp} and is removed at the end.
set -euo pipefail

usage() { sed -n '6,13s/^# \{0,1\}//p' "$0" >&2; exit 64; }
[ $# -ge 2 ] || usage
build=$1 events=$2
shift 2
rate=() settings=()
while [ $# -gt 0 ]; do
    case $1 in
    --rate)
        [ $# -ge 2 ] || usage
        rate=(--rate "$2")
        shift
        ;;
    *.*=*) settings+=(--set "$1") ;;
    *) usage ;;
    esac
    shift
done
[ -f "$events" ] || { echo "movielens.sh: no file '$events'" >&2; exit 64; }

work=$(mktemp -d "${TMPDIR:-/tmp}/ilorad-bench.XXXXXX")
daemon='' feeder=''
clean_up() {
    [ -z "$feeder" ] || kill "$feeder" 2>/dev/null || true
    [ -z "$daemon" ] || { kill "$daemon" 2>/dev/null && wait "$daemon"; } || true
    rm -rf "$work"
}
trap clean_up EXIT
export OMP_WAIT_POLICY=passive
place=(--set "state.path=$work/state" --set http.listen=none)
ctl() { "$build/ops/iloractl" "${place[@]}" "$@"; }
# What the daemon says of itself: a number by name.
number() { ctl --json status 2>/dev/null | sed -n "s/.*\"$1\":\([0-9]*\).*/\1/p"; }
since() { awk -v a="$1" -v b="$(date +%s.%N)" 'BEGIN { printf "%.1f", b - a }'; }

"$build/daemon/ilorad" "${place[@]}" "${settings[@]}" 2>"$work/log" &
daemon=$!
until ctl status 2>/dev/null | grep -q running; do
    kill -0 "$daemon" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
    sleep 0.1
done
count=$(($(wc -l <"$events") - 1))
began=$(date +%s.%N)
ctl import recbole "$events" "${rate[@]}" >"$work/import" 2>&1 &
feeder=$!
until [ "$(number seq)" = "$count" ]; do
    kill -0 "$daemon" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
    sleep 0.2
done
committed=$(since "$began")
until [ "$(number learner_seq)" = "$count" ]; do
    kill -0 "$daemon" 2>/dev/null || { cat "$work/log" >&2; exit 1; }
    sleep 0.2
done
learned=$(since "$began")

ctl status
echo
awk -v n="$count" -v c="$committed" -v l="$learned" 'BEGIN {
    printf "committed  %d events in %s s, %.0f a second\n", n, c, n / c
    printf "learned    in %s s, %.0f a second\n", l, n / l }'
echo "processor  $(ps -o cputime= -p "$daemon" | tr -d ' ') (hours:minutes:seconds of both cores)"
echo "memory     $(awk '/VmHWM/ { printf "%.0f MiB at most", $2 / 1024 }' "/proc/$daemon/status")"
for part in state stream versions checkpoints; do
    printf '%-10s %s\n' "$part" "$(du -sh "$work/state/$part" | cut -f1)"
done
echo
ctl audit
