"""The storage layer on a real object store, OpenStack Swift, which is reached through a proxy that does wrong."""

from __future__ import annotations

import gc
import gzip
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pipeline.readers import Record, list_files, read_file, source_config
from pipeline.workdir.errors import UserError
from storage.errors import Refused, StorageError, Unreachable
from storage.folder import Folder
from storage.inputs import open_input
from storage.location import Location
from storage.retry import Patience
from tests.storage import swift
from tests.storage.conftest import uri
from tests.storage.proxy import Proxy
from tests.trainer.stores import patient

Place = Callable[..., Folder]
OLD, NEW = b"old" * 10, b"new" * 1000
LARGE = os.urandom(1 << 20) * 21  # three parts of an upload


def content(folder: Folder, *parts: str) -> bytes | None:
    raw = folder.read(*parts)
    return None if raw is None else raw.to_pybytes()


def test_what_is_written_is_read_listed_moved_and_deleted(place: Place, local: Folder) -> None:
    """The store and a folder of this machine are alike."""
    names = [("a", "x y.bin"), ("a", "b", "c.bin"), ("d%20.bin",)]
    for folder in (place(), local):
        for number, name in enumerate(names):
            folder.write(bytes([number]) * number, *name)
        folder.write(LARGE, "large")
        assert content(folder, "large") == LARGE
        assert folder.sizes() == {"d%20.bin": 2, "large": len(LARGE)}
        assert folder.folders() == ["a"]
        assert folder.sizes("a") == {"x y.bin": 0}
        assert [content(folder, *name) for name in [*names, ("none",)]] == [b"", b"\1", b"\2\2", None]
        folder.move(("large",), ("a", "moved"))
        assert content(folder, "a", "moved") == LARGE
        assert content(folder, "large") is None
        folder.delete("a", "moved")
        folder.delete("a", "moved")
        assert folder.below("a").sizes() == {"x y.bin": 0}
        folder.delete_folder("a")
        folder.delete_folder("a")
        assert folder.folders() == []
        assert folder.sizes("none") == {}


def test_ctrl_c_within_an_upload_leaves_the_old_object_or_the_new_one_and_nothing_between(gate: Proxy, place: Place) -> None:
    folder = place()
    for raw in (NEW, LARGE):
        folder.write(OLD, "x")
        held = gate.add(r"^(PUT|POST) /bucket/\d+/x", "hold", times=1)

        def interrupt(held: threading.Event = held.seen) -> None:
            held.wait()
            os.kill(os.getpid(), signal.SIGINT)

        threading.Thread(target=interrupt).start()
        with pytest.raises(KeyboardInterrupt):
            folder.write(raw, "x")
        assert content(folder, "x") == OLD
        held.go.set()
        for thread in threading.enumerate():
            if thread.name == "write":
                thread.join()
        assert content(folder, "x") == raw


def test_an_upload_whose_source_fails_is_never_completed(place: Place) -> None:
    folder = place()
    folder.write(OLD, "x")

    def pieces() -> Iterator[bytes]:
        yield LARGE
        raise RuntimeError("the source is gone")

    with pytest.raises(RuntimeError, match="the source is gone"):
        folder.send(pieces, "x")
    gc.collect()
    assert content(folder, "x") == OLD
    code = (
        "import sys; from storage.folder import Folder; from storage.location import Location\n"
        "def pieces():\n    yield b'x' * (12 << 20)\n    raise ValueError\n"
        "Folder(Location.parse(sys.argv[1])).send(pieces, 'x')"
    )
    ended = subprocess.run([sys.executable, "-c", code, folder.location.uri], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert ended.returncode == 1, "it ended by the error, and not by a crash"
    assert ended.stderr.rstrip().endswith("ValueError")
    assert content(folder, "x") == OLD, "neither at the end of the process"


@pytest.mark.parametrize("act", ["500", "403", "lost", "cut"])
def test_what_passes_is_not_noticed(gate: Proxy, place: Place, act: str) -> None:
    folder = place()
    folder.write(OLD, "x")
    for raw, methods in ((NEW, ("PUT", "HEAD")), (LARGE, ("PUT", "POST"))):
        for method in methods:
            fault = gate.add(rf"^({method}) /bucket/", act, times=4)  # pyarrow itself tries three times
            folder.write(raw, "x")
            assert content(folder, "x") == raw
            fault.times = 0
    fault = gate.add("^GET /bucket/", act, times=4)
    assert content(folder, "x") == LARGE
    assert fault.times == 0
    gate.add("^GET /bucket", act, times=4)
    assert folder.sizes() == {"x": len(LARGE)}


def test_what_does_not_pass_is_one_line_that_says_what_to_do_and_keeps_the_secret(gate: Proxy, place: Place) -> None:
    def fails(kind: type[StorageError], reason: str, remedy: str, folder: Folder, action: Callable[[Folder], object]) -> None:
        with pytest.raises(kind) as caught:
            action(folder)
        said = str(caught.value)
        assert "\n" not in said
        assert said.startswith(f"{folder.shown('x')}: cannot be ")
        assert reason in said
        assert remedy in said
        assert swift.SECRET not in said
        assert "testing" not in said
        assert "***@bucket" in said
        assert f"endpoint_override=127.0.0.1:{gate.port}" in said, "which server it is"

    def write(folder: Folder) -> None:
        folder.write(NEW, "x")

    def read(folder: Folder) -> None:
        folder.read("x")

    place().write(OLD, "x")
    wrong = place(Patience(0.0), secret="testing-another")
    for action in (write, read):
        fails(Refused, "AWS Error", "correct the credentials", wrong, action)
    reader = place(Patience(0.0), key="test:reader", secret="reading")
    fails(Refused, "ACCESS_DENIED", "correct the credentials or the permissions", reader, write)
    for act, kind, remedy in (("500", Unreachable, "run the same command again"), ("403", Refused, "correct the credentials or the perm")):
        fault = gate.add("bucket/", act)
        for action in (write, read):
            fails(kind, "AWS Error", remedy, place(Patience(0.0)), action)
        fault.times = 0
    assert content(place(), "x") == OLD
    missing = Folder(Location.parse(uri(gate.port, "/y").replace("@bucket", "@nobucket")), patient())
    with pytest.raises(
        Refused, match=r"@nobucket/y/x\?.*: cannot be written \(AWS Error NO_SUCH_BUCKET.*\); make the bucket, or correct its name"
    ):
        missing.write(NEW, "x")
    with pytest.raises(
        Refused, match=r"cannot be opened \(Unexpected query parameter in S3 URI: 'nosuch'\); check the URI and its options"
    ):
        Folder(Location.parse(uri(gate.port, "/y", "nosuch=1"))).read("x")


def documents(path: str, *, format: str = "jsonl") -> list[str]:
    source = source_config(name="mine", domain="web", format=format, path=path)
    items = [item for file in list_files(source, Path("/")) for item in read_file(file, source)]
    assert all(isinstance(item, Record) for item in items), items
    return [item.text for item in items if isinstance(item, Record)]


def test_a_source_is_read_through_faults_and_else_stops_by_name(gate: Proxy, place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = place()
    texts = [os.urandom(500).hex() for _ in range(2000)]
    lines = b"".join(b'{"text": "%s"}\n' % text.encode() for text in texts)
    folder.write(gzip.compress(lines, 1), "in", "part one.jsonl.gz")
    path = folder.below("in", "*.gz").location.uri
    monkeypatch.setattr("storage.retry.FIRST_WAIT", 0.01)
    for act in ("500", "403", "drop", "cut"):
        fault = gate.add(r"^GET /bucket/\d+/in/part", act, times=4)
        assert documents(path) == texts
        assert fault.times == 0
    monkeypatch.setenv("FOUNDRY_RETRY_SECONDS", "0")
    for act, told in (("cut", "run the same command again"), ("403", "correct the credentials or the permissions")):
        fault = gate.add(r"^GET /bucket/\d+/in/part", act)
        with pytest.raises(
            UserError, match=rf"^source mine: s3://.*/in/part%20one.jsonl.gz\?.*: cannot be read \(.*\); .*{told}"
        ) as caught:
            documents(path)
        assert swift.SECRET not in str(caught.value)
        fault.times = 0
    gate.add(r"^(GET|HEAD) /bucket/\d+/in/part", "404")
    with pytest.raises(UserError, match="there is nothing there|it is gone since the files were listed"):
        documents(path)


def test_a_file_that_changes_while_it_is_read_is_not_mixed_up(gate: Proxy, place: Place) -> None:
    folder = place()
    folder.write(LARGE, "x")
    for other, fault in ((LARGE[1:], ""), (LARGE[1:] + b"x" + LARGE[:1], "500"), (LARGE[:100], "")):
        with open_input(folder.location.below("x").uri, patient()) as file:
            file.read(1 << 20)
            folder.write(other, "x")
            if fault:
                gate.add("^GET /bucket/", fault, times=4)
            with pytest.raises(Refused, match="it has changed since it was begun"):
                file.read()
