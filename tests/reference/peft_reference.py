# SPDX-License-Identifier: Apache-2.0
"""peft_reference.py - what peft_make_golden.py and peft_round_trip.py share: base models in
transformers on our weights, random PEFT adapters, and the comparison.
"""
import json
import os
import subprocess

import numpy as np
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

from array_file import read_arrays

ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


def load_base(model, lm_dump, work):
    """A base model of ours in transformers, f32: a GGUF file, or whatever lm_dump can open."""
    if model.endswith(".gguf"):
        folder, name = os.path.split(model)
        return AutoModelForCausalLM.from_pretrained(folder, gguf_file=name,
                                                    dtype=torch.float32).eval()
    path = os.path.join(work, "base.bin")
    subprocess.run([lm_dump, model, path], check=True)
    arrays = read_arrays(path)
    L, C, H, G, D, F, V = [int(v) for v in arrays["description"][0][:7]]
    eps, theta = [float(v) for v in arrays["description"][0][7:9]]
    tied = "lm_head.weight" not in arrays
    config = LlamaConfig(hidden_size=C, intermediate_size=F, num_hidden_layers=L,
                         num_attention_heads=H, num_key_value_heads=G, head_dim=D, vocab_size=V,
                         rms_norm_eps=eps, rope_parameters={"rope_type": "default",
                                                            "rope_theta": theta},
                         rope_theta=theta, tie_word_embeddings=tied, attention_bias=False)
    base = LlamaForCausalLM(config).float().eval()
    state = {name: torch.tensor(np.array(values)) for name, values in arrays.items()
             if name != "description"}
    state = {name: values[0] if "norm" in name else values for name, values in state.items()}
    if tied:
        state["lm_head.weight"] = state["model.embed_tokens.weight"]
    base.load_state_dict(state, strict=True)
    return base


def random_adapter(base, folder, seed, dtype=None, b_scale=0.05, **config):
    """A LoRA whose A and B are random, saved by PEFT; returns the PeftModel with those values."""
    torch.manual_seed(seed)
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **config)).eval()
    with torch.no_grad():
        for name, values in model.named_parameters():
            if "lora_B" in name:
                values.copy_(torch.randn_like(values) * b_scale)
            if "lora_" in name and dtype is not None:
                values.copy_(values.to(dtype).float())
    model.save_pretrained(folder, save_embedding_layers=False)
    path = os.path.join(folder, "adapter_model.safetensors")
    if dtype is not None:
        save_file({k: v.to(dtype) for k, v in load_file(path).items()}, path,
                  metadata={"format": "pt"})
    path = os.path.join(folder, "adapter_config.json")
    with open(path, encoding="utf-8") as file:
        settings = json.load(file)
    settings["target_modules"].sort()  # a set in PEFT: another order in each process
    with open(path, "w", encoding="utf-8") as file:
        file.write(json.dumps(settings, indent=2, sort_keys=True) + "\n")
    if os.path.exists(os.path.join(folder, "README.md")):
        os.remove(os.path.join(folder, "README.md"))
    return model


def logits_of(model, prompts):
    with torch.no_grad():
        return {name: model(torch.tensor(np.atleast_2d(ids).astype(np.int64))).logits[0].numpy()
                for name, ids in prompts.items()}


def compare(ours, theirs):
    """Largest |a-b|/max|ref| over prompts, smallest cosine over positions."""
    worst, cosine, positions = 0.0, 1.0, 0
    assert set(ours) == set(theirs)
    for name, reference in theirs.items():
        a = torch.tensor(np.array(ours[name])).double()
        b = torch.tensor(np.array(reference)).double()
        assert a.shape == b.shape and bool(torch.isfinite(a).all())
        worst = max(worst, float((a - b).abs().max() / b.abs().max()))
        cosine = min(cosine, float(torch.nn.functional.cosine_similarity(a, b, dim=-1).min()))
        positions += a.shape[0]
    return worst, cosine, positions


def rank_of(folder):
    with open(os.path.join(folder, "adapter_config.json"), encoding="utf-8") as file:
        return json.load(file)["r"]
