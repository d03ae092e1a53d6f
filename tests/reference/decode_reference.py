# SPDX-License-Identifier: Apache-2.0
"""decode_reference.py - greedy continuations by transformers, and whether ours are the same.

Used by decode_smollm2.py, decode_architectures.py and decode_make_golden.py.
"""
import subprocess

import torch
from transformers import GenerationConfig

# Two logits this close, as a share of the largest, may change places between two ways to add up the
# same products in f32.
NOISE = 1e-5
BATCH = 20


def greedy(model, lists, tokens_max, stops):
    """Of each prompt: ids without the stop id, whether one came, and for each step the distance of
    the two largest logits as a share of the largest. Prompts are padded on the left, BATCH of them
    at a time."""
    config = GenerationConfig(do_sample=False, num_beams=1, max_new_tokens=tokens_max,
                              eos_token_id=stops or None, pad_token_id=0, output_logits=True,
                              return_dict_in_generate=True)
    for first in range(0, len(lists), BATCH):
        part = lists[first:first + BATCH]
        width = max(len(ids) for ids in part)
        tokens = torch.tensor([[0] * (width - len(ids)) + ids for ids in part])
        mask = torch.tensor([[0] * (width - len(ids)) + [1] * len(ids) for ids in part])
        with torch.no_grad():
            out = model.generate(tokens, attention_mask=mask, generation_config=config)
        best = [torch.topk(step.double(), 2).values for step in out.logits]
        largest = [step.abs().amax(-1).double() for step in out.logits]
        for row, sequence in enumerate(out.sequences[:, width:].tolist()):
            ends = [at for at, v in enumerate(sequence) if v in stops]
            steps = ends[0] + 1 if ends else len(sequence)
            gaps = [float((b[row, 0] - b[row, 1]) / l[row])
                    for b, l in zip(best[:steps], largest[:steps])]
            yield sequence[:ends[0]] if ends else sequence, bool(ends), gaps


def ours(program, model, tokens_max, tokens, stops):
    run = subprocess.run([program, model, str(tokens_max), tokens] + [str(s) for s in stops],
                         capture_output=True, text=True)
    if run.returncode != 0:
        raise SystemExit(f"decode_ids: {run.stderr.strip()}")
    for line in run.stdout.splitlines():
        word, *ids = line.split()
        yield [int(i) for i in ids], word == "stop"


def compare(name, model, lists, tokens_max, stops, mine):
    """Prints what differs; the number of prompts that do, without those that part at a tie."""
    different, tied, steps, close = 0, 0, 0, 0
    smallest = 1.0
    theirs = greedy(model, lists, tokens_max, stops)
    for i, (their, our) in enumerate(zip(theirs, mine, strict=True)):
        (their_ids, their_stop, gaps), (our_ids, our_stop) = their, our
        steps += len(gaps)
        close += sum(gap < NOISE for gap in gaps)
        smallest = min([smallest] + gaps)
        if our_ids == their_ids and our_stop == their_stop:
            continue
        at = 0
        while at < min(len(our_ids), len(their_ids)) and our_ids[at] == their_ids[at]:
            at += 1
        if gaps[at] < NOISE:
            tied += 1
        else:
            different += 1
        print(f"{name}: prompt {i} parts at token {at}, where the two largest logits differ by "
              f"{gaps[at]:.2e} of the largest: ours {our_ids[at:at + 3]}, transformers "
              f"{their_ids[at:at + 3]}")
    print(f"{name}: {len(lists)} prompts, {steps} steps, {len(lists) - different - tied} the same "
          f"token for token, {different} different, {tied} part at a tie; the two largest logits "
          f"are within {NOISE:g} of the largest at {close} steps, smallest distance {smallest:.2e}")
    return different
