#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# check_layers.sh - no room can see upstairs, and each third-party library lives in one folder.
#
# usage: tests/style/check_layers.sh [ROOT]
#
# Two tables: who may include whom (ARCHITECTURE.md, "Folders and who may include whom"), and which
# folder owns which library. Prints file:line: reason for each include that breaks one; exit 1 then.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
cd "${1:-$here/../..}"

{
    # folder: folders that its files may include, besides its own
    cat <<'TABLE'
allow base
allow proto base
allow kernels base
allow storage base
allow model base kernels
allow daemon base proto kernels storage model
allow ops base proto kernels storage model daemon
library ^librdkafka/ proto
library ^protobuf-c/ proto
library ^lmdb\.h$ storage
library ^(oneapi/)?dnnl kernels/cpu
library ^(cuda|cublas|nccl) kernels/cuda
library ^(pcre2|utf8proc)\.h$ model
library ^microhttpd\.h$ daemon
library ^systemd/ daemon
library ^jansson\.h$ base
library ^ini\.h$ base
library ^openssl/ base
library ^xxh(ash|3)\.h$ base
TABLE
    find base proto kernels storage model daemon ops -type f \
        \( -name '*.c' -o -name '*.h' -o -name '*.cu' -o -name '*.cuh' \) 2>/dev/null |
        LC_ALL=C sort | xargs -r grep -nHE '^[[:space:]]*#[[:space:]]*include[[:space:]]' || true
} | awk '
    $1 == "allow" {
        known[$2] = 1
        for (i = 3; i <= NF; i++) { may[$2 " " $i] = 1 }
        next
    }
    $1 == "library" { pattern[++libraries] = $2; owner[libraries] = $3; next }
    {
        split($0, part, ":")
        place = part[1] ":" part[2]
        folder = part[1]; sub(/\/.*/, "", folder)
        if (match($0, /"[^"]*"/)) { project(substr($0, RSTART + 1, RLENGTH - 2)) }
        else if (match($0, /<[^>]*>/)) { system_header(substr($0, RSTART + 1, RLENGTH - 2)) }
    }
    function project(header,   target) {
        if (header ~ /\.pb-c\.h$/) { # generated into the build folder from proto/*.proto
            if (folder != "proto") { refuse("generated protobuf code belongs to proto/") }
            return
        }
        target = header; sub(/\/.*/, "", target)
        if (header !~ /\// || !(target in known)) {
            refuse("\"" header "\" is not a path from the root (folder/file.h)")
        } else if (target != folder && !((folder " " target) in may)) {
            refuse(folder "/ may not include " target "/ (\"" header "\")")
        }
    }
    function system_header(header,   i) {
        for (i = 1; i <= libraries; i++) {
            if (header ~ pattern[i] && index(part[1], owner[i] "/") != 1) {
                refuse("<" header "> belongs to " owner[i] "/ alone")
            }
        }
    }
    function refuse(reason) { print place ": " reason; bad = 1 }
    END { exit bad }
'
