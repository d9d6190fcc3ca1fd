"""Shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.workdir.dataset import Manifest, Workdir
from pipeline.workdir.engine import Engine, Stage, in_process
from tests import profiles
from tests.launches import launches, refuse_launches

if "PYTEST_XDIST_WORKER" in os.environ:  # one of several processes: a thread for each is enough
    os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
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
