"""Pack: tokenised documents into rows of exactly L tokens, nothing cut away, nothing padded.

A document becomes a segment `[CLS] ids [SEP]`; one of more than L - 2 ids becomes several segments, so that every id is kept.
Segments of a window (some partitions' worth of tokens) are packed by best-fit decreasing: longest first, each into the
fullest row that still has room. With many short segments about, almost every row comes out full.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from pipeline.dataset import Manifest, Partition, Workdir, fingerprint, to_ipc
from pipeline.engine import File, Stage, Summary, Task, chunks_by_size
from pipeline.mixing import VALIDATION, phase_column
from pipeline.shards import ShardInfo, schema
from pipeline.tokens import TOKENS

VERSION = 1
Ints = npt.NDArray[np.int64]


class PackConfig(BaseModel):
    """How tokens become packed rows."""

    model_config = ConfigDict(extra="forbid")

    window_tokens: int = Field(
        1 << 26,
        ge=1 << 10,
        description="Tokens that are packed together by one task; more pack a little tighter and need more memory.",
    )
    shard_bytes: int = Field(64 << 20, ge=1 << 12, le=1 << 30, description="Bytes of ids in one shard file, at most (one row more).")


def shards_dataset(phase: str) -> str:
    """The folder of a phase's shards."""
    return f"shards/{phase}"


@numba.njit(cache=True, nogil=True)
def _best_fit(lengths: Ints, capacity: int, bins: Ints) -> int:  # pragma: no cover - compiled
    """Bin of each item; items come longest first. Returns how many bins.

    A complete binary tree over the room left (0 .. capacity) holds in each node whether any bin below it has that room; the
    least sufficient room is found by one climb and one descent, O(log capacity). Bins of equal room form a stack.
    """
    leaves = 1
    while leaves < capacity + 1:
        leaves *= 2
    filled = np.zeros(2 * leaves, np.bool_)
    top = np.full(capacity + 1, -1, np.int64)  # the last bin with that much room
    below = np.empty(len(lengths), np.int64)  # the next bin in its stack
    count = 0
    for item in range(len(lengths)):
        need = lengths[item]
        node = leaves + need
        found = filled[node]
        while not found and node > 1:
            if node % 2 == 0 and filled[node + 1]:
                node += 1
                found = True
            else:
                node //= 2
        if found:
            while node < leaves:
                node *= 2
                if not filled[node]:
                    node += 1
            room = node - leaves
            chosen = top[room]
            top[room] = below[chosen]
            if top[room] < 0:
                filled[node] = False
                node //= 2
                while node >= 1:
                    filled[node] = filled[2 * node] or filled[2 * node + 1]
                    if filled[node]:
                        break
                    node //= 2
        else:
            room = capacity
            chosen = count
            count += 1
        bins[item] = chosen
        left = room - need
        if left > 0:
            below[chosen] = top[left]
            top[left] = chosen
            node = leaves + left
            while node >= 1 and not filled[node]:
                filled[node] = True
                node //= 2
    return count


def best_fit_decreasing(lengths: Ints, capacity: int) -> tuple[Ints, Ints, int]:
    """Pack items of the given lengths (1 .. capacity each) into bins of `capacity`.

    Returns `(order, bins, count)`: `order` int64 (items,) sorts the items longest first, ties in their order; `bins` int64
    (items,) is the bin of each item of that order; `count` is how many bins there are. Johnson 1973: at most 11/9 of the
    optimum; in practice nearly all bins are full, since short items fill the gaps.
    """
    order = np.argsort(-lengths, kind="stable").astype(np.int64)
    bins = np.empty(len(lengths), np.int64)
    return order, bins, _best_fit(lengths[order], capacity, bins)


@numba.njit(cache=True, nogil=True)
def _split(sizes: Ints, repeats: Ints, longest: int, owner: Ints, start: Ints, length: Ints) -> int:  # pragma: no cover - compiled
    """Segments of each document (ids only), each repetition anew; with empty arrays, only counts them."""
    count = 0
    for document in range(len(sizes)):
        for _ in range(repeats[document]):
            at = 0
            while at < sizes[document]:
                take = min(longest, sizes[document] - at)
                if len(owner):
                    owner[count], start[count], length[count] = document, at, take
                at += take
                count += 1
    return count


def split_documents(sizes: Ints, repeats: Ints, longest: int) -> tuple[Ints, Ints, Ints]:
    """Segments of documents: `(owner, start, length)`, int64 (segments,): which document, from which id, how many ids.

    A document of `sizes` ids gives ceil(sizes / longest) segments in each of its repetitions; an empty one gives none.
    """
    none = np.empty(0, np.int64)
    count = _split(sizes, repeats, longest, none, none, none)
    owner, start, length = np.empty(count, np.int64), np.empty(count, np.int64), np.empty(count, np.int64)
    if count:
        _split(sizes, repeats, longest, owner, start, length)
    return owner, start, length


@numba.njit(cache=True, nogil=True)
def _write_rows(
    segments: Ints,
    row_segments: Ints,
    source: Ints,
    length: Ints,
    ids: npt.NDArray[Any],
    cls: int,
    sep: int,
    row_tokens: Ints,
    out: npt.NDArray[Any],
    boundaries: npt.NDArray[np.int32],
) -> None:  # pragma: no cover - compiled
    """Lay rows `0 .. len(row_segments) - 1` out end to end: ids into `out`, per-row boundaries into `boundaries`."""
    at = edge = 0
    for row in range(len(row_segments) - 1):
        begin = at
        boundaries[edge] = 0
        edge += 1
        for position in range(row_segments[row], row_segments[row + 1]):
            segment = segments[position]
            out[at] = cls
            at += 1
            for index in range(source[segment], source[segment] + length[segment]):
                out[at] = ids[index]
                at += 1
            out[at] = sep
            at += 1
            boundaries[edge] = at - begin
            edge += 1
        row_tokens[row + 1] = at


@dataclass(frozen=True)
class _Window:
    name: str
    dataset: str
    phase: str | None  # None: the validation split
    tokens: tuple[Partition, ...]
    plan: tuple[Partition, ...]
    starts: tuple[int, ...]
    info: ShardInfo
    shard_bytes: int


def _read_window(workdir: Workdir, window: _Window) -> tuple[npt.NDArray[np.generic], Ints, Ints, Ints, Ints, npt.NDArray[np.uint8]]:
    """All that a window's documents are: `(ids, first, sizes, repeats, ordinal, domain)`; ids end to end."""
    parts: list[list[npt.NDArray[np.generic]]] = [[] for _ in range(6)]
    base = 0
    number = {domain: index for index, domain in enumerate(window.info.domains)}
    column = "split" if window.phase is None else phase_column(window.phase)
    for tokens, plan, start in zip(window.tokens, window.plan, window.starts, strict=True):
        table = workdir.read_table(TOKENS, tokens).combine_chunks()
        planned = workdir.read_table("plan", plan, ["domain", column])
        row = table["row"].to_numpy()
        lists = table["ids"].combine_chunks()
        if isinstance(lists, pa.ChunkedArray):
            lists = lists.chunk(0) if lists.num_chunks else pa.array([], table.schema.field("ids").type)
        offsets = lists.offsets.to_numpy().astype(np.int64)
        values = planned[column]
        if window.phase is None:
            repeats = np.array([value == VALIDATION for value in values.to_pylist()], np.int64)[row]
        else:
            repeats = values.to_numpy().astype(np.int64)[row]
        domains = np.array([number[domain] for domain in planned["domain"].to_pylist()], np.uint8)[row]
        ids = lists.values.to_numpy()[offsets[0] : offsets[-1]] if len(lists) else np.zeros(0, np.uint16)
        columns = (ids, base + offsets[:-1] - offsets[0], np.diff(offsets), repeats, row + start, domains)
        for part, values_of in zip(parts, columns, strict=True):
            part.append(values_of)
        base += len(ids)
    ids, first, sizes, repeats, ordinal, domain = (np.concatenate(part) for part in parts)
    return (
        ids,
        first.astype(np.int64),
        sizes.astype(np.int64),
        repeats.astype(np.int64),
        ordinal.astype(np.int64),
        domain.astype(np.uint8),
    )


def pack_window(workdir: Workdir, window: _Window) -> Generator[File, None, Summary]:
    """One task: pack one window of documents for one phase; yield shard files."""
    info = window.info
    ids, first, sizes, repeats, ordinal, domain = _read_window(workdir, window)
    owner, start, length = split_documents(sizes, repeats, info.length - 2)
    order, bins, rows = best_fit_decreasing(length + 2, info.length)
    by_row = np.argsort(bins, kind="stable")  # segments row by row, longest first within a row
    segments = order[by_row]
    edges = np.searchsorted(bins[by_row], np.arange(rows + 1)).astype(np.int64)
    target = schema(info)
    width = np.uint16 if info.vocab_size <= 1 << 16 else np.uint32
    per_shard = max(1, window.shard_bytes // (info.length * np.dtype(width).itemsize))
    source = first[owner] + start
    real = 0
    for number, begin in enumerate(range(0, rows, per_shard)):
        end = min(rows, begin + per_shard)
        chosen = segments[edges[begin] : edges[end]]
        row_segments = edges[begin : end + 1] - edges[begin]
        out = np.empty(int((length[chosen] + 2).sum()), width)
        row_tokens = np.zeros(end - begin + 1, np.int64)
        boundaries = np.empty(len(chosen) + end - begin, np.int32)
        _write_rows(
            segments[edges[begin] : edges[end]],
            row_segments,
            source,
            length,
            ids,
            info.cls,
            info.sep,
            row_tokens,
            out,
            boundaries,
        )
        per_row = row_segments.astype(np.int32)
        values = {
            "input_ids": (row_tokens.astype(np.int32), out),
            "cu_seqlens": (per_row + np.arange(end - begin + 1, dtype=np.int32), boundaries),
            "domain": (per_row, domain[owner[chosen]]),
            "document": (per_row, ordinal[owner[chosen]]),
        }
        arrays = [
            pa.ListArray.from_arrays(pa.array(values[field.name][0]), pa.array(values[field.name][1]), type=field.type) for field in target
        ]
        batch = pa.RecordBatch.from_arrays(arrays, schema=target)
        real += len(out)
        yield File(window.dataset, f"{window.name}-{number:03d}.arrow", to_ipc([batch], target), end - begin)
    times = np.bincount(domain, weights=sizes * repeats, minlength=len(info.domains)).astype(np.int64)
    return {
        "rows": rows,
        "segments": len(owner),
        "documents": int((repeats > 0).sum()),
        "tokens": real,
        "slots": rows * info.length,
        "domains": {name: int(count) for name, count in zip(info.domains, times, strict=True)},
    }


def pack_stage(
    config: PackConfig, dataset: str, phase: str | None, info: ShardInfo, tokens: Manifest, plan: Manifest, documents: Manifest
) -> Stage:
    """The stage that packs one phase, or with `phase` None the validation split, to rows of `info.length`."""
    parts: Sequence[Partition] = documents.partitions
    width = 2 if info.vocab_size <= 1 << 16 else 4
    sizes = [tokens.by_name[f"{partition.name}.arrow"].bytes // width for partition in parts]
    tasks = []
    for number, run in enumerate(chunks_by_size(sizes, config.window_tokens)):
        chosen = [parts[index] for index in run]
        window = _Window(
            f"part-{number:05d}",
            dataset,
            phase,
            tuple(tokens.by_name[f"{partition.name}.arrow"] for partition in chosen),
            tuple(plan.by_name[partition.name] for partition in chosen),
            tuple(documents.starts[partition.name] for partition in chosen),
            info,
            config.shard_bytes,
        )
        inputs = [(t.checksum, p.checksum, s) for t, p, s in zip(window.tokens, window.plan, window.starts, strict=True)]
        key = fingerprint(VERSION, phase, info, config.shard_bytes, inputs)
        tasks.append(Task(window.name, key, window, sum(sizes[index] for index in run)))
    name = f"pack {phase or 'validation'}"
    return Stage(name, (dataset,), pack_window, tuple(tasks), {"length": info.length}, memory=2 << 30, unit="tokens")
