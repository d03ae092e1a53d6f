#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""check_notify.py - plays the service manager: what ilorad says on NOTIFY_SOCKET, and when.

READY=1 once; WATCHDOG=1 again and again; SIGHUP: RELOADING=1 with MONOTONIC_USEC, then READY=1;
SIGTERM: STOPPING=1 and exit 0. A wrong setting: exit 78 and no READY.
"""
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

DEADLINE_S = 60


class Manager:
    """A NOTIFY_SOCKET that keeps every message with its time."""

    def __init__(self, folder):
        self.path = os.path.join(folder, "notify.sock")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.seen = []

    def poll(self, seconds):
        end = time.monotonic() + seconds
        while True:
            left = end - time.monotonic()
            if left <= 0:
                return
            self.socket.settimeout(left)
            try:
                text = self.socket.recv(4096).decode()
            except socket.timeout:
                return
            self.seen.append((time.monotonic(), text.split("\n")))

    def wait(self, line, process, after=0):
        """Index of the first message after `after` that has a line beginning so."""
        end = time.monotonic() + DEADLINE_S
        while time.monotonic() < end:
            for i in range(after, len(self.seen)):
                if any(part.startswith(line) for part in self.seen[i][1]):
                    return i
            if process.poll() is not None:
                self.poll(0.2)
                sys.exit(f"ilorad ended with {process.returncode} before {line}: {self.seen}")
            self.poll(0.1)
        sys.exit(f"no {line} within {DEADLINE_S} s: {self.seen}")

    def count(self, line):
        return sum(line in parts for _, parts in self.seen)


def start(program, manager, state, *more):
    env = dict(os.environ, NOTIFY_SOCKET=manager.path, WATCHDOG_USEC="2000000")
    env.pop("WATCHDOG_PID", None)
    return subprocess.Popen(
        [program, "--set", f"state.path={state}", "--set", "http.listen=none", *more], env=env)


def check_life(program, folder):
    manager = Manager(folder)
    process = start(program, manager, os.path.join(folder, "state"))
    try:
        ready = manager.wait("READY=1", process)
        first = manager.wait("WATCHDOG=1", process, ready)
        manager.wait("WATCHDOG=1", process, first + 1)
        assert manager.count("READY=1") == 1, manager.seen
        manager.wait("STATUS=", process)

        process.send_signal(signal.SIGHUP)
        reloading = manager.wait("RELOADING=1", process)
        stamp = [p for p in manager.seen[reloading][1] if p.startswith("MONOTONIC_USEC=")]
        age = time.monotonic() - int(stamp[0].split("=")[1]) / 1e6
        assert 0 <= age < DEADLINE_S, stamp
        manager.wait("READY=1", process, reloading)

        process.send_signal(signal.SIGTERM)
        manager.wait("STOPPING=1", process)
        assert process.wait(DEADLINE_S) == 0, process.returncode
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    print(f"life: {len(manager.seen)} messages, {manager.count('WATCHDOG=1')} of the watchdog")


def check_refusal(program, folder):
    manager = Manager(folder)
    process = start(program, manager, os.path.join(folder, "state"), "--set",
                    "train.batch_events=65")
    assert process.wait(DEADLINE_S) == 78, process.returncode
    manager.poll(0.2)
    assert manager.count("READY=1") == 0, manager.seen
    print("refusal: exit 78, never READY")


def check_second(program, folder):
    """A second daemon on the same state: exit 75, and the first one goes on."""
    manager = Manager(folder)
    state = os.path.join(folder, "state")
    process = start(program, manager, state)
    try:
        manager.wait("READY=1", process)
        second = subprocess.run(
            [program, "--set", f"state.path={state}", "--set", "http.listen=none"],
            capture_output=True, text=True, timeout=DEADLINE_S)
        assert second.returncode == 75, second
        assert process.poll() is None
        process.send_signal(signal.SIGTERM)
        assert process.wait(DEADLINE_S) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    print("second: exit 75:", second.stderr.strip().splitlines()[-1])


def main():
    program = os.path.join(os.environ["ILORA_BUILD"], "daemon", "ilorad")
    if not os.path.exists(program):
        print(program, "is not built")
        sys.exit(77)
    for check in (check_life, check_refusal, check_second):
        folder = tempfile.mkdtemp(prefix="ilora-notify-")
        try:
            check(program, folder)
        finally:
            shutil.rmtree(folder)


main()
