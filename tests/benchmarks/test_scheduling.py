"""The simulation of scheduling: what must hold whatever the schedule does."""

from __future__ import annotations

import math

from benchmarks.scheduling import simulate


def test_without_failures_nothing_is_done_twice_and_no_core_works_faster_than_it_can() -> None:
    found = simulate(300, 4, 4, 60.0, math.inf)
    assert found["lost_nodes"] == found["lost_tasks"] == found["lost_share"] == 0
    assert found["ideal"] <= found["seconds"]


def test_tasks_of_lost_nodes_are_done_again() -> None:
    found = simulate(300, 4, 4, 60.0, 0.2)
    assert found["lost_nodes"] > 0
    assert found["lost_tasks"] > 0
    assert 0 < found["lost_share"] < 1
    assert found == {**simulate(300, 4, 4, 60.0, 0.2), **{name: found[name] for name in ("driver_seconds", "driver_bytes")}}
