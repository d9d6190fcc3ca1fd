"""Training of a linear classifier from two sets of documents, or from labels: `foundry classifier train`.

Logistic regression by scikit-learn (L-BFGS, L2 with C = 1, both sets weighing the same, so that 0.5 is where a document is as
likely in one as in the other). Documents are chosen, and a tenth of them held out, by the hashes of their texts: equal texts are
one document, a text in both sets is in neither, and the result depends neither on the files' order nor on chance.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xxhash

from pipeline.measure.classifiers.linear import F32, LinearModel, features, write
from pipeline.measure.labels import read_labels
from pipeline.measure.labels import texts as labelled_texts
from pipeline.readers import FORMATS, FieldsSource, InputFile, Record, SourceConfig, list_files, read_file, source_config
from pipeline.workdir.dataset import MANIFEST, Workdir
from pipeline.workdir.documents import DOCUMENTS
from pipeline.workdir.errors import UserError

TEXT_BYTES = 100_000  # of a document are trained on, so that a set's size bounds the memory
LEAST = 20  # documents in a set
HELD_OUT = 10  # one in so many

_FORMATS: dict[str, str] = {
    "jsonl": "jsonl",
    "ndjson": "jsonl",
    "json": "json",
    "parquet": "parquet",
    "arrow": "parquet",
    "feather": "parquet",
    "csv": "csv",
    "tsv": "csv",
    "html": "html",
    "htm": "html",
    "warc": "warc",
    "wet": "wet",
    "xml": "jats",
    "nxml": "jats",
}
_COMPRESSED = {"gz", "zst", "bz2", "xz"}


@dataclass(frozen=True)
class HeldOut:
    """What the model makes of the documents that it was not trained on; precision and recall of the positive at 0.5."""

    positive: int
    negative: int
    precision: float
    recall: float
    roc_auc: float


@dataclass(frozen=True)
class Training:
    """What was trained, on what."""

    folder: Path
    positive: int  # documents trained on
    negative: int
    both: int  # texts in both sets, left out
    unreadable: int
    held_out: HeldOut


def format_of(path: str) -> str:
    """The format that a file's ending tells; plain text where it tells none."""
    endings = Path(path.lower()).suffixes[-2:]
    if endings and endings[-1][1:] in _COMPRESSED:
        endings.pop()
    found = _FORMATS.get(endings[-1][1:], "text") if endings else "text"
    return found if found in FORMATS else "text"


def documents(path: str, form: str | None, field: str, base: Path) -> Iterator[str | None]:
    """The texts of a workdir's documents, a file, a folder, a glob or a URI; None for each that cannot be read."""
    workdir = Workdir(path)
    if "://" not in path and (Path(path) / DOCUMENTS / MANIFEST).is_file():
        for _, table in workdir.tables(DOCUMENTS, ["text"]):
            yield from table["text"].to_pylist()
        return
    for file in list_files(_source(form or "text", path, field), base):
        yield from _read(file, _source(form or format_of(file.relative), path, field))


def _source(form: str, path: str, field: str) -> SourceConfig:
    fields = {"fields": {"text": field}} if issubclass(FORMATS[form].settings, FieldsSource) else {}
    return source_config(name="documents", domain="any", format=form, path=path, **fields)


def _read(file: InputFile, source: SourceConfig) -> Iterator[str | None]:
    for item in read_file(file, source):
        yield item.text if isinstance(item, Record) else None


class _Set:
    """The texts of one set with the smallest hashes: a sample that does not depend on order."""

    def __init__(self, most: int) -> None:
        self.most, self.unreadable = most, 0
        self._heap: list[int] = []
        self.texts: dict[int, bytes] = {}

    def add(self, text: str | None) -> None:
        raw = b"" if text is None else text.encode("utf-8", "replace")[:TEXT_BYTES].decode("utf-8", "ignore").encode()
        if not raw.strip():
            self.unreadable += text is None
            return
        key = xxhash.xxh3_64_intdigest(raw)
        if key in self.texts or (len(self.texts) == self.most and key >= -self._heap[0]):
            return
        self.texts[key] = raw
        heapq.heappush(self._heap, -key)
        if len(self.texts) > self.most:
            del self.texts[-heapq.heappop(self._heap)]


def _gather(texts: Iterable[str | None], most: int) -> _Set:
    found = _Set(most)
    for text in texts:
        found.add(text)
    return found


def _matrix(texts: list[bytes], bits: int) -> Any:
    """Features of each text: a sparse matrix (texts, 2^bits)."""
    from scipy.sparse import csr_matrix

    rows = [features(text, bits) for text in texts]
    indptr = np.cumsum([0, *(len(buckets) for buckets, _ in rows)])
    indices = np.concatenate([buckets for buckets, _ in rows])
    values = np.concatenate([values for _, values in rows])
    return csr_matrix((values, indices, indptr), shape=(len(texts), 1 << bits))


def fit(texts: list[bytes], labels: npt.NDArray[np.bool_], bits: int) -> LinearModel:
    """The model of these texts in UTF-8 and their labels. One thread, so that sums have one order."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    with threadpool_limits(1):
        found = LogisticRegression(class_weight="balanced", max_iter=1000).fit(_matrix(texts, bits), labels)
    weights: F32 = found.coef_[0].astype(np.float32)
    return LinearModel(weights, float(np.float32(found.intercept_[0])))


def evaluate(model: LinearModel, texts: list[bytes], labels: npt.NDArray[np.bool_]) -> HeldOut:
    """Scores of texts with known labels against these."""
    import pyarrow as pa
    from sklearn.metrics import precision_score, recall_score, roc_auc_score

    from pipeline.measure.classifiers.linear import score

    found = score(pa.array([text.decode() for text in texts], pa.large_string()), model)
    return HeldOut(
        int(labels.sum()),
        int((~labels).sum()),
        float(precision_score(labels, found >= 0.5, zero_division=0)),
        float(recall_score(labels, found >= 0.5)),
        float(roc_auc_score(labels, found)),
    )


def train(
    positive: str,
    negative: str | None,
    output: Path,
    *,
    form: str | None = None,
    field: str = "text",
    bits: int = 20,
    most: int = 50_000,
    base: Path | None = None,
    workdir: str | None = None,
) -> Training:
    """Train a classifier of `positive` against `negative` documents, at most `most` of each; write it to the folder `output`.

    Without `negative`, `positive` is a file of labels (`pipeline.measure.labels`); the documents of those without a text are in `workdir`.
    Raises `UserError` where a set is not there or has fewer than 20 documents that the other has not.
    """
    base = base or Path.cwd()
    if negative is None:
        told = f"{positive}, labels to keep", f"{positive}, labels to drop"
        labelled = labelled_texts(read_labels(base / positive), None if workdir is None else Workdir(workdir))
        sets = [_gather(labelled[keep], most) for keep in (True, False)]
        remedy = "label more documents"
    else:
        told = f"POSITIVE {positive}", f"NEGATIVE {negative}"
        sets = [_gather(documents(path, form, field, base), most) for path in (positive, negative)]
        remedy = "check path and --field"
    both = sets[0].texts.keys() & sets[1].texts.keys()
    for name, found in zip(told, sets, strict=True):
        for key in both:
            del found.texts[key]
        if len(found.texts) < LEAST:
            why = f"; {found.unreadable} could not be read" if found.unreadable else f"; {len(both)} are in both sets" if both else ""
            raise UserError(f"{name}: {len(found.texts)} documents with text, at least {LEAST} are needed{why}; {remedy}")
    keyed = sorted((key, text, label) for found, label in zip(sets, (True, False), strict=True) for key, text in found.texts.items())
    parts: dict[bool, tuple[list[bytes], npt.NDArray[np.bool_]]] = {}
    for held in (False, True):
        chosen = [(text, label) for index, (_, text, label) in enumerate(_ranked(keyed)) if (index % HELD_OUT == 0) == held]
        parts[held] = [text for text, _ in chosen], np.array([label for _, label in chosen])
    model = fit(*parts[False], bits)
    result = evaluate(model, *parts[True])
    labels = parts[False][1]
    unreadable = sum(found.unreadable for found in sets)
    trained = Training(output, int(labels.sum()), int((~labels).sum()), len(both), unreadable, result)
    description = {
        "words": 2,
        "trained": {"positive": trained.positive, "negative": trained.negative, "both": trained.both},
        "held_out": {name: getattr(result, name) for name in ("positive", "negative", "precision", "recall", "roc_auc")},
        "settings": {"bits": bits, "most": most, "text_bytes": TEXT_BYTES},
    }
    write(output, model, description)
    return trained


def _ranked(keyed: list[tuple[int, bytes, bool]]) -> list[tuple[int, bytes, bool]]:
    """Positives and then negatives, each by hash: every tenth of each is held out, however few there are."""
    return sorted(keyed, key=lambda item: (not item[2], item[0]))
