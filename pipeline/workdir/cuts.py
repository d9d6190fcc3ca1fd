"""Cuts: byte spans of a document that later stages leave out when they read it.

A verdict on lines or spans keeps the document and says what to leave out of it. Cuts always count bytes of the text in
`documents/`, even where the stage that found them read the text with earlier cuts left out. So the cuts of several verdicts are
simply united.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from kernel.compile import kernel
from kernel.utf8 import Bytes, Offsets, utf8_view

CUTS = pa.list_(pa.struct([("begin", pa.int64()), ("end", pa.int64())]))


@dataclass(frozen=True)
class Cuts:
    """The cuts of some documents: those of document `i` are `[begin[k], end[k])` for k in `offsets[i]:offsets[i + 1]`.

    All arrays are int64. The cuts of a document are sorted, disjoint and not empty.
    """

    offsets: Offsets
    begin: Offsets
    end: Offsets

    @property
    def documents(self) -> int:
        """The number of documents."""
        return len(self.offsets) - 1

    @property
    def sizes(self) -> Offsets:
        """Bytes cut out of each document: int64 (documents,)."""
        total = np.concatenate([np.zeros(1, np.int64), np.cumsum(self.end - self.begin)])
        sizes: Offsets = total[self.offsets[1:]] - total[self.offsets[:-1]]
        return sizes

    def take(self, rows: npt.NDArray[np.integer]) -> Cuts:
        """The cuts of some of the documents, in the order of `rows`."""
        counts = self.offsets[rows + 1] - self.offsets[rows]
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        places = np.repeat(self.offsets[rows] - offsets[:-1], counts) + np.arange(offsets[-1])
        return Cuts(offsets, self.begin[places], self.end[places])

    def to_column(self) -> pa.Array:
        """As a column of a verdict: a list of (begin, end) for each document, null where there are none."""
        values = pa.StructArray.from_arrays([pa.array(self.begin), pa.array(self.end)], ["begin", "end"])
        lists = pa.ListArray.from_arrays(pa.array(self.offsets.astype(np.int32)), values)
        return pc.if_else(pa.array(np.diff(self.offsets) > 0), lists, pa.scalar(None, CUTS))


def no_cuts(documents: int) -> Cuts:
    """The cuts of so many documents of which nothing is cut."""
    nothing = np.zeros(0, np.int64)
    return Cuts(np.zeros(documents + 1, np.int64), nothing, nothing)


@kernel
def _unite(document: Offsets, begin: Offsets, end: Offsets, offsets: Offsets) -> int:  # pragma: no cover - compiled
    """Unite spans that overlap or touch, in place; they are sorted by (document, begin). Returns how many are left."""
    count = 0
    for span in range(len(document)):
        if begin[span] >= end[span]:
            continue
        if count and document[count - 1] == document[span] and begin[span] <= end[count - 1]:
            end[count - 1] = max(end[count - 1], end[span])
            continue
        document[count], begin[count], end[count] = document[span], begin[span], end[span]
        count += 1
        offsets[document[span] + 1] += 1
    for index in range(len(offsets) - 1):
        offsets[index + 1] += offsets[index]
    return count


def unite(documents: int, document: Offsets, begin: Offsets, end: Offsets) -> Cuts:
    """The cuts that cover the given spans, which may overlap and come in any order. `document`: the row of each span, int64."""
    order = np.lexsort((end, begin, document))
    rows, begins, ends = document[order], begin[order], end[order]
    offsets = np.zeros(documents + 1, np.int64)
    count = _unite(rows, begins, ends, offsets)
    return Cuts(offsets, begins[:count].copy(), ends[:count].copy())


def from_column(column: pa.Array | pa.ChunkedArray) -> Cuts:
    """The cuts of a verdict's column."""
    array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    counts = np.asarray(pc.list_value_length(array).fill_null(0), dtype=np.int64)
    values = array.flatten()
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    if not len(values):
        return no_cuts(len(array))
    return Cuts(offsets, values.field("begin").to_numpy(), values.field("end").to_numpy())


def all_of(cuts: Sequence[Cuts], documents: int) -> Cuts:
    """The union of several verdicts' cuts of the same documents."""
    some = [each for each in cuts if len(each.begin)]
    if len(some) < 2:
        return some[0] if some else no_cuts(documents)
    rows = [np.repeat(np.arange(documents), np.diff(each.offsets)) for each in some]
    return unite(
        documents,
        np.concatenate(rows),
        np.concatenate([each.begin for each in some]),
        np.concatenate([each.end for each in some]),
    )


@kernel
def _copy_uncut(
    offsets: Offsets, data: Bytes, cut_offsets: Offsets, begin: Offsets, end: Offsets, out: Bytes, out_offsets: Offsets
) -> None:  # pragma: no cover - compiled
    size = 0
    for document in range(len(offsets) - 1):
        at = offsets[document]
        for cut in range(cut_offsets[document], cut_offsets[document + 1] + 1):
            last = cut == cut_offsets[document + 1]
            stop = offsets[document + 1] if last else min(offsets[document] + begin[cut], offsets[document + 1])
            for byte in range(at, stop):
                out[size] = data[byte]
                size += 1
            if not last:
                at = min(offsets[document] + end[cut], offsets[document + 1])
        out_offsets[document + 1] = size


def apply(texts: pa.Array | pa.ChunkedArray, cuts: Cuts) -> pa.Array:
    """The texts without their cuts: large_string. Cuts lie on character boundaries, so the rest is valid UTF-8."""
    offsets, data = utf8_view(texts)
    out = np.empty(int(offsets[-1] - offsets[0]), np.uint8)
    ends = np.zeros(len(offsets), np.int64)
    _copy_uncut(offsets, data, cuts.offsets, cuts.begin, cuts.end, out, ends)
    return pa.LargeStringArray.from_buffers(len(ends) - 1, pa.py_buffer(ends), pa.py_buffer(out))


@kernel
def _original(
    cut_offsets: Offsets, begin: Offsets, end: Offsets, document: Offsets, at: Offsets, is_end: bool, out: Offsets
) -> None:  # pragma: no cover - compiled
    for index in range(len(document)):
        place = at[index]
        for cut in range(cut_offsets[document[index]], cut_offsets[document[index] + 1]):
            if begin[cut] < place or (begin[cut] == place and not is_end):
                place += end[cut] - begin[cut]
            else:
                break
        out[index] = place


def original(cuts: Cuts, document: Offsets, at: Offsets, *, is_end: bool = False) -> Offsets:
    """Byte positions in the texts of `documents/`, for positions `at` in the texts without their cuts: int64, as `at`.

    `document`: the document of each position. A position exactly at a cut is ambiguous: as the beginning of a span it is put after
    the cut, as its end (`is_end`) before it.
    """
    out = np.empty(len(at), np.int64)
    _original(cuts.offsets, cuts.begin, cuts.end, document, at, is_end, out)
    return out
