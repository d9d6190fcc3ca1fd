"""The matcher that counts its steps finds what `re` finds."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.pipeline.matcher import Matcher

PATTERNS = [
    r"a*b", r"(a|b)*c", r"(a+)+$", r"(?:ab|a)(?:c|bcd)(d*)", r"^\s*(\w+)\s*=\s*(.*?)\s*$", r"(?m)^a.*$", r"(a)(b)?(?(2)c|d)", r"(\w)\1",
    r"(?<=a)b", r"(?<!a)b(?!c)", r"(?>a+)b", r"a*+b", r"(?:ab)*+c", r"(?:ab){2,3}", r"(?:ab){1,3}?c", r"\ba\b", r"\Ba", r"[^ab]+", r"(?i)AB[c-e]",
    r"(?s).b", r"(a*)*", r"(?:a|b|)+?c", r"a{2}", r"(?:a?b?)*d", r"(?:(a)|b)*\1", r"(?i:A)b", r"(?=(a+))\1b", r"((a)|(b)|c)*?d", r"\Aa\Z", r"a??b", r"[\d\s]+=",
]  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
@given(st.text("abcd \n1A=", max_size=14))
def test_spans_are_those_of_re(pattern: str, text: str) -> None:
    compiled = re.compile(pattern)
    for how in ("match", "fullmatch", "search"):
        match = getattr(compiled, how)(text)
        assert Matcher(compiled).apply(how, text) == ([match.span()] if match else []), how
    spans = [match.span() for match in compiled.finditer(text)]
    if all(end > start for start, end in spans):  # next to an empty match `re` has rules of its own
        assert Matcher(compiled).apply("finditer", text) == spans


@pytest.mark.parametrize(
    ("pattern", "unit", "power"), [(r"a+", "a", 1), (r"b", "a", 1), (r"a*b", "a", 2), (r"\s+$", " ", 2), (r"x*x*y", "x", 3)]
)
def test_steps_grow_as_the_work_does(pattern: str, unit: str, power: int) -> None:
    counts = []
    for size in (60, 120):
        matcher = Matcher(re.compile(pattern))
        matcher.apply("search", unit * size + "!")
        counts.append(matcher.steps)
    assert counts[1] / counts[0] == pytest.approx(2**power, rel=0.15)
