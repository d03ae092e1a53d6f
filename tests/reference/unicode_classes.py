#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares the character classes of splitting patterns with Oniguruma's, on every code point.

usage: unicode_classes.py PROGRAM FOLDER       PROGRAM is tests/model/tokenizer_ids of a build

A tokenizer that removes what a class matches leaves no token of a character of that class. Exit 1
where a class differs; when it does, model/unicode_newer.h lacks a range. Needs: tokenizers.
"""
import json
import os
import struct
import subprocess
import sys

from tokenizers import Tokenizer, pre_tokenizers

CLASSES = [r"\p{L}", r"\p{N}", r"\p{M}", r"\p{P}", r"\p{S}", r"\p{Nd}", r"\s", r"\S", r"\w", r"\d",
           r"[^\s\p{L}\p{N}]", r"[^\r\n\p{L}\p{N}]", r"(?i:s)", r"(?i:k)"]


def document(expression):
    vocab = {text: i for i, text in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    split = {"type": "Split", "pattern": {"Regex": expression}, "behavior": "Removed",
             "invert": False}
    bare = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
            "use_regex": False}
    return {"version": "1.0", "added_tokens": [], "normalizer": None,
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [split, bare]},
            "model": {"type": "BPE", "vocab": vocab, "merges": []}}


def ranges(codes):
    out = []
    for code in codes:
        if out and out[-1][1] == code - 1:
            out[-1][1] = code
        else:
            out.append([code, code])
    return " ".join(f"{first:X}-{last:X}" for first, last in out)


def main(program, folder):
    texts = [chr(code) for code in range(0x110000) if not 0xD800 <= code <= 0xDFFF]
    data = [text.encode() for text in texts]
    records = b"".join(struct.pack("=I", len(one)) + one for one in data)
    path, bad = os.path.join(folder, "class.json"), 0
    for expression in CLASSES:
        with open(path, "w", encoding="utf-8") as out:
            json.dump(document(expression), out)
        reference = Tokenizer.from_file(path)
        found = subprocess.run([program, path], input=records, capture_output=True, check=True)
        at, differing = 0, []
        for text, theirs in zip(texts, reference.encode_batch_fast(texts)):
            count, = struct.unpack_from("=I", found.stdout, at)
            at += 4 + 4 * count
            if (count == 0) != (len(theirs.ids) == 0):
                differing.append(ord(text))
        bad += len(differing)
        print(f"class {expression}: {len(texts):,} characters, {len(differing)} differences "
              f"{ranges(differing)[:300]}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
