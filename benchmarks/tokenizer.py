"""Training and encoding beside `tokenizers`, in one run on the same texts and cores.

    python -m benchmarks.tokenizer --texts code.jsonl.zst abstracts.jsonl.zst wikipedia.jsonl.zst [--quick]

Texts: the JSON Lines given, the demo corpus, and the sources that installed packages ship. Where a size asks for more, they come
again with one word in twenty changed, so that there are ever more different words, as in a larger corpus.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import statistics
import sysconfig
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import xxhash
from tokenizers import Tokenizer

import tokenizer
from benchmarks.memory import PeakMemory
from benchmarks.planted import demo_texts, read_texts
from benchmarks.results_file import Peer, Row, show, versions, write
from pipeline.mix.config import MixConfig, PhaseMix
from pipeline.mix.vocabulary import make_tokenizer
from pipeline.workdir.dataset import Manifest, Partition, Workdir, to_parquet
from pipeline.workdir.documents import DOCUMENT_SCHEMA
from pipeline.workdir.engine import Engine, in_process
from tokenizer import Encoder, TokenizerConfig
from tokenizer.engines import slow_encode
from tokenizer.folder import text_only
from tokenizer.train import train_by_library

_PARTITION = 64 << 20
_SOURCES = ("py", "pyi", "h", "hpp", "md", "txt", "rst", "js", "json", "html", "css", "c")
_WORD = re.compile(r"\b[a-z]{5,12}\b")


def sources() -> Iterator[str]:
    """Sources of installed packages, without what is too long for one."""
    site = Path(sysconfig.get_path("purelib"))
    for path in sorted(path for kind in _SOURCES for path in site.rglob(f"*.{kind}")):
        if path.stat().st_size < 2_000_000:
            try:
                yield path.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue


def changed(text: str, chance: random.Random) -> str:
    """One word in twenty with two of its letters exchanged."""

    def other(match: re.Match[str]) -> str:
        word = match.group()
        if chance.random() > 0.05:
            return word
        at = chance.randrange(len(word) - 1)
        return word[:at] + word[at + 1] + word[at] + word[at + 2 :]

    return _WORD.sub(other, text)


def corpus(own: list[str], size: int) -> Iterator[str]:
    """Texts of so many bytes in all: given ones, the demo's, sources; then again, changed."""
    chance, rounds = random.Random(0), 0
    while True:
        for text in (*own, *sources()):
            text = changed(text, chance) if rounds else text
            size -= len(text.encode())
            yield text
            if size <= 0:
                return
        rounds += 1


def write_corpus(workdir: Workdir, texts: Iterator[str]) -> tuple[Manifest, Manifest, int]:
    """Documents and their split, as curation leaves them; and the bytes of text."""
    schema = pa.schema([(name, pa.string()) for name in ("domain", "source", "split")] + [("bytes", pa.int64()), ("cuts", pa.null())])
    documents: list[Partition] = []
    splits: list[Partition] = []
    total = 0

    def put(batch: list[str]) -> None:
        name = f"mixed-{len(documents):05d}.parquet"
        rows = [{"id": f"{name}:{number}", "text": text, "domain": "web", "source": "mixed"} for number, text in enumerate(batch)]
        split = [{"domain": "web", "source": "mixed", "split": "train", "bytes": len(text.encode()), "cuts": None} for text in batch]
        for dataset, table, into in (
            ("documents", pa.Table.from_pylist(rows, schema=DOCUMENT_SCHEMA), documents),
            ("split", pa.Table.from_pylist(split, schema=schema), splits),
        ):
            raw = to_parquet(table)
            workdir.write(raw, dataset, name)
            into.append(Partition(name, len(batch), raw.size, xxhash.xxh3_128_hexdigest(raw)))

    batch: list[str] = []
    held = 0
    for text in texts:
        batch.append(text)
        held += len(text.encode())
        if held >= _PARTITION:
            put(batch)
            total, held, batch = total + held, 0, []
    if batch:
        put(batch)
        total += held
    summary = {"sources": {"web": {"mixed": {"train": {"documents": 0, "bytes": total}}}}}
    manifests = [
        Manifest(name, name, "benchmark", tuple(parts), {}, summary) for name, parts in (("documents", documents), ("split", splits))
    ]
    for manifest in manifests:
        workdir.write(manifest.to_json(), manifest.dataset, "_manifest.json")
    return manifests[0], manifests[1], total


def training_rows(own: list[str], size: int, folder: Path, quick: bool) -> tuple[list[Row], Path]:
    """Training from `documents/` to a tokenizer folder, and by the library from the same texts in memory."""
    config = TokenizerConfig(vocab_size=8192 if quick else 50_368, pretokenizer="modernbert")
    workdir = Workdir(str(folder / "work"))
    documents, split, total = write_corpus(workdir, corpus(own, size))
    small = Workdir(str(folder / "small"))
    make = (Engine(small, executor=in_process), config, 0, "first", PhaseMix(), MixConfig(validation_share=0))
    make_tokenizer(*make, *write_corpus(small, iter(own[:300]))[:2])  # compiles what is compiled once on a machine
    seconds = []
    with PeakMemory() as memory:
        for _ in range(1 if quick else 5):
            for dataset in ("words/drawn", "words/counted", "words/merged", "tokenizer"):
                for name in (*workdir.sizes(dataset), "_manifest.json"):
                    workdir.delete(dataset, name)
            engine = Engine(workdir, workers=2)
            begin = time.monotonic()
            made = make_tokenizer(engine, config, 0, "first", PhaseMix(), MixConfig(validation_share=0), documents, split)
            seconds.append(time.monotonic() - begin)
            engine.close()
    ours = total / 1e6 / statistics.median(seconds)
    os.environ["TOKENIZERS_PARALLELISM"] = "true"
    os.environ["RAYON_NUM_THREADS"] = "2"

    def texts() -> Iterator[str]:
        for _, table in workdir.tables("documents", ["text"]):
            yield from table["text"].to_pylist()

    begin = time.monotonic()
    library = train_by_library(texts(), config)
    theirs = total / 1e6 / (time.monotonic() - begin)
    model = Tokenizer.from_file(workdir.path("tokenizer", "tokenizer.json"))
    same = merges_of(model) == merges_of(library)
    version = versions("tokenizers")["tokenizers"]
    words = made.summary
    print(f"{total:,} bytes, {words}, seconds {seconds}, largest process {memory.process}")
    label = f"training, {total / 1e9:.2f} GB of text, {config.vocab_size:,} entries, 2 cores"
    return [
        Row(label, "MB/s", ours, Peer("tokenizers", version, theirs), 5),
        Row("the same: merges that are the library's", "%", 100.0 if same else 0.0, goal=100),
        Row("the same: memory of the largest process", "GB", memory.peak / 1e9),
    ], Path(workdir.path("tokenizer"))


def merges_of(model: Tokenizer) -> list[list[str]]:
    """The merges of a BPE tokenizer, in their order."""
    import json

    merges: list[list[str]] = json.loads(model.to_str())["model"]["merges"]
    return merges


def documents_of(own: list[str], count: int, characters: int) -> list[str]:
    """So many documents of web, code and science: long ones cut at line ends into some of so many characters."""
    found: list[str] = []
    for text in (*own, *sources()):
        at = 0
        while at < len(text):
            end = text.find("\n", at + characters)
            end = len(text) if end < 0 else end
            found.append(text[at:end])
            at = end
        if len(found) >= count:
            break
    return found[:count]


def encoding_rows(own: list[str], folders: dict[str, Path], count: int, characters: int) -> list[Row]:
    """Encoding on one core, with the proof that is in the folder, and the same by the library."""
    texts = documents_of(own, count, characters)
    column = pa.array(texts, pa.large_string())
    size = sum(len(text.encode()) for text in texts) / 1e6
    version = versions("tokenizers")["tokenizers"]
    rows = []
    for name, folder in folders.items():
        encoder = Encoder(folder)
        encoder.encode(column)
        seconds = []
        for _ in range(5):
            begin = time.perf_counter()
            ids = encoder.encode(column)
            seconds.append(time.perf_counter() - begin)
        library = Tokenizer.from_str(text_only((folder / "tokenizer.json").read_text(encoding="utf-8")))
        slow, equal = [], 0
        for begin_at in range(0, len(texts), 10_000):
            batch = texts[begin_at : begin_at + 10_000]
            begin = time.perf_counter()
            expected = slow_encode(library, batch)
            slow.append(time.perf_counter() - begin)
            got = ids.slice(begin_at, len(batch)).to_pylist()
            equal += sum(one == other for one, other in zip(got, expected, strict=True))
        fast = size / statistics.median(seconds)
        label = f"encoding with `{name}`, {len(texts):,} documents, {size:.0f} MB, one core"
        rows.append(Row(label, "MB/s", fast, Peer("tokenizers", version, size / sum(slow)), 40))
        rows.append(Row("the same: documents with equal ids", "%", 100 * equal / len(texts), goal=100))
    return rows


def main() -> None:
    """Run all, print the figures and write them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="20 MB and 5,000 documents; nothing is written")
    parser.add_argument("--texts", type=Path, nargs="*", default=[], help="JSON Lines with `text` (.zst or not): code, science, articles")
    parser.add_argument("--size", type=float, default=1000, help="MB of text to train on")
    parser.add_argument("--documents", type=int, default=110_000, help="documents to encode")
    parser.add_argument("--characters", type=int, default=1500, help="characters after which a long document is cut")
    options = parser.parse_args()
    own = [text for path in options.texts for text in read_texts(path)]
    own += demo_texts(formats=("html",))
    random.Random(1).shuffle(own)
    with tempfile.TemporaryDirectory() as aside:
        rows, folder = training_rows(own, int((20 if options.quick else options.size) * 1e6), Path(aside), options.quick)
        modern = TokenizerConfig(vocab_size=8192 if options.quick else 50_368, pretokenizer="modern")
        tokenizer.write(tokenizer.train(own[: 500 if options.quick else 20_000], modern), modern, Path(aside) / "modern", {})
        count = 5_000 if options.quick else options.documents
        rows += encoding_rows(own, {"modernbert": folder, "modern": Path(aside) / "modern"}, count, options.characters)
    show(rows)
    if not options.quick:
        print(write("tokenizer", rows, ("tokenizers", "gigatoken", "numba", "pyarrow", "ray")))


if __name__ == "__main__":
    main()
