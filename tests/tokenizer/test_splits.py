"""The compiled cuts against the library's regular expressions: for every code point, and by search."""

from __future__ import annotations

import unicodedata
from collections import Counter as Multiset
from functools import partial

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import normalizers

from tests.profiles import share
from tests.tokenizer.texts import SAMPLES, shipped
from tests.work import in_proportion
from tokenizer import TokenizerConfig, TokenizerError
from tokenizer.alphabet import visible_bytes
from tokenizer.classes import ASK, classes, composition
from tokenizer.count import Counter, normalised
from tokenizer.splits import LONGEST_RUN
from tokenizer.train import pieces, training_pretokenizer

KINDS = [
    TokenizerConfig(),
    TokenizerConfig(space_runs=1),
    TokenizerConfig(add_prefix_space=True, space_runs=4),
    TokenizerConfig(pretokenizer="modern"),
    TokenizerConfig(pretokenizer="modern", marks=True),
    TokenizerConfig(pretokenizer="modern", digits="left", space_runs=1),
    TokenizerConfig(pretokenizer="modern", digits="one", marks=True),
]
SCALARS = [*range(0xD800), *range(0xE000, 0x110000)]
_BYTE = {character: byte for byte, character in enumerate(visible_bytes())}


def by_library(texts: list[str], config: TokenizerConfig) -> Multiset[bytes]:
    cut, nfc = training_pretokenizer(config), normalizers.NFC()
    found: Multiset[str] = Multiset()
    for text in texts:
        for piece in pieces(nfc.normalize_str(text)):
            found.update(word for word, _ in cut.pre_tokenize_str(piece) if word)
    return Multiset({bytes(_BYTE[c] for c in word): count for word, count in found.items()})


def counted(texts: list[str], config: TokenizerConfig) -> Multiset[bytes]:
    counter = Counter(config)
    counter.add(texts)
    table = counter.take()[0]
    return Multiset(dict(zip(table["word"].to_pylist(), table["count"].to_pylist(), strict=True)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "config", [KINDS[0], KINDS[3], KINDS[6]], ids=lambda config: f"{config.pretokenizer}-{config.digits}-{config.marks}-{config.space_runs}"
)
def test_every_code_point_is_cut_as_the_library_cuts_it(config: TokenizerConfig) -> None:
    """Each between letters, digits, signs, spaces, line ends, and behind an apostrophe."""
    assigned = [code for code in SCALARS if unicodedata.category(chr(code)) not in ("Cn", "Co") or code % 97 == 0]
    for begin in range(0, len(assigned), 20_000):
        texts = [f"a{c}b1{c}1{c}. {c} {c}\n{c}  {c}'{c}'S{c}\r\n" for c in map(chr, assigned[begin : begin + 20_000])]
        assert counted(texts, config) == by_library(texts, config)


FRAGMENTS = st.one_of(
    st.text(max_size=5),
    st.text("aZ1 '.\n\r\t\u3000\u00a0\u0301\u093f\u0ed0é漢|", max_size=14),
    st.sampled_from(
        ["'s", "'LL", "'\u017f", "'Re", "  ", " " * 24, " " * 25, " " * 49, "|||EMAIL_ADDRESS|||", "|||IP_ADDRESS||", "\r\n\r\n"]
    ),
    st.integers(1, 70).map(lambda size: "1234567890"[:3] * (size // 3) + "9" * (size % 3)),
)


@pytest.mark.parametrize("config", KINDS, ids=lambda config: f"{config.pretokenizer}-{config.digits}-{config.marks}-{config.space_runs}")
@settings(max_examples=share(4))
@given(texts=st.lists(st.lists(FRAGMENTS, max_size=9).map("".join), max_size=4))
def test_any_text_is_cut_as_the_library_cuts_it(config: TokenizerConfig, texts: list[str]) -> None:
    assert counted(texts, config) == by_library(texts, config)


@pytest.mark.parametrize("config", KINDS, ids=lambda config: f"{config.pretokenizer}-{config.digits}-{config.marks}-{config.space_runs}")
def test_real_text_is_cut_as_the_library_cuts_it(config: TokenizerConfig) -> None:
    texts = [*shipped()[::6], *SAMPLES]
    assert counted(texts, config) == by_library(texts, config)


@given(st.lists(st.tuples(st.text("a \n\u3042\u3000", max_size=4), st.integers(0, 2500), st.sampled_from("xé\u3042")), max_size=5))
def test_long_runs_are_cut_as_pieces_cuts_them(parts: list[tuple[str, int, str]]) -> None:
    text = "".join(start + letter * run for start, run, letter in parts)
    cut = list(pieces(text))
    assert "".join(cut) == text
    table = classes()
    for piece in cut[:-1]:
        assert all(table[ord(c)] != 3 for c in piece[-LONGEST_RUN:])
    config = TokenizerConfig()
    assert counted([text], config) == by_library([text], config)


@pytest.mark.parametrize("digits", range(1, 80))
def test_digits_are_grouped_by_three_from_the_right(digits: int) -> None:
    number = "".join(str(index % 10) for index in range(digits))
    cut = training_pretokenizer(TokenizerConfig(pretokenizer="modern"))
    groups = [word for word, _ in cut.pre_tokenize_str(f"x {number}")][2:]
    if digits <= 27:
        first = digits % 3 or 3
        assert groups == [number[:first], *(number[at : at + 3] for at in range(first, digits, 3))]
    assert "".join(groups) == number
    assert sum(len(group) != 3 for group in groups) <= 1


def test_a_text_that_is_called_normal_is_not_changed_by_the_library() -> None:
    nfc, table = normalizers.NFC(), composition()
    assert [code for code in SCALARS if table[code] != ASK and nfc.normalize_str(chr(code)) != chr(code)] == []
    marks = [chr(code) for code in SCALARS if 0 < table[code] < ASK]
    for one in marks[::7]:
        ordered = "".join(f"e{one}{two} " for two in marks if table[ord(two)] >= table[ord(one)])
        assert nfc.normalize_str(ordered) == ordered


@given(st.lists(st.text("eE\u0301\u0323\u0345\u093c\u0915가\u1100\u1161\u11a8\u0b47\u0b3eÅ\u212b", max_size=8), max_size=4))
def test_normalisation_is_the_library_s(texts: list[str]) -> None:
    nfc = normalizers.NFC()
    assert normalised(pa.array(texts, pa.large_string())).to_pylist() == [nfc.normalize_str(text) for text in texts]


def add(counter: Counter, text: str) -> None:
    counter.add([text])


@pytest.mark.parametrize(
    "text",
    [
        "7" * 1_000_000,
        "a" * 1_000_000,
        " " * 1_000_000,
        "\n " * 500_000,
        "'" * 1_000_000,
        "|" * 1_000_000,
        "漢" * 333_000,
        "\u3000字" * 160_000,
        "a\u0301" * 300_000,
    ],
    ids=["digits", "letters", "spaces", "lines", "apostrophes", "bars", "han", "wide spaces", "marks"],
)
def test_a_megabyte_of_anything_is_counted_in_steps_in_proportion(text: str) -> None:
    """What is compiled shows no steps: square time of a megabyte would be hours."""
    for config in KINDS[3:5]:
        counter = Counter(config)
        counter.add(["warm"])
        in_proportion(partial(add, counter), text)


def test_a_text_that_is_not_utf8_is_one_clear_line() -> None:
    broken = pa.LargeStringArray.from_buffers(2, pa.py_buffer(np.array([0, 2, 4])), pa.py_buffer(b"ok\xff\xc3"))
    for texts in (broken, ["\ud800"]):
        with pytest.raises(TokenizerError, match="not UTF-8") as error:
            Counter(TokenizerConfig()).add(texts)
        assert "\n" not in str(error.value)
