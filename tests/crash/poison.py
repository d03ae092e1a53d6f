#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""poison.py - a record whose folding crashes the daemon three times becomes a dead letter.

    poison.py --build DIR [--seed S]

Each life is started with ILORA_FAILPOINTS=record_folding=crash:OFFSET, so it raises SIGSEGV at this
record. After three of them the record must be given up: everything else is applied, the dead letter
says reason "crash", the ledger names the record, and a state that is folded again from the ledger
(without the failpoint) is the same. Lives ended by SIGKILL at the same place must not count.
"""
import argparse
import json
import os
import shutil
import signal
import sys
import tempfile

import crash
from crash import Failure, Shard, audit, make_stream

OFFSET = 70
EVENTS = 2 * crash.PERIOD  # applied: whole groups; one that waited behind stands in


def end_of_life(shard, points):
    shard.env = {"ILORA_FAILPOINTS": points}
    shard.start()
    shard.process.wait(timeout=60)
    shard.log.close()
    return shard.process.returncode


def expect(what, got, wanted):
    if got != wanted:
        raise Failure(f"{what}: {got}, expected {wanted}")


def letters(shard):
    return [r for r in shard.dump("dlq") if b'"crash"' in r[2] or '"crash"' in r[1]]


def run(args):
    lines = make_stream(args.seed, 2 * crash.PERIOD)
    shard = Shard(args, "poison", args.overrides)
    try:
        if "user" not in json.loads(lines[OFFSET]) or "id" not in json.loads(lines[OFFSET]):
            raise Failure(f"record {OFFSET} of seed {args.seed} is no event: choose another seed")
        shard.produce(lines)
        for _ in range(4):  # no crash of the record's: these never count
            expect("a life that is killed at the record",
                   end_of_life(shard, f"record_fed=kill@{OFFSET}"), -signal.SIGKILL)
        points = f"record_folding=crash:{OFFSET}"
        for _ in range(3):
            expect("a life at the record", end_of_life(shard, points), -signal.SIGSEGV)
        shard.start()
        shard.wait_ready()
        crash.wait_until_done(shard, EVENTS)
        shard.stop()
        found = letters(shard)
        expect("dead letters with reason crash", len(found), 1)
        before = {topic: shard.dump(topic) for topic in crash.TOPICS}

        shard.env = {}
        shutil.rmtree(os.path.join(shard.state, "state"))
        shard.start()
        shard.wait_ready()
        crash.wait_until_done(shard, EVENTS)
        shard.stop()
        expect("what was published", {t: shard.dump(t) for t in crash.TOPICS} == before, True)
        audit(shard, EVENTS)
        with open(os.path.join(shard.state, "crashes")) as left:
            expect("the list of crashes when all is consumed", left.read(), "")
    finally:
        shard.close()
    print(f"record {OFFSET}: 4 kills did not count, 3 crashes did; dead-lettered once, "
          "the refold agrees, audit clean")


def main():
    parser = argparse.ArgumentParser(description="poison record")
    parser.add_argument("--build", default=os.environ.get("ILORA_BUILD",
                                                          os.path.join(crash.ROOT, "build")))
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    args.kafka, args.overrides = False, {"engine.strict": "yes"}
    args.work = tempfile.mkdtemp(prefix="ilora-poison-")
    try:
        run(args)
    except Failure as failure:
        print(f"FAILED (seed {args.seed}, folder {args.work}):\n{failure}")
        return 1
    shutil.rmtree(args.work, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
