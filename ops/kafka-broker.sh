#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# kafka-broker.sh - one real Apache Kafka broker on 127.0.0.1, for the demo and the tests.
#
#   kafka-broker.sh start DIR [PORT]   starts it; prints 127.0.0.1:PORT when it answers
#   kafka-broker.sh stop DIR           stops it, by the process id it wrote
#   kafka-broker.sh status DIR         prints the address; exit 1 when it does not run
#   kafka-broker.sh topic DIR ARGS..   Kafka's own topic tool (--list, --create --topic x, ...)
#
# DIR holds all of it: data/, server.properties, broker.log, pid, bootstrap. Starting in a DIR that
# holds data continues with that data. Without PORT a free one is chosen,
# and kept for later starts.
# The broker's jars come as Maven artifacts into $ILORA_CACHE (default ~/.cache/ilorad), once.
# Needs Java 17 or newer, and Maven for the first start. Exit 77: something it needs is missing.
set -euo pipefail

KAFKA_VERSION=4.1.0
SLF4J_VERSION=1.7.36
HEAP=${ILORA_KAFKA_HEAP:-512m}
CACHE=${ILORA_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/ilorad}
LIBS=$CACHE/kafka-$KAFKA_VERSION/libs

say() { echo "kafka-broker: $*" >&2; }
skip() { say "$*"; exit 77; }
usage() { sed -n '4,8s/^# \{0,1\}//p' "$0" >&2; exit 64; }

# The jars, fetched into a folder of their own that gets its name only when it is whole.
fetch_libs() {
    [ -d "$LIBS" ] && return
    command -v mvn >/dev/null || skip "Maven is missing (Debian: apt install maven)"
    mkdir -p "$CACHE"
    local work
    work=$(mktemp -d "$CACHE/kafka.XXXXXX")
    cat >"$work/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>ilorad</groupId><artifactId>kafka-broker</artifactId><version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>
      <version>$KAFKA_VERSION</version></dependency>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId>
      <version>$KAFKA_VERSION</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId>
      <version>$SLF4J_VERSION</version></dependency>
  </dependencies>
</project>
POM
    say "fetching Apache Kafka $KAFKA_VERSION into $LIBS"
    if ! mvn -q -B -f "$work/pom.xml" dependency:copy-dependencies -DoutputDirectory="$work/libs" \
        >"$work/mvn.log" 2>&1; then
        tail -n 5 "$work/mvn.log" >&2
        rm -rf "$work"
        skip "Kafka's artifacts cannot be fetched"
    fi
    mkdir -p "$(dirname "$LIBS")"
    mv -T "$work/libs" "$LIBS" 2>/dev/null || [ -d "$LIBS" ] # another start was faster: fine
    rm -rf "$work"
}

answers() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# A port nobody listens on, outside the range from which the kernel takes outgoing ones.
free_port() {
    local port
    for _ in $(seq 100); do
        port=$((20000 + RANDOM % 12000))
        if [ "$port" != "${1:-}" ] && ! answers "$port"; then
            echo "$port"
            return
        fi
    done
    say "no free port found"
    exit 1
}

# The process is alive and is this folder's broker (ids are used again).
runs() {
    [ -s "$1/pid" ] && tr '\0' ' ' <"/proc/$(cat "$1/pid")/cmdline" 2>/dev/null |
        grep -qF "kafka.Kafka $(cd "$1" && pwd)/server.properties"
}

configure() {
    local dir=$1 port=$2 controller
    controller=$(free_port "$port")
    cat >"$dir/server.properties" <<PROPERTIES
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$controller
listeners=PLAINTEXT://127.0.0.1:$port,CONTROLLER://127.0.0.1:$controller
advertised.listeners=PLAINTEXT://127.0.0.1:$port
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=$dir/data
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
PROPERTIES
    echo "127.0.0.1:$port" >"$dir/bootstrap"
}

format() {
    local dir=$1 id
    [ -e "$dir/data/meta.properties" ] && return
    id=$(java -cp "$LIBS/*" kafka.tools.StorageTool random-uuid 2>>"$dir/broker.log")
    java -cp "$LIBS/*" kafka.tools.StorageTool format -t "$id" -c "$dir/server.properties" \
        >>"$dir/broker.log" 2>&1
}

# Started means: the broker said so, and its port answers.
await() {
    local dir=$1 port=$2 pid=$3
    for _ in $(seq 300); do
        if ! kill -0 "$pid" 2>/dev/null; then
            tail -n 5 "$dir/broker.log" >&2
            say "the broker ended while starting, see $dir/broker.log"
            rm -f "$dir/pid"
            exit 1
        fi
        if grep -q 'Kafka Server started' "$dir/broker.log" && answers "$port"; then return; fi
        sleep 0.2
    done
    kill "$pid" 2>/dev/null || true
    say "the broker did not answer within 60 s, see $dir/broker.log"
    exit 1
}

start() {
    local dir=$1 port=${2:-}
    command -v java >/dev/null || skip "Java is missing (Debian: apt install default-jre-headless)"
    fetch_libs
    mkdir -p "$dir"
    dir=$(cd "$dir" && pwd)
    if runs "$dir"; then
        cat "$dir/bootstrap"
        return
    fi
    if [ -z "$port" ] && [ -s "$dir/bootstrap" ]; then port=$(cut -d: -f2 "$dir/bootstrap"); fi
    [ -n "$port" ] || port=$(free_port)
    : >"$dir/broker.log"
    configure "$dir" "$port"
    format "$dir"
    setsid java "-Xmx$HEAP" -cp "$LIBS/*" kafka.Kafka "$dir/server.properties" \
        >>"$dir/broker.log" 2>&1 </dev/null &
    local pid=$!
    echo "$pid" >"$dir/pid"
    await "$dir" "$port" "$pid"
    cat "$dir/bootstrap"
}

stop() {
    local dir=$1 pid
    if ! runs "$dir"; then
        rm -f "$dir/pid"
        return
    fi
    pid=$(cat "$dir/pid")
    kill "$pid"
    for _ in $(seq 150); do
        if ! kill -0 "$pid" 2>/dev/null; then
            rm -f "$dir/pid"
            return
        fi
        sleep 0.2
    done
    say "process $pid did not end within 30 s: killing it"
    kill -9 "$pid" 2>/dev/null || true
    rm -f "$dir/pid"
}

[ $# -ge 2 ] || usage
command=$1
dir=$2
shift 2
case $command in
start) start "$dir" "$@" ;;
stop) stop "$dir" ;;
status)
    runs "$dir" || exit 1
    cat "$dir/bootstrap"
    ;;
topic)
    exec java -cp "$LIBS/*" org.apache.kafka.tools.TopicCommand \
        --bootstrap-server "$(cat "$dir/bootstrap")" "$@" 2>/dev/null
    ;;
*) usage ;;
esac
