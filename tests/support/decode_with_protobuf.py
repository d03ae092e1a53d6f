# SPDX-License-Identifier: Apache-2.0
# decode_with_protobuf.py - an independent reader of what ilorad published: proof without our code.
#
# confluent-kafka reads every topic from its beginning, read_committed; the records are decoded by
# code that protoc generates from proto/ilora.proto. Checked:
#   ledger       epochs are 0,1,2,..; previous is H of the epoch before,
#                H = SHA-256(previous || record)
#   input        the runs tile every consumed partition: each record in exactly one run, no run
#                names an absent record, counts and the CRC-32C of each run's last record agree
#   seq          sequence numbers are contiguous; applied + duplicate + dead + filtered + other
#                are as many as the runs' records
#   outputs      as many predictions, dead letters and metrics records as the ledger says; every
#                prediction has an ilora-id, none occurs twice
#   predictions  every one names version 0 or a version that was announced, not rejected, and whose
#                manifest is on the snapshots topic; ranks are 1..n, scores lie in [0,1]
#   token        the committed offsets' metadata names the last epoch (with --group)
#
# usage: decode_with_protobuf.py --bootstrap HOST:PORT [--prefix ilorad.] [--group ID] [--complete]
# --complete: the daemon has stopped, so no input record may be left. Prints one JSON object; exit 1
# when a check fails, 77 when a Python package or protoc is missing.
import argparse
import collections
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile

try:
    import confluent_kafka as ck
    import google.protobuf  # noqa: F401  (named here so that its absence is said at start)
except ImportError as missing:
    print(f"skipped: {missing}")
    sys.exit(77)

INPUTS = ["events", "items", "control"]
OUTPUTS = ["predictions", "snapshots", "ledger", "metrics", "dlq"]
ZERO = bytes(32)
FAILURES_MAX = 50


def generated(proto):
    """The module that protoc makes from ilora.proto."""
    folder = tempfile.mkdtemp(prefix="ilora-pb-")
    try:
        subprocess.run(["protoc", f"--python_out={folder}", f"--proto_path={proto.parent}",
                        proto.name], check=True)
    except FileNotFoundError:
        print("skipped: no protoc")
        sys.exit(77)
    sys.path.insert(0, folder)
    import ilora_pb2
    return ilora_pb2


def crc32c_table():
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return table


CRC_TABLE = crc32c_table()


def crc32c(data, crc=0):
    crc ^= 0xFFFFFFFF
    for byte in data:
        crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


class Report:
    def __init__(self):
        self.failures = []
        self.counts = collections.OrderedDict()

    def check(self, good, text):
        if not good and len(self.failures) < FAILURES_MAX:
            self.failures.append(text)
        return good


def read_topic(bootstrap, topic):
    """{partition: [message, ...]} of all committed records; {} when the topic is absent."""
    consumer = ck.Consumer({"bootstrap.servers": bootstrap, "group.id": "ilora-independent-reader",
                            "isolation.level": "read_committed", "enable.auto.commit": False,
                            "auto.offset.reset": "error", "enable.partition.eof": True,
                            "fetch.wait.max.ms": 20})
    metadata = consumer.list_topics(topic, timeout=10).topics[topic]
    if metadata.error is not None:
        consumer.close()
        return {}
    records = {partition: [] for partition in metadata.partitions}
    starts = []
    for partition in metadata.partitions:
        low, _ = consumer.get_watermark_offsets(ck.TopicPartition(topic, partition), timeout=10)
        starts.append(ck.TopicPartition(topic, partition, low))
    consumer.assign(starts)
    ended = set()
    silent = 0
    while len(ended) < len(starts):
        batch = consumer.consume(1000, timeout=0.1)
        silent = 0 if batch else silent + 1
        if silent > 300:
            raise SystemExit(f"no answer for topic {topic}")
        for message in batch:
            if message.error() is None:
                records[message.partition()].append(message)
            elif message.error().code() == ck.KafkaError._PARTITION_EOF:
                ended.add(message.partition())
            elif not message.error().retriable():
                raise SystemExit(f"topic {topic}: {message.error()}")
    consumer.close()
    return records


def check_chain(report, pb, shard, messages):
    """Decodes a ledger partition; [(record, H)], and checks epochs, hashes and sequence numbers."""
    chain = []
    before, seq = ZERO, 0
    for message in messages:
        record = pb.EpochRecord.FromString(message.value())
        where = f"ledger {shard} epoch {record.epoch}"
        report.check(record.SerializeToString(deterministic=True) == message.value(),
                     f"{where}: not canonical")
        report.check(record.epoch == len(chain), f"{where}: epoch {len(chain)} is expected")
        report.check(record.previous == before, f"{where}: the hash chain is broken")
        report.check(record.seq_lo == seq + 1, f"{where}: seq_lo {record.seq_lo} after {seq}")
        report.check(record.seq_hi - record.seq_lo + 1 == record.applied,
                     f"{where}: applied {record.applied} of {record.seq_lo}..{record.seq_hi}")
        records = sum(run.records for run in record.runs)
        counted = record.applied + record.duplicate + record.dead + record.filtered + record.other
        report.check(records == counted, f"{where}: {records} records, {counted} accounted for")
        groups = [cut.seq_hi for cut in record.groups]
        report.check(groups == sorted(set(groups)), f"{where}: groups are not in order")
        report.check(not groups or (groups[-1] <= record.seq_hi and groups[0] >= record.seq_lo),
                     f"{where}: groups leave the epoch")
        before, seq = hashlib.sha256(before + message.value()).digest(), record.seq_hi
        chain.append((record, before))
    return chain


def check_tiling(report, chains, inputs, complete):
    """Every input record in exactly one run, from the start offsets of epoch 0 on."""
    runs = collections.defaultdict(list)
    starts = {}
    for chain in chains.values():
        for record, _ in chain:
            for start in record.start:
                starts[(start.topic, start.partition)] = start.offset
            for run in record.runs:
                runs[(run.topic, run.partition)].append((run, record.epoch))
    left = 0
    for role, partitions in enumerate(inputs.values()):
        for partition, messages in partitions.items():
            where = f"{INPUTS[role]}/{partition}"
            topic = messages[0].topic() if messages else None
            start = starts.get((topic, partition), 0)
            records = [m for m in messages if m.offset() >= start]
            at = 0
            for run, epoch in runs.get((role, partition), []):
                part = f"{where} epoch {epoch} run {run.lo}..{run.hi}"
                covered = records[at:at + run.records]
                at += run.records
                if not report.check(len(covered) == run.records, f"{part}: names absent records"):
                    break
                report.check(covered[0].offset() == run.lo and covered[-1].offset() == run.hi,
                             f"{part}: holds {covered[0].offset()}..{covered[-1].offset()}")
                last = covered[-1]
                crc = crc32c(last.value() or b"", crc32c(last.key() or b""))
                report.check(crc == run.crc, f"{part}: CRC {run.crc:08x}, not {crc:08x}")
            left += len(records) - at
            report.counts["input_records"] = report.counts.get("input_records", 0) + len(records)
    report.counts["input_left"] = left
    report.check(not complete or left == 0, f"{left} input records are in no run")


def leave_out_later(pb, outputs, chains):
    """A running daemon publishes while we read: what came after the ledger was read is left out."""
    if len(chains) != 1:
        return
    (chain,) = chains.values()
    seq_hi = chain[-1][0].seq_hi
    consumed = {}
    for record, _ in chain:
        for run in record.runs:
            consumed[INPUTS[run.topic], run.partition] = run.hi

    def known(topic, message):
        if topic == "predictions":
            return pb.Prediction.FromString(message.value()).seq <= seq_hi
        if topic == "metrics":
            return pb.MetricsRecord.FromString(message.value()).seq <= seq_hi
        headers = dict(message.headers())
        name = headers["ilora.error.topic"].decode().rsplit(".", 1)[-1]
        place = name, int(headers["ilora.error.partition"])
        return int(headers["ilora.error.offset"]) <= consumed.get(place, -1)

    for topic in ("predictions", "metrics", "dlq"):
        for partition, messages in outputs[topic].items():
            outputs[topic][partition] = [m for m in messages if known(topic, m)]


def check_outputs(report, outputs, chains):
    for topic, field in (("predictions", "predictions"), ("dlq", "dead_letters"),
                         ("metrics", "metrics_records")):
        messages = [m for part in outputs[topic].values() for m in part]
        said = sum(getattr(record, field) for chain in chains.values() for record, _ in chain)
        report.counts[topic] = len(messages)
        report.check(len(messages) == said,
                     f"{topic}: {len(messages)} records, the ledger says {said}")
        ids = [value for m in messages for name, value in m.headers() or [] if name == "ilora-id"]
        if topic == "predictions":
            report.check(len(ids) == len(messages),
                         f"{len(messages) - len(ids)} predictions have no ilora-id")
        report.check(len(set(ids)) == len(ids),
                     f"{topic}: {len(ids) - len(set(ids))} ids occur twice")


def check_versions(report, pb, outputs, chains):
    announced = {}
    for chain in chains.values():
        for record, _ in chain:
            for mark in record.decisions.announced:
                report.check(mark.version not in announced,
                             f"version {mark.version} announced twice")
                announced[mark.version] = mark
    manifests = {}
    for message in (m for part in outputs["snapshots"].values() for m in part):
        if message.value() is None:
            continue
        if pb.SnapshotChunk.FromString(message.value()).file:
            continue  # a chunk: field 2 of a manifest is a number
        manifest = pb.SnapshotManifest.FromString(message.value())
        manifests[manifest.version] = manifest
    usable = {v for v, mark in announced.items() if not mark.rejected and v in manifests} | {0}
    report.counts["versions_announced"] = len(announced)
    report.counts["manifests"] = len(manifests)
    for version, mark in announced.items():
        report.check(version in manifests, f"version {version} has no manifest")
        if version in manifests:
            report.check(manifests[version].seq_hi == mark.seq, f"version {version}: C_v differs")
            report.check(manifests[version].rejected == mark.rejected,
                         f"version {version}: rejected differs")
    used = collections.Counter()
    for message in (m for part in outputs["predictions"].values() for m in part):
        prediction = pb.Prediction.FromString(message.value())
        where = f"prediction {message.partition()}/{message.offset()}"
        used[prediction.model_version] += 1
        report.check(prediction.model_version in usable,
                     f"{where} names version {prediction.model_version}")
        report.check(message.key() == prediction.user.encode(), f"{where}: key is not the user")
        ranks = [i.rank for i in prediction.items]
        report.check(ranks == list(range(1, len(ranks) + 1)), f"{where}: ranks {ranks}")
        report.check(all(0.0 <= i.score <= 1.0 for i in prediction.items), f"{where}: scores")
    report.counts["versions_used"] = {str(v): n for v, n in sorted(used.items())}


def check_token(report, bootstrap, group, inputs, chains):
    consumer = ck.Consumer({"bootstrap.servers": bootstrap, "group.id": group})
    wanted = [ck.TopicPartition(m[0].topic(), p) for parts in inputs.values()
              for p, m in parts.items() if m]
    for partition in consumer.committed(wanted, timeout=10):
        if partition.offset < 0:
            report.check(False, f"{partition.topic}/{partition.partition}: nothing committed")
            continue
        token = partition.metadata or ""
        parts = token.split(":")
        chain = chains.get(int(parts[1])) if len(parts) == 4 and parts[1].isdigit() else None
        good = bool(chain) and parts[0] == "v1" and parts[2] == str(chain[-1][0].epoch) and \
            parts[3] == chain[-1][1].hex()[:16]
        report.check(good, f"{partition.topic}/{partition.partition}: token '{token}' is not the "
                           "tail's")
    consumer.close()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--prefix", default="ilorad.")
    parser.add_argument("--group")
    parser.add_argument("--complete", action="store_true")
    root = pathlib.Path(__file__).resolve().parents[2]
    parser.add_argument("--proto", type=pathlib.Path, default=root / "proto" / "ilora.proto")
    arguments = parser.parse_args()
    pb = generated(arguments.proto)

    report = Report()
    first = ["ledger"] + [name for name in OUTPUTS if name != "ledger"]
    outputs = {name: read_topic(arguments.bootstrap, arguments.prefix + name) for name in first}
    inputs = {name: read_topic(arguments.bootstrap, arguments.prefix + name) for name in INPUTS}
    chains = {shard: check_chain(report, pb, shard, messages)
              for shard, messages in outputs["ledger"].items() if messages}
    report.check(bool(chains), "the ledger is empty")
    report.counts["epochs"] = sum(len(chain) for chain in chains.values())
    report.counts["applied"] = sum(r.applied for chain in chains.values() for r, _ in chain)
    leave_out_later(pb, outputs, chains)
    check_tiling(report, chains, inputs, arguments.complete)
    check_outputs(report, outputs, chains)
    check_versions(report, pb, outputs, chains)
    if arguments.group:
        check_token(report, arguments.bootstrap, arguments.group, inputs, chains)
    print(json.dumps({"ok": not report.failures, **report.counts, "failures": report.failures},
                     indent=1))
    return 1 if report.failures else 0


if __name__ == "__main__":
    sys.exit(main())
