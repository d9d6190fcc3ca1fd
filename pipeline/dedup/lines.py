"""Lines or paragraphs that occur elsewhere in the corpus, as cuts (Wenzek et al. 2020, CCNet, arXiv 1911.00359, section 3.1).

Two lines of different documents are equal if their words are equal in lower case and with every digit read as 0; punctuation and spacing
do not count, and texts are compared as `kernel.fold` has them. CCNet also strips accents; here they are kept, since they tell words apart.
Hashes have 64 bits, as CCNet's have. Which occurrence stays is decided over the whole corpus, where CCNet decides within a shard and Dolma
by a Bloom filter.

Tables stay, of which CCNet would leave the first row:

- Within one document, digits count: rows that differ in numbers alone are no repeats of one another. (In another document each of them
  still repeats the table's first row.)
- A line of more digits than letters is a row of numbers, and no repeat at all, unless `numbers` asks for such lines; then they are
  compared digit by digit.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from kernel.boundaries import word_end
from kernel.compile import kernel, leaf
from kernel.fold import Folded, text_of
from kernel.hashing import FNV_OFFSET, FNV_PRIME, fmix64
from kernel.utf8 import LETTER, MARK, NUMBER, SPACE, UNSPACED, Bytes, Offsets, decode, tables
from kernel.words import spell
from pipeline.dedup.shuffle import Layout, bucket_of, buckets_for, gather, scatter
from pipeline.dedup.spans import RepeatConfig, cut_verdict_stage, span_file, text_bytes, texts_of_domains
from pipeline.workdir.commit import Summary
from pipeline.workdir.dataset import Manifest, Workdir
from pipeline.workdir.engine import Engine
from pipeline.workdir.stages import Bucket, Piece, per_bucket, per_partition
from pipeline.workdir.tasks import File
from pipeline.workdir.verdicts import verdict_dataset

VERSION = 3
HASHES = "dedup/line-hashes"
SPANS = "dedup/line-spans"
BYTES_A_LINE = 32  # of text, a low estimate; the number of buckets follows from it


class LinesConfig(RepeatConfig):
    """Repeated lines or paragraphs."""

    unit: Literal["line", "paragraph"] = Field("line", description="line, or paragraph: the lines between two blank ones (CCNet, Dolma).")
    min_words: int = Field(5, ge=1, description="Fewest words of a line or paragraph that may be cut.")
    occurrences: int = Field(2, ge=2, description="Fewest occurrences in the corpus that make a line a repeated one.")
    numbers: bool = Field(
        False, description="Also cut repeated lines of more digits than letters, compared digit by digit; rows of tables are such lines."
    )


class _Found(NamedTuple):
    """Lines, an entry a line: the hash of its words with digits as 0, one of them as they are, its document and bytes there."""

    hash: npt.NDArray[np.uint64]
    exact: npt.NDArray[np.uint32]
    document: Offsets
    begin: Offsets
    end: Offsets


class _Line(NamedTuple):
    """What was seen of a line: two hashes of its words, how many there are, and its digits and letters."""

    value: np.uint64
    exact: np.uint64
    words: int
    digits: int
    letters: int


@leaf
def _keep(
    found: _Found, count: int, line: _Line, index: int, begin: int, end: int, least: int, numbers: bool
) -> int:  # pragma: no cover - compiled
    """Write a line, if it is one that may be cut; returns how many there are then."""
    is_row = line.digits > line.letters
    if line.words < least or (is_row and not numbers):
        return count
    found.hash[count] = fmix64(line.exact if is_row else line.value)
    found.exact[count] = np.uint32(fmix64(line.exact) >> np.uint64(32))
    found.document[count], found.begin[count], found.end[count] = index, begin, end
    return count + 1


# Long: what is seen of a line is kept in registers.
@kernel
def _lines(
    folded: Folded, classes: Bytes, lower: npt.NDArray[np.uint32], paragraphs: bool, least: int, numbers: bool, found: _Found
) -> int:  # pragma: no cover - compiled
    """Each line of at least `least` words; returns how many. `end` is past the line end."""
    prime, basis, gap = FNV_PRIME, FNV_OFFSET, np.uint64(32)
    count = 0
    for index in range(len(folded.changed)):
        data, origin, stop = text_of(folded, index)
        at = start = origin
        value, exact, words, digits, letters = basis, basis, 0, 0, 0
        inside, blank, ended = False, True, False  # in a word; only white space in this line; a blank line after the paragraph
        while at <= stop:
            if at < stop:
                code, following = decode(data, at)
                kind = classes[code]
            else:
                code, following, kind = 10, at + 1, SPACE
            if paragraphs and ended and kind != SPACE:  # the next paragraph begins
                line = _Line(value, exact, words, digits, letters)
                count = _keep(found, count, line, index, start - origin, at - origin, least, numbers)
                value, exact, words, digits, letters = basis, basis, 0, 0, 0
                start, ended = at, False
            if kind == LETTER or kind == NUMBER or kind == MARK:
                if not inside:
                    value, exact = (value ^ gap) * prime, (exact ^ gap) * prime
                    words += 1
                inside = True
                small = np.uint64(lower[code])
                value = (value ^ (np.uint64(48) if kind == NUMBER else small)) * prime
                exact = (exact ^ small) * prime
                digits += kind == NUMBER
                letters += kind == LETTER
            else:
                inside = False
                if kind == UNSPACED:
                    following = word_end(data, at, origin, stop, classes)
                    value = spell(data, at, following, (value ^ gap) * prime)
                    exact = spell(data, at, following, (exact ^ gap) * prime)
                    words += 1
                    letters += (following - at) // 3  # bytes of a letter of such scripts
            blank &= kind == SPACE
            if code == 10:
                if paragraphs:
                    ended |= blank
                    ended |= at >= stop
                if not paragraphs or at >= stop:
                    line = _Line(value, exact, words, digits, letters)
                    count = _keep(found, count, line, index, start - origin, min(following, stop) - origin, least, numbers)
                    value, exact, words, digits, letters = basis, basis, 0, 0, 0
                    start = following
                blank = True
            at = following
    return count


def find_lines(folded: Folded, config: LinesConfig) -> _Found:
    """The lines or paragraphs of some texts that may be cut where they occur again; places are bytes of the folds."""
    most = int((folded.data[folded.offsets[0] : folded.offsets[-1]] == 10).sum()) + len(folded.offsets)
    document, begin, end = (np.empty(most, np.int64) for _ in range(3))
    found = _Found(np.empty(most, np.uint64), np.empty(most, np.uint32), document, begin, end)
    count = _lines(folded, *tables(), config.unit == "paragraph", config.min_words, config.numbers, found)
    return _Found(found.hash[:count], found.exact[:count], document[:count], begin[:count], end[:count])


def repeats(
    found: npt.NDArray[np.uint64], exact: npt.NDArray[np.uint32], ordinal: Offsets, begin: Offsets, least: int, keep: int
) -> tuple[npt.NDArray[np.intp], Offsets, Offsets]:
    """The lines that occur at least `least` times, but for the first `keep` of each: `(rows, occurrences, first)`.

    An occurrence of a line is one in another document with the same hash `found`, or one in its own with the same `exact` too. Arrays
    have an entry a line; the order of the corpus is by `ordinal`, then `begin`. For each of `rows`, `occurrences` says how often it
    occurs, and `first` is the ordinal of the first document that has it.
    """
    order = np.lexsort((begin, exact, ordinal, found))
    if not len(order):
        return order, np.zeros(0, np.int64), np.zeros(0, np.int64)
    sorted_hash, sorted_ordinal, sorted_exact = found[order], ordinal[order], exact[order]
    group, own, same = np.ones((3, len(order)), bool)  # whether a hash begins here, a document's lines of it, those that are equal
    group[1:] = sorted_hash[1:] != sorted_hash[:-1]
    own[1:] = group[1:] | (sorted_ordinal[1:] != sorted_ordinal[:-1])
    same[1:] = own[1:] | (sorted_exact[1:] != sorted_exact[:-1])

    def runs(begins: npt.NDArray[np.bool_]) -> tuple[Offsets, Offsets]:
        """Where the run of each line begins, and how many it has."""
        starts = np.flatnonzero(begins)
        number = np.cumsum(begins) - 1
        return starts[number], np.diff(np.append(starts, len(begins)))[number]

    (group_start, group_size), (own_start, own_size), (same_start, same_size) = runs(group), runs(own), runs(same)
    occurrences = group_size - own_size + same_size
    rank = own_start - group_start + np.arange(len(order)) - same_start
    chosen = (occurrences >= least) & (rank >= keep)
    return order[chosen], occurrences[chosen].astype(np.int64), sorted_ordinal[group_start[chosen]]


@dataclass(frozen=True)
class _Hashing:
    config: LinesConfig
    buckets: int


def hash_lines(workdir: Workdir, piece: Piece[_Hashing]) -> Generator[File, None, Summary]:
    """Map: the hash of each line, and where it lies in its document, scattered by hash."""
    config, buckets = piece.settings.config, piece.settings.buckets
    texts = texts_of_domains(workdir, piece, config.domains)
    found = find_lines(texts.folded, config)
    hashes, document, count = found.hash, found.document, len(found.hash)
    columns = {
        "hash": hashes,
        "exact": found.exact,
        "ordinal": texts.rows[document] + piece.start,
        "begin": texts.original(document, found.begin),
        "end": texts.original(document, found.end, is_end=True),
    }
    yield File(HASHES, f"{piece.name}.arrow", scatter(columns, bucket_of(hashes, buckets), buckets), count)
    return {"lines": count}


@dataclass(frozen=True)
class _Repeats:
    layout: Layout
    least: int
    keep: int


def repeated_lines(workdir: Workdir, bucket: Bucket[_Repeats]) -> Generator[File, None, Summary]:
    """Reduce: the spans of the lines of one bucket that are repeated."""
    settings = bucket.settings
    table = gather(workdir, HASHES, bucket.number, bucket.buckets)
    assert table is not None, "there is a file for each partition of documents"
    ordinal, begin, end = (table[name].to_numpy() for name in ("ordinal", "begin", "end"))
    rows, occurrences, first = repeats(table["hash"].to_numpy(), table["exact"].to_numpy(), ordinal, begin, settings.least, settings.keep)
    raw = span_file(settings.layout, ordinal[rows], begin[rows], end[rows], occurrences, first)
    yield File(SPANS, f"{bucket.name}.arrow", raw, len(rows))
    return {"spans": len(rows)}


def repeated_lines_as_cuts(
    engine: Engine, config: LinesConfig, documents: Manifest, statistics: Manifest, before: Sequence[Manifest]
) -> Manifest:
    """Run all stages; returns `verdicts/lines`."""
    buckets = buckets_for(text_bytes(documents) // BYTES_A_LINE)
    stage = per_partition(
        "lines: hash",
        (HASHES,),
        hash_lines,
        documents,
        _Hashing(config, buckets),
        version=VERSION,
        beside=(statistics,),
        before=before,
        ordinals=True,
        key=(config.unit, config.min_words, config.domains, config.numbers, buckets),
    )
    hashes = engine.run(stage).manifests[HASHES]
    settings = _Repeats(Layout.of(documents), config.occurrences, config.keep)
    stage = per_bucket("lines: repeats", (SPANS,), repeated_lines, buckets, settings, version=VERSION, inputs=(hashes,))
    spans = engine.run(stage).manifests[SPANS]
    return engine.run(cut_verdict_stage("lines", config, spans, statistics, before)).manifests[verdict_dataset("lines")]
