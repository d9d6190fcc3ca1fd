"""A folder beside a tokenizer for input that is split into words already, as for named entities: `words/`.

transformers encodes such words one by one (`is_split_into_words=True`), so that no space is left before any, and each becomes what it is at
the beginning of a text: other tokens than pretraining saw in sentences. Nothing in a tokenizer.json tells a word that is given apart from
a text, and AutoTokenizer takes `add_prefix_space=True` for a model of ModernBERT's kind without doing anything with it (transformers 5).
So the folder has the same vocabulary with a space put before each word. Plain texts are for the tokenizer itself.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

WORDS = "words"


def for_words(body: dict[str, Any]) -> dict[str, Any] | None:
    """A tokenizer.json that puts a space before each text; None where the tokenizer marks no spaces, or does so by itself already."""
    cuts = body["pre_tokenizer"] or {"type": ""}
    steps = cuts["pretokenizers"] if cuts["type"] == "Sequence" else [cuts]
    last = steps[-1] if steps else {"type": ""}
    if last["type"] != "ByteLevel" or last["add_prefix_space"]:
        return None
    if len(steps) == 1:
        return {**body, "pre_tokenizer": {**cuts, "add_prefix_space": True}}
    # Behind a split, the pre-tokenizer would put the space before every piece and not before the text.
    normaliser = body["normalizer"] or {"type": "Sequence", "normalizers": []}
    steps = normaliser["normalizers"] if normaliser["type"] == "Sequence" else [normaliser]
    return {**body, "normalizer": {"type": "Sequence", "normalizers": [*steps, {"type": "Prepend", "prepend": " "}]}}


def write_words(folder: Path) -> Path | None:
    """Write `words/` into a tokenizer folder; returns it, or None where the tokenizer needs none."""
    target = folder / WORDS
    shutil.rmtree(target, ignore_errors=True)
    body = for_words(json.loads((folder / "tokenizer.json").read_text(encoding="utf-8")))
    if body is None:
        return None
    target.mkdir()
    (target / "tokenizer.json").write_text(json.dumps(body, ensure_ascii=False, indent=2), encoding="utf-8")
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        if (folder / name).is_file():
            shutil.copyfile(folder / name, target / name)
    return target
