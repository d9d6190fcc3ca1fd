"""More entries for a tokenizer that exists: every id that it has stays what it is."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from tokenizer.alphabet import visible_bytes
from tokenizer.errors import TokenizerError
from tokenizer.folder import dump, fingerprint, load, text_only
from tokenizer.proof import prove
from tokenizer.words import write_words

_STEP = 64  # vocabularies are multiples of this
_METACHARACTER = re.compile(r"[.^$*+?()\[\]{}|\\/#&~-]")
_ESCAPED = r"\\\g<0>"


def extend(folder: Path, words: Sequence[str], target: Path, *, in_unused: bool = False, whole_words: bool = False) -> list[int]:
    """Write a tokenizer folder with further entries, each matched in text wherever it stands; returns their ids.

    Entries are matched as the tokenizer reads text: in whichever normal form, where it normalises. `whole_words`: only where no letter,
    digit or underscore stands beside them. The folder has a report with the proof of the engines' equality anew, a card that says what
    was added, and a folder for input that is split into words (`words`). The entries come after all entries there are, with `[unusedN]`
    up to the next multiple of 64; or, with `in_unused`, in the places of `[unusedN]` entries, so that a model's embedding need not grow.
    Raises `TokenizerError` where a word is empty, is one token already, or named twice, where it cannot be told from the spelling of a
    byte, or where there are too few unused ones.
    """
    tokenizer = load(folder)
    if target.resolve() == folder.resolve():
        raise TokenizerError(f"{target}: is the tokenizer that is to be extended; name another folder")
    vocabulary = tokenizer.get_vocab()
    words = _entries(tokenizer, words)
    body: dict[str, Any] = json.loads(tokenizer.to_str())
    added: list[dict[str, Any]] = body["added_tokens"]
    plain = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
    matched = [
        {**plain, "content": word, "single_word": whole_words, "normalized": body["normalizer"] is not None and not word.isascii()}
        for word in words
    ]
    if in_unused:
        places = sorted((entry for entry in added if entry["content"].startswith("[unused")), key=lambda entry: int(entry["id"]))
        if len(places) < len(words):
            raise TokenizerError(f"extend: {len(words)} words for {len(places)} [unusedN] entries; give fewer, or let the vocabulary grow")
        ids = []
        for entry, how in zip(places, matched, strict=False):
            entry |= how
            ids.append(int(entry["id"]))
    else:
        first = max(vocabulary.values()) + 1
        ids = list(range(first, first + len(words)))
        unused = sum(word.startswith("[unused") for word in vocabulary)
        more = [{**plain, "content": f"[unused{unused + index}]"} for index in range(-(first + len(words)) % _STEP)]
        added += [{"id": number, **how} for number, how in enumerate([*matched, *more], first)]
    _spell(body, words)
    made = Tokenizer.from_str(json.dumps(body))
    text, extended = made.to_str(pretty=True), made.get_vocab()
    kept = {word: number for word, number in vocabulary.items() if not (in_unused and number in set(ids))}
    if any(extended.get(word) != number for word, number in kept.items()) or [extended.get(word) for word in words] != ids:
        raise TokenizerError(f"{folder}: the library gives other ids to its entries once there are more; its ids have gaps")
    _check_matched(made, words, ids)
    target.mkdir(parents=True, exist_ok=True)
    if (folder / "special_tokens_map.json").is_file():
        shutil.copyfile(folder / "special_tokens_map.json", target / "special_tokens_map.json")
    if (folder / "tokenizer_config.json").is_file():
        settings = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))
        settings.pop("added_tokens_decoder", None)  # an older copy of the entries, which transformers would add again
        dump(target / "tokenizer_config.json", settings)
    (target / "tokenizer.json").write_text(text, encoding="utf-8")
    extended_from = {
        "tokenizer": fingerprint(folder),
        "entries": dict(zip(words, ids, strict=True)),
        "whole_words": whole_words,
    }
    dump(target / "report.json", {"extended_from": extended_from, "fast_engine": prove(text_only(text), parallel=True).to_json()})
    card = (folder / "README.md").read_text(encoding="utf-8").rstrip("\n") + "\n\n" if (folder / "README.md").is_file() else ""
    (target / "README.md").write_text(card + _section(words, ids, max(extended.values()) + 1), encoding="utf-8")
    write_words(target)
    return ids


def _normalised(tokenizer: Tokenizer, word: str) -> str:
    return word if tokenizer.normalizer is None else str(tokenizer.normalizer.normalize_str(word))


def _entries(tokenizer: Tokenizer, words: Sequence[str]) -> list[str]:
    """Each word as the tokenizer's normaliser leaves it. Raises `TokenizerError` for one that cannot be an entry.

    A byte-level vocabulary spells its bytes with characters: `é` is the byte 0xE9 there. The library gives an entry of such a spelling
    that token's id, and would decode one as the other.
    """
    vocabulary = tokenizer.get_vocab()
    found: list[str] = []
    for index, given in enumerate(words):
        word = _normalised(tokenizer, given)
        ids = tokenizer.encode(word, add_special_tokens=False).ids if word else []
        why = ""
        if not word:
            why = "is empty"
        elif len(ids) == 1:
            why = f"is an entry already ({ids[0]}, {tokenizer.id_to_token(ids[0])!r})"
        elif word in found:
            why = "is named twice"
        elif word in vocabulary:
            why = f"is how the vocabulary spells the bytes of another token ({vocabulary[word]}), from which it could not be told"
        if why:
            raise TokenizerError(f"extend: word {index + 1}, {given!r}, {why}; leave it out")
        found.append(word)
    return found


def _spell(body: dict[str, Any], words: Sequence[str]) -> None:
    """Let the decoder give back each entry as its text: a byte-level one takes characters that stand for bytes for those bytes, and so
    `ö` for the byte 0xF6. An entry of such characters is spelt in bytes before it."""
    decoder = body["decoder"] or {"type": ""}
    steps = decoder["decoders"] if decoder["type"] == "Sequence" else [decoder]
    if steps[-1]["type"] != "ByteLevel":
        return
    visible = visible_bytes()
    spelt = [
        {
            "type": "Replace",
            "pattern": {"Regex": f"\\A{_METACHARACTER.sub(_ESCAPED, word)}\\z"},
            "content": "".join(visible[byte] for byte in word.encode()),
        }
        for word in words
        if not word.isascii() and set(word) <= set(visible)
    ]
    if spelt:
        body["decoder"] = {"type": "Sequence", "decoders": [*spelt, *steps]}


def _check_matched(tokenizer: Tokenizer, words: Sequence[str], ids: Sequence[int]) -> None:
    """Raise `TokenizerError` where an entry would never be found in text, or would be decoded as another text."""
    for word, number in zip(words, ids, strict=True):
        found = tokenizer.encode(word, add_special_tokens=False)
        if found.ids != [number]:
            raise TokenizerError(f"extend: {word!r} would never be found in text, where it is {found.tokens}; leave it out")
        if tokenizer.decoder is not None and tokenizer.decode([number]) != word:
            raise TokenizerError(f"extend: {word!r} would be decoded as {tokenizer.decode([number])!r}; leave it out")


def _section(words: Sequence[str], ids: Sequence[int], size: int) -> str:
    """Of the card: what was added."""
    rows = [f"| {number} | `{word}` |" for number, word in zip(ids, words, strict=True)]
    return "\n".join(
        ["## Extended", "", f"{size:,} entries with these; all other ids are as above.", "", "| id | entry |", "|---|---|", *rows, ""]
    )
