#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes gguf_blocks.bin: random blocks of every GGUF type that we read, and their values as the
`gguf` package decodes them. Records, little-endian: u32 type, u32 bytes, u32 values, bytes,
f32 each.
With --check nothing is written: exit 1 when the file is stale. Needs: gguf, numpy."""
import os
import struct
import sys

import numpy as np
from gguf import GGMLQuantizationType as Type
from gguf.constants import GGML_QUANT_SIZES
from gguf.quants import dequantize

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "gguf_blocks.bin")
# where the f16 scales of a block lie, in bytes
SCALES = {Type.Q4_0: [0], Type.Q4_1: [0, 2], Type.Q5_0: [0], Type.Q5_1: [0, 2], Type.Q8_0: [0],
          Type.Q4_K: [0, 2], Type.Q5_K: [0, 2], Type.Q6_K: [208]}


def record(kind, rng):
    if kind in (Type.F32, Type.F16, Type.BF16):
        values = rng.standard_normal(64).astype(np.float32)
        values[:4] = [0.0, -0.0, 6e-6, -6.1e-5]  # two subnormals of f16
        if kind == Type.F16:
            data = values.astype(np.float16).view(np.uint8)
            values = data.view(np.float16).astype(np.float32)
        elif kind == Type.BF16:
            halves = (values.view(np.uint32) >> 16).astype(np.uint16)
            data = halves.view(np.uint8)
            values = (halves.astype(np.uint32) << 16).view(np.float32)
        else:
            data = values.view(np.uint8)
    else:
        size, block_bytes = GGML_QUANT_SIZES[kind]
        blocks = 3 if size == 32 else 1
        data = rng.integers(0, 256, (blocks, block_bytes), dtype=np.uint8)
        for at in SCALES[kind]:
            scale = (rng.standard_normal(blocks) * 0.1).astype(np.float16)
            data[:, at:at + 2] = scale.view(np.uint8).reshape(blocks, 2)
        values = dequantize(data.reshape(1, -1), kind).astype(np.float32)
    raw = data.tobytes()
    out = np.ascontiguousarray(values, dtype="<f4").tobytes()
    return struct.pack("<III", int(kind), len(raw), len(out) // 4) + raw + out


def main():
    rng = np.random.default_rng(5)
    kinds = [Type.F32, Type.F16, Type.BF16] + list(SCALES)
    content = b"".join(record(kind, rng) for kind in kinds)
    if "--check" in sys.argv:
        with open(PATH, "rb") as file:
            if file.read() != content:
                sys.exit("gguf_blocks.bin is stale: run tests/reference/gguf_make_golden.py")
        return
    with open(PATH, "wb") as file:
        file.write(content)
    print("gguf_blocks.bin", len(content), "bytes")


main()
