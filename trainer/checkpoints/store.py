"""A run's checkpoints and results on object storage, where its workdir is there.

Training writes to a local disk. What is whole there is put into the store beside the training: the files of a checkpoint side by side, its
manifest last, so that a checkpoint without a manifest does not exist. A machine whose disk has nothing fetches the newest whole one.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.fs
import xxhash

from storage.errors import StorageError, why
from storage.folder import Folder
from storage.location import Location, scrub
from trainer.checkpoints.manifest import NAME, Damaged, File, Manifest, sync_folder, write_durably
from trainer.checkpoints.reading import read_manifest
from trainer.checkpoints.retention import Retention
from trainer.errors import TrainerError

CHECKPOINTS = "checkpoints"
LINES = ("metrics.jsonl", "events.jsonl")
ORIGIN = "origin"  # what a run that continues from another one's checkpoint has fetched of that
OF_THE_MACHINE = (CHECKPOINTS, ORIGIN, "logs", "faults", "lock", "stacks.txt")  # what of a run's folder is no result
ERRORS = (OSError, pa.ArrowException)
_THREADS = 8
_CHUNK = 1 << 23


class Store:
    """A run in a remote workdir. Methods raise `ERRORS`, after each request was tried again (`storage.retry`)."""

    def __init__(self, folder: Folder) -> None:
        self.folder = folder
        self.moved = 0  # bytes and tries so far: while it grows, something is done

    def __str__(self) -> str:
        return str(self.folder)

    @classmethod
    def open(cls, uri: str) -> Store:
        """The store of a run at a URI. Raises `TrainerError` where no file system is known for it."""
        folder = Folder(Location.parse(uri))
        try:
            folder.path()
        except StorageError as error:
            raise TrainerError(f"{error.what} ({error.why}); correct the recipe's `workdir`") from error
        return cls(folder)

    # --- checkpoints ---------------------------------------------------------------------------------------------------

    def names(self) -> list[str]:
        """The names of all checkpoints that have a manifest, oldest first."""
        return sorted(path.parts[0] for path in self._files(CHECKPOINTS) if path.match(f"step-*/{NAME}"))

    def manifest(self, name: str) -> Manifest:
        """The manifest of a checkpoint. Raises `Damaged` where there is none, or it is not as it was written."""
        try:
            return Manifest.from_json(self._fetch(f"{CHECKPOINTS}/{name}/{NAME}"))
        except FileNotFoundError as error:
            raise Damaged(f"{NAME} is missing") from error

    def put_checkpoint(self, run: Path, name: str) -> None:
        """Put a checkpoint of the local run there, and its lines of metrics and events. Raises `Damaged` where it is not whole."""
        manifest = read_manifest(run / CHECKPOINTS / name)
        self.remove(name)  # an earlier one of that step
        place = f"{CHECKPOINTS}/{name}"

        def put(file: File) -> None:
            digest = self._send(run / place / file.name, f"{place}/{file.name}")
            if digest != (file.bytes, file.checksum):
                raise Damaged(f"{file.name} does not have its checksum")

        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(put, manifest.files))
        for line in LINES:
            if (run / line).is_file():
                self.put(run, line)
        self.folder.write(manifest.to_json(), place, NAME)

    def put_newest(self, run: Path) -> None:
        """Put the newest checkpoint of the local run there, where it is newer than all that are there and whole."""
        here = sorted(path.name for path in (run / CHECKPOINTS).glob("step-*") if path.suffix != ".tmp")
        if here and here[-1] > max(self.names(), default=""):
            with suppress(Damaged):  # whoever goes on with the run is told of it
                self.put_checkpoint(run, here[-1])

    def verify(self, name: str) -> Manifest:
        """Read a checkpoint and compare it with its checksums. Raises `Damaged`."""
        manifest = self.manifest(name)
        for file in manifest.files:
            self._check(name, file, None)
        return manifest

    def fetch(self, name: str, run: Path, *, lines: bool) -> None:
        """Have a checkpoint on the local disk; with `lines`, the metrics and events that belong to it first. Raises `Damaged`."""
        manifest = self.manifest(name)
        if any(Path(file.name).name != file.name for file in manifest.files):  # it would be written elsewhere
            raise Damaged(f"{NAME} names files of other folders")
        target = run / CHECKPOINTS / name
        aside = target.with_suffix(".tmp")
        shutil.rmtree(aside, ignore_errors=True)
        aside.mkdir(parents=True)
        try:
            with ThreadPoolExecutor(_THREADS) as pool:
                list(pool.map(lambda file: self._check(name, file, aside / file.name), manifest.files))
            write_durably(aside / NAME, manifest.to_json())
            if lines:
                self._fetch_lines(run)
            shutil.rmtree(target, ignore_errors=True)
            aside.rename(target)
        except BaseException:
            shutil.rmtree(aside, ignore_errors=True)
            raise
        sync_folder(target.parent)

    def remove(self, name: str) -> None:
        """Delete a checkpoint, its manifest first."""
        self.folder.delete(CHECKPOINTS, name, NAME)
        self.folder.delete_folder(CHECKPOINTS, name)

    def prune(self, retention: Retention) -> None:
        """Delete the checkpoints that need not be kept."""
        known = []
        for name in self.names():
            with suppress(Damaged):  # it stays: nobody takes it for whole, and a person may want to see it
                known.append((name, self.manifest(name)))
        kept = retention.kept([manifest for _, manifest in known])
        for name, manifest in known:
            if manifest.step not in kept:
                self.remove(name)

    def sweep(self) -> None:
        """Delete what was begun and never became a checkpoint, and the summary, which says that a run is done."""
        self.folder.delete("summary.json")
        whole = set(self.names())
        for name in sorted({path.parts[0] for path in self._files(CHECKPOINTS)} - whole):
            if name.startswith("step-"):
                self.remove(name)

    # --- results -------------------------------------------------------------------------------------------------------

    def put(self, run: Path, name: str) -> None:
        """Put a file of the local run there, whole or not at all."""
        self._send(run / name, name)

    def put_results(self, run: Path) -> None:
        """Put the files of the local run there that are results and are not there yet; the summary, which says that a run is done, last."""
        there, record = self._files(""), _Record(run)
        paths = [path.relative_to(run) for path in run.rglob("*") if path.is_file()]
        new = {path: record.here(path) for path in sorted(paths) if _is_result(path) and not record.same(path, there.get(path))}
        weights = [path for path in new if path.suffix == ".safetensors"]
        others = sorted(new.keys() - set(weights), key=lambda path: (path.name == "summary.json", path.name == "config.json", path))
        with ThreadPoolExecutor(_THREADS) as pool:
            list(pool.map(lambda path: self.put(run, path.as_posix()), weights))
        for path in others:
            self.put(run, path.as_posix())
        if new:
            record.keep(new, self._files(""))

    def fetch_results(self, run: Path, *folders: str) -> None:
        """Have the run's results on the local disk, where they are not here or are newer there: its files, and those of some folders."""
        there, record = self._files(""), _Record(run)
        new = {}
        for path in sorted(filter(_is_result, there)):
            here = run / path
            if len(path.parts) > 1 and path.parts[0] not in folders:
                continue
            if here.is_file() and (path.name == "run.json" or record.same(path, there[path]) or record.here(path)[1] > there[path][1]):
                continue
            here.parent.mkdir(parents=True, exist_ok=True)
            aside = here.with_name(f".{here.name}.tmp")
            self._fetch_file(path.as_posix(), aside)
            os.replace(aside, here)
            new[path] = record.here(path)
        if new:
            record.keep(new, there)

    def _fetch_lines(self, run: Path) -> None:
        metrics, events = LINES
        with suppress(FileNotFoundError):
            write_durably(run / metrics, self._fetch(metrics))
        with suppress(FileNotFoundError):
            theirs = self._fetch(events).splitlines()
            ours = (run / events).read_bytes().splitlines() if (run / events).is_file() else []
            union = sorted(dict.fromkeys([*theirs, *ours]), key=_time)  # of what this machine saw nothing is lost
            write_durably(run / events, b"".join(line + b"\n" for line in union))

    # --- the folder ------------------------------------------------------------------------------------------------------

    def _files(self, folder: str) -> dict[Path, tuple[int, int]]:
        """Size and time (nanoseconds) of all files below a folder, by their paths there."""
        parts = (folder,) if folder else ()
        base = PurePosixPath(self.folder.path(*parts))
        files = [info for info in self.folder.infos(*parts, recursive=True) if info.type == pa.fs.FileType.File]
        self.moved += 1
        return {Path(PurePosixPath(info.path).relative_to(base)): (info.size, info.mtime_ns or 0) for info in files}

    def _send(self, path: Path, name: str) -> tuple[int, str]:
        """Put a local file there, whole or not at all; returns the size and checksum of what was sent."""
        sent = _Sum()

        def pieces() -> Iterator[bytes]:
            sent.reset()
            for piece in _read(path):
                yield sent.add(piece)
                self.moved += len(piece)

        self.folder.send(pieces, name)
        return sent.size, sent.checksum

    def _fetch(self, name: str) -> bytes:
        """A small file. Raises `FileNotFoundError`."""
        self.moved += 1
        raw = self.folder.read(name)
        if raw is None:
            raise FileNotFoundError(self.folder.shown(name))
        return bytes(raw.to_pybytes())

    def _fetch_file(self, name: str, target: Path | None) -> tuple[int, str]:
        """Read a file, into `target` if there is one; returns its size and checksum. Raises `FileNotFoundError`."""

        def action() -> tuple[int, str]:
            return _write(target, self._pieces(name))

        return self.folder.again(action, "cannot be read", name)

    def _pieces(self, name: str) -> Iterator[bytes]:
        for piece in self.folder.pieces(name):
            self.moved += len(piece)
            yield piece

    def _check(self, name: str, file: File, target: Path | None) -> None:
        """Read a file of a checkpoint, into `target` if there is one. Raises `Damaged` where it is not as it was written."""
        try:
            found = self._fetch_file(f"{CHECKPOINTS}/{name}/{file.name}", target)
        except FileNotFoundError as error:
            raise Damaged(f"{file.name} is missing") from error
        if found[0] != file.bytes:
            raise Damaged(f"{file.name} has {found[0]:,} bytes, not {file.bytes:,}")
        if found[1] != file.checksum:
            raise Damaged(f"{file.name} does not have its checksum")


@dataclass(frozen=True)
class _Task:
    """Something to be put into the store."""

    step: int
    failure: str  # what is said where it cannot be done
    action: Callable[[], None]
    checkpoint: str | None = None  # its name


class Uploads:
    """Puts checkpoints and results into a store, one after the other, in a thread of its own. What fails is told, and stops nothing.

    At most one checkpoint waits: where the store is slower than training, the newest one goes next.
    """

    def __init__(self, store: Store, run: Path, retention: Retention) -> None:
        self.store = store
        self._run, self._retention = run, retention
        self._change = threading.Condition()
        self._waiting: list[_Task] = [_Task(0, f"what an earlier training left in {store} could not be deleted", store.sweep)]
        self._now: _Task | None = None
        self._failed: _Task | None = None  # the last checkpoint, where it could not be put there
        self._told: list[tuple[int, str]] = []
        threading.Thread(target=self._work, name="uploads", daemon=True).start()  # a process that ends by an error does not wait for it

    def checkpoint(self, step: int, name: str, *, new: bool = True) -> None:
        """Put a checkpoint of the run there; one that is not new only where it is not there yet."""

        def action() -> None:
            if not new and name in self.store.names():
                return
            self.store.put_checkpoint(self._run, name)
            self._add(_Task(step, f"older checkpoints could not be deleted from {self.store}", lambda: self.store.prune(self._retention)))

        with self._change:
            for passed in [one for one in self._waiting if one.checkpoint is not None]:
                self._waiting.remove(passed)
                why = f"that of step {step} was there before its turn"
                self._told.append((passed.step, f"the checkpoint of step {passed.step} was not put into {self.store}: {why}"))
            self._add(_Task(step, f"the checkpoint of step {step} could not be put into {self.store}", action, name))

    def results(self, step: int) -> None:
        """Put the results of the run there."""
        self._add(_Task(step, f"the results could not be put into {self.store}", lambda: self.store.put_results(self._run)))

    def spared(self) -> set[str]:
        """The names of the checkpoints that are still read here."""
        with self._change:
            tasks = [*self._waiting, *filter(None, [self._now, self._failed])]
            return {task.checkpoint for task in tasks if task.checkpoint is not None}

    def told(self) -> list[tuple[int, str]]:
        """What could not be put there since the last call: the step, and a sentence."""
        with self._change:
            told, self._told = self._told, []
        return told

    def finish(self, beat: Callable[[], None]) -> None:
        """Wait until all is there, or cannot be. `beat` is called whenever something is done."""
        with self._change:
            if self._failed is not None and not any(task.checkpoint for task in self._waiting):
                self._waiting.insert(0, self._failed)
                self._change.notify_all()
            moved = -1
            while self._waiting or self._now is not None:
                self._change.wait(0.5)
                if self.store.moved != moved:
                    moved = self.store.moved
                    beat()

    def _add(self, task: _Task) -> None:
        with self._change:
            self._waiting.append(task)
            self._change.notify_all()

    def _work(self) -> None:
        while True:
            with self._change:
                self._now = None
                self._change.notify_all()
                self._change.wait_for(lambda: self._waiting)
                task = self._now = self._waiting.pop(0)
            failure: str | None = None
            try:
                task.action()
            except (*ERRORS, Damaged) as error:
                failure = why(error)
            except Exception as error:  # of any kind: training must not stop for it, and a thread's end would be silent
                failure = scrub(f"{type(error).__name__}: {error}")
            with self._change:
                if task.checkpoint is not None:
                    self._failed = task if failure is not None else None
                if failure is not None:
                    self._told.append((task.step, f"{task.failure} ({failure}); training goes on"))


class _Record:
    """What of the local run is in the store as it is here: a hidden file, so that no clock of two machines has to be compared."""

    def __init__(self, run: Path) -> None:
        self._run, self._path = run, run / ".put.json"
        self._known: dict[str, Any] = json.loads(self._path.read_bytes()) if self._path.is_file() else {}

    def same(self, path: Path, there: tuple[int, int] | None) -> bool:
        """Whether a file is in the store as it is here; `there`: its size and time in the store."""
        return there is not None and self._known.get(path.as_posix()) == [*self.here(path), *there]

    def keep(self, here: dict[Path, tuple[int, int]], there: dict[Path, tuple[int, int]]) -> None:
        """Remember files that are alike, as they were here and are there."""
        self._known |= {path.as_posix(): [*state, *there[path]] for path, state in here.items() if path in there}
        write_durably(self._path, json.dumps(self._known, sort_keys=True).encode())

    def here(self, path: Path) -> tuple[int, int]:
        """Size and time (nanoseconds) of a file here."""
        state = (self._run / path).stat()
        return state.st_size, state.st_mtime_ns


def _is_result(path: Path) -> bool:
    """Whether a file of a run's folder, by its path there, is a result of it."""
    hidden = any(part.startswith(".") or part.endswith(".tmp") for part in path.parts)
    return path.parts[0] not in OF_THE_MACHINE and not hidden


def _read(path: Path) -> Iterator[bytes]:
    """A file in pieces; of a file of lines, which may still be written, the whole lines."""
    if path.suffix == ".jsonl":
        raw = path.read_bytes()
        yield raw[: raw.rfind(b"\n") + 1]
        return
    with open(path, "rb") as file:
        while piece := file.read(_CHUNK):
            yield piece


class _Sum:
    """The size and checksum of pieces."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        self.size, self._digest = 0, xxhash.xxh3_128()

    def add(self, piece: bytes) -> bytes:
        self.size += len(piece)
        self._digest.update(piece)
        return piece

    @property
    def checksum(self) -> str:
        return self._digest.hexdigest()


def _write(path: Path | None, pieces: Iterable[bytes]) -> tuple[int, str]:
    """Write a file anew, if there is a path, and have it on disk; returns the size and checksum of all pieces."""
    sums = _Sum()
    with open(path if path is not None else os.devnull, "wb") as file:
        for piece in pieces:
            file.write(sums.add(piece))
        file.flush()
        if path is not None:
            os.fsync(file.fileno())
    return sums.size, sums.checksum


def _time(line: bytes) -> float:
    """The time of an event; of what is none, the beginning."""
    try:
        event: dict[str, Any] = json.loads(line)
        return float(event["time"])
    except (ValueError, KeyError, TypeError):
        return 0.0
