"""Shared by all tests."""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.workdir.dataset import Manifest, Workdir
from pipeline.workdir.engine import Engine, in_process
from pipeline.workdir.tasks import Stage
from tests import profiles
from tests.launches import launches, refuse_launches

if "PYTEST_XDIST_WORKER" in os.environ:  # one of several processes: a thread for each is enough
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell has what it starts in the background ignore it, and children inherit that
    signal.signal(signal.SIGINT, signal.default_int_handler)
profiles.register()

DATA = Path(__file__).parents[2] / "shared" / "data"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts processes, and let the files of such tests come first: two of them at the end would leave a core idle."""
    for item in items:
        if launches(item):
            item.add_marker("launch")
    first = {item.path for item in items if item.get_closest_marker("launch") and item.get_closest_marker("long")}
    items.sort(key=lambda item: item.path not in first)


@pytest.fixture(autouse=True)
def _no_launch(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that is not marked `launch` starts neither Ray nor another Python, or fails saying so."""
    if request.node.get_closest_marker("launch") is None:
        refuse_launches(monkeypatch)


@pytest.fixture(autouse=True)
def _denormals() -> Iterator[None]:
    """What computes on a CPU flushes denormals in its process, which here is that of all other tests."""
    yield
    if "torch" in sys.modules:
        sys.modules["torch"].set_flush_denormal(False)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """A folder of real files, where a developer has one beside the repository."""
    if not DATA.is_dir():
        pytest.skip("no folder of real data beside the repository")
    return DATA


@pytest.fixture
def workdir(tmp_path: Path) -> Workdir:
    return Workdir(str(tmp_path / "workdir"))


@pytest.fixture(scope="session")
def ray_session() -> Iterator[None]:
    """One local Ray for all tests that need one."""
    import ray

    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=96 << 20, logging_level="ERROR", address="local")
    yield
    ray.shutdown()


@pytest.fixture
def engine(workdir: Workdir, ray_session: None) -> Engine:
    return Engine(workdir)


def here(workdir: Workdir) -> Engine:
    """An engine that runs every task in this process, one after the other, without Ray."""
    return Engine(workdir, executor=in_process)


def run_task(workdir: Workdir, stage: Stage) -> dict[str, Manifest]:
    """A stage's manifests, its tasks run in this process."""
    return here(workdir).run(stage).manifests


@pytest.fixture
def taken() -> Iterator[int]:
    """A port of this machine that somebody listens at."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        yield int(listener.getsockname()[1])
