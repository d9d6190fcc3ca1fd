"""The columns of `pipeline.measure.lines` as kernels take them, and lines as cuts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernel.compile import kernel
from pipeline.workdir.cuts import Cuts

Integers = npt.NDArray[np.int64]


# The columns of `statistics/` that `LineColumns` is made of.
LINE_COLUMNS = frozenset(("line_bytes", "line_words", "line_longest_word", "line_sentences", "line_upper", "line_flags", "citations"))


def _lists(column: pa.ChunkedArray) -> tuple[Integers, pa.Array]:
    """Offsets (rows + 1,) and values of a list column; null rows are empty."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    counts = np.asarray(array.value_lengths().fill_null(0), dtype=np.int64)
    return np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)]), array.flatten()


@dataclass(frozen=True)
class LineColumns:
    """The lines of some documents: those of document `i` are `offsets[i]:offsets[i + 1]` of each array."""

    measured: npt.NDArray[np.bool_]  # documents whose lines were measured
    offsets: Integers
    bytes: npt.NDArray[np.int32]
    words: npt.NDArray[np.uint16]
    longest_word: npt.NDArray[np.uint16]
    sentences: npt.NDArray[np.uint16]
    upper: npt.NDArray[np.float32]
    flags: npt.NDArray[np.uint16]
    citation_offsets: Integers
    citation_begin: Integers
    citation_end: Integers

    @classmethod
    def of(cls, statistics: pa.Table) -> LineColumns:
        """The columns of a table of statistics."""
        offsets, sizes = _lists(statistics["line_bytes"])

        def values(name: str) -> Any:
            return _lists(statistics[name])[1].to_numpy(zero_copy_only=False)

        citation_offsets, spans = _lists(statistics["citations"])
        begin, end = (spans.field(name).to_numpy().astype(np.int64) for name in ("begin", "end"))
        measured = np.asarray(statistics["line_bytes"].is_valid(), dtype=bool)
        return cls(
            measured,
            offsets,
            sizes.to_numpy(zero_copy_only=False),
            values("line_words"),
            values("line_longest_word"),
            values("line_sentences"),
            values("line_upper"),
            values("line_flags"),
            citation_offsets,
            begin,
            end,
        )


@kernel
def _spans(
    offsets: Integers, sizes: npt.NDArray[np.int32], cut: npt.NDArray[np.bool_], cut_offsets: Integers, begin: Integers, end: Integers
) -> None:  # pragma: no cover - compiled
    count = 0
    for document in range(len(offsets) - 1):
        at = 0
        first = count
        last = offsets[document + 1] - 1
        for line in range(offsets[document], offsets[document + 1]):
            if cut[line]:
                # the last line has no line end after it, so it takes the one before
                start = at - 1 if line == last and at > 0 else at
                stop = at + sizes[line] + (line < last)
                if count > first and end[count - 1] >= start:
                    end[count - 1] = stop
                elif stop > start:
                    begin[count], end[count] = start, stop
                    count += 1
            at += sizes[line] + 1
        cut_offsets[document + 1] = count


def line_cuts(lines: LineColumns, cut: npt.NDArray[np.bool_]) -> Cuts:
    """The lines where `cut`, bool (lines,), is true, with their line ends, as cuts."""
    offsets = np.zeros(len(lines.offsets), np.int64)
    begin, end = np.empty(len(cut), np.int64), np.empty(len(cut), np.int64)
    _spans(lines.offsets, lines.bytes, cut, offsets, begin, end)
    return Cuts(offsets, begin[: offsets[-1]].copy(), end[: offsets[-1]].copy())


def reasons_in_words(family: str, lines: LineColumns, reason: npt.NDArray[np.uint8], names: Sequence[str]) -> list[str]:
    """For each document how many of its lines are cut for which reason (0: none), in words: "c4: 3 lines of too few words"."""
    documents = len(lines.offsets) - 1
    row = np.repeat(np.arange(documents), np.diff(lines.offsets))
    counts = np.bincount(row * len(names) + reason, minlength=documents * len(names)).reshape(documents, len(names))
    words = [""] * documents
    for document in np.flatnonzero(counts[:, 1:].any(axis=1)):
        parts = [
            f"{counts[document, index]} line{'s' if counts[document, index] != 1 else ''} {names[index]}"
            for index in range(1, len(names))
            if counts[document, index]
        ]
        words[document] = f"{family}: {', '.join(parts)}"
    return words
