#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# setup.sh - installs the Debian packages that building ilorad needs, when they are missing.
#
#   setup.sh            what the build needs
#   setup.sh --tests    and what the tests need
#   setup.sh --demo     and what the demo fetches with (pip)
#   setup.sh --kafka    and Java with Maven, for a real broker
#   setup.sh --list     prints the packages, installs nothing
#
# It changes nothing else: no repositories, no configuration. Root, or sudo, is asked for only when
# something is missing.
set -euo pipefail

build=(gcc libc6-dev cmake ninja-build pkg-config
    librdkafka-dev             # Kafka
    libprotobuf-c-dev protobuf-c-compiler # messages
    liblmdb-dev                # state and the embedded stream
    libdnnl-dev                # matrix products on the CPU
    libjansson-dev libinih-dev libssl-dev libxxhash-dev # JSON, settings, hashes
    libmicrohttpd-dev libsystemd-dev # HTTP, service manager
    libpcre2-dev libutf8proc-dev # tokenizer
    libcmocka-dev)             # the test programs are built with the rest
tests=(python3 python3-protobuf protobuf-compiler systemd clang-format groff-base)
demo=(python3 python3-pip ca-certificates)
kafka=(default-jre-headless maven)

wanted=("${build[@]}")
list=no
for argument in "$@"; do
    case $argument in
    --tests) wanted+=("${tests[@]}") ;;
    --demo) wanted+=("${demo[@]}") ;;
    --kafka) wanted+=("${kafka[@]}") ;;
    --list) list=yes ;;
    *) sed -n '3,11s/^# \{0,1\}//p' "$0"; exit 64 ;;
    esac
done
if [ $list = yes ]; then
    printf '%s\n' "${wanted[@]}" | sort -u
    exit 0
fi
if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
    echo "setup: this machine has no apt-get; install what '$0 --list' names by hand" >&2
    exit 1
fi

missing=()
for package in "${wanted[@]}"; do
    state=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
    [ "$state" = installed ] || missing+=("$package")
done
# A program that is there without its package will do as well.
have() {
    case $1 in
    python3 | cmake | gcc | maven) command -v "${1/maven/mvn}" >/dev/null ;;
    ninja-build) command -v ninja >/dev/null ;;
    python3-pip) python3 -m pip --version >/dev/null 2>&1 ;;
    default-jre-headless) command -v java >/dev/null ;;
    *) false ;;
    esac
}
needed=()
for package in "${missing[@]}"; do have "$package" || needed+=("$package"); done
if [ ${#needed[@]} -eq 0 ]; then
    echo "setup: every package is there"
    exit 0
fi

root=()
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null || {
        echo "setup: missing: ${needed[*]}; run as root: apt-get install ${needed[*]}" >&2
        exit 1
    }
    root=(sudo)
fi
echo "setup: installing ${needed[*]}"
"${root[@]}" apt-get update -q
export DEBIAN_FRONTEND=noninteractive
"${root[@]}" apt-get install -y -q --no-install-recommends "${needed[@]}"
