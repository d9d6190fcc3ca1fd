"""A corpus with planted near-duplicates: real text, resampled and edited, with the truth about every pair.

Originals are real documents of which two words in five are exchanged for other words of the corpus, so that any number of
strangers of a real length distribution can be made. Beside them: exact copies, copies with 1, 5, 10, 20 and 40 % of their
words exchanged, and strangers that share boilerplate. Everything follows from the seed and the document's number.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from pipeline.workdir.dataset import Manifest, Partition, Workdir, to_parquet
from pipeline.workdir.documents import DOCUMENT_SCHEMA, DOCUMENTS, STATISTICS

EDITS = (0.0, 0.01, 0.05, 0.10, 0.20, 0.40)
ORIGINALS, STRANGERS = 0.6, 0.04  # shares of documents; the rest are copies, as many of each edit
PART = 20_000  # documents in a partition
BOILERPLATE_WORDS = 60
Words = npt.NDArray[np.int32]


def read_texts(path: Path | None) -> list[str]:
    """Real documents: a JSON Lines file with `text` (.zst or not), or the demo corpus, where it has been fetched."""
    if path is None:
        return demo_texts()
    if path.suffix == ".zst":
        import zstandard

        with path.open("rb") as file, io.TextIOWrapper(zstandard.ZstdDecompressor().stream_reader(file), encoding="utf-8") as lines:
            return [json.loads(line)["text"] for line in lines]
    return [json.loads(line)["text"] for line in path.read_text(encoding="utf-8").splitlines()]


def demo_texts(*, code: bool = False, formats: tuple[str, ...] = ()) -> list[str]:
    """Documents of the demo corpus, fetched if need be: of all its prose, with `code` of its programs too, or of some formats."""
    from jobs.corpus import fetch
    from jobs.recipe import load_recipe
    from kernel.cache import cache_folder
    from pipeline.readers import Record, list_files, read_file

    folder = cache_folder() / "demo-corpus"
    fetch(folder, report=print)
    recipe = load_recipe(Path(__file__).parents[1] / "recipes" / "demo.yaml")
    texts = []
    for source in recipe.sources:
        if source.format in formats if formats else code or source.domain != "code":
            for file in list_files(source, folder):
                texts += [record.text for record in read_file(file, source) if isinstance(record, Record)]
    return texts if code else [text for text in texts if len(text) >= 200]


@dataclass(frozen=True)
class Base:
    """The real documents as numbers of words; `words` are all distinct ones, as UTF-8 with no white space."""

    words: list[bytes]
    documents: list[Words]

    @classmethod
    def of(cls, texts: list[str]) -> Base:
        numbers: dict[str, int] = {}
        documents = [np.array([numbers.setdefault(word, len(numbers)) for word in text.split()], np.int32) for text in texts]
        return cls([word.encode() for word in numbers], [document for document in documents if len(document)])


@dataclass(frozen=True)
class Planted:
    """A corpus of `documents`; what document `i` is follows from `i`."""

    base: Base
    documents: int
    seed: int

    @property
    def originals(self) -> int:
        return int(self.documents * ORIGINALS)

    @property
    def strangers(self) -> int:
        """Documents that share boilerplate, after the originals."""
        return int(self.documents * STRANGERS)

    def origin(self, number: int) -> tuple[int, float] | None:
        """The original that a document is a copy of, and the share of its words that were exchanged; None for no copy."""
        copy = number - self.originals - self.strangers
        if copy < 0:
            return None
        return copy % self.originals, EDITS[copy % len(EDITS)]

    def _exchange(self, words: Words, share: float, generator: np.random.Generator) -> Words:
        chosen = generator.random(len(words)) < share
        return np.where(chosen, generator.integers(0, len(self.base.words), len(words), dtype=np.int32), words)

    def document(self, number: int) -> Words:
        """The words of a document."""
        copied = self.origin(number)
        if copied is not None:
            words = self.document(copied[0])
            return self._exchange(words, copied[1], np.random.default_rng((self.seed, number))) if copied[1] else words
        generator = np.random.default_rng((self.seed, number))
        words = self._exchange(self.base.documents[number % len(self.base.documents)], 0.4, generator)
        if number >= self.originals:
            footer = np.random.default_rng((self.seed, 10**9 + number % 10)).integers(0, len(self.base.words), BOILERPLATE_WORDS)
            words = np.concatenate([words, footer.astype(np.int32)])
        return words

    def texts(self, first: int, last: int) -> Iterator[str]:
        """The texts of some documents."""
        words = self.base.words
        for number in range(first, last):
            yield b" ".join([words[index] for index in self.document(number).tolist()]).decode()


def write_corpus(workdir: Workdir, planted: Planted) -> tuple[Manifest, Manifest]:
    """Write `documents/` and the `statistics/` that verdicts need; returns their manifests. Kept if it is there already."""
    found = workdir.manifest(DOCUMENTS), workdir.manifest(STATISTICS)
    if found[0] is not None and found[1] is not None and found[0].rows == planted.documents:
        return found[0], found[1]
    parts: dict[str, list[Partition]] = {DOCUMENTS: [], STATISTICS: []}
    total = 0
    # documents are spread so that copies lie far from their originals
    for part, first in enumerate(range(0, planted.documents, PART)):
        last = min(first + PART, planted.documents)
        texts = pa.array(planted.texts(first, last), pa.string())
        rows = last - first
        columns = {"id": [f"planted:{number}" for number in range(first, last)], "text": texts}
        columns |= {"domain": ["web"] * rows, "source": ["planted"] * rows}
        table = pa.table([columns.get(f.name, pa.nulls(rows, f.type)) for f in DOCUMENT_SCHEMA], schema=DOCUMENT_SCHEMA)
        sizes = pa.array(pc.binary_length(texts), pa.int64())
        total += pc.sum(sizes).as_py()
        statistics = pa.table({"domain": columns["domain"], "source": columns["source"], "bytes": sizes})
        for dataset, content in ((DOCUMENTS, table), (STATISTICS, statistics)):
            raw = to_parquet(content)
            name = f"planted-{part:05d}.parquet"
            workdir.write(raw, dataset, name)
            parts[dataset].append(Partition(name, rows, raw.size, xxhash.xxh3_128_hexdigest(raw)))
    summary = {"domains": {"web": {"documents": planted.documents, "bytes": total}}}
    manifests = [Manifest(dataset, "planted", str(planted.seed), tuple(p), {}, summary) for dataset, p in parts.items()]
    for manifest in manifests:
        workdir.write(manifest.to_json(), manifest.dataset, "_manifest.json")
    return manifests[0], manifests[1]
