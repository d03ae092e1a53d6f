#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# test_check_layers.sh - plants each forbidden include in a copy of base/ and sees it caught.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
tree=$(mktemp -d)
trap 'rm -rf "$tree"' EXIT
cp -r "$here/../../base" "$tree/base"
bad=0

"$here/check_layers.sh" "$tree" || { echo "base/ itself is not clean"; bad=1; }

# run FOLDER INCLUDE: the exit status of the check with one more file there.
run() {
    mkdir -p "$tree/$1"
    printf '/* planted */\n#include %s\n' "$2" >"$tree/$1/planted.c"
    status=0
    "$here/check_layers.sh" "$tree" >"$tree/out" || status=$?
    rm "$tree/$1/planted.c"
}
refused() {
    run "$1" "$2"
    if [ $status -eq 0 ] || ! grep -qF "$1/planted.c:2: " "$tree/out"; then
        echo "not caught: $1 includes $2"
        bad=1
    fi
}
taken() {
    run "$1" "$2"
    if [ $status -ne 0 ]; then
        echo "refused, but allowed: $1 includes $2"
        bad=1
    fi
}

for folder in proto kernels storage model daemon ops; do
    refused base "\"$folder/x.h\""
    taken $folder '"base/status.h"'
    taken $folder "\"$folder/own.h\""
done
for pair in "proto kernels" "proto storage" "proto model" "proto daemon" "kernels proto" \
    "kernels storage" "kernels model" "kernels daemon" "storage proto" "storage kernels" \
    "storage model" "storage daemon" "model proto" "model storage" "model daemon" "daemon ops"; do
    refused "${pair% *}" "\"${pair#* }/x.h\""
done
for pair in "model kernels" "daemon proto" "daemon kernels" "daemon storage" "daemon model" \
    "ops daemon" "ops proto" "ops storage"; do
    taken "${pair% *}" "\"${pair#* }/x.h\""
done
refused base '"status.h"'
refused base '"../daemon/main.h"'
refused base '"tests/support/unit.h"'
refused storage '"ilora.pb-c.h"'
taken proto '"ilora.pb-c.h"'

# library: the folder that owns it, and one that does not
while read -r header owner other; do
    taken "$owner" "<$header>"
    refused "$other" "<$header>"
done <<'LIBRARIES'
librdkafka/rdkafka.h proto daemon
protobuf-c/protobuf-c.h proto base
lmdb.h storage daemon
dnnl.h kernels/cpu kernels
oneapi/dnnl/dnnl.h kernels/cpu model
cuda_runtime.h kernels/cuda kernels/cpu
cublasLt.h kernels/cuda model
pcre2.h model base
utf8proc.h model proto
microhttpd.h daemon ops
systemd/sd-daemon.h daemon base
jansson.h base proto
ini.h base daemon
openssl/evp.h base storage
xxhash.h base model
LIBRARIES

exit $bad
