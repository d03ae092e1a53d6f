#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""failpoints.py - end the daemon at each named place of the protocol, alone and in ordered pairs.

    failpoints.py --build DIR [--pairs | --nth KIND [--from N] [--step N] [--to N]] [--errors]
                  [--share I/N] [--limit N] [--results FILE] [--jobs N]

The names come from base/failpoint.h. A case is a list of lives: the first runs with one point
armed, with --pairs the second with another, the last one without; each armed life goes on until it
is ended by its point, or until nothing is left to do and SIGTERM has ended it. Then all that was
published and the newest adapter files must be those of the run nobody disturbed, byte for byte, and
`iloractl audit` must be clean. --errors makes the points fail instead of kill: the daemon must end
with 75 by itself. --nth memory|file|store makes the N-th allocation, file call or LMDB call of the
first life fail, for N = from, from + step, ...; 75 again, or 0 where the daemon did without. A
point that no life can reach in this set-up is listed, never counted.

--results FILE keeps one line a case, so that a campaign that was ended goes on where it was.
"""
import argparse
import concurrent.futures
import json
import os
import random
import re
import shutil
import signal
import sys
import tempfile
import time

import crash
from crash import Failure, Shard, audit, compare, make_stream, run_oracle

LIFE_LIMIT_S = 60.0
VERSIONS = 4  # of the input: a life sees every kind of step, also trimming
# Of these a life does not come by unless an earlier one ended badly, so pairs reach them.
AFTER = {"refold_begun": "commit_done", "refold_epoch_folded": "commit_done",
         "refold_epoch_kept": "commit_done", "refold_ended": "commit_done",
         "commit_failed": None, "commit_aborted": None}
NEEDS = {"offsets_sent": "kafka", "tainted": "a disturbed connection",
         "refenced": "a disturbed connection", "refence_checked": "a disturbed connection",
         "map_grown": "a full map", "local_trimmed": "a full stream",
         "control_published": "an operator"}


def names():
    with open(os.path.join(crash.ROOT, "base", "failpoint.h")) as text:
        return re.findall(r"^    X\((\w+),", text.read(), re.M)


class Case:
    def __init__(self, args, number, armed):
        self.args, self.number, self.armed = args, number, armed
        self.reached = []

    def name(self):
        return " then ".join(self.armed)

    def life(self, shard, points):
        """One life with these points armed. True: it was ended by one of them."""
        shard.env = {"ILORA_FAILPOINTS": points} if points else {}
        shard.start()
        since, seen = time.monotonic(), None
        while shard.process.poll() is None:
            now = time.monotonic()
            if now - shard.started > LIFE_LIMIT_S:
                raise Failure(f"{shard.name}: a life of {LIFE_LIMIT_S} s\n" + shard.log_tail())
            if not shard.ready.wait(0.02):
                since = now
                continue
            # Looking costs a process each time: seldom, and only while it changes.
            if now - since > 0.15:
                where = (shard.seq(), shard.version())
                if where == (self.args.applied, self.args.version) and where == seen:
                    shard.process.send_signal(signal.SIGTERM)
                    shard.process.wait(timeout=60)
                    break
                seen, since = where, now
            time.sleep(0.01)
        code = shard.process.returncode
        shard.log.close()
        if code == 0:
            return False
        wanted = (-signal.SIGKILL, 75)  # an error where none is possible kills
        if not points or code not in wanted:
            raise Failure(f"{shard.name}: a life with '{points}' ended with {code}\n"
                          + shard.log_tail())
        return True

    def run(self):
        args = self.args
        shard = Shard(args, f"case{self.number}", args.overrides)
        try:
            shutil.copytree(os.path.join(args.template, "state"), shard.state)
            for points in self.armed:
                self.reached.append(self.life(shard, points))
            if any(self.reached):
                self.life(shard, "")  # to the end, or it raises
            compare(args.oracle, shard.results())
            audit(shard, args.applied)
        finally:
            shard.close()
        shutil.rmtree(shard.folder, ignore_errors=True)


def make_cases(args):
    action = "error" if args.errors else "kill"
    # The first pass, and a later one of what is passed often.
    passes = [1, 2] if not args.pairs else [1]
    points = [n for n in names() if n not in NEEDS]
    armed = []
    if args.nth:
        armed = [[f"{args.nth}=error@{n}"] for n in range(args.first, args.to + 1, args.step)]
    elif args.pairs:
        for first in points:
            for second in points:
                armed.append([f"{first}={action}", f"{second}={action}"])
    else:
        for point in points:
            before = AFTER.get(point)
            for n in passes:
                list_ = [f"{point}={action}@{n}"]
                if before:
                    list_.insert(0, f"{before}=kill@{2 + n}")
                elif point in AFTER:
                    list_[0] = f"commit_begun=error@{n + 1};" + list_[0].split("@")[0]
                armed.append(list_)
    index, of = (int(x) for x in args.share.split("/"))
    cases = [Case(args, i, lives) for i, lives in enumerate(armed) if i % of == index]
    random.Random(args.seed).shuffle(cases)
    return cases[:args.limit] if args.limit else cases


def done_before(path):
    if not path or not os.path.exists(path):
        return {}
    with open(path) as lines:
        rows = [json.loads(line) for line in lines if line.strip()]
    return {row["case"]: row for row in rows}


def campaign(args):
    lines = make_stream(args.seed, VERSIONS * crash.PERIOD)
    args.applied = VERSIONS * crash.PERIOD
    args.oracle, args.version, _ = run_oracle(args, lines, args.applied)
    template = Shard(args, "template", args.overrides)
    template.produce(lines)
    template.close()
    args.template = template.folder
    before = done_before(args.results)
    cases = [c for c in make_cases(args) if c.name() not in before]
    out = open(args.results, "a") if args.results else None
    rows, failures = list(before.values()), []
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        waiting = {pool.submit(case.run): case for case in cases}
        for future in concurrent.futures.as_completed(waiting):
            case = waiting[future]
            problem = future.exception()
            if problem is not None and not isinstance(problem, Failure):
                raise problem
            row = {"case": case.name(), "reached": case.reached,
                   "failure": str(problem) if problem else None}
            rows.append(row)
            if out:
                out.write(json.dumps(row) + "\n")
                out.flush()
            if problem:
                failures.append(f"{case.name()}: {problem}")
                print(f"FAILED {failures[-1]}", flush=True)
    reached = [row for row in rows if row["reached"] and all(row["reached"])]
    hit = {life.split("=")[0] for row in rows
           for life, ok in zip(row["case"].split(" then "), row["reached"]) if ok}
    hit |= {row["case"].split(";")[1].split("=")[0] for row in rows if ";" in row["case"]
            and all(row["reached"])}
    print(f"{len(rows)} cases, {len(reached)} ended at every place they name, "
          f"{sum(sum(row['reached']) for row in rows)} lives ended; "
          f"{len(hit)} of {len(names())} places hit; {len(failures)} failures")
    missed = [n for n in names() if n not in hit]
    if missed:
        print("not reached here: " + ", ".join(f"{n} (needs {NEEDS[n]})" if n in NEEDS else n
                                              for n in missed))
    return failures


def main():
    parser = argparse.ArgumentParser(description="failpoint campaign")
    parser.add_argument("--build", default=os.environ.get("ILORA_BUILD",
                                                          os.path.join(crash.ROOT, "build")))
    parser.add_argument("--pairs", action="store_true")
    parser.add_argument("--errors", action="store_true")
    parser.add_argument("--nth", choices=["memory", "file", "store"])
    parser.add_argument("--from", dest="first", type=int, default=1)
    parser.add_argument("--step", type=int, default=1)
    parser.add_argument("--to", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--share", default="0/1", help="this part of the cases, I/N")
    parser.add_argument("--limit", type=int, default=0, help="a random choice of so many cases")
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--results")
    parser.add_argument("--work", help="folder for the states (a tmpfs is fastest)")
    args = parser.parse_args()
    args.kafka = False
    args.overrides = {"engine.strict": "yes"}
    args.work = tempfile.mkdtemp(prefix="ilora-failpoints-", dir=args.work)
    began = time.monotonic()
    failures = campaign(args)
    print(f"{time.monotonic() - began:.0f} s")
    if failures:
        print(f"seed {args.seed}, folder {args.work}")
        return 1
    shutil.rmtree(args.work, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
