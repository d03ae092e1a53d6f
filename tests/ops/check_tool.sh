#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check_tool.sh - iloractl against a running daemon on the embedded stream: every command once, bad
# input of every kind, kill -9 in between, and an audit at the end.
source "$(dirname "$0")/daemon_fixture.sh" tool
cat >"$conf" <<CONF
[state]
path = $work/state
[http]
listen = $work/http.sock
[train]
batch_interval = 500 ms
CONF
# in_force_after V: waits until a version newer than V is in force, prints its number.
in_force_after() {
    local version=0
    for ((i = 0; i < 300; i++)); do
        version=$(ctl --json status | sed -n 's/.*"version_in_force":\([0-9]*\).*/\1/p')
        if [ "${version:-0}" -gt "$1" ]; then
            echo "$version"
            return
        fi
        sleep 0.1
    done
    fail "no version after $1"
}

# Without a daemon: words, not a crash; the wrong command line is 64.
code=0
ctl status 2>"$work/out" || code=$?
[ $code = 1 ] && has "no ilorad runs"
code=0
ctl dance 2>"$work/out" || code=$?
[ $code = 64 ] && has "no command 'dance'"
for command in $("$build/ops/iloractl" --help | sed -n 's/^  \([a-z]*\)  .*/\1/p'); do
    ctl "$command" --help >"$work/out"
    has "example: "
done

start
# Good events in three forms, a title that comes late, a duplicate id.
ctl generate --users 30 --items 72 --events 600 --seed 3 --send
printf '%s\n' '{"id":"x1","user":"ann","item":"late","timestamp":1700000000}' \
    '{"id":"x1","user":"ann","item":"late","timestamp":1700000000}' \
    '{"eventId":"x2","userId":"ann","itemId":"i1","ts":"1700000001000"}' | ctl produce events
printf '%s\n' '{"item":"late","title":"Arrives Late"}' | ctl produce items
printf 'user,item,timestamp\nbob,i1,2023-11-14T22:13:20Z\nbob,i2,1700000001\n' >"$work/t.csv"
ctl import csv "$work/t.csv" 2>"$work/out"
has "2 events sent"
time='"timestamp":"1700000002000"'
title='"fields":[{"name":"title","value":"From Metarank"}]'
printf '%s\n' "{\"event\":\"interaction\",\"id\":\"m1\",\"user\":\"eve\",\"item\":\"i3\",$time}" \
    "{\"event\":\"ranking\",\"id\":\"m2\",\"user\":\"eve\",$time,\"items\":[]}" \
    "{\"event\":\"item\",\"id\":\"m3\",\"item\":\"i70\",$time,$title}" >"$work/m.jsonl"
ctl import metarank "$work/m.jsonl"
until_status '"applied":605,'
has '"duplicate":1,'

# Bad ones: each to the dead-letter topic with its reason, the rest flows.
printf '%s\n' '{"user":"ann"}' 'not json at all {' '{"user":"\xff","item":"1"}' \
    "$(printf '{"user":"%s","item":"1"}' "$(head -c 300 /dev/zero | tr '\0' u)")" \
    "$(printf '{"user":"ann","item":"1","x":"%s"}' "$(head -c 70000 /dev/zero | tr '\0' x)")" |
    ctl produce events --raw
until_status '"dead":5,'
ctl consume dlq --from-beginning >"$work/out"
has '"ilora.error.reason":"no-item"'
has '"ilora.error.reason":"id-too-long"'
has '"ilora.error.reason":"too-large"'
[ "$(wc -l <"$work/out")" = 5 ] || fail "dead letters: $(wc -l <"$work/out")"

# Questions.
ctl history ann >"$work/out"
has "Arrives Late"
ctl history eve >"$work/out"
first=$(in_force_after 0)
ctl recommend ann --n 3 >"$work/out"
has "version"
code=0
ctl recommend nobody 2>"$work/out" || code=$?
[ $code = 1 ] && has "has no events"
ctl topics list >"$work/out"
has "ilorad.ledger"
ctl config >"$work/out"
has "batch_interval"
if command -v curl >/dev/null; then
    curl -sf --unix-socket "$work/http.sock" http://x/health/ready >"$work/out"
    has ready
    curl -sf --unix-socket "$work/http.sock" http://x/v1/recommend/ann?n=2 >"$work/out"
    has '"rank":2'
fi
ctl fsck >"$work/out"
has "ilorad runs"

# A version on demand, then back to it; forgetting.
ctl publish >/dev/null
ctl generate --users 30 --items 72 --events 400 --seed 4 --send
second=$(in_force_after "$first")
ctl consume predictions --max 1 >"$work/out"
has '"user"'
ctl snapshots >"$work/out"
has "in force"
ctl recommend ann --n 3 >"$work/out"
has "  1. "
ctl rollback "$first" >/dev/null
ctl forget bob >/dev/null
ctl generate --users 30 --items 72 --events 400 --seed 5 --send
third=$(in_force_after "$second")
ctl --json snapshots >"$work/out"
has "\"version\":$third,"
has "\"restored_from\":$first,"
code=0
ctl history bob 2>"$work/out" || code=$?
[ $code = 1 ] && has "has no events"

# Killed in the middle, started again: nothing is lost, nothing is there twice.
ctl generate --users 30 --items 72 --events 5000 --seed 6 --send >/dev/null &
feeder=$!
sleep 0.4
kill -KILL $daemon
{ wait $daemon || true; } 2>/dev/null
wait $feeder
start
until_status '"applied":6405,'
kill -TERM $daemon
wait $daemon || fail "exit $?"
daemon=''
ctl audit
ctl --json audit >"$work/out"
has '"holds":true'
has '"applied":6405,"duplicate":1,"dead":5,'
ctl fsck >"$work/out" || { cat "$work/out"; exit 1; }
