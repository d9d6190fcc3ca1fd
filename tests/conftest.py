"""Shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from pipeline.workdir.dataset import Manifest, Workdir
from pipeline.workdir.engine import Engine, Stage, in_process
from tests import profiles

os.environ.setdefault("HF_HUB_OFFLINE", "1")
profiles.register()

DATA = Path(__file__).parents[2] / "shared" / "data"


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
