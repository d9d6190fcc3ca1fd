"""The held-out sample: the documents that every run of a workdir is evaluated on. `docs/evaluation.md` is its page.

It is one Arrow IPC file of one record batch, in a folder with an `index.json` as packed shards have it. One row is one *piece*: a
held-out document, or a part of one that is longer than the longest sequences of training.

    document     int64                  the document's ordinal in `documents/`
    id           string                 the document's id
    domain       string
    source       string
    place        int64                  which token of its document the piece begins with
    ids          list<uint16 | uint32>  its tokens, without special ones
    unigram      list<float32>          of each token: its loss (natural logarithm) under a unigram model of the training split,
    left         list<float32>          under a bigram model that sees the token before it,
    two_sided    list<float32>          and under one that sees the tokens on both sides

Nothing here is packed into rows: segments do not see one another, so an evaluation needs none. `HeldOut.segments` cuts the pieces to a
length, and a mask is keyed by a token's document and its place there. So every length predicts the same tokens, whatever the packing.

This module imports pyarrow, numpy and `pipeline.shards` only.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pipeline.shards import INDEX, Folder, Place, ShardError, ShardInfo

METADATA_KEY = b"foundry_held_out"
BASELINES = ("unigram", "left", "two_sided")  # of the n-gram models, the least informed first
SPECIALS = 2  # [CLS] and [SEP] of a segment
Ints = npt.NDArray[np.int64]


def schema(info: ShardInfo, seed: int) -> pa.Schema:
    """The Arrow schema of a sample whose pieces have at most `info.length` tokens, special ones counted; `seed`: that it was drawn by."""
    id_type = pa.uint16() if info.vocab_size <= 1 << 16 else pa.uint32()
    fields = [
        ("document", pa.int64()),
        ("id", pa.string()),
        ("domain", pa.string()),
        ("source", pa.string()),
        ("place", pa.int64()),
        ("ids", pa.list_(id_type)),
        *((name, pa.list_(pa.float32())) for name in BASELINES),
    ]
    described = {**asdict(info), "seed": seed}
    return pa.schema(fields, metadata={METADATA_KEY: json.dumps(described, sort_keys=True).encode()})


class Segments(NamedTuple):
    """What goes through the model as one sequence each: `[CLS] ids[begin:end] [SEP]` of a piece. All int64 (segments,)."""

    piece: Ints
    begin: Ints  # places in the ids of all pieces
    end: Ints


@dataclass(frozen=True)
class HeldOut:
    """A held-out sample in memory.

    `ids` has the tokens of all pieces end to end, piece `p` being `ids[first[p]:first[p + 1]]`; the losses of `baselines` lie beside them.
    """

    info: ShardInfo
    seed: int
    fingerprint: str
    document: Ints  # (pieces,): ordinals
    names: tuple[str, ...]  # (pieces,): ids of the documents
    domain: tuple[str, ...]  # (pieces,)
    source: tuple[str, ...]  # (pieces,)
    place: Ints  # (pieces,)
    first: Ints  # (pieces + 1,)
    ids: Ints  # (tokens,)
    baselines: dict[str, npt.NDArray[np.float32]]  # each (tokens,)

    @property
    def pieces(self) -> int:
        """How many pieces there are."""
        return len(self.document)

    def segments(self, length: int) -> Segments:
        """All pieces, cut to sequences of at most `length` tokens, special ones counted: each into as few as can be, equally long ones."""
        sizes = np.diff(self.first)
        counts = -(-sizes // (length - SPECIALS))
        piece = np.repeat(np.arange(self.pieces, dtype=np.int64), counts)
        number = np.arange(len(piece), dtype=np.int64) - np.repeat(np.cumsum(counts) - counts, counts)
        begin = self.first[piece] + sizes[piece] * number // counts[piece]
        end = self.first[piece] + sizes[piece] * (number + 1) // counts[piece]
        return Segments(piece, begin, end)


def read_held_out(folder: str | Path | Place, *, tokenizer: str | None = None) -> HeldOut:
    """Read a sample. `tokenizer`: the fingerprint of the tokenizer that it must be made with, if given.

    Raises `ShardError` where it is unfinished, damaged or of another tokenizer.
    """
    place: Place = Folder(Path(folder)) if isinstance(folder, str | Path) else folder
    raw = place.read(INDEX)
    if raw is None:
        raise ShardError(f"{place}: has no {INDEX}; packing has not finished there, run it again")
    try:
        index = json.loads(raw)
        (file,) = index["files"]
        fingerprint = str(index["fingerprint"])
        path = place.path(file["name"], file["bytes"], file["xxh3_128"])
        if path.stat().st_size != file["bytes"]:
            raise ValueError("its size is another than the index says")
        batch = pa.ipc.open_file(pa.memory_map(str(path))).get_batch(0)
        described: dict[str, Any] = json.loads(batch.schema.metadata[METADATA_KEY])
    except (ValueError, KeyError, TypeError, OSError) as error:
        said = " ".join(str(error).split())
        raise ShardError(f"{place}: cannot be read as a held-out sample ({said}); delete it and pack again") from error
    seed = int(described.pop("seed"))
    info = replace(ShardInfo(**described), ordinary=tuple(described["ordinary"]), domains=tuple(described["domains"]))
    if tokenizer is not None and info.tokenizer != tokenizer:
        raise ShardError(f"{place}: is made with another tokenizer than the one given; pack again")
    lists = batch.column("ids")
    bounds = lists.offsets.to_numpy().astype(np.int64)
    part = slice(int(bounds[0]), int(bounds[-1]))
    return HeldOut(
        info,
        seed,
        fingerprint,
        batch.column("document").to_numpy(),
        tuple(batch.column("id").to_pylist()),
        tuple(batch.column("domain").to_pylist()),
        tuple(batch.column("source").to_pylist()),
        batch.column("place").to_numpy(),
        bounds - bounds[0],
        lists.values.to_numpy()[part].astype(np.int64),
        {name: batch.column(name).values.to_numpy()[part] for name in BASELINES},
    )
