"""Lines or paragraphs that occur elsewhere in the corpus, as cuts (Wenzek et al. 2020, CCNet, arXiv 1911.00359, section 3.1).

Two lines are equal if their words are equal in lower case and with every digit read as 0; punctuation and spacing do not count.
CCNet also strips accents; here they are kept, since they tell words apart. Hashes have 64 bits, as CCNet's have. Which occurrence
stays is decided over the whole corpus, where CCNet decides within a shard and Dolma by a Bloom filter.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pydantic import Field

from kernel.boundaries import word_end
from kernel.compile import kernel
from kernel.hashing import FNV_OFFSET, FNV_PRIME, fmix64
from kernel.utf8 import LETTER, MARK, NUMBER, SPACE, UNSPACED, Bytes, Offsets, decode, tables
from kernel.words import spell
from pipeline.dedup.shuffle import Layout, bucket_of, buckets_for, gather, scatter
from pipeline.dedup.spans import RepeatConfig, cut_verdict_stage, repeated, span_file, text_bytes, texts_of_domains
from pipeline.workdir.commit import Summary
from pipeline.workdir.cuts import original
from pipeline.workdir.dataset import Manifest, Workdir
from pipeline.workdir.engine import Engine
from pipeline.workdir.stages import Bucket, Piece, per_bucket, per_partition
from pipeline.workdir.tasks import File
from pipeline.workdir.verdicts import verdict_dataset

VERSION = 2
HASHES = "dedup/line-hashes"
SPANS = "dedup/line-spans"
BYTES_A_LINE = 32  # of text, a low estimate; the number of buckets follows from it


class LinesConfig(RepeatConfig):
    """Repeated lines or paragraphs."""

    unit: Literal["line", "paragraph"] = Field("line", description="line, or paragraph: the lines between two blank ones (CCNet, Dolma).")
    min_words: int = Field(5, ge=1, description="Fewest words of a line or paragraph that may be cut.")
    occurrences: int = Field(2, ge=2, description="Fewest occurrences in the corpus that make a line a repeated one.")


@kernel
def _lines(
    offsets: Offsets,
    data: Bytes,
    classes: Bytes,
    lower: npt.NDArray[np.uint32],
    paragraphs: bool,
    least: int,
    hashes: npt.NDArray[np.uint64],
    document: Offsets,
    begin: Offsets,
    end: Offsets,
) -> int:  # pragma: no cover - compiled
    """Hash and place of each line of at least `least` words; returns how many. `end` is past the line end."""
    prime, basis = FNV_PRIME, FNV_OFFSET
    count = 0
    for index in range(len(offsets) - 1):
        at, stop = offsets[index], offsets[index + 1]
        start, words, value = at, 0, basis
        inside, blank, ended = False, True, False  # in a word; only white space in this line; a blank line after the paragraph
        while at <= stop:
            if at < stop:
                code, following = decode(data, at)
                kind = classes[code]
            else:
                code, following, kind = 10, at + 1, SPACE
            in_word = kind == LETTER or kind == NUMBER or kind == MARK
            if paragraphs and ended and kind != SPACE:  # the next paragraph begins
                if words >= least:
                    hashes[count], document[count] = fmix64(value), index
                    begin[count], end[count] = start - offsets[index], at - offsets[index]
                    count += 1
                start, words, value, ended = at, 0, basis, False
            if in_word:
                if not inside:
                    value = (value ^ np.uint64(32)) * prime
                    words += 1
                inside = True
                value = (value ^ np.uint64(48 if kind == NUMBER else lower[code])) * prime
            else:
                inside = False
                if kind == UNSPACED:
                    following = word_end(data, at, offsets[index], stop, classes)
                    value = spell(data, at, following, (value ^ np.uint64(32)) * prime)
                    words += 1
            blank &= kind == SPACE
            if code == 10:
                if paragraphs:
                    ended |= blank
                    ended |= at >= stop
                if not paragraphs or at >= stop:
                    if words >= least:
                        hashes[count], document[count] = fmix64(value), index
                        begin[count], end[count] = start - offsets[index], min(following, stop) - offsets[index]
                        count += 1
                    start, words, value = following, 0, basis
                blank = True
            at = following
    return count


@dataclass(frozen=True)
class _Hashing:
    config: LinesConfig
    buckets: int


def hash_lines(workdir: Workdir, piece: Piece[_Hashing]) -> Generator[File, None, Summary]:
    """Map: the hash of each line, and where it lies in its document, scattered by hash."""
    config, buckets = piece.settings.config, piece.settings.buckets
    texts = texts_of_domains(workdir, piece, config.domains)
    offsets, data = texts.offsets, texts.data
    most = int((data[offsets[0] : offsets[-1]] == 10).sum()) + len(offsets)
    hashes = np.empty(most, np.uint64)
    document, begin, end = (np.empty(most, np.int64) for _ in range(3))
    count = _lines(offsets, data, *tables(), config.unit == "paragraph", config.min_words, hashes, document, begin, end)
    hashes, document = hashes[:count], document[:count]
    columns = {
        "hash": hashes,
        "ordinal": texts.rows[document] + piece.start,
        "begin": original(texts.cuts, document, begin[:count]),
        "end": original(texts.cuts, document, end[:count], is_end=True),
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
    rows, occurrences, first = repeated(table["hash"].to_numpy(), ordinal, begin, settings.least, settings.keep)
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
        key=(config.unit, config.min_words, config.domains, buckets),
    )
    hashes = engine.run(stage).manifests[HASHES]
    settings = _Repeats(Layout.of(documents), config.occurrences, config.keep)
    stage = per_bucket("lines: repeats", (SPANS,), repeated_lines, buckets, settings, version=VERSION, inputs=(hashes,))
    spans = engine.run(stage).manifests[SPANS]
    return engine.run(cut_verdict_stage("lines", config, spans, statistics, before)).manifests[verdict_dataset("lines")]
