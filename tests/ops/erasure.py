#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""erasure.py - a forgotten user leaves the state: the receipt says so and the files agree.

One daemon learns from a crowd and one user with a telling id, is asked to forget the user, and goes
on until the receipt says "erased". Then neither the id nor its keyed hash may be left anywhere in
the state folder, the stream aside (it is the log of events, with a retention of its own), and not
in the daemon's log. Of LMDB's file what counts is what a reader can reach: pages that are free and
the slack of pages keep old bytes until they are used again (SECURITY.md).
"""
import json
import os
import shutil
import struct
import subprocess
import sys
import time

from bad_input_daemon import Daemon, Failure, expect, run_checks

USER = "Ada-who-wants-to-be-forgotten"
PAGE_HEADER = 16
BRANCH, LEAF = 0x01, 0x02
NODE_BIG, NODE_TABLE = 0x01, 0x02


class Lmdb:
    """The keys and values that a reader of an LMDB file reaches; lmdb.h and mdb.c of 0.9."""

    def __init__(self, path):
        with open(path, "rb") as data:
            self.bytes = data.read()
        self.page_size = struct.unpack_from("<I", self.bytes, PAGE_HEADER + 24)[0]
        metas = [PAGE_HEADER, self.page_size + PAGE_HEADER]
        newest = max(metas, key=lambda at: struct.unpack_from("<Q", self.bytes, at + 128)[0])
        expect(struct.unpack_from("<I", self.bytes, newest)[0] == 0xBEEFC0DE, f"{path}: not LMDB")
        self.texts = []
        self.walk_table(newest + 24 + 48)

    def walk_table(self, at):
        root = struct.unpack_from("<Q", self.bytes, at + 40)[0]
        if root != 2**64 - 1:
            self.walk(root)

    def walk(self, number):
        page = number * self.page_size
        flags, lower = struct.unpack_from("<HH", self.bytes, page + 10)
        for i in range((lower - PAGE_HEADER) // 2):
            node = page + struct.unpack_from("<H", self.bytes, page + PAGE_HEADER + 2 * i)[0]
            low, high, kind, key_size = struct.unpack_from("<HHHH", self.bytes, node)
            self.texts.append(self.bytes[node + 8:node + 8 + key_size])
            if flags & BRANCH:
                self.walk(low | high << 16 | kind << 32)
                continue
            expect(flags & LEAF, f"page {number} is neither branch nor leaf")
            data, size = node + 8 + key_size, low | high << 16
            if kind & NODE_TABLE:
                self.walk_table(data)
                continue
            if kind & NODE_BIG:
                data = struct.unpack_from("<Q", self.bytes, data)[0] * self.page_size + PAGE_HEADER
            self.texts.append(self.bytes[data:data + size])

    def holds(self, needle):
        return sum(needle in text for text in self.texts)


def files(folder, needle):
    """Files below folder that hold the bytes, the stream and LMDB's data aside."""
    found = []
    for path, folders, names in os.walk(folder):
        if "stream" in folders:
            folders.remove("stream")
        for name in names:
            whole = os.path.join(path, name)
            if not os.path.isfile(whole) or name == "data.mdb":
                continue
            with open(whole, "rb") as data:
                if needle in data.read():
                    found.append(os.path.relpath(whole, folder))
    return found


def compacted(daemon):
    """Copies of the id in a compact copy of the state, as SECURITY.md advises; None: no tool."""
    if not shutil.which("mdb_copy"):
        return None
    copy = os.path.join(daemon.folder, "compact")
    os.mkdir(copy)
    subprocess.run(["mdb_copy", "-c", os.path.join(daemon.state, "state"), copy], check=True)
    with open(os.path.join(copy, "data.mdb"), "rb") as data:
        return data.read().count(USER.encode())


def crowd(first, count):
    now = int(time.time())
    return [{"id": f"c{i}", "user": f"crowd{i % 23}", "item": f"i{i * i % 60}",
             "timestamp": now + i // 4} for i in range(first, first + count)]


def ada(first, count):
    now = int(time.time())
    return [{"id": f"a{i}", "user": USER, "item": f"i{i * 7 % 60}", "timestamp": now + i}
            for i in range(first, first + count)]


def receipt(daemon, good=True):
    got = daemon.ctl("--json", "forget", USER, "--receipt", good=good)
    return json.loads(got.stdout) if got.returncode == 0 else got.stderr.decode()


def learn_until(daemon, true, words):
    """Feeds the crowd until true() is; what it returned."""
    end = time.monotonic() + 90
    while time.monotonic() < end:
        daemon.produce(crowd(learn_until.sent, 128))
        learn_until.sent += 128
        time.sleep(0.2)
        value = true()
        if value:
            return value
    raise Failure(f"never: {words}; its log:\n{daemon.tail()}")


learn_until.sent = 0


def checkpoints(daemon):
    folder = os.path.join(daemon.state, "checkpoints")
    return [int(n) for n in os.listdir(folder) if n.isdigit()] if os.path.isdir(folder) else []


def check(strict):
    mode = {"engine__strict": "yes", "publish__version_batches": "2",
            "publish__lag_events": "256"} if strict else {}
    with Daemon(publish__checkpoint_every="1", **mode) as daemon:
        learn_until.sent = 0
        daemon.start()
        daemon.produce(ada(0, 30))
        learn_until(daemon, lambda: len(checkpoints(daemon)) == 2, "two checkpoints")
        daemon.produce(ada(30, 30))
        words = receipt(daemon, good=False)
        expect("never forgotten" in words, f"a receipt for nothing: {words}")
        key = None
        forget = {"event": "control", "command": "forget_user", "user": USER}
        if strict:  # there the events topic is all there is
            daemon.produce([forget])
        else:
            daemon.ctl("forget", USER)
        first = learn_until(daemon, lambda: isinstance(receipt(daemon, False), dict)
                            and receipt(daemon), "a receipt")
        key = bytes.fromhex(first["user_key"])[::-1]
        expect(first["events"] == 60 and first["first_seq"] == 1, f"counted otherwise: {first}")
        expect(first["versions"]["first"] == 1, f"versions: {first}")
        last = learn_until(daemon, lambda: receipt(daemon)["state"] == "erased"
                           and receipt(daemon), "erased")
        daemon.stop()

        expect(last["log_from"] > last["learner_forgets_at"] >= last["seq"], f"{last}")
        expect(last["checkpoint_oldest"] > last["learner_forgets_at"], f"{last}")
        expect(last["versions"]["last"] >= last["versions"]["first"], f"{last}")
        state = Lmdb(os.path.join(daemon.state, "state", "data.mdb"))
        expect(state.holds(b"crowd1") > 0, "the walk of LMDB finds nobody")
        expect(state.holds(USER.encode()) == 0, "the id is in the state's tables")
        expect(state.holds(key) == 0, "the keyed hash is in the state's rows")
        for needle in (USER.encode(), key):
            expect(not files(daemon.state, needle), f"held by {files(daemon.state, needle)}")
        expect(not compacted(daemon), "a compact copy holds the id")
        other = state_key(daemon, "crowd1")
        expect(files(daemon.state, other), "no checkpoint holds a hash at all: the search is blind")
        expect(USER not in daemon.log(), "the id is in the log")
        expect(strict or f"forget by user {os.getuid()}, process" in daemon.log(),
               "the log does not say who asked")

        daemon.start()  # and a restart does not bring anything back
        expect(receipt(daemon)["state"] == "erased", "another receipt after a restart")
        daemon.audit()
        left = state.bytes.count(USER.encode())
        daemon.stop()
        return (f"forgotten after {last['seq']}, learner at {last['learner_forgets_at']}, erased "
                f"with checkpoints from {last['checkpoint_oldest']}, versions {last['versions']}; "
                f"{left} copies in free pages and slack")


def state_key(daemon, user):
    """The keyed hash of a user that is there, from a receipt: forget it last of all."""
    daemon.start()
    forget = {"event": "control", "command": "forget_user", "user": user}
    daemon.produce([forget] + crowd(learn_until.sent, 64))
    learn_until.sent += 64

    def ask():
        got = daemon.ctl("--json", "forget", user, "--receipt", good=False)
        return got.returncode == 0 and json.loads(got.stdout)["user_key"]
    key = daemon.until(ask, "a receipt of another user")
    daemon.process.kill()  # before a checkpoint follows
    daemon.process.wait()
    return bytes.fromhex(key)[::-1]


def main():
    checks = [("recorded", lambda: check(strict=False)), ("strict", lambda: check(strict=True))]
    return 1 if run_checks(checks) else 0


if __name__ == "__main__":
    sys.exit(main())
