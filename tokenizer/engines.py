"""Two engines that encode: `tokenizers`, whose result counts, and gigatoken, which is many times as fast.

Both give ids without special tokens. Both keep to the calling thread unless told otherwise: the pipeline runs one worker a
core. With `parallel`, both take as many threads as `RAYON_NUM_THREADS` says, or one a core.
"""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import Tokenizer

from tokenizer.classes import classes
from tokenizer.scan import buffers
from tokenizer.splits import LEFT_GROUPS, RIGHT_GROUPS, cut_numbers

if TYPE_CHECKING:
    import gigatoken

Ids = npt.NDArray[np.uint32]
_WORDS = 200  # that are looked for together: RE2 bounds the size of a pattern
_METACHARACTER = re.compile(r"[.^$*+?()\[\]{}|\\-]")
_THREADS = "TOKENIZERS_PARALLELISM"  # read by `tokenizers` at each call; it offers no other way


def versions() -> dict[str, str]:
    """The versions of both engines."""
    return {"gigatoken": version("gigatoken"), "tokenizers": version("tokenizers")}


@contextmanager
def _threads(parallel: bool) -> Iterator[None]:
    before = os.environ.get(_THREADS)
    os.environ[_THREADS] = "true" if parallel else "false"
    try:
        yield
    finally:
        if before is None:
            del os.environ[_THREADS]
        else:
            os.environ[_THREADS] = before


def slow_encode(tokenizer: Tokenizer, texts: list[str], *, parallel: bool = False) -> list[list[int]]:
    """Ids of each text by `tokenizers`."""
    with _threads(parallel):
        return [encoding.ids for encoding in tokenizer.encode_batch_fast(texts, add_special_tokens=False)]


@dataclass(frozen=True)
class FastEngine:
    """Gigatoken's engine.

    It can group the digits of a number from the left only. With `cuts_numbers` texts are cut before it sees them, so that its ids are right
    for a tokenizer that groups digits from the right, too.
    """

    engine: gigatoken.Tokenizer
    cuts_numbers: bool
    words: tuple[str, ...] = ()  # entries that it does not have: texts with one of them, in any normal form, are not for it

    def takes(self, texts: pa.LargeStringArray) -> npt.NDArray[np.bool_]:
        """Which texts have none of `words`: bool (texts,). `texts` is a large_string array without nulls, of valid UTF-8."""
        free = np.ones(len(texts), bool)
        if self.words and len(texts):
            composed = pc.utf8_normalize(texts, form="NFC")
            for begin in range(0, len(self.words), _WORDS):
                some = "|".join(_METACHARACTER.sub(r"\\\g<0>", word) for word in self.words[begin : begin + _WORDS])
                free &= ~np.asarray(pc.match_substring_regex(composed, some), dtype=bool)
        return free


def only_slow(entry: dict[str, Any], normalised: bool) -> bool:
    """Whether an added entry is matched in a way that gigatoken, which looks for its characters in the text as it is, does not know.

    So it is with whole words; and, where `normalised` says that there is a normaliser, with what is matched behind it, unless NFC leaves
    it as it is whatever follows: ASCII that ends in a character with which no mark composes.
    """
    content = entry["content"]
    fixed = content.isascii() and not (content[-1:].isalpha() or content[-1:] in ("<", "=", ">"))
    return bool(entry["single_word"] or (entry["normalized"] and normalised and not fixed))


def fast_engine(tokenizer_json: str) -> tuple[FastEngine | None, str]:
    """Gigatoken's engine for a tokenizer.json, and "" or why there is none."""
    import gigatoken  # loads in half a second, which those who encode nothing need not wait for

    body = json.loads(tokenizer_json)
    cuts_numbers = False
    slow = [entry for entry in body["added_tokens"] if only_slow(entry, body["normalizer"] is not None)]
    if any(entry["normalized"] for entry in slow) and body["normalizer"] not in (None, {"type": "NFC"}):
        return None, f"{slow[0]['content']!r} is matched in text that is normalised in another way than by NFC"
    body["added_tokens"] = [entry for entry in body["added_tokens"] if entry not in slow]
    for step in (body.get("pre_tokenizer") or {}).get("pretokenizers", []):
        pattern = step.get("pattern", {}).get("Regex", "")
        if RIGHT_GROUPS in pattern:
            step["pattern"]["Regex"] = pattern.replace(RIGHT_GROUPS, LEFT_GROUPS)
            cuts_numbers = True
    if cuts_numbers:
        for entry in body["added_tokens"]:
            if sum(map(str.isnumeric, entry["content"])) > 3:
                return None, f"texts are cut within numbers for it, and {entry['content']!r} has one"
    try:
        loaded = gigatoken.Tokenizer.from_json(json.dumps(body) if cuts_numbers or slow else tokenizer_json)
        return FastEngine(loaded, cuts_numbers, tuple(unicodedata.normalize("NFC", entry["content"]) for entry in slow)), ""
    except Exception as error:  # whatever it cannot load, it says in its own ways; `tokenizers` does the work then
        return None, " ".join(f"{type(error).__name__}: {error}".split())


def fast_encode(fast: FastEngine, texts: pa.LargeStringArray, *, parallel: bool = False) -> tuple[npt.NDArray[np.int64], Ids]:
    """Ids by gigatoken, straight from and to buffers: `(offsets int64 (texts + 1,), ids uint32)`.

    `texts` is a large_string array without nulls, of valid UTF-8. Awkward arrays are what gigatoken reads without copying.
    """
    import awkward as ak

    if len(texts) == 0:
        return np.zeros(1, np.int64), np.zeros(0, np.uint32)
    offsets, data = buffers(texts)
    pieces, first = cut_numbers(offsets, data, classes()) if fast.cuts_numbers else (offsets, None)
    characters = ak.contents.NumpyArray(data, parameters={"__array__": "char"})
    strings = ak.contents.ListOffsetArray(ak.index.Index64(pieces), characters, parameters={"__array__": "string"})
    result: Any = fast.engine.encode_batch(ak.Array(strings), parallel=parallel)
    layout = ak.to_packed(result).layout
    ends = np.asarray(layout.offsets, dtype=np.int64)
    return ends if first is None else ends[first], np.asarray(layout.content.data, dtype=np.uint32)
