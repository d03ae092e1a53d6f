#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# kafka_broker.sh setup|cleanup DIR - the broker of the tests that need one, as a ctest fixture.
#
# Exit 77 (skipped) when Java, Maven or Kafka's artifacts are missing. Data of an
# earlier run is dropped.
set -eu
broker=$(cd "$(dirname "$0")/../.." && pwd)/ops/kafka-broker.sh
case "$1" in
setup)
    "$broker" stop "$2"
    rm -rf "$2"
    exec "$broker" start "$2"
    ;;
cleanup) exec "$broker" stop "$2" ;;
*)
    echo "usage: kafka_broker.sh setup|cleanup DIR" >&2
    exit 64
    ;;
esac
