#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# cuda-registers.sh - registers, shared memory and spills of every kernel, as the assembler said.
#
# usage: ops/cuda-registers.sh BUILD [sm_NN]
#
# Reads BUILD/kernels/cuda/*.ptxas, which a build with -DILORA_CUDA=ON leaves beside its objects.
# One line a kernel: the highest of all cards it was assembled for (or of the card named), sorted by
# registers. Exit 1 when a kernel spills: every kernel here is meant to live in registers; what must
# spill is named in the list `may_spill` below with its reason.
set -eu
[ $# -ge 1 ] || { sed -n '5p' "$0" | sed 's/^# //' >&2; exit 64; }
folder=$1/kernels/cuda
card=${2:-}
may_spill='^$' # no kernel

ls "$folder"/*.ptxas >/dev/null 2>&1 || {
    echo "cuda-registers.sh: no *.ptxas in $folder: was it built with -DILORA_CUDA=ON?" >&2
    exit 77
}
demangle() { if command -v c++filt >/dev/null; then c++filt -p; else cat; fi; }

cat "$folder"/*.ptxas | awk -v card="$card" '
    /Compiling entry function/ {
        split($0, part, "\047")
        kernel = part[2]; arch = part[4]
        counts = card == "" || arch == card
    }
    /bytes stack frame/ && counts {
        frame = $1; spill = $5 + $9
        if (frame > frames[kernel]) { frames[kernel] = frame }
        if (spill > spills[kernel]) { spills[kernel] = spill }
    }
    /Used [0-9]+ registers/ && counts {
        for (i = 1; i < NF; i++) {
            if ($(i + 1) ~ /^registers/ && $i + 0 > registers[kernel]) { registers[kernel] = $i }
            if ($(i + 1) == "bytes" && $(i + 2) ~ /^smem/) { shared[kernel] = $i }
        }
    }
    END {
        for (kernel in registers) {
            printf "%d %d %d %d %s\n", registers[kernel], shared[kernel], frames[kernel],
                spills[kernel], kernel
        }
    }
' | sort -k1,1nr -k5 | demangle | awk -v may_spill="$may_spill" '
    BEGIN { printf "%9s %9s %9s %9s  kernel\n", "registers", "shared", "stack", "spilled" }
    {
        name = $0; sub(/^[0-9]+ [0-9]+ [0-9]+ [0-9]+ /, "", name); sub(/^void /, "", name)
        printf "%9d %9d %9d %9d  %s\n", $1, $2, $3, $4, name
        kernels++
        if ($4 > 0 && name !~ may_spill) { spilled++ }
    }
    END {
        printf "%d kernels, %d spill\n", kernels, spilled
        exit spilled > 0 || kernels == 0
    }
'
