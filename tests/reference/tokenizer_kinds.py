#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Writes a tokenizer.json of each kind that the supported families use.

usage: tokenizer_kinds.py FOLDER [--smollm2 FILE.gguf] [--vocab FOLDER]

Pattern, normaliser, added tokens and flags are those the families publish. The vocabularies are
the published ones where a file is at hand: SmolLM2's GGUF file; in --vocab the ggml-vocab-*.gguf
of llama.cpp's sources (in the source package llama-cpp-python) and the SentencePiece models of the
package mistral-common. A kind without its file gets a vocabulary trained here on mixed texts.
Needs: tokenizers, transformers, gguf; sentencepiece for Mistral's.
"""
import argparse
import json
import os

from tokenizer_texts import make_texts

GPT2 = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
BARE = dict(GPT2, use_regex=False)
LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+"
          r"[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
LEGACY = {"type": "Sequence", "normalizers": [
    {"type": "Prepend", "prepend": "\u2581"},
    {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}]}
METASPACE = {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": "first",
             "split": False}
SPECIAL_BYTES = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|begin_of_text|>",
                 "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"]
THINKING = ["<tool_response>", "</tool_response>", "<think>", "</think>"]


def sequence(*steps):
    return {"type": "Sequence", "pretokenizers": list(steps)}


def split(pattern):
    return {"type": "Split", "pattern": {"Regex": pattern}, "behavior": "Isolated",
            "invert": False}


def token(index, content, special=True, **flags):
    return {"id": index, "content": content, "single_word": False, "lstrip": False,
            "rstrip": False, "normalized": False, "special": special, **flags}


def document(vocab, merges, added, normalizer, pre_tokenizer, **flags):
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
             "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
             "ignore_merges": False, "vocab": vocab, "merges": merges, **flags}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added,
            "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "post_processor": None,
            "decoder": None, "model": model}


# ---- vocabularies: {text: id}, merges, added tokens ----------------------------------------------

def gguf_fields(path):
    from gguf import GGUFReader
    fields = GGUFReader(path).fields
    return {key: fields["tokenizer.ggml." + key].contents()
            for key in ("tokens", "token_type", "merges", "scores")
            if "tokenizer.ggml." + key in fields}


def byte_vocabulary(path):
    fields = gguf_fields(path)
    tokens, types = fields["tokens"], fields["token_type"]
    added = [token(i, tokens[i], special=kind == 3) for i, kind in enumerate(types)
             if kind in (3, 4)]
    last = max(i for i, kind in enumerate(types) if kind == 1)  # those behind it are added
    plain = {text: i for i, text in enumerate(tokens[:last + 1])}
    return plain, fields["merges"], added


def scored_vocabulary(tokens, scores, control):
    from transformers.convert_slow_tokenizer import generate_merges
    vocab = {text: i for i, text in enumerate(tokens)}
    merges = generate_merges(vocab, dict(zip(tokens, scores)))
    return vocab, [list(pair) for pair in merges], [token(i, tokens[i]) for i in control]


def gguf_scored(path):
    fields = gguf_fields(path)
    control = [i for i, kind in enumerate(fields["token_type"]) if kind in (2, 3)]
    return scored_vocabulary(fields["tokens"], fields["scores"], control)


def sentencepiece_scored(path):
    import sentencepiece
    model = sentencepiece.SentencePieceProcessor(model_file=path)
    ids = range(model.get_piece_size())
    control = [i for i in ids if model.is_control(i) or model.is_unknown(i)]
    return scored_vocabulary([model.id_to_piece(i) for i in ids],
                             [model.get_score(i) for i in ids], control)


def trained(special, alphabet, pre_tokenizer, **options):
    from tokenizers import Tokenizer, models, trainers
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizer
    texts = make_texts(0, 20000, special=False)
    if pre_tokenizer is None:
        texts = ["\u2581" + text.replace(" ", "\u2581") for text in texts]
    trainer = trainers.BpeTrainer(vocab_size=12000, show_progress=False, special_tokens=special,
                                  initial_alphabet=alphabet, max_token_length=16, **options)
    made.train_from_iterator(texts, trainer)
    model = json.loads(made.to_str())["model"]
    return model["vocab"], model["merges"], [token(i, t) for i, t in enumerate(special)]


def trained_bytes():
    from tokenizers import pre_tokenizers
    vocab, merges, added = trained(SPECIAL_BYTES, pre_tokenizers.ByteLevel.alphabet(),
                                   pre_tokenizers.ByteLevel(add_prefix_space=False))
    plain = {text: i for text, i in vocab.items() if i >= len(added)}
    return plain, merges, added


def trained_chars():
    special = ["<unk>", "<s>", "</s>"]
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    vocab, merges, added = trained(special + bytes_, [], None, limit_alphabet=3000)
    return vocab, merges, added[:3]


# ---- kinds ---------------------------------------------------------------------------------------

def kinds(smollm2, folder):
    """Yields name, document, origin of the vocabulary, GGUF file of the same tokenizer or None."""
    def file(name):
        path = os.path.join(folder or "", name)
        return path if folder and os.path.exists(path) else None

    def choose(path, read, train):
        return (read(path), "published") if path else (train(), "trained")

    (vocab, merges, added), origin = choose(smollm2, byte_vocabulary, trained_bytes)
    digits = {"type": "Digits", "individual_digits": True}
    yield "smollm2", document(vocab, merges, added, None, sequence(digits, GPT2)), origin, smollm2

    path = file("ggml-vocab-gpt-2.gguf")
    (vocab, merges, added), origin = choose(path, byte_vocabulary, trained_bytes)
    yield "gpt2", document(vocab, merges, added, None, GPT2), origin, path

    path = file("ggml-vocab-llama-bpe.gguf")
    (vocab, merges, added), origin = choose(path, byte_vocabulary, trained_bytes)
    yield "llama3", document(vocab, merges, added, None, sequence(split(LLAMA3), BARE),
                             ignore_merges=True), origin, path

    path = file("ggml-vocab-qwen2.gguf")
    (vocab, merges, added), origin = choose(path, byte_vocabulary, trained_bytes)
    qwen = dict(normalizer={"type": "NFC"}, pre_tokenizer=sequence(split(QWEN2), BARE))
    yield "qwen2", document(vocab, merges, added, **qwen), origin, path
    first = max(max(vocab.values()), added[-1]["id"]) + 1
    more = [token(first + i, text, special=False) for i, text in enumerate(THINKING)]
    yield "qwen3", document(vocab, merges, added + more, **qwen), origin, None

    path = file("ggml-vocab-llama-spm.gguf")
    (vocab, merges, added), origin = choose(path, gguf_scored, trained_chars)
    flags = dict(unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    yield "llama2", document(vocab, merges, added, LEGACY, None, **flags), origin, path
    old = [dict(one, normalized=True) for one in added]
    yield "llama2_old", document(vocab, merges, old, LEGACY, None, **flags), origin, None
    yield "tinyllama", document(vocab, merges, added, LEGACY, None, **flags), origin, None

    path = file("tokenizer.model.v1")
    (vocab, merges, added), origin = choose(path, sentencepiece_scored, trained_chars)
    yield "mistral", document(vocab, merges, added, LEGACY, None, **flags), origin, None
    path = file("mistral_instruct_tokenizer_240323.model.v3")
    (vocab, merges, added), origin = choose(path, sentencepiece_scored, trained_chars)
    yield "mistral_v3", document(vocab, merges, added, None, METASPACE, **flags), origin, None


def write_kinds(folder, smollm2, vocab):
    """The documents as files; a list of name, path, origin, GGUF file or None."""
    made = []
    for name, content, origin, gguf in kinds(smollm2, vocab):
        path = os.path.join(folder, name + "_tokenizer.json")
        with open(path, "w", encoding="utf-8") as out:
            json.dump(content, out, ensure_ascii=False)
        made.append((name, path, origin, gguf))
    return made


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder")
    parser.add_argument("--smollm2")
    parser.add_argument("--vocab")
    asked = parser.parse_args()
    for row in write_kinds(asked.folder, asked.smollm2, asked.vocab):
        print(*row)
