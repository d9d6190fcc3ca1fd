"""Contamination: text of evaluation sets in the corpus, found by n-grams of words, dropped or cut, and reported.

Words are those of `pipeline.dedup.shingles`: case, punctuation and spacing do not hide a copy. An item of fewer words than an
n-gram is looked for whole, if it has at least `shortest`; shorter ones are counted as "too short", and not looked for.

Presets, and where ours departs from what they are named for:
- gpt3 (Brown et al. 2020, arXiv 2005.14165, appendix C): 13-grams, 8 words at the least; n-grams in more than 10 documents of
  the corpus are taken for common phrases; 200 characters on each side of a match are cut (bytes here), pieces shorter than 200
  are cut too, and a document in more than 10 pieces is dropped. GPT-3's n varies from 8 to 13 with the set; ours is 13, or the
  whole of a shorter item.
- dolma (Soldaini et al. 2024, arXiv 2402.00159, section 4): a document with a whole paragraph of 13 words or more of an
  evaluation set is dropped. Dolma compares paragraphs, by a Bloom filter; ours asks that all their 13-grams are known.
- dclm (Li et al. 2024, arXiv 2406.11794; the settings of its Bloom deduplication): a paragraph of whose 13-grams 0.8 are known
  is cut.
- datatrove (its n-gram decontamination): a document with any 12-gram is dropped. It looks only for n-grams of answers, and
  those that cross from question to answer, by default; ours for the fields that are named.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from kernel.utf8 import utf8_view
from pipeline.contamination.ngrams import NgramSet, count_words, find_ngrams, lines_around, ngram_hashes, ngrams_with_letters
from pipeline.contamination.sets import AnySet, SetWork, items_of, prepared
from pipeline.readers import PassedOver, Record, names_differ
from pipeline.workdir.cuts import Cuts, original, unite
from pipeline.workdir.dataset import Manifest, Partition, Workdir, fingerprint, to_ipc, to_parquet
from pipeline.workdir.documents import DOCUMENTS, STATISTICS
from pipeline.workdir.engine import Engine, File, Stage, Summary, Task
from pipeline.workdir.errors import UserError
from pipeline.workdir.verdicts import VerdictEntry, checksums, cuts_of, entries, kept, remaining, tally, verdict_dataset, verdict_table

VERSION = 1
NGRAMS = "contamination/ngrams"
ITEMS = "contamination/items"
MATCHES = "contamination/matches"
COMMON = "contamination/common"
REPORT = "contamination/report"
SHOWN = 200  # characters of a matched span that the report shows
MOST_EXAMPLES = 20  # items that could not be read, told by name

_PRESETS: dict[str, dict[str, Any]] = {
    "gpt3": {"ngram": 13, "shortest": 8, "unit": "ngram", "action": "cut", "around": 200, "min_piece": 200, "max_pieces": 10, "common": 10},
    "dolma": {"ngram": 13, "shortest": 13, "unit": "line", "overlap": 1.0, "action": "drop"},
    "dclm": {"ngram": 13, "shortest": 13, "unit": "line", "overlap": 0.8, "action": "cut"},
    "datatrove": {"ngram": 12, "shortest": 12, "unit": "ngram", "action": "drop"},
}


class ContaminationConfig(BaseModel):
    """What of evaluation sets is looked for, and what is done where it is found."""

    model_config = ConfigDict(extra="forbid")

    sets: list[AnySet] = Field(min_length=1, description="The evaluation sets.")
    preset: Literal["gpt3", "dolma", "dclm", "datatrove"] | None = Field(
        None, description="Published settings for all that follows; a field that is given besides is kept. Null: the defaults below."
    )
    ngram: int = Field(13, ge=2, le=64, description="Words in an n-gram (GPT-3, Dolma: 13; datatrove: 12).")
    shortest: int = Field(
        8, ge=1, le=64, description="An item with fewer words than an n-gram is looked for whole, from this many words on."
    )
    unit: Literal["ngram", "line"] = Field(
        "ngram", description="ngram: any n-gram is a match; line: a line is one, where `overlap` of its n-grams are known."
    )
    overlap: float = Field(1.0, gt=0, le=1, description="With `unit: line`: the share of the line's n-grams that are known (DCLM: 0.8).")
    action: Literal["drop", "cut"] = Field("drop", description="Drop documents with a match, or cut what matches.")
    around: int = Field(0, ge=0, description="Bytes on each side of a match that are cut too (GPT-3: 200 characters).")
    min_piece: int = Field(0, ge=0, description="Pieces that are left by cuts and have fewer bytes are cut too (GPT-3: 200 characters).")
    max_pieces: int | None = Field(
        None, ge=1, description="A document that cuts leave in more pieces is dropped (GPT-3: 10); null: none is."
    )
    common: int | None = Field(
        None,
        ge=1,
        description="N-grams in more documents of the corpus than this are common phrases, and no match (GPT-3: 10); null: none.",
    )

    numbers: bool = Field(False, description="Look for n-grams of numbers alone, too: page numbers and counting match everywhere.")

    @model_validator(mode="before")
    @classmethod
    def _apply_preset(cls, values: Any) -> Any:
        if isinstance(values, dict) and values.get("preset") in _PRESETS:
            return {**_PRESETS[values["preset"]], **values}
        return values

    @field_validator("sets")
    @classmethod
    def _names_differ(cls, sets: list[AnySet]) -> list[AnySet]:
        names_differ(sets, "evaluation sets")
        return sets

    @model_validator(mode="after")
    def _agree(self) -> ContaminationConfig:
        if self.shortest > self.ngram:
            raise ValueError(f"`shortest` is {self.shortest}, more than `ngram`, {self.ngram}")
        return self


# --- the index -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _IndexWork:
    sets: tuple[SetWork, ...]
    ngram: int
    shortest: int
    numbers: bool


def index_sets(workdir: Workdir, work: _IndexWork) -> Generator[File, None, Summary]:
    """One task: the n-grams of all evaluation sets, each once, and the items that have them."""
    hashes: list[npt.NDArray[np.uint64]] = []
    owners: list[npt.NDArray[np.int64]] = []
    lengths: list[npt.NDArray[np.int64]] = []
    items: list[dict[str, Any]] = []
    summary: Summary = {"sets": {}}
    unreadable: list[str] = []
    for number, each in enumerate(work.sets):
        counts = {"items": 0, "too_short": 0, "ngrams": 0, "unreadable": 0}
        for column, record in items_of(each):
            if isinstance(record, PassedOver):
                continue
            if not isinstance(record, Record):
                counts["unreadable"] += 1
                if len(unreadable) < MOST_EXAMPLES:
                    unreadable.append(f"{record.location}: {record.error}")
                continue
            words = count_words(record.text)
            counts["items"] += 1
            if words < work.shortest:
                counts["too_short"] += 1
                continue
            found = ngram_hashes(record.text, work.ngram)
            if not work.numbers:
                found = found[ngrams_with_letters(record.text, work.ngram)]
            found = np.unique(found)
            counts["ngrams"] += len(found)
            hashes.append(found)
            owners.append(np.full(len(found), len(items)))
            lengths.append(np.full(len(found), min(words, work.ngram)))
            items.append({"set": number, "item": f"{record.id}, {column}" if column else record.id, "words": words})
        if counts["items"] == 0:
            why = f": {unreadable[0]}" if unreadable else ""
            raise UserError(f"contamination.sets: {each.name}: no item could be read from {each.place}{why}; correct its settings")
        summary["sets"][each.name] = counts
    none = np.zeros(0, np.int64)
    every = np.concatenate([none.astype(np.uint64), *hashes])
    distinct, first, inverse = np.unique(every, return_index=True, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    offsets = np.searchsorted(inverse[order], np.arange(len(distinct) + 1))
    lists = pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(np.concatenate([none, *owners])[order].astype(np.int32)))
    table = pa.table({"hash": distinct, "length": np.concatenate([none, *lengths])[first].astype(np.uint8), "items": lists})
    yield File(NGRAMS, "ngrams.arrow", to_ipc(table.to_batches(), table.schema), len(distinct))
    schema = pa.schema([("set", pa.int32()), ("item", pa.string()), ("words", pa.int64())])
    yield File(ITEMS, "items.parquet", to_parquet(pa.Table.from_pylist(items, schema=schema)), len(items))
    return summary


# --- matches ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _MatchWork:
    partition: Partition
    before: tuple[VerdictEntry, ...]
    ngrams: Partition
    by_line: bool
    ngram: int


def match_partition(workdir: Workdir, work: _MatchWork) -> Generator[File, None, Summary]:
    """Map: every occurrence of an n-gram in the documents that are still kept."""
    index = workdir.read_table(NGRAMS, work.ngrams, ["hash", "length"])
    lengths = np.unique(index["length"].to_numpy()).astype(np.int64)
    left = remaining(workdir, work.partition, work.before)
    found = find_ngrams(left.texts, NgramSet.of(index["hash"].to_numpy(), lengths))
    document = found.document.astype(np.int64)
    columns: dict[str, Any] = {
        "row": left.rows[document].astype(np.int32),
        "ngram": found.ngram,
        "begin": original(left.cuts, document, found.begin),
        "end": original(left.cuts, document, found.end, is_end=True),
    }
    if work.by_line:
        begin, end, runs = lines_around(left.texts, found, work.ngram)
        columns["line_begin"] = original(left.cuts, document, begin)
        columns["line_end"] = original(left.cuts, document, end, is_end=True)
        columns["line_ngrams"] = np.where(found.end <= end, runs, 0)  # 0: the n-gram goes on in the next line
    yield File(MATCHES, work.partition.name, to_parquet(pa.table(columns)), len(document))
    return {"matches": len(document), "bytes": int(utf8_view(left.texts)[0][-1])}


@dataclass(frozen=True)
class _CommonWork:
    matches: Manifest
    most: int
    ngrams: int


def common_ngrams(workdir: Workdir, work: _CommonWork) -> Generator[File, None, Summary]:
    """Reduce: the n-grams that occur in more documents than evaluation sets explain."""
    documents = np.zeros(work.ngrams, np.int64)
    for partition in work.matches.partitions:
        table = workdir.read_table(work.matches.dataset, partition, ["row", "ngram"])
        pairs = np.unique(np.stack([table["ngram"].to_numpy(), table["row"].to_numpy()], axis=1), axis=0)
        documents += np.bincount(pairs[:, 0], minlength=work.ngrams)
    common = np.flatnonzero(documents > work.most).astype(np.int32)
    table = pa.table({"ngram": common, "documents": documents[common]})
    yield File(COMMON, "common.arrow", to_ipc(table.to_batches(), table.schema), len(common))
    return {"common": len(common)}


# --- verdicts --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _VerdictWork:
    partition: Partition
    statistics: Partition
    matches: Partition
    before: tuple[VerdictEntry, ...]
    start: int
    config: ContaminationConfig  # without its sets
    sets: tuple[str, ...]  # their names


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


def contamination_verdicts(workdir: Workdir, work: _VerdictWork) -> Generator[File, None, Summary]:
    """One task: the verdicts of one partition, and a row of the report for each document and set that match."""
    config = work.config
    statistics = workdir.read_table(STATISTICS, work.statistics, ["domain", "source", "bytes"])
    rows = statistics.num_rows
    looked_at = kept(workdir, work.before, rows)
    full = np.asarray(statistics["bytes"], dtype=np.int64)
    earlier = cuts_of(workdir, work.before, rows)
    manifest = workdir.manifest(COMMON) if config.common is not None else None
    common = workdir.read_table(COMMON, manifest.partitions[0])["ngram"].to_numpy() if manifest else np.zeros(0, np.int32)
    matches = _chosen(workdir.read_table(MATCHES, work.matches), config, common)
    row = matches["row"].to_numpy().astype(np.int64)
    begin, end, ngram = (matches[name].to_numpy() for name in ("begin", "end", "ngram"))
    hit = np.unique(row)
    cuts = unite(rows, *[np.zeros(0, np.int64)] * 3)
    dropped = np.zeros(rows, bool)
    rule, detail = np.full(rows, None, object), np.full(rows, None, object)
    report: list[dict[str, Any]] = []
    summary: Summary = {"sets": {}}
    if len(hit):
        documents = workdir.read_table(DOCUMENTS, work.partition, ["id", "text"]).take(pa.array(hit))
        offsets, data = utf8_view(documents["text"])
        index = workdir.read_table(NGRAMS, workdir.require(NGRAMS).partitions[0], ["items"])["items"].combine_chunks()
        items = workdir.read_table(ITEMS, workdir.require(ITEMS).partitions[0])
        set_of = items["set"].to_numpy()
        item_offsets, item_values = index.offsets.to_numpy(), index.values.to_numpy()
        if config.action == "cut":
            places = np.searchsorted(hit, row)
            wide_begin = np.array(
                [_character_boundary(data, offsets[p] + b - config.around, offsets[p], offsets[p + 1]) - offsets[p]
                 for p, b in zip(places, begin, strict=True)], np.int64
            )  # fmt: skip
            wide_end = np.array(
                [_character_boundary(data, offsets[p] + e + config.around, offsets[p], offsets[p + 1]) - offsets[p]
                 for p, e in zip(places, end, strict=True)], np.int64
            )  # fmt: skip
            cuts = unite(rows, row, wide_begin, wide_end)
        else:
            dropped[hit] = True
        bounds = np.searchsorted(row, hit), np.searchsorted(row, hit, side="right")
        small: list[tuple[int, int, int]] = []
        for place, document in enumerate(hit):
            span = slice(int(bounds[0][place]), int(bounds[1][place]))
            spans = unite(1, np.zeros(span.stop - span.start, np.int64), begin[span], end[span])
            longest = int(np.argmax(spans.end - spans.begin))
            text = data[offsets[place] + spans.begin[longest] : offsets[place] + spans.end[longest]].tobytes().decode()
            owners = np.unique(np.concatenate([item_values[item_offsets[n] : item_offsets[n + 1]] for n in np.unique(ngram[span])]))
            names = []
            for number in np.unique(set_of[owners]):
                of_set = owners[set_of[owners] == number]
                name = work.sets[number]
                names.append(name)
                report.append(
                    {
                        "set": name,
                        "document": documents["id"][place].as_py(),
                        "ordinal": work.start + int(document),
                        "items": len(of_set),
                        "item": items["item"][int(of_set[0])].as_py(),
                        "begin": int(spans.begin[longest]),
                        "end": int(spans.end[longest]),
                        "span": text[:SHOWN],
                        "ngrams": len(np.unique(ngram[span])),
                        "action": config.action,
                    }
                )
                counts = summary["sets"].setdefault(name, {"documents": 0})
                counts["documents"] += 1
            rule[document] = f"contamination_{names[0]}"
            first = report[-len(names)]
            detail[document] = f"{', '.join(names)}: item {first['item']}: “{text[:SHOWN]}”"
            if config.action == "cut":
                pieces = _pieces(unite(1, *_of(cuts, earlier, int(document))), 0, int(full[document]))
                small += [(int(document), a, b) for a, b in pieces if b - a < config.min_piece]
                left = [piece for piece in pieces if piece[1] - piece[0] >= config.min_piece]
                dropped[document] = not left or (config.max_pieces is not None and len(left) > config.max_pieces)
        if config.action == "cut":
            owner = np.repeat(np.arange(rows), np.diff(cuts.offsets))
            extra = np.array(small, np.int64).reshape(-1, 3)
            keep = ~dropped[owner]
            some = ~dropped[extra[:, 0]]
            cuts = unite(
                rows,
                np.concatenate([owner[keep], extra[some, 0]]),
                np.concatenate([cuts.begin[keep], extra[some, 1]]),
                np.concatenate([cuts.end[keep], extra[some, 2]]),
            )
    counts_of = np.bincount(row, minlength=rows).astype(np.float64)
    matched = counts_of > 0
    verdict = verdict_table(
        rows,
        {
            "keep": pa.array(~dropped, mask=~looked_at),
            "rule": pa.array(rule.tolist(), pa.string(), mask=~dropped),
            "value": pa.array(counts_of, mask=~matched),
            "limit": pa.array(np.zeros(rows), mask=~matched),
            "detail": pa.array(detail.tolist(), pa.string()),
            "cuts": cuts.to_column(),
        },
    )
    yield File(verdict_dataset("contamination"), work.partition.name, to_parquet(verdict), rows)
    schema = pa.schema(
        [
            ("set", pa.string()),
            ("document", pa.string()),
            ("ordinal", pa.int64()),
            ("items", pa.int64()),  # of the set, that have one of the n-grams
            ("item", pa.string()),  # the first of them
            ("begin", pa.int64()),  # of the longest matched span, in bytes of the document
            ("end", pa.int64()),
            ("span", pa.string()),
            ("ngrams", pa.int64()),
            ("action", pa.string()),
        ]
    )
    yield File(REPORT, work.partition.name, to_parquet(pa.Table.from_pylist(report, schema=schema)), len(report))
    return {**tally(verdict, statistics, sizes=full - earlier.sizes), **summary}


def _of(cuts: Cuts, earlier: Cuts, row: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The spans of one document in two sets of cuts, as of row 0."""
    begin, end = [], []
    for each in (cuts, earlier):
        begin.append(each.begin[each.offsets[row] : each.offsets[row + 1]])
        end.append(each.end[each.offsets[row] : each.offsets[row + 1]])
    begins, ends = np.concatenate(begin), np.concatenate(end)
    return np.zeros(len(begins), np.int64), begins, ends


def decontaminate(
    engine: Engine,
    config: ContaminationConfig,
    base: Path,
    documents: Manifest,
    statistics: Manifest,
    before: Sequence[Manifest],
) -> Manifest:
    """Run all stages; returns `verdicts/contamination`. Raises `UserError` where a set has no files, or none that can be read."""
    sets = tuple(prepared(each, base) for each in config.sets)
    inputs = [each.key for each in sets]
    index_work = _IndexWork(sets, config.ngram, config.shortest, config.numbers)
    task = Task("index", fingerprint(VERSION, inputs, config.ngram, config.shortest, config.numbers), index_work)
    made = engine.run(Stage("contamination: index", (NGRAMS, ITEMS), index_sets, (task,), memory=2 << 30, unit="tasks")).manifests
    ngrams = made[NGRAMS]
    by_line = config.unit == "line"
    tasks = []
    for partition in documents.partitions:
        key = fingerprint(VERSION, ngrams.content, by_line, config.ngram, partition.checksum, checksums(before, partition.name))
        work = _MatchWork(partition, entries(before, partition.name), ngrams.partitions[0], by_line, config.ngram)
        tasks.append(Task(partition.name, key, work, partition.bytes))
    matches = engine.run(Stage("contamination: match", (MATCHES,), match_partition, tuple(tasks), memory=1 << 30)).manifests[MATCHES]
    common = ""
    if config.common is not None:
        task = Task("common", fingerprint(VERSION, matches.content, config.common), _CommonWork(matches, config.common, ngrams.rows))
        stage = Stage("contamination: common", (COMMON,), common_ngrams, (task,), memory=1 << 30, unit="tasks")
        common = engine.run(stage).manifests[COMMON].content
    settings = config.model_dump(mode="json", exclude={"sets"})
    names = tuple(each.name for each in sets)
    rest = config.model_copy(update={"sets": []})
    tasks = []
    for partition in documents.partitions:
        entry, start = statistics.by_name[partition.name], documents.starts[partition.name]
        parts = (partition.checksum, entry.checksum, matches.by_name[partition.name].checksum, checksums(before, partition.name))
        key = fingerprint(VERSION, settings, names, ngrams.content, made[ITEMS].content, common, start, parts)
        verdicts = entries(before, partition.name)
        verdict_work = _VerdictWork(partition, entry, matches.by_name[partition.name], verdicts, start, rest, names)
        tasks.append(Task(partition.name, key, verdict_work, partition.rows))
    name = verdict_dataset("contamination")
    stage = Stage("contamination", (name, REPORT), contamination_verdicts, tuple(tasks), settings, memory=1 << 30, unit="documents")
    return engine.run(stage).manifests[name]


__all__ = ["ContaminationConfig", "decontaminate"]
