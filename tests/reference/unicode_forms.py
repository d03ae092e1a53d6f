#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares the four normal forms with those of `tokenizers`, on every code point.

usage: unicode_forms.py PROGRAM FOLDER       PROGRAM is tests/model/tokenizer_ids of a build

Each character alone, between a letter and a mark of class 1, and behind one of class 240: that
shows its decomposition and whether it moves. Exit 1 at any difference; then model/text_forms.c
lacks a range. Needs: tokenizers.
"""
import json
import os
import struct
import subprocess
import sys

from tokenizers import Tokenizer, pre_tokenizers

PLACES = [("{}", "alone"), ("a{}\u0334", "before a mark"), ("a\u0345{}", "behind a mark")]


def document(form):
    vocab = {text: i for i, text in enumerate(sorted(pre_tokenizers.ByteLevel.alphabet()))}
    bare = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
            "use_regex": False}
    return {"version": "1.0", "added_tokens": [], "normalizer": {"type": form},
            "pre_tokenizer": bare, "model": {"type": "BPE", "vocab": vocab, "merges": []}}


def main(program, folder):
    codes = [code for code in range(0x110000) if not 0xD800 <= code <= 0xDFFF]
    path, bad = os.path.join(folder, "form.json"), 0
    for form in ("NFC", "NFD", "NFKC", "NFKD"):
        with open(path, "w", encoding="utf-8") as out:
            json.dump(document(form), out)
        reference = Tokenizer.from_file(path)
        for place, name in PLACES:
            texts = [place.format(chr(code)) for code in codes]
            data = [text.encode() for text in texts]
            records = b"".join(struct.pack("=I", len(one)) + one for one in data)
            found = subprocess.run([program, path], input=records, capture_output=True, check=True)
            at, differing = 0, []
            for code, theirs in zip(codes, reference.encode_batch_fast(texts)):
                count, = struct.unpack_from("=I", found.stdout, at)
                ours = list(struct.unpack_from("=%di" % count, found.stdout, at + 4))
                at += 4 + 4 * count
                if ours != theirs.ids:
                    differing.append(f"{code:X}")
            bad += len(differing)
            print(f"{form} {name}: {len(texts):,} texts, {len(differing)} differences "
                  f"{' '.join(differing[:40])}", flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
