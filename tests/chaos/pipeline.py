"""Curation under faults, drawn at random and aimed, until it is done: `python -m tests.chaos.pipeline`.

    python -m tests.chaos.pipeline [--runs 200] [--seed 0] [--folder DIR]

Every run is a small recipe, from raw files to packed shards, in a workdir of its own. One to three faults are drawn for it: signals and
full disks at a chosen change of a file (also in the middle of one), errors of reading, bits flipped in what is stored, edits of the recipe
and of the sources in between, workers and whole nodes of Ray that are killed. After each the same command is given again; where it says in
one line what the user must do, that is done. In the end every file of the workdir must be as a run has it that was left in peace. The
table goes to tests/chaos/pipeline.json and, in words, to docs/reliability.md.

Most runs do their tasks in a process that this one forks, with all modules loaded: that makes a fault at the n-th change of a file
exact, and a start cheap. Faults of Ray's processes are of runs by the command line. `tests.chaos.store` does the same on an object store.
"""

from __future__ import annotations

import argparse
import contextlib
import errno
import io
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from jobs import run as stages
from jobs.cli import main as command_line
from pipeline.workdir import dataset
from pipeline.workdir.dataset import Workdir
from pipeline.workdir.engine import Engine, in_process
from pipeline.workdir.errors import CorruptData
from tests.chaos.table import table_of

ROOT = Path(__file__).parents[2]
RESULT = Path(__file__).with_suffix(".json")
STARTS = 12

# At the n-th change of a file of the workdir; "in": when its bytes are written, and it has not taken its place.
AT = {
    "SIGKILL": "SIGKILL between two files",
    "SIGKILL in": "SIGKILL while a file is written",
    "SIGINT": "Ctrl-C between two files",
    "SIGINT in": "Ctrl-C while a file is written",
    "SIGTERM": "SIGTERM between two files",
    "full once": "full disk, for one file",
    "full": "full disk, from some file on",
    "error": "error of writing, for one file",
}
STORED = {
    "bit": "bit flipped in a partition",
    "cut": "partition cut",
    "gone": "partition deleted",
    "manifest": "bit flipped in a manifest",
    "manifest emptied": "manifest emptied",
    "records": "bit flipped in the records of tasks",
    "records emptied": "records of tasks emptied",
    "stray": "half-written file left behind",
}
READING = {"read once": "error of reading a source, once", "read": "error of reading a source, for good"}
EDITS = {
    "threshold": "threshold changed, and changed back",
    "fields": "field name misspelt, and corrected",
    "source": "file of a source changed, and changed back",
    "less": "source taken out, and put back",
    "clock": "clock set back by a day",
}
RAY = {"worker": "SIGKILL of a worker", "raylet": "SIGKILL of a node's raylet", "driver": "SIGKILL of the driver, on Ray"}
NAMES = {**AT, **STORED, **READING, **EDITS, **RAY}


# --- a small corpus ---------------------------------------------------------------------------------------------------


SYLLABLES = [a + b + c for a in "bdfgklmnprst" for b in "aeiou" for c in ("", "n", "r", "s", "t")]


def words(random_: random.Random, count: int) -> list[str]:
    """Made words, the frequent ones much more often than the others."""
    return [
        "".join(SYLLABLES[int(len(SYLLABLES) * random_.random() ** 2)] for _ in range(random_.choice((1, 2, 2, 3)))) for _ in range(count)
    ]


def texts(count: int, seed: int) -> list[str]:
    """Texts of made words, some of them copies and near-copies of earlier ones."""
    random_ = random.Random(seed)
    found: list[str] = []
    for number in range(count):
        if number % 7 == 3:
            found.append(found[random_.randrange(len(found))])
        elif number % 7 == 5:
            old = found[random_.randrange(len(found))].split(" ")
            old[random_.randrange(len(old))] = "changed"
            found.append(" ".join(old))
        else:
            lines = [" ".join(words(random_, random_.randrange(6, 14))).capitalize() + "." for _ in range(random_.randrange(3, 9))]
            found.append("\n".join(lines))
    return found


def write_corpus(folder: Path, parts: int = 3, partition_bytes: int = 4096) -> None:
    """Two sources of some files each, an evaluation set, and the recipe over them."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, field, seed in (("web", "text", 1), ("papers", "body", 2)):
        for part in range(parts):
            rows = [json.dumps({"id": f"{part}-{number}", field: text}) for number, text in enumerate(texts(40, 10 * seed + part))]
            (folder / f"{name}-{part}.jsonl").write_text("\n".join(rows) + "\n{ damaged\n")
    items = [json.dumps({"text": text}) for text in texts(40, 10)[:3]]
    (folder / "items.jsonl").write_text("\n".join(items) + "\n")
    phase = {"length": 64, "batch_size": 2, "learning_rate": 1e-3}
    body: dict[str, Any] = {
        "name": "chaos",
        "workdir": str(folder / "unused"),
        "sources": [
            {"name": "web", "domain": "web", "format": "jsonl", "path": str(folder / "web-*.jsonl")},
            {"name": "papers", "domain": "science", "format": "jsonl", "path": str(folder / "papers-*.jsonl"), "fields": {"text": "body"}},
        ],
        "ingest": {"partition_bytes": partition_bytes, "chunk_bytes": 16384},
        "filter": {"web": {"gopher_quality": {"min_words": 20, "min_stop_words": 0}}, "science": {}},
        "lines": {},
        "substrings": {"domains": ["web"]},
        "contamination": {"sets": [{"name": "items", "path": str(folder / "items.jsonl"), "format": "jsonl"}]},
        "tokenizer": {"vocab_size": 512, "unused": 16},
        "model": {"vocab_size": 512, "hidden_size": 64, "layers": 2, "heads": 1, "intermediate_size": 64},
        "phases": [
            {**phase, "name": "stable", "tokens": 4096, "warmup_tokens": 512},
            {**phase, "name": "decay", "tokens": 2048, "decay_tokens": 2048},
        ],
    }
    (folder / "chaos.yaml").write_text(yaml.safe_dump(body))


# --- a start in a process of its own ------------------------------------------------------------------------------------


class Changes:
    """Counts the changes of files that this process makes in a workdir, and does something at one of them."""

    def __init__(self, kind: str = "", at: int = 0) -> None:
        self.kind, self.at, self.count = kind, at, 0
        for name in ("write", "delete", "delete_folder", "move"):
            setattr(Workdir, name, self._counting(getattr(Workdir, name)))
        self._fsync = os.fsync
        dataset.os.fsync = self._inside  # type: ignore[attr-defined]

    def _counting(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def counted(workdir: Workdir, *arguments: Any) -> Any:
            self.count += 1
            if self.kind.startswith("SIG") and not self.kind.endswith(" in"):
                self._signal()
            return method(workdir, *arguments)

        return counted

    def _inside(self, handle: int) -> None:
        self._fsync(handle)
        if self.kind.endswith(" in"):
            self._signal()
        elif self.kind in ("full", "full once", "error") and (self.count >= self.at if self.kind == "full" else self.count == self.at):
            number = errno.EIO if self.kind == "error" else errno.ENOSPC
            raise OSError(number, os.strerror(number))

    def _signal(self) -> None:
        if self.count == self.at:
            number = getattr(signal, self.kind.removesuffix(" in"))
            os.kill(os.getpid(), number)
            if number == signal.SIGKILL:
                time.sleep(60)


def broken_reading(kind: str, at: int) -> None:
    """Let the file of a source that is opened as the n-th fail when it is read; `read`: and all that are opened later."""
    count = [0]

    class Failing(io.FileIO):
        def __init__(self, name: str, *arguments: Any) -> None:
            super().__init__(name, *arguments)
            count[0] += 1
            self.fails = count[0] == at or (kind == "read" and count[0] > at)

        def readinto(self, buffer: Any) -> int | None:
            if self.fails:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            return super().readinto(buffer)

    setattr(io, "FileIO", Failing)  # noqa: B010 - types are not assigned to


class Start:
    """A start of the command in a forked process: its exit code, and what it printed to the user as an error."""

    changes: type[Changes] = Changes

    def __init__(self, recipe: Path, workdir: str, aside: Path, fault: tuple[str, int] | None, back: float = 0.0) -> None:
        out, err = aside.with_suffix(".out"), aside.with_suffix(".err")
        pid = os.fork()
        if pid == 0:
            os.setsid()
            os.environ["FOUNDRY_RETRY_SECONDS"] = "1"  # what fails for good need not be tried for two minutes
            for path, handle in ((out, 1), (err, 2)):
                os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), handle)
            if back:
                now = time.time
                time.time = lambda: now() - back
            code = 70
            try:
                code = self._child(recipe, workdir, aside, fault)
            finally:
                sys.stderr.flush()
                os._exit(code)
        _, status = os.waitpid(pid, 0)
        self.code = os.waitstatus_to_exitcode(status)
        self.errors = err.read_text(errors="replace")

    @staticmethod
    def _child(recipe: Path, workdir: str, aside: Path, fault: tuple[str, int] | None) -> int:
        changes = Start.changes(*fault) if fault is not None and fault[0] in AT else Start.changes()
        if fault is not None and fault[0] in READING:
            broken_reading(*fault)
        setattr(stages, "Engine", partial(Engine, executor=in_process))  # noqa: B010 - for what is no class of it
        sys.argv = ["foundry", "pack", str(recipe), "--workdir", workdir]
        code = 0
        try:
            command_line()
        except SystemExit as end:
            code = int(end.code or 0)
        except BaseException:
            traceback.print_exc()
            code = 1
        aside.with_suffix(".count").write_text(str(changes.count))
        return code


def on_ray(recipe: Path, workdir: Path, kind: str, random_: random.Random) -> tuple[int, str]:
    """A start by the command line, with Ray, of which a process is killed at some moment: the exit code, and what was said."""
    command = [sys.executable, "-m", "jobs.cli", "pack", str(recipe), "--workdir", str(workdir)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=pipe, text=True, start_new_session=True
    )
    wanted, name = random_.randrange(1, 60), {"worker": "ray::", "raylet": "raylet/raylet", "driver": ""}[kind]
    while process.poll() is None and sum(1 for path in workdir.rglob("*") if path.is_file()) < wanted:
        time.sleep(0.01)
    victims = [process.pid] if kind == "driver" else []
    while process.poll() is None and not victims:
        found = subprocess.run(["pgrep", "-s", str(process.pid), "-f", name], capture_output=True, text=True, check=False).stdout.split()
        victims = [int(random_.choice(found))] if found else []
        time.sleep(0.01)
    for victim in victims:
        with contextlib.suppress(ProcessLookupError):
            os.kill(victim, signal.SIGKILL)
    _, errors = process.communicate()
    while subprocess.run(["pgrep", "-f", str(workdir)], capture_output=True, check=False).stdout.strip():
        time.sleep(0.05)
    return process.returncode, errors


# --- a run under faults -----------------------------------------------------------------------------------------------


def content(workdir: Path) -> dict[str, bytes]:
    """Every file of every dataset."""
    found = {path.relative_to(workdir).as_posix(): path for path in sorted(workdir.rglob("*")) if path.is_file()}
    data = {name: path for name, path in found.items() if not path.name.startswith(".") and not name.startswith("timeline/")}
    return {name: path.read_bytes() for name, path in data.items()}


class Run:
    """One workdir, in which things happen."""

    def __init__(self, folder: Path, number: int, random_: random.Random) -> None:
        self.random, self.starts, self.lines = random_, 0, []  # type: tuple[random.Random, int, list[str]]
        self.corpus, self.workdir = folder / "corpus", folder / f"run-{number}"  # manifests have the corpus's paths
        self.recipe = self.corpus / "chaos.yaml"
        if not self.recipe.is_file():
            write_corpus(self.corpus)
        self.back = 0.0

    @property
    def address(self) -> str:
        """The workdir, as the command line has it."""
        return str(self.workdir)

    def content(self) -> dict[str, bytes]:
        """Every file of every dataset."""
        return content(self.workdir)

    def start(self, fault: tuple[str, int] | None = None) -> str | None:
        """Give the command; returns what is wrong with how it ended, or None."""
        self.starts += 1
        start = Start(self.recipe, self.address, self.workdir, fault, self.back)
        return self.judge(start.code, start.errors)

    def judge(self, code: int, errors: str) -> str | None:
        """What is wrong with how a start ended, or None; what the user is asked for is done."""
        self.code = code
        lines = [line for line in errors.splitlines() if line.strip()]
        lost = code == 1 and any(line.startswith("foundry: ended without a word") for line in lines)  # Ray ends its driver itself
        if "Traceback" in errors or (code not in (0, 2, 130, 143, -signal.SIGKILL, -signal.SIGTERM) and not lost):
            return f"exit code {code}: {errors[-1500:]}"
        said = [line for line in lines if line.startswith("foundry: ")]
        if code == 2 and len(said) != 1:
            return f"exit code 2 with {len(said)} lines: {errors[-1500:]}"
        self.lines += said
        for line in said if code == 2 else ():
            self.heed(line)
        return None

    def heed(self, line: str) -> None:
        """Do what the user is told to do."""
        place = Path(line.removeprefix("foundry: ").split(": ", 1)[0])
        if not place.is_relative_to(self.workdir):
            return
        if "delete its folder" in line:
            shutil.rmtree(place.parent, ignore_errors=True)
        elif re.search("delete (it|that file)", line):
            place.unlink(missing_ok=True)

    def until_done(self) -> str | None:
        """Give the command until it ends well; returns what went wrong, or None."""
        while self.starts < STARTS:
            wrong = self.start()
            if wrong is not None or self.code == 0:
                return wrong
        return f"not done after {self.starts} starts: {self.lines[-1:]}"

    def verified(self) -> str | None:
        """Have made again what is damaged and no later stage has read; returns what went wrong, or None."""
        workdir = Workdir(str(self.workdir))
        for name in workdir.datasets():
            for partition in workdir.require(name).partitions:
                try:
                    workdir.read_partition(name, partition)
                except CorruptData as error:
                    self.heed(f"foundry: {error}")
        return self.until_done()

    def happen(self, kind: str, changes: int) -> str | None:
        """Let a fault happen; returns what went wrong, or None."""
        if kind in AT or kind in READING:
            return self.start((kind, self.random.randrange(1, changes if kind in AT else 9)))
        if kind in STORED:
            return self.stored(kind)
        if kind in RAY:
            self.starts += 1
            return self.judge(*on_ray(self.recipe, self.workdir, kind, self.random))
        if kind == "clock":
            self.back = 86400.0
            return None
        with self.edited(kind):
            return self.start(("SIGKILL", self.random.randrange(1, 2 * changes)) if self.random.random() < 0.5 else None)

    @contextlib.contextmanager
    def edited(self, kind: str) -> Iterator[None]:
        """The recipe, or a source, as it is for one start."""
        body = yaml.safe_load(self.recipe.read_text())
        source = self.corpus / "web-1.jsonl"
        before, status = source.read_bytes(), source.stat()
        if kind == "threshold":
            body["filter"]["web"]["gopher_quality"]["min_words"] = self.random.randrange(10, 60)
        elif kind == "fields":
            body["sources"][1]["fields"] = {"text": "bodi"}
        elif kind == "less":
            del body["sources"][1]
            del body["filter"]["science"]
        else:
            source.write_bytes(before[: len(before) // 2] + b'"}\n')
        whole = self.recipe.read_text()
        self.recipe.write_text(yaml.safe_dump(body))
        yield
        self.recipe.write_text(whole)
        source.write_bytes(before)
        os.utime(source, ns=(status.st_atime_ns, status.st_mtime_ns))

    def stored(self, kind: str) -> str | None:
        """Damage what is stored."""
        files = [path for path in sorted(self.workdir.rglob("*")) if path.is_file() and not path.name.startswith(".")]
        kinds = {"manifest": ("_manifest.json",), "records": ("_tasks.json",)}
        names = next((known for name, known in kinds.items() if kind.startswith(name)), None)
        if names is None:
            files = [path for path in files if path.suffix in (".parquet", ".arrow")]
        else:
            files = [path for path in files if path.name in names]
        if not files:
            return None
        path = self.random.choice(files)
        raw = bytearray(path.read_bytes())
        if kind == "gone":
            path.unlink()
        elif kind == "stray":
            (path.parent / f".{path.name}.0123.tmp").write_bytes(raw[: len(raw) // 2])
        elif kind.endswith("emptied"):
            path.write_bytes(b"")
        elif kind == "cut":
            path.write_bytes(raw[: self.random.randrange(len(raw))])
        elif raw:
            raw[self.random.randrange(len(raw))] ^= 1 << self.random.randrange(8)
            path.write_bytes(raw)
        return None


def drawn_for(random_: random.Random, kinds: list[str]) -> list[str]:
    """The faults of a run, in their order; "" stands for a start that is left in peace."""
    drawn: list[str] = []
    for _ in range(random_.choice((1, 1, 2, 3))):
        kind = random_.choice(kinds)
        if (kind in STORED or kind in EDITS) and not drawn and random_.random() < 0.7:
            drawn.append("")  # what is finished has more to lose
        drawn.append(kind)
    return drawn


def lived_through(run: Run, drawn: list[str], peace: dict[str, bytes], changes: int) -> str | None:
    """Let the faults happen to a run, and go on until it is done; returns what is wrong in the end, or None."""
    wrong: str | None = None
    for kind in drawn:
        if wrong is None:
            wrong = run.happen(kind, changes) if kind else run.until_done()
    if wrong is None:
        wrong = run.until_done()
    if wrong is None:
        wrong = run.verified()
    if wrong is None:
        found = run.content()
        different = sorted(name for name in found.keys() | peace.keys() if found.get(name) != peace.get(name))
        wrong = f"other files than in peace: {', '.join(different[:8])}" if different else None
    return wrong


def one_run(number: int, seed: int, folder: Path, peace: dict[str, bytes], changes: int, ray: bool) -> dict[str, Any]:
    """A run under faults, from its beginning to its end."""
    run = Run(folder, number, random.Random(f"{seed} {number}"))
    drawn = drawn_for(run.random, [*AT, *STORED, *READING, *EDITS, *(RAY if ray else ())])
    wrong = lived_through(run, drawn, peace, changes)
    if wrong is None:
        shutil.rmtree(run.workdir)
    faults = [NAMES[kind] for kind in drawn if kind]
    return {"run": number, "faults": faults, "starts": run.starts, "lines": run.lines, "wrong": wrong}


def main() -> None:
    """Throw faults at many runs, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="number of the first run")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-ray", action="store_true", help="leave out what needs Ray")
    parser.add_argument("--folder", type=Path, default=None)
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args()
    folder: Path = options.folder or Path(tempfile.mkdtemp(prefix="chaos-"))
    calm = Run(folder, -1, random.Random(0))
    wrong = calm.until_done()
    assert wrong is None, wrong
    peace = content(calm.workdir)
    changes = int(calm.workdir.with_suffix(".count").read_text())
    print(f"a run in peace: {len(peace)} files, {changes} changes of files", flush=True)
    results: list[dict[str, Any]] = []
    for number in range(options.first, options.first + options.runs):
        results.append(one_run(number, options.seed, folder, peace, changes, not options.no_ray))
        last = results[-1]
        print(f"{number}: {', '.join(last['faults'])}: {last['wrong'] or 'well'} ({last['starts']} starts)", flush=True)
        options.result.write_text(
            json.dumps(table_of(results, options.seed, lambda _: "equal to the byte"), indent=1) + "\n"
        )  # a run that is ended keeps what it has
    sys.exit(1 if any(result["wrong"] for result in results) else 0)


if __name__ == "__main__":
    main()
