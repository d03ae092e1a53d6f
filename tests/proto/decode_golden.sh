#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# decode_golden.sh WRITE_GOLDEN - our bytes, read by Python's protobuf.
#
# Exit 77 (skipped) when protoc or a Python with protobuf is missing. ILORA_PYTHON names the Python.
set -eu
writer=$1
here=$(cd "$(dirname "$0")" && pwd)
python=
for candidate in "${ILORA_PYTHON:-}" python3; do
    if [ -n "$candidate" ] && "$candidate" -c 'import google.protobuf' 2>/dev/null; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    echo "skipped: no Python with protobuf (set ILORA_PYTHON)"
    exit 77
fi
if ! command -v protoc >/dev/null; then
    echo "skipped: no protoc"
    exit 77
fi

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
protoc --python_out="$folder" --proto_path="$here/../../proto" ilora.proto
"$writer" "$folder"
exec "$python" "$here/decode_golden.py" "$folder"
