"""Pack: tokenised documents into rows of exactly L tokens, nothing cut away, nothing padded.

A document becomes a segment `[CLS] ids [SEP]`; one of more than L - 2 ids becomes several segments, so that every id is kept.
Rows are filled from the segments of a window, some partitions' worth of tokens (see `pipeline.pack.fill`).
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field

from kernel.compile import kernel
from pipeline.mix.plan import phase_column
from pipeline.pack.fill import fill_rows
from pipeline.shards import CHECKSUM, INDEX, ShardInfo, row_checksums, schema
from pipeline.workdir.commit import Summary
from pipeline.workdir.dataset import Manifest, Partition, Workdir, fingerprint, to_ipc
from pipeline.workdir.documents import TOKENS
from pipeline.workdir.stages import beside_of
from pipeline.workdir.tasks import File, Stage, Task, chunks_by_size

VERSION = 3
Ints = npt.NDArray[np.int64]


class PackConfig(BaseModel):
    """How tokens become packed rows."""

    model_config = ConfigDict(extra="forbid")

    window_tokens: int = Field(
        1 << 26,
        ge=1 << 10,
        description="Tokens that are packed together by one task; more pack a little tighter and need more memory.",
    )
    shard_bytes: int = Field(
        64 << 20, ge=1 << 12, le=1 << 30, description="Most bytes of token ids in one shard file, which has at least one row."
    )
    evaluation_tokens: int = Field(
        1 << 22,
        ge=1 << 10,
        description="Tokens of the held-out sample, on all of which every run is evaluated: drawn by keyed numbers in the mix of the "
        "validation split, whatever the packing, and less where the split has less.",
    )


def shards_dataset(phase: str) -> str:
    """The folder of a phase's shards."""
    return f"shards/{phase}"


@kernel
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
    phase: str
    tokens: tuple[Partition, ...]
    plan: tuple[Partition, ...]
    starts: tuple[int, ...]
    info: ShardInfo
    shard_bytes: int
    flags: bytes  # of each id: where segments may end


def _read_window(workdir: Workdir, window: _Window) -> tuple[npt.NDArray[np.generic], Ints, Ints, Ints, Ints, npt.NDArray[np.uint8]]:
    """All that a window's documents are: `(ids, first, sizes, repeats, ordinal, domain)`; ids end to end."""
    parts: list[list[npt.NDArray[np.generic]]] = [[] for _ in range(6)]
    base = 0
    number = {domain: index for index, domain in enumerate(window.info.domains)}
    column = phase_column(window.phase)
    for tokens, plan, start in zip(window.tokens, window.plan, window.starts, strict=True):
        table = workdir.read_table(TOKENS, tokens).combine_chunks()
        planned = workdir.read_table("plan", plan, ["domain", column])
        row = table["row"].to_numpy()
        lists = table["ids"].combine_chunks()
        if isinstance(lists, pa.ChunkedArray):
            lists = lists.chunk(0) if lists.num_chunks else pa.array([], table.schema.field("ids").type)
        offsets = lists.offsets.to_numpy().astype(np.int64)
        repeats = planned[column].to_numpy().astype(np.int64)[row]
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
    flags = np.frombuffer(window.flags, np.uint8)
    owner, source, length, row, rows = fill_rows(first, sizes, repeats, ids, flags, info.length)
    edges = np.searchsorted(row, np.arange(rows + 1)).astype(np.int64)
    target = schema(info)
    width = np.uint16 if info.vocab_size <= 1 << 16 else np.uint32
    per_shard = max(1, window.shard_bytes // (info.length * np.dtype(width).itemsize))
    real = 0
    for number, begin in enumerate(range(0, rows, per_shard)):
        end = min(rows, begin + per_shard)
        chosen = np.arange(edges[begin], edges[end])
        row_segments = edges[begin : end + 1] - edges[begin]
        out = np.empty(int((length[chosen] + 2).sum()), width)
        row_tokens = np.zeros(end - begin + 1, np.int64)
        boundaries = np.empty(len(chosen) + end - begin, np.int32)
        _write_rows(
            chosen,
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
            pa.ListArray.from_arrays(pa.array(values[field.name][0]), pa.array(values[field.name][1]), type=field.type)
            for field in target
            if field.name != CHECKSUM
        ]
        arrays.append(pa.array(row_checksums(*arrays)))
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
    config: PackConfig,
    dataset: str,
    phase: str,
    info: ShardInfo,
    flags: npt.NDArray[np.uint8],
    tokens: Manifest,
    plan: Manifest,
    documents: Manifest,
) -> Stage:
    """The stage that packs one phase to rows of `info.length`.

    `flags`: see `tokenizer.break_flags`.
    """
    parts: Sequence[Partition] = documents.partitions
    width = 2 if info.vocab_size <= 1 << 16 else 4
    sizes = [beside_of(tokens, partition.name).bytes // width for partition in parts]
    tasks = []
    for number, run in enumerate(chunks_by_size(sizes, config.window_tokens)):
        chosen = [parts[index] for index in run]
        window = _Window(
            f"part-{number:05d}",
            dataset,
            phase,
            tuple(beside_of(tokens, partition.name) for partition in chosen),
            tuple(plan.by_name[partition.name] for partition in chosen),
            tuple(documents.starts[partition.name] for partition in chosen),
            info,
            config.shard_bytes,
            flags.tobytes(),
        )
        inputs = [(t.checksum, p.checksum, s) for t, p, s in zip(window.tokens, window.plan, window.starts, strict=True)]
        key = fingerprint(VERSION, phase, info, config.shard_bytes, inputs)
        tasks.append(Task(window.name, key, window, sum(sizes[index] for index in run)))
    return Stage(f"pack {phase}", (dataset,), pack_window, tuple(tasks), asdict(info), memory=2 << 30, unit="tokens", index=INDEX)
