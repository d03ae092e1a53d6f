# SPDX-License-Identifier: Apache-2.0
"""decode_make_golden.py - greedy continuations of the built-in small models by transformers, for
the test that runs without Python (test_decode_golden.c).

    lm_dump builtin:tiny:3 /tmp/tiny.bin; lm_dump builtin:small:5 /tmp/small.bin
    python decode_make_golden.py /tmp/tiny.bin /tmp/small.bin OUTPUT.bin
    python decode_make_golden.py /tmp/tiny.bin /tmp/small.bin OUTPUT.bin --check   is it still that?

In double. Prompts where the two largest logits come near each other are drawn again, so that the
golden ids hold for any order of the sums. Needs torch and transformers.
"""
import os
import sys

import numpy as np
import torch
import transformers as tf

from array_file import Writer, read_arrays
from decode_reference import greedy

torch.set_default_dtype(torch.float64)
PROMPTS, TOKENS, END = 24, 20, 256
DISTANCE_MIN = 1e-3  # of the largest logit


def load(arrays):
    L, C, H, G, D, F, V, eps, theta = arrays["description"][0].tolist()
    config = tf.LlamaConfig(vocab_size=int(V), hidden_size=int(C), intermediate_size=int(F),
                            num_hidden_layers=int(L), num_attention_heads=int(H),
                            num_key_value_heads=int(G), head_dim=int(D), rms_norm_eps=eps,
                            rope_theta=theta, max_position_embeddings=4096,
                            tie_word_embeddings="lm_head.weight" not in arrays)
    model = tf.AutoModelForCausalLM.from_config(config).double().eval()
    state = {}
    for name, value in model.state_dict().items():
        source = "model.embed_tokens.weight" if name not in arrays else name
        state[name] = torch.tensor(arrays[source].astype(np.float64)).reshape(value.shape)
    model.load_state_dict(state)
    return model


def draw(model):
    """Prompts, and what the model writes after each when nothing stops it."""
    rng = np.random.default_rng(4)
    drawn = []
    while len(drawn) < PROMPTS:
        ids = rng.integers(0, 320, 1 + len(drawn) * 2 % 31).tolist()
        written, _, gaps = next(greedy(model, [ids], TOKENS, []))
        if min(gaps) >= DISTANCE_MIN:
            drawn.append((ids, written))
    return drawn


def write_model(out, name, model):
    drawn = draw(model)
    seen = [sum(v in written for _, written in drawn) for v in range(320)]
    half = min(range(320), key=lambda v: (abs(seen[v] - PROMPTS // 2), v))  # stops about half
    stops = [half, END]
    out.put(f"{name}.stops", np.array(stops))
    for i, (ids, _) in enumerate(drawn):
        written, stopped, _ = next(greedy(model, [ids], TOKENS, stops))
        out.put(f"{name}.{i}.prompt", np.array(ids))
        out.put(f"{name}.{i}.written", np.array(written + stops[:1] * stopped))


def main(tiny, small, path, *check):
    target = path + ".new" if check else path
    out = Writer(target)
    out.put("tokens_max", np.array([TOKENS]))
    write_model(out, "tiny", load(read_arrays(tiny)))
    write_model(out, "small", load(read_arrays(small)))
    out.file.close()
    if not check:
        return 0
    same = open(path, "rb").read() == open(target, "rb").read()
    os.remove(target)
    print(f"{path}: {'as transformers says' if same else 'stale'}")
    return 0 if same else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
