# SPDX-License-Identifier: Apache-2.0
"""Seeded texts that a tokenizer may meet: mixed scripts, emoji, controls, white space, long runs.

Every text is valid Unicode without surrogates; many code points in it are unassigned.
"""
import random

BLOCKS = [(0x20, 0x7E)] * 8 + [
    (0x00, 0x20), (0x7F, 0x9F), (0xA0, 0xFF), (0x100, 0x24F), (0x250, 0x2FF), (0x300, 0x36F),
    (0x370, 0x3FF), (0x400, 0x52F), (0x530, 0x5FF), (0x600, 0x6FF), (0x700, 0x8FF), (0x900, 0x97F),
    (0x980, 0xDFF), (0xE00, 0xE7F), (0xE80, 0x10FF), (0x1100, 0x11FF), (0x1200, 0x17FF),
    (0x1800, 0x1CFF), (0x1D00, 0x1FFF), (0x2000, 0x209F), (0x20A0, 0x218F), (0x2190, 0x2BFF),
    (0x2460, 0x24FF), (0x2C00, 0x2FFF), (0x3000, 0x30FF), (0x3100, 0x33FF), (0x4E00, 0x9FFF),
    (0xA000, 0xABFF), (0xAC00, 0xD7FF), (0xE000, 0xF8FF), (0xF900, 0xFDFF), (0xFE00, 0xFFFF),
    (0x10000, 0x10FFF), (0x11000, 0x12FFF), (0x13000, 0x1BFFF), (0x1C000, 0x1D0FF),
    (0x1D100, 0x1D7FF), (0x1D800, 0x1EFFF), (0x1F000, 0x1F2FF), (0x1F300, 0x1F6FF),
    (0x1F700, 0x1FAFF), (0x1FB00, 0x1FFFF), (0x20000, 0x3FFFF), (0xE0000, 0xE01FF),
    (0x0, 0xFFFF), (0x10000, 0x10FFFF)]
WORDS = """the of and a story night day blue red green house river Mountain singing running MOVIE
return secret little great last first king queen garden Winter summer love war world time machine
it's WE'LL don't they've I'm you'd café naïve Ärger straße привет мир שלום עולם مرحبا नमस्ते ไทย
日本語 テスト 한국어 中文 def return self. != == -> // /* */ {} () [] ... (1995) 3.14 1,000,000 A.I. x86
http://a.b/c?d=e&f a_b-c CamelCase snake_case""".split()
PIECES = [
    "'s", "'LL", "'\u017f", "'\u212a", "\r\n", "\n\n", "\n", "\t", " \t ", "  ", "   ", "    ",
    "\u00a0", "\u2003", "\u3000", "\u180e", "\u200b", "\u200c", "\u200d", "\ufeff", "\u0085",
    "\u2028", "\x00", "\x1b[0m", "1234567", "\u0663\u0664", "\u00bd", "\u2167", "\ufb01",
    "e\u0301", "e\u0323\u0302", "\u0302\u0323", "\u1112\u1161\u11ab", "\uac00\u11a8", "\u0958",
    "\u0928\u093c", "\U0001d15e", "\u2126", "\u212b",
    "\U0001f469\u200d\U0001f469\u200d\U0001f467\U0001f3fd", "\U0001f1e9\U0001f1ea",
    "\u2764\ufe0f\u200d\U0001f525", "\U0001f3f4\U000e0067\U000e0062\U000e007f", "1\ufe0f\u20e3",
    "\u0378", "\U0001fffe", "\U000e0fff", "\U0010ffff", "\ufffd", "\uffff", "\u2581", "<0x41>",
    "\u0120", "\u010a"]
SPECIAL = ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|im_", "<|begin_of_text|>",
           "<|eot_id|>", "<|start_header_id|>", "<s>", "</s>", "<unk>", "<s", "[INST]", "[/INST]",
           "[TOOL_CALLS]", "<think>", "</think>", "<tool_response>", "<|vision_start|>",
           "<repo_name>", "<|reserved_special_token_7|>"]
RUNS = [" ", "a", "=", "-", "0", "7", "x", " \t", "\n", "\r\n", "\u0430\u0431", "!?", "\u0301",
        "\u0323\u0301", "\u3042", "\U0001f642", "\u200d", "\u0378", "\x00", "\u2581", "ha",
        "\u4e00"]
LONG = RUNS + ["the ", "a\u0301", " a", "\u1100\u1161\u11a8", "</s>", "<|im_end|>", "1,"]


def characters(dice, count):
    out = []
    while len(out) < count:
        first, last = dice.choice(BLOCKS)
        code = dice.randint(first, last)
        if not 0xD800 <= code <= 0xDFFF:
            out.append(chr(code))
    return "".join(out)


def make_texts(seed, count, special=True, titles=()):
    """Texts of one seed. Seed 0 begins with the very long ones: 100,000 characters of a run."""
    dice = random.Random(seed)
    pool = [characters(dice, dice.randint(1, 10)) for _ in range(8000)]
    pool += [dice.choice(RUNS) * dice.choice([2, 3, 5, 17, 70, 200]) for _ in range(600)]
    pool += WORDS * 60 + PIECES * 30 + list(titles)[:4000]
    if special:
        pool += SPECIAL * 60
    joins = ["", " ", " ", ", ", "\n", "\u2581"]
    texts = []
    if seed == 0:
        texts = ["", " ", characters(dice, 100000)]
        if special:
            texts += [(run * 100000)[:100000] for run in LONG]
            texts += [(run * 5000)[:5000] + "b" for run in LONG]
    while len(texts) < count:
        words = dice.choices(pool, k=int(dice.random() * 8) + 1)
        texts.append(dice.choice(joins).join(words))
    return texts
