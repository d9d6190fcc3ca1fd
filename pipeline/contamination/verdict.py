"""What is done about matches: a verdict for each document that has one, and a row of the report for each set in it."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from kernel.utf8 import utf8_view
from pipeline.contamination.config import ContaminationConfig
from pipeline.contamination.index import ITEMS, NGRAMS
from pipeline.contamination.match import COMMON, MATCHES
from pipeline.workdir.commit import Summary
from pipeline.workdir.cuts import Cuts, all_of, no_cuts, unite
from pipeline.workdir.dataset import Workdir, to_parquet
from pipeline.workdir.documents import DOCUMENTS, STATISTICS
from pipeline.workdir.stages import Piece
from pipeline.workdir.tasks import File
from pipeline.workdir.verdicts import cuts_of, kept, tally, verdict_dataset, verdict_table

REPORT = "contamination/report"
SHOWN = 200  # characters of a matched span that the report shows
REPORT_SCHEMA = pa.schema(
    [
        ("set", pa.string()),
        ("document", pa.string()),
        ("ordinal", pa.int64()),
        ("items", pa.int64()),  # items of the set that have one of the n-grams
        ("item", pa.string()),  # the first of them
        ("begin", pa.int64()),  # of the longest matched span, in bytes of the document
        ("end", pa.int64()),
        ("span", pa.string()),
        ("ngrams", pa.int64()),
        ("action", pa.string()),
    ]
)
Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Judging:
    """What verdicts are made by: the configuration without its sets, and the sets' names."""

    config: ContaminationConfig
    sets: tuple[str, ...]


def contamination_verdicts(workdir: Workdir, piece: Piece[Judging]) -> Generator[File, None, Summary]:
    """One task: the verdicts of one partition, and a row of the report for each document and set that match."""
    config = piece.settings.config
    statistics = workdir.read_table(STATISTICS, piece.beside[STATISTICS], ["domain", "source", "bytes"])
    rows = statistics.num_rows
    looked_at = kept(workdir, piece.before, rows)
    sizes = np.asarray(statistics["bytes"], dtype=np.int64)
    earlier = cuts_of(workdir, piece.before, rows)
    matches = _chosen(workdir.read_table(MATCHES, piece.beside[MATCHES]), config, _common(workdir, config))
    row = matches["row"].to_numpy().astype(np.int64)
    hit = np.unique(row)
    cuts, dropped = no_cuts(rows), np.zeros(rows, bool)
    rule, detail = np.full(rows, None, object), np.full(rows, None, object)
    report: list[dict[str, Any]] = []
    summary: Summary = {"sets": {}}
    if len(hit):
        documents = workdir.read_table(DOCUMENTS, piece.partition, ["id", "text"]).take(pa.array(hit))
        for document, found in zip(hit, _told(workdir, piece, matches, hit, documents), strict=True):
            names = [each["set"] for each in found]
            rule[document] = f"contamination_{names[0]}"
            detail[document] = f"{', '.join(names)}: item {found[0]['item']}: “{found[0]['span']}”"
            for name in names:
                summary["sets"].setdefault(name, {"documents": 0})["documents"] += 1
            report += found
        if config.action == "cut":
            wide = _widened(matches, hit, documents["text"], config.around, rows)
            cuts, dropped = _without_small_pieces(wide, earlier, hit, sizes, config)
        else:
            dropped[hit] = True
    times = np.bincount(row, minlength=rows).astype(np.float64)
    verdict = verdict_table(
        rows,
        {
            "keep": pa.array(~dropped, mask=~looked_at),
            "rule": pa.array(rule.tolist(), pa.string(), mask=~dropped),
            "value": pa.array(times, mask=times == 0),
            "limit": pa.array(np.zeros(rows), mask=times == 0),
            "detail": pa.array(detail.tolist(), pa.string()),
            "cuts": cuts.to_column(),
        },
    )
    yield File(verdict_dataset("contamination"), piece.name, to_parquet(verdict), rows)
    yield File(REPORT, piece.name, to_parquet(pa.Table.from_pylist(report, schema=REPORT_SCHEMA)), len(report))
    return {**tally(verdict, statistics, sizes=sizes - earlier.sizes), **summary}


def _common(workdir: Workdir, config: ContaminationConfig) -> npt.NDArray[np.int32]:
    """The n-grams that are common phrases and no match."""
    if config.common is None:
        return np.zeros(0, np.int32)
    common: npt.NDArray[np.int32] = workdir.read_table(COMMON, workdir.require(COMMON).partitions[0])["ngram"].to_numpy()
    return common


def _told(workdir: Workdir, piece: Piece[Judging], matches: pa.Table, hit: Integers, documents: pa.Table) -> Iterator[list[dict[str, Any]]]:
    """For each document with a match (`hit`, the rows of `documents`): the report's rows, one a set."""
    config = piece.settings.config
    offsets, data = utf8_view(documents["text"])
    index = workdir.read_table(NGRAMS, workdir.require(NGRAMS).partitions[0], ["items"])["items"].combine_chunks()
    items = workdir.read_table(ITEMS, workdir.require(ITEMS).partitions[0])
    set_of = items["set"].to_numpy()
    item_offsets, item_values = index.offsets.to_numpy(), index.values.to_numpy()
    row, begin, end, ngram = (matches[name].to_numpy() for name in ("row", "begin", "end", "ngram"))
    bounds = np.searchsorted(row, hit), np.searchsorted(row, hit, side="right")
    for place, document in enumerate(hit):
        span = slice(int(bounds[0][place]), int(bounds[1][place]))
        spans = unite(1, np.zeros(span.stop - span.start, np.int64), begin[span], end[span])
        longest = int(np.argmax(spans.end - spans.begin))
        text = data[offsets[place] + spans.begin[longest] : offsets[place] + spans.end[longest]].tobytes().decode()
        ngrams = np.unique(ngram[span])
        owners = np.unique(np.concatenate([item_values[item_offsets[n] : item_offsets[n + 1]] for n in ngrams]))
        found = []
        for number in np.unique(set_of[owners]):
            of_set = owners[set_of[owners] == number]
            found.append(
                {
                    "set": piece.settings.sets[number],
                    "document": documents["id"][place].as_py(),
                    "ordinal": piece.start + int(document),
                    "items": len(of_set),
                    "item": items["item"][int(of_set[0])].as_py(),
                    "begin": int(spans.begin[longest]),
                    "end": int(spans.end[longest]),
                    "span": text[:SHOWN],
                    "ngrams": len(ngrams),
                    "action": config.action,
                }
            )
        yield found


def _widened(matches: pa.Table, hit: Integers, texts: pa.ChunkedArray, around: int, rows: int) -> Cuts:
    """The matches as cuts, with so many bytes on each side, to the nearest boundary between characters before."""
    offsets, data = utf8_view(texts)
    row = matches["row"].to_numpy().astype(np.int64)
    places = np.searchsorted(hit, row)

    def moved(column: str, by: int) -> Integers:
        wanted = zip(places, matches[column].to_numpy(), strict=True)
        at = [_character_boundary(data, offsets[p] + b + by, offsets[p], offsets[p + 1]) - offsets[p] for p, b in wanted]
        return np.array(at, np.int64)

    return unite(rows, row, moved("begin", -around), moved("end", around))


def _without_small_pieces(
    cuts: Cuts, earlier: Cuts, hit: Integers, sizes: Integers, config: ContaminationConfig
) -> tuple[Cuts, npt.NDArray[np.bool_]]:
    """Also cut the pieces that are too small; and which documents to drop, bool (rows,), since nothing or too many pieces are left."""
    dropped = np.zeros(cuts.documents, bool)
    both = all_of([cuts, earlier], cuts.documents)
    small: list[tuple[int, int, int]] = []
    for document in hit.tolist():
        pieces = _pieces(both, document, int(sizes[document]))
        small += [(document, a, b) for a, b in pieces if b - a < config.min_piece]
        left = [piece for piece in pieces if piece[1] - piece[0] >= config.min_piece]
        dropped[document] = not left or (config.max_pieces is not None and len(left) > config.max_pieces)
    owner = np.repeat(np.arange(cuts.documents), np.diff(cuts.offsets))
    extra = np.array(small, np.int64).reshape(-1, 3)
    keep = ~dropped[owner]
    some = ~dropped[extra[:, 0]]
    united = unite(
        cuts.documents,
        np.concatenate([owner[keep], extra[some, 0]]),
        np.concatenate([cuts.begin[keep], extra[some, 1]]),
        np.concatenate([cuts.end[keep], extra[some, 2]]),
    )
    return united, dropped


def _chosen(matches: pa.Table, config: ContaminationConfig, common: npt.NDArray[np.int32]) -> pa.Table:
    """The matches that count: no common phrases; by lines, those of lines with enough of them, with the lines' bytes."""
    if len(common):
        matches = matches.filter(pa.array(~np.isin(matches["ngram"].to_numpy(), common)))
    if config.unit == "ngram" or matches.num_rows == 0:
        return matches
    row, begin, end = (matches[name].to_numpy().astype(np.int64) for name in ("row", "line_begin", "line_end"))
    total = matches["line_ngrams"].to_numpy()
    order = np.lexsort((matches["begin"].to_numpy(), begin, row))
    order = order[total[order] > 0]
    row, begin, end, total, at = row[order], begin[order], end[order], total[order], matches["begin"].to_numpy()[order]
    if not len(order):
        return matches.slice(0, 0)
    new = np.ones(len(row), bool)
    new[1:] = (row[1:] != row[:-1]) | (begin[1:] != begin[:-1])
    distinct = new.copy()
    distinct[1:] |= at[1:] != at[:-1]  # an n-gram that begins at the same word twice, in two lengths, counts once
    line = np.cumsum(new) - 1
    share = np.bincount(line, weights=distinct) / total[new]
    enough = share[line] >= config.overlap - 1e-12
    chosen = matches.take(pa.array(order[enough]))
    begin, end = pa.array(begin[enough]), pa.array(end[enough])
    return chosen.set_column(chosen.column_names.index("begin"), "begin", begin).set_column(chosen.column_names.index("end"), "end", end)


def _pieces(cuts: Cuts, row: int, size: int) -> list[tuple[int, int]]:
    """What cuts leave of a document, as byte spans that are not empty."""
    places = [0]
    for cut in range(cuts.offsets[row], cuts.offsets[row + 1]):
        places += [int(cuts.begin[cut]), int(cuts.end[cut])]
    places.append(size)
    return [(a, b) for a, b in zip(places[::2], places[1::2], strict=True) if b > a]


def _character_boundary(data: npt.NDArray[np.uint8], at: int, first: int, last: int) -> int:
    """The nearest place at or before `at`, within the document, where a character begins."""
    at = min(max(at, first), last)
    while first < at < last and (data[at] & 0xC0) == 0x80:
        at -= 1
    return at
