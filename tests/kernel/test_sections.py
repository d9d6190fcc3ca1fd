"""Which known name a misspelt one is said to mean."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.sections import _distance, hint, nearest

KEYS = ["name", "domain", "format", "path", "include", "exclude", "split", "subset", "fields"]


@pytest.mark.parametrize(
    ("given_name", "known", "meant"),
    [
        ("splt", KEYS, "split"),
        ("splt", [key for key in KEYS if key != "split"], None),
        ("pth", KEYS, "path"),
        ("feilds", KEYS, "fields"),
        ("Format", KEYS, "format"),
        ("exlude", KEYS, "exclude"),
        ("spda", ["flash2", "flex", "sdpa", "matmul"], "sdpa"),
        ("adamw", ["stable_adamw"], "stable_adamw"),
        ("adamw", ["stable_adamw", "adamw_fast"], None),
        ("size", ["hidden_size", "vocab_size"], None),
        ("x", ["name", "path"], None),
        ("", ["name"], None),
        ("x" * 100_000, ["name"], None),
    ],
)
def test_the_nearest_known_name(given_name: str, known: list[str], meant: str | None) -> None:
    assert nearest(given_name, known) == meant
    assert hint(given_name, known) == (f"did you mean `{meant}`?" if meant else f"known here: {', '.join(known)}")


@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_the_distance_is_that_of_the_definition(one: str, other: str) -> None:
    @cache
    def least(i: int, j: int) -> int:
        """Edits between the first i letters of one and the first j of the other."""
        if min(i, j) == 0:
            return max(i, j)
        ways = [least(i - 1, j) + 1, least(i, j - 1) + 1, least(i - 1, j - 1) + (one[i - 1] != other[j - 1])]
        if i > 1 and j > 1 and (one[i - 1], one[i - 2]) == (other[j - 2], other[j - 1]):
            ways.append(least(i - 2, j - 2) + 1)
        return min(ways)

    assert _distance(one, other) == least(len(one), len(other))
