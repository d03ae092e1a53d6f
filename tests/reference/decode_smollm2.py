# SPDX-License-Identifier: Apache-2.0
"""decode_smollm2.py - greedy decoding of a real model against transformers, token for token.

    python decode_smollm2.py DECODE_IDS MODEL.gguf WORK_FOLDER [PROMPTS]

100 prompts (or fewer): 60 histories of films in the words of a recommender, ended by a new line or
the end of text, and 40 of text, code and chat, ended by the end of text; 32 tokens each. f32. Fails
when a continuation differs where the two largest logits are not a tie. Needs torch, transformers,
gguf and 2 GiB of memory.
"""
import os
import random
import sys

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from array_file import write_tokens
from decode_reference import compare, ours
from lm_smollm2_logits import TEXTS

TOKENS = 32
FILMS = """Toy Story (1995)|GoldenEye (1995)|Babe (1995)|Dead Man Walking (1995)|Taxi Driver (1976)
Star Wars (1977)|The Silence of the Lambs (1991)|Fargo (1996)|Aladdin (1992)|Psycho (1960)
Blade Runner (1982)|The Godfather (1972)|Alien (1979)|Amadeus (1984)|Raging Bull (1980)
Brazil (1985)|Die Hard (1988)|Chinatown (1974)|The Shining (1980)|Evita (1996)|Heat (1995)
Casablanca (1942)|Vertigo (1958)|Fantasia (1940)|Braveheart (1995)|Kolya (1996)|Ran (1985)
Delicatessen (1991)|Il Postino (1994)|Fly Away Home (1996)""".replace("\n", "|").split("|")
QUESTIONS = """What is the capital of Portugal?|Name three rivers in Asia.|Why is the sky blue?
Write a haiku about snow.|What is 17 times 23?|Explain recursion in one sentence.
Translate 'good morning' to French.|Who painted the Mona Lisa?|What does HTTP stand for?
Give me a recipe for pancakes.|What is a monad?|List the primary colours.|How do magnets work?
Tell me a joke.|What is the boiling point of water?""".replace("\n", "|").split("|")
OPENINGS = """It was a bright cold day in April, and|The quick brown fox|In the beginning|Dear Sir,
import numpy as np|#include <stdio.h>|The theory of relativity says that|Ingredients: flour,
To be, or not to be:|Chapter 1|Q: How many legs has a spider?|<html><body>|Once there was a king who
Der schnellste Weg nach|El perro""".replace("\n", "|").split("|")


def prompts():
    rng = random.Random(0)
    histories = []
    for i in range(60):
        films = rng.sample(FILMS, 1 + i % 10)
        histories.append(f"The user has watched these films in this order: {', '.join(films)}. "
                         "The title of the next film the user will watch:")
    chats = [f"<|im_start|>user\n{q}<|im_end|>\n<|im_start|>assistant\n" for q in QUESTIONS]
    return histories, TEXTS + chats + OPENINGS


def main(program, gguf, work, limit="100"):
    folder, name = os.path.split(gguf)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    model = AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32).eval()
    end, line = tokenizer.eos_token_id, tokenizer("\n")["input_ids"]
    assert len(line) == 1
    bad, histories_and_texts = 0, prompts()
    shares = [int(limit) * len(part) // 100 for part in histories_and_texts]
    for label, texts, share, stops in zip(("histories", "texts"), histories_and_texts, shares,
                                          ([end] + line, [end])):
        lists = [tokenizer(text)["input_ids"] for text in texts[:share]]
        tokens = os.path.join(work, f"decode_{label}.bin")
        write_tokens(tokens, lists)
        bad += compare(label, model, lists, TOKENS, stops,
                       ours(program, gguf, TOKENS, tokens, stops))
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
