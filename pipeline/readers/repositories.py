"""Git repositories and bundles read from their objects: no checkout, nothing of theirs executed, nothing fetched.

`git` reads the objects in a process of its own, with a git folder of ours: the repository's configuration, hooks, attributes and
filters are never opened, since only its `objects` folder is lent to ours. Transports, lazy fetching of missing objects, replacements,
commit graphs and prompts are off; the process has bounds on memory, time and the size of what it writes, and one that says
nothing for STALL seconds is ended. Its refs are read here, as text. A repository that borrows objects from another folder
(`objects/info/alternates`) is refused: it could name any folder of the machine.

Why the command line: dulwich reads in our own process, where a delta or a tree of a hostile pack can take all its memory, and at a
tenth of the speed; libgit2 opens the repository's configuration and is C in our process.
"""

from __future__ import annotations

import os
import re
import resource
import select
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

MEMORY = 4 << 30  # bytes of address space of a git process, memory-mapped packs included on top of that
CPU_SECONDS = 3600
STALL = 300.0  # seconds without a byte
MAX_FILES = 2_000_000  # of one revision; the largest public repositories have a fifth of it
MAX_REFS_BYTES = 64 << 20
# Linear: one class each, matched against a whole name; `_STEPS` only sees what `_REVISION` let through, 250 characters.
_HASH = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_STEPS = re.compile(r"([^^~]*)(.*)")  # HEAD~2 is two steps from HEAD
_REVISION = re.compile(r"[\w./@{}^~+-]{1,250}")


class RepositoryError(OSError):
    """A repository, or an object of it, that cannot be read."""


@dataclass(frozen=True)
class Entry:
    """An entry of a revision: its path in the tree, its object, its size in bytes, and whether it is a file, or what is counted instead."""

    path: str
    object: str
    size: int
    kind: str = "file"


class _Output:
    """The standard output of a process, with a bound on silence."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        self._process, self._fd, self._buffer, self._at = process, process.stdout.fileno(), b"", 0
        self._poll = select.poll()
        self._poll.register(self._fd, select.POLLIN | select.POLLHUP)

    def _more(self) -> bytes:
        if not self._poll.poll(STALL * 1000):
            self._process.kill()
            raise RepositoryError(f"git said nothing for {STALL:.0f} seconds")
        return os.read(self._fd, 1 << 18)

    def until(self, end: bytes, limit: int) -> bytes | None:
        """Bytes up to `end`, which is left out; None at the end of the output. Raises past `limit` bytes."""
        searched = self._at
        while (found := self._buffer.find(end, searched)) < 0:
            if len(self._buffer) - self._at > limit:
                raise RepositoryError(f"an entry longer than {limit} bytes")
            searched = len(self._buffer) - self._at
            chunk = self._more()
            self._buffer, self._at = self._buffer[self._at :] + chunk, 0
            if not chunk:
                return None
        data = self._buffer[self._at : found]
        self._at = found + len(end)
        return data

    def exactly(self, size: int) -> bytes:
        """So many bytes. Raises where the output ends before."""
        parts = [self._buffer[self._at : self._at + size]]
        self._at += len(parts[0])
        missing = size - len(parts[0])
        while missing:
            chunk = self._more()
            if not chunk:
                raise RepositoryError("git ended in the middle of an object")
            parts.append(chunk[:missing])
            if len(chunk) > missing:
                self._buffer, self._at = chunk, missing
            missing -= len(parts[-1])
        return b"".join(parts)


@dataclass
class Objects:
    """An object database, behind a git folder of ours. Made by `opened` and `unbundled`."""

    folder: Path
    objects: Path
    heads: dict[str, str]  # refs as their full names, and HEAD

    def _start(self, *arguments: str, stdin: int | None = None, largest_file: int = 0) -> subprocess.Popen[bytes]:
        environment = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": str(self.folder),
            "LC_ALL": "C",
            "GIT_DIR": str(self.folder),
            "GIT_OBJECT_DIRECTORY": str(self.objects),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_ALLOW_PROTOCOL": "none",  # not one transport has that name
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_NO_REPLACE_OBJECTS": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_OPTIONAL_LOCKS": "0",
        }
        options = (
            "core.commitGraph=false",
            "core.multiPackIndex=false",
            "core.fsmonitor=false",
            "core.hooksPath=/dev/null",
            "pack.threads=1",
        )
        command = ["git", *(part for option in options for part in ("-c", option)), *arguments]
        try:
            process = subprocess.Popen(
                command, env=environment, cwd=self.folder, stdin=stdin or subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
        except FileNotFoundError:
            raise RepositoryError("git is not installed; install it, or give the repository's files as a folder or an archive") from None
        limits = (
            (resource.RLIMIT_AS, MEMORY + _packed(self.objects)),
            (resource.RLIMIT_CPU, CPU_SECONDS),
            (resource.RLIMIT_FSIZE, largest_file),
        )
        with suppress(ProcessLookupError):
            for what, most in limits:
                resource.prlimit(process.pid, what, (most, most))
        return process

    def resolve(self, revision: str | None) -> str:
        """The commit that a revision names: None (HEAD), a branch, a tag, a full ref, a hash or its beginning."""
        name = revision or "HEAD"
        if not _REVISION.fullmatch(name) or name.startswith("-"):
            raise RepositoryError(f"no such revision: {name[:100]!r}")
        wanted = name
        base, steps = _STEPS.fullmatch(name).groups()  # type: ignore[union-attr]
        for where in ("", "refs/", "refs/heads/", "refs/tags/", "refs/remotes/", "refs/remotes/origin/"):
            if where + base in self.heads:
                wanted = self.heads[where + base] + steps
                break
        else:
            if revision is None:  # a bundle without HEAD, or a HEAD whose branch has no commit: the only or the usual branch
                branches = [ref for ref in self.heads if ref.startswith("refs/heads/")]
                usual = [ref for ref in ("refs/heads/main", "refs/heads/master") if ref in self.heads]
                if len(branches) != 1 and not usual:
                    raise RepositoryError("no HEAD, and no single branch; name a `revision`")
                wanted = self.heads[(usual or branches)[0]]
        process = self._start("rev-parse", "--verify", "--quiet", "--end-of-options", f"{wanted}^{{commit}}")
        commit = (_Output(process).until(b"\n", 200) or b"").decode("ascii", "replace")
        _finish(process)
        if not _HASH.fullmatch(commit):
            raise RepositoryError(f"no such revision, or its commit is missing: {name[:100]}")
        return commit

    def entries(self, commit: str) -> Iterator[Entry]:
        """The files of a commit, in git's order, and its links and other repositories (submodules), which are not read."""
        process = self._start("ls-tree", "-r", "-z", "-l", "--full-tree", commit)
        try:
            output = _Output(process)
            for number in range(MAX_FILES + 1):
                line = output.until(b"\0", 1 << 16)
                if line is None:
                    break
                if number == MAX_FILES:
                    raise RepositoryError(f"more than {MAX_FILES} files")
                head, _, path = line.partition(b"\t")
                mode, kind, name, size = head.split()
                what = "file" if kind == b"blob" and mode.startswith(b"100") else "links" if kind == b"blob" else "submodules"
                # a missing object has no size, which reading it will tell
                yield Entry(path.decode("utf-8", "replace"), name.decode("ascii"), int(size) if size.isdigit() else 0, what)
        except ValueError as error:
            raise RepositoryError(f"git's list of files cannot be read: {error}") from error
        finally:
            _finish(process)
        if process.returncode:
            raise RepositoryError(f"the tree is damaged: {_message(process)}")

    @contextmanager
    def contents(self) -> Iterator[Contents]:
        """A reader of objects, one process for all; ended with the block."""
        reader = Contents(self)
        try:
            yield reader
        finally:
            reader.close()


class Contents:
    """Objects' bytes, by one `git cat-file` that is started again where a damaged object ended it."""

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._process: subprocess.Popen[bytes] | None = None
        self._output: _Output | None = None

    def read(self, name: str, largest: int) -> bytes:
        """An object's bytes. Raises `RepositoryError` where it is missing, damaged, or longer than `largest`."""
        if self._process is None:
            self._process = self._objects._start("cat-file", "--batch", stdin=subprocess.PIPE)
            self._output = _Output(self._process)
        process, output = self._process, self._output
        assert output is not None
        assert process.stdin is not None
        try:
            process.stdin.write(name.encode("ascii") + b"\n")
            process.stdin.flush()
            head = output.until(b"\n", 1 << 12)
            if head is None:
                raise RepositoryError("damaged object")
            words = head.split()
            if len(words) != 3 or not words[2].isdigit():
                raise RepositoryError("missing object")
            if int(words[2]) > largest:
                raise RepositoryError(f"longer than {largest} bytes")
            return output.exactly(int(words[2]) + 1)[:-1]
        except (BrokenPipeError, RepositoryError) as error:
            message = str(error)
            if message != "missing object":
                self.close()  # what is left in the pipe belongs to nobody
                message = f"{message}: {_message(process)}" if _message(process) else message
            raise RepositoryError(message) from None

    def close(self) -> None:
        """End the process."""
        if self._process is not None:
            with suppress(BrokenPipeError):
                assert self._process.stdin is not None
                self._process.stdin.close()
            _finish(self._process)
            self._process = self._output = None


def _finish(process: subprocess.Popen[bytes]) -> None:
    if process.stdout is not None:
        process.stdout.close()
    try:
        process.wait(timeout=1)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _message(process: subprocess.Popen[bytes]) -> str:
    if process.stderr is None or process.stderr.closed or process.poll() is None:
        return ""
    return " ".join(process.stderr.read(2000).decode("utf-8", "replace").split())[:300]


def _packed(objects: Path) -> int:
    """Bytes of the packs, which git maps into memory."""
    return sum(entry.stat().st_size for entry in os.scandir(objects / "pack") if entry.is_file()) if (objects / "pack").is_dir() else 0


@contextmanager
def _folder(sha256: bool) -> Iterator[Path]:
    """An empty git folder of ours."""
    with tempfile.TemporaryDirectory(prefix="foundry-git-") as name:
        folder = Path(name)
        (folder / "objects" / "pack").mkdir(parents=True)
        (folder / "refs").mkdir()
        (folder / "HEAD").write_text("ref: refs/heads/none\n")
        version = "1\n[extensions]\n\tobjectFormat = sha256" if sha256 else "0"
        (folder / "config").write_text(f"[core]\n\tbare = true\n\trepositoryformatversion = {version}\n")
        yield folder


def _small(path: Path, limit: int = 1 << 12) -> str:
    """A small text file, or nothing where it is no regular file, too long or not there."""
    try:
        if not path.is_file() or path.stat().st_size > limit:
            return ""
        return path.read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def _references(git: Path) -> dict[str, str]:
    """Refs of a git folder: packed ones, then loose ones, then HEAD."""
    found: dict[str, str] = {}
    for line in _small(git / "packed-refs", MAX_REFS_BYTES).splitlines():
        name, _, ref = line.partition(" ")
        if _HASH.fullmatch(name) and ref:
            found[ref] = name
    for folder, _, names in os.walk(git / "refs"):
        for name in names:
            path = Path(folder, name)
            if _HASH.fullmatch(value := _small(path)):
                found[path.relative_to(git).as_posix()] = value
    head = _small(git / "HEAD")
    for _ in range(5):  # a ref may name another
        if not head.startswith("ref: "):
            break
        target = head[5:].strip()
        head = found.get(target) or ("" if ".." in target or target.startswith("/") else _small(git / target))
    if _HASH.fullmatch(head):
        found["HEAD"] = head
    return found


@contextmanager
def opened(git: Path) -> Iterator[Objects]:
    """The objects of a git folder: a working tree's `.git`, or a bare repository. Raises `RepositoryError`."""
    if not (git / "objects").is_dir():
        raise RepositoryError("not a git repository: it has no objects")
    if (git / "objects" / "info" / "alternates").exists():
        raise RepositoryError("borrows objects from another repository; make it whole first (git repack -a -d)")
    if (git / "reftable").is_dir():
        raise RepositoryError("keeps its refs in a reftable; clone it with files for refs")
    heads = _references(git)
    with _folder(any(len(name) == 64 for name in heads.values())) as folder:
        yield Objects(folder, (git / "objects").resolve(), heads)


@contextmanager
def unbundled(stream: BinaryIO, size: int) -> Iterator[Objects]:
    """The objects of a `git bundle` (versions 2 and 3), indexed in a temporary folder. Raises `RepositoryError`."""
    signature = stream.readline(100)
    if signature not in (b"# v2 git bundle\n", b"# v3 git bundle\n"):
        raise RepositoryError("not a git bundle")
    heads: dict[str, str] = {}
    sha256, read = False, 0
    while (line := stream.readline(1 << 13)) not in (b"\n", b""):
        read += len(line)
        if read > MAX_REFS_BYTES:
            raise RepositoryError("its list of refs is too long")
        text = line.decode("utf-8", "replace").strip()
        if text.startswith("@"):
            sha256 |= text == "@object-format=sha256"
            if text.startswith("@filter"):
                raise RepositoryError("a partial bundle (with a filter)")
        elif text.startswith("-"):
            raise RepositoryError("a bundle of changes only: it needs commits that it does not hold")
        else:
            name, _, ref = text.partition(" ")
            if _HASH.fullmatch(name):
                heads[ref] = name
    with _folder(sha256) as folder:
        objects = Objects(folder, folder / "objects", heads)
        process = objects._start("index-pack", "--stdin", "--threads=1", stdin=subprocess.PIPE, largest_file=2 * size + (64 << 20))
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            shutil.copyfileobj(stream, process.stdin, 1 << 18)
        with suppress(BrokenPipeError):
            process.stdin.close()
        _Output(process).until(b"\n", 1 << 12)
        _finish(process)
        if process.returncode:
            raise RepositoryError(f"the bundle's pack is damaged: {_message(process)}")
        yield objects
