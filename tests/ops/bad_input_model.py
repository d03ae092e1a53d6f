#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""bad_input_model.py - a base model that is cut, of another kind or incomplete: exit 78, no READY.

    bad_input_model.py [NAME]...    all checks, or the named ones

The models are made here, byte by byte: a Llama of one layer as a Hugging Face directory and as a
GGUF file. Each is first shown to be accepted, then broken in one place at a time; the one error
line must name the file and what is wrong in it.
"""
import json
import os
import random
import shutil
import struct
import sys
import time

from bad_input_daemon import ILORACTL, ILORAD, Daemon, expect, run_checks

WIDTH, HEADS, FEED, VOCABULARY = 8, 2, 16, 256
CONFIG = {"model_type": "llama", "num_hidden_layers": 1, "hidden_size": WIDTH,
          "num_attention_heads": HEADS, "num_key_value_heads": HEADS, "intermediate_size": FEED,
          "vocab_size": VOCABULARY, "max_position_embeddings": 512, "rms_norm_eps": 1e-5,
          "tie_word_embeddings": True, "hidden_act": "silu", "rope_theta": 10000.0,
          "bos_token_id": 0, "eos_token_id": 0}
LAYER = {"input_layernorm": (WIDTH,), "self_attn.q_proj": (WIDTH, WIDTH),
         "self_attn.k_proj": (WIDTH, WIDTH), "self_attn.v_proj": (WIDTH, WIDTH),
         "self_attn.o_proj": (WIDTH, WIDTH), "post_attention_layernorm": (WIDTH,),
         "mlp.gate_proj": (FEED, WIDTH), "mlp.up_proj": (FEED, WIDTH),
         "mlp.down_proj": (WIDTH, FEED)}
GGUF_NAMES = {"input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q",
              "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
              "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
              "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
GGUF_U32, GGUF_I32, GGUF_F32, GGUF_STRING, GGUF_ARRAY = 4, 5, 6, 8, 9
GGUF_ALIGNMENT = 32
REFUSED_WITHIN_S = 10.0  # 0.1 s where nothing else runs; the start of a process is in it


# ---- making models -------------------------------------------------------------------------------

def byte_alphabet():
    """The 256 characters that stand for bytes in a byte-level BPE (GPT-2's table)."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    other = [b for b in range(256) if b not in plain]
    table = {b: chr(b) for b in plain} | {b: chr(256 + n) for n, b in enumerate(other)}
    return [table[b] for b in range(256)]


def tensors():
    """Name -> (shape, values as f32)."""
    draw = random.Random(7)
    shapes = {"model.embed_tokens.weight": (VOCABULARY, WIDTH), "model.norm.weight": (WIDTH,)}
    shapes |= {f"model.layers.0.{name}.weight": shape for name, shape in LAYER.items()}
    made = {}
    for name, shape in shapes.items():
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        values = [1.0 if "norm" in name else draw.gauss(0, 0.2) for _ in range(count)]
        made[name] = (shape, struct.pack(f"<{count}f", *values))
    return made


def write_header(path, text, data=b"", size=None):
    """A safetensors file of this header; size: what its first 8 bytes say."""
    raw = text.encode()
    with open(path, "wb") as out:
        out.write(struct.pack("<Q", len(raw) if size is None else size) + raw + data)


def safetensors_header(parts, dtype="F32"):
    """Name -> entry, and the data behind them."""
    header, data = {}, b""
    for name, (shape, values) in parts.items():
        header[name] = {"dtype": dtype, "shape": list(shape),
                        "data_offsets": [len(data), len(data) + len(values)]}
        data += values
    return header, data


def write_safetensors(path, parts, dtype="F32"):
    header, data = safetensors_header(parts, dtype)
    write_header(path, json.dumps(header), data)


def write_tokenizer(path):
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True,
             "use_regex": True}
    vocabulary = {c: n for n, c in enumerate(byte_alphabet())}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "vocab": vocabulary, "merges": []}
    with open(path, "w", encoding="utf-8") as out:
        json.dump({"version": "1.0", "added_tokens": [], "normalizer": None,
                   "pre_tokenizer": level, "post_processor": None, "decoder": level,
                   "model": model}, out)


def write_hf(folder):
    os.makedirs(folder)
    with open(os.path.join(folder, "config.json"), "w", encoding="utf-8") as out:
        json.dump(CONFIG, out)
    write_safetensors(os.path.join(folder, "model.safetensors"), tensors())
    write_tokenizer(os.path.join(folder, "tokenizer.json"))


def gguf_text(text):
    raw = text.encode()
    return struct.pack("<Q", len(raw)) + raw


def gguf_entry(key, kind, value):
    return gguf_text(key) + struct.pack("<I", kind) + value


def gguf_array(kind, values):
    return struct.pack("<IQ", kind, len(values)) + b"".join(values)


def gguf_bytes(architecture="llama", tokenizer=True, tensor_type=0, parts=None, offsets=None,
               more=(), tokens=VOCABULARY, twice=(), **sizes):
    """A GGUF file and where its parts begin: metadata, tensor table, data, end.

    parts, offsets (by name), sizes (by key), tokens: in place of what fits. more: entries; twice:
    tensors whose row stands twice in the table."""
    def u32(value):
        return struct.pack("<I", value)
    entries = [gguf_entry("general.architecture", GGUF_STRING, gguf_text(architecture))]
    for key, value in (("block_count", 1), ("embedding_length", WIDTH),
                       ("attention.head_count", HEADS), ("feed_forward_length", FEED),
                       ("context_length", 512)):
        value = sizes.get(key.replace(".", "_"), value)
        entries.append(gguf_entry(f"{architecture}.{key}", GGUF_U32, u32(value)))
    entries += more
    entries.append(gguf_entry(f"{architecture}.attention.layer_norm_rms_epsilon", GGUF_F32,
                              struct.pack("<f", 1e-5)))
    if tokenizer:
        alphabet = (byte_alphabet() + [f"more{n}" for n in range(tokens)])[:tokens]
        entries += [
            gguf_entry("tokenizer.ggml.model", GGUF_STRING, gguf_text("gpt2")),
            gguf_entry("tokenizer.ggml.pre", GGUF_STRING, gguf_text("gpt-2")),
            gguf_entry("tokenizer.ggml.tokens", GGUF_ARRAY,
                       gguf_array(GGUF_STRING, [gguf_text(c) for c in alphabet])),
            gguf_entry("tokenizer.ggml.token_type", GGUF_ARRAY,
                       gguf_array(GGUF_I32, [u32(1)] * tokens)),
            gguf_entry("tokenizer.ggml.merges", GGUF_ARRAY, gguf_array(GGUF_STRING, [])),
            gguf_entry("tokenizer.ggml.bos_token_id", GGUF_U32, u32(0)),
            gguf_entry("tokenizer.ggml.eos_token_id", GGUF_U32, u32(0))]
    table, data = b"", b""
    names = {f"model.layers.0.{a}.weight": f"blk.0.{b}.weight" for a, b in GGUF_NAMES.items()}
    names |= {"model.embed_tokens.weight": "token_embd.weight",
              "model.norm.weight": "output_norm.weight"}
    parts = parts or tensors()
    rows = 0
    for name, (shape, values) in parts.items():
        for _ in range(2 if name in twice else 1):
            table += gguf_text(names[name]) + struct.pack("<I", len(shape))
            table += struct.pack(f"<{len(shape)}Q", *reversed(shape))
            table += struct.pack("<IQ", tensor_type, (offsets or {}).get(name, len(data)))
            data += values + b"\0" * (-len(values) % GGUF_ALIGNMENT)
            rows += 1
    head = b"GGUF" + struct.pack("<IQQ", 3, rows, len(entries))
    metadata = b"".join(entries)
    size = len(head) + len(metadata) + len(table)
    padding = b"\0" * (-size % GGUF_ALIGNMENT)
    marks = (len(head), len(head) + len(metadata), size + len(padding),
             size + len(padding) + len(data))
    return head + metadata + table + padding + data, marks


# ---- checks --------------------------------------------------------------------------------------

def write_bytes(path, data):
    with open(path, "wb") as out:
        out.write(data)


def read_bytes(path):
    with open(path, "rb") as data:
        return data.read()


def refused(d, path, *names):
    """The daemon refuses this base model, naming these; also the tool does."""
    begin = time.monotonic()
    words = d.refused("--set", f"base_model.path={path}", names=names)
    seconds = time.monotonic() - begin
    expect(seconds < REFUSED_WITHIN_S, f"it took {seconds:.1f} s to refuse: {words}")
    return words.replace(d.folder, "...")


def accepted(d, path):
    d.start("--set", f"base_model.path={path}")
    d.stop()
    shutil.rmtree(d.state)


def check_hugging_face():
    """A directory: cut, missing, of another architecture, dtype or shape, without tokenizer."""
    with Daemon() as d:
        good, bad = os.path.join(d.folder, "good"), os.path.join(d.folder, "bad")
        write_hf(good)
        accepted(d, good)
        weights = read_bytes(os.path.join(good, "model.safetensors"))
        header = 8 + struct.unpack("<Q", weights[:8])[0]
        lines = []

        def broken(name, change, *names):
            shutil.rmtree(bad, ignore_errors=True)
            shutil.copytree(good, bad)
            path = os.path.join(bad, name)
            change(path)
            lines.append(refused(d, bad, bad, *names))

        def configured(*names, **fields):
            text = json.dumps({k: v for k, v in (CONFIG | fields).items() if v is not None})
            broken("config.json", lambda path: write_bytes(path, text.encode()), "config.json",
                   *names)

        for size in (0, 4, 8, header // 2, header - 1, header, header + 100, len(weights) - 1):
            broken("model.safetensors", lambda path, size=size: write_bytes(path, weights[:size]),
                   "model.safetensors")
        broken("model.safetensors", os.unlink, "model.safetensors")
        for dtype, values in (("I32", 4), ("F64", 8)):
            parts = {n: (s, v * (values // 4)) for n, (s, v) in tensors().items()}
            broken("model.safetensors",
                   lambda path, p=parts, t=dtype: write_safetensors(path, p, t), dtype, "tensor")
        fewer = {n: t for n, t in tensors().items() if "k_proj" not in n}
        broken("model.safetensors", lambda path: write_safetensors(path, fewer), "k_proj")
        poisoned = tensors()
        poisoned["model.norm.weight"] = ((WIDTH,), struct.pack("<f", float("nan")) * WIDTH)
        broken("model.safetensors", lambda path: write_safetensors(path, poisoned),
               "model.norm.weight", "nan")
        broken("config.json", os.unlink, "config.json")
        broken("config.json", lambda path: write_bytes(path, b'{"model_type": "lla'), "config.json")
        configured("model_type", "gpt2", model_type="gpt2")
        configured("model_type", model_type=None)
        configured("hidden_size", hidden_size=None)
        configured("hidden_act", "gelu", hidden_act="gelu")
        configured("quantization_config", quantization_config={"bits": 4})
        lines.append(refused_shape(d, good, bad))
        broken("tokenizer.json", os.unlink, "tokenizer.json")
        broken("tokenizer.json", lambda path: write_bytes(path, b"{"), "tokenizer.json")
        broken("tokenizer.json", lambda path: write_bytes(path, b'{"model":{"type":"Unigram"}}'),
               "tokenizer.json", "Unigram")
        return "\n    ".join(["", *lines])


def refused_shape(d, good, bad):
    """Description and tensors that contradict each other."""
    shutil.rmtree(bad, ignore_errors=True)
    shutil.copytree(good, bad)
    write_bytes(os.path.join(bad, "config.json"),
                json.dumps(CONFIG | {"intermediate_size": FEED * 2}).encode())
    return refused(d, bad, bad, "mlp.gate_proj.weight", str(FEED * 2))


def check_gguf():
    """A file: cut in each of its parts, of another architecture or type, without tokenizer."""
    with Daemon() as d:
        path = os.path.join(d.folder, "base.gguf")
        whole, (metadata, table, data, end) = gguf_bytes()
        write_bytes(path, whole)
        accepted(d, path)
        lines = []

        def broken(content, *names):
            write_bytes(path, content)
            lines.append(refused(d, path, path, *names))

        for size in (0, 3, 12, metadata - 1):
            broken(whole[:size])
        for size in (metadata, (metadata + table) // 2, table - 1):
            broken(whole[:size], "metadata")
        for size in (table, (table + data) // 2, data, (data + end) // 2, end - GGUF_ALIGNMENT):
            broken(whole[:size], "tensor")
        broken(b"GGML" + whole[4:], "GGUF")
        broken(whole[:4] + struct.pack("<I", 9) + whole[8:], "version 9")
        broken(gguf_bytes(architecture="gpt2")[0], "general.architecture", "gpt2")
        broken(gguf_bytes(tensor_type=26)[0], "tensor", "type")  # I32
        broken(gguf_bytes(tensor_type=999)[0], "tensor", "999")
        broken(gguf_bytes(tokenizer=False)[0], "tokenizer")
        return "\n    ".join(["", *lines])


def check_hostile_header():
    """Safetensors headers made to break a reader: file, tensor and field are named."""
    with Daemon() as d:
        folder = os.path.join(d.folder, "model")
        write_hf(folder)
        path = os.path.join(folder, "model.safetensors")
        good, data = safetensors_header(tensors())
        norm, lines = "model.norm.weight", []

        def headed(text, *names, data=data, size=None):
            write_header(path, text, data, size)
            lines.append(refused(d, folder, path, *names))

        def entry(*names, data=data, **fields):
            headed(json.dumps(good | {norm: good[norm] | fields}), norm, *names, data=data)

        begin, end = good[norm]["data_offsets"]
        entry("data_offsets", data_offsets=[begin, end + 2**40])
        entry("data_offsets", data_offsets=[2**63 - 33, 2**63 - 1])
        entry("data_offsets", data_offsets=[end, begin])
        entry("data_offsets", "overlaps", data_offsets=[begin - 4, end - 4])
        entry("shape", shape=[2**62, 4])
        entry("shape", shape=[-8])
        entry("data_offsets", shape=[0])
        entry("dtype", dtype="F31")
        entry("dtype", dtype=7)
        twice = json.dumps(good)
        headed(twice[:-1] + "," + json.dumps({norm: good[norm]})[1:], norm, "duplicate")
        headed("{" + ",".join(f'"t{n}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'
                              for n in range(1000000)) + "}", "header size", data=b"")
        headed("{" + ",".join(f'"t{n}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}'
                              for n in range(200000)) + "}", "values", data=b"")
        headed('{"a":' + "[" * 1000000, "deeper than 64", data=b"")
        headed(json.dumps(good), "header size", size=2**63)
        headed(json.dumps(good)[:-1], "header", "JSON")
        headed('{"' + "x" * 100000, "header", "JSON", data=b"")
        return "\n    ".join(["", *lines])


def check_hostile_weights():
    """Weights that are not finite, heads the kernels do not take, a vocabulary of another size."""
    with Daemon() as d:
        folder = os.path.join(d.folder, "model")
        write_hf(folder)
        config = os.path.join(folder, "config.json")
        path = os.path.join(folder, "model.safetensors")
        name, lines = "model.layers.0.mlp.up_proj.weight", []
        for value in (float("nan"), float("inf"), float("-inf"), 3.4e38):
            poisoned = tensors()
            shape, values = poisoned[name]
            poisoned[name] = (shape, values[:36] + struct.pack("<f", value) + values[40:])
            write_safetensors(path, poisoned)
            lines.append(refused(d, folder, path, name, "row 1, column 1"))
        write_safetensors(path, tensors())

        def configured(*names, **fields):
            write_bytes(config, json.dumps(CONFIG | fields).encode())
            lines.append(refused(d, folder, *names))

        for field, value in (("head_dim", 3), ("head_dim", 0), ("head_dim", 4096),
                             ("num_key_value_heads", 0), ("num_key_value_heads", 3),
                             ("num_attention_heads", 2**31), ("hidden_size", 0),
                             ("num_hidden_layers", 10**9), ("rms_norm_eps", 0),
                             ("rope_theta", 0), ("max_position_embeddings", 0)):
            configured("config.json", field, **{field: value})
        configured("config.json", "num_key_value_heads", "at most 128",
                   num_attention_heads=256, num_key_value_heads=1, head_dim=2)
        configured("model.safetensors", "model.embed_tokens.weight", "shape", "(255, 8)",
                   vocab_size=VOCABULARY - 1)
        configured("model.safetensors", "model.embed_tokens.weight", "shape", "(257, 8)",
                   vocab_size=VOCABULARY + 1)

        # More ids than rows; fewer is how padded embeddings look, and is fine.
        smaller = tensors()
        shape, values = smaller["model.embed_tokens.weight"]
        smaller["model.embed_tokens.weight"] = ((200, WIDTH), values[:200 * WIDTH * 4])
        write_safetensors(path, smaller)
        configured("tokenizer.json", "ids up to 255", "model.embed_tokens.weight", "200 rows",
                   vocab_size=200)
        shape, values = tensors()["model.embed_tokens.weight"]
        larger = tensors() | {"model.embed_tokens.weight": ((320, WIDTH),
                                                            values + values[:64 * WIDTH * 4])}
        write_safetensors(path, larger)
        write_bytes(config, json.dumps(CONFIG | {"vocab_size": 320}).encode())
        accepted(d, folder)
        return "\n    ".join(["", *lines])


def check_hostile_index():
    """An index that its shards contradict, or that points elsewhere."""
    with Daemon() as d:
        folder = os.path.join(d.folder, "model")
        write_hf(folder)
        os.unlink(os.path.join(folder, "model.safetensors"))
        index = os.path.join(folder, "model.safetensors.index.json")
        names, lines = list(tensors()), []
        shards = {"one.safetensors": names[:5], "two.safetensors": names[5:]}

        def written(shards, files):
            for shard, held in shards.items():
                write_safetensors(os.path.join(folder, shard),
                                  {n: t for n, t in tensors().items() if n in held})
            write_bytes(index, json.dumps({"weight_map": files}).encode())

        where = {n: s for s, held in shards.items() for n in held}
        written(shards, where)
        accepted(d, folder)
        for files, *words in ((where | {names[0]: "two.safetensors"}, names[0], "weight_map"),
                              (where | {"lm_head.weight": "one.safetensors"}, "lm_head.weight"),
                              (where | {names[0]: "three.safetensors"}, "three.safetensors"),
                              (where | {names[0]: "../one.safetensors"}, names[0], "plain file"),
                              ({}, "weight_map"), ([], "weight_map")):
            written(shards, files)
            lines.append(refused(d, folder, folder, *words))
        written(shards | {"two.safetensors": names[4:]}, where)
        lines.append(refused(d, folder, "two.safetensors", names[4], "one.safetensors"))
        written(shards, where)
        os.unlink(os.path.join(folder, "two.safetensors"))
        os.mkfifo(os.path.join(folder, "two.safetensors"))
        lines.append(refused(d, folder, "two.safetensors", "regular file"))
        return "\n    ".join(["", *lines])


def check_hostile_gguf():
    """GGUF numbers, keys and offsets made to break a reader."""
    with Daemon() as d:
        path = os.path.join(d.folder, "base.gguf")
        lines = []

        def broken(content, *names):
            write_bytes(path, content)
            lines.append(refused(d, path, path, *names))

        whole, (metadata, table, data, _) = gguf_bytes()
        norm = "output_norm.weight"

        def numbered(at, number, width, *names):
            broken(whole[:at] + number.to_bytes(width, "little") + whole[at + width:], *names)

        row = whole.index(norm.encode()) + len(norm)
        numbered(8, 10**6, 8, "tensor count 1000000")
        numbered(8, 60000, 8, "tensor count 60000")
        numbered(16, 2**63, 8, "metadata count")
        numbered(metadata, 2**64 - 1, 8, "metadata entry 0", "key")
        numbered(row, 9, 4, norm, "dimensions")
        numbered(row + 4, 2**64 - 1, 8, norm, "sizes")
        numbered(row + 4, 0, 8, norm, "sizes")
        numbered(row + 12, 77, 4, norm, "type")
        numbered(row + 16, 2**64 - 32, 8, norm, "offset")
        numbered(row + 16, 2**40, 8, norm, "offset")
        numbered(row + 16, 0, 8, norm, "offset", "lies inside")
        broken(gguf_bytes(twice=("model.norm.weight",))[0], norm, "twice")
        broken(gguf_bytes(more=[gguf_entry("llama.block_count", GGUF_U32, b"\1\0\0\0")])[0],
               "llama.block_count", "twice")
        broken(gguf_bytes(attention_head_count=0)[0], "attention.head_count")
        broken(gguf_bytes(attention_head_count=3)[0], "self_attn.q_proj.weight", "shape")
        broken(gguf_bytes(attention_head_count=8)[0], "attention.key_length", "odd")
        broken(gguf_bytes(tokens=VOCABULARY + 1)[0], "ids up to 256", "256 rows")
        poisoned = tensors()
        shape, values = poisoned["model.norm.weight"]
        poisoned["model.norm.weight"] = (shape, values[:-4] + struct.pack("<f", float("inf")))
        broken(gguf_bytes(parts=poisoned)[0], "model.norm.weight", "inf", "column 7")
        return "\n    ".join(["", *lines])


def check_hostile_tokenizer():
    """tokenizer.json without end, deep, or asking for tables that its size does not justify."""
    with Daemon() as d:
        folder = os.path.join(d.folder, "model")
        write_hf(folder)
        path = os.path.join(folder, "tokenizer.json")
        head = '{"model":{"type":"BPE","vocab":{"a":0},"merges":['
        lines = []
        for text, *words in ((head + '"a', "JSON"), (head + "[" * 100000, "deeper than 64"),
                             (head + ",".join(["0"] * 1000000) + "]}}", "model.merges", "1000000"),
                             (head + '"a b"]}}', "model.merges", "merge 0"),
                             ('{"model":{"type":"BPE","vocab":{"a":9999999},"merges":[]}}',
                              "model.vocab", "'a'"),
                             ('{"model":{"type":"BPE","vocab":{"a":3999999},"merges":[]}}',
                              "model.vocab", "3999999"),
                             ("[" * 1000 + "]" * 1000, "deeper than 64"),
                             ("[]", "not a JSON object"), ("", "empty")):
            write_bytes(path, text.encode())
            lines.append(refused(d, folder, path, *words))
        return "\n    ".join(["", *lines])


def check_absent():
    """A path without anything, and a name that is not built in."""
    with Daemon() as d:
        nothing = os.path.join(d.folder, "nothing")
        lines = [refused(d, nothing, nothing), refused(d, "builtin:giant", "builtin:giant")]
        expect(not os.path.exists(os.path.join(d.state, "versions", "0")), "a version was made")
        return "\n    ".join(["", *lines])


def main():
    if not (os.path.exists(ILORAD) and os.path.exists(ILORACTL)):
        print("skipped: not built")
        return 77
    known = {n[len("check_"):]: f for n, f in globals().items() if n.startswith("check_")}
    return 1 if run_checks([(n, known[n]) for n in sys.argv[1:] or known]) else 0


if __name__ == "__main__":
    sys.exit(main())
