# SPDX-License-Identifier: Apache-2.0
"""lm_smollm2_logits.py - a real model's logits against transformers on the same weights.

    python lm_smollm2_logits.py LM_LOGITS MODEL.gguf WORK_FOLDER [f32|bf16]

Twenty prompts of 5 to 120 tokens; prints the smallest and mean cosine over all positions and the
largest difference, and fails when a cosine is not above 0.9999 (bf16 products: mean 0.999; the
prompts of random tokens lose most). Needs torch, transformers, gguf and 2 GiB of memory.
"""
import os
import subprocess
import sys

import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from array_file import read_arrays, write_tokens

TEXTS = [
    "The user has watched these films in this order: Toy Story (1995), Fargo (1996), Heat (1995).",
    "Once upon a time, in a village by the sea,", "def fibonacci(n):\n    if n < 2:\n",
    "1 2 3 5 8 13 21 34 55", "Je me souviens d'une soirée d'été où", "A",
    "The mitochondrion is the powerhouse of the cell. It makes ATP by oxidative phosphorylation.",
    "Star Wars (1977), The Empire Strikes Back (1980), Return of the Jedi (1983), ",
    "SELECT item, COUNT(*) FROM events GROUP BY item ORDER BY 2 DESC LIMIT 10;",
    "In 1969 men walked on the Moon. In 1903 the Wright brothers flew. In 1876 Bell telephoned.",
]


def prompts(tokenizer):
    rng = np.random.default_rng(0)
    result = [tokenizer(text)["input_ids"] for text in TEXTS]
    for length in np.linspace(5, 120, 20 - len(TEXTS)).astype(int):  # anything must agree
        result.append(rng.integers(20, 49000, length).tolist())
    return result


def main(program, gguf, work, precision="f32"):
    folder, name = os.path.split(gguf)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval()
    lists = prompts(tokenizer)
    tokens, out = os.path.join(work, "tokens.bin"), os.path.join(work, "logits.bin")
    write_tokens(tokens, lists)
    subprocess.run([program, gguf, precision, tokens, out], check=True)

    worst, total, largest, agree, positions = 1.0, 0.0, 0.0, 0, 0
    for ids, ours in zip(lists, read_arrays(out).values()):
        with torch.no_grad():
            theirs = model(torch.tensor([ids])).logits[0].double()
        mine = torch.tensor(np.array(ours)).double()
        assert mine.shape == theirs.shape and bool(torch.isfinite(mine).all())
        cosine = torch.nn.functional.cosine_similarity(mine, theirs, dim=-1)
        worst, total = min(worst, float(cosine.min())), total + float(cosine.sum())
        largest = max(largest, float((mine - theirs).abs().max()))
        agree += int((mine.argmax(-1) == theirs.argmax(-1)).sum())
        positions += len(ids)
    print(f"{len(lists)} prompts, {positions} positions, {precision}: smallest cosine {worst:.8f}, "
          f"mean {total / positions:.8f}, largest difference {largest:.3g}, "
          f"same best token at {agree}")
    return 0 if (worst > 0.9999 if precision == "f32" else total / positions > 0.999) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
