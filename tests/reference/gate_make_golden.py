# SPDX-License-Identifier: Apache-2.0
"""gate_make_golden.py - exact mode's gates and optimiser once more, in PyTorch, in double.

Two files: gate_resnet.bin, the ResNet gate alone (E = 64, K = 4): three batches in training, their
gradients, the running statistics, then scoring; gate_steps.bin, ten steps of torch.optim.Adam over
the tiny language model of lm_tiny_k4.bin with each gate, learning rates x1 / x1 / x0.3 and L2.

Ten steps are comparable only where ten steps are well conditioned: with E = 8, six sequences and
gains of one, BatchNorm sees a dozen numbers, and PyTorch's own ten steps in f32 are 40 % from those
in f64. With E = 64 and quiet second gains they are 1e-4 apart. So the steps have E = 64.

Values of the gates, the item vectors and z are not in the files: both sides compute them from
`spread`. Of a tensor beyond SAMPLED elements every n-th is kept, with the largest of all: the files
stay small.

    lm_dump builtin:tiny:3 /tmp/tiny.bin
    python gate_make_golden.py /tmp/tiny.bin lm_tiny_k4.bin OUTPUT_FOLDER

Needs torch and numpy.
"""
import sys

import numpy as np
import torch
import torch.nn.functional as F

from array_file import Writer, read_arrays
import lm_make_reference as lm

torch.set_default_dtype(torch.float64)
SAMPLED, K, BATCHES, BATCH, E = 200, 4, 3, 5, 64
Z, VECTORS, PROJECTOR = 200, 300, 301  # tensor numbers of spread
GATE = 2  # group of the gate in lm.group


def spread(tensor, count):
    """count numbers in [0,1), multiples of 2^-24: a hash of (tensor, element)."""
    x = (np.arange(count, dtype=np.uint64) * 0x85EBCA77 + tensor * 0x9E3779B1 + 12345) & 0xFFFFFFFF
    for shift, factor in ((15, 0x2C1B3C6D), (12, 0x297A2D39)):
        x = ((x ^ (x >> shift)) * factor) & 0xFFFFFFFF
    return ((x ^ (x >> 15)) >> 8).astype(np.float64) / 2 ** 24


def convolutions():
    """(convolution, norm, in, out, stride) of each, in order."""
    rows, planes = [("conv1", "bn1", 1, 16, 1)], 16
    for stage, width in enumerate((16, 32, 64)):
        for block in range(3):
            stem = f"layer{stage + 1}.{block}."
            stride = 2 if stage > 0 and block == 0 else 1
            rows.append((stem + "conv1", stem + "bn1", planes, width, stride))
            rows.append((stem + "conv2", stem + "bn2", width, width, 1))
            planes = width
    return rows


def gate_shapes():
    """Trained tensors in the order of model/gate_resnet.h, then the running statistics."""
    shapes = {}
    for conv, norm, into, out, _ in convolutions():
        shapes[f"gate.{conv}.weight"] = (out, into, 3)
        shapes[f"gate.{norm}.weight"] = (out,)
        shapes[f"gate.{norm}.bias"] = (out,)
    shapes["gate.fc.weight"], shapes["gate.fc.bias"] = (K, 64), (K,)
    for _, norm, _, out, _ in convolutions():
        shapes[f"gate.{norm}.running_mean"] = (out,)
        shapes[f"gate.{norm}.running_var"] = (out,)
    return shapes


def start(index, name, shape):
    u = spread(index, int(np.prod(shape)))
    if ".bn2.weight" in name:
        value = (0.5 + u) * 0.25
    elif name.endswith("running_var") or ("bn" in name and name.endswith(".weight")):
        value = 0.5 + u
    elif len(shape) == 3:
        value = (u - 0.5) * (1.0 if shape[1] == 1 else 0.5 if shape[1] < 32 else 0.25)
    else:
        value = (u - 0.5) * 0.5
    return torch.tensor(value.astype(np.float32).astype(np.float64)).reshape(shape)


def resnet(p, z, training):
    """z (B,E) to w (B,K); in training the running statistics of p move."""
    def norm(name, x):
        return F.batch_norm(x, p[f"gate.{name}.running_mean"], p[f"gate.{name}.running_var"],
                            p[f"gate.{name}.weight"], p[f"gate.{name}.bias"], training, 0.1, 1e-5)

    rows = convolutions()
    x = F.conv1d(z[:, None, :], p["gate.conv1.weight"], padding=1)
    x = torch.relu(norm("bn1", x))
    for i in range(1, len(rows), 2):
        (conv1, norm1, into, out, stride), (conv2, norm2, _, _, _) = rows[i], rows[i + 1]
        y = F.conv1d(x, p[f"gate.{conv1}.weight"], stride=stride, padding=1)
        y = F.conv1d(torch.relu(norm(norm1, y)), p[f"gate.{conv2}.weight"], padding=1)
        if stride == 2:
            x = F.pad(x[:, :, ::2], (0, 0, (out - into) // 2, (out - into + 1) // 2))
        x = torch.relu(norm(norm2, y) + x)
    return torch.softmax(x.mean(-1) @ p["gate.fc.weight"].T + p["gate.fc.bias"], -1)


def put_sampled(out, name, values):
    flat = values.detach().reshape(-1)
    step = -(-flat.numel() // SAMPLED)
    out.put(name, flat[::step])
    out.put("max." + name, flat.abs().max())


def resnet_alone(folder):
    out = Writer(f"{folder}/gate_resnet.bin")
    p = {name: start(i, name, shape) for i, (name, shape) in enumerate(gate_shapes().items())}
    rng = np.random.default_rng(77)
    z = rng.standard_normal((BATCHES, BATCH, E)).astype(np.float32)
    dw = rng.standard_normal((BATCH, K)).astype(np.float32)
    out.put("z", z.reshape(BATCHES * BATCH, E))
    out.put("dw", dw)
    z, dw = torch.tensor(z.astype(np.float64)), torch.tensor(dw.astype(np.float64))
    trained = [name for name in p if "running" not in name]
    for name in trained:
        p[name].requires_grad_(True)
    out.put("scored.first", resnet(p, z[0], False))
    for batch in range(BATCHES):
        w = resnet(p, z[batch], True)
        out.put(f"{batch}.w", w)
        if batch == 0:
            (w * dw).sum().backward()
    for name in trained:
        put_sampled(out, "grad." + name, p[name].grad)
    for name in p:
        if "running" in name:
            out.put(name, p[name])
    out.put("scored.last", resnet(p, z[0], False))
    out.file.close()


class ExactModel(lm.Model):
    """The language model with a gate of exact mode; weights of all samples are made together."""

    def __init__(self, base, kind):
        super().__init__(base, K)
        self.kind = kind

    def weights(self, p, samples):
        z = torch.stack([s["z"] for s in samples])
        if self.kind == "linear":
            return torch.softmax(z @ p["gate.weight"].T, -1)
        return resnet(p, z, True)

    def loss(self, p, samples, vectors):
        """Cross-entropy of the target's title alone: mean over its tokens, then over samples."""
        total, loss = sum(s["weight"] for s in samples), 0.0
        for s, w in zip(samples, self.weights(p, samples)):
            only = dict(s, titles=s["titles"][:1])
            likelihood = self.title_likelihoods(p, only, vectors, w)[0]
            loss = loss - s["weight"] / total * likelihood / len(s["titles"][0])
        return loss


def centred(tensor, shape, width):
    value = (spread(tensor, int(np.prod(shape))) - 0.5) * width
    return torch.tensor(value).reshape(shape)


def read_samples(golden):
    def row(name):
        return torch.tensor(golden[name].reshape(-1).astype(
            np.float64 if golden[name].dtype == np.float32 else np.int64))
    return [dict(tokens=row(f"{i}.tokens"), item_rows=golden[f"{i}.item_rows"].reshape(-1).tolist(),
                 items=row(f"{i}.items"), z=centred(Z + i, (E,), 4.0),
                 weight=float(row(f"{i}.weight")[0]),
                 titles=[row(f"{i}.title.{c}") for c in range(lm.TITLES)])
            for i in range(len(lm.LENGTHS))]


def start_values(model, golden):
    p = {}
    for name in model.parameter_shapes():
        if lm.group(name) in (0, 1):
            p[name] = torch.tensor(golden["value." + name].astype(np.float64))
    p["projector.0.weight"] = centred(PROJECTOR, (lm.PROJECTOR, E), 0.25)
    if model.kind == "linear":
        p["gate.weight"] = start(0, "gate.weight", (K, E))
    else:
        for i, (name, shape) in enumerate(gate_shapes().items()):
            p[name] = start(i, name, shape)
    return p


def ten_steps(base, golden, out, kind, l2, label):
    model = ExactModel(base, kind)
    p = start_values(model, golden)
    before = {name: value.clone() for name, value in p.items()}
    trained = [name for name in p if "running" not in name]
    for name in trained:
        p[name].requires_grad_(True)
    groups = [dict(params=[p[n] for n in trained if lm.group(n) == g], lr=lr, weight_decay=decay)
              for g, lr, decay in ((0, 1e-3, 0.0), (1, 1e-3, l2), (GATE, 0.3e-3, l2))]
    adam = torch.optim.Adam(groups)
    samples, losses = read_samples(golden), []
    vectors = centred(VECTORS, (lm.ITEMS, E), 4.0)
    for _ in range(10):
        adam.zero_grad()
        loss = model.loss(p, samples, vectors)
        loss.backward()
        norm = torch.sqrt(sum((p[n].grad ** 2).sum() for n in trained))
        losses.append([float(loss.detach()), float(norm)])
        adam.step()
    out.put(label + ".losses", np.array(losses))
    for name in p:
        change = (p[name] - before[name]).detach().reshape(-1)
        out.put(f"{label}.{name}", change[::-(-change.numel() // SAMPLED)])


def main(weights, tiny, folder):
    base, golden = read_arrays(weights), read_arrays(tiny)
    resnet_alone(folder)
    out = Writer(f"{folder}/gate_steps.bin")
    ten_steps(base, golden, out, "linear", 1e-5, "linear")
    ten_steps(base, golden, out, "linear", 0.1, "decay")
    ten_steps(base, golden, out, "resnet", 1e-5, "resnet")
    out.file.close()


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], sys.argv[3])
