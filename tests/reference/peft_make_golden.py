# SPDX-License-Identifier: Apache-2.0
"""peft_make_golden.py - three small adapters made by PEFT and its logits with them.

    python peft_make_golden.py LM_DUMP WORK_FOLDER OUTPUT_FOLDER [--check]

Base: builtin:tiny:3 (lm_dump writes its weights). Writes peft_tiny_<case>/ as PEFT saves them and
peft_tiny.bin: prompts, PEFT's logits of each case, and those of the base alone. Needs torch,
transformers and peft; a function of its seeds. --check writes to WORK_FOLDER and compares with
what is held: the tensors are the same, the logits within 1e-5, no setting has another value.
"""
import json
import os
import shutil
import sys

import numpy as np
import torch

from safetensors.torch import load_file

from array_file import read_arrays, write_arrays
from peft_reference import ALL, load_base, logits_of, random_adapter

BASE = "builtin:tiny:3"
CASES = {  # the rank of "layer" is no multiple of two or four experts
    "qv": dict(r=2, lora_alpha=6, target_modules=["q_proj", "v_proj"]),
    "all": dict(r=4, lora_alpha=4, use_rslora=True, target_modules=ALL, dtype=torch.bfloat16),
    "layer": dict(r=3, lora_alpha=7, target_modules=["o_proj", "down_proj"],
                  layers_to_transform=[1], dtype=torch.float16),
}


def settings_of(folder):
    with open(os.path.join(folder, "adapter_config.json"), encoding="utf-8") as file:
        return {k: v for k, v in json.load(file).items() if v and k != "peft_version"}


def check(made, held):
    """The first thing that differs, or None."""
    new, old = (read_arrays(os.path.join(f, "peft_tiny.bin")) for f in (made, held))
    if set(new) != set(old):
        return "the names in peft_tiny.bin"
    for name in new:
        if new[name].shape != old[name].shape or np.abs(new[name] - old[name]).max() > \
                1e-5 * np.abs(old[name]).max():
            return name
    for case in CASES:
        a, b = (os.path.join(f, "peft_tiny_" + case) for f in (made, held))
        if settings_of(a) != settings_of(b):
            return case + ": adapter_config.json"
        new, old = (load_file(os.path.join(f, "adapter_model.safetensors")) for f in (a, b))
        if set(new) != set(old) or any(not torch.equal(new[n], old[n]) for n in new):
            return case + ": adapter_model.safetensors"
    return None


def main(lm_dump, work, out, option=None):
    if option == "--check":
        made = os.path.join(work, "peft_golden")
        os.makedirs(made, exist_ok=True)
        main(lm_dump, work, made)
        differs = check(made, out)
        print("PEFT's golden files are " + ("as it writes them" if differs is None else
                                            f"stale: {differs} differs"))
        return 0 if differs is None else 1
    rng = np.random.default_rng(4)
    prompts = {f"tokens.{n}": rng.integers(0, 256, n) for n in (1, 5, 9)}
    arrays = dict(prompts)
    base = load_base(BASE, lm_dump, work)
    for name, values in logits_of(base, prompts).items():
        arrays["base." + name] = values
    for seed, (case, config) in enumerate(CASES.items()):
        folder = os.path.join(out, "peft_tiny_" + case)
        shutil.rmtree(folder, ignore_errors=True)
        model = random_adapter(load_base(BASE, lm_dump, work), folder, seed, b_scale=0.5, **config)
        for name, values in logits_of(model, prompts).items():
            arrays[case + "." + name] = values
    write_arrays(os.path.join(out, "peft_tiny.bin"), arrays)
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
