"""Where gigatoken gives the ids that `tokenizers` gives: shown, not assumed.

Byte-level BPE is three steps: normalise, cut into pre-tokens, merge bytes within each. The first two depend on Unicode
tables (what is a letter, a number, a space; what composes with what), in which the engines differ, being built on different
versions. Comparing ids of a trained vocabulary would hide most of that: a cut shows only where a merge exists that could
have crossed it. So the code points are compared with a vocabulary made for it, in which the last byte of any character
merges with the first byte of any other: whatever is not cut merges.

Compared are all code points that the running Python's Unicode knows, each in surroundings that show its class and its
combining class, and the decomposed forms of all that decompose. By Unicode's stability policy the normal form of such text
does not change between versions; what is newer is not compared, and counts as different. Last, the vocabulary itself is
compared, on texts made of its own words.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import random
import unicodedata
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from typing import Any

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer

from kernel.cache import NoHome, cache_folder
from tokenizer.alphabet import visible_bytes
from tokenizer.engines import FastEngine, fast_encode, fast_engine, only_slow, slow_encode, versions
from tokenizer.scan import CODE_POINTS, Flags

log = logging.getLogger(__name__)

_BATCH = 16_384
_PRIVATE = range(0xE000, 0xF900)  # icons of web fonts and of PDF extraction: common enough to be compared


@dataclass(frozen=True)
class Proof:
    """What the comparison found, and for what it holds."""

    usable: bool  # gigatoken loads the tokenizer, and differs on code points alone
    why_not: str
    different_code_points: tuple[int, ...]
    tokenizer: str  # fingerprint of the tokenizer.json that was given
    versions: dict[str, str]

    def to_json(self) -> dict[str, Any]:
        """As it stands in an artifact's report."""
        return asdict(self) | {"different_code_points": list(self.different_code_points)}

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> Proof:
        """A proof as it stands in a report. Raises `KeyError` or `TypeError` where it is none."""
        codes = tuple(int(code) for code in value["different_code_points"])
        return cls(bool(value["usable"]), str(value["why_not"]), codes, str(value["tokenizer"]), dict(value["versions"]))

    def holds(self, tokenizer_json: str) -> bool:
        """Whether it was made for this tokenizer.json, and with the versions that run now."""
        return self.tokenizer == _fingerprint(tokenizer_json) and self.versions == _versions()

    def allowed(self) -> Flags:
        """Which code points gigatoken may be given: bool (0x110000,)."""
        allowed = np.zeros(CODE_POINTS, bool)
        allowed[list(compared())] = True
        allowed[list(self.different_code_points)] = False
        return allowed


def _versions() -> dict[str, str]:
    return versions() | {"unicode": unicodedata.unidata_version}


def _fingerprint(tokenizer_json: str) -> str:
    return hashlib.sha256(tokenizer_json.encode()).hexdigest()[:32]


@cache
def compared() -> tuple[int, ...]:
    """The code points that are compared: all that are assigned, without surrogates and the private planes."""
    outside = ("Cn", "Cs", "Co")
    return tuple(code for code in range(CODE_POINTS) if code in _PRIVATE or unicodedata.category(chr(code)) not in outside)


def surroundings(character: str) -> str:
    """A text that shows what an engine takes a character for.

    Between letters and digits, marks of punctuation, spaces and line ends; twice; after an apostrophe; and between combining
    marks of the highest and lowest classes and of the two common ones, with which it changes places by its own class.
    """
    c = character
    return f"a{c}a1{c}1.{c}. {c} {c}a  {c}{c}\n{c}\n\u4e00{c}'{c}'l{c}'s{c}\r{c}\u0345{c}\u0334 e{c}\u0323\u0301"


@cache
def sequences() -> tuple[str, ...]:
    """The canonical decompositions, in one step and in full, of all compared code points that have one."""
    found: set[str] = set()
    for code in compared():
        character = chr(code)
        full = unicodedata.normalize("NFD", character)
        if full != character:
            found.add(full)
            if len(full) > 2:  # all but the last mark composed again: one step
                found.add(unicodedata.normalize("NFC", full[:-1]) + full[-1])
    return tuple(sorted(found))


def probe(tokenizer_json: str) -> str:
    """The same tokenizer with a vocabulary that shows every cut between two characters, as tokenizer.json."""
    body: dict[str, Any] = json.loads(tokenizer_json)
    visible = visible_bytes()
    ends = [*range(0x80), *range(0x80, 0xC0)]  # last bytes of a character: ASCII, continuation
    starts = [*range(0x80), *range(0xC2, 0xF5)]  # first bytes: ASCII, leads
    vocabulary = {visible[byte]: byte for byte in range(256)}
    merges = []
    for end in ends:
        for start in starts:
            vocabulary[visible[end] + visible[start]] = len(vocabulary)
            merges.append([visible[end], visible[start]])
    body["model"] |= {"vocab": vocabulary, "merges": merges}
    if body["decoder"] and body["decoder"]["type"] == "Sequence":
        body["decoder"] = body["decoder"]["decoders"][-1]  # how `extend` spells entries does not bear on it
    body["added_tokens"] = [token for token in body["added_tokens"] if not only_slow(token, body["normalizer"] is not None)]
    for index, token in enumerate(body["added_tokens"]):
        token["id"] = len(vocabulary) + index
    return json.dumps(body)


def _unequal(tokenizer: Tokenizer, engine: FastEngine, texts: list[str], parallel: bool) -> list[int]:
    """The positions of texts on which the engines differ."""
    found: list[int] = []
    for begin in range(0, len(texts), _BATCH):
        batch = texts[begin : begin + _BATCH]
        offsets, ids = fast_encode(engine, pa.array(batch, pa.large_string()), parallel=parallel)
        for index, expected in enumerate(slow_encode(tokenizer, batch, parallel=parallel)):
            if expected != ids[offsets[index] : offsets[index + 1]].tolist():
                found.append(begin + index)
    return found


Difference = tuple[tuple[int, ...] | None, str]  # code points; or none, and why the engine cannot be used at all


@lru_cache(maxsize=4)
def _different(probe: str, parallel: bool) -> Difference:
    """The code points on which the engines differ; None, and why, where gigatoken cannot load the probe.

    It depends on how text is cut and normalised, on the engines' versions and on this module, not on the vocabulary, and takes
    ten seconds or more: it is kept for the user's other tokenizers and processes.
    """
    about = json.dumps([_versions(), surroundings("c"), probe], sort_keys=True)
    try:
        path = cache_folder("engines") / f"{hashlib.sha256(about.encode()).hexdigest()[:32]}.json"
    except NoHome as error:
        log.warning("the comparison of the engines cannot be kept (%s)", error)
        return _compare(probe, parallel)
    try:
        codes, why = json.loads(path.read_text(encoding="utf-8"))
        return None if codes is None else tuple(map(int, codes)), str(why)
    except FileNotFoundError:
        pass
    except (OSError, ValueError, TypeError) as error:
        log.warning("%s: cannot be read (%s); the engines are compared again", path, error)
    found = _compare(probe, parallel)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        beside = path.with_suffix(f".{os.getpid()}")
        beside.write_text(json.dumps(found), encoding="utf-8")
        beside.replace(path)
    except OSError as error:
        log.warning("%s: the comparison of the engines cannot be kept there (%s)", path, error)
    return found


def _compare(probe: str, parallel: bool) -> Difference:
    engine, why = fast_engine(probe)
    if engine is None:
        return None, why
    tokenizer = Tokenizer.from_str(probe)
    codes = compared()
    texts = [surroundings(chr(code)) for code in codes]
    different = {codes[index] for index in _unequal(tokenizer, engine, texts, parallel)}
    decomposed = sequences()
    for index in _unequal(tokenizer, engine, [f"a{sequence}a" for sequence in decomposed], parallel):
        if not different & set(map(ord, decomposed[index])):
            different |= {ord(character) for character in decomposed[index] if not character.isascii()}
    if any(code < 0x80 for code in different):
        return None, "it cuts plain ASCII text in other places"
    return tuple(sorted(different)), ""


def _word_texts(tokenizer: Tokenizer, engine: FastEngine) -> list[str]:
    """Texts made of the vocabulary's own words that an engine takes, each in a few places, joined at random but always the same."""
    words = [tokenizer.decode([number]) for number in sorted(tokenizer.get_vocab().values())]  # ids may have gaps: specials are out
    words = [word for word in words if word and "\ufffd" not in word]
    words = [word for word, takes in zip(words, engine.takes(pa.array(words, pa.large_string())), strict=True) if takes]
    chance = random.Random(0)
    texts = []
    for joint in ("", " ", "  "):
        chance.shuffle(words)
        texts += [joint.join(words[begin : begin + 64]) for begin in range(0, len(words), 64)]
    return texts


def _is_byte_level_bpe(tokenizer_json: str) -> bool:
    tokenizer = Tokenizer.from_str(tokenizer_json)
    cuts, body = tokenizer.pre_tokenizer, json.loads(tokenizer_json)
    steps = body["pre_tokenizer"].get("pretokenizers", [body["pre_tokenizer"]]) if cuts is not None else []
    byte_level = any(step["type"] == "ByteLevel" for step in steps)
    whole = set(visible_bytes()) <= set(body["model"]["vocab"])
    decoder = body["decoder"] or {"type": ""}
    last = decoder["decoders"][-1]["type"] if decoder["type"] == "Sequence" else decoder["type"]  # `extend` spells its entries before it
    return body["model"]["type"] == "BPE" and byte_level and whole and last == "ByteLevel"


def prove(tokenizer_json: str, *, parallel: bool) -> Proof:
    """Compare the two engines on a tokenizer.json (as `folder.text_only` gives it): some seconds of one core."""

    def not_usable(why: str) -> Proof:
        return Proof(False, why, (), _fingerprint(tokenizer_json), _versions())

    if not _is_byte_level_bpe(tokenizer_json):
        return not_usable("not a byte-level BPE with all 256 bytes")
    engine, why = fast_engine(tokenizer_json)
    if engine is None:
        return not_usable(why)
    different, why = _different(probe(tokenizer_json), parallel)
    if different is None:
        return not_usable(why)
    proof = Proof(True, "", different, _fingerprint(tokenizer_json), _versions())
    tokenizer, allowed = Tokenizer.from_str(tokenizer_json), proof.allowed()
    texts = [text for text in _word_texts(tokenizer, engine) if allowed[list(map(ord, text))].all()]
    texts = [text for text, takes in zip(texts, engine.takes(pa.array(texts, pa.large_string())), strict=True) if takes]
    unequal = _unequal(tokenizer, engine, texts, parallel)
    if unequal:
        return not_usable(f"it gives other ids for {texts[unequal[0]][:40]!r}")
    return proof
