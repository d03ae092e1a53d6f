#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes the golden files that test_tokenizer_golden reads: small tokenizers and what Hugging Face
`tokenizers` makes of some texts with them.

  tokenizer_bytes.json   a byte-level BPE trained here, in several normalisers and pre-tokenizers
  tokenizer_chars.json   a SentencePiece-style BPE with byte fallback, as Llama 2 has

Each file: {"model": text, "variants": [{"name", "head", "tail", "cases": [[text, ids], ..]}]};
head + model + tail is the variant's tokenizer.json. With --check nothing is written: exit 1 when a
file is not what would be written. Needs: tokenizers.
"""
import json
import os
import random
import sys

from tokenizers import Tokenizer, models, pre_tokenizers, trainers

HERE = os.path.dirname(os.path.abspath(__file__))

WORDS = """the of and a story night day blue red green house river mountain singing running movie
return secret little great last first king queen garden winter summer love war world time machine
letters from paris london moon silver golden dream dancing over under nothing something""".split()

GPT2 = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
BARE = dict(GPT2, use_regex=False)
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+"
          r"[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


def split(pattern, behavior="Isolated", invert=False, kind="Regex"):
    return {"type": "Split", "pattern": {kind: pattern}, "behavior": behavior, "invert": invert}


# name, normalizer, pre_tokenizer, changes to the model
BYTE_VARIANTS = [
    ("smollm", None, sequence({"type": "Digits", "individual_digits": True}, GPT2), {}),
    ("gpt2_prefix", {"type": "NFD"}, dict(GPT2, add_prefix_space=True), {}),
    ("llama3", None, sequence(split(LLAMA3), BARE), {"ignore_merges": True}),
    ("qwen2", {"type": "NFC"}, sequence(split(QWEN2), BARE), {}),
    ("behaviours", {"type": "NFKC"},
     sequence(split(r"\w+", "MergedWithPrevious"), split("e", "MergedWithNext", kind="String"),
              {"type": "Digits", "individual_digits": False}, GPT2), {}),
    ("removed", {"type": "NFKD"},
     sequence(split(r"\s+", "Removed"), split("[a-m]", "Contiguous", True), BARE), {}),
    ("unknown_fused", None, GPT2, {"unk_token": "<|end|>", "fuse_unk": True}),
]

TEXTS = [
    "", " ", "a", "The Silver River (1995)", "  two  spaces   at\tends \n",
    "it's IT'S we'LL x'ſ ı'K",
    "1234567 ٣٤ ½ Ⅷ ²", "Ünïcödé e\u0301 é ﬁ ﬀ Å Ⓝ", "한국 \u1112\u1161\u11ab 日本語 テスト",
    "\u1108\u1170\u11a7\u0301\u11a7a \u11a7", "🙂👩‍👩‍👧🏽 🇩🇪",
    "\x00\x01\x7f\x14", "\u180e\u200b\u00a0\u3000\u2028x", "<|end|>the<|end|> x <|item|>y",
    "<l>  a  <l> b <r>  c ﬁx fix fixed", "mid<|wor|>d <|wor|> d", "\r\n\r\n  \n x\r",
    "((((a))))!!??",
    "\U00058e9c\U000e0101\uffff", "q" * 40 + "the" * 20, "-" * 68,
    "\U0001d2c5\U0001d2c6x \U00013461\n\U00013462 \u2ffc\u1c89",
    "\u1c8a\U00031350 \U000116d0\U000116d1",
    "a\u08cd\u0345\u0334 a\u0345\u1abf\u0334 \U00011935\U00011930 \U0001e030\u32ff",
    "e" + "\u0345\u0334\u0301" * 20 + "x", "n\xb2 \xbd_\xbe",
    "the the the story of the night", "привет мир שלום עולם مرحبا नमस्ते ไทย",
]


def added(first):
    def token(i, content, **flags):
        entry = {"id": first + i, "content": content, "single_word": False, "lstrip": False,
                 "rstrip": False, "normalized": False, "special": False}
        entry.update(flags)
        return entry
    return [token(1, "<|item|>", special=True), token(2, "<l>", lstrip=True),
            token(3, "<r>", rstrip=True, normalized=True), token(4, "ﬁx", normalized=True),
            token(5, "<|wor|>", single_word=True)]


def train_bytes():
    random.seed(7)
    lines = [" ".join(random.choice(WORDS) for _ in range(9)).capitalize() for _ in range(400)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(vocab_size=350, special_tokens=["<|end|>"], show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(lines, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    for hole in ("Ķ", "ö"):  # bytes 0x14 and 0xf6 without a token: they vanish or are unknown
        model["vocab"].pop(hole)
    ids = {text: i for i, text in enumerate(sorted(model["vocab"], key=model["vocab"].get))}
    model["vocab"] = ids
    return model


def train_chars():
    random.seed(8)
    lines = ["▁" + "▁".join(random.choice(WORDS) for _ in range(9)) for _ in range(300)]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.train_from_iterator(lines, trainers.BpeTrainer(vocab_size=180, show_progress=False,
                                                             max_token_length=8))
    learned = json.loads(tokenizer.to_str())["model"]
    texts = ["<unk>", "<s>", "</s>"] + ["<0x%02X>" % b for b in range(256)]
    texts += sorted(learned["vocab"], key=learned["vocab"].get)
    return dict(learned, vocab={text: i for i, text in enumerate(texts)}, unk_token="<unk>",
                byte_fallback=True, fuse_unk=True)


def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def variant(name, model_text, head, tail, texts):
    tokenizer = Tokenizer.from_str(head + model_text + tail)
    cases = [[text, tokenizer.encode(text, add_special_tokens=False).ids] for text in texts]
    return {"name": name, "head": head, "tail": tail, "cases": cases}


def make_bytes():
    model = train_bytes()
    tokens = [{"id": 0, "content": "<|end|>", "single_word": False, "lstrip": False,
               "rstrip": False, "normalized": False, "special": True}]
    tokens += added(len(model["vocab"]) - 1)
    merges = model.pop("merges")
    vocab = model.pop("vocab")
    shared = compact({"vocab": vocab, "merges": merges})[1:]  # the rest of an opened object
    variants = []
    for name, normalizer, pre_tokenizer, changes in BYTE_VARIANTS:
        head = compact({"version": "1.0", "added_tokens": tokens, "normalizer": normalizer,
                        "pre_tokenizer": pre_tokenizer})[:-1]
        head += ',"model":' + compact(dict(model, **changes))[:-1] + ","
        variants.append(variant(name, shared, head, "}", TEXTS))
    return {"model": shared, "variants": variants}


def make_chars():
    model = train_chars()
    tokens = [{"id": i, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
               "normalized": False, "special": True} for i, text in
              enumerate(["<unk>", "<s>", "</s>"])]
    texts = [text.replace("<|end|>", "</s>") for text in TEXTS]
    legacy = {"type": "Sequence", "normalizers": [
        {"type": "Prepend", "prepend": "▁"},
        {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]}
    metaspace = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "first"}
    variants = []
    for name, normalizer, pre_tokenizer in (
            ("llama2", legacy, None), ("metaspace", None, dict(metaspace, split=False)),
            ("metaspace_split", None, dict(metaspace, split=True, prepend_scheme="always"))):
        head = compact({"version": "1.0", "added_tokens": tokens, "normalizer": normalizer,
                        "pre_tokenizer": pre_tokenizer})[:-1] + ',"model":'
        variants.append(variant(name, compact(model), head, "}", texts))
    return {"model": compact(model), "variants": variants}


def main():
    stale = 0
    for name, content in (("tokenizer_bytes.json", make_bytes()),
                          ("tokenizer_chars.json", make_chars())):
        path = os.path.join(HERE, name)
        text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
        text = text.replace('{"name"', '\n{"name"').replace('"cases":[[', '"cases":[\n[') + "\n"
        if "--check" in sys.argv:
            with open(path, encoding="utf-8") as file:
                stale += file.read() != text
        else:
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
            print(name, len(text), "bytes")
    if stale:
        sys.exit("golden tokenizer files are stale: run tests/reference/tokenizer_make_golden.py")


main()
