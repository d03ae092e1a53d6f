#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# gpu.sh - the CUDA backend on this machine's card: is it right, and how fast is it?
#
# usage: ops/bench/gpu.sh [--only PART[,PART...]] [FOLDER]
#
# parts    build    kernels, model and the programs below, with nvcc and cc alone (no cmake)
#          ops      every operator case against the double reference
#          parity   gradients, steps, scores of every family's small model, CPU against card
#          repeat   ten repeats have the same bits
#          sanitize compute-sanitizer (memcheck, racecheck) over small runs, where it is installed
#          ceiling  copy bandwidth, largest bf16 product
#          time     training and scoring in the shapes of SmolLM2-135M, Llama-3.2-1B, Llama-2-7B
# FOLDER   build folder, kept between calls (default: build/gpu)
#
# Needs nvcc (the system's, or what ops/cuda-toolkit.sh finds), cc and a card; nothing is installed
# and nothing is fetched. Each part has a time limit; the table at the end says what was not run.
# Exit 0 when all that ran is right, 1 when something is wrong, 77 when there is no card.
set -uo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
parts=build,ops,parity,repeat,sanitize,ceiling,time
while [ $# -gt 0 ]; do
    case "$1" in
    --only) [ $# -gt 1 ] || { sed -n '5p' "$0" >&2; exit 64; }; parts=$2; shift ;;
    -*) sed -n '5p' "$0" | sed 's/^# //' >&2; exit 64 ;;
    *) break ;;
    esac
    shift
done
out=${1:-$root/build/gpu}
jobs=$(nproc)
mkdir -p "$out/o"
cd "$root" || exit 1
bad=0 no_card=0
table=$out/table
: >"$table"

say() { printf 'gpu.sh: %s\n' "$*"; }
wanted() {
    case ",$parts," in *",$1,"*) return 0 ;; esac
    note "$1" "not run: not asked for"
    return 1
}
note() { printf '%-9s %s\n' "$1" "$2" >>"$table"; }

last() { tail -n 1 "$1" | cut -c1-120; }

# run PART SECONDS PROGRAM...: notes its RESULT lines, or why there are none.
run() {
    local part=$1 limit=$2 log=$out/$1.log rc
    shift 2
    if [ "$no_card" = 1 ]; then note "$part" "not run: no device"; return 77; fi
    if [ ! -x "$1" ] && ! command -v "$1" >/dev/null; then
        note "$part" "not run: $1 is not built"
        return 1
    fi
    timeout "$limit" "$@" >"$log" 2>&1
    rc=$?
    cat "$log"
    case $rc in
    77) no_card=1; note "$part" "not run: $(grep -m 1 '^no device' "$log" | cut -c1-120)" ;;
    124) bad=1; note "$part" "not finished in $limit s" ;;
    *) sed -n 's/^RESULT //p' "$log" | while read -r line; do note "$part" "$line"; done
       [ $rc = 0 ] || { bad=1; note "$part" "FAILED, exit $rc: $(last "$log")"; } ;;
    esac
    return $rc
}

# ---- build ---------------------------------------------------------------------------------------
sources() { # the words after a marker in a CMake list: the same lists as the CMake build's
    sed -n "/$2/,/)/p" "$root/$1" | tr ' ()' '\n' | grep '\.c$' | sed "s|^|$3/|"
}
build() {
    local cuda arch isa file flags object command
    cuda=$(ops/cuda-toolkit.sh --find 2>&1) || { note build "not run: $cuda"; return 1; }
    command -v cc >/dev/null || { note build "not run: no C compiler (cc)"; return 1; }
    arch=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null |
        head -n 1 | tr -d .)
    arch=${arch:-80}
    flags="-std=c17 -O3 -g -D_GNU_SOURCE -DILORA_VERSION=\"gpu\" -I$root -fopenmp -w"
    local numeric="-ffp-contract=off -fno-math-errno -fno-trapping-math -Wno-psabi"
    : >"$out/commands"
    : >"$out/objects"
    add() { # object, command
        echo "$1" >>"$out/objects"
        printf '%s\n' "$2 -o $1" >>"$out/commands"
    }
    for file in $(sources base/CMakeLists.txt 'set(base_sources' base) \
        kernels/backend.c kernels/cpu/backend.c kernels/cpu/linear.c kernels/cpu/plain_packed.c \
        kernels/cpu/plain_engine.c \
        $(sources model/sources_lm.cmake APPEND model) \
        model/checkpoint.c model/checkpoint_builtin.c model/checkpoint_gguf.c model/gguf.c \
        model/gguf_dequant.c; do
        command="cc $flags $numeric -c $file"
        if [ "$file $(uname -m)" = "kernels/cpu/backend.c x86_64" ]; then
            command="$command -DILORA_X86"
        fi
        add "$out/o/$(echo "$file" | tr / _).o" "$command"
    done
    for isa in base avx2 avx512; do
        [ "$isa" = base ] || [ "$(uname -m)" = x86_64 ] || continue
        case $isa in
        base) command="" ;;
        avx2) command="-mavx2 -mfma" ;;
        *) command="-mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx2 -mfma"
           command="$command -mprefer-vector-width=512" ;;
        esac
        for file in $(sources kernels/CMakeLists.txt 'set(kernels_hot_sources' kernels); do
            add "$out/o/${isa}_$(echo "$file" | tr / _).o" \
                "cc $flags $numeric $command -DCPU_ISA=$isa -c $file"
        done
    done
    for file in kernels/cuda/*.cu; do
        add "$out/o/$(basename "$file").o" \
            "$cuda/bin/nvcc -std=c++17 -O3 -lineinfo -arch=sm_$arch -I$root -c $file"
    done
    for file in tests/cuda/card_model.c tests/kernels/op_cases.c tests/kernels/op_run.c \
        tests/kernels/op_table.c tests/kernels/reference.c; do
        add "$out/o/$(echo "$file" | tr / _).o" "cc $flags -c $file"
    done
    say "compiling $(wc -l <"$out/commands") files for sm_$arch with $cuda"
    tr '\n' '\0' <"$out/commands" | timeout 240 xargs -0 -n 1 -P "$jobs" sh -c 2>"$out/build.log" ||
        { tail -n 20 "$out/build.log"; note build "FAILED: $(last "$out/build.log")"; bad=1
          return 1; }
    for file in card_check card_time; do
        # shellcheck disable=SC2046,SC2086
        cc $flags "tests/cuda/$file.c" $(cat "$out/objects") "$cuda/lib/libcudart_static.a" \
            -lstdc++ -ldl -lrt -lpthread -lm -o "$out/$file" 2>>"$out/build.log" ||
            cc $flags "tests/cuda/$file.c" $(cat "$out/objects") -L"$cuda/lib64" -lcudart_static \
                -lstdc++ -ldl -lrt -lpthread -lm -o "$out/$file" 2>>"$out/build.log" ||
            { tail -n 20 "$out/build.log"; note build "FAILED: linking $file"; bad=1; return 1; }
    done
    note build "sm_$arch, $("$cuda/bin/nvcc" --version | grep -o 'release [0-9.]*')"
}

sanitize() {
    local tool=compute-sanitizer cuda
    cuda=$(ops/cuda-toolkit.sh --find 2>/dev/null) || cuda=/usr/local/cuda
    command -v $tool >/dev/null || tool=$cuda/bin/compute-sanitizer
    if [ ! -x "$tool" ] && ! command -v "$tool" >/dev/null; then
        note sanitize "not run: compute-sanitizer is not installed"
        return
    fi
    local check
    for check in memcheck racecheck; do
        run sanitize 60 "$tool" --tool "$check" --error-exitcode 1 "$out/card_check" repeat 1 &&
            note sanitize "$check clean"
    done
}

began=$(date +%s)
if wanted build; then build; fi
if wanted ops; then run ops 60 "$out/card_check" ops; fi
if wanted parity; then run parity 60 "$out/card_check" parity; fi
if wanted repeat; then run repeat 60 "$out/card_check" repeat 10; fi
if wanted sanitize; then sanitize; fi
if wanted ceiling; then run ceiling 40 "$out/card_time" ceiling; fi
if wanted time; then
    most=$(sed -n 's/^RESULT product \([0-9.]*\) .*/\1/p' "$out/ceiling.log" 2>/dev/null)
    for shape in SmolLM2-135M Llama-3.2-1B Llama-2-7B; do
        run time 50 "$out/card_time" "$shape" "${most:-0}"
    done
fi
echo
[ "$no_card" = 0 ] || echo "no device: nothing was measured"
cat "$table"
say "$(($(date +%s) - began)) s"
[ "$bad" = 0 ] || exit 1
[ "$no_card" = 0 ] || exit 77
