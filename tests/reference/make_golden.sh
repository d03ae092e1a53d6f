#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# make_golden.sh - makes the golden files again, or says which are older than what makes them.
#
#   make_golden.sh BUILD PYTHON [GENERATOR ..]   runs the generators (default: all), notes the sums
#   make_golden.sh --check                       exit 1 when a file or its generator has changed
#   make_golden.sh --note                        notes the sums alone, after a generator ran by hand
#
# golden.sums holds a line for each golden file: its SHA-256, that of the scripts and inputs that it
# is made from, its name, and theirs. --check needs no Python: it runs in every test run. BUILD is a
# build folder with tests, PYTHON one with torch, transformers, peft, tokenizers and gguf.
set -euo pipefail
cd "$(dirname "$0")"
sums=golden.sums

# ---- generator: golden files: what they are made from (the generator's own file comes first) -----
made() {
    cat <<'LIST'
lm_make_reference: lm_tiny_k*.bin: lm_make_reference.py array_file.py
families: family_*.bin: families.py lm_make_reference.py array_file.py family_model.c
tokenizer_make_golden: tokenizer_bytes.json tokenizer_chars.json: tokenizer_make_golden.py
gguf_make_golden: gguf_blocks.bin: gguf_make_golden.py
gate_make_golden: gate_*.bin: gate_make_golden.py lm_make_reference.py array_file.py lm_tiny_k4.bin
decode_make_golden: decode_*.bin: decode_make_golden.py decode_reference.py array_file.py
peft_make_golden: peft_tiny.bin: peft_make_golden.py peft_reference.py array_file.py
LIST
}

sum_of() { cat "$@" | sha256sum | cut -d ' ' -f 1; }

note() {
    made | while IFS=: read -r _ goldens sources; do
        for golden in $goldens; do
            # shellcheck disable=SC2086 # lists of names
            printf '%s %s %s:%s\n' "$(sum_of "$golden")" "$(sum_of $sources)" "$golden" "$sources"
        done
    done >"$sums.new"
    mv "$sums.new" "$sums"
}

check() {
    local stale=0 golden_sum source_sum rest golden sources count=0
    while read -r golden_sum source_sum rest; do
        golden=${rest%%:*} sources=${rest#*:}
        count=$((count + 1))
        if [ "$(sum_of "$golden")" != "$golden_sum" ]; then
            echo "$golden is not the file that golden.sums notes"
            stale=1
        fi
        # shellcheck disable=SC2086
        if [ "$(sum_of $sources)" != "$source_sum" ]; then
            echo "$golden is stale: one of$sources has changed; run make_golden.sh BUILD PYTHON"
            stale=1
        fi
    done <"$sums"
    # shellcheck disable=SC2046,SC2086 # the names may be patterns
    [ "$count" = "$(made | cut -d : -f 2 | while read -r list; do echo $list; done | wc -w)" ] ||
        { echo "golden.sums lacks a file"; stale=1; }
    [ "$stale" = 0 ] && echo "$count golden files are what their generators made"
    return "$stale"
}

generate() { # NAME BUILD PYTHON
    local tools=$2/tests/model python=$3 work
    work=$(mktemp -d)
    case "$1" in
    lm_make_reference)
        "$tools/lm_dump" builtin:tiny:3 "$work/tiny.bin"
        "$python" lm_make_reference.py "$work/tiny.bin" . ;;
    families) "$python" families.py --golden "$tools/family_write" "$work" . ;;
    tokenizer_make_golden) "$python" tokenizer_make_golden.py ;;
    gguf_make_golden) "$python" gguf_make_golden.py gguf_blocks.bin ;;
    gate_make_golden)
        "$tools/lm_dump" builtin:tiny:3 "$work/tiny.bin"
        "$python" gate_make_golden.py "$work/tiny.bin" lm_tiny_k4.bin . ;;
    decode_make_golden)
        "$tools/lm_dump" builtin:tiny:3 "$work/tiny.bin"
        "$tools/lm_dump" builtin:small:5 "$work/small.bin"
        "$python" decode_make_golden.py "$work/tiny.bin" "$work/small.bin" decode_builtin.bin ;;
    peft_make_golden) "$python" peft_make_golden.py "$tools/lm_dump" "$work" . ;;
    *) echo "no generator '$1'" >&2; exit 64 ;;
    esac
    rm -rf "$work"
}

case "${1:-}" in
--check) check ;;
--note) note ;;
"" | -*) sed -n '5,7s/^# \{0,1\}//p' "$0" >&2; exit 64 ;;
*)
    build=$(cd "$OLDPWD" && cd "$1" && pwd) python=${2:?PYTHON}
    shift 2
    if [ $# -gt 0 ]; then names=("$@"); else mapfile -t names < <(made | cut -d : -f 1); fi
    for name in "${names[@]}"; do
        echo "make_golden.sh: $name"
        generate "$name" "$build" "$python"
    done
    note ;;
esac
