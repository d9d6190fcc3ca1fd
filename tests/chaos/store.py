"""Curation on an object store under faults, drawn at random and aimed, until it is done: `python -m tests.chaos.store`.

    python -m tests.chaos.store [--runs 50] [--seed 0] [--folder DIR]

The recipe and the faults of `tests.chaos.pipeline`, with the workdir on OpenStack Swift (`make swift`) behind a proxy that does wrong to
requests: answers 500, 503 and 403 in the server's place, closes connections before and after a request was passed on, cuts answers, and is
away for a while or for good. In the end every object must be as a run *on a local disk* has it that was left in peace. The table goes to
tests/chaos/store.json and, in words, to docs/reliability.md.

The process that forks the starts never speaks to the store itself, since threads of the client do not outlive a fork.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa

from pipeline.workdir.dataset import Workdir
from pipeline.workdir.errors import CorruptData
from storage.folder import Folder
from storage.location import Location
from tests.chaos import pipeline
from tests.chaos.pipeline import AT, EDITS, READING, STORED, Changes, Run, Start, content, drawn_for, lived_through, write_corpus
from tests.chaos.table import table_of
from tests.storage import swift
from tests.storage.conftest import BUCKET, uri
from tests.storage.proxy import proxy

RESULT = Path(__file__).with_suffix(".json")
LOCAL = ("full once", "full", "error")  # are of a disk
REQUESTS = {
    "500": "500 for some requests",
    "503": "503 for some requests",
    "403": "403 for some requests",
    "drop": "connection closed before some requests",
    "lost": "connection closed after some requests",
    "cut": "answers cut for some requests",
}
AWAY = {"away": "store away for half a second", "gone for good": "store away for the rest of a start"}
NAMES = {**pipeline.NAMES, **REQUESTS, **AWAY}


class RemoteChanges(Changes):
    """Counts the changes of objects, and does something at one of them; "in": when all bytes are sent and the object is not yet there."""

    def __init__(self, kind: str = "", at: int = 0) -> None:
        super().__init__(kind, at)
        upload = Folder._upload

        def watched(folder: Folder, pieces: Iterable[bytes | pa.Buffer], target: str) -> None:
            def passed() -> Iterator[bytes | pa.Buffer]:
                yield from pieces
                if self.kind.endswith(" in"):
                    self._signal()

            upload(folder, passed(), target)

        setattr(Folder, "_upload", watched)  # noqa: B010 - methods are not assigned to


def apart(function: Callable[[], Any]) -> Any:
    """What a function gives in a process of its own. Raises `RuntimeError` where it fails."""
    fork = multiprocessing.get_context("fork")
    ours, theirs = fork.Pipe(duplex=False)

    def child() -> None:
        theirs.send(function())

    process = fork.Process(target=child)
    process.start()
    theirs.close()
    try:
        return ours.recv()
    except EOFError:
        raise RuntimeError("a process beside failed") from None
    finally:
        process.join()


class Wrongs:
    """The proxy, in a process of its own, told on its standard input what to do wrong."""

    def __init__(self, upstream: int) -> None:
        command = [sys.executable, "-m", "tests.chaos.store", "--proxy", str(upstream)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.port = int(self._said())

    def _said(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline()

    def now(self, *faults: dict[str, Any]) -> None:
        """Do these things wrong from now on, and no others."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(faults) + "\n")
        self._process.stdin.flush()
        self._said()

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


def serve_wrongs(upstream: int) -> None:
    """What the proxy's process does."""
    with proxy(upstream) as gate:
        print(gate.port, flush=True)
        for line in sys.stdin:
            gate.faults.clear()
            for fault in json.loads(line):
                gate.add("", **fault)
            print("done", flush=True)


class StoreRun(Run):
    """One workdir on the store, in which things happen."""

    def __init__(self, folder: Path, number: int, random_: random.Random, wrongs: Wrongs, port: int) -> None:
        super().__init__(folder, number, random_)
        self.wrongs, self.port = wrongs, port

    @property
    def address(self) -> str:
        return uri(self.wrongs.port, f"/{self.workdir.name}")

    @property
    def directly(self) -> str:
        """The workdir, past the proxy."""
        return uri(self.port, f"/{self.workdir.name}")

    def heed(self, line: str) -> None:
        found = re.match(rf"foundry: s3://{BUCKET}/{self.workdir.name}/(\S+?)(?:\?\S*)?: ", line)
        if found is None:
            return
        parts = found[1].split("/")
        if "delete its folder" in line:
            apart(lambda: Workdir(self.directly).delete_folder(*parts[:-1]))
        elif re.search("delete (it|that file)", line):
            apart(lambda: Workdir(self.directly).delete(*parts))

    def verified(self) -> str | None:
        def damaged() -> list[str]:
            workdir, found = Workdir(self.directly), []
            for name in workdir.datasets():
                for partition in workdir.require(name).partitions:
                    try:
                        workdir.read_partition(name, partition)
                    except CorruptData as error:
                        found.append(f"foundry: {error}")
            return found

        for line in apart(damaged):
            self.heed(line)
        return self.until_done()

    def happen(self, kind: str, changes: int) -> str | None:
        if kind in REQUESTS:
            with self.wrong_requests({"act": kind, "every": self.random.randrange(4, 40)}):
                return self.start()
        if kind in AWAY:
            with self.wrong_requests({"act": "drop"}, after=self.random.random() * 6, during=0.5 if kind == "away" else None):
                return self.start()
        return super().happen(kind, changes)

    @contextmanager
    def wrong_requests(self, fault: dict[str, Any], after: float = 0.0, during: float | None = None) -> Iterator[None]:
        """Requests go wrong, for a while from some moment of a start on."""
        if not after:
            self.wrongs.now(fault)
            yield
            self.wrongs.now()
            return
        pid = os.fork()  # a thread would be in the way of the start's fork
        if pid == 0:
            time.sleep(after)
            self.wrongs.now(fault)
            if during is not None:
                time.sleep(during)
                self.wrongs.now()
            os._exit(0)
        yield
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        self.wrongs.now()

    def stored(self, kind: str) -> str | None:
        choice = self.random.random()
        place = self.random.random()

        def damage() -> None:
            workdir = Workdir(self.directly)
            root = workdir.path() + "/"
            files = sorted(info.path.removeprefix(root) for info in workdir.folder.infos(recursive=True) if info.is_file)
            kinds = {"manifest": "_manifest.json", "records": "_tasks.json"}
            wanted = next((known for name, known in kinds.items() if kind.startswith(name)), None)
            suffixes = (".parquet", ".arrow")
            files = [name for name in files if (name.endswith(suffixes) if wanted is None else name.rsplit("/", 1)[-1] == wanted)]
            if not files:
                return
            parts = files[int(choice * len(files))].split("/")
            found = workdir.read(*parts)
            raw = bytearray(found.to_pybytes() if found is not None else b"")
            if kind == "gone":
                workdir.delete(*parts)
            elif kind.endswith("emptied"):
                workdir.write(b"", *parts)
            elif kind == "cut":
                workdir.write(bytes(raw[: int(place * len(raw))]), *parts)
            elif raw:
                raw[int(place * len(raw))] ^= 1 << int(8 * choice)
                workdir.write(bytes(raw), *parts)

        apart(damage)
        return None

    def content(self) -> dict[str, bytes]:
        """Every object of every dataset."""

        def read() -> dict[str, bytes]:
            workdir = Workdir(self.directly)
            root = workdir.path() + "/"
            names = [info.path.removeprefix(root) for info in workdir.folder.infos(recursive=True) if info.is_file]
            names = [name for name in names if not name.startswith("timeline/") and not name.rsplit("/", 1)[-1].startswith(".")]
            found = {name: workdir.read(*name.split("/")) for name in sorted(names)}
            return {name: raw.to_pybytes() if raw is not None else b"" for name, raw in found.items()}

        return dict(apart(read))


def one_run(run: StoreRun, number: int, peace: dict[str, bytes], changes: int) -> dict[str, Any]:
    """A run under faults, from its beginning to its end."""
    kinds = [kind for kind in (*AT, *STORED, *READING, *EDITS, *REQUESTS, *AWAY) if kind not in LOCAL and kind != "stray"]
    drawn = drawn_for(run.random, kinds)
    wrong = lived_through(run, drawn, peace, changes)
    if swift.SECRET in "".join(run.lines):
        wrong = "a secret is in what was said"
    return {"run": number, "faults": [NAMES[kind] for kind in drawn if kind], "starts": run.starts, "lines": run.lines, "wrong": wrong}


def main() -> None:
    """Throw faults at many runs, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--first", type=int, default=0, help="number of the first run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--result", type=Path, default=RESULT)
    parser.add_argument("--proxy", type=int, default=None, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.proxy is not None:
        serve_wrongs(options.proxy)
        return
    if not swift.INSTALLED:
        sys.exit(swift.HOW)
    folder: Path = options.folder or Path(tempfile.mkdtemp(prefix="chaos-"))
    write_corpus(folder / "corpus", parts=2, partition_bytes=1 << 15)  # few objects, since the store is slow
    calm = Run(folder, -1, random.Random(0))
    wrong = calm.until_done()
    assert wrong is None, wrong
    peace = content(calm.workdir)
    changes = int(calm.workdir.with_suffix(".count").read_text())
    print(f"a run in peace, on a local disk: {len(peace)} files, {changes} changes of files", flush=True)
    Start.changes = RemoteChanges
    results: list[dict[str, Any]] = []
    with swift.swift(folder / "swift") as port:
        place = Location.parse(uri(port, "", "allow_bucket_creation=true"))
        apart(lambda: Folder(place).filesystem.create_dir(BUCKET))
        wrongs = Wrongs(port)
        try:
            for number in range(options.first, options.first + options.runs):
                run = StoreRun(folder, number, random.Random(f"store {options.seed} {number}"), wrongs, port)
                results.append(one_run(run, number, peace, changes))
                last = results[-1]
                print(f"{number}: {', '.join(last['faults'])}: {last['wrong'] or 'well'} ({last['starts']} starts)", flush=True)
                table = table_of(results, options.seed, lambda _: "equal to the byte")
                options.result.write_text(json.dumps(table, indent=1) + "\n")  # a run that is ended keeps what it has
        finally:
            wrongs.close()
    sys.exit(1 if any(result["wrong"] for result in results) else 0)


if __name__ == "__main__":
    main()
