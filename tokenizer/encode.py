"""Encoding for the pipeline: Arrow strings to Arrow lists of ids, by the fast engine wherever it was proved equal."""

from __future__ import annotations

import json
import logging
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from tokenizers import Tokenizer

from tokenizer.engines import FastEngine, fast_encode, fast_engine, slow_encode
from tokenizer.errors import TokenizerError
from tokenizer.folder import load, text_only
from tokenizer.proof import Proof, prove
from tokenizer.scan import CODE_POINTS, all_allowed

log = logging.getLogger(__name__)

Texts: TypeAlias = pa.StringArray | pa.LargeStringArray | pa.ChunkedArray | list[str]
_GAP = 1 << 16  # bytes of text that are worth a call of the fast engine
_MOST_IDS = 2**31 - 1  # that the 32-bit offsets of a ListArray can count


@cache
def _warn_once(message: str) -> None:
    log.warning(message)


class Encoder:
    """Encodes documents with the tokenizer of a folder. Special tokens are never added, and never recognised in the text.

    One thread, unless `parallel`. The proof that gigatoken gives equal ids is the one in the folder's report; where there is
    none, or it is of another tokenizer or other versions of the engines, the comparison is made here, once in a process; without
    `compare` it is not, and `tokenizers` does the work. Where gigatoken
    cannot be used at all, `tokenizers` encodes everything, and the log says so. Raises `TokenizerError` where the folder
    holds no tokenizer that can be loaded.
    """

    def __init__(self, folder: str | Path, *, parallel: bool = False, compare: bool = True) -> None:
        self.folder = Path(folder)
        self.parallel = parallel
        tokenizer = load(self.folder)
        body = text_only(tokenizer.to_str())
        self.tokenizer = Tokenizer.from_str(body)
        self.vocab_size: int = tokenizer.get_vocab_size()
        self.id_type = pa.uint16() if self.vocab_size <= 1 << 16 else pa.uint32()
        self._kind = self.id_type.to_pandas_dtype()
        proof = _stored_proof(self.folder)
        if (proof is None or not proof.holds(body)) and compare:
            proof = _proof(body, parallel)
        holds = proof is not None and proof.holds(body)
        self.engine: FastEngine | None = None
        self.allowed = proof.allowed() if proof is not None else np.zeros(CODE_POINTS, bool)
        why = proof.why_not if proof is not None else ""
        if proof is not None and holds and proof.usable:
            self.engine, why = fast_engine(body)
        if self.engine is None and holds:
            _warn_once(f"{self.folder}: `tokenizers` encodes everything, slowly; gigatoken cannot be used ({why})")

    def encode(self, texts: Texts) -> pa.ListArray | pa.LargeListArray:
        """Ids of each text: list<uint16>, or list<uint32> for vocabularies past 65,536; nulls read as empty texts.

        A large_list where the texts give more than 2**31 - 1 ids. Raises `TokenizerError` where a text is not UTF-8.
        """
        array = _large_strings(texts)
        fast = all_allowed(array, self.allowed) if self.engine is not None else np.zeros(len(array), bool)
        if self.engine is not None and self.engine.words:
            candidates = np.flatnonzero(fast)
            fast[candidates] = self.engine.takes(array.take(pa.array(candidates)))
        slow_rows = np.flatnonzero(~fast)
        together = None  # ids of all texts of the fast engine, where those of the other are so many that each gap would be short
        if self.engine is not None and len(slow_rows) * _GAP > array.nbytes:
            together = fast_encode(self.engine, array.take(pa.array(np.flatnonzero(fast))), parallel=self.parallel)
        sizes, parts, begin = np.zeros(len(array), np.int64), [], 0
        for number, (row, slow) in enumerate(zip([*slow_rows, len(array)], [*self._slow(array, slow_rows), None], strict=True)):
            if self.engine is not None and row > begin:  # what lies between two texts of the other engine
                if together is None:
                    offsets, ids = fast_encode(self.engine, array.slice(begin, row - begin), parallel=self.parallel)
                else:
                    offsets, ids = together[0][begin - number : row - number + 1], together[1]
                sizes[begin:row] = np.diff(offsets)
                parts.append(ids[offsets[0] : offsets[-1]].astype(self._kind, copy=False))
            if slow is not None:
                sizes[row] = len(slow)
                parts.append(np.array(slow, self._kind))
            begin = row + 1
        ids = parts[0] if len(parts) == 1 else np.concatenate([np.zeros(0, self._kind), *parts])
        return self._lists(np.concatenate([[0], np.cumsum(sizes)]), ids)

    def _slow(self, array: pa.LargeStringArray, rows: npt.NDArray[np.int64]) -> list[list[int]]:
        texts = []
        for row in rows:
            try:
                texts.append(array[int(row)].as_py())
            except UnicodeDecodeError as error:
                raise TokenizerError(
                    f"text {row} is not UTF-8 ({error.reason} at byte {error.start}); repair it before encoding"
                ) from error
        return slow_encode(self.tokenizer, texts, parallel=self.parallel)

    def _lists(self, offsets: npt.NDArray[np.int64], ids: npt.NDArray[Any]) -> pa.ListArray | pa.LargeListArray:
        item = pa.field("item", self.id_type, nullable=False)
        values = pa.array(ids)
        if offsets[-1] > _MOST_IDS:
            return pa.LargeListArray.from_arrays(pa.array(offsets), values, type=pa.large_list(item))
        return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), values, type=pa.list_(item))


def _large_strings(texts: Texts) -> pa.LargeStringArray:
    """Texts as one large_string array without nulls; not copied where they are one."""
    if isinstance(texts, list):
        try:
            return pa.array(texts, pa.large_string()).fill_null("")
        except UnicodeEncodeError as error:
            raise TokenizerError(f"a text is not UTF-8 ({error.reason}: a lone surrogate); repair it before encoding") from error
    wide = texts.cast(pa.large_string())  # before chunks are joined: small strings may be too large for one array
    array = wide.combine_chunks() if isinstance(wide, pa.ChunkedArray) else wide
    return pc.fill_null(array, "") if array.null_count else array


def _stored_proof(folder: Path) -> Proof | None:
    path = folder / "report.json"
    if not path.is_file():
        return None
    try:
        return Proof.from_json(json.loads(path.read_text(encoding="utf-8"))["fast_engine"])
    except (ValueError, KeyError, TypeError) as error:
        raise TokenizerError(f"{path}: not a report of ours ({error!r}); delete it, or make the tokenizer again") from error


@cache
def _proof(tokenizer_json: str, parallel: bool) -> Proof:
    log.info("comparing gigatoken with `tokenizers` on this tokenizer; takes some seconds")
    return prove(tokenizer_json, parallel=parallel)
