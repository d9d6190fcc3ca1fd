"""Columns of numbers by their names, in kernels."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Iterable
from typing import Any


def places(columns: Iterable[str]) -> Any:
    """The number of each column under its name, as attributes: `places(("bytes", "words")).words == 1`.

    Numba takes a module's value of this kind for constants, so that `row[AT.words]` in a kernel is `row[1]`.
    """
    names = list(columns)
    return namedtuple("Places", names)(*range(len(names)))
