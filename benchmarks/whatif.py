"""What other limits would keep of a million documents: how long `foundry whatif`, a sweep, and the report's numbers take.

    python -m benchmarks.whatif --texts FILE.jsonl[.zst] [--documents 1000000] [--quick]

The texts are measured and filtered once, by the rules of Gopher, C4 and FineWeb; the partitions of what that gives are then repeated
until they are of so many documents. Times are the processor's, of all threads.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import xxhash

from benchmarks.planted import read_texts
from benchmarks.results_file import Row, show, write
from pipeline.filters.c4 import C4Rules
from pipeline.filters.fineweb import FineWebRules
from pipeline.filters.gopher import GopherQuality
from pipeline.filters.repetition import GopherRepetition
from pipeline.filters.stage import FILTER, Rules, filter_stage
from pipeline.measure.stage import measure_stage
from pipeline.report.alarms import alarms
from pipeline.report.histograms import histograms
from pipeline.report.limits import movable
from pipeline.report.sweep import sweep
from pipeline.report.whatif import Tried, what_if
from pipeline.workdir.dataset import Manifest, Partition, Workdir, to_parquet
from pipeline.workdir.documents import DOCUMENT_SCHEMA, DOCUMENTS, STATISTICS
from pipeline.workdir.engine import Engine, in_process

IN_A_PARTITION = 30_000


def documents(workdir: Workdir, texts: Sequence[str]) -> Manifest:
    """A finished `documents/` of some texts."""
    partitions, shared = [], {"domain": "web", "source": "texts"}
    for number, begin in enumerate(range(0, len(texts), IN_A_PARTITION)):
        rows = [
            {**shared, "id": f"texts:{begin + place}", "text": text, "url": f"https://s{place % 997}.example/{begin}"}
            for place, text in enumerate(texts[begin : begin + IN_A_PARTITION])
        ]
        raw, name = to_parquet(pa.Table.from_pylist(rows, schema=DOCUMENT_SCHEMA)), f"texts-{number:05d}-000.parquet"
        workdir.write(raw, DOCUMENTS, name)
        partitions.append(Partition(name, len(rows), raw.size, xxhash.xxh3_128_hexdigest(raw)))
    manifest = Manifest(DOCUMENTS, "ingest", "benchmark", tuple(partitions))
    workdir.write(manifest.to_json(), DOCUMENTS, "_manifest.json")
    return manifest


def repeated(workdir: Workdir, dataset: str, times: int) -> int:
    """Repeat a dataset's partitions, under other names; returns how many rows there are then."""
    manifest = workdir.require(dataset)
    partitions = []
    for turn in range(times):
        for partition in manifest.partitions:
            name = partition.name.replace("texts-", f"texts-{turn:03d}")
            if turn and not Path(workdir.path(dataset, name)).exists():
                Path(workdir.path(dataset, name)).hardlink_to(workdir.path(dataset, partition.name))
            partitions.append(replace(partition, name=name if turn else partition.name))
    made = replace(manifest, partitions=tuple(sorted(partitions, key=lambda each: each.name)))
    workdir.write(made.to_json(), dataset, "_manifest.json")
    return made.rows


def seconds(call: Callable[[], Any]) -> float:
    """Processor time of a call."""
    begin = time.process_time()
    call()
    return time.process_time() - begin


def rules(alphabetic: float, *, lines: bool) -> dict[str, Rules]:
    """Published rules, with one limit as given; `lines`: with C4's, which look at lines."""
    quality = GopherQuality(min_alphabetic_words=alphabetic)
    c4 = C4Rules() if lines else None
    return {"web": Rules(gopher_quality=quality, gopher_repetition=GopherRepetition(), c4=c4, fineweb=FineWebRules())}


def measured(texts: Sequence[str], least: int, *, lines: bool) -> list[Row]:
    """The figures over at least so many documents, with or without rules on lines."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        workdir = Workdir(folder)
        engine = Engine(workdir, executor=in_process)
        statistics = engine.run(measure_stage(documents(workdir, texts), {"web": lines})).manifests[STATISTICS]
        engine.run(filter_stage(rules(0.8, lines=lines), statistics))
        what_if(Tried(workdir, rules(0.7, lines=lines)))  # kernels are compiled
        counts = [repeated(workdir, dataset, -(-least // len(texts))) for dataset in (DOCUMENTS, STATISTICS, FILTER)]
        what = f"{counts[0]:,} documents, {'with' if lines else 'without'} rules on lines"
        took = seconds(lambda: what_if(Tried(workdir, rules(0.7, lines=lines))))
        rows.append(Row(f"another limit: {what}", "s", took, goal=10, at_most=True))
        key, values = "filter.web.gopher_quality.min_alphabetic_words", [0.5 + 0.05 * step for step in range(10)]
        tried = [rules(value, lines=lines)["web"] for value in values]
        took = seconds(lambda: sweep(Tried(workdir, rules(0.8, lines=lines)), key, 0.8, values, tried, None))
        rows.append(Row(f"ten values of a limit: {what}", "s", took))
        if lines:
            rows.append(Row(f"what deserves a look: {what}", "s", seconds(lambda: alarms(workdir))))
            rows.append(Row(f"the report's histograms: {what}", "s", seconds(lambda: histograms(workdir))))
            rows.append(Row(f"the numbers by which limits are moved on its page: {what}", "s", seconds(lambda: movable(workdir))))
    return rows


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=Path, required=True)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    texts = read_texts(options.texts)[: 3000 if options.quick else None]
    least = 10_000 if options.quick else options.documents
    rows = [row for lines in (False, True) for row in measured(texts, least, lines=lines)]
    show(rows)
    if not options.quick:
        print(write("whatif", rows, ("numba", "pyarrow", "numpy")))


if __name__ == "__main__":
    main()
