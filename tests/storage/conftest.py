"""Swift, for the tests that want a real object store, and a proxy before it that does wrong."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from storage.folder import Folder
from storage.location import Location
from storage.retry import Patience
from tests.storage import swift
from tests.storage.proxy import Proxy, proxy
from tests.trainer.stores import patient

BUCKET = "bucket"
_COUNT = itertools.count()


@pytest.fixture(scope="session")
def swift_port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a running Swift that has a bucket."""
    if not swift.INSTALLED:
        pytest.skip(swift.HOW)
    with swift.swift(tmp_path_factory.mktemp("swift") / "swift") as port:
        Folder(Location.parse(uri(port, "", "allow_bucket_creation=true"))).filesystem.create_dir(BUCKET)
        yield port


@pytest.fixture
def gate(swift_port: int) -> Iterator[Proxy]:
    """A proxy before Swift."""
    with proxy(swift_port) as running:
        yield running


def uri(port: int, path: str, *options: str, key: str = swift.KEY, secret: str = swift.SECRET) -> str:
    """A place on Swift, as a recipe has it."""
    query = "&".join([f"endpoint_override=127.0.0.1:{port}", "scheme=http", "region=us-east-1", *options])
    return f"s3://{quote(key, safe='')}:{quote(secret, safe='')}@{BUCKET}{path}?{query}"


@pytest.fixture
def place(gate: Proxy) -> Callable[..., Folder]:
    """A folder on Swift behind the proxy, the same one for a test; nobody waits between tries there."""
    own = f"/{next(_COUNT)}"

    def folder(patience: Patience | None = None, path: str = own, **named: str) -> Folder:
        return Folder(Location.parse(uri(gate.port, path, **named)), patience or patient())

    return folder


@pytest.fixture
def local(tmp_path: Path) -> Folder:
    return Folder(Location.parse(str(tmp_path)), patient())
