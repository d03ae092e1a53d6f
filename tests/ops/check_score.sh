#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# check_score.sh - iloractl score: the base alone, a version that a daemon made, the same folder as
# the PEFT LoRA it also is, continuations, and what is refused.
source "$(dirname "$0")/daemon_fixture.sh" score
cat >"$conf" <<CONF
[state]
path = $work/state
[http]
listen = none
[predict]
group_events = 16
[base_model]
path = builtin:tiny
[ilora]
rank = 4
experts = 2
history = 5
[sasrec]
width = 16
[train]
batch_events = 32
batch_interval = 100 ms
lm_rate_max = 1
[publish]
interval = 200 ms
version_batches = 1
[device]
threads = 1
CONF
titles=(--threads 1 --history 'Toy Story' --history 'Babe' 'Aladdin' 'Heat (1995)')
score() { ctl --json score "$@" "${titles[@]}"; }
same() { [ "$1" = "$2" ] || fail "expected the same: $1 and $2"; }
differ() { [ "$1" != "$2" ] || fail "expected another than: $1"; }
# refused CODE WORDS ARGUMENTS: the command fails with this code and says the words.
refused() {
    local wanted=$1 words=$2 code=0
    shift 2
    ctl score "$@" "${titles[@]}" >"$work/out" 2>&1 || code=$?
    [ $code = "$wanted" ] || fail "exit $code of score $*, expected $wanted"
    has "$words"
}
# log_likelihoods JSON: them alone.
log_likelihoods() { grep -o '"log_likelihood":[-0-9.e]*' <<<"$1"; }

# A version whose adapter was trained.
"$build/daemon/ilorad" --config "$conf" 2>"$work/log" &
daemon=$!
ctl generate --users 20 --items 72 --events 400 --seed 3 --send
version=''
for ((i = 0; i < 600; i++)); do
    [ ! -e "$work/state/versions/1/manifest.json" ] || { version=$work/state/versions/1; break; }
    sleep 0.1
done
[ -n "$version" ] || { find "$work/state" | head -n 40; fail "no version"; }
cp -r "$version" "$work/version"
kill -TERM "$daemon"
wait "$daemon" || true
daemon=''

base=$(score)
even=$(score --snapshot "$work/version")
differ "$(log_likelihoods "$base")" "$(log_likelihoods "$even")"
same "$even" "$(score --snapshot "$work/version" --gate 0.5,0.5)"
first=$(score --snapshot "$work/version" --gate 1,0)
second=$(score --snapshot "$work/version" --gate 0,1)
differ "$(log_likelihoods "$first")" "$(log_likelihoods "$second")"
differ "$(log_likelihoods "$first")" "$(log_likelihoods "$even")"
# The folder is a PEFT LoRA too: the uniform mixture.
same "$(log_likelihoods "$even")" "$(log_likelihoods "$(score --adapter "$work/version")")"

# Tokens of a title sum to it; a continuation needs no candidate, and is the same when asked again.
score --tokens | python3 -c '
import json, sys
for c in json.load(sys.stdin)["candidates"]:
    each = c["token_log_probabilities"]
    assert len(each) == c["tokens"] and abs(sum(each) - c["log_likelihood"]) < 1e-9, c'
written=$(ctl --json score --snapshot "$work/version" --generate 9 --threads 1 --history Babe)
python3 -c '
import json, sys
c = json.loads(sys.argv[1])["continuation"]
assert (len(c["ids"]) == 9) != c["ended"], c' "$written"
same "$written" "$(ctl --json score --snapshot "$work/version" --generate 9 --threads 1 \
    --history Babe)"
line='{"history":["Toy Story","Babe"],"candidates":["Aladdin","Heat (1995)"]}'
same "$base" "$(ctl --json score --threads 1 <<<"$line")"

# What is refused, and in which words.
refused 64 'one of --snapshot and --adapter' --snapshot "$work/version" --adapter "$work/version"
refused 64 '--gate' --gate 1,0
refused 1 "expected 2 numbers >= 0 of sum 1" --snapshot "$work/version" --gate 1
refused 1 "expected 2 numbers >= 0 of sum 1" --snapshot "$work/version" --gate 0.5,0.5,
refused 1 "expected 2 numbers >= 0 of sum 1" --snapshot "$work/version" --gate 0.9,0.9
refused 1 "expected 2 numbers >= 0 of sum 1" --snapshot "$work/version" --gate=1.5,-0.5
refused 1 "SHA-256" --snapshot "$work/version" --base builtin:small
refused 1 "expected (4, 128) of the base" --adapter "$work/version" --base builtin:small
refused 1 "$work/none" --snapshot "$work/none"
refused 1 "$work/none" --adapter "$work/none"
printf '\xff' |
    dd of="$work/version/adapter_model.safetensors" bs=1 seek=300 conv=notrunc 2>/dev/null
refused 1 'adapter_model.safetensors' --snapshot "$work/version"
