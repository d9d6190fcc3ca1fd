"""The comparison of engines: it must see a difference wherever there is one."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import replace
from pathlib import Path

import pytest
from tokenizers import Tokenizer, models

from kernel.cache import cache_folder
from tokenizer.engines import slow_encode
from tokenizer.folder import text_only
from tokenizer.proof import Proof, compared, probe, prove, sequences, surroundings
from tokenizer.train import CL100K

# A character of each kind, in one byte to four: letters, numbers, marks, punctuation, spaces, others.
KINDS = "éжß漢あ한𐐀ªʰ²½Ⅷ٣①𝟙\u0300\u0316\u0903\u20dd«—№€😀\u00a0\u2003\u3000\u2028\x85\u200b\u00ad\ue000"


@pytest.fixture(scope="module")
def proof(folder: Path) -> Proof:
    return Proof.from_json(json.loads((folder / "report.json").read_text())["fast_engine"])


def test_gigatoken_is_usable_and_ascii_is_never_different(proof: Proof) -> None:
    assert proof.usable, proof.why_not
    assert proof.allowed()[:0x80].all()
    assert len(proof.different_code_points) < 1000
    assert set(proof.different_code_points) <= set(compared())


def test_what_was_not_compared_is_not_allowed(proof: Proof) -> None:
    allowed = proof.allowed()
    assert not allowed[0xD800:0xE000].any()
    assert not allowed[0xF0000:].any()
    assert not allowed[[code for code in range(0x110000) if unicodedata.category(chr(code)) == "Cn"]].any()


def variant(body: str, pattern: str) -> Tokenizer:
    changed = json.loads(probe(body))
    changed["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = pattern
    return Tokenizer.from_str(json.dumps(changed))


CLASSES = {r"\p{L}": "L", r"\p{N}": "N", r"\s": "Z"}
PATTERN = CL100K.replace(r"\S", r"[^\s]")


def reclassed(moved: list[str], other: str) -> str:
    """The pattern of `modern`, in which some characters are out of their own class and in another."""
    codes = "".join(f"\\x{{{ord(character):x}}}" for character in moved)
    classes = {name: f"[{name}&&[^{codes}]]" for name in CLASSES} | {other: f"[{other}{codes}]"}
    return re.sub("|".join(map(re.escape, CLASSES)), lambda found: classes[found.group()], PATTERN)


def own_class(character: str) -> str | None:
    if character.isspace():
        return r"\s"
    return next((name for name, major in CLASSES.items() if unicodedata.category(character).startswith(major)), None)


@pytest.mark.slow
@pytest.mark.parametrize("folder", ["modern"], indirect=True)  # whose tokenizer.json spells out the pattern
@pytest.mark.parametrize("other", CLASSES)
def test_a_character_of_another_class_is_seen(folder: Path, other: str) -> None:
    """Of two engines that cut alike but for the class of a character, its surroundings give different ids."""
    body = text_only((folder / "tokenizer.json").read_text())
    moved = [character for character in KINDS if own_class(character) != other]
    texts = [surroundings(character) for character in moved]
    same = slow_encode(variant(body, PATTERN), texts)
    assert same == slow_encode(Tokenizer.from_str(probe(body)), texts)
    changed = slow_encode(variant(body, reclassed(moved, other)), texts)
    assert not [character for character, one, two in zip(moved, same, changed, strict=True) if one == two]


@pytest.mark.slow
@pytest.mark.parametrize("character", ["é", "ǖ", "한", "\u0344", "Å", "\U0001d160"])
def test_an_engine_that_does_not_normalise_is_seen(folder: Path, character: str) -> None:
    body = text_only((folder / "tokenizer.json").read_text())
    normalising = json.loads(probe(body))
    plain = Tokenizer.from_str(json.dumps(normalising | {"normalizer": None}))
    decomposed = unicodedata.normalize("NFD", character)
    assert decomposed in sequences()
    both = [f"{character} {decomposed}"]  # some are composed, some are taken apart for good
    assert slow_encode(plain, both) != slow_encode(Tokenizer.from_str(json.dumps(normalising)), both)


def test_a_mark_that_an_engine_would_not_reorder_is_seen(folder: Path) -> None:
    body = json.loads(probe(text_only((folder / "tokenizer.json").read_text())))
    normalising, plain = Tokenizer.from_str(json.dumps(body)), Tokenizer.from_str(json.dumps(body | {"normalizer": None}))
    marks = [chr(code) for code in compared() if unicodedata.combining(chr(code)) > 1]
    assert len(marks) > 800
    # What the reference normaliser is too old to know as a mark stays as it is; that is what must be found different.
    known = [mark for mark in marks if normalising.normalizer.normalize_str(f"\u0345{mark}") != f"\u0345{mark}"]
    assert len(known) > 700
    texts = [f"\u0345{mark}" for mark in known]
    assert all(a != b for a, b in zip(slow_encode(plain, texts), slow_encode(normalising, texts), strict=True))


def test_a_proof_holds_for_its_own_tokenizer_and_versions_alone(folder: Path, proof: Proof) -> None:
    body = text_only((folder / "tokenizer.json").read_text())
    assert Proof.from_json(json.loads(json.dumps(proof.to_json()))).holds(body)
    assert not proof.holds(body.replace('"NFC"', '"NFD"'))
    assert not replace(proof, versions=proof.versions | {"gigatoken": "0.0.1"}).holds(body)


def test_a_tokenizer_of_another_kind_is_not_usable() -> None:
    word_piece = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    assert "byte-level" in prove(word_piece.to_str(), parallel=False).why_not


def test_the_comparison_is_kept_and_made_again_where_it_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from tokenizer import proof

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    calls: list[str] = []

    def compare(probe: str, parallel: bool) -> tuple[tuple[int, ...], str]:
        calls.append(probe)
        return (0x85, 0x1E9E), ""

    monkeypatch.setattr(proof, "_compare", compare)
    different = proof._different.__wrapped__  # without what this process remembers
    assert [different("a", False) for _ in range(2)] == [((0x85, 0x1E9E), "")] * 2
    assert calls == ["a"]
    different("b", False)
    assert calls == ["a", "b"], "another way of cutting is compared on its own"
    for path in cache_folder("engines").iterdir():
        path.write_text("{")
    assert different("a", False) == ((0x85, 0x1E9E), "")
    assert calls == ["a", "b", "a"]
    assert "cannot be read" in caplog.text
    monkeypatch.setattr(proof, "_versions", lambda: {"gigatoken": "other"})
    different("a", False)
    assert calls == ["a", "b", "a", "a"]


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    from tokenizer import proof

    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(proof, "_compare", lambda probe, parallel: (None, "why"))
    assert proof._different.__wrapped__("a", False) == (None, "why")
    assert "cannot be kept there" in caplog.text
