# SPDX-License-Identifier: Apache-2.0
"""lm_make_reference.py - the mathematics of the language model once more, in PyTorch, in double.

Written the naive way on purpose: one sequence at a time, one candidate at a time, a sum over
experts instead of the gate in the rank axis, the output head at every row, gradients by autograd.
The C code does all of that differently and must come to the same numbers.

    lm_dump builtin:tiny:3 /tmp/tiny.bin
    python lm_make_reference.py /tmp/tiny.bin OUTPUT_FOLDER      writes lm_tiny_k1.bin, _k2, _k4

Needs torch and numpy.
"""
import sys

import numpy as np
import torch

from array_file import Writer, read_arrays

torch.set_default_dtype(torch.float64)
torch.set_num_threads(1)

R, ALPHA, FLOOR, E, PROJECTOR, ITEMS = 4, 8.0, 0.05, 8, 12, 20
LENGTHS = [7, 12, 1, 9, 4, 3]
TITLES = 3
SITES = [("self_attn.q_proj", "C", "q"), ("self_attn.k_proj", "C", "k"),
         ("self_attn.v_proj", "C", "k"), ("self_attn.o_proj", "q", "C"),
         ("mlp.gate_proj", "C", "F"), ("mlp.up_proj", "C", "F"), ("mlp.down_proj", "F", "C")]
STEP = dict(learning_rate=1e-3, multiplier=[1.0, 0.5, 2.0, 3.0], weight_decay=0.01, beta1=0.9,
            beta2=0.999, epsilon=1e-8, clip_norm=1.0, ema_decay=0.9, proximal=2.0)


def rms_norm(x, gain, eps):
    return x / torch.sqrt((x * x).mean(-1, keepdim=True) + eps) * gain


def layer_norm(x):
    mean = x.mean(-1, keepdim=True)
    var = ((x - mean) ** 2).mean(-1, keepdim=True)
    return (x - mean) / torch.sqrt(var + 1e-5)


class Model:
    def __init__(self, base, K):
        d = base["description"][0]
        self.L, self.C, self.H, self.G, self.D, self.F, self.V = [int(v) for v in d[:7]]
        self.eps, self.theta = float(d[7]), float(d[8])
        self.w = {k: torch.tensor(v.astype(np.float64)) for k, v in base.items()}
        self.K = K
        self.head = self.w.get("lm_head.weight", self.w["model.embed_tokens.weight"])

    def sizes(self):
        return {"C": self.C, "F": self.F, "q": self.H * self.D, "k": self.G * self.D}

    def parameter_shapes(self):
        s, shapes = self.sizes(), {}
        for i in range(self.L):
            for name, into, out in SITES:
                stem = f"base_model.model.model.layers.{i}.{name}"
                shapes[stem + ".lora_A.weight"] = (R, s[into])
                shapes[stem + ".lora_B.weight"] = (s[out], R)
        shapes["gate.weight"], shapes["gate.bias"] = (self.K, E), (1, self.K)
        shapes["projector.0.weight"], shapes["projector.0.bias"] = (PROJECTOR, E), (1, PROJECTOR)
        shapes["projector.2.weight"], shapes["projector.2.bias"] = (self.C, PROJECTOR), (1, self.C)
        shapes["item_head.hidden.weight"] = (E, self.C)
        shapes["item_head.history.weight"] = (E, E)
        shapes["item_head.bias"] = (1, ITEMS)
        return shapes

    def gate(self, p, z):
        logits = layer_norm(z) @ p["gate.weight"].T + p["gate.bias"][0]
        return FLOOR / self.K + (1.0 - FLOOR) * torch.softmax(logits, -1)

    def linear(self, p, layer, name, x, w):
        """W x + alpha/(R/K) sum over experts of w_k B_k A_k x."""
        stem = f"base_model.model.model.layers.{layer}.{name}"
        A, B = p[stem + ".lora_A.weight"], p[stem + ".lora_B.weight"]
        y = x @ self.w[f"model.layers.{layer}.{name}.weight"].T
        r = R // self.K
        for k in range(self.K):
            y = y + ALPHA / r * w[k] * (x @ A[k * r:(k + 1) * r].T) @ B[:, k * r:(k + 1) * r].T
        return y

    def rotate(self, x):
        T, half = x.shape[1], self.D // 2
        frequency = self.theta ** (-2.0 * torch.arange(half) / self.D)
        angle = torch.arange(T)[:, None] * frequency[None, :]
        cos, sin = torch.cos(angle), torch.sin(angle)
        a, b = x[..., :half], x[..., half:]
        return torch.cat([a * cos - b * sin, b * cos + a * sin], -1)

    def hidden(self, p, tokens, item_rows, items, vectors, w):
        """Final hidden states (T,C) of one sequence, after the final norm."""
        x = self.w["model.embed_tokens.weight"][tokens]
        if len(item_rows) > 0:
            inner = vectors[items] @ p["projector.0.weight"].T + p["projector.0.bias"][0]
            inner = torch.nn.functional.gelu(inner)
            rows = inner @ p["projector.2.weight"].T + p["projector.2.bias"][0]
            x = x.index_put((torch.as_tensor(item_rows, dtype=torch.long),), rows)
        T = len(tokens)
        mask = torch.full((T, T), float("-inf")).triu(1)
        for i in range(self.L):
            pre = f"model.layers.{i}."
            n = rms_norm(x, self.w[pre + "input_layernorm.weight"][0], self.eps)
            q = self.linear(p, i, "self_attn.q_proj", n, w).view(T, self.H, self.D).transpose(0, 1)
            k = self.linear(p, i, "self_attn.k_proj", n, w).view(T, self.G, self.D).transpose(0, 1)
            v = self.linear(p, i, "self_attn.v_proj", n, w).view(T, self.G, self.D).transpose(0, 1)
            k = self.rotate(k).repeat_interleave(self.H // self.G, 0)
            v = v.repeat_interleave(self.H // self.G, 0)
            scores = self.rotate(q) @ k.transpose(1, 2) / self.D ** 0.5 + mask
            a = (torch.softmax(scores, -1) @ v).transpose(0, 1).reshape(T, self.H * self.D)
            x = x + self.linear(p, i, "self_attn.o_proj", a, w)
            n = rms_norm(x, self.w[pre + "post_attention_layernorm.weight"][0], self.eps)
            inner = torch.nn.functional.silu(self.linear(p, i, "mlp.gate_proj", n, w))
            inner = inner * self.linear(p, i, "mlp.up_proj", n, w)
            x = x + self.linear(p, i, "mlp.down_proj", inner, w)
        return rms_norm(x, self.w["model.norm.weight"][0], self.eps)

    def item_scores(self, p, s, vectors, w):
        h = self.hidden(p, s["tokens"], s["item_rows"], s["items"], vectors, w)[-1]
        z = layer_norm(h) @ p["item_head.hidden.weight"].T
        z = z + vectors[s["history"]].mean(0) @ p["item_head.history.weight"].T
        return vectors @ z + p["item_head.bias"][0]

    def title_likelihoods(self, p, s, vectors, w):
        result = []
        for title in s["titles"]:
            tokens = torch.cat([s["tokens"], title])
            h = self.hidden(p, tokens, s["item_rows"], s["items"], vectors, w)
            logp = torch.log_softmax(h @ self.head.T, -1)
            at = torch.arange(len(s["tokens"]) - 1, len(tokens) - 1)
            result.append(logp[at, title].sum())
        return torch.stack(result)

    def losses(self, p, samples, vectors):
        total = sum(s["weight"] for s in samples)
        item, title, rank = 0.0, 0.0, 0.0
        for s in samples:
            w, share = self.gate(p, s["z"]), s["weight"] / total
            item = item - share * torch.log_softmax(self.item_scores(p, s, vectors, w), -1)[
                s["target"]]
            ll = self.title_likelihoods(p, s, vectors, w)
            title = title - share * ll[0] / len(s["titles"][0])
            rank = rank - share * torch.log_softmax(ll - s["corrections"], -1)[0]
        return item, title, rank


def make_samples(rng):
    samples = []
    for i, length in enumerate(LENGTHS):
        rows = list(range(2, length, 4))
        samples.append(dict(
            tokens=torch.tensor(rng.integers(0, 256, length)),
            item_rows=rows, items=torch.tensor(rng.integers(0, ITEMS, len(rows))),
            history=torch.tensor(rng.integers(0, ITEMS, 1 + i % 3)),
            z=torch.tensor(rng.standard_normal(E).astype(np.float32).astype(np.float64)),
            target=int(rng.integers(0, ITEMS)), weight=1.0 + 0.5 * (i % 2),
            titles=[torch.tensor(rng.integers(0, 256, 1 + (i + 2 * c) % 4)) for c in range(TITLES)],
            corrections=torch.tensor([0.0, 0.25, 0.5])))
    return samples


def write_samples(out, samples, vectors):
    out.put("vectors", vectors)
    for i, s in enumerate(samples):
        out.put(f"{i}.tokens", s["tokens"])
        out.put(f"{i}.item_rows", np.array(s["item_rows"], np.int32).reshape(1, -1))
        out.put(f"{i}.items", s["items"].numpy().astype(np.int32).reshape(1, -1))
        out.put(f"{i}.history", s["history"])
        out.put(f"{i}.z", s["z"])
        out.put(f"{i}.target", np.array([s["target"]]))
        out.put(f"{i}.weight", np.array([s["weight"]]))
        out.put(f"{i}.corrections", s["corrections"])
        for c, title in enumerate(s["titles"]):
            out.put(f"{i}.title.{c}", title)


def group(name):
    return 0 if "lora_" in name else 1 if name.startswith("projector") else \
        2 if name.startswith("gate") else 3


def ten_steps(model, p, samples, vectors, out):
    reference = {k: v.detach().clone() for k, v in p.items()}
    ema = {k: v.detach().clone() for k, v in p.items()}
    m = {k: torch.zeros_like(v) for k, v in p.items()}
    v2 = {k: torch.zeros_like(v) for k, v in p.items()}
    losses = []
    for step in range(1, 11):
        for v in p.values():
            v.grad = None
        parts = model.losses(p, samples, vectors)
        loss = sum(parts)
        for k, v in p.items():
            if group(k) == 0:
                q = torch.log_softmax(reference[k].flatten(), 0)
                loss = loss + STEP["proximal"] * (
                    q.exp() * (q - torch.log_softmax(v.flatten(), 0))).sum()
        loss.backward()
        norm = torch.sqrt(sum((v.grad ** 2).sum() for v in p.values()))
        scale = min(1.0, STEP["clip_norm"] / float(norm))
        losses.append([float(x.detach()) for x in parts] + [float(norm)])
        with torch.no_grad():
            for k, v in p.items():
                lr = STEP["learning_rate"] * STEP["multiplier"][group(k)]
                g = v.grad * scale
                m[k] = STEP["beta1"] * m[k] + (1 - STEP["beta1"]) * g
                v2[k] = STEP["beta2"] * v2[k] + (1 - STEP["beta2"]) * g * g
                mh = m[k] / (1 - STEP["beta1"] ** step)
                vh = v2[k] / (1 - STEP["beta2"] ** step)
                decay = STEP["weight_decay"] if v.shape[0] > 1 else 0.0
                v -= lr * (mh / (torch.sqrt(vh) + STEP["epsilon"]) + decay * v)
                ema[k] = STEP["ema_decay"] * ema[k] + (1 - STEP["ema_decay"]) * v
    out.put("losses.ten", np.array(losses))
    for k, v in p.items():
        out.put("ten." + k, v - reference[k])
        if group(k) != 0:  # the file stays small
            out.put("ema." + k, ema[k] - reference[k])


def main(weights, folder):
    base = read_arrays(weights)
    for K in (1, 2, 4):
        rng = np.random.default_rng(100 + K)
        model, out = Model(base, K), Writer(f"{folder}/lm_tiny_k{K}.bin")
        drawn = rng.standard_normal((ITEMS, E)).astype(np.float32)
        vectors = torch.tensor(drawn.astype(np.float64))
        samples = make_samples(rng)
        write_samples(out, samples, vectors)
        p = {}
        for name, shape in model.parameter_shapes().items():
            start = (rng.standard_normal(shape) * 0.3).astype(np.float32)
            p[name] = torch.tensor(start.astype(np.float64), requires_grad=True)
            out.put("value." + name, start)

        parts = model.losses(p, samples, vectors)
        out.put("losses", np.array([float(x.detach()) for x in parts]))
        sum(parts).backward()
        for name, value in p.items():
            out.put("grad." + name, value.grad)
        for i, s in enumerate(samples):
            w = model.gate(p, s["z"])
            out.put(f"{i}.item_logprobs",
                    torch.log_softmax(model.item_scores(p, s, vectors, w), -1))
            out.put(f"{i}.title_likelihoods", model.title_likelihoods(p, s, vectors, w))
        s = samples[3]
        h = model.hidden(p, s["tokens"], [], [], vectors, model.gate(p, s["z"]))
        out.put("logits", h @ model.head.T)
        ten_steps(model, p, samples, vectors, out)
        out.file.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
