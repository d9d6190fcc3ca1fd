"""Tables as light text: one row a line, cells between bars."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def rows_to_text(rows: Iterable[Sequence[str]]) -> str:
    """Rows of cells as lines such as `a | b | c`: spaces within cells collapsed, rows without any text left out, and empty cells
    kept where one follows that is not, so that columns stay where they are."""
    lines = []
    for row in rows:
        cells = [" ".join(cell.split()) for cell in row]
        while cells and not cells[-1]:
            cells.pop()
        if cells:
            lines.append(" | ".join(cells))
    return "\n".join(lines)
