# SPDX-License-Identifier: Apache-2.0
"""peft_round_trip.py - adapters from us to PEFT and from PEFT to us, on a real base model.

    python peft_round_trip.py BUILD_FOLDER MODEL WORK_FOLDER [REPORT.json]

MODEL: a GGUF file that transformers can load too, or builtin:tiny:3. A daemon on MODEL learns a
generated stream with titles and makes a version; then, with text-only prompts in f32 on both sides:
  a   the version's folder as it is: PEFT's logits against ours with the uniform gate
  b   iloractl export --user: PEFT's logits against ours, our forward pass computing the gate
  c   LoRAs made by PEFT (r = 4 on q, v; r = 16 on all; rslora; a bf16 file) as the start of
      K = 1 and K = 4: ours, gate uniform, against PEFT's; written and loaded by PEFT: the same
Fails when max|a-b| > 1e-4 max|ref| or a cosine of any position is not above 0.99999. "effect" is
how far the adapter moves the logits from the base's, in the same measure: it must be seen.
Needs torch, transformers, peft, gguf and, for SmolLM2-135M, 4 GiB of memory.
"""
import json
import os
import shutil
import subprocess
import sys
import time

import numpy as np
import torch
from peft import PeftModel

from array_file import read_arrays, write_arrays
from peft_reference import ALL, compare, load_base, logits_of, random_adapter

TEXTS = [
    "Titles picked, oldest first:\n Toy Story (1995)\n Fargo (1996)\n Heat (1995)\nNext title: ",
    "Once upon a time, in a village by the sea,", "1 2 3 5 8 13 21 34 55", "A",
    "Star Wars (1977), The Empire Strikes Back (1980), Return of the Jedi (1983), ",
]
CASES = {
    "r4_qv": dict(r=4, lora_alpha=8, target_modules=["q_proj", "v_proj"]),
    "r16_all": dict(r=16, lora_alpha=32, target_modules=ALL),
    "rslora": dict(r=8, lora_alpha=8, target_modules=ALL, use_rslora=True),
    "bf16": dict(r=8, lora_alpha=16, target_modules=["q_proj", "o_proj", "down_proj"],
                 dtype=torch.bfloat16),
}
RANK, ALPHA = 16, 32.0
BOUND, COSINE = 1e-4, 0.99999


class Daemon:
    """Learns a stream on MODEL until a version other than 0 is in force."""

    def __init__(self, build, model, work):
        self.build, self.conf = build, os.path.join(work, "ilorad.conf")
        self.state = os.path.join(work, "state")
        shutil.rmtree(self.state, ignore_errors=True)
        with open(self.conf, "w", encoding="utf-8") as file:
            # Rates so high that the adapter and the gate move far in a few steps.
            file.write(f"[state]\npath = {self.state}\n[base_model]\npath = {model}\n"
                       "[http]\nlisten = none\n[device]\nprecision = f32\n"
                       "[train]\nbatch_events = 64\nbatch_interval = 500 ms\n"
                       "learning_rate = 1e-2\ngate_multiplier = 100\nlm_rate_max = 0.25\n"
                       "[publish]\ninterval = 1 s\n[eval]\nlm_rate = 0\n")
        with open(os.path.join(work, "ilorad.log"), "w", encoding="utf-8") as log:
            self.process = subprocess.Popen([build + "/daemon/ilorad", "--config", self.conf],
                                            stderr=log)

    def ctl(self, *words):
        out = subprocess.run([self.build + "/ops/iloractl", "--config", self.conf, "--json",
                              *words], capture_output=True, text=True)
        if out.returncode != 0:
            raise RuntimeError(" ".join(words) + ": " + out.stderr.strip())
        return json.loads(out.stdout.strip().splitlines()[-1]) if out.stdout.strip() else {}

    def status(self):
        try:
            return self.ctl("status")
        except RuntimeError:
            return {}

    def ready(self, seconds):
        end = time.monotonic() + seconds
        while not self.status().get("ready", False):
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError("ilorad is not ready")
            time.sleep(1)

    def version(self, at_least, seconds):
        """The newest version's folder once its number is at_least."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise RuntimeError(f"ilorad ended with {self.process.returncode}")
            names = os.listdir(self.state + "/versions") if os.path.isdir(
                self.state + "/versions") else []
            newest = max((int(n) for n in names if n.isdigit()), default=-1)
            if newest >= at_least:
                return newest
            time.sleep(1)
        raise RuntimeError(f"no version {at_least} after {seconds} s")

    def stop(self):
        self.process.terminate()
        return self.process.wait(120)


class Trip:
    def __init__(self, build, model, work):
        self.build, self.model, self.work = build, model, work
        self.tool, self.dump = build + "/tests/model/peft_logits", build + "/tests/model/lm_dump"
        self.base = self.load()
        self.prompts = self.make_prompts()
        self.tokens = os.path.join(work, "tokens.bin")
        write_arrays(self.tokens, self.prompts)
        self.plain = logits_of(self.base, self.prompts)
        self.rows, self.good = [], True

    def load(self):
        return load_base(self.model, self.dump, self.work)

    def make_prompts(self):
        if self.model.endswith(".gguf"):
            from transformers import AutoTokenizer
            folder, name = os.path.split(self.model)
            tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
            lists = [tokenizer(text)["input_ids"] for text in TEXTS]
        else:
            lists = [list(text.encode()) for text in TEXTS]
        vocabulary = self.base.config.vocab_size
        lists.append(np.random.default_rng(0).integers(20, vocabulary, 60).tolist())
        return {f"tokens.{i}": ids for i, ids in enumerate(lists)}

    def ours(self, *words):
        out = os.path.join(self.work, "logits.bin")
        subprocess.run([self.tool, *words[:-1], self.tokens, out,
                        *([words[-1]] if words[-1] else [])], check=True)
        return dict(read_arrays(out))

    def theirs(self, folder):
        model = PeftModel.from_pretrained(self.base, folder).eval()
        logits = logits_of(model, self.prompts)
        self.base = model.unload()
        assert compare(logits_of(self.base, self.prompts), self.plain)[0] == 0.0
        return logits

    def row(self, name, a, reference):
        worst, cosine, positions = compare(a, reference)
        effect = compare(self.plain, reference)[0]
        good = worst <= BOUND and cosine > COSINE and effect > 10 * BOUND
        self.good = self.good and good
        self.rows.append(dict(case=name, max_difference=worst, cosine=cosine, effect=effect,
                              positions=positions, good=good))
        print(f"{name:34} max|a-b|/max|ref| {worst:.2e}  cosine {cosine:.9f}  "
              f"effect {effect:.2e}  {'ok' if good else 'FAILED'}", flush=True)


def ours_to_peft(trip):
    daemon = Daemon(trip.build, trip.model, trip.work)
    try:
        daemon.ready(300)
        daemon.ctl("generate", "--users", "12", "--items", "72", "--events", "512", "--send")
        number = daemon.version(1, 300)
        folder, user = f"{daemon.state}/versions/{number}", "u1"
        copy = os.path.join(trip.work, "version")
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(folder, copy)
        events = daemon.ctl("history", user)["events"]
        items = ",".join(str(event["number"]) for event in events)
        export = os.path.join(trip.work, "user")
        shutil.rmtree(export, ignore_errors=True)
        gate = daemon.ctl("export", "--from", copy, "--user", user, "--to", export)["gate"]
    finally:
        code = daemon.stop()
    print(f"version {number}, {len(events)} events of '{user}', gate "
          + " ".join(f"{w:.4f}" for w in gate) + f"; ilorad ended with {code}")
    uniform = trip.theirs(copy)
    trip.row("a version, uniform gate", trip.ours("version", trip.model, copy, "uniform", ""),
             uniform)
    theirs = trip.theirs(export)
    trip.row("b export of one user", trip.ours("version", trip.model, copy, items, ""), theirs)
    apart = compare(uniform, theirs)[0]
    print(f"  the user's logits are {apart:.2e} from the uniform gate's")
    trip.rows.append(dict(case="b against a", effect=apart, gate=gate))


def peft_to_ours(trip):
    for seed, (name, config) in enumerate(CASES.items()):
        folder = os.path.join(trip.work, "peft_" + name)
        shutil.rmtree(folder, ignore_errors=True)
        model = random_adapter(trip.base, folder, seed, b_scale=0.02, **config)
        reference = logits_of(model, trip.prompts)
        trip.base = model.unload()
        for K in (1, 4):
            again = os.path.join(trip.work, f"again_{name}_{K}")
            shutil.rmtree(again, ignore_errors=True)
            ours = trip.ours("adapter", trip.model, folder, str(RANK), str(K), str(ALPHA), again)
            trip.row(f"c {name} to K={K}", ours, reference)
            trip.row(f"c {name} from K={K} to PEFT", trip.theirs(again), reference)


def main(build, model, work, report=None):
    os.makedirs(work, exist_ok=True)
    torch.set_num_threads(2)
    trip = Trip(build, model, work)
    ours_to_peft(trip)
    peft_to_ours(trip)
    if report is not None:
        with open(report, "w", encoding="utf-8") as file:
            json.dump(dict(model=os.path.basename(model), rows=trip.rows, good=trip.good), file,
                      indent=1)
    print("all within the bounds" if trip.good else "FAILED")
    return 0 if trip.good else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
