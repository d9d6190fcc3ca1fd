"""How many runs had each fault, and how they ended."""

from __future__ import annotations

import collections
from collections.abc import Callable
from typing import Any


def table_of(results: list[dict[str, Any]], seed: int, well: Callable[[dict[str, Any]], str]) -> dict[str, Any]:
    """What is committed of runs under faults. `well`: how one ended that ended well, in the table's words."""
    table: dict[str, collections.Counter[str]] = {}
    for result in results:
        for name in set(result["faults"]):
            row = table.setdefault(name, collections.Counter())
            row["runs"] += 1
            row["wrong" if result["wrong"] else well(result)] += 1
    body: dict[str, Any] = {"runs": len(results), "seed": seed, "starts": sum(result["starts"] for result in results)}
    body |= {"lines": sum(len(result["lines"]) for result in results)}
    return body | {"table": {name: dict(row) for name, row in sorted(table.items())}, "wrong": [one for one in results if one["wrong"]]}
