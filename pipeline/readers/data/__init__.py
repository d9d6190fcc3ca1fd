"""Tables of facts that readers look things up in: one file a table, which says at its head where the facts are from."""

from __future__ import annotations

from importlib.resources import files


def rows(name: str) -> list[list[str]]:
    """The rows of a table of this folder, each a list of its columns: lines that do not begin with `#`, split at tabs."""
    lines = (files(__name__) / name).read_text(encoding="utf-8").split("\n")
    return [line.split("\t") for line in lines if line and not line.startswith("#")]
