# SPDX-License-Identifier: Apache-2.0
# test_decode_with_protobuf.py BROKER_FOLDER - the independent reader must be able to say no.
#
# Writes a small run by hand (events, ledger, a manifest, predictions), which must pass, and then
# copies of it with one lie each, which must fail with the words that name the lie.
import hashlib
import json
import pathlib
import subprocess
import sys
import time

here = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(here.parent / "support"))
import decode_with_protobuf as reader  # noqa: E402  (exits 77 when packages are missing)
from confluent_kafka.admin import AdminClient, NewTopic  # noqa: E402

ck = reader.ck
address = pathlib.Path(sys.argv[1]) / "bootstrap"
if not address.exists():
    print("skipped: no Kafka broker runs")
    sys.exit(77)
bootstrap = address.read_text().strip()
proto = here.parents[1] / "proto" / "ilora.proto"
pb = reader.generated(proto)


def epochs(prefix, events):
    """Two epochs over the events: the first announces version 1, the second uses it."""
    records, before, at = [], reader.ZERO, 0
    for number, size in enumerate((4, 6)):
        part = events[at:at + size]
        record = pb.EpochRecord(shard=0, epoch=number, owner=bytes(range(16)), previous=before,
                                seq_lo=at + 1, seq_hi=at + size, applied=size, fold_version=1,
                                input_digest=bytes([1]) * 32, evaluation_digest=bytes([2]) * 32,
                                predictions=1)
        if number == 0:
            record.start.add(topic=prefix + "events", partition=0, offset=0)
            record.decisions.announced.add(version=1, seq=4, digest=bytes([3]) * 32)
        record.decisions.in_force = number
        record.groups.add(seq_hi=at + size, users=1)
        crc = reader.crc32c(part[-1], reader.crc32c(b"user"))
        record.runs.add(topic=0, partition=0, lo=at, hi=at + size - 1, crc=crc, records=size)
        at += size
        records.append(record)
        before = hashlib.sha256(before + record.SerializeToString(deterministic=True)).digest()
    return records


def rechain(records):
    before = reader.ZERO
    for record in records:
        record.previous = before
        before = hashlib.sha256(before + record.SerializeToString(deterministic=True)).digest()


def write(name, lie):
    prefix = f"ilora.decode.{name}.{int(time.time() * 1000)}."
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for future in admin.create_topics([NewTopic(prefix + topic, 1, 1)
                                       for topic in reader.INPUTS + reader.OUTPUTS]).values():
        future.result()
    events = [f"event {i}".encode() for i in range(10)]
    ledger = epochs(prefix, events)
    predictions = [pb.Prediction(user="user", model_version=v, tier="fast", seq=4 + 6 * v)
                   for v in (0, 1)]
    for prediction in predictions:
        prediction.items.add(item="i", score=0.5, rank=1, source="sasrec")
    manifest = pb.SnapshotManifest(version=1, seq_lo=1, seq_hi=4, base_model_sha256=bytes([9]) * 32)
    ids = ["events/0/3/prediction", "events/0/9/prediction"]
    lie(ledger, predictions, ids)

    plain = ck.Producer({"bootstrap.servers": bootstrap})
    for event in events:
        plain.produce(prefix + "events", event, b"user")
    plain.flush()
    producer = ck.Producer({"bootstrap.servers": bootstrap, "transactional.id": prefix})
    producer.init_transactions()
    producer.begin_transaction()
    producer.produce(prefix + "snapshots", manifest.SerializeToString(), b"1")
    producer.produce(prefix + "snapshots",
                     pb.SnapshotChunk(version=1, file="f", data=b"x").SerializeToString(), b"1")
    for prediction, name in zip(predictions, ids):
        producer.produce(prefix + "predictions", prediction.SerializeToString(), b"user",
                         headers=[("ilora-id", name)])
    for record in ledger:
        producer.produce(prefix + "ledger", record.SerializeToString(deterministic=True), b"0")
    producer.commit_transaction()
    producer.begin_transaction()  # what was never committed is not read
    producer.produce(prefix + "ledger", b"nonsense")
    producer.flush()
    producer.abort_transaction()
    return prefix


def unknown_version(ledger, predictions, ids):
    predictions[1].model_version = 7


def broken_chain(ledger, predictions, ids):
    ledger[1].previous = bytes([5]) * 32


def overlap(ledger, predictions, ids):
    ledger[1].runs[0].lo = 3
    rechain(ledger)


def wrong_crc(ledger, predictions, ids):
    ledger[1].runs[0].crc ^= 1
    rechain(ledger)


def left_out(ledger, predictions, ids):
    del ledger[1].runs[:]
    ledger[1].seq_hi, ledger[1].applied = 4, 0
    del ledger[1].groups[:]
    rechain(ledger)


def twice(ledger, predictions, ids):
    ids[1] = ids[0]


def missing_prediction(ledger, predictions, ids):
    predictions.pop()


CASES = [("honest", lambda *_: None, None),
         ("version", unknown_version, "names version 7"),
         ("chain", broken_chain, "hash chain is broken"),
         ("overlap", overlap, "holds 4..9"),
         ("crc", wrong_crc, "CRC"),
         ("left", left_out, "6 input records are in no run"),
         ("twice", twice, "1 ids occur twice"),
         ("missing", missing_prediction, "1 records, the ledger says 2")]

failed = 0
for name, lie, words in CASES:
    prefix = write(name, lie)
    program = str(here.parent / "support" / "decode_with_protobuf.py")
    result = subprocess.run([sys.executable, program, "--bootstrap", bootstrap, "--prefix", prefix,
                             "--complete"], capture_output=True, text=True)
    report = json.loads(result.stdout)
    if words is None:
        good = result.returncode == 0 and report["ok"] and report["applied"] == 10
    else:
        good = result.returncode == 1 and any(words in failure for failure in report["failures"])
    print(f"{'ok  ' if good else 'FAIL'} {name}")
    if not good:
        print(result.stdout, result.stderr)
        failed += 1
sys.exit(1 if failed else 0)
