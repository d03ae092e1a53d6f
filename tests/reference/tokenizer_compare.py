#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares token ids with Hugging Face `tokenizers` on many strings.

usage: tokenizer_compare.py PROGRAM MODEL.gguf FOLDER [--strings N] [--titles FILE ..]

PROGRAM is tests/model/tokenizer_ids of a build. A tokenizer.json is built in FOLDER from the file's
vocabulary, once as SmolLM2 has it (then the GGUF file itself is compared, too) and once with each
splitting of the other families. Strings: titles (tab-separated files, second column) and seeded
mixtures of scripts, emoji, controls, special tokens and long runs. Exit 1 at any difference. Needs:
tokenizers, gguf.
"""
import argparse
import copy
import json
import os
import random
import struct
import subprocess
import sys

from gguf import GGUFReader
from tokenizers import Tokenizer

BYTE_LEVEL = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
              "use_regex": True}
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+"
          r"[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
BLOCKS = [(0x20, 0x7E)] * 6 + [
    (0x00, 0x20), (0xA0, 0xFF), (0x100, 0x24F), (0x300, 0x36F), (0x370, 0x3FF), (0x400, 0x4FF),
    (0x590, 0x5FF), (0x600, 0x6FF), (0x900, 0x97F), (0xE00, 0xE7F), (0x1100, 0x11FF),
    (0x180B, 0x180E), (0x1E00, 0x1FFF), (0x2000, 0x209F), (0x2100, 0x218F), (0x2460, 0x24FF),
    (0x3000, 0x30FF), (0x4E00, 0x9FFF), (0xAC00, 0xD7A3), (0xFB00, 0xFDFF), (0xFE00, 0xFFEF),
    (0x1D400, 0x1D7FF), (0x1F300, 0x1F6FF), (0x1F900, 0x1F9FF), (0x10000, 0x10FFFF)]
SPECIAL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_", "'s", "'LL", "'\u017f",
           "'\u212a", "\r\n", "\n\n", "   ", "\u00a0", "\u180e", "\u200d", "1234567",
           "\u0663\u0664", "\u00bd", "\ufb01", "e\u0301", "\u1112\u1161\u11ab"]
RUNS = [" ", "a", "=", "-", "0", "x", " \t", "\n", "\u0430\u0431", "!?"]


def smollm(path):
    """The tokenizer.json of SmolLM2, from the metadata of its GGUF file."""
    fields = GGUFReader(path).fields
    tokens, types, merges = (fields["tokenizer.ggml." + key].contents()
                             for key in ("tokens", "token_type", "merges"))
    added = [{"id": i, "content": tokens[i], "single_word": False, "lstrip": False,
              "rstrip": False, "normalized": False, "special": kind == 3}
             for i, kind in enumerate(types) if kind in (3, 4)]
    digits = {"type": "Digits", "individual_digits": True}
    return {"version": "1.0", "added_tokens": added, "normalizer": None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, BYTE_LEVEL]},
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "fuse_unk": False,
                      "continuing_subword_prefix": None, "end_of_word_suffix": None,
                      "byte_fallback": False, "ignore_merges": False,
                      "vocab": {text: i for i, text in enumerate(tokens)}, "merges": merges}}


def variants(base):
    yield "smollm", base
    for name, pattern, normalizer, ignore in (
            ("llama3", LLAMA3, None, True),
            ("qwen2", LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}"), {"type": "NFC"}, False)):
        changed = copy.deepcopy(base)
        split = {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated",
                 "invert": False}
        changed["pre_tokenizer"] = {"type": "Sequence", "pretokenizers": [
            split, dict(BYTE_LEVEL, use_regex=False)]}
        changed["normalizer"] = normalizer
        changed["model"]["ignore_merges"] = ignore
        yield name, changed


def characters(dice, count):
    out = []
    while len(out) < count:
        first, last = dice.choice(BLOCKS)
        code = dice.randint(first, last)
        if not 0xD800 <= code <= 0xDFFF:
            out.append(chr(code))
    return "".join(out)


def word(dice, titles):
    kind = dice.random()
    if titles and kind < 0.3:
        return dice.choice(titles)
    if kind < 0.5:
        return dice.choice(SPECIAL)
    if kind < 0.6:
        return dice.choice(RUNS) * dice.choice([1, 2, 3, 5, 17, 70, 200])
    return characters(dice, dice.randint(1, 10))


def make_texts(count, files):
    dice = random.Random(1)
    titles = []
    for path in files:
        with open(path, encoding="utf-8", errors="replace") as file:
            titles += [line.rstrip("\n").split("\t")[1] for line in file if "\t" in line]
    texts = titles + ["", "a" * 100000, " " * 100000, characters(dice, 100000)]
    while len(texts) < count:
        join = dice.choice(["", " ", ", "])
        texts.append(join.join(word(dice, titles) for _ in range(dice.randint(1, 8))))
    return texts


def differences(program, source, texts, expected):
    data = [text.encode() for text in texts]
    records = b"".join(struct.pack("=I", len(text)) + text for text in data)
    done = subprocess.run([program, source], input=records, stdout=subprocess.PIPE, check=True)
    at, bad = 0, 0
    for text, wanted in zip(texts, expected):
        count, = struct.unpack_from("=I", done.stdout, at)
        found = None
        if count != 0xFFFFFFFF:
            found = list(struct.unpack_from("=%di" % count, done.stdout, at + 4))
            at += 4 * count
        at += 4
        if found != wanted:
            bad += 1
            if bad <= 3:
                print("  differs:", ascii(text[:80]))
    return bad


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("model")
    parser.add_argument("folder")
    parser.add_argument("--strings", type=int, default=20000)
    parser.add_argument("--titles", nargs="*", default=[])
    asked = parser.parse_args()
    texts = make_texts(asked.strings, asked.titles)
    failed = 0
    for name, content in variants(smollm(asked.model)):
        path = os.path.join(asked.folder, name + "_tokenizer.json")
        with open(path, "w", encoding="utf-8") as file:
            json.dump(content, file, ensure_ascii=False)
        reference = Tokenizer.from_file(path)
        expected = [e.ids for e in reference.encode_batch(texts, add_special_tokens=False)]
        for source in [path] + ([asked.model] if name == "smollm" else []):
            bad = differences(asked.program, source, texts, expected)
            print("%s: %d strings, %d tokens, %d differences" % (
                os.path.basename(source), len(texts), sum(map(len, expected)), bad))
            failed += bad
    sys.exit(1 if failed else 0)


main()
