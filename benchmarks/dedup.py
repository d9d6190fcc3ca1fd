"""Near deduplication: text to signatures, whole runs, and their quality, beside datatrove, datasketch, rensa and text-dedup.

    python -m benchmarks.dedup [--quick] [--texts FILE.jsonl[.zst]] [--text-dedup PYTHON] [--work FOLDER]

Documents are real ones, of the file given (default: the demo corpus), and a corpus planted from them (`benchmarks.planted`).
text-dedup needs older libraries than ours, so it runs under a Python of its own (`--text-dedup`), where one is given.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import regex

from benchmarks.memory import PeakMemory
from benchmarks.planted import Base, Planted, read_texts, write_corpus
from benchmarks.results_file import RESULTS, Peer, Row, show, versions, write
from pipeline.dedup.near import NearConfig, near_deduplicate
from pipeline.dedup.shingles import signatures
from pipeline.workdir.dataset import Manifest, Workdir
from pipeline.workdir.engine import Engine

WORD = regex.compile(r"(?V1)[\p{Han}\p{Hiragana}\p{Katakana}]|[[\p{L}\p{M}\p{N}]--[\p{Han}\p{Hiragana}\p{Katakana}]]+")
CONFIG = NearConfig()  # 5-grams of words, 14 bands of 8, threshold 0.75


def median_seconds(function: Callable[[], Any], times: int) -> float:
    """The median of some runs, after one to warm up."""
    function()
    seconds = []
    for _ in range(times):
        begin = time.perf_counter()
        function()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def cut(texts: Sequence[str], size: int) -> list[str]:
    """The first texts, of so many bytes in all."""
    taken, total = [], 0
    for text in texts:
        taken.append(text)
        total += len(text.encode())
        if total >= size:
            break
    return taken


# --- signatures ------------------------------------------------------------------------------------------------------


# datatrove 0.10.1 hands strings to xxhash, which takes only bytes since 4.0.
PATCH = """
import xxhash
_xxh64 = xxhash.xxh64_intdigest
xxhash.xxh64_intdigest = lambda data: _xxh64(data.encode() if isinstance(data, str) else data)
"""


def _datatrove(texts: Sequence[str]) -> Callable[[], Any]:
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature
    from loguru import logger

    exec(PATCH, {})
    logger.remove()
    step = MinhashDedupSignature(tempfile.mkdtemp(), config=MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8))
    return lambda: [step.get_signature(step.get_shingles(text)) for text in texts]


def _datasketch(texts: Sequence[str]) -> Callable[[], Any]:
    from datasketch import MinHash

    def one(text: str) -> MinHash:
        words = text.lower().split()
        sketch = MinHash(num_perm=112, seed=1, scheme="affine32")
        sketch.update_batch([" ".join(words[start : start + 5]).encode() for start in range(max(1, len(words) - 4))])
        return sketch

    return lambda: [one(text) for text in texts]


def _rensa(texts: Sequence[str]) -> Callable[[], Any]:
    from rensa import RMinHash

    def one(text: str) -> Any:
        words = text.lower().split()
        sketch = RMinHash(num_perm=112, seed=1)
        sketch.update([" ".join(words[start : start + 5]) for start in range(max(1, len(words) - 4))])
        return sketch.digest()

    return lambda: [one(text) for text in texts]


def signature_rows(texts: list[str], quick: bool) -> list[Row]:
    """One core, 112 permutations: megabytes of UTF-8 a second."""
    times = 3 if quick else 5
    peers: list[tuple[str, Callable[[Sequence[str]], Callable[[], Any]], float, int]] = [
        ("datatrove", _datatrove, 100, 2_000_000),
        ("datasketch", _datasketch, 10, 8_000_000),
        ("rensa", _rensa, 5, 16_000_000),
    ]
    whole = pa.array(cut(texts, 8_000_000 if quick else 48_000_000))
    size = pc.sum(pc.binary_length(whole)).as_py() / 1e6
    ours = size / median_seconds(lambda: signatures(whole, 5, 112, 1), times)
    rows = [Row(f"text to signatures, {size:.0f} MB", "MB/s a core", ours, goal=100)]
    for name, make, goal, bytes_ in peers:
        some = cut(texts, bytes_ // 4 if quick else bytes_)
        column, size = pa.array(some), sum(len(text.encode()) for text in some) / 1e6
        mine = size / median_seconds(partial(signatures, column, 5, 112, 1), 2 * times)
        theirs = size / median_seconds(make(some), times)
        peer = Peer(name, versions(name)[name], theirs)
        rows.append(Row(f"text to signatures, {size:.1f} MB, against {name}", "MB/s a core", mine, peer, goal))
    return rows


# --- whole runs ------------------------------------------------------------------------------------------------------


def clear(workdir: Workdir) -> None:
    """Forget all but the documents and their statistics."""
    for folder in ("dedup", "verdicts", "index"):
        shutil.rmtree(workdir.path(folder), ignore_errors=True)


def run_ours(workdir: Workdir, documents: Manifest, stats: Manifest, config: NearConfig) -> tuple[float, int]:
    """Seconds from documents to verdicts, Ray's start included, and the largest process in bytes."""
    clear(workdir)
    engine = Engine(workdir)
    begin = time.perf_counter()
    with PeakMemory() as memory:
        near_deduplicate(engine, config, documents, stats, [])
        seconds = time.perf_counter() - begin
    engine.close()
    return seconds, memory.peak


def write_jsonl(planted: Planted, path: Path, parts: int) -> None:
    """The corpus as the peers read it."""
    path.mkdir(parents=True, exist_ok=True)
    for part in range(parts):
        first, last = (planted.documents * n // parts for n in (part, part + 1))
        with (path / f"{part}.jsonl").open("w", encoding="utf-8") as file:
            for number, text in enumerate(planted.texts(first, last), first):
                file.write(json.dumps({"id": str(number), "text": text}) + "\n")


DATATROVE = f"""{PATCH}
import sys
from loguru import logger
logger.remove()
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.dedup import MinhashDedupBuckets, MinhashDedupCluster, MinhashDedupFilter, MinhashDedupSignature
from datatrove.pipeline.dedup.minhash import MinhashConfig
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers.jsonl import JsonlWriter
if __name__ == "__main__":
    source, work = sys.argv[1:]
    config = MinhashConfig(n_grams=5, num_buckets=14, hashes_per_bucket=8)
    stages = [
        (2, [JsonlReader(source), MinhashDedupSignature(work + "/signatures", config=config)]),
        (14, [MinhashDedupBuckets(work + "/signatures", work + "/buckets", config=config)]),
        (1, [MinhashDedupCluster(work + "/buckets", work + "/remove", config=config)]),
        (2, [JsonlReader(source), MinhashDedupFilter(work + "/remove"), JsonlWriter(work + "/kept")]),
    ]
    for number, (tasks, steps) in enumerate(stages):
        LocalPipelineExecutor(steps, tasks=tasks, workers=2, logging_dir=work + "/logs/" + str(number), start_method="fork").run()
"""


def run_datatrove(source: Path, work: Path) -> float:
    """Seconds from JSON Lines to the lists of what is dropped and the documents that are kept, with two workers."""
    script = work / "run_datatrove.py"
    work.mkdir(parents=True)
    script.write_text(DATATROVE, encoding="utf-8")
    begin = time.perf_counter()
    subprocess.run([sys.executable, str(script), str(source), str(work)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - begin


def run_text_dedup(python: str, source: Path, work: Path) -> tuple[float, str]:
    """Seconds from JSON Lines to the documents that are kept, with two processes; and the version."""
    command = [python, "-m", "text_dedup.minhash", "--path", "json", "--data_files", str(source / "*.jsonl"), "--split", "train"]
    command += ["--column", "text", "--ngram", "5", "--num_perm", "112", "--b", "14", "--r", "8", "--threshold", "0.75"]
    command += ["--hash_func", "xxh3", "--num_proc", "2", "--cache_dir", str(work / "cache"), "--output", str(work / "kept")]
    work.mkdir(parents=True)
    begin = time.perf_counter()
    subprocess.run(command, check=True, cwd=work, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seconds = time.perf_counter() - begin
    code = "import importlib.metadata as m; print(m.version('text-dedup'))"
    return seconds, subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


def run_rows(base: Base, folder: Path, quick: bool, text_dedup: str | None) -> list[Row]:
    """From documents to verdicts, of a small and a large planted corpus, and the peers on the small one."""
    small, large = (5_000, 50_000) if quick else (100_000, 1_000_000)
    times = 3 if quick else 5
    rows = []
    speeds: dict[int, float] = {}
    for documents in (small, large):
        workdir = Workdir(str(folder / str(documents)))
        manifests = write_corpus(workdir, Planted(base, documents, 1))
        runs = [run_ours(workdir, *manifests, CONFIG) for _ in range(times + 1)][1:]
        seconds = statistics.median(run[0] for run in runs)
        speeds[documents] = documents / seconds
        size = manifests[0].summary["domains"]["web"]["bytes"] / 1e9
        name = f"{documents:,} documents ({size:.2f} GB) to verdicts"
        if documents == large:
            rows.append(Row(name, "s", seconds, goal=None if quick else 300, at_most=True))
            rows.append(Row(f"{name}: largest process", "GB", max(run[1] for run in runs) / 1e9, goal=3, at_most=True))
        else:
            rows.append(Row(name, "s", seconds))
    name = f"time for a document at {large:,} / at {small:,}"
    rows.append(Row(name, "", speeds[small] / speeds[large], goal=1.3, at_most=True))
    source = folder / "jsonl"
    write_jsonl(Planted(base, small, 1), source, 2)
    seconds = run_datatrove(source, folder / "datatrove")
    peer = Peer("datatrove", versions("datatrove")["datatrove"], small / seconds)
    rows.append(Row(f"{small:,} documents to verdicts, against datatrove (once)", "documents/s", speeds[small], peer))
    if text_dedup is not None:
        seconds, version = run_text_dedup(text_dedup, source, folder / "text-dedup")
        rows.append(
            Row(
                f"{small:,} documents to verdicts, against text-dedup (once)",
                "documents/s",
                speeds[small],
                Peer("text-dedup", version, small / seconds),
            )
        )
    return rows


# --- quality ---------------------------------------------------------------------------------------------------------


def shingles(text: str) -> set[tuple[str, ...]]:
    """The shingles of a text by plain Python: the truth that the kernels are held against."""
    words = WORD.findall(text.lower())
    return {tuple(words[start : start + 5]) for start in range(max(1, len(words) - 4))} if words else set()


def jaccard(one: str, other: str) -> float:
    """The true similarity."""
    a, b = shingles(one), shingles(other)
    return len(a & b) / max(1, len(a | b))


def judged(workdir: Workdir, manifests: tuple[Manifest, Manifest], config: NearConfig) -> pa.Table:
    """The verdicts of all documents."""
    run_ours(workdir, *manifests, config)
    return pa.concat_tables(table for _, table in workdir.tables("verdicts/near", ["keep", "duplicate_of", "value", "estimate"]))


def quality_rows(base: Base, folder: Path, quick: bool) -> list[Row]:
    """Recall of the planted pairs against the LSH curve, and the precision of what is dropped."""
    documents = 10_000 if quick else 100_000
    planted = Planted(base, documents, 2)
    workdir = Workdir(str(folder / "quality"))
    manifests = write_corpus(workdir, planted)
    texts: list[str] = pa.concat_tables(t for _, t in workdir.tables("documents", ["text"]))["text"].to_pylist()
    first = planted.originals + planted.strangers
    origins = [planted.origin(number) for number in range(first, documents)]
    pairs = [(number, found[0]) for number, found in enumerate(origins, first) if found is not None]
    true = np.array([jaccard(texts[a], texts[b]) for a, b in pairs])

    candidates = judged(workdir, manifests, NearConfig(threshold=0.02, bands=14, rows=8))
    of = candidates["duplicate_of"].to_pylist()
    found = np.array([of[copy] == original for copy, original in pairs])
    edges = np.linspace(0, 1, 21)
    bins = np.clip(np.digitize(true, edges) - 1, 0, 19)
    predicted = 1 - (1 - true**8) ** 14
    counts = np.bincount(bins, minlength=20)
    measured = np.bincount(bins, found, 20) / np.maximum(1, counts)
    expected = np.bincount(bins, predicted, 20) / np.maximum(1, counts)
    noise = np.sqrt(np.bincount(bins, predicted * (1 - predicted), 20)) / np.maximum(1, counts)
    large = noise < 0.005  # bins with pairs enough for chance to be well under two points
    large &= counts > 100
    difference = 100 * np.abs(measured - expected)[large].max()
    high = true >= 0.75
    rows = [
        Row(
            f"recall of {len(pairs):,} planted pairs: largest distance from the LSH curve",
            "points",
            float(difference),
            goal=2,
            at_most=True,
        ),
        Row("recall at true similarity >= 0.75", "%", 100 * float(found[high].mean())),
        Row("  as the curve predicts", "%", 100 * float(predicted[high].mean())),
    ]
    precision = {}
    shown = {}
    for verify in (True, False):
        table = judged(workdir, manifests, NearConfig(threshold=0.75, bands=14, rows=8, verify=verify))
        dropped = [(number, other) for number, other in enumerate(table["duplicate_of"].to_pylist()) if other is not None]
        similarity = np.array([jaccard(texts[a], texts[b]) for a, b in dropped])
        precision[verify] = float((similarity >= 0.75).mean())
        shown[verify] = similarity
        what = "verified" if verify else "by the estimate alone"
        goal = 1.0 if verify else None
        rows.append(Row(f"precision of {len(dropped):,} dropped documents, {what}", "", precision[verify], goal=goal))
    plot_quality(edges, measured, expected, counts, shown)
    return rows


def plot_quality(edges: Any, measured: Any, expected: Any, counts: Any, shown: dict[bool, Any]) -> None:
    """`benchmarks/results/dedup-quality.svg`: recall against similarity, and the similarity of what is dropped."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6))
    left, right = figure.subplots(1, 2)
    middle = (edges[1:] + edges[:-1]) / 2
    some = counts > 20
    grid = np.linspace(0, 1, 200)
    left.plot(grid, 1 - (1 - grid**8) ** 14, color="#8c8c8c", linewidth=1.2, label="LSH curve, 14 bands of 8")
    left.plot(middle[some], measured[some], "o", color="#0072b2", markersize=5, label="planted pairs, in bins of 0.05")
    left.set_xlabel("true Jaccard similarity")
    left.set_ylabel("share of pairs found")
    left.set_title("Recall", loc="left", fontsize=11)
    left.legend(frameon=False, fontsize=9, loc="upper left")
    bins = np.linspace(0.5, 1, 51)
    right.hist(
        shown[False], bins, color="#d55e00", alpha=0.8, label=f"by the estimate alone: {(shown[False] >= 0.75).mean():.1%} are right"
    )
    right.hist(shown[True], bins, color="#009e73", alpha=0.9, label=f"verified: {(shown[True] >= 0.75).mean():.1%} are right")
    right.axvline(0.75, ymax=0.76, color="#333333", linewidth=1, linestyle="--")
    right.set_yscale("log")
    right.set_ylim(0.7, max(np.histogram(shown[True], bins)[0].max(), 1) * 30)
    right.set_xlabel("true similarity to the copy that stays")
    right.set_ylabel("documents dropped")
    right.set_title("Precision at a threshold of 0.75", loc="left", fontsize=11)
    right.legend(frameon=False, fontsize=9, loc="upper left")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    RESULTS.mkdir(parents=True, exist_ok=True)
    figure.savefig(RESULTS / "dedup-quality.svg", metadata={"Date": None})


def main() -> None:
    """Run all, print the figures and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller corpora, fewer runs; nothing is written")
    parser.add_argument("--texts", type=Path, help="JSON Lines with `text` (.zst or not); default: the demo corpus")
    parser.add_argument("--text-dedup", help="a Python that has text-dedup")
    parser.add_argument("--work", type=Path, help="where corpora are made, and kept (default: a temporary folder)")
    options = parser.parse_args()
    texts = read_texts(options.texts)
    base = Base.of(texts)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.work or Path(temporary)
        for name in ("datatrove", "text-dedup"):
            shutil.rmtree(folder / name, ignore_errors=True)
        rows = signature_rows(texts, options.quick)
        rows += quality_rows(base, folder, options.quick)
        rows += run_rows(base, folder, options.quick, options.text_dedup)
    show(rows)
    if not options.quick:
        print(write("dedup", rows, ("datasketch", "rensa", "datatrove", "numba", "pyarrow", "ray")))


if __name__ == "__main__":
    main()
