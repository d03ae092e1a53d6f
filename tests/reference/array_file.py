# SPDX-License-Identifier: Apache-2.0
"""array_file.py - files of named arrays, as lm_golden.h reads and writes them.

A name of 72 bytes, rows, columns and kind (0: f32, 1: i32) as i32, the values; again and again.
"""
import struct

import numpy as np


class Writer:
    def __init__(self, path):
        self.file = open(path, "wb")

    def put(self, name, values):
        """An array or a tensor; integers become i32, all else f32."""
        values = np.asarray(values.detach() if hasattr(values, "detach") else values)
        kind = 1 if values.dtype.kind in "iu" else 0
        values = np.atleast_2d(values.astype(np.int32 if kind else np.float32))
        self.file.write(name.encode().ljust(72, b"\0"))
        self.file.write(struct.pack("<3i", values.shape[0], values.shape[1], kind))
        self.file.write(np.ascontiguousarray(values).tobytes())


def write_arrays(path, arrays):
    out = Writer(path)
    for name, values in arrays.items():
        out.put(name, values)
    out.file.close()


def write_tokens(path, lists):
    """Lists of ids, named by their number."""
    write_arrays(path, {str(i): np.array(ids, np.int32) for i, ids in enumerate(lists)})


def read_arrays(path):
    """By name; mapped, not read: those of a real model are large."""
    arrays, data, at = {}, np.memmap(path, np.uint8, "r"), 0
    while at < len(data):
        name = data[at:at + 72].tobytes().split(b"\0")[0].decode()
        rows, cols, kind = struct.unpack("<3i", data[at + 72:at + 84].tobytes())
        at += 84
        dtype = np.float32 if kind == 0 else np.int32
        arrays[name] = data[at:at + 4 * rows * cols].view(dtype).reshape(rows, cols)
        at += 4 * rows * cols
    return arrays
