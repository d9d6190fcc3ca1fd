"""Reading a Hugging Face tokenizer folder: ours, or anyone's."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tokenizers import Tokenizer

from tokenizer.errors import TokenizerError

ROLES = {"unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]", "pad_token": "[PAD]", "mask_token": "[MASK]"}


@dataclass(frozen=True)
class SpecialIds:
    """What the pipeline and the model need to know of a vocabulary."""

    vocab_size: int
    cls: int
    sep: int
    pad: int
    mask: int
    ordinary: tuple[int, int]  # half-open range of ids that are ordinary words


def _json(folder: Path) -> Path:
    path = folder if folder.suffix == ".json" else folder / "tokenizer.json"
    if not path.is_file():
        raise TokenizerError(f"{path}: not there; give a folder made by `foundry tokenizer` or any with a tokenizer.json")
    return path


def load(folder: Path) -> Tokenizer:
    """The tokenizer of a folder, or of a tokenizer.json itself. Raises `TokenizerError`."""
    path = _json(folder)
    try:
        return Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises bare Exceptions
        reason = " ".join(str(error).split())
        raise TokenizerError(f"{path}: not a tokenizer that `tokenizers` can load ({reason}); make or fetch it again") from error


def fingerprint(folder: Path) -> str:
    """A fingerprint of the ids that a tokenizer folder gives: of its tokenizer.json. Raises `TokenizerError`."""
    return hashlib.sha256(_json(folder).read_bytes()).hexdigest()[:32]


def _not_text(token: dict[str, Any]) -> bool:
    """Whether an added entry is a special or unused one, which no document may bring in."""
    return bool(token["special"]) or token["content"] in ROLES.values() or token["content"].startswith("[unused")


def special_ids(folder: Path) -> SpecialIds:
    """The special ids of a tokenizer folder. Raises `TokenizerError` where it is not one that we can use.

    `ordinary` is the longest run of ids that holds no special and no unused entry: in our layout everything below `[UNK]`.
    """
    tokenizer = load(folder)
    ids: dict[str, int] = {}
    for word in ROLES.values():
        number = tokenizer.token_to_id(word)
        if number is None:
            raise TokenizerError(f"{folder}: has no {word}; it is not a tokenizer for a masked encoder, train one or choose another")
        ids[word] = number
    size = tokenizer.get_vocab_size()
    vocabulary = tokenizer.get_vocab()
    body = json.loads(tokenizer.to_str())
    taken = {token["id"] for token in body["added_tokens"] if _not_text(token)} | set(ids.values())
    taken |= {number for word, number in vocabulary.items() if word.startswith("[unused")}
    fences = np.array([-1, *sorted(taken), max(vocabulary.values()) + 1])
    widest = int(np.argmax(np.diff(fences)))
    ordinary = (int(fences[widest]) + 1, int(fences[widest + 1]))
    return SpecialIds(size, ids["[CLS]"], ids["[SEP]"], ids["[PAD]"], ids["[MASK]"], ordinary)


def text_only(tokenizer_json: str) -> str:
    """A tokenizer.json for text from outside: `[MASK]` and its kin in a document are text there, never specials.

    The engines know a special by its being an added token; without the entry, its characters are encoded like any others.
    Raises `TokenizerError` where the ids of what remains would not be the same.
    """
    body: dict[str, Any] = json.loads(tokenizer_json)
    words = [token for token in body["added_tokens"] if not _not_text(token)]
    first = min((token["id"] for token in body["added_tokens"] if _not_text(token)), default=0)
    if body["model"]["type"] == "BPE" and any(token["id"] > first for token in words):
        # An added entry gets the next free id when it is loaded; one that the model knows as well keeps its own.
        body["model"]["vocab"] |= {token["content"]: token["id"] for token in words}
    body["added_tokens"] = words
    body["post_processor"] = None
    body["truncation"] = body["padding"] = None
    text = json.dumps(body, ensure_ascii=False)
    without = Tokenizer.from_str(text)
    for token in body["added_tokens"]:
        if without.token_to_id(token["content"]) != token["id"]:
            raise TokenizerError(
                f"tokenizer.json: {token['content']!r} ({token['id']}) has a special token before it and would change its id without; "
                "put special tokens last"
            )
    return text


def dump(path: Path, value: Any) -> None:
    """Write one of the folder's JSON files: the same value, the same bytes."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")
