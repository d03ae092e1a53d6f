# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# daemon_fixture.sh - sourced first by the scripts that run a daemon and the tool against it: a
# folder $work that goes when they end, and with it the daemon whose process is $daemon.
#
# usage: source "$(dirname "$0")/daemon_fixture.sh" NAME      folder /tmp/ilora-NAME-...
set -euo pipefail
build=${ILORA_BUILD:?}
[ -x "$build/daemon/ilorad" ] || { echo "not built"; exit 77; }
work=$(mktemp -d "/tmp/ilora-$1-XXXXXX")
daemon=''
clean_up() {
    code=$?
    [ -z "$daemon" ] || kill -KILL "$daemon" 2>/dev/null || true
    rm -rf "$work"
    exit $code
}
trap clean_up EXIT
conf=$work/ilorad.conf # of the daemon and the tool
ctl() { "$build/ops/iloractl" --config "$conf" "$@"; }
fail() { echo "$*"; tail -n 5 "$work/log"; exit 1; }
# has WORDS: the last output kept holds them.
has() { grep -F -- "$1" "$work/out" >/dev/null || { cat "$work/out"; fail "expected: $1"; }; }
# until_status PATTERN: the status has it within 30 s.
until_status() {
    for ((i = 0; i < 300; i++)); do
        if ctl --json status >"$work/out" 2>&1 && grep -- "$1" "$work/out" >/dev/null; then
            return
        fi
        sleep 0.1
    done
    cat "$work/out"
    fail "never: $1"
}
start() {
    "$build/daemon/ilorad" --config "$conf" 2>>"$work/log" &
    daemon=$!
    until_status '"ready":true'
}
