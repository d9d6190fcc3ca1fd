"""Words that are given apart become the tokens that they are in a sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.tokenizer.texts import SAMPLES
from tokenizer import TokenizerConfig, extend, load, train, write, write_words

transformers = pytest.importorskip("transformers")
SENTENCES = ("the left join isn't 12,345 naïve [x] Étude", "e\u0301tude of Ångström : 漢字 𝛼", "def f(a, b): return a+b")


@pytest.fixture
def export(folder: Path, tmp_path: Path) -> Path:
    """As a model's folder is, by which AutoTokenizer chooses its class."""
    shutil.copytree(folder, tmp_path / "export")
    (tmp_path / "export" / "config.json").write_text(json.dumps({"model_type": "modernbert"}))
    write_words(tmp_path / "export")
    return tmp_path / "export"


def test_words_given_apart_are_those_of_a_sentence_and_plain_texts_stay_what_they_are(export: Path, folder: Path) -> None:
    plain, before = (transformers.AutoTokenizer.from_pretrained(path) for path in (export, folder))
    for apart in (
        transformers.AutoTokenizer.from_pretrained(export / "words"),
        transformers.AutoTokenizer.from_pretrained(export, subfolder="words"),
    ):
        for sentence in SENTENCES:
            words = sentence.split()
            found = apart(words, is_split_into_words=True)
            assert found.input_ids == plain(f" {sentence}").input_ids
            assert sorted({word for word in found.word_ids() if word is not None}) == list(range(len(words)))
            for (begin, end), word in zip(
                apart(words, is_split_into_words=True, return_offsets_mapping=True).offset_mapping, found.word_ids(), strict=True
            ):
                assert word is None or 0 <= begin <= end <= len(words[word])
        assert len(apart) == len(plain)
    for text in SAMPLES:
        assert plain(text).input_ids == before(text).input_ids


def test_an_extended_tokenizer_has_them_too(folder: Path, tmp_path: Path) -> None:
    extend(folder, ["κλπ"], tmp_path / "more", in_unused=True)
    plain = transformers.AutoTokenizer.from_pretrained(tmp_path / "more")
    apart = transformers.AutoTokenizer.from_pretrained(tmp_path / "more", subfolder="words")
    for sentence in SENTENCES:
        assert apart(sentence.split(), is_split_into_words=True).input_ids == plain(f" {sentence}").input_ids
    assert load(folder).token_to_id("[unused0]") in apart(["the", "κλπ"], is_split_into_words=True).input_ids


def test_a_tokenizer_that_puts_the_space_by_itself_needs_none(tmp_path: Path) -> None:
    config = TokenizerConfig(vocab_size=640, add_prefix_space=True)
    write(train(["hello hello world world"] * 3, config), config, tmp_path, {})
    assert write_words(tmp_path) is None
    assert not (tmp_path / "words").exists()
