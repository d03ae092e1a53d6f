#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""crash.py - kill -9 at random moments, start again, compare with the run that nobody disturbed.

    crash.py --build DIR [--kills N] [--seed S] [--kafka] [--recorded] [--base FILE] [--keep]

A seeded stream (events, titles, duplicates, broken records, control records) is put into the events
topic. In strict mode one undisturbed run is the oracle. Then the same input is given to a fresh
state, and ilorad is killed 0.1 to 3 version periods apart (one kill in five counts from the start
of the process, so that starting is hit too; a few lives end by SIGTERM instead) until everything is
consumed; rounds follow until N kills were made. Predictions, snapshots, metrics and dead letters
(keys, values, headers, order) and the adapter files must be the oracle's, byte for byte. In
recorded mode (--recorded) each round must pass `iloractl audit`, and every event must be applied
once. After the first round the tables of the state are removed: a refold of the whole ledger must
leave it all as it was.

The folder of a failed campaign is kept and named. The same --seed makes the same input and the same
kill times (what they hit is the machine's affair). Needs Python's standard library alone.
"""
import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

TOPICS = ["predictions", "snapshots", "metrics", "dlq"]
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
GROUP, BATCH, VERSION_BATCHES = 16, 64, 2
PERIOD = BATCH * VERSION_BATCHES  # events of a version
STOP_SHARE = 0.15  # lives ended by SIGTERM instead of SIGKILL
START_LIMIT_S, STALL_LIMIT_S, QUIET_S = 60.0, 120.0, 2.0

SETTINGS = {
    "state.items_max": 500, "state.history": 30, "state.seen": 100, "state.free_min": "1 MiB",
    "epoch.interval": "20 ms", "predict.group_events": GROUP, "predict.candidates": 30,
    "predict.lm_users": 2, "predict.lm_budget": "20 ms", "base_model.path": "builtin:tiny",
    "ilora.rank": 4, "ilora.experts": 2, "ilora.history": 5, "ilora.projector_width": 16,
    "sasrec.width": 16, "sasrec.blocks": 1, "sasrec.history": 20, "train.batch_events": BATCH,
    "train.batch_interval": "100 ms", "train.micro_batch_tokens": 512, "train.lm_rate_max": 0.1,
    "train.replay_rows_max": 500, "publish.version_batches": VERSION_BATCHES,
    "publish.interval": "200 ms", "publish.lag_events": 2 * PERIOD, "publish.checkpoint_every": 2,
    "publish.keep": 3, "output.format": "json", "metrics.every": 100, "eval.rate": 0.3,
    "eval.lm_rate": 0.02, "http.listen": "none", "device.threads": 1, "stream.retention": "1 GiB",
}
BROKEN = ['{"user":"u1"}', '{"item":', "x" * 30, '{"event":"dance","user":"u1"}',
          '{"user":"u1","item":"i1","timestamp":"never"}']


# ---- input ---------------------------------------------------------------------------------------

def make_stream(seed, applied):
    """Lines of JSON, some broken; `applied` events count and a few more that begin a group."""
    r = random.Random(seed)
    lines, done, now_s, recent = [], 0, 1700000000, []
    weight = [1 / (1 + i) for i in range(80)]
    while done < applied:
        now_s += r.choice([0, 0, 1, 2, 30])
        draw = r.random()
        newest = min(80, 15 + done * 80 // max(applied, 1))
        if draw < 0.90 or done == applied - 1:
            user = f"u{r.randrange(60)}"
            drift = [weight[(i + done // 500) % 80] for i in range(newest)]
            item = r.choices(range(newest), drift)[0]
            event = {"id": f"e{done}", "user": user, "item": f"i{item}", "timestamp": now_s}
            lines.append(json.dumps(event))
            recent.append(lines[-1])
            done += 1
        elif draw < 0.92 and recent:
            lines.append(r.choice(recent[-5:]))  # sent twice
        elif draw < 0.965:
            item = f"i{r.randrange(80)}"
            lines.append(json.dumps({"event": "item", "item": item,
                                     "title": f"{r.choice(['Blue', 'Red', 'Old'])} story {item}"}))
        elif draw < 0.985:
            lines.append(r.choice(BROKEN))
        elif draw < 0.990:
            lines.append(json.dumps({"event": "control", "command": "forget_user",
                                     "user": f"u{r.randrange(60)}"}))
            recent = []  # a forgotten user's ids are forgotten too
        elif draw < 0.994:
            lines.append(json.dumps({"event": "control", "command": "hide_item",
                                     "item": f"i{r.randrange(80)}"}))
        elif draw < 0.9975:  # some to versions that are gone, or not yet there
            lines.append(json.dumps({"event": "control", "command": "rollback",
                                     "version": max(0, done // PERIOD + r.randrange(-3, 3))}))
    for i in range(GROUP // 3):  # strict mode publishes whole groups: these wait, the rest must not
        lines.append(json.dumps({"user": "u1", "item": f"i{i}", "timestamp": now_s + i}))
    return lines


# ---- the daemon ----------------------------------------------------------------------------------

class Failure(Exception):
    pass


class Shard:
    """One state folder with its configuration, its stream and the daemon on it."""

    def __init__(self, args, name, overrides):
        self.args, self.name = args, name
        self.folder = os.path.join(args.work, name)
        os.makedirs(self.folder)
        self.config = os.path.join(self.folder, "ilorad.conf")
        self.state = os.path.join(self.folder, "state")
        self.broker = os.path.join(args.work, "broker") if args.kafka else None
        self.process, self.lives, self.ready_s = None, 0, []
        self.env = {}  # variables of the next life
        self.notify = os.path.join(self.folder, "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.notify)
        self.ready = threading.Event()
        threading.Thread(target=self.listen, daemon=True).start()
        settings = dict(SETTINGS, **overrides)
        settings["state.path"] = self.state
        if self.broker:
            self.start_broker(settings)
        sections = {}
        for key, value in settings.items():
            section, name = key.split(".", 1)
            sections.setdefault(section, []).append(f"{name} = {value}\n")
        with open(self.config, "w") as out:
            for section, rows in sections.items():
                out.write(f"[{section}]\n" + "".join(rows))

    def start_broker(self, settings):
        script = os.path.join(ROOT, "ops", "kafka-broker.sh")
        subprocess.run([script, "stop", self.broker], check=False, stderr=subprocess.DEVNULL)
        shutil.rmtree(self.broker, ignore_errors=True)
        made = subprocess.run([script, "start", self.broker], stdout=subprocess.PIPE, text=True)
        if made.returncode == 77:
            print("skipped: no broker can be started here")
            sys.exit(77)
        if made.returncode != 0:
            raise Failure("the broker does not start")
        settings["stream.kind"] = "kafka"
        settings["kafka.bootstrap_servers"] = made.stdout.strip().splitlines()[-1]

    def ctl(self, *words, **more):
        program = os.path.join(self.args.build, "ops", "iloractl")
        return subprocess.run([program, "--config", self.config, *words], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=300, **more)

    def produce(self, lines):
        if self.broker:
            made = self.ctl("topics", "create", "--partitions", "1")
            if made.returncode != 0:
                raise Failure("topics create: " + made.stderr.decode())
        os.makedirs(self.state, exist_ok=True)
        text = "".join(line + "\n" for line in lines)
        sent = self.ctl("produce", "events", "--raw", input=text.encode())
        if sent.returncode != 0:
            raise Failure("produce: " + sent.stderr.decode())

    def listen(self):
        """Reads all the daemon says, as systemd does: a full socket would make it wait."""
        while True:
            try:
                words = self.socket.recv(4096)
            except OSError:
                return
            if b"READY=1" in words.split(b"\n"):
                self.ready.set()

    def start(self):
        time.sleep(0.005)  # words of the life before
        self.ready.clear()
        env = {k: v for k, v in os.environ.items() if not k.startswith("ILORAD_")}
        env["NOTIFY_SOCKET"] = self.notify
        env.update(self.env)
        self.log = open(os.path.join(self.folder, "log"), "ab")
        self.started = time.monotonic()
        self.lives += 1
        self.process = subprocess.Popen(
            [os.path.join(self.args.build, "daemon", "ilorad"), "--config", self.config],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=env)

    def check_alive(self):
        code = self.process.poll()
        if code is not None:
            raise Failure(f"{self.name}: life {self.lives} ended by itself with {code}:\n"
                          + self.log_tail())

    def log_tail(self):
        with open(os.path.join(self.folder, "log"), "rb") as log:
            return log.read()[-3000:].decode(errors="replace")

    def wait_ready(self, until=None):
        """True when READY=1 came; False when `until` (monotonic seconds) passed before."""
        limit = self.started + START_LIMIT_S
        while True:
            now = time.monotonic()
            if until is not None and now >= until:
                return False
            if now > limit:
                raise Failure(f"{self.name}: not READY after {START_LIMIT_S} s:\n"
                              + self.log_tail())
            if self.ready.wait(min(0.1, max(0.001, (until or limit) - now))):
                self.ready_s.append(time.monotonic() - self.started)
                return True
            self.check_alive()

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.log.close()

    def end(self, rng):
        """kill -9, or now and then the polite way; 1 for a kill."""
        if rng.random() < STOP_SHARE:
            self.stop()
            return 0
        self.kill()
        return 1

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=60)
        self.log.close()
        early = code == -signal.SIGTERM and not self.ready.is_set()  # nobody listened yet
        if code != 0 and not early:
            raise Failure(f"{self.name}: SIGTERM gave exit {code}:\n" + self.log_tail())

    def last(self, topic):
        """The value of a topic's newest record; None: there is none."""
        got = self.ctl("consume", topic)
        if got.returncode != 0:
            raise Failure(f"consume {topic}: " + got.stderr.decode())
        lines = got.stdout.splitlines()
        return json.loads(lines[-1]) if lines else None

    def seq(self):
        record = self.last("ledger")
        return int(record.get("seq_hi", 0)) if record else 0

    def version(self):
        """Number of the newest version announced."""
        record = self.last("snapshots")
        return int(record.get("version", 0)) if record else 0

    def dump(self, topic):
        got = self.ctl("consume", topic, "--from-beginning", "--envelope")
        if got.returncode != 0:
            raise Failure(f"consume {topic}: " + got.stderr.decode())
        records = []
        for line in got.stdout.splitlines():
            record = json.loads(line)
            raw = line.split(b',"value":', 1)[1]
            records.append((record.get("key"), json.dumps(record.get("headers")), raw))
        return records

    def results(self):
        found = {topic: self.dump(topic) for topic in TOPICS}
        versions = os.path.join(self.state, "versions")
        newest = max((int(v) for v in os.listdir(versions) if v.isdigit()), default=None)
        files = {}
        for name in sorted(os.listdir(os.path.join(versions, str(newest)))):
            with open(os.path.join(versions, str(newest), name), "rb") as data:
                files[name] = hashlib.sha256(data.read()).hexdigest()
        found["adapter files"] = [(str(newest), name, digest) for name, digest in files.items()]
        return found

    def close(self):
        if self.process is not None and self.process.poll() is None:
            self.kill()
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()


# ---- runs ----------------------------------------------------------------------------------------

def wait_until_done(shard, applied, version=None):
    """Until all is consumed and announced: up to `version`, or until nothing comes any more."""
    seen, since = None, time.monotonic()
    while True:
        shard.check_alive()
        now = (shard.seq(), shard.version())
        if now != seen:
            seen, since = now, time.monotonic()
        if now[0] > applied or (version is not None and now[1] > version):
            raise Failure(f"{shard.name}: at event {now[0]}, version {now[1]}; "
                          f"expected {applied}, {version}")
        still = time.monotonic() - since
        if now[0] == applied and (now[1] == version or (version is None and still > QUIET_S)):
            return now[1]
        if still > STALL_LIMIT_S:
            raise Failure(f"{shard.name}: stands at event {now[0]} of {applied}, "
                          f"version {now[1]}:\n" + shard.log_tail())
        time.sleep(0.05)


def run_oracle(args, lines, applied):
    shard = Shard(args, "oracle", args.overrides)
    try:
        shard.produce(lines)
        shard.start()
        shard.wait_ready()
        began = time.monotonic()
        version = wait_until_done(shard, applied)
        seconds = max(0.1, time.monotonic() - began - QUIET_S)
        shard.stop()
        return shard.results(), version, seconds
    finally:
        shard.close()


def kill_round(args, number, lines, applied, version, period_s, rng, kills_left):
    """Kills until everything is consumed (or kills are used up); returns shard and kills made."""
    shard = Shard(args, f"round{number}", args.overrides)
    kills = 0
    try:
        shard.produce(lines)
        while True:
            shard.start()
            delay = rng.uniform(0.1, 3.0) * period_s
            if kills < kills_left and rng.random() < 0.2:
                if not shard.wait_ready(shard.started + delay):
                    kills += shard.end(rng)
                    continue
            else:
                shard.wait_ready()
            end = time.monotonic() + delay
            done = False
            if kills < kills_left:
                while time.monotonic() < end:
                    time.sleep(max(0.0, min(0.02, end - time.monotonic())))
                    shard.check_alive()
                # Looking takes time, so only now and then: has this round anything left to kill?
                if kills % 4 == 3:
                    done = shard.seq() == applied and version in (None, shard.version())
            if kills >= kills_left or done:
                wait_until_done(shard, applied, version)
                shard.stop()
                return shard, kills
            kills += shard.end(rng)
    except BaseException:
        shard.close()
        raise


def lose_state(shard):
    """The tables are gone, stream and folders stay: everything is folded again from the ledger."""
    shutil.rmtree(os.path.join(shard.state, "state"))
    shard.start()
    shard.wait_ready()
    shard.stop()


def first_difference(name, expected, got):
    if expected == got:
        return None
    for i, (a, b) in enumerate(zip(expected, got)):
        if a != b:
            return (f"{name}: record {i} of {len(expected)} differs\n  oracle: {str(a)[:600]}\n"
                    f"  killed: {str(b)[:600]}")
    return f"{name}: {len(expected)} records in the oracle, {len(got)} after kills"


def compare(oracle, results):
    problems = [first_difference(name, oracle[name], results[name]) for name in oracle]
    problems = [p for p in problems if p]
    if problems:
        raise Failure("\n".join(problems))


def audit(shard, applied):
    got = shard.ctl("audit")
    if got.returncode != 0:
        raise Failure(f"{shard.name}: audit says:\n" + (got.stdout + got.stderr).decode())
    if shard.seq() != applied:
        raise Failure(f"{shard.name}: {shard.seq()} events applied, {applied} were sent")


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def campaign(args):
    rng = random.Random(args.seed * 7919 + 1)
    versions = max(8, min(args.kills, args.round_kills) * 2)
    applied = versions * PERIOD
    lines = make_stream(args.seed, applied)
    oracle, version, period_s = None, None, args.period
    if args.recorded:
        applied += GROUP // 3
    else:
        oracle, version, seconds = run_oracle(args, lines, applied)
        period_s = period_s or seconds / versions
        print(f"oracle: {applied} events in {len(lines)} records, {version} versions, "
              f"{seconds:.2f} s; " + ", ".join(f"{len(oracle[t])} {t}" for t in TOPICS), flush=True)
    ready, kills, rounds = [], 0, 0
    while kills < args.kills:
        rounds += 1
        shard, made = kill_round(args, rounds, lines, applied, version, period_s or 0.2, rng,
                                 min(args.kills - kills, args.round_kills))
        kills += made
        ready += shard.ready_s
        try:
            for lost in ([False, True] if rounds == 1 else [False]):
                if lost:
                    lose_state(shard)
                if not args.recorded:
                    compare(oracle, shard.results())
                audit(shard, applied)
        finally:
            shard.close()
        print(f"round {rounds}: {made} kills, {shard.lives} lives, "
              + ("audit clean" if args.recorded else "byte-identical, audit clean"), flush=True)
        if made == 0:
            raise Failure("everything was consumed before the first kill: no campaign")
        shutil.rmtree(shard.folder, ignore_errors=True)
    print(f"{kills} kills in {rounds} rounds, {len(ready)} starts reached READY: "
          f"p50 {percentile(ready, 0.5) * 1000:.0f} ms, "
          f"p99 {percentile(ready, 0.99) * 1000:.0f} ms, max {max(ready) * 1000:.0f} ms")


def main():
    parser = argparse.ArgumentParser(description="kill -9 campaign")
    build = os.environ.get("ILORA_BUILD", os.path.join(ROOT, "build"))
    parser.add_argument("--build", default=build)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--round-kills", type=int, default=30, help="kills of one state at most")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--period", type=float, help="seconds of a version (default: measured)")
    parser.add_argument("--kafka", action="store_true")
    parser.add_argument("--recorded", action="store_true")
    parser.add_argument("--base", help="base model instead of builtin:tiny")
    parser.add_argument("--set", action="append", default=[], metavar="S.K=V")
    parser.add_argument("--keep", action="store_true", help="keep the folder")
    args = parser.parse_args()
    args.overrides = {"engine.strict": "no" if args.recorded else "yes"}
    if args.base:
        args.overrides.update({"base_model.path": os.path.abspath(args.base),
                               "train.lm_rate_max": 0.02, "eval.lm_rate": 0.005,
                               "predict.lm_users": 1, "device.threads": 0})
    args.overrides.update(pair.split("=", 1) for pair in args.set)
    args.work = tempfile.mkdtemp(prefix="ilora-crash-")
    try:
        campaign(args)
    except Failure as failure:
        print(f"FAILED (seed {args.seed}, folder {args.work}):\n{failure}")
        return 1
    finally:
        if args.kafka:
            subprocess.run([os.path.join(ROOT, "ops", "kafka-broker.sh"), "stop",
                            os.path.join(args.work, "broker")], check=False)
    if not args.keep:
        shutil.rmtree(args.work, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
