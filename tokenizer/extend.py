"""More entries for a tokenizer that exists: every id that it has stays what it is."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from tokenizer.errors import TokenizerError
from tokenizer.folder import dump, fingerprint, load, text_only
from tokenizer.proof import prove

_STEP = 64  # vocabularies are multiples of this


def extend(folder: Path, words: Sequence[str], target: Path, *, in_unused: bool = False) -> list[int]:
    """Write a tokenizer folder with further entries, each matched in text wherever it stands; returns their ids.

    The folder has a report with the proof of the engines' equality anew, and a card that says what was added. The entries come after
    all entries there are, with `[unusedN]` up to the next multiple of 64; or, with `in_unused`, in the places of `[unusedN]` entries,
    so that a model's embedding need not grow. Raises `TokenizerError` where a word is empty, an entry already, or named twice, or where
    there are too few unused ones.
    """
    tokenizer = load(folder)
    if target.resolve() == folder.resolve():
        raise TokenizerError(f"{target}: is the tokenizer that is to be extended; name another folder")
    vocabulary = tokenizer.get_vocab()
    for index, word in enumerate(words):
        if not word or word in vocabulary or word in words[:index]:
            why = "is empty" if not word else "is an entry already" if word in vocabulary else "is named twice"
            raise TokenizerError(f"extend: word {index + 1}, {word!r}, {why}; leave it out")
    body: dict[str, Any] = json.loads(tokenizer.to_str())
    added: list[dict[str, Any]] = body["added_tokens"]
    if in_unused:
        places = sorted((entry for entry in added if entry["content"].startswith("[unused")), key=lambda entry: int(entry["id"]))
        if len(places) < len(words):
            raise TokenizerError(f"extend: {len(words)} words for {len(places)} [unusedN] entries; give fewer, or let the vocabulary grow")
        ids = []
        for entry, word in zip(places, words, strict=False):
            entry["content"] = word
            ids.append(int(entry["id"]))
    else:
        first = max(vocabulary.values()) + 1
        ids = list(range(first, first + len(words)))
        unused = sum(word.startswith("[unused") for word in vocabulary)
        more = [f"[unused{unused + index}]" for index in range(-(first + len(words)) % _STEP)]
        for number, word in enumerate([*words, *more], first):
            plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
            added.append({"id": number, "content": word, **plain})
    text = json.dumps(body, ensure_ascii=False, indent=2)
    extended = Tokenizer.from_str(text).get_vocab()
    kept = {word: number for word, number in vocabulary.items() if not (in_unused and number in set(ids))}
    if any(extended.get(word) != number for word, number in kept.items()) or [extended.get(word) for word in words] != ids:
        raise TokenizerError(f"{folder}: the library gives other ids to its entries once there are more; its ids have gaps")
    target.mkdir(parents=True, exist_ok=True)
    if (folder / "special_tokens_map.json").is_file():
        shutil.copyfile(folder / "special_tokens_map.json", target / "special_tokens_map.json")
    if (folder / "tokenizer_config.json").is_file():
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        settings.pop("added_tokens_decoder", None)  # an older copy of the entries, which transformers would add again
        dump(target / "tokenizer_config.json", settings)
    (target / "tokenizer.json").write_text(text, encoding="utf-8")
    extended_from = {"tokenizer": fingerprint(folder), "entries": dict(zip(words, ids, strict=True))}
    dump(target / "report.json", {"extended_from": extended_from, "fast_engine": prove(text_only(text), parallel=True).to_json()})
    card = (folder / "README.md").read_text(encoding="utf-8").rstrip("\n") + "\n\n" if (folder / "README.md").is_file() else ""
    (target / "README.md").write_text(card + _section(words, ids, max(extended.values()) + 1), encoding="utf-8")
    return ids


def _section(words: Sequence[str], ids: Sequence[int], size: int) -> str:
    """Of the card: what was added."""
    rows = [f"| {number} | `{word}` |" for number, word in zip(ids, words, strict=True)]
    return "\n".join(
        ["## Extended", "", f"{size:,} entries with these; all other ids are as above.", "", "| id | entry |", "|---|---|", *rows, ""]
    )
