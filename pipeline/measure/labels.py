"""Labels of one's own: which documents a person would keep and which drop, as JSON Lines.

A line names a document by `id` or `url`, as `documents/` has them, or gives its `text`, and says `keep`: true or false. The first that a
line has decides: id, url, text.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pipeline.workdir.dataset import Workdir
from pipeline.workdir.documents import DOCUMENTS
from pipeline.workdir.errors import UserError

NAMES = ("id", "url", "text")  # by which a label finds its document, in this order


@dataclass(frozen=True)
class Label:
    """What a person says of one document. `by`: id, url or text, and `value` what that is."""

    keep: bool
    by: str
    value: str
    text: str | None = None


@dataclass(frozen=True)
class Found:
    """The documents of a workdir that labels are of, by partition: their rows, int64, and what the labels say, bool."""

    rows: dict[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]] = field(default_factory=dict)
    missing: int = 0  # labels of which no document is there
    contradicted: int = 0  # documents that one label keeps and another drops; they are left out


def read_labels(path: Path) -> list[Label]:
    """The labels of a file. Raises `UserError`, which names the line, where one of them is none."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); give a file of labels, JSON Lines with `keep`") from error
    labels = [_label(f"{path}:{number}", line) for number, line in enumerate(lines, 1) if line.strip()]
    if not labels:
        raise UserError(f"{path}: has no labels; write lines such as {_EXAMPLE}")
    return labels


_EXAMPLE = '{"id": "SOURCE:PATH", "keep": true}'


def _label(place: str, line: bytes) -> Label:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{place}: is not JSON; write a line such as {_EXAMPLE}") from error
    if not isinstance(row, dict) or not isinstance(row.get("keep"), bool):
        raise UserError(f"{place}: does not say `keep` as true or false; write a line such as {_EXAMPLE}")
    by = next((name for name in NAMES if row.get(name) is not None), None)
    if by is None or not all(isinstance(row.get(name), str | None) for name in NAMES):
        raise UserError(f"{place}: has none of id, url and text as a text; write a line such as {_EXAMPLE}")
    return Label(row["keep"], by, row[by], row.get("text"))


def find(workdir: Workdir, labels: Sequence[Label]) -> Found:
    """The documents that labels are of. Of each way to name them one column is read."""
    keys = {by: list(dict.fromkeys(label.value for label in labels if label.by == by)) for by in NAMES}
    said = {by: np.zeros((len(values), 2), bool) for by, values in keys.items()}  # dropped, kept by some label
    place = {by: {value: number for number, value in enumerate(values)} for by, values in keys.items()}
    for label in labels:
        said[label.by][place[label.by][label.value], int(label.keep)] = True
    there = {by: np.zeros(len(values), bool) for by, values in keys.items()}
    used = [by for by in NAMES if keys[by]]
    rows_of: dict[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]] = {}
    contradicted = 0
    for partition, table in workdir.tables(DOCUMENTS, used):
        says = np.zeros((table.num_rows, 2), bool)
        for by in used:
            column = table[by].cast(pa.large_string())
            at = np.asarray(pc.fill_null(pc.index_in(column, value_set=pa.array(keys[by], pa.large_string())), -1), dtype=np.int64)
            hits = np.flatnonzero(at >= 0)
            says[hits] |= said[by][at[hits]]
            there[by][at[hits]] = True
        both = says.all(axis=1)
        contradicted += int(both.sum())
        rows = np.flatnonzero(says.any(axis=1) & ~both)
        if len(rows):
            rows_of[partition.name] = rows, says[rows, 1]
    missing = sum(not there[label.by][place[label.by][label.value]] for label in labels)
    return Found(rows_of, missing, contradicted)


def texts(labels: Iterable[Label], workdir: Workdir | None) -> dict[bool, list[str | None]]:
    """The texts of what is kept and of what is dropped; None for a label whose document has no text here.

    `workdir`: where the documents are that labels name without giving their text. Raises `UserError` where one is needed.
    """
    found: dict[bool, list[str | None]] = {True: [], False: []}
    named = []
    for label in labels:
        if label.text is not None:
            found[label.keep].append(label.text)
        else:
            named.append(label)
    if named and workdir is None:
        raise UserError(f"labels: {len(named):,} have an {named[0].by} and no text; give --workdir, where the documents are")
    if named and workdir is not None:
        documents = find(workdir, named)
        manifest = workdir.require(DOCUMENTS)
        for name, (rows, keep) in documents.rows.items():
            column = workdir.read_table(DOCUMENTS, manifest.by_name[name], ["text"])["text"].take(pa.array(rows))
            for text, kept in zip(column.to_pylist(), keep.tolist(), strict=True):
                found[kept].append(text)
        found[True] += [None] * documents.missing
    return found
