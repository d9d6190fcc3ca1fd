"""Tokenise: every kept document once, to ids without special tokens, to be packed for any length."""

from __future__ import annotations

import tempfile
from collections.abc import Generator
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from kernel.utf8 import utf8_view
from pipeline.mix.split import SPLIT
from pipeline.workdir.commit import Summary
from pipeline.workdir.cuts import apply, from_column
from pipeline.workdir.dataset import Manifest, Partition, Workdir, to_ipc
from pipeline.workdir.documents import DOCUMENTS, TOKENS
from pipeline.workdir.stages import Piece, per_partition
from pipeline.workdir.tasks import File, Stage, add_summaries
from tokenizer import Encoder

VERSION = 3
TOKENIZER = "tokenizer"


def cut_texts(
    workdir: Workdir, partition: Partition, cuts: pa.ChunkedArray, rows: npt.NDArray[np.integer[Any]]
) -> pa.Array | pa.ChunkedArray:
    """The texts of some rows of a partition of documents, without what the split's `cuts` leave out."""
    texts = workdir.read_table(DOCUMENTS, partition, ["text"])["text"].take(pa.array(rows)).combine_chunks()
    return texts if cuts.null_count == len(cuts) else apply(texts, from_column(cuts).take(rows))


def local_folder(workdir: Workdir, dataset: str) -> str:
    """A local folder with a dataset's files: the dataset's own where the workdir is local, else a fresh copy.

    Raises `CorruptData` where a file is not what was written.
    """
    files = {partition.name: workdir.read_partition(dataset, partition) for partition in workdir.require(dataset).partitions}
    if workdir.is_local:
        return workdir.path(dataset)
    folder = Path(tempfile.mkdtemp(prefix="foundry-"))
    for name, raw in files.items():
        (folder / name).write_bytes(raw.to_pybytes())
    return str(folder)


@lru_cache(maxsize=1)
def _encoder(workdir: Workdir, content: str) -> Encoder:
    """The encoder of a tokenizer, made once in a worker; `content` tells tokenizers apart."""
    return Encoder(local_folder(workdir, TOKENIZER))


def tokenize_partition(workdir: Workdir, piece: Piece[str]) -> Generator[File, None, Summary]:
    """One task: ids of each kept document of a partition, with its row there."""
    split = workdir.read_table(SPLIT, piece.beside[SPLIT])
    rows = np.flatnonzero(np.asarray(pc.is_valid(split["split"])))
    texts = cut_texts(workdir, piece.partition, split["cuts"], rows)
    ids = _encoder(workdir, piece.settings).encode(texts)
    lengths = np.asarray(pc.list_value_length(ids), dtype=np.int64)
    table = pa.table({"row": pa.array(rows.astype(np.int64)), "ids": ids})
    yield File(TOKENS, f"{piece.name}.arrow", to_ipc(table.combine_chunks().to_batches(), table.schema), len(rows))
    sizes = np.diff(utf8_view(texts)[0])
    counted = pa.table(
        {
            **{name: split[name].take(pa.array(rows)) for name in ("domain", "source", "split")},
            "tokens": lengths,
            "bytes": sizes,
        }
    )
    sums = [("tokens", "sum"), ("bytes", "sum"), ("bytes", "count")]
    summary: Summary = {"sources": {}, "domains": {}}
    for group in counted.group_by(["domain", "source", "split"]).aggregate(sums).to_pylist():
        counts = {"documents": group["bytes_count"], "tokens": group["tokens_sum"], "bytes": group["bytes_sum"]}
        summary["sources"].setdefault(group["domain"], {}).setdefault(group["source"], {})[group["split"]] = counts
        add_summaries(summary["domains"].setdefault(group["domain"], {}), counts)
    return summary


def tokenize_stage(documents: Manifest, split: Manifest, tokenizer: Manifest) -> Stage:
    """The stage over all partitions of `documents/`."""
    content = tokenizer.content
    return per_partition("tokenize", (TOKENS,), tokenize_partition, documents, content, version=VERSION, beside=(split,), memory=2 << 30)
