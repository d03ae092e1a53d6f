#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bad_input.py - what bad records, settings, disks and neighbours do to a running daemon.

    bad_input.py [NAME]...    all checks, or the named ones

Each check is one function `check_<name>`; it returns what was seen, in words. `disk_full` needs a
file system of its own: it runs in a mount namespace, or is skipped with the reason.
"""
import http.client
import os
import signal
import socket
import subprocess
import sys
import time

from bad_input_daemon import (ILORACTL, ILORAD, Daemon, clean_environment, events, expect,
                              run_checks)

EVENT_BYTES_MAX = 65536
DEAD_WINDOW = 10000  # records over which dead_share_max is taken


# ---- records -------------------------------------------------------------------------------------

class UnixConnection(http.client.HTTPConnection):
    """HTTP to a UNIX socket."""

    def __init__(self, path):
        super().__init__("localhost", timeout=10)
        self.path = path

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(self.path)


def page(path, target):
    connection = UnixConnection(path)
    connection.request("GET", target)
    text = connection.getresponse().read().decode()
    connection.close()
    return text


def check_bad_records():
    """Each to the dead letters with reason headers and its own bytes; counted; the rest flows."""
    big = '{"user":"u1","item":"i1","x":"' + "x" * EVENT_BYTES_MAX + '"}'
    deep = '{"user":"u1","item":"i1","x":' + "[" * 200 + "]" * 200 + "}"
    bad = [(b'{"user":"u1"', "not-json"), (b'{"user":"u1"}', "no-item"),
           (b'{"item":"i1"}', "no-user"), (b'{"user":"\xff\xfe","item":"i1"}', "not-utf8"),
           (big.encode(), "too-large"), (deep.encode(), "too-deep"),
           (b'{"user":"u1","item":"i1","timestamp":"never"}', "bad-time"),
           (b'{"event":"dance","user":"u1"}', "bad-kind"),
           (b'{"user":"' + b"u" * 300 + b'","item":"i1"}', "id-too-long"),
           (b"\x00\x00\x00\x00\x07\x05\x01", "bad-frame"), (b"\x00\x01", "bad-frame"),
           (b"\x00\x00\x00\x00\x07\x00\xff\xff\xff", "not-protobuf"),
           (b"\xff\xff\xff\xff", "not-protobuf"), (b"hello", "not-protobuf")]
    with Daemon(http__listen="http.sock") as d:
        d.settings["http.listen"] = os.path.join(d.folder, "http.sock")
        d.rewrite()
        d.start()
        good = events(300)
        mixed = []
        for n, event in enumerate(good):
            mixed.append(event)
            if n % 20 == 0 and n // 20 < len(bad):
                mixed.append(bad[n // 20][0])
        d.produce(mixed)
        d.until_status(applied=len(good), dead=len(bad), duplicate=0)
        dead = d.consume("dlq")
        expect(len(dead) == len(bad), f"{len(dead)} dead letters, {len(bad)} bad records")
        for n, (letter, (value, reason)) in enumerate(zip(dead, bad)):
            headers = letter["headers"]
            expect(headers["ilora.error.reason"] == reason,
                   f"record {n}: reason {headers['ilora.error.reason']}, expected {reason}")
            expect(headers["ilora.error.topic"] == "ilorad.events", f"record {n}: {headers}")
            expect(headers["ilora.error.partition"] == "0", f"record {n}: {headers}")
            expect(headers["ilora.error.offset"] == str(20 * n + n + 1), f"record {n}: {headers}")
            expect(headers["ilora.error.message"], f"record {n}: no message")
            if reason == "bad-frame":
                expect(letter["value"] == value.decode(), f"other bytes: {letter['value']}")
        metrics = page(os.path.join(d.folder, "http.sock"), "/metrics")
        expect(f'ilorad_events_total{{result="dead"}} {len(bad)}\n' in metrics, "no metric")
        d.stop()
        return d.audit(applied=len(good), dead=len(bad)) + "; reasons " + \
            ", ".join(sorted({reason for _, reason in bad}))


def check_dead_share():
    """5 % of the last 10,000 may be bad; more stops it for a human, naming the setting."""
    with Daemon() as d:
        d.start()
        good = events(DEAD_WINDOW)
        few = [b"{" if n % 25 == 0 else r for n, r in enumerate(good)]  # 4 %
        d.produce(few)
        d.until_status(applied=DEAD_WINDOW - DEAD_WINDOW // 25, dead=DEAD_WINDOW // 25)
        d.produce([b"{"] * 400)
        words = d.ended(78)
        expect("dead_share_max" in words and "%" in words, f"not named: {words}")
        d.audit()
        return words.split("error: ", 1)[-1]


def check_unknown_item():
    """Kept, the sequence grows; a title that comes later is used, by the language model too."""
    with Daemon(base_model__path="builtin:tiny", train__lm_rate_max="1") as d:
        d.start()
        d.produce(events(200) + [{"user": "ann", "item": f"new{n}", "timestamp": 1700001000 + n}
                                 for n in range(3)])
        d.until_status(applied=203)
        seen = d.history("ann")
        expect([e["item"] for e in seen["events"]] == ["new0", "new1", "new2"]
               or [e["item"] for e in seen["events"]] == ["new2", "new1", "new0"], f"{seen}")
        expect(all("title" not in e for e in seen["events"]), f"a title from nowhere: {seen}")
        d.produce([{"item": "new1", "title": "Comes Late"}], "items")
        d.produce([{"event": "item", "item": "new2", "title": "With The Events"}])
        d.until(lambda: {"Comes Late", "With The Events"}
                <= {e.get("title") for e in d.history("ann")["events"]}, "both titles")
        d.produce([{"user": "ann", "item": "i1", "timestamp": 1700002000}] + events(200, 200))
        d.until_status(applied=404)
        expect(d.history("ann")["total"] == 4, "the sequence did not grow")
        d.until(lambda: d.status()["learner_seq"] == 404, "the learner at the end")
        got = d.ctl("--json", "recommend", "ann", "--n", "5")
        expect(b'"item"' in got.stdout, f"recommend: {got.stdout}")
        d.stop()
        return "history " + str([(e["item"], e.get("title")) for e in seen["events"]]) + \
            " before, titles after; " + d.audit(applied=404)


def check_duplicate():
    """Counted, not folded; also when it comes after a restart."""
    with Daemon() as d:
        d.start()
        same = {"id": "x1", "user": "ann", "item": "i1", "timestamp": 1700000000}
        d.produce([same, same, dict(same, item="i2"), dict(same, id="x2", item="i3")])
        d.until_status(applied=2, duplicate=2)
        d.stop()
        d.start()
        d.produce([same])
        d.until_status(duplicate=3)
        expect(d.history("ann")["total"] == 2, f"folded twice: {d.history('ann')}")
        d.stop()
        return d.audit(applied=2, duplicate=3)


# ---- settings ------------------------------------------------------------------------------------

def check_settings():
    """Exit 78 and one line: file, line, key, what is allowed; --check-config says the same."""
    cases = [("[train]\nbatch_event = 64\n", 2, ["train", "batch_event", "unknown"]),
             ("[trian]\nrank = 8\n", 2, ["trian", "rank"]),
             ("[ilora]\n\nrank = 0\n", 3, ["rank", "1", "256"]),
             ("[ilora]\nrank = 257\n", 2, ["rank", "1", "256"]),
             ("[ilora]\nrank = many\n", 2, ["rank", "many", "integer"]),
             ("[epoch]\ninterval = 2 parsecs\n", 2, ["interval", "2 parsecs", "duration"]),
             ("[state]\nfree_min = -1\n", 2, ["free_min", "-1", "size"]),
             ("[engine]\nstrict = perhaps\n", 2, ["strict", "perhaps", "yes or no"]),
             ("[events]\nformat = xml\n", 2, ["format", "xml", "json", "protobuf", "framed"]),
             ("[events]\ndead_share_max = 1.5\n", 2, ["dead_share_max", "1.5", "0", "1"]),
             ("[eval]\nrate = nan\n", 2, ["rate", "nan"]),
             ("[kafka]\nplugin.library.paths = /x.so\n", 2, ["plugin.library.paths"]),
             ("rank = 8\n", 1, ["rank"]), ("[ilora\n", 1, ["section", "]"]),
             ("[topics]\nevents =\n", 2, ["events", "1 to 249"])]
    lines = []
    with Daemon() as d:
        safe = ["--set", f"state.path={d.state}", "--set", "device.threads=1"]
        for text, line, names in cases:
            with open(d.config, "w", encoding="utf-8") as out:
                out.write(text)
            words = d.refused(*safe, names=[f"{d.config}:{line}", *names])
            checked = subprocess.run([ILORAD, "--config", d.config, "--check-config"], check=False,
                                     capture_output=True, text=True, env=clean_environment())
            expect(checked.returncode == 78, f"--check-config: exit {checked.returncode}: {text}")
            expect(words in checked.stderr, f"--check-config says {checked.stderr}, not {words}")
            lines.append(words.replace(d.folder, "..."))
        with open(d.config, "wb") as out:
            out.write(b"[state]\npath = \xff\xfe\x00\n")
        d.refused(*safe, names=[f"{d.config}:2"])
        os.unlink(d.config)
        d.refused(*safe, names=[d.config])
        d.rewrite()
        d.refused("--set", "ilora.rank=0", names=["ilora", "rank", "256"])
    return "\n    ".join(["", *lines])


def check_reload():
    """SIGHUP with a bad file: the old settings stay, the daemon goes on; a good one is taken."""
    with Daemon() as d:
        d.start()
        with open(d.config, "a", encoding="utf-8") as out:
            out.write("[log]\nlevel = loud\n")
        since = time.monotonic()
        d.process.send_signal(signal.SIGHUP)
        d.until(lambda: d.words("RELOADING=1", since) and d.words("READY=1", since), "reloaded")
        d.until(lambda: "loud" in d.log(), "words about the bad file")
        words = [line for line in d.log().splitlines() if "loud" in line][-1]
        d.rewrite()
        d.produce(events(100))
        d.until_status(applied=100)
        d.stop()
        return words.split(": ", 1)[-1].replace(d.folder, "...")


# ---- neighbours ----------------------------------------------------------------------------------

def check_second_daemon():
    """Exit 75, naming the process that holds the state; the first one is not disturbed."""
    with Daemon() as d:
        d.start()
        second = subprocess.run([ILORAD, "--config", d.config], check=False, capture_output=True,
                                text=True, env=clean_environment(), timeout=30)
        expect(second.returncode == 75, f"exit {second.returncode}: {second.stderr}")
        expect(str(d.process.pid) in second.stderr and d.state in second.stderr,
               f"does not say who holds it: {second.stderr}")
        d.produce(events(50))
        d.until_status(applied=50)
        d.stop()
        return second.stderr.split("error: ")[-1].strip().replace(d.folder, "...")


def check_port_taken():
    """A port that somebody else listens on is named."""
    with socket.socket() as other, Daemon() as d:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        d.settings["http.listen"] = f"127.0.0.1:{port}"
        d.rewrite()
        d.start(wait=False)
        code = d.process.wait(timeout=30)
        expect(code in (75, 78), f"exit {code}")
        words = d.log().strip().splitlines()[-1]
        expect("[http] listen" in words and str(port) in words, f"not named: {words}")
        return f"exit {code}: " + words.split("error: ")[-1]


def check_unwritable_state():
    """A state folder that cannot be made is named."""
    with Daemon() as d:
        with open(os.path.join(d.folder, "file"), "wb"):
            pass
        d.settings["state.path"] = os.path.join(d.folder, "file", "state")
        d.rewrite()
        d.start(wait=False)
        code = d.process.wait(timeout=30)
        words = d.log().strip().splitlines()[-1]
        expect(code in (75, 78), f"exit {code}")
        expect("[state] path" in words and "/file" in words, f"not named: {words}")
        return f"exit {code}: " + words.split("error: ")[-1].replace(d.folder, "...")


def check_kill_first_second():
    """kill -9 at 10 moments of the start, SIGTERM under load: nothing is lost."""
    with Daemon() as d:
        os.makedirs(d.state)
        d.produce(events(2000))
        for n in range(10):
            d.start(wait=False)
            time.sleep(0.01 + 0.06 * n)
            d.process.kill()
            d.process.wait()
        d.start()
        d.produce(events(3000, 2000))
        d.stop()
        d.start()
        d.until_status(lag=0)
        d.stop()
        return d.audit(applied=5000)


# ---- disk ----------------------------------------------------------------------------------------

DISK_BYTES = 160 << 20
FEED = 8000  # events that wait while the disk is full


def fill(path, leave):
    """Takes all room of the file system but `leave` bytes."""
    with open(path, "wb", buffering=0) as out:
        while True:
            info = os.statvfs(path)
            room = info.f_bavail * info.f_frsize - leave
            if room <= 0:
                return
            try:
                out.write(b"\0" * min(room, 1 << 20))
            except OSError:
                return


def check_disk_full():
    """Stops consuming and says so; goes on when there is room; nothing is lost."""
    disk = os.environ["ILORA_BAD_INPUT_DISK"]
    seen = []
    for free_min, leave in (("32 MiB", 16 << 20), ("0 B", 0)):
        filler = os.path.join(disk, "filler")
        state = os.path.join(disk, free_min.replace(" ", ""))
        with Daemon(state__path=state, state__free_min=free_min) as d:
            d.start()
            d.produce(events(500))
            d.until_status(applied=500)
            # What lies there unread makes it write on the full disk, not only its producers.
            d.process.send_signal(signal.SIGSTOP)
            d.produce(events(FEED, 500))
            since = time.monotonic()
            fill(filler, leave)
            d.process.send_signal(signal.SIGCONT)
            seen.append(f"free_min {free_min}: " + d.until_said("disk full", since))
            before = d.status()["applied"]
            feeder = d.feed(events(500, 500 + FEED))
            time.sleep(1)
            status = d.status()
            expect(status["applied"] == before, "it consumes on a full disk")
            expect("disk full" in status["state"], f"status says {status['state']}")
            os.unlink(filler)
            d.until_said("running", since)
            expect(feeder.wait(timeout=60) == 0, "iloractl produce failed")
            d.until_status(applied=FEED + 1000, lag=0)
            d.stop()
            seen.append(d.audit(applied=FEED + 1000))
    return "\n    ".join(["", *seen]).replace(disk, "...")


def run_disk_full(name):
    """The check in a mount namespace with a small tmpfs; its exit code."""
    mount = f'mount -t tmpfs -o size={DISK_BYTES} none "$ILORA_BAD_INPUT_DISK" && exec "$@"'
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    inside = ["unshare", "--mount", *user, "sh", "-c", mount, "sh"]
    with Daemon() as d:  # its folder is the place to mount on
        env = dict(os.environ, ILORA_BAD_INPUT_DISK=os.path.join(d.folder, "disk"))
        os.makedirs(env["ILORA_BAD_INPUT_DISK"])
        try:
            tried = subprocess.run([*inside, "true"], env=env, check=False, capture_output=True)
            reason = tried.stderr.decode().strip() if tried.returncode != 0 else ""
        except FileNotFoundError:
            reason = "there is no unshare"
        if reason:
            print(f"skipped: {name}: no small file system can be mounted: {reason}", flush=True)
            return 0
        return subprocess.run([*inside, sys.executable, os.path.abspath(__file__), name], env=env,
                              check=False).returncode


# ---- all -----------------------------------------------------------------------------------------

def main():
    if not (os.path.exists(ILORAD) and os.path.exists(ILORACTL)):
        print("skipped: not built")
        return 77
    known = {n[len("check_"):]: f for n, f in globals().items() if n.startswith("check_")}
    names = sys.argv[1:] or list(known)
    inside = "ILORA_BAD_INPUT_DISK" in os.environ
    failed = run_checks([(n, known[n]) for n in names if inside or n != "disk_full"])
    if not inside and "disk_full" in names:
        failed += run_disk_full("disk_full") != 0
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
