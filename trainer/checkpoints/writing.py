"""Writing a checkpoint beside the training: the ranks stop for a copy of what they hold, a thread of each does the rest.

The tensors of the state are dealt into files of bounded size, and the files over the ranks that see the run's folder. Each rank copies
what it will have to give. Its thread then sends the parts of others' files to those that write them, through a process group of its
own, and writes its own files. When all are on disk the first rank adds the manifest and renames the folder.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import xxhash
from torch import Tensor

from trainer.checkpoints import manifest as manifests
from trainer.checkpoints.manifest import File, Manifest, sync_folder, tag, write_durably
from trainer.checkpoints.reading import readable, sweep
from trainer.checkpoints.retention import Retention
from trainer.checkpoints.state import Held, Key, held, kinds
from trainer.engine import Trainee, World, gather

FILE_BYTES = 512 << 20  # the most of a file, unless one tensor alone has more
TYPES = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}  # as safetensors names them


@dataclass(frozen=True)
class Source:
    """Who gives elements of a tensor: `rank`, those from `start` to `start + length` of the flattened whole."""

    rank: int
    start: int
    length: int


@dataclass(frozen=True)
class Entry:
    """A tensor of a checkpoint, and who gives its elements."""

    key: Key
    shape: tuple[int, ...]
    dtype: torch.dtype
    sources: tuple[Source, ...]

    @property
    def stored(self) -> int:
        """Its size in a file."""
        return prod(self.shape) * self.dtype.itemsize


@dataclass(frozen=True)
class Task:
    """A file to be written: its name, its tensors, all of one kind, and the rank that writes it."""

    name: str
    writer: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True)
class Outcome:
    """How the writing of a checkpoint ended, the same on all ranks: `error` says what went wrong, None: nothing."""

    step: int
    error: str | None
    seconds: float  # from the end of the copy on
    beside: str | None = None  # on the first rank: what went wrong with what is made beside the checkpoint


Holding = dict[Key, tuple[tuple[int, ...], torch.dtype, int, int]]  # shape of the whole, dtype, start, length


def plan(holdings: Sequence[Holding], writers: Sequence[int], limit: int = FILE_BYTES) -> list[Task]:
    """Deal all tensors into files, and the files over the writers; `holdings` says what each rank has. The same on every rank."""
    keys = sorted({key for holding in holdings for key in holding})
    files: list[list[Key]] = []
    filled = 0
    for key in keys:
        shape, dtype = next(holding[key][:2] for holding in holdings if key in holding)
        size = prod(shape) * dtype.itemsize
        if not files or files[-1][0].kind != key.kind or filled + size > limit:
            files.append([])
            filled = 0
        files[-1].append(key)
        filled += size
    tasks = []
    of_kind: dict[str, int] = {}
    for number, file in enumerate(files):
        writer = writers[number % len(writers)]
        kind = file[0].kind
        of_kind[kind] = of_kind.get(kind, -1) + 1
        entries = tuple(_entry(key, holdings, writer) for key in file)
        tasks.append(Task(f"{kind}-{of_kind[kind]:05d}.safetensors", writer, entries))
    return tasks


def _entry(key: Key, holdings: Sequence[Holding], writer: int) -> Entry:
    shape, dtype = next(holding[key][:2] for holding in holdings if key in holding)
    size = prod(shape)
    ranks = [writer, *(rank for rank in range(len(holdings)) if rank != writer)]
    parts: dict[int, Source] = {}  # the same elements are taken from the writer itself where it has them, else from the first rank that has
    for rank in ranks:
        if key in holdings[rank]:
            start, length = holdings[rank][key][2:]
            parts.setdefault(start, Source(rank, start, length))
    sources = tuple(parts[start] for start in sorted(parts))
    if any(source.length == size for source in sources):
        sources = (next(source for source in sources if source.length == size),)
    if sum(source.length for source in sources) != size:
        raise RuntimeError(f"{key.kind} of {key.name}: the ranks hold {sum(source.length for source in sources)} of its {size} elements")
    return Entry(key, shape, dtype, sources)


class Writer:
    """Writes the checkpoints of one run, one at a time. Every method is called by all ranks at the same step."""

    def __init__(
        self,
        run: Path,
        world: World,
        retention: Retention,
        file_bytes: int = FILE_BYTES,
        beside: Callable[[Path, Manifest], None] | None = None,
        spared: Callable[[], set[str]] = set,
    ) -> None:
        """`beside`: called in the first rank's thread with each whole checkpoint; an input or output error of it is no error of the run.

        `spared`: the names of checkpoints that are not deleted yet, whatever `retention` says.
        """
        self._beside, self._spared = beside, spared
        self.folder, self._world, self._retention, self._limit = run / "checkpoints", world, retention, file_bytes
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._running: Future[Outcome] | None = None
        self._tasks: list[Task] = []
        self._kinds: frozenset[str] | None = None  # of the optimizer's tensors when the tasks were planned
        self._group = world.new_group()  # the thread's own: it must not meet the main thread's messages
        self._copies: dict[tuple[Key, int], Tensor] = {}  # kept from one checkpoint to the next: new memory costs as much as the copy

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is still to be collected."""
        return self._running is not None

    @property
    def ready(self) -> bool:
        """Whether the thread of this rank has ended; those of the others may not have."""
        return self._running is not None and self._running.done()

    def begin(self, trainee: Trainee, head: Manifest) -> float:
        """Copy this rank's state and begin to write it; `head` is the manifest without files. Returns the seconds that this took."""
        begin = time.perf_counter()
        if self._running is not None:
            raise RuntimeError("the checkpoint before is still being written")
        own = held(trainee)
        if self._kinds != kinds(trainee):
            self._kinds = kinds(trainee)
            holding: Holding = {key: (one.shape, one.values.dtype, one.start, len(one.values)) for key, one in own.items()}
            self._tasks = plan(self._world.gather(holding), self._world.writers, self._limit)
        self._copy(own)
        self._running = self._pool.submit(self._write, head)
        return time.perf_counter() - begin

    def collect(self) -> Outcome:
        """Wait for the end of the checkpoint that is being written. Raises what failed other than by an input or output error."""
        assert self._running is not None
        running, self._running = self._running, None
        return running.result()

    def close(self) -> None:
        """End the thread, which waits for a checkpoint that is being written."""
        self._pool.shutdown(wait=True, cancel_futures=True)

    @torch.no_grad()
    def _copy(self, own: dict[Key, Held]) -> None:
        for _, entry, source in self._given():
            live = own[entry.key]
            values = live.values.narrow(0, source.start - live.start, source.length)
            place = (entry.key, source.start)
            if place not in self._copies:
                pinned = values.device.type == "cuda"
                self._copies[place] = torch.empty(source.length, dtype=entry.dtype, pin_memory=pinned)
            self._copies[place].copy_(values, non_blocking=True)
        if self._world.device.type == "cuda":
            torch.cuda.synchronize()

    def _given(self) -> Iterator[tuple[Task, Entry, Source]]:
        """What this rank gives."""
        for task in self._tasks:
            for entry in task.entries:
                for source in entry.sources:
                    if source.rank == self._world.rank:
                        yield task, entry, source

    def _write(self, head: Manifest) -> Outcome:
        """In the thread."""
        begin = time.perf_counter()
        world = self._world
        aside = self.folder / f"{tag(head.step)}.tmp"
        files: list[File] = []
        error: str | None = None
        try:
            if world.is_first:
                self._prepare(aside)
        except OSError as problem:
            error = _said(aside, problem)
        error = _first(gather(error, self._group))
        if error is None:
            every = len(world.writers)
            for number in range(0, len(self._tasks), every):
                mine = None
                for task in self._tasks[number : number + every]:
                    tensors = self._exchange(task)
                    if task.writer == world.rank:
                        mine = task, tensors
                if mine is not None and error is None:
                    try:
                        files.append(write_tensors(aside, *mine))
                    except OSError as problem:
                        error = _said(aside, problem)
            everything = gather((files, error), self._group)
            error = _first([one for _, one in everything])
            if world.is_first and error is None:
                try:
                    whole = tuple(sorted((file for those, _ in everything for file in those), key=lambda file: file.name))
                    self._finish(aside, replace(head, files=whole))
                except OSError as problem:
                    error = _said(aside, problem)
            error = _first(gather(error, self._group))
        if error is not None and world.is_first:
            shutil.rmtree(aside, ignore_errors=True)  # or it would keep the disk full
        seconds, beside = time.perf_counter() - begin, None
        if error is None and world.is_first and self._beside is not None:
            try:
                self._beside(self.folder / tag(head.step), head)
            except OSError as problem:
                beside = _said(self.folder, problem)
        return Outcome(head.step, error, seconds, beside)

    def _prepare(self, aside: Path) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        sweep(self.folder)
        aside.mkdir()
        needed = sum(entry.stored for task in self._tasks for entry in task.entries)
        free = shutil.disk_usage(self.folder).free
        if free < needed:  # rather than to fill the disk that others write to, too
            raise OSError(f"needs {needed:,} bytes, and the disk has {free:,} free")

    def _exchange(self, task: Task) -> dict[str, Tensor]:
        """Have the tensors of a file come together at the rank that writes it; there they are returned."""
        group, rank = self._group, self._world.rank
        found: dict[str, Tensor] = {}
        for entry in task.entries:
            whole = None
            if task.writer == rank:
                alone = len(entry.sources) == 1 and entry.sources[0].rank == rank
                whole = self._copies[entry.key, 0] if alone else torch.empty(prod(entry.shape), dtype=entry.dtype)
                found[entry.key.name] = whole.view(entry.shape)
                if alone:
                    continue
            for source in entry.sources:
                if source.rank == rank and whole is not None:
                    whole.narrow(0, source.start, source.length).copy_(self._copies[entry.key, source.start])
                elif source.rank == rank:
                    dist.send(self._copies[entry.key, source.start], task.writer, group=group)
                elif whole is not None:
                    dist.recv(whole.narrow(0, source.start, source.length), source.rank, group=group)
        return found

    def _finish(self, aside: Path, manifest: Manifest) -> None:
        """Make the folder a checkpoint, and delete those that need not be kept."""
        write_durably(aside / manifests.NAME, manifest.to_json())
        target = self.folder / tag(manifest.step)
        if target.exists():  # a damaged one, which was passed over when the run went on
            shutil.rmtree(target)
        aside.rename(target)
        sync_folder(self.folder)
        known = readable(self.folder)
        kept, spared = self._retention.kept([one for _, one in known]), self._spared()
        for folder, one in known:
            if one.step not in kept and folder.name not in spared:
                shutil.rmtree(folder)


def write_tensors(folder: Path, task: Task, tensors: dict[str, Tensor]) -> File:
    """Write a safetensors file, have it on disk, and return its name, size and checksum. Raises `OSError`."""
    header: dict[str, Any] = {}
    at = 0
    for entry in task.entries:
        header[entry.key.name] = {"dtype": TYPES[entry.dtype], "shape": list(entry.shape), "data_offsets": [at, at + entry.stored]}
        at += entry.stored
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    digest, total = xxhash.xxh3_128(), 0
    with open(folder / task.name, "wb") as file:
        pieces: list[Any] = [len(text).to_bytes(8, "little") + text]
        pieces += [tensors[entry.key.name].reshape(-1).view(torch.uint8).numpy() for entry in task.entries]
        for piece in pieces:
            file.write(piece)
            digest.update(piece)
            total += len(piece)
        file.flush()
        os.fsync(file.fileno())
    return File(task.name, task.entries[0].key.kind, tuple(entry.key.name for entry in task.entries), total, digest.hexdigest())


def _first(errors: Sequence[str | None]) -> str | None:
    return next((error for error in errors if error is not None), None)


def _said(place: Path, problem: OSError) -> str:
    return f"{place}: {problem.strerror or problem}"
