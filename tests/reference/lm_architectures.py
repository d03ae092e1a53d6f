# SPDX-License-Identifier: Apache-2.0
"""lm_architectures.py - every flag of the base model against transformers, on tiny random models.

    python lm_architectures.py LM_LOGITS TEST_LM_GRADIENTS WORK_FOLDER

Saves tiny models (grouped heads, heads wider than the model, biases, head norms, separate output
head, scaled rotary embedding), compares logits, then runs the finite-difference test on each.
Needs torch and transformers.
"""
import os
import subprocess
import sys

import numpy as np
import torch
import transformers as tf

from array_file import read_arrays, write_tokens

COMMON = dict(vocab_size=320, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
              num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=512)
CASES = {
    "llama": (tf.LlamaConfig, dict(tie_word_embeddings=True)),
    "llama_untied": (tf.LlamaConfig, dict(tie_word_embeddings=False, rope_theta=500000.0)),
    "llama3_rope": (tf.LlamaConfig, dict(
        max_position_embeddings=4096, rope_theta=10000.0,
        rope_scaling=dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0,
                          high_freq_factor=4.0, original_max_position_embeddings=16))),
    "linear_rope": (tf.LlamaConfig, dict(rope_scaling=dict(rope_type="linear", factor=4.0))),
    "mistral": (tf.MistralConfig, dict(sliding_window=None, head_dim=4)),
    "qwen2": (tf.Qwen2Config, dict(tie_word_embeddings=True)),
    "qwen3": (tf.Qwen3Config, dict(head_dim=8, tie_word_embeddings=True)),
}


def random_model(kind, options):
    torch.manual_seed(0)
    model = tf.AutoModelForCausalLM.from_config(kind(**{**COMMON, **options})).float().eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            around = 1.0 if "norm" in name else 0.0
            scale = 0.2 if value.dim() == 1 else value.shape[-1] ** -0.5
            value.copy_(around + torch.randn_like(value) * scale)
    return model


def main(program, gradients, work):
    bad = 0
    for name, (kind, options) in CASES.items():
        folder = os.path.join(work, name)
        model = random_model(kind, options)
        model.save_pretrained(folder)
        ids = np.random.default_rng(1).integers(0, 320, 60).astype(np.int32)
        write_tokens(folder + ".tokens", [ids])
        run = subprocess.run([program, folder, "f32", folder + ".tokens", folder + ".logits"],
                             capture_output=True, text=True)
        if run.returncode != 0:
            print(f"{name}: {run.stderr.strip()}")
            bad += 1
            continue
        ours = torch.tensor(np.array(read_arrays(folder + ".logits")["0"]))
        with torch.no_grad():
            theirs = model(torch.tensor(ids[None].astype(np.int64))).logits[0]
        off = float((ours - theirs).abs().max() / theirs.abs().max())
        checked = subprocess.run([gradients, folder], capture_output=True, text=True)
        fine = off < 1e-4 and checked.returncode == 0
        bad += not fine
        print(f"{name}: logits differ by {off:.2e} of the largest, gradients "
              f"{'pass' if checked.returncode == 0 else 'FAIL'}")
        if checked.returncode != 0:
            print(checked.stdout + checked.stderr)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
