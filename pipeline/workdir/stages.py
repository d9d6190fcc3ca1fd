"""The two shapes that nearly every stage has: a task for each partition (map), or one for each bucket (reduce).

Tasks are made, named, keyed and weighed here, so that no stage can forget a checksum in a key. What differs from stage to stage is
the function and the *settings*: a value that all tasks of a stage share.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from pipeline.workdir.commit import Summary
from pipeline.workdir.dataset import Manifest, Partition, Workdir, fingerprint
from pipeline.workdir.tasks import File, Stage, Task
from pipeline.workdir.verdicts import VerdictEntry, checksums, entries

S = TypeVar("S")


@dataclass(frozen=True)
class Piece(Generic[S]):
    """What a task over one partition gets: the partition, the partitions of other datasets with the same rows, and the stage's settings."""

    partition: Partition
    number: int  # of the partition in its dataset, from 0: its bucket in files that are scattered over partitions
    pieces: int  # how many partitions there are
    start: int  # the ordinal of its first row; `per_partition(ordinals=True)` makes it part of the key
    beside: Mapping[str, Partition]  # by dataset
    before: tuple[VerdictEntry, ...]  # earlier verdicts on these documents
    settings: S

    @property
    def name(self) -> str:
        """The partition's name, which its output has too."""
        return self.partition.name


@dataclass(frozen=True)
class Bucket(Generic[S]):
    """What a task over one bucket gets: the bucket's number, the number of buckets, and the stage's settings."""

    number: int
    buckets: int
    settings: S

    @property
    def name(self) -> str:
        """The name of its output, without an ending."""
        return f"{self.number:05d}"


def per_partition(
    name: str,
    datasets: tuple[str, ...],
    function: Callable[[Workdir, Piece[S]], Generator[File, None, Summary]],
    over: Manifest,
    settings: S,
    *,
    version: int,
    beside: Sequence[Manifest] = (),
    before: Sequence[Manifest] = (),
    ordinals: bool = False,
    key: Any = None,
    configuration: dict[str, Any] | None = None,
    memory: int = 1 << 30,
    unit: str = "bytes",
) -> Stage:
    """A stage of one task for each partition of `over`.

    A task's key is the fingerprint of `version`, of `key` (by default the settings; it may be a function of the partition), and of the
    checksums of the partition, of the partitions beside it (of the same name, or with `.arrow` after it, in the datasets `beside`) and
    of its verdicts in `before`. A stage that writes ordinals or reads scattered files must set `ordinals`, which makes the partition's
    place in the corpus part of the key. A task's size is its partition's bytes, or its rows where `unit` is documents.
    """
    tasks = []
    for number, partition in enumerate(over.partitions):
        neighbours = {manifest.dataset: beside_of(manifest, partition.name) for manifest in beside}
        start = over.starts[partition.name]
        shared = settings if key is None else key(partition) if callable(key) else key
        place = (start, number, len(over.partitions)) if ordinals else None
        marks = [partition.checksum, [each.checksum for each in neighbours.values()], checksums(before, partition.name), place]
        piece = Piece(partition, number, len(over.partitions), start, neighbours, entries(before, partition.name), settings)
        size = partition.rows if unit == "documents" else partition.bytes
        tasks.append(Task(partition.name, fingerprint(version, shared, marks), piece, size))
    return Stage(name, datasets, function, tuple(tasks), configuration or {}, memory=memory, unit=unit)


def per_bucket(
    name: str,
    datasets: tuple[str, ...],
    function: Callable[[Workdir, Bucket[S]], Generator[File, None, Summary]],
    buckets: int,
    settings: S,
    *,
    version: int,
    inputs: Sequence[Manifest],
    key: Any = None,
    configuration: dict[str, Any] | None = None,
    memory: int = 1 << 30,
) -> Stage:
    """A stage of one task for each bucket of `inputs`: datasets of scattered files, of which a task reads its bucket.

    A task's key is the fingerprint of `version`, of `key` (default: the settings), of the inputs' contents and of the bucket.
    """
    shared = settings if key is None else key
    contents = [manifest.content for manifest in inputs]
    pieces = [Bucket(number, buckets, settings) for number in range(buckets)]
    tasks = tuple(Task(each.name, fingerprint(version, shared, contents, each.number, buckets), each) for each in pieces)
    return Stage(name, datasets, function, tasks, configuration or {}, memory=memory, unit="buckets")


def beside_of(manifest: Manifest, partition: str) -> Partition:
    """The partition of a dataset with the same rows as a partition of documents: of the same name, or with `.arrow` after it."""
    found = manifest.by_name.get(partition)
    return found if found is not None else manifest.by_name[f"{partition}.arrow"]
