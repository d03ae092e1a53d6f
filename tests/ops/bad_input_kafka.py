#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bad_input_kafka.py - a broker that is not there yet, goes away, or stands still.

One real broker (ops/kafka-broker.sh; exit 77 where it cannot run) and one daemon whose service
manager watches it: at each moment it must say what it waits for, feed the watchdog, resume by
itself, and lose nothing.
"""
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from bad_input_daemon import ILORACTL, ILORAD, ROOT, WAIT_S, Daemon, Failure, events, expect

SCRIPT = os.path.join(ROOT, "ops", "kafka-broker.sh")
SAID_WITHIN_S = 6.0  # STATUS= names the broker so soon
WATCHDOG_S = 12.0
AWAY_S = 13.0         # longer than the watchdog's time
STILL_S = 13.0        # a broker that answers nothing, connections open


class Broker:
    """The broker in a folder of its own."""

    def __init__(self):
        self.folder = tempfile.mkdtemp(prefix="ilora-bad-broker-")
        self.address = self.run("start").strip().splitlines()[-1]

    def run(self, command, *more):
        got = subprocess.run([SCRIPT, command, self.folder, *more], stdout=subprocess.PIPE,
                             text=True, check=False)
        if got.returncode == 77:
            print("skipped: no broker can be started here")
            sys.exit(77)
        expect(got.returncode == 0, f"kafka-broker.sh {command}: exit {got.returncode}")
        return got.stdout

    def signal(self, number):
        with open(os.path.join(self.folder, "pid"), encoding="ascii") as pid:
            os.kill(int(pid.read()), number)

    def close(self):
        try:
            self.signal(signal.SIGCONT)
        except OSError:
            pass  # it does not run
        subprocess.run([SCRIPT, "stop", self.folder], check=False, stdout=subprocess.DEVNULL)
        shutil.rmtree(self.folder, ignore_errors=True)


def watched(d, seconds):
    """The watchdog is fed all the time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        since = time.monotonic()
        d.until(lambda s=since: d.words("WATCHDOG=1", s), "the watchdog fed", WATCHDOG_S)


def said_within(d, text, since):
    words = d.until_said(text, since, SAID_WITHIN_S)
    return f"after {time.monotonic() - since:.1f} s: {words}"


def absent_at_start(d, broker):
    began = time.monotonic()
    d.start(watchdog_s=WATCHDOG_S, wait=False)
    print("absent at start,", said_within(d, broker.address, began), flush=True)
    watched(d, AWAY_S)
    expect(not d.words("READY=1"), "READY without a broker")
    broker.run("start")
    back = time.monotonic()
    d.until(lambda: d.words("READY=1"), "READY after the broker came")
    print(f"READY {time.monotonic() - back:.1f} s after the broker", flush=True)
    d.produce(events(500))
    d.until_status(applied=500)


def gone_for_a_while(d, broker):
    d.produce(events(2000, 500))  # in work when the broker goes
    gone = time.monotonic()
    broker.run("stop")
    print("gone,", said_within(d, broker.address, gone), flush=True)
    watched(d, AWAY_S)
    broker.run("start")
    back = time.monotonic()
    d.until(lambda: d.status().get("ready"), "ready again")
    d.produce(events(500, 2500))
    d.until_status(learner_seq=3000, lag=0)
    print(f"all there {time.monotonic() - back:.1f} s after the broker is back, "
          f"{d.restarts} restarts with 75", flush=True)


def stands_still(d, broker):
    d.produce(events(1000, 3000))
    broker.signal(signal.SIGSTOP)
    watched(d, STILL_S)
    words = d.words("STATUS=")[-1]
    broker.signal(signal.SIGCONT)
    back = time.monotonic()
    d.produce(events(500, 4000))
    d.until_status(seconds=2 * WAIT_S, learner_seq=4500, lag=0)
    print(f"stood still for {STILL_S:.0f} s, it said: {words}; all there "
          f"{time.monotonic() - back:.1f} s after; {d.restarts} restarts so far", flush=True)


def run(broker):
    with Daemon(stream__kind="kafka", kafka__bootstrap_servers=broker.address) as d:
        d.supervised = True  # a transaction that timed out ends with 75: start again
        d.ctl("topics", "create", "--partitions", "1")
        broker.run("stop")
        absent_at_start(d, broker)
        gone_for_a_while(d, broker)
        stands_still(d, broker)
        expect(d.restarts <= 2, f"{d.restarts} restarts")
        d.stop()
        print(d.audit(applied=4500, duplicate=0, dead=0))


def main():
    if not (os.path.exists(ILORAD) and os.path.exists(ILORACTL)):
        print("skipped: not built")
        return 77
    broker = Broker()
    try:
        run(broker)
    except Failure as failure:
        print(f"FAILED: {failure}")
        return 1
    finally:
        broker.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
