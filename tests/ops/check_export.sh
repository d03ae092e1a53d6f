#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check_export.sh - iloractl export: the uniform gate, a user's, one by hand; the same beside a
# running daemon and a stopped one; a daemon that starts from what was exported; refusals.
source "$(dirname "$0")/daemon_fixture.sh" export
# settings NAME ADAPTER: of a daemon with its own state, from now on.
settings() {
    conf=$work/$1.conf
    cat >"$conf" <<CONF
[state]
path = $work/$1
[base_model]
path = builtin:tiny
[http]
listen = none
[ilora]
adapter = $2
[train]
batch_interval = 300 ms
learning_rate = 1e-2
[publish]
interval = 1 s
CONF
}
stop() {
    kill -TERM $daemon
    wait $daemon || fail "exit $?"
    daemon=''
}
refused() { # CODE WORDS ARGUMENTS
    local code=0 wanted=$1 words=$2
    shift 2
    ctl export "$@" 2>"$work/out" || code=$?
    [ $code = "$wanted" ] || fail "export $*: exit $code, expected $wanted"
    has "$words"
    ls "$work" | grep '\.tmp$' && fail "something half-written stayed"
    return 0
}

settings first ''
start
ctl generate --users 20 --items 72 --events 400 --send
until_status '"version_in_force":[1-9]'
ctl export --version 0 --to "$work/uniform" >"$work/out"
has "gate 0.250000 0.250000 0.250000 0.250000"
version=$(ls "$work/first/versions" | sort -n | tail -n 1)
cmp "$work/uniform/adapter_model.safetensors" "$work/first/versions/0/adapter_model.safetensors"
ctl export --version "$version" --user u1 --to "$work/running" >"$work/out"
ctl --json export --version "$version" --gate 0.5,0.25,0.125,0.125 --base-name tiny/one \
    --to "$work/hand" >"$work/out"
has '"gate":[0.5,0.25,0.125,0.125]'
grep -F '"base_model_name_or_path":"tiny/one"' "$work/hand/adapter_config.json" >/dev/null
refused 1 "user 'nobody' has no events" --version "$version" --user nobody --to "$work/x"
stop

from=$work/first/versions/$version
ctl export --from "$from" --user u1 --to "$work/stopped/" >"$work/out"
cmp "$work/running/adapter_model.safetensors" "$work/stopped/adapter_model.safetensors"
cmp "$work/running/adapter_config.json" "$work/stopped/adapter_config.json"
refused 1 "exists, expected a folder to be made" --from "$from" --to "$work/hand"
refused 1 "user 'nobody' has no events" --from "$from" --user nobody --to "$work/x"
refused 1 "does not exist" --version 77 --to "$work/x"
refused 1 "expected 4 numbers" --from "$from" --gate 0.5,0.5 --to "$work/x"
refused 1 "expected 4 numbers" --from "$from" --gate 0.1,0.2,0.3,0.3,0.1 --to "$work/x"
refused 1 "expected 4 numbers" --from "$from" --gate 0.1,0.2,0.3,x --to "$work/x"
refused 1 "sum 2, expected 1" --from "$from" --gate 0.5,0.5,0.5,0.5 --to "$work/x"
refused 64 "expected --to FOLDER" --from "$from"
refused 64 "expected --version or --from" --to "$work/x"
refused 64 "not both" --from "$from" --user u1 --gate 1 --to "$work/x"
[ ! -e "$work/x" ] || fail "a refused export left a folder"

# A second daemon starts where the user's adapter ends, and says so in its manifest.
settings second "$work/hand"
start
until_status '"ready":true'
grep -F '"adapter":{"sha256":"' "$work/second/versions/0/manifest.json" >/dev/null ||
    fail "the manifest does not name the adapter"
stop
printf '[ilora]\nrank = 4\n' >>"$conf"
code=0
"$build/daemon/ilorad" --config "$conf" --set "state.path=$work/third" \
    2>"$work/out" || code=$?
[ $code = 78 ] || fail "a rank that does not fit: exit $code"
has "rank r = 8 does not fit in [ilora] rank = 4, expected [ilora] rank = 8 or more"
sed -i 's/"lora_alpha"/"use_dora":true,"lora_alpha"/' "$work/hand/adapter_config.json"
code=0
"$build/daemon/ilorad" --config "$conf" --set "state.path=$work/third" \
    2>"$work/out" || code=$?
[ $code = 78 ] || fail "DoRA: exit $code"
has "field 'use_dora' is true, expected none"
echo "exports: uniform, user, by hand; started from one"
