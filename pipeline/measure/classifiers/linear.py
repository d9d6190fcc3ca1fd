"""A linear classifier over hashed words and pairs of words, scored straight from UTF-8.

A text is counted into 2^bits buckets by the 64-bit hashes of its words (lower case, as deduplication has them) and of its pairs
of neighbouring words; the hash's last bit gives the sign, so that collisions cancel on average (Weinberger et al. 2009, arXiv
0902.2206; scikit-learn's `HashingVectorizer` does the same). Counts are divided by their Euclidean length; the score is the
logistic function of their product with the weights.

A model is a folder: `model.safetensors` (`weights` float32 (2^bits,), `bias` float32 (1,)) and `config.json`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import xxhash
from safetensors import SafetensorError
from safetensors.numpy import load, save

from kernel.compile import kernel
from kernel.hashing import fmix64
from kernel.utf8 import Bytes, Offsets, tables, utf8_view
from kernel.words import BASE, U32, U64, most_units, word_units
from pipeline.workdir.dataset import fingerprint
from pipeline.workdir.errors import UserError

FORMAT = 1
WEIGHTS, CONFIG = "model.safetensors", "config.json"
F32 = npt.NDArray[np.float32]


@dataclass(frozen=True)
class LinearModel:
    """`weights` float32 (2^bits,), and the bias that is added for every text."""

    weights: F32
    bias: float


@kernel
def _bigrams(units: U64, count: int) -> None:  # pragma: no cover - compiled
    """After the hashes of `count` words, those of the `count - 1` pairs of neighbours."""
    for word in range(count - 1):
        units[count + word] = fmix64(units[word] * BASE + units[word + 1])


@kernel
def _score(
    offsets: Offsets, data: Bytes, classes: Bytes, lower: U32, weights: F32, bias: float, out: npt.NDArray[np.float64]
) -> None:  # pragma: no cover - compiled
    units = np.empty(2 * most_units(offsets, True), np.uint64)
    shift = np.uint64(64)
    size = len(weights)
    while size > 1:
        shift -= np.uint64(1)
        size >>= 1
    counts = np.zeros(len(weights), np.float32)
    for document in range(len(offsets) - 1):
        words = word_units(data, offsets[document], offsets[document + 1], classes, lower, units)
        _bigrams(units, words)
        total = max(0, 2 * words - 1)
        squares, product = 0.0, 0.0
        for unit in range(total):
            bucket = units[unit] >> shift
            sign = np.float32(1) if units[unit] & np.uint64(1) else np.float32(-1)
            before = counts[bucket]
            squares += 2 * sign * before + 1  # (c ± 1)^2 - c^2
            counts[bucket] = before + sign
            product += sign * weights[bucket]
        for unit in range(total):
            counts[units[unit] >> shift] = 0
        out[document] = 1 / (1 + np.exp(-(product / np.sqrt(squares) + bias))) if squares > 0 else 1 / (1 + np.exp(-bias))


@kernel
def _features(data: Bytes, classes: Bytes, lower: U32, shift: int, units: U64) -> int:  # pragma: no cover - compiled
    """`units` gets bucket and sign (last bit) of each word and pair; returns how many."""
    words: int = word_units(data, 0, len(data), classes, lower, units)
    _bigrams(units, words)
    total = max(0, 2 * words - 1)
    for unit in range(total):
        units[unit] = (units[unit] >> np.uint64(shift)) << np.uint64(1) | (units[unit] & np.uint64(1))
    return total


def features(text: bytes, bits: int) -> tuple[npt.NDArray[np.int32], F32]:
    """The features of a text in UTF-8: its buckets, int32, ascending, and the value of each, float32, together of Euclidean length 1."""
    data = np.frombuffer(text, np.uint8)
    units = np.empty(2 * (len(data) // 2 + 2), np.uint64)
    total = _features(data, *tables(), 64 - bits, units)
    found, counts = np.unique(units[:total], return_counts=True)
    buckets, place = np.unique(found >> np.uint64(1), return_inverse=True)
    values = np.bincount(place, weights=np.where(found & np.uint64(1), counts, -counts), minlength=len(buckets))
    kept = values != 0
    length = np.sqrt(np.sum(values**2))
    return buckets[kept].astype(np.int32), (values[kept] / max(length, 1e-12)).astype(np.float32)


def score(texts: pa.Array | pa.ChunkedArray, model: LinearModel) -> npt.NDArray[np.float64]:
    """Probability of the positive set for each text: float64 (texts,). For a text without words the bias alone decides."""
    offsets, data = utf8_view(texts)
    out = np.zeros(len(offsets) - 1, np.float64)
    _score(offsets, data, *tables(), model.weights, model.bias, out)
    return out


def scores(texts: pa.Array | pa.ChunkedArray, path: str) -> npt.NDArray[np.float64]:
    """`score` by the model in a folder. Raises `UserError` where there is none or it is damaged."""
    return score(texts, _load(path, _raw(path)))


# --- the folder ----------------------------------------------------------------------------------------------------------


def write(folder: Path, model: LinearModel, description: dict[str, Any]) -> None:
    """Write a model, with its `description` in `config.json`. The same model gives the same bytes. Raises `UserError`."""
    raw = save({"weights": model.weights, "bias": np.array([model.bias], np.float32)})
    config = {"format": FORMAT, "kind": "linear", "bits": len(model.weights).bit_length() - 1, "xxh3_128": xxhash.xxh3_128_hexdigest(raw)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / WEIGHTS).write_bytes(raw)
        (folder / CONFIG).write_text(json.dumps({**config, **description}, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{folder}: the classifier cannot be written ({error.strerror}); give another --output") from error


def _raw(path: str) -> tuple[bytes, bytes]:
    try:
        return (Path(path) / CONFIG).read_bytes(), (Path(path) / WEIGHTS).read_bytes()
    except OSError as error:
        remedy = "give the folder that `foundry classifier train` wrote, or kind: fasttext for a fastText file"
        raise UserError(f"classifier {path}: no model there ({error.strerror}); {remedy}") from error


def content(path: str) -> str:
    """Checksum of a model's bytes. Raises `UserError` where it cannot be read."""
    return fingerprint([xxhash.xxh3_128_hexdigest(raw) for raw in _raw(path)])


@lru_cache(maxsize=4)
def _load(path: str, raw: tuple[bytes, bytes]) -> LinearModel:
    remedy = "train it anew by `foundry classifier train`"
    try:
        config = json.loads(raw[0])
        if config["format"] != FORMAT or config["kind"] != "linear":
            raise UserError(
                f"classifier {path}: {config['kind']} of format {config['format']}, this version reads linear {FORMAT}; {remedy}"
            )
        if config["xxh3_128"] != xxhash.xxh3_128_hexdigest(raw[1]):
            raise UserError(f"classifier {path}: {WEIGHTS} is not what was written (checksum differs); {remedy}")
        tensors = load(raw[1])
        weights, bias = tensors["weights"], tensors["bias"]
        if weights.dtype != np.float32 or weights.shape != (1 << config["bits"],) or bias.shape != (1,) or not np.isfinite(weights).all():
            raise ValueError("its tensors have other sizes than config.json says")
        return LinearModel(np.ascontiguousarray(weights), float(bias[0]))
    except (ValueError, KeyError, TypeError, SafetensorError) as error:
        raise UserError(f"classifier {path}: damaged ({error}); {remedy}") from error
