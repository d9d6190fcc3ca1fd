"""Permissive licences, and whether a licence expression allows use under a list.

`PERMISSIVE` is the Blue Oak Council's list of permissive licences (version 15, data under CC0-1.0; its grades Model to Lead, all
of them; in `data/permissive-licenses.tsv`), which The Stack v2 starts from (Lozhkov et al. 2024, arXiv 2402.19173, section 2.2). The
Stack v2 adds what ScanCode classes as permissive or public domain; of those only the `ADDED` are here, since SPDX has no such classes.
"""

from __future__ import annotations

import re
from collections.abc import Container
from functools import lru_cache
from importlib.resources import files

from boolean import Expression, ParseError
from license_expression import AND, OR, ExpressionError, LicenseSymbol, LicenseWithExceptionSymbol, get_spdx_licensing

from kernel.sections import check_name

_TABLE = (files("pipeline.filters") / "data" / "permissive-licenses.tsv").read_text(encoding="utf-8")
_BLUE_OAK = [line for line in _TABLE.split("\n") if line and not line.startswith("#")]

# Newer versions of licences that the list has, and dedications to the public domain.
ADDED = ("Python-2.0.1", "Unicode-3.0", "CC-PDDC", "HPND-sell-variant", "HPND-Markus-Kuhn", "LicenseRef-public-domain")

PERMISSIVE: tuple[str, ...] = (*_BLUE_OAK, *ADDED)


def _granted(node: Expression, allowed: Container[str]) -> bool:
    if isinstance(node, AND):
        return all(_granted(part, allowed) for part in node.args)
    if isinstance(node, OR):
        return any(_granted(part, allowed) for part in node.args)
    if isinstance(node, LicenseWithExceptionSymbol):  # an exception only adds permissions
        return str(node) in allowed or node.license_symbol.key in allowed
    return isinstance(node, LicenseSymbol) and node.key in allowed


@lru_cache(1 << 12)
def _parse(expression: str) -> Expression | None:
    try:
        return get_spdx_licensing().parse(expression[:1000])
    except (ExpressionError, ParseError):
        return None


# What readers write of a licence that says no version.
_OTHERS = ("CC-BY",)


def _squeezed(name: str) -> str:
    """A name without what people leave out of it: case, marks, `.0`, `-only` and the word license."""
    return re.sub(r"licen[cs]e|[^a-z0-9]", "", re.sub(r"\.0$", "", name.lower().removesuffix("-only")))


def check_license(name: str) -> None:
    """Raises `ValueError`, in one line with the nearest right one, where a name is no SPDX expression as SPDX writes it."""
    licensing, parsed = get_spdx_licensing(), _parse(name)
    known = parsed is not None and all(key.startswith("LicenseRef-") for key in licensing.unknown_license_keys(parsed))
    if name in _OTHERS or (known and str(parsed) == name):
        return
    names = sorted(licensing.known_symbols, key=lambda key: (len(key), key))
    alike = next((key for key in names if _squeezed(key) == _squeezed(name)), None)
    check_name(name, names, "licence", meant=str(parsed) if known else alike, listed="https://spdx.org/licenses")
    raise AssertionError("a name of the list is its own expression")


def is_allowed(expression: str | None, allowed: Container[str] = frozenset(PERMISSIVE)) -> bool:
    """Whether an SPDX expression lets one use the work under licences of `allowed` alone: every part of an AND, one part of an
    OR. None, and what is no expression, is not allowed."""
    if expression is None:
        return False
    if expression in allowed:
        return True
    parsed = _parse(expression)
    return parsed is not None and _granted(parsed, allowed)
