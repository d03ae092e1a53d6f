# SPDX-License-Identifier: Apache-2.0
"""peft_make_golden.py - three small adapters made by PEFT and its logits with them.

    python peft_make_golden.py LM_DUMP WORK_FOLDER OUTPUT_FOLDER

Base: builtin:tiny:3 (lm_dump writes its weights). Writes peft_tiny_<case>/ as PEFT saves them and
peft_tiny.bin: prompts, PEFT's logits of each case, and those of the base alone. Needs torch,
transformers and peft; a function of its seeds.
"""
import os
import shutil
import sys

import numpy as np
import torch

from peft_reference import ALL, load_base, logits_of, random_adapter, write_arrays

BASE = "builtin:tiny:3"
CASES = {  # the rank of "layer" is no multiple of two or four experts
    "qv": dict(r=2, lora_alpha=6, target_modules=["q_proj", "v_proj"]),
    "all": dict(r=4, lora_alpha=4, use_rslora=True, target_modules=ALL, dtype=torch.bfloat16),
    "layer": dict(r=3, lora_alpha=7, target_modules=["o_proj", "down_proj"],
                  layers_to_transform=[1], dtype=torch.float16),
}


def main(lm_dump, work, out):
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


if __name__ == "__main__":
    main(*sys.argv[1:])
