"""Loading: tokens a second from packed shards to micro-batches, start far into a large index, memory, and the order's fairness.

    python -m benchmarks.loader [--quick] [--peers PYTHON]

Rows are those of the demo corpus, packed to 1024. mosaicml-streaming, litdata and Hugging Face datasets run under a Python of
their own (`--peers`), on the same rows, in their own formats (`benchmarks/loader_peers.py`).
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import psutil

import tokenizer
from benchmarks.packing import prepare, run_here
from benchmarks.planted import demo_texts
from benchmarks.results_file import Peer, Row, show, write
from pipeline.mix.tokens import TOKENIZER, tokenize_stage
from pipeline.pack.stage import PackConfig, pack_stage
from pipeline.shards import ShardInfo, Shards
from pipeline.workdir.dataset import Workdir
from trainer.batches import Source
from trainer.order import rows_of

ROWS = 96  # of a micro-batch, as ModernBERT-base's at 1024
LENGTH = 1024


def make_shards(folder: Path) -> Path:
    """The demo corpus as shards."""
    workdir = Workdir(str(folder))
    documents, split, plan, made = prepare(workdir, demo_texts(code=True))
    for manifest in (documents, split, plan):
        workdir.write(manifest.to_json(), manifest.dataset, "_manifest.json")
    tokens, _ = run_here(workdir, tokenize_stage(documents, split, made))
    place = Path(workdir.path(TOKENIZER))
    ids = tokenizer.special_ids(place)
    info = ShardInfo(LENGTH, ids.vocab_size, ids.cls, ids.sep, ids.pad, ids.mask, ids.ordinary, ("web",), "t", "p")
    stage = pack_stage(PackConfig(), "shards/main", "main", info, tokenizer.break_flags(place), tokens, plan, documents)
    packed, _ = run_here(workdir, stage)
    workdir.write(packed.to_index(), "shards/main", "index.json")
    return Path(workdir.path("shards", "main"))


def epoch(source: Source, number: int) -> int:
    """All samples of one epoch as micro-batches; returns how many tokens came."""
    rows, total = len(source.shards), 0
    for first in range(number * rows, (number + 1) * rows - ROWS + 1, ROWS):
        total += source.micro_batch(np.arange(first, first + ROWS)).tokens
    return total


def tokens_per_second(source: Source, times: int) -> float:
    """The median of some epochs, after one to warm up."""
    epoch(source, 0)
    speeds = []
    for number in range(1, times + 1):
        begin = time.perf_counter()
        tokens = epoch(source, number)
        speeds.append(tokens / (time.perf_counter() - begin))
    return statistics.median(speeds)


class Pretended:
    """A place with as many files as one likes, each of which is the same file."""

    def __init__(self, shards: Path, files: int) -> None:
        index = json.loads((shards / "index.json").read_text())
        entry: dict[str, Any] = max(index["files"], key=lambda file: file["rows"])
        self.file: Path = shards / entry["name"]
        index["files"] = [{**entry, "name": f"{number}.arrow"} for number in range(files)]
        index["rows"] = files * entry["rows"]
        self.index = json.dumps(index).encode()

    def path(self, name: str, size: int, xxh3_128: str) -> Path:
        return self.file

    def ahead(self, files: Iterable[tuple[str, int, str]]) -> None:
        return

    def read(self, name: str) -> bytes | None:
        return self.index

    def __str__(self) -> str:
        return "pretended"


def start_rows(shards: Path) -> list[Row]:
    """The first micro-batch from sample 10^9 on, of an index of more than 10^9 rows."""
    biggest = max(file["rows"] for file in json.loads((shards / "index.json").read_text())["files"])
    place = Pretended(shards, -(-1_100_000_000 // biggest))
    source = Source(Shards(place), seed=1, rate=0.3)
    source.micro_batch(np.arange(16))
    seconds = []
    for number in range(20):
        first = 10**9 + number * 10**6
        begin = time.perf_counter()
        source.micro_batch(np.arange(first, first + 16))
        seconds.append(time.perf_counter() - begin)
    name = (
        f"first micro-batch of 16 rows at sample 10^9, of {len(source.shards) / 1e9:.1f} billion rows in {len(source.shards.files):,} files"
    )
    return [Row(name, "ms", 1000 * statistics.median(seconds), goal=10, at_most=True)]


def memory_rows(shards: Path) -> list[Row]:
    """How much private memory grows from the second epoch to the sixth."""
    source = Source(Shards(shards), seed=1, rate=0.3)

    def private() -> int:
        return int(psutil.Process().memory_full_info().uss)

    for number in range(2):
        epoch(source, number)
    before = private()
    for number in range(2, 6):
        epoch(source, number)
    return [Row("private memory grown over four epochs more", "MB", max(0, private() - before) / 1e6, goal=16, at_most=True)]


def order_rows(samples: int) -> list[Row]:
    """Chi-square of place against time and serial correlations, in deviations from what a fair order has."""
    bins, part = 100, 1 << 22
    table = np.zeros(bins * bins)
    lags = (1, 2, 7, 1024)
    sums = dict.fromkeys(lags, 0.0)
    before = np.empty(0, np.int64)
    for first in range(0, samples, part):
        order = rows_of(np.arange(first, min(first + part, samples)), samples, 11)
        when = np.arange(first, first + len(order)) * bins // samples
        table += np.bincount(when * bins + order * bins // samples, minlength=bins * bins)
        joined = np.concatenate([before, order])
        centred = joined / samples - 0.5
        for lag in lags:
            start = max(0, len(before) - lag)
            sums[lag] += float((centred[start : len(joined) - lag] * centred[start + lag :]).sum())
        before = joined[-1024:]
    expected = samples / bins**2
    degrees = (bins - 1) ** 2
    chi_square = float(((table - expected) ** 2 / expected).sum())
    largest = max(abs(value / (samples / 12)) * samples**0.5 for value in sums.values())
    return [
        Row(
            f"place against time, {samples:.0e} samples: chi-square's distance",
            "deviations",
            abs(chi_square - degrees) / (2 * degrees) ** 0.5,
            goal=4,
            at_most=True,
        ),
        Row("serial correlation at lags 1, 2, 7, 1024: largest", "deviations", largest, goal=4, at_most=True),
    ]


def main() -> None:
    """Run all, print the figures and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer runs; nothing is written")
    parser.add_argument("--peers", help="a Python that has mosaicml-streaming, litdata and datasets")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)  # what the benchmark runs in a process of its own, as the peers'
    options = parser.parse_args()
    times = 2 if options.quick else 5
    if options.measure is not None:
        measured = Shards(options.measure)
        print(json.dumps([tokens_per_second(Source(measured, seed=1, rate=rate), times) / 1e6 for rate in (0.0, 0.3)]))
        return
    with tempfile.TemporaryDirectory() as folder:
        shards = make_shards(Path(folder) / "workdir")
        opened = Shards(shards)
        quick = ["--quick"] if options.quick else []
        command = [sys.executable, "-m", "benchmarks.loader", "--measure", str(shards), *quick]
        run = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
        plain, masked = json.loads(run.stdout.splitlines()[-1])
        rows = [
            Row(f"{len(opened):,} rows of {LENGTH}, shuffled, to micro-batches of {ROWS}", "M tokens/s", plain, goal=20),
            Row("  with masks of 30 %", "M tokens/s", masked, goal=5),
        ]
        if options.peers is not None:
            stored = Path(folder) / "rows.npz"
            found = [opened[number].input_ids for number in range(len(opened))]
            np.savez(stored, ids=np.concatenate(found), offsets=np.concatenate([[0], np.cumsum([len(ids) for ids in found])]))
            script = Path(__file__).with_name("loader_peers.py")
            for name in ("mosaicml-streaming", "litdata", "datasets"):
                command = [options.peers, str(script), name, str(stored), str(Path(folder) / "peers"), str(times)]
                run = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
                figures: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
                peer = Peer(name, figures["version"], figures["tokens_per_second"] / 1e6)
                rows.append(Row(f"the same, against {name}", "M tokens/s", plain, peer, 3))
        rows += start_rows(shards)
        rows += memory_rows(shards)
        rows += order_rows(10**6 if options.quick else 10**8)
    show(rows)
    if not options.quick:
        print(write("loader", rows, ("torch", "numba", "pyarrow")))


if __name__ == "__main__":
    main()
