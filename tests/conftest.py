"""Shared by all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from pipeline.workdir.dataset import Workdir
from pipeline.workdir.engine import Engine

os.environ.setdefault("HF_HUB_OFFLINE", "1")
settings.register_profile("tests", deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
settings.load_profile("tests")

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


class HereEngine(Engine):
    """An engine that runs every task in this process, one after the other, without Ray."""

    def _execute(self, stage: Any, tasks: list[Any]) -> dict[str, Any]:
        from pipeline.workdir.engine import execute_task

        return {task.name: execute_task(self.workdir, stage.datasets[0], stage.function, task) for task in tasks}


def run_task(workdir: Workdir, stage: Any) -> dict[str, Any]:
    """All tasks of a stage in this process, then its manifests: what the engine does, without Ray."""
    from pipeline.workdir.engine import execute_task

    records = {task.name: execute_task(workdir, stage.datasets[0], stage.function, task) for task in stage.tasks}
    return Engine(workdir)._commit(stage, records)
