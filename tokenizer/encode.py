"""Encoding for the pipeline: Arrow strings to Arrow lists of ids, by the fast engine wherever it was proved equal."""

from __future__ import annotations

import json
import logging
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer

from tokenizer.artifact import load, text_only
from tokenizer.engines import all_safe, fast_encode, fast_engine, safe_table, single_threaded, slow_encode

log = logging.getLogger(__name__)


class Encoder:
    """Encodes documents with the tokenizer of a folder. Special tokens are never added, and never recognised in the text."""

    def __init__(self, folder: str | Path) -> None:
        self.folder = Path(folder)
        single_threaded()
        tokenizer = load(self.folder)
        body = text_only(tokenizer.to_str())
        self.tokenizer = Tokenizer.from_str(body)
        size = tokenizer.get_vocab_size()
        self.dtype: Any = np.uint16 if size <= 1 << 16 else np.uint32
        self.engine, why = fast_engine(body)
        report = self.folder / "report.json"
        proof = json.loads(report.read_text(encoding="utf-8"))["fast_engine"] if report.is_file() else None
        if self.engine is None:
            log.warning("%s: gigatoken cannot load this tokenizer (%s); `tokenizers` encodes everything", self.folder, why)
        elif proof is None or not proof["usable"]:
            self.engine = None
            log.warning("%s: no proof that gigatoken gives equal ids; `tokenizers` encodes everything", self.folder)
        else:
            self.safe = safe_table(proof["different_code_points"])

    def encode(self, texts: pa.Array | pa.ChunkedArray | list[str]) -> pa.ListArray:
        """Ids of each text: list<uint16>, or list<uint32> for vocabularies past 65,536. Nulls read as empty texts."""
        array = pa.array(texts, pa.large_string()) if isinstance(texts, list) else texts
        if isinstance(array, pa.ChunkedArray):
            array = array.combine_chunks()
        array = array.cast(pa.large_string()).fill_null("")
        fast = all_safe(array, self.safe) if self.engine is not None else np.zeros(len(array), bool)
        slow = np.flatnonzero(~fast)
        if self.engine is not None and not len(slow):
            offsets, ids = fast_encode(self.engine, array)
            return self._lists(offsets, ids.astype(self.dtype))
        parts: list[Any] = [None] * len(array)
        if self.engine is not None:
            rows = np.flatnonzero(fast)
            offsets, ids = fast_encode(self.engine, array.take(pa.array(rows)))
            for index, row in enumerate(rows):
                parts[row] = ids[offsets[index] : offsets[index + 1]]
        if len(slow):
            encoded = slow_encode(self.tokenizer, array.take(pa.array(slow)).to_pylist())
            for row, numbers in zip(slow, encoded, strict=True):
                parts[row] = np.array(numbers, np.uint32)
        lengths = np.array([len(part) for part in parts], np.int64)
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        joined = np.concatenate(parts) if parts else np.zeros(0, np.uint32)
        return self._lists(offsets, joined.astype(self.dtype))

    def _lists(self, offsets: Any, ids: Any) -> pa.ListArray:
        item = pa.field("item", pa.from_numpy_dtype(self.dtype), nullable=False)
        return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(ids), type=pa.list_(item))


@cache
def encoder(folder: str) -> Encoder:
    """The encoder of a folder, made once in a process."""
    return Encoder(folder)
