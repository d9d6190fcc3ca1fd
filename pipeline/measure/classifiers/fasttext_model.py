"""Scores of a fastText classifier (Joulin et al. 2016, arXiv 1607.01759): the probability of one of its labels.

A text is given as DCLM and datatrove give it: as one line, line feeds as spaces. fastText itself reads what it is given without
checks and may end the process over a damaged file, so that a model is first read through here: its header, its dictionary and
the sizes of its matrices must fit the file.
"""

from __future__ import annotations

import os
import struct
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import fasttext
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash

from pipeline.workdir.errors import UserError

PREFIX = "__label__"
_MAGIC, _VERSIONS = 793712314, (11, 12)
_MOST_CHARACTERS = 1_000_000  # of a text; the mean over a million words does not move any more


def content(path: str) -> str:
    """Checksum of a model's bytes. Raises `UserError` where it cannot be read."""
    digest = xxhash.xxh3_128()
    try:
        with open(path, "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError as error:
        raise UserError(f"classifier {path}: cannot be read ({error.strerror}); correct its path") from error
    return digest.hexdigest()


_NO_DICTIONARY = "its dictionary makes no sense"


class _Damaged(Exception):
    """Why a file is no fastText model."""


class _Model:
    """A model's file, read part by part in the order of fastText's `FastText::saveModel`. Each step raises `_Damaged`."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size

    def labels(self) -> list[str]:
        """The labels of a model whose parts fit its file."""
        magic, version = self._numbers("ii")
        if magic != _MAGIC:
            raise _Damaged("not a fastText model")
        if version not in _VERSIONS:
            raise _Damaged(f"of fastText's format {version}")
        width, bucket = self._settings()
        names, rows = self._dictionary(bucket)
        (quantized,) = self._numbers("?")
        self._matrix(rows, width, quantized)
        (quantized_output,) = self._numbers("?")
        self._matrix(len(names), width, quantized and quantized_output)
        if self._file.tell() != self._size:
            raise _Damaged("there is more in it than a model")
        return names

    def _numbers(self, form: str) -> tuple[Any, ...]:
        raw = self._file.read(struct.calcsize(f"<{form}"))
        if len(raw) < struct.calcsize(f"<{form}"):
            raise _Damaged("it ends early")
        return struct.unpack(f"<{form}", raw)

    def _skip(self, count: int) -> None:
        if count < 0 or self._file.tell() + count > self._size:
            raise _Damaged("it ends early")
        self._file.seek(count, os.SEEK_CUR)

    def _settings(self) -> tuple[int, int]:
        """The width of a vector, and how many rows hashed n-grams share."""
        width, _, _, _, _, ngrams, loss, kind, bucket, shortest, longest, _, _ = self._numbers("12id")
        if kind != 3:
            raise _Damaged("a model of word vectors, not a classifier")
        hashed = ngrams > 1 or longest > 0  # by their remainder over `bucket`, which then must not be 0
        if not (width > 0 and 0 <= ngrams <= 100 and shortest >= 0 and 0 <= longest <= 100 and bucket >= hashed and loss in (1, 2, 3, 4)):
            raise _Damaged("its settings make no sense")
        return width, bucket

    def _dictionary(self, bucket: int) -> tuple[list[str], int]:
        """The labels, and the rows of the matrix of words and hashed n-grams."""
        entries, words, labels, _, pruned = self._numbers("iiiqq")
        if words < 0 or labels <= 0 or entries != words + labels or entries > self._size // 11 or pruned < -1:
            raise _Damaged(_NO_DICTIONARY)
        names: list[str] = []
        for entry in range(entries):
            name = self._name()
            count, what = self._numbers("qb")
            if (what == 1) != (entry >= words) or not (entry < words or 0 < count < 1 << 50):
                raise _Damaged(_NO_DICTIONARY)
            if what == 1:
                names.append(name.decode())  # prediction names all labels, and would raise over one that is not UTF-8
        if pruned > 0:
            self._pruned(pruned)
        return names, words + (bucket if pruned < 0 else pruned)

    def _name(self) -> bytearray:
        name = bytearray()
        while (byte := self._file.read(1)) != b"\0":
            if not byte or len(name) > 1 << 16:
                raise _Damaged(_NO_DICTIONARY)
            name += byte
        return name

    def _pruned(self, pairs: int) -> None:
        """Pairs of a hash and the row that it has in the matrix."""
        raw = self._file.read(8 * pairs) if pairs <= self._size // 8 else b""
        if len(raw) < 8 * pairs:
            raise _Damaged("it ends early")
        places = np.frombuffer(raw, "<i4")[1::2]
        if places.min() < 0 or places.max() >= pairs:
            raise _Damaged(_NO_DICTIONARY)

    def _matrix(self, rows: int, width: int, quantized: bool) -> None:
        if not quantized:
            height, across = self._numbers("qq")
            if (height, across) != (rows, width):
                raise _Damaged("a matrix has another size than the model")
            self._skip(4 * height * across)
            return
        by_norm, height, across, codes = self._numbers("?qqi")
        if (height, across) != (rows, width) or codes < 0:
            raise _Damaged("a matrix has another size than the model")
        self._skip(codes)
        self._quantizer(width, codes // max(1, height))
        if by_norm:
            self._skip(height)
            self._quantizer(1, 1)

    def _quantizer(self, across: int, parts: int) -> None:
        dim, count, sub, last = self._numbers("iiii")
        if dim != across or count != parts or not 0 < last <= sub <= dim or (count - 1) * sub + last != dim:
            raise _Damaged("a quantizer has another size than the model")
        self._skip(4 * dim * 256)


@lru_cache(maxsize=4)
def _load(path: str, size: int, modified: int) -> tuple[Any, tuple[str, ...]]:
    try:
        with open(path, "rb") as file:
            labels = _Model(file, size).labels()
        return fasttext.load_model(path), tuple(labels)
    except (_Damaged, ValueError, RuntimeError, MemoryError) as error:
        raise UserError(f"classifier {path}: cannot be loaded ({error}); give a supervised fastText model (.bin or .ftz)") from error


def scores(texts: pa.Array | pa.ChunkedArray, path: str, label: str | None) -> npt.NDArray[np.float64]:
    """The probability of `label` for each text: float64 (texts,). Empty texts and nulls score 0."""
    try:
        status = Path(path).stat()
    except OSError as error:
        raise UserError(f"classifier {path}: cannot be read ({error.strerror}); correct its path") from error
    model, labels = _load(path, status.st_size, status.st_mtime_ns)
    known = ", ".join(name.removeprefix(PREFIX) for name in labels[:12]) + (" ..." if len(labels) > 12 else "")
    if label is None:
        raise UserError(f"classifier {path}: give `label`, whose probability is the score; there are: {known}")
    wanted = label if label.startswith(PREFIX) else PREFIX + label
    if wanted not in labels:
        raise UserError(f"classifier {path}: no label {label}; there are: {known}")
    out = np.zeros(len(texts), np.float64)
    for index, text in enumerate(texts.to_pylist()):
        line = (text or "")[:_MOST_CHARACTERS].replace("\n", " ").strip()
        if line:
            found = dict(zip(*model.predict(line, -1), strict=True))
            out[index] = min(1.0, float(found.get(wanted, 0.0)))  # fastText rounds to a little over 1
    return out
