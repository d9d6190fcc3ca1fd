"""An extended tokenizer: old ids stay, new entries are one token each, both engines agree."""

from __future__ import annotations

import json
import re
import shutil
import unicodedata
from pathlib import Path

import pytest

from tests.tokenizer.texts import SAMPLES
from tokenizer import Encoder, TokenizerError, extend, load, special_ids
from tokenizer.engines import slow_encode

WORDS = ["<protein>", "Ångström", "κλπ"]


@pytest.fixture(scope="module")
def extended(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target: Path = tmp_path_factory.mktemp("extended") / "more"
    extend(folder, WORDS, target)
    return target


def test_every_old_id_stays_and_the_size_is_a_multiple_of_64(folder: Path, extended: Path) -> None:
    old, new = load(folder).get_vocab(), load(extended).get_vocab()
    assert {word: new[word] for word in old} == old
    assert len(new) % 64 == 0
    assert [new[word] for word in WORDS] == [4096, 4097, 4098]
    before, after = special_ids(folder), special_ids(extended)
    assert (after.cls, after.sep, after.pad, after.mask) == (before.cls, before.sep, before.pad, before.mask)


def test_texts_without_the_new_words_get_the_ids_that_they_had(folder: Path, extended: Path) -> None:
    one, other = load(folder), load(extended)
    assert slow_encode(one, list(SAMPLES)) == slow_encode(other, list(SAMPLES))


def test_a_new_word_is_one_token_for_transformers_and_for_the_pipeline(extended: Path) -> None:
    transformers = pytest.importorskip("transformers")
    loaded = transformers.AutoTokenizer.from_pretrained(extended)
    encoder = Encoder(extended)
    for word, number in zip(WORDS, (4096, 4097, 4098), strict=True):
        assert number in loaded(f"a {word}b").input_ids
        assert number in encoder.encode([f"a {word}b"])[0].as_py()
    assert loaded.decode(loaded("a <protein> b").input_ids, skip_special_tokens=True) == "a <protein> b"


TEXTS = ["Ångström", "A\u030angstro\u0308m", "xÅngströmy", "1Ångström_", "die Straße κλπ", "κλπ\u0301", "Å", "an Ångström."]


def test_an_entry_is_matched_as_the_tokenizer_reads_text_and_decoded_as_its_text(folder: Path, tmp_path: Path) -> None:
    ids = extend(folder, ["A\u030angstro\u0308m", "Straße"], tmp_path / "more")
    encoder, library = Encoder(tmp_path / "more"), load(tmp_path / "more")
    assert encoder.engine is not None
    encoded = encoder.encode(TEXTS).to_pylist()
    assert encoded == slow_encode(encoder.tokenizer, TEXTS), "whoever encodes"
    assert [found[0] in ids for found in encoded[:2]] == [True, True], "in either normal form"
    assert encoded[0] == encoded[1] == ids[:1]
    assert ids[0] in encoded[2], "within a word"
    assert [library.decode([number]) for number in ids] == ["Ångström", "Straße"]
    for text, found in zip(TEXTS, encoded, strict=True):
        assert library.decode(found) == unicodedata.normalize("NFC", text)


def test_a_whole_word_is_matched_nowhere_within_another(folder: Path, tmp_path: Path) -> None:
    (number,) = extend(folder, ["Ångström"], tmp_path / "one", whole_words=True)
    texts = [*TEXTS, "Ångström-Ångström", "in Ångström"]
    encoder = Encoder(tmp_path / "one")
    encoded = encoder.encode(texts).to_pylist()
    assert encoded == slow_encode(encoder.tokenizer, texts)
    whole = [bool(re.search(r"(?<!\w)Ångström(?!\w)", unicodedata.normalize("NFC", text))) for text in texts]
    assert [number in found for found in encoded] == whole
    assert json.loads((tmp_path / "one" / "report.json").read_text())["extended_from"]["whole_words"] is True


@pytest.mark.parametrize("in_unused", [False, True])
def test_a_new_word_with_a_long_number_is_one_token_whoever_encodes(folder: Path, tmp_path: Path, in_unused: bool) -> None:
    """Numbers may be cut for the fast engine beforehand, which must not cut such a word."""
    (number,) = extend(folder, ["ABC12345"], tmp_path / "more", in_unused=in_unused)
    texts = ["see ABC12345 and 1234567", "ABC12345", "xABC123456"]
    encoded = Encoder(tmp_path / "more").encode(texts).to_pylist()
    assert encoded == slow_encode(load(tmp_path / "more"), texts)
    assert all(number in ids for ids in encoded)


def test_an_extended_folder_has_a_proof_and_says_what_was_added(extended: Path, folder: Path, tmp_path: Path) -> None:
    report = json.loads((extended / "report.json").read_text())
    assert report["extended_from"]["entries"] == dict(zip(WORDS, (4096, 4097, 4098), strict=True))
    assert Encoder(extended, compare=False).engine is not None, "the proof is in the folder"
    assert "| 4096 | `<protein>` |" in (extended / "README.md").read_text()
    transformers = pytest.importorskip("transformers")
    old = tmp_path / "old"  # as transformers 4 wrote them
    shutil.copytree(folder, old)
    settings = json.loads((old / "tokenizer_config.json").read_text())
    entries = json.loads((old / "tokenizer.json").read_text())["added_tokens"]
    settings["added_tokens_decoder"] = {str(entry.pop("id")): entry for entry in entries}
    (old / "tokenizer_config.json").write_text(json.dumps(settings))
    (number,) = extend(old, ["<x>"], tmp_path / "more", in_unused=True)
    loaded = transformers.AutoTokenizer.from_pretrained(tmp_path / "more")
    assert len(loaded) == len(load(folder).get_vocab())
    assert loaded.convert_tokens_to_ids("<x>") == number


def test_in_unused_places_the_vocabulary_does_not_grow(folder: Path, tmp_path: Path) -> None:
    ids = extend(folder, WORDS, tmp_path / "same", in_unused=True)
    old, new = load(folder).get_vocab(), load(tmp_path / "same").get_vocab()
    assert len(new) == len(old)
    assert ids == [old[f"[unused{number}]"] for number in range(3)] == [new[word] for word in WORDS]
    assert all(new[word] == number for word, number in old.items() if number not in ids)


@pytest.mark.parametrize(
    ("words", "why"),
    [
        ([""], "is empty"),
        (["<x>", "<x>"], "named twice"),
        (["Ångström", "A\u030angstro\u0308m"], "named twice"),
        (["the"], "an entry already"),
        ([" the"], "an entry already"),  # whose spelling in the vocabulary is another
        ([" "], "an entry already"),
        (["[MASK]"], "an entry already"),
        (["\x00þ", "þ"], "spells the bytes of another token"),  # a byte's own character, where the bytes of the letter are two tokens
    ],
)
def test_a_word_that_cannot_be_added_is_one_clear_line(folder: Path, tmp_path: Path, words: list[str], why: str) -> None:
    with pytest.raises(TokenizerError, match=why) as error:
        extend(folder, words, tmp_path / "bad")
    assert "\n" not in str(error.value)
    with pytest.raises(TokenizerError, match="for 83 .unusedN. entries"):
        extend(folder, [f"w{number}" for number in range(90)], tmp_path / "bad", in_unused=True)
    with pytest.raises(TokenizerError, match="name another folder"):
        extend(folder, ["new"], folder)
