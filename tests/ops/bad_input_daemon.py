# SPDX-License-Identifier: Apache-2.0
"""bad_input_daemon.py - ilorad as a service manager sees it, for the checks of bad input.

A Daemon has a folder of its own with configuration, state and log; it is started with a
NOTIFY_SOCKET, and all it says there (READY, STATUS, WATCHDOG, STOPPING) is kept with its time.
"""
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BUILD = os.environ.get("ILORA_BUILD", os.path.join(ROOT, "build"))
ILORAD = os.path.join(BUILD, "daemon", "ilorad")
ILORACTL = os.path.join(BUILD, "ops", "iloractl")
WAIT_S = 30.0
SETTINGS = {
    "state.items_max": "500", "state.history": "30", "state.seen": "100", "state.free_min": "1 MiB",
    "epoch.interval": "20 ms", "predict.group_events": "16", "predict.candidates": "30",
    "ilora.rank": "4", "ilora.experts": "2", "ilora.history": "5", "ilora.projector_width": "16",
    "sasrec.width": "16", "sasrec.blocks": "1", "sasrec.history": "20", "train.batch_events": "64",
    "train.batch_interval": "100 ms", "train.lm_rate_max": "0.1", "publish.interval": "200 ms",
    "metrics.every": "100", "http.listen": "none", "device.threads": "1",
}


class Failure(Exception):
    """What a check found: words for a human."""


def expect(good, words):
    if not good:
        raise Failure(words)


def clean_environment(**more):
    env = {k: v for k, v in os.environ.items() if not k.startswith("ILORAD_")}
    env.pop("NOTIFY_SOCKET", None)
    return dict(env, **more)


def write_config(path, settings):
    sections = {}
    for key, value in settings.items():
        section, name = key.split(".", 1)
        sections.setdefault(section, []).append(f"{name} = {value}\n")
    with open(path, "w", encoding="utf-8") as out:
        for section, rows in sections.items():
            out.write(f"[{section}]\n" + "".join(rows))


def lines_of(records):
    """A record (bytes or an object, which becomes JSON) a line."""
    return b"".join((r if isinstance(r, bytes) else json.dumps(r).encode()) + b"\n"
                    for r in records)


class Daemon:
    """One state folder with its configuration and the daemon on it; `with` ends and removes it."""

    def __init__(self, **overrides):
        self.folder = tempfile.mkdtemp(prefix="ilora-bad-")
        self.config = os.path.join(self.folder, "ilorad.conf")
        self.log_path = os.path.join(self.folder, "log")
        self.settings = {"state.path": os.path.join(self.folder, "state"), **SETTINGS}
        self.settings.update({k.replace("__", "."): v for k, v in overrides.items()})
        self.state = self.settings["state.path"]
        self.rewrite()
        self.process, self.said, self.lock = None, [], threading.Lock()
        self.supervised, self.restarts, self.watchdog_s = False, 0, 0
        self.notify = os.path.join(self.folder, "notify")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.notify)
        threading.Thread(target=self.listen, daemon=True).start()

    def rewrite(self):
        write_config(self.config, self.settings)

    def __enter__(self):
        return self

    def __exit__(self, kind, *ignored):
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.socket.shutdown(socket.SHUT_RDWR)
        self.socket.close()
        if kind is None:
            shutil.rmtree(self.folder, ignore_errors=True)

    def listen(self):
        while True:
            try:
                words = self.socket.recv(8192)
            except OSError:
                return
            if not words:
                return
            with self.lock:
                self.said += [(time.monotonic(), line) for line in words.decode().splitlines()]

    def words(self, prefix, since=0.0):
        """All it said with this prefix, after `since`, without the prefix."""
        with self.lock:
            return [w[len(prefix):] for at, w in self.said if w.startswith(prefix) and at >= since]

    # ---- life ----

    def start(self, *options, watchdog_s=0, wait=True):
        env = clean_environment(NOTIFY_SOCKET=self.notify)
        self.watchdog_s = watchdog_s
        if watchdog_s:
            env["WATCHDOG_USEC"] = str(int(watchdog_s * 1e6))
        with self.lock:
            self.said = []
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen([ILORAD, "--config", self.config, *options], env=env,
                                            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        if wait:
            self.until(lambda: self.words("READY=1"), "READY")
        return self

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()

    def until(self, true, words, seconds=WAIT_S):
        """Asks until true() is; its value. A daemon that ends meanwhile is a failure."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = true()
            if value:
                return value
            code = self.process.poll()
            if code == 75 and self.supervised:  # as Restart=on-failure does
                self.restarts += 1
                self.start(watchdog_s=self.watchdog_s, wait=False)
                continue
            expect(code is None, f"waiting for {words}: ilorad ended with {code}:\n{self.tail()}")
            time.sleep(0.05)
        raise Failure(f"never: {words}; it says {self.words('STATUS=')[-1:]}; its log:\n"
                      + self.tail())

    def tail(self):
        return self.log()[-2000:]

    def until_said(self, text, since=0.0, seconds=WAIT_S):
        """The first STATUS= with this text in it, after `since`."""
        return self.until(lambda: [w for w in self.words("STATUS=", since) if text in w],
                          f"STATUS with '{text}'", seconds)[0]

    def until_status(self, seconds=WAIT_S, **wanted):
        """Until the status holds these members."""
        def true():
            status = self.status()
            return status if all(status.get(k) == v for k, v in wanted.items()) else None
        return self.until(true, f"status {wanted}", seconds)

    def ended(self, code, seconds=WAIT_S):
        """Waits for its end with this exit code; what it wrote last."""
        try:
            got = self.process.wait(timeout=seconds)
        except subprocess.TimeoutExpired:
            raise Failure(f"it did not end; expected exit {code}; log:\n{self.tail()}") from None
        lines = [line for line in self.log().splitlines() if line]
        expect(got == code, f"exit {got}, expected {code}; log:\n{self.tail()}")
        return lines[-1] if lines else ""

    def refused(self, *options, code=78, names=()):
        """Started, it ends with this code before READY, with one error line that names these."""
        before = len(self.log()) if os.path.exists(self.log_path) else 0
        self.start(*options, wait=False)
        self.ended(code)
        expect(not self.words("READY=1"), "it said READY")
        errors = [line for line in self.log()[before:].splitlines() if " error: " in line]
        expect(len(errors) == 1, f"{len(errors)} error lines, expected 1:\n{self.tail()}")
        for name in names:
            expect(name in errors[0], f"expected '{name}' in: {errors[0]}")
        return errors[0].split(" error: ", 1)[1]

    def stop(self, code=0):
        self.process.send_signal(signal.SIGTERM)
        return self.ended(code, 60)

    # ---- its tools ----

    def ctl(self, *words, data=None, good=True):
        got = subprocess.run([ILORACTL, "--config", self.config, *words], input=data, timeout=60,
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False,
                             env=clean_environment())
        expect(not good or got.returncode == 0,
               f"iloractl {words}: exit {got.returncode}: {got.stderr.decode(errors='replace')}")
        return got

    def status(self):
        got = self.ctl("--json", "status", good=False)
        return json.loads(got.stdout) if got.returncode == 0 else {}

    def history(self, user):
        return json.loads(self.ctl("--json", "history", user).stdout)

    def consume(self, topic):
        got = self.ctl("consume", topic, "--from-beginning", "--envelope")
        return [json.loads(line) for line in got.stdout.splitlines()]

    def produce(self, records, topic="events"):
        """Records (bytes or objects) into a topic, as they are."""
        self.ctl("produce", topic, "--raw", data=lines_of(records))

    def feed(self, records):
        """The same by a process of its own, which may have to wait."""
        with open(os.path.join(self.folder, "feed"), "wb+") as lines:
            lines.write(lines_of(records))
            lines.seek(0)
            return subprocess.Popen([ILORACTL, "--config", self.config, "produce", "events",
                                     "--raw"], stdin=lines, stdout=subprocess.DEVNULL,
                                    stderr=subprocess.DEVNULL, env=clean_environment())

    def audit(self, **counts):
        """iloractl audit holds, and counts these."""
        got = json.loads(self.ctl("--json", "audit").stdout)
        expect(got["holds"] is True, f"the audit does not hold: {got}")
        for name, count in counts.items():
            expect(got.get(name) == count, f"audit: {name} is {got.get(name)}, expected {count}")
        return f"audit holds: {counts}"


def events(count, first=0, users=40, items=60):
    """Interactions with ids e<first>.. ; the same arguments make the same events."""
    return [{"id": f"e{n}", "user": f"u{n % users}", "item": f"i{(n * n + n // 7) % items}",
             "timestamp": 1700000000 + n} for n in range(first, first + count)]


def run_checks(checks):
    """Runs them, prints what each saw; the number that failed."""
    failed = 0
    for name, check in checks:
        began = time.monotonic()
        try:
            seen, good = check(), True
        except (Failure, subprocess.TimeoutExpired) as failure:
            seen, good = failure, False
            failed += 1
        print(f"{'ok' if good else 'FAILED'}: {name} ({time.monotonic() - began:.1f} s): {seen}",
              flush=True)
    return failed
