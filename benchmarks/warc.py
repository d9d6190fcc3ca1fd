"""Web archives to documents, beside a bare loop over FastWARC and resiliparse; two workers against one; a worker's memory.

    python -m benchmarks.warc [--quick] [--warc FILE.warc.gz] [--articles FILE.tar.zst]

The archive is the file given (default: one made of the demo corpus's pages, a gzip member a record). Ours and the bare loop
take turns, so that what else the machine does falls on both. `--articles`: scrapinghub's article-extraction-benchmark as a tar
(`html/*.html.gz`, `ground-truth.json`), to measure what is extracted, too.
"""

from __future__ import annotations

import argparse
import gzip
import io
import json
import multiprocessing
import re
import shutil
import statistics
import tarfile
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zstandard
from fastwarc.warc import ArchiveIterator, WarcRecordType
from resiliparse.extract.html2text import extract_plain_text
from resiliparse.parse.encoding import bytes_to_str, detect_encoding

from benchmarks.memory import PeakMemory
from benchmarks.results_file import Peer, Row, show, versions, write
from pipeline.ingest.stage import IngestConfig, ingest_stage
from pipeline.measure.stage import measure_stage
from pipeline.readers import Record, SourceConfig, list_files, read_file, source_config
from pipeline.readers.archives import members
from pipeline.readers.html import HtmlSource, to_page
from pipeline.readers.streams import read_all
from pipeline.workdir.dataset import Workdir
from pipeline.workdir.engine import Engine

PEER = "FastWARC + resiliparse"


def demo_archive(target: Path) -> None:
    """The demo corpus's pages as an archive of responses."""
    from jobs.corpus import fetch
    from jobs.recipe import load_recipe
    from kernel.cache import cache_folder
    from pipeline.readers import Unreadable

    folder = cache_folder() / "demo-corpus"
    fetch(folder, report=print)
    recipe = load_recipe(Path(__file__).parents[1] / "recipes" / "demo.yaml")
    with target.open("wb") as archive:
        for source in recipe.sources:
            for file in list_files(source, folder) if source.format == "html" else []:
                for member in members(file, source):
                    if isinstance(member, Unreadable):
                        continue
                    content = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n" + read_all(member, source)
                    head = f"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://demo.example/{member.name}\r\n"
                    head += f"Content-Type: application/http;msgtype=response\r\nContent-Length: {len(content)}\r\n\r\n"
                    archive.write(gzip.compress(head.encode() + content + b"\r\n\r\n", 6))


def source_of(path: Path) -> SourceConfig:
    """A source of archives."""
    return source_config(name="crawl", domain="web", format="warc", path=str(path))


def ours(path: Path) -> int:
    """Characters of all documents, by our reader."""
    source = source_of(path)
    items = (item for file in list_files(source, Path("/")) for item in read_file(file, source))
    return sum(len(item.text) for item in items if isinstance(item, Record))


def bare(path: Path) -> int:
    """The same by a loop that does nothing else: no limits, no damage, no titles, no lists near the top of a page."""
    characters = 0
    with path.open("rb") as stream:
        for record in ArchiveIterator(stream, record_types=WarcRecordType.response, auto_decode="all"):
            data = record.reader.read()
            markup = bytes_to_str(data, detect_encoding(data, from_html_meta=True) or "utf-8")
            characters += len(extract_plain_text(markup, main_content=True, preserve_formatting=True))
    return characters


def turns(functions: tuple[Callable[[], Any], ...], times: int) -> list[float]:
    """The median seconds of each, run in turns after one turn to warm up."""
    seconds: list[list[float]] = [[] for _ in functions]
    for turn in range(times + 1):
        for number, function in enumerate(functions):
            begin = time.perf_counter()
            function()
            if turn:
                seconds[number].append(time.perf_counter() - begin)
    return [statistics.median(some) for some in seconds]


def html_bytes(path: Path) -> int:
    """Bytes of the records, decompressed."""
    with gzip.open(path) as stream:
        return sum(len(block) for block in iter(lambda: stream.read(1 << 20), b""))


def stages_seconds(archives: Path, work: Path, workers: int) -> float:
    """Seconds from archives to documents and statistics, on so many workers that are warm."""
    engine = Engine(Workdir(str(work / "warm")), workers=workers)
    try:
        for turn in ("warm", "timed"):
            engine.workdir = Workdir(str(work / turn))
            source = source_of(archives if turn == "timed" else archives / "0[01].warc.gz")
            begin = time.perf_counter()
            documents = engine.run(ingest_stage(IngestConfig(chunk_bytes=1), [source], Path("/"))).manifests["documents"]
            engine.run(measure_stage(documents))
            seconds = time.perf_counter() - begin
            shutil.rmtree(work / turn)
    finally:
        engine.close()
    return seconds


def _arithmetic(_: int) -> float:
    begin = time.perf_counter()
    total = 0
    for number in range(20_000_000):
        total += number * number
    return time.perf_counter() - begin


def scaling(archives: Path, work: Path, times: int) -> tuple[float, float]:
    """How many times faster two workers are than one, and the same of two processes that do nothing but sums: what the machine
    gives. In turns; of the medians.
    """
    ours: dict[int, list[float]] = {1: [], 2: []}
    sums: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(times):
        for workers in (1, 2):
            with multiprocessing.get_context("spawn").Pool(workers) as pool:
                sums[workers].append(max(pool.map(_arithmetic, range(workers), chunksize=1)))
            ours[workers].append(stages_seconds(archives, work, workers))
    one, two = (statistics.median(ours[workers]) for workers in (1, 2))
    return one / two, 2 * statistics.median(sums[1]) / statistics.median(sums[2])


def worker_memory(path: Path, work: Path) -> int:
    """Bytes of the largest process while one worker reads an archive to documents."""
    engine = Engine(Workdir(str(work / "memory")), workers=1)
    try:
        with PeakMemory() as memory:
            engine.run(ingest_stage(IngestConfig(), [source_of(path)], Path("/")))
    finally:
        engine.close()
    return memory.peak


def _grams(text: str) -> Counter[tuple[str, ...]]:
    words = re.findall(r"\w+", text)
    return Counter(tuple(words[at : at + 4]) for at in range(max(1, len(words) - 3)))


def article_rows(path: Path) -> list[Row]:
    """4-gram F1 of the extracted articles, from mean precision and mean recall as the benchmark of their makers has it."""
    pages: dict[str, bytes] = {}
    truth: dict[str, Any] = {}
    with path.open("rb") as raw, tarfile.open(fileobj=zstandard.ZstdDecompressor().stream_reader(raw), mode="r|") as archive:
        for entry in archive:
            data = archive.extractfile(entry)
            if data is not None and entry.name.endswith("ground-truth.json"):
                truth = json.load(io.BytesIO(data.read()))
            elif data is not None and entry.name.endswith(".html.gz"):
                pages[Path(entry.name).name.removesuffix(".html.gz")] = gzip.decompress(data.read())

    def score(extract: Callable[[bytes], str]) -> float:
        precisions, recalls = [], []
        for name, data in pages.items():
            wanted, found = _grams(truth[name]["articleBody"]), _grams(extract(data))
            common = (wanted & found).total()
            precisions.append(common / max(1, found.total()))
            recalls.append(common / max(1, wanted.total()))
        precision, recall = statistics.mean(precisions), statistics.mean(recalls)
        return 100 * 2 * precision * recall / (precision + recall)

    def of(extractor: str) -> Callable[[bytes], str]:
        source = HtmlSource.model_validate({"name": "a", "domain": "web", "format": "html", "path": "x", "extractor": extractor})

        def extract(data: bytes) -> str:
            page = to_page(data, source)
            return page if isinstance(page, str) else page.text

        return extract

    plain = score(
        lambda data: extract_plain_text(bytes_to_str(data, detect_encoding(data) or "utf-8"), main_content=True, preserve_formatting=True)
    )
    version = versions("resiliparse")["resiliparse"]
    name = f"{len(pages)} news articles, F1 of 4-grams"
    rows = [Row(name, "%", score(of("blocks")), Peer("plain resiliparse", version, plain))]
    if "trafilatura" in versions("trafilatura"):
        rows.append(Row(f"{name}, extractor: trafilatura", "%", score(of("trafilatura"))))
    return rows


def main() -> None:
    """Run all, print the figures and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer runs of less; nothing is written")
    parser.add_argument("--warc", type=Path, help="a .warc.gz; default: made of the demo corpus")
    parser.add_argument("--articles", type=Path, help="articles with their text, to measure extraction")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        path = work / "demo.warc.gz"
        if options.warc is None:
            demo_archive(path)
        else:
            shutil.copyfile(options.warc, path)
        size = html_bytes(path) / 1e6
        seconds, theirs = turns((lambda: ours(path), lambda: bare(path)), 3 if options.quick else 7)
        peer = Peer(PEER, " + ".join(versions(name)[name] for name in ("fastwarc", "resiliparse")), size / theirs)
        rows = [Row(f"WARC.gz to documents, {size:.0f} MB of records", "MB/s a core", size / seconds, peer, goal=0.6)]

        archives = work / "archives"
        archives.mkdir()
        copies = 4 if options.quick else 8
        for number in range(copies):
            shutil.copyfile(path, archives / f"{number:02}.warc.gz")
        faster, possible = scaling(archives, work, 2 if options.quick else 5)
        rows.append(Row(f"{copies} archives to documents and statistics, two workers against one", "times", faster, goal=1.8))
        rows.append(Row("two processes that do nothing but sums against one: what the machine gives", "times", possible))

        large = work / "large.warc.gz"
        wanted = 3e8 if options.quick else 3e9
        with large.open("wb") as target:
            for _ in range(max(1, round(wanted / 1e6 / size))):
                target.write(path.read_bytes())
        peak = worker_memory(large, work) / 1e9
        rows.append(Row(f"largest process while one worker reads {wanted / 1e9:.1f} GB of records", "GB", peak, goal=1, at_most=True))
    if options.articles is not None:
        rows += article_rows(options.articles)
    show(rows)
    if not options.quick:
        print(write("warc", rows, ("fastwarc", "resiliparse", "trafilatura", "isal", "pyarrow", "ray")))


if __name__ == "__main__":
    main()
