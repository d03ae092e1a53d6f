#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# cuda-toolkit.sh - finds nvcc, or installs the compiler's wheels; prints the toolkit's root.
#
# usage: ops/cuda-toolkit.sh [--find] [FOLDER]
#
# --find   installs nothing: exit 1 where there is none
#
# Looks at CUDA_HOME, the nvcc of PATH and /usr/local/cuda, each of version 13 or newer and with
# cublasLt's header. Where there is none, pip puts the wheels of 13.0 into a virtual environment
# in FOLDER (default: $ILORA_CACHE, then ~/.cache/ilorad): no root, no driver, about 900 MB on disk.
# Newer wheels may outrun an installed driver, so 13.0 it stays.
set -eu
install=yes
if [ "${1:-}" = --find ]; then install=no; shift; fi
folder=${1:-${ILORA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ilorad}}
venv=$folder/cuda-toolkit-13.0

say() { printf 'cuda-toolkit.sh: %s\n' "$*" >&2; }

# True when the folder holds a whole toolkit that is new enough.
usable() {
    [ -n "$1" ] && [ -x "$1/bin/nvcc" ] && [ -e "$1/include/cublasLt.h" ] || return 1
    "$1/bin/nvcc" --version 2>/dev/null | grep -Eq 'release (1[3-9]|[2-9][0-9])\.'
}

installed() { find "$venv" -type d -path '*/nvidia/cu13' 2>/dev/null | head -n 1; }

on_path=$(command -v nvcc 2>/dev/null || true)
[ -z "$on_path" ] || on_path=$(dirname "$(dirname "$(readlink -f "$on_path")")")
for root in "${CUDA_HOME:-}" "$on_path" /usr/local/cuda "$(installed)"; do
    if usable "$root"; then printf '%s\n' "$root"; exit 0; fi
done

[ "$install" = yes ] || { say "no CUDA toolkit of version 13 or newer"; exit 1; }
say "no toolkit on this machine; installing the wheels of 13.0 into $venv"
mkdir -p "$folder"
rm -rf "$venv"
python3 -m venv "$venv" >&2
"$venv/bin/pip" install -q --disable-pip-version-check 'nvidia-cuda-nvcc==13.0.*' \
    'nvidia-cuda-runtime==13.0.*' 'nvidia-cuda-crt==13.0.*' 'nvidia-nvvm==13.0.*' \
    'nvidia-cublas==13.0.*' 'nvidia-cuda-cccl==13.0.*' >&2
root=$(installed)
usable "$root" || { say "what was installed in $venv is not usable"; exit 1; }
printf '%s\n' "$root"
