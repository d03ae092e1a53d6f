#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares token ids with Hugging Face `tokenizers` on many strings, for each kind of tokenizer.

usage: tokenizer_compare.py PROGRAM FOLDER [--strings N] [--smollm2 FILE.gguf] [--vocab FOLDER]
                            [--kinds NAME ..] [--titles FILE ..] [--again]

PROGRAM is tests/model/tokenizer_ids of a build; FOLDER takes the texts and the tokenizer.json
files (tokenizer_kinds.py says which). Texts: tokenizer_texts.py, seeded, and titles (tab-separated
files, second column). Where the vocabulary came from a GGUF file that is read here, too. Exit 1 at
any difference. Needs: tokenizers, numpy, gguf, transformers.
"""
import argparse
import os
import struct
import subprocess
import sys
import time
from itertools import chain

import numpy as np
from tokenizers import Tokenizer

from tokenizer_kinds import write_kinds
from tokenizer_texts import make_texts

CHUNK = 20000
REFUSED = 0xFFFFFFFF


def read_titles(paths):
    titles = []
    for path in paths:
        with open(path, encoding="utf-8", errors="replace") as file:
            titles += [line.rstrip("\n").split("\t")[1] for line in file if "\t" in line]
    return titles


def chunks(count, titles):
    for seed, begin in enumerate(range(0, count, CHUNK)):
        yield make_texts(seed, min(CHUNK, count - begin), titles=titles[seed * 4000 % 20000:])


def write_records(path, count, titles):
    with open(path, "wb") as file:
        for texts in chunks(count, titles):
            data = [text.encode() for text in texts]
            file.write(b"".join(struct.pack("=I", len(one)) + one for one in data))


def read_chunks(path):
    texts = []
    with open(path, "rb", buffering=1 << 20) as file:
        while head := file.read(4):
            texts.append(file.read(struct.unpack("=I", head)[0]).decode())
            if len(texts) == CHUNK:
                yield texts
                texts = []
    if texts:
        yield texts


class OurIds:
    """The program's answers, read as they come."""

    def __init__(self, program, source, records):
        self.process = subprocess.Popen([program, source], stdin=open(records, "rb"),
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        bufsize=1 << 20)

    def next(self):
        head = self.process.stdout.read(4)
        if len(head) < 4:
            raise SystemExit("the program ended: " + self.process.stderr.read().decode())
        count, = struct.unpack("=I", head)
        return None if count == REFUSED else self.process.stdout.read(4 * count)

    def close(self):
        rest = self.process.stdout.read()
        said = self.process.stderr.read().decode().strip()
        if rest or self.process.wait() != 0:
            raise SystemExit("the program failed: " + said)
        return said


def show(name, source, text, wanted, found):
    if found is None:
        print(f"  {name} {source}: refused {ascii(text[:80])}")
        return
    at = 0
    while at < min(len(wanted), len(found)) and wanted[at] == found[at]:
        at += 1
    print(f"  {name} {source}: {ascii(text[:80])} ({len(text)} characters) token {at}: "
          f"{found[at:at + 6].tolist()}, expected {wanted[at:at + 6].tolist()}")


def compare(asked, name, path, origin, gguf, records):
    began = time.time()
    reference = Tokenizer.from_file(path)
    added = np.array(sorted(reference.get_added_tokens_decoder()), np.int32)
    sources = [path] + ([gguf] if gguf else [])
    ours = [OurIds(asked.program, source, records) for source in sources]
    strings = tokens = special = 0
    differing = [0] * len(sources)
    for texts in read_chunks(records):
        encoded = [e.ids for e in reference.encode_batch_fast(texts, add_special_tokens=False)]
        flat = np.fromiter(chain.from_iterable(encoded), np.int32)
        ends = np.cumsum([len(ids) for ids in encoded])
        marked = np.concatenate([[0], np.cumsum(np.isin(flat, added))])
        begin = 0
        for text, end in zip(texts, ends):
            wanted = flat[begin:end].tobytes()
            special += bool(marked[end] > marked[begin])
            for i, one in enumerate(ours):
                found = one.next()
                if found != wanted:
                    differing[i] += 1
                    if differing[i] <= 3:
                        show(name, os.path.basename(sources[i]), text, flat[begin:end],
                             None if found is None else np.frombuffer(found, np.int32))
            begin = end
        strings += len(texts)
        tokens += len(flat)
    speed = [one.close().split(", ")[-1] for one in ours]
    for i, source in enumerate(sources):
        print(f"{name:11} {'gguf' if i else 'json'} {origin:9} {strings:9,} strings, "
              f"{special:9,} with added tokens, {tokens:12,} tokens: {differing[i]} differences "
              f"(ours {speed[i]}; {time.time() - began:.0f} s)", flush=True)
    return sum(differing)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("program")
    parser.add_argument("folder")
    parser.add_argument("--strings", type=int, default=20000)
    parser.add_argument("--smollm2")
    parser.add_argument("--vocab")
    parser.add_argument("--kinds", nargs="*")
    parser.add_argument("--again", action="store_true", help="with the texts already in FOLDER")
    parser.add_argument("--titles", nargs="*", default=[])
    asked = parser.parse_args()
    titles = read_titles(asked.titles)
    records = os.path.join(asked.folder, "texts.bin")
    if not asked.again:
        write_records(records, asked.strings, titles)
    failed = 0
    for name, path, origin, gguf in write_kinds(asked.folder, asked.smollm2, asked.vocab):
        if not asked.kinds or name in asked.kinds:
            failed += compare(asked, name, path, origin, gguf, records)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
