"""The judge's figures against counting by hand, and the page."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers

from tests.tokenizer.texts import SAMPLES
from tokenizer import Encoder
from tokenizer.inspect import Statistics
from tokenizer.judge import ALL, identifiers, judge, page, shown

CODE = "def parse_header(raw):\n    return parse_header(raw)\n"


def test_renyi_efficiency_is_one_where_all_are_used_alike_and_follows_its_definition() -> None:
    even = Statistics(1, 10, 1, np.full(64, 3), 0)
    assert even.renyi_efficiency == pytest.approx(1)
    skewed = Statistics(1, 10, 1, np.array([8, 1, 1, 0]), 0)
    expected = np.log(0.8**2.5 + 2 * 0.1**2.5) / (1 - 2.5) / np.log(4)
    assert skewed.renyi_efficiency == pytest.approx(expected)


def test_figures_are_those_of_counting_tokens(folder: Path, encoder: Encoder) -> None:
    found = judge("ours", encoder, {ALL: [*SAMPLES, CODE], "code": [CODE]}, [CODE], {"sample": CODE})
    library = encoder.tokenizer

    def tokens(text: str) -> int:
        return len(library.encode(text, add_special_tokens=False).ids)

    body = found.to_json()
    assert body["groups"]["code"]["tokens"] == tokens(CODE)
    assert body["groups"]["code"]["bytes_per_token"] == pytest.approx(len(CODE) / tokens(CODE), abs=1e-4)
    assert body["groups"]["code"]["words"] == 4
    assert found.indent_tokens["8 spaces"] == tokens("if x:\n        return") - tokens("if x:\nreturn")
    names = ["def", "parse_header", "raw", "return"]
    assert identifiers([CODE]) == names
    assert found.identifier_tokens == pytest.approx(sum(tokens(f" {name}") for name in names) / 4)
    assert found.number_tokens[1] == 1


def test_shown_tokens_make_up_the_text(encoder: Encoder) -> None:
    for text in ("def f(x):\n    return 1", "plain words", "naïve 1234567"):
        assert "".join(token.text for token in shown(encoder, text) if token.text != "·") == text
    assert len(shown(encoder, "\U0001f98a")) >= 1


def test_the_page_stands_alone_and_hostile_text_is_text_in_it(encoder: Encoder) -> None:
    bad = "<script>alert(1)</script>"
    html = page([judge(bad, encoder, {ALL: [bad]}, [], {bad: bad})], bad)
    assert "<script" not in html
    assert "http-equiv" not in html
    assert 'src="http' not in html
    assert html.count("<svg") == 4


def test_unknown_tokens_of_other_kinds_of_tokenizer_count_as_fallbacks(tmp_path: Path) -> None:
    piece = Tokenizer(models.WordPiece({"[UNK]": 0, "a": 1}, unk_token="[UNK]"))
    piece.pre_tokenizer = pre_tokenizers.Whitespace()
    piece.save(str(tmp_path / "tokenizer.json"))
    encoder = Encoder(tmp_path / "tokenizer.json", compare=False)
    found = judge("piece", encoder, {ALL: ["a b a"]}, [], {})
    assert found.groups[ALL].fallback_share == pytest.approx(1 / 3)
