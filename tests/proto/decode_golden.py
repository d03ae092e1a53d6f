# SPDX-License-Identifier: Apache-2.0
# decode_golden.py FOLDER - checks the records of write_golden.c as Python reads them.
#
# FOLDER holds ilora_pb2.py and the records. Serialising again must give the same bytes.
import json
import math
import pathlib
import sys

folder = pathlib.Path(sys.argv[1])
sys.path.insert(0, str(folder))
import ilora_pb2 as pb  # noqa: E402

failures = []


def check(name, got, expected):
    if got != expected:
        failures.append(f"{name}: {got!r} is not {expected!r}")


def read(name, kind):
    data = (folder / name).read_bytes()
    message = kind.FromString(data)
    check(f"{name} written again", message.SerializeToString(deterministic=True), data)
    return message


def run_of(first, size):
    return bytes((first + i) % 256 for i in range(size))


p = read("prediction", pb.Prediction)
check("user", p.user, "user-1")
check("items", [(i.item, i.score, i.rank, i.source) for i in p.items],
      [("item-9", 0.5, 1, "item_head"), ("été", 0.25, 2, "sasrec"), ("item-7", 0.0, 3, "")])
check("prediction", (p.model_version, p.tier, p.seq, p.timestamp_ms, p.history_length),
      (41, "ilora", 1234567, 1700000000123, 120))
check("event", (p.event.topic, p.event.partition, p.event.offset), ("ilorad.events", 3, 9876543210))

m = read("manifest", pb.SnapshotManifest)
check("manifest", (m.version, m.parent, m.shard, m.seq_lo, m.seq_hi), (101, 100, 2, 1025, 3072))
check("covered", [(c.topic, c.partition, c.offset) for c in m.covered],
      [("ilorad.events", 0, 501), ("ilorad.items", 1, 502)])
check("rows", (m.rows_trained, m.rows_unsampled, m.rows_quarantined, m.rows_excluded),
      (31, 32, 33, 34))
check("files", [(f.name, f.size, f.sha256, f.chunk_count) for f in m.files],
      [("adapter_model.safetensors", 123456789, run_of(7, 32), 138)])
check("figures", [(f.model, f.kind, f.slice, f.count, f.hit_1, f.hit_5, f.hit_10, f.ndcg_10, f.mrr,
                   f.log_loss) for f in m.figures],
      [("sasrec", "live", "all", 1001, 11.5, 12.5, 13.5, 14.5, 15.5, 16.5),
       ("ilora+fast", "catalogue", "history_3_9", 1002, 21.5, 22.5, 23.5, 24.5, 25.5, -26.5)])
check("model", (m.numeric_profile, m.base_model, m.base_model_sha256, m.rejected, m.reason,
                m.restored_from),
      ("cpu avx2 threads=2", "SmolLM2-135M", run_of(60, 32), True, "golden batch", 77))

s = read("metrics", pb.MetricsRecord)
check("metrics", (s.shard, s.seq, s.model_version, s.applied, s.duplicate, s.dead, s.filtered,
                  len(s.figures)), (1, 2001, 2002, 2003, 2004, 2005, 2006, 2))

e = read("epoch", pb.EpochRecord)
check("epoch", (e.shard, e.epoch, e.owner, e.previous), (6, 5001, run_of(200, 16), run_of(3, 32)))
check("runs", [(r.topic, r.partition, r.lo, r.hi, r.crc, r.records) for r in e.runs],
      [(0, 3, 100, 355, 0xDEADBEEF, 250), (2, 0, 7, 7, 5, 1)])
check("counts", (e.seq_lo, e.seq_hi, e.applied, e.duplicate, e.dead, e.filtered, e.other),
      (1001, 1100, 100, 90, 40, 20, 1))
check("groups", [(g.seq_hi, g.users, g.lm_users, g.fast_users) for g in e.groups],
      [(1064, 60, 20, 55), (1100, 30, 0, 30)])
d = e.decisions
check("decisions", (d.batch_cut, d.version_mark, d.in_force, d.lm_rate, d.eval_rate, d.eval_lm_rate,
                    d.fast_share, d.rollback, d.rollback_version, d.claim),
      (True, True, 7, 0.125, 0.1, 0.01, 0.75, True, 3, True))
check("announced", [(v.version, v.seq, v.digest, v.rejected) for v in d.announced],
      [(8, 900, run_of(1, 32), False), (9, 950, run_of(2, 32), True)])
check("forgotten", list(d.forgotten), [bytes.fromhex("1122334455667788"),
                                       bytes.fromhex("0100000000000000")])
check("crashed", [(x.topic, x.partition, x.offset) for x in d.crashed],
      [("ilorad.events", 3, 120)])
check("digests", (e.input_digest, e.evaluation_digest, e.base_model_sha256),
      (run_of(4, 32), run_of(5, 32), run_of(6, 32)))
check("settings", [(x.key, x.value) for x in e.settings],
      [("train.replay", "0.25"), ("events.field.title", "")])
check("start", [(x.topic, x.partition, x.offset) for x in e.start], [("ilorad.events", 3, 99)])
check("rest", (e.fold_version, list(e.partitions), e.numeric_profile, e.predictions, e.dead_letters,
               e.metrics_records), (12, [4, 300, 1], "cpu", 91, 92, 93))

j = json.loads((folder / "prediction.json").read_text(encoding="utf-8"))
check("json", (j["user"], j["items"][1]["item"], j["event"]["offset"], j["timestamp"]),
      ("user-1", "été", 9876543210, 1700000000123))
check("json score", math.isclose(j["items"][0]["score"], 0.5), True)

for failure in failures:
    print(failure)
print(f"{len(failures)} differences")
sys.exit(1 if failures else 0)
