# SPDX-License-Identifier: Apache-2.0
"""decode_architectures.py - greedy decoding of every family's random small model against
transformers.

    python decode_architectures.py DECODE_IDS WORK_FOLDER

The models are those of lm_architectures.py; 100 prompts of 1 to 40 random tokens, 24 tokens each,
two of them stop ids. Needs torch and transformers.
"""
import os
import sys

import numpy as np

from array_file import write_tokens
from decode_reference import compare, ours
from lm_architectures import CASES, random_model

PROMPTS, TOKENS, STOPS = 100, 24, [7, 100]


def main(program, work):
    rng = np.random.default_rng(2)
    lists = [rng.integers(0, 320, 1 + i % 40).tolist() for i in range(PROMPTS)]
    tokens = os.path.join(work, "decode_architectures.bin")
    write_tokens(tokens, lists)
    bad = 0
    for name, (kind, options) in CASES.items():
        folder = os.path.join(work, name)
        model = random_model(kind, options)
        model.save_pretrained(folder)
        bad += compare(name, model, lists, TOKENS, STOPS,
                       ours(program, folder, TOKENS, tokens, STOPS))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
