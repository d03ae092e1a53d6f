# SPDX-License-Identifier: Apache-2.0
"""paper_run.py - `iloractl paper` from end to end on a made-up data set of 30 items: it learns, is
killed and continued to the same bits, refuses other settings, and draws no bar into a pipe."""
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

BUILD = os.environ["ILORA_BUILD"]
TOOL = os.path.join(BUILD, "ops", "iloractl")
ITEMS = 30
KILLS = 6
failures = []


def check(holds, claim):
    print(("ok      " if holds else "FAILED  ") + claim, flush=True)
    if not holds:
        failures.append(claim)


def write_data(folder):
    """Users walk through the items one by one: the next item is the one behind the newest."""
    os.makedirs(folder)
    draw = random.Random(2)
    titles = [a + b for a in "BDKMPT" for b in "aeiou"]

    def write(name, lines):
        with open(os.path.join(folder, name), "w", encoding="utf-8") as file:
            file.write("\n".join(lines) + "\n")

    def walk(length):
        begin = draw.randrange(ITEMS)
        return [(begin + i) % ITEMS for i in range(length)]

    def row(items, at):
        return " ".join(map(str, items[max(0, at - 10):at])) + "\t" + str(items[at])

    train, parts = ["history\tnext"], {}
    for _ in range(100):
        items = walk(draw.randrange(6, 14))
        train += [row(items, at) for at in range(len(items))]
    for part, users in (("valid", 20), ("test", 40)):
        walks = [walk(draw.randrange(6, 14)) for _ in range(users)]
        parts[part] = ["history\tnext"] + [row(items, len(items) - 1) for items in walks]
    write("items.tsv", ["item_id\ttitle"] + [f"{i}\t{t}" for i, t in enumerate(titles)])
    write("train.tsv", train)
    write("valid.tsv", parts["valid"])
    write("test.tsv", parts["test"])


def command(data, out, *more):
    return [TOOL, "--config", "/dev/null", "paper", "--data", data, "--base", "builtin:tiny",
            "--threads", "1", "--out", out, *more]


def run(*arguments):
    return subprocess.run(command(*arguments), capture_output=True, text=True, check=False,
                          timeout=200)


def tail(done):
    return "" if done.returncode == 0 else ": " + done.stderr.strip()[-200:]


def without_times(value):
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k != "timing"}
    return value


def contents(out):
    """Everything of a finished run: bytes, times of JSON files left out."""
    found = {}
    for folder, _, names in os.walk(out):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, "rb") as file:
                held = file.read()
            if name.endswith(".json"):
                held = without_times(json.loads(held))
            found[os.path.relpath(path, out)] = held
    return found


SHORT = ["--limit", "96", "--limit-test", "24", "--epochs", "2", "--batch", "16", "--checkpoint",
         "2", "--seeds", "2"]


def test_kills(data, work):
    """kill -9 at any moment changes nothing but the time."""
    whole = os.path.join(work, "whole")
    began = time.monotonic()
    done = run(data, whole, *SHORT)
    took = time.monotonic() - began
    check(done.returncode == 0, "a whole run ends with 0" + tail(done))
    check("LIMITED RUN: 96 of " in done.stdout and "24 of 40 test samples" in done.stdout,
          "the table says that it is a limited run")
    check("\r" not in done.stderr and "[=" not in done.stderr, "no bar is drawn into a pipe")

    cut, draw, kills = os.path.join(work, "cut"), random.Random(), 0
    for _ in range(KILLS):
        process = subprocess.Popen(command(data, cut, *SHORT), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        time.sleep(draw.uniform(0.02, took / 3))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
    done = run(data, cut, *SHORT)
    check(done.returncode == 0, f"a run killed {kills} times ends with 0")
    a, b = contents(whole), contents(cut)
    a.pop("lock"), b.pop("lock")
    extra = {name for name in set(a) ^ set(b) if not name.endswith(".tmp")}
    check(not extra, f"a killed run leaves the same files {sorted(extra)}")
    different = sorted(name for name in set(a) & set(b) if a[name] != b[name])
    check(not different, f"a killed run leaves the same bits {different}")
    check("seed-2/ilora.safetensors" in a and "seed-1/lora.checkpoint" not in a,
          "adapters are kept, checkpoints of finished methods are not")
    return whole


def test_refusals(data, work, whole):
    done = run(data, whole, *SHORT, "--rank", "4")
    check(done.returncode == 1 and "rank 8, not 4" in done.stderr and
          done.stderr.count("\n") == 1, "another setting is refused in one line that names it")
    done = run(data, whole, *SHORT)
    check(done.returncode == 0 and done.stderr == "", "a finished run is only reported again")
    done = run(data, os.path.join(work, "x"), "--rank", "6")
    check(done.returncode == 64 and "--rank 6" in done.stderr, "a rank that K does not divide")
    done = run(data, os.path.join(work, "x"), "--methods", "lora,mf")
    check(done.returncode == 64 and "mf" in done.stderr, "a method that there is not")
    done = run(data, os.path.join(work, "x"), "--gate", "stream")
    check(done.returncode == 64 and "linear or resnet" in done.stderr, "a gate not of the paper")
    done = run(os.path.join(work, "nowhere"), os.path.join(work, "x"))
    check(done.returncode == 1 and "nowhere" in done.stderr and done.stderr.count("\n") == 1,
          "a folder that is not there")
    check(not os.path.exists(os.path.join(work, "x")), "a refused run leaves no folder")


def test_learning(data, work):
    """30 items in a ring: chance has 1 in 20."""
    out = os.path.join(work, "learned")
    done = run(data, out, "--methods", "sasrec,ilora", "--gate", "linear", "--epochs", "4",
               "--batch", "16", "--lr", "0.02", "--json")
    check(done.returncode == 0, "a run with --json ends with 0" + tail(done))
    results = json.loads(done.stdout)
    ilora, sasrec = results["methods"]["ilora"], results["methods"]["sasrec"]
    single = ilora["runs"]["1"]
    check(single["last_loss"] < 0.8 * single["first_loss"],
          f"the loss falls: {single['first_loss']:.3f} to {single['last_loss']:.3f}")
    check(sasrec["hr1_all"]["mean"] >= 0.5, f"SASRec learns: {sasrec['hr1_all']['mean']:.3f}")
    check(ilora["hr1_scored"]["low"] > 0.05,
          f"iLoRA beats chance: {ilora['hr1_scored']['mean']:.3f}, "
          f"from {ilora['hr1_scored']['low']:.3f}")
    check(results["settings"]["test_lists_sha256"] != "", "the lists' digest is recorded")


def main():
    if not os.access(TOOL, os.X_OK):
        print("not built")
        return 77
    work = tempfile.mkdtemp(prefix="ilora-paper-")
    try:
        data = os.path.join(work, "data")
        write_data(data)
        whole = test_kills(data, work)
        test_refusals(data, work, whole)
        test_learning(data, work)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
