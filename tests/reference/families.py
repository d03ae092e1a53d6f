#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Every family of base models against transformers and PyTorch.

    families.py FAMILY_RUN WORK_FOLDER [NAME ..]        compares, prints a table, exit 1 on failure
    families.py --golden FAMILY_WRITE WORK_FOLDER OUT   makes family_<name>.bin for the test that
                                                        runs without Python

For each family transformers makes a random model of two layers and saves it (one or several
safetensors files, F32, F16 or BF16, tied or separate head). The reference is transformers' own
model on the saved files, in double; iLoRA is written here as a wrapper of its linear layers, a sum
over experts; losses, gates, heads and the optimiser are those of lm_make_reference.py; gradients
are autograd's. FAMILY_RUN gives our side in f32. Needs torch and transformers.
"""
import os
import subprocess
import sys

import numpy as np
import torch
import transformers as tf

from array_file import read_arrays, write_arrays
import lm_make_reference as lm

tf.utils.logging.disable_progress_bar()
TOKENS = 40
# Adam divides a gradient by its own size: with 1e-8 an element whose gradient is 1e-7 of the
# tensor's largest makes a whole step in either direction, and PyTorch's f32 is then up to 1e-2 from
# its own f64. With 1e-5 every element counts, those the least. (1e-8: lm_make_reference.py.)
lm.STEP["epsilon"] = 1e-5
LOGITS, COSINE, GRADIENT, CHANGE = 1e-4, 0.99999, 1e-4, 1e-3
SCALED = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=16)
WINDOW_OFF = dict(use_sliding_window=False, sliding_window=16, max_window_layers=1)


def sizes(C, H, G, D, F, V):
    return dict(hidden_size=C, num_attention_heads=H, num_key_value_heads=G, head_dim=D,
                intermediate_size=F, vocab_size=V)


# name: configuration class, options, dtype of the files, bytes of one file at most
FAMILIES = {
    "llama2": (tf.LlamaConfig, dict(sizes(192, 3, 3, 64, 101, 323), rms_norm_eps=1e-5,
                                    tie_word_embeddings=False), "float32", None),
    "llama3": (tf.LlamaConfig, dict(sizes(384, 4, 2, 96, 203, 325), rope_theta=5e5,
                                    rms_norm_eps=1e-5, tie_word_embeddings=False),
               "bfloat16", "400KB"),
    "llama3.1": (tf.LlamaConfig, dict(sizes(256, 2, 1, 128, 77, 322), rope_theta=5e5,
                                      rope_scaling=SCALED, tie_word_embeddings=False),
                 "bfloat16", None),
    "llama3.2": (tf.LlamaConfig, dict(sizes(256, 4, 1, 64, 99, 321), rope_theta=5e5,
                                      rope_scaling=dict(SCALED, factor=32.0),
                                      tie_word_embeddings=True), "float16", "300KB"),
    "tinyllama": (tf.LlamaConfig, dict(sizes(512, 8, 1, 64, 55, 320), rms_norm_eps=1e-5,
                                       tie_word_embeddings=False), "float32", "1MB"),
    "smollm2": (tf.LlamaConfig, dict(sizes(192, 3, 1, 64, 97, 319), rope_theta=1e5,
                                     tie_word_embeddings=True), "bfloat16", None),
    "mistral": (tf.MistralConfig, dict(sizes(77, 2, 1, 128, 101, 321), sliding_window=None,
                                       rope_theta=1e6, tie_word_embeddings=False),
                "float32", "200KB"),
    "qwen2": (tf.Qwen2Config, dict(sizes(128, 2, 1, 64, 91, 320), rope_theta=1e6,
                                   tie_word_embeddings=True, **WINDOW_OFF), "float16", None),
    "qwen2.5": (tf.Qwen2Config, dict(sizes(256, 2, 2, 128, 113, 323), rope_theta=1e6,
                                     tie_word_embeddings=False, **WINDOW_OFF),
                "bfloat16", "300KB"),
    "qwen3": (tf.Qwen3Config, dict(sizes(71, 2, 1, 128, 93, 320), rope_theta=1e6,
                                   tie_word_embeddings=True), "bfloat16", None),
    "qwen3_wide": (tf.Qwen3Config, dict(sizes(99, 4, 2, 96, 64, 317), rope_theta=1e6,
                                        tie_word_embeddings=False), "float32", "200KB"),
}


def save_random(kind, options, dtype, shard, folder):
    torch.manual_seed(0)
    config = kind(num_hidden_layers=2, max_position_embeddings=4096, **options)
    model = tf.AutoModelForCausalLM.from_config(config)
    with torch.no_grad():
        for name, value in model.named_parameters():
            around = 1.0 if "norm" in name else 0.0
            scale = 0.2 if value.dim() == 1 else value.shape[-1] ** -0.5
            value.copy_(around + torch.randn_like(value) * scale)
    model = model.to(getattr(torch, dtype))
    model.save_pretrained(folder, **({"max_shard_size": shard} if shard else {}))


class Reference(lm.Model):
    """lm.Model whose hidden states come from transformers' layers."""

    def __init__(self, folder, K, R):
        self.model = tf.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float64, attn_implementation="sdpa").eval()
        c = self.model.config
        self.L, self.C, self.H, self.G = (c.num_hidden_layers, c.hidden_size,
                                          c.num_attention_heads, c.num_key_value_heads)
        self.D = getattr(c, "head_dim", None) or self.C // self.H
        self.F, self.V, self.K, self.R = c.intermediate_size, c.vocab_size, K, R
        self.head = self.model.lm_head.weight.detach()
        self.p = self.gate_weight = None
        for name, module in self.model.model.named_modules():
            if any(name.endswith(site) for site, _, _ in lm.SITES):
                self.wrap(module, f"base_model.model.model.{name}")
            if type(module).__name__.endswith("RMSNorm"):
                self.widen(module)
        for value in self.model.parameters():
            value.requires_grad_(False)

    @staticmethod
    def widen(norm):
        """transformers computes norms in f32 whatever comes in; ten steps of Adam show that."""
        norm.forward = lambda x: lm.rms_norm(x, norm.weight, norm.variance_epsilon)

    def wrap(self, module, stem):
        plain = module.forward

        def forward(x):
            y = plain(x)
            if self.p is None:
                return y
            A, B = self.p[stem + ".lora_A.weight"], self.p[stem + ".lora_B.weight"]
            r = self.R // self.K
            for k in range(self.K):
                part = slice(k * r, (k + 1) * r)
                y = y + lm.ALPHA / r * self.gate_weight[k] * ((x @ A[part].T) @ B[:, part].T)
            return y
        module.forward = forward

    def hidden(self, p, tokens, item_rows, items, vectors, w):
        x = self.model.model.embed_tokens(torch.as_tensor(tokens))
        if len(item_rows) > 0:
            inner = vectors[items] @ p["projector.0.weight"].T + p["projector.0.bias"][0]
            rows = torch.nn.functional.gelu(inner) @ p["projector.2.weight"].T
            rows = rows + p["projector.2.bias"][0]
            x = x.index_put((torch.as_tensor(item_rows, dtype=torch.long),), rows)
        self.p, self.gate_weight = p, w
        return self.model.model(inputs_embeds=x[None], use_cache=False).last_hidden_state[0]


class Kept:
    """Stands for a Writer: keeps the arrays."""

    def __init__(self):
        self.arrays = {}

    def put(self, name, values):
        values = values.detach() if isinstance(values, torch.Tensor) else values
        self.arrays[name] = np.atleast_2d(np.asarray(values))


def prepare(folder, K, R, seed):
    """The reference model, samples and starting values; what our side reads, in `given`."""
    lm.R = R
    rng = np.random.default_rng(seed)
    model, given = Reference(folder, K, R), Kept()
    vectors = torch.tensor(rng.standard_normal((lm.ITEMS, lm.E)).astype(np.float32)
                           .astype(np.float64))
    samples = lm.make_samples(rng)
    given.put("shape", np.array([R, K], np.float32))
    lm.write_samples(given, samples, vectors)
    given.put("logits.tokens", rng.integers(0, 256, TOKENS))
    p = {}  # lora_B 0.2: with 0.1 PyTorch's own ten steps in f32 are 9e-4 from those in f64
    for name, shape in model.parameter_shapes().items():
        scale = 1.0 / shape[1] ** 0.5 if "lora_A" in name else 0.2 if "lora_B" in name else 0.3
        start = (rng.standard_normal(shape) * scale).astype(np.float32)
        p[name] = torch.tensor(start.astype(np.float64), requires_grad=True)
        given.put("value." + name, start)
    return model, given, samples, vectors, p


def expect(model, given, samples, vectors, p, ten):
    """What our side must come to."""
    wanted = Kept()
    parts = model.losses(p, samples, vectors)
    wanted.put("losses", np.array([float(x.detach()) for x in parts]))
    sum(parts).backward()
    for name, value in p.items():
        wanted.put("grad." + name, value.grad.clone())
    tokens = torch.as_tensor(given.arrays["logits.tokens"][0])
    with torch.no_grad():
        model.p = None
        wanted.put("logits.base", model.model(tokens[None]).logits[0])
        w = [model.gate(p, s["z"]) for s in samples]
        wanted.put("logits", model.hidden(p, tokens, [], [], vectors, w[0]) @ model.head.T)
        for name, score in (("item_logprobs", lambda s, g: torch.log_softmax(
                model.item_scores(p, s, vectors, g), -1)),
                ("title_likelihoods", lambda s, g: model.title_likelihoods(p, s, vectors, g))):
            wanted.put(name, torch.stack([score(s, g) for s, g in zip(samples, w)]))
    if ten:
        lm.ten_steps(model, p, samples, vectors, wanted)
    return wanted.arrays


def furthest(ours, wanted):
    """max|a-b| / max|ref|"""
    return float(np.abs(ours.astype(np.float64) - wanted).max() / np.abs(wanted).max())


def compare_one(program, name, work):
    kind, options, dtype, shard = FAMILIES[name]
    folder = os.path.join(work, name)
    save_random(kind, options, dtype, shard, folder)
    files = len([one for one in os.listdir(folder) if one.endswith(".safetensors")])
    model, given, samples, vectors, p = prepare(folder, K=4, R=8, seed=7)
    write_arrays(folder + ".in", given.arrays)
    wanted = expect(model, given, samples, vectors, p, ten=True)
    run = subprocess.run([program, folder, folder + ".in", folder + ".out"], text=True,
                         capture_output=True)
    if run.returncode != 0:
        print(f"{name}: {run.stdout} {run.stderr}")
        return False
    ours = read_arrays(folder + ".out")
    cosine, logits = 1.0, 0.0
    for key in ("logits.base", "logits"):
        a, b = ours[key].astype(np.float64), wanted[key]
        cosine = min(cosine, float(((a * b).sum(1) / np.sqrt((a * a).sum(1) * (b * b).sum(1)))
                                   .min()))
        logits = max(logits, furthest(ours[key], b))
    loss = float(np.abs(ours["losses"] / wanted["losses"] - 1).max())
    scores = max(furthest(ours[key], wanted[key]) for key in ("item_logprobs",
                                                              "title_likelihoods"))
    gradients = {key: furthest(ours[key], value) for key, value in wanted.items()
                 if key.startswith("grad.")}
    changes = {key: float(np.linalg.norm(ours[key] - value) / np.linalg.norm(value))
               for key, value in wanted.items() if key.startswith("ten.")}
    gradient, change = max(gradients.values()), max(changes.values())
    good = (cosine > COSINE and logits <= LOGITS and loss <= 1e-5 and scores <= LOGITS
            and gradient <= GRADIENT and change <= CHANGE)
    print(f"| {name} | {dtype}, {files} | {options['head_dim']} | {1 - cosine:.1e} | {logits:.1e} "
          f"| {loss:.1e} | {scores:.1e} | {gradient:.1e} of {len(gradients)} | {change:.1e} | "
          f"{'yes' if good else 'NO'} |", flush=True)
    if not good:
        for what in (gradients, changes):
            worst = max(what, key=what.get)
            print(f"    {worst}: {what[worst]:.2e}")
    return good


def compare(program, work, names):
    print("| family | files | head | 1 - cosine | logits | loss | scores | gradients | ten steps | "
          "holds |\n|---|---|---|---|---|---|---|---|---|---|")
    bad = [name for name in names or FAMILIES if not compare_one(program, name, work)]
    return 1 if bad else 0


def make_golden(program, work, out):
    made = subprocess.run([program, work], check=True, text=True, capture_output=True).stdout
    for folder in made.split():
        name = os.path.basename(folder)
        model, given, samples, vectors, p = prepare(folder, K=2, R=2, seed=11)
        wanted = expect(model, given, samples, vectors, p, ten=False)
        for key in ("logits", "logits.base"):
            wanted[key] = wanted[key][-1:]  # the last row: the file stays small
        for key in ("item_logprobs", "title_likelihoods"):
            wanted.pop(key)
        path = os.path.join(out, f"family_{name}.bin")
        write_arrays(path, {**given.arrays, **wanted})
        print(path, os.path.getsize(path), "bytes")
    return 0


if __name__ == "__main__":
    if sys.argv[1] == "--golden":
        sys.exit(make_golden(*sys.argv[2:5]))
    sys.exit(compare(sys.argv[1], sys.argv[2], sys.argv[3:]))
